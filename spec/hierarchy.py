# SPDX-License-Identifier: GPL-2.0-only
"""Irq domains and the hierarchy of an interrupt's levels (kernel/irq/irqdomain.c, v5.10): state.

Any number of domains, nested to any depth. `above` keeps who is whose ancestor, so that a formula
can speak of a whole chain without counting its levels: `above[d, e]` says that e is d or lies
inwards of it. An interrupt's chain is its outermost domain, `outer`, and those of `level`.

A level is set up while it has a hwirq: then its domain's alloc has given it a chip as well, and has
taken what it needs for the interrupt; resetting the level gives it back.

The actions are in `spec.hierarchy_actions`, `spec.hierarchy_operations` and
`spec.hierarchy_theorems` have the rest. Two laws are not here: that all levels share `irq` and
`common` (DOM-2) is how irq_data is built, and which level composes a message (DOM-13) is a pure
function of the chips in a chain.
"""

from __future__ import annotations

from spec.language import Layer
from spec.sorts import DOMAIN, FWNODE, HWIRQ, IRQ, TOKEN
from spec.state import State
from spec.terms import Enum, Int, Option, Term, and_, count, exists, forall, implies, none, or_

WALK = Enum(
    "Walk",
    (
        "IDLE",  # nobody is on the way through the levels
        "UP",  # an activation is, from the root outwards
        "BACK",  # a failed activation is undone, towards the root
        "DOWN",  # a deactivation is on the way, from the outermost level to the root
    ),
)

hierarchy = Layer("hierarchy", (IRQ, DOMAIN, HWIRQ, TOKEN, FWNODE))

hierarchy.field("legacy", IRQ, rigid=True, doc="boot makes the descriptor, and nobody frees it")
hierarchy.field("zero", type=Option(IRQ), rigid=True, doc="the irq whose number is 0")
hierarchy.field("allocates", DOMAIN, rigid=True, doc="the domain has ops->alloc")
hierarchy.field("linear", DOMAIN, rigid=True, doc="the reverse map is a table, not a tree")
hierarchy.field("fwnode", DOMAIN, type=Option(FWNODE), rigid=True, doc="domain.fwnode")

hierarchy.field("desc", IRQ, doc="the descriptor exists")
hierarchy.field("kept", IRQ, doc="boot has made the descriptor")
hierarchy.field("taken", IRQ, DOMAIN, doc="the domain has taken over the descriptor that boot made")
hierarchy.field("activated", IRQ, doc="IRQD_ACTIVATED")
hierarchy.field("started", IRQ, doc="IRQD_IRQ_STARTED")

hierarchy.field("live", DOMAIN, doc="the domain is on irq_domain_list")
hierarchy.field("parent", DOMAIN, type=Option(DOMAIN), doc="domain.parent")
hierarchy.field("above", DOMAIN, DOMAIN, doc="the second is the first or an ancestor of it")
hierarchy.field("newer", DOMAIN, DOMAIN, doc="the first comes before the second in the list")
hierarchy.field("hierarchical", DOMAIN, doc="IRQ_DOMAIN_FLAG_HIERARCHY")
hierarchy.field("bus_token", DOMAIN, type=Option(TOKEN), doc="domain.bus_token")
hierarchy.field("mapcount", DOMAIN, type=Int((IRQ,)), doc="domain.mapcount")
hierarchy.field("irq_default_domain", type=Option(DOMAIN), doc="irq_default_domain")

hierarchy.field("outer", IRQ, type=Option(DOMAIN), doc="the domain of the outermost irq_data")
hierarchy.field("level", IRQ, DOMAIN, doc="the irq has an irq_data in the domain")
hierarchy.field(
    "hwirq", IRQ, DOMAIN, type=Option(HWIRQ), doc="irq_data.hwirq, once the level is set up"
)
hierarchy.field("mapped", IRQ, DOMAIN, doc="the level has been put into the reverse map")
hierarchy.field("pushed", IRQ, DOMAIN, doc="the level was pushed: mapcount does not count it")
hierarchy.field("trimmed", IRQ, doc="the chain ends before the root domain")
hierarchy.field("revmap", DOMAIN, HWIRQ, type=Option(IRQ), doc="what irq_find_mapping finds")

hierarchy.field("active", IRQ, DOMAIN, doc="the level has been activated, and not deactivated")
hierarchy.field("done", IRQ, DOMAIN, doc="the running walk has dealt with the level")
hierarchy.field("walk", IRQ, type=WALK, doc="who is on the way through the irq's levels")
hierarchy.field("apart", IRQ, doc="ACTIVATED was changed, or a level added, without a walk")

# --- words for the formulas -----------------------------------------------------------------


def has_chain(s: State, i: Term) -> Term:
    """The irq has an irq_data in some domain."""
    return ~(s.outer[i] == none(DOMAIN))


def set_up(s: State, i: Term, d: Term) -> Term:
    """The irq's level in the domain has a chip and a hwirq."""
    return ~(s.hwirq[i, d] == none(HWIRQ))


def whole(s: State, i: Term) -> Term:
    """Every level is set up, but for one that is being pushed."""
    return forall(DOMAIN, lambda e: implies(s.level[i, e] & ~s.pushed[i, e], set_up(s, i, e)))


def unmapped(s: State, i: Term) -> Term:
    """No level of the irq is in a reverse map."""
    return forall(DOMAIN, lambda e: ~s.mapped[i, e])


def inwards(s: State, d: Term, e: Term) -> Term:
    """e is an ancestor of d, and not d itself."""
    return s.above[d, e] & ~(d == e)


def is_taken(s: State, i: Term) -> Term:
    """Some domain has taken over the descriptor that boot made."""
    return exists(DOMAIN, lambda d: s.taken[i, d])


def at_rest(s: State, i: Term) -> Term:
    """Nobody is on the way through the irq's levels."""
    return s.walk[i] == WALK.IDLE


def rising(s: State, i: Term) -> Term:
    """An activation of the irq is running, or being undone."""
    return (s.walk[i] == WALK.UP) | (s.walk[i] == WALK.BACK)


def falling(s: State, i: Term) -> Term:
    """A deactivation of the irq is running."""
    return s.walk[i] == WALK.DOWN


def matches(s: State, d: Term, node: Term, token: Term) -> Term:
    """The domain answers to a firmware node and a bus token; a token of none is ANY. No domain of
    x86 has ops->select or ops->match."""
    asked = (token == none(TOKEN)) | (s.bus_token[d] == token)
    return and_(s.live[d], s.fwnode[d] == node, asked)


def found(s: State, d: Term, node: Term, token: Term) -> Term:
    """irq_find_matching_fwspec answers this domain: the first in the list that matches."""
    return matches(s, d, node, token) & forall(
        DOMAIN, lambda e: implies(matches(s, e, node, token), ~s.newer[e, d])
    )


# --- domains (section 5.9) ------------------------------------------------------------------


@hierarchy.invariant("DOM-10", "A domain is hierarchical exactly if it can allocate.")
def dom_hierarchical(s: State) -> Term:
    return forall(DOMAIN, lambda d: s.hierarchical[d] == (s.live[d] & s.allocates[d]))


@hierarchy.invariant("DOM-11", "The default domain is a live one.")
def dom_default(s: State) -> Term:
    return forall(DOMAIN, lambda d: implies(s.irq_default_domain == d, s.live[d]))


@hierarchy.invariant("DOM-14", "Of two live domains exactly one comes first in the list.")
def dom_newest(s: State) -> Term:
    return and_(
        forall(DOMAIN, DOMAIN, lambda d, e: implies(s.newer[d, e], s.live[d] & s.live[e])),
        forall(DOMAIN, DOMAIN, lambda d, e: ~(s.newer[d, e] & s.newer[e, d])),
        forall(
            DOMAIN,
            DOMAIN,
            DOMAIN,
            lambda d, e, f: implies(s.newer[d, e] & s.newer[e, f], s.newer[d, f]),
        ),
        forall(
            DOMAIN,
            DOMAIN,
            lambda d, e: implies(
                and_(s.live[d], s.live[e], ~(d == e)), s.newer[d, e] | s.newer[e, d]
            ),
        ),
    )


@hierarchy.invariant("DOM-above", "The ancestors of a domain are a line without a cycle.")
def dom_line(s: State) -> Term:
    return and_(
        forall(DOMAIN, lambda d: s.above[d, d] == s.live[d]),
        forall(DOMAIN, DOMAIN, lambda d, e: implies(s.above[d, e], s.live[d] & s.live[e])),
        forall(DOMAIN, DOMAIN, lambda d, e: implies(s.above[d, e] & s.above[e, d], d == e)),
        forall(
            DOMAIN,
            DOMAIN,
            DOMAIN,
            lambda d, e, f: implies(s.above[d, e] & s.above[e, f], s.above[d, f]),
        ),
        forall(
            DOMAIN,
            DOMAIN,
            DOMAIN,
            lambda d, e, f: implies(s.above[d, e] & s.above[d, f], s.above[e, f] | s.above[f, e]),
        ),
    )


@hierarchy.invariant("DOM-parent", "The parent of a domain is its nearest ancestor.")
def dom_parent(s: State) -> Term:
    return and_(
        forall(DOMAIN, DOMAIN, lambda d, p: implies(s.parent[d] == p, inwards(s, d, p))),
        forall(DOMAIN, DOMAIN, lambda d, e: implies(inwards(s, d, e), s.above[s.parent[d], e])),
    )


# --- chains ---------------------------------------------------------------------------------


@hierarchy.invariant(
    "DOM-1", "The level inwards of a level is its domain's parent, to the root unless trimmed."
)
def dom_chain(s: State) -> Term:
    def next_level(i: Term, d: Term) -> Term:
        # A trimmed chain ends somewhere: then there is no level inwards of its last one.
        more = ~s.trimmed[i] & ~(s.parent[d] == none(DOMAIN))
        return implies(s.level[i, d] & more, s.level[i, s.parent[d]])

    return and_(
        forall(IRQ, DOMAIN, lambda i, d: implies(s.outer[i] == d, s.level[i, d])),
        forall(IRQ, DOMAIN, lambda i, e: implies(s.level[i, e], s.above[s.outer[i], e])),
        forall(IRQ, DOMAIN, next_level),
        forall(
            IRQ,
            DOMAIN,
            DOMAIN,
            lambda i, d, f: implies(
                and_(s.level[i, d], s.level[i, f], inwards(s, d, f)), s.level[i, s.parent[d]]
            ),
        ),
    )


@hierarchy.invariant("DOM-chain", "A chain has no gap, and is whole unless trimmed.")
def dom_convex(s: State) -> Term:
    return and_(
        forall(
            IRQ,
            DOMAIN,
            DOMAIN,
            lambda i, e, f: implies(
                and_(s.level[i, f], s.above[s.outer[i], e], s.above[e, f]), s.level[i, e]
            ),
        ),
        forall(
            IRQ,
            DOMAIN,
            lambda i, e: implies(~s.trimmed[i] & s.above[s.outer[i], e], s.level[i, e]),
        ),
    )


@hierarchy.invariant("DOM-3", "mapcount counts the mapped levels that were not pushed.")
def dom_mapcount(s: State) -> Term:
    return forall(
        DOMAIN,
        lambda d: s.mapcount[d] == count(IRQ, lambda i: s.mapped[i, d] & ~s.pushed[i, d]),
    )


@hierarchy.invariant("DOM-4", "What a reverse map finds is an allocated irq with that hwirq.")
def dom_sound(s: State) -> Term:
    return forall(
        IRQ,
        DOMAIN,
        HWIRQ,
        lambda i, d, h: implies(
            s.revmap[d, h] == i, and_(s.desc[i], s.mapped[i, d], s.hwirq[i, d] == h)
        ),
    )


@hierarchy.invariant(
    "DOM-5",
    "A mapped level is found by its hwirq, if its irq is not 0 or the map no table.",
    unless=("U",),
)
def dom_complete(s: State) -> Term:
    def law(i: Term, d: Term, h: Term) -> Term:
        unseen = s.linear[d] & (s.zero == i)
        return implies(and_(s.mapped[i, d], s.hwirq[i, d] == h, ~unseen), s.revmap[d, h] == i)

    return forall(IRQ, DOMAIN, HWIRQ, law)


@hierarchy.invariant("DOM-U", "No two irqs of a domain have one hwirq.", unless=("U",))
def dom_unique(s: State) -> Term:
    return forall(
        IRQ,
        IRQ,
        DOMAIN,
        HWIRQ,
        lambda i, j, d, h: implies((s.hwirq[i, d] == h) & (s.hwirq[j, d] == h), i == j),
    )


@hierarchy.invariant("DOM-6", "Every level of an irq that is mapped somewhere has a chip.")
def dom_chips(s: State) -> Term:
    return forall(IRQ, DOMAIN, lambda i, d: implies(s.mapped[i, d], set_up(s, i, d) & whole(s, i)))


@hierarchy.invariant(
    "DOM-9",
    "An irq is in a reverse map only after its whole chain is set up and before any is freed.",
    follows=True,
)
def dom_order(s: State) -> Term:
    return forall(IRQ, DOMAIN, HWIRQ, lambda i, d, h: implies(s.revmap[d, h] == i, whole(s, i)))


@hierarchy.invariant(
    "DOM-7",
    "An irq without a descriptor, or a level, has nothing of it, and boot's descriptors stay.",
    unless=("DOM-realloc", "DOM-trim"),
)
def dom_atomic(s: State) -> Term:
    def of_level(i: Term, d: Term) -> Term:
        anything = or_(
            set_up(s, i, d), s.mapped[i, d], s.pushed[i, d], s.active[i, d], s.done[i, d]
        )
        return and_(
            implies(anything, s.level[i, d]),
            implies(s.taken[i, d], s.kept[i] & s.desc[i]),
        )

    def of_irq(i: Term) -> Term:
        return and_(
            implies(or_(has_chain(s, i), s.activated[i], s.started[i]), s.desc[i]),
            implies(s.kept[i] & ~is_taken(s, i), s.desc[i]),
            implies(or_(s.trimmed[i], s.apart[i], ~at_rest(s, i)), has_chain(s, i)),
        )

    return forall(IRQ, DOMAIN, of_level) & forall(IRQ, of_irq)


@hierarchy.invariant("DOM-push", "A pushed level lies on the one that was outermost before.")
def dom_pushed(s: State) -> Term:
    return forall(IRQ, DOMAIN, lambda i, d: implies(s.pushed[i, d], s.level[i, s.parent[d]]))


# --- activation (sections 4.2 and 4.5) ------------------------------------------------------


@hierarchy.invariant(
    "GEN-1", "All levels of an irq are active or none, as ACTIVATED says; on the way, as is done."
)
def gen_levels(s: State) -> Term:
    def together(i: Term, d: Term) -> Term:
        return s.level[i, d] & ~s.apart[i]

    return and_(
        forall(
            IRQ,
            DOMAIN,
            lambda i, d: implies(at_rest(s, i) & together(i, d), s.active[i, d] == s.activated[i]),
        ),
        forall(
            IRQ,
            DOMAIN,
            lambda i, d: implies(rising(s, i) & together(i, d), s.active[i, d] == s.done[i, d]),
        ),
        forall(
            IRQ,
            DOMAIN,
            lambda i, d: implies(falling(s, i) & together(i, d), s.active[i, d] == ~s.done[i, d]),
        ),
        forall(IRQ, DOMAIN, lambda i, d: implies(rising(s, i) & s.done[i, d], s.active[i, d])),
        forall(IRQ, DOMAIN, lambda i, d: implies(falling(s, i) & s.done[i, d], ~s.active[i, d])),
    )


@hierarchy.invariant("GEN-2", "A started irq is activated.")
def gen_started(s: State) -> Term:
    return forall(IRQ, lambda i: s.started[i].implies(s.activated[i]))


@hierarchy.invariant(
    "GEN-4", "Levels are activated from the root outwards, and undone in the opposite order."
)
def gen_order(s: State) -> Term:
    def both(i: Term, d: Term, e: Term) -> Term:
        return and_(s.level[i, d], s.level[i, e], inwards(s, d, e))

    return and_(
        forall(
            IRQ,
            DOMAIN,
            DOMAIN,
            lambda i, d, e: implies(and_(rising(s, i), both(i, d, e), s.done[i, d]), s.done[i, e]),
        ),
        forall(
            IRQ,
            DOMAIN,
            DOMAIN,
            lambda i, d, e: implies(and_(falling(s, i), both(i, d, e), s.done[i, e]), s.done[i, d]),
        ),
        forall(IRQ, DOMAIN, lambda i, d: implies(at_rest(s, i), ~s.done[i, d])),
        forall(IRQ, lambda i: implies(rising(s, i), ~s.activated[i])),
        forall(IRQ, lambda i: implies(falling(s, i), s.activated[i] & ~s.started[i])),
    )
