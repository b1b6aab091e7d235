# SPDX-License-Identifier: GPL-2.0-only
"""The chip "xen-pirq" (drivers/xen/events/events_base.c, v5.10).

An interrupt gets its event channel when it starts and loses it when it is shut down; the pirq
outlives both.  Masking is a bit that guest and hypervisor share, and needs no hypercall.
"""

from functools import partial

from impl.drivers.xen.hypervisor import XENIRQSTAT_NEEDS_EOI
from impl.drivers.xen.irq_info import (
    PIRQ_NEEDS_EOI,
    PIRQ_SHAREABLE,
    IrqInfo,
    MaskReason,
    XenEvents,
    XenIrqType,
    bind_evtchn_to_cpu,
    info_for_irq,
    set_evtchn_to_irq,
    xen_irq_info_cleanup,
)
from impl.kernel.cpumask import cpumask_first
from impl.kernel.irq.irq import IrqChip, IrqData
from impl.kernel.irq.migration import irq_move_irq
from impl.kernel.kernel import KernelBug

__all__ = ["xen_evtchn_close", "xen_pirq_chip"]

_BIND_PIRQ__WILL_SHARE = 1
_EPERM = 1


def xen_pirq_chip(xen: XenEvents) -> IrqChip:
    """The chip of all pirqs of a machine."""
    return IrqChip(
        "xen-pirq",
        irq_startup=partial(_startup_pirq, xen),
        irq_shutdown=partial(_shutdown_pirq, xen),
        irq_enable=partial(_enable_pirq, xen),
        irq_disable=partial(_disable_dynirq, xen),
        irq_mask=partial(_disable_dynirq, xen),
        irq_unmask=partial(_enable_dynirq, xen),
        irq_ack=partial(_eoi_pirq, xen),
        irq_eoi=partial(_eoi_pirq, xen),
        irq_set_affinity=partial(_set_affinity_irq, xen),
        irq_retrigger=partial(_retrigger_dynirq, xen),
    )


def xen_evtchn_close(xen: XenEvents, evtchn: int) -> None:
    """Close an event channel; a BUG if the hypervisor refuses."""
    if xen.hypervisor.evtchn_close(evtchn):
        raise KernelBug(f"event channel {evtchn} does not close")


def _startup_pirq(xen: XenEvents, irqd: IrqData) -> int:
    """Bind an event channel and unmask it; always 0, also without a channel.

    A refusal is logged, and the interrupt counts as started although it cannot arrive.
    """
    info = _pirq_info(xen, irqd)
    if not info.evtchn and not _bind_evtchn(xen, info):
        xen.trace("startup_pirq", irq=irqd.irq, evtchn=0)
        return 0
    _do_unmask(xen, info, MaskReason.EXPLICIT)
    _eoi_pirq(xen, irqd)
    xen.trace("startup_pirq", irq=irqd.irq, evtchn=info.evtchn)
    return 0


def _bind_evtchn(xen: XenEvents, info: IrqInfo) -> bool:
    flags = _BIND_PIRQ__WILL_SHARE if info.flags & PIRQ_SHAREABLE else 0
    ret, evtchn = xen.hypervisor.evtchn_bind_pirq(info.pirq, flags)
    if ret:
        return False
    _pirq_query_unmask(xen, info)
    if set_evtchn_to_irq(xen, evtchn, info.irq):
        xen_evtchn_close(xen, evtchn)
        return False
    info.evtchn = evtchn
    bind_evtchn_to_cpu(xen, evtchn, 0)
    return True


def _pirq_query_unmask(xen: XenEvents, info: IrqInfo) -> None:
    """Ask whether the hypervisor waits for the end of each interrupt; a refusal means no."""
    ret, flags = xen.hypervisor.physdev_irq_status_query(info.pirq)
    info.flags &= ~PIRQ_NEEDS_EOI
    if ret == 0 and flags & XENIRQSTAT_NEEDS_EOI:
        info.flags |= PIRQ_NEEDS_EOI


def _shutdown_pirq(xen: XenEvents, irqd: IrqData) -> None:
    info = _pirq_info(xen, irqd)
    if info.evtchn:
        _do_mask(xen, info, MaskReason.EXPLICIT)
        xen_evtchn_close(xen, info.evtchn)
        xen_irq_info_cleanup(xen, info)
    xen.trace("shutdown_pirq", irq=irqd.irq)


def _enable_pirq(xen: XenEvents, irqd: IrqData) -> None:
    _startup_pirq(xen, irqd)


def _disable_dynirq(xen: XenEvents, irqd: IrqData) -> None:
    info = info_for_irq(xen, irqd.irq)
    if info.evtchn:
        _do_mask(xen, info, MaskReason.EXPLICIT)


def _enable_dynirq(xen: XenEvents, irqd: IrqData) -> None:
    info = info_for_irq(xen, irqd.irq)
    if info.evtchn:
        _do_unmask(xen, info, MaskReason.EXPLICIT)


def _eoi_pirq(xen: XenEvents, irqd: IrqData) -> None:
    """Move if a move waits, forget the event, and end the interrupt if Xen wants to know.

    At a start, that of a disabled interrupt included, this forgets what was signalled before.
    """
    info = _pirq_info(xen, irqd)
    if not info.evtchn:
        return
    irq_move_irq(irqd)
    xen.hypervisor.ports[info.evtchn].pending = False
    if info.flags & PIRQ_NEEDS_EOI and xen.hypervisor.physdev_eoi(info.pirq):
        xen.kernel.warn()


def _set_affinity_irq(xen: XenEvents, irqd: IrqData, mask: int, force: bool) -> int:
    """Let the first online CPU of `mask` be notified: 0, or -EPERM without an event channel.

    A refusal of the hypervisor mostly means that the CPU has just left, and is no error.
    """
    info = info_for_irq(xen, irqd.irq)
    if not info.evtchn or not _evtchn_rebinds(xen):
        return -_EPERM
    cpu = cpumask_first(mask & xen.kernel.cpu_online_mask or mask)
    _do_mask(xen, info, MaskReason.TEMPORARY)
    if xen.hypervisor.evtchn_bind_vcpu(info.evtchn, cpu) == 0:
        bind_evtchn_to_cpu(xen, info.evtchn, cpu)
    _do_unmask(xen, info, MaskReason.TEMPORARY)
    irqd.common.effective_affinity = 1 << cpu
    xen.trace("set_affinity_irq", irq=irqd.irq, cpu=cpu)
    return 0


def _retrigger_dynirq(xen: XenEvents, irqd: IrqData) -> int:
    """Raise the event again; 0 without an event channel."""
    info = info_for_irq(xen, irqd.irq)
    if not info.evtchn:
        return 0
    xen.hypervisor.ports[info.evtchn].pending = True
    return 1


def _evtchn_rebinds(xen: XenEvents) -> bool:
    """Whether events can go to another CPU than the first (xen_support_evtchn_rebind)."""
    return not xen.guest.xen_hvm_domain or xen.guest.have_vector_callback


def _pirq_info(xen: XenEvents, irqd: IrqData) -> IrqInfo:
    info = info_for_irq(xen, irqd.irq)
    if info.type is not XenIrqType.PIRQ:
        raise KernelBug(f"irq {irqd.irq} is no pirq's")
    return info


def _do_mask(xen: XenEvents, info: IrqInfo, reason: MaskReason) -> None:
    if not info.mask_reason:
        xen.hypervisor.ports[info.evtchn].masked = True
    info.mask_reason |= reason


def _do_unmask(xen: XenEvents, info: IrqInfo, reason: MaskReason) -> None:
    info.mask_reason &= ~reason
    if not info.mask_reason:
        xen.hypervisor.ports[info.evtchn].masked = False
