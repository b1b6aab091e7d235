# SPDX-License-Identifier: GPL-2.0-only
"""Messages of native PCI MSI, and moves of devices that cannot be masked."""

import errno
from dataclasses import replace

import pytest

from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
)
from impl.arch.x86.irq_vectors import VECTOR_RETRIGGERED, ApicMode
from impl.arch.x86.msi import msi_set_affinity, native_create_pci_msi_domain, pci_msi_prepare
from impl.arch.x86.vector import HwIrqCfg
from impl.arch.x86.vector_domain import irq_msi_compose_msg
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import pci_enable_msi_range, pci_enable_msix_range, pci_irq_vector
from impl.drivers.pci.pci import PciDev, pci_signal
from impl.kernel.irq.chip import irq_chip_compose_msi_msg
from impl.kernel.irq.irq import (
    IRQ_SET_MASK_OK,
    IRQ_SET_MASK_OK_DONE,
    IRQD_MSI_NOMASK_QUIRK,
    IrqData,
    MsiMsg,
    irq_data_get_irq_chip,
)
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs
from impl.kernel.kernel import KernelBug
from impl.trace import Event
from tests.impl.pci_support import CapturedWrites, PciMachine
from tests.impl.support import events_of, mask, names


def native(m: PciMachine, cap: MsiCap) -> tuple[PciDev, int]:
    """A device with one requested MSI."""
    dev = m.device(msi=cap)
    assert pci_enable_msi_range(dev, 1, 1) == 1
    assert m.request_irq(dev.irq) == 0
    return dev, dev.irq


def about_to_move(
    *, maskbit: bool = False, apic: ApicMode | None = None, is_64: bool = True
) -> tuple[PciMachine, PciDev, int, tuple[int, int]]:
    """A started MSI on CPU 1 whose move to CPU 0 is pending; its (destination, vector).

    CPU 0 has the vector's number in use, so that the vector must change too.
    """
    m = PciMachine(apic=apic)
    dev, irq = native(m, MsiCap(maskbit=maskbit, is_64=is_64))
    apicd = m.vector_level(irq)
    assert apicd.cpu == 1
    assert m.alloc_irqs(1, mask=mask(0)) > 0
    assert m.vectors.vector_irq[0][apicd.vector] > 0
    cfg = apicd.hw_irq_cfg
    assert m.set_affinity(irq, mask(0)) == 0
    return m, dev, irq, (cfg.dest_apicid, cfg.vector)


@pytest.mark.parametrize(
    ("apic", "dest", "expected"),
    [
        (ApicMode.FLAT, 1, MsiMsg(0xFEE01004, 0, 0x4031)),
        (ApicMode.PHYSICAL, 9, MsiMsg(0xFEE09000, 0, 0x4031)),
        (ApicMode.X2APIC_CLUSTER, 0x20004, MsiMsg(0xFEE04004, 0x20000, 0x4031)),
    ],
)
def test_apic_1_a_message_depends_on_the_target_only(
    apic: ApicMode, dest: int, expected: MsiMsg
) -> None:
    m = PciMachine(apic=apic)
    assert irq_msi_compose_msg(m.vectors, HwIrqCfg(dest, 0x31)) == expected


@pytest.mark.parametrize("apic", list(ApicMode))
def test_apic_1_below_256_no_two_targets_share_a_message(apic: ApicMode) -> None:
    v = PciMachine(apic=apic).vectors
    messages = {
        irq_msi_compose_msg(v, HwIrqCfg(dest, vector))
        for dest in range(0, 256, 5)
        for vector in range(0x20, 0xF0)
    }
    assert len(messages) == 52 * (0xF0 - 0x20)


@pytest.mark.parametrize("n5", [False, True])
def test_apic_2_without_remapping_both_rules_compose_the_same(n5: bool) -> None:
    m = PciMachine(defects=(Defect.N5,) if n5 else ())
    dev, irq = native(m, MsiCap())
    cfg = m.vector_level(irq).hw_irq_cfg
    composed = irq_msi_compose_msg(m.vectors, cfg)
    assert irq_chip_compose_msi_msg(m.irqd(irq)) == (0, composed)
    assert dev.msi_cap is not None and dev.msi_cap.message == composed


def test_apic_4_the_quirk_is_for_devices_that_cannot_be_masked() -> None:
    m = PciMachine()
    _, plain = native(m, MsiCap())
    _, maskable = native(m, MsiCap(maskbit=True))
    msix = m.device(msix=1)
    assert pci_enable_msix_range(msix, None, 1, 1) == 1
    bits = [
        m.irqd(irq).test(IRQD_MSI_NOMASK_QUIRK)
        for irq in (plain, maskable, pci_irq_vector(msix, 0))
    ]
    assert bits == [True, False, False]
    assert m.free_irq(plain) == 0
    assert m.irqd(plain).test(IRQD_MSI_NOMASK_QUIRK)


@pytest.mark.parametrize("is_64", [True, False])
def test_apic_q_a_device_that_cannot_be_masked_never_names_a_pair_without_an_owner(
    is_64: bool,
) -> None:
    m, dev, irq, (d0, v0) = about_to_move(is_64=is_64)
    writes = CapturedWrites(m, dev)
    assert m.fire(irq)
    writes.stop()
    cfg = m.vector_level(irq).hw_irq_cfg
    d1, v1 = cfg.dest_apicid, cfg.vector
    assert d0 != d1 and v0 != v1
    ordered = list(dict.fromkeys(writes.seen))
    assert ordered == [(d0, v0), (d0, v1), (d1, v1)]


def test_apic_q_a_maskable_device_passes_through_such_a_pair() -> None:
    m, dev, irq, (d0, v0) = about_to_move(maskbit=True)
    writes = CapturedWrites(m, dev)
    assert m.fire(irq)
    cfg = m.vector_level(irq).hw_irq_cfg
    assert (cfg.dest_apicid, v0) in writes.seen
    assert (d0, cfg.vector) not in writes.seen


def test_apic_q_what_arrives_in_between_is_raised_again() -> None:
    m, dev, irq, (d0, _v0) = about_to_move()
    assert dev.msi_cap is not None

    def fire_in_between(event: Event) -> None:
        """The device signals whenever its message was written; CPU 1 latches what reaches it."""
        if event.name == "pci_write_msi_msg":
            message = pci_signal(dev, 0)
            if message is not None and m.target(message)[0] == d0:
                m.x86.lapic_irr.add((1, m.target(message)[1]))

    m.trace.subscribe(fire_in_between)
    events = events_of(m, lambda: m.fire(irq))
    new = m.vector_level(irq).vector
    raised = [event for event in events if event.name == "apic_retrigger_irq"]
    assert [(event.fields["cpu"], event.fields["vector"]) for event in raised] == [(0, new)]
    assert (1, new) in m.x86.lapic_irr
    assert m.vectors.vector_irq[1][new] == VECTOR_RETRIGGERED
    assert m.fire_vector(1, new) is False
    assert m.fire_vector(0, new) is True


def test_apic_q_nothing_is_raised_if_nothing_arrived() -> None:
    m, _dev, irq, _ = about_to_move()
    events = names(events_of(m, lambda: m.fire(irq)), locks=True)
    assert "apic_retrigger_irq" not in events
    begin = events.index("msi_forgive_vector")
    assert events[begin - 1] == "vector_lock"
    assert events[begin + 1 : begin + 4] == [
        "pci_write_config",
        "pci_write_config",
        "pci_write_config",
    ]


def test_a_slot_with_an_owner_is_left_alone() -> None:
    m, _dev, irq, _ = about_to_move()
    taken = m.alloc_irqs(1, mask=mask(1))
    events = events_of(m, lambda: m.fire(irq))
    new = m.vector_level(irq).vector
    assert new == m.vector_level(taken).vector
    assert m.vectors.vector_irq[1][new] == taken
    assert "msi_forgive_vector" not in names(events)


@pytest.mark.parametrize(
    ("old", "new", "answer", "messages"),
    [
        ((2, 0x31), (1, 0x41), IRQ_SET_MASK_OK, [(2, 0x41), (1, 0x41)]),
        ((2, 0x31), (1, 0x31), IRQ_SET_MASK_OK, [(1, 0x31)]),
        ((2, 0x31), (2, 0x41), IRQ_SET_MASK_OK, [(2, 0x41)]),
        ((2, 0xEF), (1, 0x41), IRQ_SET_MASK_OK, [(1, 0x41)]),
        ((2, 0x31), (1, 0x41), IRQ_SET_MASK_OK_DONE, []),
        ((2, 0x31), (1, 0x41), -errno.EBUSY, []),
    ],
)
def test_apic_q_the_detour_is_made_only_where_the_message_can_tear(
    old: tuple[int, int], new: tuple[int, int], answer: int, messages: list[tuple[int, int]]
) -> None:
    m = PciMachine()
    _, irq = native(m, MsiCap())
    irqd, cfg = m.irqd(irq), m.vector_level(irq).hw_irq_cfg
    parent = irqd.parent_data
    assert parent is not None
    cfg.dest_apicid, cfg.vector = old
    m.kernel.this_cpu = 1

    def move(irqd: IrqData, mask: int, force: bool) -> int:
        cfg.dest_apicid, cfg.vector = new
        return answer

    parent.chip = replace(irq_data_get_irq_chip(parent), irq_set_affinity=move)
    results: list[int] = []
    events = events_of(m, lambda: results.append(msi_set_affinity(m.x86, irqd, mask(0), False)))
    written = [
        MsiMsg(*(event.fields[part] for part in MsiMsg._fields))
        for event in events
        if event.name == "pci_write_msi_msg"
    ]
    assert results == [answer]
    assert [m.target(message) for message in written] == messages
    assert "WARN" not in names(events)


def test_apic_5_a_move_from_another_cpu_warns_and_writes_directly() -> None:
    m, dev, irq, (d0, v0) = about_to_move()
    m.kernel.this_cpu = 0
    writes = CapturedWrites(m, dev)
    events = events_of(m, lambda: msi_set_affinity(m.x86, m.irqd(irq), mask(0), False))
    cfg = m.vector_level(irq).hw_irq_cfg
    assert names(events).count("WARN") == 1
    assert (cfg.dest_apicid, v0) in writes.seen
    assert (d0, cfg.vector) not in writes.seen


def test_a_move_that_the_parent_refuses_writes_nothing() -> None:
    m = PciMachine()
    dev = m.device(msix=1)
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    irqd = m.irqd(pci_irq_vector(dev, 0))
    results: list[int] = []
    events = events_of(m, lambda: results.append(msi_set_affinity(m.x86, irqd, mask(0), False)))
    assert results == [-errno.EIO]
    assert "pci_write_msi_msg" not in names(events)


def test_a_level_without_a_parent_cannot_move() -> None:
    m = PciMachine()
    irq = m.alloc_irqs(1)
    with pytest.raises(KernelBug, match="no parent"):
        msi_set_affinity(m.x86, m.irqd(irq), mask(0), False)


def test_apic_6_the_vector_domain_refuses_blocks_itself() -> None:
    m = PciMachine()
    before = m.footprint()
    info = IrqAllocInfo(
        type=X86_IRQ_ALLOC_TYPE.PCI_MSI, flags=X86_IRQ_ALLOC_CONTIGUOUS_VECTORS, hwirq=1
    )
    domain = m.x86.pci_msi_default_domain
    assert irq_domain_alloc_irqs(m.domains, domain, -1, 2, 0, info) == -errno.ENOSYS
    assert m.footprint() == before


def test_the_argument_of_an_allocation() -> None:
    m = PciMachine()
    dev, _ = native(m, MsiCap())
    domain = dev.msi_domain
    assert domain is not None
    arg = IrqAllocInfo(flags=8, hwirq=5, mask=1)
    assert pci_msi_prepare(domain, dev, 1, arg) == 0
    assert (arg.type, arg.flags, arg.hwirq, arg.mask) == (
        X86_IRQ_ALLOC_TYPE.PCI_MSI,
        X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
        0,
        None,
    )
    msix = m.device(msix=1)
    assert pci_enable_msix_range(msix, None, 1, 1) == 1
    assert pci_msi_prepare(domain, msix, 1, arg) == 0
    assert (arg.type, arg.flags) == (X86_IRQ_ALLOC_TYPE.PCI_MSIX, 0)


def test_the_chip_forwards_what_is_not_its_own() -> None:
    m = PciMachine()
    _, irq = native(m, MsiCap())
    chip = irq_data_get_irq_chip(m.irqd(irq))
    assert chip.name == "PCI-MSI"
    assert chip.irq_compose_msi_msg is None and chip.irq_set_vcpu_affinity is None

    def retrigger(irqd: IrqData) -> None:
        assert chip.irq_retrigger is not None and chip.irq_retrigger(irqd) == 1

    events = events_of(m, lambda: retrigger(m.irqd(irq)))
    assert "apic_retrigger_irq" in names(events)


@pytest.mark.parametrize("site", ["irq_domain_alloc_fwnode", "irq_domain_add"])
def test_without_memory_there_is_no_second_domain(site: str) -> None:
    m = PciMachine()
    domains, fwnodes = list(m.domains.irq_domain_list), set(m.domains.fwnodes)
    m.fail_next(site)
    assert native_create_pci_msi_domain(m.x86) is None
    assert m.domains.irq_domain_list == domains
    assert m.domains.fwnodes == fwnodes
