# SPDX-License-Identifier: GPL-2.0-only
"""What a message says, and what a device sends while its registers are rewritten (APIC-Q).

As in `hwirq`, words are ints or bit-vectors of a solver, of WIDTH bits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Generic

from spec.hwirq import WIDTH, Word

__all__ = [
    "FORMATS",
    "ROUTE_ENTRY",
    "WIDTH",
    "Format",
    "Message",
    "compose",
    "decode",
    "pack_route_entry",
    "quirk_move",
    "rewrite",
    "unpack_route_entry",
]

_BASE: Final = 0xFEE00000
_LEVEL_ASSERT: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Format:
    """How destinations are written: logical or physical, and how wide.

    `x2apic` puts the bits from 8 on into the upper half of the address, `ext_dest_id` bits 8 to 14
    into the lower half; x2apic wins.
    """

    logical: bool
    x2apic: bool
    ext_dest_id: bool

    @property
    def dest_bits(self) -> int:
        """How many of the lower bits of a destination reach the message."""
        return 32 if self.x2apic else 15 if self.ext_dest_id else 8

    def __str__(self) -> str:
        mode = "logical" if self.logical else "physical"
        return f"{mode}, {self.dest_bits} bits of destination"


FORMATS: Final = tuple(
    Format(logical, x2apic, ext_dest_id)
    for logical in (False, True)
    for x2apic, ext_dest_id in ((False, False), (False, True), (True, False))
)
"""All formats; x2apic with extended ids is x2apic."""


@dataclass(frozen=True, slots=True)
class Message(Generic[Word]):
    """An address in two halves and a data word."""

    address_lo: Word
    address_hi: Word
    data: Word


def compose(form: Format, dest: Word, vector: Word) -> Message[Word]:
    """The message for a vector of 8 bits at a destination of up to 32."""
    low = (dest & 0xFF) << 12 | _BASE | (4 if form.logical else 0)
    high = dest & 0
    if form.x2apic:
        high = dest & 0xFFFFFF00
    elif form.ext_dest_id:
        low = low | (dest >> 8 & 0x7F) << 5
    return Message(low, high, vector & 0xFF | _LEVEL_ASSERT)


def decode(form: Format, message: Message[Word]) -> tuple[Word, Word]:
    """(destination, vector) that a message means."""
    dest = message.address_lo >> 12 & 0xFF
    if form.x2apic:
        dest = dest | message.address_hi & 0xFFFFFF00
    elif form.ext_dest_id:
        dest = dest | (message.address_lo >> 5 & 0x7F) << 8
    return dest, message.data & 0xFF


def rewrite(
    device: Message[Word], message: Message[Word], *, is_64: bool
) -> Iterator[Message[Word]]:
    """What the device sends after each write of a register, when `message` is written to it."""
    device = replace(device, address_lo=message.address_lo)
    yield device
    if is_64:
        device = replace(device, address_hi=message.address_hi)
        yield device
    yield replace(device, data=message.data & 0xFFFF)


def quirk_move(
    form: Format, old: tuple[Word, Word], new: tuple[Word, Word], *, is_64: bool
) -> tuple[Message[Word], ...]:
    """What a device sends while it is moved by way of (old destination, new vector)."""
    start = compose(form, *old)
    half = compose(form, old[0], new[1])
    reached = tuple(rewrite(start, half, is_64=is_64))
    return (start, *reached, *rewrite(reached[-1], compose(form, *new), is_64=is_64))


ROUTE_ENTRY: Final[Mapping[str, tuple[int, int]]] = {
    "vector": (0, 8),
    "delivery_mode": (8, 3),
    "dest_mode": (11, 1),
    "polarity": (13, 1),
    "irr": (14, 1),
    "trigger": (15, 1),
    "mask": (16, 1),
    "dest": (56, 8),
}
"""The fields of an IO-APIC's redirection entry: lowest bit and width."""


def pack_route_entry(fields: Mapping[str, Word], nothing: Word) -> Word:
    """The entry with these fields; `nothing` is the word 0."""
    word = nothing
    for name, (low, _) in ROUTE_ENTRY.items():
        word = word | fields[name] << low
    return word


def unpack_route_entry(word: Word) -> dict[str, Word]:
    """The fields of an entry."""
    return {name: word >> low & ((1 << width) - 1) for name, (low, width) in ROUTE_ENTRY.items()}
