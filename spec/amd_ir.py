# SPDX-License-Identifier: GPL-2.0-only
"""AMD-Vi interrupt remapping (drivers/iommu/amd/, v5.10): its state, and the words of its laws.

A requester has a table, which it shares with whatever its requests may be taken for; tables are
never freed. An interrupt owns an entry; its message says the entry's index and nothing else. No
bitmap says which entries are taken: a mark in the entry does (`marked`). The actions are in
`spec.amd_ir_actions`.

What the layer needs of the vector domain is here under the names that it has there. The mutex of
irqdomain covers an allocation as a whole: `hand_index` and what is with it are the entries that it
has marked and not yet given to an interrupt, `loose` the irq that has its data and no entry.
"""

from __future__ import annotations

from spec.language import Layer
from spec.matrix import CPU, VECTOR
from spec.remap_blocks import COUNT, HANDLE, KIND, SLOT, declare_blocks, inside
from spec.sorts import IRQ
from spec.state import State
from spec.terms import Enum, Option, Sort, Term, and_, forall, implies, none

DEVID = Sort("Devid")
"""Ids under which requests appear."""

TABLE = Sort("Table")
"""Tables, made and to come."""

TARGET = Enum(
    "Target",
    (
        "SETTLED",  # the entry says what it is to say
        "OWED",  # it is to follow a configuration
    ),
)

amd_ir = Layer("amd_ir", (IRQ, CPU, VECTOR, DEVID, TABLE, SLOT, HANDLE, COUNT))

_OPTION_CPU, _OPTION_VECTOR = Option(CPU), Option(VECTOR)

declare_blocks(amd_ir)
amd_ir.field("has_unit", DEVID, rigid=True, doc="rlookup: a unit serves the requester")
amd_ir.field("shows_as", DEVID, DEVID, rigid=True, doc="its requests may appear under that id")
amd_ir.field("hub", DEVID, type=Option(DEVID), rigid=True, doc="an alias that neighbours share")
amd_ir.field("low", SLOT, rigid=True, doc="the index is below 32")
amd_ir.field("far", SLOT, rigid=True, doc="the index is 256 or more")
amd_ir.field("kind", IRQ, type=KIND, rigid=True, doc="what the irq is for")
amd_ir.field("pin", IRQ, type=Option(SLOT), rigid=True, doc="the index with the pin's number")
amd_ir.field("level", IRQ, rigid=True, doc="the irq has a level in the unit's domain")
amd_ir.field("vapic", rigid=True, doc="entries can hand interrupts to virtual CPUs")

amd_ir.field("present", IRQ, doc="the irq has apic_chip_data: it is in the VECTOR domain")
amd_ir.field("cfg_vector", IRQ, type=_OPTION_VECTOR, doc="hw_irq_cfg.vector, if a real one")
amd_ir.field("cfg_cpu", IRQ, type=_OPTION_CPU, doc="the CPU of hw_irq_cfg.dest_apicid, likewise")

amd_ir.field("table_of", DEVID, type=Option(TABLE), doc="irq_lookup_table, and what the DTE names")
amd_ir.field("dte_full", DEVID, doc="the DTE announces all entries of the table")
amd_ir.field("made", TABLE, doc="the table exists")
amd_ir.field("reserved", TABLE, doc="min_index is 32")
amd_ir.field("marked", TABLE, SLOT, doc="the entry reads as taken")
amd_ir.field("user", TABLE, SLOT, type=Option(IRQ), doc="the irq that the entry is for")
amd_ir.field("hw_valid", TABLE, SLOT, doc="the entry may be used")
amd_ir.field("hw_guest", TABLE, SLOT, doc="it is a virtual CPU's")
amd_ir.field("hw_vector", TABLE, SLOT, type=_OPTION_VECTOR, doc="its vector, if a real one")
amd_ir.field("hw_cpu", TABLE, SLOT, type=_OPTION_CPU, doc="its destination, likewise")

amd_ir.field("ir_data", IRQ, doc="the irq has amd_ir_data")
amd_ir.field("entry_copy", IRQ, doc="memory is allocated for the copy of its entry")
amd_ir.field("devid", IRQ, type=Option(DEVID), doc="irq_2_irte.devid")
amd_ir.field("irte_index", IRQ, type=Option(SLOT), doc="irq_2_irte.index")
amd_ir.field("msg_index", IRQ, type=Option(SLOT), doc="what the message or the route entry names")
amd_ir.field("group_index", IRQ, type=Option(SLOT), doc="the first entry of its allocation")
amd_ir.field("group_count", IRQ, type=Option(COUNT), doc="how many interrupts that was for")
amd_ir.field("group_first", IRQ, type=Option(IRQ), doc="the first irq of its allocation")
amd_ir.field("entry_valid", IRQ, doc="valid, in the copy of the entry")
amd_ir.field("entry_guest", IRQ, doc="guest_mode, in the copy")
amd_ir.field("entry_vector", IRQ, type=_OPTION_VECTOR, doc="the copy's vector, if a real one")
amd_ir.field("entry_cpu", IRQ, type=_OPTION_CPU, doc="the copy's destination, likewise")
amd_ir.field("entry_live", IRQ, doc="the unit's domain has activated the irq")
amd_ir.field("oops", doc="a level that is missing was looked into")

amd_ir.field("binding", type=Option(DEVID), transient=True, doc="the requester that gets a table")
amd_ir.field("binding_table", type=Option(TABLE), transient=True, doc="which one")
amd_ir.field("hand_table", type=Option(TABLE), transient=True, doc="where entries are in hand")
amd_ir.field("hand_index", type=Option(SLOT), transient=True, doc="the first of them")
amd_ir.field("hand_count", type=Option(COUNT), transient=True, doc="how many they were")
amd_ir.field("loose", type=Option(IRQ), transient=True, doc="the irq that has data and no entry")
amd_ir.field("target", TABLE, SLOT, type=TARGET, transient=True, doc="what it says of the target")


@amd_ir.axiom
def aliases(s: State) -> Term:
    """What a requester shows as, its aliases show as nothing else; neighbours that share an alias
    share one of the bridge above, their hub (the topology of PCI)."""
    return and_(
        forall(DEVID, lambda d: s.shows_as[d, d] & s.shows_as[d, s.hub[d]]),
        forall(DEVID, DEVID, lambda d, a: implies(s.shows_as[d, a], s.hub[a] == s.hub[d])),
        forall(
            DEVID,
            DEVID,
            DEVID,
            lambda d, a, b: implies(s.shows_as[d, a] & s.shows_as[a, b], s.shows_as[d, b]),
        ),
        forall(IRQ, lambda i: (s.kind[i] == KIND.IOAPIC) == ~(s.pin[i] == none(SLOT))),
    )


# --- words for the formulas -----------------------------------------------------------------


def home(s: State, i: Term) -> Term:
    """The table of the irq's requester."""
    return s.table_of[s.devid[i]]


def stale(s: State, i: Term) -> Term:
    """The irq's entry is to follow its configuration."""
    return s.target[home(s, i), s.irte_index[i]] == TARGET.OWED


def attached(s: State, i: Term) -> Term:
    """The irq has an entry."""
    return ~(s.devid[i] == none(DEVID))


def is_pin(s: State, i: Term) -> Term:
    """The irq is that of an IO-APIC's pin."""
    return s.kind[i] == KIND.IOAPIC


def idle(s: State) -> Term:
    """No entry and no irq is in hand."""
    return (s.hand_table == none(TABLE)) & (s.loose == none(IRQ))


def in_hand(s: State, table: Term, slot: Term) -> Term:
    """The entry is one of those in hand."""
    return (s.hand_table == table) & inside(s, s.hand_index, s.hand_count, slot)


def binds(s: State, devid: Term) -> Term:
    """A neighbour of the requester, or itself, gets its table."""
    return ~(s.binding == none(DEVID)) & (s.hub[devid] == s.hub[s.binding])


def bound(s: State, devid: Term, table: Term) -> Term:
    """Whatever the requester shows as has the table."""
    return forall(DEVID, lambda a: implies(s.shows_as[devid, a], s.table_of[a] == table))


def clear(s: State, table: Term, slot: Term) -> Term:
    """The entry may not be used, and names nothing."""
    return and_(
        ~s.hw_valid[table, slot],
        ~s.hw_guest[table, slot],
        s.hw_vector[table, slot] == none(VECTOR),
        s.hw_cpu[table, slot] == none(CPU),
    )


def current(s: State, i: Term, vector: Term, cpu: Term) -> Term:
    """This is where the irq's configuration points."""
    return (s.cfg_vector[i] == vector) & (s.cfg_cpu[i] == cpu)


def all_given(s: State, table: Term, index: Term, count: Term) -> Term:
    """Every one of the entries has its irq."""
    return forall(
        SLOT, lambda x: implies(inside(s, index, count, x), ~(s.user[table, x] == none(IRQ)))
    )


def all_back(s: State, table: Term, index: Term, count: Term) -> Term:
    """Every one of the entries is free again."""
    return forall(SLOT, lambda x: implies(inside(s, index, count, x), ~s.marked[table, x]))
