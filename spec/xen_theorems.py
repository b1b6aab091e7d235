# SPDX-License-Identifier: GPL-2.0-only
"""Theorems: what the laws of Xen's PCI MSI say about a few steps in a row, and about the end.

The conservation lemma (section 9.4) is XEN-conserve and XEN-mapped: as invariants they count at
every step, and here they say what is left when every device was torn down.
"""

from __future__ import annotations

from spec.alike import alike
from spec.matrix import CPU
from spec.msi import DESC, DEVICE
from spec.sorts import IRQ
from spec.state import State
from spec.terms import (
    BOOL,
    FALSE,
    INT,
    Option,
    Term,
    and_,
    count,
    forall,
    implies,
    lift,
    none,
)
from spec.xen import (
    DOMID,
    ENOMEM,
    PIRQ,
    PORT,
    device_of,
    has_info,
    in_xen_phase,
    is_held,
    is_member,
    kind_of,
    wants_block,
    xen,
)
from spec.xen_actions import (
    irq_set_msi_desc,
    physdev_map_pirq,
    xen_bind_pirq_msi_to_irq,
    xen_hvm_setup_msi_irqs,
    xen_irq_info_pirq_setup,
    xen_irq_init,
    xen_msi_compose_msg,
    xen_setup_msi_irqs,
    xen_undo_map_pirq,
)
from spec.xen_boot_actions import (
    irq_alloc_descs,
    physdev_restore_msi,
    physdev_restore_msi_ext,
    shutdown_pirq,
    startup_pirq,
)
from spec.xen_invariants import leaked
from spec.xen_teardown_actions import (
    pci_op_disable_msi,
    physdev_unmap_pirq,
    xen_free_irq,
    xen_teardown_msi_irqs,
)

_OF_IRQS = (
    *("info", "info_pirq", "info_domid", "msi_group", "member_of", "offset", "back", "orphan"),
    *("first_irq", "base", "members", "bound", "pirq_hand", "undoing"),
)
_OF_PIRQS = ("pirq_device", "block", "leak")
_OF_CHANNELS = ("pirq_started", "evtchn", "evtchn_cpu", "port_irq")
_OF_MESSAGES = ("message_pirq", "writes")


def _same(before: State, s: State, *names: str) -> Term:
    return alike(before, s, (xen.fields[name] for name in names))


# --- the end (section 9.4) ------------------------------------------------------------------


def _all_torn_down(s: State) -> Term:
    return forall(DESC, lambda d: s.entry_device[d] == none(DEVICE))


@xen.theorem("XEN-conserve", "When every device was torn down, the irqs left are those kept.")
def irqs_left(before: State, s: State) -> Term:
    s.require(_all_torn_down(s))
    live = count(IRQ, lambda i: has_info(s, i))
    left = forall(IRQ, lambda i: has_info(s, i) == s.orphan[i])
    return left & (live == count(IRQ, lambda i: s.orphan[i]))


@xen.theorem(
    "XEN-mapped",
    "When every device was torn down, the pirqs that the initial domain has mapped are those whose "
    "bind or whose unmap has failed.",
)
def pirqs_left(before: State, s: State) -> Term:
    s.require(_all_torn_down(s), kind_of(s, "PV_DOM0"))
    left = forall(PIRQ, lambda p: is_held(s, p) == leaked(s, p))
    mapped = count(PIRQ, lambda p: is_held(s, p))
    return left & (mapped == count(PIRQ, lambda p: leaked(s, p)))


@xen.theorem("XEN-10", "After the teardown of a device no irq refers to it.", device=DEVICE)
def nothing_refers(before: State, s: State, device: Term) -> Term:
    xen_teardown_msi_irqs(s, device)

    def law(i: Term) -> Term:
        return implies(is_member(s, i), ~(device_of(s, i) == device))

    return forall(IRQ, law)


# --- refusals and failures ------------------------------------------------------------------


@xen.theorem(
    "XEN-9", "A guest of type HVM that refuses a block has done nothing, and tears nothing down.",
    device=DEVICE,
)  # fmt: skip
def block_refused(before: State, s: State, device: Term) -> Term:
    xen_hvm_setup_msi_irqs(s, device, FALSE, lift(1))
    s.require(in_xen_phase(before, device, "IDLE"))
    xen_teardown_msi_irqs(s, device)
    return _same(before, s, *_OF_IRQS, *_OF_PIRQS, *_OF_MESSAGES, "desc", "backend")


@xen.theorem(
    "XEN-9", "One without that type that refuses a block asks the backend to disable MSI, no more.",
    device=DEVICE, ret=INT,
)  # fmt: skip
def block_refused_by_frontend(before: State, s: State, device: Term, ret: Term) -> Term:
    xen_setup_msi_irqs(s, device, FALSE, lift(1))
    s.require(in_xen_phase(before, device, "IDLE"), ~(ret == 0))
    pci_op_disable_msi(s, device, ret)
    xen_teardown_msi_irqs(s, device)
    return _same(before, s, *_OF_IRQS, *_OF_PIRQS, *_OF_MESSAGES, "desc", "backend")


@xen.theorem(
    "XEN-4", "A pirq that cannot be bound is unmapped, if the hypervisor does so.",
    desc=DESC, segment=BOOL, pirq=PIRQ,
)  # fmt: skip
def bind_failed(before: State, s: State, desc: Term, segment: Term, pirq: Term) -> Term:
    """There are no irqs. With XEN-leak the last step is not possible."""
    physdev_map_pirq(s, desc, segment, lift(0), pirq)
    xen_bind_pirq_msi_to_irq(s, desc, lift(ENOMEM))
    xen_undo_map_pirq(s, desc, lift(0))
    return _same(before, s, *_OF_IRQS, *_OF_PIRQS, *_OF_MESSAGES)


@xen.theorem(
    "XEN-7", "Of a block only the first irq has the pirqs unmapped: the others make no hypercall.",
    irq=IRQ,
)  # fmt: skip
def member_destroyed(before: State, s: State, irq: Term) -> Term:
    s.require(s.msi_group[irq])
    xen_free_irq(s, irq)
    return _same(before, s, *_OF_PIRQS)


@xen.theorem(
    "XEN-7", "The first irq of a block is freed after one answer to the unmap of its pirqs.",
    irq=IRQ, pirq=PIRQ, ret=INT,
)  # fmt: skip
def leader_destroyed(before: State, s: State, irq: Term, pirq: Term, ret: Term) -> Term:
    """A second request is not possible: the hypervisor was asked."""
    physdev_unmap_pirq(s, irq, pirq, ret)
    xen_free_irq(s, irq)
    gone = implies(ret == 0, forall(PIRQ, lambda p: ~(s.block[p] == pirq)))
    return gone & ~has_info(s, irq)


# --- lifetimes and messages -----------------------------------------------------------------


@xen.theorem(
    "XEN-5", "What starts and is shut down again has its pirq, and nothing of an event channel.",
    irq=IRQ, evtchn=Option(PORT), cpu=Option(CPU),
)  # fmt: skip
def two_lifetimes(before: State, s: State, irq: Term, evtchn: Term, cpu: Term) -> Term:
    startup_pirq(s, irq, evtchn, cpu)
    shutdown_pirq(s, irq)
    return _same(before, s, *_OF_IRQS, *_OF_PIRQS, *_OF_CHANNELS)


@xen.theorem(
    "XB-11", "In a guest of type HVM the message is written before the bind, and names the pirq.",
    irq=IRQ, desc=DESC, pirq=PIRQ,
)  # fmt: skip
def message_first(before: State, s: State, irq: Term, desc: Term, pirq: Term) -> Term:
    xen_msi_compose_msg(s, desc, pirq)
    irq_alloc_descs(s, irq)
    xen_irq_init(s, irq, desc)
    xen_irq_info_pirq_setup(s, irq, pirq, none(DOMID), FALSE)
    irq_set_msi_desc(s, irq, desc)
    named = (s.message_pirq[desc] == s.info_pirq[irq]) & (s.writes[desc] == 1)
    return and_(named, before.members[desc] == 0, s.first_irq[desc] == irq, ~wants_block(s, desc))


@xen.theorem(
    "XB-12", "The initial domain has messages restored without a write of its own.",
    device=DEVICE, ext=INT, ret=INT,
)  # fmt: skip
def restored(before: State, s: State, device: Term, ext: Term, ret: Term) -> Term:
    """By one request or the other: a hypervisor that does not know the first is asked again."""
    physdev_restore_msi_ext(s, device, ext)
    s.require(~s.pci_seg_supported)
    physdev_restore_msi(s, device, ret)
    return _same(before, s, *_OF_MESSAGES, *_OF_IRQS, *_OF_PIRQS, "rewritten")
