# SPDX-License-Identifier: GPL-2.0-only
"""What the invariants of boot and routing need to be inductive: where every domain comes from."""

from __future__ import annotations

from spec.boot import MODE, STEP, routed_mode, set_up
from spec.routing import (
    BUS,
    DEVICE,
    TOKEN,
    below,
    has_special,
    host_domain,
    hosted,
    is_virtual,
    on_hyperv,
    routing,
)
from spec.sorts import DOMAIN
from spec.state import State
from spec.terms import Term, and_, exists, forall, implies, ite, none, or_


@routing.invariant("INIT-default", "The default domain is made once, and as what it is.")
def default_kind(s: State) -> Term:
    domain = s.default_domain
    there = ~(domain == none(DOMAIN))
    kind = ite(s.default_wrapped, TOKEN.ANY, TOKEN.PCI_MSI)
    return and_(
        there.implies(and_(s.default_made, s.hierarchy[domain], ~s.remapping[domain])),
        there.implies(s.token[domain] == kind),
        s.default_wrapped.implies(s.default_made & there),
        s.default_made.implies(set_up(s)),
        and_(s.default_made, s.apic_intr_mode == MODE.PIC, ~s.default_wrapped).implies(~there),
        s.scanning.implies(s.step == STEP.PCI),
        s.irq_remapping_enabled.implies(s.routed & routed_mode(s)),
        s.irq_remapping_enabled.implies(~exists(BUS, lambda b: on_hyperv(s, b))),
    )


@routing.invariant("INIT-buses", "What buses and devices have comes from above or from a unit.")
def sources(s: State) -> Term:
    def usual(x: Term) -> Term:
        unit = and_(s.remapping[x], s.irq_remapping_enabled, ~s.default_wrapped)
        there = ~(s.default_domain == none(DOMAIN))
        return (x == none(DOMAIN)) | (there & or_(x == s.default_domain, unit))

    def of_bus(b: Term) -> Term:
        own = s.bus_domain[b] == host_domain(s, b)
        known = ite(hosted(s, b), own, usual(s.bus_domain[b]))
        return ite(s.bus_added[b], known, s.bus_domain[b] == none(DOMAIN))

    def of_device(d: Term) -> Term:
        home, own = s.bus[d], s.msi_domain[d]
        waits = s.added[d] & ~s.settled[d]
        there = implies(~(s.default_domain == none(DOMAIN)), ~(own == none(DOMAIN)))
        kept = own == host_domain(s, home)
        known = ite(hosted(s, home), below(s, home) | kept, usual(own) & there)
        physical = is_virtual(s, d) & s.added[d]
        return and_(
            ite(s.added[d], known, own == none(DOMAIN)),
            physical.implies(s.settled[s.physical[d]]),
            waits.implies(s.irq_remapping_enabled & ~has_special(s, d)),
            s.settled[d].implies(s.added[d]),
            s.added[d].implies(s.bus_added[home]),
            (s.unit[d] == none(DOMAIN)) | s.remapping[s.unit[d]],
        )

    return forall(BUS, of_bus) & forall(DEVICE, of_device)
