# SPDX-License-Identifier: GPL-2.0-only
"""Messages in an array of slots."""

import errno

import pytest

from impl.defects import Defect
from impl.drivers.base.device_msi import device_msi_desc
from impl.drivers.irqchip.ims_msi import (
    ImsArrayInfo,
    pci_ims_array_create_msi_irq_domain,
)
from impl.drivers.irqchip.ims_msi_queue import ImsQueueInfo, pci_ims_queue_create_msi_irq_domain
from impl.drivers.irqchip.ims_msi_slots import (
    IMS_CTRL_VECTOR_MASKBIT,
    ImsQueueDevice,
    ImsSlots,
    ImsWord,
)
from impl.kernel.device import Device
from impl.kernel.irq.chip import mask_irq, unmask_irq
from impl.kernel.irq.irq import IRQD_ACTIVATED, IRQD_IRQ_MASKED, IRQD_MOVE_PCNTXT, MsiMsg
from impl.kernel.irq.irqdomain import irq_find_mapping
from impl.kernel.kernel import KernelBug
from tests.impl.ims_support import (
    ArrayMachine,
    SubdeviceMachine,
    composed,
    irqs_of,
    mask_of,
)
from tests.impl.support import events_of, mask


def test_ims_1_a_set_bit_is_a_descriptor_with_that_slot() -> None:
    m = ArrayMachine(6)
    first, second, third = m.with_irqs(2), m.with_irqs(1), m.with_irqs(3)
    assert m.slots_of(first) + m.slots_of(second) + m.slots_of(third) == list(range(6))
    m.free(second)
    m.free(first)
    assert m.data.map == 0b111000
    # The lowest free slots are taken again.
    fourth = m.with_irqs(2)
    assert m.slots_of(fourth) == [0, 1] and m.slots_of(third) == [3, 4, 5]
    assert m.data.map == 0b111011


def test_ims_2_the_hwirq_is_the_slot() -> None:
    m = ArrayMachine(4)
    for dev in (m.with_irqs(2), m.with_irqs(2)):
        for desc in dev.msi_list:
            place = device_msi_desc(desc)
            assert 0 <= place.hwirq == place.priv_iomem < m.data.info.max_slots
            assert m.irqs.descs[desc.irq].irq_data.hwirq == place.hwirq
            assert irq_find_mapping(m.domains, m.domain, place.hwirq) == desc.irq


def test_ims_2_two_arrays_have_hwirqs_of_their_own() -> None:
    m = ArrayMachine(4)
    other_slots = ImsSlots(2)
    other = pci_ims_array_create_msi_irq_domain(m.device(msix=1), ImsArrayInfo(other_slots, 2))
    assert other is not None
    first, second = m.with_irqs(1), m.subdevice(other)
    assert m.alloc(second, 1) == 0
    assert m.slots_of(first) == m.slots_of(second) == [0]
    assert other_slots.message(0) == composed(m, irqs_of(second)[0])


def test_ims_3_a_free_slot_is_masked_and_empty() -> None:
    m = ArrayMachine(3)
    dev = m.with_irqs(2, request=True)
    for irq in irqs_of(dev):
        assert m.free_irq(irq) == 0
    m.free(dev)
    for slot in range(3):
        assert m.slots.masked(slot) and m.slots.message(slot) == MsiMsg()
        assert m.slots.signal(slot) is None


def test_ims_3_whatever_the_slots_were_before() -> None:
    m = SubdeviceMachine()
    slots = ImsSlots(2)
    for slot in range(2):
        for word in ImsWord:
            slots.iowrite32(slot, word, 0xDEAD0000)
    slots.settle()
    assert slots.signal(0) is not None
    assert pci_ims_array_create_msi_irq_domain(m.pdev, ImsArrayInfo(slots, 2)) is not None
    for slot in range(2):
        assert slots.masked(slot) and slots.message(slot) == MsiMsg()


def test_ims_3_d7_as_posted_a_free_slot_is_not_masked() -> None:
    m = ArrayMachine(2, defects={Defect.DEV_D7})
    dev = m.with_irqs(1, request=True)
    m.free_irq(irqs_of(dev)[0])
    assert m.slots.masked(0)
    m.free(dev)
    assert not m.slots.masked(0) and m.slots.signal(0) == MsiMsg()
    # The next owner has it unmasked before the request.
    dev = m.with_irqs(1)
    assert m.slots.signal(0) == composed(m, irqs_of(dev)[0])


@pytest.mark.parametrize("nvec", [1, 2, 3, 4])
def test_ims_4_what_fits_succeeds_and_what_does_not_has_no_effect(nvec: int) -> None:
    m = ArrayMachine(3)
    before = m.books()
    dev = m.dev()
    ret = m.alloc(dev, nvec)
    assert ret == (0 if nvec <= 3 else -errno.ENOSPC)
    if ret:
        assert m.books() == before and dev.msi_list == []


def test_ims_4_a_lower_layer_may_fail_and_takes_nothing() -> None:
    m = ArrayMachine(4)
    kept = m.with_irqs(1)
    before = m.books()
    for site in ("alloc_msi_entry", "alloc_desc", "alloc_apic_chip_data"):
        for nth in (1, 2):
            m.fail_next(site, nth)
            assert m.alloc(m.dev(), 2) < 0
            assert m.books() == before
    assert m.slots_of(kept) == [0]


def test_ims_4_d3_trap_54_as_posted_slots_and_irqs_of_a_failure_stay() -> None:
    m = ArrayMachine(4, defects={Defect.DEV_D3})
    m.fail_next("alloc_desc", 2)
    assert m.alloc(m.dev(), 3) == -errno.ENOSPC
    assert m.data.map == 0b111 and m.domain.mapcount == 1
    assert m.alloc(m.dev(), 2) == -errno.ENOSPC


@pytest.mark.parametrize("remapped", [False, True])
def test_ims_5_an_active_slot_has_the_message_of_its_chain(remapped: bool) -> None:
    m = ArrayMachine(remapped=remapped)
    dev = m.with_irqs(3)
    for irq, slot in zip(irqs_of(dev), m.slots_of(dev), strict=True):
        assert m.irqs.descs[irq].irq_data.test(IRQD_ACTIVATED)
        assert m.slots.message(slot) == composed(m, irq)
        assert (m.slots.message(slot).address_lo == 0xFEE00018) == remapped


def test_ims_5_a_move_brings_a_new_message() -> None:
    m = ArrayMachine()
    dev = m.with_irqs(1, request=True)
    (irq,) = irqs_of(dev)
    m.irqs.descs[irq].irq_data.set(IRQD_MOVE_PCNTXT)
    old = m.slots.message(0)
    cpu, _ = m.target(old)
    assert m.set_affinity(irq, mask(1 if cpu == 1 else 0)) == 0
    assert m.slots.message(0) == composed(m, irq) != old


def test_ims_5_deactivation_empties_the_slot() -> None:
    m = ArrayMachine()
    dev = m.with_irqs(1, request=True)
    assert m.free_irq(irqs_of(dev)[0]) == 0
    assert m.slots.message(0) == MsiMsg()


def test_ims_6_a_slot_is_unmasked_while_its_interrupt_is() -> None:
    m = ArrayMachine()
    dev = m.with_irqs(1)
    (irq,) = irqs_of(dev)
    assert m.slots.masked(0)
    assert m.request_irq(irq, autoenable=False) == 0 and m.slots.masked(0)
    assert m.enable_irq(irq) == 0 and not m.slots.masked(0)
    desc = m.irqs.descs[irq]
    mask_irq(desc)
    assert m.slots.masked(0) and desc.irq_data.test(IRQD_IRQ_MASKED)
    unmask_irq(desc)
    assert not m.slots.masked(0)
    assert m.free_irq(irq) == 0 and m.slots.masked(0)


def test_ims_6_only_the_mask_bit_changes() -> None:
    m = ArrayMachine()
    dev = m.with_irqs(1)
    m.slots.iowrite32(0, ImsWord.CTRL, 0xABCD0009)
    (irq,) = irqs_of(dev)
    assert m.request_irq(irq) == 0
    assert m.slots.ioread32(0, ImsWord.CTRL) == 0xABCD0008
    mask_irq(m.irqs.descs[irq])
    assert m.slots.ioread32(0, ImsWord.CTRL) == 0xABCD0008 | IMS_CTRL_VECTOR_MASKBIT


def test_ims_7_the_chain_composes() -> None:
    m = ArrayMachine()
    assert m.domain.parent is not None
    assert composed(m, irqs_of(m.with_irqs(1))[0]).data


@pytest.mark.parametrize("late", [False, True])
def test_ims_8_d8_after_a_mask_the_device_is_quiet(late: bool) -> None:
    m = ArrayMachine(defects={Defect.DEV_D8} if late else ())
    dev = m.with_irqs(1, request=True)
    m.slots.settle()
    mask_irq(m.irqs.descs[irqs_of(dev)[0]])
    assert (m.slots.signal(0) is not None) == late
    m.slots.settle()
    assert m.slots.signal(0) is None


@pytest.mark.parametrize("late", [False, True])
def test_ims_8_d8_after_a_move_the_device_has_the_new_message(late: bool) -> None:
    m = ArrayMachine(defects={Defect.DEV_D8} if late else ())
    dev = m.with_irqs(1, request=True)
    (irq,) = irqs_of(dev)
    m.irqs.descs[irq].irq_data.set(IRQD_MOVE_PCNTXT)
    m.slots.settle()
    cpu, _ = m.target(m.slots.message(0))
    assert m.set_affinity(irq, mask(1 if cpu == 1 else 0)) == 0
    assert (m.slots.message(0) != composed(m, irq)) == late


def test_ims_12_a_subdevice_knows_the_function_that_writes_for_it() -> None:
    m = ArrayMachine()
    dev = m.with_irqs(1)
    assert dev.msi_list[0].dev.parent is m.pdev


def test_d1_as_posted_nothing_is_compiled() -> None:
    m = SubdeviceMachine(defects={Defect.DEV_D1})
    before = m.footprint()
    assert pci_ims_array_create_msi_irq_domain(m.pdev, ImsArrayInfo(ImsSlots(1), 1)) is None
    device = ImsQueueDevice(1)
    info = ImsQueueInfo(device.queue_lock, device.queue_sync_unlock, device.queue_get_shadow)
    assert pci_ims_queue_create_msi_irq_domain(m.pdev, info) is None
    assert m.footprint() == before


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_no_domain_without_memory_for_its_copies(nth: int) -> None:
    m = SubdeviceMachine()
    before = m.footprint(), set(m.domains.fwnodes)
    m.fail_next("ims_create_msi_irq_domain", nth)
    assert pci_ims_array_create_msi_irq_domain(m.pdev, ImsArrayInfo(ImsSlots(1), 1)) is None
    assert (m.footprint(), set(m.domains.fwnodes)) == before
    assert not m.kernel.failures


def test_no_domain_for_a_device_without_one() -> None:
    m = SubdeviceMachine()
    m.pdev.msi_domain = None
    slots = ImsSlots(1)
    assert pci_ims_array_create_msi_irq_domain(m.pdev, ImsArrayInfo(slots, 1)) is None


def test_d2_as_posted_the_second_interrupt_fails() -> None:
    m = ArrayMachine(defects={Defect.DEV_D2})
    assert m.alloc(m.dev(), 1) == 0
    assert m.alloc(m.dev(), 1) == -errno.ENOSPC


def compete(m: ArrayMachine, rival: Device) -> None:
    """Let `rival` allocate once while another allocation has found a slot and not claimed it."""

    def preempt() -> None:
        m.data.preempt = None
        assert m.alloc(rival, 1) == 0

    m.data.preempt = preempt


def test_ims_1_d6_a_slot_that_somebody_else_claimed_is_not_taken() -> None:
    m = ArrayMachine(3)
    rival, dev = m.dev(), m.dev()
    compete(m, rival)
    assert m.alloc(dev, 2) == 0
    assert (m.slots_of(rival), m.slots_of(dev)) == ([0], [1, 2])


def test_ims_4_d6_the_last_slot_goes_to_the_first() -> None:
    m = ArrayMachine(1)
    rival, dev = m.dev(), m.dev()
    compete(m, rival)
    assert m.alloc(dev, 1) == -errno.ENOSPC
    assert m.slots_of(rival) == [0] and dev.msi_list == []


def test_ims_1_d6_as_posted_two_allocations_may_take_the_same_slot() -> None:
    m = ArrayMachine(3, defects={Defect.DEV_D6})
    rival, dev = m.dev(), m.dev()
    taken: list[tuple[int, int]] = []
    m.trace.subscribe(
        lambda event: (
            taken.append((event.fields["device"], event.fields["slot"]))
            if event.name == "ims_array_alloc_slot"
            else None
        )
    )
    compete(m, rival)
    # The hwirq gives it away, but the rollback takes the slot from its first owner.
    assert m.alloc(dev, 1) == -errno.ENOSPC
    assert taken == [(rival.id, 0), (dev.id, 0)]
    assert m.data.map == 0 and m.slots_of(rival) == [0]
    assert m.slots.message(0) == MsiMsg() != composed(m, irqs_of(rival)[0])


@pytest.mark.parametrize("short", [False, True])
def test_ims_2_d9_trap_55_slots_of_a_large_array_have_hwirqs_of_their_own(short: bool) -> None:
    m = ArrayMachine(0x10001, defects={Defect.DEV_D9} if short else ())
    m.with_irqs(1)
    m.data.map |= (1 << 0x10000) - 1
    last = m.dev()
    assert m.alloc(last, 1) == (-errno.ENOSPC if short else 0)
    if short:
        # The bit that was given back is that of another slot.
        assert m.data.map == (1 << 0x10001) - 2
    else:
        assert device_msi_desc(last.msi_list[0]).hwirq == 0x10000


def test_the_chip_needs_a_slot() -> None:
    m = ArrayMachine()
    dev = m.with_irqs(1)
    device_msi_desc(dev.msi_list[0]).priv_iomem = None
    with pytest.raises(KernelBug):
        mask_of(m, irqs_of(dev)[0])


def test_a_domain_of_another_kind_has_no_slots() -> None:
    m = ArrayMachine()
    dev = m.with_irqs(1)
    m.domain.host_data.data = None
    with pytest.raises(KernelBug):
        mask_of(m, irqs_of(dev)[0])


def test_the_events_tell_what_happens_to_slots() -> None:
    m = ArrayMachine(2)
    dev = m.dev()
    events = events_of(m, lambda: m.alloc(dev, 1))
    (irq,), (desc,) = irqs_of(dev), dev.msi_list
    taken = {"domain": m.domain.id, "device": dev.id, "desc": desc.id, "slot": 0}
    message = m.slots.message(0)
    assert [(e.name, e.fields) for e in events if e.name.startswith("ims_")] == [
        ("ims_array_alloc_slot", taken),
        ("ims_array_reset_slot", {"domain": m.domain.id, "slot": 0, "masked": 1}),
        (
            "ims_array_write_msi_msg",
            {
                "irq": irq,
                "slot": 0,
                "address_lo": message.address_lo,
                "address_hi": 0,
                "data": message.data,
            },
        ),
    ]
    names = [e.name for e in events_of(m, lambda: m.request_irq(irq)) if e.system == "ims"]
    assert names.count("ims_array_unmask_irq") == 1
    m.free_irq(irq)
    events = events_of(m, lambda: m.free(dev))
    assert ("ims_array_free_slot", taken) in [(e.name, e.fields) for e in events]
