# SPDX-License-Identifier: GPL-2.0-only
"""Whole machines whose devices have a host or a message store of their own."""

import errno
from dataclasses import replace

import pytest

from impl.drivers.pci.hyperv_host import HvRefusal
from impl.drivers.pci.pci import PciPower
from impl.machine import Machine
from impl.platform_parts import PlatformDeviceDescription
from tests.impl.machine_support import booted, described, footprint
from tests.impl.platform_support import (
    vectors,
)

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
