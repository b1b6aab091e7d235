# SPDX-License-Identifier: GPL-2.0-only
"""One meaning: whatever reads a formula or an action, the answer is that of the plain trees."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st

from proofs import cti
from proofs.smt import Maybe, Reading, Schema, Sums
from spec.columns import Columns
from spec.columns import compile as compile_columns
from spec.compiled import Compiler
from spec.evaluate import apply, evaluate
from spec.language import Layer
from spec.learning import Contradiction, Follower, Learner
from spec.partial import UNKNOWN, PartialState, is_open
from spec.records import Action, Field, FunctionOf, Model
from spec.scope import Scope
from spec.stack import vectors
from spec.state import State as Symbolic
from spec.terms import (
    BOOL,
    INT,
    Enum,
    Option,
    Sort,
    Term,
    Type,
    count,
    eq,
    forall,
    lift,
    quantified,
    read,
    total,
    variable,
)
from tests.spec.programs import Programmer, fields, model, programs, run
from tests.spec.raw import (
    FIELDS,
    PARAMETERS,
    SIMPLE,
    A,
    B,
    Maker,
    draw_names,
    draw_scope,
    draw_state,
    indices,
    scopes,
    term,
    trees,
    value,
)

FEW = settings(max_examples=40, deadline=None)
TYPES: list[Type] = [BOOL, BOOL, INT, Option(A), Option(B)]


# --- known in part --------------------------------------------------------------------------


def known(fields: Mapping[str, Field], state: Any, unknown: frozenset[Any]) -> PartialState:
    """The state but for some cells."""
    part = PartialState(fields)
    for name, cells in state.items():
        for index, it in cells.items():
            part.put(name, index, UNKNOWN if (name, index) in unknown else it)
    return part


def some_cells(data: st.DataObject, state: Any) -> frozenset[Any]:
    cells = sorted((name, index) for name in state for index in state[name])
    return data.draw(st.frozensets(st.sampled_from(cells)))


@settings(deadline=None)
@given(st.data(), scopes())
def test_what_is_known_in_part_never_contradicts(data: st.DataObject, sizes: Any) -> None:
    raw = data.draw(trees(type=data.draw(st.sampled_from(TYPES)), absent=False))
    state, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    expected, fields = value(raw, state, sizes, names), model(()).fields
    extents = {sort: range(n) for sort, n in sizes.items()}
    for unknown in (frozenset[Any](), some_cells(data, state)):
        compiler = Compiler(known(fields, state, unknown), extents=extents)
        found = compiler.function(term(raw), tuple(names))(*names.values())
        assert found == expected if not unknown else is_open(found) or found == expected


@settings(deadline=None)
@given(st.data(), scopes())
def test_nor_where_nobody_knows_how_many_there_are(data: st.DataObject, sizes: Any) -> None:
    raw = data.draw(trees(chosen=False, absent=False))
    state, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    part = known(model(()).fields, state, some_cells(data, state))
    found = Compiler(part).function(term(raw), tuple(names))(*names.values())
    assert is_open(found) or found == value(raw, state, sizes, names)


@settings(deadline=None)
@given(st.data(), scopes())
def test_an_action_on_a_state_known_in_part(data: st.DataObject, sizes: Any) -> None:
    program = data.draw(programs(absent=False))
    built = model(program)
    before, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    expected = run(program, before, sizes, names)
    extents = {sort: range(n) for sort, n in sizes.items()}
    for unknown in (frozenset[Any](), some_cells(data, before)):
        part = known(built.fields, before, unknown)
        learner = Learner(Compiler(part, extents=extents))
        follower = Follower(built.actions["happen"], learner, first=(lift(True),))
        values = [names[p] for p in follower.parameters]
        try:
            follower.begin(values)
        except Contradiction:
            assert expected is None
            continue
        if expected is None:
            assert unknown
            continue
        follower.finish(values)
        for name, cells in expected.items():
            for index, it in cells.items():
                found = part.get(name, *index)
                assert found == it if not unknown else is_open(found) or found == it


# --- Z3 in a scope --------------------------------------------------------------------------


def facts(reading: Reading, fields: Mapping[str, Field], state: Any, names: Any) -> list[Any]:
    """Every cell and every parameter has its value."""
    found = list(reading.distinctness())
    for name, field in fields.items():
        for index, cell in cti.cells(reading, field):
            found.append(same(reading, field.type, cell, state[name][index]))
    for name, type in PARAMETERS.items():
        if name in names:
            for index, cell in cti.parameter_cells(reading, name, type):
                given = names[name][index[0]] if isinstance(type, FunctionOf) else names[name]
                of = type.type if isinstance(type, FunctionOf) else type
                found.append(same(reading, of, cell, given))
    return found


def same(reading: Reading, type: Type, cell: Any, it: Any) -> Any:
    """A Z3 expression is a plain value."""
    if isinstance(type, Option):
        if it is None:
            return z3.Not(cell.there)
        return z3.And(cell.there, cell.value == reading.elements(type.of)[it])
    if isinstance(type, Sort):
        return cell == reading.elements(type)[it]
    return cell == (type.members.index(it) if isinstance(type, Enum) else it)


def reading_of(sizes: Any) -> Reading:
    reading = Reading({sort.name: n for sort, n in sizes.items()})
    for sort in sizes:
        reading.elements(sort)
    return reading


def z3_model(solver: z3.Solver) -> z3.ModelRef:
    assert solver.check() == z3.sat
    return solver.model()


def as_option(reading: Reading, found: Any) -> Any:
    return found if isinstance(found, Maybe) else Maybe(z3.BoolVal(True), found)


@FEW
@given(st.data(), scopes())
def test_z3_in_a_scope(data: st.DataObject, sizes: Any) -> None:
    raws = [data.draw(trees(type=t, ordered=False)) for t in (BOOL, BOOL, INT)]
    state, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    reading, solver = reading_of(sizes), z3.Solver()
    solver.add(*facts(reading, model(()).fields, state, names))
    assert solver.check() == z3.sat
    for raw in raws:
        it = same(reading, raw.type, reading.of(term(raw), {}), value(raw, state, sizes, names))
        assert solver.check(z3.Not(it)) == z3.unsat


@FEW
@given(st.data(), scopes())
def test_an_action_in_z3(data: st.DataObject, sizes: Any) -> None:
    program = data.draw(programs(ordered=False))
    built = model(program)
    action = built.actions["happen"]
    before, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    expected = run(program, before, sizes, names)
    reading, solver = reading_of(sizes), z3.Solver()
    solver.add(*facts(reading, built.fields, before, names))
    found = z3_model(solver)
    assert z3.is_true(found.eval(reading.of(action.enabled, {}), True)) == (expected is not None)
    for name, cells in (expected or {}).items():
        args, type = FIELDS[name]
        at = [variable(f"at{k}", sort) for k, sort in enumerate(args)]
        after = action.after(built.fields, read(name, at, type))
        for index, it in cells.items():
            elements = [reading.elements(s)[k] for s, k in zip(args, index, strict=True)]
            there = reading.of(after, dict(zip(at, elements, strict=True)))
            there = as_option(reading, there) if isinstance(type, Option) else there
            assert z3.is_true(found.eval(same(reading, type, there, it), True)), (name, index)


def test_sums_that_the_rules_are_not_about_are_refused() -> None:
    pairs = total(A, lambda x: count(B, lambda y: read("pair", [x, y], BOOL)))
    with pytest.raises(ValueError, match="a sum of sums"):
        Sums().abstract(eq(pairs, lift(0)))
    both = quantified(
        "sum", (variable("x", A), variable("y", B)), read("number", [variable("x", A)], INT)
    )
    with pytest.raises(ValueError, match="a sum over several variables"):
        Sums().abstract(eq(both, lift(0)))


def test_z3_says_that_a_member_of_an_enumeration_is_one() -> None:
    reading = reading_of({A: 2, B: 2})
    field = model(()).fields["colour"]
    solver = z3.Solver()
    cells = [cell for _, cell in cti.cells(reading, field)]
    solver.add(*(reading.membership(field.type, cell) for cell in cells))
    assert solver.check(cells[0] == 2) == z3.sat
    assert solver.check(cells[0] == 3) == z3.unsat
    assert solver.check(cells[1] == -1) == z3.unsat


# --- sums of any size -----------------------------------------------------------------------


def true_for_some_witness(
    rule: Term, schema: Schema, state: Any, sizes: Any, names: Mapping[str, Any]
) -> bool:
    """The rule holds with the best witness for each tuple of its variables."""
    bound, body = (rule.args[:-1], rule.args[-1]) if rule.op == "forall" else ((), rule)
    sort = schema.bound.type
    assert isinstance(sort, Sort)

    def holds(here: Mapping[str, Any], element: int) -> bool:
        witness = (lambda *_: element) if schema.free else element
        marks = ("!other", "!member", "!member'")
        return bool(
            evaluate(body, state, sizes, {**here, **{schema.name + m: witness for m in marks}})
        )

    return all(
        any(holds({**names, **dict(zip((v.args[0] for v in bound), at, strict=True))}, k)
            for k in range(sizes[sort]))
        for at in product(*(range(sizes[v.type]) for v in bound))
    )  # fmt: skip


def real_sum(schema: Schema, state: Any, sizes: Any) -> Any:
    """The sum itself in the place of the function that stands for it."""
    whole = quantified("sum", (schema.bound,), schema.body)

    def function(*free: int) -> Any:
        here = dict(zip((v.args[0] for v in schema.free), free, strict=True))
        return evaluate(whole, state, sizes, here)

    return function if schema.free else lambda: function()


def check_rules(
    formula: Term, action: Action, fields: Any, before: Any, after: Any, sizes: Any, names: Any
) -> int:
    """Every rule of every sum of a formula is true of real states. Answers how many there were."""
    sums, checked = Sums(), 0
    mentioned = sums.mentioned(sums.abstract(formula))
    given = dict(names)
    for schema in sums.schemas.values():
        given[schema.name] = real_sum(schema, before, sizes)
        given[schema.name + "'"] = real_sum(schema, after, sizes)
    for schema in sums.schemas.values():
        only = frozenset({schema.name})
        assert only <= mentioned
        rules = [
            *sums.rules(only),
            *sums.update_rule(only, action, fields),
            *(action.after(fields, rule) for rule in sums.rules(only, "'")),
        ]
        for rule in rules:
            assert true_for_some_witness(rule, schema, before, sizes, given), rule
        checked += len(rules)
    return checked


@pytest.mark.parametrize("seed", range(2))
def test_the_rules_of_sums_are_true(seed: int) -> None:
    """With the real sums before and after a random action."""
    rng, checked = random.Random(seed), 0
    for _ in range(250):
        sizes, program = draw_scope(rng, 3), Programmer(rng, ordered=False).program()
        built = model(program)
        action = built.actions["happen"]
        sort = rng.choice([A, B])
        parameters = {n: t for n, t in SIMPLE.items() if t != sort} | {"s": sort}
        body = term(Maker(rng, parameters, ordered=False).bool_(2, {}))
        while _has_sum(body):
            body = term(Maker(rng, parameters, ordered=False).bool_(1, {}))
        bound = variable("s", sort)
        other = variable("a" if sort == B else "b", A if sort == B else B)
        counted = count(sort, partial(_at, body, bound))
        for _ in range(3):
            before, names = draw_state(rng, sizes), draw_names(rng, sizes)
            after = run(program, before, sizes, names)
            if after is None:
                continue
            for inner in (counted, total(sort, partial(_numbers, sort))):
                formula = quantified("forall", (other,), lift(0) <= inner)
                rules = check_rules(formula, action, built.fields, before, after, sizes, names)
                checked += rules
    assert checked > 1000


def test_a_place_that_is_written_twice_counts_once() -> None:
    """Two parameters may be the same element; its change must not be added twice."""
    layer = fields(Layer("twice", (A, B)))

    @layer.action(p=A, q=A)
    def both(s: Symbolic, p: Term, q: Term) -> None:
        """Set one, and perhaps another."""
        s.some_a[p] = True
        s.some_a[q] = True

    built = layer.build()
    counted = lift(0) <= count(A, lambda x: read("some_a", [x], BOOL))
    before = draw_state(random.Random(1), {A: 3, B: 1})
    before["some_a"] = dict.fromkeys(before["some_a"], False)
    for p, q in product(range(3), repeat=2):
        names, sizes = {"p": p, "q": q}, {A: 3, B: 1}
        after = apply(built, built.actions["both"], names, before, sizes)
        action = built.actions["both"]
        assert check_rules(counted, action, built.fields, before, after, sizes, names)


def _at(body: Term, bound: Term, x: Term) -> Term:
    from spec.terms import substitute

    return substitute(body, {bound: x})


def _numbers(sort: Sort, x: Term) -> Term:
    if sort == A:
        return read("number", [x], FIELDS["number"][1])
    return read("number", [read("of_b", [x], Option(A))], FIELDS["number"][1])


def _has_sum(body: Term) -> bool:
    return body.op == "sum" or any(_has_sum(a) for a in body.args if isinstance(a, Term))


# --- columns --------------------------------------------------------------------------------

COLUMN_PARAMETERS = {n: PARAMETERS[n] for n in ("a", "b", "yes", "mask")}


@settings(max_examples=25, deadline=None)
@given(st.data(), scopes(most=2))
def test_columns_on_integers_and_on_arrays(data: st.DataObject, sizes: Any) -> None:
    raws = [data.draw(trees(depth=3, parameters=SIMPLE)) for _ in range(2)]
    formulas = [forall(A, B, partial(_closed, raw)) for raw in raws]
    program = data.draw(programs(parameters=COLUMN_PARAMETERS))
    built = model(program, COLUMN_PARAMETERS, formulas)
    states = [draw_state(data.draw, sizes) for _ in range(3)]
    for state in states:
        state["rigid_b"] = states[0]["rigid_b"]
    scope = Scope({s.name: n for s, n in sizes.items()}, {"rigid_b": states[0]["rigid_b"]})
    columns = compile_columns(built, scope)
    rows = np.stack([columns.row(state) for state in states])
    held = [np.broadcast_to(h, len(states)) for h in columns.held(columns.unpack(rows))]
    pairs = [{"a": a, "b": b} for a in range(sizes[A]) for b in range(sizes[B])]
    for k, state in enumerate(states):
        expected = [all(value(raw, state, sizes, p) for p in pairs) for raw in raws]
        assert [bool(h[k]) for h in held] == expected
        assert columns.violated(state) == tuple(
            f"R{n}" for n, holds in enumerate(expected) if not holds
        )
        assert columns.state(rows[k]) == state
    _compare_steps(columns, program, states, rows, sizes)


def _closed(raw: Any, a: Term, b: Term) -> Term:
    from spec.terms import substitute

    return substitute(term(raw), {variable("a", A): a, variable("b", B): b})


def _compare_steps(columns: Columns, program: Any, states: Any, rows: Any, sizes: Any) -> None:
    places = columns.unpack(rows)
    guards = {k: np.broadcast_to(g, len(states)) for k, g in columns.guards(places)}
    numbers = {i.params: k for k, i in enumerate(columns.instances) if i.operation == "happen"}
    masks = product([False, True], repeat=sizes[A])
    for a, b, yes, mask in product(range(sizes[A]), range(sizes[B]), [False, True], masks):
        number = numbers.get((("a", a), ("b", b), ("yes", yes), ("mask", mask)))
        names = {"a": a, "b": b, "yes": yes, "mask": dict(enumerate(mask))}
        for k, state in enumerate(states):
            expected = run(program, state, sizes, names)
            assert (number is not None and bool(guards[number][k])) == (expected is not None)
            if expected is not None and number is not None:
                out = rows[k : k + 1].copy()
                columns.step(number, places, np.array([k]), out)
                assert columns.state(out[0]) == expected


# --- the vector layer -----------------------------------------------------------------------


def walk(built: Model, scope: Scope, steps: int, seed: int) -> set[str]:
    """A random walk in columns, each step and each invariant compared with the plain reading, and
    each sum's rules tried on it. Answers the operations that happened."""
    columns, rng = compile_columns(built, scope), random.Random(seed)
    sizes = {sort: scope.size(sort.name) for sort in built.sorts}
    row = columns.initial().reshape(1, -1)
    happened: set[str] = set()
    for _ in range(steps):
        places = columns.unpack(row)
        enabled = [k for k, g in columns.guards(places) if np.broadcast_to(g, 1)[0]]
        names = sorted({columns.instances[k].operation for k in enabled})
        rare = [n for n in names if n not in happened] or names
        name = rng.choice(rare)
        chosen = rng.choice([k for k in enabled if columns.instances[k].operation == name])
        happened.add(name)
        operation = built.operations[name]
        state = _with_ghosts(built, columns.state(row[0]), scope)
        arguments: dict[str, Any] = {
            n: dict(enumerate(v)) if isinstance(v, tuple) else v
            for n, v in columns.instances[chosen].params
        }
        after: Any = apply(built, operation, arguments, state, sizes)
        out = row.copy()
        columns.step(chosen, places, np.array([0]), out)
        assert columns.state(out[0]) == {n: after[n] for n in columns.state(out[0])}
        for invariant in built.invariants:
            if not invariant.ghost:
                assert evaluate(invariant.formula, after, sizes), (invariant.id, name)
        assert columns.violated(columns.state(out[0])) == ()
        row = out
    return happened


def _with_ghosts(built: Model, state: Any, scope: Scope) -> Any:
    for name, field in built.fields.items():
        if field.ghost:
            places = indices(field.args, {s: scope.size(s.name) for s in field.args})
            state[name] = dict.fromkeys(places, None if isinstance(field.type, Option) else 0)
    return state


@pytest.mark.parametrize("seed", range(3))
def test_walks_over_the_operations_of_the_vector_layer(seed: int) -> None:
    scope = Scope.of(2, 3, 2, allocatable=frozenset({1, 2}), isa_irq={0: 1, 1: 0})
    assert len(walk(vectors.build(), scope, 120, seed)) > 15
