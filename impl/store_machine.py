# SPDX-License-Identifier: GPL-2.0-only
"""What drivers do to the message stores and the platform devices of a machine."""

import errno
from collections.abc import Iterable

from impl.drivers.base.platform_msi import (
    PlatformMsi,
    platform_msi_domain_alloc_irqs,
    platform_msi_domain_free_irqs,
)
from impl.hyperv_machine import HypervMachine
from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.msi import msi_domain_alloc_irqs, msi_domain_free_irqs
from impl.platform_parts import ImsDescription
from impl.subdevices import ImsDriver, PlatformDevice

__all__ = ["StoreMachine"]


class StoreMachine(HypervMachine):
    """A machine that may have devices with messages of their own.

    `ims_drivers` has the drivers of PCI devices with a message store, by the name of the device.
    `platform_devices` are on no bus; `platform_domain` serves them, if there are any.
    """

    ims_drivers: dict[str, ImsDriver]
    platform_msi: PlatformMsi
    platform_domain: IrqDomain | None
    platform_devices: dict[str, PlatformDevice]

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

    def _in_use(self, names: Iterable[str]) -> bool:
        """Whether one of the devices has interrupts, or a driver that hands out its store."""
        devices = list(names)
        return super()._in_use(devices) or any(name in self.ims_drivers for name in devices)

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
