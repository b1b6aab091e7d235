# SPDX-License-Identifier: GPL-2.0-only
"""What a Xen guest does to give the irqs of a device back, step by step.

The guest undoes a bind that has failed by the same function that frees an irq.
"""

from __future__ import annotations

from spec.msi import DESC, DEVICE
from spec.sorts import IRQ
from spec.state import State
from spec.terms import (
    FALSE,
    INT,
    TRUE,
    Term,
    and_,
    exists,
    implies,
    ite,
    none,
)
from spec.xen import (
    BACKEND,
    GUEST,
    INFO,
    LEAK,
    PIRQ,
    SETUP_OPS,
    TEARDOWN_OPS,
    UNMAP,
    XEN_PHASE,
    device_of,
    dispatched,
    each_entry,
    has_entries,
    in_xen_phase,
    is_member,
    is_pirq,
    kind_seen,
    tells_backend,
    untouched,
    xen,
)
from spec.xen_actions import is_unmapped, members_are, unmap_block

# --- teardown -------------------------------------------------------------------------------


def _tears_down(s: State, device: Term) -> None:
    """A step of a teardown, which follows a failed and a refused setup, too. The irqs of the device
    have been shut down."""
    s.require(dispatched(s, device), s.is_pci[device], has_entries(s, device))
    s.require(in_xen_phase(s, device, "IDLE", "DONE", "FAILED", "RETRY", "TEARDOWN"))
    s.require(quiet(s, device))
    s.require(~(s.teardown_ops == TEARDOWN_OPS.NONE))
    s.xen_phase[device] = XEN_PHASE.TEARDOWN


def quiet(s: State, device: Term) -> Term:
    """No irq of the device is started."""
    return ~exists(IRQ, lambda i: s.pirq_started[i] & (device_of(s, i) == device))


@xen.action(device=DEVICE, ret=INT)
def pci_op_disable_msi(s: State, device: Term, ret: Term) -> None:
    """The frontend has the backend disable MSI, which frees the pirqs unless it refuses."""
    _disable(s, device, FALSE, ret)


@xen.action(device=DEVICE, ret=INT)
def pci_op_disable_msix(s: State, device: Term, ret: Term) -> None:
    """The same for MSI-X."""
    _disable(s, device, TRUE, ret)


def _disable(s: State, device: Term, msix: Term, ret: Term) -> None:
    s.require(~in_xen_phase(s, device, "TEARDOWN"), tells_backend(s, device))
    s.require(kind_seen(s, device, msix))
    _tears_down(s, device)
    s.backend_told[device] = True
    with s.when(ret == 0):
        s.backend[device] = BACKEND.OFF
    with s.each(PIRQ, "p", lambda p: (ret == 0) & (s.pirq_device[s.block[p]] == device)) as p:
        s.block[p] = None
    with s.each(PIRQ, "p", lambda p: (ret == 0) & (s.pirq_device[p] == device)) as p:
        s.pirq_device[p] = None


def _destroys(s: State, irq: Term) -> Term:
    """A teardown has come to the irq: the first that is left of a block; the descriptors before it
    have none, and the backend knows."""
    d = s.member_of[irq]
    device = s.entry_device[d]

    def before(e: Term) -> Term:
        return implies(s.entry_position[e] < s.entry_position[d], s.members[e] == 0)

    first = members_are(s, d, lambda i: s.offset[irq] <= s.offset[i])
    told = implies(tells_backend(s, device), s.backend_told[device])
    return and_(is_member(s, irq), is_pirq(s, irq), first, told, each_entry(s, device, before))


@xen.action(irq=IRQ, pirq=PIRQ, ret=INT)
def physdev_unmap_pirq(s: State, irq: Term, pirq: Term, ret: Term) -> None:
    """The initial domain has the pirqs of a block unmapped, by the first irq of the block."""
    s.require(_destroys(s, irq), s.guest == GUEST.PV_DOM0, ~s.msi_group[irq], ret <= 0)
    s.require(s.info_pirq[irq] == pirq, s.unmapped[irq] == UNMAP.NOT_ASKED)
    _tears_down(s, device_of(s, irq))
    done = is_unmapped(s, pirq, ret)
    unmap_block(s, pirq, done)
    s.unmapped[irq] = ite(done, UNMAP.DONE, UNMAP.REFUSED)


@xen.action(irq=IRQ)
def xen_free_irq(s: State, irq: Term) -> None:
    """The irq_info goes: of an irq that is destroyed, or of the last irq of a block whose bind has
    failed. v5.10 does not get here where the pirq was not unmapped (XEN-unmap)."""
    d = s.member_of[irq]
    device = s.entry_device[d]
    undo = in_xen_phase(s, device, "SETUP")
    asked = implies(
        (s.guest == GUEST.PV_DOM0) & ~s.msi_group[irq], ~(s.unmapped[irq] == UNMAP.NOT_ASKED)
    )
    if s.on("XEN-unmap"):
        asked = asked & ~(s.unmapped[irq] == UNMAP.REFUSED)
    last = s.offset[irq] + 1 == s.members[d]
    begun = s.undoing[d] | (s.members[d] == s.entry_nvec[d])
    goes_on = and_(s.xen_ret[device] == 0, ~s.bound[d], last, begun)
    ending = in_xen_phase(s, device, "DONE", "FAILED", "RETRY", "TEARDOWN")
    s.require(is_member(s, irq), ite(undo, goes_on, and_(ending, _destroys(s, irq), asked)))
    s.require(quiet(s, device), dispatched(s, device))
    s.undoing[d] = undo
    s.bound[d] = s.bound[d] & ~(s.members[d] == 1)
    with s.when(and_(undo, is_pirq(s, irq), ~s.msi_group[irq])):
        s.pirq_hand[d] = ite(s.setup_ops == SETUP_OPS.PCIFRONT, none(PIRQ), s.info_pirq[irq])
    s.xen_phase[device] = ite(undo, XEN_PHASE.SETUP, XEN_PHASE.TEARDOWN)
    _leave(s, irq)
    _forget(s, irq)


def _leave(s: State, irq: Term) -> None:
    """The irq leaves its block."""
    with s.when(s.members[s.member_of[irq]] == 1):
        s.base[s.member_of[irq]] = None
    s.members[s.member_of[irq]] -= 1
    s.member_of[irq] = None
    s.offset[irq] = 0


def _forget(s: State, irq: Term) -> None:
    """Nothing is kept of the irq."""
    s.info[irq] = INFO.NONE
    s.info_pirq[irq] = None
    s.info_domid[irq] = None
    s.msi_group[irq] = False
    s.unmapped[irq] = UNMAP.NOT_ASKED


@xen.action("XEN-unmap", irq=IRQ)
def xen_destroy_irq(s: State, irq: Term) -> None:
    """v5.10 keeps an irq whose pirq was not unmapped, and forgets it."""
    d = s.member_of[irq]
    s.require(is_member(s, irq), s.unmapped[irq] == UNMAP.REFUSED)
    s.bound[d] = s.bound[d] & ~(s.members[d] == 1)
    s.orphan[irq] = True
    _leave(s, irq)


@xen.action(desc=DESC)
def xen_msi_desc_clear_irq(s: State, desc: Term) -> None:
    """The irqs of the descriptor are gone: msi_desc.irq is 0 again; v5.10 leaves it (F15)."""
    s.require(in_xen_phase(s, s.entry_device[desc], "TEARDOWN"))
    s.require(~(s.first_irq[desc] == none(IRQ)), s.members[desc] == 0)
    s.first_irq[desc] = None


@xen.action(device=DEVICE)
def xen_teardown_msi_irqs(s: State, device: Term) -> None:
    """The teardown function returns: no descriptor has an irq."""
    _tears_down(s, device)
    s.require(implies(tells_backend(s, device), s.backend_told[device]))
    s.require(each_entry(s, device, lambda d: s.members[d] == 0))
    if not s.on("F15"):
        s.require(each_entry(s, device, lambda d: untouched(s, d)))
    s.backend_told[device] = False
    s.xen_phase[device] = XEN_PHASE.TORN


@xen.action(device=DEVICE)
def xen_msi_domain_free_irqs(s: State, device: Term) -> None:
    """Of a device that is not on PCI there is nothing to tear down."""
    s.require(dispatched(s, device), ~s.is_pci[device], has_entries(s, device))
    s.require(in_xen_phase(s, device, "IDLE", "FAILED"))
    s.xen_phase[device] = XEN_PHASE.TORN


@xen.action(pirq=PIRQ)
def release_pirq(s: State, pirq: Term) -> None:
    """The hypervisor frees a reserved pirq of a guest of type HVM, which has disabled the MSI and
    binds no irq to it any more."""
    in_use = exists(IRQ, lambda i: s.info_pirq[i] == pirq)
    waits = exists(DESC, lambda d: s.pirq_hand[d] == pirq)
    s.require(s.guest == GUEST.HVM_PIRQ, ~in_use & ~waits)
    unmap_block(s, pirq, TRUE)
    s.leak[pirq] = LEAK.NO
