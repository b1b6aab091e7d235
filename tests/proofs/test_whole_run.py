# SPDX-License-Identifier: GPL-2.0-only
"""A whole machine under the monitors of its layers: failures, pairs, laws, and what is noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from impl.arch.x86.msi import native_create_pci_msi_domain
from impl.arch.x86.x86_init import X86Init, X86Platform
from impl.drivers.pci.capability import MsixCap
from impl.kernel.device import Device
from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.irq.irq import IRQD_ACTIVATED, IrqDomain
from impl.kernel.irq.msi import (
    MsiDomainInfo,
    msi_default_alloc_irqs,
    msi_default_free_irqs,
)
from impl.kernel.kernel import ALLOCATION_SITES
from impl.machine import Machine
from impl.trace import Event, Trace
from proofs.driven import Operation
from proofs.events import EVENTS
from proofs.hierarchy_layer import levels
from proofs.impl_events import IMPL_EVENTS
from proofs.layers import Naming, ScopeTooSmall
from proofs.machine_copy import copied, revived
from proofs.monitor import Broken
from proofs.whole_laws import SENTENCES
from proofs.whole_machine import HUBS, SMALL, WholeMachine
from proofs.whole_run import WholeRun
from spec.stack import MODELS


def done(name: str, **params: int) -> Operation:
    return Operation(name, tuple(params.items()))


def ran(kind: WholeMachine, operations: Iterable[Operation]) -> WholeRun:
    run = WholeRun(kind)
    for operation in operations:
        assert run.allows(operation), operation
        run.perform(operation)
        run.judge()
    return run


NIC, DISK, SOUND = 0, 1, 2
SCENARIO = (
    done("alloc_msix", device=NIC, min=1, max=3),
    done("alloc_msi", device=DISK, min=1, max=1),
    done("alloc_spread", device=SOUND, min=1, max=1),
    done("register_gsi", gsi=3, trigger=1, polarity=1),
    done("hpet_assign_irq", hpet=0, channel=1),
    done("dmar_alloc_hwirq", unit=1),
    done("request_irq", irq=4),
    done("request_irq", irq=7),
    done("request_irq", irq=3),
    done("request_irq", irq=9),
    done("set_affinity", irq=9, mask=4),
    done("fire", irq=9),
    done("set_affinity", irq=7, mask=6),
    done("suspend", device=NIC),
    done("resume", device=NIC),
    done("cpu_down", cpu=2),
    done("cpu_up", cpu=2),
)
HUB_SCENARIO = (
    done("alloc_msix", device=0, min=2, max=2),
    done("uv_setup_irq", blade=0, cpu=1, limit=0),
    done("request_irq", irq=3),
    done("set_affinity", irq=3, mask=4),
    done("fire", irq=3),
)


@pytest.mark.parametrize(("kind", "scenario"), [(SMALL, SCENARIO), (HUBS, HUB_SCENARIO)], ids=str)
def test_vec_18_dom_8_taking_everything_away_leaves_the_machine_of_after_boot(
    kind: WholeMachine, scenario: tuple[Operation, ...]
) -> None:
    run = WholeRun(kind)
    start = run.save()
    for operation in scenario:
        assert run.perform(operation) >= 0
        run.judge()
    assert run.left(start)
    run = ran(kind, scenario)
    for operation in run.leaving():
        assert run.perform(operation) >= 0
        run.judge()
    assert not run.left(start)


# --- X-4, DOM-7, MSI-7, PCI-6: every allocation of memory may fail ----------------------------


def _faults(kind: WholeMachine, path: tuple[Operation, ...], last: Operation) -> set[str]:
    """Let each allocation at each site fail in the last operation: the sites where one did. The run
    itself looks that a failure changes nothing."""
    run = ran(kind, path)
    before, struck = run.save(), set()
    for site, name in enumerate(ALLOCATION_SITES):
        nth = 0
        while nth == 0 or run.struck:
            nth += 1
            run.restore(before)
            run.perform(done("fail_next", site=site, nth=nth))
            if name == "add_pin_to_irq_node" and last.name == "register_gsi":
                with pytest.raises(Broken, match="no memory for pin"):
                    run.perform(last)
                break
            result = run.perform(last)
            run.judge()
            if run.struck:
                struck.add(name)
                # What is left is what would be there if less had been asked for.
                assert result < 0 or result < dict(last.params).get("max", 0)
    return struck


_MSI = {"alloc_desc", "irq_domain_insert_irq_data", "alloc_apic_chip_data"}
_PCI = _MSI | {"alloc_msi_entry", "populate_msi_sysfs"}


@pytest.mark.parametrize(
    ("last", "sites"),
    [
        (done("alloc_msix", device=NIC, min=3, max=3), _PCI | {"msix_map_region"}),
        (done("alloc_msix", device=NIC, min=1, max=3), _PCI | {"msix_map_region"}),
        (done("alloc_msi", device=DISK, min=1, max=1), _PCI),
        (done("alloc_spread", device=SOUND, min=1, max=1), _PCI),
        (done("register_gsi", gsi=3, trigger=1, polarity=1), _MSI | {"alloc_mp_chip_data"}),
        (done("hpet_assign_irq", hpet=0, channel=1), _MSI),
        (
            done("dmar_alloc_hwirq", unit=1),
            _MSI | {"irq_domain_alloc_fwnode", "irq_domain_add"},
        ),
    ],
    ids=str,
)
def test_x_4_an_allocation_that_fails_anywhere_changes_nothing(
    last: Operation, sites: set[str]
) -> None:
    first = SCENARIO[:1] if last.name != "alloc_msix" else ()
    assert _faults(SMALL, first, last) == sites


def test_x_4_a_hub_that_finds_no_memory_changes_nothing() -> None:
    last = done("uv_setup_irq", blade=1, cpu=2, limit=2)
    sites = _MSI | {"irq_domain_alloc_fwnode", "irq_domain_add", "uv_domain_alloc"}
    assert _faults(HUBS, HUB_SCENARIO[:1], last) == sites


def test_x_4_what_needs_no_memory_cannot_fail_for_the_lack_of_it() -> None:
    for place, operation in enumerate(SCENARIO):
        if operation.name in ("request_irq", "set_affinity", "fire", "suspend", "resume", "cpu_up"):
            assert _faults(SMALL, SCENARIO[:place], operation) == set()


def test_x_4_a_change_on_the_way_of_a_failure_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = ran(SMALL, ())
    alloc = Machine.pci_alloc_irq_vectors

    def leaking(
        self: Machine, name: str, least: int, most: int, flags: int, affd: IrqAffinity | None
    ) -> int:
        result = alloc(self, name, least, most, flags, affd)
        self.irqs.allocated_irqs |= 1 << 40
        return result

    monkeypatch.setattr(Machine, "pci_alloc_irq_vectors", leaking)
    with pytest.raises(Broken, match=r"X-4: .*allocated_irqs"):
        run.perform(done("alloc_msix", device=NIC, min=4, max=4))


# --- MSI-12: an override that calls the default is no override ---------------------------------


def _alloc(domain: IrqDomain, dev: Device, nvec: int) -> int:
    return msi_default_alloc_irqs(domain, dev, nvec)


def _free(domain: IrqDomain, dev: Device) -> None:
    msi_default_free_irqs(domain, dev)


def _overridden(x86: X86Platform) -> IrqDomain | None:
    domain = native_create_pci_msi_domain(x86)
    assert domain is not None and domain.host_data.ops is not None
    domain.host_data.ops.domain_alloc_irqs = _alloc
    domain.host_data.ops.domain_free_irqs = _free
    return domain


def test_msi_12_override_operations_that_call_the_defaults_change_nothing() -> None:
    def hooks() -> X86Init:
        return X86Init(create_pci_msi_domain=_overridden)

    faulty = (
        done("fail_next", site=ALLOCATION_SITES.index("alloc_desc"), nth=2),
        done("alloc_msix", device=NIC, min=2, max=3),
        done("free_irq", irq=4),
        done("free_vectors", device=NIC),
    )
    plain, other = WholeRun(SMALL), WholeRun(replace(SMALL, hooks=hooks))
    for operation in (*SCENARIO, *faulty[2:], *faulty[:2]):
        assert plain.perform(operation) == other.perform(operation)
        assert plain.key() == other.key()


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
    ("law", "break_it"),
    [
        ("DOM-2", _other_irq),
        ("MSI-1", _no_operation),
        ("X-1", _lost_vector),
        ("X-2", _lost_reservation),
        ("X-3", _same_message),
        ("X-6", _nobody_composes),
    ],
)
def test_a_law_of_one_state_is_noticed(law: str, break_it: Callable[[Machine], None]) -> None:
    run = ran(SMALL, (*SCENARIO[:1], done("request_irq", irq=4), done("request_irq", irq=5)))
    assert _all_laws_hold(run) == set()
    break_it(run.machine)
    assert _all_laws_hold(run) == {law}


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
    assert set(WholeRun(SMALL).judged()) >= SENTENCES.keys()
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


@pytest.mark.parametrize(
    "break_it",
    [
        lambda machine: machine.domains.irq_domain_list[-1].revmap_tree.clear(),
        lambda machine: machine.pci_devs["nic"].msix_cap.writel(0, 8, 0x4022),
        lambda machine: setattr(machine.domains.irq_domain_list[0], "mapcount", 7),
        lambda machine: setattr(machine.pci_devs["nic"], "msix_enabled", False),
        lambda machine: machine.irqs.descs[4].irq_data.set(IRQD_ACTIVATED),
    ],
    ids=["reverse map", "message", "mapcount", "enabled", "activated"],
)
def test_a_state_that_is_not_the_specifications_is_noticed(
    break_it: Callable[[Machine], object],
) -> None:
    run = ran(SMALL, SCENARIO[:1])
    break_it(run.machine)
    with pytest.raises(Broken, match="in the specification"):
        run.perform(done("suspend", device=DISK))


def test_a_scope_that_is_too_small_is_an_error() -> None:
    naming = Naming("Irq", 2)
    assert (naming[30], naming[20], naming[30]) == (0, 1, 0)
    with pytest.raises(ScopeTooSmall, match="Irq 40 is one more"):
        naming[40]
    del naming[30]
    assert naming[40] == 0


# --- moments -----------------------------------------------------------------------------------


def test_a_moment_is_restored_as_often_as_one_likes() -> None:
    run = ran(SMALL, SCENARIO[:3])
    moment, key = run.save(), run.key()
    for operation in (done("free_vectors", device=NIC), done("request_irq", irq=5)):
        run.restore(moment)
        assert run.key() == key
        run.perform(operation)
        run.judge()
        assert run.key() != key
    run.restore(moment)
    assert run.key() == key


def test_a_machine_that_holds_on_to_a_local_function_is_refused() -> None:
    machine = SMALL.build()
    machine.x86.init.irq_remapping_get_irq_domain = lambda info: None
    with pytest.raises(Exception, match=r"lambda|local"):
        copied(machine)


def test_a_copy_is_independent_and_tells_the_new_trace() -> None:
    machine, trace, told = SMALL.build(), Trace(), []
    trace.subscribe(lambda event: told.append(event.name))
    copy = revived(copied(machine), trace)
    assert copy.pci_alloc_irq_vectors("nic", 1, 1, 4) == 1
    assert "pci_msix_set_enable" in told
    assert copy.pci_devs["nic"].msix_enabled and not machine.pci_devs["nic"].msix_enabled
