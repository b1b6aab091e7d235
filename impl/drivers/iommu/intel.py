# SPDX-License-Identifier: GPL-2.0-only
"""The VT-d driver of interrupt remapping: its globals (drivers/iommu/intel/irq_remapping.c, v5.10).

Each unit has two domains: "INTEL-IR", directly on the vector domain, for IO-APICs and HPETs, and on
top of it "INTEL-IR-MSI" for PCI devices.  An interrupt owns an entry of the unit's table; its
message, or the route entry of its pin, names that entry for life, and an affinity change rewrites
the entry alone.

    intel_irte.py      formats of entries and messages
    intel_table.py     units and their tables
    dmar.py            which unit serves which device
    intel_setup.py     units are prepared, switched on and off
    intel_unit.py      one unit: its table and domains, and its switch
    intel_scope.py     which IO-APICs and HPETs are behind which unit
    intel_domain.py    the operations of the domain
    intel_sid.py       who may use an entry
    intel_affinity.py  the chip: moves, posted interrupts
    intel_devices.py   devices get the domain of their unit
    intel_hotplug.py   units come and go
    intel_hw.py        what the hardware does with a message

Events (system "irte"; `unit` is the unit's number, and unless noted the first field):

    dmar_register_drhd_unit           segment, all (whether it is a catch-all unit)
    dmar_free_drhd
    dmar_insert_dev_scope             device
    dmar_remove_dev_scope             device
    intel_setup_irq_remapping         domain, msi_domain (-1: none), eim
    intel_teardown_irq_remapping
    iommu_load_old_irte               entries (taken over from a crashed kernel), ret
    iommu_enable_irq_remapping
    iommu_disable_irq_remapping
    dmar_ir_hotplug                   insert, ret
    irte_alloc                        index, mask, count
    irte_free                         index, mask
    irte_write                        index (the entry itself), present, posted, vector, dest, svt,
                                      sq, sid
    qi_flush_iec                      index, mask, ret
    qi_global_iec                     ret
    intel_irq_remapping_prepare_irte  irq, index, sub_handle, vector, dest, svt, sq, sid,
                                      address_lo, data (both 0 for a pin)
    intel_ir_reconfigure_irte         irq, index (the entry itself), vector, dest, written
    intel_irq_remapping_deactivate    irq
    intel_ir_set_vcpu_affinity        irq, posted, vector, address
    intel_free_irq_resources          irq, index, sub_handle

`dest` is an APIC id.  Stores of single words have the system "irte_regs":

    set_64bit, cmpxchg_double         index, low, high (the entry behind the store)

The domain that a device gets is told by set_device_msi_domain (system "pci").
"""

from collections.abc import Sequence
from dataclasses import dataclass

from impl.arch.x86.vector import HwIrqCfg
from impl.arch.x86.x86_init import X86Platform
from impl.drivers.iommu.dmar import Dmar
from impl.drivers.iommu.intel_irte import Irte, irte_dest
from impl.drivers.iommu.intel_table import IntelIommu
from impl.drivers.iommu.irq_remapping import IrqRemapOps, IrqRemapping
from impl.kernel.irq.irq import IrqChip

__all__ = ["IntelIr", "IrScope", "prepare_irte"]


@dataclass(slots=True)
class IrScope:
    """An IO-APIC or an HPET behind a unit (struct ioapic_scope, struct hpet_scope).

    `bus` and `devfn` make the id under which it sends.  `iommu` is None once the unit is gone.
    """

    iommu: IntelIommu | None
    id: int
    bus: int
    devfn: int

    @property
    def sid(self) -> int:
        """The id under which it sends."""
        return self.bus << 8 | self.devfn


class IntelIr:
    """The globals of the driver of one machine; made by impl.drivers.iommu.intel_setup.

    `eim_mode` is the x2APIC mode of all units.  `ir_ioapic` and `ir_hpet` list what is behind the
    units.  `ioapic_ids` are the machine's IO-APICs, `x2apic_supported` and `cx16` (a store of 128
    bits) abilities of its CPUs.  `kdump` says that this kernel runs because another one crashed.
    """

    __slots__ = (
        "chip",
        "cx16",
        "dmar",
        "eim_mode",
        "ioapic_ids",
        "ir_hpet",
        "ir_ioapic",
        "kdump",
        "kernel",
        "ops",
        "r",
        "x2apic_supported",
        "x86",
    )

    def __init__(
        self,
        r: IrqRemapping,
        x86: X86Platform,
        dmar: Dmar,
        *,
        ioapic_ids: Sequence[int],
        x2apic_supported: bool,
        cx16: bool,
        kdump: bool,
    ) -> None:
        self.r = r
        self.x86 = x86
        self.kernel = x86.kernel
        self.dmar = dmar
        self.ioapic_ids = tuple(ioapic_ids)
        self.x2apic_supported = x2apic_supported
        self.cx16 = cx16
        self.kdump = kdump
        self.eim_mode = False
        self.ir_ioapic: list[IrScope] = []
        self.ir_hpet: list[IrScope] = []
        self.chip: IrqChip
        self.ops: IrqRemapOps


def prepare_irte(ir: IntelIr, cfg: HwIrqCfg) -> Irte:
    """A remapped entry that sends an edge to `cfg`; any requester may use it."""
    return Irte(
        present=1,
        dst_mode=int(ir.x86.vectors.apic.logical),
        redir_hint=1,
        vector=cfg.vector,
        dest_id=irte_dest(cfg.dest_apicid, ir.eim_mode),
    )
