# SPDX-License-Identifier: GPL-2.0-only
"""IO-APICs in Hyper-V guests."""

import errno
from typing import Any

import pytest

from impl.arch.x86.hpet import hpet_create_irq_domain
from impl.arch.x86.i8259 import LegacyPic
from impl.arch.x86.io_apic import IoApic, IoApicDomainType, IoApics, ioapic_read_entry
from impl.arch.x86.io_apic_domain import mp_irqdomain_create
from impl.arch.x86.io_apic_map import acpi_register_gsi, acpi_unregister_gsi
from impl.arch.x86.io_apic_regs import IOAPIC_EDGE, IOAPIC_LEVEL, IOAPIC_POL_HIGH, IOAPIC_POL_LOW
from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.x86_init import X86Init
from impl.drivers.iommu.hyperv import (
    IOAPIC_REMAPPING_ENTRY,
    HypervIommu,
    hyperv_irq_remapping_alloc,
)
from impl.drivers.iommu.irq_remapping import (
    IrqRemapMode,
    IrqRemapping,
    irq_remapping_enable,
    irq_remapping_get_irq_domain,
    irq_remapping_prepare,
)
from impl.drivers.pci.capability import MsiCap
from impl.kernel.irq.irq import IRQ_SET_MASK_OK, IrqDomain, IrqDomainOps, irq_data_get_irq_chip
from impl.kernel.irq.irqdomain import (
    irq_domain_create_hierarchy,
    irq_domain_get_irq_data,
    irq_find_mapping,
)
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs
from tests.impl.pci_support import PciMachine
from tests.impl.support import mask

TYPE = X86_IRQ_ALLOC_TYPE


class HypervMachine(PciMachine):
    """A guest of Hyper-V with an IO-APIC of 24 pins."""

    def __init__(self, nr_cpus: int = 2, apic: ApicMode = ApicMode.PHYSICAL) -> None:
        init = X86Init()
        super().__init__(nr_cpus, apic=apic, x86_init=init)
        self.r = IrqRemapping(self.kernel)
        init.irq_remapping_get_irq_domain = lambda info: irq_remapping_get_irq_domain(self.r, info)
        self.hv = HypervIommu(self.x86, hypervisor=True)
        self.fwnodes = set(self.domains.fwnodes)

    def start(self) -> IoApics:
        assert irq_remapping_prepare(self.r, (self.hv.ops,)) == 0
        assert irq_remapping_enable(self.r) == IrqRemapMode.X2APIC
        ioapic = IoApic(0, 0, 24, IoApicDomainType.DYNAMIC)
        a = IoApics(self.x86, LegacyPic(0), [ioapic], ())
        assert mp_irqdomain_create(a, 0) == 0
        return a

    def config(self, irq: int) -> tuple[int, int]:
        cfg = self.vector_level(irq).hw_irq_cfg
        return cfg.dest_apicid, cfg.vector


def target(a: IoApics, pin: int) -> tuple[int, int]:
    entry = ioapic_read_entry(a, 0, pin)
    return entry.dest, entry.vector


def test_hvi_3_the_flag_stays_clear_and_pci_devices_are_not_touched() -> None:
    m = HypervMachine()
    m.start()
    assert m.r.remap_ops is m.hv.ops and not m.r.irq_remapping_enabled
    dev = m.device(msi=MsiCap())
    assert dev.msi_domain is m.x86.pci_msi_default_domain


def test_the_domain_lies_on_the_vector_domain() -> None:
    m = HypervMachine()
    m.start()
    domain = m.hv.domain
    assert domain is not None and domain.name == "HYPERV-IR-0"
    assert domain.parent is m.vectors.x86_vector_domain
    assert len(domain.linear_revmap) == IOAPIC_REMAPPING_ENTRY == 24


def test_hvi_1_io_apics_have_a_parent_and_nobody_else() -> None:
    m = HypervMachine()
    a = m.start()
    asked = {
        type: irq_remapping_get_irq_domain(m.r, IrqAllocInfo(type=type, devid=77)) for type in TYPE
    }
    assert {type for type, domain in asked.items() if domain} == {TYPE.IOAPIC_GET_PARENT}
    assert irq_remapping_get_irq_domain(m.r, None) is None
    assert a.ioapics[0].domain is not None and a.ioapics[0].domain.parent is m.hv.domain
    hpet = hpet_create_irq_domain(m.x86, 0)
    assert hpet is not None and hpet.parent is m.vectors.x86_vector_domain


@pytest.mark.parametrize(
    ("info", "nr_irqs"),
    [
        (None, 1),
        (IrqAllocInfo(type=TYPE.HPET), 1),
        (IrqAllocInfo(type=TYPE.PCI_MSI), 1),
        (IrqAllocInfo(type=TYPE.IOAPIC), 2),
    ],
)
def test_hvi_1_other_allocations_are_refused(info: IrqAllocInfo | None, nr_irqs: int) -> None:
    m = HypervMachine()
    m.start()
    before = m.footprint()
    assert irq_domain_alloc_irqs(m.domains, m.hv.domain, -1, nr_irqs, 0, info) == -errno.EINVAL
    assert m.footprint() == before


@pytest.mark.parametrize(
    ("trigger", "polarity"), [(IOAPIC_EDGE, IOAPIC_POL_HIGH), (IOAPIC_LEVEL, IOAPIC_POL_LOW)]
)
def test_hvi_2_the_route_entry_names_the_target(trigger: int, polarity: int) -> None:
    m = HypervMachine()
    a = m.start()
    irq = acpi_register_gsi(a, 9, trigger, polarity)
    assert m.request_irq(irq) == 0
    assert target(a, 9) == m.config(irq)
    assert ioapic_read_entry(a, 0, 9).trigger == trigger
    cpu = m.vector_level(irq).cpu
    assert m.set_affinity(irq, mask(1 - cpu)) == 0
    assert m.fire(irq)
    assert m.vector_level(irq).cpu == 1 - cpu
    assert target(a, 9) == m.config(irq)


def test_hvi_2_a_move_is_complete_when_the_entry_is_written() -> None:
    m = HypervMachine()
    a = m.start()
    irq = acpi_register_gsi(a, 9, IOAPIC_EDGE, IOAPIC_POL_HIGH)
    assert m.request_irq(irq) == 0
    domain = m.hv.domain
    assert domain is not None
    level = irq_domain_get_irq_data(m.domains, domain, irq)
    assert level is not None
    setter = irq_data_get_irq_chip(level).irq_set_affinity
    assert setter is not None
    cpu = m.vector_level(irq).cpu
    assert setter(level, mask(1 - cpu), False) == IRQ_SET_MASK_OK
    # Only the image is written; the IO-APIC does the rest.
    assert target(a, 9) != m.config(irq)
    entry = m.irqd(irq).chip_data.entry
    assert (entry.dest, entry.vector) == m.config(irq)
    assert not m.vector_level(irq).move_in_progress
    assert setter(level, mask(cpu), False) == -errno.EBUSY


def test_hvi_2_cpus_that_an_io_apic_cannot_name_are_refused() -> None:
    m = HypervMachine(260)
    a = m.start()
    assert m.hv.ioapic_max_cpumask == (1 << 256) - 1
    irq = acpi_register_gsi(a, 9, IOAPIC_EDGE, IOAPIC_POL_HIGH)
    assert m.irqd(irq).common.affinity == m.hv.ioapic_max_cpumask
    assert m.request_irq(irq) == 0
    before = target(a, 9)
    domain = m.hv.domain
    assert domain is not None
    level = irq_domain_get_irq_data(m.domains, domain, irq)
    assert level is not None
    setter = irq_data_get_irq_chip(level).irq_set_affinity
    assert setter is not None
    assert setter(level, mask(3, 256), False) == -errno.EINVAL
    assert target(a, 9) == before
    assert setter(level, mask(255), False) == IRQ_SET_MASK_OK
    assert m.irqd(irq).chip_data.entry.dest == 255


def test_all_pins_share_the_hwirq_that_nobody_sets() -> None:
    m = HypervMachine()
    a = m.start()
    domain = m.hv.domain
    assert domain is not None
    irqs = [acpi_register_gsi(a, pin, IOAPIC_EDGE, IOAPIC_POL_HIGH) for pin in (9, 10)]
    levels = [irq_domain_get_irq_data(m.domains, domain, irq) for irq in irqs]
    assert [level.hwirq for level in levels if level is not None] == [0, 0]
    assert irq_find_mapping(m.domains, domain, 0) == irqs[1]
    acpi_unregister_gsi(a, 10)
    assert irq_find_mapping(m.domains, domain, 0) == 0
    assert m.request_irq(irqs[0]) == 0
    assert target(a, 9) == m.config(irqs[0])


def test_the_io_apic_keeps_the_place_of_its_entry() -> None:
    m = HypervMachine()
    a = m.start()
    irq = acpi_register_gsi(a, 9, IOAPIC_LEVEL, IOAPIC_POL_LOW)
    domain = m.hv.domain
    assert domain is not None
    level = irq_domain_get_irq_data(m.domains, domain, irq)
    assert level is not None and level.chip_data is m.irqd(irq).chip_data
    # The IO-APIC has made the entry itself, in the native format.
    assert m.irqd(irq).chip_data.entry.vector == m.config(irq)[1]
    assert m.irqd(irq).chip_data.entry.mask == 1


def test_freeing_gives_everything_back() -> None:
    m = HypervMachine()
    a = m.start()
    before = m.footprint()
    assert acpi_register_gsi(a, 9, IOAPIC_EDGE, IOAPIC_POL_HIGH) > 0
    acpi_unregister_gsi(a, 9)
    assert m.footprint() == before


def test_the_parents_error_is_passed_on() -> None:
    m = HypervMachine()
    a = m.start()
    before = m.footprint()
    m.fail_next("alloc_apic_chip_data")
    assert acpi_register_gsi(a, 9, IOAPIC_EDGE, IOAPIC_POL_HIGH) == -errno.ENOMEM
    assert m.footprint() == before


def test_an_interrupt_without_a_level_is_refused() -> None:
    m = HypervMachine()
    m.start()
    before = m.counters()

    def inner(domain: IrqDomain, virq: int, nr_irqs: int, arg: Any) -> int:
        assert m.hv.domain is not None
        return hyperv_irq_remapping_alloc(m.hv, m.hv.domain, virq, nr_irqs, arg)

    vectors = m.vectors.x86_vector_domain
    ops = IrqDomainOps(alloc=inner)
    domain = irq_domain_create_hierarchy(m.domains, vectors, 0, 0, None, ops)
    info = IrqAllocInfo(type=TYPE.IOAPIC)
    assert irq_domain_alloc_irqs(m.domains, domain, -1, 1, 0, info) == -errno.EINVAL
    assert m.counters() == before and vectors.mapcount == 0


def test_preparing_needs_hyper_v_and_x2apic() -> None:
    m = HypervMachine(apic=ApicMode.FLAT)
    assert m.hv.ops.prepare() == -errno.ENODEV
    m = HypervMachine()
    assert HypervIommu(m.x86, hypervisor=False).ops.prepare() == -errno.ENODEV
    assert m.hv.domain is None


@pytest.mark.parametrize("site", ["irq_domain_alloc_fwnode", "irq_domain_add"])
def test_without_memory_there_is_no_domain(site: str) -> None:
    m = HypervMachine()
    m.fail_next(site)
    assert m.hv.ops.prepare() == -errno.ENOMEM
    assert (m.hv.domain, m.hv.ioapic_max_cpumask) == (None, 0)
    assert m.domains.fwnodes == m.fwnodes
    assert irq_remapping_prepare(m.r, (m.hv.ops,)) == 0
