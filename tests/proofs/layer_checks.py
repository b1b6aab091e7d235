# SPDX-License-Identifier: GPL-2.0-only
"""What is asked of every layer: all is proved, something is claimed, and mistakes are found."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from proofs import cti
from proofs.explorer import explore
from proofs.induction import Context, discharge, names, obligations
from proofs.verdict import Verdict
from spec.evaluate import evaluate
from spec.records import Action, Model, Parameter
from spec.scope import Scope
from spec.stack import MODELS
from spec.terms import Term, free_variables

Claims = dict[str, tuple[Term, Mapping[str, Parameter]]]


@functools.cache
def model_of(layer: str, *switches: str) -> Model:
    return MODELS[layer].build(frozenset(switches))


def not_proved(
    model: Model, about: Mapping[str, frozenset[str] | None] | None = None
) -> set[tuple[str, str, Verdict]]:
    """The last word of the check, and the invariant, of every obligation that is not proved: of
    all, or of some actions and, where it says so, of some invariants."""
    context = Context.of(model)
    asked = about if about is not None else dict.fromkeys(names(model))
    results = [
        discharge(o) for name, only in asked.items() for o in obligations(context, name, only)
    ]
    return {
        (r.check.split()[-1], r.subject, r.verdict)
        for r in results
        if r.verdict is not Verdict.PROVED
    }


def claims_of(model: Model) -> Claims:
    """When each action may happen, and what each of the model's own theorems is about."""
    claims: Claims = {a.name: (a.enabled, a.params) for a in model.actions.values()}
    for theorem in model.own_theorems:
        params = {v.args[0]: v.type for v in free_variables(theorem.guard)}
        claims[f"theorem {theorem.name}"] = theorem.guard, params
    assert len(claims) == len(model.actions) + len(model.own_theorems)
    return claims


def assert_all_happens(model: Model, scopes: Iterable[Scope]) -> None:
    """Every state of every scope obeys the invariants, and every operation fires in some scope."""
    fired: Counter[str] = Counter()
    for scope in scopes:
        found = explore(model, scope)
        assert (found.verdict, found.exhausted) == (Verdict.HELD, True)
        fired.update(found.fired)
    assert set(fired) == set(model.operations)
    assert all(fired.values())


def mistake_found(
    model: Model,
    mutants: Iterable[Action],
    id: str,
    sizes: Mapping[str, int],
    budget: int = 4_000_000,
) -> bool:
    """Whether one of these mistakes breaks the invariant; then the plain evaluator agrees."""
    invariant = model.invariant(id)
    searched = (cti.find(model, mutant, invariant, None, sizes, budget) for mutant in mutants)
    broken = next((found for found in searched if found is not None), None)
    if broken is None:
        return False
    scope = {sort: sizes[sort.name] for sort in model.sorts}
    before: Any = broken.initial
    after: Any = broken.steps[-1].state
    assert all(evaluate(i.formula, before, scope) for i in model.invariants)
    assert not evaluate(invariant.formula, after, scope)
    return True
