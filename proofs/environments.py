# SPDX-License-Identifier: GPL-2.0-only
"""What a platform may bring with it, for machines that show what goes wrong only there.

The stack of the implementation is that of bare metal. Some defects need a domain that bare metal
does not have: one that serves blocks of vectors, one between a device's and the vector domain, one
with another bus token. They are made here with the implementation's own means, through the hooks
that a platform has.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from functools import partial
from typing import Final

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo, init_irq_alloc_info
from impl.arch.x86.msi import native_create_pci_msi_domain, pci_msi_controller
from impl.arch.x86.vector import vector_level
from impl.arch.x86.x86_init import X86Init, X86Platform
from impl.drivers.pci.msi_domain import pci_msi_create_irq_domain
from impl.drivers.pci.msi_fallbacks import MsiController
from impl.drivers.pci.pci import PciDev
from impl.kernel.device import Device
from impl.kernel.irq.chip import irq_chip_ack_parent, irq_chip_set_affinity_parent
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDomain, IrqDomainOps, MsiMsg
from impl.kernel.irq.irqdomain import (
    DomainBus,
    irq_domain_alloc_named_fwnode,
    irq_domain_create_hierarchy,
    irq_domain_update_bus_token,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs_parent,
    irq_domain_free_irqs_common,
    irq_domain_set_hwirq_and_chip,
)
from impl.kernel.irq.msi import (
    MSI_FLAG_MULTI_PCI_MSI,
    MSI_FLAG_PCI_MSIX,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDesc,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.machine import Machine

__all__ = [
    "REMAPPED_ADDRESS",
    "arch_fallbacks",
    "block_domain",
    "ignore_masks",
    "limited_block_domain",
    "overriding_platform",
    "remapping",
    "vmd_token",
]


# --- a domain that serves blocks of vectors, as one behind interrupt remapping does ---------


def block_domain() -> X86Init:
    """PCI devices get blocks of vectors."""
    return X86Init(create_pci_msi_domain=partial(_create_block_domain, limit=32))


def limited_block_domain() -> X86Init:
    """The same, but the domain can set up only the first vector of a block."""
    return X86Init(create_pci_msi_domain=partial(_create_block_domain, limit=1))


def _create_block_domain(x86: X86Platform, limit: int) -> IrqDomain | None:
    fwnode = irq_domain_alloc_named_fwnode(x86.domains, "BLOCK-MSI")
    info = MsiDomainInfo(
        flags=MSI_FLAG_USE_DEF_DOM_OPS
        | MSI_FLAG_USE_DEF_CHIP_OPS
        | MSI_FLAG_PCI_MSIX
        | MSI_FLAG_MULTI_PCI_MSI,
        ops=MsiDomainOps(
            msi_prepare=_prepare, msi_init=partial(_init, limit=limit), msi_free=_free
        ),
        chip=replace(pci_msi_controller(x86), name="BLOCK-MSI", irq_set_affinity=None),
        handler_name="edge",
    )
    return pci_msi_create_irq_domain(x86.domains, fwnode, info, x86.vectors.x86_vector_domain)


def _prepare(domain: IrqDomain, dev: Device, nvec: int, arg: IrqAllocInfo) -> int:
    """Each vector has a message of its own here, so that a block needs no neighbours."""
    init_irq_alloc_info(arg, None)
    arg.type = X86_IRQ_ALLOC_TYPE.PCI_MSI
    return 0


def _init(
    domain: IrqDomain, info: MsiDomainInfo, virq: int, hwirq: int, arg: IrqAllocInfo, limit: int
) -> int:
    if hwirq - arg.hwirq >= limit:
        return -errno.ENOSPC
    domains = domain.domains
    irq_domain_set_hwirq_and_chip(domains, domain, virq, hwirq, info.chip, info.chip_data)
    return 0


def _free(domain: IrqDomain, info: MsiDomainInfo, virq: int) -> None:
    """The domain keeps nothing for an interrupt; that it is told is what matters."""


# --- a domain with the bus token of VMD -----------------------------------------------------


def vmd_token() -> X86Init:
    """The default PCI/MSI domain has the bus token DOMAIN_BUS_VMD_MSI."""
    return X86Init(create_pci_msi_domain=_create_vmd_domain)


def _create_vmd_domain(x86: X86Platform) -> IrqDomain | None:
    domain = native_create_pci_msi_domain(x86)
    if domain is not None:
        irq_domain_update_bus_token(x86.domains, domain, DomainBus.VMD_MSI)
    return domain


# --- a platform that makes the default domain itself ----------------------------------------


def overriding_platform() -> X86Init:
    """The platform's PCI initialization says who makes the default PCI/MSI domain."""
    return X86Init(arch_init=_override)


def _override(x86: X86Platform) -> int:
    x86.init.create_pci_msi_domain = partial(_create_block_domain, limit=32)
    return 1


# --- a domain between a device's and the vector domain, as interrupt remapping has -----------

REMAPPED_ADDRESS: Final = 0xFEE00010
"""Bit 4 of an address says that the message is to be remapped."""


def remapping() -> X86Init:
    """HPETs are behind a unit that composes their messages in a format of its own."""
    unit = _Remapper()
    return X86Init(apic_post_init=unit.attach, irq_remapping_get_irq_domain=unit)


class _Remapper:
    """Finds the unit's domain, which is made when it is first asked for."""

    def __init__(self) -> None:
        self.x86: X86Platform | None = None
        self.domain: IrqDomain | None = None

    def __call__(self, info: IrqAllocInfo) -> IrqDomain | None:
        if info.type is not X86_IRQ_ALLOC_TYPE.HPET_GET_PARENT:
            return None
        if self.domain is None and self.x86 is not None:
            domains = self.x86.domains
            fwnode = irq_domain_alloc_named_fwnode(domains, "TEST-IR")
            parent = self.x86.vectors.x86_vector_domain
            self.domain = irq_domain_create_hierarchy(domains, parent, 0, 0, fwnode, _UNIT_OPS)
        return self.domain

    def attach(self, x86: X86Platform) -> None:
        """The unit is found while the interrupt mode is set up."""
        self.x86 = x86


def _unit_alloc(domain: IrqDomain, virq: int, nr_irqs: int, arg: IrqAllocInfo) -> int:
    ret = irq_domain_alloc_irqs_parent(domain, virq, nr_irqs, arg)
    if ret < 0:
        return ret
    for irq in range(virq, virq + nr_irqs):
        irq_domain_set_hwirq_and_chip(domain.domains, domain, irq, irq, _UNIT_CHIP, None)
    return 0


def _unit_free(domain: IrqDomain, virq: int, nr_irqs: int) -> None:
    irq_domain_free_irqs_common(domain.domains, domain, virq, nr_irqs)


def _unit_compose(irqd: IrqData) -> MsiMsg:
    """The message names an entry of the unit's table, not a vector."""
    return MsiMsg(REMAPPED_ADDRESS | vector_level(irqd).irq << 5, 0, 0)


_UNIT_OPS: Final = IrqDomainOps(alloc=_unit_alloc, free=_unit_free)
_UNIT_CHIP: Final = IrqChip(
    "TEST-IR",
    irq_ack=irq_chip_ack_parent,
    irq_set_affinity=irq_chip_set_affinity_parent,
    irq_compose_msi_msg=_unit_compose,
)


# --- a machine that is changed once it has booted -------------------------------------------


def ignore_masks(machine: Machine) -> None:
    """Nobody may mask a device: the hypervisor does."""
    machine.kernel.pci_msi_ignore_mask = True


def arch_fallbacks(machine: Machine) -> None:
    """The arch fallbacks are selected, and devices have no domain but a controller of their
    bus."""
    machine.pci.arch_fallbacks = True
    for dev in machine.pci_devs.values():
        dev.msi_domain = None
        dev.bus.msi = MsiController(setup_irq=partial(_setup_irq, machine))


def _setup_irq(machine: Machine, dev: PciDev, desc: MsiDesc) -> int:
    """The controller has one interrupt, the first that there is."""
    desc.irq = min(machine.irqs.descs, default=1)
    return 0
