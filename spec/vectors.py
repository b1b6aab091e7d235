# SPDX-License-Identifier: GPL-2.0-only
"""The x86 vector domain (arch/x86/kernel/apic/vector.c, v5.10) on top of the matrix: its state.

An interrupt's `apic_chip_data`, the per-CPU `vector_irq` tables, and of genirq what they rely on.
The actions are in `spec.vector_actions`, one for each tracepoint of `irq_vectors:*` and one for
each step that the kernel does not trace; `spec.vector_operations` puts them together as the
sections that vector_lock protects; this file has the state and what must hold of it.

`pc` is what the running operation of an interrupt owes next: with it, the order of the tracepoints
is part of the specification, and a log in which one is missing does not fit.

Deviations of the abstraction from the C, all harmless: a vector of 0 is "none", and then the CPU is
none as well (C leaves it stale); `effective` is kept only while the configuration names a real
vector.
"""

from __future__ import annotations

from spec.matrix import CPU, VECTOR, at_rest, matrix, spare_bit
from spec.sorts import IRQ
from spec.state import State
from spec.terms import (
    Enum,
    Option,
    Term,
    and_,
    count,
    exists,
    forall,
    ite,
    none,
    or_,
)

PC = Enum(
    "Pc",
    (
        "IDLE",  # nothing is owed
        "SETUP",  # the policy has run: vector_setup
        "FAILED",  # the policy has failed: vector_setup with an error
        "SHUTDOWN",  # vector_config with MANAGED_IRQ_SHUTDOWN_VECTOR
        "ACTIVATE",  # an allocation, or the news that it failed
        "RETRY",  # an allocation has failed: another attempt, or nothing
        "UPDATE",  # a bit was allocated: vector_update
        "CONFIG",  # vector_config with the new vector
        "LEGACY",  # vector_config with the inherited ISA vector
        "CLEAR",  # vector_clear
        "RESERVE",  # vector_reserve
        "TEARDOWN",  # vector_teardown
    ),
)

# A map comes and goes only together with its CPU; a managed slot goes only with its ghost.
vectors = matrix.extend(
    "vectors",
    (IRQ,),
    without=("irq_matrix_online", "irq_matrix_offline", "irq_matrix_remove_managed"),
)

vectors.field("isa_irq", VECTOR, type=Option(IRQ), rigid=True, doc="the ISA interrupt of a vector")
vectors.field("desc", IRQ, doc="the descriptor exists")
vectors.field("affinity", IRQ, CPU, doc="desc.affinity")
vectors.field("effective", IRQ, CPU, doc="the effective affinity, while a vector is configured")
vectors.field("affinity_managed", IRQ, doc="IRQD_AFFINITY_MANAGED")
vectors.field("managed_shutdown", IRQ, doc="IRQD_MANAGED_SHUTDOWN")
vectors.field("irqd_can_reserve", IRQ, doc="IRQD_CAN_RESERVE")
vectors.field("activated", IRQ, doc="IRQD_ACTIVATED")
vectors.field("started", IRQ, doc="IRQD_IRQ_STARTED")
vectors.field("pending", IRQ, doc="IRQD_SETAFFINITY_PENDING")
vectors.field("present", IRQ, doc="the irq has apic_chip_data: it is in the VECTOR domain")
vectors.field("is_managed", IRQ, doc="apic_chip_data.is_managed")
vectors.field("can_reserve", IRQ, doc="apic_chip_data.can_reserve")
vectors.field("has_reserved", IRQ, doc="apic_chip_data.has_reserved")
vectors.field("vector", IRQ, type=Option(VECTOR), doc="apic_chip_data.vector")
vectors.field("cpu", IRQ, type=Option(CPU), doc="apic_chip_data.cpu, while there is a vector")
vectors.field("prev_vector", IRQ, type=Option(VECTOR), doc="apic_chip_data.prev_vector")
vectors.field("prev_cpu", IRQ, type=Option(CPU), doc="apic_chip_data.prev_cpu, likewise")
vectors.field("move_in_progress", IRQ, doc="apic_chip_data.move_in_progress")
vectors.field("cleanup", IRQ, type=Option(CPU), doc="the CPU on whose cleanup_list clist hangs")
vectors.field("cfg_vector", IRQ, type=Option(VECTOR), doc="hw_irq_cfg.vector, if a real one")
vectors.field("cfg_cpu", IRQ, type=Option(CPU), doc="the CPU of hw_irq_cfg.dest_apicid, likewise")
vectors.field("cfg_shutdown", IRQ, doc="hw_irq_cfg.vector is MANAGED_IRQ_SHUTDOWN_VECTOR")
vectors.field("shortcut", IRQ, doc="effective was stored by genirq while the irq was inactive")
vectors.field("holds", IRQ, CPU, doc="the irq has a managed reservation on the CPU")
vectors.field(
    "slot", IRQ, CPU, type=Option(VECTOR), ghost=True, doc="which managed bit stands for it"
)
vectors.field("vector_irq", CPU, VECTOR, type=Option(IRQ), doc="the descriptor in the CPU's table")
vectors.field("shutdown_mark", CPU, VECTOR, doc="the table says VECTOR_SHUTDOWN")
vectors.field("retriggered", CPU, VECTOR, doc="the table says VECTOR_RETRIGGERED")
vectors.field("cpu_online", CPU, doc="cpu_online_mask")
vectors.field("dying", type=Option(CPU), doc="the CPU that is being taken down")
vectors.field("pc", IRQ, type=PC, transient=True, doc="what the running operation owes next")


# --- words for the formulas -----------------------------------------------------------------


def current(s: State, i: Term, c: Term, v: Term) -> Term:
    """The irq's vector is v on c."""
    return (s.vector[i] == v) & (s.cpu[i] == c)


def previous(s: State, i: Term, c: Term, v: Term) -> Term:
    """The irq's previous, not yet freed vector is v on c."""
    return (s.prev_vector[i] == v) & (s.prev_cpu[i] == c)


def owns(s: State, i: Term, c: Term, v: Term) -> Term:
    """The irq answers for v on c, as its current or its previous vector."""
    return current(s, i, c, v) | previous(s, i, c, v)


def has_vector(s: State, i: Term) -> Term:
    """The irq has a vector."""
    return ~(s.vector[i] == none(VECTOR))


def has_previous(s: State, i: Term) -> Term:
    """The irq's old vector is not freed yet."""
    return ~(s.prev_vector[i] == none(VECTOR))


def on_dying_cpu(s: State, i: Term) -> Term:
    """The irq's CPU is being taken down: the walk over the irqs will come to it."""
    return (s.cpu[i] == s.dying) & ~(s.dying == none(CPU))


def idle(s: State, i: Term) -> Term:
    """No operation of the irq is half done: it may have given up after a failed attempt."""
    return (s.pc[i] == PC.IDLE) | (s.pc[i] == PC.RETRY)


# --- invariants (section 3.8) ---------------------------------------------------------------


@vectors.invariant("VEC-1", "A reservation is held by reservable, unmanaged irqs without a vector.")
def vec_reserved(s: State) -> Term:
    return forall(
        IRQ,
        lambda i: s.has_reserved[i].implies(
            and_(s.can_reserve[i], ~s.is_managed[i], ~has_vector(s, i), ~has_previous(s, i))
        ),
    )


@vectors.invariant("VEC-2", "A managed irq neither can reserve nor has reserved.")
def vec_managed(s: State) -> Term:
    return forall(IRQ, lambda i: s.is_managed[i].implies(~s.can_reserve[i] & ~s.has_reserved[i]))


@vectors.invariant("VEC-3", "global_reserved counts the irqs that hold a reservation.")
def vec_reservations(s: State) -> Term:
    return s.global_reserved == count(IRQ, lambda i: s.has_reserved[i]) + s.unclaimed


@vectors.invariant("VEC-4", "Without a vector there is no previous vector.", unless=("H4",))
def vec_previous(s: State) -> Term:
    return forall(IRQ, lambda i: has_previous(s, i).implies(has_vector(s, i)))


@vectors.invariant("VEC-5", "What an irq owns is allocated to it, managed exactly if it is.")
def vec_owned(s: State) -> Term:
    return forall(
        IRQ,
        CPU,
        VECTOR,
        lambda i, c, v: owns(s, i, c, v).implies(
            s.alloc_map[c, v] & (s.managed_map[c, v] == s.is_managed[i])
        ),
    )


@vectors.invariant(
    "VEC-6",
    "There is a previous vector exactly while a move or its cleanup is under way.",
    unless=("H1", "H4"),
)
def vec_move(s: State) -> Term:
    def law(i: Term) -> Term:
        hashed = ~(s.cleanup[i] == none(CPU))
        return (has_previous(s, i) == (s.move_in_progress[i] | hashed)) & ~(
            s.move_in_progress[i] & hashed
        )

    return forall(IRQ, law)


@vectors.invariant("VEC-7", "A queued cleanup hangs on the list of the previous CPU.")
def vec_cleanup(s: State) -> Term:
    def law(i: Term) -> Term:
        there = (s.cleanup[i] == s.prev_cpu[i]) & has_previous(s, i)
        return (s.cleanup[i] == none(CPU)) | there

    return forall(IRQ, law)


@vectors.invariant("VEC-8", "The previous vector is on another CPU than the current one.")
def vec_elsewhere(s: State) -> Term:
    return forall(IRQ, lambda i: has_previous(s, i).implies(~(s.prev_cpu[i] == s.cpu[i])))


@vectors.invariant("VEC-9", "No vector of a CPU has two owners.")
def vec_no_double_owner(s: State) -> Term:
    return and_(
        forall(
            CPU,
            VECTOR,
            IRQ,
            IRQ,
            lambda c, v, i, j: (owns(s, i, c, v) & owns(s, j, c, v)).implies(i == j),
        ),
        forall(
            CPU,
            VECTOR,
            IRQ,
            lambda c, v, i: owns(s, i, c, v).implies(~(s.isa[c, v] | s.hand[c, v])),
        ),
    )


@vectors.invariant("VEC-10", "Every allocated bit has an owner.", unless=("H1", "H4"))
def vec_no_leak(s: State) -> Term:
    return forall(
        CPU,
        VECTOR,
        lambda c, v: s.alloc_map[c, v].implies(
            or_(exists(IRQ, lambda i: owns(s, i, c, v)), s.isa[c, v], s.hand[c, v])
        ),
    )


@vectors.invariant(
    "VEC-11",
    "A descriptor in an online CPU's table belongs to an irq that owns the vector.",
    unless=("H4",),
)
def vec_table_sound(s: State) -> Term:
    return forall(
        CPU,
        VECTOR,
        IRQ,
        lambda c, v, i: (s.cpu_online[c] & (s.vector_irq[c, v] == i)).implies(
            owns(s, i, c, v) | ((s.isa_irq[v] == i) & (s.isa[c, v] | s.system_map[v] | ~s.desc[i]))
        ),
    )


@vectors.invariant(
    "VEC-12",
    "An online CPU's table has the descriptor of every irq that owns a vector there.",
    unless=("H1", "H2", "H8"),
)
def vec_table_complete(s: State) -> Term:
    return forall(
        CPU,
        VECTOR,
        IRQ,
        lambda c, v, i: (s.cpu_online[c] & owns(s, i, c, v)).implies(s.vector_irq[c, v] == i),
    )


@vectors.invariant("VEC-13", "The configuration names nothing, the shutdown vector, or the vector.")
def vec_config(s: State) -> Term:
    def law(i: Term) -> Term:
        named = (s.cfg_vector[i] == s.vector[i]) & (s.cfg_cpu[i] == s.cpu[i])
        unnamed = (s.cfg_vector[i] == none(VECTOR)) & (s.cfg_cpu[i] == none(CPU))
        owed = (s.pc[i] == PC.CONFIG) | (s.pc[i] == PC.LEGACY)
        real = has_vector(s, i) & ~owed
        # Between the old vector and the next configuration the old one is still named.
        stale = or_(owed, *(s.pc[i] == pc for pc in (PC.SHUTDOWN, PC.RESERVE, PC.TEARDOWN)))
        return and_(real.implies(named), s.cfg_shutdown[i].implies(unnamed)) & (
            stale | named | unnamed
        )

    return forall(IRQ, law)


@vectors.invariant(
    "VEC-14",
    "An irq with a vector is effective on its CPU alone, but for the shortcut of inactive irqs.",
)
def vec_effective(s: State) -> Term:
    return forall(
        IRQ,
        CPU,
        lambda i, c: and_(
            has_vector(s, i), ~s.shortcut[i], ~or_(s.pc[i] == PC.CONFIG, s.pc[i] == PC.LEGACY)
        ).implies(s.effective[i, c] == (s.cpu[i] == c)),
    )


@vectors.invariant(
    "VEC-15", "managed counts the managed irqs with the CPU in their affinity.", unless=("H7",)
)
def vec_managed_count(s: State) -> Term:
    return and_(
        forall(
            CPU,
            lambda c: s.managed[c] == count(IRQ, lambda i: s.holds[i, c]) + s.managed_unclaimed[c],
        ),
        forall(
            IRQ,
            CPU,
            lambda i, c: s.holds[i, c] == (s.is_managed[i] & s.affinity[i, c]),
        ),
    )


@vectors.invariant(
    "VEC-17", "An irq at rest, reserved or managed without a vector, owns no bit.", follows=True
)
def vec_rest(s: State) -> Term:
    return forall(
        IRQ,
        CPU,
        VECTOR,
        lambda i, c, v: (s.has_reserved[i] | (s.is_managed[i] & ~has_vector(s, i))).implies(
            ~owns(s, i, c, v)
        ),
    )


@vectors.invariant(
    "VEC-18",
    "With every irq gone only ISA vectors are in use and nothing is reserved.",
    boundary=True,
    unless=("H1", "H4", "H7"),
    follows=True,
)
def vec_all_gone(s: State) -> Term:
    gone = forall(IRQ, lambda i: ~s.present[i] & (s.pc[i] == PC.IDLE))
    clean = forall(
        CPU,
        VECTOR,
        lambda c, v: (s.alloc_map[c, v].implies(s.isa[c, v])) & ~s.managed_map[c, v],
    )
    return (gone & at_rest(s)).implies(clean & (s.global_reserved == 0))


@vectors.invariant(
    "VEC-21", "An irq never has two vectors on one CPU.", unless=("H4",), follows=True
)
def vec_one_per_cpu(s: State) -> Term:
    return forall(
        IRQ,
        CPU,
        VECTOR,
        VECTOR,
        lambda i, c, v, w: (owns(s, i, c, v) & owns(s, i, c, w)).implies(v == w),
    )


@vectors.invariant(
    "VEC-22",
    "A started irq can be retriggered: it has a vector on an online CPU.",
    unless=("H6", "H8"),
)
def vec_retrigger(s: State) -> Term:
    def law(i: Term) -> Term:
        alive = s.cpu_online[s.cpu[i]]
        return s.started[i].implies(has_vector(s, i) & (alive | on_dying_cpu(s, i)))

    return forall(IRQ, law)


# --- invariants of genirq that the domain relies on (section 4.5) ----------------------------


@vectors.invariant("GEN-2", "A started irq is activated.")
def gen_started(s: State) -> Term:
    return forall(IRQ, lambda i: s.started[i].implies(s.activated[i]))


@vectors.invariant(
    "GEN-3",
    "A managed irq whose CPUs are all offline is shut down and owns no vector.",
    unless=("H8",),
)
def gen_managed_offline(s: State) -> Term:
    def law(i: Term) -> Term:
        alive = exists(CPU, lambda c: s.affinity[i, c] & s.cpu_online[c])
        # One that was not requested when its last CPU left has nothing to wait for.
        marked = s.managed_shutdown[i] | ~s.activated[i]
        down = and_(marked, ~s.started[i], ~has_vector(s, i))
        return and_(s.affinity_managed[i], ~alive, s.dying == none(CPU)).implies(down)

    return forall(IRQ, law)


# --- what the others need to be inductive ----------------------------------------------------


@vectors.invariant("VEC-present", "Only an irq in the domain, or on its way, has anything of it.")
def vec_present(s: State) -> Term:
    def law(i: Term) -> Term:
        away = ~s.present[i] & ((s.pc[i] == PC.IDLE) | (s.pc[i] == PC.FAILED))
        anything = or_(
            has_vector(s, i),
            s.is_managed[i],
            s.has_reserved[i],
            s.can_reserve[i],
            s.cfg_shutdown[i],
            ~(s.cfg_vector[i] == none(VECTOR)),
            ~(s.cfg_cpu[i] == none(CPU)),
            s.started[i],
        )
        return and_(
            away.implies(~anything),
            s.activated[i].implies(s.desc[i]),
            s.started[i].implies(s.present[i]),
            (s.present[i] | ~(s.pc[i] == PC.IDLE)).implies(s.desc[i]),
            s.is_managed[i].implies(s.affinity_managed[i]),
            (s.vector[i] == none(VECTOR)) == (s.cpu[i] == none(CPU)),
            (s.prev_vector[i] == none(VECTOR)) == (s.prev_cpu[i] == none(CPU)),
            s.desc[i].implies(exists(CPU, lambda c: s.initialized[c])),
        )

    return forall(IRQ, law)


@vectors.invariant("VEC-pc", "What an operation owes next fits what the irq has.")
def vec_owed(s: State) -> Term:
    def law(i: Term) -> Term:
        bare = ~has_vector(s, i) & ~has_previous(s, i)
        at = {name: s.pc[i] == getattr(PC, name) for name in PC.members}
        unmanaged = ~s.is_managed[i]
        return and_(
            at["SETUP"].implies(
                ~s.present[i]
                & or_(s.is_managed[i] & bare, s.has_reserved[i], unmanaged & has_vector(s, i))
            ),
            (s.affinity_managed[i] & (s.present[i] | at["SETUP"])).implies(s.is_managed[i]),
            at["FAILED"].implies(
                and_(~s.present[i], unmanaged, bare, ~s.has_reserved[i], ~s.can_reserve[i])
            ),
            (at["FAILED"] | at["SETUP"]).implies(~s.started[i]),
            at["FAILED"].implies(~s.cfg_shutdown[i]),
            at["SHUTDOWN"].implies(bare & or_(s.has_reserved[i], s.is_managed[i] & s.present[i])),
            (at["ACTIVATE"] | at["RETRY"]).implies(
                s.present[i] & bare & (s.has_reserved[i] | s.is_managed[i])
            ),
            at["UPDATE"].implies(~s.has_reserved[i] & (s.is_managed[i].implies(s.present[i]))),
            at["LEGACY"].implies(and_(s.present[i], bare, unmanaged, ~s.has_reserved[i])),
            at["CONFIG"].implies(has_vector(s, i) & (s.is_managed[i].implies(s.present[i]))),
            s.has_reserved[i].implies(~s.affinity_managed[i]),
            ((at["CONFIG"] | at["UPDATE"]) & ~s.present[i]).implies(~s.affinity_managed[i]),
            at["CLEAR"].implies(
                and_(s.present[i], has_vector(s, i), s.is_managed[i] | s.can_reserve[i])
            ),
            at["RESERVE"].implies(
                and_(s.present[i], bare, s.can_reserve[i], unmanaged, ~s.has_reserved[i])
            ),
            at["TEARDOWN"].implies(and_(s.present[i], bare, ~s.has_reserved[i])),
            or_(at["CLEAR"], at["RESERVE"], at["TEARDOWN"], at["SHUTDOWN"]).implies(~s.started[i]),
            (at["IDLE"] & s.present[i]).implies(
                or_(has_vector(s, i), s.has_reserved[i], s.is_managed[i])
            ),
            (bare & s.present[i]).implies(~s.started[i]),
        )

    return forall(IRQ, law)


@vectors.invariant("VEC-update", "A move begins only when the last one is over.", unless=("H4",))
def vec_one_move(s: State) -> Term:
    return forall(IRQ, lambda i: (s.pc[i] == PC.UPDATE).implies(~has_previous(s, i)))


@vectors.invariant("VEC-hand", "What is in hand is allocated, and nobody's.", unless=("H5",))
def vec_hand(s: State) -> Term:
    return forall(
        CPU,
        VECTOR,
        lambda c, v: and_(
            s.hand[c, v].implies(s.alloc_map[c, v] & ~s.isa[c, v]),
            s.isa[c, v].implies(s.alloc_map[c, v] & ~s.managed_map[c, v]),
        ),
    )


@vectors.invariant(
    "VEC-home", "What an irq owns is on a CPU whose map is online.", unless=("H1", "H2", "H8")
)
def vec_home(s: State) -> Term:
    return forall(
        IRQ,
        CPU,
        lambda i, c: ((s.cpu[i] == c) | (s.prev_cpu[i] == c)).implies(s.online[c]),
    )


@vectors.invariant(
    "MX-13",
    "A managed irq that has no vector on a CPU where it holds a slot can take one there.",
    unless=("H4", "H7"),
    ghost=True,
    follows=True,
)
def mx_progress(s: State) -> Term:
    return forall(
        IRQ,
        CPU,
        VECTOR,
        lambda i, c, v: and_(s.slot[i, c] == v, ~owns(s, i, c, v), ~s.hand[c, v]).implies(
            spare_bit(s, c, v)
        ),
    )


@vectors.invariant(
    "MX-slot",
    "Managed bits and those who hold one match, and an irq owns its own.",
    unless=("H4", "H7"),
    ghost=True,
)
def mx_matching(s: State) -> Term:
    return and_(
        forall(IRQ, CPU, lambda i, c: s.holds[i, c] == ~(s.slot[i, c] == none(VECTOR))),
        forall(CPU, lambda c: s.managed_unclaimed[c] == ite(s.reserving[c] == none(VECTOR), 0, 1)),
        forall(
            IRQ,
            CPU,
            VECTOR,
            lambda i, c, v: ((s.slot[i, c] == v) | (s.reserving[c] == v)).implies(
                s.managed_map[c, v]
            ),
        ),
        forall(
            IRQ,
            IRQ,
            CPU,
            VECTOR,
            lambda i, j, c, v: ((s.slot[i, c] == v) & (s.slot[j, c] == v)).implies(i == j),
        ),
        forall(IRQ, CPU, VECTOR, lambda i, c, v: ~((s.slot[i, c] == v) & (s.reserving[c] == v))),
        forall(
            IRQ,
            CPU,
            VECTOR,
            lambda i, c, v: (s.is_managed[i] & owns(s, i, c, v)).implies(s.slot[i, c] == v),
        ),
    )


@vectors.invariant("CPU-online", "A CPU is online exactly if its map is, or while it dies.")
def cpu_online(s: State) -> Term:
    return forall(
        CPU,
        lambda c: and_(
            s.cpu_online[c].implies(s.online[c]),
            (s.online[c] & ~s.cpu_online[c]) == (s.dying == c),
        ),
    )
