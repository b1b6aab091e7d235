# SPDX-License-Identifier: GPL-2.0-only
"""VMDs, Hyper-V, platform MSI and device MSI: proved for every size, explored, and not vacuous."""

from __future__ import annotations

import pytest

from proofs import cti
from proofs.device_scopes import DEVICE_SCOPES
from proofs.scopes import SCOPES
from proofs.verdict import Verdict
from spec.records import Model
from tests.proofs.layer_checks import (
    assert_all_happens,
    claims_of,
    mistake_found,
    model_of,
    not_proved,
)
from tests.proofs.test_mutations import mutants


def sizes_of(model: Model) -> dict[str, int]:
    """Three irqs, as a VMD needs two of its own before there is one on its second list."""
    return {sort.name: 3 if sort.name == "Irq" else 2 for sort in model.sorts}


@pytest.mark.parametrize("layer", DEVICE_SCOPES)
def test_everything_is_proved_for_every_size(layer: str) -> None:
    assert not_proved(model_of(layer)) == set()


@pytest.mark.parametrize("layer", DEVICE_SCOPES)
def test_every_action_and_every_theorem_is_about_something(layer: str) -> None:
    model = model_of(layer)
    assert cti.impossible(model, claims_of(model), sizes_of(model)) == ()


@pytest.mark.parametrize("layer", DEVICE_SCOPES)
def test_the_invariants_hold_in_every_state_and_every_operation_happens(layer: str) -> None:
    model = model_of(layer)
    assert_all_happens(model, DEVICE_SCOPES[layer])


def test_the_check_explores_these_scopes() -> None:
    assert {layer: SCOPES[layer] for layer in DEVICE_SCOPES} == DEVICE_SCOPES
    assert all(len(set(map(repr, scopes))) == len(scopes) for scopes in DEVICE_SCOPES.values())


REFUTED_BY = {
    ("vmd", "VMD-03"): {("vmd_msi_init", "VMD-5")},
    ("vmd", "VMD-7"): {("msi_domain_alloc", "VMD-told")},
    ("platform_msi", "PLT-2"): {
        ("msi_domain_alloc", "PLT-2"),
        ("msi_domain_alloc_fails", "PLT-free"),
    },
    ("platform_msi", "PLT-5"): {
        ("platform_msi_free_desc", "PLT-2"),
        ("platform_msi_free_desc", "PLT-5"),
    },
    ("platform_msi", "PLT-6"): {
        ("platform_msi_domain_free_irqs", "PLT-2"),
        ("platform_msi_domain_free_irqs", "PLT-3"),
        ("platform_msi_domain_free_irqs", "PLT-6"),
    },
    ("platform_msi", "PLT-7"): {("platform_msi_create_irq_domain", "PLT-7")},
    ("platform_msi", "PLT-index"): {("platform_msi_alloc_desc", "PLT-index")},
    ("hyperv", "HV-send"): {("hv_int_desc_free", "HVP-1")},
    ("hyperv", "HV-reuse"): {("hv_compose_msi_msg", "HVP-target")},
    ("ims", "DEV-D2"): {("msi_domain_alloc", "IMS-2")},
    ("ims", "DEV-D3"): {("free_msi_entry", f"IMS-{n}") for n in (1, 2, 4, 5, 6)},
    ("ims", "DEV-D5"): {("device_msi_create_irq_domain", "IMS-7")},
    ("ims", "DEV-D6"): {("ims_array_alloc_slot", "IMS-1"), ("ims_array_alloc_slot", "IMS-5")},
    ("ims", "DEV-D7"): {
        (name, id)
        for name in ("device_msi_create_irq_domain", "ims_array_free_slot")
        for id in ("IMS-3", "IMS-6")
    },
    ("ims", "DEV-D8"): {
        (name, "IMS-8")
        for name in (
            "device_msi_create_irq_domain",
            "ims_array_free_slot",
            "irq_domain_activate_irq",
            "ims_array_write_msi_msg",
            "ims_array_mask_irq",
            "ims_array_unmask_irq",
            "irq_domain_free_irqs",
        )
    },
    ("ims", "DEV-D9"): {("ims_array_alloc_slot", "IMS-2")},
    ("ims", "DEV-D10"): {("alloc_msi_entry", "IMS-4")},
    ("ims_queue", "DEV-42"): {("ims_queue_write_msi_msg", "IMS-9")},
    ("ims_queue", "DEV-early"): {
        ("irq_domain_activate_irq", "IMS-9"),
        ("irq_domain_deactivate_irq", "IMS-9"),
    },
}
"""What each switch breaks, and at which step; it breaks nothing else."""


@pytest.mark.parametrize(("layer", "switch"), REFUTED_BY)
def test_a_switch_breaks_what_it_is_said_to_break(layer: str, switch: str) -> None:
    expected = {(name, id, Verdict.REFUTED) for name, id in REFUTED_BY[layer, switch]}
    model = model_of(layer, switch)
    assert not_proved(model) == expected
    broken = {id for _, id, _ in expected}
    assert {i.id for i in model.invariants if switch in i.unless} >= broken


BROKEN_IN = {
    "vmd": {
        "VMD-1": "vmd_remove",
        "VMD-2": "vmd_msi_init",
        "VMD-3": "vmd_msi_free",
        "VMD-first": "vmd_msi_free",
        "VMD-5": "msi_domain_alloc",
        "VMD-6": "vmd_free_irqs",
        "VMD-7": "vmd_msi_free",
        "VMD-10": "vmd_irq_enable",
        "VMD-vectors": "msi_domain_alloc",
        "VMD-told": "msi_domain_alloc",
    },
    "platform_msi": {
        "PLT-1": "platform_msi_alloc_priv_data",
        "PLT-2": "msi_domain_alloc",
        "PLT-free": "msi_domain_alloc_fails",
        "PLT-3": "platform_msi_alloc_priv_data",
        "PLT-4": "platform_msi_domain_alloc_irqs",
        "PLT-5": "platform_msi_free_desc",
        "PLT-6": "msi_domain_alloc",
        "PLT-7": "platform_msi_create_irq_domain",
        "PLT-index": "platform_msi_alloc_desc",
    },
    "hyperv": {
        "HVI-1": "hyperv_irq_remapping_alloc",
        "HVI-2": "vector_config",
        "HVP-1": "hv_create_interrupt",
        "HVP-2": "hv_msi_free",
        "HVP-5": "hv_compose_msi_msg",
        "HVP-target": "hv_create_interrupt",
        "HVP-slots": "hv_eject_complete",
    },
    "ims": {
        "IMS-1": "ims_array_alloc_slot",
        "IMS-2": "msi_domain_alloc",
        "IMS-3": "ims_array_free_slot",
        "IMS-4": "free_msi_entry",
        "IMS-5": "irq_domain_activate_irq",
        "IMS-6": "ims_array_mask_irq",
        "IMS-7": "device_msi_create_irq_domain",
        "IMS-8": "ims_array_mask_irq",
        "IMS-idle": "alloc_msi_entry",
    },
    "ims_queue": {
        "IMS-9": "ims_queue_sync_unlock",
        "IMS-10": "apic_ack_irq",
        "IMS-5": "ims_queue_write_msi_msg",
        "IMS-6": "ims_queue_unmask_irq",
    },
}
"""An action in which some small mistake breaks the invariant."""


@pytest.mark.parametrize("layer", DEVICE_SCOPES)
def test_every_invariant_is_in_the_table(layer: str) -> None:
    assert set(BROKEN_IN[layer]) == {i.id for i in model_of(layer).invariants}


@pytest.mark.parametrize(
    ("layer", "id"), [(layer, id) for layer, table in BROKEN_IN.items() for id in table]
)
def test_a_mistake_breaks_the_invariant(layer: str, id: str) -> None:
    model = model_of(layer)
    wrong = (mutant for _, mutant in mutants(model.actions[BROKEN_IN[layer][id]]))
    assert mistake_found(model, wrong, id, sizes_of(model))
