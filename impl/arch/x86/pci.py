# SPDX-License-Identifier: GPL-2.0-only
"""The x86 part of the PCI initialization (arch/x86/pci/init.c and common.c, v5.10)."""

from functools import partial

from impl.arch.x86.msi import x86_create_pci_msi_domain
from impl.arch.x86.x86_init import X86Platform
from impl.defects import Defect
from impl.drivers.pci.pci import Pci, PciDev, dev_set_msi_domain

__all__ = ["pci_arch_init", "pcibios_add_device"]


def pci_arch_init(x86: X86Platform, pci: Pci) -> bool:
    """Prepare for the scan of the buses; whether the native access methods were set up.

    The platform's hook runs before the default PCI/MSI domain is made, as it may replace the maker
    (INIT-1); under N3 it runs too late for that.  A platform that returns 0 does without the rest.
    """
    pci.pcibios_add_device = partial(pcibios_add_device, x86)
    early = Defect.N3 in x86.kernel.defects
    if early:
        x86_create_pci_msi_domain(x86)
    native = True
    if x86.init.arch_init is not None:
        native = bool(x86.init.arch_init(x86))
    x86.trace("pci_arch_init")
    if not early:
        x86_create_pci_msi_domain(x86)
    return native


def pcibios_add_device(x86: X86Platform, dev: PciDev) -> int:
    """Give a new device the domain of its bus, else the default one, which may be None; always 0.

    The bus comes first, so that a special domain stays (INIT-5).  Interrupt remapping may replace
    the default later.
    """
    dev_set_msi_domain(dev, dev.bus.msi_domain or x86.pci_msi_default_domain)
    return 0
