# SPDX-License-Identifier: GPL-2.0-only
"""The layer of boot and of domain selection beside a whole machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from impl.drivers.pci.pci import PciBus
from impl.kernel.irq.irqdomain import DomainBus, irq_domain_is_hierarchy
from impl.machine import Machine
from proofs.events import Fields, Peek, Reading
from proofs.layers import Binding, Names, Readings, by_name
from spec.partial import ANY, Store
from spec.records import Model

__all__ = ["ROUTING", "bus_number", "routing_rigid"]


def bus_number(segment: int, number: int) -> int:
    """The number of a bus in the trace."""
    return segment << 8 | number


def _readings(model: Model) -> Readings:
    """A device is told its domain while it is added, which pci_device_add tells as a whole; only
    what is stored later is a step of its own. An attempt that fails before it asks a domain for
    interrupts gives back none."""
    named = by_name(model)

    def read(name: str, fields: Fields, peek: Peek) -> Iterator[Reading]:
        if name == "set_device_msi_domain" and not peek("added", fields["device"]):
            return
        if name == "pci_msi_teardown_msi_irqs" and peek("served", fields["device"]) is None:
            return
        yield from named(name, fields, peek)

    return read


def _abstraction(machine: Machine, names: Names) -> dict[str, Store]:
    domains = names["Domain"]
    stores: dict[str, Store] = {
        "irq_remapping_enabled": {ANY: False},
        **{name: {ANY: None} for name in ("default_domain", "bus_domain", "msi_domain")},
        **{name: {ANY: False} for name in ("bus_added", "added")},
    }
    default = machine.x86.pci_msi_default_domain
    if default is not None:
        stores["default_domain"][ANY] = domains[default.id]
    for bus in machine.topology.buses.values():
        element = names["Bus"][bus_number(bus.segment, bus.number)]
        stores["bus_added"][element] = True
        if bus.msi_domain is not None:
            stores["bus_domain"][element] = domains[bus.msi_domain.id]
    for dev in machine.pci_devs.values():
        stores["added"][dev.id] = True
        if dev.msi_domain is not None:
            stores["msi_domain"][dev.id] = domains[dev.msi_domain.id]
    return stores


_TOKENS: Final = {DomainBus.PCI_MSI: "PCI_MSI", DomainBus.VMD_MSI: "VMD_MSI"}


def routing_rigid(machine: Machine, names: Names) -> dict[str, dict[tuple[int, ...], Any]]:
    """Where devices sit, and what domains are."""
    buses = machine.topology.buses.values()

    def element(bus: PciBus) -> int:
        return names["Bus"][bus_number(bus.segment, bus.number)]

    domains = {names["Domain"][domain.id]: domain for domain in machine.domains.irq_domain_list}
    numbers = machine.topology.numbers
    return {
        "bus": {
            (numbers[name],): names["Bus"][bus_number(part.segment, part.bus)]
            for name, part in machine.topology.parts.items()
        },
        "parent_bus": {(element(b),): element(b.parent) for b in buses if b.parent is not None},
        "bridge": {(element(b),): b.self_dev.id for b in buses if b.self_dev is not None},
        "token": {
            (d,): _TOKENS.get(DomainBus(domain.bus_token), "ANY") for d, domain in domains.items()
        },
        "hierarchy": {(d,): irq_domain_is_hierarchy(domain) for d, domain in domains.items()},
    }


ROUTING: Final = Binding(
    "routing",
    _abstraction,
    _readings,
    elements={"domain": "Domain", "bus": "Bus"},
    spec_only=(
        "step",
        "hypervisor",
        "apic_intr_mode",
        "routed",
        "post_inits",
        "overridden",
        "fallbacks_selected",
        "fallbacks_built",
        "fallbacks_declared",
        "stubs_declared",
        "default_made",
        "default_wrapped",
        "scanning",
        "unit",
        "settled",
        "served",
        "refused",
        "native_call",
    ),
)
"""Of boot nothing is left but what it made: the rest is told by its events alone."""
