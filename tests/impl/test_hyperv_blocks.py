# SPDX-License-Identifier: GPL-2.0-only
"""Blocks of vectors of devices that Hyper-V passes through, and what v5.10 makes of them."""

import errno
from functools import partial

import pytest

from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR
from impl.defects import Defect
from impl.drivers.pci.hyperv_host import HvRefusal
from impl.drivers.pci.msi import (
    PCI_IRQ_MSI,
    pci_alloc_irq_vectors_affinity,
    pci_free_irq_vectors,
    pci_irq_vector,
)
from tests.impl.hyperv_support import SLOT, HvMachine, block_machine, hv_names, of
from tests.impl.support import events_of, mask


def test_a_block_is_asked_for_once_and_retargeted_one_by_one() -> None:
    m = block_machine()
    events = events_of(m, lambda: m.alloc(4, PCI_IRQ_MSI))
    created = of(events, "hv_create_interrupt")
    assert [(each["count"], each["vector"]) for each in created] == [(4, 32)]
    irqs = [pci_irq_vector(m.dev, nr) for nr in range(4)]
    for cpu, irq in enumerate(irqs):
        assert m.set_affinity(irq, mask(cpu)) == 0
        assert hv_names(m, partial(m.request_irq, irq)) == ["hv_irq_unmask"]
    assert [m.deliver(nr) for nr in range(4)] == [m.place(irq) for irq in irqs]
    assert [m.place(irq)[0] for irq in irqs] == [0, 1, 2, 3]
    assert len(m.host.mappings) == 1


def test_hvp_2_a_block_is_given_back_once() -> None:
    m = block_machine()
    before = m.footprint()
    m.alloc(4, PCI_IRQ_MSI)
    events = events_of(m, lambda: pci_free_irq_vectors(m.dev))
    assert len(of(events, "hv_msi_free")) == 4
    assert len(of(events, "hv_int_desc_free")) == 1
    assert (m.host.mappings, m.footprint()) == ({}, before)


def test_blocks_are_asked_for_on_one_cpu_after_the_other() -> None:
    m = block_machine()
    cpus = []
    for _ in range(5):
        events = events_of(m, lambda: m.alloc(2, PCI_IRQ_MSI))
        cpus += [each["cpus"] for each in of(events, "hv_create_interrupt")]
        pci_free_irq_vectors(m.dev)
    assert cpus == [1, 2, 4, 8, 1]


def test_a_block_keeps_its_message_from_one_request_to_the_next() -> None:
    m = block_machine()
    irqs = m.alloc(2, PCI_IRQ_MSI)
    message = m.dev.msi_list[0].msg
    for irq in irqs:
        assert m.request_irq(irq) == 0
    assert m.free_irq(irqs[0]) == 0
    assert m.request_irq(irqs[0]) == 0
    assert m.dev.msi_list[0].msg == message
    assert [m.deliver(nr) for nr in range(2)] == [m.place(irq) for irq in irqs]


def test_hvp_5_a_block_without_a_message_is_dead_as_a_whole() -> None:
    m = block_machine()
    m.host.refuse_next(HvRefusal.CREATE)
    irqs = m.alloc(2, PCI_IRQ_MSI)
    assert m.host.mappings == {}
    assert [m.mapped(irq) for irq in irqs] == [False, True]
    assert m.request_irq(irqs[1]) == 0
    assert m.deliver(1) is None
    assert m.free_irq(irqs[1]) == 0
    events = events_of(m, lambda: pci_free_irq_vectors(m.dev))
    assert of(events, "hv_int_desc_free") == []


def test_hvp_3_in_v5_10_a_block_is_never_allocated() -> None:
    m = block_machine(Defect.HV_PREPARE)
    assert pci_alloc_irq_vectors_affinity(m.dev, 4, 4, PCI_IRQ_MSI) == -errno.ENOSPC
    assert pci_alloc_irq_vectors_affinity(m.dev, 1, 4, PCI_IRQ_MSI) == 1
    assert m.request_irq(m.dev.irq) == 0
    assert m.deliver() == m.place(m.dev.irq)


def test_asking_once_for_each_vector_loses_the_others() -> None:
    m = block_machine(Defect.HV_COMPOSE)
    m.host.slots.add(5)
    m.host.create_interrupt(5, 50, 1, 1)
    irqs = m.alloc(2, PCI_IRQ_MSI)
    assert [len(mapping.targets) for mapping in m.host.mappings.values()] == [1, 1, 1]
    for irq in irqs:
        assert m.request_irq(irq) == 0
    # The host's numbers need not suit the device, which counts in the low bits of the first.
    assert m.deliver(1) != m.place(irqs[1])
    assert m.host.deliver(SLOT, m.irqd(irqs[1]).chip_data.msg) == m.place(irqs[1])


def test_retargeting_by_the_devices_message_moves_the_first_vector() -> None:
    m = block_machine(Defect.HV_UNMASK)
    irqs = m.alloc(2, PCI_IRQ_MSI)
    for irq in irqs:
        assert m.request_irq(irq) == 0
    assert m.deliver(0) == m.place(irqs[1])
    assert m.deliver(1) != m.place(irqs[1])


@pytest.mark.parametrize("broken", [True, False])
def test_a_message_that_is_reused_stays_where_the_host_does_not_retarget(broken: bool) -> None:
    m = HvMachine(defects=(Defect.HV_REUSE,) if broken else ())
    m.host.retargets = False
    irq = m.started()
    assert (m.deliver() == m.place(irq)) == (not broken)
    if broken:
        assert m.deliver() == (0, MANAGED_IRQ_SHUTDOWN_VECTOR)
