# SPDX-License-Identifier: GPL-2.0-only
"""The descriptor of a message of a device (struct msi_desc, include/linux/msi.h, v5.10)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqAffinityDesc, IrqData, MsiMsg
from impl.kernel.kernel import Kernel, KernelBug

__all__ = [
    "DeviceMsiDesc",
    "MsiAttrib",
    "MsiDesc",
    "PlatformMsiDesc",
    "alloc_msi_entry",
    "free_msi_entry",
    "irq_data_get_msi_desc",
]


@dataclass(slots=True)
class MsiAttrib:
    """What a PCI device says of a descriptor; means nothing for others.

    `multiple` is log2 of the vectors that are on, `multi_cap` of those the device has.  `maskbit`:
    they can be masked.  `entry_nr` is the MSI-X table entry, `is_virtual` one behind the table's
    end.  `default_irq` is the device's pin interrupt.
    """

    is_msix: bool = False
    multiple: int = 0
    multi_cap: int = 0
    maskbit: bool = False
    is_64: bool = False
    is_virtual: bool = False
    entry_nr: int = 0
    default_irq: int = 0


@dataclass(slots=True)
class PlatformMsiDesc:
    """What a platform device says of a descriptor (struct platform_msi_desc).

    `msi_priv_data` is that of impl.drivers.base.platform_msi; `msi_index` has 16 bits and tells the
    messages of the device apart.
    """

    msi_priv_data: Any
    msi_index: int


@dataclass(slots=True)
class DeviceMsiDesc:
    """What a device with a message store of its own says of a descriptor (struct device_msi_desc).

    `priv` and `priv_iomem` are the store's: where in memory, or in the device, the message is kept,
    None where that is not known yet.  `hwirq` numbers the place.
    """

    priv: Any = None
    priv_iomem: Any = None
    hwirq: int = 0


class MsiDesc:
    """One message of a device (struct msi_desc); `id` numbers it on its machine, for the trace.

    `irq` is the first of its `nvec_used` irqs, 0 while it has none.  `msg` is the message last
    written.  `affinity` has an entry for each irq, if any.  `write_msi_msg` is called after each
    write.  `masked` is the mask register or the vector control word as last written.  `msi_attrib`,
    `platform` and `device_msi` are what the kind of device says of it, which the kernel keeps in a
    union: the latter two are None for other kinds.
    """

    __slots__ = (
        "affinity",
        "dev",
        "device_msi",
        "id",
        "irq",
        "masked",
        "msg",
        "msi_attrib",
        "nvec_used",
        "platform",
        "write_msi_msg",
    )

    def __init__(
        self,
        id: int,
        dev: Device,
        nvec: int,
        affinity: Sequence[IrqAffinityDesc] | None,
        msi_attrib: MsiAttrib,
    ) -> None:
        self.id = id
        self.irq = 0
        self.nvec_used = nvec
        self.dev = dev
        self.msg = MsiMsg()
        self.affinity = affinity
        self.write_msi_msg: Callable[[MsiDesc], None] | None = None
        self.masked = 0
        self.msi_attrib = msi_attrib
        self.platform: PlatformMsiDesc | None = None
        self.device_msi: DeviceMsiDesc | None = None


def alloc_msi_entry(
    kernel: Kernel,
    dev: Device,
    nvec: int,
    affinity: Sequence[IrqAffinityDesc] | None,
    msi_attrib: MsiAttrib | None = None,
) -> MsiDesc | None:
    """A descriptor for `nvec` interrupts of `dev`, not on its list yet; None without memory.

    `affinity` has `nvec` entries, if any; `msi_attrib` is for PCI.
    """
    if kernel.kzalloc_fails("alloc_msi_entry"):
        return None
    attrib = msi_attrib if msi_attrib is not None else MsiAttrib()
    desc = MsiDesc(kernel.nr_msi_descs, dev, nvec, affinity, attrib)
    kernel.nr_msi_descs += 1
    if kernel.trace.enabled:
        kernel.trace.emit(
            "msi",
            "alloc_msi_entry",
            kernel.this_cpu,
            device=dev.id,
            desc=desc.id,
            nvec=nvec,
            msix=int(attrib.is_msix),
            maskbit=int(attrib.maskbit),
        )
    return desc


def free_msi_entry(kernel: Kernel, desc: MsiDesc) -> None:
    """Free a descriptor that the caller has taken off its device's list."""
    kernel.trace.emit("msi", "free_msi_entry", kernel.this_cpu, device=desc.dev.id, desc=desc.id)


def irq_data_get_msi_desc(irqd: IrqData) -> MsiDesc:
    """The descriptor that the interrupt belongs to; a BUG if it has none."""
    desc = irqd.desc.msi_desc
    if desc is None:
        raise KernelBug(f"irq {irqd.irq} has no MSI descriptor")
    return desc
