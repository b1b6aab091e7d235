# SPDX-License-Identifier: GPL-2.0-only
"""How a layer of the specification is read beside a machine that runs: a binding.

A binding says which events are which actions of the layer, and what the machine's state is as a
state of the layer. One monitor follows any layer through it.

Where nothing else is said, an event is the action of its own name, and its fields are the action's
parameters. Things have numbers on a machine (an irq number, the id of a domain) and elements in a
scope; `Names` pairs them, sort by sort. A sort without a pairing counts alike on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proofs.events import Fields, Peek, Reading, Source
from spec.partial import Store
from spec.records import FunctionOf, Model, Parameter
from spec.terms import Bool, Enum

__all__ = ["Binding", "Names", "Naming", "Readings", "ScopeTooSmall", "by_name", "translated"]

Names = Mapping[str, Mapping[int, int]]
"""The element of a number, by the name of its sort."""

Readings = Callable[[str, Fields, Peek], Iterable[Reading]]
"""The actions that an event stands for, in order; each is asked for when those before it have been
followed."""


class ScopeTooSmall(Exception):
    """A machine has more things of a sort at a time than the scope has elements."""


class Naming(dict[int, int]):
    """The elements of one sort, given to numbers when they are first met, the lowest free one each
    time. A number that is gone for good gives its element back with `pop`."""

    def __init__(self, sort: str, size: int) -> None:
        super().__init__()
        self.sort, self.size = sort, size

    def __missing__(self, number: int) -> int:
        taken = set(self.values())
        for element in range(self.size):
            if element not in taken:
                self[number] = element
                return element
        raise ScopeTooSmall(f"{self.sort} {number} is one more than the scope's {self.size}")


@dataclass(frozen=True)
class Binding:
    """A layer's name among the models, and how it is read.

    `elements` names the sort of an event's field whose number is translated; -1 is none, unless
    `nothing` has another number for the field.
    `spec_only` lists the fields that the machine has no word for: the monitor takes them from the
    specification's own state. `hazards` are events that only happen inside a hazard, `silent` those
    that mean nothing to the layer although they belong to it. `searches` tells a choice of a CPU
    out of a mask, and `dropped` pairs a transient field with a member that an operation may leave
    behind, since nobody comes back to it. Where `systems` are given, events of others are not for
    this layer."""

    layer: str
    abstraction: Callable[[Any, Names], dict[str, Store]]
    readings: Callable[[Model], Readings]
    elements: Mapping[str, str] = field(default_factory=dict)
    nothing: Mapping[str, int] = field(default_factory=dict)
    spec_only: tuple[str, ...] = ()
    hazards: Mapping[str, str] = field(default_factory=dict)
    searches: Mapping[str, bool] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    systems: frozenset[str] | None = None
    chooses: bool = False
    """Whether MX-12, the rule of choice, is judged."""


def translated(binding: Binding, names: Names, fields: Fields) -> dict[str, Any]:
    """An event's fields with elements in the place of numbers."""
    found: dict[str, Any] = dict(fields)
    for name in binding.elements.keys() & fields.keys():
        number, sort = fields[name], binding.elements[name]
        if number == binding.nothing.get(name, -1):
            found[name] = None
        elif sort in names:
            found[name] = names[sort][number]
    return found


def by_name(model: Model) -> Readings:
    """An event is the action of its own name; one without an action means nothing."""
    table = {
        name: (Reading(name, {p: _source(p, type) for p, type in action.params.items()}),)
        for name, action in model.actions.items()
    }
    return lambda name, fields, peek: table.get(name, ())


def _source(name: str, type: Parameter) -> Source:
    """A parameter of this type out of the event's field of the same name."""
    if isinstance(type, FunctionOf):
        return lambda fields, cpu, peek: _members(fields[name])
    if isinstance(type, Bool):
        return lambda fields, cpu, peek: fields[name] != 0
    if isinstance(type, Enum):
        return lambda fields, cpu, peek: type.members[fields[name]]
    return lambda fields, cpu, peek: fields[name]


def _members(mask: int) -> Callable[[int], bool]:
    return lambda member: bool(mask >> member & 1)
