# SPDX-License-Identifier: GPL-2.0-only
"""The PIC, a pair of 8259As (arch/x86/kernel/i8259.c, v5.10)."""

from impl.arch.x86.lapic import lapic_assign_legacy_vector
from impl.arch.x86.vector import VectorSpace
from impl.kernel.irq.chip import irq_set_chip_and_handler
from impl.kernel.irq.irq import IrqChip, IrqData

__all__ = ["LegacyPic", "make_8259A_irq"]


class LegacyPic:
    """The PIC of one machine, which has `nr_legacy_irqs` lines, and its chip.

    `masked` has a bit for each line that it holds back; all of them until somebody asks.
    """

    __slots__ = ("chip", "masked")

    def __init__(self, nr_legacy_irqs: int) -> None:
        self.masked = (1 << nr_legacy_irqs) - 1
        self.chip = IrqChip(
            "XT-PIC", irq_mask=self._disable_8259A_irq, irq_unmask=self._enable_8259A_irq
        )

    def mask(self, irq: int) -> None:
        """Hold the line back (legacy_pic->mask)."""
        self.masked |= 1 << irq

    def unmask(self, irq: int) -> None:
        """Let the line through (legacy_pic->unmask)."""
        self.masked &= ~(1 << irq)

    def _disable_8259A_irq(self, irqd: IrqData) -> None:
        self.mask(irqd.irq)

    def _enable_8259A_irq(self, irqd: IrqData) -> None:
        self.unmask(irqd.irq)


def make_8259A_irq(v: VectorSpace, pic: LegacyPic, irq: int) -> None:
    """Leave a legacy irq to the PIC for good: its vector becomes the system's on every CPU.

    The line is let through if it has a handler.
    """
    desc = v.irqs.descs[irq]
    v.io_apic_irqs &= ~(1 << irq)
    irq_set_chip_and_handler(desc, pic.chip, "level")
    if desc.action:
        pic.unmask(irq)
    lapic_assign_legacy_vector(v, irq, True)
