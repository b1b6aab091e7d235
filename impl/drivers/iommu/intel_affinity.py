# SPDX-License-Identifier: GPL-2.0-only
"""The chip of interrupts behind VT-d: moves and posted interrupts (intel/irq_remapping.c, v5.10).

The message of a device names a table entry, so a move is one store to that entry: nothing can be
torn, and whoever keeps the message has nothing to write.
"""

from dataclasses import dataclass, replace
from functools import partial

from impl.arch.x86.vector import vector_level
from impl.arch.x86.vector_move import apic_ack_irq, send_cleanup_vector
from impl.drivers.iommu.intel import IntelIr
from impl.drivers.iommu.intel_irte import Irte, irte_dest
from impl.drivers.iommu.intel_table import IntelIrData, IrqMode, modify_irte
from impl.kernel.irq.chip import irq_chip_set_affinity_parent
from impl.kernel.irq.irq import IRQ_SET_MASK_OK_DONE, IrqChip, IrqData, MsiMsg

__all__ = [
    "VcpuData",
    "intel_ir_chip",
    "intel_ir_data",
    "intel_ir_reconfigure_irte",
    "intel_ir_set_affinity",
    "intel_ir_set_vcpu_affinity",
    "posted_irte",
]


@dataclass(frozen=True, slots=True)
class VcpuData:
    """A virtual CPU that gets an interrupt without the kernel (struct vcpu_data).

    `vector` is its own vector, `pi_desc_addr` where the hardware notes it: a multiple of 64.
    """

    pi_desc_addr: int
    vector: int


def intel_ir_chip(ir: IntelIr) -> IrqChip:
    """The chip "INTEL-IR"."""
    return IrqChip(
        "INTEL-IR",
        irq_ack=partial(apic_ack_irq, ir.x86.vectors),
        irq_set_affinity=partial(intel_ir_set_affinity, ir),
        irq_compose_msi_msg=_intel_ir_compose_msi_msg,
        irq_set_vcpu_affinity=intel_ir_set_vcpu_affinity,
    )


def intel_ir_data(irqd: IrqData) -> IntelIrData:
    """The remapping level of an interrupt."""
    data: IntelIrData = irqd.chip_data
    return data


def intel_ir_set_affinity(ir: IntelIr, irqd: IrqData, mask: int, force: bool) -> int:
    """Move the interrupt at the parent, and rewrite its table entry.

    IRQ_SET_MASK_OK_DONE, so that no message is written, or an error of the parent.  Interrupts
    arrive at the new target from the store on, so the old vector is cleaned up at once.
    """
    ret = irq_chip_set_affinity_parent(irqd, mask, force)
    if ret < 0 or ret == IRQ_SET_MASK_OK_DONE:
        return ret
    intel_ir_reconfigure_irte(ir, irqd, force=False)
    send_cleanup_vector(ir.x86.vectors, irqd)
    return IRQ_SET_MASK_OK_DONE


def intel_ir_reconfigure_irte(ir: IntelIr, irqd: IrqData, *, force: bool) -> None:
    """Aim the interrupt's entry at its present target.

    The table keeps the entry of a posted interrupt, unless with `force`: the new target counts when
    posting ends (INT-8).
    """
    data = intel_ir_data(irqd)
    cfg = vector_level(irqd).hw_irq_cfg
    dest_id = irte_dest(cfg.dest_apicid, ir.eim_mode)
    data.irte_entry = replace(data.irte_entry, vector=cfg.vector, dest_id=dest_id)
    irq_iommu = data.irq_2_iommu
    written = force or irq_iommu.mode is IrqMode.IRQ_REMAPPING
    irq_iommu.iommu.trace(
        "intel_ir_reconfigure_irte",
        irq=irqd.irq,
        index=irq_iommu.slot,
        vector=cfg.vector,
        dest=cfg.dest_apicid,
        written=int(written),
    )
    if written:
        modify_irte(irq_iommu, data.irte_entry)


def intel_ir_set_vcpu_affinity(irqd: IrqData, vcpu: VcpuData | None) -> int:
    """Post the interrupt to a virtual CPU, or with None remap it again; always 0."""
    data = intel_ir_data(irqd)
    irq_iommu = data.irq_2_iommu
    irq_iommu.iommu.trace(
        "intel_ir_set_vcpu_affinity",
        irq=irqd.irq,
        posted=int(vcpu is not None),
        vector=0 if vcpu is None else vcpu.vector,
        address=0 if vcpu is None else vcpu.pi_desc_addr,
    )
    modify_irte(irq_iommu, data.irte_entry if vcpu is None else posted_irte(data.irte_entry, vcpu))
    return 0


def posted_irte(irte: Irte, vcpu: VcpuData) -> Irte:
    """The posted entry that the same requesters may use as the remapped `irte`."""
    return Irte(
        present=irte.present,
        fpd=irte.fpd,
        avail=irte.avail,
        pst=1,
        vector=vcpu.vector,
        pda=vcpu.pi_desc_addr & -64,
        sid=irte.sid,
        sq=irte.sq,
        svt=irte.svt,
    )


def _intel_ir_compose_msi_msg(irqd: IrqData) -> MsiMsg:
    return intel_ir_data(irqd).msi_entry
