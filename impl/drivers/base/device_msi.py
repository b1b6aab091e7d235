# SPDX-License-Identifier: GPL-2.0-only
"""MSI of devices that are parts of others (V2 #44, drivers/base/device-msi.c; never merged).

A PCI device may consist of subdevices, as work queues, which a driver hands out one by one.  Each
has messages of its own, kept in a store that only the owner of its domain knows: see
impl.drivers.irqchip.  The domain takes its place beside that of the PCI device, on the same parent.

Subdevices allocate by msi_domain_alloc_irqs and free by msi_domain_free_irqs, which bring the
descriptors, too.  Messages are there from the allocation on, and vectors with them: the reservation
check does not know this kind of domain.

Events of the system "ims", `domain` is the one that was made, `parent` that below it:

| event | fields | when |
|---|---|---|
| device_msi_create_irq_domain | domain, parent | a domain is made |
| device_msi_alloc_irqs | device, nvec | a subdevice has its interrupts |
| device_msi_free_irqs | device | they are gone |
"""

import errno
from dataclasses import replace

# The architecture's arch_msi_prepare, and its msi_alloc_info_t.
from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.arch.x86.msi import x86_msi_prepare
from impl.defects import Defect
from impl.drivers.base.platform_msi import platform_msi_update_chip_ops
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.pci import PciDev
from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain import (
    DomainBus,
    IrqDomains,
    IrqFwnode,
    irq_domain_alloc_named_fwnode,
    irq_domain_free_fwnode,
    irq_domain_update_bus_token,
)
from impl.kernel.irq.msi import (
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    msi_default_alloc_irqs,
    msi_default_free_irqs,
)
from impl.kernel.irq.msi_desc import DeviceMsiDesc, MsiDesc, alloc_msi_entry, free_msi_entry
from impl.kernel.irq.msi_domain import (
    msi_create_irq_domain,
    msi_domain_set_default_info_flags,
)
from impl.kernel.kernel import KernelBug

__all__ = [
    "device_msi_create_irq_domain",
    "device_msi_desc",
    "pci_subdevice_msi_create_irq_domain",
]

_NO_DOMAIN = -1


def device_msi_create_irq_domain(
    domains: IrqDomains, fwnode: IrqFwnode | None, info: MsiDomainInfo, parent: IrqDomain | None
) -> IrqDomain | None:
    """Create a device MSI domain, None without memory; `info` is completed in place."""
    if info.flags & MSI_FLAG_USE_DEF_CHIP_OPS:
        platform_msi_update_chip_ops(info, domains.kernel)
    if info.flags & MSI_FLAG_USE_DEF_DOM_OPS:
        _update_dom_ops(domains, info)
    msi_domain_set_default_info_flags(info)
    domain = msi_create_irq_domain(domains, fwnode, info, parent)
    if domain is not None:
        irq_domain_update_bus_token(domains, domain, DomainBus.DEVICE_MSI)
        parent_id = _NO_DOMAIN if parent is None else parent.id
        _trace(domains, "device_msi_create_irq_domain", domain=domain.id, parent=parent_id)
    return domain


def pci_subdevice_msi_create_irq_domain(pdev: PciDev, info: MsiDomainInfo) -> IrqDomain | None:
    """A domain for the subdevices of a PCI device, on the parent of the device's own domain.

    None without memory, for a device without a domain, and for one whose messages are not composed
    below that domain: the parent's mean nothing to it, or there is no parent at all (Xen, VMD,
    Hyper-V; IMS-7).  The device must keep its domain from now on.
    """
    domains = pdev.bus.pci.domains
    domain = pdev.msi_domain
    if domain is None:
        return None
    if not _parent_composes(pdev, domain) and Defect.DEV_D5 not in domains.kernel.defects:
        return None
    fwnode = irq_domain_alloc_named_fwnode(domains, pdev.name)
    if fwnode is None:
        return None
    created = device_msi_create_irq_domain(domains, fwnode, info, domain.parent)
    if created is None:
        irq_domain_free_fwnode(domains, fwnode)
    return created


def device_msi_desc(desc: MsiDesc) -> DeviceMsiDesc:
    """The part of a descriptor that device MSI keeps; a BUG if it has none."""
    if desc.device_msi is None:
        raise KernelBug(f"a descriptor of {desc.dev.name} is none of device MSI")
    return desc.device_msi


def _device_msi_alloc_irqs(domain: IrqDomain, dev: Device, nvec: int) -> int:
    """domain_alloc_irqs: make `nvec` descriptors and give each an interrupt.

    0; -EBUSY: the device has some; -EINVAL: `nvec` is below 1; -ENOMEM; else what the MSI core
    returns.  Nothing remains after an error (IMS-4; not so under D3).
    """
    defects = domain.domains.kernel.defects
    if Defect.DEV_D10 not in defects:
        if dev.msi_list:
            return -errno.EBUSY
        if nvec < 1:
            return -errno.EINVAL
    ret = _alloc_descs(domain, dev, nvec)
    if ret == 0:
        ret = msi_default_alloc_irqs(domain, dev, nvec)
        if ret and dev.msi_list and Defect.DEV_D3 not in defects:
            msi_default_free_irqs(domain, dev)
    if ret:
        _free_descs(domain, dev)
        return ret
    _trace(domain.domains, "device_msi_alloc_irqs", device=dev.id, nvec=nvec)
    return 0


def _device_msi_free_irqs(domain: IrqDomain, dev: Device) -> None:
    """domain_free_irqs: the interrupts, the store, the descriptors."""
    msi_default_free_irqs(domain, dev)
    _free_descs(domain, dev)
    _trace(domain.domains, "device_msi_free_irqs", device=dev.id)


def _set_desc(arg: IrqAllocInfo, desc: MsiDesc) -> None:
    arg.desc = desc
    arg.hwirq = device_msi_desc(desc).hwirq


def _update_dom_ops(domains: IrqDomains, info: MsiDomainInfo) -> None:
    ops = info.ops
    if ops is None:
        raise KernelBug("a device MSI domain has no operations")
    set_desc = None if Defect.DEV_D2 in domains.kernel.defects else _set_desc
    info.ops = replace(
        ops,
        domain_alloc_irqs=ops.domain_alloc_irqs or _device_msi_alloc_irqs,
        domain_free_irqs=ops.domain_free_irqs or _device_msi_free_irqs,
        msi_prepare=ops.msi_prepare or x86_msi_prepare,
        set_desc=ops.set_desc or set_desc,
    )


def _parent_composes(pdev: PciDev, domain: IrqDomain) -> bool:
    """Whether the device's messages come from below its domain, where subdevices get theirs."""
    if domain.parent is None or pci_dev_has_special_msi_domain(pdev):
        return False
    info: MsiDomainInfo = domain.host_data
    return info.chip is None or info.chip.irq_compose_msi_msg is None


def _alloc_descs(domain: IrqDomain, dev: Device, nvec: int) -> int:
    for _ in range(nvec):
        desc = alloc_msi_entry(domain.domains.kernel, dev, 1, None)
        if desc is None:
            return -errno.ENOMEM
        desc.device_msi = DeviceMsiDesc()
        dev.msi_list.append(desc)
    return 0


def _free_descs(domain: IrqDomain, dev: Device) -> None:
    """Free all descriptors of the device, also those of earlier allocations (D10)."""
    for desc in dev.msi_list:
        free_msi_entry(domain.domains.kernel, desc)
    dev.msi_list.clear()


def _trace(domains: IrqDomains, name: str, **fields: int) -> None:
    kernel = domains.kernel
    if kernel.trace.enabled:
        kernel.trace.emit("ims", name, kernel.this_cpu, **fields)
