# SPDX-License-Identifier: GPL-2.0-only
"""Platform MSI: devids and hwirqs, and what a failure leaves."""

import errno
from typing import Any

import pytest

from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.defects import Defect
from impl.drivers.base.platform_msi import (
    DEV_ID_SHIFT,
    MAX_DEV_MSIS,
    platform_msi_alloc_priv_data,
    platform_msi_calc_hwirq,
    platform_msi_create_irq_domain,
    platform_msi_desc,
    platform_msi_domain_alloc_irqs,
)
from impl.kernel.device import Device
from impl.kernel.irq.chip import irq_chip_compose_msi_msg
from impl.kernel.irq.handle import generic_handle_irq_desc
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_SETAFFINITY_PENDING,
    IrqChip,
    MsiMsg,
)
from impl.kernel.irq.irqdomain import DomainBus, irq_find_mapping
from impl.kernel.irq.msi import (
    MSI_FLAG_ACTIVATE_EARLY,
    MSI_FLAG_LEVEL_CAPABLE,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.irq.msi_desc import MsiDesc, alloc_msi_entry
from impl.kernel.kernel import KernelBug
from tests.impl.platform_msi_support import DEFAULTS, PlatformMachine, indices_of, irqs_of, priv_of
from tests.impl.support import events_of, mask


def test_the_domain_is_completed_and_marked() -> None:
    m = PlatformMachine()
    assert m.msi.bus_token == DomainBus.PLATFORM_MSI
    assert m.msi.name == "PLATFORM-MSI-4"
    chip, ops = m.info.chip, m.info.ops
    assert chip is not None and ops is not None
    for op in ("irq_ack", "irq_eoi", "irq_mask", "irq_set_affinity", "irq_write_msi_msg"):
        assert getattr(chip, op) is not None
    assert ops.set_desc is not None and ops.msi_init is not None


def test_the_domain_keeps_what_its_owner_brings() -> None:
    def set_desc(arg: IrqAllocInfo, desc: MsiDesc) -> None:
        arg.desc, arg.hwirq = desc, 77

    seen: list[MsiMsg] = []
    chip = IrqChip(
        "OWN",
        irq_ack=lambda irqd: None,
        irq_mask=lambda irqd: None,
        irq_unmask=lambda irqd: None,
        irq_write_msi_msg=lambda irqd, msg: seen.append(msg),
    )
    m = PlatformMachine(chip=chip, ops=MsiDomainOps(set_desc=set_desc))
    (irq,) = irqs_of(m.with_irqs(1))
    assert irq_find_mapping(m.domains, m.msi, 77) == irq
    assert m.request_irq(irq) == 0
    assert seen and not m.stored


def test_without_the_flags_nothing_is_completed() -> None:
    m = PlatformMachine(flags=0)
    assert m.info.chip is not None and m.info.chip.irq_write_msi_msg is None
    assert m.info.ops is not None and m.info.ops.set_desc is None
    with pytest.raises(KernelBug):
        m.alloc(m.device(), 1)


@pytest.mark.parametrize(
    "info",
    [
        MsiDomainInfo(flags=MSI_FLAG_USE_DEF_DOM_OPS),
        MsiDomainInfo(flags=MSI_FLAG_USE_DEF_CHIP_OPS, ops=MsiDomainOps()),
    ],
)
def test_defaults_without_anything_to_complete_are_a_bug(info: MsiDomainInfo) -> None:
    m = PlatformMachine()
    with pytest.raises(KernelBug):
        platform_msi_create_irq_domain(m.domains, None, info, None)


def test_no_domain_without_memory() -> None:
    m = PlatformMachine()
    m.fail_next("irq_domain_add")
    info = MsiDomainInfo(flags=DEFAULTS, ops=MsiDomainOps(), chip=m.chip())
    assert platform_msi_create_irq_domain(m.domains, None, info, m.msi.parent) is None


def test_levels_are_refused_with_a_warning() -> None:
    m = PlatformMachine()
    info = MsiDomainInfo(flags=DEFAULTS | MSI_FLAG_LEVEL_CAPABLE, ops=MsiDomainOps(), chip=m.chip())
    events = events_of(
        m, lambda: platform_msi_create_irq_domain(m.domains, None, info, m.msi.parent)
    )
    assert [event.name for event in events].count("WARN") == 1
    assert info.flags == DEFAULTS


def test_plt_1_live_devices_have_devids_of_their_own() -> None:
    m = PlatformMachine()
    devs = [m.with_irqs(1) for _ in range(3)]
    assert [priv_of(dev.msi_list[0]).devid for dev in devs] == [0, 1, 2]
    m.free(devs[1])
    assert m.platform.devids == 0b101
    assert priv_of(m.with_irqs(1).msi_list[0]).devid == 1


def test_plt_1_the_devids_end() -> None:
    m = PlatformMachine()
    m.platform.devids = (1 << (1 << DEV_ID_SHIFT)) - 1 & ~(1 << 5)
    dev = m.with_irqs(1)
    assert priv_of(dev.msi_list[0]).devid == 5
    assert m.alloc(m.device(), 1) == -errno.ENOSPC


def test_plt_2_the_hwirq_is_devid_and_index() -> None:
    m = PlatformMachine()
    first, second = m.with_irqs(2), m.with_irqs(2)
    for devid, dev in enumerate((first, second)):
        for index, desc in enumerate(dev.msi_list):
            hwirq = devid << 11 | index
            assert platform_msi_calc_hwirq(desc) == hwirq
            assert irq_find_mapping(m.domains, m.msi, hwirq) == desc.irq
            assert m.irqs.descs[desc.irq].irq_data.hwirq == hwirq


def test_plt_2_the_hwirq_is_injective_below_2048() -> None:
    m = PlatformMachine()
    desc = m.with_irqs(1).msi_list[0]
    priv, place = priv_of(desc), platform_msi_desc(desc)
    seen = set()
    for devid in (0, 1, 2, 1023, (1 << DEV_ID_SHIFT) - 1):
        for index in (0, 1, 1024, MAX_DEV_MSIS - 1):
            priv.devid, place.msi_index = devid, index
            hwirq = platform_msi_calc_hwirq(desc)
            assert hwirq >> 32 == 0 and divmod(hwirq, MAX_DEV_MSIS) == (devid, index)
            seen.add(hwirq)
    assert len(seen) == 20
    # An index beyond belongs to somebody else.
    priv.devid, place.msi_index = 2, MAX_DEV_MSIS
    assert platform_msi_calc_hwirq(desc) == 3 << 11


def test_plt_2_trap_53_x86_without_the_default_set_desc_has_room_for_one() -> None:
    m = PlatformMachine(defects={Defect.PLT_OPS})
    dev = m.with_irqs(1)
    assert m.irqs.descs[irqs_of(dev)[0]].irq_data.hwirq == 0
    assert m.alloc(m.device(), 1) == -errno.ENOSPC


def test_plt_3_a_device_has_one_helping() -> None:
    m = PlatformMachine()
    dev = m.with_irqs(2)
    before = m.books(), irqs_of(dev)
    assert m.alloc(dev, 1) == -errno.EBUSY
    assert (m.books(), irqs_of(dev)) == before
    m.free(dev)
    assert m.alloc(dev, 1) == 0


def test_plt_4_a_device_gets_what_it_asks_for() -> None:
    m = PlatformMachine()
    dev = m.with_irqs(4)
    assert indices_of(dev) == [0, 1, 2, 3]
    for desc in dev.msi_list:
        assert desc.irq and m.irqs.descs[desc.irq].msi_desc is desc
        assert m.irqs.descs[desc.irq].irq_data.domain is m.msi
        assert m.irqs.descs[desc.irq].handler_name == "edge"
    # Without early activation nothing is stored before the request.
    assert not m.stored


def test_12_3_a_message_is_composed_below_and_stored_by_the_driver() -> None:
    m = PlatformMachine()
    dev = m.with_irqs(2)
    irq = irqs_of(dev)[1]
    events = events_of(m, lambda: m.request_irq(irq))
    ret, msg = irq_chip_compose_msi_msg(m.irqs.descs[irq].irq_data)
    assert ret == 0 and m.stored == {(dev.id, 1): msg}
    writes = [event.fields for event in events if event.name == "platform_msi_write_msg"]
    # One by the activation, one by the choice of a CPU.
    assert len(writes) == 2
    assert writes[-1] == {
        "irq": irq,
        "desc": dev.msi_list[1].id,
        "address_lo": msg.address_lo,
        "address_hi": msg.address_hi,
        "data": msg.data,
    }
    assert m.log[-1] == "unmask"
    assert m.free_irq(irq) == 0
    assert m.stored == {(dev.id, 1): MsiMsg()} and m.log[-1] == "mask"


def refused(m: PlatformMachine, dev: Device, nvec: int, **kwargs: Any) -> int:
    before = m.books(), list(dev.msi_list)
    write = kwargs.get("write", m.write)
    ret = platform_msi_domain_alloc_irqs(m.platform, dev, nvec, write)
    assert (m.books(), dev.msi_list) == before
    return ret


def test_plt_5_12_2_refusals_in_their_order() -> None:
    m = PlatformMachine()
    dev = m.device()
    for nvec in (-1, 0, MAX_DEV_MSIS + 1):
        assert refused(m, dev, nvec) == -errno.EINVAL
    assert refused(m, dev, 1, write=None) == -errno.EINVAL
    homeless = m.device()
    homeless.msi_domain = None
    assert refused(m, homeless, 1) == -errno.EINVAL
    stranger = m.device()
    stranger.msi_domain = m.vectors.x86_vector_domain
    events = events_of(m, lambda: refused(m, stranger, 1))
    assert [(event.name, event.fields) for event in events] == [
        ("dev_err", {"device": stranger.id})
    ]
    # Who has descriptors and is wrong in another way, too, is wrong first.
    busy = m.with_irqs(1)
    assert refused(m, busy, 0) == -errno.EINVAL
    m.fail_next("platform_msi_alloc_priv_data")
    assert refused(m, busy, 1) == -errno.EBUSY
    assert refused(m, dev, 1) == -errno.ENOMEM
    m.kernel.failures.clear()
    assert m.alloc(dev, 1) == 0


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_plt_5_descriptors_without_memory(nth: int) -> None:
    m = PlatformMachine()
    m.fail_next("alloc_msi_entry", nth)
    assert refused(m, m.device(), 3) == -errno.ENOMEM


@pytest.mark.parametrize("site", ["alloc_desc", "alloc_apic_chip_data"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_plt_5_a_failure_in_the_middle_leaves_nothing(site: str, nth: int) -> None:
    m = PlatformMachine()
    m.fail_next(site, nth)
    dev = m.device()
    assert refused(m, dev, 3) == -errno.ENOSPC
    assert m.alloc(dev, 3) == 0


def test_plt_5_the_rollback_hole_keeps_irqs_whose_descriptors_are_gone() -> None:
    m = PlatformMachine(defects={Defect.PLT_ROLLBACK})
    dev = m.device()
    m.fail_next("alloc_desc", 3)
    assert m.alloc(dev, 3) == -errno.ENOSPC
    assert m.platform.devids == 0 and dev.msi_list == []
    left = [irq for irq, desc in m.irqs.descs.items() if desc.msi_desc is not None]
    assert len(left) == 2 and m.msi.mapcount == 2
    # The next owner of the devid meets them.
    assert m.alloc(m.device(), 1) == -errno.ENOSPC


def test_plt_5_a_failed_early_activation_has_rolled_back_already() -> None:
    for defects in ((), (Defect.PLT_ROLLBACK,)):
        m = PlatformMachine(flags=DEFAULTS | MSI_FLAG_ACTIVATE_EARLY, defects=defects)
        assert m.alloc(m.device(), 8) == 0
        before = m.books()
        dev = m.device()
        assert m.alloc(dev, 1) == -errno.ENOSPC
        assert (m.books(), dev.msi_list) == (before, [])


@pytest.mark.parametrize("answer", [-errno.ENODEV, 3])
def test_plt_5_refusals_of_the_domain_come_through(answer: int) -> None:
    m = PlatformMachine(ops=MsiDomainOps(msi_check=lambda domain, info, dev: answer))
    assert refused(m, m.device(), 5) == answer


def test_plt_6_the_private_data_is_freed_last() -> None:
    m = PlatformMachine()
    dev = m.with_irqs(2)
    names = [event.name for event in events_of(m, lambda: m.free(dev))]
    assert names[-1] == "platform_msi_free_priv_data"
    assert names.count("free_msi_entry") == 2
    assert m.platform.devids == 0 and dev.msi_list == []


def test_plt_6_trap_52_the_devid_used_to_go_first() -> None:
    m = PlatformMachine(defects={Defect.PLT_FREE})
    dev = m.with_irqs(2)
    names = [event.name for event in events_of(m, lambda: m.free(dev))]
    assert names[0] == "platform_msi_free_priv_data"
    assert m.platform.devids == 0 and m.msi.mapcount == 0


@pytest.mark.parametrize(
    ("defects", "use_after_free"),
    [
        (frozenset[Defect](), False),
        (frozenset({Defect.PLT_FREE}), True),
        (frozenset({Defect.N17}), False),
        (frozenset({Defect.PLT_FREE, Defect.N17}), False),
    ],
)
def test_plt_6_an_active_interrupt_writes_when_it_is_freed(
    defects: frozenset[Defect], use_after_free: bool
) -> None:
    m = PlatformMachine(flags=DEFAULTS | MSI_FLAG_ACTIVATE_EARLY, defects=defects)
    dev = m.with_irqs(1)
    assert m.irqs.descs[irqs_of(dev)[0]].irq_data.test(IRQD_ACTIVATED)
    if use_after_free:
        with pytest.raises(KernelBug, match="after its private data was freed"):
            m.free(dev)
        return
    m.free(dev)
    assert (m.stored[dev.id, 0] == MsiMsg()) == (Defect.N17 not in defects)


def test_free_of_a_device_without_interrupts_does_nothing() -> None:
    m = PlatformMachine()
    before = m.books()
    m.free(m.device())
    assert m.books() == before
    homeless = m.device()
    homeless.msi_domain = None
    with pytest.raises(KernelBug):
        m.free(homeless)


@pytest.mark.parametrize("defects", [frozenset[Defect](), frozenset({Defect.PLT_ACK})])
def test_plt_7_the_flow_handler_acknowledges_at_the_parent(defects: frozenset[Defect]) -> None:
    m = PlatformMachine(defects=defects)
    dev = m.with_irqs(1)
    (irq,) = irqs_of(dev)
    assert m.request_irq(irq) == 0
    apicd = m.chip_data(irq)
    assert apicd is not None
    old = m.stored[dev.id, 0]
    # The acknowledgement is where a move that waits is carried out.
    assert m.set_affinity(irq, mask(1 - apicd.cpu)) == 0
    m.kernel.this_cpu = apicd.cpu
    assert generic_handle_irq_desc(m.irqs.descs[irq])
    moved = m.stored[dev.id, 0] != old
    assert moved == (not defects)
    assert m.irqs.descs[irq].irq_data.test(IRQD_SETAFFINITY_PENDING) == (not moved)


def test_a_descriptor_of_another_kind_is_a_bug() -> None:
    m = PlatformMachine()
    dev = m.device()
    desc = alloc_msi_entry(m.kernel, dev, 1, None)
    assert desc is not None
    with pytest.raises(KernelBug):
        platform_msi_desc(desc)
    dev.msi_list.append(desc)
    assert platform_msi_alloc_priv_data(m.platform, dev, 1, m.write) == -errno.EBUSY
