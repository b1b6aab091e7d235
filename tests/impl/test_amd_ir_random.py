# SPDX-License-Identifier: GPL-2.0-only
"""Random lives of interrupts behind AMD-Vi, judged by AMD-1 to AMD-10 after each step."""

import pytest

from impl.defects import Defect
from impl.drivers.iommu.amd_affinity import AmdIommuPiData
from impl.drivers.iommu.amd_devices import amd_iommu_set_use_vapic
from impl.drivers.iommu.amd_irte import MAX_IRQS_PER_TABLE, AmdGuestIr, amd_hwirq
from impl.drivers.iommu.amd_table import dma_aliases
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    pci_disable_msi,
    pci_disable_msix,
)
from impl.kernel.irq.irq import IRQD_ACTIVATED, MsiMsg
from impl.kernel.irq.manage import irq_set_vcpu_affinity
from tests.impl.amd_support import AmdMachine
from tests.impl.remapped_life import NR_CPUS, RemappedLife

STEPS = 250
BRIDGE = 0x200
"""The id under which the requests of the first two devices appear."""


class Life(RemappedLife[AmdMachine]):
    """Interrupts behind AMD-Vi."""

    site = "irq_remapping_alloc"

    def __init__(self, seed: int, guest_ir: AmdGuestIr, *defects: Defect) -> None:
        super().__init__(AmdMachine(NR_CPUS, guest_ir=guest_ir, defects=defects), seed)
        self.devs = [
            self.m.device(
                msi=MsiCap(5, maskbit=True),
                msix=8,
                devfn=8 * slot,
                dma_aliases=((0, BRIDGE),) if slot < 3 else (),
            )
            for slot in range(1, 4)
        ]
        for dev in self.devs:
            amd_iommu_set_use_vapic(self.m.amd, dev, True)

    def drop(self, irq: int) -> None:
        assert self.m.free_irq(irq) == 0
        self.requested.remove(irq)

    def move(self) -> None:
        irq = self.any_irq()
        if irq in self.requested:
            assert self.m.set_affinity(irq, self.random.randint(1, (1 << NR_CPUS) - 1)) == 0

    def hand_over(self) -> None:
        irq = self.any_irq()
        if irq:
            pi = AmdIommuPiData(self.random.random() < 0.5, 0x1000 * irq, 0x50, irq)
            assert irq_set_vcpu_affinity(self.m.irqs, irq, pi) == 0

    def signal(self) -> None:
        dev = self.random.choice(self.devs)
        for nr, irq in enumerate(self.irqs(dev)):
            if irq in self.requested:
                guest = self.m.irte(irq).guest_mode
                expected = None if guest else self.m.config(irq)
                for devid in dma_aliases(dev):
                    assert self.m.deliver(dev, nr, devid) == expected


def judge(life: Life) -> None:
    m, amd = life.m, life.m.amd
    for dev in life.devs:
        if dev.devid in amd.irq_lookup_table:
            table = m.table(dev.devid)
            for devid in dma_aliases(dev):
                assert amd.irq_lookup_table[devid] is table, "AMD-1"
                assert amd.dev_table[devid].table is table, "AMD-1"
    slots = [(m.table(m.where(irq).devid).id, m.where(irq).index) for irq in life.messages]
    assert len(set(slots)) == len(slots), "AMD-4"
    taken = {
        (table.id, slot)
        for table in set(amd.irq_lookup_table.values())
        for slot in range(MAX_IRQS_PER_TABLE)
        if amd.format.is_allocated(table.table[slot])
    }
    assert taken == set(slots), "AMD-4, AMD-10"
    assert amd.nr_entry_copies == len(life.messages), "AMD-10"
    for irq, message in life.messages.items():
        judge_irq(m, irq, message)
    for dev in life.devs:
        if dev.msi_enabled:
            judge_block(m, life.irqs(dev))


def judge_irq(m: AmdMachine, irq: int, message: MsiMsg) -> None:
    data, irte = m.ir_data(irq), m.irte(irq)
    assert data.msi_entry == message and message.data == data.irq_2_irte.index, "AMD-7"
    if m.irqd(irq).test(IRQD_ACTIVATED) and not irte.guest_mode:
        assert (irte.valid, irte.destination, irte.vector) == (1, *m.config(irq)), "AMD-9"
    if irte.guest_mode:
        assert m.amd.guest_ir is AmdGuestIr.VAPIC
        assert (irte.vector, irte.ga_tag, irte.ga_root_ptr) == (0x50, irq, irq)


def judge_block(m: AmdMachine, irqs: list[int]) -> None:
    where = m.where(irqs[0])
    assert where.index % (1 << (len(irqs) - 1).bit_length()) == 0, "AMD-5"
    for i, irq in enumerate(irqs):
        assert m.where(irq).index == where.index + i, "AMD-5"
        assert m.ir_level(irq).hwirq == amd_hwirq(where.devid, i), "AMD-8"


@pytest.mark.parametrize("guest_ir", list(AmdGuestIr))
@pytest.mark.parametrize("seed", range(3))
def test_amd_1_to_amd_10_hold_after_every_step(seed: int, guest_ir: AmdGuestIr) -> None:
    life = Life(seed, guest_ir)
    for _ in range(STEPS):
        life.step()
        judge(life)
    for dev in life.devs:
        for irq in life.irqs(dev):
            if irq in life.requested:
                life.drop(irq)
    for dev in life.devs:
        life.messages = {k: v for k, v in life.messages.items() if k not in life.irqs(dev)}
        pci_disable_msi(dev)
        pci_disable_msix(dev)
        judge(life)
    assert life.m.amd.nr_entry_copies == 0


@pytest.mark.parametrize(
    ("defect", "law"), [(Defect.AMD_ALIAS, "AMD-1"), (Defect.AMD_COPY, "AMD-10")]
)
def test_a_defect_breaks_its_law(defect: Defect, law: str) -> None:
    life = Life(0, AmdGuestIr.VAPIC, defect)
    with pytest.raises(AssertionError, match=law):
        for _ in range(8 * STEPS):
            life.step()
            judge(life)
