# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts in guests of Hyper-V by hand."""

from __future__ import annotations

from typing import Any

from proofs.device_scopes import passed_through
from spec.hyperv import hyperv
from tests.spec.walks import Walk


def io_apic() -> Walk:
    """An irq of an IO-APIC, and one of an HPET."""
    return Walk(hyperv.build(), passed_through(("IOAPIC", "HPET"), cpus=2, vectors=2))


def device(*switches: str) -> Walk:
    """Two irqs of a device, for which the host can make two messages."""
    scope = passed_through(("PCI", "PCI"), vectors=2, messages=2)
    walk = Walk(hyperv.build(frozenset(switches)), scope)
    walk.do("new_pcichild_device", slot=0)
    for irq in range(2):
        walk.do("msi_domain_alloc", irq=irq, slot=0)
    return walk


def compose(walk: Walk, irq: int, vector: int, message: int | None, **more: Any) -> None:
    arguments = {"irq": irq, "vector": vector, "cpu": 0, "message": message, "lost": False}
    walk.step("device_compose", **(arguments | more))


def test_hvi_1_an_hpet_is_refused() -> None:
    walk = io_apic()
    assert not walk.can("hyperv_irq_remapping_alloc", irq=1)
    walk.do("hyperv_irq_remapping_alloc", irq=0)
    assert not walk.can("hyperv_irq_remapping_alloc", irq=0)


def test_hvi_2_the_entry_follows_the_irq_to_cpus_that_it_can_name() -> None:
    walk = io_apic()
    walk.do("hyperv_irq_remapping_alloc", irq=0)
    assert not walk.can("io_apic_set_affinity", irq=0, vector=0, cpu=0)
    assert not walk.can("io_apic_activate", irq=0, vector=0, cpu=1)
    walk.do("io_apic_activate", irq=0, vector=0, cpu=0)
    assert not walk.can("io_apic_set_affinity", irq=0, vector=1, cpu=1)
    walk.do("io_apic_set_affinity", irq=0, vector=1, cpu=0)
    assert (walk.get("entry_vector", 0), walk.get("entry_cpu", 0)) == (1, 0)


def test_hvp_1_a_move_gives_the_old_message_back() -> None:
    walk = device()
    compose(walk, 0, 0, 0)
    compose(walk, 0, 1, 1)
    assert [walk.get("mapping", m) for m in range(2)] == [None, 0]
    assert walk.get("host_vector", 1) == 1
    assert walk.violated() == ()


def test_hvp_1_what_is_lost_stays_with_the_host() -> None:
    walk = device("HV-send")
    compose(walk, 0, 0, 0)
    compose(walk, 0, 1, 1, lost=True)
    assert "HVP-1" in walk.violated()


def test_hvp_2_an_irq_that_is_freed_has_nothing() -> None:
    walk = device()
    compose(walk, 0, 0, 0)
    walk.do("hv_irq_unmask", irq=0, obeys=True)
    assert not walk.can("hv_msi_free", irq=0)
    walk.do("pci_msi_mask_irq", irq=0)
    walk.do("hv_msi_free", irq=0)
    assert walk.get("mapping", 0) is None


def test_hvp_5_without_a_message_the_device_signals_nothing() -> None:
    walk = device()
    compose(walk, 0, 0, None)
    assert walk.get("activated", 0) and walk.get("message", 0) is None
    walk.do("hv_irq_unmask", irq=0, obeys=True)
    assert all(walk.get("host_vector", m) is None for m in range(2))


def test_hvp_2_a_device_that_is_ejected_gives_everything_back_first() -> None:
    walk = device()
    compose(walk, 0, 0, 0)
    walk.do("hv_pci_eject_device", slot=0)
    arguments = {"irq": 1, "vector": 1, "cpu": 0, "lost": False}
    assert not walk.can("device_compose", message=1, **arguments)
    walk.do("device_compose", message=None, **arguments)
    for irq in range(2):
        assert not walk.can("hv_eject_complete", slot=0)
        walk.do("hv_msi_free", irq=irq)
    walk.do("hv_eject_complete", slot=0)


def test_hvp_2_the_host_drops_what_it_made_for_a_device_that_is_missing() -> None:
    walk = device()
    compose(walk, 0, 0, 0)
    walk.do("hv_pci_devices_missing", slot=0)
    assert walk.get("mapping", 0) is None and walk.get("chip_data", 0) == 0
    walk.do("hv_msi_free", irq=0)
    assert not walk.can("new_pcichild_device", slot=0)
    walk.do("hv_msi_free", irq=1)
    walk.do("new_pcichild_device", slot=0)


def test_a_message_that_is_used_again_leads_to_the_old_vector() -> None:
    walk = device("HV-reuse")
    compose(walk, 0, 0, 0)
    walk.step("device_compose_again", irq=0, vector=1, cpu=0)
    assert walk.violated() == ("HVP-target",)
    walk.step("hv_irq_unmask", irq=0, obeys=False)
    assert walk.violated() == ("HVP-target",)
    walk.do("hv_irq_unmask", irq=0, obeys=True)
