# SPDX-License-Identifier: GPL-2.0-only
"""Counterexamples on the specification's states: how every search writes down what it found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from proofs.counterexample import Counterexample, Step
from spec import evaluate
from spec.mathematics import plain, type_name
from spec.records import Action, Invariant, Model
from spec.terms import Sort, Term, conjuncts


def describe(
    model: Model,
    sizes: Mapping[Sort, int],
    invariant: Invariant,
    initial: Any,
    steps: tuple[Step, ...],
    *,
    source: str,
    machine: str,
    shortest: bool,
    note: str = "",
) -> Counterexample:
    """The record of a run at whose end the invariant is false, by the plain reading.

    Raises AssertionError if the plain reading finds the invariant true there: then two readings
    of the specification differ."""
    last: Any = steps[-1].state if steps else initial
    if evaluate.evaluate(invariant.formula, last, sizes):
        raise AssertionError(f"two readings differ on {invariant.id}")
    return Counterexample(
        source=source,
        machine=machine,
        switches=tuple(sorted(model.switches)),
        initial=initial,
        steps=steps,
        violated=invariant.id,
        sentence=invariant.sentence,
        formula=plain(invariant.formula),
        false_parts=false_parts(invariant.formula, last, sizes),
        shortest=shortest,
        note=note,
        sorts=sorts(model, {**model.actions, **model.operations}.values()),
    )


def sorts(model: Model, actions: Iterable[Action]) -> dict[str, tuple[str, ...]]:
    """The names of the sorts of every field's arguments and value, and of every parameter."""
    table = {f.name: (*(s.name for s in f.args), type_name(f.type)) for f in model.fields.values()}
    for action in actions:
        for name, type in action.params.items():
            table[f"{action.name}.{name}"] = (type_name(type),)
    return table


def flat(argument: Any) -> Any:
    """An argument as a record keeps it: a function as the tuple of its values."""
    return tuple(argument.values()) if isinstance(argument, dict) else argument


def false_parts(formula: Term, state: Any, sizes: Mapping[Sort, int]) -> tuple[str, ...]:
    """The conjuncts of a formula that are false on a state, with elements that show it."""
    return tuple(
        _witnessed(part, state, sizes)
        for part in conjuncts(formula)
        if not evaluate.evaluate(part, state, sizes)
    )


def _witnessed(part: Term, state: Any, sizes: Mapping[Sort, int]) -> str:
    if part.op != "forall":
        return plain(part)
    bound, body = part.args[:-1], part.args[-1]
    for choice in product(*(range(sizes[v.type]) for v in bound)):
        names = {v.args[0]: k for v, k in zip(bound, choice, strict=True)}
        if not evaluate.evaluate(body, state, sizes, names):
            at = ", ".join(f"{v.args[0]} = {v.type.name.lower()}{names[v.args[0]]}" for v in bound)
            return f"{plain(body)}, at {at}"
    return plain(part)
