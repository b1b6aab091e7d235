# SPDX-License-Identifier: GPL-2.0-only
"""What a whole machine must keep to is noticed where it does not: laws, and each layer's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from impl.drivers.pci.capability import MsixCap
from impl.kernel.irq.irq import IRQD_ACTIVATED
from impl.kernel.irq.msi import (
    MsiDomainInfo,
)
from impl.machine import Machine
from impl.trace import Event, Trace
from proofs.events import EVENTS
from proofs.hierarchy_layer import levels
from proofs.impl_events import IMPL_EVENTS
from proofs.layers import Naming, ScopeTooSmall
from proofs.machine_tasks import LAYERS, SENTENCES
from proofs.monitor import Broken
from proofs.platform_machines import PLATFORMS
from proofs.whole_machine import HUBS, SMALL
from proofs.whole_run import WholeRun
from spec.stack import MODELS
from tests.proofs.whole_scenarios import DISK, HUB_SCENARIO, NIC, SCENARIO, done, ran

# --- laws ------------------------------------------------------------------------------------


def _all_laws_hold(run: WholeRun) -> set[str]:
    return {finding.violated for finding in run.laws.broken(run.machine)}


def _info(machine: Machine) -> MsiDomainInfo:
    info = machine.domains.irq_domain_list[0].host_data
    assert isinstance(info, MsiDomainInfo)
    return info


def _other_irq(machine: Machine) -> None:
    list(levels(machine.irqs.descs[4].irq_data))[-1].irq = 5


def _no_operation(machine: Machine) -> None:
    ops = _info(machine).ops
    assert ops is not None
    ops.get_hwirq = None


def _lost_vector(machine: Machine) -> None:
    machine.matrix.maps[1].available -= 1


def _lost_reservation(machine: Machine) -> None:
    machine.matrix.global_reserved += 1


def _same_message(machine: Machine) -> None:
    cap = machine.pci_devs["nic"].msix_cap
    assert isinstance(cap, MsixCap)
    for offset in range(0, 12, 4):
        cap.writel(1, offset, cap.readl(0, offset))


def _nobody_composes(machine: Machine) -> None:
    for level in levels(machine.irqs.descs[4].irq_data):
        assert level.chip is not None
        level.chip = replace(level.chip, irq_compose_msi_msg=None)


@pytest.mark.parametrize(
    ("laws", "break_it"),
    [
        ({"DOM-2"}, _other_irq),
        ({"MSI-1"}, _no_operation),
        ({"X-1"}, _lost_vector),
        ({"X-2"}, _lost_reservation),
        ({"X-3", "X-delivery"}, _same_message),
        ({"X-6"}, _nobody_composes),
    ],
)
def test_a_law_of_one_state_is_noticed(laws: set[str], break_it: Callable[[Machine], None]) -> None:
    run = ran(SMALL, (*SCENARIO[:1], done("request_irq", irq=4), done("request_irq", irq=5)))
    assert _all_laws_hold(run) == set()
    break_it(run.machine)
    assert _all_laws_hold(run) == laws


def test_uv_3_a_register_that_stays_open_is_noticed() -> None:
    run = ran(HUBS, HUB_SCENARIO)
    ((place, mmr),) = run.machine.uv_hubs.mmrs.items()
    assert not mmr.mask
    run.machine.irqs.descs[3].irq_data.clear(IRQD_ACTIVATED)
    assert _all_laws_hold(run) == {"UV-3"}
    run.machine.uv_hubs.mmrs[place] = mmr._replace(mask=1)
    assert _all_laws_hold(run) == set()


@pytest.mark.parametrize(
    ("law", "events"),
    [
        ("MSI-10", [("msi_domain_alloc_irqs", {"device": 0, "ret": -17})]),
        ("INIT-2", [("create_pci_msi_domain", {"domain": 2})]),
        (
            "VEC-affinity",
            [
                ("vector_activate", {"irq": 4}),
                ("vector_update", {"irq": 4, "cpu": 2}),
            ],
        ),
    ],
)
def test_a_law_of_what_happens_is_noticed(
    law: str, events: list[tuple[str, dict[str, int]]]
) -> None:
    run = ran(SMALL, (SCENARIO[0], done("set_affinity", irq=4, mask=3)))
    run.laws.begin(run.machine, done("fire", irq=4), failing=False)
    *first, last = [Event("", name, 0, fields) for name, fields in events]
    for event in first:
        run.laws.event(event)
    with pytest.raises(Broken, match=law):
        run.laws.event(last)


def test_pci_5_too_many_attempts_are_noticed() -> None:
    run = ran(SMALL, ())
    operation = done("alloc_msix", device=NIC, min=2, max=3)
    run.laws.begin(run.machine, operation, failing=False)
    for _ in range(5):
        run.laws.event(Event("msi", "msi_domain_alloc_irqs", 0, {"device": NIC, "ret": 1}))
    with pytest.raises(Broken, match="PCI-5"):
        run.laws.end(run.machine, operation, 2)


def test_x_2_a_refused_activation_is_noticed() -> None:
    run = ran(SMALL, SCENARIO[:1])
    run.laws.begin(run.machine, done("request_irq", irq=4), failing=False)
    with pytest.raises(Broken, match="X-2"):
        run.laws.end(run.machine, done("request_irq", irq=4), -28)


def test_every_law_has_a_sentence_and_is_answered_for() -> None:
    kinds = (SMALL, HUBS, *PLATFORMS.values())
    assert {id for kind in kinds for id in WholeRun(kind).judged()} >= SENTENCES.keys()
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())


# --- what the monitors see ---------------------------------------------------------------------

SILENT = {
    # Single registers, whose whole message is told as well; HPETs have no layer with messages.
    "pci_write_config",
    "writel",
    "hpet_msi_write",
    # A step of boot between two that matter.
    "smp_init",
}


def test_every_event_of_a_whole_machine_is_known() -> None:
    actions = {name for layer in MODELS.values() for name in layer.build().actions}
    seen: set[str] = set()
    trace = Trace()
    trace.subscribe(lambda event: seen.add(event.name))
    for kind, scenario in ((SMALL, SCENARIO), (HUBS, HUB_SCENARIO)):
        run = ran(kind, ())
        run.trace.subscribe(lambda event: seen.add(event.name))
        for operation in scenario:
            run.perform(operation)
        for operation in run.leaving():
            run.perform(operation)
        kind.build(trace)
    known = actions | EVENTS.keys() | IMPL_EVENTS.keys()
    assert seen - known == SILENT


def _program_pin(machine: Machine) -> None:
    machine.io_apics.ioapics[0].redirection[1] ^= 1 << 16


def _another_user(machine: Machine) -> None:
    machine.irqs.descs[1].irq_data.chip_data.count += 1


def _no_default_domain(machine: Machine) -> None:
    machine.x86.pci_msi_default_domain = None


def _write_data(machine: Machine) -> None:
    cap = machine.pci_devs["nic"].msix_cap
    assert cap is not None
    cap.writel(0, 8, 0x4022)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda machine: machine.domains.irq_domain_list[-1].revmap_tree.clear(),
        lambda machine: setattr(machine.domains.irq_domain_list[0], "mapcount", 7),
        _write_data,
        lambda machine: setattr(machine.pci_devs["nic"], "msix_enabled", False),
        lambda machine: machine.irqs.descs[4].irq_data.set(IRQD_ACTIVATED),
        _program_pin,
        _another_user,
        _no_default_domain,
    ],
    ids=[
        "reverse map",
        "mapcount",
        "message",
        "enabled",
        "activated",
        "entry",
        "users",
        "default domain",
    ],
)
def test_a_state_that_is_not_the_specifications_is_noticed(
    break_it: Callable[[Machine], object],
) -> None:
    run = ran(SMALL, SCENARIO[:1])
    break_it(run.machine)
    with pytest.raises(Broken, match="in the specification"):
        run.perform(done("suspend", device=DISK))


def test_a_hub_that_is_not_the_specifications_is_noticed() -> None:
    run = ran(HUBS, HUB_SCENARIO)
    run.machine.irqs.descs[3].irq_data.hwirq = 2
    with pytest.raises(Broken, match="in the specification"):
        run.perform(done("suspend", device=0))


def test_every_layer_of_a_whole_machine_is_followed() -> None:
    assert LAYERS == ("vectors", "hierarchy", "msi", "ioapic", "uv", "routing")
    assert set(LAYERS) <= MODELS.keys()
    run = ran(SMALL, SCENARIO)
    followed = {name: monitor.events for name, monitor in run.monitors.items()}
    assert min(followed.values()) > 100


def test_a_scope_that_is_too_small_is_an_error() -> None:
    naming = Naming("Irq", 2)
    assert (naming[30], naming[20], naming[30]) == (0, 1, 0)
    with pytest.raises(ScopeTooSmall, match="Irq 40 is one more"):
        naming[40]
    del naming[30]
    assert naming[40] == 0
