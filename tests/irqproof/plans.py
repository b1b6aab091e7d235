# SPDX-License-Identifier: GPL-2.0-only
"""Small plans for the tests of the command, whose tasks any worker process can import."""

import os
import time
from functools import partial
from pathlib import Path

from proofs.counterexample import Counterexample, Step
from proofs.result import Result, Task
from proofs.verdict import Verdict

SENTENCES = {
    "VEC-1": "No two interrupts own one vector of one CPU.",
    "VEC-2": "A free vector has no owner.",
    "MX-1": "The count of free bits is the number of clear bits.",
}

LEAK = Counterexample(
    source="implementation",
    machine="2 CPUs with 4 vectors each",
    switches=("H1",),
    initial={"online": {(0,): True, (1,): True}, "owner": {(0, 33): None, (1, 33): None}},
    steps=(
        Step(
            "alloc",
            (("cpu", 0), ("irq", 1)),
            {"online": {(0,): True, (1,): True}, "owner": {(0, 33): 1, (1, 33): None}},
        ),
        Step(
            "cpu_down",
            (("cpu", 0),),
            {"online": {(0,): False, (1,): True}, "owner": {(0, 33): 1, (1, 33): None}},
        ),
    ),
    violated="VEC-1",
    sentence=SENTENCES["VEC-1"],
    formula="∀ c, v: owner[c, v] ≠ none ⇒ online[c]",
    false_parts=("online[c]",),
    shortest=True,
    sorts={
        "online": ("Cpu", "Bool"),
        "owner": ("Cpu", "Vector", "Option[Irq]"),
        "alloc.cpu": ("Cpu",),
        "alloc.irq": ("Irq",),
        "cpu_down.cpu": ("Cpu",),
    },
)


def result(subject: str, verdict: Verdict, method: str = "induction") -> Result:
    """A result whose every member depends on the arguments alone."""
    bounds = {
        "explorer": "2 CPUs x 4 vectors x 2 irqs",
        "stateful": "20,000 steps",
    }
    return Result(
        subject=subject,
        check=f"{method} irq_matrix_alloc",
        method=method,
        verdict=verdict,
        seconds=0.25,
        solver="z3 5.4.1" if method == "induction" else "",
        bound=bounds[method] if verdict is Verdict.HELD else "",
        assumed=("CPUs are not hot-removed",) if method == "induction" else (),
        detail="time limit" if verdict is Verdict.UNDETERMINED else "",
        counterexample=LEAK if verdict is Verdict.REFUTED else None,
    )


def answer(*results: Result) -> tuple[Result, ...]:
    """A task's work: the results, at once."""
    return results


def task(name: str, *results: Result, weight: float = 1.0, key: str = "") -> Task:
    """A task that gives these results."""
    subjects = tuple(dict.fromkeys(item.subject for item in results))
    return Task(name, "fake", weight, key, partial(answer, *results), subjects)


def good() -> list[Task]:
    """Three invariants, held in several ways."""
    return [
        task(
            "induction alloc",
            result("VEC-1", Verdict.PROVED),
            result("VEC-2", Verdict.PROVED),
            weight=1.0,
            key="alloc",
        ),
        task("explorer", result("VEC-1", Verdict.HELD, "explorer"), weight=9.0, key="explorer"),
        task("stateful", result("MX-1", Verdict.HELD, "stateful"), weight=3.0),
    ]


def refuted() -> list[Task]:
    """The same, and VEC-1 broken by the implementation."""
    return [*good(), task("run", result("VEC-1", Verdict.REFUTED, "stateful"), weight=5.0)]


def undecided() -> list[Task]:
    """The same, and MX-1 left open by a solver."""
    return [*good(), task("induction free", result("MX-1", Verdict.UNDETERMINED), weight=5.0)]


def fail() -> tuple[Result, ...]:
    """Raise as a broken check would."""
    raise ZeroDivisionError("division by zero\nin two lines")


def die() -> tuple[Result, ...]:
    """End the whole worker process, as a solver does that runs out of memory."""
    os._exit(9)


def silent() -> tuple[Result, ...]:
    """Answer nothing."""
    return ()


def unpicklable() -> tuple[Result, ...]:
    """Answer with what cannot be sent back."""
    return (lambda: None,)  # type: ignore[return-value]


def leave() -> tuple[Result, ...]:
    """Try to end the run with a good exit code."""
    raise SystemExit(0)


def wait_for_ever(started: Path) -> tuple[Result, ...]:
    """Say which process runs the task, then hang."""
    partial_file = started.with_suffix(".part")
    partial_file.write_text(str(os.getpid()))
    partial_file.rename(started)
    time.sleep(600)
    return ()
