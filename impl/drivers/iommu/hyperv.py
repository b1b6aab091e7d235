# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of IO-APICs in Hyper-V guests (drivers/iommu/hyperv-iommu.c, v5.10).

The host remaps nothing for IO-APICs, whose entries have room for 8 bits of a destination.  This
driver poses as interrupt remapping so that the guest may use the x2APIC mode all the same: it keeps
the interrupts of IO-APICs on CPUs that they can name.  The flag that remapping is on stays clear,
so that no PCI device is touched (HVI-3).

Events (system "hv"):

    hyperv_prepare_irq_remapping   domain (-1: none), ret
    hyperv_irq_remapping_alloc     irq, affinity
    hyperv_irq_remapping_activate  irq, vector, dest (now in the image of the route entry)
    hyperv_ir_set_affinity         irq, vector, dest
"""

import errno
from dataclasses import replace
from functools import partial
from typing import Final

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.vector import vector_level
from impl.arch.x86.vector_move import apic_ack_irq, send_cleanup_vector
from impl.arch.x86.x86_init import X86Platform
from impl.drivers.iommu.irq_remapping import IrqRemapMode, IrqRemapOps
from impl.kernel.irq.chip import irq_chip_set_affinity_parent
from impl.kernel.irq.irq import (
    IRQ_SET_MASK_OK,
    IRQ_SET_MASK_OK_DONE,
    IrqChip,
    IrqData,
    IrqDomain,
    IrqDomainOps,
)
from impl.kernel.irq.irqdomain import (
    irq_domain_alloc_named_id_fwnode,
    irq_domain_create_hierarchy,
    irq_domain_free_fwnode,
    irq_domain_get_irq_data,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs_parent,
    irq_domain_free_irqs_common,
)

__all__ = [
    "IOAPIC_REMAPPING_ENTRY",
    "HypervIommu",
    "hyperv_enable_irq_remapping",
    "hyperv_get_irq_domain",
    "hyperv_ir_set_affinity",
    "hyperv_irq_remapping_activate",
    "hyperv_irq_remapping_alloc",
    "hyperv_irq_remapping_free",
    "hyperv_prepare_irq_remapping",
]

IOAPIC_REMAPPING_ENTRY: Final = 24
"""The size of the domain; only its first hwirq is ever used."""

_IOAPIC_CPUS = 256
"""CPU numbers are looked at, and APIC ids can be named, up to this one."""


class HypervIommu:
    """The globals of the driver of one machine.

    `hypervisor` says that this is a guest of Hyper-V.  `ioapic_max_cpumask` are the CPUs that an
    IO-APIC can name, `domain` serves all IO-APICs; both are made by hyperv_prepare_irq_remapping.
    `ops` is a candidate for the remapping core.
    """

    __slots__ = ("chip", "domain", "hypervisor", "ioapic_max_cpumask", "kernel", "ops", "x86")

    def __init__(self, x86: X86Platform, *, hypervisor: bool) -> None:
        self.x86 = x86
        self.kernel = x86.kernel
        self.hypervisor = hypervisor
        self.ioapic_max_cpumask = 0
        self.domain: IrqDomain | None = None
        self.chip = IrqChip(
            "HYPERV-IR",
            irq_ack=partial(apic_ack_irq, x86.vectors),
            irq_set_affinity=partial(hyperv_ir_set_affinity, self),
        )
        self.ops = IrqRemapOps(
            prepare=partial(hyperv_prepare_irq_remapping, self),
            enable=hyperv_enable_irq_remapping,
            get_irq_domain=partial(hyperv_get_irq_domain, self),
        )

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of the driver."""
        kernel = self.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("hv", name, kernel.this_cpu, **fields)


def hyperv_prepare_irq_remapping(hv: HypervIommu) -> int:
    """Make the domain; 0, -ENODEV if this is no guest of Hyper-V with x2APIC, or -ENOMEM.

    A CPU's APIC id is its number here.
    """
    ret = _create_domain(hv)
    if ret == 0:
        nr_cpus = min(hv.kernel.nr_cpu_ids, _IOAPIC_CPUS)
        hv.ioapic_max_cpumask = (1 << nr_cpus) - 1
    domain = -1 if hv.domain is None else hv.domain.id
    hv.trace("hyperv_prepare_irq_remapping", domain=domain, ret=ret)
    return ret


def hyperv_enable_irq_remapping() -> int:
    """Claim the x2APIC mode, without a word that anything is remapped."""
    return IrqRemapMode.X2APIC


def hyperv_get_irq_domain(hv: HypervIommu, info: IrqAllocInfo | None) -> IrqDomain | None:
    """The domain for any IO-APIC, None for everything else."""
    if info is not None and info.type == X86_IRQ_ALLOC_TYPE.IOAPIC_GET_PARENT:
        return hv.domain
    return None


def hyperv_irq_remapping_alloc(
    hv: HypervIommu, domain: IrqDomain, virq: int, nr_irqs: int, info: IrqAllocInfo | None
) -> int:
    """Set up the level of one IO-APIC interrupt, and keep it on CPUs that the IO-APIC can name.

    0.  -EINVAL: no info, another type, several irqs, or no level here.  Else the parent's error.
    The level remembers where the IO-APIC keeps the image of the route entry, which stays in `info`.
    Its hwirq is never set.
    """
    if info is None or info.type != X86_IRQ_ALLOC_TYPE.IOAPIC or nr_irqs > 1:
        return -errno.EINVAL
    ret = irq_domain_alloc_irqs_parent(domain, virq, nr_irqs, info)
    if ret < 0:
        return ret
    irqd = irq_domain_get_irq_data(domain.domains, domain, virq)
    if irqd is None:
        irq_domain_free_irqs_common(domain.domains, domain, virq, nr_irqs)
        return -errno.EINVAL
    irqd.chip = hv.chip
    irqd.chip_data = info.ioapic.entry
    irqd.common.affinity = hv.ioapic_max_cpumask
    hv.trace("hyperv_irq_remapping_alloc", irq=virq, affinity=hv.ioapic_max_cpumask)
    return 0


def hyperv_irq_remapping_free(domain: IrqDomain, virq: int, nr_irqs: int) -> None:
    """Undo hyperv_irq_remapping_alloc."""
    irq_domain_free_irqs_common(domain.domains, domain, virq, nr_irqs)


def hyperv_irq_remapping_activate(
    hv: HypervIommu, domain: IrqDomain, irqd: IrqData, reserve: bool
) -> int:
    """Let the image of the route entry name the target, as the IO-APIC itself will not; always 0.

    The IO-APIC, which is activated next, writes the image.
    """
    _update_entry(hv, irqd, "hyperv_irq_remapping_activate")
    return 0


def hyperv_ir_set_affinity(hv: HypervIommu, irqd: IrqData, mask: int, force: bool) -> int:
    """Move at the parent, and let the IO-APIC write the route entry again.

    IRQ_SET_MASK_OK.  -EINVAL for a mask with a CPU that the IO-APIC cannot name, else what the
    parent returned.
    """
    if mask & ~hv.ioapic_max_cpumask:
        return -errno.EINVAL
    ret = irq_chip_set_affinity_parent(irqd, mask, force)
    if ret < 0 or ret == IRQ_SET_MASK_OK_DONE:
        return ret
    _update_entry(hv, irqd, "hyperv_ir_set_affinity")
    send_cleanup_vector(hv.x86.vectors, irqd)
    return IRQ_SET_MASK_OK


def _create_domain(hv: HypervIommu) -> int:
    vectors = hv.x86.vectors
    if not hv.hypervisor or not vectors.apic.x2apic:
        return -errno.ENODEV
    domains = hv.x86.domains
    fwnode = irq_domain_alloc_named_id_fwnode(domains, "HYPERV-IR", 0)
    if fwnode is None:
        return -errno.ENOMEM
    ops = IrqDomainOps(
        alloc=partial(hyperv_irq_remapping_alloc, hv),
        free=hyperv_irq_remapping_free,
        activate=partial(hyperv_irq_remapping_activate, hv),
    )
    hv.domain = irq_domain_create_hierarchy(
        domains, vectors.x86_vector_domain, 0, IOAPIC_REMAPPING_ENTRY, fwnode, ops
    )
    if hv.domain is None:
        irq_domain_free_fwnode(domains, fwnode)
        return -errno.ENOMEM
    return 0


def _update_entry(hv: HypervIommu, irqd: IrqData, event: str) -> None:
    cfg, data = vector_level(irqd).hw_irq_cfg, irqd.chip_data
    # The field of a route entry has 8 bits.
    data.entry = replace(data.entry, vector=cfg.vector, dest=cfg.dest_apicid & 0xFF)
    hv.trace(event, irq=irqd.irq, vector=cfg.vector, dest=data.entry.dest)
