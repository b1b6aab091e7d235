# SPDX-License-Identifier: GPL-2.0-only
"""MSIs of Xen guests: what each kind asks for, every refusal, and what is left behind."""

import errno

import pytest

from impl.arch.x86.xen import XenKind
from impl.arch.x86.xen_message import compose_pirq_msg, decode_pirq_msg
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    pci_alloc_irq_vectors_affinity,
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_irq_vector,
)
from impl.drivers.pci.msi_access import pci_restore_msi_state
from impl.drivers.pci.pci import PciDev
from impl.drivers.xen.events import xen_destroy_irq
from impl.drivers.xen.hypervisor import DOMID_SELF, Answer, Hypervisor, MapPirqType
from impl.drivers.xen.irq_info import PIRQ_MSI_GROUP, XenIrqType
from impl.kernel.kernel import KernelBug
from tests.impl.support import events_of, names
from tests.impl.xen_support import (
    BYPASS,
    XenMachine,
    always,
    irqs_of,
    refuse,
    xen_names,
)

MSI, GSI, MSI_SEG, MULTI = MapPirqType.MSI, MapPirqType.GSI, MapPirqType.MSI_SEG, 4
OTHER_DOMAIN = 7


def with_msix(m: XenMachine, nvec: int = 3) -> PciDev:
    dev = m.device(msix=nvec)
    assert pci_enable_msix_range(dev, None, nvec, nvec) == nvec
    return dev


def with_block(m: XenMachine, nvec: int = 4) -> PciDev:
    dev = m.device(msi=MsiCap(5))
    assert pci_enable_msi_range(dev, nvec, nvec) == nvec
    return dev


# What an interrupt is


@pytest.mark.parametrize("kind", BYPASS)
def test_xen_1_an_irq_has_no_domain_and_xens_chip(kind: XenKind) -> None:
    m = XenMachine(kind)
    for irq in irqs_of(with_msix(m)):
        irqd, info = m.irqd(irq), m.info(irq)
        assert (irqd.domain, irqd.parent_data, irqd.hwirq) == (None, None, 0)
        assert irqd.chip is m.xen.xen_pirq_chip and irqd.chip.name == "xen-pirq"
        assert (info.type, info.gsi, info.irq) == (XenIrqType.PIRQ, 0, irq)
        assert irqd.desc.handler_name == "edge"


def test_xen_2_a_block_has_consecutive_irqs_and_pirqs() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = with_block(m)
    infos = [m.info(irq) for irq in irqs_of(dev)]
    assert [info.pirq for info in infos] == [infos[0].pirq + k for k in range(4)]
    assert [info.flags for info in infos] == [0] + [PIRQ_MSI_GROUP] * 3
    assert {info.domid for info in infos} == {DOMID_SELF}
    assert m.calls("map_pirq") == [(DOMID_SELF, MULTI, 0, dev.devfn, 4, 0)]


def test_trap_45_only_the_first_irq_of_a_block_points_back() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = with_block(m)
    (desc,) = dev.msi_list
    backs = [m.irqs.descs[irq].msi_desc for irq in irqs_of(dev)]
    assert backs == [desc, None, None, None]


@pytest.mark.parametrize("kind", [XenKind.PV_DOMU, XenKind.HVM_PIRQ])
def test_xen_3_xen_9_other_guests_answer_one_and_touch_nothing(kind: XenKind) -> None:
    m = XenMachine(kind)
    dev = m.device(msi=MsiCap(3))
    assert pci_enable_msi_range(dev, 2, 8) == -errno.ENOSPC
    enables = [call.op for call in m.hypervisor.log if "disable" not in call.op]
    assert (enables, m.live(), dev.msi_list) == ([], [], [])
    assert pci_enable_msi_range(dev, 1, 8) == 1
    assert dev.msi_list[0].nvec_used == 1


@pytest.mark.parametrize("error", [-errno.EINVAL, -errno.ENOSYS, -errno.ENOSPC, -errno.EPERM])
def test_xen_3_xen_9_a_block_that_cannot_be_mapped_is_asked_for_as_one(error: int) -> None:
    m = XenMachine(XenKind.PV_DOM0, refuse("physdev_map_pirq", error))
    dev = m.device(msi=MsiCap(5))
    assert pci_enable_msi_range(dev, 1, 8) == 1
    assert [args[1] for args in m.calls("map_pirq")] == [MULTI, MSI_SEG]
    assert m.p.pci_seg_supported


def test_xen_3_an_old_hypervisor_gives_one_vector_without_a_segment() -> None:
    m = XenMachine(XenKind.PV_DOM0, segments=False)
    dev = m.device(msi=MsiCap(5))
    assert pci_enable_msi_range(dev, 1, 8) == 1
    assert [args[1] for args in m.calls("map_pirq")] == [MULTI, MSI_SEG, MSI]
    second = m.device(msi=MsiCap(5))
    assert pci_enable_msi_range(second, 1, 8) == 1
    assert [args[1] for args in m.calls("map_pirq")][3:] == [MSI]


# The message of a fully virtualised guest


@pytest.mark.parametrize("pirq", [0, 1, 24, 255, 256, 0xFFFF, 0x10000, 0xDEADBEEF])
def test_xen_6_8_4_a_message_names_its_pirq(pirq: int) -> None:
    lo, hi, data = compose_pirq_msg(pirq)
    assert decode_pirq_msg(lo, hi, data) == pirq
    assert data == 0x4300
    assert lo & 0xFFF00FFF == 0xFEE00000
    assert decode_pirq_msg(lo, hi, data | 0x31) == -1


def test_xen_6_xb_11_one_write_per_descriptor_before_the_bind() -> None:
    m = XenMachine(XenKind.HVM_PIRQ)
    dev = m.device(msix=2)
    events = names(events_of(m, lambda: pci_enable_msix_range(dev, None, 2, 2)))
    steps = ("physdev_get_free_pirq", "pci_write_msi_msg", "xen_bind_pirq_msi_to_irq")
    assert [name for name in events if name in steps] == list(steps) * 2
    for desc in dev.msi_list:
        assert decode_pirq_msg(*desc.msg) == m.info(desc.irq).pirq
        assert dev.msix_cap is not None
        assert dev.msix_cap.message(desc.msi_attrib.entry_nr) == desc.msg


@pytest.mark.parametrize("kind", [XenKind.PV_DOM0, XenKind.PV_DOMU])
def test_xb_11_a_pv_guest_writes_no_message(kind: XenKind) -> None:
    m = XenMachine(kind)
    dev = m.device(msix=2, msi=MsiCap())

    def use() -> None:
        assert pci_enable_msix_range(dev, None, 2, 2) == 2
        for irq in irqs_of(dev):
            assert m.request_irq(irq) == 0
        m.quiesce(dev)
        assert pci_enable_msi_range(dev, 1, 1) == 1
        m.quiesce(dev)

    assert "pci_write_msi_msg" not in names(events_of(m, use))


@pytest.mark.parametrize("no_64bit", [False, True])
def test_trap_46_a_high_pirq_needs_a_64_bit_message(no_64bit: bool) -> None:
    m = XenMachine(XenKind.HVM_PIRQ)
    dev = m.device(msi=MsiCap(), no_64bit_msi=no_64bit)
    ret = pci_enable_msi_range(dev, 1, 1)
    assert ret == (-errno.EIO if no_64bit else 1)
    assert max(m.hypervisor.pirqs) >= 256
    assert len(m.live()) == (not no_64bit)


def test_trap_46_a_low_pirq_does_not() -> None:
    m = XenMachine(XenKind.HVM_PIRQ)
    m.hypervisor.nr_pirqs = 256
    dev = m.device(msi=MsiCap(is_64=False), no_64bit_msi=True)
    assert pci_enable_msi_range(dev, 1, 1) == 1
    assert decode_pirq_msg(*dev.msi_list[0].msg) == 255


def test_8_4_a_32_bit_device_loses_the_upper_part_of_a_high_pirq() -> None:
    m = XenMachine(XenKind.HVM_PIRQ)
    dev = m.device(msi=MsiCap(is_64=False))
    assert pci_enable_msi_range(dev, 1, 1) == 1
    assert dev.msi_cap is not None
    pirq = m.info(dev.irq).pirq
    assert decode_pirq_msg(*dev.msi_cap.message) == pirq & 0xFF != pirq


def test_trap_39_sixteen_bits_of_a_pirq_are_kept() -> None:
    m = XenMachine(XenKind.HVM_PIRQ)
    m.hypervisor.nr_pirqs = 0x10010
    dev = with_msix(m, 1)
    irq = dev.msi_list[0].irq
    assert m.info(irq).pirq == 0xF
    assert decode_pirq_msg(*dev.msi_list[0].msg) == 0x1000F


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("msix", [False, True])
def test_xen_stale_pirq_every_setup_reserves_a_pirq_of_its_own(stale: bool, msix: bool) -> None:
    m = XenMachine(XenKind.HVM_PIRQ, defects={Defect.XEN_STALE_PIRQ} if stale else ())
    first, second = (m.device(msix=msix, msi=None if msix else MsiCap()) for _ in range(2))

    def enable(dev: PciDev) -> int:
        if msix:
            return pci_enable_msix_range(dev, None, 1, 1)
        return pci_enable_msi_range(dev, 1, 1)

    assert enable(first) == 1
    pirq = m.info(irqs_of(first)[0]).pirq
    m.quiesce(first)
    m.hypervisor.release_pirq(pirq)
    assert enable(second) == enable(first) == 1
    pirqs = [m.info(irq).pirq for irq in m.live()]
    assert pirqs[0] == pirq
    assert (pirqs[1] == pirq) == stale


# The initial domain's requests


def test_8_3_dom0_maps_with_segment_entry_and_table() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = m.device(msix=4, bus=m.bus(2, segment=3), devfn=0x18)
    m.p.msix_tables[dev.id] = 0xFE000000
    assert pci_alloc_irq_vectors_affinity(dev, 2, 2, 4) == 2
    assert m.calls("map_pirq") == [
        (DOMID_SELF, MSI_SEG, 2 | 3 << 16, 0x18, entry, 0xFE000000) for entry in range(2)
    ]


def test_8_3_dom0_names_the_owner_of_a_device_that_was_given_away() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    m.hypervisor.create_domain(OTHER_DOMAIN)
    dev = m.device(msix=1)
    m.p.dev_domain_list[dev.id] = OTHER_DOMAIN
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    assert [args[0] for args in m.calls("map_pirq")] == [OTHER_DOMAIN]
    assert m.info(dev.msi_list[0].irq).domid == OTHER_DOMAIN
    assert len(m.hypervisor.spaces[OTHER_DOMAIN]) == 1
    m.quiesce(dev)
    assert m.calls("unmap_pirq")[0][0] == OTHER_DOMAIN
    assert m.hypervisor.spaces == {DOMID_SELF: {}, OTHER_DOMAIN: {}}


def test_8_3_dom0_refuses_a_table_without_an_address() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = m.device(msix=1)
    m.p.msix_tables[dev.id] = 0
    assert pci_enable_msix_range(dev, None, 1, 1) == -errno.EINVAL
    assert m.hypervisor.log == []


def test_xen_8_trap_40_the_loss_of_segments_is_for_good() -> None:
    m = XenMachine(XenKind.PV_DOM0, refuse("physdev_map_pirq", -errno.EINVAL))
    first, second = m.device(msi=MsiCap()), m.device(msi=MsiCap(), bus=m.bus(1, segment=1))
    assert pci_enable_msi_range(first, 1, 1) == 1
    assert [args[1] for args in m.calls("map_pirq")] == [MSI_SEG, MSI]
    assert not m.p.pci_seg_supported
    assert pci_enable_msi_range(second, 1, 1) == -errno.EINVAL
    assert len(m.calls("map_pirq")) == 2


@pytest.mark.parametrize("error", [-errno.EINVAL, -errno.ENOSPC])
def test_xen_8_the_retry_decides_whether_segments_are_known(error: int) -> None:
    m = XenMachine(XenKind.PV_DOM0, refuse("physdev_map_pirq", -errno.EINVAL, error))
    dev = m.device(msi=MsiCap())
    assert pci_enable_msi_range(dev, 1, 1) == error
    assert m.p.pci_seg_supported == (error == -errno.EINVAL)


def test_8_3_a_device_of_another_segment_is_not_retried() -> None:
    m = XenMachine(XenKind.PV_DOM0, refuse("physdev_map_pirq", -errno.EINVAL))
    dev = m.device(msi=MsiCap(), bus=m.bus(0, segment=1))
    assert pci_enable_msi_range(dev, 1, 1) == -errno.EINVAL
    assert len(m.calls("map_pirq")) == 1
    assert m.p.pci_seg_supported


@pytest.mark.parametrize("error", [-errno.ENOSYS, -errno.EPERM, -errno.ENODEV])
def test_8_3_any_other_error_of_the_hypervisor_reaches_the_driver(error: int) -> None:
    m = XenMachine(XenKind.PV_DOM0, always("physdev_map_pirq", Answer(error)))
    assert pci_enable_msi_range(m.device(msi=MsiCap()), 1, 1) == error
    assert pci_enable_msix_range(m.device(msix=2), None, 1, 2) == error


def test_1_2_msi_x_that_fails_in_the_middle_is_retried_with_what_there_was() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    served = iter([0, 0, -errno.ENOSPC])
    m.hypervisor.oracle = lambda request: (
        Answer(next(served, 0)) if request.op == "physdev_map_pirq" else Answer()
    )
    dev = m.device(msix=4)
    assert pci_enable_msix_range(dev, None, 1, 4) == 2
    assert (len(m.live()), len(m.hypervisor.pirqs)) == (2, 2)
    m.quiesce(dev)
    assert (m.live(), m.hypervisor.pirqs) == ([], {})


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
    assert hypervisor.physdev_get_free_pirq(MSI) == (0, 27)
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
