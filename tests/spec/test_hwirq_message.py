# SPDX-License-Identifier: GPL-2.0-only
"""The specification's numbers and messages are the implementation's, on ints and on words."""

import z3
from hypothesis import given
from hypothesis import strategies as st

from impl.arch.x86 import io_apic_regs, msidef
from impl.drivers.pci.msi_regs import pci_devid, pci_msi_calc_hwirq
from spec import hwirq, message
from spec.message import Format, Message

ENTRY = st.integers(0, 2047)
BYTE = st.integers(0, 255)
U32 = st.integers(0, 0xFFFFFFFF)
TEXT = st.sampled_from(hwirq.TEXTS)
FORM = st.sampled_from(message.FORMATS)
FIELDS = st.fixed_dictionaries(
    {name: st.integers(0, (1 << width) - 1) for name, (_, width) in message.ROUTE_ENTRY.items()}
)


def word(value: int) -> z3.BitVecRef:
    return z3.BitVecVal(value, hwirq.WIDTH)


def number(value: z3.BitVecRef) -> int:
    found: int = z3.simplify(value).as_long()
    return found


@given(TEXT, ENTRY, BYTE, BYTE, U32)
def test_pci_4_numbers_are_the_implementations(
    text: hwirq.Text, entry: int, bus: int, devfn: int, segment: int
) -> None:
    id = hwirq.devid(bus, devfn)
    assert id == pci_devid(bus, devfn)
    found = hwirq.hwirq(text, entry, id, segment)
    assert found == pci_msi_calc_hwirq(
        entry,
        id,
        segment,
        bits=text.bits_of_long,
        widened=text.bits_of_shift == text.bits_of_long,
    )
    assert hwirq.decode(text, found) == (entry, id, segment & (1 << text.segment_bits) - 1)


@given(TEXT, ENTRY, BYTE, BYTE, U32)
def test_pci_4_a_solver_computes_the_same_numbers(
    text: hwirq.Text, entry: int, bus: int, devfn: int, segment: int
) -> None:
    found = hwirq.hwirq(text, word(entry), hwirq.devid(word(bus), word(devfn)), word(segment))
    assert number(found) == hwirq.hwirq(text, entry, hwirq.devid(bus, devfn), segment)
    parts = tuple(map(number, hwirq.decode(text, found)))
    assert parts == hwirq.decode(text, number(found))


@given(FORM, U32, BYTE)
def test_apic_1_messages_are_the_implementations(form: Format, dest: int, vector: int) -> None:
    found = message.compose(form, dest, vector)
    kind = {"x2apic": form.x2apic, "ext_dest_id": form.ext_dest_id}
    parts = (found.address_lo, found.address_hi, found.data)
    assert parts == msidef.compose_msi_msg(dest, vector, logical=form.logical, **kind)
    assert message.decode(form, found) == msidef.decode_msi_msg(*parts, **kind)
    assert form.dest_bits == msidef.dest_id_bits(**kind)


@given(FORM, U32, BYTE)
def test_apic_1_a_solver_composes_the_same_messages(form: Format, dest: int, vector: int) -> None:
    found = message.compose(form, word(dest), word(vector))
    plain = Message(number(found.address_lo), number(found.address_hi), number(found.data))
    assert plain == message.compose(form, dest, vector)
    assert tuple(map(number, message.decode(form, found))) == message.decode(form, plain)


def test_a_message_of_the_dossier() -> None:
    """Section 8.1: flat logical, CPU 0, vector 0x31."""
    form = Format(logical=True, x2apic=False, ext_dest_id=False)
    assert message.compose(form, 1, 0x31) == Message(0xFEE01004, 0, 0x4031)


@given(FORM, U32, BYTE, U32, BYTE, st.booleans())
def test_apic_q_a_rewritten_device_holds_the_message(
    form: Format, dest: int, vector: int, other: int, new_vector: int, is_64: bool
) -> None:
    old, new = message.compose(form, dest, vector), message.compose(form, other, new_vector)
    *_, last = message.rewrite(old, new, is_64=is_64)
    assert (last.address_lo, last.data) == (new.address_lo, new.data)
    assert last.address_hi == (new if is_64 else old).address_hi
    moved = message.quirk_move(form, (dest, vector), (other, new_vector), is_64=is_64)
    assert (moved[0], moved[-1]) == (old, last)
    assert len(moved) == (7 if is_64 else 5)


@given(FIELDS, st.integers(0, (1 << 64) - 1))
def test_ioa_5_route_entries_are_the_implementations(fields: dict[str, int], entry: int) -> None:
    packed = message.pack_route_entry(fields, 0)
    assert packed == io_apic_regs.pack(io_apic_regs.IoApicRouteEntry(**fields))
    assert message.unpack_route_entry(packed) == fields
    unpacked = io_apic_regs.unpack(entry)
    for name, value in message.unpack_route_entry(entry).items():
        assert getattr(unpacked, name) == value
