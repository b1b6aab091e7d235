# SPDX-License-Identifier: GPL-2.0-only
"""What callers ask of the x86 interrupt domains (arch/x86/include/asm/hw_irq.h, v5.10)."""

import enum
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from impl.kernel.kernel import NUMA_NO_NODE

if TYPE_CHECKING:
    from impl.kernel.irq.msi import MsiDesc

__all__ = [
    "X86_IRQ_ALLOC_CONTIGUOUS_VECTORS",
    "X86_IRQ_ALLOC_LEGACY",
    "X86_IRQ_ALLOC_TYPE",
    "IoapicAllocInfo",
    "IrqAllocInfo",
    "UvAllocInfo",
    "copy_irq_alloc_info",
    "init_irq_alloc_info",
]

X86_IRQ_ALLOC_CONTIGUOUS_VECTORS = 1
"""A flag: the vectors of the interrupts must follow one another, as multi-MSI needs them."""

X86_IRQ_ALLOC_LEGACY = 2
"""A flag: legacy irqs are taken over from the PIC."""


class X86_IRQ_ALLOC_TYPE(enum.IntEnum):
    """Who allocates (enum irq_alloc_type, with the type of V2 #39).

    The last two only look for a parent domain.
    """

    NONE = 0
    IOAPIC = 1
    HPET = 2
    PCI_MSI = 3
    PCI_MSIX = 4
    DMAR = 5
    UV = 6
    DEV_MSI = 7
    IOAPIC_GET_PARENT = 8
    HPET_GET_PARENT = 9


@dataclass(slots=True)
class IoapicAllocInfo:
    """The IO-APIC's part (struct ioapic_alloc_info).

    `trigger` and `polarity` count only if `valid`.  `entry` is where the route entry is kept; a
    remapping driver that programs a format of its own sets it to None.
    """

    pin: int = 0
    node: int = NUMA_NO_NODE
    trigger: int = 0
    polarity: int = 0
    valid: bool = False
    entry: Any = None


@dataclass(slots=True)
class UvAllocInfo:
    """The UV hub's part (struct uv_alloc_info)."""

    limit: int = 0
    blade: int = 0
    offset: int = 0
    name: str = ""


@dataclass(slots=True)
class IrqAllocInfo:
    """The argument of an allocation, handed from level to level (struct irq_alloc_info).

    `flags` combines X86_IRQ_ALLOC_* bits.  `devid` is the requesting unit, `hwirq` the interrupt's
    number there.  `mask` demands a vector at once on one of its CPUs; None leaves that to
    activation.  `desc` is the MSI descriptor, `data` the caller's own.  The kernel keeps `ioapic`
    and `uv` in a union.
    """

    type: X86_IRQ_ALLOC_TYPE = X86_IRQ_ALLOC_TYPE.NONE
    flags: int = 0
    devid: int = 0
    hwirq: int = 0
    mask: int | None = None
    desc: "MsiDesc | None" = None
    data: Any = None
    ioapic: IoapicAllocInfo = field(default_factory=IoapicAllocInfo)
    uv: UvAllocInfo = field(default_factory=UvAllocInfo)


def init_irq_alloc_info(info: IrqAllocInfo, mask: int | None) -> None:
    """Clear everything and store `mask`."""
    copy_irq_alloc_info(info, IrqAllocInfo(mask=mask))


def copy_irq_alloc_info(dst: IrqAllocInfo, src: IrqAllocInfo | None) -> None:
    """Make `dst` what `src` is, or clear it without one; later changes of one do not show in the
    other."""
    if src is None:
        src = IrqAllocInfo()
    for each in fields(IrqAllocInfo):
        setattr(dst, each.name, getattr(src, each.name))
    dst.ioapic = replace(src.ioapic)
    dst.uv = replace(src.uv)
