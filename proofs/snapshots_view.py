# SPDX-License-Identifier: GPL-2.0-only
"""One snapshot with all its files read, and what the log says of its moment."""

from __future__ import annotations

from dataclasses import dataclass

from proofs.snapshots import Snapshot
from proofs.snapshots_debugfs import DebugIrqs, debug_irqs
from proofs.snapshots_intel import ListedEntry, remapping_tables
from proofs.snapshots_pci import DeviceMessage, MsixTable, msi_messages, msix_tables
from proofs.snapshots_proc import (
    Effective,
    Interrupt,
    MsiIrq,
    Numbered,
    effective_affinity,
    interrupts,
    msi_irqs,
    numbers,
    present_cpus,
)
from proofs.snapshots_trace import History, Moment
from proofs.snapshots_xen import XenTables, xen_tables
from spec.hwirq import ENTRY_BITS

__all__ = ["View", "view_of"]


@dataclass(frozen=True, slots=True)
class View:
    """A snapshot. A mapping is empty, and a member None, if there is no such file; `msi` is None,
    too, since a device without MSI is a different thing from no file."""

    name: str
    rows: dict[int, Interrupt]
    msi_irqs: dict[int, MsiIrq]
    effective: dict[int, Effective]
    numbers: dict[int, Numbered]
    cpus: frozenset[int]
    msix: dict[str, MsixTable] | None
    msi: dict[str, DeviceMessage] | None
    debug: DebugIrqs | None
    entries: list[ListedEntry] | None
    xen: XenTables | None
    moment: Moment | None

    def index(self, irq: int) -> int | None:
        """Which of its device's messages an irq is, None if nothing tells."""
        chain = self.debug.chains.get(irq) if self.debug else None
        if chain is not None and chain.levels:
            return chain.levels[0].hwirq & ((1 << ENTRY_BITS) - 1)
        number = self.numbers.get(irq)
        return None if number is None else number.hwirq & ((1 << ENTRY_BITS) - 1)

    def message(self, irq: int) -> DeviceMessage | None:
        """What the device sends for an MSI irq, None if nothing tells."""
        owner, index = self.msi_irqs[irq], self.index(irq)
        if index is None:
            return None
        if owner.kind == "msix":
            table = (self.msix or {}).get(owner.device)
            return table.messages.get(index) if table else None
        base = (self.msi or {}).get(owner.device)
        if base is None or base.empty:
            return base
        # A device counts up the data word from message to message.
        words = base.address_lo, base.address_hi, base.data + index
        return DeviceMessage(owner.device, index, *words, base.place)


def view_of(snapshot: Snapshot, history: History | None) -> View:
    """Read every file of a snapshot; raises SnapshotError."""
    get = snapshot.tables.get
    rows = interrupts(table) if (table := get("interrupts")) else {}
    return View(
        name=snapshot.name,
        rows=rows,
        msi_irqs=msi_irqs(table) if (table := get("msi_irqs")) else {},
        effective=effective_affinity(table) if (table := get("proc_irq")) else {},
        numbers=numbers(get("sys_kernel_irq"), rows),
        cpus=present_cpus(table) if (table := get("cpus")) else frozenset(),
        msix=msix_tables(table) if (table := get("msixtab")) else None,
        msi=msi_messages(table) if (table := get("pciconfig")) else None,
        debug=debug_irqs(table) if (table := get("debug_irq")) else None,
        entries=remapping_tables(table) if (table := get("ir_translation")) else None,
        xen=xen_tables(table) if (table := get("xenkeys")) else None,
        moment=history.moments.get(snapshot.name) if history else None,
    )
