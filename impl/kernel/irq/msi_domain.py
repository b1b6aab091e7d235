# SPDX-License-Identifier: GPL-2.0-only
"""The domain of message signalled interrupts (kernel/irq/msi.c, v5.10).

Its level of an interrupt writes the message that an inner level composes.
"""

import errno
from dataclasses import replace
from typing import Final

from impl.arch.x86.irq_alloc_info import IrqAllocInfo, copy_irq_alloc_info
from impl.defects import Defect
from impl.kernel.device import Device
from impl.kernel.irq.chip import (
    irq_chip_compose_msi_msg,
    irq_chip_write_msi_msg,
    irq_set_handler,
)
from impl.kernel.irq.irq import (
    IRQ_SET_MASK_OK_DONE,
    IrqData,
    IrqDomain,
    IrqDomainOps,
    MsiMsg,
    irq_data_get_irq_chip,
)
from impl.kernel.irq.irqdomain import (
    IRQ_DOMAIN_FLAG_MSI,
    IrqDomains,
    IrqFwnode,
    irq_domain_create_hierarchy,
    irq_find_mapping,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs_parent,
    irq_domain_free_irqs_top,
    irq_domain_set_hwirq_and_chip,
)
from impl.kernel.irq.msi import (
    MSI_FLAG_ACTIVATE_EARLY,
    MSI_FLAG_MUST_REACTIVATE,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDesc,
    MsiDomainInfo,
    MsiDomainOps,
    msi_default_alloc_irqs,
    msi_default_free_irqs,
    msi_domain_info,
    msi_op,
)
from impl.kernel.kernel import KernelBug

__all__ = [
    "msi_create_irq_domain",
    "msi_domain_activate",
    "msi_domain_deactivate",
    "msi_domain_set_affinity",
    "msi_domain_set_default_info_flags",
]


def msi_create_irq_domain(
    domains: IrqDomains,
    fwnode: IrqFwnode | None,
    info: MsiDomainInfo,
    parent: IrqDomain | None,
) -> IrqDomain | None:
    """An MSI domain above `parent`; None without memory.

    Missing operations of `info` are filled with the defaults; all of them if it has none, the
    override operations always, the others with MSI_FLAG_USE_DEF_DOM_OPS.
    """
    _msi_domain_update_dom_ops(info)
    if info.flags & MSI_FLAG_USE_DEF_CHIP_OPS:
        _msi_domain_update_chip_ops(info)
    return irq_domain_create_hierarchy(
        domains, parent, IRQ_DOMAIN_FLAG_MSI, 0, fwnode, _MSI_DOMAIN_OPS, info
    )


def msi_domain_set_default_info_flags(info: MsiDomainInfo) -> None:
    """What every domain of devices wants (V2 #43): messages from the start, vectors on request."""
    info.flags |= MSI_FLAG_ACTIVATE_EARLY | MSI_FLAG_MUST_REACTIVATE


def msi_domain_set_affinity(irqd: IrqData, mask: int, force: bool) -> int:
    """Let the parent move the interrupt, and send the device its new message.

    The parent's result.
    """
    parent = irqd.parent_data
    if parent is None:
        raise KernelBug(f"irq {irqd.irq} has no level inside of its MSI domain")
    setter = msi_op(irq_data_get_irq_chip(parent).irq_set_affinity, "irq_set_affinity inside")
    ret = setter(parent, mask, force)
    if ret >= 0 and ret != IRQ_SET_MASK_OK_DONE:
        _write_composed(irqd)
    return ret


def msi_domain_activate(domain: IrqDomain, irqd: IrqData, reserve: bool) -> int:
    """Send the device its message; always 0, a message that nobody composes is a BUG."""
    _write_composed(irqd)
    return 0


def msi_domain_deactivate(domain: IrqDomain, irqd: IrqData) -> None:
    """Send the device the empty message."""
    irq_chip_write_msi_msg(irqd, MsiMsg())


def _write_composed(irqd: IrqData) -> None:
    ret, msg = irq_chip_compose_msi_msg(irqd)
    if ret:
        raise KernelBug(f"no chip of irq {irqd.irq} composes a message")
    irq_chip_write_msi_msg(irqd, msg)


def _msi_domain_alloc(domain: IrqDomain, virq: int, nr_irqs: int, arg: IrqAllocInfo) -> int:
    """Set up the level of a block of interrupts with consecutive hwirqs.

    -EEXIST if the first hwirq is in use; of the others nobody asks (MSI-11).
    """
    info, ops = msi_domain_info(domain)
    domains = domain.domains
    hwirq = msi_op(ops.get_hwirq, "get_hwirq")(info, arg)
    if irq_find_mapping(domains, domain, hwirq) > 0:
        return -errno.EEXIST
    if domain.parent is not None:
        ret = irq_domain_alloc_irqs_parent(domain, virq, nr_irqs, arg)
        if ret < 0:
            return ret
    init = msi_op(ops.msi_init, "msi_init")
    for k in range(nr_irqs):
        ret = init(domain, info, virq + k, hwirq + k, arg)
        if ret < 0:
            _undo_init(domain, virq, k)
            irq_domain_free_irqs_top(domains, domain, virq, nr_irqs)
            return ret
    return 0


def _undo_init(domain: IrqDomain, virq: int, done: int) -> None:
    first = 1 if Defect.N7 in domain.domains.kernel.defects else 0
    for k in range(done - 1, first - 1, -1):
        _msi_free(domain, virq + k)


def _msi_domain_free(domain: IrqDomain, virq: int, nr_irqs: int) -> None:
    for irq in range(virq, virq + nr_irqs):
        _msi_free(domain, irq)
    irq_domain_free_irqs_top(domain.domains, domain, virq, nr_irqs)


def _msi_free(domain: IrqDomain, irq: int) -> None:
    info, ops = msi_domain_info(domain)
    if ops.msi_free is not None:
        ops.msi_free(domain, info, irq)
        kernel = domain.domains.kernel
        kernel.trace.emit("msi", "msi_free", kernel.this_cpu, irq=irq, domain=domain.id)


_MSI_DOMAIN_OPS: Final = IrqDomainOps(
    alloc=_msi_domain_alloc,
    free=_msi_domain_free,
    activate=msi_domain_activate,
    deactivate=msi_domain_deactivate,
)


def _get_hwirq(info: MsiDomainInfo, arg: IrqAllocInfo) -> int:
    return arg.hwirq


def _msi_init(
    domain: IrqDomain, info: MsiDomainInfo, virq: int, hwirq: int, arg: IrqAllocInfo
) -> int:
    domains = domain.domains
    irq_domain_set_hwirq_and_chip(domains, domain, virq, hwirq, info.chip, info.chip_data)
    if info.handler_name is not None:
        desc = domains.irqs.descs[virq]
        irq_set_handler(desc, info.handler_name)
        if info.handler_data is not None:
            desc.handler_data = info.handler_data
    return 0


def _msi_check(domain: IrqDomain, info: MsiDomainInfo, dev: Device) -> int:
    return 0


def _msi_prepare(domain: IrqDomain, dev: Device, nvec: int, arg: IrqAllocInfo) -> int:
    copy_irq_alloc_info(arg, None)
    return 0


def _set_desc(arg: IrqAllocInfo, desc: MsiDesc) -> None:
    arg.desc = desc


def _msi_domain_update_dom_ops(info: MsiDomainInfo) -> None:
    given = info.ops if info.ops is not None else MsiDomainOps()
    ops = replace(
        given,
        domain_alloc_irqs=given.domain_alloc_irqs or msi_default_alloc_irqs,
        domain_free_irqs=given.domain_free_irqs or msi_default_free_irqs,
    )
    if info.ops is None or info.flags & MSI_FLAG_USE_DEF_DOM_OPS:
        ops.get_hwirq = ops.get_hwirq or _get_hwirq
        ops.msi_init = ops.msi_init or _msi_init
        ops.msi_check = ops.msi_check or _msi_check
        ops.msi_prepare = ops.msi_prepare or _msi_prepare
        ops.set_desc = ops.set_desc or _set_desc
    info.ops = ops


def _msi_domain_update_chip_ops(info: MsiDomainInfo) -> None:
    chip = info.chip
    if chip is None or chip.irq_mask is None or chip.irq_unmask is None:
        raise KernelBug("an MSI domain with default chip operations needs a chip that masks")
    if chip.irq_set_affinity is None:
        info.chip = replace(chip, irq_set_affinity=msi_domain_set_affinity)
