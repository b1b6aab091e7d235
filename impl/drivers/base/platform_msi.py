# SPDX-License-Identifier: GPL-2.0-only
"""MSI of devices on no bus that knows messages (drivers/base/platform-msi.c, v5.10).

The driver of a device brings a function that stores a message in the device.  To tell the
interrupts of a domain apart each device gets a made-up number, the devid, and its messages an index
each.

Events of the system "platform_msi":

| event | fields | when |
|---|---|---|
| platform_msi_alloc_priv_data | device, devid | a device takes a devid |
| platform_msi_free_priv_data | device, devid | it gives the devid back |
| platform_msi_alloc_desc | device, desc, index, irq | a descriptor gets an index; irq 0: none |
| platform_msi_write_msg | irq, desc, address_lo, address_hi, data | the driver stores a message |
| platform_msi_create_device_domain | device, domain | see platform_msi_domain.py |
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

# The kernel's generic code gets this type as msi_alloc_info_t from the architecture, too.
from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.defects import Defect
from impl.kernel.device import Device
from impl.kernel.irq.chip import (
    irq_chip_ack_parent,
    irq_chip_eoi_parent,
    irq_chip_mask_parent,
    irq_chip_unmask_parent,
)
from impl.kernel.irq.irq import IrqData, IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain import (
    DomainBus,
    IrqDomains,
    IrqFwnode,
    irq_domain_update_bus_token,
)
from impl.kernel.irq.msi import (
    MSI_FLAG_LEVEL_CAPABLE,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    msi_domain_alloc_irqs,
    msi_domain_free_irqs,
)
from impl.kernel.irq.msi_desc import (
    MsiDesc,
    PlatformMsiDesc,
    alloc_msi_entry,
    free_msi_entry,
    irq_data_get_msi_desc,
)
from impl.kernel.irq.msi_domain import msi_create_irq_domain, msi_domain_set_affinity
from impl.kernel.kernel import Kernel, KernelBug

__all__ = [
    "DEV_ID_SHIFT",
    "MAX_DEV_MSIS",
    "PlatformMsi",
    "PlatformMsiPrivData",
    "PlatformWriteMsg",
    "platform_msi_alloc_descs",
    "platform_msi_alloc_priv_data",
    "platform_msi_calc_hwirq",
    "platform_msi_create_irq_domain",
    "platform_msi_desc",
    "platform_msi_domain_alloc_irqs",
    "platform_msi_domain_free_irqs",
    "platform_msi_free_desc",
    "platform_msi_free_priv_data",
    "platform_msi_update_chip_ops",
]

DEV_ID_SHIFT = 21
"""How many bits a devid has."""

MAX_DEV_MSIS = 1 << (32 - DEV_ID_SHIFT)
"""How many messages a device may have."""

_U16 = 0xFFFF
_U32 = 0xFFFFFFFF

PlatformWriteMsg = Callable[[MsiDesc, MsiMsg], None]
"""Stores a message in the device of a descriptor (irq_write_msi_msg_t)."""


class PlatformMsi:
    """The globals of platform MSI of one machine: `devids` has bit d while devid d is taken."""

    __slots__ = ("devids", "kernel")

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.devids = 0

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of platform MSI."""
        if self.kernel.trace.enabled:
            self.kernel.trace.emit("platform_msi", name, self.kernel.this_cpu, **fields)


@dataclass(slots=True, eq=False)
class PlatformMsiPrivData:
    """What platform MSI keeps for a device (struct platform_msi_priv_data).

    `host_data` and `arg` are for device domains: the owner's, and the argument of allocations in
    the parent.  `freed` says that the memory is not the device's any more.
    """

    platform: PlatformMsi
    dev: Device
    write_msg: PlatformWriteMsg
    devid: int
    host_data: Any = None
    arg: IrqAllocInfo = field(default_factory=IrqAllocInfo)
    freed: bool = False


def platform_msi_create_irq_domain(
    domains: IrqDomains, fwnode: IrqFwnode | None, info: MsiDomainInfo, parent: IrqDomain | None
) -> IrqDomain | None:
    """Create an MSI domain for platform devices, None without memory; `info` is completed in place.

    A BUG if defaults are asked for and there is nothing to complete.
    """
    if info.flags & MSI_FLAG_USE_DEF_DOM_OPS:
        _update_dom_ops(info, domains.kernel)
    if info.flags & MSI_FLAG_USE_DEF_CHIP_OPS:
        platform_msi_update_chip_ops(info, domains.kernel)
    domain = msi_create_irq_domain(domains, fwnode, info, parent)
    if domain is not None:
        irq_domain_update_bus_token(domains, domain, DomainBus.PLATFORM_MSI)
    return domain


def platform_msi_update_chip_ops(info: MsiDomainInfo, kernel: Kernel) -> None:
    """Complete the chip: what it lacks its parent does, but for affinity and messages.

    No chip here can signal levels, so that this is refused with a warning.
    """
    chip = info.chip
    if chip is None:
        raise KernelBug("a platform MSI domain has no chip")
    ack = None if Defect.PLT_ACK in kernel.defects else irq_chip_ack_parent
    info.chip = replace(
        chip,
        irq_ack=chip.irq_ack or ack,
        irq_mask=chip.irq_mask or irq_chip_mask_parent,
        irq_unmask=chip.irq_unmask or irq_chip_unmask_parent,
        irq_eoi=chip.irq_eoi or irq_chip_eoi_parent,
        irq_set_affinity=chip.irq_set_affinity or msi_domain_set_affinity,
        irq_write_msi_msg=chip.irq_write_msi_msg or _platform_msi_write_msg,
    )
    if info.flags & MSI_FLAG_LEVEL_CAPABLE:
        kernel.warn()
        info.flags &= ~MSI_FLAG_LEVEL_CAPABLE


def platform_msi_calc_hwirq(desc: MsiDesc) -> int:
    """The hwirq of a descriptor's interrupt: devid and index, in 32 bits (PLT-2).

    An index of MAX_DEV_MSIS or more, which only device domains under PLT-index have, runs into the
    bits of the devid.
    """
    platform = platform_msi_desc(desc)
    devid: int = platform.msi_priv_data.devid
    return (devid << (32 - DEV_ID_SHIFT) | platform.msi_index) & _U32


def platform_msi_desc(desc: MsiDesc) -> PlatformMsiDesc:
    """The platform's part of a descriptor; a BUG if it has none."""
    if desc.platform is None:
        raise KernelBug(f"a descriptor of {desc.dev.name} is none of platform MSI")
    return desc.platform


def platform_msi_domain_alloc_irqs(
    platform: PlatformMsi, dev: Device, nvec: int, write_msg: PlatformWriteMsg | None
) -> int:
    """Give a device `nvec` interrupts (1 to MAX_DEV_MSIS) of its domain; 0 or an error.

    -EINVAL: a wrong number, no function that stores messages, no domain, or one of another kind.
    -EBUSY: it has some.  -ENOMEM.  -ENOSPC: no devid is left.  Else what the domain returns, a
    positive number included.  Nothing remains after an error, but see PLT-5.
    """
    priv = platform_msi_alloc_priv_data(platform, dev, nvec, write_msg)
    if isinstance(priv, int):
        return priv
    domain = _domain(dev)
    ret = platform_msi_alloc_descs(priv, 0, nvec)
    if ret == 0:
        ret = msi_domain_alloc_irqs(domain, dev, nvec)
        if ret and Defect.PLT_ROLLBACK not in platform.kernel.defects:
            msi_domain_free_irqs(domain, dev)
    if ret:
        _free_descs(platform, dev)
        platform_msi_free_priv_data(priv)
    return ret


def platform_msi_domain_free_irqs(platform: PlatformMsi, dev: Device) -> None:
    """Take the interrupts of a device, its descriptors and its devid back (PLT-6)."""
    priv = _priv(dev.msi_list[0]) if dev.msi_list else None
    early = Defect.PLT_FREE in platform.kernel.defects
    if priv is not None and early:
        platform_msi_free_priv_data(priv)
    msi_domain_free_irqs(_domain(dev), dev)
    _free_descs(platform, dev)
    if priv is not None and not early:
        platform_msi_free_priv_data(priv)


# For device domains, too


def platform_msi_alloc_priv_data(
    platform: PlatformMsi, dev: Device, nvec: int, write_msg: PlatformWriteMsg | None
) -> PlatformMsiPrivData | int:
    """Let a device take part with up to `nvec` messages; the errors are those of
    platform_msi_domain_alloc_irqs, in that order."""
    kernel = platform.kernel
    if dev.msi_domain is None or write_msg is None or not 0 < nvec <= MAX_DEV_MSIS:
        return -errno.EINVAL
    if dev.msi_domain.bus_token != DomainBus.PLATFORM_MSI:
        kernel.trace.emit("printk", "dev_err", kernel.this_cpu, device=dev.id)
        return -errno.EINVAL
    if dev.msi_list:
        return -errno.EBUSY
    if kernel.kzalloc_fails("platform_msi_alloc_priv_data"):
        return -errno.ENOMEM
    devid = (~platform.devids & platform.devids + 1).bit_length() - 1
    if devid >> DEV_ID_SHIFT:
        return -errno.ENOSPC
    platform.devids |= 1 << devid
    platform.trace("platform_msi_alloc_priv_data", device=dev.id, devid=devid)
    return PlatformMsiPrivData(platform, dev, write_msg, devid)


def platform_msi_free_priv_data(priv: PlatformMsiPrivData) -> None:
    """Give the devid back; the next device may get it at once."""
    priv.platform.devids &= ~(1 << priv.devid)
    priv.freed = True
    priv.platform.trace("platform_msi_free_priv_data", device=priv.dev.id, devid=priv.devid)


def platform_msi_alloc_descs(priv: PlatformMsiPrivData, virq: int, nvec: int) -> int:
    """Append `nvec` descriptors to the device's; unless `virq` is 0, bound to the irqs from there.

    0; -ENOMEM or -ENOSPC, and none is appended.
    """
    dev, kernel = priv.dev, priv.platform.kernel
    indices = _next_indices(dev, nvec, growing=Defect.PLT_INDEX in kernel.defects)
    if len(indices) < nvec:
        return -errno.ENOSPC
    made: list[MsiDesc] = []
    for i, index in enumerate(indices):
        desc = alloc_msi_entry(kernel, dev, 1, None)
        if desc is None:
            for each in made:
                platform_msi_free_desc(priv.platform, each)
            return -errno.ENOMEM
        desc.platform = PlatformMsiDesc(priv, index)
        desc.irq = virq + i if virq else 0
        dev.msi_list.append(desc)
        made.append(desc)
        priv.platform.trace(
            "platform_msi_alloc_desc", device=dev.id, desc=desc.id, index=index, irq=desc.irq
        )
    return 0


def platform_msi_free_desc(platform: PlatformMsi, desc: MsiDesc) -> None:
    """Take a descriptor off its device and free it."""
    desc.dev.msi_list.remove(desc)
    free_msi_entry(platform.kernel, desc)


def _next_indices(dev: Device, nvec: int, *, growing: bool) -> list[int]:
    """The lowest free ones, fewer than `nvec` if there are not as many; or all behind the last."""
    used = [platform_msi_desc(desc).msi_index for desc in dev.msi_list]
    if growing:
        base = used[-1] + 1 if used else 0
        return [base + i & _U16 for i in range(nvec)]
    return sorted(set(range(MAX_DEV_MSIS)).difference(used))[:nvec]


def _free_descs(platform: PlatformMsi, dev: Device) -> None:
    for desc in list(dev.msi_list):
        platform_msi_free_desc(platform, desc)


def _domain(dev: Device) -> IrqDomain:
    if dev.msi_domain is None:
        raise KernelBug(f"{dev.name} has no MSI domain")
    return dev.msi_domain


def _priv(desc: MsiDesc) -> PlatformMsiPrivData:
    priv = platform_msi_desc(desc).msi_priv_data
    if not isinstance(priv, PlatformMsiPrivData) or priv.freed:
        raise KernelBug(f"a descriptor of {desc.dev.name} is used after its private data was freed")
    return priv


def _platform_msi_write_msg(irqd: IrqData, msg: MsiMsg) -> None:
    """Let the driver store the message; a BUG where the kernel would read freed memory."""
    desc = irq_data_get_msi_desc(irqd)
    priv = _priv(desc)
    priv.write_msg(desc, msg)
    priv.platform.trace(
        "platform_msi_write_msg",
        irq=irqd.irq,
        desc=desc.id,
        address_lo=msg.address_lo,
        address_hi=msg.address_hi,
        data=msg.data,
    )


def _set_desc(arg: IrqAllocInfo, desc: MsiDesc) -> None:
    arg.desc = desc
    arg.hwirq = platform_msi_calc_hwirq(desc)


def _update_dom_ops(info: MsiDomainInfo, kernel: Kernel) -> None:
    """Complete the operations.

    The kernel has a msi_init, too, which sets the chip; that of the MSI core, which comes next,
    does the same, and installs the flow handler that the info names.
    """
    if info.ops is None:
        raise KernelBug("a platform MSI domain has no operations")
    if Defect.PLT_OPS not in kernel.defects:
        info.ops = replace(info.ops, set_desc=info.ops.set_desc or _set_desc)
