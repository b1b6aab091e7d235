# SPDX-License-Identifier: GPL-2.0-only
"""What a platform may replace while an x86 machine boots (arch/x86/kernel/x86_init.c, v5.10)."""

from collections.abc import Callable
from dataclasses import dataclass

from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.arch.x86.vector import VectorSpace
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain import IrqDomains

__all__ = ["X86Init", "X86Platform", "no_irq_remapping", "run_apic_post_init"]


def no_irq_remapping(info: IrqAllocInfo) -> IrqDomain | None:
    """irq_remapping_get_irq_domain of a machine without interrupt remapping: there is no domain."""
    return None


@dataclass(slots=True)
class X86Init:
    """The hooks of struct x86_init_ops, and those of interrupt remapping.

    `create_pci_msi_domain` makes the default PCI/MSI domain, None stands for the native one.
    `arch_init` is x86_init.pci.arch_init: 0 ends the PCI initialization there, another value lets
    it go on; it may replace `create_pci_msi_domain`.  `apic_post_init` runs when the interrupt
    mode is settled.  `irq_remapping_get_irq_domain` finds the parent domain for a device that no
    bus knows.  `enable_IR_x2apic` switches remapping on while routing is set up, and the x2APIC
    mode; `irq_remap_enable_fault_handling` gives the units their own interrupts.
    """

    create_pci_msi_domain: Callable[["X86Platform"], IrqDomain | None] | None = None
    arch_init: Callable[["X86Platform"], int] | None = None
    apic_post_init: Callable[["X86Platform"], None] | None = None
    irq_remapping_get_irq_domain: Callable[[IrqAllocInfo], IrqDomain | None] = no_irq_remapping
    enable_IR_x2apic: Callable[[], None] | None = None
    irq_remap_enable_fault_handling: Callable[[], None] | None = None


class X86Platform:
    """The globals of the x86 code above the vector domain, of one machine.

    `pci_msi_default_domain` (x86_pci_msi_default_domain) serves PCI devices whose bus names no
    other; `dmar_domain` is made when first needed.  `lapic_irr` has (cpu, vector) for each
    interrupt that a local APIC has taken and not yet delivered; the environment writes it.
    """

    __slots__ = (
        "dmar_domain",
        "domains",
        "init",
        "kernel",
        "lapic_irr",
        "pci_msi_default_domain",
        "vectors",
    )

    def __init__(
        self, domains: IrqDomains, vectors: VectorSpace, init: X86Init | None = None
    ) -> None:
        self.domains = domains
        self.vectors = vectors
        self.kernel = domains.kernel
        self.init = init if init is not None else X86Init()
        self.pci_msi_default_domain: IrqDomain | None = None
        self.dmar_domain: IrqDomain | None = None
        self.lapic_irr: set[tuple[int, int]] = set()

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of the boot."""
        kernel = self.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("init", name, kernel.this_cpu, **fields)


def run_apic_post_init(x86: X86Platform) -> None:
    """Tell the platform that the interrupt mode is settled: once, unless the PIC keeps it."""
    if x86.init.apic_post_init is not None:
        x86.init.apic_post_init(x86)
    x86.trace("apic_post_init")
