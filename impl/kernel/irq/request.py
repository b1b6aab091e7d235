# SPDX-License-Identifier: GPL-2.0-only
"""Requests of drivers (the request half of kernel/irq/manage.c, v5.10).

One handler for each interrupt: sharing a line needs nothing of the layers below.
"""

import errno

from impl.kernel.irq.chip import irq_activate, irq_disable, irq_shutdown, irq_startup
from impl.kernel.irq.irq import IRQ_NOREQUEST, IrqDesc, no_irq_chip
from impl.kernel.irq.irqdesc import IrqDescTable
from impl.kernel.irq.irqdomain_activate import irq_domain_deactivate_irq
from impl.kernel.irq.manage import chip_bus_lock, chip_bus_sync_unlock

__all__ = ["disable_irq", "enable_irq", "free_irq", "request_irq"]


def request_irq(table: IrqDescTable, irq: int, *, autoenable: bool = True) -> int:
    """Install a handler, activate the interrupt and, with `autoenable`, start it.

    -EINVAL: no descriptor, or one that nobody may request.  -ENOSYS: no chip.  -EBUSY: it has a
    handler.  Else 0 or the error of the activation, after which no handler is installed.
    """
    desc = table.irq_to_desc(irq)
    if desc is None or desc.status & IRQ_NOREQUEST:
        return -errno.EINVAL
    if desc.irq_data.chip is no_irq_chip:
        return -errno.ENOSYS
    if desc.action:
        return -errno.EBUSY
    chip_bus_lock(desc)
    ret = _setup_irq(desc, autoenable)
    chip_bus_sync_unlock(desc)
    return ret


def free_irq(table: IrqDescTable, irq: int) -> int:
    """Remove the handler, stop the interrupt and deactivate it; -EINVAL if it has no handler."""
    desc = table.irq_to_desc(irq)
    if desc is None or not desc.action:
        return -errno.EINVAL
    chip_bus_lock(desc)
    desc.action = 0
    irq_shutdown(desc)
    chip_bus_sync_unlock(desc)
    chip_bus_lock(desc)
    irq_domain_deactivate_irq(desc.irq_data)
    chip_bus_sync_unlock(desc)
    return 0


def disable_irq(table: IrqDescTable, irq: int) -> int:
    """Nest one disable; -EINVAL without a descriptor or a handler."""
    desc = table.irq_to_desc(irq)
    if desc is None or not desc.action:
        return -errno.EINVAL
    chip_bus_lock(desc)
    if desc.depth == 0:
        irq_disable(desc)
    desc.depth += 1
    chip_bus_sync_unlock(desc)
    return 0


def enable_irq(table: IrqDescTable, irq: int) -> int:
    """Undo one disable, the last one starts the interrupt; warns if it is not disabled.

    -EINVAL without a descriptor or a handler.
    """
    desc = table.irq_to_desc(irq)
    if desc is None or not desc.action:
        return -errno.EINVAL
    chip_bus_lock(desc)
    if desc.depth == 0:
        desc.kernel.warn()
    elif desc.depth == 1:
        irq_startup(desc, force=True)
    else:
        desc.depth -= 1
    chip_bus_sync_unlock(desc)
    return 0


def _setup_irq(desc: IrqDesc, autoenable: bool) -> int:
    ret = irq_activate(desc)
    if ret:
        return ret
    if autoenable:
        irq_startup(desc, force=False)
    else:
        desc.depth = 1
    desc.action = 1
    return 0
