# SPDX-License-Identifier: GPL-2.0-only
"""What holds of PCI routing besides its invariants: idempotence, the table of section 7.9, and that
the series changed nobody's domain."""

from __future__ import annotations

from spec.routing import (
    DEVICE,
    OPTION_DOMAIN,
    TOKEN,
    below,
    found,
    has_special,
    looked_up,
    on_hyperv,
    pci_device_add,
    pci_msi_setup_msi_irqs,
    routing,
    set_again,
    token_of,
)
from spec.sorts import DOMAIN
from spec.state import State
from spec.terms import Term, implies, none


@routing.theorem("INIT-3", "pci_set_msi_domain may run again and changes nothing.", device=DEVICE)
def set_twice(before: State, s: State, device: Term) -> Term:
    s.require(s.added[device])
    return set_again(s, device) == s.msi_domain[device]


@routing.theorem(
    "INIT-5", "A device on a bus with a special domain takes that one, and is settled.",
    device=DEVICE, domain=OPTION_DOMAIN,
)  # fmt: skip
def special_bus(before: State, s: State, device: Term, domain: Term) -> Term:
    of_bus = before.bus_domain[before.bus[device]]
    s.require(~(of_bus == none(DOMAIN)), ~(token_of(s, of_bus) == TOKEN.PCI_MSI))
    pci_device_add(s, device, domain)
    return (s.msi_domain[device] == of_bus) & s.settled[device]


@routing.theorem(
    "INIT-6", "Where neither device nor bus has a domain, the remapping driver stores none.",
    device=DEVICE,
)  # fmt: skip
def nothing_to_replace(before: State, s: State, device: Term) -> Term:
    """So the patches that store the domain do nothing until pcibios_add_device sets a default."""
    s.require(s.msi_domain[device] == none(DOMAIN))
    s.require(s.bus_domain[s.bus[device]] == none(DOMAIN))
    return has_special(s, device)


@routing.theorem(
    "INIT-6", "pci_dev_has_special_msi_domain is false for native and remapped domains.",
    device=DEVICE,
)  # fmt: skip
def ordinary(before: State, s: State, device: Term) -> Term:
    domain = found(s, device)
    native = (domain == s.default_domain) & ~s.default_wrapped
    s.require(~(domain == none(DOMAIN)), native | s.remapping[domain])
    return ~has_special(s, device)


@routing.theorem(
    "INIT-6", "pci_dev_has_special_msi_domain is true below a VMD and for the platform's domain.",
    device=DEVICE,
)  # fmt: skip
def extraordinary(before: State, s: State, device: Term) -> Term:
    s.require(s.added[device])
    home = s.bus[device]
    s.require(below(s, home) | (s.default_wrapped & ~on_hyperv(s, home)))
    return has_special(s, device)


@routing.theorem(
    "X-5", "The domain that serves a device is the one that was looked up before the series.",
    device=DEVICE, domain=OPTION_DOMAIN,
)  # fmt: skip
def served_as_before(before: State, s: State, device: Term, domain: Term) -> Term:
    """Two exceptions are known: the answer without a domain was -ENOSYS and is -ENODEV, and a
    machine that remaps and could not make its default domain had units' domains all the same."""
    default = ~(s.default_domain == none(DOMAIN))
    s.require(default | ~s.irq_remapping_enabled)
    chosen = looked_up(before, device)
    pci_msi_setup_msi_irqs(s, device, domain)
    refused = implies(s.stubs_declared, s.refused[device])
    return (s.served[device] == chosen) & implies(chosen == none(DOMAIN), refused)
