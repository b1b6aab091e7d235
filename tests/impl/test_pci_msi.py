# SPDX-License-Identifier: GPL-2.0-only
"""Plain MSI: the block of vectors, rollback, masks and messages, shutdown and restore."""

import errno

import pytest

from impl.defects import Defect
from impl.drivers.pci.capability import PCI_MSI_FLAGS, MsiCap
from impl.drivers.pci.msi import (
    pci_disable_msi,
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_free_irq_vectors,
    pci_irq_vector,
)
from impl.drivers.pci.msi_access import pci_restore_msi_state, pci_write_msi_msg
from impl.drivers.pci.msi_domain import (
    pci_msi_domain_calc_hwirq,
)
from impl.drivers.pci.msi_regs import PCI_MSI_FLAGS_ENABLE
from impl.drivers.pci.pci import (
    PciPower,
    pci_set_power_state,
    pci_signal,
    pci_write_config,
)
from impl.kernel.irq.irq import IrqChip, IrqDomain, IrqDomainOps, MsiMsg
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_set_info
from impl.kernel.irq.msi import (
    MsiDomainInfo,
)
from impl.kernel.kernel import KernelBug
from tests.impl.pci_support import PciMachine, block_domain, with_block
from tests.impl.support import events_of, names

ZERO = MsiMsg()


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
    events = names(events_of(m, lambda: pci_enable_msi_range(dev, 1, 32)))
    assert events.count("alloc_msi_entry") == 2
    assert dev.msi_list[0].nvec_used == 1


def test_pci_5_a_block_that_finds_no_room_is_asked_for_as_one() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap(5))
    dev.msi_domain = block_domain(m)
    m.fail_next("alloc_desc", 3)
    assert pci_enable_msi_range(dev, 1, 4) == 1
    pci_disable_msi(dev)
    m.fail_next("alloc_desc", 3)
    assert pci_enable_msi_range(dev, 2, 4) == -errno.ENOSPC


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
    assert dev.msi_cap is not None
    pci_write_config(dev, dev.msi_cap, PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE)  # left by somebody
    before = m.footprint()
    m.fail_next(site, nth)
    assert pci_enable_msi_range(dev, 1, 1) == ret
    assert (dev.msi_list, dev.msi_enabled, dev.irq, dev.intx_on) == ([], False, 5, True)
    assert not dev.msi_cap.control & PCI_MSI_FLAGS_ENABLE
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
    assert m.request_irq(irq) == 0
    assert desc.masked == cap.mask_bits == 0xFFFFFFFB
    assert m.free_irq(irq) == 0
    assert desc.masked == cap.mask_bits == 0xFFFFFFFF
    events = events_of(m, lambda: pci_disable_msi(dev))
    assert cap.mask_bits == 0
    assert [e.fields["mask"] for e in events if e.name == "pci_msi_mask_irq"] == []


def test_pci_7_the_block_is_masked_before_it_has_irqs() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap(1, maskbit=True))
    events = events_of(m, lambda: pci_enable_msi_range(dev, 1, 1))
    masked = [event.fields for event in events if event.name == "pci_msi_mask_irq"]
    assert masked == [{"irq": -1, "desc": dev.msi_list[0].id, "mask": 3}]


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
    assert m.request_irq(pci_irq_vector(dev, 1)) == 0
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
    events = events_of(m, lambda: pci_write_msi_msg(desc, message))
    assert [event.fields["reached"] for event in events] == [0]
    assert (desc.msg, cap.registers) == (message, held)
    dev.disconnected = False
    pci_set_power_state(dev, PciPower.D0)
    pci_restore_msi_state(dev)
    assert cap.message == message


def test_a_device_without_msi_restores_nothing() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap(), msix=1)
    assert names(events_of(m, lambda: pci_restore_msi_state(dev))) == ["pci_restore_msi_state"]


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


def test_freeing_a_vector_in_use_is_a_bug() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap())
    assert pci_enable_msi_range(dev, 1, 1) == 1
    assert m.request_irq(dev.irq) == 0
    with pytest.raises(KernelBug, match="handler"):
        pci_free_irq_vectors(dev)
