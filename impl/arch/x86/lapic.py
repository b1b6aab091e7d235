# SPDX-License-Identifier: GPL-2.0-only
"""The vector space at boot and when a CPU comes or goes (arch/x86/kernel/apic/vector.c, v5.10)."""

import errno
from collections.abc import Iterable

from impl.arch.x86.irq_vectors import PIC_CASCADE_IR, VECTOR_UNUSED
from impl.arch.x86.vector import VectorSpace, lock_vector_lock, unlock_vector_lock
from impl.kernel.irq.matrix import (
    irq_matrix_allocated,
    irq_matrix_assign,
    irq_matrix_assign_system,
    irq_matrix_available,
    irq_matrix_offline,
    irq_matrix_online,
)

__all__ = [
    "lapic_assign_legacy_vector",
    "lapic_assign_system_vectors",
    "lapic_can_unplug_cpu",
    "lapic_offline",
    "lapic_online",
]


def lapic_assign_legacy_vector(v: VectorSpace, irq: int, replace: bool) -> None:
    """Make a legacy irq's vector a system vector; `replace` if CPU 0 has it allocated."""
    irq_matrix_assign_system(v.matrix, v.geometry.isa_irq_vector(irq), replace)


def lapic_assign_system_vectors(v: VectorSpace, system_vectors: Iterable[int]) -> None:
    """Take the system's vectors out, bring the boot CPU's row up, mark the legacy vectors."""
    for vector in system_vectors:
        irq_matrix_assign_system(v.matrix, vector, False)
    if v.nr_legacy_irqs > 1:
        lapic_assign_legacy_vector(v, PIC_CASCADE_IR, False)
    irq_matrix_online(v.matrix)
    for irq in range(v.nr_legacy_irqs):
        if irq != PIC_CASCADE_IR:
            irq_matrix_assign(v.matrix, v.geometry.isa_irq_vector(irq))


def lapic_online(v: VectorSpace) -> None:
    """Bring this CPU's row up and empty its table, under vector_lock.

    Interrupts never target an offline CPU, so nothing in the table can be of use, except for the
    PIC's interrupts, which hardware may deliver to any CPU.
    """
    irq_matrix_online(v.matrix)
    cpu = v.kernel.this_cpu
    table = [VECTOR_UNUSED] * v.geometry.matrix_bits
    for irq in range(v.nr_legacy_irqs):
        if not v.io_apic_irqs >> irq & 1 and v.irqs.irq_to_desc(irq) is not None:
            table[v.geometry.isa_irq_vector(irq)] = irq
    v.vector_irq[cpu] = table
    v.trace("lapic_online", cpu=cpu)


def lapic_offline(v: VectorSpace) -> None:
    """Take this CPU's row down."""
    lock_vector_lock(v)
    irq_matrix_offline(v.matrix)
    unlock_vector_lock(v)


def lapic_can_unplug_cpu(v: VectorSpace) -> int:
    """Whether the other CPUs have room for all of this one's vectors: 0 or -ENOSPC.

    A global sum: it says nothing about the CPUs an interrupt may use (H8), and it counts managed
    vectors that will not move.
    """
    lock_vector_lock(v)
    tomove = irq_matrix_allocated(v.matrix)
    avl = irq_matrix_available(v.matrix, True)
    unlock_vector_lock(v)
    return -errno.ENOSPC if avl < tomove else 0
