# SPDX-License-Identifier: GPL-2.0-only
"""The PCI flavour of MSI domains (the domain half of drivers/pci/msi.c, v5.10)."""

import dataclasses
import errno

# The argument of an allocation is the architecture's (msi_alloc_info_t).
from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.defects import Defect
from impl.drivers.pci.msi_access import (
    msi_desc_to_pci_dev,
    pci_msi_domain_write_msg,
    pci_msi_mask_irq,
    pci_msi_unmask_irq,
)
from impl.drivers.pci.msi_regs import pci_msi_calc_hwirq
from impl.drivers.pci.pci import PciDev
from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain import (
    DomainBus,
    IrqDomains,
    IrqFwnode,
    irq_domain_update_bus_token,
)
from impl.kernel.irq.msi import (
    MSI_FLAG_LEVEL_CAPABLE,
    MSI_FLAG_MULTI_PCI_MSI,
    MSI_FLAG_PCI_MSIX,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDesc,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.irq.msi_domain import (
    msi_create_irq_domain,
    msi_domain_set_default_info_flags,
)
from impl.kernel.kernel import KernelBug

__all__ = [
    "ENOTSUPP",
    "pci_dev_has_special_msi_domain",
    "pci_msi_create_irq_domain",
    "pci_msi_domain_calc_hwirq",
    "pci_msi_domain_check_cap",
    "pci_msi_domain_get_msi_rid",
    "pci_msi_domain_handle_error",
    "pci_msi_domain_set_desc",
    "pci_msi_get_device_domain",
]

ENOTSUPP = 524
"""The kernel's own errno for an operation that is not supported; user space has none such."""


def pci_msi_domain_calc_hwirq(desc: MsiDesc) -> int:
    """The hwirq of the descriptor's first vector: entry, device and segment (PCI-4).

    Under N12 five bits of the segment are left.
    """
    dev = msi_desc_to_pci_dev(desc)
    pci = dev.bus.pci
    return pci_msi_calc_hwirq(
        desc.msi_attrib.entry_nr,
        dev.devid,
        dev.segment,
        bits=pci.irq_hw_number_bits,
        widened=Defect.N12 not in pci.kernel.defects,
    )


def pci_msi_domain_check_cap(domain: IrqDomain, info: MsiDomainInfo, dev: Device) -> int:
    """Whether the domain can serve the device.

    0; 1 if it cannot serve a block, so that the caller retries with one vector; -ENOTSUPP if it
    cannot serve MSI-X.
    """
    desc = dev.msi_list[0]
    if _is_multi_msi(desc) and not info.flags & MSI_FLAG_MULTI_PCI_MSI:
        return 1
    if desc.msi_attrib.is_msix and not info.flags & MSI_FLAG_PCI_MSIX:
        return -ENOTSUPP
    return 0


def pci_msi_domain_handle_error(domain: IrqDomain, desc: MsiDesc, error: int) -> int:
    """1, "retry with one vector", if there was no room for a block; any other error unchanged."""
    return 1 if _is_multi_msi(desc) and error == -errno.ENOSPC else error


def pci_msi_domain_set_desc(arg: IrqAllocInfo, desc: MsiDesc) -> None:
    """Say for which descriptor the allocation is; type and flags of `arg` stay."""
    arg.desc = desc
    arg.hwirq = pci_msi_domain_calc_hwirq(desc)


def pci_msi_create_irq_domain(
    domains: IrqDomains, fwnode: IrqFwnode | None, info: MsiDomainInfo, parent: IrqDomain | None
) -> IrqDomain | None:
    """Create an MSI domain for PCI devices, or None; `info` is completed in place.

    Level capability is refused with a warning.  The domain activates early, and reserves until the
    interrupt is requested if the device can be masked meanwhile.
    """
    if info.flags & MSI_FLAG_LEVEL_CAPABLE:
        domains.kernel.warn()
        info.flags &= ~MSI_FLAG_LEVEL_CAPABLE
    if info.flags & MSI_FLAG_USE_DEF_DOM_OPS:
        _update_dom_ops(info)
    if info.flags & MSI_FLAG_USE_DEF_CHIP_OPS:
        _update_chip_ops(info)
    msi_domain_set_default_info_flags(info)
    domain = msi_create_irq_domain(domains, fwnode, info, parent)
    if domain is not None:
        irq_domain_update_bus_token(domains, domain, DomainBus.PCI_MSI)
    return domain


def pci_msi_domain_get_msi_rid(domain: IrqDomain | None, dev: PciDev) -> int:
    """The requester id under which the device's messages appear.

    The last alias that another bus than that of the id so far has, or shows, wins.  Firmware maps
    nothing on x86.
    """
    rid = dev.devid
    for seen_on, alias in dev.dma_aliases:
        if rid >> 8 not in (seen_on, alias >> 8) or seen_on != alias >> 8:
            rid = alias
    return rid


def pci_msi_get_device_domain(dev: PciDev) -> IrqDomain | None:
    """The domain that firmware names for the device: None on x86."""
    return None


def pci_dev_has_special_msi_domain(dev: PciDev) -> bool:
    """Whether interrupt remapping must leave the device's domain alone.

    It must unless the domain is an ordinary PCI/MSI one, also where there is none at all (INIT-6).
    """
    domain = dev.msi_domain or dev.bus.msi_domain
    return domain is None or domain.bus_token != DomainBus.PCI_MSI


def _is_multi_msi(desc: MsiDesc) -> bool:
    return not desc.msi_attrib.is_msix and desc.nvec_used > 1


def _update_dom_ops(info: MsiDomainInfo) -> None:
    ops = info.ops if info.ops is not None else MsiDomainOps()
    info.ops = dataclasses.replace(
        ops,
        set_desc=ops.set_desc or pci_msi_domain_set_desc,
        msi_check=ops.msi_check or pci_msi_domain_check_cap,
        handle_error=ops.handle_error or pci_msi_domain_handle_error,
    )


def _update_chip_ops(info: MsiDomainInfo) -> None:
    chip = info.chip
    if chip is None:
        raise KernelBug("a PCI/MSI domain has no chip")
    info.chip = dataclasses.replace(
        chip,
        irq_write_msi_msg=chip.irq_write_msi_msg or pci_msi_domain_write_msg,
        irq_mask=chip.irq_mask or pci_msi_mask_irq,
        irq_unmask=chip.irq_unmask or pci_msi_unmask_irq,
    )
