# SPDX-License-Identifier: GPL-2.0-only
"""The complete mutable state of a vector machine as one immutable value.

A snapshot is nested tuples of ints: hashable, picklable, equal exactly if the states are.  What it
leaves out never changes after boot (every descriptor has the edge handler), or is dead between
operations (the executing CPU).

Both directions run millions of times in an exploration, so the fields are spelled out one by one.
"""

from typing import Any

from impl.arch.x86.vector import ApicChipData, VectorSpace
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDesc, irq_data_get_irq_chip, no_irq_chip
from impl.kernel.irq.matrix import IrqMatrix

__all__ = ["Snapshot", "restore_state", "take_snapshot"]

Snapshot = tuple[Any, ...]

_DESC_FIELDS = 11


def take_snapshot(v: VectorSpace, legacy_chip: IrqChip) -> Snapshot:
    """The state of all CPUs, the matrix, the tables, the lists and every descriptor."""
    kernel, irqs = v.kernel, v.irqs
    chip_codes = {no_irq_chip.name: 0, legacy_chip.name: 1, v.lapic_controller.name: 2}
    descs = irqs.descs
    return (
        kernel.cpu_online_mask,
        tuple(sorted(kernel.failures.items())) if kernel.failures else (),
        irqs.allocated_irqs,
        irqs.nr_irqs,
        v.io_apic_irqs,
        _matrix_snapshot(v.matrix),
        tuple([tuple(table) for table in v.vector_irq]),
        tuple([tuple(irqs_waiting) for irqs_waiting in v.cleanup_list]),
        tuple([_desc_snapshot(descs[irq], chip_codes) for irq in sorted(descs)]),
        v.x86_vector_domain.mapcount,
        _revmap_snapshot(v.x86_vector_domain.revmap_tree),
    )


def restore_state(v: VectorSpace, legacy_chip: IrqChip, snapshot: Snapshot) -> None:
    """Put the machine into the state that take_snapshot saw; the machine must be the same kind."""
    kernel, irqs = v.kernel, v.irqs
    kernel.cpu_online_mask = snapshot[0]
    kernel.failures = dict(snapshot[1])
    irqs.allocated_irqs = snapshot[2]
    irqs.nr_irqs = snapshot[3]
    v.io_apic_irqs = snapshot[4]
    _restore_matrix(v.matrix, snapshot[5])
    v.vector_irq = [list(table) for table in snapshot[6]]
    v.cleanup_list = [list(irqs_waiting) for irqs_waiting in snapshot[7]]
    chips = (no_irq_chip, legacy_chip, v.lapic_controller)
    old = irqs.descs
    descs = {}
    for row in snapshot[8]:
        irq = row[0]
        desc = old.get(irq)
        if desc is None:
            desc = IrqDesc(kernel, irq, 0, 0, 0)
            desc.handler_name = "edge"
        _restore_desc(v, desc, row, chips)
        descs[irq] = desc
    irqs.descs = descs
    v.x86_vector_domain.mapcount = snapshot[9]
    v.x86_vector_domain.revmap_tree = {hwirq: descs[irq].irq_data for hwirq, irq in snapshot[10]}


def _revmap_snapshot(tree: dict[int, IrqData]) -> Snapshot:
    return tuple(sorted([(hwirq, irqd.irq) for hwirq, irqd in tree.items()]))


def _matrix_snapshot(m: IrqMatrix) -> Snapshot:
    return (
        m.global_available,
        m.global_reserved,
        m.systembits_inalloc,
        m.total_allocated,
        m.online_maps,
        m.system_map,
        tuple(
            [
                (
                    cm.available,
                    cm.allocated,
                    cm.managed,
                    cm.managed_allocated,
                    cm.initialized,
                    cm.online,
                    cm.alloc_map,
                    cm.managed_map,
                )
                for cm in m.maps
            ]
        ),
    )


def _restore_matrix(m: IrqMatrix, snapshot: Snapshot) -> None:
    (
        m.global_available,
        m.global_reserved,
        m.systembits_inalloc,
        m.total_allocated,
        m.online_maps,
        m.system_map,
        rows,
    ) = snapshot
    m.choice.forget()
    for cm, row in zip(m.maps, rows, strict=True):
        (
            cm.available,
            cm.allocated,
            cm.managed,
            cm.managed_allocated,
            cm.initialized,
            cm.online,
            cm.alloc_map,
            cm.managed_map,
        ) = row


def _desc_snapshot(desc: IrqDesc, chip_codes: dict[str, int]) -> Snapshot:
    common, irqd = desc.common, desc.irq_data
    row = (
        desc.irq,
        common.state,
        common.affinity,
        common.effective_affinity,
        common.node,
        desc.action,
        desc.depth,
        desc.pending_mask,
        irqd.hwirq,
        chip_codes[irq_data_get_irq_chip(irqd).name],
        irqd.domain is not None,
    )
    apicd = irqd.chip_data
    if apicd is None:
        return row
    cfg = apicd.hw_irq_cfg
    return (
        *row,
        cfg.dest_apicid,
        cfg.vector,
        apicd.vector,
        apicd.cpu,
        apicd.prev_vector,
        apicd.prev_cpu,
        apicd.clist,
        apicd.move_in_progress,
        apicd.is_managed,
        apicd.can_reserve,
        apicd.has_reserved,
    )


def _restore_desc(v: VectorSpace, desc: IrqDesc, row: Snapshot, chips: tuple[IrqChip, ...]) -> None:
    common, irqd = desc.common, desc.irq_data
    common.state = row[1]
    common.affinity = row[2]
    common.effective_affinity = row[3]
    common.node = row[4]
    desc.action = row[5]
    desc.depth = row[6]
    desc.pending_mask = row[7]
    irqd.hwirq = row[8]
    irqd.chip = chips[row[9]]
    irqd.domain = v.x86_vector_domain if row[10] else None
    if len(row) == _DESC_FIELDS:
        irqd.chip_data = None
        return
    apicd = irqd.chip_data
    if apicd is None:
        apicd = irqd.chip_data = ApicChipData(desc.irq)
    cfg = apicd.hw_irq_cfg
    (
        cfg.dest_apicid,
        cfg.vector,
        apicd.vector,
        apicd.cpu,
        apicd.prev_vector,
        apicd.prev_cpu,
        apicd.clist,
        apicd.move_in_progress,
        apicd.is_managed,
        apicd.can_reserve,
        apicd.has_reserved,
    ) = row[_DESC_FIELDS:]
