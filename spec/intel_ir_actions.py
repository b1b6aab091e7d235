# SPDX-License-Identifier: GPL-2.0-only
"""The actions of VT-d interrupt remapping: one for each event, in the kernel's order of fields."""

from __future__ import annotations

from spec.devices import UNIT
from spec.intel_ir import (
    DUE,
    MASK,
    PHASE,
    attached,
    busy,
    busy_irq,
    checked,
    complete,
    covered,
    flushed,
    in_block,
    intel_ir,
    nobody,
    settled,
    several,
    slot_of,
)
from spec.matrix import CPU, VECTOR
from spec.remap_blocks import COUNT, HANDLE, KIND, OPTION_HANDLE, SLOT
from spec.sorts import IRQ
from spec.state import State
from spec.terms import BOOL, Option, Term, and_, forall, implies, ite, none

OPTION_CPU = Option(CPU)
OPTION_SLOT = Option(SLOT)
OPTION_VECTOR = Option(VECTOR)

# --- what the vector domain does to an irq --------------------------------------------------


@intel_ir.action(irq=IRQ, failed=BOOL)
def vector_setup(s: State, irq: Term, failed: Term) -> None:
    """The irq is in the vector domain, the parent of every unit's."""
    s.require(~s.present[irq])
    s.present[irq] = ~failed


@intel_ir.action(irq=IRQ)
def vector_teardown(s: State, irq: Term) -> None:
    """The irq leaves the vector domain; the unit's is left before."""
    s.require(s.present[irq], ~attached(s, irq))
    s.present[irq] = False
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None


@intel_ir.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The configuration changes: the entry of an active irq is to follow. Where destinations have 8
    bits, CPUs with larger APIC ids stay down (INT-13)."""
    s.require(s.present[irq], settled(s, irq), ~busy_irq(s, irq))
    s.assume("INT-13", s.eim | s.narrow[cpu])
    s.cfg_vector[irq] = vector
    s.cfg_cpu[irq] = cpu
    s.entry_stale[irq] = s.entry_live[irq]


@intel_ir.action(irq=IRQ)
def vector_config_shutdown(s: State, irq: Term) -> None:
    """The configuration names no vector of its own any more: the unit's domain is deactivated
    before the vector domain."""
    s.require(~s.entry_live[irq], settled(s, irq))
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None


# --- units ----------------------------------------------------------------------------------


@intel_ir.action(unit=UNIT)
def iommu_load_old_irte(s: State, unit: Term) -> None:
    """A kernel that follows a crash finds a table, and keeps each present entry by itself."""
    s.require(~s.has_table[unit], forall(SLOT, lambda x: ~s.bitmap[unit, x]))
    with s.each(SLOT, "x", lambda x: s.old[unit, x]) as x:
        s.bitmap[unit, x] = True
        s.taken_over[unit, x] = True
        s.hw_present[unit, x] = True


@intel_ir.action(unit=UNIT)
def intel_setup_irq_remapping(s: State, unit: Term) -> None:
    """The unit has a table from now on."""
    s.require(~s.has_table[unit])
    s.has_table[unit] = True


@intel_ir.action(unit=UNIT)
def intel_teardown_irq_remapping(s: State, unit: Term) -> None:
    """The table goes, if nobody has taken an entry; one in use makes a removal -EBUSY."""
    s.require(s.has_table[unit], s.phase == PHASE.REST)
    s.require(forall(SLOT, lambda x: implies(s.bitmap[unit, x], s.taken_over[unit, x])))
    s.has_table[unit] = False
    with s.each(SLOT, "x") as x:
        s.bitmap[unit, x] = False
        s.taken_over[unit, x] = False
        _clear(s, unit, x)


def _clear(s: State, unit: Term, slot: Term) -> None:
    for flag in ("hw_present", "hw_posted", "hw_svt"):
        getattr(s, flag)[unit, slot] = False
    s.hw_vector[unit, slot] = None
    s.hw_cpu[unit, slot] = None


# --- blocks ---------------------------------------------------------------------------------


@intel_ir.action(unit=UNIT, index=SLOT, mask=MASK, count=COUNT)
def irte_alloc(s: State, unit: Term, index: Term, mask: Term, count: Term) -> None:
    """A block of free entries is taken. The kernel takes the lowest; any would do."""
    s.require(s.has_table[unit], s.phase == PHASE.REST, flushed(s))
    s.require(mask == s.order[count], s.fits[unit, mask], s.multiple[index, mask])
    s.require(forall(SLOT, lambda x: implies(covered(s, index, mask, x), ~s.bitmap[unit, x])))
    with s.each(SLOT, "x", lambda x: covered(s, index, mask, x)) as x:
        s.bitmap[unit, x] = True
        s.holder[unit, x] = index
    s.block_mask[unit, index] = mask
    s.block_count[unit, index] = count
    s.phase = PHASE.FORMING
    s.busy_unit = unit
    s.busy_index = index


@intel_ir.action(
    unit=UNIT, irq=IRQ, index=SLOT, sub_handle=HANDLE, vector=OPTION_VECTOR, dest=OPTION_CPU,
    svt=BOOL, address_lo=OPTION_SLOT, data=OPTION_HANDLE,
)  # fmt: skip
def intel_irq_remapping_prepare_irte(
    s: State,
    unit: Term,
    irq: Term,
    index: Term,
    sub_handle: Term,
    vector: Term,
    dest: Term,
    svt: Term,
    address_lo: Term,
    data: Term,
) -> None:
    """The next interrupt of the block gets its entry and its message, or its pin a route entry.
    Nothing is stored into the table. `address_lo` and `data` are what they say."""
    base = s.user[unit, index]
    first = s.zero == sub_handle
    s.require(s.phase == PHASE.FORMING, busy(s, unit, index))
    s.require(~attached(s, irq), s.present[irq], s.level[irq], ~(s.kind[irq] == KIND.OTHER))
    s.require(implies(several(s, unit, index), s.kind[irq] == KIND.PCI_MSI))
    s.require(s.below[s.block_count[unit, index], sub_handle])
    s.require(ite(first, base == none(IRQ), s.after[base, irq] == sub_handle))
    s.require(vector == s.cfg_vector[irq], dest == s.cfg_cpu[irq], svt == checked(s, irq))
    pin = s.kind[irq] == KIND.IOAPIC
    s.require(ite(pin, address_lo == none(SLOT), address_lo == index))
    s.require(ite(pin, data == none(HANDLE), data == sub_handle))
    s.iommu[irq] = unit
    s.irte_index[irq] = index
    s.sub_handle[irq] = sub_handle
    s.irte_mask[irq] = s.block_mask[unit, index]
    s.msg_index[irq] = address_lo
    s.msg_handle[irq] = data
    s.entry_vector[irq] = vector
    s.entry_cpu[irq] = dest
    s.entry_svt[irq] = svt
    s.user[unit, s.plus[index, sub_handle]] = irq
    with s.when(complete(s, unit, index)):
        _rest(s)


def _rest(s: State) -> None:
    s.phase = PHASE.REST
    s.busy_unit = None
    s.busy_index = None


@intel_ir.action(unit=UNIT, irq=IRQ, index=SLOT, sub_handle=HANDLE)
def intel_free_irq_resources(
    s: State, unit: Term, irq: Term, index: Term, sub_handle: Term
) -> None:
    """An irq leaves its block, the first one first: with it the whole block is to be given up. In
    the middle of an allocation that is the way back."""
    first = s.zero == sub_handle
    begins = (s.phase == PHASE.REST) | and_(s.phase == PHASE.FORMING, busy(s, unit, index))
    follows = and_(s.phase == PHASE.LEAVING, busy(s, unit, index))
    s.require(in_block(s, irq, unit, index), s.sub_handle[irq] == sub_handle)
    s.require(ite(first, begins, follows))
    s.require(
        forall(
            IRQ,
            lambda j: implies(in_block(s, j, unit, index), settled(s, j) & ~s.entry_stale[j]),
        )
    )
    s.user[unit, slot_of(s, irq)] = None
    options = (
        "iommu", "irte_index", "sub_handle", "irte_mask", "msg_index", "msg_handle",
        "entry_vector", "entry_cpu", "guest_vector",
    )  # fmt: skip
    for option in options:
        getattr(s, option)[irq] = None
    for flag in ("entry_svt", "entry_live", "posting"):
        getattr(s, flag)[irq] = False
    with s.when(first):
        s.phase = PHASE.OWED
        s.busy_unit = unit
        s.busy_index = index
    with s.when(~first & nobody(s, unit, index)):
        _rest(s)


@intel_ir.action(unit=UNIT, index=SLOT, mask=MASK)
def irte_free(s: State, unit: Term, index: Term, mask: Term) -> None:
    """The block is given up, and its entries are cleared: the first irq has gone, or could not be
    set up at all."""
    unused = (s.phase == PHASE.FORMING) & (s.user[unit, index] == none(IRQ))
    s.require(busy(s, unit, index), unused | (s.phase == PHASE.OWED), flushed(s))
    s.require(s.block_mask[unit, index] == mask)
    _release(s, unit, index, mask, leak=False)
    _flush(s, unit, index, mask)
    with s.each(IRQ, "i", lambda i: in_block(s, i, unit, index)) as i:
        s.entry_live[i] = False
        s.posting[i] = False
    s.phase = PHASE.LEAVING
    with s.when(nobody(s, unit, index)):
        _rest(s)


def _flush(s: State, unit: Term, index: Term, mask: Term) -> None:
    s.flush_unit = unit
    s.flush_index = index
    s.flush_mask = mask


def _release(s: State, unit: Term, index: Term, mask: Term, *, leak: bool) -> None:
    """Nobody owns the block any more; its entries are free, or have leaked."""
    with s.each(SLOT, "x", lambda x: covered(s, index, mask, x)) as x:
        s.holder[unit, x] = None
        s.bitmap[unit, x] = leak
        s.leaked[unit, x] = leak
        if not leak:
            _clear(s, unit, x)
    s.block_mask[unit, index] = None
    s.block_count[unit, index] = None


@intel_ir.action(only_with="INT-10", unit=UNIT, index=SLOT)
def intel_irq_remapping_alloc_leaks(s: State, unit: Term, index: Term) -> None:
    """v5.10 forgets a block whose first interrupt cannot be set up: nobody owns it yet."""
    s.require(s.phase == PHASE.FORMING, busy(s, unit, index), s.user[unit, index] == none(IRQ))
    _release(s, unit, index, s.block_mask[unit, index], leak=True)
    _rest(s)


@intel_ir.action(only_with="INT-null", irq=IRQ)
def intel_irq_remapping_alloc_oops(s: State, irq: Term) -> None:
    """v5.10 fetches the configuration before it asks whether the irq has a level."""
    s.require(s.present[irq], ~s.level[irq])
    s.oops = True


@intel_ir.action(only_with="INT-type", irq=IRQ)
def intel_irq_remapping_alloc_bug(s: State, irq: Term) -> None:
    """v5.10 finds out that it does not know the kind of requester when all else is done."""
    s.require(s.present[irq], s.kind[irq] == KIND.OTHER)
    s.bug = True


# --- entries --------------------------------------------------------------------------------


def _in_use(s: State, unit: Term, irq: Term) -> Term:
    return and_(s.iommu[irq] == unit, ~busy_irq(s, irq), settled(s, irq))


@intel_ir.action(
    unit=UNIT, irq=IRQ, index=SLOT, vector=OPTION_VECTOR, dest=OPTION_CPU, written=BOOL
)
def intel_ir_reconfigure_irte(
    s: State, unit: Term, irq: Term, index: Term, vector: Term, dest: Term, written: Term
) -> None:
    """The entry is aimed at the present target, by an activation or a move. A move leaves what the
    table has of a posted interrupt."""
    s.require(_in_use(s, unit, irq), slot_of(s, irq) == index)
    s.require(vector == s.cfg_vector[irq], dest == s.cfg_cpu[irq])
    s.require(written | (s.entry_live[irq] & s.posting[irq]))
    s.entry_vector[irq] = vector
    s.entry_cpu[irq] = dest
    s.entry_stale[irq] = False
    with s.when(written):
        s.entry_live[irq] = True
        s.due[unit, index] = DUE.REMAPPED


@intel_ir.action(unit=UNIT, irq=IRQ)
def intel_irq_remapping_deactivate(s: State, unit: Term, irq: Term) -> None:
    """The table's entry is to be cleared; the irq's own stays."""
    s.require(_in_use(s, unit, irq), ~s.entry_stale[irq])
    s.entry_live[irq] = False
    s.due[unit, slot_of(s, irq)] = DUE.CLEARED


@intel_ir.action(unit=UNIT, irq=IRQ, posted=BOOL, vector=OPTION_VECTOR)
def intel_ir_set_vcpu_affinity(s: State, unit: Term, irq: Term, posted: Term, vector: Term) -> None:
    """The interrupt goes to a virtual CPU, or comes back. The driver does not ask whether the irq
    is active: a hypervisor does it only with one that is (INT-vcpu)."""
    s.require(_in_use(s, unit, irq), ~s.entry_stale[irq])
    s.require(posted == ~(vector == none(VECTOR)))
    s.assume("INT-vcpu", s.entry_live[irq])
    s.guest_vector[irq] = vector
    s.due[unit, slot_of(s, irq)] = ite(posted, DUE.POSTED, DUE.REMAPPED)


@intel_ir.action(
    unit=UNIT, index=SLOT, present=BOOL, posted=BOOL, vector=OPTION_VECTOR, dest=OPTION_CPU,
    svt=BOOL,
)  # fmt: skip
def irte_write(
    s: State,
    unit: Term,
    index: Term,
    present: Term,
    posted: Term,
    vector: Term,
    dest: Term,
    svt: Term,
) -> None:
    """An entry is stored, and is to be dropped from the cache; the mode follows the format."""
    irq = s.user[unit, index]
    clear, guest = s.due[unit, index] == DUE.CLEARED, s.due[unit, index] == DUE.POSTED
    nowhere = clear | guest
    target = ite(guest, s.guest_vector[irq], ite(clear, none(VECTOR), s.entry_vector[irq]))
    s.require(~(s.due[unit, index] == DUE.NOTHING), flushed(s))
    s.require(s.iommu[irq] == unit, slot_of(s, irq) == index)
    s.require(present == ~clear, posted == guest, svt == (present & s.entry_svt[irq]))
    s.require(vector == target, dest == ite(nowhere, none(CPU), s.entry_cpu[irq]))
    s.hw_present[unit, index] = present
    s.hw_posted[unit, index] = posted
    s.hw_vector[unit, index] = vector
    s.hw_cpu[unit, index] = dest
    s.hw_svt[unit, index] = svt
    _flush(s, unit, index, s.single)
    s.posting[irq] = posted
    s.due[unit, index] = DUE.NOTHING


@intel_ir.action(unit=UNIT, index=SLOT, mask=MASK)
def qi_flush_iec(s: State, unit: Term, index: Term, mask: Term) -> None:
    """What was stored is dropped from the cache, exactly that. Nobody notices if that fails."""
    s.require(s.flush_unit == unit, s.flush_index == index, s.flush_mask == mask)
    s.flush_unit = None
    s.flush_index = None
    s.flush_mask = None
