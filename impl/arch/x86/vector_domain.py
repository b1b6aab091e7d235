# SPDX-License-Identifier: GPL-2.0-only
"""The operations of the x86 vector domain (arch/x86/kernel/apic/vector.c, v5.10)."""

import errno
from functools import partial

from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
    X86_IRQ_ALLOC_LEGACY,
    IrqAllocInfo,
)
from impl.arch.x86.irq_vectors import PIC_CASCADE_IR
from impl.arch.x86.msidef import compose_msi_msg
from impl.arch.x86.vector import (
    ApicChipData,
    HwIrqCfg,
    VectorSpace,
    apic_update_irq_cfg,
    assign_irq_vector,
    assign_irq_vector_any_locked,
    assign_managed_vector,
    clear_irq_vector,
    lock_vector_lock,
    reserve_irq_vector_locked,
    reserve_managed_vector,
    unlock_vector_lock,
    vector_assign_managed_shutdown,
    vector_level,
)
from impl.arch.x86.vector_move import (
    apic_ack_edge,
    apic_retrigger_irq,
    apic_set_affinity,
    irq_force_complete_move,
)
from impl.defects import Defect
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_AFFINITY_MANAGED,
    IRQD_AFFINITY_ON_ACTIVATE,
    IRQD_CAN_RESERVE,
    IRQD_HANDLE_ENFORCE_IRQCTX,
    IRQD_MANAGED_SHUTDOWN,
    IRQD_SINGLE_TARGET,
    IrqChip,
    IrqData,
    IrqDomain,
    IrqDomainOps,
    MsiMsg,
)
from impl.kernel.irq.irqdomain import (
    IrqDomains,
    irq_domain_alloc_named_fwnode,
    irq_domain_create_tree,
    irq_domain_get_irq_data,
    irq_set_default_host,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_reset_irq_data,
    irqd_set_hwirq_and_chip,
)
from impl.kernel.irq.matrix import irq_matrix_remove_managed, irq_matrix_remove_reserved
from impl.kernel.kernel import KernelBug

__all__ = ["create_vector_domain", "irq_msi_compose_msg", "x86_vector_msi_compose_msg"]

_X86_IRQ_STATE = IRQD_SINGLE_TARGET | IRQD_HANDLE_ENFORCE_IRQCTX | IRQD_AFFINITY_ON_ACTIVATE


def create_vector_domain(v: VectorSpace, domains: IrqDomains) -> None:
    """Create the domain and its chip, "VECTOR" and "APIC", in `v` and make it the default domain.

    Without memory the kernel cannot go on.
    """
    v.lapic_controller = IrqChip(
        "APIC",
        irq_ack=partial(apic_ack_edge, v),
        irq_set_affinity=partial(apic_set_affinity, v),
        irq_retrigger=partial(apic_retrigger_irq, v),
        irq_compose_msi_msg=partial(x86_vector_msi_compose_msg, v),
        irq_force_complete_move=partial(irq_force_complete_move, v),
    )
    ops = IrqDomainOps(
        alloc=partial(x86_vector_alloc_irqs, v),
        free=partial(x86_vector_free_irqs, v),
        activate=partial(x86_vector_activate, v),
        deactivate=partial(x86_vector_deactivate, v),
    )
    fwnode = irq_domain_alloc_named_fwnode(domains, "VECTOR")
    domain = irq_domain_create_tree(domains, fwnode, ops) if fwnode is not None else None
    if domain is None:
        raise KernelBug("no memory for the vector domain")
    v.x86_vector_domain = domain
    irq_set_default_host(domains, domain)


def x86_vector_msi_compose_msg(v: VectorSpace, irqd: IrqData) -> MsiMsg:
    """The message that reaches the interrupt's vector."""
    return irq_msi_compose_msg(v, vector_level(irqd).hw_irq_cfg)


def irq_msi_compose_msg(v: VectorSpace, cfg: HwIrqCfg) -> MsiMsg:
    """The message that reaches `cfg`; nothing else of the interrupt matters (APIC-1)."""
    apic = v.apic
    return MsiMsg(
        *compose_msi_msg(cfg.dest_apicid, cfg.vector, logical=apic.logical, x2apic=apic.x2apic)
    )


def x86_vector_alloc_irqs(
    v: VectorSpace, domain: IrqDomain, virq: int, nr_irqs: int, info: IrqAllocInfo
) -> int:
    """Set up the vector level of `nr_irqs` interrupts from `virq` on; all or none.

    -ENXIO: no APIC.  -ENOSYS: contiguous vectors, which this domain cannot give.  -ENOMEM.
    -ENOSPC: no room for a managed or a masked interrupt.  -EINVAL: a mask without an online CPU or,
    repaired (H5), a take-over of the PIC cascade.
    """
    if v.disable_apic:
        return -errno.ENXIO
    if info.flags & X86_IRQ_ALLOC_CONTIGUOUS_VECTORS and nr_irqs > 1:
        return -errno.ENOSYS
    if _takes_cascade(virq, nr_irqs, info) and Defect.H5 not in v.kernel.defects:
        v.kernel.warn()
        return -errno.EINVAL
    for k in range(nr_irqs):
        ret = _alloc_one(v, domain, virq + k, info)
        if ret:
            x86_vector_free_irqs(v, domain, virq, k)
            return ret
    return 0


def x86_vector_free_irqs(v: VectorSpace, domain: IrqDomain, virq: int, nr_irqs: int) -> None:
    """Give back everything the vector level holds; skips interrupts without one.

    Managed reservations are removed on the CPUs of the *current* affinity mask.
    """
    for irq in range(virq, virq + nr_irqs):
        irqd = irq_domain_get_irq_data(domain.domains, domain, irq)
        if irqd is None or irqd.chip_data is None:
            continue
        lock_vector_lock(v)
        clear_irq_vector(v, irqd)
        _vector_free_reserved_and_managed(v, irqd)
        irq_domain_reset_irq_data(irqd)
        unlock_vector_lock(v)


def x86_vector_activate(v: VectorSpace, domain: IrqDomain, irqd: IrqData, reserve: bool) -> int:
    """Give the interrupt its vector, or with `reserve` only the shutdown vector.

    0, -EINVAL (managed, no online CPU), or an error of the matrix, which a fixed interrupt hides
    under H6.
    """
    apicd = vector_level(irqd)
    v.trace(
        "vector_activate",
        irq=irqd.irq,
        is_managed=int(apicd.is_managed),
        can_reserve=int(apicd.can_reserve),
        reserve=int(reserve),
    )
    lock_vector_lock(v)
    ret = _activate_locked(v, irqd, apicd, reserve)
    unlock_vector_lock(v)
    return ret


def x86_vector_deactivate(v: VectorSpace, domain: IrqDomain, irqd: IrqData) -> None:
    """Return to the reserved state; a fixed interrupt keeps its vector."""
    apicd = vector_level(irqd)
    v.trace(
        "vector_deactivate",
        irq=irqd.irq,
        is_managed=int(apicd.is_managed),
        can_reserve=int(apicd.can_reserve),
        reserve=0,
    )
    if apicd.has_reserved or not (apicd.is_managed or apicd.can_reserve):
        return
    lock_vector_lock(v)
    clear_irq_vector(v, irqd)
    if apicd.can_reserve:
        reserve_irq_vector_locked(v, irqd)
    else:
        vector_assign_managed_shutdown(v, irqd)
    unlock_vector_lock(v)


def _takes_cascade(virq: int, nr_irqs: int, info: IrqAllocInfo) -> bool:
    legacy = info.flags & X86_IRQ_ALLOC_LEGACY
    return bool(legacy) and virq <= PIC_CASCADE_IR < virq + nr_irqs


def _alloc_one(v: VectorSpace, domain: IrqDomain, virq: int, info: IrqAllocInfo) -> int:
    irqd = irq_domain_get_irq_data(domain.domains, domain, virq)
    if irqd is None:
        raise KernelBug(f"irq {virq} has no level in {domain.name}")
    if irqd.chip_data is not None:
        v.kernel.warn()
    if v.kernel.kzalloc_fails("alloc_apic_chip_data"):
        return -errno.ENOMEM
    apicd = ApicChipData(virq)
    irqd_set_hwirq_and_chip(irqd, virq, v.lapic_controller, apicd)
    irqd.set(_X86_IRQ_STATE)
    legacy = info.flags & X86_IRQ_ALLOC_LEGACY
    if legacy and not _vector_configure_legacy(v, virq, irqd, apicd):
        return 0
    ret = _assign_irq_vector_policy(v, irqd, info)
    v.trace("vector_setup", irq=virq, is_legacy=0, ret=ret)
    if ret:
        irqd.chip_data = None
    return ret


def _assign_irq_vector_policy(v: VectorSpace, irqd: IrqData, info: IrqAllocInfo) -> int:
    if irqd.test(IRQD_AFFINITY_MANAGED):
        return reserve_managed_vector(v, irqd)
    if info.mask is not None:
        return assign_irq_vector(v, irqd, info.mask)
    lock_vector_lock(v)
    reserve_irq_vector_locked(v, irqd)
    unlock_vector_lock(v)
    return 0


def _vector_configure_legacy(v: VectorSpace, virq: int, irqd: IrqData, apicd: ApicChipData) -> bool:
    """Take over a legacy irq's boot vector; True if it was returned and a new one is due.

    An activated one, normally the timer, keeps its vector for good.
    """
    apicd.vector = v.geometry.isa_irq_vector(virq)
    apicd.cpu = 0
    lock_vector_lock(v)
    realloc = not irqd.test(IRQD_ACTIVATED)
    if realloc:
        apicd.can_reserve = True
        irqd.set(IRQD_CAN_RESERVE)
        clear_irq_vector(v, irqd)
    else:
        v.trace("vector_setup", irq=virq, is_legacy=1, ret=0)
        apic_update_irq_cfg(v, irqd, apicd.vector, apicd.cpu)
    unlock_vector_lock(v)
    return realloc


def _vector_free_reserved_and_managed(v: VectorSpace, irqd: IrqData) -> None:
    apicd = vector_level(irqd)
    v.trace(
        "vector_teardown",
        irq=irqd.irq,
        is_managed=int(apicd.is_managed),
        has_reserved=int(apicd.has_reserved),
    )
    if apicd.has_reserved:
        irq_matrix_remove_reserved(v.matrix)
    if apicd.is_managed:
        irq_matrix_remove_managed(v.matrix, irqd.common.affinity)


def _activate_locked(v: VectorSpace, irqd: IrqData, apicd: ApicChipData, reserve: bool) -> int:
    if not apicd.can_reserve and not apicd.is_managed:
        ret = assign_irq_vector_any_locked(v, irqd)
        return 0 if Defect.H6 in v.kernel.defects else ret
    if reserve or irqd.test(IRQD_MANAGED_SHUTDOWN):
        vector_assign_managed_shutdown(v, irqd)
        return 0
    if apicd.is_managed:
        return _activate_managed(v, irqd)
    if apicd.has_reserved:
        return _activate_reserved(v, irqd, apicd)
    return 0


def _activate_reserved(v: VectorSpace, irqd: IrqData, apicd: ApicChipData) -> int:
    ret = assign_irq_vector_any_locked(v, irqd)
    if ret == 0:
        apicd.has_reserved = False
        if not irqd.test(IRQD_CAN_RESERVE):
            apicd.can_reserve = False
    return ret


def _activate_managed(v: VectorSpace, irqd: IrqData) -> int:
    searchmask = irqd.common.affinity & v.kernel.cpu_online_mask
    if not searchmask:
        v.kernel.warn()
        return -errno.EINVAL
    ret = assign_managed_vector(v, irqd, searchmask)
    if ret < 0:
        v.kernel.warn()
    return ret
