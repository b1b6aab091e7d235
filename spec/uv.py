# SPDX-License-Identifier: GPL-2.0-only
"""UV interrupts (arch/x86/platform/uv/uv_irq.c, v5.10): the UV-CORE domain above the vectors.

What the layer needs of the vector domain is here under the names that it has there: the fields say
the same, and each action promises a part of what the one of `spec.vector_actions` promises. A UV
interrupt is asked for with the mask of one CPU, and so gets its vector when it is allocated; the
memory-mapped register of its hub (MMR) is what a message is elsewhere.
"""

from __future__ import annotations

from spec.language import Layer
from spec.matrix import CPU, VECTOR
from spec.sorts import IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, TRUE, Option, Term, and_, forall, implies, ite, none, or_

OPTION_CPU = Option(CPU)
OPTION_VECTOR = Option(VECTOR)

uv = Layer("uv", (CPU, VECTOR, IRQ))

uv.field("present", IRQ, doc="the irq has apic_chip_data: it is in the VECTOR domain")
uv.field("is_managed", IRQ, doc="apic_chip_data.is_managed")
uv.field("can_reserve", IRQ, doc="apic_chip_data.can_reserve")
uv.field("vector", IRQ, type=OPTION_VECTOR, doc="apic_chip_data.vector")
uv.field("cfg_vector", IRQ, type=OPTION_VECTOR, doc="hw_irq_cfg.vector, if a real one")
uv.field("cfg_cpu", IRQ, type=OPTION_CPU, doc="the CPU of hw_irq_cfg.dest_apicid, likewise")
uv.field("irqd_can_reserve", IRQ, doc="IRQD_CAN_RESERVE")
uv.field("activated", IRQ, doc="IRQD_ACTIVATED")
uv.field("of_uv", IRQ, doc="the irq is in the UV-CORE domain")
uv.field("uv_hwirq", IRQ, type=Option(IRQ), doc="its hwirq there, as the irq of that number")
uv.field("mmr_vector", IRQ, type=OPTION_VECTOR, doc="the vector in the irq's MMR")
uv.field("mmr_cpu", IRQ, type=OPTION_CPU, doc="the CPU in the irq's MMR")
uv.field("mmr_unmasked", IRQ, doc="the MMR sends interrupts")
uv.field("arming", IRQ, transient=True, doc="the MMR is programmed, ACTIVATED is not set yet")
uv.field("mmr_stale", IRQ, transient=True, doc="the configuration has changed, the MMR has not")


def has_vector(s: State, i: Term) -> Term:
    """The irq has a vector."""
    return ~(s.vector[i] == none(VECTOR))


def configured(s: State, i: Term) -> Term:
    """The MMR names what the configuration names."""
    return (s.mmr_vector[i] == s.cfg_vector[i]) & (s.mmr_cpu[i] == s.cfg_cpu[i])


# --- what the vector domain does to an irq --------------------------------------------------


@uv.action(irq=IRQ)
def vector_reserve(s: State, irq: Term) -> None:
    """An irq joins with a reservation, or goes back to one after its vector was cleared."""
    s.require(~s.present[irq] | s.can_reserve[irq], ~s.is_managed[irq])
    s.can_reserve[irq] = True
    s.irqd_can_reserve[irq] = True


@uv.action(irq=IRQ, failed=BOOL)
def vector_reserve_managed(s: State, irq: Term, failed: Term) -> None:
    """An irq joins as a managed one."""
    s.require(~s.present[irq])
    with s.when(~failed):
        s.is_managed[irq] = True


@uv.action(irq=IRQ, failed=BOOL)
def vector_setup(s: State, irq: Term, failed: Term) -> None:
    """The irq is in the domain."""
    s.require(~s.present[irq])
    s.present[irq] = ~failed


@uv.action(irq=IRQ, vector=VECTOR, cpu=CPU, prev_vector=OPTION_VECTOR, prev_cpu=OPTION_CPU)
def vector_update(
    s: State, irq: Term, vector: Term, cpu: Term, prev_vector: Term, prev_cpu: Term
) -> None:
    """A new vector takes over."""
    s.require(prev_vector == s.vector[irq])
    s.vector[irq] = vector


@uv.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The configuration changes: that of an active UV irq is to be written to its MMR."""
    s.require(s.vector[irq] == vector, ~s.arming[irq])
    s.cfg_vector[irq] = vector
    s.cfg_cpu[irq] = cpu
    s.mmr_stale[irq] = s.of_uv[irq] & s.activated[irq]


@uv.action(irq=IRQ, vector=VECTOR, cpu=CPU, prev_vector=OPTION_VECTOR, prev_cpu=OPTION_CPU)
def vector_clear(
    s: State, irq: Term, vector: Term, cpu: Term, prev_vector: Term, prev_cpu: Term
) -> None:
    """The vector goes: of a reserved or managed irq when it is deactivated, of any when it is
    freed, and the outer domain is freed first."""
    s.require(s.present[irq], s.vector[irq] == vector)
    s.require(or_(s.is_managed[irq], s.can_reserve[irq], ~s.of_uv[irq]))
    s.vector[irq] = None


@uv.action(irq=IRQ)
def vector_teardown(s: State, irq: Term) -> None:
    """The irq leaves the vector domain; again the outer domain is gone."""
    s.require(s.present[irq], ~has_vector(s, irq), ~s.of_uv[irq])
    for bit in ("present", "is_managed", "can_reserve"):
        getattr(s, bit)[irq] = False
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None


@uv.action(irq=IRQ)
def vector_setup_legacy(s: State, irq: Term) -> None:
    """A legacy irq that is active joins with its boot-time vector; it is none of UV's."""
    s.require(~s.present[irq])
    s.present[irq] = True


@uv.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config_legacy(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """It is configured for that vector."""
    s.require(s.present[irq], ~s.of_uv[irq])
    s.vector[irq] = vector
    s.cfg_vector[irq] = vector
    s.cfg_cpu[irq] = cpu


@uv.action(irq=IRQ, vector=VECTOR, reserved=BOOL)
def vector_alloc(s: State, irq: Term, vector: Term, reserved: Term) -> None:
    """A vector is found; a reservation that it uses up may be the last one of the irq."""
    s.require(implies(reserved, ~s.of_uv[irq]))
    with s.when(reserved):
        s.can_reserve[irq] = s.irqd_can_reserve[irq]


@uv.action(irq=IRQ)
def vector_config_shutdown(s: State, irq: Term) -> None:
    """The configuration names no vector of its own any more: of no UV irq, which is fixed."""
    s.require(~s.of_uv[irq])
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None


@uv.action(irq=IRQ)
def irqd_clr_can_reserve(s: State, irq: Term) -> None:
    """The MSI core finds that the device cannot be masked."""
    s.require(s.present[irq])
    s.irqd_can_reserve[irq] = False


@uv.action(irq=IRQ)
def irqd_clr_activated(s: State, irq: Term) -> None:
    """The early activation trick of the MSI core: no UV irq has it."""
    s.require(s.activated[irq], ~s.of_uv[irq])
    s.activated[irq] = False


@uv.action(irq=IRQ)
def irq_free_descs(s: State, irq: Term) -> None:
    """The descriptor goes, and ACTIVATED with it."""
    s.require(~s.present[irq])
    s.activated[irq] = False
    s.irqd_can_reserve[irq] = False


# --- the UV-CORE domain ---------------------------------------------------------------------


@uv.action(irq=IRQ)
def uv_domain_alloc(s: State, irq: Term) -> None:
    """The vector domain has allocated, with the mask of one CPU: there is a vector already."""
    s.require(s.present[irq], ~s.of_uv[irq], ~s.activated[irq])
    s.require(has_vector(s, irq), ~s.can_reserve[irq], ~s.is_managed[irq])
    s.require(s.cfg_vector[irq] == s.vector[irq])
    s.of_uv[irq] = True
    s.uv_hwirq[irq] = irq


@uv.action(irq=IRQ)
def uv_domain_free(s: State, irq: Term) -> None:
    """The level of the UV-CORE domain goes. The MMR keeps what it was last told."""
    s.require(s.of_uv[irq], ~s.activated[irq], ~s.arming[irq])
    s.of_uv[irq] = False
    s.uv_hwirq[irq] = None


@uv.action(irq=IRQ, vector=VECTOR, dest=CPU, masked=BOOL)
def uv_program_mmr(s: State, irq: Term, vector: Term, dest: Term, masked: Term) -> None:
    """The MMR is written: unmasked by an activation or a move, masked by a deactivation. v5.10
    writes it unmasked then, too (N13)."""
    s.require(s.of_uv[irq], s.cfg_vector[irq] == vector, s.cfg_cpu[irq] == dest)
    s.require(implies(masked, s.activated[irq]))
    s.mmr_vector[irq] = vector
    s.mmr_cpu[irq] = dest
    s.mmr_unmasked[irq] = ~masked
    s.arming[irq] = ~s.activated[irq]
    s.mmr_stale[irq] = False


@uv.action(irq=IRQ)
def irq_domain_activate_irq(s: State, irq: Term) -> None:
    """ACTIVATED is set, after the domains have activated from the root outwards."""
    s.require(s.present[irq], s.arming[irq] == s.of_uv[irq], ~s.activated[irq])
    s.activated[irq] = True
    s.arming[irq] = False


@uv.action(irq=IRQ)
def irq_domain_deactivate_irq(s: State, irq: Term) -> None:
    """ACTIVATED is cleared, after the MMR was written."""
    s.require(s.activated[irq], ~s.mmr_stale[irq])
    if not s.on("N13"):
        s.require(implies(s.of_uv[irq], ~s.mmr_unmasked[irq]))
    s.activated[irq] = False


# --- invariants (section 10) ----------------------------------------------------------------


@uv.invariant("UV-1", "A UV irq is fixed: neither reserved nor managed, and it has a vector.")
def uv_fixed(s: State) -> Term:
    return forall(
        IRQ,
        lambda i: s.of_uv[i].implies(
            and_(s.present[i], ~s.can_reserve[i], ~s.is_managed[i], has_vector(s, i))
        ),
    )


@uv.invariant("UV-2", "The hwirq of a UV irq is its own number, so that no two have one.")
def uv_hwirq(s: State) -> Term:
    same = forall(IRQ, lambda i: s.uv_hwirq[i] == ite(s.of_uv[i], i, none(IRQ)))
    unique = forall(
        IRQ,
        IRQ,
        lambda i, j: and_(s.of_uv[i], s.of_uv[j], s.uv_hwirq[i] == s.uv_hwirq[j]).implies(i == j),
    )
    return same & unique


@uv.invariant("UV-3", "An MMR is unmasked only while its irq is activated.", unless=("N13",))
def uv_masked(s: State) -> Term:
    return forall(
        IRQ, lambda i: s.mmr_unmasked[i].implies(s.of_uv[i] & (s.activated[i] | s.arming[i]))
    )


@uv.invariant("UV-mmr", "The MMR of an activated UV irq names its vector and its CPU.")
def uv_mmr(s: State) -> Term:
    return forall(
        IRQ,
        lambda i: and_(s.of_uv[i], s.activated[i] | s.arming[i], ~s.mmr_stale[i]).implies(
            configured(s, i)
        ),
    )


@uv.invariant("UV-level", "Only an irq of UV-CORE has an MMR that is to be written.")
def uv_level(s: State) -> Term:
    def law(i: Term) -> Term:
        return and_(
            (s.arming[i] | s.mmr_stale[i]).implies(s.of_uv[i]),
            s.arming[i].implies(~s.activated[i]),
            s.mmr_stale[i].implies(s.activated[i]),
        )

    return forall(IRQ, law)


# --- operations -----------------------------------------------------------------------------


@uv.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def uv_setup_irq(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The vector domain assigns a vector of the one CPU; then the UV-CORE level follows."""
    s.require(~s.is_managed[irq], ~s.can_reserve[irq], ~s.of_uv[irq])
    vector_update(s, irq, vector, cpu, s.vector[irq], s.cfg_cpu[irq])
    vector_config(s, irq, vector, cpu)
    vector_setup(s, irq, FALSE)
    uv_domain_alloc(s, irq)


@uv.operation(irq=IRQ)
def uv_teardown_irq(s: State, irq: Term) -> None:
    """From the outside in."""
    uv_domain_free(s, irq)
    vector_clear(s, irq, s.vector[irq], s.cfg_cpu[irq], s.vector[irq], s.cfg_cpu[irq])
    vector_teardown(s, irq)


@uv.operation(irq=IRQ)
def uv_activate(s: State, irq: Term) -> None:
    """The MMR is programmed, and ACTIVATED set."""
    uv_program_mmr(s, irq, s.cfg_vector[irq], s.cfg_cpu[irq], FALSE)
    irq_domain_activate_irq(s, irq)


@uv.operation(irq=IRQ)
def uv_deactivate(s: State, irq: Term) -> None:
    """The MMR is masked, and ACTIVATED cleared; a fixed irq keeps its vector."""
    masked = FALSE if s.on("N13") else TRUE
    s.require(s.activated[irq])
    uv_program_mmr(s, irq, s.cfg_vector[irq], s.cfg_cpu[irq], masked)
    irq_domain_deactivate_irq(s, irq)


@uv.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def uv_set_irq_affinity(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The vector domain finds another vector, and the MMR follows."""
    s.require(s.of_uv[irq], s.activated[irq])
    vector_update(s, irq, vector, cpu, s.vector[irq], s.cfg_cpu[irq])
    vector_config(s, irq, vector, cpu)
    uv_program_mmr(s, irq, vector, cpu, FALSE)


@uv.operation(irq=IRQ, managed=BOOL)
def other_irq_joins(s: State, irq: Term, managed: Term) -> None:
    """An irq of another domain joins the vector domain without a vector."""
    s.require(~has_vector(s, irq), ~s.can_reserve[irq], ~s.is_managed[irq])
    with s.when(managed):
        vector_reserve_managed(s, irq, FALSE)
    with s.when(~managed):
        vector_reserve(s, irq)
    vector_setup(s, irq, FALSE)


@uv.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def other_irq_starts(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """It gets its vector when it is activated."""
    s.require(s.present[irq], ~s.of_uv[irq], ~has_vector(s, irq))
    vector_update(s, irq, vector, cpu, s.vector[irq], s.cfg_cpu[irq])
    vector_config(s, irq, vector, cpu)
    irq_domain_activate_irq(s, irq)


@uv.operation(irq=IRQ)
def other_irq_leaves(s: State, irq: Term) -> None:
    """It is stopped and freed."""
    s.require(s.activated[irq], ~s.of_uv[irq])
    irq_domain_deactivate_irq(s, irq)
    vector_clear(s, irq, s.vector[irq], s.cfg_cpu[irq], s.vector[irq], s.cfg_cpu[irq])
    vector_teardown(s, irq)
