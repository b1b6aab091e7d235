# SPDX-License-Identifier: GPL-2.0-only
"""What must hold of device MSI with an array (IMS-1 to IMS-8)."""

from __future__ import annotations

from spec.ims import DESC, DEVICE, MESSAGE, SLOT, STAGE, ims, live, usable
from spec.sorts import IRQ
from spec.state import State
from spec.terms import Term, and_, exists, forall, implies, ite, none, or_


@ims.invariant(
    "IMS-1", "A slot is claimed exactly if one descriptor has it, and no two have one.",
    unless=("DEV-D3", "DEV-D6", "DEV-D9", "DEV-D10"),
)  # fmt: skip
def one_slot(s: State) -> Term:
    claimed = forall(SLOT, lambda k: s.map[k] == exists(DESC, lambda c: s.slot[c] == k))
    unique = forall(
        DESC,
        DESC,
        lambda a, b: implies((s.slot[a] == s.slot[b]) & ~(s.slot[a] == none(SLOT)), a == b),
    )
    return claimed & unique


@ims.invariant(
    "IMS-2", "The hwirq of an irq is the number of its slot, and no two irqs have one.",
    unless=("DEV-D2", "DEV-D3", "DEV-D6", "DEV-D9", "DEV-D10"),
)  # fmt: skip
def hwirqs(s: State) -> Term:
    def law(i: Term) -> Term:
        there = (s.hwirq[i] == s.slot[s.desc[i]]) & ~(s.hwirq[i] == none(SLOT))
        return ite(live(s, i), there, s.hwirq[i] == none(SLOT))

    unique = forall(IRQ, IRQ, lambda i, j: implies(live(s, i) & (s.hwirq[i] == s.hwirq[j]), i == j))
    own = forall(DESC, lambda c: s.desc_hwirq[c] == s.slot[c])
    return and_(forall(IRQ, law), unique, own)


@ims.invariant(
    "IMS-3", "A slot that is free is masked, and has no message.",
    unless=("DEV-D6", "DEV-D7", "DEV-D9"),
)  # fmt: skip
def quiet(s: State) -> Term:
    return forall(
        SLOT,
        lambda k: (s.made & ~s.map[k]).implies(s.masked[k] & (s.message[k] == none(MESSAGE))),
    )


@ims.invariant(
    "IMS-4", "A subdevice that is done, or whose allocation failed, has no descriptor and no irq.",
    unless=("DEV-D3", "DEV-D10"),
)  # fmt: skip
def nothing_left(s: State) -> Term:
    def of_desc(c: Term) -> Term:
        owner = s.of[c]
        alive = ~(owner == none(DEVICE))
        early = or_(
            s.stage[owner] == STAGE.DESCS,
            s.stage[owner] == STAGE.STORE,
        )
        held = ~(s.slot[c] == none(SLOT)) | ~(s.irq[c] == none(IRQ))
        return and_(
            alive.implies(~(s.stage[owner] == STAGE.NONE)),
            held.implies(alive),
            early.implies(s.irq[c] == none(IRQ)),
            (s.stage[owner] == STAGE.DESCS).implies(s.slot[c] == none(SLOT)),
        )

    def of_irq(i: Term) -> Term:
        return live(s, i).implies(s.irq[s.desc[i]] == i)

    back = forall(DESC, lambda c: or_(s.irq[c] == none(IRQ), s.desc[s.irq[c]] == c))
    return and_(forall(DESC, of_desc), forall(IRQ, of_irq), back)


@ims.invariant(
    "IMS-5", "The slot of an active irq has the message that the chips below compose.",
    unless=("DEV-D6", "DEV-D9", "DEV-D10", "DEV-D3"),
)  # fmt: skip
def written(s: State) -> Term:
    def law(i: Term) -> Term:
        return implies(live(s, i) & s.activated[i], s.message[s.slot[s.desc[i]]] == s.composed[i])

    return forall(IRQ, law)


@ims.invariant(
    "IMS-6", "A slot is unmasked only if its irq is started and not masked by the core.",
    unless=("DEV-D3", "DEV-D6", "DEV-D7", "DEV-D9", "DEV-D10"),
)  # fmt: skip
def unmasked(s: State) -> Term:
    def law(k: Term) -> Term:
        started = exists(IRQ, lambda i: and_(live(s, i), s.slot[s.desc[i]] == k, ~s.irq_masked[i]))
        return implies(s.made & ~s.masked[k], started)

    known = forall(IRQ, lambda i: implies(~s.irq_masked[i], (s.activated[i] == live(s, i))))
    return forall(SLOT, law) & known


@ims.invariant(
    "IMS-7", "The PCI device's own messages are composed below its domain.", unless=("DEV-D5",)
)
def composes(s: State) -> Term:
    return s.made.implies(usable(s, s.pci_domain))


@ims.invariant("IMS-8", "The device sees all that was written to a slot.", unless=("DEV-D8",))
def flushed(s: State) -> Term:
    def law(k: Term) -> Term:
        return (s.seen_message[k] == s.message[k]) & (s.seen_masked[k] == s.masked[k])

    return forall(SLOT, law)


@ims.invariant(
    "IMS-idle", "Before the domain is made there is nothing; an irq that is gone has no state."
)
def idle(s: State) -> Term:
    def irq(i: Term) -> Term:
        gone = and_(~s.activated[i], ~s.irq_masked[i], s.composed[i] == none(MESSAGE))
        return or_(live(s, i), gone)

    nothing = and_(
        forall(DESC, lambda c: s.of[c] == none(DEVICE)),
        forall(DEVICE, lambda d: s.stage[d] == STAGE.NONE),
        forall(SLOT, lambda k: s.message[k] == none(MESSAGE)),
    )
    return (~s.made).implies(nothing) & forall(IRQ, irq)
