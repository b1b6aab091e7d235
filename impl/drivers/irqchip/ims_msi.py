# SPDX-License-Identifier: GPL-2.0-only
"""Messages in an array of slots in a device (V2 #46, drivers/irqchip/irq-ims-msi.c; never merged).

The subdevices of a PCI device share the array: each of their descriptors takes a free slot.

Events of the system "ims" (those of the domain: impl.drivers.base.device_msi; those of images in
system memory: ims_msi_queue.py), `slot` is the number of one:

| event | fields | when |
|---|---|---|
| ims_array_alloc_slot | domain, device, desc, slot | a descriptor takes a slot |
| ims_array_free_slot | domain, device, desc, slot | it gives the slot back |
| ims_array_reset_slot | domain, slot, masked | a slot forgets its message |
| ims_array_mask_irq, ims_array_unmask_irq | irq, slot | |
| ims_array_write_msi_msg | irq, slot, address_lo, address_hi, data | |
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from impl.defects import Defect
from impl.drivers.base.device_msi import device_msi_desc, pci_subdevice_msi_create_irq_domain
from impl.drivers.irqchip.ims_msi_slots import IMS_CTRL_VECTOR_MASKBIT, ImsSlots, ImsWord
from impl.drivers.pci.pci import PciDev
from impl.kernel.device import Device
from impl.kernel.irq.chip import irq_chip_retrigger_hierarchy
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDomain, MsiMsg
from impl.kernel.irq.msi import (
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.irq.msi_desc import MsiDesc, irq_data_get_msi_desc
from impl.kernel.kernel import Kernel, KernelBug

__all__ = [
    "ImsArrayData",
    "ImsArrayInfo",
    "ims_create_msi_irq_domain",
    "ims_hwirq",
    "pci_ims_array_create_msi_irq_domain",
]

_U16 = 0xFFFF
_U32 = 0xFFFFFFFF

_COPIES = 4
"""What the heap has for a domain: the owner's data, the info, its operations, its chip."""


@dataclass(frozen=True, slots=True)
class ImsArrayInfo:
    """The array of a device, of which the first `max_slots` are for subdevices."""

    slots: ImsSlots
    max_slots: int


@dataclass(slots=True, eq=False)
class ImsArrayData:
    """What the driver keeps for a domain (struct ims_array_data): bit k of `map` claims slot k.

    `preempt` stands for what another CPU does between the search for a slot and its claim.
    """

    info: ImsArrayInfo
    map: int = 0
    preempt: Callable[[], None] | None = None


def pci_ims_array_create_msi_irq_domain(pdev: PciDev, ims_info: ImsArrayInfo) -> IrqDomain | None:
    """A domain for the subdevices of `pdev`, which keep their messages in the array.

    None where pci_subdevice_msi_create_irq_domain has none.
    """
    data = ImsArrayData(replace(ims_info))
    domain = ims_create_msi_irq_domain(pdev, _OPS, _CHIP, data=data)
    if domain is not None and Defect.DEV_D7 not in pdev.bus.pci.kernel.defects:
        for slot in range(data.info.max_slots):
            _reset_slot(domain, data, slot)
    return domain


def ims_create_msi_irq_domain(
    pdev: PciDev, ops: MsiDomainOps, chip: IrqChip, *, data: Any = None, chip_data: Any = None
) -> IrqDomain | None:
    """A domain for subdevices whose store is handled by `ops` and `chip`; None as above."""
    kernel = pdev.bus.pci.kernel
    if Defect.DEV_D1 in kernel.defects:
        return None
    if any(kernel.kzalloc_fails("ims_create_msi_irq_domain") for _ in range(_COPIES)):
        return None
    info = MsiDomainInfo(
        flags=MSI_FLAG_USE_DEF_DOM_OPS | MSI_FLAG_USE_DEF_CHIP_OPS,
        ops=ops,
        chip=chip,
        chip_data=chip_data,
        handler_name="edge",
        data=data,
    )
    return pci_subdevice_msi_create_irq_domain(pdev, info)


def ims_hwirq(kernel: Kernel, hwirq: int) -> int:
    """What a descriptor has room for of a hwirq."""
    return hwirq & (_U16 if Defect.DEV_D9 in kernel.defects else _U32)


# The store


def _array_data(domain: IrqDomain | None) -> ImsArrayData:
    info = domain.host_data if domain is not None else None
    data = info.data if isinstance(info, MsiDomainInfo) else None
    if not isinstance(data, ImsArrayData):
        raise KernelBug("a domain without an array was asked for a slot")
    return data


def _ims_array_alloc_msi_store(domain: IrqDomain, dev: Device, nvec: int) -> int:
    """Give every descriptor of the device the lowest free slot; -ENOSPC, and none, if they end."""
    data, kernel = _array_data(domain), domain.domains.kernel
    for desc in dev.msi_list:
        slot = _claim_slot(data, kernel)
        if slot is None:
            _ims_array_free_msi_store(domain, dev)
            return -errno.ENOSPC
        place = device_msi_desc(desc)
        place.priv_iomem = slot
        place.hwirq = ims_hwirq(kernel, slot)
        _trace_slot(domain, "ims_array_alloc_slot", desc, slot)
        if Defect.DEV_D7 not in kernel.defects:
            _reset_slot(domain, data, slot)
    return 0


def _ims_array_free_msi_store(domain: IrqDomain, dev: Device) -> None:
    """Take the slots back from the descriptors that have one, and let them forget."""
    data = _array_data(domain)
    for desc in dev.msi_list:
        place = device_msi_desc(desc)
        if place.priv_iomem is None:
            continue
        slot: int = place.priv_iomem
        data.map &= ~(1 << place.hwirq)
        _reset_slot(domain, data, slot)
        place.priv_iomem = None
        place.hwirq = 0
        _trace_slot(domain, "ims_array_free_slot", desc, slot)


def _claim_slot(data: ImsArrayData, kernel: Kernel) -> int | None:
    while True:
        slot = (~data.map & data.map + 1).bit_length() - 1
        if slot >= data.info.max_slots:
            return None
        if data.preempt is not None:
            data.preempt()
        if not data.map >> slot & 1 or Defect.DEV_D6 in kernel.defects:
            data.map |= 1 << slot
            return slot


def _reset_slot(domain: IrqDomain, data: ImsArrayData, slot: int) -> None:
    kernel = domain.domains.kernel
    ctrl = 0 if Defect.DEV_D7 in kernel.defects else IMS_CTRL_VECTOR_MASKBIT
    slots = data.info.slots
    for word in (ImsWord.ADDRESS_LO, ImsWord.ADDRESS_HI, ImsWord.DATA):
        slots.iowrite32(slot, word, 0)
    slots.iowrite32(slot, ImsWord.CTRL, ctrl)
    _flush(slots, slot, kernel)
    _trace(kernel, "ims_array_reset_slot", domain=domain.id, slot=slot, masked=int(ctrl != 0))


def _flush(slots: ImsSlots, slot: int, kernel: Kernel) -> None:
    """Wait until the device has seen everything that was written."""
    if Defect.DEV_D8 not in kernel.defects:
        slots.ioread32(slot, ImsWord.CTRL)


# The chip


def _slot_of(irqd: IrqData) -> tuple[ImsSlots, int]:
    slot = device_msi_desc(irq_data_get_msi_desc(irqd)).priv_iomem
    if not isinstance(slot, int):
        raise KernelBug(f"irq {irqd.irq} has no slot")
    return _array_data(irqd.domain).info.slots, slot


def _set_mask_bit(irqd: IrqData, name: str, flag: int) -> None:
    slots, slot = _slot_of(irqd)
    kernel = irqd.desc.kernel
    ctrl = slots.ioread32(slot, ImsWord.CTRL) & ~IMS_CTRL_VECTOR_MASKBIT | flag
    slots.iowrite32(slot, ImsWord.CTRL, ctrl)
    _flush(slots, slot, kernel)
    _trace(kernel, name, irq=irqd.irq, slot=slot)


def _ims_array_mask_irq(irqd: IrqData) -> None:
    _set_mask_bit(irqd, "ims_array_mask_irq", IMS_CTRL_VECTOR_MASKBIT)


def _ims_array_unmask_irq(irqd: IrqData) -> None:
    _set_mask_bit(irqd, "ims_array_unmask_irq", 0)


def _ims_array_write_msi_msg(irqd: IrqData, msg: MsiMsg) -> None:
    slots, slot = _slot_of(irqd)
    kernel = irqd.desc.kernel
    slots.iowrite32(slot, ImsWord.ADDRESS_LO, msg.address_lo)
    slots.iowrite32(slot, ImsWord.ADDRESS_HI, msg.address_hi)
    slots.iowrite32(slot, ImsWord.DATA, msg.data)
    _flush(slots, slot, kernel)
    _trace(
        kernel,
        "ims_array_write_msi_msg",
        irq=irqd.irq,
        slot=slot,
        address_lo=msg.address_lo,
        address_hi=msg.address_hi,
        data=msg.data,
    )


_OPS: Final = MsiDomainOps(
    msi_alloc_store=_ims_array_alloc_msi_store, msi_free_store=_ims_array_free_msi_store
)

_CHIP: Final = IrqChip(
    "IMS",
    irq_mask=_ims_array_mask_irq,
    irq_unmask=_ims_array_unmask_irq,
    irq_write_msi_msg=_ims_array_write_msi_msg,
    irq_retrigger=irq_chip_retrigger_hierarchy,
)


def _trace_slot(domain: IrqDomain, name: str, desc: MsiDesc, slot: int) -> None:
    kernel = domain.domains.kernel
    _trace(kernel, name, domain=domain.id, device=desc.dev.id, desc=desc.id, slot=slot)


def _trace(kernel: Kernel, name: str, **fields: int) -> None:
    if kernel.trace.enabled:
        kernel.trace.emit("ims", name, kernel.this_cpu, **fields)
