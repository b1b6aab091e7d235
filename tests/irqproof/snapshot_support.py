# SPDX-License-Identifier: GPL-2.0-only
"""The captures' snapshots, and altered copies of them."""

import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from proofs.ftrace import Log, open_log
from proofs.refinement import LogMonitor
from proofs.snapshot_judge import Judgement
from proofs.snapshot_rules import judge
from proofs.snapshots import open_archive
from proofs.snapshots_trace import History, watched
from spec.stack import vectors

DATA = Path(__file__).parents[1] / "data"
PLAIN = "q35-plain-6.1"
VTD = "q35-vtd-6.12dbg"
XEN = "xen-pv-dom0-6.1"
CAPTURES = (PLAIN, VTD, XEN)


def log_of(capture: str) -> Path:
    return DATA / f"{capture}.txt.gz"


def archive_of(capture: str) -> Path:
    return DATA / f"{capture}-snapshots.tar.xz"


@cache
def files(capture: str) -> Mapping[str, str]:
    """Every file of the capture's snapshots."""
    found = {}
    with tarfile.open(archive_of(capture)) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            assert stream is not None
            found[member.name] = stream.read().decode()
    return found


@cache
def history(capture: str) -> History:
    """What the capture's log says of the moments."""
    monitor, found = LogMonitor(vectors.build()), History(str(log_of(capture)))
    with open_log(found.file) as stream:
        assert monitor.follow(watched(Log(stream), monitor, found)) is None
    return found


def unpack(capture: str, snapshot: str, into: Path, **altered: str) -> Path:
    """One snapshot as a directory; `altered` are other texts for some kinds of files."""
    into.mkdir(exist_ok=True)
    for name, text in files(capture).items():
        if name.startswith(f"{snapshot}."):
            kind = name.split(".")[-2]
            (into / name).write_text(altered.get(kind, text))
    return into


def judged(capture: str, directory: Path, *, log: bool = True) -> Judgement:
    return judge(open_archive(str(directory)), history(capture) if log else None)


class Altered:
    """A file in which the line `number` is another one."""

    def __init__(self, text: str, number: int, line: str | None) -> None:
        lines = text.split("\n")
        self.number = number
        self.old = lines[number - 1]
        self.new = line
        lines[number - 1 : number] = [] if line is None else [line]
        self.text = "\n".join(lines)


def altered_once(text: str, pattern: str, replacement: str) -> Altered:
    """The first line that `pattern` matches, with `replacement` for it."""
    for number, line in enumerate(text.split("\n"), start=1):
        if re.search(pattern, line):
            new = re.sub(pattern, replacement, line)
            assert new != line, line
            return Altered(text, number, new)
    raise AssertionError(f"nothing matches {pattern}")


def every_line(
    text: str, pattern: str, change: Callable[[re.Match[str]], str]
) -> Iterator[Altered]:
    """Each line that `pattern` matches, changed, one at a time."""
    for number, line in enumerate(text.split("\n"), start=1):
        if match := re.search(pattern, line):
            new = line[: match.start()] + change(match) + line[match.end() :]
            yield Altered(text, number, new)
