# SPDX-License-Identifier: GPL-2.0-only
"""What every machine has: CPUs, vectors and interrupts, and what happens to those.

Results are those of the kernel function behind: 0 or a number on success, a negative errno on
failure.  Operations in process context run on the lowest online CPU; cpu_up and cpu_down on the CPU
they are about; interrupts on the CPU they reach.  Masks are ints in which bit c stands for CPU c.
"""

import errno
from collections.abc import Collection, Iterable, Sequence

from impl.arch.x86 import smpboot
from impl.arch.x86.irq import common_interrupt
from impl.arch.x86.irq_vectors import ApicMode, Geometry
from impl.arch.x86.lapic import lapic_assign_system_vectors
from impl.arch.x86.vector import ApicChipData, VectorSpace, apic_chip_data
from impl.arch.x86.vector_domain import create_vector_domain
from impl.arch.x86.vector_move import send_cleanup_vector, sysvec_irq_move_cleanup
from impl.defects import Defect
from impl.kernel.cpumask import cpumask_first
from impl.kernel.irq import request
from impl.kernel.irq.chip import irq_set_chip_and_handler
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_AFFINITY_MANAGED,
    IRQD_IRQ_MASKED,
    IrqChip,
    IrqDesc,
)
from impl.kernel.irq.irqdesc import IrqDescTable, early_irq_init
from impl.kernel.irq.irqdomain import IrqDomains
from impl.kernel.irq.manage import irq_do_set_affinity, irq_force_affinity, irq_set_affinity
from impl.kernel.irq.matrix import irq_alloc_matrix
from impl.kernel.kernel import ALLOCATION_SITES, Kernel, KernelBug
from impl.trace import Trace

__all__ = ["BareMachine"]


class BareMachine:
    """CPUs, the matrix, the vector domain and descriptors; independent of every other machine.

    The constructor runs early_irq_init: the legacy irqs have descriptors, the vector domain exists,
    CPU 0 is online, and no vector is in use.  `nodes[c]` is the node of CPU c (one node if not
    given).  `housekeeping` turns isolation of managed interrupts on.  `gsi_top` is the first number
    for dynamic irqs.
    """

    def __init__(
        self,
        nr_cpus: int,
        *,
        geometry: Geometry,
        nodes: Sequence[int] | None,
        nr_legacy_irqs: int,
        defects: Collection[Defect],
        housekeeping: int | None,
        apic: ApicMode,
        disable_apic: bool,
        gsi_top: int,
        trace: Trace | None,
    ) -> None:
        self.kernel = Kernel(
            nr_cpus,
            nodes=nodes,
            defects=frozenset(defects),
            housekeeping=housekeeping,
            trace=trace,
        )
        self.trace = self.kernel.trace
        self.kernel.set_cpu_online(0, True)
        self.irqs = IrqDescTable(self.kernel, dynirq_base=gsi_top)
        early_irq_init(self.irqs, nr_legacy_irqs)
        matrix = irq_alloc_matrix(
            self.kernel, geometry.matrix_bits, geometry.alloc_start, geometry.alloc_end
        )
        if matrix is None:
            raise KernelBug("no memory for the vector matrix")
        self.matrix = matrix
        self.vectors = VectorSpace(
            self.irqs,
            matrix,
            geometry,
            nr_legacy_irqs=nr_legacy_irqs,
            apic=apic,
            disable_apic=disable_apic,
        )
        self.domains = IrqDomains(self.irqs)
        create_vector_domain(self.vectors, self.domains)

    # Use

    def request_irq(self, irq: int, *, autoenable: bool = True) -> int:
        """request_irq: see impl.kernel.irq.request."""
        self._process_context()
        return request.request_irq(self.irqs, irq, autoenable=autoenable)

    def free_irq(self, irq: int) -> int:
        """free_irq: see impl.kernel.irq.request."""
        self._process_context()
        return request.free_irq(self.irqs, irq)

    def disable_irq(self, irq: int) -> int:
        """disable_irq: see impl.kernel.irq.request."""
        self._process_context()
        return request.disable_irq(self.irqs, irq)

    def enable_irq(self, irq: int) -> int:
        """enable_irq: see impl.kernel.irq.request."""
        self._process_context()
        return request.enable_irq(self.irqs, irq)

    def set_affinity(self, irq: int, mask: int, force: bool = False) -> int:
        """Change the affinity of an interrupt that is not managed (-EIO if it is).

        irq_set_affinity, or irq_force_affinity with `force`.
        """
        desc = self.irqs.irq_to_desc(irq)
        if desc is not None and desc.irq_data.test(IRQD_AFFINITY_MANAGED):
            return -errno.EIO
        self._process_context()
        setter = irq_force_affinity if force else irq_set_affinity
        return setter(self.irqs, irq, mask)

    def set_managed_affinity(self, irq: int, mask: int, *, isolation: bool = True) -> int:
        """Move an activated managed interrupt.

        With `isolation` as the housekeeping code does: the chip is asked for the CPUs of the
        interrupt's own affinity that are in `mask`, and the affinity stays.  Without it as a driver
        does that changes the affinity, which nothing prevents and nothing expects (H7).
        -EINVAL if the interrupt is not managed or not activated.
        """
        desc = self._desc(irq)
        if desc is None or not desc.irq_data.test(IRQD_AFFINITY_MANAGED):
            return -errno.EINVAL
        self._process_context()
        if not isolation:
            return irq_set_affinity(self.irqs, irq, mask)
        if not desc.irq_data.test(IRQD_ACTIVATED):
            return -errno.EINVAL
        configured = self.kernel.housekeeping
        self.kernel.housekeeping = mask
        try:
            return irq_do_set_affinity(desc.irq_data, desc.common.affinity, False)
        finally:
            self.kernel.housekeeping = configured

    # Interrupts

    def fire(self, irq: int) -> bool:
        """The device of `irq` signals; True if its handler ran.

        The message goes where hw_irq_cfg points.  It is lost if the device is masked or that CPU
        is offline.
        """
        desc = self._desc(irq)
        apicd = self.chip_data(irq)
        if desc is None or apicd is None or desc.irq_data.test(IRQD_IRQ_MASKED):
            return False
        cfg = apicd.hw_irq_cfg
        return self.fire_vector(self.vectors.apic.cpu_of_dest(cfg.dest_apicid), cfg.vector)

    def fire_vector(self, cpu: int, vector: int) -> bool:
        """An interrupt message reaches `vector` of `cpu`; True if a handler ran."""
        geometry = self.vectors.geometry
        if cpu < 0 or not self.kernel.cpu_online(cpu) or not 0 <= vector < geometry.matrix_bits:
            return False
        self.kernel.this_cpu = cpu
        return common_interrupt(self.vectors, vector)

    def cleanup_ipi(self, cpu: int, irr_pending: Collection[int] = ()) -> bool:
        """The clean-up IPI reaches `cpu`, where `irr_pending` vectors are still undelivered.

        False, and nothing happens, if the CPU is offline.
        """
        if not self.kernel.cpu_online(cpu):
            return False
        self.kernel.this_cpu = cpu
        sysvec_irq_move_cleanup(self.vectors, irr_pending)
        return True

    def send_cleanup(self, irq: int) -> int:
        """A remapping driver ends the move of `irq` right after it retargeted the interrupt.

        0, or -EINVAL if `irq` is not in the domain.
        """
        desc = self._desc(irq)
        if desc is None:
            return -errno.EINVAL
        self._process_context()
        send_cleanup_vector(self.vectors, desc.irq_data)
        return 0

    # CPUs and memory

    def cpu_up(self, cpu: int) -> int:
        """Bring a CPU up: see impl.arch.x86.smpboot."""
        return smpboot.cpu_up(self.vectors, cpu)

    def cpu_down(self, cpu: int, irr_pending: Collection[int] = ()) -> int:
        """Take a CPU down: see impl.arch.x86.smpboot."""
        return smpboot.cpu_down(self.vectors, cpu, irr_pending)

    def fail_next(self, site: str, nth: int = 1) -> None:
        """Let the `nth` memory allocation from now on at `site` fail (once).

        Sites are impl.kernel.kernel.ALLOCATION_SITES; ValueError for another.
        """
        if site not in ALLOCATION_SITES or nth < 1:
            raise ValueError(f"no allocation number {nth} at {site!r}")
        self.kernel.failures[site] = nth

    def chip_data(self, irq: int) -> ApicChipData | None:
        """The vector level of `irq`, None if it has none."""
        desc = self._desc(irq)
        return apic_chip_data(desc.irq_data) if desc is not None else None

    def _desc(self, irq: int) -> IrqDesc | None:
        desc = self.irqs.irq_to_desc(irq)
        return desc if desc is not None and desc.irq_data.domain is not None else None

    def _process_context(self) -> None:
        self.kernel.this_cpu = cpumask_first(self.kernel.cpu_online_mask)

    def _init_IRQ(self, pic_chip: IrqChip, handler: str, system_vectors: Iterable[int]) -> None:
        """Give the legacy irqs to the PIC, and take the system's vectors out of the matrix."""
        v = self.vectors
        for irq in range(v.nr_legacy_irqs):
            irq_set_chip_and_handler(self.irqs.descs[irq], pic_chip, handler)
            v.vector_irq[0][v.geometry.isa_irq_vector(irq)] = irq
        lapic_assign_system_vectors(v, system_vectors)
