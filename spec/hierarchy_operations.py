# SPDX-License-Identifier: GPL-2.0-only
"""The operations of the domain hierarchy: what irq_domain_mutex makes atomic, and steps of walks.

Parameters stand for what the environment chooses: an interrupt, a domain, the hwirq of each level,
and the domain that fails. An activation is a walk of several operations, as it is only the
interrupt's own lock that makes it one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spec.hierarchy import hierarchy, inwards, set_up
from spec.hierarchy_actions import (
    OPTION_DOMAIN,
    OPTION_TOKEN,
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
    irq_domain_trim_hierarchy,
    irq_domain_update_bus_token,
    irq_free_descs,
    irq_set_default_host,
    irq_shutdown,
    irq_startup,
    irqd_clr_activated,
)
from spec.records import FunctionOf, Indexed
from spec.sorts import DOMAIN, FWNODE, HWIRQ, IRQ
from spec.state import State
from spec.terms import Option, Term, forall, implies, none

HWIRQS = FunctionOf((DOMAIN,), Option(HWIRQ))
"""The hwirq that each domain gives an irq; none where it does not set a level up."""

Members = Callable[[Term], Term]


@dataclass(frozen=True, slots=True)
class Chain:
    """An irq, and what the domains of its chain do for it, all levels at the same time."""

    state: State
    irq: Term

    def every(self, domain: Term) -> Term:
        """All levels."""
        return self.state.level[self.irq, domain]

    def inside(self, outside: Term) -> Members:
        """The levels that lie inwards of a domain."""
        return lambda d: self.every(d) & inwards(self.state, outside, d)

    def down_to(self, last: Term) -> Members:
        """The levels that lie outwards of a domain, and its own."""
        return lambda d: self.every(d) & self.state.above[d, last]

    def set_up(self, members: Members, hwirqs: Indexed) -> None:
        """The domains' allocs succeed; those of the others do not run."""
        s = self.state
        s.require(forall(DOMAIN, lambda d: members(d) == ~(hwirqs[d] == none(HWIRQ))))
        with s.each(DOMAIN, "d", members) as d:
            irq_domain_set_hwirq_and_chip(s, self.irq, d, hwirqs[d])

    def reset(self, members: Members) -> None:
        """The domains free."""
        with self.state.each(DOMAIN, "d", members) as d:
            irq_domain_reset_irq_data(self.state, self.irq, d)

    def map(self) -> None:
        """Every level is put into its domain's reverse map."""
        s, irq = self.state, self.irq
        with s.each(DOMAIN, "d", self.every) as d:
            irq_domain_set_mapping(s, irq, d, s.hwirq[irq, d])

    def unmap(self) -> None:
        """Every level is taken out of its domain's reverse map."""
        s, irq = self.state, self.irq
        with s.each(DOMAIN, "d", self.every) as d:
            irq_domain_clear_mapping(s, irq, d, s.hwirq[irq, d])


# --- domains --------------------------------------------------------------------------------


@hierarchy.operation(domain=DOMAIN, parent=OPTION_DOMAIN)
def create(s: State, domain: Term, parent: Term) -> None:
    """irq_domain_create_hierarchy, or a root domain."""
    irq_domain_add(s, domain, parent, s.allocates[domain], s.linear[domain])


@hierarchy.operation(domain=DOMAIN)
def remove(s: State, domain: Term) -> None:
    """irq_domain_remove."""
    irq_domain_remove(s, domain)


@hierarchy.operation(domain=DOMAIN, token=OPTION_TOKEN)
def update_bus_token(s: State, domain: Term, token: Term) -> None:
    """irq_domain_update_bus_token; nobody looks for a domain without a node."""
    s.require(~(s.fwnode[domain] == none(FWNODE)))
    irq_domain_update_bus_token(s, domain, token)


@hierarchy.operation(domain=OPTION_DOMAIN)
def set_default_host(s: State, domain: Term) -> None:
    """irq_set_default_host; only a domain with a node, so that a scope can leave both out."""
    s.require((domain == none(DOMAIN)) | ~(s.fwnode[domain] == none(FWNODE)))
    irq_set_default_host(s, domain)


# --- allocation -----------------------------------------------------------------------------


@hierarchy.operation(irq=IRQ)
def early_irq_init(s: State, irq: Term) -> None:
    """Boot makes the descriptor of a legacy irq."""
    s.require(s.legacy[irq])
    irq_alloc_descs(s, irq)


@hierarchy.operation(irq=IRQ, domain=DOMAIN, hwirqs=HWIRQS)
def alloc(s: State, irq: Term, domain: Term, hwirqs: Indexed) -> None:
    """irq_domain_alloc_irqs of one irq, or of a legacy one that has its descriptor."""
    chain = Chain(s, irq)
    _begin(s, irq, domain)
    chain.set_up(chain.every, hwirqs)
    chain.map()


@hierarchy.operation(irq=IRQ, domain=DOMAIN, hwirqs=HWIRQS, last=DOMAIN)
def alloc_trimmed(s: State, irq: Term, domain: Term, hwirqs: Indexed, last: Term) -> None:
    """The same, and the chain is found to end at a domain's level."""
    chain = Chain(s, irq)
    _begin(s, irq, domain)
    chain.set_up(chain.down_to(last), hwirqs)
    irq_domain_trim_hierarchy(s, irq, last)
    chain.map()


@hierarchy.operation(irq=IRQ, domain=DOMAIN, hwirqs=HWIRQS, failing=DOMAIN)
def alloc_fails(s: State, irq: Term, domain: Term, hwirqs: Indexed, failing: Term) -> None:
    """One domain's alloc fails, after those inwards of it have succeeded."""
    chain = Chain(s, irq)
    s.require(~s.desc[irq], ~s.legacy[irq])
    irq_alloc_descs(s, irq)
    irq_domain_alloc_irq_data(s, irq, domain)
    s.require(s.level[irq, failing])
    chain.set_up(chain.inside(failing), hwirqs)
    chain.reset(chain.inside(failing))
    irq_domain_free_irq_data(s, irq)
    irq_free_descs(s, irq)


@hierarchy.operation(irq=IRQ, domain=DOMAIN, hwirqs=HWIRQS)
def alloc_unchecked(s: State, irq: Term, domain: Term, hwirqs: Indexed) -> None:
    """Every alloc succeeds, and the check of the chips fails. The domains free what they have
    taken; in v5.10 they do not (DOM-trim)."""
    chain = Chain(s, irq)
    s.require(~s.desc[irq], ~s.legacy[irq])
    irq_alloc_descs(s, irq)
    irq_domain_alloc_irq_data(s, irq, domain)
    chain.set_up(chain.every, hwirqs)
    if not s.on("DOM-trim"):
        chain.reset(chain.every)
    irq_domain_free_irq_data(s, irq)
    irq_free_descs(s, irq)


@hierarchy.operation(irq=IRQ, domain=DOMAIN)
def realloc_fails(s: State, irq: Term, domain: Term) -> None:
    """The domain cannot take a legacy irq over. Boot's descriptor stays; in v5.10 it does not
    (DOM-realloc)."""
    s.require(s.kept[irq])
    irq_domain_alloc_irq_data(s, irq, domain)
    irq_domain_free_irq_data(s, irq)
    if s.on("DOM-realloc"):
        irq_free_descs(s, irq)


@hierarchy.operation(irq=IRQ)
def free(s: State, irq: Term) -> None:
    """irq_domain_free_irqs of one irq."""
    chain = Chain(s, irq)
    s.require(forall(DOMAIN, lambda d: ~s.pushed[irq, d]))
    chain.unmap()
    chain.reset(chain.every)
    irq_domain_free_irq_data(s, irq)
    irq_free_descs(s, irq)


def _begin(s: State, irq: Term, domain: Term) -> None:
    with s.when(~s.desc[irq]):
        irq_alloc_descs(s, irq)
    irq_domain_alloc_irq_data(s, irq, domain)
    # A legacy irq's descriptor is boot's, and is there.
    s.require(implies(s.legacy[irq], s.kept[irq]))


# --- push and pop ---------------------------------------------------------------------------


@hierarchy.operation(irq=IRQ, domain=DOMAIN, hwirq=HWIRQ)
def push(s: State, irq: Term, domain: Term, hwirq: Term) -> None:
    """irq_domain_push_irq."""
    irq_domain_push_irq(s, irq, domain)
    irq_domain_set_hwirq_and_chip(s, irq, domain, hwirq)
    irq_domain_set_mapping(s, irq, domain, hwirq)


@hierarchy.operation(irq=IRQ, domain=DOMAIN)
def push_fails(s: State, irq: Term, domain: Term) -> None:
    """The domain's alloc fails: the level is taken away again."""
    irq_domain_push_irq(s, irq, domain)
    irq_domain_pop_irq(s, irq, domain)


@hierarchy.operation(irq=IRQ, domain=DOMAIN)
def pop(s: State, irq: Term, domain: Term) -> None:
    """irq_domain_pop_irq."""
    s.require(s.pushed[irq, domain], set_up(s, irq, domain))
    irq_domain_clear_mapping(s, irq, domain, s.hwirq[irq, domain])
    irq_domain_reset_irq_data(s, irq, domain)
    irq_domain_pop_irq(s, irq, domain)


# --- activation -----------------------------------------------------------------------------


@hierarchy.operation(irq=IRQ, domain=DOMAIN)
def activate_level(s: State, irq: Term, domain: Term) -> None:
    """The next level of an activation, from the root outwards."""
    irq_domain_activate_level(s, irq, domain)


@hierarchy.operation(irq=IRQ, domain=DOMAIN)
def deactivate_level(s: State, irq: Term, domain: Term) -> None:
    """The next level of a deactivation, or of the undoing of an activation that failed."""
    irq_domain_deactivate_level(s, irq, domain)


@hierarchy.operation(irq=IRQ)
def activated(s: State, irq: Term) -> None:
    """The activation is through, or a legacy irq has no level."""
    irq_domain_activate_irq(s, irq)


@hierarchy.operation(irq=IRQ)
def deactivated(s: State, irq: Term) -> None:
    """The deactivation is through, or a legacy irq has no level."""
    irq_domain_deactivate_irq(s, irq)


@hierarchy.operation(irq=IRQ)
def early_activation(s: State, irq: Term) -> None:
    """The MSI core forgets an activation (section 6.6)."""
    irqd_clr_activated(s, irq)


@hierarchy.operation(irq=IRQ)
def startup(s: State, irq: Term) -> None:
    """irq_startup."""
    irq_startup(s, irq)


@hierarchy.operation(irq=IRQ)
def shutdown(s: State, irq: Term) -> None:
    """irq_shutdown."""
    irq_shutdown(s, irq)
