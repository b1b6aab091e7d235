# SPDX-License-Identifier: GPL-2.0-only
"""Xen's own tables, as it prints them on its console for the keys i, M and Q."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from proofs.snapshots import Place, Table

__all__ = ["XenDevice", "XenIrq", "XenMsi", "XenTables", "xen_tables"]

_IRQ = re.compile(
    r"\(XEN\)\s+IRQ:\s+(\d+) vec:([0-9a-f]{2}) (\S+)\s+status=\w+ aff:\S+ (?:in-flight=\d+ (.*)|.*)"
)
_GUEST = re.compile(r"d(\d+):\s*(\d+)\(\S+\)")
_MSI = re.compile(
    r"\(XEN\)\s+(MSI|MSI-X)\s+(\d+) vec=([0-9a-f]{2}) .* (log|phys)\s.*dest=([0-9a-f]{8}) .*"
)
_DEVICE = re.compile(
    r"\(XEN\) ([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) - d(\w+) - node -?\d+\s*"
    r"(?:- MSIs < ([\d ]+) >)?\s*"
)


@dataclass(frozen=True, slots=True)
class XenIrq:
    """An irq of Xen's: `kind` is "PCI-MSI/-X" or "IO-APIC-edge" and so on; `pirqs` are those of
    the domains that are bound to it."""

    irq: int
    vector: int
    kind: str
    pirqs: tuple[tuple[int, int], ...]
    place: Place


@dataclass(frozen=True, slots=True)
class XenMsi:
    """What Xen has given a device as message: `kind` is "msi" or "msix"."""

    irq: int
    kind: str
    vector: int
    logical: bool
    destination: int
    place: Place


@dataclass(frozen=True, slots=True)
class XenDevice:
    """A PCI device: the domain that has it, and Xen's irqs of its messages."""

    name: str
    owner: str
    irqs: tuple[int, ...]
    place: Place


@dataclass(slots=True)
class XenTables:
    """The tables by Xen's irq, and by the device's name."""

    irqs: dict[int, XenIrq] = field(default_factory=dict)
    msis: dict[int, XenMsi] = field(default_factory=dict)
    devices: dict[str, XenDevice] = field(default_factory=dict)


def xen_tables(table: Table) -> XenTables:
    """Xen's tables; raises SnapshotError."""
    found = XenTables()
    for line in table:
        if row := _IRQ.fullmatch(line.text):
            pirqs = tuple((int(d), int(p)) for d, p in _GUEST.findall(row[4] or ""))
            irq = int(row[1])
            found.irqs[irq] = XenIrq(irq, int(row[2], 16), row[3], pirqs, line.place)
        elif row := _MSI.fullmatch(line.text):
            kind = "msix" if row[1] == "MSI-X" else "msi"
            vector, destination = int(row[3], 16), int(row[5], 16)
            found.msis[int(row[2])] = XenMsi(
                int(row[2]), kind, vector, row[4] == "log", destination, line.place
            )
        elif row := _DEVICE.fullmatch(line.text):
            irqs = tuple(int(number) for number in (row[3] or "").split())
            found.devices[row[1]] = XenDevice(row[1], f"d{row[2]}", irqs, line.place)
    for name, part in (("i", found.irqs), ("Q", found.devices)):
        if not part:
            raise table.error(f"has nothing that Xen prints for the key {name}")
    return found
