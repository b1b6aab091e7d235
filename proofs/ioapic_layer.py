# SPDX-License-Identifier: GPL-2.0-only
"""The layer of the IO-APICs beside a whole machine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from impl.arch.x86.io_apic import MpChipData, find_irq_entry
from impl.arch.x86.io_apic_regs import unpack
from impl.arch.x86.irq_vectors import ApicMode
from impl.kernel.irq.irq import IrqDesc
from impl.machine import Machine
from proofs.above_vectors import above_vectors
from proofs.abstraction import abstraction
from proofs.events import Fields, Peek, Reading, Source
from proofs.layers import Binding, Names
from spec.partial import ANY, Store

__all__ = ["ioapic_binding", "ioapic_rigid"]

_SHARED: Final = ("desc", "activated", "cfg_vector", "cfg_cpu")
"""What the vector layer knows under the same names."""


def _target(apic: ApicMode, bits: int, vector: int, dest: int) -> tuple[int | None, int | None]:
    """The vector and the CPU that an entry names, if the vector is a real one."""
    return (vector, apic.cpu_of_dest(dest)) if 0 < vector < bits else (None, None)


def _readings(apic: ApicMode, bits: int) -> Mapping[str, Reading]:
    def target(place: int) -> Source:
        def source(fields: Fields, cpu: int, peek: Peek) -> Any:
            return _target(apic, bits, fields["vector"], fields["dest"])[place]

        return source

    def number(name: str) -> Source:
        return lambda fields, cpu, peek: fields[name]

    def truth(name: str) -> Source:
        return lambda fields, cpu, peek: fields[name] != 0

    written = {name: number(name) for name in ("ioapic", "pin")}
    written |= {name: truth(name) for name in ("trigger", "polarity", "masked")}
    written |= {"vector": target(0), "dest": target(1)}
    return {"ioapic_write_entry": Reading("ioapic_write_entry", written)}


def _abstraction(machine: Machine, names: Names) -> dict[str, Store]:
    below, a = abstraction(machine, names), machine.io_apics
    stores: dict[str, Store] = {name: below[name] for name in _SHARED}
    stores |= {
        "ioapic_initialized": {ANY: a.initialized},
        "dynirq_base": {ANY: a.dynirq_base},
        **{name: {ANY: None} for name in ("pin_domain", "home_ioapic", "home_pin")},
        **{name: {ANY: {ANY: None}} for name in ("pin_irq", "route_vector", "route_cpu")},
        **{name: {ANY: {ANY: False}} for name in ("irq_2_pin", "route_open")},
        "is_isa": {ANY: False},
        "users": {ANY: 0},
    }
    for index, ioapic in enumerate(a.ioapics):
        if ioapic.domain is not None:
            stores["pin_domain"][index] = names["Domain"][ioapic.domain.id]
        _entries(machine, index, stores)
    for number, desc in machine.irqs.descs.items():
        _irq(machine, names["Irq"][number], desc, stores)
    return stores


def _entries(machine: Machine, index: int, stores: dict[str, Store]) -> None:
    """What the redirection entries of an IO-APIC name."""
    v = machine.vectors
    for pin, word in enumerate(machine.io_apics.ioapics[index].redirection):
        entry = unpack(word)
        vector, cpu = _target(v.apic, v.geometry.matrix_bits, entry.vector, entry.dest)
        for name, value in (("route_vector", vector), ("route_cpu", cpu)):
            if value is not None:
                stores[name].setdefault(index, {ANY: None})[pin] = value
        if not entry.mask:
            stores["route_open"].setdefault(index, {ANY: False})[pin] = True


def _irq(machine: Machine, irq: int, desc: IrqDesc, stores: dict[str, Store]) -> None:
    """The irq's pins; the one that it was allocated for is its hwirq."""
    data, domain = desc.irq_data.chip_data, desc.irq_data.domain
    if not isinstance(data, MpChipData) or domain is None:
        return
    home = next(k for k, ioapic in enumerate(machine.io_apics.ioapics) if ioapic.domain is domain)
    stores["home_ioapic"][irq] = home
    stores["home_pin"][irq] = desc.irq_data.hwirq
    stores["irq_2_pin"][irq] = {ANY: False, **dict.fromkeys(data.irq_2_pin, True)}
    for ioapic, pin in data.irq_2_pin:
        stores["pin_irq"].setdefault(ioapic, {ANY: None})[pin] = irq
    if data.isa_irq:
        stores["is_isa"][irq] = True
    if data.count:
        stores["users"][irq] = data.count


def ioapic_rigid(machine: Machine, names: Names) -> dict[str, dict[tuple[int, ...], Any]]:
    """How the IO-APICs of a machine are numbered and wired."""
    a, geometry, legacy = machine.io_apics, machine.vectors.geometry, machine.vectors.nr_legacy_irqs
    irqs = names["Irq"]
    pins = [(k, pin, io.gsi_base + pin) for k, io in enumerate(a.ioapics) for pin in range(io.pins)]
    wired = {(k, pin): find_irq_entry(a, gsi) for k, pin, gsi in pins}
    return {
        "number": {(irq,): number for number, irq in irqs.items()},
        "legacy": {(irq,): True for irq in range(legacy)},
        "isa_irq": {(geometry.isa_irq_vector(irq),): irq for irq in range(legacy)},
        "has_pin": {(k, pin): True for k, pin, _ in pins},
        "kind": {(k,): io.type.name for k, io in enumerate(a.ioapics)},
        "at_boot": {(k,): True for k in range(len(a.ioapics))},
        "gsi_irq": {(k, pin): irqs[gsi] for k, pin, gsi in pins if gsi in irqs},
        "isa_of": {
            at: entry.srcbusirq
            for at, entry in wired.items()
            if entry is not None and entry.isa and entry.srcbusirq < legacy
        },
        "gsi_end": {(k,): io.gsi_base + io.pins - 1 for k, io in enumerate(a.ioapics)},
        "gsi_top": {(): a.gsi_top},
        "most": {(): 2},
    }


def ioapic_binding(apic: ApicMode, bits: int) -> Binding:
    """The binding on a machine with this kind of destinations and so many vectors."""
    return Binding(
        "ioapic",
        _abstraction,
        partial(above_vectors, own=_readings(apic, bits)),
        elements={"irq": "Irq", "domain": "Domain", "ioapic": "IoApic", "pin": "Pin"},
        # The attributes of an irq without a pin are nobody's; they stay as they were.
        spec_only=("dynamic", "unwritten", "level_triggered", "active_low"),
    )
