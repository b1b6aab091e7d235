# SPDX-License-Identifier: GPL-2.0-only
"""The rows of the matrix, and which of them an allocation takes.

The kernel walks all CPUs of the mask.  On a machine with a thousand of them the walk would cost
more than everything else that an allocation does.  So online CPUs with equal counters are kept
together, as masks: there are far fewer different counters than CPUs.  The choice is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from impl.kernel.cpumask import cpumask_first, for_each_cpu

__all__ = ["CpuChoice", "Cpumap"]

_UINT_MAX = 0xFFFFFFFF
_NO_CPU = -1

_FEW_CPUS = 16
"""A walk over so many rows costs less than keeping masks of them."""


@dataclass(slots=True)
class Cpumap:
    """One CPU's row: counters in bits of the row, and the two bitmaps (struct cpumap)."""

    available: int = 0
    allocated: int = 0
    managed: int = 0
    managed_allocated: int = 0
    initialized: bool = False
    online: bool = False
    alloc_map: int = 0
    managed_map: int = 0


class CpuChoice:
    """The best CPU of a mask, for `maps`.

    The masks of equal CPUs are made by the first search in a large mask.  From then on they have to
    be told of every change of a counter that decides, and of every CPU that comes or goes.
    """

    __slots__ = ("_available", "_known", "_managed_allocated", "_maps")

    def __init__(self, maps: Sequence[Cpumap]) -> None:
        self._maps = maps
        self._known = False
        self._available: dict[int, int] = {}
        self._managed_allocated: dict[int, int] = {}

    def forget(self) -> None:
        """The rows may have changed in any way."""
        self._known = False

    def online(self, cpu: int) -> None:
        """`cpu` has come online."""
        if self._known:
            cm = self._maps[cpu]
            _add(self._available, cm.available, cpu)
            _add(self._managed_allocated, cm.managed_allocated, cpu)

    def offline(self, cpu: int) -> None:
        """`cpu`, which was online, has gone."""
        if self._known:
            cm = self._maps[cpu]
            _remove(self._available, cm.available, cpu)
            _remove(self._managed_allocated, cm.managed_allocated, cpu)

    def available_changed(self, cpu: int, old: int) -> None:
        """`available` of `cpu`, online or not, was `old`."""
        cm = self._maps[cpu]
        if self._known and cm.online:
            _remove(self._available, old, cpu)
            _add(self._available, cm.available, cpu)

    def managed_allocated_changed(self, cpu: int, old: int) -> None:
        """`managed_allocated` of `cpu`, online or not, was `old`."""
        cm = self._maps[cpu]
        if self._known and cm.online:
            _remove(self._managed_allocated, old, cpu)
            _add(self._managed_allocated, cm.managed_allocated, cpu)

    def most_available(self, msk: int) -> int:
        """The online CPU of `msk` with most available; of equals the lowest; -1 if none has any."""
        if msk.bit_count() > _FEW_CPUS:
            self._learn()
            for value in sorted(self._available, reverse=True):
                cpus = self._available[value] & msk
                if cpus:
                    return cpumask_first(cpus) if value else _NO_CPU
            return _NO_CPU
        best_cpu, maxavl = _NO_CPU, 0
        for cpu in for_each_cpu(msk):
            cm = self._maps[cpu]
            if cm.online and cm.available > maxavl:
                best_cpu, maxavl = cpu, cm.available
        return best_cpu

    def fewest_managed_allocated(self, msk: int) -> int:
        """The online CPU of `msk` that uses fewest managed bits; of equals the highest; or -1."""
        if msk.bit_count() > _FEW_CPUS:
            self._learn()
            for value in sorted(self._managed_allocated):
                cpus = self._managed_allocated[value] & msk
                if cpus:
                    return cpus.bit_length() - 1
            return _NO_CPU
        best_cpu, allocated = _NO_CPU, _UINT_MAX
        for cpu in for_each_cpu(msk):
            cm = self._maps[cpu]
            if cm.online and cm.managed_allocated <= allocated:
                best_cpu, allocated = cpu, cm.managed_allocated
        return best_cpu

    def _learn(self) -> None:
        if self._known:
            return
        self._available, self._managed_allocated = {}, {}
        self._known = True
        for cpu, cm in enumerate(self._maps):
            if cm.online:
                self.online(cpu)


def _add(masks: dict[int, int], value: int, cpu: int) -> None:
    masks[value] = masks.get(value, 0) | 1 << cpu


def _remove(masks: dict[int, int], value: int, cpu: int) -> None:
    left = masks[value] & ~(1 << cpu)
    if left:
        masks[value] = left
    else:
        del masks[value]
