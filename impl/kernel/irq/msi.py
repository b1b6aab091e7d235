# SPDX-License-Identifier: GPL-2.0-only
"""Message signalled interrupts of devices, whatever the bus (kernel/irq/msi.c, v5.10).

A device has a list of MSI descriptors; a descriptor stands for one interrupt, or for a block of
them that the device signals by one message.  The device's domain gives each descriptor its irqs.
Owners of a domain supply operations (MsiDomainOps) and a chip; the domain itself is in
msi_domain.py.
"""

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

# The kernel's generic code gets this type as msi_alloc_info_t from the architecture, too.
from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.defects import Defect
from impl.kernel.device import Device
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_MSI_NOMASK_QUIRK,
    IrqChip,
    IrqData,
    IrqDomain,
)
from impl.kernel.irq.irqdomain import (
    IRQ_DOMAIN_MSI_NOMASK_QUIRK,
    DomainBus,
    irq_domain_get_irq_data,
)
from impl.kernel.irq.irqdomain_activate import (
    irq_domain_activate_irq,
    irq_domain_deactivate_irq,
    irqd_clr_activated,
    irqd_clr_can_reserve,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs,
    irq_domain_alloc_irqs_hierarchy,
    irq_domain_free_irqs,
    irq_domain_free_irqs_common,
)
from impl.kernel.irq.manage import chip_bus_lock, chip_bus_sync_unlock
from impl.kernel.irq.msi_desc import MsiAttrib, MsiDesc, alloc_msi_entry, free_msi_entry
from impl.kernel.kernel import Kernel, KernelBug

__all__ = [
    "MSI_FLAG_ACTIVATE_EARLY",
    "MSI_FLAG_LEVEL_CAPABLE",
    "MSI_FLAG_MULTI_PCI_MSI",
    "MSI_FLAG_MUST_REACTIVATE",
    "MSI_FLAG_PCI_MSIX",
    "MSI_FLAG_USE_DEF_CHIP_OPS",
    "MSI_FLAG_USE_DEF_DOM_OPS",
    "MsiAttrib",
    "MsiDesc",
    "MsiDomainInfo",
    "MsiDomainOps",
    "alloc_msi_entry",
    "free_msi_entry",
    "irq_set_msi_desc_off",
    "msi_check_reservation_mode",
    "msi_default_alloc_irqs",
    "msi_default_free_irqs",
    "msi_domain_alloc_irqs",
    "msi_domain_free_irqs",
    "msi_domain_info",
    "msi_domain_populate_irqs",
    "msi_domain_prepare_irqs",
    "msi_op",
]

MSI_FLAG_USE_DEF_DOM_OPS = 1 << 0
MSI_FLAG_USE_DEF_CHIP_OPS = 1 << 1
MSI_FLAG_MULTI_PCI_MSI = 1 << 2
MSI_FLAG_PCI_MSIX = 1 << 3
MSI_FLAG_ACTIVATE_EARLY = 1 << 4
MSI_FLAG_MUST_REACTIVATE = 1 << 5
MSI_FLAG_LEVEL_CAPABLE = 1 << 6

_Op = TypeVar("_Op")


@dataclass(slots=True)
class MsiDomainOps:
    """What the owner of an MSI domain decides (struct msi_domain_ops); None where it does not.

    `get_hwirq` reads the hwirq out of the argument of an allocation.  `msi_init` and `msi_free` set
    one interrupt up and down.  `msi_check` refuses a device (!= 0), `msi_prepare` fills the
    argument for it, `msi_finish` ends its use, `set_desc` fills it for one descriptor.
    `handle_error` may translate an error.  `domain_alloc_irqs` and `domain_free_irqs` replace the
    whole allocation.
    `msi_alloc_store` and `msi_free_store` surround it with what the device needs to keep messages.
    """

    get_hwirq: Callable[["MsiDomainInfo", IrqAllocInfo], int] | None = None
    msi_init: Callable[[IrqDomain, "MsiDomainInfo", int, int, IrqAllocInfo], int] | None = None
    msi_free: Callable[[IrqDomain, "MsiDomainInfo", int], None] | None = None
    msi_check: Callable[[IrqDomain, "MsiDomainInfo", Device], int] | None = None
    msi_prepare: Callable[[IrqDomain, Device, int, IrqAllocInfo], int] | None = None
    msi_finish: Callable[[IrqAllocInfo, int], None] | None = None
    set_desc: Callable[[IrqAllocInfo, MsiDesc], None] | None = None
    handle_error: Callable[[IrqDomain, MsiDesc, int], int] | None = None
    domain_alloc_irqs: Callable[[IrqDomain, Device, int], int] | None = None
    domain_free_irqs: Callable[[IrqDomain, Device], None] | None = None
    msi_alloc_store: Callable[[IrqDomain, Device, int], int] | None = None
    msi_free_store: Callable[[IrqDomain, Device], None] | None = None


@dataclass(slots=True)
class MsiDomainInfo:
    """What makes an MSI domain what it is (struct msi_domain_info), its host_data.

    Each domain needs an info of its own: creation replaces `ops` and `chip` by completed copies.
    `handler_name` is the flow handler of its interrupts.
    """

    flags: int = 0
    ops: MsiDomainOps | None = None
    chip: IrqChip | None = None
    chip_data: Any = None
    handler_name: str | None = None
    handler_data: Any = None
    data: Any = None


def _trace(kernel: Kernel, name: str, **fields: int) -> None:
    if kernel.trace.enabled:
        kernel.trace.emit("msi", name, kernel.this_cpu, **fields)


def msi_op(op: _Op | None, name: str) -> _Op:
    """An operation that the domain must have; a BUG where the kernel would call a NULL pointer."""
    if op is None:
        raise KernelBug(f"the MSI domain has no {name}")
    return op


def msi_domain_info(domain: IrqDomain) -> tuple[MsiDomainInfo, MsiDomainOps]:
    """The info of an MSI domain and its operations."""
    info: MsiDomainInfo = domain.host_data
    return info, msi_op(info.ops, "operations")


def irq_set_msi_desc_off(domain: IrqDomain, irq_base: int, offset: int, desc: MsiDesc) -> None:
    """Make irq_base + offset one of the descriptor's interrupts, its first one with offset 0."""
    irq = irq_base + offset
    domain.domains.irqs.descs[irq].msi_desc = desc
    if offset == 0:
        desc.irq = irq_base
    _trace(domain.domains.kernel, "irq_set_msi_desc_off", irq=irq, desc=desc.id, offset=offset)


def msi_domain_alloc_irqs(domain: IrqDomain, dev: Device, nvec: int) -> int:
    """Give each descriptor of `dev` its interrupts, `nvec` in all, by the domain's own operation.

    What that returns: 0 or an error, or a positive number of vectors that might do.
    """
    _, ops = msi_domain_info(domain)
    ret = msi_op(ops.domain_alloc_irqs, "domain_alloc_irqs")(domain, dev, nvec)
    _trace(domain.domains.kernel, "msi_domain_alloc_irqs", device=dev.id, ret=ret)
    return ret


def msi_domain_free_irqs(domain: IrqDomain, dev: Device) -> None:
    """Take the interrupts of all descriptors of `dev` back, by the domain's own operation."""
    _, ops = msi_domain_info(domain)
    msi_op(ops.domain_free_irqs, "domain_free_irqs")(domain, dev)
    _trace(domain.domains.kernel, "msi_domain_free_irqs", device=dev.id)


def msi_domain_prepare_irqs(domain: IrqDomain, dev: Device, nvec: int, arg: IrqAllocInfo) -> int:
    """Ask the domain whether it serves the device, and fill `arg` for it; 0 or a refusal.

    A positive refusal is the number of vectors that might do.
    """
    info, ops = msi_domain_info(domain)
    ret = msi_op(ops.msi_check, "msi_check")(domain, info, dev)
    if ret == 0:
        ret = msi_op(ops.msi_prepare, "msi_prepare")(domain, dev, nvec, arg)
    if ret == 0:
        _trace(domain.domains.kernel, "msi_domain_prepare_irqs", device=dev.id, domain=domain.id)
    return ret


def msi_domain_populate_irqs(
    domain: IrqDomain, dev: Device, virq: int, nvec: int, arg: IrqAllocInfo
) -> int:
    """Let `domain` set its level of virq .. virq+nvec-1 up, for a domain above it that asks.

    The descriptors are bound to irqs already.  -EINVAL and a warning if one of the device's is not,
    or stands for a block; else 0 or what kept an interrupt from its level, after all levels of the
    range have been freed.
    """
    mine = range(virq, virq + nvec)
    for desc in dev.msi_list:
        ret = 0
        if not desc.irq or desc.nvec_used != 1:
            domain.domains.kernel.warn()
            ret = -errno.EINVAL
        elif desc.irq in mine:
            ret = _populate_desc(domain, desc, arg)
        if ret:
            for each in dev.msi_list:
                if each.irq in mine:
                    irq_domain_free_irqs_common(domain.domains, domain, each.irq, 1)
            return ret
    return 0


def msi_check_reservation_mode(domain: IrqDomain, info: MsiDomainInfo, dev: Device) -> bool:
    """Whether the device can do with reservations until its interrupts are requested.

    It must be a PCI device behind a domain that activates again, and able to mask.
    """
    kernel = domain.domains.kernel
    tokens = {DomainBus.PCI_MSI}
    if Defect.N6 not in kernel.defects:
        tokens.add(DomainBus.VMD_MSI)
    if domain.bus_token not in tokens or not info.flags & MSI_FLAG_MUST_REACTIVATE:
        return False
    if kernel.pci_msi_ignore_mask and Defect.N14 not in kernel.defects:
        return False
    attrib = dev.msi_list[0].msi_attrib
    return attrib.is_msix or attrib.maskbit


def msi_default_alloc_irqs(domain: IrqDomain, dev: Device, nvec: int) -> int:
    """The default of domain_alloc_irqs (__msi_domain_alloc_irqs).

    0, a refusal of msi_domain_prepare_irqs or msi_alloc_store, -ENOSPC (or what handle_error makes
    of it) whatever kept a descriptor from its interrupts, or the error of an early activation
    (MSI-10).  Only after the last of these has everything been given back; else the descriptors
    that have interrupts keep them, and the caller must free.
    """
    info, ops = msi_domain_info(domain)
    arg = IrqAllocInfo()
    ret = msi_domain_prepare_irqs(domain, dev, nvec, arg)
    if ret:
        return ret
    if ops.msi_alloc_store is not None:
        ret = ops.msi_alloc_store(domain, dev, nvec)
        if ret:
            return ret
        _trace(domain.domains.kernel, "msi_alloc_store", device=dev.id)
    for desc in dev.msi_list:
        ret = _alloc_desc_irqs(domain, dev, desc, arg)
        if ret:
            return ret
    if ops.msi_finish is not None:
        ops.msi_finish(arg, 0)
    can_reserve = msi_check_reservation_mode(domain, info, dev)
    if info.flags & MSI_FLAG_ACTIVATE_EARLY:
        ret = _activate_early(domain, dev, can_reserve)
        if ret:
            msi_domain_free_irqs(domain, dev)
            return ret
    if can_reserve:
        for desc in dev.msi_list:
            for irqd in _levels(domain, desc, _nr_early(domain, desc)):
                irqd_clr_activated(irqd)
    return 0


def msi_default_free_irqs(domain: IrqDomain, dev: Device) -> None:
    """The default of domain_free_irqs (__msi_domain_free_irqs)."""
    kernel = domain.domains.kernel
    _, ops = msi_domain_info(domain)
    if Defect.N17 not in kernel.defects:
        for desc in dev.msi_list:
            if desc.irq:
                _deactivate(_levels(domain, desc, desc.nvec_used))
    for desc in dev.msi_list:
        if desc.irq:
            irq_domain_free_irqs(domain.domains, desc.irq, desc.nvec_used)
            desc.irq = 0
            _trace(kernel, "msi_desc_clear_irq", desc=desc.id)
    if ops.msi_free_store is not None:
        ops.msi_free_store(domain, dev)
        _trace(kernel, "msi_free_store", device=dev.id)


def _populate_desc(domain: IrqDomain, desc: MsiDesc, arg: IrqAllocInfo) -> int:
    _, ops = msi_domain_info(domain)
    msi_op(ops.set_desc, "set_desc")(arg, desc)
    ret = irq_domain_alloc_irqs_hierarchy(domain, desc.irq, 1, arg)
    if ret == 0:
        irq_set_msi_desc_off(domain, desc.irq, 0, desc)
    return ret


def _alloc_desc_irqs(domain: IrqDomain, dev: Device, desc: MsiDesc, arg: IrqAllocInfo) -> int:
    _, ops = msi_domain_info(domain)
    msi_op(ops.set_desc, "set_desc")(arg, desc)
    virq = irq_domain_alloc_irqs(
        domain.domains, domain, -1, desc.nvec_used, dev.numa_node, arg, affinity=desc.affinity
    )
    if virq >= 0:
        for k in range(desc.nvec_used):
            irq_set_msi_desc_off(domain, virq, k, desc)
        return 0
    ret = -errno.ENOSPC
    if ops.handle_error is not None:
        ret = ops.handle_error(domain, desc, ret)
    if ops.msi_finish is not None:
        ops.msi_finish(arg, ret)
    return ret


def _activate_early(domain: IrqDomain, dev: Device, can_reserve: bool) -> int:
    """Let the device have messages before it is switched on; 0 or the error of an activation.

    After an error the first interrupts of the descriptors before are not active any more.
    """
    for done, desc in enumerate(dev.msi_list):
        for irqd in _levels(domain, desc, _nr_early(domain, desc)):
            if not can_reserve:
                _demand_vector(domain, irqd)
            ret = _activate(irqd, can_reserve)
            if ret:
                _deactivate(_level(domain, each.irq) for each in dev.msi_list[:done])
                return ret
    return 0


def _demand_vector(domain: IrqDomain, irqd: IrqData) -> None:
    """The device cannot be masked: a reservation will not do, and moves must be careful."""
    irqd_clr_can_reserve(irqd)
    if domain.flags & IRQ_DOMAIN_MSI_NOMASK_QUIRK:
        irqd.set(IRQD_MSI_NOMASK_QUIRK)
        _trace(domain.domains.kernel, "irqd_set_nomask_quirk", irq=irqd.irq)


def _activate(irqd: IrqData, reserve: bool) -> int:
    if Defect.DEV_EARLY in irqd.desc.kernel.defects:
        return irq_domain_activate_irq(irqd, reserve)
    chip_bus_lock(irqd.desc)
    ret = irq_domain_activate_irq(irqd, reserve)
    chip_bus_sync_unlock(irqd.desc)
    return ret


def _deactivate(levels: Iterable[IrqData]) -> None:
    for irqd in levels:
        if not irqd.test(IRQD_ACTIVATED):
            continue
        if Defect.DEV_EARLY in irqd.desc.kernel.defects:
            irq_domain_deactivate_irq(irqd)
        else:
            chip_bus_lock(irqd.desc)
            irq_domain_deactivate_irq(irqd)
            chip_bus_sync_unlock(irqd.desc)


def _nr_early(domain: IrqDomain, desc: MsiDesc) -> int:
    """How many of a descriptor's interrupts early activation is about: all, under N8 the first."""
    return 1 if Defect.N8 in domain.domains.kernel.defects else desc.nvec_used


def _levels(domain: IrqDomain, desc: MsiDesc, nr_irqs: int) -> Iterator[IrqData]:
    """The domain's levels of the descriptor's first interrupts."""
    return (_level(domain, desc.irq + k) for k in range(nr_irqs))


def _level(domain: IrqDomain, irq: int) -> IrqData:
    irqd = irq_domain_get_irq_data(domain.domains, domain, irq)
    if irqd is None:
        raise KernelBug(f"irq {irq} has no level in {domain.name}")
    return irqd
