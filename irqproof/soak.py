# SPDX-License-Identifier: GPL-2.0-only
"""``irqproof soak``: random programs on whole machines for minutes; those that fail are kept."""

from __future__ import annotations

import argparse
import math
import re
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from irqproof.errors import UserError
from proofs.options import BadOptionError
from proofs.verdict import EXIT_INTERRUPTED, Verdict, exit_code

if TYPE_CHECKING:
    from proofs.reproducer import Reproducer
    from proofs.soaking import Turn

_SECONDS_BETWEEN_LINES: Final = 10.0
_LONGEST_NAME: Final = 40


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``irqproof soak``."""
    add = parser.add_argument
    add("--minutes", metavar="N", type=_minutes, default=10.0, help="how long (10)")
    add(
        "--machine",
        metavar="NAME",
        action="append",
        default=[],
        help="only the platform of this machine of impl/machines, e.g. vtd (repeatable)",
    )
    add("--seed", metavar="N", type=_natural, help="seed of the programs (a new one)")
    add(
        "--switch",
        metavar="NAME",
        action="append",
        default=[],
        help="turn on a defect of the implementation, e.g. N17 (repeatable)",
    )
    add(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("irqproof-soak"),
        help="where programs that fail are kept (./irqproof-soak)",
    )
    add("--replay", metavar="FILE", help="do one of those again, and nothing else")


def run(options: argparse.Namespace) -> int:
    """Soak, or do one program again; returns the exit code, raises UserError."""
    if options.replay is not None:
        return _replay(options.replay)
    from proofs.machine_table import programs_of
    from proofs.soaking import turns
    from proofs.whole_stateful import defects_of

    try:
        names = programs_of(options.machine)
        defects_of(frozenset(options.switch))
    except (BadOptionError, ValueError) as error:
        raise UserError(str(error)) from error
    _check_directory(options.out)
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    soak = Soak(options.out, options.minutes * 60)
    opening = f"soaking {', '.join(names)} for {options.minutes:g} minutes, seed {seed}"
    return soak.follow(turns(names, seed, frozenset(options.switch)), opening)


@dataclass
class Soak:
    """The books of one run: how long it goes on, what it did, and what it found."""

    directory: Path
    seconds: float
    programs: int = 0
    operations: int = 0
    kinds: set[object] = field(default_factory=set)
    again: int = 0

    def follow(self, turns: Iterable[Turn], opening: str) -> int:
        """Take turns until the time is up or Ctrl-C is pressed; returns the exit code. Whoever has
        read the `opening` gets a last line, however soon Ctrl-C comes."""
        interrupted = False
        try:
            _tell(opening)
            for turn in self._in_time(turns):
                self._count(turn)
        except KeyboardInterrupt:
            interrupted = True
        verdict = Verdict.REFUTED if self.kinds else Verdict.HELD
        print(f"{verdict.value}: {self._so_far()}")
        if interrupted:
            _tell("interrupted")
            return EXIT_INTERRUPTED
        return exit_code(verdict)

    def _in_time(self, turns: Iterable[Turn]) -> Iterator[Turn]:
        began = told = time.monotonic()
        for turn in turns:
            yield turn
            now = time.monotonic()
            if now - began >= self.seconds:
                return
            if now - told >= _SECONDS_BETWEEN_LINES:
                told = now
                _tell(f"{(now - began) / 60:.1f} minutes, {self._so_far()}, now {turn.machine}")

    def _count(self, turn: Turn) -> None:
        self.programs += 1
        self.operations += turn.operations
        failed = turn.failed
        if failed is None:
            return
        if failed.kind in self.kinds:
            self.again += 1
            return
        file = keep(failed, self.directory)
        self.kinds.add(failed.kind)
        print(f"refuted: {_sentence(failed)}; kept as {file}", flush=True)

    def _so_far(self) -> str:
        from irqproof.summary import plural

        done = f"{plural(self.programs, 'program')}, {plural(self.operations, 'operation')}"
        repeated = f", {plural(self.again, 'time')} more" if self.again else ""
        return f"{done}, {len(self.kinds) or 'nothing'} found{repeated}"


def keep(failed: Reproducer, directory: Path) -> Path:
    """Write a reproducer to a file of the directory that was not there; raises UserError."""
    stem = re.sub(r"[^A-Za-z0-9.-]", "-", f"{failed.machine}-{failed.violated}")[:_LONGEST_NAME]
    number = 1
    try:
        directory.mkdir(exist_ok=True)
        while True:
            file = directory / f"{stem}-{number}.json"
            try:
                with open(file, "x", encoding="utf-8") as stream:
                    stream.write(failed.to_json())
                return file
            except FileExistsError:
                number += 1
    except OSError as error:
        why = f"cannot keep a program that fails: {error.strerror or error}"
        raise UserError(why, file=str(directory)) from error


def _replay(file: str) -> int:
    from irqproof.summary import plural
    from proofs.render import render
    from proofs.reproducer import Reproducer
    from proofs.soaking import again

    try:
        reproducer = Reproducer.from_json(Path(file).read_text(encoding="utf-8"))
        outcome = again(reproducer)
    except OSError as error:
        raise UserError(error.strerror or str(error), file=file) from error
    except (ValueError, RecursionError) as error:
        raise UserError(str(error), file=file) from error
    finding = outcome.finding
    if outcome.refused:
        _tell(f"{outcome.refused} of the operations are not allowed any more")
    if finding is None:
        print(f"{file}: held: {plural(len(reproducer.operations), 'operation')}, nothing found")
        return exit_code(Verdict.HELD)
    print(f"{file}: refuted: {finding.violated}: {finding.sentence}")
    if outcome.record is not None:
        print(render(outcome.record))
    return exit_code(Verdict.REFUTED)


def _sentence(failed: Reproducer) -> str:
    from irqproof.summary import plural

    steps = plural(len(failed.operations), "operation")
    return f"{failed.machine}: {failed.violated}: {failed.sentence} ({steps})"


def _check_directory(directory: Path) -> None:
    """Find out before a long run, not after it, that what is found has nowhere to go."""
    if directory.exists() and not directory.is_dir():
        raise UserError("this is no directory to keep programs in", file=str(directory))
    if not directory.parent.is_dir():
        raise UserError("there is no directory above it", file=str(directory))


def _tell(text: str) -> None:
    print(f"irqproof: {text}", file=sys.stderr, flush=True)


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more")
    return int(text)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not (math.isfinite(minutes) and minutes > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return minutes
