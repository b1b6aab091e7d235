# SPDX-License-Identifier: GPL-2.0-only
"""The message by which a fully virtualised guest names a pirq (arch/x86/pci/xen.c, v5.10).

Vector 0, which no interrupt has, marks it; the pirq stands in place of the destination.
"""

from impl.arch.x86.msidef import (
    MSI_ADDR_BASE_LO,
    MSI_ADDR_EXT_DEST_ID_MASK,
    MSI_DATA_LEVEL_ASSERT,
    decode_msi_msg,
)

__all__ = ["XEN_PIRQ_MSI_DATA", "compose_pirq_msg", "decode_pirq_msg"]

XEN_PIRQ_MSI_DATA = MSI_DATA_LEVEL_ASSERT | 3 << 8
"""Edge triggered, asserted, delivery mode 3, vector 0."""

_DEST_ID_SHIFT = 12
_DEST_ID_MASK = 0xFF


def compose_pirq_msg(pirq: int) -> tuple[int, int, int]:
    """The lower half of the address, its upper half, and the data word (xen_msi_compose_msg).

    A device without 64-bit messages has no place for a pirq of more than 8 bits.

    pre: 0 <= pirq < 1 << 32
    post: decode_pirq_msg(*_) == pirq
    post: _[0] >> 20 == 0xFEE and not _[0] & 0xFFF and _[2] == 0x4300
    post: (_[1] == 0) == (pirq < 256)
    """
    address_lo = MSI_ADDR_BASE_LO | (pirq & _DEST_ID_MASK) << _DEST_ID_SHIFT
    return address_lo, pirq & MSI_ADDR_EXT_DEST_ID_MASK, XEN_PIRQ_MSI_DATA


def decode_pirq_msg(address_lo: int, address_hi: int, data: int) -> int:
    """The pirq that a message names, -1 if it is an ordinary message.

    pre: 0 <= address_lo <= 0xFFFFFFFF and 0 <= address_hi <= 0xFFFFFFFF and 0 <= data <= 0xFFFF
    post: (_ == -1) == (data & 0xFF != 0)
    post: _ == -1 or _ == address_lo >> 12 & 0xFF | address_hi & 0xFFFFFF00
    """
    pirq, vector = decode_msi_msg(address_lo, address_hi, data, x2apic=True)
    return -1 if vector else pirq
