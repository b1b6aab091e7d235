# SPDX-License-Identifier: GPL-2.0-only
"""What must hold of VT-d interrupt remapping (INT-1 to INT-13), and what that needs."""

from __future__ import annotations

from spec.devices import UNIT
from spec.intel_ir import (
    DUE,
    MASK,
    PHASE,
    apart,
    attached,
    busy,
    busy_irq,
    checked,
    complete,
    covered,
    due_to,
    empty,
    flushed,
    in_block,
    intel_ir,
    kept,
    leaving,
    named,
    prepared,
    settled,
    several,
    slot_of,
    wide,
)
from spec.matrix import CPU, VECTOR
from spec.remap_blocks import COUNT, HANDLE, KIND, SLOT
from spec.sorts import IRQ
from spec.state import State
from spec.terms import Term, and_, forall, implies, ite, none, or_


@intel_ir.invariant(
    "INT-1",
    "The entries that are taken are those of the blocks, those of a crashed kernel, and those that "
    "leaked; no entry is in two blocks.",
)
def ownership(s: State) -> Term:
    def bit(u: Term, x: Term) -> Term:
        held = ~(s.holder[u, x] == none(SLOT))
        other = s.taken_over[u, x] | s.leaked[u, x]
        return and_(s.bitmap[u, x] == (held | other), ~(held & other))

    def block(u: Term, x: Term, y: Term) -> Term:
        return (s.holder[u, x] == y) == covered(s, y, s.block_mask[u, y], x)

    return forall(UNIT, SLOT, bit) & forall(UNIT, SLOT, SLOT, block)


@intel_ir.invariant(
    "INT-2",
    "A block is the smallest power of two that is enough, starts at a multiple of it, ends within "
    "the table, and is not too large for the unit.",
)
def shape(s: State) -> Term:
    def law(u: Term, x: Term) -> Term:
        mask, count = s.block_mask[u, x], s.block_count[u, x]
        right = and_(mask == s.order[count], s.multiple[x, mask], s.fits[u, mask], s.has_table[u])
        return ite(mask == none(MASK), count == none(COUNT), right & ~(count == none(COUNT)))

    return forall(UNIT, SLOT, law)


@intel_ir.invariant(
    "INT-3",
    "All interrupts of a block agree about it, each is at the place of its distance from the "
    "first, and between operations none is missing. Only multi-MSI has several.",
)
def coherence(s: State) -> Term:
    def law(i: Term) -> Term:
        u, x = s.iommu[i], s.irte_index[i]
        stays = attached(s, i) & ~leaving(s, i)
        return implies(
            stays,
            and_(
                s.irte_mask[i] == s.block_mask[u, x],
                s.below[s.block_count[u, x], s.sub_handle[i]],
                apart(s, i, s.user[u, x]),
                implies(several(s, u, x), s.kind[i] == KIND.PCI_MSI),
            ),
        )

    def whole(u: Term, x: Term) -> Term:
        there = ~(s.block_mask[u, x] == none(MASK))
        return implies(there & ~busy(s, u, x), complete(s, u, x))

    return forall(IRQ, law) & forall(UNIT, SLOT, whole)


@intel_ir.invariant(
    "INT-4",
    "No two irqs of a unit have the same index and sub-handle, of which their hwirqs are made.",
    follows=True,
)
def hwirqs(s: State) -> Term:
    return forall(
        IRQ,
        IRQ,
        lambda i, j: and_(
            attached(s, i),
            s.iommu[i] == s.iommu[j],
            s.irte_index[i] == s.irte_index[j],
            s.sub_handle[i] == s.sub_handle[j],
        ).implies(i == j),
    )


@intel_ir.invariant("INT-5", "The message of an irq names its block and its place, for life.")
def message(s: State) -> Term:
    return forall(IRQ, lambda i: implies(attached(s, i), named(s, i)))


@intel_ir.invariant(
    "INT-6",
    "The table has the entry of an active irq that is not posted, with the vector and the "
    "destination of its configuration.",
)
def activation(s: State) -> Term:
    def active(i: Term) -> Term:
        return and_(attached(s, i), s.entry_live[i], settled(s, i), ~s.posting[i])

    def aimed(i: Term) -> Term:
        return implies(active(i) & ~s.entry_stale[i], prepared(s, i))

    return forall(IRQ, lambda i: implies(active(i), kept(s, i))) & forall(IRQ, aimed)


@intel_ir.invariant(
    "INT-7",
    "The table has nothing for an irq that is not active, and nothing where no irq is.",
    unless=("INT-vcpu",),
)
def quiescence(s: State) -> Term:
    def unused(u: Term, x: Term) -> Term:
        owed = (s.phase == PHASE.OWED) & busy(s, u, x)
        nobody = and_(s.user[u, x] == none(IRQ), ~s.taken_over[u, x], ~owed)
        return implies(nobody, empty(s, u, x))

    def inactive(i: Term) -> Term:
        resting = and_(attached(s, i), settled(s, i), ~s.entry_live[i])
        return implies(resting, empty(s, s.iommu[i], slot_of(s, i)))

    return forall(UNIT, SLOT, unused) & forall(IRQ, inactive)


@intel_ir.invariant(
    "INT-8",
    "An irq is in posted mode exactly if its entry in the table has the posted format.",
    unless=("INT-vcpu",),
)
def posting(s: State) -> Term:
    def law(i: Term) -> Term:
        u, x = s.iommu[i], slot_of(s, i)
        there = and_(
            s.entry_live[i],
            s.hw_present[u, x],
            s.hw_svt[u, x] == s.entry_svt[i],
            s.hw_vector[u, x] == s.guest_vector[i],
        )
        same = (s.posting[i] == s.hw_posted[u, x]) & implies(s.posting[i], there)
        return implies(attached(s, i) & settled(s, i), same) & implies(s.posting[i], attached(s, i))

    return forall(IRQ, law)


@intel_ir.invariant(
    "INT-9", "The own entry of an active irq has its vector and its destination, posted or not."
)
def cached(s: State) -> Term:
    return forall(IRQ, lambda i: implies(s.entry_live[i] & ~s.entry_stale[i], prepared(s, i)))


@intel_ir.invariant(
    "INT-10",
    "No allocation that failed has left entries taken: every block has its first irq.",
    unless=("INT-10",),
)
def nothing_leaked(s: State) -> Term:
    def law(u: Term, x: Term) -> Term:
        there = ~(s.block_mask[u, x] == none(MASK))
        orphan = and_(there, ~busy(s, u, x), s.user[u, x] == none(IRQ))
        return ~s.leaked[u, x] & ~orphan

    return forall(UNIT, SLOT, law)


@intel_ir.invariant(
    "INT-11",
    "The entry of an irq is in its block, and is its alone; where the block is given up already, "
    "the irq goes before another one is taken.",
)
def release_order(s: State) -> Term:
    def law(i: Term) -> Term:
        u, x = s.iommu[i], slot_of(s, i)
        return implies(
            attached(s, i),
            and_(
                s.user[u, x] == i,
                ite(leaving(s, i), ~s.bitmap[u, x], s.holder[u, x] == s.irte_index[i]),
            ),
        )

    return forall(IRQ, law)


@intel_ir.invariant(
    "INT-12",
    "An entry that may be used says by whom, unless that is switched off or nobody could be found.",
)
def isolation(s: State) -> Term:
    def law(u: Term, x: Term) -> Term:
        blind = or_(s.hw_svt[u, x], s.nosid, ~s.sid_found[s.user[u, x]])
        return implies(s.hw_present[u, x] & ~s.taken_over[u, x], blind)

    return and_(
        forall(UNIT, SLOT, law),
        forall(IRQ, lambda i: implies(attached(s, i), s.entry_svt[i] == checked(s, i))),
    )


@intel_ir.invariant(
    "INT-13",
    "Without extended destinations no entry names an APIC id above 255.",
    unless=("INT-13",),
)
def width(s: State) -> Term:
    return and_(
        forall(IRQ, lambda i: ~wide(s, s.cfg_cpu[i]) & ~wide(s, s.entry_cpu[i])),
        forall(UNIT, SLOT, lambda u, x: ~wide(s, s.hw_cpu[u, x])),
    )


@intel_ir.invariant(
    "INT-null", "No level is looked into before it is known to be there.", unless=("INT-null",)
)
def no_fault(s: State) -> Term:
    return ~s.oops & forall(IRQ, lambda i: implies(attached(s, i), s.level[i]))


@intel_ir.invariant(
    "INT-type",
    "A kind of requester that the unit does not know is refused before anything is taken.",
    unless=("INT-type",),
)
def total_types(s: State) -> Term:
    return ~s.bug & forall(IRQ, lambda i: implies(attached(s, i), ~(s.kind[i] == KIND.OTHER)))


# --- what the others need to be inductive ----------------------------------------------------


@intel_ir.invariant("INT-users", "Irqs and entries say the same of each other.")
def users(s: State) -> Term:
    def law(u: Term, x: Term, i: Term) -> Term:
        return implies(
            s.user[u, x] == i,
            and_(s.iommu[i] == u, s.plus[s.irte_index[i], s.sub_handle[i]] == x),
        )

    def bare(i: Term) -> Term:
        return implies(
            ~attached(s, i),
            and_(
                s.irte_index[i] == none(SLOT),
                s.sub_handle[i] == none(HANDLE),
                s.irte_mask[i] == none(MASK),
                s.entry_vector[i] == none(VECTOR),
                s.entry_cpu[i] == none(CPU),
                ~s.entry_svt[i],
                ~s.entry_live[i],
                s.msg_index[i] == none(SLOT),
                s.msg_handle[i] == none(HANDLE),
                s.guest_vector[i] == none(VECTOR),
            ),
        )

    return and_(
        forall(UNIT, SLOT, IRQ, law),
        forall(IRQ, bare),
        forall(IRQ, lambda i: implies(attached(s, i), s.present[i])),
    )


@intel_ir.invariant("INT-hand", "What is in hand belongs to the block that is worked on.")
def in_hand(s: State) -> Term:
    first = s.user[s.busy_unit, s.busy_index]
    resting = s.phase == PHASE.REST
    there = ~(s.block_mask[s.busy_unit, s.busy_index] == none(MASK))
    nowhere = (s.busy_unit == none(UNIT)) & (s.busy_index == none(SLOT))
    bare = forall(IRQ, lambda i: ~in_block(s, i, s.busy_unit, s.busy_index))
    return and_(
        resting == (s.busy_unit == none(UNIT)),
        implies(resting, nowhere),
        implies(flushed(s), (s.flush_index == none(SLOT)) & (s.flush_mask == none(MASK))),
        implies(~resting, there == ~(s.phase == PHASE.LEAVING)),
        implies((s.phase == PHASE.OWED) | (s.phase == PHASE.LEAVING), first == none(IRQ)),
        implies(and_(s.phase == PHASE.FORMING, first == none(IRQ)), bare),
    )


@intel_ir.invariant(
    "INT-due", "Only an irq that is in use has something to be stored.", unless=("INT-vcpu",)
)
def owed(s: State) -> Term:
    def used(i: Term) -> Term:
        return attached(s, i) & ~busy_irq(s, i)

    def somebody(u: Term, x: Term) -> Term:
        return implies(~(s.due[u, x] == DUE.NOTHING), ~(s.user[u, x] == none(IRQ)))

    def law(i: Term) -> Term:
        due = due_to(s, i)
        return and_(
            implies(~settled(s, i), used(i) & ~s.entry_stale[i]),
            implies(s.entry_stale[i], used(i) & s.entry_live[i]),
            implies(due == DUE.CLEARED, ~s.entry_live[i]),
            implies(~settled(s, i) & ~(due == DUE.CLEARED), s.entry_live[i]),
            implies(leaving(s, i), ~s.entry_live[i] & ~s.posting[i]),
        )

    return forall(IRQ, law) & forall(UNIT, SLOT, somebody)


@intel_ir.invariant("INT-table", "A unit without a table has taken nothing but what it found.")
def tables(s: State) -> Term:
    def law(u: Term, x: Term) -> Term:
        bare = and_(s.holder[u, x] == none(SLOT), ~s.leaked[u, x])
        return implies(~s.has_table[u], bare)

    return forall(UNIT, SLOT, law) & forall(
        IRQ, lambda i: implies(attached(s, i), s.has_table[s.iommu[i]])
    )
