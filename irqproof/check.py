# SPDX-License-Identifier: GPL-2.0-only
"""``irqproof check``: every obligation of the plan, and a report of what holds and how."""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

from irqproof.errors import UserError
from proofs.options import BadOptionError, Options, Scope
from proofs.verdict import EXIT_INTERRUPTED, exit_code

if TYPE_CHECKING:
    from irqproof.runner import Outcome
    from irqproof.summary import Report
    from proofs.result import Result, Task

_STDOUT: Final = "-"


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What was asked of one check: the plan's options, how to run it and how to report it.

    ``json`` and ``junit`` name a file, "-" for standard output, or are empty. ``cache`` is the
    directory of the cache, None for no cache.
    """

    plan: Options = field(default_factory=Options)
    jobs: int = 1
    cache: Path | None = None
    json: str = ""
    junit: str = ""
    ktap: bool = False
    quiet: bool = False


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``irqproof check``."""
    add = parser.add_argument
    add(
        "--only",
        metavar="PATTERN",
        action="append",
        default=[],
        help="check only invariants and tasks with such a name, e.g. 'VEC-*' (repeatable)",
    )
    add(
        "--machine",
        metavar="NAME",
        action="append",
        default=[],
        help="check only what concerns this machine of impl/machines, e.g. vtd (repeatable)",
    )
    add(
        "--scope",
        metavar="CxVxI",
        type=_scope,
        help="CPUs x vectors x irqs of the bounded checks, e.g. 2x3x2",
    )
    add("--seed", metavar="N", type=_natural, default=0, help="seed of everything random (0)")
    add(
        "--jobs",
        metavar="N",
        type=_positive,
        default=os.cpu_count() or 1,
        help="worker processes (one a core)",
    )
    add(
        "--switch",
        metavar="NAME",
        action="append",
        default=[],
        help="turn on a hazard or a defect, e.g. H1 (repeatable)",
    )
    add("--crosscheck", action="store_true", help="let cvc5 confirm what z3 proves, too")
    add("--no-cache", action="store_true", help="check everything anew")
    add("--json", metavar="FILE", default="", help="write a JSON report, '-' for standard output")
    add("--junit", metavar="FILE", default="", help="write a JUnit report, '-' likewise")
    add("--ktap", action="store_true", help="print KTAP instead of the table")
    add("--quiet", action="store_true", help="print only what is not held, and the last line")


def run(options: argparse.Namespace) -> int:
    """Check what the plan says; returns the exit code, raises UserError."""
    from proofs.cache import default_directory

    wanted = CheckOptions(
        plan=Options(
            tuple(options.only),
            options.scope,
            options.seed,
            tuple(options.switch),
            options.crosscheck,
            tuple(options.machine),
        ),
        jobs=options.jobs,
        cache=None if options.no_cache else default_directory(os.environ),
        json=options.json,
        junit=options.junit,
        ktap=options.ktap,
        quiet=options.quiet,
    )
    _check_outputs(wanted)
    from proofs import plan

    try:
        tasks = plan.tasks(wanted.plan)
        sentences = plan.sentences(wanted.plan)
    except BadOptionError as error:
        raise UserError(str(error)) from error
    return run_check(tasks, wanted, sentences)


def run_check(tasks: Sequence["Task"], options: CheckOptions, sentences: Mapping[str, str]) -> int:
    """Run the tasks that the options choose, report them and return the exit code.

    ``sentences`` gives the meaning of an invariant's id. Raises UserError if the options choose
    nothing or a report cannot be written.
    """
    from irqproof import progress
    from irqproof.runner import run_tasks
    from irqproof.summary import Report, plural
    from proofs.cache import Cache

    _check_outputs(options)
    chosen = _choose(tasks, options.plan.only)
    began = time.monotonic()
    with progress.listener(options.quiet) as listener:
        cache = None if options.cache is None else Cache(options.cache)
        outcome = run_tasks(chosen, options.jobs, cache, listener)
    report = Report.of(
        _results(outcome, options.plan.only), options.plan, sentences, outcome.interrupted
    )
    _publish(report, options)
    if not options.quiet:
        # The only line that differs from run to run, and so not on standard output.
        print(
            f"{plural(len(chosen), 'task')} in {time.monotonic() - began:.1f} s with "
            f"{plural(options.jobs, 'worker')}, seed {options.plan.seed}",
            file=sys.stderr,
        )
    if outcome.interrupted:
        print("irqproof: interrupted: what was not finished is undetermined", file=sys.stderr)
        return EXIT_INTERRUPTED
    return exit_code(report.verdict)


def _choose(tasks: Sequence["Task"], patterns: tuple[str, ...]) -> tuple["Task", ...]:
    """The tasks that some pattern matches by their own name or an invariant's."""
    for pattern in patterns:
        if not any(_matches(task, pattern) for task in tasks):
            raise UserError(f"--only {pattern}: no invariant and no task has such a name")
    if not patterns:
        return tuple(tasks)
    return tuple(task for task in tasks if any(_matches(task, pattern) for pattern in patterns))


def _matches(task: "Task", pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (task.name, *task.subjects))


def _results(outcome: "Outcome", patterns: tuple[str, ...]) -> list["Result"]:
    """Every result that was asked for: a task may answer for more invariants than the user did."""
    return [
        result
        for task, results in outcome.answers
        for result in results
        if not patterns
        or any(
            fnmatchcase(task.name, pattern) or fnmatchcase(result.subject, pattern)
            for pattern in patterns
        )
    ]


def _check_outputs(options: CheckOptions) -> None:
    """Find out before a long run, not after it, that a report has nowhere to go."""
    takers = [options.json == _STDOUT, options.junit == _STDOUT, options.ktap]
    if sum(takers) > 1:
        raise UserError("only one report can go to standard output")
    for name in (options.json, options.junit):
        if name and name != _STDOUT:
            if Path(name).is_dir():
                raise UserError("a directory, not a file to write a report to", file=name)
            if not Path(name).parent.is_dir():
                raise UserError("there is no such directory to write a report to", file=name)


def _publish(report: "Report", options: CheckOptions) -> None:
    from irqproof import formats
    from irqproof.report import print_report

    # Files first: a reader that closes standard output early must not cost them.
    troubles = []
    for name, convert in ((options.json, formats.to_json), (options.junit, formats.to_junit)):
        if name and name != _STDOUT:
            troubles += _write(name, convert(report))
    if options.json == _STDOUT:
        sys.stdout.write(formats.to_json(report))
    elif options.junit == _STDOUT:
        sys.stdout.write(formats.to_junit(report) + "\n")
    elif options.ktap:
        sys.stdout.write(formats.to_ktap(report))
    else:
        print_report(report, sys.stdout, quiet=options.quiet)
    if troubles:
        raise troubles[0]


def _write(name: str, content: str) -> list[UserError]:
    from proofs.files import write_atomically

    try:
        write_atomically(Path(name), content)
    except OSError as error:
        return [UserError(f"cannot write the report: {error.strerror or error}", file=name)]
    return []


def _scope(text: str) -> Scope:
    try:
        return Scope.parse(text)
    except BadOptionError as error:
        # argparse prints this exception's words, and of a ValueError only that there was one.
        raise argparse.ArgumentTypeError(str(error)) from error


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more")
    return int(text)


def _positive(text: str) -> int:
    number = _natural(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
