# SPDX-License-Identifier: GPL-2.0-only
"""The generic core by itself: levels, descriptors, nesting, and the BUGs of the vector table."""

import errno

import pytest

from impl.arch.x86.vector import apic_chip_data
from impl.defects import Defect
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_IRQ_DISABLED,
    IRQD_IRQ_STARTED,
    IRQD_MANAGED_SHUTDOWN,
    IrqData,
    IrqDesc,
    IrqDomain,
    IrqDomainOps,
)
from impl.kernel.irq.irqdesc import IrqDescTable, irq_alloc_descs, irq_free_descs
from impl.kernel.irq.irqdomain import IrqDomains, irq_domain_create_tree
from impl.kernel.irq.irqdomain_activate import irq_domain_activate_irq, irq_domain_deactivate_irq
from impl.kernel.kernel import Kernel, KernelBug
from impl.vector_machine import VectorMachine
from tests.impl.support import counters_agree, events_of, mask, names, owned, small, started, target


class Levels:
    """Three levels, outermost 0, that note what is done to them; level `failing` fails."""

    def __init__(self, failing: int | None = None) -> None:
        self.log: list[str] = []
        self.failing = failing
        kernel = Kernel(1)
        self.domains = IrqDomains(IrqDescTable(kernel))
        self.outermost = IrqDesc(kernel, 1, 0, 1, 0).irq_data
        irqd = self.outermost
        for level in range(3):
            irqd.domain = self._domain(level)
            if level < 2:
                irqd.parent_data = IrqData(irqd.desc, irqd.common)
                irqd = irqd.parent_data
        self.root = irqd

    def _domain(self, level: int) -> IrqDomain:
        def activate(domain: IrqDomain, irqd: IrqData, reserve: bool) -> int:
            self.log.append(f"+{level}")
            return -errno.ENOSPC if level == self.failing else 0

        def deactivate(domain: IrqDomain, irqd: IrqData) -> None:
            self.log.append(f"-{level}")

        ops = IrqDomainOps(activate=activate, deactivate=deactivate)
        created = irq_domain_create_tree(self.domains, None, ops)
        assert created is not None
        return created


def test_gen_1_activation_goes_root_first_and_deactivation_outermost_first() -> None:
    levels = Levels()
    assert irq_domain_activate_irq(levels.outermost, False) == 0
    assert irq_domain_activate_irq(levels.outermost, False) == 0
    assert levels.log == ["+2", "+1", "+0"]
    assert levels.outermost.test(IRQD_ACTIVATED)
    levels.log.clear()
    irq_domain_deactivate_irq(levels.outermost)
    irq_domain_deactivate_irq(levels.outermost)
    assert levels.log == ["-0", "-1", "-2"]
    assert not levels.outermost.test(IRQD_ACTIVATED)


@pytest.mark.parametrize(
    ("failing", "log"),
    [(2, ["+2"]), (1, ["+2", "+1", "-2"]), (0, ["+2", "+1", "+0", "-1", "-2"])],
)
def test_gen_4_a_failed_activation_is_undone_nearest_first(failing: int, log: list[str]) -> None:
    levels = Levels(failing)
    assert irq_domain_activate_irq(levels.outermost, False) == -errno.ENOSPC
    assert levels.log == log
    assert not levels.outermost.test(IRQD_ACTIVATED)


def test_chip_data_is_the_roots_from_any_level() -> None:
    levels = Levels()
    levels.root.chip_data = marker = object()
    assert apic_chip_data(levels.outermost) is marker


def test_descriptor_arguments() -> None:
    table = IrqDescTable(Kernel(1))
    assert irq_alloc_descs(table, 3, 4, 1, 0) == -errno.EINVAL
    assert irq_alloc_descs(table, -1, 5, 1, 0) == 5
    assert irq_alloc_descs(table, 4, 0, 2, 0) == -errno.EEXIST
    irq_free_descs(table, table.nr_irqs, 1)
    irq_free_descs(table, 5, 1)
    irq_free_descs(table, 5, 1)
    assert (table.descs, table.allocated_irqs) == ({}, 0)


def test_trap_42_the_node_follows_the_first_cpu_of_the_mask() -> None:
    m = small(3, nodes=(0, 1, 1))
    irq = m.alloc_irqs(1, affinity=[mask(1, 2)], managed=True, node=0)
    assert m.irqs.descs[irq].common.node == 1


def test_disabling_nests() -> None:
    m = small(1)
    irq = started(m)
    irqd = m.irqs.descs[irq].irq_data
    m.disable_irq(irq)
    m.disable_irq(irq)
    m.enable_irq(irq)
    assert irqd.test(IRQD_IRQ_DISABLED)
    m.enable_irq(irq)
    assert not irqd.test(IRQD_IRQ_DISABLED)
    assert names(events_of(m, lambda: m.enable_irq(irq))) == ["WARN"]
    assert m.disable_irq(99) == m.enable_irq(99) == -errno.EINVAL


def test_a_managed_start_whose_activation_fails_stays_shut_down() -> None:
    m = small(1)
    irq = m.alloc_irqs(1, affinity=[mask(0)], managed=True)
    m.matrix.maps[0].managed_map = 0
    assert names(events_of(m, lambda: m.request_irq(irq))).count("WARN") == 2
    irqd = m.irqs.descs[irq].irq_data
    assert irqd.test(IRQD_MANAGED_SHUTDOWN)
    assert not irqd.test(IRQD_IRQ_STARTED)


def test_a_second_owner_of_a_slot_is_a_bug() -> None:
    m = small(1)
    m.vectors.vector_irq[0][1] = 9
    with pytest.raises(KernelBug, match="owner"):
        m.alloc_irqs(1, mask=mask(0))


def test_a_slot_of_a_freed_descriptor_is_a_bug() -> None:
    m = small(1)
    m.vectors.vector_irq[0][1] = 9
    with pytest.raises(KernelBug, match="gone"):
        m.fire_vector(0, 1)


def test_h1_under_v5_10_a_target_that_dies_still_completes_its_move() -> None:
    for defects in ({Defect.H1}, set[Defect]()):
        m = small(3, defects=defects)
        irq = started(m, 0)
        m.set_affinity(irq, mask(2))
        assert m.cpu_down(2) == 0
        assert target(m, irq)[0] != 2
        assert owned(m)[2] == 0
        assert counters_agree(m)


def test_machine_arguments() -> None:
    with pytest.raises(ValueError, match="needs a mask"):
        small(1).alloc_irqs(1, managed=True)
    with pytest.raises(ValueError, match="2 masks"):
        small(1).alloc_irqs(1, affinity=[1, 1])
    with pytest.raises(ValueError, match="nodes"):
        VectorMachine(2, nodes=(0,))
    with pytest.raises(ValueError, match="CPU"):
        VectorMachine(0)


def test_pic_interrupts_are_not_retriggered() -> None:
    m = VectorMachine(2)
    m.cpu_up(1)
    events = events_of(m, lambda: m.cpu_down(1, irr_pending={0x32}))
    assert "vector_retriggered" not in names(events)
