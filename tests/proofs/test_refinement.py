# SPDX-License-Identifier: GPL-2.0-only
"""Logs of machines that never ran: what the implementation prints in random programs is followed
as a kernel's log would be, with what happens on a dying CPU left out."""

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from impl.defects import Defect
from impl.trace import Event, Trace
from impl.vector_machine import VectorMachine
from proofs.events import EVENTS
from proofs.ftrace import Logged
from proofs.knowledge import KEPT, SILENT, hidden_fields
from proofs.refinement import LogMonitor, Violation
from spec.stack import vectors

CPUS = 4
MODEL = vectors.build()
WITH_MX_D1 = vectors.build(frozenset({"MX-D1"}))


class Recorder:
    """Keeps the events that ftrace would: none from a CPU that has left the online mask."""

    def __init__(self) -> None:
        self.log: list[Logged] = []
        self.dying = -1

    def __call__(self, event: Event) -> None:
        if event.name == "set_cpu_online" and not event.fields["online"]:
            self.dying = event.fields["cpu"]
        known = EVENTS.get(event.name)
        if known is not None and event.cpu != self.dying:
            self.add(event.cpu, event.name, {n: event.fields[n] for n in known.fields})

    def add(self, cpu: int, name: str, fields: dict[str, int], text: str = "") -> None:
        self.log.append(Logged(len(self.log) + 1, cpu, name, fields, text, (1, -1)))


class Program:
    """A random program for one machine, recorded."""

    def __init__(self, seed: int, defects: Iterable[Defect] = (), steps: int = 80) -> None:
        self.rng = random.Random(seed)
        self.recorder = Recorder()
        trace = Trace()
        trace.subscribe(self.recorder)
        pcntxt = self.rng.random() < 0.5
        self.machine = VectorMachine(CPUS, trace=trace, defects=frozenset(defects), pcntxt=pcntxt)
        self.irqs: list[int] = []
        for cpu in range(1, CPUS):
            self.machine.cpu_up(cpu)
        choices = [self.allocate, self.request, self.request, self.move, self.move, self.release]
        for _ in range(steps):
            self.rng.choice([*choices, self.hotplug])()

    @property
    def log(self) -> list[Logged]:
        return self.recorder.log

    def mask(self) -> int:
        return self.rng.randrange(1, 1 << CPUS)

    def irq(self) -> int:
        return self.rng.choice(self.irqs or [5])

    def allocate(self) -> None:
        kind = self.rng.randrange(3)
        if kind == 0:
            first, n = self.machine.alloc_irqs(1), 1
        elif kind == 1:
            masks = [self.mask(), self.mask()]
            first, n = self.machine.alloc_irqs(2, affinity=masks, managed=True), 2
        else:
            first, n = self.machine.alloc_irqs(1, mask=self.mask()), 1
        for irq in range(first, first + n) if first >= 0 else ():
            self.irqs.append(irq)
            self.machine.early_activate(irq, True)

    def request(self) -> None:
        self.machine.request_irq(self.irq())

    def move(self) -> None:
        irq = self.irq()
        self.machine.set_affinity(irq, self.mask())
        self.machine.fire(irq)
        self.machine.cleanup_ipi(self.rng.randrange(CPUS))

    def release(self) -> None:
        irq = self.irq()
        self.machine.free_irq(irq)
        if self.rng.random() < 0.5 and irq in self.irqs:
            self.irqs.remove(irq)
            self.machine.free_irqs(irq)

    def hotplug(self) -> None:
        cpu = self.rng.randrange(1, CPUS)
        if not self.machine.kernel.cpu_online(cpu):
            self.machine.cpu_up(cpu)
            return
        text = f"cpu: {cpu:04} target:   0 step: 153 (takedown_cpu)"
        self.recorder.add(0, "cpuhp_enter", {}, text)
        result = self.machine.cpu_down(cpu, set())
        self.recorder.dying = -1
        text = f"cpu: {cpu:04}  state:  92 step: 153 ret: {result}"
        self.recorder.add(0, "cpuhp_exit", {}, text)


def test_what_the_implementation_prints_is_followed() -> None:
    seen = Counter[str]()
    windows = 0
    for seed in range(40):
        monitor = LogMonitor(MODEL)
        assert monitor.follow(Program(seed).log) is None, seed
        seen.update(monitor.counts.events)
        windows += monitor.counts.windows
    # Nothing frees an ISA bit or fails to reserve here; all else has come by.
    assert seen.keys() == EVENTS.keys() - {"irq_matrix_offline"}
    assert windows > 40


def violations(defect: Defect, seeds: range = range(12)) -> list[Violation]:
    found = []
    for seed in seeds:
        violation = LogMonitor(MODEL).follow(Program(seed, [defect]).log)
        if violation is not None:
            found.append(violation)
    return found


def test_a_stale_counter_of_an_offline_cpu_is_noticed() -> None:
    found = violations(Defect.MX_D1)
    assert len(found) > 3
    assert {v.invariant for v in found} == {"MX-6"}
    assert {v.action for v in found} <= {"irq_matrix_reserve_managed", "irq_matrix_remove_managed"}
    for seed in range(6):
        log = Program(seed, [Defect.MX_D1]).log
        assert LogMonitor(WITH_MX_D1).follow(log) is None


def test_a_total_that_drifts_is_noticed() -> None:
    found = violations(Defect.MX_D2, range(40))
    assert found and {v.invariant for v in found} == {"MX-9"}


@pytest.mark.parametrize("field", ["hand", "pc", "alloc_map", "vector", "prev_vector", "unclaimed"])
def test_what_the_order_of_events_rests_on_is_not_hidden(field: str) -> None:
    readings = [r for event in EVENTS.values() for _, r in event.readings]
    assert field not in hidden_fields(MODEL, readings)


def test_every_field_that_an_untraced_step_writes_is_hidden_or_forgotten() -> None:
    readings = [r for event in EVENTS.values() for _, r in event.readings]
    hidden = hidden_fields(MODEL, readings)
    traced = {r.action for r in readings}
    for name, action in MODEL.actions.items():
        if name not in traced | SILENT:
            assert action.writes.keys() <= hidden | KEPT, name
    assert {r.action for r in readings} <= MODEL.actions.keys()


def test_every_parameter_of_an_action_has_a_source() -> None:
    for event in EVENTS.values():
        for _, reading in event.readings:
            assert reading.parameters.keys() == MODEL.actions[reading.action].params.keys()
