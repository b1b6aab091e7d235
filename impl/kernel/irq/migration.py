# SPDX-License-Identifier: GPL-2.0-only
"""Affinity changes that wait for the next interrupt (kernel/irq/migration.c, v5.10)."""

import errno

from impl.kernel.irq.irq import IRQD_IRQ_DISABLED, IRQD_SETAFFINITY_PENDING, IrqData, IrqDesc
from impl.kernel.irq.manage import irq_do_set_affinity, irqd_clr_move_pending, irqd_set_move_pending

__all__ = ["irq_fixup_move_pending", "irq_move_irq"]


def irq_fixup_move_pending(desc: IrqDesc, force_clear: bool) -> bool:
    """Whether the pending mask of `desc` is still of use, for the CPU take-down.

    A pending move without an online target is dropped, and any is with `force_clear`.
    """
    irqd = desc.irq_data
    if not irqd.test(IRQD_SETAFFINITY_PENDING):
        return False
    usable = bool(desc.pending_mask & desc.kernel.cpu_online_mask)
    if force_clear or not usable:
        irqd_clr_move_pending(irqd)
    return usable


def irq_move_irq(irqd: IrqData) -> None:
    """Carry out a pending affinity change, on the CPU that took the interrupt.

    The chip is masked meanwhile unless it is already; that touches the device only, never
    IRQD_IRQ_MASKED.  -EBUSY of the chip leaves the change pending for the next interrupt (GEN-7).
    """
    data = irqd.desc.irq_data
    if data.test(IRQD_SETAFFINITY_PENDING) and not data.test(IRQD_IRQ_DISABLED):
        _irq_move_masked_irq(data)


def _irq_move_masked_irq(data: IrqData) -> None:
    desc = data.desc
    irqd_clr_move_pending(data)
    if not desc.pending_mask or data.chip.irq_set_affinity is None:
        return
    if desc.pending_mask & desc.kernel.cpu_online_mask:
        ret = irq_do_set_affinity(data, desc.pending_mask, False)
        if ret == -errno.EBUSY:
            irqd_set_move_pending(data)
            return
    desc.pending_mask = 0
