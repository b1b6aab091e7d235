# SPDX-License-Identifier: GPL-2.0-only
"""Random programs on repaired whole machines, and on broken ones."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from impl.defects import Defect
from proofs.counterexample import Step
from proofs.driven import Operation
from proofs.machine_tasks import subjects, task_name, tasks
from proofs.monitor import Broken, HazardEntered
from proofs.platform_operations import PLATFORM_OPERATIONS
from proofs.stateful import Session, drive
from proofs.verdict import Verdict
from proofs.whole_machine import HUBS, SMALL, WholeMachine
from proofs.whole_operations import OPERATIONS
from proofs.whole_run import WholeRun
from proofs.whole_stateful import WHOLE, run


def test_every_operation_of_bare_metal_is_performed_and_nothing_is_refuted() -> None:
    performed: set[str] = set()
    dropped: set[str] = set()
    for kind, operations in ((SMALL, 500), (HUBS, 500)):
        session = Session.with_run(WholeRun(kind))
        assert drive(session, 20201012, 15) is None
        assert session.operations > operations
        performed |= session.performed.keys()
        dropped |= session.dropped.keys()
    assert performed == OPERATIONS.keys() - PLATFORM_OPERATIONS.keys() | {"sleep"}
    assert dropped >= {"H2"}


def test_the_same_number_gives_the_same_programs() -> None:
    books = []
    for _ in range(2):
        session = Session.with_run(WholeRun(HUBS))
        assert drive(session, 7, 5) is None
        books.append((session.operations, session.performed, session.dropped))
    assert books[0] == books[1]


@pytest.mark.parametrize(
    ("machine", "defect", "subjects"),
    [
        ("small", "N1", {"MSI-2", "refinement"}),
        ("small", "N2", {"MSI-1"}),
        ("small", "N17", {"refinement"}),
        ("vtd", "F2", {"SEL-3"}),
        ("amd-vi", "AMD-alias", {"AMD-1"}),
        ("hyper-v", "HV-compose", {"HVP-1"}),
        ("vmd", "VMD-03", {"VMD-5"}),
        ("xen-hvm", "F13", {"XB-16"}),
        ("device-msi", "DEV-D7", {"IMS-3"}),
    ],
)
def test_a_defect_is_found_shortened_and_confirmed(
    machine: str, defect: str, subjects: set[str]
) -> None:
    results = run(0, 4000, frozenset({defect}), machine)
    (subject,) = [r.subject for r in results if r.verdict is Verdict.REFUTED]
    assert subject in subjects
    found = next(r.counterexample for r in results if r.subject == subject)
    assert found is not None and found.source == "implementation"
    assert found.switches == (defect,)
    broken = replace(WHOLE[machine], defects=frozenset({Defect(defect)}))
    assert found.machine == str(broken)
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


def test_each_machine_has_a_task_that_answers_for_its_laws_and_layers() -> None:
    found = {task.name: task for task in tasks(1, frozenset({"N1", "H2"}), b"sources")}
    assert found.keys() == set(map(task_name, WHOLE))
    for name in WHOLE:
        assert found[task_name(name)].subjects == subjects(name)
        assert {"X-4", "VEC-18", "DOM-chain"} <= set(subjects(name))
    assert {"X-1", "DOM-3", "MSI-8", "PCI-6", "VEC-9", "refinement"} <= set(subjects("small"))
    assert {"INT-1", "SEL-3", "VEC-9"} <= set(subjects("vtd"))
    assert {"XB-6", "XB-7", "XEN-4"} <= set(subjects("xen-dom0"))
    assert not {"VEC-9", "INT-1", "refinement"} & set(subjects("xen-domu"))
    others = {task.name: task for task in tasks(1, frozenset({"H2"}), b"sources")}
    assert all(others[name].key != task.key for name, task in found.items())


def test_a_defect_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="N99"):
        run(0, 10, frozenset({"N99"}))
