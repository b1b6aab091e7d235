# SPDX-License-Identifier: GPL-2.0-only
"""That some fields are the same in two states: what most theorems say."""

from __future__ import annotations

from collections.abc import Iterable

from spec.records import Field, index_variables
from spec.state import State
from spec.terms import Term, and_, eq, quantified

__all__ = ["alike"]


def alike(before: State, after: State, fields: Iterable[Field]) -> Term:
    """Every one of the fields has the same value everywhere in both states."""

    def same(f: Field) -> Term:
        at = index_variables(f)
        return quantified("forall", at, eq(after.get(f, at), before.get(f, at)))

    return and_(*map(same, fields))
