# SPDX-License-Identifier: GPL-2.0-only
"""Layers side by side: what each has proved holds of all of them together.

Layers that share fields and actions by name are joined into one. An action that several of them
have happens in all at the same time: what one requires the other does too, and a field that two of
them write gets the same value from both. A field or an action that only one has is as it was.

What a layer has proved by itself need not be proved again, provided that nothing happens to its
fields but what its own actions do. That is checked, action by action, on the traced record: seen
from the layer's fields, an action of the whole is the layer's own action of that name, in a state
where its guard holds, or it is nothing. A composition in which that is not so cannot be built.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from spec.language import Body, Layer
from spec.records import Action, Field, Invariant, Model, Parameter, index_variables, value_after
from spec.state import State
from spec.terms import Term, and_

__all__ = ["Composition", "foreign", "join"]

_Stated = tuple[Invariant, Callable[[State], Term]]
_Declared = tuple[Body, dict[str, Parameter], str | None]
"""An action as a layer keeps it: its body, its parameters, and the switch that it needs, if any."""


@dataclass
class Composition(Layer):
    """Several layers as one, and what is stated of them together."""

    parts: tuple[Layer, ...] = field(default=())

    def act(self, name: str) -> Body:
        """The action of all layers that have it, to be done to a state; KeyError if none has."""
        return self._actions[name][0]

    def also(self, **params: Parameter) -> Callable[[Body], Body]:
        """What the layers know of each other: a further condition on the action of this name."""

        def declare(body: Body) -> Body:
            name = body.__name__
            self._actions[name] = _together(name, (self._actions[name], (body, params, None)))
            return body

        return declare

    def build(self, switches: frozenset[str] = frozenset()) -> Model:
        """Trace everything under these switches. Raises ValueError if an action does to the fields
        of a part what the part's own actions do not."""
        model = super().build(switches)
        parts = tuple(part.build(switches) for part in self.parts)
        for part in parts:
            for action in model.actions.values():
                complaint = foreign(part, action)
                if complaint:
                    raise ValueError(f"{self.name}: {action.name} in {part.name}: {complaint}")
        return replace(model, parts=parts)


def join(name: str, *layers: Layer) -> Composition:
    """The composition of some layers, without operations.

    Raises ValueError if a field or a parameter is declared in two ways."""
    actions: dict[str, list[_Declared]] = {}
    for layer in layers:
        for action, declared in layer._actions.items():
            actions.setdefault(action, []).append(declared)
    joined = Composition(
        name,
        tuple(dict.fromkeys(sort for layer in layers for sort in layer.sorts)),
        _fields(layers),
        {action: _together(action, declared) for action, declared in actions.items()},
        parts=layers,
    )
    joined._invariants = list(_invariants(layers))
    joined._axioms = [axiom for layer in layers for axiom in layer._axioms]
    joined._theorems = [theorem for layer in layers for theorem in layer._theorems]
    return joined


def foreign(part: Model, action: Action) -> str:
    """What an action of a composition does to a part that the part's own action of that name, in a
    state where it may happen, does not; "" if there is nothing."""
    own = part.actions.get(action.name)
    for name, f in part.fields.items():
        ours = action.writes.get(name, ())
        theirs = own.writes.get(name, ()) if own is not None else ()
        at = index_variables(f)
        after, expected = (value_after(f, at, w, frozenset()) for w in (ours, theirs))
        if after is not expected:
            return f"{name} becomes {after!r}, and should become {expected!r}"
    if own is None:
        return ""
    if any(action.params.get(name) != type for name, type in own.params.items()):
        return "its parameters are others"
    if and_(action.enabled, own.enabled) is not action.enabled:
        return f"it may happen where {own.enabled!r} is false"
    return ""


def _fields(layers: Iterable[Layer]) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for layer in layers:
        for name, f in layer.fields.items():
            known = fields.setdefault(name, f)
            if repr(replace(known, doc="")) != repr(replace(f, doc="")):
                raise ValueError(f"{layer.name} declares {name} as {f}, another layer as {known}")
    return fields


def _invariants(layers: Iterable[Layer]) -> Iterator[_Stated]:
    """Every invariant; where several layers state parts of one, all of them are in one."""
    groups: dict[str, list[_Stated]] = {}
    for layer in layers:
        for head, body in layer._invariants:
            groups.setdefault(head.id, []).append((head, body))
    for stated in groups.values():
        heads, bodies = zip(*stated, strict=True)
        yield (heads[0] if len(heads) == 1 else _united(heads)), functools.partial(_all, bodies)


def _united(heads: tuple[Invariant, ...]) -> Invariant:
    return replace(
        heads[0],
        sentence=" ".join(dict.fromkeys(head.sentence for head in heads)),
        boundary=any(head.boundary for head in heads),
        unless=tuple(dict.fromkeys(switch for head in heads for switch in head.unless)),
        ghost=all(head.ghost for head in heads),
        follows=all(head.follows for head in heads),
    )


def _all(bodies: tuple[Callable[[State], Term], ...], state: State) -> Term:
    return and_(*(body(state) for body in bodies))


def _together(name: str, declared: Iterable[_Declared]) -> _Declared:
    """An action that is several at the same time; their parameters are united by name."""
    bodies = tuple(declared)
    if len(bodies) == 1:
        return bodies[0]
    params: dict[str, Parameter] = {}
    for _, own, _ in bodies:
        for parameter, type in own.items():
            if params.setdefault(parameter, type) != type:
                raise ValueError(f"{name}: {parameter} has two types")

    def called(state: State, *arguments: Any) -> None:
        given = dict(zip(params, arguments, strict=True))
        steps = (
            functools.partial(_one, body, tuple(given[p] for p in own))
            for body, own, only_with in bodies
            if only_with is None or state.on(only_with)
        )
        state.together(*steps)

    called.__name__ = name
    called.__doc__ = "\n".join(filter(None, (inspect.getdoc(body) for body, _, _ in bodies)))
    switches = {only_with for _, _, only_with in bodies}
    return called, params, switches.pop() if len(switches) == 1 else None


def _one(body: Body, arguments: tuple[Any, ...], state: State) -> None:
    body(state, *arguments)
