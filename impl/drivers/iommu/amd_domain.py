# SPDX-License-Identifier: GPL-2.0-only
"""The operations of an "AMD-IR" domain (drivers/iommu/amd/iommu.c, v5.10)."""

import errno
from dataclasses import replace
from functools import partial

from impl.arch.x86.io_apic_regs import IOAPIC_LEVEL, IoApicRouteEntry
from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
)
from impl.arch.x86.msidef import MSI_ADDR_BASE_LO
from impl.arch.x86.vector import HwIrqCfg, irqd_cfg, vector_level
from impl.defects import Defect
from impl.drivers.iommu.amd import AmdIommus, AmdIrData
from impl.drivers.iommu.amd_affinity import amd_ir_data, amd_ir_update_irte
from impl.drivers.iommu.amd_irte import AmdIrte, amd_hwirq
from impl.drivers.iommu.amd_table import (
    alloc_irq_index,
    alloc_irq_table,
    free_irte,
    modify_irte,
    reserve_ioapic_indices,
)
from impl.drivers.pci.msi_access import msi_desc_to_requester
from impl.drivers.pci.pci import PciDev
from impl.kernel.irq.irq import IRQD_MOVE_PCNTXT, IrqData, IrqDomain, IrqDomainOps, MsiMsg
from impl.kernel.irq.irqdomain import irq_domain_get_irq_data
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs_parent,
    irq_domain_free_irqs_common,
    irqd_set_hwirq_and_chip,
)
from impl.kernel.kernel import KernelBug

__all__ = [
    "amd_ir_domain_ops",
    "get_devid",
    "get_hpet_devid",
    "get_ioapic_devid",
    "irq_remapping_activate",
    "irq_remapping_alloc",
    "irq_remapping_deactivate",
    "irq_remapping_free",
    "irq_remapping_prepare_irte",
]

_TYPE = X86_IRQ_ALLOC_TYPE
_IOAPIC = (_TYPE.IOAPIC, _TYPE.IOAPIC_GET_PARENT)
_HPET = (_TYPE.HPET, _TYPE.HPET_GET_PARENT)
_PCI = (_TYPE.PCI_MSI, _TYPE.PCI_MSIX)
_MSI = (*_PCI, _TYPE.DEV_MSI)

_UNKNOWN_TYPE = -1


def amd_ir_domain_ops(amd: AmdIommus) -> IrqDomainOps:
    """The operations of all units' domains."""
    return IrqDomainOps(
        alloc=partial(irq_remapping_alloc, amd),
        free=partial(irq_remapping_free, amd),
        activate=partial(irq_remapping_activate, amd),
        deactivate=partial(irq_remapping_deactivate, amd),
    )


def get_devid(amd: AmdIommus, info: IrqAllocInfo) -> int:
    """The requester that an allocation is for; negative, with a warning once, for other types.

    -EINVAL for an IO-APIC or an HPET that firmware does not list.
    """
    if info.type in _IOAPIC:
        return get_ioapic_devid(amd, info.devid)
    if info.type in _HPET:
        return get_hpet_devid(amd, info.devid)
    if info.type in _PCI or (
        info.type == _TYPE.DEV_MSI and Defect.DEV_D4 not in amd.kernel.defects
    ):
        return _pci_dev(info).devid
    amd.r.warn_once("get_devid")
    return _UNKNOWN_TYPE


def get_ioapic_devid(amd: AmdIommus, id: int) -> int:
    """The requester that an IO-APIC is; -EINVAL if firmware does not list it."""
    return next((each.devid for each in amd.ioapic_map if each.id == id), -errno.EINVAL)


def get_hpet_devid(amd: AmdIommus, id: int) -> int:
    """The requester that an HPET is; -EINVAL if firmware does not list it."""
    return next((each.devid for each in amd.hpet_map if each.id == id), -errno.EINVAL)


def irq_remapping_alloc(
    amd: AmdIommus, domain: IrqDomain, virq: int, nr_irqs: int, info: IrqAllocInfo | None
) -> int:
    """Set up the remapping level of `nr_irqs` interrupts, with consecutive table entries; 0.

    -EINVAL: no info, several interrupts that are not a PCI device's, an unknown requester, or an
    interrupt without a level here.  -ENODEV: no unit, or no table for the requester.  -ENOSPC: its
    table is full.  -ENOMEM: no memory, for an IO-APIC also for the table.  Else the parent's error.
    After an error nothing is taken; a new table, and the entries kept for an IO-APIC, stay
    (AMD-10).  Contiguous vectors, which multi-MSI asks for, are not needed here.
    """
    if info is None or (nr_irqs > 1 and info.type not in _PCI):
        return -errno.EINVAL
    if info.type == _TYPE.PCI_MSI:
        info.flags &= ~X86_IRQ_ALLOC_CONTIGUOUS_VECTORS
    devid = get_devid(amd, info)
    if devid < 0:
        return -errno.EINVAL
    ret = irq_domain_alloc_irqs_parent(domain, virq, nr_irqs, info)
    if ret < 0:
        return ret
    index = _alloc_index(amd, devid, nr_irqs, info)
    ret = index if index < 0 else _setup_levels(amd, domain, virq, nr_irqs, info, devid, index)
    if ret < 0:
        irq_domain_free_irqs_common(domain.domains, domain, virq, nr_irqs)
    return ret


def irq_remapping_free(amd: AmdIommus, domain: IrqDomain, virq: int, nr_irqs: int) -> None:
    """Give the table entries of interrupts back, then let the parent free."""
    for irq in range(virq, virq + nr_irqs):
        irqd = irq_domain_get_irq_data(domain.domains, domain, irq)
        if irqd is not None and irqd.chip_data is not None:
            where = amd_ir_data(irqd).irq_2_irte
            free_irte(amd, where.devid, where.index)
            _kfree_data(amd, irq, entry=True)
    irq_domain_free_irqs_common(domain.domains, domain, virq, nr_irqs)


def irq_remapping_activate(amd: AmdIommus, domain: IrqDomain, irqd: IrqData, reserve: bool) -> int:
    """Make the table entry valid and aim it where the vector level points; always 0.

    Two writes: after the first one the entry is valid with the target of when it was allocated.
    """
    data = amd_ir_data(irqd)
    where = data.irq_2_irte
    if amd.rlookup(where.devid) is None:
        return 0
    data.entry = replace(data.entry, valid=1)
    modify_irte(amd, where.devid, where.index, data.entry)
    amd_ir_update_irte(amd, data, vector_level(irqd).hw_irq_cfg)
    return 0


def irq_remapping_deactivate(amd: AmdIommus, domain: IrqDomain, irqd: IrqData) -> None:
    """Make the table entry invalid; the rest of it stays, so that it still reads as taken."""
    data = amd_ir_data(irqd)
    where = data.irq_2_irte
    if amd.rlookup(where.devid) is None:
        return
    data.entry = replace(data.entry, valid=0)
    modify_irte(amd, where.devid, where.index, data.entry)


def irq_remapping_prepare_irte(
    amd: AmdIommus,
    irq: int,
    data: AmdIrData,
    cfg: HwIrqCfg,
    info: IrqAllocInfo,
    devid: int,
    index: int,
    sub_handle: int,
) -> None:
    """Fill the copy of the table entry, and what names the entry: a route entry or a message.

    Nothing without a unit.  The table keeps the mark of an entry that is taken.
    """
    if amd.rlookup(devid) is None:
        return
    data.irq_2_irte.devid = devid
    data.irq_2_irte.index = index + sub_handle
    data.entry = AmdIrte(
        valid=1,
        dm=int(amd.x86.vectors.apic.logical),
        destination=amd.irte_destination(cfg),
        vector=cfg.vector,
    )
    if info.type == _TYPE.IOAPIC:
        _prepare_route_entry(info, index)
    elif info.type == _TYPE.HPET or info.type in _MSI:
        data.msi_entry = MsiMsg(MSI_ADDR_BASE_LO, 0, data.irq_2_irte.index)
    else:
        raise KernelBug(f"an interrupt of type {info.type} is remapped")
    amd.trace(
        "irq_remapping_prepare_irte",
        irq=irq,
        devid=devid,
        index=data.irq_2_irte.index,
        vector=cfg.vector,
        dest=data.entry.destination,
    )


def _pci_dev(info: IrqAllocInfo) -> PciDev:
    if info.desc is None:
        raise KernelBug("a PCI interrupt is allocated without an MSI descriptor")
    return msi_desc_to_requester(info.desc)


def _alloc_index(amd: AmdIommus, devid: int, nr_irqs: int, info: IrqAllocInfo) -> int:
    """The first table entry for an allocation; a pin has the entry of its number."""
    if info.type == _TYPE.IOAPIC:
        table = alloc_irq_table(amd, devid, None)
        if table is None:
            return -errno.ENOMEM
        reserve_ioapic_indices(amd, table)
        return info.ioapic.pin
    if info.type in _MSI:
        align = info.type == _TYPE.PCI_MSI
        return alloc_irq_index(amd, devid, nr_irqs, align, _pci_dev(info))
    return alloc_irq_index(amd, devid, nr_irqs, False, None)


def _setup_levels(
    amd: AmdIommus,
    domain: IrqDomain,
    virq: int,
    nr_irqs: int,
    info: IrqAllocInfo,
    devid: int,
    index: int,
) -> int:
    for i in range(nr_irqs):
        ret = _setup_level(amd, domain, virq + i, info, devid, index, i)
        if ret:
            for irq in range(virq + i - 1, virq - 1, -1):
                _kfree_data(amd, irq, entry=Defect.AMD_COPY not in amd.kernel.defects)
            for k in range(nr_irqs):
                free_irte(amd, devid, index + k)
            return ret
    return 0


def _setup_level(
    amd: AmdIommus,
    domain: IrqDomain,
    irq: int,
    info: IrqAllocInfo,
    devid: int,
    index: int,
    i: int,
) -> int:
    irqd = irq_domain_get_irq_data(domain.domains, domain, irq)
    if irqd is None and Defect.AMD_01 in amd.kernel.defects:
        raise KernelBug(f"the target of irq {irq} is looked up, which has no level")
    cfg = irqd_cfg(irqd) if irqd is not None else None
    if irqd is None or cfg is None:
        return -errno.EINVAL
    # One allocation for the data, one for the copy of the entry.
    if any(amd.kernel.kzalloc_fails("irq_remapping_alloc") for _ in range(2)):
        return -errno.ENOMEM
    amd.nr_entry_copies += 1
    amd.trace("irq_remapping_alloc_data", irq=irq)
    data = AmdIrData()
    irqd_set_hwirq_and_chip(irqd, amd_hwirq(devid, i), amd.chip, data)
    irq_remapping_prepare_irte(amd, irq, data, cfg, info, devid, index, i)
    irqd.set(IRQD_MOVE_PCNTXT)
    return 0


def _kfree_data(amd: AmdIommus, irq: int, *, entry: bool) -> None:
    """Free the data of an interrupt, and the copy of its entry unless that is forgotten."""
    if entry:
        amd.nr_entry_copies -= 1
    amd.trace("irq_remapping_free_data", irq=irq, entry=int(entry))


def _prepare_route_entry(info: IrqAllocInfo, index: int) -> None:
    """Let a pin's route entry name its table entry, and tell the IO-APIC that it has a format.

    A level triggered pin starts masked.
    """
    data, info.ioapic.entry = info.ioapic.entry, None
    data.entry = IoApicRouteEntry(
        vector=index,
        trigger=info.ioapic.trigger,
        polarity=info.ioapic.polarity,
        mask=int(info.ioapic.trigger == IOAPIC_LEVEL),
    )
