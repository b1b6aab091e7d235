# SPDX-License-Identifier: GPL-2.0-only
"""The interrupt remapping of a machine: what boot does with it."""

from collections.abc import Iterable
from functools import partial

from impl.arch.x86.dmar import DmarUnit
from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.x86_init import X86Platform
from impl.description import MachineDescription
from impl.drivers.iommu.amd_affinity import AmdIommuPiData
from impl.drivers.iommu.amd_devices import amd_iommu_init, amd_iommu_set_use_vapic
from impl.drivers.iommu.amd_init import amd_iommus
from impl.drivers.iommu.amd_irte import AmdGuestIr
from impl.drivers.iommu.dmar import Dmar
from impl.drivers.iommu.hyperv import HypervIommu
from impl.drivers.iommu.intel_affinity import VcpuData
from impl.drivers.iommu.intel_devices import dmar_register_bus_notifier, ir_dev_scope_init
from impl.drivers.iommu.intel_setup import intel_irq_remapping
from impl.drivers.iommu.irq_remapping import (
    IrqRemapCap,
    IrqRemapMode,
    IrqRemapping,
    irq_remap_enable_fault_handling,
    irq_remapping_cap,
    irq_remapping_disable,
    irq_remapping_enable,
    irq_remapping_get_irq_domain,
    irq_remapping_prepare,
    irq_remapping_reenable,
    setup_irqremap,
)
from impl.drivers.pci.pci import Pci, PciDev
from impl.firmware_remapping import build_dmar_table, build_ivrs

__all__ = ["Remapping"]

_FLAT_CPUS = 8
_FIRST_DESCRIPTOR = 0x1_0000_0000
_DESCRIPTOR = 64
_PAGE = 4096


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
        self.amd = amd_iommus(
            self.core,
            x86,
            build_ivrs(description),
            ioapic_ids=ioapic_ids,
            guest_ir=AmdGuestIr[description.remapping.guest_ir.upper()],
        )
        self.hyperv = HypervIommu(x86, hypervisor=description.platform == "hyperv")
        init = x86.init
        init.enable_IR_x2apic = self.enable_IR_x2apic
        init.irq_remap_enable_fault_handling = self.enable_fault_handling
        init.irq_remapping_get_irq_domain = partial(irq_remapping_get_irq_domain, self.core)

    def enable_IR_x2apic(self) -> None:
        """Switch remapping on, then the x2APIC mode if remapping can serve it.

        On bare metal the CPUs go without the x2APIC mode otherwise.
        """
        candidates = [self.intel.ops, self.amd.ops, self.hyperv.ops]
        if irq_remapping_prepare(self.core, candidates) == 0:
            self.mode = irq_remapping_enable(self.core)
        vectors = self.x86.vectors
        bare = self.description.platform == "native"
        if bare and vectors.apic.x2apic and self.mode != IrqRemapMode.X2APIC:
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
        if self.amd.ivrs:
            amd_iommu_init(self.amd, self.pci, devices)
        else:
            ir_dev_scope_init(self.intel, devices)
            dmar_register_bus_notifier(self.intel, self.pci)

    def can_post(self) -> bool:
        """Whether interrupts can go to virtual CPUs."""
        return irq_remapping_cap(self.core, IrqRemapCap.IRQ_POSTING_CAP)

    def vcpu_info(self, dev: PciDev, vcpu: int, vector: int) -> VcpuData | AmdIommuPiData:
        """What the driver must know so that interrupts of `dev` go to `vector` of a virtual CPU.

        On AMD the device is the guest's from now on.
        """
        if not self.amd.ivrs:
            return VcpuData(_FIRST_DESCRIPTOR + vcpu * _DESCRIPTOR, vector)
        amd_iommu_set_use_vapic(self.amd, dev, True)
        return AmdIommuPiData(True, _FIRST_DESCRIPTOR + vcpu * _PAGE, vector, vcpu + 1)

    def no_vcpu_info(self) -> AmdIommuPiData | None:
        """What the driver must know to take an interrupt back."""
        return AmdIommuPiData(False) if self.amd.ivrs else None

    def suspend(self) -> None:
        """Switch remapping off, as before a sleep."""
        irq_remapping_disable(self.core)

    def resume(self) -> int:
        """Switch remapping on again; 0 or the driver's error."""
        return irq_remapping_reenable(self.core, int(self.x86.vectors.apic.x2apic))
