# SPDX-License-Identifier: GPL-2.0-only
"""Starting, stopping and handling interrupts (kernel/irq/chip.c, v5.10)."""

from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_AFFINITY_MANAGED,
    IRQD_IRQ_DISABLED,
    IRQD_IRQ_MASKED,
    IRQD_IRQ_STARTED,
    IRQD_MANAGED_SHUTDOWN,
    IrqDesc,
)
from impl.kernel.irq.irqdomain import irq_domain_activate_irq, irq_domain_deactivate_irq
from impl.kernel.irq.manage import irq_do_set_affinity, irq_setup_affinity

__all__ = [
    "handle_edge_irq",
    "irq_activate",
    "irq_disable",
    "irq_shutdown",
    "irq_shutdown_and_deactivate",
    "irq_startup",
    "irqd_set_managed_shutdown",
]


def irqd_set_managed_shutdown(desc: IrqDesc) -> None:
    """Note that a managed interrupt waits for a CPU of its mask to come online."""
    _set_managed_shutdown(desc, True)


def irq_activate(desc: IrqDesc) -> int:
    """Take the resources of an interrupt before its start; managed ones take theirs there."""
    if desc.irq_data.test(IRQD_AFFINITY_MANAGED):
        return 0
    return irq_domain_activate_irq(desc.irq_data, False)


def irq_startup(desc: IrqDesc, force: bool) -> int:
    """Start (or just enable) an interrupt; always 0 here, as no chip of this stack can fail.

    A managed interrupt without an online CPU in its mask stays shut down until one appears;
    `force` says that the caller does not expect that.
    """
    desc.depth = 0
    irqd = desc.irq_data
    if irqd.test(IRQD_IRQ_STARTED):
        _irq_enable(desc)
    elif not irqd.test(IRQD_AFFINITY_MANAGED):
        _irq_startup(desc)
        irq_setup_affinity(desc)
    elif _irq_startup_managed(desc, force):
        irq_do_set_affinity(irqd, desc.common.affinity, False)
        _irq_startup(desc)
    else:
        irqd_set_managed_shutdown(desc)
    return 0


def irq_disable(desc: IrqDesc) -> None:
    """Stop handling an interrupt, lazily: it is masked only when it fires."""
    desc.irq_data.set(IRQD_IRQ_DISABLED)


def irq_shutdown(desc: IrqDesc) -> None:
    """Mask and stop a started interrupt; it keeps its resources."""
    irqd = desc.irq_data
    if not irqd.test(IRQD_IRQ_STARTED):
        return
    desc.depth = 1
    irqd.set(IRQD_IRQ_DISABLED | IRQD_IRQ_MASKED)
    irqd.clear(IRQD_IRQ_STARTED)
    desc.trace("irq_shutdown")


def irq_shutdown_and_deactivate(desc: IrqDesc) -> None:
    """Stop an interrupt and give its resources back, also if it was never started."""
    irq_shutdown(desc)
    irq_domain_deactivate_irq(desc.irq_data)


def handle_edge_irq(desc: IrqDesc) -> bool:
    """The flow handler of edge interrupts; True if the driver's handler ran.

    One that nobody wants is masked and acknowledged.
    """
    irqd = desc.irq_data
    unwanted = irqd.test(IRQD_IRQ_DISABLED) or not desc.action
    if unwanted:
        irqd.set(IRQD_IRQ_MASKED)
    if irqd.chip.irq_ack is not None:
        irqd.chip.irq_ack(irqd)
    return not unwanted


def _irq_enable(desc: IrqDesc) -> None:
    desc.irq_data.clear(IRQD_IRQ_DISABLED | IRQD_IRQ_MASKED)


def _irq_startup(desc: IrqDesc) -> None:
    irqd = desc.irq_data
    if not irqd.test(IRQD_ACTIVATED):
        desc.kernel.warn()
    _irq_enable(desc)
    irqd.set(IRQD_IRQ_STARTED)
    desc.trace("irq_startup")


def _irq_startup_managed(desc: IrqDesc, force: bool) -> bool:
    """Whether a managed interrupt may start; it then owns its vector.

    The kernel clears MANAGED_SHUTDOWN first and its caller sets it again where this fails; nobody
    can look in between, so without a CPU it is left alone.
    """
    if not desc.common.affinity & desc.kernel.cpu_online_mask:
        if force:
            desc.kernel.warn()
        return False
    _set_managed_shutdown(desc, False)
    if irq_domain_activate_irq(desc.irq_data, False):
        desc.kernel.warn()
        return False
    return True


def _set_managed_shutdown(desc: IrqDesc, value: bool) -> None:
    irqd = desc.irq_data
    if irqd.test(IRQD_MANAGED_SHUTDOWN) == value:
        return
    irqd.common.state ^= IRQD_MANAGED_SHUTDOWN
    desc.trace("managed_shutdown", value=int(value))
