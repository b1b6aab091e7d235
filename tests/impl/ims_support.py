# SPDX-License-Identifier: GPL-2.0-only
"""Machines with a PCI device whose subdevices keep messages in it."""

from collections.abc import Iterable

from impl.defects import Defect
from impl.drivers.base.device_msi import device_msi_desc
from impl.drivers.irqchip.ims_msi import (
    ImsArrayData,
    ImsArrayInfo,
    pci_ims_array_create_msi_irq_domain,
)
from impl.drivers.irqchip.ims_msi_queue import ImsQueueInfo, pci_ims_queue_create_msi_irq_domain
from impl.drivers.irqchip.ims_msi_slots import ImsQueueDevice, ImsShadow, ImsSlots
from impl.drivers.pci.pci import PciDev
from impl.kernel.device import Device
from impl.kernel.irq.chip import irq_chip_compose_msi_msg
from impl.kernel.irq.irq import IrqChip, IrqDomain, MsiMsg
from impl.kernel.irq.msi import msi_domain_alloc_irqs, msi_domain_free_irqs
from tests.impl.pci_support import PciMachine, block_domain

__all__ = [
    "ArrayMachine",
    "QueueMachine",
    "SubdeviceMachine",
    "composed",
    "irqs_of",
    "mask_of",
]


class SubdeviceMachine(PciMachine):
    """`pdev` has subdevices; `remapped` puts its domain on a parent that moves at once."""

    def __init__(
        self, nr_cpus: int = 2, *, defects: Iterable[Defect] = (), remapped: bool = False
    ) -> None:
        super().__init__(nr_cpus, defects=defects)
        self.pdev: PciDev = self.device(msix=2)
        if remapped:
            self.pdev.msi_domain = block_domain(self)

    def subdevice(self, domain: IrqDomain | None) -> Device:
        self.nr_devices += 1
        dev = Device(self.nr_devices, f"subdev{self.nr_devices}", 0, parent=self.pdev)
        dev.msi_domain = domain
        return dev

    def alloc(self, dev: Device, nvec: int) -> int:
        assert dev.msi_domain is not None
        return msi_domain_alloc_irqs(dev.msi_domain, dev, nvec)

    def free(self, dev: Device) -> None:
        assert dev.msi_domain is not None
        msi_domain_free_irqs(dev.msi_domain, dev)


class ArrayMachine(SubdeviceMachine):
    """The messages are in an array of `slots` slots."""

    def __init__(
        self,
        slots: int = 4,
        *,
        nr_cpus: int = 2,
        defects: Iterable[Defect] = (),
        remapped: bool = False,
    ) -> None:
        super().__init__(nr_cpus, defects=defects, remapped=remapped)
        self.slots = ImsSlots(slots)
        domain = pci_ims_array_create_msi_irq_domain(self.pdev, ImsArrayInfo(self.slots, slots))
        assert domain is not None
        self.domain = domain
        data = domain.host_data.data
        assert isinstance(data, ImsArrayData)
        self.data = data

    def dev(self) -> Device:
        return self.subdevice(self.domain)

    def with_irqs(self, nvec: int, *, request: bool = False) -> Device:
        dev = self.dev()
        assert self.alloc(dev, nvec) == 0
        for irq in irqs_of(dev) if request else ():
            assert self.request_irq(irq) == 0
        return dev

    def slots_of(self, dev: Device) -> list[int]:
        return [device_msi_desc(desc).priv_iomem for desc in dev.msi_list]

    def books(self) -> object:
        """Everything that a failed allocation must leave as it was."""
        store = [(self.slots.message(k), self.slots.masked(k)) for k in range(self.slots.count)]
        return self.footprint(), self.data.map, store


class QueueMachine(SubdeviceMachine):
    """The messages are in images in memory, `positions` of each subdevice."""

    def __init__(
        self,
        positions: int = 2,
        *,
        defects: Iterable[Defect] = (),
        remapped: bool = False,
    ) -> None:
        super().__init__(defects=defects, remapped=remapped)
        self.hardware = ImsQueueDevice(positions)
        self.unlocked: list[str] = []
        info = ImsQueueInfo(
            self.hardware.queue_lock,
            self.hardware.queue_sync_unlock,
            self.hardware.queue_get_shadow,
        )
        domain = pci_ims_queue_create_msi_irq_domain(self.pdev, info)
        assert domain is not None
        self.domain = domain

    def dev(self) -> Device:
        return self.subdevice(self.domain)

    def with_irqs(self, nvec: int, *, request: bool = False) -> Device:
        dev = self.dev()
        assert self.alloc(dev, nvec) == 0
        for irq in irqs_of(dev) if request else ():
            assert self.request_irq(irq) == 0
        return dev

    def shadow(self, dev: Device, position: int = 0) -> ImsShadow:
        return self.hardware.shadows[dev.id, position]

    def watch_changes(self, dev: Device) -> None:
        """Note every change of an image of `dev` that is made without its queue."""
        self.trace.subscribe(
            lambda event: (
                self.unlocked.append(event.name)
                if event.name in _CHANGES and not self._locked(event.fields["irq"])
                else None
            )
        )

    def _locked(self, irq: int) -> bool:
        desc = self.irqs.descs[irq].msi_desc
        assert desc is not None
        shadow = device_msi_desc(desc).priv
        return isinstance(shadow, ImsShadow) and shadow.locked


_CHANGES = {
    "ims_queue_write_msi_msg",
    "ims_queue_mask_irq",
    "ims_queue_unmask_irq",
    "ims_queue_enable",
    "ims_queue_disable",
}


def irqs_of(dev: Device) -> list[int]:
    """The irqs of a subdevice, by its descriptors."""
    return [desc.irq for desc in dev.msi_list]


def composed(m: SubdeviceMachine, irq: int) -> MsiMsg:
    """The message that the levels of an interrupt make."""
    ret, msg = irq_chip_compose_msi_msg(m.irqs.descs[irq].irq_data)
    assert ret == 0
    return msg


def mask_of(m: SubdeviceMachine, irq: int) -> None:
    """Let the chip of an interrupt mask."""
    chip = m.irqs.descs[irq].irq_data.chip
    assert isinstance(chip, IrqChip) and chip.irq_mask is not None
    chip.irq_mask(m.irqs.descs[irq].irq_data)
