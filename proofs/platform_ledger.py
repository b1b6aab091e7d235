# SPDX-License-Identifier: GPL-2.0-only
"""What machines of every platform have given away beside interrupts, in plain numbers: table
entries, pirqs and event channels, mappings of a host, slots of message stores.

`frame` is what operations on a device that a hypervisor serves must not touch (section 9.1).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from impl.arch.x86.xen import XenKind
from impl.drivers.iommu.amd_irte import MAX_IRQS_PER_TABLE
from impl.drivers.irqchip.ims_msi import ImsArrayData
from impl.drivers.xen.hypervisor import Hypervisor
from impl.drivers.xen.irq_info import IrqInfo
from impl.kernel.irq.irqdomain import DomainBus
from impl.kernel.irq.msi import MsiDomainInfo
from impl.machine import Machine

__all__ = ["Fact", "frame", "lost_pirqs", "platform_facts"]

Fact = tuple[str, Hashable]
"""What a fact is called, and what it is; nothing is 0 or ()."""


def platform_facts(machine: Machine) -> Iterator[Fact]:
    """The facts that a failed operation, or one that is undone, leaves as they were."""
    yield from _tables(machine)
    for name, vmd in machine.vmds.items():
        counts = tuple((each.index, each.count) for each in vmd.irqs[1:] if each.count)
        yield f"lists of {name}", counts
    for segment, hbus in machine.hv_buses.items():
        targets = ((data, mapping.slot) for data, mapping in hbus.host.mappings.items())
        yield f"mappings on segment {segment:#x}", tuple(sorted(targets))
    yield from _xen(machine)
    yield from _stores(machine)
    yield "irqs of virtual CPUs", tuple(sorted(machine.posted_irqs))


def _tables(machine: Machine) -> Iterator[Fact]:
    """Which entries are taken: of AMD's only those that are no pin's, since pins keep theirs."""
    if machine.remapping is None:
        return
    for iommu in machine.remapping.intel.dmar.iommus:
        unit, memory = iommu.fault_event.id, iommu.ir_table
        if memory is not None:
            yield f"entries of unit {unit}", memory.bitmap
            yield f"present entries of unit {unit}", tuple(sorted(memory.base))
    amd = machine.remapping.amd
    yield "copies of entries", amd.nr_entry_copies
    for table in {table.id: table for table in amd.irq_lookup_table.values()}.values():
        taken = (
            index
            for index in range(table.min_index, MAX_IRQS_PER_TABLE)
            if amd.format.is_allocated(table.table[index])
        )
        yield f"entries of table {table.id}", tuple(taken)


def _xen(machine: Machine) -> Iterator[Fact]:
    """A backend may have been asked to do what is then refused elsewhere: only the pirqs of the
    initial domain are its own affair."""
    if machine.xen is None:
        return
    records = (
        (desc.irq, desc.irq_data.chip_data.pirq)
        for desc in machine.irqs.descs.values()
        if isinstance(desc.irq_data.chip_data, IrqInfo)
    )
    yield "records of Xen's irqs", tuple(sorted(records))
    yield "event channels", tuple(sorted(machine.xen.hypervisor.ports))
    if machine.xen.kind is XenKind.PV_DOM0:
        hypervisor = machine.xen.hypervisor
        yield "mapped pirqs", tuple(sorted(hypervisor.pirqs.keys() - lost_pirqs(hypervisor)))


def lost_pirqs(hypervisor: Hypervisor) -> set[int]:
    """The pirqs that the hypervisor has refused to unmap, and still keeps: no kernel knows them."""
    heads: set[int] = set()
    for call in hypervisor.log:
        if call.op == "physdev_unmap_pirq":
            pirq = dict(call.args)["pirq"]
            (heads.add if call.ret else heads.discard)(pirq)
    return {pirq for pirq, kept in hypervisor.pirqs.items() if kept.first in heads}


def _stores(machine: Machine) -> Iterator[Fact]:
    yield "devids", machine.platform_msi.devids
    for name, dev in machine.platform_devices.items():
        yield f"descriptors of {name}", tuple(desc.irq for desc in dev.msi_list)
    for name, driver in machine.ims_drivers.items():
        info = driver.domain.host_data if driver.domain is not None else None
        if isinstance(info, MsiDomainInfo) and isinstance(info.data, ImsArrayData):
            yield f"slots of {name}", info.data.map
        for sub in driver.subdevices:
            yield f"descriptors of {sub.name}", tuple(desc.irq for desc in sub.msi_list)


def frame(machine: Machine) -> dict[str, Hashable]:
    """The matrix, the vector tables, remapping tables, reverse maps, IO-APICs and HPETs; what VMDs
    map is no part of it."""
    m = machine.matrix
    facts: dict[str, Hashable] = {
        "the matrix": (
            (m.global_available, m.global_reserved, m.total_allocated),
            tuple((c.alloc_map, c.managed_map, c.available, c.managed) for c in m.maps),
        ),
        "vector tables": tuple(tuple(table) for table in machine.vectors.vector_irq),
        "route entries": tuple(tuple(a.redirection) for a in machine.io_apics.ioapics),
        "timers": tuple(
            (channel.irq, channel.message)
            for channels in machine.hpet_channels.values()
            for channel in channels
        ),
    }
    facts.update(_tables(machine))
    for domain in machine.domains.irq_domain_list:
        if domain.bus_token == DomainBus.VMD_MSI:
            continue
        tree = tuple(sorted(domain.revmap_tree))
        maps = domain.mapcount, tuple(domain.linear_revmap), tree
        facts[f"the maps of domain {domain.id}"] = maps
    return facts
