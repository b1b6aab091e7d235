# SPDX-License-Identifier: GPL-2.0-only
"""Buses of Hyper-V and their devices come and go."""

import errno

import pytest

from impl.drivers.pci.hyperv import (
    hv_pci_devices_present,
    hv_pci_eject_device,
    hv_pci_probe,
    hv_pci_remove,
)
from impl.drivers.pci.hyperv_msi import HvBusState, hv_pcibus_of
from impl.drivers.pci.msi import pci_free_irq_vectors
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.pci import PciDev
from impl.drivers.pci.probe import pci_remove_bus_device
from impl.kernel.irq.irq import MsiMsg
from impl.kernel.irq.irqdomain import DomainBus
from impl.kernel.kernel import KernelBug
from tests.impl.hyperv_support import SLOT, HvMachine, of, remove_all
from tests.impl.support import events_of


def test_hvp_4_the_domain_is_the_buss_own_on_top_of_the_vector_domain() -> None:
    m = HvMachine()
    domain = m.hbus.irq_domain
    assert domain is not None and domain.bus_token == DomainBus.PCI_MSI
    assert domain.parent is m.vectors.x86_vector_domain
    assert m.dev.msi_domain is m.dev.bus.msi_domain is domain
    assert domain is not m.x86.pci_msi_default_domain
    assert not pci_dev_has_special_msi_domain(m.dev)
    assert hv_pcibus_of(m.dev) is m.hbus
    with pytest.raises(KernelBug, match="Hyper-V"):
        hv_pcibus_of(m.device())


def test_probing_and_removing_leave_nothing_behind() -> None:
    m = HvMachine(probe=False)
    before, fwnodes, buses = m.footprint(), set(m.domains.fwnodes), list(m.pci.pci_root_buses)
    assert hv_pci_probe(m.hbus, m.scan) == 0
    assert m.hbus.state is HvBusState.INSTALLED
    m.alloc(3)
    events = events_of(m, lambda: hv_pci_remove(m.hbus, remove_all))
    assert [event.name for event in events if event.system == "hv"][-1] == "hv_pci_remove"
    assert len(of(events, "hv_int_desc_free")) == 3
    assert (m.hbus.state, m.hbus.children, m.hbus.pci_bus) == (HvBusState.REMOVED, {}, None)
    assert (m.footprint(), m.domains.fwnodes, m.pci.pci_root_buses) == (before, fwnodes, buses)
    assert m.host.mappings == {}


@pytest.mark.parametrize(
    ("site", "ret"),
    [
        ("hv_pci_probe", -errno.ENOMEM),
        ("irq_domain_alloc_fwnode", -errno.ENOMEM),
        ("irq_domain_add", -errno.ENODEV),
        ("pci_create_root_bus", -errno.ENODEV),
    ],
)
def test_a_probe_that_fails_leaves_nothing_behind(site: str, ret: int) -> None:
    m = HvMachine(probe=False)
    before, fwnodes, buses = m.footprint(), set(m.domains.fwnodes), list(m.pci.pci_root_buses)
    m.fail_next(site)
    assert hv_pci_probe(m.hbus, m.scan) == ret
    assert (m.footprint(), m.domains.fwnodes, m.pci.pci_root_buses) == (before, fwnodes, buses)
    assert m.hbus.children == {}
    assert hv_pci_probe(m.hbus, m.scan) == 0


def test_a_host_of_another_age_is_refused() -> None:
    m = HvMachine(probe=False, protocol=0x20000)
    assert hv_pci_probe(m.hbus, m.scan) == -errno.EPROTO


def test_a_device_for_which_memory_is_short_is_not_noticed() -> None:
    m = HvMachine(probe=False)
    m.fail_next("new_pcichild_device")
    assert hv_pci_probe(m.hbus, m.scan) == 0
    assert m.hbus.pci_bus is not None
    assert (m.hbus.children, m.hbus.pci_bus.devices) == ({}, {})


def test_an_ejected_device_gives_its_messages_back() -> None:
    m = HvMachine()
    m.alloc(3)

    def remove(dev: PciDev) -> None:
        pci_free_irq_vectors(dev)
        pci_remove_bus_device(dev)

    events = events_of(m, lambda: hv_pci_eject_device(m.hbus, SLOT, remove))
    told = [event.name for event in events if event.system == "hv"]
    assert told == [
        "hv_pci_eject_device",
        *["hv_msi_free", "hv_int_desc_free"] * 3,
        "hv_eject_complete",
    ]
    assert (m.hbus.children, m.host.slots, m.host.mappings) == ({}, set(), {})
    assert of(events_of(m, lambda: hv_pci_eject_device(m.hbus, SLOT)), "hv_eject_complete") == []


def test_hvp_5_no_message_for_a_device_that_is_being_ejected() -> None:
    m = HvMachine()
    irq = m.alloc(1)[0]

    def late(dev: PciDev) -> None:
        assert m.request_irq(irq) == 0
        assert not m.mapped(irq) and dev.msi_list[0].msg == MsiMsg()

    hv_pci_eject_device(m.hbus, SLOT, late)
    assert m.host.mappings == {}


def test_nothing_is_given_back_for_a_device_that_has_vanished() -> None:
    m = HvMachine()
    irqs = m.alloc(2)
    before = m.counters()
    m.host.remove_slot(SLOT)
    hv_pci_devices_present(m.hbus, m.host.slots)
    assert m.hbus.children == {}
    assert m.request_irq(irqs[0]) == 0
    # Nobody can be asked for a message, so the old one stays with the interrupt.
    assert m.dev.msi_list[0].msg == MsiMsg() and m.mapped(irqs[0])
    assert m.free_irq(irqs[0]) == 0
    events = events_of(m, lambda: pci_free_irq_vectors(m.dev))
    assert [each["present"] for each in of(events, "hv_msi_free")] == [0, 0]
    assert of(events, "hv_int_desc_free") == []
    assert m.counters()[1] == before[1] - 2
    hv_pci_eject_device(m.hbus, SLOT)


def test_a_device_may_come_back() -> None:
    m = HvMachine()
    m.host.remove_slot(SLOT)
    hv_pci_devices_present(m.hbus, m.host.slots)
    m.host.slots.add(SLOT)
    hv_pci_devices_present(m.hbus, m.host.slots)
    irq = m.started()
    assert m.deliver() == m.place(irq)
