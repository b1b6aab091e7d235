# SPDX-License-Identifier: GPL-2.0-only
"""Platform MSI by hand."""

from __future__ import annotations

from proofs.device_scopes import platform
from spec.platform_msi import platform_msi
from tests.spec.walks import Walk


def walk_of(*switches: str, most: int | None = None, grows: bool = False) -> Walk:
    return Walk(platform_msi.build(frozenset(switches)), platform(2, 2, 3, most=most, grows=grows))


def served(walk: Walk, device: int, devid: int, *irqs: int) -> None:
    """A device gets these irqs."""
    walk.step("platform_msi_alloc_priv_data", device=device, devid=devid)
    for index in range(len(irqs)):
        walk.step("platform_msi_alloc_desc", device=device, index=index)
    walk.step("msi_domain_alloc_begin", device=device)
    for index, irq in enumerate(irqs):
        walk.step("msi_domain_alloc", device=device, index=index, irq=irq)
    walk.step("platform_msi_domain_alloc_irqs", device=device)


def undone(walk: Walk, device: int, devid: int, *irqs: int) -> None:
    """What was made for a device goes, from the inside out."""
    for index, irq in enumerate(irqs):
        walk.do("irq_domain_free_irqs", device=device, index=index, irq=irq)
    for index in range(2):
        if walk.get("desc", device, index):
            walk.do("platform_msi_free_desc", device=device, index=index)
    walk.do("platform_msi_free_priv_data", device=device, devid=devid)


def test_plt_4_a_device_gets_indices_from_0_on() -> None:
    walk = walk_of()
    walk.do("platform_msi_alloc_priv_data", device=0, devid=1)
    assert not walk.can("platform_msi_alloc_desc", device=0, index=1)
    walk.do("platform_msi_alloc_desc", device=0, index=0)
    walk.do("msi_domain_alloc_begin", device=0)
    assert not walk.can("platform_msi_domain_alloc_irqs", device=0)
    walk.do("msi_domain_alloc", device=0, index=0, irq=2)
    walk.do("platform_msi_domain_alloc_irqs", device=0)
    assert (walk.get("hw_devid", 2), walk.get("hw_index", 2)) == (1, 0)


def test_plt_3_a_device_that_is_served_is_busy() -> None:
    walk = walk_of()
    served(walk, 0, 0, 0)
    assert not walk.can("platform_msi_alloc_priv_data", device=0, devid=1)
    walk.do("platform_msi_domain_free_irqs", device=0)
    undone(walk, 0, 0, 0)
    walk.do("platform_msi_alloc_priv_data", device=0, devid=1)


def test_plt_1_a_devid_is_free_again_when_the_device_is_done() -> None:
    walk = walk_of()
    served(walk, 0, 0, 0, 1)
    assert not walk.can("platform_msi_alloc_priv_data", device=1, devid=0)
    walk.do("platform_msi_domain_free_irqs", device=0)
    assert not walk.can("platform_msi_free_desc", device=0, index=0)
    undone(walk, 0, 0, 0, 1)
    walk.do("platform_msi_alloc_priv_data", device=1, devid=0)


def fails_in_the_middle(walk: Walk) -> None:
    walk.step("platform_msi_alloc_priv_data", device=0, devid=0)
    for index in range(2):
        walk.step("platform_msi_alloc_desc", device=0, index=index)
    walk.step("msi_domain_alloc_begin", device=0)
    walk.step("msi_domain_alloc", device=0, index=0, irq=0)
    walk.step("msi_domain_alloc_fails", device=0, index=1)


def test_plt_5_a_failure_in_the_middle_leaves_nothing() -> None:
    walk = walk_of()
    fails_in_the_middle(walk)
    assert walk.violated() == ()
    undone(walk, 0, 0, 0)


def test_plt_5_an_irq_that_is_left_is_in_the_way_of_the_next_device() -> None:
    walk = walk_of("PLT-5")
    fails_in_the_middle(walk)
    for index in range(2):
        walk.step("platform_msi_free_desc", device=0, index=index)
    assert "PLT-5" in walk.violated()
    walk.step("platform_msi_free_priv_data", device=0, devid=0)
    walk.step("platform_msi_alloc_priv_data", device=1, devid=0)
    walk.step("platform_msi_alloc_desc", device=1, index=0)
    walk.step("msi_domain_alloc_begin", device=1)
    assert not walk.can("msi_domain_alloc", device=1, index=0, irq=1)
    walk.step("msi_domain_alloc_fails", device=1, index=0)
    assert "PLT-free" in walk.violated()


def test_plt_6_the_private_data_outlives_the_irqs() -> None:
    walk = walk_of("PLT-6")
    served(walk, 0, 0, 0)
    walk.step("platform_msi_domain_free_irqs", device=0)
    assert "PLT-6" in walk.violated()
    assert not walk.get("taken", 0)


def test_plt_2_without_set_desc_a_domain_has_room_for_one_irq() -> None:
    walk = walk_of("PLT-2")
    walk.step("platform_msi_alloc_priv_data", device=0, devid=1)
    for index in range(2):
        walk.step("platform_msi_alloc_desc", device=0, index=index)
    walk.step("msi_domain_alloc_begin", device=0)
    walk.step("msi_domain_alloc", device=0, index=0, irq=0)
    assert (walk.get("hw_devid", 0), walk.get("hw_index", 0)) == (0, 0)
    assert not walk.can("msi_domain_alloc", device=0, index=1, irq=1)


def test_plt_index_one_too_many_takes_a_number_of_the_next_device() -> None:
    assert not walk_of(most=1, grows=True).can("platform_msi_alloc_desc", device=0, index=1)
    walk = walk_of("PLT-index", most=1, grows=True)
    walk.step("platform_msi_alloc_priv_data", device=0, devid=0)
    for index in range(2):
        walk.step("platform_msi_alloc_desc", device=0, index=index)
    walk.step("msi_domain_alloc_begin", device=0)
    walk.step("msi_domain_alloc", device=0, index=1, irq=0)
    assert (walk.get("hw_devid", 0), walk.get("hw_index", 0)) == (1, 0)


def test_plt_7_a_chip_without_irq_ack() -> None:
    walk = walk_of("PLT-7")
    walk.do("platform_msi_create_irq_domain", domain=0, acks=True, own=True)
    walk = walk_of("PLT-7")
    walk.step("platform_msi_create_irq_domain", domain=0, acks=True, own=False)
    assert walk.violated() == ("PLT-7",)
