# SPDX-License-Identifier: GPL-2.0-only
"""What the parts of a machine description must be to each other.

Each part comes with the entry of the file it was read from; a mistake raises that entry's error.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import TypeVar

from impl.arch.x86.irq_vectors import Geometry
from impl.machine_parts import (
    BusDescription,
    DeviceDescription,
    IoApicDescription,
    MpIrqDescription,
)
from impl.pci_names import bus_name, function_name
from impl.toml_reader import Entry

__all__ = [
    "check_buses",
    "check_devices",
    "check_gsis",
    "check_legacy_vectors",
    "check_unique",
]

_T = TypeVar("_T")
_Devices = Sequence[tuple[Entry, DeviceDescription]]
_Buses = Sequence[tuple[Entry, BusDescription]]


def check_unique(
    pairs: Sequence[tuple[Entry, _T]], what: str, key: Callable[[_T], Hashable]
) -> None:
    """No two parts may have the same `key`, which is named `what`."""
    seen: dict[Hashable, Entry] = {}
    for entry, part in pairs:
        value = key(part)
        if value in seen:
            raise entry.error(f"{what} {value} is taken by {seen[value].label}")
        seen[value] = entry


def check_legacy_vectors(
    entry: Entry, geometry: Geometry, legacy_irqs: int, system_vectors: Sequence[int]
) -> None:
    """The legacy irqs must have device vectors of their own."""
    first, end = geometry.isa_irq_vector(0), geometry.isa_irq_vector(legacy_irqs)
    if legacy_irqs and not geometry.alloc_start <= first <= end <= geometry.alloc_end:
        raise entry.error(f"the vectors {first} to {end - 1} of legacy irqs are no device vectors")
    for vector in system_vectors:
        if first <= vector < end:
            raise entry.error(f"system vector {vector} is a legacy irq's", "system_vectors")


def check_gsis(
    ioapics: Sequence[tuple[Entry, IoApicDescription]],
    mp_irqs: Sequence[tuple[Entry, MpIrqDescription]],
    devices: _Devices,
) -> None:
    """IO-APICs must not overlap, and whatever uses a GSI needs an IO-APIC that has it."""
    by_base = sorted(ioapics, key=lambda pair: pair[1].gsi_base)
    for (before, low), (entry, high) in pairwise(by_base):
        if high.gsi_base < low.gsi_base + low.pins:
            last = high.gsi_base + high.pins - 1
            raise entry.error(f"GSIs {high.gsi_base} to {last} overlap those of {before.label}")
    check_unique(mp_irqs, "wiring", _wiring)
    users = [(entry, wire.gsi) for entry, wire in mp_irqs]
    users += [(entry, device.gsi) for entry, device in devices if device.gsi >= 0]
    for entry, gsi in users:
        if not any(part.gsi_base <= gsi < part.gsi_base + part.pins for _, part in ioapics):
            raise entry.error(f"no IO-APIC has GSI {gsi}", "gsi")


def check_devices(devices: _Devices) -> None:
    """Names and functions must be unique."""
    check_unique(devices, "name", lambda device: device.name)
    check_unique(devices, "function", _function)


def check_buses(
    buses: _Buses, devices: _Devices, groups: _Devices, hosts: Sequence[tuple[int, int]]
) -> None:
    """The buses must form trees, and each device must be on one.

    `groups` bring their own; `hosts` are root buses that other sections make, by segment and
    number, and a virtual function may have a bus that appears with it.
    """
    check_unique(buses, "bus", _bus)
    known = {_bus(bus) for _, bus in buses}
    known |= {bus_name(device.segment, device.bus) for _, device in groups}
    made = {bus_name(*host) for host in hosts}
    for entry, bus in buses:
        if _bus(bus) in made:
            raise entry.error(f"bus {_bus(bus)} is made by its host")
    known |= made
    for entry, device in devices:
        if device.physfn:
            continue
        name = bus_name(device.segment, device.bus)
        if name not in known:
            raise entry.error(f"there is no bus {name}")
    bridges = {device.name: device for _, device in devices}
    behind = [(entry, bus) for entry, bus in buses if bus.bridge]
    for entry, bus in behind:
        if bus.bridge not in bridges:
            raise entry.error(f"there is no device {bus.bridge!r}", "bridge")
    check_unique(behind, "bridge", lambda bus: bus.bridge)
    outer = {_bus(bus): bridges[bus.bridge] for _, bus in behind}
    for entry, bus in behind:
        _check_reaches_root(entry, _bus(bus), outer)


def _check_reaches_root(entry: Entry, start: str, outer: dict[str, DeviceDescription]) -> None:
    """From bus `start` on, `outer` (the bridge of each bus that has one) must not go in circles."""
    path = [start]
    while path[-1] in outer:
        bridge = outer[path[-1]]
        name = bus_name(bridge.segment, bridge.bus)
        if name in path:
            raise entry.error(f"the buses form a cycle: {', '.join([*path, name])}", "bridge")
        path.append(name)


def _wiring(wire: MpIrqDescription) -> str:
    return f"{wire.bus} {wire.irq} to GSI {wire.gsi}"


def _bus(bus: BusDescription) -> str:
    return bus_name(bus.segment, bus.number)


def _function(device: DeviceDescription) -> str:
    return function_name(device.segment, device.bus, device.devfn)
