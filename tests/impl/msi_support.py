# SPDX-License-Identifier: GPL-2.0-only
"""A machine with one MSI domain, and devices that only hold the messages written to them."""

import errno
from collections.abc import Iterable, Sequence
from typing import Any

from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.arch.x86.irq_vectors import Geometry
from impl.defects import Defect
from impl.kernel.device import Device
from impl.kernel.irq.chip import irq_chip_ack_parent
from impl.kernel.irq.irq import IrqAffinityDesc, IrqChip, IrqData, IrqDesc, MsiMsg
from impl.kernel.irq.irqdomain import (
    IRQ_DOMAIN_MSI_NOMASK_QUIRK,
    DomainBus,
    irq_domain_alloc_named_fwnode,
    irq_domain_update_bus_token,
)
from impl.kernel.irq.msi import (
    MSI_FLAG_ACTIVATE_EARLY,
    MSI_FLAG_MUST_REACTIVATE,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiAttrib,
    MsiDesc,
    MsiDomainInfo,
    MsiDomainOps,
    alloc_msi_entry,
    msi_domain_alloc_irqs,
    msi_domain_free_irqs,
)
from impl.kernel.irq.msi_domain import msi_create_irq_domain
from impl.vector_machine import VectorMachine
from tests.impl.support import FOUR_VECTORS

LIKE_PCI = (
    MSI_FLAG_USE_DEF_DOM_OPS
    | MSI_FLAG_USE_DEF_CHIP_OPS
    | MSI_FLAG_ACTIVATE_EARLY
    | MSI_FLAG_MUST_REACTIVATE
)
BLOCK = 64
"""Each descriptor has the hwirqs of a block of its own."""


def set_desc(arg: IrqAllocInfo, desc: MsiDesc) -> None:
    arg.desc = desc
    arg.hwirq = desc.id * BLOCK


class MsiMachine:
    """`log` has what was done to devices; `message` what the device of an irq holds."""

    def __init__(
        self,
        nr_cpus: int = 2,
        *,
        defects: Iterable[Defect] = (),
        flags: int = LIKE_PCI,
        token: DomainBus = DomainBus.PCI_MSI,
        ops: MsiDomainOps | None = None,
        geometry: Geometry = FOUR_VECTORS,
    ) -> None:
        self.machine = VectorMachine(
            nr_cpus, geometry=geometry, nr_legacy_irqs=0, defects=frozenset(defects)
        )
        for cpu in range(1, nr_cpus):
            self.machine.cpu_up(cpu)
        self.kernel = self.machine.kernel
        self.irqs = self.machine.irqs
        self.domains = self.machine.domains
        self.message: dict[int, MsiMsg] = {}
        self.log: list[tuple[str, int]] = []
        chip = IrqChip(
            "TEST-MSI",
            irq_ack=irq_chip_ack_parent,
            irq_mask=lambda irqd: self.log.append(("mask", irqd.irq)),
            irq_unmask=lambda irqd: self.log.append(("unmask", irqd.irq)),
            irq_write_msi_msg=self._write,
        )
        self.info = MsiDomainInfo(
            flags=flags,
            ops=ops if ops is not None else MsiDomainOps(set_desc=set_desc),
            chip=chip,
            handler_name="edge",
        )
        fwnode = irq_domain_alloc_named_fwnode(self.domains, "TEST-MSI")
        domain = msi_create_irq_domain(
            self.domains, fwnode, self.info, self.machine.vectors.x86_vector_domain
        )
        assert domain is not None
        self.domain = domain
        self.domain.flags |= IRQ_DOMAIN_MSI_NOMASK_QUIRK
        irq_domain_update_bus_token(self.domains, domain, token)

    def _write(self, irqd: IrqData, msg: MsiMsg) -> None:
        self.log.append(("write", irqd.irq))
        self.message[irqd.irq] = msg

    def device(
        self,
        *nvecs: int,
        maskable: bool = True,
        msix: bool = True,
        affinity: Sequence[IrqAffinityDesc] | None = None,
    ) -> Device:
        """A device with a descriptor for each of `nvecs`."""
        dev = Device(0, "device", 0)
        for nvec in nvecs:
            attrib = MsiAttrib(is_msix=msix and maskable, maskbit=maskable)
            desc = alloc_msi_entry(self.kernel, dev, nvec, affinity, attrib)
            assert desc is not None
            dev.msi_list.append(desc)
        return dev

    def alloc(self, dev: Device) -> int:
        return msi_domain_alloc_irqs(self.domain, dev, sum(d.nvec_used for d in dev.msi_list))

    def free(self, dev: Device) -> None:
        msi_domain_free_irqs(self.domain, dev)

    def desc(self, irq: int) -> IrqDesc:
        return self.irqs.descs[irq]

    def books(self) -> tuple[Any, ...]:
        """What an allocation takes: descriptors, maps, and the matrix without MX-14's freedom."""
        m = self.machine.matrix
        rows = [
            (cm.available, cm.allocated, cm.managed, cm.managed_allocated, cm.alloc_map)
            for cm in m.maps
        ]
        return (
            self.irqs.allocated_irqs,
            self.domain.mapcount,
            dict(self.domain.revmap_tree),
            self.machine.vectors.x86_vector_domain.mapcount,
            (m.global_available, m.global_reserved, m.total_allocated),
            rows,
        )


def irqs_of(dev: Device) -> list[int]:
    """All irqs of a device's descriptors."""
    return [desc.irq + k for desc in dev.msi_list if desc.irq for k in range(desc.nvec_used)]


def exhausted(*args: Any) -> int:
    """An operation that finds no room."""
    return -errno.ENOSPC
