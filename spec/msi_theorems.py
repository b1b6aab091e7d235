# SPDX-License-Identifier: GPL-2.0-only
"""Theorems: what the laws of MSI say about a few steps in a row.

An attempt that fails leaves no trace, and what is done for one device leaves every other alone: the
states before and after are compared field by field.
"""

from __future__ import annotations

from spec.matrix import CPU, VECTOR
from spec.msi import (
    DESC,
    DEVICE,
    PHASE,
    cached_zero,
    device_of,
    first,
    has_irq,
    linked,
    msi,
    reserves,
)
from spec.msi_actions import (
    alloc_msi_entry,
    free_msi_entry,
    irq_domain_reset_irq_data,
    irq_domain_set_hwirq_and_chip,
    irq_set_msi_desc_off,
    msi_desc_clear_irq,
    msi_domain_alloc_irqs,
    msi_domain_free_irqs,
    msi_domain_prepare_irqs,
)
from spec.msi_irq_actions import (
    MASK,
    irq_alloc_descs,
    irq_domain_deactivate_irq,
    irq_free_descs,
    irqd_clr_activated,
    vector_config_shutdown,
    vector_reserve,
    vector_teardown,
)
from spec.pci_msi import SETUP, device_is_cached, enabled, reachable
from spec.pci_msi_actions import pci_reset_function, pci_restore_msi_state, pci_write_msi_msg
from spec.records import Indexed
from spec.sorts import DOMAIN, HWIRQ, IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, INT, TRUE, Option, Term, and_, forall, implies, lift, none

_OF_IRQ = (
    "desc",
    "affinity_managed",
    "irqd_can_reserve",
    "activated",
    "started",
    "cfg_vector",
    "cfg_cpu",
    "cfg_shutdown",
    "msi_level",
    "msi_hwirq",
    "msi_desc",
    "nomask_quirk",
    "life",
)
_OF_DESC = (
    "entry_device",
    "entry_is_msix",
    "entry_maskbit",
    "entry_nvec",
    "entry_irq",
    "entry_linked",
    "partial",
    "cached_vector",
    "cached_cpu",
    "cached_shutdown",
    "device_vector",
    "device_cpu",
    "device_shutdown",
)
_OF_DEVICE = (
    "msi_domain",
    "phase",
    "stored",
    "entries",
    "setup",
    "msi_enabled",
    "msix_enabled",
    "msix_bit",
    "intx",
)
"""What there is to compare. What no device and no driver can see is left out: the numbers of the
unused, and whether a register was once forgotten."""


def _as_before(before: State, s: State, element: Term, names: tuple[str, ...]) -> Term:
    return and_(*(getattr(s, n)[element] == getattr(before, n)[element] for n in names))


def _no_trace(before: State, s: State) -> Term:
    """Every irq, descriptor and device is as it was."""
    return and_(
        forall(IRQ, lambda i: _as_before(before, s, i, _OF_IRQ)),
        forall(DESC, lambda d: _as_before(before, s, d, _OF_DESC)),
        forall(DEVICE, lambda v: _as_before(before, s, v, _OF_DEVICE)),
    )


def _others_alone(before: State, s: State, device: Term) -> Term:
    """So is everything of the other devices."""

    def irq(i: Term) -> Term:
        other = linked(before, i) & ~(device_of(before, i) == device)
        return implies(other, _as_before(before, s, i, _OF_IRQ))

    def desc(d: Term) -> Term:
        other = ~(before.entry_device[d] == device) & ~(before.entry_device[d] == none(DEVICE))
        return implies(other, _as_before(before, s, d, _OF_DESC))

    def of_device(v: Term) -> Term:
        return implies(~(v == device), _as_before(before, s, v, _OF_DEVICE))

    return and_(forall(IRQ, irq), forall(DESC, desc), forall(DEVICE, of_device))


# --- all or nothing -------------------------------------------------------------------------


@msi.theorem(
    "PCI-6", "An attempt to enable a device that its domain refuses leaves no trace.",
    device=DEVICE, desc=DESC, nvec=INT, msix=BOOL, maskbit=BOOL, ret=INT,
)  # fmt: skip
def refused(
    before: State,
    s: State,
    device: Term,
    desc: Term,
    nvec: Term,
    msix: Term,
    maskbit: Term,
    ret: Term,
) -> Term:
    s.require(s.setup[device] == SETUP.REST)
    alloc_msi_entry(s, device, desc, nvec, msix, maskbit)
    msi_domain_alloc_irqs(s, device, ret)
    msi_domain_free_irqs(s, device)
    free_msi_entry(s, device, desc)
    return _no_trace(before, s)


@msi.theorem(
    "MSI-7", "An attempt whose early activation fails leaves no trace.",
    device=DEVICE, desc=DESC, domain=DOMAIN, irq=IRQ, hwirq=HWIRQ, mask=MASK, ret=INT,
)  # fmt: skip
def activation_failed(
    before: State,
    s: State,
    device: Term,
    desc: Term,
    domain: Term,
    irq: Term,
    hwirq: Term,
    mask: Indexed,
    ret: Term,
) -> Term:
    """Of one irq: what is freed of each of several is the same."""
    s.require(s.setup[device] == SETUP.REST, ~s.irqd_can_reserve[irq], ~s.cfg_shutdown[irq])
    s.require(s.cfg_vector[irq] == none(VECTOR), ~s.affinity_managed[irq])
    alloc_msi_entry(s, device, desc, lift(1), FALSE, FALSE)
    msi_domain_prepare_irqs(s, device, domain)
    irq_alloc_descs(s, irq, mask, FALSE)
    vector_reserve(s, irq)
    vector_config_shutdown(s, irq)
    irq_domain_set_hwirq_and_chip(s, irq, domain, hwirq)
    irq_set_msi_desc_off(s, irq, desc, lift(0))
    irq_domain_reset_irq_data(s, irq, domain)
    vector_teardown(s, irq)
    irq_free_descs(s, irq)
    msi_desc_clear_irq(s, desc)
    msi_domain_free_irqs(s, device)
    msi_domain_alloc_irqs(s, device, ret)
    msi_domain_free_irqs(s, device)
    free_msi_entry(s, device, desc)
    return _no_trace(before, s)


@msi.theorem(
    "MSI-7", "After an allocation that failed for want of irqs nobody has activated any.",
    device=DEVICE, ret=INT,
)  # fmt: skip
def allocation_failed(before: State, s: State, device: Term, ret: Term) -> Term:
    msi_domain_alloc_irqs(s, device, ret)
    s.require(s.phase[device] == PHASE.FAILED)

    def quiet(i: Term) -> Term:
        mine = linked(s, i) & (device_of(s, i) == device)
        return implies(mine, ~s.activated[i])

    def message(d: Term) -> Term:
        mine = (s.entry_device[d] == device) & has_irq(s, d)
        return implies(mine, has_irq(before, d) & cached_zero(s, d))

    return and_(forall(IRQ, quiet), forall(DESC, message), _others_alone(before, s, device))


# --- what an allocation leaves --------------------------------------------------------------


@msi.theorem(
    "MSI-5", "In reservation mode an allocation leaves irqs that send to the shutdown vector.",
    device=DEVICE,
)  # fmt: skip
def allocated_reserved(before: State, s: State, device: Term) -> Term:
    msi_domain_alloc_irqs(s, device, lift(0))
    s.require(s.activate_early[s.msi_domain[device]])

    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        mine = and_(linked(s, i), device_of(s, i) == device, reserves(s, d))
        message = implies(first(s, i), s.cached_shutdown[d])
        return implies(mine, and_(~s.activated[i], ~s.nomask_quirk[i], message))

    return forall(IRQ, law) & _others_alone(before, s, device)


@msi.theorem(
    "MSI-6", "Without it an allocation leaves irqs that are active, and unmanaged ones a vector.",
    device=DEVICE,
)  # fmt: skip
def allocated_fixed(before: State, s: State, device: Term) -> Term:
    msi_domain_alloc_irqs(s, device, lift(0))
    s.require(s.activate_early[s.msi_domain[device]])

    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        mine = and_(linked(s, i), device_of(s, i) == device, ~reserves(s, d))
        named = ~(s.cached_vector[d] == none(VECTOR))
        message = implies(first(s, i) & ~s.affinity_managed[i], named)
        return implies(mine, s.activated[i] & message)

    return forall(IRQ, law) & _others_alone(before, s, device)


@msi.theorem(
    "MSI-N8", "An allocation leaves the irqs of a block all active, or none.", device=DEVICE
)
def allocated_alike(before: State, s: State, device: Term) -> Term:
    msi_domain_alloc_irqs(s, device, lift(0))
    s.require(s.activate_early[s.msi_domain[device]])

    def law(i: Term, j: Term) -> Term:
        mine = linked(s, i) & (device_of(s, i) == device)
        same = s.activated[i] == s.activated[j]
        return implies(mine & (s.msi_desc[i] == s.msi_desc[j]), same)

    return forall(IRQ, IRQ, law)


@msi.theorem(
    "MSI-9", "A deactivated irq sends nothing, if its device can be reached.",
    irq=IRQ, desc=DESC,
)  # fmt: skip
def deactivated(before: State, s: State, irq: Term, desc: Term) -> Term:
    s.require(reachable(s, s.entry_device[desc]), ~s.is_virtual[desc])
    pci_write_msi_msg(s, irq, desc, none(VECTOR), none(CPU), FALSE, TRUE)
    irq_domain_deactivate_irq(s, irq)
    silent = (s.device_vector[desc] == none(VECTOR)) & ~s.device_shutdown[desc]
    return silent & _others_alone(before, s, s.entry_device[desc])


@msi.theorem("MSI-9", "The early activation trick leaves the message as it is.", irq=IRQ)
def trick(before: State, s: State, irq: Term) -> Term:
    irqd_clr_activated(s, irq)
    d = s.msi_desc[irq]
    kept = _as_before(before, s, d, ("cached_vector", "cached_cpu", "cached_shutdown"))
    return implies(~(d == none(DESC)), kept) & ~s.activated[irq]


# --- restoring ------------------------------------------------------------------------------


@msi.theorem(
    "PCI-8", "A device that was restored in D0 holds every message that the kernel remembers.",
    device=DEVICE,
)  # fmt: skip
def restored(before: State, s: State, device: Term) -> Term:
    pci_restore_msi_state(s, device)
    s.require(enabled(s, device), reachable(s, device))

    def law(d: Term) -> Term:
        mine = (s.entry_device[d] == device) & ~s.is_virtual[d]
        return implies(mine, device_is_cached(s, d))

    return forall(DESC, law)


@msi.theorem(
    "PCI-8", "What is written to a device that cannot be reached is cached, and not lost.",
    irq=IRQ, desc=DESC, vector=Option(VECTOR), cpu=Option(CPU), shutdown=BOOL,
)  # fmt: skip
def unreached(
    before: State, s: State, irq: Term, desc: Term, vector: Term, cpu: Term, shutdown: Term
) -> Term:
    pci_write_msi_msg(s, irq, desc, vector, cpu, shutdown, FALSE)
    cached = and_(
        s.cached_vector[desc] == vector,
        s.cached_cpu[desc] == cpu,
        s.cached_shutdown[desc] == shutdown,
    )
    untold = _as_before(before, s, desc, ("device_vector", "device_cpu", "device_shutdown"))
    return cached & untold


@msi.theorem("PCI-8", "A reset changes nothing that the kernel remembers.", device=DEVICE)
def reset_forgets(before: State, s: State, device: Term) -> Term:
    pci_reset_function(s, device)
    cached = ("cached_vector", "cached_cpu", "cached_shutdown", "masked", "entry_irq")
    return forall(DESC, lambda d: _as_before(before, s, d, cached)) & _others_alone(
        before, s, device
    )
