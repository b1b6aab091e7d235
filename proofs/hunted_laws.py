# SPDX-License-Identifier: GPL-2.0-only
"""What machines of every platform keep to between operations, for the hunts on them.

A law takes a machine and says where it is broken. Its id is that of the invariant in the sections
on remapping, VMD, Hyper-V, Xen and message stores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from impl.arch.x86.vector import ApicChipData
from impl.arch.x86.xen import XenKind
from impl.drivers.base.device_msi import device_msi_desc
from impl.drivers.irqchip.ims_msi import ImsArrayData
from impl.drivers.pci.hyperv_msi import HvPciBus
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.pci import PciDev
from impl.drivers.pci.vmd_domain import VMD_MAX_VECTORS, VmdDev
from impl.firmware_remapping import drhd_address, units_of_devices
from impl.kernel.irq.chip import irq_chip_compose_msi_msg
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_IRQ_MASKED,
    IRQD_IRQ_STARTED,
    IRQD_SETAFFINITY_PENDING,
    IrqDesc,
    MsiMsg,
)
from impl.kernel.irq.irqdomain import DomainBus
from impl.kernel.irq.msi import MsiDomainInfo
from impl.machine import Machine
from impl.subdevices import ImsDriver
from proofs.hierarchy_layer import levels

__all__ = ["LAWS", "Law", "astray"]

Broken = Iterator[str]
"""Where a law is broken."""


@dataclass(frozen=True, slots=True)
class Law:
    """What always holds, in words, and who looks."""

    sentence: str
    broken: Callable[[Machine], Broken]


# --- which domain a device has --------------------------------------------------------------


def _domain_of_unit(machine: Machine) -> Broken:
    remapping = machine.remapping
    if remapping is None or not remapping.core.irq_remapping_enabled or remapping.amd.ivrs:
        return
    domains = {
        unit.hdr.address: unit.iommu.ir_msi_domain for unit in remapping.intel.dmar.drhd_units
    }
    units = units_of_devices(machine.description)
    for name, dev in machine.pci_devs.items():
        if name not in units or _behind_vmd(dev) or pci_dev_has_special_msi_domain(dev):
            continue
        if dev.msi_domain is not domains.get(drhd_address(units[name])):
            yield f"device {name}"


def _behind_vmd(dev: PciDev) -> bool:
    return isinstance(dev.bus.sysdata, VmdDev)


def _multiplexed(dev: PciDev) -> bool:
    owner = dev.bus.sysdata
    return isinstance(owner, VmdDev) and not owner.bypass


def _vmd_token(machine: Machine) -> Broken:
    for name, dev in machine.pci_devs.items():
        domain = dev.msi_domain
        special = domain is not None and domain.bus_token == DomainBus.VMD_MSI
        if special != _multiplexed(dev):
            yield f"device {name}"


def _bypassed(machine: Machine) -> Broken:
    for name, dev in machine.pci_devs.items():
        owner = dev.bus.sysdata
        if (
            isinstance(owner, VmdDev)
            and owner.bypass
            and dev.msi_domain is not owner.dev.msi_domain
        ):
            yield f"device {name}"


def _xen_domain(machine: Machine) -> Broken:
    if not _overridden(machine):
        return
    for name, dev in machine.pci_devs.items():
        is_xen = dev.msi_domain is machine.x86.pci_msi_default_domain
        if is_xen == _behind_vmd(dev):
            yield f"device {name}"


def _amd_domains(machine: Machine) -> Broken:
    remapping = machine.remapping
    if remapping is None or remapping.core.irq_remapping_enabled:
        return
    for domain in machine.domains.irq_domain_list:
        parent, own = domain.parent, domain.name.startswith("AMD-IR")
        if parent is not None and parent.name.startswith("AMD-IR") and not own:
            yield f"domain {domain.name}"


# --- where messages go ----------------------------------------------------------------------


def _delivery(machine: Machine) -> Broken:
    return astray(machine, machine.irqs.descs.values())


def astray(machine: Machine, descs: Iterable[IrqDesc]) -> Broken:
    """Which of these irqs are started, and do not arrive where they belong."""
    for desc in descs:
        apicd = machine.chip_data(desc.irq)
        posted = desc.irq in machine.posted_irqs
        if not isinstance(apicd, ApicChipData) or posted or not _loud(desc):
            continue
        target, wanted = machine.signals.irq(desc), (apicd.cpu, apicd.vector)
        if target != wanted:
            yield f"irq {desc.irq} reaches {_place(target)}, not {_place(wanted)}"


def _loud(desc: IrqDesc) -> bool:
    """The irq is started, and neither masked nor about to move."""
    quiet = IRQD_IRQ_MASKED | IRQD_SETAFFINITY_PENDING
    started = desc.irq_data.test(IRQD_IRQ_STARTED)
    return started and not desc.common.state & quiet and not desc.depth


def _place(target: tuple[int, int] | None) -> str:
    return "nobody" if target is None else f"vector {target[1]} of CPU {target[0]}"


# --- VMD ------------------------------------------------------------------------------------


def _vmd_children(machine: Machine) -> Broken:
    for irq, desc in machine.irqs.descs.items():
        if isinstance(desc.handler_data, VmdDev) and desc.irq_data.parent_data is not None:
            yield f"irq {irq}"


def _vmd_vectors(machine: Machine) -> Broken:
    for name, vmd in machine.vmds.items():
        if vmd.msix_count > VMD_MAX_VECTORS:
            yield f"{name} has {vmd.msix_count} vectors"


# --- AMD-Vi and Hyper-V ---------------------------------------------------------------------


def _shared_tables(machine: Machine) -> Broken:
    amd = machine.remapping.amd if machine.remapping is not None else None
    if amd is None or not amd.ivrs:
        return
    for name, dev in machine.pci_devs.items():
        table = amd.irq_lookup_table.get(dev.devid)
        for _, alias in dev.dma_aliases:
            if table is not None and amd.irq_lookup_table.get(alias) is not table:
                yield f"{name} and its alias {alias:#x}"


def _host_mappings(machine: Machine) -> Broken:
    wanted: Counter[int] = Counter()
    for dev in machine.pci_devs.values():
        if isinstance(dev.bus.sysdata, HvPciBus):
            wanted[dev.segment] += sum(_mapped(machine, desc.irq) for desc in dev.msi_list)
    for segment, hbus in machine.hv_buses.items():
        if len(hbus.host.mappings) != wanted[segment]:
            yield f"{len(hbus.host.mappings)} mappings on bus {segment} for {wanted[segment]}"


def _mapped(machine: Machine, irq: int) -> bool:
    desc = machine.irqs.descs.get(irq)
    return desc is not None and desc.irq_data.chip_data is not None


# --- Xen ------------------------------------------------------------------------------------


def _overridden(machine: Machine) -> bool:
    """Xen handles the MSIs of this guest."""
    kinds = (XenKind.PV_DOM0, XenKind.PV_DOMU, XenKind.HVM_PIRQ)
    return machine.xen is not None and machine.xen.kind in kinds


def _xen_irqs(machine: Machine) -> Broken:
    if machine.xen is None:
        return
    owned = {
        desc.irq + k
        for dev in machine.pci_devs.values()
        for desc in dev.msi_list
        for k in range(desc.nvec_used)
    }
    for info in machine.xen.pci.xen.xen_irq_list_head:
        if info.irq not in owned:
            yield f"irq {info.irq} with pirq {info.pirq}"


def _own_pirqs(machine: Machine) -> Broken:
    if machine.xen is None:
        return
    infos = Counter(info.pirq for info in machine.xen.pci.xen.xen_irq_list_head)
    yield from (f"pirq {pirq}" for pirq, times in infos.items() if times > 1)


def _native_guest(machine: Machine) -> Broken:
    if machine.xen is None or _overridden(machine):
        return
    if machine.pci.arch_restore_msi_irqs is not None:
        yield "the hypervisor is asked to restore messages"


# --- message stores -------------------------------------------------------------------------


def _arrays(machine: Machine) -> Iterator[tuple[ImsDriver, ImsArrayData]]:
    for driver in machine.ims_drivers.values():
        info = driver.domain.host_data if driver.domain is not None else None
        if isinstance(info, MsiDomainInfo) and isinstance(info.data, ImsArrayData):
            yield driver, info.data


def _slots(driver: ImsDriver) -> list[tuple[int, int]]:
    """The slots of the subdevices' messages, each with its irq."""
    descs = (desc for subdevice in driver.subdevices for desc in subdevice.msi_list)
    places = ((device_msi_desc(desc).priv_iomem, desc.irq) for desc in descs)
    return [(slot, irq) for slot, irq in places if slot is not None]


def _drivers(machine: Machine) -> Broken:
    for part in machine.description.ims:
        dev = machine.pci_devs.get(part.name)
        if dev is None or pci_dev_has_special_msi_domain(dev) or machine.xen is not None:
            continue
        if part.name not in machine.ims_drivers:
            yield f"device {part.name}"


def _owned_slots(machine: Machine) -> Broken:
    for driver, data in _arrays(machine):
        owned = Counter(slot for slot, _ in _slots(driver))
        marked = {slot for slot in range(data.info.max_slots) if data.map >> slot & 1}
        if set(owned) != marked or max(owned.values(), default=0) > 1:
            yield f"{driver.pdev.name}: slots {sorted(owned.elements())}, taken {sorted(marked)}"


def _free_slots(machine: Machine) -> Broken:
    for driver, data in _arrays(machine):
        for slot in range(data.info.max_slots):
            quiet = driver.slots.masked(slot) and driver.slots.message(slot) == MsiMsg()
            if not data.map >> slot & 1 and not quiet:
                yield f"slot {slot} of {driver.pdev.name}"


def _quiet_slots(machine: Machine) -> Broken:
    for driver, _ in _arrays(machine):
        for slot, irq in _slots(driver):
            desc = machine.irqs.descs.get(irq)
            silent = desc is not None and desc.irq_data.test(IRQD_IRQ_MASKED)
            if silent and driver.slots.signal(slot) is not None:
                yield f"slot {slot} of {driver.pdev.name}"


def _stored(machine: Machine) -> Broken:
    for driver, _ in _arrays(machine):
        for slot, irq in _slots(driver):
            desc = machine.irqs.descs.get(irq)
            if desc is None or not desc.irq_data.test(IRQD_ACTIVATED):
                continue
            if driver.slots.message(slot) != irq_chip_compose_msi_msg(desc.irq_data)[1]:
                yield f"slot {slot} of {driver.pdev.name}"


def _composing(machine: Machine) -> Broken:
    for name, driver in machine.ims_drivers.items():
        if driver.domain is not None and driver.domain.parent is None:
            yield f"the domain of {name}"


def _synchronous(machine: Machine) -> Broken:
    for name, driver in machine.ims_drivers.items():
        for (_, position), shadow in driver.queues.shadows.items():
            if not shadow.in_sync:
                yield f"message {position} of {name}"


def _acknowledged(machine: Machine) -> Broken:
    for irq, desc in machine.irqs.descs.items():
        domain = desc.irq_data.domain
        if domain is None or domain.bus_token != DomainBus.PLATFORM_MSI:
            continue
        if any(level.chip is None or level.chip.irq_ack is None for level in levels(desc.irq_data)):
            yield f"irq {irq}"


LAWS: Final[Mapping[str, Law]] = {
    "SEL-3": Law(
        "Behind remapping a device has the domain of its unit, a virtual function that of its "
        "physical one.",
        _domain_of_unit,
    ),
    "SEL-2": Law("A device has a domain of a VMD exactly if it is behind that VMD.", _vmd_token),
    "VMD-8": Law("A child of a VMD that does not remap has the domain of the VMD.", _bypassed),
    "SEL-5": Law("Under Xen a device has Xen's domain unless it is behind a VMD.", _xen_domain),
    "IRC-5": Law("No domain of a unit is a parent while remapping is off.", _amd_domains),
    "X-delivery": Law(
        "What the device of a started irq sends reaches the vector of the irq.", _delivery
    ),
    "VMD-5": Law("An irq of a child of a VMD has one level.", _vmd_children),
    "VMD-7": Law("The message of a child can name each vector of its VMD.", _vmd_vectors),
    "AMD-1": Law("A device and its aliases share one table.", _shared_tables),
    "HVP-1": Law("The host has one mapping for each message that is in use.", _host_mappings),
    "XEN-10": Law("Every irq of Xen is that of a descriptor of a device.", _xen_irqs),
    "XEN-2": Law("No two irqs have one pirq.", _own_pirqs),
    "XB-17": Law("A guest whose MSIs are native has the native functions.", _native_guest),
    "IMS-probe": Law("A device with a message store has a domain for it.", _drivers),
    "IMS-1": Law("A slot is taken exactly if one descriptor has it.", _owned_slots),
    "IMS-3": Law("A free slot is masked, and its message is zero.", _free_slots),
    "IMS-5": Law("A slot of an active irq has the message that the chips compose.", _stored),
    "IMS-7": Law("A domain of a message store has a parent that composes.", _composing),
    "IMS-8": Law("The slot of a masked irq does not signal.", _quiet_slots),
    "IMS-9": Law("Between operations a device works with what its images say.", _synchronous),
    "PLT-7": Law("Every chip of an irq of a platform device acknowledges.", _acknowledged),
}
"""The laws of one state, by id."""
