# SPDX-License-Identifier: GPL-2.0-only
"""Blocks of VT-d table entries: allocation, failure, release (INT-1 to INT-5, INT-10, INT-11)."""

import errno
from collections.abc import Callable

import pytest

from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
)
from impl.defects import Defect
from impl.drivers.iommu.intel_domain import (
    intel_irq_remapping_alloc,
    intel_irq_remapping_free,
)
from impl.drivers.iommu.intel_irte import INTR_REMAP_TABLE_ENTRIES, decode_ir_msi_msg
from impl.drivers.iommu.intel_table import (
    IntelCaps,
    Irq2Iommu,
    alloc_irte,
    bitmap_find_free_region,
)
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import pci_disable_msi, pci_enable_msi_range, pci_enable_msix_range
from impl.drivers.pci.pci import PciDev
from impl.kernel.irq.irq import IRQD_MOVE_PCNTXT, IrqData, IrqDomain
from impl.kernel.irq.irqdomain import irq_find_mapping
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs, irq_domain_free_irqs
from impl.kernel.kernel import KernelBug
from impl.trace import Event
from tests.impl.intel_support import CATCH_ALL, IntelMachine, unit

ALL = (1 << INTR_REMAP_TABLE_ENTRIES) - 1


def region(m: IntelMachine, irq: int) -> int:
    irq_iommu = m.ir_data(irq).irq_2_iommu
    return (1 << (1 << irq_iommu.irte_mask)) - 1 << irq_iommu.irte_index


def check_ownership(m: IntelMachine, *, leaked: int = 0) -> None:
    """INT-1 and INT-2 on the first unit."""
    owners = [irq for irq in m.remapped() if m.ir_data(irq).irq_2_iommu.sub_handle == 0]
    regions = [region(m, irq) for irq in owners]
    union = 0
    for each in regions:
        assert not union & each
        union |= each
    assert m.iommu.table.bitmap == union | leaked
    for irq in owners:
        irq_iommu = m.ir_data(irq).irq_2_iommu
        assert irq_iommu.irte_index % (1 << irq_iommu.irte_mask) == 0
        assert irq_iommu.irte_mask <= m.iommu.caps.max_handle_mask
        assert irq_iommu.irte_index + (1 << irq_iommu.irte_mask) <= INTR_REMAP_TABLE_ENTRIES


def irqs_of(dev: PciDev) -> list[int]:
    return [irq for desc in dev.msi_list for irq in range(desc.irq, desc.irq + desc.nvec_used)]


def request(m: IntelMachine, type: X86_IRQ_ALLOC_TYPE, n: int = 1) -> int:
    """Ask the unit's own domain, as an IO-APIC or an HPET would."""
    domain = m.iommu.ir_domain
    assert domain is not None
    return irq_domain_alloc_irqs(m.domains, domain, -1, n, -1, IrqAllocInfo(type=type))


def msi_domain(m: IntelMachine) -> IrqDomain:
    assert m.iommu.ir_msi_domain is not None
    return m.iommu.ir_msi_domain


@pytest.mark.parametrize(
    ("count", "mask"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (32, 5), (33, 6), (32768, 15)]
)
def test_int_2_a_block_is_a_power_of_two_at_such_a_multiple(count: int, mask: int) -> None:
    m = IntelMachine()
    first = Irq2Iommu(m.iommu)
    assert alloc_irte(m.iommu, Irq2Iommu(m.iommu), 1) == 0
    index = alloc_irte(m.iommu, first, count)
    assert index == 1 << mask
    assert (first.irte_index, first.irte_mask, first.sub_handle) == (index, mask, 0)
    assert m.iommu.table.bitmap == (1 << (1 << mask)) - 1 << index | 1


def test_int_2_what_no_block_can_be() -> None:
    caps = IntelCaps(max_handle_mask=2)
    m = IntelMachine(unit(0x1000, *CATCH_ALL.scopes, include_all=True, caps=caps))
    slot = Irq2Iommu(m.iommu)
    assert alloc_irte(m.iommu, slot, 0) < 0
    assert alloc_irte(m.iommu, None, 1) < 0
    assert alloc_irte(m.iommu, slot, 5) < 0
    assert m.iommu.table.bitmap == 0
    assert alloc_irte(m.iommu, slot, 4) == 0


@pytest.mark.parametrize(
    ("bitmap", "order", "found"),
    [
        (0, 0, 0),
        (0b1, 0, 1),
        (0b1, 1, 2),
        (0b1011, 0, 2),
        (0b1011, 1, 4),
        (0b10011, 2, -errno.ENOMEM),
        (0xFF, 0, -errno.ENOMEM),
        (0x7F, 1, -errno.ENOMEM),
        (0x7F, 0, 7),
        (0x0F, 2, 4),
        (0, 3, 0),
        (0, 4, -errno.ENOMEM),
    ],
)
def test_int_2_the_lowest_free_region_is_found(bitmap: int, order: int, found: int) -> None:
    assert bitmap_find_free_region(bitmap, 8, order) == found


def test_int_2_the_search_agrees_with_trying_every_place() -> None:
    for bitmap in range(1 << 8):
        for order in range(4):
            size = 1 << order
            free = (start for start in range(0, 8, size) if not bitmap >> start & (1 << size) - 1)
            assert bitmap_find_free_region(bitmap, 8, order) == next(free, -errno.ENOMEM)


def test_int_1_and_int_3_groups_own_disjoint_regions() -> None:
    m = IntelMachine()
    devs = [m.with_msi(n) for n in (1, 4, 2, 32, 1)]
    check_ownership(m)
    for dev, mask in zip(devs, (0, 2, 1, 5, 0), strict=True):
        levels = [m.ir_data(irq).irq_2_iommu for irq in irqs_of(dev)]
        assert [each.sub_handle for each in levels] == list(range(len(levels)))
        assert {(each.iommu, each.irte_index, each.irte_mask) for each in levels} == {
            (m.iommu, levels[0].irte_index, mask)
        }
    pci_disable_msi(devs[1])
    check_ownership(m)
    refilled = m.with_msi(3)
    assert m.ir_data(refilled.irq).irq_2_iommu.irte_index == 4
    check_ownership(m)
    for dev in (devs[0], *devs[2:], refilled):
        pci_disable_msi(dev)
    assert m.iommu.table.bitmap == 0 and not m.iommu.irta


def test_int_1_msix_vectors_are_groups_of_one() -> None:
    m = IntelMachine()
    dev = m.device(msix=8)
    assert pci_enable_msix_range(dev, None, 8, 8) == 8
    levels = [m.ir_data(irq).irq_2_iommu for irq in irqs_of(dev)]
    assert [each.irte_index for each in levels] == list(range(8))
    assert all(each.sub_handle == 0 and each.irte_mask == 0 for each in levels)
    check_ownership(m)


def test_trap_12_a_group_reserves_a_power_of_two() -> None:
    m = IntelMachine()
    domain = msi_domain(m)
    dev = m.with_msi(4)
    assert dev.msi_domain is domain
    taken = m.iommu.table.bitmap
    assert taken == 0b1111
    info = IrqAllocInfo(type=X86_IRQ_ALLOC_TYPE.PCI_MSI, desc=dev.msi_list[0])
    assert m.iommu.ir_domain is not None
    virq = irq_domain_alloc_irqs(m.domains, m.iommu.ir_domain, -1, 3, -1, info)
    assert virq > 0 and m.iommu.table.bitmap == 0b11111111
    irq_domain_free_irqs(m.domains, virq, 3)
    assert m.iommu.table.bitmap == taken


def test_int_4_hwirqs_are_made_of_index_and_number() -> None:
    m = IntelMachine()
    m.iommu.table.bitmap = (1 << 0x8000) - 1
    dev = m.with_msi(4)
    hwirqs = [m.level(irq).hwirq for irq in irqs_of(dev)]
    assert hwirqs == [0xFFFFFFFF80000000 + i for i in range(4)]
    assert all(hwirq >= 1 << 63 for hwirq in hwirqs)
    assert m.iommu.ir_domain is not None
    for irq, hwirq in zip(irqs_of(dev), hwirqs, strict=True):
        assert irq_find_mapping(m.domains, m.iommu.ir_domain, hwirq) == irq


def test_int_4_hwirqs_are_unique_and_only_index_0_is_in_the_linear_map() -> None:
    """Trap 15."""
    m = IntelMachine()
    devs = [m.with_msi(n) for n in (4, 1, 8)]
    irqs = [irq for dev in devs for irq in irqs_of(dev)]
    hwirqs = {m.level(irq).hwirq for irq in irqs}
    assert len(hwirqs) == len(irqs)
    domain = m.iommu.ir_domain
    assert domain is not None and len(domain.linear_revmap) == INTR_REMAP_TABLE_ENTRIES
    assert [irq for irq in domain.linear_revmap if irq] == irqs_of(devs[0])
    assert sorted(domain.revmap_tree) == sorted(hwirqs - {0, 1, 2, 3})


def test_int_5_messages_name_the_entry() -> None:
    m = IntelMachine()
    m.with_msi(1)
    dev = m.with_msi(8)
    for i, irq in enumerate(irqs_of(dev)):
        data = m.ir_data(irq)
        msg = data.msi_entry
        assert decode_ir_msi_msg(msg.address_lo, msg.data) == (8, i)
        assert msg.address_hi == 0 and msg.address_lo >> 20 == 0xFEE
        assert data.irq_2_iommu.slot == 8 + i


def test_int_7_an_allocation_writes_no_entry() -> None:
    """Trap 13: the table is written when the interrupts are activated."""
    m = IntelMachine()
    dev = m.device(msi=MsiCap(5, maskbit=True))
    seen: list[tuple[str, int]] = []

    def note(event: Event) -> None:
        if event.name in ("irq_domain_set_mapping", "irte_write"):
            seen.append((event.name, len(m.iommu.irta)))

    stop = m.trace.subscribe(note)
    assert pci_enable_msi_range(dev, 4, 4) == 4
    stop()
    mapped = [entries for name, entries in seen if name == "irq_domain_set_mapping"]
    assert mapped and set(mapped) == {0}
    assert [entries for name, entries in seen if name == "irte_write"] == [1, 2, 3, 4]


def test_trap_5_the_flag_in_the_argument_is_cleared_for_good() -> None:
    m = IntelMachine()
    dev = m.with_msi(2)
    info = IrqAllocInfo(
        type=X86_IRQ_ALLOC_TYPE.PCI_MSI,
        flags=X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
        desc=dev.msi_list[0],
    )
    assert m.iommu.ir_domain is not None
    assert irq_domain_alloc_irqs(m.domains, m.iommu.ir_domain, -1, 2, -1, info) > 0
    assert info.flags == 0


def test_interrupts_move_in_process_context() -> None:
    m = IntelMachine()
    dev = m.with_msi(4)
    assert all(m.irqd(irq).test(IRQD_MOVE_PCNTXT) for irq in irqs_of(dev))


@pytest.mark.parametrize("type", [X86_IRQ_ALLOC_TYPE.IOAPIC, X86_IRQ_ALLOC_TYPE.HPET])
def test_only_pci_devices_have_blocks(type: X86_IRQ_ALLOC_TYPE) -> None:
    m = IntelMachine()
    before = m.ir_footprint()
    assert request(m, type, 2) == -errno.EINVAL
    assert m.ir_footprint() == before


def test_an_allocation_needs_an_argument_and_a_unit() -> None:
    m = IntelMachine()
    domain = m.iommu.ir_domain
    assert domain is not None
    assert intel_irq_remapping_alloc(m.ir, domain, 40, 1, None) == -errno.EINVAL
    domain.host_data = None
    info = IrqAllocInfo(type=X86_IRQ_ALLOC_TYPE.HPET)
    assert intel_irq_remapping_alloc(m.ir, domain, 40, 1, info) == -errno.EINVAL


UNKNOWN = (X86_IRQ_ALLOC_TYPE.NONE, X86_IRQ_ALLOC_TYPE.DMAR, X86_IRQ_ALLOC_TYPE.UV)


@pytest.mark.parametrize("type", UNKNOWN)
def test_an_unknown_requester_is_refused_before_anything_is_taken(
    type: X86_IRQ_ALLOC_TYPE,
) -> None:
    m = IntelMachine()
    before = m.ir_footprint()
    allocated: list[object] = []
    stop = m.trace.subscribe(
        lambda event: allocated.append(event) if event.system == "irq_vectors" else None
    )
    assert request(m, type) == -errno.EINVAL
    stop()
    assert m.ir_footprint() == before and not allocated


@pytest.mark.parametrize("type", UNKNOWN)
def test_an_unknown_requester_stops_the_machine_under_the_defect(
    type: X86_IRQ_ALLOC_TYPE,
) -> None:
    m = IntelMachine(defects=[Defect.INT_TYPE])
    reserved = m.matrix.global_reserved
    with pytest.raises(KernelBug, match=type.name):
        request(m, type)
    assert m.matrix.global_reserved == reserved + 1


# Failures: INT-10


def refuse(m: IntelMachine, nvec: int) -> int:
    """The result of MSI with `nvec` vectors on a new device."""
    return pci_enable_msi_range(m.device(msi=MsiCap(5)), nvec, nvec)


def check_refused(m: IntelMachine, operation: Callable[[], int], error: int) -> None:
    m.with_msi(2)
    before = m.ir_footprint()
    assert operation() == error
    assert m.ir_footprint() == before
    check_ownership(m)


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_int_10_without_memory_for_a_member(failing: int) -> None:
    """The first call is for the block, the others for the further members; above it is -ENOSPC."""
    m = IntelMachine()

    def operation() -> int:
        m.fail_next("intel_irq_remapping_alloc", failing)
        return refuse(m, 4)

    check_refused(m, operation, -errno.ENOSPC)
    assert "intel_irq_remapping_alloc" not in m.kernel.failures


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_int_10_the_parents_error_is_passed_on(failing: int) -> None:
    m = IntelMachine()
    dev = m.with_msi(4)
    before = m.ir_footprint()
    m.fail_next("alloc_apic_chip_data", failing)
    info = IrqAllocInfo(type=X86_IRQ_ALLOC_TYPE.PCI_MSI, desc=dev.msi_list[0])
    assert m.iommu.ir_domain is not None
    ret = irq_domain_alloc_irqs(m.domains, m.iommu.ir_domain, -1, 4, -1, info)
    assert ret == -errno.ENOMEM and m.ir_footprint() == before


def test_int_10_and_trap_17_a_full_table_is_out_of_memory() -> None:
    m = IntelMachine()
    dev = m.with_msi(1)
    own = m.iommu.table.bitmap
    m.iommu.table.bitmap = ALL
    before = m.ir_footprint()
    info = IrqAllocInfo(type=X86_IRQ_ALLOC_TYPE.PCI_MSI, desc=dev.msi_list[0])
    assert m.iommu.ir_domain is not None
    ret = irq_domain_alloc_irqs(m.domains, m.iommu.ir_domain, -1, 1, -1, info)
    assert ret == -errno.ENOMEM and m.ir_footprint() == before
    assert refuse(m, 1) == -errno.ENOSPC and m.ir_footprint() == before
    m.iommu.table.bitmap = own


def test_int_10_a_table_without_room_for_the_block_serves_one_vector() -> None:
    """The error of a block tells the driver to try one (trap 1)."""
    m = IntelMachine()
    m.iommu.table.bitmap = int("1110" * (INTR_REMAP_TABLE_ENTRIES // 4), 2)
    dev = m.device(msi=MsiCap(5, maskbit=True))
    assert pci_enable_msi_range(dev, 1, 8) == 1
    assert m.ir_data(dev.irq).irq_2_iommu.irte_index == 0


def test_int_10_a_block_beyond_the_units_reach() -> None:
    caps = IntelCaps(max_handle_mask=1)
    m = IntelMachine(unit(0x1000, *CATCH_ALL.scopes, include_all=True, caps=caps))
    check_refused(m, lambda: refuse(m, 4), -errno.ENOSPC)


def no_config(irqd: IrqData) -> None:
    """The vector level forgets its data."""
    while irqd.parent_data is not None:
        irqd = irqd.parent_data
    irqd.chip_data = None


def no_level(irqd: IrqData) -> None:
    """The remapping level is not the unit's any more."""
    remapping = irqd.parent_data if irqd.parent_data and irqd.parent_data.parent_data else irqd
    remapping.domain = None


@pytest.mark.parametrize("spoil", [no_config, no_level])
@pytest.mark.parametrize("failing", [0, 1, 3])
def test_int_10_a_missing_level_gives_all_entries_back(
    spoil: Callable[[IrqData], None], failing: int
) -> None:
    m = IntelMachine()
    m.with_msi(2)
    taken = m.iommu.table.bitmap
    m.spoil_parent(failing, spoil)
    assert refuse(m, 4) == -errno.ENOSPC
    assert m.iommu.table.bitmap == taken


@pytest.mark.parametrize("failing", [0, 1, 3])
def test_int_10_under_the_defect_only_the_first_member_leaks(failing: int) -> None:
    m = IntelMachine(defects=[Defect.INT_10])
    m.with_msi(2)
    taken = m.iommu.table.bitmap
    m.spoil_parent(failing, no_config)
    assert refuse(m, 4) == -errno.ENOSPC
    leaked = 0b1111 << 4 if failing == 0 else 0
    assert m.iommu.table.bitmap == taken | leaked
    check_ownership(m, leaked=leaked)


def test_v2_01_a_missing_level_is_followed_under_the_defect() -> None:
    m = IntelMachine(defects=[Defect.INT_NULL])
    m.spoil_parent(1, no_level)
    with pytest.raises(KernelBug):
        refuse(m, 4)


def test_v2_01_a_missing_config_is_no_crash_under_the_defect() -> None:
    m = IntelMachine(defects=[Defect.INT_NULL])
    m.spoil_parent(1, no_config)
    assert refuse(m, 4) == -errno.ENOSPC


# Release: INT-11


def test_int_11_and_trap_11_the_first_member_takes_the_region_along() -> None:
    """Members are freed one by one, the first one first; nothing can be allocated in between."""
    m = IntelMachine()
    dev = m.with_msi(4)
    names = ("intel_free_irq_resources", "irte_free", "qi_flush_iec", "vector_teardown")
    seen = m.events(lambda: pci_disable_msi(dev), *names)
    steps = [event.name for event in seen if event.name != "qi_flush_iec"]
    assert steps == [
        "intel_free_irq_resources",
        "irte_free",
        "vector_teardown",
        *["intel_free_irq_resources", "vector_teardown"] * 3,
    ]
    flushed = [event.fields for event in seen if event.name == "qi_flush_iec"]
    assert {"unit": 0, "index": 0, "mask": 2, "ret": 0} in flushed
    assert m.iommu.table.bitmap == 0


def test_int_7_a_freed_region_is_zero() -> None:
    m = IntelMachine()
    dev = m.with_msi(4)
    m.iommu.irta.update({slot: (1, 2) for slot in range(4)})
    pci_disable_msi(dev)
    assert not m.iommu.irta


def test_everything_allocated_comes_back() -> None:
    m = IntelMachine()
    before = m.ir_footprint()
    devs = [m.with_msi(n) for n in (1, 2, 8, 32)]
    for dev in devs[::-1]:
        pci_disable_msi(dev)
    assert m.ir_footprint() == before


def test_freeing_what_has_no_level_there_does_nothing() -> None:
    m = IntelMachine()
    dev = m.with_msi(2)
    domain = m.iommu.ir_domain
    assert domain is not None
    before = m.ir_footprint()
    intel_irq_remapping_free(domain, dev.irq + 2, 1)
    assert m.ir_footprint() == before
