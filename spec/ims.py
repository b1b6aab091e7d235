# SPDX-License-Identifier: GPL-2.0-only
"""Device MSI with an array of slots in the device (section 13): the store, irqs, what is in a slot.

A subdevice gets descriptors; each claims a slot of the array; then the irqs are made, whose hwirqs
are the slots' numbers. The device sees what was written to a slot as soon as that is flushed.

Each step of an allocation is an action here, so that two subdevices may allocate at the same time;
the search for a slot is one, and its claim another. A domain has one array.

Not here: that an allocation fails only for want of slots or below (IMS-4) is in the tests of the
driver, as are IMS-11, which is a statement of the whole stack, and IMS-12 (DEV-D4) with INT-7 of
interrupt remapping. With DEV-D1 there is no domain at all, which breaks nothing that is said here.
The queue is `spec.ims_queue`.
"""

from __future__ import annotations

from spec.language import Layer
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import (
    FALSE,
    Enum,
    Option,
    Sort,
    Term,
    exists,
    forall,
    implies,
    none,
    or_,
)

DEVICE = Sort("Device")
"""Subdevices of one PCI device."""

DESC = Sort("Desc")
SLOT = Sort("Slot")
MESSAGE = Sort("Message")
"""Messages other than the one that is all zero, which is none."""

STAGE = Enum("Stage", ("NONE", "DESCS", "STORE", "IRQS", "LIVE", "FREE", "FAIL"))
"""How far the allocation of a subdevice is: it makes descriptors; they claim slots; they get irqs;
all is well; all goes, since the driver or since a step wants it."""

ims = Layer("ims", (DOMAIN, DEVICE, DESC, SLOT, IRQ, MESSAGE))

ims.field("first", type=Option(SLOT), rigid=True, doc="the slot 0")
ims.field("short", SLOT, type=Option(SLOT), rigid=True, doc="the lowest 16 bits of a number")
ims.field("parent", DOMAIN, type=Option(DOMAIN), rigid=True, doc="the domain's parent")
ims.field("special", DOMAIN, rigid=True, doc="the messages of the domain mean nothing elsewhere")

ims.field("pci_domain", type=Option(DOMAIN), doc="the PCI device's domain, when the array was made")
ims.field("made", doc="the domain of the array exists")
ims.field("map", SLOT, doc="the slot is claimed in the array's map")
ims.field("stage", DEVICE, type=STAGE, doc="how far the subdevice is")
ims.field("found", DEVICE, type=Option(SLOT), doc="the slot that a search has found free")
ims.field("of", DESC, type=Option(DEVICE), doc="the subdevice of a descriptor")
ims.field("slot", DESC, type=Option(SLOT), doc="device_msi.priv_iomem")
ims.field("desc_hwirq", DESC, type=Option(SLOT), doc="device_msi.hwirq of one with a slot")
ims.field("irq", DESC, type=Option(IRQ), doc="the descriptor's irq")
ims.field("desc", IRQ, type=Option(DESC), doc="the irq's descriptor")
ims.field("hwirq", IRQ, type=Option(SLOT), doc="the irq's hwirq")
ims.field("activated", IRQ, doc="IRQD_ACTIVATED")
ims.field("irq_masked", IRQ, doc="the core has the irq masked: it is not started, or masked")
ims.field("composed", IRQ, type=Option(MESSAGE), doc="what the chips below compose now")
ims.field("message", SLOT, type=Option(MESSAGE), doc="the message in the slot")
ims.field("masked", SLOT, doc="the mask bit of the slot")
ims.field("seen_message", SLOT, type=Option(MESSAGE), doc="the message that the device sees")
ims.field("seen_masked", SLOT, doc="the mask bit that the device sees")


@ims.axiom
def numbers(s: State) -> Term:
    """There is a slot 0."""
    return ~(s.first == none(SLOT))


# --- words for the formulas -----------------------------------------------------------------


def live(s: State, irq: Term) -> Term:
    """The irq exists."""
    return ~(s.desc[irq] == none(DESC))


def asked(s: State, desc: Term) -> Term:
    """The hwirq that a descriptor asks for; without set_desc it is 0 for all (DEV-D2)."""
    return s.first if s.on("DEV-D2") else s.desc_hwirq[desc]


def free(s: State, hwirq: Term) -> Term:
    """No irq has the hwirq."""
    return ~exists(IRQ, lambda i: s.hwirq[i] == hwirq)


def each_has(s: State, device: Term, what: str) -> Term:
    """Every descriptor of the subdevice has a slot, or an irq."""
    field = getattr(s, what)
    empty = none(SLOT) if what == "slot" else none(IRQ)
    return forall(DESC, lambda c: implies(s.of[c] == device, ~(field[c] == empty)))


def flush(s: State, slot: Term) -> None:
    """What was written to a slot arrives before anything else happens; as posted it may take its
    time (DEV-D8)."""
    if not s.on("DEV-D8"):
        s.seen_message[slot] = s.message[slot]
        s.seen_masked[slot] = s.masked[slot]


def reset(s: State, slot: Term) -> None:
    """A slot forgets its message and is masked; as posted it is unmasked then (DEV-D7)."""
    s.message[slot] = None
    s.masked[slot] = not s.on("DEV-D7")
    flush(s, slot)


def going(s: State, device: Term) -> Term:
    """All that the subdevice has is to go."""
    return (s.stage[device] == STAGE.FREE) | (s.stage[device] == STAGE.FAIL)


def usable(s: State, domain: Term) -> Term:
    """The messages of the PCI device are composed below its domain (IMS-7)."""
    return ~((s.parent[domain] == none(DOMAIN)) | s.special[domain])


# --- the domain -------------------------------------------------------------------------------


@ims.action(domain=DOMAIN)
def device_msi_create_irq_domain(s: State, domain: Term) -> None:
    """The domain of the array is made, beside the PCI device's `domain`. Its slots are masked."""
    s.require(~s.made)
    if not s.on("DEV-D5"):
        s.require(usable(s, domain))
    s.pci_domain = domain
    s.made = True
    if not s.on("DEV-D7"):
        with s.each(SLOT, "k") as k:
            s.masked[k] = True
            if not s.on("DEV-D8"):
                s.seen_masked[k] = True


# --- the store --------------------------------------------------------------------------------


@ims.action(device=DEVICE, desc=DESC)
def alloc_msi_entry(s: State, device: Term, desc: Term) -> None:
    """A subdevice that has none gets a descriptor; as posted one with irqs got more (DEV-D10)."""
    again = (s.stage[device] == STAGE.LIVE) if s.on("DEV-D10") else FALSE
    s.require(s.made, s.of[desc] == none(DEVICE), s.slot[desc] == none(SLOT))
    s.require(or_(s.stage[device] == STAGE.NONE, s.stage[device] == STAGE.DESCS, again))
    s.of[desc] = device
    s.stage[device] = STAGE.DESCS


@ims.action(device=DEVICE, slot=SLOT)
def ims_array_find_slot(s: State, device: Term, slot: Term) -> None:
    """The allocation looks for a free slot."""
    s.require((s.stage[device] == STAGE.DESCS) | (s.stage[device] == STAGE.STORE), ~s.map[slot])
    s.stage[device] = STAGE.STORE
    s.found[device] = slot


@ims.action(device=DEVICE, desc=DESC, slot=SLOT)
def ims_array_alloc_slot(s: State, device: Term, desc: Term, slot: Term) -> None:
    """A descriptor claims the slot that was found, if it is free still; as posted nobody looks
    again (DEV-D6). A second allocation lets descriptors forget what they had (DEV-D10)."""
    s.require(s.stage[device] == STAGE.STORE, s.of[desc] == device, s.found[device] == slot)
    if not s.on("DEV-D6"):
        s.require(~s.map[slot])
    old = ~(s.irq[desc] == none(IRQ)) if s.on("DEV-D10") else FALSE
    s.require((s.slot[desc] == none(SLOT)) | old)
    s.map[slot] = True
    s.slot[desc] = slot
    s.desc_hwirq[desc] = s.short[slot] if s.on("DEV-D9") else slot
    s.found[device] = None
    if not s.on("DEV-D7"):
        reset(s, slot)


@ims.action(device=DEVICE)
def msi_alloc_store(s: State, device: Term) -> None:
    """Every descriptor has a slot: the irqs come."""
    s.require(s.stage[device] == STAGE.STORE, each_has(s, device, "slot"))
    s.found[device] = None
    s.stage[device] = STAGE.IRQS


@ims.action(device=DEVICE, desc=DESC, slot=SLOT)
def ims_array_free_slot(s: State, device: Term, desc: Term, slot: Term) -> None:
    """A descriptor gives its slot back, after the irqs of the subdevice are freed."""
    s.require(going(s, device), s.of[desc] == device, s.slot[desc] == slot)
    s.require(_without_irqs(s, device))
    s.map[s.desc_hwirq[desc]] = False
    s.slot[desc] = None
    s.desc_hwirq[desc] = None
    reset(s, slot)


@ims.action(device=DEVICE)
def free_msi_entry(s: State, device: Term) -> None:
    """The descriptors go, after their slots; an allocation that failed kept those, and the irqs
    (DEV-D3)."""
    empty = forall(DESC, lambda c: implies(s.of[c] == device, s.slot[c] == none(SLOT)))
    leaks = (s.stage[device] == STAGE.FAIL) if s.on("DEV-D3") else FALSE
    s.require(going(s, device), leaks | (empty & _without_irqs(s, device)))
    with s.each(DESC, "c", lambda c: s.of[c] == device) as c:
        s.of[c] = None
        s.slot[c] = None
        s.desc_hwirq[c] = None
        s.irq[c] = None
    s.stage[device] = STAGE.NONE


def _without_irqs(s: State, device: Term) -> Term:
    return forall(DESC, lambda c: implies(s.of[c] == device, s.irq[c] == none(IRQ)))


# --- interrupts -------------------------------------------------------------------------------


@ims.action(device=DEVICE, desc=DESC, irq=IRQ, message=MESSAGE)
def msi_domain_alloc(s: State, device: Term, desc: Term, irq: Term, message: Term) -> None:
    """A descriptor gets an irq, for which the chips below have a message. It is not started."""
    s.require(s.stage[device] == STAGE.IRQS, s.of[desc] == device, ~live(s, irq))
    s.require(free(s, asked(s, desc)))
    if not s.on("DEV-D10"):
        s.require(s.irq[desc] == none(IRQ))
    s.irq[desc] = irq
    s.desc[irq] = desc
    s.hwirq[irq] = asked(s, desc)
    s.composed[irq] = message
    s.irq_masked[irq] = True


@ims.action(device=DEVICE)
def device_msi_alloc_irqs(s: State, device: Term) -> None:
    """The allocation has succeeded."""
    s.require(s.stage[device] == STAGE.IRQS, each_has(s, device, "irq"))
    s.stage[device] = STAGE.LIVE


@ims.action(device=DEVICE)
def device_msi_free_irqs(s: State, device: Term) -> None:
    """The driver gives all of it back."""
    s.require(s.stage[device] == STAGE.LIVE)
    s.stage[device] = STAGE.FREE


@ims.action(device=DEVICE)
def device_msi_alloc_irqs_fails(s: State, device: Term) -> None:
    """The allocation fails, at any step."""
    begun = (s.stage[device] == STAGE.DESCS) | (s.stage[device] == STAGE.STORE)
    s.require(begun | (s.stage[device] == STAGE.IRQS))
    s.found[device] = None
    s.stage[device] = STAGE.FAIL


@ims.action(irq=IRQ)
def irq_domain_activate_irq(s: State, irq: Term) -> None:
    """The message is written, and ACTIVATED set."""
    s.require(live(s, irq), ~s.activated[irq])
    slot = s.slot[s.desc[irq]]
    s.message[slot] = s.composed[irq]
    flush(s, slot)
    s.activated[irq] = True


@ims.action(irq=IRQ, message=MESSAGE)
def ims_array_write_msi_msg(s: State, irq: Term, message: Term) -> None:
    """The target of an active irq changes, and the message with it."""
    s.require(live(s, irq), s.activated[irq])
    slot = s.slot[s.desc[irq]]
    s.composed[irq] = message
    s.message[slot] = message
    flush(s, slot)


@ims.action(irq=IRQ, slot=SLOT)
def ims_array_mask_irq(s: State, irq: Term, slot: Term) -> None:
    """The core masks the irq."""
    s.require(live(s, irq), s.slot[s.desc[irq]] == slot)
    s.irq_masked[irq] = True
    s.masked[slot] = True
    flush(s, slot)


@ims.action(irq=IRQ, slot=SLOT)
def ims_array_unmask_irq(s: State, irq: Term, slot: Term) -> None:
    """The core starts or unmasks the irq, which is active."""
    s.require(live(s, irq), s.activated[irq], s.slot[s.desc[irq]] == slot)
    s.irq_masked[irq] = False
    s.masked[slot] = False
    flush(s, slot)


@ims.action(irq=IRQ)
def irq_domain_free_irqs(s: State, irq: Term) -> None:
    """The irq, which is shut down, goes. It is deactivated first, which clears the message."""
    desc = s.desc[irq]
    slot = s.slot[desc]
    s.require(live(s, irq), s.irq_masked[irq], going(s, s.of[desc]))
    with s.when(s.activated[irq]):
        s.message[slot] = None
        flush(s, slot)
    s.irq[desc] = None
    s.activated[irq] = False
    s.irq_masked[irq] = False
    for option in ("desc", "hwirq", "composed"):
        getattr(s, option)[irq] = None


# --- operations: each is one action ---------------------------------------------------------

ims.operation(domain=DOMAIN)(device_msi_create_irq_domain)
ims.operation(device=DEVICE, desc=DESC)(alloc_msi_entry)
ims.operation(device=DEVICE, slot=SLOT)(ims_array_find_slot)
ims.operation(device=DEVICE, desc=DESC, slot=SLOT)(ims_array_alloc_slot)
ims.operation(device=DEVICE)(msi_alloc_store)
ims.operation(device=DEVICE, desc=DESC, slot=SLOT)(ims_array_free_slot)
ims.operation(device=DEVICE)(free_msi_entry)
ims.operation(device=DEVICE, desc=DESC, irq=IRQ, message=MESSAGE)(msi_domain_alloc)
ims.operation(device=DEVICE)(device_msi_alloc_irqs)
ims.operation(device=DEVICE)(device_msi_free_irqs)
ims.operation(device=DEVICE)(device_msi_alloc_irqs_fails)
ims.operation(irq=IRQ)(irq_domain_activate_irq)
ims.operation(irq=IRQ, message=MESSAGE)(ims_array_write_msi_msg)
ims.operation(irq=IRQ, slot=SLOT)(ims_array_mask_irq)
ims.operation(irq=IRQ, slot=SLOT)(ims_array_unmask_irq)
ims.operation(irq=IRQ)(irq_domain_free_irqs)
