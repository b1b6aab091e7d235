# SPDX-License-Identifier: GPL-2.0-only
"""The parts that a machine can be described with, each a section of a TOML file.

A key that a class has no default for must be there.
"""

from dataclasses import dataclass

__all__ = [
    "BusDescription",
    "DeviceDescription",
    "DmarDescription",
    "HpetDescription",
    "IoApicDescription",
    "MpIrqDescription",
    "MsiDescription",
    "UvDescription",
]


@dataclass(frozen=True, slots=True)
class IoApicDescription:
    """[[ioapic]]: one IO-APIC; its pins serve the GSIs from `gsi_base` on.

    `type` says how irq numbers are chosen: "legacy" (by GSI, ISA irqs apart), "strict" (by GSI),
    "dynamic" (any) or "invalid" (no irq domain).  `id` is its position by default.
    """

    id: int
    gsi_base: int
    pins: int
    type: str = "legacy"


@dataclass(frozen=True, slots=True)
class MpIrqDescription:
    """[[mp_irq]]: the firmware says that `irq` of a bus ("isa" or "pci") is wired to `gsi`.

    An ISA irq that has no entry is wired to the GSI of its number, unless another entry took that.
    `trigger` is "edge", "level" or "conforming", `polarity` "high", "low" or "conforming";
    conforming, the default, is edge and high on ISA, level and low on PCI.
    """

    bus: str
    irq: int
    gsi: int
    trigger: str = "conforming"
    polarity: str = "conforming"


@dataclass(frozen=True, slots=True)
class HpetDescription:
    """[[hpet]]: one timer block and the number of its channels that can send messages."""

    id: int
    channels: int


@dataclass(frozen=True, slots=True)
class DmarDescription:
    """[[dmar]]: one DMA remapping unit; `node` -1 if it is near no node."""

    id: int
    node: int = -1


@dataclass(frozen=True, slots=True)
class UvDescription:
    """[[uv]]: one UV blade, whose hub is `pnode` (default: the blade) near `node` (default: -1)."""

    blade: int
    pnode: int
    node: int = -1


@dataclass(frozen=True, slots=True)
class BusDescription:
    """[[bus]]: bus `id` = "SSSS:BB", a root bus or behind the device named `bridge`.

    `no_msi` forbids MSI on it and on the buses behind it.
    """

    segment: int
    number: int
    bridge: str = ""
    no_msi: bool = False


@dataclass(frozen=True, slots=True)
class MsiDescription:
    """msi = {...}: `vectors` is a power of two up to 32; can they be `maskbit` masked, is the
    address of 64 bits (`is_64`, true by default)."""

    vectors: int = 1
    maskbit: bool = False
    is_64: bool = True


@dataclass(frozen=True, slots=True)
class DeviceDescription:
    """[[device]]: a PCI function at `bdf` = "SSSS:BB:DD.F", near `node` (default -1).

    `msi` is its MSI capability, `msix` the size of its MSI-X table (0: none), `gsi` where its INTx
    line ends (-1: nowhere).  `quirks` are out of "no_msi", "no_64bit_msi".  `hotplug` leaves the
    device out of the scan at boot.

    [[devices]] stands for `count` equal ones, called name-0, name-1 ..., at function numbers that
    follow one another from `first` on; the buses they reach are root buses unless there is an entry
    for them.  `spread` distributes them over the nodes of the CPUs.
    """

    name: str
    segment: int
    bus: int
    devfn: int
    node: int = -1
    msi: MsiDescription | None = None
    msix: int = 0
    gsi: int = -1
    quirks: frozenset[str] = frozenset()
    hotplug: bool = False
