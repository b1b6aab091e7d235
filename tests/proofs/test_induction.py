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
from spec.language import Layer
from spec.matrix import CPU as MATRIX_CPU
from spec.stack import MODELS, vectors
from spec.state import State
from spec.terms import (
    BOOL,
    TRUE,
    Option,
    Term,
    and_,
    forall,
    read,
    variable,
)
from tests.proofs.layer_checks import claims_of
from tests.proofs.layers import BIT, CPU, members, ticket_lock


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


@pytest.mark.parametrize("layer", ["vectors", "hierarchy", "stack"])
def test_every_action_keeps_every_invariant(layer: str) -> None:
    model = MODELS[layer].build()
    results = {name: induction.prove(layer, frozenset(), name) for name in induction.names(model)}
    assert {
        (r.subject, r.check): r.verdict
        for of_one in results.values()
        for r in of_one
        if r.verdict is not Verdict.PROVED
    } == {}
    kept = [i.id for i in model.own_invariants if not i.follows]
    for action in model.actions:
        assert [r.subject for r in results[action]] == kept
    assert [r.subject for r in results[induction.INITIALLY]] == [i.id for i in model.own_invariants]
    follows = [i.id for i in model.own_invariants if i.follows]
    assert [r.subject for r in results.get(induction.FOLLOWS, ())] == follows
    assert [r.subject for r in results.get(induction.THEOREMS, ())] == [
        t.id for t in model.own_theorems
    ]
    assert combine(r.verdict for of_one in results.values() for r in of_one) is Verdict.PROVED


SCOPE = {"Cpu": 2, "Vector": 2, "Irq": 2}


def test_every_theorem_and_every_action_is_about_something() -> None:
    """Its guard holds in some state that obeys every invariant."""
    model = vectors.build()
    claims = claims_of(model)
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
        results = induction.prove("vectors", frozenset({switch}), action)
        wrong = {r.subject: r.verdict for r in results if r.verdict is not Verdict.PROVED}
        assert wrong == dict.fromkeys(expected, Verdict.REFUTED), action
        assert all(r.counterexample for r in results if r.subject in expected)
