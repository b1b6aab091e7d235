# SPDX-License-Identifier: GPL-2.0-only
"""The monitor sees what it is there for: each way to leave the specification is noticed."""

from collections.abc import Callable

import pytest

from impl.kernel.irq import matrix as impl_matrix
from impl.trace import Event
from proofs.events import EVENTS
from proofs.impl_events import IMPL_EVENTS
from proofs.judge import Judge, friendly
from proofs.monitor import Broken, HazardEntered
from proofs.monitored import Run
from proofs.small_machine import Operation, SmallMachine
from spec.evaluate import evaluate
from spec.stack import vectors

SMALL = SmallMachine(3, 3, 3)


def done(name: str, **params: int) -> Operation:
    return Operation(name, tuple(params.items()))


def ran(kind: SmallMachine, *operations: Operation, hazards: frozenset[str] = frozenset()) -> Run:
    run = Run(kind, vectors.build(hazards))
    for operation in operations:
        run.perform(operation)
        run.judge()
    return run


MOVE = (
    done("alloc_reserved", mask=1),
    done("early_activate", irq=0, can_reserve=1),
    done("request_irq", irq=0),
    done("set_affinity", irq=0, mask=2),
)


def test_a_move_is_followed_to_its_end() -> None:
    run = ran(SMALL, *MOVE, done("fire", irq=0), done("cleanup_ipi", cpu=0))
    assert run.seen["cpu"][0] == 1
    assert run.monitor.events > 40


def test_a_machine_with_legacy_irqs_boots_and_hands_one_over() -> None:
    kind = SmallMachine(2, 5, 4, legacy=3)
    run = ran(kind, done("alloc_legacy", irq=1), done("request_irq", irq=1))
    assert run.seen["isa"][0] == {**run.seen["isa"][0], 1: True}
    assert 2 not in run.seen["isa"][0]
    run = ran(kind, done("alloc_legacy", irq=2), done("cpu_down", cpu=1), done("cpu_up", cpu=1))
    assert not run.seen["desc"].get(2)


@pytest.mark.parametrize(
    ("break_it", "violated"),
    [
        (lambda run: run.machine.vectors.vector_irq[1].__setitem__(1, -3), "refinement"),
        (lambda run: setattr(run.machine.matrix.maps[1], "alloc_map", 0), "refinement"),
        (lambda run: setattr(run.machine.matrix, "global_reserved", 0xFFFFFFFF), "refinement"),
    ],
    ids=["table", "bitmap", "counter"],
)
def test_a_state_that_no_event_explains_is_refuted(
    break_it: Callable[[Run], None], violated: str
) -> None:
    run = ran(SMALL, *MOVE)
    break_it(run)
    with pytest.raises(Broken) as caught:
        run.perform(done("cpu_down", cpu=2))
    assert caught.value.finding.violated == violated


def test_an_event_at_the_wrong_time_is_refuted_by_its_guard() -> None:
    run = ran(SMALL, *MOVE)
    fields = {"irq": 1, "cpu": 0, "vector": 1, "is_managed": 0}
    with pytest.raises(Broken, match=r"vector_free_moved needs prev_vector\[irq\] = vector"):
        run.monitor.event(Event("irq_vectors", "vector_free_moved", 0, fields | {"vector": 2}))


def test_a_number_that_the_state_does_not_have_is_refuted() -> None:
    run = ran(SMALL)
    fields = {"online_maps": 3, "global_avl": 8, "global_rsvd": 1, "total_alloc": 0}
    with pytest.raises(Broken, match="prints global_avl=8 where global_available is 9"):
        run.monitor.event(Event("irq_matrix", "irq_matrix_reserve", 0, fields))


def test_an_event_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(KeyError):
        ran(SMALL).monitor.event(Event("irq", "no_such_event", 0, {}))
    assert not EVENTS.keys() & IMPL_EVENTS.keys()


@pytest.mark.parametrize(
    ("function", "wrong", "operation"),
    [
        ("_matrix_find_best_cpu", lambda m, msk: msk.bit_length() - 1, "alloc_masked"),
        ("_matrix_find_best_cpu_managed", lambda m, msk: 0, "request_irq"),
    ],
)
def test_another_choice_of_a_cpu_breaks_mx_12(
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    wrong: Callable[[impl_matrix.IrqMatrix, int], int],
    operation: str,
) -> None:
    right = getattr(impl_matrix, function)

    def choose(m: impl_matrix.IrqMatrix, msk: int) -> int:
        right(m, msk)
        return wrong(m, msk)

    monkeypatch.setattr(impl_matrix, function, choose)
    run = ran(SMALL, done("alloc_managed", mask=7))
    params = {"mask": 7} if operation == "alloc_masked" else {"irq": 0}
    with pytest.raises(Broken, match="MX-12"):
        run.perform(done(operation, **params))


def test_a_search_that_gives_up_too_early_breaks_mx_11(monkeypatch: pytest.MonkeyPatch) -> None:
    right = impl_matrix._matrix_find_best_cpu
    monkeypatch.setattr(impl_matrix, "_matrix_find_best_cpu", lambda m, k: right(m, k) * 0 - 1)
    with pytest.raises(Broken, match="MX-12"):
        ran(SMALL, done("alloc_masked", mask=7))


@pytest.mark.parametrize(
    ("hazard", "operations"),
    [
        ("H2", [done("alloc_masked", mask=1), done("cpu_down", cpu=0)]),
        (
            "H7",
            [done("alloc_managed", mask=1), done("set_managed_affinity", irq=0, mask=2)],
        ),
    ],
)
def test_a_hazard_is_dropped_or_if_on_followed(hazard: str, operations: list[Operation]) -> None:
    *before, last = operations
    run = ran(SMALL, *before)
    saved, seen = run.save(), run.seen
    with pytest.raises(HazardEntered, match=hazard):
        run.perform(last)
    run.restore(saved)
    assert run.seen == seen == run.monitor.seen(run.machine)
    run.perform(done("fire", irq=0))
    assert ran(SMALL, *operations, hazards=frozenset({hazard})).operations[-1] == last


def test_a_failure_that_leaves_a_trace_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    run = ran(SMALL, *(done("alloc_masked", mask=1) for _ in range(3)), done("free_irqs", irq=2))
    assert run.perform(done("alloc_masked", mask=1)) == 3
    full = ran(SmallMachine(1, 2, 3), done("alloc_masked", mask=1), done("alloc_masked", mask=1))
    assert full.perform(done("alloc_managed", mask=1)) == -28
    monkeypatch.setattr("proofs.small_machine.VectorMachine.alloc_irqs", _failing_alloc)
    with pytest.raises(Broken, match="VEC-19"):
        ran(SMALL).perform(done("alloc_masked", mask=1))


def _failing_alloc(machine: object, *args: object, **more: object) -> int:
    from impl.vector_machine import VectorMachine

    assert isinstance(machine, VectorMachine)
    machine.cpu_down(2)
    return -12


def test_the_judge_agrees_with_the_plain_reading() -> None:
    kind = SmallMachine(2, 2, 2)
    model = vectors.build()
    judge = Judge(model, kind.scope())
    run = ran(kind, *MOVE)
    sizes = {sort: kind.scope().size(sort.name) for sort in model.sorts}
    assert judge.violated(run.seen) == ()
    for name, index, value in (
        ("vector", 0, 2),
        ("managed", 1, 1),
        ("cleanup", 0, 1),
        ("available", 0, 77),
        ("global_reserved", None, 5),
    ):
        broken = {n: dict(store) for n, store in run.seen.items()}
        key = next(k for k in broken[name] if not isinstance(k, int)) if index is None else index
        broken[name][key] = value
        state = friendly(model, kind.scope(), broken)
        slow = [i.id for i in judge.invariants if not evaluate(i.formula, state, sizes)]
        assert list(judge.violated(broken)) == slow != []
