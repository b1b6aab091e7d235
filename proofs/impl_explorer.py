# SPDX-License-Identifier: GPL-2.0-only
"""Every state of the implementation itself on a small machine, breadth-first, under the monitor.

From each state each operation is tried with all its parameters; the machine is put back by
snapshot. Two moments are one state if nothing in the machine that influences its future differs:
its key.

No symmetry is used. CPUs differ, because the rules of choice go by their numbers; irqs differ,
because the walk over a dying CPU's irqs serves the lower numbers first, and so do new irqs.

An operation that enters a hazard which is off is dropped, and counted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proofs.counterexample import Counterexample
from proofs.driven import Driven, Operation
from proofs.explorer import Limit
from proofs.judge import Judge
from proofs.monitor import Broken, Finding, HazardEntered
from proofs.monitored import Run
from proofs.small_machine import SmallMachine
from proofs.verdict import Verdict
from spec.records import Model

__all__ = ["EXPLORED", "ImplExploration", "explore_machine", "search"]

EXPLORED = (
    "alloc_reserved",
    "alloc_masked",
    "alloc_managed",
    "alloc_legacy",
    "early_activate",
    "request_irq",
    "free_irq",
    "free_irqs",
    "set_affinity",
    "isolate",
    "set_managed_affinity",
    "fire",
    "cleanup_ipi",
    "cpu_up",
    "cpu_down",
)
"""What is tried where nothing else is asked for."""


@dataclass(frozen=True)
class ImplExploration:
    """What a search has seen.

    `levels` counts the new states at each distance from boot; `transitions` the operations that
    were performed to their end, `dropped` those that entered a hazard, by its name. `exhausted`
    is true only if every reachable state was expanded and judged; `stopped` says why it is not."""

    machine: str
    operations: tuple[str, ...]
    switches: tuple[str, ...]
    levels: tuple[int, ...]
    transitions: int
    fired: Mapping[str, int]
    dropped: Mapping[str, int]
    exhausted: bool
    stopped: str
    seconds: float
    counterexample: Counterexample | None = None
    path: tuple[Operation, ...] = field(default=())
    violated: tuple[str, ...] = ()

    @property
    def states(self) -> int:
        """The different states reached."""
        return sum(self.levels)

    @property
    def depth(self) -> int:
        """The distance of the farthest state reached, in operations."""
        return len(self.levels) - 1

    @property
    def bound(self) -> str:
        """How far the search went, as a noun phrase."""
        ends = "" if self.exhausted else f", to depth {self.depth} ({self.stopped})"
        return f"{self.machine}: {self.states:,} states{ends}"

    @property
    def verdict(self) -> Verdict:
        """Refuted, held to the bounds of the machine, or undetermined if it was cut off."""
        if self.counterexample is not None:
            return Verdict.REFUTED
        return Verdict.HELD if self.exhausted else Verdict.UNDETERMINED


def explore_machine(
    kind: SmallMachine,
    model: Model,
    names: tuple[str, ...] = EXPLORED,
    limit: Limit | None = None,
    *,
    targets: tuple[str, ...] = (),
    judge: Judge | None = None,
) -> ImplExploration:
    """Search the states of a machine with these operations.

    Without `targets` the search stops at the first step that the specification does not allow, or
    state that breaks an invariant; what it finds is the shortest there is. With `targets`, the
    first step that leaves the specification does not end it: it goes on to the first state that
    breaks one of these invariants ("KernelBug" among them: or a BUG).

    Raises KeyError for an unknown target."""
    for target in targets:
        if target != "KernelBug":
            model.invariant(target)
    run = Run(kind, model, judge, lenient=bool(targets), names=names)
    return search(run, limit or Limit(), targets)


def search(run: Driven, limit: Limit, targets: tuple[str, ...] = ()) -> ImplExploration:
    """Search the states of a machine from where it is now; see `explore_machine`. With targets its
    monitors must be lenient."""
    return _Search(run, limit, frozenset(targets)).run()


class _Search:
    def __init__(self, run: Driven, limit: Limit, targets: frozenset[str]) -> None:
        self.run_, self.limit, self.targets = run, limit, targets
        self.parents: list[tuple[int, Operation | None]] = [(-1, None)]
        self.known = {run.key()}
        self.levels: list[int] = [1]
        self.fired: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.began = time.monotonic()

    def run(self) -> ImplExploration:
        try:
            self._judge()
            level = [(0, self.run_.save())]
            while level:
                depth = len(self.levels) - 1
                if self.limit.depth is not None and depth >= self.limit.depth:
                    return self._result("depth")
                following: list[tuple[int, Any]] = []
                self.levels.append(0)
                for place, saved in level:
                    stopped = self._cut()
                    if stopped:
                        return self._result(stopped)
                    self._expand(place, saved, following)
                if not following:
                    self.levels.pop()
                level = following
        except _Found as found:
            return self._found(found)
        except KeyboardInterrupt:
            return self._result("interrupted")
        return self._result("")

    def _cut(self) -> str:
        limit = self.limit
        if limit.states is not None and len(self.known) >= limit.states:
            return "states"
        if limit.seconds is not None and time.monotonic() - self.began >= limit.seconds:
            return "seconds"
        return ""

    def _expand(self, place: int, saved: Any, following: list[tuple[int, Any]]) -> None:
        run = self.run_
        run.restore(saved)
        for operation in run.able():
            run.restore(saved)
            try:
                run.perform(operation)
            except HazardEntered as hazard:
                self.dropped[hazard.name] += 1
                continue
            except Broken as broken:
                if not self.targets or broken.finding.violated in self.targets:
                    raise _Found(place, operation, broken.finding) from broken
                self.dropped[broken.finding.violated] += 1
                continue
            self.fired[operation.name] += 1
            noticed = run.noticed(self.targets)
            if noticed is not None:
                raise _Found(place, operation, noticed)
            key = run.key()
            if key not in self.known:
                self.known.add(key)
                self.levels[-1] += 1
                self._judge(place, operation)
                self.parents.append((place, operation))
                following.append((len(self.parents) - 1, run.save()))

    def _judge(self, place: int = -1, operation: Operation | None = None) -> None:
        finding = self.run_.finding(self.targets)
        if finding is not None and (not self.targets or finding.violated in self.targets):
            raise _Found(place, operation, finding)

    def _path(self, place: int) -> list[Operation]:
        path: list[Operation] = []
        while place >= 0:
            place, operation = self.parents[place]
            if operation is not None:
                path.append(operation)
        return path[::-1]

    def _found(self, found: _Found) -> ImplExploration:
        last = [found.operation] if found.operation is not None else []
        path = (*self._path(found.place), *last)
        counterexample = self.run_.tell(path, found.finding, shortest=True)
        violated = (found.finding.violated, *found.finding.also)
        return self._result("violation", counterexample, path, violated)

    def _result(
        self,
        stopped: str,
        counterexample: Counterexample | None = None,
        path: tuple[Operation, ...] = (),
        violated: tuple[str, ...] = (),
    ) -> ImplExploration:
        return ImplExploration(
            self.run_.label,
            self.run_.names,
            self.run_.switches,
            tuple(self.levels),
            sum(self.fired.values()),
            dict(self.fired),
            dict(self.dropped),
            not stopped,
            stopped,
            time.monotonic() - self.began,
            counterexample,
            path,
            violated,
        )


class _Found(Exception):
    """The state after this operation, tried on this state, is wrong."""

    def __init__(self, place: int, operation: Operation | None, finding: Finding) -> None:
        super().__init__(finding.violated)
        self.place, self.operation, self.finding = place, operation, finding
