# SPDX-License-Identifier: GPL-2.0-only
"""A virtual CPU of a paravirtualised Xen guest comes or goes (arch/x86/xen/smp_pv.c, v5.10).

The guest has no local APICs: no row of the vector matrix is ever online.  The kernel takes the row
of a CPU that goes offline all the same, and nobody reads what that does to the counters; here the
matrix is left alone.
"""

import errno

from impl.kernel.irq.cpuhotplug import irq_affinity_online_cpu, irq_migrate_all_off_this_cpu
from impl.kernel.irq.irqdesc import IrqDescTable

__all__ = ["xen_pv_cpu_down", "xen_pv_cpu_up"]


def xen_pv_cpu_up(irqs: IrqDescTable, cpu: int) -> int:
    """Bring `cpu` up; 0 (also if it is up), -EINVAL if there is no such CPU."""
    kernel = irqs.kernel
    if not 0 <= cpu < kernel.nr_cpu_ids:
        return -errno.EINVAL
    if kernel.cpu_online(cpu):
        return 0
    kernel.this_cpu = cpu
    kernel.set_cpu_online(cpu, True)
    return irq_affinity_online_cpu(irqs, cpu)


def xen_pv_cpu_down(irqs: IrqDescTable, cpu: int) -> int:
    """Take `cpu` down; 0 (also if it is down).

    -EINVAL: no such CPU.  -EBUSY: it is the first one, which a guest cannot do without.
    """
    kernel = irqs.kernel
    if not 0 <= cpu < kernel.nr_cpu_ids:
        return -errno.EINVAL
    if not kernel.cpu_online(cpu):
        return 0
    if cpu == 0:
        return -errno.EBUSY
    kernel.this_cpu = cpu
    kernel.set_cpu_online(cpu, False)
    irq_migrate_all_off_this_cpu(irqs)
    return 0
