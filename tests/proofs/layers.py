# SPDX-License-Identifier: GPL-2.0-only
"""Layers whose proofs, and whose flaws, a reader can follow: a lock, and counted sets."""

from __future__ import annotations

from spec.language import Layer
from spec.state import State
from spec.terms import (
    INT,
    Enum,
    Int,
    Option,
    Sort,
    Term,
    and_,
    count,
    exists,
    forall,
    implies,
    ite,
    total,
)

# The scopes in which refutations are sought give sizes to these names.
CPU, BIT = Sort("Cpu"), Sort("Vector")
PC = Enum("Pc", ("OUT", "WAITS", "IN"))


def ticket_lock(defect: str = "", lemmas: bool = True) -> Layer:
    """A lock that hands out tickets; `defect` is "no wait" or "drop" (a release by anyone)."""
    layer = Layer("ticket lock", (CPU,))
    layer.field("pc", CPU, type=PC, doc="what a CPU is doing")
    layer.field("ticket", CPU, type=INT, doc="the CPU's ticket")
    layer.field("next", type=INT, doc="the next ticket")
    layer.field("serving", type=INT, doc="whose turn it is")

    @layer.action(cpu=CPU)
    def take(s: State, cpu: Term) -> None:
        """Draw a ticket."""
        s.require(s.pc[cpu] == PC.OUT)
        s.ticket[cpu] = s.next
        s.next += 1
        s.pc[cpu] = PC.WAITS

    @layer.action(cpu=CPU)
    def enter(s: State, cpu: Term) -> None:
        """It is my turn."""
        s.require(s.pc[cpu] == PC.WAITS)
        if defect != "no wait":
            s.require(s.ticket[cpu] == s.serving)
        s.pc[cpu] = PC.IN

    @layer.action(cpu=CPU)
    def leave(s: State, cpu: Term) -> None:
        """The next one's turn."""
        if defect != "drop":
            s.require(s.pc[cpu] == PC.IN)
        s.pc[cpu] = PC.OUT
        s.serving += 1

    @layer.invariant("MUTEX", "At most one CPU is in.")
    def mutex(s: State) -> Term:
        return forall(
            CPU, CPU, lambda a, b: implies(and_(s.pc[a] == PC.IN, s.pc[b] == PC.IN), a == b)
        )

    if not lemmas:
        return layer

    @layer.invariant("TURN", "Who is in has the turn; who waits has a ticket that was given out.")
    def turn(s: State) -> Term:
        return (s.serving <= s.next) & forall(
            CPU,
            lambda a: and_(
                (s.pc[a] == PC.IN).implies(s.ticket[a] == s.serving),
                (~(s.pc[a] == PC.OUT)).implies((s.serving <= s.ticket[a]) & (s.ticket[a] < s.next)),
            ),
        )

    @layer.invariant("UNIQUE", "No two CPUs have one ticket.")
    def unique(s: State) -> Term:
        def busy(a: Term) -> Term:
            return ~(s.pc[a] == PC.OUT)

        return forall(
            CPU,
            CPU,
            lambda a, b: implies(and_(busy(a), busy(b), s.ticket[a] == s.ticket[b]), a == b),
        )

    return layer


def members(defect: str = "") -> Layer:
    """Sets with counters: one bit, a whole row, one bit of every CPU; sums over CPUs."""
    layer = Layer("members", (CPU, BIT))
    layer.field("map", CPU, BIT, doc="a set for each CPU")
    layer.field("used", CPU, type=Int((BIT,)), doc="its size")
    layer.field("all_used", type=Int((CPU, BIT)), doc="the sum of the sizes")
    layer.field("spare", CPU, type=Option(BIT), doc="a bit kept aside")
    layer.field("online", CPU, doc="the CPU takes part")
    layer.field("online_used", type=Int((CPU, BIT)), doc="the sum over those that take part")

    @layer.action(cpu=CPU, bit=BIT)
    def join(s: State, cpu: Term, bit: Term) -> None:
        """One more."""
        if defect != "twice":
            s.require(~s.map[cpu, bit])
        s.map[cpu, bit] = True
        s.used[cpu] += 1
        s.all_used += 1
        with s.when(s.online[cpu]):
            s.online_used += 1

    @layer.action(cpu=CPU)
    def clear(s: State, cpu: Term) -> None:
        """A whole row at once."""
        s.all_used -= s.used[cpu]
        with s.when(s.online[cpu]):
            s.online_used -= s.used[cpu]
        with s.each(BIT, "b") as b:
            s.map[cpu, b] = False
        s.used[cpu] = 1 if defect == "leftover" else 0

    @layer.action(cpu=CPU)
    def drop_spare(s: State, cpu: Term) -> None:
        """The bit kept aside goes, if there is one."""
        s.require(s.map[cpu, s.spare[cpu]])
        s.map[cpu, s.spare[cpu]] = False
        s.used[cpu] -= 1
        s.all_used -= 1
        with s.when(s.online[cpu]):
            s.online_used -= 1

    @layer.action(cpu=CPU)
    def arrive(s: State, cpu: Term) -> None:
        """The CPU takes part."""
        if defect != "arrives twice":
            s.require(~s.online[cpu])
        s.online[cpu] = True
        s.online_used += s.used[cpu]

    @layer.invariant("USED", "used counts the map.")
    def used(s: State) -> Term:
        return forall(CPU, lambda c: s.used[c] == count(BIT, lambda b: s.map[c, b]))

    @layer.invariant("ALL", "all_used is the sum of used.")
    def all_used(s: State) -> Term:
        return s.all_used == total(CPU, lambda c: s.used[c])

    @layer.invariant("ONLINE", "online_used is the sum of used over those that take part.")
    def online_used(s: State) -> Term:
        return s.online_used == total(CPU, lambda c: ite(s.online[c], s.used[c], 0))

    @layer.invariant("SOME", "Where something is counted something is.", follows=True)
    def some(s: State) -> Term:
        return forall(CPU, lambda c: (s.used[c] > 0).implies(exists(BIT, lambda b: s.map[c, b])))

    return layer
