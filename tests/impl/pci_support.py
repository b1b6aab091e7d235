# SPDX-License-Identifier: GPL-2.0-only
"""A machine with PCI devices for the tests: the vector layer, PCI initialization, one root bus."""

from collections.abc import Iterable

from impl.arch.x86.irq_vectors import STANDARD_GEOMETRY, ApicMode, Geometry
from impl.arch.x86.msidef import decode_msi_msg
from impl.arch.x86.pci import pci_arch_init
from impl.arch.x86.vector import ApicChipData
from impl.arch.x86.x86_init import X86Init, X86Platform, run_apic_post_init
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap, MsixCap
from impl.drivers.pci.pci import Pci, PciBus, PciDev
from impl.drivers.pci.probe import pci_device_add, pci_set_bus_msi_domain
from impl.kernel.irq.irq import IrqData, MsiMsg
from impl.trace import Event, Trace
from impl.vector_machine import VectorMachine

__all__ = ["CapturedWrites", "PciMachine"]


class PciMachine:
    """All CPUs are up; `device` adds devices to the root bus unless told otherwise."""

    def __init__(
        self,
        nr_cpus: int = 2,
        *,
        defects: Iterable[Defect] = (),
        x86_init: X86Init | None = None,
        arch_fallbacks: bool = False,
        pci_msi_enable: bool = True,
        irq_hw_number_bits: int = 64,
        disable_apic: bool = False,
        apic: ApicMode | None = None,
        geometry: Geometry = STANDARD_GEOMETRY,
        nr_legacy_irqs: int = 16,
        trace: Trace | None = None,
    ) -> None:
        self.vector_machine = VectorMachine(
            nr_cpus,
            defects=frozenset(defects),
            disable_apic=disable_apic,
            apic=apic,
            geometry=geometry,
            nr_legacy_irqs=nr_legacy_irqs,
            trace=trace,
        )
        self.vectors = self.vector_machine.vectors
        self.kernel = self.vector_machine.kernel
        self.irqs = self.vector_machine.irqs
        self.matrix = self.vector_machine.matrix
        self.trace = self.kernel.trace
        self.domains = self.vectors.x86_vector_domain.domains
        self.x86 = X86Platform(self.domains, self.vectors, x86_init)
        self.pci = Pci(
            self.domains,
            arch_fallbacks=arch_fallbacks,
            pci_msi_enable=pci_msi_enable,
            irq_hw_number_bits=irq_hw_number_bits,
        )
        run_apic_post_init(self.x86)
        for cpu in range(1, nr_cpus):
            assert self.vector_machine.cpu_up(cpu) == 0
        self.kernel.this_cpu = 0
        pci_arch_init(self.x86, self.pci)
        self.root = self.bus(0)
        self.nr_devices = 0

    def bus(self, number: int, *, segment: int = 0, parent: PciBus | None = None) -> PciBus:
        bus = PciBus(self.pci, segment, number, parent=parent)
        pci_set_bus_msi_domain(bus)
        return bus

    def device(
        self,
        *,
        msi: MsiCap | None = None,
        msix: int = 0,
        bus: PciBus | None = None,
        devfn: int | None = None,
        irq: int = 0,
        no_msi: bool = False,
        no_64bit_msi: bool = False,
        dma_aliases: tuple[tuple[int, int], ...] = (),
    ) -> PciDev:
        self.nr_devices += 1
        dev = PciDev(
            self.nr_devices,
            f"dev{self.nr_devices}",
            bus if bus is not None else self.root,
            devfn if devfn is not None else self.nr_devices,
            msi_cap=msi,
            msix_cap=MsixCap(msix) if msix else None,
            irq=irq,
            no_msi=no_msi,
            no_64bit_msi=no_64bit_msi,
            dma_aliases=dma_aliases,
        )
        pci_device_add(dev)
        return dev

    def counters(self) -> tuple[int, int, int]:
        """global_available, global_reserved, total_allocated."""
        m = self.matrix
        return m.global_available, m.global_reserved, m.total_allocated

    def footprint(self) -> object:
        """Everything that a failed allocation must leave as it was (X-4)."""
        rows = [
            (cm.available, cm.allocated, cm.managed, cm.alloc_map, cm.managed_map)
            for cm in self.matrix.maps
        ]
        domains = [
            (d.id, d.mapcount, sorted(d.revmap_tree), list(d.linear_revmap))
            for d in self.domains.irq_domain_list
        ]
        return self.counters(), rows, domains, self.irqs.allocated_irqs, sorted(self.irqs.descs)

    def irqd(self, irq: int) -> IrqData:
        return self.irqs.descs[irq].irq_data

    def vector_level(self, irq: int) -> ApicChipData:
        apicd = self.vector_machine.chip_data(irq)
        assert apicd is not None
        return apicd

    def target(self, msg: MsiMsg) -> tuple[int, int]:
        """(destination, vector) of a message."""
        x2apic = self.vectors.apic is ApicMode.X2APIC_CLUSTER
        return decode_msi_msg(msg.address_lo, msg.address_hi, msg.data, x2apic=x2apic)

    def request(self, irq: int) -> int:
        return self.vector_machine.request_irq(irq)

    def free(self, irq: int) -> int:
        return self.vector_machine.free_irq(irq)


class CapturedWrites:
    """The messages that a device's registers hold after each single write to them."""

    def __init__(self, m: PciMachine, dev: PciDev) -> None:
        self.seen: list[tuple[int, int]] = []

        def note(event: Event) -> None:
            if event.system == "pci_regs" and dev.msi_cap is not None:
                self.seen.append(m.target(dev.msi_cap.message))

        self.stop = m.trace.subscribe(note)
