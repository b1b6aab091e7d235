# SPDX-License-Identifier: GPL-2.0-only
"""Platform MSI (section 12): devids, descriptors, and what an allocation that fails leaves.

A device takes a devid, then descriptors with indices from 0 on; then its domain gives each of them
an interrupt. Its hwirq is devid and index in one word: here a pair, or where the index has no room
in its part of the word, the next devid and what is left of the index. Only a device domain, which
allocates one interrupt after the other, could ask for such an index (PLT-index).

That a devid has 21 bits and the pair 32 (PLT-1, PLT-2) the tests of the driver hold.
"""

from __future__ import annotations

from spec.language import Layer
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import (
    BOOL,
    FALSE,
    Enum,
    Option,
    Sort,
    Term,
    and_,
    exists,
    forall,
    implies,
    ite,
    none,
    or_,
)

DEVICE = Sort("Device")
DEVID = Sort("Devid")
INDEX = Sort("Index")

STAGE = Enum(
    "Stage",
    (
        "NONE",
        "DESCS",  # the device has a devid, and gets descriptors
        "IRQS",  # the descriptors get interrupts
        "LIVE",  # the allocation has succeeded
        "UNDO",  # it fails, or everything is given back
    ),
)

platform_msi = Layer("platform_msi", (DEVICE, DEVID, INDEX, IRQ, DOMAIN))

platform_msi.field("first", type=Option(INDEX), rigid=True, doc="the index 0")
platform_msi.field("zero", type=Option(DEVID), rigid=True, doc="the devid 0")
platform_msi.field("before", INDEX, INDEX, rigid=True, doc="the one index is less than the other")
platform_msi.field("fits", INDEX, rigid=True, doc="the index is less than MAX_DEV_MSIS")
platform_msi.field("rest", INDEX, type=Option(INDEX), rigid=True, doc="the index less that")
platform_msi.field("next", DEVID, type=Option(DEVID), rigid=True, doc="the devid plus 1")
platform_msi.field("grows", DEVICE, rigid=True, doc="the device has a domain of its own")

platform_msi.field("stage", DEVICE, type=STAGE, doc="how far the device is")
platform_msi.field("devid", DEVICE, type=Option(DEVID), doc="the devid in its private data")
platform_msi.field("taken", DEVID, doc="platform_msi_devid_ida")
platform_msi.field("desc", DEVICE, INDEX, doc="the device has a descriptor of this index")
platform_msi.field("irq_of", DEVICE, INDEX, type=Option(IRQ), doc="the descriptor's irq")
platform_msi.field("owner", IRQ, type=Option(DEVICE), doc="the device that the irq was made for")
platform_msi.field("hw_devid", IRQ, type=Option(DEVID), doc="the upper part of its hwirq")
platform_msi.field("hw_index", IRQ, type=Option(INDEX), doc="the lower part")
platform_msi.field("refused", DEVICE, doc="an index was refused that no irq of the device has")
platform_msi.field("made", DOMAIN, doc="the platform MSI domain exists")
platform_msi.field("acks", DOMAIN, doc="its flow handler calls irq_ack")
platform_msi.field("has_ack", DOMAIN, doc="its chip has irq_ack")


@platform_msi.axiom
def numbers(s: State) -> Term:
    """Indices are ordered, those that fit come first; 0 is the first and fits."""

    def law(a: Term, b: Term, c: Term) -> Term:
        return and_(
            ~s.before[a, a],
            (a == b) | s.before[a, b] | s.before[b, a],
            implies(s.before[a, b] & s.before[b, c], s.before[a, c]),
            implies(s.before[a, b] & s.fits[b], s.fits[a]),
            ~s.before[a, s.first],
        )

    known = ~((s.first == none(INDEX)) | (s.zero == none(DEVID)))
    return and_(forall(INDEX, INDEX, INDEX, law), known, s.fits[s.first])


# --- words for the formulas -----------------------------------------------------------------


def live(s: State, irq: Term) -> Term:
    """The irq exists."""
    return ~(s.owner[irq] == none(DEVICE))


def calc_devid(s: State, device: Term, index: Term) -> Term:
    """The upper part of what platform_msi_calc_hwirq makes. Without set_desc nobody asks it, and
    the hwirq is 0 (PLT-2)."""
    own = s.devid[device]
    return s.zero if s.on("PLT-2") else ite(s.fits[index], own, s.next[own])


def calc_index(s: State, index: Term) -> Term:
    """The lower part."""
    return s.first if s.on("PLT-2") else ite(s.fits[index], index, s.rest[index])


def free(s: State, device: Term, index: Term) -> Term:
    """No irq has the hwirq that the descriptor asks for."""
    upper, lower = calc_devid(s, device, index), calc_index(s, index)
    return ~exists(IRQ, lambda i: (s.hw_devid[i] == upper) & (s.hw_index[i] == lower))


def served(s: State, device: Term) -> Term:
    """Every descriptor of the device has an irq."""
    return forall(INDEX, lambda x: s.desc[device, x].implies(~(s.irq_of[device, x] == none(IRQ))))


def without_descs(s: State, device: Term) -> Term:
    """The device has no descriptor."""
    return forall(INDEX, lambda x: ~s.desc[device, x])


def without_irqs(s: State, device: Term) -> Term:
    """No irq was made for the device."""
    return forall(IRQ, lambda i: ~(s.owner[i] == device))


# --- actions --------------------------------------------------------------------------------


@platform_msi.action(domain=DOMAIN, acks=BOOL, own=BOOL)
def platform_msi_create_irq_domain(s: State, domain: Term, acks: Term, own: Term) -> None:
    """A domain is made, whose chip may have an irq_ack of its own, and whose handler may call it;
    else the default calls the parent's. Before V2 #41 there was none (PLT-7)."""
    s.require(~s.made[domain])
    s.made[domain] = True
    s.acks[domain] = acks
    s.has_ack[domain] = own if s.on("PLT-7") else True


@platform_msi.action(device=DEVICE, devid=DEVID)
def platform_msi_alloc_priv_data(s: State, device: Term, devid: Term) -> None:
    """A device without descriptors takes a free devid."""
    s.require(s.stage[device] == STAGE.NONE, without_descs(s, device), ~s.taken[devid])
    s.devid[device] = devid
    s.taken[devid] = True
    s.stage[device] = STAGE.DESCS


@platform_msi.action(device=DEVICE, index=INDEX)
def platform_msi_alloc_desc(s: State, device: Term, index: Term) -> None:
    """A descriptor: of the lowest free index, which fits. In a device domain the index grew for
    ever before (PLT-index)."""
    s.require(s.stage[device] == STAGE.DESCS, ~s.desc[device, index])
    if s.on("PLT-index"):
        s.require(s.grows[device] | s.fits[index])
    else:
        s.require(s.fits[index])
    s.require(forall(INDEX, lambda x: s.before[x, index].implies(s.desc[device, x])))
    s.desc[device, index] = True


@platform_msi.action(device=DEVICE)
def msi_domain_alloc_begin(s: State, device: Term) -> None:
    """The descriptors are there: the domain is asked for their interrupts."""
    s.require(s.stage[device] == STAGE.DESCS, ~without_descs(s, device))
    s.stage[device] = STAGE.IRQS


@platform_msi.action(device=DEVICE, index=INDEX, irq=IRQ)
def msi_domain_alloc(s: State, device: Term, index: Term, irq: Term) -> None:
    """A descriptor gets an interrupt, whose hwirq must be free."""
    s.require(s.stage[device] == STAGE.IRQS, s.desc[device, index], ~live(s, irq))
    s.require(s.irq_of[device, index] == none(IRQ), free(s, device, index))
    s.owner[irq] = device
    s.irq_of[device, index] = irq
    s.hw_devid[irq] = calc_devid(s, device, index)
    s.hw_index[irq] = calc_index(s, index)


@platform_msi.action(device=DEVICE, index=INDEX)
def msi_domain_alloc_fails(s: State, device: Term, index: Term) -> None:
    """A descriptor gets none, since memory, irqs or vectors end, or the hwirq is taken: with it the
    allocation fails."""
    s.require(s.stage[device] == STAGE.IRQS, s.desc[device, index])
    s.require(s.irq_of[device, index] == none(IRQ))
    s.refused[device] = ~free(s, device, index)
    s.stage[device] = STAGE.UNDO


@platform_msi.action(device=DEVICE)
def platform_msi_domain_alloc_irqs(s: State, device: Term) -> None:
    """The allocation has succeeded."""
    s.require(s.stage[device] == STAGE.IRQS, served(s, device))
    s.stage[device] = STAGE.LIVE


@platform_msi.action(device=DEVICE)
def platform_msi_alloc_descs_fails(s: State, device: Term) -> None:
    """Memory for the descriptors, or the indices, end."""
    s.require(s.stage[device] == STAGE.DESCS)
    s.stage[device] = STAGE.UNDO


@platform_msi.action(device=DEVICE)
def platform_msi_domain_free_irqs(s: State, device: Term) -> None:
    """The driver gives all of it back. The private data went first in v5.10 (PLT-6)."""
    s.require(s.stage[device] == STAGE.LIVE)
    s.stage[device] = STAGE.UNDO
    if s.on("PLT-6"):
        s.taken[s.devid[device]] = False
        s.devid[device] = None


@platform_msi.action(device=DEVICE, index=INDEX, irq=IRQ)
def irq_domain_free_irqs(s: State, device: Term, index: Term, irq: Term) -> None:
    """The interrupt of a descriptor goes. It may write a message before, for which the private
    data is needed."""
    s.require(s.stage[device] == STAGE.UNDO, s.irq_of[device, index] == irq)
    s.irq_of[device, index] = None
    for option in ("owner", "hw_devid", "hw_index"):
        getattr(s, option)[irq] = None


@platform_msi.action(device=DEVICE, index=INDEX)
def platform_msi_free_desc(s: State, device: Term, index: Term) -> None:
    """A descriptor goes, after all interrupts of the device have; an allocation that failed did
    not free them before (PLT-5)."""
    s.require(s.stage[device] == STAGE.UNDO, s.desc[device, index])
    if not s.on("PLT-5"):
        s.require(without_irqs(s, device))
    s.desc[device, index] = False
    s.irq_of[device, index] = None


@platform_msi.action(device=DEVICE, devid=DEVID)
def platform_msi_free_priv_data(s: State, device: Term, devid: Term) -> None:
    """The devid goes last."""
    own = s.devid[device] == devid
    early = s.devid[device] == none(DEVID) if s.on("PLT-6") else FALSE
    s.require(s.stage[device] == STAGE.UNDO, without_descs(s, device), own | early)
    with s.when(own):
        s.taken[devid] = False
    s.devid[device] = None
    s.refused[device] = False
    s.stage[device] = STAGE.NONE


# --- invariants -----------------------------------------------------------------------------


@platform_msi.invariant("PLT-1", "Devices have different devids, which are taken.")
def devids(s: State) -> Term:
    unique = forall(
        DEVICE,
        DEVICE,
        lambda d, e: implies((s.devid[d] == s.devid[e]) & ~(s.devid[d] == none(DEVID)), d == e),
    )
    used = forall(DEVID, lambda n: s.taken[n] == exists(DEVICE, lambda d: s.devid[d] == n))
    return unique & used


@platform_msi.invariant(
    "PLT-2",
    "The hwirq of an irq is the devid of its device and its index, and no two irqs have one.",
    unless=("PLT-2", "PLT-5", "PLT-6", "PLT-index"),
)
def hwirqs(s: State) -> Term:
    def law(i: Term) -> Term:
        own = exists(INDEX, lambda x: (s.irq_of[s.owner[i], x] == i) & (s.hw_index[i] == x))
        there = and_(s.hw_devid[i] == s.devid[s.owner[i]], own)
        out = (s.hw_devid[i] == none(DEVID)) & (s.hw_index[i] == none(INDEX))
        return ite(live(s, i), there, out)

    same = forall(
        IRQ,
        IRQ,
        lambda i, j: and_(
            live(s, i), s.hw_devid[i] == s.hw_devid[j], s.hw_index[i] == s.hw_index[j]
        ).implies(i == j),
    )
    return forall(IRQ, law) & same


@platform_msi.invariant(
    "PLT-free", "No device is refused: its hwirqs are free.",
    unless=("PLT-2", "PLT-5", "PLT-6", "PLT-index"),
)  # fmt: skip
def never_refused(s: State) -> Term:
    return forall(DEVICE, lambda d: ~s.refused[d])


@platform_msi.invariant("PLT-3", "A device has private data from first to last.",
                        unless=("PLT-6",))  # fmt: skip
def one_priv(s: State) -> Term:
    return forall(DEVICE, lambda d: (s.devid[d] == none(DEVID)) == (s.stage[d] == STAGE.NONE))


@platform_msi.invariant(
    "PLT-4", "A device that was served has descriptors from index 0 on, and each has an irq of it."
)
def complete(s: State) -> Term:
    def law(d: Term) -> Term:
        alive, asks = s.stage[d] == STAGE.LIVE, s.stage[d] == STAGE.IRQS
        return alive.implies(served(s, d)) & (alive | asks).implies(~without_descs(s, d))

    def gapless(d: Term, x: Term, y: Term) -> Term:
        growing = ~((s.stage[d] == STAGE.UNDO) | (s.stage[d] == STAGE.NONE))
        return implies(and_(growing, s.desc[d, y], s.before[x, y]), s.desc[d, x])

    def own(d: Term, x: Term) -> Term:
        irq = s.irq_of[d, x]
        return implies(~(irq == none(IRQ)), s.desc[d, x] & (s.owner[irq] == d))

    unique = forall(
        DEVICE,
        INDEX,
        INDEX,
        lambda d, x, y: implies(
            (s.irq_of[d, x] == s.irq_of[d, y]) & ~(s.irq_of[d, x] == none(IRQ)), x == y
        ),
    )
    ranges = forall(DEVICE, INDEX, INDEX, gapless)
    return and_(forall(DEVICE, law), ranges, forall(DEVICE, INDEX, own), unique)


@platform_msi.invariant(
    "PLT-5", "A device that is done, or whose allocation failed, leaves no descriptor and no irq.",
    unless=("PLT-5",),
)  # fmt: skip
def nothing_left(s: State) -> Term:
    def done(d: Term) -> Term:
        return (s.stage[d] == STAGE.NONE).implies(without_descs(s, d) & without_irqs(s, d))

    def known(i: Term) -> Term:
        return live(s, i).implies(exists(INDEX, lambda x: s.irq_of[s.owner[i], x] == i))

    return forall(DEVICE, done) & forall(IRQ, known)


@platform_msi.invariant(
    "PLT-6", "The private data is there as long as an irq of the device may write a message.",
    unless=("PLT-5", "PLT-6"),
)  # fmt: skip
def no_use_after_free(s: State) -> Term:
    return forall(IRQ, lambda i: live(s, i).implies(~(s.devid[s.owner[i]] == none(DEVID))))


@platform_msi.invariant(
    "PLT-7", "Where the flow handler calls irq_ack, the chip has it.", unless=("PLT-7",)
)
def acknowledges(s: State) -> Term:
    return forall(DOMAIN, lambda x: and_(s.made[x], s.acks[x]).implies(s.has_ack[x]))


@platform_msi.invariant("PLT-index", "Every index has room in its part of the hwirq.",
                        unless=("PLT-index",))  # fmt: skip
def all_fit(s: State) -> Term:
    return forall(DEVICE, INDEX, lambda d, x: or_(~s.desc[d, x], s.fits[x]))


@platform_msi.theorem(
    "PLT-3", "A device that takes part is not let in again.", device=DEVICE, devid=DEVID
)
def busy(before: State, s: State, device: Term, devid: Term) -> Term:
    platform_msi_alloc_priv_data(s, device, devid)
    return (before.devid[device] == none(DEVID)) | before.on("PLT-6")


# --- operations: each is one action ---------------------------------------------------------

platform_msi.operation(domain=DOMAIN, acks=BOOL, own=BOOL)(platform_msi_create_irq_domain)
platform_msi.operation(device=DEVICE, devid=DEVID)(platform_msi_alloc_priv_data)
platform_msi.operation(device=DEVICE, index=INDEX)(platform_msi_alloc_desc)
platform_msi.operation(device=DEVICE)(msi_domain_alloc_begin)
platform_msi.operation(device=DEVICE, index=INDEX, irq=IRQ)(msi_domain_alloc)
platform_msi.operation(device=DEVICE, index=INDEX)(msi_domain_alloc_fails)
platform_msi.operation(device=DEVICE)(platform_msi_domain_alloc_irqs)
platform_msi.operation(device=DEVICE)(platform_msi_alloc_descs_fails)
platform_msi.operation(device=DEVICE)(platform_msi_domain_free_irqs)
platform_msi.operation(device=DEVICE, index=INDEX, irq=IRQ)(irq_domain_free_irqs)
platform_msi.operation(device=DEVICE, index=INDEX)(platform_msi_free_desc)
platform_msi.operation(device=DEVICE, devid=DEVID)(platform_msi_free_priv_data)
