# SPDX-License-Identifier: GPL-2.0-only
"""The stack as a whole: every layer at the same time, and what holds across them (section 14.6).

The layers are joined by the names of their fields and actions, and what each has proved by itself
holds here (see `spec.composition`). What they know of each other is added to their actions: the
vector domain has a domain's number, and joins and leaves an irq between the setting up and the
resetting of its level there.

The chains are those of a machine without interrupt remapping: of all chips only the local APIC's
composes a message, and the vector domain is a root. What is active at once and never started is not
spoken of: the irqs that are not started all share one vector, which no one serves.
"""

from __future__ import annotations

from spec import (
    hierarchy_actions,
    hierarchy_theorems,
    ioapic_actions,
    msi_actions,
    msi_invariants,
    msi_irq_actions,
    msi_theorems,
    pci_msi,
    pci_msi_actions,
    routing_lemmas,
    routing_selection,
    vector_actions,
    vector_theorems,
)
from spec.alike import alike
from spec.composition import join
from spec.hierarchy import hierarchy, inwards, set_up
from spec.ioapic import IOAPIC, PIN, ioapic, owed
from spec.matrix import CPU, VECTOR, at_rest, free_bit
from spec.msi import first, msi, settled
from spec.records import Indexed
from spec.routing import routing
from spec.sorts import DOMAIN, HWIRQ, IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, Option, Term, and_, count, exists, forall, implies, none, or_
from spec.uv import uv
from spec.vector_actions import MASK
from spec.vectors import PC, current, idle, owns, vectors

COMPLETE = (
    vector_actions,
    vector_theorems,
    hierarchy_actions,
    hierarchy_theorems,
    msi_invariants,
    pci_msi,
    msi_actions,
    msi_irq_actions,
    pci_msi_actions,
    msi_theorems,
    ioapic_actions,
    routing_lemmas,
    routing_selection,
)
"""The modules without which the layers would not be whole when they are joined."""

stack = join("stack", vectors, hierarchy, msi, ioapic, uv, routing)

stack.field(
    "vector_domain", type=Option(DOMAIN), rigid=True, doc="x86_vector_domain, once it is there"
)
stack.field("composes", DOMAIN, rigid=True, doc="the domain's chip has irq_compose_msi_msg")


@stack.axiom
def apic_composes(s: State) -> Term:
    """There is a vector domain to be, and its chip composes."""
    return ~(s.vector_domain == none(DOMAIN)) & s.composes[s.vector_domain]


# --- what the layers know of each other -----------------------------------------------------


@stack.also(domain=DOMAIN, parent=Option(DOMAIN))
def irq_domain_add(s: State, domain: Term, parent: Term) -> None:
    """A domain whose chip composes is a root: the table of the chips."""
    s.require(implies(s.composes[domain], parent == none(DOMAIN)))


@stack.also(irq=IRQ, failed=BOOL)
def vector_setup(s: State, irq: Term, failed: Term) -> None:
    """The vector domain's level is set up before the irq gets anything of it."""
    s.require(implies(~failed, set_up(s, irq, s.vector_domain)))


@stack.also(irq=IRQ)
def vector_setup_legacy(s: State, irq: Term) -> None:
    """That of an irq that was active before, too."""
    s.require(set_up(s, irq, s.vector_domain))


@stack.also(irq=IRQ)
def vector_teardown(s: State, irq: Term) -> None:
    """The reverse maps are cleared before the vector domain frees."""
    s.require(~s.mapped[irq, s.vector_domain])


@stack.also(irq=IRQ, domain=DOMAIN)
def irq_domain_reset_irq_data(s: State, irq: Term, domain: Term) -> None:
    """The vector domain forgets a level when it has freed."""
    s.require(implies(s.vector_domain == domain, ~s.present[irq]))


@stack.also(irq=IRQ)
def irq_domain_free_irq_data(s: State, irq: Term) -> None:
    """A chain goes when its domains have freed."""
    s.require(~s.present[irq], s.msi_level[irq] == none(DOMAIN))


@stack.also(irq=IRQ, domain=DOMAIN)
def irq_domain_pop_irq(s: State, irq: Term, domain: Term) -> None:
    """A pushed level goes when its domain has freed."""
    s.require(~(s.msi_level[irq] == domain))


@stack.also(irq=IRQ, domain=DOMAIN)
def irq_domain_set_mapping(s: State, irq: Term, domain: Term) -> None:
    """The domains have allocated before anything is mapped."""
    s.require(implies(s.vector_domain == domain, s.present[irq]))


# --- what the devices send ------------------------------------------------------------------


def told(s: State, d: Term) -> Term:
    """The device has the message that its descriptor caches."""
    return ~(s.stale[d] | s.is_virtual[d]) & ~s.registers_lost[s.entry_device[d]]


def sends_msi(s: State, i: Term, c: Term, v: Term) -> Term:
    """The irq's MSI message names this vector of this CPU, and nothing is owed to it."""
    d = s.msi_desc[i]
    names = (s.device_vector[d] == v) & (s.device_cpu[d] == c)
    return and_(first(s, i), names, settled(s, i), told(s, d))


def sends_pin(s: State, i: Term, a: Term, p: Term, c: Term, v: Term) -> Term:
    """The entry of one of the irq's pins does, and nothing is owed to it."""
    names = (s.route_vector[a, p] == v) & (s.route_cpu[a, p] == c)
    quiet = and_(~s.remapped[a], ~owed(s, a, p), ~s.unwritten[a, p])
    return and_(s.pin_irq[a, p] == i, names, quiet)


def sends_mmr(s: State, i: Term, c: Term, v: Term) -> Term:
    """The irq's MMR does, and it is up to date."""
    return and_(s.of_uv[i], s.mmr_vector[i] == v, s.mmr_cpu[i] == c, ~s.mmr_stale[i])


def serves(s: State, i: Term) -> Term:
    """The irq is activated and started, and no operation of it is half done."""
    return and_(s.activated[i], s.started[i], idle(s, i))


# --- invariants (section 14.6) --------------------------------------------------------------


@stack.invariant(
    "X-1",
    "On an online CPU every vector that is not the system's is available, set aside, or in use by "
    "somebody.",
    unless=("H1", "H4"),
    follows=True,
)
def conservation(s: State) -> Term:
    def law(c: Term) -> Term:
        regular = count(VECTOR, lambda v: s.alloc_map[c, v] & ~s.managed_map[c, v])
        usable = s.alloc_size - s.systembits_inalloc
        return implies(s.online[c], usable == s.available[c] + s.managed[c] + regular)

    def owner(c: Term, v: Term) -> Term:
        somebody = exists(IRQ, lambda i: owns(s, i, c, v))
        return implies(s.alloc_map[c, v], or_(somebody, s.isa[c, v], s.hand[c, v]))

    return forall(CPU, law) & forall(CPU, VECTOR, owner)


@stack.invariant(
    "X-2", "global_reserved is the number of irqs that are reserved, but for what is in hand.",
    follows=True,
)  # fmt: skip
def reservations(s: State) -> Term:
    reserved = count(IRQ, lambda i: s.has_reserved[i])
    return implies(at_rest(s), s.global_reserved == reserved)


@stack.invariant(
    "X-3", "What the device of a started irq sends is the irq's vector, and no other irq has it.",
    follows=True,
)  # fmt: skip
def no_aliasing(s: State) -> Term:
    return and_(
        forall(
            IRQ,
            CPU,
            VECTOR,
            lambda i, c, v: implies(serves(s, i) & sends_msi(s, i, c, v), current(s, i, c, v)),
        ),
        forall(
            IRQ,
            IOAPIC,
            PIN,
            CPU,
            VECTOR,
            lambda i, a, p, c, v: implies(
                serves(s, i) & sends_pin(s, i, a, p, c, v), current(s, i, c, v)
            ),
        ),
        forall(
            IRQ,
            CPU,
            VECTOR,
            lambda i, c, v: implies(serves(s, i) & sends_mmr(s, i, c, v), current(s, i, c, v)),
        ),
        forall(
            IRQ,
            IRQ,
            CPU,
            VECTOR,
            lambda i, j, c, v: implies(current(s, i, c, v) & current(s, j, c, v), i == j),
        ),
    )


@stack.invariant(
    "X-6", "A message is composed at exactly one level of an irq with a vector.", follows=True
)
def one_composer(s: State) -> Term:
    return and_(
        forall(
            IRQ,
            DOMAIN,
            DOMAIN,
            lambda i, d, e: implies(
                and_(s.level[i, d], s.level[i, e], s.composes[d], s.composes[e]), d == e
            ),
        ),
        forall(IRQ, lambda i: implies(s.present[i], s.level[i, s.vector_domain])),
    )


@stack.invariant("X-root", "A domain whose chip composes is a root.")
def composing_roots(s: State) -> Term:
    return forall(DOMAIN, lambda d: implies(s.composes[d], s.parent[d] == none(DOMAIN)))


@stack.invariant(
    "X-level", "An irq is in the vector domain while its level there is set up, and while mapped."
)
def vector_level(s: State) -> Term:
    return and_(
        forall(IRQ, lambda i: implies(s.present[i], set_up(s, i, s.vector_domain))),
        forall(IRQ, lambda i: implies(s.mapped[i, s.vector_domain], s.present[i])),
    )


@stack.invariant("X-hwirq", "The MSI core and the irq domains mean the same level and hwirq.")
def msi_level(s: State) -> Term:
    return forall(
        IRQ,
        DOMAIN,
        lambda i, d: implies(
            s.msi_level[i] == d,
            and_(s.is_msi_domain[d], s.level[i, d], s.hwirq[i, d] == s.msi_hwirq[i]),
        ),
    )


# --- theorems -------------------------------------------------------------------------------


@stack.theorem(
    "X-2", "A reserved irq can be activated while some online CPU has a vector available.",
    irq=IRQ, cpu=CPU,
)  # fmt: skip
def reservation_is_sound(before: State, s: State, irq: Term, cpu: Term) -> Term:
    """Whatever its affinity: in the end any online CPU is taken."""
    s.require(at_rest(s), s.has_reserved[irq], s.present[irq], s.cpu_online[cpu])
    s.require(s.available[cpu] > 0, ~s.managed_shutdown[irq])
    stack.act("vector_activate")(s, irq, FALSE)
    wants = s.pc[irq] == PC.ACTIVATE
    return wants & exists(VECTOR, lambda v: free_bit(s, cpu, v))


@stack.theorem(
    "X-3", "No two started irqs are signalled by one vector of one CPU.",
    irq=IRQ, other=IRQ, cpu=CPU, vector=VECTOR,
)  # fmt: skip
def two_irqs(before: State, s: State, irq: Term, other: Term, cpu: Term, vector: Term) -> Term:
    def sends(i: Term) -> Term:
        pin = exists(IOAPIC, PIN, lambda a, p: sends_pin(s, i, a, p, cpu, vector))
        return or_(sends_msi(s, i, cpu, vector), sends_mmr(s, i, cpu, vector), pin)

    s.require(serves(s, irq), serves(s, other), sends(irq), sends(other))
    return irq == other


_UNTOUCHED = (
    *("global_available", "global_reserved", "total_allocated", "systembits_inalloc"),
    *("available", "allocated", "managed", "managed_allocated", "online", "alloc_map"),
    *("managed_map", "vector_irq", "mapcount", "revmap", "desc", "outer", "present"),
    *("has_reserved", "activated", "msi_desc", "msi_level", "entry_irq", "entry_linked"),
    *("stored", "msi_enabled", "msix_enabled", "msix_bit", "intx", "pin_irq", "of_uv"),
)
"""The counters and bitmaps of the matrix, the tables, the reverse maps, what the irqs have of each
layer, and what the devices may do."""


@stack.theorem(
    "X-4", "An irq whose MSI level fails leaves the matrix, the maps and the descriptors alone.",
    irq=IRQ, domain=DOMAIN, root=DOMAIN, hwirq=HWIRQ, mask=MASK,
)  # fmt: skip
def all_or_nothing(
    before: State, s: State, irq: Term, domain: Term, root: Term, hwirq: Term, mask: Indexed
) -> Term:
    """From the descriptor to the reservation, and all the way back; the ghosts count it."""
    s.require(s.vector_domain == root, inwards(s, domain, root))
    act = stack.act
    act("irq_alloc_descs")(s, irq, mask, FALSE)
    act("irq_domain_alloc_irq_data")(s, irq, domain)
    act("irq_domain_set_hwirq_and_chip")(s, irq, root, hwirq)
    act("irq_matrix_reserve")(s)
    act("vector_reserve")(s, irq)
    act("vector_config_shutdown")(s, irq)
    act("vector_setup")(s, irq, FALSE)
    act("vector_teardown")(s, irq)
    act("irq_matrix_remove_reserved")(s)
    act("irq_domain_reset_irq_data")(s, irq, root)
    act("irq_domain_free_irq_data")(s, irq)
    act("irq_free_descs")(s, irq)
    return alike(before, s, (stack.fields[name] for name in _UNTOUCHED))
