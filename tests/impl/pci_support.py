# SPDX-License-Identifier: GPL-2.0-only
"""A machine with PCI devices for the tests: the vector layer, PCI initialization, one root bus."""

from collections.abc import Iterable

from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.msidef import decode_msi_msg
from impl.arch.x86.pci import pci_arch_init
from impl.arch.x86.vector import ApicChipData
from impl.arch.x86.x86_init import X86Init, X86Platform, run_apic_post_init
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap, MsixCap
from impl.drivers.pci.msi import pci_enable_msi_range
from impl.drivers.pci.msi_domain import pci_msi_create_irq_domain
from impl.drivers.pci.pci import Pci, PciBus, PciDev
from impl.drivers.pci.probe import pci_device_add, pci_set_bus_msi_domain
from impl.kernel.irq.chip import irq_chip_ack_parent
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDomain, IrqDomainOps, MsiMsg
from impl.kernel.irq.irqdomain import irq_domain_create_tree
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_set_info
from impl.kernel.irq.msi import (
    MSI_FLAG_MULTI_PCI_MSI,
    MSI_FLAG_PCI_MSIX,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
)
from impl.trace import Event, Trace
from impl.vector_machine import VectorMachine

__all__ = ["CapturedWrites", "PciMachine", "block_domain", "with_block"]


class PciMachine(VectorMachine):
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
        trace: Trace | None = None,
    ) -> None:
        super().__init__(
            nr_cpus,
            defects=frozenset(defects),
            disable_apic=disable_apic,
            apic=apic,
            trace=trace,
        )
        self.x86 = X86Platform(self.domains, self.vectors, x86_init)
        self.pci = Pci(
            self.domains,
            arch_fallbacks=arch_fallbacks,
            pci_msi_enable=pci_msi_enable,
            irq_hw_number_bits=irq_hw_number_bits,
        )
        self.init_IRQ()
        self.intr_mode_init()
        for cpu in range(1, nr_cpus):
            assert self.cpu_up(cpu) == 0
        self.kernel.this_cpu = 0
        pci_arch_init(self.x86, self.pci)
        self.root = self.bus(0)
        self.nr_devices = 0

    def init_IRQ(self) -> None:
        """What a platform does when interrupts are initialized."""

    def intr_mode_init(self) -> None:
        """What happens when the interrupt mode is settled."""
        run_apic_post_init(self.x86)

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
        apicd = self.chip_data(irq)
        assert apicd is not None
        return apicd

    def target(self, msg: MsiMsg) -> tuple[int, int]:
        """(destination, vector) of a message."""
        x2apic = self.vectors.apic is ApicMode.X2APIC_CLUSTER
        return decode_msi_msg(msg.address_lo, msg.address_hi, msg.data, x2apic=x2apic)


class Remapper:
    """A parent that gives blocks of consecutive irqs, as a remapping unit does, and composes."""

    def __init__(self, m: PciMachine) -> None:
        self.m = m
        self.chip = IrqChip(
            "TEST-IR",
            irq_ack=lambda irqd: None,
            irq_set_affinity=lambda irqd, mask, force: 2,
            irq_compose_msi_msg=lambda irqd: MsiMsg(0xFEE00018, 0, irqd.hwirq & 0xFF),
        )
        ops = IrqDomainOps(alloc=self._alloc, free=lambda domain, virq, n: None)
        self.domain = irq_domain_create_tree(m.domains, None, ops)
        assert self.domain is not None

    def _alloc(self, domain: IrqDomain, virq: int, n: int, arg: object) -> int:
        for irq in range(virq, virq + n):
            irq_domain_set_info(self.m.domains, domain, irq, irq, self.chip, None, "edge", None)
        return 0


def block_domain(m: PciMachine, *flags: int) -> IrqDomain:
    """A PCI/MSI domain that can give blocks."""
    info = MsiDomainInfo(
        flags=MSI_FLAG_USE_DEF_DOM_OPS
        | MSI_FLAG_USE_DEF_CHIP_OPS
        | MSI_FLAG_MULTI_PCI_MSI
        | MSI_FLAG_PCI_MSIX
        | sum(flags),
        chip=IrqChip("TEST-PCI-MSI", irq_ack=irq_chip_ack_parent),
    )
    domain = pci_msi_create_irq_domain(m.domains, None, info, Remapper(m).domain)
    assert domain is not None
    return domain


def with_block(
    m: PciMachine, nvec: int, *, maskbit: bool = True, is_64: bool = True
) -> tuple[PciDev, MsiCap]:
    """A device with `nvec` MSI vectors of such a domain."""
    cap = MsiCap(5, maskbit=maskbit, is_64=is_64)
    dev = m.device(msi=cap)
    dev.msi_domain = block_domain(m)
    assert pci_enable_msi_range(dev, nvec, nvec) == nvec
    return dev, cap


class CapturedWrites:
    """The messages that a device's registers hold after each single write to them."""

    def __init__(self, m: PciMachine, dev: PciDev) -> None:
        self.seen: list[tuple[int, int]] = []

        def note(event: Event) -> None:
            if event.system == "pci_regs" and dev.msi_cap is not None:
                self.seen.append(m.target(dev.msi_cap.message))

        self.stop = m.trace.subscribe(note)
