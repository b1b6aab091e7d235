# SPDX-License-Identifier: GPL-2.0-only
"""Xen guests: proved for every size, explored, not vacuous; and served as before the series."""

from __future__ import annotations

from dataclasses import replace

import pytest

from impl.arch.x86.xen import XenKind
from impl.defects import Defect
from impl.drivers.xen.hypervisor import Answer
from proofs import bits, bits_xen, cti
from proofs.explorer import explore
from proofs.induction import premises_for
from proofs.scopes import SCOPES
from proofs.verdict import Verdict
from proofs.xen_refinement import SUBJECT, simulation, tasks
from proofs.xen_refinement import obligations as steps_compared
from proofs.xen_scopes import XEN_SCOPES, guest
from proofs.xen_twins import DEFECTS, PROGRAMS, Script, Twin, compare, every_script, histories
from spec.records import Action, Model
from tests.proofs.layer_checks import (
    assert_all_happens,
    claims_of,
    mistake_found,
    model_of,
    not_proved,
)
from tests.proofs.test_mutations import mutants

LAYERS = ("xen", "guest")


_MANY = frozenset({"Cpu", "Vector", "Irq", "Domain", "Hwirq", "Device", "Pirq", "Desc"})
"""Of these a composition has two elements, of all others one."""


def sizes_of(model: Model) -> dict[str, int]:
    return {s.name: 2 if s.name in _MANY or not model.parts else 1 for s in model.sorts}


@pytest.mark.parametrize("layer", LAYERS)
def test_everything_is_proved_for_every_size(layer: str) -> None:
    assert not_proved(model_of(layer)) == set()


@pytest.mark.parametrize("layer", LAYERS)
def test_every_action_and_every_theorem_is_about_something(layer: str) -> None:
    model = model_of(layer)
    claims = claims_of(model)
    claims["nothing"] = model.invariants[0].formula.implies(False), {}
    assert cti.impossible(model, claims, sizes_of(model)) == ("nothing",)


def test_the_invariants_hold_in_every_state_and_every_operation_happens() -> None:
    model = model_of("xen")
    assert_all_happens(model, XEN_SCOPES["xen"])


def test_the_check_explores_these_scopes() -> None:
    assert SCOPES["xen"] == XEN_SCOPES["xen"]
    assert len(set(map(str, SCOPES["xen"]))) == len(SCOPES["xen"])


# --- switches -------------------------------------------------------------------------------

REFUTED_BY = {
    "N3": {("create_pci_msi_domain", "XB-1"), ("create_pci_msi_domain", "XB-2")},
    "R1": {
        ("xen_setup_pci_msi", "XB-2"),
        ("xen_setup_pci_msi", "XB-16"),
        ("xen_setup_pci_msi", "XB-17"),
    },
    "F13": {("msi_mask_write", "XB-10")},
    "F14": {("pci_msi_domain_refuses", "XB-14")},
    "F15": {("xen_teardown_msi_irqs", "XEN-10")},
    "F17": {("msi_mask_ignored", "XB-10'")},
    "DEV-D5": {("create_subdevice_domain", "XB-15")},
    "XEN-leak": {("xen_bind_pirq_msi_to_irq", "XEN-leak")},
    "XEN-unmap": {("xen_destroy_irq", "XEN-unmap")},
}
"""What each switch breaks, and at which step; it breaks nothing else, the counts of what is mapped
and of what lives least of all."""


def changed(layer: str, switch: str) -> dict[str, frozenset[str] | None]:
    """The actions that a switch changes, with every invariant; the others with the invariants that
    it changes or breaks."""
    base, model = model_of(layer), model_of(layer, switch)
    laws = frozenset(
        i.id
        for i in model.invariants
        if switch in i.unless or i.formula is not base.invariant(i.id).formula
    )

    def same(action: Action) -> bool:
        other = base.actions.get(action.name)
        return other is not None and repr(_said(action)) == repr(_said(other))

    return {a.name: laws if same(a) else None for a in model.actions.values()}


def _said(action: Action) -> tuple[object, ...]:
    return action.enabled, sorted(action.writes.items())


@pytest.mark.parametrize("switch", REFUTED_BY)
def test_a_switch_breaks_what_it_is_said_to_break(switch: str) -> None:
    expected = {(name, id, Verdict.REFUTED) for name, id in REFUTED_BY[switch]}
    model = model_of("xen", switch)
    assert not_proved(model, changed("xen", switch)) == expected
    assert {i.id for i in model.invariants if switch in i.unless} >= {id for _, id, _ in expected}


def test_xb_2_f1_shows_in_the_shortest_run() -> None:
    found = explore(model_of("xen", "N3"), guest("PV_DOMU", 1, 1), invariants=("XB-2",))
    assert found.counterexample is not None
    assert [step.action for step in found.counterexample.steps] == ["create_pci_msi_domain"]


def test_xb_3_f1_shows_beside_the_native_code() -> None:
    broken = not_proved(model_of("guest", "N3"), changed("guest", "N3"))
    assert broken == {("create_pci_msi_domain", "XEN-boot", Verdict.REFUTED)}


# --- mistakes -------------------------------------------------------------------------------

BROKEN_IN = {
    "XEN-1": "xen_irq_info_pirq_setup",
    "XEN-2": "xen_irq_info_pirq_setup",
    "XEN-3": "physdev_get_free_pirq",
    "XEN-4": "physdev_unmap_pirq",
    "XEN-5": "startup_pirq",
    "XEN-6": "xen_irq_info_pirq_setup",
    "XEN-7": "physdev_unmap_pirq",
    "XEN-8": "physdev_restore_msi_ext",
    "XEN-9": "xen_initdom_setup_msi_irqs",
    "XEN-10": "xen_teardown_msi_irqs",
    "XEN-leak": "xen_bind_pirq_msi_to_irq under XEN-leak",
    "XEN-unmap": "xen_destroy_irq under XEN-unmap",
    "XEN-conserve": "xen_irq_init",
    "XEN-mapped": "physdev_unmap_pirq",
    "XB-1": "create_pci_msi_domain",
    "XB-2": "create_pci_msi_domain",
    "XB-5": "pci_device_add",
    "XB-8": "pci_op_enable_msi",
    "XB-10": "msi_mask_write",
    "XB-10'": "msi_mask_ignored",
    "XB-11": "xen_msi_compose_msg",
    "XB-12": "default_restore_msi_irqs",
    "XB-14": "pci_msi_domain_refuses under F14",
    "XB-15": "create_subdevice_domain",
    "XB-16": "xen_setup_pci_msi",
    "XB-17": "xen_setup_pci_msi",
    "XEN-ops": "xen_setup_pci_msi",
    "XEN-default": "create_pci_msi_domain",
    "XEN-kind": "alloc_msi_entry",
    "XEN-entry": "free_msi_entry",
    "XEN-phase": "xen_initdom_setup_msi_irqs",
    "XEN-order": "physdev_map_pirq",
    "XEN-count": "xen_irq_init",
    "XEN-irq": "xen_free_irq",
    "XEN-block": "physdev_map_pirq",
    "XEN-pirq": "xen_irq_info_pirq_setup",
    "XEN-hand": "physdev_map_pirq",
    "XEN-port": "shutdown_pirq",
    "XB-3": "pci_device_add",
    "XB-4": "irq_remapping_enable",
    "XB-6": "irq_domain_alloc_irq_data",
    "XB-7": "irq_domain_alloc_irq_data",
    "XB-13": "pci_msi_setup_msi_irqs",
    "XEN-boot": "create_pci_msi_domain",
}
"""An action in which some small mistake breaks the invariant, or which breaks it under a switch."""

_SEVERAL = {
    "XEN-3": "physdev_get_free_pirq without ¬(1 < entry_nvec[desc])",
    "XB-4": "irq_remapping_enable without ¬(guest = PV_DOM0 ∨ guest = PV_DOMU)",
    "XB-6": "irq_domain_alloc_irq_data without info[irq] = NONE",
    "XB-7": "irq_domain_alloc_irq_data without ¬xen_domain[domain]",
    "XB-13": "pci_msi_setup_msi_irqs without settled[device]",
    "XEN-boot": "create_pci_msi_domain forgets default_wrapped",
}
"""A mistake by name, where there are many to be tried."""


def _wrong(model: Model, id: str) -> list[Action]:
    name, _, switch = BROKEN_IN[id].partition(" under ")
    if switch:
        return [model_of(model.name, switch).actions[name]]
    known = dict(mutants(model.actions[name]))
    return [known[_SEVERAL[id]]] if id in _SEVERAL else list(known.values())


def test_every_invariant_is_in_the_table() -> None:
    stated = [i.id for layer in LAYERS for i in model_of(layer).own_invariants]
    assert sorted(BROKEN_IN) == sorted(stated)


@pytest.mark.parametrize("id", BROKEN_IN)
def test_a_mistake_breaks_the_invariant(id: str) -> None:
    layer = next(n for n in LAYERS if id in {i.id for i in model_of(n).own_invariants})
    model = model_of(layer)
    assert mistake_found(model, _wrong(model, id), id, sizes_of(model))


# --- as before the series (XB-9) ------------------------------------------------------------


def test_xb_9_every_step_is_a_step_of_before_and_the_other_way_round() -> None:
    results = simulation()
    assert {r.verdict for r in results} == {Verdict.PROVED}
    assert {r.subject for r in results} == {SUBJECT}
    assert "every device has a domain (XB-3)" in results[0].assumed


def test_xb_9_the_paths_differ_in_their_words() -> None:
    """Some of it needs the invariants: the two are not the same text."""
    bare = set()
    for step in steps_compared():
        if premises_for(replace(step, premises=()), step.goal, 200_000) is None:
            bare.add(step.check.split()[-1])
    assert {"pci_op_disable_msi", "xen_free_irq", "xen_irq_init"} <= bare


@pytest.mark.parametrize("kind", [k for k in XenKind if k.bypass])
def test_xb_9_the_twins_agree_whatever_the_hypervisor_answers(kind: XenKind) -> None:
    number, difference = compare(kind, 4)
    assert (difference, number > len(PROGRAMS)) == ("", True)


def test_xb_9_the_old_twin_has_no_domain() -> None:
    for series in (False, True):
        twin = Twin(XenKind.PV_DOM0, Script(()), series=series)
        dev = twin.device(msix=1)
        assert (dev.msi_domain is not None) is series


def test_xb_9_a_difference_is_noticed() -> None:
    """A fixed kernel unmaps what it cannot bind; one from before the series does not."""
    told = []
    for defects in (DEFECTS, frozenset[Defect]()):
        twin = Twin(XenKind.PV_DOM0, Script(()), series=True, defects=defects)
        told.append([(result, twin.seen()) for result in PROGRAMS["no memory"](twin)])
    assert told[0] != told[1]


def test_xb_9_every_answer_is_given() -> None:
    asked: list[str] = []

    def play(answers: tuple[Answer, ...]) -> list[str]:
        _, _, wanted = histories(XenKind.PV_DOM0, PROGRAMS["one message"], answers)
        asked.extend(wanted[: len(answers)])
        return wanted

    scripts = list(every_script(play, 2))
    assert len(set(scripts)) == len(scripts)
    assert {"physdev_map_pirq", "evtchn_bind_pirq"} <= set(asked)


def test_xb_9_the_tasks_say_their_bounds() -> None:
    planned = tasks(b"code")
    assert {t.name for t in planned} == {
        "refinement xen before",
        "refinement xen pv dom0",
        "refinement xen pv domU",
        "refinement xen hvm with pirqs",
    }
    (hvm,) = planned[-1].run()
    assert hvm.verdict is Verdict.HELD
    assert hvm.bound.endswith("all answers to the first 6 requests")
    assert {t.key for t in tasks()} == {""}


# --- messages (XEN-6) -----------------------------------------------------------------------


def test_xen_6_a_message_says_its_pirq() -> None:
    results = bits.prove(bits_xen.__name__)
    assert {r.verdict for r in results} == {Verdict.PROVED}
    assert results[-1].detail == "the message says pirq 0x10000, irq_info keeps 0x0"
