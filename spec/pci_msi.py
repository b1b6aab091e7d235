# SPDX-License-Identifier: GPL-2.0-only
"""PCI MSI and MSI-X (drivers/pci/msi.c, v5.10): the registers of a device, and what must hold.

A mask is a number here, the word that is written; that the bit of an irq in it is the right one is
proved of the bits. The registers of a device that is not in D0 or is gone cannot be reached, and a
reset empties them; `registers_lost` remembers that until pci_restore_msi_state has run.

Left out, for they are in no event of the stack: `multiple` and `multi_cap` (a block is no larger
than the device can signal: proved of the bits) and `dev.irq` (`entry_irq` while MSI is enabled).
"""

from __future__ import annotations

from spec.matrix import CPU, VECTOR
from spec.msi import (
    DESC,
    DEVICE,
    MESSAGE,
    cached_is_composed,
    cached_zero,
    device_of,
    domain_of,
    first,
    has_irq,
    in_phase,
    linked,
    maskable,
    msi,
    reserves,
    settled,
)
from spec.msi_invariants import ready
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import Enum, Int, Option, Term, and_, exists, forall, none, or_

SETUP = Enum(
    "Setup",
    (
        "REST",  # neither is under way
        "SETUP",  # a capability is being set up: there are descriptors
        "TEARDOWN",  # it is being taken down, or is disabled for a moment
    ),
)

msi.field("is_virtual", DESC, rigid=True, doc="the MSI-X entry lies behind the table")
msi.field("dev_added", DEVICE, doc="pci_device_add was called")
msi.field("in_d0", DEVICE, doc="current_state is D0")
msi.field("disconnected", DEVICE, doc="the device is gone")
msi.field("msi_enabled", DEVICE, doc="dev.msi_enabled")
msi.field("msix_enabled", DEVICE, doc="dev.msix_enabled")
msi.field("msix_bit", DEVICE, doc="the enable bit of MSI-X in the device")
msi.field("intx", DEVICE, doc="the device may use its INTx line")
msi.field("setup", DEVICE, type=SETUP, doc="what the PCI code is doing with the device")
msi.field("registers_lost", DEVICE, doc="the device has forgotten, or not been told, something")
msi.field("device_vector", DESC, type=Option(VECTOR), doc="the real vector in the device's message")
msi.field("device_cpu", DESC, type=Option(CPU), doc="the CPU in the device's message, likewise")
msi.field("device_shutdown", DESC, doc="the device's message names the shutdown vector")
msi.field("stale", DESC, doc="the device may hold another message than the cached one")
msi.field("masked", DESC, type=Int((IRQ,)), doc="msi_desc.masked")
msi.field("device_masked", DESC, type=Int((IRQ,)), doc="the mask bits in the device")


# --- words for the formulas -----------------------------------------------------------------


def enabled(s: State, v: Term) -> Term:
    """MSI or MSI-X is enabled."""
    return s.msi_enabled[v] | s.msix_enabled[v]


def reachable(s: State, v: Term) -> Term:
    """What is written reaches the device's registers."""
    return s.in_d0[v] & ~s.disconnected[v]


def has_entries(s: State, v: Term) -> Term:
    """The device has descriptors."""
    return exists(DESC, lambda d: s.entry_device[d] == v)


def may_mask(s: State, d: Term) -> Term:
    """A mask of the descriptor is written to the device."""
    return and_(maskable(s, d), ~s.pci_msi_ignore_mask, ~(s.entry_is_msix[d] & s.is_virtual[d]))


def device_is_cached(s: State, d: Term) -> Term:
    """The device holds the message that the descriptor caches."""
    return and_(
        s.device_vector[d] == s.cached_vector[d],
        s.device_cpu[d] == s.cached_cpu[d],
        s.device_shutdown[d] == s.cached_shutdown[d],
    )


def device_is_composed(s: State, d: Term, i: Term) -> Term:
    """The device holds the message that is composed for the irq."""
    return and_(
        s.device_vector[d] == s.cfg_vector[i],
        s.device_cpu[d] == s.cfg_cpu[i],
        s.device_shutdown[d] == s.cfg_shutdown[i],
    )


def of_devices(s: State, domain: Term) -> Term:
    """The domain gives irqs to PCI devices, by their descriptors."""
    return s.pci_token[domain] | s.vmd_token[domain]


# --- invariants (sections 6.7, 7.10 and 8.7) ------------------------------------------------


@msi.invariant(
    "MSI-8", "A device that writes reach sends an active irq to where it is configured.",
    follows=True,
)  # fmt: skip
def msi_coherence(s: State) -> Term:
    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        told = ~s.is_virtual[d] & ~s.registers_lost[device_of(s, i)]
        active = and_(first(s, i), s.activated[i], settled(s, i))
        return (active & told).implies(device_is_composed(s, d, i))

    return forall(IRQ, law)


@msi.invariant("PCI-1", "MSI and MSI-X are not both enabled.")
def pci_one_kind(s: State) -> Term:
    return forall(DEVICE, lambda v: ~(s.msi_enabled[v] & s.msix_enabled[v]))


@msi.invariant("PCI-2", "With MSI enabled a device has one descriptor, with a block of irqs.")
def pci_msi_entry(s: State) -> Term:
    def only(d: Term, e: Term) -> Term:
        device = s.entry_device[d]
        both = s.msi_enabled[device] & (s.entry_device[e] == device)
        kind = and_(~s.entry_is_msix[d], has_irq(s, d), s.entry_nvec[d] >= 1)
        return both.implies(kind & (d == e))

    def there(v: Term) -> Term:
        return s.msi_enabled[v].implies(in_phase(s, v, "READY") & has_entries(s, v))

    return forall(DESC, DESC, only) & forall(DEVICE, there)


@msi.invariant("PCI-3", "With MSI-X enabled every descriptor is of MSI-X, with one irq of its own.")
def pci_msix_entries(s: State) -> Term:
    def kind(d: Term) -> Term:
        right = and_(s.entry_is_msix[d], s.entry_nvec[d] == 1, has_irq(s, d))
        return s.msix_enabled[s.entry_device[d]].implies(right)

    def own(d: Term, e: Term) -> Term:
        both = s.msix_enabled[s.entry_device[d]] & (s.entry_device[d] == s.entry_device[e])
        same = s.entry_irq[d] == s.entry_irq[e]
        return (both & same).implies(d == e)

    def there(v: Term) -> Term:
        return s.msix_enabled[v].implies(in_phase(s, v, "READY") & has_entries(s, v))

    return and_(forall(DESC, kind), forall(DESC, DESC, own), forall(DEVICE, there))


@msi.invariant(
    "PCI-6",
    "A device that is neither enabled nor on its way has no descriptor, and no irq is left over.",
)
def pci_clean(s: State) -> Term:
    def bare(d: Term) -> Term:
        device = s.entry_device[d]
        idle = (s.setup[device] == SETUP.REST) & ~enabled(s, device)
        return idle.implies(device == none(DEVICE))

    def empty(v: Term) -> Term:
        idle = (s.setup[v] == SETUP.REST) & ~enabled(s, v)
        return idle.implies(s.entries[v] == 0)

    def no_orphan(i: Term) -> Term:
        orphan = of_devices(s, s.msi_level[i]) & ~linked(s, i)
        return orphan.implies(
            exists(
                DEVICE,
                lambda v: (s.msi_domain[v] == s.msi_level[i]) & in_phase(s, v, "ALLOC"),
            )
        )

    return and_(forall(DESC, bare), forall(DEVICE, empty), forall(IRQ, no_orphan))


@msi.invariant("PCI-7", "While enabled, a device that can be masked has the mask that is cached.")
def pci_masks(s: State) -> Term:
    def law(d: Term) -> Term:
        device = s.entry_device[d]
        told = and_(enabled(s, device), ~s.registers_lost[device], may_mask(s, d))
        return told.implies(s.masked[d] == s.device_masked[d])

    return forall(DESC, law)


@msi.invariant(
    "PCI-8", "The cached message is the last one composed, and the device's if that was told."
)
def pci_cache(s: State) -> Term:
    def last(i: Term) -> Term:
        active = and_(first(s, i), s.activated[i], settled(s, i))
        return active.implies(cached_is_composed(s, s.msi_desc[i], i))

    def told(d: Term) -> Term:
        device = s.entry_device[d]
        listed = ~(device == none(DEVICE))
        silent = s.is_virtual[d] | s.registers_lost[device]
        return and_(
            (listed & ~s.stale[d]).implies(device_is_cached(s, d)),
            and_(listed, s.stale[d], ~silent).implies(cached_zero(s, d)),
        )

    return forall(IRQ, last) & forall(DESC, told)


@msi.invariant("PCI-9", "A device has irqs of its own hierarchical domain only.")
def pci_own_domain(s: State) -> Term:
    def law(i: Term) -> Term:
        domain = domain_of(s, s.msi_desc[i])
        own = s.is_msi_domain[domain] & (
            (s.msi_level[i] == domain) | (s.msi_level[i] == none(DOMAIN))
        )
        return linked(s, i).implies(own)

    return and_(
        forall(IRQ, law),
        forall(DEVICE, lambda v: in_phase(s, v, "IDLE") | s.is_msi_domain[s.msi_domain[v]]),
    )


@msi.invariant("PCI-10", "The irqs of a block have numbers in a row.")
def pci_block(s: State) -> Term:
    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        number = s.irq_number[i] == s.irq_number[s.entry_irq[d]] + s.msi_offset[i]
        rising = in_phase(s, s.entry_device[d], "ALLOC")
        inside = and_(
            s.msi_offset[i] >= 0,
            s.msi_offset[i] < s.entry_nvec[d],
            rising.implies(s.msi_offset[i] < s.entry_linked[d]),
        )
        return linked(s, i).implies(number & inside)

    def one(i: Term, j: Term) -> Term:
        same = and_(linked(s, i), s.msi_desc[i] == s.msi_desc[j])
        return (same & (s.msi_offset[i] == s.msi_offset[j])).implies(i == j)

    return forall(IRQ, law) & forall(IRQ, IRQ, one)


@msi.invariant(
    "APIC-4",
    "An irq has the quirk exactly if its domain asks for it and it does not reserve.",
    unless=("N6", "N8", "N14"),
)
def apic_quirk(s: State) -> Term:
    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        asks = s.has_nomask_quirk[domain_of(s, d)] & ~reserves(s, d)
        settled_for = ready(s, i) & s.activate_early[domain_of(s, d)]
        return and_(
            settled_for.implies(s.nomask_quirk[i] == asks),
            s.nomask_quirk[i].implies(asks),
        )

    return forall(IRQ, law)


@msi.invariant(
    "APIC-5",
    "While an irq with the quirk is moved, its device still signals the old target, where it runs.",
)
def apic_mover(s: State) -> Term:
    def law(i: Term) -> Term:
        d = s.msi_desc[i]
        moving = (s.message_pc[i] == MESSAGE.CONFIGURED) & s.nomask_quirk[i]
        return (moving & ~s.stale[d]).implies(s.device_cpu[d] == s.moved_from[i])

    return forall(IRQ, law)


@msi.invariant("APIC-6", "Only a domain that may have blocks has a block of several irqs.")
def apic_no_block(s: State) -> Term:
    def law(d: Term) -> Term:
        used = has_irq(s, d) | in_phase(s, s.entry_device[d], "ALLOC")
        return (used & (s.entry_nvec[d] > 1)).implies(s.multi_pci_msi[domain_of(s, d)])

    return forall(DESC, law)


# --- what the others need to be inductive ----------------------------------------------------


@msi.invariant("PCI-intx", "A device that uses MSI or MSI-X does not use its INTx line.")
def pci_intx_off(s: State) -> Term:
    return forall(DEVICE, lambda v: enabled(s, v).implies(~s.intx[v]))


@msi.invariant(
    "PCI-fresh", "A descriptor that waits for irqs has sent nothing; one in no list is blank."
)
def pci_fresh(s: State) -> Term:
    def law(d: Term) -> Term:
        device = s.entry_device[d]
        starting = in_phase(s, device, "IDLE") & (s.setup[device] == SETUP.SETUP)
        waits = or_(starting, in_phase(s, device, "ALLOC"))
        return and_(waits, ~has_irq(s, d)).implies(cached_zero(s, d))

    def blank(d: Term) -> Term:
        zero = (s.device_vector[d] == none(VECTOR)) & (s.device_cpu[d] == none(CPU))
        return (s.entry_device[d] == none(DEVICE)).implies(zero & ~s.device_shutdown[d])

    return and_(
        forall(DESC, law),
        forall(DESC, blank),
        forall(DEVICE, lambda v: in_phase(s, v, "ALLOC").implies(s.setup[v] == SETUP.SETUP)),
    )
