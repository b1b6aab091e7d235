# SPDX-License-Identifier: GPL-2.0-only
"""The reading for many states at once: a model in a fixed scope as NumPy columns.

A state is a row of 64-bit words. A block of rows is unpacked into one narrow column for each place
(see `spec.layout`); invariants, guards and updates are straight-line code over columns, generated
once. The code for the invariants also runs on plain integers, for one state at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from spec.instances import Instance, Transition, transitions, varying
from spec.layout import Layout, Place
from spec.records import Invariant, Model
from spec.scope import Index, Scope, State, Value
from spec.source import Statement, lines
from spec.words import Node, Words
from spec.wordwise import Translator

Rows: TypeAlias = npt.NDArray[np.uint64]
"""States, one a row of 64-bit words."""

Column: TypeAlias = npt.NDArray[Any]
"""One value for each of many states: uint8 to uint64 for masks, int8 to int64 for numbers."""

Truth: TypeAlias = "npt.NDArray[np.bool_] | bool"
"""One truth value for each of many states, or the same one for all."""

_LANES = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
_SIGNED = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}


def compile(model: Model, scope: Scope) -> Columns:
    """Generate the code for a model in a scope.

    Raises ValueError if the rigid fields of the scope contradict the model's axioms, if a sort has
    no size, or if a parameter has no end of values."""
    return Columns(model, scope)


class Columns:
    """A model in a scope, ready to run. See `compile`."""

    def __init__(self, model: Model, scope: Scope) -> None:
        words = Words()
        self.model, self.scope = model, scope
        self.layout = Layout(model, scope, words, varying(model, scope))
        formulas = Translator(scope, self.layout.fields, words, self.layout.store)
        for axiom in model.axioms:
            if formulas.bit(axiom, {}) is not words.true:
                raise ValueError(f"the rigid fields of scope {scope} contradict: {axiom!r}")
        self.invariants = tuple(i for i in model.invariants if not i.ghost)
        held = [formulas.bit(i.formula, {}) for i in self.invariants]
        steps = list(transitions(model, self.layout, words))
        self.instances: tuple[Instance, ...] = tuple(step.instance for step in steps)
        self._ranges = list(_widen(self.layout, steps))
        self.width = self.layout.settle()
        self._mask, self._number = _types(self.layout, words)
        places = self.layout.places
        self._lanes = sorted({(p.byte, p.lane) for p in places})
        names = {"count": self._count, "spread": self._spread, "number": self._bits}
        self._held = _define("held", "p", _together(held), names)
        self._held_once = _define("held", "p", _together(held), _ONE)
        self._guards = _define("guards", "p", _one_by_one([s.guard for s in steps]), names)
        texts = [_step(step, places) for step in steps]
        self._steps = [_define("step", "p, at, row8, row16, row32, row64", t, names) for t in texts]

    # --- states and rows --------------------------------------------------------------------

    def initial(self) -> Rows:
        """The initial state, as one row."""
        return self.pack([place.initial for place in self.layout.places])

    def row(self, state: State) -> Rows:
        """A state that gives every field that is stored, as one row."""
        return self.pack(self.layout.encode(state))

    def state(self, row: Rows) -> dict[str, dict[Index, Value]]:
        """A row as people read it, with every field but the ghosts."""
        return self.layout.decode(self.words(row))

    def pack(self, words: Sequence[int]) -> Rows:
        """The word of each place as one row. OverflowError if a number is out of bounds."""
        packed = 0
        for place, word in zip(self.layout.places, words, strict=True):
            stored = word - place.low if place.kind == "number" else word
            if not 0 <= stored <= place.top:
                raise OverflowError(f"{place.field}{list(place.index)} cannot be {word}")
            packed |= stored << (8 * place.byte + place.shift)
        return np.frombuffer(packed.to_bytes(8 * self.width, "little"), dtype=np.uint64).copy()

    def words(self, row: Rows) -> list[int]:
        """The word of each place in a row."""
        packed = int.from_bytes(row.tobytes(), "little")
        return [
            (packed >> (8 * p.byte + p.shift) & ((1 << p.bits) - 1))
            + (p.low if p.kind == "number" else 0)
            for p in self.layout.places
        ]

    # --- one state --------------------------------------------------------------------------

    def violated(self, state: State) -> tuple[str, ...]:
        """The ids of the invariants that a state breaks. Fields that no operation changes count as
        what they are in every reachable state, whatever `state` says."""
        return self.violated_words(self.layout.encode(state))

    def violated_words(self, words: Sequence[int]) -> tuple[str, ...]:
        """As `violated`, for the words of the places."""
        held = self._held_once(words)
        return tuple(i.id for i, holds in zip(self.invariants, held, strict=True) if not holds)

    # --- many states ------------------------------------------------------------------------

    def unpack(self, rows: Rows) -> list[Column]:
        """A column for each place."""
        columns = {
            at: np.ascontiguousarray(rows.view(_LANES[at[1]])[:, at[0] * 8 // at[1]])
            for at in self._lanes
        }
        return [
            self._unpacked(place, columns[place.byte, place.lane]) for place in self.layout.places
        ]

    def _unpacked(self, place: Place, lane: Column) -> Column:
        value = lane >> place.shift if place.shift else lane
        if place.shift + place.bits < place.lane:
            value = value & ((1 << place.bits) - 1)
        if place.kind != "number":
            mask: Column = value.astype(self._mask, copy=False)
            return mask
        number: Column = value.astype(self._number)
        if place.low:
            np.add(number, self._number(place.low), out=number)
        return number

    def held(self, columns: Sequence[Column]) -> tuple[Truth, ...]:
        """Where each invariant holds."""
        held: tuple[Truth, ...] = self._held(columns)
        return held

    def guards(self, columns: Sequence[Column]) -> Iterator[tuple[int, Truth]]:
        """The number of each instance, and where it is enabled."""
        guards: Iterator[tuple[int, Truth]] = self._guards(columns)
        return guards

    def step(self, instance: int, columns: Sequence[Column], at: Column, out: Rows) -> None:
        """Let an instance happen in the states `at`, of which `out` holds copies of the rows."""
        self._steps[instance](
            columns, at, out.view(np.uint8), out.view(np.uint16), out.view(np.uint32), out
        )

    def out_of_range(self, columns: Sequence[Column]) -> str | None:
        """A number that has left its bounds in one of the states, described; None if there is none.
        Such a state can be stored, but not expanded."""
        for number, low, high in self._ranges:
            column = columns[number]
            if column.min() < low or column.max() > high:
                place = self.layout.places[number]
                worst = column.min() if column.min() < low else column.max()
                return (
                    f"{place.field}{list(place.index)} is {worst}: the scope allows {low}..{high}"
                )
        return None

    # --- what the generated code calls, on columns --------------------------------------------

    def _count(self, mask: Column) -> Column:
        members: Column = np.bitwise_count(mask)
        return members.astype(self._number, copy=False)

    def _spread(self, bit: Column, full: int) -> Column:
        mask: Column = bit.astype(self._mask)
        mask *= self._mask(full)
        return mask

    def _bits(self, bit: Column) -> Column:
        return bit.astype(self._number)


_ONE: Mapping[str, Callable[..., int]] = {
    "count": int.bit_count,
    "spread": lambda bit, full: full if bit else 0,
    "number": int,
}
"""What the generated code calls, on plain integers."""


def _define(name: str, params: str, body: Iterable[str], names: Mapping[str, Any]) -> Any:
    """The function that this text defines."""
    namespace: dict[str, Any] = dict(names)
    text = "\n".join((f"def {name}({params}):", *(f"    {line}" for line in body)))
    exec(text, namespace)
    return namespace[name]


def _leaf(place: int) -> str:
    return f"p[{place}]"


def _together(nodes: Sequence[Node]) -> list[str]:
    """Code that returns the values of all nodes."""
    everything = Statement(
        tuple(nodes), lambda names: [f"return ({''.join(n + ', ' for n in names)})"]
    )
    return lines([everything], _leaf)


def _one_by_one(nodes: Sequence[Node]) -> list[str]:
    """Code that yields the values of the nodes, numbered, each as soon as it is known."""

    def statement(k: int, node: Node) -> Statement:
        return Statement((node,), lambda names: [f"yield {k}, {names[0]}"])

    return [*lines((statement(k, n) for k, n in enumerate(nodes)), _leaf), "yield from ()"]


def _step(step: Transition, places: Sequence[Place]) -> list[str]:
    """Code that changes the rows of states in which an instance happens.

    Constants are gathered for each 64-bit word: one conjunction, one disjunction, one addition;
    an addition never carries, because no stored number leaves its place."""
    words: dict[int, list[int]] = {}
    lanes: list[Statement] = []
    for number, node in sorted(step.updates.items()):
        place = places[number]
        at = 8 * (place.byte % 8) + place.shift
        keep, put, plus = words.setdefault(place.byte // 8, [0, 0, 0])
        form = _constant_change(number, node)
        if form is None:
            lanes.append(_lane(place, node))
            form = (0, 0, 0)
        cleared, members, more = form
        if node.kind == "number" and not more:
            members -= place.low if node.op == "const" else 0
        top = (1 << place.bits) - 1
        words[place.byte // 8] = [
            keep | (top & ~cleared if not more else 0) << at,
            put | members << at,
            plus + (more << at),
        ]
    constant = [
        line
        for word, (keep, put, plus) in words.items()
        for line in (
            f"w = row64[:, {word}]",
            f"w &= {~keep & (2**64 - 1)}" if keep else "",
            f"w |= {put}" if put else "",
            f"w += {plus % 2**64}" if plus else "",
        )
        if line
    ]
    return [*constant, *lines(lanes, lambda place: f"p[{place}][at]"), "return"]


def _constant_change(place: int, node: Node) -> tuple[int, int, int] | None:
    """A change as (bits kept, bits set, number added), if it is one."""
    if node.op == "const":
        assert node.value is not None
        return 0, node.value, 0
    if node.kind == "number":
        alone = node.op == "linear" and len(node.args) == 3 and node.args[1] == 1
        added = node.args[-1]
        if alone and isinstance(added, int) and _is_leaf(node.node(0), place):
            return 0, 0, added
        return None
    put = 0
    if node.op == "or" and node.node(1).op == "const":
        put, node = node.node(1).high, node.node(0)
    kept = -1
    if node.op == "and" and node.node(1).op == "const":
        kept, node = node.node(1).high, node.node(0)
    return (kept & ~put, put, 0) if _is_leaf(node, place) else None


def _is_leaf(node: Node, place: int) -> bool:
    return node.op in ("leaf", "option") and node.args[0] == place


def _lane(place: Place, node: Node) -> Statement:
    """Put a computed value where the place's bits have been cleared."""
    low = place.low if place.kind == "number" else 0

    def text(names: Sequence[str]) -> list[str]:
        value = f"{names[0]} - {low}" if low > 0 else f"{names[0]} + {-low}" if low else names[0]
        lane = f"row{place.lane}[:, {place.byte * 8 // place.lane}]"
        return [f"x = {lane}", f"x |= ({value}).astype(x.dtype) << {place.shift}"]

    return Statement((node,), text)


def _widen(layout: Layout, steps: Iterable[Transition]) -> Iterator[tuple[int, int, int]]:
    """Make room for whatever the transitions write; answer (place, low, high) of the numbers that
    can be written out of their bounds."""
    bounds: dict[int, tuple[int, int]] = {}
    for step in steps:
        for number, node in step.updates.items():
            place = layout.places[number]
            if place.kind == "number" and (node.low < place.low or node.high > place.high):
                bounds.setdefault(number, (place.low, place.high))
                layout.widen(number, node.low, node.high)
    return ((number, low, high) for number, (low, high) in sorted(bounds.items()))


def _types(layout: Layout, words: Words) -> tuple[Any, Any]:
    """The narrowest types of columns that hold every mask, and every number on the way."""
    masks = max((p.bits for p in layout.places if p.kind != "number"), default=1)
    numbers = (max(-p.low, p.high, p.top) for p in layout.places if p.kind == "number")
    reach = max(words.reach(), max(numbers, default=1))
    mask = next(t for bits, t in _LANES.items() if bits >= max(masks, words.widest()))
    return mask, next(t for bits, t in _SIGNED.items() if reach < 1 << (bits - 1))


__all__ = ["Column", "Columns", "Instance", "Invariant", "Rows", "Truth", "compile"]
