# SPDX-License-Identifier: GPL-2.0-only
"""A set of rows of 64-bit words, in the order in which they came.

Membership is exact: a row counts as known only if every word of it equals a stored row; the hash
only says where to look. The table is an open-addressing one whose slots hold 32 bits of the hash
and the number of a row. Its three loops are compiled by numba: the same in NumPy is a sort of
every batch against all that is stored.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.uint64]

_MOST = 2**32 - 2
"""A slot has 32 bits for the number of a row, and 0 means that it is empty."""


class RowSet:
    """Rows and, for each, where it came from: the number of another row and of one of `instances`
    ways to come from it."""

    def __init__(self, width: int, instances: int) -> None:
        self.count = 0
        self.rows: Rows = np.empty((1 << 12, width), dtype=np.uint64)
        self.parents = np.empty(1 << 12, dtype=np.uint32)
        self.instances: npt.NDArray[Any] = np.empty(
            1 << 12, dtype=np.uint16 if instances <= 1 << 16 else np.uint32
        )
        self._slots = np.zeros(1 << 13, dtype=np.uint64)
        self._hashes = np.empty(0, dtype=np.uint64)
        self._known = np.empty(0, dtype=np.uint64)

    def add(self, rows: Rows, parents: npt.NDArray[Any], instances: npt.NDArray[Any]) -> int:
        """Store the rows that are new, the first of equal ones, and answer how many there were.
        OverflowError at 2**32 - 2 rows."""
        size = len(rows)
        self._reserve(self.count + size)
        if len(self._hashes) < size:
            self._hashes = np.empty(size, dtype=np.uint64)
            self._known = np.empty(size, dtype=np.uint64)
        _look(rows, self.rows, self._slots, self._hashes, self._known)
        before = self.count
        self.count = int(
            _insert(
                rows, parents, instances, self._hashes, self._known,
                self.rows, self.parents, self.instances, self._slots, self.count,
            )
        )  # fmt: skip
        return self.count - before

    def bytes(self) -> int:
        """The memory held for the rows, for where they came from and for the table."""
        origin = self.parents.itemsize + self.instances.itemsize
        used = self.rows[: self.count].nbytes + origin * self.count
        return used + self._slots.nbytes

    def _reserve(self, wanted: int) -> None:
        if wanted > _MOST:
            raise OverflowError("more states than a search can number")
        if wanted > len(self.parents):
            size = max(wanted, len(self.parents) * 5 // 4)
            # In place: nothing is copied where the system can move pages.
            self.rows.resize((size, self.rows.shape[1]), refcheck=False)
            self.parents.resize(size, refcheck=False)
            self.instances.resize(size, refcheck=False)
        if 8 * wanted > 5 * len(self._slots):
            size = len(self._slots)
            while 8 * wanted > 5 * size:
                size *= 2
            self._slots = np.zeros(size, dtype=np.uint64)
            _refill(self.rows, self.count, self._slots)


@numba.njit(inline="always")
def _hash(row):  # type: ignore[no-untyped-def]
    h = np.uint64(0x9E3779B97F4A7C15)
    for k in range(row.shape[0]):
        h = (h ^ row[k]) * np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(32)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(29))


@numba.njit(cache=True)
def _look(new, rows, slots, hashes, known):  # type: ignore[no-untyped-def]
    """Find rows that are where their hash says. Most are: the loops have no dependent steps, so
    that the processor waits for many cache lines at once, not for one after the other."""
    mask = np.uint64(slots.shape[0] - 1)
    low = np.uint64(0xFFFFFFFF)
    thirty_two = np.uint64(32)
    for k in range(new.shape[0]):
        h = _hash(new[k])
        hashes[k] = h
        known[k] = slots[h & mask]
    for k in range(new.shape[0]):
        slot = known[k]
        same = slot != np.uint64(0) and (slot >> thirty_two) == (hashes[k] >> thirty_two)
        if same:
            at = np.int64(slot & low) - 1
            for j in range(new.shape[1]):
                same &= rows[at, j] == new[k, j]
        known[k] = np.uint64(same)


@numba.njit(cache=True)
def _insert(  # type: ignore[no-untyped-def]
    new, parent, instance, hashes, known, rows, parents, instances, slots, count
):
    mask = np.uint64(slots.shape[0] - 1)
    low = np.uint64(0xFFFFFFFF)
    thirty_two = np.uint64(32)
    for k in range(new.shape[0]):
        if known[k]:
            continue
        h = hashes[k]
        at = h & mask
        tag = h >> thirty_two
        while True:
            slot = slots[at]
            if slot == np.uint64(0):
                slots[at] = (tag << thirty_two) | np.uint64(count + 1)
                for j in range(new.shape[1]):
                    rows[count, j] = new[k, j]
                parents[count] = parent[k]
                instances[count] = instance[k]
                count += 1
                break
            if (slot >> thirty_two) == tag:
                where = np.int64(slot & low) - 1
                same = True
                for j in range(new.shape[1]):
                    same &= rows[where, j] == new[k, j]
                if same:
                    break
            at = (at + np.uint64(1)) & mask
    return count


@numba.njit(cache=True)
def _refill(rows, count, slots):  # type: ignore[no-untyped-def]
    mask = np.uint64(slots.shape[0] - 1)
    thirty_two = np.uint64(32)
    for k in range(count):
        h = _hash(rows[k])
        at = h & mask
        while slots[at] != np.uint64(0):
            at = (at + np.uint64(1)) & mask
        slots[at] = ((h >> thirty_two) << thirty_two) | np.uint64(k + 1)
