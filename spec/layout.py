# SPDX-License-Identifier: GPL-2.0-only
"""How a state is laid out in words: which place of which field is which bits of a row.

A *place* is one stored word: the mask of a Bool field over its last argument for one choice of the
other arguments; the single bit that an Option or Sort field with at most one argument has there; a
mask for each value where such a field has more arguments; a small number otherwise. Rigid,
transient and ghost fields, and fields that no operation changes, have no places.

A *row* is a state as bytes, padded to 64-bit words. No place crosses a lane of 8, 16, 32 or 64
bits, so that a column of states is unpacked with one shift and one mask of narrow words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from spec.records import Field, Model
from spec.scope import Index, Scope, State, Value
from spec.terms import Bool, Enum, Int, Option, Sort, Type, value_of
from spec.words import Node, Words

Store: TypeAlias = Mapping[str, Mapping[Index, tuple[Node, ...]]]
"""Field -> index (see `stored_index`) -> its words: one, or one for each value if it is wide."""


def is_wide(f: Field) -> bool:
    """The field is stored as one mask for each value, over its last argument."""
    return isinstance(f.type, Option | Sort) and len(f.args) > 1


def is_mask(f: Field) -> bool:
    """The field is stored as masks over its last argument."""
    return (isinstance(f.type, Bool) and bool(f.args)) or is_wide(f)


def stored_index(f: Field, scope: Scope) -> tuple[Index, ...]:
    """The indices under which a field is stored: without the last argument if that is the bits."""
    sorts = f.args[:-1] if is_mask(f) else f.args
    return scope.places(tuple(sort.name for sort in sorts))


def position(type: Type, value: Value) -> int:
    """A number for a value: members of enumerations count from 0."""
    if isinstance(type, Enum):
        return type.members.index(str(value))
    assert isinstance(value, int)
    return int(value)


@dataclass(frozen=True, slots=True)
class Place:
    """One stored word. A number is stored as its distance from `low`. `byte`, `lane` (its width in
    bits) and `shift` say where in a row it is, once that is settled."""

    field: str
    index: Index
    part: int
    kind: Literal["mask", "option", "number"]
    low: int
    high: int
    initial: int
    byte: int = -1
    lane: int = 8
    shift: int = 0

    @property
    def bits(self) -> int:
        """The width of the place."""
        return self.top.bit_length()

    @property
    def top(self) -> int:
        """The largest stored value."""
        return self.high - self.low if self.kind == "number" else self.high

    @property
    def biased(self) -> bool:
        """The stored value is not the value itself."""
        return self.kind == "number" and self.low != 0


def _element_sort(type: Type) -> Sort:
    sort = type.of if isinstance(type, Option) else type
    assert isinstance(sort, Sort)
    return sort


def _parts(f: Field, scope: Scope) -> int:
    return scope.size(_element_sort(f.type).name) if is_wide(f) else 1


def _bounds(f: Field, scope: Scope) -> tuple[int, int]:
    """The least value and the greatest, or the bits, of a word of a field."""
    if is_mask(f):
        return 0, (1 << scope.size(f.args[-1].name)) - 1
    match f.type:
        case Bool():
            return 0, 1
        case Enum():
            return 0, len(f.type.members) - 1
        case Int():
            most = f.type.most
            for sort in f.type.of:
                most *= scope.size(sort.name)
            return -(most + 1), most + 1
        case _:
            return 0, (1 << scope.size(_element_sort(f.type).name)) - 1


def _kind(f: Field) -> Literal["mask", "option", "number"]:
    if isinstance(f.type, Int | Enum):
        return "number"
    return "mask" if is_mask(f) or isinstance(f.type, Bool) else "option"


def encode(f: Field, index: Index, part: int, scope: Scope, values: Mapping[Index, Value]) -> int:
    """A word of a field from the values of the field; places that are missing are initial."""

    def value(at: Index) -> Value:
        return values.get(at, value_of(f.initial) if f.initial.op == "const" else None)

    if is_mask(f):
        word = 0
        for k in range(scope.size(f.args[-1].name)):
            here = value((*index, k))
            member = bool(here) if isinstance(f.type, Bool) else _same(here, part)
            word |= member << k
        return word
    here = value(index)
    match f.type:
        case Bool() | Enum() | Int():
            return position(f.type, here)
        case _:
            return 0 if here is None else 1 << position(f.type, here)


def _same(value: Value, element: int) -> bool:
    return value is not None and value == element


def decode(f: Field, words: Mapping[Index, tuple[int, ...]]) -> Iterator[tuple[Index, Value]]:
    """The values of a field from its words; only for fields that are not masks."""
    for index, (word, *_) in words.items():
        match f.type:
            case Bool():
                yield index, bool(word)
            case Enum():
                yield index, f.type.members[word]
            case Int():
                yield index, word
            case _:
                yield index, word.bit_length() - 1 if word else None


def decode_masks(
    f: Field, scope: Scope, words: Mapping[Index, tuple[int, ...]]
) -> Iterator[tuple[Index, Value]]:
    """The values of a field that is stored as masks."""
    for index, masks in words.items():
        for k in range(scope.size(f.args[-1].name)):
            members = [part for part, mask in enumerate(masks) if mask >> k & 1]
            if isinstance(f.type, Bool):
                yield (*index, k), bool(members)
            else:
                yield (*index, k), members[0] if members else None


class Layout:
    """The fields of a model in a scope: places for what operations write, else constants."""

    def __init__(self, model: Model, scope: Scope, words: Words, stored: frozenset[str]) -> None:
        self.scope = scope
        self.fields = {n: f for n, f in model.fields.items() if not f.ghost}
        self.places: list[Place] = []
        self.store: dict[str, dict[Index, tuple[Node, ...]]] = {}
        self._number: dict[tuple[str, Index, int], int] = {}
        for name, f in self.fields.items():
            rigid = scope.rigid.get(name, {}) if f.rigid else {}
            indices = stored_index(f, scope)
            parts = range(_parts(f, scope))
            make = self._place if name in stored else self._constant
            self.store[name] = {
                i: tuple(make(words, f, i, p, encode(f, i, p, scope, rigid)) for p in parts)
                for i in indices
            }

    def _constant(self, words: Words, f: Field, index: Index, part: int, value: int) -> Node:
        return words.number(value) if _kind(f) == "number" else words.mask(value)

    def _place(self, words: Words, f: Field, index: Index, part: int, value: int) -> Node:
        kind, (low, high) = _kind(f), _bounds(f, self.scope)
        number = len(self.places)
        self._number[f.name, index, part] = number
        self.places.append(Place(f.name, index, part, kind, low, high, value))
        if kind == "option":
            return words.one_of(number, high)
        return words.leaf(kind, number, low, high)

    def widen(self, number: int, low: int, high: int) -> None:
        """Let a stored number reach these bounds, so that no write wraps around."""
        place = self.places[number]
        low, high = min(low, place.low), max(high, place.high)
        self.places[number] = replace(place, low=low, high=high)

    def settle(self) -> int:
        """Give each place its bits; answer the number of 64-bit words in a row.

        The widest first, each in the first lane of its width with room: what does not fit a lane
        opens a new one, and lanes of a width lie side by side."""
        byte = 0
        for lane in (64, 32, 16, 8):
            room: dict[int, int] = {}
            wanted = [
                n
                for n, p in enumerate(self.places)
                if lane >= p.bits > (lane // 2 if lane > 8 else 0)
            ]
            for number in sorted(wanted, key=lambda n: -self.places[n].bits):
                place = self.places[number]
                at = next((b for b, used in room.items() if used + place.bits <= lane), byte)
                shift = room.get(at, 0)
                room[at] = shift + place.bits
                byte = max(byte, at + lane // 8)
                self.places[number] = replace(place, byte=at, lane=lane, shift=shift)
        return max(1, -(-byte // 8))

    def encode(self, state: State) -> list[int]:
        """The word of each place of a state, in the order of the places."""
        return [
            encode(self.fields[p.field], p.index, p.part, self.scope, state[p.field])
            for p in self.places
        ]

    def decode(self, words: list[int]) -> dict[str, dict[Index, Value]]:
        """The state with these words, with every field that is not a ghost."""
        state = {}
        for name, f in self.fields.items():
            values = {
                index: tuple(
                    self._word(name, index, part, node, words) for part, node in enumerate(nodes)
                )
                for index, nodes in self.store[name].items()
            }
            pairs = decode_masks(f, self.scope, values) if is_mask(f) else decode(f, values)
            state[name] = dict(pairs)
        return state

    def _word(self, name: str, index: Index, part: int, node: Node, words: list[int]) -> int:
        number = self._number.get((name, index, part))
        if number is not None:
            return words[number]
        value = node.value
        assert value is not None
        return value
