# SPDX-License-Identifier: GPL-2.0-only
"""Whole machines under Xen: what drivers do to them, and what the hypervisor answers."""

import errno
from dataclasses import replace

import pytest

from impl.drivers.pci.msi import PCI_IRQ_AFFINITY, PCI_IRQ_MSI, PCI_IRQ_MSIX
from impl.drivers.xen.hypervisor import Answer
from impl.drivers.xen.irq_info import IrqInfo
from impl.machine import Machine
from impl.machine_parts import MsiDescription
from tests.impl.machine_support import booted, described, footprint
from tests.impl.platform_support import (
    vectors,
    with_messages,
)


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


def test_multi_msi_needs_a_parent_that_can() -> None:
    description = described("xen-domu")
    devices = tuple(replace(part, msi=MsiDescription(4)) for part in description.devices)
    m = Machine(replace(description, devices=devices))
    assert m.pci_alloc_irq_vectors("disk", 2, 4, PCI_IRQ_MSI) == -errno.ENOSPC
    assert m.pci_alloc_irq_vectors("disk", 1, 4, PCI_IRQ_MSI) == 1
