# SPDX-License-Identifier: GPL-2.0-only
"""What a machine consists of, read from a TOML file; impl/machines has some."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
from impl.description_devices import (
    MAX_GSI,
    MAX_NODE,
    read_bus,
    read_device,
    read_groups,
    root_buses,
)
from impl.description_platform import (
    read_amd_iommu,
    read_dmar,
    read_hyperv_bus,
    read_ims,
    read_platform_device,
    read_remapping,
    read_vmd,
    read_xen,
)
from impl.description_platform_checks import (
    check_amd_iommus,
    check_dmars,
    check_hyperv_buses,
    check_ims,
    check_paravirtualised,
    check_probe,
    check_requesters,
    check_virtual_functions,
    check_vmds,
)
from impl.machine_parts import (
    BusDescription,
    DeviceDescription,
    DmarDescription,
    HpetDescription,
    IoApicDescription,
    MpIrqDescription,
    UvDescription,
)
from impl.pci_names import read_requester
from impl.platform_parts import (
    AmdIommuDescription,
    HypervBusDescription,
    ImsDescription,
    PlatformDeviceDescription,
    RemappingDescription,
    VmdDescription,
    XenDescription,
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

_PLATFORMS = ("native", "hyperv", "xen")
_INTERRUPT_MODES = {mode.name.lower().replace("_", "-"): mode for mode in ApicIntrMode}
_APIC_MODES = {mode.value.replace(" ", "-"): mode for mode in ApicMode}
_IOAPIC_TYPES = ("legacy", "strict", "dynamic", "invalid")
_TRIGGERS = ("conforming", "edge", "level")
_POLARITIES = ("conforming", "high", "low")

_MAX_CPUS = 8192
_FLAT_CPUS = 8
_PIC_IRQS = 16

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class MachineDescription:
    """A machine.

    `platform` is "native", "hyperv" or "xen".  `interrupt_mode` is an
    impl.arch.x86.apic.ApicIntrMode, written "symmetric-io" (the default) and so on.  `legacy_irqs`
    is the number of irqs of the PIC, 0 without one.  `timer` says that boot code uses irq 0 before
    the IO-APICs are set up.  `disable_apic` turns the local APICs off, and leaves the mode "pic"
    alone.

    [cpus] has `count`, `apic` ("flat", "physical", "x2apic-cluster"; flat up to eight CPUs,
    physical above them) and the nodes: `nodes`, their number, with equal shares of the CPUs in
    order, or `node_of`, the node of each CPU.  [geometry] is for small machines and has the fields
    of impl.arch.x86.irq_vectors.Geometry and a list `system_vectors`.  The other sections are
    classes of impl.machine_parts and impl.platform_parts.
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
    remapping: RemappingDescription = field(default_factory=RemappingDescription)
    amd_iommus: tuple[AmdIommuDescription, ...] = ()
    vmds: tuple[VmdDescription, ...] = ()
    hyperv_buses: tuple[HypervBusDescription, ...] = ()
    xen: XenDescription | None = None
    ims: tuple[ImsDescription, ...] = ()
    platform_devices: tuple[PlatformDeviceDescription, ...] = ()
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
    dmars = _read_all(top, "dmar", read_dmar)
    uvs = _read_all(top, "uv", _read_uv)
    amd_iommus = _read_all(top, "amd_iommu", read_amd_iommu)
    vmds = _read_all(top, "vmd", read_vmd)
    hyperv_buses = _read_all(top, "hyperv_bus", read_hyperv_bus)
    ims = _read_all(top, "ims", read_ims)
    platform_devices = _read_all(top, "platform_device", read_platform_device)
    buses = _read_all(top, "bus", read_bus)
    devices = _read_all(top, "device", read_device)
    groups = read_groups(top, machine.nodes)
    remapping, xen = read_remapping(top), read_xen(top, machine.platform)
    top.finish()

    everything = devices + groups
    check_unique(ioapics, "id", lambda ioapic: ioapic.id)
    check_unique(hpets, "id", lambda hpet: hpet.id)
    check_unique(uvs, "blade", lambda uv: uv.blade)
    check_gsis(ioapics, mp_irqs, everything)
    check_devices(everything)
    check_virtual_functions(everything)
    check_dmars(dmars, everything)
    check_amd_iommus(amd_iommus, dmars)
    check_probe(top, remapping.probe, dmars)
    check_requesters([*ioapics, *hpets], dmars)
    check_vmds(vmds, everything)
    check_hyperv_buses(hyperv_buses, machine.platform, everything)
    check_ims(ims, everything)
    if xen is not None and xen.type == "pv":
        pic = machine.interrupt_mode is ApicIntrMode.PIC
        check_paravirtualised(top, [*ioapics, *hpets], pic=pic, timer=machine.timer)
    check_unique(platform_devices, "name", lambda device: device.name)
    hosts = [(vmd.segment, vmd.bus) for _, vmd in vmds]
    hosts += [(host.segment, 0) for _, host in hyperv_buses]
    check_buses(buses, devices, groups, hosts)
    return replace(
        machine,
        ioapics=_parts(ioapics),
        mp_irqs=_parts(mp_irqs),
        hpets=_parts(hpets),
        dmars=_parts(dmars),
        uvs=_parts(uvs),
        remapping=remapping,
        amd_iommus=_parts(amd_iommus),
        vmds=_parts(vmds),
        hyperv_buses=_parts(hyperv_buses),
        xen=xen,
        ims=_parts(ims),
        platform_devices=_parts(platform_devices),
        buses=_parts(buses) + root_buses(_parts(buses), _parts(groups)),
        devices=_parts(everything),
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
    blocks = entry.integer("nodes", 1, min(count, MAX_NODE + 1), 1)
    nodes = entry.integers("node_of", 0, MAX_NODE)
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
        gsi_base=entry.integer("gsi_base", 0, MAX_GSI),
        pins=entry.integer("pins", 1, 240),
        type=entry.choice("type", _IOAPIC_TYPES, "legacy"),
        dmar=entry.integer("dmar", -1, 1023, -1),
        requester=read_requester(entry, "requester", -1),
    )


def _read_mp_irq(entry: Entry) -> MpIrqDescription:
    bus = entry.choice("bus", ("isa", "pci"), "isa")
    return MpIrqDescription(
        bus=bus,
        irq=entry.integer("irq", 0, _PIC_IRQS - 1 if bus == "isa" else 255),
        gsi=entry.integer("gsi", 0, MAX_GSI),
        trigger=entry.choice("trigger", _TRIGGERS, "conforming"),
        polarity=entry.choice("polarity", _POLARITIES, "conforming"),
    )


def _read_hpet(entry: Entry) -> HpetDescription:
    return HpetDescription(
        id=entry.integer("id", 0, 255),
        channels=entry.integer("channels", 1, 32),
        dmar=entry.integer("dmar", -1, 1023, -1),
        requester=read_requester(entry, "requester", -1),
    )


def _read_uv(entry: Entry) -> UvDescription:
    blade = entry.integer("blade", 0, 1023)
    return UvDescription(
        blade=blade,
        pnode=entry.integer("pnode", 0, 0xFFFF, blade),
        node=entry.integer("node", -1, MAX_NODE, -1),
    )
