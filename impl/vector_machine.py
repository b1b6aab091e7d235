# SPDX-License-Identifier: GPL-2.0-only
"""A machine with the interrupt matrix and the x86 vector domain, and what drivers do to it.

The constructor boots CPU 0; the methods are the operations that the outside world can perform, one
at a time (see also impl.bare_machine).  The machine knows one irq_data level.
"""

import errno
from collections.abc import Collection, Iterable, Sequence

from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
    X86_IRQ_ALLOC_LEGACY,
    IrqAllocInfo,
)
from impl.arch.x86.irq_vectors import (
    PIC_CASCADE_IR,
    STANDARD_GEOMETRY,
    STANDARD_SYSTEM_VECTORS,
    ApicMode,
    Geometry,
)
from impl.arch.x86.lapic import lapic_assign_legacy_vector
from impl.bare_machine import BareMachine
from impl.defects import Defect
from impl.kernel.irq.chip import irq_set_handler
from impl.kernel.irq.irq import IRQD_MOVE_PCNTXT, IrqAffinityDesc, IrqChip
from impl.kernel.irq.irqdomain_activate import (
    irq_domain_activate_irq,
    irqd_clr_activated,
    irqd_clr_can_reserve,
)
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs, irq_domain_free_irqs
from impl.kernel.kernel import NUMA_NO_NODE
from impl.snapshot import Snapshot, restore_state, take_snapshot
from impl.trace import Trace

__all__ = ["VectorMachine"]

_FLAT_CPUS = 8
_GSI_TOP = 24

i8259A_chip = IrqChip("XT-PIC")
"""The chip of legacy irqs that no IO-APIC took over; it has no affinity."""


class VectorMachine(BareMachine):
    """One machine; independent of every other.

    `nodes[c]` is the node of CPU c (one node if not given).  `system_vectors` are taken out of the
    matrix at boot; the default is a real kernel's for the standard geometry, none for others.
    `pic_irqs` is the mask of legacy irqs that stay with the PIC when the IO-APIC is set up, the
    cascade alone on a real machine; the others can be taken over by alloc_irqs(legacy=True).
    `pcntxt` lets affinity changes happen in process context, as behind interrupt remapping;
    otherwise they wait for the next interrupt.  `gsi_top` is the first number for dynamic irqs (24
    with legacy irqs, 1 without).
    """

    def __init__(
        self,
        nr_cpus: int,
        *,
        geometry: Geometry = STANDARD_GEOMETRY,
        nodes: Sequence[int] | None = None,
        system_vectors: Iterable[int] | None = None,
        nr_legacy_irqs: int = 16,
        pic_irqs: int = 1 << PIC_CASCADE_IR,
        defects: Collection[Defect] = frozenset(),
        housekeeping: int | None = None,
        pcntxt: bool = False,
        apic: ApicMode | None = None,
        disable_apic: bool = False,
        gsi_top: int | None = None,
        trace: Trace | None = None,
    ) -> None:
        if apic is None:
            apic = ApicMode.FLAT if nr_cpus <= _FLAT_CPUS else ApicMode.PHYSICAL
        if system_vectors is None:
            standard = geometry == STANDARD_GEOMETRY
            system_vectors = STANDARD_SYSTEM_VECTORS if standard else ()
        if gsi_top is None:
            gsi_top = _GSI_TOP if nr_legacy_irqs else 1
        super().__init__(
            nr_cpus,
            geometry=geometry,
            nodes=nodes,
            nr_legacy_irqs=nr_legacy_irqs,
            defects=defects,
            housekeeping=housekeeping,
            apic=apic,
            disable_apic=disable_apic,
            gsi_top=gsi_top,
            trace=trace,
        )
        self.pcntxt = pcntxt
        self._init_IRQ(i8259A_chip, "edge", system_vectors)
        self.vectors.io_apic_irqs = ~pic_irqs & ((1 << nr_legacy_irqs) - 1)

    # Allocation

    def alloc_irqs(
        self,
        n: int = 1,
        *,
        affinity: Sequence[int] | None = None,
        managed: bool = False,
        mask: int | None = None,
        contiguous: bool = False,
        legacy: bool = False,
        virq: int = -1,
        node: int = NUMA_NO_NODE,
    ) -> int:
        """Allocate `n` interrupts in the vector domain; the first irq or a negative errno.

        `affinity` gives each a mask, managed ones if `managed`.  `mask` demands a vector at once on
        one of its CPUs.  `legacy` takes over the legacy irqs from `virq` on, which must still be
        the boot code's (-EINVAL).  Otherwise a `virq` >= 0 demands that number.
        """
        if affinity is not None and len(affinity) != n:
            raise ValueError(f"{len(affinity)} masks for {n} interrupts")
        if managed and affinity is None:
            raise ValueError("a managed interrupt needs a mask")
        if legacy and not self._can_take_over(virq, n):
            return -errno.EINVAL
        self._process_context()
        descs = None
        if affinity is not None:
            descs = [IrqAffinityDesc(entry, managed) for entry in affinity]
        flags = X86_IRQ_ALLOC_CONTIGUOUS_VECTORS if contiguous else 0
        flags |= X86_IRQ_ALLOC_LEGACY if legacy else 0
        first = irq_domain_alloc_irqs(
            self.domains,
            self.vectors.x86_vector_domain,
            virq,
            n,
            node,
            IrqAllocInfo(flags=flags, mask=mask),
            realloc=legacy,
            affinity=descs,
        )
        for irq in range(first, first + n) if first >= 0 else ():
            desc = self.irqs.descs[irq]
            irq_set_handler(desc, "edge")
            if self.pcntxt:
                desc.irq_data.set(IRQD_MOVE_PCNTXT)
        return first

    def free_irqs(self, irq: int, n: int = 1) -> int:
        """Free interrupts of the vector domain and their descriptors.

        0, -EINVAL if one is not in the domain, -EBUSY if one still has a handler.
        """
        descs = [self.irqs.irq_to_desc(each) for each in range(irq, irq + n)]
        if n < 1 or not all(desc is not None and desc.irq_data.domain for desc in descs):
            return -errno.EINVAL
        if any(desc is not None and desc.action for desc in descs):
            return -errno.EBUSY
        self._process_context()
        irq_domain_free_irqs(self.domains, irq, n)
        return 0

    def early_activate(self, irq: int, can_reserve: bool) -> int:
        """What the MSI layer does to a fresh interrupt under MSI_FLAG_ACTIVATE_EARLY.

        With `can_reserve` the device gets the shutdown vector and the activation is forgotten, so
        that the request activates again; without it a real vector is taken for good.  0, -EINVAL
        without a descriptor in the domain, or the error of the activation.
        """
        desc = self._desc(irq)
        if desc is None:
            return -errno.EINVAL
        self._process_context()
        irqd = desc.irq_data
        if not can_reserve:
            irqd_clr_can_reserve(irqd)
        ret = irq_domain_activate_irq(irqd, can_reserve)
        if ret == 0 and can_reserve:
            irqd_clr_activated(irqd)
        return ret

    # The PIC

    def make_8259A_irq(self, irq: int) -> None:
        """Boot code gives a legacy irq back to the PIC; a BUG once a second CPU is up."""
        self._process_context()
        self.vectors.io_apic_irqs &= ~(1 << irq)
        lapic_assign_legacy_vector(self.vectors, irq, True)

    # State

    def snapshot(self) -> Snapshot:
        """The complete mutable state: immutable, hashable, picklable."""
        return take_snapshot(self.vectors, i8259A_chip)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to a state that a machine built with the same arguments was in."""
        restore_state(self.vectors, i8259A_chip, snapshot)

    def _can_take_over(self, virq: int, n: int) -> bool:
        if not 0 <= virq < virq + n <= self.vectors.nr_legacy_irqs:
            return False
        descs = [self.irqs.irq_to_desc(irq) for irq in range(virq, virq + n)]
        return all(desc is not None and desc.irq_data.domain is None for desc in descs)
