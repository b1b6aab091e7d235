# SPDX-License-Identifier: GPL-2.0-only
"""Hunts: each historic defect and each hazard, on the smallest machine that can show it.

A row says which defects the implementation has, which hazards the environment may enter, and which
invariants then fall. The specification stays the repaired one: it has the hazards of the
environment on, never the defects. `hunt` searches breadth-first with one set of operations that
knows nothing of the defect; `control` is the same search with everything off, to the same depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from impl.defects import Defect
from proofs.explorer import Limit
from proofs.impl_explorer import EXPLORED, ImplExploration, explore_machine
from proofs.small_machine import SmallMachine
from spec.records import Model
from spec.stack import vectors

__all__ = ["HUNTS", "Hunt", "control", "hunt"]


@dataclass(frozen=True, slots=True)
class Hunt:
    """What is switched on, where, and which invariants fall; `steps` is the shortest run to one."""

    machine: SmallMachine
    targets: tuple[str, ...]
    steps: int
    hazards: frozenset[str] = frozenset()
    operations: tuple[str, ...] = EXPLORED
    note: str = ""

    @property
    def defects(self) -> frozenset[Defect]:
        """The defects of the implementation."""
        return self.machine.defects


def _machine(cpus: int, vectors: int, irqs: int, *defects: Defect, **more: object) -> SmallMachine:
    machine = SmallMachine(cpus, vectors, irqs, defects=frozenset(defects))
    return replace(machine, **more)  # type: ignore[arg-type]


FILLING: Final = (
    "alloc_reserved",
    "alloc_masked",
    "request_irq",
    "set_affinity",
    "fire",
    "cpu_up",
    "cpu_down",
)
"""Regular interrupts come, run and move; none goes."""

_H2: Final = frozenset({"H2"})

HUNTS: Final[Mapping[str, Hunt]] = {
    "H1": Hunt(_machine(3, 2, 1, Defect.H1), ("VEC-10", "VEC-6"), 5),
    "H2": Hunt(_machine(2, 2, 1), ("VEC-12",), 3, _H2),
    "H4": Hunt(_machine(3, 2, 1, Defect.H4), ("VEC-6", "VEC-10", "VEC-11"), 4),
    "H5": Hunt(
        _machine(1, 4, 3, Defect.H5, Defect.MX_D3, legacy=3),
        ("MX-3", "MX-6", "MX-7"),
        1,
        note="counts go wrong only with MX-D3: the repaired matrix refuses the double free",
    ),
    "H6": Hunt(
        _machine(2, 1, 2, Defect.H6),
        ("VEC-22",),
        4,
        _H2,
        note="a fixed irq without a vector on an online CPU needs the situation of H2",
    ),
    "H7": Hunt(_machine(2, 2, 1), ("VEC-15",), 2, frozenset({"H7"})),
    "H8": Hunt(
        _machine(3, 1, 2),
        ("VEC-12", "VEC-22"),
        5,
        frozenset({"H8"}),
        FILLING,
        "two irqs on three CPUs have too many states for every operation",
    ),
    "H9": Hunt(
        _machine(2, 2, 1, Defect.H9),
        ("VEC-12", "VEC-22"),
        6,
        note="not among the known hazards: found by this search",
    ),
    "MX-D1": Hunt(
        _machine(2, 2, 1, Defect.MX_D1), ("MX-6", "MX-11"), 2, note="H3 is what it does to vectors"
    ),
    "MX-D2": Hunt(
        _machine(2, 2, 1, Defect.MX_D2),
        ("MX-9",),
        3,
        _H2,
        note="a free on an offline CPU needs an irq that was left there, as in H2",
    ),
    "MX-D3": Hunt(
        _machine(1, 4, 3, Defect.H5, Defect.MX_D3, legacy=3),
        ("MX-3", "MX-6", "MX-7"),
        1,
        note="H5 is the one double free",
    ),
    "MX-D4": Hunt(
        _machine(1, 2, 1, Defect.MX_D4, beyond=True, system_vectors=(3,)),
        ("MX-1",),
        0,
        note="the boot code names the vector behind the matrix: boot alone breaks the invariant",
    ),
}
"""The name of a defect or a hazard, and the hunt for it."""


def _model(hazards: frozenset[str]) -> Model:
    return vectors.build(hazards)


def hunt(name: str, limit: Limit | None = None) -> ImplExploration:
    """The shortest run that breaks one of the invariants; KeyError for an unknown name."""
    row = HUNTS[name]
    model = _model(row.hazards)
    return explore_machine(row.machine, model, row.operations, limit, targets=row.targets)


def control(name: str, limit: Limit | None = None) -> ImplExploration:
    """The same search on the repaired machine in a kind environment, to the same depth if no other
    limit is given: every step is held to the specification and every invariant is judged."""
    row = HUNTS[name]
    machine = row.machine.without_defects()
    chosen = limit or Limit(depth=row.steps)
    return explore_machine(machine, _model(frozenset()), row.operations, chosen)
