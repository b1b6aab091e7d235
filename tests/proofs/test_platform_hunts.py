# SPDX-License-Identifier: GPL-2.0-only
"""Each defect of the platforms falls to the property that names it; without it nothing does."""

import pytest

from impl.defects import Defect
from proofs.hunted_run import SENTENCES, HuntedRun
from proofs.hunts import HUNTS
from proofs.machine_hunts import MACHINE_HUNTS
from proofs.platform_hunts import PLATFORM_ELSEWHERE, PLATFORM_HUNTS, control, hunt
from proofs.render import render
from proofs.verdict import Verdict


def test_every_defect_is_hunted_or_has_a_reason_why_not() -> None:
    here = PLATFORM_HUNTS.keys() | PLATFORM_ELSEWHERE.keys()
    assert not PLATFORM_HUNTS.keys() & PLATFORM_ELSEWHERE.keys()
    assert here == {defect.value for defect in Defect} - HUNTS.keys() - MACHINE_HUNTS.keys()


def test_every_target_is_a_property_with_a_sentence() -> None:
    targets = {target for row in PLATFORM_HUNTS.values() for target in row.targets}
    assert targets <= SENTENCES.keys()


@pytest.mark.parametrize("name", PLATFORM_HUNTS)
def test_a_hunt_finds_the_property_that_falls(name: str) -> None:
    row = PLATFORM_HUNTS[name]
    assert name in {defect.value for defect in row.machine.defects}
    found = hunt(name)
    assert found.verdict is Verdict.REFUTED
    assert found.violated[0] in row.targets
    assert len(found.path) == row.steps
    counterexample = found.counterexample
    assert counterexample is not None and counterexample.shortest
    assert set(counterexample.switches) == {defect.value for defect in row.machine.defects}
    assert [step.action for step in counterexample.steps] == [o.name for o in found.path]
    assert f"{found.violated[0]} is violated" in render(counterexample)
    assert type(counterexample).from_itf(counterexample.to_itf()) == counterexample


@pytest.mark.parametrize("name", PLATFORM_HUNTS)
def test_without_the_defect_the_same_search_finds_nothing(name: str) -> None:
    found = control(name)
    assert found.counterexample is None and not found.dropped
    assert found.exhausted or found.stopped == "depth"
    assert found.depth == PLATFORM_HUNTS[name].steps or found.exhausted


def test_a_search_goes_back_to_where_it_was() -> None:
    row = PLATFORM_HUNTS["HV-unmask"]
    run = HuntedRun(row.machine.without_defects(), row.operations)
    start, able = run.save(), run.able()
    operation = next(each for each in able if each.name == "alloc_msi")
    assert run.perform(operation) > 0
    assert run.able() != able and not run.allows(operation)
    run.restore(start)
    assert run.able() == able and run.allows(operation)
    run.judge()
