# SPDX-License-Identifier: GPL-2.0-only
"""The device's side of MSI and MSI-X: the registers that software writes and the device obeys.

MSI lives in the configuration space and has one message for all vectors of the device, which puts
the number of a vector into the low bits of the data word.  MSI-X has a message and a mask bit for
each vector, in a table in the device's memory.
"""

from impl.drivers.pci.msi_regs import (
    PCI_MSI_ADDRESS_HI,
    PCI_MSI_ADDRESS_LO,
    PCI_MSI_DATA_32,
    PCI_MSI_DATA_64,
    PCI_MSI_FLAGS_64BIT,
    PCI_MSI_FLAGS_ENABLE,
    PCI_MSI_FLAGS_MASKBIT,
    PCI_MSI_FLAGS_QSIZE,
    PCI_MSI_MASK_32,
    PCI_MSI_MASK_64,
    PCI_MSIX_ENTRY_CTRL_MASKBIT,
    PCI_MSIX_ENTRY_DATA,
    PCI_MSIX_ENTRY_LOWER_ADDR,
    PCI_MSIX_ENTRY_UPPER_ADDR,
    PCI_MSIX_ENTRY_VECTOR_CTRL,
    PCI_MSIX_FLAGS_ENABLE,
    PCI_MSIX_FLAGS_MASKALL,
    msi_mask,
)
from impl.kernel.irq.irq import MsiMsg

__all__ = ["PCI_MSIX_FLAGS", "PCI_MSI_FLAGS", "MsiCap", "MsixCap"]

PCI_MSI_FLAGS = 2
"""Offset of the control word in the MSI capability."""
PCI_MSIX_FLAGS = 2
"""Offset of the control word in the MSI-X capability."""

_MAX_MULTI_CAP = 5
_MAX_TABLE_SIZE = 2048
_U16 = 0xFFFF
_U32 = 0xFFFFFFFF


class MsiCap:
    """An MSI capability that offers 2**multi_cap vectors.

    `is_64`: the address has an upper half.  `maskbit`: each vector can be masked.  ValueError if
    `multi_cap` is not from 0 to 5.
    """

    __slots__ = ("data_offset", "is_64", "mask_offset", "maskbit", "multi_cap", "registers")

    def __init__(self, multi_cap: int = 0, *, is_64: bool = True, maskbit: bool = False) -> None:
        if not 0 <= multi_cap <= _MAX_MULTI_CAP:
            raise ValueError(f"no MSI capability has multi_cap {multi_cap}")
        self.multi_cap = multi_cap
        self.is_64 = is_64
        self.maskbit = maskbit
        self.data_offset = PCI_MSI_DATA_64 if is_64 else PCI_MSI_DATA_32
        self.mask_offset = PCI_MSI_MASK_64 if is_64 else PCI_MSI_MASK_32
        self.registers: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was written: disabled, nothing masked, an empty message."""
        offers = self.multi_cap << 1
        offers |= PCI_MSI_FLAGS_64BIT if self.is_64 else 0
        offers |= PCI_MSI_FLAGS_MASKBIT if self.maskbit else 0
        self.registers = {PCI_MSI_FLAGS: offers}

    def read(self, offset: int) -> int:
        """The register at `offset` of the capability."""
        return self.registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Write the register at `offset`; bits that the device does not have stay as they are."""
        if offset == PCI_MSI_FLAGS:
            writable = PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE
            value = self.control & ~writable | value & writable
        elif offset == self.data_offset:
            value &= _U16
        elif offset == self.mask_offset:
            value &= msi_mask(self.multi_cap) if self.maskbit else 0
        self.registers[offset] = value & _U32

    @property
    def control(self) -> int:
        """The control word."""
        return self.registers[PCI_MSI_FLAGS]

    @property
    def mask_bits(self) -> int:
        """Bit k masks vector k."""
        return self.read(self.mask_offset) if self.maskbit else 0

    @property
    def message(self) -> MsiMsg:
        """The message of vector 0."""
        address_hi = self.read(PCI_MSI_ADDRESS_HI) if self.is_64 else 0
        return MsiMsg(self.read(PCI_MSI_ADDRESS_LO), address_hi, self.read(self.data_offset))

    def signal(self, nr: int) -> MsiMsg | None:
        """What the device writes for its vector `nr`: None if it is disabled, masked or not there.

        The device replaces as many low bits of the data word as QSIZE gives it."""
        control = self.control
        vectors = 1 << ((control & PCI_MSI_FLAGS_QSIZE) >> 4)
        if not control & PCI_MSI_FLAGS_ENABLE or nr >= vectors or self.mask_bits >> nr & 1:
            return None
        message = self.message
        return message._replace(data=message.data & ~(vectors - 1) | nr)


class MsixCap:
    """An MSI-X capability with a table of `table_size` entries; ValueError if not 1 to 2048."""

    __slots__ = ("control", "table", "table_size")

    def __init__(self, table_size: int) -> None:
        if not 1 <= table_size <= _MAX_TABLE_SIZE:
            raise ValueError(f"no MSI-X table has {table_size} entries")
        self.table_size = table_size
        self.control = 0
        self.table: dict[int, list[int]] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was written: disabled, every entry masked, empty messages."""
        self.control = self.table_size - 1
        self.table = {}

    def read(self, offset: int) -> int:
        """The register at `offset` of the capability; only the control word is modelled."""
        return self.control if offset == PCI_MSIX_FLAGS else 0

    def write(self, offset: int, value: int) -> None:
        """Write the control word; the size of the table stays as it is."""
        if offset == PCI_MSIX_FLAGS:
            writable = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL
            self.control = self.control & ~writable | value & writable

    def readl(self, entry_nr: int, offset: int) -> int:
        """The word at `offset` of an entry of the table."""
        entry = self.table.get(entry_nr)
        if entry is None:
            return PCI_MSIX_ENTRY_CTRL_MASKBIT if offset == PCI_MSIX_ENTRY_VECTOR_CTRL else 0
        return entry[offset >> 2]

    def writel(self, entry_nr: int, offset: int, value: int) -> None:
        """Write the word at `offset` of an entry of the table; IndexError if it has no such."""
        if not 0 <= entry_nr < self.table_size:
            raise IndexError(f"the MSI-X table has no entry {entry_nr}")
        entry = self.table.setdefault(entry_nr, [0, 0, 0, PCI_MSIX_ENTRY_CTRL_MASKBIT])
        entry[offset >> 2] = value & _U32

    def message(self, entry_nr: int) -> MsiMsg:
        """The message in an entry of the table."""
        return MsiMsg(
            self.readl(entry_nr, PCI_MSIX_ENTRY_LOWER_ADDR),
            self.readl(entry_nr, PCI_MSIX_ENTRY_UPPER_ADDR),
            self.readl(entry_nr, PCI_MSIX_ENTRY_DATA),
        )

    def masked(self, entry_nr: int) -> bool:
        """Whether the entry's own mask bit is set."""
        control = self.readl(entry_nr, PCI_MSIX_ENTRY_VECTOR_CTRL)
        return bool(control & PCI_MSIX_ENTRY_CTRL_MASKBIT)

    def signal(self, entry_nr: int) -> MsiMsg | None:
        """What the device writes for an entry: None if it is disabled, masked or not there."""
        enabled = self.control & (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)
        if enabled != PCI_MSIX_FLAGS_ENABLE or entry_nr >= self.table_size or self.masked(entry_nr):
            return None
        return self.message(entry_nr)
