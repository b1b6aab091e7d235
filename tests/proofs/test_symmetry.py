# SPDX-License-Identifier: GPL-2.0-only
"""Orbits: they are those of the whole group, and what they stand for is what there is."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from proofs.explorer import explore
from proofs.symmetry import Symmetry, symmetric_sorts
from spec.columns import compile
from spec.language import Layer
from spec.scope import Scope
from spec.stack import vectors
from spec.state import State
from spec.terms import Int, Option, Term, none
from tests.proofs.naive_search import freeze
from tests.proofs.small_layers import GUEST, SEAT, guests, queue
from tests.proofs.test_explorer import party, replay
from tests.spec.test_columns import random_state


@pytest.mark.parametrize(("seats", "people"), [(1, 2), (3, 3), (2, 5), (5, 2), (4, 4)])
def test_orbits_stand_for_every_state_and_every_step(seats: int, people: int) -> None:
    model, scope = guests().build(), party(seats, people)
    plain, orbits = explore(model, scope), explore(model, scope, symmetry=True)
    assert orbits.symmetry and orbits.exhausted
    # Who sits where matters no more, only how many sit.
    assert orbits.levels == (1,) * (min(seats, people) + 1)
    assert orbits.full_states == plain.states == plain.full_states
    assert orbits.full_transitions == plain.transitions == plain.full_transitions


@pytest.mark.parametrize(
    ("scope", "orbits"),
    [
        ("1x1x1", 30),
        ("1x2x1", 72),
        ("2x1x1", 771),
        ("2x2x1", 4360),
        ("1x2x3", 1248),
        ("1x3x2", 814),
        ("3x1x1", 5984),
    ],
)
def test_orbits_of_the_vector_layer(scope: str, orbits: int) -> None:
    model, small = vectors.build(), Scope.parse(scope)
    plain, reduced = explore(model, small), explore(model, small, symmetry=True)
    assert reduced.full_states == plain.states
    assert reduced.full_transitions == plain.transitions
    assert {n: c > 0 for n, c in reduced.fired.items()} == {
        n: c > 0 for n, c in plain.fired.items()
    }
    assert reduced.depth == plain.depth
    assert reduced.states == orbits


def test_representatives_are_those_of_the_whole_group() -> None:
    model, scope = vectors.build(), Scope.parse("2x2x1")
    columns = compile(model, scope)
    symmetry = Symmetry(columns, columns.invariants)
    assert set(symmetry.sorts) == {"Cpu", "Vector"} and symmetry.order == 4
    rng = random.Random(5)
    for _ in range(300):
        state = columns.state(columns.row(random_state(model, scope, rng)))
        images = {freeze(image): image for image in _images(model, scope, state)}
        rows = np.stack([columns.row(image) for image in images.values()])
        found, sizes = symmetry.representatives(rows)
        assert len({row.tobytes() for row in found}) == 1
        assert set(sizes) == {len(images)}
        assert freeze(columns.state(found[0])) in images


def _images(model: Any, scope: Scope, state: Any) -> Any:
    for cpus in permutations(range(scope.size("Cpu"))):
        for bits in permutations(range(scope.size("Vector"))):
            yield _image(model, {"Cpu": cpus, "Vector": bits, "Irq": (0,)}, state)


def _image(model: Any, move: Any, state: Any) -> Any:
    result = {}
    for name, values in state.items():
        f = model.fields[name]
        sort = f.type.of.name if isinstance(f.type, Option) else None
        result[name] = {
            tuple(move[s.name][e] for s, e in zip(f.args, index, strict=True)): (
                value if sort is None or value is None else move[sort][value]
            )
            for index, value in values.items()
        }
    return result


@pytest.mark.parametrize(("defect", "actions"), [("sit on a lap", 2), ("miscount", 3)])
def test_a_counterexample_is_a_real_run(defect: str, actions: int) -> None:
    model, scope = guests(defect).build(), party(3, 3)
    found = explore(model, scope, symmetry=True).counterexample
    assert found is not None and len(found.steps) == actions
    replay(model, scope, found)


@pytest.mark.parametrize("switch", ["H1", "H2", "H7", "MX-D1", "MX-D3 E0"])
def test_historic_defects_are_found_by_real_runs(switch: str) -> None:
    model, scope = vectors.build(frozenset(switch.split())), Scope.parse("2x2x1")
    plain, reduced = (explore(model, scope, symmetry=s).counterexample for s in (False, True))
    assert plain is not None and reduced is not None
    assert len(plain.steps) == len(reduced.steps)
    replay(model, scope, plain)
    replay(model, scope, reduced)


def test_an_order_breaks_the_symmetry_of_its_sort() -> None:
    model, scope = queue().build(), Scope({"Guest": 4})
    assert symmetric_sorts(model, scope, ()) == ()
    assert explore(model, scope, symmetry=True).states == 5


def test_a_rigid_field_breaks_the_symmetry_of_what_it_tells_apart() -> None:
    model = vectors.build()
    assert symmetric_sorts(model, Scope.parse("2x3x2"), ()) == ("Cpu", "Vector", "Irq")
    uneven = Scope.of(2, 3, 2, allocatable=frozenset({0}))
    assert symmetric_sorts(model, uneven, ()) == ("Cpu", "Irq")
    named = Scope.of(2, 3, 2, isa_irq={0: 1})
    assert symmetric_sorts(model, named, ()) == ("Cpu",)


def test_a_sort_that_indexes_numbers_is_permuted_in_every_way() -> None:
    layer = Layer("purses", (GUEST, SEAT))
    layer.field("purse", GUEST, type=Int((SEAT,)), doc="")
    layer.field("first", type=Option(GUEST), doc="")

    @layer.operation(guest=GUEST)
    def earn(s: State, guest: Term) -> None:
        s.require(s.purse[guest] < 2)
        s.purse[guest] += 1

    @layer.operation(guest=GUEST)
    def win(s: State, guest: Term) -> None:
        s.require(s.first == none(GUEST), s.purse[guest] == 2)
        s.first = guest

    scope = Scope({"Guest": 4, "Seat": 2})
    plain, reduced = explore(layer.build(), scope), explore(layer.build(), scope, symmetry=True)
    assert plain.states == 3**4 + 4 * 3**3
    # A multiset of four purses, or a winner and a multiset of the three others.
    assert reduced.states == 15 + 10
    assert (reduced.full_states, reduced.full_transitions) == (plain.states, plain.transitions)
