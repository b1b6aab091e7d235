# SPDX-License-Identifier: GPL-2.0-only
"""Device MSI with messages in system memory (section 13.5): images, and what the device has.

A device works with a copy of the image, the shadow. The driver locks the queue, the core changes
the image, and the driver gives the device a changed image before it unlocks; the device may answer
with an error. An irq moves in process context here, as behind interrupt remapping it may; the
message names its target. The old target is released once an interrupt has reached the new one.
"""

from __future__ import annotations

from spec.language import Layer
from spec.sorts import IRQ
from spec.state import State
from spec.terms import BOOL, Option, Sort, Term, and_, forall, none, or_

MESSAGE = Sort("Message")
"""Messages other than the one that is all zero, which is none."""

ims_queue = Layer("ims_queue", (IRQ, MESSAGE))

ims_queue.field("live", IRQ, doc="the irq has an image")
ims_queue.field("locked", IRQ, doc="the driver has locked the queue of the image")
ims_queue.field("activated", IRQ, doc="IRQD_ACTIVATED")
ims_queue.field("target", IRQ, type=Option(MESSAGE), doc="what the chips below compose")
ims_queue.field("old_target", IRQ, type=Option(MESSAGE), doc="what a move has not released yet")
ims_queue.field("message", IRQ, type=Option(MESSAGE), doc="the message in the image")
ims_queue.field("unmasked", IRQ, doc="the image is unmasked")
ims_queue.field("device_message", IRQ, type=Option(MESSAGE), doc="the message of the device")
ims_queue.field("device_unmasked", IRQ, doc="the device may signal")
ims_queue.field("broken", IRQ, doc="the device has answered with an error")


def in_sync(s: State, irq: Term) -> Term:
    """The device works with what the image says."""
    return (s.device_message[irq] == s.message[irq]) & (s.device_unmasked[irq] == s.unmasked[irq])


def known(s: State, irq: Term, message: Term) -> Term:
    """Somebody listens where the message leads."""
    return ~(message == none(MESSAGE)) & or_(s.target[irq] == message, s.old_target[irq] == message)


# --- actions --------------------------------------------------------------------------------


@ims_queue.action(irq=IRQ)
def ims_queue_alloc_shadow(s: State, irq: Term) -> None:
    """An irq gets an image, which is masked and empty, as is the device's."""
    s.require(~s.live[irq], ~s.broken[irq])
    s.live[irq] = True


@ims_queue.action(irq=IRQ)
def ims_queue_free_shadow(s: State, irq: Term) -> None:
    """The image is given back, empty."""
    s.require(s.live[irq], ~s.activated[irq], ~s.locked[irq])
    s.live[irq] = False
    s.message[irq] = None
    s.unmasked[irq] = False
    with s.when(~s.broken[irq]):
        s.device_message[irq] = None
        s.device_unmasked[irq] = False


@ims_queue.action(irq=IRQ)
def ims_queue_lock(s: State, irq: Term) -> None:
    """The core locks the chip's bus."""
    s.require(s.live[irq], ~s.locked[irq])
    s.locked[irq] = True


@ims_queue.action(irq=IRQ, failed=BOOL)
def ims_queue_sync_unlock(s: State, irq: Term, failed: Term) -> None:
    """The device gets the image, if it does not fail; then the bus is unlocked."""
    s.require(s.locked[irq])
    with s.when(failed):
        s.broken[irq] = True
    with s.when(~failed & ~s.broken[irq]):
        s.device_message[irq] = s.message[irq]
        s.device_unmasked[irq] = s.unmasked[irq]
    s.locked[irq] = False


@ims_queue.action(irq=IRQ, message=MESSAGE)
def irq_domain_activate_irq(s: State, irq: Term, message: Term) -> None:
    """The first message. Early activation did not lock the bus (DEV-early)."""
    s.require(s.live[irq], ~s.activated[irq], ~s.broken[irq])
    if not s.on("DEV-early"):
        s.require(s.locked[irq])
    s.target[irq] = message
    s.message[irq] = message
    s.activated[irq] = True


@ims_queue.action(irq=IRQ, message=MESSAGE)
def ims_queue_write_msi_msg(s: State, irq: Term, message: Term) -> None:
    """The irq moves, one move at a time. Without V2 #42 that does not lock the bus (DEV-42)."""
    s.require(s.live[irq], s.activated[irq], s.old_target[irq] == none(MESSAGE))
    if not s.on("DEV-42"):
        s.require(s.locked[irq])
    s.old_target[irq] = s.target[irq]
    s.target[irq] = message
    s.message[irq] = message


@ims_queue.action(irq=IRQ)
def ims_queue_unmask_irq(s: State, irq: Term) -> None:
    """The irq is started, or unmasked."""
    s.require(s.locked[irq], s.activated[irq])
    s.unmasked[irq] = True


@ims_queue.action(irq=IRQ)
def ims_queue_mask_irq(s: State, irq: Term) -> None:
    """The irq is shut down, or masked."""
    s.require(s.locked[irq])
    s.unmasked[irq] = False


@ims_queue.action(irq=IRQ, message=MESSAGE)
def apic_ack_irq(s: State, irq: Term, message: Term) -> None:
    """An interrupt arrives; where the irq has moved to, that ends the move."""
    s.require(s.device_unmasked[irq], s.device_message[irq] == message)
    with s.when(s.target[irq] == message):
        s.old_target[irq] = None


@ims_queue.action(irq=IRQ)
def irq_domain_deactivate_irq(s: State, irq: Term) -> None:
    """The irq, which the device knows to be masked, gives its targets up."""
    s.require(s.activated[irq], ~s.unmasked[irq], ~s.device_unmasked[irq] | s.broken[irq])
    if not s.on("DEV-early"):
        s.require(s.locked[irq])
    s.activated[irq] = False
    s.message[irq] = None
    s.target[irq] = None
    s.old_target[irq] = None


# --- invariants -----------------------------------------------------------------------------


@ims_queue.invariant(
    "IMS-9", "Unless its queue is locked, the device has the image, or has answered with an error.",
    unless=("DEV-42", "DEV-early"),
)  # fmt: skip
def synchronised(s: State) -> Term:
    return forall(IRQ, lambda i: or_(s.locked[i], in_sync(s, i), s.broken[i]))


@ims_queue.invariant(
    "IMS-10", "The device of an active irq signals its target, or one that is not released yet."
)
def listened_at(s: State) -> Term:
    def law(i: Term) -> Term:
        signals = s.device_unmasked[i] & ~(s.broken[i] & ~s.activated[i])
        return signals.implies(s.activated[i] & known(s, i, s.device_message[i]))

    return forall(IRQ, law)


@ims_queue.invariant("IMS-5", "The image of an active irq names its target, that of others none.")
def image(s: State) -> Term:
    def law(i: Term) -> Term:
        there = ~(s.target[i] == none(MESSAGE))
        return and_(
            s.message[i] == s.target[i],
            s.activated[i] == there,
            s.activated[i].implies(s.live[i]),
            s.activated[i] | (s.old_target[i] == none(MESSAGE)),
        )

    return forall(IRQ, law)


@ims_queue.invariant("IMS-6", "The image of an irq that is not active is masked.")
def masked(s: State) -> Term:
    def law(i: Term) -> Term:
        locked = s.locked[i].implies(s.live[i])
        return and_(s.unmasked[i].implies(s.activated[i]), locked)

    return forall(IRQ, law)


# --- operations: each is one action ---------------------------------------------------------

ims_queue.operation(irq=IRQ)(ims_queue_alloc_shadow)
ims_queue.operation(irq=IRQ)(ims_queue_free_shadow)
ims_queue.operation(irq=IRQ)(ims_queue_lock)
ims_queue.operation(irq=IRQ, failed=BOOL)(ims_queue_sync_unlock)
ims_queue.operation(irq=IRQ, message=MESSAGE)(irq_domain_activate_irq)
ims_queue.operation(irq=IRQ, message=MESSAGE)(ims_queue_write_msi_msg)
ims_queue.operation(irq=IRQ)(ims_queue_unmask_irq)
ims_queue.operation(irq=IRQ)(ims_queue_mask_irq)
ims_queue.operation(irq=IRQ, message=MESSAGE)(apic_ack_irq)
ims_queue.operation(irq=IRQ)(irq_domain_deactivate_irq)
