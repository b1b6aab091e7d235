# SPDX-License-Identifier: GPL-2.0-only
"""Bitwise operators for CrossHair's symbolic ints, so that it need not guess at them.

CrossHair represents an int by one of Z3's mathematical integers. Those have no bits, and where a
program asks for some it tries one value after the other. Most of what a driver does with bits is
arithmetic: the union of fields that do not overlap is their sum, and a field cut out of a word is
a quotient and a remainder. Where the solver shows that this holds on the path at hand, the value
stays symbolic; anywhere else CrossHair does what it always does.
"""

import functools
import operator
from collections.abc import Callable
from contextlib import AbstractContextManager
from numbers import Integral
from typing import Final

import z3
from crosshair.core import realize
from crosshair.libimpl.builtinslib import SymbolicInt, setup_binop
from crosshair.statespace import context_statespace
from crosshair.tracers import NoTracing

_untraced: Callable[[], AbstractContextManager[object]] = NoTracing

_WIDEST: Final = 64
"""Bits of the widest word whose fields are looked for."""


def _expression(value: Integral) -> z3.ArithRef:
    return value.var if isinstance(value, SymbolicInt) else z3.IntVal(int(value))


def _certain(condition: z3.BoolRef) -> bool:
    return not context_statespace().is_possible(z3.Not(condition))


def _field(value: Integral) -> tuple[int, int] | None:
    """(low, high) such that only the bits of [low, high) can be set; None if there is no bound."""
    if not isinstance(value, SymbolicInt):
        word = int(value)
        return ((word & -word).bit_length() - 1, word.bit_length()) if word > 0 else None
    number = _expression(value)
    if not _certain(z3.And(number >= 0, number < 1 << _WIDEST)):
        return None
    high = _least(lambda bit: _certain(number < 1 << bit), _WIDEST)
    low = high - _least(lambda bit: _certain(number % (1 << high - bit) == 0), high)
    return low, high


def _least(holds: Callable[[int], bool], limit: int) -> int:
    """The least number for which `holds`, which holds of `limit` and all above the answer."""
    low = 0
    while low < limit:
        middle = (low + limit) // 2
        if holds(middle):
            limit = middle
        else:
            low = middle + 1
    return low


def _number(value: Integral) -> Integral:
    return value if isinstance(value, SymbolicInt) else realize(value)


def _union(op: object, a: Integral, b: Integral) -> object:
    with _untraced():
        a, b = _number(a), _number(b)
        for word, other in ((a, b), (b, a)):
            field = _field(other)
            if field is not None and _certain(_bits(_expression(word), *field) == 0):
                return SymbolicInt(_expression(a) + _expression(b))
        return realize(a) | realize(b)


def _intersection(op: object, a: Integral, b: Integral) -> object:
    with _untraced():
        word, mask = (b, realize(a)) if isinstance(b, SymbolicInt) else (_number(a), realize(b))
        if mask < 0 or not isinstance(word, SymbolicInt):
            return realize(word) & mask
        number, parts = _expression(word), z3.IntVal(0)
        for low, high in _runs(mask):
            parts += _bits(number, low, high)
        return SymbolicInt(parts)


def _bits(number: z3.ArithRef, low: int, high: int) -> z3.ArithRef:
    """The bits of [low, high) in their places; Z3 rounds a quotient down, as a shift does."""
    return number / (1 << low) % (1 << high - low) * (1 << low)


def _runs(mask: int) -> list[tuple[int, int]]:
    """The runs of ones in a mask, as [low, high)."""
    runs, low = [], 0
    while mask >> low:
        low += (mask >> low & -(mask >> low)).bit_length() - 1
        ones = ((mask >> low) + 1 & ~(mask >> low)).bit_length() - 1
        runs.append((low, low + ones))
        low += ones
    return runs


@functools.cache
def install() -> None:
    """Have CrossHair use these operators, in this process and for good."""
    # It learns from a function's annotations which operands the function is for.
    register: Callable[..., None] = setup_binop
    register(_union, {operator.or_})
    register(_intersection, {operator.and_})
