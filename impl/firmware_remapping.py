# SPDX-License-Identifier: GPL-2.0-only
"""What firmware tells the kernel about remapping units, made from a machine's description."""

from impl.description import MachineDescription
from impl.drivers.iommu.amd import Ivhd
from impl.drivers.iommu.dmar import (
    DMAR_INTR_REMAP,
    DMAR_X2APIC_OPT_OUT,
    DeviceScope,
    DmarTable,
    DrhdHeader,
    ScopeType,
)
from impl.drivers.iommu.intel_table import IntelCaps
from impl.machine_parts import DeviceDescription, DmarDescription
from impl.platform_parts import AmdIommuDescription

__all__ = ["build_dmar_table", "build_ivrs", "drhd_address", "units_of_devices"]

_FIRST_ADDRESS = 0xFED90000
_PAGE = 0x1000


def build_dmar_table(description: MachineDescription) -> DmarTable | None:
    """The table of an Intel machine, None if no unit remaps interrupts."""
    units = [part for part in description.dmars if part.remapping]
    if not units:
        return None
    flags = DMAR_INTR_REMAP
    if description.remapping.x2apic_optout:
        flags |= DMAR_X2APIC_OPT_OUT
    return DmarTable(flags, tuple(_drhd(description, part) for part in units))


def build_ivrs(description: MachineDescription) -> tuple[Ivhd, ...]:
    """The table of an AMD machine, empty without units."""
    return tuple(_ivhd(description, part) for part in description.amd_iommus)


def drhd_address(unit: int) -> int:
    """Where the registers of a [[dmar]] are."""
    return _FIRST_ADDRESS + unit * _PAGE


def units_of_devices(description: MachineDescription) -> dict[str, int]:
    """The [[dmar]] that remaps the messages of each device, if one does.

    That is the one which names the device, or its physical function, or the nearest bridge above
    it; else the catch-all one of the segment.
    """
    devices = {device.name: device for device in description.devices}
    named = {name: part.id for part in description.dmars for name in part.devices}
    rest = {part.segment: part.id for part in description.dmars if part.catch_all}
    units = {}
    for device in description.devices:
        above = _with_bridges(description, devices, devices.get(device.physfn, device))
        found = next((named[each.name] for each in above if each.name in named), None)
        unit = rest.get(device.segment) if found is None else found
        if unit is not None:
            units[device.name] = unit
    return units


def _drhd(description: MachineDescription, part: DmarDescription) -> DrhdHeader:
    devices = [_scope_of_device(description, part, name) for name in part.devices]
    ioapics = [
        _scope_of_requester(ScopeType.IOAPIC, each.requester, each.id)
        for each in description.ioapics
        if each.dmar == part.id
    ]
    hpets = [
        _scope_of_requester(ScopeType.HPET, each.requester, each.id)
        for each in description.hpets
        if each.dmar == part.id
    ]
    return DrhdHeader(
        address=drhd_address(part.id),
        segment=part.segment,
        include_all=part.catch_all,
        scopes=tuple(devices + ioapics + hpets),
        caps=IntelCaps(eim=part.x2apic, max_handle_mask=part.max_handle_mask),
        node=part.node,
    )


def _scope_of_device(
    description: MachineDescription, part: DmarDescription, name: str
) -> DeviceScope:
    devices = {device.name: device for device in description.devices}
    is_bridge = any(bus.bridge == name for bus in description.buses)
    mistaken = name in part.mistaken
    kind = ScopeType.BRIDGE if is_bridge != mistaken else ScopeType.ENDPOINT
    way = _with_bridges(description, devices, devices[name])[::-1]
    path = tuple((step.devfn >> 3, step.devfn & 7) for step in way)
    return DeviceScope(kind, way[0].bus, path)


def _scope_of_requester(kind: ScopeType, requester: int, id: int) -> DeviceScope:
    return DeviceScope(kind, requester >> 8, ((requester >> 3 & 0x1F, requester & 7),), id)


def _ivhd(description: MachineDescription, part: AmdIommuDescription) -> Ivhd:
    ioapics = [(each.id, each.requester) for each in description.ioapics]
    hpets = [(each.id, each.requester) for each in description.hpets]
    return Ivhd(
        part.id,
        ((part.first, part.last),),
        part.aliases,
        tuple(each for each in ioapics if part.first <= each[1] <= part.last),
        tuple(each for each in hpets if part.first <= each[1] <= part.last),
    )


def _with_bridges(
    description: MachineDescription, devices: dict[str, DeviceDescription], part: DeviceDescription
) -> list[DeviceDescription]:
    """A device, and the bridges above it up to the root bus."""
    path = [part]
    bridges = {(bus.segment, bus.number): bus.bridge for bus in description.buses}
    while bridge := bridges.get((path[-1].segment, path[-1].bus)):
        path.append(devices[bridge])
    return path
