# SPDX-License-Identifier: GPL-2.0-only
"""What genirq and the vector domain do to an irq that a device has.

The actions have the names and parameters of the layers below; what else those ask of them is not
repeated here.
"""

from __future__ import annotations

from spec.matrix import CPU, VECTOR
from spec.msi import (
    LIFE,
    MESSAGE,
    cached_is_composed,
    configured,
    device_of,
    domain_of,
    first,
    in_phase,
    linked,
    msi,
    settled,
)
from spec.msi_actions import all_allocated, decides_to_reserve, each_treated, is_allocating, treated
from spec.pci_msi import enabled
from spec.records import FunctionOf, Indexed
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import BOOL, Term, and_, implies, ite, none, or_

MASK = FunctionOf((CPU,), BOOL)


# --- irq descriptors, and what genirq keeps -------------------------------------------------


@msi.action(irq=IRQ, mask=MASK, managed=BOOL)
def irq_alloc_descs(s: State, irq: Term, mask: Indexed, managed: Term) -> None:
    """A descriptor of an irq; the mask is nothing to this layer."""
    s.require(~s.desc[irq])
    s.desc[irq] = True
    s.affinity_managed[irq] = managed


@msi.action(irq=IRQ)
def irq_free_descs(s: State, irq: Term) -> None:
    """The descriptor goes, and with it the irq's place in a block."""
    s.require(s.desc[irq], s.msi_level[irq] == none(DOMAIN))
    with s.when(linked(s, irq)):
        s.entry_linked[s.msi_desc[irq]] -= 1
    s.desc[irq] = False
    s.affinity_managed[irq] = False
    s.irqd_can_reserve[irq] = False
    s.activated[irq] = False
    s.started[irq] = False
    s.nomask_quirk[irq] = False
    s.life[irq] = LIFE.NEW
    s.msi_offset[irq] = 0
    s.msi_desc[irq] = None


@msi.action(irq=IRQ)
def irqd_clr_can_reserve(s: State, irq: Term) -> None:
    """Early activation does without reservation mode (section 6.6, step 5)."""
    s.require(implies(linked(s, irq), _before_activation(s, irq)))
    s.irqd_can_reserve[irq] = False


@msi.action(irq=IRQ)
def irqd_set_nomask_quirk(s: State, irq: Term) -> None:
    """The same irq is marked, where its domain has the quirk: it must be moved with care."""
    domain = domain_of(s, s.msi_desc[irq])
    s.require(linked(s, irq), _before_activation(s, irq), s.has_nomask_quirk[domain])
    s.nomask_quirk[irq] = True


def _before_activation(s: State, irq: Term) -> Term:
    """Every irq of the device is allocated, this one is to be activated, and nothing reserved."""
    waits = and_(is_allocating(s, irq), s.life[irq] == LIFE.NEW, treated(s, irq))
    whole = all_allocated(s, device_of(s, irq))
    return and_(waits, whole, ~decides_to_reserve(s, s.msi_desc[irq]))


@msi.action(irq=IRQ)
def irqd_clr_activated(s: State, irq: Term) -> None:
    """The early activation trick: once all irqs of the device are activated, ACTIVATED is cleared
    and nothing deactivated."""
    device = device_of(s, irq)
    s.require(s.activated[irq], ~s.started[irq], linked(s, irq), settled(s, irq))
    s.require(is_allocating(s, irq), decides_to_reserve(s, s.msi_desc[irq]))
    s.require(all_allocated(s, device))
    s.require(each_treated(s, device, lambda i: s.life[i] == LIFE.EARLY))
    s.activated[irq] = False


@msi.action(irq=IRQ)
def irq_domain_activate_irq(s: State, irq: Term) -> None:
    """ACTIVATED is set. The outermost level has written the message: early, of the vector or of the
    shutdown vector, as the MSI core has decided; on a request, of a real vector."""
    d = s.msi_desc[irq]
    real = ~(s.cfg_vector[irq] == none(VECTOR)) | s.affinity_managed[irq]
    reserve = decides_to_reserve(s, d)
    quirk = s.has_nomask_quirk[domain_of(s, d)] & ~reserve
    soon = and_(
        s.activate_early[domain_of(s, d)],
        all_allocated(s, device_of(s, irq)),
        s.life[irq] == LIFE.NEW,
        treated(s, irq),
        s.irqd_can_reserve[irq] == (reserve & ~s.affinity_managed[irq]),
        s.nomask_quirk[irq] == quirk,
        ite(reserve, s.cfg_shutdown[irq], real),
    )
    late = in_phase(s, device_of(s, irq), "READY") & real
    s.require(s.desc[irq])
    s.require(implies(linked(s, irq), ~s.activated[irq] & configured(s, irq)))
    s.require(implies(linked(s, irq), ite(is_allocating(s, irq), soon, late)))
    s.require(implies(first(s, irq), cached_is_composed(s, d, irq)))
    with s.when(linked(s, irq)):
        s.life[irq] = ite(is_allocating(s, irq), LIFE.EARLY, LIFE.USED)
    s.activated[irq] = True
    s.message_pc[irq] = MESSAGE.SETTLED


@msi.action(irq=IRQ)
def irq_domain_deactivate_irq(s: State, irq: Term) -> None:
    """ACTIVATED is cleared, after the outermost level has written the zero message."""
    s.require(s.activated[irq], ~s.started[irq])
    owed = ite(first(s, irq), MESSAGE.ZEROED, MESSAGE.SETTLED)
    alive = ~(s.msi_level[irq] == none(DOMAIN))
    s.require(implies(linked(s, irq), and_(s.message_pc[irq] == owed, alive)))
    with s.when(linked(s, irq)):
        s.life[irq] = LIFE.USED
    s.activated[irq] = False
    s.message_pc[irq] = MESSAGE.SETTLED


@msi.action(irq=IRQ)
def irq_startup(s: State, irq: Term) -> None:
    """STARTED is set: a driver has requested the irq, which it learns from an enabled device."""
    s.require(s.activated[irq], settled(s, irq))
    s.require(implies(linked(s, irq), enabled(s, device_of(s, irq))))
    s.started[irq] = True


@msi.action(irq=IRQ)
def irq_shutdown(s: State, irq: Term) -> None:
    """STARTED is cleared."""
    s.require(s.started[irq])
    s.started[irq] = False


# --- what the vector domain does to an irq that a device has --------------------------------


@msi.action(irq=IRQ)
def vector_reserve(s: State, irq: Term) -> None:
    """A reservation: CAN_RESERVE is set. An irq that must not reserve any more has a vector."""
    s.require(implies(linked(s, irq), s.irqd_can_reserve[irq]))
    s.irqd_can_reserve[irq] = True


@msi.action(irq=IRQ, reserve=BOOL)
def vector_activate(s: State, irq: Term, reserve: Term) -> None:
    """The innermost level is activated: early as the MSI core has decided, later with a vector."""
    wanted = is_allocating(s, irq) & decides_to_reserve(s, s.msi_desc[irq])
    active = in_phase(s, device_of(s, irq), "ALLOC", "READY")
    s.require(implies(linked(s, irq), and_(active, reserve == wanted)))


@msi.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The irq is configured for a vector. If it is active, that is a move: its message is owed."""
    s.require(settled(s, irq), implies(linked(s, irq), ~(s.msi_level[irq] == none(DOMAIN))))
    known = in_phase(s, device_of(s, irq), "READY")
    s.require(implies(linked(s, irq) & s.activated[irq], known))
    with s.when(first(s, irq) & s.activated[irq]):
        s.message_pc[irq] = MESSAGE.CONFIGURED
        s.moved_from[irq] = s.cfg_cpu[irq]
    _configure(s, irq, vector, cpu)


@msi.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config_legacy(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """A legacy irq inherits its boot-time vector: no device has it."""
    s.require(~linked(s, irq))
    _configure(s, irq, vector, cpu)


def _configure(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    s.cfg_vector[irq] = vector
    s.cfg_cpu[irq] = cpu
    s.cfg_shutdown[irq] = False


@msi.action(irq=IRQ)
def vector_config_shutdown(s: State, irq: Term) -> None:
    """The irq is configured for the shutdown vector: before it is active, or when it ends. One that
    cannot reserve keeps its vector for good."""
    ends = or_(~first(s, irq), s.message_pc[irq] == MESSAGE.ZEROED)
    keeps = ~s.irqd_can_reserve[irq] & ~s.affinity_managed[irq]
    s.require(implies(linked(s, irq), ite(s.activated[irq], ends & ~keeps, settled(s, irq))))
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None
    s.cfg_shutdown[irq] = True


@msi.action(irq=IRQ)
def vector_teardown(s: State, irq: Term) -> None:
    """The irq leaves the vector domain, after its MSI level is gone."""
    s.require(s.msi_level[irq] == none(DOMAIN))
    s.cfg_vector[irq] = None
    s.cfg_cpu[irq] = None
    s.cfg_shutdown[irq] = False
