# SPDX-License-Identifier: GPL-2.0-only
"""Affinity changes that wait for the next interrupt (kernel/irq/migration.c, v5.10)."""

import errno

from impl.kernel.irq.irq import (
    IRQD_IRQ_DISABLED,
    IRQD_IRQ_MASKED,
    IRQD_SETAFFINITY_PENDING,
    IrqData,
    IrqDesc,
    irq_data_get_irq_chip,
)
from impl.kernel.irq.manage import irq_do_set_affinity, irqd_clr_move_pending, irqd_set_move_pending

__all__ = ["irq_fixup_move_pending", "irq_move_irq", "irq_move_masked_irq"]


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
        _irq_move_irq(data)


def _irq_move_irq(data: IrqData) -> None:
    chip = irq_data_get_irq_chip(data)
    masked = data.test(IRQD_IRQ_MASKED)
    if not masked and chip.irq_mask is not None:
        chip.irq_mask(data)
    irq_move_masked_irq(data)
    if not masked and chip.irq_unmask is not None:
        chip.irq_unmask(data)


def irq_move_masked_irq(data: IrqData) -> None:
    """Carry out a pending affinity change of an interrupt whose chip is masked."""
    if not data.test(IRQD_SETAFFINITY_PENDING):
        return
    desc = data.desc
    irqd_clr_move_pending(data)
    if not desc.pending_mask or irq_data_get_irq_chip(data).irq_set_affinity is None:
        return
    if desc.pending_mask & desc.kernel.cpu_online_mask:
        ret = irq_do_set_affinity(data, desc.pending_mask, False)
        if ret == -errno.EBUSY:
            irqd_set_move_pending(data)
            return
    desc.pending_mask = 0
