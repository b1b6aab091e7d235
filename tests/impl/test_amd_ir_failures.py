# SPDX-License-Identifier: GPL-2.0-only
"""Allocations behind AMD-Vi that fail."""

import errno
from typing import Any

import pytest

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.defects import Defect
from impl.drivers.iommu.amd_domain import get_devid, irq_remapping_alloc
from impl.drivers.iommu.amd_table import alloc_irq_index
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import PCI_IRQ_MSI, pci_alloc_irq_vectors_affinity
from impl.drivers.pci.pci import PciDev
from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqDomain, IrqDomainOps
from impl.kernel.irq.irqdomain import irq_domain_create_hierarchy
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs
from impl.kernel.irq.msi import MsiAttrib
from impl.kernel.irq.msi_desc import alloc_msi_entry
from impl.kernel.kernel import KernelBug
from tests.impl.amd_support import IOAPIC, AmdMachine, alloc, ir_domain, pci_info
from tests.impl.support import events_of

TYPE = X86_IRQ_ALLOC_TYPE


def test_amd_10_refusals_before_anything_is_taken() -> None:
    m = AmdMachine(defects=(Defect.DEV_D4,))
    before = m.footprint()
    domain = ir_domain(m)
    for info, nr in (
        (None, 1),
        (IrqAllocInfo(type=TYPE.IOAPIC, devid=IOAPIC), 2),
        (IrqAllocInfo(type=TYPE.HPET), 2),
        (IrqAllocInfo(type=TYPE.IOAPIC, devid=9), 1),
        (IrqAllocInfo(type=TYPE.HPET, devid=9), 1),
        (IrqAllocInfo(type=TYPE.DEV_MSI), 1),
        (IrqAllocInfo(type=TYPE.UV), 1),
    ):
        assert irq_domain_alloc_irqs(m.domains, domain, -1, nr, 0, info) == -errno.EINVAL
        assert m.footprint() == before
    assert m.amd.irq_lookup_table == {}


def test_a_subdevice_sends_under_the_id_of_its_function() -> None:
    m = AmdMachine()
    dev = m.device(msix=1)
    desc = alloc_msi_entry(m.kernel, Device(9, "part", parent=dev), 1, None, MsiAttrib())
    irq = alloc(m, 1, IrqAllocInfo(type=TYPE.DEV_MSI, desc=desc))
    assert (m.where(irq).devid, m.where(irq).index) == (dev.devid, 0)
    assert m.ir_data(irq).msi_entry.data == 0


def test_an_unknown_type_warns_once() -> None:
    m = AmdMachine()
    seen = events_of(m, lambda: [get_devid(m.amd, IrqAllocInfo(type=TYPE.UV)) for _ in range(2)])
    assert [event.name for event in seen] == ["WARN"]
    assert get_devid(m.amd, IrqAllocInfo(type=TYPE.DMAR)) == -1
    with pytest.raises(KernelBug, match="descriptor"):
        get_devid(m.amd, IrqAllocInfo(type=TYPE.PCI_MSI))


def test_amd_10_the_parents_error_is_passed_on() -> None:
    m = AmdMachine()
    info = pci_info(m, 3)
    before = m.footprint()
    m.fail_next("alloc_apic_chip_data", 2)
    assert alloc(m, 3, info) == -errno.ENOMEM
    assert (m.footprint(), m.amd.irq_lookup_table) == (before, {})


def test_amd_10_without_a_table_or_room_the_vectors_go_back() -> None:
    m = AmdMachine()
    info = pci_info(m, 4)
    before = m.footprint()
    m.fail_next("alloc_irq_table")
    assert alloc(m, 4, info) == -errno.ENODEV
    assert m.footprint() == before
    assert info.desc is not None and isinstance(info.desc.dev, PciDev)
    devid = info.desc.dev.devid
    assert alloc_irq_index(m.amd, devid, 510, False, None) == 0
    assert alloc(m, 4, info) == -errno.ENOSPC
    assert (m.footprint(), m.taken(devid)) == (before, list(range(510)))


def test_trap_17_the_driver_sees_enospc_whatever_happened() -> None:
    m = AmdMachine()
    dev = m.device(msi=MsiCap(5), msix=4)
    m.fail_next("alloc_irq_table")
    assert pci_alloc_irq_vectors_affinity(dev, 1, 1, PCI_IRQ_MSI) == -errno.ENOSPC
    m.fail_next("alloc_irq_table")
    # A block that finds no room is tried again with one vector.
    assert pci_alloc_irq_vectors_affinity(dev, 1, 4, PCI_IRQ_MSI) == 1


@pytest.mark.parametrize("countdown", range(1, 7))
def test_amd_10_without_memory_in_the_middle_nothing_remains(countdown: int) -> None:
    m = AmdMachine()
    info = pci_info(m, 3)
    before = m.footprint()
    m.fail_next("irq_remapping_alloc", countdown)
    events = events_of(m, lambda: alloc(m, 3, info))
    assert m.footprint() == before
    assert info.desc is not None and isinstance(info.desc.dev, PciDev)
    assert m.taken(info.desc.dev.devid) == []
    assert m.amd.nr_entry_copies == 0
    freed = [event.fields["index"] for event in events if event.name == "free_irte"]
    assert freed == [0, 1, 2]
    undone = [event.fields["irq"] for event in events if event.name == "irq_remapping_free_data"]
    assert undone == sorted(undone, reverse=True) and len(undone) == (countdown - 1) // 2
    assert alloc(m, 3, info) > 0


def test_amd_10_v5_10_leaks_the_copies_of_entries() -> None:
    m = AmdMachine(defects=(Defect.AMD_COPY,))
    info = pci_info(m, 3)
    m.fail_next("irq_remapping_alloc", 5)
    assert alloc(m, 3, info) == -errno.ENOMEM
    assert m.amd.nr_entry_copies == 2


def without_level(m: AmdMachine, nvec: int) -> int:
    """Let the unit allocate interrupts that have no level in its domain; the result."""

    def inner(domain: IrqDomain, virq: int, nr_irqs: int, arg: Any) -> int:
        return irq_remapping_alloc(m.amd, ir_domain(m), virq, nr_irqs, arg)

    info = pci_info(m, nvec)
    ops = IrqDomainOps(alloc=inner)
    domain = irq_domain_create_hierarchy(m.domains, m.vectors.x86_vector_domain, 0, 0, None, ops)
    return irq_domain_alloc_irqs(m.domains, domain, -1, nvec, 0, info)


def test_amd_11_an_interrupt_without_a_level_is_refused() -> None:
    m = AmdMachine()
    available = m.counters()
    assert without_level(m, 2) == -errno.EINVAL
    assert m.counters() == available
    assert m.taken(m.root.devices[1].devid) == []
    assert not any(desc > 15 for desc in m.irqs.descs)


def test_amd_11_before_the_series_it_was_a_fault() -> None:
    m = AmdMachine(defects=(Defect.AMD_01,))
    with pytest.raises(KernelBug, match="no level"):
        without_level(m, 2)
    assert alloc(m, 2, pci_info(m, 2)) > 0
