# SPDX-License-Identifier: GPL-2.0-only
"""What Hyper-V and the drivers do to the buses that it provides."""

import errno
from functools import partial

from impl.drivers.pci import hyperv
from impl.drivers.pci.hyperv_host import (
    PCI_PROTOCOL_VERSION_1_1,
    PCI_PROTOCOL_VERSION_1_2,
    PCI_PROTOCOL_VERSION_1_3,
    HvHost,
    HvRefusal,
)
from impl.drivers.pci.hyperv_msi import HvPciBus
from impl.drivers.pci.pci import PciDev
from impl.platform_parts import HypervBusDescription
from impl.vmd_machine import VmdMachine

__all__ = ["HypervMachine"]

_PROTOCOLS = {
    "1.1": PCI_PROTOCOL_VERSION_1_1,
    "1.2": PCI_PROTOCOL_VERSION_1_2,
    "1.3": PCI_PROTOCOL_VERSION_1_3,
}


class HypervMachine(VmdMachine):
    """A machine that may be a guest of Hyper-V: `hv_buses` has the buses that have a driver, by the
    segment."""

    hv_buses: dict[int, HvPciBus]

    def hv_pci_probe(self, segment: int) -> int:
        """The host offers a bus with its devices, and the driver brings it up.

        0; -ENODEV without such a bus, -EBUSY if it is up; else an error of hv_pci_probe.
        """
        part = self._hv_part(segment)
        if part is None:
            return -errno.ENODEV
        if segment in self.hv_buses:
            return -errno.EBUSY
        self._process_context()
        devices = [each for each in self.description.devices if each.segment == segment]
        slots = [each.devfn for each in devices if not each.hotplug]
        host = HvHost(_PROTOCOLS[part.protocol], slots=tuple(slots))
        hbus = HvPciBus(self.x86, self.pci, host, segment)
        ret = hyperv.hv_pci_probe(hbus, partial(self.topology.scan_bus, (segment, 0)))
        if ret == 0:
            self.hv_buses[segment] = hbus
        return ret

    def hv_pci_remove(self, segment: int) -> int:
        """The host takes a bus back: 0, -ENODEV, -EBUSY if a device has interrupts."""
        hbus = self.hv_buses.get(segment)
        if hbus is None:
            return -errno.ENODEV
        place = segment, 0
        if self._in_use(self.topology.on_bus(place)):
            return -errno.EBUSY
        self._process_context()
        hyperv.hv_pci_remove(hbus, partial(self.topology.remove_bus, place))
        del self.hv_buses[segment]
        return 0

    def hv_refuse_next(self, segment: int, what: HvRefusal) -> int:
        """The host will refuse the next request of a kind: 0, or -ENODEV without the bus."""
        hbus = self.hv_buses.get(segment)
        if hbus is None:
            return -errno.ENODEV
        hbus.host.refuse_next(what)
        return 0

    def pci_add_device(self, name: str) -> int:
        """The device is plugged in: 0, -EEXIST if it is there, -ENODEV without such a place.

        Hyper-V puts a device into its slot first, and the driver may lack the memory to notice.
        """
        hbus = self._hv_bus_of(name)
        if hbus is not None and name not in self.pci_devs:
            slot = self.topology.parts[name].devfn
            hbus.host.slots.add(slot)
            self._process_context()
            hyperv.hv_pci_devices_present(hbus, hbus.host.slots)
            if slot not in hbus.children:
                return -errno.ENODEV
        return super().pci_add_device(name)

    def pci_remove_device(self, name: str) -> int:
        """The device is unplugged, and what is behind it; -EBUSY if one has interrupts.

        Hyper-V wants a device back and waits until its driver has gone.
        """
        hbus, dev = self._hv_bus_of(name), self.pci_devs.get(name)
        if hbus is None or dev is None:
            return super().pci_remove_device(name)
        if self._in_use([name]):
            return -errno.EBUSY
        self._process_context()
        hyperv.hv_pci_eject_device(hbus, dev.devfn, self._remove_dev)
        if name in self.pci_devs:
            # The host lost it without a word.
            self._remove_dev(dev)
        return 0

    def _remove_dev(self, dev: PciDev) -> None:
        self.topology.remove(dev.name)

    def _hv_part(self, segment: int) -> HypervBusDescription | None:
        parts = (part for part in self.description.hyperv_buses if part.segment == segment)
        return next(parts, None)

    def _hv_bus_of(self, name: str) -> HvPciBus | None:
        part = self.topology.parts.get(name)
        return None if part is None else self.hv_buses.get(part.segment)
