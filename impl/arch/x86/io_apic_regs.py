# SPDX-License-Identifier: GPL-2.0-only
"""The redirection table entry of an IO-APIC (struct IO_APIC_route_entry, v5.10)."""

from dataclasses import dataclass

__all__ = [
    "IOAPIC_EDGE",
    "IOAPIC_LEVEL",
    "IOAPIC_POL_HIGH",
    "IOAPIC_POL_LOW",
    "IoApicRouteEntry",
    "pack",
    "unpack",
]

IOAPIC_EDGE = 0
IOAPIC_LEVEL = 1
IOAPIC_POL_HIGH = 0
IOAPIC_POL_LOW = 1


@dataclass(frozen=True, slots=True)
class IoApicRouteEntry:
    """One entry: where the interrupt of a pin goes, and how the pin is read.

    `vector` and `dest` have 8 bits, `delivery_mode` 3, the others one.  `irr` is read-only: the
    pin is level triggered and its interrupt not yet acknowledged (Remote IRR).  The delivery
    status, also read-only, is left out.  `remap` are the 8 bits below `dest`: they are reserved
    unless a remapping driver gives the entry a format of its own.
    """

    vector: int = 0
    delivery_mode: int = 0
    dest_mode: int = 0
    polarity: int = IOAPIC_POL_HIGH
    irr: int = 0
    trigger: int = IOAPIC_EDGE
    mask: int = 0
    dest: int = 0
    remap: int = 0


def pack(entry: IoApicRouteEntry) -> int:
    """The 64 bits of an entry; its lower half holds the mask.

    pre: 0 <= entry.vector < 256 and 0 <= entry.dest < 256 and 0 <= entry.delivery_mode < 8
    pre: 0 <= entry.dest_mode < 2 and 0 <= entry.polarity < 2 and 0 <= entry.irr < 2
    pre: 0 <= entry.trigger < 2 and 0 <= entry.mask < 2 and 0 <= entry.remap < 256
    post: 0 <= _ < 1 << 64 and unpack(_) == entry
    """
    return (
        entry.vector
        | entry.delivery_mode << 8
        | entry.dest_mode << 11
        | entry.polarity << 13
        | entry.irr << 14
        | entry.trigger << 15
        | entry.mask << 16
        | entry.remap << 48
        | entry.dest << 56
    )


def unpack(word: int) -> IoApicRouteEntry:
    """The entry that 64 bits mean; reserved bits are ignored.

    pre: 0 <= word < 1 << 64
    post: pack(_) == word & 0xFFFF00000001EFFF
    """
    return IoApicRouteEntry(
        vector=word & 0xFF,
        delivery_mode=word >> 8 & 7,
        dest_mode=word >> 11 & 1,
        polarity=word >> 13 & 1,
        irr=word >> 14 & 1,
        trigger=word >> 15 & 1,
        mask=word >> 16 & 1,
        dest=word >> 56 & 0xFF,
        remap=word >> 48 & 0xFF,
    )
