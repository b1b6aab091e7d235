# SPDX-License-Identifier: GPL-2.0-only
"""The hierarchy of irq domains, walked through by hand: chains, maps, activation, lookup."""

from __future__ import annotations

from typing import Any

import pytest

from proofs.scopes import domains
from spec.hierarchy import found
from spec.scope import Scope
from spec.sorts import DOMAIN, FWNODE, TOKEN
from spec.stack import MODELS
from spec.state import State
from spec.terms import Option, Term, none, variable
from tests.spec.walks import Walk

ROOT, MIDDLE, TOP = 0, 1, 2
LEGACY = frozenset({0})


def three_levels(*switches: str, irqs: int = 2, **scope: Any) -> Walk:
    """A root, a domain above it, and one above that."""
    model = MODELS["hierarchy"].build(frozenset(switches))
    walk = Walk(model, domains(irqs, 3, 2, **scope))
    walk.do("create", domain=ROOT, parent=None)
    walk.do("create", domain=MIDDLE, parent=ROOT)
    walk.do("create", domain=TOP, parent=MIDDLE)
    return walk


def hwirqs(*numbers: int | None) -> dict[int, int | None]:
    """The hwirq of each domain."""
    return dict(enumerate(numbers))


def chain(walk: Walk, irq: int) -> set[int]:
    """The domains in which the irq has a level."""
    return {d for d in (ROOT, MIDDLE, TOP) if walk.get("level", irq, d)}


def activate(walk: Walk, irq: int) -> None:
    """Every level, from the root outwards."""
    for domain in (ROOT, MIDDLE, TOP):
        walk.do("activate_level", irq=irq, domain=domain)
    walk.do("irq_domain_activate_irq", irq=irq)


def test_dom_1_a_chain_goes_from_the_outermost_domain_to_the_root() -> None:
    walk = three_levels()
    walk.do("alloc", irq=0, domain=TOP, hwirqs=hwirqs(0, 1, 0))
    assert chain(walk, 0) == {ROOT, MIDDLE, TOP}
    walk.do("alloc", irq=1, domain=MIDDLE, hwirqs=hwirqs(1, 0, None))
    assert chain(walk, 1) == {ROOT, MIDDLE}
    assert [walk.get("mapcount", d) for d in (ROOT, MIDDLE, TOP)] == [2, 2, 1]


def test_dom_1_a_trimmed_chain_ends_early() -> None:
    walk = three_levels()
    walk.do("alloc_trimmed", irq=0, domain=TOP, hwirqs=hwirqs(None, 1, 0), last=MIDDLE)
    assert chain(walk, 0) == {MIDDLE, TOP} and walk.get("trimmed", 0)
    assert walk.get("mapcount", ROOT) == 0
    for domain in (MIDDLE, TOP):
        walk.do("activate_level", irq=0, domain=domain)
    walk.do("irq_domain_activate_irq", irq=0)


def test_dom_4_and_5_the_map_finds_what_is_allocated_and_nothing_else() -> None:
    walk = three_levels(linear=frozenset({MIDDLE}))
    walk.do("alloc", irq=1, domain=TOP, hwirqs=hwirqs(0, 1, 0))
    assert [walk.get("revmap", d, h) for d, h in ((ROOT, 0), (MIDDLE, 1), (TOP, 0))] == [1, 1, 1]
    walk.do("free", irq=1)
    assert all(irq is None for irq in walk.state["revmap"].values())
    assert not walk.get("desc", 1)


def test_dom_5_a_table_cannot_tell_irq_0_from_none() -> None:
    walk = three_levels(linear=frozenset({MIDDLE}), legacy=LEGACY)
    walk.do("early_irq_init", irq=0)
    walk.do("alloc", irq=0, domain=MIDDLE, hwirqs=hwirqs(0, 1, None))
    assert walk.get("revmap", MIDDLE, 1) is None
    assert walk.get("revmap", ROOT, 0) == 0


@pytest.mark.parametrize("linear", [False, True])
def test_dom_5_with_one_hwirq_for_two_irqs_one_of_them_is_lost(linear: bool) -> None:
    walk = three_levels("U", linear=frozenset({ROOT} if linear else ()))
    walk.step("alloc", irq=0, domain=ROOT, hwirqs=hwirqs(1, None, None))
    walk.step("alloc", irq=1, domain=ROOT, hwirqs=hwirqs(1, None, None))
    # A table takes the last, a tree keeps the first; a free of either takes the entry of both.
    assert walk.get("revmap", ROOT, 1) == (1 if linear else 0)
    assert {"DOM-5", "DOM-U"} <= set(walk.violated())
    walk.step("free", irq=0)
    assert walk.get("revmap", ROOT, 1) is None
    assert "DOM-5" in walk.violated() and "DOM-U" not in walk.violated()


def test_dom_5_unique_hwirqs_are_what_the_environment_keeps_to() -> None:
    walk = three_levels()
    walk.do("alloc", irq=0, domain=ROOT, hwirqs=hwirqs(1, None, None))
    assert not walk.can("alloc", irq=1, domain=ROOT, hwirqs=hwirqs(1, None, None))
    walk.do("alloc", irq=1, domain=ROOT, hwirqs=hwirqs(0, None, None))


@pytest.mark.parametrize("failing", [ROOT, MIDDLE, TOP])
def test_dom_7_an_allocation_that_fails_anywhere_changes_nothing(failing: int) -> None:
    walk = three_levels()
    walk.do("alloc", irq=1, domain=TOP, hwirqs=hwirqs(1, 1, 1))
    before = walk.state
    inside = hwirqs(*(0 if d < failing else None for d in (ROOT, MIDDLE, TOP)))
    walk.do("alloc_fails", irq=0, domain=TOP, hwirqs=inside, failing=failing)
    assert walk.state == before


def test_dom_7_a_chain_that_fails_its_check_is_freed_by_its_domains() -> None:
    arguments: dict[str, Any] = {"irq": 0, "domain": TOP, "hwirqs": hwirqs(0, 0, 0)}
    fixed = three_levels()
    before = fixed.state
    fixed.do("alloc_unchecked", **arguments)
    assert fixed.state == before
    historic = three_levels("DOM-trim")
    historic.step("alloc_unchecked", **arguments)
    assert historic.violated() == ("DOM-7",)
    assert not historic.get("desc", 0) and historic.get("hwirq", 0, ROOT) == 0


def test_dom_7_a_failed_take_over_leaves_the_descriptor_of_boot() -> None:
    fixed = three_levels(legacy=LEGACY)
    fixed.do("early_irq_init", irq=0)
    before = fixed.state
    fixed.do("realloc_fails", irq=0, domain=TOP)
    assert fixed.state == before
    assert not fixed.can("irq_free_descs", irq=0)
    historic = three_levels("DOM-realloc", legacy=LEGACY)
    historic.do("early_irq_init", irq=0)
    historic.step("realloc_fails", irq=0, domain=TOP)
    assert historic.violated() == ("DOM-7",)


def test_dom_9_nothing_is_mapped_before_all_is_set_up_or_freed_before_all_is_unmapped() -> None:
    walk = three_levels()
    walk.do("irq_alloc_descs", irq=0)
    walk.do("irq_domain_alloc_irq_data", irq=0, domain=MIDDLE)
    walk.do("irq_domain_set_hwirq_and_chip", irq=0, domain=ROOT, hwirq=0)
    assert not walk.can("irq_domain_set_mapping", irq=0, domain=ROOT, hwirq=0)
    walk.do("irq_domain_set_hwirq_and_chip", irq=0, domain=MIDDLE, hwirq=1)
    walk.do("irq_domain_set_mapping", irq=0, domain=ROOT, hwirq=0)
    assert not walk.can("irq_domain_reset_irq_data", irq=0, domain=MIDDLE)
    walk.do("irq_domain_clear_mapping", irq=0, domain=ROOT, hwirq=0)
    walk.do("irq_domain_reset_irq_data", irq=0, domain=MIDDLE)


def test_dom_10_a_domain_without_alloc_sets_no_level_up() -> None:
    walk = Walk(MODELS["hierarchy"].build(), Scope(domains(1, 1, 1).sizes))
    walk.do("create", domain=0, parent=None)
    assert not walk.get("hierarchical", 0)
    assert not walk.can("alloc", irq=0, domain=0, hwirqs={0: 0})


def test_dom_11_a_domain_that_goes_is_the_default_no_longer() -> None:
    walk = three_levels(named=True)
    walk.do("set_default_host", domain=TOP)
    walk.do("remove", domain=TOP)
    assert walk.get("irq_default_domain") is None
    assert not walk.can("remove", domain=ROOT)


def test_dom_12_a_level_that_is_pushed_and_popped_leaves_the_irq_as_it_was() -> None:
    walk = three_levels()
    walk.do("alloc", irq=0, domain=MIDDLE, hwirqs=hwirqs(0, 1, None))
    before = walk.state
    walk.do("push", irq=0, domain=TOP, hwirq=1)
    assert walk.get("outer", 0) == TOP and walk.get("revmap", TOP, 1) == 0
    assert walk.get("mapcount", TOP) == 0
    assert not walk.can("free", irq=0)
    walk.do("pop", irq=0, domain=TOP)
    assert walk.state == before
    walk.do("push_fails", irq=0, domain=TOP)
    assert walk.state == before


def test_dom_14_the_newest_domain_with_the_node_and_the_token_is_found() -> None:
    walk = three_levels(named=True)
    domain, node = variable("domain", DOMAIN), variable("node", FWNODE)
    token, anything = variable("token", Option(TOKEN)), none(TOKEN)

    def lookup(asked: Term, **values: Any) -> list[int]:
        formula = found(State(walk.model.fields, frozenset()), domain, node, asked)
        return [d for d in range(3) if walk.value(formula, domain=d, node=0, **values)]

    assert lookup(anything) == [TOP]
    walk.do("update_bus_token", domain=MIDDLE, token=0)
    assert lookup(token, token=0) == [MIDDLE]
    assert lookup(anything) == [TOP]
    walk.do("remove", domain=TOP)
    assert lookup(anything) == [MIDDLE]


def test_gen_1_and_4_levels_are_activated_outwards_and_deactivated_inwards() -> None:
    walk = three_levels()
    walk.do("alloc", irq=0, domain=TOP, hwirqs=hwirqs(0, 0, 0))
    assert not walk.can("activate_level", irq=0, domain=TOP)
    activate(walk, 0)
    walk.do("startup", irq=0)
    assert not walk.can("deactivate_level", irq=0, domain=TOP)
    walk.do("shutdown", irq=0)
    assert not walk.can("deactivate_level", irq=0, domain=ROOT)
    for domain in (TOP, MIDDLE, ROOT):
        assert not walk.can("irq_domain_deactivate_irq", irq=0)
        walk.do("deactivate_level", irq=0, domain=domain)
    walk.do("irq_domain_deactivate_irq", irq=0)
    assert not any(walk.state["active"].values())


@pytest.mark.parametrize("reached", [1, 2])
def test_gen_4_a_failed_activation_is_undone_once_from_the_nearest_level_to_the_root(
    reached: int,
) -> None:
    walk = three_levels()
    walk.do("alloc", irq=0, domain=TOP, hwirqs=hwirqs(0, 0, 0))
    before = walk.state
    for domain in range(reached):
        walk.do("activate_level", irq=0, domain=domain)
    for domain in reversed(range(reached)):
        others = set(range(3)) - {domain}
        assert not any(walk.can("deactivate_level", irq=0, domain=d) for d in others)
        walk.do("deactivate_level", irq=0, domain=domain)
    assert walk.state == before
    assert not any(walk.can("deactivate_level", irq=0, domain=d) for d in range(3))


def test_gen_1_the_early_activation_trick_leaves_the_levels_active() -> None:
    walk = three_levels()
    walk.do("alloc", irq=0, domain=TOP, hwirqs=hwirqs(0, 0, 0))
    activate(walk, 0)
    walk.do("irqd_clr_activated", irq=0)
    assert all(walk.get("active", 0, d) for d in range(3)) and walk.get("apart", 0)
    activate(walk, 0)
    assert walk.get("activated", 0) and not walk.get("apart", 0)


def test_gen_1_a_legacy_irq_may_be_active_before_it_has_a_domain() -> None:
    walk = three_levels(legacy=LEGACY)
    walk.do("early_irq_init", irq=0)
    walk.do("irq_domain_activate_irq", irq=0)
    walk.do("startup", irq=0)
    walk.do("alloc", irq=0, domain=TOP, hwirqs=hwirqs(0, 0, 0))
    assert walk.get("activated", 0) and walk.get("apart", 0)
    assert not any(walk.state["active"].values())
