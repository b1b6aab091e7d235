# SPDX-License-Identifier: GPL-2.0-only
"""PCI devices get the MSI domain of their VT-d unit (intel/dmar.c, intel/irq_remapping.c, v5.10).

Those that are there at boot get it in a look through all devices once remapping is on; later ones
when they are added, before any driver sees them.
"""

import errno
from collections.abc import Iterable
from functools import partial

from impl.defects import Defect
from impl.drivers.iommu.dmar import (
    DmarNotifyInfo,
    dmar_alloc_pci_notify_info,
    dmar_find_matched_drhd_unit,
    dmar_insert_dev_scope,
    dmar_remove_dev_scope,
)
from impl.drivers.iommu.intel import IntelIr
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.pci import Pci, PciDev, dev_set_msi_domain, pci_physfn
from impl.kernel.irq.irq import IrqDomain

__all__ = [
    "dmar_dev_scope_init",
    "dmar_register_bus_notifier",
    "intel_irq_remap_add_device",
    "ir_dev_scope_init",
    "map_dev_to_ir",
]


def ir_dev_scope_init(ir: IntelIr, devices: Iterable[PciDev]) -> int:
    """Look through the devices if remapping is on; 0 or dmar_dev_scope_init's error."""
    return dmar_dev_scope_init(ir, devices) if ir.r.irq_remapping_enabled else 0


def dmar_dev_scope_init(ir: IntelIr, devices: Iterable[PciDev]) -> int:
    """Let the units find their devices, once; `devices` are those on PCI, in order of addition.

    0; -ENODEV without units; the first error of a device, which does not end the search.  Under
    INT-scan a device that no unit could name ends it.
    """
    d = ir.dmar
    if d.dev_scope_status != 1:
        return d.dev_scope_status
    if not d.drhd_units:
        d.dev_scope_status = -errno.ENODEV
        return d.dev_scope_status
    d.dev_scope_status = 0
    for dev in devices:
        if dev.is_virtfn:
            continue
        info = dmar_alloc_pci_notify_info(d, dev, added=True)
        if info is not None:
            _dmar_pci_bus_add_dev(ir, info)
        elif Defect.INT_SCAN in ir.kernel.defects:
            break
    return d.dev_scope_status


def dmar_register_bus_notifier(ir: IntelIr, pci: Pci) -> None:
    """Follow the devices that come and go from now on, whether DMA is translated or not."""
    pci.bus_notifiers.append(partial(_device_added, ir))
    pci.bus_removed_notifiers.append(partial(_device_removed, ir))


def intel_irq_remap_add_device(ir: IntelIr, dev: PciDev) -> None:
    """Store the domain of the device's unit, unless remapping is off or the domain is special.

    Without a unit, or if the unit has no MSI domain, the device has none from now on (trap 10).
    """
    if not ir.r.irq_remapping_enabled or pci_dev_has_special_msi_domain(dev):
        return
    dev_set_msi_domain(dev, map_dev_to_ir(ir, dev))


def map_dev_to_ir(ir: IntelIr, dev: PciDev) -> IrqDomain | None:
    """The MSI domain of the unit that serves the device."""
    unit = dmar_find_matched_drhd_unit(ir.dmar, dev)
    return unit.iommu.ir_msi_domain if unit is not None else None


def _device_added(ir: IntelIr, dev: PciDev) -> None:
    """A virtual function is served as its physical one; units do not know it (F2)."""
    if dev.is_virtfn:
        if Defect.F2 not in ir.kernel.defects:
            dev_set_msi_domain(dev, pci_physfn(dev).msi_domain)
        return
    info = dmar_alloc_pci_notify_info(ir.dmar, dev, added=True)
    if info is not None:
        _dmar_pci_bus_add_dev(ir, info)


def _device_removed(ir: IntelIr, dev: PciDev) -> None:
    if dev.is_virtfn:
        return
    info = dmar_alloc_pci_notify_info(ir.dmar, dev, added=False)
    if info is None:
        return
    for unit in ir.dmar.drhd_units:
        if dmar_remove_dev_scope(info, unit):
            break
    ir.dmar.iommu_notify_scope_dev(dev)


def _dmar_pci_bus_add_dev(ir: IntelIr, info: DmarNotifyInfo) -> None:
    """Let the first unit that names the device note it; a mismatch leaves its domain (trap 29)."""
    d = ir.dmar
    ret = 0
    for unit in d.drhd_units:
        if not unit.hdr.include_all:
            ret = dmar_insert_dev_scope(info, unit)
            if ret:
                break
    if ret >= 0:
        ret = d.iommu_notify_scope_dev(info.dev)
    if ret < 0:
        if d.dev_scope_status == 0:
            d.dev_scope_status = ret
        return
    intel_irq_remap_add_device(ir, info.dev)
