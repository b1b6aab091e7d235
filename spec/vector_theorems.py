# SPDX-License-Identifier: GPL-2.0-only
"""Theorems: what the invariants of the matrix and the vector domain say about a few steps in a row.

Those of the dossier's laws that speak of an operation rather than of a state are here. What a law
says of the kernel's *choice* among possible bits (MX-12) is no theorem: the specification allows
any choice, and the implementations are held to the rule at every step.
"""

from __future__ import annotations

from spec.matrix import (
    CPU,
    VECTOR,
    at_rest,
    free_bit,
    in_use,
    irq_matrix_alloc_managed,
    irq_matrix_free,
    irq_matrix_offline,
    irq_matrix_online,
    irq_matrix_reserve_managed,
    managed_in_use,
    set_aside,
    spare_bit,
)
from spec.sorts import IRQ
from spec.state import State
from spec.terms import TRUE, Term, and_, count, exists, forall, implies
from spec.vector_actions import (
    irq_matrix_remove_managed,
    irq_move_pending,
    vector_alloc_failed,
    vector_reserve_managed,
    vector_setup,
)
from spec.vectors import PC, has_vector, vectors

_CPU_COUNTERS = ("available", "allocated", "managed", "managed_allocated")
_COUNTERS = (
    "global_available",
    "global_reserved",
    "total_allocated",
    "systembits_inalloc",
    "online_maps",
)
_FLAGS = ("initialized", "online")


def _same(before: State, after: State, *names: str) -> Term:
    """Some fields of a CPU, or of the machine, are as they were."""

    def field(name: str) -> Term:
        if name in (*_CPU_COUNTERS, *_FLAGS):
            return forall(CPU, lambda c: getattr(after, name)[c] == getattr(before, name)[c])
        if name in ("alloc_map", "managed_map"):
            return forall(
                CPU, VECTOR, lambda c, v: getattr(after, name)[c, v] == getattr(before, name)[c, v]
            )
        same: Term = getattr(after, name) == getattr(before, name)
        return same

    return and_(*map(field, names))


@vectors.theorem(
    "MX-14", "A slot that is reserved and rolled back leaves every counter and A_c as they were.",
    cpu=CPU, bit=VECTOR, other=VECTOR,
)  # fmt: skip
def rollback(before: State, s: State, cpu: Term, bit: Term, other: Term) -> Term:
    """The bit that goes back may be another one: M_c is the same up to unused bits."""
    irq_matrix_reserve_managed(s, cpu, bit)
    irq_matrix_remove_managed(s, cpu, other)
    traded = forall(
        CPU,
        VECTOR,
        lambda c, v: (
            (s.managed_map[c, v] == before.managed_map[c, v])
            | ((c == cpu) & ~s.alloc_map[c, v] & ((v == bit) | (v == other)))
        ),
    )
    return traded & _same(before, s, *_CPU_COUNTERS, *_COUNTERS, "alloc_map")


@vectors.theorem("MX-15", "A map that goes offline and comes back is as it was.", cpu=CPU)
def away_and_back(before: State, s: State, cpu: Term) -> Term:
    irq_matrix_offline(s, cpu)
    irq_matrix_online(s, cpu)
    return _same(before, s, *_CPU_COUNTERS, *_COUNTERS, *_FLAGS, "alloc_map", "managed_map")


@vectors.theorem("MX-16", "Reserving a slot allocates nothing.", cpu=CPU, bit=VECTOR)
def reserving_allocates_nothing(before: State, s: State, cpu: Term, bit: Term) -> Term:
    irq_matrix_reserve_managed(s, cpu, bit)
    return _same(before, s, "allocated", "total_allocated", "alloc_map")


@vectors.theorem("MX-16", "Removing a slot frees nothing.", cpu=CPU, bit=VECTOR)
def removing_frees_nothing(before: State, s: State, cpu: Term, bit: Term) -> Term:
    irq_matrix_remove_managed(s, cpu, bit)
    return _same(before, s, "allocated", "total_allocated", "alloc_map")


@vectors.theorem("MX-16", "A managed allocation costs no available vector.", cpu=CPU, bit=VECTOR)
def managed_was_paid_for(before: State, s: State, cpu: Term, bit: Term) -> Term:
    irq_matrix_alloc_managed(s, cpu, bit)
    return _same(before, s, "available", "global_available")


@vectors.theorem("MX-16", "A managed free yields no available vector.", cpu=CPU, bit=VECTOR)
def managed_stays_paid_for(before: State, s: State, cpu: Term, bit: Term) -> Term:
    irq_matrix_free(s, cpu, bit, TRUE)
    return _same(before, s, "available", "global_available")


@vectors.theorem(
    "MX-17", "The counters are functions of |A and M|, |A less M|, |M|, |S and R| and the flags."
)
def fungible(before: State, s: State) -> Term:
    """So a model that keeps the numbers alone loses nothing but which bit is which."""

    def law(c: Term) -> Term:
        regular = count(VECTOR, lambda v: s.alloc_map[c, v] & ~s.managed_map[c, v])
        return and_(
            s.managed_allocated[c] == managed_in_use(s, c),
            s.managed[c] == set_aside(s, c),
            s.allocated[c] == managed_in_use(s, c) + regular,
            s.allocated[c] == in_use(s, c),
            implies(
                s.initialized[c],
                s.available[c]
                == s.alloc_size
                - count(VECTOR, lambda v: s.system_map[v] & s.allocatable[v])
                - set_aside(s, c)
                - regular,
            ),
        )

    return forall(CPU, law)


@vectors.theorem("MX-11", "A regular allocation can succeed where available is positive.", cpu=CPU)
def regular_progress(before: State, s: State, cpu: Term) -> Term:
    s.require(s.online[cpu], s.available[cpu] > 0)
    return exists(VECTOR, lambda v: free_bit(s, cpu, v))


@vectors.theorem(
    "VEC-16", "A managed irq can be activated on every online CPU of its mask.", irq=IRQ, cpu=CPU
)
def managed_progress(before: State, s: State, irq: Term, cpu: Term) -> Term:
    s.require(at_rest(s), s.present[irq], s.is_managed[irq], ~has_vector(s, irq))
    s.require(s.affinity[irq, cpu], s.cpu_online[cpu])
    # The ghost names the bit, so that nobody has to look for it.
    return spare_bit(s, cpu, s.slot[irq, cpu])


@vectors.theorem("VEC-19", "A failed attempt to find a vector changes nothing.", irq=IRQ)
def failed_attempt(before: State, s: State, irq: Term) -> Term:
    vector_alloc_failed(s, irq)
    return _untouched(before, s)


@vectors.theorem("VEC-19", "A failed x86_vector_alloc_irqs leaves nothing behind.", irq=IRQ)
def failed_reservation(before: State, s: State, irq: Term) -> Term:
    vector_reserve_managed(s, irq, TRUE)
    vector_setup(s, irq, TRUE)
    return _untouched(before, s) & (s.pc[irq] == PC.IDLE)


@vectors.theorem("VEC-20", "An affinity change answered -EBUSY changes nothing.", irq=IRQ)
def refused_move(before: State, s: State, irq: Term) -> Term:
    irq_move_pending(s, irq, TRUE)
    return _untouched(before, s)


@vectors.theorem("GEN-7", "A refused move stays pending.", irq=IRQ)
def pending_kept(before: State, s: State, irq: Term) -> Term:
    irq_move_pending(s, irq, TRUE)
    vector_alloc_failed(s, irq)
    kept: Term = s.pending[irq]
    return kept


def _untouched(before: State, s: State) -> Term:
    """The matrix, the tables, and what every irq has."""

    def irq_is_same(i: Term) -> Term:
        names = (
            "present",
            "is_managed",
            "can_reserve",
            "has_reserved",
            "vector",
            "cpu",
            "prev_vector",
            "prev_cpu",
            "move_in_progress",
            "cleanup",
            "cfg_vector",
            "cfg_cpu",
        )
        return and_(*(getattr(s, n)[i] == getattr(before, n)[i] for n in names))

    table = forall(CPU, VECTOR, lambda c, v: s.vector_irq[c, v] == before.vector_irq[c, v])
    matrix = _same(before, s, *_CPU_COUNTERS, *_COUNTERS, "alloc_map", "managed_map")
    return and_(table, matrix, forall(IRQ, irq_is_same))
