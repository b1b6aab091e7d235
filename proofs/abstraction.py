# SPDX-License-Identifier: GPL-2.0-only
"""The state of the Python implementation as a state of the specification: a pure function.

It follows the deviations that `spec.vectors` states: without a vector there is no CPU, `effective`
is kept only while the configuration names a real vector, and counters that wrap are negative.

SPEC_ONLY lists what the implementation has no word for: the monitor takes these fields from the
specification's own state. Everything else is here or at its initial value between operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from impl.arch.x86.irq_vectors import (
    MANAGED_IRQ_SHUTDOWN_VECTOR,
    VECTOR_RETRIGGERED,
    VECTOR_SHUTDOWN,
)
from impl.arch.x86.vector import NOT_HASHED, ApicChipData, apic_chip_data
from impl.bare_machine import BareMachine
from impl.kernel.cpumask import for_each_cpu
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_AFFINITY_MANAGED,
    IRQD_CAN_RESERVE,
    IRQD_IRQ_STARTED,
    IRQD_MANAGED_SHUTDOWN,
    IRQD_SETAFFINITY_PENDING,
    IrqDesc,
)
from impl.kernel.irq.matrix_rows import Cpumap
from proofs.layers import Names
from spec.partial import ANY, Store

__all__ = ["SPEC_ONLY", "abstraction"]

SPEC_ONLY: Final = ("shortcut", "holds")
"""Fields that only the specification keeps: where genirq wrote the effective mask by itself, and on
which CPUs a managed irq reserved (its affinity then, which a driver may have changed since)."""

_SIGN = 1 << 31


def abstraction(machine: BareMachine, names: Names) -> dict[str, Store]:
    """The cells that differ from the initial value, by field; `names` has the elements of irq
    numbers.

    KeyError if the machine has an irq with another number."""
    irqs = names["Irq"]
    stores = {name: {ANY: default} for name, default in _FLAT.items()}
    stores |= {name: {ANY: {ANY: default}} for name, default in _TABLES.items()}
    _matrix(machine, stores)
    _tables(machine, irqs, stores)
    for number, desc in machine.irqs.descs.items():
        _descriptor(machine, irqs[number], desc, stores)
    return stores


_FLAT: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("system_map", "initialized", "online", "cpu_online", "desc"), False),
    **dict.fromkeys(("affinity_managed", "managed_shutdown", "irqd_can_reserve"), False),
    **dict.fromkeys(("activated", "started", "pending", "present", "is_managed"), False),
    **dict.fromkeys(("can_reserve", "has_reserved", "move_in_progress", "cfg_shutdown"), False),
    **dict.fromkeys(("available", "allocated", "managed", "managed_allocated"), 0),
    **dict.fromkeys(("systembits_inalloc", "online_maps", "global_available"), 0),
    **dict.fromkeys(("global_reserved", "total_allocated"), 0),
    **dict.fromkeys(("vector", "cpu", "prev_vector", "prev_cpu", "cleanup"), None),
    **dict.fromkeys(("cfg_vector", "cfg_cpu", "dying"), None),
}
_TABLES: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("alloc_map", "managed_map", "isa", "affinity", "effective"), False),
    **dict.fromkeys(("shutdown_mark", "retriggered"), False),
    "vector_irq": None,
}


def _signed(counter: int) -> int:
    return counter if counter < _SIGN else counter - 2 * _SIGN


def _row(mask: int) -> Store:
    row: Store = {ANY: False}
    for bit in for_each_cpu(mask):
        row[bit] = True
    return row


# --- the matrix -----------------------------------------------------------------------------


def _matrix(machine: BareMachine, stores: dict[str, Store]) -> None:
    m = machine.matrix
    stores["system_map"] = _row(m.system_map)
    for name in ("global_available", "global_reserved", "total_allocated"):
        stores[name][ANY] = _signed(getattr(m, name))
    stores["systembits_inalloc"][ANY] = m.systembits_inalloc
    stores["online_maps"][ANY] = _signed(m.online_maps)
    for cpu, cm in enumerate(m.maps):
        _cpumap(cpu, cm, stores)
    stores["cpu_online"] = _row(machine.kernel.cpu_online_mask)
    not_taken_over = m.maps[0].alloc_map & ~_owned(machine, 0) & _isa_vectors(machine)
    if not_taken_over:
        stores["isa"][0] = _row(not_taken_over)


def _cpumap(cpu: int, cm: Cpumap, stores: dict[str, Store]) -> None:
    if cm.initialized:
        stores["initialized"][cpu] = True
    if cm.online:
        stores["online"][cpu] = True
    if cm.alloc_map:
        stores["alloc_map"][cpu] = _row(cm.alloc_map)
    if cm.managed_map:
        stores["managed_map"][cpu] = _row(cm.managed_map)
    for name, value in (
        ("available", cm.available),
        ("allocated", cm.allocated),
        ("managed", cm.managed),
        ("managed_allocated", cm.managed_allocated),
    ):
        if value:
            stores[name][cpu] = _signed(value)


def _isa_vectors(machine: BareMachine) -> int:
    """The vectors that boot assigned to ISA interrupts, other than the PIC cascade's."""
    v = machine.vectors
    legacy = ((1 << v.nr_legacy_irqs) - 1) << v.geometry.isa_base
    return legacy & ~machine.matrix.system_map


def _owned(machine: BareMachine, cpu: int) -> int:
    """The vectors of a CPU that some interrupt has, or has not given back yet."""
    owned = 0
    for desc in machine.irqs.descs.values():
        apicd = _vector_level(desc)
        if apicd is not None:
            if apicd.cpu == cpu:
                owned |= 1 << apicd.vector
            if apicd.prev_cpu == cpu:
                owned |= 1 << apicd.prev_vector
    return owned


# --- the tables -----------------------------------------------------------------------------


def _tables(machine: BareMachine, irqs: Mapping[int, int], stores: dict[str, Store]) -> None:
    for cpu, table in enumerate(machine.vectors.vector_irq):
        rows: dict[str, Store] = {}
        for vector, slot in enumerate(table):
            if slot >= 0:
                rows.setdefault("vector_irq", {ANY: None})[vector] = irqs[slot]
            elif slot in _MARKS:
                rows.setdefault(_MARKS[slot], {ANY: False})[vector] = True
        for name, row in rows.items():
            stores[name][cpu] = row


_MARKS: Final[Mapping[int, str]] = {
    VECTOR_SHUTDOWN: "shutdown_mark",
    VECTOR_RETRIGGERED: "retriggered",
}


# --- the interrupts -------------------------------------------------------------------------


def _descriptor(machine: BareMachine, irq: int, desc: IrqDesc, stores: dict[str, Store]) -> None:
    state = desc.common.state
    stores["desc"][irq] = True
    for bit, name in _STATE_BITS:
        if state & bit:
            stores[name][irq] = True
    stores["affinity"][irq] = _row(desc.common.affinity)
    apicd = _vector_level(desc)
    if apicd is None:
        return
    stores["present"][irq] = True
    for name, truth in _CHIP_BITS:
        if truth(apicd):
            stores[name][irq] = True
    _places(irq, apicd, stores)
    cfg = apicd.hw_irq_cfg
    if cfg.vector == MANAGED_IRQ_SHUTDOWN_VECTOR:
        stores["cfg_shutdown"][irq] = True
    elif cfg.vector:
        stores["cfg_vector"][irq] = cfg.vector
        stores["cfg_cpu"][irq] = machine.vectors.apic.cpu_of_dest(cfg.dest_apicid)
        if desc.common.effective_affinity:
            stores["effective"][irq] = _row(desc.common.effective_affinity)


def _vector_level(desc: IrqDesc) -> ApicChipData | None:
    """The innermost level's data, if it is the vector domain's: a child of a VMD has no vector, and
    an irq that no domain has is the PIC's or Xen's."""
    data = apic_chip_data(desc.irq_data) if desc.irq_data.domain is not None else None
    return data if isinstance(data, ApicChipData) else None


_STATE_BITS: Final = (
    (IRQD_AFFINITY_MANAGED, "affinity_managed"),
    (IRQD_MANAGED_SHUTDOWN, "managed_shutdown"),
    (IRQD_CAN_RESERVE, "irqd_can_reserve"),
    (IRQD_ACTIVATED, "activated"),
    (IRQD_IRQ_STARTED, "started"),
    (IRQD_SETAFFINITY_PENDING, "pending"),
)
_CHIP_BITS: Final[tuple[tuple[str, Callable[[ApicChipData], bool]], ...]] = (
    ("is_managed", lambda d: d.is_managed),
    ("can_reserve", lambda d: d.can_reserve),
    ("has_reserved", lambda d: d.has_reserved),
    ("move_in_progress", lambda d: d.move_in_progress),
)


def _places(irq: int, apicd: ApicChipData, stores: dict[str, Store]) -> None:
    if apicd.vector:
        stores["vector"][irq] = apicd.vector
        stores["cpu"][irq] = apicd.cpu
    if apicd.prev_vector:
        stores["prev_vector"][irq] = apicd.prev_vector
        stores["prev_cpu"][irq] = apicd.prev_cpu
    if apicd.clist != NOT_HASHED:
        stores["cleanup"][irq] = apicd.clist
