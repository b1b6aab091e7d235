# SPDX-License-Identifier: GPL-2.0-only
"""Small machines as data, and what can be done to one of them, as data.

A description builds the implementation's machine and the scope in which the specification is read
beside it. An operation is a name and numbers: it can be listed, printed, and performed again.

An irq is a number from 0, in the order in which the machine hands irq numbers out. A mask has bit c
for CPU c. `enabled` says what a driver that keeps its contract may do now: request what is there
and has no handler, free what has none, activate early what is not active.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final

from impl.arch.x86.irq_vectors import (
    PIC_CASCADE_IR,
    VECTOR_UNUSED,
    Geometry,
)
from impl.defects import Defect
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_AFFINITY_MANAGED,
    IRQD_IRQ_STARTED,
    IRQD_MANAGED_SHUTDOWN,
    IrqDesc,
)
from impl.trace import Trace
from impl.vector_machine import VectorMachine
from proofs.driven import Operation
from spec.scope import Index, Scope, Value

__all__ = [
    "OPERATIONS",
    "Operation",
    "SmallMachine",
    "operations",
    "perform",
    "tests",
]


@dataclass(frozen=True)
class SmallMachine:
    """A machine of so many CPUs, device vectors of a CPU and irqs; all CPUs are up after boot
    unless `all_up` is false.

    Device vectors are 1 to `vectors`. The first `legacy` irqs are the PIC's, their vectors the
    first ones. `beyond` lets the boot code name the vector just behind the matrix. `pcntxt` lets
    moves happen at once; without it they wait for an interrupt."""

    cpus: int
    vectors: int
    irqs: int
    legacy: int = 0
    pcntxt: bool = True
    all_up: bool = True
    system_vectors: tuple[int, ...] = ()
    beyond: bool = False
    defects: frozenset[Defect] = field(default_factory=frozenset)

    def build(self, trace: Trace | None = None) -> VectorMachine:
        """The machine, booted on CPU 0 alone; `trace` sees the boot."""
        bits = self.vectors + 1
        return VectorMachine(
            self.cpus,
            geometry=Geometry(bits, 1, bits, isa_base=1),
            system_vectors=self.system_vectors,
            nr_legacy_irqs=self.legacy,
            pic_irqs=(1 << PIC_CASCADE_IR) & ((1 << self.legacy) - 1),
            defects=self.defects,
            pcntxt=self.pcntxt,
            gsi_top=max(self.legacy, 1),
            trace=trace,
        )

    def boot(self) -> tuple[Operation, ...]:
        """What brings the other CPUs up."""
        cpus = range(1, self.cpus) if self.all_up else ()
        return tuple(Operation("cpu_up", (("cpu", cpu),)) for cpu in cpus)

    def scope(self) -> Scope:
        """The scope of the specification beside this machine."""
        bits = self.vectors + 1
        isa: dict[Index, Value] = {(1 + irq,): irq for irq in range(self.legacy)}
        return Scope(
            {"Cpu": self.cpus, "Vector": bits + self.beyond, "Irq": self.irqs},
            {
                "matrix_bit": {(v,): True for v in range(bits)},
                "allocatable": {(v,): True for v in range(1, bits)},
                "alloc_size": {(): self.vectors},
                "isa_irq": isa,
            },
        )

    @property
    def first_number(self) -> int:
        """The irq number of irq 0."""
        return 0 if self.legacy else 1

    def numbers(self) -> dict[int, int]:
        """Irq numbers to irqs."""
        return {self.first_number + irq: irq for irq in range(self.irqs)}

    def without_defects(self) -> SmallMachine:
        """The repaired machine."""
        return replace(self, defects=frozenset())

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPUs x {self.vectors} vectors x {self.irqs} irqs"]
        parts += [f"{self.legacy} of them legacy"] if self.legacy else []
        parts += [] if self.pcntxt else ["moves wait for an interrupt"]
        parts += [f"system vectors {self.system_vectors}"] if self.system_vectors else []
        parts += [] if self.all_up else ["one CPU up"]
        return ", ".join(parts)


Values = Mapping[str, int]
Act = Callable[[VectorMachine, Values], int]
Can = Callable[[VectorMachine, Values], bool]


@dataclass(frozen=True, slots=True)
class Kind:
    """An operation's parameters (name to domain), when it is allowed, and what it does.

    `may_change` lists the fields of the specification that it may change although it fails.
    `may_warn` says that the kernel may complain of the caller. `hazard` is what doing it at all
    means."""

    params: Mapping[str, str]
    can: Can
    act: Act
    may_change: tuple[str, ...] = ()
    may_warn: bool = False
    hazard: str = ""


# --- when -----------------------------------------------------------------------------------


def _desc(machine: VectorMachine, values: Values) -> IrqDesc | None:
    return machine.irqs.irq_to_desc(values["number"])


def _in_domain(machine: VectorMachine, values: Values) -> bool:
    desc = _desc(machine, values)
    return desc is not None and desc.irq_data.chip_data is not None


def _state(machine: VectorMachine, values: Values, bits: int) -> bool:
    desc = _desc(machine, values)
    return desc is not None and desc.irq_data.test(bits)


def _handled(machine: VectorMachine, values: Values) -> bool:
    desc = _desc(machine, values)
    return _in_domain(machine, values) and desc is not None and desc.action != 0


def _idle(machine: VectorMachine, values: Values) -> bool:
    return _in_domain(machine, values) and not _handled(machine, values)


def _fresh(machine: VectorMachine, values: Values) -> bool:
    """The MSI core activates early once, before anybody can request the interrupt."""
    managed = _state(machine, values, IRQD_AFFINITY_MANAGED)
    waits = _state(machine, values, IRQD_MANAGED_SHUTDOWN) or not managed
    return _idle(machine, values) and waits and not _state(machine, values, IRQD_ACTIVATED)


def _plain(machine: VectorMachine, values: Values) -> bool:
    return _in_domain(machine, values) and not _state(machine, values, IRQD_AFFINITY_MANAGED)


def _managed(machine: VectorMachine, values: Values) -> bool:
    return _in_domain(machine, values) and _state(machine, values, IRQD_AFFINITY_MANAGED)


def _managed_started(machine: VectorMachine, values: Values) -> bool:
    """Isolation moves what runs: a start, or a CPU that comes, is its only occasion."""
    return _managed(machine, values) and _state(machine, values, IRQD_IRQ_STARTED)


def _depth(machine: VectorMachine, values: Values) -> int:
    desc = _desc(machine, values)
    return desc.depth if desc is not None and _handled(machine, values) else -1


def _room(count: int) -> Can:
    def can(machine: VectorMachine, values: Values) -> bool:
        first, last = values["first"], values["last"]
        taken = machine.irqs.allocated_irqs
        block = (1 << count) - 1
        lowest = max(first, machine.irqs.dynirq_base)
        fit = next(n for n in range(lowest, last + 2) if not taken >> n & block)
        return fit + count - 1 <= last

    return can


def _legacy(machine: VectorMachine, values: Values) -> bool:
    desc = _desc(machine, values)
    return (
        values["number"] < machine.vectors.nr_legacy_irqs
        and desc is not None
        and desc.irq_data.domain is None
    )


def _marked(machine: VectorMachine, values: Values) -> bool:
    cpu, vector = values["cpu"], values["vector"]
    table = machine.vectors.vector_irq[cpu]
    return machine.kernel.cpu_online(cpu) and table[vector] != VECTOR_UNUSED


def _online(machine: VectorMachine, values: Values) -> bool:
    return machine.kernel.cpu_online(values["cpu"])


def _offline(machine: VectorMachine, values: Values) -> bool:
    return not _online(machine, values)


def _listed(machine: VectorMachine, values: Values) -> bool:
    return _online(machine, values) and bool(machine.vectors.cleanup_list[values["cpu"]])


# --- what -----------------------------------------------------------------------------------


def _failing(act: Act) -> Act:
    """The same, while the memory for one chip data runs out."""

    def failing(machine: VectorMachine, values: Values) -> int:
        machine.fail_next("alloc_apic_chip_data", values["nth"])
        try:
            return act(machine, values)
        finally:
            machine.kernel.failures.clear()

    return failing


def _two_managed(m: VectorMachine, v: Values) -> int:
    return m.alloc_irqs(2, affinity=[v["mask"], v["other"]], managed=True)


def _all_pending(machine: VectorMachine) -> range:
    return range(machine.vectors.geometry.matrix_bits)


_IRQ: Final = {"irq": "irq"}
_IRQ_MASK: Final = {"irq": "irq", "mask": "mask"}
_CPU: Final = {"cpu": "cpu"}
_ROLLED_BACK: Final = ("managed_map",)
"""MX-14: which unused managed bits are set aside may differ after a rollback."""

OPERATIONS: Final[Mapping[str, Kind]] = {
    "alloc_reserved": Kind(
        {"mask": "mask"}, _room(1), lambda m, v: m.alloc_irqs(1, affinity=[v["mask"]])
    ),
    "alloc_masked": Kind({"mask": "mask"}, _room(1), lambda m, v: m.alloc_irqs(1, mask=v["mask"])),
    "alloc_managed": Kind(
        {"mask": "mask"},
        _room(1),
        lambda m, v: m.alloc_irqs(1, affinity=[v["mask"]], managed=True),
        _ROLLED_BACK,
    ),
    "alloc_two_managed": Kind(
        {"mask": "mask", "other": "mask"}, _room(2), _two_managed, _ROLLED_BACK
    ),
    "alloc_without_memory": Kind(
        {"mask": "mask", "other": "mask", "nth": "one or two"},
        _room(2),
        _failing(_two_managed),
        _ROLLED_BACK,
    ),
    "alloc_legacy": Kind(
        _IRQ,
        _legacy,
        lambda m, v: m.alloc_irqs(1, legacy=True, virq=v["number"]),
        # A failed take-over frees the descriptor that was there before (DOM-7).
        ("desc", "affinity", "irqd_can_reserve"),
        may_warn=True,
    ),
    "early_activate": Kind(
        {"irq": "irq", "can_reserve": "truth"},
        _fresh,
        lambda m, v: m.early_activate(v["number"], bool(v["can_reserve"])),
        ("irqd_can_reserve",),
    ),
    "request_irq": Kind(_IRQ, _idle, lambda m, v: m.request_irq(v["number"])),
    "request_irq_disabled": Kind(
        _IRQ, _idle, lambda m, v: m.request_irq(v["number"], autoenable=False)
    ),
    "enable_irq": Kind(
        _IRQ,
        lambda m, v: _depth(m, v) > 0,
        lambda m, v: m.enable_irq(v["number"]),
        # Of a managed irq without an online CPU.
        may_warn=True,
    ),
    "disable_irq": Kind(
        _IRQ, lambda m, v: _depth(m, v) == 0, lambda m, v: m.disable_irq(v["number"])
    ),
    "free_irq": Kind(_IRQ, _handled, lambda m, v: m.free_irq(v["number"])),
    "free_irqs": Kind(_IRQ, _idle, lambda m, v: m.free_irqs(v["number"])),
    "set_affinity": Kind(_IRQ_MASK, _plain, lambda m, v: m.set_affinity(v["number"], v["mask"])),
    "force_affinity": Kind(
        _IRQ_MASK, _plain, lambda m, v: m.set_affinity(v["number"], v["mask"], force=True)
    ),
    "isolate": Kind(
        _IRQ_MASK, _managed_started, lambda m, v: m.set_managed_affinity(v["number"], v["mask"])
    ),
    "set_managed_affinity": Kind(
        _IRQ_MASK,
        _managed,
        lambda m, v: m.set_managed_affinity(v["number"], v["mask"], isolation=False),
        hazard="H7",
    ),
    "fire": Kind(_IRQ, _handled, lambda m, v: int(m.fire(v["number"]))),
    "stray": Kind(
        {"cpu": "cpu", "vector": "vector"},
        _marked,
        lambda m, v: int(m.fire_vector(v["cpu"], v["vector"])),
    ),
    "cleanup_ipi": Kind(_CPU, _listed, lambda m, v: int(m.cleanup_ipi(v["cpu"]))),
    "cleanup_ipi_pending": Kind(
        _CPU, _listed, lambda m, v: int(m.cleanup_ipi(v["cpu"], _all_pending(m)))
    ),
    "cpu_up": Kind(_CPU, _offline, lambda m, v: m.cpu_up(v["cpu"])),
    "cpu_down": Kind(_CPU, _online, lambda m, v: m.cpu_down(v["cpu"])),
    "cpu_down_pending": Kind(_CPU, _online, lambda m, v: m.cpu_down(v["cpu"], _all_pending(m))),
}
"""Everything that can be done, by name."""


def operations(machine: SmallMachine, names: tuple[str, ...]) -> Iterator[Operation]:
    """These operations with every choice of their parameters, in order."""
    domains = {
        "irq": range(machine.irqs),
        "cpu": range(machine.cpus),
        "vector": range(1, machine.vectors + 1),
        "mask": range(1, 1 << machine.cpus),
        "truth": range(2),
        "one or two": range(1, 3),
    }
    for name in names:
        params = OPERATIONS[name].params
        for values in product(*(domains[kind] for kind in params.values())):
            yield Operation(name, tuple(zip(params, values, strict=True)))


def _values(kind: SmallMachine, operation: Operation) -> dict[str, int]:
    values = dict(operation.params)
    first = kind.first_number
    return {
        "first": first,
        "last": first + kind.irqs - 1,
        "number": first + values.get("irq", 0),
    } | values


def tests(
    kind: SmallMachine, tried: Iterable[Operation]
) -> tuple[tuple[Operation, Callable[[VectorMachine], bool]], ...]:
    """Each operation with a test whether the contract of drivers and the size of the scope allow
    it on a machine now."""

    def test(operation: Operation) -> Callable[[VectorMachine], bool]:
        can, values = OPERATIONS[operation.name].can, _values(kind, operation)
        return lambda machine: can(machine, values)

    return tuple((operation, test(operation)) for operation in tried)


def perform(kind: SmallMachine, machine: VectorMachine, operation: Operation) -> int:
    """Do it: the kernel function's result, or whether a handler ran."""
    return OPERATIONS[operation.name].act(machine, _values(kind, operation))
