# SPDX-License-Identifier: GPL-2.0-only
"""The operations of MSI: what happens to one irq or one descriptor, without anybody in between.

msi_domain_alloc_irqs of a device is no single operation, for no lock makes it one: it is its steps,
and the steps of another device may lie between them. The vector that an irq gets is a parameter,
and so are the irqs of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

from spec.matrix import CPU, VECTOR
from spec.msi import (
    DESC,
    DEVICE,
    device_of,
    domain_of,
    first,
    in_phase,
    linked,
    msi,
)
from spec.msi_actions import (
    decides_to_reserve,
    irq_domain_reset_irq_data,
    irq_domain_set_hwirq_and_chip,
    irq_set_msi_desc_off,
    msi_alloc_store,
    msi_desc_clear_irq,
    msi_domain_alloc_irqs,
    msi_domain_free_irqs,
    msi_domain_prepare_irqs,
    msi_free,
    msi_free_store,
)
from spec.msi_irq_actions import (
    irq_alloc_descs,
    irq_domain_activate_irq,
    irq_domain_deactivate_irq,
    irq_free_descs,
    irq_shutdown,
    irq_startup,
    irqd_clr_activated,
    irqd_clr_can_reserve,
    irqd_set_nomask_quirk,
    vector_activate,
    vector_config,
    vector_config_shutdown,
    vector_reserve,
    vector_teardown,
)
from spec.pci_msi import enabled, reachable
from spec.pci_msi_actions import (
    pci_write_msi_msg,
)
from spec.sorts import DOMAIN, HWIRQ, IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, TRUE, Term, and_, lift, none

_ENOSPC = lift(-28)


@dataclass(frozen=True, slots=True)
class _Everywhere:
    """The mask of all CPUs: this layer does not ask for it."""

    def __getitem__(self, cpu: Term) -> Term:
        return TRUE


def write(s: State, irq: Term, vector: Term, cpu: Term, shutdown: Term) -> None:
    """irq_chip_write_msi_msg: the first irq of a block writes the message."""
    desc = s.msi_desc[irq]
    reached = reachable(s, device_of(s, irq)) & ~s.is_virtual[desc]
    with s.when(first(s, irq)):
        pci_write_msi_msg(s, irq, desc, vector, cpu, shutdown, reached)


def _write_composed(s: State, irq: Term) -> None:
    write(s, irq, s.cfg_vector[irq], s.cfg_cpu[irq], s.cfg_shutdown[irq])


def _write_zero(s: State, irq: Term) -> None:
    write(s, irq, none(VECTOR), none(CPU), FALSE)


# --- allocation -----------------------------------------------------------------------------


@msi.operation(device=DEVICE, domain=DOMAIN, stores=BOOL)
def begin_alloc(s: State, device: Term, domain: Term, stores: Term) -> None:
    """msi_domain_alloc_irqs begins; the domain may store something for the device."""
    msi_domain_prepare_irqs(s, device, domain)
    with s.when(stores):
        msi_alloc_store(s, device)


@msi.operation(desc=DESC, irq=IRQ, hwirq=HWIRQ, managed=BOOL)
def alloc_irq(s: State, desc: Term, irq: Term, hwirq: Term, managed: Term) -> None:
    """A descriptor gets the one irq that it wants."""
    s.require(s.entry_nvec[desc] == 1)
    _allocate(s, irq, managed)
    _init(s, desc, irq, hwirq)
    irq_set_msi_desc_off(s, irq, desc, s.entry_linked[desc])


@msi.operation(desc=DESC, irq=IRQ, second=IRQ, hwirq=HWIRQ, another=HWIRQ)
def alloc_block(s: State, desc: Term, irq: Term, second: Term, hwirq: Term, another: Term) -> None:
    """A descriptor gets a block of two irqs."""
    s.require(s.entry_nvec[desc] == 2)
    _allocate(s, irq, FALSE)
    _allocate(s, second, FALSE)
    _init(s, desc, irq, hwirq)
    _init(s, desc, second, another)
    irq_set_msi_desc_off(s, irq, desc, s.entry_linked[desc])
    irq_set_msi_desc_off(s, second, desc, s.entry_linked[desc])


@msi.operation(desc=DESC, irq=IRQ, second=IRQ, hwirq=HWIRQ)
def alloc_block_fails(s: State, desc: Term, irq: Term, second: Term, hwirq: Term) -> None:
    """The second msi_init of a block fails, and the first is undone; v5.10 forgets to (N7)."""
    s.require(s.entry_nvec[desc] == 2, in_phase(s, s.entry_device[desc], "ALLOC"))
    _allocate(s, irq, FALSE)
    _allocate(s, second, FALSE)
    _init(s, desc, irq, hwirq)
    if not s.on("N7"):
        _msi_free(s, irq)
    irq_domain_reset_irq_data(s, irq, s.msi_level[irq])
    for i in (irq, second):
        vector_teardown(s, i)
        irq_free_descs(s, i)


def _allocate(s: State, irq: Term, managed: Term) -> None:
    """irq_alloc_descs, and the vector domain's allocation: nothing but a reservation."""
    irq_alloc_descs(s, irq, _Everywhere(), managed)
    with s.when(~managed):
        vector_reserve(s, irq)
    vector_config_shutdown(s, irq)


def _init(s: State, desc: Term, irq: Term, hwirq: Term) -> None:
    """msi_init."""
    irq_domain_set_hwirq_and_chip(s, irq, domain_of(s, desc), hwirq)


def _msi_free(s: State, irq: Term) -> None:
    with s.when(s.initialised[irq]):
        msi_free(s, irq, s.msi_level[irq])


@msi.operation(irq=IRQ)
def activate_reserved(s: State, irq: Term) -> None:
    """Early activation in reservation mode: the device holds the shutdown vector."""
    s.require(linked(s, irq), in_phase(s, device_of(s, irq), "ALLOC"))
    s.require(decides_to_reserve(s, s.msi_desc[irq]), s.cfg_shutdown[irq])
    vector_activate(s, irq, TRUE)
    vector_config_shutdown(s, irq)
    _write_composed(s, irq)
    irq_domain_activate_irq(s, irq)


@msi.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def activate_fixed(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """Early activation where nothing is reserved: the device holds the vector that it will use."""
    s.require(~s.affinity_managed[irq])
    _demand_vector(s, irq)
    vector_config(s, irq, vector, cpu)
    _write_composed(s, irq)
    irq_domain_activate_irq(s, irq)


@msi.operation(irq=IRQ)
def activate_managed(s: State, irq: Term) -> None:
    """The same of a managed irq: it is shut down until it is requested."""
    s.require(s.affinity_managed[irq])
    _demand_vector(s, irq)
    vector_config_shutdown(s, irq)
    _write_composed(s, irq)
    irq_domain_activate_irq(s, irq)


def _demand_vector(s: State, irq: Term) -> None:
    s.require(linked(s, irq), in_phase(s, device_of(s, irq), "ALLOC"))
    irqd_clr_can_reserve(s, irq)
    with s.when(s.has_nomask_quirk[domain_of(s, s.msi_desc[irq])]):
        irqd_set_nomask_quirk(s, irq)
    vector_activate(s, irq, FALSE)


@msi.operation(irq=IRQ)
def clear_activated(s: State, irq: Term) -> None:
    """The early activation trick."""
    irqd_clr_activated(s, irq)


@msi.operation(device=DEVICE)
def alloc_succeeds(s: State, device: Term) -> None:
    """msi_domain_alloc_irqs returns 0."""
    msi_domain_alloc_irqs(s, device, lift(0))


@msi.operation(device=DEVICE)
def alloc_fails(s: State, device: Term) -> None:
    """msi_domain_alloc_irqs returns an error."""
    msi_domain_alloc_irqs(s, device, _ENOSPC)


# --- freeing --------------------------------------------------------------------------------


@msi.operation(irq=IRQ)
def deactivate(s: State, irq: Term) -> None:
    """An irq that is not requested is deactivated, before it is freed; v5.10 does without (N17)."""
    s.require(linked(s, irq), s.activated[irq], ~s.started[irq])
    _deactivate(s, irq)


@msi.operation(desc=DESC, irq=IRQ)
def free_single(s: State, desc: Term, irq: Term) -> None:
    """The irq of a descriptor is freed."""
    s.require(s.msi_desc[irq] == desc, s.entry_nvec[desc] == 1)
    _free(s, irq)
    irq_free_descs(s, irq)
    msi_desc_clear_irq(s, desc)


@msi.operation(desc=DESC, irq=IRQ, second=IRQ)
def free_block(s: State, desc: Term, irq: Term, second: Term) -> None:
    """The two irqs of a descriptor are freed."""
    s.require(s.msi_desc[irq] == desc, s.msi_desc[second] == desc)
    s.require(s.entry_irq[desc] == irq, ~(irq == second), s.entry_nvec[desc] == 2)
    _free(s, irq)
    _free(s, second)
    irq_free_descs(s, irq)
    irq_free_descs(s, second)
    msi_desc_clear_irq(s, desc)


def _free(s: State, irq: Term) -> None:
    _msi_free(s, irq)
    irq_domain_reset_irq_data(s, irq, s.msi_level[irq])
    vector_teardown(s, irq)


@msi.operation(device=DEVICE)
def end_free(s: State, device: Term) -> None:
    """msi_domain_free_irqs gives back what is stored, and returns."""
    with s.when(s.stored[device]):
        msi_free_store(s, device)
    msi_domain_free_irqs(s, device)


# --- a driver's irqs ------------------------------------------------------------------------


@msi.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def request(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """request_irq of an irq that is not activated: it gets a vector, and the device the message."""
    s.require(linked(s, irq), ~s.activated[irq], enabled(s, device_of(s, irq)))
    vector_activate(s, irq, FALSE)
    vector_config(s, irq, vector, cpu)
    _write_composed(s, irq)
    irq_domain_activate_irq(s, irq)
    irq_startup(s, irq)


@msi.operation(irq=IRQ)
def request_active(s: State, irq: Term) -> None:
    """request_irq of an irq that is active since its allocation."""
    s.require(linked(s, irq), ~s.started[irq], ~s.cfg_shutdown[irq])
    irq_startup(s, irq)


@msi.operation(irq=IRQ)
def free_irq(s: State, irq: Term) -> None:
    """free_irq: the device gets the zero message; an irq that can reserve loses its vector."""
    s.require(linked(s, irq))
    irq_shutdown(s, irq)
    _deactivate(s, irq)


def _deactivate(s: State, irq: Term) -> None:
    _write_zero(s, irq)
    with s.when(s.irqd_can_reserve[irq] | s.affinity_managed[irq]):
        vector_config_shutdown(s, irq)
    irq_domain_deactivate_irq(s, irq)


@msi.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def move(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """msi_set_affinity (section 8.3): an active irq gets another vector. With the quirk the device
    is first told the new vector on the old CPU."""
    s.require(linked(s, irq), s.activated[irq], ~(s.cfg_cpu[irq] == cpu))
    old = s.cfg_cpu[irq]
    apart = and_(s.nomask_quirk[irq], ~(s.cfg_vector[irq] == vector), ~s.cfg_shutdown[irq])
    vector_config(s, irq, vector, cpu)
    with s.when(apart):
        write(s, irq, s.cfg_vector[irq], old, FALSE)
    _write_composed(s, irq)
