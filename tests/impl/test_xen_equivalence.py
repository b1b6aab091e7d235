# SPDX-License-Identifier: GPL-2.0-only
"""XB-9: what a Xen guest asks for and gets is what it asked for and got before the series.

Two machines run the same program and hear the same answers: one whose devices point to Xen's
domain, and one whose devices know no domain and are served by x86_msi.
"""

import errno
from collections.abc import Callable, Iterable

import pytest

from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.arch.x86.xen import XenKind
from impl.arch.x86.xen_x86_msi import native_x86_msi, x86_msi_controller
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_free_irq_vectors,
)
from impl.drivers.pci.msi_access import pci_restore_msi_state
from impl.drivers.pci.pci import PciDev
from impl.kernel.irq.irq import IrqDomain
from tests.impl.pci_support import PciMachine, block_domain
from tests.impl.xen_support import BYPASS, Script, XenMachine, every_script, irqs_of

OTHER_DOMAIN = 7
AS_MERGED = frozenset({Defect.F13, Defect.F15, Defect.XEN_LEAK, Defect.XEN_UNMAP})

Program = Callable[[XenMachine], Iterable[object]]


def use_msi(m: XenMachine) -> Iterable[object]:
    dev = m.device(msi=MsiCap(2, maskbit=True), irq=9)
    yield pci_enable_msi_range(dev, 1, 1)
    yield _request_all(m, dev)
    yield _restore(dev)
    yield _quiesce(m, dev)
    yield pci_enable_msi_range(dev, 1, 1)
    yield _quiesce(m, dev)


def use_a_block(m: XenMachine) -> Iterable[object]:
    dev = m.device(msi=MsiCap(2))
    yield pci_enable_msi_range(dev, 2, 4)
    yield _quiesce(m, dev)
    yield pci_enable_msi_range(dev, 1, 4)
    yield _request_all(m, dev)
    yield _quiesce(m, dev)


def use_msix(m: XenMachine) -> Iterable[object]:
    dev = m.device(msix=4)
    yield pci_enable_msix_range(dev, None, 1, 3)
    yield _request_all(m, dev)
    yield _quiesce(m, dev)
    yield pci_enable_msix_range(dev, None, 2, 2)


def use_two_devices(m: XenMachine) -> Iterable[object]:
    m.hypervisor.create_domain(OTHER_DOMAIN)
    first, second = m.device(msix=2), m.device(msi=MsiCap(1))
    m.p.dev_domain_list[first.id] = OTHER_DOMAIN
    yield pci_enable_msix_range(first, None, 1, 2)
    yield pci_enable_msi_range(second, 1, 2)
    yield _quiesce(m, first)
    yield _restore(second)
    yield pci_enable_msix_range(first, None, 1, 1)
    yield _quiesce(m, second)
    yield _quiesce(m, first)


def use_without_memory(m: XenMachine) -> Iterable[object]:
    dev = m.device(msix=2, msi=MsiCap(1))
    for site, nth in (("alloc_desc", 2), ("set_evtchn_to_irq", 1), ("xen_setup_msi_irqs", 1)):
        m.kernel.failures = {site: nth}
        yield pci_enable_msix_range(dev, None, 1, 2)
        yield _quiesce(m, dev)
        m.kernel.failures = {site: nth}
        yield pci_enable_msi_range(dev, 1, 2)
        yield _quiesce(m, dev)


PROGRAMS = [use_msi, use_a_block, use_msix, use_two_devices, use_without_memory]


def _quiesce(m: XenMachine, dev: PciDev) -> bool:
    m.quiesce(dev)
    return dev.msi_enabled or dev.msix_enabled


def _restore(dev: PciDev) -> bool:
    pci_restore_msi_state(dev)
    return dev.msi_enabled or dev.msix_enabled


def _request_all(m: XenMachine, dev: PciDev) -> list[int]:
    return [m.request_irq(irq) for irq in irqs_of(dev)]


def seen(m: XenMachine) -> object:
    """What the two machines must agree on."""
    devs = [
        (dev.id, [(desc.irq, desc.nvec_used) for desc in dev.msi_list], dev.irq)
        for dev in m.root.devices.values()
    ]
    infos = [
        (i.irq, i.type, i.pirq, i.gsi, i.domid, i.flags, i.evtchn, i.cpu, i.mask_reason)
        for i in m.xen.xen_irq_list_head
    ]
    return (
        list(m.hypervisor.log),
        devs,
        infos,
        m.irqs.allocated_irqs,
        dict(m.xen.evtchn_to_irq),
        m.p.pci_seg_supported,
    )


def history(
    kind: XenKind, program: Program, script: Script, *, series: bool, defects: frozenset[Defect]
) -> list[object]:
    m = XenMachine(kind, script, defects=defects, series=series)
    return [(result, seen(m)) for result in program(m)]


def compare(
    kind: XenKind, program: Program, defects: frozenset[Defect]
) -> Callable[[Script], None]:
    def play(script: Script) -> None:
        before = Script(script.answers)
        old = history(kind, program, before, series=False, defects=defects)
        assert history(kind, program, script, series=True, defects=defects) == old
        assert script.asked == before.asked

    return play


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("defects", [frozenset(), AS_MERGED], ids=["fixed", "as merged"])
def test_xb_9_all_answers_to_the_first_requests(
    kind: XenKind, program: Program, defects: frozenset[Defect]
) -> None:
    scripts = list(every_script(compare(kind, program, defects), 4))
    assert len(scripts) > 4


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_xb_9_any_two_refusals_anywhere(kind: XenKind, program: Program) -> None:
    scripts = list(every_script(compare(kind, program, AS_MERGED), 1000, refusals=2))
    assert any(len(script.answers) > 4 for script in scripts)


@pytest.mark.parametrize("kind", BYPASS)
def test_xb_9_the_old_machine_really_takes_the_old_path(kind: XenKind) -> None:
    old, new = XenMachine(kind, series=False), XenMachine(kind)
    for m in (old, new):
        dev = m.device(msix=1)
        assert pci_enable_msix_range(dev, None, 1, 1) == 1
        assert (dev.msi_domain is None) == (m is old)
    assert old.p.msi_ops is None
    assert old.hypervisor.log == new.hypervisor.log


def test_xb_9_the_comparison_notices_a_request_too_many() -> None:
    """The undoing of a failed bind, which the old path lacks if it has the defect."""
    kind, program = XenKind.PV_DOM0, use_without_memory
    old = history(kind, program, Script(), series=False, defects=AS_MERGED)
    fixed = AS_MERGED - {Defect.XEN_LEAK}
    assert history(kind, program, Script(), series=True, defects=AS_MERGED) == old
    assert history(kind, program, Script(), series=True, defects=fixed) != old


# The native functions of before


def native() -> PciMachine:
    """Bare metal before the series."""
    m = PciMachine(arch_fallbacks=True)
    m.pci.pcibios_add_device = None
    m.root.msi = x86_msi_controller(native_x86_msi(m.x86))
    return m


def test_8_5_bare_metal_used_the_default_domain() -> None:
    m = native()
    before = m.counters()
    dev = m.device(msix=2)
    assert dev.msi_domain is None
    assert pci_enable_msix_range(dev, None, 2, 2) == 2
    assert m.irqd(dev.msi_list[0].irq).domain is m.x86.pci_msi_default_domain
    assert m.counters() != before
    pci_free_irq_vectors(dev)
    assert m.counters() == before


def test_8_5_remapping_was_asked_at_each_allocation() -> None:
    m = native()
    domain = block_domain(m)
    asked: list[IrqAllocInfo] = []

    def lookup(info: IrqAllocInfo) -> IrqDomain | None:
        asked.append(info)
        return domain

    m.x86.init.irq_remapping_get_irq_domain = lookup
    dev = m.device(msi=MsiCap(2))
    assert pci_enable_msi_range(dev, 4, 4) == 4
    assert [info.desc for info in asked] == dev.msi_list
    assert m.irqd(dev.irq).domain is domain


def test_8_5_10_5_without_any_domain_there_was_enosys() -> None:
    m = native()
    m.x86.pci_msi_default_domain = None
    assert pci_enable_msix_range(m.device(msix=1), None, 1, 1) == -errno.ENOSYS
