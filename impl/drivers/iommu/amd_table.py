# SPDX-License-Identifier: GPL-2.0-only
"""The tables of AMD-Vi: who shares one, and which entry is free (drivers/iommu/amd/iommu.c, v5.10).

A table is made when its first requester asks, and never freed.  All ids under which a device's
requests may appear have the same one (AMD-1).  Every change of an entry is followed by a request to
drop it from the hardware's cache, which cannot fail.
"""

import errno
from collections.abc import Iterable

from impl.defects import Defect
from impl.drivers.iommu.amd import AmdIommus, AmdIrData, DevTableEntry, IrqRemapTable
from impl.drivers.iommu.amd_irte import MAX_IRQS_PER_TABLE, AmdIrte
from impl.drivers.pci.pci import PciDev
from impl.kernel.kernel import KernelBug

__all__ = [
    "IOAPIC_INDICES",
    "alloc_irq_index",
    "alloc_irq_table",
    "dma_aliases",
    "free_irte",
    "modify_irte",
    "read_irte",
    "reserve_ioapic_indices",
]

IOAPIC_INDICES = 32
"""The first entries of a table that serves an IO-APIC are its pins'."""

_TABLE_LEN = MAX_IRQS_PER_TABLE.bit_length() - 1
_OLD_TABLE_LEN = 8


def dma_aliases(pdev: PciDev) -> tuple[int, ...]:
    """The ids under which a device's requests may appear, its own first."""
    return pdev.devid, *(alias for _, alias in pdev.dma_aliases)


def alloc_irq_table(amd: AmdIommus, devid: int, pdev: PciDev | None) -> IrqRemapTable | None:
    """The table of a requester, made if need be; None without a unit or without memory.

    `pdev` is the PCI device, if it is one.  While memory is allocated the lock is dropped, and
    another CPU may make the table; then the new one is thrown away.
    """
    if amd.rlookup(devid) is None:
        return None
    table = _find_irq_table(amd, devid, pdev)
    if table is not None:
        return table
    if amd.table_lock_dropped is not None:
        amd.table_lock_dropped()
    if amd.kernel.kzalloc_fails("alloc_irq_table"):
        return None
    table = _find_irq_table(amd, devid, pdev)
    if table is not None:
        return table
    table = IrqRemapTable(amd.nr_tables)
    amd.nr_tables += 1
    amd.trace("alloc_irq_table", devid=devid, table=table.id)
    _bind(amd, dma_aliases(pdev) if pdev is not None else (devid,), table)
    alias = amd.alias(devid)
    if alias != devid:
        _bind(amd, (alias,), table)
    return table


def alloc_irq_index(
    amd: AmdIommus, devid: int, count: int, align: bool, pdev: PciDev | None
) -> int:
    """Take the lowest `count` free entries in a row of the requester's table; the first one.

    With `align` it is a multiple of the next power of two, of which only `count` entries are taken
    (AMD-5).  -ENODEV without a unit or a table, -ENOSPC without room.
    """
    table = alloc_irq_table(amd, devid, pdev)
    if table is None:
        return -errno.ENODEV
    alignment = 1 << (count - 1).bit_length() if align else 1
    index = _find_free(amd, table, count, alignment)
    if index < 0:
        return index
    for slot in range(index, index + count):
        table.table[slot] = amd.format.allocated_mark
    amd.trace("alloc_irq_index", devid=devid, table=table.id, index=index, count=count)
    return index


def reserve_ioapic_indices(amd: AmdIommus, table: IrqRemapTable) -> None:
    """Keep the first entries for the pins of an IO-APIC, once.

    Whoever has one of them by then loses it: IO-APICs must come first (AMD-3).
    """
    if not table.min_index:
        table.min_index = IOAPIC_INDICES
        for slot in range(IOAPIC_INDICES):
            table.table[slot] = amd.format.allocated_mark
        amd.trace("set_min_index", table=table.id, min_index=table.min_index)


def modify_irte(
    amd: AmdIommus, devid: int, index: int, irte: AmdIrte, data: AmdIrData | None = None
) -> int:
    """Replace a table entry; `data` remembers where it is.

    0, -EINVAL without a unit, -ENOMEM without a table.
    """
    if amd.rlookup(devid) is None:
        return -errno.EINVAL
    table = _get_irq_table(amd, devid)
    if table is None:
        return -errno.ENOMEM
    _slot(table, index)
    table.table[index] = amd.format.pack(irte)
    if data is not None:
        data.ref = table
    _trace_entry(amd, devid, table, index)
    return 0


def free_irte(amd: AmdIommus, devid: int, index: int) -> None:
    """Give an entry back; nothing without a unit or a table."""
    if amd.rlookup(devid) is None:
        return
    table = _get_irq_table(amd, devid)
    if table is None:
        return
    _slot(table, index)
    table.table[index] = 0
    amd.trace("free_irte", devid=devid, table=table.id, index=index)


def read_irte(amd: AmdIommus, table: IrqRemapTable, index: int) -> AmdIrte:
    """The entry of a table."""
    return amd.format.unpack(table.table[_slot(table, index)])


def _find_irq_table(amd: AmdIommus, devid: int, pdev: PciDev | None) -> IrqRemapTable | None:
    """The table that the requester has, or that it is to share; None if one must be made."""
    tables = amd.irq_lookup_table
    if devid in tables:
        return tables[devid]
    shared: Iterable[int] = (amd.alias(devid),)
    bound: Iterable[int] = (devid,)
    if pdev is not None and Defect.AMD_ALIAS not in amd.kernel.defects:
        bound = dma_aliases(pdev)
        shared = (amd.alias(devid), *bound)
    for alias in shared:
        if alias in tables:
            table = tables[alias]
            _bind(amd, (each for each in bound if tables.get(each) is not table), table)
            return table
    return None


def _bind(amd: AmdIommus, devids: Iterable[int], table: IrqRemapTable) -> None:
    """Let requesters use a table from now on (set_remap_table_entry)."""
    short = Defect.AMD_DTE in amd.kernel.defects
    for devid in devids:
        amd.irq_lookup_table[devid] = table
        amd.dev_table[devid] = DevTableEntry(
            table=table,
            table_len=_OLD_TABLE_LEN if short else _TABLE_LEN,
            intctl=True,
            remap_enable=True,
        )
        amd.trace("set_remap_table_entry", devid=devid, table=table.id)


def _find_free(amd: AmdIommus, table: IrqRemapTable, count: int, alignment: int) -> int:
    """First fit: -ENOSPC if there is no run of `count` free entries at a multiple."""
    start = _align(table.min_index, alignment)
    while start + count <= MAX_IRQS_PER_TABLE:
        taken = _first_taken(amd, table, start, count)
        if taken is None:
            return start
        start = _align(taken + 1, alignment)
    return -errno.ENOSPC


def _first_taken(amd: AmdIommus, table: IrqRemapTable, start: int, count: int) -> int | None:
    for slot in range(start, start + count):
        if amd.format.is_allocated(table.table[slot]):
            return slot
    return None


def _align(index: int, alignment: int) -> int:
    return index + alignment - 1 & -alignment


def _get_irq_table(amd: AmdIommus, devid: int) -> IrqRemapTable | None:
    """The table of a requester that should have one; None, with a warning, if it has none."""
    table = amd.irq_lookup_table.get(devid)
    if table is None:
        amd.r.warn_once("get_irq_table")
    return table


def _slot(table: IrqRemapTable, index: int) -> int:
    """`index`, or a BUG where the kernel would write behind the table."""
    if not 0 <= index < len(table.table):
        raise KernelBug(f"table {table.id} has no entry {index}")
    return index


def _trace_entry(amd: AmdIommus, devid: int, table: IrqRemapTable, index: int) -> None:
    irte = read_irte(amd, table, index)
    amd.trace(
        "modify_irte",
        devid=devid,
        table=table.id,
        index=index,
        valid=irte.valid,
        vector=irte.vector,
        dest=irte.destination,
        guest_mode=irte.guest_mode,
    )
