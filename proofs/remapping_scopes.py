# SPDX-License-Identifier: GPL-2.0-only
"""The small machines in which interrupt remapping is explored."""

from __future__ import annotations

from collections.abc import Mapping

from spec.scope import Index, Scope, Value

__all__ = ["REMAPPING_SCOPES", "amd_vi", "remapped", "vt_d"]


def _blocks(
    irqs: int, slots: int, counts: tuple[int, ...], places: int
) -> dict[str, Mapping[Index, Value]]:
    """The geometry of tables: `counts` are the numbers of interrupts of an allocation, and a block
    has at most so many places."""
    handles = range(places)
    return {
        "zero": {(): 0},
        "one": {(): counts.index(1)},
        "plus": {(x, h): x + h for x in range(slots) for h in handles if x + h < slots},
        "ahead": {(x, x + h): h for x in range(slots) for h in handles if x + h < slots},
        "after": {(i, i + h): h for i in range(irqs) for h in handles if i + h < irqs},
        "below": {(n, h): True for n, count in enumerate(counts) for h in range(count)},
        "aligned": {
            (x, n): True
            for x in range(slots)
            for n, count in enumerate(counts)
            if x % (1 << (count - 1).bit_length()) == 0
        },
    }


def vt_d(
    kinds: tuple[str, ...],
    slots: int,
    *,
    counts: tuple[int, ...] = (1,),
    units: int = 1,
    vectors: int = 1,
    cpus: int = 1,
    levels: bool = True,
    narrow: bool = True,
    old: frozenset[int] = frozenset(),
) -> Scope:
    """Units with tables of so many entries, and an irq of each kind. Without `levels` the irqs have
    none; without `narrow` no APIC id fits the entries; `old` lists what a crashed kernel left in
    the first unit."""
    irqs = range(len(kinds))
    masks = range((max(counts) - 1).bit_length() + 1)
    handles = 1 << masks[-1]
    geometry = _blocks(len(kinds), slots, counts, handles)
    return Scope(
        {
            "Irq": len(kinds),
            "Cpu": cpus,
            "Vector": vectors,
            "Unit": units,
            "Slot": slots,
            "Handle": handles,
            "Count": len(counts),
            "Mask": len(masks),
        },
        {
            **geometry,
            "order": {(n,): (count - 1).bit_length() for n, count in enumerate(counts)},
            "within": {(m, h): True for m in masks for h in range(1 << m)},
            "single": {(): 0},
            "multiple": {
                (x, m): True
                for x in range(slots)
                for m in masks
                if x % (1 << m) == 0 and x + (1 << m) <= slots
            },
            "fits": {(u, m): True for u in range(units) for m in masks},
            "kind": {(i,): kinds[i] for i in irqs},
            "level": {(i,): levels for i in irqs},
            "sid_found": {(i,): True for i in irqs},
            "narrow": {(c,): narrow for c in range(cpus)},
            "old": {(0, x): True for x in old},
        },
    )


def amd_vi(
    kinds: tuple[str, ...],
    slots: int,
    *,
    counts: tuple[int, ...] = (1,),
    devids: int = 1,
    hub: int | None = None,
    tables: int = 1,
    low: int = 0,
    near: int | None = None,
    vectors: int = 1,
    cpus: int = 1,
    levels: bool = True,
    vapic: bool = False,
) -> Scope:
    """Requesters with tables of so many entries, and an irq of each kind. With a `hub` all of them
    show as that one, too. The first `low` entries are for pins, of which there is one; the device
    table entries of v5.9 announce `near` entries."""
    irqs = range(len(kinds))
    places = max(counts)
    shows_as = [(d, d) for d in range(devids)]
    if hub is not None:
        shows_as += [(d, hub) for d in range(devids)]
    return Scope(
        {
            "Irq": len(kinds),
            "Cpu": cpus,
            "Vector": vectors,
            "Devid": devids,
            "Table": tables,
            "Slot": slots,
            "Handle": places,
            "Count": len(counts),
        },
        {
            **_blocks(len(kinds), slots, counts, places),
            "has_unit": {(d,): True for d in range(devids)},
            "shows_as": dict.fromkeys(shows_as, True),
            "hub": {(d,): d if hub is None else hub for d in range(devids)},
            "low": {(x,): True for x in range(low)},
            "far": {} if near is None else {(x,): True for x in range(near, slots)},
            "kind": {(i,): kinds[i] for i in irqs},
            "pin": {(i,): 0 for i in irqs if kinds[i] == "IOAPIC"},
            "level": {(i,): levels for i in irqs},
            "vapic": {(): vapic},
        },
    )


def remapped(
    vendor: str,
    *,
    units: int = 1,
    devices: int = 1,
    virtual: bool = False,
    unnamed: bool = False,
    mismatch: bool = False,
    uncovered: bool = False,
) -> Scope:
    """A machine with the units of a vendor, or of Hyper-V, one IO-APIC and one HPET, and devices on
    PCI. The last device is a virtual function of the first, if `virtual`; the first one is below a
    VMD, if `unnamed`. With `mismatch` firmware is wrong about the last one, with `uncovered` it is
    in no unit.

    The domains are the vector domain, the default one, that of a VMD, and two for each unit."""
    kinds = (False, True, False) + (False, True) * units
    last = devices - 1
    return Scope(
        {"Device": devices, "Domain": len(kinds), "Unit": units, "Id": 2},
        {
            "intel_works": {(): vendor == "INTEL"},
            "amd_works": {(): vendor == "AMD"},
            "hyperv_works": {(): vendor == "HYPERV"},
            "vector_domain": {(): 0},
            "pci_msi": {(x,): kind for x, kind in enumerate(kinds)},
            "ioapic_unit": {(0,): units - 1},
            "hpet_unit": {(1,): 0},
            "inherits": {(d,): 2 if unnamed and d == 0 else 1 for d in range(devices)},
            "unit_of": {} if uncovered else {(d,): 0 for d in range(devices)},
            "physfn": {(last,): 0} if virtual else {},
            "unnamed": {(0,): unnamed},
            "mismatch": {(last,): mismatch},
            "unprobed": {(last,): mismatch},
            "earlier": {(d, e): True for e in range(devices) for d in range(e)},
        },
    )


REMAPPING_SCOPES: Mapping[str, tuple[Scope, ...]] = {
    # A pin and an HPET; a block that is rounded up; two units; levels that are missing.
    "intel_ir": (
        vt_d(("IOAPIC", "HPET"), 2, vectors=2, old=frozenset({0})),
        vt_d(("PCI_MSI",) * 2, 2, counts=(1, 2)),
        vt_d(("PCI_MSI",) * 3, 4, counts=(1, 3)),
        vt_d(("PCI_MSIX",) * 2, 1, units=2),
        vt_d(("OTHER", "PCI_MSI"), 2, levels=False),
    ),
    # A pin and an HPET; two irqs in a block, or alone, of three entries; neighbours behind a bridge
    # that share a table; a guest; levels that are missing.
    "amd_ir": (
        amd_vi(("IOAPIC", "HPET"), 2, low=1),
        amd_vi(("PCI_MSI",) * 2, 3, counts=(1, 2)),
        amd_vi(("PCI_MSIX",), 1, devids=3, hub=2, tables=2),
        amd_vi(("PCI_MSIX",), 1, vectors=2, cpus=2, vapic=True),
        amd_vi(("PCI_MSI", "OTHER"), 1, devids=2, tables=2, levels=False),
    ),
    # A virtual function; a device below a VMD, and one that nobody covers; the other vendors; none.
    "remapping": (
        remapped("INTEL", devices=2, virtual=True),
        remapped("INTEL", units=2, devices=2, unnamed=True, uncovered=True),
        remapped("AMD", devices=3, virtual=True),
        remapped("HYPERV"),
        remapped("NONE", units=2),
    ),
}
"""By the name of the layer."""
