# SPDX-License-Identifier: GPL-2.0-only
"""PCI MSI of Xen guests by hand: setup, teardown and what remains, for each kind of guest."""

from __future__ import annotations

import pytest

from proofs.xen_scopes import guest
from spec.scope import Scope
from spec.stack import MODELS
from spec.xen import GUEST, SETUP_OPS, TEARDOWN_OPS
from spec.xen_whole import SHARED, eavesdrops, trespasses
from tests.spec.walks import Walk

MODEL = MODELS["xen"].build()
NATIVE, XEN = 0, 1
BYPASSING = ("PV_DOM0", "PV_DOMU", "HVM_PIRQ")


def booted(scope: Scope, *switches: str, device: bool = True) -> Walk:
    """A guest that has made its default domain, and has its first device."""
    walk = Walk(MODELS["xen"].build(frozenset(switches)), scope)
    bypass = walk.get("guest") in BYPASSING
    if bypass:
        walk.do("xen_setup_pci_msi")
    walk.do("create_pci_msi_domain", domain=XEN if bypass else NATIVE)
    if device:
        walk.do("pci_device_add", device=0, domain=XEN if bypass else NATIVE)
    return walk


def mapped(walk: Walk, desc: int = 0, pirq: int = 0, irq: int = 0) -> None:
    """The initial domain serves a descriptor."""
    walk.do("map_pirq", desc=desc, segment=True, pirq=pirq)
    walk.do("bind", desc=desc, irq=irq, pirq=pirq)


# --- boot (section 8.6) ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "setup", "teardown", "restore", "ignores"),
    [
        ("PV_DOM0", "INITDOM", "PV", True, True),
        ("PV_DOMU", "PCIFRONT", "PV", False, True),
        ("HVM_PIRQ", "HVM", "PLAIN", False, True),
    ],
)
def test_8_6_each_kind_of_guest_chooses_its_functions(
    kind: str, setup: str, teardown: str, restore: bool, ignores: bool
) -> None:
    walk = booted(guest(kind, 1, 1))
    assert (walk.get("setup_ops"), walk.get("teardown_ops")) == (setup, teardown)
    assert (walk.get("restore_hook"), walk.get("ignores_masks")) == (restore, ignores)
    assert setup in SETUP_OPS.members and teardown in TEARDOWN_OPS.members


@pytest.mark.parametrize("kind", sorted(set(GUEST.members) - set(BYPASSING)))
def test_xb_16_the_others_are_native(kind: str) -> None:
    walk = booted(guest(kind, 1, 1))
    assert not walk.can("xen_setup_pci_msi")
    assert walk.get("setup_ops") == "NONE" and not walk.get("restore_hook")
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    assert not walk.can("map_pirq", desc=0, segment=True, pirq=0)
    assert not walk.can("reserve_pirq", desc=0, pirq=0)


def test_xb_17_r1_chooses_the_initial_domain_for_a_pvh_guest() -> None:
    walk = booted(guest("PVH_DOM0", 1, 1), "R1", device=False)
    walk.step("xen_setup_pci_msi")
    assert walk.get("setup_ops") == "INITDOM"
    assert {"XB-16", "XB-17"} <= set(walk.violated())


@pytest.mark.parametrize("kind", BYPASSING)
def test_xb_2_the_creator_is_replaced_first(kind: str) -> None:
    walk = Walk(MODEL, guest(kind, 1, 1))
    assert not walk.can("create_pci_msi_domain", domain=NATIVE)
    walk.do("xen_setup_pci_msi")
    assert not walk.can("create_pci_msi_domain", domain=NATIVE)
    walk.do("create_pci_msi_domain", domain=XEN)


def test_xb_2_f1_leaves_an_unprivileged_guest_with_the_native_domain() -> None:
    walk = Walk(MODELS["xen"].build(frozenset({"N3"})), guest("PV_DOMU", 1, 1))
    walk.step("create_pci_msi_domain", domain=NATIVE)
    assert set(walk.violated()) == {"XB-1", "XB-2"}


def test_xb_3_a_device_knows_xens_domain_as_the_default_alone() -> None:
    walk = Walk(MODEL, guest("PV_DOM0", 1, 1))
    assert not walk.can("pci_device_add", device=0, domain=XEN)


# --- the initial domain (section 8.3) -------------------------------------------------------


def test_xen_2_a_block_is_bound_and_only_its_first_irq_points_back() -> None:
    walk = booted(guest("PV_DOM0", 2, 1))
    walk.do("alloc_block_entry", device=0, desc=0)
    walk.do("map_pirq", desc=0, segment=True, pirq=0)
    assert [walk.get("block", p) for p in (0, 1)] == [0, 0]
    walk.do("bind_block", desc=0, irq=0, second=1, pirq=0, next=1)
    walk.do("initdom_returns", device=0, msix=False)
    assert walk.get("xen_phase", 0) == "DONE" and walk.get("first_irq", 0) == 0
    assert [walk.get("info_pirq", i) for i in (0, 1)] == [0, 1]
    assert [walk.get("msi_group", i) for i in (0, 1)] == [False, True]
    assert [walk.get("back", i) for i in (0, 1)] == [0, None]


def test_xen_7_of_a_block_the_first_irq_is_destroyed_with_the_one_hypercall() -> None:
    walk = booted(guest("PV_DOM0", 2, 1))
    walk.do("alloc_block_entry", device=0, desc=0)
    walk.do("map_pirq", desc=0, segment=True, pirq=0)
    walk.do("bind_block", desc=0, irq=0, second=1, pirq=0, next=1)
    walk.do("initdom_returns", device=0, msix=False)
    assert not walk.can("free", irq=0) and not walk.can("free", irq=1)
    walk.do("unmap_and_free", irq=0, pirq=0, unmapped="DONE")
    assert [walk.get("block", p) for p in (0, 1)] == [None, None]
    assert not walk.can("unmap_and_free", irq=1, pirq=1, unmapped="DONE")
    walk.do("free", irq=1)
    walk.do("xen_msi_desc_clear_irq", desc=0)
    walk.do("xen_teardown_msi_irqs", device=0)
    walk.do("free_msi_entry", device=0, desc=0)
    assert walk.get("xen_phase", 0) == "IDLE"


def test_xen_8_a_request_that_is_not_understood_is_repeated_without_the_segment() -> None:
    walk = booted(guest("PV_DOM0", 1, 1))
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    walk.do("map_pirq_refused", desc=0, segment=True, refusal="NOT_UNDERSTOOD")
    assert walk.get("pci_seg_supported") and walk.get("xen_ret", 0) == 0
    assert not walk.can("initdom_returns", device=0, msix=False)
    walk.do("map_pirq", desc=0, segment=False, pirq=0)
    assert not walk.get("pci_seg_supported")


def test_8_3_another_segment_is_not_repeated() -> None:
    walk = booted(guest("PV_DOM0", 1, 1, segment_zero=False))
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    walk.do("map_pirq_refused", desc=0, segment=True, refusal="NOT_UNDERSTOOD")
    assert walk.get("xen_ret", 0) == -22
    walk.do("initdom_returns", device=0, msix=False)
    assert walk.get("xen_phase", 0) == "FAILED"


def test_xen_9_a_block_that_is_not_mapped_asks_for_one_vector() -> None:
    walk = booted(guest("PV_DOM0", 2, 1))
    walk.do("alloc_block_entry", device=0, desc=0)
    walk.do("map_pirq_refused", desc=0, segment=True, refusal="NO_MEMORY")
    walk.do("initdom_returns", device=0, msix=False)
    assert walk.get("xen_phase", 0) == "RETRY"
    walk.do("xen_teardown_msi_irqs", device=0)


def test_8_3_without_a_table_there_is_no_request() -> None:
    walk = booted(guest("PV_DOM0", 1, 1, msix_table=False))
    walk.do("alloc_entry", device=0, desc=0, msix=True)
    assert not walk.can("map_pirq", desc=0, segment=True, pirq=0)
    walk.do("initdom_cannot_ask", device=0, msix=True, block=False)
    assert walk.get("xen_phase", 0) == "FAILED"


def test_xen_4_a_pirq_that_cannot_be_bound_is_unmapped() -> None:
    walk = booted(guest("PV_DOM0", 1, 1))
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    walk.do("map_pirq", desc=0, segment=True, pirq=0)
    walk.do("bind_undone", desc=0, irq=0, pirq=0)
    assert not walk.can("initdom_returns", device=0, msix=False)
    walk.do("give_back", desc=0, unmapped="DONE")
    assert walk.get("pirq_device", 0) is None and walk.get("leak", 0) == "NO"
    walk.do("initdom_returns", device=0, msix=False)
    assert walk.get("xen_phase", 0) == "FAILED"


def test_9_4_a_failed_bind_leaks_its_pirq_in_v5_10() -> None:
    walk = booted(guest("PV_DOM0", 1, 1), "XEN-leak")
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    walk.do("map_pirq", desc=0, segment=True, pirq=0)
    walk.step("bind_nothing", desc=0)
    assert set(walk.violated()) == {"XEN-leak"}
    walk.step("initdom_returns", device=0, msix=False)
    assert (walk.get("pirq_device", 0), walk.get("leak", 0)) == (0, "BIND")


@pytest.mark.parametrize(("foreign", "leak"), [(False, "UNMAP"), (True, "NO")])
def test_8_2_a_domain_that_is_gone_has_no_pirq(foreign: bool, leak: str) -> None:
    walk = booted(guest("PV_DOM0", 1, 1, foreign=foreign))
    if foreign:
        walk.do("xen_register_device_domain_owner", device=0, domid=0)
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    mapped(walk)
    walk.do("initdom_returns", device=0, msix=False)
    assert walk.get("info_domid", 0) == (0 if foreign else None)
    walk.do("unmap_and_free", irq=0, pirq=0, unmapped="NO_DOMAIN")
    assert walk.get("leak", 0) == leak


def test_9_4_an_irq_whose_pirq_stays_mapped_is_kept_in_v5_10() -> None:
    walk = booted(guest("PV_DOM0", 1, 1), "XEN-unmap")
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    mapped(walk)
    walk.do("initdom_returns", device=0, msix=False)
    assert not walk.can("unmap_and_free", irq=0, pirq=0, unmapped="FAILED")
    walk.step("unmap_and_keep", irq=0, pirq=0)
    assert set(walk.violated()) == {"XEN-unmap"}
    assert walk.get("desc", 0) and walk.get("orphan", 0)


def test_xb_12_the_hypervisor_restores() -> None:
    walk = booted(guest("PV_DOM0", 1, 1))
    assert not walk.can("restore", device=0)
    walk.do("restore_ext", device=0, known=False)
    assert not walk.get("pci_seg_supported")
    walk.do("restore", device=0)
    assert not walk.can("default_restore_msi_irqs", device=0)


# --- another paravirtualised guest ----------------------------------------------------------


def test_9_3_the_backend_disables_before_the_irqs_are_destroyed() -> None:
    walk = booted(guest("PV_DOMU", 1, 1))
    walk.do("alloc_entry", device=0, desc=0, msix=True)
    walk.do("enable_msix", device=0, reply="SERVED")
    walk.do("bind", desc=0, irq=0, pirq=0)
    walk.do("pcifront_returns", device=0, msix=True)
    assert not walk.can("free", irq=0)
    walk.do("disable", device=0, msix=True, served=True)
    assert walk.get("pirq_device", 0) is None
    walk.do("free", irq=0)
    walk.do("xen_msi_desc_clear_irq", desc=0)
    walk.do("xen_teardown_msi_irqs", device=0)
    assert walk.get("writes", 0) == 0


def test_xen_3_a_block_is_refused_and_the_backend_asked_to_disable() -> None:
    walk = booted(guest("PV_DOMU", 2, 1))
    walk.do("alloc_block_entry", device=0, desc=0)
    assert not walk.can("enable_msi", device=0, served=True)
    walk.do("pcifront_refuses_block", device=0)
    assert walk.get("xen_phase", 0) == "RETRY"
    assert not walk.can("xen_teardown_msi_irqs", device=0)
    walk.do("disable", device=0, msix=False, served=False)
    walk.do("xen_teardown_msi_irqs", device=0)


@pytest.mark.parametrize(
    ("reply", "ret", "backend"),
    [("FAILED", -1, "OFF"), ("INVALID", -22, "UNKNOWN"), ("COUNT", 1, "UNKNOWN")],
)
def test_8_3_the_backends_answer_reaches_the_driver(reply: str, ret: int, backend: str) -> None:
    walk = booted(guest("PV_DOMU", 1, 1))
    walk.do("alloc_entry", device=0, desc=0, msix=True)
    walk.do("enable_msix", device=0, reply=reply)
    assert (walk.get("xen_ret", 0), walk.get("backend", 0)) == (ret, backend)
    walk.do("pcifront_returns", device=0, msix=True)
    assert walk.get("xen_phase", 0) == ("RETRY" if ret > 0 else "FAILED")


def test_8_3_without_a_frontend_nobody_is_asked() -> None:
    walk = booted(guest("PV_DOMU", 1, 1, frontend=False))
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    assert not walk.can("enable_msi", device=0, served=True)
    walk.do("xen_setup_msi_irqs", device=0, msix=False, ret=-38)
    walk.do("xen_teardown_msi_irqs", device=0)


# --- a guest of type HVM --------------------------------------------------------------------


def test_xb_11_the_message_is_written_once_before_the_bind() -> None:
    walk = booted(guest("HVM_PIRQ", 1, 1))
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    assert not walk.can("bind", desc=0, irq=0, pirq=0)
    walk.do("reserve_pirq", desc=0, pirq=0)
    assert (walk.get("message_pirq", 0), walk.get("writes", 0)) == (0, 1)
    assert not walk.can("xen_msi_compose_msg", desc=0, pirq=0)
    walk.do("bind", desc=0, irq=0, pirq=0)
    walk.do("hvm_returns", device=0, msix=False)
    walk.do("free", irq=0)
    assert walk.get("pirq_device", 0) == 0
    walk.do("release_pirq", pirq=0)
    assert walk.get("pirq_device", 0) is None


def test_8_3_a_pirq_whose_bind_fails_is_not_given_back() -> None:
    walk = booted(guest("HVM_PIRQ", 1, 1))
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    walk.do("reserve_pirq", desc=0, pirq=0)
    walk.do("bind_nothing", desc=0)
    assert not walk.can("give_back", desc=0, unmapped="DONE")
    assert walk.get("leak", 0) == "BIND"
    walk.do("hvm_returns", device=0, msix=False)
    assert walk.get("xen_phase", 0) == "FAILED"


def test_xb_10_f13_masks_what_the_hypervisor_owns() -> None:
    for switches, may in (((), False), (("F13",), True)):
        walk = booted(guest("HVM_PIRQ", 1, 1), *switches)
        walk.do("alloc_entry", device=0, desc=0, msix=False)
        assert walk.can("msi_mask_write", device=0) is may


def test_xb_10_a_device_of_another_domain_can_be_masked_but_for_f17() -> None:
    for switches, may in (((), True), (("F17",), False)):
        walk = booted(guest("PV_DOM0", 1, 1), *switches, device=False)
        walk.step("pci_device_add", device=0, domain=NATIVE)
        walk.step("alloc_entry", device=0, desc=0, msix=False)
        assert walk.can("msi_mask_write", device=0) is may


# --- lifetimes ------------------------------------------------------------------------------


def test_xen_5_an_event_channel_lives_from_startup_to_shutdown() -> None:
    walk = booted(guest("PV_DOM0", 1, 1))
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    mapped(walk)
    assert not walk.can("startup_pirq", irq=0, evtchn=0, cpu=0)
    walk.do("initdom_returns", device=0, msix=False)
    walk.do("startup_pirq", irq=0, evtchn=0, cpu=0)
    assert not walk.can("unmap_and_free", irq=0, pirq=0, unmapped="DONE")
    walk.do("set_affinity_irq", irq=0, cpu=0)
    walk.do("shutdown_pirq", irq=0)
    assert walk.get("evtchn", 0) is None and walk.get("pirq_device", 0) == 0


def test_trap_38_a_refused_channel_starts_the_irq_all_the_same() -> None:
    walk = booted(guest("PV_DOM0", 1, 1))
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    mapped(walk)
    walk.do("initdom_returns", device=0, msix=False)
    walk.do("startup_pirq", irq=0, evtchn=None, cpu=None)
    assert walk.get("pirq_started", 0) and walk.get("evtchn", 0) is None
    assert not walk.can("set_affinity_irq", irq=0, cpu=0)


def test_xen_10_f15_leaves_the_irq_in_the_descriptor() -> None:
    walk = booted(guest("HVM_PIRQ", 1, 1), "F15")
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    walk.do("reserve_pirq", desc=0, pirq=0)
    walk.do("bind", desc=0, irq=0, pirq=0)
    walk.do("hvm_returns", device=0, msix=False)
    walk.do("free", irq=0)
    walk.step("xen_teardown_msi_irqs", device=0)
    assert set(walk.violated()) == {"XEN-10"} and walk.get("first_irq", 0) == 0


def test_xb_8_a_device_that_is_not_on_pci_is_refused() -> None:
    walk = booted(guest("PV_DOM0", 1, 1, is_pci=False))
    walk.do("alloc_entry", device=0, desc=0, msix=False)
    assert not walk.can("map_pirq", desc=0, segment=True, pirq=0)
    walk.do("refuse_other_bus", device=0)
    walk.do("xen_msi_domain_free_irqs", device=0)
    walk.do("free_msi_entry", device=0, desc=0)


def test_xb_15_nothing_is_built_on_xens_domain() -> None:
    walk = booted(guest("PV_DOM0", 1, 1))
    assert not walk.can("create_subdevice_domain", device=0)


# --- the frame (XB-7, section 18.3) ---------------------------------------------------------


@pytest.mark.parametrize("layer", sorted(set(MODELS) - {"xen", "guest"}))
def test_xb_7_no_step_of_xens_writes_a_field_of_the_native_code(layer: str) -> None:
    assert trespasses(MODELS[layer].build()) == ()


def test_18_3_native_steps_depend_on_who_owns_an_irq_and_whose_a_domain_is() -> None:
    found = set(eavesdrops(MODELS["guest"].build(), MODELS["stack"].build()))
    assert found == {
        ("init_hypervisor_platform", "guest"),
        ("apic_intr_mode_select", "guest"),
        ("irq_remapping_enable", "guest"),
        ("irq_domain_add", "xen_domain"),
        ("irq_domain_push_irq", "xen_domain"),
        ("irq_domain_alloc_irq_data", "xen_domain"),
        ("irq_domain_alloc_irq_data", "info"),
        ("msi_domain_prepare_irqs", "xen_domain"),
        ("msi_domain_alloc_irqs", "xen_domain"),
    }


def test_18_3_the_two_share_irq_numbers_and_descriptors_of_devices() -> None:
    xen, stack = MODEL, MODELS["stack"].build()
    assert xen.actions.keys() & stack.actions.keys() == SHARED
