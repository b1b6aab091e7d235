# SPDX-License-Identifier: GPL-2.0-only
"""What must hold of the generic MSI core (section 6.7), at every action."""

from __future__ import annotations

from spec.matrix import CPU, VECTOR
from spec.msi import (
    DESC,
    DEVICE,
    LIFE,
    MESSAGE,
    cached_is_composed,
    cached_zero,
    complete,
    configured,
    device_of,
    domain_of,
    dying,
    first,
    has_irq,
    in_phase,
    linked,
    maskable,
    msi,
    reserves,
    settled,
)
from spec.sorts import DOMAIN, HWIRQ, IRQ
from spec.state import State
from spec.terms import Term, and_, count, exists, forall, ite, none


def ready(s: State, i: Term) -> Term:
    """The irq is linked, and the allocation of its device has succeeded."""
    return linked(s, i) & in_phase(s, device_of(s, i), "READY")


def early(s: State, i: Term) -> Term:
    """The irq is as early activation left it, after the allocation has succeeded."""
    return ready(s, i) & (s.life[i] == LIFE.EARLY)


# --- invariants (section 6.7) ---------------------------------------------------------------


@msi.invariant("MSI-2", "The hwirqs of a block follow that of its first irq.")
def msi_hwirqs(s: State) -> Term:
    def law(i: Term, j: Term) -> Term:
        live = ~(s.msi_level[i] == none(DOMAIN)) & ~(s.msi_level[j] == none(DOMAIN))
        same = and_(first(s, j), s.msi_desc[i] == s.msi_desc[j], live)
        number, base = s.hwirq_number[s.msi_hwirq[i]], s.hwirq_number[s.msi_hwirq[j]]
        return same.implies(number == base + s.msi_offset[i])

    return forall(IRQ, IRQ, law)


@msi.invariant("MSI-3", "A descriptor with irqs has all of its block, and they point to it.")
def msi_block(s: State) -> Term:
    def law(d: Term) -> Term:
        base = s.entry_irq[d]
        led = and_(s.msi_desc[base] == d, s.msi_offset[base] == 0, s.desc[base])
        return and_(
            (has_irq(s, d) & ~dying(s, d)).implies(led),
            (has_irq(s, d) & ~s.partial[d]).implies(complete(s, d)),
        )

    return forall(DESC, law)


@msi.invariant("MSI-count", "entry_linked counts the irqs that point to a descriptor.")
def msi_count(s: State) -> Term:
    return forall(
        DESC,
        lambda d: and_(
            s.entry_linked[d] == count(IRQ, lambda i: s.msi_desc[i] == d),
            (~has_irq(s, d)).implies(s.entry_linked[d] == 0),
        ),
    )


@msi.invariant("MSI-4", "After success every descriptor has irqs; after the free none has.")
def msi_all_or_none(s: State) -> Term:
    def law(d: Term) -> Term:
        device = s.entry_device[d]
        return and_(
            in_phase(s, device, "READY").implies(has_irq(s, d) & ~s.partial[d]),
            in_phase(s, device, "IDLE").implies(~has_irq(s, d)),
            s.partial[d].implies(has_irq(s, d) & in_phase(s, device, *_UNDER_WAY)),
        )

    return forall(DESC, law)


_UNDER_WAY = ("ALLOC", "ROLLBACK", "FREEING")


@msi.invariant(
    "MSI-5",
    "What was allocated in reservation mode is not activated and names no real vector.",
    unless=("N6",),
)
def msi_reserved(s: State) -> Term:
    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        quiet = ~s.activated[i] & (s.irqd_can_reserve[i] | s.affinity_managed[i])
        message = s.cached_shutdown[d] & (s.cached_vector[d] == none(VECTOR))
        unused = settled(s, i) & first(s, i)
        return (early(s, i) & reserves(s, d)).implies(quiet & unused.implies(message))

    return forall(IRQ, law)


@msi.invariant(
    "MSI-6",
    "What was activated early without reservation mode is active with a real vector.",
    unless=("N14",),
)
def msi_fixed(s: State) -> Term:
    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        real = and_(
            s.activated[i],
            ~(s.cfg_vector[i] == none(VECTOR)),
            ~s.irqd_can_reserve[i],
            (first(s, i) & settled(s, i)).implies(~(s.cached_vector[d] == none(VECTOR))),
        )
        apart = and_(~reserves(s, d), ~s.affinity_managed[i], s.message_pc[i] != MESSAGE.ZEROED)
        return (early(s, i) & apart).implies(real)

    return forall(IRQ, law)


@msi.invariant(
    "MSI-7",
    "A failed allocation leaves irqs to the descriptors before the one that failed, or to none.",
)
def msi_rollback(s: State) -> Term:
    def prefix(d: Term, e: Term) -> Term:
        device = s.entry_device[d]
        earlier = (s.entry_device[e] == device) & (s.entry_position[e] < s.entry_position[d])
        rising = in_phase(s, device, "ALLOC", "FAILED")
        return and_(rising, earlier, has_irq(s, d)).implies(has_irq(s, e) & ~s.partial[e])

    def untouched(i: Term) -> Term:
        failed = linked(s, i) & in_phase(s, device_of(s, i), "FAILED")
        return failed.implies((s.life[i] == LIFE.NEW) & ~s.activated[i])

    def gap(v: Term) -> Term:
        lacks = exists(DESC, lambda d: (s.entry_device[d] == v) & ~has_irq(s, d))
        return in_phase(s, v, "FAILED").implies(lacks)

    return and_(forall(DESC, DESC, prefix), forall(IRQ, untouched), forall(DEVICE, gap))


@msi.invariant("MSI-9", "An irq that was deactivated has the zero message.")
def msi_deactivated(s: State) -> Term:
    def law(i: Term) -> Term:
        quiet = and_(first(s, i), ~s.activated[i], settled(s, i))
        d = s.msi_desc[i]
        # The early activation trick deactivates nothing.
        message = ite(s.life[i] == LIFE.EARLY, s.cached_shutdown[d], cached_zero(s, d))
        return quiet.implies(message)

    return forall(IRQ, law)


@msi.invariant("MSI-11", "No two live irqs have one hwirq in one MSI domain.")
def msi_unique_hwirq(s: State) -> Term:
    def law(i: Term, j: Term) -> Term:
        there = ~(s.msi_level[i] == none(DOMAIN))
        same = (s.msi_level[i] == s.msi_level[j]) & (s.msi_hwirq[i] == s.msi_hwirq[j])
        return (there & same).implies(i == j)

    return forall(IRQ, IRQ, law)


@msi.invariant("MSI-13", "A device's store is given back before its descriptors die.")
def msi_store(s: State) -> Term:
    return forall(
        DEVICE,
        lambda v: and_(
            s.stored[v].implies(~in_phase(s, v, "IDLE")),
            in_phase(s, v, "IDLE") | exists(DESC, lambda d: s.entry_device[d] == v),
        ),
    )


@msi.invariant(
    "MSI-N7", "msi_free is called once for each msi_init that has succeeded.", unless=("N7",)
)
def msi_init_and_free(s: State) -> Term:
    return forall(
        IRQ,
        lambda i: s.initialised[i].implies(~(s.msi_level[i] == none(DOMAIN)) & s.desc[i]),
    )


@msi.invariant(
    "MSI-N8",
    "What early activation does, it does to every irq of a block.",
    unless=("N6", "N8", "N14"),
)
def msi_uniform(s: State) -> Term:
    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        touched = and_(
            s.life[i] != LIFE.NEW,
            s.irqd_can_reserve[i] == (reserves(s, d) & ~s.affinity_managed[i]),
        )
        return (ready(s, i) & s.activate_early[domain_of(s, d)]).implies(touched)

    return forall(IRQ, law)


@msi.invariant(
    "MSI-N17", "No freed irq is active, and no message names a vector for one.", unless=("N17",)
)
def msi_freed_inactive(s: State) -> Term:
    def message(d: Term) -> Term:
        base = s.entry_irq[d]
        alive = (s.msi_desc[base] == d) & ~(s.msi_level[base] == none(DOMAIN))
        return (~(s.cached_vector[d] == none(VECTOR))).implies(alive)

    def bit(i: Term) -> Term:
        return (linked(s, i) & s.activated[i]).implies(~(s.msi_level[i] == none(DOMAIN)))

    return forall(DESC, message) & forall(IRQ, bit)


# --- what the others need to be inductive ----------------------------------------------------


@msi.invariant("MSI-kind", "The descriptors of a device are alike; only MSI-X has several.")
def msi_kind(s: State) -> Term:
    def law(d: Term, e: Term) -> Term:
        both = (s.entry_device[d] == s.entry_device[e]) & ~(s.entry_device[d] == none(DEVICE))
        alike = (s.entry_is_msix[d] & s.entry_is_msix[e]) | (d == e)
        order = (s.entry_position[d] == s.entry_position[e]).implies(d == e)
        return both.implies(alike & order)

    return forall(DESC, DESC, law)


@msi.invariant("MSI-entry", "A descriptor that is in no list is blank.")
def msi_entry(s: State) -> Term:
    def law(d: Term) -> Term:
        device = s.entry_device[d]
        blank = and_(s.entry_nvec[d] == 0, ~maskable(s, d), cached_zero(s, d))
        listed = and_(
            s.entry_nvec[d] >= 1,
            s.entry_is_msix[d].implies(s.entry_nvec[d] == 1),
            s.entry_position[d] >= 0,
            s.entry_position[d] < s.entries[device],
        )
        return and_(
            ite(device == none(DEVICE), blank, listed),
            s.entry_linked[d] <= s.entry_nvec[d],
            (s.cached_vector[d] == none(VECTOR)) == (s.cached_cpu[d] == none(CPU)),
            s.cached_shutdown[d].implies(s.cached_vector[d] == none(VECTOR)),
        )

    return forall(DESC, law) & forall(DEVICE, lambda v: s.entries[v] >= 0)


@msi.invariant("MSI-irq", "An irq that belongs to no descriptor has nothing of MSI.")
def msi_irq(s: State) -> Term:
    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        free = and_(~s.nomask_quirk[i], s.life[i] == LIFE.NEW, settled(s, i))
        gone = and_(s.msi_level[i] == none(DOMAIN), dying(s, d), ~s.started[i], settled(s, i))
        own = s.msi_level[i] == domain_of(s, d)
        bound = and_(s.desc[i], has_irq(s, d), (s.msi_level[i] == none(DOMAIN)).implies(gone))
        return and_(
            ite(linked(s, i), bound & (gone | own), free),
            (s.msi_level[i] == none(DOMAIN)) == (s.msi_hwirq[i] == none(HWIRQ)),
            (~(s.msi_level[i] == none(DOMAIN))).implies(s.desc[i]),
        )

    return forall(IRQ, law)


@msi.invariant("MSI-config", "What an irq's message can say is a vector, shutdown, or nothing.")
def msi_config(s: State) -> Term:
    def law(i: Term) -> Term:
        return and_(
            (s.cfg_vector[i] == none(VECTOR)) == (s.cfg_cpu[i] == none(CPU)),
            s.cfg_shutdown[i].implies(s.cfg_vector[i] == none(VECTOR)),
            (linked(s, i) & s.activated[i]).implies(configured(s, i)),
        )

    return forall(IRQ, law)


@msi.invariant("MSI-early", "Early activation begins when every descriptor has its irqs.")
def msi_early(s: State) -> Term:
    def begun(i: Term, d: Term) -> Term:
        device = device_of(s, i)
        touched = linked(s, i) & (s.life[i] != LIFE.NEW) & in_phase(s, device, "ALLOC")
        return (touched & (s.entry_device[d] == device)).implies(has_irq(s, d) & ~s.partial[d])

    def marks(i: Term) -> Term:
        new = linked(s, i) & (s.life[i] == LIFE.NEW)
        return new.implies(~s.activated[i])

    return forall(IRQ, DESC, begun) & forall(IRQ, marks)


@msi.invariant(
    "MSI-choice", "What early activation has done to an irq fits its device.", unless=("N6", "N14")
)
def msi_choice(s: State) -> Term:
    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        touched = and_(s.life[i] == LIFE.EARLY, ~(s.msi_level[i] == none(DOMAIN)))
        shut = s.activated[i].implies(s.cfg_shutdown[i])
        real = s.activated[i] & (s.affinity_managed[i] | ~(s.cfg_vector[i] == none(VECTOR)))
        quirk = s.has_nomask_quirk[domain_of(s, d)] & ~reserves(s, d)
        return (linked(s, i) & touched).implies(
            and_(
                s.activate_early[domain_of(s, d)],
                s.irqd_can_reserve[i] == (reserves(s, d) & ~s.affinity_managed[i]),
                s.nomask_quirk[i] == quirk,
                ite(reserves(s, d), shut, real),
            )
        )

    return forall(IRQ, law)


@msi.invariant("MSI-owed", "What is owed to a message fits the irq.")
def msi_owed(s: State) -> Term:
    def law(i: Term) -> Term:
        pc = s.message_pc[i]
        d = s.msi_desc[i]
        return and_(
            settled(s, i) | first(s, i),
            (pc == MESSAGE.CONFIGURED).implies(s.activated[i] & ~(s.cfg_vector[i] == none(VECTOR))),
            (pc == MESSAGE.WRITTEN).implies(~s.activated[i] & cached_is_composed(s, d, i)),
            (pc == MESSAGE.ZEROED).implies(and_(s.activated[i], ~s.started[i], cached_zero(s, d))),
        )

    return forall(IRQ, law)
