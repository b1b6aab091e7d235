# SPDX-License-Identifier: GPL-2.0-only
"""The vector domain's operations: states, every error, every roll-back."""

import errno
from collections.abc import Callable

import pytest

from impl.arch.x86.irq_vectors import VECTOR_SHUTDOWN, VECTOR_UNUSED, ApicMode, Geometry
from impl.arch.x86.vector import ApicChipData, irqd_cfg
from impl.defects import Defect
from impl.kernel.irq.irq import IRQD_ACTIVATED, IRQD_CAN_RESERVE
from impl.kernel.kernel import KernelBug
from impl.vector_machine import VectorMachine
from tests.impl.support import (
    counters_agree,
    events_of,
    fixed,
    mask,
    names,
    owned,
    small,
    started,
    target,
)


def data(machine: VectorMachine, irq: int) -> ApicChipData:
    apicd = machine.chip_data(irq)
    assert apicd is not None
    return apicd


def flags(machine: VectorMachine, irq: int) -> tuple[bool, bool, bool, bool, int]:
    """(is_managed, can_reserve, has_reserved, owns a vector, hw_irq_cfg.vector)."""
    d = data(machine, irq)
    return d.is_managed, d.can_reserve, d.has_reserved, d.vector != 0, d.hw_irq_cfg.vector


def activated(machine: VectorMachine, irq: int) -> bool:
    return machine.irqs.descs[irq].irq_data.test(IRQD_ACTIVATED)


def test_the_five_states_and_their_transitions() -> None:
    m = small(2)
    irq = m.alloc_irqs(1)
    assert flags(m, irq) == (False, True, True, False, 0xEF)
    assert m.early_activate(irq, True) == 0
    assert flags(m, irq) == (False, True, True, False, 0xEF)
    assert m.request_irq(irq) == 0
    assert flags(m, irq) == (False, True, False, True, 1)
    assert m.free_irq(irq) == 0
    assert flags(m, irq) == (False, True, True, False, 0xEF)

    kept = fixed(m)
    assert flags(m, kept) == (False, False, False, True, 1)
    assert activated(m, kept)

    managed = m.alloc_irqs(1, affinity=[mask(1)], managed=True)
    assert flags(m, managed) == (True, False, False, False, 0)
    assert m.early_activate(managed, True) == 0
    assert flags(m, managed) == (True, False, False, False, 0xEF)
    assert m.request_irq(managed) == 0
    assert flags(m, managed) == (True, False, False, True, target(m, managed)[1])
    assert m.free_irq(managed) == 0
    assert flags(m, managed) == (True, False, False, False, 0xEF)
    assert counters_agree(m)


def test_vec_18_freeing_everything_restores_the_post_boot_state() -> None:
    m = small(3)
    before = repr(m.matrix)
    irqs = [started(m), started(m, 0, 1, managed=True), fixed(m), m.alloc_irqs(1, mask=mask(2))]
    assert len({target(m, irq) for irq in irqs}) == 4
    for irq in irqs:
        m.free_irq(irq)
        assert m.free_irqs(irq) == 0
    assert repr(m.matrix) == before
    assert m.irqs.descs == {}


def test_masked_allocation_takes_a_vector_at_once() -> None:
    m = small(2)
    irq = m.alloc_irqs(1, mask=mask(1))
    assert target(m, irq) == (1, 1)
    assert flags(m, irq) == (False, False, False, True, 1)


@pytest.mark.parametrize(
    ("error", "allocate"),
    [
        (-errno.ENOSYS, lambda m: m.alloc_irqs(2, contiguous=True)),
        (-errno.EINVAL, lambda m: m.alloc_irqs(1, mask=0)),
        (-errno.ENOSPC, lambda m: m.alloc_irqs(5, mask=mask(1))),
        (-errno.EINVAL, lambda m: m.alloc_irqs(1, affinity=[0])),
        (-errno.EINVAL, lambda m: m.alloc_irqs(0)),
        (-errno.EEXIST, lambda m: m.alloc_irqs(1, virq=1)),
    ],
)
def test_vec_19_a_failed_allocation_leaves_nothing(
    error: int, allocate: Callable[[VectorMachine], int]
) -> None:
    m = small(2)
    assert m.alloc_irqs(1, mask=mask(0)) == 1
    before = repr(m.matrix)
    assert allocate(m) == error
    assert repr(m.matrix) == before
    assert list(m.irqs.descs) == [1]
    assert m.irqs.allocated_irqs == 0b10


def test_a_mask_of_offline_cpus_is_einval() -> None:
    m = small(2)
    m.cpu_down(1)
    assert m.alloc_irqs(1, mask=mask(1)) == -errno.EINVAL


def test_no_apic_is_enxio() -> None:
    m = VectorMachine(1, disable_apic=True)
    assert m.alloc_irqs(1) == -errno.ENXIO
    assert sorted(m.irqs.descs) == list(range(16))


def test_a_managed_allocation_that_does_not_fit_is_rolled_back() -> None:
    m = small(2)
    for _ in range(4):
        m.alloc_irqs(1, mask=mask(1))
    before = repr(m.matrix)
    assert m.alloc_irqs(2, affinity=[mask(0), mask(0, 1)], managed=True) == -errno.ENOSPC
    assert repr(m.matrix) == before
    assert counters_agree(m)


@pytest.mark.parametrize("site", ["alloc_desc", "alloc_apic_chip_data"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_memory_failure_at_every_site(site: str, nth: int) -> None:
    m = small(2)
    before = repr(m.matrix)
    m.fail_next(site, nth)
    assert m.alloc_irqs(3) == -errno.ENOMEM
    assert repr(m.matrix) == before
    assert m.irqs.descs == {}
    assert m.alloc_irqs(3) == 1, "a failure strikes once"


def test_unknown_failure_sites_are_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        small(1).fail_next("nowhere")


def test_virq_numbers_run_out() -> None:
    m = small(1)
    assert m.alloc_irqs(1, virq=m.irqs.bitmap_bits) == -errno.ENOMEM
    assert m.alloc_irqs(1, virq=m.irqs.bitmap_bits - 1) == m.irqs.bitmap_bits - 1
    assert m.irqs.nr_irqs == m.irqs.bitmap_bits


def test_gen_5_ranges_are_first_fit_and_disjoint() -> None:
    m = small(1)
    assert [m.alloc_irqs(1), m.alloc_irqs(2), m.alloc_irqs(1)] == [1, 2, 4]
    m.free_irqs(1)
    m.free_irqs(3)
    assert m.alloc_irqs(2) == 5
    assert m.alloc_irqs(1) == 1
    assert m.irqs.allocated_irqs == sum(1 << irq for irq in m.irqs.descs)
    assert m.alloc_irqs(1, virq=0) == 0


def test_machine_refuses_what_no_caller_may_do() -> None:
    m = small(1)
    irq = started(m)
    assert m.free_irqs(irq) == -errno.EBUSY
    assert m.free_irqs(99) == -errno.EINVAL
    assert m.request_irq(irq) == -errno.EBUSY
    assert m.request_irq(99) == -errno.EINVAL
    assert m.free_irq(99) == -errno.EINVAL
    assert m.early_activate(99, True) == -errno.EINVAL
    assert m.set_affinity(99, 1) == -errno.EINVAL


def test_activation_falls_back_to_any_online_cpu_and_fails_only_when_all_are_full() -> None:
    m = small(2)
    for _ in range(4):
        m.alloc_irqs(1, mask=mask(1))
    stray = started(m, 1)
    assert target(m, stray)[0] == 0
    for _ in range(3):
        m.alloc_irqs(1, mask=mask(0))
    irq = m.alloc_irqs(1)
    m.early_activate(irq, True)
    before = repr(m.matrix)
    assert m.request_irq(irq) == -errno.ENOSPC
    assert repr(m.matrix) == before
    assert flags(m, irq) == (False, True, True, False, 0xEF)
    assert not activated(m, irq)
    assert m.irqs.descs[irq].action == 0


def test_every_attempt_of_a_failing_activation_is_traced() -> None:
    m = small(1, nodes=(0,))
    for _ in range(4):
        m.alloc_irqs(1, mask=mask(0))
    irq = m.alloc_irqs(1, node=0)
    events = events_of(m, lambda: m.early_activate(irq, False))
    tries = [event.fields for event in events if event.name == "vector_alloc"]
    assert tries == [{"irq": irq, "vector": 0, "reserved": 1, "ret": -errno.ENOSPC}] * 4


def test_managed_activation_without_an_online_cpu_warns() -> None:
    m = small(2)
    irq = started(m, 1, managed=True)
    irqd = m.irqs.descs[irq].irq_data
    m.free_irq(irq)
    m.cpu_down(1)
    activate = m.vectors.x86_vector_domain.ops.activate
    assert activate is not None
    results: list[int] = []
    events = events_of(
        m, lambda: results.append(activate(m.vectors.x86_vector_domain, irqd, False))
    )
    assert results == [-errno.EINVAL]
    assert "WARN" in names(events)


def test_can_reserve_cleared_makes_the_interrupt_fixed() -> None:
    m = small(1)
    irq = fixed(m)
    assert not m.irqs.descs[irq].irq_data.test(IRQD_CAN_RESERVE)
    assert not data(m, irq).can_reserve
    assert m.matrix.global_reserved == 0


def test_h6_a_fixed_activation_without_a_vector() -> None:
    """The interrupt's CPU left while it was idle (H2), and the other CPU filled up since."""

    def attempt(*defects: Defect) -> tuple[int, bool]:
        m = small(2, defects=defects)
        m.alloc_irqs(1, mask=mask(0))
        irq = fixed(m)
        assert target(m, irq) == (1, 1)
        m.request_irq(irq)
        m.free_irq(irq)
        assert m.cpu_down(1) == 0
        for _ in range(3):
            assert m.alloc_irqs(1, mask=mask(0)) > 0
        return m.request_irq(irq), activated(m, irq)

    assert attempt(Defect.H6) == (0, True)
    assert attempt() == (-errno.ENOSPC, False)


def test_h5_legacy_take_over_of_the_cascade() -> None:
    m = VectorMachine(1, defects=frozenset({Defect.H5, Defect.MX_D3}))
    allocated = m.matrix.maps[0].allocated
    assert m.alloc_irqs(1, legacy=True, virq=2) == 2
    assert m.matrix.maps[0].allocated == allocated - 1
    assert m.matrix.maps[0].alloc_map.bit_count() == allocated

    repaired = VectorMachine(1)
    before = repr(repaired.matrix)
    results: list[int] = []
    events = events_of(
        repaired, lambda: results.append(repaired.alloc_irqs(1, legacy=True, virq=2))
    )
    assert results == [-errno.EINVAL]
    assert repr(repaired.matrix) == before
    assert "WARN" in names(events)


def test_legacy_take_over_returns_the_boot_vector() -> None:
    m = VectorMachine(1)
    assert m.alloc_irqs(1, legacy=True, virq=5) == 5
    assert flags(m, 5) == (False, True, True, False, 0xEF)
    assert m.vectors.vector_irq[0][0x35] == VECTOR_SHUTDOWN
    assert not m.matrix.maps[0].alloc_map >> 0x35 & 1
    assert m.alloc_irqs(1, legacy=True, virq=5) == -errno.EINVAL
    assert m.alloc_irqs(1, legacy=True, virq=16) == -errno.EINVAL


def test_an_active_timer_keeps_its_vector_for_good() -> None:
    m = VectorMachine(2)
    assert m.request_irq(0) == 0
    events = events_of(m, lambda: m.alloc_irqs(1, legacy=True, virq=0))
    setup = next(event for event in events if event.name == "vector_setup")
    assert setup.fields == {"irq": 0, "is_legacy": 1, "ret": 0}
    assert flags(m, 0) == (False, False, False, True, 0x30)
    assert m.vectors.vector_irq[0][0x30] == 0
    assert m.fire(0)


def test_make_8259a_irq_gives_a_vector_to_the_system() -> None:
    m = VectorMachine(2)
    m.make_8259A_irq(4)
    assert m.matrix.system_map >> 0x34 & 1
    assert not m.matrix.maps[0].alloc_map >> 0x34 & 1
    m.cpu_up(1)
    assert m.vectors.vector_irq[1][0x34] == 4
    with pytest.raises(KernelBug):
        m.make_8259A_irq(5)


def test_a_small_space_with_legacy_irqs() -> None:
    geometry = Geometry(matrix_bits=16, alloc_start=1, alloc_end=9, isa_base=2)
    m = VectorMachine(2, geometry=geometry, nr_legacy_irqs=4)
    assert m.matrix.maps[0].alloc_map == 0b101100
    assert m.matrix.system_map == 0b10000
    assert m.matrix.maps[0].available == 4
    m.cpu_up(1)
    assert m.matrix.maps[1].available == 7


def test_geometry_is_checked() -> None:
    with pytest.raises(ValueError, match="no vector space"):
        Geometry(8, 0, 4)
    with pytest.raises(ValueError, match="shutdown"):
        Geometry(256, 0x20, 0xF0)


@pytest.mark.parametrize("mode", list(ApicMode))
def test_destinations_name_their_cpu(mode: ApicMode) -> None:
    for cpu in range(8 if mode is ApicMode.FLAT else 64):
        assert mode.cpu_of_dest(mode.calc_dest_apicid(cpu)) == cpu


def test_irqd_cfg_is_the_root_level_target() -> None:
    m = small(1)
    irq = started(m)
    cfg = irqd_cfg(m.irqs.descs[irq].irq_data)
    assert cfg is data(m, irq).hw_irq_cfg
    assert (cfg.dest_apicid, cfg.vector) == (1, 1)


def test_slots_after_clearing_and_after_a_move() -> None:
    m = small(2)
    irq = started(m, 0)
    m.set_affinity(irq, mask(1))
    m.fire(irq)
    m.cleanup_ipi(0)
    assert m.vectors.vector_irq[0][1] == VECTOR_UNUSED
    m.free_irq(irq)
    assert m.vectors.vector_irq[1][1] == VECTOR_SHUTDOWN
    assert owned(m) == [0, 0]
