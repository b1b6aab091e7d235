# SPDX-License-Identifier: GPL-2.0-only
"""A machine whose interrupts AMD-Vi remaps, for the tests."""

from collections.abc import Iterable

from impl.arch.x86.i8259 import LegacyPic
from impl.arch.x86.io_apic import IoApic, IoApicDomainType, IoApics, ioapic_assert_pin
from impl.arch.x86.io_apic_domain import mp_irqdomain_create
from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.x86_init import X86Init
from impl.defects import Defect
from impl.drivers.iommu.amd import AmdIrData, Irq2Irte, IrqRemapTable, Ivhd
from impl.drivers.iommu.amd_affinity import amd_ir_data
from impl.drivers.iommu.amd_devices import amd_iommu_init
from impl.drivers.iommu.amd_hw import amd_deliver_msi, amd_deliver_pin
from impl.drivers.iommu.amd_init import IOAPIC_SB_DEVID, amd_iommus
from impl.drivers.iommu.amd_irte import AmdGuestIr, AmdIrte
from impl.drivers.iommu.amd_table import read_irte
from impl.drivers.iommu.irq_remapping import (
    IrqRemapping,
    irq_remapping_enable,
    irq_remapping_get_irq_domain,
    irq_remapping_prepare,
)
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.pci import PciDev, pci_signal
from impl.kernel.irq.irq import IrqData, IrqDomain
from impl.kernel.irq.irqdomain import irq_domain_get_irq_data
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs
from impl.kernel.irq.msi import MsiAttrib
from impl.kernel.irq.msi_desc import alloc_msi_entry
from tests.impl.pci_support import PciMachine

__all__ = ["HPET_DEVID", "IOAPIC", "IVRS", "AmdMachine", "alloc", "ir_domain", "pci_info"]

IOAPIC = 4
"""The APIC id of the south bridge's IO-APIC."""

HPET_DEVID = 0xA1

IVRS = (
    Ivhd(0, ((0, 0x3FFF),), ioapics=((IOAPIC, IOAPIC_SB_DEVID),), hpets=((0, HPET_DEVID),)),
    Ivhd(1, ((0x4000, 0xFFFF),)),
)


class AmdMachine(PciMachine):
    """Two units: one for buses 0 to 3f with the IO-APIC and the HPET, one for the others."""

    def __init__(
        self,
        nr_cpus: int = 2,
        *,
        defects: Iterable[Defect] = (),
        guest_ir: AmdGuestIr = AmdGuestIr.VAPIC,
        ivrs: tuple[Ivhd, ...] = IVRS,
        apic: ApicMode | None = None,
        prepare: bool = True,
        enable: bool = True,
        probe: bool = True,
    ) -> None:
        init = X86Init()
        super().__init__(nr_cpus, defects=defects, apic=apic, x86_init=init)
        self.r = IrqRemapping(self.kernel)
        init.irq_remapping_get_irq_domain = lambda info: irq_remapping_get_irq_domain(self.r, info)
        self.amd = amd_iommus(self.r, self.x86, ivrs, ioapic_ids=(IOAPIC,), guest_ir=guest_ir)
        if prepare:
            assert irq_remapping_prepare(self.r, (self.amd.ops,)) == 0
        if prepare and enable:
            assert irq_remapping_enable(self.r) >= 0
        if probe:
            assert amd_iommu_init(self.amd, self.pci, ()) == 0

    def ioapics(self, pins: int = 24, id: int = IOAPIC) -> IoApics:
        """An IO-APIC with its domain; its GSIs start at 0."""
        ioapic = IoApic(id, 0, pins, IoApicDomainType.DYNAMIC)
        a = IoApics(self.x86, LegacyPic(0), [ioapic], ())
        assert mp_irqdomain_create(a, 0) == 0
        return a

    def ir_level(self, irq: int, unit: int = 0) -> IrqData:
        """The remapping level of an interrupt."""
        domain = self.amd.units[unit].ir_domain
        assert domain is not None
        irqd = irq_domain_get_irq_data(self.domains, domain, irq)
        assert irqd is not None
        return irqd

    def ir_data(self, irq: int, unit: int = 0) -> AmdIrData:
        return amd_ir_data(self.ir_level(irq, unit))

    def where(self, irq: int, unit: int = 0) -> Irq2Irte:
        """Which entry the interrupt uses."""
        return self.ir_data(irq, unit).irq_2_irte

    def irte(self, irq: int, unit: int = 0) -> AmdIrte:
        """What the table holds for an interrupt."""
        where = self.where(irq, unit)
        return read_irte(self.amd, self.table(where.devid), where.index)

    def table(self, devid: int) -> IrqRemapTable:
        return self.amd.irq_lookup_table[devid]

    def taken(self, devid: int) -> list[int]:
        """The entries of a requester's table that are taken."""
        words = self.table(devid).table
        return [slot for slot, word in enumerate(words) if self.amd.format.is_allocated(word)]

    def config(self, irq: int) -> tuple[int, int]:
        """Where the vector level wants the interrupt."""
        cfg = self.vector_level(irq).hw_irq_cfg
        return cfg.dest_apicid, cfg.vector

    def deliver(self, dev: PciDev, nr: int, devid: int | None = None) -> tuple[int, int] | None:
        """The device raises vector `nr`, its request appearing under `devid`."""
        msg = pci_signal(dev, nr)
        assert msg is not None
        return amd_deliver_msi(self.amd, dev.devid if devid is None else devid, msg)

    def deliver_pin(self, a: IoApics, pin: int) -> tuple[int, int] | None:
        entry = ioapic_assert_pin(a, 0, pin)
        return None if entry is None else amd_deliver_pin(self.amd, IOAPIC_SB_DEVID, entry)


def ir_domain(m: AmdMachine, unit: int = 0) -> IrqDomain:
    domain = m.amd.units[unit].ir_domain
    assert domain is not None
    return domain


def pci_info(m: AmdMachine, nvec: int, *, msix: bool = False) -> IrqAllocInfo:
    """The argument of an allocation that goes past the MSI domain."""
    dev = m.device(msi=MsiCap(5))
    desc = alloc_msi_entry(m.kernel, dev, nvec, None, MsiAttrib(is_msix=msix))
    assert desc is not None
    return IrqAllocInfo(
        type=X86_IRQ_ALLOC_TYPE.PCI_MSIX if msix else X86_IRQ_ALLOC_TYPE.PCI_MSI, desc=desc
    )


def alloc(m: AmdMachine, nvec: int, info: IrqAllocInfo | None) -> int:
    return irq_domain_alloc_irqs(m.domains, ir_domain(m), -1, nvec, 0, info)
