# SPDX-License-Identifier: GPL-2.0-only
"""What operations keep to on machines of every platform: the laws of steps, not of states."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Final

from impl.drivers.pci.vmd_domain import VmdDev
from impl.drivers.xen.irq_info import IrqInfo
from impl.kernel.irq.irq import IrqDomain
from impl.machine import Machine
from impl.trace import Event
from proofs.driven import Operation
from proofs.platform_ledger import frame
from proofs.platform_xen_laws import bypassed

__all__ = ["STEP_SENTENCES", "Steps"]

STEP_SENTENCES: Final = {
    "SEL-4": "The domain of a device does not change while the device has interrupts.",
    "VMD-5": "What is done to a child of a VMD touches no vector and no remapping table.",
    "XB-6": "No native function runs for a device that Xen serves.",
    "XB-7": "What is done to a device that Xen serves touches nothing native.",
    "XEN-8": "What the hypervisor was once found not to know is not tried again.",
}
"""What each law says, by its id."""

_NATIVE: Final = frozenset({"irqdomain", "irq_vectors", "irq_matrix", "irte", "amd_irte"})
"""The systems whose events tell of native functions; none tells of descriptors, which all share."""


class Steps:
    """What is remembered of one machine while an operation runs; `found` is told an id and what is
    wrong."""

    def __init__(self, found: Callable[[str, str], None]) -> None:
        self._found = found
        self._frame: Mapping[str, Hashable] | None = None
        self._law = ""
        self._domains: dict[str, IrqDomain | None] = {}
        self._old = False

    def begin(self, machine: Machine, operation: Operation) -> None:
        """An operation is about to be done."""
        self._law = _serves(machine, operation)
        self._frame = frame(machine) if self._law else None
        self._domains = {
            name: dev.msi_domain
            for name, dev in machine.pci_devs.items()
            if dev.msi_enabled or dev.msix_enabled
        }
        self._old = machine.xen is not None and not machine.xen.pci.pci_seg_supported

    def event(self, event: Event) -> None:
        """An event of the operation."""
        if self._law == "XB-7" and event.system in _NATIVE:
            self._found("XB-6", f"{event.name} {event.fields}")

    def end(self, machine: Machine, operation: Operation) -> None:
        """It has been done."""
        if self._frame is not None:
            after = frame(machine)
            touched = [name for name, fact in after.items() if self._frame.get(name) != fact]
            if touched:
                self._found(self._law, f"{operation} touches {', '.join(touched)}")
        self._law, self._frame = "", None
        for name, domain in self._domains.items():
            dev = machine.pci_devs.get(name)
            enabled = dev is not None and (dev.msi_enabled or dev.msix_enabled)
            if dev is not None and enabled and dev.msi_domain is not domain:
                self._found("SEL-4", f"{operation} gives {name} another one")
        if self._old and machine.xen is not None and machine.xen.pci.pci_seg_supported:
            self._found("XEN-8", f"{operation} believes in segments again")


def _serves(machine: Machine, operation: Operation) -> str:
    """The law about the frame that an operation on one device or one irq is under, if any."""
    values = dict(operation.params)
    if operation.name in _OF_DEVICES:
        name = machine.description.devices[values["device"]].name
        dev = machine.pci_devs.get(name)
        if dev is None:
            return ""
        if bypassed(machine, dev):
            return "XB-7"
        return "VMD-5" if isinstance(dev.bus.sysdata, VmdDev) else ""
    desc = machine.irqs.descs.get(values.get("irq", -1))
    if desc is None or operation.name not in _OF_IRQS:
        return ""
    if isinstance(desc.irq_data.chip_data, IrqInfo):
        return "XB-7"
    return "VMD-5" if isinstance(desc.handler_data, VmdDev) else ""


_OF_DEVICES: Final = frozenset(
    {"alloc_msix", "alloc_msi", "alloc_any", "alloc_spread", "alloc_spread_but_one"}
    | {"free_vectors", "suspend", "resume"}
)
_OF_IRQS: Final = frozenset(
    {"request_irq", "request_irq_disabled", "enable_irq", "disable_irq", "free_irq"}
    | {"set_affinity", "isolate"}
)
