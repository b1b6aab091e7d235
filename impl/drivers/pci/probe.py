# SPDX-License-Identifier: GPL-2.0-only
"""Devices and buses appear and disappear (drivers/pci/probe.c and remove.c, v5.10).

Which domain a device's MSIs come from is decided when it appears, and stored (INIT-3).
"""

from impl.drivers.pci.msi_access import pci_msi_set_enable, pci_msix_clear_and_set_ctrl
from impl.drivers.pci.msi_domain import pci_msi_get_device_domain
from impl.drivers.pci.msi_regs import PCI_MSIX_FLAGS_ENABLE
from impl.drivers.pci.pci import PciBus, PciDev, dev_set_msi_domain, pci_is_root_bus
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain import DomainBus, irq_find_matching_fwnode

__all__ = [
    "pci_device_add",
    "pci_host_bridge_msi_domain",
    "pci_remove_bus_device",
    "pci_set_bus_msi_domain",
    "pci_set_msi_domain",
]


def pci_set_bus_msi_domain(bus: PciBus) -> None:
    """Give a new bus the domain of the nearest bridge above it that has one, else its host's.

    A controller with a root bus of its own, such as VMD, sets that bus's domain by itself.
    """
    bus.msi_domain = _inherited_msi_domain(bus)
    domain = -1 if bus.msi_domain is None else bus.msi_domain.id
    bus.pci.trace("pci_set_bus_msi_domain", bus=bus.segment << 8 | bus.number, domain=domain)


def pci_host_bridge_msi_domain(bus: PciBus) -> IrqDomain | None:
    """The PCI/MSI domain that firmware made for a host bridge; None on an ordinary x86 machine."""
    if bus.fwnode is None:
        return None
    return irq_find_matching_fwnode(bus.pci.domains, bus.fwnode, DomainBus.PCI_MSI)


def _inherited_msi_domain(bus: PciBus) -> IrqDomain | None:
    above: PciBus | None = bus
    while above is not None and not pci_is_root_bus(above):
        bridge = above.self_dev
        if bridge is not None and bridge.msi_domain is not None:
            return bridge.msi_domain
        above = above.parent
    return None if above is None else pci_host_bridge_msi_domain(above)


def pci_device_add(dev: PciDev) -> None:
    """Let a device appear on its bus: settle its domain, then tell the bus notifiers.

    MSI and MSI-X that firmware left enabled are switched off.  The architecture's domain wins over
    firmware's, that over the bus's; a notifier, interrupt remapping, may still replace it.
    """
    bus = dev.bus
    _pci_msi_setup_pci_dev(dev)
    bus.devices[dev.id] = dev
    if bus.pci.pcibios_add_device is not None and bus.pci.pcibios_add_device(dev) < 0:
        bus.pci.kernel.warn()
    pci_set_msi_domain(dev)
    for notifier in bus.pci.bus_notifiers:
        notifier(dev)
    domain = -1 if dev.msi_domain is None else dev.msi_domain.id
    bus.pci.trace("pci_device_add", device=dev.id, domain=domain)


def pci_set_msi_domain(dev: PciDev) -> None:
    """Give the device a domain, unless it has one: that of firmware, else that of the bus."""
    if dev.msi_domain is None:
        dev_set_msi_domain(dev, pci_msi_get_device_domain(dev) or dev.bus.msi_domain)


def pci_remove_bus_device(dev: PciDev) -> None:
    """Let a device disappear; its driver has freed the interrupts before."""
    pci = dev.bus.pci
    del dev.bus.devices[dev.id]
    pci.trace("pci_device_remove", device=dev.id)
    for notifier in pci.bus_removed_notifiers:
        notifier(dev)


def _pci_msi_setup_pci_dev(dev: PciDev) -> None:
    if dev.msi_cap is not None:
        pci_msi_set_enable(dev, False)
    if dev.msix_cap is not None:
        pci_msix_clear_and_set_ctrl(dev, PCI_MSIX_FLAGS_ENABLE, 0)
