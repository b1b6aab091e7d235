# SPDX-License-Identifier: GPL-2.0-only
"""A whole machine as bytes, and back: how a search returns to a moment.

A machine is a graph of objects that point at each other, so it is copied as a whole. What all
machines share, and recognise by identity, stays what it is; so does the trace that is listened to.
A machine must be built of functions that can be named: a local function would keep hold of the
machine that it was made in, and is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, Final

from impl.kernel.irq.irq import no_irq_chip
from impl.kernel.irq.irqdomain_hierarchy import IRQ_CHIP_NOT_CONNECTED
from impl.machine import Machine
from impl.trace import Trace

__all__ = ["copied", "revived"]

_SHARED: Final[tuple[object, ...]] = (no_irq_chip, IRQ_CHIP_NOT_CONNECTED)
_NUMBERS: Final = {id(shared): number for number, shared in enumerate(_SHARED)}


def _shared(number: int) -> object:
    return _SHARED[number]


def _trace() -> Trace:
    raise TypeError("a machine is revived with a trace")


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        """How an object of a class of ours is copied: most of them as they are."""
        if isinstance(obj, Trace):
            return _trace, ()
        number = _NUMBERS.get(id(obj))
        return NotImplemented if number is None else (_shared, (number,))


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, trace: Trace) -> None:
        super().__init__(io.BytesIO(data))
        self._trace = trace

    def find_class(self, module: str, name: str) -> Any:
        """What a copy refers to by name; the trace is the new one."""
        if name == _trace.__name__ and module == __name__:
            return lambda: self._trace
        return super().find_class(module, name)


def copied(machine: Machine) -> bytes:
    """The machine as it is now."""
    data = io.BytesIO()
    _Pickler(data, protocol=pickle.HIGHEST_PROTOCOL).dump(machine)
    return data.getvalue()


def revived(data: bytes, trace: Trace) -> Machine:
    """A machine as it was, which tells `trace` what it does from now on."""
    machine = _Unpickler(data, trace).load()
    if not isinstance(machine, Machine):
        raise TypeError("this is no machine")
    return machine
