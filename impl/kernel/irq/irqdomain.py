# SPDX-License-Identifier: GPL-2.0-only
"""Allocation and activation through irq domains (kernel/irq/irqdomain.c, v5.10).

Allocation serves domains of one level; activation walks any number of levels.
"""

from collections.abc import Sequence
from typing import Any

from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_CAN_RESERVE,
    IrqAffinityDesc,
    IrqData,
    IrqDomain,
    no_irq_chip,
)
from impl.kernel.irq.irqdesc import IrqDescTable, irq_alloc_descs, irq_free_descs

__all__ = [
    "irq_domain_activate_irq",
    "irq_domain_alloc_irqs",
    "irq_domain_deactivate_irq",
    "irq_domain_free_irqs",
    "irq_domain_get_irq_data",
    "irq_domain_reset_irq_data",
    "irqd_clr_activated",
    "irqd_clr_can_reserve",
]


def irq_domain_get_irq_data(table: IrqDescTable, domain: IrqDomain, irq: int) -> IrqData | None:
    """The level of `irq` that belongs to `domain`, None if it has none."""
    desc = table.irq_to_desc(irq)
    irqd = desc.irq_data if desc is not None else None
    while irqd is not None and irqd.domain is not domain:
        irqd = irqd.parent_data
    return irqd


def irq_domain_reset_irq_data(irqd: IrqData) -> None:
    """Forget hwirq, chip and chip data of one level."""
    irqd.hwirq = 0
    irqd.chip = no_irq_chip
    irqd.chip_data = None


def irq_domain_alloc_irqs(
    table: IrqDescTable,
    domain: IrqDomain,
    irq_base: int,
    nr_irqs: int,
    node: int,
    arg: Any,
    *,
    realloc: bool = False,
    affinity: Sequence[IrqAffinityDesc] | None = None,
) -> int:
    """Allocate descriptors and let `domain` set them up (__irq_domain_alloc_irqs).

    Returns the first irq or a negative errno.  With `realloc` the descriptors at `irq_base` exist
    already; a failure frees them all the same.
    """
    if realloc and irq_base >= 0:
        virq = irq_base
    else:
        # The hierarchical allocator has no hwirq yet, so the hint is always 1.
        hint = irq_base if irq_base >= 0 else 1
        virq = irq_alloc_descs(table, irq_base, hint, nr_irqs, node, affinity)
        if virq < 0:
            return virq
    for irq in range(virq, virq + nr_irqs):
        table.descs[irq].irq_data.domain = domain
    ret = domain.ops.alloc(domain, virq, nr_irqs, arg)
    if ret < 0:
        _irq_domain_free_irq_data(table, virq, nr_irqs)
        irq_free_descs(table, virq, nr_irqs)
        return ret
    return virq


def irq_domain_free_irqs(table: IrqDescTable, virq: int, nr_irqs: int) -> None:
    """Undo irq_domain_alloc_irqs; the domain frees each interrupt in a call of its own."""
    domain = table.descs[virq].irq_data.domain
    if domain is None:
        table.kernel.warn()
        return
    for irq in range(virq, virq + nr_irqs):
        domain.ops.free(domain, irq, 1)
    _irq_domain_free_irq_data(table, virq, nr_irqs)
    irq_free_descs(table, virq, nr_irqs)


def irq_domain_activate_irq(irqd: IrqData, reserve: bool) -> int:
    """Make every level ready to signal, root first; 0 or the first error (GEN-1, GEN-4).

    `reserve` asks for the least that keeps the device quiet, without taking resources.
    """
    if irqd.common.state & IRQD_ACTIVATED:
        return 0
    ret = _activate(irqd, reserve)
    if ret == 0:
        irqd.set(IRQD_ACTIVATED)
        irqd.desc.trace("irq_domain_activate_irq")
    return ret


def irq_domain_deactivate_irq(irqd: IrqData) -> None:
    """Take every level's resources back, outermost first; cannot fail."""
    if not irqd.common.state & IRQD_ACTIVATED:
        return
    _deactivate(irqd)
    irqd.clear(IRQD_ACTIVATED)
    irqd.desc.trace("irq_domain_deactivate_irq")


def irqd_clr_activated(irqd: IrqData) -> None:
    """Forget the activation without undoing it, so that the next request activates again."""
    irqd.clear(IRQD_ACTIVATED)
    irqd.desc.trace("irqd_clr_activated")


def irqd_clr_can_reserve(irqd: IrqData) -> None:
    """Demand a real resource at activation instead of a reservation."""
    irqd.clear(IRQD_CAN_RESERVE)
    irqd.desc.trace("irqd_clr_can_reserve")


def _activate(irqd: IrqData | None, reserve: bool) -> int:
    if irqd is None or irqd.domain is None:
        return 0
    parent = irqd.parent_data
    ret = _activate(parent, reserve)
    activate = irqd.domain.ops.activate
    if ret == 0 and activate is not None:
        ret = activate(irqd.domain, irqd, reserve)
        if ret:
            _deactivate(parent)
    return ret


def _deactivate(irqd: IrqData | None) -> None:
    while irqd is not None and irqd.domain is not None:
        if irqd.domain.ops.deactivate is not None:
            irqd.domain.ops.deactivate(irqd.domain, irqd)
        irqd = irqd.parent_data


def _irq_domain_free_irq_data(table: IrqDescTable, virq: int, nr_irqs: int) -> None:
    for irq in range(virq, virq + nr_irqs):
        irqd = table.descs[irq].irq_data
        irqd.parent_data = None
        irqd.domain = None
