# SPDX-License-Identifier: GPL-2.0-only
"""MSIs of Xen guests: their end, their restoration, and the hypervisor itself."""

import errno

import pytest

from impl.arch.x86.xen import XenKind
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_irq_vector,
)
from impl.drivers.pci.msi_access import pci_restore_msi_state
from impl.drivers.xen.events import xen_destroy_irq
from impl.drivers.xen.hypervisor import DOMID_SELF, Answer, Hypervisor, MapPirqType
from impl.kernel.kernel import KernelBug
from tests.impl.support import events_of, names
from tests.impl.xen_support import (
    BYPASS,
    XenMachine,
    irqs_of,
    refuse,
    with_block,
    with_msix,
    xen_names,
)

OTHER_DOMAIN = 7


# Teardown


@pytest.mark.parametrize("kind", BYPASS)
def test_xen_7_9_3_only_dom0_unmaps_and_once_per_descriptor(kind: XenKind) -> None:
    m = XenMachine(kind)
    dev = with_msix(m)
    pirqs = [m.info(irq).pirq for irq in irqs_of(dev)]
    m.quiesce(dev)
    expected = [(DOMID_SELF, pirq) for pirq in pirqs] if kind is XenKind.PV_DOM0 else []
    assert m.calls("unmap_pirq") == expected
    assert len(m.calls("disable_msix")) == (kind is XenKind.PV_DOMU)
    assert len(m.hypervisor.pirqs) == (3 if kind is XenKind.HVM_PIRQ else 0)


def test_xen_7_a_block_is_unmapped_once() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = with_block(m)
    first = m.info(dev.irq).pirq
    m.quiesce(dev)
    assert m.calls("unmap_pirq") == [(DOMID_SELF, first)]
    assert m.hypervisor.pirqs == {}


def test_xen_7_a_member_of_a_block_makes_no_hypercall() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = with_block(m)
    before = len(m.hypervisor.log)
    assert xen_destroy_irq(m.xen, dev.irq + 2) == -errno.ENOENT
    assert len(m.hypervisor.log) == before
    assert dev.irq + 2 not in m.live()


@pytest.mark.parametrize("kind", BYPASS)
def test_trap_36_success_outside_dom0_is_enoent(kind: XenKind) -> None:
    m = XenMachine(kind)
    (irq,) = irqs_of(with_msix(m, 1))
    assert xen_destroy_irq(m.xen, irq) == (0 if kind is XenKind.PV_DOM0 else -errno.ENOENT)
    assert (m.live(), m.irqs.irq_to_desc(irq)) == ([], None)


@pytest.mark.parametrize("early_exit", [False, True])
@pytest.mark.parametrize("error", [-errno.EPERM, -errno.ESRCH, -errno.EINVAL])
def test_xen_10_8_2_a_pirq_that_stays_keeps_its_irq_only_by_the_early_exit(
    early_exit: bool, error: int
) -> None:
    m = XenMachine(
        XenKind.PV_DOM0,
        refuse("physdev_unmap_pirq", error),
        defects={Defect.XEN_UNMAP} if early_exit else (),
    )
    dev = with_block(m)
    first = dev.irq
    m.quiesce(dev)
    # The members are freed all the same: only the first of the block asks for the unmapping.
    assert m.live() == ([first] if early_exit else [])
    assert (m.irqs.irq_to_desc(first) is not None) == early_exit
    assert len(m.hypervisor.pirqs) == 4
    assert dev.msi_list == []


@pytest.mark.parametrize("early_exit", [False, True])
def test_8_2_a_domain_that_is_gone_is_no_reason_to_keep_the_irq(early_exit: bool) -> None:
    m = XenMachine(XenKind.PV_DOM0, defects={Defect.XEN_UNMAP} if early_exit else ())
    m.hypervisor.create_domain(OTHER_DOMAIN)
    dev = m.device(msix=1)
    m.p.dev_domain_list[dev.id] = OTHER_DOMAIN
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    m.hypervisor.destroy_domain(OTHER_DOMAIN)
    m.quiesce(dev)
    assert m.hypervisor.log[-1].ret == -errno.ESRCH
    assert (m.live(), m.irqs.allocated_irqs >> 16) == ([], 0)


@pytest.mark.parametrize("f15", [False, True])
def test_f15_trap_43_the_teardown_clears_the_descriptors(f15: bool) -> None:
    m = XenMachine(XenKind.PV_DOM0, defects={Defect.F15} if f15 else ())
    dev = with_msix(m)
    irqs = irqs_of(dev)
    assert m.p.msi_ops is not None
    m.p.msi_ops.teardown_msi_irqs(dev)
    assert [desc.irq for desc in dev.msi_list] == (irqs if f15 else [0, 0, 0])
    if not f15:
        m.p.msi_ops.teardown_msi_irqs(dev)
        return
    # The stale numbers are those of the next device by now.
    victim = with_msix(m)
    assert irqs_of(victim) == irqs
    m.p.msi_ops.teardown_msi_irqs(dev)
    assert m.live() == []


@pytest.mark.parametrize("kind", BYPASS)
def test_trap_44_an_empty_list_is_a_fault(kind: XenKind) -> None:
    m = XenMachine(kind)
    dev = m.device(msix=1)
    assert dev.msi_domain is not None
    with pytest.raises(KernelBug):
        dev.msi_domain.host_data.ops.domain_alloc_irqs(dev.msi_domain, dev, 1)


def test_8_2_an_irq_of_another_kind_has_no_record() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    for irq in (1, 4711):
        with pytest.raises(KernelBug):
            xen_destroy_irq(m.xen, irq)


def test_trap_3_9_3_a_refused_setup_is_torn_down_at_the_backend() -> None:
    m = XenMachine(XenKind.PV_DOMU)
    dev = m.device(msi=MsiCap(1))
    assert pci_enable_msi_range(dev, 2, 2) == -errno.ENOSPC
    assert [call.op for call in m.hypervisor.log] == ["pci_op_disable_msi"]


def test_9_3_a_backend_that_does_not_disable_is_not_heard() -> None:
    m = XenMachine(XenKind.PV_DOMU, refuse("pci_op_disable_msix", -1))
    dev = with_msix(m)
    m.quiesce(dev)
    assert (m.live(), len(m.back.enabled)) == ([], 1)
    assert pci_enable_msix_range(dev, None, 3, 3) == -errno.EALREADY
    m.quiesce(dev)
    assert (m.hypervisor.pirqs, m.back.enabled) == ({}, {})


def test_the_backend_disables_what_it_enabled_first() -> None:
    m = XenMachine(XenKind.PV_DOMU)
    place = 0, 0, 9
    assert m.back.enable_msi(place).err == 0
    assert m.back.enable_msi(place).err == -5
    assert m.back.disable_msi(place) == 0
    assert m.hypervisor.pirqs == {}


# Restore


@pytest.mark.parametrize(
    ("answers", "calls", "warnings", "supported"),
    [
        ({}, ["physdev_restore_msi_ext"], 0, True),
        (
            {"physdev_restore_msi_ext": -errno.ENOSYS},
            ["physdev_restore_msi_ext", "physdev_restore_msi"],
            0,
            False,
        ),
        ({"physdev_restore_msi_ext": -errno.EINVAL}, ["physdev_restore_msi_ext"], 1, True),
        (
            {
                "physdev_restore_msi_ext": -errno.ENOSYS,
                "physdev_restore_msi": -errno.ENOSYS,
            },
            ["physdev_restore_msi_ext", "physdev_restore_msi"],
            0,
            False,
        ),
        (
            {"physdev_restore_msi_ext": -errno.ENOSYS, "physdev_restore_msi": -errno.EPERM},
            ["physdev_restore_msi_ext", "physdev_restore_msi"],
            1,
            False,
        ),
    ],
)
def test_8_7_xb_12_xen_8_dom0_restores_by_hypercall(
    answers: dict[str, int], calls: list[str], warnings: int, supported: bool
) -> None:
    m = XenMachine(XenKind.PV_DOM0, lambda request: Answer(answers.get(request.op, 0)))
    dev = with_msix(m)
    before = len(m.hypervisor.log)
    events = events_of(m, lambda: pci_restore_msi_state(dev))
    assert [call.op for call in m.hypervisor.log[before:]] == calls
    assert names(events).count("WARN") == warnings
    assert "pci_write_msi_msg" not in names(events)
    assert m.p.pci_seg_supported == supported


def test_8_7_once_segments_are_lost_the_old_call_is_used() -> None:
    m = XenMachine(XenKind.PV_DOM0, segments=False)
    dev = with_msix(m)
    before = len(m.hypervisor.log)
    pci_restore_msi_state(dev)
    assert [call.op for call in m.hypervisor.log[before:]] == ["physdev_restore_msi"]


@pytest.mark.parametrize("kind", [XenKind.PV_DOMU, XenKind.HVM_PIRQ])
def test_8_7_xb_12_the_others_write_what_they_remember(kind: XenKind) -> None:
    m = XenMachine(kind)
    dev = with_msix(m)
    before = len(m.hypervisor.log)
    events = events_of(m, lambda: pci_restore_msi_state(dev))
    messages = [event.fields for event in events if event.name == "pci_write_msi_msg"]
    assert len(messages) == 3
    assert all((each["data"] != 0) == (kind is XenKind.HVM_PIRQ) for each in messages)
    assert len(m.hypervisor.log) == before


# The hypervisor itself


def test_the_hypervisor_gives_the_highest_pirqs_in_a_row() -> None:
    hypervisor = Hypervisor(XenMachine(XenKind.NATIVE).kernel, pirqs=4)
    first = hypervisor.allocate_pirqs(DOMID_SELF, 1)
    assert first == 27
    assert hypervisor.physdev_get_free_pirq(MapPirqType.MSI) == (0, 27)
    assert hypervisor.allocate_pirqs(DOMID_SELF, 2) == 25
    assert hypervisor.allocate_pirqs(DOMID_SELF, 4) == -errno.ENOSPC
    assert hypervisor.allocate_pirqs(OTHER_DOMAIN, 1) == -errno.ESRCH
    hypervisor.release_pirq(27)
    assert hypervisor.pirqs == {}


def test_the_hypervisor_refuses_what_it_cannot_do() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    hypervisor = m.hypervisor
    assert hypervisor.physdev_unmap_pirq(DOMID_SELF, 30) == -errno.EINVAL
    assert hypervisor.evtchn_bind_pirq(30, 0)[0] == -errno.EINVAL
    assert hypervisor.evtchn_close(1) == -errno.EINVAL
    assert hypervisor.evtchn_bind_vcpu(1, 0) == -errno.EINVAL
    assert not hypervisor.signal_pirq(30)
    dev = with_msix(m, 1)
    pirq = m.info(pci_irq_vector(dev, 0)).pirq
    assert hypervisor.evtchn_bind_pirq(pirq, 0) == (0, 1)
    assert hypervisor.evtchn_bind_pirq(pirq, 0)[0] == -errno.EEXIST
    hypervisor.nr_ports = 2
    other = with_msix(m, 1)
    pirq = m.info(pci_irq_vector(other, 0)).pirq
    assert hypervisor.evtchn_bind_pirq(pirq, 0)[0] == -errno.ENOSPC


def test_every_request_is_logged_and_told() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = m.device(msix=1)
    events = events_of(m, lambda: pci_enable_msix_range(dev, None, 1, 1))
    (call,) = m.hypervisor.log
    (event,) = [event for event in events if event.name == call.op]
    assert event.fields == dict(call.args) | {"ret": call.ret, "value": call.out[0]}
    assert xen_names(events) == [
        "physdev_map_pirq",
        "xen_irq_init",
        "xen_irq_info_pirq_setup",
        "set_evtchn_to_irq",
        "irq_set_msi_desc",
        "xen_bind_pirq_msi_to_irq",
        "xen_initdom_setup_msi_irqs",
    ]
