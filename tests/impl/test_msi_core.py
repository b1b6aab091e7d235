# SPDX-License-Identifier: GPL-2.0-only
"""What the generic MSI layer does for a device, on top of the vector domain."""

import errno
from collections.abc import Callable

import pytest

from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR
from impl.defects import Defect
from impl.kernel.device import Device
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_CAN_RESERVE,
    IRQD_MSI_NOMASK_QUIRK,
    IrqAffinityDesc,
    IrqDomain,
    MsiMsg,
)
from impl.kernel.irq.irqdomain import DomainBus
from impl.kernel.irq.msi import (
    MSI_FLAG_ACTIVATE_EARLY,
    MSI_FLAG_MUST_REACTIVATE,
    MsiDomainOps,
    alloc_msi_entry,
    free_msi_entry,
    msi_default_free_irqs,
)
from tests.impl.msi_support import LIKE_PCI, MsiMachine, exhausted, irqs_of, set_desc
from tests.impl.support import events_of, mask
from tests.impl.tower import told

SHUTDOWN = 0x4000 | MANAGED_IRQ_SHUTDOWN_VECTOR
"""The data word of a message that goes to the shutdown vector."""


# --- what an allocation leaves --------------------------------------------------------------


def test_msi_3_and_4_every_descriptor_has_its_irqs_until_they_are_freed() -> None:
    m = MsiMachine()
    before = m.books()
    dev = m.device(1, 2)
    assert m.alloc(dev) == 0
    assert all(desc.irq for desc in dev.msi_list)
    for desc in dev.msi_list:
        for k in range(desc.nvec_used):
            assert m.desc(desc.irq + k).msi_desc is desc
    m.free(dev)
    assert [desc.irq for desc in dev.msi_list] == [0, 0]
    assert m.books() == before
    # Nothing left to free is no mistake.
    m.free(dev)


def test_msi_5_reservable_interrupts_own_no_vector_until_they_are_requested() -> None:
    m = MsiMachine()
    dev = m.device(1, 1, 1)
    assert m.alloc(dev) == 0
    matrix = m.machine.matrix
    assert (matrix.global_reserved, matrix.total_allocated) == (3, 0)
    for irq in irqs_of(dev):
        apicd = m.machine.chip_data(irq)
        assert apicd is not None
        assert (apicd.has_reserved, apicd.vector) == (True, 0)
        assert not m.desc(irq).irq_data.test(IRQD_ACTIVATED)
        assert not m.desc(irq).irq_data.test(IRQD_MSI_NOMASK_QUIRK)
        # Trap 12: not activated does not mean that the message is empty.
        assert m.message[irq].data == SHUTDOWN
    irq = dev.msi_list[0].irq
    assert m.machine.request_irq(irq) == 0
    assert (matrix.global_reserved, matrix.total_allocated) == (2, 1)
    assert m.message[irq].data != SHUTDOWN


def test_msi_5_managed_interrupts_take_a_bit_on_each_cpu_of_their_masks() -> None:
    m = MsiMachine(2)
    affinity = [IrqAffinityDesc(mask(0, 1), True)]
    dev = m.device(1, 1, affinity=affinity)
    assert m.alloc(dev) == 0
    assert [cm.managed for cm in m.machine.matrix.maps] == [2, 2]
    assert m.machine.matrix.total_allocated == 0
    for irq in irqs_of(dev):
        assert m.message[irq].data == SHUTDOWN
        assert not m.desc(irq).irq_data.test(IRQD_ACTIVATED)


def test_msi_6_other_interrupts_own_a_vector_for_good() -> None:
    m = MsiMachine()
    dev = m.device(1, maskable=False)
    assert m.alloc(dev) == 0
    irq = dev.msi_list[0].irq
    irqd, apicd = m.desc(irq).irq_data, m.machine.chip_data(irq)
    assert apicd is not None
    assert irqd.test(IRQD_ACTIVATED)
    assert irqd.test(IRQD_MSI_NOMASK_QUIRK)
    assert not irqd.test(IRQD_CAN_RESERVE)
    assert (apicd.can_reserve, apicd.vector != 0) == (False, True)
    assert m.message[irq].data == 0x4000 | apicd.vector
    # 14.3: a request finds it activated; a free writes the empty message and keeps the vector.
    requested = events_of(m.machine, lambda: m.machine.request_irq(irq))
    assert "irq_domain_activate_irq" not in [event.name for event in requested]
    vector = apicd.vector
    m.machine.free_irq(irq)
    assert (m.message[irq], apicd.vector) == (MsiMsg(), vector)


def test_nothing_is_activated_early_without_the_flag() -> None:
    m = MsiMachine(flags=LIKE_PCI & ~MSI_FLAG_ACTIVATE_EARLY)
    dev = m.device(1, maskable=False)
    assert m.alloc(dev) == 0
    assert not m.message
    assert m.desc(dev.msi_list[0].irq).irq_data.test(IRQD_CAN_RESERVE)


# --- failures -------------------------------------------------------------------------------


def test_msi_7_an_allocation_that_fails_keeps_what_the_descriptors_before_have() -> None:
    m = MsiMachine()
    dev = m.device(1, 1, 1)
    m.machine.fail_next("alloc_apic_chip_data", 3)
    assert m.alloc(dev) == -errno.ENOSPC  # Trap 25: not the -ENOMEM that it was.
    assert [desc.irq != 0 for desc in dev.msi_list] == [True, True, False]
    assert len(m.irqs.descs) == 2
    m.free(dev)
    assert not m.irqs.descs


@pytest.mark.parametrize("site", ["alloc_desc", "irq_domain_insert_irq_data"])
def test_msi_10_no_memory_is_reported_as_no_space(site: str) -> None:
    m = MsiMachine()
    before = m.books()
    dev = m.device(1)
    m.machine.fail_next(site)
    assert m.alloc(dev) == -errno.ENOSPC
    assert m.books() == before


def test_msi_10_handle_error_has_the_last_word_and_finish_hears_it() -> None:
    heard: list[int] = []
    ops = MsiDomainOps(
        set_desc=set_desc,
        handle_error=lambda domain, desc, error: 1 if error == -errno.ENOSPC else error,
        msi_finish=lambda arg, ret: heard.append(ret),
    )
    m = MsiMachine(ops=ops)
    m.machine.fail_next("alloc_desc", 2)
    dev = m.device(1, 1)
    assert m.alloc(dev) == 1
    m.free(dev)
    assert m.alloc(dev) == 0
    assert heard == [1, 0]


@pytest.mark.parametrize("refusal", [1, -errno.ENOTSUP])
@pytest.mark.parametrize("op", ["msi_check", "msi_prepare", "msi_alloc_store"])
def test_msi_10_a_refusal_is_returned_as_it_is(op: str, refusal: int) -> None:
    ops = MsiDomainOps(set_desc=set_desc)
    setattr(ops, op, lambda *args: refusal)
    m = MsiMachine(ops=ops)
    dev = m.device(1)
    assert m.alloc(dev) == refusal
    assert not m.irqs.descs


def test_msi_7_an_activation_that_fails_gives_everything_back() -> None:
    m = MsiMachine(1, defects=())
    # Four vectors of one CPU: the fifth activation fails.
    dev = m.device(1, 1, 1, 1, 1, maskable=False)
    before = m.books()
    assert m.alloc(dev) == -errno.ENOSPC
    assert not irqs_of(dev)
    assert m.books() == before
    assert set(m.message.values()) == {MsiMsg()}


def test_trap_27_the_failed_activation_frees_by_the_overridable_operation() -> None:
    freed: list[Device] = []

    def override(domain: IrqDomain, dev: Device) -> None:
        freed.append(dev)
        msi_default_free_irqs(domain, dev)

    m = MsiMachine(1, ops=MsiDomainOps(set_desc=set_desc, domain_free_irqs=override))
    dev = m.device(1, 1, 1, 1, 1, maskable=False)
    assert m.alloc(dev) == -errno.ENOSPC
    assert freed == [dev]


@pytest.mark.parametrize("n17", [False, True])
def test_n17_activated_interrupts_are_deactivated_before_they_are_freed(n17: bool) -> None:
    m = MsiMachine(defects={Defect.N17} if n17 else ())
    before = m.books()
    dev = m.device(1, maskable=False)
    m.alloc(dev)
    irq = dev.msi_list[0].irq
    seen = [event.name for event in events_of(m.machine, lambda: m.free(dev))]
    assert ("irq_domain_deactivate_irq" in seen) == (not n17)
    assert (m.message[irq] == MsiMsg()) == (not n17)
    assert m.books() == before


# --- the decision to reserve ----------------------------------------------------------------


def reserves(m: MsiMachine, *, maskable: bool = True, msix: bool = True) -> bool:
    dev = m.device(1, maskable=maskable, msix=msix)
    assert m.alloc(dev) == 0
    return m.machine.matrix.global_reserved == 1


def test_who_reserves() -> None:
    assert reserves(MsiMachine())
    assert reserves(MsiMachine(), msix=False)
    assert not reserves(MsiMachine(), maskable=False)
    assert not reserves(MsiMachine(flags=LIKE_PCI & ~MSI_FLAG_MUST_REACTIVATE))
    assert not reserves(MsiMachine(token=DomainBus.GENERIC_MSI))


def test_n6_a_vmd_domain_reserves_too() -> None:
    assert reserves(MsiMachine(token=DomainBus.VMD_MSI))
    assert not reserves(MsiMachine(token=DomainBus.VMD_MSI, defects={Defect.N6}))
    assert reserves(MsiMachine(defects={Defect.N6}))


def test_n14_nobody_reserves_where_nothing_can_be_masked() -> None:
    for defects, reserved in ((set[Defect](), False), ({Defect.N14}, True)):
        m = MsiMachine(defects=defects)
        m.kernel.pci_msi_ignore_mask = True
        assert reserves(m) == reserved


@pytest.mark.parametrize("maskable", [False, True])
def test_n8_the_interrupts_of_a_block_are_treated_alike(maskable: bool) -> None:
    for defects, alike in ((set[Defect](), True), ({Defect.N8}, False)):
        m = MsiMachine(defects=defects)
        dev = m.device(3, maskable=maskable)
        assert m.alloc(dev) == 0
        seen = [
            (m.desc(irq).irq_data.test(IRQD_ACTIVATED), m.desc(irq).irq_data.test(IRQD_CAN_RESERVE))
            for irq in irqs_of(dev)
        ]
        assert seen[0] == (not maskable, maskable)
        if alike:
            assert len(set(seen)) == 1
            assert len(m.message) == 3
        else:
            assert seen[1:] == [(False, True)] * 2
            assert len(m.message) == 1


# --- overrides and stores -------------------------------------------------------------------


def test_msi_12_overrides_replace_the_whole_allocation() -> None:
    asked: list[tuple[str, int]] = []

    def alloc(domain: IrqDomain, dev: Device, nvec: int) -> int:
        asked.append(("alloc", nvec))
        return 7

    def free(domain: IrqDomain, dev: Device) -> None:
        asked.append(("free", 0))

    m = MsiMachine(flags=0, ops=MsiDomainOps(domain_alloc_irqs=alloc, domain_free_irqs=free))
    dev = m.device(1, 1)
    assert m.alloc(dev) == 7
    m.free(dev)
    assert asked == [("alloc", 2), ("free", 0)]
    assert not m.irqs.descs


def store_ops(log: list[str]) -> MsiDomainOps:
    def alloc_store(domain: IrqDomain, dev: Device, nvec: int) -> int:
        log.append(f"store {nvec}")
        return 0

    return MsiDomainOps(
        set_desc=set_desc,
        msi_alloc_store=alloc_store,
        msi_free_store=lambda domain, dev: log.append("free"),
    )


def test_msi_13_a_store_is_freed_once() -> None:
    log: list[str] = []
    m = MsiMachine(1, ops=store_ops(log))
    dev = m.device(1, 2)
    events = events_of(m.machine, lambda: m.alloc(dev))
    assert "msi_alloc_store" in [event.name for event in events]
    events = events_of(m.machine, lambda: m.free(dev))
    assert [event.name for event in events][-2:] == ["msi_free_store", "msi_domain_free_irqs"]
    assert log == ["store 3", "free"]
    # An activation that fails frees it, too.
    log.clear()
    assert m.alloc(m.device(1, 1, 1, 1, 1, maskable=False)) == -errno.ENOSPC
    assert log == ["store 5", "free"]


def test_msi_13_after_a_failed_allocation_the_owner_must_free_the_store() -> None:
    log: list[str] = []
    m = MsiMachine(ops=store_ops(log))
    dev = m.device(1)
    m.machine.fail_next("alloc_desc")
    assert m.alloc(dev) == -errno.ENOSPC
    assert log == ["store 1"]
    m.free(dev)
    assert log == ["store 1", "free"]


def test_a_store_that_cannot_be_had_allocates_nothing() -> None:
    m = MsiMachine(ops=MsiDomainOps(set_desc=set_desc, msi_alloc_store=exhausted))
    before = m.books()
    dev = m.device(1)
    events = events_of(m.machine, lambda: m.alloc(dev))
    assert told(events)[-1] == f"msi_domain_alloc_irqs(0, {-errno.ENOSPC})"
    assert "msi_alloc_store" not in [event.name for event in events]
    assert m.books() == before


# --- descriptors and events -----------------------------------------------------------------


def test_descriptors_are_numbered_and_may_lack_memory() -> None:
    m = MsiMachine()
    m.machine.fail_next("alloc_msi_entry")
    dev = m.device()
    assert alloc_msi_entry(m.kernel, dev, 1, None) is None

    def pair() -> None:
        for _ in range(2):
            desc = alloc_msi_entry(m.kernel, dev, 4, None)
            assert desc is not None
            free_msi_entry(m.kernel, desc)

    assert told(events_of(m.machine, pair)) == [
        "alloc_msi_entry(0, 0, 4, 0, 0)",
        "free_msi_entry(0, 0)",
        "alloc_msi_entry(0, 1, 4, 0, 0)",
        "free_msi_entry(0, 1)",
    ]


def test_the_msi_events_of_a_life_in_order() -> None:
    m = MsiMachine()
    dev = m.device(2, maskable=False)

    def msi(operation: Callable[[], object]) -> list[str]:
        events = events_of(m.machine, operation)
        return told(event for event in events if event.system == "msi")

    assert msi(lambda: m.alloc(dev)) == [
        f"msi_domain_prepare_irqs(0, {m.domain.id})",
        "irq_set_msi_desc_off(1, 0, 0)",
        "irq_set_msi_desc_off(2, 0, 1)",
        "irqd_set_nomask_quirk(1)",
        "irqd_set_nomask_quirk(2)",
        "msi_domain_alloc_irqs(0, 0)",
    ]
    assert msi(lambda: m.free(dev)) == ["msi_desc_clear_irq(0)", "msi_domain_free_irqs(0)"]
