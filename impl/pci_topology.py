# SPDX-License-Identifier: GPL-2.0-only
"""The PCI functions of a machine, as its description has them, and what a scan of the buses finds.

Devices are numbered by their place in the description, buses by theirs.  Virtual functions are in
no scan: they appear when their physical function is told to have them.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from impl.drivers.pci.capability import MsiCap, MsixCap
from impl.drivers.pci.msi_regs import multiple_of
from impl.drivers.pci.pci import (
    PCI_CLASS_BRIDGE_PCI,
    PCI_CLASS_STORAGE_EXPRESS,
    Pci,
    PciBus,
    PciDev,
)
from impl.drivers.pci.probe import pci_device_add, pci_remove_bus_device, pci_set_bus_msi_domain
from impl.machine_parts import BusDescription, DeviceDescription

__all__ = ["PciTopology"]

_BusId = tuple[int, int]


class PciTopology:
    """Buses and devices: `parts` and `numbers` are by name and describe all devices, `devs` holds
    those that are there, `buses` the buses that are there, by the segment and the number of their
    description.  `virtfns` names the virtual functions that a device can have."""

    def __init__(
        self, pci: Pci, buses: Sequence[BusDescription], devices: Sequence[DeviceDescription]
    ) -> None:
        self.pci = pci
        self.parts = {part.name: part for part in devices}
        self.numbers = {part.name: number for number, part in enumerate(devices)}
        self.virtfns: dict[str, list[str]] = defaultdict(list)
        self.devs: dict[str, PciDev] = {}
        self.buses: dict[_BusId, PciBus] = {}
        self._roots = [part for part in buses if not part.bridge]
        self._behind = {part.bridge: part for part in buses if part.bridge}
        self._on_bus: dict[_BusId, list[DeviceDescription]] = defaultdict(list)
        for part in sorted(devices, key=lambda part: part.devfn):
            if part.physfn:
                self.virtfns[part.physfn].append(part.name)
            else:
                self._on_bus[part.segment, part.bus].append(part)

    def scan(self) -> None:
        """Find all buses that firmware tells of, and the devices that are there at boot."""
        for part in self._roots:
            bus = PciBus(self.pci, part.segment, part.number, no_msi=part.no_msi)
            pci_set_bus_msi_domain(bus)
            self.scan_bus((part.segment, part.number), bus)

    def scan_bus(self, place: _BusId, bus: PciBus) -> None:
        """Find what is there at boot on `bus`, described as `place`, and behind it.

        Its domain is settled.  The segment may be another one than that of the description.
        """
        self.buses[place] = bus
        found = [dev for dev in self._on_bus[place] if not dev.hotplug]
        for device in found:
            self._add_dev(device, bus)
        for device in found:
            self._scan_behind(device)

    def remove_bus(self, place: _BusId, bus: PciBus) -> None:
        """The bus, described as `place`, disappears, after everything on it and behind it."""
        for part in reversed(self._on_bus[place]):
            if part.name in self.devs:
                self.remove(part.name)
        del self.buses[place]

    def add(self, name: str) -> None:
        """The device `name` appears, and behind a bridge the bus that it leads to."""
        part = self.parts[name]
        self._add_dev(part, self.buses[part.segment, part.bus])
        self._scan_behind(part)

    def remove(self, name: str) -> None:
        """The device `name` disappears, after everything behind it."""
        for gone in reversed(list(self.tree(name))):
            self._remove_dev(gone)

    def add_virtfns(self, name: str, count: int) -> None:
        """The first `count` virtual functions of the device `name` appear."""
        physfn = self.devs[name]
        for virtfn in self.virtfns[name][:count]:
            part = self.parts[virtfn]
            self._add_dev(part, self._virtfn_bus(physfn, (part.segment, part.bus)), physfn)

    def remove_virtfns(self, name: str) -> None:
        """The virtual functions of the device `name` disappear, and buses that only they had."""
        for virtfn in reversed(self.virtfns.get(name, [])):
            if virtfn in self.devs:
                self._remove_dev(virtfn)

    def tree(self, name: str) -> Iterator[str]:
        """`name` and every device that is there behind it or a function of it, outer ones first."""
        yield name
        yield from (virtfn for virtfn in self.virtfns.get(name, ()) if virtfn in self.devs)
        bus = self._behind.get(name)
        if bus is not None:
            yield from self.on_bus((bus.segment, bus.number))

    def on_bus(self, place: _BusId) -> Iterator[str]:
        """Every device that is there on the bus described as `place`, or behind it."""
        for part in self._on_bus[place]:
            if part.name in self.devs:
                yield from self.tree(part.name)

    def _scan_behind(self, device: DeviceDescription) -> None:
        part = self._behind.get(device.name)
        if part is None:
            return
        bridge = self.devs[device.name]
        bus = PciBus(
            self.pci,
            bridge.segment,
            part.number,
            parent=bridge.bus,
            self_dev=bridge,
            no_msi=part.no_msi,
        )
        pci_set_bus_msi_domain(bus)
        self.scan_bus((part.segment, part.number), bus)

    def _virtfn_bus(self, physfn: PciDev, place: _BusId) -> PciBus:
        """The bus of a virtual function (virtfn_add_bus): one that is there, or a virtual one."""
        bus = self.buses.get(place)
        if bus is None:
            bus = PciBus(self.pci, physfn.segment, place[1], parent=physfn.bus)
            pci_set_bus_msi_domain(bus)
            self.buses[place] = bus
        return bus

    def _add_dev(self, part: DeviceDescription, bus: PciBus, physfn: PciDev | None = None) -> None:
        msi = part.msi
        dev = PciDev(
            self.numbers[part.name],
            part.name,
            bus,
            part.devfn,
            msi_cap=None
            if msi is None
            else MsiCap(multiple_of(msi.vectors), is_64=msi.is_64, maskbit=msi.maskbit),
            msix_cap=MsixCap(part.msix) if part.msix else None,
            numa_node=part.node,
            no_msi="no_msi" in part.quirks,
            no_64bit_msi="no_64bit_msi" in part.quirks,
            dma_aliases=part.aliases,
            class_code=self._class_code(part),
            physfn=physfn,
        )
        self.devs[part.name] = dev
        pci_device_add(dev)

    def _class_code(self, part: DeviceDescription) -> int:
        if part.name in self._behind:
            return PCI_CLASS_BRIDGE_PCI
        return PCI_CLASS_STORAGE_EXPRESS if part.nvme else 0

    def _remove_dev(self, name: str) -> None:
        dev = self.devs.pop(name)
        pci_remove_bus_device(dev)
        behind = self._behind.get(name)
        if behind is not None:
            del self.buses[behind.segment, behind.number]
        bus = dev.bus
        if bus.parent is not None and bus.self_dev is None and not bus.devices:
            part = self.parts[name]
            del self.buses[part.segment, part.bus]
