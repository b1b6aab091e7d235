# SPDX-License-Identifier: GPL-2.0-only
"""Allocation through a hierarchy of domains, and what a failure leaves."""

import errno
from functools import partial

import pytest

from impl.kernel.irq.irq import (
    IRQ_NOREQUEST,
    IrqChip,
    IrqDomainOps,
    no_irq_chip,
)
from impl.kernel.irq.irqdesc import early_irq_init
from impl.kernel.irq.irqdomain import (
    irq_find_mapping,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    IRQ_CHIP_NOT_CONNECTED,
    irq_domain_alloc_irqs,
    irq_domain_alloc_irqs_parent,
    irq_domain_disconnect_hierarchy,
    irq_domain_free_irqs,
    irq_domain_free_irqs_top,
    irq_domain_set_hwirq_and_chip,
    irq_domain_set_info,
)
from tests.impl.support import names
from tests.impl.tower import LINEAR_SIZE, Tower, chain, levels_of, told, tree

# --- allocation -----------------------------------------------------------------------------


def test_dom_1_and_2_an_interrupt_has_a_level_for_each_domain() -> None:
    t = Tower()
    irq = t.alloc(2)
    for each in (irq, irq + 1):
        desc = t.irqs.descs[each]
        assert chain(desc) == [(level.domain, each, level.chip, "arg") for level in t.levels]
        for irqd in levels_of(desc):
            assert (irqd.irq, irqd.common) == (each, desc.common)
    assert t.log == [f"+{name} {irq}+2" for name in ("root", "middle", "top")]


def test_dom_3_mapcount_counts_the_allocated_interrupts_of_a_domain() -> None:
    t = Tower()
    irq = t.alloc(3)
    alone = irq_domain_alloc_irqs(t.domains, t.root.domain, -1, 1, 0, None)
    assert [level.domain.mapcount for level in t.levels] == [3, 3, 4]
    irq_domain_free_irqs(t.domains, irq, 2)
    assert [level.domain.mapcount for level in t.levels] == [1, 1, 2]
    irq_domain_free_irqs(t.domains, alone, 1)
    assert [level.domain.mapcount for level in t.levels] == [1, 1, 1]


def test_dom_4_and_5_every_level_is_found_by_its_hwirq() -> None:
    t = Tower()
    t.middle.hwirq = lambda virq, arg: LINEAR_SIZE - virq  # in the table
    t.top.hwirq = lambda virq, arg: 1 << 40 | virq
    irq = t.alloc(2)
    for each in (irq, irq + 1):
        assert irq_find_mapping(t.domains, t.root.domain, each) == each
        assert irq_find_mapping(t.domains, t.middle.domain, LINEAR_SIZE - each) == each
        assert irq_find_mapping(t.domains, t.top.domain, 1 << 40 | each) == each
    assert irq_find_mapping(t.domains, t.top.domain, irq) == 0
    assert not t.middle.domain.revmap_tree
    # A hwirq beyond the table goes into the tree.
    t.middle.hwirq = lambda virq, arg: LINEAR_SIZE
    third = t.alloc()
    assert irq_find_mapping(t.domains, t.middle.domain, LINEAR_SIZE) == third


def test_trap_21_collisions_in_a_tree_are_silent_and_a_delete_asks_nobody() -> None:
    t = Tower()
    t.top.hwirq = lambda virq, arg: 5
    first, second = t.alloc(), t.alloc()
    assert irq_find_mapping(t.domains, t.top.domain, 5) == first
    irq_domain_free_irqs(t.domains, second, 1)
    assert irq_find_mapping(t.domains, t.top.domain, 5) == 0
    irq_domain_free_irqs(t.domains, first, 1)
    assert t.top.domain.mapcount == 0


def test_a_table_takes_the_last_owner_of_a_hwirq() -> None:
    t = Tower()
    t.middle.hwirq = lambda virq, arg: 5
    first, second = t.alloc(), t.alloc()
    assert irq_find_mapping(t.domains, t.middle.domain, 5) == second
    irq_domain_free_irqs(t.domains, first, 1)
    assert irq_find_mapping(t.domains, t.middle.domain, 5) == 0


def test_trap_19_irq_0_looks_unmapped_in_a_table() -> None:
    t = Tower()
    early_irq_init(t.irqs, 1)
    t.middle.hwirq = lambda virq, arg: 2
    assert t.alloc(irq_base=0, realloc=True) == 0
    assert irq_find_mapping(t.domains, t.middle.domain, 2) == 0
    assert irq_find_mapping(t.domains, t.top.domain, 0) == 0
    assert t.top.domain.revmap_tree[0].irq == 0


def test_trap_38_a_positive_result_is_success() -> None:
    t = Tower()
    t.top.result = t.middle.result = 1
    irq = t.alloc()
    assert irq_find_mapping(t.domains, t.top.domain, irq) == irq


@pytest.mark.parametrize("failing", ["top", "middle", "root"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_dom_7_a_level_that_fails_leaves_nothing(failing: str, at: int) -> None:
    t = Tower()
    t.alloc()
    before = t.state()
    getattr(t, failing).failing = at
    events = t.events_of(lambda: t.alloc(3))
    assert t.state() == before
    # Every chain is gone before the first descriptor (DOM-9: no map has seen them).
    got = [event.name for event in events]
    assert got[:3] == ["irq_alloc_descs"] * 3
    assert got[-6:] == ["irq_domain_free_irq_data"] * 3 + ["irq_free_descs"] * 3
    assert "irq_domain_set_mapping" not in got


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 6])
def test_dom_7_no_memory_for_a_level_leaves_nothing(nth: int) -> None:
    t = Tower()
    before = t.state()
    t.kernel.failures["irq_domain_insert_irq_data"] = nth
    seen: list[int] = []
    events = t.events_of(lambda: seen.append(t.alloc(3)))
    assert seen == [-errno.ENOMEM]
    assert t.state() == before
    assert t.log == []
    got = [event.name for event in events]
    complete = (nth - 1) // 2
    assert got.count("irq_domain_alloc_irq_data") == complete
    assert got.count("irq_domain_free_irq_data") == complete
    assert t.alloc(3) == 1


def test_dom_7_no_memory_for_a_descriptor_leaves_nothing() -> None:
    t = Tower()
    before = t.state()
    t.kernel.failures["alloc_desc"] = 2
    assert t.alloc(2) == -errno.ENOMEM
    assert t.state() == before


def test_trap_23_a_failed_realloc_frees_the_descriptors_that_were_there() -> None:
    t = Tower()
    early_irq_init(t.irqs, 4)
    t.root.failing = 0
    assert t.alloc(irq_base=2, realloc=True) == -errno.ENOSPC
    assert sorted(t.irqs.descs) == [0, 1, 3]
    # Without a number to reallocate, realloc means nothing.
    t.root.failing = None
    assert t.alloc(irq_base=-1, realloc=True) == 2
    assert t.alloc(irq_base=3) == -errno.EEXIST
    assert t.alloc(irq_base=9) == 9


def test_a_domain_that_does_not_allocate() -> None:
    t = Tower()
    flat = tree(t, None)
    before = t.state()
    assert irq_domain_alloc_irqs(t.domains, flat, -1, 1, 0, None) == -errno.ENOSYS
    assert irq_domain_alloc_irqs_parent(t.root.domain, 1, 1, None) == -errno.ENOSYS
    assert t.state() == before


def test_dom_9_maps_change_after_the_allocation_and_before_the_free() -> None:
    t = Tower()
    seen: list[bool] = []

    def look(virq: int, arg: object) -> int:
        seen.append(any(level.domain.mapcount for level in t.levels))
        return virq

    t.top.hwirq = look
    irq = t.alloc()
    assert seen == [False]
    assert t.irqs.descs[irq].status & IRQ_NOREQUEST == 0
    names_ = [e.name for e in t.events_of(lambda: irq_domain_free_irqs(t.domains, irq, 1))]
    cleared = [k for k, name in enumerate(names_) if name == "irq_domain_clear_mapping"]
    reset = [k for k, name in enumerate(names_) if name == "irq_domain_reset_irq_data"]
    assert (len(cleared), len(reset)) == (3, 3)
    assert max(cleared) < min(reset)


def test_dom_8_free_undoes_alloc() -> None:
    t = Tower()
    before = t.state()
    irq = t.alloc(4)
    t.log.clear()
    irq_domain_free_irqs(t.domains, irq, 4)
    assert t.state() == before
    # Trap 22: a call for each interrupt, from the outermost domain inwards.
    assert t.log == [
        f"-{name} {each}+1" for each in range(irq, irq + 4) for name in ("top", "middle", "root")
    ]


def test_a_free_of_what_no_domain_has_warns() -> None:
    t = Tower()
    early_irq_init(t.irqs, 1)
    for irq in (0, 99):
        events = t.events_of(partial(irq_domain_free_irqs, t.domains, irq, 1))
        assert names(events) == ["WARN"]
    keeps = tree(t, None, IrqDomainOps(alloc=lambda domain, virq, n, arg: 0))
    irq = irq_domain_alloc_irqs(t.domains, keeps, -1, 1, 0, None)
    assert names(t.events_of(lambda: irq_domain_free_irqs(t.domains, irq, 1))) == ["WARN"]
    assert irq in t.irqs.descs


def test_the_events_of_a_life_in_order() -> None:
    t = Tower()
    root, middle, top = (level.domain.id for level in reversed(t.levels))
    assert told(t.events_of(t.alloc)) == [
        "irq_alloc_descs(1, 3, 0)",
        f"irq_domain_alloc_irq_data(1, {top})",
        f"irq_domain_set_hwirq_and_chip(1, {root}, 1)",
        f"irq_domain_set_hwirq_and_chip(1, {middle}, 1)",
        f"irq_domain_set_hwirq_and_chip(1, {top}, 1)",
        f"irq_domain_set_mapping(1, {top}, 1)",
        f"irq_domain_set_mapping(1, {middle}, 1)",
        f"irq_domain_set_mapping(1, {root}, 1)",
    ]
    assert told(t.events_of(lambda: irq_domain_free_irqs(t.domains, 1, 1))) == [
        f"irq_domain_clear_mapping(1, {top}, 1)",
        f"irq_domain_clear_mapping(1, {middle}, 1)",
        f"irq_domain_clear_mapping(1, {root}, 1)",
        f"irq_domain_reset_irq_data(1, {top})",
        f"irq_domain_reset_irq_data(1, {middle})",
        f"irq_domain_reset_irq_data(1, {root})",
        "irq_domain_free_irq_data(1)",
        "irq_free_descs(1)",
    ]


# --- the check of the chips -----------------------------------------------------------------


def test_dom_6_a_level_without_a_chip_is_refused_and_leaks() -> None:
    t = Tower()
    t.middle.chip = None
    before = t.state()
    t.log.clear()
    assert t.alloc() == -errno.EINVAL
    assert t.state() == before
    assert not any(entry.startswith("-") for entry in t.log), "no domain was asked to free"


def test_dom_6_the_outermost_chip_must_not_be_a_mark() -> None:
    t = Tower()
    t.top.chip = IRQ_CHIP_NOT_CONNECTED
    assert t.alloc() == -errno.EINVAL


def test_dom_6_other_marks_than_not_connected_are_refused() -> None:
    t = Tower()
    t.middle.chip, t.root.chip = IrqChip("bad", error=-errno.EINVAL), None
    assert t.alloc() == -errno.EINVAL


def test_dom_6_a_chip_behind_a_mark_is_refused() -> None:
    t = Tower()
    t.middle.chip = IRQ_CHIP_NOT_CONNECTED
    assert t.alloc() == -errno.EINVAL


def test_dom_1_a_mark_trims_the_chain() -> None:
    t = Tower()
    t.middle.chip = t.root.chip = None

    def disconnect(virq: int, arg: object) -> int:
        assert irq_domain_disconnect_hierarchy(t.domains, t.middle.domain, virq) == 0
        return virq

    t.top.hwirq = disconnect
    events = t.events_of(t.alloc)
    assert f"irq_domain_trim_hierarchy(1, {t.top.domain.id})" in told(events)
    assert [irqd.domain for irqd in levels_of(t.irqs.descs[1])] == [t.top.domain]
    assert [level.domain.mapcount for level in t.levels] == [1, 0, 0]
    assert irq_domain_disconnect_hierarchy(t.domains, t.middle.domain, 1) == -errno.EINVAL
    # Nothing inwards hears of the free.
    t.log.clear()
    irq_domain_free_irqs(t.domains, 1, 1)
    assert t.log == ["-top 1+1"]


# --- setters --------------------------------------------------------------------------------


def test_setters_of_a_level() -> None:
    t = Tower()
    irq = t.alloc()
    alone = irq_domain_alloc_irqs(t.domains, t.root.domain, -1, 1, 0, None)
    missing = irq_domain_set_hwirq_and_chip(t.domains, t.top.domain, alone, 1, None, None)
    assert missing == -errno.ENOENT
    assert irq_domain_set_hwirq_and_chip(t.domains, t.top.domain, irq, 9, None, "data") == 0
    irqd = t.level_of(irq, t.top)
    assert (irqd.hwirq, irqd.chip, irqd.chip_data) == (9, no_irq_chip, "data")
    chip = IrqChip("chip")
    irq_domain_set_info(t.domains, t.top.domain, irq, 8, chip, None, "edge", "handler data")
    desc = t.irqs.descs[irq]
    assert (desc.handler_name, desc.handler_data) == ("edge", "handler data")
    assert (irqd.hwirq, irqd.chip) == (8, chip)


def test_a_handler_needs_a_chip_somewhere() -> None:
    t = Tower()
    early_irq_init(t.irqs, 1)
    events = t.events_of(
        lambda: irq_domain_set_info(t.domains, t.top.domain, 0, 8, None, None, "edge", None)
    )
    assert names(events) == ["WARN"]
    assert t.irqs.descs[0].handler_name is None


def test_taking_the_handler_away_acknowledges_at_a_chip_that_is_in_place() -> None:
    t = Tower()
    done: list[str] = []
    t.top.chip = IrqChip(
        "top",
        irq_ack=lambda irqd: done.append("ack"),
        irq_mask=lambda irqd: done.append("mask"),
    )
    irq = t.alloc()
    irq_domain_free_irqs_top(t.domains, t.top.domain, irq, 1)
    # It was masked from the beginning, so only the other half happens.
    assert done == ["ack"]
    second = t.alloc()
    done.clear()
    irq_domain_free_irqs(t.domains, second, 1)
    assert done == []
