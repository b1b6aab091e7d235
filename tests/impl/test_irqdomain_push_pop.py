# SPDX-License-Identifier: GPL-2.0-only
"""Levels that come and go on top of an allocated interrupt."""

import errno

import pytest

from impl.kernel.irq.irq import IrqDomain, IrqDomainOps
from impl.kernel.irq.irqdesc import early_irq_init
from impl.kernel.irq.irqdomain import (
    irq_domain_create_hierarchy,
    irq_domain_create_tree,
    irq_find_mapping,
)
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs
from impl.kernel.irq.irqdomain_push import irq_domain_pop_irq, irq_domain_push_irq
from impl.kernel.irq.manage import irq_set_affinity_locked
from impl.kernel.kernel import KernelBug
from tests.impl.support import names
from tests.impl.tower import Tower, chain, told

PUSHED = 7
"""The hwirq that TOP gives its interrupts."""


def tower(middle_hwirq: int = 100) -> tuple[Tower, int]:
    """A tower, and an interrupt that reaches up to MIDDLE; a hwirq of 100 is beyond its table."""
    t = Tower()
    t.top.asks_parent = False
    t.middle.hwirq = lambda virq, arg: middle_hwirq
    t.top.hwirq = lambda virq, arg: PUSHED
    irq = irq_domain_alloc_irqs(t.domains, t.middle.domain, -1, 1, 0, "arg")
    t.log.clear()
    return t, irq


@pytest.mark.parametrize("middle_hwirq", [100, 3])
def test_dom_12_pop_undoes_push(middle_hwirq: int) -> None:
    t, irq = tower(middle_hwirq)
    before = t.state()
    outermost = t.irqs.descs[irq].irq_data
    assert irq_domain_push_irq(t.domains, t.top.domain, irq, "pushed") == 0
    assert chain(t.irqs.descs[irq]) == [
        (t.top.domain, PUSHED, t.top.chip, "pushed"),
        (t.middle.domain, middle_hwirq, t.middle.chip, "arg"),
        (t.root.domain, irq, t.root.chip, "arg"),
    ]
    assert irq_find_mapping(t.domains, t.top.domain, PUSHED) == irq
    assert irq_find_mapping(t.domains, t.middle.domain, middle_hwirq) == irq
    assert t.top.domain.mapcount == 0
    if middle_hwirq == 100:
        assert t.middle.domain.revmap_tree[100] is outermost.parent_data
    assert irq_domain_pop_irq(t.domains, t.top.domain, irq) == 0
    assert t.state() == before
    if middle_hwirq == 100:
        assert t.middle.domain.revmap_tree[100] is outermost
    # The levels inside were not asked to free.
    assert t.log == [f"+top {irq}+1", f"-top {irq}+1"]


@pytest.mark.parametrize("result", [1, -errno.ENOSPC])
def test_trap_38_any_result_but_0_is_a_failure(result: int) -> None:
    t, irq = tower()
    before = t.state()
    t.top.result = result
    assert irq_domain_push_irq(t.domains, t.top.domain, irq, None) == result
    assert t.state() == before
    assert t.middle.domain.revmap_tree[100] is t.irqs.descs[irq].irq_data


def test_what_cannot_be_pushed() -> None:
    t, irq = tower()
    early_irq_init(t.irqs, 1)
    before = t.state()
    flat = irq_domain_create_tree(t.domains, None, IrqDomainOps())
    stranger = irq_domain_create_hierarchy(t.domains, t.root.domain, 0, 0, None, t.top.ops())

    def push(domain: IrqDomain | None, virq: int) -> int:
        return irq_domain_push_irq(t.domains, domain, virq, None)

    assert push(t.top.domain, 99) == -errno.EINVAL
    assert push(None, irq) == -errno.EINVAL
    assert push(flat, irq) == -errno.EINVAL
    assert push(stranger, irq) == -errno.EINVAL
    assert push(t.root.domain, 0) == -errno.EINVAL
    t.kernel.failures["irq_domain_push_irq"] = 1
    assert push(t.top.domain, irq) == -errno.ENOMEM
    t.irqs.descs[irq].action = 1
    seen: list[int] = []
    events = t.events_of(lambda: seen.append(push(t.top.domain, irq)))
    assert (seen, names(events)) == ([-errno.EBUSY], ["WARN"])
    assert t.state() == before


def test_what_cannot_be_popped() -> None:
    t, irq = tower()
    assert irq_domain_push_irq(t.domains, t.top.domain, irq, None) == 0
    alone = irq_domain_alloc_irqs(t.domains, t.root.domain, -1, 1, 0, None)
    before = t.state()

    def pop(domain: IrqDomain | None, virq: int) -> tuple[int, list[str]]:
        seen: list[int] = []
        events = t.events_of(lambda: seen.append(irq_domain_pop_irq(t.domains, domain, virq)))
        return seen[0], names(events)

    assert pop(t.top.domain, 99) == (-errno.EINVAL, [])
    assert pop(None, irq) == (-errno.EINVAL, [])
    assert pop(t.middle.domain, irq) == (-errno.EINVAL, ["WARN"])
    assert pop(t.root.domain, alone) == (-errno.EINVAL, ["WARN"])
    t.irqs.descs[irq].action = 1
    assert pop(t.top.domain, irq) == (-errno.EBUSY, ["WARN"])
    assert t.state() == before


def test_the_events_of_push_and_pop() -> None:
    t, irq = tower()
    top = t.top.domain.id
    events = t.events_of(lambda: irq_domain_push_irq(t.domains, t.top.domain, irq, None))
    assert told(events) == [
        f"irq_domain_push_irq({irq}, {top})",
        f"irq_domain_set_hwirq_and_chip({irq}, {top}, {PUSHED})",
        f"irq_domain_set_mapping({irq}, {top}, {PUSHED})",
    ]
    events = t.events_of(lambda: irq_domain_pop_irq(t.domains, t.top.domain, irq))
    assert told(events) == [
        f"irq_domain_clear_mapping({irq}, {top}, {PUSHED})",
        f"irq_domain_reset_irq_data({irq}, {top})",
        f"irq_domain_pop_irq({irq}, {top})",
    ]
    t.top.failing = 0
    events = t.events_of(lambda: irq_domain_push_irq(t.domains, t.top.domain, irq, None))
    assert [event.name for event in events] == ["irq_domain_push_irq", "irq_domain_pop_irq"]


def test_the_outermost_chip_is_null_until_the_pushed_domain_sets_one() -> None:
    t, irq = tower()
    t.top.chip = None
    assert irq_domain_push_irq(t.domains, t.top.domain, irq, None) == 0
    desc = t.irqs.descs[irq]
    assert desc.irq_data.chip is None
    with pytest.raises(KernelBug, match="no chip"):
        irq_set_affinity_locked(desc.irq_data, 1, False)
