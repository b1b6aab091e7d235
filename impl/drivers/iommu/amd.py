# SPDX-License-Identifier: GPL-2.0-only
"""The AMD-Vi driver of interrupt remapping: its globals (drivers/iommu/amd/, v5.10).

Each unit has two domains: "AMD-IR", directly on the vector domain, for IO-APICs and HPETs, and on
top of it "AMD-IR-MSI" for PCI devices.  A requester has a table, which it shares with whatever its
requests may be taken for.  An interrupt owns an entry of the table; its message, or the route entry
of its pin, names that entry for life, and an affinity change rewrites the entry alone.

    amd_irte.py      formats of entries
    amd_table.py     tables: who shares one, which entry is free
    amd_domain.py    the operations of the domain
    amd_affinity.py  the chip: moves, interrupts of virtual CPUs
    amd_init.py      units are found, switched on and off
    amd_devices.py   devices get the domain of their unit
    amd_hw.py        what the hardware does with a message

Events (system "amd_irte"; `devid` is a requester's id, `table` a table's number):

    amd_iommu_create_irq_domain  unit, domain, msi_domain (-1: none)
    amd_iommu_prepare            ret
    amd_iommu_enable             ret
    amd_iommu_disable
    amd_iommu_reenable
    alloc_irq_table              devid, table (a new one)
    set_remap_table_entry        devid, table (that its device table entry names from now on)
    set_min_index                table, min_index (the entries below are the IO-APIC's)
    alloc_irq_index              devid, table, index, count
    irq_remapping_prepare_irte   irq, devid, index, vector, dest (in the driver's copy only)
    modify_irte                  devid, table, index, valid, vector, dest, guest_mode
    free_irte                    devid, table, index
    irq_remapping_alloc_data     irq
    irq_remapping_free_data      irq, entry (whether the copy of the entry is freed too)
    amd_ir_set_vcpu_affinity     irq, guest_mode, ret
    amd_iommu_update_ga          devid, index, is_run, dest
    iommu_poll_ga_log            ga_tag
    iommu_ignore_device          device

The domain that a device gets is told by set_device_msi_domain (system "pci").
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from impl.arch.x86.vector import HwIrqCfg
from impl.arch.x86.x86_init import X86Platform
from impl.drivers.iommu.amd_irte import (
    IRTE_32,
    IRTE_128,
    MAX_IRQS_PER_TABLE,
    AmdGuestIr,
    AmdIrte,
    IrteFormat,
)
from impl.drivers.iommu.irq_remapping import IrqRemapMode, IrqRemapOps, IrqRemapping
from impl.kernel.irq.irq import IrqChip, IrqDomain, MsiMsg

__all__ = [
    "AmdIommu",
    "AmdIommus",
    "AmdIrData",
    "DevTableEntry",
    "DevidMap",
    "IommuDevData",
    "Irq2Irte",
    "IrqRemapTable",
    "Ivhd",
]


@dataclass(frozen=True, slots=True)
class Ivhd:
    """What firmware says about one unit (a block of the IVRS table).

    `requesters` are ranges (first, last) of requesters that it serves.  `aliases` says under which
    id the requests of some appear.  `ioapics` and `hpets` give the requester of each such unit by
    its number.  `ga`: entries may have 128 bits; `vapic`: guest mode; `xt`: destinations of 32
    bits.
    """

    index: int
    requesters: tuple[tuple[int, int], ...] = ((0, 0xFFFF),)
    aliases: tuple[tuple[int, int], ...] = ()
    ioapics: tuple[tuple[int, int], ...] = ()
    hpets: tuple[tuple[int, int], ...] = ()
    ga: bool = True
    vapic: bool = True
    xt: bool = True


class AmdIommu:
    """A unit (struct amd_iommu); `enabled` is the hardware's: it remaps."""

    __slots__ = ("enabled", "index", "ir_domain", "msi_domain", "requesters")

    def __init__(self, index: int) -> None:
        self.index = index
        self.requesters: list[tuple[int, int]] = []
        self.ir_domain: IrqDomain | None = None
        self.msi_domain: IrqDomain | None = None
        self.enabled = False


class IrqRemapTable:
    """A table (struct irq_remap_table): `id` numbers it on its machine.

    Entries below `min_index`, which is 0 or 32, are an IO-APIC's pins.
    """

    __slots__ = ("id", "min_index", "table")

    def __init__(self, id: int) -> None:
        self.id = id
        self.min_index = 0
        self.table = [0] * MAX_IRQS_PER_TABLE


@dataclass(frozen=True, slots=True)
class DevTableEntry:
    """The part of a requester's device table entry that is about interrupts.

    Without `remap_enable` its messages pass as they are.  With it they need a `table` that
    `intctl` lets them use, of 2**`table_len` entries; others are blocked.
    """

    table: IrqRemapTable | None = None
    table_len: int = 0
    intctl: bool = False
    remap_enable: bool = False


@dataclass(frozen=True, slots=True)
class DevidMap:
    """The requester of an IO-APIC or an HPET (struct devid_map); the command line wins."""

    id: int
    devid: int
    cmd_line: bool = False


@dataclass(slots=True)
class IommuDevData:
    """What the driver keeps of a requester that it has met (struct iommu_dev_data).

    `use_vapic` says that a guest owns the device.
    """

    use_vapic: bool = False


@dataclass(slots=True)
class Irq2Irte:
    """Which entry an interrupt uses (struct irq_2_irte)."""

    devid: int = 0
    index: int = 0


@dataclass(slots=True)
class AmdIrData:
    """The remapping level of one interrupt (struct amd_ir_data).

    `entry` is the driver's copy of the table entry, `msi_entry` the message, the same for life.
    The others are for guest mode: `ref` is the table whose entry was last written there, `cfg` the
    target to come back to, ga_* what the guest asked for.
    """

    irq_2_irte: Irq2Irte = field(default_factory=Irq2Irte)
    msi_entry: MsiMsg = field(default_factory=MsiMsg)
    entry: AmdIrte = field(default_factory=AmdIrte)
    ref: IrqRemapTable | None = None
    cfg: HwIrqCfg | None = None
    ga_root_ptr: int = 0
    ga_vector: int = 0
    ga_tag: int = 0
    cached_ga_tag: int = 0


class AmdIommus:
    """The globals of the driver of one machine; made by impl.drivers.iommu.amd_init.

    `ivrs` is firmware's table, empty without AMD-Vi, and `scanned` tells that it was read.
    `ioapic_ids` are the machine's IO-APICs.  `disabled` is amd_iommu=off of the command line.
    `irq_remap` says that remapping is wanted and possible (amd_iommu_irq_remap), `guest_ir` and
    `xt_mode` how.  `dev_table` holds the device table entries that differ from the initial one.
    `met` are the requesters of devices that are there and that the driver has met, `ignored` those
    that it will have nothing to do with.  `nr_entry_copies` counts the copies of entries in memory.

    The environment's: `enable_error` is what enabling fails with, a negative errno or 0;
    `table_lock_dropped` is called where alloc_irq_table lets another CPU in; `ga_log` is the
    hardware's log of interrupts for virtual CPUs that do not run, which `ga_log_notifier` reads.
    """

    __slots__ = (
        "alias_table",
        "chip",
        "dev_data",
        "dev_table",
        "disabled",
        "enable_error",
        "ga_log",
        "ga_log_notifier",
        "guest_ir",
        "hpet_map",
        "ignored",
        "ioapic_ids",
        "ioapic_map",
        "irq_lookup_table",
        "irq_remap",
        "ivrs",
        "kernel",
        "met",
        "nr_entry_copies",
        "nr_tables",
        "ops",
        "r",
        "scanned",
        "table_lock_dropped",
        "units",
        "x86",
        "xt_mode",
    )

    def __init__(
        self,
        r: IrqRemapping,
        x86: X86Platform,
        ivrs: Sequence[Ivhd],
        *,
        ioapic_ids: Sequence[int],
        guest_ir: AmdGuestIr,
        disabled: bool,
    ) -> None:
        self.r = r
        self.x86 = x86
        self.kernel = x86.kernel
        self.ivrs = tuple(ivrs)
        self.ioapic_ids = tuple(ioapic_ids)
        self.guest_ir = guest_ir
        self.disabled = disabled
        self.scanned = False
        self.irq_remap = False
        self.xt_mode = IrqRemapMode.XAPIC
        self.units: list[AmdIommu] = []
        self.alias_table: dict[int, int] = {}
        self.ignored: set[int] = set()
        self.met: set[int] = set()
        self.irq_lookup_table: dict[int, IrqRemapTable] = {}
        self.dev_table: dict[int, DevTableEntry] = {}
        self.dev_data: dict[int, IommuDevData] = {}
        self.ioapic_map: list[DevidMap] = []
        self.hpet_map: list[DevidMap] = []
        self.nr_tables = 0
        self.nr_entry_copies = 0
        self.enable_error = 0
        self.table_lock_dropped: Callable[[], None] | None = None
        self.ga_log: list[int] = []
        self.ga_log_notifier: Callable[[int], None] | None = None
        self.chip: IrqChip
        self.ops: IrqRemapOps

    @property
    def format(self) -> IrteFormat:
        """The format of all entries, chosen once."""
        return IRTE_128 if self.guest_ir.ga else IRTE_32

    def rlookup(self, devid: int) -> AmdIommu | None:
        """The unit of a requester, None if it has none (amd_iommu_rlookup_table)."""
        if devid in self.ignored:
            return None
        for unit in reversed(self.units):
            if any(first <= devid <= last for first, last in unit.requesters):
                return unit
        return None

    def alias(self, devid: int) -> int:
        """The id under which the requests of `devid` appear, by firmware."""
        return self.alias_table.get(devid, devid)

    def irte_destination(self, cfg: HwIrqCfg) -> int:
        """The destination field for a target; the narrow format cuts it."""
        return cfg.dest_apicid if self.guest_ir.ga else cfg.dest_apicid & 0xFF

    def dev_table_entry(self, devid: int) -> DevTableEntry:
        """The device table entry of a requester; the initial one blocks, if interrupts remap."""
        entry = self.dev_table.get(devid)
        return entry if entry is not None else DevTableEntry(remap_enable=self.irq_remap)

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of the driver."""
        kernel = self.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("amd_irte", name, kernel.this_cpu, **fields)
