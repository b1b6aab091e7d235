# SPDX-License-Identifier: GPL-2.0-only
"""The plain reading by hand, and the three-valued one against it on random states."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from spec.compiled import Compiler
from spec.evaluate import (
    Index,
    Refusal,
    Value,
    apply,
    evaluate,
    initial_state,
    places,
    refusal,
    violated,
)
from spec.learning import Contradiction, Follower, Learner
from spec.matrix import CPU, VECTOR
from spec.partial import ANY, UNKNOWN, OneOf, PartialState, is_open, merge
from spec.records import Action, FunctionOf, Model, Parameter
from spec.sorts import IRQ
from spec.stack import vectors
from spec.terms import (
    BOOL,
    INT,
    TRUE,
    Bool,
    Enum,
    Int,
    Option,
    Sort,
    Term,
    conjuncts,
    count,
    eq,
    exists,
    forall,
    ite,
    lift,
    read,
    variable,
)

SCOPE = {CPU: 2, VECTOR: 3, IRQ: 2}
MODEL = vectors.build()
Complete = Mapping[str, Mapping[Index, Value]]


# --- the plain reading ----------------------------------------------------------------------

X = Sort("X")
P = read("p", [variable("x", X)], BOOL)
STATE: Complete = {"p": {(0,): True, (1,): False, (2,): True}, "n": {(): 7}, "o": {(0,): None}}


@pytest.mark.parametrize(
    ("term", "value"),
    [
        (count(X, lambda x: read("p", [x], BOOL)), 2),
        (forall(X, lambda x: read("p", [x], BOOL)), False),
        (exists(X, lambda x: read("p", [x], BOOL)), True),
        (read("n", [], INT) - 3, 4),
        (ite(P, 1, read("n", [], INT)), 7),
        (read("n", [], INT) < 7, False),
        (P.implies(lift(False)), True),
        # An index that is none reads as the type's default.
        (read("p", [read("o", [variable("y", X)], Option(X))], BOOL), False),
    ],
)
def test_plain_values(term: Term, value: Value) -> None:
    assert evaluate(term, STATE, {X: 3}, {"x": 1, "y": 0}) == value


def test_a_cell_without_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        evaluate(P, STATE, {X: 3}, {"x": 9})


def test_a_function_parameter_may_be_a_mapping_or_a_callable() -> None:
    guard = MODEL.actions["irq_affinity"].guard
    state = initial_state(MODEL, SCOPE) | {"desc": {(0,): True, (1,): False}}
    for mask in ({0: True, 1: False}, lambda cpu: cpu == 0):
        assert evaluate(guard, state, SCOPE, {"irq": 0, "mask": mask})


def booted() -> dict[str, Mapping[Index, Value]]:
    """CPU 0 online, vectors 1 and 2 allocatable."""

    def rigid(name: str, index: Index) -> Value:
        return {"matrix_bit": True, "alloc_size": 2, "isa_irq": None}.get(name, index != (0,))

    state: Any = initial_state(MODEL, SCOPE, rigid)
    assert violated(MODEL, state, SCOPE) == ()
    after = apply(MODEL, MODEL.actions["lapic_online"], {"cpu": 0}, state, SCOPE)
    assert not isinstance(after, Refusal)
    return after


def test_an_allocation_takes_a_bit_and_keeps_the_books() -> None:
    state = booted()
    assert state["available"][0,] == 2
    action = MODEL.actions["irq_matrix_alloc"]
    after = apply(MODEL, action, {"cpu": 0, "bit": 1, "reserved": False}, state, SCOPE)
    assert not isinstance(after, Refusal)
    assert after["alloc_map"][0, 1] and after["available"][0,] == 1
    assert state["alloc_map"][0, 1] is False
    assert violated(MODEL, after, SCOPE) == ()
    broken: Complete = {**after, "available": {(0,): 2, (1,): 0}}
    assert "MX-6" in violated(MODEL, broken, SCOPE)


def test_a_refusal_names_the_conjunct() -> None:
    action = MODEL.actions["irq_matrix_alloc"]
    why = refusal(action, {"cpu": 1, "bit": 1, "reserved": False}, booted(), SCOPE)
    assert str(why) == "irq_matrix_alloc: online[cpu] is false"


# --- partial states -------------------------------------------------------------------------


def test_entries_equal_to_the_rest_are_dropped() -> None:
    state = PartialState(MODEL.fields)
    state.fill("hand", False)
    state.put("hand", (1, 40), True)
    assert state.get("hand", 1, 40) is True and state.get("hand", 0, 40) is False
    state.put("hand", (1, 40), False)
    assert state.stores["hand"] == {ANY: {ANY: False}}
    state.forget("hand", 1)
    assert state.get("hand", 1, 3) is UNKNOWN and state.get("hand", 0, 3) is False


def test_a_member_may_be_known_not_to_be_some() -> None:
    few = merge("UPDATE", "IDLE")
    assert isinstance(few, OneOf) and is_open(few)
    assert (few == "CONFIG") is False
    assert (few == "IDLE") is UNKNOWN
    assert merge(few, UNKNOWN) is UNKNOWN


def test_unknown_has_no_truth() -> None:
    with pytest.raises(TypeError):
        bool(UNKNOWN)


def random_value(rng: random.Random, type: Parameter) -> Any:
    match type:
        case Bool():
            return rng.random() < 0.5
        case Int():
            return rng.randrange(-1, 4)
        case Enum():
            return rng.choice(type.members)
        case Option():
            return rng.choice([None, *range(SCOPE[type.of])])
        case Sort():
            return rng.randrange(SCOPE[type])
        case FunctionOf():
            return {c: rng.random() < 0.5 for c in range(SCOPE[type.args[0]])}


def random_state(rng: random.Random) -> dict[str, dict[Index, Value]]:
    """Each field is mostly one value, as in a real state, or any."""
    state = {}
    for name, field in MODEL.fields.items():
        usual, often = random_value(rng, field.type), rng.choice([0.0, 0.6, 0.9])
        state[name] = {
            at: usual if rng.random() < often else random_value(rng, field.type)
            for at in places(field, SCOPE)
        }
    return state


def partly(rng: random.Random, complete: Complete, known: float) -> PartialState:
    """A partial state that `complete` agrees with."""
    state = PartialState(MODEL.fields)
    for name, cells in complete.items():
        if rng.random() < 0.5:
            state.fill(name, rng.choice(list(cells.values())))
        for at, value in cells.items():
            if rng.random() < known:
                state.put(name, at, value)
            elif not is_open(state.get(name, *at)) and state.get(name, *at) != value:
                state.put(name, at, UNKNOWN)
    return state


def disagreement(state: PartialState, complete: Complete) -> list[str]:
    """The cells for which the partial state claims to know something else."""
    found = []
    for name, cells in complete.items():
        for at, value in cells.items():
            told = state.get(name, *at)
            good = value in told.members if isinstance(told, OneOf) else told == value
            if told is not UNKNOWN and not good:
                found.append(f"{name}{at}: {told!r}, but {value!r}")
    return found


def arguments(rng: random.Random, action: Action) -> dict[str, Any]:
    return {name: random_value(rng, type) for name, type in action.params.items()}


def formulas() -> list[tuple[Term, Action | None]]:
    """Every invariant, and every conjunct of every guard."""
    guards = [(c, a) for a in MODEL.actions.values() for c in conjuncts(a.enabled)]
    return [*((i.formula, None) for i in MODEL.invariants), *guards]


@pytest.mark.parametrize("exact", [False, True], ids=["any extent", "known extent"])
@pytest.mark.parametrize("known", [0.4, 0.8, 1.0])
def test_what_is_not_unknown_is_right(known: float, exact: bool) -> None:
    rng = random.Random(int(known * 10) + exact)
    extents = {sort: range(size) for sort, size in SCOPE.items()} if exact else {}
    settled = 0
    for _ in range(6):
        complete = random_state(rng)
        state = partly(rng, complete, known)
        assert disagreement(state, complete) == []
        learner = Learner(Compiler(state, extents=extents))
        for term, action in formulas():
            names = arguments(rng, action) if action else {}
            told = learner.value(term, names)
            if told is not UNKNOWN:
                settled += 1
                assert told == evaluate(term, complete, SCOPE, names), repr(term)
            else:
                assert known < 1 or not exact, repr(term)
    assert settled > 100


@pytest.mark.parametrize("known", [0.3, 0.7])
def test_what_is_learned_is_right(known: float) -> None:
    rng = random.Random(7)
    learned = 0
    for _ in range(25):
        complete = random_state(rng)
        state = partly(rng, complete, known)
        learner = Learner(Compiler(state))
        for term, action in formulas():
            names = arguments(rng, action) if action else {}
            if learner.value(term, names) is UNKNOWN:
                before = state.copy()
                learner.learn(term, evaluate(term, complete, SCOPE, names), names)
                learned += state.copy() != before
                assert disagreement(state, complete) == [], repr(term)
    assert learned > 50


@pytest.mark.parametrize("known", [0.3, 0.8, 1.0])
def test_what_is_known_after_an_action_is_right(known: float) -> None:
    rng = random.Random(3)
    for _ in range(5):
        for action in MODEL.actions.values():
            complete = random_state(rng)
            state = partly(rng, complete, known)
            free = replace(action, guard=TRUE, assumptions=())
            names = arguments(rng, action)
            follower = Follower(free, Learner(Compiler(state)))
            follower.finish([names[p] for p in follower.parameters])
            after = apply(MODEL, free, names, complete, SCOPE)
            assert not isinstance(after, Refusal)
            assert disagreement(state, after) == [], action.name


def test_hidden_fields_stay_unknown() -> None:
    state = PartialState(MODEL.fields)
    state.fill("desc", False)
    compiler = Compiler(state, hidden=frozenset({"desc"}))
    desc = read("desc", [variable("irq", IRQ)], BOOL)
    assert Learner(compiler).value(desc, {"irq": 0}) is UNKNOWN
    assert not compiler.can_fail(desc)
    assert compiler.can_fail(desc & read("present", [variable("irq", IRQ)], BOOL))


def follower(model: Model, name: str, state: PartialState) -> Follower:
    return Follower(model.actions[name], Learner(Compiler(state)))


def test_a_guard_teaches_what_it_needs() -> None:
    state = PartialState(MODEL.fields)
    values = [24, 33, 1, None, None]
    follower(MODEL, "vector_update", state).begin(values)
    assert state.get("vector", 24) is None
    assert state.get("hand", 1, 33) is True
    follower(MODEL, "vector_update", state).finish(values)
    assert state.get("vector", 24) == 33 and state.get("pc", 24) == "CONFIG"


def test_nothing_in_hand_is_learned_for_all() -> None:
    state = PartialState(MODEL.fields)
    follower(MODEL, "irq_matrix_reserve", state).begin([])
    assert state.stores["hand"] == {ANY: {ANY: False}}
    assert state.get("unclaimed") == 0


def test_a_false_guard_is_a_contradiction() -> None:
    state = PartialState(MODEL.fields)
    state.put("alloc_map", (1, 33), True)
    alloc = follower(MODEL, "irq_matrix_alloc", state)
    with pytest.raises(Contradiction) as caught:
        alloc.begin([1, 33, False])
    term = alloc.terms[caught.value.place]
    assert repr(term) in (
        "¬alloc_map[cpu, bit]",
        "¬(alloc_map[cpu, bit] ∨ managed_map[cpu, bit] ∨ system_map[bit])",
    )
    assert alloc.values_read(caught.value.place, [1, 33, False])["alloc_map[1, 33]"] is True


def test_a_sum_is_solved_for_what_is_missing() -> None:
    state = PartialState(MODEL.fields)
    state.fill("global_available", 10)
    cell = read("available", [variable("cpu", CPU)], INT)
    equation = eq(read("global_available", [], INT) + cell, lift(211))
    Learner(Compiler(state)).learn(equation, True, {"cpu": 3})
    assert state.get("available", 3) == 201
