# SPDX-License-Identifier: GPL-2.0-only
"""A guest of Hyper-V with a device that the host passes through, for the tests."""

from collections.abc import Callable, Iterable

from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.hyperv import hv_pci_probe
from impl.drivers.pci.hyperv_host import PCI_PROTOCOL_VERSION_1_2, HvHost
from impl.drivers.pci.hyperv_msi import HvPciBus, TranIntDesc
from impl.drivers.pci.msi import (
    PCI_IRQ_MSIX,
    pci_alloc_irq_vectors_affinity,
    pci_free_irq_vectors,
    pci_irq_vector,
)
from impl.drivers.pci.pci import PciBus, PciDev, pci_signal
from impl.drivers.pci.probe import pci_remove_bus_device
from impl.trace import Event
from tests.impl.pci_support import PciMachine
from tests.impl.support import events_of

__all__ = ["SLOT", "HvMachine", "block_machine", "hv_names", "of", "remove_all"]

SEGMENT = 0x7D01
SLOT = 2


class HvMachine(PciMachine):
    """A guest with one bus of the host's, and a device on it."""

    def __init__(
        self,
        nr_cpus: int = 2,
        *,
        defects: Iterable[Defect] = (),
        protocol: int = PCI_PROTOCOL_VERSION_1_2,
        msi: MsiCap | None = None,
        msix: int = 8,
        address: int = 0xFEE00000,
        probe: bool = True,
    ) -> None:
        super().__init__(nr_cpus, defects=defects)
        self.host = HvHost(protocol, slots=(SLOT,), address=address)
        self.hbus = HvPciBus(self.x86, self.pci, self.host, SEGMENT)
        self.cap = msi
        self.nr_msix = msix
        if probe:
            assert hv_pci_probe(self.hbus, self.scan) == 0

    def scan(self, bus: PciBus) -> None:
        for slot in self.hbus.children:
            self.device(msi=self.cap, msix=self.nr_msix, bus=bus, devfn=slot)

    @property
    def dev(self) -> PciDev:
        assert self.hbus.pci_bus is not None
        return next(iter(self.hbus.pci_bus.devices.values()))

    def alloc(self, nvec: int, kind: int = PCI_IRQ_MSIX) -> list[int]:
        """The irqs of the device, which gets as many vectors."""
        assert pci_alloc_irq_vectors_affinity(self.dev, nvec, nvec, kind) == nvec
        return [pci_irq_vector(self.dev, nr) for nr in range(nvec)]

    def started(self, kind: int = PCI_IRQ_MSIX) -> int:
        """A requested interrupt of the device."""
        irq = self.alloc(1, kind)[0]
        assert self.request_irq(irq) == 0
        return irq

    def deliver(self, nr: int = 0) -> tuple[int, int] | None:
        """The device raises a vector: the CPU and the vector that the host leads it to."""
        msg = pci_signal(self.dev, nr)
        return None if msg is None else self.host.deliver(SLOT, msg)

    def place(self, irq: int) -> tuple[int, int]:
        level = self.vector_level(irq)
        return level.cpu, level.vector

    def mapped(self, irq: int) -> bool:
        return isinstance(self.irqd(irq).chip_data, TranIntDesc)


def block_machine(*defects: Defect) -> HvMachine:
    return HvMachine(4, defects=defects, msi=MsiCap(5, maskbit=True), msix=0)


def remove_all(bus: PciBus) -> None:
    for dev in tuple(bus.devices.values()):
        pci_free_irq_vectors(dev)
        pci_remove_bus_device(dev)


def of(events: Iterable[Event], *names: str) -> list[dict[str, int]]:
    return [event.fields for event in events if event.system == "hv" and event.name in names]


def hv_names(m: HvMachine, operation: Callable[[], object]) -> list[str]:
    """The exchanges with the host, in order."""
    exchanges = ("hv_create_interrupt", "hv_int_desc_free", "hv_irq_unmask")
    return [event.name for event in events_of(m, operation) if event.name in exchanges]
