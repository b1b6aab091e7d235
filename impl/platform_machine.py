# SPDX-License-Identifier: GPL-2.0-only
"""What drivers and devices do to a machine of one platform or another.

The methods are operations, as those of impl.device_machine.  A machine that lacks what an operation
is about answers -ENODEV.
"""

import errno
from collections.abc import Collection
from functools import partial

from impl.arch.x86.xen_smp_pv import xen_pv_cpu_down, xen_pv_cpu_up
from impl.device_machine import DeviceMachine
from impl.device_signals import pci_message
from impl.drivers.base.platform_msi import (
    PlatformMsi,
    platform_msi_domain_alloc_irqs,
    platform_msi_domain_free_irqs,
)
from impl.drivers.pci import vmd
from impl.drivers.pci.msi import pci_irq_vector
from impl.drivers.pci.pci import PciDev
from impl.drivers.pci.vmd_domain import VmdDev, vmd_irq, vmd_msg_index
from impl.drivers.xen.hypervisor import Answer
from impl.drivers.xen.irq_info import IrqInfo
from impl.kernel.device import Device
from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.irq.irq import IrqDesc, IrqDomain
from impl.kernel.irq.msi import msi_domain_alloc_irqs, msi_domain_free_irqs
from impl.machine_remapping import Remapping
from impl.machine_xen import XenMachine
from impl.platform_parts import ImsDescription, VmdDescription
from impl.subdevices import ImsDriver, PlatformDevice

__all__ = ["PlatformMachine"]


class PlatformMachine(DeviceMachine):
    """A machine with the hardware of its platform; the constructor of impl.machine.Machine makes
    one.

    `vmds` holds the VMDs that have a driver, `ims_drivers` the drivers of devices with a message
    store, both by the name of the device.  `platform_devices` are on no bus; `platform_domain`
    serves them, if there are any.  `remapping` is None without units,
    `xen` without that hypervisor.
    """

    remapping: Remapping | None
    xen: XenMachine | None

    vmds: dict[str, VmdDev]
    ims_drivers: dict[str, ImsDriver]
    platform_msi: PlatformMsi
    platform_domain: IrqDomain | None
    platform_devices: dict[str, PlatformDevice]

    def free_irq(self, irq: int) -> int:
        """free_irq: see impl.kernel.irq.request; -EBUSY for the handler of a VMD's own driver."""
        return -errno.EBUSY if self._vmd_of_vector(irq) is not None else super().free_irq(irq)

    def fire(self, irq: int) -> bool:
        """The device of `irq` signals as its registers say; True if a handler ran.

        A device behind a VMD lets the VMD signal.
        """
        desc = self.irqs.irq_to_desc(irq)
        if desc is None:
            return False
        info = desc.irq_data.chip_data
        if self.xen is not None and isinstance(info, IrqInfo):
            return self.xen.fire(desc, info)
        if not isinstance(desc.handler_data, VmdDev):
            return super().fire(irq)
        vector = self._vmd_vector_of(desc, desc.handler_data)
        target = None if vector is None else self.signals.irq(vector)
        return target is not None and irq in self._deliver(*target)

    def fire_vector(self, cpu: int, vector: int) -> bool:
        """An interrupt message reaches `vector` of `cpu`; True if a handler ran."""
        return bool(self._deliver(cpu, vector))

    def _deliver(self, cpu: int, vector: int) -> list[int]:
        """An interrupt arrives: the irqs whose handlers ran, those behind a VMD last."""
        irq = self._irq_at(cpu, vector)
        if not super().fire_vector(cpu, vector):
            return []
        return [irq, *self._children_of(irq)]

    def _irq_at(self, cpu: int, vector: int) -> int:
        """The irq that owns a vector, a number below 0 if none does."""
        table = self.vectors.vector_irq
        if not 0 <= cpu < len(table) or not 0 <= vector < self.vectors.geometry.matrix_bits:
            return -1
        return table[cpu][vector]

    # CPUs

    def cpu_up(self, cpu: int) -> int:
        """Bring a CPU up: see impl.arch.x86.smpboot, or impl.arch.x86.xen_smp_pv."""
        if self.xen is not None and self.xen.pv:
            return xen_pv_cpu_up(self.irqs, cpu)
        return super().cpu_up(cpu)

    def cpu_down(self, cpu: int, irr_pending: Collection[int] = ()) -> int:
        """Take a CPU down: see impl.arch.x86.smpboot, or impl.arch.x86.xen_smp_pv."""
        if self.xen is not None and self.xen.pv:
            return xen_pv_cpu_down(self.irqs, cpu)
        return super().cpu_down(cpu, irr_pending)

    # Xen

    def pci_alloc_irq_vectors(
        self, name: str, min_vecs: int, max_vecs: int, flags: int, affd: IrqAffinity | None = None
    ) -> int:
        """pci_alloc_irq_vectors_affinity: see impl.drivers.pci.msi."""
        ret = super().pci_alloc_irq_vectors(name, min_vecs, max_vecs, flags, affd)
        self._release_pirqs()
        return ret

    def pci_free_irq_vectors(self, name: str) -> int:
        """pci_free_irq_vectors: see impl.drivers.pci.msi; 0, or -EBUSY if one has a handler."""
        ret = super().pci_free_irq_vectors(name)
        self._release_pirqs()
        return ret

    def xen_answer_next(self, answer: Answer) -> int:
        """The hypervisor, or the backend, will give `answer` to a request that has none yet."""
        if self.xen is None:
            return -errno.ENODEV
        self.xen.answers.pending.append(answer)
        return 0

    def _release_pirqs(self) -> None:
        if self.xen is not None:
            self.xen.release_pirqs()

    # Volume management devices

    def vmd_probe(self, name: str) -> int:
        """A driver takes charge of a VMD, and finds what is behind it; see impl.drivers.pci.vmd.

        0; -ENODEV if there is no such VMD, -EBUSY if it has a driver; else an error of vmd_probe.
        """
        part, dev = self._vmd_part(name), self.pci_devs.get(name)
        if part is None or dev is None:
            return -errno.ENODEV
        if name in self.vmds:
            return -errno.EBUSY
        self._process_context()
        vmd_dev = VmdDev(self.x86, dev, xen=self.description.platform == "xen")
        place = part.segment, part.bus
        ret = vmd.vmd_probe(vmd_dev, partial(self.topology.scan_bus, place), part.bus)
        if ret == 0:
            self.vmds[name] = vmd_dev
        return ret

    def vmd_remove(self, name: str) -> int:
        """The driver leaves a VMD, and with it the devices behind it.

        0; -ENODEV if it has none; -EBUSY if one of those devices has interrupts.
        """
        part, vmd_dev = self._vmd_part(name), self.vmds.get(name)
        if part is None or vmd_dev is None:
            return -errno.ENODEV
        place = part.segment, part.bus
        if self._in_use(self.topology.on_bus(place)):
            return -errno.EBUSY
        self._process_context()
        vmd.vmd_remove(vmd_dev, partial(self.topology.remove_bus, place))
        del self.vmds[name]
        return 0

    def _children_of(self, irq: int) -> list[int]:
        """The driver of a VMD handles its vector: the irqs behind it whose handlers ran."""
        found = self._vmd_of_vector(irq)
        return [] if found is None else vmd_irq(*found)

    def _vmd_of_vector(self, irq: int) -> tuple[VmdDev, int] | None:
        """The VMD, and the number of its vector, that an irq is."""
        for vmd_dev in self.vmds.values():
            for index in range(vmd_dev.msix_count):
                if pci_irq_vector(vmd_dev.dev, index) == irq:
                    return vmd_dev, index
        return None

    def _vmd_vector_of(self, desc: IrqDesc, vmd_dev: VmdDev) -> IrqDesc | None:
        """A device behind a VMD signals: the interrupt that the VMD raises, None if none."""
        msi_desc = desc.msi_desc
        if msi_desc is None or not isinstance(msi_desc.dev, PciDev):
            return None
        message = pci_message(desc.irq, msi_desc, msi_desc.dev)
        if message is None:
            return None
        return self.irqs.irq_to_desc(pci_irq_vector(vmd_dev.dev, vmd_msg_index(message)))

    def _vmd_part(self, name: str) -> VmdDescription | None:
        parts = (part for part in self.description.vmds if part.name == name)
        return next(parts, None)

    # Message stores

    def ims_probe(self, name: str) -> int:
        """A driver makes a domain for the subdevices of a device with a message store.

        0; -ENODEV without such a device, -EBUSY if it has a driver, -ENXIO if it gets no domain.
        """
        part, dev = self._ims_part(name), self.pci_devs.get(name)
        if part is None or dev is None:
            return -errno.ENODEV
        if name in self.ims_drivers:
            return -errno.EBUSY
        self._process_context()
        driver = ImsDriver(part, dev, self._first_subdevice(part))
        if not driver.probe():
            return -errno.ENXIO
        self.ims_drivers[name] = driver
        return 0

    def ims_remove(self, name: str) -> int:
        """The driver leaves: 0, -ENODEV if there is none, -EBUSY if a subdevice has interrupts."""
        driver = self.ims_drivers.get(name)
        if driver is None:
            return -errno.ENODEV
        if any(subdevice.msi_list for subdevice in driver.subdevices):
            return -errno.EBUSY
        self._process_context()
        driver.remove()
        del self.ims_drivers[name]
        return 0

    def ims_alloc_irqs(self, name: str, number: int, nvec: int) -> int:
        """Give subdevice `number` interrupts: 0, -ENODEV, or as msi_domain_alloc_irqs."""
        subdevice = self._subdevice(name, number)
        if subdevice is None or subdevice.msi_domain is None:
            return -errno.ENODEV
        self._process_context()
        return msi_domain_alloc_irqs(subdevice.msi_domain, subdevice, nvec)

    def ims_free_irqs(self, name: str, number: int) -> int:
        """Undo ims_alloc_irqs: 0, -ENODEV, or -EBUSY if one has a handler."""
        subdevice = self._subdevice(name, number)
        if subdevice is None or subdevice.msi_domain is None:
            return -errno.ENODEV
        if any(self._has_action(desc.irq) for desc in subdevice.msi_list):
            return -errno.EBUSY
        self._process_context()
        msi_domain_free_irqs(subdevice.msi_domain, subdevice)
        return 0

    def ims_irq(self, name: str, number: int, nr: int) -> int:
        """The irq of message `nr` of a subdevice; -ENODEV, or -EINVAL if it has no such."""
        subdevice = self._subdevice(name, number)
        return -errno.ENODEV if subdevice is None else _nth_irq(subdevice, nr)

    def _ims_part(self, name: str) -> ImsDescription | None:
        return next((part for part in self.description.ims if part.name == name), None)

    def _first_subdevice(self, part: ImsDescription) -> int:
        """Subdevices are numbered behind the devices."""
        before = self.description.ims[: self.description.ims.index(part)]
        return len(self.description.devices) + sum(each.subdevices for each in before)

    def _subdevice(self, name: str, number: int) -> Device | None:
        driver = self.ims_drivers.get(name)
        if driver is None or not 0 <= number < len(driver.subdevices):
            return None
        return driver.subdevices[number]

    # Platform devices

    def platform_msi_alloc_irqs(self, name: str, nvec: int) -> int:
        """Give a platform device interrupts: 0, -ENODEV, or as platform_msi_domain_alloc_irqs."""
        dev = self.platform_devices.get(name)
        if dev is None:
            return -errno.ENODEV
        self._process_context()
        return platform_msi_domain_alloc_irqs(self.platform_msi, dev, nvec, dev.write_msg)

    def platform_msi_free_irqs(self, name: str) -> int:
        """Undo platform_msi_alloc_irqs: 0, -ENODEV, or -EBUSY if one has a handler."""
        dev = self.platform_devices.get(name)
        if dev is None or dev.msi_domain is None:
            return -errno.ENODEV
        if any(self._has_action(desc.irq) for desc in dev.msi_list):
            return -errno.EBUSY
        self._process_context()
        platform_msi_domain_free_irqs(self.platform_msi, dev)
        return 0

    def platform_msi_irq(self, name: str, nr: int) -> int:
        """The irq of message `nr` of a platform device; -ENODEV, or -EINVAL if it has no such."""
        dev = self.platform_devices.get(name)
        return -errno.ENODEV if dev is None else _nth_irq(dev, nr)


def _nth_irq(dev: Device, nr: int) -> int:
    return dev.msi_list[nr].irq if 0 <= nr < len(dev.msi_list) else -errno.EINVAL
