# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts behind AMD-Vi: allocation, activation and free."""

import errno

import pytest

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_CONTIGUOUS_VECTORS
from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR, ApicMode
from impl.arch.x86.msidef import MSI_ADDR_BASE_LO
from impl.arch.x86.vector import HwIrqCfg
from impl.drivers.iommu.amd_irte import AmdGuestIr
from impl.drivers.iommu.amd_table import alloc_irq_index
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    PCI_IRQ_MSI,
    PCI_IRQ_MSIX,
    pci_alloc_irq_vectors_affinity,
    pci_free_irq_vectors,
    pci_irq_vector,
)
from impl.drivers.pci.pci import PciDev
from impl.kernel.irq.irq import IRQD_MOVE_PCNTXT, MsiMsg
from impl.kernel.irq.irqdomain import irq_find_mapping
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_free_irqs
from tests.impl.amd_support import AmdMachine, alloc, ir_domain, pci_info
from tests.impl.support import events_of


def with_msi(m: AmdMachine, nvec: int, *, maskbit: bool = True) -> PciDev:
    dev = m.device(msi=MsiCap(5, maskbit=maskbit))
    assert pci_alloc_irq_vectors_affinity(dev, nvec, nvec, PCI_IRQ_MSI) == nvec
    return dev


def with_msix(m: AmdMachine, nvec: int) -> PciDev:
    dev = m.device(msix=nvec)
    assert pci_alloc_irq_vectors_affinity(dev, nvec, nvec, PCI_IRQ_MSIX) == nvec
    return dev


def irqs_of(dev: PciDev, nvec: int) -> list[int]:
    return [pci_irq_vector(dev, nr) for nr in range(nvec)]


@pytest.mark.parametrize("guest_ir", list(AmdGuestIr))
def test_amd_5_blocks_of_devices_that_share_a_table(guest_ir: AmdGuestIr) -> None:
    m = AmdMachine(guest_ir=guest_ir)
    blocks = []
    for devfn in (8, 16):
        dev = m.device(msi=MsiCap(5), devfn=devfn, dma_aliases=((0, 0x200),))
        assert pci_alloc_irq_vectors_affinity(dev, 5, 5, PCI_IRQ_MSI) == 5
        blocks.append([m.where(irq).index for irq in irqs_of(dev, 5)])
    assert blocks == [[0, 1, 2, 3, 4], [8, 9, 10, 11, 12]]
    assert m.taken(0x200) == [*range(5), *range(8, 13)]


@pytest.mark.parametrize("msix", [False, True])
def test_amd_7_a_message_names_the_entry(msix: bool) -> None:
    m = AmdMachine()
    assert alloc_irq_index(m.amd, 1, 3, False, None) == 0
    dev = with_msix(m, 2) if msix else with_msi(m, 2)
    irqs = irqs_of(dev, 2)
    assert [m.where(irq).index for irq in irqs] == ([3, 4] if msix else [4, 5])
    for irq in irqs:
        assert m.ir_data(irq).msi_entry == MsiMsg(MSI_ADDR_BASE_LO, 0, m.where(irq).index)
    assert dev.msi_list[0].msg == m.ir_data(irqs[0]).msi_entry


def test_amd_7_a_block_arrives_by_the_number_that_the_device_adds() -> None:
    m = AmdMachine()
    dev = with_msi(m, 4)
    irqs = irqs_of(dev, 4)
    for irq in irqs:
        assert m.request_irq(irq) == 0
    assert [m.deliver(dev, nr) for nr in range(4)] == [m.config(irq) for irq in irqs]
    assert len({m.config(irq) for irq in irqs}) == 4


def test_amd_8_trap_16_all_msi_x_vectors_of_a_device_have_one_hwirq() -> None:
    m = AmdMachine()
    dev = with_msix(m, 3)
    irqs = irqs_of(dev, 3)
    domain, hwirq = ir_domain(m), dev.devid << 16
    assert [m.ir_level(irq).hwirq for irq in irqs] == [hwirq] * 3
    assert domain.mapcount == 3
    assert irq_find_mapping(m.domains, domain, hwirq) == irqs[0]
    irq_domain_free_irqs(m.domains, irqs[2], 1)
    # The map forgets the first owner with the last one.
    assert irq_find_mapping(m.domains, domain, hwirq) == 0
    assert domain.mapcount == 2


def test_amd_8_the_hwirqs_of_a_block_follow_one_another() -> None:
    m = AmdMachine()
    dev = with_msi(m, 3)
    hwirqs = [m.ir_level(irq).hwirq for irq in irqs_of(dev, 3)]
    assert hwirqs == [(dev.devid << 16) + i for i in range(3)]


def test_trap_5_the_contiguous_flag_is_taken_back_for_msi_only() -> None:
    m = AmdMachine()
    info = pci_info(m, 2)
    info.flags = X86_IRQ_ALLOC_CONTIGUOUS_VECTORS
    assert alloc(m, 2, info) > 0 and info.flags == 0
    info = pci_info(m, 2, msix=True)
    info.flags = X86_IRQ_ALLOC_CONTIGUOUS_VECTORS
    assert alloc(m, 2, info) == -errno.ENOSYS


@pytest.mark.parametrize("guest_ir", list(AmdGuestIr))
def test_trap_13_amd_9_activation_writes_twice(guest_ir: AmdGuestIr) -> None:
    m = AmdMachine(guest_ir=guest_ir)
    info = pci_info(m, 1)
    irq = alloc(m, 1, info)
    where = m.where(irq)
    assert m.table(where.devid).table[where.index] == m.amd.format.allocated_mark
    assert (m.ir_data(irq).entry.valid, m.irte(irq).valid) == (1, 0)
    before = m.config(irq)
    events = events_of(m, lambda: m.early_activate(irq, False))
    writes = [event.fields for event in events if event.name == "modify_irte"]
    assert [(each["dest"], each["vector"], each["valid"]) for each in writes] == [
        (*before, 1),
        (*m.config(irq), 1),
    ]
    assert before[1] == MANAGED_IRQ_SHUTDOWN_VECTOR != m.config(irq)[1]


@pytest.mark.parametrize("guest_ir", list(AmdGuestIr))
def test_amd_9_a_deactivated_entry_is_invalid_and_still_taken(guest_ir: AmdGuestIr) -> None:
    m = AmdMachine(guest_ir=guest_ir)
    dev = with_msix(m, 1)
    irq = pci_irq_vector(dev, 0)
    assert m.request_irq(irq) == 0
    where, entry = m.where(irq), m.irte(irq)
    assert (entry.valid, entry.destination, entry.vector) == (1, *m.config(irq))
    assert m.free_irq(irq) == 0
    assert m.irte(irq).valid == 0
    assert m.taken(dev.devid) == [where.index]
    assert m.request_irq(irq) == 0
    assert (m.irte(irq).valid, m.irte(irq).vector) == (1, m.config(irq)[1])


def test_amd_9_the_dest_mode_is_the_apic_drivers_and_narrow_entries_cut() -> None:
    m = AmdMachine(17, apic=ApicMode.X2APIC_CLUSTER)
    dev = with_msix(m, 1)
    irq = pci_irq_vector(dev, 0)
    assert m.request_irq(irq) == 0 and m.set_affinity(irq, 1 << 16) == 0
    assert (m.irte(irq).destination, m.irte(irq).dm) == (0x10001, 1)
    m = AmdMachine(17, apic=ApicMode.PHYSICAL, guest_ir=AmdGuestIr.LEGACY)
    dev = with_msix(m, 1)
    assert m.request_irq(pci_irq_vector(dev, 0)) == 0
    assert m.irte(pci_irq_vector(dev, 0)).dm == 0
    assert m.amd.irte_destination(HwIrqCfg(0x101, 0x40)) == 1


def test_freeing_gives_everything_back() -> None:
    m = AmdMachine()
    dev = m.device(msi=MsiCap(5, maskbit=True), msix=8)
    before = m.footprint()
    for nvec, kind in ((8, PCI_IRQ_MSIX), (7, PCI_IRQ_MSI), (8, PCI_IRQ_MSIX)):
        assert pci_alloc_irq_vectors_affinity(dev, nvec, nvec, kind) == nvec
        assert m.amd.nr_entry_copies == nvec
        assert all(m.ir_level(irq).test(IRQD_MOVE_PCNTXT) for irq in irqs_of(dev, nvec))
        pci_free_irq_vectors(dev)
        assert (m.taken(dev.devid), m.amd.nr_entry_copies) == ([], 0)
        assert m.footprint() == before


def test_trap_11_a_block_is_freed_one_by_one_down_to_the_vectors() -> None:
    m = AmdMachine()
    dev = with_msi(m, 3)
    events = events_of(m, lambda: pci_free_irq_vectors(dev))
    told = [event.name for event in events if event.name in ("free_irte", "vector_teardown")]
    assert told == ["free_irte", "vector_teardown"] * 3
