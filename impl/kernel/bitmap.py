# SPDX-License-Identifier: GPL-2.0-only
"""Searches in bitmaps (lib/bitmap.c, lib/find_bit.c): an int in which bit i stands for item i.

A bitmap has no end here: behind its highest set bit everything is clear, so a search always finds
something, and the caller compares the result with its own limit.
"""

__all__ = ["find_next_zero_area", "lowest_zero"]


def lowest_zero(bitmap: int, start: int) -> int:
    """The lowest clear bit at or above `start` (find_next_zero_bit).

    pre: bitmap >= 0 and start >= 0
    post: _ >= start and not bitmap >> _ & 1
    post: all(bitmap >> taken & 1 for taken in range(start, _))
    """
    taken = bitmap >> start
    return start + (~taken & (taken + 1)).bit_length() - 1


def find_next_zero_area(bitmap: int, start: int, count: int) -> int:
    """The lowest start, at or above `start`, of `count` clear bits in a row.

    As bitmap_find_next_zero_area without an alignment.

    pre: bitmap >= 0 and start >= 0 and count >= 1
    post: _ >= start and not bitmap >> _ & (1 << count) - 1
    post: all(bitmap >> lower & (1 << count) - 1 for lower in range(start, _))
    """
    taken = bitmap >> start
    blocked = taken
    for shift in range(1, count):
        blocked |= taken >> shift
    return start + lowest_zero(blocked, 0)
