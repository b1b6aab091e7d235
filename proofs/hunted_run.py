# SPDX-License-Identifier: GPL-2.0-only
"""A machine of any platform under the laws of proofs.hunted_laws, operation by operation.

It needs no specification beside it. Besides the laws of one state there are those of operations:
one that fails leaves everything as it was, one that must succeed does, and some things are in order
while an operation goes on.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Final

from impl.drivers.iommu.amd_irte import MAX_IRQS_PER_TABLE
from impl.kernel.irq.irq import IRQD_ACTIVATED
from impl.kernel.kernel import KernelBug
from impl.machine import Machine
from impl.trace import Event, Trace
from proofs.counterexample import Counterexample, State, Step, Value
from proofs.driven import Operation
from proofs.hunted_laws import LAWS
from proofs.hunted_operations import HUNTED
from proofs.machine_copy import copied, revived
from proofs.monitor import Broken, Finding
from proofs.whole_kinds import Values
from proofs.whole_ledger import apart, ledger
from proofs.whole_machine import WholeMachine

__all__ = ["SENTENCES", "HuntedRun"]

SENTENCES: Final = {
    "KernelBug": "The machine does not stop.",
    "X-4": "An operation that fails leaves everything as it was.",
    "INT-10": "An allocation that fails leaves the table of its unit as it was.",
    "AMD-10": "An allocation that fails leaves the tables and their copies as they were.",
    "XEN-4": "What is mapped is what is in use, also after a refusal.",
    "PLT-5": "An allocation that fails leaves the devids and the irqs of the device as they were.",
    "IMS-4": "An allocation takes what it asks for if there is room, and else nothing.",
    "HVP-block": "A block of vectors is served where the host remaps.",
    "PLT-2": "The interrupts of platform devices have hwirqs of their own, so that all are served.",
    "PLT-6": "The private data of a device goes after its descriptors.",
    "XEN-teardown": "A descriptor whose irqs were torn down has no irq.",
    "XB-10": "The kernel does not touch the mask bits of a device that a hypervisor masks.",
    **{id: law.sentence for id, law in LAWS.items()},
}
"""What each property says, by its id."""

_MASK_WORD: Final = 12
"""Where the mask bit of an entry of an MSI-X table is."""


class HuntedRun:
    """One machine under the laws; a lenient one notes what is broken and goes on.

    `names` are the operations that are tried."""

    def __init__(
        self, kind: WholeMachine, names: tuple[str, ...], *, lenient: bool = False
    ) -> None:
        self.kind, self.names, self.lenient = kind, names, lenient
        self.noted: dict[str, Finding] = {}
        self.trace = Trace()
        self.trace.subscribe(self._event)
        self._running: Machine | None = None
        self.machine = self._running = kind.build(self.trace)

    @property
    def label(self) -> str:
        """The machine in words."""
        return str(self.kind)

    @property
    def switches(self) -> tuple[str, ...]:
        """The defects that are on, sorted."""
        return tuple(sorted(defect.value for defect in self.kind.defects))

    def able(self) -> list[Operation]:
        """What may be done now."""
        return [
            Operation(name, tuple(values.items()))
            for name in self.names
            for values in HUNTED[name].choices(self.kind, self.machine)
        ]

    def allows(self, operation: Operation) -> bool:
        """Whether this may be done now."""
        choices = HUNTED[operation.name].choices(self.kind, self.machine)
        return any(tuple(values.items()) == operation.params for values in choices)

    # --- what happens -----------------------------------------------------------------------

    def _note(self, id: str, what: str) -> None:
        finding = Finding(id, f"{SENTENCES[id]} Not so: {what}.")
        if not self.lenient:
            raise Broken(finding)
        self.noted.setdefault(id, finding)

    def _event(self, event: Event) -> None:
        machine = self._running
        if machine is None:
            return
        device = event.fields.get("device", -1)
        if event.name == "xen_teardown_msi_irqs":
            for dev in machine.pci_devs.values():
                if dev.id == device and any(desc.irq for desc in dev.msi_list):
                    self._note("XEN-teardown", f"device {dev.name}")
        elif event.name == "platform_msi_free_priv_data":
            for each in machine.platform_devices.values():
                if each.id == device and each.msi_list:
                    self._note("PLT-6", f"device {each.name}")
        elif _masks(event) and (machine.kernel.pci_msi_ignore_mask or _is_guest(machine)):
            self._note("XB-10", f"entry {event.fields['part']} of device {device}")

    def perform(self, operation: Operation) -> int:
        """Do it and judge what happens on the way; raises Broken."""
        what, values = HUNTED[operation.name], dict(operation.params)
        before, failing = _facts(self.machine), _disturbed(self.machine)
        expected = None if failing else _expected(self.kind, self.machine, operation.name, values)
        try:
            result = what.act(self.kind, self.machine, values)
        except KernelBug as bug:
            sentence = f"{SENTENCES['KernelBug']} Not so: {operation}: {bug}."
            raise Broken(Finding("KernelBug", sentence)) from bug
        if not what.prepares:
            self.machine.kernel.failures.clear()
        if expected is not None and (result >= 0) != expected[1]:
            self._note(expected[0], f"{operation} answers {result}")
        if result < 0:
            for id, facts in _facts(self.machine).items():
                lost = apart(before[id], facts)
                if lost:
                    self._note(id, f"{operation} answers {result} and changes {', '.join(lost)}")
        return result

    # --- what holds -------------------------------------------------------------------------

    def judge(self) -> None:
        """Every law on the state reached; raises Broken."""
        finding = self._false(frozenset())
        if finding is not None:
            raise Broken(finding)

    def finding(self, targets: frozenset[str] = frozenset()) -> Finding | None:
        """What is false now, or was noted in the last operation; with targets only those."""
        return self._false(targets) or self.noticed(targets)

    def noticed(self, targets: frozenset[str]) -> Finding | None:
        """What the last operation has broken."""
        noted = (f for id, f in self.noted.items() if not targets or id in targets)
        return next(noted, None)

    def _false(self, targets: frozenset[str]) -> Finding | None:
        for id, law in LAWS.items():
            if targets and id not in targets:
                continue
            places = tuple(law.broken(self.machine))
            if places:
                return Finding(id, f"{law.sentence} Not so: {'; '.join(places)}.")
        return None

    # --- moments ----------------------------------------------------------------------------

    def key(self) -> Hashable:
        """A digest of the whole machine. Where a machine keeps a set of objects, two moments may be
        told apart that are alike, which costs time but hides nothing."""
        return sha256(copied(self.machine)).digest()

    def save(self) -> bytes:
        """The moment, for `restore`."""
        return copied(self.machine)

    def restore(self, saved: bytes) -> None:
        """Back to a moment; what was noted since is forgotten."""
        self.machine = self._running = revived(saved, self.trace)
        self.noted.clear()

    def leaving(self) -> Iterator[Operation]:
        """A hunt takes nothing away in the end."""
        return iter(())

    def left(self, start: bytes) -> tuple[str, ...]:
        """So nothing is compared."""
        return ()

    def judged(self) -> tuple[str, ...]:
        """The ids of the laws."""
        return tuple(SENTENCES)

    def tell(
        self, operations: Sequence[Operation], finding: Finding, *, shortest: bool
    ) -> Counterexample:
        """The record of a new machine on which these operations are done; one that breaks off is
        shown as it is then."""
        run = HuntedRun(self.kind, self.names, lenient=True)
        initial = _state(run.machine)
        steps = []
        for operation in operations:
            with suppress(Broken):
                run.perform(operation)
            steps.append(Step(operation.name, operation.params, _state(run.machine)))
        return Counterexample(
            source="implementation",
            machine=self.label,
            switches=self.switches,
            initial=initial,
            steps=tuple(steps),
            violated=finding.violated,
            sentence=finding.sentence,
            formula=finding.formula,
            false_parts=(),
            shortest=shortest,
            sorts=_SORTS,
        )


# --- what an operation must answer, and must not change -------------------------------------


def _masks(event: Event) -> bool:
    """The mask bit of an entry of an MSI-X table is written."""
    return event.name == "writel" and event.fields["offset"] == _MASK_WORD


def _is_guest(machine: Machine) -> bool:
    xen = machine.xen
    return xen is not None and xen.pci.msi_ops is not None


def _disturbed(machine: Machine) -> bool:
    """Something will be refused."""
    hosts = any(hbus.host.failures for hbus in machine.hv_buses.values())
    answers = machine.xen is not None and bool(machine.xen.answers.pending)
    return bool(machine.kernel.failures) or hosts or answers


def _expected(
    kind: WholeMachine, machine: Machine, name: str, values: Values
) -> tuple[str, bool] | None:
    """Whether an operation must succeed, and the property that says so; None: nobody knows."""
    if not machine.matrix.global_available:
        return None
    if name == "platform_alloc":
        dev = machine.platform_devices[kind.description.platform_devices[values["sensor"]].name]
        return ("PLT-2", True) if values["nvec"] > 0 and not dev.msi_list else None
    if name == "ims_alloc":
        part = kind.description.ims[values["store"]]
        devs = machine.ims_drivers[part.name].subdevices
        own = devs[values["subdevice"]].msi_list
        used = sum(len(dev.msi_list) for dev in devs) if part.storage == "array" else len(own)
        room = 0 < values["nvec"] <= part.slots - used
        return "IMS-4", room and not own
    if name == "alloc_msi":
        part_of = kind.description.devices[values["device"]]
        offered = part_of.msi.vectors if part_of.msi is not None else 0
        if part_of.segment in machine.hv_buses and values["min"] <= offered:
            return "HVP-block", True
    return None


def _facts(machine: Machine) -> dict[str, dict[str, Hashable]]:
    """What a failure must leave as it was, by the property that says so."""
    domains = machine.domains
    facts: dict[str, dict[str, Hashable]] = {
        "X-4": {
            **ledger(machine),
            "domains": tuple(domain.name for domain in domains.irq_domain_list),
            "fwnodes": len(domains.fwnodes),
            "reservations": machine.matrix.global_reserved,
        },
        "INT-10": {},
        "AMD-10": {},
        "XEN-4": {},
        "PLT-5": {"devids": machine.platform_msi.devids},
        "IMS-4": {},
    }
    remapping = machine.remapping
    if remapping is not None:
        for iommu in remapping.intel.dmar.iommus:
            if iommu.ir_table is not None:
                facts["INT-10"][f"table of unit {iommu.fault_event.id}"] = iommu.table.bitmap
        facts["AMD-10"]["copies of entries"] = remapping.amd.nr_entry_copies
        facts["AMD-10"]["entries"] = _amd_entries(machine)
    if machine.xen is not None:
        facts["XEN-4"]["pirqs"] = tuple(sorted(machine.xen.hypervisor.pirqs))
    for sensor in machine.platform_devices.values():
        facts["PLT-5"][f"irqs of {sensor.name}"] = tuple(desc.irq for desc in sensor.msi_list)
    facts["PLT-5"]["numbers"] = machine.irqs.allocated_irqs
    for driver in machine.ims_drivers.values():
        for dev in driver.subdevices:
            facts["IMS-4"][f"irqs of {dev.name}"] = tuple(desc.irq for desc in dev.msi_list)
    return facts


def _amd_entries(machine: Machine) -> tuple[tuple[int, int], ...]:
    amd = machine.remapping.amd if machine.remapping is not None else None
    if amd is None or not amd.ivrs:
        return ()
    return tuple(
        (devid, slot)
        for devid, table in sorted(amd.irq_lookup_table.items())
        for slot in range(table.min_index, MAX_IRQS_PER_TABLE)
        if amd.format.is_allocated(table.table[slot])
    )


# --- what is shown --------------------------------------------------------------------------


def _state(machine: Machine) -> State:
    irqs = {(irq,): desc for irq, desc in machine.irqs.descs.items()}
    devices: dict[tuple[int, ...], Value] = {}
    served: dict[tuple[int, ...], Value] = {}
    for dev in machine.pci_devs.values():
        devices[dev.id,] = dev.msi_domain.name if dev.msi_domain is not None else None
        served[dev.id,] = tuple(
            desc.irq + k for desc in dev.msi_list for k in range(desc.nvec_used)
        )
    return {
        "device_domain": devices,
        "device_irqs": served,
        "irq_domain": {
            irq: desc.irq_data.domain.name if desc.irq_data.domain is not None else None
            for irq, desc in irqs.items()
        },
        "activated": {irq: desc.irq_data.test(IRQD_ACTIVATED) for irq, desc in irqs.items()},
        "handlers": {irq: desc.action for irq, desc in irqs.items()},
        "available": {(cpu,): row.available for cpu, row in enumerate(machine.matrix.maps)},
        "domains": {(): tuple(domain.name for domain in machine.domains.irq_domain_list)},
        "resources": {(): _resources(machine)},
        "to_fail": {(): ", ".join(machine.kernel.failures)},
    }


def _resources(machine: Machine) -> str:
    """What else is taken, in words."""
    facts = _facts(machine)
    parts = [
        f"{name}: {value}"
        for id in ("INT-10", "AMD-10", "XEN-4", "PLT-5", "IMS-4")
        for name, value in facts[id].items()
        if value and name != "numbers"
    ]
    return "; ".join(parts)


_SORTS: Final[dict[str, tuple[str, ...]]] = {
    "device_domain": ("Device", ""),
    "device_irqs": ("Device", ""),
    "irq_domain": ("Irq", ""),
    "activated": ("Irq", "Bool"),
    "handlers": ("Irq", "Int"),
    "available": ("Cpu", "Int"),
    "domains": ("",),
    "resources": ("",),
    "to_fail": ("",),
}
