# SPDX-License-Identifier: GPL-2.0-only
"""Chips: masking at the right moments, flow handlers, and what is handed to the level inside."""

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_LEGACY,
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
    copy_irq_alloc_info,
    init_irq_alloc_info,
)
from impl.arch.x86.vector_domain import x86_vector_msi_compose_msg
from impl.defects import Defect
from impl.kernel.irq.chip import (
    irq_chip_ack_parent,
    irq_chip_eoi_parent,
    irq_chip_mask_parent,
    irq_chip_retrigger_hierarchy,
    irq_chip_set_affinity_parent,
    irq_chip_set_type_parent,
    irq_chip_set_vcpu_affinity_parent,
    irq_chip_unmask_parent,
    irq_chip_write_msi_msg,
    irq_set_handler,
    irq_startup,
)
from impl.kernel.irq.handle import generic_handle_irq_desc
from impl.kernel.irq.irq import (
    IRQ_NOREQUEST,
    IRQD_IRQ_MASKED,
    IRQD_IRQ_STARTED,
    IrqChip,
    IrqData,
    IrqDesc,
    MsiMsg,
)
from impl.kernel.irq.irqdesc import IrqDescTable
from impl.kernel.irq.manage import irq_set_vcpu_affinity
from impl.kernel.irq.request import disable_irq, enable_irq, free_irq, request_irq
from impl.kernel.kernel import KernelBug
from impl.vector_machine import VectorMachine
from tests.impl.support import counters_agree, mask, names, small
from tests.impl.tower import Tower


def noting(log: list[str], name: str) -> IrqChip:
    """A chip with all operations, which note that they were called."""

    def note(op: str) -> Callable[..., None]:
        return lambda *args: log.append(f"{name}.{op}")

    def answer(op: str) -> Callable[..., int]:
        def operation(*args: object) -> int:
            log.append(f"{name}.{op}")
            return 3

        return operation

    return IrqChip(
        name,
        irq_ack=note("ack"),
        irq_mask=note("mask"),
        irq_unmask=note("unmask"),
        irq_eoi=note("eoi"),
        irq_set_affinity=answer("set_affinity"),
        irq_retrigger=answer("retrigger"),
        irq_set_type=answer("set_type"),
        irq_set_vcpu_affinity=answer("set_vcpu_affinity"),
    )


def with_chips(middle: IrqChip, root: IrqChip) -> IrqData:
    """The outermost level of an interrupt with these chips inside."""
    t = Tower()
    t.middle.chip, t.root.chip = middle, root
    return t.irqs.descs[t.alloc()].irq_data


def table_of(irqd: IrqData) -> IrqDescTable:
    assert irqd.domain is not None
    return irqd.domain.domains.irqs


# --- the level inside -----------------------------------------------------------------------


def test_operations_are_handed_to_the_level_inside() -> None:
    log: list[str] = []
    irqd = with_chips(noting(log, "middle"), noting(log, "root"))
    irq_chip_ack_parent(irqd)
    irq_chip_mask_parent(irqd)
    irq_chip_unmask_parent(irqd)
    irq_chip_eoi_parent(irqd)
    assert irq_chip_set_affinity_parent(irqd, 1, False) == 3
    assert irq_chip_set_type_parent(irqd, 4) == 3
    assert irq_chip_set_vcpu_affinity_parent(irqd, None) == 3
    ops = ("ack", "mask", "unmask", "eoi", "set_affinity", "set_type", "set_vcpu_affinity")
    assert log == [f"middle.{op}" for op in ops]


def test_missing_operations_inside() -> None:
    bare = with_chips(IrqChip("middle"), IrqChip("root"))
    assert irq_chip_set_affinity_parent(bare, 1, False) == -errno.ENOSYS
    assert irq_chip_set_type_parent(bare, 4) == -errno.ENOSYS
    assert irq_chip_set_vcpu_affinity_parent(bare, None) == -errno.ENOSYS
    for op in (
        irq_chip_ack_parent,
        irq_chip_mask_parent,
        irq_chip_unmask_parent,
        irq_chip_eoi_parent,
    ):
        with pytest.raises(KernelBug, match="middle has no irq_"):
            op(bare)
    with pytest.raises(KernelBug, match="irq_write_msi_msg"):
        irq_chip_write_msi_msg(bare, MsiMsg())
    innermost = bare.parent_data
    assert innermost is not None
    assert innermost.parent_data is not None
    with pytest.raises(KernelBug, match="no level inside"):
        irq_chip_ack_parent(innermost.parent_data)


def test_the_nearest_ancestor_that_can_raises_the_interrupt_again() -> None:
    log: list[str] = []
    can = noting(log, "root")
    irqd = with_chips(IrqChip("middle"), can)
    assert irq_chip_retrigger_hierarchy(irqd) == 3
    # Strictly inside: a chip does not ask itself.
    root = irqd.parent_data and irqd.parent_data.parent_data
    assert root is not None
    assert irq_chip_retrigger_hierarchy(root) == 0
    assert irq_chip_retrigger_hierarchy(with_chips(noting(log, "middle"), can)) == 3
    assert log == ["root.retrigger", "middle.retrigger"]


def test_the_first_chip_that_can_posts_to_a_virtual_cpu() -> None:
    log: list[str] = []
    for middle, expected in ((IrqChip("middle"), "root"), (noting(log, "middle"), "middle")):
        irqd = with_chips(middle, noting(log, "root"))
        assert irq_set_vcpu_affinity(table_of(irqd), irqd.irq, None) == 3
        assert log.pop() == f"{expected}.set_vcpu_affinity"
    bare = with_chips(IrqChip("middle"), IrqChip("root"))
    assert irq_set_vcpu_affinity(table_of(bare), bare.irq, None) == -errno.ENOSYS
    assert irq_set_vcpu_affinity(table_of(bare), 99, None) == -errno.EINVAL


# --- masks ----------------------------------------------------------------------------------


def requestable(
    log: list[str], irq_startup: Callable[[IrqData], int] | None = None
) -> tuple[Tower, IrqDesc]:
    t = Tower()
    t.kernel.cpu_online_mask = mask(0, 1)
    t.top.chip = replace(noting(log, "top"), irq_set_affinity=None, irq_startup=irq_startup)
    desc = t.irqs.descs[t.alloc()]
    irq_set_handler(desc, "edge")
    return t, desc


def test_the_chip_is_masked_exactly_when_the_interrupt_is() -> None:
    log: list[str] = []
    t, desc = requestable(log)
    assert request_irq(t.irqs, desc.irq) == 0
    assert log == ["top.unmask"]
    disable_irq(t.irqs, desc.irq)
    assert log == ["top.unmask"], "lazily"
    assert not generic_handle_irq_desc(desc)
    assert not generic_handle_irq_desc(desc)
    enable_irq(t.irqs, desc.irq)
    assert generic_handle_irq_desc(desc)
    free_irq(t.irqs, desc.irq)
    assert log[1:] == ["top.mask", "top.ack", "top.ack", "top.unmask", "top.ack", "top.mask"]


def test_a_chip_may_start_its_interrupts_itself() -> None:
    log: list[str] = []

    def startup(irqd: IrqData) -> int:
        log.append("startup")
        return 0

    t, desc = requestable(log, startup)
    assert request_irq(t.irqs, desc.irq) == 0
    assert log == ["startup"]
    assert desc.irq_data.test(IRQD_IRQ_STARTED)
    assert not desc.irq_data.test(IRQD_IRQ_MASKED)
    # Enabling one that was started is no start.
    irq_startup(desc, force=True)
    assert log == ["startup"]


def test_nobody_requests_what_must_not_be_requested() -> None:
    t, desc = requestable([])
    desc.status |= IRQ_NOREQUEST
    assert request_irq(t.irqs, desc.irq) == -errno.EINVAL


def test_flow_handlers() -> None:
    log: list[str] = []
    t, desc = requestable(log)

    def handled(name: str | None) -> tuple[bool, list[str]]:
        desc.handler_name = name
        log.clear()
        return generic_handle_irq_desc(desc), list(log)

    assert handled("percpu") == (False, ["top.ack", "top.eoi"])
    assert request_irq(t.irqs, desc.irq) == 0
    assert handled("edge") == (True, ["top.ack"])
    assert handled("fasteoi") == (True, ["top.eoi"])
    assert handled("percpu") == (True, ["top.ack", "top.eoi"])
    disable_irq(t.irqs, desc.irq)
    assert handled("fasteoi") == (False, ["top.mask", "top.eoi"])
    seen: list[tuple[bool, list[str]]] = []
    events = t.events_of(lambda: seen.append(handled(None)))
    assert (seen, names(events)) == ([(False, ["top.ack"])], ["WARN"])


# --- the vector domain ----------------------------------------------------------------------


def test_apic_1_a_message_names_the_destination_and_the_vector() -> None:
    m = VectorMachine(1)
    irq = m.alloc_irqs(1)
    m.early_activate(irq, True)
    irqd = m.irqs.descs[irq].irq_data
    assert x86_vector_msi_compose_msg(m.vectors, irqd) == MsiMsg(0xFEE01004, 0, 0x40EF)
    big = VectorMachine(512)
    irq = big.alloc_irqs(1)
    apicd = big.chip_data(irq)
    assert apicd is not None
    apicd.hw_irq_cfg.dest_apicid, apicd.hw_irq_cfg.vector = 0x1FF, 0x31
    irqd = big.irqs.descs[irq].irq_data
    assert x86_vector_msi_compose_msg(big.vectors, irqd) == MsiMsg(0xFEEFF000, 0x100, 0x4031)


@pytest.mark.parametrize("n11", [False, True])
def test_n11_the_affinity_comes_before_the_node(n11: bool) -> None:
    m = small(3, nodes=(0, 1, 1), defects={Defect.N11} if n11 else ())
    irq = m.alloc_irqs(1, affinity=[mask(0)], node=0)
    m.irqs.descs[irq].common.node = 1
    assert m.request_irq(irq, autoenable=False) == 0
    apicd = m.chip_data(irq)
    assert apicd is not None
    assert (apicd.cpu == 0) == (not n11)


@pytest.mark.parametrize("n16", [False, True])
def test_n16_an_affinity_change_of_an_inactive_interrupt_stays_with_genirq(n16: bool) -> None:
    m = small(2, defects={Defect.N16} if n16 else ())
    irq = m.alloc_irqs(1)
    assert m.set_affinity(irq, mask(1)) == 0
    apicd = m.chip_data(irq)
    assert apicd is not None
    assert apicd.has_reserved
    # The matrix used the reservation up, and nobody was told (VEC-3).
    assert (m.matrix.global_reserved, apicd.vector != 0) == ((0, True) if n16 else (1, False))
    m.free_irqs(irq)
    assert m.matrix.global_reserved == ((1 << 32) - 1 if n16 else 0)
    assert counters_agree(m)


# --- the argument of an allocation ----------------------------------------------------------


def test_the_argument_of_an_allocation_is_copied_and_cleared() -> None:
    src = IrqAllocInfo(X86_IRQ_ALLOC_TYPE.UV, X86_IRQ_ALLOC_LEGACY, devid=2, hwirq=3, mask=1)
    src.ioapic.pin = 4
    src.uv.name = "uv"
    dst = IrqAllocInfo()
    copy_irq_alloc_info(dst, src)
    assert dst == src
    dst.ioapic.pin = 5
    assert src.ioapic.pin == 4
    copy_irq_alloc_info(dst, None)
    assert dst == IrqAllocInfo()
    init_irq_alloc_info(src, 6)
    assert src == IrqAllocInfo(mask=6)
