# SPDX-License-Identifier: GPL-2.0-only
"""What guests of Xen keep to between operations: pirqs, event channels, and the domain that keeps
native code away (sections 8.8 and 9.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from impl.arch.x86.xen import XenKind
from impl.arch.x86.xen_message import decode_pirq_msg
from impl.drivers.pci.pci import PciDev
from impl.drivers.xen.irq_info import PIRQ_MSI_GROUP, IrqInfo, XenIrqType
from impl.kernel.irq.irq import IRQD_IRQ_STARTED, IrqDesc, IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain import irq_domain_is_hierarchy
from impl.kernel.irq.msi import MsiDomainInfo
from impl.machine import Machine
from proofs.hunted_laws import Law
from proofs.platform_ledger import lost_pirqs

__all__ = ["XEN_LAWS", "bypassed", "overridden"]

Broken = Iterator[str]


def overridden(machine: Machine) -> bool:
    """Whether Xen handles the MSIs of this guest: X(g) of section 9.1."""
    kinds = (XenKind.PV_DOM0, XenKind.PV_DOMU, XenKind.HVM_PIRQ)
    return machine.xen is not None and machine.xen.kind in kinds


def bypassed(machine: Machine, dev: PciDev) -> bool:
    """Whether the device's interrupts are pirqs."""
    return overridden(machine) and dev.msi_domain is machine.x86.pci_msi_default_domain


def _infos(machine: Machine) -> Iterator[tuple[IrqDesc, IrqInfo]]:
    for desc in machine.irqs.descs.values():
        if isinstance(desc.irq_data.chip_data, IrqInfo):
            yield desc, desc.irq_data.chip_data


def _xen_records(machine: Machine) -> Broken:
    for desc, info in _infos(machine):
        irqd = desc.irq_data
        if info.type is not XenIrqType.PIRQ or info.gsi or info.irq != desc.irq:
            yield f"the record of irq {desc.irq}"
        if irqd.domain is not None or irqd.parent_data is not None:
            yield f"irq {desc.irq} is in a domain"
        if irqd.chip is None or irqd.chip.name != "xen-pirq":
            yield f"the chip of irq {desc.irq}"


def _xen_groups(machine: Machine) -> Broken:
    """What is wrong with the pirqs of a descriptor."""
    infos = {info.irq: info for _, info in _infos(machine)}
    for name, dev in machine.pci_devs.items():
        for desc in dev.msi_list if bypassed(machine, dev) else ():
            group = [infos.get(desc.irq + k) for k in range(desc.nvec_used)] if desc.irq else []
            first = next(iter(group), None)
            for k, info in enumerate(group):
                if info is None or first is None:
                    yield f"irq {desc.irq + k} of {name} is not there"
                elif (info.pirq, info.domid) != (first.pirq + k & 0xFFFF, first.domid):
                    yield f"irq {desc.irq + k} of {name} has pirq {info.pirq}"
                elif bool(info.flags & PIRQ_MSI_GROUP) != bool(k):
                    yield f"irq {desc.irq + k} of {name} is a leader or not against its place"


def _single(machine: Machine) -> Broken:
    if machine.xen is None or machine.xen.kind is XenKind.PV_DOM0 or not overridden(machine):
        return
    for name, dev in machine.pci_devs.items():
        if any(desc.irq and desc.nvec_used > 1 for desc in dev.msi_list):
            yield f"device {name}"


def _mapped(machine: Machine) -> Broken:
    """Which pirqs of the initial domain are mapped, and which are in use or lost (section 9.4)."""
    if machine.xen is None or machine.xen.kind is not XenKind.PV_DOM0:
        return
    used = {info.pirq for _, info in _infos(machine)}
    mapped = set(machine.xen.hypervisor.pirqs)
    if mapped - lost_pirqs(machine.xen.hypervisor) != used:
        yield f"pirqs {sorted(mapped)} are mapped, and {sorted(used)} are in use"


def _channels(machine: Machine) -> Broken:
    if machine.xen is None:
        return
    ports = {info.evtchn: desc for desc, info in _infos(machine) if info.evtchn}
    if ports.keys() != machine.xen.hypervisor.ports.keys():
        yield f"channels {sorted(machine.xen.hypervisor.ports)} for irqs with {sorted(ports)}"
    for port, desc in ports.items():
        if not desc.irq_data.test(IRQD_IRQ_STARTED):
            yield f"irq {desc.irq} has channel {port}, and is not started"


def _pirq_messages(machine: Machine) -> Broken:
    if machine.xen is None or machine.xen.kind is not XenKind.HVM_PIRQ:
        return
    for desc, info in _infos(machine):
        msi = desc.msi_desc
        if msi is not None and msi.irq == desc.irq and decode_pirq_msg(*msi.msg) != info.pirq:
            yield f"the message of irq {desc.irq} names {decode_pirq_msg(*msi.msg)}"


def _creator(machine: Machine) -> Broken:
    names = [domain.name for domain in machine.domains.irq_domain_list]
    default = machine.x86.pci_msi_default_domain
    is_xen = default is not None and default.name == "XEN-MSI"
    if is_xen != overridden(machine) or ("XEN-MSI" in names) != is_xen:
        yield "the default domain is another one's"
    if is_xen and any(name.startswith("PCI-MSI") for name in names):
        yield "the native domain is there as well"


def _xen_domain(machine: Machine) -> IrqDomain | None:
    return machine.x86.pci_msi_default_domain if overridden(machine) else None


def _no_override(machine: Machine) -> Broken:
    domain = _xen_domain(machine)
    if domain is None:
        return
    remapping = machine.remapping
    if domain.bus_token or (remapping is not None and remapping.core.irq_remapping_enabled):
        yield f"domain {domain.name} could be replaced"


def _dispatch(machine: Machine) -> Broken:
    domain = _xen_domain(machine)
    info = domain.host_data if domain is not None else None
    if domain is None or not isinstance(info, MsiDomainInfo):
        return
    ops = info.ops
    complete = ops is not None and None not in (ops.domain_alloc_irqs, ops.domain_free_irqs)
    if not complete or not irq_domain_is_hierarchy(domain):
        yield f"domain {domain.name}"


def _empty(machine: Machine) -> Broken:
    domain = _xen_domain(machine)
    if domain is not None and (domain.mapcount or domain.revmap_tree or any(domain.linear_revmap)):
        yield f"domain {domain.name} maps something"


def _unmasked(machine: Machine) -> Broken:
    if machine.xen is not None and overridden(machine) != machine.kernel.pci_msi_ignore_mask:
        yield "the kernel masks devices or not against the kind of guest"


def _silent(machine: Machine) -> Broken:
    """The messages of a paravirtualised guest."""
    if machine.xen is None or machine.xen.kind not in (XenKind.PV_DOM0, XenKind.PV_DOMU):
        return
    for name, dev in machine.pci_devs.items():
        if bypassed(machine, dev) and any(desc.msg != MsiMsg() for desc in dev.msi_list):
            yield f"device {name}"


XEN_LAWS: Final[Mapping[str, Law]] = {
    "XEN-1": Law("An irq of Xen is a pirq's, in no domain.", _xen_records),
    "XEN-group": Law("The pirqs of a descriptor are one block; its first leads.", _xen_groups),
    "XEN-3": Law("Only the initial domain has blocks of vectors.", _single),
    "XEN-4": Law("What is mapped is in use, or Xen has refused to unmap it.", _mapped),
    "XEN-5": Law("Event channels are those of started irqs.", _channels),
    "XEN-6": Law("The message of a fully virtualised guest names the pirq.", _pirq_messages),
    "XB-1": Law("The default domain is Xen's exactly where Xen handles MSIs.", _creator),
    "XB-4": Law("Nothing may replace Xen's domain.", _no_override),
    "XB-5": Law("Xen's domain has both functions of its own.", _dispatch),
    "XB-7": Law("Xen's domain maps nothing, and its operations touch nothing native.", _empty),
    "XB-16": Law("Masks are left alone exactly where Xen handles MSIs.", _unmasked),
    "XB-11": Law("A paravirtualised guest writes no message.", _silent),
}
"""The laws of guests, by id."""
