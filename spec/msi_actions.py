# SPDX-License-Identifier: GPL-2.0-only
"""The actions of the MSI core: descriptors, and the allocation of their irqs."""

from __future__ import annotations

from collections.abc import Callable

from spec.msi import (
    DESC,
    DEVICE,
    LIFE,
    PHASE,
    complete,
    device_of,
    domain_of,
    first,
    has_irq,
    in_phase,
    linked,
    maskable,
    msi,
    settled,
)
from spec.pci_msi import SETUP, enabled, has_entries, of_devices
from spec.sorts import DOMAIN, HWIRQ, IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, INT, TRUE, Term, and_, exists, forall, implies, ite, none

# --- what the guards share ------------------------------------------------------------------


def decides_to_reserve(s: State, d: Term) -> Term:
    """msi_check_reservation_mode as it runs: with N6 it does not know the token of a VMD domain,
    with N14 it does not look at pci_msi_ignore_mask."""
    domain = domain_of(s, d)
    known = s.pci_token[domain] | (FALSE if s.on("N6") else s.vmd_token[domain])
    ignored = FALSE if s.on("N14") else s.pci_msi_ignore_mask
    return and_(known, s.must_reactivate[domain], ~ignored, maskable(s, d))


def each_entry(s: State, device: Term, law: Callable[[Term], Term]) -> Term:
    """A law of every descriptor of the device."""
    return forall(DESC, lambda d: implies(s.entry_device[d] == device, law(d)))


def nothing_in_hand(s: State, device: Term) -> Term:
    """Every irq of the device's domain belongs to a descriptor."""
    domain = s.msi_domain[device]
    return forall(
        IRQ,
        lambda i: implies(and_(of_devices(s, domain), s.msi_level[i] == domain), linked(s, i)),
    )


def all_allocated(s: State, device: Term) -> Term:
    """Every descriptor of the device has its block."""
    return each_entry(s, device, lambda d: has_irq(s, d) & ~s.partial[d])


def treated(s: State, i: Term) -> Term:
    """Early activation deals with the irq: with N8 only with the first of a block."""
    return first(s, i) if s.on("N8") else TRUE


def each_irq(s: State, device: Term, law: Callable[[Term], Term]) -> Term:
    """A law of every irq of the device."""
    return forall(IRQ, lambda i: implies(linked(s, i) & (device_of(s, i) == device), law(i)))


def each_treated(s: State, device: Term, law: Callable[[Term], Term]) -> Term:
    """A law of every irq of the device with which early activation deals."""
    return each_irq(s, device, lambda i: implies(treated(s, i), law(i)))


def is_allocating(s: State, irq: Term) -> Term:
    """The irq belongs to a device whose irqs are being allocated."""
    return in_phase(s, device_of(s, irq), "ALLOC")


# --- descriptors of a device ----------------------------------------------------------------


@msi.action(device=DEVICE, desc=DESC, nvec=INT, msix=BOOL, maskbit=BOOL)
def alloc_msi_entry(
    s: State, device: Term, desc: Term, nvec: Term, msix: Term, maskbit: Term
) -> None:
    """The device gets one more descriptor: MSI has one alone, MSI-X as many as irqs are wanted."""
    s.require(s.dev_added[device], s.entry_device[desc] == none(DEVICE))
    s.require(in_phase(s, device, "IDLE"), ~enabled(s, device))
    s.require((s.setup[device] == SETUP.REST) | (s.setup[device] == SETUP.SETUP))
    s.require(nvec >= 1, implies(msix, nvec == 1))
    s.require(each_entry(s, device, lambda d: s.entry_is_msix[d] & msix))
    with s.when(s.entries[device] == 0):
        s.registers_lost[device] = False
    s.entry_device[desc] = device
    s.entry_position[desc] = s.entries[device]
    s.entry_is_msix[desc] = msix
    s.entry_maskbit[desc] = maskbit
    s.entry_nvec[desc] = nvec
    s.entries[device] += 1
    s.stale[desc] = True
    s.device_masked[desc] = ite(msix, 1, 0)
    s.setup[device] = SETUP.SETUP


@msi.action(device=DEVICE, desc=DESC)
def free_msi_entry(s: State, device: Term, desc: Term) -> None:
    """A descriptor goes, and with it what it caches."""
    s.require(s.entry_device[desc] == device, in_phase(s, device, "IDLE"), ~enabled(s, device))
    last = ~exists(DESC, lambda d: (s.entry_device[d] == device) & ~(d == desc))
    for bit in ("entry_is_msix", "entry_maskbit", "cached_shutdown", "device_shutdown", "stale"):
        getattr(s, bit)[desc] = False
    for option in ("entry_device", "cached_vector", "cached_cpu", "device_vector", "device_cpu"):
        getattr(s, option)[desc] = None
    for number in ("entry_nvec", "entry_position", "masked", "device_masked"):
        getattr(s, number)[desc] = 0
    with s.when(last):
        s.entries[device] = 0
    s.setup[device] = ite(last, SETUP.REST, SETUP.TEARDOWN)


# --- the allocation of a device's irqs ------------------------------------------------------


@msi.action(device=DEVICE, domain=DOMAIN)
def msi_domain_prepare_irqs(s: State, device: Term, domain: Term) -> None:
    """The domain accepts the device (section 6.4): it has no block if it may have none."""
    s.require(in_phase(s, device, "IDLE"), s.setup[device] == SETUP.SETUP)
    s.require(s.msi_domain[device] == domain, s.is_msi_domain[domain], has_entries(s, device))
    s.require(
        each_entry(s, device, lambda d: implies(s.entry_nvec[d] > 1, s.multi_pci_msi[domain]))
    )
    s.phase[device] = PHASE.ALLOC


@msi.action(device=DEVICE)
def msi_alloc_store(s: State, device: Term) -> None:
    """The domain has stored what it needs for the device, before any irq is allocated."""
    s.require(in_phase(s, device, "ALLOC"), ~s.stored[device])
    s.require(each_entry(s, device, lambda d: ~has_irq(s, d)))
    s.stored[device] = True


@msi.action(device=DEVICE)
def msi_free_store(s: State, device: Term) -> None:
    """What was stored is given back, after the last irq."""
    s.require(s.stored[device], in_phase(s, device, "ROLLBACK", "FREEING", "FAILED"))
    s.require(each_entry(s, device, lambda d: ~has_irq(s, d)))
    s.stored[device] = False


@msi.action(irq=IRQ, domain=DOMAIN, hwirq=HWIRQ)
def irq_domain_set_hwirq_and_chip(s: State, irq: Term, domain: Term, hwirq: Term) -> None:
    """A level is set up: at an MSI domain's level msi_init has succeeded. A hwirq that lives is
    refused; of a block only the first is looked at, and the others differ with it (PCI-4)."""
    mine = s.is_msi_domain[domain]
    taken = exists(IRQ, lambda i: (s.msi_level[i] == domain) & (s.msi_hwirq[i] == hwirq))
    new = and_(s.desc[irq], s.msi_level[irq] == none(DOMAIN), ~linked(s, irq))
    asked = exists(DEVICE, lambda v: (s.msi_domain[v] == domain) & in_phase(s, v, "ALLOC"))
    s.require(implies(mine, new), implies(mine, ~taken))
    s.require(implies(mine & of_devices(s, domain), asked))
    with s.when(mine):
        s.msi_level[irq] = domain
        s.msi_hwirq[irq] = hwirq
        s.initialised[irq] = s.has_msi_free[domain]


@msi.action(irq=IRQ, domain=DOMAIN)
def msi_free(s: State, irq: Term, domain: Term) -> None:
    """The domain's msi_free undoes its msi_init."""
    s.require(s.msi_level[irq] == domain, s.initialised[irq])
    s.initialised[irq] = False


@msi.action(irq=IRQ, domain=DOMAIN)
def irq_domain_reset_irq_data(s: State, irq: Term, domain: Term) -> None:
    """A level is torn down: of an irq that a device has, because all of its irqs are freed. v5.10
    may have forgotten to call msi_free (N7), and does not deactivate before (N17)."""
    mine = s.msi_level[irq] == domain
    freed = mine & linked(s, irq)
    device = device_of(s, irq)
    s.require(implies(mine, ~s.started[irq] & settled(s, irq)))
    if not s.on("N7"):
        s.require(implies(mine, ~s.initialised[irq]))
    if not s.on("N17"):
        s.require(implies(freed, ~s.activated[irq]))
    s.require(implies(freed, ~enabled(s, device)))
    undone = in_phase(s, device, "ALLOC", "ROLLBACK")
    whole = all_allocated(s, device) & nothing_in_hand(s, device)
    s.require(implies(and_(freed, in_phase(s, device, "ALLOC")), whole))
    with s.when(mine):
        s.msi_level[irq] = None
        s.msi_hwirq[irq] = None
    with s.when(freed):
        s.partial[s.msi_desc[irq]] = True
        s.phase[device] = ite(undone, PHASE.ROLLBACK, PHASE.FREEING)
        s.setup[device] = ite(undone, s.setup[device], SETUP.TEARDOWN)


@msi.action(irq=IRQ, desc=DESC, offset=INT)
def irq_set_msi_desc_off(s: State, irq: Term, desc: Term, offset: Term) -> None:
    """An irq that was allocated for a descriptor becomes the next one of its block; those of the
    descriptors before it are there already."""
    device, domain = s.entry_device[desc], domain_of(s, desc)
    s.require(in_phase(s, device, "ALLOC"), ~linked(s, irq), ~complete(s, desc))
    s.require(~(s.msi_level[irq] == none(DOMAIN)), s.msi_level[irq] == domain)
    s.require(s.desc[irq], ~s.activated[irq], ~s.started[irq])
    s.require(s.irqd_can_reserve[irq] == ~s.affinity_managed[irq])
    s.require(offset == s.entry_linked[desc])

    def before(d: Term) -> Term:
        return implies(s.entry_position[d] < s.entry_position[desc], has_irq(s, d) & ~s.partial[d])

    s.require(each_entry(s, device, before))
    base = ite(has_irq(s, desc), s.entry_irq[desc], irq)
    s.require(s.irq_number[irq] == s.irq_number[base] + offset)
    s.require(s.hwirq_number[s.msi_hwirq[irq]] == s.hwirq_number[s.msi_hwirq[base]] + offset)
    s.msi_desc[irq] = desc
    s.msi_offset[irq] = offset
    s.entry_irq[desc] = base
    s.entry_linked[desc] += 1
    s.partial[desc] = ~complete(s, desc)


@msi.action(desc=DESC)
def msi_desc_clear_irq(s: State, desc: Term) -> None:
    """The irqs of a descriptor are freed, all of them: msi_desc.irq is 0 again."""
    s.require(has_irq(s, desc), in_phase(s, s.entry_device[desc], "ROLLBACK", "FREEING"))
    s.require(forall(IRQ, lambda i: ~(s.msi_desc[i] == desc)))
    s.entry_irq[desc] = None
    s.partial[desc] = False


@msi.action(device=DEVICE, ret=INT)
def msi_domain_alloc_irqs(s: State, device: Term, ret: Term) -> None:
    """The allocation ends. It succeeds if every irq was activated early, and its ACTIVATED cleared
    again in reservation mode. It fails if the domain refuses the device, if a descriptor gets no
    irqs, or if an activation fails, and then after everything is undone."""
    succeeds = ret == 0
    s.require(in_phase(s, device, "ALLOC", "ROLLBACK") | in_phase(s, device, "IDLE"))
    s.require(s.is_msi_domain[s.msi_domain[device]], has_entries(s, device))

    s.require(each_irq(s, device, lambda i: settled(s, i)))

    def activated(i: Term) -> Term:
        d = s.msi_desc[i]
        done = and_(s.life[i] == LIFE.EARLY, s.activated[i] == ~decides_to_reserve(s, d))
        return implies(s.activate_early[s.msi_domain[device]], done)

    whole = all_allocated(s, device) & each_treated(s, device, activated)
    s.require(implies(succeeds, in_phase(s, device, "ALLOC") & whole))
    gap = exists(DESC, lambda d: (s.entry_device[d] == device) & ~has_irq(s, d))
    no_part = each_entry(s, device, lambda d: ~s.partial[d])
    s.require(implies(~succeeds & in_phase(s, device, "ALLOC"), gap & no_part))
    empty = each_entry(s, device, lambda d: ~has_irq(s, d))
    s.require(implies(in_phase(s, device, "ROLLBACK"), empty))
    s.require(implies(in_phase(s, device, "ALLOC"), nothing_in_hand(s, device)))
    s.phase[device] = ite(succeeds, PHASE.READY, PHASE.FAILED)


@msi.action(device=DEVICE)
def msi_domain_free_irqs(s: State, device: Term) -> None:
    """The free ends: no descriptor has an irq, and what was stored is given back. It is the
    owner's, or a part of an allocation whose early activation has failed."""
    s.require(in_phase(s, device, "IDLE", "FAILED", "FREEING", "ROLLBACK"), ~s.stored[device])
    s.require(each_entry(s, device, lambda d: ~has_irq(s, d)))
    owner = ~in_phase(s, device, "ROLLBACK")
    s.setup[device] = ite(owner & has_entries(s, device), SETUP.TEARDOWN, s.setup[device])
    s.phase[device] = ite(owner, PHASE.IDLE, PHASE.ROLLBACK)
