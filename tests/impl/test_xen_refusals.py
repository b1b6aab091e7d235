# SPDX-License-Identifier: GPL-2.0-only
"""MSIs of Xen guests: every refusal, every shortage, and what is undone."""

import errno

import pytest

from impl.arch.x86.xen import XenKind
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    pci_enable_msi_range,
    pci_enable_msix_range,
)
from impl.drivers.xen.hypervisor import Answer
from impl.kernel.kernel import KernelBug
from tests.impl.support import events_of, names
from tests.impl.xen_support import (
    BYPASS,
    XenMachine,
    always,
    irqs_of,
    refuse,
    with_msix,
)

# Failed binds


@pytest.mark.parametrize("leak", [False, True])
@pytest.mark.parametrize("site", ["alloc_desc", "set_evtchn_to_irq"])
@pytest.mark.parametrize("nth", [1, 2, 4])
def test_8_2_8_3_7_trap_42_a_failed_bind_undoes_the_irqs_and_the_mapping(
    leak: bool, site: str, nth: int
) -> None:
    m = XenMachine(XenKind.PV_DOM0, defects={Defect.XEN_LEAK} if leak else ())
    dev = m.device(msi=MsiCap(5))
    before = m.footprint()
    m.fail_next(site, nth)
    assert pci_enable_msi_range(dev, 4, 4) == -errno.ENOMEM
    assert (m.live(), m.footprint()) == ([], before)
    assert len(m.hypervisor.pirqs) == (4 if leak else 0)
    assert len(m.calls("unmap_pirq")) == (0 if leak else 1)


@pytest.mark.parametrize("leak", [False, True])
def test_xen_4_trap_42_only_the_failing_descriptors_mapping_leaks(leak: bool) -> None:
    m = XenMachine(XenKind.PV_DOM0, defects={Defect.XEN_LEAK} if leak else ())
    dev = m.device(msix=3)
    m.fail_next("alloc_desc", 3)
    assert pci_enable_msix_range(dev, None, 3, 3) == -errno.ENOSPC
    assert m.live() == []
    assert len(m.hypervisor.pirqs) == leak


def test_8_3_7_a_refused_undo_keeps_the_mapping() -> None:
    m = XenMachine(XenKind.PV_DOM0, refuse("physdev_unmap_pirq", -errno.EPERM))
    m.fail_next("alloc_desc")
    assert pci_enable_msi_range(m.device(msi=MsiCap()), 1, 1) == -errno.ENOMEM
    assert (m.live(), len(m.hypervisor.pirqs)) == ([], 1)


@pytest.mark.parametrize("site", ["alloc_desc", "set_evtchn_to_irq"])
def test_trap_42_an_hvm_guest_has_no_way_to_return_a_pirq(site: str) -> None:
    m = XenMachine(XenKind.HVM_PIRQ)
    dev = m.device(msi=MsiCap())
    m.fail_next(site)
    assert pci_enable_msi_range(dev, 1, 1) == -errno.ENOMEM
    assert (m.live(), len(m.hypervisor.pirqs)) == ([], 1)
    assert [call.op for call in m.hypervisor.log] == ["physdev_get_free_pirq"]


@pytest.mark.parametrize("site", ["alloc_desc", "set_evtchn_to_irq"])
@pytest.mark.parametrize("nth", [1, 2])
def test_8_3_a_domus_failed_bind_is_undone_by_the_teardown(site: str, nth: int) -> None:
    m = XenMachine(XenKind.PV_DOMU)
    dev = m.device(msix=2)
    m.fail_next(site, nth)
    # What got an irq before the failure is asked for again.
    assert pci_enable_msix_range(dev, None, 2, 2) == (-errno.ENOMEM if nth == 1 else -errno.ENOSPC)
    assert (m.live(), m.hypervisor.pirqs, m.back.enabled) == ([], {}, {})
    assert [call.op for call in m.hypervisor.log] == ["pci_op_enable_msix", "pci_op_disable_msix"]


@pytest.mark.parametrize("kind", BYPASS)
def test_8_2_the_kernel_stops_without_memory_for_a_record(kind: XenKind) -> None:
    m = XenMachine(kind)
    m.fail_next("xen_irq_init")
    with pytest.raises(KernelBug):
        pci_enable_msi_range(m.device(msi=MsiCap()), 1, 1)


# The other kinds' refusals


@pytest.mark.parametrize("error", [-errno.ENOSYS, -errno.ENOSPC])
def test_8_3_an_hvm_guest_without_a_pirq_has_no_device(error: int) -> None:
    m = XenMachine(XenKind.HVM_PIRQ, always("physdev_get_free_pirq", Answer(error)))
    dev = m.device(msi=MsiCap())

    def twice() -> None:
        for _ in range(2):
            assert pci_enable_msi_range(dev, 1, 1) == -errno.ENODEV

    warnings = names(events_of(m, twice)).count("WARN")
    assert warnings == (error == -errno.ENOSYS)
    assert m.live() == []


def test_8_3_a_domu_without_a_frontend() -> None:
    m = XenMachine(XenKind.PV_DOMU)
    m.p.xen_pci_frontend = None
    assert pci_enable_msi_range(m.device(msi=MsiCap()), 1, 1) == -errno.ENOSYS
    assert pci_enable_msix_range(m.device(msix=1), None, 1, 1) == -errno.ENOSYS
    assert (m.live(), m.hypervisor.log) == ([], [])


def test_8_3_a_domu_without_memory_asks_nobody() -> None:
    m = XenMachine(XenKind.PV_DOMU)
    m.fail_next("xen_setup_msi_irqs")
    assert pci_enable_msi_range(m.device(msi=MsiCap()), 1, 1) == -errno.ENOMEM
    assert m.calls("enable") == []


@pytest.mark.parametrize("answer", [Answer(-1), Answer(-4), Answer(retry=-3), Answer(invalid=True)])
def test_8_3_any_error_of_enable_msi_is_einval(answer: Answer) -> None:
    m = XenMachine(XenKind.PV_DOMU, always("pci_op_enable_msi", answer))
    assert pci_enable_msi_range(m.device(msi=MsiCap()), 1, 1) == -errno.EINVAL
    assert m.live() == []


@pytest.mark.parametrize("error", [-1, -2, -3, -4, -5, -errno.EALREADY])
def test_trap_41_the_backends_numbers_reach_the_driver(error: int) -> None:
    m = XenMachine(XenKind.PV_DOMU, always("pci_op_enable_msix", Answer(error)))
    assert pci_enable_msix_range(m.device(msix=2), None, 2, 2) == error


def test_trap_41_xen_9_a_value_of_the_backend_is_a_number_to_retry_with() -> None:
    m = XenMachine(XenKind.PV_DOMU)
    left = [2]
    m.hypervisor.oracle = lambda request: (
        Answer(retry=left.pop()) if request.op == "pci_op_enable_msix" and left else Answer()
    )
    dev = m.device(msix=4)
    assert pci_enable_msix_range(dev, None, 1, 4) == 2
    assert [args[-1] for args in m.calls("enable_msix")] == [4, 2]
    assert len(m.live()) == 2


def test_8_3_an_invalid_pirq_for_one_entry_is_einval() -> None:
    m = XenMachine(XenKind.PV_DOMU, always("pci_op_enable_msix", Answer(invalid=True)))
    dev = m.device(msix=2)
    assert pci_enable_msix_range(dev, None, 2, 2) == -errno.EINVAL
    assert (m.live(), m.hypervisor.pirqs, m.back.enabled) == ([], {}, {})


@pytest.mark.parametrize(("nvec", "ret"), [(128, 128), (129, -errno.EINVAL)])
def test_8_3_the_shared_page_has_room_for_128_entries(nvec: int, ret: int) -> None:
    m = XenMachine(XenKind.PV_DOMU)
    assert pci_enable_msix_range(m.device(msix=256), None, nvec, nvec) == ret
    assert len(m.calls("enable_msix")) == (ret > 0)


def test_8_3_the_backend_hands_out_the_pirqs_of_the_entries_in_order() -> None:
    m = XenMachine(XenKind.PV_DOMU)
    dev = with_msix(m)
    pirqs = [m.info(irq).pirq for irq in irqs_of(dev)]
    assert pirqs == list(m.back.enabled[0, 0, dev.devfn])
    assert [m.hypervisor.pirqs[pirq].entry_nr for pirq in pirqs] == [0, 1, 2]


def test_the_backend_runs_out_of_pirqs() -> None:
    m = XenMachine(XenKind.PV_DOMU)
    m.hypervisor.nr_pirqs = 26
    dev = m.device(msix=3)
    assert pci_enable_msix_range(dev, None, 3, 3) == -5
    assert m.hypervisor.pirqs == {}
    assert pci_enable_msix_range(dev, None, 2, 2) == 2
