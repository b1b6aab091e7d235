# SPDX-License-Identifier: GPL-2.0-only
"""The vector space of a CPU (arch/x86/include/asm/irq_vectors.h, v5.10).

Numbers below 0x20 are exceptions.  Device vectors come from a range below the system vectors; some
numbers of that range belong to the system too.
"""

import enum
from dataclasses import dataclass

from impl.kernel.irq.matrix import IRQ_MATRIX_BITS

__all__ = [
    "MANAGED_IRQ_SHUTDOWN_VECTOR",
    "PIC_CASCADE_IR",
    "STANDARD_GEOMETRY",
    "STANDARD_SYSTEM_VECTORS",
    "VECTOR_RETRIGGERED",
    "VECTOR_SHUTDOWN",
    "VECTOR_UNUSED",
    "ApicMode",
    "Geometry",
]

MANAGED_IRQ_SHUTDOWN_VECTOR = 0xEF
"""Written into messages of interrupts that own no vector; never in the matrix or in vector_irq."""

PIC_CASCADE_IR = 2

# A slot of vector_irq holds the irq number of a descriptor, or one of these.  The first two are the
# kernel's values; its third one, NULL, would be irq 0 here.
VECTOR_SHUTDOWN = -1
VECTOR_RETRIGGERED = -2
VECTOR_UNUSED = -3


@dataclass(frozen=True, slots=True)
class Geometry:
    """Size of the vector space: device vectors are [alloc_start, alloc_end) of matrix_bits.

    `isa_base` is the vector of legacy irq 0 (ISA_IRQ_VECTOR(0)).  Small spaces make small models;
    vector 0 means "none", so it cannot be a device vector.
    """

    matrix_bits: int = 256
    alloc_start: int = 0x20
    alloc_end: int = 0xEC
    isa_base: int = 0x30

    def __post_init__(self) -> None:
        if not 0 < self.alloc_start < self.alloc_end <= self.matrix_bits <= IRQ_MATRIX_BITS:
            raise ValueError(f"no vector space: {self}")
        if self.alloc_end > MANAGED_IRQ_SHUTDOWN_VECTOR:
            raise ValueError(f"the shutdown vector would be a device vector: {self}")

    def isa_irq_vector(self, irq: int) -> int:
        """The vector of legacy irq `irq` at boot (ISA_IRQ_VECTOR)."""
        return self.isa_base + irq


STANDARD_GEOMETRY = Geometry()

STANDARD_SYSTEM_VECTORS: tuple[int, ...] = (
    *range(20),
    29,
    0x20,
    0x80,
    0xEC,
    0xF0,
    0xF1,
    0xF2,
    0xF4,
    *range(0xF6, 0x100),
)
"""The system vectors of a bare-metal kernel with 32-bit emulation, in boot order."""


class ApicMode(enum.Enum):
    """How a CPU number becomes the destination in a message (apic->calc_dest_apicid)."""

    FLAT = "flat"
    """Logical flat: one bit for each CPU, at most eight of them."""

    PHYSICAL = "physical"
    """The APIC id, equal to the CPU number here."""

    X2APIC_CLUSTER = "x2apic cluster"
    """Logical x2APIC: the cluster in the upper half, one bit of sixteen in the lower."""

    def calc_dest_apicid(self, cpu: int) -> int:
        """The destination id of `cpu`."""
        if self is ApicMode.FLAT:
            return 1 << cpu
        if self is ApicMode.PHYSICAL:
            return cpu
        return (cpu >> 4) << 16 | 1 << (cpu & 15)

    @property
    def logical(self) -> bool:
        """Whether messages name destinations logically (apic->irq_dest_mode)."""
        return self is not ApicMode.PHYSICAL

    @property
    def x2apic(self) -> bool:
        """Whether a message may name a destination of more than 8 bits (x2apic_enabled).

        The physical mode is x2APIC's as soon as a CPU's id needs it; smaller ids read the same.
        """
        return self is not ApicMode.FLAT

    def cpu_of_dest(self, dest_apicid: int) -> int:
        """The CPU that a single-CPU destination id means; -1 for an id without a CPU."""
        if self is ApicMode.FLAT:
            return dest_apicid.bit_length() - 1
        if self is ApicMode.PHYSICAL:
            return dest_apicid
        return (dest_apicid >> 16) * 16 + (dest_apicid & 0xFFFF).bit_length() - 1
