# SPDX-License-Identifier: GPL-2.0-only
"""Whole runs of the native stack with every number: MSI-X, plain MSI, blocks, managed MSI-X."""

import errno

import pytest

from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    PCI_IRQ_AFFINITY,
    PCI_IRQ_MSI,
    PCI_IRQ_MSIX,
    pci_alloc_irq_vectors_affinity,
    pci_free_irq_vectors,
    pci_irq_vector,
)
from impl.drivers.pci.pci import pci_signal
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_CAN_RESERVE,
    IRQD_IRQ_STARTED,
    IRQD_MANAGED_SHUTDOWN,
    IRQD_MSI_NOMASK_QUIRK,
    MsiMsg,
)
from tests.impl.pci_support import PciMachine
from tests.impl.support import counters_agree, events_of, mask, names

SHUTDOWN = MsiMsg(0xFEE01004, 0, 0x40EF)
"""The message of an interrupt without a vector: vector 0xef of CPU 0, flat logical."""

ZERO = MsiMsg()


def two_cpus() -> PciMachine:
    """CPU 0 has 186 vectors left, as it holds the 15 of the PIC; CPU 1 has 201."""
    m = PciMachine(2)
    assert m.counters() == (387, 0, 15)
    return m


def test_14_2_msi_x_with_four_vectors_reserves_until_it_is_requested() -> None:
    m = two_cpus()
    before = m.footprint()
    dev = m.device(msix=4)
    assert dev.msix_cap is not None
    assert pci_alloc_irq_vectors_affinity(dev, 1, 4, PCI_IRQ_MSIX) == 4
    assert m.counters() == (387, 4, 15)
    irqs = [pci_irq_vector(dev, k) for k in range(4)]
    assert irqs == [24, 25, 26, 27]
    for k, irq in enumerate(irqs):
        irqd, apicd = m.irqd(irq), m.vector_level(irq)
        assert irqd.hwirq == dev.devid << 11 | k
        assert (apicd.has_reserved, apicd.can_reserve, apicd.vector) == (True, True, 0)
        assert not irqd.test(IRQD_ACTIVATED)
        assert irqd.test(IRQD_CAN_RESERVE)
        assert (dev.msix_cap.message(k), dev.msix_cap.masked(k)) == (SHUTDOWN, True)
    for k, irq in enumerate(irqs):
        assert m.request_irq(irq) == 0
        assert m.counters() == (387 - k - 1, 4 - k - 1, 15 + k + 1)
        apicd = m.vector_level(irq)
        # CPU 1 has more room, so it gets all four, from the lowest free vector on.
        assert (apicd.cpu, apicd.vector) == (1, 0x21 + k)
        message = MsiMsg(0xFEE02004, 0, 0x4021 + k)
        assert (dev.msix_cap.message(k), pci_signal(dev, k)) == (message, message)
        assert m.fire(irq)
    for k, irq in enumerate(irqs):
        assert m.free_irq(irq) == 0
        assert m.counters() == (383 + k + 1, k + 1, 19 - k - 1)
        assert (dev.msix_cap.message(k), dev.msix_cap.masked(k)) == (ZERO, True)
        assert m.vector_level(irq).has_reserved
    pci_free_irq_vectors(dev)
    assert m.footprint() == before
    assert not any(irq in m.irqs.descs for irq in irqs)
    assert counters_agree(m)


def test_14_3_plain_msi_without_a_mask_bit_keeps_its_vector() -> None:
    m = two_cpus()
    before = m.footprint()
    cap = MsiCap()
    dev = m.device(msi=cap)
    assert pci_alloc_irq_vectors_affinity(dev, 1, 1, PCI_IRQ_MSI) == 1
    irq = pci_irq_vector(dev, 0)
    irqd, apicd = m.irqd(irq), m.vector_level(irq)
    # The reservation came and went; the interrupt is FIXED, activated, and knows its quirk.
    assert m.counters() == (386, 0, 16)
    assert (apicd.cpu, apicd.vector, apicd.can_reserve, apicd.has_reserved) == (
        1,
        0x21,
        False,
        False,
    )
    assert irqd.test(IRQD_ACTIVATED) and not irqd.test(IRQD_CAN_RESERVE)
    assert irqd.test(IRQD_MSI_NOMASK_QUIRK)
    message = MsiMsg(0xFEE02004, 0, 0x4021)
    assert cap.message == message
    assert "vector_activate" not in names(events_of(m, lambda: m.request_irq(irq)))
    assert m.counters() == (386, 0, 16)
    assert m.free_irq(irq) == 0
    assert (cap.message, irqd.test(IRQD_ACTIVATED)) == (ZERO, False)
    assert m.counters() == (386, 0, 16)
    assert (apicd.cpu, apicd.vector) == (1, 0x21)
    # The vector is where the first mask that is tried wants it: nothing moves.
    assert m.request_irq(irq) == 0
    assert (apicd.cpu, apicd.vector, apicd.prev_vector) == (1, 0x21, 0)
    assert cap.message == message
    assert m.free_irq(irq) == 0
    # Another affinity meanwhile starts a move, and the old vector stays until it ends.
    assert m.set_affinity(irq, mask(0)) == 0
    assert m.request_irq(irq) == 0
    assert (apicd.cpu, apicd.vector) == (0, 0x21)
    assert (apicd.prev_cpu, apicd.prev_vector, apicd.move_in_progress) == (1, 0x21, True)
    assert cap.message == MsiMsg(0xFEE01004, 0, 0x4021)
    assert m.counters() == (385, 0, 17)
    assert m.fire(irq)
    assert m.cleanup_ipi(1)
    assert m.counters() == (386, 0, 16)
    assert m.free_irq(irq) == 0
    pci_free_irq_vectors(dev)
    assert m.footprint() == before


@pytest.mark.parametrize("n17", [False, True])
def test_14_3_a_device_that_is_given_up_at_once_gives_its_vector_back(n17: bool) -> None:
    m = PciMachine(2, defects=(Defect.N17,) if n17 else ())
    before = m.footprint()
    dev = m.device(msi=MsiCap())
    assert pci_alloc_irq_vectors_affinity(dev, 1, 1, PCI_IRQ_MSI) == 1
    irq = pci_irq_vector(dev, 0)
    events = names(events_of(m, lambda: pci_free_irq_vectors(dev)))
    assert ("irq_domain_deactivate_irq" in events) == (not n17)
    assert irq not in m.irqs.descs
    assert m.footprint() == before


def test_14_4_a_block_of_eight_shrinks_to_one() -> None:
    m = two_cpus()
    before = m.footprint()
    dev = m.device(msi=MsiCap(3))
    events = events_of(m, lambda: pci_alloc_irq_vectors_affinity(dev, 1, 8, PCI_IRQ_MSI))
    asked = [event.fields["nvec"] for event in events if event.name == "alloc_msi_entry"]
    answers = [event.fields["ret"] for event in events if event.name == "msi_domain_alloc_irqs"]
    assert (asked, answers) == ([8, 1], [1, 0])
    assert dev.msi_list[0].nvec_used == 1
    pci_free_irq_vectors(dev)
    assert m.footprint() == before
    assert pci_alloc_irq_vectors_affinity(dev, 2, 8, PCI_IRQ_MSI) == -errno.ENOSPC
    assert dev.msi_list == []
    assert m.footprint() == before


def test_14_5_managed_msi_x_follows_its_cpus() -> None:
    m = two_cpus()
    before = m.footprint()
    dev = m.device(msix=2)
    wanted = PCI_IRQ_MSIX | PCI_IRQ_AFFINITY
    assert pci_alloc_irq_vectors_affinity(dev, 1, 2, wanted) == 2
    # A bit on each CPU of each mask, and no reservation of the other kind.
    assert m.counters() == (385, 0, 15)
    assert [(cm.managed, cm.managed_allocated) for cm in m.matrix.maps] == [(1, 0), (1, 0)]
    irqs = [pci_irq_vector(dev, k) for k in range(2)]
    assert dev.msix_cap is not None
    for k, irq in enumerate(irqs):
        irqd = m.irqd(irq)
        assert irqd.test(IRQD_MANAGED_SHUTDOWN) and not irqd.test(IRQD_ACTIVATED)
        assert m.irqs.descs[irq].common.affinity == mask(k)
        assert dev.msix_cap.message(k) == SHUTDOWN
    for k, irq in enumerate(irqs):
        assert m.request_irq(irq) == 0
        irqd, apicd = m.irqd(irq), m.vector_level(irq)
        assert irqd.test(IRQD_IRQ_STARTED) and not irqd.test(IRQD_MANAGED_SHUTDOWN)
        assert apicd.cpu == k
        assert dev.msix_cap.message(k) == MsiMsg((0xFEE01004, 0xFEE02004)[k], 0, 0x4021)
    assert m.counters() == (385, 0, 17)
    # The last CPU of a mask goes: the bit is freed, its reservation stays.
    assert m.cpu_down(1) == 0
    irqd = m.irqd(irqs[1])
    assert irqd.test(IRQD_MANAGED_SHUTDOWN) and not irqd.test(IRQD_ACTIVATED | IRQD_IRQ_STARTED)
    assert (dev.msix_cap.message(1), dev.msix_cap.masked(1)) == (ZERO, True)
    assert (m.matrix.maps[1].managed, m.matrix.maps[1].managed_allocated) == (1, 0)
    # It returns: the interrupt starts again where it was.
    assert m.cpu_up(1) == 0
    assert irqd.test(IRQD_IRQ_STARTED) and not irqd.test(IRQD_MANAGED_SHUTDOWN)
    assert dev.msix_cap.message(1) == MsiMsg(0xFEE02004, 0, 0x4021)
    assert not dev.msix_cap.masked(1)
    for irq in irqs:
        assert m.free_irq(irq) == 0
    pci_free_irq_vectors(dev)
    assert m.footprint() == before


def test_14_5_a_request_without_a_cpu_succeeds_and_waits() -> None:
    m = two_cpus()
    dev = m.device(msix=2)
    assert pci_alloc_irq_vectors_affinity(dev, 2, 2, PCI_IRQ_MSIX | PCI_IRQ_AFFINITY) == 2
    irq = pci_irq_vector(dev, 1)
    assert m.cpu_down(1) == 0
    assert m.request_irq(irq) == 0
    irqd = m.irqd(irq)
    assert irqd.test(IRQD_MANAGED_SHUTDOWN) and not irqd.test(IRQD_ACTIVATED)
    assert dev.msix_cap is not None and dev.msix_cap.masked(1)
    assert m.cpu_up(1) == 0
    assert irqd.test(IRQD_IRQ_STARTED)
    assert m.vector_level(irq).cpu == 1


def test_x_3_no_two_started_interrupts_send_the_same_message() -> None:
    m = PciMachine(2)
    devices = [m.device(msix=8, devfn=8 * k) for k in range(8)]
    devices += [m.device(msi=MsiCap(), devfn=8 * k + 1) for k in range(8)]
    sent = set()
    count = 0
    for dev in devices:
        nvec = pci_alloc_irq_vectors_affinity(dev, 1, 8, PCI_IRQ_MSIX | PCI_IRQ_MSI)
        assert nvec > 0
        for k in range(nvec):
            assert m.request_irq(pci_irq_vector(dev, k)) == 0
            sent.add(pci_signal(dev, k))
            count += 1
    assert None not in sent
    assert len(sent) == count == 72


def test_x_2_more_devices_than_vectors_reserve_but_only_so_many_start() -> None:
    m = PciMachine(1)
    available = m.counters()[0]
    dev = m.device(msix=available + 10)
    assert pci_alloc_irq_vectors_affinity(dev, 1, 2048, PCI_IRQ_MSIX) == available + 10
    assert m.counters() == (available, available + 10, 15)
    results = [m.request_irq(pci_irq_vector(dev, k)) for k in range(available + 10)]
    assert results == [0] * available + [-errno.ENOSPC] * 10
    # One that is given back makes room for one that failed.
    assert m.free_irq(pci_irq_vector(dev, 0)) == 0
    assert m.request_irq(pci_irq_vector(dev, available)) == 0
