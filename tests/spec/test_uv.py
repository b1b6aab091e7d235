# SPDX-License-Identifier: GPL-2.0-only
"""UV interrupts by hand: the life of one beside others, and its MMR."""

from __future__ import annotations

from proofs.platform_scopes import uv as machine
from spec.uv import uv
from tests.spec.walks import Walk

MODEL = uv.build()


def started() -> Walk:
    walk = Walk(MODEL, machine(2, 2, 2))
    walk.do("uv_setup_irq", irq=0, vector=1, cpu=1)
    return walk


def test_uv_1_the_vector_is_there_from_the_allocation_on() -> None:
    walk = started()
    assert (walk.get("vector", 0), walk.get("cfg_cpu", 0)) == (1, 1)
    assert not walk.get("can_reserve", 0) and not walk.get("is_managed", 0)
    walk.do("uv_activate", irq=0)
    walk.do("uv_deactivate", irq=0)
    assert walk.get("vector", 0) == 1
    walk.do("uv_teardown_irq", irq=0)
    assert walk.get("vector", 0) is None and not walk.get("present", 0)


def test_uv_2_the_hwirq_is_the_number_of_the_irq() -> None:
    walk = started()
    walk.do("uv_setup_irq", irq=1, vector=0, cpu=1)
    assert [walk.get("uv_hwirq", i) for i in (0, 1)] == [0, 1]


def test_uv_3_the_mmr_is_unmasked_only_while_the_irq_is_active() -> None:
    walk = started()
    assert not walk.get("mmr_unmasked", 0)
    walk.do("uv_activate", irq=0)
    assert walk.get("mmr_unmasked", 0)
    walk.do("uv_deactivate", irq=0)
    assert not walk.get("mmr_unmasked", 0)


def test_uv_3_an_unmasked_mmr_does_not_let_the_irq_be_deactivated() -> None:
    walk = started()
    walk.do("uv_activate", irq=0)
    assert not walk.can("irq_domain_deactivate_irq", irq=0)


def test_n13_the_mmr_of_a_freed_irq_still_sends() -> None:
    broken = uv.build(frozenset({"N13"}))
    walk = Walk(broken, machine(1, 1, 1))
    walk.do("uv_setup_irq", irq=0, vector=0, cpu=0)
    walk.do("uv_activate", irq=0)
    walk.step("uv_deactivate", irq=0)
    walk.step("uv_teardown_irq", irq=0)
    assert walk.get("mmr_unmasked", 0) and not walk.get("of_uv", 0)
    assert walk.violated() == ("UV-3",)


def test_a_move_is_written_at_once() -> None:
    walk = started()
    walk.do("uv_activate", irq=0)
    walk.do("uv_set_irq_affinity", irq=0, vector=0, cpu=0)
    assert (walk.get("mmr_vector", 0), walk.get("mmr_cpu", 0)) == (0, 0)


def test_a_vector_is_not_taken_from_a_uv_irq() -> None:
    walk = started()
    assert not walk.can("vector_clear", irq=0, vector=1, cpu=1, prev_vector=None, prev_cpu=None)
    assert not walk.can("vector_reserve", irq=0)
    assert not walk.can("uv_domain_alloc", irq=0)
