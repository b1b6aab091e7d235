# SPDX-License-Identifier: GPL-2.0-only
"""What must hold of PCI MSI in a Xen guest (sections 8.8, 9.2 and 9.4), at every action."""

from __future__ import annotations

from spec.matrix import CPU
from spec.msi import DESC
from spec.sorts import IRQ
from spec.state import State
from spec.terms import Term, and_, count, exists, forall, ite, none, or_, total
from spec.xen import (
    DOMID,
    LEAK,
    PIRQ,
    PORT,
    SETUP_OPS,
    UNMAP,
    device_of,
    dispatched,
    has_info,
    in_hand,
    in_xen_phase,
    is_held,
    is_member,
    is_pirq,
    kind_of,
    leads,
    untouched,
    wants_block,
    xen,
)

# --- resources (section 8.8) ----------------------------------------------------------------


@xen.invariant("XEN-1", "An irq of Xen's has a descriptor, and once it is whole, a pirq.")
def live_irq(s: State) -> Term:
    def law(i: Term) -> Term:
        bare = and_(s.info_pirq[i] == none(PIRQ), s.info_domid[i] == none(DOMID), ~s.msi_group[i])
        pirq = s.info_pirq[i]
        named = ~(pirq == none(PIRQ)) & (s.info_domid[i] == s.pirq_domid[pirq])
        whole = (is_member(s, i) & s.bound[s.member_of[i]]) | s.orphan[i]
        return and_(
            has_info(s, i).implies(s.desc[i] & (is_member(s, i) | s.orphan[i])),
            ite(is_pirq(s, i), named, bare),
            whole.implies(is_pirq(s, i)),
        )

    return forall(IRQ, law)


@xen.invariant(
    "XEN-2",
    "The irqs of a block, and their pirqs, follow one another; all but the first are of the group.",
)
def blocks(s: State) -> Term:
    def law(i: Term, j: Term) -> Term:
        d = s.member_of[i]
        same = and_(is_member(s, i), s.member_of[j] == d, s.offset[i] == 0)
        follows = s.irq_number[j] == s.irq_number[i] + s.offset[j]
        pirqs = s.pirq_number[s.info_pirq[j]] == s.pirq_number[s.info_pirq[i]] + s.offset[j]
        mapped = and_(pirqs, s.info_domid[i] == s.info_domid[j])
        return same.implies(follows & (is_pirq(s, i) & is_pirq(s, j)).implies(mapped))

    def group(i: Term) -> Term:
        d = s.member_of[i]
        going = in_xen_phase(s, s.entry_device[d], "TEARDOWN")
        room = s.offset[i] < ite(going, s.entry_nvec[d], s.members[d])
        place = (s.offset[i] >= 0) & room
        marked = is_pirq(s, i).implies(s.msi_group[i] == ~(s.offset[i] == 0))
        return is_member(s, i).implies(place & marked)

    def whole(d: Term) -> Term:
        base = s.first_irq[d]
        led = and_(s.member_of[base] == d, s.offset[base] == 0, s.back[base] == d)
        full = (s.members[d] == s.entry_nvec[d]) & led
        destroyed = in_xen_phase(s, s.entry_device[d], "TEARDOWN")
        return (s.bound[d] & ~destroyed).implies(full)

    return and_(forall(IRQ, IRQ, law), forall(IRQ, group), forall(DESC, whole))


@xen.invariant("XEN-3", "Only the initial domain has blocks of several irqs.")
def only_dom0(s: State) -> Term:
    def law(d: Term) -> Term:
        refused = dispatched(s, s.entry_device[d]) & wants_block(s, d)
        return (refused & ~(s.setup_ops == SETUP_OPS.INITDOM)).implies(untouched(s, d))

    return forall(DESC, law)


@xen.invariant(
    "XEN-4",
    "In the initial domain every mapped block is recorded by the first irq of a block, or in hand, "
    "or leaked.",
)
def mapped_blocks(s: State) -> Term:
    def law(p: Term) -> Term:
        mapped = is_held(s, p) & kind_of(s, "PV_DOM0")
        return mapped.implies(or_(recorded(s, p), held_in_hand(s, p), leaked(s, p)))

    def there(i: Term) -> Term:
        counts = records(s, i) & kind_of(s, "PV_DOM0")
        return counts.implies(is_held(s, s.info_pirq[i]) & ~leaked(s, s.info_pirq[i]))

    return forall(PIRQ, law) & forall(IRQ, there)


def records(s: State, i: Term) -> Term:
    """The irq stands for a block of pirqs that is not unmapped yet."""
    return leads(s, i) & (s.unmapped[i] == UNMAP.NOT_ASKED)


def recorded(s: State, p: Term) -> Term:
    """Such an irq is bound to the pirq."""
    return exists(IRQ, lambda i: records(s, i) & (s.info_pirq[i] == p))


def held_in_hand(s: State, p: Term) -> Term:
    """A setup has the pirq in hand."""
    return exists(DESC, lambda d: s.pirq_hand[d] == p)


def leaked(s: State, p: Term) -> Term:
    """Nobody remembers the pirq."""
    return ~(s.leak[p] == LEAK.NO)


@xen.invariant("XEN-5", "An irq has an event channel only between its startup and its shutdown.")
def channels(s: State) -> Term:
    def law(i: Term) -> Term:
        there = ~(s.evtchn[i] == none(PORT))
        alive = and_(is_member(s, i), is_pirq(s, i), in_xen_phase(s, device_of(s, i), "DONE"))
        return and_(
            there.implies(s.pirq_started[i]),
            s.pirq_started[i].implies(alive & s.bound[s.member_of[i]]),
            there == ~(s.evtchn_cpu[i] == none(CPU)),
        )

    return forall(IRQ, law)


@xen.invariant("XEN-6", "The message of a guest of type HVM names the pirq of the irq.")
def message_names(s: State) -> Term:
    def law(i: Term) -> Term:
        d = s.member_of[i]
        hvm = and_(s.setup_ops == SETUP_OPS.HVM, is_member(s, i), is_pirq(s, i))
        return hvm.implies(s.message_pirq[d] == s.info_pirq[i])

    return forall(IRQ, law)


@xen.invariant(
    "XEN-7",
    "Only for the first irq of a block, and in the initial domain, is the hypervisor asked to "
    "unmap, and that when the irq is destroyed.",
)
def unmaps(s: State) -> Term:
    def law(i: Term) -> Term:
        destroyed = in_xen_phase(s, device_of(s, i), "TEARDOWN") | s.orphan[i]
        right = and_(kind_of(s, "PV_DOM0"), leads(s, i), destroyed)
        return (s.unmapped[i] == UNMAP.NOT_ASKED) | right

    return forall(IRQ, law)


@xen.invariant(
    "XEN-8", "Once the hypervisor is known not to take segments, that stays.", ghost=True
)
def segments(s: State) -> Term:
    return s.seg_lost == ~s.pci_seg_supported


@xen.invariant(
    "XEN-9",
    "After a setup that asks for fewer vectors no descriptor has an irq or a pirq, and the backend "
    "may have acted only if the count is its own.",
)
def retries(s: State) -> Term:
    def law(d: Term) -> Term:
        return in_xen_phase(s, s.entry_device[d], "RETRY").implies(untouched(s, d))

    return forall(DESC, law)


@xen.invariant(
    "XEN-10",
    "After a teardown no irq refers to the device, and no descriptor of it to an irq.",
    unless=("F15",),
)
def torn_down(s: State) -> Term:
    def law(i: Term) -> Term:
        return is_member(s, i).implies(~in_xen_phase(s, device_of(s, i), "TORN"))

    def entry(d: Term) -> Term:
        return in_xen_phase(s, s.entry_device[d], "TORN").implies(untouched(s, d))

    return forall(IRQ, law) & forall(DESC, entry)


@xen.invariant(
    "XEN-leak", "No pirq is leaked because its bind failed, in the initial domain.",
    unless=("XEN-leak",),
)  # fmt: skip
def no_lost_bind(s: State) -> Term:
    lost = exists(PIRQ, lambda p: s.leak[p] == LEAK.BIND)
    return kind_of(s, "PV_DOM0").implies(~lost)


@xen.invariant("XEN-unmap", "No irq is kept that no device has.", unless=("XEN-unmap",))
def no_orphan(s: State) -> Term:
    return forall(IRQ, lambda i: ~s.orphan[i])


# --- conservation (section 9.4) -------------------------------------------------------------


@xen.invariant("XEN-conserve", "The live irqs of Xen are those of blocks, and those kept.")
def irqs_conserved(s: State) -> Term:
    live = count(IRQ, lambda i: has_info(s, i))
    return live == total(DESC, lambda d: s.members[d]) + count(IRQ, lambda i: s.orphan[i])


@xen.invariant(
    "XEN-mapped",
    "In the initial domain as many blocks of pirqs are mapped as are recorded, in hand and leaked.",
)
def pirqs_conserved(s: State) -> Term:
    mapped = count(PIRQ, lambda p: is_held(s, p))
    known = count(IRQ, lambda i: records(s, i)) + count(DESC, lambda d: in_hand(s, d))
    lost = count(PIRQ, lambda p: leaked(s, p))
    return kind_of(s, "PV_DOM0").implies(mapped == known + lost)
