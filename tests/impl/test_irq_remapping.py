# SPDX-License-Identifier: GPL-2.0-only
"""The remapping core (IRC): one driver in charge, and what it is asked."""

import errno

import pytest

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE
from impl.drivers.iommu.intel_setup import intel_get_irq_domain
from impl.drivers.iommu.irq_remapping import (
    IrqRemapCap,
    IrqRemapMode,
    IrqRemapOps,
    IrqRemapping,
    irq_remap_enable_fault_handling,
    irq_remapping_cap,
    irq_remapping_disable,
    irq_remapping_enable,
    irq_remapping_get_irq_domain,
    irq_remapping_prepare,
    irq_remapping_reenable,
    panic_if_irq_remap,
    set_irq_remapping_broken,
    setup_irqremap,
)
from impl.kernel.kernel import Kernel, KernelBug
from tests.impl.intel_support import CATCH_ALL, IntelMachine, parent_query, unit

IOAPIC_PARENT = X86_IRQ_ALLOC_TYPE.IOAPIC_GET_PARENT
HPET_PARENT = X86_IRQ_ALLOC_TYPE.HPET_GET_PARENT


def remapping() -> IrqRemapping:
    return IrqRemapping(Kernel(1))


def driver(ret: int, asked: list[str] | None = None, name: str = "") -> IrqRemapOps:
    def prepare() -> int:
        if asked is not None:
            asked.append(name)
        return ret

    return IrqRemapOps(prepare=prepare)


@pytest.mark.parametrize("found", [0, 1, 2])
def test_irc_1_the_first_driver_with_hardware_takes_charge(found: int) -> None:
    r = remapping()
    asked: list[str] = []
    candidates = [
        driver(0 if place == found else -errno.ENODEV, asked, name)
        for place, name in enumerate(["intel", "amd", "hyperv"])
    ]
    assert irq_remapping_prepare(r, candidates) == 0
    assert r.remap_ops is candidates[found]
    assert asked == ["intel", "amd", "hyperv"][: found + 1]


def test_irc_1_nobody_takes_charge_without_hardware() -> None:
    r = remapping()
    assert irq_remapping_prepare(r, [driver(-errno.ENODEV)]) == -errno.ENOSYS
    assert r.remap_ops is None
    assert irq_remapping_get_irq_domain(r, parent_query(IOAPIC_PARENT, 0)) is None
    with pytest.raises(KernelBug):
        irq_remapping_enable(r)


def test_irc_1_the_command_line_forbids_all_drivers() -> None:
    r = remapping()
    asked: list[str] = []
    assert setup_irqremap(r, "off") == 0
    assert irq_remapping_prepare(r, [driver(0, asked)]) == -errno.ENOSYS
    assert r.remap_ops is None and not asked
    assert setup_irqremap(r, "on") == 0
    assert irq_remapping_prepare(r, [driver(0)]) == 0


def test_the_options_are_switches() -> None:
    r = remapping()
    assert setup_irqremap(r, "nosid,no_x2apic_optout,nopost,whatever") == 0
    assert r.disable_sourceid_checking and r.no_x2apic_optout and r.disable_irq_post
    assert not r.disable_irq_remap
    assert setup_irqremap(r, "") == -errno.EINVAL


def test_a_driver_that_cannot_enable_stays_in_charge() -> None:
    r = remapping()
    ops = driver(0)
    assert irq_remapping_prepare(r, [ops]) == 0
    assert irq_remapping_enable(r) == -errno.ENODEV
    ops.enable = lambda: -errno.EIO
    assert irq_remapping_enable(r) == -errno.EIO
    assert r.remap_ops is ops and not r.restore_boot_irq_mode


def test_a_crash_hands_over_differently_once_remapping_is_on() -> None:
    r = remapping()
    ops = driver(0)

    def enable() -> int:
        r.irq_remapping_enabled = True
        return IrqRemapMode.X2APIC

    ops.enable = enable
    assert irq_remapping_prepare(r, [ops]) == 0
    assert irq_remapping_enable(r) == IrqRemapMode.X2APIC
    assert r.restore_boot_irq_mode


def test_a_driver_that_enables_without_the_flag_leaves_the_restore_hook() -> None:
    """As Hyper-V's does (trap 23)."""
    r = remapping()
    ops = driver(0)
    ops.enable = lambda: IrqRemapMode.X2APIC
    assert irq_remapping_prepare(r, [ops]) == 0
    assert irq_remapping_enable(r) == IrqRemapMode.X2APIC
    assert not r.irq_remapping_enabled and not r.restore_boot_irq_mode
    assert irq_remapping_reenable(r, 0) == 0
    assert irq_remap_enable_fault_handling(r) == 0


def test_disable_and_reenable_reach_the_driver_only_while_remapping_is_on() -> None:
    r = remapping()
    called: list[object] = []
    ops = driver(0)
    ops.disable = lambda: called.append("disable")
    ops.reenable = lambda mode: -errno.EIO if mode else 0
    assert irq_remapping_prepare(r, [ops]) == 0
    irq_remapping_disable(r)
    assert irq_remapping_reenable(r, 1) == 0 and not called
    r.irq_remapping_enabled = True
    irq_remapping_disable(r)
    assert called == ["disable"]
    assert irq_remapping_reenable(r, 0) == 0
    assert irq_remapping_reenable(r, 1) == -errno.EIO


def test_fault_handling_needs_a_driver_that_can() -> None:
    r = remapping()
    ops = driver(0)
    assert irq_remapping_prepare(r, [ops]) == 0
    r.irq_remapping_enabled = True
    assert irq_remap_enable_fault_handling(r) == -errno.ENODEV
    ops.enable_faulting = lambda: -1
    assert irq_remap_enable_fault_handling(r) == -1


def test_a_panic_only_while_remapping_is_on() -> None:
    r = remapping()
    panic_if_irq_remap(r, "off")
    r.irq_remapping_enabled = True
    with pytest.raises(KernelBug, match="on"):
        panic_if_irq_remap(r, "on")


def test_posting_is_a_capability_that_the_command_line_can_forbid() -> None:
    m = IntelMachine()
    posting = IrqRemapCap.IRQ_POSTING_CAP
    assert irq_remapping_cap(m.r, posting)
    m.r.disable_irq_post = True
    assert not irq_remapping_cap(m.r, posting)
    assert not irq_remapping_cap(remapping(), posting)


def test_a_broken_chipset_has_no_driver() -> None:
    m = IntelMachine(before=lambda m: set_irq_remapping_broken(m.r))
    assert m.prepared == -errno.ENOSYS and m.r.remap_ops is None


@pytest.mark.parametrize(("type", "id"), [(IOAPIC_PARENT, 2), (HPET_PARENT, 0)])
def test_irc_2_a_parent_lies_on_the_vector_domain(type: X86_IRQ_ALLOC_TYPE, id: int) -> None:
    m = IntelMachine(unit(0x2000), CATCH_ALL)
    parent = irq_remapping_get_irq_domain(m.r, parent_query(type, id))
    covering = m.unit_at(CATCH_ALL.address)
    assert parent is not None and parent is covering.ir_domain
    assert parent.parent is m.vectors.x86_vector_domain
    assert covering.ir_msi_domain is not None and covering.ir_msi_domain.parent is parent


@pytest.mark.parametrize("type", [IOAPIC_PARENT, HPET_PARENT])
def test_irc_2_an_unlisted_id_has_no_parent(type: X86_IRQ_ALLOC_TYPE) -> None:
    m = IntelMachine()
    assert irq_remapping_get_irq_domain(m.r, parent_query(type, 7)) is None


def test_irc_3_devices_are_no_matter_of_the_getter() -> None:
    m = IntelMachine()
    queries = [
        parent_query(type, 0)
        for type in X86_IRQ_ALLOC_TYPE
        if type not in (IOAPIC_PARENT, HPET_PARENT)
    ]
    warned = m.events(
        lambda: [irq_remapping_get_irq_domain(m.r, query) for query in queries], "WARN"
    )
    assert len(warned) == 1
    assert all(irq_remapping_get_irq_domain(m.r, query) is None for query in queries)


def test_irc_3_no_question_no_answer() -> None:
    m = IntelMachine()
    assert not m.events(lambda: irq_remapping_get_irq_domain(m.r, None), "WARN")
    assert irq_remapping_get_irq_domain(m.r, None) is None


def test_irc_3_no_path_asks_for_the_domain_of_a_device() -> None:
    m = IntelMachine()
    asked = m.events(lambda: m.with_msi(4), "irq_remapping_get_irq_domain")
    assert not asked


def test_irc_4_asking_changes_nothing() -> None:
    m = IntelMachine()
    before = m.ir_footprint()
    for type in X86_IRQ_ALLOC_TYPE:
        irq_remapping_get_irq_domain(m.r, parent_query(type, 2))
    assert m.ir_footprint() == before


@pytest.mark.parametrize("failing", range(1, 7))
def test_irc_5_no_domain_survives_a_failed_preparation(failing: int) -> None:
    """The second unit fails; the first one, which was complete, is taken down again."""
    m = IntelMachine(
        unit(0x2000),
        CATCH_ALL,
        before=lambda m: m.fail_next("intel_setup_irq_remapping", failing),
    )
    assert m.prepared == -errno.ENOSYS and m.r.remap_ops is None
    assert not m.r.irq_remapping_enabled
    assert all(each.ir_domain is None and each.ir_table is None for each in m.dmar.iommus)
    assert intel_get_irq_domain(m.ir, parent_query(IOAPIC_PARENT, 2)) is None
    assert [d.name for d in m.domains.irq_domain_list] == ["PCI-MSI-3", "VECTOR"]
