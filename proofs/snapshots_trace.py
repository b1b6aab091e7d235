# SPDX-License-Identifier: GPL-2.0-only
"""What a log says of the moments at which snapshots were taken.

Whoever takes a snapshot writes a marker that ends in ``snap NAME`` before it. Reading all the files
takes a while, in which interrupts may move: whatever held at some time from there to the next
marker may be in the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from proofs.events import EVENTS, SHUTDOWN_VECTOR
from proofs.ftrace import Gap, Logged
from proofs.refinement import LogMonitor
from proofs.snapshots import Place
from spec.partial import ANY, UNKNOWN, PartialState, is_open

__all__ = ["History", "Moment", "watched"]

_SNAP = re.compile(r"\bsnap (\S+)$")
_MARKER: Final = "tracing_mark_write"
_OF_CPU: Final = ("available", "allocated", "managed")
_TOTALS: Final = ("online_maps", "global_available", "global_reserved", "total_allocated")

_PLACE: Final = "vector, cpu"
"""The two fields that are one fact."""


@dataclass(slots=True)
class Moment:
    """What held while a snapshot was taken: every value of a cell, and every (vector, CPU) of an
    irq; UNKNOWN is among them if the log does not tell. The index ANY is for all that have no own.
    """

    cells: dict[tuple[str, Any], set[Any]] = field(default_factory=dict)

    def values(self, name: str, index: int | None = None) -> frozenset[Any] | None:
        """What a cell held, by default of a field without an index; None if that is not known."""
        anywhere = self.cells.get((name, ANY), {UNKNOWN})
        values = anywhere if index is None else self.cells.get((name, index), anywhere)
        return None if UNKNOWN in values else frozenset(values)

    def places(self, irq: int) -> frozenset[tuple[Any, Any]] | None:
        """The (vector, CPU) pairs that an irq had, None if that is not known."""
        return self.values(_PLACE, irq)

    def note(self, state: PartialState, item: Logged | Gap) -> None:
        """Add what is known now, after `item`: an event has changed no irq and no CPU but its own,
        anything else may have changed all."""
        if isinstance(item, Logged) and item.name in EVENTS:
            irqs = {item.fields["irq"]} if "irq" in item.fields else set()
            cpus = {item.cpu, item.fields.get("cpu", item.cpu)}
        else:
            irqs = {*state.named("vector"), *state.named("cpu"), *self._known(_PLACE)}
            cpus = {*self._known(*_OF_CPU)}.union(*map(state.named, _OF_CPU))
        self._note(_PLACE, irqs, partial(_place, state))
        for name in _OF_CPU:
            self._note(name, cpus, partial(_value, state, name))
        for name in _TOTALS:
            self.cells.setdefault((name, ANY), set()).add(_known(state.get(name)))

    def _known(self, *names: str) -> set[int]:
        return {index for name, index in self.cells if name in names and index is not ANY}

    def _note(self, name: str, indices: set[Any], value: Callable[[Any], Any]) -> None:
        anywhere = self.cells.setdefault((name, ANY), set())
        for index in indices:
            # Until now it held what all held that had no entry.
            self.cells.setdefault((name, index), set(anywhere)).add(value(index))
        anywhere.add(value(ANY))


def _value(state: PartialState, name: str, index: Any) -> Any:
    return _known(state.get(name, index))


def _place(state: PartialState, irq: Any) -> Any:
    vector, cpu = state.get("vector", irq), state.get("cpu", irq)
    return UNKNOWN if is_open(vector) or is_open(cpu) else (vector, cpu)


def _known(value: Any) -> Any:
    return UNKNOWN if is_open(value) else value


@dataclass(slots=True)
class History:
    """A log beside its snapshots: the moment of each, the line of each event and the irq that it
    names (-1 if none), and the APIC destination of each CPU (several, if the log contradicts
    itself)."""

    file: str
    moments: dict[str, Moment] = field(default_factory=dict)
    events: list[tuple[int, str, int]] = field(default_factory=list)
    destinations: dict[int, set[int]] = field(default_factory=dict)

    def place(self, line: int) -> Place:
        """A line of the log."""
        return Place(self.file, line)

    def destination(self, cpu: int) -> int | None:
        """What the kernel writes to reach a CPU, None if that is not known."""
        known = self.destinations.get(cpu, set())
        return next(iter(known)) if len(known) == 1 else None


def watched(
    items: Iterable[Logged | Gap], monitor: LogMonitor, history: History
) -> Iterator[Logged | Gap]:
    """The same items for `monitor`; what it knows of each moment goes into `history`."""
    moment: Moment | None = None
    for item in items:
        if isinstance(item, Logged) and item.name == _MARKER:
            found = _SNAP.search(item.text)
            moment = history.moments.setdefault(found[1], Moment()) if found else None
        yield item
        if isinstance(item, Logged) and item.name in EVENTS:
            _note_event(item, history)
        # Here the monitor has taken the item.
        if moment is not None:
            moment.note(monitor.state, item)


def _note_event(item: Logged, history: History) -> None:
    fields: Mapping[str, int] = item.fields
    history.events.append((item.line, item.name, fields.get("irq", -1)))
    if item.name == "vector_config" and fields["vector"] != SHUTDOWN_VECTOR:
        history.destinations.setdefault(fields["cpu"], set()).add(fields["apicdest"])
