# SPDX-License-Identifier: GPL-2.0-only
"""Reading the sections of a machine description that belong to one platform."""

from impl.description_devices import MAX_NODE
from impl.machine_parts import DmarDescription
from impl.pci_names import parse_requester, read_requester
from impl.platform_parts import (
    AmdIommuDescription,
    HypervBusDescription,
    ImsDescription,
    PlatformDeviceDescription,
    RemappingDescription,
    VmdDescription,
    XenDescription,
)
from impl.toml_reader import Entry

__all__ = [
    "read_amd_iommu",
    "read_dmar",
    "read_hyperv_bus",
    "read_ims",
    "read_platform_device",
    "read_remapping",
    "read_vmd",
    "read_xen",
]

_INTREMAP = ("on", "off", "nosid", "no_x2apic_optout", "nopost")
_GUEST_IR = ("legacy", "legacy_ga", "vapic")
_PROBES = ("after", "before", "never")
_STORAGES = ("array", "queue")
_GUESTS = ("pv", "hvm", "pvh")
_PROTOCOLS = ("1.1", "1.2", "1.3")
_MAX_SEGMENT = 0xFFFF
_LAST_SEGMENT = 0xFFFFFFFF
_MAX_SLOTS = 65536
_MAX_PIRQS = 65536


def read_remapping(top: Entry) -> RemappingDescription:
    """[remapping], or what is so without it."""
    entry = top.table("remapping")
    if entry is None:
        return RemappingDescription()
    part = RemappingDescription(
        intremap=_read_intremap(entry),
        x2apic_optout=entry.boolean("x2apic_optout", False),
        guest_ir=entry.choice("guest_ir", _GUEST_IR, "vapic"),
        probe=entry.choice("probe", _PROBES, "after"),
    )
    entry.finish()
    return part


def _read_intremap(entry: Entry) -> str:
    text = entry.text("intremap", "")
    for word in text.split(",") if text else ():
        if word not in _INTREMAP:
            message = f"intremap holds {word!r}, not one of {', '.join(_INTREMAP)}"
            raise entry.error(message, "intremap")
    return text


def read_dmar(entry: Entry) -> DmarDescription:
    """One [[dmar]]."""
    return DmarDescription(
        id=entry.integer("id", 0, 1023),
        node=entry.integer("node", -1, MAX_NODE, -1),
        remapping=entry.boolean("remapping", False),
        x2apic=entry.boolean("x2apic", True),
        max_handle_mask=entry.integer("max_handle_mask", 0, 15, 5),
        segment=entry.integer("segment", 0, _MAX_SEGMENT, 0),
        catch_all=entry.boolean("catch_all", False),
        devices=entry.texts("devices"),
        mistaken=entry.texts("mistaken"),
    )


def read_amd_iommu(entry: Entry) -> AmdIommuDescription:
    """One [[amd_iommu]]."""
    part = AmdIommuDescription(
        id=entry.integer("id", 0, 1023),
        first=read_requester(entry, "first", 0),
        last=read_requester(entry, "last", 0xFFFF),
        aliases=tuple(_read_alias(entry, text) for text in entry.texts("aliases")),
    )
    if part.last < part.first:
        raise entry.error("last is below first", "last")
    return part


def _read_alias(entry: Entry, text: str) -> tuple[int, int]:
    requesters = [parse_requester(side.strip()) for side in text.split("=")]
    match requesters:
        case [int(requester), int(alias)]:
            if requester == alias:
                raise entry.error(f"aliases holds {text!r}, an alias to itself", "aliases")
            return requester, alias
    raise entry.error(f'aliases holds {text!r}, not "00:00.0 = 00:00.0"', "aliases")


def read_vmd(entry: Entry) -> VmdDescription:
    """One [[vmd]]."""
    return VmdDescription(
        name=entry.text("name"),
        segment=entry.integer("segment", _MAX_SEGMENT + 1, _LAST_SEGMENT, _MAX_SEGMENT + 1),
        bus=entry.integer("bus", 0, 255, 0),
    )


def read_hyperv_bus(entry: Entry) -> HypervBusDescription:
    """One [[hyperv_bus]]."""
    return HypervBusDescription(
        segment=entry.integer("segment", 0, _MAX_SEGMENT),
        protocol=entry.choice("protocol", _PROTOCOLS, "1.2"),
    )


def read_ims(entry: Entry) -> ImsDescription:
    """One [[ims]]."""
    return ImsDescription(
        name=entry.text("name"),
        slots=entry.integer("slots", 1, _MAX_SLOTS),
        subdevices=entry.integer("subdevices", 1, 64, 1),
        storage=entry.choice("storage", _STORAGES, "array"),
    )


def read_platform_device(entry: Entry) -> PlatformDeviceDescription:
    """One [[platform_device]]."""
    return PlatformDeviceDescription(
        name=entry.text("name"),
        node=entry.integer("node", -1, MAX_NODE, -1),
    )


def read_xen(top: Entry, platform: str) -> XenDescription | None:
    """[xen], which a machine has if and only if it is of that platform."""
    entry = top.table("xen")
    if entry is None:
        if platform == "xen":
            raise top.error("section [xen] is missing", "platform")
        return None
    if platform != "xen":
        raise entry.error(f"platform {platform!r} has no such section")
    part = XenDescription(
        type=entry.choice("type", _GUESTS),
        initial=entry.boolean("initial", False),
        hvm_pirqs=entry.boolean("hvm_pirqs", True),
        vector_callback=entry.boolean("vector_callback", True),
        x2apic_virt=entry.boolean("x2apic_virt", False),
        apic_virt=entry.boolean("apic_virt", False),
        pirqs=entry.integer("pirqs", 1, _MAX_PIRQS, 256),
        ports=entry.integer("ports", 1, _MAX_PIRQS, 256),
        segments=entry.boolean("segments", True),
    )
    entry.finish()
    return part
