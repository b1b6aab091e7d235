# SPDX-License-Identifier: GPL-2.0-only
"""What drivers, the hypervisor and sleep do to a machine of one platform or another.

The methods are operations, as those of impl.device_machine.  A machine that lacks what an operation
is about answers -ENODEV.
"""

import errno
from collections.abc import Collection

from impl.arch.x86.xen_smp_pv import xen_pv_cpu_down, xen_pv_cpu_up
from impl.drivers.xen.hypervisor import Answer
from impl.drivers.xen.irq_info import IrqInfo
from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.irq.irq import IrqDesc
from impl.machine_remapping import Remapping
from impl.machine_xen import XenMachine
from impl.store_machine import StoreMachine

__all__ = ["PlatformMachine"]


class PlatformMachine(StoreMachine):
    """A machine with the hardware of its platform; the constructor of impl.machine.Machine makes
    one.

    `remapping` is None without units, `xen` without that hypervisor.
    """

    remapping: Remapping | None
    xen: XenMachine | None

    def _signal(self, desc: IrqDesc) -> list[int]:
        """A device signals, under Xen to the hypervisor: the irqs whose handlers ran."""
        info = desc.irq_data.chip_data
        if self.xen is None or not isinstance(info, IrqInfo):
            return super()._signal(desc)
        return self._with_children(desc.irq) if self.xen.fire(desc, info) else []

    # CPUs

    def cpu_up(self, cpu: int) -> int:
        """Bring a CPU up: see impl.arch.x86.smpboot, or impl.arch.x86.xen_smp_pv."""
        if self.xen is not None and self.xen.pv:
            return xen_pv_cpu_up(self.irqs, cpu)
        return super().cpu_up(cpu)

    def cpu_down(self, cpu: int, irr_pending: Collection[int] = ()) -> int:
        """Take a CPU down: see impl.arch.x86.smpboot, or impl.arch.x86.xen_smp_pv."""
        if self.xen is not None and self.xen.pv:
            return xen_pv_cpu_down(self.irqs, cpu)
        return super().cpu_down(cpu, irr_pending)

    # Xen

    def pci_alloc_irq_vectors(
        self, name: str, min_vecs: int, max_vecs: int, flags: int, affd: IrqAffinity | None = None
    ) -> int:
        """pci_alloc_irq_vectors_affinity: see impl.drivers.pci.msi."""
        ret = super().pci_alloc_irq_vectors(name, min_vecs, max_vecs, flags, affd)
        self._release_pirqs()
        return ret

    def pci_free_irq_vectors(self, name: str) -> int:
        """pci_free_irq_vectors: see impl.drivers.pci.msi; 0, or -EBUSY if one has a handler."""
        ret = super().pci_free_irq_vectors(name)
        self._release_pirqs()
        return ret

    def xen_answer_next(self, answer: Answer) -> int:
        """The hypervisor, or the backend, will give `answer` to a request that has none yet."""
        if self.xen is None:
            return -errno.ENODEV
        self.xen.answers.pending.append(answer)
        return 0

    def _release_pirqs(self) -> None:
        if self.xen is not None:
            self.xen.release_pirqs()
