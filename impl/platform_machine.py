# SPDX-License-Identifier: GPL-2.0-only
"""What drivers, the hypervisor and sleep do to a machine of one platform or another.

The methods are operations, as those of impl.device_machine.  A machine that lacks what an operation
is about answers -ENODEV.
"""

import errno
from collections.abc import Collection

from impl.arch.x86.xen_smp_pv import xen_pv_cpu_down, xen_pv_cpu_up
from impl.drivers.pci.msi_access import pci_restore_msi_state
from impl.drivers.pci.pci import PciDev, PciPower, pci_set_power_state
from impl.drivers.xen.hypervisor import Answer
from impl.drivers.xen.irq_info import IrqInfo
from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.irq.irq import IrqDesc
from impl.kernel.irq.manage import irq_set_vcpu_affinity
from impl.machine_remapping import Remapping
from impl.machine_xen import XenMachine
from impl.store_machine import StoreMachine

__all__ = ["PlatformMachine"]


class PlatformMachine(StoreMachine):
    """A machine with the hardware of its platform; the constructor of impl.machine.Machine makes
    one.

    `remapping` is None without units, `xen` without that hypervisor.  `posted_irqs` are those that
    go to virtual CPUs.
    """

    remapping: Remapping | None
    xen: XenMachine | None
    posted_irqs: set[int]

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

    # Virtual machines

    def vcpu_attach(self, irq: int, vcpu: int, vector: int) -> int:
        """Let an interrupt of a PCI device go straight to `vector` of virtual CPU `vcpu`.

        0.  -ENODEV: the units cannot post.  -EINVAL: it has no handler, or is no such interrupt.
        Else an error of irq_set_vcpu_affinity.  Undone before the handler is removed.
        """
        remapping = self.remapping
        if remapping is None or not remapping.can_post():
            return -errno.ENODEV
        desc = self.irqs.irq_to_desc(irq)
        dev = None if desc is None or desc.msi_desc is None else desc.msi_desc.dev
        if not isinstance(dev, PciDev) or not self._has_action(irq):
            return -errno.EINVAL
        self._process_context()
        ret = irq_set_vcpu_affinity(self.irqs, irq, remapping.vcpu_info(dev, vcpu, vector))
        if ret == 0:
            self.posted_irqs.add(irq)
        return ret

    def vcpu_detach(self, irq: int) -> int:
        """Undo vcpu_attach; -EINVAL if the interrupt goes to no virtual CPU."""
        desc = self.irqs.irq_to_desc(irq)
        if self.remapping is None or irq not in self.posted_irqs or desc is None:
            return -errno.EINVAL
        self._process_context()
        self.posted_irqs.discard(irq)
        return irq_set_vcpu_affinity(self.irqs, irq, self.remapping.no_vcpu_info())

    def free_irq(self, irq: int) -> int:
        """free_irq: see impl.kernel.irq.request; -EBUSY for the handler of a VMD's own driver."""
        self.vcpu_detach(irq)
        return super().free_irq(irq)

    # Sleep

    def sleep(self) -> int:
        """Suspend the machine and wake it: devices forget their registers and get them back.

        0, or the error of a CPU that could not go down, after which everything runs again.
        """
        devs = list(self.pci_devs.values())
        for dev in reversed(devs):
            pci_set_power_state(dev, PciPower.D3HOT)
        ret = self._suspend_system()
        self._process_context()
        for dev in devs:
            pci_set_power_state(dev, PciPower.D0)
            pci_restore_msi_state(dev)
        return ret

    def _suspend_system(self) -> int:
        """Go down to one CPU, switch remapping off and on again, bring the other CPUs back."""
        online = [cpu for cpu in range(self.kernel.nr_cpu_ids) if self.kernel.cpu_online(cpu)]
        down = (self.cpu_down(cpu) for cpu in online[1:])
        ret = next(filter(None, down), 0)
        if ret == 0 and self.remapping is not None:
            self.remapping.suspend()
            self.remapping.resume()
        for cpu in online:
            self.cpu_up(cpu)
        return ret
