# SPDX-License-Identifier: GPL-2.0-only
"""That a Xen guest bypasses the native code as it should (section 9.2): which domain there is, when
it is made, which functions it has, and what nobody writes.

The predicates that speak of the native code are in `spec.xen_whole`; XB-9, that the path is the
same as before the series, compares two models of this layer.
"""

from __future__ import annotations

from spec.msi import DESC, DEVICE
from spec.sorts import IRQ
from spec.state import State
from spec.terms import Term, and_, forall, none
from spec.xen import (
    PIRQ,
    SETUP_OPS,
    TEARDOWN_OPS,
    bypasses,
    has_info,
    has_xen_domain,
    in_xen_phase,
    kind_of,
    untouched,
    xen,
)


@xen.invariant(
    "XB-1", "The default domain is Xen's in the guests that bypass, and in no other.",
    unless=("N3", "R1"),
)  # fmt: skip
def default_domain(s: State) -> Term:
    return s.default_made.implies(s.xen_domain[s.default_domain] == bypasses(s))


@xen.invariant(
    "XB-2", "Xen's creator is in place before the default domain is made.", unless=("N3", "R1")
)
def in_time(s: State) -> Term:
    wrapped = s.xen_domain[s.default_domain] == s.replaced
    return s.default_made.implies(and_(wrapped, bypasses(s).implies(s.replaced)))


@xen.invariant("XB-5", "Xen's domain is a hierarchy, and both its operations are there.")
def complete_domain(s: State) -> Term:
    def law(v: Term) -> Term:
        known = ~(s.setup_ops == SETUP_OPS.NONE) & ~(s.teardown_ops == TEARDOWN_OPS.NONE)
        return has_xen_domain(s, v).implies(known & s.hierarchy[s.msi_domain[v]])

    return forall(DEVICE, law)


@xen.invariant("XB-8", "A device that is not on PCI gets nothing of Xen's domain.")
def pci_only(s: State) -> Term:
    def law(d: Term) -> Term:
        alien = ~s.is_pci[s.entry_device[d]]
        return alien.implies(untouched(s, d))

    def phase(v: Term) -> Term:
        return s.is_pci[v] | in_xen_phase(s, v, "IDLE", "FAILED", "TORN")

    return forall(DESC, law) & forall(DEVICE, phase)


@xen.invariant("XB-10", "Nobody writes a mask bit of a device of Xen's.", unless=("F13",))
def no_mask(s: State) -> Term:
    return forall(DEVICE, lambda v: has_xen_domain(s, v).implies(~s.mask_written[v]))


@xen.invariant(
    "XB-10'", "A device of another domain, such as a VMD's child, can be masked.", unless=("F17",)
)
def others_maskable(s: State) -> Term:
    return forall(DEVICE, lambda v: s.mask_dropped[v].implies(has_xen_domain(s, v)))


@xen.invariant(
    "XB-11",
    "A setup writes the message of a descriptor once before the bind in a guest of type HVM, and "
    "never in another.",
)
def writes_once(s: State) -> Term:
    def law(d: Term) -> Term:
        written = s.setup_ops == SETUP_OPS.HVM
        once = (s.writes[d] == 0) | (s.writes[d] == 1)
        named = (s.writes[d] == 0) == (s.message_pirq[d] == none(PIRQ))
        bound = (s.bound[d] | (s.members[d] > 0)).implies((s.writes[d] == 1) == written)
        return and_(once, named, bound, (s.writes[d] == 1).implies(written))

    return forall(DESC, law)


@xen.invariant("XB-12", "In the initial domain no restore writes the messages of Xen's devices.")
def hypercall_restores(s: State) -> Term:
    def law(v: Term) -> Term:
        mine = has_xen_domain(s, v) & s.rewritten[v]
        return mine.implies(~kind_of(s, "PV_DOM0"))

    return forall(DEVICE, law)


@xen.invariant("XB-14", "No flag that Xen's domain lacks refuses or skips work.", unless=("F14",))
def no_flags(s: State) -> Term:
    return forall(DEVICE, lambda v: ~s.flag_refused[v])


@xen.invariant("XB-15", "No domain of device MSI is made on top of Xen's.", unless=("DEV-D5",))
def nothing_above(s: State) -> Term:
    return forall(DEVICE, lambda v: has_xen_domain(s, v).implies(~s.subdevices[v]))


@xen.invariant(
    "XB-16", "Elsewhere no function of Xen's runs, and no hook is Xen's.", unless=("R1",)
)
def native(s: State) -> Term:
    bare = and_(
        s.setup_ops == SETUP_OPS.NONE,
        ~s.replaced,
        ~s.restore_hook,
        ~s.ignores_masks,
        forall(IRQ, lambda i: ~has_info(s, i)),
        forall(DEVICE, lambda v: in_xen_phase(s, v, "IDLE", "TORN")),
    )
    return bypasses(s) | bare


@xen.invariant("XB-17", "An initial domain of type PVH is native.", unless=("R1",))
def pvh_dom0(s: State) -> Term:
    bare = and_(s.setup_ops == SETUP_OPS.NONE, ~s.restore_hook, ~s.ignores_masks)
    return kind_of(s, "PVH_DOM0").implies(bare)
