# SPDX-License-Identifier: GPL-2.0-only
"""The bypass: devices of a Xen guest use no vector, and nothing of the native hierarchy runs."""

import errno
from collections.abc import Callable

import pytest

from impl.arch.x86.xen import XenKind
from impl.defects import Defect
from impl.drivers.base.device_msi import pci_subdevice_msi_create_irq_domain
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import pci_enable_msi_range, pci_enable_msix_range
from impl.drivers.pci.msi_access import pci_restore_msi_state
from impl.drivers.pci.msi_regs import PCI_MSIX_ENTRY_VECTOR_CTRL
from impl.drivers.pci.pci import PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX, PciDev
from impl.drivers.xen.hypervisor import Answer, Request
from impl.kernel.device import Device
from impl.kernel.irq.chip import irq_chip_compose_msi_msg
from impl.kernel.irq.irq import IrqChip
from impl.kernel.irq.msi import MsiDomainInfo, MsiDomainOps
from impl.kernel.irq.msi_desc import alloc_msi_entry
from impl.trace import Event
from tests.impl.pci_support import block_domain
from tests.impl.support import events_of, names
from tests.impl.xen_support import (
    BYPASS,
    NATIVE_LIKE,
    SETUP,
    Script,
    XenMachine,
    every_script,
    irqs_of,
)

DISPATCH = {"alloc_msi_entry", "free_msi_entry", "msi_domain_alloc_irqs", "msi_domain_free_irqs"}
"""What the MSI core does itself before and after an override."""
NATIVE = {"irq_vectors", "irq_matrix", "search", "lock", "irqdomain"}
DESCRIPTORS = {"irq_alloc_descs", "irq_free_descs"}
Use = Callable[[XenMachine, PciDev], None]


def one_msi(m: XenMachine, dev: PciDev) -> None:
    pci_enable_msi_range(dev, 1, 1)
    m.quiesce(dev)


def a_block(m: XenMachine, dev: PciDev) -> None:
    pci_enable_msi_range(dev, 1, 4)
    m.quiesce(dev)


def an_msix(m: XenMachine, dev: PciDev) -> None:
    pci_enable_msix_range(dev, None, 1, 3)
    m.quiesce(dev)


USES = [one_msi, a_block, an_msix]


def native_events(events: list[Event]) -> set[str]:
    """What of the native path shows."""
    return {
        event.name
        for event in events
        if event.system in NATIVE
        or (event.system == "msi" and event.name not in DISPATCH)
        or (event.system == "irq" and event.name not in DESCRIPTORS)
    }


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("use", USES)
def test_xb_6_xb_7_nothing_native_runs_and_nothing_native_changes(kind: XenKind, use: Use) -> None:
    """On success, on failure, and when another number is asked for."""
    played = 0

    def play(script: Script) -> None:
        m = XenMachine(kind, script)
        dev = m.device(msi=MsiCap(2), msix=3)
        frame = m.frame()
        assert native_events(events_of(m, lambda: use(m, dev))) == set()
        assert m.frame() == frame
        assert (m.live(), dev.msi_list) == ([], [])

    for script in every_script(play, 4):
        played += bool(script.asked)
    assert played > 1


@pytest.mark.parametrize("kind", NATIVE_LIKE)
@pytest.mark.parametrize("use", USES)
def test_xb_6_the_native_path_shows_where_it_is_meant_to_run(kind: XenKind, use: Use) -> None:
    m = XenMachine(kind)
    dev = m.device(msi=MsiCap(2), msix=3)
    shown = native_events(events_of(m, lambda: use(m, dev)))
    assert shown >= {
        "irq_domain_activate_irq",
        "irq_domain_set_mapping",
        "irq_matrix_reserve",
        "irq_set_msi_desc_off",
        "msi_domain_prepare_irqs",
        "vector_activate",
    }


@pytest.mark.parametrize("kind", BYPASS)
def test_xb_7_xens_domain_maps_nothing_ever(kind: XenKind) -> None:
    m = XenMachine(kind)
    domain = m.x86.pci_msi_default_domain
    assert domain is not None
    dev = m.device(msix=3)
    assert pci_enable_msix_range(dev, None, 3, 3) == 3
    for irq in irqs_of(dev):
        assert m.request_irq(irq) == 0
    assert (domain.mapcount, domain.revmap_tree, domain.linear_revmap) == (0, {}, [])


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("site", ["alloc_desc", "set_evtchn_to_irq", "alloc_msi_entry"])
def test_xb_7_no_memory_changes_nothing_native_either(kind: XenKind, site: str) -> None:
    m = XenMachine(kind)
    dev = m.device(msix=3)
    frame = m.frame()
    m.fail_next(site, 2)
    assert pci_enable_msix_range(dev, None, 3, 3) < 0
    assert (m.frame(), m.live()) == (frame, [])


@pytest.mark.parametrize("kind", BYPASS)
def test_18_3_native_neighbours_do_not_notice(kind: XenKind) -> None:
    """A device behind a bus with a domain of its own is served as if the others were not there."""

    def native(m: XenMachine) -> tuple[int, object]:
        bus = m.bus(0, segment=0x10000)
        bus.msi_domain = block_domain(m)
        dev = m.device(msi=MsiCap(2), bus=bus)
        ret = pci_enable_msi_range(dev, 4, 4)
        return ret, m.counters()

    alone, beside = XenMachine(kind), XenMachine(kind)
    dev = beside.device(msix=2)
    assert pci_enable_msix_range(dev, None, 2, 2) == 2
    assert native(alone) == native(beside)
    beside.quiesce(dev)
    assert alone.counters() == beside.counters()


@pytest.mark.parametrize("kind", BYPASS)
def test_xb_8_a_device_that_is_not_pci_is_refused_with_one_warning(kind: XenKind) -> None:
    m = XenMachine(kind)
    domain = m.x86.pci_msi_default_domain
    assert domain is not None
    dev = Device(77, "platform")
    desc = alloc_msi_entry(m.kernel, dev, 1, None)
    assert desc is not None
    dev.msi_list.append(desc)
    ops: MsiDomainOps = domain.host_data.ops
    alloc, free = ops.domain_alloc_irqs, ops.domain_free_irqs
    assert alloc is not None and free is not None
    seen = events_of(m, lambda: [alloc(domain, dev, 1), alloc(domain, dev, 1), free(domain, dev)])
    assert names(seen) == ["WARN", "WARN"]
    assert alloc(domain, dev, 1) == -errno.EINVAL
    assert (desc.irq, m.hypervisor.log, m.live()) == (0, [], [])


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("msix", [False, True])
def test_xb_8_the_setup_sees_the_kind_that_the_pci_core_means(kind: XenKind, msix: bool) -> None:
    m = XenMachine(kind)
    dev = m.device(msi=MsiCap(), msix=1)

    def enable() -> None:
        if msix:
            assert pci_enable_msix_range(dev, None, 1, 1) == 1
        else:
            assert pci_enable_msi_range(dev, 1, 1) == 1

    (setup,) = [event for event in events_of(m, enable) if event.name == SETUP[kind]]
    assert setup.fields == {"device": dev.id, "nvec": 1, "msix": int(msix), "ret": 0}


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("f13", [False, True])
def test_f13_xb_10_the_pci_layer_masks_nothing(kind: XenKind, f13: bool) -> None:
    m = XenMachine(kind, defects={Defect.F13} if f13 else ())
    dev = m.device(msi=MsiCap(2, maskbit=True), msix=2)

    def use() -> None:
        for enable in (pci_enable_msi_range, _enable_msix):
            assert enable(dev, 1, 1) == 1
            for irq in irqs_of(dev):
                assert m.request_irq(irq) == 0
                assert m.disable_irq(irq) == 0
                assert m.enable_irq(irq) == 0
            pci_restore_msi_state(dev)
            m.quiesce(dev)

    masks = [event for event in events_of(m, use) if _writes_mask(dev, event)]
    assert bool(masks) == (f13 and kind is XenKind.HVM_PIRQ)


def _enable_msix(dev: PciDev, minvec: int, maxvec: int) -> int:
    return pci_enable_msix_range(dev, None, minvec, maxvec)


def _writes_mask(dev: PciDev, event: Event) -> bool:
    assert dev.msi_cap is not None
    if event.name == "writel":
        return event.fields["offset"] == PCI_MSIX_ENTRY_VECTOR_CTRL
    return event.name == "pci_write_config" and (event.fields["part"], event.fields["offset"]) == (
        PCI_CAP_ID_MSI,
        dev.msi_cap.mask_offset,
    )


@pytest.mark.parametrize("kind", BYPASS)
def test_xb_10_trap_47_the_switch_is_global_and_silences_vmd_children_too(kind: XenKind) -> None:
    """v5.10 has no switch of a domain, so XB-10' does not hold: these children could be masked."""
    m = XenMachine(kind)
    bus = m.bus(0, segment=0x10000)
    bus.msi_domain = block_domain(m)
    child = m.device(msi=MsiCap(2, maskbit=True), bus=bus)
    events = events_of(m, lambda: pci_enable_msi_range(child, 4, 4))
    assert child.msi_enabled and m.live() == []
    assert not any(_writes_mask(child, event) for event in events)


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("use", USES)
def test_xb_13_fb_1_the_fallback_is_never_reached(kind: XenKind, use: Use) -> None:
    def play(script: Script) -> None:
        m = XenMachine(kind, script)
        use(m, m.device(msi=MsiCap(2), msix=3))
        assert m.pci.warned == set()

    assert sum(1 for _ in every_script(play, 3)) > 1


@pytest.mark.parametrize("kind", BYPASS)
def test_fb_3_the_operations_are_there_before_any_device_is(kind: XenKind) -> None:
    m = XenMachine(kind)
    assert m.p.msi_ops is not None
    assert m.root.devices == {}


@pytest.mark.parametrize("kind", BYPASS)
def test_xb_15_no_subdevice_domain_stands_on_xens(kind: XenKind) -> None:
    m = XenMachine(kind)
    dev = m.device(msix=1)
    assert pci_subdevice_msi_create_irq_domain(dev, _subdevice_info()) is None


@pytest.mark.parametrize("kind", BYPASS)
def test_dev_d5_xb_15_as_posted_its_interrupts_have_nobody_to_compose(kind: XenKind) -> None:
    m = XenMachine(kind, defects={Defect.DEV_D5})
    dev = m.device(msix=1)
    domain = pci_subdevice_msi_create_irq_domain(dev, _subdevice_info())
    assert domain is not None and domain.parent is None
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    ret, _ = irq_chip_compose_msi_msg(m.irqd(dev.msi_list[0].irq))
    assert ret == -errno.ENOSYS


def _subdevice_info() -> MsiDomainInfo:
    chip = IrqChip(
        "SUBDEVICE",
        irq_mask=lambda irqd: None,
        irq_unmask=lambda irqd: None,
        irq_write_msi_msg=lambda irqd, msg: None,
    )
    return MsiDomainInfo(chip=chip)


@pytest.mark.parametrize("kind", BYPASS)
def test_trap_1_positive_results_pass_unchanged(kind: XenKind) -> None:
    m = XenMachine(kind, _no_block)
    dev = m.device(msi=MsiCap(2))
    assert dev.msi_domain is not None
    desc = alloc_msi_entry(m.kernel, dev, 4, None)
    assert desc is not None
    dev.msi_list.append(desc)
    assert dev.msi_domain.host_data.ops.domain_alloc_irqs(dev.msi_domain, dev, 4) == 1
    assert (desc.irq, m.live()) == (0, [])


def _no_block(request: Request) -> Answer:
    return Answer(-errno.EPERM) if request.op == "physdev_map_pirq" else Answer()


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("msix", [PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX])
def test_sel_4_the_pointer_stays_while_msi_is_on(kind: XenKind, msix: int) -> None:
    m = XenMachine(kind)
    dev = m.device(msi=MsiCap(), msix=1)
    domain = dev.msi_domain
    enable = _enable_msix if msix == PCI_CAP_ID_MSIX else pci_enable_msi_range
    assert enable(dev, 1, 1) == 1
    assert m.request_irq(irqs_of(dev)[0]) == 0
    assert dev.msi_domain is domain is m.x86.pci_msi_default_domain
    m.quiesce(dev)
    assert dev.msi_domain is domain
