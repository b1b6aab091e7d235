# SPDX-License-Identifier: GPL-2.0-only
"""Moving a vector and ending the move (arch/x86/kernel/apic/vector.c, v5.10).

A move leaves the old vector in place, as the device may still use it.  The first interrupt on the
new CPU proves that it does not; that CPU then asks the old one, by IPI, to free it:

    MOVING (move_in_progress) -> CLEANUP (on cleanup_list[prev_cpu]) -> nothing (prev_vector 0)
"""

import errno
from collections.abc import Collection

from impl.arch.x86.irq_vectors import VECTOR_UNUSED
from impl.arch.x86.vector import (
    ApicChipData,
    VectorSpace,
    apic_chip_data,
    assign_managed_vector,
    assign_vector_locked,
    clist_del_init,
    lock_vector_lock,
    unlock_vector_lock,
    vector_level,
)
from impl.defects import Defect
from impl.kernel.irq.irq import (
    IRQ_SET_MASK_OK,
    IRQD_ACTIVATED,
    IRQD_AFFINITY_MANAGED,
    IrqData,
    IrqDesc,
)
from impl.kernel.irq.irqdomain import irq_domain_get_irq_data
from impl.kernel.irq.matrix import irq_matrix_free
from impl.kernel.irq.migration import irq_move_irq
from impl.kernel.kernel import KernelBug

__all__ = [
    "apic_ack_edge",
    "apic_ack_irq",
    "apic_retrigger_irq",
    "apic_set_affinity",
    "irq_complete_move",
    "irq_force_complete_move",
    "send_cleanup_vector",
    "sysvec_irq_move_cleanup",
]


def apic_set_affinity(v: VectorSpace, irqd: IrqData, dest: int, force: bool) -> int:
    """Move the interrupt to an online CPU of `dest`, if it is not on one already.

    IRQ_SET_MASK_OK; -EIO if it is not activated, which N16 does not look at; -EBUSY, -ENOSPC or
    -EINVAL of the assignment.
    """
    if not irqd.test(IRQD_ACTIVATED) and Defect.N16 not in v.kernel.defects:
        v.kernel.warn()
        return -errno.EIO
    lock_vector_lock(v)
    searchmask = dest & v.kernel.cpu_online_mask
    if irqd.test(IRQD_AFFINITY_MANAGED):
        ret = assign_managed_vector(v, irqd, searchmask)
    else:
        ret = assign_vector_locked(v, irqd, searchmask)
    unlock_vector_lock(v)
    return ret if ret else IRQ_SET_MASK_OK


def apic_retrigger_irq(v: VectorSpace, irqd: IrqData) -> int:
    """Raise the interrupt by an IPI to its vector, which it must own (VEC-22); always 1."""
    apicd = vector_level(irqd)
    lock_vector_lock(v)
    v.kernel.trace.emit(
        "irq",
        "apic_retrigger_irq",
        v.kernel.this_cpu,
        irq=irqd.irq,
        cpu=apicd.cpu,
        vector=apicd.vector,
    )
    unlock_vector_lock(v)
    return 1


def apic_ack_irq(v: VectorSpace, irqd: IrqData) -> None:
    """Acknowledge, carrying out a deferred affinity change first."""
    irq_move_irq(irqd)


def apic_ack_edge(v: VectorSpace, irqd: IrqData) -> None:
    """Acknowledge; an interrupt that arrives on its new CPU begins the clean-up of its move."""
    irq_complete_move(v, irqd)
    apic_ack_irq(v, irqd)


def irq_complete_move(v: VectorSpace, irqd: IrqData) -> None:
    """Begin the clean-up if the interrupt arrived on its new CPU.

    Comparing CPUs is enough: an interrupt never moves between two vectors of one CPU (VEC-21).
    """
    apicd = vector_level(irqd)
    if apicd.move_in_progress and apicd.cpu == v.kernel.this_cpu:
        _send_cleanup_vector(v, apicd)


def send_cleanup_vector(v: VectorSpace, irqd: IrqData) -> None:
    """Begin the clean-up without waiting for an interrupt, for chips that retarget atomically."""
    apicd = vector_level(irqd)
    if apicd.move_in_progress:
        _send_cleanup_vector(v, apicd)


def sysvec_irq_move_cleanup(v: VectorSpace, irr_pending: Collection[int] = ()) -> None:
    """The clean-up IPI on this CPU: free the old vectors that wait here.

    `irr_pending` are the vectors this CPU's local APIC still has to deliver; those stay listed, and
    the CPU sends the IPI to itself again.
    """
    lock_vector_lock(v)
    for irq in tuple(v.cleanup_list[v.kernel.this_cpu]):
        apicd = _listed(v, irq)
        if apicd.prev_vector not in irr_pending:
            _free_moved_vector(v, apicd)
    unlock_vector_lock(v)


def irq_force_complete_move(v: VectorSpace, desc: IrqDesc) -> None:
    """Free the old vector at once, as the outgoing CPU cannot wait for an interrupt.

    Repaired (H1) it minds only moves that involve this CPU; v5.10 does not look.
    """
    irqd = irq_domain_get_irq_data(v.x86_vector_domain.domains, v.x86_vector_domain, desc.irq)
    if irqd is None:
        return
    lock_vector_lock(v)
    apicd = apic_chip_data(irqd)
    if apicd is not None and apicd.prev_vector:
        involved = v.kernel.this_cpu in (apicd.cpu, apicd.prev_cpu)
        if involved or Defect.H1 in v.kernel.defects:
            _free_moved_vector(v, apicd)
    unlock_vector_lock(v)


def _listed(v: VectorSpace, irq: int) -> ApicChipData:
    """The interrupt of a list entry; a stale entry (H4) is a use after free."""
    desc = v.irqs.irq_to_desc(irq)
    apicd = apic_chip_data(desc.irq_data) if desc is not None else None
    if apicd is None:
        raise KernelBug(f"the clean-up list holds irq {irq}, which has no vector level")
    return apicd


def _send_cleanup_vector(v: VectorSpace, apicd: ApicChipData) -> None:
    lock_vector_lock(v)
    apicd.move_in_progress = False
    cpu = apicd.prev_cpu
    if v.kernel.cpu_online(cpu):
        v.cleanup_list[cpu].insert(0, apicd.irq)
        apicd.clist = cpu
        v.trace("send_cleanup_vector", irq=apicd.irq, cpu=cpu)
    elif Defect.H1 in v.kernel.defects:
        forgotten = apicd.prev_vector
        apicd.prev_vector = 0
        v.trace("cleanup_forgotten", irq=apicd.irq, cpu=cpu, vector=forgotten)
    else:
        _free_moved_vector(v, apicd)
    unlock_vector_lock(v)


def _free_moved_vector(v: VectorSpace, apicd: ApicChipData) -> None:
    cpu, vector = apicd.prev_cpu, apicd.prev_vector
    managed = apicd.is_managed
    v.trace("vector_free_moved", irq=apicd.irq, cpu=cpu, vector=vector, is_managed=int(managed))
    irq_matrix_free(v.matrix, cpu, vector, managed)
    v.vector_irq[cpu][vector] = VECTOR_UNUSED
    clist_del_init(v, apicd)
    apicd.prev_vector = 0
    apicd.move_in_progress = False
