# SPDX-License-Identifier: GPL-2.0-only
"""How firmware wires interrupt lines to IO-APIC pins (mpparse.c, acpi/boot.c, v5.10).

A GSI numbers the pins of all IO-APICs through.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from impl.arch.x86.io_apic_regs import IOAPIC_EDGE, IOAPIC_POL_HIGH

__all__ = ["GsiRange", "MpIrq", "mp_config_acpi_legacy_irqs", "mp_find_ioapic"]


class GsiRange(Protocol):
    """The pins of an IO-APIC as GSIs; the first is `gsi_base`."""

    gsi_base: int
    pins: int


class MpIrq(NamedTuple):
    """An entry of the wiring table (struct mpc_intsrc): irq `srcbusirq` of a bus ends at `gsi`.

    `isa` tells the kind of bus.  `trigger` and `polarity` are IOAPIC_* values; where firmware says
    "conforming", they are the bus's.
    """

    isa: bool
    srcbusirq: int
    gsi: int
    trigger: int
    polarity: int


def mp_find_ioapic(ioapics: Sequence[GsiRange], gsi: int) -> tuple[int, int] | None:
    """The IO-APIC and the pin that serve `gsi`; None if none does."""
    for index, ioapic in enumerate(ioapics):
        if ioapic.gsi_base <= gsi < ioapic.gsi_base + ioapic.pins:
            return index, gsi - ioapic.gsi_base
    return None


def mp_config_acpi_legacy_irqs(
    told: Iterable[MpIrq], ioapics: Sequence[GsiRange], nr_legacy_irqs: int
) -> tuple[MpIrq, ...]:
    """The wiring table: what firmware tells, then the pin of its own number for each ISA irq left.

    An ISA irq gets none if it has an entry already, if the pin has one, or without such a pin.
    """
    table = list(told)
    for irq in range(nr_legacy_irqs):
        taken = any((entry.isa and entry.srcbusirq == irq) or entry.gsi == irq for entry in table)
        if not taken and mp_find_ioapic(ioapics, irq) is not None:
            table.append(MpIrq(True, irq, irq, IOAPIC_EDGE, IOAPIC_POL_HIGH))
    return tuple(table)
