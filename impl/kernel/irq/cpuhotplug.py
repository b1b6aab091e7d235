# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts when a CPU goes or comes (kernel/irq/cpuhotplug.c, v5.10)."""

from impl.defects import Defect
from impl.kernel.irq.chip import (
    irq_shutdown_and_deactivate,
    irq_startup,
    irqd_set_managed_shutdown,
)
from impl.kernel.irq.irq import (
    IRQD_AFFINITY_MANAGED,
    IRQD_IRQ_MASKED,
    IRQD_IRQ_STARTED,
    IRQD_MANAGED_SHUTDOWN,
    IRQD_MOVE_PCNTXT,
    IRQD_SINGLE_TARGET,
    IrqData,
    IrqDesc,
    irq_data_get_irq_chip,
    no_irq_chip,
)
from impl.kernel.irq.irqdesc import IrqDescTable
from impl.kernel.irq.manage import irq_do_set_affinity, irq_set_affinity_locked
from impl.kernel.irq.migration import irq_fixup_move_pending

__all__ = ["irq_affinity_online_cpu", "irq_migrate_all_off_this_cpu"]


def irq_migrate_all_off_this_cpu(table: IrqDescTable) -> None:
    """Move every started interrupt away from this CPU, which has left the online mask."""
    for irq in table.active_irqs():
        _migrate_one_irq(table.descs[irq])


def irq_affinity_online_cpu(table: IrqDescTable, cpu: int) -> int:
    """Start the managed interrupts that waited for `cpu`, now online; always 0."""
    for irq in table.active_irqs():
        _irq_restore_affinity_of_irq(table.descs[irq], cpu)
    return 0


def _irq_needs_fixup(irqd: IrqData) -> bool:
    """Whether the interrupt targets this CPU, or was left behind on dead CPUs earlier."""
    kernel = irqd.desc.kernel
    targets = irqd.common.effective_affinity or irqd.common.affinity
    if not targets & kernel.cpu_online_mask and targets & ~(1 << kernel.this_cpu):
        return True
    return bool(targets >> kernel.this_cpu & 1)


def _migrate_one_irq(desc: IrqDesc) -> None:
    irqd, kernel = desc.irq_data, desc.kernel
    chip = irq_data_get_irq_chip(irqd)
    if chip.irq_set_affinity is None:
        return
    completes_first = Defect.H1 not in kernel.defects
    if completes_first:
        _force_complete_move(desc)
    if not irqd.test(IRQD_IRQ_STARTED) or not _irq_needs_fixup(irqd):
        irq_fixup_move_pending(desc, False)
        return
    if not completes_first:
        _force_complete_move(desc)
    usable = irq_fixup_move_pending(desc, True)
    affinity = desc.pending_mask if usable else desc.common.affinity
    maskchip = not irqd.test(IRQD_MOVE_PCNTXT | IRQD_IRQ_MASKED)
    if maskchip and chip.irq_mask is not None:
        chip.irq_mask(irqd)
    if not affinity & kernel.cpu_online_mask:
        if irqd.test(IRQD_AFFINITY_MANAGED):
            irqd_set_managed_shutdown(desc)
            irq_shutdown_and_deactivate(desc)
            return
        affinity = kernel.cpu_online_mask
    # Not forced: a forced change could keep the interrupt on the CPU that leaves.
    ret = irq_do_set_affinity(irqd, affinity, False)
    if ret:
        desc.trace("irq_migrate_failed", ret=ret)
    if maskchip and chip.irq_unmask is not None:
        chip.irq_unmask(irqd)


def _force_complete_move(desc: IrqDesc) -> None:
    level = desc.irq_data
    while level.parent_data is not None:
        level = level.parent_data
    if level.chip is not None and level.chip.irq_force_complete_move is not None:
        level.chip.irq_force_complete_move(desc)


def _hk_should_isolate(irqd: IrqData, cpu: int) -> bool:
    """Whether isolation wants a managed interrupt to move to `cpu`, which comes up."""
    housekeeping = irqd.desc.kernel.housekeeping
    if housekeeping is None or not irqd.common.effective_affinity & ~housekeeping:
        return False
    return bool(housekeeping >> cpu & 1)


def _irq_restore_affinity_of_irq(desc: IrqDesc, cpu: int) -> None:
    irqd = desc.irq_data
    if not irqd.test(IRQD_AFFINITY_MANAGED) or not desc.action:
        return
    if irqd.chip is no_irq_chip or not desc.common.affinity >> cpu & 1:
        return
    if irqd.test(IRQD_MANAGED_SHUTDOWN):
        irq_startup(desc, force=False)
    elif not irqd.test(IRQD_SINGLE_TARGET) or _hk_should_isolate(irqd, cpu):
        irq_set_affinity_locked(irqd, desc.common.affinity, False)
