# SPDX-License-Identifier: GPL-2.0-only
"""Devices that Hyper-V passes through to a guest (drivers/pci/controller/pci-hyperv.c, v5.10).

The host provides a root bus for them, with a segment and an MSI domain of its own.  It may take a
device back at any time.  The interrupts are in hyperv_msi.py, the host in hyperv_host.py.

Events of the system "hv"; the first field is always `segment`, the bus's:

| event | fields | when |
|---|---|---|
| hv_pci_probe | domain, protocol | the bus is there, with its devices |
| hv_pci_remove | | the bus is gone |
| new_pcichild_device | slot | the host has put a device there |
| hv_pci_devices_missing | slot | it is not there any more |
| hv_pci_eject_device | slot | the host wants it back |
| hv_eject_complete | slot | it has it |
| hv_compose_msi_msg | irq, mapped, asked, address_lo, address_hi, data | a message was composed |
| hv_create_interrupt | irq, slot, vector, count, cpus, ret, status, answered | the host was asked |
| hv_int_desc_free | slot, data, ret | the host was told to forget a message |
| hv_irq_unmask | irq, vector, cpus, ret | the host was told where an interrupt goes |
| hv_msi_free | irq, present | an interrupt had a message, its device being present or not |

`mapped` says that the interrupt has a message, `asked` that its device is there and no older
message would do; `ret` is an errno of the sending, or the status of the hypercall.
"""

import errno
from collections.abc import Callable, Collection

from impl.drivers.pci.hyperv_host import (
    PCI_PROTOCOL_VERSION_1_1,
    PCI_PROTOCOL_VERSION_1_2,
    PCI_PROTOCOL_VERSION_1_3,
)
from impl.drivers.pci.hyperv_msi import (
    HvBusState,
    HvChildState,
    HvPciBus,
    HvPciDev,
    hv_pcie_init_irq_domain,
)
from impl.drivers.pci.pci import PciBus, PciDev
from impl.drivers.pci.probe import pci_set_bus_msi_domain
from impl.kernel.irq.irqdomain import (
    irq_domain_alloc_named_fwnode,
    irq_domain_free_fwnode,
    irq_domain_remove,
)

__all__ = [
    "hv_pci_devices_present",
    "hv_pci_eject_device",
    "hv_pci_probe",
    "hv_pci_remove",
]

_PROTOCOLS = (PCI_PROTOCOL_VERSION_1_3, PCI_PROTOCOL_VERSION_1_2, PCI_PROTOCOL_VERSION_1_1)


def hv_pci_probe(hbus: HvPciBus, scan: Callable[[PciBus], None]) -> int:
    """Bring the bus up: agree with the host, make the domain, and let `scan` enumerate the bus.

    0.  -EPROTO: the host speaks no protocol that this driver knows.  -ENOMEM.  -ENODEV: no domain
    or no bus.  Nothing remains after an error.
    """
    kernel = hbus.x86.kernel
    if kernel.kzalloc_fails("hv_pci_probe"):
        return -errno.ENOMEM
    if hbus.host.protocol not in _PROTOCOLS:
        return -errno.EPROTO
    hbus.protocol_version = hbus.host.protocol
    ret = _create_domain(hbus)
    if ret:
        return ret
    hv_pci_devices_present(hbus, hbus.host.slots)
    hbus.state = HvBusState.PROBED
    if kernel.kzalloc_fails("pci_create_root_bus"):
        _forget(hbus)
        return -errno.ENODEV
    bus = hbus.pci_bus = PciBus(hbus.pci, hbus.segment, 0, fwnode=hbus.fwnode, sysdata=hbus)
    pci_set_bus_msi_domain(bus)
    scan(bus)
    hbus.state = HvBusState.INSTALLED
    domain = -1 if bus.msi_domain is None else bus.msi_domain.id
    hbus.trace("hv_pci_probe", domain=domain, protocol=hbus.protocol_version)
    return 0


def hv_pci_remove(hbus: HvPciBus, remove: Callable[[PciBus], None]) -> None:
    """Undo hv_pci_probe; `remove` takes the devices away, whose drivers free their interrupts.

    The domain goes last.
    """
    hbus.state = HvBusState.REMOVING
    bus = hbus.pci_bus
    if bus is not None:
        remove(bus)
        hbus.pci.pci_root_buses.remove(bus)
        hbus.pci_bus = None
    for slot in tuple(hbus.host.slots):
        hbus.host.remove_slot(slot)
    _forget(hbus)
    hbus.state = HvBusState.REMOVED
    hbus.trace("hv_pci_remove")


def hv_pci_devices_present(hbus: HvPciBus, slots: Collection[int]) -> None:
    """The host says which slots hold devices.

    A device that is missing is forgotten before its driver frees anything, so that nothing is given
    back to the host for it.  One for which memory is short is not noticed.
    """
    for slot in sorted(hbus.children.keys() - set(slots)):
        del hbus.children[slot]
        hbus.trace("hv_pci_devices_missing", slot=slot)
    for slot in sorted(set(slots) - hbus.children.keys()):
        if not hbus.x86.kernel.kzalloc_fails("new_pcichild_device"):
            hbus.children[slot] = HvPciDev(slot)
            hbus.trace("new_pcichild_device", slot=slot)


def hv_pci_eject_device(
    hbus: HvPciBus, slot: int, remove: Callable[[PciDev], None] | None = None
) -> None:
    """The host wants a device back: `remove` takes it away, then it is handed over.

    While the device's driver frees its interrupts the host still takes messages back, but makes no
    new ones.  Nothing for an empty slot.
    """
    child = hbus.children.get(slot)
    if child is None:
        return
    child.state = HvChildState.EJECTING
    hbus.trace("hv_pci_eject_device", slot=slot)
    dev = _device_in(hbus, slot)
    if dev is not None and remove is not None:
        remove(dev)
    del hbus.children[slot]
    hbus.host.remove_slot(slot)
    hbus.trace("hv_eject_complete", slot=slot)


def _device_in(hbus: HvPciBus, slot: int) -> PciDev | None:
    devices = () if hbus.pci_bus is None else hbus.pci_bus.devices.values()
    return next((dev for dev in devices if dev.devfn == slot), None)


def _create_domain(hbus: HvPciBus) -> int:
    domains = hbus.x86.domains
    fwnode = hbus.fwnode = irq_domain_alloc_named_fwnode(domains, f"hv-pci-{hbus.segment:04x}")
    if fwnode is None:
        return -errno.ENOMEM
    hbus.irq_domain = hv_pcie_init_irq_domain(hbus)
    if hbus.irq_domain is None:
        irq_domain_free_fwnode(domains, fwnode)
        hbus.fwnode = None
        return -errno.ENODEV
    return 0


def _forget(hbus: HvPciBus) -> None:
    """Drop the devices, the domain and its node."""
    domains = hbus.x86.domains
    hbus.children.clear()
    if hbus.irq_domain is not None:
        irq_domain_remove(domains, hbus.irq_domain)
        hbus.irq_domain = None
    if hbus.fwnode is not None:
        irq_domain_free_fwnode(domains, hbus.fwnode)
        hbus.fwnode = None
