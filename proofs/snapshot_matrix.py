# SPDX-License-Identifier: GPL-2.0-only
"""Rules of the matrix and of the vectors of irqs, for what debugfs and the log say of them."""

from __future__ import annotations

from typing import Final

from proofs.snapshot_chains import ROOT
from proofs.snapshot_judge import Judgement
from proofs.snapshots import Place
from proofs.snapshots_debugfs import DebugIrqs, Domain, Level, MatrixCpu
from proofs.snapshots_view import View

__all__ = ["judge_matrix"]

_TAKEN_DOWN: Final = "the log does not tell after a CPU was taken down"

Spot = tuple[int, int]
"""A vector of a CPU."""


def judge_matrix(view: View, judgement: Judgement) -> None:
    """The counters of the matrix, its vectors and who has them, and what the log says of both.

    That an irq has the vector that it has by the log is the law "refinement".
    """
    root = view.debug.domains.get(ROOT) if view.debug else None
    if view.debug is None or root is None or not root.cpus:
        judgement.leave("MX-3, MX-7 to MX-10, VEC-9, VEC-10", "no matrix in /sys/kernel/debug/irq")
        return
    for chain in view.debug.chains.values():
        if level := chain.level(ROOT):
            _irq(chain.irq, level, view, judgement)
    held = _owners(view.debug, judgement)
    for cpu, row in root.cpus.items():
        _cpu(cpu, row, held, view, judgement)
    for (vector, cpu), (irq, place) in held.items():
        row_of = root.cpus.get(cpu)
        sentence = f"irq {irq} has vector {vector} on CPU {cpu}, where that is free"
        known = row_of is not None and vector in row_of.vectors
        judgement.check("VEC-5", place, known, sentence)
    _totals(root, view, judgement)


def _irq(irq: int, level: Level, view: View, judgement: Judgement) -> None:
    """The states that an irq can be in, and the one that it is in by the log."""
    numbers, place = level.numbers, level.places.get("Vector", level.places["hwirq"])
    vector, target = numbers.get("Vector", 0), numbers.get("Target")
    if numbers.get("is_managed"):
        may = numbers.get("can_reserve") or numbers.get("has_reserved")
        sentence = f"irq {irq} is managed, and yet it can reserve or has reserved"
        judgement.check("VEC-2", place, not may, sentence)
    if numbers.get("has_reserved"):
        sentence = f"irq {irq} has vector {vector} and a reservation, too"
        judgement.check("VEC-1", place, not vector, sentence)
    if view.moment is None:
        return
    known = view.moment.places(irq)
    if known is None:
        judgement.leave("refinement", _TAKEN_DOWN)
        return
    own = (vector, target) if vector else (None, None)
    said = ", ".join(f"{v or 'none'} on {'none' if c is None else c}" for v, c in known)
    sentence = f"irq {irq} has vector {vector} on CPU {target}, but by the log {said}"
    if any(held == vector for held, _ in known):
        place = level.places.get("Target", place)
    judgement.check("refinement", place, own in known, sentence)


def _owners(debug: DebugIrqs, judgement: Judgement) -> dict[Spot, tuple[int, Place]]:
    """Who has each (vector, CPU), and where that stands."""
    held: dict[Spot, tuple[int, Place]] = {}
    for chain in debug.chains.values():
        level = chain.level(ROOT)
        for vector_name, cpu_name in (("Vector", "Target"), ("Previous vector", "Previous target")):
            vector = level.numbers.get(vector_name, 0) if level else 0
            if level is None or not vector or cpu_name not in level.numbers:
                continue
            cpu, place = level.numbers[cpu_name], level.places[vector_name]
            other, there = held.setdefault((vector, cpu), (chain.irq, place))
            owner = f"which is irq {other}'s at {there}"
            sentence = f"irq {chain.irq} has vector {vector} on CPU {cpu}, {owner}"
            judgement.check("VEC-9", place, other == chain.irq, sentence)
    return held


def _cpu(
    cpu: int,
    row: MatrixCpu,
    held: dict[Spot, tuple[int, Place]],
    view: View,
    judgement: Judgement,
) -> None:
    sentence = f"CPU {cpu} counts {row.allocated} vectors in use and names {len(row.vectors)}"
    judgement.check("MX-3", row.place, row.allocated == len(row.vectors), sentence)
    sentence = (
        f"of {row.managed} managed and {row.allocated} vectors in use on CPU {cpu},"
        f" {row.managed_allocated} are both"
    )
    both = row.managed_allocated <= min(row.managed, row.allocated)
    judgement.check("MX-4", row.place, both, sentence)
    for vector in sorted(row.vectors):
        sentence = f"vector {vector} of CPU {cpu} is in use, but no irq has it"
        judgement.check("VEC-10", row.place, (vector, cpu) in held, sentence)
    for rule, name, number in (
        ("MX-6", "available", row.available),
        ("MX-3", "allocated", row.allocated),
        ("MX-3", "managed", row.managed),
    ):
        _log_says(rule, name, cpu, number, row.place, view, judgement)


def _totals(root: Domain, view: View, judgement: Judgement) -> None:
    debug = view.debug
    reservations = 0
    for chain in debug.chains.values() if debug else ():
        level = chain.level(ROOT)
        reservations += level.numbers.get("has_reserved", 0) if level else 0
    expected = {
        "Online bitmaps": ("MX-8", "online_maps", len(root.cpus)),
        "Global available": (
            "MX-7",
            "global_available",
            sum(r.available for r in root.cpus.values()),
        ),
        "Global reserved": ("VEC-3", "global_reserved", reservations),
        "Total allocated": (
            "MX-9",
            "total_allocated",
            sum(r.allocated for r in root.cpus.values()),
        ),
    }
    for name, (rule, field, number) in expected.items():
        if name not in root.matrix:
            judgement.leave(rule, f"{ROOT} does not say {name!r}")
            continue
        printed, place = root.matrix[name]
        sentence = f"{name} is {printed}, but the rest of the file says {number}"
        judgement.check(rule, place, printed == number, sentence)
        _log_says(rule, field, None, printed, place, view, judgement)


def _log_says(
    rule: str,
    name: str,
    cpu: int | None,
    number: int,
    place: Place,
    view: View,
    judgement: Judgement,
) -> None:
    """Hold a printed number to the log, if that knows it."""
    if view.moment is None:
        return
    known = view.moment.values(name, cpu)
    if known is None:
        judgement.leave(rule, _TAKEN_DOWN)
        return
    cell = name if cpu is None else f"{name}[{cpu}]"
    said = " or ".join(map(str, sorted(known)))
    sentence = f"{cell} is {number}, but by the log it is {said}"
    judgement.check(rule, place, number in known, sentence)
