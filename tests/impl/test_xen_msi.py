# SPDX-License-Identifier: GPL-2.0-only
"""MSIs of Xen guests: what an interrupt is, and what each kind asks for."""

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
)
from impl.drivers.pci.pci import PciDev
from impl.drivers.xen.hypervisor import DOMID_SELF, Answer, MapPirqType
from impl.drivers.xen.irq_info import PIRQ_MSI_GROUP, XenIrqType
from tests.impl.support import events_of, names
from tests.impl.xen_support import (
    BYPASS,
    XenMachine,
    always,
    irqs_of,
    refuse,
    with_block,
    with_msix,
)

MSI, MSI_SEG, MULTI = MapPirqType.MSI, MapPirqType.MSI_SEG, MapPirqType.MULTI_MSI
OTHER_DOMAIN = 7


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
