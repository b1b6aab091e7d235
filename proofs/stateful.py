# SPDX-License-Identifier: GPL-2.0-only
"""Random programs on a small machine under the monitor, by Hypothesis.

Every operation of `proofs.small_machine` is drawn with its parameters; a program ends by taking
everything away again, after which the machine must be what it was (VEC-18). A failing program is
shortened, and handed over as a counterexample that can be replayed; it need not be the shortest.

Only the first bug is reported, and it is shortened by leaving operations out, not by Hypothesis,
whose explain phase alone takes a minute.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from impl.defects import Defect
from proofs.counterexample import Counterexample
from proofs.driven import Driven, Operation
from proofs.monitor import Broken, Finding, HazardEntered
from proofs.monitored import Run
from proofs.result import LAWS, Result
from proofs.small_machine import SmallMachine
from proofs.verdict import Verdict
from spec.stack import vectors

__all__ = ["MACHINES", "STEPS", "Program", "Session", "drive", "machine_class", "run", "shorten"]

_AT_ONCE: Final = SmallMachine(3, 3, 4)
_DEFERRED: Final = SmallMachine(3, 3, 4, pcntxt=False)
_ROOMY: Final = SmallMachine(3, 8, 4)
MACHINES: Final = (_AT_ONCE, _DEFERRED, _ROOMY)
"""Moves at once, moves that wait for an interrupt, and more room than can be filled."""

STEPS: Final = 50
"""Operations of one program, before everything is taken away."""

_HAZARDS: Final = frozenset({"H2", "H7", "H8"})
"""What the environment may do to a machine without a defect."""


@dataclass
class Session:
    """What the programs of one run share: the machine, which each begins anew, and the books.

    `failed` is the last program that was refuted, and what was found."""

    run: Driven
    start: Any
    operations: int = 0
    runs: int = 0
    performed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    failed: tuple[tuple[Operation, ...], Finding] | None = None

    @classmethod
    def of(cls, kind: SmallMachine, hazards: frozenset[str] = frozenset()) -> Session:
        """A session on a machine, in an environment that may enter these hazards."""
        return cls.with_run(Run(kind, vectors.build(hazards)))

    @classmethod
    def with_run(cls, run: Driven) -> Session:
        """A session on a machine that has been booted."""
        return cls(run, run.save())


class Program:
    """One program: a monitored machine that takes back what enters a hazard."""

    def __init__(self, session: Session) -> None:
        self.session, self.run = session, session.run
        self.run.restore(session.start)
        session.runs += 1
        self.done: list[Operation] = []

    def able(self) -> dict[str, list[Operation]]:
        """What is allowed now, by name."""
        found: dict[str, list[Operation]] = {}
        for operation in self.run.able():
            found.setdefault(operation.name, []).append(operation)
        return found

    def perform(self, operation: Operation) -> bool:
        """Do it and judge the state; False if it entered a hazard and was taken back.

        Raises Broken."""
        session, saved = self.session, self.run.save()
        self.done.append(operation)
        try:
            self.run.perform(operation)
            self.run.judge()
        except HazardEntered as hazard:
            session.dropped[hazard.name] += 1
            self.run.restore(saved)
            self.done.pop()
            return False
        except Broken as broken:
            session.failed = tuple(self.done), broken.finding
            raise
        session.operations += 1
        session.performed[operation.name] += 1
        return True

    def take_away(self) -> None:
        """Take everything away and compare with a machine on which nothing but the CPUs came and
        went (VEC-18). Raises Broken."""
        for operation in self.run.leaving():
            if not self.perform(operation):
                return
        apart = self.run.left(self.session.start)
        if apart:
            text = f"with everything gone, {', '.join(apart)} are not as if nothing had been"
            self.session.failed = tuple(self.done), Finding("VEC-18", text)
            raise Broken(self.session.failed[1])


def machine_class(session: Session) -> type[RuleBasedStateMachine]:
    """The machine that Hypothesis drives: one rule, which draws any operation that is allowed."""

    class VectorPrograms(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            session.failed = None
            self.program = Program(session)

        @rule(data=st.data())
        def step(self, data: st.DataObject) -> None:
            able = self.program.able()
            name = data.draw(st.sampled_from(sorted(able)), label="kind")
            self.program.perform(data.draw(st.sampled_from(able[name]), label="operation"))

        def teardown(self) -> None:
            if session.failed is None:
                self.program.take_away()

    return VectorPrograms


def shorten(
    session: Session, operations: tuple[Operation, ...], finding: Finding
) -> tuple[tuple[Operation, ...], Finding]:
    """Leave operations out while the program still ends in the same finding: half of them, a
    quarter, ... one at a time. What is left needs each of its operations."""
    size = len(operations)
    while size:
        size = size // 2 if size > 1 else 0
        place = 0
        while size and place < len(operations):
            fewer = operations[:place] + operations[place + size :]
            again = _outcome(session, fewer)
            same = again is not None and again[1].violated == finding.violated
            if again is not None and same and len(again[0]) < len(operations):
                operations, finding = again
            else:
                place += size
    return operations, finding


def _outcome(
    session: Session, operations: tuple[Operation, ...]
) -> tuple[tuple[Operation, ...], Finding] | None:
    """What a program comes to; operations that are not allowed when their turn comes are left
    out."""
    session.failed = None
    program = Program(session)
    try:
        for operation in operations:
            if session.run.allows(operation):
                program.perform(operation)
        program.take_away()
    except Broken:
        pass
    return session.failed


def run(number: int, steps: int, switches: frozenset[str] = frozenset()) -> tuple[Result, ...]:
    """Random programs of about `steps` operations in all, the same ones for the same `number`, with
    these hazards and defects on.

    One result for each invariant and each law that was judged. A program that is refuted ends the
    run: the others then held to what was done until there. ValueError for an unknown switch."""
    known = {d.value: d for d in Defect}
    hazards = frozenset(s for s in switches if s in _HAZARDS)
    unknown = switches - known.keys() - _HAZARDS
    if unknown:
        raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
    defects = frozenset(known[s] for s in switches if s in known)
    began = time.monotonic()
    sessions: list[Session] = []
    found: Counterexample | None = None
    for kind in MACHINES:
        session = Session.of(replace(kind, defects=defects), hazards)
        sessions.append(session)
        found = drive(session, number, max(1, steps // (STEPS * len(MACHINES))))
        if found is not None:
            break
    return _results(sessions, found, time.monotonic() - began)


def drive(session: Session, number: int, programs: int) -> Counterexample | None:
    """Random programs on a session's machine: the counterexample of the first that is refuted."""
    # Shrinking by Hypothesis runs a program a thousand times; leaving out does with a hundred.
    chosen = settings(
        max_examples=programs,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(machine_class(session)), settings=chosen)
    except Broken as broken:
        if session.failed is None:
            raise AssertionError("a program was refuted and left no trace") from broken
        path, finding = shorten(session, *session.failed)
        return session.run.tell(path, finding, shortest=False)
    return None


def _results(
    sessions: list[Session], found: Counterexample | None, seconds: float
) -> tuple[Result, ...]:
    judged = sessions[0].run.judged()
    operations = sum(s.operations for s in sessions)
    runs = sum(s.runs for s in sessions)
    bound = f"{operations:,} operations in {runs:,} runs"
    solver = f"hypothesis {hypothesis.__version__}"
    subjects = [*judged, *(law for law in LAWS if law not in judged)]
    if found is not None and found.violated not in subjects:
        subjects.append(found.violated)
    return tuple(
        Result(
            id,
            "random programs",
            "stateful",
            Verdict.REFUTED if found is not None and found.violated == id else Verdict.HELD,
            seconds,
            solver,
            bound,
            counterexample=found if found is not None and found.violated == id else None,
        )
        for id in subjects
    )
