# SPDX-License-Identifier: GPL-2.0-only
"""What the other laws of PCI MSI in a Xen guest need to be inductive."""

from __future__ import annotations

from spec.msi import DESC, DEVICE
from spec.sorts import IRQ
from spec.state import State
from spec.terms import Term, and_, count, exists, forall, ite, none, or_
from spec.xen import (
    PIRQ,
    PORT,
    SETUP_OPS,
    TEARDOWN_OPS,
    UNMAP,
    bypasses,
    chosen_setup,
    device_of,
    dispatched,
    has_entries,
    has_info,
    has_xen_domain,
    in_block,
    in_hand,
    in_xen_phase,
    is_held,
    is_member,
    is_pirq,
    kind_of,
    untouched,
    wants_block,
    xen,
)
from spec.xen_invariants import held_in_hand, leaked, records


@xen.invariant("XEN-ops", "The functions are chosen together, by the kind of guest.")
def ops(s: State) -> Term:
    hvm = s.setup_ops == SETUP_OPS.HVM
    known = ite(hvm, s.teardown_ops == TEARDOWN_OPS.PLAIN, s.teardown_ops == TEARDOWN_OPS.PV)
    ignored = ~hvm if s.on("F13") else s.replaced
    chosen = and_(
        s.setup_ops == chosen_setup(s),
        known,
        s.restore_hook == (s.setup_ops == SETUP_OPS.INITDOM),
        s.ignores_masks == ignored,
        bypasses(s) | kind_of(s, "PVH_DOM0"),
    )
    bare = and_(
        s.setup_ops == SETUP_OPS.NONE,
        s.teardown_ops == TEARDOWN_OPS.NONE,
        ~s.restore_hook,
        ~s.ignores_masks,
    )
    return ite(s.replaced, chosen, bare)


@xen.invariant("XEN-default", "A device knows Xen's domain as the default one alone.")
def known_domain(s: State) -> Term:
    def law(v: Term) -> Term:
        return has_xen_domain(s, v).implies(s.default_domain == s.msi_domain[v])

    made = s.xen_domain[s.default_domain].implies(s.replaced & s.default_made)
    return forall(DEVICE, law) & made


@xen.invariant(
    "XEN-kind", "The descriptors of a device are alike, only MSI-X has several, and one is first."
)
def alike(s: State) -> Term:
    def law(d: Term, e: Term) -> Term:
        both = (s.entry_device[d] == s.entry_device[e]) & ~(s.entry_device[d] == none(DEVICE))
        order = (s.entry_position[d] == s.entry_position[e]).implies(d == e)
        return both.implies(((s.entry_is_msix[d] & s.entry_is_msix[e]) | (d == e)) & order)

    def first(v: Term) -> Term:
        there = exists(DESC, lambda d: (s.entry_device[d] == v) & (s.entry_position[d] == 0))
        return (has_entries(s, v) & ~in_xen_phase(s, v, "TORN")).implies(there)

    return forall(DESC, DESC, law) & forall(DEVICE, first)


@xen.invariant("XEN-entry", "A descriptor that is in no list is blank.")
def entry(s: State) -> Term:
    def law(d: Term) -> Term:
        device = s.entry_device[d]
        blank = and_(
            s.entry_nvec[d] == 0, s.message_pirq[d] == none(PIRQ), s.writes[d] == 0, untouched(s, d)
        )
        listed = and_(
            s.entry_nvec[d] >= 1,
            s.entry_is_msix[d].implies(s.entry_nvec[d] == 1),
            s.entry_position[d] >= 0,
            s.entry_position[d] < s.entries[device],
        )
        bounds = and_(s.members[d] >= 0, s.members[d] <= s.entry_nvec[d])
        return bounds & ite(device == none(DEVICE), blank, listed)

    def length(v: Term) -> Term:
        return (s.entries[v] >= 0) & (has_entries(s, v) | (s.entries[v] == 0))

    return forall(DESC, law) & forall(DEVICE, length)


@xen.invariant("XEN-phase", "What is under way at a descriptor fits the phase of its device.")
def phases(s: State) -> Term:
    def of_device(v: Term) -> Term:
        setup = in_xen_phase(s, v, "SETUP")
        return and_(
            (~(s.xen_ret[v] == 0)).implies(setup),
            s.backend_asked[v].implies(setup & (s.setup_ops == SETUP_OPS.PCIFRONT)),
            (setup & (s.setup_ops == SETUP_OPS.PCIFRONT)).implies(s.backend_asked[v]),
            s.backend_told[v].implies(in_xen_phase(s, v, "TEARDOWN")),
            in_xen_phase(s, v, "IDLE") | has_entries(s, v),
            in_xen_phase(s, v, "IDLE", "TORN") | dispatched(s, v),
            (s.xen_ret[v] > 0).implies(
                forall(DESC, lambda d: (s.entry_device[d] == v).implies(untouched(s, d)))
            ),
        )

    def of_entry(d: Term) -> Term:
        v = s.entry_device[d]
        setup = in_xen_phase(s, v, "SETUP")
        alive = in_xen_phase(s, v, "SETUP", "DONE", "FAILED", "TEARDOWN")
        falling = in_xen_phase(s, v, "TEARDOWN", "TORN")
        return and_(
            in_hand(s, d).implies(setup & ~s.bound[d]),
            s.undoing[d].implies(and_(setup, ~s.bound[d], s.xen_ret[v] == 0)),
            is_going_on(s, d).implies(setup & (s.xen_ret[v] == 0)),
            (s.bound[d] | (s.members[d] > 0)).implies(alive & s.is_pci[v]),
            s.bound[d].implies(s.members[d] > 0),
            in_xen_phase(s, v, "DONE").implies(s.bound[d]),
            in_xen_phase(s, v, "IDLE").implies(untouched(s, d)),
            s.backend_asked[v].implies(~wants_block(s, d)),
            (s.first_irq[d] == none(IRQ)) | s.bound[d] | falling,
        )

    return forall(DEVICE, of_device) & forall(DESC, of_entry)


def is_going_on(s: State, d: Term) -> Term:
    """A bind is under way."""
    torn = in_xen_phase(s, s.entry_device[d], "TEARDOWN")
    return s.undoing[d] | (~s.bound[d] & (s.members[d] > 0) & ~torn)


@xen.invariant("XEN-order", "A setup serves the descriptors of a device one after the other.")
def order(s: State) -> Term:
    def law(d: Term, e: Term) -> Term:
        same = s.entry_device[d] == s.entry_device[e]
        earlier = same & (s.entry_position[e] < s.entry_position[d])
        return ((is_going_on(s, d) | in_hand(s, d)) & earlier).implies(s.bound[e])

    return forall(DESC, DESC, law)


@xen.invariant(
    "XEN-count",
    "members counts the irqs of a block; each has a place, and they are bound in order.",
)
def counted(s: State) -> Term:
    def places(i: Term, j: Term) -> Term:
        both = is_member(s, i) & (s.member_of[i] == s.member_of[j])
        return (both & (s.offset[i] == s.offset[j])).implies(i == j)

    def number(d: Term) -> Term:
        return s.members[d] == count(IRQ, lambda i: s.member_of[i] == d)

    def upwards(i: Term, j: Term) -> Term:
        both = is_member(s, i) & (s.member_of[i] == s.member_of[j])
        return and_(both, s.offset[i] < s.offset[j], is_pirq(s, j)).implies(is_pirq(s, i))

    def led(d: Term) -> Term:
        base = s.base[d]
        torn = in_xen_phase(s, s.entry_device[d], "TEARDOWN")
        there = (s.member_of[base] == d) & (s.offset[base] == 0)
        known = torn | (s.first_irq[d] == none(IRQ)) | (s.first_irq[d] == base)
        return ite(s.members[d] == 0, base == none(IRQ), torn | there) & (known | ~s.bound[d])

    return and_(
        forall(IRQ, IRQ, places),
        forall(IRQ, IRQ, upwards),
        forall(DESC, lambda d: number(d) & led(d)),
    )


@xen.invariant("XEN-irq", "An irq that belongs to no block is nobody's, unless it was kept.")
def irq(s: State) -> Term:
    def law(i: Term) -> Term:
        kept = and_(~is_member(s, i), is_pirq(s, i), s.unmapped[i] == UNMAP.REFUSED)
        return and_(
            s.orphan[i].implies(kept & ~s.msi_group[i]),
            is_member(s, i).implies(has_info(s, i)),
            (~is_member(s, i)).implies(s.offset[i] == 0),
            (~has_info(s, i)).implies(and_(s.unmapped[i] == UNMAP.NOT_ASKED, ~s.msi_group[i])),
        )

    return forall(IRQ, law)


@xen.invariant("XEN-block", "A pirq is taken as a part of one block, which somebody holds.")
def taken(s: State) -> Term:
    def law(p: Term) -> Term:
        first = s.block[p]
        part = and_(is_held(s, first), s.pirq_domid[p] == s.pirq_domid[first])
        return and_(
            is_held(s, p).implies(s.block[p] == p),
            (first == none(PIRQ)) | part,
            leaked(s, p).implies(is_held(s, p) & ~kind_of(s, "PV_DOMU")),
        )

    return forall(PIRQ, law)


@xen.invariant("XEN-pirq", "No two irqs are bound to one pirq, and none to one in hand or leaked.")
def own_pirq(s: State) -> Term:
    def irqs(i: Term, j: Term) -> Term:
        same = and_(keeps(s, i), keeps(s, j), s.info_pirq[i] == s.info_pirq[j])
        return same.implies(i == j)

    def held(i: Term) -> Term:
        d, p = s.member_of[i], s.info_pirq[i]
        own = and_(s.block[p] == p, s.pirq_device[p] == s.entry_device[d], ~leaked(s, p))
        return and_(keeps(s, i), ~s.msi_group[i]).implies(own & ~held_in_hand(s, p))

    def part(i: Term) -> Term:
        """Pirqs of one block are those of one descriptor."""
        first = s.info_pirq[s.base[s.member_of[i]]]
        whole = keeps(s, i) & ~in_xen_phase(s, device_of(s, i), "TEARDOWN")
        return whole.implies(s.block[s.info_pirq[i]] == first)

    def room(i: Term, p: Term) -> Term:
        d = s.member_of[i]
        mine = and_(keeps(s, i), ~s.msi_group[i], s.setup_ops == SETUP_OPS.INITDOM)
        there = in_block(s, p, s.info_pirq[i], s.entry_nvec[d])
        return (mine & there).implies(s.block[p] == s.info_pirq[i])

    return and_(
        forall(IRQ, IRQ, irqs), forall(IRQ, held), forall(IRQ, part), forall(IRQ, PIRQ, room)
    )


def keeps(s: State, i: Term) -> Term:
    """The irq is bound to a pirq that is the guest's: it is not being destroyed, or the pirq of its
    block is not unmapped yet."""
    destroyed = in_xen_phase(s, device_of(s, i), "TEARDOWN")
    mapped = records(s, i) & kind_of(s, "PV_DOM0")
    return and_(is_pirq(s, i), is_member(s, i), ~destroyed | mapped)


@xen.invariant("XEN-hand", "A pirq in hand is held for the device, by one descriptor alone.")
def hands(s: State) -> Term:
    def own(d: Term, e: Term) -> Term:
        return (in_hand(s, d) & (s.pirq_hand[d] == s.pirq_hand[e])).implies(d == e)

    def held(d: Term) -> Term:
        p = s.pirq_hand[d]
        right = and_(s.pirq_device[p] == s.entry_device[d], s.block[p] == p, ~leaked(s, p))
        mine = or_(s.setup_ops == SETUP_OPS.INITDOM, s.setup_ops == SETUP_OPS.HVM)
        fresh = forall(IRQ, lambda i: (s.member_of[i] == d).implies(~is_pirq(s, i)))
        told = (s.setup_ops == SETUP_OPS.HVM) & (s.members[d] > 0)
        named = told.implies(s.message_pirq[d] == p)
        return in_hand(s, d).implies(and_(right, mine, fresh, named))

    def room(d: Term, p: Term) -> Term:
        mine = in_hand(s, d) & (s.setup_ops == SETUP_OPS.INITDOM)
        there = in_block(s, p, s.pirq_hand[d], s.entry_nvec[d])
        return (mine & there).implies(s.block[p] == s.pirq_hand[d])

    return and_(forall(DESC, DESC, own), forall(DESC, held), forall(DESC, PIRQ, room))


@xen.invariant("XEN-port", "An event channel and its irq know each other.")
def ports(s: State) -> Term:
    def of_port(p: Term) -> Term:
        return (s.port_irq[p] == none(IRQ)) | (s.evtchn[s.port_irq[p]] == p)

    def of_irq(i: Term) -> Term:
        return (s.evtchn[i] == none(PORT)) | (s.port_irq[s.evtchn[i]] == i)

    return forall(PORT, of_port) & forall(IRQ, of_irq)
