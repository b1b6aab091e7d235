# SPDX-License-Identifier: GPL-2.0-only
"""The operations of AMD-Vi interrupt remapping, and what holds of a few steps.

Explorers know requesters with one alias or none, and blocks of two interrupts.
"""

from __future__ import annotations

from spec.alike import alike
from spec.amd_ir import (
    DEVID,
    TABLE,
    all_back,
    all_given,
    amd_ir,
    attached,
    bound,
    home,
    is_pin,
)
from spec.amd_ir_actions import (
    alloc_irq_index,
    alloc_irq_table,
    amd_iommu_update_ga,
    free_irte,
    irq_remapping_alloc_data,
    irq_remapping_alloc_oops,
    irq_remapping_free_data,
    irq_remapping_prepare_irte,
    modify_irte,
    set_min_index,
    set_remap_table_entry,
    vector_config,
    vector_config_shutdown,
    vector_setup,
    vector_teardown,
)
from spec.matrix import CPU, VECTOR
from spec.remap_blocks import COUNT, SLOT
from spec.sorts import IRQ
from spec.state import State
from spec.terms import FALSE, TRUE, Term, and_, none

amd_ir.operation(table=TABLE)(set_min_index)
amd_ir.operation(devid=DEVID, index=SLOT, dest=CPU)(amd_iommu_update_ga)


# --- tables ---------------------------------------------------------------------------------


@amd_ir.operation(devid=DEVID, table=TABLE)
def new_table(s: State, devid: Term, table: Term) -> None:
    """A requester without aliases gets a table."""
    alloc_irq_table(s, devid, table)
    set_remap_table_entry(s, devid, table)
    s.require(bound(s, devid, table))


@amd_ir.operation(devid=DEVID, alias=DEVID, table=TABLE)
def new_shared_table(s: State, devid: Term, alias: Term, table: Term) -> None:
    """One with an alias does."""
    alloc_irq_table(s, devid, table)
    set_remap_table_entry(s, devid, table)
    s.require(~bound(s, devid, table))
    set_remap_table_entry(s, alias, table)
    s.require(bound(s, devid, table))


@amd_ir.operation(devid=DEVID, table=TABLE)
def found_table(s: State, devid: Term, table: Term) -> None:
    """One whose alias has a table already shares it."""
    set_remap_table_entry(s, devid, table)
    s.require(bound(s, devid, table))


# --- allocation and release -----------------------------------------------------------------


def _prepare(s: State, irq: Term, devid: Term, index: Term) -> None:
    irq_remapping_alloc_data(s, irq)
    irq_remapping_prepare_irte(s, irq, devid, index, s.cfg_vector[irq], s.cfg_cpu[irq])


@amd_ir.operation(irq=IRQ, devid=DEVID, index=SLOT)
def alloc(s: State, irq: Term, devid: Term, index: Term) -> None:
    """One interrupt: of an HPET, of MSI-X, or the only one of MSI."""
    s.require(~is_pin(s, irq))
    vector_setup(s, irq, FALSE)
    alloc_irq_index(s, devid, s.table_of[devid], index, s.one)
    _prepare(s, irq, devid, index)
    s.require(all_given(s, s.table_of[devid], index, s.one))


@amd_ir.operation(irq=IRQ, second=IRQ, devid=DEVID, index=SLOT, count=COUNT)
def alloc_two(s: State, irq: Term, second: Term, devid: Term, index: Term, count: Term) -> None:
    """Two interrupts of a device with multi-MSI."""
    s.require(~is_pin(s, irq), ~is_pin(s, second))
    vector_setup(s, irq, FALSE)
    vector_setup(s, second, FALSE)
    table = s.table_of[devid]
    alloc_irq_index(s, devid, table, index, count)
    _prepare(s, irq, devid, index)
    s.require(~all_given(s, table, index, count))
    _prepare(s, second, devid, s.plus[index, s.after[irq, second]])
    s.require(all_given(s, table, index, count))


@amd_ir.operation(irq=IRQ, devid=DEVID)
def alloc_pin(s: State, irq: Term, devid: Term) -> None:
    """The interrupt of a pin."""
    s.require(is_pin(s, irq), s.hand_table == none(TABLE))
    vector_setup(s, irq, FALSE)
    _prepare(s, irq, devid, s.pin[irq])


@amd_ir.operation(irq=IRQ)
def free(s: State, irq: Term) -> None:
    """An interrupt is freed, by itself or in a row with others."""
    s.require(attached(s, irq), s.hand_table == none(TABLE))
    free_irte(s, s.devid[irq], home(s, irq), s.irte_index[irq])
    irq_remapping_free_data(s, irq, TRUE)
    vector_teardown(s, irq)


@amd_ir.operation(irq=IRQ, devid=DEVID, index=SLOT)
def alloc_fails(s: State, irq: Term, devid: Term, index: Term) -> None:
    """An interrupt that has no level: -EINVAL, and the entry is free again."""
    s.require(~s.level[irq], s.user[s.table_of[devid], index] == none(IRQ))
    vector_setup(s, irq, FALSE)
    alloc_irq_index(s, devid, s.table_of[devid], index, s.one)
    free_irte(s, devid, s.table_of[devid], index)
    s.require(all_back(s, s.table_of[devid], index, s.one))
    vector_teardown(s, irq)


@amd_ir.operation(irq=IRQ, devid=DEVID, index=SLOT, last=SLOT, count=COUNT)
def alloc_two_fails(s: State, irq: Term, devid: Term, index: Term, last: Term, count: Term) -> None:
    """There is no memory for the second interrupt: all is given back, but under AMD-copy the copy
    of the first one's entry."""
    table = s.table_of[devid]
    s.require(~is_pin(s, irq), ~(last == index), s.user[table, last] == none(IRQ))
    vector_setup(s, irq, FALSE)
    alloc_irq_index(s, devid, table, index, count)
    _prepare(s, irq, devid, index)
    s.require(~all_given(s, table, index, count))
    irq_remapping_free_data(s, irq, FALSE if s.on("AMD-copy") else TRUE)
    free_irte(s, devid, table, index)
    s.require(~all_back(s, table, index, count))
    free_irte(s, devid, table, last)
    s.require(all_back(s, table, index, count))
    vector_teardown(s, irq)


@amd_ir.operation(only_with="AMD-01", irq=IRQ)
def alloc_oops(s: State, irq: Term) -> None:
    """What V2 #01 repairs."""
    vector_setup(s, irq, FALSE)
    irq_remapping_alloc_oops(s, irq)


# --- life -----------------------------------------------------------------------------------


def _store(s: State, irq: Term, valid: Term, vector: Term, cpu: Term, guest: Term) -> None:
    s.require(s.user[home(s, irq), s.irte_index[irq]] == irq)
    modify_irte(s, s.devid[irq], home(s, irq), s.irte_index[irq], valid, vector, cpu, guest)


@amd_ir.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def activate(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The irq gets a vector; its entry is stored with the target of before, then of now."""
    s.require(attached(s, irq), ~s.entry_guest[irq])
    vector_config(s, irq, vector, cpu)
    _store(s, irq, TRUE, s.entry_vector[irq], s.entry_cpu[irq], FALSE)
    _store(s, irq, TRUE, s.cfg_vector[irq], s.cfg_cpu[irq], FALSE)


@amd_ir.operation(irq=IRQ)
def deactivate(s: State, irq: Term) -> None:
    """The entry may not be used any more; the rest of it stays."""
    s.require(s.entry_live[irq])
    _store(s, irq, FALSE, s.entry_vector[irq], s.entry_cpu[irq], s.entry_guest[irq])
    vector_config_shutdown(s, irq)


@amd_ir.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def move(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """amd_ir_set_affinity of an active irq."""
    s.require(s.entry_live[irq], ~s.entry_guest[irq])
    vector_config(s, irq, vector, cpu)
    _store(s, irq, TRUE, vector, cpu, FALSE)


@amd_ir.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def move_guest(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The same of one that is a guest's: the table stays."""
    s.require(s.entry_live[irq], s.entry_guest[irq])
    vector_config(s, irq, vector, cpu)


@amd_ir.operation(irq=IRQ, vector=VECTOR)
def amd_iommu_activate_guest_mode(s: State, irq: Term, vector: Term) -> None:
    """A virtual CPU gets the interrupt at its own vector."""
    s.require(~s.entry_guest[irq])
    _store(s, irq, s.entry_valid[irq], vector, none(CPU), TRUE)


@amd_ir.operation(irq=IRQ)
def amd_iommu_deactivate_guest_mode(s: State, irq: Term) -> None:
    """The kernel has it back."""
    s.require(s.entry_guest[s.user[home(s, irq), s.irte_index[irq]]])
    _store(s, irq, s.entry_valid[irq], s.cfg_vector[irq], s.cfg_cpu[irq], FALSE)


# --- theorems -------------------------------------------------------------------------------


def _same(before: State, after: State) -> Term:
    return alike(before, after, (f for f in amd_ir.fields.values() if not f.rigid))


@amd_ir.theorem(
    "AMD-10",
    "An allocation whose first interrupt cannot be set up leaves the entry as it was.",
    devid=DEVID, index=SLOT,
)  # fmt: skip
def first_fails(before: State, s: State, devid: Term, index: Term) -> Term:
    alloc_irq_index(s, devid, s.table_of[devid], index, s.one)
    free_irte(s, devid, s.table_of[devid], index)
    return _same(before, s)


@amd_ir.theorem(
    "AMD-10",
    "An allocation that fails behind its first interrupt leaves everything as it was.",
    irq=IRQ, devid=DEVID, index=SLOT, last=SLOT, count=COUNT,
)  # fmt: skip
def second_fails(
    before: State, s: State, irq: Term, devid: Term, index: Term, last: Term, count: Term
) -> Term:
    table = s.table_of[devid]
    s.require(~is_pin(s, irq))
    alloc_irq_index(s, devid, table, index, count)
    _prepare(s, irq, devid, index)
    s.require(~(s.hand_table == none(TABLE)))
    irq_remapping_free_data(s, irq, TRUE)
    free_irte(s, devid, table, index)
    free_irte(s, devid, table, last)
    s.require(s.hand_table == none(TABLE))
    return _same(before, s)


@amd_ir.theorem("AMD-4", "An interrupt that is allocated and freed leaves nothing behind.",
    irq=IRQ, devid=DEVID, index=SLOT,
)  # fmt: skip
def freed(before: State, s: State, irq: Term, devid: Term, index: Term) -> Term:
    table = s.table_of[devid]
    s.require(~is_pin(s, irq))
    alloc_irq_index(s, devid, table, index, s.one)
    _prepare(s, irq, devid, index)
    s.require(s.hand_table == none(TABLE))
    free_irte(s, devid, table, index)
    irq_remapping_free_data(s, irq, TRUE)
    return _same(before, s)


@amd_ir.theorem(
    "AMD-9",
    "Between the two stores of an activation the entry is valid with the target of before.",
    irq=IRQ, vector=VECTOR, cpu=CPU,
)  # fmt: skip
def window(before: State, s: State, irq: Term, vector: Term, cpu: Term) -> Term:
    s.require(attached(s, irq), ~s.entry_live[irq], ~s.entry_guest[irq])
    table, slot = home(s, irq), s.irte_index[irq]
    vector_config(s, irq, vector, cpu)
    _store(s, irq, TRUE, s.entry_vector[irq], s.entry_cpu[irq], FALSE)
    open_early = and_(
        s.hw_valid[table, slot],
        s.hw_vector[table, slot] == before.entry_vector[irq],
        s.hw_cpu[table, slot] == before.entry_cpu[irq],
    )
    _store(s, irq, TRUE, vector, cpu, FALSE)
    return and_(open_early, s.hw_vector[table, slot] == vector, s.hw_cpu[table, slot] == cpu)


@amd_ir.theorem(
    "AMD-9", "A deactivated interrupt's entry still reads as taken, and may not be used.", irq=IRQ
)
def still_taken(before: State, s: State, irq: Term) -> Term:
    table, slot = home(s, irq), s.irte_index[irq]
    _store(s, irq, FALSE, s.entry_vector[irq], s.entry_cpu[irq], s.entry_guest[irq])
    return s.marked[table, slot] & ~s.hw_valid[table, slot]


@amd_ir.theorem(
    "AMD-9",
    "A move of a guest's interrupt leaves the table; its end installs the new target.",
    irq=IRQ, vector=VECTOR, cpu=CPU,
)  # fmt: skip
def end_of_guest_mode(before: State, s: State, irq: Term, vector: Term, cpu: Term) -> Term:
    s.require(s.entry_live[irq], s.entry_guest[irq])
    table, slot = home(s, irq), s.irte_index[irq]
    vector_config(s, irq, vector, cpu)
    kept = s.hw_vector[table, slot] == before.hw_vector[table, slot]
    _store(s, irq, s.entry_valid[irq], vector, cpu, FALSE)
    return and_(
        kept,
        s.hw_valid[table, slot] & ~s.hw_guest[table, slot],
        (s.hw_vector[table, slot] == vector) & (s.hw_cpu[table, slot] == cpu),
    )
