# SPDX-License-Identifier: GPL-2.0-only
"""Activation of an interrupt through all of its levels (kernel/irq/irqdomain.c, v5.10)."""

from impl.kernel.irq.irq import IRQD_ACTIVATED, IRQD_CAN_RESERVE, IrqData, IrqDomain

__all__ = [
    "irq_domain_activate_irq",
    "irq_domain_deactivate_irq",
    "irqd_clr_activated",
    "irqd_clr_can_reserve",
]


def irq_domain_activate_irq(irqd: IrqData, reserve: bool) -> int:
    """Make every level ready to signal, root first; 0 or the first error (GEN-1, GEN-4).

    `reserve` asks for the least that keeps the device quiet, without taking resources.
    """
    if irqd.common.state & IRQD_ACTIVATED:
        return 0
    ret = _activate(irqd, reserve)
    if ret == 0:
        irqd.set(IRQD_ACTIVATED)
        irqd.desc.trace("irq_domain_activate_irq")
    return ret


def irq_domain_deactivate_irq(irqd: IrqData) -> None:
    """Take every level's resources back, outermost first; cannot fail."""
    if not irqd.common.state & IRQD_ACTIVATED:
        return
    _deactivate(irqd)
    irqd.clear(IRQD_ACTIVATED)
    irqd.desc.trace("irq_domain_deactivate_irq")


def irqd_clr_activated(irqd: IrqData) -> None:
    """Forget the activation without undoing it, so that the next request activates again."""
    irqd.clear(IRQD_ACTIVATED)
    irqd.desc.trace("irqd_clr_activated")


def irqd_clr_can_reserve(irqd: IrqData) -> None:
    """Demand a real resource at activation instead of a reservation."""
    irqd.clear(IRQD_CAN_RESERVE)
    irqd.desc.trace("irqd_clr_can_reserve")


def _activate(irqd: IrqData | None, reserve: bool) -> int:
    if irqd is None or irqd.domain is None:
        return 0
    domain, parent = irqd.domain, irqd.parent_data
    ret = _activate(parent, reserve)
    if ret:
        return ret
    if domain.ops.activate is not None:
        ret = domain.ops.activate(domain, irqd, reserve)
        if ret:
            _deactivate(parent)
            return ret
    _trace_level(domain, "irq_domain_activate_level", irqd)
    return 0


def _deactivate(irqd: IrqData | None) -> None:
    while irqd is not None and irqd.domain is not None:
        domain = irqd.domain
        if domain.ops.deactivate is not None:
            domain.ops.deactivate(domain, irqd)
        _trace_level(domain, "irq_domain_deactivate_level", irqd)
        irqd = irqd.parent_data


def _trace_level(domain: IrqDomain, name: str, irqd: IrqData) -> None:
    domain.domains.trace(name, irq=irqd.irq, domain=domain.id)
