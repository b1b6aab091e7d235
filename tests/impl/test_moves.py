# SPDX-License-Identifier: GPL-2.0-only
"""Moving interrupts: pending changes, clean-up, busy chips, and H4."""

import errno

import pytest

from impl.arch.x86.irq_vectors import VECTOR_UNUSED
from impl.arch.x86.vector import NOT_HASHED
from impl.defects import Defect
from impl.kernel.irq.irq import IRQD_AFFINITY_SET, IRQD_SETAFFINITY_PENDING
from impl.kernel.kernel import KernelBug
from impl.vector_machine import VectorMachine
from tests.impl.support import (
    counters_agree,
    events_of,
    mask,
    names,
    owned,
    small,
    started,
    target,
)


def move(machine: VectorMachine, irq: int) -> tuple[int, int, bool, int]:
    """(prev_cpu or -1, prev_vector, move_in_progress, clist)."""
    d = machine.chip_data(irq)
    assert d is not None
    return d.prev_cpu if d.prev_vector else -1, d.prev_vector, d.move_in_progress, d.clist


def pending(machine: VectorMachine, irq: int) -> bool:
    return machine.irqs.descs[irq].irq_data.test(IRQD_SETAFFINITY_PENDING)


def test_a_move_from_start_to_end() -> None:
    m = small(2)
    irq = started(m, 0)
    assert m.set_affinity(irq, mask(1)) == 0
    assert target(m, irq) == (1, 1)
    assert move(m, irq) == (0, 1, True, NOT_HASHED)
    assert owned(m) == [0b10, 0b10]
    assert m.fire_vector(0, 1), "a late interrupt on the old vector is still handled"
    assert move(m, irq) == (0, 1, True, NOT_HASHED)
    assert m.fire(irq)
    assert move(m, irq) == (0, 1, False, 0)
    assert m.cleanup_ipi(0, irr_pending={1})
    assert move(m, irq) == (0, 1, False, 0)
    assert m.cleanup_ipi(0)
    assert move(m, irq) == (-1, 0, False, NOT_HASHED)
    assert owned(m) == [0, 0b10]
    assert m.vectors.vector_irq[0][1] == VECTOR_UNUSED
    assert counters_agree(m)


def test_the_cleanup_list_is_last_in_first_out() -> None:
    m = small(2)
    irqs = [started(m, 0), started(m, 0)]
    for irq in irqs:
        m.set_affinity(irq, mask(1))
        m.fire(irq)
    assert m.vectors.cleanup_list[0] == irqs[::-1]
    freed = [e.fields["irq"] for e in events_of(m, lambda: m.cleanup_ipi(0)) if "irq" in e.fields]
    assert freed == irqs[::-1]


def test_remapping_ends_a_move_without_an_interrupt() -> None:
    m = small(2)
    irq = started(m, 0)
    assert m.send_cleanup(irq) == 0
    assert move(m, irq) == (-1, 0, False, NOT_HASHED)
    m.set_affinity(irq, mask(1))
    m.send_cleanup(irq)
    assert move(m, irq) == (0, 1, False, 0)
    assert m.send_cleanup(99) == -errno.EINVAL


def test_freeing_in_the_middle_of_a_move_gives_everything_back() -> None:
    for steps in (1, 2):
        m = small(2)
        before = repr(m.matrix)
        irq = started(m, 0)
        m.set_affinity(irq, mask(1))
        if steps == 2:
            m.fire(irq)
        m.free_irq(irq)
        assert m.vectors.cleanup_list == [[], []]
        m.free_irqs(irq)
        assert repr(m.matrix) == before


@pytest.mark.parametrize("steps", [1, 2])
def test_vec_20_and_trap_13_busy_becomes_pending_and_changes_nothing_else(steps: int) -> None:
    m = small(3)
    irq = started(m, 0)
    m.set_affinity(irq, mask(1))
    if steps == 2:
        m.fire(irq)
    before = repr(m.matrix), target(m, irq), move(m, irq)
    assert m.set_affinity(irq, mask(2), force=True) == -errno.EBUSY
    assert (repr(m.matrix), target(m, irq), move(m, irq)) == before
    assert not pending(m, irq)
    assert m.set_affinity(irq, mask(2)) == 0
    assert (repr(m.matrix), target(m, irq), move(m, irq)) == before
    assert pending(m, irq)

    m.fire(irq)
    assert pending(m, irq), "GEN-7: still busy, not lost"
    m.cleanup_ipi(0)
    m.fire(irq)
    assert not pending(m, irq)
    assert target(m, irq)[0] == 2
    assert m.irqs.descs[irq].common.affinity == mask(2)


def test_without_pcntxt_a_move_waits_for_the_next_interrupt() -> None:
    m = small(2, pcntxt=False)
    irq = started(m, 0)
    assert m.set_affinity(irq, mask(1)) == 0
    assert (target(m, irq)[0], pending(m, irq)) == (0, True)
    assert m.irqs.descs[irq].common.affinity == mask(0, 1)
    events = events_of(m, lambda: m.fire(irq))
    assert {event.cpu for event in events} == {0}
    assert (target(m, irq)[0], pending(m, irq)) == (1, False)


def test_a_disabled_interrupt_does_not_move() -> None:
    m = small(2, pcntxt=False)
    irq = started(m, 0)
    m.set_affinity(irq, mask(1))
    m.disable_irq(irq)
    assert not m.fire(irq), "it is masked and acknowledged, nobody handles it"
    assert pending(m, irq)
    assert not m.fire(irq), "a masked device is silent"
    m.enable_irq(irq)
    assert m.fire(irq)
    assert not pending(m, irq)


def test_a_pending_mask_that_died_is_dropped() -> None:
    m = small(3, pcntxt=False)
    irq = started(m, 0)
    m.set_affinity(irq, mask(2))
    m.kernel.cpu_online_mask &= ~mask(2)
    m.fire(irq)
    assert not pending(m, irq)
    assert target(m, irq)[0] == 0


def test_no_op_when_the_current_cpu_is_good_enough() -> None:
    m = small(2)
    irq = started(m, 0)
    assert names(events_of(m, lambda: m.set_affinity(irq, mask(0, 1)))) == ["irq_affinity"]
    assert target(m, irq) == (0, 1)


def test_affinity_errors_of_the_chip() -> None:
    m = small(2)
    irq = started(m, 0)
    assert m.cpu_down(1) == 0
    before = m.snapshot()
    assert m.set_affinity(irq, mask(1)) == -errno.EINVAL
    assert m.snapshot()[5:8] == before[5:8]
    assert m.cpu_up(1) == 0
    for _ in range(4):
        m.alloc_irqs(1, mask=mask(1))
    assert m.set_affinity(irq, mask(1)) == -errno.ENOSPC
    assert target(m, irq) == (0, 1)
    assert m.irqs.descs[irq].common.affinity == mask(0, 1)


def test_affinity_setter_of_a_deactivated_chip_warns() -> None:
    m = small(1)
    irq = m.alloc_irqs(1)
    setter = m.vectors.lapic_controller.irq_set_affinity
    assert setter is not None
    results: list[int] = []
    irqd = m.irqs.descs[irq].irq_data
    events = events_of(m, lambda: results.append(setter(irqd, 1, False)))
    assert results == [-errno.EIO]
    assert names(events) == ["WARN"]


def test_legacy_and_managed_interrupts_have_no_user_affinity() -> None:
    m = VectorMachine(1)
    assert m.set_affinity(5, 1) == -errno.EINVAL
    small_machine = small(2)
    irq = started(small_machine, 0, 1, managed=True)
    assert small_machine.set_affinity(irq, mask(1)) == -errno.EIO


def test_startup_keeps_a_users_choice_and_forgets_a_dead_one() -> None:
    m = small(2)
    irq = m.alloc_irqs(1)
    m.early_activate(irq, True)
    m.set_affinity(irq, mask(1))
    m.request_irq(irq)
    assert target(m, irq)[0] == 1
    m.free_irq(irq)
    m.cpu_down(1)
    m.request_irq(irq)
    assert target(m, irq)[0] == 0
    assert not m.irqs.descs[irq].irq_data.test(IRQD_AFFINITY_SET)


def managed_moved_once(*defects: Defect) -> tuple[VectorMachine, int]:
    m = small(3, defects=defects)
    irq = started(m, 0, 1, 2, managed=True)
    home = target(m, irq)[0]
    assert home == 2
    assert m.set_managed_affinity(irq, mask(0)) == 0
    assert target(m, irq)[0] == 0
    return m, irq


def test_h4_a_second_managed_move_loses_the_first() -> None:
    m, irq = managed_moved_once(Defect.H4)
    assert move(m, irq)[0] == 2
    assert m.set_managed_affinity(irq, mask(1)) == 0
    assert move(m, irq)[0] == 0
    assert owned(m)[2] == 0b10, "the first old bit has no owner any more"

    repaired, irq = managed_moved_once()
    before = repaired.snapshot()
    assert repaired.set_managed_affinity(irq, mask(1)) == -errno.EBUSY
    assert repaired.snapshot() == before
    repaired.fire(irq)
    repaired.cleanup_ipi(2)
    assert repaired.set_managed_affinity(irq, mask(1)) == 0


def test_h4_a_stale_list_entry_is_a_use_after_free() -> None:
    m, irq = managed_moved_once(Defect.H4)
    m.fire(irq)
    m.set_managed_affinity(irq, mask(1))
    m.fire(irq)
    assert m.vectors.cleanup_list == [[irq], [], [irq]]
    m.free_irq(irq)
    m.free_irqs(irq)
    with pytest.raises(KernelBug, match="clean-up list"):
        m.cleanup_ipi(2)


def test_isolation_keeps_the_affinity_and_h7_breaks_it() -> None:
    m = small(3)
    irq = started(m, 0, 1, managed=True)
    assert m.set_managed_affinity(irq, mask(0)) == 0
    assert m.irqs.descs[irq].common.affinity == mask(0, 1)
    m.fire(irq)
    m.cleanup_ipi(1)
    assert m.set_managed_affinity(irq, mask(1), isolation=False) == 0
    assert m.irqs.descs[irq].common.affinity == mask(1)
    m.free_irq(irq)
    m.free_irqs(irq)
    assert [cm.managed for cm in m.matrix.maps] == [1, 0, 0], "H7: CPU 0's reservation stays"
    assert m.set_managed_affinity(started(m), mask(0)) == -errno.EINVAL


def test_configured_isolation_restricts_the_start_of_a_managed_interrupt() -> None:
    m = small(3, housekeeping=mask(0))
    irq = started(m, 0, 2, managed=True)
    assert target(m, irq)[0] == 0
    assert m.irqs.descs[irq].common.affinity == mask(0, 2)
