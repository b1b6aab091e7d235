# SPDX-License-Identifier: GPL-2.0-only
"""The x86 vector domain: data and the choice of vectors (arch/x86/kernel/apic/vector.c, v5.10).

The root of every interrupt hierarchy.  An interrupt is in one of five states: RESERVED (counted, no
vector), ASSIGNED (a vector that deactivation returns), FIXED (a vector it keeps), and for managed
ones M-RESERVED and M-ASSIGNED.  Beside that it may be moving: its old vector lives until the
clean-up (vector_move.py).

Everything runs under vector_lock; functions named *_locked and the helpers without a lock of their
own expect it to be held.  The domain's operations are in vector_domain.py.
"""

import errno
from dataclasses import dataclass

from impl.arch.x86.irq_vectors import (
    MANAGED_IRQ_SHUTDOWN_VECTOR,
    VECTOR_SHUTDOWN,
    VECTOR_UNUSED,
    ApicMode,
    Geometry,
)
from impl.defects import Defect
from impl.kernel.cpumask import cpumask_first, cpumask_of
from impl.kernel.irq.irq import (
    IRQD_AFFINITY_MANAGED,
    IRQD_CAN_RESERVE,
    IrqChip,
    IrqData,
    IrqDomain,
)
from impl.kernel.irq.irqdesc import IrqDescTable
from impl.kernel.irq.matrix import (
    IrqMatrix,
    irq_matrix_alloc,
    irq_matrix_alloc_managed,
    irq_matrix_free,
    irq_matrix_reserve,
    irq_matrix_reserve_managed,
)
from impl.kernel.kernel import NUMA_NO_NODE, Kernel, KernelBug

__all__ = [
    "NOT_HASHED",
    "ApicChipData",
    "HwIrqCfg",
    "VectorSpace",
    "apic_chip_data",
    "apic_update_irq_cfg",
    "assign_irq_vector",
    "assign_irq_vector_any_locked",
    "assign_managed_vector",
    "assign_vector_locked",
    "clear_irq_vector",
    "clist_del_init",
    "irqd_cfg",
    "lock_vector_lock",
    "reserve_irq_vector_locked",
    "reserve_managed_vector",
    "unlock_vector_lock",
    "vector_assign_managed_shutdown",
    "vector_level",
]

NOT_HASHED = -1


@dataclass(slots=True)
class HwIrqCfg:
    """Where the hardware sends an interrupt; upper levels compose their messages from it."""

    dest_apicid: int = 0
    vector: int = 0


class ApicChipData:
    """The vector level of one interrupt (struct apic_chip_data).

    `vector` 0 means none, and then `cpu` is stale; the same for the old target prev_*.  `clist` is
    the CPU whose clean-up list holds the interrupt, NOT_HASHED if none does.
    """

    __slots__ = (
        "can_reserve",
        "clist",
        "cpu",
        "has_reserved",
        "hw_irq_cfg",
        "irq",
        "is_managed",
        "move_in_progress",
        "prev_cpu",
        "prev_vector",
        "vector",
    )

    def __init__(self, irq: int) -> None:
        self.irq = irq
        self.hw_irq_cfg = HwIrqCfg()
        self.vector = 0
        self.cpu = 0
        self.prev_vector = 0
        self.prev_cpu = 0
        self.clist = NOT_HASHED
        self.move_in_progress = False
        self.is_managed = False
        self.can_reserve = False
        self.has_reserved = False


class VectorSpace:
    """The globals of the vector code of one machine.

    `vector_irq[c][v]` says who gets vector v on CPU c: an irq number or a VECTOR_* mark.
    `cleanup_list[c]` holds the irqs whose old vector on c waits for the clean-up IPI, latest first.
    `io_apic_irqs` has a bit for each legacy irq routed to an IO-APIC; the others are the PIC's.
    """

    __slots__ = (
        "apic",
        "cleanup_list",
        "disable_apic",
        "geometry",
        "io_apic_irqs",
        "irqs",
        "kernel",
        "lapic_controller",
        "matrix",
        "nr_legacy_irqs",
        "vector_irq",
        "x86_vector_domain",
    )

    def __init__(
        self,
        irqs: IrqDescTable,
        matrix: IrqMatrix,
        geometry: Geometry,
        *,
        nr_legacy_irqs: int,
        apic: ApicMode,
        disable_apic: bool = False,
    ) -> None:
        nr_cpus = irqs.kernel.nr_cpu_ids
        self.kernel: Kernel = irqs.kernel
        self.irqs = irqs
        self.matrix = matrix
        self.geometry = geometry
        self.nr_legacy_irqs = nr_legacy_irqs
        self.apic = apic
        self.disable_apic = disable_apic
        self.vector_irq = [[VECTOR_UNUSED] * geometry.matrix_bits for _ in range(nr_cpus)]
        self.cleanup_list: list[list[int]] = [[] for _ in range(nr_cpus)]
        self.io_apic_irqs = 0
        self.lapic_controller: IrqChip
        self.x86_vector_domain: IrqDomain

    def trace(self, name: str, **fields: int) -> None:
        """Emit an irq_vectors event."""
        kernel = self.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("irq_vectors", name, kernel.this_cpu, **fields)


def lock_vector_lock(v: VectorSpace) -> None:
    """Begin a section that no other vector operation can interrupt."""
    v.kernel.trace.emit("lock", "vector_lock", v.kernel.this_cpu)


def unlock_vector_lock(v: VectorSpace) -> None:
    """End the section begun by lock_vector_lock."""
    v.kernel.trace.emit("lock", "vector_unlock", v.kernel.this_cpu)


def apic_chip_data(irqd: IrqData) -> ApicChipData | None:
    """The vector level's data of an interrupt, given any of its levels."""
    while irqd.parent_data is not None:
        irqd = irqd.parent_data
    data: ApicChipData | None = irqd.chip_data
    return data


def vector_level(irqd: IrqData) -> ApicChipData:
    """apic_chip_data of an interrupt that must have it; a BUG if it does not."""
    apicd = apic_chip_data(irqd)
    if apicd is None:
        raise KernelBug(f"irq {irqd.irq} has no vector level")
    return apicd


def irqd_cfg(irqd: IrqData) -> HwIrqCfg | None:
    """The hardware target of an interrupt, given any of its levels."""
    apicd = apic_chip_data(irqd)
    return apicd.hw_irq_cfg if apicd is not None else None


def apic_update_irq_cfg(v: VectorSpace, irqd: IrqData, vector: int, cpu: int) -> None:
    """Aim the hardware at `vector` on `cpu`."""
    cfg = vector_level(irqd).hw_irq_cfg
    cfg.vector = vector
    cfg.dest_apicid = v.apic.calc_dest_apicid(cpu)
    irqd.common.effective_affinity = cpumask_of(cpu)
    v.trace("vector_config", irq=irqd.irq, vector=vector, cpu=cpu, apicdest=cfg.dest_apicid)


def vector_assign_managed_shutdown(v: VectorSpace, irqd: IrqData) -> None:
    """Aim the hardware at the shutdown vector, where a stray interrupt harms nobody."""
    cpu = cpumask_first(v.kernel.cpu_online_mask)
    apic_update_irq_cfg(v, irqd, MANAGED_IRQ_SHUTDOWN_VECTOR, cpu)


def reserve_managed_vector(v: VectorSpace, irqd: IrqData) -> int:
    """Reserve a bit on every CPU of the interrupt's affinity; 0 or -ENOSPC."""
    lock_vector_lock(v)
    vector_level(irqd).is_managed = True
    ret = irq_matrix_reserve_managed(v.matrix, irqd.common.affinity)
    unlock_vector_lock(v)
    v.trace("vector_reserve_managed", irq=irqd.irq, ret=ret)
    return ret


def reserve_irq_vector_locked(v: VectorSpace, irqd: IrqData) -> None:
    """Put the interrupt into RESERVED: counted globally, without a vector; never fails."""
    apicd = vector_level(irqd)
    irq_matrix_reserve(v.matrix)
    apicd.can_reserve = True
    apicd.has_reserved = True
    irqd.set(IRQD_CAN_RESERVE)
    v.trace("vector_reserve", irq=irqd.irq, ret=0)
    vector_assign_managed_shutdown(v, irqd)


def assign_vector_locked(v: VectorSpace, irqd: IrqData, dest: int) -> int:
    """Give the interrupt a vector on a CPU of `dest`, unless it has one there already.

    0, -EBUSY while its last move is not cleaned up (VEC-20), or an error of irq_matrix_alloc.
    has_reserved stays, although the reservation is used up: the caller clears it.
    """
    apicd = vector_level(irqd)
    if apicd.vector and v.kernel.cpu_online(apicd.cpu) and dest >> apicd.cpu & 1:
        _stay(v, irqd, apicd)
        return 0
    if _move_pending(apicd):
        return -errno.EBUSY
    vector, cpu = irq_matrix_alloc(v.matrix, dest, apicd.has_reserved)
    v.trace(
        "vector_alloc",
        irq=irqd.irq,
        vector=max(vector, 0),
        reserved=int(apicd.has_reserved),
        ret=min(vector, 0),
    )
    if vector < 0:
        return vector
    _apic_update_vector(v, irqd, vector, cpu)
    apic_update_irq_cfg(v, irqd, vector, cpu)
    return 0


def assign_irq_vector(v: VectorSpace, irqd: IrqData, dest: int) -> int:
    """assign_vector_locked on the online CPUs of `dest`."""
    lock_vector_lock(v)
    ret = assign_vector_locked(v, irqd, dest & v.kernel.cpu_online_mask)
    unlock_vector_lock(v)
    return ret


def assign_irq_vector_any_locked(v: VectorSpace, irqd: IrqData) -> int:
    """Find a vector anywhere, preferring node and affinity over affinity over node over nothing.

    Under N11 the node comes before the affinity.  0 or the error of the last attempt, on all online
    CPUs.
    """
    kernel, node = v.kernel, irqd.common.node
    affinity = irqd.common.affinity
    nodemask, online = kernel.cpumask_of_node(node), affinity & kernel.cpu_online_mask
    masks: tuple[int, ...]
    if node == NUMA_NO_NODE:
        masks = (online,)
    elif Defect.N11 in kernel.defects:
        masks = (nodemask & affinity, nodemask, online)
    else:
        masks = (nodemask & affinity, online, nodemask)
    for mask in masks:
        if assign_vector_locked(v, irqd, mask) == 0:
            return 0
    return assign_vector_locked(v, irqd, kernel.cpu_online_mask)


def assign_managed_vector(v: VectorSpace, irqd: IrqData, dest: int) -> int:
    """Give a managed interrupt one of its reserved vectors on a CPU of `dest`.

    Only CPUs of its affinity count.  0, an error of irq_matrix_alloc_managed or, repaired (H4),
    -EBUSY while its last move is not cleaned up.
    """
    apicd = vector_level(irqd)
    searchmask = dest & irqd.common.affinity
    if apicd.vector and searchmask >> apicd.cpu & 1:
        _stay(v, irqd, apicd)
        return 0
    if _move_pending(apicd) and Defect.H4 not in v.kernel.defects:
        return -errno.EBUSY
    vector, cpu = irq_matrix_alloc_managed(v.matrix, searchmask)
    v.trace("vector_alloc_managed", irq=irqd.irq, vector=max(vector, 0), ret=min(vector, 0))
    if vector < 0:
        return vector
    _apic_update_vector(v, irqd, vector, cpu)
    apic_update_irq_cfg(v, irqd, vector, cpu)
    return 0


def clear_irq_vector(v: VectorSpace, irqd: IrqData) -> None:
    """Give back the interrupt's vector and that of a move under way; nothing if it has none.

    The slots are marked so that one late interrupt on each is forgiven.
    """
    apicd = vector_level(irqd)
    if not apicd.vector:
        return
    managed = irqd.test(IRQD_AFFINITY_MANAGED)
    v.trace(
        "vector_clear",
        irq=irqd.irq,
        vector=apicd.vector,
        cpu=apicd.cpu,
        prev_vector=apicd.prev_vector,
        prev_cpu=apicd.prev_cpu,
    )
    v.vector_irq[apicd.cpu][apicd.vector] = VECTOR_SHUTDOWN
    irq_matrix_free(v.matrix, apicd.cpu, apicd.vector, managed)
    apicd.vector = 0
    if not apicd.prev_vector:
        return
    v.vector_irq[apicd.prev_cpu][apicd.prev_vector] = VECTOR_SHUTDOWN
    irq_matrix_free(v.matrix, apicd.prev_cpu, apicd.prev_vector, managed)
    apicd.prev_vector = 0
    apicd.move_in_progress = False
    clist_del_init(v, apicd)


def clist_del_init(v: VectorSpace, apicd: ApicChipData) -> None:
    """Take the interrupt off the clean-up list it was last put on, if any."""
    if apicd.clist != NOT_HASHED:
        v.cleanup_list[apicd.clist].remove(apicd.irq)
        apicd.clist = NOT_HASHED


def _stay(v: VectorSpace, irqd: IrqData, apicd: ApicChipData) -> None:
    """The vector is in place; the effective affinity need not be (H9)."""
    own = cpumask_of(apicd.cpu)
    if irqd.common.effective_affinity != own and Defect.H9 not in v.kernel.defects:
        irqd.common.effective_affinity = own
        v.trace("irq_data_update_effective_affinity", irq=irqd.irq)


def _move_pending(apicd: ApicChipData) -> bool:
    return apicd.move_in_progress or apicd.clist != NOT_HASHED


def _apic_update_vector(v: VectorSpace, irqd: IrqData, newvec: int, newcpu: int) -> None:
    """Make (newcpu, newvec) the interrupt's vector; the old one lives on until the clean-up.

    An old vector on a CPU that is offline is freed at once, as no interrupt will end that move.
    """
    apicd = vector_level(irqd)
    v.trace(
        "vector_update",
        irq=irqd.irq,
        vector=newvec,
        cpu=newcpu,
        prev_vector=apicd.vector,
        prev_cpu=apicd.cpu,
    )
    apicd.prev_vector = 0
    if apicd.vector:
        if v.kernel.cpu_online(apicd.cpu):
            apicd.move_in_progress = True
            apicd.prev_vector = apicd.vector
            apicd.prev_cpu = apicd.cpu
            if apicd.cpu == newcpu:
                v.kernel.warn()
        else:
            managed = irqd.test(IRQD_AFFINITY_MANAGED)
            irq_matrix_free(v.matrix, apicd.cpu, apicd.vector, managed)
    apicd.vector = newvec
    apicd.cpu = newcpu
    if v.vector_irq[newcpu][newvec] >= 0:
        raise KernelBug(f"vector {newvec} of CPU {newcpu} has an owner")
    v.vector_irq[newcpu][newvec] = irqd.irq
