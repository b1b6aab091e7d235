# SPDX-License-Identifier: GPL-2.0-only
"""What drivers and the platform do to a whole machine, as data.

An operation is a name and numbers: an irq is its irq number, a device its place in the description,
a mask has bit c for CPU c. What a kind of operation may be done with now depends on the machine:
`choices` lists it, for a driver that keeps its contract, which allocates once, frees what it has
allocated, and only after nobody handles it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from impl.arch.x86.io_apic_map import mp_map_gsi_to_irq
from impl.arch.x86.uv import UvAffinity, UvChipData
from impl.drivers.pci.msi import (
    PCI_IRQ_AFFINITY,
    PCI_IRQ_ALL_TYPES,
    PCI_IRQ_MSI,
    PCI_IRQ_MSIX,
)
from impl.drivers.pci.pci import PciDev, PciPower
from impl.drivers.xen.irq_info import IrqInfo
from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.irq.irq import (
    IRQD_AFFINITY_MANAGED,
    IRQD_IRQ_STARTED,
    IRQD_MSI_NOMASK_QUIRK,
    IrqDesc,
)
from impl.kernel.kernel import ALLOCATION_SITES
from impl.machine import Machine
from proofs.hierarchy_layer import levels
from proofs.platform_operations import PLATFORM_OPERATIONS, unit_is_there, vmd_vectors
from proofs.whole_kinds import Act, Choices, Kind, Values, device, each_device, on_device
from proofs.whole_machine import WholeMachine

__all__ = ["FATAL", "OPERATIONS"]

# --- devices --------------------------------------------------------------------------------


def _absent(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    """Devices that may be plugged in: they are no virtual functions, and their bus is there, and
    their unit if they have one."""
    for number, name in enumerate(kind.devices):
        part = kind.description.devices[number]
        place = part.segment, part.bus
        if name in machine.pci_devs or part.physfn or place not in machine.topology.buses:
            continue
        if unit_is_there(kind, machine, name):
            yield {"device": number}


def _enabled(dev: PciDev) -> bool:
    return dev.msi_enabled or dev.msix_enabled


def _unused(dev: PciDev) -> bool:
    return not _enabled(dev)


def _most(dev: PciDev) -> int:
    """One more vector than the device has of either kind: so that asking for too many happens."""
    offered = [1 << dev.msi_cap.multi_cap] if dev.msi_cap is not None else []
    offered += [dev.msix_cap.table_size] if dev.msix_cap is not None else []
    return max(offered, default=0) + 1


def _ranges(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for values in each_device(_unused)(kind, machine):
        for most in range(1, _most(device(kind, machine, values)) + 1):
            for least in sorted({1, most}):
                yield {**values, "min": least, "max": most}


def _alloc(flags: int, affd: IrqAffinity | None = None) -> Act:
    def act(kind: WholeMachine, machine: Machine, values: Values) -> int:
        name = kind.devices[values["device"]]
        return machine.pci_alloc_irq_vectors(name, values["min"], values["max"], flags, affd)

    return act


def _in_use(machine: Machine, dev: PciDev) -> bool:
    """An irq of the device has a handler."""
    blocks = [range(desc.irq, desc.irq + desc.nvec_used) for desc in dev.msi_list if desc.irq]
    return any(machine.irqs.descs[irq].action for block in blocks for irq in block)


def _to_free(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for values in each_device(_enabled)(kind, machine):
        if not _in_use(machine, device(kind, machine, values)):
            yield values


def _asleep(dev: PciDev) -> bool:
    return dev.current_state != PciPower.D0


def _awake(dev: PciDev) -> bool:
    return dev.current_state == PciPower.D0


def _resume(machine: Machine, name: str) -> int:
    """What the PCI core does as one: power, then all that the device has forgotten."""
    machine.pci_set_power_state(name, PciPower.D0)
    return machine.pci_restore_msi_state(name)


def _wired(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    """Devices whose INTx line ends somewhere, and is not connected yet."""
    for values in each_device(lambda dev: _unused(dev) and not dev.irq)(kind, machine):
        if kind.description.devices[values["device"]].gsi >= 0:
            yield values


def _connected(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for values in each_device(lambda dev: _unused(dev) and bool(dev.irq))(kind, machine):
        if not machine.irqs.descs[device(kind, machine, values).irq].action:
            yield values


# --- interrupts -----------------------------------------------------------------------------


def _irqs(can: Callable[[IrqDesc], bool]) -> Choices:
    def choices(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
        for irq, desc in sorted(machine.irqs.descs.items()):
            if _anyones(desc) and can(desc):
                yield {"irq": irq}

    return choices


def _anyones(desc: IrqDesc) -> bool:
    """Whether somebody has the irq: a domain, or the event code of Xen."""
    return any(levels(desc.irq_data)) or isinstance(desc.irq_data.chip_data, IrqInfo)


def _own_handlers(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    """The irqs with a handler, but for those of a VMD, whose driver keeps them."""
    kept = vmd_vectors(machine)
    return (values for values in _irqs(_handled)(kind, machine) if values["irq"] not in kept)


def _idle(desc: IrqDesc) -> bool:
    return not desc.action


def _handled(desc: IrqDesc) -> bool:
    return bool(desc.action)


def _plain(desc: IrqDesc) -> bool:
    return not desc.irq_data.test(IRQD_AFFINITY_MANAGED)


def _managed_started(desc: IrqDesc) -> bool:
    """What isolation may move at once; a device that cannot be masked waits for an interrupt."""
    if desc.irq_data.test(IRQD_MSI_NOMASK_QUIRK):
        return False
    return desc.irq_data.test(IRQD_AFFINITY_MANAGED) and desc.irq_data.test(IRQD_IRQ_STARTED)


def _with_mask(can: Callable[[IrqDesc], bool]) -> Choices:
    return lambda kind, machine: (
        {**values, "mask": mask}
        for values in _irqs(can)(kind, machine)
        for mask in range(1, 1 << machine.kernel.nr_cpu_ids)
    )


# --- other sources --------------------------------------------------------------------------


def _free_lines(kind: WholeMachine) -> Iterator[int]:
    """The GSIs at which no line of a PCI device ends, and that are no legacy irq's."""
    wired = {device.gsi for device in kind.description.devices}
    for ioapic in kind.description.ioapics:
        for gsi in range(ioapic.gsi_base, ioapic.gsi_base + ioapic.pins):
            if gsi not in wired and gsi >= kind.description.legacy_irqs:
                yield gsi


def _gsis(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for gsi in _free_lines(kind):
        for trigger, polarity in ((0, 0), (1, 1)):
            yield {"gsi": gsi, "trigger": trigger, "polarity": polarity}


def _registered(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    """The lines that have an irq, which nobody handles if this is the last user."""
    for gsi in _free_lines(kind):
        irq = mp_map_gsi_to_irq(machine.io_apics, gsi, 0, None)
        if irq > 0 and not machine.irqs.descs[irq].action:
            yield {"gsi": gsi}


def _channels(taken: bool) -> Choices:
    """Channels that have an irq, or any: a second one for the same is refused."""

    def choices(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
        for hpet, channels in machine.hpet_channels.items():
            for channel in channels:
                if not taken or (channel.irq and not machine.irqs.descs[channel.irq].action):
                    yield {"hpet": hpet, "channel": channel.num}

    return choices


def _units(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    return ({"unit": unit} for unit in machine.dmar_units)


def _of_units(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for unit in machine.dmar_units.values():
        if unit.irq and not machine.irqs.descs[unit.irq].action:
            yield {"irq": unit.irq}


def _blades(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    """The offset of the register is that of the CPU: two irqs do not share one."""
    for blade in machine.uv_hubs.blades:
        for cpu in range(machine.kernel.nr_cpu_ids):
            if (machine.uv_hubs.blades[blade].pnode, cpu) not in _registers(machine):
                for limit in (UvAffinity.ALL, UvAffinity.CPU):
                    yield {"blade": blade, "cpu": cpu, "limit": int(limit)}


def _registers(machine: Machine) -> set[tuple[int, int]]:
    """The registers of UV hubs that irqs have."""
    data = [desc.irq_data.chip_data for desc in machine.irqs.descs.values()]
    return {(each.pnode, each.offset) for each in data if isinstance(each, UvChipData)}


def _of_hubs(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for irq, desc in machine.irqs.descs.items():
        if isinstance(desc.irq_data.chip_data, UvChipData) and not desc.action:
            yield {"irq": irq}


# --- CPUs and memory ------------------------------------------------------------------------


def _cpus(can: Callable[[Machine, int], bool]) -> Choices:
    return lambda kind, machine: (
        {"cpu": cpu} for cpu in range(machine.kernel.nr_cpu_ids) if can(machine, cpu)
    )


def _online(machine: Machine, cpu: int) -> bool:
    return machine.kernel.cpu_online(cpu)


def _offline(machine: Machine, cpu: int) -> bool:
    return not machine.kernel.cpu_online(cpu)


def _listed(machine: Machine, cpu: int) -> bool:
    return _online(machine, cpu) and bool(machine.vectors.cleanup_list[cpu])


def _faults(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for site, name in enumerate(ALLOCATION_SITES):
        for nth in range(1, 4):
            if name not in FATAL + _UNNOTICED and not machine.kernel.failures:
                yield {"site": site, "nth": nth}


def _fail(kind: WholeMachine, machine: Machine, values: Values) -> int:
    machine.fail_next(ALLOCATION_SITES[values["site"]], values["nth"])
    return 0


FATAL: Final = ("add_pin_to_irq_node", "xen_irq_init")
"""Where the kernel panics without memory."""

_UNNOTICED: Final = ("dmar_alloc_pci_notify_info",)
"""Where it goes on without a word: the unit of a device never learns of it, and blocks it."""

_ONE_APART: Final = IrqAffinity(pre_vectors=1)
"""One vector is for the device as a whole, and not spread."""

OPERATIONS: Final[Mapping[str, Kind]] = {
    "alloc_msix": Kind(_ranges, _alloc(PCI_IRQ_MSIX)),
    "alloc_msi": Kind(_ranges, _alloc(PCI_IRQ_MSI)),
    "alloc_any": Kind(_ranges, _alloc(PCI_IRQ_ALL_TYPES)),
    "alloc_spread": Kind(_ranges, _alloc(PCI_IRQ_ALL_TYPES | PCI_IRQ_AFFINITY)),
    "alloc_spread_but_one": Kind(_ranges, _alloc(PCI_IRQ_ALL_TYPES | PCI_IRQ_AFFINITY, _ONE_APART)),
    "free_vectors": Kind(_to_free, on_device(Machine.pci_free_irq_vectors)),
    "enable_device": Kind(_wired, on_device(Machine.pci_enable_device)),
    "disable_device": Kind(_connected, on_device(Machine.pci_disable_device)),
    "add_device": Kind(_absent, on_device(Machine.pci_add_device)),
    "remove_device": Kind(
        each_device(lambda dev: _unused(dev) and not dev.irq),
        on_device(Machine.pci_remove_device),
    ),
    "suspend": Kind(
        each_device(_awake),
        on_device(lambda machine, name: machine.pci_set_power_state(name, PciPower.D3COLD)),
    ),
    "resume": Kind(each_device(_asleep), on_device(_resume)),
    "request_irq": Kind(
        _irqs(_idle),
        lambda k, m, v: m.request_irq(v["irq"]),
        # v5.10 sets the affinity once the irq is started, and not on the CPU that it goes to: a
        # device that cannot be masked should be moved there.
        may_warn=True,
    ),
    "request_irq_disabled": Kind(
        _irqs(_idle), lambda k, m, v: m.request_irq(v["irq"], autoenable=False)
    ),
    "enable_irq": Kind(
        _irqs(lambda desc: _handled(desc) and desc.depth > 0),
        lambda k, m, v: m.enable_irq(v["irq"]),
        # Of a managed irq without an online CPU.
        may_warn=True,
    ),
    "disable_irq": Kind(
        _irqs(lambda desc: _handled(desc) and desc.depth == 0),
        lambda k, m, v: m.disable_irq(v["irq"]),
    ),
    "free_irq": Kind(_own_handlers, lambda k, m, v: m.free_irq(v["irq"])),
    "set_affinity": Kind(_with_mask(_plain), lambda k, m, v: m.set_affinity(v["irq"], v["mask"])),
    "isolate": Kind(
        _with_mask(_managed_started),
        lambda k, m, v: m.set_managed_affinity(v["irq"], v["mask"]),
    ),
    "fire": Kind(_irqs(_handled), lambda k, m, v: int(m.fire(v["irq"]))),
    "register_gsi": Kind(
        _gsis, lambda k, m, v: m.acpi_register_gsi(v["gsi"], v["trigger"], v["polarity"])
    ),
    "unregister_gsi": Kind(_registered, lambda k, m, v: m.acpi_unregister_gsi(v["gsi"])),
    "hpet_assign_irq": Kind(
        _channels(taken=False), lambda k, m, v: m.hpet_assign_irq(v["hpet"], v["channel"])
    ),
    "hpet_free_irq": Kind(
        _channels(taken=True), lambda k, m, v: m.hpet_free_irq(v["hpet"], v["channel"])
    ),
    "dmar_alloc_hwirq": Kind(_units, lambda k, m, v: m.dmar_alloc_hwirq(v["unit"]), creates=True),
    "dmar_free_hwirq": Kind(_of_units, lambda k, m, v: m.dmar_free_hwirq(v["irq"])),
    "uv_setup_irq": Kind(
        _blades,
        lambda k, m, v: m.uv_setup_irq(v["blade"], v["cpu"], v["cpu"], UvAffinity(v["limit"])),
        creates=True,
    ),
    "uv_teardown_irq": Kind(_of_hubs, lambda k, m, v: m.uv_teardown_irq(v["irq"])),
    "cpu_up": Kind(_cpus(_offline), lambda k, m, v: m.cpu_up(v["cpu"])),
    "cpu_down": Kind(_cpus(_online), lambda k, m, v: m.cpu_down(v["cpu"])),
    "cleanup_ipi": Kind(_cpus(_listed), lambda k, m, v: int(m.cleanup_ipi(v["cpu"]))),
    "fail_next": Kind(_faults, _fail, prepares=True),
    **PLATFORM_OPERATIONS,
}
"""Everything that can be done, by name."""
