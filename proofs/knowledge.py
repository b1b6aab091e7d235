# SPDX-License-Identifier: GPL-2.0-only
"""What is known of the machine behind a log, and what has to be forgotten when it goes silent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from proofs.events import Reading
from spec.partial import ANY, UNKNOWN, PartialState
from spec.records import Model
from spec.terms import Term

SILENT: Final = frozenset(
    {
        "cpu_goes_offline",
        "fixup_irqs",
        "vector_retriggered",
        "cleanup_forgotten",
    }
)
"""Untraced actions that happen only while a CPU comes or goes: `forget_cpu` answers for them."""

KEPT: Final = frozenset({"affinity", "managed_shutdown"})
"""Fields that untraced actions write, but not where they are followed: a managed irq keeps its mask
while it lives (A-MGD), and an unmanaged one is never in managed shutdown."""

_VECTORS: Final = 256
_FIRST_EXTERNAL: Final = 32
_FIRST_SYSTEM: Final = (235, 236)
"""Allocation ends before one of these: 236, or 235 in kernels that have posted MSI."""
_ISA_VECTOR: Final = 48
_ISA_IRQS: Final = 16


def hidden_fields(model: Model, readings: Iterable[Reading]) -> frozenset[str]:
    """The fields that a log says nothing about: written by a step that is not traced, or of no
    use to any guard, printed number or other field that is followed."""
    followed = list(readings)
    traced = {r.action for r in followed}
    untold = {
        name
        for action in model.actions.values()
        if action.name not in traced | SILENT
        for name in action.writes
        if name not in KEPT
    }
    useful = {p.field for r in followed for p in (*r.before, *r.after)}
    useful |= {f for name in traced for f in _fields_read(model.actions[name].guard)}
    while True:
        more = {
            f
            for action in traced
            for name, writes in model.actions[action].writes.items()
            if name in useful
            for write in writes
            for f in _fields_read(write.value) | _fields_read(write.condition)
        }
        if more <= useful:
            break
        useful |= more
    return frozenset(untold | (model.fields.keys() - useful))


def _fields_read(term: Term) -> set[str]:
    found = {str(term.args[0])} if term.op == "read" else set()
    return found.union(*(_fields_read(a) for a in term.args if isinstance(a, Term)))


def forget_everything(state: PartialState) -> None:
    """Nothing is known but the constants of x86 (irq_vectors.h)."""
    for name in state.fields:
        state.fill(name, UNKNOWN)
    _constants(state)


def boot(state: PartialState) -> None:
    """Nothing has happened yet: every field has its initial value."""
    for name, field in state.fields.items():
        if not field.rigid and name not in KEPT:
            state.begin(name)
    _constants(state)


def _constants(state: PartialState) -> None:
    state.fill("matrix_bit", False)
    state.fill("allocatable", False)
    state.fill("isa_irq", None)
    for vector in range(_VECTORS):
        state.put("matrix_bit", (vector,), True)
    for vector in range(_FIRST_EXTERNAL, _FIRST_SYSTEM[1]):
        state.put("allocatable", (vector,), True if vector < _FIRST_SYSTEM[0] else UNKNOWN)
    for irq in range(_ISA_IRQS):
        state.put("isa_irq", (_ISA_VECTOR + irq,), irq)


def forget_cpu(state: PartialState, cpu: int) -> None:
    """The CPU is being taken down, and what it does is not told: its interrupts move to other CPUs
    (new bits there, new counts) or are shut down, and moves from and to it are completed. An irq
    that has nothing to do with the CPU keeps what it has; no reservation is made or used."""
    kept: set[tuple[Any, Any]] = set()
    moved: list[Any] = []
    for irq in {*state.stores["vector"], *state.stores["cpu"], *state.stores["prev_cpu"]}:
        places = state.get("cpu", irq), state.get("prev_cpu", irq)
        if cpu in places or UNKNOWN in places:
            moved.append(irq)
        else:
            vectors = state.get("vector", irq), state.get("prev_vector", irq)
            kept |= {(c, v) for c, v in zip(places, vectors, strict=True) if c is not None}
    for c in state.named("isa"):
        kept |= {(c, v) for v in state.stores["isa"][c] if v is not ANY and c != cpu}
    for irq in moved:
        for name in ("vector", "cpu", "prev_vector", "prev_cpu"):
            state.put(name, (irq,), UNKNOWN)
    taken = [
        place for place in kept if UNKNOWN not in place and state.get("alloc_map", *place) is True
    ]
    state.fill("alloc_map", UNKNOWN)
    for place in taken:
        state.put("alloc_map", place, True)
    for name in (
        "available",
        "allocated",
        "managed_allocated",
        "global_available",
        "total_allocated",
        "online_maps",
    ):
        state.fill(name, UNKNOWN)
    state.put("online", (cpu,), UNKNOWN)
    state.put("cpu_online", (cpu,), UNKNOWN)


def at_rest(state: PartialState) -> bool:
    """Whether no section is half done, as far as is known: nothing is in anybody's hands."""
    hand = state.stores["hand"]
    return (
        all(value is not True for row in hand.values() for value in row.values())
        and state.get("unclaimed") in (0, UNKNOWN)
        and all(owed in (0, UNKNOWN) for owed in state.stores["managed_unclaimed"].values())
    )


def settle(state: PartialState, cpu: int) -> bool:
    """If as many bits of a CPU's map are known to be taken as it counts, the others are free
    (MX-3). False if more are known than it counts."""
    row = state.stores["alloc_map"].get(cpu)
    count = state.get("allocated", cpu)
    if row is None or row[ANY] is not UNKNOWN or count is UNKNOWN:
        return True
    taken = [bit for bit, value in row.items() if value is True]
    if len(taken) == count:
        state.stores["alloc_map"][cpu] = {ANY: False, **dict.fromkeys(taken, True)}
    return bool(len(taken) <= count)
