# SPDX-License-Identifier: GPL-2.0-only
"""Messages in images in memory, which a device reads by command."""

import errno

import pytest

from impl.defects import Defect
from impl.drivers.base.device_msi import device_msi_desc
from impl.kernel.device import Device
from impl.kernel.irq.chip import mask_irq, unmask_irq
from impl.kernel.irq.irq import IRQD_IRQ_MASKED, IRQD_MOVE_PCNTXT, MsiMsg
from impl.kernel.irq.irqdomain import irq_find_mapping
from impl.kernel.kernel import KernelBug
from tests.impl.ims_support import (
    QueueMachine,
    composed,
    irqs_of,
    mask_of,
)
from tests.impl.support import events_of, mask


def test_queue_the_hwirq_is_device_and_position() -> None:
    m = QueueMachine(2)
    for dev in (m.with_irqs(2), m.with_irqs(2)):
        for position, desc in enumerate(dev.msi_list):
            hwirq = dev.id << 16 | position
            assert device_msi_desc(desc).hwirq == hwirq
            assert irq_find_mapping(m.domains, m.domain, hwirq) == desc.irq


def test_queue_d9_as_posted_the_device_is_lost() -> None:
    m = QueueMachine(2, defects={Defect.DEV_D9})
    m.with_irqs(2)
    assert m.alloc(m.dev(), 1) == -errno.ENOSPC


def test_queue_without_an_image_nothing_is_left() -> None:
    m = QueueMachine(2)
    dev = m.dev()
    before = m.footprint()
    assert m.alloc(dev, 3) == -errno.ENOSPC
    assert dev.msi_list == [] and m.footprint() == before
    assert all(shadow.in_sync and not shadow.locked for shadow in m.hardware.shadows.values())


@pytest.mark.parametrize("nth", [1, 2])
def test_queue_a_failure_in_the_middle_leaves_nothing(nth: int) -> None:
    m = QueueMachine(2)
    dev = m.dev()
    before = m.footprint()
    m.fail_next("alloc_desc", nth)
    assert m.alloc(dev, 2) == -errno.ENOSPC
    assert dev.msi_list == [] and m.footprint() == before
    assert m.alloc(dev, 2) == 0


def life(m: QueueMachine, dev: Device) -> None:
    """Everything that happens to the interrupt of `dev`, which may move at once."""
    assert m.alloc(dev, 1) == 0
    (irq,) = irqs_of(dev)
    m.irqs.descs[irq].irq_data.set(IRQD_MOVE_PCNTXT)
    assert m.request_irq(irq) == 0
    cpu, _ = m.target(m.shadow(dev).msg)
    assert m.set_affinity(irq, mask(1 if cpu == 1 else 0)) == 0
    assert m.disable_irq(irq) == 0 and m.shadow(dev).signal() is None
    assert m.enable_irq(irq) == 0 and m.shadow(dev).signal() == composed(m, irq)
    assert m.free_irq(irq) == 0
    m.free(dev)


def test_ims_9_every_change_is_made_with_the_queue_and_reaches_the_device() -> None:
    m = QueueMachine()
    dev = m.dev()
    synced: list[bool] = []
    m.watch_changes(dev)
    m.trace.subscribe(
        lambda event: (
            synced.append(m.shadow(dev).in_sync) if event.name == "ims_queue_sync_unlock" else None
        )
    )
    life(m, dev)
    assert m.unlocked == []
    assert len(synced) > 6 and all(synced)
    shadow = m.shadow(dev)
    assert (shadow.device_msg, shadow.signal(), shadow.locked) == (MsiMsg(), None, False)


def test_ims_9_also_for_an_interrupt_that_is_never_requested() -> None:
    m = QueueMachine()
    dev = m.dev()
    m.watch_changes(dev)
    assert m.alloc(dev, 1) == 0
    assert m.shadow(dev).in_sync and m.shadow(dev).device_msg == composed(m, irqs_of(dev)[0])
    m.free(dev)
    assert m.unlocked == [] and m.shadow(dev).in_sync


def test_ims_9_without_patch_42_an_affinity_change_does_not_reach_the_device() -> None:
    m = QueueMachine(defects={Defect.DEV_42})
    dev = m.dev()
    m.watch_changes(dev)
    assert m.alloc(dev, 1) == 0
    (irq,) = irqs_of(dev)
    m.irqs.descs[irq].irq_data.set(IRQD_MOVE_PCNTXT)
    assert m.request_irq(irq) == 0 and m.unlocked == []
    cpu, _ = m.target(m.shadow(dev).msg)
    assert m.set_affinity(irq, mask(1 if cpu == 1 else 0)) == 0
    assert m.unlocked == ["ims_queue_write_msi_msg"]
    assert m.shadow(dev).signal() != composed(m, irq)


def test_ims_9_early_activation_used_to_change_the_image_alone() -> None:
    m = QueueMachine(defects={Defect.DEV_EARLY})
    dev = m.dev()
    m.watch_changes(dev)
    assert m.alloc(dev, 1) == 0
    assert m.unlocked == ["ims_queue_write_msi_msg"] and not m.shadow(dev).in_sync
    m.free(dev)
    assert m.unlocked == ["ims_queue_write_msi_msg"] * 2


def test_ims_9_a_move_at_an_interrupt_cannot_lock_the_queue() -> None:
    """Behind the vector domain alone; see the module's text."""
    m = QueueMachine()
    dev = m.dev()
    m.watch_changes(dev)
    assert m.alloc(dev, 1) == 0
    (irq,) = irqs_of(dev)
    assert m.request_irq(irq) == 0
    apicd = m.vector_level(irq)
    assert m.set_affinity(irq, mask(1 - apicd.cpu)) == 0 and m.unlocked == []
    assert m.fire(irq)
    assert "ims_queue_write_msi_msg" in m.unlocked


def test_ims_9_behind_remapping_a_move_leaves_the_message_alone() -> None:
    m = QueueMachine(remapped=True)
    dev = m.dev()
    m.watch_changes(dev)
    assert m.alloc(dev, 1) == 0
    (irq,) = irqs_of(dev)
    m.irqs.descs[irq].irq_data.set(IRQD_MOVE_PCNTXT)
    assert m.request_irq(irq) == 0
    before, commands = m.shadow(dev).signal(), m.hardware.commands
    assert m.set_affinity(irq, mask(1)) == 0
    assert (m.shadow(dev).signal(), m.hardware.commands) == (before, commands)
    assert m.unlocked == []


def test_ims_9_a_broken_device_keeps_what_it_has() -> None:
    m = QueueMachine()
    dev = m.with_irqs(1)
    (irq,) = irqs_of(dev)
    m.hardware.broken = True
    assert m.request_irq(irq) == 0
    assert not m.shadow(dev).in_sync and m.shadow(dev).signal() is None
    m.hardware.broken = False
    assert m.disable_irq(irq) == 0 and m.enable_irq(irq) == 0
    assert m.shadow(dev).in_sync and m.shadow(dev).signal() == composed(m, irq)


def test_ims_10_the_old_vector_goes_after_the_device_has_the_new_one() -> None:
    m = QueueMachine()
    dev = m.dev()
    assert m.alloc(dev, 1) == 0
    (irq,) = irqs_of(dev)
    m.irqs.descs[irq].irq_data.set(IRQD_MOVE_PCNTXT)
    assert m.request_irq(irq) == 0
    old = m.vector_level(irq).cpu, m.vector_level(irq).vector
    assert m.set_affinity(irq, mask(1 - old[0])) == 0
    assert m.shadow(dev).signal() == composed(m, irq)
    # Until the first interrupt arrives at the new place, the old one is kept.
    assert m.matrix.maps[old[0]].alloc_map >> old[1] & 1


def test_queue_d7_as_posted_the_image_of_nobody_is_not_masked() -> None:
    m = QueueMachine(defects={Defect.DEV_D7})
    dev = m.with_irqs(1, request=True)
    m.free_irq(irqs_of(dev)[0])
    m.free(dev)
    assert m.shadow(dev).signal() == MsiMsg()


def test_queue_a_stop_is_not_lazy() -> None:
    m = QueueMachine()
    dev = m.with_irqs(1, request=True)
    (irq,) = irqs_of(dev)
    assert m.shadow(dev).signal() is not None
    events = events_of(m, lambda: m.disable_irq(irq))
    assert [event.name for event in events if event.system == "ims"] == [
        "ims_queue_lock",
        "ims_queue_disable",
        "ims_queue_sync_unlock",
    ]
    assert m.irqs.descs[irq].irq_data.test(IRQD_IRQ_MASKED)
    assert m.shadow(dev).signal() is None


def test_queue_masks_change_the_image_only() -> None:
    m = QueueMachine()
    dev = m.with_irqs(1, request=True)
    desc = m.irqs.descs[irqs_of(dev)[0]]
    mask_irq(desc)
    assert not m.shadow(dev).in_sync and m.shadow(dev).signal() is not None
    unmask_irq(desc)
    assert m.shadow(dev).in_sync


def test_queue_a_chip_without_an_image_is_a_bug() -> None:
    m = QueueMachine()
    dev = m.with_irqs(1)
    (irq,) = irqs_of(dev)
    device_msi_desc(dev.msi_list[0]).priv = None
    with pytest.raises(KernelBug):
        mask_of(m, irq)
    m.domain.host_data.chip_data = None
    with pytest.raises(KernelBug):
        m.free(dev)
