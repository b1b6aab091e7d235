# SPDX-License-Identifier: GPL-2.0-only
"""What the tables of remapping units have in common: entries, and blocks of them in a row.

A block starts at an entry and has a number of others behind it. Entries have no arithmetic: that
an entry lies so far behind another one is a relation, of which the axioms say what is needed, and
`spec.remap_message` what it is in numbers.
"""

from __future__ import annotations

from spec.language import Layer
from spec.sorts import IRQ
from spec.state import State
from spec.terms import BOOL, Enum, Option, Sort, Term, and_, forall, none

__all__ = ["COUNT", "HANDLE", "KIND", "OPTION_HANDLE", "SLOT", "declare_blocks", "inside"]

SLOT = Sort("Slot")
"""The entries of a table, by their index."""

HANDLE = Sort("Handle")
"""Places in a block: 0, 1, 2 and so on."""

COUNT = Sort("Count")
"""How many interrupts an allocation is for."""

OPTION_HANDLE = Option(HANDLE)

KIND = Enum("Requester", ("IOAPIC", "HPET", "PCI_MSI", "PCI_MSIX", "OTHER"))
"""What an interrupt is for; OTHER are the types that no unit knows."""


def declare_blocks(layer: Layer) -> None:
    """Declare the geometry of a table in a layer that has IRQ, SLOT, HANDLE and COUNT."""
    layer.field("zero", type=OPTION_HANDLE, rigid=True, doc="the first place of a block")
    layer.field("one", type=Option(COUNT), rigid=True, doc="an allocation for one interrupt")
    layer.field("plus", SLOT, HANDLE, type=Option(SLOT), rigid=True, doc="so far behind an entry")
    layer.field("ahead", SLOT, SLOT, type=OPTION_HANDLE, rigid=True, doc="how far behind it is")
    layer.field("after", IRQ, IRQ, type=OPTION_HANDLE, rigid=True, doc="the same of irq numbers")
    layer.field("below", COUNT, HANDLE, type=BOOL, rigid=True, doc="a place among so many")
    layer.field("aligned", SLOT, COUNT, rigid=True, doc="a multiple of the next power of two")
    layer.axiom(geometry)


def geometry(s: State) -> Term:
    """How far an entry or an irq is behind another one decides which it is; every allocation is for
    one interrupt at least."""
    return and_(
        ~(s.zero == none(HANDLE)),
        ~(s.one == none(COUNT)),
        forall(SLOT, lambda x: s.ahead[x, x] == s.zero),
        forall(SLOT, SLOT, HANDLE, lambda x, y, h: (s.plus[x, h] == y) == (s.ahead[x, y] == h)),
        forall(IRQ, lambda i: s.after[i, i] == s.zero),
        forall(
            IRQ,
            IRQ,
            IRQ,
            lambda b, i, j: and_(
                s.after[b, i] == s.after[b, j], ~(s.after[b, i] == none(HANDLE))
            ).implies(i == j),
        ),
        forall(COUNT, lambda n: s.below[n, s.zero]),
        forall(HANDLE, lambda h: s.below[s.one, h] == (s.zero == h)),
    )


def inside(s: State, index: Term, count: Term, slot: Term) -> Term:
    """The entry is one of so many from `index` on."""
    return s.below[count, s.ahead[index, slot]]
