# SPDX-License-Identifier: GPL-2.0-only
"""A VT-d unit, its table and the entries of interrupts (intel/irq_remapping.c, v5.10).

The hardware reads a table in memory and keeps what it read in a cache of its own, so every change
is followed by a request to drop the cached entries.  That request may fail; nobody looks at the
error, and the hardware goes on with what it has.
"""

import enum
import errno
from dataclasses import dataclass, field

from impl.arch.x86.dmar import DmarUnit
from impl.drivers.iommu.intel_irte import (
    INTR_REMAP_TABLE_ENTRIES,
    Irte,
    irte_apicid,
    pack_irte,
    unpack_irte,
)
from impl.kernel.bitmap import lowest_zero
from impl.kernel.irq.irq import IrqDomain, MsiMsg
from impl.kernel.kernel import NUMA_NO_NODE, Kernel, KernelBug

__all__ = [
    "IntelCaps",
    "IntelIommu",
    "IntelIrData",
    "IrTable",
    "Irq2Iommu",
    "IrqMode",
    "alloc_irte",
    "bitmap_find_free_region",
    "clear_entries",
    "modify_irte",
    "qi_flush_iec",
    "qi_global_iec",
]

_NO_ENTRY = (0, 0)
_INVALID = -1


class IrqMode(enum.IntEnum):
    """Which format an interrupt's table entry has (enum irq_mode)."""

    IRQ_REMAPPING = 0
    IRQ_POSTING = 1


@dataclass(frozen=True, slots=True)
class IntelCaps:
    """What a unit can do, by its capability registers.

    `ir`: remap interrupts.  `eim`: with destinations of 32 bits.  `pi`: post interrupts.
    `max_handle_mask`: log2 of the largest block.  `qi`: invalidate by a queue, which remapping
    needs.
    """

    ir: bool = True
    eim: bool = True
    pi: bool = True
    max_handle_mask: int = 15
    qi: bool = True


class IrTable:
    """The memory of a unit's table (struct ir_table).

    `base` holds the two words of each entry that is not zero, `bitmap` has a bit for each entry
    that a block owns.
    """

    __slots__ = ("base", "bitmap")

    def __init__(self) -> None:
        self.base: dict[int, tuple[int, int]] = {}
        self.bitmap = 0


class IntelIommu:
    """A VT-d unit (struct intel_iommu) together with its registers.

    `qi` says that the kernel has set the invalidation queue up, `pre_enabled` that it found the
    unit remapping already.  `fault_event` are the registers of the unit's own interrupt.

    The hardware's own: `ires` (it remaps interrupts), `cfis` (it lets messages of the compatibility
    format pass), `eime` (x2APIC mode) and `irta`, the memory of the table that it reads, which
    has the expected size if `irta_size_ok`.  `iec` is its cache of entries.  While
    `invalidation_error` is not 0 the queue answers with it, a negative errno.
    """

    __slots__ = (
        "caps",
        "cfis",
        "eime",
        "fault_event",
        "iec",
        "invalidation_error",
        "ir_domain",
        "ir_msi_domain",
        "ir_table",
        "ires",
        "irta",
        "irta_size_ok",
        "kernel",
        "node",
        "pre_enabled",
        "qi",
        "seq_id",
    )

    def __init__(
        self, kernel: Kernel, seq_id: int, caps: IntelCaps, *, node: int = NUMA_NO_NODE
    ) -> None:
        self.kernel = kernel
        self.seq_id = seq_id
        self.caps = caps
        self.node = node
        self.ir_domain: IrqDomain | None = None
        self.ir_msi_domain: IrqDomain | None = None
        self.ir_table: IrTable | None = None
        self.fault_event = DmarUnit(seq_id, node)
        self.qi = False
        self.pre_enabled = False
        self.ires = False
        self.cfis = True
        self.eime = False
        self.irta: dict[int, tuple[int, int]] = {}
        self.irta_size_ok = True
        self.iec: dict[int, tuple[int, int]] = {}
        self.invalidation_error = 0

    @property
    def table(self) -> IrTable:
        """The table of a unit that must have one; a BUG if it does not."""
        if self.ir_table is None:
            raise KernelBug(f"unit {self.seq_id} has no table")
        return self.ir_table

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of the unit."""
        kernel = self.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("irte", name, kernel.this_cpu, unit=self.seq_id, **fields)


@dataclass(slots=True)
class Irq2Iommu:
    """Which entry an interrupt uses (struct irq_2_iommu).

    Its block has 2**`irte_mask` entries from `irte_index` on, and the interrupt is number
    `sub_handle` of it.
    """

    iommu: IntelIommu
    irte_index: int = 0
    sub_handle: int = 0
    irte_mask: int = 0
    mode: IrqMode = IrqMode.IRQ_REMAPPING

    @property
    def slot(self) -> int:
        """The interrupt's own entry."""
        return self.irte_index + self.sub_handle


@dataclass(slots=True)
class IntelIrData:
    """The remapping level of one interrupt (struct intel_ir_data).

    `irte_entry` is its entry in the remapped format, whatever the table holds.  `msi_entry` is its
    message, the same for life.
    """

    irq_2_iommu: Irq2Iommu
    irte_entry: Irte = field(default_factory=Irte)
    msi_entry: MsiMsg = field(default_factory=MsiMsg)


def alloc_irte(iommu: IntelIommu, irq_iommu: Irq2Iommu | None, count: int) -> int:
    """Take the lowest free block of at least `count` entries, a power of two at such a multiple.

    Its index, also stored in `irq_iommu`; a negative number without room, for an empty block, for
    one that is larger than the unit can invalidate, and without a place to store it.
    """
    if not count or irq_iommu is None:
        return _INVALID
    mask = (count - 1).bit_length()
    if mask > iommu.caps.max_handle_mask:
        return _INVALID
    table = iommu.table
    index = bitmap_find_free_region(table.bitmap, INTR_REMAP_TABLE_ENTRIES, mask)
    if index < 0:
        return index
    table.bitmap |= (1 << (1 << mask)) - 1 << index
    irq_iommu.iommu = iommu
    irq_iommu.irte_index = index
    irq_iommu.sub_handle = 0
    irq_iommu.irte_mask = mask
    irq_iommu.mode = IrqMode.IRQ_REMAPPING
    iommu.trace("irte_alloc", index=index, mask=mask, count=count)
    return index


def bitmap_find_free_region(bitmap: int, bits: int, order: int) -> int:
    """The lowest multiple of 2**`order` at which as many bits are clear; -ENOMEM if none has room.

    The caller sets the bits.
    """
    size = 1 << order
    region = (1 << size) - 1
    start = 0
    while start + size <= bits:
        if not bitmap >> start & region:
            return start
        start = max(start + size, lowest_zero(bitmap, start) & -size)
    return -errno.ENOMEM


def modify_irte(irq_iommu: Irq2Iommu, irte: Irte) -> int:
    """Replace the interrupt's table entry and drop it from the cache; 0 or the queue's error.

    The two words cannot be stored at once, unless the posted format demands it: there, half a
    descriptor's address would be another's.
    """
    iommu, slot = irq_iommu.iommu, irq_iommu.slot
    low, high = pack_irte(irte)
    old = iommu.table.base.get(slot, _NO_ENTRY)
    if unpack_irte(*old).pst or irte.pst:
        _store(iommu, slot, (low, high), "cmpxchg_double")
    else:
        _store(iommu, slot, (low, old[1]), "set_64bit")
        _store(iommu, slot, (low, high), "set_64bit")
    iommu.trace(
        "irte_write",
        index=slot,
        present=irte.present,
        posted=irte.pst,
        vector=irte.vector,
        dest=irte_apicid(irte.dest_id, iommu.eime),
        svt=irte.svt,
        sq=irte.sq,
        sid=irte.sid,
    )
    ret = qi_flush_iec(iommu, slot, 0)
    irq_iommu.mode = IrqMode.IRQ_POSTING if irte.pst else IrqMode.IRQ_REMAPPING
    return ret


def clear_entries(irq_iommu: Irq2Iommu) -> int:
    """Give the block back if this is its first interrupt, else do nothing; 0 or the queue's error.

    The others of a block are freed in the same call behind it (INT-11).
    """
    if irq_iommu.sub_handle:
        return 0
    iommu, index, mask = irq_iommu.iommu, irq_iommu.irte_index, irq_iommu.irte_mask
    for slot in range(index, index + (1 << mask)):
        high = iommu.table.base.get(slot, _NO_ENTRY)[1]
        _store(iommu, slot, (0, high), "set_64bit")
        _store(iommu, slot, _NO_ENTRY, "set_64bit")
    iommu.table.bitmap &= ~((1 << (1 << mask)) - 1 << index)
    iommu.trace("irte_free", index=index, mask=mask)
    return qi_flush_iec(iommu, index, mask)


def qi_flush_iec(iommu: IntelIommu, index: int, mask: int) -> int:
    """Drop 2**`mask` entries from the hardware's cache; 0 or the queue's error."""
    ret = iommu.invalidation_error
    if ret == 0:
        for slot in range(index, index + (1 << mask)):
            iommu.iec.pop(slot, None)
    iommu.trace("qi_flush_iec", index=index, mask=mask, ret=ret)
    return ret


def qi_global_iec(iommu: IntelIommu) -> None:
    """Drop the hardware's whole cache, if there is a queue and it works."""
    if not iommu.qi:
        return
    ret = iommu.invalidation_error
    if ret == 0:
        iommu.iec.clear()
    iommu.trace("qi_global_iec", ret=ret)


def _store(iommu: IntelIommu, slot: int, words: tuple[int, int], how: str) -> None:
    base = iommu.table.base
    if words == _NO_ENTRY:
        base.pop(slot, None)
    else:
        base[slot] = words
    kernel = iommu.kernel
    if kernel.trace.enabled:
        low, high = words
        kernel.trace.emit(
            "irte_regs", how, kernel.this_cpu, unit=iommu.seq_id, index=slot, low=low, high=high
        )
