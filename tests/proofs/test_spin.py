# SPDX-License-Identifier: GPL-2.0-only
"""SPIN finds the same states in the same transition system, written by hand in Promela."""

from __future__ import annotations

import pytest

from benchmarks import spin
from proofs.explorer import explore
from spec.scope import Scope
from spec.stack import vectors


@pytest.mark.parametrize("scope", ["1x2x1", "2x1x1", "1x2x2", "2x2x1"])
def test_spin_counts_the_same_states_and_transitions(scope: str) -> None:
    absent = spin.missing()
    assert not absent, f"install {' and '.join(absent)}: apt-get install spin gcc"
    result = explore(vectors.build(), Scope.parse(scope))
    other = spin.search(*map(int, scope.split("x")))
    assert other.errors == 0
    assert (other.states, other.transitions) == (result.states, result.transitions)
