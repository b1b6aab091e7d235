# SPDX-License-Identifier: GPL-2.0-only
"""What a machine consists of, read from a TOML file; impl/machines has some."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from impl.arch.x86.apic import ApicIntrMode
from impl.arch.x86.irq_vectors import (
    STANDARD_GEOMETRY,
    STANDARD_SYSTEM_VECTORS,
    ApicMode,
    Geometry,
)
from impl.description_checks import (
    check_buses,
    check_devices,
    check_gsis,
    check_legacy_vectors,
    check_unique,
)
from impl.machine_parts import (
    BusDescription,
    DeviceDescription,
    DmarDescription,
    HpetDescription,
    IoApicDescription,
    MpIrqDescription,
    MsiDescription,
    UvDescription,
)
from impl.toml_reader import DescriptionError, Entry, read_toml

__all__ = [
    "MACHINES",
    "DescriptionError",
    "MachineDescription",
    "load_description",
    "parse_description",
]

MACHINES = Path(__file__).parent / "machines"
"""Where the descriptions are that come with the project."""

_PLATFORMS = ("native",)
_INTERRUPT_MODES = {mode.name.lower().replace("_", "-"): mode for mode in ApicIntrMode}
_APIC_MODES = {mode.value.replace(" ", "-"): mode for mode in ApicMode}
_IOAPIC_TYPES = ("legacy", "strict", "dynamic", "invalid")
_TRIGGERS = ("conforming", "edge", "level")
_POLARITIES = ("conforming", "high", "low")
_QUIRKS = ("no_msi", "no_64bit_msi")

_MAX_CPUS = 8192
_MAX_NODE = 1023
_MAX_GSI = 0xFFFF
_FLAT_CPUS = 8
_PIC_IRQS = 16
_MSI_VECTORS = (1, 2, 4, 8, 16, 32)
_MSIX_VECTORS = 2048
_BUS = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2})")
_FUNCTION = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class MachineDescription:
    """A machine.

    `platform` is "native".  `interrupt_mode` is an impl.arch.x86.apic.ApicIntrMode, written
    "symmetric-io" (the default) and so on.  `legacy_irqs` is the number of irqs of the PIC, 0
    without one.  `timer` says that boot code uses irq 0 before the IO-APICs are set up.
    `disable_apic` turns the local APICs off, and leaves the mode "pic" alone.

    [cpus] has `count`, `apic` ("flat", "physical", "x2apic-cluster"; flat up to eight CPUs,
    physical above them) and the nodes: `nodes`, their number, with equal shares of the CPUs in
    order, or `node_of`, the node of each CPU.  [geometry] is for small machines and has the fields
    of impl.arch.x86.irq_vectors.Geometry and a list `system_vectors`.  The other sections are
    classes of impl.machine_parts.
    """

    name: str
    nodes: tuple[int, ...]
    apic: ApicMode
    platform: str = "native"
    interrupt_mode: ApicIntrMode = ApicIntrMode.SYMMETRIC_IO
    legacy_irqs: int = _PIC_IRQS
    timer: bool = True
    disable_apic: bool = False
    geometry: Geometry = STANDARD_GEOMETRY
    system_vectors: tuple[int, ...] = STANDARD_SYSTEM_VECTORS
    ioapics: tuple[IoApicDescription, ...] = ()
    mp_irqs: tuple[MpIrqDescription, ...] = ()
    hpets: tuple[HpetDescription, ...] = ()
    dmars: tuple[DmarDescription, ...] = ()
    uvs: tuple[UvDescription, ...] = ()
    buses: tuple[BusDescription, ...] = ()
    devices: tuple[DeviceDescription, ...] = ()

    @property
    def nr_cpus(self) -> int:
        """The number of CPUs."""
        return len(self.nodes)


def load_description(path: Path) -> MachineDescription:
    """The machine that the file `path` describes; OSError, or DescriptionError for a mistake."""
    return parse_description(path.read_text(encoding="utf-8"), str(path))


def parse_description(text: str, file: str = "<description>") -> MachineDescription:
    """The machine that `text` describes; DescriptionError, which names `file`, for a mistake."""
    top = read_toml(text, file)
    machine = _read_machine(top)
    ioapics = _read_all(top, "ioapic", _read_ioapic)
    mp_irqs = _read_all(top, "mp_irq", _read_mp_irq)
    hpets = _read_all(top, "hpet", _read_hpet)
    dmars = _read_all(top, "dmar", _read_dmar)
    uvs = _read_all(top, "uv", _read_uv)
    buses = _read_all(top, "bus", _read_bus)
    devices = _read_all(top, "device", _read_device)
    groups = _read_groups(top, machine.nodes)
    top.finish()

    check_unique(ioapics, "id", lambda ioapic: ioapic.id)
    check_unique(hpets, "id", lambda hpet: hpet.id)
    check_unique(dmars, "id", lambda dmar: dmar.id)
    check_unique(uvs, "blade", lambda uv: uv.blade)
    check_gsis(ioapics, mp_irqs, devices + groups)
    check_devices(devices + groups)
    check_buses(buses, devices, groups)
    return replace(
        machine,
        ioapics=_parts(ioapics),
        mp_irqs=_parts(mp_irqs),
        hpets=_parts(hpets),
        dmars=_parts(dmars),
        uvs=_parts(uvs),
        buses=_parts(buses) + _root_buses(_parts(buses), _parts(groups)),
        devices=_parts(devices + groups),
    )


def _read_all(top: Entry, section: str, read: Callable[[Entry], _T]) -> list[tuple[Entry, _T]]:
    pairs = []
    for entry in top.tables(section):
        pairs.append((entry, read(entry)))
        entry.finish()
    return pairs


def _parts(pairs: Sequence[tuple[Entry, _T]]) -> tuple[_T, ...]:
    return tuple(part for _, part in pairs)


def _read_machine(top: Entry) -> MachineDescription:
    cpus = top.table("cpus")
    if cpus is None:
        raise top.error("section [cpus] is missing")
    nodes, apic = _read_cpus(cpus)
    legacy_irqs = top.integer("legacy_irqs", 0, _PIC_IRQS, _PIC_IRQS)
    geometry, system_vectors = _read_geometry(top, legacy_irqs)
    disable_apic = top.boolean("disable_apic", False)
    return MachineDescription(
        name=top.text("name"),
        nodes=nodes,
        apic=apic,
        platform=top.choice("platform", _PLATFORMS),
        interrupt_mode=_read_interrupt_mode(top, disable_apic),
        legacy_irqs=legacy_irqs,
        timer=top.boolean("timer", legacy_irqs > 0),
        disable_apic=disable_apic,
        geometry=geometry,
        system_vectors=system_vectors,
    )


def _read_interrupt_mode(top: Entry, disable_apic: bool) -> ApicIntrMode:
    name = top.choice(
        "interrupt_mode", tuple(_INTERRUPT_MODES), "pic" if disable_apic else "symmetric-io"
    )
    mode = _INTERRUPT_MODES[name]
    if disable_apic and mode is not ApicIntrMode.PIC:
        raise top.error(f"disable_apic leaves no interrupt_mode {name!r}", "disable_apic")
    return mode


def _read_cpus(entry: Entry) -> tuple[tuple[int, ...], ApicMode]:
    count = entry.integer("count", 1, _MAX_CPUS)
    blocks = entry.integer("nodes", 1, min(count, _MAX_NODE + 1), 1)
    nodes = entry.integers("node_of", 0, _MAX_NODE)
    if nodes is None:
        nodes = tuple(cpu * blocks // count for cpu in range(count))
    elif entry.has("nodes"):
        raise entry.error("nodes and node_of exclude each other", "node_of")
    elif len(nodes) != count:
        raise entry.error(f"node_of has {len(nodes)} nodes for {count} CPUs", "node_of")
    default = ApicMode.FLAT if count <= _FLAT_CPUS else ApicMode.PHYSICAL
    name = entry.choice("apic", tuple(_APIC_MODES), default.value)
    apic = _APIC_MODES[name]
    if apic is ApicMode.FLAT and count > _FLAT_CPUS:
        raise entry.error(f"apic {name!r} reaches {_FLAT_CPUS} CPUs, not {count}", "count")
    entry.finish()
    return nodes, apic


def _read_geometry(top: Entry, legacy_irqs: int) -> tuple[Geometry, tuple[int, ...]]:
    entry = top.table("geometry")
    if entry is None:
        return STANDARD_GEOMETRY, STANDARD_SYSTEM_VECTORS
    standard = STANDARD_GEOMETRY
    bits, start, end, isa_base = (
        entry.integer("matrix_bits", 1, standard.matrix_bits, standard.matrix_bits),
        entry.integer("alloc_start", 1, standard.matrix_bits, standard.alloc_start),
        entry.integer("alloc_end", 1, standard.matrix_bits, standard.alloc_end),
        entry.integer("isa_base", 1, standard.matrix_bits, standard.isa_base),
    )
    system_vectors = entry.integers("system_vectors", 0, bits - 1) or ()
    try:
        geometry = Geometry(bits, start, end, isa_base)
    except ValueError as error:
        raise entry.error(str(error)) from error
    check_legacy_vectors(entry, geometry, legacy_irqs, system_vectors)
    entry.finish()
    return geometry, system_vectors


def _read_ioapic(entry: Entry) -> IoApicDescription:
    return IoApicDescription(
        id=entry.integer("id", 0, 255),
        gsi_base=entry.integer("gsi_base", 0, _MAX_GSI),
        pins=entry.integer("pins", 1, 240),
        type=entry.choice("type", _IOAPIC_TYPES, "legacy"),
    )


def _read_mp_irq(entry: Entry) -> MpIrqDescription:
    bus = entry.choice("bus", ("isa", "pci"), "isa")
    return MpIrqDescription(
        bus=bus,
        irq=entry.integer("irq", 0, _PIC_IRQS - 1 if bus == "isa" else 255),
        gsi=entry.integer("gsi", 0, _MAX_GSI),
        trigger=entry.choice("trigger", _TRIGGERS, "conforming"),
        polarity=entry.choice("polarity", _POLARITIES, "conforming"),
    )


def _read_hpet(entry: Entry) -> HpetDescription:
    return HpetDescription(
        id=entry.integer("id", 0, 255),
        channels=entry.integer("channels", 1, 32),
    )


def _read_dmar(entry: Entry) -> DmarDescription:
    return DmarDescription(
        id=entry.integer("id", 0, 1023),
        node=entry.integer("node", -1, _MAX_NODE, -1),
    )


def _read_uv(entry: Entry) -> UvDescription:
    blade = entry.integer("blade", 0, 1023)
    return UvDescription(
        blade=blade,
        pnode=entry.integer("pnode", 0, 0xFFFF, blade),
        node=entry.integer("node", -1, _MAX_NODE, -1),
    )


def _read_bus(entry: Entry) -> BusDescription:
    match = _BUS.fullmatch(entry.text("id"))
    if match is None:
        raise entry.error('id is not of the form "0000:00" (segment, bus)', "id")
    return BusDescription(
        segment=int(match[1], 16),
        number=int(match[2], 16),
        bridge=entry.text("bridge", ""),
        no_msi=entry.boolean("no_msi", False),
    )


def _read_device(entry: Entry) -> DeviceDescription:
    return _read_function(entry, "bdf")


def _read_function(entry: Entry, key: str) -> DeviceDescription:
    name = entry.text("name")
    match = _FUNCTION.fullmatch(entry.text(key))
    if match is None:
        message = f'{key} is not of the form "0000:00:00.0" (segment, bus, device, function)'
        raise entry.error(message, key)
    return DeviceDescription(
        name=name,
        segment=int(match[1], 16),
        bus=int(match[2], 16),
        devfn=int(match[3], 16) << 3 | int(match[4]),
        node=entry.integer("node", -1, _MAX_NODE, -1),
        msi=_read_msi(entry),
        msix=entry.integer("msix", 0, _MSIX_VECTORS, 0),
        gsi=entry.integer("gsi", -1, _MAX_GSI, -1),
        quirks=entry.choices("quirks", _QUIRKS),
        hotplug=entry.boolean("hotplug", False),
    )


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


def _read_groups(top: Entry, nodes: Sequence[int]) -> list[tuple[Entry, DeviceDescription]]:
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


def _root_buses(
    buses: Sequence[BusDescription], devices: Sequence[DeviceDescription]
) -> tuple[BusDescription, ...]:
    """The buses of `devices` that are not among `buses`."""
    declared = {(bus.segment, bus.number) for bus in buses}
    reached = {(device.segment, device.bus) for device in devices}
    return tuple(BusDescription(segment, number) for segment, number in sorted(reached - declared))
