# SPDX-License-Identifier: GPL-2.0-only
"""Setting the affinity of an interrupt (the affinity half of kernel/irq/manage.c, v5.10)."""

import errno
from typing import Any

from impl.defects import Defect
from impl.kernel.irq.irq import (
    IRQ_NO_BALANCING,
    IRQ_SET_MASK_OK,
    IRQ_SET_MASK_OK_DONE,
    IRQ_SET_MASK_OK_NOCOPY,
    IRQD_ACTIVATED,
    IRQD_AFFINITY_MANAGED,
    IRQD_AFFINITY_ON_ACTIVATE,
    IRQD_AFFINITY_SET,
    IRQD_MOVE_PCNTXT,
    IRQD_SETAFFINITY_PENDING,
    IrqData,
    IrqDesc,
    irq_data_get_irq_chip,
)
from impl.kernel.irq.irqdesc import IrqDescTable
from impl.kernel.kernel import NUMA_NO_NODE

__all__ = [
    "chip_bus_lock",
    "chip_bus_sync_unlock",
    "irq_do_set_affinity",
    "irq_force_affinity",
    "irq_set_affinity",
    "irq_set_affinity_locked",
    "irq_set_vcpu_affinity",
    "irq_setup_affinity",
    "irqd_clr_move_pending",
    "irqd_set_move_pending",
]

_EFFECTIVE_UNTOUCHED = -1


def chip_bus_lock(desc: IrqDesc) -> None:
    """Let the outermost chip lock its bus, if it has one that sleeps."""
    chip = irq_data_get_irq_chip(desc.irq_data)
    if chip.irq_bus_lock is not None:
        chip.irq_bus_lock(desc.irq_data)


def chip_bus_sync_unlock(desc: IrqDesc) -> None:
    """Let the outermost chip tell its device what has changed, and unlock its bus."""
    chip = irq_data_get_irq_chip(desc.irq_data)
    if chip.irq_bus_sync_unlock is not None:
        chip.irq_bus_sync_unlock(desc.irq_data)


def irqd_set_move_pending(irqd: IrqData) -> None:
    """Note that pending_mask waits for the next interrupt."""
    _set_move_pending(irqd, True)


def irqd_clr_move_pending(irqd: IrqData) -> None:
    """Note that nothing waits any more; pending_mask itself stays."""
    _set_move_pending(irqd, False)


def irq_do_set_affinity(irqd: IrqData, mask: int, force: bool) -> int:
    """Ask the chip for `mask` now; 0 or the chip's error, -EINVAL without an affinity setter.

    What is stored is the mask asked for, also where isolation let the chip see only a part of it.
    """
    chip = irq_data_get_irq_chip(irqd)
    if chip.irq_set_affinity is None:
        return -errno.EINVAL
    ret = chip.irq_set_affinity(irqd, _isolated(irqd, mask), force)
    if ret in (IRQ_SET_MASK_OK, IRQ_SET_MASK_OK_DONE):
        _store_affinity(irqd, mask, _EFFECTIVE_UNTOUCHED)
        return 0
    return 0 if ret == IRQ_SET_MASK_OK_NOCOPY else ret


def irq_set_affinity_locked(irqd: IrqData, mask: int, force: bool) -> int:
    """Change the affinity, or note the wish for later; 0 or an error of the chip.

    An interrupt that is not activated only stores the mask, the effective one included (not so
    under N16).  One that cannot move in process context, and one whose chip is busy, moves at its
    next interrupt.
    """
    if irq_data_get_irq_chip(irqd).irq_set_affinity is None:
        return -errno.EINVAL
    if _irq_set_affinity_deactivated(irqd, mask):
        return 0
    ret = 0
    if irqd.test(IRQD_MOVE_PCNTXT) and not irqd.test(IRQD_SETAFFINITY_PENDING):
        ret = _irq_try_set_affinity(irqd, mask, force)
    else:
        _irq_set_affinity_pending(irqd, mask)
    irqd.set(IRQD_AFFINITY_SET)
    return ret


def irq_set_affinity(table: IrqDescTable, irq: int, mask: int) -> int:
    """irq_set_affinity_locked by irq number; -EINVAL without a descriptor."""
    return _irq_set_affinity(table, irq, mask, False)


def irq_force_affinity(table: IrqDescTable, irq: int, mask: int) -> int:
    """Like irq_set_affinity, but a busy chip is an error instead of a wish for later."""
    return _irq_set_affinity(table, irq, mask, True)


def irq_set_vcpu_affinity(table: IrqDescTable, irq: int, vcpu_info: Any) -> int:
    """Post the interrupt to a virtual CPU by the first chip, from the outermost on, that can.

    The chip's result; -EINVAL without a descriptor, -ENOSYS if no chip can.
    """
    desc = table.irq_to_desc(irq)
    if desc is None:
        return -errno.EINVAL
    level: IrqData | None = desc.irq_data
    while level is not None:
        if level.chip is not None and level.chip.irq_set_vcpu_affinity is not None:
            return level.chip.irq_set_vcpu_affinity(level, vcpu_info)
        level = level.parent_data
    return -errno.ENOSYS


def irq_setup_affinity(desc: IrqDesc) -> int:
    """Choose where a starting interrupt goes; 0 or the chip's error, 0 if there is no choice.

    A user's choice is kept while one of its CPUs is online, and forgotten otherwise.
    """
    irqd, kernel = desc.irq_data, desc.kernel
    online = kernel.cpu_online_mask
    fixed = bool(desc.status & IRQ_NO_BALANCING)
    if fixed or irq_data_get_irq_chip(irqd).irq_set_affinity is None:
        return 0
    chosen = kernel.irq_default_affinity
    if irqd.test(IRQD_AFFINITY_MANAGED | IRQD_AFFINITY_SET):
        if desc.common.affinity & online:
            chosen = desc.common.affinity
        else:
            irqd.clear(IRQD_AFFINITY_SET)
    mask = chosen & online or online
    if desc.common.node != NUMA_NO_NODE:
        mask = mask & kernel.cpumask_of_node(desc.common.node) or mask
    return irq_do_set_affinity(irqd, mask, False)


def _set_move_pending(irqd: IrqData, pending: bool) -> None:
    if irqd.test(IRQD_SETAFFINITY_PENDING) == pending:
        return
    irqd.common.state ^= IRQD_SETAFFINITY_PENDING
    irqd.desc.trace("irq_move_pending", value=int(pending))


def _store_affinity(irqd: IrqData, mask: int, effective: int) -> None:
    irqd.common.affinity = mask
    irqd.desc.trace("irq_affinity", affinity=mask, effective=effective)


def _isolated(irqd: IrqData, mask: int) -> int:
    """What isolation leaves a managed interrupt of `mask`; all of it if no CPU of that is up."""
    kernel = irqd.desc.kernel
    if kernel.housekeeping is None or not irqd.test(IRQD_AFFINITY_MANAGED):
        return mask
    kept = mask & kernel.housekeeping
    return kept if kept & kernel.cpu_online_mask else mask


def _irq_set_affinity_deactivated(irqd: IrqData, mask: int) -> bool:
    """Whether storing `mask` was all there is to do, as the next activation will look at it."""
    if irqd.test(IRQD_ACTIVATED) or not irqd.test(IRQD_AFFINITY_ON_ACTIVATE):
        return False
    if Defect.N16 in irqd.desc.kernel.defects:
        return False
    irqd.common.effective_affinity = mask
    _store_affinity(irqd, mask, mask)
    irqd.set(IRQD_AFFINITY_SET)
    return True


def _irq_set_affinity_pending(irqd: IrqData, mask: int) -> None:
    irqd_set_move_pending(irqd)
    irqd.desc.pending_mask = mask


def _irq_try_set_affinity(irqd: IrqData, mask: int, force: bool) -> int:
    ret = irq_do_set_affinity(irqd, mask, force)
    if ret == -errno.EBUSY and not force:
        _irq_set_affinity_pending(irqd, mask)
        return 0
    return ret


def _irq_set_affinity(table: IrqDescTable, irq: int, mask: int, force: bool) -> int:
    desc = table.irq_to_desc(irq)
    if desc is None:
        return -errno.EINVAL
    if Defect.DEV_42 in desc.kernel.defects:
        return irq_set_affinity_locked(desc.irq_data, mask, force)
    chip_bus_lock(desc)
    ret = irq_set_affinity_locked(desc.irq_data, mask, force)
    chip_bus_sync_unlock(desc)
    return ret
