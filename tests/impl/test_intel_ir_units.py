# SPDX-License-Identifier: GPL-2.0-only
"""VT-d units: preparation, failures, modes, a crash kernel, suspend (3.2, INT-14)."""

import errno
from collections.abc import Callable

import pytest

from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.msi import arch_create_remap_msi_irq_domain
from impl.defects import Defect
from impl.drivers.iommu.dmar import DMAR_INTR_REMAP, DMAR_X2APIC_OPT_OUT, dmar_table_init
from impl.drivers.iommu.intel_irte import INTR_REMAP_TABLE_ENTRIES, Irte, pack_irte
from impl.drivers.iommu.intel_table import IntelCaps
from impl.drivers.iommu.intel_unit import intel_setup_irq_remapping
from impl.drivers.iommu.irq_remapping import (
    IrqRemapCap,
    IrqRemapMode,
    irq_remap_enable_fault_handling,
    irq_remapping_cap,
    irq_remapping_disable,
    irq_remapping_enable,
    irq_remapping_prepare,
    irq_remapping_reenable,
)
from impl.drivers.pci.pci import PciDev
from impl.kernel.irq.irqdomain import DomainBus
from impl.kernel.irq.msi import MSI_FLAG_MULTI_PCI_MSI, MSI_FLAG_PCI_MSIX, MsiDomainInfo
from impl.kernel.kernel import KernelBug
from tests.impl.intel_support import CATCH_ALL, HPET_SCOPE, IOAPIC_SCOPE, IntelMachine, unit

POSTING = IrqRemapCap.IRQ_POSTING_CAP


def with_caps(caps: IntelCaps) -> IntelMachine:
    return IntelMachine(unit(0x1000, IOAPIC_SCOPE, HPET_SCOPE, include_all=True, caps=caps))


def domain_names(m: IntelMachine) -> set[str]:
    return {domain.name for domain in m.domains.irq_domain_list}


def test_int_14_each_unit_has_two_domains() -> None:
    m = IntelMachine(unit(0x3000), unit(0x2000), CATCH_ALL)
    assert m.prepared == 0 and m.mode == IrqRemapMode.X2APIC
    assert [each.seq_id for each in m.dmar.iommus] == [1, 0, 2]
    for each in m.dmar.iommus:
        assert each.ir_domain is not None and each.ir_msi_domain is not None
        assert each.ir_domain.parent is m.vectors.x86_vector_domain
        assert each.ir_msi_domain.parent is each.ir_domain
        assert each.ir_domain.name == f"INTEL-IR-{each.seq_id}"
        assert each.ir_msi_domain.name == f"INTEL-IR-MSI-{each.seq_id}-3"
        assert len(each.ir_domain.linear_revmap) == INTR_REMAP_TABLE_ENTRIES
        assert each.ir_msi_domain.bus_token == DomainBus.PCI_MSI
        info: MsiDomainInfo = each.ir_msi_domain.host_data
        assert info.flags & MSI_FLAG_MULTI_PCI_MSI and info.flags & MSI_FLAG_PCI_MSIX
        assert each.ires and not each.cfis and each.irta is each.table.base


def test_catch_all_units_are_searched_last() -> None:
    """The other ones come in front, the newest first."""
    units = (CATCH_ALL, unit(0x2000), unit(0x4000, include_all=True, segment=1), unit(0x3000))
    m = IntelMachine(*units)
    assert [each.hdr.address for each in m.dmar.drhd_units] == [0x3000, 0x2000, 0x1000, 0x4000]


@pytest.mark.parametrize(
    "make",
    [
        lambda: IntelMachine(table=False),
        lambda: IntelMachine(flags=0),
        lambda: IntelMachine(ioapic_ids=(2, 3)),
        lambda: IntelMachine(unit(0x1000, include_all=True)),
        lambda: IntelMachine(unit(0x2000, caps=IntelCaps(ir=False)), CATCH_ALL),
        lambda: with_caps(IntelCaps(ir=False)),
        lambda: with_caps(IntelCaps(qi=False)),
    ],
)
def test_machines_without_remapping(make: Callable[[], IntelMachine]) -> None:
    m = make()
    assert m.prepared == -errno.ENOSYS
    assert not m.r.irq_remapping_enabled and m.r.remap_ops is None
    assert not any(each.ires or each.ir_table for each in m.dmar.iommus)
    assert domain_names(m) == {"VECTOR", "PCI-MSI-3"}
    assert len(m.domains.fwnodes) == 2


def test_a_table_without_units_has_no_devices() -> None:
    m = IntelMachine(prepare=False, follow=False)
    assert m.dmar.table is not None
    m.dmar.table = m.dmar.table._replace(units=())
    assert dmar_table_init(m.dmar) == -errno.ENODEV
    m.dmar.table = m.dmar.table._replace(units=(CATCH_ALL,))
    assert dmar_table_init(m.dmar) == -errno.ENODEV


def test_the_table_is_read_once_and_a_unit_known_once() -> None:
    m = IntelMachine(CATCH_ALL, CATCH_ALL)
    assert len(m.dmar.drhd_units) == 1
    assert dmar_table_init(m.dmar) == 0 and len(m.dmar.drhd_units) == 1


def test_a_unit_that_cannot_be_noted() -> None:
    m = IntelMachine(before=lambda m: m.fail_next("dmar_parse_one_drhd"))
    assert m.prepared == -errno.ENOSYS and not m.dmar.drhd_units


# Memory: every allocation of the second unit fails in turn

SITES = [
    *[("intel_setup_irq_remapping", nth) for nth in (1, 2, 3, 4, 5, 6)],
    ("irq_domain_alloc_fwnode", 1),
    ("irq_domain_alloc_fwnode", 3),
    ("irq_domain_add", 1),
    ("irq_domain_add", 3),
    ("dmar_enable_qi", 1),
    ("dmar_enable_qi", 2),
]


@pytest.mark.parametrize(("site", "nth"), SITES)
def test_a_unit_that_cannot_be_set_up_takes_the_others_along(site: str, nth: int) -> None:
    m = IntelMachine(unit(0x2000), CATCH_ALL, before=lambda m: m.fail_next(site, nth))
    assert m.prepared == -errno.ENOSYS
    assert site not in m.kernel.failures
    for each in m.dmar.iommus:
        assert (each.ir_table, each.ir_domain, each.ir_msi_domain) == (None, None, None)
    assert domain_names(m) == {"VECTOR", "PCI-MSI-3"}
    assert len(m.domains.fwnodes) == 2


@pytest.mark.parametrize(("site", "nth"), [("irq_domain_alloc_fwnode", 2), ("irq_domain_add", 2)])
def test_a_unit_without_its_msi_domain_counts_as_set_up(site: str, nth: int) -> None:
    """Its devices end up without any domain (10.5 c)."""
    m = IntelMachine(before=lambda m: m.fail_next(site, nth))
    assert m.prepared == 0 and m.mode == IrqRemapMode.X2APIC
    assert m.iommu.ir_domain is not None and m.iommu.ir_msi_domain is None
    assert m.device().msi_domain is None
    assert len(m.domains.fwnodes) == 3


def test_f21_a_unit_that_fails_late_keeps_its_domains() -> None:
    m = IntelMachine(defects=[Defect.F21], before=lambda m: m.fail_next("dmar_enable_qi"))
    assert m.prepared == -errno.ENOSYS
    assert {"INTEL-IR-0", "INTEL-IR-MSI-0-3"} <= domain_names(m)
    assert m.iommu.ir_table is None and m.iommu.ir_domain is not None


def test_a_second_preparation_of_a_unit_changes_nothing() -> None:
    m = IntelMachine()
    before = m.ir_footprint(), m.iommu.ir_table
    assert intel_setup_irq_remapping(m.ir, m.iommu) == 0
    assert (m.ir_footprint(), m.iommu.ir_table) == before


def test_a_unit_without_a_table_cannot_be_asked_for_it() -> None:
    m = IntelMachine(table=False)
    assert not m.dmar.iommus
    bare = IntelMachine(flags=0)
    with pytest.raises(KernelBug):
        _ = bare.iommu.table


@pytest.mark.parametrize("site", ["irq_domain_alloc_fwnode", "irq_domain_add"])
def test_the_msi_domain_of_a_unit_needs_memory(site: str) -> None:
    m = IntelMachine()
    assert m.iommu.ir_domain is not None
    nodes = set(m.domains.fwnodes)
    m.fail_next(site)
    assert arch_create_remap_msi_irq_domain(m.x86, m.iommu.ir_domain, "SECOND", 0) is None
    assert m.domains.fwnodes == nodes


# The mode


@pytest.mark.parametrize(
    ("supported", "flags", "eim", "mode"),
    [
        (True, 0, True, IrqRemapMode.X2APIC),
        (False, 0, True, IrqRemapMode.XAPIC),
        (True, DMAR_X2APIC_OPT_OUT, True, IrqRemapMode.XAPIC),
        (True, 0, False, IrqRemapMode.XAPIC),
    ],
)
def test_the_x2apic_mode_needs_cpus_units_and_firmware(
    supported: bool, flags: int, eim: bool, mode: IrqRemapMode
) -> None:
    m = IntelMachine(
        unit(0x2000, caps=IntelCaps(eim=eim)),
        CATCH_ALL,
        flags=DMAR_INTR_REMAP | flags,
        x2apic_supported=supported,
        apic=ApicMode.FLAT,
    )
    assert m.mode == mode and m.ir.eim_mode == bool(mode)
    assert all(each.eime == bool(mode) for each in m.dmar.iommus)


def test_the_command_line_overrules_the_firmware() -> None:
    def before(m: IntelMachine) -> None:
        m.r.no_x2apic_optout = True

    flags = DMAR_INTR_REMAP | DMAR_X2APIC_OPT_OUT
    assert IntelMachine(flags=flags, before=before).mode == IrqRemapMode.X2APIC


@pytest.mark.parametrize(("pi", "cx16"), [(True, True), (False, True), (True, False)])
def test_posting_needs_all_units_and_a_wide_store(pi: bool, cx16: bool) -> None:
    m = IntelMachine(unit(0x2000, caps=IntelCaps(pi=pi)), CATCH_ALL, cx16=cx16)
    assert irq_remapping_cap(m.r, POSTING) == (pi and cx16)


def test_posting_is_not_looked_for_if_the_command_line_forbids_it() -> None:
    def before(m: IntelMachine) -> None:
        m.r.disable_irq_post = True

    m = IntelMachine(before=before)
    m.r.disable_irq_post = False
    assert not irq_remapping_cap(m.r, POSTING)


# Suspend, resume, crash


def test_suspend_and_resume_keep_the_table() -> None:
    m = IntelMachine(unit(0x2000), CATCH_ALL)
    dev = m.with_msi(2)
    before = m.ir_footprint()
    irq_remapping_disable(m.r)
    assert not any(each.ires for each in m.dmar.iommus)
    assert not m.ir.ops.capability >> POSTING & 1
    assert irq_remapping_reenable(m.r, IrqRemapMode.X2APIC) == 0
    assert all(each.ires and each.eime for each in m.dmar.iommus)
    assert m.ir.ops.capability >> POSTING & 1
    assert m.ir_footprint() == before and m.entry(dev.irq).present


def test_enabling_without_a_unit_fails() -> None:
    m = IntelMachine(enable=False)
    m.dmar.drhd_units.clear()
    assert irq_remapping_enable(m.r) == -1
    assert m.r.remap_ops is m.ir.ops and not m.r.irq_remapping_enabled


def test_resume_without_a_unit_fails() -> None:
    m = IntelMachine()
    m.dmar.drhd_units.clear()
    assert irq_remapping_reenable(m.r, 0) == -1


OLD = {3: pack_irte(Irte(present=1, vector=0x51)), 9: pack_irte(Irte(vector=0x52))}


def left_on(m: IntelMachine) -> None:
    """An earlier kernel left the unit on."""
    assert dmar_table_init(m.dmar) == 0
    m.iommu.ires, m.iommu.cfis, m.iommu.irta = True, False, dict(OLD)


def test_a_unit_that_is_on_is_switched_off_first() -> None:
    m = IntelMachine(enable=False, before=left_on)
    assert m.prepared == 0 and not m.iommu.ires and not m.iommu.pre_enabled
    assert m.iommu.table.bitmap == 0 and not m.iommu.irta


def test_int_1_a_crash_kernel_takes_the_entries_over() -> None:
    m = IntelMachine(kdump=True, before=left_on)
    assert m.prepared == 0 and m.iommu.ires and m.iommu.pre_enabled
    assert m.iommu.irta == OLD and m.iommu.irta is m.iommu.table.base
    assert m.iommu.table.bitmap == 1 << 3
    dev = m.with_msi(4)
    assert m.ir_data(dev.irq).irq_2_iommu.irte_index == 4
    assert m.iommu.table.bitmap == 1 << 3 | 0xF << 4


def test_a_crash_kernel_cannot_read_a_table_of_another_size() -> None:
    def before(m: IntelMachine) -> None:
        left_on(m)
        m.iommu.irta_size_ok = False

    m = IntelMachine(kdump=True, before=before)
    assert m.prepared == 0 and m.iommu.ires
    assert m.iommu.table.bitmap == 0 and not m.iommu.irta


def test_units_have_interrupts_of_their_own_which_nothing_remaps() -> None:
    m = IntelMachine(unit(0x2000), CATCH_ALL)
    assert irq_remap_enable_fault_handling(m.r) == 0
    for each in m.dmar.iommus:
        irq = each.fault_event.irq
        assert irq > 0 and irq not in m.remapped()
    again = [each.fault_event.irq for each in m.dmar.iommus]
    assert irq_remap_enable_fault_handling(m.r) == 0
    assert [each.fault_event.irq for each in m.dmar.iommus] == again


def test_a_unit_without_an_interrupt_is_an_error() -> None:
    m = IntelMachine()
    m.fail_next("irq_domain_add")
    assert irq_remap_enable_fault_handling(m.r) == -1


def test_r4_units_that_all_ask_for_the_same_hwirq() -> None:
    m = IntelMachine(unit(0x2000), CATCH_ALL, defects=[Defect.N1])
    assert irq_remap_enable_fault_handling(m.r) == -1


def test_nothing_is_remapped_before_remapping_is_on() -> None:
    m = IntelMachine(prepare=False)
    dev: PciDev = m.with_msi(1)
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert irq_remapping_prepare(m.r, [m.ir.ops]) == 0
    assert dev.msi_domain is m.x86.pci_msi_default_domain
