# SPDX-License-Identifier: GPL-2.0-only
"""Subdevices behind interrupt remapping, on whole machines."""

import errno
from collections.abc import Iterable
from dataclasses import replace

import pytest

from impl.defects import Defect
from impl.drivers.iommu.amd import AmdIrData
from impl.drivers.iommu.intel_table import IntelIrData
from impl.drivers.pci.capability import MsixCap
from impl.drivers.pci.msi import pci_enable_msix_range
from impl.drivers.pci.pci import PCI_CLASS_STORAGE_EXPRESS, PciDev
from impl.drivers.pci.probe import pci_device_add
from impl.drivers.pci.vmd import vmd_probe
from impl.drivers.pci.vmd_domain import VmdDev
from impl.kernel.irq.irq import IrqData
from impl.kernel.kernel import KernelBug
from impl.machine import Machine
from impl.platform_parts import ImsDescription
from tests.impl.machine_support import described, footprint

INTEL, AMD = "device-msi", "amd-vi"


def machine(name: str, *, defects: Iterable[Defect] = ()) -> tuple[Machine, str]:
    """A machine whose first MSI-X device has two subdevices with four slots, and its name."""
    description = described(name)
    owner = next(part.name for part in description.devices if part.msix and not part.physfn)
    description = replace(description, ims=(ImsDescription(owner, slots=4, subdevices=2),))
    m = Machine(description, defects=frozenset(defects))
    if owner not in m.ims_drivers:
        assert m.ims_probe(owner) == 0
    return m, owner


def parent_of(m: Machine, irq: int) -> IrqData:
    parent = m.irqs.descs[irq].irq_data.parent_data
    assert parent is not None
    return parent


@pytest.mark.parametrize("name", [INTEL, AMD])
def test_ims_5_a_slot_holds_the_remappable_message_for_ever(name: str) -> None:
    m, owner = machine(name)
    assert m.ims_alloc_irqs(owner, 0, 2) == 0
    slots = m.ims_drivers[owner].slots
    before = [slots.message(slot) for slot in range(2)]
    for nr in range(2):
        irq = m.ims_irq(owner, 0, nr)
        data = parent_of(m, irq).chip_data
        assert isinstance(data, IntelIrData | AmdIrData)
        assert before[nr] == data.msi_entry
        assert m.request_irq(irq) == 0
        for cpu in range(4):
            assert m.set_affinity(irq, 1 << cpu) == 0
    assert [slots.message(slot) for slot in range(2)] == before


def test_ims_12_a_vt_d_entry_is_for_the_function_that_writes() -> None:
    m, owner = machine(INTEL)
    assert m.ims_alloc_irqs(owner, 1, 1) == 0
    data = parent_of(m, m.ims_irq(owner, 1, 0)).chip_data
    assert isinstance(data, IntelIrData)
    assert data.irte_entry.sid == m.pci_devs[owner].devid


def test_ims_12_an_amd_entry_is_in_the_table_of_the_function_that_writes() -> None:
    m, owner = machine(AMD)
    assert m.ims_alloc_irqs(owner, 1, 1) == 0
    data = parent_of(m, m.ims_irq(owner, 1, 0)).chip_data
    assert isinstance(data, AmdIrData)
    assert data.irq_2_irte.devid == m.pci_devs[owner].devid


@pytest.mark.parametrize("name", [INTEL, AMD])
def test_ims_4_what_a_subdevice_takes_it_gives_back(name: str) -> None:
    m, owner = machine(name)
    # A table is made for the first interrupt of a requester, and stays.
    assert m.ims_alloc_irqs(owner, 0, 1) == 0 and m.ims_free_irqs(owner, 0) == 0
    before = footprint(m)
    assert m.ims_alloc_irqs(owner, 0, 3) == 0
    assert m.ims_alloc_irqs(owner, 1, 2) == -errno.ENOSPC
    assert m.ims_alloc_irqs(owner, 0, 1) == -errno.EBUSY
    assert m.ims_free_irqs(owner, 0) == 0
    assert footprint(m) == before
    assert m.ims_alloc_irqs(owner, 1, 4) == 0


@pytest.mark.parametrize("name", [INTEL, AMD])
def test_d4_as_posted_remapping_refuses_and_takes_nothing(name: str) -> None:
    m, owner = machine(name, defects={Defect.DEV_D4})
    before = footprint(m)
    assert m.ims_alloc_irqs(owner, 0, 1) == -errno.ENOSPC
    assert footprint(m) == before


def test_d4_as_posted_vt_d_stops_the_machine_after_the_vector_is_taken() -> None:
    m, owner = machine(INTEL, defects={Defect.DEV_D4, Defect.INT_TYPE})
    with pytest.raises(KernelBug, match="DEV_MSI"):
        m.ims_alloc_irqs(owner, 0, 1)


@pytest.mark.parametrize("child_named", [False, True])
def test_16_4_the_entry_of_a_bypassed_child_is_for_the_vmd(child_named: bool) -> None:
    m = Machine(
        described("device-msi"),
        defects=frozenset({Defect.VMD_REQUESTER} if child_named else ()),
    )
    endpoint = m.pci_devs["nic"]
    vmd = VmdDev(m.x86, endpoint, can_bypass=True)
    assert vmd_probe(vmd, lambda bus: None, busn_start=0xE0) == 0
    assert vmd.bus is not None
    child = PciDev(
        90, "child", vmd.bus, 0x10, msix_cap=MsixCap(2), class_code=PCI_CLASS_STORAGE_EXPRESS
    )
    pci_device_add(child)
    assert child.msi_domain is endpoint.msi_domain
    assert pci_enable_msix_range(child, None, 1, 1) == 1
    data = parent_of(m, child.msi_list[0].irq).chip_data
    assert isinstance(data, IntelIrData)
    assert data.irte_entry.sid == (child if child_named else endpoint).devid
