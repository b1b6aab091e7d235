# SPDX-License-Identifier: GPL-2.0-only
"""Event channels: they are bound when an interrupt starts and closed when it is shut down."""

import errno

import pytest

from impl.arch.x86.xen import CANONICAL_GUESTS, XenKind
from impl.defects import Defect
from impl.drivers.pci.msi import pci_enable_msix_range
from impl.drivers.pci.pci import PciDev
from impl.drivers.xen.events import xen_destroy_irq, xen_evtchn_do_upcall
from impl.drivers.xen.hypervisor import Answer
from impl.drivers.xen.irq_info import (
    PIRQ_NEEDS_EOI,
    MaskReason,
    XenIrqType,
    xen_irq_info_pirq_setup,
)
from impl.kernel.irq.irq import IRQD_IRQ_STARTED, IRQD_SETAFFINITY_PENDING
from impl.kernel.irq.irqdesc import irq_free_descs
from impl.kernel.kernel import KernelBug
from tests.impl.support import events_of, mask, names
from tests.impl.xen_support import BYPASS, XenMachine, always, irqs_of, refuse, xen_names

PORT = 1


def requested(m: XenMachine) -> tuple[PciDev, int]:
    """A device with one vector that a driver has requested."""
    dev = m.device(msix=1)
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    (irq,) = irqs_of(dev)
    assert m.request_irq(irq) == 0
    return dev, irq


def raised(m: XenMachine, irq: int) -> int:
    """The device of `irq` signals: how many handlers ran."""
    assert m.hypervisor.signal_pirq(m.info(irq).pirq)
    return xen_evtchn_do_upcall(m.xen)


@pytest.mark.parametrize("kind", BYPASS)
def test_xen_5_trap_51_the_event_channel_lives_from_startup_to_shutdown(kind: XenKind) -> None:
    m = XenMachine(kind)
    dev, irq = requested(m)
    info = m.info(irq)
    assert (info.evtchn, m.xen.evtchn_to_irq[PORT]) == (PORT, irq)
    assert m.hypervisor.ports[PORT].pirq == info.pirq
    assert m.free_irq(irq) == 0
    assert (info.evtchn, m.hypervisor.ports) == (0, {})
    assert PORT not in m.xen.evtchn_to_irq
    assert m.request_irq(irq) == 0
    assert info.evtchn == PORT
    m.quiesce(dev)
    assert (m.live(), m.hypervisor.ports) == ([], {})


@pytest.mark.parametrize("kind", BYPASS)
def test_8_2_an_allocation_takes_no_event_channel(kind: XenKind) -> None:
    m = XenMachine(kind)
    assert pci_enable_msix_range(m.device(msix=3), None, 3, 3) == 3
    assert (m.calls("evtchn"), m.hypervisor.ports) == ([], {})
    assert {info.evtchn for info in m.xen.xen_irq_list_head} == {0}


@pytest.mark.parametrize("kind", BYPASS)
def test_trap_37_port_0_stands_for_the_last_irq_and_means_nothing(kind: XenKind) -> None:
    m = XenMachine(kind)
    dev = m.device(msix=3)
    assert pci_enable_msix_range(dev, None, 3, 3) == 3
    last = irqs_of(dev)[-1]
    assert m.xen.evtchn_to_irq == {0: last}
    m.quiesce(dev)
    assert m.xen.evtchn_to_irq == {0: last}
    assert xen_evtchn_do_upcall(m.xen) == 0


def test_8_2_a_start_binds_asks_for_the_flags_unmasks_and_ends() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = m.device(msix=1)
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    (irq,) = irqs_of(dev)
    events = xen_names(events_of(m, lambda: m.request_irq(irq)))
    assert events == [
        "evtchn_bind_pirq",
        "physdev_irq_status_query",
        "set_evtchn_to_irq",
        "bind_evtchn_to_cpu",
        "physdev_eoi",
        "startup_pirq",
        "evtchn_bind_vcpu",
        "bind_evtchn_to_cpu",
        "set_affinity_irq",
    ]
    info = m.info(irq)
    assert (info.flags, info.mask_reason) == (PIRQ_NEEDS_EOI, MaskReason.NONE)
    assert not m.hypervisor.ports[PORT].masked


@pytest.mark.parametrize("error", [-errno.EINVAL, -errno.EEXIST, -errno.ENOSPC])
def test_trap_38_a_refused_bind_is_swallowed(error: int) -> None:
    m = XenMachine(XenKind.PV_DOM0, always("evtchn_bind_pirq", Answer(error)))
    dev, irq = requested(m)
    assert m.irqd(irq).test(IRQD_IRQ_STARTED)
    assert (m.info(irq).evtchn, m.hypervisor.ports) == (0, {})
    assert not m.hypervisor.signal_pirq(m.info(irq).pirq)
    m.quiesce(dev)
    assert m.calls("close") == []


def test_trap_38_enabling_again_binds_again() -> None:
    m = XenMachine(XenKind.PV_DOM0, refuse("evtchn_bind_pirq", -errno.ENOSPC))
    _, irq = requested(m)
    assert m.disable_irq(irq) == 0
    assert m.enable_irq(irq) == 0
    assert m.info(irq).evtchn == PORT
    assert raised(m, irq) == 1


def test_8_2_without_memory_for_the_map_the_channel_is_closed_again() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = m.device(msix=1)
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    (irq,) = irqs_of(dev)
    m.fail_next("set_evtchn_to_irq")
    assert m.request_irq(irq) == 0
    assert (m.info(irq).evtchn, m.hypervisor.ports) == (0, {})
    assert m.calls("close") == [(PORT,)]


def test_8_2_a_port_behind_the_end_of_the_map_is_closed_again() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = m.device(msix=1)
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    (irq,) = irqs_of(dev)

    def shrink(request: object) -> Answer:
        m.hypervisor.nr_ports = 2 if "bind_pirq" in str(request) else 1
        return Answer()

    m.hypervisor.oracle = shrink
    assert m.request_irq(irq) == 0
    assert (m.info(irq).evtchn, m.hypervisor.ports) == (0, {})


def test_8_2_a_channel_that_does_not_close_is_a_bug() -> None:
    m = XenMachine(XenKind.PV_DOM0, always("evtchn_close", Answer(-errno.EINVAL)))
    _, irq = requested(m)
    with pytest.raises(KernelBug):
        m.free_irq(irq)


@pytest.mark.parametrize("refused", [False, True])
def test_8_2_an_end_is_told_to_a_hypervisor_that_wants_to_know(refused: bool) -> None:
    answer = Answer(-errno.EINVAL) if refused else Answer()
    m = XenMachine(XenKind.PV_DOM0, always("physdev_irq_status_query", answer))
    _, irq = requested(m)
    assert bool(m.info(irq).flags & PIRQ_NEEDS_EOI) != refused
    before = len(m.calls("eoi"))
    assert raised(m, irq) == 1
    assert len(m.calls("eoi")) == before + (not refused)


def test_8_2_a_refused_end_warns() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    _, irq = requested(m)
    m.hypervisor.oracle = always("physdev_eoi", Answer(-errno.EINVAL))
    assert names(events_of(m, lambda: raised(m, irq))).count("WARN") == 1


@pytest.mark.parametrize("kind", BYPASS)
def test_a_signal_reaches_the_handler_of_its_irq_alone(kind: XenKind) -> None:
    m = XenMachine(kind)
    dev = m.device(msix=2)
    assert pci_enable_msix_range(dev, None, 2, 2) == 2
    for irq in irqs_of(dev):
        assert m.request_irq(irq) == 0
    first, second = irqs_of(dev)
    assert raised(m, second) == 1
    assert m.hypervisor.signal_pirq(m.info(first).pirq)
    assert m.hypervisor.signal_pirq(m.info(second).pirq)
    assert xen_evtchn_do_upcall(m.xen) == 2
    assert xen_evtchn_do_upcall(m.xen) == 0


@pytest.mark.parametrize("kind", BYPASS)
def test_a_disabled_irq_is_masked_at_the_hypervisor_and_its_events_are_forgotten(
    kind: XenKind,
) -> None:
    m = XenMachine(kind)
    _, irq = requested(m)
    assert m.disable_irq(irq) == 0
    assert m.hypervisor.ports[PORT].masked
    assert raised(m, irq) == 0
    assert m.enable_irq(irq) == 0
    assert not m.hypervisor.ports[PORT].masked
    assert xen_evtchn_do_upcall(m.xen) == 0
    assert raised(m, irq) == 1


def test_a_retrigger_raises_the_event_again() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    _, irq = requested(m)
    irqd = m.irqd(irq)
    assert irqd.chip is not None and irqd.chip.irq_retrigger is not None
    assert irqd.chip.irq_retrigger(irqd) == 1
    assert xen_evtchn_do_upcall(m.xen) == 1
    assert m.free_irq(irq) == 0
    assert irqd.chip.irq_retrigger(irqd) == 0


def test_an_affinity_change_waits_for_the_next_event() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    _, irq = requested(m)
    assert m.set_affinity(irq, mask(1)) == 0
    assert m.irqd(irq).test(IRQD_SETAFFINITY_PENDING)
    assert m.hypervisor.ports[PORT].vcpu == 0
    assert raised(m, irq) == 1
    assert (m.hypervisor.ports[PORT].vcpu, m.info(irq).cpu) == (1, 1)
    common = m.irqd(irq).common
    assert (common.affinity, common.effective_affinity) == (mask(1), mask(1))
    assert not m.hypervisor.ports[PORT].masked


def test_a_refused_affinity_change_is_no_error() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    _, irq = requested(m)
    m.hypervisor.oracle = always("evtchn_bind_vcpu", Answer(-errno.EINVAL))
    assert m.set_affinity(irq, mask(1)) == 0
    assert raised(m, irq) == 1
    assert (m.hypervisor.ports[PORT].vcpu, m.info(irq).cpu) == (0, 0)
    assert m.irqd(irq).common.effective_affinity == mask(1)


def test_an_irq_without_an_event_channel_has_no_affinity() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = m.device(msix=1)
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    irqd = m.irqd(irqs_of(dev)[0])
    assert irqd.chip is not None and irqd.chip.irq_set_affinity is not None
    assert irqd.chip.irq_set_affinity(irqd, mask(1), False) == -errno.EPERM
    assert m.calls("bind_vcpu") == []


def test_without_a_callback_vector_events_stay_on_the_first_cpu() -> None:
    m = XenMachine(XenKind.HVM_PIRQ)
    assert CANONICAL_GUESTS[XenKind.HVM_PIRQ].have_vector_callback
    _, irq = requested(m)
    object.__setattr__(m.xen.guest, "have_vector_callback", False)
    try:
        irqd = m.irqd(irq)
        assert irqd.chip is not None and irqd.chip.irq_set_affinity is not None
        assert irqd.chip.irq_set_affinity(irqd, mask(1), False) == -errno.EPERM
    finally:
        object.__setattr__(m.xen.guest, "have_vector_callback", True)


def test_every_cpu_of_a_mask_can_be_asked_for_even_if_it_is_managed() -> None:
    """There are no managed vectors to reserve: a spread device gets plain interrupts."""
    m = XenMachine(XenKind.PV_DOM0)
    dev = m.device(msix=2)
    before = m.counters()
    assert pci_enable_msix_range(dev, None, 2, 2) == 2
    assert m.counters() == before
    for irq in irqs_of(dev):
        assert m.request_irq(irq) == 0
        for cpus in (mask(0), mask(1), mask(0, 1)):
            assert m.set_affinity(irq, cpus) == 0
            assert raised(m, irq) == 1
            assert m.irqd(irq).common.affinity == cpus


def test_8_2_a_record_of_another_type_is_a_bug() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    _, irq = requested(m)
    m.info(irq).type = XenIrqType.VIRQ
    with pytest.raises(KernelBug):
        xen_irq_info_pirq_setup(m.xen, irq, 30, 0, 0)
    with pytest.raises(KernelBug):
        m.free_irq(irq)


def test_8_2_a_shared_record_is_freed_with_a_warning() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev, irq = requested(m)
    assert m.free_irq(irq) == 0
    m.info(irq).refcnt = 2
    assert "WARN" in names(events_of(m, lambda: m.quiesce(dev)))
    assert m.live() == []


def test_8_2_a_legacy_irqs_descriptor_stays() -> None:
    m = XenMachine(XenKind.PV_DOM0, defects={Defect.F15})
    m.xen.nr_legacy_irqs = 32
    _, irq = requested(m)
    assert irq < 32
    assert m.free_irq(irq) == 0
    assert xen_destroy_irq(m.xen, irq) == 0
    assert m.irqs.irq_to_desc(irq) is not None
    irq_free_descs(m.irqs, irq, 1)
