# SPDX-License-Identifier: GPL-2.0-only
"""MX-12: the CPU is the one that a walk over all CPUs of the mask finds."""

import contextlib
import copy
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impl.defects import Defect
from impl.kernel.irq import matrix, matrix_rows
from impl.kernel.irq.matrix import IrqMatrix
from impl.kernel.irq.matrix_rows import Cpumap
from impl.kernel.kernel import Kernel, KernelBug
from impl.vector_machine import VectorMachine

CPUS = 6
FULL = (1 << CPUS) - 1

CPU = st.integers(0, CPUS - 1)
MASK = st.integers(0, FULL)
BIT = st.integers(1, 4)
OPERATION = st.one_of(
    st.tuples(st.just("online"), CPU),
    st.tuples(st.just("offline"), CPU),
    st.tuples(st.just("alloc"), MASK, st.booleans()),
    st.tuples(st.just("alloc_managed"), MASK),
    st.tuples(st.just("reserve_managed"), MASK),
    st.tuples(st.just("remove_managed"), MASK),
    st.tuples(st.just("free"), CPU, BIT, st.booleans()),
    st.tuples(st.just("assign"), CPU, BIT),
    st.tuples(st.just("keep")),
    st.tuples(st.just("restore")),
)
DEFECTS = st.frozensets(st.sampled_from([Defect.MX_D1, Defect.MX_D2, Defect.MX_D3]))


def walk_most_available(m: IrqMatrix, msk: int) -> int:
    """The kernel's rule: strictly more wins, so of equals the lowest."""
    best, maximum = -1, 0
    for cpu, cm in enumerate(m.maps):
        if msk >> cpu & 1 and cm.online and cm.available > maximum:
            best, maximum = cpu, cm.available
    return best


def walk_fewest_managed(m: IrqMatrix, msk: int) -> int:
    """The kernel's rule: as few wins, so of equals the highest."""
    best, minimum = -1, 0xFFFFFFFF
    for cpu, cm in enumerate(m.maps):
        if msk >> cpu & 1 and cm.online and cm.managed_allocated <= minimum:
            best, minimum = cpu, cm.managed_allocated
    return best


class Program:
    """A matrix of six rows with four vectors each, and what a program does to it."""

    def __init__(self, defects: frozenset[Defect]) -> None:
        m = matrix.irq_alloc_matrix(Kernel(CPUS, defects=defects), 8, 1, 5)
        assert m is not None
        self.m = m
        self.kept: tuple[Cpumap, ...] = copy.deepcopy(m.maps)

    def do(self, name: str, *values: int) -> None:
        """One operation; a program may do anything, so a BUG is only the end of this one."""
        with contextlib.suppress(KernelBug):
            getattr(self, name)(*values)

    def online(self, cpu: int) -> None:
        self.m.kernel.this_cpu = cpu
        matrix.irq_matrix_online(self.m)

    def offline(self, cpu: int) -> None:
        self.m.kernel.this_cpu = cpu
        matrix.irq_matrix_offline(self.m)

    def alloc(self, msk: int, reserved: int) -> None:
        matrix.irq_matrix_alloc(self.m, msk, bool(reserved))

    def alloc_managed(self, msk: int) -> None:
        matrix.irq_matrix_alloc_managed(self.m, msk)

    def reserve_managed(self, msk: int) -> None:
        matrix.irq_matrix_reserve_managed(self.m, msk)

    def remove_managed(self, msk: int) -> None:
        matrix.irq_matrix_remove_managed(self.m, msk)

    def free(self, cpu: int, bit: int, managed: int) -> None:
        matrix.irq_matrix_free(self.m, cpu, bit, bool(managed))

    def assign(self, cpu: int, bit: int) -> None:
        self.m.kernel.this_cpu = cpu
        matrix.irq_matrix_assign(self.m, bit)

    def keep(self) -> None:
        self.kept = copy.deepcopy(self.m.maps)

    def restore(self) -> None:
        self.m.choice.forget()
        for cm, kept in zip(self.m.maps, self.kept, strict=True):
            for field in Cpumap.__slots__:
                setattr(cm, field, getattr(kept, field))


@pytest.fixture(autouse=True, scope="module")
def no_walk() -> Iterator[None]:
    """Masks of every size are looked up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix_rows, "_FEW_CPUS", 0)
        yield


@settings(max_examples=150, deadline=None)
@given(DEFECTS, st.lists(OPERATION, min_size=5, max_size=40), st.lists(MASK, max_size=4))
def test_mx_12_looked_up_as_walked(
    defects: frozenset[Defect], operations: list[tuple[str, ...]], masks: list[int]
) -> None:
    program = Program(defects)
    m = program.m
    for name, *values in operations:
        program.do(name, *map(int, values))
        for msk in (FULL, *masks):
            assert m.choice.most_available(msk) == walk_most_available(m, msk)
            assert m.choice.fewest_managed_allocated(msk) == walk_fewest_managed(m, msk)


def fresh(*defects: Defect) -> Program:
    program = Program(frozenset(defects))
    for cpu in range(CPUS):
        program.online(cpu)
    return program


def test_mx_12_ties_go_to_the_lowest_cpu_and_for_managed_to_the_highest() -> None:
    m = fresh().m
    assert m.choice.most_available(0b101100) == 2
    assert m.choice.fewest_managed_allocated(0b101100) == 5
    assert matrix.irq_matrix_alloc(m, FULL, False) == (1, 0)
    assert matrix.irq_matrix_alloc(m, FULL, False) == (1, 1)


def test_mx_12_a_wrapped_counter_wins() -> None:
    """MX-D1: reservations made while a CPU was away take its counter below zero."""
    program = fresh(Defect.MX_D1)
    m = program.m
    for _ in range(4):
        program.reserve_managed(1 << 3)
    program.offline(3)
    program.remove_managed(1 << 3)
    program.online(3)
    program.alloc(1 << 3, False)
    assert m.maps[3].available == 0
    program.reserve_managed(1 << 3)
    program.offline(3)
    for _ in range(3):
        program.remove_managed(1 << 3)
    program.online(3)
    for _ in range(3):
        program.reserve_managed(1 << 3)
    assert m.maps[3].available > 1 << 31
    assert m.choice.most_available(FULL) == walk_most_available(m, FULL) == 3


@pytest.mark.parametrize(
    "search", [lambda m: m.choice.most_available, lambda m: m.choice.fewest_managed_allocated]
)
def test_nothing_is_found_where_no_row_is_online(
    search: Callable[[IrqMatrix], Callable[[int], int]],
) -> None:
    program = fresh()
    for cpu in range(CPUS):
        program.offline(cpu)
    assert search(program.m)(FULL) == -1


def test_a_restored_machine_chooses_as_it_did() -> None:
    machine = VectorMachine(CPUS)
    for cpu in range(1, CPUS):
        machine.cpu_up(cpu)
    snapshot = machine.snapshot()
    choice = machine.vectors.matrix.choice

    def take(n: int) -> list[int]:
        return [matrix.irq_matrix_alloc(machine.vectors.matrix, FULL, False)[1] for _ in range(n)]

    first = take(9)
    assert set(first) == set(range(1, CPUS))  # the boot CPU has the legacy vectors
    machine.restore(snapshot)
    assert take(9) == first
    assert choice.most_available(FULL) == walk_most_available(machine.vectors.matrix, FULL)
