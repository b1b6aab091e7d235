# SPDX-License-Identifier: GPL-2.0-only
"""MSI of PCI devices (arch/x86/kernel/apic/msi.c, v5.10).

Without interrupt remapping a message names the CPU and the vector in separate registers.  While a
device that cannot be masked moves, its message must never name a pair that nobody owns: see
msi_set_affinity.
"""

from functools import partial

from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
    init_irq_alloc_info,
)
from impl.arch.x86.irq_vectors import (
    MANAGED_IRQ_SHUTDOWN_VECTOR,
    VECTOR_RETRIGGERED,
)
from impl.arch.x86.vector import (
    HwIrqCfg,
    VectorSpace,
    lock_vector_lock,
    unlock_vector_lock,
    vector_level,
)
from impl.arch.x86.vector_domain import irq_msi_compose_msg
from impl.arch.x86.x86_init import X86Platform
from impl.drivers.pci.msi_access import pci_msi_mask_irq, pci_msi_unmask_irq
from impl.drivers.pci.msi_domain import pci_msi_create_irq_domain
from impl.drivers.pci.pci import PciDev
from impl.kernel.cpumask import cpumask_first
from impl.kernel.device import Device
from impl.kernel.irq.chip import (
    irq_chip_ack_parent,
    irq_chip_retrigger_hierarchy,
    irq_chip_set_vcpu_affinity_parent,
)
from impl.kernel.irq.irq import (
    IRQ_SET_MASK_OK_DONE,
    IRQD_MSI_NOMASK_QUIRK,
    IrqChip,
    IrqData,
    IrqDomain,
    irq_data_get_irq_chip,
)
from impl.kernel.irq.irqdomain import (
    IRQ_DOMAIN_MSI_NOMASK_QUIRK,
    irq_domain_alloc_named_fwnode,
    irq_domain_alloc_named_id_fwnode,
    irq_domain_free_fwnode,
)
from impl.kernel.irq.msi import (
    MSI_FLAG_MULTI_PCI_MSI,
    MSI_FLAG_PCI_MSIX,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.kernel import KernelBug

__all__ = [
    "arch_create_remap_msi_irq_domain",
    "msi_set_affinity",
    "native_create_pci_msi_domain",
    "pci_msi_controller",
    "pci_msi_prepare",
    "x86_create_pci_msi_domain",
    "x86_msi_prepare",
]


def pci_msi_controller(x86: X86Platform) -> IrqChip:
    """The chip "PCI-MSI"; the PCI layer adds the writing of messages."""
    return IrqChip(
        "PCI-MSI",
        irq_unmask=pci_msi_unmask_irq,
        irq_mask=pci_msi_mask_irq,
        irq_ack=irq_chip_ack_parent,
        irq_retrigger=irq_chip_retrigger_hierarchy,
        irq_set_affinity=partial(msi_set_affinity, x86),
    )


def pci_msi_prepare(domain: IrqDomain, dev: Device, nvec: int, arg: IrqAllocInfo) -> int:
    """Start the argument of an allocation for `dev`; always 0.

    MSI asks for contiguous vectors, which only a remapping parent can give.
    """
    init_irq_alloc_info(arg, None)
    if dev.msi_list[0].msi_attrib.is_msix:
        arg.type = X86_IRQ_ALLOC_TYPE.PCI_MSIX
    else:
        arg.type = X86_IRQ_ALLOC_TYPE.PCI_MSI
        arg.flags |= X86_IRQ_ALLOC_CONTIGUOUS_VECTORS
    return 0


def x86_msi_prepare(domain: IrqDomain, dev: Device, nvec: int, arg: IrqAllocInfo) -> int:
    """arch_msi_prepare of x86 (V2 #40): pci_msi_prepare, or type DEV_MSI for other devices."""
    if isinstance(dev, PciDev):
        return pci_msi_prepare(domain, dev, nvec, arg)
    init_irq_alloc_info(arg, None)
    arg.type = X86_IRQ_ALLOC_TYPE.DEV_MSI
    return 0


def native_create_pci_msi_domain(x86: X86Platform) -> IrqDomain | None:
    """Create the domain "PCI-MSI" on top of the vector domain.

    None without a local APIC, and with a warning if memory is short.  Interrupts of devices that
    cannot be masked move in the safe order there.
    """
    if x86.vectors.disable_apic:
        return None
    fwnode = irq_domain_alloc_named_fwnode(x86.domains, "PCI-MSI")
    if fwnode is None:
        return None
    info = MsiDomainInfo(
        flags=MSI_FLAG_USE_DEF_DOM_OPS | MSI_FLAG_USE_DEF_CHIP_OPS | MSI_FLAG_PCI_MSIX,
        ops=MsiDomainOps(msi_prepare=pci_msi_prepare),
        chip=pci_msi_controller(x86),
        handler_name="edge",
    )
    domain = pci_msi_create_irq_domain(x86.domains, fwnode, info, x86.vectors.x86_vector_domain)
    if domain is None:
        irq_domain_free_fwnode(x86.domains, fwnode)
        x86.kernel.warn()
        return None
    domain.flags |= IRQ_DOMAIN_MSI_NOMASK_QUIRK
    return domain


def arch_create_remap_msi_irq_domain(
    x86: X86Platform, parent: IrqDomain, name: str, id: int
) -> IrqDomain | None:
    """Create the PCI/MSI domain of a remapping unit on top of the unit's own; None without memory.

    The message of an interrupt never changes there, so its devices may have blocks of vectors, and
    nothing is to be written when an interrupt moves.
    """
    fwnode = irq_domain_alloc_named_id_fwnode(x86.domains, name, id)
    if fwnode is None:
        return None
    info = MsiDomainInfo(
        flags=MSI_FLAG_USE_DEF_DOM_OPS
        | MSI_FLAG_USE_DEF_CHIP_OPS
        | MSI_FLAG_MULTI_PCI_MSI
        | MSI_FLAG_PCI_MSIX,
        ops=MsiDomainOps(msi_prepare=pci_msi_prepare),
        chip=_pci_msi_ir_controller(),
        handler_name="edge",
    )
    domain = pci_msi_create_irq_domain(x86.domains, fwnode, info, parent)
    if domain is None:
        irq_domain_free_fwnode(x86.domains, fwnode)
    return domain


def x86_create_pci_msi_domain(x86: X86Platform) -> None:
    """Create and store the default PCI/MSI domain, the platform's own if it has one."""
    create = x86.init.create_pci_msi_domain or native_create_pci_msi_domain
    domain = x86.pci_msi_default_domain = create(x86)
    x86.trace("create_pci_msi_domain", domain=-1 if domain is None else domain.id)


def msi_set_affinity(x86: X86Platform, irqd: IrqData, mask: int, force: bool) -> int:
    """Move an interrupt and rewrite the device's message; the parent's result.

    The message consists of several registers, so a device that cannot be masked could fire with the
    new CPU and the old vector, which nobody owns there.  Such a device is sent to the new vector on
    this CPU first, and from there to the new CPU; what arrives here in between is raised again on
    the new CPU (APIC-Q).  The move runs on the old CPU (APIC-5); elsewhere it warns and writes
    directly.
    """
    parent = irqd.parent_data
    setter = None if parent is None else irq_data_get_irq_chip(parent).irq_set_affinity
    if parent is None or setter is None:
        raise KernelBug(f"irq {irqd.irq} has no parent that could move it")
    cfg = vector_level(irqd).hw_irq_cfg
    cpu = cpumask_first(irqd.common.effective_affinity)
    old = HwIrqCfg(cfg.dest_apicid, cfg.vector)
    ret = setter(parent, mask, force)
    if ret < 0 or ret == IRQ_SET_MASK_OK_DONE:
        return ret
    if not _message_can_tear(irqd, old, cfg):
        _irq_msi_update_msg(x86, irqd, cfg)
    elif cpu != x86.kernel.this_cpu:
        x86.kernel.warn()
        _irq_msi_update_msg(x86, irqd, cfg)
    else:
        _move_over_this_cpu(x86, irqd, old, cfg)
    return ret


def _pci_msi_ir_controller() -> IrqChip:
    return IrqChip(
        "IR-PCI-MSI",
        irq_unmask=pci_msi_unmask_irq,
        irq_mask=pci_msi_mask_irq,
        irq_ack=irq_chip_ack_parent,
        irq_retrigger=irq_chip_retrigger_hierarchy,
        irq_set_vcpu_affinity=irq_chip_set_vcpu_affinity_parent,
    )


def _message_can_tear(irqd: IrqData, old: HwIrqCfg, new: HwIrqCfg) -> bool:
    """Whether a half-written message could be a pair that is neither the old nor the new one.

    A device on the shutdown vector was never started.
    """
    return (
        irqd.test(IRQD_MSI_NOMASK_QUIRK)
        and new.vector != old.vector
        and old.vector != MANAGED_IRQ_SHUTDOWN_VECTOR
        and new.dest_apicid != old.dest_apicid
    )


def _move_over_this_cpu(x86: X86Platform, irqd: IrqData, old: HwIrqCfg, new: HwIrqCfg) -> None:
    cpu = x86.kernel.this_cpu
    lock_vector_lock(x86.vectors)
    _forgive_one_interrupt(x86.vectors, cpu, new.vector)
    _irq_msi_update_msg(x86, irqd, HwIrqCfg(old.dest_apicid, new.vector))
    _irq_msi_update_msg(x86, irqd, new)
    unlock_vector_lock(x86.vectors)
    retrigger = irq_data_get_irq_chip(irqd).irq_retrigger
    if (cpu, new.vector) in x86.lapic_irr and retrigger is not None:
        retrigger(irqd)


def _forgive_one_interrupt(v: VectorSpace, cpu: int, vector: int) -> None:
    """Mark a slot without an owner, so that an interrupt there is not taken for a stray one."""
    if v.vector_irq[cpu][vector] < 0:
        v.vector_irq[cpu][vector] = VECTOR_RETRIGGERED
        v.trace("msi_forgive_vector", cpu=cpu, vector=vector)


def _irq_msi_update_msg(x86: X86Platform, irqd: IrqData, cfg: HwIrqCfg) -> None:
    write = irq_data_get_irq_chip(irqd).irq_write_msi_msg
    if write is None:
        raise KernelBug(f"the chip of irq {irqd.irq} writes no messages")
    write(irqd, irq_msi_compose_msg(x86.vectors, cfg))
