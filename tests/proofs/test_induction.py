# SPDX-License-Identifier: GPL-2.0-only
"""Induction proves what is true, refutes what is false, and says so where it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from proofs import cti, induction
from proofs.induction import Context, discharge, obligations
from proofs.result import Result
from proofs.verdict import Verdict, combine
from spec.evaluate import evaluate
from spec.language import Layer, Parameter, State
from spec.matrix import CPU as MATRIX_CPU
from spec.stack import stack
from spec.terms import (
    BOOL,
    INT,
    TRUE,
    Enum,
    Int,
    Option,
    Sort,
    Term,
    and_,
    count,
    exists,
    forall,
    free_variables,
    implies,
    ite,
    read,
    total,
    variable,
)

# The scopes in which refutations are sought give sizes to these names.
CPU, BIT = Sort("Cpu"), Sort("Vector")
PC = Enum("Pc", ("OUT", "WAITS", "IN"))


# --- small layers ---------------------------------------------------------------------------


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


def prove(layer: Layer) -> dict[tuple[str, str], Result]:
    """Every obligation, by invariant and action."""
    context = Context.of(layer.build())
    results = [
        discharge(o) for n in induction.names(context.model) for o in obligations(context, n)
    ]
    return {(r.subject, r.check.split()[-1]): r for r in results}


def failed(results: Mapping[tuple[str, str], Result]) -> dict[tuple[str, str], Verdict]:
    return {which: r.verdict for which, r in results.items() if not r.verdict.good}


@pytest.mark.parametrize("layer", [ticket_lock(), members()], ids=lambda layer: layer.name)
def test_what_is_true_is_proved(layer: Layer) -> None:
    results = prove(layer)
    assert failed(results) == {}
    kept = [i for i in layer.build().invariants if not i.follows]
    others = len(layer.build().invariants) - len(kept)
    assert len(results) == len(kept) * (len(layer.build().actions) + 1) + 2 * others


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (ticket_lock("no wait"), {("MUTEX", "enter"), ("TURN", "enter")}),
        (ticket_lock("drop"), {("TURN", "leave")}),
        # True, but not without the other two: a state that cannot be reached breaks it.
        (ticket_lock(lemmas=False), {("MUTEX", "enter")}),
        (members("twice"), {("USED", "join")}),
        (members("leftover"), {("USED", "clear"), ("ALL", "clear"), ("ONLINE", "clear")}),
        (members("arrives twice"), {("ONLINE", "arrive")}),
    ],
)
def test_what_is_not_inductive_is_refuted(layer: Layer, expected: set[tuple[str, str]]) -> None:
    results = prove(layer)
    assert failed(results) == dict.fromkeys(expected, Verdict.REFUTED)
    model = layer.build()
    for which in expected:
        found = results[which].counterexample
        assert found is not None and found.violated == which[0] and len(found.steps) == 1
        assert not found.shortest and "need not be reachable" in found.note
        sizes = {sort: _size(found.machine, sort.name) for sort in model.sorts}
        initial: Any = found.initial
        after: Any = found.steps[0].state
        for invariant in model.invariants:
            assert evaluate(invariant.formula, initial, sizes), invariant.id
        assert not evaluate(model.invariant(which[0]).formula, after, sizes)


def _size(machine: str, sort: str) -> int:
    """How many elements of a sort ``2 Cpu x 3 Vector`` has."""
    return next(int(part.split()[0]) for part in machine.split(" x ") if part.split()[1] == sort)


def test_what_nobody_decides_is_not_green(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(induction, "_BUDGETS", (1, 1))
    result = prove(ticket_lock())["MUTEX", "enter"]
    assert result.verdict is Verdict.UNDETERMINED and result.counterexample is None
    assert "unknown" in result.detail and not result.verdict.good


def test_the_initial_state_is_an_obligation() -> None:
    layer = Layer("starts wrong", (CPU, BIT))
    layer.field("home", CPU, type=Option(BIT), doc="")
    layer.field("lit", BIT, doc="", initial=TRUE)

    @layer.action(cpu=CPU)
    def nothing(s: State, cpu: Term) -> None:
        """Not a thing."""

    layer.invariant("DARK", "")(lambda s: forall(BIT, lambda b: ~s.lit[b]))
    layer.invariant("LIT", "")(lambda s: forall(BIT, lambda b: s.lit[b]))
    # Nobody has a home, and none is lit: the field's initial value is not what reads at none.
    layer.invariant("HOME", "")(lambda s: forall(CPU, lambda c: ~s.lit[s.home[c]]))
    results = prove(layer)
    assert set(failed(results)) == {("DARK", "initially")}


def test_an_untouched_invariant_needs_no_solver() -> None:
    result = prove(members())["USED", "arrive"]
    assert (result.verdict, result.solver) == (Verdict.PROVED, "")
    assert result.detail == "the action writes nothing that the invariant reads"


def test_a_parameter_is_not_captured_by_an_invariant_that_uses_its_name() -> None:
    """With capture, ``forall cpu: ...`` after the action would speak of the writer alone."""
    layer = Layer("names", (CPU,))
    layer.field("ok", CPU, doc="", initial=TRUE)

    @layer.action(cpu=CPU, other=CPU)
    def spoil(s: State, cpu: Term, other: Term) -> None:
        """One is good, the other is not."""
        s.require(~(cpu == other))
        s.ok[other] = False
        s.ok[cpu] = True

    layer.invariant("OK", "")(lambda s: forall(CPU, lambda cpu: s.ok[cpu]))
    assert failed(prove(layer)) == {("OK", "spoil"): Verdict.REFUTED}


# --- the specification ----------------------------------------------------------------------


def test_every_action_keeps_every_invariant() -> None:
    model = stack.build()
    results = {name: induction.prove(frozenset(), name) for name in induction.names(model)}
    assert {
        (r.subject, r.check): r.verdict
        for of_one in results.values()
        for r in of_one
        if r.verdict is not Verdict.PROVED
    } == {}
    kept = [i.id for i in model.invariants if not i.follows]
    for action in model.actions:
        assert [r.subject for r in results[action]] == kept
    assert [r.subject for r in results[induction.INITIALLY]] == [i.id for i in model.invariants]
    follows = [i.id for i in model.invariants if i.follows]
    assert [r.subject for r in results[induction.FOLLOWS]] == follows
    assert len(results[induction.THEOREMS]) == len(model.theorems) > 0
    assert combine(r.verdict for of_one in results.values() for r in of_one) is Verdict.PROVED


SCOPE = {"Cpu": 2, "Vector": 2, "Irq": 2}


def test_every_theorem_and_every_action_is_about_something() -> None:
    """Its guard holds in some state that obeys every invariant."""
    model = stack.build()
    claims: dict[str, tuple[Term, Mapping[str, Parameter]]] = {
        action.name: (action.enabled, action.params) for action in model.actions.values()
    }
    for theorem in model.theorems:
        params = {v.args[0]: v.type for v in free_variables(theorem.guard)}
        claims[f"theorem {theorem.name}"] = theorem.guard, params
    cpu = variable("cpu", MATRIX_CPU)
    two_ways = read("online", [cpu], BOOL), ~read("initialized", [cpu], BOOL)
    claims["online but never initialized"] = and_(*two_ways), {"cpu": MATRIX_CPU}
    assert cti.impossible(model, claims, SCOPE) == ("online but never initialized",)


DEFECTS: Mapping[str, Mapping[str, set[str]]] = {
    "H1": {"cleanup_forgotten": {"VEC-10"}, "lapic_offline": {"VEC-home"}},
    "H2": {"lapic_offline": {"VEC-home"}, "cpu_goes_offline": set()},
    "H4": {"vector_alloc_managed": {"VEC-update"}, "vector_alloc": set()},
    "H5": {"vector_clear_legacy": {"VEC-hand"}},
    "H6": {"irq_startup": {"VEC-22", "VEC-pc"}, "vector_activate": set()},
    "H7": {"irq_affinity": {"VEC-15", "GEN-3"}},
    "H8": {"lapic_offline": {"VEC-22", "VEC-home"}},
    "MX-D1": {
        "irq_matrix_reserve_managed": {"MX-6", "MX-11"},
        "irq_matrix_remove_managed": {"MX-6", "MX-11"},
    },
    "MX-D2": {"irq_matrix_free": {"MX-9"}},
    "MX-D4": {"irq_matrix_assign_system": {"MX-1"}},
}
"""The switch -> the actions -> the invariants that they then break; all others they keep."""


@pytest.mark.parametrize("switch", DEFECTS)
def test_a_defect_breaks_what_it_is_known_for_and_nothing_else(switch: str) -> None:
    for action, expected in DEFECTS[switch].items():
        results = induction.prove(frozenset({switch}), action)
        wrong = {r.subject: r.verdict for r in results if r.verdict is not Verdict.PROVED}
        assert wrong == dict.fromkeys(expected, Verdict.REFUTED), action
        assert all(r.counterexample for r in results if r.subject in expected)
