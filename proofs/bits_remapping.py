# SPDX-License-Identifier: GPL-2.0-only
"""Interrupt remapping in bits: blocks, handles, messages, entries (of INT and AMD).

What the layers of remapping take for granted about numbers is here: see `spec.remap_blocks`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import z3

from impl.drivers.iommu.amd_irte import IRTE_128, AmdIrte, amd_hwirq
from impl.drivers.iommu.intel_irte import irte_apicid, irte_dest
from proofs.obligation import Claim, Falsity, Obligation, Words
from spec import message, remap_message
from spec.message import Format
from spec.remap_message import HANDLE_BITS

SENTENCES: Final[Mapping[str, str]] = {
    "AMD-5": "The entries of a block differ in the lower bits of their numbers only.",
    "AMD-8": "All interrupts of a device that are allocated one by one have the same hwirq.",
    "AMD-9": "An entry that is not valid still reads as taken, if it has a vector.",
    "INT-1": "Two blocks lie apart, or one within the other.",
    "INT-2": "A block is a power of two of entries, and its entries share the upper bits.",
    "INT-4": "The hwirq of an interrupt tells its index and its sub-handle.",
    "INT-5": "A remappable message, or route entry, tells its index and its sub-handle.",
    "INT-8": "A posted entry tells the address of its descriptor.",
    "INT-13": "A destination of 8 bits is enough for 256 APIC ids, and for no more.",
    "SEL-3": "No message of the native format passes for a remappable one.",
}

_HANDLE: Final = {"index": HANDLE_BITS, "sub_handle": HANDLE_BITS}
_TWO: Final = {f"{name}_{side}": width for side in "ab" for name, width in _HANDLE.items()}
_TABLE: Final = 1 << HANDLE_BITS
_COUNT: Final = {"count": HANDLE_BITS + 1}
_REGION: Final = {"index": HANDLE_BITS, "size": HANDLE_BITS + 1}
_REGIONS: Final = {f"{name}_{side}": width for side in "ab" for name, width in _REGION.items()}


def obligations() -> Iterator[Obligation]:
    """Everything that is to be shown of remapping's numbers."""
    yield from _sizes()
    yield from _regions()
    yield from _messages()
    yield from _numbers()
    yield from _entries()
    yield from _amd_entries()


def _power(word: z3.BitVecRef) -> z3.BoolRef:
    return z3.And(word != 0, word & (word - 1) == 0)


def _counted(words: Words) -> z3.BoolRef:
    return z3.And(words["count"] != 0, z3.ULE(words["count"], _TABLE))


def _sizes() -> Iterator[Obligation]:
    def smallest(words: Words) -> z3.BoolRef:
        count, size = words["count"], remap_message.block_size(words["count"])
        enough = z3.And(z3.ULE(count, size), z3.ULT(size, count + count))
        return z3.And(_power(size), enough, (size == 1) == (count == 1))

    yield Claim(
        "INT-2", "a block is the smallest power of two that is enough", _COUNT, smallest, _counted
    )


def _fits(words: Words, side: str) -> z3.BoolRef:
    index, size = words[f"index{side}"], words[f"size{side}"]
    return z3.And(_power(size), z3.ULE(size, _TABLE), index & (size - 1) == 0)


def _inside(words: Words, inner: str, outer: str) -> z3.BoolRef:
    last = [
        remap_message.last_of_region(words[f"index{s}"], words[f"size{s}"]) for s in (inner, outer)
    ]
    return z3.And(z3.ULE(words[f"index{outer}"], words[f"index{inner}"]), z3.ULE(*last))


def _apart(words: Words) -> z3.BoolRef:
    a, b = (
        (words[f"index{s}"], remap_message.last_of_region(words[f"index{s}"], words[f"size{s}"]))
        for s in ("_a", "_b")
    )
    return z3.Or(z3.ULT(a[1], b[0]), z3.ULT(b[1], a[0]))


def _regions() -> Iterator[Obligation]:
    yield Claim(
        "INT-1",
        "two blocks at multiples of their sizes lie apart, or one within the other",
        _REGIONS,
        lambda words: z3.Or(_apart(words), _inside(words, "_a", "_b"), _inside(words, "_b", "_a")),
        lambda words: z3.And(_fits(words, "_a"), _fits(words, "_b")),
    )

    def member(words: Words) -> z3.BoolRef:
        index, size, i = words["index"], words["size"], words["sub_handle"]
        slot = index + i
        same = slot & ~(size - 1) == index
        return z3.And(slot == index | i, same, z3.ULT(slot, _TABLE))

    yield Claim(
        "INT-2",
        "an entry of a block has the block's index in its upper bits, and its place in the lower; "
        "no block ends behind the table",
        {**_REGION, "sub_handle": HANDLE_BITS},
        member,
        lambda words: z3.And(_fits(words, ""), z3.ULT(words["sub_handle"], words["size"])),
    )
    yield Claim(
        "AMD-5",
        "a device that replaces the lower bits of its data word names the entries of its block",
        {"index": HANDLE_BITS, **_COUNT, "i": HANDLE_BITS},
        lambda words: words["index"] + words["i"] == words["index"] | words["i"],
        lambda words: z3.And(
            _counted(words),
            z3.ULT(words["i"], words["count"]),
            words["index"] & (remap_message.block_size(words["count"]) - 1) == 0,
        ),
    )


def _messages() -> Iterator[Obligation]:
    def composed(words: Words) -> message.Message[z3.BitVecRef]:
        return remap_message.compose_remappable(words["index"], words["sub_handle"])

    def readable(words: Words) -> z3.BoolRef:
        index, sub_handle = remap_message.decode_remappable(composed(words))
        return z3.And(index == words["index"], sub_handle == words["sub_handle"])

    def formed(words: Words) -> z3.BoolRef:
        low = composed(words).address_lo
        return z3.And(low >> 20 == 0xFEE, remap_message.is_remappable(low) == 1, low & 3 == 0)

    yield Claim("INT-5", "a remappable message says its handle", _HANDLE, readable)
    yield Claim("INT-5", "a remappable message has the remappable format", _HANDLE, formed)
    yield from map(_native, message.FORMATS)

    def pin(words: Words) -> z3.BoolRef:
        mode, dest, remap = remap_message.pack_pin(words["index"])
        narrow = z3.And(z3.ULT(mode, 2), z3.ULT(dest, 256), z3.ULT(remap, 256), remap & 1 == 1)
        return z3.And(narrow, remap_message.unpack_pin(mode, dest, remap) == words["index"])

    yield Claim("INT-5", "the route entry of a pin says its index", {"index": HANDLE_BITS}, pin)


def _native(form: Format) -> Obligation:
    def plain(words: Words) -> z3.BoolRef:
        low = message.compose(form, words["dest"], words["vector"]).address_lo
        return remap_message.is_remappable(low) == 0

    return Claim(
        "SEL-3",
        f"a message of the native format never has the remappable one ({form})",
        {"dest": 32, "vector": 8},
        plain,
    )


def _numbers() -> Iterator[Obligation]:
    def number(words: Words, side: str) -> z3.BitVecRef:
        return remap_message.hwirq(words[f"index_{side}"], words[f"sub_handle_{side}"])

    def injective(words: Words) -> z3.BoolRef:
        same = z3.And(*(words[f"{name}_a"] == words[f"{name}_b"] for name in _HANDLE))
        return (number(words, "a") == number(words, "b")) == same

    def negative(words: Words) -> z3.BoolRef:
        number = remap_message.hwirq(words["index"], words["sub_handle"])
        return z3.UGE(number, 1 << 63) == z3.UGE(words["index"], 1 << 15)

    yield Claim("INT-4", "hwirqs tell index and sub-handle apart", _TWO, injective)
    yield Claim("INT-4", "an index from 32768 on makes a hwirq of 2**63 or more", _HANDLE, negative)
    yield Falsity(
        "AMD-8",
        "two interrupts of a device that are allocated one by one have one hwirq",
        {"devid": HANDLE_BITS, "entry_a": 9, "entry_b": 9},
        lambda words: z3.And(
            words["entry_a"] != words["entry_b"],
            remap_message.hwirq(words["devid"], words["entry_a"] & 0)
            == remap_message.hwirq(words["devid"], words["entry_b"] & 0),
        ),
        _one_number,
    )


def _one_number(values: Mapping[str, int]) -> str:
    entries = values["entry_a"], values["entry_b"]
    numbers = {amd_hwirq(values["devid"], 0) for _ in entries}
    if entries[0] == entries[1] or len(numbers) != 1:
        return ""
    return (
        f"entries {entries[0]} and {entries[1]} of requester {values['devid']:#x} "
        f"both have hwirq {numbers.pop():#x}"
    )


def _entries() -> Iterator[Obligation]:
    def address(words: Words) -> z3.BoolRef:
        low, high = remap_message.split_posted(words["address"])
        return remap_message.posted_address(low, high) == words["address"]

    yield Claim(
        "INT-8",
        "a posted entry says the address of its descriptor",
        {"address": 64},
        address,
        lambda words: words["address"] & 63 == 0,
    )

    def narrow(words: Words) -> z3.BoolRef:
        return remap_message.destination(words["apicid"], eim=False) >> 8 == words["apicid"]

    yield Claim(
        "INT-13", "8 bits of destination are enough for 256 APIC ids", {"apicid": 8}, narrow
    )
    yield Falsity(
        "INT-13",
        "8 bits of destination are not enough for more",
        {"apicid": 32},
        lambda words: z3.And(
            z3.Not(narrow(words)), remap_message.destination(words["apicid"], eim=False) >> 16 == 0
        ),
        _lost,
    )


def _lost(values: Mapping[str, int]) -> str:
    apicid = values["apicid"]
    meant = irte_apicid(irte_dest(apicid, False), False)
    return "" if meant == apicid else f"an entry for APIC id {apicid:#x} is for {meant:#x}"


def _amd_entries() -> Iterator[Obligation]:
    def split(words: Words) -> z3.BoolRef:
        low, high = remap_message.amd_split(words["apicid"])
        return remap_message.amd_destination(low, high) == words["apicid"]

    def kept(words: Words) -> z3.BoolRef:
        nothing = words["vector"] & 0
        wide = remap_message.amd_taken_128(words["vector"]) != 0
        narrow = remap_message.amd_taken_32(nothing, words["dest"], words["vector"]) != 0
        return z3.And(wide, narrow)

    target = {"dest": 32, "vector": 8}
    yield Claim("AMD-9", "an entry of 128 bits says its destination", {"apicid": 32}, split)
    yield Claim(
        "AMD-9",
        "an entry that is not valid still reads as taken, given a vector",
        target,
        kept,
        lambda words: words["vector"] != 0,
    )
    yield Falsity(
        "AMD-9",
        "an entry of 128 bits without a vector reads as free, valid or not",
        target,
        lambda words: remap_message.amd_taken_128(words["vector"]) == 0,
        _reads_as_free,
    )


def _reads_as_free(values: Mapping[str, int]) -> str:
    entry = AmdIrte(valid=1, destination=values["dest"], vector=values["vector"])
    if IRTE_128.is_allocated(IRTE_128.pack(entry)):
        return ""
    return f"a valid entry for destination {values['dest']:#x} and vector 0 reads as free"
