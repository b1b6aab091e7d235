# SPDX-License-Identifier: GPL-2.0-only
"""Every invariant on one state, at once: the words of `spec.words` on plain integers.

The plain reading takes milliseconds for a state; this takes a fraction of one, so that a run can
afford to be judged after each of its operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spec.evaluate import evaluate
from spec.layout import Layout, Place
from spec.partial import ANY, Store
from spec.records import Field, Invariant, Model
from spec.scope import Scope
from spec.source import Statement, lines
from spec.terms import Bool, Enum, Int, value_of
from spec.words import Words
from spec.wordwise import Translator

__all__ = ["Judge", "friendly"]

_ONE: Mapping[str, Callable[..., int]] = {
    "count": int.bit_count,
    "spread": lambda bit, full: full if bit else 0,
    "number": int,
}


class Judge:
    """The invariants of a model in a scope that are not ghosts, on states at rest."""

    def __init__(self, model: Model, scope: Scope) -> None:
        words = Words()
        self.model, self.scope = model, scope
        self.invariants = tuple(i for i in model.invariants if not i.ghost)
        written = {name for action in model.actions.values() for name in action.writes}
        stored = frozenset(n for n in written if not model.fields[n].transient)
        self._layout = Layout(model, scope, words, stored)
        translator = Translator(scope, self._layout.fields, words, self._layout.store)
        nodes = tuple(translator.bit(i.formula, {}) for i in self.invariants)
        everything = Statement(nodes, lambda names: [f"return ({', '.join(names)},)"])
        body = lines([everything], "p[{}]".format)
        space: dict[str, Any] = dict(_ONE)
        exec("\n".join(("def held(p):", *(f" {line}" for line in body))), space)
        self._held: Callable[[Sequence[int]], tuple[bool, ...]] = space["held"]
        self._encoders = [
            (place, _encoder(self._layout.fields[place.field], place))
            for place in self._layout.places
        ]

    def violated(self, stores: Mapping[str, Store]) -> tuple[str, ...]:
        """The ids of the invariants that are false on a state all of whose cells are known."""
        words = [encode(stores[place.field]) for place, encode in self._encoders]
        for word, place in zip(words, self._layout.places, strict=True):
            if place.kind == "number" and not place.low <= word <= place.high:
                return self._slowly(stores)
        held = self._held(words)
        return tuple(i.id for i, holds in zip(self.invariants, held, strict=True) if not holds)

    def _slowly(self, stores: Mapping[str, Store]) -> tuple[str, ...]:
        """A number has left the bounds that the words were made for: the plain reading."""
        sizes = {sort: self.scope.size(sort.name) for sort in self.model.sorts}
        state: Any = friendly(self.model, self.scope, stores)
        return tuple(i.id for i in self.invariants if not evaluate(i.formula, state, sizes))

    def invariant(self, id: str) -> Invariant:
        """The invariant with this id; KeyError if there is none."""
        return self.model.invariant(id)


def friendly(
    model: Model, scope: Scope, stores: Mapping[str, Store]
) -> dict[str, dict[tuple[int, ...], Any]]:
    """A state as people and the plain reading take it: every place of every field that is not a
    ghost; a field without a store is at its initial value, a rigid one at the scope's."""
    state = {}
    for name, f in model.fields.items():
        if f.ghost:
            continue
        rigid = scope.rigid.get(name, {})
        default = value_of(f.initial)
        places = scope.places(tuple(sort.name for sort in f.args))
        if f.rigid or name not in stores:
            state[name] = {at: rigid.get(at, default) for at in places}
        else:
            state[name] = {at: _cell(stores[name], at) for at in places}
    return state


def _cell(store: Store, index: tuple[int, ...]) -> Any:
    value: Any = store
    keys = index if len(index) < 3 else (index[0], index[1:])
    for at in keys or (ANY,):
        value = value.get(at, value[ANY])
    return value


def _encoder(f: Field, place: Place) -> Callable[[Store], int]:
    """How the word of a place is read from the field's store."""
    key = place.index[0] if place.index else ANY
    if place.kind == "mask":
        if not f.args:
            return lambda store: int(store[ANY])
        part = True if isinstance(f.type, Bool) else place.part
        if len(place.index) > 1:
            return lambda store: _second(_at(store, key), place.index[1], part)
        if place.index:
            return lambda store: _members(_at(store, key), part)
        return lambda store: _members(store, part)
    if isinstance(f.type, Int):
        return lambda store: int(_at(store, key))
    if isinstance(f.type, Enum):
        members = {member: number for number, member in enumerate(f.type.members)}
        return lambda store: members[_at(store, key)]
    return lambda store: _one_hot(_at(store, key))


def _at(store: Store, key: Any) -> Any:
    return store.get(key, store[ANY])


def _members(row: Mapping[Any, Any], value: object) -> int:
    """The elements with an entry of this value; the rest of a row that is at rest has another."""
    return sum(1 << k for k, v in row.items() if k is not ANY and v == value)


def _second(row: Mapping[Any, Any], first: int, value: object) -> int:
    """Of a row whose keys are pairs: the second elements beside this first one with the value."""
    return sum(1 << k[1] for k, v in row.items() if k is not ANY and k[0] == first and v == value)


def _one_hot(value: int | None) -> int:
    return 0 if value is None else 1 << value
