# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts that Xen delivers through event channels (drivers/xen/events/events_base.c, v5.10).

Message signalled ones are bound to a pirq, or a block of them, and get no event channel before
they start.
"""

import errno

from impl.defects import Defect
from impl.drivers.xen.guest import XenGuest
from impl.drivers.xen.hypervisor import DOMID_SELF, Hypervisor, MapPirqType
from impl.drivers.xen.irq_info import (
    PIRQ_MSI_GROUP,
    IrqInfo,
    XenEvents,
    info_for_irq,
    xen_irq_info_cleanup,
    xen_irq_info_pirq_setup,
)
from impl.drivers.xen.pirq_chip import xen_evtchn_close, xen_pirq_chip
from impl.kernel.irq.chip import irq_set_chip_and_handler
from impl.kernel.irq.handle import generic_handle_irq_desc
from impl.kernel.irq.irqdesc import IrqDescTable, irq_alloc_descs, irq_free_descs
from impl.kernel.irq.msi_desc import MsiDesc
from impl.kernel.kernel import NUMA_NO_NODE, KernelBug

__all__ = [
    "xen_allocate_pirq_msi",
    "xen_bind_pirq_msi_to_irq",
    "xen_destroy_irq",
    "xen_events_init",
    "xen_evtchn_do_upcall",
]

_NONE = -1


def xen_events_init(
    irqs: IrqDescTable, guest: XenGuest, hypervisor: Hypervisor, nr_legacy_irqs: int
) -> XenEvents:
    """The event code of a machine, without any interrupt."""
    xen = XenEvents(irqs, guest, hypervisor, nr_legacy_irqs)
    xen.xen_pirq_chip = xen_pirq_chip(xen)
    return xen


def xen_allocate_pirq_msi(xen: XenEvents) -> int:
    """Reserve a pirq for a message; -1 on any error, with one warning if Xen is too old."""
    ret, pirq = xen.hypervisor.physdev_get_free_pirq(MapPirqType.MSI)
    if ret == -errno.ENOSYS and not xen.warned:
        xen.warned = True
        xen.kernel.warn()
    return _NONE if ret else pirq


def xen_bind_pirq_msi_to_irq(
    xen: XenEvents, desc: MsiDesc, pirq: int, nvec: int, domid: int
) -> int:
    """Give a descriptor `nvec` consecutive irqs, for the pirqs from `pirq` on.

    The first irq, which alone points back to the descriptor; an error of irq_alloc_descs or of
    set_evtchn_to_irq, after which nothing is left of the irqs.
    """
    irq = _xen_allocate_irqs_dynamic(xen, nvec)
    if irq >= 0:
        ret = _setup_pirqs(xen, irq, pirq, nvec, domid)
        if ret < 0:
            for k in range(nvec - 1, -1, -1):
                _unbind_from_irq(xen, irq + k)
            irq = ret
        else:
            _irq_set_msi_desc(xen, irq, desc)
    xen.trace("xen_bind_pirq_msi_to_irq", desc=desc.id, pirq=pirq, nvec=nvec, domid=domid, ret=irq)
    return irq


def xen_destroy_irq(xen: XenEvents, irq: int) -> int:
    """Unmap the pirq of an irq that has been shut down, and free the irq.

    The initial domain unmaps, once for each block; elsewhere the hypervisor is not called, and
    -ENOENT is the result although the irq is freed.  The result of the hypervisor otherwise.  Under
    XEN-unmap the irq stays if that is an error, unless it says that the domain is gone.
    """
    info = info_for_irq(xen, irq)
    ret = -errno.ENOENT
    freed = True
    if xen.guest.xen_initial_domain and not info.flags & PIRQ_MSI_GROUP:
        ret = xen.hypervisor.physdev_unmap_pirq(info.domid, info.pirq)
        gone = ret == -errno.ESRCH and info.domid != DOMID_SELF
        freed = ret == 0 or gone or Defect.XEN_UNMAP not in xen.kernel.defects
    if freed:
        _xen_free_irq(xen, irq)
    xen.trace("xen_destroy_irq", irq=irq, ret=ret)
    return ret


def xen_evtchn_do_upcall(xen: XenEvents) -> int:
    """The hypervisor says that events are pending: handle each once; how many handlers ran."""
    handled = 0
    for port in sorted(xen.hypervisor.ports):
        channel = xen.hypervisor.ports.get(port)
        if channel is None or not channel.pending or channel.masked:
            continue
        desc = xen.irqs.irq_to_desc(xen.evtchn_to_irq[port])
        if desc is not None:
            xen.kernel.this_cpu = channel.vcpu
            handled += generic_handle_irq_desc(desc)
    return handled


def _xen_allocate_irqs_dynamic(xen: XenEvents, nvec: int) -> int:
    """Consecutive descriptors, each with an empty record; the kernel stops if those do not fit."""
    irq = irq_alloc_descs(xen.irqs, -1, 0, nvec, NUMA_NO_NODE)
    for k in range(nvec) if irq >= 0 else ():
        _xen_irq_init(xen, irq + k)
    return irq


def _xen_irq_init(xen: XenEvents, irq: int) -> None:
    if xen.kernel.kzalloc_fails("xen_irq_init"):
        raise KernelBug(f"no memory for the irq_info of irq {irq}")
    desc = xen.irqs.descs[irq]
    desc.common.affinity = 1
    info = IrqInfo(irq)
    desc.irq_data.chip_data = info
    xen.xen_irq_list_head.append(info)
    xen.trace("xen_irq_init", irq=irq)


def _setup_pirqs(xen: XenEvents, irq: int, pirq: int, nvec: int, domid: int) -> int:
    for k in range(nvec):
        irq_set_chip_and_handler(xen.irqs.descs[irq + k], xen.xen_pirq_chip, "edge")
        flags = PIRQ_MSI_GROUP if k else 0
        ret = xen_irq_info_pirq_setup(xen, irq + k, pirq + k, domid, flags)
        if ret < 0:
            return ret
    return 0


def _irq_set_msi_desc(xen: XenEvents, irq: int, desc: MsiDesc) -> None:
    xen.irqs.descs[irq].msi_desc = desc
    desc.irq = irq
    xen.trace("irq_set_msi_desc", irq=irq, desc=desc.id)


def _unbind_from_irq(xen: XenEvents, irq: int) -> None:
    info = info_for_irq(xen, irq)
    if info.refcnt > 0:
        info.refcnt -= 1
        if info.refcnt:
            return
    if info.evtchn:
        xen_evtchn_close(xen, info.evtchn)
        xen_irq_info_cleanup(xen, info)
    _xen_free_irq(xen, irq)


def _xen_free_irq(xen: XenEvents, irq: int) -> None:
    info = info_for_irq(xen, irq)
    xen.xen_irq_list_head.remove(info)
    xen.irqs.descs[irq].irq_data.chip_data = None
    if info.refcnt > 0:
        xen.kernel.warn()
    xen.trace("xen_free_irq", irq=irq)
    if irq >= xen.nr_legacy_irqs:
        irq_free_descs(xen.irqs, irq, 1)
