# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of PCI/MSI interrupts: which are unique (PCI-4; HW-1 is the same of devices that share a
domain), which follow one another (PCI-10), when the retries of a driver's request end (PCI-5), and
what the rework of the number changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import z3

from impl.drivers.pci.msi_regs import pci_devid, pci_msi_calc_hwirq
from proofs.obligation import Claim, Falsity, Obligation, Words
from spec import hwirq
from spec.hwirq import Text

_FUNCTION: Final = {"bus": hwirq.BUS_BITS, "devfn": hwirq.DEVFN_BITS}
_DEVICE: Final = {**_FUNCTION, "segment": hwirq.SEGMENT_BITS}
_ENTRY: Final = {"entry": hwirq.ENTRY_BITS, **_DEVICE}
_TWO: Final = {f"{name}_{side}": width for side in "ab" for name, width in _ENTRY.items()}

_FIVE_BITS: Final = 31


def obligations() -> Iterator[Obligation]:
    """Everything that is to be shown of the numbers."""
    for text in hwirq.TEXTS:
        yield from _unique(text)
    yield from _consecutive()
    yield from _contiguous()
    yield from _terminating()
    yield from _reworked()


def _number(text: Text, words: Words, side: str) -> z3.BitVecRef:
    id = hwirq.devid(words[f"bus_{side}"], words[f"devfn_{side}"])
    return hwirq.hwirq(text, words[f"entry_{side}"], id, words[f"segment_{side}"])


def _same(words: Words, *names: str) -> z3.BoolRef:
    return z3.And(*(words[f"{name}_a"] == words[f"{name}_b"] for name in names))


def _unique(text: Text) -> Iterator[Obligation]:
    """PCI-4 for one text: unique among 32 segments, and what happens beyond."""

    def equal(words: Words) -> z3.BoolRef:
        return _number(text, words, "a") == _number(text, words, "b")

    def small(words: Words) -> z3.BoolRef:
        return z3.And(*(z3.ULE(words[f"segment_{side}"], _FIVE_BITS) for side in "ab"))

    def same_left(words: Words) -> z3.BoolRef:
        left = (1 << text.segment_bits) - 1
        segments = words["segment_a"] & left == words["segment_b"] & left
        return z3.And(_same(words, "entry", "bus", "devfn"), segments)

    yield Claim(
        "PCI-4",
        f"hwirq numbers are unique among segments below 32 ({text.name})",
        _TWO,
        lambda words: z3.Implies(equal(words), _same(words, *_ENTRY)),
        small,
    )
    yield Claim(
        "PCI-4",
        "hwirq numbers are equal exactly for equal entries of equal functions in segments that "
        f"agree in {text.segment_bits} bits ({text.name})",
        _TWO,
        lambda words: equal(words) == same_left(words),
    )
    yield Claim(
        "HW-1",
        f"hwirq numbers are unique in a domain that serves one segment ({text.name})",
        _TWO,
        lambda words: z3.Implies(equal(words), _same(words, *_ENTRY)),
        lambda words: _same(words, "segment"),
    )
    if text.segment_bits == hwirq.SEGMENT_BITS:
        return
    yield Falsity(
        "PCI-4",
        f"hwirq numbers of two segments collide ({text.name})",
        _TWO,
        lambda words: z3.And(equal(words), z3.Not(_same(words, *_ENTRY))),
        lambda values: _collision(text, values),
    )


def _collision(text: Text, values: Mapping[str, int]) -> str:
    """The two devices, if the implementation gives them one number."""
    numbers = {_of_the_implementation(text, values, side) for side in "ab"}
    places = [_place(values, side) for side in "ab"]
    if len(numbers) != 1 or places[0] == places[1]:
        return ""
    return f"{places[0]} and {places[1]} both get hwirq {numbers.pop():#x}"


def _of_the_implementation(text: Text, values: Mapping[str, int], side: str) -> int:
    return pci_msi_calc_hwirq(
        values[f"entry_{side}"],
        pci_devid(values[f"bus_{side}"], values[f"devfn_{side}"]),
        values[f"segment_{side}"],
        bits=text.bits_of_long,
        widened=text.bits_of_shift == text.bits_of_long,
    )


def _place(values: Mapping[str, int], side: str) -> str:
    """A device and its entry, as lspci writes it: segment:bus:device.function."""
    segment, bus, devfn = (values[f"{name}_{side}"] for name in ("segment", "bus", "devfn"))
    entry = values[f"entry_{side}"]
    return f"{segment:04x}:{bus:02x}:{devfn >> 3:02x}.{devfn & 7} entry {entry}"


def _consecutive() -> Iterator[Obligation]:
    """The k-th interrupt of a block has hwirq + k: right as long as the entry does not overflow."""
    widths = {**_ENTRY, "k": hwirq.ENTRY_BITS}

    def moved(words: Words) -> tuple[z3.BitVecRef, z3.BitVecRef]:
        id = hwirq.devid(words["bus"], words["devfn"])
        number = hwirq.hwirq(hwirq.FIXED_LP64, words["entry"], id, words["segment"])
        entry = words["entry"] + words["k"]
        return number + words["k"], hwirq.hwirq(hwirq.FIXED_LP64, entry, id, words["segment"])

    def small(words: Words) -> z3.BoolRef:
        return z3.ULT(words["entry"] + words["k"], 1 << hwirq.ENTRY_BITS)

    def next_function(words: Words) -> z3.BoolRef:
        id = hwirq.devid(words["bus"], words["devfn"]) + 1
        entry = (words["entry"] + words["k"]) & ((1 << hwirq.ENTRY_BITS) - 1)
        other = hwirq.hwirq(hwirq.FIXED_LP64, entry, id, words["segment"])
        return moved(words)[0] == other

    yield Claim(
        "PCI-10",
        "hwirq + k is the number of entry + k, as long as that is below 2048",
        widths,
        lambda words: moved(words)[0] == moved(words)[1],
        small,
    )
    yield Claim(
        "PCI-4",
        "hwirq + k for entry + k from 2048 on is a number of the next requester id",
        widths,
        lambda words: z3.Implies(words["devfn"] != 255, next_function(words)),
        lambda words: z3.Not(small(words)),
    )


def _contiguous() -> Iterator[Obligation]:
    """PCI-10: a device replaces the lower bits of its data word by the number of the message."""
    return (_contiguous_block(1 << multiple) for multiple in range(6))


def _contiguous_block(size: int) -> Obligation:
    lower = size - 1

    def sent(words: Words) -> z3.BoolRef:
        data = words["data"]
        upper = data & ~z3.BitVecVal(lower, data.size())
        return z3.And(*((upper | k) == data + k for k in range(size)))

    return Claim(
        "PCI-10",
        f"data words of a block of {size} follow one another exactly if it is aligned",
        {"data": 16},
        lambda words: sent(words) == (words["data"] & lower == 0),
    )


def _terminating() -> Iterator[Obligation]:
    """PCI-5 for MSI and MSI-X.

    The loops go on with a positive answer `rc` of at least `minimum`. MSI answers 1 to more than
    one vector; MSI-X answers the size of the table to a request for more, or how many descriptors
    got their interrupts, which is less than asked for if one did not."""
    yield _retries("MSI", _msi_answers)
    yield _retries("MSI-X", _msix_answers)


def _retries(name: str, answers: Callable[[Words], z3.BoolRef]) -> Obligation:
    """What is tried next is smaller than what was tried, and never less than the minimum."""

    def tried(words: Words) -> z3.BoolRef:
        asked = z3.And(z3.UGE(words["n"], words["minimum"]), z3.UGE(words["minimum"], 1))
        return z3.And(asked, answers(words), z3.UGE(words["rc"], words["minimum"]))

    def decreases(words: Words) -> z3.BoolRef:
        left = z3.ULT(words["rc"] - words["minimum"], words["n"] - words["minimum"])
        return z3.And(z3.ULT(words["rc"], words["n"]), left)

    return Claim(
        "PCI-5",
        f"every retry of {name} lowers the vectors asked for, not below the minimum",
        {"n": 12, "minimum": 12, "rc": 12, "table": 12},
        decreases,
        tried,
        ("what an allocation can answer (section 7.2)",),
    )


def _msi_answers(words: Words) -> z3.BoolRef:
    return z3.And(z3.UGT(words["n"], 1), words["rc"] == 1)


def _msix_answers(words: Words) -> z3.BoolRef:
    table = z3.And(z3.UGT(words["n"], words["table"]), words["rc"] == words["table"])
    return z3.Or(table, z3.ULT(words["rc"], words["n"]))


def _reworked() -> Iterator[Obligation]:
    """Patch 17 of the series: the number is that of the descriptor's device, no longer of `dev`.

    Side a is the parameter `dev`, side b the device of the descriptor; the entry is the
    descriptor's in both texts."""
    widths = {**{f"{name}_{side}": w for side in "ab" for name, w in _DEVICE.items()}, "entry": 11}

    def equal(words: Words) -> z3.BoolRef:
        text, entry = hwirq.HISTORIC_LP64, words["entry"]
        ids = [hwirq.devid(words[f"bus_{side}"], words[f"devfn_{side}"]) for side in "ab"]
        before = hwirq.hwirq(text, entry, ids[0], words["segment_a"])
        return before == hwirq.hwirq(text, entry, ids[1], words["segment_b"])

    def alike(words: Words) -> z3.BoolRef:
        segments = words["segment_a"] & _FIVE_BITS == words["segment_b"] & _FIVE_BITS
        return z3.And(_same(words, "bus", "devfn"), segments)

    def confirmed(values: Mapping[str, int]) -> str:
        both = {f"entry_{side}": values["entry"] for side in "ab"} | dict(values)
        before, after = (_of_the_implementation(hwirq.HISTORIC_LP64, both, side) for side in "ab")
        if before == after:
            return ""
        told = f"dev {_place(both, 'a')}, descriptor of {_place(both, 'b')}"
        return f"{told}: {before:#x} before, {after:#x} after"

    subject = "series-17"
    yield Claim(
        subject,
        "the reworked number is the old one if dev is the descriptor's device",
        widths,
        equal,
        lambda words: _same(words, *_DEVICE),
    )
    yield Falsity(
        subject,
        "the reworked number differs for some other dev",
        widths,
        lambda words: z3.Not(equal(words)),
        confirmed,
    )
    yield Claim(
        subject,
        "the reworked number is the old one only if dev agrees with the descriptor's device in the "
        "requester id and in five bits of the segment",
        widths,
        lambda words: equal(words) == alike(words),
    )
