# SPDX-License-Identifier: GPL-2.0-only
"""The interrupts of devices that Hyper-V passes through (pci-hyperv.c, v5.10).

The host makes the message of an interrupt when asked for one, which is when a message is composed,
and forgets it when told.  Composing cannot fail: without a message from the host the device gets
one that is all zero, and its interrupt never arrives (HVP-5).  The events are listed in hyperv.py.
"""

import enum
from dataclasses import dataclass

from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_CONTIGUOUS_VECTORS,
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
)
from impl.arch.x86.msi import pci_msi_prepare
from impl.arch.x86.vector import vector_level
from impl.arch.x86.x86_init import X86Platform
from impl.defects import Defect
from impl.drivers.pci.hyperv_host import (
    PCI_PROTOCOL_VERSION_1_1,
    PCI_PROTOCOL_VERSION_1_2,
    PCI_PROTOCOL_VERSION_1_3,
    HvHost,
)
from impl.drivers.pci.msi_access import msi_desc_to_pci_dev, pci_msi_mask_irq, pci_msi_unmask_irq
from impl.drivers.pci.msi_domain import pci_msi_create_irq_domain
from impl.drivers.pci.pci import Pci, PciBus, PciDev
from impl.kernel.cpumask import cpumask_first
from impl.kernel.device import Device
from impl.kernel.irq.chip import irq_chip_ack_parent, irq_chip_set_affinity_parent
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain import IrqFwnode, irq_domain_get_irq_data
from impl.kernel.irq.msi import (
    MSI_FLAG_MULTI_PCI_MSI,
    MSI_FLAG_PCI_MSIX,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.irq.msi_desc import MsiDesc, irq_data_get_msi_desc
from impl.kernel.kernel import KernelBug

__all__ = [
    "HvBusState",
    "HvChildState",
    "HvPciBus",
    "HvPciDev",
    "TranIntDesc",
    "hv_compose_msi_msg",
    "hv_irq_unmask",
    "hv_msi_free",
    "hv_msi_prepare",
    "hv_pcibus_of",
    "hv_pcie_init_irq_domain",
]

_V2_PROTOCOLS = (PCI_PROTOCOL_VERSION_1_2, PCI_PROTOCOL_VERSION_1_3)
_CPU_AFFINITY_ALL = (1 << 64) - 1
_VP_MASK = (1 << 64) - 1
_U32 = 0xFFFFFFFF

_BLOCK_VECTOR = 32
"""Asked for a block: a multiple of any block's size and not 0, and the hypercall corrects it."""

_RETARGET_NOT_TRIED = 1
"""The result of a hypercall that the guest could not make."""


class HvBusState(enum.Enum):
    """Where a bus is in its life (enum hv_pcibus_state)."""

    INIT = "init"
    PROBED = "probed"
    INSTALLED = "installed"
    REMOVING = "removing"
    REMOVED = "removed"


class HvChildState(enum.Enum):
    """Whether the host wants a device back (enum hv_pcichild_state)."""

    PRESENT = "present"
    EJECTING = "ejecting"


@dataclass(slots=True)
class HvPciDev:
    """A device that the host has put into `slot` (struct hv_pci_dev)."""

    slot: int
    state: HvChildState = HvChildState.PRESENT


@dataclass(frozen=True, slots=True)
class TranIntDesc:
    """A message that the host has made, for one vector (struct tran_int_desc).

    With `vector_count` 0 it belongs to the block of another interrupt.
    """

    address: int
    data: int
    vector_count: int

    @property
    def msg(self) -> MsiMsg:
        """What the device is to write."""
        return MsiMsg(self.address & _U32, self.address >> 32, self.data)


class HvPciBus:
    """A root bus that the host provides (struct hv_pcibus_device): bus 0 of `segment`.

    `children` are the devices there, by slot, which is the number that PCI calls devfn.
    `protocol_version` is what both sides understand, 0 before they have talked.  `pci_bus` and
    `irq_domain` are there while the bus is.  `cpu_next` is the CPU that the last block was asked
    for.
    """

    __slots__ = (
        "children",
        "cpu_next",
        "fwnode",
        "host",
        "irq_domain",
        "pci",
        "pci_bus",
        "protocol_version",
        "segment",
        "state",
        "x86",
    )

    def __init__(self, x86: X86Platform, pci: Pci, host: HvHost, segment: int) -> None:
        self.x86 = x86
        self.pci = pci
        self.host = host
        self.segment = segment
        self.children: dict[int, HvPciDev] = {}
        self.state = HvBusState.INIT
        self.protocol_version = 0
        self.fwnode: IrqFwnode | None = None
        self.irq_domain: IrqDomain | None = None
        self.pci_bus: PciBus | None = None
        self.cpu_next = -1

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of this bus."""
        kernel = self.x86.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("hv", name, kernel.this_cpu, segment=self.segment, **fields)


def hv_pcibus_of(dev: PciDev) -> HvPciBus:
    """The host's bus that a device is on; a BUG if it is on another one."""
    owner = dev.bus.sysdata
    if not isinstance(owner, HvPciBus):
        raise KernelBug(f"{dev.name} is not on a bus of Hyper-V")
    return owner


def hv_pcie_init_irq_domain(hbus: HvPciBus) -> IrqDomain | None:
    """The domain of the devices on the bus, on top of the vector domain; None without memory."""
    info = MsiDomainInfo(
        flags=MSI_FLAG_USE_DEF_DOM_OPS
        | MSI_FLAG_USE_DEF_CHIP_OPS
        | MSI_FLAG_MULTI_PCI_MSI
        | MSI_FLAG_PCI_MSIX,
        ops=MsiDomainOps(msi_prepare=hv_msi_prepare, msi_free=hv_msi_free),
        chip=IrqChip(
            "Hyper-V PCIe MSI",
            irq_compose_msi_msg=hv_compose_msi_msg,
            irq_set_affinity=irq_chip_set_affinity_parent,
            irq_ack=irq_chip_ack_parent,
            irq_mask=pci_msi_mask_irq,
            irq_unmask=hv_irq_unmask,
        ),
        handler_name="edge",
        data=hbus,
    )
    x86 = hbus.x86
    return pci_msi_create_irq_domain(x86.domains, hbus.fwnode, info, x86.vectors.x86_vector_domain)


def hv_msi_prepare(domain: IrqDomain, dev: Device, nvec: int, arg: IrqAllocInfo) -> int:
    """pci_msi_prepare, but a block needs no contiguous vectors, as the host remaps.

    Under HV-prepare it does, so that no block is ever allocated (HVP-3).
    """
    ret = pci_msi_prepare(domain, dev, nvec, arg)
    if arg.type == X86_IRQ_ALLOC_TYPE.PCI_MSI and not _on(domain, Defect.HV_PREPARE):
        arg.flags &= ~X86_IRQ_ALLOC_CONTIGUOUS_VECTORS
    return ret


def hv_compose_msi_msg(irqd: IrqData) -> MsiMsg:
    """Ask the host for the interrupt's message; one that is all zero if it has none.

    A message that the host made before is given back first, as the new one is for the target of
    now.  A block is asked for once, by its first interrupt; it keeps its message, and the hypercall
    leads it to its target.
    """
    desc = irq_data_get_msi_desc(irqd)
    dev = msi_desc_to_pci_dev(desc)
    hbus = hv_pcibus_of(dev)
    block = _is_block(desc)
    if isinstance(irqd.chip_data, TranIntDesc) and _keeps_message(irqd, block):
        _trace_compose(hbus, irqd, irqd.chip_data, asked=0)
        return irqd.chip_data.msg
    child = hbus.children.get(dev.devfn)
    int_desc = None if child is None else _compose(hbus, child, irqd, desc, block)
    _trace_compose(hbus, irqd, int_desc, asked=int(child is not None))
    if int_desc is None:
        return MsiMsg()
    irqd.chip_data = int_desc
    return int_desc.msg


def hv_irq_unmask(irqd: IrqData) -> None:
    """Let the host lead the interrupt to where it goes now, and unmask the device.

    The device is unmasked also if the host does not obey.
    """
    desc = irq_data_get_msi_desc(irqd)
    dev = msi_desc_to_pci_dev(desc)
    hbus = hv_pcibus_of(dev)
    cfg = vector_level(irqd).hw_irq_cfg
    cpus = irqd.common.effective_affinity & irqd.desc.kernel.cpu_online_mask
    ret = _retarget(hbus, irqd, desc, dev.devfn, cfg.vector, cpus)
    hbus.trace("hv_irq_unmask", irq=irqd.irq, vector=cfg.vector, cpus=cpus, ret=ret)
    pci_msi_unmask_irq(irqd)


def hv_msi_free(domain: IrqDomain, info: MsiDomainInfo, irq: int) -> None:
    """Give the interrupt's message back to the host, if the device is still there (HVP-2)."""
    irqd = irq_domain_get_irq_data(domain.domains, domain, irq)
    if irqd is None or not isinstance(irqd.chip_data, TranIntDesc):
        return
    hbus: HvPciBus = info.data
    int_desc, irqd.chip_data = irqd.chip_data, None
    dev = msi_desc_to_pci_dev(irq_data_get_msi_desc(irqd))
    child = hbus.children.get(dev.devfn)
    hbus.trace("hv_msi_free", irq=irq, present=int(child is not None))
    if child is not None:
        _hv_int_desc_free(hbus, child, int_desc)


def _on(domain: IrqDomain, defect: Defect) -> bool:
    return defect in domain.domains.kernel.defects


def _is_block(desc: MsiDesc) -> bool:
    return not desc.msi_attrib.is_msix and desc.nvec_used > 1


def _keeps_message(irqd: IrqData, block: bool) -> bool:
    """Whether a message that the host made before is still good."""
    defects = irqd.desc.kernel.defects
    if block:
        return Defect.HV_COMPOSE not in defects
    return Defect.HV_REUSE in defects


def _compose(
    hbus: HvPciBus, child: HvPciDev, irqd: IrqData, desc: MsiDesc, block: bool
) -> TranIntDesc | None:
    """The interrupt's new message, None without one; the old one is given back before."""
    if isinstance(irqd.chip_data, TranIntDesc):
        int_desc, irqd.chip_data = irqd.chip_data, None
        _hv_int_desc_free(hbus, child, int_desc)
    kernel = irqd.desc.kernel
    if kernel.kzalloc_fails("hv_compose_msi_msg"):
        return None
    if not block or Defect.HV_COMPOSE in kernel.defects:
        vector = vector_level(irqd).hw_irq_cfg.vector
        return _create(hbus, child, irqd.irq, vector, 1, _first_online(irqd))
    if irqd.irq != desc.irq:
        address = desc.msg.address_lo | desc.msg.address_hi << 32
        return TranIntDesc(address, desc.msg.data + irqd.irq - desc.irq, 0)
    cpu = hbus.cpu_next = _next_online(hbus)
    return _create(hbus, child, irqd.irq, _BLOCK_VECTOR, desc.nvec_used, cpu)


def _create(
    hbus: HvPciBus, child: HvPciDev, irq: int, vector: int, count: int, cpu: int
) -> TranIntDesc | None:
    """Have a mapping created; None if the request is not sent, not answered or refused.

    An old protocol knows no more than 64 CPUs, and names all of them.
    """
    if hbus.protocol_version == PCI_PROTOCOL_VERSION_1_1:
        cpus = _CPU_AFFINITY_ALL
    elif hbus.protocol_version in _V2_PROTOCOLS:
        cpus = 1 << cpu
    else:
        return None
    ret, reply = hbus.host.create_interrupt(child.slot, vector, count, cpus)
    answered = ret == 0 and reply is not None and child.state is not HvChildState.EJECTING
    status = reply.status if reply is not None else 0
    hbus.trace(
        "hv_create_interrupt",
        irq=irq,
        slot=child.slot,
        vector=vector,
        count=count,
        cpus=cpus,
        ret=ret,
        status=status,
        answered=int(answered),
    )
    if not answered or reply is None or status < 0:
        return None
    return TranIntDesc(reply.address, reply.data, count)


def _hv_int_desc_free(hbus: HvPciBus, child: HvPciDev, int_desc: TranIntDesc) -> None:
    """Tell the host that a message is not needed any more; nobody looks whether that arrived."""
    if not int_desc.vector_count:
        return
    ret = hbus.host.delete_interrupt(child.slot, int_desc.address, int_desc.data)
    hbus.trace("hv_int_desc_free", slot=child.slot, data=int_desc.data, ret=ret)


def _retarget(
    hbus: HvPciBus, irqd: IrqData, desc: MsiDesc, slot: int, vector: int, cpus: int
) -> int:
    """The hypercall; its status, or another number but 0 if it cannot be made."""
    kernel = irqd.desc.kernel
    if Defect.HV_UNMASK in kernel.defects:
        address, data = desc.msg.address_lo | desc.msg.address_hi << 32, desc.msg.data
    elif isinstance(irqd.chip_data, TranIntDesc):
        address, data = irqd.chip_data.address, irqd.chip_data.data
    else:
        return _RETARGET_NOT_TRIED
    if hbus.protocol_version in _V2_PROTOCOLS:
        if kernel.kzalloc_fails("hv_irq_unmask") or not cpus:
            return _RETARGET_NOT_TRIED
    else:
        cpus &= _VP_MASK
    return hbus.host.retarget_interrupt(slot, address, data, vector, cpus)


def _first_online(irqd: IrqData) -> int:
    """The CPU that the host is asked for; a BUG where the kernel would look behind its table."""
    cpus = irqd.common.effective_affinity & irqd.desc.kernel.cpu_online_mask
    if not cpus:
        raise KernelBug(f"irq {irqd.irq} goes to no online CPU")
    return cpumask_first(cpus)


def _next_online(hbus: HvPciBus) -> int:
    """The online CPU behind the last one that a block was asked for, round and round."""
    online = hbus.x86.kernel.cpu_online_mask
    above = online & -1 << hbus.cpu_next + 1
    return cpumask_first(above or online)


def _trace_compose(
    hbus: HvPciBus, irqd: IrqData, int_desc: TranIntDesc | None, *, asked: int
) -> None:
    msg = MsiMsg() if int_desc is None else int_desc.msg
    hbus.trace(
        "hv_compose_msi_msg",
        irq=irqd.irq,
        mapped=int(int_desc is not None),
        asked=asked,
        address_lo=msg.address_lo,
        address_hi=msg.address_hi,
        data=msg.data,
    )
