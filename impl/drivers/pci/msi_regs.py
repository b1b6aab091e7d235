# SPDX-License-Identifier: GPL-2.0-only
"""The registers of MSI and MSI-X, and arithmetic on them (pci_regs.h, drivers/pci/msi.c, v5.10)."""

__all__ = [
    "PCI_MSIX_ENTRY_CTRL_MASKBIT",
    "PCI_MSIX_ENTRY_DATA",
    "PCI_MSIX_ENTRY_LOWER_ADDR",
    "PCI_MSIX_ENTRY_SIZE",
    "PCI_MSIX_ENTRY_UPPER_ADDR",
    "PCI_MSIX_ENTRY_VECTOR_CTRL",
    "PCI_MSIX_FLAGS_ENABLE",
    "PCI_MSIX_FLAGS_MASKALL",
    "PCI_MSIX_FLAGS_QSIZE",
    "PCI_MSI_ADDRESS_HI",
    "PCI_MSI_ADDRESS_LO",
    "PCI_MSI_DATA_32",
    "PCI_MSI_DATA_64",
    "PCI_MSI_FLAGS_64BIT",
    "PCI_MSI_FLAGS_ENABLE",
    "PCI_MSI_FLAGS_MASKBIT",
    "PCI_MSI_FLAGS_QMASK",
    "PCI_MSI_FLAGS_QSIZE",
    "PCI_MSI_MASK_32",
    "PCI_MSI_MASK_64",
    "msi_mask",
    "msi_vec_count",
    "msix_vec_count",
    "multiple_of",
    "pci_devid",
    "pci_msi_calc_hwirq",
]

PCI_MSI_FLAGS_ENABLE = 0x0001
PCI_MSI_FLAGS_QMASK = 0x000E
"""Logarithm of the number of vectors that the device can use (multi_cap), from bit 1."""
PCI_MSI_FLAGS_QSIZE = 0x0070
"""Logarithm of the number of vectors that it may use (multiple), from bit 4."""
PCI_MSI_FLAGS_64BIT = 0x0080
PCI_MSI_FLAGS_MASKBIT = 0x0100

# Offsets in the capability; a 64-bit address moves what follows it.
PCI_MSI_ADDRESS_LO = 4
PCI_MSI_ADDRESS_HI = 8
PCI_MSI_DATA_32 = 8
PCI_MSI_DATA_64 = 12
PCI_MSI_MASK_32 = 12
PCI_MSI_MASK_64 = 16

PCI_MSIX_FLAGS_QSIZE = 0x07FF
"""The number of entries in the table, less one."""
PCI_MSIX_FLAGS_MASKALL = 0x4000
PCI_MSIX_FLAGS_ENABLE = 0x8000

# Offsets in an entry of the table.
PCI_MSIX_ENTRY_SIZE = 16
PCI_MSIX_ENTRY_LOWER_ADDR = 0
PCI_MSIX_ENTRY_UPPER_ADDR = 4
PCI_MSIX_ENTRY_DATA = 8
PCI_MSIX_ENTRY_VECTOR_CTRL = 12
PCI_MSIX_ENTRY_CTRL_MASKBIT = 1

_U32 = 0xFFFFFFFF


def msi_mask(x: int) -> int:
    """A mask bit for each of 2**x vectors; from x = 5 on all 32 of the register.

    pre: x >= 0
    post: _.bit_length() == min(32, 1 << min(x, 5)) and not _ & (_ + 1)
    """
    return _U32 if x >= 5 else (1 << (1 << x)) - 1


def msi_vec_count(control: int) -> int:
    """How many vectors the MSI control word offers: a power of two (pci_msi_vec_count).

    pre: 0 <= control < 0x10000
    post: 1 <= _ <= 128
    post: _ == 1 << multiple_of(_) and multiple_of(_) == control >> 1 & 7
    """
    return 1 << ((control & PCI_MSI_FLAGS_QMASK) >> 1)


def msix_vec_count(control: int) -> int:
    """The number of entries that the MSI-X control word tells (pci_msix_vec_count).

    pre: 0 <= control < 0x10000
    post: 1 <= _ <= 2048 and not (control - _ + 1) % 2048
    """
    return (control & PCI_MSIX_FLAGS_QSIZE) + 1


def multiple_of(nvec: int) -> int:
    """The logarithm of the smallest block, a power of two, that holds `nvec` vectors.

    pre: nvec >= 1
    post: nvec <= 1 << _ < 2 * nvec
    """
    return (nvec - 1).bit_length()


def pci_devid(bus: int, devfn: int) -> int:
    """The requester id of a function (PCI_DEVID).

    pre: 0 <= bus < 256 and 0 <= devfn < 256
    post: 0 <= _ < 0x10000 and divmod(_, 256) == (bus, devfn)
    """
    return bus << 8 | devfn


def pci_msi_calc_hwirq(
    entry_nr: int, devid: int, segment: int, *, bits: int = 64, widened: bool = True
) -> int:
    """The number of an entry of a device in its PCI/MSI domain (pci_msi_domain_calc_hwirq).

    `bits` is the width of irq_hw_number_t, an unsigned long: 64 or 32.  The segment (PCI domain
    number) occupies the bits from 27 on; unless it is `widened` to that type before the shift, it
    is shifted as a 32-bit number, and five bits of it are left (N12).

    pre: 0 <= entry_nr < 2048 and 0 <= devid < 0x10000 and 0 <= segment <= 0xFFFFFFFF
    pre: bits in (32, 64)
    post: 0 <= _ < 1 << bits
    post: (_ & 0x7FF, _ >> 11 & 0xFFFF) == (entry_nr, devid)
    post: _ >> 27 == (segment if widened and bits == 64 else segment & 31)
    """
    width = bits if widened else 32
    shifted = ((segment & _U32) << 27) & ((1 << width) - 1)
    return entry_nr | devid << 11 | shifted
