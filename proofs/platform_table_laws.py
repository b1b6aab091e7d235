# SPDX-License-Identifier: GPL-2.0-only
"""What remapping tables keep to between operations: each live entry belongs to one live interrupt,
which names it in its message and whose target it holds (sections 3.8, 4.8 and 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR
from impl.arch.x86.vector import HwIrqCfg, vector_level
from impl.drivers.iommu.amd import AmdIrData
from impl.drivers.iommu.amd_irte import MAX_IRQS_PER_TABLE
from impl.drivers.iommu.amd_table import IOAPIC_INDICES, read_irte
from impl.drivers.iommu.intel_irte import (
    INTR_REMAP_TABLE_ENTRIES,
    Irte,
    decode_ir_msi_msg,
    ir_hwirq,
    irte_apicid,
    is_remappable,
    unpack_irte,
)
from impl.drivers.iommu.intel_table import IntelIommu, IntelIrData, IrqMode
from impl.kernel.irq.irq import IRQD_ACTIVATED, IrqData, IrqDesc
from impl.machine import Machine
from proofs.hierarchy_layer import levels
from proofs.hunted_laws import Law

__all__ = ["TABLE_LAWS"]

Broken = Iterator[str]


# --- VT-d -----------------------------------------------------------------------------------


class _Remapped(NamedTuple):
    """An interrupt with an entry of a VT-d unit."""

    desc: IrqDesc
    level: IrqData
    data: IntelIrData

    @property
    def iommu(self) -> IntelIommu:
        return self.data.irq_2_iommu.iommu

    @property
    def entry(self) -> Irte:
        """What the table holds."""
        return unpack_irte(*self.iommu.table.base.get(self.data.irq_2_iommu.slot, (0, 0)))

    @property
    def cfg(self) -> HwIrqCfg:
        return vector_level(self.level).hw_irq_cfg

    def aims(self, irte: Irte) -> bool:
        """The entry leads to the interrupt's target."""
        apicid = irte_apicid(irte.dest_id, self.iommu.eime)
        return (irte.vector, apicid) == (self.cfg.vector, self.cfg.dest_apicid)


def _remapped(machine: Machine) -> Iterator[_Remapped]:
    for desc in machine.irqs.descs.values():
        for level in levels(desc.irq_data):
            if isinstance(level.chip_data, IntelIrData):
                yield _Remapped(desc, level, level.chip_data)


def _units(machine: Machine) -> list[IntelIommu]:
    known = machine.remapping.intel.dmar.iommus if machine.remapping is not None else []
    return [iommu for iommu in known if iommu.ir_table is not None]


def _blocks(machine: Machine) -> Broken:
    """The blocks of live interrupts, each counted once, are what is taken."""
    heads = [each for each in _remapped(machine) if not each.data.irq_2_iommu.sub_handle]
    for iommu in _units(machine):
        taken = 0
        for where in (each.data.irq_2_iommu for each in heads if each.iommu is iommu):
            block = (1 << (1 << where.irte_mask)) - 1 << where.irte_index
            if taken & block:
                yield f"entry {where.irte_index} of unit {iommu.seq_id} is in two blocks"
            taken |= block
        if taken != iommu.table.bitmap:
            yield f"unit {iommu.seq_id} has taken {iommu.table.bitmap:#x}, its irqs {taken:#x}"


def _shapes(machine: Machine) -> Broken:
    sizes = Counter(
        (each.iommu.seq_id, each.data.irq_2_iommu.irte_index) for each in _remapped(machine)
    )
    for each in _remapped(machine):
        where = each.data.irq_2_iommu
        size, used = 1 << where.irte_mask, sizes[each.iommu.seq_id, where.irte_index]
        inside = where.irte_index + size <= INTR_REMAP_TABLE_ENTRIES
        fits = size // 2 < used <= size and where.irte_mask <= each.iommu.caps.max_handle_mask
        if where.irte_index % size or not inside or not fits:
            yield f"irq {each.desc.irq} is in a block of {size} for {used}"


def _groups(machine: Machine) -> Broken:
    """The interrupts of one descriptor are one block, in order."""
    for each in _remapped(machine):
        msi = each.desc.msi_desc
        where = each.data.irq_2_iommu
        nr = 0 if msi is None or msi.nvec_used == 1 else each.desc.irq - msi.irq
        if where.sub_handle != nr:
            yield f"irq {each.desc.irq} is number {nr} of its group, and has {where.sub_handle}"


def _hwirqs(machine: Machine) -> Broken:
    for each in _remapped(machine):
        where = each.data.irq_2_iommu
        if each.level.hwirq != ir_hwirq(where.irte_index, where.sub_handle):
            yield f"irq {each.desc.irq}"


def _named(machine: Machine) -> Broken:
    """The message of an interrupt that has one."""
    for each in _remapped(machine):
        msg, where = each.data.msi_entry, each.data.irq_2_iommu
        if not msg.address_lo:  # a pin's route entry names the entry
            continue
        named = decode_ir_msi_msg(msg.address_lo, msg.data)
        if not is_remappable(msg.address_lo) or named != (where.irte_index, where.sub_handle):
            yield f"irq {each.desc.irq} names {named}"


def _active(machine: Machine) -> Broken:
    for each in _remapped(machine):
        if each.data.irq_2_iommu.mode is not IrqMode.IRQ_REMAPPING:
            continue
        if each.desc.irq_data.test(IRQD_ACTIVATED):
            entry = each.entry
            if not entry.present or entry != each.data.irte_entry or not each.aims(entry):
                yield f"irq {each.desc.irq} has {entry}, and should go to {each.cfg}"


def _quiet(machine: Machine) -> Broken:
    """Which entries are there without need. An irq with a reservation alone has an entry since its
    early activation, though it is not marked as active: it leads
    to the vector that nobody uses."""
    live = {(each.iommu.seq_id, each.data.irq_2_iommu.slot): each for each in _remapped(machine)}
    for iommu in _units(machine):
        for slot, words in iommu.table.base.items():
            each = live.get((iommu.seq_id, slot))
            active = each is not None and each.desc.irq_data.test(IRQD_ACTIVATED)
            if not active and unpack_irte(*words).vector != MANAGED_IRQ_SHUTDOWN_VECTOR:
                yield f"entry {slot} of unit {iommu.seq_id} is {unpack_irte(*words)}"
            if each is None:
                yield f"entry {slot} of unit {iommu.seq_id} is no irq's"


def _posted(machine: Machine) -> Broken:
    """A managed irq that is shut down while all its CPUs are away comes back remapped."""
    for each in _remapped(machine):
        posted = each.data.irq_2_iommu.mode is IrqMode.IRQ_POSTING
        forgotten = posted and each.desc.irq not in machine.posted_irqs
        if posted != bool(each.entry.pst) or forgotten:
            yield f"irq {each.desc.irq}"


def _followed(machine: Machine) -> Broken:
    """The entry to come back to, also while the interrupt is posted."""
    for each in _remapped(machine):
        if each.desc.irq_data.test(IRQD_ACTIVATED) and not each.aims(each.data.irte_entry):
            yield f"irq {each.desc.irq} would go to {each.data.irte_entry}, not {each.cfg}"


def _isolated(machine: Machine) -> Broken:
    remapping = machine.remapping
    if remapping is not None and not remapping.core.disable_sourceid_checking:
        for each in _remapped(machine):
            if each.entry.present and not each.entry.svt:
                yield f"irq {each.desc.irq}"


def _narrow(machine: Machine) -> Broken:
    for each in _remapped(machine):
        if not each.iommu.eime and each.cfg.dest_apicid > 0xFF:
            yield f"irq {each.desc.irq}"


def _stacked(machine: Machine) -> Broken:
    for iommu in _units(machine):
        below, above = iommu.ir_domain, iommu.ir_msi_domain
        if (
            below is None
            or below.parent is not machine.vectors.x86_vector_domain
            or (above is not None and above.parent is not below)
        ):
            yield f"unit {iommu.seq_id}"


# --- AMD-Vi ---------------------------------------------------------------------------------


def _amd(machine: Machine) -> Iterator[tuple[IrqDesc, IrqData, AmdIrData]]:
    for desc in machine.irqs.descs.values():
        for level in levels(desc.irq_data):
            if isinstance(level.chip_data, AmdIrData):
                yield desc, level, level.chip_data


def _amd_owners(machine: Machine) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """How many interrupts have an entry, by table and index: those of pins, and the others."""
    pins: Counter[tuple[int, int]] = Counter()
    others: Counter[tuple[int, int]] = Counter()
    tables = machine.remapping.amd.irq_lookup_table if machine.remapping is not None else {}
    for desc, _, data in _amd(machine):
        where = data.irq_2_irte
        of_pin = desc.msi_desc is None and not data.msi_entry.address_lo
        (pins if of_pin else others)[tables[where.devid].id, where.index] += 1
    return pins, others


def _minimum(machine: Machine) -> Broken:
    _, others = _amd_owners(machine)
    tables = machine.remapping.amd.irq_lookup_table if machine.remapping is not None else {}
    for table in tables.values():
        low = [index for id, index in others if id == table.id and index < table.min_index]
        if table.min_index not in (0, IOAPIC_INDICES) or low:
            yield f"table {table.id} starts at {table.min_index}, and has {low}"


def _exclusive(machine: Machine) -> Broken:
    pins, others = _amd_owners(machine)
    for (table, index), times in (pins + others).items():
        if times > 1:
            yield f"entry {index} of table {table} is that of {times} irqs"
    remapping = machine.remapping
    tables = remapping.amd.irq_lookup_table.values() if remapping is not None else ()
    for each in {table.id: table for table in tables}.values():
        for index in range(each.min_index, MAX_IRQS_PER_TABLE):
            taken = remapping is not None and remapping.amd.format.is_allocated(each.table[index])
            if taken != ((each.id, index) in others):
                yield f"entry {index} of table {each.id} is taken or not against its irqs"


def _amd_groups(machine: Machine) -> Broken:
    for desc, _, data in _amd(machine):
        msi = desc.msi_desc
        if msi is None or msi.nvec_used == 1:
            continue
        first = data.irq_2_irte.index - (desc.irq - msi.irq)
        if first % (1 << (msi.nvec_used - 1).bit_length()):
            yield f"irq {desc.irq} is in a block at {first}"
        if first + msi.nvec_used > MAX_IRQS_PER_TABLE:
            yield f"irq {desc.irq} is in a block beyond the table"


def _amd_named(machine: Machine) -> Broken:
    for desc, _, data in _amd(machine):
        if data.msi_entry.address_lo and data.msi_entry.data != data.irq_2_irte.index:
            yield f"irq {desc.irq}"


def _amd_active(machine: Machine) -> Broken:
    remapping = machine.remapping
    if remapping is None:
        return
    for desc, level, data in _amd(machine):
        where, cfg = data.irq_2_irte, vector_level(level).hw_irq_cfg
        entry = read_irte(remapping.amd, remapping.amd.irq_lookup_table[where.devid], where.index)
        if desc.irq in machine.posted_irqs:
            continue
        active = desc.irq_data.test(IRQD_ACTIVATED)
        if active and not entry.valid:
            yield f"irq {desc.irq} is active, and its entry is not valid"
        if entry.valid and not active and entry.vector != MANAGED_IRQ_SHUTDOWN_VECTOR:
            yield f"irq {desc.irq} is not active, and has {entry}"
        target = entry.vector, entry.destination
        if active and target != (cfg.vector, remapping.amd.irte_destination(cfg)):
            yield f"irq {desc.irq} goes to {target}, not to {cfg}"


TABLE_LAWS: Final[Mapping[str, Law]] = {
    "INT-1": Law("The entries that a unit has taken are its irqs' blocks, apart.", _blocks),
    "INT-2": Law(
        "A block is a power of two of entries at such a multiple, no larger than needed "
        "and possible.",
        _shapes,
    ),
    "INT-3": Law("The irqs of a group have the entries of one block in order.", _groups),
    "INT-4": Law("The hwirq of an irq is the place of its entry.", _hwirqs),
    "INT-5": Law("The message of an irq names its entry.", _named),
    "INT-6": Law("The entry of an active irq is there and leads to its target.", _active),
    "INT-7": Law("An entry of no active irq is zero, or leads to the shutdown vector.", _quiet),
    "INT-8": Law("An entry is posted exactly in that mode, for a virtual CPU.", _posted),
    "INT-9": Law("The entry that is kept for an active irq leads to its target.", _followed),
    "INT-12": Law("A present entry says who may use it.", _isolated),
    "INT-13": Law("Without the extended mode no target is beyond CPU 255.", _narrow),
    "INT-14": Law("The domains of a unit lie on each other and on the vector domain.", _stacked),
    "AMD-2": Law("A table keeps its first 32 entries for pins, or none.", _minimum),
    "AMD-4": Law("An entry is taken exactly if one irq has it.", _exclusive),
    "AMD-5": Law("A block is at a multiple of its size, inside the table.", _amd_groups),
    "AMD-7": Law("The message of an irq names its entry.", _amd_named),
    "AMD-9": Law(
        "The entry of an active irq is valid and leads to its target; others do not.", _amd_active
    ),
}
"""The laws of tables, by id."""
