# SPDX-License-Identifier: GPL-2.0-only
"""What each tracepoint of `irq_vectors` and `irq_matrix` says, as a table.

An event is one action of the specification. The table tells which, how the printed numbers become
its parameters, and which numbers repeat a cell of the state, as it was before or is after. Nothing
here depends on where events come from: a text log of a kernel, or an implementation that runs.

Some events leave a parameter out. Then the state before usually tells it (`irq_matrix_alloc` used
up a reservation if the number of reservations has dropped); where it does not, the parameter is
UNKNOWN, and a later event settles what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from spec.partial import UNKNOWN

SHUTDOWN_VECTOR: Final = 239
"""MANAGED_IRQ_SHUTDOWN_VECTOR: the placeholder in a message of an irq that has no vector."""

Fields = Mapping[str, int]
Peek = Callable[..., Any]
"""``peek(field, *index)``: what the state before the event holds, or UNKNOWN."""

Source = Callable[[Fields, int, Peek], Any]
"""A parameter from the printed fields, the executing CPU and the state before."""


def _number(name: str) -> Source:
    return lambda fields, cpu, peek: fields[name]


def _truth(name: str) -> Source:
    return lambda fields, cpu, peek: fields[name] != 0


def _failed(fields: Fields, cpu: int, peek: Peek) -> bool:
    return fields["ret"] < 0


def _executing(fields: Fields, cpu: int, peek: Peek) -> int:
    return cpu


def _option(name: str, decides: str) -> Source:
    """None if the field `decides` is 0: a CPU printed beside no vector is stale."""
    return lambda fields, cpu, peek: fields[name] if fields[decides] else None


def _reserved(fields: Fields, cpu: int, peek: Peek) -> Any:
    before = peek("global_reserved")
    return UNKNOWN if before is UNKNOWN else fields["global_rsvd"] < before


def _managed(fields: Fields, cpu: int, peek: Peek) -> Any:
    managed = peek("managed_map", fields["cpu"], fields["bit"])
    if managed is UNKNOWN:
        before = peek("available", fields["cpu"])
        return UNKNOWN if before is UNKNOWN else fields["avl"] == before
    return managed


def _replaced(fields: Fields, cpu: int, peek: Peek) -> Any:
    before = peek("total_allocated")
    isa = peek("isa", cpu, fields["bit"])
    if isa is UNKNOWN and before is not UNKNOWN:
        return fields["total_alloc"] < before
    return isa


@dataclass(frozen=True, slots=True)
class Printed:
    """A printed number that repeats a cell: ``field[index]``, the index being parameters' names.
    `invariant` is what makes the number meaningful."""

    name: str
    field: str
    index: tuple[str, ...] = ()
    invariant: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """One event as an action.

    `before` and `after` are the numbers that repeat the state. `locked` says whether the kernel
    prints the event under vector_lock; if not, it can appear in the middle of another CPU's
    section. `ends` names fields of which nothing is known any more, at the irq, once the action is
    done. `implied` pairs a printed number with a field: the number being 0, the field is false at
    the irq."""

    action: str
    parameters: Mapping[str, Source]
    before: tuple[Printed, ...] = ()
    after: tuple[Printed, ...] = ()
    locked: bool = True
    ends: tuple[str, ...] = ()
    implied: tuple[tuple[str, str], ...] = ()


def _always(fields: Fields, peek: Peek) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Event:
    """The readings of one tracepoint: the first whose condition holds is meant. `fields` are the
    names of its numbers in the order in which kernels print them."""

    fields: tuple[str, ...]
    readings: tuple[tuple[Callable[[Fields, Peek], bool], Reading], ...]

    def reading(self, fields: Fields, peek: Peek) -> Reading:
        """What this event means; raises LookupError if it means nothing."""
        for condition, reading in self.readings:
            if condition(fields, peek):
                return reading
        raise LookupError(f"no reading for {dict(fields)}")


# --- irq_matrix -----------------------------------------------------------------------------

_GLOBAL = (
    Printed("online_maps", "online_maps", (), "MX-8"),
    Printed("global_avl", "global_available", (), "MX-7"),
    Printed("global_rsvd", "global_reserved", (), "MX-10"),
    Printed("total_alloc", "total_allocated", (), "MX-9"),
)
_OF_CPU = (
    Printed("online", "online", ("cpu",), "MX-8"),
    Printed("avl", "available", ("cpu",), "MX-6"),
    Printed("alloc", "allocated", ("cpu",), "MX-3"),
    Printed("managed", "managed", ("cpu",), "MX-3"),
)


def _names(printed: tuple[Printed, ...]) -> tuple[str, ...]:
    return tuple(p.name for p in printed)


def _global(action: str, **parameters: Source) -> Event:
    fields = ("bit",) * ("bit" in parameters) + _names(_GLOBAL)
    return Event(fields, ((_always, Reading(action, parameters, after=_GLOBAL)),))


def _of_cpu(action: str, **more: Source) -> Event:
    parameters = {"cpu": _number("cpu"), "bit": _number("bit"), **more}
    reading = Reading(action, parameters, after=_OF_CPU + _GLOBAL)
    fields = ("bit", "cpu", *_names(_OF_CPU + _GLOBAL))
    return Event(fields, ((_always, reading),))


MATRIX_EVENTS: Final[Mapping[str, Event]] = {
    # A CPU's map comes and goes with the CPU, in one section of vector_lock.
    "irq_matrix_online": _global("lapic_online", cpu=_executing),
    "irq_matrix_offline": _global("lapic_offline", cpu=_executing),
    "irq_matrix_reserve": _global("irq_matrix_reserve"),
    "irq_matrix_remove_reserved": _global("irq_matrix_remove_reserved"),
    "irq_matrix_assign_system": _global(
        "irq_matrix_assign_system", cpu=_executing, bit=_number("bit"), replace=_replaced
    ),
    "irq_matrix_reserve_managed": _of_cpu("irq_matrix_reserve_managed"),
    "irq_matrix_remove_managed": _of_cpu("irq_matrix_remove_managed"),
    "irq_matrix_alloc_managed": _of_cpu("irq_matrix_alloc_managed"),
    "irq_matrix_assign": _of_cpu("irq_matrix_assign"),
    "irq_matrix_alloc": _of_cpu("irq_matrix_alloc", reserved=_reserved),
    "irq_matrix_free": _of_cpu("irq_matrix_free", managed=_managed),
}


# --- irq_vectors ----------------------------------------------------------------------------

_IRQ: Final = {"irq": _number("irq")}
_PLACE: Final = {**_IRQ, "vector": _number("vector"), "cpu": _number("cpu")}
_PREVIOUS: Final = {
    "prev_vector": _option("prev_vector", "prev_vector"),
    "prev_cpu": _option("prev_cpu", "prev_vector"),
}
_IS_MANAGED = Printed("is_managed", "is_managed", ("irq",), "VEC-2")
_CAN_RESERVE = Printed("can_reserve", "can_reserve", ("irq",), "VEC-1")
_HAS_RESERVED = Printed("has_reserved", "has_reserved", ("irq",), "VEC-3")


def _is_legacy(fields: Fields, peek: Peek) -> bool:
    return fields["is_legacy"] != 0 and fields["ret"] == 0


def _has_failed(fields: Fields, peek: Peek) -> bool:
    return fields["ret"] < 0


def _is_placeholder(fields: Fields, peek: Peek) -> bool:
    return fields["vector"] == SHUTDOWN_VECTOR


def _inherits(fields: Fields, peek: Peek) -> bool:
    return (peek("pc", fields["irq"]) == "LEGACY") is True


def _is_isa(fields: Fields, peek: Peek) -> bool:
    return peek("isa", fields["cpu"], fields["vector"]) is True


_ALLOC_FAILED = Reading("vector_alloc_failed", _IRQ)

VECTOR_EVENTS: Final[Mapping[str, Event]] = {
    "vector_setup": Event(
        ("irq", "is_legacy", "ret"),
        (
            (_is_legacy, Reading("vector_setup_legacy", _IRQ)),
            (_always, Reading("vector_setup", {**_IRQ, "failed": _failed}, locked=False)),
        ),
    ),
    "vector_reserve": Event(("irq", "ret"), ((_always, Reading("vector_reserve", _IRQ)),)),
    "vector_reserve_managed": Event(
        ("irq", "ret"),
        ((_always, Reading("vector_reserve_managed", {**_IRQ, "failed": _failed})),),
    ),
    "vector_activate": Event(
        ("irq", "is_managed", "can_reserve", "reserve"),
        (
            (
                _always,
                Reading(
                    "vector_activate",
                    {**_IRQ, "reserve": _truth("reserve")},
                    before=(_IS_MANAGED, _CAN_RESERVE),
                    locked=False,
                    # IRQD_MANAGED_SHUTDOWN is a state of managed irqs only.
                    implied=(("is_managed", "managed_shutdown"),),
                ),
            ),
        ),
    ),
    "vector_alloc": Event(
        ("irq", "vector", "reserved", "ret"),
        (
            (
                _has_failed,
                Reading(
                    "vector_alloc_failed",
                    _IRQ,
                    before=(Printed("reserved", "has_reserved", ("irq",), "VEC-3"),),
                ),
            ),
            (
                _always,
                Reading(
                    "vector_alloc",
                    {**_IRQ, "vector": _number("vector"), "reserved": _truth("reserved")},
                ),
            ),
        ),
    ),
    "vector_alloc_managed": Event(
        ("irq", "vector", "ret"),
        (
            (_has_failed, _ALLOC_FAILED),
            (
                _always,
                Reading("vector_alloc_managed", {**_IRQ, "vector": _number("vector")}),
            ),
        ),
    ),
    "vector_update": Event(
        ("irq", "vector", "cpu", "prev_vector", "prev_cpu"),
        ((_always, Reading("vector_update", {**_PLACE, **_PREVIOUS})),),
    ),
    "vector_config": Event(
        ("irq", "vector", "cpu", "apicdest"),
        (
            (_is_placeholder, Reading("vector_config_shutdown", _IRQ)),
            (_inherits, Reading("vector_config_legacy", _PLACE)),
            (_always, Reading("vector_config", _PLACE)),
        ),
    ),
    "vector_deactivate": Event(
        ("irq", "is_managed", "can_reserve", "reserve"),
        (
            (
                _always,
                Reading(
                    "vector_deactivate", _IRQ, before=(_IS_MANAGED, _CAN_RESERVE), locked=False
                ),
            ),
        ),
    ),
    "vector_clear": Event(
        ("irq", "vector", "cpu", "prev_vector", "prev_cpu"),
        (
            (_is_isa, Reading("vector_clear_legacy", _PLACE)),
            (_always, Reading("vector_clear", {**_PLACE, **_PREVIOUS})),
        ),
    ),
    "vector_free_moved": Event(
        ("irq", "cpu", "vector", "is_managed"),
        ((_always, Reading("vector_free_moved", _PLACE, before=(_IS_MANAGED,))),),
    ),
    "vector_teardown": Event(
        ("irq", "is_managed", "has_reserved"),
        (
            (
                _always,
                Reading(
                    "vector_teardown",
                    _IRQ,
                    before=(_IS_MANAGED, _HAS_RESERVED),
                    # A managed irq keeps its mask while it lives (A-MGD); the next one of this
                    # number has its own.
                    ends=("affinity", "managed_shutdown"),
                ),
            ),
        ),
    ),
}

EVENTS: Final[Mapping[str, Event]] = {**MATRIX_EVENTS, **VECTOR_EVENTS}
"""Every tracepoint that is followed, by name."""
