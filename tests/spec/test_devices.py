# SPDX-License-Identifier: GPL-2.0-only
"""DMAR units and HPET channels by hand."""

from __future__ import annotations

from proofs.platform_scopes import units
from spec.devices import devices
from tests.spec.walks import Walk

DMAR, HPET = 0, 1


def made(*switches: str) -> Walk:
    walk = Walk(devices.build(frozenset(switches)), units(3))
    for domain in (DMAR, HPET):
        walk.step("msi_create_irq_domain", domain=domain)
    return walk


def test_msi_2_every_unit_has_the_hwirq_of_its_id() -> None:
    walk = made()
    for unit, irq in ((0, 2), (1, 0), (2, 1)):
        walk.do("msi_domain_alloc", unit=unit, irq=irq)
    assert [walk.get("stored", irq) for irq in (2, 0, 1)] == [0, 1, 1]
    assert walk.get("mapped", DMAR, 1) == 0 and walk.get("mapped", HPET, 1) == 1


def test_apic_7_a_second_allocation_of_an_id_is_refused() -> None:
    walk = made()
    walk.do("msi_domain_alloc", unit=1, irq=0)
    assert not walk.can("msi_domain_alloc", unit=1, irq=1)
    walk.do("msi_domain_alloc_refused", unit=1)
    walk.do("irq_domain_free_irqs", irq=0)
    walk.do("msi_domain_alloc", unit=1, irq=1)


def test_apic_7_the_ids_of_two_domains_do_not_meet() -> None:
    walk = made()
    walk.do("msi_domain_alloc", unit=1, irq=0)
    assert not walk.can("msi_domain_alloc_refused", unit=2)
    walk.do("msi_domain_alloc", unit=2, irq=1)


def test_n1_is_about_dmar_units_only() -> None:
    walk = made("N1")
    walk.do("msi_domain_alloc", unit=2, irq=0)
    assert walk.get("answered", 0) == walk.get("stored", 0) == 1
    walk.step("msi_domain_alloc", unit=1, irq=1)
    assert (walk.get("answered", 1), walk.get("stored", 1)) == (0, 1)


def test_n2_an_allocation_is_an_oops() -> None:
    walk = made("N2")
    assert not walk.can("msi_domain_alloc", unit=0, irq=0)
    walk.step("msi_domain_alloc_oops", unit=0)
    assert walk.violated() == ("MSI-1",)


def test_msi_1_nothing_is_allocated_before_the_domain_is_made() -> None:
    walk = Walk(devices.build(), units(1))
    assert not walk.can("msi_domain_alloc", unit=0, irq=0)
    walk.do("msi_create_irq_domain", domain=DMAR)
    assert all(walk.get(f"has_{name}", DMAR) for name in ("get_hwirq", "msi_init", "alloc_irqs"))
