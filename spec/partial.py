# SPDX-License-Identifier: GPL-2.0-only
"""States that are known only in part.

A cell holds a value or UNKNOWN. The elements of a sort are not known either, so a field keeps the
cells that somebody named, and one value for all the others under the key ANY. A relation of which
nothing is true is one entry, however large the machine; what `forall` must look at are the named
cells and ANY, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from spec.records import Field
from spec.terms import value_of


class _Mark:
    """A value that is no value: it has a name, and no truth."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __bool__(self) -> bool:
        raise TypeError(f"{self._name} is neither true nor false")

    def __reduce__(self) -> str:
        return self._name


UNKNOWN: Final = _Mark("UNKNOWN")
ANY: Final = _Mark("ANY")


class OneOf:
    """A member of an enumeration that is known to be one of a few.

    Comparing it answers False for any other member, and UNKNOWN for one of them."""

    __slots__ = ("members",)

    def __init__(self, members: frozenset[str]) -> None:
        self.members = members

    def __eq__(self, other: object) -> Any:
        return UNKNOWN if not isinstance(other, str) or other in self.members else False

    __hash__ = None  # type: ignore[assignment]  # not even equal to itself

    def __repr__(self) -> str:
        return " or ".join(sorted(self.members))


def is_open(value: Any) -> bool:
    """Whether a cell's value is not known, or not quite."""
    return value is UNKNOWN or type(value) is OneOf


Store = dict[Any, Any]
"""The cells of one field. No argument: {ANY: value}. One: {element: value, ANY: value}. Two:
{element: row, ANY: row}, a row being {element: value, ANY: value}. Three: the same, but the keys of
a row are pairs of elements; then nothing can be said of one half of a pair alone, so that all
elements of the sorts must be known."""


class PartialState:
    """The cells of every field, each known or not. `stores` may be read, never replaced: compiled
    readings hold on to them."""

    __slots__ = ("fields", "stores")

    def __init__(self, fields: Mapping[str, Field]) -> None:
        deep = [name for name, field in fields.items() if len(field.args) > 3]
        if deep:
            raise ValueError(f"more than three arguments: {', '.join(deep)}")
        self.fields = fields
        self.stores: dict[str, Store] = {name: {} for name in fields}
        for name in fields:
            self.fill(name, UNKNOWN)

    def fill(self, name: str, value: Any) -> None:
        """Every cell of the field holds `value`."""
        store = self.stores[name]
        store.clear()
        store[ANY] = {ANY: value} if len(self.fields[name].args) > 1 else value

    def begin(self, name: str) -> None:
        """Every cell of the field holds its initial value."""
        self.fill(name, value_of(self.fields[name].initial))

    def get(self, name: str, *index: Any) -> Any:
        """A cell's value or UNKNOWN; an index may be ANY, but none of them None or UNKNOWN."""
        store = self.stores[name]
        if not index:
            return store[ANY]
        value: Any = store.get(index[0], store[ANY])
        return value if len(index) == 1 else value.get(_key(index), value[ANY])

    def put(self, name: str, index: tuple[Any, ...], value: Any) -> None:
        """Write one cell; with ANY in the index, what all cells hold that have no entry."""
        put(self.stores[name], index, True, value)

    def forget(self, name: str, *index: Any) -> None:
        """Forget the cells whose index begins like this: all, a row, or one cell."""
        store = self.stores[name]
        if not index:
            self.fill(name, UNKNOWN)
        elif len(index) < len(self.fields[name].args):
            store[index[0]] = {ANY: UNKNOWN}
        else:
            self.put(name, index, UNKNOWN)

    def copy(self) -> dict[str, Store]:
        """All that is known now, for `restore`."""
        return {
            name: {k: dict(v) if isinstance(v, dict) else v for k, v in store.items()}
            for name, store in self.stores.items()
        }

    def restore(self, copy: Mapping[str, Store]) -> None:
        """Know what was known at `copy`, which can be restored again."""
        for name, store in self.stores.items():
            store.clear()
            store.update({k: dict(v) if isinstance(v, dict) else v for k, v in copy[name].items()})

    def named(self, name: str) -> Iterable[Any]:
        """The elements that have an entry of their own as the field's first index."""
        return [key for key in self.stores[name] if key is not ANY]


def put(store: Store, index: tuple[Any, ...], condition: Any, value: Any) -> None:
    """``store[index] := value`` where the condition holds, three-valued.

    An index that is none writes nothing; an unknown one may have written anywhere, so everything
    is forgotten that the value would change. An entry equal to the rest is dropped: the memory of
    a long run stays that of its state."""
    if condition is False or None in index:
        return
    if UNKNOWN in index:
        _blur(store, len(index), value)
        return
    if not index:
        store[ANY] = _joined(store[ANY], condition, value)
        return
    first = index[0]
    if len(index) == 1:
        new = _joined(store.get(first, store[ANY]), condition, value)
        if first is not ANY and _same(new, store[ANY]):
            store.pop(first, None)
        else:
            store[first] = new
        return
    key = _key(index)
    row = store.get(first)
    if row is None:
        row = store[first] = dict(store[ANY])
    new = _joined(row.get(key, row[ANY]), condition, value)
    if key is not ANY and _same(new, row[ANY]):
        row.pop(key, None)
    else:
        row[key] = new
    alone = len(row) == 1 and first is not ANY and len(store[ANY]) == 1
    if alone and _same(row[ANY], store[ANY][ANY]):
        del store[first]


def put_many(store: Store, writes: Sequence[tuple[tuple[Any, ...], Any, Any]]) -> None:
    """``put`` at several places at the same time; those with ANY come before those without."""
    if any(ANY in at and condition is not False for at, condition, _ in writes):
        # What ANY gets is not for those that were told apart.
        for at, _, _ in writes:
            pin(store, at)
    for at, condition, value in writes:
        put(store, at, condition, value)


def pin(store: Store, index: tuple[Any, ...]) -> None:
    """Give a cell an entry of its own, with the value that it has."""
    if len(index) == 1:
        store.setdefault(index[0], store[ANY])
    elif index:
        row = store.setdefault(index[0], dict(store[ANY]))
        row.setdefault(_key(index), row[ANY])


def _key(index: tuple[Any, ...]) -> Any:
    """The key of a cell in its row."""
    return index[1] if len(index) == 2 else index[1:]


def _same(a: Any, b: Any) -> bool:
    return a is b or (not is_open(a) and not is_open(b) and bool(a == b))


def _joined(old: Any, condition: Any, value: Any) -> Any:
    return value if condition is True else merge(old, value)


def _blur(store: Store, arity: int, value: Any) -> None:
    for cells in list(store.values()) if arity > 1 else [store]:
        for key in cells:
            cells[key] = merge(cells[key], value)


def merge(a: Any, b: Any) -> Any:
    """What is known of a value that is one of two."""
    if _same(a, b):
        return a
    left, right = _few(a), _few(b)
    return UNKNOWN if left is None or right is None else OneOf(left | right)


def _few(value: Any) -> frozenset[str] | None:
    if isinstance(value, str):
        return frozenset({value})
    return value.members if isinstance(value, OneOf) else None
