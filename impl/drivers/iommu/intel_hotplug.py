# SPDX-License-Identifier: GPL-2.0-only
"""VT-d units come and go while the machine runs (intel/dmar.c, intel/irq_remapping.c, v5.10).

A host bridge that is plugged in brings the units that serve it.  Devices that were there before
keep their domain, whatever a new unit says of them.
"""

import errno
from collections.abc import Callable, Sequence

from impl.arch.x86.dmar import dmar_free_hwirq
from impl.drivers.iommu.dmar import (
    DrhdHeader,
    DrhdUnit,
    dmar_find_dmaru,
    dmar_free_drhd,
    dmar_parse_one_drhd,
)
from impl.drivers.iommu.intel import IntelIr
from impl.drivers.iommu.intel_scope import (
    ir_parse_ioapic_hpet_scope,
    ir_remove_ioapic_hpet_scope,
)
from impl.drivers.iommu.intel_table import IntelIommu
from impl.drivers.iommu.intel_unit import (
    intel_setup_irq_remapping,
    intel_teardown_irq_remapping,
    iommu_disable_irq_remapping,
    iommu_enable_irq_remapping,
)
from impl.drivers.iommu.irq_remapping import IrqRemapCap, irq_remapping_cap

__all__ = ["dmar_hotplug_insert", "dmar_hotplug_remove", "dmar_ir_hotplug"]

_NO_ADDRESS = 0xFFFFFFFFFFFFFFFF


def dmar_hotplug_insert(ir: IntelIr, units: Sequence[DrhdHeader]) -> int:
    """Units were plugged in: all of them start, or none is known.

    0; -EINVAL for a unit without registers; else what noting or starting one answers.
    """
    if any(hdr.address in (0, _NO_ADDRESS) for hdr in units):
        return -errno.EINVAL
    ret = _walk(units, lambda hdr: dmar_parse_one_drhd(ir.dmar, hdr))
    if ret == 0:
        ret = _walk(units, lambda hdr: _dmar_hp_add_drhd(ir, hdr))
        if ret:
            _walk(units, lambda hdr: _dmar_hp_remove_drhd(ir, hdr))
    if ret:
        _walk(units, lambda hdr: _dmar_hp_release_drhd(ir, hdr))
    return ret


def dmar_hotplug_remove(ir: IntelIr, units: Sequence[DrhdHeader]) -> int:
    """Units are to be unplugged: 0, or -EBUSY and all go on.

    -EBUSY while a device that a unit names is there, or an interrupt owns an entry.
    """
    ret = _walk(units, lambda hdr: _dmar_hp_remove_drhd(ir, hdr))
    if ret == 0:
        _walk(units, lambda hdr: _dmar_hp_release_drhd(ir, hdr))
    else:
        _walk(units, lambda hdr: _dmar_hp_add_drhd(ir, hdr))
    return ret


def dmar_ir_hotplug(ir: IntelIr, unit: DrhdUnit, insert: bool) -> int:
    """Start or stop the remapping of one unit; 0 if there is nothing to do.

    -EBUSY: interrupts are posted and the unit cannot do that, or one still owns an entry.  -ENODEV:
    the unit lacks the x2APIC mode, or its IO-APICs are too many.  -ENOMEM.
    """
    iommu = unit.iommu
    if not ir.r.irq_remapping_enabled or not iommu.caps.ir:
        return 0
    if irq_remapping_cap(ir.r, IrqRemapCap.IRQ_POSTING_CAP) and not iommu.caps.pi:
        return -errno.EBUSY
    if insert:
        ret = _dmar_ir_add(ir, unit) if iommu.ir_table is None else 0
    else:
        ret = _dmar_ir_remove(ir, iommu) if iommu.ir_table is not None else 0
    iommu.trace("dmar_ir_hotplug", insert=int(insert), ret=ret)
    return ret


def _walk(units: Sequence[DrhdHeader], action: Callable[[DrhdHeader], int]) -> int:
    """Do it for each unit until one answers with an error (dmar_walk_dsm_resource)."""
    return next((ret for ret in map(action, units) if ret), 0)


def _dmar_ir_add(ir: IntelIr, unit: DrhdUnit) -> int:
    iommu = unit.iommu
    if ir.eim_mode and not iommu.caps.eim:
        return -errno.ENODEV
    if ir_parse_ioapic_hpet_scope(ir, unit):
        return -errno.ENODEV
    ret = intel_setup_irq_remapping(ir, iommu)
    if ret:
        intel_teardown_irq_remapping(ir, iommu)
        ir_remove_ioapic_hpet_scope(ir, iommu)
    else:
        iommu_enable_irq_remapping(iommu)
    return ret


def _dmar_ir_remove(ir: IntelIr, iommu: IntelIommu) -> int:
    if iommu.table.bitmap:
        return -errno.EBUSY
    iommu_disable_irq_remapping(iommu)
    intel_teardown_irq_remapping(ir, iommu)
    ir_remove_ioapic_hpet_scope(ir, iommu)
    return 0


def _dmar_hp_add_drhd(ir: IntelIr, hdr: DrhdHeader) -> int:
    unit = dmar_find_dmaru(ir.dmar, hdr)
    if unit is None:
        return -errno.ENODEV
    ret = dmar_ir_hotplug(ir, unit, True)
    return ret if ret else ir.dmar.iommu_hotplug(unit, True)


def _dmar_hp_remove_drhd(ir: IntelIr, hdr: DrhdHeader) -> int:
    """Stop a unit whose devices are gone; a catch-all unit names none."""
    unit = dmar_find_dmaru(ir.dmar, hdr)
    if unit is None:
        return 0
    if not hdr.include_all and any(dev is not None for dev in unit.devices):
        return -errno.EBUSY
    ret = dmar_ir_hotplug(ir, unit, False)
    return ret if ret else ir.dmar.iommu_hotplug(unit, False)


def _dmar_hp_release_drhd(ir: IntelIr, hdr: DrhdHeader) -> int:
    unit = dmar_find_dmaru(ir.dmar, hdr)
    if unit is not None:
        fault_event = unit.iommu.fault_event
        if fault_event.irq:
            dmar_free_hwirq(ir.x86, fault_event.irq)
            fault_event.irq = 0
        dmar_free_drhd(ir.dmar, unit)
    return 0
