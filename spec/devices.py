# SPDX-License-Identifier: GPL-2.0-only
"""DMAR units and HPET channels: the two users of the generic MSI layer that are no PCI devices.

One domain serves all DMAR units, one each HPET. A unit has an id in its domain: its number, or that
of the channel. An allocation asks the domain's get_hwirq which hwirq is meant, refuses one that is
mapped, and lets msi_init store it (sections 8.4 and 8.5).
"""

from __future__ import annotations

from spec.language import Layer
from spec.sorts import DOMAIN, HWIRQ, IRQ
from spec.state import State
from spec.terms import FALSE, Option, Sort, Term, and_, exists, forall, implies, ite, none

UNIT = Sort("Unit")

devices = Layer("devices", (IRQ, DOMAIN, UNIT, HWIRQ))

devices.field("home", UNIT, type=Option(DOMAIN), rigid=True, doc="the domain that serves the unit")
devices.field("unit_id", UNIT, type=Option(HWIRQ), rigid=True, doc="the unit's id in its domain")
devices.field("zero", type=Option(HWIRQ), rigid=True, doc="the hwirq of a request that names none")
devices.field("is_dmar", DOMAIN, rigid=True, doc="the domain of the DMAR units")

devices.field("made", DOMAIN, doc="the domain exists")
devices.field("has_get_hwirq", DOMAIN, doc="its operations have get_hwirq")
devices.field("has_msi_init", DOMAIN, doc="its operations have msi_init")
devices.field("has_alloc_irqs", DOMAIN, doc="its operations have the pair for allocation")
devices.field("of_domain", IRQ, type=Option(DOMAIN), doc="the domain that the irq is of")
devices.field("answered", IRQ, type=Option(HWIRQ), doc="what get_hwirq answered for the irq")
devices.field("stored", IRQ, type=Option(HWIRQ), doc="what msi_init stored as its hwirq")
devices.field("mapped", DOMAIN, HWIRQ, type=Option(IRQ), doc="the domain's reverse map")
devices.field("turned_away", UNIT, doc="the unit was refused although its id was free")
devices.field("oops", doc="an operation that is missing was called")


@devices.axiom
def ids(s: State) -> Term:
    """Ids are unique in a domain."""
    unique = forall(
        UNIT,
        UNIT,
        lambda u, w: implies((s.home[u] == s.home[w]) & (s.unit_id[u] == s.unit_id[w]), u == w),
    )
    known = forall(UNIT, lambda u: ~((s.home[u] == none(DOMAIN)) | (s.unit_id[u] == none(HWIRQ))))
    return and_(unique, known, ~(s.zero == none(HWIRQ)))


def asked(s: State, unit: Term) -> Term:
    """The hwirq that get_hwirq finds in the request of a unit. As posted, that of a DMAR unit named
    none (N1)."""
    unnamed = s.is_dmar[s.home[unit]] if s.on("N1") else FALSE
    return ite(unnamed, s.zero, s.unit_id[unit])


def free(s: State, unit: Term, hwirq: Term) -> Term:
    """No irq of the unit's domain has the hwirq."""
    return s.mapped[s.home[unit], hwirq] == none(IRQ)


# --- actions --------------------------------------------------------------------------------


@devices.action(domain=DOMAIN)
def msi_create_irq_domain(s: State, domain: Term) -> None:
    """The domain is made. It brings msi_init itself; the other operations are the defaults, for
    which its flags have to ask. As posted they did not (N2)."""
    s.require(~s.made[domain])
    s.made[domain] = True
    s.has_msi_init[domain] = True
    s.has_alloc_irqs[domain] = True
    s.has_get_hwirq[domain] = not s.on("N2")


@devices.action(unit=UNIT, irq=IRQ)
def msi_domain_alloc(s: State, unit: Term, irq: Term) -> None:
    """An irq for a unit."""
    domain = s.home[unit]
    s.require(s.made[domain], s.has_get_hwirq[domain], free(s, unit, asked(s, unit)))
    s.require(s.of_domain[irq] == none(DOMAIN))
    s.of_domain[irq] = domain
    s.answered[irq] = asked(s, unit)
    s.stored[irq] = s.unit_id[unit]
    s.mapped[domain, s.unit_id[unit]] = irq


@devices.action(unit=UNIT)
def msi_domain_alloc_refused(s: State, unit: Term) -> None:
    """-EEXIST: the hwirq is mapped."""
    domain = s.home[unit]
    s.require(s.made[domain], s.has_get_hwirq[domain], ~free(s, unit, asked(s, unit)))
    s.turned_away[unit] = ~exists(
        IRQ, lambda i: (s.of_domain[i] == domain) & (s.stored[i] == s.unit_id[unit])
    )


@devices.action(only_with="N2", unit=UNIT)
def msi_domain_alloc_oops(s: State, unit: Term) -> None:
    """The operation that an allocation calls first is missing."""
    s.require(s.made[s.home[unit]], ~s.has_get_hwirq[s.home[unit]])
    s.oops = True


@devices.action(irq=IRQ)
def irq_domain_free_irqs(s: State, irq: Term) -> None:
    """The irq goes."""
    s.require(~(s.of_domain[irq] == none(DOMAIN)))
    s.mapped[s.of_domain[irq], s.stored[irq]] = None
    for option in ("of_domain", "answered", "stored"):
        getattr(s, option)[irq] = None


# --- invariants -----------------------------------------------------------------------------


@devices.invariant(
    "MSI-1", "A domain has every operation that an allocation calls.", unless=("N2",)
)
def complete(s: State) -> Term:
    def law(x: Term) -> Term:
        operations = and_(s.has_get_hwirq[x], s.has_msi_init[x], s.has_alloc_irqs[x])
        return s.made[x].implies(operations)

    return forall(DOMAIN, law) & ~s.oops


@devices.invariant(
    "MSI-2", "The hwirq that get_hwirq answered is the one that msi_init stored.", unless=("N1",)
)
def coherent(s: State) -> Term:
    return forall(IRQ, lambda i: s.answered[i] == s.stored[i])


@devices.invariant("APIC-7", "No two irqs of a domain have one hwirq.", unless=("N1",))
def unique(s: State) -> Term:
    return forall(
        IRQ,
        IRQ,
        lambda i, j: and_(
            s.of_domain[i] == s.of_domain[j],
            s.stored[i] == s.stored[j],
            ~(s.of_domain[i] == none(DOMAIN)),
        ).implies(i == j),
    )


@devices.invariant("APIC-free", "No unit is refused whose id is free.", unless=("N1",))
def served(s: State) -> Term:
    return forall(UNIT, lambda u: ~s.turned_away[u])


@devices.invariant("MSI-map", "The reverse map of a domain has its irqs and no others.")
def reverse_map(s: State) -> Term:
    def there(i: Term) -> Term:
        inside = s.mapped[s.of_domain[i], s.stored[i]] == i
        out = (s.of_domain[i] == none(DOMAIN)) & (s.stored[i] == none(HWIRQ))
        return inside | out

    back = forall(
        DOMAIN,
        HWIRQ,
        IRQ,
        lambda x, h, i: (s.mapped[x, h] == i).implies(
            and_(s.of_domain[i] == x, s.stored[i] == h, s.made[x])
        ),
    )
    return forall(IRQ, there) & back


@devices.theorem("APIC-7", "A second allocation of one id is refused.", unit=UNIT, irq=IRQ)
def refused_twice(before: State, s: State, unit: Term, irq: Term) -> Term:
    msi_domain_alloc(s, unit, irq)
    return ~free(s, unit, asked(s, unit))


# --- operations: each is one action ---------------------------------------------------------

devices.operation(domain=DOMAIN)(msi_create_irq_domain)
devices.operation(unit=UNIT, irq=IRQ)(msi_domain_alloc)
devices.operation(unit=UNIT)(msi_domain_alloc_refused)
devices.operation(irq=IRQ)(irq_domain_free_irqs)
devices.operation(only_with="N2", unit=UNIT)(msi_domain_alloc_oops)
