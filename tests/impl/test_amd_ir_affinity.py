# SPDX-License-Identifier: GPL-2.0-only
"""Moves of interrupts behind AMD-Vi, and interrupts of virtual CPUs."""

import errno

import pytest

from impl.arch.x86.irq_vectors import ApicMode
from impl.drivers.iommu.amd_affinity import (
    AmdIommuPiData,
    amd_iommu_activate_guest_mode,
    amd_iommu_deactivate_guest_mode,
    amd_iommu_register_ga_log_notifier,
    amd_iommu_update_ga,
    iommu_poll_ga_log,
)
from impl.drivers.iommu.amd_devices import amd_iommu_set_use_vapic
from impl.drivers.iommu.amd_hw import amd_irte_of_request
from impl.drivers.iommu.amd_irte import AmdGuestIr, AmdIrte
from impl.drivers.pci.msi import (
    PCI_IRQ_MSIX,
    pci_alloc_irq_vectors_affinity,
    pci_free_irq_vectors,
    pci_irq_vector,
)
from impl.drivers.pci.pci import PciDev
from impl.kernel.irq.irq import IRQ_SET_MASK_OK_DONE, irq_data_get_irq_chip
from impl.kernel.irq.manage import irq_set_vcpu_affinity
from tests.impl.amd_support import AmdMachine
from tests.impl.support import events_of, mask, names

PAGE = 0x12345000
TAG = 0x1000007


def requested(m: AmdMachine) -> tuple[PciDev, int]:
    """A device with one interrupt that a driver handles."""
    dev = m.device(msix=2)
    assert pci_alloc_irq_vectors_affinity(dev, 1, 1, PCI_IRQ_MSIX) == 1
    irq = pci_irq_vector(dev, 0)
    assert m.request_irq(irq) == 0
    return dev, irq


def guest_owned(m: AmdMachine) -> tuple[PciDev, int]:
    dev, irq = requested(m)
    amd_iommu_set_use_vapic(m.amd, dev, True)
    return dev, irq


def hand_over(m: AmdMachine, irq: int, *, vector: int = 0x51, tag: int = TAG) -> AmdIommuPiData:
    pi = AmdIommuPiData(True, PAGE, vector, tag)
    assert irq_set_vcpu_affinity(m.irqs, irq, pi) == 0
    return pi


def take_back(m: AmdMachine, irq: int) -> AmdIommuPiData:
    pi = AmdIommuPiData(False)
    assert irq_set_vcpu_affinity(m.irqs, irq, pi) == 0
    return pi


# Moves


@pytest.mark.parametrize("guest_ir", list(AmdGuestIr))
def test_trap_19_a_move_rewrites_the_entry_and_never_the_message(guest_ir: AmdGuestIr) -> None:
    m = AmdMachine(guest_ir=guest_ir)
    dev, irq = requested(m)
    message = dev.msi_list[0].msg
    assert m.vector_level(irq).cpu == 1
    events = events_of(m, lambda: m.set_affinity(irq, mask(0)))
    assert m.vector_level(irq).cpu == 0
    assert (m.irte(irq).destination, m.irte(irq).vector) == m.config(irq)
    assert m.deliver(dev, 0) == m.config(irq)
    assert dev.msi_list[0].msg == message
    assert "pci_write_msi_msg" not in names(events)


def test_a_move_is_complete_at_once_and_ends_by_the_clean_up() -> None:
    m = AmdMachine()
    _, irq = requested(m)
    old = m.vector_level(irq).vector
    assert m.set_affinity(irq, mask(0)) == 0
    level = m.vector_level(irq)
    assert (level.move_in_progress, level.prev_vector, level.clist) == (False, old, 1)
    assert m.vectors.cleanup_list[1] == [irq]


def test_the_result_of_a_move_stops_the_outer_levels() -> None:
    m = AmdMachine()
    _, irq = requested(m)
    level = m.ir_level(irq)
    setter = irq_data_get_irq_chip(level).irq_set_affinity
    assert setter is not None
    assert setter(level, mask(0), False) == IRQ_SET_MASK_OK_DONE
    # The last move is not cleaned up yet.
    entry = m.irte(irq)
    assert setter(level, mask(1), False) == -errno.EBUSY
    assert m.irte(irq) == entry
    m.amd.units.clear()
    assert setter(level, mask(0), False) == -errno.ENODEV


# Virtual CPUs


def test_guest_mode_names_the_page_and_keeps_valid() -> None:
    m = AmdMachine()
    dev, irq = guest_owned(m)
    pi = hand_over(m, irq)
    assert (pi.is_guest_mode, pi.prev_ga_tag, pi.ir_data) == (True, 0, m.ir_data(irq))
    assert m.irte(irq) == AmdIrte(
        valid=1, guest_mode=1, ga_log_intr=1, vector=0x51, ga_tag=TAG, ga_root_ptr=PAGE >> 12
    )
    assert hand_over(m, irq, tag=TAG + 1).prev_ga_tag == TAG
    assert m.free_irq(irq) == 0
    assert (m.irte(irq).valid, m.irte(irq).guest_mode) == (0, 1)
    take_back(m, irq)
    assert (m.irte(irq).valid, m.irte(irq).guest_mode) == (0, 0)
    assert amd_irte_of_request(m.amd, dev.devid, 0) is None


def test_leaving_guest_mode_restores_the_target_of_now() -> None:
    m = AmdMachine(apic=ApicMode.PHYSICAL)
    dev, irq = guest_owned(m)
    before = m.irte(irq)
    hand_over(m, irq)
    assert m.deliver(dev, 0) is None
    assert take_back(m, irq).prev_ga_tag == TAG
    assert m.irte(irq) == before
    assert take_back(m, irq).prev_ga_tag == 0
    assert m.deliver(dev, 0) == m.config(irq)


def test_a_move_in_guest_mode_touches_the_vectors_only() -> None:
    m = AmdMachine()
    dev, irq = guest_owned(m)
    hand_over(m, irq)
    entry = m.irte(irq)
    assert m.set_affinity(irq, mask(0)) == 0
    assert (m.irte(irq), m.vector_level(irq).cpu) == (entry, 0)
    take_back(m, irq)
    assert m.deliver(dev, 0) == m.config(irq)


def test_reactivation_in_guest_mode_leaves_the_entry_to_the_guest() -> None:
    m = AmdMachine()
    _, irq = guest_owned(m)
    hand_over(m, irq)
    assert m.free_irq(irq) == 0
    events = events_of(m, lambda: m.request_irq(irq))
    writes = [event.fields for event in events if event.name == "modify_irte"]
    assert [(each["valid"], each["guest_mode"], each["vector"]) for each in writes] == [
        (1, 1, 0x51)
    ]


def test_a_device_that_no_guest_owns_stays_the_hosts() -> None:
    m = AmdMachine()
    dev, irq = requested(m)
    before = m.irte(irq)
    pi = AmdIommuPiData(True, PAGE, 0x51, TAG)
    assert irq_set_vcpu_affinity(m.irqs, irq, pi) == 0
    assert (m.irte(irq), pi.ir_data) == (before, None)
    del m.amd.dev_data[dev.devid]
    assert irq_set_vcpu_affinity(m.irqs, irq, pi) == 0
    assert (m.irte(irq), pi.ir_data) == (before, None)


@pytest.mark.parametrize("guest_ir", [AmdGuestIr.LEGACY, AmdGuestIr.LEGACY_GA])
def test_hardware_without_guest_mode_says_so(guest_ir: AmdGuestIr) -> None:
    m = AmdMachine(guest_ir=guest_ir)
    _, irq = guest_owned(m)
    before = m.irte(irq)
    pi = hand_over(m, irq)
    assert (pi.is_guest_mode, m.irte(irq)) == (False, before)
    data = m.ir_data(irq)
    assert amd_iommu_activate_guest_mode(m.amd, data) == 0
    assert amd_iommu_update_ga(m.amd, data, 0, True) == 0
    assert m.irte(irq) == before


def test_without_a_unit_or_a_table_there_is_no_guest_mode() -> None:
    m = AmdMachine()
    dev, irq = guest_owned(m)
    pi = AmdIommuPiData(True, PAGE, 0x51, TAG)
    table = m.amd.irq_lookup_table.pop(dev.devid)
    assert irq_set_vcpu_affinity(m.irqs, irq, pi) == -errno.ENOMEM
    assert m.ir_data(irq).cached_ga_tag == 0
    m.amd.irq_lookup_table[dev.devid] = table
    units = m.amd.units[:]
    m.amd.units.clear()
    level = irq_set_vcpu_affinity(m.irqs, irq, pi)
    assert level == -errno.EINVAL
    m.amd.units.extend(units)


def test_leaving_what_was_never_entered_does_nothing() -> None:
    m = AmdMachine()
    _, irq = requested(m)
    before = m.irte(irq)
    assert amd_iommu_deactivate_guest_mode(m.amd, m.ir_data(irq)) == 0
    assert m.irte(irq) == before


def test_the_hypervisor_says_where_a_virtual_cpu_runs() -> None:
    m = AmdMachine()
    _, irq = guest_owned(m)
    data = hand_over(m, irq).ir_data
    assert data is not None
    assert amd_iommu_update_ga(m.amd, data, 0x12345678, True) == 0
    assert (m.irte(irq).destination, m.irte(irq).is_run) == (0x12345678, 1)
    assert amd_iommu_update_ga(m.amd, data, -1, False) == 0
    assert (m.irte(irq).destination, m.irte(irq).is_run) == (0x12345678, 0)
    assert data.entry.destination == 0
    # The next write from the copy forgets it.
    assert m.free_irq(irq) == 0
    assert m.irte(irq).destination == 0


def test_an_update_after_the_guest_left_is_too_late() -> None:
    m = AmdMachine()
    _, irq = guest_owned(m)
    data = hand_over(m, irq).ir_data
    assert data is not None
    entry = data.entry
    take_back(m, irq)
    before = m.irte(irq)
    assert amd_iommu_update_ga(m.amd, data, 3, True) == 0
    data.entry = entry
    assert amd_iommu_update_ga(m.amd, data, 3, True) == 0
    assert m.irte(irq) == before


def test_what_arrives_for_a_virtual_cpu_that_sleeps_is_logged() -> None:
    m = AmdMachine()
    dev, irq = guest_owned(m)
    data = hand_over(m, irq).ir_data
    assert data is not None
    amd_iommu_update_ga(m.amd, data, 1, True)
    assert m.deliver(dev, 0) is None and m.amd.ga_log == []
    amd_iommu_update_ga(m.amd, data, -1, False)
    assert m.deliver(dev, 0) is None and m.amd.ga_log == [TAG]
    iommu_poll_ga_log(m.amd)
    assert m.amd.ga_log == [TAG]
    told: list[int] = []
    amd_iommu_register_ga_log_notifier(m.amd, told.append)
    iommu_poll_ga_log(m.amd)
    assert (told, m.amd.ga_log) == ([TAG], [])


def test_an_interrupt_in_guest_mode_can_be_freed() -> None:
    m = AmdMachine()
    dev, irq = guest_owned(m)
    hand_over(m, irq)
    assert m.free_irq(irq) == 0
    pci_free_irq_vectors(dev)
    assert (m.taken(dev.devid), m.amd.nr_entry_copies) == ([], 0)
