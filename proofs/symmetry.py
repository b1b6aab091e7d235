# SPDX-License-Identifier: GPL-2.0-only
"""Symmetry: states that differ only in which element is which count as one.

A sort is symmetric if nothing tells its elements apart: no formula compares their positions or
names one of them, and no rigid field of the scope treats them differently. The representative of a
state is the smallest of its images. All permutations of most symmetric sorts are tried; one sort
costs no factorial: if the state says of its elements only yes or no (a *signature* of bits for each
element, such as "allocated on CPU 0"), sorting the signatures is the best permutation of it.

`Exploration.full_states` adds up the sizes of the orbits: it is what a search without symmetry
counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, permutations, product
from math import factorial

import numpy as np
import numpy.typing as npt

from spec.columns import Column, Columns, Rows
from spec.layout import Place, is_mask
from spec.records import Field, Invariant, Model
from spec.scope import Index, Scope, Value
from spec.terms import BINDERS, Option, Sort, Term, Type, subterms

_Words = npt.NDArray[np.uint64]
_Permutation = Mapping[str, tuple[int, ...]]
"""Sort -> which element takes the place of each."""


_PIECE = 1 << 12
"""States whose representatives are found together: their columns stay in the cache."""


def symmetric_sorts(model: Model, scope: Scope, invariants: Iterable[Invariant]) -> tuple[str, ...]:
    """The sorts with at least two elements in this scope, whose elements nothing tells apart."""
    formulas = [i.formula for i in invariants]
    for operation in model.operations.values():
        formulas.append(operation.enabled)
        for writes in operation.writes.values():
            formulas += [t for write in writes for t in (write.condition, write.value)]
    formulas += [f.initial for f in model.fields.values()]
    told_apart = {sort for formula in formulas for sort in _told_apart(formula)}
    return tuple(
        sort.name
        for sort in model.sorts
        if scope.size(sort.name) > 1
        and sort.name not in told_apart
        and all(_blind(f, sort.name, scope) for f in model.fields.values() if f.rigid)
    )


def _told_apart(formula: Term) -> Iterator[str]:
    """The sorts of which a formula compares positions or names an element."""
    seen: set[Term] = set()
    stack = [formula]
    while stack:
        term = stack.pop()
        if term in seen:
            continue
        seen.add(term)
        sort = _element_sort(term.type)
        if sort is not None and term.op == "const" and term.args[0] is not None:
            yield sort
        if term.op in ("le", "lt"):
            yield from filter(None, (_element_sort(a.type) for a in subterms(term)))
        stack += subterms(term) if term.op not in BINDERS else term.args[-1:]


def _element_sort(type: Type) -> str | None:
    if isinstance(type, Option):
        return type.of.name
    return type.name if isinstance(type, Sort) else None


def _blind(f: Field, sort: str, scope: Scope) -> bool:
    """A rigid field looks the same after any swap of two neighbours of the sort."""
    start = f.initial.args[0]
    given = scope.rigid.get(f.name, {})
    values = {i: given.get(i, start) for i in scope.places(tuple(s.name for s in f.args))}
    for k in range(scope.size(sort) - 1):
        swap = {k: k + 1, k + 1: k}

        def image(index: Index, swap: Mapping[int, int] = swap) -> Index:
            pairs = zip(f.args, index, strict=True)
            return tuple(swap.get(e, e) if s.name == sort else e for s, e in pairs)

        def moved(value: Value, swap: Mapping[int, int] = swap) -> Value:
            own = _element_sort(f.type) == sort and isinstance(value, int)
            return swap.get(value, value) if own and isinstance(value, int) else value

        if any(values[image(i)] != moved(v) for i, v in values.items()):
            return False
    return True


def _content(f: Field, place: Place) -> str | None:
    """The sort whose elements are the bits of a place."""
    if place.kind == "mask":
        return f.args[-1].name if f.args else None
    return _element_sort(f.type) if place.kind == "option" else None


def _own(f: Field, place: Place) -> tuple[tuple[str, int], ...]:
    """The elements that a place belongs to: its index and, of a wide field, its value."""
    own = list(zip((s.name for s in f.args), place.index, strict=False))
    value = _element_sort(f.type)
    if is_mask(f) and value is not None:
        own.append((value, place.part))
    return tuple(own)


@dataclass(frozen=True, slots=True)
class _Move:
    """Where the bits of a key come from under one permutation: for each plain place, the place that
    takes it and how its bits move; for the signatures, how their bits move, eight at a time."""

    sources: tuple[tuple[int, npt.NDArray[np.uint64] | None], ...]
    signature: tuple[_Words, ...]


class Symmetry:
    """The symmetries of a model in a scope. `representatives` is the whole interface."""

    def __init__(self, columns: Columns, invariants: Iterable[Invariant]) -> None:
        self._columns = columns
        self._places, fields = columns.layout.places, columns.layout.fields
        scope = columns.scope
        sorts = symmetric_sorts(columns.model, scope, invariants)
        self.sorts = sorts
        contents = [_content(fields[p.field], p) for p in self._places]
        owners = [_own(fields[p.field], p) for p in self._places]
        indices = {sort for places in owners for sort, _ in places}
        flat = [s for s in sorts if s in contents and s not in indices]
        self._sorted = max(flat, key=scope.size, default=None)
        self._size = scope.size(self._sorted) if self._sorted else 0
        self._plain = [n for n, c in enumerate(contents) if c is None or c != self._sorted]
        self._signed = [n for n, c in enumerate(contents) if c is not None and c == self._sorted]
        if len(self._signed) > 64:
            raise ValueError("more than 64 bits say something of one element: explore plainly")
        self._slots = _slots([self._places[n] for n in self._plain])
        tried = [s for s in sorts if s != self._sorted]
        self.order = factorial(self._size)
        for sort in tried:
            self.order *= factorial(scope.size(sort))
        every = product(*(permutations(range(scope.size(s))) for s in tried))
        named = zip(self._places, owners, strict=True)
        where = {(place.field, own): n for n, (place, own) in enumerate(named)}
        self._moves = [
            self._move(dict(zip(tried, chosen, strict=True)), contents, owners, where)
            for chosen in every
        ]

    def _move(
        self,
        permutation: _Permutation,
        contents: list[str | None],
        owners: list[tuple[tuple[str, int], ...]],
        where: Mapping[tuple[str, tuple[tuple[str, int], ...]], int],
    ) -> _Move:
        def source(number: int) -> int:
            own = ((s, permutation[s][e] if s in permutation else e) for s, e in owners[number])
            return where[self._places[number].field, tuple(own)]

        sources = []
        for number in self._plain:
            content = contents[number]
            moves = content is not None and content in permutation
            table = _bit_table(permutation[content]) if moves and content is not None else None
            sources.append((source(number), table))
        order = [self._signed.index(source(number)) for number in self._signed]
        return _Move(tuple(sources), tuple(_byte_tables(order)))

    def representatives(self, rows: Rows) -> tuple[Rows, npt.NDArray[np.int64]]:
        """The representative of each state, and the size of its orbit."""
        found = np.empty_like(rows)
        sizes = np.empty(len(rows), dtype=np.int64)
        for start in range(0, len(rows), _PIECE):
            piece = slice(start, start + _PIECE)
            found[piece], sizes[piece] = self._representatives(rows[piece])
        return found, sizes

    def _representatives(self, rows: Rows) -> tuple[Rows, npt.NDArray[np.int64]]:
        columns = self._columns.unpack(rows)
        stored = [_stored(c, p) for c, p in zip(columns, self._places, strict=True)]
        signatures = self._signatures(stored)
        best = self._key(self._moves[0], stored, signatures)
        ties = np.ones(len(rows), dtype=np.int64)
        for move in self._moves[1:]:
            key = self._key(move, stored, signatures)
            less, same = _compare(key, best)
            ties[same] += 1
            ties[less] = 1
            best = [np.where(less, k, b) for k, b in zip(key, best, strict=True)]
        alike = self._alike(best)
        return self._rows(best), self.order // (ties * alike)

    def _signatures(self, stored: list[_Words]) -> list[_Words]:
        """For each element of the sorted sort, what every signed place says of it."""
        one = np.uint64(1)

        def bit(number: int, element: int, place: int) -> _Words:
            word: _Words = stored[number] >> np.uint64(element) & one
            return word << np.uint64(place)

        numbers = list(enumerate(self._signed))
        return [_union([bit(n, k, j) for j, n in numbers]) for k in range(self._size)]

    def _key(self, move: _Move, stored: list[_Words], signatures: list[_Words]) -> list[_Words]:
        """The state after a permutation, as words to compare: plain places, sorted signatures."""
        words: dict[int, list[_Words]] = {}
        for (source, table), (word, shift) in zip(move.sources, self._slots, strict=True):
            value = stored[source] if table is None else table[stored[source]]
            words.setdefault(word, []).append(value << np.uint64(shift))
        plain = [_union(parts) for _, parts in sorted(words.items())]
        if not signatures:
            return plain
        return plain + _in_order([_moved(s, move.signature) for s in signatures])

    def _alike(self, key: list[_Words]) -> npt.NDArray[np.int64]:
        """The number of permutations of the sorted sort that change nothing."""
        signatures = key[len(key) - self._size :]
        result = np.ones(len(key[0]), dtype=np.int64)
        run = np.ones(len(key[0]), dtype=np.int64)
        for before, after in pairwise(signatures):
            run = np.where(before == after, run + 1, 1)
            result *= run
        return result

    def _rows(self, key: list[_Words]) -> Rows:
        """The rows with these keys."""
        one = np.uint64(1)
        rows = np.zeros((len(key[0]), self._columns.width), dtype=np.uint64)
        for number, (word, shift) in zip(self._plain, self._slots, strict=True):
            place = self._places[number]
            value = key[word] >> np.uint64(shift) & np.uint64((1 << place.bits) - 1)
            _put(rows, place, value)
        signatures = key[len(key) - self._size :]
        for j, number in enumerate(self._signed):
            bits = [(s >> np.uint64(j) & one) << np.uint64(k) for k, s in enumerate(signatures)]
            _put(rows, self._places[number], _union(bits))
        return rows


def _stored(column: Column, place: Place) -> _Words:
    """What a row has where this column comes from."""
    if place.kind != "number":
        return column.astype(np.uint64)
    return (column.astype(np.int64) - place.low).astype(np.uint64)


def _put(rows: Rows, place: Place, value: _Words) -> None:
    byte = 8 * (place.byte % 8) + place.shift
    rows[:, place.byte // 8] |= value << np.uint64(byte)


def _union(parts: list[_Words]) -> _Words:
    result = parts[0]
    for part in parts[1:]:
        result = result | part
    return result


def _slots(places: list[Place]) -> list[tuple[int, int]]:
    """For each place, a word of the key and a shift in it."""
    slots, word, used = [], 0, 0
    for place in places:
        if used + place.bits > 64:
            word, used = word + 1, 0
        slots.append((word, used))
        used += place.bits
    return slots


def _bit_table(permutation: tuple[int, ...]) -> _Words:
    """Mask -> the mask after the permutation: its bit k is the bit ``permutation[k]``."""
    masks = np.arange(1 << len(permutation), dtype=np.uint64)
    one = np.uint64(1)
    return _union(
        [(masks >> np.uint64(s) & one) << np.uint64(k) for k, s in enumerate(permutation)]
    )


def _byte_tables(order: list[int]) -> Iterator[_Words]:
    """For each byte of a word, what it adds to the word whose bit j is the bit ``order[j]``."""
    for first in range(0, len(order), 8):
        byte = np.arange(256, dtype=np.uint64)
        moved = np.zeros(256, dtype=np.uint64)
        for j, source in enumerate(order):
            if first <= source < first + 8:
                moved |= (byte >> np.uint64(source - first) & np.uint64(1)) << np.uint64(j)
        yield moved


def _moved(word: _Words, tables: tuple[_Words, ...]) -> _Words:
    byte = np.uint64(255)
    parts = [table[word >> np.uint64(8 * k) & byte] for k, table in enumerate(tables)]
    return _union(parts)


def _in_order(words: list[_Words]) -> list[_Words]:
    """Many short lists sorted at once, by exchanges of neighbours: few and over whole columns."""
    result = list(words)
    for end in range(len(result) - 1, 0, -1):
        for k in range(end):
            low, high = result[k : k + 2]
            result[k], result[k + 1] = np.minimum(low, high), np.maximum(low, high)
    return result


def _compare(
    a: list[_Words], b: list[_Words]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Where one key is less than the other, word by word, and where they are the same."""
    same = np.ones(len(a[0]), dtype=np.bool_)
    less = np.zeros(len(a[0]), dtype=np.bool_)
    for x, y in zip(a, b, strict=True):
        less |= same & (x < y)
        same &= x == y
    return less, same


__all__ = ["Symmetry", "symmetric_sorts"]
