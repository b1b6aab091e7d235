# SPDX-License-Identifier: GPL-2.0-only
"""What drivers and devices do to a machine of one platform or another.

The methods are operations, as those of impl.device_machine.  A machine that lacks what an operation
is about answers -ENODEV.
"""

import errno
from functools import partial

from impl.device_machine import DeviceMachine
from impl.drivers.pci import vmd
from impl.drivers.pci.vmd_domain import VmdDev
from impl.platform_parts import VmdDescription

__all__ = ["PlatformMachine"]


class PlatformMachine(DeviceMachine):
    """A machine with the hardware of its platform; the constructor of impl.machine.Machine makes
    one.

    `vmds` holds the VMDs that have a driver, by the name of the device.
    """

    vmds: dict[str, VmdDev]

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

    def _vmd_part(self, name: str) -> VmdDescription | None:
        parts = (part for part in self.description.vmds if part.name == name)
        return next(parts, None)
