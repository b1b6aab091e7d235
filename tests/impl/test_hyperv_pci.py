# SPDX-License-Identifier: GPL-2.0-only
"""Devices that Hyper-V passes through."""

import errno
from collections.abc import Callable, Iterable
from functools import partial

import pytest

from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.hyperv import (
    hv_pci_devices_present,
    hv_pci_eject_device,
    hv_pci_probe,
    hv_pci_remove,
)
from impl.drivers.pci.hyperv_host import (
    HV_STATUS_INVALID_PARAMETER,
    PCI_PROTOCOL_VERSION_1_1,
    PCI_PROTOCOL_VERSION_1_2,
    PCI_PROTOCOL_VERSION_1_3,
    HvHost,
    HvRefusal,
)
from impl.drivers.pci.hyperv_msi import HvBusState, HvPciBus, TranIntDesc, hv_pcibus_of
from impl.drivers.pci.msi import (
    PCI_IRQ_AFFINITY,
    PCI_IRQ_MSI,
    PCI_IRQ_MSIX,
    pci_alloc_irq_vectors_affinity,
    pci_free_irq_vectors,
    pci_irq_vector,
)
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.pci import PciBus, PciDev, pci_signal
from impl.drivers.pci.probe import pci_remove_bus_device
from impl.kernel.irq.irq import IRQD_ACTIVATED, IRQD_MSI_NOMASK_QUIRK, MsiMsg
from impl.kernel.irq.irqdomain import DomainBus
from impl.kernel.kernel import KernelBug
from impl.trace import Event
from tests.impl.pci_support import PciMachine
from tests.impl.support import events_of, mask

SEGMENT = 0x7D01
SLOT = 2


class HvMachine(PciMachine):
    """A guest with one bus of the host's, and a device on it."""

    def __init__(
        self,
        nr_cpus: int = 2,
        *,
        defects: Iterable[Defect] = (),
        protocol: int = PCI_PROTOCOL_VERSION_1_2,
        msi: MsiCap | None = None,
        msix: int = 8,
        address: int = 0xFEE00000,
        probe: bool = True,
    ) -> None:
        super().__init__(nr_cpus, defects=defects)
        self.host = HvHost(protocol, slots=(SLOT,), address=address)
        self.hbus = HvPciBus(self.x86, self.pci, self.host, SEGMENT)
        self.cap = msi
        self.nr_msix = msix
        if probe:
            assert hv_pci_probe(self.hbus, self.scan) == 0

    def scan(self, bus: PciBus) -> None:
        for slot in self.hbus.children:
            self.device(msi=self.cap, msix=self.nr_msix, bus=bus, devfn=slot)

    @property
    def dev(self) -> PciDev:
        assert self.hbus.pci_bus is not None
        return next(iter(self.hbus.pci_bus.devices.values()))

    def alloc(self, nvec: int, kind: int = PCI_IRQ_MSIX) -> list[int]:
        """The irqs of the device, which gets as many vectors."""
        assert pci_alloc_irq_vectors_affinity(self.dev, nvec, nvec, kind) == nvec
        return [pci_irq_vector(self.dev, nr) for nr in range(nvec)]

    def started(self, kind: int = PCI_IRQ_MSIX) -> int:
        """A requested interrupt of the device."""
        irq = self.alloc(1, kind)[0]
        assert self.request_irq(irq) == 0
        return irq

    def deliver(self, nr: int = 0) -> tuple[int, int] | None:
        """The device raises a vector: the CPU and the vector that the host leads it to."""
        msg = pci_signal(self.dev, nr)
        return None if msg is None else self.host.deliver(SLOT, msg)

    def place(self, irq: int) -> tuple[int, int]:
        level = self.vector_level(irq)
        return level.cpu, level.vector

    def mapped(self, irq: int) -> bool:
        return isinstance(self.irqd(irq).chip_data, TranIntDesc)


def block_machine(*defects: Defect) -> HvMachine:
    return HvMachine(4, defects=defects, msi=MsiCap(5, maskbit=True), msix=0)


def remove_all(bus: PciBus) -> None:
    for dev in tuple(bus.devices.values()):
        pci_free_irq_vectors(dev)
        pci_remove_bus_device(dev)


def of(events: Iterable[Event], *names: str) -> list[dict[str, int]]:
    return [event.fields for event in events if event.system == "hv" and event.name in names]


def hv_names(m: HvMachine, operation: Callable[[], object]) -> list[str]:
    """The exchanges with the host, in order."""
    exchanges = ("hv_create_interrupt", "hv_int_desc_free", "hv_irq_unmask")
    return [event.name for event in events_of(m, operation) if event.name in exchanges]


# The bus


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


# Devices that go


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


# Blocks


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
