# SPDX-License-Identifier: GPL-2.0-only
"""A machine with the interrupt matrix and the x86 vector domain, and what drivers do to it.

The constructor boots CPU 0; the methods are the operations that the outside world can perform, one
at a time.  Results are those of the kernel function behind: 0 or a number on success, a negative
errno on failure.  Operations in process context run on the lowest online CPU; cpu_up and cpu_down
on the CPU they are about; interrupts on the CPU they reach.

The machine knows one irq_data level.  Masks are ints in which bit c stands for CPU c.
"""

import errno
from collections.abc import Collection, Iterable, Sequence

from impl.arch.x86 import smpboot
from impl.arch.x86.irq import common_interrupt
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
from impl.arch.x86.lapic import lapic_assign_legacy_vector, lapic_assign_system_vectors
from impl.arch.x86.vector import ApicChipData, VectorSpace, apic_chip_data
from impl.arch.x86.vector_domain import create_vector_domain
from impl.arch.x86.vector_move import send_cleanup_vector, sysvec_irq_move_cleanup
from impl.defects import Defect
from impl.kernel.cpumask import cpumask_first
from impl.kernel.irq import request
from impl.kernel.irq.chip import irq_set_chip_and_handler, irq_set_handler
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_AFFINITY_MANAGED,
    IRQD_IRQ_MASKED,
    IRQD_MOVE_PCNTXT,
    IrqAffinityDesc,
    IrqChip,
    IrqDesc,
)
from impl.kernel.irq.irqdesc import IrqDescTable, early_irq_init
from impl.kernel.irq.irqdomain import IrqDomains
from impl.kernel.irq.irqdomain_activate import (
    irq_domain_activate_irq,
    irqd_clr_activated,
    irqd_clr_can_reserve,
)
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs, irq_domain_free_irqs
from impl.kernel.irq.manage import (
    irq_do_set_affinity,
    irq_force_affinity,
    irq_set_affinity,
)
from impl.kernel.irq.matrix import irq_alloc_matrix
from impl.kernel.kernel import ALLOCATION_SITES, NUMA_NO_NODE, Kernel, KernelBug
from impl.snapshot import Snapshot, restore_state, take_snapshot
from impl.trace import Trace

__all__ = ["VectorMachine"]

_FLAT_CPUS = 8
_GSI_TOP = 24

i8259A_chip = IrqChip("XT-PIC")
"""The chip of legacy irqs that no IO-APIC took over; it has no affinity."""


class VectorMachine:
    """One machine; independent of every other.

    `nodes[c]` is the node of CPU c (one node if not given).  `system_vectors` are taken out of the
    matrix at boot; the default is a real kernel's for the standard geometry, none for others.
    `pic_irqs` is the mask of legacy irqs that stay with the PIC when the IO-APIC is set up, the
    cascade alone on a real machine; the others can be taken over by alloc_irqs(legacy=True).
    `housekeeping` turns isolation of managed interrupts on.  `pcntxt` lets affinity changes happen
    in process context, as behind interrupt remapping; otherwise they wait for the next interrupt.
    `gsi_top` is the first number for dynamic irqs (24 with legacy irqs, 1 without).
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
        self.pcntxt = pcntxt
        self.kernel = Kernel(
            nr_cpus,
            nodes=nodes,
            defects=frozenset(defects),
            housekeeping=housekeeping,
            trace=trace,
        )
        self.trace = self.kernel.trace
        self.irqs = IrqDescTable(self.kernel, dynirq_base=gsi_top)
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
        self._boot(system_vectors, pic_irqs)

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

    # CPUs, the PIC, memory

    def cpu_up(self, cpu: int) -> int:
        """Bring a CPU up: see impl.arch.x86.smpboot."""
        return smpboot.cpu_up(self.vectors, cpu)

    def cpu_down(self, cpu: int, irr_pending: Collection[int] = ()) -> int:
        """Take a CPU down: see impl.arch.x86.smpboot."""
        return smpboot.cpu_down(self.vectors, cpu, irr_pending)

    def make_8259A_irq(self, irq: int) -> None:
        """Boot code gives a legacy irq back to the PIC; a BUG once a second CPU is up."""
        self._process_context()
        self.vectors.io_apic_irqs &= ~(1 << irq)
        lapic_assign_legacy_vector(self.vectors, irq, True)

    def fail_next(self, site: str, nth: int = 1) -> None:
        """Let the `nth` memory allocation from now on at `site` fail (once).

        Sites are impl.kernel.kernel.ALLOCATION_SITES; ValueError for another.
        """
        if site not in ALLOCATION_SITES or nth < 1:
            raise ValueError(f"no allocation number {nth} at {site!r}")
        self.kernel.failures[site] = nth

    # State

    def snapshot(self) -> Snapshot:
        """The complete mutable state: immutable, hashable, picklable."""
        return take_snapshot(self.vectors, i8259A_chip)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to a state that a machine built with the same arguments was in."""
        restore_state(self.vectors, i8259A_chip, snapshot)

    def chip_data(self, irq: int) -> ApicChipData | None:
        """The vector level of `irq`, None if it has none."""
        desc = self._desc(irq)
        return apic_chip_data(desc.irq_data) if desc is not None else None

    def _desc(self, irq: int) -> IrqDesc | None:
        desc = self.irqs.irq_to_desc(irq)
        return desc if desc is not None and desc.irq_data.domain is not None else None

    def _process_context(self) -> None:
        self.kernel.this_cpu = cpumask_first(self.kernel.cpu_online_mask)

    def _can_take_over(self, virq: int, n: int) -> bool:
        if not 0 <= virq < virq + n <= self.vectors.nr_legacy_irqs:
            return False
        descs = [self.irqs.irq_to_desc(irq) for irq in range(virq, virq + n)]
        return all(desc is not None and desc.irq_data.domain is None for desc in descs)

    def _boot(self, system_vectors: Iterable[int], pic_irqs: int) -> None:
        v = self.vectors
        early_irq_init(self.irqs, v.nr_legacy_irqs)
        self.kernel.set_cpu_online(0, True)
        for irq in range(v.nr_legacy_irqs):
            irq_set_chip_and_handler(self.irqs.descs[irq], i8259A_chip, "edge")
            v.vector_irq[0][v.geometry.isa_irq_vector(irq)] = irq
        lapic_assign_system_vectors(v, system_vectors)
        v.io_apic_irqs = ~pic_irqs & ((1 << v.nr_legacy_irqs) - 1)
