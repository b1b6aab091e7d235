# SPDX-License-Identifier: GPL-2.0-only
"""Devices meet the AMD-Vi driver, and get the domain of their unit (amd/iommu.c, v5.10).

The driver of DMA remapping meets every PCI device, virtual functions too; on the way the device's
MSI domain is stored.  Where DMA remapping is off nobody does that, and devices keep the native
domain although their requests are remapped.
"""

import errno
from collections.abc import Iterable
from functools import partial

from impl.drivers.iommu.amd import AmdIommu, AmdIommus, DevTableEntry, IommuDevData
from impl.drivers.iommu.amd_init import early_amd_iommu_init
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.pci import Pci, PciDev, dev_set_msi_domain

__all__ = [
    "amd_iommu_init",
    "amd_iommu_init_api",
    "amd_iommu_probe_device",
    "amd_iommu_release_device",
    "amd_iommu_set_pci_msi_domain",
    "amd_iommu_set_use_vapic",
]


def amd_iommu_init(amd: AmdIommus, pci: Pci, devs: Iterable[PciDev]) -> int:
    """Start DMA remapping, after the devices `devs` were enumerated; 0 or an error of the scan."""
    ret = early_amd_iommu_init(amd)
    if ret == 0:
        amd_iommu_init_api(amd, pci, devs)
    return ret


def amd_iommu_init_api(amd: AmdIommus, pci: Pci, devs: Iterable[PciDev]) -> None:
    """Meet the devices that are there, and from now on all that come."""
    pci.bus_notifiers.append(partial(_device_added, amd))
    pci.bus_removed_notifiers.append(partial(amd_iommu_release_device, amd))
    for dev in devs:
        amd_iommu_probe_device(amd, dev)


def amd_iommu_probe_device(amd: AmdIommus, dev: PciDev) -> int:
    """Meet a device: note it, and store its domain; nothing if it was met.

    0.  -ENODEV: it has no unit.  -ENOMEM: then the device is left alone from now on, and its
    requests pass as they are.
    """
    unit = amd.rlookup(dev.devid)
    if unit is None:
        return -errno.ENODEV
    if dev.devid in amd.met:
        return 0
    if dev.devid not in amd.dev_data and amd.kernel.kzalloc_fails("alloc_dev_data"):
        _iommu_ignore_device(amd, dev)
        return -errno.ENOMEM
    amd.dev_data.setdefault(dev.devid, IommuDevData())
    amd.met.add(dev.devid)
    amd_iommu_set_pci_msi_domain(amd, dev, unit)
    return 0


def amd_iommu_release_device(amd: AmdIommus, dev: PciDev) -> None:
    """A device is gone; what is known of its requester is kept for the next one there."""
    amd.met.discard(dev.devid)


def amd_iommu_set_pci_msi_domain(amd: AmdIommus, dev: PciDev, unit: AmdIommu) -> None:
    """Let the device's MSIs come from its unit, if interrupts are remapped.

    A special domain stays.  A unit without an MSI domain leaves the device none.
    """
    if not amd.r.irq_remapping_enabled or pci_dev_has_special_msi_domain(dev):
        return
    dev_set_msi_domain(dev, unit.msi_domain)


def amd_iommu_set_use_vapic(amd: AmdIommus, dev: PciDev, use_vapic: bool) -> None:
    """A guest takes the device over, or gives it back (part of amd_iommu_attach_device)."""
    data = amd.dev_data.get(dev.devid)
    if data is not None:
        data.use_vapic = use_vapic


def _device_added(amd: AmdIommus, dev: PciDev) -> None:
    amd_iommu_probe_device(amd, dev)


def _iommu_ignore_device(amd: AmdIommus, dev: PciDev) -> None:
    amd.ignored.add(dev.devid)
    amd.dev_table[dev.devid] = DevTableEntry()
    amd.trace("iommu_ignore_device", device=dev.id)
