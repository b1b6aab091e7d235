# SPDX-License-Identifier: GPL-2.0-only
"""Patches of the series that claim to change nothing: tables before and after, compared.

What a table says of the state after the series is compared with the implementation, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import z3

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.defects import Defect
from impl.kernel.irq.chip import irq_chip_compose_msi_msg
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDesc, MsiMsg
from impl.kernel.kernel import Kernel
from proofs.obligation import Fact, Obligation, Sentence
from spec import series
from spec.series import Group

SENTENCES: Final[Mapping[str, str]] = {
    "IOA-8": "What an IO-APIC allocation asks for is the same in other fields.",
    "series-7": "Allocation types are renamed one to one and keep their values.",
    "series-8": "Two allocation types are new and differ from all others.",
    "series-12": "No two fields of the argument that one allocation uses share a place.",
    "series-13": "The HPET's fields of the argument are all kept.",
    "series-14": "The IO-APIC's fields of the argument are all kept.",
    "series-15": "The DMAR unit's fields of the argument are all kept.",
    "series-16": "The UV hub's fields of the argument are all kept.",
    "series-17": "The hwirq number is computed from the descriptor's device, as before.",
    "series-39": "A type for other devices is new and differs from all others.",
}


def obligations() -> Iterator[Obligation]:
    """Everything that is to be shown of the tables."""
    yield from _types()
    yield from _fields()
    yield from _composers()


def _types() -> Iterator[Obligation]:
    before, after, unmerged = series.TYPES_BEFORE, series.TYPES_AFTER, series.TYPES_UNMERGED
    names = {name: series.TYPES_RENAMED.get(name, name) for name in before}
    new = [name for name in after if name not in names.values()]
    shifted = [name for name in after if unmerged[name] != after[name]]
    told = ", ".join(f"{name} becomes {unmerged[name]}" for name in shifted)

    def implemented() -> list[str]:
        known = {each.name: each.value for each in X86_IRQ_ALLOC_TYPE if each.value}
        return [f"{name} differs" for name, _ in set(known.items()) ^ set(unmerged.items())]

    yield Fact("series-7", "no two types get one name", lambda: _repeated(names))
    yield Fact(
        "series-7",
        "a renamed type keeps its value",
        lambda: [old for old, name in names.items() if after[name] != before[old]],
    )
    yield Fact("series-8", "no two types have one value", lambda: _repeated(after), ", ".join(new))
    yield Fact("series-39", "no two types have one value", lambda: _repeated(unmerged))
    yield Fact("series-39", "the implementation has these types", implemented)
    yield Fact(
        "series-39",
        "only types of the same series change their values",
        lambda: [name for name in shifted if name not in new],
        told,
    )


def _repeated(table: Mapping[str, object]) -> list[str]:
    """The keys of a table whose values are not theirs alone."""
    pairs = combinations(table, 2)
    return [f"{one} and {other}" for one, other in pairs if table[one] == table[other]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a member lies, in bits from the start."""

    start: int
    bits: int

    def overlaps(self, other: _Place) -> bool:
        return self.start < other.start + other.bits and other.start < self.start + self.bits


_SIZES: Final = {"int": 32, "u32": 32, "long": 64, "pointer": 64}
"""Bits of the types where a long has 64; each is aligned to its size."""


def _laid_out(head: Group, union: Mapping[str, Group]) -> dict[str, _Place]:
    """The places of all members, as a C compiler lays them out."""
    places, end = _places(head, 0)
    start = _aligned(end, 64)
    for group in union.values():
        places |= _places(group, start)[0]
    return places


def _places(group: Group, end: int) -> tuple[dict[str, _Place], int]:
    """The places of members that follow one another from `end`; and where they end."""
    places: dict[str, _Place] = {}
    for member in group:
        size = _SIZES[member.type]
        width = member.bits or size
        # Bit-fields share a unit as long as they fit into it.
        start = end if member.bits and end % size else _aligned(end, size)
        places[member.name] = _Place(start, width)
        end = start + width
    return places, end


def _aligned(end: int, size: int) -> int:
    return -(-end // size) * size


_BEFORE: Final = _laid_out(series.HEAD_BEFORE, series.UNION_BEFORE)
_AFTER: Final = _laid_out(series.HEAD_AFTER, series.UNION_AFTER)


def _fields() -> Iterator[Obligation]:
    used_before = {user: tuple(moved) for user, moved in series.MOVED.items()}
    used_after = {
        user: tuple(dict.fromkeys(name for names in moved.values() for name in names))
        for user, moved in series.MOVED.items()
    }
    aliased = _aliased(used_before, _BEFORE)
    yield Fact(
        "series-12",
        "no two fields that one user fills share a place",
        lambda: _aliased(used_after, _AFTER),
    )
    yield Fact(
        "series-12",
        "before, the descriptor of VMD shares a place with the device, and nothing else does",
        lambda: sorted({"VMD: msi_dev and desc"} ^ set(aliased)),
        "; ".join(aliased),
    )
    yield Fact("series-12", "the implementation has these fields", _not_implemented)
    for patch, user in series.PATCHES.items():
        yield from _kept(f"series-{patch}", user)
    yield from _kept("IOA-8", "IOAPIC")


def _kept(subject: str, user: str) -> Iterator[Obligation]:
    """The fields of one user are moved one to one, and each fits."""
    moved = series.MOVED[user]
    own = {member.name for member in series.UNION_BEFORE[user]}
    yield Fact(
        subject,
        f"every field of {user} has a place of its own",
        lambda: [
            f"{one} and {other}"
            for one, other in combinations(moved, 2)
            if set(moved[one]) & set(moved[other])
        ],
    )
    yield Fact(
        subject,
        f"no field of {user} is narrower",
        lambda: [
            f"{old} in {new}"
            for old, names in moved.items()
            for new in names
            if _AFTER[new].bits < _BEFORE[old].bits
        ],
    )
    yield Fact(
        subject, f"the fields of {user} are all its fields", lambda: sorted(set(moved) ^ own)
    )


def _aliased(used: Mapping[str, Sequence[str]], places: Mapping[str, _Place]) -> list[str]:
    return [
        f"{user}: {one} and {other}"
        for user, names in used.items()
        for one, other in combinations(names, 2)
        if places[one].overlaps(places[other])
    ]


def _not_implemented() -> list[str]:
    return [name for name in _AFTER if not _has(IrqAllocInfo(), name)]


def _has(part: object, name: str) -> bool:
    """Whether a dotted name can be followed from `part`."""
    first, _, rest = name.partition(".")
    return hasattr(part, first) and (not rest or _has(getattr(part, first), rest))


def _composers() -> Iterator[Obligation]:
    """DOM-13 for chains of every length; then the chains that there are, before and after."""
    before, after = series.COMPOSES_BEFORE, series.COMPOSES_AFTER
    native, remapped = series.NATIVE, series.REMAPPED
    yield Sentence(
        "DOM-13", "first and last composing level are one exactly if at most one composes", _one
    )
    yield Fact("DOM-13", "the implementation chooses these chips", _chosen_otherwise)
    wrong_first = _composed_by(remapped, before, last=False)
    yield Fact(
        "DOM-13",
        "patch 4 without patch 5 changes the composing chip behind remapping for the HPET only",
        lambda: sorted({"IR-HPET-MSI"} ^ {name for name, by in wrong_first.items() if by != "IR"}),
        f"IR-HPET-MSI: {wrong_first['IR-HPET-MSI']} instead of IR",
    )
    yield Fact(
        "APIC-2",
        "every chain without remapping that composed a message before composes the APIC's",
        lambda: [
            f"{name}: {by}"
            for name, by in _composed_by(native, after, last=False).items()
            if by != "APIC"
        ],
    )
    yield Fact(
        "APIC-2",
        "without remapping at most one chip composes, so that the rule does not matter",
        lambda: [
            name
            for name, chain in native.items()
            for composes in (before, after)
            if len(composes.intersection(chain)) > 1
        ],
    )
    yield _remapped_composes(before, "before", last=True)
    yield _remapped_composes(after, "after", last=False)
    wrong_last = _composed_by(remapped, after, last=True)
    yield Fact(
        "APIC-3",
        "patch 5 without patch 4 (N5) has the APIC compose everywhere behind remapping",
        lambda: [name for name, by in wrong_last.items() if by != "APIC"],
        ", ".join(f"{name}: {by} instead of IR" for name, by in wrong_last.items()),
    )


def _remapped_composes(composes: frozenset[str], when: str, *, last: bool) -> Obligation:
    by = _composed_by(series.REMAPPED, composes, last=last)
    return Fact(
        "APIC-3",
        f"behind remapping the remapping chip composes ({when})",
        lambda: [f"{name}: {chip}" for name, chip in by.items() if chip != "IR"],
    )


def _composed_by(
    chains: Mapping[str, Sequence[str]], composes: frozenset[str], *, last: bool
) -> dict[str, str | None]:
    return {n: series.composer(chain, composes, last=last) for n, chain in chains.items()}


def _one() -> z3.BoolRef:
    """A chain is `levels` long, and level i composes if c(i)."""
    c = z3.Function("composes", z3.IntSort(), z3.BoolSort())
    first, last, levels, i, j = z3.Ints("first last levels i j")

    def composing(level: z3.ArithRef) -> z3.BoolRef:
        return z3.And(level >= 0, level < levels, c(level))

    chosen = z3.And(
        composing(first),
        composing(last),
        z3.ForAll(i, z3.Implies(composing(i), z3.And(first <= i, i <= last))),
    )
    single = z3.ForAll([i, j], z3.Implies(z3.And(composing(i), composing(j)), i == j))
    return z3.Implies(chosen, (first == last) == single)


def _chosen_otherwise() -> list[str]:
    """The chains for which irq_chip_compose_msi_msg takes another chip than the table says."""
    wrong = []
    for name, chain in {**series.NATIVE, **series.REMAPPED}.items():
        for composes in (series.COMPOSES_BEFORE, series.COMPOSES_AFTER):
            for last in (False, True):
                by = series.composer(chain, composes, last=last)
                if _implemented(chain, composes, last=last) != by:
                    wrong.append(name)
    return wrong


def _implemented(chain: Sequence[str], composes: frozenset[str], *, last: bool) -> str | None:
    """The chip that the implementation takes; messages are marked by the level's number."""
    kernel = Kernel(1, defects=frozenset({Defect.N5} if last else ()))
    desc = IrqDesc(kernel, 1, 0, 1, 0)
    level: IrqData | None = None
    for number, name in reversed(list(enumerate(chain))):
        inner = level
        level = IrqData(desc, desc.common, _chip(number, name in composes))
        level.parent_data = inner
    assert level is not None
    ret, message = irq_chip_compose_msi_msg(level)
    return chain[message.data] if ret == 0 else None


def _chip(number: int, composes: bool) -> IrqChip:
    if not composes:
        return IrqChip("silent")
    return IrqChip("composing", irq_compose_msi_msg=lambda _: MsiMsg(data=number))
