# SPDX-License-Identifier: GPL-2.0-only
"""Counterexamples to induction, found in a scope and replayed before they are believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import z3

from proofs.counterexample import Counterexample, Step
from proofs.describe import describe, flat
from proofs.smt import Reading
from spec import evaluate
from spec.records import Action, Field, FunctionOf, Invariant, Model, Parameter
from spec.terms import Bool, Enum, Int, Option, Sort, Term, Type, conjuncts

Cell = bool | int | str | None


def find(
    model: Model,
    action: Action,
    invariant: Invariant,
    part: int | None,
    sizes: Mapping[str, int],
    budget: int = 4_000_000,
) -> Counterexample | None:
    """A state of the scope that obeys every invariant, from which the action breaks this one (or
    one conjunct of it); None if there is none or the solver's budget of work is spent."""
    reading = Reading(sizes)
    for sort in model.sorts:
        reading.elements(sort)
    solver = z3.Solver()
    solver.set(rlimit=budget)
    formulas = [*model.axioms, *(i.formula for i in model.invariants if i is not invariant)]
    solver.add(*reading.distinctness(), *_membership(reading, model, action.params))
    solver.add(*(reading.of(f, {}) for f in (*formulas, invariant.formula, action.enabled)))
    after = action.after(model.fields, invariant.formula)
    goals = conjuncts(after)
    goal = after if part is None or part >= len(goals) else goals[part]
    solver.add(z3.Not(reading.of(goal, {})))
    if solver.check() != z3.sat:
        return None
    return _record(model, action, invariant, sizes, Values(reading, solver.model(), sizes))


def impossible(
    model: Model,
    claims: Mapping[str, tuple[Term, Mapping[str, Parameter]]],
    sizes: Mapping[str, int],
) -> tuple[str, ...]:
    """The names of the formulas, each over some parameters, that hold in no state of the scope that
    obeys every invariant: an action or a theorem about states that do not exist says nothing."""
    reading = Reading(sizes)
    for sort in model.sorts:
        reading.elements(sort)
    solver = z3.Solver()
    solver.add(*reading.distinctness(), *_membership(reading, model, {}))
    solver.add(
        *(reading.of(f, {}) for f in (*model.axioms, *(i.formula for i in model.invariants)))
    )
    never = []
    for name, (formula, params) in claims.items():
        solver.push()
        solver.add(*_membership(reading, model, params), reading.of(formula, {}))
        if solver.check() != z3.sat:
            never.append(name)
        solver.pop()
    return tuple(never)


def _membership(reading: Reading, model: Model, params: Mapping[str, Parameter]) -> Iterator[Any]:
    for field in model.fields.values():
        for _, cell in cells(reading, field):
            yield reading.membership(field.type, cell)
    for name, type in params.items():
        for _, cell in parameter_cells(reading, name, type):
            yield reading.membership(type.type if isinstance(type, FunctionOf) else type, cell)


def cells(reading: Reading, field: Field) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Each place of a field with its Z3 value, in a scope."""
    elements = [reading.elements(sort) for sort in field.args]
    for index in product(*(range(len(e)) for e in elements)):
        at = [e[k] for e, k in zip(elements, index, strict=True)]
        yield index, reading.symbol(reading.field_name(field.name), at, field.args, field.type)


def parameter_cells(
    reading: Reading, name: str, type: Parameter
) -> Iterator[tuple[tuple[int, ...], Any]]:
    if not isinstance(type, FunctionOf):
        yield (), reading.symbol(reading.variable_name(name), (), (), type)
        return
    elements = [reading.elements(sort) for sort in type.args]
    for index in product(*(range(len(e)) for e in elements)):
        at = [e[k] for e, k in zip(elements, index, strict=True)]
        yield index, reading.symbol(f"{name}(){reading.choice}", at, type.args, type.type)


class Values:
    """Z3's model, read back as plain values."""

    def __init__(self, reading: Reading, model: z3.ModelRef, sizes: Mapping[str, int]) -> None:
        self.reading, self.model = reading, model
        self.number = {
            str(model.eval(e, model_completion=True)): k
            for name in sizes
            for k, e in enumerate(reading.elements(Sort(name)))
        }

    def of(self, type: Type, expression: Any) -> Cell:
        if isinstance(type, Option):
            there = z3.is_true(self.model.eval(expression.there, model_completion=True))
            return self.of(type.of, expression.value) if there else None
        value = self.model.eval(expression, model_completion=True)
        match type:
            case Bool():
                return bool(z3.is_true(value))
            case Int():
                return int(value.as_long())
            case Enum():
                number = value.as_long()
                return type.members[number] if 0 <= number < len(type.members) else f"?{number}"
        return self.number[str(value)]


def _record(
    model: Model, action: Action, invariant: Invariant, sizes: Mapping[str, int], values: Values
) -> Counterexample:
    state = {
        f.name: {index: values.of(f.type, cell) for index, cell in cells(values.reading, f)}
        for f in model.fields.values()
    }
    arguments: dict[str, Any] = {}
    for name, type in action.params.items():
        table = {
            index: values.of(type.type if isinstance(type, FunctionOf) else type, cell)
            for index, cell in parameter_cells(values.reading, name, type)
        }
        arguments[name] = (
            {k if len(k) > 1 else k[0]: v for k, v in table.items()}
            if isinstance(type, FunctionOf)
            else table[()]
        )
    scope = {sort: sizes[sort.name] for sort in model.sorts}
    after = evaluate.apply(model, action, arguments, state, scope)
    if isinstance(after, evaluate.Refusal):
        raise AssertionError(f"Z3 and the plain reading differ: {after}")
    params = tuple((n, flat(v)) for n, v in arguments.items())
    return describe(
        model,
        scope,
        invariant,
        state,
        (Step(action.name, params, after),),
        source="induction step",
        machine=" x ".join(f"{n} {s}" for s, n in sizes.items()),
        shortest=False,
        note="the first state obeys every invariant but need not be reachable",
    )
