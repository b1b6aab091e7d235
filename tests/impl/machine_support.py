# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of whole machines share."""

from collections.abc import Iterable
from dataclasses import replace

from impl.arch.x86.io_apic import MpChipData
from impl.arch.x86.vector import ApicChipData
from impl.defects import Defect
from impl.description import MACHINES, MachineDescription, load_description
from impl.kernel.irq.irq import IrqDesc, IrqDomain
from impl.kernel.irq.matrix import IrqMatrix
from impl.machine import Machine
from impl.machine_parts import IoApicDescription, MpIrqDescription
from impl.trace import Event, Trace

__all__ = [
    "Recorder",
    "booted",
    "described",
    "footprint",
    "irq_desc",
    "mp_data",
    "vector_level",
    "with_ioapics",
]


class Recorder:
    """A trace that keeps what it hears."""

    def __init__(self) -> None:
        self.trace = Trace()
        self.events: list[Event] = []
        self.trace.subscribe(self.events.append)

    def named(self, *names: str) -> list[dict[str, int]]:
        """The fields of the events with one of `names`."""
        return [event.fields for event in self.events if event.name in names]

    def names(self, *systems: str) -> list[str]:
        """The names of the events of `systems`."""
        return [event.name for event in self.events if event.system in systems]


def described(name: str) -> MachineDescription:
    return load_description(MACHINES / f"{name}.toml")


def booted(name: str, *, defects: Iterable[Defect] = (), trace: Trace | None = None) -> Machine:
    """A machine of the project."""
    return Machine(described(name), defects=frozenset(defects), trace=trace)


def with_ioapics(
    *ioapics: IoApicDescription,
    mp_irqs: tuple[MpIrqDescription, ...] = (),
    defects: Iterable[Defect] = (),
    trace: Trace | None = None,
) -> Machine:
    """The desktop with other IO-APICs and wires, and without devices."""
    description = replace(
        described("bare-metal"), ioapics=ioapics, mp_irqs=mp_irqs, buses=(), devices=(), hpets=()
    )
    return Machine(description, defects=frozenset(defects), trace=trace)


def irq_desc(m: Machine, irq: int) -> IrqDesc:
    return m.irqs.descs[irq]


def mp_data(m: Machine, irq: int) -> MpChipData:
    data = m.irqs.descs[irq].irq_data.chip_data
    assert isinstance(data, MpChipData)
    return data


def vector_level(m: Machine, irq: int) -> ApicChipData:
    apicd = m.chip_data(irq)
    assert apicd is not None
    return apicd


def footprint(m: Machine) -> object:
    """What a failed allocation, or a teardown of everything, must leave as it was (VEC-18, X-4)."""
    matrix: IrqMatrix = m.matrix
    rows = [
        (cm.available, cm.allocated, cm.managed, cm.managed_allocated, cm.alloc_map, cm.managed_map)
        for cm in matrix.maps
    ]
    domains = [
        (domain.name, domain.mapcount, *_reverse_map(domain))
        for domain in m.domains.irq_domain_list
    ]
    counters = (matrix.global_available, matrix.global_reserved, matrix.total_allocated)
    return counters, rows, domains, m.irqs.allocated_irqs, sorted(m.irqs.descs)


def _reverse_map(domain: IrqDomain) -> tuple[set[int], list[int]]:
    """What a domain finds by hwirq; nothing where several irqs have the same (AMD-8, HVI)."""
    if domain.name.startswith(("AMD-IR-", "HYPERV-IR-")) and "-MSI-" not in domain.name:
        return set(), []
    return set(domain.revmap_tree), list(domain.linear_revmap)
