# SPDX-License-Identifier: GPL-2.0-only
"""Interrupt entry and the take-down of a CPU's interrupts (arch/x86/kernel/irq.c, v5.10)."""

from collections.abc import Collection

from impl.arch.x86.irq_vectors import VECTOR_RETRIGGERED, VECTOR_UNUSED
from impl.arch.x86.vector import VectorSpace
from impl.kernel.irq.cpuhotplug import irq_migrate_all_off_this_cpu
from impl.kernel.irq.handle import generic_handle_irq_desc
from impl.kernel.irq.irq import irq_data_get_irq_chip
from impl.kernel.kernel import KernelBug

__all__ = ["common_interrupt", "fixup_irqs"]


def common_interrupt(v: VectorSpace, vector: int) -> bool:
    """Device vector `vector` arrives on this CPU; True if a driver's handler ran.

    A slot marked as shut down or retriggered forgives one interrupt and is unused from then on; on
    an unused slot the interrupt is lost.
    """
    table = v.vector_irq[v.kernel.this_cpu]
    slot = table[vector]
    if slot >= 0:
        desc = v.irqs.irq_to_desc(slot)
        if desc is None:
            raise KernelBug(f"vector {vector} points to irq {slot}, which is gone")
        return generic_handle_irq_desc(desc)
    if slot != VECTOR_UNUSED:
        table[vector] = VECTOR_UNUSED
        v.trace("vector_spurious", cpu=v.kernel.this_cpu, vector=vector)
    return False


def fixup_irqs(v: VectorSpace, irr_pending: Collection[int] = ()) -> None:
    """Move all interrupts off this CPU, which has left the online mask, and empty its table.

    `irr_pending` are the vectors that arrived here meanwhile; each is raised again at its new
    target.
    """
    irq_migrate_all_off_this_cpu(v.irqs)
    cpu = v.kernel.this_cpu
    table = v.vector_irq[cpu]
    # Marks of earlier shut-downs go as well: nobody can tell, as the table is rewritten before the
    # CPU takes interrupts again.
    for vector in range(v.geometry.alloc_start, v.geometry.matrix_bits):
        if vector in irr_pending and _retrigger(v, table[vector]):
            table[vector] = VECTOR_RETRIGGERED
            v.trace("vector_retriggered", cpu=cpu, vector=vector)
        elif table[vector] != VECTOR_RETRIGGERED:
            table[vector] = VECTOR_UNUSED
    v.trace("fixup_irqs", cpu=cpu)


def _retrigger(v: VectorSpace, slot: int) -> bool:
    desc = v.irqs.irq_to_desc(slot)
    if desc is None:
        return False
    chip = irq_data_get_irq_chip(desc.irq_data)
    if chip.irq_retrigger is None:
        return False
    chip.irq_retrigger(desc.irq_data)
    return True
