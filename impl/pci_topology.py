# SPDX-License-Identifier: GPL-2.0-only
"""The PCI functions of a machine, as its description has them, and what a scan of the buses finds.

Devices are numbered by their place in the description, buses by theirs.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from impl.drivers.pci.capability import MsiCap, MsixCap
from impl.drivers.pci.msi_regs import multiple_of
from impl.drivers.pci.pci import Pci, PciBus, PciDev
from impl.drivers.pci.probe import pci_device_add, pci_remove_bus_device, pci_set_bus_msi_domain
from impl.machine_parts import BusDescription, DeviceDescription

__all__ = ["PciTopology"]

_BusId = tuple[int, int]


class PciTopology:
    """Buses and devices: `parts` and `numbers` are by name and describe all devices, `devs` holds
    those that are there, `buses` the buses that are there, by segment and number."""

    def __init__(
        self, pci: Pci, buses: Sequence[BusDescription], devices: Sequence[DeviceDescription]
    ) -> None:
        self.pci = pci
        self.parts = {part.name: part for part in devices}
        self.numbers = {part.name: number for number, part in enumerate(devices)}
        self.devs: dict[str, PciDev] = {}
        self.buses: dict[_BusId, PciBus] = {}
        self._roots = [part for part in buses if not part.bridge]
        self._behind = {part.bridge: part for part in buses if part.bridge}
        self._on_bus: dict[_BusId, list[DeviceDescription]] = defaultdict(list)
        for part in sorted(devices, key=lambda part: part.devfn):
            self._on_bus[part.segment, part.bus].append(part)

    def scan(self) -> None:
        """Find all buses, and the devices that are there at boot."""
        for part in self._roots:
            self._scan_bus(part, None)

    def add(self, name: str) -> None:
        """The device `name` appears, and behind a bridge the bus that it leads to."""
        part = self.parts[name]
        self._add_dev(part, self.buses[part.segment, part.bus])
        self._scan_behind(part)

    def remove(self, name: str) -> None:
        """The device `name` disappears, after everything behind it."""
        for gone in reversed(list(self.tree(name))):
            pci_remove_bus_device(self.devs.pop(gone))
            behind = self._behind.get(gone)
            if behind is not None:
                del self.buses[behind.segment, behind.number]

    def tree(self, name: str) -> Iterator[str]:
        """`name` and every device that is there behind it, outer ones first."""
        yield name
        bus = self._behind.get(name)
        if bus is None:
            return
        for part in self._on_bus[bus.segment, bus.number]:
            if part.name in self.devs:
                yield from self.tree(part.name)

    def _scan_bus(self, part: BusDescription, bridge: PciDev | None) -> None:
        bus = PciBus(
            self.pci,
            part.segment,
            part.number,
            parent=bridge.bus if bridge is not None else None,
            self_dev=bridge,
            no_msi=part.no_msi,
        )
        pci_set_bus_msi_domain(bus)
        self.buses[part.segment, part.number] = bus
        found = [dev for dev in self._on_bus[part.segment, part.number] if not dev.hotplug]
        for device in found:
            self._add_dev(device, bus)
        for device in found:
            self._scan_behind(device)

    def _scan_behind(self, device: DeviceDescription) -> None:
        bus = self._behind.get(device.name)
        if bus is not None:
            self._scan_bus(bus, self.devs[device.name])

    def _add_dev(self, part: DeviceDescription, bus: PciBus) -> None:
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
        )
        self.devs[part.name] = dev
        pci_device_add(dev)
