# SPDX-License-Identifier: GPL-2.0-only
"""The interrupts of devices behind a VMD (the domain half of drivers/pci/controller/vmd.c, v5.10).

Each is on the list of one of the VMD's own vectors.  The device's message names that vector, and
the handler of the vector calls the handlers of all that are on the list and enabled.  The events
are listed in vmd.py.
"""

import errno
from typing import Final

from impl.arch.x86.irq_alloc_info import IrqAllocInfo, copy_irq_alloc_info
from impl.arch.x86.msidef import compose_msi_msg, decode_msi_msg
from impl.arch.x86.x86_init import X86Platform
from impl.defects import Defect
from impl.drivers.pci.msi import pci_irq_vector
from impl.drivers.pci.msi_access import msi_desc_to_pci_dev
from impl.drivers.pci.msi_domain import pci_msi_create_irq_domain
from impl.drivers.pci.pci import PCI_CLASS_STORAGE_EXPRESS, PciBus, PciDev
from impl.kernel.device import Device
from impl.kernel.irq.handle import generic_handle_irq_desc
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDomain, MsiMsg, irq_data_get_irq_chip
from impl.kernel.irq.irqdomain import (
    DomainBus,
    irq_domain_alloc_named_id_fwnode,
    irq_domain_free_fwnode,
    irq_domain_update_bus_token,
)
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_set_info
from impl.kernel.irq.msi import (
    MSI_FLAG_PCI_MSIX,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDesc,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.kernel import KernelBug

__all__ = [
    "VMD_MAX_VECTORS",
    "VmdDev",
    "VmdIrq",
    "VmdIrqList",
    "vmd_create_irq_domain",
    "vmd_from_bus",
    "vmd_irq",
    "vmd_msg_index",
    "vmd_next_irq",
]

VMD_MAX_VECTORS = 256
"""How many vectors of a VMD the message of a child can tell apart."""

_U32 = 0xFFFFFFFF


class VmdIrqList:
    """The children's interrupts that share vector `index` of a VMD (struct vmd_irq_list).

    `irq_list` holds the enabled ones.  `count` is how many were put here less how many went, modulo
    2^32; of list 0 only those that went are counted, and nobody reads it (VMD-3).
    """

    __slots__ = ("count", "index", "irq_list")

    def __init__(self, index: int) -> None:
        self.index = index
        self.irq_list: list[VmdIrq] = []
        self.count = 0


class VmdIrq:
    """One interrupt of a child (struct vmd_irq): its number, its list, and whether it is there."""

    __slots__ = ("enabled", "irq", "virq")

    def __init__(self, virq: int, irq: VmdIrqList) -> None:
        self.virq = virq
        self.irq = irq
        self.enabled = False


class VmdDev:
    """A VMD (struct vmd_dev): `dev` is the endpoint, `bus` the root bus behind it once probed.

    `irqs` has a list for each of its `msix_count` vectors.  `irq_domain` serves the children, None
    in bypass.  `can_bypass` says that the hardware need not remap the children's messages; it does
    all the same where a hypervisor passed it to a guest (`guest`) and under Xen (`xen`).
    """

    __slots__ = (
        "bus",
        "can_bypass",
        "dev",
        "guest",
        "irq_domain",
        "irqs",
        "x86",
        "xen",
    )

    def __init__(
        self,
        x86: X86Platform,
        dev: PciDev,
        *,
        can_bypass: bool = False,
        guest: bool = False,
        xen: bool = False,
    ) -> None:
        self.x86 = x86
        self.dev = dev
        self.can_bypass = can_bypass
        self.guest = guest
        self.xen = xen
        self.irqs: list[VmdIrqList] = []
        self.irq_domain: IrqDomain | None = None
        self.bus: PciBus | None = None

    @property
    def msix_count(self) -> int:
        """How many vectors of its own the VMD uses."""
        return len(self.irqs)

    @property
    def bypass(self) -> bool:
        """Whether the children's messages pass the VMD as they are."""
        mistaken = Defect.VMD_BYPASS_XEN in self.x86.kernel.defects
        return self.can_bypass and not self.guest and (mistaken or not self.xen)

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of this VMD."""
        kernel = self.x86.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("vmd", name, kernel.this_cpu, device=self.dev.id, **fields)


def vmd_create_irq_domain(vmd: VmdDev, segment: int) -> IrqDomain | None:
    """The domain of the devices behind the VMD; None without memory.

    It has no parent, since no vector of a CPU belongs to a child, and a bus token of its own.
    """
    domains, defects = vmd.x86.domains, vmd.x86.kernel.defects
    fwnode = irq_domain_alloc_named_id_fwnode(domains, "VMD-MSI", segment)
    if fwnode is None:
        return None
    parent = vmd.x86.vectors.x86_vector_domain if Defect.VMD_PARENT in defects else None
    info = MsiDomainInfo(
        flags=MSI_FLAG_USE_DEF_DOM_OPS | MSI_FLAG_USE_DEF_CHIP_OPS | MSI_FLAG_PCI_MSIX,
        ops=_VMD_MSI_DOMAIN_OPS,
        chip=_VMD_MSI_CONTROLLER,
    )
    domain = pci_msi_create_irq_domain(domains, fwnode, info, parent)
    if domain is None:
        irq_domain_free_fwnode(domains, fwnode)
        return None
    if Defect.VMD_TOKEN not in defects:
        irq_domain_update_bus_token(domains, domain, DomainBus.VMD_MSI)
    return domain


def vmd_from_bus(bus: PciBus) -> VmdDev:
    """The VMD that a bus lies behind; a BUG for another bus."""
    if not isinstance(bus.sysdata, VmdDev):
        raise KernelBug(f"bus {bus.segment:04x}:{bus.number:02x} lies behind no VMD")
    return bus.sysdata


def vmd_irq(vmd: VmdDev, index: int) -> list[int]:
    """Vector `index` of the VMD arrived: handle all enabled interrupts on its list (vmd_irq).

    The irqs whose driver's handler ran; the others did not expect an interrupt.
    """
    descs = vmd.x86.domains.irqs.descs
    vmd.trace("vmd_irq", index=index)
    listed = [each.virq for each in vmd.irqs[index].irq_list]
    return [virq for virq in listed if generic_handle_irq_desc(descs[virq])]


def vmd_msg_index(msg: MsiMsg) -> int:
    """Which of its vectors the hardware raises for a child's message."""
    index, _ = decode_msi_msg(*msg, x2apic=False)
    return index


def vmd_next_irq(vmd: VmdDev, desc: MsiDesc) -> VmdIrqList:
    """The list for a new interrupt of a child (VMD-4).

    The shortest one but the first for an NVMe controller, the lowest of several; list 0 for all
    others, and if there is no second one.
    """
    if vmd.msix_count == 1 or msi_desc_to_pci_dev(desc).class_code != PCI_CLASS_STORAGE_EXPRESS:
        return vmd.irqs[0]
    best = min(vmd.irqs[1:], key=lambda irqs: irqs.count)
    best.count += 1
    return best


def _vmd_level(irqd: IrqData) -> tuple[VmdDev, VmdIrq]:
    vmd, vmdirq = irqd.desc.handler_data, irqd.chip_data
    if not isinstance(vmd, VmdDev) or not isinstance(vmdirq, VmdIrq):
        raise KernelBug(f"irq {irqd.irq} belongs to no child of a VMD")
    return vmd, vmdirq


def _vmd_compose_msi_msg(irqd: IrqData) -> MsiMsg:
    """The vector's number where a destination goes, of which the address has 8 bits (VMD-7)."""
    _, vmdirq = _vmd_level(irqd)
    lo, hi, _ = compose_msi_msg(vmdirq.irq.index % VMD_MAX_VECTORS, 0, logical=False, x2apic=False)
    return MsiMsg(lo, hi, 0)


def _vmd_irq_enable(irqd: IrqData) -> None:
    vmd, vmdirq = _vmd_level(irqd)
    if vmdirq.enabled:
        vmd.x86.kernel.warn()
    vmdirq.irq.irq_list.append(vmdirq)
    vmdirq.enabled = True
    vmd.trace("vmd_irq_enable", irq=irqd.irq)
    unmask = irq_data_get_irq_chip(irqd).irq_unmask
    if unmask is not None:
        unmask(irqd)


def _vmd_irq_disable(irqd: IrqData) -> None:
    vmd, vmdirq = _vmd_level(irqd)
    mask = irq_data_get_irq_chip(irqd).irq_mask
    if mask is not None:
        mask(irqd)
    if vmdirq.enabled:
        vmdirq.irq.irq_list.remove(vmdirq)
        vmdirq.enabled = False
    vmd.trace("vmd_irq_disable", irq=irqd.irq)


def _vmd_irq_set_affinity(irqd: IrqData, mask: int, force: bool) -> int:
    """Refuse: the interrupt goes where the VMD's vector goes (VMD-11)."""
    return -errno.EINVAL


_VMD_MSI_CONTROLLER: Final = IrqChip(
    "VMD-MSI",
    irq_enable=_vmd_irq_enable,
    irq_disable=_vmd_irq_disable,
    irq_compose_msi_msg=_vmd_compose_msi_msg,
    irq_set_affinity=_vmd_irq_set_affinity,
)
"""The PCI layer adds masks and the writing of messages."""


def _vmd_get_hwirq(info: MsiDomainInfo, arg: IrqAllocInfo) -> int:
    return 0


def _vmd_msi_init(
    domain: IrqDomain, info: MsiDomainInfo, virq: int, hwirq: int, arg: IrqAllocInfo
) -> int:
    """Put a new interrupt on a list; its hwirq is the irq of the list's vector (VMD-6)."""
    desc = arg.desc
    if desc is None:
        raise KernelBug(f"irq {virq} is allocated for no descriptor")
    vmd = vmd_from_bus(msi_desc_to_pci_dev(desc).bus)
    if vmd.x86.kernel.kzalloc_fails("vmd_msi_init"):
        return -errno.ENOMEM
    vmdirq = VmdIrq(virq, vmd_next_irq(vmd, desc))
    index = vmdirq.irq.index
    vector = pci_irq_vector(vmd.dev, index)
    irq_domain_set_info(domain.domains, domain, virq, vector, info.chip, vmdirq, "untracked", vmd)
    vmd.trace("vmd_msi_init", irq=virq, index=index)
    return 0


def _vmd_msi_free(domain: IrqDomain, info: MsiDomainInfo, virq: int) -> None:
    """Take an interrupt, which must be disabled (VMD-10), from its list's count; also from 0."""
    vmd, vmdirq = _vmd_level(domain.domains.irqs.descs[virq].irq_data)
    vmdirq.irq.count = vmdirq.irq.count - 1 & _U32
    vmd.trace("vmd_msi_free", irq=virq, index=vmdirq.irq.index)


def _vmd_msi_prepare(domain: IrqDomain, dev: Device, nvec: int, arg: IrqAllocInfo) -> int:
    """0, or the number of the VMD's vectors if the child wants more than that (VMD-12)."""
    if not isinstance(dev, PciDev):
        raise KernelBug(f"{dev.name} is no child of a VMD")
    vmd = vmd_from_bus(dev.bus)
    if nvec > vmd.msix_count:
        return vmd.msix_count
    copy_irq_alloc_info(arg, None)
    return 0


def _vmd_set_desc(arg: IrqAllocInfo, desc: MsiDesc) -> None:
    arg.desc = desc


_VMD_MSI_DOMAIN_OPS: Final = MsiDomainOps(
    get_hwirq=_vmd_get_hwirq,
    msi_init=_vmd_msi_init,
    msi_free=_vmd_msi_free,
    msi_prepare=_vmd_msi_prepare,
    set_desc=_vmd_set_desc,
)
