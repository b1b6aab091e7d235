# SPDX-License-Identifier: GPL-2.0-only
"""From a bad state that a search has found to a run that leads there.

With symmetry, what the search has stored are representatives, and an edge between two of them may
rename every CPU. The run is therefore made again from the initial state: in each state of the run
the instance is looked for that leads into the next orbit. So names do not jump, and every step is
one that the specification allows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proofs.counterexample import Counterexample, Step
from proofs.describe import describe
from proofs.rowset import RowSet
from proofs.symmetry import Symmetry
from spec.columns import Columns, Rows
from spec.evaluate import evaluate
from spec.records import Invariant
from spec.scope import State


def counterexample(
    columns: Columns,
    found: RowSet,
    symmetry: Symmetry | None,
    invariants: list[Invariant],
    bad: int,
) -> Counterexample:
    """A shortest run to the state number `bad`, where one of the invariants is false."""
    edges = list(_edges(found, bad))
    if symmetry is None:
        run = [(instance, found.rows[state]) for instance, state in edges]
    else:
        run = list(_again(columns, symmetry, [found.rows[state] for _, state in edges]))
    steps = []
    for instance, row in run:
        happened = columns.instances[instance]
        steps.append(Step(happened.operation, happened.params, columns.state(row)))
    return recorded(columns, invariants, columns.state(columns.initial()), tuple(steps))


def _edges(found: RowSet, bad: int) -> Iterator[tuple[int, int]]:
    """The instances on the way from the initial state, each with the state that it led to."""
    back = []
    while bad:
        back.append((int(found.instances[bad]), bad))
        bad = int(found.parents[bad])
    return reversed(back)


def _again(columns: Columns, symmetry: Symmetry, orbits: list[Rows]) -> Iterator[tuple[int, Rows]]:
    row = columns.initial()
    for orbit in orbits:
        instance, row = _step_into(columns, symmetry, row, orbit)
        yield instance, row


def _step_into(columns: Columns, symmetry: Symmetry, row: Rows, orbit: Rows) -> tuple[int, Rows]:
    places = columns.unpack(row.reshape(1, -1))
    for instance, enabled in columns.guards(places):
        if np.all(enabled):
            after = row.reshape(1, -1).copy()
            columns.step(instance, places, np.zeros(1, dtype=np.intp), after)
            if np.array_equal(symmetry.representatives(after)[0][0], orbit):
                return instance, after[0]
    raise AssertionError("no step leads into the next orbit: the symmetry is none")


def recorded(
    columns: Columns, invariants: list[Invariant], initial: State, steps: tuple[Step, ...]
) -> Counterexample:
    """The record of a run at whose end one of these invariants is false: the first of them."""
    model, scope = columns.model, columns.scope
    sizes = {sort: scope.size(sort.name) for sort in model.sorts}
    last = steps[-1].state if steps else initial
    broken = next(i for i in invariants if not evaluate(i.formula, last, sizes))  # type: ignore[arg-type]
    machine = f"{model.name} {scope}"
    return describe(
        model, sizes, broken, initial, steps, source="spec", machine=machine, shortest=True
    )
