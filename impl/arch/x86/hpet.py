# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of HPET channels (the HPET parts of arch/x86/kernel/apic/msi.c and hpet.c, v5.10).

Each HPET has a domain of its own, on the vector domain or on that of a remapping unit.
"""

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
from impl.kernel.irq.irq import IRQD_MOVE_PCNTXT, IrqChip, IrqData, IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain import irq_domain_alloc_named_id_fwnode, irq_domain_free_fwnode
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs, irq_domain_set_info
from impl.kernel.irq.msi import (
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.irq.msi_domain import msi_create_irq_domain, msi_domain_set_affinity
from impl.kernel.kernel import NUMA_NO_NODE, Kernel

__all__ = ["HpetChannel", "hpet_assign_irq", "hpet_create_irq_domain", "hpet_dev_id"]


@dataclass(slots=True)
class HpetChannel:
    """A timer of an HPET with its registers (struct hpet_channel).

    `enabled` stands for the bits that let it interrupt by message.  Its route register has no upper
    half of the address, so `message` never has one.
    """

    num: int
    irq: int = 0
    message: MsiMsg = field(default_factory=MsiMsg)
    enabled: bool = False


def hpet_create_irq_domain(x86: X86Platform, hpet_id: int) -> IrqDomain | None:
    """Create the domain of one HPET; None if memory is short.

    Behind remapping its chip is named "IR-HPET-MSI"; the kernel renames the one chip that all
    HPETs share.
    """
    if x86.kernel.kzalloc_fails("hpet_create_irq_domain"):
        return None
    query = IrqAllocInfo()
    init_irq_alloc_info(query, None)
    query.type = X86_IRQ_ALLOC_TYPE.HPET_GET_PARENT
    query.devid = hpet_id
    remapping = x86.init.irq_remapping_get_irq_domain(query)
    parent = remapping if remapping is not None else x86.vectors.x86_vector_domain
    name = "HPET-MSI" if remapping is None else "IR-HPET-MSI"
    fwnode = irq_domain_alloc_named_id_fwnode(x86.domains, name, hpet_id)
    if fwnode is None:
        return None
    info = MsiDomainInfo(
        flags=0 if Defect.N2 in x86.kernel.defects else MSI_FLAG_USE_DEF_DOM_OPS,
        ops=MsiDomainOps(msi_init=_hpet_msi_init, msi_free=_hpet_msi_free),
        chip=_hpet_msi_controller(x86.kernel, name),
        data=hpet_id,
    )
    domain = msi_create_irq_domain(x86.domains, fwnode, info, parent)
    if domain is None:
        irq_domain_free_fwnode(x86.domains, fwnode)
    return domain


def hpet_dev_id(domain: IrqDomain) -> int:
    """The number of the HPET that the domain serves."""
    info: MsiDomainInfo = domain.host_data
    hpet_id: int = info.data
    return hpet_id


def hpet_assign_irq(x86: X86Platform, domain: IrqDomain, channel: HpetChannel, dev_num: int) -> int:
    """Allocate an interrupt for timer `dev_num` of the domain's HPET.

    The irq, -ENOSPC or another error below zero; -EEXIST if the timer has one (APIC-7).
    """
    info = IrqAllocInfo()
    init_irq_alloc_info(info, None)
    info.type = X86_IRQ_ALLOC_TYPE.HPET
    info.data = channel
    info.devid = hpet_dev_id(domain)
    info.hwirq = dev_num
    return irq_domain_alloc_irqs(x86.domains, domain, -1, 1, NUMA_NO_NODE, info)


def _hpet_msi_controller(kernel: Kernel, name: str) -> IrqChip:
    return IrqChip(
        name,
        irq_unmask=_hpet_msi_unmask,
        irq_mask=_hpet_msi_mask,
        irq_ack=irq_chip_ack_parent,
        irq_set_affinity=msi_domain_set_affinity,
        irq_retrigger=irq_chip_retrigger_hierarchy,
        irq_write_msi_msg=partial(_hpet_msi_write_msg, kernel),
    )


def _hpet_msi_init(
    domain: IrqDomain, info: MsiDomainInfo, virq: int, hwirq: int, arg: IrqAllocInfo
) -> int:
    domain.domains.irqs.descs[virq].irq_data.set(IRQD_MOVE_PCNTXT)
    irq_domain_set_info(domain.domains, domain, virq, arg.hwirq, info.chip, None, "edge", arg.data)
    return 0


def _hpet_msi_free(domain: IrqDomain, info: MsiDomainInfo, virq: int) -> None:
    domain.domains.irqs.descs[virq].irq_data.clear(IRQD_MOVE_PCNTXT)


def _channel(irqd: IrqData) -> HpetChannel:
    channel: HpetChannel = irqd.desc.handler_data
    return channel


def _hpet_msi_unmask(irqd: IrqData) -> None:
    _channel(irqd).enabled = True


def _hpet_msi_mask(irqd: IrqData) -> None:
    _channel(irqd).enabled = False


def _hpet_msi_write_msg(kernel: Kernel, irqd: IrqData, msg: MsiMsg) -> None:
    """Write the route register: data, and the lower half of the address."""
    channel = _channel(irqd)
    channel.message = MsiMsg(address_lo=msg.address_lo, data=msg.data)
    kernel.trace.emit(
        "hpet",
        "hpet_msi_write",
        kernel.this_cpu,
        irq=irqd.irq,
        channel=channel.num,
        data=msg.data,
        address_lo=msg.address_lo,
    )
