# SPDX-License-Identifier: GPL-2.0-only
"""What a VT-d unit does with an interrupt that comes by (VT-d specification, chapter 5).

The kernel sees none of this.  A unit that does not remap lets everything pass.
"""

import enum
from typing import NamedTuple

from impl.arch.x86.io_apic_regs import IoApicRouteEntry
from impl.drivers.iommu.intel_irte import (
    INTR_REMAP_TABLE_ENTRIES,
    decode_ir_msi_msg,
    ir_ioapic_index,
    irte_accepts,
    irte_apicid,
    is_remappable,
    unpack_irte,
)
from impl.drivers.iommu.intel_table import IntelIommu
from impl.kernel.irq.irq import MsiMsg

__all__ = ["IrDelivery", "IrFault", "vtd_remap_ioapic", "vtd_remap_msi"]


class IrFault(enum.IntEnum):
    """Why a unit blocks an interrupt: the reason that it reports."""

    INDEX_BEYOND_TABLE = 0x21
    NOT_PRESENT = 0x22
    COMPATIBILITY_FORMAT = 0x25
    SOURCE_ID = 0x26


class IrDelivery(NamedTuple):
    """What a table entry makes of an interrupt.

    `vector` on the CPU with APIC id `dest`; or if `pda` is not 0, a note for `vector` in the
    descriptor at that address.
    """

    dest: int
    vector: int
    pda: int = 0


def vtd_remap_msi(iommu: IntelIommu, msg: MsiMsg, sid: int) -> IrDelivery | IrFault | None:
    """A device writes a message under the requester id `sid`; None: it passes unchanged."""
    if not iommu.ires:
        return None
    if not is_remappable(msg.address_lo):
        return _compatibility(iommu)
    index, sub_handle = decode_ir_msi_msg(msg.address_lo, msg.data)
    return _use_entry(iommu, index + sub_handle, sid)


def vtd_remap_ioapic(
    iommu: IntelIommu, entry: IoApicRouteEntry, sid: int
) -> IrDelivery | IrFault | None:
    """An IO-APIC sends by the route entry of a pin; None: it passes unchanged."""
    if not iommu.ires:
        return None
    index = ir_ioapic_index(entry)
    return _compatibility(iommu) if index is None else _use_entry(iommu, index, sid)


def _compatibility(iommu: IntelIommu) -> IrFault | None:
    """The x2APIC mode knows no other format than the remappable one."""
    return None if iommu.cfis and not iommu.eime else IrFault.COMPATIBILITY_FORMAT


def _use_entry(iommu: IntelIommu, slot: int, sid: int) -> IrDelivery | IrFault:
    """Look the entry up, in the cache first; only entries that are present are cached."""
    if slot >= INTR_REMAP_TABLE_ENTRIES:
        return IrFault.INDEX_BEYOND_TABLE
    words = iommu.iec.get(slot) or iommu.irta.get(slot, (0, 0))
    irte = unpack_irte(*words)
    if not irte.present:
        return IrFault.NOT_PRESENT
    iommu.iec[slot] = words
    if not irte_accepts(irte, sid):
        return IrFault.SOURCE_ID
    if irte.pst:
        return IrDelivery(0, irte.vector, irte.pda)
    return IrDelivery(irte_apicid(irte.dest_id, iommu.eime), irte.vector)
