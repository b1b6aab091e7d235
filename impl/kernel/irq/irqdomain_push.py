# SPDX-License-Identifier: GPL-2.0-only
"""Putting a level on top of an allocated interrupt (kernel/irq/irqdomain.c, v5.10)."""

import errno
from typing import Any

from impl.kernel.irq.irq import IrqData, IrqDesc, IrqDomain
from impl.kernel.irq.irqdomain import (
    IrqDomains,
    irq_domain_clear_mapping,
    irq_domain_fix_revmap,
    irq_domain_get_irq_data,
    irq_domain_is_hierarchy,
    irq_domain_set_mapping,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs_hierarchy,
    irq_domain_free_irqs_hierarchy,
)

__all__ = ["irq_domain_pop_irq", "irq_domain_push_irq"]


def irq_domain_push_irq(domains: IrqDomains, domain: IrqDomain | None, virq: int, arg: Any) -> int:
    """Make `domain` the outermost level of `virq`, whose outermost domain is its parent.

    0; -EBUSY if a handler is installed; -EINVAL without a descriptor or if the domain does not fit;
    -ENOMEM; or what the domain's allocation returns other than 0, a positive number too.  The
    domain's mapcount stays, so the interrupt must be popped before it is freed.
    """
    desc = domains.irqs.irq_to_desc(virq)
    if desc is None:
        return -errno.EINVAL
    if desc.action:
        domains.kernel.warn()
        return -errno.EBUSY
    if domain is None or not irq_domain_is_hierarchy(domain):
        return -errno.EINVAL
    if domain.parent is None or domain.parent is not desc.irq_data.domain:
        return -errno.EINVAL
    if domains.kernel.kzalloc_fails("irq_domain_push_irq"):
        return -errno.ENOMEM
    child = _push_level(desc, domain)
    domains.trace("irq_domain_push_irq", irq=virq, domain=domain.id)
    ret = irq_domain_alloc_irqs_hierarchy(domain, virq, 1, arg)
    if ret:
        _copy_irq_data(desc.irq_data, child)
        domains.trace("irq_domain_pop_irq", irq=virq, domain=domain.id)
        return ret
    irq_domain_fix_revmap(child)
    hwirq = desc.irq_data.hwirq
    irq_domain_set_mapping(domain, hwirq, desc.irq_data)
    domains.trace("irq_domain_set_mapping", irq=virq, domain=domain.id, hwirq=hwirq)
    return 0


def irq_domain_pop_irq(domains: IrqDomains, domain: IrqDomain | None, virq: int) -> int:
    """Undo irq_domain_push_irq; 0, -EINVAL or -EBUSY for the same reasons.

    The level is on its own when its domain frees: the levels inside do not hear of it.
    """
    desc = domains.irqs.irq_to_desc(virq)
    if desc is None:
        return -errno.EINVAL
    if desc.action:
        domains.kernel.warn()
        return -errno.EBUSY
    if domain is None:
        return -errno.EINVAL
    outermost = desc.irq_data
    child = outermost.parent_data
    if irq_domain_get_irq_data(domains, domain, virq) is not outermost or child is None:
        domains.kernel.warn()
        return -errno.EINVAL
    hwirq = outermost.hwirq
    outermost.parent_data = None
    irq_domain_clear_mapping(domain, hwirq)
    domains.trace("irq_domain_clear_mapping", irq=virq, domain=domain.id, hwirq=hwirq)
    irq_domain_free_irqs_hierarchy(domains, domain, virq, 1)
    _copy_irq_data(outermost, child)
    irq_domain_fix_revmap(outermost)
    domains.trace("irq_domain_pop_irq", irq=virq, domain=domain.id)
    return 0


def _push_level(desc: IrqDesc, domain: IrqDomain) -> IrqData:
    """Move the outermost level into a new inner one and empty it; returns the inner one."""
    outermost = desc.irq_data
    child = IrqData(desc, desc.common)
    _copy_irq_data(child, outermost)
    outermost.parent_data = child
    outermost.domain = domain
    outermost.hwirq = 0
    outermost.chip = None
    outermost.chip_data = None
    return child


def _copy_irq_data(dst: IrqData, src: IrqData) -> None:
    dst.hwirq = src.hwirq
    dst.chip = src.chip
    dst.chip_data = src.chip_data
    dst.domain = src.domain
    dst.parent_data = src.parent_data
