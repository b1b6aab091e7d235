# SPDX-License-Identifier: GPL-2.0-only
"""What debugfs says of interrupts: each one's chain of domains, the domains, and the matrix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from proofs.snapshots import Line, Place, SnapshotError, Table
from proofs.snapshots_proc import cpu_list

__all__ = ["Chain", "Copy", "DebugIrqs", "Domain", "Level", "MatrixCpu", "debug_irqs"]

_IRQ = re.compile(r"/sys/kernel/debug/irq/irqs/(\d+):(.*)")
_DOMAIN: Final = "/sys/kernel/debug/irq/domains/"
_DEFAULT: Final = _DOMAIN + "default:"
"""A second file of the domain that is the default one."""
_DOMAIN_BEGINS = re.compile(re.escape(_DOMAIN) + r"(\S+):name:\s+\1\s*")
_PAIR = re.compile(r"([\w ]+):\s*(.*?)\s*")
_ROW = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+(\S+))?")

_OF_VECTOR: Final = frozenset(
    (
        "Vector",
        "Target",
        "Previous vector",
        "Previous target",
        "move_in_progress",
        "is_managed",
        "can_reserve",
        "has_reserved",
    )
)
_OF_MATRIX: Final = frozenset(
    ("Online bitmaps", "Global available", "Global reserved", "Total allocated")
)


@dataclass(slots=True)
class Level:
    """One irq_data of an irq: `numbers` are the numbers that its domain prints, the vector and so
    on; `places` says where each of them, "domain" and "hwirq" stand."""

    domain: str
    hwirq: int = -1
    numbers: dict[str, int] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)


@dataclass(slots=True)
class Chain:
    """An irq: its device ("" without one), the IRQD_* bits that are set, its levels from the
    outermost, and where each begins."""

    irq: int
    place: Place
    device: str = ""
    flags: set[str] = field(default_factory=set)
    levels: list[Level] = field(default_factory=list)

    def level(self, domain: str) -> Level | None:
        """The level of this domain."""
        return next((level for level in self.levels if level.domain == domain), None)


@dataclass(slots=True)
class MatrixCpu:
    """A CPU's row of the matrix: what is available, set aside for managed irqs, how much of that is
    in use, how much is in use at all, and which vectors."""

    available: int
    managed: int
    managed_allocated: int
    allocated: int
    vectors: frozenset[int]
    place: Place


@dataclass(slots=True)
class Copy:
    """What a domain's file repeats of an ancestor."""

    name: str
    place: Place
    mapped: int = -1
    mapped_at: Place | None = None


@dataclass(slots=True)
class Domain:
    """A domain's own file. `above` are the copies of its ancestors that it prints, outermost
    first."""

    name: str
    place: Place
    mapped: int = -1
    mapped_at: Place | None = None
    parent: str = ""
    parent_at: Place | None = None
    above: list[Copy] = field(default_factory=list)
    matrix: dict[str, tuple[int, Place]] = field(default_factory=dict)
    cpus: dict[int, MatrixCpu] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DebugIrqs:
    """All irqs and all domains."""

    chains: dict[int, Chain]
    domains: dict[str, Domain]


def debug_irqs(table: Table) -> DebugIrqs:
    """Everything that is said; raises SnapshotError."""
    chains: dict[int, Chain] = {}
    domains: dict[str, Domain] = {}
    domain: Domain | None = None
    for line in table:
        if row := _IRQ.fullmatch(line.text):
            irq = int(row[1])
            chain = chains.setdefault(irq, Chain(irq, line.place))
            _of_irq(chain, row[2], line)
        elif row := _DOMAIN_BEGINS.fullmatch(line.text):
            domain = domains.setdefault(row[1], Domain(row[1], line.place))
        elif line.text.startswith(_DEFAULT):
            continue
        elif line.text.startswith(_DOMAIN):
            prefix = f"{_DOMAIN}{domain.name}:" if domain else ""
            if domain is None or not line.text.startswith(prefix):
                raise line.error("belongs to a domain whose name stands nowhere above")
            _of_domain(domain, line.text[len(prefix) :], line)
        elif line.text.startswith("/sys/kernel/debug/irq/"):
            raise line.error("is neither of an irq nor of a domain")
    if not chains or not domains:
        what = "domain" if chains else "irq"
        raise table.error(f"has no {what} of /sys/kernel/debug/irq")
    for chain in chains.values():
        # An interrupt of the PIC alone has an irq_data, but is in no domain.
        if [level.domain for level in chain.levels] == [""]:
            chain.levels.clear()
    for missing in _unfinished(chains, domains):
        raise missing
    return DebugIrqs(chains, domains)


def _of_irq(chain: Chain, text: str, line: Line) -> None:
    bare = text.strip()
    if bare.startswith("IRQD_"):
        chain.flags.add(bare)
        return
    pair = _PAIR.fullmatch(bare)
    if pair is None:
        return
    key, value = pair.groups()
    if key == "device":
        chain.device = "" if value == "(null)" else value
    elif key == "domain":
        chain.levels.append(Level(value, places={"domain": line.place}))
    elif key == "hwirq" or key in _OF_VECTOR:
        if not chain.levels:
            raise line.error(f"{key} of an irq that has no domain above")
        level = chain.levels[-1]
        number = _number(value, line)
        level.places[key] = line.place
        if key == "hwirq":
            level.hwirq = number
        else:
            level.numbers[key] = number


def _of_domain(domain: Domain, text: str, line: Line) -> None:
    bare = text.strip()
    pair = _PAIR.fullmatch(bare)
    if row := _ROW.fullmatch(bare):
        cpu, available, managed, both, allocated = (int(number) for number in row.groups()[:5])
        # Vectors are listed as CPUs are.
        vectors = cpu_list(row[6] or "", line)
        domain.cpus[cpu] = MatrixCpu(available, managed, both, allocated, vectors, line.place)
    elif pair is None:
        return
    elif pair[1] == "name":
        domain.above.append(Copy(pair[2], line.place))
    elif pair[1] == "parent" and not domain.parent:
        domain.parent, domain.parent_at = pair[2], line.place
    elif pair[1] == "mapped":
        latest: Domain | Copy = domain.above[-1] if domain.above else domain
        latest.mapped, latest.mapped_at = _number(pair[2], line), line.place
    elif pair[1] in _OF_MATRIX:
        domain.matrix[pair[1]] = _number(pair[2], line), line.place


def _number(text: str, line: Line) -> int:
    try:
        return int(text, 0)
    except ValueError as error:
        raise line.error(f"{text!r} is no number") from error


def _unfinished(chains: dict[int, Chain], domains: dict[str, Domain]) -> Iterator[SnapshotError]:
    for chain in chains.values():
        if any(level.hwirq < 0 for level in chain.levels):
            message = f"irq {chain.irq} has a level without a hwirq"
            yield SnapshotError(message, chain.place.file, chain.place.line)
    for domain in domains.values():
        if domain.mapped < 0 or any(copy.mapped < 0 for copy in domain.above):
            message = f"domain {domain.name} does not say how many irqs are mapped"
            yield SnapshotError(message, domain.place.file, domain.place.line)
