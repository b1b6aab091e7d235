# SPDX-License-Identifier: GPL-2.0-only
"""The IO-APICs at boot (arch/x86/kernel/apic/io_apic.c, v5.10)."""

from impl.arch.x86.i8259 import make_8259A_irq
from impl.arch.x86.io_apic import IoApics, find_irq_entry, unmask_ioapic_irq
from impl.arch.x86.io_apic_domain import mp_irqdomain_create
from impl.arch.x86.io_apic_map import IOAPIC_MAP_ALLOC, mp_map_pin_to_irq
from impl.arch.x86.io_apic_regs import IOAPIC_LEVEL
from impl.arch.x86.irq_vectors import PIC_CASCADE_IR
from impl.arch.x86.vector import irqd_cfg
from impl.kernel.irq.irq import no_irq_chip
from impl.kernel.irq.irqdomain_activate import irq_domain_activate_irq, irq_domain_deactivate_irq
from impl.kernel.kernel import KernelBug

__all__ = ["arch_early_ioapic_init", "setup_IO_APIC"]


def arch_early_ioapic_init(a: IoApics) -> None:
    """Before the PIC is set up: no dynamic irq may be a GSI, and all irqs are the IO-APICs' without
    a PIC."""
    a.x86.domains.irqs.dynirq_base = a.gsi_top


def setup_IO_APIC(a: IoApics, *, timer: bool) -> None:
    """Create the domains and give the pins of the first IO-APIC their irqs.

    Every legacy irq but the cascade leaves the PIC.  `timer` says that irq 0 drives a clock.  A BUG
    if a domain cannot be made.  Nothing happens without an IO-APIC.
    """
    if not a.ioapics:
        return
    v = a.x86.vectors
    v.io_apic_irqs = ((1 << v.nr_legacy_irqs) - 1) & ~(1 << PIC_CASCADE_IR)
    for index in range(len(a.ioapics)):
        if mp_irqdomain_create(a, index):
            raise KernelBug(f"no domain for IO-APIC {index}")
    _setup_IO_APIC_irqs(a)
    _init_IO_APIC_traps(a)
    if v.nr_legacy_irqs and timer:
        _check_timer(a)
    a.initialized = True
    a.x86.domains.irqs.dynirq_base = a.dynirq_base
    a.trace("setup_IO_APIC")


def _setup_IO_APIC_irqs(a: IoApics) -> None:
    """Map every pin that firmware knows; only those of the first IO-APIC are allocated now."""
    for index, ioapic in enumerate(a.ioapics):
        for pin in range(ioapic.pins):
            entry = find_irq_entry(a, ioapic.gsi_base + pin)
            if entry is not None:
                flags = 0 if index else IOAPIC_MAP_ALLOC
                mp_map_pin_to_irq(a, entry, index, pin, flags, None)


def _init_IO_APIC_traps(a: IoApics) -> None:
    """Give interrupts that have a vector level without any vector back to the PIC, if it can."""
    v = a.x86.vectors
    for irq in v.irqs.active_irqs():
        desc = v.irqs.descs[irq]
        cfg = irqd_cfg(desc.irq_data)
        if irq == PIC_CASCADE_IR or cfg is None or cfg.vector:
            continue
        if irq < v.nr_legacy_irqs:
            make_8259A_irq(v, a.pic, irq)
        else:
            desc.irq_data.chip = no_irq_chip


def _check_timer(a: IoApics) -> None:
    """Let the timer, irq 0, interrupt through its pin; without one the PIC keeps it."""
    irqd = a.x86.domains.irqs.descs[0].irq_data
    a.pic.mask(0)
    entry = next((entry for entry in a.mp_irqs if entry.isa and entry.srcbusirq == 0), None)
    if entry is None or irqd.parent_data is None:
        make_8259A_irq(a.x86.vectors, a.pic, 0)
        return
    if entry.trigger == IOAPIC_LEVEL:
        unmask_ioapic_irq(a, irqd)
    irq_domain_deactivate_irq(irqd)
    irq_domain_activate_irq(irqd, False)
