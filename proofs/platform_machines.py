# SPDX-License-Identifier: GPL-2.0-only
"""Small whole machines of every platform: remapping by three vendors, VMD, Xen, message stores.

Each is as small as its platform's operations allow: few vectors, so that they run out, and few
devices, of every kind that the platform treats in its own way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from impl.arch.x86.apic import ApicIntrMode
from impl.arch.x86.irq_vectors import ApicMode, Geometry
from impl.description import MachineDescription
from impl.machine_parts import (
    BusDescription,
    DeviceDescription,
    DmarDescription,
    HpetDescription,
    IoApicDescription,
    MsiDescription,
)
from impl.platform_parts import (
    AmdIommuDescription,
    HypervBusDescription,
    ImsDescription,
    PlatformDeviceDescription,
    RemappingDescription,
    VmdDescription,
    XenDescription,
)
from proofs.whole_machine import SIZES, WholeMachine

__all__ = ["PLATFORMS"]

_ROOT: Final = BusDescription(0, 0)
_ONE_NODE: Final = (0, 0)
_NOTHING: Final = MachineDescription(
    "",
    nodes=_ONE_NODE,
    apic=ApicMode.X2APIC_CLUSTER,
    legacy_irqs=0,
    timer=False,
    geometry=Geometry(8, 1, 8, isa_base=1),
    system_vectors=(),
    buses=(_ROOT,),
)
"""Two CPUs with seven device vectors each, without a PIC, and an empty bus."""

_MESSAGES: Final = {
    "msi": "a message names an entry of a table, or what a host has made, and no vector",
    "ioapic": "a route entry names an entry of a table, and no vector",
    "uv": "no hub is there",
    "routing": "the units' domains are taken before a routing is set up, and given to devices that "
    "are there; SEL-2, SEL-3 and SEL-5 are judged as laws instead",
}
_SAME_HWIRQS: Final = {
    **_MESSAGES,
    "hierarchy": "all MSI-X vectors of a device have one hwirq (AMD-8), of which the layer says "
    "nothing: the machine that it follows is never given two",
}
_MOVING: Final = {
    **_MESSAGES,
    "hierarchy": "domains come and go, and a scope says beforehand what each domain is",
}
_NO_VECTORS: Final = {
    "vectors": "an irq without a vector is activated, as that of a VMD's child, or allocated on "
    "one CPU, as Xen does; a paravirtualised guest's CPUs have no vectors at all",
    **_MOVING,
}
"""What cannot be followed, and why; the laws of `proofs.platform_laws` are judged instead."""

_IOAPIC: Final = IoApicDescription(0, 0, 2, "dynamic", dmar=0, requester=0xF0 << 8)
_MSIX: Final = DeviceDescription("nic", 0, 0, 1 << 3, msix=2)
_MSI: Final = DeviceDescription("disk", 0, 0, 2 << 3, msi=MsiDescription(vectors=2))
_SIZES: Final[Mapping[str, int]] = {
    **SIZES,
    "Domain": 10,
    "Hwirq": 64,
    "Fwnode": 10,
    "Device": 8,
    "Desc": 12,
    "Bus": 4,
}


_HOTPLUG: Final = frozenset({"insert_unit", "remove_unit"})
"""What makes domains come and go."""


def _vtd(name: str, probe: str, left_out: Mapping[str, str], never: frozenset[str]) -> WholeMachine:
    """Two units: one for what is behind a bridge, a function with virtual ones, one for the rest;
    a device behind a conventional bridge, which sends under the id of its bus."""
    description = replace(
        _NOTHING,
        name=name,
        geometry=Geometry(10, 1, 10, isa_base=1),
        ioapics=(replace(_IOAPIC, dmar=1),),
        hpets=(HpetDescription(0, 1, dmar=1, requester=0xF0 << 8 | 1 << 3),),
        dmars=(
            DmarDescription(0, remapping=True, devices=("port",), max_handle_mask=1),
            DmarDescription(1, remapping=True, catch_all=True, max_handle_mask=1),
        ),
        remapping=RemappingDescription(probe=probe),
        buses=(_ROOT, BusDescription(0, 1, bridge="port"), BusDescription(0, 2, bridge="bridge")),
        devices=(
            DeviceDescription("port", 0, 0, 7 << 3),
            DeviceDescription("nic", 0, 1, 0, msix=2),
            DeviceDescription("vf", 0, 1, 1 << 3, msix=1, physfn="nic"),
            DeviceDescription("bridge", 0, 0, 8 << 3),
            replace(_MSI, bus=2, aliases=((0, 2 << 8),)),
            DeviceDescription("late", 0, 0, 3 << 3, msix=1, hotplug=True),
        ),
    )
    return WholeMachine(description, _SIZES, left_out=left_out, never=never)


_SOUTH_BRIDGE: Final = 0x14 << 3
"""Where an IO-APIC of AMD must be, or nothing is remapped."""


def _amd(name: str, probe: str, left_out: Mapping[str, str]) -> WholeMachine:
    """Two units; two devices that send under one id, of which one has two of its own. The timers do
    not share the IO-APIC's table: if they came first, its pins would take their entries (AMD-3)."""
    description = replace(
        _NOTHING,
        name=name,
        ioapics=(replace(_IOAPIC, requester=_SOUTH_BRIDGE),),
        hpets=(HpetDescription(0, 1, requester=_SOUTH_BRIDGE | 1),),
        amd_iommus=(
            AmdIommuDescription(0, 0, 0x3FFF),
            AmdIommuDescription(1, 0x4000, 0xFFFF),
        ),
        remapping=RemappingDescription(probe=probe),
        buses=(_ROOT, BusDescription(0, 2, bridge="bridge"), BusDescription(0, 0x40)),
        devices=(
            DeviceDescription("bridge", 0, 0, 8 << 3),
            replace(_MSI, bus=2, aliases=((0, 2 << 8),)),
            replace(_MSIX, bus=2, aliases=((0, 2 << 8),)),
            DeviceDescription("far", 0, 0x40, 1 << 3, msix=1),
            DeviceDescription("vf", 0, 0x40, 2 << 3, msix=1, physfn="far"),
            DeviceDescription("late", 0, 0x40, 3 << 3, msix=1, hotplug=True),
        ),
    )
    return WholeMachine(description, _SIZES, left_out=left_out)


def _hyperv() -> WholeMachine:
    """Two buses, whose hosts speak different protocols."""
    description = replace(
        _NOTHING,
        name="hyper-v",
        platform="hyperv",
        geometry=Geometry(10, 1, 10, isa_base=1),
        ioapics=(_IOAPIC,),
        hyperv_buses=(HypervBusDescription(2), HypervBusDescription(3, "1.1")),
        devices=(
            DeviceDescription("nic", 2, 0, 1 << 3, msix=2),
            DeviceDescription("disk", 3, 0, 2 << 3, msi=MsiDescription(vectors=2)),
            DeviceDescription("late", 2, 0, 3 << 3, msix=1, hotplug=True),
        ),
    )
    return WholeMachine(description, _SIZES, left_out=_MOVING)


def _vmd() -> WholeMachine:
    """A VMD with three vectors of its own behind VT-d; two disks and a port behind it."""
    disk = DeviceDescription("nvme", 0x10000, 0xE0, 1 << 3, msix=2, nvme=True)
    description = replace(
        _NOTHING,
        name="vmd",
        ioapics=(_IOAPIC,),
        dmars=(DmarDescription(0, remapping=True, catch_all=True),),
        vmds=(VmdDescription("vmd", 0x10000, 0xE0),),
        devices=(
            DeviceDescription("vmd", 0, 0, 1 << 3, msix=3),
            disk,
            DeviceDescription("port", 0x10000, 0xE0, 2 << 3, msi=MsiDescription()),
            replace(disk, name="late", devfn=3 << 3, hotplug=True),
        ),
    )
    return WholeMachine(description, _SIZES, left_out=_NO_VECTORS)


_XEN: Final = replace(_NOTHING, platform="xen", interrupt_mode=ApicIntrMode.PIC, legacy_irqs=1)
_LATE: Final = DeviceDescription("late", 0, 0, 3 << 3, msix=1, hotplug=True)
_VMD_ENDPOINT: Final = DeviceDescription("vmd", 0, 0, 4 << 3, msix=2)


def _xen_dom0() -> WholeMachine:
    """The initial domain, which also drives a VMD."""
    description = replace(
        _XEN,
        name="xen-dom0",
        xen=XenDescription("pv", initial=True, pirqs=8, ports=8),
        vmds=(VmdDescription("vmd", 0x10000, 0xE0),),
        devices=(
            _MSIX,
            _MSI,
            _LATE,
            _VMD_ENDPOINT,
            DeviceDescription("nvme", 0x10000, 0xE0, 1 << 3, msix=1, nvme=True),
        ),
    )
    return WholeMachine(description, _SIZES, left_out=_NO_VECTORS)


def _xen_domu() -> WholeMachine:
    description = replace(
        _XEN,
        name="xen-domu",
        xen=XenDescription("pv", pirqs=5, ports=5),
        devices=(_MSIX, _MSI, _LATE),
    )
    return WholeMachine(description, _SIZES, left_out=_NO_VECTORS)


def _xen_hvm() -> WholeMachine:
    """A guest whose lines and IO-APIC are emulated, and whose messages carry pirqs."""
    description = replace(
        _XEN,
        name="xen-hvm",
        apic=ApicMode.FLAT,
        interrupt_mode=ApicIntrMode.SYMMETRIC_IO,
        xen=XenDescription("hvm", pirqs=5, ports=5),
        ioapics=(IoApicDescription(0, 0, 2, "dynamic"),),
        devices=(_MSIX, _MSI, _LATE),
    )
    return WholeMachine(description, _SIZES, left_out=_NO_VECTORS)


def _xen_pvh() -> WholeMachine:
    """The initial domain without emulated hardware: all its functions are the native ones."""
    description = replace(
        _XEN,
        name="xen-pvh",
        legacy_irqs=0,
        interrupt_mode=ApicIntrMode.SYMMETRIC_IO,
        xen=XenDescription("pvh", initial=True, hvm_pirqs=False),
        ioapics=(IoApicDescription(0, 0, 2, "dynamic"),),
        devices=(_MSIX, _MSI, _LATE),
    )
    return WholeMachine(description, _SIZES)


def _device_msi() -> WholeMachine:
    """Two devices with message stores, one of either kind, and a device on no bus."""
    description = replace(
        _NOTHING,
        name="device-msi",
        geometry=Geometry(10, 1, 10, isa_base=1),
        ioapics=(_IOAPIC,),
        dmars=(DmarDescription(0, remapping=True, catch_all=True),),
        ims=(ImsDescription("nic", 3, subdevices=2), ImsDescription("disk", 2, 1, "queue")),
        platform_devices=(PlatformDeviceDescription("sensor"),),
        devices=(_MSIX, _MSI),
    )
    return WholeMachine(description, _SIZES, left_out=_MOVING)


PLATFORMS: Final[Mapping[str, WholeMachine]] = {
    machine.description.name: machine
    for machine in (
        _vtd("vtd", "after", _MOVING, frozenset()),
        _vtd("vtd-early", "before", _MESSAGES, _HOTPLUG),
        _amd("amd-vi", "after", _SAME_HWIRQS),
        _amd("amd-vi-early", "before", _MESSAGES),
        _hyperv(),
        _vmd(),
        _xen_dom0(),
        _xen_domu(),
        _xen_hvm(),
        _xen_pvh(),
        _device_msi(),
    )
}
"""By their names. The drivers of remapping units meet the devices after they were enumerated, or,
where the name says so, each when it appears."""
