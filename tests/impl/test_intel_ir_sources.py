# SPDX-License-Identifier: GPL-2.0-only
"""Who may use a VT-d entry, and how requesters name it (3.5, INT-12)."""

import errno

import pytest

from impl.arch.x86.hpet import HpetChannel, hpet_assign_irq, hpet_create_irq_domain
from impl.arch.x86.i8259 import LegacyPic
from impl.arch.x86.io_apic import IoApic, IoApicDomainType, IoApics, MpChipData, ioapic_read_entry
from impl.arch.x86.io_apic_domain import ioapic_set_alloc_attr, mp_irqdomain_create
from impl.arch.x86.io_apic_regs import (
    IOAPIC_EDGE,
    IOAPIC_LEVEL,
    IOAPIC_POL_HIGH,
    IOAPIC_POL_LOW,
    IoApicRouteEntry,
)
from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IoapicAllocInfo, IrqAllocInfo
from impl.arch.x86.msidef import compose_msi_msg
from impl.drivers.iommu.dmar import DeviceScope, ScopeType
from impl.drivers.iommu.intel_hw import IrDelivery, IrFault, vtd_remap_ioapic, vtd_remap_msi
from impl.drivers.iommu.intel_irte import (
    SQ_13_IGNORE_3,
    SQ_ALL_16,
    SVT_NO_VERIFY,
    SVT_VERIFY_BUS,
    SVT_VERIFY_SID_SQ,
    Irte,
    compose_ir_ioapic_entry,
    compose_ir_msi_msg,
    decode_ir_msi_msg,
    ir_ioapic_index,
    irte_accepts,
    is_remappable,
)
from impl.kernel.irq.irq import IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs
from impl.kernel.kernel import KernelBug
from tests.impl.intel_support import CATCH_ALL, HPET_SCOPE, IOAPIC_SCOPE, IntelMachine, unit

IOAPIC_SID = 0xF0F8
HPET_SID = 0xF078
PIN = 20


def source(irte: Irte) -> tuple[int, int, int]:
    return irte.svt, irte.sq, irte.sid


# Messages


@pytest.mark.parametrize(
    ("index", "address_lo"), [(0, 0xFEE00018), (0x8000, 0xFEE0001C), (0xFFFF, 0xFEEFFFFC)]
)
def test_int_5_golden_addresses(index: int, address_lo: int) -> None:
    assert compose_ir_msi_msg(index, 3) == (address_lo, 0, 3)


def test_int_5_messages_are_decoded() -> None:
    indices = {1 << bit for bit in range(16)} | {0, 0x7FFF, 0x8001, 0xFFFF}
    for index in indices:
        for sub_handle in (0, 1, 31, 0xFFFF):
            address_lo, _, data = compose_ir_msi_msg(index, sub_handle)
            assert decode_ir_msi_msg(address_lo, data) == (index, sub_handle)
            assert is_remappable(address_lo)


def test_a_message_of_the_vector_domain_has_the_other_format() -> None:
    for dest in (0, 0xFF, 0x1_0001):
        address_lo = compose_msi_msg(dest, 0xEF, logical=True, x2apic=True)[0]
        assert not is_remappable(address_lo)


def test_the_sub_handle_counts_only_if_the_address_says_so() -> None:
    address_lo, _, data = compose_ir_msi_msg(5, 3)
    assert decode_ir_msi_msg(address_lo & ~(1 << 3), data) == (5, 0)


# Route entries


def test_route_entries_name_any_index() -> None:
    for index in (0, 1, 0x7F, 0x80, 0x7FFF, 0x8000, 0xFFFF):
        assert ir_ioapic_index(compose_ir_ioapic_entry(index, 3, 0, 0)) == index
    assert ir_ioapic_index(IoApicRouteEntry(vector=0x31, dest=0xFF)) is None


def ioapic_alloc(
    m: IntelMachine, id: int, trigger: int = IOAPIC_LEVEL, polarity: int = IOAPIC_POL_LOW
) -> tuple[int, IrqAllocInfo, MpChipData]:
    data = MpChipData()
    info = IrqAllocInfo(
        type=X86_IRQ_ALLOC_TYPE.IOAPIC,
        devid=id,
        ioapic=IoapicAllocInfo(pin=PIN, trigger=trigger, polarity=polarity, valid=True, entry=data),
    )
    assert m.iommu.ir_domain is not None
    virq = irq_domain_alloc_irqs(m.domains, m.iommu.ir_domain, -1, 1, -1, info)
    assert virq > 0
    return virq, info, data


@pytest.mark.parametrize(
    ("trigger", "polarity"), [(IOAPIC_LEVEL, IOAPIC_POL_LOW), (IOAPIC_EDGE, IOAPIC_POL_HIGH)]
)
def test_trap_5_an_ioapic_gets_its_route_entry_and_the_pointer_is_used_up(
    trigger: int, polarity: int
) -> None:
    m = IntelMachine()
    m.with_msi(4)
    irq, info, data = ioapic_alloc(m, 2, trigger, polarity)
    assert info.ioapic.entry is None
    entry = data.entry
    assert ir_ioapic_index(entry) == m.ir_data(irq).irq_2_iommu.irte_index == 4
    assert (entry.vector, entry.trigger, entry.polarity) == (PIN, trigger, polarity)
    assert entry.mask == int(trigger == IOAPIC_LEVEL)
    assert source(m.ir_data(irq).irte_entry) == (SVT_VERIFY_SID_SQ, SQ_ALL_16, IOAPIC_SID)
    assert m.ir_data(irq).msi_entry == MsiMsg()


def test_an_ioapic_needs_a_place_for_its_route_entry() -> None:
    m = IntelMachine()
    info = IrqAllocInfo(type=X86_IRQ_ALLOC_TYPE.IOAPIC, devid=2)
    assert m.iommu.ir_domain is not None
    with pytest.raises(KernelBug, match="pin 0"):
        irq_domain_alloc_irqs(m.domains, m.iommu.ir_domain, -1, 1, -1, info)


def test_int_12_and_trap_18_an_ioapic_that_is_not_listed_is_not_checked() -> None:
    m = IntelMachine()
    warned = m.events(lambda: ioapic_alloc(m, 9), "WARN")
    assert len(warned) == 1
    (irq,) = m.remapped()
    assert source(m.ir_data(irq).irte_entry) == (SVT_NO_VERIFY, 0, 0)


def test_int_12_and_trap_18_source_id_0_counts_as_not_listed() -> None:
    at_zero = DeviceScope(ScopeType.IOAPIC, 0, ((0, 0),), 2)
    m = IntelMachine(unit(0x1000, at_zero, include_all=True))
    assert m.prepared == 0
    warned = m.events(lambda: ioapic_alloc(m, 2), "WARN")
    assert len(warned) == 1
    (irq,) = m.remapped()
    assert m.ir_data(irq).irte_entry.svt == SVT_NO_VERIFY


def ioapics(m: IntelMachine) -> IoApics:
    """One IO-APIC of 24 pins."""
    a = IoApics(m.x86, LegacyPic(0), [IoApic(2, 0, 24, IoApicDomainType.DYNAMIC)], ())
    assert mp_irqdomain_create(a, 0) == 0
    return a


def test_a_whole_ioapic_behind_a_unit() -> None:
    m = IntelMachine()
    a = ioapics(m)
    domain = a.ioapics[0].domain
    assert domain is not None and domain.parent is m.iommu.ir_domain
    assert domain.name == "IO-APIC-IR-0"
    info = IrqAllocInfo()
    ioapic_set_alloc_attr(info, -1, IOAPIC_EDGE, IOAPIC_POL_HIGH)
    info.type, info.devid, info.ioapic.pin = X86_IRQ_ALLOC_TYPE.IOAPIC, 2, PIN
    irq = irq_domain_alloc_irqs(m.domains, domain, -1, 1, -1, info)
    assert irq > 0 and m.irqd(irq).chip is a.ir_chip
    assert m.request_irq(irq) == 0
    entry = ioapic_read_entry(a, 0, PIN)
    assert ir_ioapic_index(entry) == 0 and entry.vector == PIN
    cfg = m.vector_level(irq).hw_irq_cfg
    reached = vtd_remap_ioapic(m.iommu, entry, IOAPIC_SID)
    assert reached == IrDelivery(cfg.dest_apicid, cfg.vector)
    assert m.set_affinity(irq, 1 << 1 - m.vector_level(irq).cpu) == 0
    assert ioapic_read_entry(a, 0, PIN) == entry
    moved = vtd_remap_ioapic(m.iommu, entry, IOAPIC_SID)
    assert moved == IrDelivery(cfg.dest_apicid, cfg.vector) != reached
    assert vtd_remap_ioapic(m.iommu, entry, IOAPIC_SID ^ 1) is IrFault.SOURCE_ID


# HPETs


def hpet_domain(m: IntelMachine, id: int) -> IrqDomain:
    domain = hpet_create_irq_domain(m.x86, id)
    assert domain is not None
    return domain


def test_an_hpet_may_use_any_function_number() -> None:
    m = IntelMachine()
    domain = hpet_domain(m, 0)
    assert domain.parent is m.iommu.ir_domain and domain.name == "IR-HPET-MSI-0"
    channel = HpetChannel(2)
    irq = hpet_assign_irq(m.x86, domain, channel, 2)
    assert irq > 0 and m.request_irq(irq) == 0
    assert source(m.entry(irq)) == (SVT_VERIFY_SID_SQ, SQ_13_IGNORE_3, HPET_SID)
    assert channel.message == m.ir_data(irq).msi_entry
    for function in range(8):
        reached = vtd_remap_msi(m.iommu, channel.message, HPET_SID | function)
        assert isinstance(reached, IrDelivery)
    assert vtd_remap_msi(m.iommu, channel.message, HPET_SID ^ 8) is IrFault.SOURCE_ID


def test_int_12_an_hpet_that_is_not_listed_is_on_the_vector_domain() -> None:
    m = IntelMachine()
    assert hpet_domain(m, 3).parent is m.vectors.x86_vector_domain


def test_int_12_an_hpet_with_source_id_0_is_not_checked() -> None:
    at_zero = DeviceScope(ScopeType.HPET, 0, ((0, 0),), 0)
    m = IntelMachine(unit(0x1000, IOAPIC_SCOPE, at_zero, include_all=True))
    irq = hpet_assign_irq(m.x86, hpet_domain(m, 0), HpetChannel(0), 0)
    assert irq > 0 and m.ir_data(irq).irte_entry.svt == SVT_NO_VERIFY


# PCI devices: 3.5.1


def test_a_plain_device_is_checked_exactly() -> None:
    m = IntelMachine()
    dev = m.with_msi(1, devfn=0x18)
    assert source(m.entry(dev.irq)) == (SVT_VERIFY_SID_SQ, SQ_ALL_16, dev.devid)
    message = m.ir_data(dev.irq).msi_entry
    assert vtd_remap_msi(m.iommu, message, dev.devid ^ 1) is IrFault.SOURCE_ID


OWN_BUS = 5
OWN_DEVFN = 0x18
OWN = OWN_BUS << 8 | OWN_DEVFN


@pytest.mark.parametrize(
    ("aliases", "expected"),
    [
        ((), (SVT_VERIFY_SID_SQ, SQ_ALL_16, OWN)),
        # A bridge to conventional PCI shows the bus behind it.
        (((0, 0x0500),), (SVT_VERIFY_BUS, SQ_ALL_16, 0x0505)),
        (((3, 0x0400),), (SVT_VERIFY_BUS, SQ_ALL_16, 0x0405)),
        # A device sends under several ids of its bus.
        (((5, 0x0519),), (SVT_VERIFY_BUS, SQ_ALL_16, 0x0505)),
        (((5, 0x0519), (5, 0x051A)), (SVT_VERIFY_BUS, SQ_ALL_16, 0x0505)),
        # A bridge takes the requests over.
        (((2, 0x0210),), (SVT_VERIFY_SID_SQ, SQ_ALL_16, 0x0210)),
        (((5, 0x0519), (2, 0x0210)), (SVT_VERIFY_SID_SQ, SQ_ALL_16, 0x0210)),
        # Aliases of several buses, the last one shown by the device's own: a quirk of its DMA.
        (((2, 0x0210), (5, 0x0519)), (SVT_VERIFY_SID_SQ, SQ_ALL_16, OWN)),
    ],
)
def test_aliases_decide_who_is_checked(
    aliases: tuple[tuple[int, int], ...], expected: tuple[int, int, int]
) -> None:
    m = IntelMachine()
    dev = m.with_msi(2, bus=m.bus(OWN_BUS), devfn=OWN_DEVFN, dma_aliases=aliases)
    for irq in (dev.irq, dev.irq + 1):
        assert source(m.ir_data(irq).irte_entry) == expected


def test_int_12_every_entry_of_a_device_is_checked() -> None:
    m = IntelMachine()
    for n in (1, 4):
        dev = m.with_msi(n)
        assert all(m.entry(irq).svt != SVT_NO_VERIFY for irq in range(dev.irq, dev.irq + n))


def test_int_12_nobody_is_checked_if_the_command_line_says_so() -> None:
    def before(m: IntelMachine) -> None:
        m.r.disable_sourceid_checking = True

    m = IntelMachine(before=before)
    dev = m.with_msi(1)
    ioapic_irq = ioapic_alloc(m, 2)[0]
    for irq in (dev.irq, ioapic_irq):
        assert m.ir_data(irq).irte_entry.svt == SVT_NO_VERIFY
    message = m.ir_data(dev.irq).msi_entry
    assert isinstance(vtd_remap_msi(m.iommu, message, 0xABCD), IrDelivery)


@pytest.mark.parametrize(
    ("svt", "sq", "sid", "accepted"),
    [
        (SVT_NO_VERIFY, 0, 0, {0x1234, 0x1235, 0x9999}),
        (SVT_VERIFY_SID_SQ, 0, 0x1234, {0x1234}),
        (SVT_VERIFY_SID_SQ, 1, 0x1230, {0x1230, 0x1234}),
        (SVT_VERIFY_SID_SQ, 2, 0x1230, {0x1230, 0x1234, 0x1232, 0x1236}),
        (SVT_VERIFY_SID_SQ, 3, 0x1230, {0x1230 + i for i in range(8)}),
        (SVT_VERIFY_BUS, 0, 0x0405, {0x0400, 0x05FF}),
        (3, 0, 0x1234, set()),
    ],
)
def test_what_the_checks_mean(svt: int, sq: int, sid: int, accepted: set[int]) -> None:
    irte = Irte(present=1, svt=svt, sq=sq, sid=sid)
    asked = {0x1234, 0x1235, 0x9999, 0x0400, 0x05FF, 0x0600, *range(0x1230, 0x1239)}
    if svt == SVT_NO_VERIFY:
        accepted = asked
    assert {each for each in asked if irte_accepts(irte, each)} == accepted


# What the hardware blocks


def test_f2_a_message_of_the_compatibility_format_is_blocked() -> None:
    m = IntelMachine()
    compatible = MsiMsg(*compose_msi_msg(1, 0x31, logical=False, x2apic=False))
    assert vtd_remap_msi(m.iommu, compatible, 0x18) is IrFault.COMPATIBILITY_FORMAT
    assert vtd_remap_ioapic(m.iommu, IoApicRouteEntry(vector=0x31), 0) is (
        IrFault.COMPATIBILITY_FORMAT
    )
    assert IrFault.COMPATIBILITY_FORMAT.value == 37


def test_a_unit_that_is_off_lets_everything_pass() -> None:
    m = IntelMachine(enable=False)
    assert vtd_remap_msi(m.iommu, MsiMsg(0xFEE00018), 0x18) is None
    assert vtd_remap_ioapic(m.iommu, IoApicRouteEntry(), 0x18) is None


def test_handles_beyond_the_table_and_empty_entries_fault() -> None:
    m = IntelMachine()
    beyond = MsiMsg(*compose_ir_msi_msg(0xFFFF, 1))
    assert vtd_remap_msi(m.iommu, beyond, 0) is IrFault.INDEX_BEYOND_TABLE
    empty = MsiMsg(*compose_ir_msi_msg(7, 0))
    assert vtd_remap_msi(m.iommu, empty, 0) is IrFault.NOT_PRESENT


def test_hardware_that_lets_the_compatibility_format_pass() -> None:
    m = IntelMachine(x2apic_supported=False, apic=None)
    m.iommu.cfis = True
    compatible = MsiMsg(*compose_msi_msg(1, 0x31, logical=False, x2apic=False))
    assert vtd_remap_msi(m.iommu, compatible, 0x18) is None
    m.iommu.eime = True
    assert vtd_remap_msi(m.iommu, compatible, 0x18) is IrFault.COMPATIBILITY_FORMAT


def test_bridges_lead_to_ioapics_and_hpets() -> None:
    """PCI is not there yet, so the bridges themselves are asked."""
    far = DeviceScope(ScopeType.IOAPIC, 0, ((2, 0), (0x1F, 0)), 2)

    def before(m: IntelMachine) -> None:
        m.dmar.secondary_buses[0, 2, 0] = 0x42

    m = IntelMachine(unit(0x1000, far, HPET_SCOPE, include_all=True), before=before)
    assert [scope.sid for scope in m.ir.ir_ioapic] == [0x42F8]
    silent = IntelMachine(unit(0x1000, far, include_all=True))
    assert [scope.bus for scope in silent.ir.ir_ioapic] == [0xFF]


def test_an_ioapic_listed_twice_counts_once() -> None:
    m = IntelMachine(unit(0x1000, IOAPIC_SCOPE, IOAPIC_SCOPE, HPET_SCOPE, include_all=True))
    assert len(m.ir.ir_ioapic) == 1 and len(m.ir.ir_hpet) == 1


def test_more_hpets_than_there_are_places() -> None:
    hpets = [DeviceScope(ScopeType.HPET, 0xF0, ((0, 0),), id) for id in range(9)]
    m = IntelMachine(unit(0x1000, IOAPIC_SCOPE, *hpets, include_all=True))
    assert m.prepared == -errno.ENOSYS
    fits = IntelMachine(unit(0x1000, IOAPIC_SCOPE, *hpets[:8], include_all=True))
    assert fits.prepared == 0 and len(fits.ir.ir_hpet) == 8


def test_scopes_of_the_unit_that_serves_them() -> None:
    m = IntelMachine(unit(0x2000, HPET_SCOPE), unit(0x1000, IOAPIC_SCOPE, include_all=True))
    assert m.ir.ir_hpet[0].iommu is m.unit_at(0x2000)
    assert m.ir.ir_ioapic[0].iommu is m.unit_at(0x1000)
    assert CATCH_ALL.scopes == (IOAPIC_SCOPE, HPET_SCOPE)
