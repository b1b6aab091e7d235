# SPDX-License-Identifier: GPL-2.0-only
"""Reading what a machine description says about PCI buses and devices."""

import re
from collections.abc import Sequence
from dataclasses import replace

from impl.machine_parts import BusDescription, DeviceDescription, MsiDescription
from impl.pci_names import parse_requester, read_bus_id, read_function_id
from impl.toml_reader import Entry

__all__ = ["MAX_GSI", "MAX_NODE", "read_bus", "read_device", "read_groups", "root_buses"]

MAX_NODE = 1023
MAX_GSI = 0xFFFF
_QUIRKS = ("no_msi", "no_64bit_msi")
_MSI_VECTORS = (1, 2, 4, 8, 16, 32)
_MSIX_VECTORS = 2048
_ALIAS = re.compile(r"(\S+)(?: on ([0-9a-f]{2}))?")


def read_bus(entry: Entry) -> BusDescription:
    """One [[bus]]."""
    segment, number = read_bus_id(entry, "id")
    return BusDescription(
        segment=segment,
        number=number,
        bridge=entry.text("bridge", ""),
        no_msi=entry.boolean("no_msi", False),
    )


def read_device(entry: Entry) -> DeviceDescription:
    """One [[device]]."""
    return _read_function(entry, "bdf")


def _read_function(entry: Entry, key: str) -> DeviceDescription:
    name = entry.text("name")
    segment, bus, devfn = read_function_id(entry, key)
    return DeviceDescription(
        name=name,
        segment=segment,
        bus=bus,
        devfn=devfn,
        node=entry.integer("node", -1, MAX_NODE, -1),
        msi=_read_msi(entry),
        msix=entry.integer("msix", 0, _MSIX_VECTORS, 0),
        gsi=entry.integer("gsi", -1, MAX_GSI, -1),
        quirks=entry.choices("quirks", _QUIRKS),
        hotplug=entry.boolean("hotplug", False),
        nvme=entry.boolean("nvme", False),
        physfn=entry.text("physfn", ""),
        aliases=_read_aliases(entry, bus),
    )


def _read_aliases(entry: Entry, bus: int) -> tuple[tuple[int, int], ...]:
    return tuple(_read_alias(entry, text, bus) for text in entry.texts("aliases"))


def _read_alias(entry: Entry, text: str, bus: int) -> tuple[int, int]:
    """An alias as (the number of the bus that shows it, its requester id)."""
    match = _ALIAS.fullmatch(text)
    alias = parse_requester(match[1]) if match is not None else None
    if match is None or alias is None:
        message = f'aliases holds {text!r}, not "00:00.0" or "00:00.0 on 00"'
        raise entry.error(message, "aliases")
    return int(match[2], 16) if match[2] else bus, alias


def _read_msi(entry: Entry) -> MsiDescription | None:
    msi = entry.table("msi")
    if msi is None:
        return None
    vectors = msi.integer("vectors", 1, max(_MSI_VECTORS), 1)
    if vectors not in _MSI_VECTORS:
        raise msi.error(f"vectors is {vectors}, not a power of two", "vectors")
    part = MsiDescription(
        vectors=vectors,
        maskbit=msi.boolean("maskbit", False),
        is_64=msi.boolean("is_64", True),
    )
    msi.finish()
    return part


def read_groups(top: Entry, nodes: Sequence[int]) -> list[tuple[Entry, DeviceDescription]]:
    """The devices that every [[devices]] stands for."""
    return [
        (entry, device) for entry in top.tables("devices") for device in _read_group(entry, nodes)
    ]


def _read_group(entry: Entry, nodes: Sequence[int]) -> list[DeviceDescription]:
    """The devices that one [[devices]] stands for."""
    first = _read_function(entry, "first")
    start = first.bus << 8 | first.devfn
    room = (1 << 16) - start
    count = entry.integer("count", 1, room)
    spread = entry.boolean("spread", False)
    if spread and entry.has("node"):
        raise entry.error("node and spread exclude each other", "spread")
    entry.finish()
    near = sorted(set(nodes))
    return [
        replace(
            first,
            name=f"{first.name}-{number}",
            bus=start + number >> 8,
            devfn=start + number & 0xFF,
            node=near[number * len(near) // count] if spread else first.node,
        )
        for number in range(count)
    ]


def root_buses(
    buses: Sequence[BusDescription], devices: Sequence[DeviceDescription]
) -> tuple[BusDescription, ...]:
    """The buses of `devices` that are not among `buses`."""
    declared = {(bus.segment, bus.number) for bus in buses}
    reached = {(device.segment, device.bus) for device in devices}
    return tuple(BusDescription(segment, number) for segment, number in sorted(reached - declared))
