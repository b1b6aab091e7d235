# SPDX-License-Identifier: GPL-2.0-only
"""Where the interrupt of a device goes, by what is in the device's own registers."""

from impl.arch.x86.dmar import DmarUnit
from impl.arch.x86.hpet import HpetChannel, hpet_dev_id
from impl.arch.x86.io_apic import IoApics, MpChipData, ioapic_assert_pin
from impl.arch.x86.uv import UvChipData, UvHubs
from impl.drivers.base.device_msi import device_msi_desc
from impl.drivers.base.platform_msi import platform_msi_desc
from impl.drivers.irqchip.ims_msi import ImsArrayData
from impl.drivers.irqchip.ims_msi_slots import ImsShadow
from impl.drivers.pci.pci import PciDev, pci_signal
from impl.kernel.irq.irq import IrqDesc, MsiMsg
from impl.kernel.irq.msi import MsiDomainInfo
from impl.kernel.irq.msi_desc import MsiDesc
from impl.message_routes import MessageRoutes, Target
from impl.subdevices import PlatformDevice

__all__ = ["Signals", "message_nr", "pci_message"]


class Signals:
    """What can signal on a machine, and the routes of what it sends.

    Methods return None if the device may not signal: it is masked, disabled or gone, or has no
    message yet.
    """

    def __init__(self, io_apics: IoApics, hubs: UvHubs, routes: MessageRoutes) -> None:
        self.io_apics = io_apics
        self.hubs = hubs
        self.routes = routes

    def irq(self, desc: IrqDesc) -> Target | None:
        """The device of an interrupt signals: the CPU and the vector that it reaches."""
        data, owner = desc.irq_data.chip_data, desc.handler_data
        if desc.irq_data.domain is None:
            return self._pic(desc.irq)
        if isinstance(data, MpChipData):
            reached = [self.pin(*place) for place in data.irq_2_pin]
            return next(filter(None, reached), None)
        if isinstance(data, UvChipData):
            return self._hub(data)
        if isinstance(owner, HpetChannel):
            domain = desc.irq_data.domain
            return self.routes.hpet(hpet_dev_id(domain), owner.message) if owner.enabled else None
        if isinstance(owner, DmarUnit):
            return None if owner.masked else self.routes.plain(owner.message)
        return None if desc.msi_desc is None else self._message(desc, desc.msi_desc)

    def pin(self, ioapic: int, pin: int) -> Target | None:
        """A pin of an IO-APIC is asserted: the CPU and the vector that it reaches, None if none."""
        entry = ioapic_assert_pin(self.io_apics, ioapic, pin)
        if entry is None:
            return None
        return self.routes.ioapic(self.io_apics.ioapics[ioapic].id, entry)

    def _pic(self, irq: int) -> Target | None:
        """The PIC interrupts the boot CPU."""
        if self.io_apics.pic.masked >> irq & 1:
            return None
        return 0, self.io_apics.x86.vectors.geometry.isa_irq_vector(irq)

    def _hub(self, data: UvChipData) -> Target | None:
        mmr = self.hubs.mmrs.get((data.pnode, data.offset))
        if mmr is None or mmr.mask:
            return None
        return self.io_apics.x86.vectors.apic.cpu_of_dest(mmr.dest), mmr.vector

    def _message(self, desc: IrqDesc, msi_desc: MsiDesc) -> Target | None:
        """A device that has a descriptor for its message signals."""
        dev = msi_desc.dev
        if isinstance(dev, PciDev):
            message = pci_message(desc.irq, msi_desc, dev)
            return None if message is None else self.routes.pci(dev, message)
        if isinstance(dev, PlatformDevice):
            message = dev.signal(platform_msi_desc(msi_desc).msi_index)
            return None if message is None else self.routes.plain(message)
        message = _stored_message(desc, msi_desc)
        if message is None or not isinstance(dev.parent, PciDev):
            return None
        return self.routes.pci(dev.parent, message)


def pci_message(irq: int, desc: MsiDesc, dev: PciDev) -> MsiMsg | None:
    """The message that a PCI device sends now for an irq of its descriptor, None if it may not."""
    return pci_signal(dev, message_nr(irq, desc))


def message_nr(irq: int, desc: MsiDesc) -> int:
    """Which entry of the MSI-X table, or which vector, an irq of a PCI descriptor is."""
    attrib = desc.msi_attrib
    return attrib.entry_nr if attrib.is_msix else irq - desc.irq


def _stored_message(desc: IrqDesc, msi_desc: MsiDesc) -> MsiMsg | None:
    """What a subdevice sends, whose message is in a store of its device."""
    place = device_msi_desc(msi_desc)
    if isinstance(place.priv, ImsShadow):
        return place.priv.signal()
    info = None if desc.irq_data.domain is None else desc.irq_data.domain.host_data
    if isinstance(info, MsiDomainInfo) and isinstance(info.data, ImsArrayData):
        return info.data.info.slots.signal(place.priv_iomem)
    return None
