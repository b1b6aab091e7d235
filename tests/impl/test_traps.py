# SPDX-License-Identifier: GPL-2.0-only
"""What a naive model of the vector domain gets wrong.

Traps 1 to 7 are about the matrix alone (test_matrix.py), 13 is in test_moves.py, 16 in
test_hotplug.py.
"""

from impl.arch.x86.irq_vectors import (
    VECTOR_RETRIGGERED,
    VECTOR_SHUTDOWN,
    VECTOR_UNUSED,
)
from impl.defects import Defect
from impl.kernel.irq.irq import IRQD_ACTIVATED
from impl.vector_machine import VectorMachine
from tests.impl.support import events_of, fixed, mask, names, owned, small, started, target


def test_trap_8_the_shutdown_vector_is_in_no_map_and_no_table() -> None:
    m = VectorMachine(2)
    m.cpu_up(1)
    irq = m.alloc_irqs(1)
    d = m.chip_data(irq)
    assert d is not None
    assert (d.hw_irq_cfg.vector, d.vector) == (0xEF, 0)
    assert not any(cm.alloc_map >> 0xEF & 1 for cm in m.matrix.maps)
    assert not m.matrix.system_map >> 0xEF & 1
    assert [table[0xEF] for table in m.vectors.vector_irq] == [VECTOR_UNUSED] * 2


def test_trap_9_the_reservation_is_dropped_by_the_activation() -> None:
    m = small(1)
    irq = m.alloc_irqs(1)
    m.early_activate(irq, True)
    d = m.chip_data(irq)
    assert d is not None
    seen_at_alloc: list[tuple[int, bool]] = []
    unsubscribe = m.trace.subscribe(
        lambda e: (
            seen_at_alloc.append((m.matrix.global_reserved, d.has_reserved))
            if e.name == "irq_matrix_alloc"
            else None
        )
    )
    m.request_irq(irq)
    unsubscribe()
    assert seen_at_alloc == [(0, True)]
    assert not d.has_reserved


def test_trap_10_and_h6_the_failed_activation_of_a_fixed_interrupt_is_invisible_under_h6() -> None:
    def attempt(*defects: Defect) -> int:
        m = small(2, defects=defects)
        irq = m.alloc_irqs(1, mask=mask(1))
        m.cpu_down(1)
        for _ in range(4):
            m.alloc_irqs(1, mask=mask(0))
        return m.early_activate(irq, False)

    assert attempt(Defect.H6) == 0
    assert attempt() < 0


def test_trap_11_deactivation_keeps_or_releases() -> None:
    m = small(1)
    irq = fixed(m)
    m.request_irq(irq)
    m.free_irq(irq)
    assert target(m, irq) == (0, 1)
    assert owned(m) == [0b10]
    other = started(m)
    m.free_irq(other)
    assert owned(m) == [0b10]
    assert m.matrix.global_reserved == 1


def test_trap_12_not_activated_does_not_mean_that_nothing_was_configured() -> None:
    m = small(1)
    irq = m.alloc_irqs(1)
    m.early_activate(irq, True)
    d = m.chip_data(irq)
    assert d is not None
    assert not m.irqs.descs[irq].irq_data.test(IRQD_ACTIVATED)
    assert d.hw_irq_cfg.vector == 0xEF
    assert d.hw_irq_cfg.dest_apicid == 1


def test_trap_14_affinity_of_a_deactivated_interrupt_sets_the_effective_mask() -> None:
    m = small(2)
    irq = m.alloc_irqs(1)
    events = events_of(m, lambda: m.set_affinity(irq, mask(0, 1)))
    assert [(e.name, e.fields) for e in events] == [
        ("irq_affinity", {"irq": irq, "affinity": 3, "effective": 3})
    ]
    assert m.irqs.descs[irq].common.effective_affinity == 3
    m.set_affinity(irq, mask(1))
    assert m.irqs.descs[irq].common.effective_affinity == mask(1)


def test_trap_15_a_good_enough_cpu_is_kept_even_when_the_slot_is_lost() -> None:
    m = small(2)
    irq = started(m, 0)
    for _ in range(2):
        m.alloc_irqs(1, mask=mask(0))
    m.vectors.vector_irq[0][1] = VECTOR_UNUSED
    m.set_affinity(irq, mask(0, 1))
    assert target(m, irq) == (0, 1)
    assert m.vectors.vector_irq[0][1] == VECTOR_UNUSED


def test_trap_15_the_any_wrapper_tries_the_node_first_and_moves() -> None:
    m = small(2, nodes=(0, 1))
    irq = m.alloc_irqs(1, node=1)
    m.early_activate(irq, False)
    m.set_affinity(irq, mask(0))
    m.send_cleanup(irq)
    m.cleanup_ipi(1)
    m.request_irq(irq)
    m.free_irq(irq)
    m.set_affinity(irq, mask(0, 1))
    assert target(m, irq) == (0, 1)
    m.early_activate(irq, False)
    assert target(m, irq) == (1, 1)


def test_trap_17_three_marks_and_one_free_pass() -> None:
    m = small(2)
    irq = started(m, 0)
    m.free_irq(irq)
    table = m.vectors.vector_irq[0]
    assert table[1] == VECTOR_SHUTDOWN
    assert names(events_of(m, lambda: m.fire_vector(0, 1))) == ["vector_spurious"]
    assert table[1] == VECTOR_UNUSED
    assert events_of(m, lambda: m.fire_vector(0, 1)) == []
    table[2] = VECTOR_RETRIGGERED
    assert names(events_of(m, lambda: m.fire_vector(0, 2))) == ["vector_spurious"]
    assert table[2] == VECTOR_UNUSED


def test_trap_18_bring_up_wipes_all_but_the_pics_interrupts() -> None:
    m = VectorMachine(2, pic_irqs=mask(2, 5))
    m.vectors.vector_irq[1] = [VECTOR_SHUTDOWN] * 256
    m.cpu_up(1)
    kept = {v: slot for v, slot in enumerate(m.vectors.vector_irq[1]) if slot != VECTOR_UNUSED}
    assert kept == {0x32: 2, 0x35: 5}


def test_trap_44_affinity_comes_before_node() -> None:
    """v5.10 order: node and affinity, affinity, node, all; v5.9 had the middle two swapped."""
    m = small(3, nodes=(0, 0, 1))
    irq = m.alloc_irqs(1, affinity=[mask(1)])
    m.irqs.descs[irq].common.node = 1
    m.early_activate(irq, False)
    assert target(m, irq)[0] == 1

    full = small(3, nodes=(0, 0, 1))
    for _ in range(4):
        full.alloc_irqs(1, mask=mask(1))
    irq = full.alloc_irqs(1, affinity=[mask(1)])
    full.irqs.descs[irq].common.node = 1
    for _ in range(2):
        full.alloc_irqs(1, mask=mask(2))
    full.early_activate(irq, False)
    assert target(full, irq)[0] == 2, "the node, although CPU 0 has more"


def test_trap_45_release_uses_the_current_affinity_mask() -> None:
    m = small(3)
    irq = m.alloc_irqs(1, affinity=[mask(0, 1)], managed=True)
    m.set_managed_affinity(irq, mask(1, 2), isolation=False)
    events = events_of(m, lambda: m.free_irqs(irq))
    assert [cm.managed for cm in m.matrix.maps] == [1, 0, 0]
    assert names(events).count("irq_matrix_remove_managed") == 1
    assert names(events).count("WARN") == 1
