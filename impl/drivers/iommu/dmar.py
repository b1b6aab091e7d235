# SPDX-License-Identifier: GPL-2.0-only
"""VT-d units as firmware describes them, and which devices they serve (intel/dmar.c, v5.10).

Firmware names the devices of a unit by their way through the bridges, before anybody has scanned a
bus; when a device appears its way is compared, and the unit remembers the device.  A device that no
unit names belongs to the catch-all unit of its segment.
"""

import enum
import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from impl.drivers.iommu.intel_table import IntelCaps, IntelIommu
from impl.drivers.pci.pci import PCI_CLASS_BRIDGE_PCI, PciDev, pci_is_root_bus, pci_physfn
from impl.kernel.kernel import NUMA_NO_NODE, Kernel, KernelBug

__all__ = [
    "DMAR_INTR_REMAP",
    "DMAR_X2APIC_OPT_OUT",
    "DeviceScope",
    "Dmar",
    "DmarNotifyInfo",
    "DmarTable",
    "DrhdHeader",
    "DrhdUnit",
    "ScopeType",
    "dmar_alloc_pci_notify_info",
    "dmar_find_dmaru",
    "dmar_find_matched_drhd_unit",
    "dmar_free_drhd",
    "dmar_insert_dev_scope",
    "dmar_parse_one_drhd",
    "dmar_remove_dev_scope",
    "dmar_table_init",
]

DMAR_INTR_REMAP = 1
"""A flag of the table: the platform can remap interrupts."""
DMAR_X2APIC_OPT_OUT = 2
"""A flag of the table: the kernel is not to use the x2APIC mode."""

_DMAR_UNITS_SUPPORTED = 1024
_U16_MAX = 0xFFFF
_BASE_CLASS_BRIDGE = 0x06


class ScopeType(enum.IntEnum):
    """What a device scope stands for (enum acpi_dmar_scope_type)."""

    ENDPOINT = 1
    BRIDGE = 2
    """A bridge with all that is behind it."""
    IOAPIC = 3
    HPET = 4
    NAMESPACE = 5
    """A device that is not on PCI."""


@dataclass(frozen=True, slots=True)
class DeviceScope:
    """One device of a unit, as firmware names it.

    `path` starts on root bus `bus` and has a (device, function) for each bridge and at last for the
    device itself.  `enumeration_id` is the id of an IO-APIC or an HPET.
    """

    type: ScopeType
    bus: int
    path: tuple[tuple[int, int], ...]
    enumeration_id: int = 0


@dataclass(frozen=True, slots=True)
class DrhdHeader:
    """A unit in the table (struct acpi_dmar_hardware_unit); its registers are at `address`.

    `include_all` makes it the catch-all unit of its segment.  `caps` are the unit's own registers.
    """

    address: int
    segment: int = 0
    include_all: bool = False
    scopes: tuple[DeviceScope, ...] = ()
    caps: IntelCaps = field(default_factory=IntelCaps)
    node: int = NUMA_NO_NODE


class DmarTable(NamedTuple):
    """The table that firmware hands over: DMAR_* flags and the units."""

    flags: int
    units: tuple[DrhdHeader, ...]


class DrhdUnit:
    """A unit that the kernel knows (struct dmar_drhd_unit).

    `devices` has a place for each PCI device that the unit names, None while it is not there.
    """

    __slots__ = ("devices", "hdr", "iommu")

    def __init__(self, hdr: DrhdHeader, iommu: IntelIommu) -> None:
        self.hdr = hdr
        self.iommu = iommu
        self.devices: list[PciDev | None] = [None for scope in hdr.scopes if _is_pci(scope)]


def _no_iommu_driver(dev: PciDev) -> int:
    return 0


def _no_iommu_hotplug(unit: DrhdUnit, insert: bool) -> int:
    return 0


class Dmar:
    """The globals of the DMAR code of one machine.

    `table` is what firmware offers, if anything.  `drhd_units` lists the units in the order of the
    search, the catch-all ones last.  `seq_ids` are the numbers that units have.
    `dev_scope_status` is 1 until the devices were looked through, then 0 or a negative errno.
    `secondary_buses` tells for bridges, by bus, device and function, which bus is behind.

    `iommu_notify_scope_dev` and `iommu_hotplug` stand for the translation of DMA, which may object
    with a negative errno.
    """

    __slots__ = (
        "dev_scope_status",
        "drhd_units",
        "initialized",
        "iommu_hotplug",
        "iommu_notify_scope_dev",
        "kernel",
        "secondary_buses",
        "seq_ids",
        "table",
    )

    def __init__(self, kernel: Kernel, table: DmarTable | None) -> None:
        self.kernel = kernel
        self.table = table
        self.drhd_units: list[DrhdUnit] = []
        self.seq_ids: set[int] = set()
        self.initialized = 0
        self.dev_scope_status = 1
        self.secondary_buses: dict[tuple[int, int, int], int] = {}
        self.iommu_notify_scope_dev: Callable[[PciDev], int] = _no_iommu_driver
        self.iommu_hotplug: Callable[[DrhdUnit, bool], int] = _no_iommu_hotplug

    @property
    def iommus(self) -> tuple[IntelIommu, ...]:
        """The units in the order of the list (for_each_iommu)."""
        return tuple(unit.iommu for unit in self.drhd_units)


class DmarNotifyInfo(NamedTuple):
    """What is compared with the scopes (struct dmar_pci_notify_info).

    `path` leads to `dev`: (bus, device, function) of each bridge, outermost first, and of `dev`;
    it is empty for a device that goes away.
    """

    dev: PciDev
    segment: int
    path: tuple[tuple[int, int, int], ...]


def dmar_table_init(d: Dmar) -> int:
    """Read the table, once; 0, -ENODEV if it names no unit, or an error of a unit."""
    if d.initialized == 0:
        ret = _parse_dmar_table(d)
        if ret >= 0 and not d.drhd_units:
            ret = -errno.ENODEV
        d.initialized = ret if ret < 0 else 1
    return min(d.initialized, 0)


def dmar_parse_one_drhd(d: Dmar, hdr: DrhdHeader) -> int:
    """Note a unit, unless it is known; 0, -ENOMEM, or -ENOSPC if there are too many.

    A catch-all unit goes to the end of the list, another one to its front.
    """
    if dmar_find_dmaru(d, hdr) is not None:
        return 0
    if d.kernel.kzalloc_fails("dmar_parse_one_drhd"):
        return -errno.ENOMEM
    free = (number for number in range(_DMAR_UNITS_SUPPORTED) if number not in d.seq_ids)
    seq_id = next(free, None)
    if seq_id is None:
        return -errno.ENOSPC
    d.seq_ids.add(seq_id)
    unit = DrhdUnit(hdr, IntelIommu(d.kernel, seq_id, hdr.caps, node=hdr.node))
    d.drhd_units.insert(len(d.drhd_units) if hdr.include_all else 0, unit)
    unit.iommu.trace("dmar_register_drhd_unit", segment=hdr.segment, all=int(hdr.include_all))
    return 0


def dmar_free_drhd(d: Dmar, unit: DrhdUnit) -> None:
    """Forget a unit (dmar_hp_release_drhd)."""
    d.drhd_units.remove(unit)
    d.seq_ids.remove(unit.iommu.seq_id)
    unit.iommu.trace("dmar_free_drhd")


def dmar_find_dmaru(d: Dmar, hdr: DrhdHeader) -> DrhdUnit | None:
    """The known unit with the registers and the segment of `hdr`."""
    for unit in d.drhd_units:
        if (unit.hdr.segment, unit.hdr.address) == (hdr.segment, hdr.address):
            return unit
    return None


def dmar_find_matched_drhd_unit(d: Dmar, dev: PciDev) -> DrhdUnit | None:
    """The first unit that serves the device, or for a virtual function its physical one.

    A catch-all unit serves its segment, another one the devices it names and what is behind them.
    """
    dev = pci_physfn(dev)
    for unit in d.drhd_units:
        if unit.hdr.include_all and unit.hdr.segment == dev.segment:
            return unit
        if _dmar_pci_device_match(unit, dev):
            return unit
    return None


def dmar_alloc_pci_notify_info(d: Dmar, dev: PciDev, *, added: bool) -> DmarNotifyInfo | None:
    """What the units need to know of a device that was added, or removed.

    None if no unit could name the device, as its segment has more than 16 bits, and without memory
    for its way, which nobody asks for when it goes.
    """
    if dev.segment > _U16_MAX:
        return None
    if added and d.kernel.kzalloc_fails("dmar_alloc_pci_notify_info"):
        if d.dev_scope_status == 0:
            d.dev_scope_status = -errno.ENOMEM
        return None
    path: list[tuple[int, int, int]] = []
    above: PciDev | None = dev if added else None
    while above is not None:
        path.insert(0, (above.bus.number, above.devfn >> 3, above.devfn & 7))
        above = None if pci_is_root_bus(above.bus) else above.bus.self_dev
    return DmarNotifyInfo(dev, dev.segment, tuple(path))


def dmar_insert_dev_scope(info: DmarNotifyInfo, unit: DrhdUnit) -> int:
    """Note the device if the unit names it: 1; 0 if it does not.

    -EINVAL if the unit takes a bridge for an endpoint or the other way round.
    """
    if unit.hdr.segment != info.segment:
        return 0
    for scope in unit.hdr.scopes:
        if not _is_pci(scope) or not _dmar_match_pci_path(info, scope):
            continue
        if not _header_fits(scope, info.dev):
            return -errno.EINVAL
        if None not in unit.devices:
            raise KernelBug(f"unit {unit.iommu.seq_id} has no place for device {info.dev.id}")
        unit.devices[unit.devices.index(None)] = info.dev
        unit.iommu.trace("dmar_insert_dev_scope", device=info.dev.id)
        return 1
    return 0


def dmar_remove_dev_scope(info: DmarNotifyInfo, unit: DrhdUnit) -> bool:
    """Forget the device; whether the unit knew it."""
    if unit.hdr.segment != info.segment or info.dev not in unit.devices:
        return False
    unit.devices[unit.devices.index(info.dev)] = None
    unit.iommu.trace("dmar_remove_dev_scope", device=info.dev.id)
    return True


def _parse_dmar_table(d: Dmar) -> int:
    if d.table is None:
        return -errno.ENODEV
    for hdr in d.table.units:
        ret = dmar_parse_one_drhd(d, hdr)
        if ret:
            return ret
    return 0


def _is_pci(scope: DeviceScope) -> bool:
    return scope.type in (ScopeType.ENDPOINT, ScopeType.BRIDGE)


def _dmar_pci_device_match(unit: DrhdUnit, dev: PciDev) -> bool:
    above: PciDev | None = dev
    while above is not None:
        if above in unit.devices:
            return True
        above = above.bus.self_dev
    return False


def _dmar_match_pci_path(info: DmarNotifyInfo, scope: DeviceScope) -> bool:
    """Whether the scope leads to the device.

    Some firmware names a device behind bridges by its own bus alone, which counts too.
    """
    way = tuple((device, function) for _, device, function in info.path)
    if info.path[0][0] == scope.bus and way == scope.path:
        return True
    return len(scope.path) == 1 and info.path[-1] == (scope.bus, *scope.path[0])


def _header_fits(scope: DeviceScope, dev: PciDev) -> bool:
    """A bridge scope may name an endpoint that calls itself a bridge of some kind (NTB)."""
    is_bridge = dev.class_code >> 8 == PCI_CLASS_BRIDGE_PCI >> 8
    if scope.type is ScopeType.ENDPOINT:
        return not is_bridge
    return is_bridge or dev.class_code >> 16 == _BASE_CLASS_BRIDGE
