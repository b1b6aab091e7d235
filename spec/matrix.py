# SPDX-License-Identifier: GPL-2.0-only
"""The irq matrix (kernel/irq/matrix.c, v5.10): which vectors are taken on which CPU, and counts.

Each action is one tracepoint of `irq_matrix:*`, in the order of the kernel's file. The spec says
which bits an action *may* take; which one the kernel takes (`regular_choice`, `managed_choice`,
`lowest_free`) is stated beside it, so that no invariant rests on the choice.

What an operation holds in its hands between two tracepoints is part of the state: `hand` (a bit
taken and not yet given to an interrupt, or given up and not yet freed), `unclaimed` and
`managed_unclaimed` (reservations not yet booked to an interrupt, or booked out and not yet
removed). All three are empty whenever vector_lock is free.
"""

from __future__ import annotations

from collections.abc import Callable

from spec.language import Layer
from spec.state import State
from spec.terms import (
    BOOL,
    INT,
    Int,
    Option,
    Sort,
    Term,
    and_,
    count,
    exists,
    forall,
    ite,
    lift,
    or_,
    total,
)

CPU = Sort("Cpu")
VECTOR = Sort("Vector")

matrix = Layer("matrix", (CPU, VECTOR))

_OF_VECTORS = Int((VECTOR,))
_OF_PAIRS = Int((CPU, VECTOR))

matrix.field("matrix_bit", VECTOR, rigid=True, doc="bits below matrix_bits")
matrix.field("allocatable", VECTOR, rigid=True, doc="R: the bits in [alloc_start, alloc_end)")
matrix.field("alloc_size", type=_OF_VECTORS, rigid=True, doc="|R|")
matrix.field("system_map", VECTOR, doc="S: vectors that the system keeps on every CPU")
matrix.field("alloc_map", CPU, VECTOR, doc="A_c: vectors in use on a CPU")
matrix.field("managed_map", CPU, VECTOR, doc="M_c: vectors set aside for managed interrupts")
matrix.field("initialized", CPU, doc="the CPU was online once")
matrix.field("online", CPU, doc="the CPU's map takes part")
matrix.field("available", CPU, type=_OF_VECTORS, doc="vectors a regular allocation can take")
matrix.field("allocated", CPU, type=_OF_VECTORS, doc="|A_c|")
matrix.field("managed", CPU, type=_OF_VECTORS, doc="|M_c|")
matrix.field("managed_allocated", CPU, type=_OF_VECTORS, doc="|A_c and M_c|")
matrix.field("systembits_inalloc", type=_OF_VECTORS, doc="|S and R|")
matrix.field("online_maps", type=Int((CPU,)), doc="CPUs whose map is online")
matrix.field("global_available", type=_OF_PAIRS, doc="sum of available over the online CPUs")
matrix.field("global_reserved", type=_OF_PAIRS, doc="reservations not backed by a vector")
matrix.field("total_allocated", type=_OF_PAIRS, doc="sum of allocated over all CPUs")
matrix.field("isa", CPU, VECTOR, doc="ISA vectors assigned at boot and not yet taken over")
matrix.field("hand", CPU, VECTOR, transient=True, doc="bits in the hands of an operation")
matrix.field("unclaimed", type=INT, transient=True, doc="reservations in hand")
matrix.field("managed_unclaimed", CPU, type=INT, transient=True, doc="managed slots in hand")
matrix.field(
    "reserving", CPU, type=Option(VECTOR), ghost=True, doc="the managed bit that is in hand"
)
matrix.field("reserves", type=INT, ghost=True, doc="calls of irq_matrix_reserve so far")
matrix.field("consumed", type=INT, ghost=True, doc="reservations used up or removed so far")


@matrix.axiom
def geometry(s: State) -> Term:
    """R lies inside the matrix and has alloc_size members."""
    return and_(
        forall(VECTOR, lambda v: s.allocatable[v].implies(s.matrix_bit[v])),
        s.alloc_size == count(VECTOR, lambda v: s.allocatable[v]),
    )


# --- what the actions share -----------------------------------------------------------------


def taken(s: State, cpu: Term, bit: Term) -> Term:
    """A regular allocation cannot take this bit: allocated, managed or system."""
    return or_(s.alloc_map[cpu, bit], s.managed_map[cpu, bit], s.system_map[bit])


def free_bit(s: State, cpu: Term, bit: Term) -> Term:
    """`alloc_area` may pick this bit."""
    return s.allocatable[bit] & ~taken(s, cpu, bit)


def spare_bit(s: State, cpu: Term, bit: Term) -> Term:
    """A managed slot that no interrupt uses."""
    return s.managed_map[cpu, bit] & ~s.alloc_map[cpu, bit]


def nothing_in_hand(s: State) -> Term:
    """No bit is in the hands of an operation."""
    return forall(CPU, VECTOR, lambda c, v: ~s.hand[c, v])


def at_rest(s: State) -> Term:
    """No operation of this component is half done."""
    return and_(
        nothing_in_hand(s),
        s.unclaimed == 0,
        forall(CPU, lambda c: s.managed_unclaimed[c] == 0),
    )


def lowest_free(s: State, cpu: Term, bit: Term) -> Term:
    """MX-12: no free bit of the CPU lies below this one (section 2.2)."""
    return forall(VECTOR, lambda w: free_bit(s, cpu, w).implies(bit <= w))


def lowest_spare(s: State, cpu: Term, bit: Term) -> Term:
    """No unused managed slot of the CPU lies below this one (section 2.4)."""
    return forall(VECTOR, lambda w: spare_bit(s, cpu, w).implies(bit <= w))


def regular_choice(s: State, cpu: Term, mask: Callable[[Term], Term]) -> Term:
    """MX-12: of the mask's online CPUs, one with most available, the lowest on a tie."""

    def better(c: Term) -> Term:
        more = s.available[cpu] < s.available[c]
        return more | ((s.available[c] == s.available[cpu]) & (c < cpu))

    return and_(
        mask(cpu), s.online[cpu], forall(CPU, lambda c: (mask(c) & s.online[c]).implies(~better(c)))
    )


def managed_choice(s: State, cpu: Term, mask: Callable[[Term], Term]) -> Term:
    """Section 2.3: of the mask's online CPUs, one with fewest managed vectors in use, the highest
    on a tie."""

    def better(c: Term) -> Term:
        used = s.managed_allocated[c] == s.managed_allocated[cpu]
        return (s.managed_allocated[c] < s.managed_allocated[cpu]) | (used & (cpu < c))

    return and_(
        mask(cpu), s.online[cpu], forall(CPU, lambda c: (mask(c) & s.online[c]).implies(~better(c)))
    )


# --- actions --------------------------------------------------------------------------------


@matrix.action(cpu=CPU)
def irq_matrix_online(s: State, cpu: Term) -> None:
    """A CPU's map joins; its `available` is computed once in its life."""
    s.require(~s.online[cpu], at_rest(s))
    with s.when(~s.initialized[cpu]):
        s.available[cpu] = s.alloc_size - s.managed[cpu] - s.systembits_inalloc
        s.initialized[cpu] = True
    s.global_available += s.available[cpu]
    s.online[cpu] = True
    s.online_maps += 1


@matrix.action(cpu=CPU)
def irq_matrix_offline(s: State, cpu: Term) -> None:
    """A CPU's map leaves; what it holds stays counted in its own counters."""
    s.require(s.online[cpu], at_rest(s))
    s.global_available -= s.available[cpu]
    s.online[cpu] = False
    s.online_maps -= 1


@matrix.action(cpu=CPU, bit=VECTOR, replace=BOOL)
def irq_matrix_assign_system(s: State, cpu: Term, bit: Term, replace: Term) -> None:
    """Boot marks a system vector; with `replace`, one that this CPU had been assigned as an ISA
    vector. The environment never repeats a bit and does it before any other CPU came up (E0)."""
    if not s.on("MX-D4"):
        s.require(s.matrix_bit[bit])
    s.require(at_rest(s), ~s.system_map[bit], s.isa[cpu, bit] == replace)
    s.require(
        forall(CPU, lambda c: s.initialized[c].implies(replace & (c == cpu))),
        forall(CPU, lambda c: ~s.managed_map[c, bit]),
        forall(CPU, lambda c: s.alloc_map[c, bit].implies(replace & (c == cpu))),
    )
    s.system_map[bit] = True
    with s.when(replace):
        s.require(s.alloc_map[cpu, bit])
        s.alloc_map[cpu, bit] = False
        s.isa[cpu, bit] = False
        s.allocated[cpu] -= 1
        s.total_allocated -= 1
    with s.when(s.allocatable[bit]):
        s.systembits_inalloc += 1


@matrix.action(cpu=CPU, bit=VECTOR)
def irq_matrix_reserve_managed(s: State, cpu: Term, bit: Term) -> None:
    """One CPU of the mask sets a vector aside. On a CPU that is away, v5.10 forgets to lower
    `available` (MX-D1)."""
    s.require(free_bit(s, cpu, bit), nothing_in_hand(s), s.unclaimed == 0)
    s.require(s.managed_unclaimed[cpu] == 0)
    s.managed_map[cpu, bit] = True
    s.managed[cpu] += 1
    s.managed_unclaimed[cpu] += 1
    s.reserving[cpu] = bit
    _count_managed(s, cpu, -1)


@matrix.action(cpu=CPU, bit=VECTOR)
def irq_matrix_remove_managed(s: State, cpu: Term, bit: Term) -> None:
    """One CPU of the mask gives an unused managed vector back, not necessarily the one that the
    interrupt's own reservation took."""
    s.require(spare_bit(s, cpu, bit), s.managed_unclaimed[cpu] == 1)
    s.managed_map[cpu, bit] = False
    s.managed[cpu] -= 1
    s.managed_unclaimed[cpu] -= 1
    s.reserving[cpu] = None
    _count_managed(s, cpu, 1)


def _count_managed(s: State, cpu: Term, change: int) -> None:
    counts = s.online[cpu] if s.on("MX-D1") or s.on("H3") else s.initialized[cpu]
    with s.when(counts):
        s.available[cpu] += change
    with s.when(s.online[cpu]):
        s.global_available += change


@matrix.action(cpu=CPU, bit=VECTOR)
def irq_matrix_alloc_managed(s: State, cpu: Term, bit: Term) -> None:
    """A managed interrupt takes one of the vectors set aside; `available` was paid before."""
    s.require(s.online[cpu], spare_bit(s, cpu, bit), at_rest(s))
    s.alloc_map[cpu, bit] = True
    s.allocated[cpu] += 1
    s.managed_allocated[cpu] += 1
    s.total_allocated += 1
    s.hand[cpu, bit] = True


@matrix.action(cpu=CPU, bit=VECTOR)
def irq_matrix_assign(s: State, cpu: Term, bit: Term) -> None:
    """Boot gives an ISA interrupt its fixed vector on the CPU that executes."""
    s.require(s.online[cpu], free_bit(s, cpu, bit), at_rest(s))
    s.alloc_map[cpu, bit] = True
    s.isa[cpu, bit] = True
    s.allocated[cpu] += 1
    s.total_allocated += 1
    s.available[cpu] -= 1
    s.global_available -= 1


@matrix.action()
def irq_matrix_reserve(s: State) -> None:
    """One more interrupt will want a vector some day; no bit is set aside."""
    s.require(at_rest(s))
    s.global_reserved += 1
    s.unclaimed += 1
    s.reserves += 1


@matrix.action()
def irq_matrix_remove_reserved(s: State) -> None:
    """A reservation goes unused."""
    s.require(nothing_in_hand(s), s.unclaimed == 1)
    s.global_reserved -= 1
    s.unclaimed -= 1
    s.consumed += 1


@matrix.action(cpu=CPU, bit=VECTOR, reserved=BOOL)
def irq_matrix_alloc(s: State, cpu: Term, bit: Term, reserved: Term) -> None:
    """A regular allocation, which may use up a reservation."""
    s.require(s.online[cpu], free_bit(s, cpu, bit), at_rest(s))
    s.alloc_map[cpu, bit] = True
    s.allocated[cpu] += 1
    s.available[cpu] -= 1
    s.total_allocated += 1
    s.global_available -= 1
    with s.when(reserved):
        s.global_reserved -= 1
        s.unclaimed -= 1
        s.consumed += 1
    s.hand[cpu, bit] = True


@matrix.action(cpu=CPU, bit=VECTOR, managed=BOOL)
def irq_matrix_free(s: State, cpu: Term, bit: Term, managed: Term) -> None:
    """A bit comes back. v5.10 counts even where the bit was clear (MX-D3), and lowers
    total_allocated only where the map is online (MX-D2)."""
    s.require(s.hand[cpu, bit], s.allocatable[bit])
    s.require(s.alloc_map[cpu, bit].implies(managed == s.managed_map[cpu, bit]))
    held = lift(True) if s.on("MX-D3") else s.alloc_map[cpu, bit]
    with s.when(held):
        s.alloc_map[cpu, bit] = False
        s.allocated[cpu] -= 1
        with s.when(s.online[cpu] if s.on("MX-D2") else lift(True)):
            s.total_allocated -= 1
        with s.when(managed):
            s.managed_allocated[cpu] -= 1
        with s.when(~managed):
            s.available[cpu] += 1
        with s.when(~managed & s.online[cpu]):
            s.global_available += 1
    s.hand[cpu, bit] = False


# --- invariants (section 2.5) ---------------------------------------------------------------


@matrix.invariant("MX-1", "Allocated and managed bits lie in range, system bits in the matrix.")
def mx_range(s: State) -> Term:
    return and_(
        forall(CPU, VECTOR, lambda c, v: s.alloc_map[c, v].implies(s.allocatable[v])),
        forall(CPU, VECTOR, lambda c, v: s.managed_map[c, v].implies(s.allocatable[v])),
        forall(VECTOR, lambda v: s.system_map[v].implies(s.matrix_bit[v])),
    )


@matrix.invariant("MX-2", "No CPU holds or sets aside a system vector.")
def mx_system(s: State) -> Term:
    return forall(
        CPU,
        VECTOR,
        lambda c, v: ~((s.alloc_map[c, v] | s.managed_map[c, v]) & s.system_map[v]),
    )


def in_use(s: State, c: Term) -> Term:
    """|A_c|."""
    return count(VECTOR, lambda v: s.alloc_map[c, v])


def set_aside(s: State, c: Term) -> Term:
    """|M_c|."""
    return count(VECTOR, lambda v: s.managed_map[c, v])


def managed_in_use(s: State, c: Term) -> Term:
    """|A_c and M_c|."""
    return count(VECTOR, lambda v: s.alloc_map[c, v] & s.managed_map[c, v])


@matrix.invariant("MX-3", "Each per-CPU counter counts its bitmap.")
def mx_counts(s: State) -> Term:
    return forall(
        CPU,
        lambda c: and_(
            s.allocated[c] == in_use(s, c),
            s.managed[c] == set_aside(s, c),
            s.managed_allocated[c] == managed_in_use(s, c),
        ),
    )


@matrix.invariant("MX-4", "Managed vectors in use are among those managed and those in use.")
def mx_managed(s: State) -> Term:
    return forall(
        CPU,
        lambda c: and_(
            s.managed_allocated[c] <= s.managed[c],
            s.managed_allocated[c] <= s.allocated[c],
            # What the two differences count: this makes the inequalities inductive.
            s.managed[c] - s.managed_allocated[c] == count(VECTOR, lambda v: spare_bit(s, c, v)),
            s.allocated[c] - s.managed_allocated[c]
            == count(VECTOR, lambda v: s.alloc_map[c, v] & ~s.managed_map[c, v]),
        ),
    )


@matrix.invariant("MX-5", "systembits_inalloc counts the system vectors in range.")
def mx_system_count(s: State) -> Term:
    return s.systembits_inalloc == count(VECTOR, lambda v: s.system_map[v] & s.allocatable[v])


@matrix.invariant("MX-6", "Conservation: available is size less system, managed and regular use.")
def mx_conservation(s: State) -> Term:
    def law(c: Term) -> Term:
        regular = s.allocated[c] - s.managed_allocated[c]
        full = s.alloc_size - s.systembits_inalloc - s.managed[c] - regular
        never = (s.available[c] == 0) & (s.allocated[c] == 0)
        return ite(s.initialized[c], s.available[c] == full, never)

    return forall(CPU, law)


@matrix.invariant("MX-7", "global_available is the sum of available over the online CPUs.")
def mx_global(s: State) -> Term:
    return s.global_available == total(CPU, lambda c: ite(s.online[c], s.available[c], 0))


@matrix.invariant("MX-8", "online_maps counts the online CPUs, and each was initialized.")
def mx_online(s: State) -> Term:
    return and_(
        s.online_maps == count(CPU, lambda c: s.online[c]),
        forall(CPU, lambda c: s.online[c].implies(s.initialized[c])),
    )


@matrix.invariant("MX-9", "total_allocated is the sum of allocated over all CPUs.")
def mx_total(s: State) -> Term:
    return s.total_allocated == total(CPU, lambda c: s.allocated[c])


@matrix.invariant(
    "MX-10", "global_reserved is reservations made less those used or removed.", ghost=True
)
def mx_reserved(s: State) -> Term:
    return s.global_reserved == s.reserves - s.consumed


@matrix.invariant("MX-11", "A regular allocation can succeed on a CPU exactly if available > 0.")
def mx_success(s: State) -> Term:
    def law(c: Term) -> Term:
        free = count(VECTOR, lambda v: free_bit(s, c, v))
        some = exists(VECTOR, lambda v: free_bit(s, c, v))
        regular = s.allocated[c] - s.managed_allocated[c]
        return and_(
            # Stated for every CPU, so that it holds already when `available` is first computed.
            free == s.alloc_size - s.systembits_inalloc - s.managed[c] - regular,
            s.initialized[c].implies((lift(0) < s.available[c]) == some),
        )

    return forall(CPU, law)
