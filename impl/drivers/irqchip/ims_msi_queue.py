# SPDX-License-Identifier: GPL-2.0-only
"""Messages in images that a device reads from system memory (V2 #46; never merged).

A queue of a device keeps the image of its message, the shadow, among its own data, and learns of a
change by a command.  That sleeps, so the chip has a bus lock: changes are made in the shadow, and
the driver gives the command when it unlocks, before anything that relies on it (IMS-9, IMS-10).

An interrupt that cannot move in process context, as behind the vector domain itself, moves when it
arrives, where the bus cannot be locked: the device would keep the old message.  Interrupt remapping
has none of this, since a move does not change the message there.

Events of the system "ims" (see also ims_msi.py), all with `irq`, and those of the store with
`device` and `position` instead:

| event | fields | when |
|---|---|---|
| ims_queue_alloc_shadow, ims_queue_free_shadow | device, desc, position | |
| ims_queue_lock, ims_queue_sync_unlock | irq | the driver has locked, or has synchronised |
| ims_queue_mask_irq, ims_queue_unmask_irq | irq | in the shadow, as what follows |
| ims_queue_enable, ims_queue_disable | irq | |
| ims_queue_write_msi_msg | irq, address_lo, address_hi, data | |
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from impl.defects import Defect
from impl.drivers.base.device_msi import device_msi_desc
from impl.drivers.irqchip.ims_msi import ims_create_msi_irq_domain, ims_hwirq
from impl.drivers.irqchip.ims_msi_slots import IMS_CTRL_VECTOR_MASKBIT, ImsShadow
from impl.drivers.pci.pci import PciDev
from impl.kernel.device import Device
from impl.kernel.irq.chip import irq_chip_retrigger_hierarchy
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDomain, MsiMsg
from impl.kernel.irq.msi import MsiDomainOps, msi_domain_info
from impl.kernel.irq.msi_desc import MsiDesc, irq_data_get_msi_desc
from impl.kernel.kernel import Kernel, KernelBug

__all__ = ["ImsQueueInfo", "pci_ims_queue_create_msi_irq_domain"]

_DEVICE_SHIFT = 16


@dataclass(frozen=True, slots=True)
class ImsQueueInfo:
    """What the driver of the device brings (struct ims_queue_info).

    `queue_get_shadow` finds the image for a message of a subdevice, by the message's position;
    `queue_lock` locks the queue that it belongs to; `queue_sync_unlock` gives the device a changed
    image, then unlocks.
    """

    queue_lock: Callable[[ImsShadow], None]
    queue_sync_unlock: Callable[[ImsShadow], None]
    queue_get_shadow: Callable[[Device, int], ImsShadow | None]


def pci_ims_queue_create_msi_irq_domain(pdev: PciDev, ims_info: ImsQueueInfo) -> IrqDomain | None:
    """A domain for the subdevices of `pdev`, whose queues keep their messages.

    `ims_info` must stay.  None where pci_subdevice_msi_create_irq_domain has none.
    """
    return ims_create_msi_irq_domain(pdev, _OPS, _CHIP, chip_data=ims_info)


# The store


def _ims_queue_alloc_msi_store(domain: IrqDomain, dev: Device, nvec: int) -> int:
    """Find the image for each descriptor of the device; -ENOSPC, and none, if one has none."""
    queue, kernel = _queue_info(domain), domain.domains.kernel
    for position, desc in enumerate(dev.msi_list):
        shadow = queue.queue_get_shadow(dev, position)
        if shadow is None:
            _ims_queue_free_msi_store(domain, dev)
            return -errno.ENOSPC
        place = device_msi_desc(desc)
        place.priv = shadow
        place.hwirq = ims_hwirq(kernel, dev.id << _DEVICE_SHIFT | position)
        if Defect.DEV_D7 not in kernel.defects:
            _reset_shadow(queue, shadow, kernel)
        _trace_shadow(domain, "ims_queue_alloc_shadow", desc, position)
    return 0


def _ims_queue_free_msi_store(domain: IrqDomain, dev: Device) -> None:
    """Give the images back, empty."""
    queue, kernel = _queue_info(domain), domain.domains.kernel
    for position, desc in enumerate(dev.msi_list):
        place = device_msi_desc(desc)
        if not isinstance(place.priv, ImsShadow):
            continue
        _reset_shadow(queue, place.priv, kernel)
        place.priv = None
        place.hwirq = 0
        _trace_shadow(domain, "ims_queue_free_shadow", desc, position)


def _reset_shadow(queue: ImsQueueInfo, shadow: ImsShadow, kernel: Kernel) -> None:
    queue.queue_lock(shadow)
    shadow.msg = MsiMsg()
    shadow.ctrl = 0 if Defect.DEV_D7 in kernel.defects else IMS_CTRL_VECTOR_MASKBIT
    queue.queue_sync_unlock(shadow)


def _queue_info(domain: IrqDomain) -> ImsQueueInfo:
    info, _ = msi_domain_info(domain)
    if not isinstance(info.chip_data, ImsQueueInfo):
        raise KernelBug(f"{domain.name} has no queues")
    return info.chip_data


# The chip


def _shadow_of(irqd: IrqData) -> tuple[ImsQueueInfo, ImsShadow]:
    shadow = device_msi_desc(irq_data_get_msi_desc(irqd)).priv
    if not isinstance(irqd.chip_data, ImsQueueInfo) or not isinstance(shadow, ImsShadow):
        raise KernelBug(f"irq {irqd.irq} has no image of its message")
    return irqd.chip_data, shadow


def _ims_queue_bus_lock(irqd: IrqData) -> None:
    queue, shadow = _shadow_of(irqd)
    queue.queue_lock(shadow)
    _trace(irqd.desc.kernel, "ims_queue_lock", irq=irqd.irq)


def _ims_queue_bus_sync_unlock(irqd: IrqData) -> None:
    queue, shadow = _shadow_of(irqd)
    queue.queue_sync_unlock(shadow)
    _trace(irqd.desc.kernel, "ims_queue_sync_unlock", irq=irqd.irq)


def _set_mask_bit(irqd: IrqData, name: str, flag: int) -> None:
    _, shadow = _shadow_of(irqd)
    shadow.ctrl = shadow.ctrl & ~IMS_CTRL_VECTOR_MASKBIT | flag
    _trace(irqd.desc.kernel, name, irq=irqd.irq)


def _ims_queue_mask_irq(irqd: IrqData) -> None:
    _set_mask_bit(irqd, "ims_queue_mask_irq", IMS_CTRL_VECTOR_MASKBIT)


def _ims_queue_unmask_irq(irqd: IrqData) -> None:
    _set_mask_bit(irqd, "ims_queue_unmask_irq", 0)


def _ims_queue_enable(irqd: IrqData) -> None:
    _set_mask_bit(irqd, "ims_queue_enable", 0)


def _ims_queue_disable(irqd: IrqData) -> None:
    """Mask at once, so that the flow handler, where nothing can be locked, never has to."""
    _set_mask_bit(irqd, "ims_queue_disable", IMS_CTRL_VECTOR_MASKBIT)


def _ims_queue_write_msi_msg(irqd: IrqData, msg: MsiMsg) -> None:
    _, shadow = _shadow_of(irqd)
    shadow.msg = msg
    _trace(
        irqd.desc.kernel,
        "ims_queue_write_msi_msg",
        irq=irqd.irq,
        address_lo=msg.address_lo,
        address_hi=msg.address_hi,
        data=msg.data,
    )


_OPS: Final = MsiDomainOps(
    msi_alloc_store=_ims_queue_alloc_msi_store, msi_free_store=_ims_queue_free_msi_store
)

_CHIP: Final = IrqChip(
    "IMS-QUEUE",
    irq_enable=_ims_queue_enable,
    irq_disable=_ims_queue_disable,
    irq_mask=_ims_queue_mask_irq,
    irq_unmask=_ims_queue_unmask_irq,
    irq_write_msi_msg=_ims_queue_write_msi_msg,
    irq_retrigger=irq_chip_retrigger_hierarchy,
    irq_bus_lock=_ims_queue_bus_lock,
    irq_bus_sync_unlock=_ims_queue_bus_sync_unlock,
)


def _trace_shadow(domain: IrqDomain, name: str, desc: MsiDesc, position: int) -> None:
    _trace(domain.domains.kernel, name, device=desc.dev.id, desc=desc.id, position=position)


def _trace(kernel: Kernel, name: str, **fields: int) -> None:
    if kernel.trace.enabled:
        kernel.trace.emit("ims", name, kernel.this_cpu, **fields)
