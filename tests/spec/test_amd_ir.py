# SPDX-License-Identifier: GPL-2.0-only
"""AMD-Vi interrupt remapping by hand: tables, marks, stores, guests, and failures."""

from __future__ import annotations

from typing import Any

from proofs.remapping_scopes import amd_vi
from spec.scope import Scope
from spec.stack import MODELS
from tests.spec.walks import Walk

MODEL = MODELS["amd_ir"].build()

BLOCKS = amd_vi(("PCI_MSI",) * 3, 4, counts=(1, 2, 3))
PINS = amd_vi(("IOAPIC", "HPET"), 2, low=1)
BRIDGE = amd_vi(("PCI_MSIX",), 1, devids=3, hub=2, tables=2)
GUEST = amd_vi(("PCI_MSIX",), 1, vectors=3, vapic=True)


def ready(scope: Scope, *switches: str) -> Walk:
    walk = Walk(MODELS["amd_ir"].build(frozenset(switches)) if switches else MODEL, scope)
    walk.do("new_table", devid=0, table=0)
    return walk


def active() -> Walk:
    walk = ready(GUEST)
    walk.do("alloc", irq=0, devid=0, index=0)
    walk.do("activate", irq=0, vector=1, cpu=0)
    return walk


def entry(walk: Walk) -> tuple[Any, ...]:
    names = ("hw_valid", "hw_guest", "hw_vector", "hw_cpu")
    return tuple(walk.get(name, 0, 0) for name in names)


def test_amd_1_neighbours_share_the_table_of_their_bridge() -> None:
    walk = Walk(MODEL, BRIDGE)
    walk.do("new_shared_table", devid=0, alias=2, table=0)
    assert not walk.can("new_shared_table", devid=1, alias=2, table=1)
    walk.do("found_table", devid=1, table=0)
    assert [walk.get("table_of", d) for d in range(3)] == [0, 0, 0]


def test_amd_1_v5_10_makes_a_second_one() -> None:
    walk = Walk(MODELS["amd_ir"].build(frozenset({"AMD-alias"})), BRIDGE)
    walk.do("new_shared_table", devid=0, alias=2, table=0)
    walk.step("new_shared_table", devid=1, alias=2, table=1)
    assert [walk.get("table_of", d) for d in range(3)] == [0, 1, 1]
    assert "AMD-1" in walk.violated()


def test_amd_2_the_first_entries_are_the_pins() -> None:
    walk = ready(PINS)
    assert not walk.can("alloc_pin", irq=0, devid=0)
    walk.do("set_min_index", table=0)
    assert not walk.can("alloc", irq=1, devid=0, index=0)
    walk.do("alloc_pin", irq=0, devid=0)
    walk.do("alloc", irq=1, devid=0, index=1)
    assert not walk.can("set_min_index", table=0)


def test_amd_3_an_io_apic_must_come_first() -> None:
    walk = ready(PINS)
    walk.do("alloc", irq=1, devid=0, index=0)
    assert not walk.can("set_min_index", table=0)
    walk = ready(PINS, "AMD-3")
    walk.do("alloc", irq=1, devid=0, index=0)
    walk.do("activate", irq=1, vector=0, cpu=0)
    walk.step("set_min_index", table=0)
    assert set(walk.violated()) == {"AMD-2", "AMD-9"}


def test_amd_4_an_entry_is_taken_once() -> None:
    walk = ready(BLOCKS)
    walk.do("alloc", irq=0, devid=0, index=1)
    assert walk.get("marked", 0, 1) and not walk.can("alloc", irq=1, devid=0, index=1)
    walk.do("free", irq=0)
    assert not walk.get("marked", 0, 1)


def test_amd_5_a_block_is_aligned_and_not_rounded_up() -> None:
    walk = ready(BLOCKS)
    block = {"irq": 0, "second": 1, "devid": 0, "count": 1}
    assert [x for x in range(4) if walk.can("alloc_two", **block, index=x)] == [0, 2]
    walk.do("alloc_two", **block, index=0)
    assert [walk.get("marked", 0, x) for x in range(4)] == [True, True, False, False]
    assert [walk.get("msg_index", i) for i in (0, 1)] == [0, 1]


def test_amd_5_three_interrupts_leave_the_fourth_entry() -> None:
    walk = ready(BLOCKS)
    walk.do("alloc_irq_index", devid=0, table=0, index=0, count=2)
    assert [walk.get("marked", 0, x) for x in range(4)] == [True, True, True, False]


def test_amd_5_the_irqs_of_a_block_are_consecutive() -> None:
    walk = ready(BLOCKS)
    assert not walk.can("alloc_two", irq=0, second=2, devid=0, index=0, count=1)


def test_amd_6_two_pins_cannot_have_one_entry() -> None:
    scope = amd_vi(("IOAPIC",) * 2, 1, low=1)
    walk = ready(scope)
    walk.do("set_min_index", table=0)
    walk.do("alloc_pin", irq=0, devid=0)
    assert not walk.can("alloc_pin", irq=1, devid=0)


def test_amd_9_an_activation_stores_twice() -> None:
    walk = ready(GUEST)
    walk.do("alloc", irq=0, devid=0, index=0)
    assert entry(walk) == (False, False, None, None) and walk.get("marked", 0, 0)
    walk.do("vector_config", irq=0, vector=1, cpu=0)
    store = {"devid": 0, "table": 0, "index": 0, "valid": True, "guest_mode": False}
    walk.do("modify_irte", **store, vector=None, dest=None)
    assert entry(walk) == (True, False, None, None)
    walk.do("modify_irte", **store, vector=1, dest=0)
    assert entry(walk) == (True, False, 1, 0)


def test_amd_9_a_deactivation_leaves_the_rest() -> None:
    walk = active()
    walk.do("deactivate", irq=0)
    assert entry(walk) == (False, False, 1, 0) and walk.get("marked", 0, 0)


def test_amd_9_a_move_of_a_guests_interrupt_counts_at_the_end() -> None:
    walk = active()
    walk.do("amd_iommu_activate_guest_mode", irq=0, vector=2)
    assert entry(walk) == (True, True, 2, None)
    walk.do("amd_iommu_update_ga", devid=0, index=0, dest=0)
    assert entry(walk) == (True, True, 2, 0)
    walk.do("move_guest", irq=0, vector=0, cpu=0)
    walk.do("amd_iommu_deactivate_guest_mode", irq=0)
    assert entry(walk) == (True, False, 0, 0)


def test_amd_9_without_the_hardware_there_is_no_guest_mode() -> None:
    walk = ready(amd_vi(("PCI_MSIX",), 1))
    walk.do("alloc", irq=0, devid=0, index=0)
    walk.do("activate", irq=0, vector=0, cpu=0)
    assert not walk.can("amd_iommu_activate_guest_mode", irq=0, vector=0)


def test_amd_10_a_failed_allocation_changes_nothing() -> None:
    walk = ready(amd_vi(("PCI_MSIX",), 1, levels=False))
    before = walk.state
    walk.do("alloc_fails", irq=0, devid=0, index=0)
    assert walk.state == before
    walk = ready(BLOCKS)
    before = walk.state
    walk.do("alloc_two_fails", irq=0, devid=0, index=0, last=1, count=1)
    assert walk.state == before


def test_amd_10_v5_10_keeps_the_copy() -> None:
    walk = ready(BLOCKS, "AMD-copy")
    walk.step("alloc_two_fails", irq=0, devid=0, index=0, last=1, count=1)
    assert walk.get("entry_copy", 0) and not walk.get("ir_data", 0)
    assert walk.violated() == ("AMD-10",)


def test_amd_11_a_level_that_is_missing_is_not_looked_into() -> None:
    scope = amd_vi(("PCI_MSIX",), 1, levels=False)
    walk = ready(scope)
    assert not walk.can("alloc", irq=0, devid=0, index=0)
    walk = ready(scope, "AMD-01")
    walk.step("alloc_oops", irq=0)
    assert walk.violated() == ("AMD-11",)


def test_amd_dte_the_upper_half_of_a_table_was_blocked() -> None:
    walk = Walk(MODELS["amd_ir"].build(frozenset({"AMD-DTE"})), amd_vi(("HPET",), 1, near=0))
    walk.step("new_table", devid=0, table=0)
    walk.step("alloc", irq=0, devid=0, index=0)
    assert walk.violated() == ("AMD-DTE",)
