# SPDX-License-Identifier: GPL-2.0-only
"""Section 9.4: when every device is torn down, what is left is what the hypervisor kept.

Random programs, random answers, and now and then no memory.
"""

import errno
import random

import pytest

from impl.arch.x86.xen import XenKind
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import pci_enable_msi_range, pci_enable_msix_range
from impl.drivers.pci.msi_access import pci_restore_msi_state
from impl.drivers.pci.pci import PciDev
from impl.drivers.xen.events import xen_evtchn_do_upcall
from impl.drivers.xen.hypervisor import DOMID_SELF, Answer, Request
from impl.drivers.xen.irq_info import PIRQ_MSI_GROUP
from impl.trace import Event
from tests.impl.xen_support import BYPASS, REFUSALS, XenMachine, irqs_of

OTHER_DOMAIN = 7
LEAKS = frozenset({Defect.XEN_LEAK, Defect.XEN_UNMAP})
STEPS = 40
SITES = ("alloc_desc", "set_evtchn_to_irq", "alloc_msi_entry")
SEEDS = range(25)


class Run:
    """A guest that does one thing after the other; `failed_binds` are (domain, first pirq)."""

    def __init__(self, kind: XenKind, seed: int, defects: frozenset[Defect]) -> None:
        self.random = random.Random(seed)
        self.m = XenMachine(kind, self.answer, defects=defects)
        self.m.hypervisor.create_domain(OTHER_DOMAIN)
        self.frame = self.m.frame()
        self.irqs = self.m.irqs.allocated_irqs
        self.devs = [self.m.device(msi=MsiCap(2), msix=4) for _ in range(3)]
        self.m.p.dev_domain_list[self.devs[1].id] = OTHER_DOMAIN
        self.failed_binds: set[tuple[int, int]] = set()
        self.m.trace.subscribe(self.note)

    def answer(self, request: Request) -> Answer:
        refusals = REFUSALS[request.op]
        if not refusals or self.random.random() < 0.8:
            return Answer()
        return self.random.choice(refusals)

    def note(self, event: Event) -> None:
        fields = event.fields
        if event.name == "xen_bind_pirq_msi_to_irq" and fields["ret"] < 0:
            self.failed_binds.add((fields["domid"], fields["pirq"]))

    def step(self) -> None:
        m, dev = self.m, self.random.choice(self.devs)
        self.m.kernel.failures = {}
        if self.random.random() < 0.2:
            m.fail_next(self.random.choice(SITES), self.random.randint(1, 4))
        match self.random.randrange(6):
            case 0:
                pci_enable_msi_range(dev, 1, self.random.randint(1, 4))
            case 1:
                pci_enable_msix_range(dev, None, 1, self.random.randint(1, 4))
            case 2:
                m.quiesce(dev)
            case 3:
                self.start_or_stop(dev)
            case 4:
                pci_restore_msi_state(dev)
            case 5:
                for pirq in m.hypervisor.pirqs:
                    m.hypervisor.signal_pirq(pirq)
                xen_evtchn_do_upcall(m.xen)
                m.kernel.this_cpu = 0

    def start_or_stop(self, dev: PciDev) -> None:
        for irq in irqs_of(dev):
            if self.random.random() < 0.5:
                if self.m.irqs.descs[irq].action:
                    assert self.m.free_irq(irq) == 0
                else:
                    assert self.m.request_irq(irq) == 0

    def finish(self) -> None:
        self.m.kernel.failures = {}
        for dev in self.devs:
            self.m.quiesce(dev)

    def failed_unmaps(self) -> set[tuple[int, int]]:
        """The blocks whose unmapping was refused."""
        return {
            (dict(call.args)["domid"], dict(call.args)["pirq"])
            for call in self.m.hypervisor.log
            if call.op == "physdev_unmap_pirq" and call.ret
        }

    def mapped(self) -> set[tuple[int, int]]:
        """The blocks that are mapped for the guest's devices."""
        return {
            (domid, pirq.first)
            for domid, space in self.m.hypervisor.spaces.items()
            for pirq in space.values()
        }


def check_step(run: Run) -> None:
    """XEN-1, XEN-2 and XEN-5 in between."""
    m = run.m
    owned = [irq for dev in run.devs for irq in irqs_of(dev)]
    assert len(owned) == len(set(owned))
    assert set(owned) <= set(m.live())
    for dev in run.devs:
        for desc in dev.msi_list:
            infos = [m.info(desc.irq + k) for k in range(desc.nvec_used)]
            assert [i.pirq for i in infos] == [infos[0].pirq + k for k in range(len(infos))]
            assert [bool(i.flags & PIRQ_MSI_GROUP) for i in infos] == [
                k > 0 for k in range(len(infos))
            ]
    bound = {info.evtchn for info in m.xen.xen_irq_list_head if info.evtchn}
    assert bound == set(m.hypervisor.ports)
    assert m.frame() == run.frame


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("leaks", [False, True])
def test_9_4_xen_10_xb_7_what_is_left_is_what_was_refused(kind: XenKind, leaks: bool) -> None:
    refused = left_irqs = 0
    for seed in SEEDS:
        run = Run(kind, seed, LEAKS if leaks else frozenset())
        for _ in range(STEPS):
            run.step()
            check_step(run)
        run.finish()
        check_step(run)
        m = run.m
        assert m.hypervisor.ports == {}
        failed = run.failed_unmaps()
        # That the domain is gone is no reason to keep an irq.
        kept = failed - _gone(run) if leaks else set()
        assert {(m.info(irq).domid, m.info(irq).pirq) for irq in m.live()} == kept
        assert m.irqs.allocated_irqs.bit_count() == run.irqs.bit_count() + len(m.live())
        if kind is XenKind.PV_DOM0:
            leaked = run.failed_binds if leaks else set()
            assert run.mapped() == failed | leaked
        elif kind is XenKind.PV_DOMU:
            pirqs = {pirq for vectors in m.back.enabled.values() for pirq in vectors}
            assert set(m.hypervisor.pirqs) == pirqs
        refused += len(failed) + len(run.failed_binds)
        left_irqs += len(m.live())
    assert refused > 0
    assert (left_irqs > 0) == (leaks and kind is XenKind.PV_DOM0)


def _gone(run: Run) -> set[tuple[int, int]]:
    """The blocks of a domain that the hypervisor says is gone."""
    return {
        (args["domid"], args["pirq"])
        for call in run.m.hypervisor.log
        if call.op == "physdev_unmap_pirq" and call.ret == -errno.ESRCH
        for args in [dict(call.args)]
        if args["domid"] != DOMID_SELF
    }


@pytest.mark.parametrize("kind", BYPASS)
def test_9_4_a_guest_whose_requests_are_served_leaves_nothing(kind: XenKind) -> None:
    for seed in SEEDS:
        run = Run(kind, seed, frozenset())
        run.m.hypervisor.oracle = lambda request: Answer()
        run.m.kernel.failures = {}
        for _ in range(STEPS):
            run.step()
        run.finish()
        assert (run.m.live(), run.m.hypervisor.ports) == ([], {})
        if kind is not XenKind.HVM_PIRQ:
            assert run.mapped() == set()
        assert (run.m.frame(), run.m.irqs.allocated_irqs) == (run.frame, run.irqs)
