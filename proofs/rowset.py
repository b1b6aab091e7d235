# SPDX-License-Identifier: GPL-2.0-only
"""A set of rows of 64-bit words, in the order in which they came.

Membership is exact: a row counts as known only if every word of it equals a stored row; the hash
only says where to look. The table is an open-addressing one whose slots hold the upper half of the
hash and the number of a row. Its loops are compiled by numba and take about 40 ns a row among four
million; sorting a batch and searching ten million sorted hashes for it, the least that NumPy alone
would need, takes 140 ns without comparing a single row.
"""

from __future__ import annotations

import mmap
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.uint64]

_MOST = 2**32 - 2
"""A slot has 32 bits for the number of a row, and 0 means that it is empty."""

_EMPTY, _ONE, _HALF, _LOW = np.uint64(0), np.uint64(1), np.uint64(32), np.uint64(2**32 - 1)


class _Growing:
    """An array that grows in place. Memory that was never written costs nothing, and large pages
    spare the processor a second miss for each access out of the blue."""

    def __init__(self, dtype: npt.DTypeLike, width: int, size: int) -> None:
        self._dtype, self._width = np.dtype(dtype), width
        self._memory = self._map(size)

    def _map(self, size: int) -> mmap.mmap:
        # Private, because a shared mapping is a file of its first size: it cannot grow.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        memory = mmap.mmap(-1, size * self._width * self._dtype.itemsize, flags=flags)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        return memory

    def array(self) -> npt.NDArray[Any]:
        """All of it. No array of before may be alive when it grows."""
        return np.frombuffer(self._memory, dtype=self._dtype).reshape(-1, self._width)

    def grow(self, size: int) -> None:
        """Make room for `size` rows."""
        try:
            self._memory.resize(size * self._width * self._dtype.itemsize)
        except (SystemError, ValueError):  # a system that cannot move pages: copy
            old = self._memory
            self._memory = self._map(size)
            self._memory[: len(old)] = old[:]


class RowSet:
    """Rows and, for each, where it came from: the number of another row and of one of `instances`
    ways to come from it."""

    def __init__(self, width: int, instances: int) -> None:
        few = 1 << 12
        number = np.uint16 if instances <= 1 << 16 else np.uint32
        self.count = 0
        self._memory = [
            _Growing(np.uint64, width, few),
            _Growing(np.uint32, 1, few),
            _Growing(number, 1, few),
        ]
        self._slots = _Growing(np.uint64, 1, 2 * few)
        self._capacity, self._slot_count = few, 2 * few

    @property
    def rows(self) -> Rows:
        """The rows in the order in which they came, and room for more."""
        return self._memory[0].array()

    @property
    def parents(self) -> npt.NDArray[np.uint32]:
        """For each row, the row that it came from."""
        return self._memory[1].array()[:, 0]

    @property
    def instances(self) -> npt.NDArray[Any]:
        """For each row, the way in which it came from there."""
        return self._memory[2].array()[:, 0]

    def add(self, rows: Rows, parents: npt.NDArray[Any], instances: npt.NDArray[Any]) -> int:
        """Store the rows that are new, the first of equal ones, and answer how many there were.
        OverflowError at 2**32 - 2 rows."""
        self._reserve(self.count + len(rows))
        before = self.count
        self.count = int(
            _add(
                rows, parents, instances,
                self.rows, self.parents, self.instances,
                self._slots.array()[:, 0], self._shift(), before,
            )
        )  # fmt: skip
        return self.count - before

    def bytes(self) -> int:
        """The memory held for the rows, for where they came from and for the table."""
        row: int = sum(memory.array()[0].nbytes for memory in self._memory)
        return row * self.count + 8 * self._slot_count

    def _reserve(self, wanted: int) -> None:
        if wanted > _MOST:
            raise OverflowError("more states than a search can number")
        if wanted > self._capacity:
            self._capacity = max(wanted, 2 * self._capacity)
            for memory in self._memory:
                memory.grow(self._capacity)
        if 8 * wanted > 5 * self._slot_count:
            while 8 * wanted > 5 * self._slot_count:
                self._slot_count *= 2
            old, self._slots = self._slots, _Growing(np.uint64, 1, self._slot_count)
            _refill(old.array()[:, 0], self._slots.array()[:, 0], self._shift())

    def _shift(self) -> np.uint64:
        """The first bits of a hash say where its slot is."""
        return np.uint64(65 - self._slot_count.bit_length())


@numba.njit(inline="always")
def hash_of(row):  # type: ignore[no-untyped-def]
    """64 bits that depend on every bit of a row."""
    h = np.uint64(0x9E3779B97F4A7C15)
    for k in range(row.shape[0]):
        h = (h ^ row[k]) * np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(32)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(29))


@numba.njit(cache=True)
def _look(new, shift, rows, slots, hashes, found, known):  # type: ignore[no-untyped-def]
    """Find the rows that are stored. The loops that leave the cache do nothing else, so that the
    processor waits for many lines at once, not for one after the other."""
    mask = np.uint64(slots.shape[0] - 1)
    for k in range(new.shape[0]):
        hashes[k] = hash_of(new[k])
    for k in range(new.shape[0]):
        found[k] = slots[hashes[k] >> shift]
    for k in range(new.shape[0]):
        slot, h = found[k], hashes[k]
        at = h >> shift
        while slot != _EMPTY and (slot ^ h) >> _HALF != _EMPTY:
            at = (at + _ONE) & mask
            slot = slots[at]
        found[k] = slot
    for k in range(new.shape[0]):
        # An empty slot reads row 0, which is there: no branch.
        at = (found[k] & _LOW) - np.uint64(found[k] != _EMPTY)
        known[k] = (rows[at, 0] == new[k, 0]) & (found[k] != _EMPTY)
    for k in range(new.shape[0]):
        if known[k]:
            at = (found[k] & _LOW) - _ONE
            same = True
            for j in range(1, new.shape[1]):
                same &= rows[at, j] == new[k, j]
            known[k] = same


@numba.njit(cache=True)
def _insert(  # type: ignore[no-untyped-def]
    new, parent, instance, shift, hashes, known, rows, parents, instances, slots, count
):
    """Store the rows that are not known, unless an earlier one of them is the same."""
    mask = np.uint64(slots.shape[0] - 1)
    for k in range(new.shape[0]):
        if known[k]:
            continue
        h = hashes[k]
        at = h >> shift
        while True:
            slot = slots[at]
            if slot == _EMPTY:
                slots[at] = (h & ~_LOW) | np.uint64(count + 1)
                for j in range(new.shape[1]):
                    rows[count, j] = new[k, j]
                parents[count] = parent[k]
                instances[count] = instance[k]
                count += 1
                break
            if (slot ^ h) >> _HALF == _EMPTY:
                where = (slot & _LOW) - _ONE
                same = True
                for j in range(new.shape[1]):
                    same &= rows[where, j] == new[k, j]
                if same:
                    break
            at = (at + _ONE) & mask
    return count


_PIECE = 512
"""Rows looked up together: the lines of the table that they need stay in the cache meanwhile."""


@numba.njit(cache=True)
def _add(new, parent, instance, rows, parents, instances, slots, shift, count):  # type: ignore[no-untyped-def]
    hashes = np.empty(_PIECE, dtype=np.uint64)
    found = np.empty(_PIECE, dtype=np.uint64)
    known = np.empty(_PIECE, dtype=np.bool_)
    for start in range(0, new.shape[0], _PIECE):
        stop = min(start + _PIECE, new.shape[0])
        piece = new[start:stop]
        _look(piece, shift, rows, slots, hashes, found, known)
        count = _insert(
            piece, parent[start:stop], instance[start:stop], shift, hashes, known,
            rows, parents, instances, slots, count,
        )  # fmt: skip
    return count


@numba.njit(cache=True)
def _refill(old, slots, shift):  # type: ignore[no-untyped-def]
    """Move to a larger table. A slot says where it belongs, and the order stays nearly the same:
    both tables are walked from one end to the other, and no row is looked at."""
    mask = np.uint64(slots.shape[0] - 1)
    for k in range(old.shape[0]):
        slot = old[k]
        if slot != _EMPTY:
            at = slot >> shift
            while slots[at] != _EMPTY:
                at = (at + _ONE) & mask
            slots[at] = slot
