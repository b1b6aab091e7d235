# SPDX-License-Identifier: GPL-2.0-only
"""IO-APICs by hand: users and attributes, numbers of irqs, and what the entries say."""

from __future__ import annotations

import pytest

from proofs.platform_scopes import io_apic
from spec.stack import MODELS
from tests.spec.walks import Walk

MODEL = MODELS["ioapic"].build()
EDGE = {"trigger": False, "polarity": False}
LEVEL = {"trigger": True, "polarity": True}


def made(
    kind: str,
    *,
    legacy: int = 0,
    isa_pins: int = 0,
    remapped: bool = False,
    initialized: bool = True,
) -> Walk:
    """A machine of four irqs whose only IO-APIC has its domain, and which has been booted."""
    wiring = io_apic(kind, 4, 2, legacy=legacy, isa_pins=isa_pins, remapped=remapped)
    walk = Walk(MODEL, wiring)
    walk.do("mp_irqdomain_create", ioapic=0, domain=0)
    if initialized:
        walk.do("setup_IO_APIC")
    return walk


def map_pin(walk: Walk, irq: int, pin: int, **attributes: bool) -> None:
    """The pin's first user or another one."""
    name = "map_new" if walk.get("home_pin", irq) is None else "map_again"
    walk.do(name, irq=irq, ioapic=0, pin=pin, **attributes)


def test_ioa_3_an_irq_lives_as_long_as_it_has_users() -> None:
    walk = made("STRICT")
    map_pin(walk, 1, 1, **LEVEL)
    map_pin(walk, 1, 1, **LEVEL)
    assert walk.get("users", 1) == 2
    walk.do("unmap", irq=1)
    assert walk.get("desc", 1) and walk.get("pin_irq", 0, 1) == 1
    walk.do("unmap", irq=1)
    assert not walk.get("desc", 1) and walk.get("pin_irq", 0, 1) is None


def test_ioa_2_a_pin_that_has_an_irq_gets_no_other() -> None:
    walk = made("DYNAMIC")
    map_pin(walk, 2, 0, **LEVEL)
    assert not walk.can("map_new", irq=3, ioapic=0, pin=0, **LEVEL)
    map_pin(walk, 3, 1, **LEVEL)


def test_ioa_4_users_of_an_irq_agree() -> None:
    walk = made("STRICT")
    map_pin(walk, 1, 1, **LEVEL)
    assert not walk.can("map_again", irq=1, ioapic=0, pin=1, **EDGE)
    assert not walk.can("mp_set_attr", irq=1, **EDGE)


def test_ioa_4_the_first_user_behind_the_boot_code_decides() -> None:
    walk = made("LEGACY", legacy=1, isa_pins=1, initialized=False)
    map_pin(walk, 0, 0, **EDGE)
    walk.do("setup_IO_APIC")
    map_pin(walk, 0, 0, **LEVEL)
    assert walk.get("active_low", 0)
    assert not walk.can("map_again", irq=0, ioapic=0, pin=0, **EDGE)


def test_ioa_6_an_isa_irq_keeps_its_number_and_is_never_given_back() -> None:
    walk = made("LEGACY", legacy=1, isa_pins=2)
    assert not walk.can("map_new", irq=1, ioapic=0, pin=0, **EDGE)
    map_pin(walk, 0, 0, **EDGE)
    map_pin(walk, 0, 1, **EDGE)
    assert walk.get("home_pin", 0) == 0
    assert [walk.get("pin_irq", 0, p) for p in (0, 1)] == [0, 0]
    assert not walk.can("unmap", irq=0)


def test_ioa_6_the_timer_keeps_its_vector_when_it_is_taken_over() -> None:
    walk = made("LEGACY", legacy=1, isa_pins=1, initialized=False)
    walk.do("legacy_irq", irq=0)
    walk.do("start_at_pic", irq=0)
    assert not walk.can("map_new", irq=0, ioapic=0, pin=0, **EDGE)
    assert not walk.can("take_over", irq=0, ioapic=0, pin=0, vector=1, cpu=0)
    walk.do("take_over", irq=0, ioapic=0, pin=0, vector=0, cpu=0)
    assert (walk.get("cfg_vector", 0), walk.get("cfg_cpu", 0)) == (0, 0)
    # The boot code activates it again, which writes the entry.
    assert walk.get("unwritten", 0, 0)
    walk.do("stop", irq=0)
    walk.do("start", irq=0, vector=0, cpu=0)
    assert walk.get("route_vector", 0, 0) == 0 and not walk.get("unwritten", 0, 0)


@pytest.mark.parametrize("kind", ["LEGACY", "STRICT"])
def test_ioa_7_the_number_is_the_gsi(kind: str) -> None:
    walk = made(kind)
    assert not walk.can("map_new", irq=2, ioapic=0, pin=1, **LEVEL)
    map_pin(walk, 1, 1, **LEVEL)


def test_ioa_7_after_boot_a_legacy_gsi_gives_no_number() -> None:
    at_boot = made("LEGACY", legacy=1, initialized=False)
    map_pin(at_boot, 0, 0, **LEVEL)
    later = made("LEGACY", legacy=1)
    assert not later.can("map_new", irq=0, ioapic=0, pin=0, **LEVEL)
    map_pin(later, 2, 0, **LEVEL)
    assert later.get("dynamic", 2)


def test_gen_6_dynamic_irqs_stay_clear_of_gsis() -> None:
    early = Walk(MODEL, io_apic("STRICT", 4, 2))
    assert [early.can("dynamic_irq", irq=i) for i in range(4)] == [False, False, True, True]
    late = made("STRICT")
    assert [late.can("dynamic_irq", irq=i) for i in range(4)] == [False, False, True, True]


def test_gen_6_without_numbers_by_gsi_only_irq_0_is_out_of_bounds() -> None:
    walk = made("DYNAMIC")
    assert [walk.can("dynamic_irq", irq=i) for i in range(4)] == [False, True, True, True]


def test_ioa_5_all_pins_follow_a_move() -> None:
    walk = made("STRICT", legacy=1, isa_pins=2)
    map_pin(walk, 0, 0, **EDGE)
    map_pin(walk, 0, 1, **EDGE)
    walk.do("start", irq=0, vector=0, cpu=0)
    walk.do("move", irq=0, vector=1, cpu=0)
    assert [walk.get("route_vector", 0, p) for p in (0, 1)] == [1, 1]


def test_ioa_5_an_active_irq_owes_its_entries_what_its_configuration_says() -> None:
    walk = made("STRICT")
    map_pin(walk, 1, 1, **LEVEL)
    walk.do("start", irq=1, vector=0, cpu=0)
    walk.do("vector_config", irq=1, vector=1, cpu=0)
    assert walk.get("entry", 0, 1) == "OWED"
    old = {"ioapic": 0, "pin": 1, "vector": 0, "dest": 0, "masked": False, **LEVEL}
    assert not walk.can("ioapic_write_entry", **old)
    walk.do("ioapic_write_entry", **(old | {"vector": 1}))
    assert walk.get("entry", 0, 1) == "SETTLED"


def test_ioa_5_the_entry_of_a_remapped_pin_stays_through_a_move() -> None:
    walk = made("STRICT", remapped=True)
    map_pin(walk, 1, 1, **LEVEL)
    walk.do("start", irq=1, vector=0, cpu=0)
    before = walk.get("route_vector", 0, 1)
    walk.do("move", irq=1, vector=1, cpu=0)
    assert walk.get("route_vector", 0, 1) == before


def test_ioa_5_a_stopped_irq_is_masked() -> None:
    walk = made("STRICT")
    map_pin(walk, 1, 1, **LEVEL)
    walk.do("start", irq=1, vector=0, cpu=0)
    assert walk.get("route_open", 0, 1)
    walk.do("stop", irq=1)
    assert not walk.get("route_open", 0, 1) and not walk.get("activated", 1)
