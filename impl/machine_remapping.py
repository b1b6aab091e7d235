# SPDX-License-Identifier: GPL-2.0-only
"""The interrupt remapping of a machine: what boot does with it, and where it sends messages."""

from collections.abc import Iterable
from functools import partial

from impl.arch.x86.dmar import DmarUnit
from impl.arch.x86.io_apic_regs import IoApicRouteEntry
from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.x86_init import X86Platform
from impl.description import MachineDescription
from impl.drivers.iommu.dmar import Dmar
from impl.drivers.iommu.intel_devices import dmar_register_bus_notifier, ir_dev_scope_init
from impl.drivers.iommu.intel_hw import IrDelivery, IrFault, vtd_remap_ioapic, vtd_remap_msi
from impl.drivers.iommu.intel_setup import intel_irq_remapping
from impl.drivers.iommu.intel_table import IntelIommu
from impl.drivers.iommu.irq_remapping import (
    IrqRemapMode,
    IrqRemapping,
    irq_remap_enable_fault_handling,
    irq_remapping_disable,
    irq_remapping_enable,
    irq_remapping_get_irq_domain,
    irq_remapping_prepare,
    irq_remapping_reenable,
    setup_irqremap,
)
from impl.drivers.pci.pci import Pci, PciDev
from impl.drivers.pci.vmd import pci_real_dma_dev
from impl.firmware_remapping import build_dmar_table, drhd_address, units_of_devices
from impl.kernel.irq.irq import MsiMsg
from impl.message_routes import MessageRoutes, Target

__all__ = ["Remapping", "RemappingRoutes"]

_FLAT_CPUS = 8


class Remapping:
    """Remapping hardware of any vendor, with its drivers: `core` is in charge of them.

    The constructor hangs it into the hooks of boot.  `mode` is what enabling answered, an
    IrqRemapMode or a negative errno; None before that, and if nothing was prepared.
    """

    def __init__(self, x86: X86Platform, pci: Pci, description: MachineDescription) -> None:
        self.x86 = x86
        self.pci = pci
        self.description = description
        self.core = IrqRemapping(x86.kernel)
        self.mode: int | None = None
        if description.remapping.intremap:
            setup_irqremap(self.core, description.remapping.intremap)
        ioapic_ids = [part.id for part in description.ioapics]
        x2apic = x86.vectors.apic.x2apic
        self.intel = intel_irq_remapping(
            self.core,
            x86,
            Dmar(x86.kernel, build_dmar_table(description)),
            ioapic_ids=ioapic_ids,
            x2apic_supported=x2apic,
        )
        init = x86.init
        init.enable_IR_x2apic = self.enable_IR_x2apic
        init.irq_remap_enable_fault_handling = self.enable_fault_handling
        init.irq_remapping_get_irq_domain = partial(irq_remapping_get_irq_domain, self.core)

    def enable_IR_x2apic(self) -> None:
        """Switch remapping on, then the x2APIC mode if remapping can serve it.

        On bare metal the CPUs go without the x2APIC mode otherwise.
        """
        candidates = [self.intel.ops]
        if irq_remapping_prepare(self.core, candidates) == 0:
            self.mode = irq_remapping_enable(self.core)
        vectors = self.x86.vectors
        if vectors.apic.x2apic and self.mode != IrqRemapMode.X2APIC:
            small = vectors.kernel.nr_cpu_ids <= _FLAT_CPUS
            vectors.apic = ApicMode.FLAT if small else ApicMode.PHYSICAL

    def enable_fault_handling(self) -> None:
        """Give the units their own interrupts; what goes wrong there is only logged."""
        irq_remap_enable_fault_handling(self.core)

    def fault_events(self) -> dict[int, DmarUnit]:
        """The fault interrupts of the units that the kernel knows, by the unit's number."""
        units = self.intel.dmar.iommus
        return {iommu.fault_event.id: iommu.fault_event for iommu in units}

    def meet_devices(self, devices: Iterable[PciDev]) -> None:
        """The drivers look at the devices that are there, in order, and then follow all others."""
        ir_dev_scope_init(self.intel, devices)
        dmar_register_bus_notifier(self.intel, self.pci)

    def suspend(self) -> None:
        """Switch remapping off, as before a sleep."""
        irq_remapping_disable(self.core)

    def resume(self) -> int:
        """Switch remapping on again; 0 or the driver's error."""
        return irq_remapping_reenable(self.core, int(self.x86.vectors.apic.x2apic))


class RemappingRoutes(MessageRoutes):
    """The routes of a machine whose messages units of Intel remap."""

    def __init__(self, remapping: Remapping) -> None:
        super().__init__(remapping.x86.vectors)
        self.remapping = remapping
        self.units = units_of_devices(remapping.description)

    def pci(self, dev: PciDev, msg: MsiMsg) -> Target | None:
        """A message of a PCI device: a child of a VMD that does not remap sends as the VMD."""
        sender = pci_real_dma_dev(dev)
        iommu = self._intel_unit(self.units.get(sender.name))
        if iommu is None:
            return self.plain(msg)
        delivery = vtd_remap_msi(iommu, msg, _requester(sender))
        return self.plain(msg) if delivery is None else self._target(delivery)

    def hpet(self, hpet_id: int, msg: MsiMsg) -> Target | None:
        """A message of an HPET."""
        part = next(part for part in self.remapping.description.hpets if part.id == hpet_id)
        iommu = self._intel_unit(part.dmar)
        if iommu is None:
            return self.plain(msg)
        delivery = vtd_remap_msi(iommu, msg, part.requester)
        return self.plain(msg) if delivery is None else self._target(delivery)

    def ioapic(self, ioapic_id: int, entry: IoApicRouteEntry) -> Target | None:
        """What an IO-APIC sends by the entry of a pin."""
        part = next(part for part in self.remapping.description.ioapics if part.id == ioapic_id)
        iommu = self._intel_unit(part.dmar)
        if iommu is None:
            return super().ioapic(ioapic_id, entry)
        delivery = vtd_remap_ioapic(iommu, entry, part.requester)
        return super().ioapic(ioapic_id, entry) if delivery is None else self._target(delivery)

    def _intel_unit(self, unit: int | None) -> IntelIommu | None:
        """The unit as the kernel knows it, None if there is none or it was never prepared."""
        if unit is None or unit < 0:
            return None
        address = drhd_address(unit)
        known = self.remapping.intel.dmar.drhd_units
        return next((each.iommu for each in known if each.hdr.address == address), None)

    def _target(self, delivery: IrDelivery | IrFault) -> Target | None:
        """What is blocked goes nowhere, and what is posted to no handler."""
        if isinstance(delivery, IrFault) or delivery.pda:
            return None
        return self.vectors.apic.cpu_of_dest(delivery.dest), delivery.vector


def _requester(dev: PciDev) -> int:
    """The id under which a device's messages appear: its last alias on another bus, or its own."""
    shown = [alias for bus, alias in dev.dma_aliases if bus != dev.bus.number]
    return shown[-1] if shown else dev.devid
