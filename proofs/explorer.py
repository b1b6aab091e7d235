# SPDX-License-Identifier: GPL-2.0-only
"""Every reachable state of a small machine, breadth-first, in blocks of packed rows.

A block of states is unpacked into columns; every invariant is checked on it; then each instance of
each operation (an operation with its parameters chosen) is tried on all states of the block at
once, and what comes out is added to the set of known rows. Two states are one only if all their
words are equal. The order is that of a plain breadth-first search that tries the instances in
order, block by block, so a run is repeatable, and a counterexample is a shortest one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from proofs.counterexample import Counterexample
from proofs.paths import counterexample
from proofs.rowset import RowSet
from proofs.symmetry import Symmetry
from proofs.verdict import Verdict
from spec.columns import Column, Columns, Instance, Rows, Truth
from spec.columns import compile as compile_columns
from spec.records import Invariant, Model
from spec.scope import Scope

_BLOCK = 1 << 17
"""States expanded at a time: their columns fit the second-level cache."""

_BATCH = 1 << 17
"""Successors gathered before they are looked up together."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a search stops before it is through; None is no limit. With `depth` 0 only the initial
    state is seen. `states` is checked block by block, so that a few more may be reached."""

    states: int | None = None
    depth: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Exploration:
    """What a search has seen.

    `states` are the different states reached (with symmetry: the orbits), `levels` how many of them
    at each distance from the initial state. `transitions` counts every enabled instance in every
    expanded state, whether or not it led to something new or anything changed. `fired` has that
    count for each operation of the model. `checked` states were tested against `invariants`.

    `exhausted` is true only if every reachable state was reached, expanded and tested; `stopped`
    says why it is not: "states", "depth", "seconds", "interrupted" or "violation".

    With `symmetry`, `full_states` and `full_transitions` say how many of either the checked orbits
    stand for: what the search would count without symmetry. Else they repeat the others."""

    model: str
    scope: Scope
    invariants: tuple[str, ...]
    symmetry: bool
    states: int
    checked: int
    transitions: int
    levels: tuple[int, ...]
    fired: Mapping[str, int]
    exhausted: bool
    stopped: str
    seconds: float
    bytes: int
    counterexample: Counterexample | None
    full_states: int
    full_transitions: int

    @property
    def depth(self) -> int:
        """The distance of the farthest state reached, in operations."""
        return len(self.levels) - 1

    @property
    def never(self) -> tuple[str, ...]:
        """The operations that were enabled in no expanded state."""
        return tuple(name for name, count in self.fired.items() if not count)

    @property
    def verdict(self) -> Verdict:
        """Refuted, held to the bounds of the scope, or, if the search was cut off, undetermined."""
        if self.counterexample is not None:
            return Verdict.REFUTED
        return Verdict.HELD if self.exhausted else Verdict.UNDETERMINED


def explore(
    model: Model,
    scope: Scope,
    *,
    invariants: tuple[str, ...] | None = None,
    symmetry: bool = False,
    limit: Limit | None = None,
    columns: Columns | None = None,
) -> Exploration:
    """Search every state of a model in a scope, and check the invariants with these ids (None: all
    that are not ghosts) on each. Stops at the first state that breaks one. `columns`, if given, is
    what `spec.columns.compile` made of the same model and scope.

    Ctrl-C ends the search and answers what was reached. Raises KeyError for an unknown id,
    ValueError as `compile`, OverflowError if a number leaves the bounds of the scope in a state
    where every invariant holds."""
    ready = columns or compile_columns(model, scope)
    chosen = _chosen(ready, invariants)
    orbits = Symmetry(ready, [ready.invariants[k] for k in chosen]) if symmetry else None
    if orbits is not None and not orbits.sorts:
        orbits = None
    return _Search(ready, chosen, limit or Limit(), orbits).run()


def _chosen(columns: Columns, ids: tuple[str, ...] | None) -> list[int]:
    known = [invariant.id for invariant in columns.invariants]
    if ids is None:
        return list(range(len(known)))
    missing = [id for id in ids if id not in known]
    if missing:
        raise KeyError(f"no invariant {', '.join(missing)} in {columns.model.name}")
    return [k for k, id in enumerate(known) if id in ids]


class _Search:
    def __init__(
        self, columns: Columns, chosen: list[int], limit: Limit, symmetry: Symmetry | None
    ) -> None:
        self.columns, self.chosen, self.limit, self.symmetry = columns, chosen, limit, symmetry
        self.found = RowSet(columns.width, len(columns.instances))
        self.fired = [0] * len(columns.instances)
        self.batch = _Batch(self.found, columns, symmetry)
        self.levels: list[int] = []
        self.checked = self.full_states = self.full_transitions = 0
        self.began = time.monotonic()

    def run(self) -> Exploration:
        first = self.columns.initial().reshape(1, -1)
        if self.symmetry is not None:
            first = self.symmetry.representatives(first)[0]
        zero = np.zeros(1, dtype=np.uint32)
        self.found.add(first, zero, zero)
        bad: int | None = None
        try:
            stopped, bad = self._levels()
        except KeyboardInterrupt:
            stopped = "interrupted"
        return self._result(stopped, bad)

    def _levels(self) -> tuple[str, int | None]:
        """Expand level by level. Answers why the search stopped, and the state that is wrong."""
        begin, end = 0, 1
        while begin < end:
            self.levels.append(end - begin)
            expand = self.limit.depth is None or len(self.levels) <= self.limit.depth
            for start in range(begin, end, _BLOCK):
                stopped = self._cut()
                if stopped:
                    bad = self._check_rest(start, end)
                    return ("violation" if bad is not None else stopped), bad
                bad = self._block(start, min(start + _BLOCK, end), expand)
                if bad is not None:
                    return "violation", bad
            self.batch.flush()
            begin, end = end, self.found.count
            if not expand:
                return "depth", None
        return "", None

    def _cut(self) -> str:
        limit = self.limit
        if limit.states is not None and self.found.count >= limit.states:
            return "states"
        if limit.seconds is not None and time.monotonic() - self.began >= limit.seconds:
            return "seconds"
        return ""

    def _check_rest(self, start: int, end: int) -> int | None:
        """Test what was reached and will not be expanded; it may be on two levels."""
        self.batch.flush()
        if self.found.count > end:
            self.levels.append(self.found.count - end)
        for at in range(start, self.found.count, _BLOCK):
            bad = self._block(at, min(at + _BLOCK, self.found.count), expand=False)
            if bad is not None:
                return bad
        return None

    def _block(self, start: int, stop: int, expand: bool) -> int | None:
        """Check a block of states and add their successors. Answers the first bad state."""
        rows = self.found.rows[start:stop].copy()
        places = self.columns.unpack(rows)
        bad = self._first_bad(self.columns.held(places), stop - start)
        if bad is not None:
            return start + bad
        self.checked += stop - start
        sizes = None
        if self.symmetry is not None:
            sizes = self.symmetry.representatives(rows)[1]
            self.full_states += int(sizes.sum())
        problem = self.columns.out_of_range(places)
        if problem is not None:
            raise OverflowError(problem)
        if expand:
            for instance, enabled in self.columns.guards(places):
                if enabled is False:
                    continue
                at = np.arange(len(rows)) if enabled is True else np.flatnonzero(enabled)
                if len(at):
                    self.fired[instance] += len(at)
                    if sizes is not None:
                        self.full_transitions += int(sizes[at].sum())
                    self.batch.add(instance, rows, places, at, start)
        return None

    def _first_bad(self, held: tuple[Truth, ...], size: int) -> int | None:
        firsts = []
        for k in self.chosen:
            holds = held[k]
            if holds is False:
                firsts.append(0)
            elif holds is not True and not holds.all():
                firsts.append(int(np.argmin(holds)))
        return min(firsts, default=None)

    def _result(self, stopped: str, bad: int | None) -> Exploration:
        columns, invariants = self.columns, self.columns.invariants
        fired = dict.fromkeys(columns.model.operations, 0)
        for instance, count in zip(columns.instances, self.fired, strict=True):
            fired[instance.operation] += count
        chosen = [invariants[k] for k in self.chosen]
        return Exploration(
            columns.model.name,
            columns.scope,
            tuple(i.id for i in chosen),
            self.symmetry is not None,
            self.found.count,
            self.checked,
            sum(self.fired),
            tuple(self.levels),
            fired,
            not stopped,
            stopped,
            time.monotonic() - self.began,
            self.found.bytes(),
            None
            if bad is None
            else counterexample(columns, self.found, self.symmetry, chosen, bad),
            self.full_states if self.symmetry is not None else self.found.count,
            self.full_transitions if self.symmetry is not None else sum(self.fired),
        )

    def _counterexample(self, chosen: list[Invariant], bad: int | None) -> Counterexample | None:
        if bad is None:
            return None
        return counterexample(self.columns, self.found, self.symmetry, chosen, bad)


class _Batch:
    """Successors on their way into the set of known rows."""

    def __init__(self, found: RowSet, columns: Columns, symmetry: Symmetry | None) -> None:
        self._found, self._columns, self._symmetry = found, columns, symmetry
        self._rows: Rows = np.empty((_BATCH, columns.width), dtype=np.uint64)
        self._parents = np.empty(_BATCH, dtype=np.uint32)
        self._instances = np.empty(_BATCH, dtype=found.instances.dtype)
        self._used = 0

    def add(
        self, instance: int, rows: Rows, places: list[Column], at: npt.NDArray[np.intp], base: int
    ) -> None:
        """Let an instance happen in the states `at` of a block that begins at state `base`."""
        if self._used + len(at) > _BATCH:
            self.flush()
        used, stop = self._used, self._used + len(at)
        out = self._rows[used:stop]
        np.take(rows, at, axis=0, out=out, mode="clip")
        self._columns.step(instance, places, at, out)
        np.add(at, base, out=self._parents[used:stop], casting="unsafe")
        self._instances[used:stop] = instance
        self._used = stop

    def flush(self) -> None:
        """Look them up."""
        used, self._used = self._used, 0
        if used:
            rows = self._rows[:used]
            if self._symmetry is not None:
                rows = self._symmetry.representatives(rows)[0]
            self._found.add(rows, self._parents[:used], self._instances[:used])


__all__ = ["Exploration", "Instance", "Limit", "explore"]
