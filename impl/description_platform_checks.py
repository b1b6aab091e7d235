# SPDX-License-Identifier: GPL-2.0-only
"""What the parts of one platform must be to each other and to the devices.

Each part comes with the entry of the file it was read from; a mistake raises that entry's error.
"""

from collections.abc import Sequence
from itertools import combinations

from impl.description_checks import check_unique
from impl.machine_parts import (
    DeviceDescription,
    DmarDescription,
    HpetDescription,
    IoApicDescription,
)
from impl.pci_names import bus_name
from impl.platform_parts import (
    AmdIommuDescription,
    HypervBusDescription,
    ImsDescription,
    VmdDescription,
)
from impl.toml_reader import Entry

__all__ = [
    "check_amd_iommus",
    "check_dmars",
    "check_hyperv_buses",
    "check_ims",
    "check_paravirtualised",
    "check_probe",
    "check_requesters",
    "check_virtual_functions",
    "check_vmds",
]

_Devices = Sequence[tuple[Entry, DeviceDescription]]
_Dmars = Sequence[tuple[Entry, DmarDescription]]


def check_dmars(dmars: _Dmars, devices: _Devices) -> None:
    """A unit serves devices that are there, each of them is one unit's, one unit is the rest's.

    The kernel numbers the units that remap interrupts by itself: their ids must be those numbers.
    """
    check_unique(dmars, "id", lambda dmar: dmar.id)
    remapping = [(entry, dmar) for entry, dmar in dmars if dmar.remapping]
    for number, (entry, dmar) in enumerate(remapping):
        if dmar.id != number:
            raise entry.error(f"unit {number} of those that remap has id {dmar.id}", "id")
    catch_alls = [(entry, dmar) for entry, dmar in dmars if dmar.catch_all]
    check_unique(catch_alls, "catch-all of segment", lambda dmar: dmar.segment)
    for entry, dmar in catch_alls:
        if dmar.devices:
            raise entry.error("a catch-all unit names no devices", "devices")
    known = {device.name: device for _, device in devices}
    for entry, dmar in dmars:
        for name in dmar.devices:
            if name not in known:
                raise entry.error(f"there is no device {name!r}", "devices")
            if known[name].physfn:
                raise entry.error(f"{name!r} is a virtual function", "devices")
            if known[name].segment != dmar.segment:
                raise entry.error(f"{name!r} is not on segment {dmar.segment:#x}", "devices")
        for name in dmar.mistaken:
            if name not in dmar.devices:
                raise entry.error(f"{name!r} is not among the devices", "mistaken")
    served = [(entry, name) for entry, dmar in dmars for name in dmar.devices]
    check_unique(served, "device", str)


def check_probe(top: Entry, probe: str, dmars: _Dmars) -> None:
    """Only AMD's driver may leave all devices alone."""
    if probe == "never" and any(dmar.remapping for _, dmar in dmars):
        raise top.error("the driver of [[dmar]] units always probes", "remapping")


def check_amd_iommus(units: Sequence[tuple[Entry, AmdIommuDescription]], dmars: _Dmars) -> None:
    """The units of one vendor only; each requester is one unit's and has one alias."""
    check_unique(units, "id", lambda unit: unit.id)
    intel = [entry for entry, dmar in dmars if dmar.remapping]
    for entry, _ in units:
        if intel:
            raise entry.error(f"{intel[0].label} remaps interrupts already")
    for (before, low), (entry, high) in combinations(units, 2):
        if low.first <= high.last and high.first <= low.last:
            raise entry.error(f"the requesters overlap those of {before.label}")
    aliases = [(entry, alias) for entry, unit in units for alias in unit.aliases]
    check_unique(aliases, "requester", lambda alias: f"{alias[0]:#06x}")


def check_requesters(
    parts: Sequence[tuple[Entry, IoApicDescription | HpetDescription]], dmars: _Dmars
) -> None:
    """What sends messages to a unit has a requester, and the unit is there."""
    known = {dmar.id for _, dmar in dmars if dmar.remapping}
    for entry, part in parts:
        if part.dmar >= 0 and part.dmar not in known:
            raise entry.error(f"no unit {part.dmar} remaps interrupts", "dmar")
        if part.dmar >= 0 and part.requester < 0:
            raise entry.error("a unit needs to know the requester", "dmar")


def check_virtual_functions(devices: _Devices) -> None:
    """A virtual function belongs to a physical one of its segment."""
    known = {device.name: device for _, device in devices}
    for entry, device in devices:
        if not device.physfn:
            continue
        physfn = known.get(device.physfn)
        if physfn is None:
            raise entry.error(f"there is no device {device.physfn!r}", "physfn")
        if physfn.physfn:
            raise entry.error(f"{device.physfn!r} is a virtual function itself", "physfn")
        if physfn.segment != device.segment:
            raise entry.error(f"{device.physfn!r} is on another segment", "physfn")


def check_vmds(vmds: Sequence[tuple[Entry, VmdDescription]], devices: _Devices) -> None:
    """A VMD endpoint is a device with MSI-X, and each has a segment of its own."""
    check_unique(vmds, "name", lambda vmd: vmd.name)
    check_unique(vmds, "segment", lambda vmd: f"{vmd.segment:#x}")
    known = {device.name: device for _, device in devices}
    for entry, vmd in vmds:
        if vmd.name not in known:
            raise entry.error(f"there is no device {vmd.name!r}", "name")
        if not known[vmd.name].msix:
            raise entry.error(f"{vmd.name!r} has no MSI-X", "name")
        if known[vmd.name].segment > 0xFFFF:
            raise entry.error(f"{vmd.name!r} is behind a VMD itself", "name")
    segments = {vmd.segment for _, vmd in vmds}
    for entry, device in devices:
        if device.segment > 0xFFFF and device.segment not in segments:
            raise entry.error(f"there is no VMD with segment {device.segment:#x}")


def check_hyperv_buses(
    buses: Sequence[tuple[Entry, HypervBusDescription]], platform: str, devices: _Devices
) -> None:
    """Virtual root buses are Hyper-V's, and each has a segment of its own."""
    check_unique(buses, "segment", lambda bus: f"{bus.segment:#x}")
    for entry, _ in buses:
        if platform != "hyperv":
            raise entry.error(f"platform {platform!r} has no such buses")
    segments = {bus.segment for _, bus in buses}
    for entry, device in devices:
        if device.segment in segments and device.bus:
            name = bus_name(device.segment, device.bus)
            raise entry.error(f"there is no bus {name}")


def check_ims(parts: Sequence[tuple[Entry, ImsDescription]], devices: _Devices) -> None:
    """Message storage is a device's, once."""
    check_unique(parts, "name", lambda part: part.name)
    known = {device.name for _, device in devices}
    for entry, part in parts:
        if part.name not in known:
            raise entry.error(f"there is no device {part.name!r}", "name")


def check_paravirtualised(
    top: Entry,
    chips: Sequence[tuple[Entry, IoApicDescription | HpetDescription]],
    *,
    pic: bool,
    timer: bool,
) -> None:
    """A paravirtualised guest of Xen has no interrupt hardware; its kernel stays in mode "pic"."""
    if not pic:
        raise top.error("a paravirtualised guest has interrupt_mode 'pic'", "interrupt_mode")
    if timer:
        raise top.error("a paravirtualised guest has no such timer", "timer")
    for entry, _ in chips:
        raise entry.error("a paravirtualised guest has none")
