# SPDX-License-Identifier: GPL-2.0-only
"""Devices behind a VMD (section 7): which list an interrupt is on, and what its message names.

A VMD has a list for each of its own vectors. An interrupt of a child is on one of them for life; it
is among those that the list's handler calls while it is enabled. The interrupts of the VMD itself
are those of any PCI device.

Not here: which domain a child gets (VMD-8, VMD-9) is SEL-2 of `spec.routing`. The tests of the
driver hold that a refused setting of the affinity (VMD-11) and a refused number (VMD-12) change
nothing, and that the address is decoded to the index (VMD-7); that it has room for the index is
here. The count of the first list is a ghost, since nobody reads it, and has no bound, where that of
the driver has 32 bits.
"""

from __future__ import annotations

from spec.language import Layer
from spec.sorts import IRQ
from spec.state import State
from spec.terms import (
    BOOL,
    INT,
    Int,
    Option,
    Sort,
    Term,
    and_,
    count,
    forall,
    implies,
    ite,
    none,
    or_,
)

VMD = Sort("Vmd")
INDEX = Sort("Index")
"""Numbers of vectors of a VMD, and so of its lists."""

vmd = Layer("vmd", (VMD, INDEX, IRQ))

vmd.field("first", type=Option(INDEX), rigid=True, doc="the number 0")
vmd.field("before", INDEX, INDEX, rigid=True, doc="the one number is less than the other")
vmd.field("alias", INDEX, type=Option(INDEX), rigid=True, doc="the lowest 8 bits of a number")
vmd.field("told", INDEX, rigid=True, doc="the number is less than 256")

vmd.field("vector_level", IRQ, doc="the irq has a level in the VECTOR domain")
vmd.field("vector", VMD, INDEX, type=Option(IRQ), doc="the irq of the VMD's own vector")
vmd.field("probed", VMD, doc="the VMD has its vectors and lists, and a domain behind it")
vmd.field("count", VMD, INDEX, type=Int((IRQ,)), doc="vmd_irq_list.count, but that of list 0")
vmd.field("first_count", VMD, type=INT, ghost=True, doc="the count of list 0")
vmd.field("first_frees", VMD, type=INT, ghost=True, doc="how many irqs were freed on list 0")
vmd.field("owner", IRQ, type=Option(VMD), doc="the VMD that the irq's device is behind")
vmd.field("list", IRQ, type=Option(INDEX), doc="the list that the irq is on")
vmd.field("hwirq", IRQ, type=Option(IRQ), doc="the irq's hwirq in the VMD's domain")
vmd.field("irq_list", VMD, INDEX, IRQ, doc="the list's handler calls the irq's")
vmd.field("enabled", IRQ, doc="vmd_irq.enabled")
vmd.field("disabled", IRQ, doc="IRQD_IRQ_DISABLED of an irq of a child")
vmd.field("message", IRQ, type=Option(INDEX), doc="the index that the device's message names")


@vmd.axiom
def numbers(s: State) -> Term:
    """Numbers are ordered, 0 is the first, and those below 256 are their lowest 8 bits."""

    def law(a: Term, b: Term, c: Term) -> Term:
        return and_(
            ~s.before[a, a],
            (a == b) | s.before[a, b] | s.before[b, a],
            implies(s.before[a, b] & s.before[b, c], s.before[a, c]),
            ~s.before[a, s.first],
        )

    known = forall(INDEX, lambda k: implies(s.told[k], s.alias[k] == k))
    return and_(forall(INDEX, INDEX, INDEX, law), known, ~(s.first == none(INDEX)), s.told[s.first])


# --- words for the formulas -----------------------------------------------------------------


def has(s: State, device: Term, index: Term) -> Term:
    """The VMD has a vector of this number."""
    return ~(s.vector[device, index] == none(IRQ))


def is_child(s: State, irq: Term) -> Term:
    """The irq is one of a device behind a VMD."""
    return ~(s.owner[irq] == none(VMD))


def owned(s: State, device: Term, index: Term) -> Term:
    """How many irqs of children are on a list."""
    return count(IRQ, lambda i: (s.owner[i] == device) & (s.list[i] == index))


def next_irq(s: State, device: Term, nvme: Term, index: Term) -> Term:
    """Whether vmd_next_irq answers this list (VMD-4)."""

    def no_better(k: Term) -> Term:
        rival = has(s, device, k) & ~(k == s.first)
        less = s.count[device, k] < s.count[device, index]
        same = (s.count[device, k] == s.count[device, index]) & s.before[k, index]
        return implies(rival, ~(less | same))

    second = has(s, device, index) & ~(index == s.first)
    alone = forall(INDEX, lambda k: implies(has(s, device, k), k == s.first))
    best = and_(second, forall(INDEX, no_better))
    return ite(nvme & ~alone, best, index == s.first)


# --- the VMD itself ---------------------------------------------------------------------------


@vmd.action(device=VMD, index=INDEX, irq=IRQ)
def msi_domain_alloc(s: State, device: Term, index: Term, irq: Term) -> None:
    """The VMD gets one of its own vectors, the lowest first, from the domain that it has as any
    PCI device. It asks for no more than a child's message can tell apart (VMD-7)."""
    s.require(~s.probed[device], ~has(s, device, index), ~s.vector_level[irq], ~is_child(s, irq))
    s.require(forall(INDEX, lambda k: implies(s.before[k, index], has(s, device, k))))
    if not s.on("VMD-7"):
        s.require(s.told[index])
    s.vector[device, index] = irq
    s.vector_level[irq] = True


@vmd.action(device=VMD)
def vmd_enable_domain(s: State, device: Term) -> None:
    """The VMD has its vectors: the segment behind it comes."""
    s.require(~s.probed[device], has(s, device, s.first))
    s.probed[device] = True


@vmd.action(device=VMD)
def vmd_remove(s: State, device: Term) -> None:
    """The segment goes, after the drivers of the devices there have freed their irqs; its lists
    go with it."""
    s.require(s.probed[device], ~_busy(s, device))
    s.probed[device] = False
    s.first_count[device] = 0
    s.first_frees[device] = 0


@vmd.action(device=VMD)
def vmd_free_irqs(s: State, device: Term) -> None:
    """The vectors are given back, after the segment has gone."""
    s.require(~s.probed[device], has(s, device, s.first))
    with s.each(IRQ, "i", lambda i: _is_vector(s, device, i)) as i:
        s.vector_level[i] = False
    with s.each(INDEX, "k") as k:
        s.vector[device, k] = None


def _busy(s: State, device: Term) -> Term:
    return ~forall(IRQ, lambda i: ~(s.owner[i] == device))


def _is_vector(s: State, device: Term, irq: Term) -> Term:
    return ~forall(INDEX, lambda k: ~(s.vector[device, k] == irq))


# --- interrupts of children -------------------------------------------------------------------


@vmd.action(device=VMD, irq=IRQ, index=INDEX, nvme=BOOL)
def vmd_msi_init(s: State, device: Term, irq: Term, index: Term, nvme: Term) -> None:
    """An irq of a device, which is an NVMe controller or not, comes to a list. Its domain has no
    parent; with one it would take a vector of a CPU (VMD-03)."""
    s.require(s.probed[device], ~is_child(s, irq), ~s.vector_level[irq])
    s.require(next_irq(s, device, nvme, index))
    with s.when(~(index == s.first)):
        s.count[device, index] = s.count[device, index] + 1
    s.owner[irq] = device
    s.list[irq] = index
    s.hwirq[irq] = s.vector[device, index]
    s.disabled[irq] = True
    s.vector_level[irq] = s.on("VMD-03")


@vmd.action(irq=IRQ, index=INDEX)
def pci_write_msi_msg(s: State, irq: Term, index: Term) -> None:
    """The device is told its message: of the number of the list, its lowest 8 bits."""
    s.require(is_child(s, irq), index == s.alias[s.list[irq]])
    s.message[irq] = index


@vmd.action(device=VMD, irq=IRQ)
def vmd_irq_enable(s: State, device: Term, irq: Term) -> None:
    """The irq starts. The core enables none that it has enabled already."""
    s.require(is_child(s, irq), s.owner[irq] == device, s.disabled[irq])
    s.irq_list[device, s.list[irq], irq] = True
    s.enabled[irq] = True
    s.disabled[irq] = False


@vmd.action(device=VMD, irq=IRQ)
def vmd_irq_disable(s: State, device: Term, irq: Term) -> None:
    """The irq stops."""
    s.require(is_child(s, irq), s.owner[irq] == device)
    s.irq_list[device, s.list[irq], irq] = False
    s.enabled[irq] = False
    s.disabled[irq] = True


@vmd.action(device=VMD, irq=IRQ, index=INDEX)
def vmd_msi_free(s: State, device: Term, irq: Term, index: Term) -> None:
    """An irq goes, which the core has disabled (VMD-10). It is taken from the count of its list,
    also of list 0, where it was never added."""
    s.require(is_child(s, irq), s.owner[irq] == device, s.list[irq] == index, s.disabled[irq])
    with s.when(index == s.first):
        s.first_count[device] = s.first_count[device] - 1
        s.first_frees[device] = s.first_frees[device] + 1
    with s.when(~(index == s.first)):
        s.count[device, index] = s.count[device, index] - 1
    for option in ("owner", "list", "hwirq", "message"):
        getattr(s, option)[irq] = None
    s.disabled[irq] = False
    s.vector_level[irq] = False


# --- invariants -----------------------------------------------------------------------------


@vmd.invariant("VMD-1", "An irq of a child is on exactly one list of its own VMD.")
def one_list(s: State) -> Term:
    def law(i: Term) -> Term:
        there = s.probed[s.owner[i]] & has(s, s.owner[i], s.list[i])
        return ite(is_child(s, i), there, s.list[i] == none(INDEX))

    return forall(IRQ, law)


@vmd.invariant("VMD-2", "A list's handler calls the irqs of the list that are enabled, no others.")
def listed(s: State) -> Term:
    return forall(
        VMD,
        INDEX,
        IRQ,
        lambda d, k, i: s.irq_list[d, k, i] == and_(s.enabled[i], s.owner[i] == d, s.list[i] == k),
    )


@vmd.invariant("VMD-3", "The count of a list but the first is the number of the irqs on it.")
def counted(s: State) -> Term:
    return forall(
        VMD,
        INDEX,
        lambda d, k: s.count[d, k] == ite(k == s.first, 0, owned(s, d, k)),
    )


@vmd.invariant("VMD-first", "The count of list 0 tells only how many were freed.", ghost=True)
def counted_first(s: State) -> Term:
    return forall(VMD, lambda d: s.first_count[d] + s.first_frees[d] == 0)


@vmd.invariant("VMD-5", "No irq of a child has a level in the VECTOR domain.", unless=("VMD-03",))
def no_parent(s: State) -> Term:
    return forall(IRQ, lambda i: is_child(s, i).implies(~s.vector_level[i]))


@vmd.invariant("VMD-6", "The hwirq of a child's irq is the irq of the vector of its list.")
def same_hwirq(s: State) -> Term:
    return forall(IRQ, lambda i: s.hwirq[i] == s.vector[s.owner[i], s.list[i]])


@vmd.invariant("VMD-7", "The message of a child names the list that its irq is on.",
               unless=("VMD-7",))  # fmt: skip
def message_names_list(s: State) -> Term:
    return forall(IRQ, lambda i: or_(s.message[i] == none(INDEX), s.message[i] == s.list[i]))


@vmd.invariant("VMD-10", "An irq that the core has disabled is enabled in no list.")
def freed_disabled(s: State) -> Term:
    return forall(IRQ, lambda i: s.enabled[i] == (is_child(s, i) & ~s.disabled[i]))


# --- what the others need to be inductive ----------------------------------------------------


@vmd.invariant("VMD-vectors", "A VMD with lists has vectors from 0 on that nobody else has.")
def own_vectors(s: State) -> Term:
    def law(d: Term, k: Term) -> Term:
        irq = s.vector[d, k]
        lowest = forall(INDEX, lambda x: implies(s.before[x, k], has(s, d, x)))
        return has(s, d, k).implies(and_(s.vector_level[irq], ~is_child(s, irq), lowest))

    unique = forall(
        VMD,
        INDEX,
        VMD,
        INDEX,
        lambda d, k, e, m: implies(
            has(s, d, k) & (s.vector[d, k] == s.vector[e, m]), (d == e) & (k == m)
        ),
    )
    served = forall(VMD, lambda d: s.probed[d].implies(has(s, d, s.first)))
    return and_(forall(VMD, INDEX, law), unique, served)


@vmd.invariant("VMD-told", "A VMD has no more vectors than a message tells apart.",
               unless=("VMD-7",))  # fmt: skip
def all_told(s: State) -> Term:
    return forall(VMD, INDEX, lambda d, k: has(s, d, k).implies(s.told[k]))


# --- theorems -------------------------------------------------------------------------------


@vmd.theorem(
    "VMD-4", "The driver has no choice of a list.", device=VMD, nvme=BOOL, one=INDEX, other=INDEX
)
def one_choice(before: State, s: State, device: Term, nvme: Term, one: Term, other: Term) -> Term:
    s.require(s.probed[device], next_irq(s, device, nvme, one), next_irq(s, device, nvme, other))
    return one == other


@vmd.theorem(
    "VMD-4", "An allocation makes the list that it takes at most one longer than another.",
    device=VMD, irq=IRQ, index=INDEX, other=INDEX,
)  # fmt: skip
def even(before: State, s: State, device: Term, irq: Term, index: Term, other: Term) -> Term:
    """So without frees the lengths differ by one at most."""
    s.require(has(s, device, other), ~(other == s.first), ~(index == s.first))
    vmd_msi_init(s, device, irq, index, s.first == s.first)
    return s.count[device, index] <= s.count[device, other] + 1


@vmd.theorem("VMD-10", "An irq that is freed is on no list.", device=VMD, irq=IRQ, index=INDEX)
def freed(before: State, s: State, device: Term, irq: Term, index: Term) -> Term:
    vmd_msi_free(s, device, irq, index)
    return ~before.irq_list[device, index, irq]


# --- operations: each is one action ---------------------------------------------------------

vmd.operation(device=VMD, index=INDEX, irq=IRQ)(msi_domain_alloc)
vmd.operation(device=VMD)(vmd_enable_domain)
vmd.operation(device=VMD)(vmd_remove)
vmd.operation(device=VMD)(vmd_free_irqs)
vmd.operation(device=VMD, irq=IRQ, index=INDEX, nvme=BOOL)(vmd_msi_init)
vmd.operation(irq=IRQ, index=INDEX)(pci_write_msi_msg)
vmd.operation(device=VMD, irq=IRQ)(vmd_irq_enable)
vmd.operation(device=VMD, irq=IRQ)(vmd_irq_disable)
vmd.operation(device=VMD, irq=IRQ, index=INDEX)(vmd_msi_free)
