# SPDX-License-Identifier: GPL-2.0-only
"""IO-APICs and HPETs behind AMD-Vi."""

import errno

import pytest

from impl.arch.x86.hpet import HpetChannel, hpet_assign_irq, hpet_create_irq_domain
from impl.arch.x86.io_apic import ioapic_read_entry
from impl.arch.x86.io_apic_map import acpi_register_gsi, acpi_unregister_gsi
from impl.arch.x86.io_apic_regs import (
    IOAPIC_EDGE,
    IOAPIC_LEVEL,
    IOAPIC_POL_HIGH,
    IOAPIC_POL_LOW,
    IoApicRouteEntry,
)
from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.msidef import MSI_ADDR_BASE_LO
from impl.arch.x86.vector import HwIrqCfg
from impl.drivers.iommu.amd import AmdIrData
from impl.drivers.iommu.amd_domain import irq_remapping_prepare_irte
from impl.drivers.iommu.amd_init import IOAPIC_SB_DEVID
from impl.drivers.iommu.amd_irte import AmdIrte
from impl.drivers.iommu.amd_table import alloc_irq_index
from impl.kernel.irq.irq import MsiMsg
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_free_irqs
from impl.kernel.kernel import KernelBug
from tests.impl.amd_support import HPET_DEVID, AmdMachine, alloc, ir_domain, pci_info

TYPE = X86_IRQ_ALLOC_TYPE


@pytest.mark.parametrize(
    ("trigger", "polarity"), [(IOAPIC_EDGE, IOAPIC_POL_HIGH), (IOAPIC_LEVEL, IOAPIC_POL_LOW)]
)
def test_amd_6_a_pin_has_the_entry_of_its_number(trigger: int, polarity: int) -> None:
    m = AmdMachine()
    a = m.ioapics()
    irq = acpi_register_gsi(a, 19, trigger, polarity)
    assert irq > 0
    assert (m.where(irq).devid, m.where(irq).index) == (IOAPIC_SB_DEVID, 19)
    assert m.table(IOAPIC_SB_DEVID).min_index == 32
    data = m.irqd(irq).chip_data
    assert data.entry == IoApicRouteEntry(
        vector=19, trigger=trigger, polarity=polarity, mask=int(trigger == IOAPIC_LEVEL)
    )
    assert m.request_irq(irq) == 0
    entry = ioapic_read_entry(a, 0, 19)
    assert (entry.vector, entry.mask, entry.trigger) == (19, 0, trigger)
    assert m.deliver_pin(a, 19) == m.config(irq)
    assert m.set_affinity(irq, 1) == 0
    assert ioapic_read_entry(a, 0, 19).vector == 19


def test_amd_6_a_pin_that_comes_back_finds_its_entry_free() -> None:
    m = AmdMachine()
    a = m.ioapics()
    assert acpi_register_gsi(a, 19, IOAPIC_EDGE, IOAPIC_POL_HIGH) > 0
    taken = m.taken(IOAPIC_SB_DEVID)
    assert taken == list(range(32))
    acpi_unregister_gsi(a, 19)
    taken.remove(19)
    assert m.taken(IOAPIC_SB_DEVID) == taken
    irq = acpi_register_gsi(a, 19, IOAPIC_EDGE, IOAPIC_POL_HIGH)
    assert m.where(irq).index == 19
    # Only activation takes it again; nobody else gets it, as 32 is the lowest for others.
    assert m.taken(IOAPIC_SB_DEVID) == taken
    assert alloc_irq_index(m.amd, IOAPIC_SB_DEVID, 1, False, None) == 32
    assert m.early_activate(irq, False) == 0
    assert 19 in m.taken(IOAPIC_SB_DEVID)


def test_amd_10_a_pin_that_fails_keeps_the_table_and_the_reservation() -> None:
    m = AmdMachine()
    a = m.ioapics()
    before = m.footprint()
    m.fail_next("irq_remapping_alloc")
    assert acpi_register_gsi(a, 3, IOAPIC_EDGE, IOAPIC_POL_HIGH) == -errno.ENOMEM
    assert m.footprint() == before
    assert m.table(IOAPIC_SB_DEVID).min_index == 32
    m = AmdMachine()
    a = m.ioapics()
    m.fail_next("alloc_irq_table")
    assert acpi_register_gsi(a, 3, IOAPIC_EDGE, IOAPIC_POL_HIGH) == -errno.ENOMEM
    assert m.footprint() == before and m.amd.irq_lookup_table == {}


def test_trap_5_the_io_apic_learns_that_its_entry_has_a_format() -> None:
    m = AmdMachine()
    a = m.ioapics()
    irq = acpi_register_gsi(a, 0, IOAPIC_EDGE, IOAPIC_POL_HIGH)
    assert m.irqd(irq).chip is a.ir_chip
    assert m.irqd(irq).chip_data.entry.vector == 0 != m.config(irq)[1]


def test_an_hpet_gets_a_message_that_names_its_entry() -> None:
    m = AmdMachine()
    domain = hpet_create_irq_domain(m.x86, 0)
    assert domain is not None and domain.parent is ir_domain(m)
    channels = [HpetChannel(num) for num in range(2)]
    irqs = [hpet_assign_irq(m.x86, domain, each, each.num) for each in channels]
    assert [m.where(irq).index for irq in irqs] == [0, 1]
    assert {m.where(irq).devid for irq in irqs} == {HPET_DEVID}
    assert m.request_irq(irqs[1]) == 0
    assert channels[1].message == MsiMsg(MSI_ADDR_BASE_LO, 0, 1)
    message = channels[1].message
    assert m.set_affinity(irqs[1], 1) == 0
    assert channels[1].message == message
    irq_domain_free_irqs(m.domains, irqs[0], 1)
    assert m.taken(HPET_DEVID) == [1]


def test_without_a_unit_nothing_is_prepared_or_written() -> None:
    m = AmdMachine()
    irq = alloc(m, 1, pci_info(m, 1))
    data = m.ir_data(irq)
    events: list[str] = []
    m.amd.units.clear()
    unsubscribe = m.trace.subscribe(lambda event: events.append(event.name))
    irq_remapping_prepare_irte(m.amd, irq, data, HwIrqCfg(), IrqAllocInfo(type=TYPE.UV), 5, 6, 7)
    assert m.early_activate(irq, False) == 0
    unsubscribe()
    assert "modify_irte" not in events and "irq_remapping_prepare_irte" not in events
    assert (data.irq_2_irte.devid, data.entry.valid) == (1, 1)


def test_a_type_that_nobody_allocates_is_a_bug() -> None:
    m = AmdMachine()
    data = AmdIrData()
    with pytest.raises(KernelBug, match="remapped"):
        irq_remapping_prepare_irte(
            m.amd, 1, data, HwIrqCfg(1, 0x40), IrqAllocInfo(type=TYPE.UV), 5, 6, 0
        )
    assert data.entry == AmdIrte(valid=1, dm=data.entry.dm, destination=1, vector=0x40)
