# SPDX-License-Identifier: GPL-2.0-only
"""Every state of the implementation on the smallest machines, and hunts for what can be wrong."""

import pytest

from impl.kernel.kernel import KernelBug
from proofs.explorer import Limit
from proofs.hunts import HUNTS, control, hunt
from proofs.impl_explorer import explore_machine
from proofs.monitored import replay_operations
from proofs.render import render
from proofs.small_machine import SmallMachine
from proofs.verdict import Verdict
from spec.stack import vectors


@pytest.mark.parametrize(
    ("kind", "states", "transitions", "depth"),
    [
        (SmallMachine(2, 1, 1, pcntxt=False), 2052, 15699, 15),
        (SmallMachine(2, 2, 1), 2003, 14960, 18),
    ],
    ids=str,
)
def test_every_state_of_a_small_machine_refines_the_specification(
    kind: SmallMachine, states: int, transitions: int, depth: int
) -> None:
    found = explore_machine(kind, vectors.build())
    assert found.verdict is Verdict.HELD and found.exhausted
    assert (found.states, found.transitions, found.depth) == (states, transitions, depth)
    assert found.fired.keys() == set(found.operations) - {"alloc_legacy", "set_managed_affinity"}
    assert found.dropped.keys() >= {"H2", "H7"}


def test_a_search_that_is_cut_off_says_so() -> None:
    found = explore_machine(SmallMachine(2, 2, 2), vectors.build(), limit=Limit(depth=2))
    assert found.verdict is Verdict.UNDETERMINED and not found.exhausted
    assert found.stopped == "depth" and found.depth == 2
    assert "to depth 2 (depth)" in found.bound


_ENOUGH = 6_100
"""As many states as the longest hunt goes through."""


@pytest.mark.parametrize("name", HUNTS)
def test_a_hunt_finds_the_invariant_that_falls(name: str) -> None:
    row = HUNTS[name]
    found = hunt(name)
    assert found.verdict is Verdict.REFUTED
    assert found.counterexample is not None
    assert found.violated[0] in row.targets
    assert len(found.path) == row.steps
    assert found.counterexample.shortest
    assert [step.action for step in found.counterexample.steps] == [o.name for o in found.path]
    assert f"{found.violated[0]} is violated" in render(found.counterexample)
    model = vectors.build(row.hazards)
    again = replay_operations(row.machine, found.path, model, targets=row.targets)
    assert again is not None and again.violated == found.violated[0]
    if found.path:
        shorter = found.path[:-1]
        before = replay_operations(row.machine, shorter, model, targets=row.targets)
        assert before is None or before.violated not in row.targets


@pytest.mark.parametrize("name", [name for name in HUNTS if name != "MX-D4"])
def test_without_the_defect_the_same_search_finds_nothing(name: str) -> None:
    row = HUNTS[name]
    found = control(name, Limit(depth=row.steps, states=_ENOUGH))
    assert found.counterexample is None
    assert found.exhausted or found.stopped == "depth" or found.states >= _ENOUGH


def test_the_repaired_boot_refuses_the_bit_behind_the_matrix() -> None:
    with pytest.raises(KernelBug, match="bit 3 of 3"):
        control("MX-D4")
