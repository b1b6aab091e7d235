# SPDX-License-Identifier: GPL-2.0-only
"""Boot and PCI routing by hand: the paths of boot, and the tables of sections 7.9 and 11.2."""

from __future__ import annotations

import pytest

from proofs.platform_scopes import pci
from spec.boot import MODE, PLATFORM
from spec.routing import DEVICE, found, has_special, looked_up, table
from spec.scope import Scope
from spec.stack import MODELS
from spec.state import State
from spec.terms import variable
from tests.spec.walks import Walk

MODEL = MODELS["routing"].build()
NATIVE, UNIT, OTHER_UNIT, XEN, VMD = range(5)
HYPERV = VMD
ROUTED = ("VIRTUAL_WIRE", "VIRTUAL_WIRE_NO_CONFIG", "SYMMETRIC_IO")
STATE = State(MODEL.fields, frozenset())
D = variable("d", DEVICE)


def booted(platform: str, mode: str, *, remapping: bool = False, vmd: bool = False) -> Walk:
    """A machine that has been booted as far as the PCI scan."""
    return _boot(Walk(MODEL, pci(vmd=vmd)), platform, mode, remapping=remapping)


def native(scope: Scope, *switches: str, remapping: bool = False) -> Walk:
    """A native machine with a routing, under some switches."""
    walk = Walk(MODELS["routing"].build(frozenset(switches)), scope)
    return _boot(walk, "NATIVE", "SYMMETRIC_IO", remapping=remapping)


def _boot(walk: Walk, platform: str, mode: str, *, remapping: bool) -> Walk:
    walk.do("pci_msi_arch_fallbacks", selected=False)
    walk.do("init_hypervisor_platform", platform=platform)
    walk.do("init_IRQ")
    walk.do("apic_intr_mode_select", mode=mode)
    if mode == "PIC":
        walk.do("pic_mode_kept")
    else:
        if mode in ROUTED:
            walk.do("default_setup_apic_routing")
            if remapping:
                walk.do("irq_remapping_enable")
        walk.do("apic_post_init")
        walk.do("apic_bsp_setup")
    walk.do("pci_arch_init")
    domain = XEN if walk.get("overridden") else None if mode == "PIC" else NATIVE
    walk.do("create_pci_msi_domain", domain=domain)
    walk.do("pci_scan_begin")
    return walk


def _take(name: str, walk: Walk, **who: int) -> None:
    """Take a step with the only domain for which it is possible."""
    domains = [x for x in (None, *range(5)) if walk.can(name, domain=x, **who)]
    assert len(domains) == 1
    walk.do(name, domain=domains[0], **who)


def scanned(walk: Walk) -> Walk:
    """Both buses and both devices are added; the units of both cover them, if there are any."""
    units = {0: UNIT, 1: OTHER_UNIT}
    for device, unit in units.items():
        walk.do("dmar_insert_dev_scope", device=device, domain=unit)
    for each, unit in units.items():
        _take("pci_set_bus_msi_domain", walk, bus=each)
        _take("pci_device_add", walk, device=each)
        if walk.can("set_device_msi_domain", device=each, domain=unit):
            walk.do("set_device_msi_domain", device=each, domain=unit)
    return walk


@pytest.mark.parametrize("mode", MODE.members)
@pytest.mark.parametrize("platform", PLATFORM.members)
def test_series_20_apic_post_init_runs_once_but_in_pic_mode(platform: str, mode: str) -> None:
    walk = booted(platform, mode)
    assert walk.get("post_inits") == ("NEVER" if mode == "PIC" else "ONCE")
    assert not walk.can("apic_post_init")


@pytest.mark.parametrize("mode", ROUTED)
def test_series_20_routing_comes_first_and_the_boot_cpu_after(mode: str) -> None:
    walk = Walk(MODEL, pci())
    walk.do("pci_msi_arch_fallbacks", selected=False)
    walk.do("init_hypervisor_platform", platform="NATIVE")
    walk.do("init_IRQ")
    walk.do("apic_intr_mode_select", mode=mode)
    assert not walk.can("apic_post_init")
    walk.do("default_setup_apic_routing")
    assert not walk.can("apic_bsp_setup")


@pytest.mark.parametrize(
    ("platform", "mode", "remapping", "vmd", "first", "second"),
    [
        ("NATIVE", "SYMMETRIC_IO", False, False, NATIVE, NATIVE),
        ("NATIVE", "SYMMETRIC_IO", True, False, UNIT, OTHER_UNIT),
        ("NATIVE", "SYMMETRIC_IO", False, True, NATIVE, VMD),
        ("NATIVE", "SYMMETRIC_IO", True, True, UNIT, VMD),
        ("PV_DOM0", "SYMMETRIC_IO", False, False, XEN, XEN),
        ("PV_DOMU", "SYMMETRIC_IO_NO_ROUTING", False, False, XEN, XEN),
        ("HVM_PIRQ", "VIRTUAL_WIRE", False, False, XEN, XEN),
        ("HVM_PIRQ", "SYMMETRIC_IO", True, True, XEN, VMD),
        ("HVM_PIRQ", "PIC", False, False, None, None),
        ("NATIVE", "PIC", False, False, None, None),
        ("NATIVE", "PIC", False, True, None, VMD),
    ],
)
def test_init_3_every_device_has_the_domain_of_the_table(
    platform: str,
    mode: str,
    remapping: bool,
    vmd: bool,
    first: int | None,
    second: int | None,
) -> None:
    walk = scanned(booted(platform, mode, remapping=remapping, vmd=vmd))
    assert [walk.get("msi_domain", d) for d in (0, 1)] == [first, second]
    assert all(walk.get("settled", d) for d in (0, 1))
    for d in (0, 1):
        assert walk.value(table(STATE, D), d=d) == walk.get("msi_domain", d)
        assert walk.value(looked_up(STATE, D), d=d) == walk.get("msi_domain", d)


@pytest.mark.parametrize(
    ("platform", "mode", "remapping", "vmd", "special"),
    [
        ("NATIVE", "SYMMETRIC_IO", False, False, False),
        ("NATIVE", "SYMMETRIC_IO", True, False, False),
        ("NATIVE", "SYMMETRIC_IO", False, True, True),
        ("PV_DOM0", "SYMMETRIC_IO", False, False, True),
        ("NATIVE", "PIC", False, False, True),
    ],
)
def test_series_25_the_truth_table_of_special_domains(
    platform: str, mode: str, remapping: bool, vmd: bool, special: bool
) -> None:
    walk = scanned(booted(platform, mode, remapping=remapping, vmd=vmd))
    assert walk.value(has_special(STATE, D), d=1) is special


def test_series_25_a_device_without_a_domain_is_judged_by_its_bus() -> None:
    walk = booted("NATIVE", "SYMMETRIC_IO", vmd=True)
    walk.do("pci_set_bus_msi_domain", bus=1, domain=VMD)
    assert walk.get("msi_domain", 1) is None
    assert walk.value(found(STATE, D), d=1) == VMD
    assert walk.value(has_special(STATE, D), d=1) is True


def test_series_34_a_device_without_a_domain_is_refused() -> None:
    walk = scanned(booted("NATIVE", "PIC"))
    walk.do("pci_msi_setup_msi_irqs", device=0, domain=None)
    assert walk.get("refused", 0) and not walk.get("native_call", 0)
    assert walk.get("served", 0) is None


def test_pci_9_a_device_with_a_domain_is_served_by_it() -> None:
    walk = scanned(booted("NATIVE", "SYMMETRIC_IO"))
    assert not walk.can("pci_msi_setup_msi_irqs", device=0, domain=None)
    walk.do("pci_msi_setup_msi_irqs", device=0, domain=NATIVE)
    assert walk.get("served", 0) == NATIVE and not walk.get("refused", 0)
    assert not walk.can("pci_device_remove", device=0)


def test_init_5_the_remapping_driver_leaves_special_devices_alone() -> None:
    walk = scanned(booted("NATIVE", "SYMMETRIC_IO", remapping=True, vmd=True))
    assert not walk.can("set_device_msi_domain", device=1, domain=OTHER_UNIT)


def test_a_device_that_comes_back_gets_its_domain_again() -> None:
    walk = scanned(booted("NATIVE", "SYMMETRIC_IO", remapping=True))
    walk.do("pci_device_remove", device=1)
    assert walk.get("msi_domain", 1) is None
    # Its bus has the domain of the bridge, which has been remapped meanwhile, or had not then.
    inherited = walk.get("bus_domain", 1)
    walk.do("pci_device_add", device=1, domain=inherited)
    walk.do("set_device_msi_domain", device=1, domain=OTHER_UNIT)
    assert walk.get("settled", 1)


def with_virtual_function(*switches: str) -> Walk:
    """A machine that remaps, with a device and a virtual function of it."""
    walk = native(pci(virtual=True), *switches, remapping=True)
    walk.do("dmar_insert_dev_scope", device=0, domain=UNIT)
    _take("pci_set_bus_msi_domain", walk, bus=0)
    assert not walk.can("pci_device_add", device=1, domain=NATIVE)
    walk.do("pci_device_add", device=0, domain=NATIVE)
    walk.do("set_device_msi_domain", device=0, domain=UNIT)
    walk.step("pci_device_add", device=1, domain=NATIVE)
    return walk


def test_sel_3_a_virtual_function_has_the_domain_of_the_physical_one() -> None:
    walk = with_virtual_function()
    assert not walk.can("pci_msi_setup_msi_irqs", device=1, domain=NATIVE)
    walk.do("set_device_msi_domain", device=1, domain=UNIT)
    walk.do("pci_msi_setup_msi_irqs", device=1, domain=UNIT)
    assert not walk.can("pci_device_remove", device=0)


def test_sel_3_without_the_fix_a_virtual_function_is_blocked() -> None:
    walk = with_virtual_function("F2")
    assert {"SEL-3", "INIT-4"} <= set(walk.violated())
    assert not walk.can("set_device_msi_domain", device=1, domain=UNIT)


def test_hvi_3_in_a_guest_of_hyper_v_remapping_is_not_switched_on() -> None:
    walk = native(pci(hyperv=True))
    assert not walk.can("irq_remapping_enable")
    for each in range(2):
        _take("pci_set_bus_msi_domain", walk, bus=each)
        _take("pci_device_add", walk, device=each)
    assert [walk.get("msi_domain", d) for d in range(2)] == [NATIVE, HYPERV]
    assert not any(walk.value(has_special(STATE, D), d=d) for d in range(2))
    assert all(walk.get("settled", d) for d in range(2))


def test_sel_2_with_the_common_token_remapping_takes_a_vmds_device_away() -> None:
    walk = native(pci(vmd=True), "VMD-24", remapping=True)
    walk.step("dmar_insert_dev_scope", device=1, domain=UNIT)
    walk.step("pci_set_bus_msi_domain", bus=1, domain=VMD)
    walk.step("pci_device_add", device=1, domain=VMD)
    walk.step("set_device_msi_domain", device=1, domain=UNIT)
    assert {"SEL-2", "VMD-8", "INIT-5"} <= set(walk.violated())


def test_fb_1_the_stub_changes_nothing() -> None:
    walk = booted("NATIVE", "PIC")
    _take("pci_set_bus_msi_domain", walk, bus=0)
    _take("pci_device_add", walk, device=0)
    before = {**walk.state}
    walk.do("pci_msi_setup_msi_irqs", device=0, domain=None)
    changed = {name for name in before if before[name] != walk.state[name]}
    assert changed == {"refused"}
