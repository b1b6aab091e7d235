# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of SGI UV hubs (arch/x86/platform/uv/uv_irq.c, v5.10).

A hub signals through a memory-mapped register (MMR) that names CPU and vector.  A caller asks for
one CPU, so the interrupt has its vector from the allocation on.
"""

import enum
import errno
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
    UvAllocInfo,
    init_irq_alloc_info,
)
from impl.arch.x86.vector import vector_level
from impl.arch.x86.vector_move import apic_ack_irq, send_cleanup_vector
from impl.arch.x86.x86_init import X86Platform
from impl.defects import Defect
from impl.kernel.cpumask import cpumask_of
from impl.kernel.irq.chip import irq_chip_set_affinity_parent
from impl.kernel.irq.irq import (
    IRQ_NO_BALANCING,
    IRQD_MOVE_PCNTXT,
    IrqChip,
    IrqData,
    IrqDomain,
    IrqDomainOps,
)
from impl.kernel.irq.irqdomain import (
    irq_domain_alloc_named_fwnode,
    irq_domain_create_hierarchy,
    irq_domain_free_fwnode,
    irq_domain_get_irq_data,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs,
    irq_domain_alloc_irqs_parent,
    irq_domain_free_irqs,
    irq_domain_free_irqs_top,
    irq_domain_set_info,
)
from impl.kernel.kernel import NUMA_NO_NODE, KernelBug

__all__ = ["UvAffinity", "UvBlade", "UvHubs", "UvMmr", "uv_setup_irq", "uv_teardown_irq"]


class UvAffinity(enum.IntEnum):
    """How far from its CPU an interrupt may go (UV_AFFINITY_*)."""

    ALL = 0
    NODE = 1
    CPU = 2


class UvBlade(NamedTuple):
    """A blade: the number of its hub, and the node it is near."""

    pnode: int
    node: int = NUMA_NO_NODE


class UvMmr(NamedTuple):
    """What a register holds (struct uv_IO_APIC_route_entry); a reset masks it.

    `dest` has 32 bits.  Delivery is fixed and edge triggered.
    """

    vector: int = 0
    dest: int = 0
    dest_mode: int = 0
    mask: int = 1


@dataclass(frozen=True, slots=True)
class UvChipData:
    """The UV level of one interrupt: its register (struct uv_irq_2_mmr_pnode)."""

    pnode: int
    offset: int


class UvHubs:
    """The globals of the UV interrupt code of one machine.

    `blades` is by blade number.  `mmrs` holds the registers that were written, by hub and offset.
    The domain is made when first needed.
    """

    __slots__ = ("blades", "chip", "domain", "mmrs", "x86")

    def __init__(self, x86: X86Platform, blades: dict[int, UvBlade]) -> None:
        self.x86 = x86
        self.blades = blades
        self.mmrs: dict[tuple[int, int], UvMmr] = {}
        self.domain: IrqDomain | None = None
        self.chip = IrqChip(
            "UV-CORE",
            irq_mask=_uv_noop,
            irq_unmask=_uv_noop,
            irq_eoi=partial(apic_ack_irq, x86.vectors),
            irq_set_affinity=partial(_uv_set_irq_affinity, self),
        )

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of the UV code."""
        kernel = self.x86.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("uv", name, kernel.this_cpu, **fields)


def uv_setup_irq(
    uv: UvHubs, name: str, cpu: int, blade: int, offset: int, limit: UvAffinity
) -> int:
    """Allocate an interrupt on `cpu` that register `offset` of a blade's hub raises.

    The irq; -ENOMEM, also without a domain; -EINVAL if `cpu` is offline; an error of the vector
    domain.  KeyError for a blade that the machine does not have.
    """
    domain = _uv_get_irq_domain(uv)
    if domain is None:
        return -errno.ENOMEM
    info = IrqAllocInfo()
    init_irq_alloc_info(info, cpumask_of(cpu))
    info.type = X86_IRQ_ALLOC_TYPE.UV
    info.uv = UvAllocInfo(limit=limit, blade=blade, offset=offset, name=name)
    return irq_domain_alloc_irqs(uv.x86.domains, domain, -1, 1, uv.blades[blade].node, info)


def uv_teardown_irq(uv: UvHubs, irq: int) -> None:
    """Free an interrupt of uv_setup_irq."""
    irq_domain_free_irqs(uv.x86.domains, irq, 1)


def _uv_get_irq_domain(uv: UvHubs) -> IrqDomain | None:
    if uv.domain is not None:
        return uv.domain
    domains = uv.x86.domains
    fwnode = irq_domain_alloc_named_fwnode(domains, "UV-CORE")
    if fwnode is None:
        return None
    ops = IrqDomainOps(
        alloc=partial(_uv_domain_alloc, uv),
        free=partial(_uv_domain_free, uv),
        activate=partial(_uv_domain_activate, uv),
        deactivate=partial(_uv_domain_deactivate, uv),
    )
    uv.domain = irq_domain_create_hierarchy(
        domains, uv.x86.vectors.x86_vector_domain, 0, 0, fwnode, ops
    )
    if uv.domain is None:
        irq_domain_free_fwnode(domains, fwnode)
    return uv.domain


def _uv_domain_alloc(
    uv: UvHubs, domain: IrqDomain, virq: int, nr_irqs: int, info: IrqAllocInfo | None
) -> int:
    """Set up the UV level of `virq`; 0 or an error.

    -EINVAL: several irqs at once, or not a UV request.  -ENOMEM.  Else the parent's error.
    """
    if nr_irqs > 1 or info is None or info.type is not X86_IRQ_ALLOC_TYPE.UV:
        return -errno.EINVAL
    if uv.x86.kernel.kzalloc_fails("uv_domain_alloc"):
        return -errno.ENOMEM
    ret = irq_domain_alloc_irqs_parent(domain, virq, nr_irqs, info)
    if ret < 0:
        return ret
    desc = domain.domains.irqs.descs[virq]
    if info.uv.limit == UvAffinity.CPU:
        desc.status |= IRQ_NO_BALANCING
    else:
        desc.irq_data.set(IRQD_MOVE_PCNTXT)
    data = UvChipData(uv.blades[info.uv.blade].pnode, info.uv.offset)
    # The percpu flow handler never masks.
    irq_domain_set_info(domain.domains, domain, virq, virq, uv.chip, data, "percpu", None)
    uv.trace("uv_domain_alloc", irq=virq)
    return ret


def _uv_domain_free(uv: UvHubs, domain: IrqDomain, virq: int, nr_irqs: int) -> None:
    """Undo _uv_domain_alloc, one irq at a time; the register stays as it is."""
    if nr_irqs != 1:
        raise KernelBug(f"{nr_irqs} irqs of a UV hub are to be freed at once")
    if irq_domain_get_irq_data(domain.domains, domain, virq) is None:
        raise KernelBug(f"irq {virq} has no level in {domain.name}")
    desc = domain.domains.irqs.descs[virq]
    desc.irq_data.clear(IRQD_MOVE_PCNTXT)
    desc.status &= ~IRQ_NO_BALANCING
    uv.trace("uv_domain_free", irq=virq)
    irq_domain_free_irqs_top(domain.domains, domain, virq, nr_irqs)


def _uv_domain_activate(uv: UvHubs, domain: IrqDomain, irqd: IrqData, reserve: bool) -> int:
    _uv_program_mmr(uv, irqd, mask=0)
    return 0


def _uv_domain_deactivate(uv: UvHubs, domain: IrqDomain, irqd: IrqData) -> None:
    """Mask the register; under N13 the masked value is made and then not the one written."""
    _uv_program_mmr(uv, irqd, mask=int(Defect.N13 not in uv.x86.kernel.defects))


def _uv_set_irq_affinity(uv: UvHubs, irqd: IrqData, mask: int, force: bool) -> int:
    """Move the interrupt; its register changes in one write, so nobody waits to clean up."""
    ret = irq_chip_set_affinity_parent(irqd, mask, force)
    if ret >= 0:
        _uv_program_mmr(uv, irqd, mask=0)
        send_cleanup_vector(uv.x86.vectors, irqd)
    return ret


def _uv_program_mmr(uv: UvHubs, irqd: IrqData, mask: int) -> None:
    cfg = vector_level(irqd).hw_irq_cfg
    data: UvChipData = irqd.chip_data
    dest_mode = int(uv.x86.vectors.apic.logical)
    uv.mmrs[data.pnode, data.offset] = UvMmr(cfg.vector, cfg.dest_apicid, dest_mode, mask)
    uv.trace("uv_program_mmr", irq=irqd.irq, vector=cfg.vector, dest=cfg.dest_apicid, masked=mask)


def _uv_noop(irqd: IrqData) -> None:
    """A hub cannot mask."""
