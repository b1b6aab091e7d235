# SPDX-License-Identifier: GPL-2.0-only
"""The actions of the IO-APICs: one for each event, in the kernel's order of fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spec.ioapic import (
    ENTRY,
    IOAPIC,
    KIND,
    PIN,
    by_gsi,
    follows_config,
    ioapic,
    lower_bound,
    made,
    mapped,
    wanted,
)
from spec.matrix import CPU, VECTOR
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import (
    BOOL,
    TRUE,
    Option,
    Term,
    and_,
    forall,
    implies,
    ite,
    none,
)

OPTION_CPU = Option(CPU)
OPTION_VECTOR = Option(VECTOR)


@contextmanager
def each_pin(
    s: State, irq: Term, where: Callable[[Term, Term], Term] = lambda a, p: TRUE
) -> Iterator[tuple[Term, Term]]:
    """Do the block for every pin on the irq's list."""

    def listed(a: Term, p: Term) -> Term:
        owner = s.pin_irq[a, p]
        return and_(owner == irq, ~(owner == none(IRQ)), where(a, p))

    with s.each(IOAPIC, "a") as a, s.each(PIN, "p", lambda p: listed(a, p)) as p:
        yield a, p


# --- what genirq and the vector domain do ---------------------------------------------------


@ioapic.action(irq=IRQ)
def irq_alloc_descs(s: State, irq: Term) -> None:
    """A descriptor: of an irq that was asked for by its number, or of one that is not below the
    lower bound for dynamic irqs."""
    s.require(~s.desc[irq], wanted(s, irq) | lower_bound(s, irq))
    s.dynamic[irq] = ~wanted(s, irq)
    s.desc[irq] = True


@ioapic.action(irq=IRQ)
def irq_free_descs(s: State, irq: Term) -> None:
    """The descriptor goes."""
    s.require(s.desc[irq], ~mapped(s, irq))
    s.desc[irq] = False
    s.dynamic[irq] = False
    s.activated[irq] = False


@ioapic.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The irq's configuration changes: if it is active, its entries are to follow."""
    _configure(s, irq, vector, cpu)


@ioapic.action(irq=IRQ)
def vector_config_shutdown(s: State, irq: Term) -> None:
    """The configuration names no vector of its own any more."""
    _configure(s, irq, none(VECTOR), none(CPU))


@ioapic.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config_legacy(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """A legacy irq that is in use takes its boot-time vector over."""
    s.require(s.isa_irq[vector] == irq)
    _configure(s, irq, vector, cpu)


def _configure(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    s.cfg_vector[irq] = vector
    s.cfg_cpu[irq] = cpu
    with each_pin(s, irq, lambda a, p: ~s.remapped[a]) as (a, p):
        s.entry[a, p] = ite(mapped(s, irq) & s.activated[irq], ENTRY.OWED, ENTRY.SETTLED)


@ioapic.action(irq=IRQ)
def vector_teardown(s: State, irq: Term) -> None:
    """The irq leaves the vector domain; the IO-APIC's is left before."""
    s.require(~mapped(s, irq))
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None


@ioapic.action(irq=IRQ)
def irq_domain_activate_irq(s: State, irq: Term) -> None:
    """ACTIVATED is set: the IO-APIC's level came last, and has written the entries."""
    written = forall(
        IOAPIC,
        PIN,
        lambda a, p: implies(
            (s.pin_irq[a, p] == irq) & ~s.remapped[a], follows_config(s, irq, a, p)
        ),
    )
    s.require(s.desc[irq], written)
    s.activated[irq] = True


@ioapic.action(irq=IRQ)
def irqd_clr_activated(s: State, irq: Term) -> None:
    """The early activation trick of the MSI core: no irq of an IO-APIC has it."""
    s.require(s.activated[irq], ~mapped(s, irq))
    s.activated[irq] = False


@ioapic.action(irq=IRQ)
def irq_domain_deactivate_irq(s: State, irq: Term) -> None:
    """ACTIVATED is cleared: nothing is owed to the entries of an irq that is not active."""
    s.require(s.activated[irq])
    s.activated[irq] = False
    with each_pin(s, irq) as (a, p):
        s.entry[a, p] = ENTRY.SETTLED
        s.unwritten[a, p] = False


# --- IO-APICs and their domains -------------------------------------------------------------


@ioapic.action(ioapic=IOAPIC, domain=DOMAIN)
def mp_irqdomain_create(s: State, ioapic: Term, domain: Term) -> None:
    """An IO-APIC's domain. Numbering by GSI keeps dynamic irqs behind its GSIs."""
    s.require(~(s.kind[ioapic] == KIND.INVALID), ~made(s, ioapic))
    s.require(s.at_boot[ioapic] == ~s.ioapic_initialized)
    s.pin_domain[ioapic] = domain
    end = s.gsi_end[ioapic] + 1
    with s.when(by_gsi(s, ioapic) & (s.dynirq_base < end)):
        s.dynirq_base = end


@ioapic.action()
def setup_IO_APIC(s: State) -> None:
    """Boot is through with the IO-APICs: all that firmware lists have their domains."""
    s.require(~s.ioapic_initialized)
    s.require(forall(IOAPIC, lambda a: implies(s.at_boot[a] & by_gsi(s, a), made(s, a))))
    s.ioapic_initialized = True


# --- pins -----------------------------------------------------------------------------------


@ioapic.action(irq=IRQ, ioapic=IOAPIC, pin=PIN)
def add_pin_to_irq_node(s: State, irq: Term, ioapic: Term, pin: Term) -> None:
    """A pin for an irq: the first one of any irq, or a further one of an ISA irq. Nobody programs a
    pin that is added to an active irq, before the irq moves or is activated again: the boot code
    does so at once with an irq that it takes over from the PIC, others do not (IOA-pin)."""
    isa = s.isa_of[ioapic, pin] == irq
    first = ~mapped(s, irq)
    s.require(s.desc[irq], s.has_pin[ioapic, pin], made(s, ioapic))
    s.require(forall(IRQ, lambda j: ~s.irq_2_pin[j, ioapic, pin]))
    s.require(
        ite(s.isa_of[ioapic, pin] == none(IRQ), first & _number_fits(s, irq, ioapic, pin), isa)
    )
    s.require(first | s.is_isa[irq])
    s.assume("IOA-pin", implies(s.activated[irq], first & s.legacy[irq]))
    s.irq_2_pin[irq, ioapic, pin] = True
    s.pin_irq[ioapic, pin] = irq
    with s.when(first):
        s.home_ioapic[irq] = ioapic
        s.home_pin[irq] = pin
        s.is_isa[irq] = isa
        s.unwritten[ioapic, pin] = s.activated[irq]
        s.in_hand[irq] = True


def _number_fits(s: State, irq: Term, ioapic: Term, pin: Term) -> Term:
    """alloc_irq_from_domain: by GSI, or any; a LEGACY domain by a legacy GSI at boot only."""
    gsi = s.gsi_irq[ioapic, pin]
    late = and_(s.kind[ioapic] == KIND.LEGACY, s.ioapic_initialized, s.legacy[gsi])
    return ite(by_gsi(s, ioapic) & ~late, gsi == irq, s.dynamic[irq])


@ioapic.action(irq=IRQ, ioapic=IOAPIC, pin=PIN)
def remove_pin_from_irq(s: State, irq: Term, ioapic: Term, pin: Term) -> None:
    """The irq leaves the IO-APIC's domain, with the one pin that it has."""
    s.require(s.in_hand[irq], s.home_ioapic[irq] == ioapic, s.home_pin[irq] == pin)
    s.require(~s.is_isa[irq], ~s.activated[irq])
    s.irq_2_pin[irq, ioapic, pin] = False
    s.pin_irq[ioapic, pin] = None
    s.home_ioapic[irq] = None
    s.home_pin[irq] = None
    s.in_hand[irq] = False


@ioapic.action(irq=IRQ, trigger=BOOL, polarity=BOOL)
def mp_set_attr(s: State, irq: Term, trigger: Term, polarity: Term) -> None:
    """An irq gets its attributes before it has a user; a legacy irq takes those of the first user
    behind the boot code."""
    s.require(s.desc[irq])
    s.require((s.users[irq] == 0) | and_(s.legacy[irq], s.users[irq] == 1))
    s.level_triggered[irq] = trigger
    s.active_low[irq] = polarity


@ioapic.action(irq=IRQ, ioapic=IOAPIC, pin=PIN)
def mp_map_pin(s: State, irq: Term, ioapic: Term, pin: Term) -> None:
    """One user more."""
    s.require(s.irq_2_pin[irq, ioapic, pin])
    with s.when(~s.legacy[irq] | (s.users[irq] > 0)):
        s.promised[irq] = True
        s.promised_level[irq] = s.level_triggered[irq]
        s.promised_low[irq] = s.active_low[irq]
    s.users[irq] += 1
    s.mappings[irq] += 1
    s.in_hand[irq] = False


@ioapic.action(irq=IRQ)
def mp_unmap_irq(s: State, irq: Term) -> None:
    """One user less; ISA irqs keep theirs for ever."""
    s.require(s.users[irq] > 0, ~s.is_isa[irq])
    s.users[irq] -= 1
    s.unmappings[irq] += 1
    s.in_hand[irq] = s.users[irq] == 0
    s.promised[irq] = (s.users[irq] > 0) & (~s.legacy[irq] | (s.users[irq] > 1))


@ioapic.action(
    ioapic=IOAPIC, pin=PIN, vector=OPTION_VECTOR, dest=OPTION_CPU, trigger=BOOL, polarity=BOOL,
    masked=BOOL,
)  # fmt: skip
def ioapic_write_entry(
    s: State,
    ioapic: Term,
    pin: Term,
    vector: Term,
    dest: Term,
    trigger: Term,
    polarity: Term,
    masked: Term,
) -> None:
    """The entry of a pin: as the irq's configuration says, or masked. That of a remapped IO-APIC
    names an entry of the remapping table and no vector, and follows no configuration."""
    irq = s.pin_irq[ioapic, pin]
    right = (vector == s.cfg_vector[irq]) & (dest == s.cfg_cpu[irq])
    native = ~(irq == none(IRQ)) & ~s.remapped[ioapic]
    same = (trigger == s.level_triggered[irq]) & (polarity == s.active_low[irq])
    s.require(s.has_pin[ioapic, pin], implies(irq == none(IRQ), masked))
    s.require(implies(native, and_(masked | right, (vector == none(VECTOR)) | same)))
    s.route_vector[ioapic, pin] = vector
    s.route_cpu[ioapic, pin] = dest
    s.route_open[ioapic, pin] = ~masked
    s.unwritten[ioapic, pin] = False
    late = and_(native, s.activated[irq], ~right)
    s.entry[ioapic, pin] = ite(late, ENTRY.OWED, ENTRY.SETTLED)
