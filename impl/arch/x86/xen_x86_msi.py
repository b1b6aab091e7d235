# SPDX-License-Identifier: GPL-2.0-only
"""How x86 served MSIs before devices knew their domain (struct x86_msi_ops, v5.9).

A device without a domain went to the architecture's functions, which a Xen guest replaced one by
one.  The functions behind are those of xen_msi.py; what differs is who calls them, and that
interrupts are torn down one at a time.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo, init_irq_alloc_info
from impl.arch.x86.x86_init import X86Platform
from impl.arch.x86.xen_msi import (
    XenPci,
    xen_hvm_setup_msi_irqs,
    xen_initdom_restore_msi_irqs,
    xen_initdom_setup_msi_irqs,
    xen_pci_frontend_disable,
    xen_setup_msi_irqs,
)
from impl.drivers.pci.msi_access import default_restore_msi_irqs
from impl.drivers.pci.msi_fallbacks import MsiController
from impl.drivers.pci.pci import PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX, PciDev
from impl.drivers.xen.events import xen_destroy_irq
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_free_irqs
from impl.kernel.irq.msi import msi_domain_alloc_irqs

__all__ = ["X86MsiOps", "native_x86_msi", "x86_msi_controller", "xen_x86_msi"]


@dataclass(slots=True)
class X86MsiOps:
    """What a platform could replace: of a device, except that `teardown_msi_irq` is of one irq.

    Without `teardown_msi_irqs` the irqs of all descriptors are torn down in ascending order.
    """

    setup_msi_irqs: Callable[[PciDev, int, int], int]
    teardown_msi_irq: Callable[[int], object]
    teardown_msi_irqs: Callable[[PciDev], None] | None = None
    restore_msi_irqs: Callable[[PciDev], None] = default_restore_msi_irqs


def native_x86_msi(x86: X86Platform) -> X86MsiOps:
    """The functions of bare metal."""
    return X86MsiOps(partial(_native_setup_msi_irqs, x86), partial(_native_teardown_msi_irq, x86))


def xen_x86_msi(p: XenPci) -> X86MsiOps:
    """The functions of the Xen guest, one that uses pirqs; masks are ignored if it has no APIC."""
    guest, ops = p.xen.guest, native_x86_msi(p.x86)
    ops.teardown_msi_irq = partial(xen_destroy_irq, p.xen)
    if guest.xen_hvm_domain:
        ops.setup_msi_irqs = partial(xen_hvm_setup_msi_irqs, p)
        return ops
    p.xen.kernel.pci_msi_ignore_mask = True
    if guest.xen_initial_domain:
        ops.setup_msi_irqs = partial(xen_initdom_setup_msi_irqs, p)
        ops.restore_msi_irqs = partial(xen_initdom_restore_msi_irqs, p)
    else:
        ops.setup_msi_irqs = partial(xen_setup_msi_irqs, p)
        ops.teardown_msi_irqs = partial(_pcifront_teardown_msi_irqs, p, ops)
    return ops


def x86_msi_controller(ops: X86MsiOps) -> MsiController:
    """The functions as the fallback of a device that has no domain."""

    def setup_irqs(dev: PciDev, nvec: int, msix: bool) -> int:
        return ops.setup_msi_irqs(dev, nvec, PCI_CAP_ID_MSIX if msix else PCI_CAP_ID_MSI)

    teardown = ops.teardown_msi_irqs or partial(_default_teardown_msi_irqs, ops)
    return MsiController(setup_irqs=setup_irqs, teardown_irqs=teardown)


def _default_teardown_msi_irqs(ops: X86MsiOps, dev: PciDev) -> None:
    for desc in dev.msi_list:
        for irq in range(desc.irq, desc.irq + desc.nvec_used) if desc.irq else ():
            ops.teardown_msi_irq(irq)


def _pcifront_teardown_msi_irqs(p: XenPci, ops: X86MsiOps, dev: PciDev) -> None:
    xen_pci_frontend_disable(p, dev)
    _default_teardown_msi_irqs(ops, dev)


def _native_setup_msi_irqs(x86: X86Platform, dev: PciDev, nvec: int, type: int) -> int:
    """Ask for the domain at each allocation: remapping's, else the default, else -ENOSYS."""
    query = IrqAllocInfo()
    init_irq_alloc_info(query, None)
    msix = type == PCI_CAP_ID_MSIX
    query.type = X86_IRQ_ALLOC_TYPE.PCI_MSIX if msix else X86_IRQ_ALLOC_TYPE.PCI_MSI
    query.desc = dev.msi_list[0]
    remapping = x86.init.irq_remapping_get_irq_domain(query)
    domain = remapping if remapping is not None else x86.pci_msi_default_domain
    return -errno.ENOSYS if domain is None else msi_domain_alloc_irqs(domain, dev, nvec)


def _native_teardown_msi_irq(x86: X86Platform, irq: int) -> None:
    irq_domain_free_irqs(x86.domains, irq, 1)
