# SPDX-License-Identifier: GPL-2.0-only
"""Cells with two and three arguments, and the rows that they are kept in."""

from itertools import product

import pytest

from spec.partial import ANY, PartialState
from spec.records import Field
from spec.terms import BOOL, FALSE, Sort

A, B, C, D = (Sort(name) for name in "ABCD")


def _field(name: str, *args: Sort) -> Field:
    return Field(name, args, BOOL, "", FALSE)


FIELDS = {f.name: f for f in (_field("two", A, B), _field("three", A, B, C))}


@pytest.mark.parametrize("name", FIELDS)
def test_a_cell_is_written_and_no_other(name: str) -> None:
    state, width = PartialState(FIELDS), len(FIELDS[name].args)
    state.begin(name)
    written = (1, 0, 2)[:width]
    state.put(name, written, True)
    for index in product(range(3), repeat=width):
        assert state.get(name, *index) is (index == written)
    state.put(name, written, False)
    assert state.stores[name] == {ANY: {ANY: False}}


def test_a_row_of_three_arguments_has_pairs_as_keys() -> None:
    state = PartialState(FIELDS)
    state.begin("three")
    state.put("three", (4, 5, 6), True)
    assert state.stores["three"] == {ANY: {ANY: False}, 4: {ANY: False, (5, 6): True}}


def test_four_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="more than three arguments: four"):
        PartialState({"four": _field("four", A, B, C, D)})
