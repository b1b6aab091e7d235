# SPDX-License-Identifier: GPL-2.0-only
"""The MSI domain of a Xen guest, and which functions stand behind it (arch/x86/pci/xen.c, v5.10).

The domain replaces the native default for all PCI devices.  It has no parent and no chip, and maps
nothing: its two operations replace the allocation and the freeing of interrupts as a whole.
"""

import errno
from dataclasses import replace
from functools import partial

from impl.arch.x86.x86_init import X86Platform
from impl.arch.x86.xen_msi import (
    XenMsiOps,
    XenPci,
    xen_hvm_setup_msi_irqs,
    xen_initdom_restore_msi_irqs,
    xen_initdom_setup_msi_irqs,
    xen_pv_teardown_msi_irqs,
    xen_setup_msi_irqs,
    xen_teardown_msi_irqs,
)
from impl.defects import Defect
from impl.drivers.pci.msi_access import first_pci_msi_entry
from impl.drivers.pci.pci import PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX, PciDev
from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain import irq_domain_alloc_named_fwnode
from impl.kernel.irq.msi import MsiDomainInfo, MsiDomainOps, msi_op
from impl.kernel.irq.msi_domain import msi_create_irq_domain
from impl.kernel.kernel import KernelBug

__all__ = ["xen_create_pci_msi_domain", "xen_setup_pci_msi"]


def xen_setup_pci_msi(p: XenPci) -> None:
    """Choose the MSI functions of this guest, and have the default domain be Xen's.

    One warning, and no choice, where there is no hypervisor.  The mask bits of all PCI devices, a
    VMD's children included, are left alone from now on.
    """
    guest = p.xen.guest
    if Defect.R1 in p.xen.kernel.defects and guest.xen_initial_domain:
        p.msi_ops = replace(_initdom_ops(p), teardown_msi_irqs=partial(xen_teardown_msi_irqs, p))
    elif guest.xen_pv_domain:
        p.msi_ops = _initdom_ops(p) if guest.xen_initial_domain else _pcifront_ops(p)
    elif guest.xen_hvm_domain:
        p.msi_ops = _hvm_ops(p)
    else:
        p.pci.warn_once("xen_setup_pci_msi")
        return
    p.x86.init.create_pci_msi_domain = partial(xen_create_pci_msi_domain, p)
    p.xen.trace(
        "xen_setup_pci_msi",
        pv=int(guest.xen_pv_domain),
        initial=int(guest.xen_initial_domain),
        ignore_mask=int(p.xen.kernel.pci_msi_ignore_mask),
    )


def xen_create_pci_msi_domain(p: XenPci, x86: X86Platform) -> IrqDomain:
    """Create the domain "XEN-MSI"; the kernel does not know how to live without it."""
    domain = None
    fwnode = irq_domain_alloc_named_fwnode(x86.domains, "XEN-MSI")
    if fwnode is not None:
        ops = MsiDomainOps(
            domain_alloc_irqs=partial(_xen_msi_domain_alloc_irqs, p),
            domain_free_irqs=partial(_xen_msi_domain_free_irqs, p),
        )
        domain = msi_create_irq_domain(x86.domains, fwnode, MsiDomainInfo(ops=ops), None)
    if domain is None:
        raise KernelBug("no PCI/MSI domain for a Xen guest")
    p.xen.trace("xen_create_pci_msi_domain", domain=domain.id)
    return domain


def _xen_msi_domain_alloc_irqs(p: XenPci, domain: IrqDomain, dev: Device, nvec: int) -> int:
    """The setup function's result, whatever it is; -EINVAL and one warning if it is no PCI device.

    The first descriptor says which kind is meant: there must be one.
    """
    if not isinstance(dev, PciDev):
        p.pci.warn_once("xen_msi_domain_alloc_irqs")
        return -errno.EINVAL
    msix = first_pci_msi_entry(dev).msi_attrib.is_msix
    type = PCI_CAP_ID_MSIX if msix else PCI_CAP_ID_MSI
    return msi_op(p.msi_ops, "Xen functions").setup_msi_irqs(dev, nvec, type)


def _xen_msi_domain_free_irqs(p: XenPci, domain: IrqDomain, dev: Device) -> None:
    if not isinstance(dev, PciDev):
        p.pci.warn_once("xen_msi_domain_free_irqs")
        return
    msi_op(p.msi_ops, "Xen functions").teardown_msi_irqs(dev)


def _initdom_ops(p: XenPci) -> XenMsiOps:
    p.pci.arch_restore_msi_irqs = partial(xen_initdom_restore_msi_irqs, p)
    p.xen.kernel.pci_msi_ignore_mask = True
    return XenMsiOps(partial(xen_initdom_setup_msi_irqs, p), partial(xen_pv_teardown_msi_irqs, p))


def _pcifront_ops(p: XenPci) -> XenMsiOps:
    p.xen.kernel.pci_msi_ignore_mask = True
    return XenMsiOps(partial(xen_setup_msi_irqs, p), partial(xen_pv_teardown_msi_irqs, p))


def _hvm_ops(p: XenPci) -> XenMsiOps:
    if Defect.F13 not in p.xen.kernel.defects:
        p.xen.kernel.pci_msi_ignore_mask = True
    return XenMsiOps(partial(xen_hvm_setup_msi_irqs, p), partial(xen_teardown_msi_irqs, p))
