# SPDX-License-Identifier: GPL-2.0-only
"""Plain MSI: entry points, the register block, shutdown and restore."""

import errno

import pytest

from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    PCI_IRQ_AFFINITY,
    PCI_IRQ_ALL_TYPES,
    PCI_IRQ_LEGACY,
    PCI_IRQ_MSI,
    pci_alloc_irq_vectors_affinity,
    pci_disable_msi,
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_free_irq_vectors,
    pci_irq_vector,
    pci_msi_vec_count,
)
from impl.drivers.pci.msi_access import pci_restore_msi_state, pci_write_msi_msg
from impl.drivers.pci.msi_domain import (
    pci_msi_create_irq_domain,
    pci_msi_domain_calc_hwirq,
    pci_msi_domain_check_cap,
    pci_msi_domain_get_msi_rid,
)
from impl.drivers.pci.msi_fallbacks import MsiController
from impl.drivers.pci.pci import (
    PciBus,
    PciDev,
    PciPower,
    pci_set_power_state,
    pci_signal,
)
from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.irq.chip import irq_chip_ack_parent
from impl.kernel.irq.irq import IrqChip, IrqDomain, IrqDomainOps, MsiMsg
from impl.kernel.irq.irqdomain import irq_domain_create_tree
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_set_info
from impl.kernel.irq.msi import (
    MSI_FLAG_ACTIVATE_EARLY,
    MSI_FLAG_LEVEL_CAPABLE,
    MSI_FLAG_MULTI_PCI_MSI,
    MSI_FLAG_MUST_REACTIVATE,
    MSI_FLAG_PCI_MSIX,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDesc,
    MsiDomainInfo,
)
from impl.kernel.kernel import KernelBug
from tests.impl.pci_support import PciMachine
from tests.impl.support import events_of, names

ZERO = MsiMsg()


class Remapper:
    """A parent that gives blocks of consecutive irqs, as a remapping unit does, and composes."""

    def __init__(self, m: PciMachine) -> None:
        self.m = m
        self.chip = IrqChip(
            "TEST-IR",
            irq_ack=lambda irqd: None,
            irq_set_affinity=lambda irqd, mask, force: 2,
            irq_compose_msi_msg=lambda irqd: MsiMsg(0xFEE00018, 0, irqd.hwirq & 0xFF),
        )
        ops = IrqDomainOps(alloc=self._alloc, free=lambda domain, virq, n: None)
        self.domain = irq_domain_create_tree(m.domains, None, ops)
        assert self.domain is not None

    def _alloc(self, domain: IrqDomain, virq: int, n: int, arg: object) -> int:
        for irq in range(virq, virq + n):
            irq_domain_set_info(self.m.domains, domain, irq, irq, self.chip, None, "edge", None)
        return 0


def block_domain(m: PciMachine, *flags: int) -> IrqDomain:
    """A PCI/MSI domain that can give blocks."""
    info = MsiDomainInfo(
        flags=MSI_FLAG_USE_DEF_DOM_OPS
        | MSI_FLAG_USE_DEF_CHIP_OPS
        | MSI_FLAG_MULTI_PCI_MSI
        | MSI_FLAG_PCI_MSIX
        | sum(flags),
        chip=IrqChip("TEST-PCI-MSI", irq_ack=irq_chip_ack_parent),
    )
    domain = pci_msi_create_irq_domain(m.domains, None, info, Remapper(m).domain)
    assert domain is not None
    return domain


def with_block(
    m: PciMachine, nvec: int, *, maskbit: bool = True, is_64: bool = True
) -> tuple[PciDev, MsiCap]:
    """A device with `nvec` MSI vectors of such a domain."""
    cap = MsiCap(5, maskbit=maskbit, is_64=is_64)
    dev = m.device(msi=cap)
    dev.msi_domain = block_domain(m)
    assert pci_enable_msi_range(dev, nvec, nvec) == nvec
    return dev, cap


def test_pci_1_msi_and_msi_x_exclude_each_other() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap(), msix=2)
    assert pci_enable_msi_range(dev, 1, 1) == 1
    assert pci_enable_msix_range(dev, None, 1, 2) == -errno.EINVAL
    assert (dev.msi_enabled, dev.msix_enabled) == (True, False)
    pci_disable_msi(dev)
    assert pci_enable_msix_range(dev, None, 1, 2) == 2
    assert pci_enable_msi_range(dev, 1, 1) == -errno.EINVAL
    assert (dev.msi_enabled, dev.msix_enabled) == (False, True)


@pytest.mark.parametrize("nvec", [1, 3, 8, 32])
def test_pci_2_an_enabled_device_has_one_descriptor_with_a_block_of_irqs(nvec: int) -> None:
    dev, cap = with_block(PciMachine(), nvec)
    (desc,) = dev.msi_list
    assert not desc.msi_attrib.is_msix
    assert (desc.nvec_used, dev.irq) == (nvec, desc.irq)
    assert desc.msi_attrib.multiple == (nvec - 1).bit_length() <= cap.multi_cap
    assert cap.control >> 4 & 7 == desc.msi_attrib.multiple
    assert dev.msi_irq_groups == tuple(range(desc.irq, desc.irq + nvec))
    assert not dev.intx_on


def test_pci_2_disabling_returns_to_intx() -> None:
    m = PciMachine()
    before = m.footprint()
    dev = m.device(msi=MsiCap(), irq=9)
    assert pci_enable_msi_range(dev, 1, 1) == 1
    assert dev.irq != 9
    pci_disable_msi(dev)
    pci_disable_msi(dev)
    assert (dev.irq, dev.intx_on, dev.msi_enabled, dev.msi_list) == (9, True, False, [])
    assert m.footprint() == before


@pytest.mark.parametrize("widened", [True, False])
def test_n12_pci_4_devices_of_congruent_segments_collide_only_in_32_bits(widened: bool) -> None:
    m = PciMachine(defects=() if widened else (Defect.N12,))
    first = m.device(msix=1, bus=m.bus(1, segment=1), devfn=0)
    second = m.device(msix=1, bus=m.bus(1, segment=33), devfn=0)
    assert pci_enable_msix_range(first, None, 1, 1) == 1
    assert pci_enable_msix_range(second, None, 1, 1) == (1 if widened else -errno.ENOSPC)
    assert m.irqd(pci_irq_vector(first, 0)).hwirq == 1 << 27 | 0x100 << 11


def test_pci_4_an_unsigned_long_of_32_bits_keeps_five_bits_of_the_segment() -> None:
    m = PciMachine(irq_hw_number_bits=32)
    dev = m.device(msix=1, bus=m.bus(2, segment=0x21), devfn=8)
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    assert pci_msi_domain_calc_hwirq(dev.msi_list[0]) == 1 << 27 | 0x208 << 11


def test_pci_5_a_block_is_asked_for_twice_at_most() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap(5))
    events = names(events_of(m.vector_machine, lambda: pci_enable_msi_range(dev, 1, 32)))
    assert events.count("alloc_msi_entry") == 2
    assert dev.msi_list[0].nvec_used == 1


@pytest.mark.parametrize("maskbit", [True, False])
@pytest.mark.parametrize(
    ("site", "nth", "ret"),
    [
        ("alloc_msi_entry", 1, -errno.ENOMEM),
        ("alloc_desc", 1, -errno.ENOSPC),
        ("irq_domain_insert_irq_data", 1, -errno.ENOSPC),
        ("alloc_apic_chip_data", 1, -errno.ENOSPC),
        ("populate_msi_sysfs", 1, -errno.ENOMEM),
    ],
)
def test_pci_6_a_failed_attempt_leaves_nothing(
    maskbit: bool, site: str, nth: int, ret: int
) -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap(0, maskbit=maskbit), irq=5)
    before = m.footprint()
    m.vector_machine.fail_next(site, nth)
    assert pci_enable_msi_range(dev, 1, 1) == ret
    assert (dev.msi_list, dev.msi_enabled, dev.irq, dev.intx_on) == ([], False, 5, True)
    assert dev.msi_cap is not None and not dev.msi_cap.control & 1
    assert dev.msi_irq_groups == ()
    assert m.footprint() == before
    assert pci_enable_msi_range(dev, 1, 1) == 1


def test_pci_6_a_message_above_4_gib_is_refused_by_a_32_bit_device() -> None:
    m = PciMachine()
    domain = block_domain(m)
    assert domain.parent is not None
    dev = m.device(msi=MsiCap(is_64=False), no_64bit_msi=True)
    dev.msi_domain = domain
    original = MsiMsg(0xFEE00000, 1, 0x31)
    info: MsiDomainInfo = domain.host_data
    assert info.ops is not None
    parent_chip = IrqChip(
        "HIGH", irq_compose_msi_msg=lambda irqd: original, irq_ack=lambda irqd: None
    )

    def alloc(d: IrqDomain, virq: int, n: int, arg: object) -> int:
        irq_domain_set_info(m.domains, d, virq, virq, parent_chip, None, "edge", None)
        return 0

    domain.parent.ops = IrqDomainOps(alloc=alloc, free=lambda d, virq, n: None)
    before = m.footprint()
    assert pci_enable_msi_range(dev, 1, 1) == -errno.EIO
    assert dev.msi_list == []
    assert m.footprint() == before


def test_pci_7_the_cache_is_the_mask_register_until_the_shutdown() -> None:
    m = PciMachine()
    dev, cap = with_block(m, 4)
    desc = dev.msi_list[0]
    assert desc.masked == cap.mask_bits == 0xFFFFFFFF
    irq = pci_irq_vector(dev, 2)
    assert m.request(irq) == 0
    assert desc.masked == cap.mask_bits == 0xFFFFFFFB
    assert m.free(irq) == 0
    assert desc.masked == cap.mask_bits == 0xFFFFFFFF
    events = events_of(m.vector_machine, lambda: pci_disable_msi(dev))
    assert cap.mask_bits == 0
    assert [e.fields["mask"] for e in events if e.name == "pci_msi_mask_irq"] == []


def test_trap_31_ignoring_masks_writes_none_and_empties_the_cache() -> None:
    m = PciMachine()
    m.kernel.pci_msi_ignore_mask = True
    cap = MsiCap(2, maskbit=True)
    dev = m.device(msi=cap)
    assert pci_enable_msi_range(dev, 1, 1) == 1
    assert (dev.msi_list[0].masked, cap.mask_bits) == (0, 0)
    assert cap.mask_offset not in cap.registers


def test_pci_8_restoring_writes_messages_and_masks_again() -> None:
    m = PciMachine()
    dev, cap = with_block(m, 4)
    assert m.request(pci_irq_vector(dev, 1)) == 0
    held = dict(cap.registers)
    pci_set_power_state(dev, PciPower.D3HOT)
    pci_set_power_state(dev, PciPower.D0)
    assert (cap.message, dev.intx_on) == (ZERO, True)
    pci_restore_msi_state(dev)
    assert (cap.registers, dev.intx_on) == (held, False)


@pytest.mark.parametrize("gone", [True, False])
def test_pci_8_an_unreachable_device_changes_the_cache_only(gone: bool) -> None:
    m = PciMachine()
    dev, cap = with_block(m, 1)
    desc, held, message = dev.msi_list[0], dict(cap.registers), MsiMsg(0xFEE00000, 0, 0x77)
    if gone:
        dev.disconnected = True
    else:
        pci_set_power_state(dev, PciPower.D1)
    events = events_of(m.vector_machine, lambda: pci_write_msi_msg(desc, message))
    assert [event.fields["reached"] for event in events] == [0]
    assert (desc.msg, cap.registers) == (message, held)
    dev.disconnected = False
    pci_set_power_state(dev, PciPower.D0)
    pci_restore_msi_state(dev)
    assert cap.message == message


def test_a_device_without_msi_restores_nothing() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap(), msix=1)
    assert names(events_of(m.vector_machine, lambda: pci_restore_msi_state(dev))) == [
        "pci_restore_msi_state"
    ]


def test_pci_9_without_a_domain_x86_answers_enodev_and_warns_once() -> None:
    m = PciMachine(disable_apic=True)
    assert m.x86.pci_msi_default_domain is None
    dev = m.device(msi=MsiCap())
    events = names(events_of(m.vector_machine, lambda: pci_enable_msi_range(dev, 1, 1)))
    assert events.count("WARN") == 2  # one for the set-up, one for the teardown
    assert pci_enable_msi_range(dev, 1, 1) == -errno.ENODEV
    assert (
        names(events_of(m.vector_machine, lambda: pci_enable_msi_range(dev, 1, 1))).count("WARN")
        == 0
    )
    assert dev.msi_list == []


class Controller:
    """An MSI controller that takes irq numbers from 100 on."""

    def __init__(self, ret: int = 0) -> None:
        self.ret = ret
        self.next = 100
        self.freed: list[int] = []
        self.msi = MsiController(setup_irq=self._setup, teardown_irq=self.freed.append)

    def _setup(self, dev: PciDev, desc: MsiDesc) -> int:
        if self.ret == 0:
            desc.irq = self.next
            self.next += 1
        return self.ret


@pytest.mark.parametrize("stale", [False, True])
def test_n4_the_fallbacks_work_where_selected_unless_the_symbol_is_stale(stale: bool) -> None:
    m = PciMachine(disable_apic=True, arch_fallbacks=True, defects=(Defect.N4,) if stale else ())
    controller = Controller()
    m.root.msi = controller.msi
    dev = m.device(msi=MsiCap(3), msix=2)
    assert pci_enable_msix_range(dev, None, 2, 2) == (-errno.ENODEV if stale else 2)
    pci_free_irq_vectors(dev)
    assert controller.freed == ([] if stale else [100, 101])


@pytest.mark.parametrize(
    ("answer", "ret"), [(-errno.EBUSY, -errno.EBUSY), (1, -errno.ENOSPC), (None, -errno.EINVAL)]
)
def test_pci_9_what_the_fallbacks_answer(answer: int | None, ret: int) -> None:
    m = PciMachine(disable_apic=True, arch_fallbacks=True)
    if answer is not None:
        m.root.msi = Controller(answer).msi
    dev = m.device(msi=MsiCap(3))
    assert pci_enable_msi_range(dev, 1, 1) == ret
    assert pci_enable_msi_range(dev, 2, 8) == -errno.ENOSPC


def test_pci_9_a_controller_may_serve_the_device_as_a_whole() -> None:
    m = PciMachine(disable_apic=True, arch_fallbacks=True)
    asked: list[tuple[int, bool]] = []

    def setup_irqs(dev: PciDev, nvec: int, msix: bool) -> int:
        asked.append((nvec, msix))
        return -errno.EBUSY

    m.root.msi = MsiController(setup_irqs=setup_irqs)
    assert pci_enable_msi_range(m.device(msi=MsiCap(3)), 4, 4) == -errno.EBUSY
    assert asked == [(4, False)]


def test_pci_10_a_block_has_consecutive_irqs_hwirqs_and_data_words() -> None:
    m = PciMachine()
    dev, cap = with_block(m, 3, maskbit=False)
    irqs = [pci_irq_vector(dev, k) for k in range(3)]
    assert irqs == list(range(dev.irq, dev.irq + 3))
    hwirqs = [m.irqd(irq).hwirq for irq in irqs]
    assert hwirqs == list(range(hwirqs[0], hwirqs[0] + 3))
    cap.write(cap.data_offset, 0x48)
    sent = [pci_signal(dev, k) for k in range(5)]
    assert [msg.data if msg else None for msg in sent] == [0x48, 0x49, 0x4A, 0x4B, None]


def test_trap_30_only_the_first_irq_of_a_block_writes_the_message() -> None:
    m = PciMachine()
    dev, cap = with_block(m, 4)
    before = cap.message
    chip = m.irqd(dev.irq + 1).chip
    assert chip is not None and chip.irq_write_msi_msg is not None
    chip.irq_write_msi_msg(m.irqd(dev.irq + 1), MsiMsg(1, 2, 3))
    assert cap.message == before
    chip.irq_write_msi_msg(m.irqd(dev.irq), MsiMsg(1, 2, 3))
    assert cap.message == MsiMsg(1, 2, 3)


def test_a_32_bit_device_has_no_upper_half() -> None:
    m = PciMachine()
    dev, cap = with_block(m, 1, is_64=False)
    pci_write_msi_msg(dev.msi_list[0], MsiMsg(0xFEE01004, 7, 0x14031))
    assert cap.message == MsiMsg(0xFEE01004, 0, 0x4031)


def test_a_hook_sees_each_message() -> None:
    m = PciMachine()
    dev, _cap = with_block(m, 1)
    desc, seen = dev.msi_list[0], []
    desc.write_msi_msg = lambda d: seen.append(d.msg.data)
    pci_write_msi_msg(desc, MsiMsg(data=5))
    assert seen == [5]


def test_the_arguments_of_a_range() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap(2))
    assert pci_enable_msi_range(dev, 0, 4) == -errno.EINVAL
    assert pci_enable_msi_range(dev, 2, 1) == -errno.ERANGE
    assert pci_enable_msi_range(dev, 5, 8) == -errno.ENOSPC
    assert pci_enable_msi_range(m.device(), 1, 1) == -errno.EINVAL
    assert (pci_msi_vec_count(dev), pci_msi_vec_count(m.device())) == (4, -errno.EINVAL)
    assert pci_enable_msi_range(dev, 1, 4) == 1
    events: list[int] = []
    warned = names(
        events_of(m.vector_machine, lambda: events.append(pci_enable_msi_range(dev, 1, 1)))
    )
    assert (events, warned) == ([-errno.EINVAL], ["WARN"])


def test_whether_msi_is_supported() -> None:
    m = PciMachine()
    plain = m.device(msi=MsiCap())
    assert pci_enable_msi_range(m.device(msi=MsiCap(), no_msi=True), 1, 1) == -errno.EINVAL
    outer = PciBus(m.pci, 0, 1, parent=m.root, self_dev=plain, no_msi=True)
    inner = PciBus(m.pci, 0, 2, parent=outer)
    assert pci_enable_msi_range(m.device(msi=MsiCap(), bus=inner), 1, 1) == -errno.EINVAL
    assert pci_enable_msix_range(m.device(msix=1, bus=inner), None, 1, 1) == -errno.EINVAL
    pci_set_power_state(plain, PciPower.D3HOT)
    assert pci_enable_msi_range(plain, 1, 1) == -errno.EINVAL
    pci_set_power_state(plain, PciPower.D0)
    assert pci_enable_msi_range(plain, 1, 1) == 1
    assert (
        pci_enable_msi_range(PciMachine(pci_msi_enable=False).device(msi=MsiCap()), 1, 1)
        == -errno.EINVAL
    )


def test_allocation_falls_back_from_msi_x_over_msi_to_intx() -> None:
    m = PciMachine()
    both = m.device(msi=MsiCap(), msix=4, irq=9)
    assert pci_alloc_irq_vectors_affinity(both, 1, 4, PCI_IRQ_ALL_TYPES) == 4
    assert both.msix_enabled
    pci_free_irq_vectors(both)
    assert pci_alloc_irq_vectors_affinity(both, 1, 4, PCI_IRQ_MSI) == 1
    assert both.msi_enabled
    line = m.device(irq=9)
    line.intx_on = False
    assert pci_alloc_irq_vectors_affinity(line, 1, 4, PCI_IRQ_ALL_TYPES) == 1
    assert (line.intx_on, pci_irq_vector(line, 0)) == (True, 9)
    assert pci_irq_vector(line, 1) == -errno.EINVAL
    assert pci_alloc_irq_vectors_affinity(line, 2, 4, PCI_IRQ_ALL_TYPES) == -errno.EINVAL
    assert pci_alloc_irq_vectors_affinity(m.device(), 1, 1, PCI_IRQ_LEGACY) == -errno.ENOSPC
    assert pci_alloc_irq_vectors_affinity(line, 1, 1, PCI_IRQ_LEGACY | PCI_IRQ_AFFINITY) == 1


def test_an_affinity_without_the_flag_is_dropped() -> None:
    m = PciMachine()
    dev = m.device(msix=2)
    events = events_of(
        m.vector_machine,
        lambda: pci_alloc_irq_vectors_affinity(dev, 2, 2, PCI_IRQ_ALL_TYPES, IrqAffinity(1)),
    )
    assert names(events).count("WARN") == 1
    assert m.matrix.global_reserved == 2


def test_freeing_a_vector_in_use_is_a_bug() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap())
    assert pci_enable_msi_range(dev, 1, 1) == 1
    assert m.request(dev.irq) == 0
    with pytest.raises(KernelBug, match="handler"):
        pci_free_irq_vectors(dev)


def test_apic_6_the_domain_wants_single_vectors_unless_it_can_give_blocks() -> None:
    m = PciMachine()
    dev, _cap = with_block(m, 2)
    domain = dev.msi_domain
    assert domain is not None
    info: MsiDomainInfo = domain.host_data
    assert info.flags & MSI_FLAG_ACTIVATE_EARLY and info.flags & MSI_FLAG_MUST_REACTIVATE
    assert pci_msi_domain_check_cap(domain, info, dev) == 0
    info.flags &= ~(MSI_FLAG_MULTI_PCI_MSI | MSI_FLAG_PCI_MSIX)
    assert pci_msi_domain_check_cap(domain, info, dev) == 1
    msix = m.device(msix=1)
    msix.msi_domain = domain
    assert pci_enable_msix_range(msix, None, 1, 1) == -524


def test_a_level_capable_domain_is_refused() -> None:
    m = PciMachine()
    events = events_of(m.vector_machine, lambda: block_domain(m, MSI_FLAG_LEVEL_CAPABLE))
    assert names(events).count("WARN") == 1


@pytest.mark.parametrize(
    ("aliases", "rid"),
    [
        ((), 0x010A),
        (((1, 0x0110),), 0x010A),
        (((1, 0x0200),), 0x0200),
        (((0, 0x0108),), 0x0108),
        (((1, 0x0200), (2, 0x0208)), 0x0200),
        (((1, 0x0200), (0, 0x0008)), 0x0008),
    ],
)
def test_the_requester_id_is_the_last_alias_on_another_bus(
    aliases: tuple[tuple[int, int], ...], rid: int
) -> None:
    m = PciMachine()
    dev = m.device(bus=m.bus(1), devfn=0x0A, dma_aliases=aliases)
    assert pci_msi_domain_get_msi_rid(None, dev) == rid
