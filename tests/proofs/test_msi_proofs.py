# SPDX-License-Identifier: GPL-2.0-only
"""MSI: proved for every size; no invariant, action or theorem is about nothing."""

from __future__ import annotations

import pytest

from proofs import cti
from proofs.induction import THEOREMS, Context, discharge, obligations
from proofs.verdict import Verdict
from spec.stack import MODELS
from tests.proofs.layer_checks import claims_of, mistake_found, not_proved
from tests.proofs.test_mutations import mutants

MODEL = MODELS["msi"].build()
SIZES = {sort.name: 2 for sort in MODEL.sorts}


def test_everything_is_proved_for_every_size() -> None:
    assert not_proved(MODEL) == set()


def test_every_action_and_every_theorem_is_about_something() -> None:
    assert cti.impossible(MODEL, claims_of(MODEL), SIZES) == ()


def test_the_theorems_rest_on_invariants() -> None:
    """All but those that only say what an action writes."""
    results = [discharge(o) for o in obligations(Context.of(MODEL), THEOREMS)]
    bare = {r.check.split()[-1] for r in results if not r.detail.startswith("from ")}
    assert bare <= {"trick", "unreached", "reset_forgets"}


@pytest.mark.parametrize(
    ("switch", "expected"),
    [
        (
            "N6",
            {
                ("msi_domain_alloc_irqs", "MSI-5"),
                ("irqd_set_nomask_quirk", "APIC-4"),
                ("irq_domain_activate_irq", "MSI-choice"),
            },
        ),
        ("N7", {("irq_domain_reset_irq_data", "MSI-N7")}),
        (
            "N8",
            {
                ("msi_domain_alloc_irqs", "MSI-5"),
                ("msi_domain_alloc_irqs", "MSI-N8"),
                ("msi_domain_alloc_irqs", "APIC-4"),
            },
        ),
        (
            "N14",
            {
                ("irqd_clr_activated", "MSI-9"),
                ("irqd_clr_activated", "MSI-choice"),
                ("irq_domain_activate_irq", "MSI-choice"),
            },
        ),
        ("N17", {("irq_domain_reset_irq_data", "MSI-N17")}),
    ],
)
def test_a_switch_breaks_the_step_that_it_changes(
    switch: str, expected: set[tuple[str, str]]
) -> None:
    model = MODELS["msi"].build(frozenset({switch}))
    changed = {n for n, a in model.actions.items() if a.guard is not MODEL.actions[n].guard}
    assert all(repr(a.writes) == repr(MODEL.actions[n].writes) for n, a in model.actions.items())
    found = not_proved(model, dict.fromkeys(changed))
    assert found == {(name, id, Verdict.REFUTED) for name, id in expected}


_OF_ENTRY = "∀ d: Desc: entry_device[d] = device ⇒"
_MINE = "msi_level[irq] = domain"

BROKEN_BY = {
    "MSI-2": "irq_set_msi_desc_off forgets msi_offset",
    "MSI-3": "irq_set_msi_desc_off forgets partial",
    "MSI-count": "irq_free_descs forgets entry_linked",
    "MSI-4": "irq_domain_reset_irq_data forgets phase",
    "MSI-5": "irq_domain_activate_irq forgets life",
    "MSI-6": "irq_domain_deactivate_irq forgets life",
    "MSI-7": "irq_domain_reset_irq_data forgets phase",
    "MSI-9": "irq_domain_deactivate_irq forgets life",
    "MSI-11": "irq_domain_set_hwirq_and_chip without is_msi_domain[domain] ⇒ "
    "¬(∃ i: Irq: msi_level[i] = domain ∧ msi_hwirq[i] = hwirq)",
    "MSI-13": "msi_domain_free_irqs without ¬stored[device]",
    "MSI-N7": f"irq_domain_reset_irq_data without {_MINE} ⇒ ¬initialised[irq]",
    "MSI-N8": "vector_reserve without msi_desc[irq] ≠ none ⇒ irqd_can_reserve[irq]",
    "MSI-N17": f"irq_domain_reset_irq_data without {_MINE} ∧ msi_desc[irq] ≠ none ⇒ "
    "¬activated[irq]",
    "MSI-kind": "alloc_msi_entry forgets entry_position",
    "MSI-entry": "free_msi_entry forgets entry_maskbit",
    "MSI-irq": "irq_domain_reset_irq_data forgets partial",
    "MSI-config": "vector_teardown forgets cfg_cpu",
    "MSI-early": "irq_domain_activate_irq forgets life",
    "MSI-choice": "irq_domain_activate_irq forgets activated",
    "MSI-owed": "irq_domain_deactivate_irq forgets message_pc",
    "MSI-8": "vector_config forgets message_pc",
    "PCI-1": f"pci_msi_set_enable without enable ⇒ ({_OF_ENTRY} ¬entry_is_msix[d]) and "
    "enable ⇒ ¬msix_enabled[device]",
    "PCI-2": "free_msi_entry without entry_device[desc] = device",
    "PCI-3": "msi_domain_prepare_irqs without phase[device] = IDLE",
    "PCI-6": "pci_msix_set_enable forgets setup",
    "PCI-7": "pci_reset_function forgets registers_lost",
    "PCI-8": "pci_write_msi_msg forgets stale",
    "PCI-9": "msi_domain_prepare_irqs without is_msi_domain[domain]",
    "PCI-10": "irq_set_msi_desc_off without offset = entry_linked[desc]",
    "APIC-4": "irq_free_descs forgets nomask_quirk",
    "APIC-5": "vector_config forgets moved_from",
    "APIC-6": f"msi_domain_prepare_irqs without {_OF_ENTRY} "
    "(1 < entry_nvec[d] ⇒ multi_pci_msi[domain])",
    "PCI-intx": "pci_intx forgets intx",
    "PCI-fresh": "free_msi_entry forgets device_vector",
}
"""A mistake that breaks each invariant, found by trying them all."""


def test_every_invariant_is_in_the_table() -> None:
    assert set(BROKEN_BY) == {i.id for i in MODEL.invariants}


@pytest.mark.parametrize("id", BROKEN_BY)
def test_a_mistake_breaks_the_invariant(id: str) -> None:
    mistake = BROKEN_BY[id]
    mutant = dict(mutants(MODEL.actions[mistake.split()[0]]))[mistake]
    assert mistake_found(MODEL, (mutant,), id, SIZES)
