# SPDX-License-Identifier: GPL-2.0-only
"""Who may use a VT-d table entry: source ids (intel/irq_remapping.c, v5.10).

A device sends under its own id, unless bridges or quirks make it show another one.
"""

from collections.abc import Iterable
from dataclasses import replace

from impl.drivers.iommu.intel import IntelIr, IrScope
from impl.drivers.iommu.intel_irte import (
    SQ_13_IGNORE_3,
    SQ_ALL_16,
    SVT_NO_VERIFY,
    SVT_VERIFY_BUS,
    SVT_VERIFY_SID_SQ,
    Irte,
)
from impl.drivers.pci.pci import PciDev

__all__ = ["set_hpet_sid", "set_ioapic_sid", "set_msi_sid"]


def set_ioapic_sid(ir: IntelIr, irte: Irte, apic: int) -> Irte:
    """Let only IO-APIC `apic` use the entry.

    Id 0, which nobody has, means that it was not found: a warning, and any requester may use it.
    """
    return _set_scope_sid(ir, irte, ir.ir_ioapic, apic, SQ_ALL_16)


def set_hpet_sid(ir: IntelIr, irte: Irte, id: int) -> Irte:
    """Let only HPET `id` use the entry; some send under the function number of another one."""
    return _set_scope_sid(ir, irte, ir.ir_hpet, id, SQ_13_IGNORE_3)


def set_msi_sid(ir: IntelIr, irte: Irte, dev: PciDev) -> Irte:
    """Let only the device, or what cannot be told from it, use the entry.

    The last alias of the device decides.  An alias that has not the number of the bus that shows it
    stands for a bus: any requester from there to the device's own bus will do.  So does a device
    that sends under several ids of one bus.  An alias that another bus shows is exact.  One on the
    device's own bus is a quirk of its DMA, not of its interrupts.
    """
    own = dev.bus.number
    aliases = [(own, dev.devid), *dev.dma_aliases]
    shown_on, alias = aliases[-1]
    if alias >> 8 != shown_on:
        return _set_irte_verify_bus(ir, irte, alias >> 8, own)
    if len(aliases) >= 2 and _all_on_one_bus(alias for _, alias in aliases):
        return _set_irte_verify_bus(ir, irte, own, own)
    if shown_on != own:
        return _set_irte_sid(ir, irte, SVT_VERIFY_SID_SQ, SQ_ALL_16, alias)
    return _set_irte_sid(ir, irte, SVT_VERIFY_SID_SQ, SQ_ALL_16, dev.devid)


def _all_on_one_bus(aliases: Iterable[int]) -> bool:
    return len({alias >> 8 for alias in aliases}) == 1


def _set_scope_sid(ir: IntelIr, irte: Irte, scopes: Iterable[IrScope], id: int, sq: int) -> Irte:
    found = (scope.sid for scope in scopes if scope.iommu is not None and scope.id == id)
    sid = next(found, 0)
    if sid == 0:
        ir.kernel.warn()
        return irte
    return _set_irte_sid(ir, irte, SVT_VERIFY_SID_SQ, sq, sid)


def _set_irte_verify_bus(ir: IntelIr, irte: Irte, start_bus: int, end_bus: int) -> Irte:
    return _set_irte_sid(ir, irte, SVT_VERIFY_BUS, SQ_ALL_16, start_bus << 8 | end_bus)


def _set_irte_sid(ir: IntelIr, irte: Irte, svt: int, sq: int, sid: int) -> Irte:
    if ir.r.disable_sourceid_checking:
        svt = SVT_NO_VERIFY
    return replace(irte, svt=svt, sq=sq, sid=sid)
