# SPDX-License-Identifier: GPL-2.0-only
"""What drivers and devices do to a whole machine, whatever its platform.

The methods are the operations that the outside world can perform, one at a time; see also
impl.bare_machine.  A PCI device is named as the description names it; -ENODEV if it is not there.
"""

import errno
from collections.abc import Iterable

from impl.arch.x86 import dmar, hpet, uv
from impl.arch.x86.dmar import DmarUnit
from impl.arch.x86.hpet import HpetChannel
from impl.arch.x86.io_apic import IoApics
from impl.arch.x86.io_apic_map import (
    acpi_register_gsi,
    acpi_unregister_gsi,
    mp_last_user,
    mp_map_gsi_to_irq,
)
from impl.arch.x86.io_apic_regs import IOAPIC_LEVEL, IOAPIC_POL_LOW
from impl.arch.x86.irq_vectors import VECTOR_UNUSED
from impl.arch.x86.mpparse import mp_find_ioapic
from impl.arch.x86.uv import UvAffinity, UvHubs
from impl.arch.x86.x86_init import X86Platform
from impl.bare_machine import BareMachine
from impl.description import MachineDescription
from impl.device_signals import Signals
from impl.drivers.pci import msi
from impl.drivers.pci.msi_access import pci_restore_msi_state
from impl.drivers.pci.pci import Pci, PciDev, PciPower, pci_set_power_state
from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.irq.irq import IrqDesc, IrqDomain
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_free_irqs
from impl.kernel.kernel import NUMA_NO_NODE
from impl.pci_topology import PciTopology

__all__ = ["DeviceMachine"]


class DeviceMachine(BareMachine):
    """A machine with IO-APICs, PCI buses and whatever else signals; the constructor of
    impl.machine.Machine makes one."""

    description: MachineDescription
    x86: X86Platform
    io_apics: IoApics
    pci: Pci
    topology: PciTopology
    pci_devs: dict[str, PciDev]
    hpet_domains: dict[int, IrqDomain]
    hpet_channels: dict[int, list[HpetChannel]]
    dmar_units: dict[int, DmarUnit]
    uv_hubs: UvHubs
    signals: Signals

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
        if part is None or part.physfn or (part.segment, part.bus) not in self.topology.buses:
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
        if self._in_use(self.topology.tree(name)):
            return -errno.EBUSY
        self._process_context()
        self.topology.remove(name)
        return 0

    def pci_enable_sriov(self, name: str, nr_virtfn: int) -> int:
        """Let a device have virtual functions.

        0.  -ENODEV: it is not there.  -ENOSYS: it can have none.  -EINVAL: it has some, or cannot
        have so many.
        """
        if name not in self.pci_devs:
            return -errno.ENODEV
        virtfns = self.topology.virtfns.get(name)
        if virtfns is None:
            return -errno.ENOSYS
        if not 0 <= nr_virtfn <= len(virtfns) or any(each in self.pci_devs for each in virtfns):
            return -errno.EINVAL
        self._process_context()
        self.topology.add_virtfns(name, nr_virtfn)
        return 0

    def pci_disable_sriov(self, name: str) -> int:
        """Take the virtual functions of a device away: 0, -ENODEV, -EBUSY if one has interrupts."""
        if name not in self.pci_devs:
            return -errno.ENODEV
        virtfns = self.topology.virtfns.get(name, [])
        if self._in_use(each for each in virtfns if each in self.pci_devs):
            return -errno.EBUSY
        self._process_context()
        self.topology.remove_virtfns(name)
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
        return desc is not None and bool(self._signal(desc))

    def fire_gsi(self, gsi: int) -> bool:
        """Somebody asserts the line that ends at `gsi`; True if a handler ran."""
        place = mp_find_ioapic(self.io_apics.ioapics, gsi)
        target = self.signals.pin(*place) if place is not None else None
        return target is not None and self.fire_vector(*target)

    def fire_vector(self, cpu: int, vector: int) -> bool:
        """An interrupt message reaches `vector` of `cpu`; True if a handler ran."""
        return bool(self._deliver(cpu, vector))

    def _signal(self, desc: IrqDesc) -> list[int]:
        """The device of an interrupt signals: the irqs whose handlers ran."""
        target = self.signals.irq(desc)
        return [] if target is None else self._deliver(*target)

    def _deliver(self, cpu: int, vector: int) -> list[int]:
        """An interrupt message arrives: the irq whose handler ran."""
        table, bits = self.vectors.vector_irq, self.vectors.geometry.matrix_bits
        inside = 0 <= cpu < len(table) and 0 <= vector < bits
        irq = table[cpu][vector] if inside else VECTOR_UNUSED
        return [irq] if super().fire_vector(cpu, vector) else []

    def _in_use(self, names: Iterable[str]) -> bool:
        """Whether one of the devices has interrupts."""
        devs = (self.pci_devs[name] for name in names)
        return any(dev.irq or dev.msi_enabled or dev.msix_enabled for dev in devs)

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
