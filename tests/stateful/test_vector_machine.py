# SPDX-License-Identifier: GPL-2.0-only
"""Random programs on the repaired machine, and on broken ones."""

from dataclasses import replace

import pytest

from impl.defects import Defect
from proofs.monitor import Broken, HazardEntered
from proofs.monitored import replay_operations
from proofs.small_machine import OPERATIONS, Operation, SmallMachine
from proofs.stateful import MACHINES, Session, drive, run
from proofs.verdict import Verdict
from spec.stack import vectors


def test_every_operation_is_performed_and_nothing_is_refuted() -> None:
    performed: set[str] = set()
    dropped: set[str] = set()
    for kind in MACHINES:
        session = Session.of(kind)
        assert drive(session, 20201012, 30) is None
        assert session.operations > 900
        performed |= session.performed.keys()
        dropped |= session.dropped.keys()
    # There are no legacy irqs here, and changing a managed mask is H7.
    assert performed | {"set_managed_affinity"} == OPERATIONS.keys() - {"alloc_legacy"}
    assert dropped >= {"H2", "H7"}


def test_the_same_number_gives_the_same_programs() -> None:
    books = []
    for _ in range(2):
        session = Session.of(MACHINES[0])
        assert drive(session, 7, 5) is None
        books.append((session.operations, session.performed, session.dropped))
    assert books[0] == books[1]
    other = Session.of(MACHINES[0])
    drive(other, 8, 5)
    assert other.performed != books[0][1]


def test_with_full_cpus_allowed_the_machine_still_refines_the_specification() -> None:
    results = run(1, 1500, frozenset({"H8"}))
    assert {r.verdict for r in results} == {Verdict.HELD}
    assert not {"VEC-12", "VEC-22"} & {r.subject for r in results}


@pytest.mark.parametrize(
    ("defect", "subject"),
    [("H1", "refinement"), ("MX-D1", "refinement")],
)
def test_a_defect_is_found_shortened_and_confirmed(defect: str, subject: str) -> None:
    results = run(0, 3000, frozenset({defect}))
    refuted = [r for r in results if r.verdict is Verdict.REFUTED]
    assert [r.subject for r in refuted] == [subject]
    found = refuted[0].counterexample
    assert found is not None and found.source == "implementation"
    assert found.switches == (defect,) and not found.shortest
    kind = next(k for k in _broken(defect) if str(k) == found.machine)
    path = [_operation(step.action, step.params) for step in found.steps]
    model = vectors.build()
    again = replay_operations(kind, path, model)
    assert again is not None and again.violated == subject
    for place in range(len(path)):
        shorter = path[:place] + path[place + 1 :]
        assert not _allowed(kind, shorter) or replay_operations(kind, shorter, model) is None


def test_a_switch_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="H99"):
        run(0, 10, frozenset({"H99"}))


def _broken(defect: str) -> list[SmallMachine]:
    return [replace(kind, defects=frozenset({Defect(defect)})) for kind in MACHINES]


def _operation(name: str, params: tuple[tuple[str, object], ...]) -> Operation:
    numbers = []
    for key, value in params:
        assert isinstance(value, int)
        numbers.append((key, value))
    return Operation(name, tuple(numbers))


def _allowed(kind: SmallMachine, path: list[Operation]) -> bool:
    """Whether the contracts of drivers and environment allow each operation in its turn."""
    session = Session.of(kind)
    for operation in path:
        if not session.run.allows(operation):
            return False
        try:
            session.run.perform(operation)
        except HazardEntered:
            return False
        except Broken:
            return True
    return True
