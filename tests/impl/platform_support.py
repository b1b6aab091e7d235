# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of machines of every platform share."""

from collections.abc import Iterator
from dataclasses import replace

from impl.description import MachineDescription
from impl.drivers.pci.msi import PCI_IRQ_MSI, PCI_IRQ_MSIX
from impl.kernel.irq.irq import MsiMsg
from impl.machine import Machine

__all__ = ["MESSAGES", "ORDERS", "PLATFORMS", "message", "probing", "vectors", "with_messages"]

PLATFORMS = {
    "vtd": "native",
    "amd-vi": "native",
    "hyperv": "hyperv",
    "vmd": "native",
    "device-msi": "native",
    "xen-dom0": "xen",
    "xen-domu": "xen",
    "xen-hvm": "xen",
    "xen-pvh": "xen",
}
"""The machines of the project that are more than bare metal, and their platforms."""

ORDERS = ("after", "before")
"""When the driver of remapping units may meet the devices."""

MESSAGES = PCI_IRQ_MSI | PCI_IRQ_MSIX


def probing(description: MachineDescription, order: str) -> MachineDescription:
    """The machine with another order of probing."""
    return replace(description, remapping=replace(description.remapping, probe=order))


def vectors(m: Machine, name: str, most: int = 8, flags: int = MESSAGES) -> list[int]:
    """The irqs of as many vectors as the device gets."""
    count = m.pci_alloc_irq_vectors(name, 1, most, flags)
    assert count > 0, (name, count)
    return [m.pci_irq_vector(name, nr) for nr in range(count)]


def with_messages(m: Machine) -> Iterator[str]:
    """The devices that can signal by messages and have no driver of their own."""
    for name, dev in list(m.pci_devs.items()):
        if (dev.msi_cap or dev.msix_cap) and name not in m.vmds:
            yield name


def message(m: Machine, name: str, nr: int) -> MsiMsg:
    """The message in entry `nr` of a device's MSI-X table."""
    cap = m.pci_devs[name].msix_cap
    assert cap is not None
    return cap.message(nr)
