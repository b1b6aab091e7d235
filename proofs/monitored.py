# SPDX-License-Identifier: GPL-2.0-only
"""A machine that runs under the monitor, operation by operation.

This is the loop that every way of driving the implementation shares: the explorer, the random
tests, and the replay that confirms what they found.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from impl.kernel.kernel import KernelBug
from impl.snapshot import Snapshot
from impl.trace import Event, Trace
from proofs.canonical import canonical
from proofs.counterexample import Counterexample, Step
from proofs.describe import false_parts, sorts
from proofs.judge import Judge, friendly
from proofs.monitor import Broken, Finding, HazardEntered, Monitor
from proofs.small_machine import (
    OPERATIONS,
    Operation,
    SmallMachine,
    operations,
    perform,
    tests,
)
from spec.mathematics import plain
from spec.partial import Store
from spec.records import Model

__all__ = ["Run", "Saved", "replay_operations", "tell"]


@dataclass(frozen=True)
class Saved:
    """A moment between two operations, of the machine and of the specification beside it."""

    machine: Snapshot
    spec: Mapping[str, Store]


class Run:
    """One machine under one monitor; see `Monitor` for `lenient`.

    `switches` of the model are the hazards that the environment may enter."""

    def __init__(
        self,
        kind: SmallMachine,
        model: Model,
        judge: Judge | None = None,
        *,
        lenient: bool = False,
        names: tuple[str, ...] = tuple(OPERATIONS),
    ) -> None:
        self.kind, self.model, self.names = kind, model, names
        self._tried = dict(tests(kind, operations(kind, names)))
        trace = Trace()
        self.monitor = Monitor(model, kind.scope(), {"Irq": kind.numbers()}, judge, lenient=lenient)
        trace.subscribe(self.monitor.event)
        self.machine = kind.build(trace)
        self._early_irqs()
        self.seen = self.monitor.settle(self.machine)
        self.operations: list[Operation] = []
        for operation in kind.boot():
            self.perform(operation)

    def _early_irqs(self) -> None:
        """The descriptors of legacy irqs are there from boot on, and no event tells."""
        everywhere = (1 << self.kind.cpus) - 1
        for irq in range(self.kind.legacy):
            fields = {"irq": irq, "affinity": everywhere, "managed": 0}
            self.monitor.event(Event("irq", "irq_alloc_descs", 0, fields))

    @property
    def label(self) -> str:
        """The machine in words."""
        return str(self.kind)

    @property
    def switches(self) -> tuple[str, ...]:
        """The defects and hazards that are on, sorted."""
        return tuple(sorted({d.value for d in self.kind.defects} | self.model.switches))

    def able(self) -> list[Operation]:
        """The operations that drivers and the size of the scope allow now."""
        return [operation for operation, can in self._tried.items() if can(self.machine)]

    def allows(self, operation: Operation) -> bool:
        """Whether they allow this one."""
        return self._tried[operation](self.machine)

    def perform(self, operation: Operation) -> int:
        """Do one operation and hold its outcome to the specification; invariants are not judged.

        Raises Broken, or HazardEntered: then the machine is in the middle of the operation, and
        must be restored before it is used again."""
        self.operations.append(operation)
        before, hazard = self.seen, OPERATIONS[operation.name].hazard
        if hazard and hazard not in self.model.switches:
            raise HazardEntered(hazard)
        self.monitor.warned = False
        try:
            result = perform(self.kind, self.machine, operation)
        except KernelBug as bug:
            raise Broken(Finding("KernelBug", f"{operation}: {bug}")) from bug
        self.seen = self.monitor.settle(self.machine)
        if self.monitor.warned and not OPERATIONS[operation.name].may_warn:
            self.monitor.found(Finding("WARN", f"{operation} makes the kernel warn"))
        self._unchanged(operation, result, before)
        return result

    def judge(self) -> None:
        """Every invariant on the state reached; raises Broken."""
        self.monitor.check(self.seen)

    def finding(self, targets: frozenset[str] = frozenset()) -> Finding | None:
        """What is false now; see `replay_operations` for the order. With targets, hazards that are
        on excuse nothing."""
        false = self.monitor.violated(self.seen, all=bool(targets))
        if not targets & set(false) and (targets or self.monitor.finding or not false):
            return self.monitor.finding
        ordered = sorted(false, key=lambda id: id not in targets)
        first = self.model.invariant(ordered[0])
        return Finding(first.id, first.sentence, plain(first.formula), tuple(ordered[1:]))

    def save(self) -> Saved:
        """The moment, for `restore`."""
        return Saved(self.machine.snapshot(), self.seen)

    def restore(self, saved: Saved) -> None:
        """Back to a moment; the list of operations is not."""
        self.machine.restore(saved.machine)
        self.monitor.load(saved.spec)
        self.seen = dict(saved.spec)

    def noticed(self, targets: frozenset[str]) -> Finding | None:
        """Nothing: what is hunted here are states."""
        return None

    def key(self) -> Hashable:
        """The complete snapshot without what is stale, with what only the specification keeps."""
        own = canonical(self.machine.snapshot())
        return own, *(_frozen(self.seen[name]) for name in self.monitor.binding.spec_only)

    def leaving(self) -> Iterator[Operation]:
        """Free every interrupt, one after the other."""
        for irq in range(self.kind.irqs):
            for name in ("free_irq", "free_irqs"):
                operation = Operation(name, (("irq", irq),))
                if self.allows(operation):
                    yield operation

    def left(self, start: Saved) -> tuple[str, ...]:
        """In what the matrix differs from one on whose machine only the CPUs came and went: they
        are up as they are now, or were once, without any interrupt. Ends the run."""
        seen = self.seen
        self.restore(start)
        for name, wanted in (("cpu_up", "initialized"), ("cpu_down", "cpu_online")):
            for cpu in range(self.kind.cpus):
                if bool(seen[wanted].get(cpu)) != bool(self.seen[wanted].get(cpu)):
                    self.perform(Operation(name, (("cpu", cpu),)))
        return tuple(name for name in COMPARED if seen[name] != self.seen[name])

    def judged(self) -> tuple[str, ...]:
        """The ids of the invariants that `judge` looks at."""
        on, judge = self.model.switches, self.monitor.judge
        return tuple(i.id for i in judge.invariants if not on & set(i.unless))

    def tell(
        self, operations: Sequence[Operation], finding: Finding, *, shortest: bool
    ) -> Counterexample:
        """See the function of the same name."""
        judge = self.monitor.judge
        return tell(self.kind, self.model, operations, finding, shortest=shortest, judge=judge)

    def _unchanged(self, operation: Operation, result: int, before: Mapping[str, Store]) -> None:
        """VEC-19, VEC-20, MX-14: what fails leaves everything as it was, but for what the table
        of operations allows; a refused move leaves no more than the wish for it."""
        kind = OPERATIONS[operation.name]
        irq = dict(operation.params).get("irq")
        if result < 0:
            allowed = kind.may_change
        elif operation.name == "set_affinity" and _refused(irq, before, self.seen):
            allowed = ("pending",)
        else:
            return
        for name, store in self.seen.items():
            if store == before[name]:
                continue
            if name not in allowed or (
                name == "managed_map" and _sizes(store) != _sizes(before[name])
            ):
                id = "VEC-19" if operation.name.startswith("alloc") else "VEC-20"
                text = f"{operation} answers {result} and yet changes {name}"
                self.monitor.found(Finding(id, text))


COMPARED: Final = (
    "system_map",
    "alloc_map",
    "managed_map",
    "initialized",
    "online",
    "available",
    "allocated",
    "managed",
    "managed_allocated",
    "systembits_inalloc",
    "online_maps",
    "global_available",
    "global_reserved",
    "total_allocated",
)
"""What must be as after boot once everything is gone: the matrix. VECTOR_SHUTDOWN marks stay."""


def _frozen(store: Store) -> frozenset[object]:
    return frozenset(
        (key, frozenset(value.items()) if isinstance(value, dict) else value)
        for key, value in store.items()
    )


def _refused(irq: int | None, before: Mapping[str, Store], after: Mapping[str, Store]) -> bool:
    """The chip of an active irq was busy, or not asked: the change is pending."""
    return bool(before["activated"].get(irq)) and bool(after["pending"].get(irq))


def _sizes(table: Store) -> dict[object, int]:
    return {key: len(row) for key, row in table.items() if len(row) > 1}


# --- counterexamples ------------------------------------------------------------------------


def replay_operations(
    kind: SmallMachine,
    operations: Sequence[Operation],
    model: Model,
    *,
    targets: Iterable[str] = (),
    judge: Judge | None = None,
) -> Finding | None:
    """Do the operations on a new machine and say what is false then; None if nothing is.

    First come those of the `targets` that are false where the run ends, then what the monitor noted
    on the way, then, without targets, any other invariant. Boot is not among the operations. Raises
    ValueError if an earlier operation than the last breaks off in a BUG."""
    run = Run(kind, model, judge, lenient=True)
    for place, operation in enumerate(operations):
        try:
            run.perform(operation)
        except Broken as error:
            if place < len(operations) - 1:
                raise ValueError(f"{operation}: {error}") from error
            return error.finding
    return run.finding(frozenset(targets))


def tell(
    kind: SmallMachine,
    model: Model,
    operations: Sequence[Operation],
    finding: Finding,
    *,
    shortest: bool,
    judge: Judge | None = None,
) -> Counterexample:
    """The record of a run of the implementation at whose end this was found: the run is done once
    more, for the states on the way. One of a BUG ends with the state it left behind."""
    run = Run(kind, model, judge, lenient=True)
    states = [run.seen]
    for operation in operations:
        try:
            run.perform(operation)
        except Broken:
            run.seen = run.monitor.seen(run.machine)
        states.append(run.seen)
    initial, *later = (friendly(model, kind.scope(), state) for state in states)
    steps = (Step(o.name, o.params, state) for o, state in zip(operations, later, strict=True))
    switches = {d.value for d in kind.defects} | model.switches
    return Counterexample(
        source="implementation",
        machine=str(kind),
        switches=tuple(sorted(switches)),
        initial=initial,
        steps=tuple(steps),
        violated=finding.violated,
        sentence=finding.sentence,
        formula=finding.formula,
        false_parts=_false_parts(model, kind, finding, run.seen),
        shortest=shortest,
        note=f"also false: {', '.join(finding.also)}" if finding.also else "",
        sorts=_sorts(model, operations),
    )


def _false_parts(
    model: Model, kind: SmallMachine, finding: Finding, seen: Mapping[str, Store]
) -> tuple[str, ...]:
    """The parts of the invariant that fell; none if it was no invariant."""
    scope = kind.scope()
    sizes = {sort: scope.size(sort.name) for sort in model.sorts}
    state: Any = friendly(model, scope, seen)
    formulas = [i.formula for i in model.invariants if i.id == finding.violated]
    return tuple(part for formula in formulas for part in false_parts(formula, state, sizes))


_SORTS: Final[Mapping[str, str]] = {
    "irq": "Irq",
    "cpu": "Cpu",
    "vector": "Vector",
    "mask": "CpuMask",
    "other": "CpuMask",
}


def _sorts(model: Model, operations: Sequence[Operation]) -> dict[str, tuple[str, ...]]:
    names = sorts(model, ())
    for operation in operations:
        for param, _ in operation.params:
            if param in _SORTS:
                names[f"{operation.name}.{param}"] = (_SORTS[param],)
    return names
