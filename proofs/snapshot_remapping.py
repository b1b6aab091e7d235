# SPDX-License-Identifier: GPL-2.0-only
"""Rules of VT-d's remapping: the chain, the table's entry and the device's message agree."""

from __future__ import annotations

import re
from typing import Final

from impl.drivers.iommu.intel_irte import (
    decode_ir_msi_msg,
    irte_accepts,
    irte_dest,
    is_remappable,
)
from proofs.events import SHUTDOWN_VECTOR
from proofs.snapshot_chains import ROOT
from proofs.snapshot_judge import Judgement
from proofs.snapshots_debugfs import Chain, Level
from proofs.snapshots_intel import ListedEntry
from proofs.snapshots_pci import DeviceMessage, device_id
from proofs.snapshots_trace import History
from proofs.snapshots_view import View

__all__ = ["is_remapped", "judge_remapping"]

_INTEL_IR: Final = re.compile(r"INTEL-IR-(?!MSI-)(\d+)(?:-\d+)?")
"""The name of a unit's domain; the first number is the unit's."""

Slot = tuple[str, int]
"""A unit and a place in its table."""


def judge_remapping(view: View, history: History | None, judgement: Judgement) -> None:
    """INT-1, INT-4 to INT-7, INT-9 and INT-12."""
    chains = view.debug.chains.values() if view.debug else ()
    remapped = [(chain, level) for chain in chains if (level := _remapping_level(chain))]
    if not remapped:
        # Without a chain nothing tells which entry is whose.
        count = len(view.entries or ())
        judgement.leave("INT-1", "an entry without a file of /sys/kernel/debug/irq", count)
        return
    for chain, level in remapped:
        _message(chain, level, view, judgement)
    if view.entries is None:
        judgement.leave("INT-1, INT-6, INT-7, INT-9, INT-12", "no file of the remapping tables")
        return
    entries = _entries(view.entries, judgement)
    extended = _extended(view.entries)
    owners: dict[Slot, Chain] = {}
    for chain, level in remapped:
        slot = _slot(level)
        other = owners.setdefault(slot, chain)
        sentence = f"irq {chain.irq} has entry {slot[1]}, which is irq {other.irq}'s"
        judgement.check("INT-1", level.places["hwirq"], other is chain, sentence)
        _entry(chain, level, entries.get(slot), judgement)
        if entry := entries.get(slot):
            _target(chain, entry, history, extended, judgement)
    for slot, entry in entries.items():
        sentence = f"entry {entry.index} is in use, but no irq has it"
        judgement.check("INT-1", entry.place, slot in owners, sentence)


def is_remapped(chain: Chain) -> bool:
    """Whether a unit of VT-d remaps the irq."""
    return _remapping_level(chain) is not None


def _remapping_level(chain: Chain) -> Level | None:
    return next((level for level in chain.levels if _INTEL_IR.fullmatch(level.domain)), None)


def _slot(level: Level) -> Slot:
    """INT-4: the hwirq is the index of the block above bit 16, and the place in the block."""
    match = _INTEL_IR.fullmatch(level.domain)
    return match[1] if match else "", ((level.hwirq >> 16) + (level.hwirq & 0xFFFF)) & 0xFFFF


def _message(chain: Chain, level: Level, view: View, judgement: Judgement) -> None:
    """INT-5: the message that the device has names the block and the place in it."""
    if chain.irq not in view.msi_irqs:
        return
    message = view.message(chain.irq)
    if message is None:
        judgement.leave("INT-5", "no message of the device was read")
        return
    if message.empty:
        active = "IRQD_ACTIVATED" in chain.flags
        sentence = f"{_who(message)} has no message, but irq {chain.irq} is active"
        judgement.check("INT-5", message.place, not active, sentence)
        return
    index, sub_handle = level.hwirq >> 16 & 0xFFFF, level.hwirq & 0xFFFF
    sentence = f"{_who(message)} sends to {message.address_lo:#x}, which is not to be remapped"
    if judgement.check("INT-5", message.place, is_remappable(message.address_lo), sentence):
        named = decode_ir_msi_msg(message.address_lo, message.data)
        sentence = (
            f"{_who(message)} names entry {named[0]} + {named[1]}, but irq {chain.irq} has"
            f" {index} + {sub_handle} by its hwirq at {level.places['hwirq']}"
        )
        judgement.check("INT-5", message.place, named == (index, sub_handle), sentence)


def _who(message: DeviceMessage) -> str:
    return f"message {message.index} of {message.device}"


def _entries(listed: list[ListedEntry], judgement: Judgement) -> dict[Slot, ListedEntry]:
    """Each entry once, its columns repeating its words."""
    found: dict[Slot, ListedEntry] = {}
    for entry in listed:
        other = found.setdefault((entry.unit, entry.index), entry)
        sentence = f"entry {entry.index} stands at {other.place}, too"
        judgement.check("INT-1", entry.place, other is entry, sentence)
        irte = entry.irte
        columns = entry.source, entry.destination, entry.vector
        words = irte.sid, irte.dest_id, irte.vector
        shown = ", ".join(f"{word:#x}" for word in words)
        sentence = f"the words of entry {entry.index} mean source, destination, vector {shown}"
        same = bool(irte.pst) or columns == words
        judgement.check("INT-6", entry.place, same, sentence)
        sentence = f"entry {entry.index} is listed, but not present"
        judgement.check("INT-6", entry.place, bool(irte.present), sentence)
    return found


def _entry(chain: Chain, level: Level, entry: ListedEntry | None, judgement: Judgement) -> None:
    """What the table must hold for an irq, given its vector and whether it is active."""
    root = chain.level(ROOT)
    vector = root.numbers.get("Vector", 0) if root else 0
    reserved = bool(root and root.numbers.get("has_reserved"))
    if "IRQD_ACTIVATED" in chain.flags and vector:
        sentence = f"irq {chain.irq} is active, but its entry {_slot(level)[1]} is not in the table"
        place = level.places["hwirq"]
        if judgement.check("INT-6", place, entry is not None, sentence) and entry is not None:
            sentence = (
                f"entry {entry.index} sends vector {entry.irte.vector}, but irq {chain.irq} has"
                f" vector {vector}"
            )
            same = bool(entry.irte.pst) or entry.irte.vector == vector
            judgement.check("INT-6", entry.place, same, sentence)
    elif entry is None:
        judgement.check("INT-7", chain.place, True, "")
    elif reserved:
        # It was activated as it was allocated, and has kept the placeholder since.
        sentence = (
            f"entry {entry.index} sends vector {entry.irte.vector}, but irq {chain.irq} has none"
            " yet, only a reservation"
        )
        holds = entry.irte.vector == SHUTDOWN_VECTOR
        judgement.check("INT-9", entry.place, holds, sentence)
    else:
        sentence = f"entry {entry.index} is in use, but its irq {chain.irq} is not active"
        judgement.check("INT-7", entry.place, False, sentence)


def _target(
    chain: Chain,
    entry: ListedEntry,
    history: History | None,
    extended: bool,
    judgement: Judgement,
) -> None:
    """Where the entry sends to, and from whom it takes."""
    irte, root = entry.irte, chain.level(ROOT)
    source = device_id(chain.device)
    if source >= 0:
        accepts = bool(irte.svt) and irte_accepts(irte, source)
        sentence = f"entry {entry.index} is {chain.device}'s, but does not verify its id"
        judgement.check("INT-12", entry.place, accepts, sentence)
    if root is None or irte.pst or not root.numbers.get("Vector"):
        return
    cpu = root.numbers.get("Target", 0)
    dest = history.destination(cpu) if history else None
    if dest is None:
        judgement.leave("INT-6", "no log tells the APIC's destination of the CPU")
        return
    sentence = (
        f"entry {entry.index} sends to destination {irte.dest_id:#x}, but irq {chain.irq} is on"
        f" CPU {cpu}, whose is {irte_dest(dest, extended):#x}"
    )
    judgement.check("INT-6", entry.place, irte.dest_id == irte_dest(dest, extended), sentence)


def _extended(entries: list[ListedEntry]) -> bool:
    """Whether destinations have all 32 bits: an APIC id of 8 bits stands above bit 8."""
    used = [entry.irte.dest_id for entry in entries if entry.irte.dest_id]
    return 2 * sum(bool(dest & 0xFF) for dest in used) > len(used)
