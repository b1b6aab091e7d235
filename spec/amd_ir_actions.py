# SPDX-License-Identifier: GPL-2.0-only
"""The actions of AMD-Vi interrupt remapping: one for each event, its fields in their order."""

from __future__ import annotations

from spec.amd_ir import (
    DEVID,
    TABLE,
    TARGET,
    all_back,
    all_given,
    amd_ir,
    attached,
    bound,
    current,
    home,
    idle,
    in_hand,
    is_pin,
)
from spec.matrix import CPU, VECTOR
from spec.remap_blocks import COUNT, HANDLE, KIND, SLOT, inside
from spec.sorts import IRQ
from spec.state import State
from spec.terms import BOOL, Option, Term, and_, exists, forall, implies, ite, none, or_

OPTION_CPU = Option(CPU)
OPTION_VECTOR = Option(VECTOR)

# --- what the vector domain does to an irq --------------------------------------------------


@amd_ir.action(irq=IRQ, failed=BOOL)
def vector_setup(s: State, irq: Term, failed: Term) -> None:
    """The irq is in the vector domain, the parent of every unit's."""
    s.require(~s.present[irq])
    s.present[irq] = ~failed


@amd_ir.action(irq=IRQ)
def vector_teardown(s: State, irq: Term) -> None:
    """The irq leaves the vector domain; the unit's is left before."""
    s.require(s.present[irq], ~s.ir_data[irq])
    s.present[irq] = False
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None


@amd_ir.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The configuration changes: the entry of an active irq is to follow, but for a guest's."""
    s.require(s.present[irq])
    s.cfg_vector[irq] = vector
    s.cfg_cpu[irq] = cpu
    own = s.entry_live[irq] & ~s.entry_guest[irq]
    s.target[home(s, irq), s.irte_index[irq]] = ite(own, TARGET.OWED, TARGET.SETTLED)


@amd_ir.action(irq=IRQ)
def vector_config_shutdown(s: State, irq: Term) -> None:
    """The configuration names no vector of its own any more: the unit's domain is deactivated
    before the vector domain."""
    s.require(~s.entry_live[irq])
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None


# --- tables ---------------------------------------------------------------------------------


@amd_ir.action(devid=DEVID, table=TABLE)
def alloc_irq_table(s: State, devid: Term, table: Term) -> None:
    """A requester gets a new table, as nothing that it shows as has one. v5.10 looks at one alias
    only, the firmware's (AMD-alias)."""
    s.require(s.has_unit[devid], ~s.made[table], s.binding == none(DEVID), idle(s))
    s.require(s.table_of[devid] == none(TABLE))
    if not s.on("AMD-alias"):
        s.require(bound(s, devid, none(TABLE)))
    s.made[table] = True
    s.binding = devid
    s.binding_table = table


@amd_ir.action(devid=DEVID, table=TABLE)
def set_remap_table_entry(s: State, devid: Term, table: Term) -> None:
    """The device table entry of a requester names the table: of one that gets a new table, or an
    alias of it; or of one that finds that an alias has one. It announces 512 entries, once 256
    (AMD-DTE)."""
    starts = s.binding == none(DEVID)
    shared = exists(DEVID, lambda a: s.shows_as[devid, a] & (s.table_of[a] == table))
    begun = (s.table_of[devid] == none(TABLE)) & shared
    s.require(idle(s), s.made[table])
    s.require(ite(starts, begun, (s.binding_table == table) & s.shows_as[s.binding, devid]))
    with s.when(starts):
        s.binding = devid
        s.binding_table = table
    s.table_of[devid] = table
    s.dte_full[devid] = not s.on("AMD-DTE")
    with s.when(bound(s, s.binding, table)):
        s.binding = None
        s.binding_table = None


@amd_ir.action(table=TABLE)
def set_min_index(s: State, table: Term) -> None:
    """The first IO-APIC of a table keeps the entries of pins for itself. Nobody else may have one
    by then: nothing but the order of boot sees to that (AMD-3)."""
    s.require(s.made[table], ~s.reserved[table], s.binding == none(DEVID), idle(s))
    s.assume("AMD-3", forall(SLOT, lambda x: implies(s.low[x], ~s.marked[table, x])))
    s.reserved[table] = True
    with s.each(SLOT, "x", lambda x: s.low[x]) as x:
        s.marked[table, x] = True
        _clear(s, table, x)


def _clear(s: State, table: Term, slot: Term) -> None:
    s.hw_valid[table, slot] = False
    s.hw_guest[table, slot] = False
    s.hw_vector[table, slot] = None
    s.hw_cpu[table, slot] = None


@amd_ir.action(devid=DEVID, table=TABLE, index=SLOT, count=COUNT)
def alloc_irq_index(s: State, devid: Term, table: Term, index: Term, count: Term) -> None:
    """Free entries in a row are marked. The kernel takes the first that fit; any would do. Several
    are multi-MSI's, and start at a multiple of the next power of two."""
    s.require(s.table_of[devid] == table, s.binding == none(DEVID), idle(s))
    s.require(implies(~(count == s.one), s.aligned[index, count]))
    s.require(
        forall(HANDLE, lambda h: implies(s.below[count, h], ~(s.plus[index, h] == none(SLOT))))
    )

    def free(x: Term) -> Term:
        return ~s.marked[table, x] & implies(s.reserved[table], ~s.low[x])

    s.require(forall(SLOT, lambda x: implies(inside(s, index, count, x), free(x))))
    with s.each(SLOT, "x", lambda x: inside(s, index, count, x)) as x:
        s.marked[table, x] = True
    s.hand_table = table
    s.hand_index = index
    s.hand_count = count


# --- interrupts -----------------------------------------------------------------------------


@amd_ir.action(irq=IRQ)
def irq_remapping_alloc_data(s: State, irq: Term) -> None:
    """The irq gets its data, and a copy of its entry to be; it has a level (AMD-11)."""
    s.require(s.present[irq], s.level[irq], ~s.ir_data[irq], s.loose == none(IRQ))
    s.ir_data[irq] = True
    s.entry_copy[irq] = True
    s.loose = irq


@amd_ir.action(irq=IRQ, devid=DEVID, index=SLOT, vector=OPTION_VECTOR, dest=OPTION_CPU)
def irq_remapping_prepare_irte(
    s: State, irq: Term, devid: Term, index: Term, vector: Term, dest: Term
) -> None:
    """The irq gets its entry: the next one in hand, or that of its pin, which nobody else may have
    (AMD-6). Nothing but the mark is in the table."""
    pin = is_pin(s, irq)
    table = s.table_of[devid]
    base = s.user[table, s.hand_index]
    first = s.hand_index == index
    s.require(s.loose == irq, ~(s.kind[irq] == KIND.OTHER), current(s, irq, vector, dest))
    s.require(~(table == none(TABLE)))
    s.require(ite(pin, s.hand_table == none(TABLE), in_hand(s, table, index)))
    s.require(implies(pin, and_(s.pin[irq] == index, s.reserved[table])))
    s.require(implies(~pin, s.marked[table, index] & (s.user[table, index] == none(IRQ))))
    s.require(implies(~pin & ~(s.hand_count == s.one), s.kind[irq] == KIND.PCI_MSI))
    s.require(implies(~pin & ~first, s.after[base, irq] == s.ahead[s.hand_index, index]))
    s.assume("AMD-6", implies(pin, s.low[index] & (s.user[table, index] == none(IRQ))))
    s.devid[irq] = devid
    s.irte_index[irq] = index
    s.msg_index[irq] = index
    s.group_index[irq] = ite(pin, s.pin[irq], s.hand_index)
    s.group_count[irq] = ite(pin, s.one, s.hand_count)
    s.group_first[irq] = ite(pin | first, irq, base)
    s.entry_valid[irq] = True
    s.entry_vector[irq] = vector
    s.entry_cpu[irq] = dest
    s.user[table, index] = irq
    s.loose = None
    with s.when(~pin & all_given(s, *_hand(s))):
        _empty_hand(s)


def _hand(s: State) -> tuple[Term, Term, Term]:
    return s.hand_table, s.hand_index, s.hand_count


def _empty_hand(s: State) -> None:
    s.hand_table = None
    s.hand_index = None
    s.hand_count = None


def _leave(s: State, irq: Term) -> None:
    options = (
        "devid", "irte_index", "msg_index", "group_index", "group_count", "group_first",
        "entry_vector", "entry_cpu",
    )  # fmt: skip
    for option in options:
        getattr(s, option)[irq] = None
    for flag in ("entry_valid", "entry_guest", "entry_live"):
        getattr(s, flag)[irq] = False


@amd_ir.action(devid=DEVID, table=TABLE, index=SLOT)
def free_irte(s: State, devid: Term, table: Term, index: Term) -> None:
    """An entry is free: that of an irq that goes, or one in hand that nobody got, or that of a pin
    whose irq could not be set up."""
    irq = s.user[table, index]
    unused = irq == none(IRQ)
    spare = or_(in_hand(s, table, index), s.reserved[table] & s.low[index])
    s.require(s.table_of[devid] == table, s.binding == none(DEVID), s.loose == none(IRQ))
    s.require(ite(unused, spare, (s.devid[irq] == devid) & (s.hand_table == none(TABLE))))
    s.require(s.target[table, index] == TARGET.SETTLED)
    s.marked[table, index] = False
    _clear(s, table, index)
    s.user[table, index] = None
    with s.when(~unused):
        s.loose = irq
    _leave(s, irq)
    with s.when(all_back(s, *_hand(s))):
        _empty_hand(s)


@amd_ir.action(irq=IRQ, entry=BOOL)
def irq_remapping_free_data(s: State, irq: Term, entry: Term) -> None:
    """The data of an irq goes, behind its entry, or in the middle of an allocation before it. The
    copy of the entry goes along; v5.10 forgets that in the middle (AMD-copy)."""
    undone = attached(s, irq)
    table = home(s, irq)
    taken_back = in_hand(s, table, s.irte_index[irq])
    free = s.loose == none(IRQ)
    s.require(s.ir_data[irq], ite(undone, taken_back & free, s.loose == irq))
    if not s.on("AMD-copy"):
        s.require(entry)
    s.user[table, s.irte_index[irq]] = None
    _leave(s, irq)
    s.ir_data[irq] = False
    s.loose = None
    with s.when(entry):
        s.entry_copy[irq] = False


@amd_ir.action(only_with="AMD-01", irq=IRQ)
def irq_remapping_alloc_oops(s: State, irq: Term) -> None:
    """Before V2 #01 the configuration was fetched before anybody asked for the level."""
    s.require(s.present[irq], ~s.level[irq])
    s.oops = True


@amd_ir.action(
    devid=DEVID, table=TABLE, index=SLOT, valid=BOOL, vector=OPTION_VECTOR, dest=OPTION_CPU,
    guest_mode=BOOL,
)  # fmt: skip
def modify_irte(
    s: State,
    devid: Term,
    table: Term,
    index: Term,
    valid: Term,
    vector: Term,
    dest: Term,
    guest_mode: Term,
) -> None:
    """The copy of an irq's entry, changed, is stored. An activation does it twice, first with the
    target of before. A virtual CPU gets an irq that is active only (AMD-vcpu), and leaves it with
    the target of now."""
    irq = s.user[table, index]
    settled = s.target[table, index] == TARGET.SETTLED
    swaps = ~(guest_mode == s.entry_guest[irq])
    as_before = (s.entry_vector[irq] == vector) & (s.entry_cpu[irq] == dest)
    as_now = current(s, irq, vector, dest)
    s.require(~(irq == none(IRQ)), s.devid[irq] == devid, s.irte_index[irq] == index)
    s.require(s.table_of[devid] == table, s.binding == none(DEVID), s.hand_table == none(TABLE))
    s.require(implies(guest_mode, s.vapic & (swaps | as_before)))
    s.require(implies(~guest_mode, ite(swaps, as_now, as_before | as_now)))
    s.require(implies(swaps, (valid == s.entry_valid[irq]) & settled))
    s.require(implies(~valid, settled))
    s.assume("AMD-vcpu", implies(swaps, s.entry_live[irq]))
    s.marked[table, index] = True
    s.hw_valid[table, index] = valid
    s.hw_guest[table, index] = guest_mode
    s.hw_vector[table, index] = vector
    s.hw_cpu[table, index] = dest
    s.entry_valid[irq] = valid
    s.entry_guest[irq] = guest_mode
    s.entry_vector[irq] = vector
    s.entry_cpu[irq] = dest
    with s.when(~swaps):
        s.entry_live[irq] = valid
    late = and_(valid, ~guest_mode, ~swaps, ~as_now)
    s.target[table, index] = ite(late, TARGET.OWED, TARGET.SETTLED)


@amd_ir.action(devid=DEVID, index=SLOT, dest=OPTION_CPU)
def amd_iommu_update_ga(s: State, devid: Term, index: Term, dest: Term) -> None:
    """A virtual CPU runs elsewhere: the table says so, the copy of the entry does not know."""
    table = s.table_of[devid]
    s.require(s.hw_guest[table, index], s.binding == none(DEVID))
    s.hw_cpu[table, index] = dest
