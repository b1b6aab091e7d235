# SPDX-License-Identifier: GPL-2.0-only
"""The interrupt mode, and its set-up at boot (arch/x86/kernel/apic/apic.c, v5.10)."""

import enum

from impl.arch.x86.io_apic import IoApics
from impl.arch.x86.io_apic_setup import setup_IO_APIC
from impl.arch.x86.irq_vectors import PIC_CASCADE_IR
from impl.arch.x86.lapic import lapic_assign_legacy_vector
from impl.arch.x86.x86_init import X86Platform, run_apic_post_init

__all__ = ["ApicIntrMode", "apic_intr_mode_init"]


class ApicIntrMode(enum.IntEnum):
    """How the PIC's interrupts reach the CPUs (enum apic_intr_mode_id)."""

    PIC = 0
    """Without a local APIC."""
    VIRTUAL_WIRE = 1
    """Through the local APIC of the boot CPU."""
    VIRTUAL_WIRE_NO_CONFIG = 2
    """The same, where firmware describes no further CPU."""
    SYMMETRIC_IO = 3
    """Through the IO-APICs."""
    SYMMETRIC_IO_NO_ROUTING = 4
    """The same, with one CPU only."""

    @property
    def smp(self) -> bool:
        """Whether other CPUs than the first are brought up."""
        return self in (ApicIntrMode.VIRTUAL_WIRE, ApicIntrMode.SYMMETRIC_IO)


def apic_intr_mode_init(a: IoApics, mode: ApicIntrMode, *, timer: bool) -> None:
    """Switch to `mode`; `timer` says that irq 0 drives a clock.

    The platform's hook runs once, in whatever mode but PIC, when routing is settled.  Remapping is
    on before the IO-APICs look for their parents.
    """
    x86 = a.x86
    if mode is ApicIntrMode.PIC:
        x86.trace("pic_mode_kept")
        return
    if mode is not ApicIntrMode.SYMMETRIC_IO_NO_ROUTING:
        _default_setup_apic_routing(x86)
    run_apic_post_init(x86)
    x86.trace("apic_bsp_setup")
    if x86.init.irq_remap_enable_fault_handling is not None:
        x86.init.irq_remap_enable_fault_handling()
    setup_IO_APIC(a, timer=timer)
    _lapic_update_legacy_vectors(a)


def _default_setup_apic_routing(x86: X86Platform) -> None:
    """Remapping comes first, as it decides whether the x2APIC mode can be used."""
    if x86.init.enable_IR_x2apic is not None:
        x86.init.enable_IR_x2apic()
    x86.trace("default_setup_apic_routing")


def _lapic_update_legacy_vectors(a: IoApics) -> None:
    """Without IO-APICs the PIC may interrupt any CPU, so its vectors are nobody else's anywhere.

    Later kernels do so; v5.10 may hand such a vector out, and finds the slot taken.
    """
    if a.ioapics:
        return
    for irq in range(a.x86.vectors.nr_legacy_irqs):
        if irq != PIC_CASCADE_IR:
            lapic_assign_legacy_vector(a.x86.vectors, irq, True)
