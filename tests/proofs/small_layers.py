# SPDX-License-Identifier: GPL-2.0-only
"""Layers small enough that a reader can count their states."""

from __future__ import annotations

from typing import Any

from spec.language import Layer
from spec.state import State
from spec.terms import Int, Option, Sort, Term, and_, count, exists, forall, implies, none

SEAT = Sort("Seat")
GUEST = Sort("Guest")


def guests(defect: str = "") -> Layer:
    """Guests sit down on free seats and stand up. With ``"sit on a lap"`` nobody looks whether the
    seat is free; with ``"miscount"`` the second to stand up is counted twice.

    With s seats and g guests there are sum(k) C(s,k) * g!/(g-k)! states: who sits where."""
    layer = Layer("guests", (SEAT, GUEST))
    layer.field("seat", GUEST, type=Option(SEAT), doc="where a guest sits")
    layer.field("taken", SEAT, doc="somebody sits there")
    layer.field("seated", type=Int((GUEST,)), doc="how many sit")

    @layer.operation(guest=GUEST, seat=SEAT)
    def sit(s: State, guest: Term, seat: Term) -> None:
        """A guest takes a seat."""
        s.require(s.seat[guest] == none(SEAT))
        if defect != "sit on a lap":
            s.require(~s.taken[seat])
        s.seat[guest] = seat
        s.taken[seat] = True
        s.seated += 1

    @layer.operation(guest=GUEST)
    def stand(s: State, guest: Term) -> None:
        """A guest leaves the seat."""
        s.require(~(s.seat[guest] == none(SEAT)))
        s.taken[s.seat[guest]] = False
        s.seat[guest] = None
        s.seated -= 1
        if defect == "miscount":
            left: Any = s.seated
            with s.when(left == 1):
                s.seated = left - 1

    @layer.operation(guest=GUEST)
    def faint(s: State, guest: Term) -> None:
        """Only a guest on two seats at once would."""
        s.require(
            exists(SEAT, SEAT, lambda a, b: and_(s.seat[guest] == a, s.seat[guest] == b, ~(a == b)))
        )
        s.seat[guest] = None

    @layer.invariant("one", "No two guests share a seat.")
    def one(s: State) -> Term:
        return forall(
            GUEST, GUEST, SEAT,
            lambda g, h, c: implies(and_(s.seat[g] == c, s.seat[h] == c), g == h),
        )  # fmt: skip

    @layer.invariant("counted", "The counter counts, and the seats are taken.")
    def counted(s: State) -> Term:
        return and_(
            s.seated == count(GUEST, lambda g: ~(s.seat[g] == none(SEAT))),
            forall(SEAT, lambda c: s.taken[c] == exists(GUEST, lambda g: s.seat[g] == c)),
        )

    return layer


def queue() -> Layer:
    """Guests enter by number: the order of the sort matters, so that nobody can be swapped."""
    layer = Layer("queue", (GUEST,))
    layer.field("inside", GUEST, doc="the guest is in")

    @layer.operation(guest=GUEST)
    def enter(s: State, guest: Term) -> None:
        """The next one."""
        s.require(~s.inside[guest], forall(GUEST, lambda g: implies(g < guest, s.inside[g])))
        s.inside[guest] = True

    return layer
