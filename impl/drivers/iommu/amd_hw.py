# SPDX-License-Identifier: GPL-2.0-only
"""What AMD-Vi hardware does with a message (the device side of drivers/iommu/amd/, v5.10)."""

from impl.arch.x86.io_apic_regs import IoApicRouteEntry
from impl.arch.x86.msidef import decode_msi_msg
from impl.drivers.iommu.amd import AmdIommus
from impl.drivers.iommu.amd_irte import AmdIrte
from impl.drivers.iommu.amd_table import read_irte
from impl.kernel.irq.irq import MsiMsg

__all__ = ["amd_deliver_msi", "amd_deliver_pin", "amd_irte_of_request"]

_INDEX_MASK = 0x7FF


def amd_deliver_msi(amd: AmdIommus, devid: int, msg: MsiMsg) -> tuple[int, int] | None:
    """The destination and the vector of the interrupt that a message of requester `devid` raises.

    None: it is blocked, or noted for a virtual CPU.
    """
    if not _remaps(amd, devid):
        x2apic = amd.x86.vectors.apic.x2apic
        return decode_msi_msg(msg.address_lo, msg.address_hi, msg.data, x2apic=x2apic)
    return _deliver(amd, amd_irte_of_request(amd, devid, msg.data & _INDEX_MASK))


def amd_deliver_pin(amd: AmdIommus, devid: int, entry: IoApicRouteEntry) -> tuple[int, int] | None:
    """amd_deliver_msi of the message that an IO-APIC, requester `devid`, makes of a route entry."""
    if not _remaps(amd, devid):
        return entry.dest, entry.vector
    index = entry.vector | entry.delivery_mode << 8
    return _deliver(amd, amd_irte_of_request(amd, devid, index))


def amd_irte_of_request(amd: AmdIommus, devid: int, index: int) -> AmdIrte | None:
    """The valid table entry that number `index` means for a requester; None: it is blocked."""
    device = amd.dev_table_entry(devid)
    if device.table is None or not device.intctl or index >= 1 << device.table_len:
        return None
    irte = read_irte(amd, device.table, index)
    return irte if irte.valid else None


def _remaps(amd: AmdIommus, devid: int) -> bool:
    unit = amd.rlookup(devid)
    return unit is not None and unit.enabled and amd.dev_table_entry(devid).remap_enable


def _deliver(amd: AmdIommus, irte: AmdIrte | None) -> tuple[int, int] | None:
    if irte is None:
        return None
    if not irte.guest_mode:
        return irte.destination, irte.vector
    if irte.ga_log_intr and not irte.is_run:
        amd.ga_log.append(irte.ga_tag)
    return None
