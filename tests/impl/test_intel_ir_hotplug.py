# SPDX-License-Identifier: GPL-2.0-only
"""VT-d units that come and go (3.2, 10.5 b)."""

import errno

import pytest

from impl.defects import Defect
from impl.drivers.iommu.dmar import DeviceScope, DrhdHeader, DrhdUnit, ScopeType
from impl.drivers.iommu.intel_hotplug import (
    dmar_hotplug_insert,
    dmar_hotplug_remove,
    dmar_ir_hotplug,
)
from impl.drivers.iommu.intel_table import IntelCaps
from impl.drivers.iommu.irq_remapping import irq_remap_enable_fault_handling
from impl.drivers.pci.msi import pci_disable_msi
from impl.drivers.pci.probe import pci_remove_bus_device
from tests.impl.intel_support import CATCH_ALL, IntelMachine, endpoint, unit

IOAPIC_3 = DeviceScope(ScopeType.IOAPIC, 0xF1, ((0, 0),), 3)
NEW = unit(0x2000, endpoint(0, (3, 0)), IOAPIC_3)


def hotplugged(*units: DrhdHeader) -> IntelMachine:
    m = IntelMachine()
    assert dmar_hotplug_insert(m.ir, units or (NEW,)) == 0
    return m


def addresses(m: IntelMachine) -> list[int]:
    return [each.hdr.address for each in m.dmar.drhd_units]


def only_the_first(m: IntelMachine) -> None:
    """Nothing of what was plugged in is left."""
    assert addresses(m) == [CATCH_ALL.address]
    names = {domain.name for domain in m.domains.irq_domain_list}
    assert names == {"VECTOR", "PCI-MSI-3", "INTEL-IR-0", "INTEL-IR-MSI-0-3"}
    assert {scope.id for scope in m.ir.ir_ioapic if scope.iommu is not None} == {2}
    assert len(m.domains.fwnodes) == 4


def test_a_new_unit_is_on_and_serves_new_devices() -> None:
    m = hotplugged()
    iommu = m.unit_at(NEW.address)
    assert addresses(m) == [NEW.address, CATCH_ALL.address]
    assert iommu.seq_id == 1 and iommu.ires and iommu.ir_table is not None
    assert m.device(devfn=3 << 3).msi_domain is iommu.ir_msi_domain
    assert {scope.id for scope in m.ir.ir_ioapic} == {2, 3}


def test_10_5_b_a_device_that_was_there_keeps_its_domain() -> None:
    """The old lookup would have asked the new unit."""
    m = IntelMachine()
    dev = m.with_msi(1, devfn=3 << 3)
    before = dev.msi_domain
    assert dmar_hotplug_insert(m.ir, [NEW]) == 0
    assert dev.msi_domain is before is m.unit_at(CATCH_ALL.address).ir_msi_domain
    pci_disable_msi(dev)


def test_a_unit_that_is_known_is_left_alone() -> None:
    m = hotplugged()
    before = m.ir_footprint()
    assert dmar_hotplug_insert(m.ir, [NEW]) == 0
    assert m.ir_footprint() == before and addresses(m) == [NEW.address, CATCH_ALL.address]


def test_removal_gives_everything_back() -> None:
    m = hotplugged()
    assert irq_remap_enable_fault_handling(m.r) == 0
    irqs = set(m.irqs.descs)
    fault_irq = m.unit_at(NEW.address).fault_event.irq
    assert dmar_hotplug_remove(m.ir, [NEW]) == 0
    only_the_first_apart_from_faults(m)
    assert irqs - set(m.irqs.descs) == {fault_irq}
    assert dmar_hotplug_insert(m.ir, [NEW]) == 0
    assert m.unit_at(NEW.address).seq_id == 1


def only_the_first_apart_from_faults(m: IntelMachine) -> None:
    assert addresses(m) == [CATCH_ALL.address]
    assert not any("-1" in domain.name for domain in m.domains.irq_domain_list)


def test_removal_is_refused_while_a_device_is_there() -> None:
    m = hotplugged()
    dev = m.device(devfn=3 << 3)
    before = m.ir_footprint()
    assert dmar_hotplug_remove(m.ir, [NEW]) == -errno.EBUSY
    assert m.ir_footprint() == before and m.unit_at(NEW.address).ires
    pci_remove_bus_device(dev)
    assert dmar_hotplug_remove(m.ir, [NEW]) == 0
    only_the_first(m)


def test_removal_is_refused_while_an_interrupt_owns_an_entry() -> None:
    m = IntelMachine()
    dev = m.with_msi(2)
    before = m.ir_footprint()
    assert dmar_hotplug_remove(m.ir, [CATCH_ALL]) == -errno.EBUSY
    assert m.ir_footprint() == before and m.iommu.ires
    pci_disable_msi(dev)
    assert dmar_hotplug_remove(m.ir, [CATCH_ALL]) == 0
    assert not m.dmar.drhd_units


def test_removal_of_several_goes_back_if_one_is_busy() -> None:
    """The first one is stopped and started again, with a new table and new domains."""
    busy = unit(0x3000, endpoint(0, (4, 0)))
    m = hotplugged(NEW, busy)
    m.device(devfn=4 << 3)
    table = m.unit_at(NEW.address).ir_table
    assert dmar_hotplug_remove(m.ir, [NEW, busy]) == -errno.EBUSY
    iommu = m.unit_at(NEW.address)
    assert iommu.ires and iommu.ir_table is not table
    assert m.device(devfn=3 << 3).msi_domain is iommu.ir_msi_domain


def test_an_unknown_unit_may_be_removed() -> None:
    m = IntelMachine()
    assert dmar_hotplug_remove(m.ir, [NEW]) == 0
    only_the_first(m)


def test_the_way_back_ends_at_a_unit_that_nobody_knows() -> None:
    """What was stopped before the busy one stays so if the unknown one comes first."""
    busy = unit(0x3000, endpoint(0, (4, 0)))
    m = hotplugged(NEW, busy)
    m.device(devfn=4 << 3)
    unknown = unit(0x5000)
    assert dmar_hotplug_remove(m.ir, [unknown, NEW, busy]) == -errno.EBUSY
    assert not m.unit_at(NEW.address).ires and m.unit_at(0x3000).ires


@pytest.mark.parametrize("address", [0, (1 << 64) - 1])
def test_a_unit_without_registers_is_refused(address: int) -> None:
    m = IntelMachine()
    assert dmar_hotplug_insert(m.ir, [NEW, unit(address)]) == -errno.EINVAL
    only_the_first(m)


@pytest.mark.parametrize(
    ("site", "nth"),
    [
        ("dmar_parse_one_drhd", 1),
        ("dmar_parse_one_drhd", 2),
        *[("intel_setup_irq_remapping", nth) for nth in (1, 2, 3, 4)],
        ("irq_domain_alloc_fwnode", 1),
        ("irq_domain_add", 1),
        ("irq_domain_add", 3),
        ("dmar_enable_qi", 1),
        ("dmar_enable_qi", 2),
    ],
)
def test_insertion_is_all_or_nothing(site: str, nth: int) -> None:
    m = IntelMachine()
    m.fail_next(site, nth)
    assert dmar_hotplug_insert(m.ir, [NEW, unit(0x3000)]) == -errno.ENOMEM
    assert site not in m.kernel.failures
    only_the_first(m)


def test_f21_a_unit_that_fails_late_leaves_its_domains() -> None:
    m = IntelMachine(defects=[Defect.F21])
    m.fail_next("dmar_enable_qi")
    assert dmar_hotplug_insert(m.ir, [NEW]) == -errno.ENOMEM
    assert addresses(m) == [CATCH_ALL.address]
    assert {"INTEL-IR-1", "INTEL-IR-MSI-1-3"} < {d.name for d in m.domains.irq_domain_list}


@pytest.mark.parametrize(
    ("caps", "error"),
    [(IntelCaps(eim=False), -errno.ENODEV), (IntelCaps(pi=False), -errno.EBUSY)],
)
def test_a_unit_must_be_able_to_do_what_the_others_do(caps: IntelCaps, error: int) -> None:
    m = IntelMachine()
    assert dmar_hotplug_insert(m.ir, [unit(0x2000, caps=caps)]) == error
    only_the_first(m)


def test_a_unit_that_cannot_remap_is_none_of_remappings_business() -> None:
    m = hotplugged(unit(0x2000, caps=IntelCaps(ir=False)))
    iommu = m.unit_at(0x2000)
    assert not iommu.ires and iommu.ir_table is None
    assert dmar_hotplug_remove(m.ir, [unit(0x2000)]) == 0


def test_nothing_is_started_while_remapping_is_off() -> None:
    m = IntelMachine(enable=False)
    assert dmar_hotplug_insert(m.ir, [NEW]) == 0
    assert not m.unit_at(NEW.address).ires
    assert dmar_hotplug_remove(m.ir, [NEW]) == 0


def test_the_translation_of_dma_may_object_to_a_unit() -> None:
    m = IntelMachine()

    def object_to(unit: DrhdUnit, insert: bool) -> int:
        return -errno.EIO if insert else 0

    m.dmar.iommu_hotplug = object_to
    assert dmar_hotplug_insert(m.ir, [NEW]) == -errno.EIO
    only_the_first(m)


def test_too_many_ioapics_behind_a_new_unit() -> None:
    scopes = [DeviceScope(ScopeType.IOAPIC, 0xF1, ((0, 0),), id) for id in range(10, 140)]
    m = IntelMachine()
    assert dmar_hotplug_insert(m.ir, [unit(0x2000, *scopes)]) == -errno.ENODEV


def test_numbers_of_units_run_out() -> None:
    m = IntelMachine()
    m.dmar.seq_ids.update(range(1024))
    assert dmar_hotplug_insert(m.ir, [NEW]) == -errno.ENOSPC
    assert addresses(m) == [CATCH_ALL.address]


def running(m: IntelMachine) -> bool:
    """Whether the first unit remaps, with all that belongs to it."""
    iommu = m.iommu
    parts = {iommu.ires, iommu.ir_table is not None, iommu.ir_domain is not None}
    assert len(parts) == 1
    return iommu.ires


def test_one_unit_is_stopped_and_started_as_often_as_asked() -> None:
    m = IntelMachine()
    (first,) = m.dmar.drhd_units
    for insert in (False, False, True, True, False, True):
        assert dmar_ir_hotplug(m.ir, first, insert) == 0
        assert running(m) == insert
