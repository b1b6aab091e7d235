# SPDX-License-Identifier: GPL-2.0-only
"""The bitmap allocator that hands out CPU interrupt vectors (kernel/irq/matrix.c, v5.10).

One bitmap row for each CPU, one column for each vector.  Regular interrupts take a bit where most
are free.  Managed interrupts reserve a bit on every CPU of their mask beforehand, and take one of
them when they start.  Bits used by the system are taken out of every row.

The allocator has no lock; callers serialize (vector_lock on x86).  Counters are unsigned 32-bit and
wrap.  "this CPU" is the CPU that executes the call.  No function here allocates more than one bit.
"""

import errno
from dataclasses import dataclass

from impl.defects import Defect
from impl.kernel.bitmap import lowest_zero
from impl.kernel.cpumask import for_each_cpu
from impl.kernel.irq.matrix_rows import CpuChoice, Cpumap
from impl.kernel.kernel import Kernel, KernelBug

__all__ = [
    "IRQ_MATRIX_BITS",
    "IrqMatrix",
    "irq_alloc_matrix",
    "irq_matrix_alloc",
    "irq_matrix_alloc_managed",
    "irq_matrix_allocated",
    "irq_matrix_assign",
    "irq_matrix_assign_system",
    "irq_matrix_available",
    "irq_matrix_free",
    "irq_matrix_offline",
    "irq_matrix_online",
    "irq_matrix_remove_managed",
    "irq_matrix_remove_reserved",
    "irq_matrix_reserve",
    "irq_matrix_reserve_managed",
    "irq_matrix_reserved",
]

IRQ_MATRIX_BITS = 256

_U32 = 0xFFFFFFFF
_NO_CPU = -1


@dataclass(slots=True)
class IrqMatrix:
    """The matrix: geometry, global counters, the system bitmap, the rows (struct irq_matrix).

    Bits are searched in [alloc_start, alloc_end).  `choice` follows what the functions of this file
    do to the rows; whoever else changes one calls its forget().
    """

    kernel: Kernel
    matrix_bits: int
    alloc_start: int
    alloc_end: int
    alloc_size: int
    maps: tuple[Cpumap, ...]
    choice: CpuChoice
    global_available: int = 0
    global_reserved: int = 0
    systembits_inalloc: int = 0
    total_allocated: int = 0
    online_maps: int = 0
    system_map: int = 0


def irq_alloc_matrix(
    kernel: Kernel, matrix_bits: int, alloc_start: int, alloc_end: int
) -> IrqMatrix | None:
    """A new matrix in which every row is offline and empty; None if it would be too wide."""
    if matrix_bits > IRQ_MATRIX_BITS:
        return None
    maps = tuple(Cpumap() for _ in range(kernel.nr_cpu_ids))
    alloc_size = alloc_end - alloc_start
    return IrqMatrix(kernel, matrix_bits, alloc_start, alloc_end, alloc_size, maps, CpuChoice(maps))


def irq_matrix_online(m: IrqMatrix) -> None:
    """Bring this CPU's row online; its first time also fixes what the row can offer.

    A BUG if the row is online.
    """
    cm = _this_map(m)
    if cm.online:
        raise KernelBug("irq_matrix_online: the row is online")
    if not cm.initialized:
        cm.available = (m.alloc_size - cm.managed - m.systembits_inalloc) & _U32
        cm.initialized = True
    m.global_available = (m.global_available + cm.available) & _U32
    cm.online = True
    m.choice.online(m.kernel.this_cpu)
    m.online_maps += 1
    _trace_global(m, "irq_matrix_online")


def irq_matrix_offline(m: IrqMatrix) -> None:
    """Take this CPU's row offline; its bits and its counters stay as they are."""
    cm = _this_map(m)
    m.global_available = (m.global_available - cm.available) & _U32
    if cm.online:
        m.choice.offline(m.kernel.this_cpu)
    cm.online = False
    m.online_maps = (m.online_maps - 1) & _U32
    _trace_global(m, "irq_matrix_offline")


def irq_matrix_assign_system(m: IrqMatrix, bit: int, replace: bool) -> None:
    """Take `bit` out of every row, for the system.

    With `replace` the bit was allocated on this CPU and moves over; `available` is not touched, as
    the bit was paid for then.  A BUG if `bit` is outside the bitmap, or more rows are online than
    the boot CPU's, or one is online without `replace`, or the replaced bit is not allocated.
    """
    cm = _this_map(m)
    limit = m.matrix_bits + (Defect.MX_D4 in m.kernel.defects)
    if bit >= limit:
        raise KernelBug(f"irq_matrix_assign_system: bit {bit} of {m.matrix_bits}")
    if m.online_maps > 1 or (m.online_maps and not replace):
        raise KernelBug(f"irq_matrix_assign_system: {m.online_maps} rows are online")
    m.system_map |= 1 << bit
    if replace:
        if not cm.alloc_map >> bit & 1:
            raise KernelBug(f"irq_matrix_assign_system: bit {bit} is not allocated")
        cm.alloc_map &= ~(1 << bit)
        cm.allocated = (cm.allocated - 1) & _U32
        m.total_allocated = (m.total_allocated - 1) & _U32
    if m.alloc_start <= bit < m.alloc_end:
        m.systembits_inalloc += 1
    _trace_global(m, "irq_matrix_assign_system", bit=bit)


def irq_matrix_reserve_managed(m: IrqMatrix, msk: int) -> int:
    """Reserve one managed bit on every CPU of `msk`, online or not; 0 or -ENOSPC.

    A failure gives back what was reserved.  It gives back the lowest idle managed bit of each row,
    which need not be the one just reserved (MX-14).
    """
    for cpu in for_each_cpu(msk):
        cm = m.maps[cpu]
        bit = _matrix_alloc_area(m, cm, managed=True)
        if bit >= m.alloc_end:
            irq_matrix_remove_managed(m, msk & ((1 << cpu) - 1))
            return -errno.ENOSPC
        cm.managed = (cm.managed + 1) & _U32
        _account_managed(m, cpu, -1)
        _trace_cpu(m, "irq_matrix_reserve_managed", bit, cpu, cm)
    return 0


def irq_matrix_remove_managed(m: IrqMatrix, msk: int) -> None:
    """Drop one idle managed bit, the lowest, on every CPU of `msk`.

    Warns and skips a CPU that has no managed bit, or none that is idle.
    """
    for cpu in for_each_cpu(msk):
        cm = m.maps[cpu]
        if not cm.managed:
            m.kernel.warn()
            continue
        bit = _lowest_idle_managed_bit(m, cm)
        if bit >= m.alloc_end:
            m.kernel.warn()
            continue
        cm.managed_map &= ~(1 << bit)
        cm.managed = (cm.managed - 1) & _U32
        _account_managed(m, cpu, 1)
        _trace_cpu(m, "irq_matrix_remove_managed", bit, cpu, cm)


def irq_matrix_alloc_managed(m: IrqMatrix, msk: int) -> tuple[int, int]:
    """Allocate a reserved managed bit on the CPU of `msk` with fewest of them in use.

    Returns (bit, CPU), or (-EINVAL, -1) for an empty mask, (-ENOSPC, -1) if no row is online or the
    chosen one has no idle managed bit.  `available` was paid at reservation.
    """
    if not msk:
        return -errno.EINVAL, _NO_CPU
    cpu = _matrix_find_best_cpu_managed(m, msk)
    if cpu == _NO_CPU:
        return -errno.ENOSPC, _NO_CPU
    cm = m.maps[cpu]
    bit = _lowest_idle_managed_bit(m, cm)
    if bit >= m.alloc_end:
        return -errno.ENOSPC, _NO_CPU
    cm.alloc_map |= 1 << bit
    cm.allocated = (cm.allocated + 1) & _U32
    _add_managed_allocated(m, cpu, 1)
    m.total_allocated = (m.total_allocated + 1) & _U32
    _trace_cpu(m, "irq_matrix_alloc_managed", bit, cpu, cm)
    return bit, cpu


def irq_matrix_assign(m: IrqMatrix, bit: int) -> None:
    """Allocate `bit` itself on this CPU, whose row must be online (legacy vectors at boot).

    Warns and returns if the bit is outside the search range or taken.
    """
    cm = _this_map(m)
    if not m.alloc_start <= bit < m.alloc_end or cm.alloc_map >> bit & 1:
        m.kernel.warn()
        return
    cm.alloc_map |= 1 << bit
    cm.allocated = (cm.allocated + 1) & _U32
    m.total_allocated = (m.total_allocated + 1) & _U32
    _add_available(m, m.kernel.this_cpu, -1)
    m.global_available = (m.global_available - 1) & _U32
    _trace_cpu(m, "irq_matrix_assign", bit, m.kernel.this_cpu, cm)


def irq_matrix_reserve(m: IrqMatrix) -> None:
    """Count one future allocation; never fails, and guarantees nothing (MX-10)."""
    m.global_reserved = (m.global_reserved + 1) & _U32
    _trace_global(m, "irq_matrix_reserve")


def irq_matrix_remove_reserved(m: IrqMatrix) -> None:
    """Take back one irq_matrix_reserve; unchecked, so the counter can wrap."""
    m.global_reserved = (m.global_reserved - 1) & _U32
    _trace_global(m, "irq_matrix_remove_reserved")


def irq_matrix_alloc(m: IrqMatrix, msk: int, reserved: bool) -> tuple[int, int]:
    """Allocate the lowest free bit of the CPU of `msk` that has most available.

    Returns (bit, CPU), or (-EINVAL, -1) for an empty mask, (-ENOSPC, -1) if no online CPU of the
    mask has anything available, or the chosen one says so and has no free bit (MX-11).  `reserved`
    uses up one irq_matrix_reserve.
    """
    if not msk:
        return -errno.EINVAL, _NO_CPU
    cpu = _matrix_find_best_cpu(m, msk)
    if cpu == _NO_CPU:
        return -errno.ENOSPC, _NO_CPU
    cm = m.maps[cpu]
    bit = _matrix_alloc_area(m, cm, managed=False)
    if bit >= m.alloc_end:
        return -errno.ENOSPC, _NO_CPU
    cm.allocated = (cm.allocated + 1) & _U32
    _add_available(m, cpu, -1)
    m.total_allocated = (m.total_allocated + 1) & _U32
    m.global_available = (m.global_available - 1) & _U32
    if reserved:
        m.global_reserved = (m.global_reserved - 1) & _U32
    _trace_cpu(m, "irq_matrix_alloc", bit, cpu, cm)
    return bit, cpu


def irq_matrix_free(m: IrqMatrix, cpu: int, bit: int, managed: bool) -> None:
    """Free `bit` on `cpu`; a managed bit stays reserved there.

    `managed` must say what kind the bit is.  Warns and returns if the bit is outside the search
    range or, repaired (MX-D3), if it is not allocated.
    """
    if not m.alloc_start <= bit < m.alloc_end:
        m.kernel.warn()
        return
    cm = m.maps[cpu]
    defects = m.kernel.defects
    if not cm.alloc_map >> bit & 1 and Defect.MX_D3 not in defects:
        m.kernel.warn()
        return
    cm.alloc_map &= ~(1 << bit)
    cm.allocated = (cm.allocated - 1) & _U32
    if managed:
        _add_managed_allocated(m, cpu, -1)
    if cm.online or Defect.MX_D2 not in defects:
        m.total_allocated = (m.total_allocated - 1) & _U32
    if not managed:
        _add_available(m, cpu, 1)
        if cm.online:
            m.global_available = (m.global_available + 1) & _U32
    _trace_cpu(m, "irq_matrix_free", bit, cpu, cm)


def irq_matrix_available(m: IrqMatrix, cpudown: bool) -> int:
    """Bits available on all online CPUs, without this one's if it is about to leave (`cpudown`)."""
    if not cpudown:
        return m.global_available
    return (m.global_available - _this_map(m).available) & _U32


def irq_matrix_reserved(m: IrqMatrix) -> int:
    """Reservations that no allocation used up yet."""
    return m.global_reserved


def irq_matrix_allocated(m: IrqMatrix) -> int:
    """Bits allocated on this CPU, managed ones included (later kernels leave those out)."""
    return _this_map(m).allocated


def _this_map(m: IrqMatrix) -> Cpumap:
    return m.maps[m.kernel.this_cpu]


def _matrix_alloc_area(m: IrqMatrix, cm: Cpumap, managed: bool) -> int:
    """Mark the lowest bit free of every use; a value behind alloc_end if there is none."""
    bit = lowest_zero(cm.managed_map | m.system_map | cm.alloc_map, m.alloc_start)
    if bit >= m.alloc_end:
        return m.alloc_end + 1
    if managed:
        cm.managed_map |= 1 << bit
    else:
        cm.alloc_map |= 1 << bit
    return bit


def _lowest_idle_managed_bit(m: IrqMatrix, cm: Cpumap) -> int:
    """The lowest managed bit that is not allocated; alloc_end if there is none."""
    idle = cm.managed_map & ~cm.alloc_map & ((1 << m.alloc_end) - 1)
    return (idle & -idle).bit_length() - 1 if idle else m.alloc_end


def _matrix_find_best_cpu(m: IrqMatrix, msk: int) -> int:
    """Most available wins; of equals the lowest CPU."""
    m.kernel.trace.emit("search", "matrix_find_best_cpu", m.kernel.this_cpu, mask=msk)
    return m.choice.most_available(msk)


def _matrix_find_best_cpu_managed(m: IrqMatrix, msk: int) -> int:
    """Fewest managed bits in use wins; of equals the highest CPU."""
    m.kernel.trace.emit("search", "matrix_find_best_cpu_managed", m.kernel.this_cpu, mask=msk)
    return m.choice.fewest_managed_allocated(msk)


def _add_available(m: IrqMatrix, cpu: int, delta: int) -> None:
    cm = m.maps[cpu]
    old = cm.available
    cm.available = (old + delta) & _U32
    m.choice.available_changed(cpu, old)


def _add_managed_allocated(m: IrqMatrix, cpu: int, delta: int) -> None:
    cm = m.maps[cpu]
    old = cm.managed_allocated
    cm.managed_allocated = (old + delta) & _U32
    m.choice.managed_allocated_changed(cpu, old)


def _account_managed(m: IrqMatrix, cpu: int, delta: int) -> None:
    # A row that was never online gets its managed bits subtracted when it comes up first.
    cm = m.maps[cpu]
    if cm.online:
        _add_available(m, cpu, delta)
        m.global_available = (m.global_available + delta) & _U32
    elif cm.initialized and Defect.MX_D1 not in m.kernel.defects:
        _add_available(m, cpu, delta)


def _global_fields(m: IrqMatrix) -> dict[str, int]:
    return {
        "online_maps": m.online_maps,
        "global_avl": m.global_available,
        "global_rsvd": m.global_reserved,
        "total_alloc": m.total_allocated,
    }


def _trace_global(m: IrqMatrix, name: str, **leading: int) -> None:
    trace = m.kernel.trace
    if trace.enabled:
        trace.emit("irq_matrix", name, m.kernel.this_cpu, **leading, **_global_fields(m))


def _trace_cpu(m: IrqMatrix, name: str, bit: int, cpu: int, cm: Cpumap) -> None:
    trace = m.kernel.trace
    if trace.enabled:
        row = {
            "bit": bit,
            "cpu": cpu,
            "online": int(cm.online),
            "avl": cm.available,
            "alloc": cm.allocated,
            "managed": cm.managed,
        }
        trace.emit("irq_matrix", name, m.kernel.this_cpu, **row, **_global_fields(m))
