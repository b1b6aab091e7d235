# SPDX-License-Identifier: GPL-2.0-only
"""Messages of devices that Hyper-V passes through."""

import pytest

from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.hyperv_host import (
    HV_STATUS_INVALID_PARAMETER,
    PCI_PROTOCOL_VERSION_1_1,
    PCI_PROTOCOL_VERSION_1_2,
    PCI_PROTOCOL_VERSION_1_3,
    HvRefusal,
)
from impl.drivers.pci.msi import PCI_IRQ_AFFINITY, PCI_IRQ_MSI, PCI_IRQ_MSIX, pci_free_irq_vectors
from impl.drivers.pci.pci import pci_signal
from impl.kernel.irq.irq import IRQD_ACTIVATED, IRQD_MSI_NOMASK_QUIRK, MsiMsg
from impl.kernel.kernel import KernelBug
from tests.impl.hyperv_support import HvMachine, hv_names, of
from tests.impl.support import events_of, mask

# Messages


@pytest.mark.parametrize("protocol", [PCI_PROTOCOL_VERSION_1_2, PCI_PROTOCOL_VERSION_1_3])
def test_a_message_is_the_hosts_and_names_the_target(protocol: int) -> None:
    m = HvMachine(protocol=protocol)
    irq = m.alloc(1)[0]
    assert m.dev.msi_list[0].msg == MsiMsg(0xFEE00000, 0, 0)
    assert m.host.mappings[0].targets == [(mask(0), MANAGED_IRQ_SHUTDOWN_VECTOR)]
    events = events_of(m, lambda: m.request_irq(irq))
    level = m.vector_level(irq)
    created = of(events, "hv_create_interrupt")
    assert [(each["cpus"], each["vector"], each["count"]) for each in created] == [
        (mask(level.cpu), level.vector, 1)
    ]
    assert m.deliver() == m.place(irq)


def test_an_old_protocol_asks_for_any_cpu_and_retargets() -> None:
    m = HvMachine(protocol=PCI_PROTOCOL_VERSION_1_1)
    irq = m.alloc(1)[0]
    assert m.host.mappings[0].targets == [((1 << 64) - 1, MANAGED_IRQ_SHUTDOWN_VECTOR)]
    assert m.request_irq(irq) == 0
    assert m.host.mappings[0].targets == [(mask(m.place(irq)[0]), m.place(irq)[1])]


def test_an_address_of_64_bits_is_passed_on() -> None:
    m = HvMachine(address=0x12_FEE0_0000)
    m.started()
    assert m.dev.msi_list[0].msg == MsiMsg(0xFEE00000, 0x12, 0)
    assert m.deliver() is not None


def test_hvp_1_a_new_message_is_asked_for_only_when_the_old_one_is_back() -> None:
    m = HvMachine()
    irq = m.alloc(1)[0]
    assert hv_names(m, lambda: m.request_irq(irq)) == [
        "hv_int_desc_free",
        "hv_create_interrupt",
        "hv_irq_unmask",
    ]
    assert len(m.host.mappings) == 1
    assert m.free_irq(irq) == 0
    # Deactivation empties the device's message, not the host's mapping.
    assert m.dev.msi_list[0].msg == MsiMsg()
    assert len(m.host.mappings) == 1 and m.mapped(irq)
    assert m.request_irq(irq) == 0
    assert len(m.host.mappings) == 1 and m.deliver() == m.place(irq)


def test_hvp_2_one_delete_for_each_create() -> None:
    m = HvMachine()
    before = m.footprint()
    events = events_of(m, lambda: m.alloc(5))
    events += events_of(m, lambda: pci_free_irq_vectors(m.dev))
    assert len(of(events, "hv_create_interrupt")) == len(of(events, "hv_int_desc_free")) == 5
    assert (m.host.mappings, m.footprint()) == ({}, before)


def test_hvp_2_the_message_goes_back_before_the_vector() -> None:
    m = HvMachine()
    m.alloc(2)
    events = events_of(m, lambda: pci_free_irq_vectors(m.dev))
    told = [e.name for e in events if e.name in ("hv_int_desc_free", "vector_teardown")]
    assert told == ["hv_int_desc_free", "vector_teardown"] * 2


@pytest.mark.parametrize("refusal", [HvRefusal.SEND_CREATE, HvRefusal.CREATE, HvRefusal.GONE, None])
def test_hvp_5_without_a_message_the_activation_still_succeeds(refusal: HvRefusal | None) -> None:
    m = HvMachine()
    if refusal is None:
        m.fail_next("hv_compose_msi_msg")
    else:
        m.host.refuse_next(refusal)
    irq = m.alloc(1)[0]
    assert not m.mapped(irq)
    assert m.dev.msi_list[0].msg == MsiMsg()
    assert m.host.mappings == {}
    events = events_of(m, lambda: pci_free_irq_vectors(m.dev))
    assert of(events, "hv_int_desc_free", "hv_msi_free") == []


def test_hvp_5_an_interrupt_without_a_message_is_started_but_never_arrives() -> None:
    m = HvMachine()
    irq = m.alloc(1)[0]
    m.host.refuse_next(HvRefusal.CREATE)
    events = events_of(m, lambda: m.request_irq(irq))
    assert m.irqd(irq).test(IRQD_ACTIVATED) and not m.mapped(irq)
    # The old message is gone all the same, and there is nothing to retarget.
    assert m.host.mappings == {}
    assert [each["ret"] != 0 for each in of(events, "hv_irq_unmask")] == [True]
    assert pci_signal(m.dev, 0) == MsiMsg() and m.deliver() is None
    assert m.free_irq(irq) == 0 and m.request_irq(irq) == 0
    assert m.deliver() == m.place(irq)


def test_hvp_5_an_unknown_protocol_gives_no_message() -> None:
    m = HvMachine()
    m.hbus.protocol_version = 0x10009
    events = events_of(m, lambda: m.alloc(1))
    assert of(events, "hv_create_interrupt") == [] and m.host.mappings == {}
    composed = of(events, "hv_compose_msi_msg")
    assert [(each["mapped"], each["asked"]) for each in composed] == [(0, 1)]


def test_hvp_1_a_delete_that_is_not_sent_leaves_the_mapping_to_the_host() -> None:
    m = HvMachine()
    m.alloc(1)
    m.host.refuse_next(HvRefusal.SEND_DELETE)
    pci_free_irq_vectors(m.dev)
    assert len(m.host.mappings) == 1
    m.alloc(1)
    assert m.dev.msi_list[0].msg.data == 1


def test_without_an_online_cpu_the_target_is_out_of_bounds() -> None:
    m = HvMachine()
    irq = m.alloc(1)[0]
    m.irqd(irq).common.effective_affinity = 0
    domain = m.hbus.irq_domain
    assert domain is not None and domain.ops.activate is not None
    with pytest.raises(KernelBug, match="no online CPU"):
        domain.ops.activate(domain, m.irqd(irq), True)


# Retargeting


def test_a_move_is_told_when_the_interrupt_is_unmasked() -> None:
    m = HvMachine()
    irq = m.started()
    message = m.dev.msi_list[0].msg
    cpu = m.place(irq)[0]
    assert m.set_affinity(irq, mask(1 - cpu)) == 0
    assert m.deliver() == m.place(irq) and m.place(irq)[0] == cpu
    events = events_of(m, lambda: m.fire(irq))
    assert m.place(irq)[0] == 1 - cpu
    retargets = [(each["cpus"], each["ret"]) for each in of(events, "hv_irq_unmask")]
    assert retargets == [(mask(1 - cpu), 0)]
    assert m.deliver() == m.place(irq)
    assert m.dev.msi_list[0].msg == message and len(m.host.mappings) == 1


@pytest.mark.parametrize("refused", [True, False])
def test_a_host_that_does_not_retarget_is_not_obeyed_but_the_device_is_unmasked(
    refused: bool,
) -> None:
    m = HvMachine()
    irq = m.started()
    before = m.deliver()
    assert m.set_affinity(irq, mask(1 - m.place(irq)[0])) == 0
    if refused:
        m.host.refuse_next(HvRefusal.RETARGET)
    else:
        m.fail_next("hv_irq_unmask")
    events = events_of(m, lambda: m.fire(irq))
    expected = HV_STATUS_INVALID_PARAMETER if refused else 1
    assert [each["ret"] for each in of(events, "hv_irq_unmask")] == [expected]
    assert m.deliver() == before != m.place(irq)


def test_retargeting_a_message_that_the_host_does_not_know_fails() -> None:
    m = HvMachine()
    irq = m.started()
    m.host.mappings.clear()
    chip = m.irqd(irq).chip
    assert chip is not None and chip.irq_unmask is not None
    unmask = chip.irq_unmask
    events = events_of(m, lambda: unmask(m.irqd(irq)))
    assert [each["ret"] for each in of(events, "hv_irq_unmask")] == [HV_STATUS_INVALID_PARAMETER]


def test_a_managed_interrupt_waits_at_the_shutdown_vector() -> None:
    m = HvMachine(4)
    irqs = m.alloc(4, PCI_IRQ_MSIX | PCI_IRQ_AFFINITY)
    assert {mapping.targets[0][1] for mapping in m.host.mappings.values()} == {
        MANAGED_IRQ_SHUTDOWN_VECTOR
    }
    for nr, irq in enumerate(irqs):
        assert m.request_irq(irq) == 0
        assert m.deliver(nr) == m.place(irq)


# Reservation


def test_a_device_that_can_be_masked_reserves_until_it_is_requested() -> None:
    m = HvMachine()
    free = m.counters()[0]
    irqs = m.alloc(8)
    available, reserved, _ = m.counters()
    assert (available, reserved) == (free, 8)
    assert not any(m.irqd(irq).test(IRQD_ACTIVATED) for irq in irqs)


def test_a_device_that_cannot_be_masked_has_its_vector_at_once() -> None:
    m = HvMachine(msi=MsiCap(), msix=0)
    irq = m.alloc(1, PCI_IRQ_MSI)[0]
    assert m.irqd(irq).test(IRQD_ACTIVATED)
    assert m.vector_level(irq).vector != 0
    # Its message is the host's, and never torn.
    assert not m.irqd(irq).test(IRQD_MSI_NOMASK_QUIRK)
    assert hv_names(m, lambda: m.request_irq(irq)) == ["hv_irq_unmask"]
    assert m.deliver() == m.place(irq)
