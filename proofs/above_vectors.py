# SPDX-License-Identifier: GPL-2.0-only
"""How the layers above the vector domain read the events of the layers below.

They have actions of the same names, with fewer parameters, and promise less. So a tracepoint means
to them what it means to the vector layer, as far as they know the action; any other event is the
action of its own name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from proofs.events import EVENTS, Fields, Peek, Reading
from proofs.impl_events import IMPL_EVENTS, readings
from proofs.layers import Readings, by_name
from spec.records import Model

__all__ = ["above_vectors"]

_NONE: Final[Mapping[str, Reading]] = {}


def above_vectors(model: Model, own: Mapping[str, Reading] = _NONE) -> Readings:
    """The readings of a layer that shares actions with the vector layer; `own` has those of its
    events whose fields are not an action's parameters."""
    named = by_name(model)

    def read(name: str, fields: Fields, peek: Peek) -> Iterator[Reading]:
        if name in own:
            yield own[name]
            return
        if name not in EVENTS and not IMPL_EVENTS.get(name):
            yield from named(name, fields, peek)
            return
        for reading in readings(name, fields, peek):
            if reading.action in model.actions:
                yield replace(reading, before=(), after=())

    return read
