# SPDX-License-Identifier: GPL-2.0-only
"""The set of rows is exact, whatever the hash says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from proofs.rowset import RowSet, hash_of


def add(known: RowSet, rows: npt.NDArray[np.uint64]) -> int:
    """Add rows of which the k-th came from row k by way 7."""
    return known.add(rows, np.arange(len(rows), dtype=np.uint32), np.full(len(rows), 7))


@pytest.mark.parametrize("width", [1, 2, 5])
def test_it_agrees_with_a_set(width: int) -> None:
    rng = np.random.default_rng(width)
    known, expected = RowSet(width, 10), dict[bytes, int]()
    for _ in range(40):
        rows = rng.integers(0, 40, size=(3000, width)).astype(np.uint64)
        before = len(expected)
        for row in rows:
            expected.setdefault(row.tobytes(), len(expected))
        assert add(known, rows) == len(expected) - before
    assert [row.tobytes() for row in known.rows[: known.count]] == list(expected)


def test_rows_with_one_hash_are_different_rows() -> None:
    rng = np.random.default_rng(1)
    first = rng.integers(0, 2**63, size=3000).astype(np.uint64)
    # The hash mixes one word after the other: a second word undoes the difference of the first.
    second = np.array([_before_last(word) for word in first], dtype=np.uint64)
    rows = np.stack([first, second], axis=1)
    assert len({int(hash_of(row)) for row in rows}) == 1
    known = RowSet(2, 10)
    assert add(known, rows) == 3000
    assert add(known, rows[::-1]) == 0
    assert np.array_equal(known.rows[:3000], rows)


def _before_last(word: np.uint64) -> int:
    mixed = (0x9E3779B97F4A7C15 ^ int(word)) * 0xFF51AFD7ED558CCD % 2**64
    return mixed ^ mixed >> 32


def test_it_grows_and_remembers_where_rows_came_from() -> None:
    known = RowSet(2, 70_000)
    rows = np.arange(200_000, dtype=np.uint64).reshape(-1, 2)
    for start in range(0, 100_000, 1000):
        ways = np.arange(start, start + 1000) % 70_000
        known.add(rows[start : start + 1000], np.arange(start, start + 1000), ways)
    assert known.count == 100_000
    assert np.array_equal(known.rows[: known.count], rows)
    assert np.array_equal(known.parents[: known.count], np.arange(100_000))
    assert np.array_equal(known.instances[: known.count], np.arange(100_000) % 70_000)
    assert known.bytes() >= 100_000 * (16 + 4 + 4)


def test_too_many_rows_to_number_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofs.rowset._MOST", 10)
    with pytest.raises(OverflowError, match="number"):
        add(RowSet(1, 1), np.zeros((11, 1), dtype=np.uint64))
