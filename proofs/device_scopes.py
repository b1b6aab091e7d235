# SPDX-License-Identifier: GPL-2.0-only
"""The small machines in which VMDs, Hyper-V, platform MSI and device MSI are explored."""

from __future__ import annotations

from collections.abc import Mapping

from spec.scope import Scope

__all__ = ["DEVICE_SCOPES", "array", "images", "passed_through", "platform", "vmds"]


def vmds(irqs: int, vectors: int, *, vmds: int = 1, told: int | None = None) -> Scope:
    """VMDs that have so many vectors each at most, of which messages tell the first `told` apart;
    the number behind those looks like 0."""
    known = vectors if told is None else told
    numbers = range(vectors)
    return Scope(
        {"Vmd": vmds, "Index": vectors, "Irq": irqs},
        {
            "first": {(): 0},
            "before": {(a, b): True for a in numbers for b in numbers if a < b},
            "alias": {(k,): k % known for k in numbers},
            "told": {(k,): True for k in range(known)},
        },
    )


def platform(
    devices: int, indices: int, irqs: int, *, most: int | None = None, grows: bool = False
) -> Scope:
    """Platform devices, as many devids, and one domain. An index from `most` on does not fit."""
    limit = indices if most is None else most
    numbers = range(indices)
    return Scope(
        {"Device": devices, "Devid": devices, "Index": indices, "Irq": irqs, "Domain": 1},
        {
            "first": {(): 0},
            "zero": {(): 0},
            "before": {(a, b): True for a in numbers for b in numbers if a < b},
            "fits": {(x,): True for x in range(limit)},
            "rest": {(x,): x - limit for x in numbers if x >= limit},
            "next": {(d,): d + 1 for d in range(devices - 1)},
            "grows": {(d,): grows for d in range(devices)},
        },
    )


def array(
    devices: int,
    slots: int,
    irqs: int,
    *,
    messages: int = 1,
    told: int | None = None,
) -> Scope:
    """Subdevices with an array of slots, of whose numbers 16 bits tell the first `told` apart.

    The PCI device may have a domain on top of another, one that lets nobody else use its messages,
    or one without a parent.
    """
    known = slots if told is None else told
    return Scope(
        {
            "Domain": 3,
            "Device": devices,
            "Desc": irqs,
            "Slot": slots,
            "Irq": irqs,
            "Message": messages,
        },
        {
            "first": {(): 0},
            "short": {(k,): k % known for k in range(slots)},
            "parent": {(0,): 2, (1,): 2},
            "special": {(1,): True},
        },
    )


def images(irqs: int, messages: int) -> Scope:
    """Irqs with messages in system memory, which may have so many."""
    return Scope({"Irq": irqs, "Message": messages})


def passed_through(
    kinds: tuple[str, ...], *, cpus: int = 1, vectors: int = 1, slots: int = 1, messages: int = 1
) -> Scope:
    """A guest of Hyper-V, and an irq of each kind. An IO-APIC can name the first CPU."""
    return Scope(
        {
            "Cpu": cpus,
            "Vector": vectors,
            "Irq": len(kinds),
            "Slot": slots,
            "Message": messages,
        },
        {"kind": {(i,): kind for i, kind in enumerate(kinds)}, "near": {(0,): True}},
    )


DEVICE_SCOPES: Mapping[str, tuple[Scope, ...]] = {
    # Two lists, of which one is for NVMe; three, so that there is a choice; a list without a name.
    "vmd": (vmds(4, 2), vmds(5, 3), vmds(3, 2, vmds=2), vmds(3, 2, told=1)),
    "platform_msi": (platform(2, 2, 2), platform(2, 2, 3, most=1, grows=True)),
    "ims": (array(2, 1, 2), array(1, 2, 2), array(1, 1, 1, messages=2)),
    "ims_queue": (images(1, 3), images(2, 2)),
    "hyperv": (
        passed_through(("IOAPIC", "HPET", "PCI"), cpus=2, vectors=2),
        passed_through(("PCI", "PCI"), slots=2, vectors=2, messages=2),
    ),
}
"""By the name of the layer."""
