# SPDX-License-Identifier: GPL-2.0-only
"""Intel's Volume Management Device (drivers/pci/controller/vmd.c, v5.10).

A VMD is a PCI function with a segment of its own behind it.  Its hardware takes the messages of the
devices there, its children, and raises one of the VMD's own MSI-X vectors instead: the destination
in a child's address is the number of that vector.  So many children share a vector; the driver
keeps a list of them for each, and calls all of their handlers.

Handlers do not overlap with anything here, so that there is no grace period (SRCU) to wait for.

Later drivers let capable hardware pass the messages of the children on as they are (the bypass, see
VmdDev); there is no VMD domain then.

Events of the system "vmd", `device` is the VMD's:

| event | fields | when |
|---|---|---|
| vmd_alloc_irqs | device, count | it has its own vectors |
| vmd_free_irqs | device | they are given back |
| vmd_enable_domain | device, segment, domain | its root bus is there; domain -1 in bypass |
| vmd_remove | device | its root bus is gone |
| vmd_msi_init | device, irq, index | a child's interrupt is on list `index` |
| vmd_msi_free | device, irq, index | it is not any more |
| vmd_irq_enable, vmd_irq_disable | device, irq | the list's handler calls it, or not |
| vmd_irq | device, index | the VMD's vector arrived |
"""

import errno
from collections.abc import Callable

from impl.defects import Defect
from impl.drivers.pci.msi import (
    PCI_IRQ_MSIX,
    pci_alloc_irq_vectors_affinity,
    pci_free_irq_vectors,
    pci_irq_vector,
    pci_msix_vec_count,
)
from impl.drivers.pci.pci import Pci, PciBus, PciDev
from impl.drivers.pci.vmd_domain import (
    VMD_MAX_VECTORS,
    VmdDev,
    VmdIrqList,
    vmd_create_irq_domain,
)
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain import irq_domain_free_fwnode, irq_domain_remove
from impl.kernel.irq.request import free_irq, request_irq
from impl.kernel.kernel import KernelBug

__all__ = ["pci_real_dma_dev", "vmd_find_free_domain", "vmd_probe", "vmd_remove"]

_LAST_FIRMWARE_SEGMENT = 0xFFFF


def vmd_probe(vmd: VmdDev, scan: Callable[[PciBus], None], busn_start: int = 0) -> int:
    """Take charge of a VMD: its vectors, then the segment behind it, which `scan` enumerates.

    `busn_start` is the number of the root bus.  0.  -ENODEV: the endpoint has no MSI-X, or there is
    no memory for the domain or the bus.  -ENOMEM: none for the lists.  Else an error of the
    endpoint's vectors.  Nothing remains after an error.
    """
    if not vmd.bypass:
        ret = _vmd_alloc_irqs(vmd)
        if ret:
            return ret
    ret = _vmd_enable_domain(vmd, busn_start)
    if ret:
        _vmd_free_irqs(vmd)
        return ret
    scan(_bus(vmd))
    return 0


def vmd_remove(vmd: VmdDev, remove: Callable[[PciBus], None]) -> None:
    """Undo vmd_probe; `remove` takes the devices away, whose drivers have freed their interrupts.

    The domain goes before the vectors.
    """
    bus = _bus(vmd)
    remove(bus)
    _remove_root_bus(bus)
    vmd.bus = None
    if vmd.irq_domain is not None:
        _vmd_remove_irq_domain(vmd, vmd.irq_domain)
    vmd.trace("vmd_remove")
    _vmd_free_irqs(vmd)


def vmd_find_free_domain(pci: Pci) -> int:
    """The segment for a new VMD: one above all others, and above those that firmware may use."""
    return max([_LAST_FIRMWARE_SEGMENT, *(bus.segment for bus in pci.pci_root_buses)]) + 1


def pci_real_dma_dev(dev: PciDev) -> PciDev:
    """The device whose requester id the transactions of `dev` carry: the VMD's for its children."""
    owner = dev.bus.sysdata
    return owner.dev if isinstance(owner, VmdDev) else dev


def _vmd_alloc_irqs(vmd: VmdDev) -> int:
    """Give the endpoint its vectors, from whichever domain it has, with a handler for each."""
    dev, kernel = vmd.dev, vmd.x86.kernel
    count = pci_msix_vec_count(dev)
    if count < 0:
        return -errno.ENODEV
    if Defect.VMD_ALIAS not in kernel.defects:
        count = min(count, VMD_MAX_VECTORS)
    count = pci_alloc_irq_vectors_affinity(dev, 1, count, PCI_IRQ_MSIX)
    if count < 0:
        return count
    if kernel.kzalloc_fails("vmd_probe"):
        pci_free_irq_vectors(dev)
        return -errno.ENOMEM
    for index in range(count):
        ret = request_irq(vmd.x86.domains.irqs, pci_irq_vector(dev, index))
        if ret:
            _vmd_free_irqs(vmd)
            return ret
        vmd.irqs.append(VmdIrqList(index))
    vmd.trace("vmd_alloc_irqs", count=count)
    return 0


def _vmd_free_irqs(vmd: VmdDev) -> None:
    """What the driver core releases when the driver has gone: handlers, then vectors."""
    if vmd.bypass:
        return
    for irqs in reversed(vmd.irqs):
        free_irq(vmd.x86.domains.irqs, pci_irq_vector(vmd.dev, irqs.index))
    pci_free_irq_vectors(vmd.dev)
    vmd.irqs.clear()
    vmd.trace("vmd_free_irqs")


def _vmd_enable_domain(vmd: VmdDev, busn_start: int) -> int:
    pci, kernel = vmd.dev.bus.pci, vmd.x86.kernel
    segment = vmd_find_free_domain(pci)
    domain = None
    if not vmd.bypass:
        domain = vmd.irq_domain = vmd_create_irq_domain(vmd, segment)
        if domain is None:
            return -errno.ENODEV
    if kernel.kzalloc_fails("pci_create_root_bus"):
        if domain is not None:
            _vmd_remove_irq_domain(vmd, domain)
        return -errno.ENODEV
    bus = PciBus(pci, segment, busn_start, sysdata=vmd)
    bus.msi_domain = domain
    if vmd.bypass and Defect.VMD_BYPASS_DOMAIN not in kernel.defects:
        bus.msi_domain = vmd.dev.msi_domain
    vmd.bus = bus
    vmd.trace("vmd_enable_domain", segment=segment, domain=-1 if domain is None else domain.id)
    return 0


def _vmd_remove_irq_domain(vmd: VmdDev, domain: IrqDomain) -> None:
    irq_domain_remove(vmd.x86.domains, domain)
    irq_domain_free_fwnode(vmd.x86.domains, domain.fwnode)
    vmd.irq_domain = None


def _remove_root_bus(bus: PciBus) -> None:
    bus.pci.pci_root_buses.remove(bus)


def _bus(vmd: VmdDev) -> PciBus:
    if vmd.bus is None:
        raise KernelBug(f"{vmd.dev.name} has no bus behind it")
    return vmd.bus
