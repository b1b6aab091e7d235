# SPDX-License-Identifier: GPL-2.0-only
"""The actions of the domain hierarchy: one for each event, with the event's fields.

Guards say what the code around an event has made sure of: which levels exist, which are set up, in
which order they are dealt with. An action about one interrupt writes nothing of any other, apart
from the counters and reverse maps of the domains.
"""

from __future__ import annotations

from spec.hierarchy import (
    WALK,
    at_rest,
    falling,
    has_chain,
    hierarchy,
    inwards,
    is_taken,
    rising,
    set_up,
    unmapped,
    whole,
)
from spec.sorts import DOMAIN, HWIRQ, IRQ, TOKEN
from spec.state import State
from spec.terms import BOOL, Option, Term, and_, exists, forall, implies, ite, none

OPTION_DOMAIN = Option(DOMAIN)
OPTION_TOKEN = Option(TOKEN)


# --- domains --------------------------------------------------------------------------------


@hierarchy.action(domain=DOMAIN, parent=OPTION_DOMAIN, hierarchy=BOOL, size=BOOL)
def irq_domain_add(s: State, domain: Term, parent: Term, hierarchy: Term, size: Term) -> None:
    """A domain is put at the head of the list, with its parent if it has one. `hierarchy` is the
    flag, `size` whether it has a table for its reverse map."""
    s.require(~s.live[domain], implies(~(parent == none(DOMAIN)), s.live[parent]))
    s.require(hierarchy == s.allocates[domain], size == s.linear[domain])
    with s.each(DOMAIN, "e") as e:
        s.newer[domain, e] = s.live[e]
        s.above[domain, e] = (e == domain) | s.above[parent, e]
    s.live[domain] = True
    s.parent[domain] = parent
    s.hierarchical[domain] = hierarchy


@hierarchy.action(domain=DOMAIN)
def irq_domain_remove(s: State, domain: Term) -> None:
    """A domain goes; nobody removes one that has children or interrupts."""
    s.require(s.live[domain], forall(IRQ, lambda i: ~s.level[i, domain]))
    s.require(forall(DOMAIN, lambda d: implies(s.above[d, domain], d == domain)))
    with s.each(DOMAIN, "e") as e:
        s.newer[domain, e] = False
        s.above[domain, e] = False
    with s.each(DOMAIN, "e") as e:
        s.newer[e, domain] = False
    with s.when(s.irq_default_domain == domain):
        s.irq_default_domain = None
    s.live[domain] = False
    s.parent[domain] = None
    s.hierarchical[domain] = False
    s.bus_token[domain] = None


@hierarchy.action(domain=DOMAIN, token=OPTION_TOKEN)
def irq_domain_update_bus_token(s: State, domain: Term, token: Term) -> None:
    """The domain gets another bus token."""
    s.require(s.live[domain], ~(s.bus_token[domain] == token))
    s.bus_token[domain] = token


@hierarchy.action(domain=OPTION_DOMAIN)
def irq_set_default_host(s: State, domain: Term) -> None:
    """The domain that serves where none is named."""
    s.require((domain == none(DOMAIN)) | s.live[domain])
    s.irq_default_domain = domain


# --- descriptors ----------------------------------------------------------------------------


@hierarchy.action(irq=IRQ)
def irq_alloc_descs(s: State, irq: Term) -> None:
    """A descriptor; that of a legacy irq is boot's."""
    s.require(~s.desc[irq])
    s.desc[irq] = True
    s.kept[irq] = s.legacy[irq]
    with s.each(DOMAIN, "d") as d:
        s.taken[irq, d] = False


@hierarchy.action(irq=IRQ)
def irq_free_descs(s: State, irq: Term) -> None:
    """The descriptor goes. v5.10 frees boot's as well, where a domain failed to take it over
    (DOM-realloc)."""
    s.require(s.desc[irq], ~has_chain(s, irq))
    if not s.on("DOM-realloc"):
        s.require(implies(s.kept[irq], is_taken(s, irq)))
        s.kept[irq] = False
        with s.each(DOMAIN, "d") as d:
            s.taken[irq, d] = False
    s.desc[irq] = False
    s.activated[irq] = False
    s.started[irq] = False


# --- chains ---------------------------------------------------------------------------------


@hierarchy.action(irq=IRQ, domain=DOMAIN)
def irq_domain_alloc_irq_data(s: State, irq: Term, domain: Term) -> None:
    """The irq gets a level in the domain and in each of its ancestors; none is set up yet."""
    s.require(s.desc[irq], ~has_chain(s, irq), s.live[domain])
    s.outer[irq] = domain
    with s.each(DOMAIN, "e", lambda e: s.above[domain, e]) as e:
        s.level[irq, e] = True
    # A legacy irq may have been activated before it had any domain.
    s.apart[irq] = s.activated[irq]


@hierarchy.action(irq=IRQ)
def irq_domain_free_irq_data(s: State, irq: Term) -> None:
    """The chain goes. Its domains have freed what they had taken, apart from the one whose alloc
    failed, if one did. v5.10 drops a chain that fails the check of its chips as it is (DOM-trim),
    and what the domains have taken for the irq is lost."""
    s.require(has_chain(s, irq), unmapped(s, irq), at_rest(s, irq), ~s.started[irq])
    s.require(forall(DOMAIN, lambda d: ~s.pushed[irq, d]))
    if not s.on("DOM-trim"):
        both = forall(
            DOMAIN,
            DOMAIN,
            lambda d, e: implies(set_up(s, irq, d) & set_up(s, irq, e), d == e),
        )
        s.require(both)
        with s.each(DOMAIN, "d") as d:
            s.hwirq[irq, d] = None
    with s.each(DOMAIN, "d") as d:
        s.level[irq, d] = False
        s.active[irq, d] = False
    s.outer[irq] = None
    s.trimmed[irq] = False
    s.apart[irq] = False


@hierarchy.action(irq=IRQ, domain=DOMAIN, hwirq=HWIRQ)
def irq_domain_set_hwirq_and_chip(s: State, irq: Term, domain: Term, hwirq: Term) -> None:
    """The domain's alloc sets its level up. No other irq of the domain has the hwirq (U)."""
    s.require(s.level[irq, domain], ~s.mapped[irq, domain], s.allocates[domain])
    s.require(unmapped(s, irq) | s.pushed[irq, domain])
    s.assume("U", forall(IRQ, lambda j: implies(s.hwirq[j, domain] == hwirq, j == irq)))
    s.hwirq[irq, domain] = hwirq


@hierarchy.action(irq=IRQ, domain=DOMAIN)
def irq_domain_reset_irq_data(s: State, irq: Term, domain: Term) -> None:
    """The domain's free, or its alloc that fails, forgets the level."""
    s.require(s.level[irq, domain], ~s.mapped[irq, domain])
    s.require(unmapped(s, irq) | s.pushed[irq, domain])
    s.hwirq[irq, domain] = None


@hierarchy.action(irq=IRQ, domain=DOMAIN)
def irq_domain_trim_hierarchy(s: State, irq: Term, domain: Term) -> None:
    """The chain ends at this domain's level: all of it is set up, and nothing inwards of it."""
    s.require(s.level[irq, domain], unmapped(s, irq), at_rest(s, irq))
    s.require(forall(DOMAIN, lambda d: ~s.pushed[irq, d]))
    s.require(exists(DOMAIN, lambda e: s.level[irq, e] & inwards(s, domain, e)))
    s.require(
        forall(
            DOMAIN,
            lambda e: implies(s.level[irq, e], set_up(s, irq, e) == s.above[e, domain]),
        )
    )
    with s.each(DOMAIN, "e", lambda e: inwards(s, domain, e)) as e:
        s.level[irq, e] = False
        s.active[irq, e] = False
    s.trimmed[irq] = True


@hierarchy.action(irq=IRQ, domain=DOMAIN, hwirq=HWIRQ)
def irq_domain_set_mapping(s: State, irq: Term, domain: Term, hwirq: Term) -> None:
    """A level is counted, and put into the reverse map: a table takes the last irq of a hwirq, and
    cannot tell irq 0 from none; a tree keeps the first."""
    s.require(s.level[irq, domain], ~s.mapped[irq, domain], s.hwirq[irq, domain] == hwirq)
    s.require(whole(s, irq), at_rest(s, irq))
    s.mapped[irq, domain] = True
    with s.when(~s.pushed[irq, domain]):
        s.taken[irq, domain] = s.kept[irq]
        s.mapcount[domain] += 1
    with s.when(s.linear[domain]):
        s.revmap[domain, hwirq] = ite(s.zero == irq, none(IRQ), irq)
    with s.when(~s.linear[domain] & (s.revmap[domain, hwirq] == none(IRQ))):
        s.revmap[domain, hwirq] = irq


@hierarchy.action(irq=IRQ, domain=DOMAIN, hwirq=HWIRQ)
def irq_domain_clear_mapping(s: State, irq: Term, domain: Term, hwirq: Term) -> None:
    """A level is taken out of the reverse map, whoever is found there. What was pushed has been
    popped before the irq is freed."""
    s.require(s.mapped[irq, domain], s.hwirq[irq, domain] == hwirq, ~s.started[irq])
    s.require(at_rest(s, irq))
    s.require(s.pushed[irq, domain] | forall(DOMAIN, lambda e: ~s.pushed[irq, e]))
    s.mapped[irq, domain] = False
    with s.when(~s.pushed[irq, domain]):
        s.mapcount[domain] -= 1
    s.revmap[domain, hwirq] = None


@hierarchy.action(irq=IRQ, domain=DOMAIN)
def irq_domain_push_irq(s: State, irq: Term, domain: Term) -> None:
    """The irq gets a level outwards of all it has; the new one is not set up yet."""
    s.require(s.live[domain], s.hierarchical[domain], has_chain(s, irq), ~s.started[irq])
    s.require(~s.level[irq, domain], s.parent[domain] == s.outer[irq], at_rest(s, irq))
    s.require(forall(DOMAIN, lambda e: implies(s.level[irq, e], s.mapped[irq, e])))
    s.outer[irq] = domain
    s.level[irq, domain] = True
    s.pushed[irq, domain] = True
    s.apart[irq] = s.apart[irq] | s.activated[irq]


@hierarchy.action(irq=IRQ, domain=DOMAIN)
def irq_domain_pop_irq(s: State, irq: Term, domain: Term) -> None:
    """The pushed level goes, or the attempt to push one is undone."""
    s.require(s.outer[irq] == domain, s.pushed[irq, domain], ~s.mapped[irq, domain])
    s.require(~s.started[irq], at_rest(s, irq))
    s.outer[irq] = s.parent[domain]
    s.level[irq, domain] = False
    s.pushed[irq, domain] = False
    s.active[irq, domain] = False
    s.hwirq[irq, domain] = None


# --- activation -----------------------------------------------------------------------------


@hierarchy.action(irq=IRQ, domain=DOMAIN)
def irq_domain_activate_level(s: State, irq: Term, domain: Term) -> None:
    """A level has been activated; all inwards of it have, before."""
    s.require(s.level[irq, domain], ~s.done[irq, domain], ~s.activated[irq])
    s.require(at_rest(s, irq) | (s.walk[irq] == WALK.UP))
    s.require(
        forall(
            DOMAIN,
            lambda e: implies(s.level[irq, e] & inwards(s, domain, e), s.done[irq, e]),
        )
    )
    s.active[irq, domain] = True
    s.done[irq, domain] = True
    s.walk[irq] = WALK.UP


@hierarchy.action(irq=IRQ, domain=DOMAIN)
def irq_domain_deactivate_level(s: State, irq: Term, domain: Term) -> None:
    """A level has been deactivated: in a deactivation from the outermost inwards; or because the
    next level outwards has failed to activate, from the last that did inwards."""
    failed = rising(s, irq)
    short = exists(DOMAIN, lambda e: s.level[irq, e] & ~s.done[irq, e])
    s.require(s.level[irq, domain], ~s.started[irq], s.done[irq, domain] == failed)
    falls = (at_rest(s, irq) | falling(s, irq)) & s.activated[irq]
    s.require(ite(failed, short, falls))
    s.require(
        forall(
            DOMAIN,
            lambda e: implies(
                and_(s.level[irq, e], inwards(s, e, domain)), s.done[irq, e] == ~failed
            ),
        )
    )
    left = exists(DOMAIN, lambda e: s.done[irq, e] & ~(e == domain))
    s.walk[irq] = ite(failed, ite(left, WALK.BACK, WALK.IDLE), WALK.DOWN)
    s.active[irq, domain] = False
    s.done[irq, domain] = ~failed


@hierarchy.action(irq=IRQ)
def irq_domain_activate_irq(s: State, irq: Term) -> None:
    """ACTIVATED is set: every level has been activated. A legacy irq may have none."""
    s.require(s.desc[irq], ~s.activated[irq], _through(s, irq, WALK.UP))
    s.activated[irq] = True
    _arrive(s, irq)


@hierarchy.action(irq=IRQ)
def irq_domain_deactivate_irq(s: State, irq: Term) -> None:
    """ACTIVATED is cleared: every level has been deactivated."""
    s.require(s.activated[irq], ~s.started[irq], _through(s, irq, WALK.DOWN))
    s.activated[irq] = False
    _arrive(s, irq)


def _through(s: State, irq: Term, walk: Term) -> Term:
    """A walk has been through all levels, or there is nothing to walk through."""
    all_done = forall(DOMAIN, lambda d: implies(s.level[irq, d], s.done[irq, d]))
    return ite(has_chain(s, irq), (s.walk[irq] == walk) & all_done, at_rest(s, irq))


def _arrive(s: State, irq: Term) -> None:
    s.walk[irq] = WALK.IDLE
    s.apart[irq] = False
    with s.each(DOMAIN, "d") as d:
        s.done[irq, d] = False


@hierarchy.action(irq=IRQ)
def irqd_clr_activated(s: State, irq: Term) -> None:
    """The early activation trick: ACTIVATED is cleared and no level deactivated."""
    s.require(s.activated[irq], ~s.started[irq], at_rest(s, irq), has_chain(s, irq))
    s.activated[irq] = False
    s.apart[irq] = True


@hierarchy.action(irq=IRQ)
def irq_startup(s: State, irq: Term) -> None:
    """STARTED is set."""
    s.require(s.activated[irq], at_rest(s, irq))
    s.started[irq] = True


@hierarchy.action(irq=IRQ)
def irq_shutdown(s: State, irq: Term) -> None:
    """STARTED is cleared."""
    s.require(s.started[irq])
    s.started[irq] = False
