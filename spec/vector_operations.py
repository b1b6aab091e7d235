# SPDX-License-Identifier: GPL-2.0-only
"""The operations of the vector domain: what vector_lock, or the stopped machine, makes atomic.

Each is a sequence of the actions that the tracepoints show. Parameters stand for what the
environment or the matrix chooses: an interrupt, a mask, and the CPU and the bit that are found.
Taking a CPU down is a walk of several operations, during which no other can run.

Left out, because they change nothing that can be seen between operations: an allocation that fails
(VEC-19; the managed one that is rolled back may permute unused managed bits, MX-14, which the
actions show), an affinity request that is in place already, and a cleanup that finds its old vector
still pending.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spec.matrix import (
    CPU,
    VECTOR,
    irq_matrix_alloc,
    irq_matrix_alloc_managed,
    irq_matrix_assign,
    irq_matrix_assign_system,
    irq_matrix_free,
    irq_matrix_remove_reserved,
    irq_matrix_reserve,
    irq_matrix_reserve_managed,
)
from spec.records import FunctionOf, Indexed
from spec.sorts import IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, TRUE, Option, Term, exists, forall, implies, lift, none
from spec.vector_actions import (
    MASK,
    cleanup_forgotten,
    cpu_goes_offline,
    fixup_irqs,
    irq_affinity,
    irq_alloc_descs,
    irq_domain_activate_irq,
    irq_domain_deactivate_irq,
    irq_effective,
    irq_free_descs,
    irq_matrix_remove_managed,
    irq_move_pending,
    irq_shutdown,
    irq_startup,
    irqd_clr_can_reserve,
    lapic_offline,
    lapic_online,
    managed_shutdown,
    send_cleanup_vector,
    vector_activate,
    vector_alloc,
    vector_alloc_managed,
    vector_clear,
    vector_clear_legacy,
    vector_config,
    vector_config_legacy,
    vector_config_shutdown,
    vector_deactivate,
    vector_free_moved,
    vector_reserve,
    vector_reserve_managed,
    vector_setup,
    vector_setup_legacy,
    vector_spurious,
    vector_teardown,
    vector_update,
)
from spec.vectors import has_previous, has_vector, on_dying_cpu, vectors

BITS = FunctionOf((CPU,), Option(VECTOR))
"""A bit on each CPU of a mask: the mask is where it is not none."""


@dataclass(frozen=True, slots=True)
class _Where:
    """A mask given by a formula, indexed like a parameter."""

    formula: Callable[[Term], Term]

    def __getitem__(self, cpu: Term) -> Term:
        return self.formula(cpu)


def _calm(s: State) -> None:
    """No CPU is being taken down: while one is, the rest of the machine is stopped."""
    s.require(s.dying == none(CPU))


def _alive(s: State, irq: Term) -> Term:
    """The irq's vector is on an online CPU."""
    return s.cpu_online[s.cpu[irq]]


def _take(s: State, irq: Term, cpu: Term, bit: Term, reserved: Term) -> None:
    """assign_vector_locked, when it finds a vector."""
    old, old_cpu = s.vector[irq], s.cpu[irq]
    dead = has_vector(s, irq) & ~_alive(s, irq)
    irq_matrix_alloc(s, cpu, bit, reserved)
    vector_alloc(s, irq, bit, reserved)
    vector_update(s, irq, bit, cpu, old, old_cpu)
    with s.when(dead):
        irq_matrix_free(s, old_cpu, old, FALSE)
    vector_config(s, irq, bit, cpu)


def _take_managed(s: State, irq: Term, cpu: Term, bit: Term) -> None:
    """assign_managed_vector, when it finds a vector."""
    old, old_cpu = s.vector[irq], s.cpu[irq]
    dead = has_vector(s, irq) & ~_alive(s, irq)
    s.require(s.affinity[irq, cpu], s.cpu_online[cpu])
    irq_matrix_alloc_managed(s, cpu, bit)
    vector_alloc_managed(s, irq, bit)
    vector_update(s, irq, bit, cpu, old, old_cpu)
    with s.when(dead):
        irq_matrix_free(s, old_cpu, old, TRUE)
    vector_config(s, irq, bit, cpu)


def _release(s: State, irq: Term) -> None:
    """clear_irq_vector: the current and the previous vector go back to the matrix."""
    moved, managed = has_previous(s, irq), s.is_managed[irq]
    cpu, bit = s.cpu[irq], s.vector[irq]
    old_cpu, old = s.prev_cpu[irq], s.prev_vector[irq]
    vector_clear(s, irq, bit, cpu, old, old_cpu)
    irq_matrix_free(s, cpu, bit, managed)
    with s.when(moved):
        irq_matrix_free(s, old_cpu, old, managed)


def _book(s: State, irq: Term) -> None:
    """reserve_irq_vector_locked."""
    irq_matrix_reserve(s)
    vector_reserve(s, irq)
    vector_config_shutdown(s, irq)


# --- boot and hotplug -----------------------------------------------------------------------


@vectors.operation(cpu=CPU, bit=VECTOR, replace=BOOL)
def assign_system(s: State, cpu: Term, bit: Term, replace: Term) -> None:
    """Boot marks a system vector."""
    _calm(s)
    s.require(implies(replace, s.cpu_online[cpu]))
    irq_matrix_assign_system(s, cpu, bit, replace)


@vectors.operation(cpu=CPU, bit=VECTOR)
def assign_isa(s: State, cpu: Term, bit: Term) -> None:
    """Boot gives an ISA interrupt its vector, on the first CPU, before anything else."""
    _calm(s)
    s.require(~(s.isa_irq[bit] == none(IRQ)), s.vector_irq[cpu, bit] == s.isa_irq[bit])
    s.require(forall(IRQ, lambda i: ~s.desc[i]), s.cpu_online[cpu])
    irq_matrix_assign(s, cpu, bit)


@vectors.operation(cpu=CPU)
def cpu_up(s: State, cpu: Term) -> None:
    """A CPU comes up."""
    _calm(s)
    lapic_online(s, cpu)


@vectors.operation(cpu=CPU)
def cpu_down(s: State, cpu: Term) -> None:
    """A CPU passes lapic_can_unplug_cpu and leaves the online mask."""
    free_elsewhere = s.global_available - s.available[cpu]
    s.require(s.allocated[cpu] - s.managed_allocated[cpu] <= free_elsewhere)
    cpu_goes_offline(s, cpu)


@vectors.operation(irq=IRQ)
def force_complete_move(s: State, irq: Term) -> None:
    """The walk ends an unfinished move of or to the dying CPU; v5.10 only of an irq on it (H1)."""
    leaving = on_dying_cpu(s, irq)
    if not s.on("H1"):
        leaving = leaving | ((s.prev_cpu[irq] == s.dying) & ~(s.dying == none(CPU)))
    s.require(leaving, has_previous(s, irq))
    _free_moved(s, irq)


@vectors.operation(irq=IRQ, cpu=CPU, bit=VECTOR)
def migrate(s: State, irq: Term, cpu: Term, bit: Term) -> None:
    """The walk moves a started irq off the dying CPU."""
    s.require(s.present[irq], s.started[irq], on_dying_cpu(s, irq), s.cpu_online[cpu])
    _take(s, irq, cpu, bit, FALSE)


@vectors.operation(irq=IRQ, cpu=CPU, bit=VECTOR)
def migrate_managed(s: State, irq: Term, cpu: Term, bit: Term) -> None:
    """The walk moves a managed irq to another CPU of its mask."""
    s.require(s.present[irq], s.started[irq], on_dying_cpu(s, irq), ~has_previous(s, irq))
    _take_managed(s, irq, cpu, bit)


@vectors.operation(irq=IRQ)
def migrate_shutdown(s: State, irq: Term) -> None:
    """The walk shuts down a managed irq whose last CPU dies."""
    s.require(
        s.present[irq],
        s.started[irq],
        on_dying_cpu(s, irq),
        ~has_previous(s, irq),
        s.is_managed[irq],
    )
    s.require(~exists(CPU, lambda c: s.affinity[irq, c] & s.cpu_online[c]))
    managed_shutdown(s, irq, TRUE)
    irq_shutdown(s, irq)
    vector_deactivate(s, irq)
    _release(s, irq)
    vector_config_shutdown(s, irq)
    irq_domain_deactivate_irq(s, irq)


@vectors.operation(cpu=CPU)
def cpu_dead(s: State, cpu: Term) -> None:
    """The walk is done: the table is swept and the map leaves."""
    fixup_irqs(s, cpu)
    lapic_offline(s, cpu)


# --- allocation -----------------------------------------------------------------------------


@vectors.operation(irq=IRQ, mask=MASK)
def alloc_reserved(s: State, irq: Term, mask: Indexed) -> None:
    """x86_vector_alloc_irqs without a mask: a reservation."""
    _calm(s)
    irq_alloc_descs(s, irq, mask, FALSE)
    _book(s, irq)
    vector_setup(s, irq, FALSE)


@vectors.operation(irq=IRQ, cpu=CPU, bit=VECTOR)
def alloc_masked(s: State, irq: Term, cpu: Term, bit: Term) -> None:
    """x86_vector_alloc_irqs with a mask: a vector at once, for good."""
    _calm(s)
    irq_alloc_descs(s, irq, _Where(lambda c: c == cpu), FALSE)
    s.require(s.cpu_online[cpu])
    _take(s, irq, cpu, bit, FALSE)
    vector_setup(s, irq, FALSE)


@vectors.operation(irq=IRQ, bits=BITS)
def alloc_managed(s: State, irq: Term, bits: Indexed) -> None:
    """x86_vector_alloc_irqs of a managed irq: one slot on every CPU of its mask."""
    _calm(s)
    mask = _Where(lambda c: ~(bits[c] == none(VECTOR)))
    irq_alloc_descs(s, irq, mask, TRUE)
    with s.each(CPU, "c", lambda c: mask[c]) as c:
        irq_matrix_reserve_managed(s, c, bits[c])
    vector_reserve_managed(s, irq, FALSE)
    vector_setup(s, irq, FALSE)


@vectors.operation(irq=IRQ, cpu=CPU, vector=VECTOR)
def alloc_legacy(s: State, irq: Term, cpu: Term, vector: Term) -> None:
    """A legacy irq that is not active trades its boot-time vector for a reservation."""
    _calm(s)
    irq_alloc_descs(s, irq, _Where(lambda c: TRUE), FALSE)
    vector_clear_legacy(s, irq, vector, cpu)
    irq_matrix_free(s, cpu, vector, FALSE)
    _book(s, irq)
    vector_setup(s, irq, FALSE)


@vectors.operation(irq=IRQ, cpu=CPU, vector=VECTOR)
def inherit_legacy(s: State, irq: Term, cpu: Term, vector: Term) -> None:
    """The active legacy irq, the timer, keeps its boot-time vector."""
    _calm(s)
    irq_alloc_descs(s, irq, _Where(lambda c: TRUE), FALSE)
    vector_setup_legacy(s, irq)
    vector_config_legacy(s, irq, vector, cpu)
    irq_domain_activate_irq(s, irq)


@vectors.operation(irq=IRQ)
def cannot_mask(s: State, irq: Term) -> None:
    """The MSI core finds that the device cannot be masked: no reservation mode."""
    _calm(s)
    s.require(s.has_reserved[irq], s.irqd_can_reserve[irq])
    irqd_clr_can_reserve(s, irq)


@vectors.operation(irq=IRQ)
def free(s: State, irq: Term) -> None:
    """x86_vector_free_irqs of an irq that is not managed."""
    _calm(s)
    s.require(s.present[irq], ~s.is_managed[irq], ~s.started[irq])
    reserved = s.has_reserved[irq]
    with s.when(has_vector(s, irq)):
        _release(s, irq)
    vector_teardown(s, irq)
    with s.when(reserved):
        irq_matrix_remove_reserved(s)
    irq_free_descs(s, irq)


@vectors.operation(irq=IRQ, bits=BITS)
def free_managed(s: State, irq: Term, bits: Indexed) -> None:
    """x86_vector_free_irqs of a managed irq: on each CPU of its mask one unused slot goes."""
    _calm(s)
    s.require(s.present[irq], s.is_managed[irq], ~s.started[irq], ~s.has_reserved[irq])
    s.require(forall(CPU, lambda c: s.affinity[irq, c] == ~(bits[c] == none(VECTOR))))
    with s.when(has_vector(s, irq)):
        _release(s, irq)
    vector_teardown(s, irq)
    with s.each(CPU, "c", lambda c: s.affinity[irq, c]) as c:
        irq_matrix_remove_managed(s, c, bits[c])
    irq_free_descs(s, irq)


# --- activation -----------------------------------------------------------------------------


@vectors.operation(irq=IRQ, cpu=CPU, bit=VECTOR)
def activate(s: State, irq: Term, cpu: Term, bit: Term) -> None:
    """A reserved irq gets its vector, in its affinity or, failing that, anywhere."""
    _calm(s)
    s.require(s.present[irq], s.has_reserved[irq], s.cpu_online[cpu])
    s.require(~s.managed_shutdown[irq])
    vector_activate(s, irq, FALSE)
    _take(s, irq, cpu, bit, TRUE)
    irq_domain_activate_irq(s, irq)


@vectors.operation(irq=IRQ)
def activate_in_place(s: State, irq: Term) -> None:
    """An irq that kept its vector is activated and keeps it."""
    _calm(s)
    s.require(
        s.present[irq], has_vector(s, irq), ~s.activated[irq], _alive(s, irq), ~s.is_managed[irq]
    )
    s.require(~s.managed_shutdown[irq])
    vector_activate(s, irq, FALSE)
    irq_domain_activate_irq(s, irq)


@vectors.operation(irq=IRQ, cpu=CPU, bit=VECTOR)
def activate_elsewhere(s: State, irq: Term, cpu: Term, bit: Term) -> None:
    """A fixed irq whose CPU is offline, or no longer wanted, is activated with a new vector."""
    _calm(s)
    s.require(
        s.present[irq], has_vector(s, irq), ~s.activated[irq], s.cpu_online[cpu], ~s.is_managed[irq]
    )
    s.require(~s.can_reserve[irq])
    s.require(~s.managed_shutdown[irq])
    vector_activate(s, irq, FALSE)
    _take(s, irq, cpu, bit, FALSE)
    irq_domain_activate_irq(s, irq)


@vectors.operation(only_with="H6", irq=IRQ)
def activate_without_vector(s: State, irq: Term) -> None:
    """v5.10: a fixed irq whose CPU is offline finds no vector, and is activated all the same."""
    _calm(s)
    s.require(
        s.present[irq], has_vector(s, irq), ~s.activated[irq], ~_alive(s, irq), ~s.is_managed[irq]
    )
    s.require(~s.can_reserve[irq])
    s.require(forall(CPU, lambda c: implies(s.online[c], s.available[c] <= 0)))
    s.require(~s.managed_shutdown[irq])
    vector_activate(s, irq, FALSE)
    irq_domain_activate_irq(s, irq)


@vectors.operation(irq=IRQ, cpu=CPU, bit=VECTOR)
def startup_managed(s: State, irq: Term, cpu: Term, bit: Term) -> None:
    """A managed irq is started: it takes one of the slots of its mask's CPUs."""
    _calm(s)
    s.require(s.is_managed[irq], ~s.started[irq], ~has_vector(s, irq))
    managed_shutdown(s, irq, FALSE)
    vector_activate(s, irq, FALSE)
    _take_managed(s, irq, cpu, bit)
    irq_domain_activate_irq(s, irq)
    irq_startup(s, irq)


@vectors.operation(irq=IRQ)
def startup(s: State, irq: Term) -> None:
    """An activated irq is started."""
    _calm(s)
    s.require(~s.is_managed[irq], ~s.started[irq])
    irq_startup(s, irq)


@vectors.operation(irq=IRQ)
def deactivate_fixed(s: State, irq: Term) -> None:
    """free_irq of a fixed irq: it keeps its vector."""
    _calm(s)
    s.require(s.present[irq], s.activated[irq], ~s.is_managed[irq], ~s.can_reserve[irq])
    s.started[irq] = False
    vector_deactivate(s, irq)
    irq_domain_deactivate_irq(s, irq)


@vectors.operation(irq=IRQ)
def deactivate(s: State, irq: Term) -> None:
    """free_irq of a reservable irq: the vector goes, a reservation comes."""
    _calm(s)
    s.require(
        s.present[irq], s.activated[irq], ~s.is_managed[irq], s.can_reserve[irq], has_vector(s, irq)
    )
    s.started[irq] = False
    vector_deactivate(s, irq)
    _release(s, irq)
    _book(s, irq)
    irq_domain_deactivate_irq(s, irq)


@vectors.operation(irq=IRQ)
def deactivate_managed(s: State, irq: Term) -> None:
    """free_irq of a managed irq: the vector goes, its slots stay reserved."""
    _calm(s)
    s.require(s.present[irq], s.activated[irq], s.is_managed[irq], has_vector(s, irq))
    s.started[irq] = False
    vector_deactivate(s, irq)
    _release(s, irq)
    vector_config_shutdown(s, irq)
    irq_domain_deactivate_irq(s, irq)


# --- affinity and moves ---------------------------------------------------------------------


@vectors.operation(irq=IRQ, mask=MASK, cpu=CPU, bit=VECTOR)
def set_affinity(s: State, irq: Term, mask: Indexed, cpu: Term, bit: Term) -> None:
    """apic_set_affinity moves an active irq to a CPU of the mask."""
    _calm(s)
    s.require(s.present[irq], s.activated[irq], has_vector(s, irq), ~s.is_managed[irq])
    s.require(mask[cpu], s.cpu_online[cpu], ~(_alive(s, irq) & mask[s.cpu[irq]]))
    _take(s, irq, cpu, bit, FALSE)
    irq_affinity(s, irq, mask)
    irq_move_pending(s, irq, FALSE)


@vectors.operation(irq=IRQ)
def set_affinity_busy(s: State, irq: Term) -> None:
    """The last move is unfinished: -EBUSY changes nothing (VEC-20), the request stays pending."""
    _calm(s)
    s.require(
        s.present[irq], s.activated[irq], has_previous(s, irq), ~s.is_managed[irq], ~s.pending[irq]
    )
    irq_move_pending(s, irq, TRUE)


@vectors.operation(irq=IRQ, mask=MASK)
def set_affinity_inactive(s: State, irq: Term, mask: Indexed) -> None:
    """The shortcut of genirq: the chip of an inactive irq is not asked."""
    _calm(s)
    s.require(s.desc[irq], ~s.activated[irq], ~s.is_managed[irq])
    irq_affinity(s, irq, mask)
    irq_effective(s, irq, mask)


@vectors.operation(irq=IRQ, cpu=CPU, bit=VECTOR)
def set_affinity_managed(s: State, irq: Term, cpu: Term, bit: Term) -> None:
    """CPU isolation moves a managed irq within its mask."""
    _calm(s)
    s.require(s.present[irq], s.activated[irq], has_vector(s, irq))
    _take_managed(s, irq, cpu, bit)


@vectors.operation(only_with="H7", irq=IRQ, mask=MASK)
def set_managed_mask(s: State, irq: Term, mask: Indexed) -> None:
    """A driver changes the mask of a managed irq."""
    _calm(s)
    s.require(s.is_managed[irq], ~s.activated[irq])
    irq_affinity(s, irq, mask)


@vectors.operation(irq=IRQ)
def complete_move(s: State, irq: Term) -> None:
    """The first interrupt on the new CPU queues the old vector's cleanup."""
    _calm(s)
    s.require(s.cpu_online[s.cpu[irq]])
    send_cleanup_vector(s, irq, s.prev_cpu[irq])


@vectors.operation(only_with="H1", irq=IRQ)
def forget_move(s: State, irq: Term) -> None:
    """v5.10: the first interrupt on the new CPU finds the old CPU offline, and forgets."""
    _calm(s)
    cleanup_forgotten(s, irq)


@vectors.operation(irq=IRQ)
def cleanup(s: State, irq: Term) -> None:
    """The old CPU runs its cleanup list."""
    _calm(s)
    s.require(s.cpu_online[s.cleanup[irq]])
    _free_moved(s, irq)


def _free_moved(s: State, irq: Term) -> None:
    cpu, bit, managed = s.prev_cpu[irq], s.prev_vector[irq], s.is_managed[irq]
    vector_free_moved(s, irq, cpu, bit)
    irq_matrix_free(s, cpu, bit, managed)


# --- strays ---------------------------------------------------------------------------------


@vectors.operation(cpu=CPU, vector=VECTOR)
def spurious(s: State, cpu: Term, vector: Term) -> None:
    """An interrupt finds a mark in the table."""
    _calm(s)
    s.require(s.cpu_online[cpu])
    vector_spurious(s, cpu, vector)


@vectors.operation(only_with="E0", cpu=CPU, bit=VECTOR)
def double_free(s: State, cpu: Term, bit: Term) -> None:
    """A caller frees a bit that is not set, against E0: in v5.10 the counters move (MX-D3)."""
    _calm(s)
    s.require(s.allocatable[bit], ~s.alloc_map[cpu, bit], ~s.system_map[bit], s.initialized[cpu])
    s.require(~s.managed_map[cpu, bit])
    s.hand[cpu, bit] = True
    irq_matrix_free(s, cpu, bit, lift(False))
