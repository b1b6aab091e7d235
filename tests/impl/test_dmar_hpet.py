# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of DMA remapping units and HPET channels."""

import errno

import pytest

from impl.arch.x86.dmar import DmarUnit, dmar_alloc_hwirq, dmar_free_hwirq, dmar_set_interrupt
from impl.arch.x86.hpet import HpetChannel, hpet_assign_irq, hpet_create_irq_domain, hpet_dev_id
from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.vector_domain import irq_msi_compose_msg
from impl.arch.x86.x86_init import X86Init
from impl.defects import Defect
from impl.kernel.irq.chip import irq_chip_retrigger_hierarchy
from impl.kernel.irq.irq import (
    IRQD_MOVE_PCNTXT,
    IrqChip,
    IrqDomain,
    IrqDomainOps,
    MsiMsg,
    irq_data_get_irq_chip,
)
from impl.kernel.irq.irqdomain import IrqFwnode, irq_domain_create_tree, irq_find_mapping
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_free_irqs
from impl.kernel.irq.msi import MsiDomainInfo
from impl.kernel.kernel import KernelBug
from tests.impl.pci_support import PciMachine
from tests.impl.support import mask


def fwnode_name(domain: IrqDomain) -> str:
    assert isinstance(domain.fwnode, IrqFwnode)
    return domain.fwnode.name


def test_apic_7_each_unit_has_the_hwirq_of_its_id() -> None:
    m = PciMachine()
    units = [DmarUnit(id) for id in range(3)]
    assert [dmar_set_interrupt(m.x86, unit) for unit in units] == [0, 0, 0]
    domain = m.x86.dmar_domain
    assert domain is not None and domain.parent is m.vectors.x86_vector_domain
    assert [m.irqd(unit.irq).hwirq for unit in units] == [0, 1, 2]
    assert [irq_find_mapping(m.domains, domain, unit.id) for unit in units] == [
        unit.irq for unit in units
    ]
    assert dmar_set_interrupt(m.x86, units[0]) == 0
    assert dmar_alloc_hwirq(m.x86, 1, 0, DmarUnit(1)) == -errno.EEXIST


def test_a_unit_gets_its_message_when_it_is_requested_and_can_be_masked() -> None:
    m = PciMachine()
    unit = DmarUnit(0)
    assert dmar_set_interrupt(m.x86, unit) == 0
    assert unit.message == MsiMsg()
    assert m.request_irq(unit.irq) == 0
    cfg = m.vector_level(unit.irq).hw_irq_cfg
    assert (unit.message, unit.masked) == (irq_msi_compose_msg(m.vectors, cfg), False)
    assert m.set_affinity(unit.irq, mask(0)) == 0
    assert m.fire(unit.irq)
    assert unit.message == irq_msi_compose_msg(m.vectors, cfg)
    assert m.vector_level(unit.irq).cpu == 0
    assert irq_chip_retrigger_hierarchy(m.irqd(unit.irq)) == 1
    assert m.free_irq(unit.irq) == 0
    assert (unit.message, unit.masked) == (MsiMsg(), True)


def test_freeing_a_unit_lets_it_come_back() -> None:
    m = PciMachine()
    assert dmar_set_interrupt(m.x86, DmarUnit(4)) == 0
    before = m.footprint()
    irq = dmar_alloc_hwirq(m.x86, 5, 0, DmarUnit(5))
    dmar_free_hwirq(m.x86, irq)
    assert m.footprint() == before
    assert dmar_alloc_hwirq(m.x86, 5, 0, DmarUnit(5)) == irq


def test_n1_msi_2_without_the_hwirq_the_second_unit_collides() -> None:
    m = PciMachine(defects=(Defect.N1,))
    assert dmar_set_interrupt(m.x86, DmarUnit(0)) == 0
    assert dmar_alloc_hwirq(m.x86, 1, 0, DmarUnit(1)) == -errno.EEXIST
    assert dmar_set_interrupt(m.x86, DmarUnit(1)) == -errno.EINVAL


def test_n2_msi_1_without_the_default_operations_there_is_no_get_hwirq() -> None:
    m = PciMachine(defects=(Defect.N2,))
    with pytest.raises(KernelBug, match="get_hwirq"):
        dmar_alloc_hwirq(m.x86, 0, 0, DmarUnit(0))
    domain = hpet_create_irq_domain(m.x86, 0)
    assert domain is not None
    with pytest.raises(KernelBug, match="get_hwirq"):
        hpet_assign_irq(m.x86, domain, HpetChannel(0), 0)


@pytest.mark.parametrize("defects", [(), (Defect.N2,)])
def test_msi_1_the_operations_of_both_domains(defects: tuple[Defect, ...]) -> None:
    m = PciMachine(defects=defects)
    hpet = hpet_create_irq_domain(m.x86, 0)
    assert hpet is not None
    if not defects:
        dmar_alloc_hwirq(m.x86, 0, 0, DmarUnit(0))
        assert m.x86.dmar_domain is not None
    for domain in (hpet, m.x86.dmar_domain):
        if domain is None:
            continue
        info: MsiDomainInfo = domain.host_data
        assert info.ops is not None and info.ops.msi_init is not None
        assert info.ops.domain_alloc_irqs is not None and info.ops.domain_free_irqs is not None
        for op in (info.ops.get_hwirq, info.ops.set_desc, info.ops.msi_check):
            assert (op is None) == bool(defects)


@pytest.mark.parametrize("site", ["irq_domain_alloc_fwnode", "irq_domain_add"])
def test_without_memory_a_unit_is_asked_again_later(site: str) -> None:
    m = PciMachine()
    fwnodes = set(m.domains.fwnodes)
    m.fail_next(site)
    assert dmar_alloc_hwirq(m.x86, 0, 0, DmarUnit(0)) == -1
    assert m.domains.fwnodes == fwnodes
    assert dmar_set_interrupt(m.x86, DmarUnit(0)) == 0
    m.fail_next("alloc_apic_chip_data")
    assert dmar_set_interrupt(m.x86, DmarUnit(1)) == -errno.EINVAL
    dmar_free_hwirq(m.x86, irq_find_mapping(m.domains, m.x86.dmar_domain, 0))
    assert m.x86.dmar_domain is not None and m.x86.dmar_domain.mapcount == 0


def test_apic_7_each_timer_has_an_interrupt_of_its_own() -> None:
    m = PciMachine()
    first, second = hpet_create_irq_domain(m.x86, 0), hpet_create_irq_domain(m.x86, 1)
    assert first is not None and second is not None
    assert (hpet_dev_id(first), hpet_dev_id(second)) == (0, 1)
    assert (fwnode_name(first), first.name) == ("HPET-MSI-0", "HPET-MSI-0")
    channels = [HpetChannel(num) for num in range(3)]
    irqs = [hpet_assign_irq(m.x86, first, each, each.num) for each in channels]
    assert [m.irqd(irq).hwirq for irq in irqs] == [0, 1, 2]
    assert hpet_assign_irq(m.x86, first, channels[1], 1) == -errno.EEXIST
    assert hpet_assign_irq(m.x86, second, HpetChannel(1), 1) > 0


def test_a_timer_moves_in_process_context_and_has_no_upper_address() -> None:
    m = PciMachine(17, apic=ApicMode.X2APIC_CLUSTER)
    domain = hpet_create_irq_domain(m.x86, 0)
    assert domain is not None
    channel = HpetChannel(0)
    before = m.footprint()
    irq = hpet_assign_irq(m.x86, domain, channel, 0)
    irqd = m.irqd(irq)
    assert irqd.test(IRQD_MOVE_PCNTXT)
    assert irq_data_get_irq_chip(irqd).name == "HPET-MSI"
    assert m.request_irq(irq) == 0
    assert [channel.enabled] == [True]
    assert m.set_affinity(irq, mask(16)) == 0
    cfg = m.vector_level(irq).hw_irq_cfg
    assert m.vector_level(irq).cpu == 16
    message = irq_msi_compose_msg(m.vectors, cfg)
    assert message.address_hi == 0x10000
    assert channel.message == message._replace(address_hi=0)
    assert m.free_irq(irq) == 0
    assert [channel.enabled] == [False]
    irq_domain_free_irqs(m.domains, irq, 1)
    assert not irqd.test(IRQD_MOVE_PCNTXT)
    assert m.footprint() == before


def test_a_remapped_hpet_is_named_so_and_no_other_is() -> None:
    asked: list[IrqAllocInfo] = []
    remapping: list[IrqDomain] = []

    def parent_of(info: IrqAllocInfo) -> IrqDomain | None:
        asked.append(info)
        return remapping[0] if info.devid == 7 else None

    m = PciMachine(x86_init=X86Init(irq_remapping_get_irq_domain=parent_of))
    ir = irq_domain_create_tree(
        m.domains, None, IrqDomainOps(alloc=lambda d, virq, n, arg: 0, free=lambda d, virq, n: None)
    )
    assert ir is not None
    remapping.append(ir)
    remapped, plain = hpet_create_irq_domain(m.x86, 7), hpet_create_irq_domain(m.x86, 8)
    assert remapped is not None and plain is not None
    assert remapped.parent is ir and plain.parent is m.vectors.x86_vector_domain
    assert (remapped.name, plain.name) == ("IR-HPET-MSI-7", "HPET-MSI-8")
    chips: list[IrqChip | None] = [remapped.host_data.chip, plain.host_data.chip]
    assert [chip.name if chip else None for chip in chips] == ["IR-HPET-MSI", "HPET-MSI"]
    assert [(info.type, info.devid) for info in asked] == [
        (X86_IRQ_ALLOC_TYPE.HPET_GET_PARENT, 7),
        (X86_IRQ_ALLOC_TYPE.HPET_GET_PARENT, 8),
    ]


@pytest.mark.parametrize(
    "site", ["hpet_create_irq_domain", "irq_domain_alloc_fwnode", "irq_domain_add"]
)
def test_without_memory_there_is_no_hpet_domain(site: str) -> None:
    m = PciMachine()
    before, fwnodes = m.footprint(), set(m.domains.fwnodes)
    m.fail_next(site)
    assert hpet_create_irq_domain(m.x86, 0) is None
    assert m.footprint() == before
    assert m.domains.fwnodes == fwnodes
