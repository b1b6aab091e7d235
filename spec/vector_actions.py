# SPDX-License-Identifier: GPL-2.0-only
"""The actions of the vector domain: one for each tracepoint, in the kernel's order of fields.

Guards say what the event promises about the state it is printed in; the numbers in an event that
repeat the state (`vector_clear` prints what it clears) are guards too, so that a log that prints
something else does not fit.
"""

from __future__ import annotations

from spec import matrix
from spec.matrix import (
    CPU,
    VECTOR,
    at_rest,
    free_bit,
    irq_matrix_offline,
    irq_matrix_online,
    nothing_in_hand,
    spare_bit,
)
from spec.records import FunctionOf, Indexed
from spec.sorts import IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, Option, Term, and_, exists, forall, implies, ite, none, or_
from spec.vectors import PC, has_previous, has_vector, idle, vectors

MASK = FunctionOf((CPU,), BOOL)
OPTION_CPU = Option(CPU)
OPTION_VECTOR = Option(VECTOR)


# --- descriptors and what genirq keeps ------------------------------------------------------


@vectors.action(irq=IRQ, mask=MASK, managed=BOOL)
def irq_alloc_descs(s: State, irq: Term, mask: Indexed, managed: Term) -> None:
    """A descriptor with its affinity (section 4.1)."""
    s.require(~s.desc[irq], exists(CPU, lambda c: mask[c]), exists(CPU, lambda c: s.cpu_online[c]))
    # Boot has assigned the ISA vectors before it makes any descriptor of an ISA interrupt.
    s.require(
        forall(
            CPU,
            VECTOR,
            lambda c, v: implies(
                s.cpu_online[c] & (s.vector_irq[c, v] == irq), s.isa[c, v] | s.system_map[v]
            ),
        )
    )
    s.desc[irq] = True
    s.affinity_managed[irq] = managed
    s.managed_shutdown[irq] = managed
    with s.each(CPU, "c") as c:
        s.affinity[irq, c] = mask[c]


@vectors.action(irq=IRQ)
def irq_free_descs(s: State, irq: Term) -> None:
    """The descriptor goes, with all that genirq kept in it."""
    s.require(s.desc[irq], ~s.present[irq], idle(s, irq))
    s.desc[irq] = False
    s.affinity_managed[irq] = False
    s.managed_shutdown[irq] = False
    s.irqd_can_reserve[irq] = False
    s.pending[irq] = False
    s.activated[irq] = False
    s.started[irq] = False
    with s.each(CPU, "c") as c:
        s.affinity[irq, c] = False


@vectors.action(irq=IRQ)
def irqd_clr_can_reserve(s: State, irq: Term) -> None:
    """The MSI core finds that the device cannot be masked (section 6.6, step 5)."""
    s.require(s.present[irq], idle(s, irq))
    s.irqd_can_reserve[irq] = False


@vectors.action(irq=IRQ)
def irq_domain_activate_irq(s: State, irq: Term) -> None:
    """ACTIVATED is set: the domain's activation has succeeded. That of a managed irq fails without
    a vector, unless it is shut down and needs none."""
    s.require(s.present[irq], idle(s, irq))
    s.require(implies(s.affinity_managed[irq], s.managed_shutdown[irq] | has_vector(s, irq)))
    s.activated[irq] = True


@vectors.action(irq=IRQ)
def irq_domain_deactivate_irq(s: State, irq: Term) -> None:
    """ACTIVATED is cleared: the domain has deactivated."""
    s.require(s.activated[irq], ~s.started[irq], idle(s, irq))
    s.activated[irq] = False


@vectors.action(irq=IRQ)
def irqd_clr_activated(s: State, irq: Term) -> None:
    """The early activation trick: ACTIVATED is cleared and nothing deactivated."""
    s.require(s.activated[irq], ~s.started[irq], idle(s, irq))
    s.activated[irq] = False


@vectors.action(irq=IRQ)
def irq_startup(s: State, irq: Term) -> None:
    """STARTED is set. v5.10 starts a fixed irq whose activation found no vector (H6)."""
    s.require(s.present[irq], s.activated[irq], idle(s, irq), ~s.managed_shutdown[irq])
    if not s.on("H6"):
        s.require(has_vector(s, irq))
        s.require(s.cpu_online[s.cpu[irq]])
    s.started[irq] = True


@vectors.action(irq=IRQ)
def irq_shutdown(s: State, irq: Term) -> None:
    """STARTED is cleared. In the walk over a dying CPU's irqs that happens to a managed one whose
    CPUs are all gone, which has been marked before, so that it is started again (GEN-3)."""
    alive = exists(CPU, lambda c: s.affinity[irq, c] & s.cpu_online[c])
    s.require(s.started[irq])
    s.require(implies(~(s.dying == none(CPU)), s.managed_shutdown[irq] & ~alive))
    s.started[irq] = False


@vectors.action(irq=IRQ, value=BOOL)
def managed_shutdown(s: State, irq: Term, value: Term) -> None:
    """MANAGED_SHUTDOWN changes: it is set before the irq is shut down, with its last CPU."""
    s.require(s.affinity_managed[irq])
    alive = exists(CPU, lambda c: s.affinity[irq, c] & s.cpu_online[c])
    s.require(ite(value, ~s.started[irq] | ~alive, alive))
    s.managed_shutdown[irq] = value


@vectors.action(irq=IRQ, mask=MASK)
def irq_affinity(s: State, irq: Term, mask: Indexed) -> None:
    """desc.affinity is stored; of a managed irq only with the mask it has, unless a driver breaks
    the rule (H7). The default mask of an unmanaged irq may be empty in no case."""
    s.require(s.desc[irq], exists(CPU, lambda c: mask[c]))
    same = forall(CPU, lambda c: mask[c] == s.affinity[irq, c])
    s.assume("H7", implies(s.affinity_managed[irq], same))
    with s.each(CPU, "c") as c:
        s.affinity[irq, c] = mask[c]


@vectors.action(irq=IRQ, mask=MASK)
def irq_effective(s: State, irq: Term, mask: Indexed) -> None:
    """The shortcut for an inactive irq (section 4.4) stores the request as effective, too."""
    s.require(s.desc[irq], ~s.activated[irq])
    with s.each(CPU, "c") as c:
        s.effective[irq, c] = mask[c] & ~(s.cfg_vector[irq] == none(VECTOR))
    s.shortcut[irq] = True


@vectors.action(irq=IRQ)
def irq_data_update_effective_affinity(s: State, irq: Term) -> None:
    """An activation finds the irq's vector in place: what the shortcut stored is put right. v5.10
    leaves it, and takes the irq for one of other CPUs when its own goes down (H9)."""
    s.require(has_vector(s, irq), s.cpu_online[s.cpu[irq]], idle(s, irq))
    with s.each(CPU, "c") as c:
        s.effective[irq, c] = s.cpu[irq] == c
    s.shortcut[irq] = False


@vectors.action(irq=IRQ, value=BOOL)
def irq_move_pending(s: State, irq: Term, value: Term) -> None:
    """SETAFFINITY_PENDING changes (GEN-7: a refused move stays pending)."""
    s.require(s.desc[irq])
    s.pending[irq] = value


# --- joining and leaving the domain ---------------------------------------------------------


@vectors.action(irq=IRQ)
def vector_reserve(s: State, irq: Term) -> None:
    """The reservation just made belongs to this irq."""
    joins = and_(idle(s, irq), ~s.present[irq], ~s.affinity_managed[irq])
    s.require(s.desc[irq], s.unclaimed == 1, nothing_in_hand(s))
    s.require(or_(joins, s.pc[irq] == PC.RESERVE), ~has_vector(s, irq), ~s.is_managed[irq])
    s.require(~s.has_reserved[irq])
    s.unclaimed -= 1
    s.has_reserved[irq] = True
    s.can_reserve[irq] = True
    s.irqd_can_reserve[irq] = True
    s.pc[irq] = PC.SHUTDOWN


@vectors.action(irq=IRQ, failed=BOOL)
def vector_reserve_managed(s: State, irq: Term, failed: Term) -> None:
    """The managed slots just reserved, one on each CPU of the affinity, belong to this irq; or the
    attempt has failed and all of them are given back."""
    s.require(s.desc[irq], s.affinity_managed[irq], ~s.present[irq], idle(s, irq))
    s.require(nothing_in_hand(s), s.unclaimed == 0)

    def owed(c: Term) -> Term:
        return ite(s.affinity[irq, c] & ~failed, 1, 0)

    s.require(forall(CPU, lambda c: s.managed_unclaimed[c] == owed(c)))
    with s.when(~failed):
        s.is_managed[irq] = True
        with s.each(CPU, "c", lambda c: s.affinity[irq, c]) as c:
            s.managed_unclaimed[c] -= 1
            s.holds[irq, c] = True
            s.slot[irq, c] = s.reserving[c]
            s.reserving[c] = None
    s.pc[irq] = ite(failed, PC.FAILED, PC.SETUP)


@vectors.action(irq=IRQ, failed=BOOL)
def vector_setup(s: State, irq: Term, failed: Term) -> None:
    """The irq is in the domain, or its policy has failed. A failed allocation of a vector from a
    given mask leaves no trace before this one."""
    plain = and_(idle(s, irq), s.desc[irq], ~s.present[irq], ~s.affinity_managed[irq])
    lost = (s.pc[irq] == PC.FAILED) | plain
    s.require(ite(failed, lost, s.pc[irq] == PC.SETUP), at_rest(s))
    s.present[irq] = ~failed
    s.pc[irq] = PC.IDLE


@vectors.action(irq=IRQ)
def vector_setup_legacy(s: State, irq: Term) -> None:
    """A legacy irq that is active already inherits its boot-time vector: vector_config names it."""
    s.require(s.desc[irq], ~s.present[irq], idle(s, irq), ~s.affinity_managed[irq])
    s.require(at_rest(s))
    s.present[irq] = True
    s.pc[irq] = PC.LEGACY


@vectors.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_clear_legacy(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """A legacy irq that is not active gives its boot-time vector up. That of the PIC cascade was
    never a bit of the matrix; v5.10 frees it all the same (H5)."""
    s.require(s.desc[irq], ~s.present[irq], idle(s, irq), at_rest(s))
    s.require(s.isa_irq[vector] == irq)
    if s.on("H5"):
        s.require(s.isa[cpu, vector] | s.system_map[vector])
    else:
        s.require(s.isa[cpu, vector])
    s.isa[cpu, vector] = False
    s.hand[cpu, vector] = True
    s.vector_irq[cpu, vector] = None
    s.shutdown_mark[cpu, vector] = True


@vectors.action(cpu=CPU, bit=VECTOR)
def irq_matrix_remove_managed(s: State, cpu: Term, bit: Term) -> None:
    """As in the matrix. Ghost: the irq whose slot the bit was takes over the one in hand."""
    with s.each(IRQ, "j", lambda j: s.slot[j, cpu] == bit) as j:
        s.slot[j, cpu] = s.reserving[cpu]
    matrix.irq_matrix_remove_managed(s, cpu, bit)


@vectors.action(irq=IRQ)
def vector_teardown(s: State, irq: Term) -> None:
    """The irq leaves; what it had reserved is removed right after. The mask that counts is the one
    the irq has now, whatever it was when the slots were reserved (H7)."""
    leaves = or_(s.pc[irq] == PC.TEARDOWN, idle(s, irq) & s.present[irq] & ~has_vector(s, irq))
    s.require(leaves, s.desc[irq], at_rest(s))
    with s.when(s.has_reserved[irq]):
        s.unclaimed += 1
    with s.each(CPU, "c", lambda c: s.is_managed[irq] & s.affinity[irq, c]) as c:
        s.managed_unclaimed[c] += 1
        s.reserving[c] = s.slot[irq, c]
    with s.each(CPU, "c") as c:
        s.holds[irq, c] = False
        s.slot[irq, c] = None
    for bit in ("present", "is_managed", "can_reserve", "has_reserved"):
        getattr(s, bit)[irq] = False
    s.cfg_shutdown[irq] = False
    s.shortcut[irq] = False
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None
    with s.each(CPU, "c") as c:
        s.effective[irq, c] = False
    s.pc[irq] = PC.IDLE


# --- activation -----------------------------------------------------------------------------


@vectors.action(irq=IRQ, reserve=BOOL)
def vector_activate(s: State, irq: Term, reserve: Term) -> None:
    """x86_vector_activate begins; what it owes follows the table of section 3.3."""
    s.require(s.present[irq], idle(s, irq))
    fixed = ~s.can_reserve[irq] & ~s.is_managed[irq]
    shutdown = reserve | s.managed_shutdown[irq]
    alive = exists(CPU, lambda c: s.affinity[irq, c] & s.cpu_online[c])
    must = ~has_vector(s, irq) & (s.has_reserved[irq] | (s.is_managed[irq] & alive))
    rest = ite(shutdown, PC.SHUTDOWN, ite(must, PC.ACTIVATE, PC.IDLE))
    # A vector that is in use is never shut down by an activation.
    s.require(implies(~fixed & shutdown, ~has_vector(s, irq)))
    s.pc[irq] = ite(fixed, PC.IDLE, rest)


@vectors.action(irq=IRQ, vector=VECTOR, reserved=BOOL)
def vector_alloc(s: State, irq: Term, vector: Term, reserved: Term) -> None:
    """The bit just allocated is for this irq. Refused while an earlier move is unfinished."""
    s.require(s.desc[irq], ~s.is_managed[irq], ~s.affinity_managed[irq], _may_try(s, irq))
    s.require(reserved == s.has_reserved[irq], ~has_previous(s, irq))
    s.require(exists(CPU, lambda c: s.hand[c, vector]))
    s.require(s.unclaimed == ite(reserved, -1, 0))
    with s.when(reserved):
        s.unclaimed += 1
        s.has_reserved[irq] = False
        s.can_reserve[irq] = s.irqd_can_reserve[irq]
    s.pc[irq] = PC.UPDATE


@vectors.action(irq=IRQ, vector=VECTOR)
def vector_alloc_managed(s: State, irq: Term, vector: Term) -> None:
    """The managed bit just allocated is for this irq. Nothing in v5.10 refuses while an earlier
    move is unfinished (H4)."""
    s.require(s.present[irq], s.is_managed[irq], _may_try(s, irq))
    if not s.on("H4"):
        s.require(~has_previous(s, irq))
    s.require(exists(CPU, lambda c: s.hand[c, vector]), s.unclaimed == 0)
    s.pc[irq] = PC.UPDATE


@vectors.action(irq=IRQ)
def vector_alloc_failed(s: State, irq: Term) -> None:
    """One attempt found no vector: nothing has changed (VEC-19, VEC-20)."""
    s.require(s.desc[irq], _may_try(s, irq), at_rest(s))
    s.pc[irq] = ite(s.pc[irq] == PC.IDLE, PC.IDLE, PC.RETRY)


def _may_try(s: State, irq: Term) -> Term:
    """An irq of the domain that has no vector gets one only when it is activated; one that has, or
    that is about to join with a mask, may look for one at any time. So may a managed irq that was
    activated while it was shut down: its start asks for its affinity and not for an activation."""
    wants = (s.pc[irq] == PC.ACTIVATE) | (s.pc[irq] == PC.RETRY)
    early = s.is_managed[irq] & s.activated[irq]
    return wants | ((s.pc[irq] == PC.IDLE) & or_(has_vector(s, irq), ~s.present[irq], early))


@vectors.action(irq=IRQ, vector=VECTOR, cpu=CPU, prev_vector=OPTION_VECTOR, prev_cpu=OPTION_CPU)
def vector_update(
    s: State, irq: Term, vector: Term, cpu: Term, prev_vector: Term, prev_cpu: Term
) -> None:
    """apic_update_vector: the new vector takes over. The old one is kept as previous while its CPU
    is online, else it goes back at once."""
    old, old_cpu = s.vector[irq], s.cpu[irq]
    s.require(s.pc[irq] == PC.UPDATE, s.hand[cpu, vector], s.cpu_online[cpu])
    s.require(s.managed_unclaimed[cpu] == 0)
    s.require(s.managed_map[cpu, vector] == s.is_managed[irq])
    s.require(implies(s.is_managed[irq], s.affinity[irq, cpu]))
    s.require(prev_vector == old, implies(~(old == none(VECTOR)), prev_cpu == old_cpu))
    s.require(~(old_cpu == cpu))
    alive = s.cpu_online[old_cpu]
    if s.on("H4"):
        s.prev_vector[irq] = None
        s.prev_cpu[irq] = None
    with s.when(alive):
        s.move_in_progress[irq] = True
        s.prev_vector[irq] = old
        s.prev_cpu[irq] = old_cpu
    with s.when(has_vector(s, irq) & ~alive):
        s.hand[old_cpu, old] = True
    s.vector[irq] = vector
    s.cpu[irq] = cpu
    s.hand[cpu, vector] = False
    s.vector_irq[cpu, vector] = irq
    s.shutdown_mark[cpu, vector] = False
    s.retriggered[cpu, vector] = False
    _match(s, irq, cpu, vector)
    s.pc[irq] = PC.CONFIG


def _match(s: State, irq: Term, cpu: Term, vector: Term) -> None:
    """Ghost: the irq's slot on this CPU is now this bit; whoever had it takes the irq's."""
    mine = s.slot[irq, cpu]
    with s.when(s.is_managed[irq]):
        with s.each(IRQ, "j", lambda j: s.slot[j, cpu] == vector) as j:
            s.slot[j, cpu] = mine
        s.slot[irq, cpu] = vector


@vectors.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """apic_update_irq_cfg: this vector on this CPU is what the message will say."""
    s.require(s.pc[irq] == PC.CONFIG, nothing_in_hand(s))
    s.require(s.vector[irq] == vector, s.cpu[irq] == cpu)
    _configure(s, irq, vector, cpu)
    s.pc[irq] = ite(s.present[irq], PC.IDLE, PC.SETUP)


@vectors.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config_legacy(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The active legacy irq takes its boot-time vector over."""
    s.require(s.pc[irq] == PC.LEGACY, s.isa[cpu, vector], s.isa_irq[vector] == irq)
    s.require(s.cpu_online[cpu], s.vector_irq[cpu, vector] == irq)
    s.isa[cpu, vector] = False
    s.vector[irq] = vector
    s.cpu[irq] = cpu
    _configure(s, irq, vector, cpu)
    s.pc[irq] = PC.IDLE


def _configure(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    s.cfg_vector[irq] = vector
    s.cfg_cpu[irq] = cpu
    s.cfg_shutdown[irq] = False
    s.shortcut[irq] = False
    with s.each(CPU, "c") as c:
        s.effective[irq, c] = c == cpu


@vectors.action(irq=IRQ)
def vector_config_shutdown(s: State, irq: Term) -> None:
    """vector_assign_managed_shutdown: the message will name the shared shutdown vector."""
    s.require(s.pc[irq] == PC.SHUTDOWN, at_rest(s))
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None
    s.cfg_shutdown[irq] = True
    s.shortcut[irq] = False
    with s.each(CPU, "c") as c:
        s.effective[irq, c] = False
    s.pc[irq] = ite(s.present[irq], PC.IDLE, PC.SETUP)


@vectors.action(irq=IRQ)
def vector_deactivate(s: State, irq: Term) -> None:
    """x86_vector_deactivate begins: a fixed or merely reserved irq keeps what it has."""
    s.require(s.present[irq], idle(s, irq), ~s.started[irq])
    keeps = (~s.is_managed[irq] & ~s.can_reserve[irq]) | s.has_reserved[irq]
    bare = ite(s.is_managed[irq], PC.SHUTDOWN, PC.RESERVE)
    s.pc[irq] = ite(keeps, PC.IDLE, ite(has_vector(s, irq), PC.CLEAR, bare))


@vectors.action(irq=IRQ, vector=VECTOR, cpu=CPU, prev_vector=OPTION_VECTOR, prev_cpu=OPTION_CPU)
def vector_clear(
    s: State, irq: Term, vector: Term, cpu: Term, prev_vector: Term, prev_cpu: Term
) -> None:
    """clear_irq_vector: the current vector and, if a move is unfinished, the previous one go."""
    s.require((s.pc[irq] == PC.CLEAR) | (idle(s, irq) & s.present[irq]), ~s.started[irq])
    s.require(s.vector[irq] == vector, s.cpu[irq] == cpu, prev_vector == s.prev_vector[irq])
    s.require(implies(has_previous(s, irq), prev_cpu == s.prev_cpu[irq]), at_rest(s))
    old, old_cpu = s.prev_vector[irq], s.prev_cpu[irq]
    _give_up(s, cpu, vector)
    with s.when(has_previous(s, irq)):
        _give_up(s, old_cpu, old)
    for option in ("vector", "cpu", "prev_vector", "prev_cpu", "cleanup"):
        getattr(s, option)[irq] = None
    s.move_in_progress[irq] = False
    follows = ite(s.is_managed[irq], PC.SHUTDOWN, PC.RESERVE)
    s.pc[irq] = ite(s.pc[irq] == PC.CLEAR, follows, PC.TEARDOWN)


def _give_up(s: State, cpu: Term, vector: Term) -> None:
    s.hand[cpu, vector] = True
    s.vector_irq[cpu, vector] = None
    s.shutdown_mark[cpu, vector] = True
    s.retriggered[cpu, vector] = False


# --- moves ----------------------------------------------------------------------------------


@vectors.action(irq=IRQ, cpu=CPU)
def send_cleanup_vector(s: State, irq: Term, cpu: Term) -> None:
    """The irq has arrived on its new CPU: its old vector is queued on the old CPU."""
    s.require(s.move_in_progress[irq], s.prev_cpu[irq] == cpu, s.cpu_online[cpu])
    s.move_in_progress[irq] = False
    s.cleanup[irq] = cpu


@vectors.action(only_with="H1", irq=IRQ)
def cleanup_forgotten(s: State, irq: Term) -> None:
    """v5.10 only: the old CPU is offline, and the old vector is forgotten (H1)."""
    s.require(s.move_in_progress[irq], ~s.cpu_online[s.prev_cpu[irq]])
    s.move_in_progress[irq] = False
    s.prev_vector[irq] = None
    s.prev_cpu[irq] = None


@vectors.action(irq=IRQ, cpu=CPU, vector=VECTOR)
def vector_free_moved(s: State, irq: Term, cpu: Term, vector: Term) -> None:
    """free_moved_vector: the previous vector goes."""
    s.require(s.prev_vector[irq] == vector, s.prev_cpu[irq] == cpu, at_rest(s))
    s.require(idle(s, irq) | (s.pc[irq] == PC.ACTIVATE))
    s.hand[cpu, vector] = True
    s.vector_irq[cpu, vector] = None
    s.shutdown_mark[cpu, vector] = False
    s.retriggered[cpu, vector] = False
    s.prev_vector[irq] = None
    s.prev_cpu[irq] = None
    s.cleanup[irq] = None
    s.move_in_progress[irq] = False


# --- the table and CPU hotplug --------------------------------------------------------------


@vectors.action(cpu=CPU, vector=VECTOR)
def vector_spurious(s: State, cpu: Term, vector: Term) -> None:
    """An interrupt finds a mark in the table: that one is forgiven, and the slot is unused."""
    s.require(s.shutdown_mark[cpu, vector] | s.retriggered[cpu, vector])
    s.shutdown_mark[cpu, vector] = False
    s.retriggered[cpu, vector] = False


@vectors.action(cpu=CPU)
def lapic_online(s: State, cpu: Term) -> None:
    """A CPU comes up (irq_matrix_online is the tracepoint): in one section of vector_lock it joins
    cpu_online_mask, its map joins the matrix, and its table is wiped, but for the ISA interrupts
    that the PIC may still deliver and whose descriptors are still there."""
    s.require(~s.cpu_online[cpu], s.dying == none(CPU))
    boot = ~exists(CPU, lambda c: s.initialized[c])
    irq_matrix_online(s, cpu)
    s.cpu_online[cpu] = True
    with s.each(VECTOR, "v") as v:
        of_pic = s.system_map[v] & s.desc[s.isa_irq[v]]
        s.vector_irq[cpu, v] = ite(boot | of_pic, s.isa_irq[v], none(IRQ))
        s.shutdown_mark[cpu, v] = False
        s.retriggered[cpu, v] = False


@vectors.action(cpu=CPU)
def cpu_goes_offline(s: State, cpu: Term) -> None:
    """The CPU leaves cpu_online_mask; its map takes part until the walk over its irqs is done. The
    environment takes no CPU down on which an irq that was never started owns a vector (H2)."""
    s.require(s.cpu_online[cpu], s.dying == none(CPU), at_rest(s))
    s.require(exists(CPU, lambda c: s.cpu_online[c] & ~(c == cpu)))
    dormant = exists(IRQ, lambda i: (s.cpu[i] == cpu) & ~s.started[i])
    s.assume("H2", ~dormant)
    s.cpu_online[cpu] = False
    s.dying = cpu


@vectors.action(cpu=CPU)
def lapic_offline(s: State, cpu: Term) -> None:
    """The walk is done: every started irq has left, but for those that failed to (H8). Without H1
    no unfinished move points at the CPU any more."""
    s.require(s.dying == cpu)
    s.require(forall(IRQ, lambda i: implies(s.cpu[i] == cpu, _stays(s, i))))
    down = forall(
        IRQ,
        lambda i: implies(
            s.affinity_managed[i] & ~exists(CPU, lambda c: s.affinity[i, c] & s.cpu_online[c]),
            and_(s.managed_shutdown[i] | ~s.activated[i], ~s.started[i], ~has_vector(s, i)),
        ),
    )
    s.require(down)
    if not s.on("H1"):
        s.require(forall(IRQ, lambda i: ~(s.prev_cpu[i] == cpu)))
    s.dying = None
    irq_matrix_offline(s, cpu)


def _stays(s: State, i: Term) -> Term:
    """Why an irq may still be on the dying CPU: it was never started, and H2 let it be there; or
    its affinity has no vector left, which lapic_can_unplug_cpu did not notice (H8)."""
    broken = ~exists(CPU, lambda c: s.affinity[i, c] & s.cpu_online[c])

    def full(c: Term) -> Term:
        wanted = s.cpu_online[c] & (s.affinity[i, c] | broken)
        room = exists(VECTOR, lambda v: ite(s.is_managed[i], spare_bit(s, c, v), free_bit(s, c, v)))
        return implies(wanted, ~room)

    dormant = ~s.started[i] if s.on("H2") else FALSE
    stuck = and_(s.started[i], ~has_previous(s, i), forall(CPU, full))
    return dormant | stuck if s.on("H8") else dormant


@vectors.action(cpu=CPU)
def fixup_irqs(s: State, cpu: Term) -> None:
    """The dying CPU's table is swept: nothing but RETRIGGERED marks is left."""
    s.require(s.dying == cpu)
    with s.each(VECTOR, "v") as v:
        s.vector_irq[cpu, v] = None
        s.shutdown_mark[cpu, v] = False


@vectors.action(cpu=CPU, vector=VECTOR)
def vector_retriggered(s: State, cpu: Term, vector: Term) -> None:
    """The sweep found an interrupt pending: it was sent again, and one more is forgiven."""
    s.require(s.dying == cpu, ~(s.vector_irq[cpu, vector] == none(IRQ)))
    s.vector_irq[cpu, vector] = None
    s.retriggered[cpu, vector] = True


@vectors.action(cpu=CPU, vector=VECTOR)
def msi_forgive_vector(s: State, cpu: Term, vector: Term) -> None:
    """A device that cannot be masked is on its way to another CPU, by this vector of its old one:
    what comes here meanwhile is raised again there, and forgiven here."""
    s.require(s.online[cpu], s.vector_irq[cpu, vector] == none(IRQ))
    s.retriggered[cpu, vector] = True
    s.shutdown_mark[cpu, vector] = False
