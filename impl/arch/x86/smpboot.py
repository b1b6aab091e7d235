# SPDX-License-Identifier: GPL-2.0-only
"""A CPU comes up or goes down, as far as interrupts notice (kernel/cpu.c, smpboot.c, v5.10)."""

import errno
from collections.abc import Collection

from impl.arch.x86.irq import fixup_irqs
from impl.arch.x86.lapic import lapic_can_unplug_cpu, lapic_offline, lapic_online
from impl.arch.x86.vector import VectorSpace, lock_vector_lock, unlock_vector_lock
from impl.kernel.irq.cpuhotplug import irq_affinity_online_cpu

__all__ = ["cpu_down", "cpu_up"]


def cpu_up(v: VectorSpace, cpu: int) -> int:
    """Bring `cpu` up; 0 (also if it is up), -EINVAL if there is no such CPU.

    Everything runs on the new CPU: its row and table first, then the interrupts that waited for it.
    """
    kernel = v.kernel
    if not 0 <= cpu < kernel.nr_cpu_ids:
        return -errno.EINVAL
    if kernel.cpu_online(cpu):
        return 0
    kernel.this_cpu = cpu
    lock_vector_lock(v)
    kernel.set_cpu_online(cpu, True)
    lapic_online(v)
    unlock_vector_lock(v)
    return irq_affinity_online_cpu(v.irqs, cpu)


def cpu_down(v: VectorSpace, cpu: int, irr_pending: Collection[int] = ()) -> int:
    """Take `cpu` down; 0 (also if it is down).

    -EINVAL: no such CPU.  -EBUSY: it is the last one.  -ENOSPC: the others lack room.  Between
    leaving the online mask and lapic_offline the CPU is offline for everybody but the matrix.
    """
    kernel = v.kernel
    if not 0 <= cpu < kernel.nr_cpu_ids:
        return -errno.EINVAL
    if not kernel.cpu_online(cpu):
        return 0
    if kernel.cpu_online_mask == 1 << cpu:
        return -errno.EBUSY
    kernel.this_cpu = cpu
    ret = lapic_can_unplug_cpu(v)
    if ret:
        return ret
    lock_vector_lock(v)
    kernel.set_cpu_online(cpu, False)
    unlock_vector_lock(v)
    fixup_irqs(v, irr_pending)
    lapic_offline(v)
    return 0
