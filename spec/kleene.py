# SPDX-License-Identifier: GPL-2.0-only
"""What compiled formulas call, and what can be told of a formula before it is compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from spec.partial import ANY, UNKNOWN
from spec.terms import Term, value_of


def less(a: Any, b: Any, or_equal: bool) -> Any:
    """``a < b``, or ``a <= b``; the elements that ANY stands for have no known order."""
    if a is UNKNOWN or b is UNKNOWN or a is ANY or b is ANY:
        return UNKNOWN
    return a <= b if or_equal else a < b


def element(value: Any) -> tuple[Any, ...]:
    """The element that an option is known to hold, if it is."""
    return () if value is None or value is UNKNOWN else (value,)


def call(function: Any, *index: Any) -> Any:
    """A parameter that is a function, at an index: a mapping (what it lacks is unknown) or a
    callable of known elements."""
    if any(i is UNKNOWN or i is ANY for i in index):
        return UNKNOWN
    if isinstance(function, Mapping):
        return function.get(index[0] if len(index) == 1 else index, UNKNOWN)
    return function(*index)


def keys(function: Any) -> Iterable[Any]:
    """The elements that such a parameter names."""
    return function if isinstance(function, Mapping) else ()


def poles(term: Term, hidden: frozenset[str]) -> tuple[bool, bool]:
    """Whether a formula can be definitely true, and definitely false, the hidden fields being
    unknown."""
    args = term.args
    match term.op:
        case "const":
            return bool(value_of(term)), not value_of(term)
        case "read":
            return (args[0] not in hidden,) * 2
        case "not":
            true, false = poles(args[0], hidden)
            return false, true
        case "and" | "or" | "implies":
            parts = [poles(a, hidden) for a in args]
            if term.op == "implies":
                parts[0] = parts[0][1], parts[0][0]
            if term.op == "and":
                return all(t for t, _ in parts), any(f for _, f in parts)
            return any(t for t, _ in parts), all(f for _, f in parts)
        case "forall" | "exists":
            return poles(args[-1], hidden)
        case "eq" | "le" | "lt":
            return (not any(_always_unknown(a, hidden) for a in args),) * 2
    return True, True


def _always_unknown(term: Term, hidden: frozenset[str]) -> bool:
    if term.op in ("some", "neg", "add"):
        return any(_always_unknown(a, hidden) for a in term.args)
    return term.op == "read" and term.args[0] in hidden
