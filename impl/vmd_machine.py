# SPDX-License-Identifier: GPL-2.0-only
"""What drivers do to the VMDs of a machine, and what the devices behind those do."""

import errno
from functools import partial

from impl.device_machine import DeviceMachine
from impl.device_signals import pci_message
from impl.drivers.pci import vmd
from impl.drivers.pci.msi import pci_irq_vector
from impl.drivers.pci.pci import PciDev
from impl.drivers.pci.vmd_domain import VmdDev, vmd_irq, vmd_msg_index
from impl.kernel.irq.irq import IrqDesc
from impl.platform_parts import VmdDescription

__all__ = ["VmdMachine"]


class VmdMachine(DeviceMachine):
    """A machine that may have VMDs: `vmds` holds those with a driver, by the name of the device."""

    vmds: dict[str, VmdDev]

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

    def free_irq(self, irq: int) -> int:
        """free_irq: see impl.kernel.irq.request; -EBUSY for the handler of a VMD's own driver."""
        return -errno.EBUSY if self._vmd_of_vector(irq) is not None else super().free_irq(irq)

    def fire(self, irq: int) -> bool:
        """The device of `irq` signals as its registers say; True if a handler ran.

        A device behind a VMD lets the VMD signal.
        """
        desc = self.irqs.irq_to_desc(irq)
        if desc is None or not isinstance(desc.handler_data, VmdDev):
            return super().fire(irq)
        vector = self._vmd_vector_of(desc, desc.handler_data)
        return vector is not None and irq in self._signal(vector)

    def _deliver(self, cpu: int, vector: int) -> list[int]:
        """The handler of a VMD's vector calls those of the devices behind it."""
        return [each for irq in super()._deliver(cpu, vector) for each in self._with_children(irq)]

    def _with_children(self, irq: int) -> list[int]:
        """The handler of an irq has run: with it the irqs behind a VMD whose handlers ran."""
        found = self._vmd_of_vector(irq)
        return [irq] if found is None else [irq, *vmd_irq(*found)]

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
