# SPDX-License-Identifier: GPL-2.0-only
"""The operations of a VT-d unit's domain (intel/irq_remapping.c, v5.10).

An allocation takes a block of table entries and prepares them; the table itself is written when an
interrupt is activated.
"""

import errno
from dataclasses import replace
from functools import partial

from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
)
from impl.arch.x86.vector import HwIrqCfg, irqd_cfg
from impl.defects import Defect
from impl.drivers.iommu.intel import IntelIr, prepare_irte
from impl.drivers.iommu.intel_affinity import intel_ir_data, intel_ir_reconfigure_irte
from impl.drivers.iommu.intel_irte import (
    Irte,
    compose_ir_ioapic_entry,
    compose_ir_msi_msg,
    ir_hwirq,
    irte_apicid,
)
from impl.drivers.iommu.intel_sid import set_hpet_sid, set_ioapic_sid, set_msi_sid
from impl.drivers.iommu.intel_table import (
    IntelIommu,
    IntelIrData,
    Irq2Iommu,
    alloc_irte,
    clear_entries,
    modify_irte,
)
from impl.drivers.pci.msi_access import msi_desc_to_requester
from impl.drivers.pci.vmd import pci_real_dma_dev
from impl.kernel.irq.irq import IRQD_MOVE_PCNTXT, IrqData, IrqDomain, IrqDomainOps, MsiMsg
from impl.kernel.irq.irqdomain import irq_domain_get_irq_data
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs_parent,
    irq_domain_free_irqs_common,
    irq_domain_reset_irq_data,
    irqd_set_hwirq_and_chip,
)
from impl.kernel.kernel import KernelBug

__all__ = [
    "intel_ir_domain_ops",
    "intel_irq_remapping_activate",
    "intel_irq_remapping_alloc",
    "intel_irq_remapping_deactivate",
    "intel_irq_remapping_free",
]

_PCI = (X86_IRQ_ALLOC_TYPE.PCI_MSI, X86_IRQ_ALLOC_TYPE.PCI_MSIX)
_SERVED = (X86_IRQ_ALLOC_TYPE.IOAPIC, X86_IRQ_ALLOC_TYPE.HPET, *_PCI)


def intel_ir_domain_ops(ir: IntelIr) -> IrqDomainOps:
    """The operations of all "INTEL-IR" domains of a machine."""
    return IrqDomainOps(
        alloc=partial(intel_irq_remapping_alloc, ir),
        free=intel_irq_remapping_free,
        activate=partial(intel_irq_remapping_activate, ir),
        deactivate=intel_irq_remapping_deactivate,
    )


def intel_irq_remapping_alloc(
    ir: IntelIr, domain: IrqDomain, virq: int, nr_irqs: int, info: IrqAllocInfo | None
) -> int:
    """Set up the remapping level of `nr_irqs` interrupts, in a block of entries; all or none.

    -EINVAL: no info, no unit, several irqs of what is not a PCI device, a level that is missing or,
    repaired (INT-type), a requester that the unit does not know.  -ENOMEM, also without room in the
    table (trap 17).  Else the parent's error.  The vectors of a block need not be contiguous, and
    `info` says so from then on.
    """
    iommu: IntelIommu | None = domain.host_data
    if info is None or iommu is None:
        return -errno.EINVAL
    if nr_irqs > 1 and info.type not in _PCI:
        return -errno.EINVAL
    if not _serves(ir, info) and Defect.INT_TYPE not in ir.kernel.defects:
        return -errno.EINVAL
    if info.type == X86_IRQ_ALLOC_TYPE.PCI_MSI:
        info.flags &= ~X86_IRQ_ALLOC_CONTIGUOUS_VECTORS
    ret = irq_domain_alloc_irqs_parent(domain, virq, nr_irqs, info)
    if ret < 0:
        return ret
    ret = _alloc_block(ir, domain, virq, nr_irqs, info)
    if ret < 0:
        irq_domain_free_irqs_common(domain.domains, domain, virq, nr_irqs)
    return ret


def intel_irq_remapping_free(domain: IrqDomain, virq: int, nr_irqs: int) -> None:
    """Undo intel_irq_remapping_alloc.

    The first interrupt of a block takes all of its entries along (trap 11).
    """
    _intel_free_irq_resources(domain, virq, nr_irqs)
    irq_domain_free_irqs_common(domain.domains, domain, virq, nr_irqs)


def intel_irq_remapping_activate(
    ir: IntelIr, domain: IrqDomain, irqd: IrqData, reserve: bool
) -> int:
    """Write the interrupt's entry into the table, with the target it has now; always 0."""
    intel_ir_reconfigure_irte(ir, irqd, force=True)
    return 0


def intel_irq_remapping_deactivate(domain: IrqDomain, irqd: IrqData) -> None:
    """Clear the interrupt's entry in the table; what was prepared stays."""
    data = intel_ir_data(irqd)
    data.irq_2_iommu.iommu.trace("intel_irq_remapping_deactivate", irq=irqd.irq)
    modify_irte(data.irq_2_iommu, Irte())


def _alloc_block(
    ir: IntelIr, domain: IrqDomain, virq: int, nr_irqs: int, info: IrqAllocInfo
) -> int:
    """Take the entries and set the levels up; on an error nothing of both is left.

    Under INT-10 the entries stay taken if the very first level fails, as nobody owns them yet.
    """
    if ir.kernel.kzalloc_fails("intel_irq_remapping_alloc"):
        return -errno.ENOMEM
    data = IntelIrData(Irq2Iommu(domain.host_data))
    if alloc_irte(domain.host_data, data.irq_2_iommu, nr_irqs) < 0:
        return -errno.ENOMEM
    for i in range(nr_irqs):
        ret = _alloc_member(ir, domain, virq + i, i, data, info)
        if ret < 0:
            _intel_free_irq_resources(domain, virq, i)
            if i == 0 and Defect.INT_10 not in ir.kernel.defects:
                clear_entries(data.irq_2_iommu)
            return ret
    return 0


def _alloc_member(
    ir: IntelIr, domain: IrqDomain, virq: int, i: int, data: IntelIrData, info: IrqAllocInfo
) -> int:
    """Set up the level of member `i`; the first one owns `data`, the others get a copy."""
    irqd = irq_domain_get_irq_data(domain.domains, domain, virq)
    if irqd is None and Defect.INT_NULL in ir.kernel.defects:
        raise KernelBug(f"irq {virq} is looked into before it is known to have a level")
    cfg = irqd_cfg(irqd) if irqd is not None else None
    if irqd is None or cfg is None:
        return -errno.EINVAL
    if i > 0:
        if ir.kernel.kzalloc_fails("intel_irq_remapping_alloc"):
            return -errno.ENOMEM
        data = IntelIrData(replace(data.irq_2_iommu, sub_handle=i))
    index = data.irq_2_iommu.irte_index
    irqd_set_hwirq_and_chip(irqd, ir_hwirq(index, i), ir.chip, data)
    _intel_irq_remapping_prepare_irte(ir, irqd, cfg, info)
    irqd.set(IRQD_MOVE_PCNTXT)
    return 0


def _intel_irq_remapping_prepare_irte(
    ir: IntelIr, irqd: IrqData, cfg: HwIrqCfg, info: IrqAllocInfo
) -> None:
    """Make the entry, and the message or the route entry that names it, for the requester.

    The target may still be a placeholder; activation puts the present one in (trap 14).
    """
    data = intel_ir_data(irqd)
    irte = prepare_irte(ir, cfg)
    if info.type == X86_IRQ_ALLOC_TYPE.IOAPIC:
        data.irte_entry = set_ioapic_sid(ir, irte, info.devid)
        _write_route_entry(data.irq_2_iommu.irte_index, info)
    else:
        data.irte_entry = _set_device_sid(ir, irte, info)
        irq_iommu = data.irq_2_iommu
        message = compose_ir_msi_msg(irq_iommu.irte_index, irq_iommu.sub_handle)
        data.msi_entry = MsiMsg(*message)
    _trace_prepared(ir, irqd.irq, data)


def _set_device_sid(ir: IntelIr, irte: Irte, info: IrqAllocInfo) -> Irte:
    if info.type == X86_IRQ_ALLOC_TYPE.HPET:
        return set_hpet_sid(ir, irte, info.devid)
    if not _serves(ir, info) or info.desc is None:
        raise KernelBug(f"a unit cannot prepare an entry for a requester of type {info.type.name}")
    dev = msi_desc_to_requester(info.desc)
    if Defect.VMD_REQUESTER not in ir.kernel.defects:
        dev = pci_real_dma_dev(dev)
    return set_msi_sid(ir, irte, dev)


def _serves(ir: IntelIr, info: IrqAllocInfo) -> bool:
    """Whether a unit knows what to do for the type of a requester."""
    if info.type == X86_IRQ_ALLOC_TYPE.DEV_MSI:
        return Defect.DEV_D4 not in ir.kernel.defects
    return info.type in _SERVED


def _write_route_entry(index: int, info: IrqAllocInfo) -> None:
    """Give the pin a route entry of the remappable format, and say so by taking `entry` away."""
    ioapic = info.ioapic
    if ioapic.entry is None:
        raise KernelBug(f"pin {ioapic.pin} has no place for a route entry")
    ioapic.entry.entry = compose_ir_ioapic_entry(index, ioapic.pin, ioapic.trigger, ioapic.polarity)
    ioapic.entry = None


def _trace_prepared(ir: IntelIr, irq: int, data: IntelIrData) -> None:
    irte, irq_iommu = data.irte_entry, data.irq_2_iommu
    irq_iommu.iommu.trace(
        "intel_irq_remapping_prepare_irte",
        irq=irq,
        index=irq_iommu.irte_index,
        sub_handle=irq_iommu.sub_handle,
        vector=irte.vector,
        dest=irte_apicid(irte.dest_id, ir.eim_mode),
        svt=irte.svt,
        sq=irte.sq,
        sid=irte.sid,
        address_lo=data.msi_entry.address_lo,
        data=data.msi_entry.data,
    )


def _intel_free_irq_resources(domain: IrqDomain, virq: int, nr_irqs: int) -> None:
    for irq in range(virq, virq + nr_irqs):
        irqd = irq_domain_get_irq_data(domain.domains, domain, irq)
        if irqd is None or irqd.chip_data is None:
            continue
        irq_iommu = intel_ir_data(irqd).irq_2_iommu
        irq_iommu.iommu.trace(
            "intel_free_irq_resources",
            irq=irq,
            index=irq_iommu.irte_index,
            sub_handle=irq_iommu.sub_handle,
        )
        clear_entries(irq_iommu)
        irq_domain_reset_irq_data(irqd)
