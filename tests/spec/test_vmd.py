# SPDX-License-Identifier: GPL-2.0-only
"""Devices behind a VMD by hand."""

from __future__ import annotations

from proofs.device_scopes import vmds
from spec.vmd import vmd
from tests.spec.walks import Walk


def probed(vectors: int, *switches: str, told: int | None = None) -> Walk:
    """A VMD with so many vectors, whose irqs are 0, 1 and so on; three more are free."""
    walk = Walk(vmd.build(frozenset(switches)), vmds(vectors + 3, vectors, told=told))
    for index in range(vectors):
        walk.step("msi_domain_alloc", device=0, index=index, irq=index)
    walk.step("vmd_enable_domain", device=0)
    return walk


def test_vmd_4_nvme_takes_the_lowest_of_the_shortest_lists_but_the_first() -> None:
    walk = probed(3)
    assert not walk.can("vmd_msi_init", device=0, irq=3, index=0, nvme=True)
    assert not walk.can("vmd_msi_init", device=0, irq=3, index=2, nvme=True)
    walk.do("vmd_msi_init", device=0, irq=3, index=1, nvme=True)
    walk.do("vmd_msi_init", device=0, irq=4, index=2, nvme=True)
    walk.do("vmd_msi_init", device=0, irq=5, index=1, nvme=True)
    assert [walk.get("count", 0, k) for k in range(3)] == [0, 2, 1]


def test_vmd_4_frees_may_make_the_lists_uneven() -> None:
    walk = probed(3)
    for irq, index in ((3, 1), (4, 2), (5, 1)):
        walk.do("vmd_msi_init", device=0, irq=irq, index=index, nvme=True)
    walk.do("vmd_msi_free", device=0, irq=4, index=2)
    assert [walk.get("count", 0, k) for k in range(3)] == [0, 2, 0]


def test_vmd_4_others_and_a_vmd_with_one_vector_take_the_first() -> None:
    walk = probed(2)
    assert not walk.can("vmd_msi_init", device=0, irq=2, index=1, nvme=False)
    walk.do("vmd_msi_init", device=0, irq=2, index=0, nvme=False)
    assert walk.get("count", 0, 0) == 0
    probed(1).do("vmd_msi_init", device=0, irq=1, index=0, nvme=True)


def test_vmd_6_two_children_have_one_hwirq() -> None:
    walk = probed(2)
    for irq in (2, 3):
        walk.do("vmd_msi_init", device=0, irq=irq, index=1, nvme=True)
    assert walk.get("hwirq", 2) == walk.get("hwirq", 3) == 1


def test_vmd_10_an_irq_is_freed_after_it_was_disabled() -> None:
    walk = probed(2)
    walk.do("vmd_msi_init", device=0, irq=2, index=1, nvme=True)
    walk.do("vmd_irq_enable", device=0, irq=2)
    assert walk.get("irq_list", 0, 1, 2)
    assert not walk.can("vmd_irq_enable", device=0, irq=2)
    assert not walk.can("vmd_msi_free", device=0, irq=2, index=1)
    walk.do("vmd_irq_disable", device=0, irq=2)
    walk.do("vmd_msi_free", device=0, irq=2, index=1)


def test_vmd_1_the_segment_goes_after_its_irqs_and_the_vectors_after_it() -> None:
    walk = probed(1)
    walk.do("vmd_msi_init", device=0, irq=1, index=0, nvme=False)
    assert not walk.can("vmd_remove", device=0) and not walk.can("vmd_free_irqs", device=0)
    walk.do("vmd_msi_free", device=0, irq=1, index=0)
    walk.do("vmd_remove", device=0)
    walk.do("vmd_free_irqs", device=0)
    assert not any(walk.get("vector_level", irq) for irq in range(4))


def test_vmd_7_an_index_that_is_too_large_looks_like_another() -> None:
    assert not Walk(vmd.build(), vmds(2, 2, told=1)).can(
        "msi_domain_alloc", device=0, index=1, irq=1
    )
    walk = probed(2, "VMD-7", told=1)
    walk.step("vmd_msi_init", device=0, irq=2, index=1, nvme=True)
    walk.step("pci_write_msi_msg", irq=2, index=0)
    assert "VMD-7" in walk.violated()


def test_vmd_5_with_a_parent_children_take_vectors() -> None:
    walk = probed(1, "VMD-03")
    walk.step("vmd_msi_init", device=0, irq=1, index=0, nvme=False)
    assert walk.violated() == ("VMD-5",)
