# SPDX-License-Identifier: GPL-2.0-only
"""The matrix against numbers of the real v5.10 allocator, row by row and column by column."""

import errno
from collections.abc import Iterable

from impl.defects import Defect
from impl.kernel.irq import matrix
from impl.kernel.kernel import Kernel

Row = tuple[tuple[int, int, int], list[tuple[int, int, int, int]]]


def mask(*cpus: int) -> int:
    return sum(1 << cpu for cpu in cpus)


def columns(m: matrix.IrqMatrix) -> Row:
    """(ga, gr, ta) and, for each CPU, available/allocated/managed/managed_allocated."""
    rows = [(c.available, c.allocated, c.managed, c.managed_allocated) for c in m.maps]
    return (m.global_available, m.global_reserved, m.total_allocated), rows


def quads(text: str) -> list[tuple[int, int, int, int]]:
    cells = [[int(part) for part in cell.split("/")] for cell in text.split()]
    return [(a, b, c, d) for a, b, c, d in cells]


def on_cpu(m: matrix.IrqMatrix, cpu: int) -> matrix.IrqMatrix:
    m.kernel.this_cpu = cpu
    return m


def booted(defects: Iterable[Defect]) -> matrix.IrqMatrix:
    """Three CPUs, system bits 0x20, 0x32 and 0x80 in range, CPU 0 online with its 15 ISA bits."""
    m = matrix.irq_alloc_matrix(Kernel(3, defects=frozenset(defects)), 256, 0x20, 0xEC)
    assert m is not None
    for bit in (0x20, 0x32, 0x80):
        matrix.irq_matrix_assign_system(m, bit, False)
    matrix.irq_matrix_online(m)
    for isa in range(16):
        if isa != 2:
            matrix.irq_matrix_assign(m, 0x30 + isa)
    return m


def run_to_row_17(m: matrix.IrqMatrix) -> None:
    """Rows 1 to 17, each checked."""
    assert m.systembits_inalloc == 3
    assert columns(m) == ((186, 0, 15), quads("186/15/0/0 0/0/0/0 0/0/0/0"))

    matrix.irq_matrix_online(on_cpu(m, 1))
    matrix.irq_matrix_online(on_cpu(m, 2))
    assert columns(m) == ((588, 0, 15), quads("186/15/0/0 201/0/0/0 201/0/0/0"))

    assert matrix.irq_matrix_alloc(m, mask(0, 1, 2), False) == (0x21, 1)
    assert columns(m) == ((587, 0, 16), quads("186/15/0/0 200/1/0/0 201/0/0/0"))

    assert matrix.irq_matrix_alloc(m, mask(0, 1, 2), False) == (0x21, 2)
    assert columns(m) == ((586, 0, 17), quads("186/15/0/0 200/1/0/0 200/1/0/0"))

    assert matrix.irq_matrix_alloc(m, mask(0, 1, 2), False) == (0x22, 1)
    assert columns(m) == ((585, 0, 18), quads("186/15/0/0 199/2/0/0 200/1/0/0"))

    assert matrix.irq_matrix_alloc(m, mask(0, 1, 2), False) == (0x22, 2)
    assert columns(m) == ((584, 0, 19), quads("186/15/0/0 199/2/0/0 199/2/0/0"))

    assert matrix.irq_matrix_alloc(m, mask(0), False) == (0x21, 0)
    assert columns(m) == ((583, 0, 20), quads("185/16/0/0 199/2/0/0 199/2/0/0"))

    assert matrix.irq_matrix_reserve_managed(m, mask(0, 1, 2)) == 0
    assert columns(m) == ((580, 0, 20), quads("184/16/1/0 198/2/1/0 198/2/1/0"))

    assert matrix.irq_matrix_reserve_managed(m, mask(1, 2)) == 0
    assert columns(m) == ((578, 0, 20), quads("184/16/1/0 197/2/2/0 197/2/2/0"))

    assert matrix.irq_matrix_alloc_managed(m, mask(0, 1, 2)) == (0x23, 2)
    assert columns(m) == ((578, 0, 21), quads("184/16/1/0 197/2/2/0 197/3/2/1"))

    assert matrix.irq_matrix_alloc_managed(m, mask(1, 2)) == (0x23, 1)
    assert columns(m) == ((578, 0, 22), quads("184/16/1/0 197/3/2/1 197/3/2/1"))

    matrix.irq_matrix_reserve(m)
    matrix.irq_matrix_reserve(m)
    assert columns(m) == ((578, 2, 22), quads("184/16/1/0 197/3/2/1 197/3/2/1"))

    assert matrix.irq_matrix_alloc(m, mask(0, 1), True) == (0x25, 1)
    assert columns(m) == ((577, 1, 23), quads("184/16/1/0 196/4/2/1 197/3/2/1"))

    matrix.irq_matrix_free(m, 1, 0x25, False)
    assert columns(m) == ((578, 1, 22), quads("184/16/1/0 197/3/2/1 197/3/2/1"))

    matrix.irq_matrix_remove_reserved(m)
    assert columns(m) == ((578, 0, 22), quads("184/16/1/0 197/3/2/1 197/3/2/1"))

    matrix.irq_matrix_free(m, 2, 0x23, True)
    matrix.irq_matrix_remove_managed(m, mask(0, 1, 2))
    assert columns(m) == ((581, 0, 21), quads("185/16/0/0 198/3/1/1 198/2/1/0"))

    matrix.irq_matrix_offline(on_cpu(m, 2))
    assert columns(m) == ((383, 0, 21), quads("185/16/0/0 198/3/1/1 198/2/1/0"))


def true_free_bits(m: matrix.IrqMatrix, cpu: int) -> int:
    cm = m.maps[cpu]
    taken = cm.alloc_map | cm.managed_map | m.system_map
    return sum(1 for bit in range(m.alloc_start, m.alloc_end) if not taken >> bit & 1)


def check_row_21(m: matrix.IrqMatrix) -> None:
    before = columns(m)
    assert matrix.irq_matrix_alloc(m, 0, False) == (-errno.EINVAL, -1)
    assert matrix.irq_matrix_alloc_managed(m, 0) == (-errno.EINVAL, -1)
    assert columns(m) == before


def test_golden_trace_of_v5_10() -> None:
    m = booted({Defect.MX_D1, Defect.MX_D2})
    run_to_row_17(m)

    matrix.irq_matrix_free(on_cpu(m, 0), 2, 0x21, False)
    assert columns(m) == ((383, 0, 21), quads("185/16/0/0 198/3/1/1 199/1/1/0"))

    assert matrix.irq_matrix_reserve_managed(m, mask(1, 2)) == 0
    assert columns(m) == ((382, 0, 21), quads("185/16/0/0 197/3/2/1 199/1/2/0"))

    matrix.irq_matrix_online(on_cpu(m, 2))
    assert columns(m) == ((581, 0, 21), quads("185/16/0/0 197/3/2/1 199/1/2/0"))
    assert true_free_bits(m, 2) == 198
    check_row_21(m)


def test_golden_trace_repaired() -> None:
    """Without MX-D1 and MX-D2 rows 18 to 20 keep MX-9 and MX-6."""
    m = booted(())
    run_to_row_17(m)

    matrix.irq_matrix_free(on_cpu(m, 0), 2, 0x21, False)
    assert columns(m) == ((383, 0, 20), quads("185/16/0/0 198/3/1/1 199/1/1/0"))

    assert matrix.irq_matrix_reserve_managed(m, mask(1, 2)) == 0
    assert columns(m) == ((382, 0, 20), quads("185/16/0/0 197/3/2/1 198/1/2/0"))

    matrix.irq_matrix_online(on_cpu(m, 2))
    assert columns(m) == ((580, 0, 20), quads("185/16/0/0 197/3/2/1 198/1/2/0"))
    assert true_free_bits(m, 2) == 198 == m.maps[2].available
    check_row_21(m)
