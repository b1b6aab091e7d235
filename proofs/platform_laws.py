# SPDX-License-Identifier: GPL-2.0-only
"""What machines of every platform keep to between operations, as laws of one state.

They join those of remapping tables and those that hunts look for, and add what a VMD, the hosts of
guests and devices with messages of their own keep (sections 6 to 13). The layers of the
specification say the same of any size; here nothing has to be named for a scope, so that every
machine is judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from impl.arch.x86.vector import ApicChipData
from impl.description import MachineDescription
from impl.drivers.base.platform_msi import platform_msi_desc
from impl.drivers.irqchip.ims_msi import ImsArrayData
from impl.drivers.pci.hyperv_msi import HvPciBus, TranIntDesc
from impl.drivers.pci.msi import pci_irq_vector
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.pci import PciDev
from impl.drivers.pci.vmd_domain import VmdDev, VmdIrq
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IrqDesc,
)
from impl.kernel.irq.msi import MsiDomainInfo
from impl.machine import Machine
from proofs.hierarchy_layer import levels
from proofs.hunted_laws import LAWS, Law, astray
from proofs.platform_table_laws import TABLE_LAWS
from proofs.platform_xen_laws import XEN_LAWS, overridden

__all__ = ["PLATFORM_LAWS", "concerns"]

Broken = Iterator[str]


# --- chains of domains ----------------------------------------------------------------------


def _parents(machine: Machine) -> Broken:
    for irq, desc in machine.irqs.descs.items():
        chain = list(levels(desc.irq_data))
        for outer, inner in pairwise(chain):
            if outer.domain is None or inner.domain is not outer.domain.parent:
                yield f"irq {irq} at domain {inner.domain and inner.domain.name}"


def _alone(machine: Machine) -> Broken:
    """No vector of a CPU is that of two irqs."""
    owners: dict[tuple[int, int], int] = {}
    for irq, desc in machine.irqs.descs.items():
        apicd = machine.chip_data(irq) if desc.irq_data.domain is not None else None
        if isinstance(apicd, ApicChipData) and apicd.vector and not _shut_down(apicd):
            place = apicd.cpu, apicd.vector
            if owners.setdefault(place, irq) != irq:
                yield f"irqs {owners[place]} and {irq}"


def _shut_down(apicd: ApicChipData) -> bool:
    return apicd.hw_irq_cfg.vector != apicd.vector


def _served(machine: Machine) -> Broken:
    default = machine.x86.pci_msi_default_domain
    for name, dev in machine.pci_devs.items():
        if dev.msi_domain is None and default is not None:
            yield f"device {name}"


def _live_domains(machine: Machine) -> Broken:
    known = machine.domains.irq_domain_list
    for name, dev in machine.pci_devs.items():
        if dev.msi_domain is not None and dev.msi_domain not in known:
            yield f"device {name}"


def _arrival(machine: Machine) -> Broken:
    """Of devices that are awake. To assert a line would change its IO-APIC, and a host that has
    refused a message, or to lead it elsewhere, leaves the interrupt astray (HVP-5)."""
    return astray(machine, (desc for desc in machine.irqs.descs.values() if _sends(machine, desc)))


def _sends(machine: Machine, desc: IrqDesc) -> bool:
    """The device can send; a block of vectors has one message, which goes with its first irq."""
    msi = desc.msi_desc
    first = None if msi is None else machine.irqs.descs.get(msi.irq)
    if msi is None or first is None or not first.irq_data.test(IRQD_ACTIVATED):
        return False
    place = msi.dev if isinstance(msi.dev, PciDev) else msi.dev.parent
    if not isinstance(place, PciDev):
        return True
    return place.memory_reachable and not isinstance(place.bus.sysdata, HvPciBus)


# --- VMD ------------------------------------------------------------------------------------


def _children(machine: Machine) -> Iterator[tuple[IrqDesc, VmdDev, VmdIrq]]:
    for desc in machine.irqs.descs.values():
        vmd, vmdirq = desc.handler_data, desc.irq_data.chip_data
        if isinstance(vmd, VmdDev) and isinstance(vmdirq, VmdIrq):
            yield desc, vmd, vmdirq


def _vmd_lists(machine: Machine) -> Broken:
    for desc, vmd, vmdirq in _children(machine):
        on_lists = sum(vmdirq in each.irq_list for each in vmd.irqs)
        if vmdirq.irq not in vmd.irqs or on_lists != int(vmdirq.enabled):
            yield f"irq {desc.irq} is on {on_lists} lists"
        if vmdirq.enabled and vmdirq not in vmdirq.irq.irq_list:
            yield f"irq {desc.irq} is on a list that is not its own"


def _vmd_counts(machine: Machine) -> Broken:
    owned = Counter(id(vmdirq.irq) for _, _, vmdirq in _children(machine))
    for name, vmd in machine.vmds.items():
        for each in vmd.irqs[1:]:
            if each.count != owned[id(each)]:
                yield f"list {each.index} of {name} counts {each.count}, and has {owned[id(each)]}"


def _vmd_hwirqs(machine: Machine) -> Broken:
    for desc, vmd, vmdirq in _children(machine):
        if desc.irq_data.hwirq != pci_irq_vector(vmd.dev, vmdirq.irq.index):
            yield f"irq {desc.irq}"


def _endpoints(machine: Machine) -> Broken:
    for name, vmd in machine.vmds.items():
        if pci_dev_has_special_msi_domain(vmd.dev) and not overridden(machine):
            yield name


# --- Hyper-V --------------------------------------------------------------------------------


def _mappings(machine: Machine) -> Broken:
    """Each message that an irq has leads to a mapping of its own device."""
    for irq, desc in machine.irqs.descs.items():
        dev = desc.msi_desc.dev if desc.msi_desc is not None else None
        if not isinstance(dev, PciDev) or not isinstance(dev.bus.sysdata, HvPciBus):
            continue
        kept = desc.irq_data.chip_data
        if isinstance(kept, TranIntDesc) and kept.vector_count:
            mapping = dev.bus.sysdata.host.mappings.get(kept.data)
            if mapping is None or mapping.slot != dev.devfn:
                yield f"irq {irq}"


def _not_remapped(machine: Machine) -> Broken:
    if machine.description.platform != "hyperv" or machine.remapping is None:
        return
    if machine.remapping.core.irq_remapping_enabled:
        yield "interrupts are remapped"


# --- messages of subdevices and of platform devices -----------------------------------------


def _slot_numbers(machine: Machine) -> Broken:
    for name, driver in machine.ims_drivers.items():
        info = driver.domain.host_data if driver.domain is not None else None
        if not isinstance(info, MsiDomainInfo) or not isinstance(info.data, ImsArrayData):
            continue
        for irq, desc in machine.irqs.descs.items():
            level = desc.irq_data
            if level.domain is driver.domain and level.hwirq >= info.data.info.max_slots:
                yield f"irq {irq} of {name} has hwirq {level.hwirq}"


def _devids(machine: Machine) -> Broken:
    devs = machine.platform_devices.values()
    owned = {platform_msi_desc(d).msi_priv_data.devid for dev in devs for d in dev.msi_list}
    marked = sum(1 << devid for devid in owned)
    if marked != machine.platform_msi.devids:
        yield f"{machine.platform_msi.devids:#x} are taken, {marked:#x} are in use"


def _platform_indices(machine: Machine) -> Broken:
    for name, dev in machine.platform_devices.items():
        indices = [platform_msi_desc(desc).msi_index for desc in dev.msi_list]
        if indices != list(range(len(indices))):
            yield f"device {name} has {indices}"
        for desc in dev.msi_list:
            irq = machine.irqs.descs.get(desc.irq)
            if irq is None or irq.irq_data.domain is not dev.msi_domain:
                yield f"message {platform_msi_desc(desc).msi_index} of {name} has no irq"


def _active_stores(machine: Machine) -> Broken:
    """A platform device whose irq is active holds a message for it."""
    for name, dev in machine.platform_devices.items():
        for desc in dev.msi_list:
            irq, index = machine.irqs.descs.get(desc.irq), platform_msi_desc(desc).msi_index
            active = irq is not None and irq.irq_data.test(IRQD_ACTIVATED)
            if active and index not in dev.messages:
                yield f"message {index} of {name}"


_OF_HUNTS: Final = ("IMS-probe",)
"""A driver may leave."""

PLATFORM_LAWS: Final[Mapping[str, Law]] = {
    **{id: law for id, law in LAWS.items() if id not in _OF_HUNTS},
    **TABLE_LAWS,
    **XEN_LAWS,
    "X-delivery": Law("The message of a started irq reaches the irq's vector.", _arrival),
    "DOM-chain": Law("The levels of an irq belong to a domain, its parent and so on.", _parents),
    "VEC-alone": Law("No vector of a CPU is that of two irqs.", _alone),
    "SEL-1": Law("Every PCI device has a domain, unless there is no default one.", _served),
    "SEL-live": Law("The domain of a device is there.", _live_domains),
    "VMD-2": Law("An irq is on the list of its vector exactly if it is enabled.", _vmd_lists),
    "VMD-3": Law("The count of a list but the first is how many irqs belong there.", _vmd_counts),
    "VMD-6": Law("The hwirq of an irq behind a VMD is the irq of its list.", _vmd_hwirqs),
    "VMD-9": Law("A VMD itself has the domain that any device would have.", _endpoints),
    "HVP-2": Law("The message that the host made for an irq is known there.", _mappings),
    "HVI-3": Law("Nothing is remapped by the guest of Hyper-V.", _not_remapped),
    "IMS-2": Law("The hwirq of a subdevice's irq is the number of a slot.", _slot_numbers),
    "PLT-1": Law("A devid is taken exactly if a device has it.", _devids),
    "PLT-4": Law(
        "The messages of a device are numbered from 0 on, each with an irq.", _platform_indices
    ),
    "PLT-stored": Law("A device with an active irq has its message.", _active_stores),
}
"""Every law, by id."""


_FAMILIES: Final[Mapping[str, Callable[[MachineDescription], bool]]] = {
    "IRC": lambda d: _vt_d(d) or bool(d.amd_iommus),
    "INT": lambda d: _vt_d(d),
    "AMD": lambda d: bool(d.amd_iommus),
    "HVI": lambda d: d.platform == "hyperv",
    "HVP": lambda d: bool(d.hyperv_buses),
    "VMD": lambda d: bool(d.vmds),
    "XEN": lambda d: d.xen is not None,
    "XB": lambda d: d.xen is not None,
    "SEL": lambda d: _vt_d(d) or bool(d.amd_iommus or d.vmds) or d.platform != "native",
    "PLT": lambda d: bool(d.platform_devices),
    "IMS": lambda d: bool(d.ims),
    "UV": lambda d: bool(d.uvs),
}


def _vt_d(description: MachineDescription) -> bool:
    return any(dmar.remapping for dmar in description.dmars)


def concerns(description: MachineDescription, id: str) -> bool:
    """Whether a law says anything of such a machine: a family of laws may be that of a platform."""
    says = _FAMILIES.get(id.split("-")[0])
    return says is None or says(description)
