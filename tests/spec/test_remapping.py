# SPDX-License-Identifier: GPL-2.0-only
"""The remapping core by hand: who takes charge, what IO-APICs get, and devices."""

from __future__ import annotations

from proofs.remapping_scopes import remapped
from spec.scope import Scope
from spec.stack import MODELS
from tests.spec.walks import Walk

NATIVE = 1
"""The domain that devices inherit; a unit's are 3 and 4."""


def booted(scope: Scope, driver: str, *switches: str, enabled: bool = True) -> Walk:
    walk = Walk(MODELS["remapping"].build(frozenset(switches)), scope)
    if driver == "INTEL":
        walk.do("intel_setup_irq_remapping", unit=0, domain=3, msi_domain=4)
    elif driver == "AMD":
        walk.do("amd_iommu_create_irq_domain", unit=0, domain=3, msi_domain=4)
    elif driver == "HYPERV":
        walk.do("hyperv_prepare_irq_remapping", domain=3)
    walk.do("irq_remapping_prepare", driver=driver)
    walk.do("irq_remapping_enable", enabled=enabled)
    return walk


def get(walk: Walk, type: str, id: int, domain: int | None) -> None:
    walk.do("irq_remapping_get_irq_domain", type=type, devid=id, domain=domain)


def test_irc_1_nobody_else_takes_charge() -> None:
    walk = booted(remapped("INTEL"), "INTEL")
    assert walk.get("remap_ops") == "INTEL"
    for driver in ("NONE", "INTEL", "AMD", "HYPERV"):
        assert not walk.can("irq_remapping_prepare", driver=driver)


def test_irc_1_the_command_line_can_forbid_it() -> None:
    scope = remapped("INTEL")
    forbidden = Scope(scope.sizes, {**scope.rigid, "disable_irq_remap": {(): True}})
    walk = Walk(MODELS["remapping"].build(), forbidden)
    assert not walk.can("irq_remapping_prepare", driver="INTEL")
    walk.do("irq_remapping_prepare", driver="NONE")


def test_irc_2_pins_and_hpets_build_on_the_outer_domain() -> None:
    for driver in ("INTEL", "AMD"):
        walk = booted(remapped(driver), driver)
        get(walk, "IOAPIC_GET_PARENT", 0, 3)
        get(walk, "HPET_GET_PARENT", 1, 3)
        assert [walk.get("given", id) for id in (0, 1)] == [3, 3]
        assert walk.get("parent", 4) == 3 and walk.get("parent", 3) == 0


def test_irc_2_an_id_that_no_unit_covers_gets_none() -> None:
    walk = booted(remapped("INTEL"), "INTEL")
    get(walk, "IOAPIC_GET_PARENT", 1, None)


def test_irc_3_a_pci_device_would_get_a_warning_and_none() -> None:
    walk = booted(remapped("INTEL"), "INTEL", "IRC-3")
    walk.step("irq_remapping_get_irq_domain", type="PCI_MSI", devid=0, domain=None)
    assert walk.violated() == ("IRC-3",)


def test_irc_5_nothing_builds_on_units_that_were_not_enabled() -> None:
    walk = booted(remapped("INTEL"), "INTEL", enabled=False)
    assert walk.get("ir_domain", 0) is None
    get(walk, "IOAPIC_GET_PARENT", 0, None)
    walk = booted(remapped("AMD"), "AMD", enabled=False)
    assert walk.get("ir_domain", 0) == 3
    get(walk, "IOAPIC_GET_PARENT", 0, None)


def test_irc_5_amd_answered_all_the_same() -> None:
    walk = booted(remapped("AMD"), "AMD", "F5", enabled=False)
    walk.step("irq_remapping_get_irq_domain", type="IOAPIC_GET_PARENT", devid=0, domain=3)
    assert walk.violated() == ("IRC-5",)


def test_hvi_3_hyper_v_serves_io_apics_and_touches_no_device() -> None:
    walk = booted(remapped("HYPERV"), "HYPERV", enabled=False)
    assert not walk.get("irq_remapping_enabled")
    get(walk, "IOAPIC_GET_PARENT", 0, 3)
    get(walk, "HPET_GET_PARENT", 1, None)
    walk.do("look_through")
    walk.do("add_device", device=0)
    assert walk.get("msi_domain", 0) == NATIVE


def test_int_15_devices_get_the_units_domain_at_boot_and_later() -> None:
    for driver in ("INTEL", "AMD"):
        walk = booted(remapped(driver, devices=2), driver)
        walk.do("add_device", device=0)
        assert walk.get("msi_domain", 0) == NATIVE
        walk.do("look_through")
        walk.do("add_device", device=1)
        assert [walk.get("msi_domain", d) for d in (0, 1)] == [4, 4]


def test_int_15_a_unit_without_its_inner_domain_leaves_devices_none() -> None:
    walk = Walk(MODELS["remapping"].build(), remapped("INTEL"))
    walk.do("intel_setup_irq_remapping", unit=0, domain=3, msi_domain=None)
    walk.do("irq_remapping_prepare", driver="INTEL")
    walk.do("irq_remapping_enable", enabled=True)
    walk.do("look_through")
    walk.do("add_device", device=0)
    assert walk.get("msi_domain", 0) is None


def test_int_15_virtual_functions_follow_their_physical_one() -> None:
    scope = remapped("INTEL", devices=2, virtual=True)
    walk = booted(scope, "INTEL")
    walk.do("look_through")
    assert not walk.can("add_device", device=1)
    walk.do("add_device", device=0)
    walk.do("add_device", device=1)
    assert walk.get("msi_domain", 1) == 4
    assert not walk.can("pci_device_remove", device=0)


def test_f2_virtual_functions_kept_the_native_domain() -> None:
    walk = booted(remapped("INTEL", devices=2, virtual=True), "INTEL", "F2")
    walk.do("look_through")
    walk.do("add_device", device=0)
    walk.step("add_device", device=1)
    assert walk.get("msi_domain", 1) == NATIVE
    assert walk.violated() == ("INT-15", "SEL-3")


def test_amd_12_virtual_functions_are_met_like_any_device() -> None:
    walk = booted(remapped("AMD", devices=2, virtual=True), "AMD")
    walk.do("look_through")
    walk.do("add_device", device=0)
    walk.do("add_device", device=1)
    assert walk.get("msi_domain", 1) == 4


def test_int_scan_the_look_ended_at_a_child_of_a_vmd() -> None:
    walk = booted(remapped("INTEL", devices=2, unnamed=True), "INTEL", "INT-scan")
    walk.do("add_device", device=0)
    walk.do("add_device", device=1)
    walk.step("look_through")
    assert walk.get("msi_domain", 1) == NATIVE
    assert walk.violated() == ("INT-15", "SEL-3")


def test_sel_6_a_child_of_a_vmd_keeps_its_domain() -> None:
    walk = booted(remapped("INTEL", devices=2, unnamed=True), "INTEL")
    walk.do("add_device", device=0)
    walk.do("look_through")
    walk.do("add_device", device=1)
    assert [walk.get("msi_domain", d) for d in (0, 1)] == [2, 4]


def test_int_14_a_failed_set_up_left_domains_behind() -> None:
    walk = Walk(MODELS["remapping"].build(frozenset({"F21"})), remapped("INTEL"))
    walk.step("intel_setup_irq_remapping_fails", unit=0, domain=3, msi_domain=4)
    assert walk.violated() == ("INT-14",)


def test_int_14_a_unit_can_be_given_up_before_anybody_is_in_charge() -> None:
    walk = Walk(MODELS["remapping"].build(), remapped("INTEL"))
    walk.do("intel_setup_irq_remapping", unit=0, domain=3, msi_domain=4)
    walk.do("intel_teardown_irq_remapping", unit=0)
    assert walk.get("ir_domain", 0) is None and not walk.get("unit_ready", 0)
