# SPDX-License-Identifier: GPL-2.0-only
"""The plain reading: formulas, actions and invariants on a concrete state, in Python.

It is complete and slow, and so simple that it can be believed: every quantifier is a loop over the
scope. The other readings are tested against it. States that are known only in part are the matter
of `spec.partial`.

A state maps each field to its cells, and a cell's index to its value: an element is a number from
zero, none is None, a member of an enumeration is its name. A parameter that is a function is a
mapping or a callable.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spec.mathematics import plain
from spec.records import Action, Field, Model, Write
from spec.terms import Sort, Term, conjuncts, default, value_of

Value = bool | int | str | None
Index = tuple[int, ...]
State = Mapping[str, Mapping[Index, Value]]
Scope = Mapping[Sort, int]
"""How many elements each sort has."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An action cannot happen: this conjunct of its guard is false here."""

    action: str
    conjunct: Term

    def __str__(self) -> str:
        return f"{self.action}: {plain(self.conjunct)} is false"


def evaluate(
    term: Term, state: State, scope: Scope, environment: Mapping[str, Any] | None = None
) -> Value:
    """The value of `term` on `state`, with its free variables and functions by name.

    Raises KeyError for a cell or a variable that has no value."""
    value: Value = _value(term, state, scope, dict(environment or {}))
    return value


def _value(term: Term, state: State, scope: Scope, names: Mapping[str, Any]) -> Any:
    def at(part: Term) -> Any:
        return _value(part, state, scope, names)

    args = term.args
    match term.op:
        case "const":
            return value_of(term)
        case "var":
            return names[args[0]]
        case "read":
            index = tuple(map(at, args[1:]))
            return value_of(default(term.type)) if None in index else state[args[0]][index]
        case "apply":
            index = tuple(map(at, args[1:]))
            return value_of(default(term.type)) if None in index else call(names[args[0]], index)
        case "some":
            return at(args[0])
        case "not":
            return not at(args[0])
        case "and":
            return all(map(at, args))
        case "or":
            return any(map(at, args))
        case "implies":
            return not at(args[0]) or at(args[1])
        case "eq":
            return at(args[0]) == at(args[1])
        case "le":
            return at(args[0]) <= at(args[1])
        case "lt":
            return at(args[0]) < at(args[1])
        case "ite":
            return at(args[1]) if at(args[0]) else at(args[2])
        case "add":
            return sum(map(at, args))
        case "neg":
            return -at(args[0])
    values = (
        _value(args[-1], state, scope, {**names, **inner}) for inner in _bindings(args, scope)
    )
    if term.op == "sum":
        return sum(values)
    return all(values) if term.op == "forall" else any(values)


def _bindings(args: tuple[Any, ...], scope: Scope) -> Iterator[dict[str, int]]:
    bound = args[:-1]
    for elements in itertools.product(*(range(scope[v.type]) for v in bound)):
        yield dict(zip((v.args[0] for v in bound), elements, strict=True))


def call(function: Any, index: Index) -> Any:
    """A function parameter at an index: a callable, or a mapping keyed by element or by index."""
    if isinstance(function, Mapping):
        return function[index[0] if len(index) == 1 else index]
    return function(*index)


def places(field: Field, scope: Scope) -> Iterator[Index]:
    """The indices of a field's cells."""
    return itertools.product(*(range(scope[sort]) for sort in field.args))


def initial_state(
    model: Model, scope: Scope, rigid: Callable[[str, Index], Value] | None = None
) -> dict[str, dict[Index, Value]]:
    """The initial state; `rigid(field, index)` chooses the machine's constants."""
    return {
        name: {
            index: rigid(name, index) if field.rigid and rigid else value_of(field.initial)
            for index in places(field, scope)
        }
        for name, field in model.fields.items()
    }


def refusal(
    action: Action, arguments: Mapping[str, Any], state: State, scope: Scope
) -> Refusal | None:
    """Why the action cannot happen here, or None if it can; assumptions count as guards."""
    for conjunct in conjuncts(action.enabled):
        if not evaluate(conjunct, state, scope, arguments):
            return Refusal(action.name, conjunct)
    return None


def apply(
    model: Model, action: Action, arguments: Mapping[str, Any], state: State, scope: Scope
) -> dict[str, Mapping[Index, Value]] | Refusal:
    """The state after the action, sharing what it does not touch, or why it cannot happen."""
    refused = refusal(action, arguments, state, scope)
    if refused is not None:
        return refused
    after: dict[str, Mapping[Index, Value]] = dict(state)
    for name, writes in action.writes.items():
        cells = dict(state[name])
        for index in cells:
            for write in writes:
                here = dict(arguments) | _place(write, index)
                if evaluate(write.condition, state, scope, here):
                    cells[index] = evaluate(write.value, state, scope, here)
        after[name] = cells
    return after


def _place(write: Write, index: Index) -> dict[str, int]:
    return dict(zip((v.args[0] for v in write.vars), index, strict=True))


def violated(model: Model, state: State, scope: Scope, boundary: bool = True) -> tuple[str, ...]:
    """The ids of the invariants that are false on `state`; without `boundary`, only of those that
    hold in the middle of an operation, too."""
    return tuple(
        invariant.id
        for invariant in model.invariants
        if (boundary or not invariant.boundary) and not evaluate(invariant.formula, state, scope)
    )
