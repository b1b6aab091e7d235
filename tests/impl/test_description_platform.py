# SPDX-License-Identifier: GPL-2.0-only
"""Descriptions of platforms: what they may say, and the one line that each mistake gives."""

import pytest

from impl.description import DescriptionError, MachineDescription, parse_description
from impl.machine_parts import DmarDescription
from impl.platform_parts import (
    AmdIommuDescription,
    HypervBusDescription,
    ImsDescription,
    PlatformDeviceDescription,
    RemappingDescription,
    VmdDescription,
    XenDescription,
)

HEAD = 'name = "m"\nplatform = "native"\n[cpus]\ncount = 2\n'
ROOT = '[[bus]]\nid = "0000:00"\n'
NIC = '[[device]]\nname = "nic"\nbdf = "0000:00:01.0"\n'
DISK = '[[device]]\nname = "disk"\nbdf = "0000:00:02.0"\n'
UNIT = "[[dmar]]\nid = 0\nremapping = true\n"
AMD = "[[amd_iommu]]\nid = 0\n"
VMD = '[[vmd]]\nname = "nic"\n'


def on(platform: str) -> str:
    return HEAD.replace("native", platform)


def parsed(text: str) -> MachineDescription:
    return parse_description(text, "m.toml")


def test_remapping_of_intel_is_read() -> None:
    machine = parsed(
        HEAD
        + '[remapping]\nintremap = "nosid,nopost"\nx2apic_optout = true\nprobe = "before"\n'
        + UNIT
        + 'x2apic = false\nmax_handle_mask = 3\nnode = 1\ndevices = ["nic"]\nmistaken = ["nic"]\n'
        + "[[dmar]]\nid = 1\ncatch_all = true\n"
        + "[[dmar]]\nid = 2\nsegment = 1\ncatch_all = true\n"
        + '[[ioapic]]\nid = 1\ngsi_base = 0\npins = 24\ndmar = 0\nrequester = "f0:1f.7"\n'
        + '[[hpet]]\nid = 0\nchannels = 2\ndmar = 0\nrequester = "f0:0f.0"\n'
        + ROOT
        + NIC
    )
    assert machine.remapping == RemappingDescription(
        "nosid,nopost", x2apic_optout=True, probe="before"
    )
    assert machine.dmars == (
        DmarDescription(0, 1, True, False, 3, 0, False, ("nic",), ("nic",)),
        DmarDescription(1, catch_all=True),
        DmarDescription(2, segment=1, catch_all=True),
    )
    assert (machine.ioapics[0].dmar, machine.ioapics[0].requester) == (0, 0xF0FF)
    assert (machine.hpets[0].dmar, machine.hpets[0].requester) == (0, 0xF078)


def test_remapping_of_amd_is_read() -> None:
    machine = parsed(
        HEAD
        + '[remapping]\nguest_ir = "legacy"\n'
        + AMD
        + 'last = "3f:1f.7"\naliases = ["02:01.0 = 02:00.0", "02:02.0=02:00.0"]\n'
        + '[[amd_iommu]]\nid = 1\nfirst = "40:00.0"\n'
        + '[[ioapic]]\nid = 1\ngsi_base = 0\npins = 24\nrequester = "00:14.0"\n'
    )
    assert machine.remapping == RemappingDescription(guest_ir="legacy")
    assert machine.amd_iommus == (
        AmdIommuDescription(0, 0, 0x3FFF, ((0x208, 0x200), (0x210, 0x200))),
        AmdIommuDescription(1, 0x4000, 0xFFFF),
    )
    assert (machine.ioapics[0].dmar, machine.ioapics[0].requester) == (-1, 0xA0)


def test_virtual_functions_and_aliases_are_read() -> None:
    machine = parsed(
        HEAD
        + ROOT
        + NIC
        + 'nvme = true\naliases = ["00:02.0", "05:00.0 on 04"]\n'
        + '[[device]]\nname = "vf"\nbdf = "0000:07:00.0"\nphysfn = "nic"\n'
    )
    nic, virtfn = machine.devices
    assert nic.nvme and nic.aliases == ((0, 0x10), (4, 0x500)) and not nic.physfn
    assert virtfn.physfn == "nic" and virtfn.bus == 7


def test_vmd_and_message_storage_are_read() -> None:
    machine = parsed(
        HEAD
        + ROOT
        + NIC
        + "msix = 4\n"
        + VMD
        + "segment = 0x10001\nbus = 0xe0\n"
        + '[[ims]]\nname = "nic"\nslots = 8\nsubdevices = 2\nstorage = "queue"\n'
        + '[[platform_device]]\nname = "uart"\nnode = 0\n'
        + '[[device]]\nname = "far"\nbdf = "10001:e0:00.0"\n'
    )
    assert machine.vmds == (VmdDescription("nic", 0x10001, 0xE0),)
    assert machine.ims == (ImsDescription("nic", 8, 2, "queue"),)
    assert machine.platform_devices == (PlatformDeviceDescription("uart", 0),)
    assert machine.devices[1].segment == 0x10001


def test_hyperv_and_xen_are_read() -> None:
    machine = parsed(on("hyperv") + "[[hyperv_bus]]\nsegment = 3\n" + NIC.replace("0000:", "0003:"))
    assert machine.hyperv_buses == (HypervBusDescription(3, "1.2"),)
    guest = parsed(on("xen") + '[xen]\ntype = "hvm"\nhvm_pirqs = false\napic_virt = true\n')
    assert guest.xen == XenDescription("hvm", hvm_pirqs=False, apic_virt=True)
    assert parsed(HEAD).xen is None and parsed(HEAD).remapping == RemappingDescription()


MISTAKES = {
    "intremap": (
        HEAD + '[remapping]\nintremap = "on,fast"\n',
        "m.toml:6: error: remapping: intremap holds 'fast', not one of on, off, nosid, "
        "no_x2apic_optout, nopost",
    ),
    "probe": (
        HEAD + '[remapping]\nprobe = "twice"\n',
        "m.toml:6: error: remapping: probe is 'twice', not one of after, before, never",
    ),
    "probe of intel": (
        HEAD + '[remapping]\nprobe = "never"\n' + UNIT,
        "m.toml:5: error: machine: the driver of [[dmar]] units always probes",
    ),
    "remapping key": (
        HEAD + "[remapping]\nposted = true\n",
        "m.toml:6: error: remapping: unknown key 'posted'",
    ),
    "unit ids": (
        HEAD + UNIT.replace("0", "1"),
        "m.toml:6: error: dmar 1: unit 0 of those that remap has id 1",
    ),
    "unit scope": (
        HEAD + UNIT + 'devices = ["gpu"]\n',
        "m.toml:8: error: dmar 0: there is no device 'gpu'",
    ),
    "unit scope type": (
        HEAD + UNIT + "devices = [3]\n",
        "m.toml:8: error: dmar 0: devices holds 3, not a string",
    ),
    "unit scope segment": (
        HEAD + UNIT + 'segment = 1\ndevices = ["nic"]\n' + ROOT + NIC,
        "m.toml:9: error: dmar 0: 'nic' is not on segment 0x1",
    ),
    "unit scope of a virtual function": (
        HEAD + UNIT + 'devices = ["disk"]\n' + ROOT + NIC + DISK + 'physfn = "nic"\n',
        "m.toml:8: error: dmar 0: 'disk' is a virtual function",
    ),
    "mistaken device of no unit": (
        HEAD + UNIT + 'mistaken = ["nic"]\n' + ROOT + NIC,
        "m.toml:8: error: dmar 0: 'nic' is not among the devices",
    ),
    "device of two units": (
        HEAD + UNIT + 'devices = ["nic"]\n[[dmar]]\nid = 1\ndevices = ["nic"]\n' + ROOT + NIC,
        "m.toml:9: error: dmar 1: device nic is taken by dmar 0",
    ),
    "two catch-all units": (
        HEAD + "[[dmar]]\nid = 0\ncatch_all = true\n[[dmar]]\nid = 1\ncatch_all = true\n",
        "m.toml:8: error: dmar 1: catch-all of segment 0 is taken by dmar 0",
    ),
    "catch-all unit with devices": (
        HEAD + UNIT + 'catch_all = true\ndevices = ["nic"]\n' + ROOT + NIC,
        "m.toml:9: error: dmar 0: a catch-all unit names no devices",
    ),
    "units of two vendors": (
        HEAD + UNIT + AMD,
        "m.toml:8: error: amd_iommu 0: dmar 0 remaps interrupts already",
    ),
    "amd ids": (
        HEAD + AMD + 'last = "00:1f.7"\n[[amd_iommu]]\nid = 0\nfirst = "01:00.0"\n',
        "m.toml:8: error: amd_iommu 0: id 0 is taken by amd_iommu 0",
    ),
    "amd range": (
        HEAD + AMD + 'first = "02:00.0"\nlast = "01:00.0"\n',
        "m.toml:8: error: amd_iommu 0: last is below first",
    ),
    "amd ranges": (
        HEAD + AMD + 'last = "02:00.0"\n[[amd_iommu]]\nid = 1\nfirst = "02:00.0"\n',
        "m.toml:8: error: amd_iommu 1: the requesters overlap those of amd_iommu 0",
    ),
    "amd alias": (
        HEAD + AMD + 'aliases = ["02:00.0"]\n',
        "m.toml:7: error: amd_iommu 0: aliases holds '02:00.0', not \"00:00.0 = 00:00.0\"",
    ),
    "alias to itself": (
        HEAD + AMD + 'aliases = ["02:00.0 = 02:00.0"]\n',
        "m.toml:7: error: amd_iommu 0: aliases holds '02:00.0 = 02:00.0', an alias to itself",
    ),
    "two aliases": (
        HEAD + AMD + 'aliases = ["02:00.0 = 03:00.0", "02:00.0 = 04:00.0"]\n',
        "m.toml:5: error: amd_iommu 0: requester 0x0200 is taken by amd_iommu 0",
    ),
    "ioapic unit": (
        HEAD + '[[ioapic]]\nid = 1\ngsi_base = 0\npins = 24\ndmar = 0\nrequester = "00:00.0"\n',
        "m.toml:9: error: ioapic 1: no unit 0 remaps interrupts",
    ),
    "ioapic requester": (
        HEAD + UNIT + "[[ioapic]]\nid = 1\ngsi_base = 0\npins = 24\ndmar = 0\n",
        "m.toml:12: error: ioapic 1: a unit needs to know the requester",
    ),
    "hpet requester": (
        HEAD + '[[hpet]]\nid = 1\nchannels = 1\nrequester = "f0"\n',
        'm.toml:8: error: hpet 1: requester is not of the form "00:00.0" (bus, device, function)',
    ),
    "virtual function without a physical one": (
        HEAD + ROOT + NIC + 'physfn = "pf"\n',
        "m.toml:10: error: device 'nic': there is no device 'pf'",
    ),
    "virtual function of a virtual one": (
        HEAD + ROOT + NIC + 'physfn = "disk"\n' + DISK + 'physfn = "nic"\n',
        "m.toml:10: error: device 'nic': 'disk' is a virtual function itself",
    ),
    "virtual function elsewhere": (
        HEAD + ROOT + NIC + DISK.replace("0000", "0001") + 'physfn = "nic"\n',
        "m.toml:13: error: device 'disk': 'nic' is on another segment",
    ),
    "device alias": (
        HEAD + ROOT + NIC + 'aliases = ["00:1f"]\n',
        "m.toml:10: error: device 'nic': aliases holds '00:1f', not \"00:00.0\" or "
        '"00:00.0 on 00"',
    ),
    "vmd device": (HEAD + VMD, "m.toml:6: error: vmd 'nic': there is no device 'nic'"),
    "vmd without MSI-X": (
        HEAD + VMD + ROOT + NIC,
        "m.toml:6: error: vmd 'nic': 'nic' has no MSI-X",
    ),
    "vmd segment": (
        HEAD + VMD + "segment = 0xffff\n" + ROOT + NIC + "msix = 2\n",
        "m.toml:7: error: vmd 'nic': segment is 65535, not 65536 to 4294967295",
    ),
    "vmd twice": (
        HEAD + VMD + VMD + ROOT + NIC + "msix = 2\n",
        "m.toml:7: error: vmd 'nic': name nic is taken by vmd 'nic'",
    ),
    "vmd segment twice": (
        HEAD + VMD + VMD.replace("nic", "disk") + ROOT + NIC + "msix = 2\n" + DISK + "msix = 2\n",
        "m.toml:7: error: vmd 'disk': segment 0x10000 is taken by vmd 'nic'",
    ),
    "vmd behind a vmd": (
        HEAD + VMD + NIC.replace("0000:", "10000:") + "msix = 2\n",
        "m.toml:6: error: vmd 'nic': 'nic' is behind a VMD itself",
    ),
    "device behind no vmd": (
        HEAD + NIC.replace("0000:", "10000:"),
        "m.toml:5: error: device 'nic': there is no VMD with segment 0x10000",
    ),
    "the root bus of a vmd": (
        HEAD + VMD + ROOT + '[[bus]]\nid = "10000:00"\n' + NIC + "msix = 2\n",
        "m.toml:9: error: bus '10000:00': bus 10000:00 is made by its host",
    ),
    "hyperv bus elsewhere": (
        HEAD + "[[hyperv_bus]]\nsegment = 1\n",
        "m.toml:5: error: hyperv_bus 0: platform 'native' has no such buses",
    ),
    "hyperv bus twice": (
        on("hyperv") + "[[hyperv_bus]]\nsegment = 1\n" * 2,
        "m.toml:7: error: hyperv_bus 1: segment 0x1 is taken by hyperv_bus 0",
    ),
    "hyperv protocol": (
        on("hyperv") + '[[hyperv_bus]]\nsegment = 1\nprotocol = "1.0"\n',
        "m.toml:7: error: hyperv_bus 0: protocol is '1.0', not one of 1.1, 1.2, 1.3",
    ),
    "hyperv device": (
        on("hyperv") + "[[hyperv_bus]]\nsegment = 1\n" + NIC.replace("0000:00", "0001:01"),
        "m.toml:7: error: device 'nic': there is no bus 0001:01",
    ),
    "xen elsewhere": (
        HEAD + '[xen]\ntype = "pv"\n',
        "m.toml:5: error: xen: platform 'native' has no such section",
    ),
    "xen without its section": (
        on("xen"),
        "m.toml:2: error: machine: section [xen] is missing",
    ),
    "xen type": (
        on("xen") + '[xen]\ntype = "dom0"\n',
        "m.toml:6: error: xen: type is 'dom0', not one of pv, hvm, pvh",
    ),
    "paravirtualised guest with APICs": (
        on("xen") + '[xen]\ntype = "pv"\n',
        "m.toml: error: machine: a paravirtualised guest has interrupt_mode 'pic'",
    ),
    "paravirtualised guest with a timer": (
        'interrupt_mode = "pic"\n' + on("xen") + '[xen]\ntype = "pv"\n',
        "m.toml: error: machine: a paravirtualised guest has no such timer",
    ),
    "paravirtualised guest with an HPET": (
        'interrupt_mode = "pic"\ntimer = false\n'
        + on("xen")
        + '[xen]\ntype = "pv"\n[[hpet]]\nid = 0\nchannels = 1\n',
        "m.toml:9: error: hpet 0: a paravirtualised guest has none",
    ),
    "ims device": (
        HEAD + '[[ims]]\nname = "nic"\nslots = 1\n',
        "m.toml:6: error: ims 'nic': there is no device 'nic'",
    ),
    "ims twice": (
        HEAD + ROOT + NIC + '[[ims]]\nname = "nic"\nslots = 1\n' * 2,
        "m.toml:13: error: ims 'nic': name nic is taken by ims 'nic'",
    ),
    "ims storage": (
        HEAD + ROOT + NIC + '[[ims]]\nname = "nic"\nslots = 1\nstorage = "disk"\n',
        "m.toml:13: error: ims 'nic': storage is 'disk', not one of array, queue",
    ),
    "platform device twice": (
        HEAD + '[[platform_device]]\nname = "uart"\n' * 2,
        "m.toml:7: error: platform_device 'uart': name uart is taken by platform_device 'uart'",
    ),
    "ims without slots": (
        HEAD + ROOT + NIC + '[[ims]]\nname = "nic"\nslots = 0\n',
        "m.toml:12: error: ims 'nic': slots is 0, not 1 to 65536",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_line(mistake: str) -> None:
    text, message = MISTAKES[mistake]
    with pytest.raises(DescriptionError) as caught:
        parsed(text)
    assert str(caught.value) == message
