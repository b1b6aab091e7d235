# SPDX-License-Identifier: GPL-2.0-only
"""A machine with a VMD."""

from collections.abc import Iterable

from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap, MsixCap
from impl.drivers.pci.msi import (
    pci_enable_msix_range,
)
from impl.drivers.pci.pci import PCI_CLASS_STORAGE_EXPRESS, PciBus, PciDev
from impl.drivers.pci.probe import (
    pci_device_add,
    pci_remove_bus_device,
)
from impl.drivers.pci.vmd import (
    vmd_probe,
)
from impl.drivers.pci.vmd_domain import (
    VmdDev,
    VmdIrq,
    VmdIrqList,
)
from tests.impl.pci_support import PciMachine

SEGMENT = 0x10000


class VmdMachine(PciMachine):
    """A machine with one VMD on bus 0; `child` adds devices behind it."""

    def __init__(
        self,
        vectors: int = 4,
        *,
        nr_cpus: int = 2,
        defects: Iterable[Defect] = (),
        probe: bool = True,
        can_bypass: bool = False,
        guest: bool = False,
        xen: bool = False,
    ) -> None:
        super().__init__(nr_cpus, defects=defects)
        self.endpoint = self.device(msix=vectors)
        self.vmd = VmdDev(self.x86, self.endpoint, can_bypass=can_bypass, guest=guest, xen=xen)
        self.found: list[PciBus] = []
        if probe:
            assert vmd_probe(self.vmd, self.found.append) == 0

    @property
    def vmd_bus(self) -> PciBus:
        assert self.vmd.bus is not None
        return self.vmd.bus

    def child(
        self,
        *,
        msix: int = 0,
        msi: MsiCap | None = None,
        nvme: bool = True,
        bus: PciBus | None = None,
        devfn: int | None = None,
        physfn: PciDev | None = None,
    ) -> PciDev:
        self.nr_devices += 1
        dev = PciDev(
            self.nr_devices,
            f"child{self.nr_devices}",
            bus if bus is not None else self.vmd_bus,
            devfn if devfn is not None else self.nr_devices,
            msi_cap=msi,
            msix_cap=MsixCap(msix) if msix else None,
            class_code=PCI_CLASS_STORAGE_EXPRESS if nvme else 0x020000,
            physfn=physfn,
        )
        pci_device_add(dev)
        return dev

    def enabled(self, nvec: int, *, nvme: bool = True, request: bool = True) -> PciDev:
        """A child with `nvec` MSI-X vectors, requested unless told otherwise."""
        dev = self.child(msix=nvec, nvme=nvme)
        assert pci_enable_msix_range(dev, None, nvec, nvec) == nvec
        for irq in self.irqs_of(dev) if request else ():
            assert self.request_irq(irq) == 0
        return dev

    def irqs_of(self, dev: PciDev) -> list[int]:
        return [desc.irq for desc in dev.msi_list]

    def list_of(self, irq: int) -> VmdIrqList:
        data = self.irqd(irq).chip_data
        assert isinstance(data, VmdIrq) and data.virq == irq
        return data.irq

    def lists(self, dev: PciDev) -> list[int]:
        return [self.list_of(irq).index for irq in self.irqs_of(dev)]

    def listed(self) -> list[list[int]]:
        """What is on each list."""
        return [[each.virq for each in irqs.irq_list] for irqs in self.vmd.irqs]

    def counts(self) -> list[int]:
        return [irqs.count for irqs in self.vmd.irqs]

    def remove(self, bus: PciBus) -> None:
        for dev in reversed(list(bus.devices.values())):
            pci_remove_bus_device(dev)

    def books(self) -> object:
        """Everything that a failed probe must leave as it was."""
        fwnodes = sorted(fwnode.name for fwnode in self.domains.fwnodes)
        return self.footprint(), fwnodes, list(self.pci.pci_root_buses)
