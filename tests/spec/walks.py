# SPDX-License-Identifier: GPL-2.0-only
"""A walk through a specification, one action or operation after the other, by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spec import evaluate
from spec.records import Action, Model
from spec.scope import Scope
from spec.terms import Term, value_of


class Walk:
    """The state of a model in a scope, which steps change."""

    def __init__(self, model: Model, scope: Scope) -> None:
        self.model = model
        self.sizes = {sort: scope.size(sort.name) for sort in model.sorts}

        def rigid(name: str, index: tuple[int, ...]) -> Any:
            start = value_of(model.fields[name].initial)
            return scope.rigid.get(name, {}).get(index, start)

        self.state: Mapping[str, Mapping[tuple[int, ...], Any]] = evaluate.initial_state(
            model, self.sizes, rigid
        )

    def do(self, name: str, **arguments: Any) -> None:
        """Take a step, which must be possible and must break nothing."""
        self.step(name, **arguments)
        assert self.violated() == ()

    def step(self, name: str, **arguments: Any) -> None:
        """Take a step, which must be possible."""
        action = self._named(name)
        after = evaluate.apply(self.model, action, arguments, self.state, self.sizes)
        assert not isinstance(after, evaluate.Refusal), str(after)
        self.state = after

    def violated(self) -> tuple[str, ...]:
        """The ids of the invariants that do not hold now."""
        return evaluate.violated(self.model, self.state, self.sizes)

    def can(self, name: str, **arguments: Any) -> bool:
        """Whether a step is possible."""
        return evaluate.refusal(self._named(name), arguments, self.state, self.sizes) is None

    def get(self, name: str, *index: int) -> Any:
        """The value of a field."""
        return self.state[name][index]

    def value(self, term: Term, **arguments: Any) -> Any:
        """The value of a formula."""
        return evaluate.evaluate(term, self.state, self.sizes, arguments)

    def _named(self, name: str) -> Action:
        """An operation goes before an action of its name."""
        return self.model.operations.get(name) or self.model.actions[name]
