# SPDX-License-Identifier: GPL-2.0-only
"""The columns against the plain reading, on random formulas, states and steps."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

from spec.columns import Columns, compile
from spec.evaluate import apply, evaluate
from spec.language import Layer
from spec.records import FunctionOf, Model
from spec.scope import Index, Scope, Value
from spec.stack import vectors
from spec.state import State
from spec.terms import (
    BOOL,
    INT,
    Bool,
    Enum,
    Int,
    Option,
    Sort,
    Term,
    add,
    and_,
    constant,
    eq,
    exists,
    forall,
    ite,
    lift,
    none,
    not_,
    or_,
    quantified,
    read,
    value_of,
    variable,
)  # fmt: skip

A, B = Sort("A"), Sort("B")
COLOUR = Enum("Colour", ("RED", "GREEN", "BLUE"))
SIZES = {A: 2, B: 3}
FIELDS: Mapping[str, tuple[tuple[Sort, ...], Any]] = {
    "flag": ((), BOOL),
    "some_a": ((A,), BOOL),
    "pair": ((A, B), BOOL),
    "triple": ((B, A, B), BOOL),
    "alone": ((), Option(B)),
    "of_a": ((A,), Option(B)),
    "of_b": ((B,), Option(A)),
    "wide": ((A, B), Option(A)),
    "wider": ((B, A, B), Option(B)),
    "always": ((A,), B),
    "number": ((A,), Int((B,))),
    "total": ((), Int((A, B))),
    "colour": ((B,), COLOUR),
    "fixed": ((B,), BOOL),
}


class Maker:
    """Random terms of bounded depth over the fields above."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = 0

    def bool_(self, depth: int, scope: tuple[Term, ...]) -> Term:
        choose = self.random.choice
        if depth <= 0:
            return self.field(choose(["flag", "some_a", "pair", "triple", "fixed"]), 0, scope)
        d = depth - 1
        match self.random.randrange(11):
            case 0:
                return not_(self.bool_(d, scope))
            case 1:
                return and_(*(self.bool_(d, scope) for _ in range(3)))
            case 2:
                return or_(*(self.bool_(d, scope) for _ in range(3)))
            case 3:
                return self.bool_(d, scope).implies(self.bool_(d, scope))
            case 4:
                return ite(self.bool_(d, scope), self.bool_(d, scope), self.bool_(d, scope))
            case 5:
                sort = choose([A, B])
                return eq(self.element(sort, d, scope), self.element(sort, d, scope))
            case 6:
                return self.number(d, scope) <= self.number(d, scope)
            case 7:
                return eq(self.bool_(d, scope), self.bool_(d, scope))
            case 8:
                sort = choose([A, B])
                return self.position(sort, scope) < self.position(sort, scope)
            case 9:
                return eq(self.field("colour", d, scope), constant(choose(COLOUR.members), COLOUR))
        bound = [self.fresh() for _ in range(choose([1, 1, 2]))]
        return quantified(
            choose(["forall", "exists"]), tuple(bound), self.bool_(d, (*scope, *bound))
        )

    def fresh(self) -> Term:
        self.names += 1
        return variable(f"x{self.names}", self.random.choice([A, B]))

    def position(self, sort: Sort, scope: tuple[Term, ...]) -> Term:
        own = [v for v in scope if v.type is sort]
        return self.random.choice([*own, constant(self.random.randrange(SIZES[sort]), sort)])

    def element(self, sort: Sort, depth: int, scope: tuple[Term, ...]) -> Term:
        if depth <= 0 or self.random.random() < 0.5:
            return self.position(sort, scope)
        if self.random.random() < 0.2:
            return none(sort)
        if self.random.random() < 0.2:
            first, second = (self.element(sort, depth - 1, scope) for _ in range(2))
            return ite(self.bool_(depth - 1, scope), first, second)
        names = {A: ["of_b", "wide"], B: ["alone", "of_a", "wider", "always"]}[sort]
        return self.field(self.random.choice(names), depth - 1, scope)

    def number(self, depth: int, scope: tuple[Term, ...]) -> Term:
        if depth <= 0:
            return lift(self.random.randrange(-2, 3))
        match self.random.randrange(5):
            case 0:
                return add(self.number(depth - 1, scope), self.number(depth - 1, scope))
            case 1:
                return lift(0) - self.number(depth - 1, scope)
            case 2:
                bound = self.fresh()
                one = ite(self.bool_(depth - 1, (*scope, bound)), 1, 0)
                return quantified("sum", (bound,), one)
            case 3:
                other = self.number(depth - 1, scope)
                return ite(self.bool_(depth - 1, scope), self.number(depth - 1, scope), other)
        return self.field(self.random.choice(["number", "total"]), depth - 1, scope)

    def field(self, name: str, depth: int, scope: tuple[Term, ...]) -> Term:
        args, type = FIELDS[name]
        # A field whose value is an element has no default: it is not read at none.
        at = self.position if name == "always" else lambda s, v: self.element(s, depth, v)
        return read(name, [at(sort, scope) for sort in args], type)


def _given(formula: Term, _: State) -> Term:
    return formula


def random_layer(seed: int) -> Layer:
    """Twelve random invariants, and an operation with random guard and writes."""
    maker = Maker(seed)
    layer = Layer(f"random {seed}", (A, B))
    for name, (args, type) in FIELDS.items():
        start = constant(0, B) if type is B else None
        layer.field(name, *args, type=type, doc="", rigid=name == "fixed", initial=start)
    for k in range(12):
        layer.invariant(f"R{k}", "")(partial(_given, maker.bool_(4, ())))

    @layer.operation(a=A, b=Option(B), yes=BOOL, f=FunctionOf((A,), BOOL), hue=COLOUR)
    def happen(s: State, a: Term, b: Term, yes: Term, f: Any, hue: Term) -> None:
        v = variable("bit", B)
        s.require(or_(maker.bool_(2, (a,)), s.flag, f[a], eq(b, s.of_a[a])))
        s.some_a[a] = maker.bool_(2, (a,))
        with s.when(maker.bool_(2, (a,))):
            s.pair[a, b] = yes
            s.of_a[a] = b
            s.number[a] = s.number[a] + ite(yes, 1, -1)
            s.colour[b] = hue
        s.wide[a, b] = ite(yes, s.wide[a, b], a)
        with s.each(B, "bit", lambda w: f[a] | s.pair[a, w]) as w:
            s.triple[w, a, w] = not_(s.triple[w, a, w])
            s.wider[w, a, w] = ite(eq(s.of_b[w], a), some_of(s, w), w)
        s.always[a] = ite(yes, s.always[a], constant(2, B))
        s.alone = ite(maker.bool_(1, (a,)), b, none(B))
        s.flag = f[a] & yes
        s.total += ite(maker.bool_(2, (a,)), 2, 0)
        assert v.type is B

    return layer


def some_of(s: State, w: Term) -> Term:
    return ite(s.flag, s.alone, none(B))


def random_state(model: Model, scope: Scope, rng: random.Random) -> dict[str, dict[Any, Any]]:
    """Any state within the bounds of the scope; reachable or not."""
    state = {}
    for name, f in model.fields.items():
        values = {}
        for index in scope.places(tuple(s.name for s in f.args)):
            if f.rigid or f.transient or f.ghost:
                value = scope.rigid.get(name, {}).get(index, value_of(f.initial))
            else:
                value = random_value(f.type, scope, rng)
            values[index] = value
        state[name] = values
    return state


def random_value(type: Any, scope: Scope, rng: random.Random) -> Any:
    match type:
        case Bool():
            return rng.random() < 0.5
        case Int():
            most = int(np.prod([scope.size(s.name) for s in type.of]))
            return rng.randrange(-1, most + 1)
        case Enum():
            return rng.choice(type.members)
        case Option():
            return rng.choice([None, *range(scope.size(type.of.name))])
    return rng.randrange(scope.size(type.name))


def compare(model: Model, scope: Scope, states: list[dict[str, dict[Any, Any]]]) -> int:
    """Everything the columns say of these states, against the plain reading. Answers the number
    of steps compared."""
    columns = compile(model, scope)
    sizes = {sort: scope.size(sort.name) for sort in model.sorts}
    stored = {p.field for p in columns.layout.places}
    for state in states:
        for name, f in model.fields.items():
            if name not in stored and not f.ghost:
                state[name] = {i: _constant(columns, scope, name, i) for i in state[name]}
    rows = np.stack([columns.row(state) for state in states])
    for row, state in zip(rows, states, strict=True):
        assert columns.state(row) == {n: v for n, v in state.items() if not model.fields[n].ghost}
    _compare_invariants(columns, sizes, rows, states)
    return _compare_steps(columns, sizes, rows, states)


def _constant(columns: Columns, scope: Scope, name: str, index: tuple[int, ...]) -> Any:
    f = columns.model.fields[name]
    start = value_of(f.initial)
    return scope.rigid.get(name, {}).get(index, start) if f.rigid else start


def _compare_invariants(columns: Columns, sizes: Any, rows: Any, states: list[Any]) -> None:
    held = columns.held(columns.unpack(rows))
    for k, state in enumerate(states):
        expected = {i.id: evaluate(i.formula, state, sizes) for i in columns.invariants}
        found = {
            i.id: np.broadcast_to(h, len(states))[k]
            for i, h in zip(columns.invariants, held, strict=True)
        }
        assert found == expected
        assert columns.violated(state) == tuple(i for i, holds in expected.items() if not holds)


def _compare_steps(columns: Columns, sizes: Any, rows: Any, states: list[Any]) -> int:
    model, places = columns.model, columns.unpack(rows)
    guards = {k: np.broadcast_to(g, len(states)).copy() for k, g in columns.guards(places)}
    compared = 0
    numbers = {instance: k for k, instance in enumerate(columns.instances)}
    for name, operation in model.operations.items():
        for params in _choices(operation, columns.scope):
            instance = next((i for i in numbers if (i.operation, i.params) == (name, params)), None)
            arguments = {n: _argument(operation.params[n], v) for n, v in params}
            for k, state in enumerate(states):
                enabled = evaluate(operation.enabled, state, sizes, arguments)
                if instance is None:
                    assert not enabled
                    continue
                number = numbers[instance]
                assert guards[number][k] == enabled, (instance, k)
                if enabled:
                    after = apply(model, operation, arguments, state, sizes)
                    out = rows[k : k + 1].copy()
                    columns.step(number, places, np.array([k]), out)
                    assert isinstance(after, dict)
                    visible = {n: v for n, v in after.items() if not model.fields[n].ghost}
                    assert columns.state(out[0]) == visible, (instance, k)
                    compared += 1
    return compared


def _choices(operation: Any, scope: Scope) -> Any:
    from spec.instances import domain

    domains = [domain(type, scope) for type in operation.params.values()]
    return (tuple(zip(operation.params, values, strict=True)) for values in product(*domains))


def _argument(type: Any, value: Any) -> Any:
    return dict(enumerate(value)) if isinstance(type, FunctionOf) else value


@pytest.mark.parametrize("seed", range(12))
def test_random_layers_agree_with_the_plain_reading(seed: int) -> None:
    rng = random.Random(1000 + seed)
    rigid: dict[str, dict[Index, Value]] = {"fixed": {(k,): rng.random() < 0.5 for k in range(3)}}
    scope = Scope({"A": 2, "B": 3}, rigid)
    model = random_layer(seed).build()
    states = [random_state(model, scope, rng) for _ in range(6)]
    assert compare(model, scope, states) > 0


LEGACY = Scope.of(2, 2, 2, allocatable=frozenset({0, 1}), isa_irq={1: 1})


def test_the_vector_layer_agrees_with_the_plain_reading_on_states_in_disorder() -> None:
    model, rng = vectors.build(), random.Random(7)
    compare(model, LEGACY, [random_state(model, LEGACY, rng) for _ in range(12)])


def test_the_vector_layer_agrees_with_the_plain_reading_along_a_run() -> None:
    model, rng = vectors.build(), random.Random(8)
    columns = compile(model, LEGACY)
    row, states = columns.initial().reshape(1, -1), []
    for _ in range(60):
        state = columns.state(row[0])
        states.append({**random_state(model, LEGACY, rng), **state})
        places = columns.unpack(row)
        chosen = rng.choice([k for k, enabled in columns.guards(places) if np.all(enabled)])
        columns.step(chosen, places, np.zeros(1, dtype=np.intp), row)
    assert compare(model, LEGACY, states) > 300


def test_the_axioms_bind_the_scope() -> None:
    wrong = Scope({"Cpu": 1, "Vector": 2, "Irq": 1}, {"alloc_size": {(): 1}})
    with pytest.raises(ValueError, match="alloc_size"):
        compile(vectors.build(), wrong)


def test_a_number_outside_its_bounds_is_refused() -> None:
    columns = compile(vectors.build(), Scope.parse("1x2x1"))
    state = columns.state(columns.initial())
    state["available"][0,] = 99
    with pytest.raises(OverflowError, match="available"):
        columns.row(state)


def test_a_parameter_without_end_is_refused() -> None:
    layer = Layer("endless", (A,))
    layer.field("n", type=INT, doc="")

    @layer.operation(by=INT)
    def more(s: State, by: Term) -> None:
        s.n += by

    with pytest.raises(ValueError, match="no end"):
        compile(layer.build(), Scope({"A": 1}))


def test_quantifiers_over_the_same_name_do_not_mix() -> None:
    layer = Layer("names", (A, B))
    layer.field("pair", A, B, doc="")
    layer.invariant("N", "")(
        lambda s: forall(
            A, lambda x: exists(B, lambda y: s.pair[x, y] | exists(A, lambda x: s.pair[x, y]))
        )
    )

    @layer.operation(a=A, b=B)
    def flip(s: State, a: Term, b: Term) -> None:
        s.pair[a, b] = ~s.pair[a, b]

    scope = Scope({"A": 2, "B": 3})
    rng, model = random.Random(1), layer.build()
    assert compare(model, scope, [random_state(model, scope, rng) for _ in range(20)]) == 120
