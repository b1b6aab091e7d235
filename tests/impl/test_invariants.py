# SPDX-License-Identifier: GPL-2.0-only
"""A repaired machine keeps its books under any sequence of operations."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impl.arch.x86.vector import NOT_HASHED, ApicChipData
from impl.vector_machine import VectorMachine
from tests.impl.programs import NR_CPUS, Operation, operations
from tests.impl.support import FOUR_VECTORS, counters_agree, owned


def levels(m: VectorMachine) -> list[ApicChipData]:
    found = [m.chip_data(irq) for irq in m.irqs.active_irqs()]
    return [d for d in found if d is not None]


def pairs(m: VectorMachine) -> list[tuple[int, int]]:
    """Every (cpu, vector) some interrupt owns, the old ones of moves included."""
    owners = []
    for d in levels(m):
        if d.vector:
            owners.append((d.cpu, d.vector))
        if d.prev_vector:
            owners.append((d.prev_cpu, d.prev_vector))
    return owners


def check(m: VectorMachine) -> None:
    assert counters_agree(m), "MX-3, MX-6, MX-7, MX-9"
    owners = pairs(m)
    assert len(owners) == len(set(owners)), "VEC-9"
    maps = [0] * NR_CPUS
    for cpu, vector in owners:
        maps[cpu] |= 1 << vector
    assert owned(m) == maps, "VEC-10"
    assert m.matrix.global_reserved == sum(d.has_reserved for d in levels(m)), "VEC-3"
    for d in levels(m):
        moving, listed = d.move_in_progress, d.clist != NOT_HASHED
        assert (d.prev_vector != 0) == (moving or listed), "VEC-6"
        assert not (moving and listed), "VEC-6"
        assert not listed or d.irq in m.vectors.cleanup_list[d.prev_cpu], "VEC-7"
        assert not d.prev_vector or d.prev_cpu != d.cpu, "VEC-8"
    for cpu, table in enumerate(m.vectors.vector_irq):
        for vector, slot in enumerate(table):
            assert slot < 0 or (cpu, vector) in owners, "VEC-11"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(operations(), min_size=10, max_size=40), st.booleans())
def test_the_books_are_kept(program: list[Operation], pcntxt: bool) -> None:
    m = VectorMachine(NR_CPUS, geometry=FOUR_VECTORS, nr_legacy_irqs=0, pcntxt=pcntxt)
    pristine = repr(m.matrix.maps[0])
    for operation in program:
        operation(m)
        check(m)
    for irq in m.irqs.active_irqs():
        m.free_irq(irq)
        assert m.free_irqs(irq) == 0
    assert owned(m) == [0] * NR_CPUS, "VEC-18"
    assert m.matrix.global_reserved == 0
    assert repr(m.matrix.maps[0]) == pristine or not m.kernel.cpu_online(0)
