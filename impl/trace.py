# SPDX-License-Identifier: GPL-2.0-only
"""Tracepoints: what the stack tells about itself while it runs.

Events carry the kernel's names and fields at the kernel's places.  Where the kernel is silent an
event named after the kernel function that changed the state stands in.  While nobody has subscribed
an event costs one attribute test.

A real kernel suppresses tracepoints on a CPU that has left the online mask; this trace does not, so
that an observer can follow a take-down.  An observer that wants a real log drops those events.
"""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Event", "Subscriber", "Trace", "format_event"]


@dataclass(frozen=True, slots=True)
class Event:
    """One tracepoint hit: `cpu` is the executing CPU, masks in `fields` have bit c for CPU c."""

    system: str
    name: str
    cpu: int
    fields: dict[str, int]


Subscriber = Callable[[Event], None]


class Trace:
    """Hands each event to every subscriber, in order of subscription."""

    __slots__ = ("_subscribers", "enabled")

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []
        self.enabled = False

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Deliver all further events to `callback`; returns a function that ends the delivery."""
        self._subscribers.append(callback)
        self.enabled = True

        def unsubscribe() -> None:
            self._subscribers.remove(callback)
            self.enabled = bool(self._subscribers)

        return unsubscribe

    def emit(self, system: str, name: str, cpu: int, /, **fields: int) -> None:
        """Deliver one event executed on `cpu`; does nothing when nobody subscribed."""
        if not self.enabled:
            return
        event = Event(system, name, cpu, fields)
        for callback in tuple(self._subscribers):
            callback(event)


def _cpu_mask(value: int) -> str:
    return f"0x{value:x}"


def _untouched_or_mask(value: int) -> str:
    return "-1" if value < 0 else _cpu_mask(value)


# The kernel's own format strings put a comma behind two of the global counters.
_FIELD_FORMATS: dict[str, Callable[[int], str]] = {
    "global_avl": "{},".format,
    "global_rsvd": "{},".format,
    "apicdest": "0x{:08x}".format,
    "affinity": _cpu_mask,
    "effective": _untouched_or_mask,
}


def format_event(event: Event) -> str:
    """The event as the text ftrace log prints it behind the time stamp: `name: key=value ...`."""
    fields = " ".join(
        f"{key}={_FIELD_FORMATS.get(key, str)(int(value))}" for key, value in event.fields.items()
    )
    return f"{event.name}: {fields}" if fields else event.name
