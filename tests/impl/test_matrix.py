# SPDX-License-Identifier: GPL-2.0-only
"""The matrix: choice rules, errors, roll-back, BUGs and its four defects."""

import errno

import pytest

from impl.defects import Defect
from impl.kernel.irq import matrix
from impl.kernel.kernel import Kernel, KernelBug
from impl.trace import Event
from tests.impl.support import mask

WRAPPED = 2**32 - 1


def fresh(nr_cpus: int = 3, *defects: Defect, online: int = -1, bits: int = 4) -> matrix.IrqMatrix:
    """Vectors 1 to `bits`, the CPUs of `online` (all if not given) online."""
    m = matrix.irq_alloc_matrix(Kernel(nr_cpus, defects=frozenset(defects)), 8, 1, 1 + bits)
    assert m is not None
    for cpu in range(nr_cpus):
        if online >> cpu & 1:
            bring_up(m, cpu)
    return m


def bring_up(m: matrix.IrqMatrix, cpu: int) -> None:
    m.kernel.this_cpu = cpu
    matrix.irq_matrix_online(m)


def take_down(m: matrix.IrqMatrix, cpu: int) -> None:
    m.kernel.this_cpu = cpu
    matrix.irq_matrix_offline(m)


def state(m: matrix.IrqMatrix) -> str:
    return repr((m.maps, m.global_available, m.global_reserved, m.total_allocated, m.system_map))


def warnings(m: matrix.IrqMatrix) -> list[Event]:
    seen: list[Event] = []
    m.kernel.trace.subscribe(lambda event: seen.append(event) if event.name == "WARN" else None)
    return seen


def test_trap_1_ties_go_to_the_lowest_cpu_for_regular_and_the_highest_for_managed() -> None:
    m = fresh(3)
    matrix.irq_matrix_reserve_managed(m, mask(0, 1, 2))
    assert matrix.irq_matrix_alloc(m, mask(0, 1, 2), False) == (2, 0)
    assert matrix.irq_matrix_alloc_managed(m, mask(0, 1, 2)) == (1, 2)


def test_mx_12_the_choice_is_the_maximum_and_the_lowest_free_bit() -> None:
    m = fresh(3)
    matrix.irq_matrix_alloc(m, mask(0), False)
    matrix.irq_matrix_alloc(m, mask(1), False)
    matrix.irq_matrix_alloc(m, mask(1), False)
    assert matrix.irq_matrix_alloc(m, mask(0, 1), False) == (2, 0)
    matrix.irq_matrix_free(m, 0, 1, False)
    assert matrix.irq_matrix_alloc(m, mask(0), False) == (1, 0)


def test_the_managed_choice_ignores_whether_the_cpu_has_a_bit() -> None:
    m = fresh(2)
    matrix.irq_matrix_reserve_managed(m, mask(0))
    before = state(m)
    assert matrix.irq_matrix_alloc_managed(m, mask(0, 1)) == (-errno.ENOSPC, -1)
    assert state(m) == before


def test_trap_2_managed_reservation_pays_and_managed_allocation_does_not() -> None:
    m = fresh(2, online=mask(0))
    matrix.irq_matrix_reserve_managed(m, mask(0, 1))
    assert (m.maps[0].available, m.maps[1].available, m.global_available) == (3, 0, 3)
    matrix.irq_matrix_alloc_managed(m, mask(0))
    assert (m.maps[0].available, m.global_available, m.total_allocated) == (3, 3, 1)
    bring_up(m, 1)
    assert (m.maps[1].available, m.global_available) == (3, 6)


def test_trap_3_and_mx_d2_a_free_on_an_offline_map() -> None:
    for defects, total in (({Defect.MX_D2}, 1), (set[Defect](), 0)):
        m = fresh(2, *defects)
        matrix.irq_matrix_alloc(m, mask(1), False)
        take_down(m, 1)
        matrix.irq_matrix_free(m, 1, 1, False)
        assert m.total_allocated == total
        assert m.maps[1].allocated == 0
        assert m.maps[1].available == 4
        assert m.global_available == 4


def test_trap_4_available_keeps_its_value_offline_and_is_set_once() -> None:
    m = fresh(2)
    matrix.irq_matrix_alloc(m, mask(1), False)
    before = state(m)
    take_down(m, 1)
    assert m.maps[1].available == 3
    bring_up(m, 1)
    assert state(m) == before, "MX-15"


def test_trap_5_replacing_moves_a_bit_from_allocated_to_system() -> None:
    m = fresh(2, online=mask(0))
    matrix.irq_matrix_assign(m, 2)
    assert m.maps[0].available == 3
    matrix.irq_matrix_assign_system(m, 2, True)
    row = m.maps[0]
    assert (row.available, row.allocated, m.total_allocated, m.systembits_inalloc) == (3, 0, 0, 1)
    bring_up(m, 1)
    assert m.maps[1].available == 3


def test_trap_6_and_mx_14_a_failed_reservation_may_permute_managed_bits() -> None:
    m = fresh(2)
    matrix.irq_matrix_reserve_managed(m, mask(0, 1))
    matrix.irq_matrix_reserve_managed(m, mask(0, 1))
    assert matrix.irq_matrix_alloc_managed(m, mask(0)) == (1, 0)
    for _ in range(2):
        matrix.irq_matrix_alloc(m, mask(1), False)
    before = state(m)
    maps = [cm.managed_map for cm in m.maps]
    assert matrix.irq_matrix_reserve_managed(m, mask(0, 1)) == -errno.ENOSPC
    assert state(m) != before
    assert [cm.managed for cm in m.maps] == [2, 2]
    assert [cm.available for cm in m.maps] == [2, 0]
    assert maps == [0b110, 0b110]
    assert [cm.managed_map for cm in m.maps] == [0b1010, 0b110]


def test_trap_7_a_reservation_has_no_identity() -> None:
    m = fresh(1)
    matrix.irq_matrix_reserve_managed(m, mask(0))
    matrix.irq_matrix_reserve_managed(m, mask(0))
    matrix.irq_matrix_remove_managed(m, mask(0))
    assert m.maps[0].managed_map == 0b100


def test_remove_managed_warns_where_there_is_nothing_and_goes_on() -> None:
    m = fresh(2)
    warned = warnings(m)
    matrix.irq_matrix_reserve_managed(m, mask(1))
    matrix.irq_matrix_remove_managed(m, mask(0, 1))
    assert len(warned) == 1
    assert m.maps[1].managed == 0
    matrix.irq_matrix_reserve_managed(m, mask(1))
    matrix.irq_matrix_alloc_managed(m, mask(1))
    before = state(m)
    matrix.irq_matrix_remove_managed(m, mask(1))
    assert len(warned) == 2
    assert state(m) == before


def test_mx_11_regular_allocation_fails_only_when_nothing_is_available() -> None:
    m = fresh(2, bits=1)
    assert matrix.irq_matrix_alloc(m, 0, False) == (-errno.EINVAL, -1)
    assert matrix.irq_matrix_alloc(m, mask(1), False) == (1, 1)
    before = state(m)
    assert matrix.irq_matrix_alloc(m, mask(1), True) == (-errno.ENOSPC, -1)
    assert state(m) == before
    take_down(m, 0)
    assert matrix.irq_matrix_alloc(m, mask(0, 1), False) == (-errno.ENOSPC, -1)
    assert matrix.irq_matrix_alloc_managed(m, mask(0)) == (-errno.ENOSPC, -1)


def test_reserved_counts_and_wraps() -> None:
    m = fresh(1)
    matrix.irq_matrix_reserve(m)
    matrix.irq_matrix_alloc(m, mask(0), True)
    assert matrix.irq_matrix_reserved(m) == 0
    matrix.irq_matrix_remove_reserved(m)
    assert matrix.irq_matrix_reserved(m) == WRAPPED


def test_assign_warns_and_returns() -> None:
    m = fresh(1)
    warned = warnings(m)
    matrix.irq_matrix_assign(m, 1)
    before = state(m)
    for bit in (0, 5, 1):
        matrix.irq_matrix_assign(m, bit)
    assert len(warned) == 3
    assert state(m) == before


def test_free_outside_the_range_warns_and_returns() -> None:
    m = fresh(1)
    warned = warnings(m)
    before = state(m)
    for bit in (0, 5):
        matrix.irq_matrix_free(m, 0, bit, False)
    assert len(warned) == 2
    assert state(m) == before


def test_available_for_a_cpu_that_leaves() -> None:
    m = fresh(3)
    matrix.irq_matrix_alloc(m, mask(2), False)
    m.kernel.this_cpu = 2
    assert matrix.irq_matrix_available(m, False) == 11
    assert matrix.irq_matrix_available(m, True) == 8
    assert matrix.irq_matrix_allocated(m) == 1


def test_too_wide_a_matrix_is_refused() -> None:
    assert matrix.irq_alloc_matrix(Kernel(1), 257, 0x20, 0xEC) is None
    assert matrix.irq_alloc_matrix(Kernel(1), 256, 0x20, 0xEC) is not None


def test_online_twice_is_a_bug() -> None:
    m = fresh(1)
    with pytest.raises(KernelBug):
        matrix.irq_matrix_online(m)


def test_assign_system_bugs() -> None:
    m = fresh(2, online=mask(0))
    with pytest.raises(KernelBug, match="online"):
        matrix.irq_matrix_assign_system(m, 1, False)
    with pytest.raises(KernelBug, match="not allocated"):
        matrix.irq_matrix_assign_system(m, 1, True)
    matrix.irq_matrix_assign(m, 2)
    bring_up(m, 1)
    m.kernel.this_cpu = 0
    with pytest.raises(KernelBug, match="online"):
        matrix.irq_matrix_assign_system(m, 2, True)


def test_mx_5_a_repeated_system_bit_is_counted_twice() -> None:
    m = fresh(1, online=0)
    matrix.irq_matrix_assign_system(m, 2, False)
    matrix.irq_matrix_assign_system(m, 2, False)
    matrix.irq_matrix_assign_system(m, 7, False)
    assert (m.systembits_inalloc, m.system_map) == (2, 0b10000100)


def test_mx_d1_drift_and_its_repair() -> None:
    for defects, drift in (({Defect.MX_D1}, 1), (set[Defect](), 0)):
        m = fresh(2, *defects)
        take_down(m, 1)
        matrix.irq_matrix_reserve_managed(m, mask(1))
        assert m.maps[1].available == 3 + drift
        assert m.global_available == 4
        matrix.irq_matrix_remove_managed(m, mask(1))
        assert m.maps[1].available == 4


def test_mx_d1_wraps_available_and_then_the_cpu_always_wins() -> None:
    m = fresh(2, Defect.MX_D1)
    matrix.irq_matrix_reserve_managed(m, mask(1))
    for _ in range(3):
        matrix.irq_matrix_alloc(m, mask(1), False)
    take_down(m, 1)
    matrix.irq_matrix_remove_managed(m, mask(1))
    bring_up(m, 1)
    matrix.irq_matrix_reserve_managed(m, mask(1))
    assert m.maps[1].available == WRAPPED
    assert matrix.irq_matrix_alloc(m, mask(0, 1), False) == (-errno.ENOSPC, -1)


def test_mx_d3_a_double_free_and_its_repair() -> None:
    m = fresh(1, Defect.MX_D3)
    matrix.irq_matrix_free(m, 0, 1, False)
    assert (m.maps[0].allocated, m.maps[0].available, m.total_allocated) == (WRAPPED, 5, WRAPPED)
    matrix.irq_matrix_free(m, 0, 1, True)
    assert m.maps[0].managed_allocated == WRAPPED

    repaired = fresh(1)
    warned = warnings(repaired)
    before = state(repaired)
    matrix.irq_matrix_free(repaired, 0, 1, False)
    assert state(repaired) == before
    assert len(warned) == 1


def test_mx_d4_the_bit_behind_the_bitmap() -> None:
    m = fresh(1, Defect.MX_D4, online=0)
    matrix.irq_matrix_assign_system(m, 8, False)
    assert m.system_map == 1 << 8
    with pytest.raises(KernelBug):
        matrix.irq_matrix_assign_system(m, 9, False)
    with pytest.raises(KernelBug):
        matrix.irq_matrix_assign_system(fresh(1, online=0), 8, False)
