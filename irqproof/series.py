# SPDX-License-Identifier: GPL-2.0-only
"""``irqproof show series``: the patches of the series, and what holds each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING

from irqproof.summary import Report, Subject
from proofs.options import Options
from proofs.verdict import EXIT_INTERRUPTED, combine, exit_code
from spec.patches import PATCHES

if TYPE_CHECKING:
    from proofs.result import Task

__all__ = ["chosen", "print_patches", "run"]


def run() -> int:
    """Check what the patches claim and print a row for each; the exit code of the check.

    A check whose answer is in the cache is not done again."""
    from irqproof import progress
    from irqproof.runner import run_tasks
    from proofs import plan
    from proofs.cache import Cache, default_directory

    options = Options()
    wanted = {id for patch in PATCHES for id in patch.ids}
    with progress.listener(False) as listener:
        cache = Cache(default_directory(os.environ))
        outcome = run_tasks(
            chosen(plan.tasks(options), wanted), os.cpu_count() or 1, cache, listener
        )
    results = [r for _, found in outcome.answers for r in found if r.subject in wanted]
    report = Report.of(results, options, {id: "" for id in sorted(wanted)}, outcome.interrupted)
    standing = {subject.name: subject for subject in report.subjects}
    print_patches(standing, sys.stdout)
    print(report.summary())
    return EXIT_INTERRUPTED if outcome.interrupted else exit_code(report.verdict)


def chosen(tasks: Iterable[Task], wanted: set[str]) -> tuple[Task, ...]:
    """The tasks that answer for one of these ids."""
    return tuple(task for task in tasks if wanted & set(task.subjects))


def print_patches(standing: Mapping[str, Subject], stream: IO[str]) -> None:
    """A row for each patch; `standing` is what was found for each id."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, safe_box=True)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("Patch", no_wrap=True, overflow="ellipsis", max_width=48)
    table.add_column("R", no_wrap=True)
    table.add_column("Held by", min_width=48)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Time", justify="right", no_wrap=True)
    for patch in PATCHES:
        found = [standing[id] for id in patch.ids if id in standing]
        missing = [id for id in patch.ids if id not in standing]
        table.add_row(
            str(patch.number),
            patch.title,
            "R" if patch.refactoring else "",
            ", ".join((*map(_held, found), *(f"{id}: not checked" for id in missing))),
            combine(subject.verdict for subject in found).value,
            f"{sum(subject.seconds for subject in found):.1f}s",
        )
    width = None if stream.isatty() or "COLUMNS" in os.environ else 144
    Console(file=stream, width=width, highlight=False, markup=False, emoji=False).print(table)


def _held(subject: Subject) -> str:
    """An id and the strongest ways in which it is held: a proof, a bound, tests."""
    ways = dict.fromkeys(_KINDS[result.method] for result in subject.results)
    return f"{subject.name} ({', '.join(sorted(ways, key=_ORDER.index))})"


_KINDS = {
    "induction": "proof",
    "theorem": "proof",
    "bits": "proof",
    "explorer": "bounded",
    "bounded": "bounded",
    "stateful": "tests",
    "refinement": "tests",
    "replay": "tests",
    "crosshair": "tests",
    "task": "no answer",
}
_ORDER = ("proof", "bounded", "tests", "no answer")
