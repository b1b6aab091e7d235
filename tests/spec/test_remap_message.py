# SPDX-License-Identifier: GPL-2.0-only
"""The specification's bits of remapping are the implementation's, on ints and on words."""

import z3
from hypothesis import given
from hypothesis import strategies as st

from impl.drivers.iommu import amd_irte, intel_irte, intel_table
from spec import remap_message
from spec.hwirq import WIDTH
from spec.message import Message

HALF = st.integers(0, 0xFFFF)
BYTE = st.integers(0, 255)
U32 = st.integers(0, 0xFFFFFFFF)


def word(value: int) -> z3.BitVecRef:
    return z3.BitVecVal(value, WIDTH)


def number(value: z3.BitVecRef) -> int:
    found: int = z3.simplify(value).as_long()
    return found


@given(HALF, HALF)
def test_int_5_messages_are_the_implementations(index: int, sub_handle: int) -> None:
    composed = remap_message.compose_remappable(index, sub_handle)
    parts = (composed.address_lo, composed.address_hi, composed.data)
    assert parts == intel_irte.compose_ir_msi_msg(index, sub_handle)
    assert remap_message.decode_remappable(composed) == (index, sub_handle)
    assert remap_message.is_remappable(composed.address_lo) == 1
    on_words = remap_message.compose_remappable(word(index), word(sub_handle))
    assert (number(on_words.address_lo), number(on_words.data)) == (parts[0], parts[2])


@given(U32, U32)
def test_int_5_any_address_is_read_as_the_implementation_does(low: int, data: int) -> None:
    assert bool(remap_message.is_remappable(low)) == intel_irte.is_remappable(low)
    if low & 8:
        read = remap_message.decode_remappable(Message(low, 0, data))
        assert read == intel_irte.decode_ir_msi_msg(low, data)


def test_int_5_two_messages_by_hand() -> None:
    """The figures of the dossier (section 3.5)."""
    composed = [remap_message.compose_remappable(index, 0) for index in (0x8000, 0xFFFF)]
    assert [m.address_lo for m in composed] == [0xFEE0001C, 0xFEEFFFFC]


@given(HALF, BYTE)
def test_int_5_route_entries_are_the_implementations(index: int, pin: int) -> None:
    entry = intel_irte.compose_ir_ioapic_entry(index, pin, 0, 0)
    packed = remap_message.pack_pin(index)
    assert packed == (entry.dest_mode, entry.dest, entry.remap)
    assert remap_message.unpack_pin(*packed) == intel_irte.ir_ioapic_index(entry) == index


@given(HALF, HALF)
def test_int_4_hwirqs_are_the_implementations(upper: int, lower: int) -> None:
    found = remap_message.hwirq(upper, lower)
    assert found == intel_irte.ir_hwirq(upper, lower)
    assert number(remap_message.hwirq(word(upper), word(lower))) == found


@given(HALF, st.integers(0, 511))
def test_amd_8_hwirqs_are_the_implementations(devid: int, i: int) -> None:
    assert remap_message.hwirq(devid, i) == amd_irte.amd_hwirq(devid, i)


@given(st.integers(1, 1 << 16))
def test_int_2_blocks_have_the_implementations_size(count: int) -> None:
    size = remap_message.block_size(count)
    assert size == 1 << (count - 1).bit_length()
    assert number(remap_message.block_size(word(count))) == size
    if size <= 1 << 10:
        taken = intel_table.bitmap_find_free_region(1, 1 << 16, (count - 1).bit_length())
        assert taken == size and remap_message.last_of_region(taken, size) == 2 * size - 1


@given(st.integers(0, (1 << 58) - 1), BYTE)
def test_int_8_posted_addresses_are_the_implementations(page: int, vector: int) -> None:
    address = page << 6
    low, high = intel_irte.pack_irte(intel_irte.Irte(pst=1, pda=address, vector=vector))
    assert remap_message.split_posted(address) == (low >> 38, high >> 32)
    assert remap_message.posted_address(low >> 38, high >> 32) == address


@given(U32)
def test_int_13_destinations_are_the_implementations(apicid: int) -> None:
    for eim in (False, True):
        assert remap_message.destination(apicid, eim=eim) == intel_irte.irte_dest(apicid, eim)


@given(U32)
def test_amd_9_destinations_are_the_implementations(apicid: int) -> None:
    packed = amd_irte.pack_irte_128(amd_irte.AmdIrte(destination=apicid))
    split = remap_message.amd_split(apicid)
    assert split == (packed >> 8 & 0xFFFFFF, packed >> 120)
    assert remap_message.amd_destination(*split) == apicid


@given(st.integers(0, 1), U32, BYTE)
def test_amd_9_entries_read_as_taken_as_in_the_implementation(
    valid: int, dest: int, vector: int
) -> None:
    entry = amd_irte.AmdIrte(valid=valid, destination=dest, vector=vector)
    narrow, wide = amd_irte.IRTE_32, amd_irte.IRTE_128
    assert narrow.is_allocated(narrow.pack(entry)) == bool(
        remap_message.amd_taken_32(valid, dest, vector)
    )
    assert wide.is_allocated(wide.pack(entry)) == bool(remap_message.amd_taken_128(vector))


def test_amd_9_the_marks_read_as_taken() -> None:
    assert amd_irte.IRTE_32.allocated_mark == remap_message.AMD_MARK_32
    assert amd_irte.IRTE_128.allocated_mark == remap_message.AMD_MARK_128 << 64
    assert amd_irte.IRTE_32.is_allocated(remap_message.AMD_MARK_32)
    assert remap_message.amd_taken_128(remap_message.AMD_MARK_128)
