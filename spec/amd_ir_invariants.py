# SPDX-License-Identifier: GPL-2.0-only
"""What must hold of AMD-Vi interrupt remapping (AMD-1 to AMD-11), and what that needs."""

from __future__ import annotations

from spec.amd_ir import (
    DEVID,
    TABLE,
    TARGET,
    amd_ir,
    attached,
    binds,
    clear,
    current,
    home,
    in_hand,
    is_pin,
    stale,
)
from spec.matrix import CPU, VECTOR
from spec.remap_blocks import COUNT, KIND, SLOT, inside
from spec.sorts import IRQ
from spec.state import State
from spec.terms import Term, and_, forall, implies, ite, none, or_


@amd_ir.invariant(
    "AMD-1",
    "Whatever a requester with a table shows as has the same table.",
    unless=("AMD-alias",),
)
def shared(s: State) -> Term:
    def law(d: Term, a: Term) -> Term:
        there = ~(s.table_of[d] == none(TABLE))
        under_way = ~(s.binding == none(DEVID)) & s.shows_as[s.binding, d]
        same = s.table_of[a] == s.table_of[d]
        return implies(there & s.shows_as[d, a], same | under_way)

    return forall(DEVID, DEVID, law)


@amd_ir.invariant(
    "AMD-2",
    "Once the first entries of a table are kept for an IO-APIC, nobody else has one.",
    unless=("AMD-3",),
)
def reservation(s: State) -> Term:
    def law(i: Term) -> Term:
        return implies(
            and_(attached(s, i), ~is_pin(s, i), s.reserved[home(s, i)]), ~s.low[s.irte_index[i]]
        )

    return forall(IRQ, law) & forall(TABLE, lambda t: implies(s.reserved[t], s.made[t]))


@amd_ir.invariant(
    "AMD-3", "A table serves an IO-APIC only with its first entries kept.", unless=("AMD-6",)
)
def pins_first(s: State) -> Term:
    def law(i: Term) -> Term:
        return implies(
            attached(s, i) & is_pin(s, i), s.reserved[home(s, i)] & s.low[s.irte_index[i]]
        )

    return forall(IRQ, law)


@amd_ir.invariant(
    "AMD-4",
    "An entry is of one irq, and reads as taken, but for that of a pin that is not active.",
    unless=("AMD-6", "AMD-alias"),
)
def exclusive(s: State) -> Term:
    def law(i: Term) -> Term:
        t, x = home(s, i), s.irte_index[i]
        taken = s.marked[t, x] | (is_pin(s, i) & ~s.entry_live[i])
        return implies(attached(s, i), (s.user[t, x] == i) & taken)

    return forall(IRQ, law)


@amd_ir.invariant(
    "AMD-5",
    "The irqs of an allocation have consecutive entries, in order; several are multi-MSI's and "
    "start at a multiple of the next power of two.",
)
def groups(s: State) -> Term:
    def law(i: Term) -> Term:
        first, count = s.group_index[i], s.group_count[i]
        place = s.ahead[first, s.irte_index[i]]
        several = ~(count == s.one)
        return implies(
            attached(s, i),
            and_(
                inside(s, first, count, s.irte_index[i]),
                s.after[s.group_first[i], i] == place,
                implies(several, s.aligned[first, count] & (s.kind[i] == KIND.PCI_MSI)),
                ~(s.kind[i] == KIND.OTHER),
            ),
        )

    return forall(IRQ, law)


@amd_ir.invariant("AMD-6", "The entry of a pin has the pin's number.")
def pins(s: State) -> Term:
    return forall(
        IRQ, lambda i: implies(attached(s, i) & is_pin(s, i), s.irte_index[i] == s.pin[i])
    )


@amd_ir.invariant("AMD-7", "The message, or the route entry, names the irq's entry, for life.")
def message(s: State) -> Term:
    return forall(IRQ, lambda i: s.msg_index[i] == s.irte_index[i])


@amd_ir.invariant(
    "AMD-9",
    "The table's entry of an active irq that is no guest's has the vector and the destination of "
    "its configuration; that of an irq that is not active may not be used.",
    unless=("AMD-3", "AMD-6", "AMD-alias", "AMD-vcpu"),
)
def activation(s: State) -> Term:
    def law(i: Term) -> Term:
        t, x = home(s, i), s.irte_index[i]
        own = s.entry_live[i] & ~s.entry_guest[i]
        kept = (s.hw_vector[t, x] == s.entry_vector[i]) & (s.hw_cpu[t, x] == s.entry_cpu[i])
        now = current(s, i, s.entry_vector[i], s.entry_cpu[i])
        return implies(
            attached(s, i),
            and_(
                s.hw_valid[t, x] == s.entry_live[i],
                s.hw_guest[t, x] == s.entry_guest[i],
                implies(own, kept),
                implies(own & ~stale(s, i), now),
            ),
        )

    return forall(IRQ, law)


@amd_ir.invariant(
    "AMD-10",
    "Between allocations every entry that reads as taken is an irq's or is kept for a pin, and "
    "every copy of an entry belongs to an irq.",
    unless=("AMD-copy",),
)
def nothing_leaked(s: State) -> Term:
    def entry(t: Term, x: Term) -> Term:
        owned = or_(~(s.user[t, x] == none(IRQ)), s.reserved[t] & s.low[x], in_hand(s, t, x))
        return implies(s.marked[t, x], owned)

    return and_(forall(TABLE, SLOT, entry), forall(IRQ, lambda i: s.entry_copy[i] == s.ir_data[i]))


@amd_ir.invariant(
    "AMD-11", "No level is looked into before it is known to be there.", unless=("AMD-01",)
)
def no_fault(s: State) -> Term:
    return ~s.oops & forall(IRQ, lambda i: implies(s.ir_data[i], s.level[i]))


@amd_ir.invariant(
    "AMD-DTE",
    "Every entry of an irq is one that the device table entry announces.",
    unless=("AMD-DTE",),
)
def announced(s: State) -> Term:
    def law(i: Term) -> Term:
        return implies(s.far[s.irte_index[i]], s.dte_full[s.devid[i]])

    return forall(IRQ, law) & forall(
        DEVID, lambda d: implies(~(s.table_of[d] == none(TABLE)), s.dte_full[d])
    )


# --- what the others need to be inductive ----------------------------------------------------


@amd_ir.invariant(
    "AMD-users", "Irqs and entries say the same of each other.", unless=("AMD-alias", "AMD-6")
)
def users(s: State) -> Term:
    def law(t: Term, x: Term, i: Term) -> Term:
        return implies(s.user[t, x] == i, and_(home(s, i) == t, s.irte_index[i] == x))

    def bare(i: Term) -> Term:
        return implies(
            ~attached(s, i),
            and_(
                s.irte_index[i] == none(SLOT),
                s.group_index[i] == none(SLOT),
                s.group_count[i] == none(COUNT),
                s.group_first[i] == none(IRQ),
                s.entry_vector[i] == none(VECTOR),
                s.entry_cpu[i] == none(CPU),
                ~s.entry_valid[i] & ~s.entry_guest[i] & ~s.entry_live[i],
            ),
        )

    def there(i: Term) -> Term:
        return and_(
            s.ir_data[i] == (attached(s, i) | (s.loose == i)),
            ~(attached(s, i) & (s.loose == i)),
            implies(s.ir_data[i], s.present[i]),
            implies(
                attached(s, i), ~(home(s, i) == none(TABLE)) & ~(s.irte_index[i] == none(SLOT))
            ),
            implies(stale(s, i), attached(s, i) & s.entry_live[i] & ~s.entry_guest[i]),
            implies(s.entry_live[i], s.entry_valid[i]),
        )

    return forall(TABLE, SLOT, IRQ, law) & forall(IRQ, bare) & forall(IRQ, there)


@amd_ir.invariant(
    "AMD-empty", "An entry that is nobody's may not be used.", unless=("AMD-alias", "AMD-6")
)
def empty(s: State) -> Term:
    def law(t: Term, x: Term) -> Term:
        bare = and_(s.user[t, x] == none(IRQ), ~s.marked[t, x], ~s.reserved[t], clear(s, t, x))
        quiet = clear(s, t, x) & (s.target[t, x] == TARGET.SETTLED)
        unused = implies(s.user[t, x] == none(IRQ), quiet)
        return unused & implies(~s.made[t], bare)

    return forall(TABLE, SLOT, law)


@amd_ir.invariant("AMD-hub", "Neighbours with tables have one.", unless=("AMD-alias",))
def hubs(s: State) -> Term:
    def law(d: Term) -> Term:
        there = ~(s.table_of[d] == none(TABLE))
        one = ite(binds(s, d), s.binding_table, s.table_of[s.hub[d]])
        return implies(there, (s.table_of[d] == one) & s.made[s.table_of[d]])

    return forall(DEVID, law)


@amd_ir.invariant("AMD-hand", "What is in hand belongs together, and nothing is stored there yet.")
def hand(s: State) -> Term:
    def law(x: Term) -> Term:
        t = s.hand_table
        quiet = clear(s, t, x) & (s.target[t, x] == TARGET.SETTLED)
        fresh = quiet & implies(s.reserved[t], ~s.low[x])
        return implies(inside(s, s.hand_index, s.hand_count, x), fresh)

    empty_hand = s.hand_table == none(TABLE)
    several = ~(s.hand_count == s.one) & ~empty_hand
    return and_(
        forall(SLOT, law),
        empty_hand == (s.hand_index == none(SLOT)),
        empty_hand == (s.hand_count == none(COUNT)),
        (s.binding == none(DEVID)) == (s.binding_table == none(TABLE)),
        implies(~(s.binding == none(DEVID)), empty_hand & s.made[s.binding_table]),
        implies(~empty_hand, s.made[s.hand_table]),
        implies(several, s.aligned[s.hand_index, s.hand_count]),
    )
