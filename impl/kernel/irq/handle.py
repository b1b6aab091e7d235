# SPDX-License-Identifier: GPL-2.0-only
"""The flow handlers: what happens when an interrupt arrives (kernel/irq/chip.c, v5.10)."""

from collections.abc import Callable, Mapping
from typing import Final

from impl.kernel.irq.chip import mask_ack_irq, mask_irq, unmask_irq
from impl.kernel.irq.irq import IRQD_IRQ_DISABLED, IrqDesc, irq_data_get_irq_chip

__all__ = ["generic_handle_irq_desc"]


def generic_handle_irq_desc(desc: IrqDesc) -> bool:
    """Let the interrupt's flow handler run; True if the driver's handler ran.

    An interrupt without a flow handler is a mistake: it is acknowledged, with a warning.
    """
    if desc.handler_name is None:
        return _handle_bad_irq(desc)
    return _FLOW_HANDLERS[desc.handler_name](desc)


def _unwanted(desc: IrqDesc) -> bool:
    return desc.irq_data.test(IRQD_IRQ_DISABLED) or not desc.action


def _ack(desc: IrqDesc) -> None:
    chip = irq_data_get_irq_chip(desc.irq_data)
    if chip.irq_ack is not None:
        chip.irq_ack(desc.irq_data)


def _eoi(desc: IrqDesc) -> None:
    chip = irq_data_get_irq_chip(desc.irq_data)
    if chip.irq_eoi is not None:
        chip.irq_eoi(desc.irq_data)


def _handle_edge_irq(desc: IrqDesc) -> bool:
    """Acknowledge, then handle; what nobody wants is masked too."""
    if _unwanted(desc):
        mask_ack_irq(desc)
        return False
    _ack(desc)
    return True


def _handle_fasteoi_irq(desc: IrqDesc) -> bool:
    """Handle, then acknowledge; what nobody wants is masked instead of handled."""
    unwanted = _unwanted(desc)
    if unwanted:
        mask_irq(desc)
    _eoi(desc)
    return not unwanted


def _handle_level_irq(desc: IrqDesc) -> bool:
    """Mask and acknowledge, then handle and unmask; what nobody wants stays masked."""
    mask_ack_irq(desc)
    if _unwanted(desc):
        return False
    unmask_irq(desc)
    return True


def _handle_percpu_irq(desc: IrqDesc) -> bool:
    """Acknowledge on both sides of the driver's handler, and mask never."""
    _ack(desc)
    _eoi(desc)
    return desc.action > 0


def _handle_untracked_irq(desc: IrqDesc) -> bool:
    """Handle without a word to the chip; what nobody wants is left alone."""
    return not _unwanted(desc)


def _handle_bad_irq(desc: IrqDesc) -> bool:
    desc.kernel.warn()
    _ack(desc)
    return False


_FLOW_HANDLERS: Final[Mapping[str, Callable[[IrqDesc], bool]]] = {
    "edge": _handle_edge_irq,
    "fasteoi": _handle_fasteoi_irq,
    "level": _handle_level_irq,
    "percpu": _handle_percpu_irq,
    "untracked": _handle_untracked_irq,
}
