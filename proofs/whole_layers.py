# SPDX-License-Identifier: GPL-2.0-only
"""Every layer beside a whole machine: its binding, and its scope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from impl.machine import Machine
from proofs.hierarchy_layer import HIERARCHY, hierarchy_rigid
from proofs.ioapic_layer import ioapic_binding, ioapic_rigid
from proofs.layers import Binding, Names
from proofs.msi_layer import msi_binding, msi_rigid
from proofs.routing_layer import ROUTING, routing_rigid
from proofs.uv_layer import uv_binding
from proofs.vector_layer import VECTORS
from proofs.whole_machine import WholeMachine
from spec.records import Model
from spec.scope import Scope

__all__ = ["binding_of", "scope_of"]

Rigid = Mapping[str, Mapping[tuple[int, ...], Any]]


def _vector_rigid(machine: Machine, names: Names) -> Rigid:
    geometry, nr_legacy = machine.vectors.geometry, machine.vectors.nr_legacy_irqs
    device_vectors = range(geometry.alloc_start, geometry.alloc_end)
    return {
        "matrix_bit": {(v,): True for v in range(geometry.matrix_bits)},
        "allocatable": {(v,): True for v in device_vectors},
        "alloc_size": {(): len(device_vectors)},
        "isa_irq": {(geometry.isa_irq_vector(irq),): irq for irq in range(nr_legacy)},
    }


def _no_rigid(machine: Machine, names: Names) -> Rigid:
    return {}


_SYSTEMS: Final = frozenset(
    {"cpuhp", "irq", "irq_vectors", "irq_matrix", "lock", "search", "printk"}
)

_RIGID: Final[Mapping[str, Callable[[Machine, Names], Rigid]]] = {
    "vectors": _vector_rigid,
    "hierarchy": hierarchy_rigid,
    "msi": msi_rigid,
    "ioapic": ioapic_rigid,
    "uv": _no_rigid,
    "routing": routing_rigid,
}
"""What is constant in a layer beside a machine that has made all its domains."""


def binding_of(kind: WholeMachine, layer: str) -> Binding:
    """The binding of a layer on this machine."""
    apic, bits = kind.description.apic, kind.description.geometry.matrix_bits
    bindings: Mapping[str, Callable[[], Binding]] = {
        "vectors": lambda: replace(VECTORS, systems=_SYSTEMS),
        "hierarchy": lambda: HIERARCHY,
        "msi": lambda: msi_binding(apic),
        "ioapic": lambda: ioapic_binding(apic, bits),
        "uv": lambda: uv_binding(apic),
        "routing": lambda: ROUTING,
    }
    return bindings[layer]()


def scope_of(kind: WholeMachine, layer: str, model: Model) -> Scope:
    """The scope of a layer beside this machine; an equal machine is booted to see what is rigid."""
    machine, names = kind.complete(), kind.names()
    description = kind.description
    sizes = {
        "Cpu": len(description.nodes),
        "Vector": description.geometry.matrix_bits,
        **{name: naming.size for name, naming in names.items()},
    }
    rigid = _RIGID[layer](machine, names)
    return Scope({sort.name: sizes[sort.name] for sort in model.sorts}, rigid)
