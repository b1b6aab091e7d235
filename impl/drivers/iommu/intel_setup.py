# SPDX-License-Identifier: GPL-2.0-only
"""VT-d units are prepared, switched on and off (intel/irq_remapping.c, v5.10).

Preparing is all or nothing: one unit that cannot remap, or one IO-APIC that no unit covers, and the
machine does without.  Enabling comes later, when the IO-APICs are silent.
"""

import errno
from collections.abc import Sequence
from functools import partial

from impl.arch.x86.dmar import dmar_set_interrupt
from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.x86_init import X86Platform
from impl.drivers.iommu.dmar import (
    DMAR_INTR_REMAP,
    DMAR_X2APIC_OPT_OUT,
    Dmar,
    dmar_table_init,
)
from impl.drivers.iommu.intel import IntelIr
from impl.drivers.iommu.intel_affinity import intel_ir_chip
from impl.drivers.iommu.intel_scope import ir_parse_ioapic_hpet_scope, ir_scope_iommu
from impl.drivers.iommu.intel_table import IntelIommu
from impl.drivers.iommu.intel_unit import (
    intel_setup_irq_remapping,
    intel_teardown_irq_remapping,
    iommu_disable_irq_remapping,
    iommu_enable_irq_remapping,
    iommu_set_irq_remapping,
)
from impl.drivers.iommu.irq_remapping import (
    IrqRemapCap,
    IrqRemapMode,
    IrqRemapOps,
    IrqRemapping,
)
from impl.kernel.irq.irq import IrqDomain

__all__ = [
    "intel_enable_irq_remapping",
    "intel_get_irq_domain",
    "intel_irq_remapping",
    "intel_prepare_irq_remapping",
]

_FAILED = -1


def intel_irq_remapping(
    r: IrqRemapping,
    x86: X86Platform,
    dmar: Dmar,
    *,
    ioapic_ids: Sequence[int] = (),
    x2apic_supported: bool = True,
    cx16: bool = True,
    kdump: bool = False,
) -> IntelIr:
    """The VT-d driver of a machine: its `ops` are a candidate for irq_remapping_prepare.

    For the parameters see IntelIr.
    """
    ir = IntelIr(
        r,
        x86,
        dmar,
        ioapic_ids=ioapic_ids,
        x2apic_supported=x2apic_supported,
        cx16=cx16,
        kdump=kdump,
    )
    ir.chip = intel_ir_chip(ir)
    ir.ops = IrqRemapOps(
        prepare=partial(intel_prepare_irq_remapping, ir),
        enable=partial(intel_enable_irq_remapping, ir),
        disable=partial(_disable_irq_remapping, ir),
        reenable=partial(_reenable_irq_remapping, ir),
        enable_faulting=partial(_enable_drhd_fault_handling, ir),
        get_irq_domain=partial(intel_get_irq_domain, ir),
    )
    return ir


def intel_prepare_irq_remapping(ir: IntelIr) -> int:
    """Choose the mode, and give every unit its table and its domains; 0 or -ENODEV and nothing.

    -ENODEV: the chipset is broken, firmware tells of no unit that remaps or leaves an IO-APIC out,
    a unit cannot remap, or memory is short.  The x2APIC mode needs CPUs and units that know it, and
    the firmware's consent.
    """
    d = ir.dmar
    if ir.r.irq_remap_broken or dmar_table_init(d) < 0:
        return -errno.ENODEV
    if d.table is None or not d.table.flags & DMAR_INTR_REMAP:
        return -errno.ENODEV
    if _parse_ioapics_under_ir(ir) or not all(iommu.caps.ir for iommu in d.iommus):
        _intel_cleanup_irq_remapping(ir)
        return -errno.ENODEV
    ir.eim_mode = (
        ir.x2apic_supported
        and not _dmar_x2apic_optout(ir)
        and all(iommu.caps.eim for iommu in d.iommus)
    )
    for iommu in d.iommus:
        if intel_setup_irq_remapping(ir, iommu):
            _intel_cleanup_irq_remapping(ir)
            return -errno.ENODEV
    return 0


def intel_enable_irq_remapping(ir: IntelIr) -> int:
    """Switch all units on that no crashed kernel left on; the mode, or -1 without any unit.

    From then on messages of the compatibility format are blocked.
    """
    iommus = ir.dmar.iommus
    for iommu in iommus:
        if not iommu.pre_enabled:
            iommu_enable_irq_remapping(iommu)
    if not iommus:
        _intel_cleanup_irq_remapping(ir)
        return _FAILED
    ir.r.irq_remapping_enabled = True
    _set_irq_posting_cap(ir)
    return IrqRemapMode.X2APIC if ir.eim_mode else IrqRemapMode.XAPIC


def intel_get_irq_domain(ir: IntelIr, info: IrqAllocInfo | None) -> IrqDomain | None:
    """The domain of the unit that covers an IO-APIC or an HPET, None if none does.

    Only parents can be asked for; anything else is None and, once, a warning (IRC-3).
    """
    if info is None:
        return None
    if info.type == X86_IRQ_ALLOC_TYPE.IOAPIC_GET_PARENT:
        iommu = ir_scope_iommu(ir.ir_ioapic, info.devid)
    elif info.type == X86_IRQ_ALLOC_TYPE.HPET_GET_PARENT:
        iommu = ir_scope_iommu(ir.ir_hpet, info.devid)
    else:
        ir.r.warn_once("intel_get_irq_domain")
        return None
    return iommu.ir_domain if iommu is not None else None


def _parse_ioapics_under_ir(ir: IntelIr) -> int:
    """Note what is behind the units; 0 if that includes all IO-APICs."""
    ir_supported = False
    for unit in ir.dmar.drhd_units:
        if not unit.iommu.caps.ir:
            continue
        ret = ir_parse_ioapic_hpet_scope(ir, unit)
        if ret:
            return ret
        ir_supported = True
    if not ir_supported:
        return -errno.ENODEV
    covered = all(ir_scope_iommu(ir.ir_ioapic, id) is not None for id in ir.ioapic_ids)
    return 0 if covered else _FAILED


def _dmar_x2apic_optout(ir: IntelIr) -> bool:
    table = ir.dmar.table
    if table is None or ir.r.no_x2apic_optout:
        return False
    return bool(table.flags & DMAR_X2APIC_OPT_OUT)


def _intel_cleanup_irq_remapping(ir: IntelIr) -> None:
    for iommu in _capable(ir):
        iommu_disable_irq_remapping(iommu)
        intel_teardown_irq_remapping(ir, iommu)


def _disable_irq_remapping(ir: IntelIr) -> None:
    for iommu in _capable(ir):
        iommu_disable_irq_remapping(iommu)
    if not ir.r.disable_irq_post:
        ir.ops.capability &= ~(1 << IrqRemapCap.IRQ_POSTING_CAP)


def _reenable_irq_remapping(ir: IntelIr, eim: int) -> int:
    iommus = _capable(ir)
    for iommu in iommus:
        iommu_set_irq_remapping(iommu, bool(eim))
        iommu_enable_irq_remapping(iommu)
    if not iommus:
        return _FAILED
    _set_irq_posting_cap(ir)
    return 0


def _set_irq_posting_cap(ir: IntelIr) -> None:
    """Posting needs units that know it, and CPUs that store an entry at once."""
    if ir.r.disable_irq_post:
        return
    bit = 1 << IrqRemapCap.IRQ_POSTING_CAP
    if ir.cx16:
        ir.ops.capability |= bit
    if not all(iommu.caps.pi for iommu in ir.dmar.iommus):
        ir.ops.capability &= ~bit


def _enable_drhd_fault_handling(ir: IntelIr) -> int:
    """Give every unit its own interrupt; 0, or -1 at the first that gets none."""
    for iommu in ir.dmar.iommus:
        if dmar_set_interrupt(ir.x86, iommu.fault_event):
            return _FAILED
    return 0


def _capable(ir: IntelIr) -> tuple[IntelIommu, ...]:
    return tuple(iommu for iommu in ir.dmar.iommus if iommu.caps.ir)
