# SPDX-License-Identifier: GPL-2.0-only
"""Whole machines of every platform: what drivers do to them, and that nothing of it stays."""

import errno
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from impl.drivers.iommu.intel_irte import decode_ir_msi_msg, is_remappable
from impl.drivers.pci.hyperv_host import HvRefusal
from impl.drivers.pci.msi import PCI_IRQ_AFFINITY, PCI_IRQ_MSI, PCI_IRQ_MSIX
from impl.drivers.pci.pci import PciPower
from impl.drivers.xen.hypervisor import Answer
from impl.drivers.xen.irq_info import IrqInfo
from impl.kernel.irq.irq import MsiMsg
from impl.machine import Machine
from impl.machine_parts import MsiDescription
from impl.platform_parts import PlatformDeviceDescription
from tests.impl.machine_support import booted, described, footprint, vector_level
from tests.impl.random_machine import laid_bare, step
from tests.impl.test_platform_boot import ORDERS, PLATFORMS, probing

MESSAGES = PCI_IRQ_MSI | PCI_IRQ_MSIX


def vectors(m: Machine, name: str, most: int = 8, flags: int = MESSAGES) -> list[int]:
    """The irqs of as many vectors as the device gets."""
    count = m.pci_alloc_irq_vectors(name, 1, most, flags)
    assert count > 0, (name, count)
    return [m.pci_irq_vector(name, nr) for nr in range(count)]


def with_messages(m: Machine) -> Iterator[str]:
    """The devices that can signal by messages and have no driver of their own."""
    for name, dev in list(m.pci_devs.items()):
        if (dev.msi_cap or dev.msix_cap) and name not in m.vmds:
            yield name


def message(m: Machine, name: str, nr: int) -> MsiMsg:
    """The message in entry `nr` of a device's MSI-X table."""
    cap = m.pci_devs[name].msix_cap
    assert cap is not None
    return cap.message(nr)


# All platforms


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", PLATFORMS)
def test_every_device_signals_by_what_is_in_its_registers(name: str, order: str) -> None:
    m = Machine(probing(described(name), order))
    before = footprint(m)
    for dev in with_messages(m):
        irqs = vectors(m, dev)
        assert not any(m.fire(irq) for irq in irqs)
        assert all(m.request_irq(irq) == 0 for irq in irqs)
        assert all(m.fire(irq) for irq in irqs)
        assert m.pci_free_irq_vectors(dev) == -errno.EBUSY
        assert all(m.free_irq(irq) == 0 and not m.fire(irq) for irq in irqs)
        assert m.pci_free_irq_vectors(dev) == 0
    assert footprint(m) == before


@pytest.mark.parametrize("name", PLATFORMS)
def test_interrupts_survive_a_move_a_sleep_and_the_loss_of_a_cpu(name: str) -> None:
    m = booted(name)
    irqs = [irq for dev in with_messages(m) for irq in vectors(m, dev, 2)]
    assert all(m.request_irq(irq) == 0 for irq in irqs)
    assert all(m.set_affinity(irq, 0b10) == 0 for irq in irqs)
    assert all(m.fire(irq) and m.fire(irq) for irq in irqs)
    assert m.sleep() == 0
    assert all(m.fire(irq) for irq in irqs)
    assert m.cpu_down(1) == 0
    assert all(m.fire(irq) for irq in irqs)
    assert m.cpu_up(1) == 0
    assert all(m.fire(irq) for irq in irqs)


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_device_without_power_does_not_signal(name: str) -> None:
    m = booted(name)
    dev = next(with_messages(m))
    (irq, *_) = vectors(m, dev, 1)
    assert m.request_irq(irq) == 0 and m.fire(irq)
    assert m.pci_set_power_state(dev, PciPower.D3HOT) == 0 and not m.fire(irq)
    assert m.pci_set_power_state(dev, PciPower.D0) == 0
    assert m.pci_restore_msi_state(dev) == 0 and m.fire(irq)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", PLATFORMS)
def test_vec_18_teardown_of_everything_leaves_the_state_after_boot(
    name: str, order: str, seed: int
) -> None:
    rng = random.Random(seed)
    m = Machine(probing(described(name), order))
    before = laid_bare(m)
    for vmd in m.description.vmds:
        assert m.vmd_probe(vmd.name) == 0
    for bus in m.description.hyperv_buses:
        assert m.hv_pci_probe(bus.segment) == 0
    for ims in m.description.ims:
        assert m.ims_probe(ims.name) == 0
    for _ in range(120):
        step(m, rng)
    assert laid_bare(m) == before


@pytest.mark.parametrize("name", PLATFORMS)
def test_what_a_machine_lacks_is_not_there(name: str) -> None:
    m = booted(name)
    assert m.vmd_probe("nobody") == m.vmd_remove("nobody") == -errno.ENODEV
    assert m.ims_probe("nobody") == m.ims_remove("nobody") == -errno.ENODEV
    assert m.ims_alloc_irqs("nobody", 0, 1) == m.ims_free_irqs("nobody", 0) == -errno.ENODEV
    assert m.ims_irq("nobody", 0, 0) == -errno.ENODEV
    assert m.platform_msi_alloc_irqs("nobody", 1) == -errno.ENODEV
    assert m.platform_msi_free_irqs("nobody") == -errno.ENODEV
    assert m.platform_msi_irq("nobody", 0) == -errno.ENODEV
    assert m.hv_pci_probe(0x7777) == m.hv_pci_remove(0x7777) == -errno.ENODEV
    assert m.hv_refuse_next(0x7777, HvRefusal.CREATE) == -errno.ENODEV
    assert m.pci_enable_sriov("nobody", 1) == m.pci_disable_sriov("nobody") == -errno.ENODEV
    assert m.vcpu_detach(0) == -errno.EINVAL
    xen = m.xen is not None
    assert m.xen_answer_next(Answer()) == (0 if xen else -errno.ENODEV)


# Remapping


def test_int_5_messages_behind_vt_d_name_entries_and_stay() -> None:
    m = booted("vtd")
    (first, second) = vectors(m, "nvme", 2)
    before = message(m, "nvme", 0), message(m, "nvme", 1)
    assert all(is_remappable(msg.address_lo) for msg in before)
    handles = [decode_ir_msi_msg(msg.address_lo, msg.data) for msg in before]
    # Each MSI-X vector is a block of its own.
    assert handles[0][0] != handles[1][0] and handles[0][1] == handles[1][1] == 0
    assert m.request_irq(first) == 0 and m.request_irq(second) == 0
    target = vector_level(m, first).cpu
    assert m.set_affinity(first, 1 << (target + 1) % 4) == 0
    assert vector_level(m, first).cpu != target and m.fire(first)
    assert (message(m, "nvme", 0), message(m, "nvme", 1)) == before


def test_int_2_a_device_behind_vt_d_gets_a_block_of_vectors() -> None:
    m = booted("vtd")
    irqs = vectors(m, "usb", 8, PCI_IRQ_MSI)
    assert len(irqs) == 8
    assert all(m.request_irq(irq) == 0 and m.fire(irq) for irq in irqs)
    # A native machine has none to give.
    assert len(vectors(booted("bare-metal"), "usb", 8, PCI_IRQ_MSI)) == 1


def test_int_12_a_unit_lets_nobody_else_use_the_entry_of_a_device() -> None:
    m = booted("vtd")
    (irq, *_) = vectors(m, "nvme", 1)
    assert m.request_irq(irq) == 0 and m.fire(irq)
    dev = m.pci_devs["nvme"]
    dev.devfn = 0x1F << 3
    assert not m.fire(irq)
    unchecked = described("vtd")
    nosid = replace(unchecked.remapping, intremap="nosid")
    m = Machine(replace(unchecked, remapping=nosid))
    (irq, *_) = vectors(m, "nvme", 1)
    m.pci_devs["nvme"].devfn = 0x1F << 3
    assert m.request_irq(irq) == 0 and m.fire(irq)


def test_int_12_a_device_behind_a_conventional_bridge_sends_under_the_id_of_its_bus() -> None:
    m = booted("vtd")
    (irq, *_) = vectors(m, "usb", 1)
    assert m.request_irq(irq) == 0 and m.fire(irq)
    m.pci_devs["usb"].dma_aliases = ((0, 0x0300),)
    assert not m.fire(irq)


@pytest.mark.parametrize("name", ["vtd", "amd-vi"])
def test_int_8_an_interrupt_goes_to_a_virtual_cpu_and_comes_back(name: str) -> None:
    m = booted(name)
    (irq, *_) = vectors(m, "nic", 1)
    assert m.vcpu_attach(irq, 1, 0x80) == -errno.EINVAL
    assert m.request_irq(irq) == 0 and m.fire(irq)
    assert m.vcpu_attach(irq, 1, 0x80) == 0 and not m.fire(irq)
    assert m.set_affinity(irq, 0b100) == 0 and not m.fire(irq)
    assert m.vcpu_detach(irq) == 0 and m.fire(irq)
    assert vector_level(m, irq).cpu == 2
    assert m.vcpu_attach(irq, 1, 0x80) == 0
    assert m.free_irq(irq) == 0 and not m.posted_irqs
    assert m.vcpu_detach(irq) == -errno.EINVAL


def test_without_posting_no_interrupt_goes_to_a_virtual_cpu() -> None:
    description = described("vtd")
    nopost = replace(description.remapping, intremap="nopost")
    for m in (Machine(replace(description, remapping=nopost)), booted("bare-metal")):
        (irq, *_) = vectors(m, "nvme", 1)
        assert m.request_irq(irq) == 0
        assert m.vcpu_attach(irq, 1, 0x80) == -errno.ENODEV


def test_amd_1_devices_that_send_under_one_id_share_a_table() -> None:
    m = booted("amd-vi")
    assert m.remapping is not None
    irqs = vectors(m, "sound") + vectors(m, "serial")
    assert all(m.request_irq(irq) == 0 and m.fire(irq) for irq in irqs)
    tables = m.remapping.amd.irq_lookup_table
    assert tables[0x208] is tables[0x200] is tables[0x210]


def test_amd_8_irqs_of_a_device_behind_amd_vi_share_a_hwirq() -> None:
    m = booted("amd-vi")
    irqs = vectors(m, "nic", 4, PCI_IRQ_MSIX)
    levels = [m.irqs.descs[irq].irq_data.parent_data for irq in irqs]
    assert {level.hwirq for level in levels if level is not None} == {0x4100 << 16}


@pytest.mark.parametrize("name", ["vtd", "amd-vi"])
def test_virtual_functions_come_and_go(name: str) -> None:
    m = booted(name)
    before = footprint(m)
    assert m.pci_enable_sriov("nic", 3) == -errno.EINVAL
    assert m.pci_enable_sriov("root port", 1) == -errno.ENOSYS
    assert m.pci_enable_sriov("nic", 0) == 0 and "vf 0" not in m.pci_devs
    assert m.pci_enable_sriov("nic", 1) == 0
    assert m.pci_enable_sriov("nic", 1) == -errno.EINVAL
    assert m.pci_add_device("vf 0") == -errno.ENODEV
    irqs = vectors(m, "vf 0")
    assert all(m.request_irq(irq) == 0 and m.fire(irq) for irq in irqs)
    assert m.pci_disable_sriov("nic") == m.pci_remove_device("nic") == -errno.EBUSY
    assert all(m.free_irq(irq) == 0 for irq in irqs)
    assert m.pci_free_irq_vectors("vf 0") == 0
    assert m.pci_disable_sriov("nic") == 0 and "vf 0" not in m.pci_devs
    assert m.pci_enable_sriov("nic", 1) == 0
    assert m.pci_remove_device("nic") == 0 and not {"nic", "vf 0"} & m.pci_devs.keys()
    assert m.pci_add_device("nic") == 0
    assert footprint(m) == before


def test_virtual_functions_may_have_a_bus_of_their_own() -> None:
    description = described("vtd")
    devices = tuple(
        replace(part, bus=0x30) if part.physfn else part for part in description.devices
    )
    m = Machine(replace(description, devices=devices))
    assert m.pci_enable_sriov("nic", 2) == 0
    bus = m.pci_devs["vf 0"].bus
    assert bus is m.pci_devs["vf 1"].bus and bus.self_dev is None and bus.number == 0x30
    assert bus.parent is m.pci_devs["nic"].bus and (0, 0x30) in m.topology.buses
    (irq, *_) = vectors(m, "vf 1", 1)
    assert m.request_irq(irq) == 0 and m.fire(irq)
    assert m.free_irq(irq) == 0 and m.pci_free_irq_vectors("vf 1") == 0
    assert m.pci_disable_sriov("nic") == 0 and (0, 0x30) not in m.topology.buses


# Hyper-V


def test_hvp_1_the_host_has_a_mapping_for_each_message() -> None:
    m = booted("hyperv")
    host = m.hv_buses[0x7D01].host
    irqs = vectors(m, "virtual function", 2)
    assert all(m.request_irq(irq) == 0 and m.fire(irq) for irq in irqs)
    assert len(host.mappings) == 2
    assert all(m.free_irq(irq) == 0 for irq in irqs)
    assert m.pci_free_irq_vectors("virtual function") == 0 and not host.mappings


def test_hvp_5_without_a_mapping_the_interrupt_never_arrives() -> None:
    m = booted("hyperv")
    assert m.hv_refuse_next(0x7D01, HvRefusal.CREATE) == 0
    (irq, *_) = vectors(m, "virtual function", 1)
    assert m.hv_refuse_next(0x7D01, HvRefusal.CREATE) == 0
    assert m.request_irq(irq) == 0 and not m.fire(irq)
    assert m.free_irq(irq) == 0 and m.request_irq(irq) == 0 and m.fire(irq)


def test_hyper_v_takes_a_device_and_a_bus_back() -> None:
    m = booted("hyperv")
    hbus = m.hv_buses[0x7D02]
    slot = m.pci_devs["nvme"].devfn
    irqs = vectors(m, "nvme", 2)
    assert m.pci_remove_device("nvme") == m.hv_pci_remove(0x7D02) == -errno.EBUSY
    assert len(irqs) == 2 and m.pci_free_irq_vectors("nvme") == 0
    assert m.pci_remove_device("nvme") == 0 and slot not in hbus.host.slots
    m.fail_next("new_pcichild_device")
    assert m.pci_add_device("nvme") == -errno.ENODEV
    assert m.pci_add_device("nvme") == 0 and m.pci_add_device("nvme") == -errno.EEXIST
    assert m.pci_devs["nvme"].msi_domain is hbus.irq_domain
    assert m.hv_pci_probe(0x7D02) == -errno.EBUSY
    assert m.hv_pci_remove(0x7D02) == 0 and "nvme" not in m.pci_devs
    assert m.hv_pci_remove(0x7D02) == -errno.ENODEV
    assert m.hv_pci_probe(0x7D02) == 0 and "nvme" in m.pci_devs


def test_hyper_v_loses_a_device_without_a_word() -> None:
    m = booted("hyperv")
    m.hv_buses[0x7D01].children.clear()
    assert m.pci_remove_device("virtual function") == 0
    assert "virtual function" not in m.pci_devs


def test_hvi_1_interrupts_of_the_io_apic_stay_on_cpus_that_it_can_name() -> None:
    m = booted("hyperv")
    assert m.set_affinity(0, 0b1000) == 0 and m.fire(0)
    assert m.set_affinity(0, 1) == 0 and m.fire(0)


# VMD


def test_vmd_4_children_share_the_vectors_of_their_vmd() -> None:
    m = booted("vmd")
    irqs = vectors(m, "nvme 0", 3)
    assert all(m.request_irq(irq) == 0 for irq in irqs)
    assert [len(irqs.irq_list) for irqs in m.vmds["vmd"].irqs] == [0, 2, 1]
    # A vector of the VMD calls all handlers on its list.
    parent = m.pci_irq_vector("vmd", 1)
    assert m.fire(parent)
    assert all(m.fire(irq) for irq in irqs)


def test_34_the_vectors_of_a_vmd_are_its_drivers() -> None:
    m = booted("vmd")
    irq = m.pci_irq_vector("vmd", 0)
    assert m.free_irq(irq) == m.request_irq(irq) == m.pci_free_irq_vectors("vmd") == -errno.EBUSY
    assert m.pci_remove_device("vmd") == -errno.EBUSY
    assert m.vmd_probe("vmd") == -errno.EBUSY
    (child, *_) = vectors(m, "port 0", 1)
    assert m.vmd_remove("vmd") == -errno.EBUSY
    assert m.request_irq(child) == 0 and m.fire(child) and m.free_irq(child) == 0
    assert m.pci_free_irq_vectors("port 0") == 0
    assert m.vmd_remove("vmd") == 0 and m.vmd_remove("vmd") == -errno.ENODEV
    assert not any(dev.segment == 0x10000 for dev in m.pci_devs.values())
    assert m.pci_add_device("nvme 1") == -errno.ENODEV
    assert m.pci_remove_device("vmd") == 0 and m.vmd_probe("vmd") == -errno.ENODEV
    assert m.pci_add_device("vmd") == 0 and m.vmd_probe("vmd") == 0
    assert m.pci_add_device("nvme 1") == 0


@pytest.mark.parametrize("site", ["vmd_probe", "pci_create_root_bus", "irq_domain_alloc_fwnode"])
def test_a_vmd_that_cannot_start_leaves_nothing(site: str) -> None:
    m = booted("vmd")
    assert m.vmd_remove("vmd") == 0
    before = footprint(m)
    m.fail_next(site)
    assert m.vmd_probe("vmd") < 0 and not m.vmds
    assert footprint(m) == before
    assert m.vmd_probe("vmd") == 0


def test_vmd_7_a_masked_child_does_not_signal() -> None:
    m = booted("vmd")
    (irq, *_) = vectors(m, "nvme 0", 1)
    assert not m.fire(irq)
    assert m.request_irq(irq) == 0 and m.fire(irq)
    assert m.disable_irq(irq) == 0 and not m.fire(irq)
    assert m.enable_irq(irq) == 0 and m.fire(irq)
    # Also where the VMD itself may not.
    assert m.pci_set_power_state("vmd", PciPower.D3HOT) == 0 and not m.fire(irq)


def test_two_vmds_number_their_segments_as_they_come() -> None:
    description = described("vmd")
    second = replace(description.devices[1], name="vmd 2", msix=2, devfn=0x0F << 3)
    first = description.vmds[0]
    both = replace(
        description,
        vmds=(first, replace(first, name="vmd 2", segment=0x10001)),
        devices=(*description.devices, second),
    )
    m = Machine(both)
    assert m.vmds.keys() == {"vmd", "vmd 2"}
    assert m.vmd_remove("vmd") == 0 and m.vmd_probe("vmd") == 0
    assert m.pci_devs["nvme 0"].segment == 0x10002
    (irq, *_) = vectors(m, "nvme 0", 1)
    assert m.request_irq(irq) == 0 and m.fire(irq)


# Message stores


@pytest.mark.parametrize("storage", ["array", "queue"])
def test_ims_subdevices_signal_out_of_the_store(storage: str) -> None:
    description = described("device-msi")
    m = Machine(replace(description, ims=(replace(description.ims[0], storage=storage),)))
    before = footprint(m)
    assert m.ims_alloc_irqs("accelerator", 0, 2) == m.ims_alloc_irqs("accelerator", 2, 1) == 0
    assert m.ims_alloc_irqs("accelerator", 0, 1) == -errno.EBUSY
    assert m.ims_alloc_irqs("accelerator", 3, 1) == -errno.ENODEV
    irqs = [m.ims_irq("accelerator", *place) for place in ((0, 0), (0, 1), (2, 0))]
    assert m.ims_irq("accelerator", 0, 2) == m.ims_irq("accelerator", 1, 0) == -errno.EINVAL
    assert not any(m.fire(irq) for irq in irqs)
    assert all(m.request_irq(irq) == 0 and m.fire(irq) for irq in irqs)
    assert all(m.set_affinity(irq, 0b1000) == 0 and m.fire(irq) for irq in irqs)
    assert m.ims_remove("accelerator") == -errno.EBUSY
    assert m.ims_free_irqs("accelerator", 0) == -errno.EBUSY
    assert all(m.free_irq(irq) == 0 and not m.fire(irq) for irq in irqs)
    assert m.ims_free_irqs("accelerator", 0) == m.ims_free_irqs("accelerator", 2) == 0
    assert footprint(m) == before


def test_ims_4_slots_end() -> None:
    m = booted("device-msi")
    before = footprint(m)
    assert m.ims_alloc_irqs("accelerator", 0, 5) == -errno.ENOSPC
    assert footprint(m) == before
    assert m.ims_alloc_irqs("accelerator", 0, 4) == 0
    assert m.ims_alloc_irqs("accelerator", 1, 1) == -errno.ENOSPC
    assert m.ims_free_irqs("accelerator", 0) == 0 and m.ims_alloc_irqs("accelerator", 1, 1) == 0


def test_ims_drivers_come_and_go() -> None:
    m = booted("device-msi")
    assert m.ims_probe("accelerator") == -errno.EBUSY
    assert m.pci_remove_device("accelerator") == -errno.EBUSY
    assert m.ims_remove("accelerator") == 0
    assert m.ims_alloc_irqs("accelerator", 0, 1) == -errno.ENODEV
    m.fail_next("ims_create_msi_irq_domain")
    assert m.ims_probe("accelerator") == -errno.ENXIO
    assert m.pci_remove_device("accelerator") == 0
    assert m.ims_probe("accelerator") == -errno.ENODEV
    assert m.pci_add_device("accelerator") == 0 and m.ims_probe("accelerator") == 0


def test_d5_a_guest_of_xen_has_no_subdevices() -> None:
    description = described("xen-dom0")
    ims = replace(described("device-msi").ims[0], name="nvme")
    assert not Machine(replace(description, ims=(ims,))).ims_drivers


def test_plt_platform_devices_signal() -> None:
    parts = (PlatformDeviceDescription("uart"), PlatformDeviceDescription("gpio", 0))
    m = Machine(replace(described("bare-metal"), platform_devices=parts))
    before = footprint(m)
    assert m.platform_msi_alloc_irqs("uart", 2) == m.platform_msi_alloc_irqs("gpio", 1) == 0
    assert m.platform_msi_alloc_irqs("uart", 1) == -errno.EBUSY
    irqs = [m.platform_msi_irq(*place) for place in (("uart", 0), ("uart", 1), ("gpio", 0))]
    assert m.platform_msi_irq("gpio", 1) == -errno.EINVAL
    assert not any(m.fire(irq) for irq in irqs)
    assert all(m.request_irq(irq) == 0 and m.fire(irq) for irq in irqs)
    assert all(m.set_affinity(irq, 0b100) == 0 for irq in irqs)
    assert all(m.fire(irq) and m.fire(irq) for irq in irqs)
    assert m.platform_msi_free_irqs("uart") == -errno.EBUSY
    assert all(m.free_irq(irq) == 0 and not m.fire(irq) for irq in irqs)
    assert m.platform_msi_free_irqs("uart") == m.platform_msi_free_irqs("gpio") == 0
    for cpu in range(4):
        m.cleanup_ipi(cpu)
    assert footprint(m) == before


# Xen


def pirq_of(m: Machine, irq: int) -> IrqInfo:
    info = m.irqs.descs[irq].irq_data.chip_data
    assert isinstance(info, IrqInfo)
    return info


@pytest.mark.parametrize("name", ["xen-dom0", "xen-domu", "xen-hvm"])
def test_xen_5_an_event_channel_lives_from_startup_to_shutdown(name: str) -> None:
    m = booted(name)
    assert m.xen is not None
    irqs = vectors(m, "nic" if name != "xen-dom0" else "nvme", 3)
    assert not m.xen.hypervisor.ports and not any(pirq_of(m, irq).evtchn for irq in irqs)
    assert all(m.request_irq(irq) == 0 and pirq_of(m, irq).evtchn for irq in irqs)
    assert len(m.xen.hypervisor.ports) == 3 and all(m.fire(irq) for irq in irqs)
    assert m.disable_irq(irqs[0]) == 0 and not m.fire(irqs[0])
    assert m.enable_irq(irqs[0]) == 0 and m.fire(irqs[0])
    assert all(m.free_irq(irq) == 0 for irq in irqs) and not m.xen.hypervisor.ports


@pytest.mark.parametrize("name", ["xen-dom0", "xen-domu", "xen-hvm"])
def test_xb_7_the_native_part_of_the_machine_notices_nothing(name: str) -> None:
    m = booted(name)
    before = footprint(m)
    for dev in with_messages(m):
        for irq in vectors(m, dev):
            assert m.request_irq(irq) == 0 and m.fire(irq)
    now = footprint(m)
    assert isinstance(now, tuple) and isinstance(before, tuple)
    # All but the irq numbers.
    assert now[:3] == before[:3]


@pytest.mark.parametrize("name", ["xen-dom0", "xen-domu", "xen-hvm"])
def test_9_3_teardown_gives_every_pirq_back(name: str) -> None:
    m = booted(name)
    assert m.xen is not None
    for dev in with_messages(m):
        vectors(m, dev)
    assert m.xen.hypervisor.pirqs and m.xen.pci.xen.xen_irq_list_head
    for dev in with_messages(m):
        assert m.pci_free_irq_vectors(dev) == 0
    assert not m.xen.hypervisor.pirqs and not m.xen.pci.xen.xen_irq_list_head


def test_xen_2_a_block_in_dom0_is_one_mapping() -> None:
    m = booted("xen-dom0")
    assert m.xen is not None
    irqs = vectors(m, "root port", 2)
    assert [pirq_of(m, irq).pirq for irq in irqs] == [
        pirq_of(m, irqs[0]).pirq,
        pirq_of(m, irqs[0]).pirq + 1,
    ]
    assert all(m.request_irq(irq) == 0 and m.fire(irq) for irq in irqs)
    # Only the first irq points to the descriptor.
    assert m.irqs.descs[irqs[0]].msi_desc is not None
    assert m.irqs.descs[irqs[1]].msi_desc is None


def test_38_an_interrupt_without_an_event_channel_counts_as_started() -> None:
    m = booted("xen-dom0")
    (irq, *_) = vectors(m, "sata", 1)
    assert m.xen_answer_next(Answer(err=-errno.ENOSPC)) == 0
    assert m.request_irq(irq) == 0 and not pirq_of(m, irq).evtchn and not m.fire(irq)


def test_xen_1_a_refusal_of_the_hypervisor_is_the_drivers_error() -> None:
    m = booted("xen-dom0")
    before = footprint(m)
    assert m.xen_answer_next(Answer(err=-errno.EPERM)) == 0
    assert m.pci_alloc_irq_vectors("sata", 1, 1, PCI_IRQ_MSI) == -errno.EPERM
    assert footprint(m) == before


def test_xb_11_46_a_device_with_short_messages_cannot_name_a_large_pirq() -> None:
    description = described("xen-hvm")
    assert description.xen is not None
    many = replace(description.xen, pirqs=1024)
    m = Machine(replace(description, xen=many))
    assert m.pci_add_device("sound") == 0
    (irq, *_) = vectors(m, "sound", 1)
    assert m.request_irq(irq) == 0 and not m.fire(irq)
    (irq, *_) = vectors(m, "disk", 1)
    assert m.request_irq(irq) == 0 and m.fire(irq)


def test_a_paravirtualised_guest_needs_its_first_cpu() -> None:
    m = booted("xen-dom0")
    assert m.cpu_down(0) == -errno.EBUSY and m.cpu_down(2) == m.cpu_up(2) == -errno.EINVAL
    assert m.cpu_down(1) == m.cpu_down(1) == 0 and m.cpu_up(1) == m.cpu_up(1) == 0


def test_xb_10_f17_children_of_a_vmd_in_dom0_cannot_be_masked() -> None:
    description = described("xen-dom0")
    vmd = described("vmd")
    both = replace(
        description,
        vmds=vmd.vmds,
        devices=(*description.devices, *(part for part in vmd.devices if part.name != "nic")),
        buses=(*description.buses, *(bus for bus in vmd.buses if bus.segment)),
    )
    m = Machine(both)
    assert m.pci_devs["nvme 0"].msi_domain is m.vmds["vmd"].irq_domain
    assert m.kernel.pci_msi_ignore_mask
    # The vectors of the VMD itself are pirqs.
    assert isinstance(pirq_of(m, m.pci_irq_vector("vmd", 0)), IrqInfo)


def test_managed_interrupts_of_a_guest_with_pirqs_are_no_vectors() -> None:
    m = booted("xen-domu")
    irqs = vectors(m, "nic", 2, PCI_IRQ_MSIX | PCI_IRQ_AFFINITY)
    assert all(m.chip_data(irq) is None for irq in irqs)


# What real machines printed


def test_vt_d_as_a_real_kernel_set_it_up() -> None:
    """Domains and entries as a kernel listed them on a machine with one unit (q35, VT-d)."""
    m = booted("vtd")
    names = {domain.name: domain for domain in m.domains.irq_domain_list}
    assert {"VECTOR", "INTEL-IR-1", "IO-APIC-IR-0", "DMAR-MSI"} <= names.keys()
    irqs = vectors(m, "nvme", 5)
    assert m.remapping is not None
    unit = next(each for each in m.remapping.intel.dmar.iommus if each.seq_id == 1)
    slots = [level.hwirq >> 16 for irq in irqs if (level := m.irqs.descs[irq].irq_data.parent_data)]
    # Entries follow one another; each verifies the exact id of the device, and before the
    # interrupt is requested each holds the vector that stands for none.
    assert slots == list(range(slots[0], slots[0] + 5))
    for slot in slots:
        low, high = unit.table.base[slot]
        assert high == 0x40000 | 0x10 and low & 0xFFFF == 0x000D and low >> 16 & 0xFF == 0xEF


def test_multi_msi_needs_a_parent_that_can() -> None:
    description = described("xen-domu")
    devices = tuple(replace(part, msi=MsiDescription(4)) for part in description.devices)
    m = Machine(replace(description, devices=devices))
    assert m.pci_alloc_irq_vectors("disk", 2, 4, PCI_IRQ_MSI) == -errno.ENOSPC
    assert m.pci_alloc_irq_vectors("disk", 1, 4, PCI_IRQ_MSI) == 1
