# SPDX-License-Identifier: GPL-2.0-only
"""VT-d interrupt remapping by hand: blocks, the table, moves, posting, and release."""

from __future__ import annotations

from typing import Any

from proofs.remapping_scopes import vt_d
from spec.scope import Scope
from spec.stack import MODELS
from tests.spec.walks import Walk

MODEL = MODELS["intel_ir"].build()

BLOCKS = vt_d(("PCI_MSI",) * 4, 4, counts=(1, 2, 3))
ONE = vt_d(("PCI_MSIX",), 1, vectors=3)


def ready(scope: Scope, *switches: str) -> Walk:
    walk = Walk(MODELS["intel_ir"].build(frozenset(switches)) if switches else MODEL, scope)
    walk.do("intel_setup_irq_remapping", unit=0)
    return walk


def active() -> Walk:
    walk = ready(ONE)
    walk.do("alloc", irq=0, unit=0, index=0)
    walk.do("activate", irq=0, vector=1, cpu=0)
    return walk


def entry(walk: Walk, slot: int = 0) -> tuple[Any, ...]:
    names = ("hw_present", "hw_posted", "hw_vector", "hw_cpu")
    return tuple(walk.get(name, 0, slot) for name in names)


def free_slots(walk: Walk) -> list[int]:
    return [x for x in range(4) if not walk.get("bitmap", 0, x)]


def test_int_2_three_interrupts_take_four_entries() -> None:
    walk = ready(BLOCKS)
    walk.do("alloc_three", irq=0, second=1, third=2, unit=0, index=0, count=2)
    assert free_slots(walk) == []
    assert [walk.get("sub_handle", i) for i in range(3)] == [0, 1, 2]
    assert {walk.get("irte_mask", i) for i in range(3)} == {2}
    walk.do("free_three", irq=0, second=1, third=2)
    assert free_slots(walk) == [0, 1, 2, 3]


def test_int_2_a_block_starts_at_a_multiple_of_its_size() -> None:
    walk = ready(BLOCKS)
    block = {"irq": 0, "second": 1, "unit": 0, "count": 1}
    assert [x for x in range(4) if walk.can("alloc_two", **block, index=x)] == [0, 2]
    walk.do("alloc", irq=3, unit=0, index=1)
    assert [x for x in range(4) if walk.can("alloc_two", **block, index=x)] == [2]


def test_int_2_a_unit_refuses_blocks_that_it_cannot_drop_from_its_cache() -> None:
    walk = ready(Scope(BLOCKS.sizes, {**BLOCKS.rigid, "fits": {(0, 0): True}}))
    assert not walk.can("alloc_two", irq=0, second=1, unit=0, index=0, count=1)
    walk.do("alloc", irq=0, unit=0, index=0)


def test_int_3_the_members_have_consecutive_numbers() -> None:
    walk = ready(BLOCKS)
    assert not walk.can("alloc_two", irq=0, second=2, unit=0, index=0, count=1)
    walk.do("alloc_two", irq=1, second=2, unit=0, index=0, count=1)


def test_int_3_only_multi_msi_has_several() -> None:
    walk = ready(vt_d(("PCI_MSIX",) * 2, 2, counts=(1, 2)))
    assert not walk.can("alloc_two", irq=0, second=1, unit=0, index=0, count=1)


def test_int_5_the_message_names_block_and_place_but_for_a_pin() -> None:
    walk = ready(BLOCKS)
    walk.do("alloc_two", irq=0, second=1, unit=0, index=2, count=1)
    assert [walk.get("msg_index", i) for i in (0, 1)] == [2, 2]
    assert [walk.get("msg_handle", i) for i in (0, 1)] == [0, 1]
    walk = ready(vt_d(("IOAPIC",), 1))
    walk.do("alloc", irq=0, unit=0, index=0)
    assert walk.get("msg_index", 0) is None


def test_int_7_nothing_is_in_the_table_before_the_activation_and_behind_the_end() -> None:
    walk = ready(ONE)
    walk.do("alloc", irq=0, unit=0, index=0)
    assert entry(walk) == (False, False, None, None)
    walk.do("activate", irq=0, vector=1, cpu=0)
    assert entry(walk) == (True, False, 1, 0)
    walk.do("deactivate", irq=0)
    assert entry(walk) == (False, False, None, None)
    assert walk.get("entry_vector", 0) == 1


def test_int_7_a_release_clears_the_entry_of_an_active_interrupt() -> None:
    walk = active()
    walk.do("free", irq=0)
    assert entry(walk) == (False, False, None, None)


def test_int_8_a_move_while_posted_counts_when_posting_ends() -> None:
    walk = active()
    walk.do("set_vcpu_affinity", irq=0, vector=2)
    assert entry(walk) == (True, True, 2, None)
    assert not walk.can("move", irq=0, vector=0, cpu=0)
    walk.do("move_posted", irq=0, vector=0, cpu=0)
    assert entry(walk) == (True, True, 2, None)
    walk.do("set_vcpu_affinity", irq=0, vector=None)
    assert entry(walk) == (True, False, 0, 0)


def test_int_8_a_deactivation_ends_posting_too() -> None:
    walk = active()
    walk.do("set_vcpu_affinity", irq=0, vector=2)
    walk.do("deactivate", irq=0)
    assert not walk.get("posting", 0)
    walk.do("activate", irq=0, vector=1, cpu=0)
    assert entry(walk) == (True, False, 1, 0)


def test_int_9_a_move_rewrites_the_entry_and_not_the_message() -> None:
    walk = active()
    before = walk.get("msg_index", 0), walk.get("msg_handle", 0)
    walk.do("move", irq=0, vector=2, cpu=0)
    assert entry(walk) == (True, False, 2, 0)
    assert (walk.get("msg_index", 0), walk.get("msg_handle", 0)) == before


def test_int_10_a_failed_allocation_changes_nothing() -> None:
    walk = ready(vt_d(("PCI_MSIX",), 1, levels=False))
    before = walk.state
    walk.do("alloc_fails", irq=0, unit=0, index=0)
    assert walk.state == before
    walk = ready(BLOCKS)
    before = walk.state
    walk.do("alloc_block_fails", irq=0, unit=0, index=0, count=2)
    assert walk.state == before


def test_int_10_v5_10_forgets_the_entries() -> None:
    walk = ready(vt_d(("PCI_MSIX",), 1, levels=False), "INT-10")
    walk.step("alloc_leaks", irq=0, unit=0, index=0)
    assert walk.get("bitmap", 0, 0) and walk.violated() == ("INT-10",)
    assert not walk.can("intel_teardown_irq_remapping", unit=0)


def test_int_11_no_block_is_taken_while_another_one_goes() -> None:
    walk = ready(BLOCKS)
    walk.do("alloc_two", irq=0, second=1, unit=0, index=0, count=1)
    walk.do("intel_free_irq_resources", unit=0, irq=0, index=0, sub_handle=0)
    assert free_slots(walk) == [2, 3]
    walk.do("irte_free", unit=0, index=0, mask=1)
    assert free_slots(walk) == [0, 1, 2, 3]
    walk.do("qi_flush_iec", unit=0, index=0, mask=1)
    assert not walk.can("irte_alloc", unit=0, index=0, mask=0, count=0)
    walk.do("intel_free_irq_resources", unit=0, irq=1, index=0, sub_handle=1)
    assert walk.can("irte_alloc", unit=0, index=0, mask=0, count=0)


def test_int_12_entries_say_who_may_use_them() -> None:
    walk = active()
    assert walk.get("hw_svt", 0, 0)
    walk = ready(Scope(ONE.sizes, {**ONE.rigid, "nosid": {(): True}}))
    walk.do("alloc", irq=0, unit=0, index=0)
    walk.do("activate", irq=0, vector=0, cpu=0)
    assert not walk.get("hw_svt", 0, 0)


def test_int_13_a_cpu_with_a_wide_id_is_not_chosen() -> None:
    walk = ready(vt_d(("HPET",), 1, narrow=False))
    walk.do("alloc", irq=0, unit=0, index=0)
    assert not walk.can("activate", irq=0, vector=0, cpu=0)


def test_int_1_a_kernel_behind_a_crash_leaves_the_old_entries() -> None:
    walk = Walk(MODEL, vt_d(("HPET",), 2, old=frozenset({0})))
    walk.do("follow_a_crash", unit=0)
    assert walk.get("hw_present", 0, 0) and not walk.can("alloc", irq=0, unit=0, index=0)
    walk.do("alloc", irq=0, unit=0, index=1)
    assert not walk.can("intel_teardown_irq_remapping", unit=0)
    walk.do("free", irq=0)
    walk.do("intel_teardown_irq_remapping", unit=0)
    assert not walk.get("hw_present", 0, 0)


def test_int_type_an_unknown_kind_is_refused() -> None:
    walk = ready(vt_d(("OTHER",), 1))
    assert not walk.can("alloc", irq=0, unit=0, index=0)


def test_int_vcpu_a_hypervisor_waits_for_the_activation() -> None:
    walk = ready(ONE)
    walk.do("alloc", irq=0, unit=0, index=0)
    assert not walk.can("set_vcpu_affinity", irq=0, vector=2)
