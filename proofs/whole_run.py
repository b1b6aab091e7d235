# SPDX-License-Identifier: GPL-2.0-only
"""A whole machine that runs under the monitors of every layer, operation by operation.

Beside the machine stands one state of the specification for each layer; every event of the machine
is followed in each layer that knows it. Between two operations the machine's state must be that of
each layer, every invariant must hold, and so must the laws that speak of several states or of what
no layer knows (`proofs.whole_laws`). An operation that fails must leave everything as it was (X-4).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from impl.kernel.kernel import KernelBug
from impl.trace import Event, Trace
from proofs.counterexample import Counterexample
from proofs.driven import Operation
from proofs.judge import Judge
from proofs.layers import Names
from proofs.machine_copy import copied, revived
from proofs.machine_tasks import SENTENCES
from proofs.monitor import Broken, Finding, HazardEntered, Monitor
from proofs.monitored import COMPARED
from proofs.platform_laws import concerns
from proofs.platform_operations import expected_refusal, forget_refusals
from proofs.whole_laws import Laws
from proofs.whole_layers import binding_of, scope_of
from proofs.whole_ledger import PER_IRQ, apart, ledger, residue
from proofs.whole_machine import WholeMachine
from proofs.whole_operations import OPERATIONS
from proofs.whole_telling import Teller
from spec.mathematics import plain
from spec.partial import Store
from spec.records import Model
from spec.stack import MODELS

__all__ = ["Moment", "Seen", "WholeRun"]

Seen = Mapping[str, Mapping[str, Store]]
"""The state of each layer, by the layer's name."""


@dataclass(frozen=True)
class Moment:
    """A moment between two operations: of the machine, and of the specification beside it."""

    machine: bytes
    seen: Seen
    names: Names


class WholeRun:
    """One machine under the monitors of `layers`, by default all that can follow it; a lenient one
    notes what is broken and goes on.

    `hazards` is what the environment may enter, `names` the operations that are tried."""

    def __init__(
        self,
        kind: WholeMachine,
        *,
        layers: Sequence[str] | None = None,
        hazards: frozenset[str] = frozenset(),
        lenient: bool = False,
        names: tuple[str, ...] = tuple(OPERATIONS),
    ) -> None:
        self.kind, self.hazards, self.lenient = kind, hazards, lenient
        self.names = tuple(name for name in names if name not in kind.never)
        self.layers = kind.layers if layers is None else tuple(layers)
        self.numbers = kind.names()
        self.monitors = {
            layer: _monitor(kind, layer, self.numbers, hazards, lenient) for layer in self.layers
        }
        for layer, monitor in self.monitors.items():
            if layer != "vectors" and "vectors" in self.monitors:
                monitor.below = self.monitors["vectors"].state.get
        self.noted: dict[str, Finding] = {}
        self.struck = False
        """Whether memory did run out in the last operation."""
        self.laws = Laws(self._note)
        self.trace = Trace()
        self.trace.subscribe(self._event)
        self.machine = kind.build(self.trace)
        self.laws.machine = self.machine
        self.seen = self._settle()

    # --- what happens -----------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        # The innermost layer comes last: the others ask what it holds before the event.
        for monitor in reversed(self.monitors.values()):
            monitor.event(event)
        self.laws.event(event)
        if event.name == "free_msi_entry" and "Desc" in self.numbers:
            self.numbers["Desc"].pop(event.fields["desc"], None)
        elif event.name == "init_IRQ":
            self._early_irqs()

    def _early_irqs(self) -> None:
        """The descriptors of legacy irqs are there from boot on, and no event tells."""
        everywhere = (1 << len(self.kind.description.nodes)) - 1
        for irq in range(self.kind.description.legacy_irqs):
            fields = {"irq": irq, "affinity": everywhere, "managed": 0}
            self._event(Event("irq", "irq_alloc_descs", 0, fields))

    def _note(self, finding: Finding) -> None:
        if not self.lenient:
            raise Broken(finding)
        self.noted.setdefault(finding.violated, finding)

    @property
    def label(self) -> str:
        """The machine in words."""
        return str(self.kind)

    @property
    def switches(self) -> tuple[str, ...]:
        """The defects and hazards that are on, sorted."""
        return tuple(sorted({d.value for d in self.kind.defects} | self.hazards))

    def able(self) -> list[Operation]:
        """What a driver that keeps its contract may do now."""
        return [
            Operation(name, tuple(values.items()))
            for name in self.names
            for values in OPERATIONS[name].choices(self.kind, self.machine)
        ]

    def allows(self, operation: Operation) -> bool:
        """Whether it may do this."""
        choices = OPERATIONS[operation.name].choices(self.kind, self.machine)
        return any(tuple(values.items()) == operation.params for values in choices)

    def perform(self, operation: Operation) -> int:
        """Do one operation and hold its outcome to the specification; invariants are not judged.

        Raises Broken, or HazardEntered: then the machine must be restored before it is used again.
        """
        what, before, book = OPERATIONS[operation.name], self.seen, ledger(self.machine)
        failing = expected_refusal(self.machine)
        for monitor in self.monitors.values():
            monitor.warned = False
        self.laws.begin(self.machine, operation, failing)
        try:
            result = what.act(self.kind, self.machine, dict(operation.params))
        except KernelBug as bug:
            raise Broken(Finding("KernelBug", f"{operation}: {bug}")) from bug
        self.struck = failing and not expected_refusal(self.machine)
        if not what.prepares:
            forget_refusals(self.machine)
        self.seen = self._settle()
        warned = any(monitor.warned for monitor in self.monitors.values())
        if warned and not (what.may_warn or failing):
            self._note(Finding("WARN", f"{operation} makes the kernel warn"))
        self.laws.end(self.machine, operation, result)
        if result < 0 and not what.compound:
            self._unchanged(operation, result, before, apart(book, ledger(self.machine)))
        return result

    def _settle(self) -> Seen:
        return {layer: monitor.settle(self.machine) for layer, monitor in self.monitors.items()}

    def _unchanged(
        self, operation: Operation, result: int, before: Seen, lost: tuple[str, ...]
    ) -> None:
        """X-4: but for the choice of managed bits (MX-14), marks of vectors that were given back,
        what a driver of a device that is not enabled cannot see, and domains made on the way."""
        text = f"{operation} answers {result}"
        if lost:
            self._note(Finding("X-4", f"{text} and yet changes: {', '.join(lost)}"))
        for layer, stores in self.seen.items():
            for name, store in stores.items():
                if store == before[layer][name] or name in _MAY_CHANGE:
                    continue
                if OPERATIONS[operation.name].creates and name in _OF_DOMAINS:
                    continue
                if name == "managed_map" and _sizes(store) == _sizes(before[layer][name]):
                    continue
                self._note(Finding("X-4", f"{text} and yet changes {name} ({layer})"))

    # --- what holds -------------------------------------------------------------------------

    def judge(self) -> None:
        """Every invariant and every law on the state reached; raises Broken."""
        finding = self._false(frozenset())
        if finding is not None:
            raise Broken(finding)

    def finding(self, targets: frozenset[str] = frozenset()) -> Finding | None:
        """What is false now, or was noted in the last operation; with targets only those."""
        found = self._false(targets) or self.noticed(targets)
        if found is None and not targets:
            left = [m.finding for m in self.monitors.values() if m.finding is not None]
            found = next(iter(left), None)
        return found

    def noticed(self, targets: frozenset[str]) -> Finding | None:
        """What the last operation has broken of the laws of operations."""
        noted = [f for id, f in self.noted.items() if not targets or id in targets]
        return next(iter(noted), None)

    def _false(self, targets: frozenset[str]) -> Finding | None:
        false: dict[str, Finding] = {}
        for layer, monitor in self.monitors.items():
            for id in monitor.violated(self.seen[layer], all=bool(targets)):
                invariant = monitor.model.invariant(id)
                false.setdefault(id, Finding(id, invariant.sentence, plain(invariant.formula)))
        for finding in self.laws.broken(self.machine):
            false.setdefault(finding.violated, finding)
        chosen = [id for id in false if not targets or id in targets]
        if not chosen:
            return None
        first = false[chosen[0]]
        also = tuple(id for id in false if id != first.violated)
        return Finding(first.violated, first.sentence, first.formula, also)

    def judged(self) -> tuple[str, ...]:
        """The ids of the invariants and laws that `judge` looks at."""
        ids = [
            i.id
            for monitor in self.monitors.values()
            for i in monitor.judge.invariants
            if not self.hazards & set(i.unless)
        ]
        laws = (id for id in SENTENCES if concerns(self.kind.description, id))
        return tuple(dict.fromkeys((*ids, *laws)))

    # --- moments ----------------------------------------------------------------------------

    def key(self) -> Hashable:
        """The abstraction of the state in every layer, with handlers and registers."""
        layers = tuple(
            (name, _frozen(store)) for seen in self.seen.values() for name, store in seen.items()
        )
        return layers, residue(self.machine)

    def save(self) -> Moment:
        """The moment, for `restore`."""
        names = {sort: dict(naming) for sort, naming in self.numbers.items()}
        return Moment(copied(self.machine), self.seen, names)

    def restore(self, saved: Moment) -> None:
        """Back to a moment; what was noted since is forgotten."""
        self.machine = self.laws.machine = revived(saved.machine, self.trace)
        self.seen = saved.seen
        for layer, monitor in self.monitors.items():
            monitor.load(saved.seen[layer])
        for sort, naming in self.numbers.items():
            naming.clear()
            naming.update(saved.names[sort])
        self.noted.clear()

    # --- everything goes --------------------------------------------------------------------

    def leaving(self) -> Iterator[Operation]:
        """Take away handlers, then vectors and interrupts, and bring sleeping devices back."""
        for name in _LEAVING:
            while True:
                values = next(iter(OPERATIONS[name].choices(self.kind, self.machine)), None)
                if values is None:
                    break
                yield Operation(name, tuple(values.items()))

    def left(self, start: Moment) -> tuple[str, ...]:
        """In what the machine differs from one on which only CPUs came and went. Ends the run."""
        book, seen = ledger(self.machine), self.seen
        online, vectors = self.machine.kernel.cpu_online_mask, seen.get("vectors")
        self.restore(start)
        for operation in self.leaving():
            self.perform(operation)
        for cpu in range(len(self.kind.description.nodes)):
            if vectors is not None and vectors["initialized"].get(cpu):
                self._bring(cpu, up=True)
            self._bring(cpu, up=bool(online >> cpu & 1))
        lost = [] if vectors is None else self._apart_from(vectors)
        # The irqs of the PIC stay, and keep what somebody asked of them.
        return (*lost, *(name for name in apart(ledger(self.machine), book) if name != PER_IRQ))

    def _bring(self, cpu: int, *, up: bool) -> None:
        if self.machine.kernel.cpu_online(cpu) != up:
            self.perform(Operation("cpu_up" if up else "cpu_down", (("cpu", cpu),)))

    def _apart_from(self, vectors: Mapping[str, Store]) -> list[str]:
        idle = self.seen["vectors"]
        return [name for name in COMPARED if vectors[name] != idle[name]]

    def tell(
        self, operations: Sequence[Operation], finding: Finding, *, shortest: bool
    ) -> Counterexample:
        """The record of a new machine on which these operations are done; one that breaks off is
        shown as it is then."""
        run = WholeRun(self.kind, layers=self.layers, hazards=self.hazards, lenient=True)
        states = [run.seen]
        for operation in operations:
            try:
                run.perform(operation)
            except (Broken, HazardEntered):
                run.seen = run.abandoned()
            states.append(run.seen)
        models = {layer: monitor.model for layer, monitor in run.monitors.items()}
        scopes = {layer: monitor.scope for layer, monitor in run.monitors.items()}
        teller = Teller(models, scopes, self.label, self.switches)
        return teller.tell(states, operations, finding, shortest=shortest)

    def abandoned(self) -> Seen:
        """The state of a machine that broke off in the middle of an operation."""
        return {layer: monitor.seen(self.machine) for layer, monitor in self.monitors.items()}


_MAY_CHANGE: Final = frozenset({"shutdown_mark", "registers_lost", "msix_bit"})
"""VECTOR_SHUTDOWN is left where a vector was given back; and an attempt writes to the device."""

_OF_DOMAINS: Final = frozenset({"live", "parent", "above", "newer", "hierarchical", "bus_token"})
"""What says that a domain exists."""

_LEAVING: Final = (
    "free_irq",
    "resume",
    "ims_free",
    "ims_remove",
    "platform_free",
    "free_vectors",
    "vmd_remove",
    "disable_device",
    "remove_functions",
    "unregister_gsi",
    "hpet_free_irq",
    "dmar_free_hwirq",
    "uv_teardown_irq",
    "hv_pci_remove",
    "insert_unit",
    "add_device",
)


def _sizes(table: Store) -> dict[object, int]:
    return {key: len(row) for key, row in table.items() if len(row) > 1}


def _frozen(store: Store) -> frozenset[object]:
    return frozenset(
        (key, frozenset(value.items()) if isinstance(value, dict) else value)
        for key, value in store.items()
    )


_MODELS: Final[dict[tuple[str, frozenset[str]], Model]] = {}
_JUDGES: Final[dict[tuple[int, str], Judge]] = {}


def _monitor(
    kind: WholeMachine, layer: str, names: Names, hazards: frozenset[str], lenient: bool
) -> Monitor:
    """A monitor of a layer; the model, and the judge of a scope, are made once."""
    binding = binding_of(kind, layer)
    key = (layer, hazards)
    model = _MODELS.get(key) or _MODELS.setdefault(key, MODELS[layer].build(hazards))
    scope = scope_of(kind, layer, model)
    place = (id(model), repr((scope.sizes, scope.rigid)))
    judge = _JUDGES.get(place) or _JUDGES.setdefault(place, Judge(model, scope))
    return Monitor(model, scope, names, judge, binding=binding, lenient=lenient)
