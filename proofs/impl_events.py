# SPDX-License-Identifier: GPL-2.0-only
"""What an event of the Python implementation means, as a table.

The kernel's tracepoints mean what `proofs.events` says. The implementation also tells of the steps
that the kernel does not trace; those are listed here. An event may stand for several actions, one
after the other, or for none: then it is listed all the same, so that a forgotten event is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proofs.events import EVENTS, Fields, Peek, Reading, Source

__all__ = ["HAZARDS", "IMPL_EVENTS", "SEARCHES", "Meaning", "readings"]

_UNTOUCHED: Final = -1
"""What irq_affinity prints as the effective mask when it was left alone."""


def _number(name: str) -> Source:
    return lambda fields, cpu, peek: fields[name]


def _truth(name: str) -> Source:
    return lambda fields, cpu, peek: fields[name] != 0


def _members(mask: int) -> Callable[[int], bool]:
    return lambda cpu: bool(mask >> cpu & 1)


def _mask(name: str) -> Source:
    return lambda fields, cpu, peek: _members(fields[name])


def _always(fields: Fields, peek: Peek) -> bool:
    return True


def _leaves(fields: Fields, peek: Peek) -> bool:
    return not fields["online"]


def _stores_effective(fields: Fields, peek: Peek) -> bool:
    return fields["effective"] != _UNTOUCHED


@dataclass(frozen=True, slots=True)
class Meaning:
    """An action that an event stands for where `when` holds."""

    reading: Reading
    when: Callable[[Fields, Peek], bool] = _always


def _of_irq(action: str, **more: Source) -> tuple[Meaning, ...]:
    return (Meaning(Reading(action, {"irq": _number("irq"), **more})),)


def _of_cpu(action: str, **more: Source) -> tuple[Meaning, ...]:
    return (Meaning(Reading(action, {"cpu": _number("cpu"), **more})),)


_NOTHING: Final[tuple[Meaning, ...]] = ()

IMPL_EVENTS: Final[Mapping[str, tuple[Meaning, ...]]] = {
    # descriptors and genirq
    "irq_alloc_descs": _of_irq(
        "irq_alloc_descs", mask=_mask("affinity"), managed=_truth("managed")
    ),
    "irq_free_descs": _of_irq("irq_free_descs"),
    "irqd_clr_can_reserve": _of_irq("irqd_clr_can_reserve"),
    "irqd_clr_activated": _of_irq("irqd_clr_activated"),
    "irq_domain_activate_irq": _of_irq("irq_domain_activate_irq"),
    "irq_domain_deactivate_irq": _of_irq("irq_domain_deactivate_irq"),
    "irq_startup": _of_irq("irq_startup"),
    "irq_shutdown": _of_irq("irq_shutdown"),
    "managed_shutdown": _of_irq("managed_shutdown", value=_truth("value")),
    "irq_move_pending": _of_irq("irq_move_pending", value=_truth("value")),
    "irq_affinity": (
        *_of_irq("irq_affinity", mask=_mask("affinity")),
        Meaning(
            Reading("irq_effective", {"irq": _number("irq"), "mask": _mask("effective")}),
            _stores_effective,
        ),
    ),
    "irq_data_update_effective_affinity": _of_irq("irq_data_update_effective_affinity"),
    # moves, strays and the table
    "send_cleanup_vector": _of_irq("send_cleanup_vector", cpu=_number("cpu")),
    "cleanup_forgotten": _of_irq("cleanup_forgotten"),
    "vector_spurious": _of_cpu("vector_spurious", vector=_number("vector")),
    "vector_retriggered": _of_cpu("vector_retriggered", vector=_number("vector")),
    "msi_forgive_vector": _of_cpu("msi_forgive_vector", vector=_number("vector")),
    "fixup_irqs": _of_cpu("fixup_irqs"),
    # A CPU joins at irq_matrix_online, in the same section of vector_lock.
    "set_cpu_online": (Meaning(Reading("cpu_goes_offline", {"cpu": _number("cpu")}), _leaves),),
    "lapic_online": _NOTHING,
    # The bookkeeping of domains, and what the layers above the vector domain do.
    "irq_domain_add": _NOTHING,
    "irq_domain_remove": _NOTHING,
    "irq_domain_update_bus_token": _NOTHING,
    "irq_set_default_host": _NOTHING,
    "irq_domain_alloc_irq_data": _NOTHING,
    "irq_domain_free_irq_data": _NOTHING,
    "irq_domain_set_hwirq_and_chip": _NOTHING,
    "irq_domain_reset_irq_data": _NOTHING,
    "irq_domain_set_mapping": _NOTHING,
    "irq_domain_clear_mapping": _NOTHING,
    "irq_domain_trim_hierarchy": _NOTHING,
    "irq_domain_push_irq": _NOTHING,
    "irq_domain_pop_irq": _NOTHING,
    "irq_domain_activate_level": _NOTHING,
    "irq_domain_deactivate_level": _NOTHING,
    # Bookkeeping without a counterpart.
    "vector_lock": _NOTHING,
    "vector_unlock": _NOTHING,
    "apic_retrigger_irq": _NOTHING,
    "matrix_find_best_cpu": _NOTHING,
    "matrix_find_best_cpu_managed": _NOTHING,
    "irq_migrate_failed": _NOTHING,
    "WARN": _NOTHING,
}
"""Every event that is not one of `EVENTS`: what happens, in order; nothing where that is empty."""

HAZARDS: Final[Mapping[str, str]] = {"irq_migrate_failed": "H8"}
"""Events that only happen inside a hazard."""

SEARCHES: Final[Mapping[str, bool]] = {
    "matrix_find_best_cpu": False,
    "matrix_find_best_cpu_managed": True,
}
"""The choice of a CPU out of a mask, and whether it is for a managed interrupt."""


def readings(name: str, fields: Mapping[str, int], peek: Callable[..., Any]) -> Iterator[Reading]:
    """The actions that an event stands for, in order; each is asked for when those before it have
    been followed. KeyError for an unknown event, LookupError for one that means nothing."""
    event = EVENTS.get(name)
    if event is not None:
        yield event.reading(fields, peek)
        return
    for meaning in IMPL_EVENTS[name]:
        if meaning.when(fields, peek):
            yield meaning.reading
