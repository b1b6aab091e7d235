# SPDX-License-Identifier: GPL-2.0-only
"""Messages: what they distinguish (APIC-1), that they can be read, and that no wrong one is
sent while a device is moved (APIC-Q); and the IO-APIC's route entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import z3

from impl.arch.x86.msidef import compose_msi_msg, decode_msi_msg
from proofs.obligation import Claim, Falsity, Obligation, Words
from spec import message
from spec.message import Format, Message

_TARGET: Final = {"dest": 32, "vector": 8}
_MOVE: Final = {f"{name}_{side}": width for side in "01" for name, width in _TARGET.items()}
_GIVEN: Final = (
    "a register is written at once",
    "what arrives at the old destination with the new vector is found and sent again",
)
_UPPER: Final = 0xFFFFFF00
"""The bits of a destination that the upper half of an address takes."""


def obligations() -> Iterator[Obligation]:
    """Everything that is to be shown of messages and route entries."""
    for form in message.FORMATS:
        yield from _distinct(form)
        yield _readable(form)
        yield from _moves(form)
    yield from _route_entries()


def _target(words: Words, side: str) -> tuple[z3.BitVecRef, z3.BitVecRef]:
    return words[f"dest_{side}"], words[f"vector_{side}"]


def _equal(one: Sequence[z3.BitVecRef], other: Sequence[z3.BitVecRef]) -> z3.BoolRef:
    return z3.And(*(a == b for a, b in zip(one, other, strict=True)))


def _parts(m: Message[z3.BitVecRef]) -> tuple[z3.BitVecRef, ...]:
    return m.address_lo, m.address_hi, m.data


def _composed(form: Format, dest: int, vector: int) -> tuple[int, int, int]:
    return compose_msi_msg(
        dest, vector, logical=form.logical, x2apic=form.x2apic, ext_dest_id=form.ext_dest_id
    )


def _decoded(form: Format, address_lo: int, address_hi: int, data: int) -> tuple[int, int]:
    return decode_msi_msg(
        address_lo, address_hi, data, x2apic=form.x2apic, ext_dest_id=form.ext_dest_id
    )


def _distinct(form: Format) -> Iterator[Obligation]:
    """APIC-1: a message is a function of the target, and tells apart what it has bits for."""

    def equal(words: Words) -> z3.BoolRef:
        messages = (message.compose(form, *_target(words, side)) for side in "01")
        return _equal(*(_parts(m) for m in messages))

    def alike(words: Words) -> z3.BoolRef:
        reach = (1 << form.dest_bits) - 1
        dests = words["dest_0"] & reach == words["dest_1"] & reach
        return z3.And(dests, words["vector_0"] == words["vector_1"])

    def confirmed(values: Mapping[str, int]) -> str:
        targets = [(values[f"dest_{side}"], values[f"vector_{side}"]) for side in "01"]
        messages = {_composed(form, *target) for target in targets}
        if len(messages) != 1 or targets[0] == targets[1]:
            return ""
        low, high, data = messages.pop()
        told = " and ".join(f"destination {d:#x} vector {v:#x}" for d, v in targets)
        return f"{told} are both {high:#x}:{low:#x}/{data:#x}"

    yield Claim(
        "APIC-1",
        f"messages are equal exactly for equal targets ({form})",
        _MOVE,
        lambda words: equal(words) == alike(words),
    )
    if form.dest_bits < 32:
        yield Falsity(
            "APIC-1",
            f"messages of wide destinations collide ({form})",
            _MOVE,
            lambda words: z3.And(equal(words), words["dest_0"] != words["dest_1"]),
            confirmed,
        )


def _readable(form: Format) -> Obligation:
    def same(words: Words) -> z3.BoolRef:
        target = (words["dest"], words["vector"])
        return _equal(message.decode(form, message.compose(form, *target)), target)

    return Claim(
        "MSI-decode",
        f"a composed message says its target ({form})",
        _TARGET,
        same,
        lambda words: z3.ULT(words["dest"], 1 << form.dest_bits),
    )


def _moves(form: Format) -> Iterator[Obligation]:
    """APIC-Q: what a device sends between two writes of one register each.

    The upper half of the address must stay, so the destinations have to agree where it has bits."""
    for is_64 in (True,) if form.x2apic else (False, True):
        yield from _moves_of(form, is_64)
    if form.x2apic:
        yield Falsity(
            "APIC-Q",
            f"a move that changes the upper half of the address sends a wrong message ({form})",
            _MOVE,
            lambda words: z3.Not(_harmless(form, words, _quirk(form, words, True))),
            lambda values: _torn(form, values, values["vector_1"]),
        )


def _moves_of(form: Format, is_64: bool) -> Iterator[Obligation]:
    name = f"{form}, {64 if is_64 else 32}-bit address"

    def reachable(words: Words) -> z3.BoolRef:
        return z3.And(
            *(z3.ULT(words[f"dest_{side}"], 1 << form.dest_bits) for side in "01"),
            words["dest_0"] & _UPPER == words["dest_1"] & _UPPER if form.x2apic else True,
        )

    def direct(words: Words) -> z3.BoolRef:
        start, end = (message.compose(form, *_target(words, side)) for side in "01")
        return _harmless(form, words, tuple(message.rewrite(start, end, is_64=is_64)))

    def one_half(words: Words) -> z3.BoolRef:
        return z3.Or(*(words[f"{half}_0"] == words[f"{half}_1"] for half in _TARGET))

    yield Claim(
        "APIC-Q",
        f"a move by way of the old destination sends no wrong message ({name})",
        _MOVE,
        lambda words: _harmless(form, words, _quirk(form, words, is_64)),
        reachable,
        _GIVEN,
    )
    yield Claim(
        "APIC-Q",
        f"a direct move sends no wrong message exactly if destination or vector stays ({name})",
        _MOVE,
        lambda words: direct(words) == one_half(words),
        reachable,
    )
    yield Falsity(
        "APIC-Q",
        f"a direct move sends a wrong message ({name})",
        _MOVE,
        lambda words: z3.And(reachable(words), z3.Not(direct(words))),
        lambda values: _torn(form, values, values["vector_0"]),
    )


def _quirk(form: Format, words: Words, is_64: bool) -> Sequence[Message[z3.BitVecRef]]:
    return message.quirk_move(form, _target(words, "0"), _target(words, "1"), is_64=is_64)


def _harmless(form: Format, words: Words, sent: Sequence[Message[z3.BitVecRef]]) -> z3.BoolRef:
    """Every message is for a target that listens, and the last one is the new target's."""
    old, new = _target(words, "0"), _target(words, "1")
    listening = (old, (old[0], new[1]), new)
    said = [message.decode(form, m) for m in sent]
    return z3.And(
        _equal(said[-1], new),
        *(z3.Or(*(_equal(target, known) for known in listening)) for target in said),
    )


def _torn(form: Format, values: Mapping[str, int], vector: int) -> str:
    """The message in between, once only the lower half of the new address is written to a device
    whose data word already names, or still names, `vector`."""
    old, new = ((values[f"dest_{side}"], values[f"vector_{side}"]) for side in "01")
    low = _composed(form, *new)[0]
    _, high, data = _composed(form, old[0], vector)
    said = _decoded(form, low, high, data)
    if said in (old, (old[0], new[1]), new):
        return ""
    names = [f"destination {d:#x} vector {v:#x}" for d, v in (old, new, said)]
    return f"from {names[0]} to {names[1]}, the device sends to {names[2]}"


def _route_entries() -> Iterator[Obligation]:
    """The fields of an IO-APIC's entry do not overlap, and nothing else is in it."""
    widths = {name: width for name, (_, width) in message.ROUTE_ENTRY.items()}
    used = sum(((1 << width) - 1) << low for low, width in message.ROUTE_ENTRY.values())
    nothing = z3.BitVecVal(0, message.WIDTH)

    def unpacked(words: Words) -> z3.BoolRef:
        fields = message.unpack_route_entry(message.pack_route_entry(words, nothing))
        return z3.And(*(fields[name] == words[name] for name in widths))

    def packed(words: Words) -> z3.BoolRef:
        fields = message.unpack_route_entry(words["entry"])
        return message.pack_route_entry(fields, nothing) == words["entry"] & used

    yield Claim("IOA-entry", "a packed route entry unpacks to its fields", widths, unpacked)
    yield Claim(
        "IOA-entry", "an unpacked route entry packs to its defined bits", {"entry": 64}, packed
    )
