# SPDX-License-Identifier: GPL-2.0-only
"""Which domain a device gets, on every platform (section 10.6), and the arch fallbacks (11).

A unit that covers a device has an MSI domain here; one without, whose devices would have none, is
left out (SEL-1). So are VMDs that do not remap, whose devices are behind the unit of the VMD. That
the hook for restoring messages is there at all times (FB-2) is not about a state: the tests of the
initialisation of x86 hold it.
"""

from __future__ import annotations

from spec.boot import overrides
from spec.routing import (
    BUS,
    DEVICE,
    OPTION_DOMAIN,
    TOKEN,
    below,
    has_special,
    hosted,
    on_hyperv,
    pci_msi_setup_msi_irqs,
    routing,
    set_device_msi_domain,
    token_of,
)
from spec.sorts import DOMAIN
from spec.state import State
from spec.terms import Term, and_, exists, forall, implies, none, or_


@routing.invariant(
    "SEL-1", "Every device has a domain, unless there is no default one and no host brings one."
)
def some_domain(s: State) -> Term:
    default = ~(s.default_domain == none(DOMAIN))
    return forall(
        DEVICE,
        lambda d: and_(s.added[d], default | hosted(s, s.bus[d])).implies(
            ~(s.msi_domain[d] == none(DOMAIN))
        ),
    )


@routing.invariant(
    "SEL-2", "A device's domain has the token of VMDs exactly if it is below one.",
    unless=("VMD-24",),
)  # fmt: skip
def vmd_token(s: State) -> Term:
    def law(d: Term) -> Term:
        token = token_of(s, s.msi_domain[d])
        return s.added[d].implies((token == TOKEN.VMD_MSI) == below(s, s.bus[d]))

    return forall(DEVICE, law)


@routing.invariant(
    "SEL-3",
    "While interrupts are remapped, the messages of a settled device with an ordinary domain are "
    "remapped.",
    unless=("INIT-C", "INIT-L", "F2"),
)
def remapped(s: State) -> Term:
    def law(d: Term) -> Term:
        domain = s.msi_domain[d]
        ordinary = (token_of(s, domain) == TOKEN.PCI_MSI) & ~on_hyperv(s, s.bus[d])
        return and_(s.irq_remapping_enabled, s.settled[d], ordinary).implies(s.remapping[domain])

    return forall(DEVICE, law)


@routing.invariant(
    "SEL-5", "A device has the platform's domain exactly if there is one, and its host brings none."
)
def platforms_domain(s: State) -> Term:
    def law(d: Term) -> Term:
        own = s.default_wrapped & (s.msi_domain[d] == s.default_domain)
        return s.added[d].implies(own == (s.default_wrapped & ~hosted(s, s.bus[d])))

    return forall(DEVICE, law)


@routing.invariant("HVI-3", "In a guest of Hyper-V the flag that interrupts are remapped is clear.")
def not_on_hyperv(s: State) -> Term:
    return s.irq_remapping_enabled.implies(~exists(BUS, lambda b: on_hyperv(s, b)))


@routing.invariant(
    "VMD-8", "A device below a VMD has the VMD's domain, and that is a special one.",
    unless=("VMD-24",),
)  # fmt: skip
def vmd_children(s: State) -> Term:
    def law(d: Term) -> Term:
        own = s.msi_domain[d] == s.vmd[s.bus[d]]
        return and_(s.added[d], below(s, s.bus[d])).implies(own & has_special(s, d))

    return forall(DEVICE, law)


@routing.invariant("FB-1", "The stub refuses only devices without a domain, and changes nothing.")
def stub_without_domain(s: State) -> Term:
    def law(d: Term) -> Term:
        none_there = (s.default_domain == none(DOMAIN)) & ~hosted(s, s.bus[d])
        return or_(s.refused[d], s.native_call[d]).implies(
            none_there & (s.served[d] == none(DOMAIN))
        )

    return forall(DEVICE, law)


@routing.invariant("FB-3", "The platform's functions serve devices only where the platform is.")
def only_the_platform(s: State) -> Term:
    def law(d: Term) -> Term:
        by_platform = s.default_wrapped & (s.served[d] == s.default_domain)
        return by_platform.implies(overrides(s))

    return forall(DEVICE, law)


@routing.theorem(
    "SEL-6", "The domain that the remapping driver replaces is an ordinary one.",
    device=DEVICE, domain=OPTION_DOMAIN,
)  # fmt: skip
def replaces_ordinary(before: State, s: State, device: Term, domain: Term) -> Term:
    """It is no VMD's, and not the platform's."""
    set_device_msi_domain(s, device, domain)
    old = before.msi_domain[device]
    platform = before.default_wrapped & (old == before.default_domain)
    mine = below(before, before.bus[device]) & (not before.on("VMD-24"))
    return ~has_special(before, device) & ~platform & ~mine


@routing.theorem(
    "SEL-7", "A request reaches the stub exactly if the device has no domain with hierarchy.",
    device=DEVICE, domain=OPTION_DOMAIN,
)  # fmt: skip
def dispatched(before: State, s: State, device: Term, domain: Term) -> Term:
    """In that case nothing serves the device."""
    pci_msi_setup_msi_irqs(s, device, domain)
    unserved = s.served[device] == none(DOMAIN)
    return unserved == ~before.hierarchy[before.msi_domain[device]]


@routing.theorem(
    "HVP-4", "The domain of a device that Hyper-V passes through is no special one.", device=DEVICE
)
def passed_through(before: State, s: State, device: Term) -> Term:
    s.require(s.added[device], on_hyperv(s, s.bus[device]))
    return ~has_special(s, device)


@routing.theorem(
    "VMD-9", "A device that is below no VMD, such as one that is a VMD, is not special itself.",
    device=DEVICE,
)  # fmt: skip
def endpoint(before: State, s: State, device: Term) -> Term:
    s.require(s.added[device], ~below(s, s.bus[device]), ~s.default_wrapped)
    return implies(~(s.msi_domain[device] == none(DOMAIN)), ~has_special(s, device))
