# SPDX-License-Identifier: GPL-2.0-only
"""Entries and tables of AMD-Vi: formats, sharing, free entries."""

import errno
import random
from dataclasses import replace

import pytest

from impl.defects import Defect
from impl.drivers.iommu.amd import DevTableEntry
from impl.drivers.iommu.amd_hw import amd_irte_of_request
from impl.drivers.iommu.amd_irte import (
    IRTE_32,
    IRTE_128,
    MAX_IRQS_PER_TABLE,
    AmdGuestIr,
    AmdIrte,
    IrteFormat,
    amd_hwirq,
    pack_irte_32,
    pack_irte_128,
    unpack_irte_32,
    unpack_irte_128,
)
from impl.drivers.iommu.amd_table import (
    alloc_irq_index,
    alloc_irq_table,
    free_irte,
    modify_irte,
    read_irte,
    reserve_ioapic_indices,
)
from impl.kernel.kernel import KernelBug
from tests.impl.amd_support import AmdMachine
from tests.impl.support import events_of, names

FORMATS = [
    (AmdGuestIr.LEGACY, IRTE_32),
    (AmdGuestIr.LEGACY_GA, IRTE_128),
    (AmdGuestIr.VAPIC, IRTE_128),
]


def test_the_fields_of_an_entry_are_where_the_hardware_reads_them() -> None:
    narrow = AmdIrte(valid=1, int_type=5, dm=1, destination=0xA7, vector=0x31)
    assert pack_irte_32(narrow) == 0x31_A7_55
    wide = replace(narrow, destination=0x12345678)
    assert pack_irte_128(wide) == 0x12000000_00000031 << 64 | 0x34567855
    guest = AmdIrte(
        valid=1,
        guest_mode=1,
        ga_log_intr=1,
        is_run=1,
        destination=0x12345678,
        vector=0x41,
        ga_tag=0x89ABCDEF,
        ga_root_ptr=0xFEDCBA9876,
    )
    assert pack_irte_128(guest) == 0x120FEDCBA9876041 << 64 | 0x89ABCDEF345678C5
    assert (unpack_irte_128(pack_irte_128(wide)), unpack_irte_128(pack_irte_128(guest))) == (
        wide,
        guest,
    )


def test_all_words_survive_unpacking_up_to_reserved_bits() -> None:
    rng = random.Random(4)
    for _ in range(500):
        word = rng.getrandbits(32)
        assert pack_irte_32(unpack_irte_32(word)) == word & 0xFFFF5D
        wide = rng.getrandbits(128)
        guest = wide >> 7 & 1
        kept = (
            0xFF0FFFFFFFFFF0FF_FFFFFFFF_FFFFFFC5 if guest else 0xFF0FFFFFFFFFF0FF_FFFFFFFF_FFFFFF5D
        )
        assert pack_irte_128(unpack_irte_128(wide)) == wide & kept


@pytest.mark.parametrize("format", [IRTE_32, IRTE_128])
def test_trap_13_the_mark_is_in_the_entry_and_is_not_valid(format: IrteFormat) -> None:
    assert format.is_allocated(format.allocated_mark)
    assert not format.is_allocated(0)
    assert format.unpack(format.allocated_mark).valid == 0
    entry = AmdIrte(valid=1, destination=1, vector=0x21)
    assert format.is_allocated(format.pack(entry))
    assert format.is_allocated(format.pack(replace(entry, valid=0)))


def test_amd_9_a_wide_entry_without_a_vector_reads_as_free() -> None:
    entry = AmdIrte(valid=1, destination=1)
    assert not IRTE_128.is_allocated(pack_irte_128(entry))
    assert IRTE_32.is_allocated(pack_irte_32(entry))
    assert not IRTE_32.is_allocated(pack_irte_32(AmdIrte()))


def test_amd_8_the_hwirq_is_widened_with_ones() -> None:
    assert amd_hwirq(0x7FFF, 3) == 0x7FFF0003
    assert amd_hwirq(0x8000, 3) == 0xFFFFFFFF80000003


def test_a_table_is_made_for_the_first_and_found_by_the_next() -> None:
    m = AmdMachine()
    first = alloc_irq_table(m.amd, 0x10, None)
    assert first is not None and alloc_irq_table(m.amd, 0x10, None) is first
    assert alloc_irq_table(m.amd, 0x11, None) is not first
    assert m.amd.dev_table_entry(0x10) == DevTableEntry(first, 9, True, True)
    assert 1 << 9 == MAX_IRQS_PER_TABLE == len(first.table)


def test_until_it_has_a_table_every_requester_is_blocked() -> None:
    m = AmdMachine()
    assert m.amd.dev_table_entry(0x10) == DevTableEntry(remap_enable=True)
    assert amd_irte_of_request(m.amd, 0x10, 0) is None


def test_without_a_unit_or_memory_there_is_no_table() -> None:
    m = AmdMachine()
    m.fail_next("alloc_irq_table")
    assert alloc_irq_table(m.amd, 0x10, None) is None
    assert m.amd.irq_lookup_table == {} and m.amd.dev_table == {}
    m.amd.units.clear()
    assert alloc_irq_table(m.amd, 0x10, None) is None
    assert alloc_irq_index(m.amd, 0x10, 1, False, None) == -errno.ENODEV


def test_amd_1_all_aliases_have_the_same_table() -> None:
    m = AmdMachine()
    dev = m.device(devfn=8, dma_aliases=((2, 0x200), (0, 0xA4)))
    m.amd.alias_table[8] = 0x300
    table = alloc_irq_table(m.amd, 8, dev)
    assert table is not None
    bound = [8, 0x200, 0xA4, 0x300]
    assert [m.amd.irq_lookup_table[devid] for devid in bound] == [table] * 4
    assert [m.amd.dev_table[devid].table for devid in bound] == [table] * 4


def test_amd_1_the_table_of_the_alias_is_shared() -> None:
    m = AmdMachine()
    m.amd.alias_table[8] = 0x200
    shared = alloc_irq_table(m.amd, 0x200, None)
    assert alloc_irq_table(m.amd, 8, None) is shared
    assert m.amd.dev_table[8].table is shared


@pytest.mark.parametrize("broken", [False, True])
def test_amd_1_two_devices_behind_a_bridge_that_firmware_does_not_list(broken: bool) -> None:
    m = AmdMachine(defects=(Defect.AMD_ALIAS,) if broken else ())
    first, second = (m.device(devfn=devfn, dma_aliases=((0, 0x200),)) for devfn in (8, 16))
    table = alloc_irq_table(m.amd, 8, first)
    other = alloc_irq_table(m.amd, 16, second)
    assert (other is table) == (not broken)
    # The bridge shows the requests of both under its own id.
    assert (m.amd.irq_lookup_table[0x200] is m.amd.irq_lookup_table[8]) == (not broken)


def test_amd_1_a_device_that_shares_brings_its_other_aliases_along() -> None:
    m = AmdMachine()
    near = m.device(devfn=8, dma_aliases=((0, 0x200),))
    far = m.device(devfn=16, dma_aliases=((3, 0x300), (0, 0x200)))
    table = alloc_irq_table(m.amd, 8, near)
    assert alloc_irq_table(m.amd, 16, far) is table
    assert m.amd.irq_lookup_table[0x300] is m.amd.irq_lookup_table[16] is table


@pytest.mark.parametrize("winner", [8, 0x200])
def test_a_new_table_is_thrown_away_if_another_cpu_was_faster(winner: int) -> None:
    m = AmdMachine()
    m.amd.alias_table[8] = 0x200

    def other_cpu() -> None:
        m.amd.table_lock_dropped = None
        alloc_irq_table(m.amd, winner, None)

    m.amd.table_lock_dropped = other_cpu
    table = alloc_irq_table(m.amd, 8, None)
    assert m.amd.nr_tables == 1
    assert m.amd.irq_lookup_table == {8: table, 0x200: table}


@pytest.mark.parametrize(("guest_ir", "format"), FORMATS)
def test_amd_4_the_lowest_free_entries_are_taken(guest_ir: AmdGuestIr, format: IrteFormat) -> None:
    m = AmdMachine(guest_ir=guest_ir)
    assert m.amd.format is format
    assert [alloc_irq_index(m.amd, 8, 1, False, None) for _ in range(3)] == [0, 1, 2]
    assert alloc_irq_index(m.amd, 8, 3, False, None) == 3
    free_irte(m.amd, 8, 1)
    assert m.table(8).table[1] == 0
    assert alloc_irq_index(m.amd, 8, 2, False, None) == 6
    assert alloc_irq_index(m.amd, 8, 1, False, None) == 1
    assert m.taken(8) == list(range(8))
    assert m.table(8).table[7] == format.allocated_mark


def test_amd_5_trap_12_a_block_is_aligned_and_takes_no_more_than_it_needs() -> None:
    m = AmdMachine()
    assert alloc_irq_index(m.amd, 8, 1, True, None) == 0
    assert alloc_irq_index(m.amd, 8, 5, True, None) == 8
    assert m.taken(8) == [0, *range(8, 13)]
    assert alloc_irq_index(m.amd, 8, 3, True, None) == 4
    assert alloc_irq_index(m.amd, 8, 1, True, None) == 1


def test_amd_5_a_run_that_meets_a_taken_entry_starts_again_behind_it() -> None:
    m = AmdMachine()
    for _ in range(6):
        alloc_irq_index(m.amd, 8, 1, False, None)
    for slot in (0, 1, 3, 4):
        free_irte(m.amd, 8, slot)
    assert alloc_irq_index(m.amd, 8, 2, True, None) == 0
    assert alloc_irq_index(m.amd, 8, 2, True, None) == 6
    assert alloc_irq_index(m.amd, 8, 2, False, None) == 3


def test_amd_5_trap_17_a_full_table_is_enospc() -> None:
    m = AmdMachine()
    assert alloc_irq_index(m.amd, 8, 500, False, None) == 0
    assert alloc_irq_index(m.amd, 8, 13, False, None) == -errno.ENOSPC
    assert alloc_irq_index(m.amd, 8, 9, True, None) == -errno.ENOSPC
    assert alloc_irq_index(m.amd, 8, 12, False, None) == 500
    assert alloc_irq_index(m.amd, 8, 1, False, None) == -errno.ENOSPC
    assert len(m.taken(8)) == MAX_IRQS_PER_TABLE


def test_amd_2_trap_21_the_first_entries_are_kept_once_an_io_apic_came() -> None:
    m = AmdMachine()
    table = alloc_irq_table(m.amd, 8, None)
    assert table is not None
    reserve_ioapic_indices(m.amd, table)
    assert (table.min_index, m.taken(8)) == (32, list(range(32)))
    assert alloc_irq_index(m.amd, 8, 1, False, None) == 32
    free_irte(m.amd, 8, 5)
    reserve_ioapic_indices(m.amd, table)
    assert (table.min_index, m.taken(8)[:6]) == (32, [0, 1, 2, 3, 4, 6])
    assert alloc_irq_index(m.amd, 8, 1, False, None) == 33


def test_amd_3_who_came_before_the_io_apic_loses_its_entry() -> None:
    m = AmdMachine()
    assert alloc_irq_index(m.amd, 8, 1, False, None) == 0
    assert modify_irte(m.amd, 8, 0, AmdIrte(valid=1, vector=0x40)) == 0
    reserve_ioapic_indices(m.amd, m.table(8))
    assert read_irte(m.amd, m.table(8), 0).valid == 0


def test_changing_an_entry_needs_a_unit_and_a_table() -> None:
    m = AmdMachine()
    entry = AmdIrte(valid=1, vector=0x40)
    warned = events_of(m, lambda: modify_irte(m.amd, 8, 0, entry))
    assert names(warned) == ["WARN"]
    assert modify_irte(m.amd, 8, 0, entry) == -errno.ENOMEM
    free_irte(m.amd, 8, 0)
    m.amd.units.clear()
    assert modify_irte(m.amd, 8, 0, entry) == -errno.EINVAL
    free_irte(m.amd, 8, 0)
    assert m.amd.irq_lookup_table == {}


def test_amd_6_a_pin_behind_the_table_is_a_bug() -> None:
    m = AmdMachine()
    alloc_irq_table(m.amd, 8, None)
    with pytest.raises(KernelBug, match="no entry 512"):
        modify_irte(m.amd, 8, MAX_IRQS_PER_TABLE, AmdIrte())
    with pytest.raises(KernelBug):
        free_irte(m.amd, 8, -1)


@pytest.mark.parametrize("broken", [False, True])
def test_the_hardware_reads_as_far_as_the_device_table_entry_says(broken: bool) -> None:
    m = AmdMachine(defects=(Defect.AMD_DTE,) if broken else ())
    assert alloc_irq_index(m.amd, 8, 300, False, None) == 0
    entry = AmdIrte(valid=1, destination=1, vector=0x40)
    for slot in (255, 256, 299):
        assert modify_irte(m.amd, 8, slot, entry) == 0
    assert amd_irte_of_request(m.amd, 8, 255) == entry
    beyond = None if broken else entry
    assert [amd_irte_of_request(m.amd, 8, slot) for slot in (256, 299)] == [beyond] * 2
    assert amd_irte_of_request(m.amd, 8, 298) is None
