# SPDX-License-Identifier: GPL-2.0-only
"""Scopes: what they say, and what they refuse."""

from __future__ import annotations

import pickle

import pytest

from spec.scope import Scope


def test_a_scope_is_read_and_printed() -> None:
    scope = Scope.parse("2x4x3")
    assert scope.sizes == {"Cpu": 2, "Vector": 4, "Irq": 3}
    assert scope.rigid["alloc_size"] == {(): 4}
    assert all(scope.rigid["allocatable"].values()) and len(scope.rigid["allocatable"]) == 4
    assert str(scope) == "2x4x3"
    assert pickle.loads(pickle.dumps(scope)) == scope


@pytest.mark.parametrize(
    "text", ["", "2x4", "2x4x3x1", "ax4x3", "2x-4x3", "0x4x3", "2x65x3", "2 4 3"]
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="scope"):
        Scope.parse(text)


def test_a_sort_without_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="Device"):
        Scope.parse("1x1x1").size("Device")


def test_the_allocation_range_can_be_smaller() -> None:
    scope = Scope.of(1, 3, 1, allocatable=frozenset({1, 2}), isa_irq={0: 0})
    assert scope.rigid["alloc_size"] == {(): 2}
    assert scope.rigid["allocatable"] == {(0,): False, (1,): True, (2,): True}
    assert scope.rigid["isa_irq"] == {(0,): 0}


def test_places_are_in_order() -> None:
    scope = Scope.parse("2x1x2")
    assert scope.places(("Cpu", "Irq")) == ((0, 0), (0, 1), (1, 0), (1, 1))
    assert scope.places(()) == ((),)
