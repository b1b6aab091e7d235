# SPDX-License-Identifier: GPL-2.0-only
"""What holds of several steps of VT-d interrupt remapping in a row.

An allocation that fails, wherever it does, leaves no field of the layer changed; nor does a block
that is freed again. So the vectors, the bitmap and the table are as they were.
"""

from __future__ import annotations

from spec.alike import alike
from spec.devices import UNIT
from spec.intel_ir import MASK, attached, covered, empty, intel_ir, slot_of
from spec.intel_ir_actions import (
    intel_free_irq_resources,
    intel_ir_set_vcpu_affinity,
    intel_irq_remapping_deactivate,
    irte_alloc,
    irte_free,
    qi_flush_iec,
    vector_config,
    vector_setup,
    vector_teardown,
)
from spec.intel_ir_operations import aim, prepare, store
from spec.matrix import CPU, VECTOR
from spec.remap_blocks import COUNT, SLOT
from spec.sorts import IRQ
from spec.state import State
from spec.terms import FALSE, TRUE, Term, and_, forall, implies, none


def _same(before: State, after: State) -> Term:
    return alike(before, after, (f for f in intel_ir.fields.values() if not f.rigid))


@intel_ir.theorem("INT-10", "An allocation that the parent refuses changes nothing.", irq=IRQ)
def parent_refuses(before: State, s: State, irq: Term) -> Term:
    vector_setup(s, irq, TRUE)
    return _same(before, s)


@intel_ir.theorem("INT-10", "An allocation without memory or room changes nothing.", irq=IRQ)
def no_block(before: State, s: State, irq: Term) -> Term:
    vector_setup(s, irq, FALSE)
    s.require(s.cfg_vector[irq] == none(VECTOR), s.cfg_cpu[irq] == none(CPU))
    vector_teardown(s, irq)
    return _same(before, s)


@intel_ir.theorem(
    "INT-10",
    "An allocation whose first interrupt cannot be set up changes nothing.",
    unit=UNIT, index=SLOT, mask=MASK, count=COUNT,
)  # fmt: skip
def first_fails(before: State, s: State, unit: Term, index: Term, mask: Term, count: Term) -> Term:
    irte_alloc(s, unit, index, mask, count)
    irte_free(s, unit, index, mask)
    qi_flush_iec(s, unit, index, mask)
    return _same(before, s)


@intel_ir.theorem(
    "INT-10",
    "An allocation that fails behind its first interrupt changes nothing.",
    unit=UNIT, irq=IRQ, index=SLOT, mask=MASK, count=COUNT,
)  # fmt: skip
def second_fails(
    before: State, s: State, unit: Term, irq: Term, index: Term, mask: Term, count: Term
) -> Term:
    irte_alloc(s, unit, index, mask, count)
    prepare(s, unit, irq, index, s.zero)
    intel_free_irq_resources(s, unit, irq, index, s.zero)
    irte_free(s, unit, index, mask)
    qi_flush_iec(s, unit, index, mask)
    return _same(before, s)


@intel_ir.theorem(
    "INT-11",
    "Two interrupts that are allocated together and freed one by one leave nothing behind.",
    unit=UNIT, irq=IRQ, second=IRQ, index=SLOT, mask=MASK, count=COUNT,
)  # fmt: skip
def freed_in_a_row(
    before: State,
    s: State,
    unit: Term,
    irq: Term,
    second: Term,
    index: Term,
    mask: Term,
    count: Term,
) -> Term:
    irte_alloc(s, unit, index, mask, count)
    prepare(s, unit, irq, index, s.zero)
    prepare(s, unit, second, index, s.after[irq, second])
    intel_free_irq_resources(s, unit, irq, index, s.zero)
    irte_free(s, unit, index, mask)
    qi_flush_iec(s, unit, index, mask)
    intel_free_irq_resources(s, unit, second, index, s.sub_handle[second])
    return _same(before, s)


@intel_ir.theorem(
    "INT-7", "An allocation stores nothing into the table.",
    unit=UNIT, irq=IRQ, index=SLOT, mask=MASK, count=COUNT,
)  # fmt: skip
def not_stored(
    before: State, s: State, unit: Term, irq: Term, index: Term, mask: Term, count: Term
) -> Term:
    irte_alloc(s, unit, index, mask, count)
    prepare(s, unit, irq, index, s.zero)
    return forall(SLOT, lambda x: implies(covered(s, index, mask, x), empty(s, unit, x)))


@intel_ir.theorem("INT-7", "A deactivation clears the table's entry, posted or not.", irq=IRQ)
def cleared(before: State, s: State, irq: Term) -> Term:
    intel_irq_remapping_deactivate(s, s.iommu[irq], irq)
    store(s, irq)
    return empty(s, s.iommu[irq], slot_of(s, irq)) & ~s.posting[irq]


@intel_ir.theorem(
    "INT-8",
    "A move of a posted interrupt leaves the table; the end of posting installs the new target.",
    irq=IRQ, vector=VECTOR, cpu=CPU,
)  # fmt: skip
def end_of_posting(before: State, s: State, irq: Term, vector: Term, cpu: Term) -> Term:
    s.require(attached(s, irq), s.posting[irq])
    unit, slot = s.iommu[irq], slot_of(s, irq)
    vector_config(s, irq, vector, cpu)
    aim(s, irq, FALSE)
    kept = and_(
        s.hw_posted[unit, slot] & before.hw_posted[unit, slot],
        s.hw_vector[unit, slot] == before.hw_vector[unit, slot],
    )
    intel_ir_set_vcpu_affinity(s, unit, irq, FALSE, none(VECTOR))
    store(s, irq)
    return and_(
        kept,
        ~s.posting[irq] & ~s.hw_posted[unit, slot],
        (s.hw_vector[unit, slot] == vector) & (s.hw_cpu[unit, slot] == cpu),
    )


@intel_ir.theorem("INT-5", "A move leaves the message as it is.", irq=IRQ, vector=VECTOR, cpu=CPU)
def message_stays(before: State, s: State, irq: Term, vector: Term, cpu: Term) -> Term:
    s.require(attached(s, irq), ~s.posting[irq])
    vector_config(s, irq, vector, cpu)
    aim(s, irq, TRUE)
    store(s, irq)
    return and_(
        s.msg_index[irq] == before.msg_index[irq],
        s.msg_handle[irq] == before.msg_handle[irq],
        s.hw_vector[s.iommu[irq], slot_of(s, irq)] == vector,
    )
