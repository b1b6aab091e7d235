# SPDX-License-Identifier: GPL-2.0-only
"""A whole machine under the monitors of its layers: failures, pairs, laws, and what is noticed."""

from __future__ import annotations

import pytest

from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.kernel import ALLOCATION_SITES
from impl.machine import Machine
from impl.trace import Trace
from proofs.driven import Operation
from proofs.machine_copy import copied, revived
from proofs.monitor import Broken
from proofs.whole_machine import HUBS, SMALL, WholeMachine
from proofs.whole_run import WholeRun
from tests.proofs.whole_scenarios import DISK, HUB_SCENARIO, NIC, SCENARIO, SOUND, done, ran


@pytest.mark.parametrize(
    ("kind", "scenario"), [(SMALL, SCENARIO), (HUBS, HUB_SCENARIO)], ids=["small", "hubs"]
)
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
    ids=lambda value: str(value) if isinstance(value, Operation) else "",
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
