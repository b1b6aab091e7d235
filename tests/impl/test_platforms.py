# SPDX-License-Identifier: GPL-2.0-only
"""Whole machines of every platform: what drivers do to them, and that nothing of it stays."""

import errno
import random
from dataclasses import replace

import pytest

from impl.drivers.iommu.intel_irte import decode_ir_msi_msg, is_remappable
from impl.drivers.pci.hyperv_host import HvRefusal
from impl.drivers.pci.msi import PCI_IRQ_MSI, PCI_IRQ_MSIX
from impl.drivers.pci.pci import PciPower
from impl.drivers.xen.hypervisor import Answer
from impl.machine import Machine
from tests.impl.machine_support import booted, described, footprint, vector_level
from tests.impl.platform_support import (
    ORDERS,
    PLATFORMS,
    message,
    probing,
    vectors,
    with_messages,
)
from tests.impl.random_machine import laid_bare, step

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
