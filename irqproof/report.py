# SPDX-License-Identifier: GPL-2.0-only
"""The report of a run for a person: a table, what is behind it, and a line at the end."""

import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Final

from irqproof.summary import Report, Subject, plural, unique
from proofs.render import render
from proofs.verdict import Verdict
from spec.dossier import UNCHECKED

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH_WITHOUT_TERMINAL: Final = 144

_FEW: Final = 8
"""So many invariants are named one by one."""

_STYLES: Final = {
    Verdict.PROVED: "green",
    Verdict.HELD: "green",
    Verdict.REFUTED: "bold red",
    Verdict.UNDETERMINED: "yellow",
}


def print_report(report: Report, stream: IO[str], *, quiet: bool) -> None:
    """Print the report; when quiet, only what went wrong and the last line."""
    from rich.console import Console
    from rich.text import Text

    # Rich takes 80 columns for a file, which breaks every sentence of the table.
    given = stream.isatty() or "COLUMNS" in os.environ
    width = None if given else _WIDTH_WITHOUT_TERMINAL
    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
    if report.subjects and not quiet:
        console.print(_table(report))
    # Plain text goes around the console: it must not be wrapped, whatever the width.
    notes = () if quiet else (_unchecked, _assumptions, _witnesses, _bounds)
    for line in (line for part in (*notes, _findings) for line in part(report)):
        print(line, file=stream)
    style = _STYLES[report.verdict]
    console.print(Text(report.summary(), style=style), soft_wrap=True)


def _table(report: Report) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, safe_box=True)
    table.add_column("Invariant", no_wrap=True)
    # `irqproof show invariants` has the sentences in full; here a row should be a line.
    table.add_column("What must hold", no_wrap=True, overflow="ellipsis", max_width=34)
    table.add_column("How it is held", min_width=54)
    table.add_column("Checks", justify="right", no_wrap=True)
    table.add_column("Time", justify="right", no_wrap=True)
    table.add_column("Solver", no_wrap=True)
    for subject in report.subjects:
        table.add_row(*_cells(subject), style=None if subject.verdict.good else "bold")
    return table


def _cells(subject: Subject) -> tuple[str, ...]:
    solvers = [solver.split()[0] for solver in subject.solvers]
    return (
        subject.name,
        subject.sentence,
        "; ".join(subject.standing()),
        f"{len(subject.results):,}",
        f"{subject.seconds:.1f}s",
        ", ".join(dict.fromkeys(solvers)),
    )


def _unchecked(report: Report) -> Iterator[str]:
    """What a complete check leaves out, and why."""
    if report.options.only or report.options.machines or not report.subjects:
        return
    yield from (f"not checked: {id}: {reason}" for id, reason in UNCHECKED.items())
    yield ""


def _assumptions(report: Report) -> Iterator[str]:
    assumptions = report.assumptions()
    for assumption, subjects in assumptions.items():
        who = "all" if len(subjects) == len(report.subjects) else ", ".join(subjects)
        if len(subjects) > _FEW and who != "all":
            who = f"{plural(len(subjects), 'invariant')}, {subjects[0]} to {subjects[-1]}"
        yield f"assumed by {who}: {assumption}"
    if assumptions:
        yield ""


def _witnesses(report: Report) -> Iterator[str]:
    """What the proofs that something does happen have found."""
    found = [r for r in report.results if r.verdict is Verdict.PROVED and r.detail]
    yield from (f"{result.subject}, {result.check}: {result.detail}" for result in found)
    if found:
        yield ""


def _bounds(report: Report) -> Iterator[str]:
    """What each bounded check went through, and which obligation of a solver took longest."""
    for solver in unique(result.solver for result in report.results):
        slowest = max(
            (r for r in report.results if r.solver == solver), key=lambda result: result.seconds
        )
        yield f"{solver}: slowest {slowest.check} of {slowest.subject}, {slowest.seconds:.2f} s"
    yield from unique(
        f"{result.check}: {result.detail}" if result.detail else ""
        for result in report.results
        if result.verdict is Verdict.HELD
    )
    if report.results:
        yield ""


def _findings(report: Report) -> Iterator[str]:
    """Every refutation with its counterexample, then why the undetermined are so."""
    shown = []
    for result in report.results:
        if result.verdict is not Verdict.REFUTED:
            continue
        yield f"refuted: {result.subject}, {result.check}" + _after_colon(result.detail)
        # One fault is often found by several methods with the very same run.
        if result.counterexample is not None and result.counterexample not in shown:
            shown.append(result.counterexample)
            yield render(result.counterexample)
        yield ""
    # One task that fails leaves many invariants open for the same reason: one line is enough.
    open_checks: dict[tuple[str, str], list[str]] = {}
    for result in report.results:
        if result.verdict is Verdict.UNDETERMINED:
            open_checks.setdefault((result.check, result.detail), []).append(result.subject)
    for (check, detail), subjects in open_checks.items():
        yield f"undetermined: {', '.join(unique(subjects))}, {check}" + _after_colon(detail)
    if open_checks:
        yield ""


def _after_colon(detail: str) -> str:
    return f": {detail}" if detail else ""
