# SPDX-License-Identifier: GPL-2.0-only
"""Boot, routing, IO-APICs, UV, DMAR and HPET: proved for every size, explored, and not vacuous."""

from __future__ import annotations

import pytest

from proofs import cti
from proofs.explorer import explore
from proofs.platform_scopes import PLATFORM_SCOPES, io_apic, pci, units
from proofs.scopes import SCOPES
from proofs.verdict import Verdict
from spec.records import Model
from spec.scope import Scope
from tests.proofs.layer_checks import (
    assert_all_happens,
    claims_of,
    mistake_found,
    model_of,
    not_proved,
)
from tests.proofs.test_mutations import mutants


def sizes_of(model: Model) -> dict[str, int]:
    return {sort.name: 2 for sort in model.sorts}


@pytest.mark.parametrize("layer", PLATFORM_SCOPES)
def test_everything_is_proved_for_every_size(layer: str) -> None:
    assert not_proved(model_of(layer)) == set()


@pytest.mark.parametrize("layer", PLATFORM_SCOPES)
def test_every_action_and_every_theorem_is_about_something(layer: str) -> None:
    model = model_of(layer)
    assert cti.impossible(model, claims_of(model), sizes_of(model)) == ()


@pytest.mark.parametrize("layer", PLATFORM_SCOPES)
def test_the_invariants_hold_in_every_state_and_every_operation_happens(layer: str) -> None:
    model = model_of(layer)
    assert_all_happens(model, PLATFORM_SCOPES[layer])


def test_the_check_explores_these_scopes() -> None:
    assert {layer: SCOPES[layer] for layer in PLATFORM_SCOPES} == PLATFORM_SCOPES
    assert all(len(set(map(repr, scopes))) == len(scopes) for scopes in PLATFORM_SCOPES.values())


REFUTED_BY = {
    ("routing", "N3"): {("create_pci_msi_domain", "INIT-1")},
    ("routing", "N4"): {("pci_msi_arch_fallbacks", "PCI-fallbacks")},
    ("routing", "PRE"): {("apic_bsp_setup", "INIT-post")},
    ("routing", "F2"): {("pci_device_add", id) for id in ("INIT-3", "INIT-4", "SEL-3")},
    ("routing", "VMD-24"): {("pci_device_add", "SEL-2"), ("pci_device_add", "VMD-8")},
    ("routing", "INIT-C"): {("pci_device_add", id) for id in ("INIT-3", "INIT-4", "SEL-3")},
    ("routing", "INIT-L"): {
        ("irq_remapping_enable", "INIT-3"),
        ("irq_remapping_enable", "INIT-4"),
        ("irq_remapping_enable", "SEL-3"),
    },
    ("routing", "INIT-U"): {
        ("dmar_insert_dev_scope", "INIT-3"),
        ("dmar_insert_dev_scope", "INIT-4"),
    },
    ("uv", "N13"): {("irq_domain_deactivate_irq", "UV-3")},
    ("devices", "N2"): {("msi_create_irq_domain", "MSI-1")},
    ("ioapic", "IOA-pin"): {("add_pin_to_irq_node", "IOA-5")},
}
"""What each switch breaks, and at which step; it breaks nothing else."""


@pytest.mark.parametrize(("layer", "switch"), REFUTED_BY)
def test_a_switch_breaks_what_it_is_said_to_break(layer: str, switch: str) -> None:
    expected = {(name, id, Verdict.REFUTED) for name, id in REFUTED_BY[layer, switch]}
    model = model_of(layer, switch)
    assert not_proved(model) == expected
    broken = {id for _, id, _ in expected}
    assert {i.id for i in model.invariants if switch in i.unless} >= broken


def run_of(layer: str, switch: str, scope: Scope, invariant: str) -> list[tuple[str, object]]:
    """The shortest run that breaks an invariant under a switch, as names and arguments."""
    found = explore(model_of(layer, switch), scope, invariants=(invariant,)).counterexample
    assert found is not None
    return [(step.action, tuple(value for _, value in step.params)) for step in found.steps]


def test_n1_the_second_dmar_unit_collides_with_the_first() -> None:
    assert run_of("devices", "N1", units(2), "APIC-free") == [
        ("msi_create_irq_domain", (0,)),
        ("msi_domain_alloc", (0, 0)),
        ("msi_domain_alloc_refused", (1,)),
    ]


def test_n2_an_allocation_calls_an_operation_that_is_missing() -> None:
    found = explore(model_of("devices", "N2"), units(1), invariants=("MSI-2",))
    assert found.fired["msi_domain_alloc"] == 0
    assert found.fired["msi_domain_alloc_oops"] > 0


def test_n3_the_unprivileged_xen_guest_loses_its_domain() -> None:
    run = run_of("routing", "N3", pci(), "INIT-1")
    assert ("init_hypervisor_platform", ("PV_DOMU",)) in run
    assert run[-1][0] == "create_pci_msi_domain"
    assert "pci_arch_init" not in {name for name, _ in run}


def test_series_20_the_one_new_path_is_symmetric_io_without_routing() -> None:
    run = run_of("routing", "PRE", pci(), "INIT-post")
    assert ("apic_intr_mode_select", ("SYMMETRIC_IO_NO_ROUTING",)) in run
    assert run[-1][0] == "apic_bsp_setup"


def test_series_20_on_that_path_a_guest_got_the_native_domain_before() -> None:
    run = run_of("routing", "PRE", pci(), "INIT-1")
    assert ("init_hypervisor_platform", ("HVM_PIRQ",)) in run
    assert ("apic_intr_mode_select", ("SYMMETRIC_IO_NO_ROUTING",)) in run


def test_init_4_an_uncovered_device_inherits_the_unit_of_the_bridge_above() -> None:
    run = run_of("routing", "INIT-C", pci(), "INIT-4")
    assert [step for step in run if step[0] != "pci_set_bus_msi_domain"][-2:] == [
        ("set_device_msi_domain", (0, 1)),
        ("pci_device_add", (1, 1)),
    ]


def test_ioa_5_a_pin_that_is_added_late_is_not_programmed() -> None:
    scope = io_apic("STRICT", 1, 1, legacy=1, isa_pins=2)
    names_of_run = [name for name, _ in run_of("ioapic", "IOA-pin", scope, "IOA-5")]
    assert names_of_run == ["mp_irqdomain_create", "map_new", "start", "map_again"]


BROKEN_IN = {
    "routing": {
        "INIT-post": "apic_post_init",
        "INIT-path": "default_setup_apic_routing",
        "INIT-step": "pci_arch_init",
        "PCI-fallbacks": "pci_msi_arch_fallbacks",
        "INIT-1": "create_pci_msi_domain",
        "INIT-2": "pci_scan_begin",
        "INIT-3": "pci_device_add",
        "INIT-4": "set_device_msi_domain",
        "INIT-5": "pci_device_add",
        "PCI-9": "pci_msi_setup_msi_irqs",
        "PCI-stub": "pci_msi_arch_fallbacks",
        "SEL-1": "pci_device_add",
        "SEL-2": "pci_device_add",
        "SEL-3": "set_device_msi_domain",
        "SEL-4": "pci_device_add",
        "SEL-5": "pci_device_add",
        "HVI-3": "irq_remapping_enable",
        "VMD-8": "pci_device_add",
        "FB-1": "pci_msi_setup_msi_irqs",
        "FB-3": "init_hypervisor_platform",
        "INIT-default": "create_pci_msi_domain",
        "INIT-buses": "pci_set_bus_msi_domain",
    },
    "uv": {
        "UV-1": "uv_domain_alloc",
        "UV-2": "uv_domain_alloc",
        "UV-3": "irq_domain_deactivate_irq",
        "UV-mmr": "vector_config",
        "UV-level": "uv_domain_free",
    },
    "devices": {
        "MSI-1": "msi_create_irq_domain",
        "MSI-2": "msi_domain_alloc",
        "APIC-7": "msi_domain_alloc",
        "APIC-free": "msi_domain_alloc_refused",
        "MSI-map": "irq_domain_free_irqs",
    },
    "ioapic": {
        "IOA-1": "add_pin_to_irq_node",
        "IOA-2": "add_pin_to_irq_node",
        "IOA-3": "mp_unmap_irq",
        "IOA-4": "mp_set_attr",
        "IOA-5": "ioapic_write_entry",
        "IOA-6": "add_pin_to_irq_node",
        "IOA-7": "add_pin_to_irq_node",
        "GEN-6": "irq_alloc_descs",
        "IOA-list": "irq_free_descs",
        "IOA-base": "mp_irqdomain_create",
        "IOA-unmapped": "mp_map_pin",
    },
}
"""An action in which some small mistake breaks the invariant."""


@pytest.mark.parametrize("layer", BROKEN_IN)
def test_every_invariant_is_in_the_table(layer: str) -> None:
    assert set(BROKEN_IN[layer]) == {i.id for i in model_of(layer).invariants}


@pytest.mark.parametrize(
    ("layer", "id"), [(layer, id) for layer, table in BROKEN_IN.items() for id in table]
)
def test_a_mistake_breaks_the_invariant(layer: str, id: str) -> None:
    model = model_of(layer)
    wrong = (mutant for _, mutant in mutants(model.actions[BROKEN_IN[layer][id]]))
    assert mistake_found(model, wrong, id, sizes_of(model))
