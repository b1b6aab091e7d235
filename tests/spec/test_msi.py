# SPDX-License-Identifier: GPL-2.0-only
"""The MSI layer in small machines: every state, the shortest run to each defect, and whole stories.

A story is a sequence of operations, done by the plain evaluator; each state obeys every invariant.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from proofs.explorer import Limit, explore
from proofs.msi_scopes import MSI_SCOPES, msi
from proofs.scopes import SCOPES
from proofs.verdict import Verdict
from spec.evaluate import Refusal, apply, evaluate, initial_state
from spec.scope import Scope
from spec.stack import MODELS
from spec.terms import Sort, value_of

LAYER = MODELS["msi"]
MODEL = LAYER.build()


class Story:
    """A machine to which operations happen; `step` fails the test if one cannot."""

    def __init__(self, scope: Scope) -> None:
        self.sizes = {Sort(name): size for name, size in scope.sizes.items()}

        def constant(name: str, index: tuple[int, ...]) -> Any:
            start = value_of(MODEL.fields[name].initial)
            return scope.rigid.get(name, {}).get(index, start)

        self.state: Any = initial_state(MODEL, self.sizes, constant)

    def refusal(self, operation: str, **arguments: Any) -> bool:
        """Whether the operation cannot happen; if it can, it has happened."""
        after = apply(MODEL, MODEL.operations[operation], arguments, self.state, self.sizes)
        if isinstance(after, Refusal):
            return True
        self.state = after
        broken = [i.id for i in MODEL.invariants if not evaluate(i.formula, after, self.sizes)]
        assert broken == []
        return False

    def step(self, operation: str, **arguments: Any) -> None:
        """Do an operation."""
        assert not self.refusal(operation, **arguments), operation

    def of(self, field: str, *index: int) -> Any:
        """A place of the state."""
        return self.state[field][index]

    def message(self, desc: int = 0, where: str = "device") -> tuple[Any, Any, Any]:
        """The message in the device, or the cached one."""
        vector, cpu, shutdown = (f"{where}_{part}" for part in ("vector", "cpu", "shutdown"))
        return self.of(vector, desc), self.of(cpu, desc), self.of(shutdown, desc)

    def msix(self, descs: int = 1) -> None:
        """A device has MSI-X descriptors, and its domain is asked for irqs."""
        self.step("add_device", device=0, domain=0)
        for desc in range(descs):
            self.step("set_up_msix", device=0, desc=desc)
        self.step("begin_alloc", device=0, domain=0, stores=False)

    def msi(self, *, block: bool = False, maskbit: bool = False) -> None:
        """The same with MSI."""
        self.step("add_device", device=0, domain=0)
        self.step("set_up_msi", device=0, desc=0, block=block, maskbit=maskbit)
        self.step("begin_alloc", device=0, domain=0, stores=False)


ZERO = (None, None, False)
SHUTDOWN = (None, None, True)


@pytest.mark.parametrize("scope", MSI_SCOPES["msi"], ids=str)
def test_the_invariants_hold_in_every_state(scope: Scope) -> None:
    found = explore(MODEL, scope)
    assert (found.verdict, found.exhausted) == (Verdict.HELD, True)


def test_the_check_explores_these_scopes_and_sees_every_operation() -> None:
    assert SCOPES["msi"] == MSI_SCOPES["msi"]
    assert len(set(map(str, SCOPES["msi"]))) == len(SCOPES["msi"])
    fired: Counter[str] = Counter()
    for scope in SCOPES["msi"]:
        fired.update(explore(MODEL, scope).fired)
    assert set(fired) == set(MODEL.operations)
    assert all(fired.values())


def test_two_devices_do_not_disturb_each_other() -> None:
    found = explore(MODEL, msi(2, 2, devices=2), symmetry=True, limit=Limit(depth=10))
    assert (found.verdict, found.stopped) == (Verdict.UNDETERMINED, "depth")
    assert found.counterexample is None
    assert found.fired["enable_msi"] and found.fired["end_free"]


def test_msi_5_scenario_14_2_an_msix_irq_is_reserved_until_it_is_requested() -> None:
    story = Story(msi(1, 1))
    story.msix()
    story.step("alloc_irq", desc=0, irq=0, hwirq=0, managed=False)
    story.step("activate_reserved", irq=0)
    story.step("clear_activated", irq=0)
    story.step("alloc_succeeds", device=0)
    assert (story.of("activated", 0), story.message()) == (False, SHUTDOWN)
    story.step("set_mask", desc=0, mask=True)
    story.step("enable_msix", device=0)
    story.step("request", irq=0, vector=0, cpu=0)
    assert (story.of("activated", 0), story.message()) == (True, (0, 0, False))
    story.step("free_irq", irq=0)
    assert (story.of("activated", 0), story.message()) == (False, ZERO)
    story.step("disable_msix", device=0)
    story.step("free_single", desc=0, irq=0)
    story.step("end_free", device=0)
    story.step("free_entry", device=0, desc=0)
    story.step("remove_device", device=0)


def test_msi_6_scenario_14_3_msi_without_a_mask_bit_has_its_vector_at_once() -> None:
    story = Story(msi(1, 1))
    story.msi()
    story.step("alloc_irq", desc=0, irq=0, hwirq=0, managed=False)
    assert story.refusal("activate_reserved", irq=0)
    story.step("activate_fixed", irq=0, vector=0, cpu=0)
    story.step("alloc_succeeds", device=0)
    assert (story.of("activated", 0), story.message()) == (True, (0, 0, False))
    assert story.of("nomask_quirk", 0)
    story.step("enable_msi", device=0)
    story.step("request_active", irq=0)
    story.step("free_irq", irq=0)
    assert (story.message(), story.of("cfg_vector", 0)) == (ZERO, 0)


def test_apic_6_scenario_14_4_a_domain_without_blocks_refuses_one() -> None:
    scope = msi(2, 1)
    story = Story(Scope(scope.sizes, {**scope.rigid, "multi_pci_msi": {}}))
    story.step("add_device", device=0, domain=0)
    story.step("set_up_msi", device=0, desc=0, block=True, maskbit=True)
    assert story.refusal("begin_alloc", device=0, domain=0, stores=False)
    story.step("alloc_fails", device=0)
    story.step("end_free", device=0)
    story.step("free_entry", device=0, desc=0)
    story.step("set_up_msi", device=0, desc=0, block=False, maskbit=True)
    story.step("begin_alloc", device=0, domain=0, stores=False)


def test_msi_5_scenario_14_5_a_managed_irq_is_shut_down_until_it_is_requested() -> None:
    story = Story(msi(1, 1))
    story.msix()
    story.step("alloc_irq", desc=0, irq=0, hwirq=0, managed=True)
    story.step("activate_reserved", irq=0)
    assert story.refusal("alloc_succeeds", device=0)
    story.step("clear_activated", irq=0)
    story.step("alloc_succeeds", device=0)
    assert story.message() == SHUTDOWN and not story.of("irqd_can_reserve", 0)


def test_msi_7_a_failed_allocation_leaves_the_earlier_descriptors_their_irqs() -> None:
    story = Story(msi(1, 2))
    story.msix(descs=2)
    assert story.refusal("alloc_irq", desc=1, irq=0, hwirq=0, managed=False)
    story.step("alloc_irq", desc=0, irq=0, hwirq=0, managed=False)
    assert story.refusal("activate_reserved", irq=0)
    story.step("alloc_fails", device=0)
    assert (story.of("entry_irq", 0), story.of("entry_irq", 1)) == (0, None)
    assert story.refusal("end_free", device=0)
    story.step("free_single", desc=0, irq=0)
    story.step("end_free", device=0)
    assert story.of("phase", 0) == "IDLE" and not story.of("desc", 0)


def test_msi_7_a_failed_activation_leaves_nothing() -> None:
    story = Story(msi(2, 2))
    story.msix(descs=2)
    for desc in range(2):
        story.step("alloc_irq", desc=desc, irq=desc, hwirq=desc, managed=False)
    story.step("activate_reserved", irq=0)
    assert story.refusal("alloc_fails", device=0)
    assert story.refusal("free_single", desc=0, irq=0)
    story.step("deactivate", irq=0)
    for desc in range(2):
        story.step("free_single", desc=desc, irq=desc)
    story.step("end_free", device=0)
    assert story.of("phase", 0) == "ROLLBACK"
    story.step("alloc_fails", device=0)
    story.step("end_free", device=0)
    assert story.of("phase", 0) == "IDLE"


def test_msi_9_clearing_the_bit_deactivates_nothing() -> None:
    story = Story(msi(1, 1))
    story.msix()
    story.step("alloc_irq", desc=0, irq=0, hwirq=0, managed=False)
    story.step("activate_reserved", irq=0)
    before = story.message()
    story.step("clear_activated", irq=0)
    assert story.message() == before == SHUTDOWN


def test_msi_13_what_is_stored_is_given_back_before_the_descriptors_die() -> None:
    story = Story(msi(1, 1))
    story.step("add_device", device=0, domain=0)
    story.step("set_up_msix", device=0, desc=0)
    story.step("begin_alloc", device=0, domain=0, stores=True)
    story.step("alloc_fails", device=0)
    assert story.of("stored", 0) and story.refusal("free_entry", device=0, desc=0)
    story.step("end_free", device=0)
    assert not story.of("stored", 0)
    story.step("free_entry", device=0, desc=0)


def enabled_msix(scope: Scope) -> Story:
    """A device with one requested MSI-X irq."""
    story = Story(scope)
    story.msix()
    story.step("alloc_irq", desc=0, irq=0, hwirq=0, managed=False)
    story.step("activate_reserved", irq=0)
    story.step("clear_activated", irq=0)
    story.step("alloc_succeeds", device=0)
    story.step("set_mask", desc=0, mask=True)
    story.step("enable_msix", device=0)
    story.step("request", irq=0, vector=0, cpu=0)
    story.step("set_mask", desc=0, mask=False)
    return story


def test_pci_8_a_device_that_slept_is_told_everything_again() -> None:
    story = enabled_msix(msi(1, 1, cpus=2, vectors=2))
    story.step("power", device=0, d0=False)
    story.step("move", irq=0, vector=1, cpu=1)
    story.step("set_mask", desc=0, mask=True)
    assert (story.message(), story.message(where="cached")) == ((0, 0, False), (1, 1, False))
    story.step("power", device=0, d0=True)
    assert story.message() == ZERO
    assert story.refusal("restore_msix", device=0)
    story.step("restore_entry", desc=0, irq=0)
    story.step("restore_msix", device=0)
    assert story.message() == (1, 1, False)
    assert story.of("masked", 0) == story.of("device_masked", 0) == 1


def test_msi_8_a_virtual_entry_has_no_message_in_the_device() -> None:
    story = enabled_msix(msi(1, 1, virtual=frozenset({0})))
    assert (story.message(), story.message(where="cached")) == (ZERO, (0, 0, False))
    assert story.of("masked", 0) == 0


def test_pci_6_irqs_that_cannot_be_listed_leave_msix_switched_on_in_the_device() -> None:
    story = Story(msi(1, 1))
    story.msix()
    story.step("alloc_irq", desc=0, irq=0, hwirq=0, managed=False)
    story.step("activate_reserved", irq=0)
    story.step("clear_activated", irq=0)
    story.step("alloc_succeeds", device=0)
    story.step("list_fails", device=0)
    story.step("free_single", desc=0, irq=0)
    story.step("end_free", device=0)
    story.step("free_entry", device=0, desc=0)
    assert (story.of("msix_bit", 0), story.of("msix_enabled", 0)) == (True, False)


def test_apic_5_a_device_with_the_quirk_is_moved_by_two_messages() -> None:
    move = MODEL.operations["move"]
    assert move.calls.count("pci_write_msi_msg") == 2
    story = Story(msi(1, 1, cpus=2, vectors=2))
    story.msi()
    story.step("alloc_irq", desc=0, irq=0, hwirq=0, managed=False)
    story.step("activate_fixed", irq=0, vector=0, cpu=0)
    story.step("alloc_succeeds", device=0)
    story.step("move", irq=0, vector=1, cpu=1)
    assert story.message() == (1, 1, False)


def run_of(switch: str, scope: Scope, invariant: str) -> tuple[str, ...]:
    """The operations of the shortest run that breaks an invariant under a switch."""
    model = LAYER.build(frozenset({switch}))
    found = explore(model, scope, invariants=(invariant,)).counterexample
    assert found is not None and found.shortest
    return tuple(step.action for step in found.steps)


_START = ("add_device", "set_up_msi", "begin_alloc")


def test_n6_a_vmd_device_that_could_reserve_takes_a_vector() -> None:
    run = run_of("N6", msi(1, 1, vmd=True), "MSI-5")
    assert run == (*_START, "alloc_irq", "activate_fixed", "alloc_succeeds")


def test_n7_the_first_irq_of_a_block_is_not_undone() -> None:
    run = run_of("N7", msi(2, 1, has_msi_free=True), "MSI-N7")
    assert run == (*_START, "alloc_block_fails")


@pytest.mark.parametrize("invariant", ["MSI-N8", "APIC-4"])
def test_n8_the_second_irq_of_a_block_is_left_as_it_was(invariant: str) -> None:
    run = run_of("N8", msi(2, 1), invariant)
    assert run == (*_START, "alloc_block", "activate_fixed", "alloc_succeeds")


def test_n14_a_guest_that_may_not_mask_is_left_on_the_shutdown_vector() -> None:
    run = run_of("N14", msi(1, 1, ignore_mask=True), "MSI-6")
    assert run == (
        *_START, "alloc_irq", "activate_reserved", "clear_activated", "alloc_succeeds",
    )  # fmt: skip


def test_n17_an_irq_is_freed_while_its_device_may_signal_it() -> None:
    run = run_of("N17", msi(1, 1), "MSI-N17")
    assert run == (*_START, "alloc_irq", "activate_fixed", "free_single")


def test_each_switch_breaks_what_its_invariants_say() -> None:
    """`unless` names a switch exactly where a run breaks the invariant."""
    worlds = {
        "N6": msi(1, 1, vmd=True),
        "N7": msi(2, 1, has_msi_free=True),
        "N8": msi(2, 1),
        "N14": msi(1, 1, ignore_mask=True),
        "N17": msi(1, 1),
    }
    for switch, scope in worlds.items():
        model, left = LAYER.build(frozenset({switch})), {i.id for i in MODEL.invariants}
        broken: set[str] = set()
        while True:
            found = explore(model, scope, invariants=tuple(left - broken))
            if found.counterexample is None:
                break
            broken.add(found.counterexample.violated)
        assert found.exhausted
        assert broken == {i.id for i in MODEL.invariants if switch in i.unless}
