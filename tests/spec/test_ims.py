# SPDX-License-Identifier: GPL-2.0-only
"""Device MSI by hand: an array of slots, and images in system memory."""

from __future__ import annotations

import pytest

from proofs.device_scopes import array, images
from spec.stack import MODELS
from tests.spec.walks import Walk

NATIVE, HYPERV, XEN = 0, 1, 2


def made(*switches: str, slots: int = 2, told: int | None = None) -> Walk:
    """An array for two subdevices, which have three descriptors and irqs."""
    scope = array(2, slots, 3, messages=2, told=told)
    walk = Walk(MODELS["ims"].build(frozenset(switches)), scope)
    walk.step("device_msi_create_irq_domain", domain=NATIVE)
    return walk


def claimed(walk: Walk, device: int, desc: int, slot: int) -> None:
    """A descriptor of a subdevice has a slot."""
    walk.step("ims_array_find_slot", device=device, slot=slot)
    walk.step("ims_array_alloc_slot", device=device, desc=desc, slot=slot)


def served(walk: Walk, device: int, desc: int, slot: int, irq: int) -> None:
    """A subdevice has an irq in a slot."""
    walk.step("alloc_msi_entry", device=device, desc=desc)
    claimed(walk, device, desc, slot)
    walk.step("msi_alloc_store", device=device)
    walk.step("msi_domain_alloc", device=device, desc=desc, irq=irq, message=0)
    walk.step("device_msi_alloc_irqs", device=device)


def test_ims_1_the_slots_of_an_array_are_claimed_one_by_one() -> None:
    walk = made()
    served(walk, 0, 0, 0, 0)
    walk.do("alloc_msi_entry", device=1, desc=1)
    assert not walk.can("ims_array_find_slot", device=1, slot=0)
    claimed(walk, 1, 1, 1)
    assert walk.violated() == ()


def test_ims_1_two_allocations_that_find_one_slot() -> None:
    walk = made()
    for device in range(2):
        walk.do("alloc_msi_entry", device=device, desc=device)
        walk.do("ims_array_find_slot", device=device, slot=0)
    walk.do("ims_array_alloc_slot", device=0, desc=0, slot=0)
    assert not walk.can("ims_array_alloc_slot", device=1, desc=1, slot=0)
    walk.do("ims_array_find_slot", device=1, slot=1)
    walk.do("ims_array_alloc_slot", device=1, desc=1, slot=1)


def test_ims_4_an_array_that_is_full_gives_back_what_was_claimed() -> None:
    walk = made(slots=1)
    for desc in range(2):
        walk.do("alloc_msi_entry", device=0, desc=desc)
    claimed(walk, 0, 0, 0)
    assert not walk.can("ims_array_find_slot", device=0, slot=0)
    assert not walk.can("msi_alloc_store", device=0)
    walk.do("device_msi_alloc_irqs_fails", device=0)
    assert not walk.can("free_msi_entry", device=0)
    walk.do("ims_array_free_slot", device=0, desc=0, slot=0)
    walk.do("free_msi_entry", device=0)
    assert not walk.get("map", 0)


def test_ims_4_as_posted_the_slot_is_lost() -> None:
    walk = made("DEV-D3", slots=1)
    walk.step("alloc_msi_entry", device=0, desc=0)
    claimed(walk, 0, 0, 0)
    walk.step("device_msi_alloc_irqs_fails", device=0)
    walk.step("free_msi_entry", device=0)
    assert "IMS-1" in walk.violated()
    walk.step("alloc_msi_entry", device=0, desc=0)
    assert not walk.can("ims_array_find_slot", device=0, slot=0)


def test_ims_2_without_a_hwirq_there_is_room_for_one_irq() -> None:
    walk = made("DEV-D2")
    served(walk, 0, 0, 1, 0)
    assert walk.get("hwirq", 0) == 0
    walk.step("alloc_msi_entry", device=1, desc=1)
    claimed(walk, 1, 1, 0)
    walk.step("msi_alloc_store", device=1)
    assert not walk.can("msi_domain_alloc", device=1, desc=1, irq=1, message=0)


def test_ims_2_a_number_that_is_cut_off_frees_the_slot_of_another() -> None:
    walk = made("DEV-D9", told=1)
    served(walk, 0, 0, 1, 0)
    walk.step("device_msi_free_irqs", device=0)
    walk.step("irq_domain_free_irqs", irq=0)
    walk.step("ims_array_free_slot", device=0, desc=0, slot=1)
    assert walk.get("map", 1)


def test_ims_6_a_slot_is_unmasked_while_its_irq_runs() -> None:
    walk = made()
    served(walk, 0, 0, 0, 0)
    assert walk.get("masked", 0)
    assert not walk.can("ims_array_unmask_irq", irq=0, slot=0)
    walk.do("irq_domain_activate_irq", irq=0)
    walk.do("ims_array_unmask_irq", irq=0, slot=0)
    walk.do("ims_array_write_msi_msg", irq=0, message=1)
    assert (walk.get("message", 0), walk.get("seen_masked", 0)) == (1, False)
    walk.do("device_msi_free_irqs", device=0)
    assert not walk.can("irq_domain_free_irqs", irq=0)
    walk.do("ims_array_mask_irq", irq=0, slot=0)
    walk.do("irq_domain_free_irqs", irq=0)
    walk.do("ims_array_free_slot", device=0, desc=0, slot=0)
    walk.do("free_msi_entry", device=0)
    assert walk.get("masked", 0) and walk.get("message", 0) is None


def test_ims_8_a_mask_that_has_not_arrived() -> None:
    walk = made("DEV-D8")
    served(walk, 0, 0, 0, 0)
    walk.step("irq_domain_activate_irq", irq=0)
    walk.step("ims_array_mask_irq", irq=0, slot=0)
    assert walk.get("masked", 0) and not walk.get("seen_masked", 0)
    assert "IMS-8" in walk.violated()


def test_ims_3_as_posted_a_slot_that_is_reset_may_signal() -> None:
    walk = made("DEV-D7")
    assert "IMS-3" in walk.violated()


@pytest.mark.parametrize("domain", [HYPERV, XEN])
def test_ims_7_there_is_no_domain_where_no_parent_composes(domain: int) -> None:
    scope = array(1, 1, 1)
    assert not Walk(MODELS["ims"].build(), scope).can("device_msi_create_irq_domain", domain=domain)
    walk = Walk(MODELS["ims"].build(frozenset({"DEV-D5"})), scope)
    walk.step("device_msi_create_irq_domain", domain=domain)
    assert walk.violated() == ("IMS-7",)


def test_ims_4_a_subdevice_with_irqs_is_busy() -> None:
    walk = made()
    served(walk, 0, 0, 0, 0)
    assert not walk.can("alloc_msi_entry", device=0, desc=1)
    walk = made("DEV-D10")
    served(walk, 0, 0, 0, 0)
    walk.step("alloc_msi_entry", device=0, desc=1)
    claimed(walk, 0, 0, 1)
    assert "IMS-1" in walk.violated()


def running(*switches: str) -> Walk:
    """An irq with an image that signals message 0."""
    walk = Walk(MODELS["ims_queue"].build(frozenset(switches)), images(1, 3))
    walk.step("ims_queue_alloc_shadow", irq=0)
    walk.step("ims_queue_lock", irq=0)
    walk.step("irq_domain_activate_irq", irq=0, message=0)
    walk.step("ims_queue_unmask_irq", irq=0)
    walk.step("ims_queue_sync_unlock", irq=0, failed=False)
    return walk


def test_ims_9_a_move_locks_the_queue() -> None:
    walk = running()
    assert not walk.can("ims_queue_write_msi_msg", irq=0, message=1)
    walk.do("ims_queue_lock", irq=0)
    walk.do("ims_queue_write_msi_msg", irq=0, message=1)
    assert walk.get("device_message", 0) == 0
    walk.do("ims_queue_sync_unlock", irq=0, failed=False)
    assert walk.get("device_message", 0) == 1


def test_ims_9_as_before_the_series_the_device_keeps_the_old_message() -> None:
    walk = running("DEV-42")
    walk.step("ims_queue_write_msi_msg", irq=0, message=1)
    assert walk.violated() == ("IMS-9",)
    assert not walk.can("apic_ack_irq", irq=0, message=1)


def test_ims_10_the_old_target_goes_when_the_new_one_was_reached() -> None:
    walk = running()
    walk.do("ims_queue_lock", irq=0)
    walk.do("ims_queue_write_msi_msg", irq=0, message=1)
    walk.do("apic_ack_irq", irq=0, message=0)
    assert walk.get("old_target", 0) == 0
    walk.do("ims_queue_sync_unlock", irq=0, failed=False)
    walk.do("apic_ack_irq", irq=0, message=1)
    assert walk.get("old_target", 0) is None


def test_ims_9_a_device_that_answers_with_an_error_keeps_what_it_has() -> None:
    walk = running()
    walk.do("ims_queue_lock", irq=0)
    walk.do("ims_queue_write_msi_msg", irq=0, message=1)
    walk.do("ims_queue_sync_unlock", irq=0, failed=True)
    assert (walk.get("device_message", 0), walk.get("broken", 0)) == (0, True)
    walk.do("apic_ack_irq", irq=0, message=0)
    assert walk.get("old_target", 0) == 0


def test_ims_10_targets_are_given_up_when_the_device_knows_that_it_is_masked() -> None:
    walk = running()
    walk.do("ims_queue_lock", irq=0)
    walk.do("ims_queue_mask_irq", irq=0)
    assert not walk.can("irq_domain_deactivate_irq", irq=0)
    walk.do("ims_queue_sync_unlock", irq=0, failed=False)
    walk.do("ims_queue_lock", irq=0)
    walk.do("irq_domain_deactivate_irq", irq=0)
    walk.do("ims_queue_sync_unlock", irq=0, failed=False)
    walk.do("ims_queue_free_shadow", irq=0)
