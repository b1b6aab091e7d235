# SPDX-License-Identifier: GPL-2.0-only
"""What AMD-Vi reads: table entries, of 32 or of 128 bits (drivers/iommu/amd/, v5.10).

A device behind AMD-Vi does not name a CPU and a vector but an entry of its table, by the data word
of its message.  Who sends decides which table, so that an entry need not say who may use it.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = [
    "IRTE_32",
    "IRTE_128",
    "MAX_IRQS_PER_TABLE",
    "AmdGuestIr",
    "AmdIrte",
    "IrteFormat",
    "amd_hwirq",
    "pack_irte_32",
    "pack_irte_128",
    "unpack_irte_32",
    "unpack_irte_128",
]

MAX_IRQS_PER_TABLE = 512
"""The entries of a table; v5.9 had 256."""

_U24 = 0xFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF
_HIGH_ONES = 0xFFFFFFFF00000000


class AmdGuestIr(enum.IntEnum):
    """How much of guest mode a machine can do (amd_iommu_guest_ir); it decides the entry format."""

    LEGACY = 0
    """Entries of 32 bits."""
    LEGACY_GA = 1
    """Entries of 128 bits, always remapped."""
    VAPIC = 2
    """Entries of 128 bits, which may hand an interrupt to a virtual CPU."""

    @property
    def ga(self) -> bool:
        """Whether entries have 128 bits."""
        return self is not AmdGuestIr.LEGACY


@dataclass(frozen=True, slots=True)
class AmdIrte:
    """A table entry (union irte, struct irte_ga), or the driver's copy of one.

    An entry without `guest_mode` sends `vector` to `destination`, in the modes of a message.  In
    guest mode the interrupt is noted for `vector` in the page `ga_root_ptr` of a virtual CPU;
    `destination` is then where that CPU runs, and `is_run` says that it does.  While it does not,
    an entry with `ga_log_intr` has its `ga_tag` logged.  The 32-bit format has no guest mode and 8
    bits of a destination.
    """

    valid: int = 0
    int_type: int = 0
    dm: int = 0
    guest_mode: int = 0
    ga_log_intr: int = 0
    is_run: int = 0
    destination: int = 0
    vector: int = 0
    ga_tag: int = 0
    ga_root_ptr: int = 0


def pack_irte_32(irte: AmdIrte) -> int:
    """The 32 bits of an entry.

    pre: 0 <= irte.valid < 2 and 0 <= irte.int_type < 8 and 0 <= irte.dm < 2
    pre: 0 <= irte.destination <= 0xFFFFFFFF and 0 <= irte.vector < 256
    post: 0 <= _ <= 0xFFFFFFFF and _ & 1 == irte.valid
    post: unpack_irte_32(_).destination == irte.destination & 0xFF
    post: unpack_irte_32(_).vector == irte.vector
    """
    return (
        irte.valid
        | irte.int_type << 2
        | irte.dm << 6
        | (irte.destination & 0xFF) << 8
        | irte.vector << 16
    )


def unpack_irte_32(word: int) -> AmdIrte:
    """The entry that 32 bits mean; reserved bits are ignored.

    pre: 0 <= word <= 0xFFFFFFFF
    post: pack_irte_32(_) == word & 0xFFFF5D
    """
    return AmdIrte(
        valid=word & 1,
        int_type=word >> 2 & 7,
        dm=word >> 6 & 1,
        destination=word >> 8 & 0xFF,
        vector=word >> 16 & 0xFF,
    )


def pack_irte_128(irte: AmdIrte) -> int:
    """The 128 bits of an entry; the destination is split, with 24 bits in the lower half.

    pre: 0 <= irte.valid < 2 and 0 <= irte.int_type < 8 and 0 <= irte.dm < 2
    pre: 0 <= irte.guest_mode < 2 and 0 <= irte.ga_log_intr < 2 and 0 <= irte.is_run < 2
    pre: 0 <= irte.destination <= 0xFFFFFFFF and 0 <= irte.vector < 256
    pre: 0 <= irte.ga_tag <= 0xFFFFFFFF and 0 <= irte.ga_root_ptr < 1 << 40
    post: 0 <= _ < 1 << 128 and _ & 1 == irte.valid and _ >> 7 & 1 == irte.guest_mode
    post: _ >> 64 & 0xFF == irte.vector and _ >> 32 & 0xFFFFFFFF == irte.ga_tag
    post: (_ >> 8 & 0xFFFFFF | _ >> 120 << 24) == irte.destination
    """
    low = irte.valid | irte.guest_mode << 7 | (irte.destination & _U24) << 8 | irte.ga_tag << 32
    if irte.guest_mode:
        low |= irte.ga_log_intr << 2 | irte.is_run << 6
    else:
        low |= irte.int_type << 2 | irte.dm << 6
    high = irte.vector | irte.ga_root_ptr << 12 | irte.destination >> 24 << 56
    return low | high << 64


def unpack_irte_128(word: int) -> AmdIrte:
    """The entry that 128 bits mean; reserved bits are ignored.

    pre: 0 <= word < 1 << 128
    post: _.valid == word & 1 and _.guest_mode == word >> 7 & 1
    post: pack_irte_128(_) & 0xFFFFFFFF == word & (0xFFFFFFC5 if _.guest_mode else 0xFFFFFFDD)
    post: pack_irte_128(_) >> 32 == word >> 32 & 0xFF0FFFFFFFFFF0FFFFFFFFFF
    """
    low, high = word & _U64, word >> 64
    guest = low >> 7 & 1
    return AmdIrte(
        valid=low & 1,
        int_type=0 if guest else low >> 2 & 7,
        dm=0 if guest else low >> 6 & 1,
        guest_mode=guest,
        ga_log_intr=low >> 2 & 1 if guest else 0,
        is_run=low >> 6 & 1 if guest else 0,
        destination=low >> 8 & _U24 | high >> 56 << 24,
        vector=high & 0xFF,
        ga_tag=low >> 32,
        ga_root_ptr=high >> 12 & (1 << 40) - 1,
    )


def amd_hwirq(devid: int, i: int) -> int:
    """The hwirq of interrupt `i` of an allocation for `devid`, an unsigned number of 64 bits.

    All interrupts that were allocated one by one for a device have the same (AMD-8).  The kernel
    computes it as an int, so from device 0x8000 on it is widened with ones.

    pre: 0 <= devid <= 0xFFFF and 0 <= i <= 0xFFFF
    post: 0 <= _ < 1 << 64 and _ & 0xFFFFFFFF == devid << 16 | i
    post: _ >> 32 == (0xFFFFFFFF if devid >> 15 else 0)
    """
    number = devid << 16 | i
    return number | _HIGH_ONES if devid >> 15 else number


@dataclass(frozen=True, slots=True)
class IrteFormat:
    """How the entries of all tables are stored, and how one is told to be taken.

    There is no bitmap: an entry is taken while one of its `allocated_bits` is set, and taking it
    stores `allocated_mark` (struct amd_irte_ops).
    """

    pack: Callable[[AmdIrte], int]
    unpack: Callable[[int], AmdIrte]
    allocated_mark: int
    allocated_bits: int

    def is_allocated(self, word: int) -> bool:
        """Whether an entry is taken."""
        return bool(word & self.allocated_bits)


IRTE_32: Final = IrteFormat(pack_irte_32, unpack_irte_32, 0xFFFFFFFE, 0xFFFFFFFF)
IRTE_128: Final = IrteFormat(pack_irte_128, unpack_irte_128, 0xFF << 64, 0xFF << 64)
