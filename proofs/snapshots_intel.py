# SPDX-License-Identifier: GPL-2.0-only
"""The interrupt remapping tables of VT-d units, as debugfs lists them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from impl.drivers.iommu.intel_irte import Irte, unpack_irte
from proofs.snapshots import Place, Table

__all__ = ["ListedEntry", "remapping_tables"]

_UNIT = re.compile(r"\s*(?:Remapped|Posted) Interrupt supported on IOMMU: (?:dmar)?(\S+)\s*")
_ENTRY = re.compile(
    r"\s*(\d+)\s+([0-9a-f]{2}):([0-9a-f]{2})\.([0-7]) ([0-9a-f]{8}) ([0-9a-f]{2})\s+"
    r"([0-9a-f]{16})\s+([0-9a-f]{16})\s*"
)
_OTHER: Final = (" IR table address:", " Entry ", "****", "Interrupt Remapping is not enabled")


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """An entry in use: its words decoded, and the columns that repeat parts of them."""

    unit: str
    index: int
    source: int
    destination: int
    vector: int
    irte: Irte
    place: Place


def remapping_tables(table: Table) -> list[ListedEntry]:
    """Every entry of every unit; raises SnapshotError."""
    found = []
    unit: str | None = None
    for line in table:
        if row := _UNIT.fullmatch(line.text):
            unit = row[1]
        elif row := _ENTRY.fullmatch(line.text):
            if unit is None:
                raise line.error("an entry of no unit")
            bus, dev, fn = int(row[2], 16), int(row[3], 16), int(row[4])
            irte = unpack_irte(low=int(row[8], 16), high=int(row[7], 16))
            source = bus << 8 | dev << 3 | fn
            destination, vector = int(row[5], 16), int(row[6], 16)
            found.append(
                ListedEntry(unit, int(row[1]), source, destination, vector, irte, line.place)
            )
        elif not line.text.startswith(_OTHER):
            raise line.error("is no line of a remapping table")
    if unit is None:
        raise table.error("names no unit that remaps interrupts")
    return found
