# SPDX-License-Identifier: GPL-2.0-only
"""What /proc and /sys say of interrupts: who has one, on which chip, and which CPU it goes to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proofs.snapshots import Line, Place, Table

__all__ = [
    "Effective",
    "Interrupt",
    "MsiIrq",
    "Numbered",
    "cpu_list",
    "effective_affinity",
    "interrupts",
    "msi_irqs",
    "numbers",
    "present_cpus",
]

_CPU_LIST = re.compile(r"(?:\d+(?:-\d+)?(?:,(?=\d)|$))*")
_ROW = re.compile(r"\s*(\d+):((?:\s+\d+)+)\s\s+(\S+)\s+(\S+)(?:\s+(\S.*?))?\s*")
_MSI_IRQ = re.compile(r"/sys/bus/pci/devices/(\S+)/msi_irqs/(\d+):(msix?)\s*")
_EFFECTIVE = re.compile(r"/proc/irq/(\d+)/effective_affinity_list:(.*)")
_PRESENT = re.compile(r"/sys/devices/system/cpu/present:(.*)")
_OF_IRQ = re.compile(r"/sys/kernel/irq/(\d+)/(hwirq|chip_name):(.*)")
_NUMBERED = re.compile(r"(\d+)-\w+")


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A row of /proc/interrupts: `flow` is "2-edge" or, under Xen, "-msi-x"."""

    irq: int
    chip: str
    flow: str
    place: Place


@dataclass(frozen=True, slots=True)
class MsiIrq:
    """An irq that a PCI device has for its MSI or MSI-X: `kind` is "msi" or "msix"."""

    irq: int
    device: str
    kind: str
    place: Place


@dataclass(frozen=True, slots=True)
class Effective:
    """The effective affinity of an irq."""

    cpus: frozenset[int]
    place: Place


@dataclass(frozen=True, slots=True)
class Numbered:
    """The number of an irq in its domain, and the name of the chip."""

    hwirq: int
    chip: str
    place: Place


def interrupts(table: Table) -> dict[int, Interrupt]:
    """The numbered rows; raises SnapshotError."""
    header = table.lines[0]
    cpus = header.text.split()
    if not cpus or any(not re.fullmatch(r"CPU\d+", cpu) for cpu in cpus):
        raise header.error("is no /proc/interrupts: the first line does not name CPUs")
    found = {}
    for line in table.lines[1:]:
        if not re.match(r"\s*\d+:", line.text):
            continue
        row = _ROW.fullmatch(line.text)
        if row is None or len(row[2].split()) != len(cpus):
            raise line.error("is no row of /proc/interrupts")
        found[int(row[1])] = Interrupt(int(row[1]), row[3], row[4], line.place)
    return found


def msi_irqs(table: Table) -> dict[int, MsiIrq]:
    """The irqs of all devices; raises SnapshotError."""
    found: dict[int, MsiIrq] = {}
    for line in table:
        row = _MSI_IRQ.fullmatch(line.text)
        if row is None:
            raise line.error("is no line of /sys/bus/pci/devices/*/msi_irqs")
        irq = int(row[2])
        if irq in found:
            raise line.error(f"irq {irq} is listed twice")
        found[irq] = MsiIrq(irq, row[1], row[3], line.place)
    return found


def effective_affinity(table: Table) -> dict[int, Effective]:
    """The effective affinity of every irq that has one; raises SnapshotError."""
    found = {}
    for line in table:
        if row := _EFFECTIVE.fullmatch(line.text):
            found[int(row[1])] = Effective(cpu_list(row[2], line), line.place)
    if not found:
        raise table.error("has no effective_affinity_list of an irq")
    return found


def present_cpus(table: Table) -> frozenset[int]:
    """The CPUs that the machine has; raises SnapshotError."""
    for line in table:
        if row := _PRESENT.fullmatch(line.text):
            return cpu_list(row[1], line)
    raise table.error("has no line /sys/devices/system/cpu/present")


def numbers(table: Table | None, rows: dict[int, Interrupt]) -> dict[int, Numbered]:
    """The numbers of all irqs as /sys/kernel/irq has them, or else /proc/interrupts, which leaves
    out those that nobody has requested."""
    if table is None:
        return {
            irq: Numbered(int(match[1]), row.chip, row.place)
            for irq, row in rows.items()
            if (match := _NUMBERED.fullmatch(row.flow))
        }
    said: dict[int, dict[str, tuple[str, Place]]] = {}
    for line in table:
        if row := _OF_IRQ.fullmatch(line.text):
            said.setdefault(int(row[1]), {})[row[2]] = row[3].strip(), line.place
    if not said:
        raise table.error("has no line of /sys/kernel/irq")
    found = {}
    for irq, values in said.items():
        hwirq, place = values.get("hwirq", ("", None))
        if place is not None and hwirq.isdecimal():
            found[irq] = Numbered(int(hwirq), values.get("chip_name", ("", place))[0], place)
    return found


def cpu_list(text: str, line: Line) -> frozenset[int]:
    """The CPUs of a list such as "0-2,5"; raises SnapshotError."""
    if not _CPU_LIST.fullmatch(text.strip()):
        raise line.error(f"{text.strip()!r} is no list of CPUs")
    found: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
