# SPDX-License-Identifier: GPL-2.0-only
"""The PCI frontend's MSI functions (drivers/pci/xen-pcifront.c, v5.10).

A paravirtualised guest reaches its PCI devices through a backend; other guests have no frontend.
"""

import errno

from impl.drivers.pci.pci import PciDev
from impl.drivers.xen.hypervisor import Place
from impl.drivers.xen.pciback import Pciback

__all__ = [
    "pci_frontend_disable_msi",
    "pci_frontend_disable_msix",
    "pci_frontend_enable_msi",
    "pci_frontend_enable_msix",
]

_SH_INFO_MAX_VEC = 128
"""How many entries of a table the shared page has room for."""


def pci_frontend_enable_msi(back: Pciback, dev: PciDev) -> tuple[int, list[int]]:
    """0 and the pirq of the device's one vector; -EINVAL on any error, or a pirq below 1."""
    reply = back.enable_msi(_place(dev))
    if reply.err or reply.value <= 0:
        return -errno.EINVAL, []
    return 0, [reply.value]


def pci_frontend_enable_msix(back: Pciback, dev: PciDev, nvec: int) -> tuple[int, list[int]]:
    """0 and the pirqs of the device's descriptors, in order.

    -EINVAL for more than 128 of them, and if the backend hands out a pirq below 1.  The backend's
    error number as it is, and its value, the positive number of vectors that might do; it may have
    MSI-X enabled then.
    """
    if nvec > _SH_INFO_MAX_VEC:
        return -errno.EINVAL, []
    entries = [desc.msi_attrib.entry_nr for desc in dev.msi_list]
    reply = back.enable_msix(_place(dev), entries)
    if reply.err or reply.value:
        return reply.err or reply.value, []
    if any(vector <= 0 for vector in reply.vectors):
        return -errno.EINVAL, []
    return 0, list(reply.vectors)


def pci_frontend_disable_msi(back: Pciback, dev: PciDev) -> None:
    """Ask the backend to disable MSI; errors are only logged."""
    back.disable_msi(_place(dev))


def pci_frontend_disable_msix(back: Pciback, dev: PciDev) -> None:
    """Ask the backend to disable MSI-X; errors are only logged."""
    back.disable_msix(_place(dev))


def _place(dev: PciDev) -> Place:
    return dev.segment, dev.bus.number, dev.devfn
