# SPDX-License-Identifier: GPL-2.0-only
"""What the series of 2020 renamed and moved, as tables: before (v5.9) and after (v5.10).

Numbers of patches are those of its second posting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

TYPES_BEFORE: Final[Mapping[str, int]] = {
    "IOAPIC": 1,
    "HPET": 2,
    "MSI": 3,
    "MSIX": 4,
    "DMAR": 5,
    "UV": 6,
}
"""enum irq_alloc_type, the names without their prefix."""

TYPES_RENAMED: Final[Mapping[str, str]] = {"MSI": "PCI_MSI", "MSIX": "PCI_MSIX"}
"""Patch 7; every other name stays."""

TYPES_AFTER: Final[Mapping[str, int]] = {
    "IOAPIC": 1,
    "HPET": 2,
    "PCI_MSI": 3,
    "PCI_MSIX": 4,
    "DMAR": 5,
    "UV": 6,
    "IOAPIC_GET_PARENT": 7,
    "HPET_GET_PARENT": 8,
}
"""Patches 7 and 8."""

TYPES_UNMERGED: Final[Mapping[str, int]] = {
    **{name: value for name, value in TYPES_AFTER.items() if value <= 6},
    "DEV_MSI": 7,
    "IOAPIC_GET_PARENT": 8,
    "HPET_GET_PARENT": 9,
}
"""Patch 39, which was not merged."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a C structure: its type, and its width if it is a bit-field."""

    name: str
    type: str
    bits: int = 0


Group = tuple[Member, ...]

HEAD_BEFORE: Final[Group] = (
    Member("type", "int"),
    Member("flags", "u32"),
    Member("mask", "pointer"),
)
UNION_BEFORE: Final[Mapping[str, Group]] = {
    "HPET": (
        Member("hpet_id", "int"),
        Member("hpet_index", "int"),
        Member("hpet_data", "pointer"),
    ),
    "PCI MSI": (Member("msi_dev", "pointer"), Member("msi_hwirq", "long")),
    "IOAPIC": (
        Member("ioapic_id", "int"),
        Member("ioapic_pin", "int"),
        Member("ioapic_node", "int"),
        Member("ioapic_trigger", "u32", 1),
        Member("ioapic_polarity", "u32", 1),
        Member("ioapic_valid", "u32", 1),
        Member("ioapic_entry", "pointer"),
    ),
    "DMAR": (Member("dmar_id", "int"), Member("dmar_data", "pointer")),
    "UV": (
        Member("uv_limit", "int"),
        Member("uv_blade", "int"),
        Member("uv_offset", "long"),
        Member("uv_name", "pointer"),
    ),
    "VMD": (Member("desc", "pointer"),),
}
"""struct irq_alloc_info before patch 12: everything but the head shares one place."""

HEAD_AFTER: Final[Group] = (
    Member("type", "int"),
    Member("flags", "u32"),
    Member("devid", "u32"),
    Member("hwirq", "long"),
    Member("mask", "pointer"),
    Member("desc", "pointer"),
    Member("data", "pointer"),
)
UNION_AFTER: Final[Mapping[str, Group]] = {
    "IOAPIC": (
        Member("ioapic.pin", "int"),
        Member("ioapic.node", "int"),
        Member("ioapic.trigger", "u32", 1),
        Member("ioapic.polarity", "u32", 1),
        Member("ioapic.valid", "u32", 1),
        Member("ioapic.entry", "pointer"),
    ),
    "UV": (
        Member("uv.limit", "int"),
        Member("uv.blade", "int"),
        Member("uv.offset", "long"),
        Member("uv.name", "pointer"),
    ),
}
"""The same after patches 12 to 18."""

MOVED: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "HPET": {"hpet_id": ("devid",), "hpet_index": ("hwirq",), "hpet_data": ("data",)},
    "IOAPIC": {
        "ioapic_id": ("devid",),
        **{
            f"ioapic_{name}": (f"ioapic.{name}",)
            for name in ("pin", "node", "trigger", "polarity", "valid", "entry")
        },
    },
    "DMAR": {"dmar_id": ("devid", "hwirq"), "dmar_data": ("data",)},
    "UV": {f"uv_{name}": (f"uv.{name}",) for name in ("limit", "blade", "offset", "name")},
    "PCI MSI": {"msi_dev": ("desc",), "msi_hwirq": ("hwirq",)},
    "VMD": {"msi_dev": ("desc",), "desc": ("desc",)},
}
"""Where the members that a user fills went: patches 13 to 16 and 18.

The device of a PCI interrupt is found through its descriptor. A VMD interrupt is prepared as a PCI
interrupt and gets its descriptor afterwards."""

PATCHES: Final[Mapping[int, str]] = {13: "HPET", 14: "IOAPIC", 15: "DMAR", 16: "UV"}
"""The patches that moved one user's members, and no others."""

NATIVE: Final[Mapping[str, Sequence[str]]] = {
    "PCI-MSI": ("PCI-MSI", "APIC"),
    "DMAR-MSI": ("DMAR-MSI", "APIC"),
    "HPET-MSI": ("HPET-MSI", "APIC"),
    "IO-APIC": ("IO-APIC", "APIC"),
    "UV-CORE": ("UV-CORE", "APIC"),
}
REMAPPED: Final[Mapping[str, Sequence[str]]] = {
    "IR-PCI-MSI": ("IR-PCI-MSI", "IR", "APIC"),
    "IR-HPET-MSI": ("HPET-MSI", "IR", "APIC"),
    "IO-APIC-IR": ("IO-APIC-IR", "IR", "APIC"),
}
"""The chips of every hierarchy that ends at the vector domain, the outermost first; IR stands for
the chip of the remapping unit. The HPET's chip is the same object in both of its hierarchies."""

COMPOSES_BEFORE: Final = frozenset({"PCI-MSI", "DMAR-MSI", "HPET-MSI", "IR"})
COMPOSES_AFTER: Final = frozenset({"APIC", "IR"})
"""The chips that compose a message, before and after patch 5."""


def composer(chain: Sequence[str], composes: frozenset[str], *, last: bool) -> str | None:
    """The chip whose message counts: the first that composes, or the last (before patch 4)."""
    able = [chip for chip in chain if chip in composes]
    if not able:
        return None
    return able[-1] if last else able[0]
