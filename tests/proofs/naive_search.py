# SPDX-License-Identifier: GPL-2.0-only
"""A breadth-first search on states as people read them, by the plain reading: slow and obvious."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from spec.evaluate import State, apply, evaluate, initial_state
from spec.instances import domain
from spec.records import Action, FunctionOf, Model
from spec.scope import Scope
from spec.terms import Sort

Frozen = tuple[tuple[str, tuple[Any, ...]], ...]


@dataclass
class Naive:
    """What the search found; `states` in the order of their discovery."""

    states: list[State] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    transitions: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    violations: dict[str, int] = field(default_factory=dict)
    """Invariant -> the depth at which it is first false."""


def sizes(model: Model, scope: Scope) -> dict[Sort, int]:
    return {sort: scope.size(sort.name) for sort in model.sorts}


def search(model: Model, scope: Scope) -> Naive:
    """Everything reachable. No violation stops it."""
    number, result = sizes(model, scope), Naive()
    ghosts = {n for n, f in model.fields.items() if f.ghost}
    start = initial_state(model, number, lambda n, i: _rigid(model, scope, n, i))
    frontier = [_without(start, ghosts)]
    known = {freeze(frontier[0])}
    moves = {name: list(_arguments(op, scope)) for name, op in model.operations.items()}
    while frontier:
        result.levels.append(len(frontier))
        result.states += frontier
        following = []
        for state in frontier:
            _check(model, state, number, result)
            for name, operation in model.operations.items():
                for arguments in moves[name]:
                    if not evaluate(operation.enabled, state, number, arguments):
                        continue
                    after = step(model, operation, arguments, state, number)
                    result.transitions += 1
                    result.fired[name] += 1
                    if freeze(after) not in known:
                        known.add(freeze(after))
                        following.append(after)
        frontier = following
    return result


def step(
    model: Model, operation: Action, arguments: Mapping[str, Any], state: State, number: Any
) -> State:
    """The state after an operation that is enabled; ghosts are left out."""
    seen = {n: w for n, w in operation.writes.items() if not model.fields[n].ghost}
    after = apply(model, replace(operation, writes=seen), arguments, state, number)
    assert isinstance(after, dict), after
    return after


def _rigid(model: Model, scope: Scope, name: str, index: tuple[int, ...]) -> Any:
    return scope.rigid.get(name, {}).get(index, model.fields[name].initial.args[0])


def _without(state: State, ghosts: set[str]) -> State:
    return {name: values for name, values in state.items() if name not in ghosts}


def freeze(state: Mapping[str, Mapping[tuple[int, ...], Any]]) -> Frozen:
    """A state as a key."""
    return tuple(
        (n, tuple(v for _, v in sorted(values.items()))) for n, values in sorted(state.items())
    )


def _check(model: Model, state: State, number: Any, result: Naive) -> None:
    for invariant in model.invariants:
        if not invariant.ghost and not evaluate(invariant.formula, state, number):
            result.violations.setdefault(invariant.id, len(result.levels) - 1)


def _arguments(operation: Action, scope: Scope) -> Iterator[dict[str, Any]]:
    domains = [domain(type, scope) for type in operation.params.values()]
    for values in product(*domains):
        yield {
            name: _function(type, value, scope) if isinstance(type, FunctionOf) else value
            for (name, type), value in zip(operation.params.items(), values, strict=True)
        }


def _function(type: FunctionOf, values: Any, scope: Scope) -> dict[Any, Any]:
    places = scope.places(tuple(sort.name for sort in type.args))
    keys = [place[0] if len(place) == 1 else place for place in places]
    return dict(zip(keys, values, strict=True))
