# SPDX-License-Identifier: GPL-2.0-only
"""VT-d interrupt remapping (drivers/iommu/intel/irq_remapping.c, v5.10): its state and its laws.

A unit has a table; an interrupt owns an entry of it, and its message names that entry for life. An
allocation takes a block: a power of two of entries, at a multiple of their number. Nothing is in
the table before an interrupt is activated; a move rewrites the entry alone. The actions are in
`spec.intel_ir_actions`.

What the layer needs of the vector domain is here under the names that it has there.

Two locks show. The mutex of irqdomain covers an allocation and a release as a whole: `phase` is
where the one under way is. irq_2_ir_lock covers a store into the table together with the request
to drop it from the hardware's cache: `flush_unit` and what follows is the request that is due.
"""

from __future__ import annotations

from spec.devices import UNIT
from spec.language import Layer
from spec.matrix import CPU, VECTOR
from spec.remap_blocks import (
    COUNT,
    HANDLE,
    KIND,
    OPTION_HANDLE,
    SLOT,
    declare_blocks,
    inside,
)
from spec.sorts import IRQ
from spec.state import State
from spec.terms import Enum, Option, Sort, Term, and_, forall, implies, ite, none

MASK = Sort("Mask")
"""Binary logarithms of the sizes of blocks."""

PHASE = Enum(
    "Phase",
    (
        "REST",
        "FORMING",  # a block is taken, and not all of its interrupts are there
        "OWED",  # its first interrupt is gone, its entries are still taken
        "LEAVING",  # its entries are free, the other interrupts are still there
    ),
)

DUE = Enum(
    "Due",
    (
        "NOTHING",
        "REMAPPED",  # the interrupt's own entry is to be stored
        "POSTED",  # that of a virtual CPU
        "CLEARED",  # an entry that nobody may use
    ),
)

intel_ir = Layer("intel_ir", (IRQ, CPU, VECTOR, UNIT, SLOT, HANDLE, COUNT, MASK))

_OPTION_CPU, _OPTION_VECTOR = Option(CPU), Option(VECTOR)

declare_blocks(intel_ir)
intel_ir.field("order", COUNT, type=Option(MASK), rigid=True, doc="log2 of a count, rounded up")
intel_ir.field("within", MASK, HANDLE, rigid=True, doc="a place in a block of this size")
intel_ir.field("single", type=Option(MASK), rigid=True, doc="the size of one entry")
intel_ir.field("multiple", SLOT, MASK, rigid=True, doc="a block of this size may start there")
intel_ir.field("fits", UNIT, MASK, rigid=True, doc="the unit can drop such a block from its cache")
intel_ir.field("kind", IRQ, type=KIND, rigid=True, doc="what the irq is for")
intel_ir.field("level", IRQ, rigid=True, doc="the irq has a level in the unit's domain")
intel_ir.field("sid_found", IRQ, rigid=True, doc="the id of its requester is known")
intel_ir.field("nosid", rigid=True, doc="disable_sourceid_checking")
intel_ir.field("eim", rigid=True, doc="eim_mode: destinations of 32 bits")
intel_ir.field("narrow", CPU, rigid=True, doc="its APIC id is below 256")
intel_ir.field("old", UNIT, SLOT, rigid=True, doc="a crashed kernel left a present entry there")

intel_ir.field("present", IRQ, doc="the irq has apic_chip_data: it is in the VECTOR domain")
intel_ir.field("cfg_vector", IRQ, type=_OPTION_VECTOR, doc="hw_irq_cfg.vector, if a real one")
intel_ir.field("cfg_cpu", IRQ, type=_OPTION_CPU, doc="the CPU of hw_irq_cfg.dest_apicid, likewise")

intel_ir.field("has_table", UNIT, doc="ir_table")
intel_ir.field("bitmap", UNIT, SLOT, doc="the entry is taken")
intel_ir.field("taken_over", UNIT, SLOT, doc="it is a crashed kernel's")
intel_ir.field("leaked", UNIT, SLOT, doc="it was taken by an allocation that failed")
intel_ir.field("block_mask", UNIT, SLOT, type=Option(MASK), doc="the block that starts there")
intel_ir.field("block_count", UNIT, SLOT, type=Option(COUNT), doc="for how many it was taken")
intel_ir.field("holder", UNIT, SLOT, type=Option(SLOT), doc="where the block of an entry starts")
intel_ir.field("user", UNIT, SLOT, type=Option(IRQ), doc="the irq that the entry is for")
intel_ir.field("hw_present", UNIT, SLOT, doc="the table's entry may be used")
intel_ir.field("hw_posted", UNIT, SLOT, doc="it has the posted format")
intel_ir.field("hw_vector", UNIT, SLOT, type=_OPTION_VECTOR, doc="its vector, if a real one")
intel_ir.field("hw_cpu", UNIT, SLOT, type=_OPTION_CPU, doc="its destination, if it has one")
intel_ir.field("hw_svt", UNIT, SLOT, doc="only some requesters may use it")

intel_ir.field("iommu", IRQ, type=Option(UNIT), doc="irq_2_iommu.iommu")
intel_ir.field("irte_index", IRQ, type=Option(SLOT), doc="irq_2_iommu.irte_index")
intel_ir.field("sub_handle", IRQ, type=OPTION_HANDLE, doc="irq_2_iommu.sub_handle")
intel_ir.field("irte_mask", IRQ, type=Option(MASK), doc="irq_2_iommu.irte_mask")
intel_ir.field("posting", IRQ, doc="irq_2_iommu.mode is IRQ_POSTING")
intel_ir.field("msg_index", IRQ, type=Option(SLOT), doc="the entry that msi_entry's address names")
intel_ir.field("msg_handle", IRQ, type=OPTION_HANDLE, doc="msi_entry's data word")
intel_ir.field("entry_vector", IRQ, type=_OPTION_VECTOR, doc="irte_entry.vector, if a real one")
intel_ir.field("entry_cpu", IRQ, type=_OPTION_CPU, doc="irte_entry.dest_id, likewise")
intel_ir.field("entry_svt", IRQ, doc="irte_entry.svt is not 0")
intel_ir.field("entry_live", IRQ, doc="the unit's domain has activated the irq")
intel_ir.field("guest_vector", IRQ, type=_OPTION_VECTOR, doc="the vector at the virtual CPU")
intel_ir.field("oops", doc="a level that is missing was looked into")
intel_ir.field("bug", doc="an entry was to be made for an unknown kind of requester")

intel_ir.field("phase", type=PHASE, transient=True, doc="of the block that is worked on")
intel_ir.field("busy_unit", type=Option(UNIT), transient=True, doc="its unit")
intel_ir.field("busy_index", type=Option(SLOT), transient=True, doc="where it starts")
intel_ir.field("due", UNIT, SLOT, type=DUE, transient=True, doc="what is to be stored there")
intel_ir.field("entry_stale", IRQ, transient=True, doc="the configuration has changed since")
intel_ir.field("flush_unit", type=Option(UNIT), transient=True, doc="whose cache is to drop")
intel_ir.field("flush_index", type=Option(SLOT), transient=True, doc="the first entry to drop")
intel_ir.field("flush_mask", type=Option(MASK), transient=True, doc="how many it is to drop")


@intel_ir.axiom
def regions(s: State) -> Term:
    """A block has room for what it was taken for, and does not end behind the table."""
    return and_(
        forall(COUNT, HANDLE, lambda n, h: implies(s.below[n, h], s.within[s.order[n], h])),
        forall(HANDLE, lambda h: s.within[s.single, h] == (s.zero == h)),
        forall(SLOT, lambda x: s.multiple[x, s.single]),
        forall(
            SLOT,
            MASK,
            HANDLE,
            lambda x, m, h: implies(
                s.multiple[x, m] & s.within[m, h], ~(s.plus[x, h] == none(SLOT))
            ),
        ),
        ~(s.single == none(MASK)),
        forall(COUNT, lambda n: ~(s.order[n] == none(MASK))),
        s.order[s.one] == s.single,
    )


# --- words for the formulas -----------------------------------------------------------------


def slot_of(s: State, i: Term) -> Term:
    """The irq's own entry."""
    return s.plus[s.irte_index[i], s.sub_handle[i]]


def attached(s: State, i: Term) -> Term:
    """The irq has a unit."""
    return ~(s.iommu[i] == none(UNIT))


def covered(s: State, index: Term, mask: Term, slot: Term) -> Term:
    """The entry is in the block."""
    return s.within[mask, s.ahead[index, slot]]


def busy(s: State, unit: Term, index: Term) -> Term:
    """The block is being allocated or released."""
    return and_(~(s.phase == PHASE.REST), s.busy_unit == unit, s.busy_index == index)


def busy_irq(s: State, i: Term) -> Term:
    """So is the block of the irq."""
    return busy(s, s.iommu[i], s.irte_index[i])


def leaving(s: State, i: Term) -> Term:
    """The entries of the irq's block are free already."""
    return (s.phase == PHASE.LEAVING) & busy_irq(s, i)


def in_block(s: State, i: Term, unit: Term, index: Term) -> Term:
    """The irq belongs to the block."""
    return (s.iommu[i] == unit) & (s.irte_index[i] == index)


def nobody(s: State, unit: Term, index: Term) -> Term:
    """No irq belongs to the block."""
    return forall(IRQ, lambda i: ~in_block(s, i, unit, index))


def due_to(s: State, i: Term) -> Term:
    """What is to be stored into the table for the irq."""
    return s.due[s.iommu[i], slot_of(s, i)]


def settled(s: State, i: Term) -> Term:
    """The table says of the irq what it is to say."""
    return due_to(s, i) == DUE.NOTHING


def checked(s: State, i: Term) -> Term:
    """An entry for the irq names who may use it."""
    return s.sid_found[i] & ~s.nosid


def empty(s: State, unit: Term, slot: Term) -> Term:
    """The table's entry is all zero."""
    return and_(
        ~s.hw_present[unit, slot],
        ~s.hw_posted[unit, slot],
        ~s.hw_svt[unit, slot],
        s.hw_vector[unit, slot] == none(VECTOR),
        s.hw_cpu[unit, slot] == none(CPU),
    )


def prepared(s: State, i: Term) -> Term:
    """The irq's entry aims where its configuration points."""
    return (s.entry_vector[i] == s.cfg_vector[i]) & (s.entry_cpu[i] == s.cfg_cpu[i])


def flushed(s: State) -> Term:
    """irq_2_ir_lock is free."""
    return s.flush_unit == none(UNIT)


def wide(s: State, cpu: Term) -> Term:
    """The destinations of the units have no room for the CPU's APIC id."""
    return and_(~s.eim, ~(cpu == none(CPU)), ~s.narrow[cpu])


def several(s: State, unit: Term, index: Term) -> Term:
    """The block was taken for more than one interrupt."""
    count = s.block_count[unit, index]
    return ~(count == none(COUNT)) & ~(count == s.one)


def member(s: State, unit: Term, index: Term, handle: Term) -> Term:
    """The irq at a place of a block."""
    return s.user[unit, s.plus[index, handle]]


def asked_for(s: State, unit: Term, index: Term, slot: Term) -> Term:
    """The entry is one of those for which the block was taken; the others are only rounded to."""
    return inside(s, index, s.block_count[unit, index], slot)


def complete(s: State, unit: Term, index: Term) -> Term:
    """Every interrupt of the block is there."""
    return forall(
        SLOT,
        lambda x: implies(asked_for(s, unit, index, x), ~(s.user[unit, x] == none(IRQ))),
    )


def apart(s: State, i: Term, base: Term) -> Term:
    """The irq's place in the block is its distance from the block's first irq."""
    there = ~(base == none(IRQ))
    return implies(there, s.after[base, i] == s.sub_handle[i])


def kept(s: State, i: Term) -> Term:
    """What the table has for an irq that is active and remapped is the irq's own entry."""
    u, x = s.iommu[i], slot_of(s, i)
    return and_(
        s.hw_present[u, x],
        s.hw_vector[u, x] == s.entry_vector[i],
        s.hw_cpu[u, x] == s.entry_cpu[i],
        s.hw_svt[u, x] == s.entry_svt[i],
    )


def named(s: State, i: Term) -> Term:
    """The irq's message names its entry; a pin has a route entry in the place of a message."""
    pin = s.kind[i] == KIND.IOAPIC
    return and_(
        s.msg_index[i] == ite(pin, none(SLOT), s.irte_index[i]),
        s.msg_handle[i] == ite(pin, none(HANDLE), s.sub_handle[i]),
    )
