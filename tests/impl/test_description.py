# SPDX-License-Identifier: GPL-2.0-only
"""Machine descriptions: what they may say, and the one line that each mistake gives."""

from pathlib import Path

import pytest

from impl.arch.x86.irq_vectors import STANDARD_GEOMETRY, ApicMode, Geometry
from impl.description import (
    MACHINES,
    DescriptionError,
    MachineDescription,
    load_description,
    parse_description,
)
from impl.machine_parts import BusDescription, MsiDescription

HEAD = 'name = "m"\nplatform = "native"\n[cpus]\ncount = 2\n'
ROOT = '[[bus]]\nid = "0000:00"\n'
NIC = '[[device]]\nname = "nic"\nbdf = "0000:00:01.0"\n'
DISK = '[[device]]\nname = "disk"\nbdf = "0000:00:02.0"\n'
IOAPIC = "[[ioapic]]\nid = 1\ngsi_base = 0\npins = 24\n"


def first_error(text: str) -> str:
    with pytest.raises(DescriptionError) as caught:
        parse_description(text, "m.toml")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_least_machine_has_the_defaults() -> None:
    assert parse_description(HEAD) == MachineDescription("m", (0, 0), ApicMode.FLAT)


def test_every_part_is_read() -> None:
    machine = parse_description(
        HEAD
        + 'nodes = 2\napic = "physical"\n'
        + IOAPIC
        + '[[mp_irq]]\nirq = 9\ngsi = 9\ntrigger = "level"\npolarity = "low"\n'
        + "[[hpet]]\nid = 3\nchannels = 4\n[[dmar]]\nid = 5\nnode = 1\n[[uv]]\nblade = 6\n"
        + ROOT
        + '[[bus]]\nid = "0000:01"\nbridge = "nic"\nno_msi = true\n'
        + NIC
        + "node = 1\nmsi = { vectors = 8, maskbit = true, is_64 = false }\nmsix = 7\ngsi = 16\n"
        + 'quirks = ["no_msi"]\nhotplug = true\n'
    )
    assert machine.nodes == (0, 1) and machine.apic is ApicMode.PHYSICAL
    assert machine.ioapics[0].type == "legacy" and machine.ioapics[0].pins == 24
    assert machine.mp_irqs[0].bus == "isa" and machine.mp_irqs[0].trigger == "level"
    assert (machine.hpets[0].id, machine.hpets[0].channels) == (3, 4)
    assert (machine.dmars[0].id, machine.dmars[0].node) == (5, 1)
    assert (machine.uvs[0].blade, machine.uvs[0].pnode, machine.uvs[0].node) == (6, 6, -1)
    assert machine.buses == (BusDescription(0, 0), BusDescription(0, 1, "nic", True))
    nic = machine.devices[0]
    assert (nic.segment, nic.bus, nic.devfn, nic.node) == (0, 0, 8, 1)
    assert nic.msi == MsiDescription(8, maskbit=True, is_64=False)
    assert (nic.msix, nic.gsi, nic.quirks, nic.hotplug) == (7, 16, frozenset({"no_msi"}), True)


def test_a_geometry_brings_its_own_system_vectors() -> None:
    geometry = "matrix_bits = 16\nalloc_start = 2\nalloc_end = 8\nisa_base = 4\n"
    machine = parse_description(
        "legacy_irqs = 2\n" + HEAD + "[geometry]\n" + geometry + "system_vectors = [2]\n"
    )
    assert machine.geometry == Geometry(16, 2, 8, 4) and machine.system_vectors == (2,)
    assert parse_description(HEAD).geometry == STANDARD_GEOMETRY


def test_a_group_of_devices_fills_functions_buses_and_nodes() -> None:
    machine = parse_description(
        HEAD
        + "node_of = [3, 5]\n"
        + '[[bus]]\nid = "0002:11"\nno_msi = true\n'
        + '[[devices]]\nname = "d"\ncount = 4\nfirst = "0002:10:1f.6"\nmsix = 2\nspread = true\n'
    )
    assert [(d.name, d.bus, d.devfn, d.node) for d in machine.devices] == [
        ("d-0", 0x10, 0xFE, 3),
        ("d-1", 0x10, 0xFF, 3),
        ("d-2", 0x11, 0, 5),
        ("d-3", 0x11, 1, 5),
    ]
    assert machine.buses == (BusDescription(2, 0x11, no_msi=True), BusDescription(2, 0x10))


MISTAKES = {
    "no cpus": ('name = "m"\n', "m.toml: error: machine: section [cpus] is missing"),
    "no name": (
        'platform = "native"\n[cpus]\ncount = 1\n',
        "m.toml: error: machine: name is missing",
    ),
    "no platform": (
        'name = "m"\n[cpus]\ncount = 1\n',
        "m.toml: error: machine: platform is missing",
    ),
    "empty name": (
        'name = ""\nplatform = "native"\n[cpus]\ncount = 1\n',
        "m.toml:1: error: machine: name is empty",
    ),
    "platform": (
        'name = "m"\nplatform = "vax"\n[cpus]\ncount = 1\n',
        "m.toml:2: error: machine: platform is 'vax', not one of native, hyperv, xen",
    ),
    "unknown top-level key": ("cpu = 3\n" + HEAD, "m.toml:1: error: machine: unknown key 'cpu'"),
    "unknown section": (HEAD + "[hpets]\n", "m.toml:5: error: machine: unknown key 'hpets'"),
    "interrupt mode": (
        'interrupt_mode = "apic"\n' + HEAD,
        "m.toml:1: error: machine: interrupt_mode is 'apic', not one of pic, virtual-wire, "
        "virtual-wire-no-config, symmetric-io, symmetric-io-no-routing",
    ),
    "interrupt mode without APIC": (
        'disable_apic = true\ninterrupt_mode = "virtual-wire"\n' + HEAD,
        "m.toml:1: error: machine: disable_apic leaves no interrupt_mode 'virtual-wire'",
    ),
    "section is no list": (HEAD + "[hpet]\n", "m.toml:5: error: machine: hpet is {}, not a list"),
    "list of numbers": (
        "hpet = [3]\n" + HEAD,
        "m.toml:1: error: machine: hpet holds 3, not a table: write [[hpet]]",
    ),
    "section is no table": (
        "cpus = 3\n" + HEAD[: HEAD.index("[")],
        "m.toml:1: error: machine: cpus is 3, not a table",
    ),
    "cpu key": (HEAD + "cores = 3\n", "m.toml:5: error: cpus: unknown key 'cores'"),
    "cpu count type": (
        HEAD.replace("2", '"2"'),
        "m.toml:4: error: cpus: count is '2', not an integer",
    ),
    "boolean is no integer": (
        HEAD.replace("2", "true"),
        "m.toml:4: error: cpus: count is True, not an integer",
    ),
    "cpu count": (HEAD.replace("2", "0"), "m.toml:4: error: cpus: count is 0, not 1 to 8192"),
    "flat": (
        HEAD.replace("2", "9") + 'apic = "flat"\n',
        "m.toml:4: error: cpus: apic 'flat' reaches 8 CPUs, not 9",
    ),
    "nodes": (HEAD + "nodes = 3\n", "m.toml:5: error: cpus: nodes is 3, not 1 to 2"),
    "node_of length": (
        HEAD + "node_of = [0]\n",
        "m.toml:5: error: cpus: node_of has 1 nodes for 2 CPUs",
    ),
    "node_of value": (
        HEAD + 'node_of = [0, "1"]\n',
        "m.toml:5: error: cpus: node_of holds '1', not an integer 0 to 1023",
    ),
    "both nodes": (
        HEAD + "nodes = 2\nnode_of = [0, 1]\n",
        "m.toml:6: error: cpus: nodes and node_of exclude each other",
    ),
    "geometry": (
        HEAD + "[geometry]\nalloc_start = 9\nalloc_end = 8\n",
        "m.toml:5: error: geometry: no vector space: Geometry(matrix_bits=256, alloc_start=9, "
        "alloc_end=8, isa_base=48)",
    ),
    "legacy vectors": (
        HEAD + "[geometry]\nisa_base = 224\n",
        "m.toml:5: error: geometry: the vectors 224 to 239 of legacy irqs are no device vectors",
    ),
    "system vectors": (
        HEAD + "[geometry]\nsystem_vectors = [50]\n",
        "m.toml:6: error: geometry: system vector 50 is a legacy irq's",
    ),
    "ioapic type": (
        HEAD + IOAPIC + 'type = "fast"\n',
        "m.toml:9: error: ioapic 1: type is 'fast', not one of legacy, strict, dynamic, invalid",
    ),
    "ioapic without pins": (
        HEAD + "[[ioapic]]\nid = 1\ngsi_base = 0\n",
        "m.toml:5: error: ioapic 1: pins is missing",
    ),
    "ioapic ids": (
        HEAD + IOAPIC + IOAPIC,
        "m.toml:9: error: ioapic 1: id 1 is taken by ioapic 1",
    ),
    "overlapping GSIs": (
        HEAD + IOAPIC + "[[ioapic]]\nid = 2\ngsi_base = 23\npins = 2\n",
        "m.toml:9: error: ioapic 2: GSIs 23 to 24 overlap those of ioapic 1",
    ),
    "wire to nowhere": (
        HEAD + IOAPIC + "[[mp_irq]]\nirq = 0\ngsi = 24\n",
        "m.toml:11: error: mp_irq 0: no IO-APIC has GSI 24",
    ),
    "isa irq": (
        HEAD + IOAPIC + "[[mp_irq]]\nirq = 16\ngsi = 2\n",
        "m.toml:10: error: mp_irq 0: irq is 16, not 0 to 15",
    ),
    "wired twice": (
        HEAD + IOAPIC + "[[mp_irq]]\nirq = 0\ngsi = 2\n" * 2,
        "m.toml:12: error: mp_irq 1: wiring isa 0 to GSI 2 is taken by mp_irq 0",
    ),
    "hpet ids": (
        HEAD + "[[hpet]]\nid = 0\nchannels = 1\n" * 2,
        "m.toml:8: error: hpet 0: id 0 is taken by hpet 0",
    ),
    "dmar ids": (
        HEAD + "[[dmar]]\nid = 0\n" * 2,
        "m.toml:7: error: dmar 0: id 0 is taken by dmar 0",
    ),
    "uv blades": (
        HEAD + "[[uv]]\nblade = 0\n" * 2,
        "m.toml:7: error: uv 1: blade 0 is taken by uv 0",
    ),
    "bus id": (
        HEAD + '[[bus]]\nid = "0"\n',
        "m.toml:6: error: bus '0': id is not of the form \"0000:00\" (segment, bus)",
    ),
    "bus twice": (
        HEAD + ROOT + ROOT,
        "m.toml:7: error: bus '0000:00': bus 0000:00 is taken by bus '0000:00'",
    ),
    "no bridge": (
        HEAD + ROOT + 'bridge = "rp"\n',
        "m.toml:7: error: bus '0000:00': there is no device 'rp'",
    ),
    "bridge twice": (
        HEAD + ROOT + NIC + '[[bus]]\nid = "0000:01"\nbridge = "nic"\n'
        '[[bus]]\nid = "0000:02"\nbridge = "nic"\n',
        "m.toml:13: error: bus '0000:02': bridge nic is taken by bus '0000:01'",
    ),
    "cycle": (
        HEAD
        + ROOT
        + 'bridge = "far"\n[[bus]]\nid = "0000:01"\nbridge = "nic"\n'
        + NIC
        + '[[device]]\nname = "far"\nbdf = "0000:01:00.0"\n',
        "m.toml:7: error: bus '0000:00': the buses form a cycle: 0000:00, 0000:01, 0000:00",
    ),
    "no bus": (HEAD + NIC, "m.toml:5: error: device 'nic': there is no bus 0000:00"),
    "device name": (
        HEAD + ROOT + NIC + DISK.replace("disk", "nic"),
        "m.toml:10: error: device 'nic': name nic is taken by device 'nic'",
    ),
    "device without a name": (
        HEAD + ROOT + "[[device]]\n",
        "m.toml:7: error: device 0: name is missing",
    ),
    "function": (
        HEAD + ROOT + NIC + DISK.replace("02.0", "01.0"),
        "m.toml:10: error: device 'disk': function 0000:00:01.0 is taken by device 'nic'",
    ),
    "bdf": (
        HEAD + ROOT + NIC.replace("01.0", "20.0"),
        "m.toml:9: error: device 'nic': bdf is not of the form \"0000:00:00.0\" "
        "(segment, bus, device, function)",
    ),
    "msix": (
        HEAD + ROOT + NIC + "msix = 2049\n",
        "m.toml:10: error: device 'nic': msix is 2049, not 0 to 2048",
    ),
    "msi key": (
        HEAD + ROOT + NIC + "msi = { vector = 1 }\n",
        "m.toml:10: error: device 'nic': msi: unknown key 'vector'",
    ),
    "msi vectors": (
        HEAD + ROOT + NIC + "msi = { vectors = 3 }\n",
        "m.toml:10: error: device 'nic': msi: vectors is 3, not a power of two",
    ),
    "quirk": (
        HEAD + ROOT + NIC + 'quirks = ["no_irq"]\n',
        "m.toml:10: error: device 'nic': quirks holds 'no_irq', not one of no_msi, no_64bit_msi",
    ),
    "device gsi": (
        HEAD + ROOT + NIC + "gsi = 16\n",
        "m.toml:10: error: device 'nic': no IO-APIC has GSI 16",
    ),
    "group too large": (
        HEAD + '[[devices]]\nname = "d"\ncount = 9\nfirst = "0000:ff:1f.0"\n',
        "m.toml:7: error: devices 'd': count is 9, not 1 to 8",
    ),
    "group node": (
        HEAD + '[[devices]]\nname = "d"\ncount = 1\nfirst = "0000:00:00.0"\nnode = 0\n'
        "spread = true\n",
        "m.toml:10: error: devices 'd': node and spread exclude each other",
    ),
    "group and device": (
        HEAD + ROOT + NIC + '[[devices]]\nname = "d"\ncount = 9\nfirst = "0000:00:00.0"\n',
        "m.toml:10: error: devices 'd': function 0000:00:01.0 is taken by device 'nic'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_line(mistake: str) -> None:
    text, message = MISTAKES[mistake]
    assert first_error(text) == message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (HEAD + "count = = 3\n", 5),
        ('name = "m\n', 1),
        ("# no value\nname =", 2),
        (HEAD + "count = 3\n", 5),
        ("a = [", 1),
    ],
)
def test_a_syntax_error_gives_one_line(text: str, line: int) -> None:
    start, _, rest = first_error(text).partition(": TOML: ")
    assert start == f"m.toml:{line}: error" and rest


def test_the_error_has_its_parts() -> None:
    with pytest.raises(DescriptionError) as caught:
        parse_description(HEAD + NIC, "m.toml")
    error = caught.value
    assert (error.file, error.line, error.entry) == ("m.toml", 5, "device 'nic'")
    assert error.message == "there is no bus 0000:00"


def test_a_file_is_named_as_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[cpus]\n", encoding="utf-8")
    with pytest.raises(DescriptionError, match=f"^{path}:1: error: cpus: count is missing$"):
        load_description(path)


def test_the_machines_of_the_project_are_valid() -> None:
    names = {path.stem: load_description(path) for path in MACHINES.glob("*.toml")}
    assert names.keys() >= {
        "bare-metal",
        "hpet-dmar",
        "large-server",
        "numa",
        "small",
        "uv",
    }
    large = names["large-server"]
    assert large.nr_cpus == 1024 and len(large.devices) == 4096
    assert {device.node for device in large.devices} == set(large.nodes) == set(range(16))
