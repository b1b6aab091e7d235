# SPDX-License-Identifier: GPL-2.0-only
"""AMD-Vi units are found, and switched on and off (drivers/iommu/amd/init.c, v5.10).

Firmware's table is read once, when remapping is prepared, or else when DMA remapping starts.
"""

import errno
from collections.abc import Sequence
from functools import partial

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.msi import arch_create_remap_msi_irq_domain
from impl.arch.x86.x86_init import X86Platform
from impl.defects import Defect
from impl.drivers.iommu.amd import AmdIommu, AmdIommus, DevidMap, Ivhd
from impl.drivers.iommu.amd_affinity import amd_ir_chip
from impl.drivers.iommu.amd_domain import amd_ir_domain_ops, get_devid, get_ioapic_devid
from impl.drivers.iommu.amd_irte import AmdGuestIr
from impl.drivers.iommu.irq_remapping import (
    IrqRemapCap,
    IrqRemapMode,
    IrqRemapOps,
    IrqRemapping,
)
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain import (
    irq_domain_alloc_named_id_fwnode,
    irq_domain_create_tree,
    irq_domain_free_fwnode,
)

__all__ = [
    "IOAPIC_SB_DEVID",
    "add_special_device",
    "amd_iommu_create_irq_domain",
    "amd_iommu_disable",
    "amd_iommu_enable",
    "amd_iommu_irq_ops",
    "amd_iommu_prepare",
    "amd_iommu_reenable",
    "amd_iommus",
    "early_amd_iommu_init",
    "get_irq_domain",
]

IOAPIC_SB_DEVID = 0x14 << 3
"""The requester that the IO-APIC of the south bridge is: bus 0, device 20, function 0."""


def amd_iommus(
    r: IrqRemapping,
    x86: X86Platform,
    ivrs: Sequence[Ivhd],
    *,
    ioapic_ids: Sequence[int] = (),
    guest_ir: AmdGuestIr = AmdGuestIr.VAPIC,
    disabled: bool = False,
) -> AmdIommus:
    """The driver of a machine with firmware's table `ivrs`; its `ops` are a candidate for the core.

    `guest_ir` is the most that the command line allows.
    """
    amd = AmdIommus(r, x86, ivrs, ioapic_ids=ioapic_ids, guest_ir=guest_ir, disabled=disabled)
    amd.chip = amd_ir_chip(amd)
    amd.ops = amd_iommu_irq_ops(amd)
    return amd


def amd_iommu_irq_ops(amd: AmdIommus) -> IrqRemapOps:
    """The operations for the remapping core."""
    return IrqRemapOps(
        prepare=partial(amd_iommu_prepare, amd),
        enable=partial(amd_iommu_enable, amd),
        disable=partial(amd_iommu_disable, amd),
        reenable=partial(amd_iommu_reenable, amd),
        enable_faulting=_amd_iommu_enable_faulting,
        get_irq_domain=partial(get_irq_domain, amd),
    )


def amd_iommu_prepare(amd: AmdIommus) -> int:
    """Find the units, and whether their interrupts can be remapped.

    0.  -ENODEV: there are none, or firmware does not say which requester the south bridge's IO-APIC
    is.  -EINVAL: the command line forbids it.  -ENOMEM.
    """
    amd.irq_remap = True
    ret = early_amd_iommu_init(amd)
    if ret == 0 and not amd.irq_remap:
        ret = -errno.ENODEV
    amd.irq_remap = ret == 0
    amd.trace("amd_iommu_prepare", ret=ret)
    return ret


def amd_iommu_enable(amd: AmdIommus) -> int:
    """Switch all units on; the mode, or the error that the environment has for it."""
    ret = amd.enable_error
    if ret == 0:
        for unit in amd.units:
            unit.enabled = True
        amd.r.irq_remapping_enabled = True
        if amd.guest_ir is AmdGuestIr.VAPIC:
            amd.ops.capability |= 1 << IrqRemapCap.IRQ_POSTING_CAP
        # Without wide entries the units cannot take wide destinations.
        ret = amd.xt_mode if amd.guest_ir.ga else IrqRemapMode.XAPIC
    amd.trace("amd_iommu_enable", ret=ret)
    return ret


def amd_iommu_disable(amd: AmdIommus) -> None:
    """Switch all units off before a suspend; the tables stay."""
    for unit in amd.units:
        unit.enabled = False
    amd.trace("amd_iommu_disable")


def amd_iommu_reenable(amd: AmdIommus, mode: int) -> int:
    """Switch all units on again; always 0."""
    for unit in amd.units:
        unit.enabled = True
    amd.trace("amd_iommu_reenable", ret=0)
    return 0


def early_amd_iommu_init(amd: AmdIommus) -> int:
    """Read firmware's table, unless it was read: make the units, and their domains.

    0, -ENODEV without a table, -EINVAL if the command line forbids it, -ENOMEM.  What units had got
    by then they keep.  The domains are made only if interrupts are to be remapped; under F5 always.
    """
    if amd.scanned:
        return 0
    if not amd.ivrs:
        return -errno.ENODEV
    if amd.disabled:
        return -errno.EINVAL
    amd.scanned = True
    for header in amd.ivrs:
        ret = _init_iommu_one(amd, header)
        if ret:
            return ret
    if amd.irq_remap:
        amd.irq_remap = _check_ioapic_information(amd)
    return 0


def add_special_device(
    amd: AmdIommus, maps: list[DevidMap], id: int, devid: int, *, cmd_line: bool
) -> int:
    """Note which requester an IO-APIC or an HPET is, unless the command line has said it.

    `maps` is ioapic_map or hpet_map.  The requester that holds, or -ENOMEM.
    """
    for entry in maps:
        if entry.id == id and entry.cmd_line:
            return entry.devid
    if amd.kernel.kzalloc_fails("add_special_device"):
        return -errno.ENOMEM
    maps.append(DevidMap(id, devid, cmd_line))
    return devid


def amd_iommu_create_irq_domain(amd: AmdIommus, unit: AmdIommu) -> int:
    """Make the domains of a unit; 0, or -ENOMEM without the inner one.

    Nobody looks whether the outer one could be made; devices get no domain then.
    """
    domains = amd.x86.domains
    fwnode = irq_domain_alloc_named_id_fwnode(domains, "AMD-IR", unit.index)
    if fwnode is None:
        return -errno.ENOMEM
    domain = irq_domain_create_tree(
        domains, fwnode, amd_ir_domain_ops(amd), unit, parent=amd.x86.vectors.x86_vector_domain
    )
    if domain is None:
        irq_domain_free_fwnode(domains, fwnode)
        return -errno.ENOMEM
    unit.ir_domain = domain
    msi = unit.msi_domain = arch_create_remap_msi_irq_domain(
        amd.x86, domain, "AMD-IR-MSI", unit.index
    )
    amd.trace(
        "amd_iommu_create_irq_domain",
        unit=unit.index,
        domain=domain.id,
        msi_domain=-1 if msi is None else msi.id,
    )
    return 0


def get_irq_domain(amd: AmdIommus, info: IrqAllocInfo | None) -> IrqDomain | None:
    """The domain on which an IO-APIC or an HPET is to build its own.

    None without `info`, for an unknown requester, for one without a unit, and, with a warning once,
    for other types.  None also while remapping is off, but not under F5 (IRC-5).
    """
    if info is None:
        return None
    if not amd.r.irq_remapping_enabled and Defect.F5 not in amd.kernel.defects:
        return None
    devid = get_devid(amd, info)
    unit = amd.rlookup(devid) if devid >= 0 else None
    if unit is None:
        return None
    if info.type in (X86_IRQ_ALLOC_TYPE.IOAPIC_GET_PARENT, X86_IRQ_ALLOC_TYPE.HPET_GET_PARENT):
        return unit.ir_domain
    amd.r.warn_once("get_irq_domain_for_devid")
    return None


def _amd_iommu_enable_faulting() -> int:
    """The units get their own interrupts later, when PCI is there; always 0."""
    return 0


def _init_iommu_one(amd: AmdIommus, header: Ivhd) -> int:
    """Make one unit; 0 or -ENOMEM."""
    unit = AmdIommu(header.index)
    amd.units.append(unit)
    _limit_format(amd, header)
    unit.requesters.extend(header.requesters)
    for devid, alias in header.aliases:
        amd.alias_table[devid] = alias
        unit.requesters += [(devid, devid), (alias, alias)]
    for maps, listed in ((amd.ioapic_map, header.ioapics), (amd.hpet_map, header.hpets)):
        for id, devid in listed:
            ret = add_special_device(amd, maps, id, devid, cmd_line=False)
            if ret < 0:
                return ret
            unit.requesters.append((ret, ret))
    if not amd.irq_remap and Defect.F5 not in amd.kernel.defects:
        return 0
    return amd_iommu_create_irq_domain(amd, unit)


def _limit_format(amd: AmdIommus, header: Ivhd) -> None:
    """No unit can have entries that another one does not understand."""
    if not header.ga:
        amd.guest_ir = AmdGuestIr.LEGACY
    elif header.xt:
        amd.xt_mode = IrqRemapMode.X2APIC
    if not header.vapic and amd.guest_ir is AmdGuestIr.VAPIC:
        amd.guest_ir = AmdGuestIr.LEGACY_GA


def _check_ioapic_information(amd: AmdIommus) -> bool:
    """Whether firmware knows the IO-APIC of the south bridge, to which the timer is wired.

    Another one that it does not know matters only if it comes later; this is how the kernel looks.
    """
    ret = False
    for id in amd.ioapic_ids:
        devid = get_ioapic_devid(amd, id)
        if devid < 0:
            ret = False
        elif devid == IOAPIC_SB_DEVID:
            ret = True
    return ret
