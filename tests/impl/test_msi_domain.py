# SPDX-License-Identifier: GPL-2.0-only
"""The MSI domain: its operations, its level of an interrupt, its messages."""

import errno
from collections.abc import Callable

import pytest

from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.defects import Defect
from impl.kernel.irq.irq import IrqAffinityDesc, IrqChip, IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain import irq_find_mapping
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs
from impl.kernel.irq.msi import (
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    MsiDomainOps,
    msi_default_alloc_irqs,
    msi_default_free_irqs,
    msi_domain_info,
)
from impl.kernel.irq.msi_domain import msi_create_irq_domain, msi_domain_set_affinity
from impl.kernel.kernel import KernelBug
from tests.impl.msi_support import BLOCK, LIKE_PCI, MsiMachine, set_desc
from tests.impl.support import mask

# --- operations -----------------------------------------------------------------------------


def test_msi_1_all_operations_are_filled_in_with_the_flag_or_without_a_table() -> None:
    for info in (
        MsiDomainInfo(),
        MsiDomainInfo(flags=MSI_FLAG_USE_DEF_DOM_OPS, ops=MsiDomainOps()),
    ):
        m = MsiMachine()
        assert msi_create_irq_domain(m.domains, None, info, None) is not None
        ops = info.ops
        assert ops is not None
        assert None not in (ops.get_hwirq, ops.msi_init, ops.msi_check, ops.msi_prepare)
        assert None not in (ops.set_desc, ops.domain_alloc_irqs, ops.domain_free_irqs)
        assert (ops.msi_free, ops.msi_finish, ops.handle_error) == (None, None, None)


def test_msi_1_without_the_flag_only_the_overrides_are_filled_in() -> None:
    m = MsiMachine(flags=0, ops=MsiDomainOps())
    _, ops = msi_domain_info(m.domain)
    assert ops == MsiDomainOps(
        domain_alloc_irqs=msi_default_alloc_irqs, domain_free_irqs=msi_default_free_irqs
    )
    with pytest.raises(KernelBug, match="get_hwirq"):
        irq_domain_alloc_irqs(m.domains, m.domain, -1, 1, 0, IrqAllocInfo())


def test_a_domain_changes_neither_the_table_nor_the_chip_it_is_given() -> None:
    given = MsiDomainOps()
    chip = IrqChip("C", irq_mask=lambda irqd: None, irq_unmask=lambda irqd: None)
    info = MsiDomainInfo(LIKE_PCI, given, chip)
    m = MsiMachine()
    assert msi_create_irq_domain(m.domains, None, info, None) is not None
    assert (given, chip.irq_set_affinity) == (MsiDomainOps(), None)
    assert info.chip is not None
    assert info.chip.irq_set_affinity is msi_domain_set_affinity


def test_default_chip_operations_need_a_chip_that_masks() -> None:
    m = MsiMachine()
    info = MsiDomainInfo(flags=MSI_FLAG_USE_DEF_CHIP_OPS, chip=IrqChip("C"))
    with pytest.raises(KernelBug, match="masks"):
        msi_create_irq_domain(m.domains, None, info, None)


def test_a_chip_keeps_its_own_setter() -> None:
    def setter(*args: object) -> int:
        return 0

    def nothing(irqd: object) -> None:
        pass

    chip = IrqChip("C", irq_mask=nothing, irq_unmask=nothing, irq_set_affinity=setter)
    info = MsiDomainInfo(flags=MSI_FLAG_USE_DEF_CHIP_OPS, chip=chip)
    assert msi_create_irq_domain(MsiMachine().domains, None, info, None) is not None
    assert info.chip is chip


def test_an_msi_domain_without_memory_is_none() -> None:
    m = MsiMachine()
    m.machine.fail_next("irq_domain_add")
    assert msi_create_irq_domain(m.domains, None, MsiDomainInfo(), None) is None


def test_a_domain_without_default_operations_must_have_its_own() -> None:
    m = MsiMachine(flags=0, ops=MsiDomainOps(msi_check=lambda domain, info, dev: 0))
    with pytest.raises(KernelBug, match="msi_prepare"):
        m.alloc(m.device(1))


def test_msi_2_the_level_has_the_hwirq_that_was_asked_for() -> None:
    m = MsiMachine()
    dev = m.device(1, 3)
    assert m.alloc(dev) == 0
    for desc in dev.msi_list:
        for k in range(desc.nvec_used):
            irqd = m.desc(desc.irq + k).irq_data
            assert (irqd.domain, irqd.hwirq) == (m.domain, desc.id * BLOCK + k)
            assert irq_find_mapping(m.domains, m.domain, irqd.hwirq) == desc.irq + k
            assert m.desc(desc.irq + k).handler_name == "edge"


def test_msi_11_a_live_first_hwirq_is_refused_and_of_the_others_nobody_asks() -> None:
    m = MsiMachine()

    def alloc(hwirq: int, n: int) -> int:
        return irq_domain_alloc_irqs(m.domains, m.domain, -1, n, 0, IrqAllocInfo(hwirq=hwirq))

    assert alloc(10, 1) > 0
    before = m.books()
    assert alloc(10, 1) == -errno.EEXIST
    assert m.books() == before
    # Trap 24.
    assert alloc(9, 2) > 0


# --- messages -------------------------------------------------------------------------------


def test_msi_9_a_deactivation_leaves_the_empty_message() -> None:
    m = MsiMachine()
    dev = m.device(1)
    m.alloc(dev)
    irq = dev.msi_list[0].irq
    m.machine.request_irq(irq)
    m.machine.free_irq(irq)
    assert m.message[irq] == MsiMsg()


def test_msi_8_the_device_follows_the_vector_when_the_interrupt_moves() -> None:
    m = MsiMachine(2)
    dev = m.device(1)
    m.alloc(dev)
    irq = dev.msi_list[0].irq
    m.machine.request_irq(irq)
    apicd = m.machine.chip_data(irq)
    assert apicd is not None
    for cpu in (1, 0):
        assert m.machine.set_affinity(irq, mask(cpu)) == 0
        # The chip has no MOVE_PCNTXT: the next interrupt moves, masked meanwhile.
        m.log.clear()
        assert m.machine.fire(irq)
        if apicd.prev_vector:
            m.machine.fire(irq)
            m.machine.cleanup_ipi(apicd.prev_cpu)
        assert apicd.cpu == cpu
        assert m.message[irq].data == 0x4000 | apicd.vector
        assert m.message[irq].address_lo == 0xFEE00004 | 1 << 12 + cpu
    assert m.log == [("mask", irq), ("write", irq), ("unmask", irq)]


def test_a_move_that_the_vector_level_refuses_writes_nothing() -> None:
    m = MsiMachine(1)
    dev = m.device(1)
    m.alloc(dev)
    irq = dev.msi_list[0].irq
    m.machine.request_irq(irq)
    m.log.clear()
    irqd = m.desc(irq).irq_data
    assert msi_domain_set_affinity(irqd, mask(1), False) == -errno.EINVAL
    assert m.log == []


@pytest.mark.parametrize("managed", [False, True])
def test_the_device_is_masked_while_a_leaving_cpu_gives_its_interrupt_away(managed: bool) -> None:
    m = MsiMachine(2)
    affinity = [IrqAffinityDesc(mask(1), managed)]
    dev = m.device(1, affinity=affinity)
    m.alloc(dev)
    irq = dev.msi_list[0].irq
    m.machine.set_affinity(irq, mask(1))
    m.machine.request_irq(irq)
    m.log.clear()
    assert m.machine.cpu_down(1) == 0
    if managed:
        # Masked for the move that does not come, and again by the shut-down.
        assert m.log == [("mask", irq), ("mask", irq), ("write", irq)]
        assert m.message[irq] == MsiMsg()
        assert m.machine.cpu_up(1) == 0
    else:
        assert m.log == [("mask", irq), ("write", irq), ("unmask", irq)]
    apicd = m.machine.chip_data(irq)
    assert apicd is not None
    assert (apicd.cpu, m.message[irq].data) == (int(managed), 0x4000 | apicd.vector)


def test_the_handler_gets_the_domains_data() -> None:
    m = MsiMachine(ops=MsiDomainOps())
    m.info.handler_data = "data"
    dev = m.device(1)
    assert m.alloc(dev) == 0
    assert m.desc(dev.msi_list[0].irq).handler_data == "data"


# --- failures -------------------------------------------------------------------------------


def fails_at(irq_number: int) -> Callable[[IrqDomain, MsiDomainInfo, int, int, IrqAllocInfo], int]:
    def msi_init(
        domain: IrqDomain, info: MsiDomainInfo, virq: int, hwirq: int, arg: IrqAllocInfo
    ) -> int:
        return -errno.ENXIO if virq == irq_number else 0

    return msi_init


def test_an_interrupt_that_needs_no_setting_down_is_only_freed() -> None:
    m = MsiMachine(ops=MsiDomainOps(set_desc=set_desc, msi_init=fails_at(2)))
    before = m.books()
    assert m.alloc(m.device(3)) == -errno.ENOSPC
    assert m.books() == before


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("n7", [False, True])
def test_n7_each_interrupt_that_was_set_up_is_set_down(n7: bool, failing: int) -> None:
    down: list[int] = []
    ops = MsiDomainOps(
        set_desc=set_desc,
        msi_init=fails_at(1 + failing),
        msi_free=lambda domain, info, virq: down.append(virq),
    )
    m = MsiMachine(ops=ops, defects={Defect.N7} if n7 else ())
    before = m.books()
    dev = m.device(3)
    assert m.alloc(dev) == -errno.ENOSPC
    assert down == list(range(failing, 1 if n7 else 0, -1))
    assert m.books() == before


def test_a_domain_frees_each_interrupt_that_it_set_up() -> None:
    down: list[int] = []
    ops = MsiDomainOps(set_desc=set_desc, msi_free=lambda domain, info, virq: down.append(virq))
    m = MsiMachine(ops=ops)
    dev = m.device(3)
    m.alloc(dev)
    m.free(dev)
    assert down == [1, 2, 3]


def test_an_error_of_the_parent_is_passed_on() -> None:
    m = MsiMachine()
    m.machine.vectors.disable_apic = True
    info = IrqAllocInfo(hwirq=1)
    assert irq_domain_alloc_irqs(m.domains, m.domain, -1, 1, 0, info) == -errno.ENXIO


def test_trap_39_a_message_that_nobody_composes_is_a_bug() -> None:
    m = MsiMachine()
    dev = m.device(1)
    m.alloc(dev)
    irq = dev.msi_list[0].irq
    inner = m.desc(irq).irq_data.parent_data
    assert inner is not None
    inner.chip = IrqChip("mute")
    with pytest.raises(KernelBug, match="composes"):
        m.machine.request_irq(irq)
