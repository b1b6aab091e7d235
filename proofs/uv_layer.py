# SPDX-License-Identifier: GPL-2.0-only
"""The layer of UV hubs beside a whole machine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.uv import UvChipData
from impl.machine import Machine
from proofs.above_vectors import above_vectors
from proofs.abstraction import abstraction
from proofs.events import Fields, Peek, Reading, Source
from proofs.layers import Binding, Names
from spec.partial import ANY, Store

__all__ = ["uv_binding"]

_SHARED: Final = (
    "present",
    "is_managed",
    "can_reserve",
    "vector",
    "cfg_vector",
    "cfg_cpu",
    "irqd_can_reserve",
    "activated",
)
"""What the vector layer knows under the same names."""


def _readings(apic: ApicMode) -> Mapping[str, Reading]:
    def target(fields: Fields, cpu: int, peek: Peek) -> int:
        return apic.cpu_of_dest(fields["dest"])

    programmed: Mapping[str, Source] = {
        "irq": lambda fields, cpu, peek: fields["irq"],
        "vector": lambda fields, cpu, peek: fields["vector"],
        "dest": target,
        "masked": lambda fields, cpu, peek: fields["masked"] != 0,
    }
    return {"uv_program_mmr": Reading("uv_program_mmr", programmed)}


def _abstraction(machine: Machine, names: Names) -> dict[str, Store]:
    below = abstraction(machine, names)
    stores: dict[str, Store] = {name: below[name] for name in _SHARED}
    stores |= {"of_uv": {ANY: False}, "uv_hwirq": {ANY: None}}
    for number, desc in machine.irqs.descs.items():
        if isinstance(desc.irq_data.chip_data, UvChipData):
            stores["of_uv"][names["Irq"][number]] = True
            stores["uv_hwirq"][names["Irq"][number]] = names["Irq"][desc.irq_data.hwirq]
    return stores


def uv_binding(apic: ApicMode) -> Binding:
    """The binding on a machine with this kind of destinations."""
    return Binding(
        "uv",
        _abstraction,
        partial(above_vectors, own=_readings(apic)),
        elements={"irq": "Irq"},
        # A register keeps what it was told when its irq is freed, and then is nobody's.
        spec_only=("mmr_vector", "mmr_cpu", "mmr_unmasked"),
    )
