# SPDX-License-Identifier: GPL-2.0-only
"""The small machines in which boot, PCI routing, IO-APICs, UV, DMAR and HPET are explored."""

from __future__ import annotations

from collections.abc import Mapping

from spec.scope import Index, Scope, Value

__all__ = ["PLATFORM_SCOPES", "io_apic", "pci", "units", "uv"]


def pci(*, vmd: bool = False, hyperv: bool = False, virtual: bool = False) -> Scope:
    """A device on each of two buses. The second bus is behind the first device, or a bus of
    Hyper-V's, or below a VMD; that one has two devices. With `virtual` the first device has a
    virtual function on its bus in place of all that.

    The domains are a native one, those of two remapping units, the platform's own, and one for the
    second bus.
    """
    kinds = ("PCI_MSI", "PCI_MSI", "PCI_MSI", "ANY", "PCI_MSI" if hyperv else "VMD_MSI")
    domains = range(len(kinds))
    root = vmd or hyperv
    buses: dict[Index, Value] = {(0,): 0, (1,): 0 if virtual else 1}
    return Scope(
        {"Device": 3 if vmd else 2, "Bus": 1 if virtual else 2, "Domain": len(kinds)},
        {
            "bus": {**buses, (2,): 1} if vmd else buses,
            "parent_bus": {} if root or virtual else {(1,): 0},
            "bridge": {} if root or virtual else {(1,): 0},
            "vmd": {(1,): 4} if vmd else {},
            "passed": {(1,): 4} if hyperv else {},
            "physical": {(1,): 0} if virtual else {},
            "token": {(x,): kinds[x] for x in domains},
            "hierarchy": {(x,): True for x in domains},
            "remapping": {(1,): True, (2,): True},
        },
    )


def io_apic(
    kind: str,
    irqs: int,
    vectors: int,
    *,
    legacy: int = 0,
    isa_pins: int = 0,
    remapped: bool = False,
) -> Scope:
    """One IO-APIC of two pins, whose GSIs are 0 and 1, and one CPU.

    Irqs are numbered from 0; the first `legacy` ones are legacy. Irq 0 has the ISA vector 0 and is
    wired to the first `isa_pins` pins.
    """
    pins = range(2)
    return Scope(
        {
            "Irq": irqs,
            "Cpu": 1,
            "Vector": vectors,
            "Domain": 1,
            "IoApic": 1,
            "Pin": len(pins),
        },
        {
            "number": {(i,): i for i in range(irqs)},
            "legacy": {(i,): True for i in range(legacy)},
            "isa_irq": {(0,): 0} if legacy else {},
            "has_pin": {(0, p): True for p in pins},
            "kind": {(0,): kind},
            "at_boot": {(0,): True},
            "remapped": {(0,): remapped},
            "gsi_irq": {(0, p): p for p in pins},
            "isa_of": {(0, p): 0 for p in range(isa_pins)},
            "gsi_end": {(0,): 1},
            "gsi_top": {(): 2},
            "most": {(): 2},
        },
    )


def uv(cpus: int, vectors: int, irqs: int) -> Scope:
    """A machine with UV interrupts and others."""
    return Scope({"Cpu": cpus, "Vector": vectors, "Irq": irqs})


def units(irqs: int) -> Scope:
    """Two DMAR units, 0 and 1, in the first domain; one channel of an HPET, 1, in the second."""
    return Scope(
        {"Irq": irqs, "Domain": 2, "Unit": 3, "Hwirq": 2},
        {
            "home": {(0,): 0, (1,): 0, (2,): 1},
            "unit_id": {(0,): 0, (1,): 1, (2,): 1},
            "zero": {(): 0},
            "is_dmar": {(0,): True},
        },
    )


PLATFORM_SCOPES: Mapping[str, tuple[Scope, ...]] = {
    "routing": (pci(), pci(vmd=True), pci(hyperv=True), pci(virtual=True)),
    "ioapic": (
        io_apic("LEGACY", 3, 2, legacy=1, isa_pins=1),
        io_apic("LEGACY", 4, 1, legacy=1),
        io_apic("STRICT", 2, 3, legacy=1, isa_pins=2),
        io_apic("DYNAMIC", 4, 2),
        io_apic("STRICT", 2, 2, remapped=True),
    ),
    "uv": (uv(2, 2, 2),),
    "devices": (units(3),),
}
"""By the name of the layer."""
