# SPDX-License-Identifier: GPL-2.0-only
"""Where messages arrive that remapping hardware gets first."""

from impl.arch.x86.io_apic_regs import IoApicRouteEntry
from impl.arch.x86.vector import VectorSpace
from impl.drivers.iommu.amd_hw import amd_deliver_msi, amd_deliver_pin
from impl.drivers.iommu.intel_hw import IrDelivery, IrFault, vtd_remap_ioapic, vtd_remap_msi
from impl.drivers.iommu.intel_table import IntelIommu
from impl.drivers.pci.hyperv_msi import HvPciBus
from impl.drivers.pci.pci import PciDev
from impl.drivers.pci.vmd import pci_real_dma_dev
from impl.firmware_remapping import drhd_address, units_of_devices
from impl.kernel.irq.irq import MsiMsg
from impl.machine_remapping import Remapping
from impl.message_routes import MessageRoutes, Target

__all__ = ["AmdRoutes", "HypervRoutes", "IntelRoutes", "message_routes"]


def message_routes(vectors: VectorSpace, remapping: Remapping | None) -> MessageRoutes:
    """The routes of a machine, by the hardware that it has."""
    if remapping is None:
        return MessageRoutes(vectors)
    if remapping.description.platform == "hyperv":
        return HypervRoutes(vectors)
    return AmdRoutes(remapping) if remapping.amd.ivrs else IntelRoutes(remapping)


class HypervRoutes(MessageRoutes):
    """The routes of a guest of Hyper-V, whose host remaps what it has passed through."""

    def pci(self, dev: PciDev, msg: MsiMsg) -> Target | None:
        """A message of a PCI device."""
        owner = dev.bus.sysdata
        if isinstance(owner, HvPciBus):
            return owner.host.deliver(dev.devfn, msg)
        return self.plain(msg)


class IntelRoutes(MessageRoutes):
    """The routes of a machine whose messages VT-d units remap."""

    def __init__(self, remapping: Remapping) -> None:
        super().__init__(remapping.x86.vectors)
        self.dmar = remapping.intel.dmar
        self.description = remapping.description
        self.units = units_of_devices(remapping.description)

    def pci(self, dev: PciDev, msg: MsiMsg) -> Target | None:
        """A message of a PCI device: a child of a VMD that does not remap sends as the VMD."""
        sender = pci_real_dma_dev(dev)
        return self._message(self.units.get(sender.name, -1), _requester(sender), msg)

    def hpet(self, hpet_id: int, msg: MsiMsg) -> Target | None:
        """A message of an HPET."""
        part = next(part for part in self.description.hpets if part.id == hpet_id)
        return self._message(part.dmar, part.requester, msg)

    def ioapic(self, ioapic_id: int, entry: IoApicRouteEntry) -> Target | None:
        """What an IO-APIC sends by the entry of a pin."""
        part = next(part for part in self.description.ioapics if part.id == ioapic_id)
        iommu = self._iommu(part.dmar)
        delivery = None if iommu is None else vtd_remap_ioapic(iommu, entry, part.requester)
        return super().ioapic(ioapic_id, entry) if delivery is None else self._target(delivery)

    def _message(self, unit: int, requester: int, msg: MsiMsg) -> Target | None:
        iommu = self._iommu(unit)
        delivery = None if iommu is None else vtd_remap_msi(iommu, msg, requester)
        return self.plain(msg) if delivery is None else self._target(delivery)

    def _iommu(self, unit: int) -> IntelIommu | None:
        """The unit as the kernel knows it, None if there is none or it was never prepared."""
        address, known = drhd_address(unit), self.dmar.drhd_units
        return next((each.iommu for each in known if each.hdr.address == address), None)

    def _target(self, delivery: IrDelivery | IrFault) -> Target | None:
        """What is blocked goes nowhere, and what is posted to no handler."""
        if isinstance(delivery, IrFault) or delivery.pda:
            return None
        return self.vectors.apic.cpu_of_dest(delivery.dest), delivery.vector


class AmdRoutes(MessageRoutes):
    """The routes of a machine whose messages AMD-Vi units remap."""

    def __init__(self, remapping: Remapping) -> None:
        super().__init__(remapping.x86.vectors)
        self.amd = remapping.amd
        self.description = remapping.description

    def pci(self, dev: PciDev, msg: MsiMsg) -> Target | None:
        """A message of a PCI device: a child of a VMD that does not remap sends as the VMD."""
        return self._message(_requester(pci_real_dma_dev(dev)), msg)

    def hpet(self, hpet_id: int, msg: MsiMsg) -> Target | None:
        """A message of an HPET."""
        part = next(part for part in self.description.hpets if part.id == hpet_id)
        return self._message(part.requester, msg) if part.requester >= 0 else self.plain(msg)

    def ioapic(self, ioapic_id: int, entry: IoApicRouteEntry) -> Target | None:
        """What an IO-APIC sends by the entry of a pin."""
        part = next(part for part in self.description.ioapics if part.id == ioapic_id)
        if part.requester < 0:
            return super().ioapic(ioapic_id, entry)
        return self._target(amd_deliver_pin(self.amd, part.requester, entry))

    def _message(self, requester: int, msg: MsiMsg) -> Target | None:
        return self._target(amd_deliver_msi(self.amd, requester, msg))

    def _target(self, delivery: tuple[int, int] | None) -> Target | None:
        if delivery is None:
            return None
        return self.vectors.apic.cpu_of_dest(delivery[0]), delivery[1]


def _requester(dev: PciDev) -> int:
    """The id under which a device's messages appear: its last alias on another bus, or its own."""
    shown = [alias for bus, alias in dev.dma_aliases if bus != dev.bus.number]
    return shown[-1] if shown else dev.devid
