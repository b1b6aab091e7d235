# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots are complete, and restoring one is as if nothing had happened since."""

import pickle

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impl.defects import Defect
from impl.kernel.irq.irqdomain import irq_find_mapping
from impl.kernel.kernel import KernelBug
from impl.trace import Event
from impl.vector_machine import VectorMachine
from tests.impl.programs import NR_CPUS, Operation, operations
from tests.impl.support import FOUR_VECTORS, mask, started


def machine(pcntxt: bool, defects: frozenset[Defect]) -> VectorMachine:
    return VectorMachine(
        NR_CPUS, geometry=FOUR_VECTORS, nr_legacy_irqs=0, pcntxt=pcntxt, defects=defects
    )


def perform(m: VectorMachine, program: list[Operation]) -> list[object]:
    """Results and events of a program; it ends at a BUG, as the machine would."""
    seen: list[object] = []
    unsubscribe = m.trace.subscribe(seen.append)
    try:
        for operation in program:
            seen.append(operation(m))
    except KernelBug as bug:
        seen.append(str(bug))
    finally:
        unsubscribe()
    return seen


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(operations(), max_size=25),
    st.lists(operations(), max_size=12),
    st.booleans(),
    st.sampled_from([frozenset(), frozenset(Defect)]),
)
def test_restore_undoes_whatever_happened(
    prefix: list[Operation],
    program: list[Operation],
    pcntxt: bool,
    defects: frozenset[Defect],
) -> None:
    m = machine(pcntxt, defects)
    perform(m, prefix)
    before = m.snapshot()
    assert pickle.loads(pickle.dumps(before)) == before
    first = perform(m, program)
    after = m.snapshot()
    m.restore(before)
    assert m.snapshot() == before
    assert hash(m.snapshot()) == hash(before)
    assert perform(m, program) == first
    assert m.snapshot() == after

    other = machine(pcntxt, defects)
    other.restore(before)
    assert other.snapshot() == before
    assert perform(other, program) == first
    assert other.snapshot() == after


def test_every_field_counts() -> None:
    """Changing any one part of the state changes the snapshot, and restoring changes it back."""
    m = machine(True, frozenset())
    m.cpu_up(1)
    irq = started(m, 0)
    m.set_affinity(irq, mask(1))
    desc = m.irqs.descs[irq]
    d = m.chip_data(irq)
    assert d is not None
    owners: list[tuple[object, tuple[str, ...]]] = [
        (m.matrix.maps[1], ("available", "allocated", "managed", "managed_allocated")),
        (m.matrix.maps[1], ("initialized", "online", "alloc_map", "managed_map")),
        (m.matrix, ("global_available", "global_reserved", "systembits_inalloc")),
        (m.matrix, ("total_allocated", "online_maps", "system_map")),
        (desc, ("action", "depth", "pending_mask")),
        (desc.common, ("state", "affinity", "effective_affinity", "node")),
        (desc.irq_data, ("hwirq",)),
        (d, ("vector", "cpu", "prev_vector", "prev_cpu", "clist")),
        (d, ("move_in_progress", "is_managed", "can_reserve", "has_reserved")),
        (d.hw_irq_cfg, ("dest_apicid", "vector")),
        (m.irqs, ("allocated_irqs", "nr_irqs")),
        (m.vectors, ("io_apic_irqs",)),
        (m.vectors.x86_vector_domain, ("mapcount",)),
        (m.kernel, ("cpu_online_mask",)),
    ]
    before = m.snapshot()
    for owner, fields in owners:
        for field in fields:
            setattr(owner, field, getattr(owner, field) ^ 1)
            assert m.snapshot() != before, field
            m.restore(before)
            assert m.snapshot() == before, field


def test_tables_lists_and_failures_count() -> None:
    m = machine(True, frozenset())
    before = m.snapshot()
    m.vectors.vector_irq[0][2] = 7
    assert m.snapshot() != before
    m.restore(before)
    m.vectors.cleanup_list[1].append(3)
    assert m.snapshot() != before
    m.restore(before)
    m.fail_next("alloc_desc")
    assert m.snapshot() != before
    m.restore(before)
    assert m.alloc_irqs(1) == 1
    allocated = m.snapshot()
    m.vectors.x86_vector_domain.revmap_tree.clear()
    assert m.snapshot() != allocated
    m.restore(allocated)
    assert irq_find_mapping(m.domains, None, 1) == 1
    m.restore(before)
    assert irq_find_mapping(m.domains, None, 1) == 0
    assert m.snapshot() == before
    assert m.alloc_irqs(1) == 1


def test_a_machine_of_1024_cpus() -> None:
    m = VectorMachine(1024)
    for cpu in range(1, 1024):
        m.cpu_up(cpu)
    everyone = (1 << 1024) - 1
    before = m.snapshot()
    managed = m.alloc_irqs(1, affinity=[everyone], managed=True)
    m.early_activate(managed, True)
    assert m.request_irq(managed) == 0
    d = m.chip_data(managed)
    assert d is not None
    assert d.cpu == 1023
    events: list[Event] = []
    m.trace.subscribe(events.append)
    assert m.cpu_down(1023) == 0
    assert d.cpu == 1022
    assert events[-2].fields["online_maps"] == 1023
    m.restore(before)
    assert m.snapshot() == before
