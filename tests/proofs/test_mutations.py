# SPDX-License-Identifier: GPL-2.0-only
"""No invariant is vacuous: for each there is a small mistake in an action that breaks it.

A mistake is one write forgotten or one conjunct of a guard dropped; two conjuncts, where the guard
says the same thing twice. It breaks an invariant if, in a small scope, a state that obeys every
invariant has a successor that does not obey this one; the plain evaluator has seen both states.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import pytest

from spec.mathematics import plain
from spec.records import Action
from spec.stack import vectors
from spec.terms import and_, conjuncts
from tests.proofs.layer_checks import mistake_found

MODEL = vectors.build()
SIZES = {"Cpu": 2, "Vector": 2, "Irq": 2}


BROKEN_BY = {
    "MX-1": "irq_matrix_alloc_managed without managed_map[cpu, bit]",
    "MX-2": "irq_matrix_assign_system forgets alloc_map",
    "MX-3": "irq_matrix_alloc_managed forgets alloc_map",
    "MX-4": "irq_matrix_alloc_managed forgets alloc_map",
    "MX-5": "irq_matrix_assign_system forgets system_map",
    "MX-6": "irq_matrix_alloc_managed forgets allocated",
    "MX-7": "lapic_offline forgets global_available",
    "MX-8": "lapic_offline forgets online",
    "MX-9": "irq_matrix_alloc_managed forgets allocated",
    "MX-10": "irq_matrix_reserve forgets global_reserved",
    "MX-11": "irq_matrix_alloc_managed forgets allocated",
    "VEC-1": "vector_alloc forgets has_reserved",
    "VEC-2": "vector_reserve_managed without affinity_managed[irq] and ¬present[irq]",
    "VEC-3": "irq_matrix_reserve forgets global_reserved",
    "VEC-4": "vector_clear forgets prev_vector",
    "VEC-5": "vector_update forgets vector",
    "VEC-6": "send_cleanup_vector forgets move_in_progress",
    "VEC-7": "vector_free_moved forgets cleanup",
    "VEC-8": "vector_clear forgets prev_vector",
    "VEC-9": "vector_config_legacy forgets isa",
    "VEC-10": "vector_clear_legacy forgets hand",
    "VEC-11": "vector_clear_legacy forgets vector_irq",
    "VEC-12": "vector_update forgets vector",
    "VEC-13": "vector_config forgets cfg_vector",
    "VEC-14": "irq_effective forgets shortcut",
    "VEC-15": "irq_matrix_reserve_managed forgets managed",
    "VEC-17": "vector_config_legacy without pc[irq] = LEGACY",
    "VEC-18": "vector_setup forgets present",
    "VEC-21": "vector_update forgets cpu",
    "VEC-22": "cpu_goes_offline forgets dying",
    "GEN-2": "irq_domain_deactivate_irq without ¬started[irq]",
    "GEN-3": "cpu_goes_offline forgets dying",
    "VEC-present": "vector_setup forgets present",
    "VEC-pc": "vector_setup forgets pc",
    "VEC-update": "vector_update forgets pc",
    "VEC-hand": "vector_clear_legacy forgets isa",
    "VEC-home": "lapic_offline without ∀ i: Irq: cpu[i] ≠ cpu",
    "MX-13": "irq_matrix_alloc_managed forgets hand",
    "MX-slot": "irq_matrix_reserve_managed forgets managed_map",
    "CPU-online": "cpu_goes_offline forgets cpu_online",
}
"""A mistake that breaks each invariant, found by trying them all."""


def mutants(action: Action) -> Iterator[tuple[str, Action]]:
    """Every small mistake in an action, with its name."""
    for name in action.writes:
        rest = {n: w for n, w in action.writes.items() if n != name}
        yield f"{action.name} forgets {name}", replace(action, writes=rest)
    guard = conjuncts(action.guard)
    for size in (1, 2):
        for dropped in combinations(guard, size):
            left = and_(*(c for c in guard if all(c is not d for d in dropped)))
            what = " and ".join(map(plain, dropped))
            yield f"{action.name} without {what}", replace(action, guard=left)


def search(id: str) -> Iterator[str]:
    """Every mistake that breaks the invariant: to mend the table with."""
    for action in MODEL.actions.values():
        for name, mutant in mutants(action):
            if mistake_found(MODEL, (mutant,), id, SIZES):
                yield name


def test_every_invariant_is_in_the_table() -> None:
    assert list(BROKEN_BY) == [i.id for i in MODEL.invariants]


@pytest.mark.parametrize("id", BROKEN_BY)
def test_a_mistake_breaks_the_invariant(id: str) -> None:
    mistake = BROKEN_BY[id]
    action = MODEL.actions[mistake.split()[0]]
    known = dict(mutants(action))
    assert mistake in known and mistake_found(MODEL, (known[mistake],), id, SIZES), next(
        search(id), f"nothing breaks {id}: it may be vacuous"
    )
