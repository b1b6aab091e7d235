# SPDX-License-Identifier: GPL-2.0-only
"""What drivers, hosts and firmware do to machines with more than bare metal, as data.

A VMD, a bus of Hyper-V, a message store and a platform device are numbered by their place in the
description. A host's answers and refusals are operations, too: they wait for the next request.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from impl.drivers.iommu.dmar import DrhdHeader, DrhdUnit
from impl.drivers.iommu.intel_hotplug import dmar_hotplug_insert, dmar_hotplug_remove
from impl.drivers.pci.hyperv_host import HvRefusal
from impl.drivers.pci.msi import pci_irq_vector
from impl.drivers.pci.pci import PciDev
from impl.drivers.xen.hypervisor import Answer
from impl.firmware_remapping import build_dmar_table, drhd_address, units_of_devices
from impl.kernel.device import Device
from impl.kernel.irq.irq import IRQD_ACTIVATED
from impl.machine import Machine
from proofs.whole_kinds import Choices, Kind, Values, on_device
from proofs.whole_machine import WholeMachine

__all__ = [
    "ANSWERS",
    "PLATFORM_OPERATIONS",
    "REFUSALS",
    "expected_refusal",
    "forget_refusals",
    "unit_is_there",
    "vmd_vectors",
]

# --- PCI ------------------------------------------------------------------------------------


def _has_interrupts(dev: PciDev) -> bool:
    """Whether a device uses an interrupt of any kind."""
    return bool(dev.irq) or dev.msi_enabled or dev.msix_enabled


def _functions(there: bool) -> Choices:
    """Devices that can have virtual functions: those that have some, unused, or none."""

    def choices(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
        for number, name in enumerate(kind.devices):
            virtfns = machine.topology.virtfns.get(name, [])
            present = [machine.pci_devs[each] for each in virtfns if each in machine.pci_devs]
            if not virtfns or name not in machine.pci_devs or bool(present) != there:
                continue
            if not any(map(_has_interrupts, present)):
                yield {"device": number}

    return choices


def _add_functions(machine: Machine, name: str) -> int:
    return machine.pci_enable_sriov(name, len(machine.topology.virtfns[name]))


# --- virtual machines -----------------------------------------------------------------------

_GUEST_VECTOR: Final = 0x80


def _postable(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    """Active interrupts of PCI devices that have a handler, where units can post; a VMD's own
    driver does not give them away."""
    if machine.remapping is None or not machine.remapping.can_post():
        return
    kept = vmd_vectors(machine)
    for irq, desc in sorted(machine.irqs.descs.items()):
        msi_desc = desc.msi_desc
        of_pci = msi_desc is not None and isinstance(msi_desc.dev, PciDev)
        active = desc.action and desc.irq_data.test(IRQD_ACTIVATED)
        if active and of_pci and irq not in kept:
            yield {"irq": irq}


def _posted(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    return ({"irq": irq} for irq in sorted(machine.posted_irqs))


# --- VT-d units -----------------------------------------------------------------------------


def _units(machine: Machine) -> list[DrhdUnit]:
    return [] if machine.remapping is None else machine.remapping.intel.dmar.drhd_units


def _unit_numbers(there: bool) -> Choices:
    """Units that serve devices by name, none of which is there; known to the kernel or not."""

    def choices(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
        if machine.remapping is None or machine.remapping.amd.ivrs:
            return
        known = {unit.hdr.address for unit in _units(machine)}
        for part in kind.description.dmars:
            if not part.remapping or not part.devices:
                continue
            if any(name in machine.pci_devs for name in part.devices):
                continue
            fault = machine.dmar_units[part.id]
            if (drhd_address(part.id) in known) == there and not _handled(machine, fault.irq):
                yield {"unit": part.id}

    return choices


def _handled(machine: Machine, irq: int) -> bool:
    return irq in machine.irqs.descs and machine.irqs.descs[irq].action > 0


def _header(kind: WholeMachine, values: Values) -> list[DrhdHeader]:
    """The unit as firmware tells of it."""
    table, address = build_dmar_table(kind.description), drhd_address(values["unit"])
    return [] if table is None else [hdr for hdr in table.units if hdr.address == address]


def _insert_unit(kind: WholeMachine, machine: Machine, values: Values) -> int:
    if machine.remapping is None:
        return -errno.ENODEV
    ret = dmar_hotplug_insert(machine.remapping.intel, _header(kind, values))
    machine.dmar_units |= machine.remapping.fault_events()
    return ret


def _remove_unit(kind: WholeMachine, machine: Machine, values: Values) -> int:
    if machine.remapping is None:
        return -errno.ENODEV
    return dmar_hotplug_remove(machine.remapping.intel, _header(kind, values))


def unit_is_there(kind: WholeMachine, machine: Machine, name: str) -> bool:
    """Whether the unit of a device, if it has one, is known: firmware plugs it in before."""
    if machine.remapping is None or machine.remapping.amd.ivrs:
        return True
    unit = units_of_devices(kind.description).get(name, -1)
    known = {each.hdr.address for each in _units(machine)}
    return unit < 0 or drhd_address(unit) in known


# --- VMD ------------------------------------------------------------------------------------


def _vmds(there: bool) -> Choices:
    """VMDs with or without a driver; one that goes has no device with interrupts behind it."""

    def choices(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
        for number, part in enumerate(kind.description.vmds):
            dev = machine.pci_devs.get(part.name)
            if dev is None or (part.name in machine.vmds) != there:
                continue
            if there:
                segments = [p.segment for p in kind.description.devices]
                behind = [
                    machine.pci_devs[name]
                    for name, segment in zip(kind.devices, segments, strict=True)
                    if segment == part.segment and name in machine.pci_devs
                ]
                if not any(map(_has_interrupts, behind)):
                    yield {"vmd": number}
            elif not _has_interrupts(dev):
                yield {"vmd": number}

    return choices


def vmd_vectors(machine: Machine) -> set[int]:
    """The irqs of the VMDs' own vectors, which their drivers handle."""
    return {
        pci_irq_vector(vmd.dev, index)
        for vmd in machine.vmds.values()
        for index in range(vmd.msix_count)
    }


def _on_vmd(act: Callable[[Machine, str], int]) -> Callable[..., int]:
    return lambda kind, machine, values: act(machine, kind.description.vmds[values["vmd"]].name)


# --- Hyper-V --------------------------------------------------------------------------------


def _buses(there: bool) -> Choices:
    """Buses that are up, without interrupts, or not."""

    def choices(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
        for number, part in enumerate(kind.description.hyperv_buses):
            if (part.segment in machine.hv_buses) != there:
                continue
            on_bus = machine.topology.on_bus((part.segment, 0)) if there else ()
            if not any(_has_interrupts(machine.pci_devs[name]) for name in on_bus):
                yield {"bus": number}

    return choices


def _on_bus(act: Callable[[Machine, int], int]) -> Callable[..., int]:
    return lambda kind, machine, values: act(
        machine, kind.description.hyperv_buses[values["bus"]].segment
    )


REFUSALS: Final = (HvRefusal.SEND_CREATE, HvRefusal.CREATE, HvRefusal.RETARGET)
"""What a host of Hyper-V refuses, by number. A mapping of which it is not told that it goes, or of
a device that vanishes, is lost for good (HVP-1): nothing could be compared after that."""


def _refusals(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for number, part in enumerate(kind.description.hyperv_buses):
        hbus = machine.hv_buses.get(part.segment)
        if hbus is not None and not hbus.host.failures:
            yield from ({"bus": number, "what": what} for what in range(len(REFUSALS)))


def _refuse(kind: WholeMachine, machine: Machine, values: Values) -> int:
    segment = kind.description.hyperv_buses[values["bus"]].segment
    return machine.hv_refuse_next(segment, REFUSALS[values["what"]])


# --- Xen ------------------------------------------------------------------------------------

ANSWERS: Final = (
    Answer(err=-errno.EINVAL),
    Answer(err=-errno.ENOSYS),
    Answer(err=-errno.EPERM),
    Answer(err=-errno.ESRCH),
    Answer(retry=1),
    Answer(invalid=True),
)
"""What the hypervisor, or the backend, may say instead of yes, by number."""


def _answers(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    """The next request, or the one behind it, is answered so."""
    if machine.xen is not None and not machine.xen.answers.pending:
        for answer in range(len(ANSWERS)):
            yield from ({"answer": answer, "served": served} for served in range(3))


def _answer(kind: WholeMachine, machine: Machine, values: Values) -> int:
    for _ in range(values["served"]):
        machine.xen_answer_next(Answer())
    return machine.xen_answer_next(ANSWERS[values["answer"]])


# --- message stores -------------------------------------------------------------------------


def _stores(there: bool) -> Choices:
    """Devices with a store that have a driver, whose subdevices are idle, or none."""

    def choices(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
        for number, part in enumerate(kind.description.ims):
            driver = machine.ims_drivers.get(part.name)
            if part.name not in machine.pci_devs or (driver is not None) != there:
                continue
            if driver is None or not any(each.msi_list for each in driver.subdevices):
                yield {"store": number}

    return choices


def _on_store(act: Callable[[Machine, str], int]) -> Callable[..., int]:
    return lambda kind, machine, values: act(machine, kind.description.ims[values["store"]].name)


def _idle(machine: Machine, dev: Device) -> bool:
    return not any(_handled(machine, desc.irq) for desc in dev.msi_list)


def _subdevices(kind: WholeMachine, machine: Machine) -> Iterator[tuple[Values, Device]]:
    for store, part in enumerate(kind.description.ims):
        driver = machine.ims_drivers.get(part.name)
        for number, dev in enumerate(driver.subdevices if driver is not None else ()):
            yield {"store": store, "subdevice": number}, dev


def _to_alloc(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    """A second allocation, none, and one more than there is room for are refused."""
    for values, _ in _subdevices(kind, machine):
        slots = kind.description.ims[values["store"]].slots
        yield from ({**values, "nvec": nvec} for nvec in range(slots + 2))


def _to_free(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for values, dev in _subdevices(kind, machine):
        if dev.msi_list and _idle(machine, dev):
            yield values


def _ims_alloc(kind: WholeMachine, machine: Machine, values: Values) -> int:
    name = kind.description.ims[values["store"]].name
    return machine.ims_alloc_irqs(name, values["subdevice"], values["nvec"])


def _ims_free(kind: WholeMachine, machine: Machine, values: Values) -> int:
    name = kind.description.ims[values["store"]].name
    return machine.ims_free_irqs(name, values["subdevice"])


# --- platform devices -----------------------------------------------------------------------


def _platform_devices(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for number, part in enumerate(kind.description.platform_devices):
        if machine.platform_devices[part.name].msi_domain is not None:
            yield from ({"sensor": number, "nvec": nvec} for nvec in range(4))


def _of_platform_devices(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for number, part in enumerate(kind.description.platform_devices):
        dev = machine.platform_devices[part.name]
        if dev.msi_list and _idle(machine, dev):
            yield {"sensor": number}


def _platform_alloc(kind: WholeMachine, machine: Machine, values: Values) -> int:
    name = kind.description.platform_devices[values["sensor"]].name
    return machine.platform_msi_alloc_irqs(name, values["nvec"])


def _platform_free(kind: WholeMachine, machine: Machine, values: Values) -> int:
    name = kind.description.platform_devices[values["sensor"]].name
    return machine.platform_msi_free_irqs(name)


# --- what waits for the next request --------------------------------------------------------


def expected_refusal(machine: Machine) -> bool:
    """Whether memory, a host or the hypervisor is going to fail the next operation."""
    hosts = [hbus.host for hbus in machine.hv_buses.values()]
    pending = machine.xen is not None and machine.xen.answers.pending
    return bool(machine.kernel.failures or pending or any(host.failures for host in hosts))


def forget_refusals(machine: Machine) -> None:
    """What the operation did not come to is not kept for another."""
    machine.kernel.failures.clear()
    for hbus in machine.hv_buses.values():
        hbus.host.failures.clear()
    if machine.xen is not None:
        machine.xen.answers.pending.clear()


# --- everything -----------------------------------------------------------------------------


def _always(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    yield {}


PLATFORM_OPERATIONS: Final[Mapping[str, Kind]] = {
    "add_functions": Kind(_functions(False), on_device(_add_functions)),
    "remove_functions": Kind(_functions(True), on_device(Machine.pci_disable_sriov)),
    "vcpu_attach": Kind(_postable, lambda k, m, v: m.vcpu_attach(v["irq"], 0, _GUEST_VECTOR)),
    "vcpu_detach": Kind(_posted, lambda k, m, v: m.vcpu_detach(v["irq"])),
    "sleep": Kind(_always, lambda k, m, v: m.sleep(), compound=True),
    "insert_unit": Kind(_unit_numbers(False), _insert_unit),
    "remove_unit": Kind(_unit_numbers(True), _remove_unit),
    "vmd_probe": Kind(_vmds(False), _on_vmd(Machine.vmd_probe)),
    "vmd_remove": Kind(_vmds(True), _on_vmd(Machine.vmd_remove)),
    "hv_pci_probe": Kind(_buses(False), _on_bus(Machine.hv_pci_probe)),
    "hv_pci_remove": Kind(_buses(True), _on_bus(Machine.hv_pci_remove)),
    "hv_refuse_next": Kind(_refusals, _refuse, prepares=True),
    "xen_answer_next": Kind(_answers, _answer, prepares=True),
    "ims_probe": Kind(_stores(False), _on_store(Machine.ims_probe)),
    "ims_remove": Kind(_stores(True), _on_store(Machine.ims_remove)),
    "ims_alloc": Kind(_to_alloc, _ims_alloc),
    "ims_free": Kind(_to_free, _ims_free),
    "platform_alloc": Kind(_platform_devices, _platform_alloc),
    "platform_free": Kind(_of_platform_devices, _platform_free),
}
"""What only some platforms have, by name."""
