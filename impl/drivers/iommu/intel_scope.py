# SPDX-License-Identifier: GPL-2.0-only
"""Which IO-APICs and HPETs are behind which VT-d unit (intel/irq_remapping.c, v5.10)."""

import errno
from collections.abc import Iterable

from impl.drivers.iommu.dmar import DeviceScope, Dmar, DrhdUnit, ScopeType
from impl.drivers.iommu.intel import IntelIr, IrScope
from impl.drivers.iommu.intel_table import IntelIommu

__all__ = [
    "ir_parse_ioapic_hpet_scope",
    "ir_remove_ioapic_hpet_scope",
    "ir_scope_iommu",
]

_MAX_IO_APICS = 128
_MAX_HPET_TBS = 8

_NO_BUS = 0xFF


def ir_parse_ioapic_hpet_scope(ir: IntelIr, unit: DrhdUnit) -> int:
    """Note the IO-APICs and HPETs that firmware puts behind the unit; 0, or -ENOSPC at the first
    that is too many."""
    for scope in unit.hdr.scopes:
        ret = 0
        if scope.type is ScopeType.IOAPIC:
            ret = _ir_parse_one_scope(ir.dmar, ir.ir_ioapic, _MAX_IO_APICS, scope, unit.iommu)
        elif scope.type is ScopeType.HPET:
            ret = _ir_parse_one_scope(ir.dmar, ir.ir_hpet, _MAX_HPET_TBS, scope, unit.iommu)
        if ret:
            return ret
    return 0


def ir_remove_ioapic_hpet_scope(ir: IntelIr, iommu: IntelIommu) -> None:
    """Forget what is behind a unit."""
    for scope in (*ir.ir_hpet, *ir.ir_ioapic):
        if scope.iommu is iommu:
            scope.iommu = None


def ir_scope_iommu(scopes: Iterable[IrScope], id: int) -> IntelIommu | None:
    """The unit that covers `id` (map_ioapic_to_iommu, map_hpet_to_iommu)."""
    for scope in scopes:
        if scope.id == id and scope.iommu is not None:
            return scope.iommu
    return None


def _ir_parse_one_scope(
    d: Dmar, scopes: list[IrScope], limit: int, scope: DeviceScope, iommu: IntelIommu
) -> int:
    id = scope.enumeration_id
    if any(each.iommu is iommu and each.id == id for each in scopes):
        return 0
    device, function = scope.path[-1]
    noted = IrScope(iommu, id, _bus_behind(d, scope), device << 3 | function)
    free = next((i for i, each in enumerate(scopes) if each.iommu is None), len(scopes))
    if free == limit:
        return -errno.ENOSPC
    scopes[free : free + 1] = [noted]
    return 0


def _bus_behind(d: Dmar, scope: DeviceScope) -> int:
    """The bus of the scope's last step; PCI is not initialized yet, so the bridges are asked."""
    bus = scope.bus
    for device, function in scope.path[:-1]:
        bus = d.secondary_buses.get((bus, device, function), _NO_BUS)
    return bus
