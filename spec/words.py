# SPDX-License-Identifier: GPL-2.0-only
"""Word expressions: what a formula is once a scope is fixed.

A node is a *bit* (a truth value), a *mask* (a set of elements of one sort, as the bits of a word)
or a *number*. Nodes are shared: the same expression is the same object, and is simplified where it
is built. Each knows what it can be at most: a mask the bits it may have, a number its interval.

Facts: while ``Words.facts`` maps a node to a constant, building that node answers the constant.
A guard that holds is a fact for the updates behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Kind = Literal["bit", "mask", "number"]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One expression. `low` and `high` bound a number; `high` of a mask has the possible bits."""

    kind: Kind
    op: str
    args: tuple[Node | int, ...]
    low: int
    high: int
    number: int

    @property
    def value(self) -> int | None:
        """The value of a constant; None for anything else."""
        return self.args[0] if self.op == "const" else None  # type: ignore[return-value]

    def node(self, k: int) -> Node:
        """The k-th argument, which is a node."""
        argument = self.args[k]
        assert isinstance(argument, Node)
        return argument


_OPPOSITE = {
    "nonzero": "zero", "zero": "nonzero", "same": "differ", "differ": "same", "eq": "ne", "ne": "eq"
}  # fmt: skip


class Words:
    """A store of shared nodes."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[object, ...], Node] = {}
        self._facts: Mapping[Node, Node] = {}
        self.true = self._make("bit", "const", (1,), 0, 1)
        self.false = self._make("bit", "const", (0,), 0, 1)

    @contextmanager
    def facts(self, facts: Mapping[Node, Node]) -> Iterator[None]:
        """Inside the block, these nodes are known to have these values."""
        outer, self._facts = self._facts, facts
        try:
            yield
        finally:
            self._facts = outer

    def _make(self, kind: Kind, op: str, args: tuple[Node | int, ...], low: int, high: int) -> Node:
        key = (kind, op, *args)
        node = self._nodes.get(key)
        if node is None:
            node = Node(kind, op, args, low, high, len(self._nodes))
            self._nodes[key] = node
        return self._facts.get(node, node)

    def leaf(self, kind: Kind, place: int, low: int, high: int) -> Node:
        """The stored word number `place`."""
        return self._make(kind, "leaf", (place,), low, high)

    def one_of(self, place: int, high: int) -> Node:
        """The stored word number `place`, which has at most one bit."""
        return self._make("mask", "option", (place,), 0, high)

    def reach(self) -> int:
        """No number, and no partial sum on the way to one, is farther from 0 than this."""
        return max((_reach(n) for n in self._nodes.values() if n.kind == "number"), default=1)

    def widest(self) -> int:
        """The number of bits of the widest mask."""
        masks = (n.high.bit_length() for n in self._nodes.values() if n.kind == "mask")
        return max(masks, default=1)

    # --- masks ------------------------------------------------------------------------------

    def mask(self, value: int) -> Node:
        """A constant set."""
        return self._make("mask", "const", (value,), 0, value)

    def both(self, a: Node, b: Node) -> Node:
        """The intersection of two masks."""
        if a.op == "const" or (b.op != "const" and b.number < a.number):
            a, b = b, a
        if a is b:
            return a
        if b.value is not None:
            return self._within(a, b.value)
        if not a.high & b.high:
            return self.mask(0)
        for x, y in ((a, b), (b, a)):
            if y.op == "flip":
                return self.less(self._within(x, y.high), y.node(0))
        return self._make("mask", "and", (a, b), 0, a.high & b.high)

    def _within(self, a: Node, bits: int) -> Node:
        """The intersection of a mask with a constant set."""
        bits &= a.high
        if a.value is not None or not bits:
            return self.mask((a.value or 0) & bits)
        if bits == a.high:
            return a
        if a.op == "spread":
            return self.spread(a.node(0), bits)
        if a.op == "and" and a.node(1).op == "const":
            return self._within(a.node(0), bits)
        if a.op == "or":
            x, y = a.node(0), a.node(1)
            if y.op == "const" or not x.high & bits or not y.high & bits:
                return self.either(self._within(x, bits), self._within(y, bits))
        return self._make("mask", "and", (a, self.mask(bits)), 0, bits)

    def either(self, a: Node, b: Node) -> Node:
        """The union of two masks."""
        if a.op == "const" or (b.op != "const" and b.number < a.number):
            a, b = b, a
        if a is b or b.value == 0:
            return a
        if b.value is not None:
            if a.value is not None or not a.high & ~b.value:
                return self.mask((a.value or 0) | b.value)
            if a.op == "or" and a.node(1).op == "const":
                a, b = a.node(0), self.mask(a.node(1).high | b.value)
        elif (merged := self._merge(a, b)) is not None:
            return merged
        return self._make("mask", "or", (a, b), 0, a.high | b.high)

    def _merge(self, a: Node, b: Node) -> Node | None:
        """Two selections of one mask, or one bit spread twice, as one."""
        x, chosen = _selection(a)
        y, other = _selection(b)
        if x is y:
            return self._within(x, chosen | other)
        if a.op == b.op == "spread" and a.node(0) is b.node(0):
            return self.spread(a.node(0), a.high | b.high)
        return None

    def less(self, a: Node, b: Node) -> Node:
        """The members of `a` that are not in `b`."""
        if b.value is not None:
            return self._within(a, a.high & ~b.value)
        if a is b:
            return self.mask(0)
        if a.value is not None:
            return self.flip(self._within(b, a.value), a.value)
        if not a.high & b.high:
            return a
        if b.op == "flip" and not a.high & ~b.high:
            return self.both(a, b.node(0))
        return self._make("mask", "less", (a, b), 0, a.high)

    def flip(self, a: Node, full: int) -> Node:
        """The complement within `full`; `a` lies inside it."""
        if a.value is not None:
            return self.mask(full & ~a.value)
        if a.op == "flip" and a.high == full:
            return a.node(0)
        if a.op == "spread" and a.high == full:
            return self.spread(self.negate(a.node(0)), full)
        if a.op == "or":
            for x, y in ((a.node(0), a.node(1)), (a.node(1), a.node(0))):
                if x.op == "flip" and x.high == full:
                    return self.less(x.node(0), y)
        return self._make("mask", "flip", (a, self.mask(full)), 0, full)

    def spread(self, bit: Node, full: int) -> Node:
        """`full` where the bit is true, else empty."""
        if bit.value is not None:
            return self.mask(full if bit.value else 0)
        return (
            self.mask(0)
            if not full
            else self._make("mask", "spread", (bit, self.mask(full)), 0, full)
        )

    # --- bits -------------------------------------------------------------------------------

    def bit(self, value: bool) -> Node:
        """A constant truth value."""
        return self.true if value else self.false

    def nonzero(self, a: Node) -> Node:
        """The mask has a member."""
        if a.value is not None:
            return self.bit(a.value != 0)
        if a.op == "or" and a.node(1).op == "const":
            return self.true
        return a.node(0) if a.op == "spread" else self._make("bit", "nonzero", (a,), 0, 1)

    def full(self, a: Node, full: int) -> Node:
        """The mask has every bit of `full`."""
        return self.negate(self.nonzero(self.flip(a, full)))

    def same(self, a: Node, b: Node) -> Node:
        """Two masks are equal."""
        if a.op == "const" or (b.op != "const" and b.number < a.number):
            a, b = b, a
        if a is b:
            return self.true
        if b.value is not None:
            if b.value == 0:
                return self.negate(self.nonzero(a))
            if a.value is not None or b.value & ~a.high:
                return self.false
            if a.op == "spread" and a.high == b.value:
                return a.node(0)
        return self._make("bit", "same", (a, b), 0, 1)

    def negate(self, a: Node) -> Node:
        """The opposite truth value."""
        if a.value is not None:
            return self.bit(not a.value)
        if a.op == "not":
            return a.node(0)
        if a.op in _OPPOSITE:
            if a.op == "nonzero" and a.node(0).op == "flip":
                x = a.node(0)
                return self._make("bit", "same", (x.node(0), self.mask(x.high)), 0, 1)
            return self._make("bit", _OPPOSITE[a.op], a.args, 0, 1)
        if a.op in ("le", "lt"):
            return self._make("bit", "lt" if a.op == "le" else "le", (a.args[1], a.args[0]), 0, 1)
        return self._make("bit", "not", (a,), 0, 1)

    def all(self, bits: Iterable[Node]) -> Node:
        """The conjunction of any number of bits."""
        return self._junction("and", bits, self.true, self.false)

    def any(self, bits: Iterable[Node]) -> Node:
        """The disjunction of any number of bits."""
        return self._junction("or", bits, self.false, self.true)

    def _junction(self, op: str, bits: Iterable[Node], unit: Node, zero: Node) -> Node:
        parts: set[Node] = set()
        stack = list(bits)
        while stack:
            part = stack.pop()
            if part is zero:
                return zero
            if part.op == op:
                stack += [part.node(0), part.node(1)]
            elif part is not unit:
                parts.add(part)
        if any(self.negate(part) in parts for part in parts):
            return zero
        # One order for all, left to right, so that formulas share what they begin with.
        ordered = sorted(parts, key=lambda part: part.number)
        result = unit
        for part in ordered:
            result = part if result is unit else self._make("bit", op, (result, part), 0, 1)
        return result

    def differ(self, a: Node, b: Node) -> Node:
        """Exclusive or of two bits."""
        if a.value is not None:
            a, b = b, a
        if b.value is not None:
            return self.negate(a) if b.value else a
        if a is b or a is self.negate(b):
            return self.bit(a is not b)
        if b.number < a.number:
            a, b = b, a
        return self._make("bit", "xor", (a, b), 0, 1)

    # --- numbers ----------------------------------------------------------------------------

    def number(self, value: int) -> Node:
        """A constant number."""
        return self._make("number", "const", (value,), value, value)

    def linear(self, terms: Iterable[tuple[Node, int]]) -> Node:
        """A sum of numbers, each times a constant."""
        weights: dict[Node, int] = {}
        constant = 0
        for node, weight in terms:
            parts = _summands(node)
            for part, own in parts:
                if part is None:
                    constant += own * weight
                else:
                    weights[part] = weights.get(part, 0) + own * weight
        kept = sorted(((n, w) for n, w in weights.items() if w), key=lambda p: p[0].number)
        if not kept:
            return self.number(constant)
        if len(kept) == 1 and kept[0][1] == 1 and not constant:
            return kept[0][0]
        low = constant + sum(min(n.low * w, n.high * w) for n, w in kept)
        high = constant + sum(max(n.low * w, n.high * w) for n, w in kept)
        args = tuple(part for pair in kept for part in pair)
        return self._make("number", "linear", (*args, constant), low, high)

    def count(self, a: Node) -> Node:
        """The number of members of a mask."""
        if a.value is not None:
            return self.number(a.value.bit_count())
        if a.op == "spread":
            return self.linear([(self.times(a.node(0), self.number(1)), a.high.bit_count())])
        return self._make("number", "count", (a,), 0, a.high.bit_count())

    def times(self, bit: Node, a: Node) -> Node:
        """`a` where the bit is true, else 0."""
        if bit.value is not None:
            return a if bit.value else self.number(0)
        if a.value is not None:
            one = self._make("number", "times", (bit, self.number(1)), 0, 1)
            return one if a.value == 1 else self.linear([(one, a.value)])
        return self._make("number", "times", (bit, a), min(0, a.low), max(0, a.high))

    def choose(self, bit: Node, a: Node, b: Node) -> Node:
        """`a` where the bit is true, else `b`."""
        if bit.value is not None:
            return a if bit.value else b
        change = self.linear([(a, 1), (b, -1)])
        if change.value is not None:
            return self.linear([(b, 1), (self.times(bit, change), 1)])
        if b.value == 0:
            return self.times(bit, a)
        return self._make("number", "choose", (bit, a, b), min(a.low, b.low), max(a.high, b.high))

    def equal(self, a: Node, b: Node) -> Node:
        """Two numbers are equal."""
        change = self.linear([(a, 1), (b, -1)])
        if change.value is not None:
            return self.bit(change.value == 0)
        if change.low > 0 or change.high < 0:
            return self.false
        if a.op == "const" or (b.op != "const" and b.number < a.number):
            a, b = b, a
        return self._make("bit", "eq", (a, b), 0, 1)

    def compare(self, op: Literal["le", "lt"], a: Node, b: Node) -> Node:
        """``a <= b`` or ``a < b``."""
        change = self.linear([(b, 1), (a, -1)])
        least = 0 if op == "le" else 1
        if change.low >= least or change.high < least:
            return self.bit(change.low >= least)
        return self._make("bit", op, (a, b), 0, 1)


def _selection(a: Node) -> tuple[Node, int]:
    """A mask as another one, of which some bits are kept."""
    if a.op == "and" and a.node(1).op == "const":
        return a.node(0), a.high
    return a, a.high


def _summands(a: Node) -> Iterator[tuple[Node | None, int]]:
    """The weighted parts of a sum; a part None is the constant."""
    if a.op == "const":
        yield None, a.low
    elif a.op == "linear":
        for k in range(0, len(a.args) - 1, 2):
            weight = a.args[k + 1]
            assert isinstance(weight, int)
            yield a.node(k), weight
        constant = a.args[-1]
        assert isinstance(constant, int)
        yield None, constant
    else:
        yield a, 1


def _reach(a: Node) -> int:
    own = max(abs(a.low), abs(a.high))
    if a.op == "choose":
        return own + sum(_reach(a.node(k)) for k in (1, 2))
    if a.op == "linear":
        parts = ((n, w) for n, w in _summands(a))
        return sum(abs(w) * (1 if n is None else _reach(n)) for n, w in parts)
    return own
