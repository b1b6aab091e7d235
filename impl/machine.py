# SPDX-License-Identifier: GPL-2.0-only
"""A whole machine: it boots from a description, and then drivers and devices use it.

The methods are the operations that the outside world can perform, one at a time; see also
impl.bare_machine.  A PCI device is named as the description names it; -ENODEV if it is not there.
"""

import errno
from collections.abc import Collection

from impl.arch.x86 import dmar, hpet, smpboot, uv
from impl.arch.x86.apic import apic_intr_mode_init
from impl.arch.x86.i8259 import LegacyPic
from impl.arch.x86.io_apic import IoApics
from impl.arch.x86.io_apic_map import (
    acpi_register_gsi,
    acpi_unregister_gsi,
    mp_last_user,
    mp_map_gsi_to_irq,
)
from impl.arch.x86.io_apic_regs import IOAPIC_LEVEL, IOAPIC_POL_LOW
from impl.arch.x86.io_apic_setup import arch_early_ioapic_init
from impl.arch.x86.mpparse import mp_find_ioapic
from impl.arch.x86.pci import pci_arch_init
from impl.arch.x86.uv import UvAffinity
from impl.arch.x86.x86_init import X86Init, X86Platform
from impl.bare_machine import BareMachine
from impl.defects import Defect
from impl.description import MachineDescription
from impl.device_signals import signal_irq, signal_pin
from impl.drivers.pci import msi
from impl.drivers.pci.msi_access import pci_restore_msi_state
from impl.drivers.pci.pci import Pci, PciDev, PciPower, pci_set_power_state
from impl.firmware import build_ioapics, build_mp_irqs
from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_free_irqs
from impl.kernel.kernel import NUMA_NO_NODE
from impl.pci_topology import PciTopology
from impl.trace import Trace

__all__ = ["Machine"]

_TIMER_IRQ = 0


class Machine(BareMachine):
    """A machine as described, booted: all CPUs are up, all devices without `hotplug` are there.

    `x86_init` holds what a platform replaces.  `housekeeping` turns isolation of managed interrupts
    on.  KernelBug if the kernel would not boot.
    """

    def __init__(
        self,
        description: MachineDescription,
        *,
        defects: Collection[Defect] = frozenset(),
        housekeeping: int | None = None,
        trace: Trace | None = None,
        x86_init: X86Init | None = None,
    ) -> None:
        super().__init__(
            description.nr_cpus,
            geometry=description.geometry,
            nodes=description.nodes,
            nr_legacy_irqs=description.legacy_irqs,
            defects=defects,
            housekeeping=housekeeping,
            apic=description.apic,
            disable_apic=description.disable_apic,
            gsi_top=0,
            trace=trace,
        )
        self.description = description
        self.x86 = X86Platform(self.domains, self.vectors, x86_init)
        self.pic = LegacyPic(description.legacy_irqs)
        ioapics = build_ioapics(description.ioapics)
        wiring = build_mp_irqs(description.mp_irqs, ioapics, description.legacy_irqs)
        self.io_apics = IoApics(self.x86, self.pic, ioapics, wiring)
        self.pci = Pci(self.domains)
        self.topology = PciTopology(self.pci, description.buses, description.devices)
        self.pci_devs = self.topology.devs
        self.hpet_domains: dict[int, IrqDomain] = {}
        self.hpet_channels = {
            part.id: [hpet.HpetChannel(num) for num in range(part.channels)]
            for part in description.hpets
        }
        self.dmar_units = {part.id: dmar.DmarUnit(part.id, part.node) for part in description.dmars}
        blades = {part.blade: uv.UvBlade(part.pnode, part.node) for part in description.uvs}
        self.uv_hubs = uv.UvHubs(self.x86, blades)
        self._boot()

    # Boot (section 11.1)

    def _boot(self) -> None:
        x86 = self.x86
        x86.trace("pci_msi_arch_fallbacks", selected=int(self.pci.arch_fallbacks))
        x86.trace("init_hypervisor_platform", platform=0)
        arch_early_ioapic_init(self.io_apics)
        self._init_IRQ(self.pic.chip, "level", self.description.system_vectors)
        x86.trace("init_IRQ")
        self._late_time_init()
        self._smp_init()
        pci_arch_init(x86, self.pci)
        x86.trace("pci_scan_begin")
        self.topology.scan()
        self._hpet_late_init()

    def _late_time_init(self) -> None:
        """Select the interrupt mode, start the timer with what there is, set the mode up."""
        mode = self.description.interrupt_mode
        self.x86.trace("apic_intr_mode_select", mode=mode)
        timer = self.description.timer
        if timer:
            self.request_irq(_TIMER_IRQ)
        apic_intr_mode_init(self.io_apics, mode, timer=timer)

    def _smp_init(self) -> None:
        if self.description.interrupt_mode.smp:
            for cpu in range(1, self.kernel.nr_cpu_ids):
                smpboot.cpu_up(self.vectors, cpu)
        self._process_context()
        self.x86.trace("smp_init")

    def _hpet_late_init(self) -> None:
        """Give each HPET its domain; one that gets none works without messages."""
        for part in self.description.hpets:
            domain = hpet.hpet_create_irq_domain(self.x86, part.id)
            if domain is not None:
                self.hpet_domains[part.id] = domain

    # PCI

    def pci_alloc_irq_vectors(
        self, name: str, min_vecs: int, max_vecs: int, flags: int, affd: IrqAffinity | None = None
    ) -> int:
        """pci_alloc_irq_vectors_affinity: see impl.drivers.pci.msi."""
        dev = self.pci_devs.get(name)
        if dev is None:
            return -errno.ENODEV
        self._process_context()
        return msi.pci_alloc_irq_vectors_affinity(dev, min_vecs, max_vecs, flags, affd)

    def pci_free_irq_vectors(self, name: str) -> int:
        """pci_free_irq_vectors: see impl.drivers.pci.msi; 0, or -EBUSY if one has a handler."""
        dev = self.pci_devs.get(name)
        if dev is None:
            return -errno.ENODEV
        if any(self._has_action(irq) for irq in _msi_irqs(dev)):
            return -errno.EBUSY
        self._process_context()
        msi.pci_free_irq_vectors(dev)
        return 0

    def pci_irq_vector(self, name: str, nr: int) -> int:
        """pci_irq_vector: see impl.drivers.pci.msi."""
        dev = self.pci_devs.get(name)
        return -errno.ENODEV if dev is None else msi.pci_irq_vector(dev, nr)

    def pci_enable_device(self, name: str) -> int:
        """Connect the INTx line, unless the device uses MSI; 0 or an error of acpi_register_gsi."""
        dev = self.pci_devs.get(name)
        if dev is None:
            return -errno.ENODEV
        gsi = self.topology.parts[name].gsi
        if gsi < 0 or dev.irq or dev.msi_enabled or dev.msix_enabled:
            return 0
        irq = self.acpi_register_gsi(gsi, IOAPIC_LEVEL, IOAPIC_POL_LOW, dev.numa_node)
        if irq < 0:
            return irq
        dev.irq = irq
        return 0

    def pci_disable_device(self, name: str) -> int:
        """Undo pci_enable_device; 0, or an error of acpi_unregister_gsi."""
        dev = self.pci_devs.get(name)
        if dev is None:
            return -errno.ENODEV
        gsi = self.topology.parts[name].gsi
        if gsi < 0 or not dev.irq or dev.msi_enabled or dev.msix_enabled:
            return 0
        ret = self.acpi_unregister_gsi(gsi)
        if ret == 0:
            dev.irq = 0
        return ret

    def pci_add_device(self, name: str) -> int:
        """The device is plugged in: 0, -EEXIST if it is there, -ENODEV without such a place."""
        part = self.topology.parts.get(name)
        if part is None or (part.segment, part.bus) not in self.topology.buses:
            return -errno.ENODEV
        if name in self.pci_devs:
            return -errno.EEXIST
        self._process_context()
        self.topology.add(name)
        return 0

    def pci_remove_device(self, name: str) -> int:
        """The device is unplugged, and what is behind it; -EBUSY if one has interrupts."""
        if name not in self.pci_devs:
            return -errno.ENODEV
        tree = [self.pci_devs[each] for each in self.topology.tree(name)]
        if any(dev.irq or dev.msi_enabled or dev.msix_enabled for dev in tree):
            return -errno.EBUSY
        self._process_context()
        self.topology.remove(name)
        return 0

    def pci_restore_msi_state(self, name: str) -> int:
        """Write the messages again, as after a reset; see impl.drivers.pci.msi_access."""
        dev = self.pci_devs.get(name)
        if dev is None:
            return -errno.ENODEV
        self._process_context()
        pci_restore_msi_state(dev)
        return 0

    def pci_set_power_state(self, name: str, state: PciPower) -> int:
        """Change the device's power state; in D3 it forgets its registers."""
        dev = self.pci_devs.get(name)
        if dev is None:
            return -errno.ENODEV
        pci_set_power_state(dev, state)
        return 0

    # Lines

    def acpi_register_gsi(
        self, gsi: int, trigger: int, polarity: int, node: int = NUMA_NO_NODE
    ) -> int:
        """acpi_register_gsi: see impl.arch.x86.io_apic_map."""
        self._process_context()
        return acpi_register_gsi(self.io_apics, gsi, trigger, polarity, node)

    def acpi_unregister_gsi(self, gsi: int) -> int:
        """acpi_unregister_gsi: see impl.arch.x86.io_apic_map.

        0, an error of mp_map_gsi_to_irq, or -EBUSY if the irq of the last user has a handler.
        """
        irq = mp_map_gsi_to_irq(self.io_apics, gsi, 0, None)
        if irq < 0:
            return irq
        if mp_last_user(self.io_apics, irq) and self._has_action(irq):
            return -errno.EBUSY
        self._process_context()
        acpi_unregister_gsi(self.io_apics, gsi)
        return 0

    # Other devices

    def hpet_assign_irq(self, hpet_id: int, num: int) -> int:
        """Give timer `num` of an HPET an interrupt; see impl.arch.x86.hpet.

        -ENODEV without such a timer, or if the HPET has no domain.
        """
        domain = self.hpet_domains.get(hpet_id)
        channels = self.hpet_channels.get(hpet_id, [])
        if domain is None or not 0 <= num < len(channels):
            return -errno.ENODEV
        self._process_context()
        irq = hpet.hpet_assign_irq(self.x86, domain, channels[num], num)
        if irq > 0:
            channels[num].irq = irq
        return irq

    def hpet_free_irq(self, hpet_id: int, num: int) -> int:
        """Undo hpet_assign_irq, which the kernel never does; 0, -ENODEV or -EBUSY."""
        channels = self.hpet_channels.get(hpet_id, [])
        if not 0 <= num < len(channels) or not channels[num].irq:
            return -errno.ENODEV
        ret = self._free_irq_of(channels[num].irq)
        if ret == 0:
            channels[num].irq = 0
        return ret

    def dmar_alloc_hwirq(self, unit: int) -> int:
        """Give a DMA remapping unit an interrupt; see impl.arch.x86.dmar; -ENODEV without it."""
        dmar_unit = self.dmar_units.get(unit)
        if dmar_unit is None:
            return -errno.ENODEV
        self._process_context()
        irq = dmar.dmar_alloc_hwirq(self.x86, unit, dmar_unit.node, dmar_unit)
        if irq > 0:
            dmar_unit.irq = irq
        return irq

    def dmar_free_hwirq(self, irq: int) -> int:
        """Undo dmar_alloc_hwirq; 0, -EBUSY, or -EINVAL if `irq` is no unit's."""
        for unit in self.dmar_units.values():
            if unit.irq == irq > 0:
                ret = self._free_irq_of(irq)
                if ret == 0:
                    unit.irq = 0
                return ret
        return -errno.EINVAL

    def uv_setup_irq(
        self, blade: int, cpu: int, offset: int, limit: UvAffinity, name: str = "uv"
    ) -> int:
        """Allocate an interrupt of a UV hub; see impl.arch.x86.uv; -ENODEV without the blade."""
        if blade not in self.uv_hubs.blades:
            return -errno.ENODEV
        self._process_context()
        return uv.uv_setup_irq(self.uv_hubs, name, cpu, blade, offset, limit)

    def uv_teardown_irq(self, irq: int) -> int:
        """Undo uv_setup_irq; 0, -EBUSY, or -EINVAL if `irq` is no hub's."""
        desc = self._desc(irq)
        if desc is None or desc.irq_data.domain is not self.uv_hubs.domain:
            return -errno.EINVAL
        return self._free_irq_of(irq)

    # Interrupts

    def fire(self, irq: int) -> bool:
        """The device of `irq` signals as its registers say; True if a handler ran."""
        desc = self.irqs.irq_to_desc(irq)
        target = signal_irq(self.io_apics, self.uv_hubs, desc) if desc is not None else None
        return target is not None and self.fire_vector(*target)

    def fire_gsi(self, gsi: int) -> bool:
        """Somebody asserts the line that ends at `gsi`; True if a handler ran."""
        place = mp_find_ioapic(self.io_apics.ioapics, gsi)
        target = signal_pin(self.io_apics, *place) if place is not None else None
        return target is not None and self.fire_vector(*target)

    def _has_action(self, irq: int) -> bool:
        desc = self.irqs.irq_to_desc(irq)
        return desc is not None and desc.action > 0

    def _free_irq_of(self, irq: int) -> int:
        if self._has_action(irq):
            return -errno.EBUSY
        self._process_context()
        irq_domain_free_irqs(self.domains, irq, 1)
        return 0


def _msi_irqs(dev: PciDev) -> list[int]:
    return [desc.irq + k for desc in dev.msi_list if desc.irq for k in range(desc.nvec_used)]
