# SPDX-License-Identifier: GPL-2.0-only
"""What a whole machine keeps to besides the invariants of its layers.

Some laws speak of what no layer has a word for: that all levels of an interrupt are one interrupt,
which operations a domain has, which chip composes a message. Others speak of what happens within an
operation: how often an attempt is repeated, which error codes come out, how a vector is chosen.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from impl.arch.x86.vector import ApicChipData, apic_chip_data
from impl.defects import Defect
from impl.drivers.pci.msi_regs import pci_msi_calc_hwirq
from impl.drivers.pci.pci import PciDev
from impl.kernel.cpumask import for_each_cpu
from impl.kernel.device import Device
from impl.kernel.irq.irq import IRQD_ACTIVATED, IRQD_AFFINITY_MANAGED
from impl.machine import Machine
from impl.trace import Event
from proofs.driven import Operation
from proofs.hierarchy_layer import levels
from proofs.machine_tasks import SENTENCES
from proofs.monitor import Finding
from proofs.platform_laws import PLATFORM_LAWS, concerns
from proofs.platform_steps import Steps
from proofs.state_laws import broken_laws, overrides

__all__ = ["Laws"]


class Laws:
    """The laws of one machine, which is set once it has booted; `found` is told what is broken."""

    def __init__(self, found: Callable[[Finding], None]) -> None:
        self._found = found
        self.machine: Machine | None = None
        self._attempts: Counter[int] = Counter()
        self._room: dict[int, int] = {}
        self._expected: bool | None = None
        self._default_domains = 0
        self._steps = Steps(self._break)
        self._scanning = False

    # --- while an operation runs ------------------------------------------------------------

    def event(self, event: Event) -> None:
        """What one event says about the laws of operations."""
        self._steps.event(event)
        handler = _HANDLERS.get(event.name)
        if handler is not None:
            handler(self, event)

    def begin(self, machine: Machine, operation: Operation, failing: bool) -> None:
        """An operation is about to be done; `failing`: memory will run out."""
        self._attempts.clear()
        self._room.clear()
        self._expected = None if failing else _can_activate(machine, operation)
        self._steps.begin(machine, operation)

    def end(self, machine: Machine, operation: Operation, result: int) -> None:
        """It has been done, with this result."""
        self._steps.end(machine, operation)
        values = dict(operation.params)
        if "min" in values:
            most = 2 * (values["max"] - values["min"] + 1)
            if self._attempts[values["device"]] > most:
                self._break("PCI-5", f"{operation} takes more than {most} attempts")
        if self._expected is not None and (result == 0) != self._expected:
            self._break("X-2", f"{operation} answers {result}")
        if result < 0:
            self._refused(machine, operation, result)

    def _refused(self, machine: Machine, operation: Operation, result: int) -> None:
        values = dict(operation.params)
        unit = machine.dmar_units.get(values.get("unit", -1))
        if unit is not None and not unit.irq and result == -errno.EEXIST:
            self._break("MSI-2", f"unit {unit.id} has no irq, and is told that its hwirq is taken")
        if "min" not in values:
            return
        dev = list(machine.topology.parts)[values["device"]]
        if result == -errno.ENODEV and machine.pci.arch_fallbacks:
            self._break("PCI-fallbacks", f"{dev} is refused")
        taken = _shared_hwirqs(machine, machine.pci_devs[dev])
        if taken:
            self._break("PCI-4", f"{dev} would have hwirq {taken[0]:#x}, which is another device's")

    def _break(self, id: str, what: str) -> None:
        self._found(Finding(id, f"{SENTENCES[id]} Not so: {what}."))

    def _attempted(self, event: Event) -> None:
        self._attempts[event.fields["device"]] += 1
        ret = event.fields["ret"]
        if ret in _HIDDEN and not self._overridden(event.fields["device"]):
            self._break("MSI-10", f"device {event.fields['device']} is answered {ret}")

    def _overridden(self, device: int) -> bool:
        """Whether a platform, or a store of messages, allocates instead of the MSI core."""
        machine = self.machine
        if machine is None:
            return False
        devs: list[Device] = [*machine.pci_devs.values()]
        devs += [sub for driver in machine.ims_drivers.values() for sub in driver.subdevices]
        domains = (dev.msi_domain for dev in devs if dev.id == device)
        return any(domain is not None and overrides(domain) for domain in domains)

    def _activating(self, event: Event) -> None:
        """Note which CPUs of the affinity have a vector left."""
        if self.machine is None:
            return
        irq, maps = event.fields["irq"], self.machine.matrix.maps
        desc = self.machine.irqs.descs[irq]
        if desc.irq_data.test(IRQD_AFFINITY_MANAGED):  # it takes what was set aside for it
            return
        mask = desc.common.affinity & self.machine.kernel.cpu_online_mask
        self._room[irq] = sum(1 << cpu for cpu in for_each_cpu(mask) if maps[cpu].available)

    def _placed(self, event: Event) -> None:
        irq, cpu = event.fields["irq"], event.fields["cpu"]
        room = self._room.pop(irq, 0)
        if room and not room >> cpu & 1:
            self._break("VEC-affinity", f"irq {irq} goes to CPU {cpu}, out of mask {room:#x}")

    def _done(self, event: Event) -> None:
        self._room.pop(event.fields["irq"], None)

    def _freed(self, event: Event) -> None:
        if self.machine is None:
            return
        desc = self.machine.irqs.descs.get(event.fields["irq"])
        if desc is not None and desc.irq_data.test(IRQD_ACTIVATED):
            self._break("GEN-freed", f"irq {desc.irq}")

    def _default_domain(self, event: Event) -> None:
        self._default_domains += 1
        if self._scanning:
            self._break("INIT-2", "the default domain changes after devices were added")

    def _device_added(self, event: Event) -> None:
        self._scanning = True
        if not self._default_domains:
            self._break("INIT-2", f"device {event.fields['device']}")

    # --- between operations -----------------------------------------------------------------

    def broken(self, machine: Machine) -> Iterator[Finding]:
        """The laws of one state that are false now."""
        for id, what in broken_laws(machine):
            yield Finding(id, f"{SENTENCES[id]} Not so: {what}.")
        for id, law in PLATFORM_LAWS.items():
            if not concerns(machine.description, id):
                continue
            yield from (Finding(id, f"{law.sentence} Not so: {w}.") for w in law.broken(machine))


_HIDDEN: Final = (-errno.EEXIST, -errno.ENOMEM, -errno.ENOSYS)
"""What lower levels answer, and the MSI core keeps to itself."""

_HANDLERS: Final[dict[str, Callable[[Laws, Event], None]]] = {
    "msi_domain_alloc_irqs": Laws._attempted,
    "vector_activate": Laws._activating,
    "vector_update": Laws._placed,
    "irq_domain_activate_irq": Laws._done,
    "irq_domain_free_irq_data": Laws._freed,
    "create_pci_msi_domain": Laws._default_domain,
    "pci_device_add": Laws._device_added,
}


def _shared_hwirqs(machine: Machine, dev: PciDev) -> list[int]:
    """The hwirqs that the device's entries would have, and that live in its domain."""
    widened = Defect.N12 not in machine.kernel.defects
    entries = range(dev.msix_cap.table_size if dev.msix_cap is not None else 1)
    own = [pci_msi_calc_hwirq(entry, dev.devid, dev.segment, widened=widened) for entry in entries]
    others = {
        level.hwirq
        for desc in machine.irqs.descs.values()
        for level in levels(desc.irq_data)
        if level.domain is dev.msi_domain and desc.msi_desc not in dev.msi_list
    }
    return [hwirq for hwirq in own if hwirq in others]


def _can_activate(machine: Machine, operation: Operation) -> bool | None:
    """Whether a request must succeed, if it is one of an irq that only has a reservation."""
    if operation.name not in ("request_irq", "request_irq_disabled"):
        return None
    irqd = machine.irqs.descs[dict(operation.params)["irq"]].irq_data
    apicd = apic_chip_data(irqd)
    if not isinstance(apicd, ApicChipData) or not apicd.has_reserved or irqd.test(IRQD_ACTIVATED):
        return None
    online = for_each_cpu(machine.kernel.cpu_online_mask)
    return any(machine.matrix.maps[cpu].available > 0 for cpu in online)
