# SPDX-License-Identifier: GPL-2.0-only
"""What firmware tells the kernel about the IO-APICs of a machine, made from its description."""

from collections.abc import Sequence

from impl.arch.x86.io_apic import IoApic, IoApicDomainType
from impl.arch.x86.io_apic_regs import (
    IOAPIC_EDGE,
    IOAPIC_LEVEL,
    IOAPIC_POL_HIGH,
    IOAPIC_POL_LOW,
)
from impl.arch.x86.mpparse import MpIrq, mp_config_acpi_legacy_irqs
from impl.machine_parts import IoApicDescription, MpIrqDescription

__all__ = ["build_ioapics", "build_mp_irqs"]

_TRIGGERS = {"edge": IOAPIC_EDGE, "level": IOAPIC_LEVEL}
_POLARITIES = {"high": IOAPIC_POL_HIGH, "low": IOAPIC_POL_LOW}
_CONFORMING = {"isa": (IOAPIC_EDGE, IOAPIC_POL_HIGH), "pci": (IOAPIC_LEVEL, IOAPIC_POL_LOW)}


def build_ioapics(parts: Sequence[IoApicDescription]) -> tuple[IoApic, ...]:
    """The IO-APICs, all pins masked."""
    return tuple(
        IoApic(part.id, part.gsi_base, part.pins, IoApicDomainType(part.type)) for part in parts
    )


def build_mp_irqs(
    parts: Sequence[MpIrqDescription], ioapics: Sequence[IoApic], nr_legacy_irqs: int
) -> tuple[MpIrq, ...]:
    """The wiring table."""
    return mp_config_acpi_legacy_irqs(map(_mp_irq, parts), ioapics, nr_legacy_irqs)


def _mp_irq(part: MpIrqDescription) -> MpIrq:
    trigger, polarity = _CONFORMING[part.bus]
    return MpIrq(
        part.bus == "isa",
        part.irq,
        part.gsi,
        _TRIGGERS.get(part.trigger, trigger),
        _POLARITIES.get(part.polarity, polarity),
    )
