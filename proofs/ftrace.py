# SPDX-License-Identifier: GPL-2.0-only
"""Text logs of ftrace: `TASK-PID [CPU] FLAGS STAMP: event: key=value ...`, one event a line.

The file is read as a stream and never kept, so its size does not matter. What stands between the
events (headers, markers, kernel messages, blank lines, carriage returns) is passed over; a file
that is no such log, or that breaks off in the middle, is an error of its own.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final, cast

from proofs.events import EVENTS

LONGEST_LINE: Final = 65536
"""No line of a log is longer, in bytes: ftrace prints one line from one page."""

PATIENCE: Final = 2000
"""So many lines that are no event, from the start of a file, and it is no log."""


class LogError(Exception):
    """A file that is no log, or a broken one; `line` is None where no line is to blame."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(slots=True)
class Logged:
    """One line that means something. `fields` holds the numbers of an event of `EVENTS`; for any
    other, `text` is what follows the event's name."""

    line: int
    cpu: int
    name: str
    fields: Mapping[str, int]
    text: str = ""
    task: tuple[int, int] | None = None
    """Who executed: the process, and the CPU if that is its idle task; None in an interrupt."""


@dataclass(slots=True)
class Gap:
    """Events are missing here: `lost` of them on this CPU, or an unknown number (0) at the start of
    a buffer that was overwritten."""

    line: int
    cpu: int
    lost: int


# A task's name may hold anything; its line is recognised by what follows: -PID, the CPU in
# brackets, the stamp and its colon.
_LINE = re.compile(
    rb"^.*?-(\d+) +(?:\([ \d-]+\) +)?\[(\d+)\] +(?:(\S+) +)?(\d+(?:\.\d+)?): (\w+):(.*)$", re.DOTALL
)
_LOST = re.compile(rb"^CPU:(\d+) \[LOST (?:(\d+) )?EVENTS\]")
_BUFFER_STARTED = re.compile(rb"^#+ CPU (\d+) buffer started #+")
_HEADER = re.compile(rb"^# tracer: ")
_NAMES: Final = {name.encode(): name for name in EVENTS}
_NUMBERS: Final = {
    name.encode(): (
        re.compile(b"".join(rb"\s+" + f.encode() + rb"=(0x[0-9a-f]+|-?\d+),?" for f in e.fields)),
        e.fields,
    )
    for name, e in EVENTS.items()
}
_WITH_TEXT: Final = ("cpuhp_enter", "cpuhp_exit", "tracing_mark_write")
_NUMBER = re.compile(r"(\w+)=(0x[0-9a-fA-F]+|-?\d+)(?=[,\s]|$)")


class Log:
    """One log, read once: `lines` is how many were read, `others` counts the events passed over."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.lines = 0
        self.others: dict[str, int] = {}
        self._seen_any = False
        self.recent: deque[tuple[int, bytes]] = deque(maxlen=4)
        """The last lines that were read, with their numbers."""

    def __iter__(self) -> Iterator[Logged | Gap]:
        """Every event of `EVENTS`, every `cpuhp` event, marker and gap; raises LogError."""
        match, names = _LINE.match, _NAMES
        for raw in self.raw_lines():
            found = match(raw)
            if found is None:
                if gap := self._between(raw):
                    yield gap
                continue
            self._seen_any = True
            process, cpu, flags, _, name, rest = found.groups()
            known = names.get(name)
            if known is not None:
                fields = self._fields(name, rest)
                yield Logged(self.lines, int(cpu), known, fields, task=_task(process, cpu, flags))
                continue
            other = name.decode("ascii", "replace")
            self.others[other] = self.others.get(other, 0) + 1
            if other in _WITH_TEXT:
                text = rest.decode("ascii", "replace").strip()
                yield Logged(self.lines, int(cpu), other, {}, text)
        if not self._seen_any:
            raise LogError("is empty" if not self.lines else "has no line of an ftrace log")

    def raw_lines(self) -> Iterator[bytes]:
        """Every line without its end, from where the reading stands. Raises LogError."""
        while True:
            raw = self._read()
            if not raw:
                return
            self.lines += 1
            if b"\0" in raw:
                raise LogError("is binary, not a text log", self.lines)
            if not raw.endswith(b"\n"):
                if len(raw) >= LONGEST_LINE:
                    raise LogError(f"a line of more than {LONGEST_LINE} bytes", self.lines)
                raise LogError(
                    "the file breaks off in this line, which has no end; the lines before it fit"
                    if self._seen_any
                    else "the only text has no end of line: this is no log",
                    self.lines,
                )
            raw = raw.rstrip(b"\r\n")
            self.recent.append((self.lines, raw))
            yield raw

    def _read(self) -> bytes:
        try:
            return self._stream.readline(LONGEST_LINE)
        except EOFError as error:
            raise LogError("the compressed data breaks off", self.lines + 1) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise LogError(f"broken compression: {error}", self.lines + 1) from error

    def _between(self, raw: bytes) -> Gap | None:
        if not raw:
            return None
        if _HEADER.match(raw):
            self._seen_any = True
        for pattern in (_LOST, _BUFFER_STARTED):
            if found := pattern.match(raw):
                self._seen_any = True
                lost = found.group(2) if pattern is _LOST else None
                return Gap(self.lines, int(found.group(1)), int(lost or 0))
        if not self._seen_any and self.lines > PATIENCE:
            raise LogError(f"no line of an ftrace log among the first {PATIENCE}")
        return None

    def _fields(self, name: bytes, rest: bytes) -> dict[str, int]:
        pattern, names = _NUMBERS[name]
        found = pattern.match(rest)
        if found is not None:
            numbers = found.groups()
            if b"x" not in rest:
                return dict(zip(names, map(int, numbers), strict=True))
            return dict(zip(names, (int(n, 0) for n in numbers), strict=True))
        # Another order, or fields of a newer kernel in between.
        text = rest.decode("ascii", "replace")
        given = {key: int(number, 0) for key, number in _NUMBER.findall(text)}
        missing = [n for n in names if n not in given]
        if missing:
            raise LogError(f"{name.decode()} without {', '.join(missing)}", self.lines)
        return {n: given[n] for n in names}


def _task(process: bytes, cpu: bytes, flags: bytes | None) -> tuple[int, int] | None:
    """The third flag tells an interrupt, hard or soft, from the task that it interrupts."""
    if flags is None or flags[2:3] not in (b".", b"n"):
        return None
    return (int(process), -1) if process != b"0" else (0, int(cpu))


@contextlib.contextmanager
def open_log(path: str) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked if it is gzip; raises OSError."""
    with open(path, "rb") as raw:
        if raw.peek(2)[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast(IO[bytes], unpacked)
        else:
            yield raw
