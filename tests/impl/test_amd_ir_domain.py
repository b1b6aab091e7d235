# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts behind AMD-Vi: allocation, its failures, activation and free."""

import errno
from typing import Any

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
from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
)
from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR, ApicMode
from impl.arch.x86.msidef import MSI_ADDR_BASE_LO
from impl.arch.x86.vector import HwIrqCfg
from impl.defects import Defect
from impl.drivers.iommu.amd import AmdIrData
from impl.drivers.iommu.amd_domain import (
    get_devid,
    irq_remapping_alloc,
    irq_remapping_prepare_irte,
)
from impl.drivers.iommu.amd_init import IOAPIC_SB_DEVID
from impl.drivers.iommu.amd_irte import AmdGuestIr, AmdIrte
from impl.drivers.iommu.amd_table import alloc_irq_index
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    PCI_IRQ_MSI,
    PCI_IRQ_MSIX,
    pci_alloc_irq_vectors_affinity,
    pci_free_irq_vectors,
    pci_irq_vector,
)
from impl.drivers.pci.pci import PciDev
from impl.kernel.device import Device
from impl.kernel.irq.irq import IRQD_MOVE_PCNTXT, IrqDomain, IrqDomainOps, MsiMsg
from impl.kernel.irq.irqdomain import irq_domain_create_hierarchy, irq_find_mapping
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs, irq_domain_free_irqs
from impl.kernel.irq.msi import MsiAttrib
from impl.kernel.irq.msi_desc import alloc_msi_entry
from impl.kernel.kernel import KernelBug
from tests.impl.amd_support import HPET_DEVID, IOAPIC, AmdMachine
from tests.impl.support import events_of

TYPE = X86_IRQ_ALLOC_TYPE


def with_msi(m: AmdMachine, nvec: int, *, maskbit: bool = True) -> PciDev:
    dev = m.device(msi=MsiCap(5, maskbit=maskbit))
    assert pci_alloc_irq_vectors_affinity(dev, nvec, nvec, PCI_IRQ_MSI) == nvec
    return dev


def with_msix(m: AmdMachine, nvec: int) -> PciDev:
    dev = m.device(msix=nvec)
    assert pci_alloc_irq_vectors_affinity(dev, nvec, nvec, PCI_IRQ_MSIX) == nvec
    return dev


def irqs_of(dev: PciDev, nvec: int) -> list[int]:
    return [pci_irq_vector(dev, nr) for nr in range(nvec)]


def ir_domain(m: AmdMachine, unit: int = 0) -> IrqDomain:
    domain = m.amd.units[unit].ir_domain
    assert domain is not None
    return domain


def pci_info(m: AmdMachine, nvec: int, *, msix: bool = False) -> IrqAllocInfo:
    """The argument of an allocation that goes past the MSI domain."""
    dev = m.device(msi=MsiCap(5))
    desc = alloc_msi_entry(m.kernel, dev, nvec, None, MsiAttrib(is_msix=msix))
    assert desc is not None
    return IrqAllocInfo(type=TYPE.PCI_MSIX if msix else TYPE.PCI_MSI, desc=desc)


def alloc(m: AmdMachine, nvec: int, info: IrqAllocInfo | None) -> int:
    return irq_domain_alloc_irqs(m.domains, ir_domain(m), -1, nvec, 0, info)


@pytest.mark.parametrize("guest_ir", list(AmdGuestIr))
def test_amd_5_blocks_of_devices_that_share_a_table(guest_ir: AmdGuestIr) -> None:
    m = AmdMachine(guest_ir=guest_ir)
    blocks = []
    for devfn in (8, 16):
        dev = m.device(msi=MsiCap(5), devfn=devfn, dma_aliases=((0, 0x200),))
        assert pci_alloc_irq_vectors_affinity(dev, 5, 5, PCI_IRQ_MSI) == 5
        blocks.append([m.where(irq).index for irq in irqs_of(dev, 5)])
    assert blocks == [[0, 1, 2, 3, 4], [8, 9, 10, 11, 12]]
    assert m.taken(0x200) == [*range(5), *range(8, 13)]


@pytest.mark.parametrize("msix", [False, True])
def test_amd_7_a_message_names_the_entry(msix: bool) -> None:
    m = AmdMachine()
    assert alloc_irq_index(m.amd, 1, 3, False, None) == 0
    dev = with_msix(m, 2) if msix else with_msi(m, 2)
    irqs = irqs_of(dev, 2)
    assert [m.where(irq).index for irq in irqs] == ([3, 4] if msix else [4, 5])
    for irq in irqs:
        assert m.ir_data(irq).msi_entry == MsiMsg(MSI_ADDR_BASE_LO, 0, m.where(irq).index)
    assert dev.msi_list[0].msg == m.ir_data(irqs[0]).msi_entry


def test_amd_7_a_block_arrives_by_the_number_that_the_device_adds() -> None:
    m = AmdMachine()
    dev = with_msi(m, 4)
    irqs = irqs_of(dev, 4)
    for irq in irqs:
        assert m.request_irq(irq) == 0
    assert [m.deliver(dev, nr) for nr in range(4)] == [m.config(irq) for irq in irqs]
    assert len({m.config(irq) for irq in irqs}) == 4


def test_amd_8_trap_16_all_msi_x_vectors_of_a_device_have_one_hwirq() -> None:
    m = AmdMachine()
    dev = with_msix(m, 3)
    irqs = irqs_of(dev, 3)
    domain, hwirq = ir_domain(m), dev.devid << 16
    assert [m.ir_level(irq).hwirq for irq in irqs] == [hwirq] * 3
    assert domain.mapcount == 3
    assert irq_find_mapping(m.domains, domain, hwirq) == irqs[0]
    irq_domain_free_irqs(m.domains, irqs[2], 1)
    # The map forgets the first owner with the last one.
    assert irq_find_mapping(m.domains, domain, hwirq) == 0
    assert domain.mapcount == 2


def test_amd_8_the_hwirqs_of_a_block_follow_one_another() -> None:
    m = AmdMachine()
    dev = with_msi(m, 3)
    hwirqs = [m.ir_level(irq).hwirq for irq in irqs_of(dev, 3)]
    assert hwirqs == [(dev.devid << 16) + i for i in range(3)]


def test_trap_5_the_contiguous_flag_is_taken_back_for_msi_only() -> None:
    m = AmdMachine()
    info = pci_info(m, 2)
    info.flags = X86_IRQ_ALLOC_CONTIGUOUS_VECTORS
    assert alloc(m, 2, info) > 0 and info.flags == 0
    info = pci_info(m, 2, msix=True)
    info.flags = X86_IRQ_ALLOC_CONTIGUOUS_VECTORS
    assert alloc(m, 2, info) == -errno.ENOSYS


@pytest.mark.parametrize("guest_ir", list(AmdGuestIr))
def test_trap_13_amd_9_activation_writes_twice(guest_ir: AmdGuestIr) -> None:
    m = AmdMachine(guest_ir=guest_ir)
    info = pci_info(m, 1)
    irq = alloc(m, 1, info)
    where = m.where(irq)
    assert m.table(where.devid).table[where.index] == m.amd.format.allocated_mark
    assert (m.ir_data(irq).entry.valid, m.irte(irq).valid) == (1, 0)
    before = m.config(irq)
    events = events_of(m, lambda: m.early_activate(irq, False))
    writes = [event.fields for event in events if event.name == "modify_irte"]
    assert [(each["dest"], each["vector"], each["valid"]) for each in writes] == [
        (*before, 1),
        (*m.config(irq), 1),
    ]
    assert before[1] == MANAGED_IRQ_SHUTDOWN_VECTOR != m.config(irq)[1]


@pytest.mark.parametrize("guest_ir", list(AmdGuestIr))
def test_amd_9_a_deactivated_entry_is_invalid_and_still_taken(guest_ir: AmdGuestIr) -> None:
    m = AmdMachine(guest_ir=guest_ir)
    dev = with_msix(m, 1)
    irq = pci_irq_vector(dev, 0)
    assert m.request_irq(irq) == 0
    where, entry = m.where(irq), m.irte(irq)
    assert (entry.valid, entry.destination, entry.vector) == (1, *m.config(irq))
    assert m.free_irq(irq) == 0
    assert m.irte(irq).valid == 0
    assert m.taken(dev.devid) == [where.index]
    assert m.request_irq(irq) == 0
    assert (m.irte(irq).valid, m.irte(irq).vector) == (1, m.config(irq)[1])


def test_amd_9_the_dest_mode_is_the_apic_drivers_and_narrow_entries_cut() -> None:
    m = AmdMachine(17, apic=ApicMode.X2APIC_CLUSTER)
    dev = with_msix(m, 1)
    irq = pci_irq_vector(dev, 0)
    assert m.request_irq(irq) == 0 and m.set_affinity(irq, 1 << 16) == 0
    assert (m.irte(irq).destination, m.irte(irq).dm) == (0x10001, 1)
    m = AmdMachine(17, apic=ApicMode.PHYSICAL, guest_ir=AmdGuestIr.LEGACY)
    dev = with_msix(m, 1)
    assert m.request_irq(pci_irq_vector(dev, 0)) == 0
    assert m.irte(pci_irq_vector(dev, 0)).dm == 0
    assert m.amd.irte_destination(HwIrqCfg(0x101, 0x40)) == 1


def test_freeing_gives_everything_back() -> None:
    m = AmdMachine()
    dev = m.device(msi=MsiCap(5, maskbit=True), msix=8)
    before = m.footprint()
    for nvec, kind in ((8, PCI_IRQ_MSIX), (7, PCI_IRQ_MSI), (8, PCI_IRQ_MSIX)):
        assert pci_alloc_irq_vectors_affinity(dev, nvec, nvec, kind) == nvec
        assert m.amd.nr_entry_copies == nvec
        assert all(m.ir_level(irq).test(IRQD_MOVE_PCNTXT) for irq in irqs_of(dev, nvec))
        pci_free_irq_vectors(dev)
        assert (m.taken(dev.devid), m.amd.nr_entry_copies) == ([], 0)
        assert m.footprint() == before


def test_trap_11_a_block_is_freed_one_by_one_down_to_the_vectors() -> None:
    m = AmdMachine()
    dev = with_msi(m, 3)
    events = events_of(m, lambda: pci_free_irq_vectors(dev))
    told = [event.name for event in events if event.name in ("free_irte", "vector_teardown")]
    assert told == ["free_irte", "vector_teardown"] * 3


# Errors


def test_amd_10_refusals_before_anything_is_taken() -> None:
    m = AmdMachine(defects=(Defect.DEV_D4,))
    before = m.footprint()
    domain = ir_domain(m)
    for info, nr in (
        (None, 1),
        (IrqAllocInfo(type=TYPE.IOAPIC, devid=IOAPIC), 2),
        (IrqAllocInfo(type=TYPE.HPET), 2),
        (IrqAllocInfo(type=TYPE.IOAPIC, devid=9), 1),
        (IrqAllocInfo(type=TYPE.HPET, devid=9), 1),
        (IrqAllocInfo(type=TYPE.DEV_MSI), 1),
        (IrqAllocInfo(type=TYPE.UV), 1),
    ):
        assert irq_domain_alloc_irqs(m.domains, domain, -1, nr, 0, info) == -errno.EINVAL
        assert m.footprint() == before
    assert m.amd.irq_lookup_table == {}


def test_a_subdevice_sends_under_the_id_of_its_function() -> None:
    m = AmdMachine()
    dev = m.device(msix=1)
    desc = alloc_msi_entry(m.kernel, Device(9, "part", parent=dev), 1, None, MsiAttrib())
    irq = alloc(m, 1, IrqAllocInfo(type=TYPE.DEV_MSI, desc=desc))
    assert (m.where(irq).devid, m.where(irq).index) == (dev.devid, 0)
    assert m.ir_data(irq).msi_entry.data == 0


def test_an_unknown_type_warns_once() -> None:
    m = AmdMachine()
    seen = events_of(m, lambda: [get_devid(m.amd, IrqAllocInfo(type=TYPE.UV)) for _ in range(2)])
    assert [event.name for event in seen] == ["WARN"]
    assert get_devid(m.amd, IrqAllocInfo(type=TYPE.DMAR)) == -1
    with pytest.raises(KernelBug, match="descriptor"):
        get_devid(m.amd, IrqAllocInfo(type=TYPE.PCI_MSI))


def test_amd_10_the_parents_error_is_passed_on() -> None:
    m = AmdMachine()
    info = pci_info(m, 3)
    before = m.footprint()
    m.fail_next("alloc_apic_chip_data", 2)
    assert alloc(m, 3, info) == -errno.ENOMEM
    assert (m.footprint(), m.amd.irq_lookup_table) == (before, {})


def test_amd_10_without_a_table_or_room_the_vectors_go_back() -> None:
    m = AmdMachine()
    info = pci_info(m, 4)
    before = m.footprint()
    m.fail_next("alloc_irq_table")
    assert alloc(m, 4, info) == -errno.ENODEV
    assert m.footprint() == before
    assert info.desc is not None and isinstance(info.desc.dev, PciDev)
    devid = info.desc.dev.devid
    assert alloc_irq_index(m.amd, devid, 510, False, None) == 0
    assert alloc(m, 4, info) == -errno.ENOSPC
    assert (m.footprint(), m.taken(devid)) == (before, list(range(510)))


def test_trap_17_the_driver_sees_enospc_whatever_happened() -> None:
    m = AmdMachine()
    dev = m.device(msi=MsiCap(5), msix=4)
    m.fail_next("alloc_irq_table")
    assert pci_alloc_irq_vectors_affinity(dev, 1, 1, PCI_IRQ_MSI) == -errno.ENOSPC
    m.fail_next("alloc_irq_table")
    # A block that finds no room is tried again with one vector.
    assert pci_alloc_irq_vectors_affinity(dev, 1, 4, PCI_IRQ_MSI) == 1


@pytest.mark.parametrize("countdown", range(1, 7))
def test_amd_10_without_memory_in_the_middle_nothing_remains(countdown: int) -> None:
    m = AmdMachine()
    info = pci_info(m, 3)
    before = m.footprint()
    m.fail_next("irq_remapping_alloc", countdown)
    events = events_of(m, lambda: alloc(m, 3, info))
    assert m.footprint() == before
    assert info.desc is not None and isinstance(info.desc.dev, PciDev)
    assert m.taken(info.desc.dev.devid) == []
    assert m.amd.nr_entry_copies == 0
    freed = [event.fields["index"] for event in events if event.name == "free_irte"]
    assert freed == [0, 1, 2]
    undone = [event.fields["irq"] for event in events if event.name == "irq_remapping_free_data"]
    assert undone == sorted(undone, reverse=True) and len(undone) == (countdown - 1) // 2
    assert alloc(m, 3, info) > 0


def test_amd_10_v5_10_leaks_the_copies_of_entries() -> None:
    m = AmdMachine(defects=(Defect.AMD_COPY,))
    info = pci_info(m, 3)
    m.fail_next("irq_remapping_alloc", 5)
    assert alloc(m, 3, info) == -errno.ENOMEM
    assert m.amd.nr_entry_copies == 2


def without_level(m: AmdMachine, nvec: int) -> int:
    """Let the unit allocate interrupts that have no level in its domain; the result."""

    def inner(domain: IrqDomain, virq: int, nr_irqs: int, arg: Any) -> int:
        return irq_remapping_alloc(m.amd, ir_domain(m), virq, nr_irqs, arg)

    info = pci_info(m, nvec)
    ops = IrqDomainOps(alloc=inner)
    domain = irq_domain_create_hierarchy(m.domains, m.vectors.x86_vector_domain, 0, 0, None, ops)
    return irq_domain_alloc_irqs(m.domains, domain, -1, nvec, 0, info)


def test_amd_11_an_interrupt_without_a_level_is_refused() -> None:
    m = AmdMachine()
    available = m.counters()
    assert without_level(m, 2) == -errno.EINVAL
    assert m.counters() == available
    assert m.taken(m.root.devices[1].devid) == []
    assert not any(desc > 15 for desc in m.irqs.descs)


def test_amd_11_before_the_series_it_was_a_fault() -> None:
    m = AmdMachine(defects=(Defect.AMD_01,))
    with pytest.raises(KernelBug, match="no level"):
        without_level(m, 2)
    assert alloc(m, 2, pci_info(m, 2)) > 0


# IO-APICs and HPETs


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
