# SPDX-License-Identifier: GPL-2.0-only
"""The hierarchy and the whole stack: proved for every size, and no statement says nothing."""

from __future__ import annotations

import pytest

from proofs import cti, induction
from proofs.explorer import explore
from proofs.scopes import SCOPES, domains
from proofs.verdict import Verdict
from spec.records import Model
from spec.scope import Scope
from spec.stack import MODELS
from tests.proofs.layer_checks import claims_of, mistake_found
from tests.proofs.test_mutations import mutants

LAYERS = ("hierarchy", "stack")


def sizes_of(model: Model) -> dict[str, int]:
    return {sort.name: 2 for sort in model.sorts}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_action_and_every_theorem_is_about_something(layer: str) -> None:
    model = MODELS[layer].build()
    claims = claims_of(model)
    claims["nothing"] = model.invariants[0].formula.implies(False), {}
    # Only among three levels can two be undone after the third has failed.
    sizes = sizes_of(model) | ({"Domain": 3} if layer == "hierarchy" else {})
    assert cti.impossible(model, claims, sizes) == ("nothing",)


DEFECTS = {
    "U": {"irq_domain_set_hwirq_and_chip": {"DOM-U"}, "irq_domain_clear_mapping": set()},
    "DOM-realloc": {"irq_free_descs": {"DOM-7"}},
    "DOM-trim": {"irq_domain_free_irq_data": {"DOM-7"}},
}
"""The switch -> the actions -> the invariants that they then break; all others they keep."""


@pytest.mark.parametrize("switch", DEFECTS)
def test_dom_a_defect_breaks_what_it_is_known_for_and_nothing_else(switch: str) -> None:
    for action, expected in DEFECTS[switch].items():
        results = induction.prove("hierarchy", frozenset({switch}), action)
        wrong = {r.subject: r.verdict for r in results if r.verdict is not Verdict.PROVED}
        assert wrong == dict.fromkeys(expected, Verdict.REFUTED), action


EXPLORED = {
    "2x3x2x1x1": (2_086_630, 11_960_980, 29, ("early_irq_init", "realloc_fails")),
    "2x2x2x1x1": (327_524, 3_163_026, 21, ()),
}
"""States, operations, how deep, and what never happens: in the first scope no irq is boot's, no
domain has a name."""


@pytest.mark.parametrize("scope", SCOPES["hierarchy"], ids=str)
def test_dom_every_state_of_a_small_machine(scope: Scope) -> None:
    result = explore(MODELS["hierarchy"].build(), scope)
    assert (result.verdict, result.exhausted) == (Verdict.HELD, True)
    states, transitions, depth, never = EXPLORED[str(scope)]
    assert (result.states, result.transitions, result.depth) == (states, transitions, depth)
    unnamed = () if scope.rigid["fwnode"] else ("update_bus_token",)
    assert set(result.never) == {*never, *unnamed}


def test_dom_every_action_happens_in_a_reachable_state() -> None:
    """As a part of an operation that fires."""
    model = MODELS["hierarchy"].build()
    result = explore(model, domains(2, 2, 2, legacy=frozenset({0}), named=True))
    fired = {name for name, count in result.fired.items() if count}
    happened = {call for name in fired for call in model.operations[name].calls}
    assert happened == set(model.actions)


_NO_CHAIN = "(∀ e: Domain: ¬mapped[irq, e]) ∨ pushed[irq, domain]"
_WHOLE = "∀ e: Domain: level[irq, e] ∧ ¬pushed[irq, e] ⇒ hwirq[irq, e] ≠ none"

BROKEN_BY = {
    "hierarchy": {
        "DOM-10": "irq_domain_add forgets hierarchical",
        "DOM-11": "irq_domain_remove forgets irq_default_domain",
        "DOM-14": "irq_domain_add forgets newer",
        "DOM-above": "irq_domain_remove without ∀ d: Domain: above[d, domain] ⇒ d = domain",
        "DOM-parent": "irq_domain_add forgets parent",
        "DOM-1": "irq_domain_pop_irq forgets outer",
        "DOM-chain": "irq_domain_trim_hierarchy forgets trimmed",
        "DOM-3": "irq_domain_set_mapping forgets mapcount",
        "DOM-4": "irq_domain_clear_mapping forgets revmap",
        "DOM-5": "irq_domain_set_mapping forgets revmap",
        "DOM-6": f"irq_domain_set_mapping without {_WHOLE}",
        "DOM-9": f"irq_domain_reset_irq_data without {_NO_CHAIN}",
        "DOM-7": "irq_domain_free_irq_data forgets hwirq",
        "DOM-push": "irq_domain_push_irq without parent[domain] = outer[irq]",
        "GEN-1": "irq_domain_activate_level forgets active",
        "GEN-2": "irq_domain_deactivate_irq without ¬started[irq]",
        "GEN-4": "irq_domain_deactivate_irq forgets done",
    },
    "stack": {
        "X-1": "irq_matrix_reserve_managed forgets managed",
        "X-2": "vector_reserve forgets has_reserved",
        "X-3": "pci_write_msi_msg forgets device_vector",
        "X-6": "irq_domain_free_irq_data without ¬present[irq]",
        "X-root": "irq_domain_add without composes[domain] ⇒ parent = none",
        "X-level": "irq_domain_set_mapping without vector_domain = domain ⇒ present[irq]",
        "X-hwirq": "irq_domain_pop_irq without msi_level[irq] ≠ domain",
    },
}
"""A mistake that breaks each invariant. What breaks DOM-U is no mistake but the hazard U."""


def test_every_invariant_is_in_the_table() -> None:
    for layer, table in BROKEN_BY.items():
        own = {i.id for i in MODELS[layer].build().own_invariants}
        assert set(table) == own - {"DOM-U"}


@pytest.mark.parametrize(
    ("layer", "id"), [(layer, id) for layer, table in BROKEN_BY.items() for id in table]
)
def test_a_mistake_breaks_the_invariant(layer: str, id: str) -> None:
    model, mistake = MODELS[layer].build(), BROKEN_BY[layer][id]
    known = dict(mutants(model.actions[mistake.split()[0]]))
    assert mistake_found(model, (known[mistake],), id, sizes_of(model), budget=20_000_000)
