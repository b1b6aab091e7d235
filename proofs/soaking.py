# SPDX-License-Identifier: GPL-2.0-only
"""Random programs on whole machines without an end, one machine after the other in turns.

A program is drawn by its own generator, so that it depends on the seed, the machine and its turn
alone. It does without some kinds of operations, others each time: what is never undone leads
further than what is undone at once.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from proofs.counterexample import Counterexample
from proofs.driven import Operation
from proofs.monitor import Broken, Finding
from proofs.reproducer import Reproducer
from proofs.stateful import STEPS, Program, Session, shorten
from proofs.whole_stateful import WHOLE, booted, defects_of

__all__ = ["CRASH", "Again", "Turn", "again", "turns"]

CRASH: Final = "crash"
"""What a program has violated that ends in an error of Python."""

Failure = tuple[tuple[Operation, ...], Finding]


@dataclass(frozen=True, slots=True)
class Turn:
    """One program on one machine: how many operations it did, and what failed."""

    machine: str
    operations: int
    failed: Reproducer | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """What doing a program again came to: what was found, as a record where there is one.

    `refused` counts the operations that were not allowed when their turn came."""

    finding: Finding | None = None
    record: Counterexample | None = None
    refused: int = 0


def turns(names: Sequence[str], seed: int, switches: frozenset[str]) -> Iterator[Turn]:
    """Programs on the machines of these names, in turns, for ever; a machine whose boot fails is
    left out after that. When interrupted while it shortens a program it yields that as it is first.

    ValueError for an unknown defect, KeyError for an unknown machine."""
    sessions: dict[str, Session] = {}
    told = tuple(sorted(switches))
    for name in names:
        session, finding = _boot(name, switches)
        if session is not None:
            sessions[name] = session
        elif finding is not None:
            yield Turn(name, 0, Reproducer.of(name, told, seed, (), finding))
    for turn in itertools.count() if sessions else ():
        for name, session in sessions.items():
            before = session.operations
            failure = _program(session, random.Random(f"{seed} {turn} {name}"))
            done = session.operations - before
            interrupted = False
            if failure is not None:
                failure, interrupted = _shortened(session, failure)
                yield Turn(name, done, Reproducer.of(name, told, seed, *failure))
            else:
                yield Turn(name, done)
            if interrupted:
                raise KeyboardInterrupt


def again(reproducer: Reproducer) -> Again:
    """Do a program again, on the machine as it is today, and judge it.

    ValueError if there is no such machine, defect or operation."""
    if reproducer.machine not in WHOLE:
        raise ValueError(f"there is no machine {reproducer.machine!r}; there are {_known()}")
    session, finding = _boot(reproducer.machine, frozenset(reproducer.switches))
    if session is None:
        return Again(finding)
    for operation in reproducer.operations:
        if operation.name not in session.run.names:
            raise ValueError(f"there is no operation {operation.name!r}")
    program, refused = Program(session), 0
    try:
        for operation in reproducer.operations:
            if not (session.run.allows(operation) and program.perform(operation)):
                refused += 1
        program.take_away()
    except Broken as broken:
        record = session.run.tell(program.done, broken.finding, shortest=False)
        return Again(broken.finding, record, refused)
    except Exception as error:
        return Again(_crash(error), refused=refused)
    return Again(refused=refused)


def _known() -> str:
    return ", ".join(WHOLE)


def _boot(name: str, switches: frozenset[str]) -> tuple[Session | None, Finding | None]:
    """A session on a machine, or what is wrong with its boot."""
    machine = replace(WHOLE[name], defects=defects_of(switches))
    try:
        record, session = booted(machine)
    except Exception as error:
        return None, _crash(error)
    return session, None if record is None else Finding(record.violated, record.sentence)


def _program(session: Session, rng: random.Random) -> Failure | None:
    session.failed = None
    program = Program(session)
    names = sorted(session.run.names)
    kept = set(rng.sample(names, rng.randint(len(names) // 2, len(names))))
    try:
        for _ in range(STEPS):
            able = program.able()
            chosen = sorted(able.keys() & kept) or sorted(able)
            program.perform(rng.choice(able[rng.choice(chosen)]))
        program.take_away()
    except Broken:
        pass
    except Exception as error:
        # Which program it was must not be lost, whoever is to blame for the error.
        session.failed = tuple(program.done), _crash(error)
    return session.failed


def _crash(error: Exception) -> Finding:
    return Finding(CRASH, f"{type(error).__name__}: {error}")


def _shortened(session: Session, failure: Failure) -> tuple[Failure, bool]:
    """A shorter program that fails alike, and whether the search for it was interrupted."""
    try:
        return (failure if failure[1].violated == CRASH else shorten(session, *failure)), False
    except KeyboardInterrupt:
        return failure, True
    except Exception:
        # A shorter program crashes instead: the long one is good enough.
        return failure, False
