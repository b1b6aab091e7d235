# SPDX-License-Identifier: GPL-2.0-only
"""Setting up, tearing down and restoring the MSIs of a Xen guest (arch/x86/pci/xen.c, v5.10).

Each kind of guest gets its pirqs in its own way: the initial domain maps them, a paravirtualised
guest has the PCI backend do it, and a fully virtualised guest reserves them and names them in the
messages that it writes.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from impl.arch.x86.x86_init import X86Platform
from impl.arch.x86.xen_message import XEN_PIRQ_MSI_DATA, compose_pirq_msg, decode_pirq_msg
from impl.defects import Defect
from impl.drivers.pci.msi_access import (
    first_pci_msi_entry,
    msi_cap_of,
    msi_desc_to_pci_dev,
    msix_cap_of,
    pci_write_msi_msg,
)
from impl.drivers.pci.pci import PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX, Pci, PciDev
from impl.drivers.xen.events import (
    xen_allocate_pirq_msi,
    xen_bind_pirq_msi_to_irq,
    xen_destroy_irq,
)
from impl.drivers.xen.hypervisor import DOMID_SELF, MapPirq, MapPirqType
from impl.drivers.xen.irq_info import XenEvents
from impl.drivers.xen.pciback import Pciback
from impl.drivers.xen.pcifront import (
    pci_frontend_disable_msi,
    pci_frontend_disable_msix,
    pci_frontend_enable_msi,
    pci_frontend_enable_msix,
)
from impl.kernel.irq.irq import MsiMsg
from impl.kernel.irq.msi_desc import MsiDesc

__all__ = [
    "XenMsiOps",
    "XenPci",
    "xen_hvm_setup_msi_irqs",
    "xen_initdom_restore_msi_irqs",
    "xen_initdom_setup_msi_irqs",
    "xen_pci_frontend_disable",
    "xen_pv_teardown_msi_irqs",
    "xen_setup_msi_irqs",
    "xen_teardown_msi_irqs",
]

_MSIX_TABLES = 0xFEB00000


@dataclass(frozen=True, slots=True)
class XenMsiOps:
    """How a Xen guest sets the MSIs of a device up, `nvec` of a PCI_CAP_ID_*, and tears them down
    (struct xen_msi_ops)."""

    setup_msi_irqs: Callable[[PciDev, int, int], int]
    teardown_msi_irqs: Callable[[PciDev], None]


class XenPci:
    """The globals of the PCI code of a Xen guest.

    `xen_pci_frontend` leads to the PCI backend, None where there is none.  `pci_seg_supported` says
    that the hypervisor is believed to take PCI segments; once lost, that belief never returns.
    `dev_domain_list` has the domain to which a device was given away, by the device's id.
    `msix_tables` has the address of a device's MSI-X table by id, 0 for a BAR without an address;
    other devices have theirs somewhere.  `msi_ops` are None until they have been chosen.
    """

    __slots__ = (
        "dev_domain_list",
        "msi_ops",
        "msix_tables",
        "pci",
        "pci_seg_supported",
        "x86",
        "xen",
        "xen_pci_frontend",
    )

    def __init__(self, x86: X86Platform, pci: Pci, xen: XenEvents) -> None:
        self.x86 = x86
        self.pci = pci
        self.xen = xen
        self.xen_pci_frontend: Pciback | None = None
        self.pci_seg_supported = True
        self.dev_domain_list: dict[int, int] = {}
        self.msix_tables: dict[int, int] = {}
        self.msi_ops: XenMsiOps | None = None


# Paravirtualised guests


def xen_setup_msi_irqs(p: XenPci, dev: PciDev, nvec: int, type: int) -> int:
    """Have the backend enable MSI, and bind the pirqs that it hands out.

    0; 1 for a block of vectors; -ENOMEM; -ENOSYS without a frontend; an error of the frontend or
    the number of vectors that it asks for; an error of xen_bind_pirq_msi_to_irq, after which
    earlier descriptors keep their irqs.
    """
    ret = _pcifront_setup(p, dev, nvec, type)
    _trace_setup(p, "xen_setup_msi_irqs", dev, nvec, type, ret)
    return ret


def _pcifront_setup(p: XenPci, dev: PciDev, nvec: int, type: int) -> int:
    if type == PCI_CAP_ID_MSI and nvec > 1:
        return 1
    if p.xen.kernel.kzalloc_fails("xen_setup_msi_irqs"):
        return -errno.ENOMEM
    ret, vectors = _pcifront_enable(p.xen_pci_frontend, dev, nvec, type)
    return ret or _bind_all(p, dev, vectors, nvec if type == PCI_CAP_ID_MSI else 1)


def _pcifront_enable(
    back: Pciback | None, dev: PciDev, nvec: int, type: int
) -> tuple[int, list[int]]:
    if back is None:
        return -errno.ENOSYS, []
    if type == PCI_CAP_ID_MSIX:
        return pci_frontend_enable_msix(back, dev, nvec)
    return pci_frontend_enable_msi(back, dev)


def _bind_all(p: XenPci, dev: PciDev, vectors: Sequence[int], nvec: int) -> int:
    for desc, pirq in zip(dev.msi_list, vectors, strict=True):
        irq = xen_bind_pirq_msi_to_irq(p.xen, desc, pirq, nvec, DOMID_SELF)
        if irq < 0:
            return irq
    return 0


# Fully virtualised guests


def xen_hvm_setup_msi_irqs(p: XenPci, dev: PciDev, nvec: int, type: int) -> int:
    """Reserve a pirq for each descriptor, write the message that names it, and bind it.

    0; 1 for a block of vectors; -ENODEV without a pirq; an error of xen_bind_pirq_msi_to_irq, for
    whose pirq there is no way back.  Earlier descriptors keep their irqs.
    """
    ret = 1 if type == PCI_CAP_ID_MSI and nvec > 1 else _for_each(dev, p, _hvm_setup_desc)
    _trace_setup(p, "xen_hvm_setup_msi_irqs", dev, nvec, type, ret)
    return ret


def _hvm_setup_desc(p: XenPci, desc: MsiDesc) -> int:
    pirq = _stale_pirq(p, desc)
    if pirq < 0:
        pirq = xen_allocate_pirq_msi(p.xen)
        if pirq < 0:
            return -errno.ENODEV
        pci_write_msi_msg(desc, MsiMsg(*compose_pirq_msg(pirq)))
    return min(0, xen_bind_pirq_msi_to_irq(p.xen, desc, pirq, 1, DOMID_SELF))


def _stale_pirq(p: XenPci, desc: MsiDesc) -> int:
    """Under XEN-stale-pirq the pirq that the device's message names, if any irq has it; else -1."""
    if Defect.XEN_STALE_PIRQ not in p.xen.kernel.defects:
        return -1
    dev = msi_desc_to_pci_dev(desc)
    if desc.msi_attrib.is_msix:
        msg = msix_cap_of(dev).message(desc.msi_attrib.entry_nr)
    else:
        msg = msi_cap_of(dev).message
    pirq = decode_pirq_msg(*msg) if msg.data == XEN_PIRQ_MSI_DATA else -1
    return pirq if any(info.pirq == pirq for info in p.xen.xen_irq_list_head) else -1


# The initial domain


def xen_initdom_setup_msi_irqs(p: XenPci, dev: PciDev, nvec: int, type: int) -> int:
    """Map a pirq, or a block of them, for each descriptor, and bind it.

    0; 1 if a block cannot be mapped, whatever the reason; -EINVAL if the MSI-X table has no
    address; the hypervisor's error; an error of xen_bind_pirq_msi_to_irq, after which the mapping
    is undone, but not under XEN-leak.  Earlier descriptors keep their irqs.
    """

    def setup_desc(p: XenPci, desc: MsiDesc) -> int:
        return _initdom_setup_desc(p, dev, desc, nvec, type)

    ret = _for_each(dev, p, setup_desc)
    _trace_setup(p, "xen_initdom_setup_msi_irqs", dev, nvec, type, ret)
    return ret


def _initdom_setup_desc(p: XenPci, dev: PciDev, desc: MsiDesc, nvec: int, type: int) -> int:
    nr_irqs = nvec if type == PCI_CAP_ID_MSI else 1
    request = _map_request(p, dev, desc, nr_irqs)
    if request is None:
        return -errno.EINVAL
    ret, pirq = _map_pirq(p, dev, request)
    if ret:
        return 1 if nr_irqs > 1 else ret
    irq = xen_bind_pirq_msi_to_irq(p.xen, desc, pirq, nr_irqs, request.domid)
    if irq < 0 and Defect.XEN_LEAK not in p.xen.kernel.defects:
        p.xen.hypervisor.physdev_unmap_pirq(request.domid, pirq)
    return min(0, irq)


def _map_request(p: XenPci, dev: PciDev, desc: MsiDesc, nr_irqs: int) -> MapPirq | None:
    """What to ask for the descriptor; None if its MSI-X table has no address."""
    request = MapPirq(
        domid=p.dev_domain_list.get(dev.id, DOMID_SELF),
        type=MapPirqType.MSI_SEG,
        bus=dev.bus.number | dev.segment << 16,
        devfn=dev.devfn,
    )
    if desc.msi_attrib.is_msix:
        table_base = p.msix_tables.get(dev.id, _MSIX_TABLES + (dev.id << 12))
        if not table_base:
            return None
        return request._replace(entry_nr=desc.msi_attrib.entry_nr, table_base=table_base)
    if nr_irqs > 1:
        return request._replace(type=MapPirqType.MULTI_MSI, entry_nr=nr_irqs)
    return request


def _map_pirq(p: XenPci, dev: PciDev, request: MapPirq) -> tuple[int, int]:
    """Map with the segment; what an old hypervisor does not understand is repeated without."""
    ret, pirq = -errno.EINVAL, 0
    if p.pci_seg_supported:
        ret, pirq = p.xen.hypervisor.physdev_map_pirq(request)
    if ret == -errno.EINVAL and not dev.segment and request.type != MapPirqType.MULTI_MSI:
        old = request._replace(type=MapPirqType.MSI, bus=dev.bus.number)
        ret, pirq = p.xen.hypervisor.physdev_map_pirq(old)
        if ret != -errno.EINVAL:
            _segments_unsupported(p)
    return ret, pirq


def xen_initdom_restore_msi_irqs(p: XenPci, dev: PciDev) -> None:
    """Have the hypervisor write the device's messages again; errors other than -ENOSYS warn."""
    hypervisor = p.xen.hypervisor
    if p.pci_seg_supported:
        ret = hypervisor.physdev_restore_msi_ext(dev.segment, dev.bus.number, dev.devfn)
        if ret == -errno.ENOSYS:
            _segments_unsupported(p)
        elif ret:
            p.xen.kernel.warn()
    if not p.pci_seg_supported:
        ret = hypervisor.physdev_restore_msi(dev.bus.number, dev.devfn)
        if ret not in (0, -errno.ENOSYS):
            p.xen.kernel.warn()
    p.xen.trace("xen_initdom_restore_msi_irqs", device=dev.id)


def _segments_unsupported(p: XenPci) -> None:
    if p.pci_seg_supported:
        p.pci_seg_supported = False
        p.xen.trace("pci_seg_unsupported")


# Teardown


def xen_teardown_msi_irqs(p: XenPci, dev: PciDev) -> None:
    """Destroy the irqs of every descriptor that has some, in ascending order.

    They have been shut down.  Whether a pirq could be unmapped interests nobody.
    """
    for desc in dev.msi_list:
        if not desc.irq:
            continue
        for k in range(desc.nvec_used):
            xen_destroy_irq(p.xen, desc.irq + k)
        if Defect.F15 not in p.xen.kernel.defects:
            desc.irq = 0
            p.xen.trace("msi_desc_clear_irq", desc=desc.id)
    p.xen.trace("xen_teardown_msi_irqs", device=dev.id)


def xen_pv_teardown_msi_irqs(p: XenPci, dev: PciDev) -> None:
    """Have the backend disable MSI, where there is one, and destroy the irqs.

    The backend may be asked to disable what it never enabled, since a refused setup is torn down,
    too.
    """
    xen_pci_frontend_disable(p, dev)
    xen_teardown_msi_irqs(p, dev)


def xen_pci_frontend_disable(p: XenPci, dev: PciDev) -> None:
    """Have the backend disable what the device's first descriptor is for; nothing without one."""
    desc = first_pci_msi_entry(dev)
    if p.xen_pci_frontend is None:
        return
    if desc.msi_attrib.is_msix:
        pci_frontend_disable_msix(p.xen_pci_frontend, dev)
    else:
        pci_frontend_disable_msi(p.xen_pci_frontend, dev)


def _for_each(dev: PciDev, p: XenPci, setup_desc: Callable[[XenPci, MsiDesc], int]) -> int:
    """Set the descriptors up in order, until one fails."""
    for desc in dev.msi_list:
        ret = setup_desc(p, desc)
        if ret:
            return ret
    return 0


def _trace_setup(p: XenPci, name: str, dev: PciDev, nvec: int, type: int, ret: int) -> None:
    msix = int(type == PCI_CAP_ID_MSIX)
    p.xen.trace(name, device=dev.id, nvec=nvec, msix=msix, ret=ret)
