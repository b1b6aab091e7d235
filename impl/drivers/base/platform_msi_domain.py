# SPDX-License-Identifier: GPL-2.0-only
"""A device that is itself an interrupt controller, and raises its irqs by messages.

The domain of such a device lies above the platform MSI domain.  Its interrupts are allocated a few
at a time, each with a descriptor that is bound to its irq from the start (the device domain half of
drivers/base/platform-msi.c, v5.10).
"""

from typing import Any

from impl.drivers.base.platform_msi import (
    PlatformMsi,
    PlatformMsiPrivData,
    PlatformWriteMsg,
    platform_msi_alloc_descs,
    platform_msi_alloc_priv_data,
    platform_msi_free_desc,
    platform_msi_free_priv_data,
)
from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqDomain, IrqDomainOps
from impl.kernel.irq.irqdomain import (
    IrqFwnode,
    irq_domain_create_hierarchy,
    irq_domain_remove,
)
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_free_irqs_common
from impl.kernel.irq.msi import msi_domain_populate_irqs, msi_domain_prepare_irqs
from impl.kernel.kernel import KernelBug

__all__ = [
    "platform_msi_create_device_domain",
    "platform_msi_domain_alloc",
    "platform_msi_domain_free",
    "platform_msi_get_host_data",
]


def platform_msi_create_device_domain(
    platform: PlatformMsi,
    dev: Device,
    nvec: int,
    write_msg: PlatformWriteMsg,
    ops: IrqDomainOps,
    host_data: Any,
    *,
    is_tree: bool = False,
    fwnode: IrqFwnode | None = None,
) -> IrqDomain | None:
    """A domain for the interrupts of `dev`, of `nvec` hwirqs or with `is_tree` of any.

    None, and nothing has changed, if the device cannot take part, memory is short, or the platform
    MSI domain does not serve the device.
    """
    priv = platform_msi_alloc_priv_data(platform, dev, nvec, write_msg)
    parent = dev.msi_domain
    if isinstance(priv, int) or parent is None:
        return None
    priv.host_data = host_data
    size = 0 if is_tree else nvec
    domains = parent.domains
    domain = irq_domain_create_hierarchy(domains, parent, 0, size, fwnode, ops, priv)
    if domain is not None and msi_domain_prepare_irqs(parent, dev, nvec, priv.arg):
        irq_domain_remove(domains, domain)
        domain = None
    if domain is None:
        platform_msi_free_priv_data(priv)
        return None
    platform.trace("platform_msi_create_device_domain", device=dev.id, domain=domain.id)
    return domain


def platform_msi_get_host_data(domain: IrqDomain) -> Any:
    """What the owner of a device domain gave at its creation."""
    return _priv(domain).host_data


def platform_msi_domain_alloc(domain: IrqDomain, virq: int, nr_irqs: int) -> int:
    """Set the inner levels of irqs of a device domain up, which then sets up its own.

    0; -ENOMEM, -ENOSPC (no index is left), or an error of the platform MSI domain, and the
    descriptors are as before.
    """
    priv = _priv(domain)
    ret = platform_msi_alloc_descs(priv, virq, nr_irqs)
    if ret:
        return ret
    if domain.parent is None:
        raise KernelBug(f"{domain.name} has no parent")
    ret = msi_domain_populate_irqs(domain.parent, priv.dev, virq, nr_irqs, priv.arg)
    if ret:
        platform_msi_domain_free(domain, virq, nr_irqs)
    return ret


def platform_msi_domain_free(domain: IrqDomain, virq: int, nr_irqs: int) -> None:
    """Take the levels of irqs of a device domain down, and free their descriptors.

    A descriptor of the device without an irq, or with several, ends that with a warning.
    """
    priv = _priv(domain)
    for desc in list(priv.dev.msi_list):
        if not desc.irq or desc.nvec_used != 1:
            domain.domains.kernel.warn()
            return
        if virq <= desc.irq < virq + nr_irqs:
            irq_domain_free_irqs_common(domain.domains, domain, desc.irq, 1)
            platform_msi_free_desc(priv.platform, desc)


def _priv(domain: IrqDomain) -> PlatformMsiPrivData:
    priv = domain.host_data
    if not isinstance(priv, PlatformMsiPrivData):
        raise KernelBug(f"{domain.name} is no domain of a platform device")
    return priv
