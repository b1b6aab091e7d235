# SPDX-License-Identifier: GPL-2.0-only
"""CPU masks (include/linux/cpumask.h): an int in which bit c stands for CPU c."""

from functools import lru_cache

__all__ = ["cpumask_first", "cpumask_of", "for_each_cpu"]


def cpumask_of(cpu: int) -> int:
    """The mask that holds `cpu` alone."""
    return 1 << cpu


def cpumask_first(mask: int) -> int:
    """The lowest CPU of a mask that is not empty."""
    return (mask & -mask).bit_length() - 1


# Walking a mask bit by bit costs more than everything else that an operation does with it, and a
# run meets few different masks.
@lru_cache(maxsize=4096)
def for_each_cpu(mask: int) -> tuple[int, ...]:
    """The CPUs of a mask, ascending (the order of the kernel's for_each_cpu)."""
    cpus = []
    while mask:
        low = mask & -mask
        cpus.append(low.bit_length() - 1)
        mask ^= low
    return tuple(cpus)
