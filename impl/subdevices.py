# SPDX-License-Identifier: GPL-2.0-only
"""Devices of a machine that keep their messages in stores of their own, and what drives them."""

from functools import partial

from impl.arch.x86.x86_init import X86Platform
from impl.drivers.base.platform_msi import platform_msi_create_irq_domain, platform_msi_desc
from impl.drivers.irqchip.ims_msi import ImsArrayInfo, pci_ims_array_create_msi_irq_domain
from impl.drivers.irqchip.ims_msi_queue import ImsQueueInfo, pci_ims_queue_create_msi_irq_domain
from impl.drivers.irqchip.ims_msi_slots import ImsQueueDevice, ImsSlots
from impl.drivers.pci.pci import PciDev
from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain import (
    irq_domain_alloc_named_fwnode,
    irq_domain_free_fwnode,
    irq_domain_remove,
)
from impl.kernel.irq.msi import (
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.irq.msi_desc import MsiDesc, irq_data_get_msi_desc
from impl.platform_parts import ImsDescription

__all__ = ["ImsDriver", "PlatformDevice", "create_platform_msi_domain"]


class ImsDriver:
    """The driver of a PCI device with a message store, and the subdevices that it hands out.

    `domain` serves the subdevices.  The store is `slots` or, if it is made of images in system
    memory, `queues`.
    """

    __slots__ = ("domain", "pdev", "queues", "slots", "subdevices")

    def __init__(self, part: ImsDescription, pdev: PciDev, first_id: int) -> None:
        self.pdev = pdev
        self.slots = ImsSlots(part.slots if part.storage == "array" else 0)
        self.queues = ImsQueueDevice(part.slots if part.storage == "queue" else 0)
        self.domain: IrqDomain | None = None
        self.subdevices = [
            Device(first_id + number, f"{part.name}.{number}", pdev.numa_node, parent=pdev)
            for number in range(part.subdevices)
        ]

    def probe(self) -> bool:
        """Create the domain; whether there is one."""
        if self.slots.count:
            array = ImsArrayInfo(self.slots, self.slots.count)
            self.domain = pci_ims_array_create_msi_irq_domain(self.pdev, array)
        else:
            queues = self.queues
            info = ImsQueueInfo(
                queues.queue_lock, queues.queue_sync_unlock, queues.queue_get_shadow
            )
            self.domain = pci_ims_queue_create_msi_irq_domain(self.pdev, info)
        for subdevice in self.subdevices:
            subdevice.msi_domain = self.domain
        return self.domain is not None

    def remove(self) -> None:
        """Remove the domain; all interrupts have been freed."""
        domain = self.domain
        if domain is not None:
            irq_domain_remove(domain.domains, domain)
            irq_domain_free_fwnode(domain.domains, domain.fwnode)
            self.domain = None


class PlatformDevice(Device):
    """A device on no bus: it keeps the message of each index, and which may be sent."""

    __slots__ = ("messages", "unmasked")

    def __init__(self, id: int, name: str, numa_node: int) -> None:
        super().__init__(id, name, numa_node)
        self.messages: dict[int, MsiMsg] = {}
        self.unmasked: set[int] = set()

    def write_msg(self, desc: MsiDesc, msg: MsiMsg) -> None:
        """The driver stores a message."""
        self.messages[platform_msi_desc(desc).msi_index] = msg

    def signal(self, index: int) -> MsiMsg | None:
        """The message with which the device signals, None if it may not."""
        return self.messages.get(index) if index in self.unmasked else None


def create_platform_msi_domain(x86: X86Platform) -> IrqDomain | None:
    """The domain of the platform devices, on top of the vector domain; None without memory."""
    fwnode = irq_domain_alloc_named_fwnode(x86.domains, "PLATFORM-MSI")
    if fwnode is None:
        return None
    info = MsiDomainInfo(
        flags=MSI_FLAG_USE_DEF_DOM_OPS | MSI_FLAG_USE_DEF_CHIP_OPS,
        ops=MsiDomainOps(),
        chip=IrqChip(
            "PLATFORM-MSI",
            irq_mask=partial(_set_mask, True),
            irq_unmask=partial(_set_mask, False),
        ),
        handler_name="edge",
    )
    parent = x86.vectors.x86_vector_domain
    domain = platform_msi_create_irq_domain(x86.domains, fwnode, info, parent)
    if domain is None:
        irq_domain_free_fwnode(x86.domains, fwnode)
    return domain


def _set_mask(masked: bool, irqd: IrqData) -> None:
    desc = irq_data_get_msi_desc(irqd)
    dev, index = desc.dev, platform_msi_desc(desc).msi_index
    if isinstance(dev, PlatformDevice):
        (dev.unmasked.discard if masked else dev.unmasked.add)(index)
