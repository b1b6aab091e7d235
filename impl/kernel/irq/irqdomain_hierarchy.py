# SPDX-License-Identifier: GPL-2.0-only
"""Allocation of interrupts through a hierarchy of domains (kernel/irq/irqdomain.c, v5.10).

Every function here that the domains' own operations call runs under irq_domain_mutex, which
irq_domain_alloc_irqs and irq_domain_free_irqs take; the operations of an inner domain are reached
through the *_parent functions.
"""

import errno
from collections.abc import Sequence
from typing import Any

from impl.kernel.irq.chip import irq_set_chip_and_handler, irq_set_handler
from impl.kernel.irq.irq import (
    IRQ_NOREQUEST,
    IrqAffinityDesc,
    IrqChip,
    IrqData,
    IrqDomain,
    no_irq_chip,
)
from impl.kernel.irq.irqdesc import irq_alloc_descs, irq_free_descs
from impl.kernel.irq.irqdomain import (
    IrqDomains,
    irq_domain_clear_mapping,
    irq_domain_get_irq_data,
    irq_domain_set_mapping,
)

__all__ = [
    "IRQ_CHIP_NOT_CONNECTED",
    "irq_domain_alloc_irqs",
    "irq_domain_alloc_irqs_hierarchy",
    "irq_domain_alloc_irqs_parent",
    "irq_domain_disconnect_hierarchy",
    "irq_domain_free_irqs",
    "irq_domain_free_irqs_common",
    "irq_domain_free_irqs_hierarchy",
    "irq_domain_free_irqs_parent",
    "irq_domain_free_irqs_top",
    "irq_domain_reset_irq_data",
    "irq_domain_set_hwirq_and_chip",
    "irq_domain_set_info",
    "irqd_set_hwirq_and_chip",
]

IRQ_CHIP_NOT_CONNECTED = IrqChip("not connected", error=-errno.ENOTCONN)
"""The mark by which a domain says that it, and all inside of it, is not part of an interrupt."""


def irq_domain_alloc_irqs(
    domains: IrqDomains,
    domain: IrqDomain | None,
    irq_base: int,
    nr_irqs: int,
    node: int,
    arg: Any,
    *,
    realloc: bool = False,
    affinity: Sequence[IrqAffinityDesc] | None = None,
) -> int:
    """Allocate descriptors and let `domain` and its parents set them up (__irq_domain_alloc_irqs).

    Returns the first irq or a negative errno.  An `irq_base` >= 0 demands that number; with
    `realloc` its descriptors exist already, and a failure frees them all the same.  -EINVAL: no
    domain, or levels without a chip; in the latter case what the inner levels took leaks (DOM-7).
    -ENOMEM.  -ENOSYS: the domain does not allocate.  Else an error of the descriptors or a domain.
    """
    if domain is None:
        domain = domains.irq_default_domain
        if domain is None:
            domains.kernel.warn()
            return -errno.EINVAL
    if realloc and irq_base >= 0:
        virq = irq_base
    else:
        # The hierarchical allocator has no hwirq yet, so the hint is always 1.
        hint = irq_base if irq_base >= 0 else 1
        virq = irq_alloc_descs(domains.irqs, irq_base, hint, nr_irqs, node, affinity)
        if virq < 0:
            return virq
    ret = _irq_domain_alloc_irq_data(domains, domain, virq, nr_irqs)
    if ret == 0:
        ret = _alloc_levels(domains, domain, virq, nr_irqs, arg)
        if ret < 0:
            _irq_domain_free_irq_data(domains, virq, nr_irqs)
    if ret < 0:
        irq_free_descs(domains.irqs, virq, nr_irqs)
        return ret
    for irq in range(virq, virq + nr_irqs):
        _irq_domain_insert_irq(domains, irq)
    return virq


def irq_domain_free_irqs(domains: IrqDomains, virq: int, nr_irqs: int) -> None:
    """Undo irq_domain_alloc_irqs; warns, and nothing happens, if the domain cannot free.

    The reverse maps are cleared before any domain frees (DOM-9).
    """
    desc = domains.irqs.irq_to_desc(virq)
    domain = desc.irq_data.domain if desc is not None else None
    if domain is None or domain.ops.free is None:
        domains.kernel.warn()
        return
    for irq in range(virq, virq + nr_irqs):
        _irq_domain_remove_irq(domains, irq)
    irq_domain_free_irqs_hierarchy(domains, domain, virq, nr_irqs)
    _irq_domain_free_irq_data(domains, virq, nr_irqs)
    irq_free_descs(domains.irqs, virq, nr_irqs)


def irq_domain_alloc_irqs_hierarchy(domain: IrqDomain, virq: int, nr_irqs: int, arg: Any) -> int:
    """What the domain's own allocation returns, -ENOSYS if it has none."""
    if domain.ops.alloc is None:
        return -errno.ENOSYS
    return domain.ops.alloc(domain, virq, nr_irqs, arg)


def irq_domain_free_irqs_hierarchy(
    domains: IrqDomains, domain: IrqDomain, virq: int, nr_irqs: int
) -> None:
    """Let the domain free, in a call for each interrupt that has a level there."""
    if domain.ops.free is None:
        return
    for irq in range(virq, virq + nr_irqs):
        if irq_domain_get_irq_data(domains, domain, irq) is not None:
            domain.ops.free(domain, irq, 1)


def irq_domain_alloc_irqs_parent(domain: IrqDomain, virq: int, nr_irqs: int, arg: Any) -> int:
    """Let the domain's parent allocate; -ENOSYS without a parent."""
    if domain.parent is None:
        return -errno.ENOSYS
    return irq_domain_alloc_irqs_hierarchy(domain.parent, virq, nr_irqs, arg)


def irq_domain_free_irqs_parent(
    domains: IrqDomains, domain: IrqDomain, virq: int, nr_irqs: int
) -> None:
    """Let the domain's parent free, if there is one."""
    if domain.parent is not None:
        irq_domain_free_irqs_hierarchy(domains, domain.parent, virq, nr_irqs)


def irq_domain_free_irqs_common(
    domains: IrqDomains, domain: IrqDomain, virq: int, nr_irqs: int
) -> None:
    """Reset the domain's level of each interrupt, then let the parent free."""
    for irq in range(virq, virq + nr_irqs):
        irqd = irq_domain_get_irq_data(domains, domain, irq)
        if irqd is not None:
            irq_domain_reset_irq_data(irqd)
    irq_domain_free_irqs_parent(domains, domain, virq, nr_irqs)


def irq_domain_free_irqs_top(
    domains: IrqDomains, domain: IrqDomain, virq: int, nr_irqs: int
) -> None:
    """irq_domain_free_irqs_common for the domain that installed the flow handler.

    While the outermost chip is in place, that is on the error path of an allocation, uninstalling
    the handler masks and acknowledges.
    """
    for irq in range(virq, virq + nr_irqs):
        desc = domains.irqs.descs[irq]
        desc.handler_data = None
        irq_set_handler(desc, None)
    irq_domain_free_irqs_common(domains, domain, virq, nr_irqs)


def irq_domain_set_hwirq_and_chip(
    domains: IrqDomains,
    domain: IrqDomain,
    virq: int,
    hwirq: int,
    chip: IrqChip | None,
    chip_data: Any,
) -> int:
    """Set up the domain's level of `virq`; 0, or -ENOENT if it has none."""
    irqd = irq_domain_get_irq_data(domains, domain, virq)
    if irqd is None:
        return -errno.ENOENT
    irqd_set_hwirq_and_chip(irqd, hwirq, chip if chip is not None else no_irq_chip, chip_data)
    return 0


def irq_domain_set_info(
    domains: IrqDomains,
    domain: IrqDomain,
    virq: int,
    hwirq: int,
    chip: IrqChip | None,
    chip_data: Any,
    handler_name: str,
    handler_data: Any,
) -> None:
    """irq_domain_set_hwirq_and_chip, its error ignored, and the flow handler with its data."""
    irq_domain_set_hwirq_and_chip(domains, domain, virq, hwirq, chip, chip_data)
    desc = domains.irqs.descs[virq]
    irq_set_handler(desc, handler_name)
    desc.handler_data = handler_data


def irqd_set_hwirq_and_chip(irqd: IrqData, hwirq: int, chip: IrqChip, chip_data: Any) -> None:
    """Set up a level that its domain has at hand."""
    irqd.hwirq = hwirq
    irqd.chip = chip
    irqd.chip_data = chip_data
    if irqd.domain is not None:
        irqd.domain.domains.trace(
            "irq_domain_set_hwirq_and_chip", irq=irqd.irq, domain=irqd.domain.id, hwirq=hwirq
        )


def irq_domain_reset_irq_data(irqd: IrqData) -> None:
    """Forget hwirq, chip and chip data of one level."""
    irqd.hwirq = 0
    irqd.chip = no_irq_chip
    irqd.chip_data = None
    if irqd.domain is not None:
        irqd.domain.domains.trace("irq_domain_reset_irq_data", irq=irqd.irq, domain=irqd.domain.id)


def irq_domain_disconnect_hierarchy(domains: IrqDomains, domain: IrqDomain, virq: int) -> int:
    """Mark the domain's level, and all inside of it, as not part of `virq`; 0 or -EINVAL.

    For domains whose allocation finds out that an interrupt ends before them.
    """
    irqd = irq_domain_get_irq_data(domains, domain, virq)
    if irqd is None:
        return -errno.EINVAL
    irqd.chip = IRQ_CHIP_NOT_CONNECTED
    return 0


def _alloc_levels(domains: IrqDomains, domain: IrqDomain, virq: int, nr_irqs: int, arg: Any) -> int:
    """Let the domains set the chains up, and check what they left; a positive result is success."""
    ret = irq_domain_alloc_irqs_hierarchy(domain, virq, nr_irqs, arg)
    if ret < 0:
        return ret
    for irq in range(virq, virq + nr_irqs):
        ret = _irq_domain_trim_hierarchy(domains, irq)
        if ret:
            return ret
    return 0


def _irq_domain_alloc_irq_data(
    domains: IrqDomains, domain: IrqDomain, virq: int, nr_irqs: int
) -> int:
    """Give each interrupt a level for `domain` and each of its ancestors; 0 or -ENOMEM and none."""
    for irq in range(virq, virq + nr_irqs):
        outermost = domains.irqs.descs[irq].irq_data
        outermost.domain = domain
        if not _insert_ancestors(outermost, domain):
            outermost.parent_data = None
            outermost.domain = None
            _irq_domain_free_irq_data(domains, virq, irq - virq)
            return -errno.ENOMEM
        domains.trace("irq_domain_alloc_irq_data", irq=irq, domain=domain.id)
    return 0


def _insert_ancestors(child: IrqData, domain: IrqDomain) -> bool:
    parent = domain.parent
    while parent is not None:
        if parent.domains.kernel.kzalloc_fails("irq_domain_insert_irq_data"):
            return False
        inner = IrqData(child.desc, child.common)
        inner.domain = parent
        child.parent_data = inner
        child, parent = inner, parent.parent
    return True


def _irq_domain_free_irq_data(domains: IrqDomains, virq: int, nr_irqs: int) -> None:
    for irq in range(virq, virq + nr_irqs):
        outermost = domains.irqs.descs[irq].irq_data
        outermost.parent_data = None
        outermost.domain = None
        domains.trace("irq_domain_free_irq_data", irq=irq)


def _irq_domain_trim_hierarchy(domains: IrqDomains, virq: int) -> int:
    """Cut the chain at the mark of a level that is not connected, if there is one.

    0, or -EINVAL unless every level has a chip until the mark and none has one behind it.
    """
    irqd = domains.irqs.descs[virq].irq_data
    if irqd.chip is None or irqd.chip.error:
        return -errno.EINVAL
    tail = None
    level = irqd.parent_data
    while level is not None:
        if (level.chip is None) == (tail is None):
            return -errno.EINVAL
        if level.chip is not None and level.chip.error:
            if level.chip.error != -errno.ENOTCONN:
                return -errno.EINVAL
            tail = irqd
        irqd, level = level, level.parent_data
    if tail is not None and tail.domain is not None:
        tail.parent_data = None
        domains.trace("irq_domain_trim_hierarchy", irq=virq, domain=tail.domain.id)
    return 0


def _irq_domain_insert_irq(domains: IrqDomains, virq: int) -> None:
    desc = domains.irqs.descs[virq]
    irqd: IrqData | None = desc.irq_data
    while irqd is not None and irqd.domain is not None:
        domain = irqd.domain
        domain.mapcount += 1
        irq_domain_set_mapping(domain, irqd.hwirq, irqd)
        domains.trace("irq_domain_set_mapping", irq=virq, domain=domain.id, hwirq=irqd.hwirq)
        irqd = irqd.parent_data
    desc.status &= ~IRQ_NOREQUEST


def _irq_domain_remove_irq(domains: IrqDomains, virq: int) -> None:
    desc = domains.irqs.descs[virq]
    desc.status |= IRQ_NOREQUEST
    irq_set_chip_and_handler(desc, None, None)
    irqd: IrqData | None = desc.irq_data
    while irqd is not None and irqd.domain is not None:
        domain = irqd.domain
        domain.mapcount -= 1
        irq_domain_clear_mapping(domain, irqd.hwirq)
        domains.trace("irq_domain_clear_mapping", irq=virq, domain=domain.id, hwirq=irqd.hwirq)
        irqd = irqd.parent_data
