# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the implementation share."""

from collections.abc import Callable, Iterable

from impl.arch.x86.irq_vectors import Geometry
from impl.defects import Defect
from impl.trace import Event, Trace
from impl.vector_machine import VectorMachine

FOUR_VECTORS = Geometry(matrix_bits=8, alloc_start=1, alloc_end=5)
"""Vectors 1 to 4 are a device's."""


def mask(*cpus: int) -> int:
    return sum(1 << cpu for cpu in cpus)


def small(
    nr_cpus: int = 3,
    *,
    defects: Iterable[Defect] = (),
    pcntxt: bool = True,
    geometry: Geometry = FOUR_VECTORS,
    housekeeping: int | None = None,
    nodes: tuple[int, ...] | None = None,
    all_online: bool = True,
) -> VectorMachine:
    """A machine of few vectors, without legacy irqs, all CPUs up; moves happen at once."""
    machine = VectorMachine(
        nr_cpus,
        geometry=geometry,
        nr_legacy_irqs=0,
        defects=frozenset(defects),
        pcntxt=pcntxt,
        housekeeping=housekeeping,
        nodes=nodes,
    )
    if all_online:
        for cpu in range(1, nr_cpus):
            assert machine.cpu_up(cpu) == 0
    return machine


def started(machine: VectorMachine, *affinity: int, managed: bool = False) -> int:
    """A requested interrupt; `affinity` is its mask's CPUs (all of them if none is given)."""
    masks = [mask(*affinity)] if affinity else None
    irq = machine.alloc_irqs(1, affinity=masks, managed=managed)
    assert irq >= 0
    assert machine.early_activate(irq, True) == 0
    assert machine.request_irq(irq) == 0
    return irq


def fixed(machine: VectorMachine) -> int:
    """An interrupt that owns a vector for good, not requested (FIXED)."""
    irq = machine.alloc_irqs(1)
    assert machine.early_activate(irq, False) == 0
    return irq


def target(machine: VectorMachine, irq: int) -> tuple[int, int]:
    """(cpu, vector) of an interrupt."""
    apicd = machine.chip_data(irq)
    assert apicd is not None
    return apicd.cpu, apicd.vector


def owned(machine: VectorMachine) -> list[int]:
    """alloc_map of every CPU."""
    return [cm.alloc_map for cm in machine.matrix.maps]


def counters_agree(machine: VectorMachine) -> bool:
    """MX-3, MX-6 without drift, MX-7 and MX-9 without Δ, on every initialized row."""
    m = machine.matrix
    for cm in m.maps:
        taken = cm.alloc_map | cm.managed_map | m.system_map
        free = sum(not taken >> bit & 1 for bit in range(m.alloc_start, m.alloc_end))
        if (cm.allocated, cm.managed, cm.managed_allocated) != (
            cm.alloc_map.bit_count(),
            cm.managed_map.bit_count(),
            (cm.alloc_map & cm.managed_map).bit_count(),
        ):
            return False
        if cm.initialized and cm.available != free:
            return False
    return m.global_available == sum(
        cm.available for cm in m.maps if cm.online
    ) and m.total_allocated == sum(cm.allocated for cm in m.maps)


def events_of(machine: VectorMachine, operation: Callable[[], object]) -> list[Event]:
    """The events that `operation` emits."""
    seen: list[Event] = []
    unsubscribe = machine.trace.subscribe(seen.append)
    operation()
    unsubscribe()
    return seen


def names(events: Iterable[Event], *, locks: bool = False) -> list[str]:
    """What happened, without the searches and the domains' books, and the lock only if asked."""
    hidden = {"search", "irqdomain"} if locks else {"search", "irqdomain", "lock"}
    return [event.name for event in events if event.system not in hidden]


def recorded_boot(nr_cpus: int) -> tuple[VectorMachine, list[Event]]:
    """A standard machine and everything it emits from boot on."""
    trace = Trace()
    seen: list[Event] = []
    trace.subscribe(seen.append)
    return VectorMachine(nr_cpus, trace=trace), seen
