# SPDX-License-Identifier: GPL-2.0-only
"""Fault interrupts of DMA remapping units (the DMAR part of arch/x86/kernel/apic/msi.c, v5.10).

A unit signals by a message of its own, which nothing remaps: its domain always lies directly on the
vector domain.  The domain is made when the first unit asks.
"""

import errno
from dataclasses import dataclass, field
from functools import partial

from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
    init_irq_alloc_info,
)
from impl.arch.x86.x86_init import X86Platform
from impl.defects import Defect
from impl.kernel.irq.chip import irq_chip_ack_parent, irq_chip_retrigger_hierarchy
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain import irq_domain_alloc_named_fwnode, irq_domain_free_fwnode
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs,
    irq_domain_free_irqs,
    irq_domain_set_info,
)
from impl.kernel.irq.msi import (
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.irq.msi_domain import msi_create_irq_domain, msi_domain_set_affinity
from impl.kernel.kernel import NUMA_NO_NODE, Kernel

__all__ = ["DmarUnit", "dmar_alloc_hwirq", "dmar_free_hwirq", "dmar_set_interrupt"]


@dataclass(slots=True)
class DmarUnit:
    """A DMA remapping unit: its number and its fault event registers.

    `irq` is 0 until it has an interrupt.  `masked` is the interrupt mask of the control register.
    """

    id: int
    node: int = NUMA_NO_NODE
    irq: int = 0
    message: MsiMsg = field(default_factory=MsiMsg)
    masked: bool = True


def dmar_set_interrupt(x86: X86Platform, unit: DmarUnit) -> int:
    """Give the unit an interrupt, unless it has one; 0, or -EINVAL if that fails."""
    if unit.irq:
        return 0
    irq = dmar_alloc_hwirq(x86, unit.id, unit.node, unit)
    if irq <= 0:
        return -errno.EINVAL
    unit.irq = irq
    return 0


def dmar_alloc_hwirq(x86: X86Platform, id: int, node: int, arg: DmarUnit) -> int:
    """Allocate an interrupt for the unit `arg` with number `id`.

    The irq; -1 without a domain; -EEXIST if `id` has one (APIC-7); an error of the vector domain.
    Under N1 every unit asks for hwirq 0.
    """
    domain = _dmar_get_irq_domain(x86)
    if domain is None:
        return -1
    info = IrqAllocInfo()
    init_irq_alloc_info(info, None)
    info.type = X86_IRQ_ALLOC_TYPE.DMAR
    info.devid = id
    if Defect.N1 not in x86.kernel.defects:
        info.hwirq = id
    info.data = arg
    return irq_domain_alloc_irqs(x86.domains, domain, -1, 1, node, info)


def dmar_free_hwirq(x86: X86Platform, irq: int) -> None:
    """Free the interrupt of a unit."""
    irq_domain_free_irqs(x86.domains, irq, 1)


def _dmar_get_irq_domain(x86: X86Platform) -> IrqDomain | None:
    if x86.dmar_domain is not None:
        return x86.dmar_domain
    fwnode = irq_domain_alloc_named_fwnode(x86.domains, "DMAR-MSI")
    if fwnode is None:
        return None
    info = MsiDomainInfo(
        flags=0 if Defect.N2 in x86.kernel.defects else MSI_FLAG_USE_DEF_DOM_OPS,
        ops=MsiDomainOps(msi_init=_dmar_msi_init),
        chip=_dmar_msi_controller(x86.kernel),
    )
    x86.dmar_domain = msi_create_irq_domain(
        x86.domains, fwnode, info, x86.vectors.x86_vector_domain
    )
    if x86.dmar_domain is None:
        irq_domain_free_fwnode(x86.domains, fwnode)
    return x86.dmar_domain


def _dmar_msi_controller(kernel: Kernel) -> IrqChip:
    return IrqChip(
        "DMAR-MSI",
        irq_unmask=_dmar_msi_unmask,
        irq_mask=_dmar_msi_mask,
        irq_ack=irq_chip_ack_parent,
        irq_set_affinity=msi_domain_set_affinity,
        irq_retrigger=irq_chip_retrigger_hierarchy,
        irq_write_msi_msg=partial(_dmar_msi_write_msg, kernel),
    )


def _dmar_msi_init(
    domain: IrqDomain, info: MsiDomainInfo, virq: int, hwirq: int, arg: IrqAllocInfo
) -> int:
    irq_domain_set_info(domain.domains, domain, virq, arg.devid, info.chip, None, "edge", arg.data)
    return 0


def _unit(irqd: IrqData) -> DmarUnit:
    unit: DmarUnit = irqd.desc.handler_data
    return unit


def _dmar_msi_unmask(irqd: IrqData) -> None:
    _unit(irqd).masked = False


def _dmar_msi_mask(irqd: IrqData) -> None:
    _unit(irqd).masked = True


def _dmar_msi_write_msg(kernel: Kernel, irqd: IrqData, msg: MsiMsg) -> None:
    """Write the three registers: data, address, upper address."""
    unit = _unit(irqd)
    unit.message = msg
    kernel.trace.emit(
        "dmar",
        "dmar_msi_write",
        kernel.this_cpu,
        irq=irqd.irq,
        unit=unit.id,
        data=msg.data,
        address_lo=msg.address_lo,
        address_hi=msg.address_hi,
    )
