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
    "dynamic" (any) or "invalid" (no irq domain).

    Firmware may tell under which `requester` ("BB:DD.F") its messages appear, and on an Intel
    machine which `dmar` unit they reach; -1 if it does not.
    """

    id: int
    gsi_base: int
    pins: int
    type: str = "legacy"
    dmar: int = -1
    requester: int = -1


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
    """[[hpet]]: one timer block and the number of its channels that can send messages.

    `dmar` and `requester` are those of an IoApicDescription.
    """

    id: int
    channels: int
    dmar: int = -1
    requester: int = -1


@dataclass(frozen=True, slots=True)
class DmarDescription:
    """[[dmar]]: one DMA remapping unit of Intel; `node` -1 if it is near no node.

    With `remapping` it remaps interrupts, and then the ids count from 0 on.  `x2apic` says that it
    can reach CPUs beyond 255 (extended interrupt mode), and 2**`max_handle_mask` is the size of the
    largest block of its entries.  It serves the `devices` named, and what is behind them, of its
    `segment`, or as the `catch_all` unit those that no other unit names.  Of the devices in
    `mistaken`, firmware calls a bridge an endpoint, or the other way round.
    """

    id: int
    node: int = -1
    remapping: bool = False
    x2apic: bool = True
    max_handle_mask: int = 5
    segment: int = 0
    catch_all: bool = False
    devices: tuple[str, ...] = ()
    mistaken: tuple[str, ...] = ()


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
    device out of the scan at boot.  `nvme` is its class.  `physfn` makes it a virtual function of
    the device of that name; such a device appears when its physical function is told so.

    `aliases` are the requesters under which its messages may appear, nearest first: "BB:DD.F" or
    "BB:DD.F on BB", with the number of the bus that shows it (default: the device's).  Each is kept
    behind that number.

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
    nvme: bool = False
    physfn: str = ""
    aliases: tuple[tuple[int, int], ...] = ()
