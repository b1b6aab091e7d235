# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel keeps of each interrupt that Xen delivers (drivers/xen/events, v5.10).

The record is the chip data of the irq, which has no domain.
"""

import enum
import errno

from impl.drivers.xen.guest import XenGuest
from impl.drivers.xen.hypervisor import Hypervisor
from impl.kernel.irq.irq import IRQ_NOREQUEST, IrqChip
from impl.kernel.irq.irqdesc import IrqDescTable
from impl.kernel.kernel import KernelBug

__all__ = [
    "PIRQ_MSI_GROUP",
    "PIRQ_NEEDS_EOI",
    "PIRQ_SHAREABLE",
    "IrqInfo",
    "MaskReason",
    "XenEvents",
    "XenIrqType",
    "bind_evtchn_to_cpu",
    "info_for_irq",
    "set_evtchn_to_irq",
    "xen_irq_info_cleanup",
    "xen_irq_info_pirq_setup",
]

PIRQ_NEEDS_EOI = 1 << 0
PIRQ_SHAREABLE = 1 << 1
PIRQ_MSI_GROUP = 1 << 2
"""The pirq belongs to the block of a lower one, with which it was mapped and will be unmapped."""

_NO_IRQ = -1
_U16 = 0xFFFF


class XenIrqType(enum.IntEnum):
    """What stands behind an irq (enum xen_irq_type)."""

    UNBOUND = 0
    PIRQ = 1
    VIRQ = 2
    IPI = 3
    EVTCHN = 4


class MaskReason(enum.IntFlag):
    """Why an event channel is masked (EVT_MASK_REASON_*)."""

    NONE = 0
    EXPLICIT = 1 << 0
    TEMPORARY = 1 << 1
    EOI_PENDING = 1 << 2


class IrqInfo:
    """The record of one irq (struct irq_info); `evtchn` is 0 while it has no event channel.

    For a pirq: its number, of which 16 bits are kept, the `gsi` of a pin (0 for a message), the
    domain that it was mapped for, and PIRQ_* flags.
    """

    __slots__ = (
        "cpu",
        "domid",
        "evtchn",
        "flags",
        "gsi",
        "irq",
        "mask_reason",
        "pirq",
        "refcnt",
        "type",
    )

    def __init__(self, irq: int) -> None:
        self.type = XenIrqType.UNBOUND
        self.irq = irq
        self.evtchn = 0
        self.cpu = 0
        self.mask_reason = MaskReason.NONE
        self.refcnt = -1
        self.pirq = 0
        self.gsi = 0
        self.domid = 0
        self.flags = 0


class XenEvents:
    """The globals of the event code of one machine.

    `xen_irq_list_head` has the record of each irq, `evtchn_to_irq` the irq of each event channel;
    an entry for port 0, which is no channel, means nothing.  `xen_pirq_chip` is the chip of all
    pirqs.
    """

    __slots__ = (
        "evtchn_to_irq",
        "guest",
        "hypervisor",
        "irqs",
        "kernel",
        "nr_legacy_irqs",
        "warned",
        "xen_irq_list_head",
        "xen_pirq_chip",
    )

    def __init__(
        self, irqs: IrqDescTable, guest: XenGuest, hypervisor: Hypervisor, nr_legacy_irqs: int
    ) -> None:
        self.irqs = irqs
        self.kernel = irqs.kernel
        self.guest = guest
        self.hypervisor = hypervisor
        self.nr_legacy_irqs = nr_legacy_irqs
        self.xen_irq_list_head: list[IrqInfo] = []
        self.evtchn_to_irq: dict[int, int] = {}
        self.xen_pirq_chip = IrqChip("xen-pirq")
        self.warned = False

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of the event code."""
        kernel = self.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("xen", name, kernel.this_cpu, **fields)


def info_for_irq(xen: XenEvents, irq: int) -> IrqInfo:
    """The record of `irq`; a BUG if it is not Xen's."""
    desc = xen.irqs.irq_to_desc(irq)
    info = desc.irq_data.chip_data if desc is not None else None
    if not isinstance(info, IrqInfo):
        raise KernelBug(f"irq {irq} has no irq_info")
    return info


def set_evtchn_to_irq(xen: XenEvents, evtchn: int, irq: int) -> int:
    """Let `evtchn` stand for `irq`, or for none with -1.

    -EINVAL: there is no such port.  -ENOMEM: a page of the map was needed.
    """
    if evtchn >= xen.hypervisor.nr_ports:
        return -errno.EINVAL
    if irq == _NO_IRQ:
        xen.evtchn_to_irq.pop(evtchn, None)
    elif xen.kernel.kzalloc_fails("set_evtchn_to_irq"):
        return -errno.ENOMEM
    else:
        xen.evtchn_to_irq[evtchn] = irq
    xen.trace("set_evtchn_to_irq", evtchn=evtchn, irq=irq)
    return 0


def xen_irq_info_pirq_setup(xen: XenEvents, irq: int, pirq: int, domid: int, flags: int) -> int:
    """Make the record of `irq` that of a message's pirq without an event channel.

    0, or an error of set_evtchn_to_irq, with which port 0 is made to stand for the irq.
    """
    info = info_for_irq(xen, irq)
    if info.type not in (XenIrqType.UNBOUND, XenIrqType.PIRQ):
        raise KernelBug(f"irq {irq} is no pirq's")
    info.pirq = pirq & _U16
    info.gsi = 0
    info.domid = domid
    info.flags = flags
    info.type = XenIrqType.PIRQ
    info.evtchn = 0
    info.cpu = 0
    info.mask_reason = MaskReason.EXPLICIT
    xen.trace("xen_irq_info_pirq_setup", irq=irq, pirq=info.pirq, domid=domid, flags=flags)
    ret = set_evtchn_to_irq(xen, 0, irq)
    if ret == 0:
        xen.irqs.descs[irq].status &= ~IRQ_NOREQUEST
    return ret


def xen_irq_info_cleanup(xen: XenEvents, info: IrqInfo) -> None:
    """Forget the event channel of an irq."""
    set_evtchn_to_irq(xen, info.evtchn, _NO_IRQ)
    info.evtchn = 0


def bind_evtchn_to_cpu(xen: XenEvents, evtchn: int, cpu: int) -> None:
    """Note that an event channel notifies `cpu`; v5.10 makes that the affinity as well."""
    irq = xen.evtchn_to_irq[evtchn]
    info_for_irq(xen, irq).cpu = cpu
    xen.irqs.descs[irq].common.affinity = 1 << cpu
    xen.trace("bind_evtchn_to_cpu", evtchn=evtchn, cpu=cpu)
