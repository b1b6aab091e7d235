# SPDX-License-Identifier: GPL-2.0-only
"""What holds of a whole machine between operations, and of which no layer has a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from impl.arch.x86.uv import UvChipData
from impl.arch.x86.vector import ApicChipData, apic_chip_data
from impl.drivers.pci.hyperv_msi import HvPciBus
from impl.drivers.pci.pci import PciDev, pci_signal
from impl.drivers.pci.vmd_domain import VmdDev
from impl.kernel.cpumask import for_each_cpu
from impl.kernel.irq.chip import irq_chip_compose_msi_msg
from impl.kernel.irq.irq import IRQD_ACTIVATED, IRQD_IRQ_STARTED, IrqData, IrqDesc, IrqDomain
from impl.kernel.irq.irqdomain import DomainBus
from impl.kernel.irq.msi import MsiDomainInfo, MsiDomainOps, msi_default_alloc_irqs
from impl.machine import Machine
from proofs.hierarchy_layer import levels

__all__ = ["broken_laws", "overrides"]

Broken = Iterator[tuple[str, str]]
"""Ids of laws that are false, and where."""


def _one_irq(machine: Machine) -> Broken:
    for irq, desc in machine.irqs.descs.items():
        for level in levels(desc.irq_data):
            if level.irq != irq or level.common is not desc.irq_data.common:
                yield "DOM-2", f"irq {irq}"


def _numbers(machine: Machine) -> Broken:
    marked = machine.irqs.allocated_irqs
    if marked != sum(1 << irq for irq in machine.irqs.descs):
        yield "GEN-5", f"allocated_irqs is {marked:#x}"


def overrides(domain: IrqDomain) -> bool:
    """Whether the domain replaces the MSI core's allocation as a whole."""
    ops = domain.host_data.ops if isinstance(domain.host_data, MsiDomainInfo) else None
    return ops is not None and ops.domain_alloc_irqs not in (None, msi_default_alloc_irqs)


def _operations(machine: Machine) -> Broken:
    for domain in machine.domains.irq_domain_list:
        info = domain.host_data
        if not isinstance(info, MsiDomainInfo):
            continue
        if overrides(domain):
            continue  # what replaces the allocation as a whole calls nothing else
        ops = info.ops or MsiDomainOps()
        needed: list[object] = [ops.get_hwirq, ops.msi_init]
        needed += [ops.domain_alloc_irqs, ops.domain_free_irqs]
        if domain.bus_token != DomainBus.ANY:
            needed += [ops.set_desc, ops.msi_check, ops.msi_prepare]
        if None in needed:
            yield "MSI-1", f"domain {domain.name}"


def _conservation(machine: Machine) -> Broken:
    """Section 14.6, over the CPUs that are online now."""
    m = machine.matrix
    for cpu in for_each_cpu(machine.kernel.cpu_online_mask):
        cm = m.maps[cpu]
        if not cm.initialized:
            continue  # a paravirtualised guest's CPU has no vectors
        regular = (cm.alloc_map & ~cm.managed_map).bit_count()
        free = m.alloc_size - m.systembits_inalloc
        if free != cm.available + cm.managed + regular:
            yield "X-1", f"CPU {cpu}"


def _reservations(machine: Machine) -> Broken:
    reserved = 0
    for desc in machine.irqs.descs.values():
        apicd = apic_chip_data(desc.irq_data)
        reserved += isinstance(apicd, ApicChipData) and apicd.has_reserved
    if machine.matrix.global_reserved != reserved:
        yield "X-2", f"{machine.matrix.global_reserved} reservations for {reserved} irqs"


def _messages(machine: Machine) -> Broken:
    """Where the messages arrive that the devices would send for irqs that are started; those behind
    a VMD share its vectors."""
    sent: dict[object, int] = {}
    for dev in machine.pci_devs.values():
        for desc in dev.msi_list if not isinstance(dev.bus.sysdata, VmdDev) else ():
            for nr in range(desc.nvec_used):
                irq = machine.irqs.descs.get(desc.irq + nr)
                if irq is None or not irq.irq_data.test(IRQD_IRQ_STARTED):
                    continue
                message = pci_signal(dev, desc.msi_attrib.entry_nr + nr)
                target = machine.signals.routes.pci(dev, message) if message is not None else None
                other = sent.setdefault(target, irq.irq) if target is not None else irq.irq
                if other != irq.irq:
                    yield "X-3", f"irqs {other} and {irq.irq}"


def _composers(machine: Machine) -> Broken:
    """DOM-13: the outermost chip that can composes, and at least one can."""
    for irq, desc in machine.irqs.descs.items():
        if not _sends_messages(desc) or _asks_a_host(desc):
            continue
        composing = [level for level in levels(desc.irq_data) if _composes(level)]
        if not composing:
            yield "X-6", f"no chip of irq {irq} composes"
            continue
        first = composing[0]
        compose = first.chip.irq_compose_msi_msg if first.chip is not None else None
        _, message = irq_chip_compose_msi_msg(desc.irq_data)
        if compose is not None and message != compose(first):
            name = first.chip.name if first.chip is not None else "none"
            yield "APIC-3", f"the message of irq {irq} is not that of chip {name}"


def _composes(level: IrqData) -> bool:
    return level.chip is not None and level.chip.irq_compose_msi_msg is not None


def _asks_a_host(desc: IrqDesc) -> bool:
    """To compose the message is to ask Hyper-V for one, which changes what the host keeps."""
    dev = desc.msi_desc.dev if desc.msi_desc is not None else None
    return isinstance(dev, PciDev) and isinstance(dev.bus.sysdata, HvPciBus)


def _sends_messages(desc: IrqDesc) -> bool:
    chip = desc.irq_data.chip
    return chip is not None and chip.irq_write_msi_msg is not None


def _default_domain(machine: Machine) -> Broken:
    """Who makes the default domain is known by its chip: the native one is PCI-MSI."""
    domain = machine.x86.pci_msi_default_domain
    if domain is None or not isinstance(domain.host_data, MsiDomainInfo):
        return
    chip = domain.host_data.chip
    # A platform that only changes the native domain is content with its chip.
    if machine.x86.init.arch_init is not None and chip is not None and chip.name == "PCI-MSI":
        yield "INIT-1", "the native domain was made"


def _registers(machine: Machine) -> Broken:
    for irq, desc in machine.irqs.descs.items():
        data = desc.irq_data.chip_data
        if isinstance(data, UvChipData) and not desc.irq_data.test(IRQD_ACTIVATED):
            mmr = machine.uv_hubs.mmrs.get((data.pnode, data.offset))
            if mmr is not None and not mmr.mask:
                yield "UV-3", f"irq {irq}"


_LAWS: Final = (
    _one_irq,
    _numbers,
    _operations,
    _conservation,
    _reservations,
    _messages,
    _composers,
    _default_domain,
    _registers,
)


def broken_laws(machine: Machine) -> Broken:
    """The ids of the laws that are false now, and where."""
    for law in _LAWS:
        yield from law(machine)
