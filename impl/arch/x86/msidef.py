# SPDX-License-Identifier: GPL-2.0-only
"""The message that makes a local APIC take an interrupt (arch/x86/include/asm/msidef.h, v5.10).

A device signals by writing a data word to an address.  The address names the destination, the data
word the vector.
"""

__all__ = [
    "MSI_ADDR_BASE_LO",
    "MSI_ADDR_DEST_MODE_LOGICAL",
    "MSI_ADDR_EXT_DEST_ID_MASK",
    "MSI_DATA_LEVEL_ASSERT",
    "compose_msi_msg",
    "decode_msi_msg",
    "dest_id_bits",
]

MSI_ADDR_BASE_LO = 0xFEE00000
MSI_ADDR_DEST_MODE_LOGICAL = 1 << 2
MSI_ADDR_EXT_DEST_ID_MASK = 0xFFFFFF00
"""The bits of a destination that go into the upper half of the address (x2APIC)."""

MSI_DATA_LEVEL_ASSERT = 1 << 14

_DEST_ID_SHIFT = 12
_DEST_ID_MASK = 0xFF
_VIRT_DEST_ID_SHIFT = 5
_VIRT_DEST_ID_MASK = 0x7F
_VECTOR_MASK = 0xFF


def dest_id_bits(*, x2apic: bool, ext_dest_id: bool = False) -> int:
    """How many bits of a destination a message carries; compose_msi_msg drops the others."""
    if x2apic:
        return 32
    return 15 if ext_dest_id else 8


def compose_msi_msg(
    dest_apicid: int, vector: int, *, logical: bool, x2apic: bool, ext_dest_id: bool = False
) -> tuple[int, int, int]:
    """The lower half of the address, its upper half, and the data word (irq_msi_compose_msg).

    Fixed delivery, edge triggered, no redirection hint.  `logical` is the destination mode of the
    APIC driver.  With `x2apic` the address has room for all 32 bits of a destination.  Otherwise
    `ext_dest_id` is how hypervisors have later kernels pass 15 bits without remapping: the upper
    seven of them in bits 5 to 11 of the lower half.

    pre: 0 <= dest_apicid and 0 <= vector < 256
    pre: not dest_apicid >> dest_id_bits(x2apic=x2apic, ext_dest_id=ext_dest_id)
    post: _[0] >> 12 == 0xFEE00 | dest_apicid & 0xFF and _[0] >> 2 & 1 == logical
    post: _[0] >> 5 & 0x7F == (dest_apicid >> 8 if ext_dest_id and not x2apic else 0)
    post: not _[0] & 3 and not _[0] >> 3 & 3
    post: _[1] == (dest_apicid & 0xFFFFFF00 if x2apic else 0) and _[2] == 0x4000 | vector
    post: decode_msi_msg(*_, x2apic=x2apic, ext_dest_id=ext_dest_id) == (dest_apicid, vector)
    """
    address_lo = MSI_ADDR_BASE_LO | (dest_apicid & _DEST_ID_MASK) << _DEST_ID_SHIFT
    if logical:
        address_lo |= MSI_ADDR_DEST_MODE_LOGICAL
    address_hi = 0
    if x2apic:
        address_hi = dest_apicid & MSI_ADDR_EXT_DEST_ID_MASK
    elif ext_dest_id:
        address_lo |= (dest_apicid >> 8 & _VIRT_DEST_ID_MASK) << _VIRT_DEST_ID_SHIFT
    return address_lo, address_hi, vector & _VECTOR_MASK | MSI_DATA_LEVEL_ASSERT


def decode_msi_msg(
    address_lo: int, address_hi: int, data: int, *, x2apic: bool, ext_dest_id: bool = False
) -> tuple[int, int]:
    """The destination and the vector that a message names.

    An address whose upper half is not 0 reaches a local APIC only with `x2apic`.
    """
    dest_apicid = address_lo >> _DEST_ID_SHIFT & _DEST_ID_MASK
    if x2apic:
        dest_apicid |= address_hi & MSI_ADDR_EXT_DEST_ID_MASK
    elif ext_dest_id:
        dest_apicid |= (address_lo >> _VIRT_DEST_ID_SHIFT & _VIRT_DEST_ID_MASK) << 8
    return dest_apicid, data & _VECTOR_MASK
