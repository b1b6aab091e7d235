# SPDX-License-Identifier: GPL-2.0-only
"""What remapping says in bits: blocks, handles, messages and entries, Intel's and AMD's.

As in `hwirq`, words are ints or bit-vectors of a solver, of WIDTH bits.
"""

from typing import Final

from spec.hwirq import WIDTH, Word
from spec.message import Message

__all__ = [
    "AMD_MARK_32",
    "AMD_MARK_128",
    "HANDLE_BITS",
    "amd_destination",
    "amd_split",
    "amd_taken_32",
    "amd_taken_128",
    "block_size",
    "compose_remappable",
    "decode_remappable",
    "destination",
    "hwirq",
    "is_remappable",
    "last_of_region",
    "pack_pin",
    "posted_address",
    "split_posted",
    "unpack_pin",
]

HANDLE_BITS: Final = 16
"""Width of an index, and of a sub-handle."""

AMD_MARK_32: Final = 0xFFFFFFFE
"""What taking an entry of 32 bits stores into it."""
AMD_MARK_128: Final = 0xFF
"""What taking an entry of 128 bits stores into its vector."""

_BASE: Final = 0xFEE00000
_FORMAT: Final = 1 << 4
_SUB_HANDLE_VALID: Final = 1 << 3
_LOW_HANDLE: Final = 0x7FFF
_ALL: Final = (1 << WIDTH) - 1
_SIGN: Final = 1 << 31


def _minus_one(word: Word) -> Word:
    return word + _ALL & _ALL


def block_size(count: Word) -> Word:
    """The next power of two, at least 1, for a count from 1 to 2**16."""
    word = _minus_one(count)
    for shift in (1, 2, 4, 8, 16):
        word = word | word >> shift
    return word + 1


def last_of_region(index: Word, size: Word) -> Word:
    """The last entry of a block of this size."""
    return index + _minus_one(size)


def compose_remappable(index: Word, sub_handle: Word) -> Message[Word]:
    """The message that names an entry of a VT-d table: a handle and a sub-handle of 16 bits."""
    low = (index & _LOW_HANDLE) << 5 | index >> 15 << 2 | (_BASE | _FORMAT | _SUB_HANDLE_VALID)
    return Message(low, index & 0, sub_handle)


def decode_remappable(message: Message[Word]) -> tuple[Word, Word]:
    """(index, sub-handle) of such a message."""
    low = message.address_lo
    return low >> 5 & _LOW_HANDLE | (low >> 2 & 1) << 15, message.data & 0xFFFF


def is_remappable(address_lo: Word) -> Word:
    """1 for an address of the remappable format, 0 for one of the compatibility format."""
    return address_lo >> 4 & 1


def hwirq(upper: Word, lower: Word) -> Word:
    """The hwirq of two halves of 16 bits, which C computes as an int and widens with its sign:
    index and sub-handle of VT-d, requester and number in the allocation of AMD-Vi."""
    number = upper << 16 | lower
    return (number + _SIGN & 0xFFFFFFFF) + ((1 << 64) - _SIGN) & (1 << 64) - 1


def pack_pin(index: Word) -> tuple[Word, Word, Word]:
    """(destination mode, destination, bits 48 to 55) of the route entry that names a VT-d entry."""
    handle = index & _LOW_HANDLE
    return index >> 15, handle >> 7, (handle & 0x7F) << 1 | 1


def unpack_pin(mode: Word, dest: Word, remap: Word) -> Word:
    """The index that a route entry names."""
    return mode << 15 | dest << 7 | remap >> 1


def destination(apicid: Word, *, eim: bool) -> Word:
    """The destination field of a VT-d entry: an APIC id, or 8 bits of it from bit 8 on."""
    return apicid if eim else apicid << 8 & 0xFFFFFFFF


def split_posted(address: Word) -> tuple[Word, Word]:
    """(26 bits, 32 bits) of a descriptor's address in a posted entry."""
    return address >> 6 & (1 << 26) - 1, address >> 32 & 0xFFFFFFFF


def posted_address(low: Word, high: Word) -> Word:
    """The address that they mean."""
    return low << 6 | high << 32


def amd_split(apicid: Word) -> tuple[Word, Word]:
    """(24 bits, 8 bits) of a destination in an AMD-Vi entry of 128 bits."""
    return apicid & 0xFFFFFF, apicid >> 24 & 0xFF


def amd_destination(low: Word, high: Word) -> Word:
    """The destination that they mean."""
    return low | high << 24


def amd_taken_32(valid: Word, destination: Word, vector: Word) -> Word:
    """Not 0 if an AMD-Vi entry of 32 bits reads as taken."""
    return valid | (destination & 0xFF) << 8 | vector << 16


def amd_taken_128(vector: Word) -> Word:
    """Not 0 if an AMD-Vi entry of 128 bits reads as taken: nothing but the vector counts."""
    return vector & 0xFF
