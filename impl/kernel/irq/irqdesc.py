# SPDX-License-Identifier: GPL-2.0-only
"""Allocation of interrupt descriptors (kernel/irq/irqdesc.c, v5.10, SPARSE_IRQ)."""

import errno
from collections.abc import Sequence

from impl.kernel.bitmap import find_next_zero_area
from impl.kernel.cpumask import cpumask_first
from impl.kernel.irq.irq import (
    IRQD_AFFINITY_MANAGED,
    IRQD_IRQ_DISABLED,
    IRQD_IRQ_MASKED,
    IRQD_MANAGED_SHUTDOWN,
    IrqAffinityDesc,
    IrqDesc,
)
from impl.kernel.kernel import Kernel

__all__ = ["IrqDescTable", "early_irq_init", "irq_alloc_descs", "irq_free_descs"]

_CONFIG_NR_CPUS = 8192
"""What distributions build for; the numbers a kernel has do not depend on the CPUs it finds."""

_NR_IRQS = 256 + 64 * _CONFIG_NR_CPUS
_IRQ_BITMAP_BITS = _NR_IRQS + 8196

_NEW_DESC_STATE = IRQD_IRQ_DISABLED | IRQD_IRQ_MASKED
_MANAGED_STATE = IRQD_AFFINITY_MANAGED | IRQD_MANAGED_SHUTDOWN


class IrqDescTable:
    """All descriptors of a machine.

    `allocated_irqs` has bit i for each irq i with a descriptor, `nr_irqs` is the current ceiling
    and `bitmap_bits` the last one (IRQ_BITMAP_BITS).  `dynirq_base` is the lowest number a dynamic
    irq may get (arch_dynirq_lower_bound after the IO-APIC set-up); 0 leaves the caller's hint.
    """

    __slots__ = (
        "allocated_irqs",
        "bitmap_bits",
        "descs",
        "dynirq_base",
        "kernel",
        "nr_irqs",
    )

    def __init__(self, kernel: Kernel, *, dynirq_base: int = 0) -> None:
        self.kernel = kernel
        self.descs: dict[int, IrqDesc] = {}
        self.allocated_irqs = 0
        self.nr_irqs = 256
        self.bitmap_bits = _IRQ_BITMAP_BITS
        self.dynirq_base = dynirq_base

    def irq_to_desc(self, irq: int) -> IrqDesc | None:
        """The descriptor of `irq`, None if it has none."""
        return self.descs.get(irq)

    def active_irqs(self) -> list[int]:
        """The numbers of all descriptors, ascending (for_each_active_irq)."""
        return sorted(self.descs)


def early_irq_init(table: IrqDescTable, nr_legacy_irqs: int) -> None:
    """Give the legacy irqs 0 .. nr_legacy_irqs-1 their descriptors, which live from boot on."""
    kernel = table.kernel
    for irq in range(nr_legacy_irqs):
        desc = IrqDesc(kernel, irq, _NEW_DESC_STATE, kernel.irq_default_affinity, 0)
        table.descs[irq] = desc
    table.allocated_irqs |= (1 << nr_legacy_irqs) - 1


def irq_alloc_descs(
    table: IrqDescTable,
    irq: int,
    from_irq: int,
    cnt: int,
    node: int,
    affinity: Sequence[IrqAffinityDesc] | None = None,
) -> int:
    """Allocate `cnt` consecutive descriptors (__irq_alloc_descs); the first number or an error.

    A non-negative `irq` is an exact demand, otherwise the first fit from `from_irq` is taken.
    -EINVAL: nothing asked for, a demand below `from_irq`, an empty affinity mask.  -EEXIST: the
    demanded range is taken.  -ENOMEM: no number or no memory is left; nothing stays allocated.
    """
    if cnt == 0 or 0 <= irq < from_irq:
        return -errno.EINVAL
    lowest = irq if irq >= 0 else max(from_irq, table.dynirq_base)
    start = find_next_zero_area(table.allocated_irqs, lowest, cnt)
    if irq >= 0 and start != irq:
        return -errno.EEXIST
    if start + cnt > table.nr_irqs:
        if start + cnt > table.bitmap_bits:
            return -errno.ENOMEM
        table.nr_irqs = start + cnt
    return _alloc_descs(table, start, cnt, node, affinity)


def irq_free_descs(table: IrqDescTable, from_irq: int, cnt: int) -> None:
    """Free `cnt` descriptors; silently nothing if the range exceeds nr_irqs."""
    if from_irq + cnt > table.nr_irqs:
        return
    for irq in range(from_irq, from_irq + cnt):
        desc = table.descs.pop(irq, None)
        table.allocated_irqs &= ~(1 << irq)
        if desc is not None:
            desc.trace("irq_free_descs")


def _alloc_descs(
    table: IrqDescTable,
    start: int,
    cnt: int,
    node: int,
    affinity: Sequence[IrqAffinityDesc] | None,
) -> int:
    kernel = table.kernel
    if affinity is not None and not all(entry.mask for entry in affinity[:cnt]):
        return -errno.EINVAL
    made = []
    for k in range(cnt):
        state, mask = _NEW_DESC_STATE, kernel.irq_default_affinity
        if affinity is not None:
            entry = affinity[k]
            mask = entry.mask
            node = kernel.cpu_to_node(cpumask_first(mask))
            if entry.is_managed:
                state |= _MANAGED_STATE
        if kernel.kzalloc_fails("alloc_desc"):
            return -errno.ENOMEM
        made.append(IrqDesc(kernel, start + k, state, mask, node))
    for desc in made:
        table.descs[desc.irq] = desc
    table.allocated_irqs |= ((1 << cnt) - 1) << start
    for desc in made:
        managed = int(desc.irq_data.test(IRQD_AFFINITY_MANAGED))
        desc.trace("irq_alloc_descs", affinity=desc.common.affinity, managed=managed)
    return start
