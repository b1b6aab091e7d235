# SPDX-License-Identifier: GPL-2.0-only
"""Interrupt remapping: proved for every size, explored, and no statement says nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proofs import cti
from proofs.induction import Context, discharge, obligations
from proofs.remapping_scopes import REMAPPING_SCOPES, amd_vi, remapped, vt_d
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
from tests.proofs.test_platform_proofs import run_of, sizes_of


@pytest.mark.parametrize("layer", REMAPPING_SCOPES)
def test_everything_is_proved_for_every_size(layer: str) -> None:
    assert not_proved(model_of(layer)) == set()


@pytest.mark.parametrize("layer", REMAPPING_SCOPES)
def test_every_action_and_every_theorem_is_about_something(layer: str) -> None:
    model = model_of(layer)
    claims = claims_of(model)
    # In two entries no block is rounded up, and of two devices one is no virtual function.
    sizes = dict.fromkeys(sizes_of(model), 3)
    assert cti.impossible(model, claims, sizes) == ()


@pytest.mark.parametrize("layer", REMAPPING_SCOPES)
def test_the_invariants_hold_in_every_state_and_every_operation_happens(layer: str) -> None:
    model = model_of(layer)
    assert_all_happens(model, REMAPPING_SCOPES[layer])


@pytest.mark.parametrize("layer", REMAPPING_SCOPES)
def test_every_action_is_a_part_of_an_operation(layer: str) -> None:
    model = model_of(layer)
    assert {call for o in model.operations.values() for call in o.calls} == set(model.actions)


def test_the_check_explores_these_scopes() -> None:
    assert {layer: SCOPES[layer] for layer in REMAPPING_SCOPES} == REMAPPING_SCOPES
    assert all(len(set(map(str, scopes))) == len(scopes) for scopes in REMAPPING_SCOPES.values())


REFUTED_BY = {
    ("remapping", "F2"): {("pci_device_add", "INT-15")},
    ("remapping", "F5"): {("irq_remapping_get_irq_domain", "IRC-5")},
    ("remapping", "F21"): {("intel_setup_irq_remapping_fails", "INT-14")},
    ("remapping", "IRC-3"): {("irq_remapping_get_irq_domain", "IRC-3")},
    ("remapping", "INT-scan"): {("dmar_dev_scope_init", "INT-15")},
    ("remapping", "INT-scope"): {("pci_device_add", id) for id in ("INT-15", "IRC-boot")},
    ("remapping", "AMD-probe"): {("pci_device_add", id) for id in ("AMD-12", "IRC-boot")},
    ("intel_ir", "INT-10"): {("intel_irq_remapping_alloc_leaks", "INT-10")},
    ("intel_ir", "INT-13"): {("vector_config", "INT-13")},
    ("intel_ir", "INT-null"): {("intel_irq_remapping_alloc_oops", "INT-null")},
    ("intel_ir", "INT-type"): {("intel_irq_remapping_alloc_bug", "INT-type")},
    ("intel_ir", "INT-vcpu"): {("intel_ir_set_vcpu_affinity", "INT-due")},
    ("amd_ir", "AMD-01"): {("irq_remapping_alloc_oops", "AMD-11")},
    ("amd_ir", "AMD-3"): {("set_min_index", id) for id in ("AMD-2", "AMD-9")},
    ("amd_ir", "AMD-6"): {
        ("irq_remapping_prepare_irte", id) for id in ("AMD-3", "AMD-4", "AMD-9", "AMD-users")
    },
    ("amd_ir", "AMD-alias"): {("alloc_irq_table", "AMD-hub")},
    ("amd_ir", "AMD-copy"): {("irq_remapping_free_data", "AMD-10")},
    ("amd_ir", "AMD-DTE"): {("set_remap_table_entry", "AMD-DTE")},
    ("amd_ir", "AMD-vcpu"): {("modify_irte", "AMD-9")},
}
"""What each switch breaks, and at which step; it breaks nothing else."""


def changed(model: Model, base: Model) -> Iterator[str]:
    """The actions that a switch changes or adds: about all others nothing is to be proved anew, if
    it leaves the invariants as they are."""
    pairs = zip(model.invariants, base.invariants, strict=True)
    same = all(one.formula is other.formula for one, other in pairs)
    for name, action in model.actions.items():
        before = base.actions.get(name)
        if before is None or not same or repr(action) != repr(before):
            yield name


@pytest.mark.parametrize(("layer", "switch"), REFUTED_BY)
def test_a_switch_breaks_what_it_is_said_to_break(layer: str, switch: str) -> None:
    expected = {(name, id, Verdict.REFUTED) for name, id in REFUTED_BY[layer, switch]}
    model = model_of(layer, switch)
    context = Context.of(model)
    found = (
        discharge(obligation)
        for name in changed(model, model_of(layer))
        for obligation in obligations(context, name)
    )
    refuted = {
        (r.check.split()[-1], r.subject, r.verdict)
        for r in found
        if r.verdict is not Verdict.PROVED
    }
    assert refuted == expected
    broken = {id for _, id, _ in expected}
    assert {i.id for i in model.invariants if switch in i.unless} >= broken


@pytest.mark.parametrize("switch", ["INT-scan", "INT-scope", "F2"])
@pytest.mark.parametrize("id", ["INT-15", "SEL-3"])
def test_sel_3_a_device_that_is_left_out_keeps_the_native_domain(switch: str, id: str) -> None:
    scopes: dict[str, Scope] = {
        "INT-scan": remapped("INTEL", devices=2, unnamed=True),
        "INT-scope": remapped("INTEL", mismatch=True),
        "F2": remapped("INTEL", devices=2, virtual=True),
    }
    run = run_of("remapping", switch, scopes[switch], id)
    assert ("irq_remapping_enable", (True,)) in run
    assert run[-1][0] in ("add_device", "look_through")


def test_f2_the_virtual_function_comes_behind_its_physical_one() -> None:
    run = run_of("remapping", "F2", remapped("INTEL", devices=2, virtual=True), "SEL-3")
    assert [step for step in run if step[0] == "add_device"] == [
        ("add_device", (0,)),
        ("add_device", (1,)),
    ]


def test_irc_5_an_io_apic_builds_on_a_unit_that_remaps_nothing() -> None:
    run = run_of("remapping", "F5", remapped("AMD"), "IRC-5")
    assert ("irq_remapping_enable", (False,)) in run
    assert run[-1][0] == "irq_remapping_get_irq_domain"


def test_int_vcpu_an_entry_is_valid_though_nobody_activated_it() -> None:
    run = run_of("intel_ir", "INT-vcpu", vt_d(("PCI_MSIX",), 1), "INT-7")
    assert [name for name, _ in run] == ["intel_setup_irq_remapping", "alloc", "set_vcpu_affinity"]


def test_amd_1_the_second_neighbour_takes_the_alias_away() -> None:
    scope = amd_vi(("HPET",), 1, devids=3, hub=2, tables=2)
    run = run_of("amd_ir", "AMD-alias", scope, "AMD-1")
    assert [name for name, _ in run] == ["new_shared_table", "new_shared_table"]


BROKEN_BY = {
    "remapping": {
        "IRC-1": "irq_remapping_enable forgets tried",
        "IRC-2": "irq_remapping_enable without ¬tried",
        "IRC-3": "irq_remapping_get_irq_domain without domain = ",
        "IRC-5": "irq_remapping_enable without ¬tried",
        "INT-14": "irq_remapping_enable forgets ir_domain",
        "INT-15": "pci_device_add forgets store_due",
        "AMD-12": "pci_device_add forgets store_due",
        "HVI-3": "pci_device_add forgets msi_domain",
        "SEL-3": "pci_device_add forgets store_due",
        "SEL-6": "pci_device_add forgets msi_domain",
        "IRC-boot": "pci_device_add forgets added",
    },
    "intel_ir": {
        "INT-1": "irte_free forgets holder",
        "INT-2": "irte_free forgets block_mask",
        "INT-3": "irte_free forgets phase",
        "INT-4": "intel_irq_remapping_prepare_irte without if zero = sub_handle",
        "INT-5": "intel_irq_remapping_prepare_irte forgets msg_index",
        "INT-6": "irte_write forgets hw_cpu",
        "INT-7": "irte_free forgets hw_svt",
        "INT-8": "irte_free forgets posting",
        "INT-9": "vector_config forgets entry_stale",
        "INT-10": "irte_alloc forgets phase",
        "INT-11": "irte_free forgets phase",
        "INT-12": "irte_write forgets hw_svt",
        "INT-13": "intel_ir_reconfigure_irte without dest = cfg_cpu[irq]",
        "INT-null": "intel_irq_remapping_prepare_irte without level[irq]",
        "INT-type": "intel_irq_remapping_prepare_irte without kind[irq] ≠ OTHER",
        "INT-users": "intel_free_irq_resources forgets user",
        "INT-hand": "irte_free forgets phase",
        "INT-due": "irte_free forgets posting",
        "INT-table": "irte_alloc without has_table[unit]",
    },
    "amd_ir": {
        "AMD-1": "set_remap_table_entry forgets table_of",
        "AMD-2": "set_min_index without made[table]",
        "AMD-3": "free_irte forgets devid",
        "AMD-4": "free_irte forgets devid",
        "AMD-5": "free_irte forgets devid",
        "AMD-6": "irq_remapping_prepare_irte forgets irte_index",
        "AMD-7": "irq_remapping_prepare_irte forgets msg_index",
        "AMD-9": "modify_irte forgets hw_cpu",
        "AMD-10": "free_irte forgets marked",
        "AMD-11": "irq_remapping_alloc_data without level[irq]",
        "AMD-DTE": "set_remap_table_entry forgets dte_full",
        "AMD-users": "free_irte forgets user",
        "AMD-empty": "free_irte forgets hw_cpu",
        "AMD-hub": "set_remap_table_entry forgets binding",
        "AMD-hand": "alloc_irq_table forgets made",
    },
}
"""How the name of a mistake begins that breaks each invariant."""


@pytest.mark.parametrize("layer", REMAPPING_SCOPES)
def test_every_invariant_is_in_the_table(layer: str) -> None:
    assert set(BROKEN_BY[layer]) == {i.id for i in model_of(layer).invariants}


@pytest.mark.parametrize(
    ("layer", "id"), [(layer, id) for layer, table in BROKEN_BY.items() for id in table]
)
def test_a_mistake_breaks_the_invariant(layer: str, id: str) -> None:
    model, mistake = model_of(layer), BROKEN_BY[layer][id]
    known = mutants(model.actions[mistake.split()[0]])
    mutant = next(mutant for name, mutant in known if name.startswith(mistake))
    assert mistake_found(model, (mutant,), id, sizes_of(model))
