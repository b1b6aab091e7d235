# SPDX-License-Identifier: GPL-2.0-only
"""The operations of the IO-APICs, which ioapic_mutex makes atomic, and what holds of a few steps.

A map that is refused is no operation: it has no action, and so changes nothing. One exception of
v5.10 is not followed: a legacy irq that takes the attributes of its first user keeps them if memory
then fails for a further pin.
"""

from __future__ import annotations

from spec.ioapic import IOAPIC, PIN, ioapic, lower_bound, mapped, wanted
from spec.ioapic_actions import (
    add_pin_to_irq_node,
    each_pin,
    ioapic_write_entry,
    irq_alloc_descs,
    irq_domain_activate_irq,
    irq_domain_deactivate_irq,
    irq_free_descs,
    mp_irqdomain_create,
    mp_map_pin,
    mp_set_attr,
    mp_unmap_irq,
    remove_pin_from_irq,
    setup_IO_APIC,
    vector_config,
    vector_config_legacy,
    vector_config_shutdown,
    vector_teardown,
)
from spec.matrix import CPU, VECTOR
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, TRUE, Term, and_, forall, implies, none, or_

ioapic.operation(ioapic=IOAPIC, domain=DOMAIN)(mp_irqdomain_create)
ioapic.operation()(setup_IO_APIC)


@ioapic.operation(irq=IRQ)
def dynamic_irq(s: State, irq: Term) -> None:
    """Somebody else allocates an irq, with whatever number is free."""
    s.require(lower_bound(s, irq))
    irq_alloc_descs(s, irq)


@ioapic.operation(irq=IRQ)
def legacy_irq(s: State, irq: Term) -> None:
    """The descriptor of a legacy irq."""
    s.require(s.legacy[irq])
    irq_alloc_descs(s, irq)


@ioapic.operation(irq=IRQ)
def dynamic_irq_freed(s: State, irq: Term) -> None:
    """Somebody else is done with an irq."""
    s.require(s.dynamic[irq], ~mapped(s, irq))
    irq_free_descs(s, irq)


@ioapic.operation(irq=IRQ, ioapic=IOAPIC, pin=PIN, trigger=BOOL, polarity=BOOL)
def map_new(s: State, irq: Term, ioapic: Term, pin: Term, trigger: Term, polarity: Term) -> None:
    """mp_map_pin_to_irq for a pin that has no irq yet."""
    s.require(~mapped(s, irq), ~s.activated[irq])
    with s.when(~s.desc[irq]):
        irq_alloc_descs(s, irq)
    mp_set_attr(s, irq, trigger, polarity)
    add_pin_to_irq_node(s, irq, ioapic, pin)
    mp_map_pin(s, irq, ioapic, pin)


@ioapic.operation(irq=IRQ, ioapic=IOAPIC, pin=PIN, trigger=BOOL, polarity=BOOL)
def map_again(s: State, irq: Term, ioapic: Term, pin: Term, trigger: Term, polarity: Term) -> None:
    """mp_map_pin_to_irq for an irq that is mapped, if the user agrees with its attributes."""
    s.require(mapped(s, irq), s.users[irq] < s.most)
    with s.when(s.legacy[irq] & (s.users[irq] == 1)):
        mp_set_attr(s, irq, trigger, polarity)
    s.require(s.level_triggered[irq] == trigger, s.active_low[irq] == polarity)
    with s.when(~s.irq_2_pin[irq, ioapic, pin]):
        add_pin_to_irq_node(s, irq, ioapic, pin)
    mp_map_pin(s, irq, ioapic, pin)


@ioapic.operation(irq=IRQ)
def unmap(s: State, irq: Term) -> None:
    """mp_unmap_irq: with its last user the irq goes."""
    mp_unmap_irq(s, irq)
    with s.when(s.users[irq] == 0):
        remove_pin_from_irq(s, irq, s.home_ioapic[irq], s.home_pin[irq])
        vector_teardown(s, irq)
        irq_free_descs(s, irq)


def _write_entries(s: State, irq: Term, masked: Term) -> None:
    """ioapic_configure_entry, which leaves remapped entries alone."""
    with each_pin(s, irq, lambda a, p: ~s.remapped[a]) as (a, p):
        ioapic_write_entry(
            s,
            a,
            p,
            s.cfg_vector[irq],
            s.cfg_cpu[irq],
            s.level_triggered[irq],
            s.active_low[irq],
            masked,
        )


@ioapic.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def start(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The irq gets a vector and is activated."""
    s.require(mapped(s, irq), ~s.activated[irq])
    vector_config(s, irq, vector, cpu)
    _write_entries(s, irq, FALSE)
    irq_domain_activate_irq(s, irq)


@ioapic.operation(irq=IRQ)
def start_at_pic(s: State, irq: Term) -> None:
    """A legacy irq, such as the timer's, is requested while the PIC still serves it."""
    s.require(s.legacy[irq], ~mapped(s, irq), ~s.activated[irq])
    irq_domain_activate_irq(s, irq)


@ioapic.operation(irq=IRQ, ioapic=IOAPIC, pin=PIN, vector=VECTOR, cpu=CPU)
def take_over(s: State, irq: Term, ioapic: Term, pin: Term, vector: Term, cpu: Term) -> None:
    """The boot code maps it as what it is: active, and with its boot-time vector."""
    s.require(s.activated[irq], ~mapped(s, irq))
    vector_config_legacy(s, irq, vector, cpu)
    mp_set_attr(s, irq, FALSE, FALSE)
    add_pin_to_irq_node(s, irq, ioapic, pin)
    mp_map_pin(s, irq, ioapic, pin)


@ioapic.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def move(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """ioapic_set_affinity: all pins follow. The setter of a remapping domain has done all."""
    s.require(mapped(s, irq), s.activated[irq])
    vector_config(s, irq, vector, cpu)
    _write_entries(s, irq, FALSE)


@ioapic.operation(irq=IRQ)
def stop(s: State, irq: Term) -> None:
    """mp_irqdomain_deactivate masks the pin that was there first."""
    s.require(mapped(s, irq), s.activated[irq])

    def first(a: Term, p: Term) -> Term:
        return (s.home_ioapic[irq] == a) & (s.home_pin[irq] == p)

    with each_pin(s, irq, first) as (a, p):
        ioapic_write_entry(s, a, p, none(VECTOR), none(CPU), FALSE, FALSE, TRUE)
    vector_config_shutdown(s, irq)
    irq_domain_deactivate_irq(s, irq)


# --- theorems -------------------------------------------------------------------------------


def _same(before: State, after: State) -> Term:
    """Lists, users and the numbers of irqs are as they were."""
    irqs = ("desc", "dynamic", "home_ioapic", "home_pin", "is_isa", "users", "in_hand")
    return and_(
        forall(IRQ, lambda i: and_(*(getattr(after, n)[i] == getattr(before, n)[i] for n in irqs))),
        forall(
            IRQ,
            IOAPIC,
            PIN,
            lambda i, a, p: after.irq_2_pin[i, a, p] == before.irq_2_pin[i, a, p],
        ),
    )


@ioapic.theorem(
    "IOA-3", "A map that fails below the IO-APIC leaves no descriptor, pin or user.", irq=IRQ
)
def failed_parent(before: State, s: State, irq: Term) -> Term:
    irq_alloc_descs(s, irq)
    irq_free_descs(s, irq)
    return _same(before, s)


@ioapic.theorem(
    "IOA-3", "A map that fails at the last check leaves no descriptor, pin or user.",
    irq=IRQ, ioapic=IOAPIC, pin=PIN,
)  # fmt: skip
def failed_check(before: State, s: State, irq: Term, ioapic: Term, pin: Term) -> Term:
    s.require(s.isa_of[ioapic, pin] == none(IRQ))
    irq_alloc_descs(s, irq)
    add_pin_to_irq_node(s, irq, ioapic, pin)
    remove_pin_from_irq(s, irq, ioapic, pin)
    irq_free_descs(s, irq)
    return _same(before, s)


@ioapic.theorem(
    "IOA-3", "A pin that is mapped and unmapped is as it was.", irq=IRQ, ioapic=IOAPIC, pin=PIN
)
def map_and_unmap(before: State, s: State, irq: Term, ioapic: Term, pin: Term) -> Term:
    s.require(~mapped(s, irq), s.isa_of[ioapic, pin] == none(IRQ))
    irq_alloc_descs(s, irq)
    add_pin_to_irq_node(s, irq, ioapic, pin)
    mp_map_pin(s, irq, ioapic, pin)
    mp_unmap_irq(s, irq)
    remove_pin_from_irq(s, irq, ioapic, pin)
    irq_free_descs(s, irq)
    return _same(before, s)


@ioapic.theorem("IOA-4", "Once a user relies on the attributes they are not set again.", irq=IRQ)
def attributes_stay(before: State, s: State, irq: Term) -> Term:
    s.require(s.promised[irq])
    return ~or_(s.users[irq] == 0, and_(s.legacy[irq], s.users[irq] == 1))


@ioapic.theorem(
    "IOA-6", "A legacy irq that is taken over keeps its ISA vector.",
    irq=IRQ, vector=VECTOR, cpu=CPU,
)  # fmt: skip
def vector_kept(before: State, s: State, irq: Term, vector: Term, cpu: Term) -> Term:
    vector_config_legacy(s, irq, vector, cpu)
    return (s.isa_irq[s.cfg_vector[irq]] == irq) & (s.cfg_cpu[irq] == cpu)


@ioapic.theorem(
    "IOA-5", "A move of a remapped irq leaves nothing to be written.",
    irq=IRQ, vector=VECTOR, cpu=CPU,
)  # fmt: skip
def remapped_untouched(before: State, s: State, irq: Term, vector: Term, cpu: Term) -> Term:
    s.require(forall(IOAPIC, PIN, lambda a, p: implies(s.pin_irq[a, p] == irq, s.remapped[a])))
    vector_config(s, irq, vector, cpu)
    return forall(IOAPIC, PIN, lambda a, p: s.entry[a, p] == before.entry[a, p])


@ioapic.theorem(
    "GEN-6", "Before boot is through a dynamic irq is numbered behind every GSI of boot.", irq=IRQ
)
def early_dynamic(before: State, s: State, irq: Term) -> Term:
    """So the irq of a DMAR unit, which may come first, is in no IO-APIC's way."""
    s.require(~s.ioapic_initialized, ~wanted(s, irq))
    irq_alloc_descs(s, irq)
    return forall(
        IOAPIC,
        PIN,
        lambda a, p: implies(s.at_boot[a] & s.has_pin[a, p], ~(s.gsi_irq[a, p] == irq)),
    )
