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

from impl.arch.x86.vector import apic_chip_data
from impl.drivers.pci.pci import pci_signal
from impl.kernel.cpumask import for_each_cpu
from impl.kernel.irq.irq import IRQD_ACTIVATED, IRQD_IRQ_STARTED, IrqDesc
from impl.kernel.irq.irqdomain import DomainBus
from impl.kernel.irq.msi import MsiDomainInfo
from impl.machine import Machine
from impl.trace import Event
from proofs.driven import Operation
from proofs.hierarchy_layer import levels
from proofs.monitor import Finding

__all__ = ["SENTENCES", "Laws"]

SENTENCES: Final = {
    "DOM-2": "All levels of an irq share its number and its common data.",
    "MSI-1": "A domain has every operation that an allocation calls.",
    "MSI-10": "Of an allocation by the MSI core a driver sees no error of the domains below.",
    "PCI-5": "Each repeated attempt asks for fewer vectors, so that there are few.",
    "INIT-1": "A platform's own PCI/MSI domain is the one that is created.",
    "INIT-2": "No PCI device is added before the default PCI/MSI domain is final.",
    "X-1": "Vectors are available, held back for managed irqs, or owned, and none is lost.",
    "X-2": "A reserved irq is activated exactly if a CPU has a vector left.",
    "X-3": "No two started irqs send the same message.",
    "X-6": "A message is composed at exactly one level of an irq.",
    "GEN-freed": "An irq that is freed is not activated.",
    "VEC-affinity": "A vector is taken outside of the affinity only if no CPU of it has one left.",
}
"""What each law says, by its id."""


class Laws:
    """The laws of one machine, which is set once it has booted; `found` is told what is broken."""

    def __init__(self, found: Callable[[Finding], None]) -> None:
        self._found = found
        self.machine: Machine | None = None
        self._attempts: Counter[int] = Counter()
        self._room: dict[int, int] = {}
        self._expected: bool | None = None
        self._default_domains = 0
        self._scanning = False

    # --- while an operation runs ------------------------------------------------------------

    def event(self, event: Event) -> None:
        """What one event says about the laws of operations."""
        handler = _HANDLERS.get(event.name)
        if handler is not None:
            handler(self, event)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all laws."""
        return tuple(SENTENCES)

    def begin(self, machine: Machine, operation: Operation, failing: bool) -> None:
        """An operation is about to be done; `failing`: memory will run out."""
        self._attempts.clear()
        self._room.clear()
        self._expected = None if failing else _can_activate(machine, operation)

    def end(self, machine: Machine, operation: Operation, result: int) -> None:
        """It has been done, with this result."""
        values = dict(operation.params)
        if "min" in values:
            most = 2 * (values["max"] - values["min"] + 1)
            if self._attempts[values["device"]] > most:
                self._break("PCI-5", f"{operation} takes more than {most} attempts")
        if self._expected is not None and (result == 0) != self._expected:
            self._break("X-2", f"{operation} answers {result}")

    def _break(self, id: str, what: str) -> None:
        self._found(Finding(id, f"{SENTENCES[id]} Not so: {what}"))

    def _attempted(self, event: Event) -> None:
        self._attempts[event.fields["device"]] += 1
        ret = event.fields["ret"]
        if ret in _HIDDEN:
            self._break("MSI-10", f"device {event.fields['device']} is answered {ret}")

    def _activating(self, event: Event) -> None:
        """Note which CPUs of the affinity have a vector left."""
        if self.machine is None:
            return
        irq, kernel = event.fields["irq"], self.machine.kernel
        mask = self.machine.irqs.descs[irq].common.affinity & kernel.cpu_online_mask
        maps = self.machine.matrix.maps
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
        for law in _OF_A_STATE:
            for id, what in law(machine):
                yield Finding(id, f"{SENTENCES[id]} Not so: {what}")


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


def _can_activate(machine: Machine, operation: Operation) -> bool | None:
    """Whether a request must succeed, if it is one of an irq that only has a reservation."""
    if operation.name not in ("request_irq", "request_irq_disabled"):
        return None
    irqd = machine.irqs.descs[dict(operation.params)["irq"]].irq_data
    apicd = apic_chip_data(irqd)
    if apicd is None or not apicd.has_reserved or irqd.test(IRQD_ACTIVATED):
        return None
    online = for_each_cpu(machine.kernel.cpu_online_mask)
    return any(machine.matrix.maps[cpu].available > 0 for cpu in online)


# --- laws of one state ----------------------------------------------------------------------

Broken = Iterator[tuple[str, str]]
"""Ids of laws that are false, and where."""


def _one_irq(machine: Machine) -> Broken:
    for irq, desc in machine.irqs.descs.items():
        for level in levels(desc.irq_data):
            if level.irq != irq or level.common is not desc.irq_data.common:
                yield "DOM-2", f"irq {irq}"


def _operations(machine: Machine) -> Broken:
    for domain in machine.domains.irq_domain_list:
        info = domain.host_data
        if not isinstance(info, MsiDomainInfo):
            continue
        ops = info.ops
        needed = [ops and ops.get_hwirq, ops and ops.msi_init]
        needed += [ops and ops.domain_alloc_irqs, ops and ops.domain_free_irqs]
        if domain.bus_token != DomainBus.ANY:
            needed += [ops and ops.set_desc, ops and ops.msi_check, ops and ops.msi_prepare]
        if None in needed:
            yield "MSI-1", f"domain {domain.name}"


def _conservation(machine: Machine) -> Broken:
    """Section 14.6, over the CPUs that are online now."""
    m = machine.matrix
    for cpu in for_each_cpu(machine.kernel.cpu_online_mask):
        cm = m.maps[cpu]
        regular = (cm.alloc_map & ~cm.managed_map).bit_count()
        free = m.alloc_size - m.systembits_inalloc
        if free != cm.available + cm.managed + regular:
            yield "X-1", f"CPU {cpu}"


def _reservations(machine: Machine) -> Broken:
    reserved = 0
    for desc in machine.irqs.descs.values():
        apicd = apic_chip_data(desc.irq_data)
        reserved += apicd is not None and apicd.has_reserved
    if machine.matrix.global_reserved != reserved:
        yield "X-2", f"{machine.matrix.global_reserved} reservations for {reserved} irqs"


def _messages(machine: Machine) -> Broken:
    """What the devices would send for irqs that are started."""
    sent: dict[object, int] = {}
    for dev in machine.pci_devs.values():
        for desc in dev.msi_list:
            for nr in range(desc.nvec_used):
                irq = machine.irqs.descs.get(desc.irq + nr)
                if irq is None or not irq.irq_data.test(IRQD_IRQ_STARTED):
                    continue
                message = pci_signal(dev, desc.msi_attrib.entry_nr + nr)
                other = sent.setdefault(message, irq.irq) if message is not None else irq.irq
                if other != irq.irq:
                    yield "X-3", f"irqs {other} and {irq.irq}"


def _composers(machine: Machine) -> Broken:
    for irq, desc in machine.irqs.descs.items():
        if not _sends_messages(desc):
            continue
        composing = [
            level
            for level in levels(desc.irq_data)
            if level.chip is not None and level.chip.irq_compose_msi_msg is not None
        ]
        if len(composing) != 1:
            yield "X-6", f"{len(composing)} chips of irq {irq} compose"


def _sends_messages(desc: IrqDesc) -> bool:
    chip = desc.irq_data.chip
    return chip is not None and chip.irq_write_msi_msg is not None


_OF_A_STATE: Final = (
    _one_irq,
    _operations,
    _conservation,
    _reservations,
    _messages,
    _composers,
)
