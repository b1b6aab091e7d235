# SPDX-License-Identifier: GPL-2.0-only
"""The number of a PCI/MSI interrupt in its domain, in the C arithmetic of both texts (PCI-4, N12).

Every function takes ints or bit-vectors of a solver, of WIDTH bits: wide enough that nothing is
lost and no sign bit is set. Where C loses something, a mask says so.
"""

from dataclasses import dataclass
from typing import Final, Protocol, Self, TypeVar

WIDTH: Final = 72

ENTRY_BITS: Final = 11
BUS_BITS: Final = 8
DEVFN_BITS: Final = 8
SEGMENT_BITS: Final = 32
"""Widths of what a number is made of; a segment is a PCI domain number."""

_DEVID_SHIFT: Final = 11
_SEGMENT_SHIFT: Final = 27
_UNSIGNED_INT: Final = 32


class Bits(Protocol):
    """A word: an int, or a bit-vector of a solver."""

    def __and__(self, other: Self | int, /) -> Self: ...
    def __or__(self, other: Self | int, /) -> Self: ...
    def __lshift__(self, other: int, /) -> Self: ...
    def __rshift__(self, other: int, /) -> Self: ...
    def __add__(self, other: Self | int, /) -> Self: ...


Word = TypeVar("Word", bound=Bits)


@dataclass(frozen=True, slots=True)
class Text:
    """How a kernel computes the number: its unsigned long, and the width of the segment's shift."""

    name: str
    bits_of_long: int
    bits_of_shift: int

    @property
    def segment_bits(self) -> int:
        """How many of the lower bits of a segment are left in the number."""
        return min(SEGMENT_BITS, self.bits_of_shift - _SEGMENT_SHIFT)


HISTORIC_LP64: Final = Text("LP64, historic", 64, _UNSIGNED_INT)
HISTORIC_ILP32: Final = Text("ILP32, historic", 32, _UNSIGNED_INT)
FIXED_LP64: Final = Text("LP64, fixed", 64, 64)
FIXED_ILP32: Final = Text("ILP32, fixed", 32, 32)
TEXTS: Final = (HISTORIC_LP64, HISTORIC_ILP32, FIXED_LP64, FIXED_ILP32)
"""The data models times the text of v5.10, which shifts an unsigned int, and the fixed one, which
shifts an unsigned long (irq_hw_number_t)."""


def devid(bus: Word, devfn: Word) -> Word:
    """The requester id of a function, 16 bits."""
    return bus << DEVFN_BITS | devfn


def hwirq(text: Text, entry: Word, id: Word, segment: Word) -> Word:
    """The number of an entry of the function with requester id `id` in a segment."""
    shifted = segment << _SEGMENT_SHIFT & ((1 << text.bits_of_shift) - 1)
    return entry | id << _DEVID_SHIFT | shifted


def decode(text: Text, number: Word) -> tuple[Word, Word, Word]:
    """(entry, requester id, segment) of a number; of the segment what is left."""
    entry = number & ((1 << ENTRY_BITS) - 1)
    id = number >> _DEVID_SHIFT & ((1 << BUS_BITS + DEVFN_BITS) - 1)
    return entry, id, number >> _SEGMENT_SHIFT & ((1 << text.segment_bits) - 1)
