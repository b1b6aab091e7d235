# SPDX-License-Identifier: GPL-2.0-only
"""The spreading of a device's vectors over CPUs and nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impl.kernel.irq.affinity import (
    IrqAffinity,
    irq_calc_affinity_vectors,
    irq_create_affinity_masks,
)
from impl.kernel.irq.irq import IrqAffinityDesc
from impl.kernel.kernel import Kernel
from tests.impl.support import mask


def masks(kernel: Kernel, nvecs: int, affd: IrqAffinity | None = None) -> list[int]:
    entries = irq_create_affinity_masks(kernel, nvecs, affd or IrqAffinity())
    assert entries is not None
    return [entry.mask for entry in entries]


def test_one_vector_for_each_cpu() -> None:
    assert masks(Kernel(4), 4) == [mask(0), mask(1), mask(2), mask(3)]


def test_the_first_vectors_get_what_a_division_leaves() -> None:
    assert masks(Kernel(7), 3) == [mask(0, 1, 2), mask(3, 4), mask(5, 6)]


def test_fewer_vectors_than_nodes_share_whole_nodes() -> None:
    kernel = Kernel(6, nodes=(0, 0, 1, 1, 2, 2))
    assert masks(kernel, 2) == [mask(0, 1, 4, 5), mask(2, 3)]
    assert masks(kernel, 3) == [mask(0, 1), mask(2, 3), mask(4, 5)]


def test_small_nodes_come_first_and_have_at_least_one_vector() -> None:
    kernel = Kernel(8, nodes=(0, 0, 0, 0, 0, 0, 0, 1))
    assert masks(kernel, 3) == [mask(7), mask(0, 1, 2, 3), mask(4, 5, 6)]


def test_offline_cpus_are_spread_over_as_well() -> None:
    kernel = Kernel(4)
    kernel.cpu_online_mask = mask(0)
    assert masks(kernel, 2) == [mask(0, 1), mask(2, 3)]


def test_first_and_last_vectors_are_not_spread() -> None:
    kernel = Kernel(2)
    default = IrqAffinityDesc(kernel.irq_default_affinity, False)
    got = irq_create_affinity_masks(kernel, 5, IrqAffinity(pre_vectors=1, post_vectors=2))
    managed = [IrqAffinityDesc(mask(0), True), IrqAffinityDesc(mask(1), True)]
    assert got == [default, *managed, default, default]


@pytest.mark.parametrize("nvecs", [1, 2, 3])
def test_trap_43_nothing_to_spread_is_no_masks_at_all(nvecs: int) -> None:
    affd = IrqAffinity(pre_vectors=2, post_vectors=1)
    assert irq_create_affinity_masks(Kernel(4), nvecs, affd) is None


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
    st.integers(1, 12),
)
def test_every_cpu_is_served_once(nodes: list[int], nvecs: int) -> None:
    kernel = Kernel(len(nodes), nodes=nodes)
    got = masks(kernel, min(nvecs, len(nodes)))
    assert all(got)
    assert sum(entry.bit_count() for entry in got) == len(nodes)
    whole = 0
    for entry in got:
        whole |= entry
    assert whole == kernel.irq_default_affinity


def test_useful_vectors() -> None:
    kernel = Kernel(4)
    assert irq_calc_affinity_vectors(kernel, 1, 64, IrqAffinity()) == 4
    assert irq_calc_affinity_vectors(kernel, 1, 3, IrqAffinity()) == 3
    assert irq_calc_affinity_vectors(kernel, 3, 64, IrqAffinity(2, 1)) == 7
    assert irq_calc_affinity_vectors(kernel, 2, 64, IrqAffinity(2, 1)) == 0
