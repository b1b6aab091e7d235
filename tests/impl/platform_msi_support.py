# SPDX-License-Identifier: GPL-2.0-only
"""A machine with a platform MSI domain."""

import itertools
from collections.abc import Iterable

from impl.defects import Defect
from impl.drivers.base.platform_msi import (
    PlatformMsi,
    PlatformMsiPrivData,
    platform_msi_create_irq_domain,
    platform_msi_desc,
    platform_msi_domain_alloc_irqs,
    platform_msi_domain_free_irqs,
)
from impl.kernel.device import Device
from impl.kernel.irq.irq import (
    IrqChip,
    MsiMsg,
)
from impl.kernel.irq.irqdomain import irq_domain_alloc_named_fwnode
from impl.kernel.irq.msi import (
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.irq.msi_desc import MsiDesc
from impl.vector_machine import VectorMachine
from tests.impl.support import FOUR_VECTORS

DEFAULTS = MSI_FLAG_USE_DEF_DOM_OPS | MSI_FLAG_USE_DEF_CHIP_OPS


class PlatformMachine(VectorMachine):
    """A machine with a platform MSI domain, and devices that hold messages by index."""

    def __init__(
        self,
        *,
        defects: Iterable[Defect] = (),
        flags: int = DEFAULTS,
        chip: IrqChip | None = None,
        ops: MsiDomainOps | None = None,
    ) -> None:
        super().__init__(2, geometry=FOUR_VECTORS, nr_legacy_irqs=0, defects=frozenset(defects))
        assert self.cpu_up(1) == 0
        self.platform = PlatformMsi(self.kernel)
        self.stored: dict[tuple[int, int], MsiMsg] = {}
        self.log: list[str] = []
        self.ids = itertools.count(1)
        self.info = MsiDomainInfo(
            flags=flags,
            ops=ops if ops is not None else MsiDomainOps(),
            chip=chip if chip is not None else self.chip(),
            handler_name="edge",
        )
        fwnode = irq_domain_alloc_named_fwnode(self.domains, "PLATFORM-MSI")
        domain = platform_msi_create_irq_domain(
            self.domains, fwnode, self.info, self.vectors.x86_vector_domain
        )
        assert domain is not None
        self.msi = domain

    def chip(self) -> IrqChip:
        return IrqChip(
            "TEST-PLATFORM",
            irq_mask=lambda irqd: self.log.append("mask"),
            irq_unmask=lambda irqd: self.log.append("unmask"),
        )

    def write(self, desc: MsiDesc, msg: MsiMsg) -> None:
        self.stored[desc.dev.id, platform_msi_desc(desc).msi_index] = msg

    def device(self) -> Device:
        dev = Device(next(self.ids), "platform", 0)
        dev.msi_domain = self.msi
        return dev

    def alloc(self, dev: Device, nvec: int) -> int:
        return platform_msi_domain_alloc_irqs(self.platform, dev, nvec, self.write)

    def free(self, dev: Device) -> None:
        platform_msi_domain_free_irqs(self.platform, dev)

    def with_irqs(self, nvec: int) -> Device:
        dev = self.device()
        assert self.alloc(dev, nvec) == 0
        return dev

    def books(self) -> object:
        """Everything that a failed allocation must leave as it was."""
        m = self.matrix
        return (
            self.platform.devids,
            self.irqs.allocated_irqs,
            [(d.name, d.mapcount, sorted(d.revmap_tree)) for d in self.domains.irq_domain_list],
            (m.global_available, m.global_reserved, m.total_allocated),
            [cm.alloc_map for cm in m.maps],
        )


def irqs_of(dev: Device) -> list[int]:
    return [desc.irq for desc in dev.msi_list]


def priv_of(desc: MsiDesc) -> PlatformMsiPrivData:
    priv = platform_msi_desc(desc).msi_priv_data
    assert isinstance(priv, PlatformMsiPrivData)
    return priv


def indices_of(dev: Device) -> list[int]:
    return [platform_msi_desc(desc).msi_index for desc in dev.msi_list]
