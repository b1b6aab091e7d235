# SPDX-License-Identifier: GPL-2.0-only
"""The machine of a snapshot, described and booted in the implementation: is it the same picture?

The description is made from the snapshot of a paravirtualised domain that controls Xen: its CPUs,
and each device that has MSIs, with as many as it can have. Booted, each device asks for as many as
it has in the snapshot.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from impl.description import DescriptionError, parse_description
from impl.drivers.pci.msi import PCI_IRQ_MSI, PCI_IRQ_MSIX
from impl.drivers.xen.irq_info import IrqInfo, XenIrqType
from impl.kernel.kernel import KernelBug
from impl.machine import Machine
from impl.trace import Event, Trace
from proofs.events import EVENTS
from proofs.snapshot_judge import Judgement
from proofs.snapshots import Place
from proofs.snapshots_view import View

__all__ = ["describe_dom0", "judge_same_picture"]

_MOST_PIRQS: Final = 64
_MOST_CPUS: Final = 64


@dataclass(frozen=True, slots=True)
class _Device:
    """A device with MSIs: its kind, how many it has, and how many it can have."""

    name: str
    kind: str
    irqs: int
    capacity: int
    place: Place


def describe_dom0(view: View) -> str:
    """The machine as a description of impl.description."""
    devices = _devices(view)
    top = f"""\
name = "{view.name}"
platform = "xen"
interrupt_mode = "pic"
timer = false

[xen]
type = "pv"
initial = true
pirqs = {max(_MOST_PIRQS, sum(device.irqs for device in devices))}
ports = {max(_MOST_PIRQS, sum(device.irqs for device in devices))}

[cpus]
count = {len(view.cpus)}
"""
    buses = sorted({device.name[:7] for device in devices})
    parts = [f'[[bus]]\nid = "{bus}"\n' for bus in buses]
    for device in devices:
        capacity = device.capacity
        has = f"msix = {capacity}" if device.kind == "msix" else f"msi = {{ vectors = {capacity} }}"
        parts.append(f'[[device]]\nname = "{device.name}"\nbdf = "{device.name}"\n{has}\n')
    return "\n".join((top, *parts))


def judge_same_picture(view: View, judgement: Judgement) -> None:
    """The booted machine has the same irqs for the same devices, all pirqs, and no vector.

    XEN-1 and XEN-4 of its irqs, XB-6 and XB-7 of its events.
    """
    devices = _devices(view)
    if not devices or not 0 < len(view.cpus) <= _MOST_CPUS:
        judgement.leave("XEN-1, XEN-4", "the CPUs and MSIs of the machine are not known")
        return
    events: list[Event] = []
    trace = Trace()
    trace.subscribe(events.append)
    try:
        machine = Machine(parse_description(describe_dom0(view)), trace=trace)
    except (DescriptionError, KernelBug) as error:
        judgement.leave("XEN-1, XEN-4", f"the machine cannot be described and booted: {error}")
        return
    events.clear()
    for device in devices:
        _device(device, machine, judgement)
    native = Counter(event.name for event in events if event.name in EVENTS)
    shown = ", ".join(native) or "none"
    sentence = f"the same machine allocates vectors in the implementation: {shown}"
    for rule, prefix in (("XB-6", "vector_"), ("XB-7", "irq_matrix_")):
        silent = not any(name.startswith(prefix) for name in native)
        judgement.check(rule, devices[0].place, silent, sentence)


def _device(device: _Device, machine: Machine, judgement: Judgement) -> None:
    before = _mapped(machine)
    flag = PCI_IRQ_MSIX if device.kind == "msix" else PCI_IRQ_MSI
    got = machine.pci_alloc_irq_vectors(device.name, device.irqs, device.irqs, flag)
    sentence = (
        f"{device.name} has {device.irqs} irqs of kind {device.kind}, but in the implementation it"
        f" gets {got}"
    )
    if not judgement.check("XEN-4", device.place, got == device.irqs, sentence):
        return
    mapped = _mapped(machine) - before
    sentence = f"the {got} irqs of {device.name} are {mapped} pirqs in the implementation"
    judgement.check("XEN-4", device.place, mapped == got, sentence)
    for nr in range(got):
        irq = machine.pci_irq_vector(device.name, nr)
        data = machine.irqs.descs[irq].irq_data
        pirq = isinstance(data.chip_data, IrqInfo) and data.chip_data.type is XenIrqType.PIRQ
        sentence = f"message {nr} of {device.name} is no pirq in the implementation"
        judgement.check("XEN-1", device.place, pirq and data.domain is None, sentence)


def _mapped(machine: Machine) -> int:
    return len(machine.xen.hypervisor.pirqs) if machine.xen else 0


def _devices(view: View) -> list[_Device]:
    """The devices that have MSIs, in the order of their first irqs."""
    found: dict[str, _Device] = {}
    count = Counter(owner.device for owner in view.msi_irqs.values())
    for _, owner in sorted(view.msi_irqs.items()):
        irqs = count[owner.device]
        capacity = 1 << (irqs - 1).bit_length()
        table = (view.msix or {}).get(owner.device)
        if owner.kind == "msix" and table is not None:
            capacity = table.entries
        device = _Device(owner.device, owner.kind, irqs, capacity, owner.place)
        found.setdefault(owner.device, device)
    return list(found.values())
