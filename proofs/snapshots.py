# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots of a kernel: what its files in /proc, /sys and debugfs said at some moments.

An archive, which is a directory or a tar file, holds files NAME.KIND.txt: all files of one NAME are
one snapshot. KINDS says which there are. What is a whole directory is as ``grep -rs '' DIR`` prints
it, `path:line`. What was read from the devices has lines such as

    0000:00:02.0 msix ctl=8008 bir=0 off=2000 entries=9 base=0x00000000fead0000
    0000:00:02.0 msix[0] 0xFEE00318 0x00000000 0x00000000 0x00000000

with the message control register and the four words of an entry, and of the configuration space the
device's name and its bytes in hexadecimal.
"""

from __future__ import annotations

import gzip
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

__all__ = [
    "KINDS",
    "Archive",
    "Line",
    "Place",
    "Snapshot",
    "SnapshotError",
    "Table",
    "is_archive",
    "open_archive",
]

KINDS: Final[Mapping[str, str]] = {
    "interrupts": "/proc/interrupts",
    "proc_irq": "/proc/irq",
    "sys_kernel_irq": "/sys/kernel/irq",
    "cpus": "/sys/devices/system/cpu",
    "msi_irqs": "msi_irqs of every PCI device",
    "msixtab": "the MSI-X tables, as read from the devices",
    "pciconfig": "the configuration space of every PCI device",
    "debug_irq": "/sys/kernel/debug/irq",
    "ir_translation": "/sys/kernel/debug/iommu/intel/ir_translation_struct",
    "xenkeys": "what Xen prints for the keys i, M and Q",
}
"""The kinds of files that are read, and what each holds."""

LARGEST: Final = 64 << 20
"""No file of a snapshot is larger, in bytes."""

_AT_ONCE: Final = 1 << 20

_MEMBER = re.compile(r"(\S+)\.(\w+)\.txt")
_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_NUMBERS = re.compile(r"(\d+)")


class SnapshotError(Exception):
    """An archive that is none, or a broken file in it; `line` is None where none is to blame."""

    def __init__(self, message: str, file: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something is said."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file."""

    place: Place
    text: str

    def error(self, message: str) -> SnapshotError:
        """The error that this line makes no sense."""
        return SnapshotError(message, self.place.file, self.place.line)


@dataclass(frozen=True, slots=True)
class Table:
    """One file: its lines but for blank ones."""

    file: str
    lines: tuple[Line, ...]

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def error(self, message: str) -> SnapshotError:
        """The error that the file as a whole makes no sense."""
        return SnapshotError(message, self.file)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of one moment, by kind."""

    name: str
    tables: Mapping[str, Table]


@dataclass(frozen=True, slots=True)
class Archive:
    """All snapshots of one run, in the order of their names, numbers as numbers; `passed_over` are
    the names of the files that belong to none."""

    file: str
    snapshots: tuple[Snapshot, ...]
    passed_over: tuple[str, ...]


def is_archive(path: str) -> bool:
    """Whether this is meant to be an archive rather than a log: a directory, or a tar file by its
    name or its content."""
    file = Path(path)
    if file.is_dir() or path.endswith(_SUFFIXES):
        return True
    try:
        # What comes through a pipe can be read only once.
        return file.is_file() and tarfile.is_tarfile(path)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return False


def open_archive(path: str) -> Archive:
    """The snapshots in a directory or a tar file; raises OSError, SnapshotError."""
    read = _directory if Path(path).is_dir() else _tar
    found: dict[str, dict[str, Table]] = {}
    passed_over = []
    for name, content in read(path):
        match = _MEMBER.fullmatch(name)
        if match is None or match[2] not in KINDS:
            passed_over.append(name)
            continue
        tables = found.setdefault(match[1], {})
        if match[2] in tables:
            raise SnapshotError(f"{name} is there twice", path)
        tables[match[2]] = _table(str(Path(path) / name), content)
    if not found:
        raise SnapshotError("holds no snapshot: no file is named like s1.interrupts.txt", path)
    snapshots = tuple(Snapshot(name, found[name]) for name in sorted(found, key=_in_order))
    return Archive(path, snapshots, tuple(sorted(passed_over)))


def _in_order(name: str) -> list[tuple[int, str]]:
    parts = _NUMBERS.split(name)
    return [(int(part), "") if k % 2 else (0, part) for k, part in enumerate(parts)]


def _directory(path: str) -> Iterator[tuple[str, bytes]]:
    for file in sorted(Path(path).iterdir()):
        if file.is_file():
            with file.open("rb") as stream:
                yield file.name, _content(stream, str(file))


def _tar(path: str) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isfile() else None
                if stream is not None:
                    name = PurePosixPath(member.name).name
                    yield name, _content(stream, str(Path(path) / name))
            # Behind the last file stands what tells that nothing is missing.
            while tar.fileobj is not None and tar.fileobj.read(_AT_ONCE):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise SnapshotError(f"the archive breaks off or is damaged: {error}", path) from error
    except tarfile.TarError as error:
        raise SnapshotError(f"is no tar archive, or breaks off: {error}", path) from error


def _content(stream: IO[bytes], file: str) -> bytes:
    content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise SnapshotError(f"is larger than {LARGEST >> 20} MB", file)
    return content


def _table(file: str, content: bytes) -> Table:
    if not content.strip():
        raise SnapshotError("is empty", file)
    if b"\0" in content:
        raise SnapshotError("is binary, not text", file, content[: content.index(0)].count(10) + 1)
    if not content.endswith(b"\n"):
        last = content.count(b"\n") + 1
        raise SnapshotError("the file breaks off in this line, which has no end", file, last)
    lines = []
    for number, raw in enumerate(content.split(b"\n")[:-1], start=1):
        text = raw.rstrip(b"\r").decode("utf-8", "backslashreplace")
        if text.strip():
            lines.append(Line(Place(file, number), text))
    return Table(file, tuple(lines))
