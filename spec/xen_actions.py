# SPDX-License-Identifier: GPL-2.0-only
"""What a Xen guest does for the irqs of a device: setup and teardown, step by step.

Each request to the hypervisor or to the PCI backend is an action, at the moment of its answer: what
is a number in `ret` is 0 or the error, or the count that the backend asks for.
"""

from __future__ import annotations

from collections.abc import Callable

from spec.msi import DESC, DEVICE
from spec.sorts import IRQ
from spec.state import State
from spec.terms import (
    BOOL,
    FALSE,
    INT,
    TRUE,
    Option,
    Term,
    and_,
    exists,
    forall,
    implies,
    ite,
    none,
    or_,
)
from spec.xen import (
    BACKEND,
    DOMID,
    EINVAL,
    ENODEV,
    ENOMEM,
    ENOSYS,
    ESRCH,
    INFO,
    LEAK,
    PIRQ,
    SETUP_OPS,
    XEN_PHASE,
    dispatched,
    each_entry,
    free_block,
    has_entries,
    in_block,
    in_hand,
    in_xen_phase,
    is_pirq,
    kind_seen,
    wants_block,
    xen,
)

# --- what the guards share ------------------------------------------------------------------


def members_are(s: State, d: Term, law: Callable[[Term], Term]) -> Term:
    """A law of every irq of the descriptor's block."""
    return forall(IRQ, lambda i: implies(s.member_of[i] == d, law(i)))


def works_on(s: State, d: Term) -> Term:
    """A setup has come to the descriptor: those before it have their irqs, and nothing failed."""
    device = s.entry_device[d]

    def before(e: Term) -> Term:
        return implies(s.entry_position[e] < s.entry_position[d], s.bound[e])

    going = (s.xen_ret[device] == 0) & in_xen_phase(s, device, "IDLE", "SETUP")
    return and_(dispatched(s, device), s.is_pci[device], going, ~s.bound[d], ~s.undoing[d]) & (
        each_entry(s, device, before)
    )


def _step(s: State, d: Term) -> Term:
    """A step of a setup for the descriptor: the device."""
    device = s.entry_device[d]
    s.require(~(device == none(DEVICE)), works_on(s, d))
    s.xen_phase[device] = XEN_PHASE.SETUP
    return device


def _without_segment(s: State, d: Term) -> Term:
    """The hypervisor can be asked without the segment."""
    return s.segment_zero[s.entry_device[d]] & ~wants_block(s, d)


def cannot_ask(s: State, d: Term) -> Term:
    """The initial domain cannot ask for a pirq: the table has no address, or the hypervisor takes
    no segments."""
    no_table = s.entry_is_msix[d] & ~s.msix_table[s.entry_device[d]]
    return no_table | (~s.pci_seg_supported & ~_without_segment(s, d))


def can_bind(s: State, d: Term) -> Term:
    """The descriptor's pirq is there, and in a guest of type HVM its message written."""
    device = s.entry_device[d]
    own = in_hand(s, d)
    granted = s.backend_asked[device] & (s.backend[device] == BACKEND.ON)
    hvm = own & (s.message_pirq[d] == s.pirq_hand[d])
    return ite(
        s.setup_ops == SETUP_OPS.INITDOM, own, ite(s.setup_ops == SETUP_OPS.HVM, hvm, granted)
    )


# --- requests for pirqs ---------------------------------------------------------------------


@xen.action(desc=DESC, segment=BOOL, ret=INT, pirq=Option(PIRQ))
def physdev_map_pirq(s: State, desc: Term, segment: Term, ret: Term, pirq: Term) -> None:
    """The initial domain has a pirq mapped, or a block of them, with the segment or without. A
    request that was not understood may be repeated without; a block is asked for once."""
    device = _step(s, desc)
    served = ret == 0
    s.require(s.setup_ops == SETUP_OPS.INITDOM, ~in_hand(s, desc), s.members[desc] == 0)
    s.require(implies(s.entry_is_msix[desc], s.msix_table[device]))
    again = s.segment_refused[desc] | ~s.pci_seg_supported
    s.require(ite(segment, ~again, again & _without_segment(s, desc)))
    s.require(ret <= 0, served == ~(pirq == none(PIRQ)))
    s.require(implies(served, _offered(s, pirq, s.entry_nvec[desc])))
    s.require(implies(served, s.pirq_domid[pirq] == s.domain_owner[device]))
    repeat = and_(ret == EINVAL, segment, _without_segment(s, desc))
    error = ite(wants_block(s, desc), 1, ret)
    s.segment_refused[desc] = repeat
    s.xen_ret[device] = ite(served | repeat, 0, error)
    with s.when(~segment & ~(ret == EINVAL)):
        _no_segments(s)
    with s.when(served):
        s.pirq_hand[desc] = pirq
        s.pirq_device[pirq] = device
    with s.each(PIRQ, "p", lambda p: served & in_block(s, p, pirq, s.entry_nvec[desc])) as p:
        s.block[p] = pirq


def _offered(s: State, pirq: Term, size: Term) -> Term:
    """The other side hands out what nobody has."""
    return free_block(s, pirq, size) & (s.leak[pirq] == LEAK.NO)


def _no_segments(s: State) -> None:
    s.pci_seg_supported = False
    s.seg_lost = True


@xen.action(desc=DESC, ret=INT, pirq=Option(PIRQ))
def physdev_get_free_pirq(s: State, desc: Term, ret: Term, pirq: Term) -> None:
    """A guest of type HVM reserves a pirq. Any error is -ENODEV."""
    device = _step(s, desc)
    served = ret == 0
    s.require(s.setup_ops == SETUP_OPS.HVM, ~in_hand(s, desc), s.members[desc] == 0)
    s.require(~wants_block(s, desc), ret <= 0, served == ~(pirq == none(PIRQ)))
    s.require(implies(served, _own(s, pirq)))
    s.xen_ret[device] = ite(served, 0, ENODEV)
    with s.when(served):
        s.pirq_hand[desc] = pirq
        s.pirq_device[pirq] = device
        s.block[pirq] = pirq


def _own(s: State, pirq: Term) -> Term:
    """A free pirq of the guest itself."""
    free = (s.block[pirq] == none(PIRQ)) & (s.leak[pirq] == LEAK.NO)
    return free & (s.pirq_domid[pirq] == none(DOMID))


@xen.action(desc=DESC, pirq=PIRQ)
def xen_msi_compose_msg(s: State, desc: Term, pirq: Term) -> None:
    """The message that names the pirq is composed and written to the device, before the bind."""
    _step(s, desc)
    s.require(s.setup_ops == SETUP_OPS.HVM, s.pirq_hand[desc] == pirq, s.members[desc] == 0)
    s.require(s.message_pirq[desc] == none(PIRQ))
    s.message_pirq[desc] = pirq
    s.writes[desc] += 1


@xen.action(device=DEVICE, ret=INT)
def pci_op_enable_msi(s: State, device: Term, ret: Term) -> None:
    """The frontend has the backend enable MSI: any error, and a pirq below 1, is -EINVAL."""
    _enable(s, device, FALSE, ret)
    s.require((ret == 0) | (ret == EINVAL))


@xen.action(device=DEVICE, ret=INT)
def pci_op_enable_msix(s: State, device: Term, ret: Term) -> None:
    """The same for MSI-X: the backend's error number as it is, or the count that it asks for."""
    _enable(s, device, TRUE, ret)


def _enable(s: State, device: Term, msix: Term, ret: Term) -> None:
    s.require(in_xen_phase(s, device, "IDLE"), dispatched(s, device), s.is_pci[device])
    s.require(s.setup_ops == SETUP_OPS.PCIFRONT, s.frontend, has_entries(s, device))
    s.require(kind_seen(s, device, msix))
    s.require(each_entry(s, device, lambda d: ~wants_block(s, d)))
    unsure = (ret > 0) | (ret == EINVAL)
    before = s.backend[device]
    s.xen_phase[device] = XEN_PHASE.SETUP
    s.backend_asked[device] = True
    s.xen_ret[device] = ret
    s.backend[device] = ite(ret == 0, BACKEND.ON, ite(unsure, BACKEND.UNKNOWN, before))


# --- xen_bind_pirq_msi_to_irq ---------------------------------------------------------------


@xen.action(irq=IRQ, desc=DESC)
def xen_irq_init(s: State, irq: Term, desc: Term) -> None:
    """A descriptor of an irq gets an irq_info: the next irq of the block that is being made."""
    _step(s, desc)
    s.require(s.desc[irq], s.info[irq] == INFO.NONE, can_bind(s, desc))
    s.require(s.members[desc] < s.entry_nvec[desc])

    begins = s.members[desc] == 0
    follows = s.irq_number[irq] == s.irq_number[s.base[desc]] + s.members[desc]
    s.require(begins | follows)
    s.require(members_are(s, desc, lambda i: s.info[i] == INFO.UNBOUND))
    with s.when(begins):
        s.base[desc] = irq
    s.info[irq] = INFO.UNBOUND
    s.member_of[irq] = desc
    s.offset[irq] = s.members[desc]
    s.members[desc] += 1


@xen.action(irq=IRQ, pirq=PIRQ, domid=Option(DOMID), group=BOOL)
def xen_irq_info_pirq_setup(s: State, irq: Term, pirq: Term, domid: Term, group: Term) -> None:
    """The next irq of the block is bound to the next pirq; PIRQ_MSI_GROUP tells it from the first.
    Another guest learns here which pirq the backend has got for it."""
    d = s.member_of[irq]
    device = _step(s, d)
    given = s.setup_ops == SETUP_OPS.PCIFRONT
    s.require(s.info[irq] == INFO.UNBOUND, s.members[d] == s.entry_nvec[d])
    s.require(group == ~(s.offset[irq] == 0), domid == s.pirq_domid[pirq])

    first = s.info_pirq[s.base[d]]
    follows = and_(
        s.pirq_number[pirq] == s.pirq_number[first] + s.offset[irq],
        s.pirq_domid[pirq] == s.pirq_domid[first],
    )

    def before(i: Term) -> Term:
        return implies(s.offset[i] < s.offset[irq], is_pirq(s, i))

    s.require(members_are(s, d, before))
    s.require(ite(given, _own(s, pirq), ite(group, follows, s.pirq_hand[d] == pirq)))
    s.info[irq] = INFO.PIRQ
    s.info_pirq[irq] = pirq
    s.info_domid[irq] = domid
    s.msi_group[irq] = group
    with s.when(~group):
        s.pirq_hand[d] = None
    with s.when(given):
        s.pirq_device[pirq] = device
        s.block[pirq] = pirq


@xen.action(irq=IRQ, desc=DESC)
def irq_set_msi_desc(s: State, irq: Term, desc: Term) -> None:
    """The block is whole: the descriptor learns its first irq, which alone points back."""
    _step(s, desc)
    s.require(s.member_of[irq] == desc, s.offset[irq] == 0)
    s.require(s.members[desc] == s.entry_nvec[desc], members_are(s, desc, lambda i: is_pirq(s, i)))
    s.first_irq[desc] = irq
    s.back[irq] = desc
    s.bound[desc] = True


@xen.action(desc=DESC, ret=INT)
def xen_bind_pirq_msi_to_irq(s: State, desc: Term, ret: Term) -> None:
    """The bind ends: it has succeeded, or everything is undone and the setup is to fail. A guest of
    type HVM cannot give the pirq back; the initial domain unmaps it, but for XEN-leak."""
    device = s.entry_device[desc]
    failed = ret < 0
    fails = and_(works_on(s, desc) | s.undoing[desc], s.members[desc] == 0)
    ready = s.undoing[desc] | can_bind(s, desc)
    s.require(in_xen_phase(s, device, "SETUP"), s.xen_ret[device] == 0)
    s.require(ite(failed, fails & ready, s.bound[desc]))
    kept = s.setup_ops == SETUP_OPS.INITDOM
    lost = failed & in_hand(s, desc) & (~kept if not s.on("XEN-leak") else failed)
    with s.when(lost):
        s.leak[s.pirq_hand[desc]] = LEAK.BIND
        s.pirq_hand[desc] = None
    with s.when(failed):
        s.xen_ret[device] = ret
        s.undoing[desc] = False


@xen.action(desc=DESC, ret=INT)
def xen_undo_map_pirq(s: State, desc: Term, ret: Term) -> None:
    """physdev_unmap_pirq for the pirq that was mapped and could not be bound."""
    device, pirq = s.entry_device[desc], s.pirq_hand[desc]
    s.require(in_hand(s, desc), s.setup_ops == SETUP_OPS.INITDOM, ret <= 0)
    s.require(in_xen_phase(s, device, "SETUP"), s.xen_ret[device] < 0, s.members[desc] == 0)
    unmap_block(s, pirq, is_unmapped(s, pirq, ret))
    s.pirq_hand[desc] = None


def is_unmapped(s: State, pirq: Term, ret: Term) -> Term:
    """The hypervisor has unmapped the block, or the domain that had it is gone."""
    return (ret == 0) | ((ret == ESRCH) & ~(s.pirq_domid[pirq] == none(DOMID)))


def unmap_block(s: State, pirq: Term, done: Term) -> None:
    with s.when(done):
        s.pirq_device[pirq] = None
    with s.when(~done):
        s.leak[pirq] = LEAK.UNMAP
    with s.each(PIRQ, "p", lambda p: done & (s.block[p] == pirq)) as p:
        s.block[p] = None


# --- the end of a setup ---------------------------------------------------------------------


@xen.action(device=DEVICE, msix=BOOL, ret=INT)
def xen_initdom_setup_msi_irqs(s: State, device: Term, msix: Term, ret: Term) -> None:
    """The setup function of the initial domain returns."""

    def stuck(d: Term) -> Term:
        error = ite(wants_block(s, d), 1, EINVAL)
        fresh = ~in_hand(s, d) & (s.members[d] == 0) & ~s.segment_refused[d]
        mine = s.entry_device[d] == device
        return and_(mine, works_on(s, d), fresh, cannot_ask(s, d), ret == error)

    _end(s, device, msix, ret, SETUP_OPS.INITDOM, exists(DESC, stuck))


@xen.action(device=DEVICE, msix=BOOL, ret=INT)
def xen_setup_msi_irqs(s: State, device: Term, msix: Term, ret: Term) -> None:
    """That of another paravirtualised guest: it refuses blocks; it may have no memory, no frontend,
    or more entries than the shared page has room for."""
    early = or_(ret == ENOMEM, ~s.frontend & (ret == ENOSYS), s.frontend & (ret == EINVAL))
    block = exists(DESC, lambda d: (s.entry_device[d] == device) & wants_block(s, d))
    errs = in_xen_phase(s, device, "IDLE") & ite(block, ret == 1, early)
    _end(s, device, msix, ret, SETUP_OPS.PCIFRONT, errs)


@xen.action(device=DEVICE, msix=BOOL, ret=INT)
def xen_hvm_setup_msi_irqs(s: State, device: Term, msix: Term, ret: Term) -> None:
    """That of a guest of type HVM: it refuses blocks."""
    block = exists(DESC, lambda d: (s.entry_device[d] == device) & wants_block(s, d))
    errs = and_(in_xen_phase(s, device, "IDLE"), block, ret == 1)
    _end(s, device, msix, ret, SETUP_OPS.HVM, errs)


def _end(s: State, device: Term, msix: Term, ret: Term, ops: Term, errs: Term) -> None:
    """A setup function returns: 0 if every descriptor has its irqs; what has failed; or an error
    without any request. What was got and could not be bound was given back."""
    s.require(s.setup_ops == ops, dispatched(s, device), s.is_pci[device], has_entries(s, device))
    s.require(in_xen_phase(s, device, "IDLE", "SETUP"), kind_seen(s, device, msix))
    at_rest = and_(
        each_entry(s, device, lambda d: ~in_hand(s, d) & ~s.undoing[d]),
        each_entry(s, device, lambda d: s.bound[d] | (s.members[d] == 0)),
    )
    whole = each_entry(s, device, lambda d: s.bound[d])
    known = s.xen_ret[device]
    s.require(at_rest, ite(known == 0, ite(ret == 0, whole, errs), ret == known))
    result = ite(ret > 0, XEN_PHASE.RETRY, XEN_PHASE.FAILED)
    s.xen_phase[device] = ite(ret == 0, XEN_PHASE.DONE, result)
    s.xen_ret[device] = 0
    s.backend_asked[device] = False
    with s.each(DESC, "d", lambda d: s.entry_device[d] == device) as d:
        s.segment_refused[d] = False


@xen.action(device=DEVICE, ret=INT)
def xen_msi_domain_alloc_irqs(s: State, device: Term, ret: Term) -> None:
    """A device that is not on PCI is refused."""
    s.require(dispatched(s, device), ~s.is_pci[device], has_entries(s, device))
    s.require(in_xen_phase(s, device, "IDLE"), ret == EINVAL)
    s.xen_phase[device] = XEN_PHASE.FAILED
