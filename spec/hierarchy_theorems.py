# SPDX-License-Identifier: GPL-2.0-only
"""Theorems: what the invariants of the domain hierarchy say about several steps in a row.

An allocation that fails, one that is freed again, a level that is pushed and popped, an activation
that is undone: each leaves the whole state of the layer as it was, whatever the number of levels.
That an action about one irq leaves every other as it was is a part of that: the states are equal.
"""

from __future__ import annotations

from spec.alike import alike
from spec.hierarchy import at_rest, found, hierarchy, inwards, unmapped
from spec.hierarchy_actions import (
    irq_alloc_descs,
    irq_domain_activate_irq,
    irq_domain_activate_level,
    irq_domain_add,
    irq_domain_alloc_irq_data,
    irq_domain_clear_mapping,
    irq_domain_deactivate_irq,
    irq_domain_deactivate_level,
    irq_domain_free_irq_data,
    irq_domain_pop_irq,
    irq_domain_push_irq,
    irq_domain_remove,
    irq_domain_reset_irq_data,
    irq_domain_set_hwirq_and_chip,
    irq_domain_set_mapping,
    irq_free_descs,
)
from spec.hierarchy_operations import HWIRQS, Chain
from spec.records import Indexed
from spec.sorts import DOMAIN, FWNODE, HWIRQ, IRQ, TOKEN
from spec.state import State
from spec.terms import Option, Term, and_, forall, implies, none


def same(before: State, after: State) -> Term:
    """Every field is as it was."""
    return alike(before, after, (f for f in hierarchy.fields.values() if not f.rigid))


# --- allocation -----------------------------------------------------------------------------


@hierarchy.theorem(
    "DOM-7", "An allocation that fails in any domain changes nothing.",
    irq=IRQ, domain=DOMAIN, failing=DOMAIN, hwirqs=HWIRQS,
)  # fmt: skip
def failed_allocation(
    before: State, s: State, irq: Term, domain: Term, failing: Term, hwirqs: Indexed
) -> Term:
    """The domains inwards of the one that fails have set their levels up, and free them again."""
    chain = Chain(s, irq)
    irq_alloc_descs(s, irq)
    irq_domain_alloc_irq_data(s, irq, domain)
    s.require(s.level[irq, failing])
    chain.set_up(chain.inside(failing), hwirqs)
    chain.reset(chain.inside(failing))
    irq_domain_free_irq_data(s, irq)
    irq_free_descs(s, irq)
    return same(before, s)


@hierarchy.theorem(
    "DOM-7", "An allocation for a descriptor that was there before, and fails, changes nothing.",
    irq=IRQ, domain=DOMAIN, failing=DOMAIN, hwirqs=HWIRQS,
)  # fmt: skip
def failed_reallocation(
    before: State, s: State, irq: Term, domain: Term, failing: Term, hwirqs: Indexed
) -> Term:
    """Unless the descriptor goes with the attempt (DOM-realloc)."""
    chain = Chain(s, irq)
    s.require(s.kept[irq])
    irq_domain_alloc_irq_data(s, irq, domain)
    s.require(s.level[irq, failing])
    chain.set_up(chain.inside(failing), hwirqs)
    chain.reset(chain.inside(failing))
    irq_domain_free_irq_data(s, irq)
    return same(before, s)


@hierarchy.theorem(
    "DOM-8", "What is allocated and freed again leaves nothing behind.",
    irq=IRQ, domain=DOMAIN, hwirqs=HWIRQS,
)  # fmt: skip
def allocated_and_freed(before: State, s: State, irq: Term, domain: Term, hwirqs: Indexed) -> Term:
    """Under U: else the last of two irqs with one hwirq takes the entry of the first with it."""
    chain = Chain(s, irq)
    s.require(~s.legacy[irq])
    irq_alloc_descs(s, irq)
    irq_domain_alloc_irq_data(s, irq, domain)
    chain.set_up(chain.every, hwirqs)
    chain.map()
    chain.unmap()
    chain.reset(chain.every)
    irq_domain_free_irq_data(s, irq)
    irq_free_descs(s, irq)
    return same(before, s)


@hierarchy.theorem(
    "DOM-12", "A level that is pushed and popped leaves the irq as it was.",
    irq=IRQ, domain=DOMAIN, hwirq=HWIRQ,
)  # fmt: skip
def pushed_and_popped(before: State, s: State, irq: Term, domain: Term, hwirq: Term) -> Term:
    """An irq that is activated meanwhile is another matter."""
    s.require(~s.activated[irq])
    irq_domain_push_irq(s, irq, domain)
    irq_domain_set_hwirq_and_chip(s, irq, domain, hwirq)
    irq_domain_set_mapping(s, irq, domain, hwirq)
    irq_domain_clear_mapping(s, irq, domain, hwirq)
    irq_domain_reset_irq_data(s, irq, domain)
    irq_domain_pop_irq(s, irq, domain)
    return same(before, s)


@hierarchy.theorem(
    "DOM-12", "A push that the domain refuses leaves the irq as it was.", irq=IRQ, domain=DOMAIN
)
def refused_push(before: State, s: State, irq: Term, domain: Term) -> Term:
    s.require(~s.activated[irq])
    irq_domain_push_irq(s, irq, domain)
    irq_domain_pop_irq(s, irq, domain)
    return same(before, s)


# --- activation -----------------------------------------------------------------------------


@hierarchy.theorem(
    "GEN-4", "An activation that fails right after a level leaves that one inactive, once.",
    irq=IRQ, domain=DOMAIN,
)  # fmt: skip
def failed_activation(before: State, s: State, irq: Term, domain: Term) -> Term:
    """Step by step back to the root: whatever was done before this level is done as before."""
    s.require(~s.apart[irq])
    irq_domain_activate_level(s, irq, domain)
    irq_domain_deactivate_level(s, irq, domain)
    unchanged = forall(
        DOMAIN,
        lambda d: and_(
            s.done[irq, d] == before.done[irq, d], s.active[irq, d] == before.active[irq, d]
        ),
    )
    return unchanged & (s.activated[irq] == before.activated[irq])


@hierarchy.theorem(
    "GEN-4", "A level that has been undone is not undone again.",
    irq=IRQ, domain=DOMAIN, other=DOMAIN,
)  # fmt: skip
def undone_once(before: State, s: State, irq: Term, domain: Term, other: Term) -> Term:
    s.require(s.done[irq, domain] & ~s.activated[irq])
    irq_domain_deactivate_level(s, irq, domain)
    irq_domain_deactivate_level(s, irq, other)
    return inwards(s, domain, other)


@hierarchy.theorem("GEN-1", "With ACTIVATED just set, every level is active.", irq=IRQ)
def all_active(before: State, s: State, irq: Term) -> Term:
    irq_domain_activate_irq(s, irq)
    return forall(DOMAIN, lambda d: implies(s.level[irq, d], s.active[irq, d]))


@hierarchy.theorem("GEN-1", "With ACTIVATED just cleared, no level is active.", irq=IRQ)
def none_active(before: State, s: State, irq: Term) -> Term:
    """But for the early activation trick, which clears it and leaves the levels alone."""
    irq_domain_deactivate_irq(s, irq)
    return forall(DOMAIN, lambda d: ~s.active[irq, d])


# --- domains --------------------------------------------------------------------------------


@hierarchy.theorem(
    "DOM-14", "A lookup by node and token has one answer.",
    domain=DOMAIN, other=DOMAIN, node=FWNODE, token=Option(TOKEN),
)  # fmt: skip
def one_answer(before: State, s: State, domain: Term, other: Term, node: Term, token: Term) -> Term:
    s.require(found(s, domain, node, token), found(s, other, node, token))
    return domain == other


@hierarchy.theorem(
    "DOM-14", "A new domain hides those of the same node, from a lookup by any token.",
    domain=DOMAIN, parent=Option(DOMAIN), node=FWNODE,
)  # fmt: skip
def newest_wins(before: State, s: State, domain: Term, parent: Term, node: Term) -> Term:
    irq_domain_add(s, domain, parent, s.allocates[domain], s.linear[domain])
    s.require(s.fwnode[domain] == node)
    return found(s, domain, node, none(TOKEN))


@hierarchy.theorem("DOM-11", "A domain that is removed is the default no longer.", domain=DOMAIN)
def default_removed(before: State, s: State, domain: Term) -> Term:
    irq_domain_remove(s, domain)
    return ~(s.irq_default_domain == domain)


@hierarchy.theorem(
    "DOM-9", "A level is set up or reset only while its irq is in no reverse map.",
    irq=IRQ, domain=DOMAIN,
)  # fmt: skip
def freed_after_unmapping(before: State, s: State, irq: Term, domain: Term) -> Term:
    """But for a pushed level, which comes and goes alone."""
    s.require(~s.pushed[irq, domain], at_rest(s, irq))
    irq_domain_reset_irq_data(s, irq, domain)
    found_nowhere = forall(DOMAIN, HWIRQ, lambda d, h: ~(s.revmap[d, h] == irq))
    return found_nowhere & unmapped(s, irq)
