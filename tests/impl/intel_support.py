# SPDX-License-Identifier: GPL-2.0-only
"""A machine behind VT-d for the tests: one catch-all unit, unless others are given."""

from collections.abc import Callable, Iterable, Sequence

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.irq_vectors import ApicMode
from impl.defects import Defect
from impl.drivers.iommu.dmar import (
    DMAR_INTR_REMAP,
    DeviceScope,
    Dmar,
    DmarTable,
    DrhdHeader,
    ScopeType,
)
from impl.drivers.iommu.intel_affinity import intel_ir_data
from impl.drivers.iommu.intel_devices import dmar_register_bus_notifier, ir_dev_scope_init
from impl.drivers.iommu.intel_irte import Irte, unpack_irte
from impl.drivers.iommu.intel_setup import intel_irq_remapping
from impl.drivers.iommu.intel_table import IntelCaps, IntelIommu, IntelIrData
from impl.drivers.iommu.irq_remapping import (
    IrqRemapping,
    irq_remapping_enable,
    irq_remapping_get_irq_domain,
    irq_remapping_prepare,
)
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import pci_enable_msi_range
from impl.drivers.pci.pci import PciBus, PciDev
from impl.drivers.pci.probe import pci_device_add
from impl.kernel.irq.irq import IrqData, IrqDomain, IrqDomainOps
from impl.kernel.irq.irqdomain import irq_domain_get_irq_data
from impl.trace import Event
from tests.impl.pci_support import PciMachine

__all__ = [
    "CATCH_ALL",
    "HPET_SCOPE",
    "IOAPIC_SCOPE",
    "IntelMachine",
    "endpoint",
    "parent_query",
    "unit",
]

IOAPIC_SCOPE = DeviceScope(ScopeType.IOAPIC, 0xF0, ((0x1F, 0),), 2)
HPET_SCOPE = DeviceScope(ScopeType.HPET, 0xF0, ((0x0F, 0),), 0)


def unit(
    address: int,
    *scopes: DeviceScope,
    include_all: bool = False,
    segment: int = 0,
    caps: IntelCaps | None = None,
) -> DrhdHeader:
    return DrhdHeader(
        address=address,
        segment=segment,
        include_all=include_all,
        scopes=scopes,
        caps=caps if caps is not None else IntelCaps(),
    )


def endpoint(bus: int, *path: tuple[int, int], type: ScopeType = ScopeType.ENDPOINT) -> DeviceScope:
    return DeviceScope(type, bus, path)


CATCH_ALL = unit(0x1000, IOAPIC_SCOPE, HPET_SCOPE, include_all=True)


class IntelMachine(PciMachine):
    """Remapping is prepared, enabled and follows devices, each unless told otherwise.

    `prepared` and `mode` are what the first two answered.
    """

    def __init__(
        self,
        *units: DrhdHeader,
        nr_cpus: int = 2,
        flags: int = DMAR_INTR_REMAP,
        defects: Iterable[Defect] = (),
        apic: ApicMode | None = ApicMode.X2APIC_CLUSTER,
        ioapic_ids: Sequence[int] = (2,),
        x2apic_supported: bool = True,
        cx16: bool = True,
        kdump: bool = False,
        table: bool = True,
        prepare: bool = True,
        enable: bool = True,
        follow: bool = True,
        before: Callable[["IntelMachine"], None] = lambda m: None,
    ) -> None:
        super().__init__(nr_cpus, defects=defects, apic=apic)
        self.r = IrqRemapping(self.kernel)
        headers = units or (CATCH_ALL,)
        self.dmar = Dmar(self.kernel, DmarTable(flags, headers) if table else None)
        self.ir = intel_irq_remapping(
            self.r,
            self.x86,
            self.dmar,
            ioapic_ids=ioapic_ids,
            x2apic_supported=x2apic_supported,
            cx16=cx16,
            kdump=kdump,
        )
        self.x86.init.irq_remapping_get_irq_domain = lambda info: irq_remapping_get_irq_domain(
            self.r, info
        )
        before(self)
        self.prepared = irq_remapping_prepare(self.r, [self.ir.ops]) if prepare else 0
        self.mode = -1
        if prepare and enable and self.prepared == 0:
            self.mode = irq_remapping_enable(self.r)
        if follow:
            assert ir_dev_scope_init(self.ir, ()) == 0
            dmar_register_bus_notifier(self.ir, self.pci)

    @property
    def iommu(self) -> IntelIommu:
        """The first unit."""
        return self.dmar.drhd_units[0].iommu

    def unit_at(self, address: int) -> IntelIommu:
        return next(u.iommu for u in self.dmar.drhd_units if u.hdr.address == address)

    def with_msi(
        self,
        nvec: int,
        *,
        bus: PciBus | None = None,
        devfn: int | None = None,
        dma_aliases: tuple[tuple[int, int], ...] = (),
    ) -> PciDev:
        """A device that has `nvec` MSI vectors."""
        cap = MsiCap(5, maskbit=True)
        dev = self.device(msi=cap, bus=bus, devfn=devfn, dma_aliases=dma_aliases)
        assert pci_enable_msi_range(dev, nvec, nvec) == nvec
        return dev

    def virtfn(self, physfn: PciDev, bus: PciBus, devfn: int) -> PciDev:
        self.nr_devices += 1
        dev = PciDev(self.nr_devices, f"vf{self.nr_devices}", bus, devfn, physfn=physfn)
        pci_device_add(dev)
        return dev

    def level(self, irq: int) -> IrqData:
        """The remapping level of an irq."""
        for each in self.dmar.iommus:
            if each.ir_domain is not None:
                irqd = irq_domain_get_irq_data(self.domains, each.ir_domain, irq)
                if irqd is not None:
                    return irqd
        raise AssertionError(f"irq {irq} is not remapped")

    def ir_data(self, irq: int) -> IntelIrData:
        return intel_ir_data(self.level(irq))

    def entry(self, irq: int) -> Irte:
        """What the table says of an irq."""
        irq_iommu = self.ir_data(irq).irq_2_iommu
        return unpack_irte(*irq_iommu.iommu.irta.get(irq_iommu.slot, (0, 0)))

    def remapped(self) -> list[int]:
        """All irqs that a unit remaps, ascending."""
        domains = [each.ir_domain for each in self.dmar.iommus if each.ir_domain is not None]
        return [
            irq
            for irq in sorted(self.irqs.descs)
            if any(irq_domain_get_irq_data(self.domains, d, irq) is not None for d in domains)
        ]

    def ir_footprint(self) -> object:
        """What a failed allocation must leave as it was (INT-10)."""
        tables = [
            (each.ir_table.bitmap, dict(each.ir_table.base))
            for each in self.dmar.iommus
            if each.ir_table is not None
        ]
        return self.footprint(), tables

    def spoil_parent(self, virq_index: int, spoil: Callable[[IrqData], None]) -> None:
        """Let the vector domain leave an odd level behind, for that member of each block."""
        domain = self.vectors.x86_vector_domain
        ops = domain.ops
        native = ops.alloc
        assert native is not None

        def alloc(domain: IrqDomain, virq: int, nr_irqs: int, info: IrqAllocInfo) -> int:
            ret = native(domain, virq, nr_irqs, info)
            if ret >= 0 and virq_index < nr_irqs:
                spoil(self.irqs.descs[virq + virq_index].irq_data)
            return ret

        domain.ops = IrqDomainOps(
            alloc=alloc, free=ops.free, activate=ops.activate, deactivate=ops.deactivate
        )

    def events(self, operation: Callable[[], object], *names: str) -> list[Event]:
        """The events with one of `names` that an operation emits."""
        seen: list[Event] = []
        stop = self.trace.subscribe(seen.append)
        operation()
        stop()
        return [event for event in seen if event.name in names]


def parent_query(type: X86_IRQ_ALLOC_TYPE, id: int) -> IrqAllocInfo:
    return IrqAllocInfo(type=type, devid=id)
