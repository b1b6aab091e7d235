# SPDX-License-Identifier: GPL-2.0-only
"""Each hazard and each defect, switched on, breaks the invariant that the dossier names."""

import pytest

from proofs.bounded import search
from proofs.explorer import explore
from proofs.spec_hunts import SPEC_HUNTS, control, hunt
from proofs.verdict import Verdict
from spec.scope import Scope
from spec.stack import MODELS, SWITCHES, vectors

_SHALLOW = ("MX-D3", "MX-D4", "H7", "H5", "U", "DOM-realloc", "DOM-trim", "N1", "N2", "N4")
"""Hunts whose run is short enough for the bounded search to find within seconds."""


def test_every_switch_has_a_hunt() -> None:
    assert SPEC_HUNTS.keys() == SWITCHES.keys() - {"E0", "H9"}


def test_a_double_free_is_harmless_with_the_fix() -> None:
    found = explore(vectors.build(frozenset({"E0"})), Scope.of(2, 1, 1))
    assert (found.verdict, found.exhausted) == (Verdict.HELD, True)
    assert found.fired["double_free"] > 0


@pytest.mark.parametrize("name", SPEC_HUNTS)
def test_the_shortest_run_is_found(name: str) -> None:
    row = SPEC_HUNTS[name]
    found = hunt(name).counterexample
    assert found is not None
    assert (found.violated, len(found.steps), found.shortest) == (row.invariant, row.steps, True)
    assert set(found.switches) == row.switches
    assert found.false_parts


@pytest.mark.parametrize("name", sorted(SPEC_HUNTS))
def test_with_the_switch_off_nothing_is_found(name: str) -> None:
    found = control(name)
    assert (found.verdict, found.exhausted) == (Verdict.HELD, True)


@pytest.mark.parametrize("name", _SHALLOW)
def test_the_bounded_search_finds_a_run_of_the_same_length(name: str) -> None:
    row = SPEC_HUNTS[name]
    found = search(MODELS[row.layer].build(row.switches), row.scope, row.invariant, row.steps)
    assert (found.verdict, found.depth) == (Verdict.REFUTED, row.steps)
    assert found.counterexample is not None
    assert len(found.counterexample.steps) == row.steps


def test_the_bounded_search_finds_nothing_where_there_is_nothing() -> None:
    found = search(vectors.build(), SPEC_HUNTS["H5"].scope, "MX-3", 3)
    assert (found.verdict, found.depth) == (Verdict.HELD, 3)
