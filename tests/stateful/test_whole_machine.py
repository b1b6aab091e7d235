# SPDX-License-Identifier: GPL-2.0-only
"""Random programs on repaired whole machines, and on broken ones."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from impl.defects import Defect
from proofs.counterexample import Step
from proofs.driven import Operation
from proofs.machine_tasks import subjects, tasks
from proofs.monitor import Broken, HazardEntered
from proofs.stateful import Session, drive
from proofs.verdict import Verdict
from proofs.whole_machine import HUBS, MACHINES, SMALL, WholeMachine
from proofs.whole_operations import OPERATIONS
from proofs.whole_run import WholeRun
from proofs.whole_stateful import run


def test_every_operation_is_performed_and_nothing_is_refuted() -> None:
    performed: set[str] = set()
    dropped: set[str] = set()
    for kind, operations in ((SMALL, 500), (HUBS, 500)):
        session = Session.with_run(WholeRun(kind))
        assert drive(session, 20201012, 15) is None
        assert session.operations > operations
        performed |= session.performed.keys()
        dropped |= session.dropped.keys()
    assert performed == OPERATIONS.keys()
    assert dropped >= {"H2"}


def test_the_same_number_gives_the_same_programs() -> None:
    books = []
    for _ in range(2):
        session = Session.with_run(WholeRun(HUBS))
        assert drive(session, 7, 5) is None
        books.append((session.operations, session.performed, session.dropped))
    assert books[0] == books[1]


@pytest.mark.parametrize(
    ("defect", "subjects"),
    [("N1", {"MSI-2", "refinement"}), ("N2", {"MSI-1"}), ("N17", {"refinement"})],
)
def test_a_defect_is_found_shortened_and_confirmed(defect: str, subjects: set[str]) -> None:
    results = run(0, 4000, frozenset({defect}))
    (subject,) = [r.subject for r in results if r.verdict is Verdict.REFUTED]
    assert subject in subjects
    found = next(r.counterexample for r in results if r.subject == subject)
    assert found is not None and found.source == "implementation"
    assert found.switches == (defect,)
    kind = next(k for k in MACHINES if str(k) == found.machine)
    broken = replace(kind, defects=frozenset({Defect(defect)}))
    assert _outcome(broken, found.steps) == subject
    for place in range(len(found.steps)):
        assert _outcome(broken, (*found.steps[:place], *found.steps[place + 1 :])) != subject


def _outcome(kind: WholeMachine, steps: Sequence[Step]) -> str:
    """What a run is refuted by, or nothing; what is not allowed in its turn is left out."""
    try:
        machine = WholeRun(kind)
        machine.judge()
        for step in steps:
            params = tuple((key, value) for key, value in step.params if isinstance(value, int))
            operation = Operation(step.action, params)
            if machine.allows(operation):
                machine.perform(operation)
                machine.judge()
    except HazardEntered:
        return ""
    except Broken as error:
        return error.finding.violated
    return ""


def test_one_task_answers_for_every_law_and_layer() -> None:
    (task,) = tasks(1, frozenset({"N1", "H2"}), b"sources")
    assert task.subjects == subjects()
    assert {"X-1", "X-4", "DOM-3", "MSI-8", "PCI-6", "VEC-9", "VEC-18"} <= set(task.subjects)
    (other,) = tasks(1, frozenset({"H2"}), b"sources")
    assert task.key != other.key


def test_a_defect_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="N99"):
        run(0, 10, frozenset({"N99"}))
