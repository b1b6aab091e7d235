# SPDX-License-Identifier: GPL-2.0-only
"""PCI devices get the domain of their VT-d unit (3.7, INT-15, SEL, F2)."""

import errno

import pytest

from impl.defects import Defect
from impl.drivers.iommu.dmar import DmarNotifyInfo, ScopeType, dmar_alloc_pci_notify_info
from impl.drivers.iommu.intel_devices import (
    dmar_dev_scope_init,
    dmar_register_bus_notifier,
    ir_dev_scope_init,
    map_dev_to_ir,
)
from impl.drivers.iommu.intel_hw import IrDelivery, IrFault, vtd_remap_msi
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import pci_enable_msi_range
from impl.drivers.pci.pci import (
    PCI_CLASS_BRIDGE_PCI,
    PciBus,
    PciDev,
    dev_set_msi_domain,
    pci_signal,
)
from impl.drivers.pci.probe import (
    pci_device_add,
    pci_remove_bus_device,
    pci_set_bus_msi_domain,
)
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain import DomainBus, irq_domain_update_bus_token
from impl.kernel.kernel import KernelBug
from tests.impl.intel_support import CATCH_ALL, IntelMachine, endpoint, unit
from tests.impl.pci_support import block_domain

PCI_CLASS_BRIDGE_OTHER = 0x068000


def add(
    m: IntelMachine,
    bus: PciBus,
    devfn: int,
    *,
    class_code: int = 0,
    physfn: PciDev | None = None,
    msi: MsiCap | None = None,
) -> PciDev:
    m.nr_devices += 1
    dev = PciDev(
        m.nr_devices,
        f"d{m.nr_devices}",
        bus,
        devfn,
        class_code=class_code,
        physfn=physfn,
        msi_cap=msi,
    )
    pci_device_add(dev)
    return dev


def add_bridge(m: IntelMachine, bus: PciBus, devfn: int, behind: int) -> tuple[PciDev, PciBus]:
    bridge = add(m, bus, devfn, class_code=PCI_CLASS_BRIDGE_PCI)
    lower = PciBus(m.pci, bus.segment, behind, parent=bus, self_dev=bridge)
    pci_set_bus_msi_domain(lower)
    return bridge, lower


def of(m: IntelMachine, address: int) -> IrqDomain:
    domain = m.unit_at(address).ir_msi_domain
    assert domain is not None
    return domain


def status(m: IntelMachine) -> int:
    """What became of the look through the devices; read anew each time."""
    return m.dmar.dev_scope_status


# The match


def test_int_15_devices_are_served_by_the_unit_that_names_them() -> None:
    m = IntelMachine(
        unit(0x2000, endpoint(0, (3, 0))), unit(0x3000, endpoint(0, (3, 1))), CATCH_ALL
    )
    assert add(m, m.root, 3 << 3).msi_domain is of(m, 0x2000)
    assert add(m, m.root, 3 << 3 | 1).msi_domain is of(m, 0x3000)
    assert add(m, m.root, 4 << 3).msi_domain is of(m, 0x1000)


def test_int_15_what_is_behind_a_named_bridge_belongs_to_its_unit() -> None:
    bridge_scope = endpoint(0, (2, 0), type=ScopeType.BRIDGE)
    m = IntelMachine(unit(0x2000, bridge_scope), CATCH_ALL)
    bridge, lower = add_bridge(m, m.root, 2 << 3, 1)
    assert bridge.msi_domain is of(m, 0x2000)
    assert add(m, lower, 0).msi_domain is of(m, 0x2000)
    _, lowest = add_bridge(m, lower, 1 << 3, 2)
    assert add(m, lowest, 0).msi_domain is of(m, 0x2000)
    assert add(m, m.root, 5 << 3).msi_domain is of(m, 0x1000)


def test_int_15_a_path_leads_through_bridges() -> None:
    m = IntelMachine(unit(0x2000, endpoint(0, (2, 0), (4, 1))), CATCH_ALL)
    _, lower = add_bridge(m, m.root, 2 << 3, 1)
    assert add(m, lower, 4 << 3 | 1).msi_domain is of(m, 0x2000)
    assert add(m, lower, 4 << 3).msi_domain is of(m, 0x1000)
    assert add(m, m.root, 4 << 3 | 1).msi_domain is of(m, 0x1000)


def test_int_15_a_path_that_names_the_devices_own_bus_is_understood() -> None:
    m = IntelMachine(unit(0x2000, endpoint(1, (4, 0))), CATCH_ALL)
    _, lower = add_bridge(m, m.root, 2 << 3, 1)
    assert add(m, lower, 4 << 3).msi_domain is of(m, 0x2000)


def test_int_15_a_segment_has_units_of_its_own() -> None:
    other = unit(0x2000, endpoint(0, (3, 0)), segment=1)
    m = IntelMachine(other, unit(0x3000, segment=2, include_all=True), CATCH_ALL)
    assert add(m, m.root, 3 << 3).msi_domain is of(m, 0x1000)
    assert add(m, m.bus(0, segment=1), 3 << 3).msi_domain is of(m, 0x2000)
    assert add(m, m.bus(0, segment=2), 3 << 3).msi_domain is of(m, 0x3000)


def test_trap_10_a_device_without_a_unit_loses_its_domain() -> None:
    m = IntelMachine()
    dev = add(m, m.bus(0, segment=1), 0, msi=MsiCap(0))
    assert map_dev_to_ir(m.ir, dev) is None
    assert dev.msi_domain is None
    assert pci_enable_msi_range(dev, 1, 1) == -errno.ENODEV


def test_sel_6_a_special_domain_stays() -> None:
    m = IntelMachine()
    special = block_domain(m)
    irq_domain_update_bus_token(m.domains, special, DomainBus.VMD_MSI)
    bus = m.bus(9)
    bus.msi_domain = special
    assert add(m, bus, 0).msi_domain is special


def test_trap_6_no_domain_at_all_is_special_too() -> None:
    m = IntelMachine()
    m.x86.pci_msi_default_domain = None
    assert add(m, m.root, 3 << 3).msi_domain is None


def test_sel_3_messages_of_served_devices_are_remapped() -> None:
    m = IntelMachine(unit(0x2000, endpoint(0, (3, 0))), CATCH_ALL)
    for devfn in (3 << 3, 4 << 3):
        dev = add(m, m.root, devfn, msi=MsiCap(5, maskbit=True))
        assert pci_enable_msi_range(dev, 4, 4) == 4
        assert m.request_irq(dev.irq) == 0
        iommu = m.ir_data(dev.irq).irq_2_iommu.iommu
        assert dev.msi_domain is iommu.ir_msi_domain
        msg = pci_signal(dev, 0)
        assert msg is not None
        assert isinstance(vtd_remap_msi(iommu, msg, dev.devid), IrDelivery)


def test_devices_get_nothing_while_remapping_is_off() -> None:
    m = IntelMachine(enable=False)
    assert add(m, m.root, 0).msi_domain is m.x86.pci_msi_default_domain


# Scopes that do not fit


@pytest.mark.parametrize(
    ("type", "class_code", "fits"),
    [
        (ScopeType.ENDPOINT, 0, True),
        (ScopeType.ENDPOINT, PCI_CLASS_BRIDGE_OTHER, True),
        (ScopeType.ENDPOINT, PCI_CLASS_BRIDGE_PCI, False),
        (ScopeType.BRIDGE, PCI_CLASS_BRIDGE_PCI, True),
        (ScopeType.BRIDGE, PCI_CLASS_BRIDGE_OTHER, True),
        (ScopeType.BRIDGE, 0, False),
    ],
)
def test_trap_29_a_scope_that_does_not_fit_leaves_the_device_dead(
    type: ScopeType, class_code: int, fits: bool
) -> None:
    m = IntelMachine(unit(0x2000, endpoint(0, (3, 0), type=type)), CATCH_ALL)
    dev = add(m, m.root, 3 << 3, class_code=class_code, msi=MsiCap(0, maskbit=True))
    if fits:
        assert dev.msi_domain is of(m, 0x2000) and status(m) == 0
        return
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert status(m) == -errno.EINVAL
    assert pci_enable_msi_range(dev, 1, 1) == 1
    assert m.request_irq(dev.irq) == 0
    msg = pci_signal(dev, 0)
    assert msg is not None
    blocked = vtd_remap_msi(m.unit_at(0x1000), msg, dev.devid)
    assert blocked is IrFault.COMPATIBILITY_FORMAT


def test_the_translation_of_dma_may_object() -> None:
    m = IntelMachine()
    m.dmar.iommu_notify_scope_dev = lambda dev: -errno.EBUSY
    dev = add(m, m.root, 0)
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert status(m) == -errno.EBUSY


def test_one_place_for_each_named_device() -> None:
    m = IntelMachine(unit(0x2000, endpoint(0, (3, 0))), CATCH_ALL)
    add(m, m.root, 3 << 3)
    with pytest.raises(KernelBug, match="no place"):
        add(m, m.root, 3 << 3)


def test_a_removed_device_frees_its_place() -> None:
    m = IntelMachine(unit(0x2000, endpoint(0, (3, 0))), CATCH_ALL)
    first = add(m, m.root, 3 << 3)
    other = add(m, m.root, 4 << 3)
    pci_remove_bus_device(other)
    assert m.dmar.drhd_units[0].devices == [first]
    pci_remove_bus_device(first)
    assert m.dmar.drhd_units[0].devices == [None]
    assert add(m, m.root, 3 << 3).msi_domain is of(m, 0x2000)


# Devices that the notifier does not look at


def test_int_15_a_segment_of_more_than_16_bits_is_not_looked_at() -> None:
    m = IntelMachine()
    far = add(m, m.bus(0, segment=0x10000), 0)
    assert far.msi_domain is m.x86.pci_msi_default_domain
    assert status(m) == 0
    pci_remove_bus_device(far)


def test_int_15_without_memory_the_device_keeps_its_domain() -> None:
    m = IntelMachine()
    m.fail_next("dmar_alloc_pci_notify_info")
    assert add(m, m.root, 0).msi_domain is m.x86.pci_msi_default_domain
    assert status(m) == -errno.ENOMEM
    assert add(m, m.root, 8).msi_domain is of(m, 0x1000)


def test_a_removal_needs_no_memory() -> None:
    m = IntelMachine(unit(0x2000, endpoint(0, (3, 0))), CATCH_ALL)
    dev = add(m, m.root, 3 << 3)
    m.fail_next("dmar_alloc_pci_notify_info")
    pci_remove_bus_device(dev)
    assert m.dmar.drhd_units[0].devices == [None]
    # So there is a place when it comes back.
    m.kernel.failures.clear()
    assert add(m, m.root, 3 << 3).msi_domain is of(m, 0x2000)


# Virtual functions: F2


def with_virtfn(m: IntelMachine) -> tuple[PciDev, PciDev]:
    """A physical function behind the unit at 0x2000, and a virtual one on a bus of its own."""
    physfn = add(m, m.root, 3 << 3)
    virtual_bus = PciBus(m.pci, 0, 1, parent=m.root)
    pci_set_bus_msi_domain(virtual_bus)
    return physfn, add(m, virtual_bus, 0, physfn=physfn, msi=MsiCap(0, maskbit=True))


def test_f2_a_virtual_function_has_the_domain_of_its_physical_one() -> None:
    m = IntelMachine(unit(0x2000, endpoint(0, (3, 0))), CATCH_ALL)
    physfn, virtfn = with_virtfn(m)
    assert virtfn.msi_domain is physfn.msi_domain is of(m, 0x2000)
    assert map_dev_to_ir(m.ir, virtfn) is of(m, 0x2000)
    assert m.dmar.drhd_units[0].devices == [physfn]
    pci_remove_bus_device(virtfn)
    assert m.dmar.drhd_units[0].devices == [physfn]


def test_f2_the_domain_is_that_of_the_moment() -> None:
    """INT-15: a later change of the physical function does not show."""
    m = IntelMachine(unit(0x2000, endpoint(0, (3, 0))), CATCH_ALL)
    physfn, virtfn = with_virtfn(m)
    dev_set_msi_domain(physfn, of(m, 0x1000))
    assert virtfn.msi_domain is of(m, 0x2000)


def test_f2_a_virtual_function_of_a_special_one_is_special() -> None:
    m = IntelMachine()
    physfn = add(m, m.root, 3 << 3)
    special = block_domain(m)
    dev_set_msi_domain(physfn, special)
    assert add(m, m.root, 4 << 3, physfn=physfn).msi_domain is special


def test_f2_before_the_fix_a_virtual_function_is_dead() -> None:
    m = IntelMachine(unit(0x2000, endpoint(0, (3, 0))), CATCH_ALL, defects=[Defect.F2])
    _, virtfn = with_virtfn(m)
    assert virtfn.msi_domain is m.x86.pci_msi_default_domain
    assert pci_enable_msi_range(virtfn, 1, 1) == 1
    assert m.request_irq(virtfn.irq) == 0
    msg = pci_signal(virtfn, 0)
    assert msg is not None
    blocked = vtd_remap_msi(m.unit_at(0x2000), msg, virtfn.devid)
    assert blocked is IrFault.COMPATIBILITY_FORMAT


def test_f2_after_the_fix_its_messages_arrive() -> None:
    m = IntelMachine(unit(0x2000, endpoint(0, (3, 0))), CATCH_ALL)
    _, virtfn = with_virtfn(m)
    assert pci_enable_msi_range(virtfn, 1, 1) == 1
    assert m.request_irq(virtfn.irq) == 0
    msg = pci_signal(virtfn, 0)
    assert msg is not None
    cfg = m.vector_level(virtfn.irq).hw_irq_cfg
    reached = vtd_remap_msi(m.unit_at(0x2000), msg, virtfn.devid)
    assert reached == IrDelivery(cfg.dest_apicid, cfg.vector)


# Boot


def unfollowed(*defects: Defect) -> IntelMachine:
    units = (unit(0x2000, endpoint(0, (3, 0))), CATCH_ALL)
    return IntelMachine(*units, follow=False, defects=defects)


def test_trap_27_until_the_look_through_devices_they_have_the_native_domain() -> None:
    m = unfollowed()
    named, other = add(m, m.root, 3 << 3), add(m, m.root, 4 << 3)
    native = m.x86.pci_msi_default_domain
    assert named.msi_domain is native and other.msi_domain is native
    assert ir_dev_scope_init(m.ir, [named, other]) == 0
    assert named.msi_domain is of(m, 0x2000) and other.msi_domain is of(m, 0x1000)


def test_trap_25_the_bus_behind_a_bridge_keeps_the_domain_of_before() -> None:
    """A snapshot: but each device is matched by itself."""
    m = unfollowed()
    bridge, lower = add_bridge(m, m.root, 2 << 3, 1)
    native = m.x86.pci_msi_default_domain
    assert lower.msi_domain is native
    assert ir_dev_scope_init(m.ir, [bridge]) == 0
    assert bridge.msi_domain is of(m, 0x1000) and lower.msi_domain is native
    dmar_register_bus_notifier(m.ir, m.pci)
    assert add(m, lower, 0).msi_domain is of(m, 0x1000)


def test_the_devices_are_looked_through_once() -> None:
    m = unfollowed()
    dev = add(m, m.root, 4 << 3)
    assert dmar_dev_scope_init(m.ir, []) == 0
    assert dmar_dev_scope_init(m.ir, [dev]) == 0
    assert dev.msi_domain is m.x86.pci_msi_default_domain


def test_nothing_is_looked_through_without_remapping_or_units() -> None:
    m = IntelMachine(enable=False, follow=False)
    assert ir_dev_scope_init(m.ir, [add(m, m.root, 0)]) == 0
    assert status(m) == 1
    bare = IntelMachine(table=False, follow=False)
    assert dmar_dev_scope_init(bare.ir, []) == -errno.ENODEV
    assert dmar_dev_scope_init(bare.ir, []) == -errno.ENODEV


def test_virtual_functions_are_left_out_of_the_look_through_devices() -> None:
    m = unfollowed()
    physfn = add(m, m.root, 3 << 3)
    virtfn = add(m, m.root, 4 << 3, physfn=physfn)
    assert ir_dev_scope_init(m.ir, [physfn, virtfn]) == 0
    assert virtfn.msi_domain is m.x86.pci_msi_default_domain


@pytest.mark.parametrize("defective", [False, True])
def test_trap_28_a_device_that_no_unit_can_name(defective: bool) -> None:
    m = unfollowed(*[Defect.INT_SCAN] if defective else [])
    before = add(m, m.root, 4 << 3)
    far = add(m, m.bus(0, segment=0x10000), 0)
    behind = add(m, m.root, 5 << 3)
    assert ir_dev_scope_init(m.ir, [before, far, behind]) == 0
    native = m.x86.pci_msi_default_domain
    assert before.msi_domain is of(m, 0x1000) and far.msi_domain is native
    assert behind.msi_domain is (native if defective else of(m, 0x1000))


@pytest.mark.parametrize("defective", [False, True])
def test_trap_28_memory_is_short_for_one_device(defective: bool) -> None:
    m = unfollowed(*[Defect.INT_SCAN] if defective else [])
    devs = [add(m, m.root, slot << 3) for slot in (4, 5, 6)]
    m.fail_next("dmar_alloc_pci_notify_info", 2)
    assert ir_dev_scope_init(m.ir, devs) == -errno.ENOMEM
    served = [dev.msi_domain is of(m, 0x1000) for dev in devs]
    assert served == ([True, False, False] if defective else [True, False, True])


def test_trap_30_the_notifier_comes_before_any_driver() -> None:
    """The domain is settled when the device is there, and stored once by each of the two."""
    m = IntelMachine()
    stored = m.events(lambda: add(m, m.root, 0), "set_device_msi_domain", "pci_device_add")
    assert [event.name for event in stored] == [
        "set_device_msi_domain",
        "set_device_msi_domain",
        "pci_device_add",
    ]
    assert stored[-1].fields["domain"] == of(m, 0x1000).id


def test_the_way_to_a_device_starts_at_its_root_bus() -> None:
    m = IntelMachine()
    _, lower = add_bridge(m, m.root, 2 << 3, 7)
    dev = add(m, lower, 5 << 3 | 3)
    there = dmar_alloc_pci_notify_info(m.dmar, dev, added=True)
    assert there == DmarNotifyInfo(dev, 0, ((0, 2, 0), (7, 5, 3)))
    gone = dmar_alloc_pci_notify_info(m.dmar, dev, added=False)
    assert gone == DmarNotifyInfo(dev, 0, ())
