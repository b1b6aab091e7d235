# SPDX-License-Identifier: GPL-2.0-only
"""The operations of VT-d interrupt remapping: what a lock makes atomic.

Explorers allocate blocks of up to three interrupts; an allocation that fails, and is taken back, is
an operation that changes nothing.
"""

from __future__ import annotations

from spec.devices import UNIT
from spec.intel_ir import DUE, PHASE, attached, checked, due_to, intel_ir, nobody, slot_of
from spec.intel_ir_actions import (
    OPTION_VECTOR,
    intel_free_irq_resources,
    intel_ir_reconfigure_irte,
    intel_ir_set_vcpu_affinity,
    intel_irq_remapping_alloc_bug,
    intel_irq_remapping_alloc_leaks,
    intel_irq_remapping_alloc_oops,
    intel_irq_remapping_deactivate,
    intel_irq_remapping_prepare_irte,
    intel_setup_irq_remapping,
    intel_teardown_irq_remapping,
    iommu_load_old_irte,
    irte_alloc,
    irte_free,
    irte_write,
    qi_flush_iec,
    vector_config,
    vector_config_shutdown,
    vector_setup,
    vector_teardown,
)
from spec.matrix import CPU, VECTOR
from spec.remap_blocks import COUNT, HANDLE, KIND, SLOT
from spec.sorts import IRQ
from spec.state import State
from spec.terms import FALSE, TRUE, Term, exists, ite, none

intel_ir.operation(unit=UNIT)(intel_setup_irq_remapping)
intel_ir.operation(unit=UNIT)(intel_teardown_irq_remapping)


@intel_ir.operation(unit=UNIT)
def follow_a_crash(s: State, unit: Term) -> None:
    """The unit has a table with what a crashed kernel left in its own."""
    s.require(exists(SLOT, lambda x: s.old[unit, x]))
    iommu_load_old_irte(s, unit)
    intel_setup_irq_remapping(s, unit)


# --- steps that operations have in common ---------------------------------------------------


def prepare(s: State, unit: Term, irq: Term, index: Term, sub_handle: Term) -> None:
    """The irq joins the block as its configuration and its requester want."""
    pin = s.kind[irq] == KIND.IOAPIC
    intel_irq_remapping_prepare_irte(
        s,
        unit,
        irq,
        index,
        sub_handle,
        s.cfg_vector[irq],
        s.cfg_cpu[irq],
        checked(s, irq),
        ite(pin, none(SLOT), index),
        ite(pin, none(HANDLE), sub_handle),
    )


def store(s: State, irq: Term) -> None:
    """modify_irte: what is due to the irq's entry is stored."""
    unit, index = s.iommu[irq], slot_of(s, irq)
    clear, guest = due_to(s, irq) == DUE.CLEARED, due_to(s, irq) == DUE.POSTED
    target = ite(guest, s.guest_vector[irq], ite(clear, none(VECTOR), s.entry_vector[irq]))
    dest = ite(clear | guest, none(CPU), s.entry_cpu[irq])
    irte_write(s, unit, index, ~clear, guest, target, dest, ~clear & s.entry_svt[irq])
    qi_flush_iec(s, unit, index, s.single)


def aim(s: State, irq: Term, written: Term) -> None:
    """intel_ir_reconfigure_irte up to the store."""
    intel_ir_reconfigure_irte(
        s, s.iommu[irq], irq, slot_of(s, irq), s.cfg_vector[irq], s.cfg_cpu[irq], written
    )


def release(s: State, irq: Term, *, only: bool) -> None:
    """The first irq of a block goes, and the block; it is the only one, or others follow."""
    unit, index, mask = s.iommu[irq], s.irte_index[irq], s.irte_mask[irq]
    s.require(s.zero == s.sub_handle[irq])
    intel_free_irq_resources(s, unit, irq, index, s.sub_handle[irq])
    irte_free(s, unit, index, mask)
    qi_flush_iec(s, unit, index, mask)
    alone = nobody(s, unit, index)
    s.require(alone if only else ~alone)


def follow(s: State, irq: Term, *, last: bool) -> None:
    """A further irq of the block goes."""
    unit, index = s.iommu[irq], s.irte_index[irq]
    s.require(~(s.zero == s.sub_handle[irq]))
    intel_free_irq_resources(s, unit, irq, index, s.sub_handle[irq])
    gone = nobody(s, unit, index)
    s.require(gone if last else ~gone)


# --- allocation and release -----------------------------------------------------------------


@intel_ir.operation(irq=IRQ, unit=UNIT, index=SLOT)
def alloc(s: State, irq: Term, unit: Term, index: Term) -> None:
    """One interrupt."""
    _begin(s, irq, unit, index, s.one)
    s.require(s.phase == PHASE.REST)


def _begin(s: State, irq: Term, unit: Term, index: Term, count: Term) -> None:
    """A block, and its first irq."""
    vector_setup(s, irq, FALSE)
    irte_alloc(s, unit, index, s.order[count], count)
    prepare(s, unit, irq, index, s.zero)


def _join(s: State, irq: Term, next: Term, unit: Term, index: Term) -> None:
    """A further irq of the block that begins with `irq`."""
    vector_setup(s, next, FALSE)
    prepare(s, unit, next, index, s.after[irq, next])


@intel_ir.operation(irq=IRQ, second=IRQ, unit=UNIT, index=SLOT, count=COUNT)
def alloc_two(s: State, irq: Term, second: Term, unit: Term, index: Term, count: Term) -> None:
    """Two interrupts of a device with multi-MSI."""
    _begin(s, irq, unit, index, count)
    _join(s, irq, second, unit, index)
    s.require(s.phase == PHASE.REST)


@intel_ir.operation(irq=IRQ, second=IRQ, third=IRQ, unit=UNIT, index=SLOT, count=COUNT)
def alloc_three(
    s: State, irq: Term, second: Term, third: Term, unit: Term, index: Term, count: Term
) -> None:
    """Three of them, which take four entries."""
    _begin(s, irq, unit, index, count)
    _join(s, irq, second, unit, index)
    _join(s, irq, third, unit, index)
    s.require(s.phase == PHASE.REST)


@intel_ir.operation(irq=IRQ)
def free(s: State, irq: Term) -> None:
    """The only interrupt of a block is freed."""
    release(s, irq, only=True)
    vector_teardown(s, irq)


@intel_ir.operation(irq=IRQ, second=IRQ)
def free_two(s: State, irq: Term, second: Term) -> None:
    """Two interrupts are freed in a row."""
    release(s, irq, only=False)
    vector_teardown(s, irq)
    follow(s, second, last=True)
    vector_teardown(s, second)


@intel_ir.operation(irq=IRQ, second=IRQ, third=IRQ)
def free_three(s: State, irq: Term, second: Term, third: Term) -> None:
    """Three interrupts are freed in a row."""
    release(s, irq, only=False)
    vector_teardown(s, irq)
    follow(s, second, last=False)
    vector_teardown(s, second)
    follow(s, third, last=True)
    vector_teardown(s, third)


@intel_ir.operation(irq=IRQ, unit=UNIT, index=SLOT)
def alloc_fails(s: State, irq: Term, unit: Term, index: Term) -> None:
    """The first interrupt has no level: -EINVAL, and all is given back."""
    s.require(~s.level[irq])
    vector_setup(s, irq, FALSE)
    irte_alloc(s, unit, index, s.single, s.one)
    irte_free(s, unit, index, s.single)
    qi_flush_iec(s, unit, index, s.single)
    s.require(nobody(s, unit, index))
    vector_teardown(s, irq)


@intel_ir.operation(irq=IRQ, unit=UNIT, index=SLOT, count=COUNT)
def alloc_block_fails(s: State, irq: Term, unit: Term, index: Term, count: Term) -> None:
    """There is no memory for the second interrupt: the first one takes the block along."""
    s.require(~(count == s.one))
    _begin(s, irq, unit, index, count)
    release(s, irq, only=True)
    vector_teardown(s, irq)


@intel_ir.operation(only_with="INT-10", irq=IRQ, unit=UNIT, index=SLOT)
def alloc_leaks(s: State, irq: Term, unit: Term, index: Term) -> None:
    """The same as v5.10 does it."""
    s.require(~s.level[irq])
    vector_setup(s, irq, FALSE)
    irte_alloc(s, unit, index, s.single, s.one)
    intel_irq_remapping_alloc_leaks(s, unit, index)
    vector_teardown(s, irq)


@intel_ir.operation(only_with="INT-null", irq=IRQ)
def alloc_oops(s: State, irq: Term) -> None:
    """The same before the null test."""
    vector_setup(s, irq, FALSE)
    intel_irq_remapping_alloc_oops(s, irq)


@intel_ir.operation(only_with="INT-type", irq=IRQ)
def alloc_bug(s: State, irq: Term) -> None:
    """A device MSI, say, on a unit of v5.10."""
    vector_setup(s, irq, FALSE)
    intel_irq_remapping_alloc_bug(s, irq)


# --- life -----------------------------------------------------------------------------------


@intel_ir.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def activate(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The irq gets a vector, and its entry goes into the table; again if it was there."""
    s.require(attached(s, irq))
    vector_config(s, irq, vector, cpu)
    aim(s, irq, TRUE)
    store(s, irq)


@intel_ir.operation(irq=IRQ)
def deactivate(s: State, irq: Term) -> None:
    """The table's entry is cleared, then the vector goes."""
    s.require(s.entry_live[irq])
    intel_irq_remapping_deactivate(s, s.iommu[irq], irq)
    store(s, irq)
    vector_config_shutdown(s, irq)


@intel_ir.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def move(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """intel_ir_set_affinity of an irq that is active and remapped."""
    s.require(s.entry_live[irq], ~s.posting[irq])
    vector_config(s, irq, vector, cpu)
    aim(s, irq, TRUE)
    store(s, irq)


@intel_ir.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def move_posted(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The same of one that is posted: the table stays."""
    s.require(s.entry_live[irq], s.posting[irq])
    vector_config(s, irq, vector, cpu)
    aim(s, irq, FALSE)


@intel_ir.operation(irq=IRQ, vector=OPTION_VECTOR)
def set_vcpu_affinity(s: State, irq: Term, vector: Term) -> None:
    """A virtual CPU gets the interrupt at its own vector; none: the kernel has it back."""
    posted = ~(vector == none(VECTOR))
    s.require(attached(s, irq))
    intel_ir_set_vcpu_affinity(s, s.iommu[irq], irq, posted, vector)
    store(s, irq)
