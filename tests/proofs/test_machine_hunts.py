# SPDX-License-Identifier: GPL-2.0-only
"""Each defect N1 to N17 falls to the property that names it, and without it nothing does."""

import pytest

from proofs.hunts import HUNTS
from proofs.machine_hunts import ELSEWHERE, MACHINE_HUNTS, control, hunt
from proofs.monitor import Broken
from proofs.render import render
from proofs.verdict import Verdict
from proofs.whole_run import WholeRun


def test_every_defect_of_section_13_is_hunted() -> None:
    numbered = {f"N{number}" for number in range(1, 18)}
    assert MACHINE_HUNTS.keys() | ELSEWHERE.keys() == numbered
    assert not MACHINE_HUNTS.keys() & ELSEWHERE.keys()
    assert set(ELSEWHERE.values()) <= HUNTS.keys()


@pytest.mark.parametrize("name", MACHINE_HUNTS)
def test_a_hunt_finds_the_property_that_falls(name: str) -> None:
    row = MACHINE_HUNTS[name]
    assert {defect.value for defect in row.machine.defects} == {name}
    found = hunt(name)
    assert found.verdict is Verdict.REFUTED
    assert found.violated[0] in row.targets
    assert len(found.path) == row.steps
    counterexample = found.counterexample
    assert counterexample is not None and counterexample.shortest
    assert counterexample.switches == (name,)
    assert [step.action for step in counterexample.steps] == [o.name for o in found.path]
    assert f"{found.violated[0]} is violated" in render(counterexample)


@pytest.mark.parametrize("name", MACHINE_HUNTS)
def test_without_the_defect_the_same_search_finds_nothing(name: str) -> None:
    found = control(name)
    assert found.counterexample is None
    assert found.exhausted or found.stopped == "depth"
    assert found.depth == MACHINE_HUNTS[name].steps


@pytest.mark.parametrize("name", [name for name, row in MACHINE_HUNTS.items() if row.steps])
def test_no_shorter_run_shows_the_defect(name: str) -> None:
    row = MACHINE_HUNTS[name]
    path = hunt(name).path
    run = WholeRun(row.machine, layers=row.layers, lenient=True)
    for operation in path[:-1]:
        run.perform(operation)
        assert run.finding(frozenset(row.targets)) is None
    run.perform(path[-1])
    finding = run.finding(frozenset(row.targets))
    assert finding is not None and finding.violated in row.targets


def test_n2_leaves_the_first_allocation_without_an_operation_to_call() -> None:
    row = MACHINE_HUNTS["N2"]
    run = WholeRun(row.machine, layers=row.layers, lenient=True)
    assign = next(o for o in run.able() if o.name == "hpet_assign_irq")
    with pytest.raises(Broken, match="get_hwirq"):
        run.perform(assign)
