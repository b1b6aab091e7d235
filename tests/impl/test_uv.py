# SPDX-License-Identifier: GPL-2.0-only
"""UV interrupts (section 10)."""

import errno

import pytest

from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.arch.x86.uv import UvAffinity, UvMmr
from impl.defects import Defect
from impl.kernel.irq.irq import IRQ_NO_BALANCING, IRQD_MOVE_PCNTXT, IrqDomain
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs
from impl.kernel.kernel import KernelBug
from impl.machine import Machine
from tests.impl.machine_support import Recorder, booted, footprint, irq_desc, vector_level

OFFSET = 0x61000


def uv_domain(m: Machine) -> IrqDomain:
    domain = m.uv_hubs.domain
    assert domain is not None
    return domain


def mmr_of(m: Machine, pnode: int) -> UvMmr:
    return m.uv_hubs.mmrs[pnode, OFFSET]


def test_the_domain_is_made_when_first_needed() -> None:
    m = booted("uv")
    assert m.uv_hubs.domain is None
    assert m.uv_setup_irq(0, 0, OFFSET, UvAffinity.CPU) > 0
    domain = uv_domain(m)
    assert domain.name == "UV-CORE" and domain.parent is m.vectors.x86_vector_domain
    assert m.uv_setup_irq(0, 1, OFFSET + 8, UvAffinity.CPU) > 0
    assert uv_domain(m) is domain


@pytest.mark.parametrize("cpu", [0, 5])
def test_uv_1_and_37_the_vector_is_there_from_the_allocation_on(cpu: int) -> None:
    m = booted("uv")
    irq = m.uv_setup_irq(cpu // 4, cpu, OFFSET, UvAffinity.NODE)
    apicd = vector_level(m, irq)
    for step in (None, m.request_irq, m.free_irq):
        assert step is None or step(irq) == 0
        assert apicd.cpu == cpu and apicd.vector
        assert not apicd.can_reserve and not apicd.is_managed and not apicd.has_reserved


def test_uv_2_the_hwirq_is_the_irq() -> None:
    m = booted("uv")
    irqs = [m.uv_setup_irq(cpu % 2, cpu, OFFSET + 8 * cpu, UvAffinity.CPU) for cpu in range(8)]
    assert len(set(irqs)) == 8
    assert [irq_desc(m, irq).irq_data.hwirq for irq in irqs] == irqs
    assert uv_domain(m).revmap_tree.keys() == set(irqs)


@pytest.mark.parametrize("defects", [(), (Defect.N13,)])
def test_n13_uv_3_a_deactivated_register_is_masked(defects: tuple[Defect, ...]) -> None:
    recorder = Recorder()
    m = booted("uv", defects=defects, trace=recorder.trace)
    irq = m.uv_setup_irq(1, 5, OFFSET, UvAffinity.CPU)
    assert not m.uv_hubs.mmrs and not m.fire(irq)
    assert m.request_irq(irq) == 0
    cfg = vector_level(m, irq).hw_irq_cfg
    assert mmr_of(m, 2) == UvMmr(cfg.vector, cfg.dest_apicid, dest_mode=1, mask=0)
    assert m.fire(irq)
    assert m.free_irq(irq) == 0
    masked = int(not defects)
    assert mmr_of(m, 2) == UvMmr(cfg.vector, cfg.dest_apicid, dest_mode=1, mask=masked)
    fields = {"irq": irq, "vector": cfg.vector, "dest": cfg.dest_apicid}
    assert recorder.named("uv_program_mmr") == [
        {**fields, "masked": 0},
        {**fields, "masked": masked},
    ]


def test_the_limit_says_whether_the_interrupt_may_be_balanced() -> None:
    m = booted("uv")
    bound = m.uv_setup_irq(1, 5, OFFSET, UvAffinity.CPU)
    free = m.uv_setup_irq(1, 6, OFFSET + 8, UvAffinity.NODE)
    assert irq_desc(m, bound).status & IRQ_NO_BALANCING
    assert not irq_desc(m, bound).irq_data.test(IRQD_MOVE_PCNTXT)
    assert not irq_desc(m, free).status & IRQ_NO_BALANCING
    assert irq_desc(m, free).irq_data.test(IRQD_MOVE_PCNTXT)
    for irq in (bound, free):
        assert m.request_irq(irq) == 0
    assert vector_level(m, bound).cpu == 5
    assert irq_desc(m, bound).common.node == irq_desc(m, free).common.node == 1


def test_a_move_needs_no_interrupt_to_be_complete() -> None:
    m = booted("uv")
    irq = m.uv_setup_irq(1, 5, OFFSET, UvAffinity.NODE)
    assert m.request_irq(irq) == 0
    old = vector_level(m, irq).cpu
    new = next(cpu for cpu in range(8) if cpu != old)
    assert m.set_affinity(irq, 1 << new) == 0
    apicd = vector_level(m, irq)
    assert apicd.cpu == new and not apicd.move_in_progress and apicd.clist == old
    assert mmr_of(m, 2).dest == apicd.hw_irq_cfg.dest_apicid == m.vectors.apic.calc_dest_apicid(new)
    assert mmr_of(m, 2).mask == 0
    assert m.cleanup_ipi(old) and apicd.prev_vector == 0
    assert m.fire(irq)


def test_a_refused_move_leaves_the_register() -> None:
    m = booted("uv")
    irq = m.uv_setup_irq(1, 5, OFFSET, UvAffinity.NODE)
    assert m.request_irq(irq) == 0
    old = mmr_of(m, 2)
    new = next(cpu for cpu in range(8) if cpu != vector_level(m, irq).cpu)
    m.matrix.maps[new].available = 0
    assert m.set_affinity(irq, 1 << new) == -errno.ENOSPC
    assert mmr_of(m, 2) == old


def test_vec_18_teardown_leaves_nothing_but_the_domain() -> None:
    m = booted("uv")
    assert m.uv_teardown_irq(m.uv_setup_irq(0, 0, OFFSET, UvAffinity.CPU)) == 0
    before = footprint(m)
    irq = m.uv_setup_irq(0, 3, OFFSET, UvAffinity.CPU)
    assert m.request_irq(irq) == 0
    assert m.uv_teardown_irq(irq) == -errno.EBUSY
    assert m.free_irq(irq) == 0 and m.uv_teardown_irq(irq) == 0
    assert m.uv_teardown_irq(irq) == -errno.EINVAL
    assert footprint(m) == before


@pytest.mark.parametrize(
    ("site", "first"),
    [
        ("irq_domain_alloc_fwnode", True),
        ("irq_domain_add", True),
        ("alloc_desc", False),
        ("irq_domain_insert_irq_data", False),
        ("uv_domain_alloc", False),
        ("alloc_apic_chip_data", False),
    ],
)
def test_without_memory_nothing_stays(site: str, first: bool) -> None:
    m = booted("uv")
    if not first:
        m.uv_teardown_irq(m.uv_setup_irq(0, 0, OFFSET, UvAffinity.CPU))
    before, nodes = footprint(m), len(m.domains.fwnodes)
    m.fail_next(site)
    assert m.uv_setup_irq(0, 0, OFFSET, UvAffinity.CPU) == -errno.ENOMEM
    assert footprint(m) == before and len(m.domains.fwnodes) == nodes
    assert m.uv_setup_irq(0, 0, OFFSET, UvAffinity.CPU) > 0


def test_the_vector_domains_errors_are_passed_on() -> None:
    m = booted("uv")
    assert m.uv_setup_irq(7, 0, OFFSET, UvAffinity.CPU) == -errno.ENODEV
    assert m.cpu_down(5) == 0
    assert m.uv_setup_irq(0, 5, OFFSET, UvAffinity.CPU) == -errno.EINVAL
    m.matrix.maps[4].available = 0
    assert m.uv_setup_irq(0, 4, OFFSET, UvAffinity.CPU) == -errno.ENOSPC


@pytest.mark.parametrize(("nr_irqs", "info"), [(1, None), (1, IrqAllocInfo()), (2, None)])
def test_only_single_uv_requests_are_taken(nr_irqs: int, info: IrqAllocInfo | None) -> None:
    m = booted("uv")
    m.uv_teardown_irq(m.uv_setup_irq(0, 0, OFFSET, UvAffinity.CPU))
    ret = irq_domain_alloc_irqs(m.domains, uv_domain(m), -1, nr_irqs, -1, info)
    assert ret == -errno.EINVAL


def test_freeing_several_at_once_is_a_bug() -> None:
    m = booted("uv")
    irq = m.uv_setup_irq(0, 0, OFFSET, UvAffinity.CPU)
    free = uv_domain(m).ops.free
    assert free is not None
    with pytest.raises(KernelBug, match="2 irqs"):
        free(uv_domain(m), irq, 2)
    with pytest.raises(KernelBug, match="no level"):
        free(uv_domain(m), 3, 1)
