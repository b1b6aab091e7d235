# SPDX-License-Identifier: GPL-2.0-only
"""Which two moments of a vector machine are one state: what no later operation can notice is left
out of a snapshot."""

from __future__ import annotations

from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR
from impl.kernel.irq.irq import IRQD_IRQ_STARTED, IRQD_SETAFFINITY_PENDING
from impl.snapshot import Snapshot

__all__ = ["canonical"]


def canonical(snapshot: Snapshot) -> Snapshot:
    """A machine's snapshot without what no later operation can notice: the CPU of a vector 0, a
    mask that is not pending, the message of an irq that has no vector, the order of a clean-up."""
    return (
        snapshot[0],
        snapshot[2],
        snapshot[4],
        snapshot[5],
        snapshot[6],
        tuple(tuple(sorted(waiting)) for waiting in snapshot[7]),
        tuple(_canonical_desc(row) for row in snapshot[8]),
        *snapshot[9:],
    )


_DESC = 11
_CHIP_BITS = 6


def _canonical_desc(row: Snapshot) -> Snapshot:
    irq, state, affinity, effective, node, action, depth, pending_mask = row[:8]
    if not state & IRQD_SETAFFINITY_PENDING:
        pending_mask = 0
    generic = (irq, state, affinity, node, action, depth, pending_mask, row[9], row[10])
    if len(row) == _DESC:
        return generic
    dest, cfg_vector, vector, cpu, prev_vector, prev_cpu = row[_DESC : _DESC + _CHIP_BITS]
    real = cfg_vector not in (0, MANAGED_IRQ_SHUTDOWN_VECTOR)
    return (
        *generic,
        effective if real or state & IRQD_IRQ_STARTED else 0,
        dest if real else 0,
        cfg_vector,
        vector,
        cpu if vector else 0,
        prev_vector,
        prev_cpu if prev_vector else 0,
        *row[_DESC + _CHIP_BITS :],
    )
