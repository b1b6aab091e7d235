# SPDX-License-Identifier: GPL-2.0-only
"""The explorer against the naive search and against counts that a reader can work out."""

from __future__ import annotations

from collections.abc import Callable
from math import comb, perm
from typing import Any

import pytest

from proofs import explorer
from proofs.explorer import Limit, explore
from proofs.verdict import Verdict
from spec.columns import Columns, compile
from spec.evaluate import evaluate
from spec.language import Layer
from spec.records import FunctionOf, Model
from spec.scope import Scope
from spec.stack import vectors
from spec.state import State
from spec.terms import Int, Term
from tests.proofs.naive_search import search, sizes
from tests.proofs.naive_search import step as naive_step
from tests.proofs.small_layers import GUEST, guests, queue


def party(seats: int, people: int) -> Scope:
    return Scope({"Seat": seats, "Guest": people})


@pytest.mark.parametrize(("seats", "people"), [(1, 1), (2, 3), (3, 3), (4, 2), (9, 3), (3, 17)])
def test_the_states_are_those_that_combinatorics_counts(seats: int, people: int) -> None:
    result = explore(guests().build(), party(seats, people))
    by_seated = [comb(seats, k) * perm(people, k) for k in range(min(seats, people) + 1)]
    assert result.levels == tuple(by_seated)
    assert result.states == result.checked == sum(by_seated)
    sits = sum(n * (people - k) * (seats - k) for k, n in enumerate(by_seated))
    stands = sum(n * k for k, n in enumerate(by_seated))
    assert result.fired == {"sit": sits, "stand": stands, "faint": 0}
    assert result.transitions == sits + stands
    assert result.never == ("faint",)
    assert result.exhausted and result.verdict is Verdict.HELD


@pytest.mark.parametrize(
    ("small", "states", "transitions"),
    [
        (Scope.parse("1x1x1"), 30, 82),
        (Scope.parse("1x2x1"), 127, 409),
        (Scope.parse("2x1x1"), 1513, 5669),
        (Scope.of(1, 2, 1, allocatable=frozenset({1}), isa_irq={1: 0}), 72, 204),
    ],
    ids=str,
)
def test_the_vector_layer_agrees_with_the_naive_search(
    small: Scope, states: int, transitions: int
) -> None:
    model = vectors.build()
    result, naive = explore(model, small), search(model, small)
    assert (result.states, result.transitions) == (len(naive.states), naive.transitions)
    assert result.levels == tuple(naive.levels)
    assert result.fired == {name: naive.fired[name] for name in model.operations}
    assert naive.violations == {}
    assert (result.states, result.transitions) == (states, transitions)


def test_blocks_and_batches_of_any_size_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = party(4, 4)
    usual = explore(guests().build(), scope)
    monkeypatch.setattr(explorer, "_BLOCK", 7)
    monkeypatch.setattr(explorer, "_BATCH", 11)
    small = explore(guests().build(), scope)
    assert (small.states, small.transitions, small.levels, small.fired) == (
        usual.states, usual.transitions, usual.levels, usual.fired
    )  # fmt: skip


@pytest.mark.parametrize(
    ("defect", "invariant", "actions"),
    [
        ("sit on a lap", "one", ("sit", "sit")),
        ("miscount", "counted", ("sit", "sit", "stand")),
    ],
)
def test_a_defect_gives_its_shortest_run(
    defect: str, invariant: str, actions: tuple[str, ...]
) -> None:
    model, scope = guests(defect).build(), party(3, 3)
    result = explore(model, scope)
    found = result.counterexample
    assert found is not None and result.verdict is Verdict.REFUTED
    assert not result.exhausted and result.stopped == "violation"
    assert found.violated == invariant
    assert tuple(step.action for step in found.steps) == actions
    assert found.shortest and found.false_parts
    assert len(found.steps) == min(search(model, scope).violations.values())
    replay(model, scope, found)


def replay(model: Model, scope: Scope, found: Any) -> None:
    """Every step of a counterexample is one of the specification's, and its end is bad."""
    number, state = sizes(model, scope), found.initial
    for step in found.steps:
        operation = model.operations[step.action]
        arguments = {
            name: dict(enumerate(value))
            if isinstance(operation.params[name], FunctionOf)
            else value
            for name, value in step.params
        }
        state = naive_step(model, operation, arguments, state, number)
        assert state == step.state
    assert not evaluate(model.invariant(found.violated).formula, state, number)


def test_only_the_chosen_invariants_count() -> None:
    model = guests("miscount").build()
    result = explore(model, party(2, 2), invariants=("one",))
    assert result.exhausted and result.invariants == ("one",)
    with pytest.raises(KeyError, match="two"):
        explore(model, party(2, 2), invariants=("two",))


@pytest.mark.parametrize(
    ("limit", "stopped"),
    [(Limit(states=10), "states"), (Limit(depth=2), "depth"), (Limit(seconds=0), "seconds")],
)
def test_a_bounded_search_never_passes_as_exhausted(
    limit: Limit, stopped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "_BLOCK", 4)
    result = explore(guests().build(), party(4, 4), limit=limit)
    assert result.stopped == stopped and not result.exhausted
    assert result.verdict is Verdict.UNDETERMINED
    assert result.checked == result.states == sum(result.levels)


def test_a_bound_that_is_not_reached_is_no_bound() -> None:
    result = explore(guests().build(), party(2, 2), limit=Limit(states=8, depth=3, seconds=600))
    assert result.exhausted and result.states == 7


def test_a_bounded_search_still_tests_what_it_reached() -> None:
    result = explore(guests("miscount").build(), party(2, 2), limit=Limit(depth=3))
    assert result.counterexample is not None


def test_ctrl_c_answers_what_was_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    once = iter([None, None])
    original: Callable[..., Any] = Columns.held

    def held(self: Columns, columns: Any) -> Any:
        if next(once, "stop") == "stop":
            raise KeyboardInterrupt
        return original(self, columns)

    monkeypatch.setattr(Columns, "held", held)
    result = explore(guests().build(), party(3, 3))
    assert result.stopped == "interrupted" and not result.exhausted
    assert 0 < result.checked < result.states
    assert result.verdict is Verdict.UNDETERMINED


def test_the_order_of_a_sort_is_its_numbers() -> None:
    assert explore(queue().build(), Scope({"Guest": 5})).levels == (1,) * 6


def test_a_number_that_leaves_its_bounds_is_an_error() -> None:
    layer = Layer("up", (GUEST,))
    layer.field("n", type=Int((GUEST,)), doc="")

    @layer.operation(guest=GUEST)
    def more(s: State, guest: Term) -> None:
        s.n += 2

    with pytest.raises(OverflowError, match="n"):
        explore(layer.build(), Scope({"Guest": 2}))


def test_given_columns_are_used() -> None:
    model, scope = guests().build(), party(2, 2)
    columns = compile(model, scope)
    assert explore(model, scope, columns=columns).states == 7
