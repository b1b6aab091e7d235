# SPDX-License-Identifier: GPL-2.0-only
"""CPUs that go and come: migration, shut-down of managed interrupts, retriggering, H1, H2, H8."""

import errno

import pytest

from impl.arch.x86.irq_vectors import VECTOR_RETRIGGERED, VECTOR_UNUSED
from impl.defects import Defect
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_IRQ_STARTED,
    IRQD_MANAGED_SHUTDOWN,
    IRQD_SETAFFINITY_PENDING,
)
from impl.vector_machine import VectorMachine
from tests.impl.support import (
    counters_agree,
    events_of,
    fixed,
    mask,
    names,
    owned,
    small,
    started,
    target,
)


def has(machine: VectorMachine, irq: int, bit: int) -> bool:
    return machine.irqs.descs[irq].irq_data.test(bit)


def prev(machine: VectorMachine, irq: int) -> int:
    d = machine.chip_data(irq)
    assert d is not None
    return d.prev_vector


def test_interrupts_leave_a_dying_cpu_without_a_pending_move() -> None:
    m = small(3)
    irq = started(m, 2)
    m.set_affinity(irq, mask(2))
    events = events_of(m, lambda: m.cpu_down(2))
    assert [e.name for e in events if e.system in {"irq_matrix", "irq_vectors"}] == [
        "irq_matrix_alloc",
        "vector_alloc",
        "vector_update",
        "irq_matrix_free",
        "vector_config",
        "fixup_irqs",
        "irq_matrix_offline",
    ]
    assert target(m, irq)[0] == 0
    assert prev(m, irq) == 0
    assert owned(m)[2] == 0
    assert m.irqs.descs[irq].common.affinity == mask(0, 1), "the affinity was broken"
    assert counters_agree(m)


def test_trap_16_the_dying_cpu_is_offline_but_its_row_is_online() -> None:
    m = small(2)
    started(m, 1)
    online_at_free: list[tuple[int, int]] = []
    m.trace.subscribe(
        lambda e: (
            online_at_free.append((e.fields["online"], int(m.kernel.cpu_online(1))))
            if e.name == "irq_matrix_free"
            else None
        )
    )
    m.cpu_down(1)
    assert online_at_free == [(1, 0)]
    assert m.matrix.total_allocated == 1


def test_a_managed_interrupt_is_shut_down_and_comes_back() -> None:
    m = small(2)
    irq = started(m, 1, managed=True)
    down = names(events_of(m, lambda: m.cpu_down(1)))
    order = ["managed_shutdown", "irq_shutdown", "vector_deactivate", "irq_domain_deactivate_irq"]
    assert [name for name in down if name in order] == order
    assert has(m, irq, IRQD_MANAGED_SHUTDOWN)
    assert not has(m, irq, IRQD_ACTIVATED | IRQD_IRQ_STARTED), "GEN-3"
    assert m.matrix.maps[1].managed == 1
    up = events_of(m, lambda: m.cpu_up(1))
    assert {event.cpu for event in up} == {1}
    assert has(m, irq, IRQD_IRQ_STARTED)
    assert not has(m, irq, IRQD_MANAGED_SHUTDOWN)
    assert target(m, irq)[0] == 1
    assert counters_agree(m)


def test_a_managed_interrupt_moves_while_its_mask_has_a_cpu() -> None:
    m = small(3)
    irq = started(m, 1, 2, managed=True)
    home = target(m, irq)[0]
    m.cpu_down(home)
    assert target(m, irq)[0] == 3 - home
    assert m.irqs.descs[irq].common.affinity == mask(1, 2)
    m.cpu_up(home)
    assert target(m, irq)[0] == 3 - home, "a single target stays where it is"


def test_requesting_a_managed_interrupt_without_a_cpu_succeeds_and_waits() -> None:
    m = small(2, all_online=False)
    irq = started(m, 1, managed=True)
    assert has(m, irq, IRQD_MANAGED_SHUTDOWN)
    assert not has(m, irq, IRQD_IRQ_STARTED)
    assert owned(m) == [0, 0]
    m.cpu_up(1)
    assert target(m, irq)[0] == 1


def test_starting_by_force_without_a_cpu_warns() -> None:
    m = small(2)
    irq = m.alloc_irqs(1, affinity=[mask(1)], managed=True)
    m.request_irq(irq, autoenable=False)
    assert not has(m, irq, IRQD_IRQ_STARTED)
    m.cpu_down(1)
    assert "WARN" in names(events_of(m, lambda: m.enable_irq(irq)))
    assert has(m, irq, IRQD_MANAGED_SHUTDOWN)


def test_isolation_moves_a_managed_interrupt_to_a_housekeeping_cpu_that_comes_up() -> None:
    m = small(3, housekeeping=mask(1), all_online=False)
    m.cpu_up(2)
    irq = started(m, 0, 1, managed=True)
    assert target(m, irq)[0] == 0
    m.cpu_up(1)
    assert target(m, irq)[0] == 1
    other = started(m, 0, managed=True)
    m.cpu_down(2)
    m.cpu_up(2)
    assert target(m, other)[0] == 0


def test_pending_interrupts_are_raised_again_at_the_new_target() -> None:
    m = small(2)
    irq = started(m, 1)
    events = events_of(m, lambda: m.cpu_down(1, irr_pending={1}))
    raised = next(e for e in events if e.name == "apic_retrigger_irq")
    assert raised.fields == {"irq": irq, "cpu": 0, "vector": 1}
    assert "vector_retriggered" in names(events)
    assert m.vectors.vector_irq[1][1] == VECTOR_RETRIGGERED
    m.cpu_up(1)
    assert m.vectors.vector_irq[1] == [VECTOR_UNUSED] * 8


def test_refusals() -> None:
    m = small(2)
    assert m.cpu_down(5) == m.cpu_up(5) == -errno.EINVAL
    assert m.cpu_up(1) == 0
    for cpu in (0, 0, 0, 1, 1):
        m.alloc_irqs(1, mask=mask(cpu))
    before = m.snapshot()
    assert m.cpu_down(1) == -errno.ENOSPC
    assert m.snapshot() == before
    m.free_irqs(1)
    assert m.cpu_down(1) == 0
    assert m.cpu_down(1) == 0
    assert m.cpu_down(0) == -errno.EBUSY


def test_trap_41_the_unplug_check_counts_managed_vectors_too() -> None:
    m = small(2)
    started(m, 1, managed=True)
    for _ in range(4):
        m.alloc_irqs(1, mask=mask(0))
    assert m.cpu_down(1) == -errno.ENOSPC


def test_a_pending_move_to_the_dying_cpu_is_dropped_and_another_is_used() -> None:
    m = small(3, pcntxt=False)
    stays, goes = started(m, 0), started(m, 2)
    m.set_affinity(stays, mask(2))
    m.set_affinity(goes, mask(1))
    m.cpu_down(2)
    assert not has(m, stays, IRQD_SETAFFINITY_PENDING)
    assert target(m, stays)[0] == 0
    assert not has(m, goes, IRQD_SETAFFINITY_PENDING)
    assert target(m, goes)[0] == 1
    assert m.irqs.descs[goes].common.affinity == mask(1)


def test_h8_a_migration_that_finds_no_vector_only_warns() -> None:
    m = small(3)
    irq = started(m, 2)
    m.set_affinity(irq, mask(1, 2))
    for _ in range(4):
        m.alloc_irqs(1, mask=mask(1))
    events = events_of(m, lambda: m.cpu_down(2))
    failed = next(e for e in events if e.name == "irq_migrate_failed")
    assert failed.fields == {"irq": irq, "ret": -errno.ENOSPC}
    assert target(m, irq)[0] == 2
    assert not m.fire(irq), "the device still signals the dead CPU"
    assert m.cpu_down(1) == 0
    assert target(m, irq)[0] == 0, "the next take-down finds it on dead CPUs only"
    assert m.fire(irq)


def moving_from_2(m: VectorMachine, *, listed: bool) -> int:
    """An interrupt on CPU 0 whose old vector is on CPU 2."""
    irq = started(m, 2)
    m.set_affinity(irq, mask(0))
    if listed:
        m.fire(irq)
    return irq


def test_h1_a_moving_interrupt_forgets_its_old_bit() -> None:
    m = small(3, defects={Defect.H1})
    irq = moving_from_2(m, listed=False)
    m.cpu_down(2)
    assert prev(m, irq) == 1
    events = events_of(m, lambda: m.fire(irq))
    forgotten = next(e for e in events if e.name == "cleanup_forgotten")
    assert forgotten.fields == {"irq": irq, "cpu": 2, "vector": 1}
    assert prev(m, irq) == 0
    m.free_irq(irq)
    m.free_irqs(irq)
    assert owned(m) == [0, 0, 0b10]


def test_h1_a_listed_interrupt_stays_busy_until_the_cpu_returns() -> None:
    m = small(3, defects={Defect.H1})
    irq = moving_from_2(m, listed=True)
    m.cpu_down(2)
    assert not m.cleanup_ipi(2)
    assert m.set_affinity(irq, mask(1), force=True) == -errno.EBUSY
    m.cpu_up(2)
    m.cleanup_ipi(2)
    assert m.set_affinity(irq, mask(1), force=True) == 0


@pytest.mark.parametrize("listed", [False, True])
def test_h1_repaired_the_take_down_completes_the_move(listed: bool) -> None:
    m = small(3)
    irq = moving_from_2(m, listed=listed)
    bystander = started(m, 0)
    m.set_affinity(bystander, mask(1))
    m.cpu_down(2)
    assert prev(m, irq) == 0
    assert prev(m, bystander) == 2, "a move that does not involve the CPU goes on"
    assert owned(m)[2] == 0
    assert m.vectors.cleanup_list[2] == []
    assert m.set_affinity(irq, mask(1), force=True) == 0
    assert counters_agree(m)


def test_h1_repaired_a_completion_for_an_offline_cpu_frees_the_bit() -> None:
    m = small(3)
    irq = moving_from_2(m, listed=False)
    m.kernel.cpu_online_mask &= ~mask(2)
    events = names(events_of(m, lambda: m.fire(irq)))
    assert events == ["vector_free_moved", "irq_matrix_free"]
    assert owned(m)[2] == 0


def test_h2_an_idle_interrupts_slot_is_lost() -> None:
    m = small(2, all_online=True)
    m.alloc_irqs(1, mask=mask(0))
    irq = fixed(m)
    assert target(m, irq) == (1, 1)
    m.cpu_down(1)
    assert target(m, irq) == (1, 1)
    m.cpu_up(1)
    assert owned(m)[1] == 0b10
    assert m.vectors.vector_irq[1][1] == VECTOR_UNUSED
    m.request_irq(irq)
    assert target(m, irq) == (1, 1)
    assert not m.fire(irq), "lost: no handler for the vector"


def stale_effective(*defects: Defect) -> VectorMachine:
    """A fixed interrupt stays on CPU 0, where its inactive affinity change did not want it."""
    machine = small(2, defects=defects)
    irq = machine.alloc_irqs(1, mask=mask(0))
    assert machine.cpu_down(1) == 0
    assert machine.set_affinity(irq, mask(1)) == 0
    assert machine.request_irq(irq) == 0
    assert target(machine, irq)[0] == 0
    assert machine.cpu_up(1) == 0
    assert machine.cpu_down(0) == 0
    return machine


def test_an_activation_in_place_corrects_the_effective_affinity() -> None:
    assert target(stale_effective(), 1)[0] == 1


def test_h9_a_stale_effective_affinity_leaves_the_interrupt_on_the_dead_cpu() -> None:
    machine = stale_effective(Defect.H9)
    assert target(machine, 1)[0] == 0
    assert not machine.fire(1)
