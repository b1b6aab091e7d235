# SPDX-License-Identifier: GPL-2.0-only
"""Telling a person on standard error how a run goes; a ``runner.Listener`` each."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from irqproof.runner import Listener
from proofs.result import Result, Task

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SECONDS_BETWEEN_LINES: Final = 10.0


class Silent:
    """Tells of warnings only."""

    def started(self, total: int) -> None:
        """Nothing."""

    def finished(self, task: Task, results: tuple[Result, ...]) -> None:
        """Nothing."""

    def warned(self, message: str) -> None:
        """Print the warning."""
        print(f"irqproof: warning: {message}", file=sys.stderr)


@dataclass(slots=True)
class Lines(Silent):
    """For a log: a line now and then, none at all in a short run."""

    total: int = 0
    done: int = 0
    began: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    def started(self, total: int) -> None:
        """Remember how many tasks there are."""
        self.total = total

    def finished(self, task: Task, results: tuple[Result, ...]) -> None:
        """Print a line if the last one is long ago."""
        self.done += 1
        now = time.monotonic()
        if now - self.told >= _SECONDS_BETWEEN_LINES:
            self.told = now
            print(
                f"irqproof: {self.done} of {self.total} tasks done, {now - self.began:.0f} s",
                file=sys.stderr,
                flush=True,
            )


@dataclass(slots=True)
class Bar(Silent):
    """For a terminal: a bar that names the task that finished last."""

    progress: "Progress"
    bar: "TaskID"

    def started(self, total: int) -> None:
        """Give the bar its length."""
        self.progress.update(self.bar, total=total)

    def finished(self, task: Task, results: tuple[Result, ...]) -> None:
        """Move the bar."""
        self.progress.update(self.bar, advance=1, description=task.name)

    def warned(self, message: str) -> None:
        """Print the warning above the bar."""
        self.progress.console.print(f"irqproof: warning: {message}", markup=False)


@contextlib.contextmanager
def listener(quiet: bool) -> Iterator[Listener]:
    """The listener that suits standard error; what it drew is gone at the end."""
    if quiet:
        yield Silent()
    elif not sys.stderr.isatty():
        yield Lines()
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield Bar(progress, progress.add_task("", total=None))
