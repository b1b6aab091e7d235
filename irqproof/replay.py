# SPDX-License-Identifier: GPL-2.0-only
"""``irqproof replay``: text ftrace logs of real kernels, held to the specification.

Snapshots of the same kernel may stand beside a log: see proofs.snapshots.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from irqproof.errors import UserError
from proofs.verdict import EXIT_USAGE, Verdict, combine, exit_code

if TYPE_CHECKING:
    from proofs.ftrace import Log
    from proofs.refinement import Counts, Violation
    from proofs.snapshot_judge import Judgement
    from proofs.snapshots_trace import History
    from spec.records import Model

JSON_FORMAT: Final = "irqproof-replay/1"
SWITCHES: Final = ("MX-D1", "MX-D2", "MX-D3", "MX-D4", "H1", "H4", "H5", "H6", "H8")
"""The defects and hazards of kernels that a log can be followed with."""

_STANDING: Final = ("MX-D1", "MX-D2")
"""Defects that every kernel up to 6.12 has: a log that shows one is refuted, but says so."""

_LINES_AFTER: Final = 2
_STDOUT: Final = "-"


@dataclass(frozen=True)
class Replay:
    """What one log came to. `checks` counts the formulas found true, by invariant."""

    file: str
    lines: int
    counts: Counts
    checks: Mapping[str, int]
    others: Mapping[str, int]
    violation: Violation | None
    around: tuple[tuple[int, str], ...] = ()
    explained: tuple[str, ...] = ()
    """Well-known defects, each of which would explain the line that does not fit."""

    @property
    def events(self) -> int:
        """How many events were followed."""
        return sum(self.counts.events.values())

    @property
    def verdict(self) -> Verdict:
        """HELD (for what the log tells) or REFUTED."""
        return Verdict.HELD if self.violation is None else Verdict.REFUTED


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``irqproof replay``."""
    add = parser.add_argument
    add(
        "files",
        metavar="FILE",
        nargs="+",
        help="text ftrace log, plain or gzip; or snapshots, a directory or a tar file, which belong"
        " to the log before them",
    )
    add(
        "--switch",
        metavar="NAME",
        dest="switches",
        action="append",
        choices=SWITCHES,
        default=[],
        help="follow a kernel that has this defect, e.g. MX-D1 (repeatable)",
    )
    add("--json", metavar="FILE", default="", help="write a JSON report, '-' for standard output")
    add("--quiet", action="store_true", help="print one line a log")


def run(options: argparse.Namespace) -> int:
    """Replay each file; the exit code is 1 if one is refuted, else 2 if one is no log and no
    snapshots, else 0, or 3 if there was nothing in snapshots to judge."""
    from irqproof import replay_snapshots
    from proofs.snapshots_trace import History
    from spec.stack import vectors

    switches = frozenset(getattr(options, "switches", None) or ())
    model = vectors.build(switches)
    replays: list[Replay] = []
    judgements: list[Judgement] = []
    errors: list[str] = []

    def report(error: UserError) -> None:
        errors.append(str(error))
        print(error, file=sys.stderr)

    def tell(lines: Iterator[str]) -> None:
        if options.json != _STDOUT:
            print("\n".join(lines))

    for log, archive in replay_snapshots.paired(options.files):
        history = None
        if log is not None:
            try:
                history = History(log) if archive else None
                replays.append(_explained(replay(log, model, history), switches))
                tell(_text(replays[-1], options.quiet))
            except UserError as error:
                history = None
                report(error)
        if archive is not None:
            try:
                judgements.append(replay_snapshots.judge_archive(archive, history))
                tell(replay_snapshots.text(judgements[-1], options.quiet))
            except UserError as error:
                report(error)
    verdict = combine([*(r.verdict for r in replays), *(j.verdict for j in judgements)])
    code = EXIT_USAGE if errors and verdict is not Verdict.REFUTED else exit_code(verdict)
    if options.json:
        _write_json(options.json, replays, judgements, errors, code)
    return code


def replay(file: str, model: Model, history: History | None = None) -> Replay:
    """Follow one log to its end or its first violation; raises UserError if it is no log.

    What it tells of the moments of snapshots goes into `history`.
    """
    from proofs.ftrace import Log, LogError, open_log
    from proofs.refinement import LogMonitor
    from proofs.snapshots_trace import watched

    monitor = LogMonitor(model)
    try:
        with open_log(file) as stream:
            log = Log(stream)
            violation = monitor.follow(watched(log, monitor, history) if history else log)
            around = _around(log) if violation else ()
    except LogError as error:
        raise UserError(error.message, file=file, line=error.line) from error
    except OSError as error:
        raise UserError(error.strerror or str(error), file=file) from error
    return Replay(
        file, log.lines - len(around[4:]), monitor.counts, monitor.checks(), log.others, violation,
        around,
    )  # fmt: skip


def _explained(result: Replay, switches: frozenset[str]) -> Replay:
    """The replay with the well-known defects that make the log fit this line."""
    from spec.stack import vectors

    violation = result.violation
    if violation is None:
        return result
    found = []
    for defect in _STANDING:
        if defect not in switches:
            other = replay(result.file, vectors.build(switches | {defect})).violation
            if other is None or other.line > violation.line:
                found.append(defect)
    return replace(result, explained=tuple(found))


def _around(log: Log) -> tuple[tuple[int, str], ...]:
    """The last lines that were read, and a few more, numbered."""
    from proofs.ftrace import LogError

    lines = list(log.recent)
    # Should the log break off behind the violation: the violation is the news.
    with contextlib.suppress(LogError):
        lines += [(log.lines, raw) for raw in islice(log.raw_lines(), _LINES_AFTER)]
    return tuple((number, raw.decode("utf-8", "backslashreplace")) for number, raw in lines)


# --- for a person ---------------------------------------------------------------------------


def _text(replay: Replay, quiet: bool) -> Iterator[str]:
    if replay.violation is not None:
        yield from _refuted(replay, replay.violation, quiet)
        return
    if not replay.events:
        yield (
            f"{replay.file}: held, but nothing was checked: {replay.lines:,} lines without one"
            " irq_vectors or irq_matrix event (tracing was off, or this kernel allocates no"
            " vectors, as a Xen PV guest)"
        )
        return
    yield f"{replay.file}: held: {replay.events:,} events followed in {replay.lines:,} lines"
    if not quiet:
        yield from _details(replay)


def _details(replay: Replay) -> Iterator[str]:
    counts = replay.counts
    start = "boot, all known" if counts.from_boot else "the middle of a run, nothing known"
    yield f"  began at       {start}"
    yield f"  machine        {len(counts.cpus):,} CPUs and {len(counts.irqs):,} irqs seen"
    yield f"  silent         {counts.windows:,} CPUs taken down, {counts.gaps:,} gaps (lost events)"
    yield f"  put off        {counts.put_off:,} events printed inside another CPU's section"
    true = sum(replay.checks.values())
    yield f"  checks         {true:,} formulas true, {counts.learned:,} learned"
    labelled = {k: n for k, n in sorted(replay.checks.items()) if n and k}
    yield f"  by invariant   {_counted(labelled)}; order and guards {replay.checks.get('', 0):,}"
    yield f"  followed       {_counted(_most_first(counts.events))}"
    if replay.others:
        yield f"  passed over    {_counted(_most_first(replay.others))}"


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def _most_first(numbers: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(numbers.items(), key=lambda item: (-item[1], item[0])))


def _refuted(replay: Replay, violation: Violation, quiet: bool) -> Iterator[str]:
    yield f"{replay.file}:{violation.line}: refuted: {violation.sentence()}"
    if quiet:
        return
    yield f"  {replay.events:,} events before it fit"
    if violation.related:
        yield "  the last events of the same irq and CPU:"
        yield from (f"    {event}" for event in violation.related)
    yield "  the log there:"
    for number, text in replay.around:
        mark = ">" if number == violation.line else " "
        yield f"  {mark} {number:>8}  {text}"
    for defect in replay.explained:
        yield (
            f"  note: kernels up to 6.12 have the defect {defect}, which explains this line;"
            f" --switch {defect} follows the log with it"
        )
    if "cpuhp_enter" not in replay.others and not replay.counts.windows:
        yield (
            "  note: the log has no cpuhp events, so a CPU that was taken down would go unnoticed;"
            " trace cpuhp:cpuhp_enter and cpuhp:cpuhp_exit, too"
        )


# --- for machines ---------------------------------------------------------------------------


def _write_json(
    file: str,
    replays: list[Replay],
    judgements: list[Judgement],
    errors: list[str],
    code: int,
) -> None:
    from irqproof import __version__, replay_snapshots
    from proofs.files import write_atomically

    document = {
        "format": JSON_FORMAT,
        "version": __version__,
        "exit_code": code,
        "errors": errors,
        "logs": [_json_log(r) for r in replays],
        "snapshots": [replay_snapshots.to_json(j) for j in judgements],
    }
    content = json.dumps(document, indent=1) + "\n"
    if file == _STDOUT:
        sys.stdout.write(content)
    else:
        write_atomically(Path(file), content)


def _json_log(replay: Replay) -> dict[str, Any]:
    counts, violation = replay.counts, replay.violation
    return {
        "file": replay.file,
        "verdict": replay.verdict.value,
        "lines": replay.lines,
        "events": counts.events,
        "others": dict(replay.others),
        "from_boot": counts.from_boot,
        "cpus": sorted(counts.cpus),
        "irqs": sorted(counts.irqs),
        "windows": counts.windows,
        "gaps": counts.gaps,
        "checks": {name or "guards": number for name, number in replay.checks.items()},
        "learned": counts.learned,
        "violation": None
        if violation is None
        else {
            "line": violation.line,
            "event": violation.event,
            "fields": dict(violation.fields),
            "action": violation.action,
            "arguments": dict(violation.arguments),
            "formula": violation.formula,
            "invariant": violation.invariant,
            "values": dict(violation.values),
            "related": list(violation.related),
            "around": [list(line) for line in replay.around],
            "explained_by": list(replay.explained),
        },
    }
