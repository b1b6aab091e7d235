# SPDX-License-Identifier: GPL-2.0-only
"""AMD-Vi units are found, and devices and IO-APICs get their domains."""

import errno
from dataclasses import replace

import pytest

from impl.arch.x86.hpet import hpet_create_irq_domain
from impl.arch.x86.io_apic_regs import IoApicRouteEntry
from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.defects import Defect
from impl.drivers.iommu.amd import DevidMap, DevTableEntry, Ivhd
from impl.drivers.iommu.amd_devices import (
    amd_iommu_init,
    amd_iommu_init_api,
    amd_iommu_probe_device,
    amd_iommu_set_use_vapic,
)
from impl.drivers.iommu.amd_hw import amd_deliver_pin
from impl.drivers.iommu.amd_init import IOAPIC_SB_DEVID, add_special_device, amd_iommus
from impl.drivers.iommu.amd_irte import AmdGuestIr
from impl.drivers.iommu.irq_remapping import (
    IrqRemapCap,
    IrqRemapMode,
    irq_remap_enable_fault_handling,
    irq_remapping_cap,
    irq_remapping_disable,
    irq_remapping_enable,
    irq_remapping_get_irq_domain,
    irq_remapping_prepare,
    irq_remapping_reenable,
)
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    PCI_IRQ_MSIX,
    pci_alloc_irq_vectors_affinity,
    pci_enable_msi_range,
    pci_irq_vector,
)
from impl.drivers.pci.pci import dev_set_msi_domain
from impl.drivers.pci.probe import pci_remove_bus_device
from impl.kernel.irq.irqdomain import DomainBus, irq_domain_update_bus_token
from tests.impl.amd_support import HPET_DEVID, IOAPIC, IVRS, AmdMachine
from tests.impl.support import events_of

TYPE = X86_IRQ_ALLOC_TYPE


def parent_of(m: AmdMachine, type: X86_IRQ_ALLOC_TYPE, id: int) -> object:
    return irq_remapping_get_irq_domain(m.r, IrqAllocInfo(type=type, devid=id))


def test_each_unit_has_two_domains() -> None:
    m = AmdMachine()
    for unit in m.amd.units:
        ir, msi = unit.ir_domain, unit.msi_domain
        assert ir is not None and msi is not None
        assert (ir.name, msi.name) == (
            f"AMD-IR-{unit.index}",
            f"AMD-IR-MSI-{unit.index}-{DomainBus.PCI_MSI.value}",
        )
        assert ir.parent is m.vectors.x86_vector_domain and msi.parent is ir
        assert (ir.linear_revmap, msi.bus_token, ir.host_data) == ([], DomainBus.PCI_MSI, unit)
        assert unit.enabled


def test_irc_2_parents_are_those_of_the_unit_that_firmware_names() -> None:
    m = AmdMachine()
    first = m.amd.units[0].ir_domain
    assert parent_of(m, TYPE.IOAPIC_GET_PARENT, IOAPIC) is first
    assert parent_of(m, TYPE.HPET_GET_PARENT, 0) is first
    assert parent_of(m, TYPE.IOAPIC_GET_PARENT, 9) is None
    assert parent_of(m, TYPE.HPET_GET_PARENT, 9) is None
    a = m.ioapics()
    assert a.ioapics[0].domain is not None and a.ioapics[0].domain.parent is first
    hpet = hpet_create_irq_domain(m.x86, 0)
    assert hpet is not None and hpet.parent is first


@pytest.mark.parametrize("type", [TYPE.PCI_MSI, TYPE.PCI_MSIX])
def test_irc_3_pci_devices_are_not_answered(type: X86_IRQ_ALLOC_TYPE) -> None:
    m = AmdMachine()
    dev = m.device(msi=MsiCap())
    assert pci_enable_msi_range(dev, 1, 1) == 1
    info = IrqAllocInfo(type=type, desc=dev.msi_list[0])
    seen = events_of(m, lambda: [irq_remapping_get_irq_domain(m.r, info) for _ in range(2)])
    assert [event.name for event in seen].count("WARN") == 1
    assert irq_remapping_get_irq_domain(m.r, info) is None
    assert irq_remapping_get_irq_domain(m.r, None) is None
    m.amd.units.clear()
    assert irq_remapping_get_irq_domain(m.r, info) is None


def test_irc_3_other_types_get_a_warning() -> None:
    m = AmdMachine()
    seen = events_of(m, lambda: parent_of(m, TYPE.UV, 0))
    assert [event.name for event in seen] == ["WARN", "irq_remapping_get_irq_domain"]
    # A known unit that does not ask for its parent gets one, too.
    seen = events_of(m, lambda: parent_of(m, TYPE.IOAPIC, IOAPIC))
    assert [event.name for event in seen] == ["WARN", "irq_remapping_get_irq_domain"]


def test_irc_4_asking_changes_nothing() -> None:
    m = AmdMachine()
    before = m.footprint()
    for type in (TYPE.IOAPIC_GET_PARENT, TYPE.HPET_GET_PARENT, TYPE.UV):
        parent_of(m, type, IOAPIC)
    assert m.footprint() == before
    assert (m.amd.irq_lookup_table, m.amd.nr_tables) == ({}, 0)


@pytest.mark.parametrize("broken", [False, True])
def test_irc_5_trap_22_f5_no_parent_while_remapping_is_off(broken: bool) -> None:
    m = AmdMachine(defects=(Defect.F5,) if broken else (), enable=False, probe=False)
    m.amd.enable_error = -errno.EIO
    assert irq_remapping_enable(m.r) == -errno.EIO
    assert m.r.remap_ops is m.amd.ops
    assert not m.r.irq_remapping_enabled
    domain = m.amd.units[0].ir_domain
    assert domain is not None
    expected = domain if broken else m.vectors.x86_vector_domain
    a = m.ioapics()
    assert a.ioapics[0].domain is not None and a.ioapics[0].domain.parent is expected


@pytest.mark.parametrize("broken", [False, True])
def test_irc_5_f5_no_domains_where_remapping_is_not_asked_for(broken: bool) -> None:
    m = AmdMachine(defects=(Defect.F5,) if broken else (), prepare=False)
    assert [unit.ir_domain is None for unit in m.amd.units] == [not broken] * 2
    dev = m.device(msi=MsiCap())
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert m.amd.dev_table_entry(dev.devid) == DevTableEntry()


def test_irc_1_the_first_driver_that_finds_hardware_takes_charge() -> None:
    m = AmdMachine(prepare=False, probe=False)
    none = amd_iommus(m.r, m.x86, ())
    assert irq_remapping_prepare(m.r, (none.ops, m.amd.ops)) == 0
    assert m.r.remap_ops is m.amd.ops


def test_preparing_fails_without_hardware_or_by_the_command_line() -> None:
    m = AmdMachine(prepare=False, probe=False)
    assert amd_iommus(m.r, m.x86, ()).ops.prepare() == -errno.ENODEV
    off = amd_iommus(m.r, m.x86, IVRS, ioapic_ids=(IOAPIC,), disabled=True)
    assert (off.ops.prepare(), off.irq_remap, off.units) == (-errno.EINVAL, False, [])


@pytest.mark.parametrize(
    ("ioapic_ids", "ret"),
    [
        ((IOAPIC,), 0),
        ((), -errno.ENODEV),
        ((9,), -errno.ENODEV),
        ((9, IOAPIC), 0),
        ((IOAPIC, 9), -errno.ENODEV),
        ((5,), -errno.ENODEV),
    ],
)
def test_preparing_needs_the_io_apic_that_the_timer_is_wired_to(
    ioapic_ids: tuple[int, ...], ret: int
) -> None:
    m = AmdMachine(prepare=False, probe=False)
    ivrs = (replace(IVRS[0], ioapics=((IOAPIC, IOAPIC_SB_DEVID), (5, 0x4001))), IVRS[1])
    amd = amd_iommus(m.r, m.x86, ivrs, ioapic_ids=ioapic_ids)
    assert (amd.ops.prepare(), amd.irq_remap) == (ret, ret == 0)


@pytest.mark.parametrize("site", ["irq_domain_alloc_fwnode", "irq_domain_add"])
def test_without_memory_for_the_inner_domain_nobody_remaps(site: str) -> None:
    m = AmdMachine(prepare=False, probe=False)
    fwnodes = len(m.domains.fwnodes)
    m.fail_next(site, 3)
    assert m.amd.ops.prepare() == -errno.ENOMEM
    assert (m.amd.irq_remap, m.amd.units[1].ir_domain) == (False, None)
    # The first unit keeps its own.
    assert len(m.domains.fwnodes) == fwnodes + 2


@pytest.mark.parametrize("site", ["irq_domain_alloc_fwnode", "irq_domain_add"])
def test_sel_1_without_memory_for_the_outer_domain_devices_have_none(site: str) -> None:
    m = AmdMachine(prepare=False, probe=False)
    m.fail_next(site, 4)
    assert irq_remapping_prepare(m.r, (m.amd.ops,)) == 0
    assert irq_remapping_enable(m.r) == IrqRemapMode.X2APIC
    assert m.amd.units[1].ir_domain is not None and m.amd.units[1].msi_domain is None
    amd_iommu_init_api(m.amd, m.pci, ())
    dev = m.device(msi=MsiCap(), bus=m.bus(0x40))
    assert dev.msi_domain is None
    assert pci_enable_msi_range(dev, 1, 1) == -errno.ENODEV


@pytest.mark.parametrize(
    ("ivhd", "asked", "guest_ir", "mode"),
    [
        (Ivhd(0), AmdGuestIr.VAPIC, AmdGuestIr.VAPIC, IrqRemapMode.X2APIC),
        (Ivhd(0, vapic=False), AmdGuestIr.VAPIC, AmdGuestIr.LEGACY_GA, IrqRemapMode.X2APIC),
        (Ivhd(0, ga=False), AmdGuestIr.VAPIC, AmdGuestIr.LEGACY, IrqRemapMode.XAPIC),
        (Ivhd(0, xt=False), AmdGuestIr.VAPIC, AmdGuestIr.VAPIC, IrqRemapMode.XAPIC),
        (Ivhd(0), AmdGuestIr.LEGACY, AmdGuestIr.LEGACY, IrqRemapMode.XAPIC),
        (Ivhd(0, vapic=False), AmdGuestIr.LEGACY, AmdGuestIr.LEGACY, IrqRemapMode.XAPIC),
    ],
)
def test_the_format_is_what_all_units_understand(
    ivhd: Ivhd, asked: AmdGuestIr, guest_ir: AmdGuestIr, mode: IrqRemapMode
) -> None:
    m = AmdMachine(prepare=False, probe=False)
    ivrs = (replace(ivhd, ioapics=((IOAPIC, IOAPIC_SB_DEVID),)),)
    amd = amd_iommus(m.r, m.x86, ivrs, ioapic_ids=(IOAPIC,), guest_ir=asked)
    assert irq_remapping_prepare(m.r, (amd.ops,)) == 0
    assert irq_remapping_enable(m.r) == mode
    assert amd.guest_ir is guest_ir
    posting = irq_remapping_cap(m.r, IrqRemapCap.IRQ_POSTING_CAP)
    assert posting == (guest_ir is AmdGuestIr.VAPIC)


def test_the_command_line_says_better_what_an_io_apic_is() -> None:
    m = AmdMachine(prepare=False, probe=False)
    amd = m.amd
    assert add_special_device(amd, amd.ioapic_map, IOAPIC, 0x42, cmd_line=True) == 0x42
    assert amd.ops.prepare() == -errno.ENODEV
    assert amd.ioapic_map == [DevidMap(IOAPIC, 0x42, True)]
    assert amd.hpet_map == [DevidMap(0, HPET_DEVID)]
    m = AmdMachine(prepare=False, probe=False)
    m.fail_next("add_special_device", 2)
    assert m.amd.ops.prepare() == -errno.ENOMEM


def test_the_last_unit_that_lists_a_requester_has_it() -> None:
    ivrs = (*IVRS, Ivhd(2, ((0x1000, 0x10FF),), aliases=((0x4500, 0x2000),)))
    m = AmdMachine(ivrs=ivrs)
    units = m.amd.units
    found = [m.amd.rlookup(devid) for devid in (0xFFF, 0x1000, 0x10FF, 0x1100, 0x4500, 0x2000)]
    assert found == [units[0], units[2], units[2], units[0], units[2], units[2]]
    assert (m.amd.alias(0x4500), m.amd.alias(0x2000)) == (0x2000, 0x2000)


def test_units_sleep_and_wake() -> None:
    m = AmdMachine()
    assert irq_remap_enable_fault_handling(m.r) == 0
    dev = m.device(msix=1)
    assert pci_alloc_irq_vectors_affinity(dev, 1, 1, PCI_IRQ_MSIX) == 1
    irq = pci_irq_vector(dev, 0)
    assert m.request_irq(irq) == 0
    irq_remapping_disable(m.r)
    # What passes unremapped does not mean what its table entry does.
    assert m.deliver(dev, 0) != m.config(irq)
    assert irq_remapping_reenable(m.r, IrqRemapMode.X2APIC) == 0
    assert m.deliver(dev, 0) == m.config(irq)


# Devices


def test_amd_12_a_device_gets_the_domain_of_its_unit() -> None:
    m = AmdMachine()
    near, far = m.device(msi=MsiCap()), m.device(msi=MsiCap(), bus=m.bus(0x40))
    assert [near.msi_domain, far.msi_domain] == [unit.msi_domain for unit in m.amd.units]
    assert pci_enable_msi_range(far, 1, 1) == 1
    assert m.where(far.irq, 1).devid == far.devid


def test_amd_12_trap_27_devices_of_the_boot_are_met_after_the_enumeration() -> None:
    m = AmdMachine(probe=False)
    devs = [m.device(msi=MsiCap()) for _ in range(2)]
    assert {dev.msi_domain for dev in devs} == {m.x86.pci_msi_default_domain}
    assert amd_iommu_init(m.amd, m.pci, devs) == 0
    assert {dev.msi_domain for dev in devs} == {m.amd.units[0].msi_domain}


def test_sel_3_without_dma_remapping_devices_are_blocked() -> None:
    m = AmdMachine(probe=False)
    dev = m.device(msi=MsiCap(maskbit=True))
    assert pci_enable_msi_range(dev, 1, 1) == 1 and m.request_irq(dev.irq) == 0
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert m.deliver(dev, 0) is None


def test_amd_12_a_virtual_function_is_met_like_any_device() -> None:
    m = AmdMachine()
    vf = m.device(msix=1)
    vf.physfn = m.device(msix=1)
    assert vf.msi_domain is m.amd.units[0].msi_domain


def test_sel_6_a_special_domain_stays() -> None:
    m = AmdMachine()
    bus = m.bus(3)
    special = m.amd.units[1].msi_domain
    assert special is not None
    irq_domain_update_bus_token(m.domains, special, DomainBus.VMD_MSI)
    bus.msi_domain = special
    assert m.device(msi=MsiCap(), bus=bus).msi_domain is special
    # So does none at all.
    m.x86.pci_msi_default_domain = None
    assert m.device(msi=MsiCap()).msi_domain is None


def test_amd_12_remapping_that_is_off_overrides_nothing() -> None:
    m = AmdMachine(enable=False)
    dev = m.device(msi=MsiCap())
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert pci_enable_msi_range(dev, 1, 1) == 1 and m.request_irq(dev.irq) == 0
    assert m.deliver(dev, 0) == m.config(dev.irq)


def test_a_device_without_a_unit_keeps_its_domain() -> None:
    m = AmdMachine(ivrs=(replace(IVRS[0], requesters=((0, 0xFFF),)),))
    dev = m.device(msi=MsiCap(), bus=m.bus(0x10))
    assert amd_iommu_probe_device(m.amd, dev) == -errno.ENODEV
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert pci_enable_msi_range(dev, 1, 1) == 1 and m.request_irq(dev.irq) == 0
    assert m.deliver(dev, 0) == m.config(dev.irq)


def test_a_second_meeting_stores_nothing_a_new_device_is_met_again() -> None:
    m = AmdMachine()
    dev = m.device(msi=MsiCap())
    dev_set_msi_domain(dev, m.x86.pci_msi_default_domain)
    assert amd_iommu_probe_device(m.amd, dev) == 0
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    amd_iommu_set_use_vapic(m.amd, dev, True)
    data = m.amd.dev_data[dev.devid]
    pci_remove_bus_device(dev)
    again = m.device(msi=MsiCap(), devfn=dev.devfn)
    assert again.msi_domain is m.amd.units[0].msi_domain
    assert m.amd.dev_data[again.devid] is data


def test_a_device_that_cannot_be_noted_is_left_alone() -> None:
    m = AmdMachine()
    m.fail_next("alloc_dev_data")
    dev = m.device(msi=MsiCap())
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert m.amd.rlookup(dev.devid) is None
    assert amd_iommu_probe_device(m.amd, dev) == -errno.ENODEV
    amd_iommu_set_use_vapic(m.amd, dev, True)
    assert pci_enable_msi_range(dev, 1, 1) == 1 and m.request_irq(dev.irq) == 0
    assert m.deliver(dev, 0) == m.config(dev.irq)


def test_a_pin_without_a_unit_sends_what_its_entry_says() -> None:
    m = AmdMachine()
    m.amd.units.clear()
    entry = IoApicRouteEntry(vector=0x41, dest=2)
    assert amd_deliver_pin(m.amd, IOAPIC_SB_DEVID, entry) == (2, 0x41)
