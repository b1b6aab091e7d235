# SPDX-License-Identifier: GPL-2.0-only
"""The trace against what a real kernel printed, and the trace itself."""

from pathlib import Path

from impl.kernel.irq.irqdomain_activate import irq_domain_activate_irq, irq_domain_deactivate_irq
from impl.trace import Event, Trace, format_event
from impl.vector_machine import VectorMachine
from tests.impl.support import events_of, mask, names, recorded_boot, small, started

CAPTURE = Path(__file__).parent / "data" / "q35-6.1-boot.txt"


def replay_boot(m: VectorMachine) -> None:
    """What the captured kernel did up to the start of its nvme driver."""
    assert m.request_irq(0) == 0
    for isa in (1, 0, *range(3, 16)):
        assert m.alloc_irqs(1, legacy=True, virq=isa, node=0) == isa
    # The boot CPU joins its node only after the timer has been set up.
    node_masks = dict(m.kernel.node_masks)
    m.kernel.node_masks[0] = 0
    timer = m.irqs.descs[0].irq_data
    irq_domain_deactivate_irq(timer)
    assert irq_domain_activate_irq(timer, False) == 0
    m.kernel.node_masks = node_masks
    for cpu in (1, 2, 3):
        assert m.cpu_up(cpu) == 0
    m.request_irq(9)
    m.alloc_irqs(1, virq=22)
    m.free_irqs(22)
    m.alloc_irqs(1, virq=23)
    started(m)
    m.alloc_irqs(1, virq=20)
    started(m)
    m.request_irq(12)
    m.free_irq(12)
    for isa in (12, 1, 8, 4):
        assert m.request_irq(isa) == 0
    m.alloc_irqs(1, virq=21)
    m.alloc_irqs(1, virq=22)
    probe = started(m)
    m.free_irq(probe)
    m.free_irqs(probe)
    admin = m.alloc_irqs(1)
    m.early_activate(admin, True)
    queues = [m.alloc_irqs(1, affinity=[mask(0)], managed=True)]
    m.early_activate(queues[0], True)
    for cpu in (1, 2, 3):
        queues.append(m.alloc_irqs(1, affinity=[mask(cpu)], managed=True))
        m.early_activate(queues[-1], True)
    for irq in (admin, *queues):
        assert m.request_irq(irq) == 0


def test_a_real_boot_is_reproduced_line_by_line() -> None:
    machine, seen = recorded_boot(4)
    replay_boot(machine)
    printed = [
        format_event(event)
        for event in seen
        if event.system in {"irq_matrix", "irq_vectors"} and event.name != "lapic_online"
    ]
    captured = CAPTURE.read_text().splitlines()
    assert len(captured) > 200
    assert printed[: len(captured)] == captured
    assert len(printed) == len(captured)


def test_text_form_of_the_events_the_kernel_does_not_have() -> None:
    assert format_event(Event("printk", "WARN", 0, {})) == "WARN"
    affinity = Event("irq", "irq_affinity", 1, {"irq": 7, "affinity": 12, "effective": -1})
    assert format_event(affinity) == "irq_affinity: irq=7 affinity=0xc effective=-1"


def test_events_name_the_executing_cpu() -> None:
    machine = small(2)
    assert {event.cpu for event in events_of(machine, lambda: machine.cpu_down(1))} == {1}
    assert {event.cpu for event in events_of(machine, lambda: machine.alloc_irqs(1))} == {0}


def test_locked_sections_are_paired_and_never_nested() -> None:
    machine, seen = recorded_boot(4)
    replay_boot(machine)
    machine.cpu_down(2)
    locks = [event.name for event in seen if event.system == "lock"]
    assert len(locks) > 100
    assert locks == ["vector_lock", "vector_unlock"] * (len(locks) // 2)


def test_unsubscribe_ends_delivery() -> None:
    trace = Trace()
    seen: list[Event] = []
    unsubscribe = trace.subscribe(seen.append)
    trace.emit("irq", "one", 0, irq=1)
    unsubscribe()
    trace.emit("irq", "two", 0, irq=1)
    assert names(seen) == ["one"]
    assert not trace.enabled


def test_the_order_of_release_and_of_a_move() -> None:
    machine = small(2)
    irq = started(machine, 0)
    assert names(events_of(machine, lambda: machine.set_affinity(irq, mask(1)))) == [
        "irq_matrix_alloc",
        "vector_alloc",
        "vector_update",
        "vector_config",
        "irq_affinity",
    ]
    assert names(events_of(machine, lambda: machine.fire(irq))) == ["send_cleanup_vector"]
    assert names(events_of(machine, lambda: machine.cleanup_ipi(0))) == [
        "vector_free_moved",
        "irq_matrix_free",
    ]
    assert names(events_of(machine, lambda: machine.free_irq(irq)))[:4] == [
        "irq_shutdown",
        "vector_deactivate",
        "vector_clear",
        "irq_matrix_free",
    ]
    assert names(events_of(machine, lambda: machine.free_irqs(irq))) == [
        "vector_teardown",
        "irq_matrix_remove_reserved",
        "irq_free_descs",
    ]
