# SPDX-License-Identifier: GPL-2.0-only
"""Random programs on whole machines under the monitors of all layers, and what they answer for.

Drivers allocate, request, move and free; devices come, go, sleep and signal; CPUs come and go; and
any allocation of memory may fail. A program ends by taking everything away again, after which the
machine must be what it was after boot (VEC-18, DOM-8). See `proofs.stateful` for the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import hypothesis

from impl.defects import Defect
from proofs.counterexample import Counterexample
from proofs.machine_tasks import subjects, task_name
from proofs.monitor import Broken
from proofs.platform_machines import PLATFORMS
from proofs.result import Result
from proofs.stateful import STEPS, Session, drive
from proofs.verdict import Verdict
from proofs.whole_machine import MACHINES, WholeMachine
from proofs.whole_run import WholeRun

__all__ = ["WHOLE", "booted", "defects_of", "run"]

WHOLE: Final[Mapping[str, WholeMachine]] = {
    **{machine.description.name: machine for machine in MACHINES},
    **PLATFORMS,
}
"""Every whole machine that random programs run on, by its name."""

_BARE: Final = tuple(machine.description.name for machine in MACHINES)

_PROGRAM: Final = STEPS + 10
"""Operations of a program, with what takes everything away."""


def defects_of(switches: frozenset[str]) -> frozenset[Defect]:
    """The defects of these names; ValueError for an unknown one."""
    known = {d.value: d for d in Defect}
    unknown = switches - known.keys()
    if unknown:
        raise ValueError(f"no such defect: {', '.join(sorted(unknown))}")
    return frozenset(known[name] for name in switches)


def run(
    number: int, steps: int, switches: frozenset[str] = frozenset(), name: str = "small"
) -> tuple[Result, ...]:
    """Random programs of about `steps` operations in all, the same ones for the same `number`, with
    these defects on, on the machine of this name.

    One result for each invariant and each law. A program that is refuted ends the run: the others
    then held to what was done until there. ValueError for an unknown defect, KeyError for an
    unknown machine."""
    machine = replace(WHOLE[name], defects=defects_of(switches))
    began = time.monotonic()
    found, session = booted(machine)
    if session is not None:
        found = drive(session, number, max(1, steps // _PROGRAM))
    return _results(name, session, found, time.monotonic() - began)


def booted(machine: WholeMachine) -> tuple[Counterexample | None, Session | None]:
    """A session on a machine that has booted, or what is wrong with its boot."""
    try:
        run = WholeRun(machine)
        run.judge()
    except Broken as broken:
        lenient = WholeRun(machine, lenient=True)
        return lenient.tell((), broken.finding, shortest=True), None
    return None, Session.with_run(run)


def _results(
    name: str, session: Session | None, found: Counterexample | None, seconds: float
) -> tuple[Result, ...]:
    operations, runs = (session.operations, session.runs) if session is not None else (0, 0)
    fell = found.violated if found is not None else ""
    ids = subjects(name)
    return tuple(
        Result(
            id,
            task_name(name),
            "stateful",
            Verdict.REFUTED if id == fell else Verdict.HELD,
            seconds,
            f"hypothesis {hypothesis.__version__}",
            f"{operations:,} operations in {runs:,} runs of machine {name}",
            counterexample=found if id == fell else None,
        )
        for id in (ids if not fell or fell in ids else (*ids, fell))
    )
