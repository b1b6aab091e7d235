# SPDX-License-Identifier: GPL-2.0-only
"""VT-d table entries in use: activation, moves, posting (INT-5 to INT-9, INT-13)."""

import errno
from dataclasses import replace
from functools import partial

import pytest

from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR, ApicMode
from impl.drivers.iommu.intel_affinity import VcpuData, posted_irte
from impl.drivers.iommu.intel_hw import IrDelivery, IrFault, vtd_remap_msi
from impl.drivers.iommu.intel_irte import Irte, irte_apicid, pack_irte, unpack_irte
from impl.drivers.iommu.intel_table import IrqMode
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    pci_alloc_irq_vectors_affinity,
    pci_disable_msi,
    pci_enable_msi_range,
    pci_enable_msix_range,
)
from impl.drivers.pci.pci import PciDev, pci_signal
from impl.kernel.irq.irq import IRQ_SET_MASK_OK_DONE
from impl.kernel.irq.irqdomain_activate import irq_domain_deactivate_irq
from impl.kernel.irq.manage import irq_set_vcpu_affinity
from impl.trace import Event
from tests.impl.intel_support import CATCH_ALL, IntelMachine, unit

VCPU = VcpuData(pi_desc_addr=0x1_2345_6789_ABC0, vector=0xF2)


def without_x2apic() -> IntelMachine:
    return IntelMachine(apic=ApicMode.FLAT, x2apic_supported=False)


def started(m: IntelMachine, nvec: int = 1) -> list[int]:
    """The irqs of a new device, all requested."""
    dev = m.with_msi(nvec)
    irqs = list(range(dev.irq, dev.irq + nvec))
    for irq in irqs:
        assert m.request_irq(irq) == 0
    return irqs


def target(m: IntelMachine, irq: int) -> tuple[int, int]:
    cfg = m.vector_level(irq).hw_irq_cfg
    return cfg.dest_apicid, cfg.vector


def aimed_at(m: IntelMachine, irte: Irte) -> tuple[int, int]:
    return irte_apicid(irte.dest_id, m.ir.eim_mode), irte.vector


def signalled(m: IntelMachine, dev: PciDev, nr: int = 0) -> IrDelivery | IrFault | None:
    msg = pci_signal(dev, nr)
    assert msg is not None
    return vtd_remap_msi(m.iommu, msg, dev.devid)


def move(m: IntelMachine, irq: int, cpu: int) -> int:
    return m.set_affinity(irq, 1 << cpu)


@pytest.mark.parametrize("xapic", [False, True])
def test_int_6_an_active_interrupts_entry_is_in_the_table(xapic: bool) -> None:
    m = without_x2apic() if xapic else IntelMachine()
    for irq in started(m, 4):
        data = m.ir_data(irq)
        entry = m.entry(irq)
        assert entry == data.irte_entry and entry.present == 1
        assert aimed_at(m, entry) == target(m, irq)
        assert data.irq_2_iommu.mode is IrqMode.IRQ_REMAPPING
        assert (entry.redir_hint, entry.trigger_mode, entry.dlvry_mode) == (1, 0, 0)
        assert entry.dst_mode == int(m.vectors.apic.logical)


def test_trap_14_before_the_request_the_entry_has_the_placeholder() -> None:
    m = IntelMachine()
    dev = m.with_msi(1)
    assert m.entry(dev.irq).vector == MANAGED_IRQ_SHUTDOWN_VECTOR
    assert m.request_irq(dev.irq) == 0
    assert m.entry(dev.irq).vector == m.vector_level(dev.irq).vector != 0
    assert signalled(m, dev) == IrDelivery(*target(m, dev.irq))


def test_int_7_a_deactivated_interrupt_has_no_entry() -> None:
    m = IntelMachine()
    (irq,) = started(m)
    data = m.ir_data(irq)
    prepared, message = data.irte_entry, data.msi_entry
    assert m.free_irq(irq) == 0
    assert m.entry(irq) == Irte() and not m.iommu.irta
    assert (data.irte_entry, data.msi_entry) == (prepared, message)


def test_int_5_the_message_never_changes() -> None:
    """Trap 19."""
    m = IntelMachine()
    dev = m.with_msi(2)
    message = dev.msi_list[0].msg
    assert message == m.ir_data(dev.irq).msi_entry
    writes: list[Event] = []
    for irq in (dev.irq, dev.irq + 1):
        assert m.request_irq(irq) == 0
        assert m.free_irq(irq) == 0
        assert m.request_irq(irq) == 0
        writes += m.events(partial(move, m, irq, 1), "pci_write_config")
        assert m.ir_data(irq).msi_entry[:2] == message[:2]
    assert not writes and dev.msi_list[0].msg == message


def test_int_6_a_move_rewrites_the_entry_and_nothing_else() -> None:
    m = IntelMachine()
    (irq,) = started(m)
    message = m.ir_data(irq).msi_entry
    before = target(m, irq)
    cpu = 1 - m.vector_level(irq).cpu
    assert move(m, irq, cpu) == 0
    assert target(m, irq) != before and aimed_at(m, m.entry(irq)) == target(m, irq)
    assert m.vector_level(irq).cpu == cpu and m.ir_data(irq).msi_entry == message


def test_the_chip_says_that_there_is_nothing_left_to_do() -> None:
    m = IntelMachine()
    (irq,) = started(m)
    level = m.level(irq)
    setter = m.ir.chip.irq_set_affinity
    assert setter is not None and level.chip is m.ir.chip
    assert setter(level, 0b11, False) == IRQ_SET_MASK_OK_DONE


def test_a_move_cleans_the_old_vector_up_without_waiting_for_an_interrupt() -> None:
    m = IntelMachine()
    (irq,) = started(m)
    old_cpu = m.vector_level(irq).cpu
    assert move(m, irq, 1 - old_cpu) == 0
    apicd = m.vector_level(irq)
    assert not apicd.move_in_progress and m.vectors.cleanup_list[old_cpu] == [irq]
    assert m.cleanup_ipi(old_cpu)
    assert apicd.prev_vector == 0
    assert move(m, irq, old_cpu) == 0


def test_a_move_that_the_parent_refuses_leaves_the_entry() -> None:
    """The old vector is still in use, so the interrupt cannot move again."""
    m = IntelMachine()
    (irq,) = started(m)
    cpu = m.vector_level(irq).cpu
    assert move(m, irq, 1 - cpu) == 0
    before = m.entry(irq), m.ir_data(irq).irte_entry
    setter = m.ir.chip.irq_set_affinity
    assert setter is not None
    assert setter(m.level(irq), 1 << cpu, False) == -errno.EBUSY
    assert (m.entry(irq), m.ir_data(irq).irte_entry) == before


def test_a_parent_that_is_done_is_taken_at_its_word() -> None:
    m = IntelMachine()
    (irq,) = started(m)
    level = m.level(irq)
    parent = level.parent_data
    assert parent is not None and parent.chip is not None
    parent.chip = replace(
        parent.chip, irq_set_affinity=lambda irqd, mask, force: IRQ_SET_MASK_OK_DONE
    )
    setter = m.ir.chip.irq_set_affinity
    assert setter is not None
    seen: list[int] = []
    assert not m.events(
        lambda: seen.append(setter(level, 1, False)), "intel_ir_reconfigure_irte", "irte_write"
    )
    assert seen == [IRQ_SET_MASK_OK_DONE]


def test_int_9_each_member_of_a_block_moves_alone() -> None:
    m = IntelMachine()
    irqs = started(m, 4)
    for nr, irq in enumerate(irqs):
        cpu = m.vector_level(irq).cpu
        assert move(m, irq, 1 - cpu if nr % 2 else cpu) == 0
    for irq in irqs:
        assert aimed_at(m, m.ir_data(irq).irte_entry) == target(m, irq)
        assert m.entry(irq) == m.ir_data(irq).irte_entry


def test_interrupts_follow_when_a_cpu_goes() -> None:
    m = IntelMachine()
    (irq,) = started(m)
    assert move(m, irq, 1) == 0
    assert m.cleanup_ipi(0)
    assert m.cpu_down(1) == 0
    assert m.vector_level(irq).cpu == 0 and aimed_at(m, m.entry(irq)) == target(m, irq)


def test_managed_interrupts_get_their_entry_at_the_request() -> None:
    m = IntelMachine()
    dev = m.device(msix=2)
    assert pci_alloc_irq_vectors_affinity(dev, 2, 2, 0xF, None) == 2
    for desc in dev.msi_list:
        assert m.request_irq(desc.irq) == 0
        assert aimed_at(m, m.entry(desc.irq)) == target(m, desc.irq)


# Posting


def test_int_8_posting_changes_the_format_of_the_entry() -> None:
    m = IntelMachine()
    (irq,) = started(m)
    cached = m.ir_data(irq).irte_entry
    assert irq_set_vcpu_affinity(m.irqs, irq, VCPU) == 0
    entry = m.entry(irq)
    assert entry == posted_irte(cached, VCPU)
    assert (entry.present, entry.pst, entry.vector, entry.pda) == (1, 1, 0xF2, VCPU.pi_desc_addr)
    assert (entry.sid, entry.sq, entry.svt) == (cached.sid, cached.sq, cached.svt)
    assert entry.urgent == 0
    assert m.ir_data(irq).irq_2_iommu.mode is IrqMode.IRQ_POSTING
    assert m.ir_data(irq).irte_entry == cached


def test_int_8_and_trap_20_a_posted_interrupt_moves_in_the_cache_alone() -> None:
    m = IntelMachine()
    (irq,) = started(m)
    assert irq_set_vcpu_affinity(m.irqs, irq, VCPU) == 0
    posted = m.entry(irq)
    old = target(m, irq)
    assert move(m, irq, 1 - m.vector_level(irq).cpu) == 0
    assert m.entry(irq) == posted and target(m, irq) != old
    assert aimed_at(m, m.ir_data(irq).irte_entry) == target(m, irq)
    assert irq_set_vcpu_affinity(m.irqs, irq, None) == 0
    assert m.entry(irq) == m.ir_data(irq).irte_entry
    assert aimed_at(m, m.entry(irq)) == target(m, irq)
    assert m.ir_data(irq).irq_2_iommu.mode is IrqMode.IRQ_REMAPPING


def test_int_8_deactivation_ends_posting() -> None:
    m = IntelMachine()
    (irq,) = started(m)
    assert irq_set_vcpu_affinity(m.irqs, irq, VCPU) == 0
    assert m.free_irq(irq) == 0
    assert m.entry(irq) == Irte()
    assert m.ir_data(irq).irq_2_iommu.mode is IrqMode.IRQ_REMAPPING


def test_a_posted_entry_is_exchanged_at_once_a_remapped_one_in_halves() -> None:
    m = IntelMachine()
    (irq,) = started(m)
    stores = ("set_64bit", "cmpxchg_double")
    cpu = 1 - m.vector_level(irq).cpu
    halves = m.events(lambda: move(m, irq, cpu), *stores)
    assert [event.name for event in halves] == ["set_64bit", "set_64bit"]
    for vcpu in (VCPU, replace(VCPU, pi_desc_addr=1 << 40), None):
        swaps = m.events(partial(irq_set_vcpu_affinity, m.irqs, irq, vcpu), *stores)
        assert [event.name for event in swaps] == ["cmpxchg_double"]
    again = m.events(lambda: irq_set_vcpu_affinity(m.irqs, irq, None), *stores)
    assert [event.name for event in again] == ["set_64bit", "set_64bit"]


def test_halves_of_a_move_are_never_a_target_that_nobody_owns() -> None:
    """Vector and destination are in the lower word, so one store moves both."""
    m = IntelMachine()
    (irq,) = started(m)
    allowed = {target(m, irq)}
    seen: list[tuple[int, int]] = []

    def note(event: Event) -> None:
        if event.name == "set_64bit":
            seen.append(aimed_at(m, unpack_irte(event.fields["low"], event.fields["high"])))

    stop = m.trace.subscribe(note)
    assert move(m, irq, 1 - m.vector_level(irq).cpu) == 0
    stop()
    allowed.add(target(m, irq))
    assert len(seen) == 2 and set(seen) <= allowed


def test_a_posted_interrupt_reaches_the_virtual_cpu() -> None:
    m = IntelMachine()
    dev = m.with_msi(1)
    assert m.request_irq(dev.irq) == 0
    assert irq_set_vcpu_affinity(m.irqs, dev.irq, VCPU) == 0
    assert signalled(m, dev) == IrDelivery(0, VCPU.vector, VCPU.pi_desc_addr)


# The hardware's cache


def test_a_device_follows_a_move_as_the_cached_entry_is_dropped() -> None:
    m = IntelMachine()
    dev = m.with_msi(1)
    assert m.request_irq(dev.irq) == 0
    assert signalled(m, dev) == IrDelivery(*target(m, dev.irq))
    assert move(m, dev.irq, 1 - m.vector_level(dev.irq).cpu) == 0
    assert signalled(m, dev) == IrDelivery(*target(m, dev.irq))


def test_nobody_notices_that_an_invalidation_failed() -> None:
    """The move succeeds, and the device goes on to its old target until something is dropped."""
    m = IntelMachine()
    dev = m.with_msi(1)
    assert m.request_irq(dev.irq) == 0
    old = target(m, dev.irq)
    assert signalled(m, dev) == IrDelivery(*old)
    m.iommu.invalidation_error = -errno.EINVAL
    assert move(m, dev.irq, 1 - m.vector_level(dev.irq).cpu) == 0
    assert aimed_at(m, m.entry(dev.irq)) == target(m, dev.irq) != old
    assert signalled(m, dev) == IrDelivery(*old)
    m.iommu.invalidation_error = 0
    assert irq_set_vcpu_affinity(m.irqs, dev.irq, None) == 0
    assert signalled(m, dev) == IrDelivery(*target(m, dev.irq))


def test_a_release_succeeds_although_the_invalidation_fails() -> None:
    m = IntelMachine()
    dev = m.with_msi(4)
    before = m.iommu.table.bitmap
    assert before
    m.iommu.invalidation_error = -errno.EINVAL
    pci_disable_msi(dev)
    assert m.iommu.table.bitmap == 0 and not m.remapped()


def test_a_freed_interrupt_faults() -> None:
    m = IntelMachine()
    dev = m.with_msi(2)
    assert m.request_irq(dev.irq) == 0
    message = m.ir_data(dev.irq).msi_entry
    assert vtd_remap_msi(m.iommu, message, dev.devid) == IrDelivery(*target(m, dev.irq))
    assert m.free_irq(dev.irq) == 0
    pci_disable_msi(dev)
    assert vtd_remap_msi(m.iommu, message, dev.devid) is IrFault.NOT_PRESENT


# The mode


def test_int_13_without_the_x2apic_mode_destinations_have_8_bits() -> None:
    m = without_x2apic()
    assert not m.ir.eim_mode and not m.iommu.eime
    for irq in started(m, 2):
        entry = m.entry(irq)
        dest, vector = target(m, irq)
        assert dest < 256 and entry.dest_id == dest << 8 and entry.vector == vector


def test_int_13_the_x2apic_mode_has_them_whole() -> None:
    caps = unit(0x1000, *CATCH_ALL.scopes, include_all=True)
    m = IntelMachine(caps, nr_cpus=18)
    assert m.ir.eim_mode and m.iommu.eime
    (irq,) = started(m)
    assert move(m, irq, 17) == 0
    assert m.entry(irq).dest_id == target(m, irq)[0] == 1 << 16 | 2


# Formats

IRTES = [
    Irte(),
    Irte(present=1, vector=0xFF, dest_id=0xFFFFFFFF, sid=0xFFFF, sq=3, svt=3, redir_hint=1),
    Irte(fpd=1, dst_mode=1, trigger_mode=1, dlvry_mode=7, avail=15, dest_id=0x80000001),
    Irte(present=1, pst=1, urgent=1, vector=0x31, pda=(1 << 64) - 64, sid=0x00F8, svt=1),
    Irte(pst=1, avail=9, pda=0x8000_0000_8000_0040, sq=2),
]


@pytest.mark.parametrize("irte", IRTES)
def test_entries_are_packed_and_unpacked(irte: Irte) -> None:
    low, high = pack_irte(irte)
    assert 0 <= low < 1 << 64 and 0 <= high < 1 << 64
    assert unpack_irte(low, high) == irte


def test_golden_words_of_entries() -> None:
    remapped = Irte(
        present=1, dst_mode=1, redir_hint=1, vector=0x31, dest_id=0x100, sid=0x00FA, svt=1
    )
    assert pack_irte(remapped) == (0x0000_0100_0031_000D, 0x0004_00FA)
    posted = posted_irte(remapped, VcpuData(0x1_2345_6780, 0xF2))
    assert pack_irte(posted) == (0x2345_6780_00F2_8001, 0x0000_0001_0004_00FA)


def test_entries_do_not_mix_up_two_of_a_device() -> None:
    m = IntelMachine()
    dev = m.device(msix=3)
    assert pci_enable_msix_range(dev, None, 3, 3) == 3
    for nr, desc in enumerate(dev.msi_list):
        assert m.request_irq(desc.irq) == 0
        assert signalled(m, dev, nr) == IrDelivery(*target(m, desc.irq))


def test_deactivation_by_hand_clears_the_slot_of_that_member() -> None:
    m = IntelMachine()
    dev = m.device(msi=MsiCap(5, maskbit=True))
    assert pci_enable_msi_range(dev, 2, 2) == 2
    for irq in (dev.irq, dev.irq + 1):
        assert m.request_irq(irq) == 0
    irq_domain_deactivate_irq(m.irqs.descs[dev.irq + 1].irq_data)
    assert m.entry(dev.irq).present and not m.entry(dev.irq + 1).present
