# SPDX-License-Identifier: GPL-2.0-only
"""Random lives of interrupts behind two VT-d units, judged by INT-1 to INT-13 after each step."""

import pytest

from impl.arch.x86.irq_vectors import ApicMode
from impl.drivers.iommu.intel_affinity import VcpuData
from impl.drivers.iommu.intel_hw import IrDelivery, IrFault, vtd_remap_msi
from impl.drivers.iommu.intel_irte import (
    INTR_REMAP_TABLE_ENTRIES,
    SVT_NO_VERIFY,
    Irte,
    decode_ir_msi_msg,
    ir_hwirq,
    irte_apicid,
    unpack_irte,
)
from impl.drivers.iommu.intel_table import IntelIommu, IntelIrData, IrqMode
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.pci import PciDev
from impl.kernel.irq.irq import IRQD_ACTIVATED, MsiMsg
from impl.kernel.irq.manage import irq_set_vcpu_affinity
from tests.impl.intel_support import CATCH_ALL, IntelMachine, endpoint, unit
from tests.impl.remapped_life import NR_CPUS, RemappedLife

NR_DEVICES = 3
STEPS = 250

UNITS = (unit(0x2000, endpoint(0, (3, 0)), endpoint(0, (4, 0))), CATCH_ALL)


class Life(RemappedLife[IntelMachine]):
    """Interrupts behind VT-d units."""

    site = "intel_irq_remapping_alloc"

    def __init__(self, seed: int, *, x2apic: bool) -> None:
        machine = IntelMachine(
            *UNITS,
            nr_cpus=NR_CPUS,
            apic=ApicMode.X2APIC_CLUSTER if x2apic else ApicMode.FLAT,
            x2apic_supported=x2apic,
        )
        super().__init__(machine, seed)
        self.devs = [
            self.m.device(msi=MsiCap(5, maskbit=True), msix=8, devfn=3 + slot << 3)
            for slot in range(NR_DEVICES)
        ]
        self.posted: set[int] = set()

    def drop(self, irq: int) -> None:
        assert self.m.free_irq(irq) == 0
        self.requested.discard(irq)
        self.posted.discard(irq)

    def move(self) -> None:
        irq = self.any_irq()
        if irq:
            self.m.set_affinity(irq, self.random.randint(1, (1 << NR_CPUS) - 1))

    def hand_over(self) -> None:
        irq = self.any_irq()
        if irq not in self.requested:
            return
        if self.random.random() < 0.5:
            address = self.random.randrange(1 << 58) << 6
            irq_set_vcpu_affinity(self.m.irqs, irq, VcpuData(address, 0x40))
            self.posted.add(irq)
        else:
            irq_set_vcpu_affinity(self.m.irqs, irq, None)
            self.posted.discard(irq)

    def signal(self) -> None:
        """What the hardware makes of a message is what the kernel has in mind."""
        irq = self.any_irq()
        if not irq:
            return
        data = self.m.ir_data(irq)
        desc = self.m.irqs.descs[irq].msi_desc
        assert desc is not None and isinstance(desc.dev, PciDev)
        reached = vtd_remap_msi(data.irq_2_iommu.iommu, data.msi_entry, desc.dev.devid)
        if irq in self.posted:
            assert isinstance(reached, IrDelivery) and reached.vector == 0x40
        elif irq in self.requested:
            cfg = self.m.vector_level(irq).hw_irq_cfg
            assert reached == IrDelivery(cfg.dest_apicid, cfg.vector)
        stranger = vtd_remap_msi(data.irq_2_iommu.iommu, data.msi_entry, desc.dev.devid ^ 0xFF00)
        assert stranger in (IrFault.SOURCE_ID, IrFault.NOT_PRESENT)

    # The laws

    def judge(self) -> None:
        assert self.m.remapped() == sorted(self.messages)
        for iommu in self.m.dmar.iommus:
            self.judge_unit(iommu)
        for irq, message in self.messages.items():
            data = self.m.ir_data(irq)
            self.judge_names(irq, data, message)
            self.judge_entry(irq, data)

    def judge_unit(self, iommu: IntelIommu) -> None:
        """INT-1, INT-2, INT-7 for entries that nobody owns, INT-13."""
        union = 0
        for irq in self.messages:
            where = self.m.ir_data(irq).irq_2_iommu
            if where.iommu is not iommu or where.sub_handle:
                continue
            assert where.irte_index % (1 << where.irte_mask) == 0
            assert where.irte_index + (1 << where.irte_mask) <= INTR_REMAP_TABLE_ENTRIES
            region = (1 << (1 << where.irte_mask)) - 1 << where.irte_index
            assert not union & region
            union |= region
        assert iommu.table.bitmap == union
        for slot, words in iommu.irta.items():
            assert union >> slot & 1
            assert iommu.eime or irte_apicid(unpack_irte(*words).dest_id, True) < 1 << 16

    def judge_names(self, irq: int, data: IntelIrData, message: MsiMsg) -> None:
        """INT-3 to INT-5."""
        desc = self.m.irqs.descs[irq].msi_desc
        assert desc is not None
        where, first = data.irq_2_iommu, self.m.ir_data(desc.irq).irq_2_iommu
        assert (where.iommu, where.irte_index, where.irte_mask) == (
            first.iommu,
            first.irte_index,
            first.irte_mask,
        )
        assert where.sub_handle == irq - desc.irq
        assert (1 << where.irte_mask) // 2 < desc.nvec_used <= 1 << where.irte_mask
        assert self.m.level(irq).hwirq == ir_hwirq(where.irte_index, where.sub_handle)
        assert data.msi_entry == message
        decoded = decode_ir_msi_msg(message.address_lo, message.data)
        assert decoded == (where.irte_index, where.sub_handle)

    def judge_entry(self, irq: int, data: IntelIrData) -> None:
        """INT-6 to INT-9, INT-12."""
        entry = self.m.entry(irq)
        cfg = self.m.vector_level(irq).hw_irq_cfg
        cached = data.irte_entry
        assert (data.irq_2_iommu.mode is IrqMode.IRQ_POSTING) == bool(entry.pst)
        assert bool(entry.pst) == (irq in self.posted)
        if irq in self.requested:
            assert self.m.irqd(irq).test(IRQD_ACTIVATED)
            aimed = irte_apicid(cached.dest_id, self.m.ir.eim_mode), cached.vector
            assert aimed == (cfg.dest_apicid, cfg.vector)
            assert entry.present == 1 and entry.svt != SVT_NO_VERIFY
            assert entry.pst or entry == cached
        assert entry in (Irte(), cached) or entry.pst


@pytest.mark.parametrize("x2apic", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_int_1_to_13_hold_whatever_happens(seed: int, x2apic: bool) -> None:
    life = Life(seed, x2apic=x2apic)
    before = life.m.ir_footprint()
    life.judge()
    for _ in range(STEPS):
        life.step()
        life.judge()
    for dev in life.devs:
        life.devs = [dev]
        life.disable()
    assert life.m.ir_footprint() == before
