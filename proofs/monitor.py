# SPDX-License-Identifier: GPL-2.0-only
"""The refinement monitor: each event of a running implementation is an action of the spec.

The monitor holds a complete state of the specification and follows the events of a machine's trace
on it: the action's guard must hold before, what it writes is the state after, and the numbers that
the event prints must be those of the state. Between operations the machine's own state must be the
specification's, nothing may be half done, and every invariant must hold.

What is not judged: a step that leaves what the environment promises (an assumption of an action, a
hazard's own event) raises HazardEntered, unless the model has that hazard on. The driver then takes
the operation back.

A lenient monitor notes the first finding and follows on as well as it can: to see which invariant
falls after an implementation has left the specification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from impl.trace import Event
from proofs import choice
from proofs.events import Printed, Reading
from proofs.judge import Judge
from proofs.layers import Binding, Names, translated
from proofs.vector_layer import VECTORS
from spec.compiled import Compiler
from spec.mathematics import plain
from spec.partial import ANY, UNKNOWN, PartialState, Store
from spec.records import Action, Model
from spec.scope import Scope
from spec.terms import TRUE, Term, conjuncts, value_of
from spec.writing import writer

__all__ = ["Broken", "Finding", "HazardEntered", "Monitor"]

_SIGN = 1 << 31


@dataclass(frozen=True, slots=True)
class Finding:
    """What was false: an invariant's id, "MX-12", or "refinement"; in words; as mathematics."""

    violated: str
    sentence: str
    formula: str = ""
    also: tuple[str, ...] = ()
    """Other invariants that are false in the same state."""


class Broken(Exception):
    """The implementation does something that the specification does not allow."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.violated}: {finding.sentence}")
        self.finding = finding


class HazardEntered(Exception):
    """The environment has broken a promise, so that nothing is claimed from here on."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Step:
    """An action compiled for one state."""

    def __init__(self, action: Action, compiler: Compiler) -> None:
        self.action = action
        names = tuple(action.params)
        self.guard = conjuncts(action.guard)
        self.refused = _first_false(self.guard, names, compiler)
        assumed = [a.condition for a in action.assumptions]
        self.unsafe = _first_false(assumed, names, compiler)
        self.write: Callable[..., None] = writer(action, compiler, names)


def _first_false(
    terms: Sequence[Term], names: tuple[str, ...], compiler: Compiler
) -> Callable[..., int]:
    return compiler.first_not_true(terms, names) if terms else lambda *values: -1


class Monitor:
    """Follows one layer of one machine, through its binding; `names` pairs the machine's numbers
    with the elements of the scope. Where the meaning of an event depends on what this layer does
    not know, `below` is asked, which says what another holds before the event."""

    def __init__(
        self,
        model: Model,
        scope: Scope,
        names: Names,
        judge: Judge | None = None,
        *,
        binding: Binding = VECTORS,
        lenient: bool = False,
    ) -> None:
        self.model, self.scope, self.names, self.lenient = model, scope, names, lenient
        self.binding = binding
        self.judge = judge or Judge(model, scope)
        self.state = _begin(model, scope)
        self.events = 0
        self.finding: Finding | None = None
        self.warned = False
        ghosts = frozenset(n for n, f in model.fields.items() if f.ghost)
        extents = {sort: range(scope.size(sort.name)) for sort in model.sorts}
        self._compiler = Compiler(self.state, ghosts, extents)
        self._choices = choice.Choices(model, self._compiler) if binding.chooses else None
        self._readings = binding.readings(model)
        self.below: Callable[..., Any] | None = None
        self._steps: dict[str, _Step] = {}
        self._searched: int | None = None
        start = self.state.copy()
        self._rest = {n: start[n] for n, f in model.fields.items() if f.transient}

    # --- events -----------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        """Follow one event; a subscriber of a trace. Raises Broken and HazardEntered."""
        name, binding = event.name, self.binding
        if binding.systems is not None and event.system not in binding.systems:
            return
        self.events += 1
        hazard = binding.hazards.get(name)
        if hazard is not None and hazard not in self.model.switches:
            self._hazard(hazard)
        fields = translated(binding, self.names, event.fields)
        if name in binding.searches:
            self._searched = fields["mask"]
        elif name == "WARN":
            self.warned = True
        else:
            self._check_choice(name, fields)
            for reading in self._readings(name, fields, self._peek):
                self._follow(name, fields, event.cpu, reading)

    def _peek(self, name: str, *index: Any) -> Any:
        """What this layer holds, or else the one below."""
        if name in self.model.fields:
            return self.state.get(name, *index)
        return UNKNOWN if self.below is None else self.below(name, *index)

    def _check_choice(self, name: str, fields: Mapping[str, int]) -> None:
        if self._choices is None:
            return
        rule = self._choices.broken(name, fields, self._searched)
        if rule is not TRUE:
            self.found(Finding("MX-12", choice.sentence(rule, self._searched), plain(rule)))
        if name.startswith("vector_alloc"):
            self._searched = None

    def _follow(self, event: str, fields: Mapping[str, int], cpu: int, reading: Reading) -> None:
        if reading.action not in self.model.actions:
            self.found(Finding("refinement", f"{event}: there is no action {reading.action}"))
            return
        step = self._step(reading.action)
        get = self.state.get
        values = [reading.parameters[name](fields, cpu, get) for name in step.action.params]
        names = dict(zip(step.action.params, values, strict=True))
        self._check_printed(event, fields, reading.before, names)
        place = step.unsafe(*values)
        if place >= 0:
            self._hazard(step.action.assumptions[place].switch)
        place = step.refused(*values)
        if place >= 0:
            self._refused(event, fields, step, step.guard[place])
        step.write(*values)
        self._check_printed(event, fields, reading.after, names)

    def _step(self, action: str) -> _Step:
        step = self._steps.get(action)
        if step is None:
            step = self._steps[action] = _Step(self.model.actions[action], self._compiler)
        return step

    def _check_printed(
        self,
        event: str,
        fields: Mapping[str, int],
        printed: tuple[Printed, ...],
        names: Mapping[str, Any],
    ) -> None:
        for p in printed:
            cell = self.state.get(p.field, *(names[i] for i in p.index))
            number = fields[p.name]
            if int(cell) != (number if number < _SIGN else number - 2 * _SIGN):
                text = f"{event} prints {p.name}={number} where {p.field} is {int(cell)}"
                self.found(Finding("refinement", f"{text} ({p.invariant})"))

    def _hazard(self, name: str) -> None:
        # Once the implementation has left the specification, nobody is held to promises.
        if self.finding is None:
            raise HazardEntered(name)

    def _refused(self, event: str, fields: Mapping[str, int], step: _Step, conjunct: Term) -> None:
        shown = " ".join(f"{k}={v}" for k, v in fields.items())
        text = f"{event} {shown}: {step.action.name} needs {plain(conjunct)}"
        self.found(Finding("refinement", text, plain(conjunct)))

    def found(self, finding: Finding) -> None:
        """Note a finding; raises it as Broken unless the monitor is lenient."""
        if not self.lenient:
            raise Broken(finding)
        self.finding = self.finding or finding

    # --- between operations -----------------------------------------------------------------

    def settle(self, machine: Any) -> dict[str, Store]:
        """An operation has ended: the machine's state must be the specification's.

        Answers that state, with the fields that only the specification keeps. Raises Broken."""
        seen = self.seen(machine)
        for field, member in self.binding.dropped.items():
            owed = self.state.stores[field]
            for element in [e for e, left in owed.items() if left == member]:
                del owed[element]  # nobody tries again after the operation
        for name, store in (seen | self._rest).items():
            if self.state.stores[name] != store and _pruned(self.state.stores[name]) != store:
                text = _difference(name, self.state.stores[name], store)
                self.found(Finding("refinement", text))
                break
        self._searched = None
        return seen

    def seen(self, machine: Any) -> dict[str, Store]:
        """The machine's state, with what only the specification keeps from the monitor's."""
        seen = self.binding.abstraction(machine, self.names)
        for name in self.binding.spec_only:
            seen[name] = _pruned(self.state.stores[name])
        return seen

    def check(self, seen: Mapping[str, Store]) -> None:
        """Every invariant on a state, but those that a hazard which is on breaks."""
        false = self.violated(seen)
        if false:
            first = self.model.invariant(false[0])
            raise Broken(Finding(first.id, first.sentence, plain(first.formula), false[1:]))

    def violated(self, seen: Mapping[str, Store], all: bool = False) -> tuple[str, ...]:
        """The ids of the invariants that are false; with `all`, whatever hazards are on."""
        return tuple(
            id
            for id in self.judge.violated(seen)
            if all or not self.model.switches & set(self.model.invariant(id).unless)
        )

    # --- snapshots --------------------------------------------------------------------------

    def load(self, seen: Mapping[str, Store]) -> None:
        """Be in a state at rest that `settle` answered; it is not changed."""
        stores = self.state.stores
        for name, store in (*seen.items(), *self._rest.items()):
            live = stores[name]
            if live != store:  # comparing costs less than copying, and most fields are the same
                live.clear()
                live.update(_copy(store))
        self.finding, self.warned, self._searched = None, False, None


def _copy(store: Store) -> Store:
    return {k: dict(v) if isinstance(v, dict) else v for k, v in store.items()}


def _pruned(store: Store) -> Store:
    """The same cells without entries that say what all the others do."""
    rest = store[ANY]
    if isinstance(rest, dict):
        rows = {k: _pruned(row) for k, row in store.items()}
        return {k: row for k, row in rows.items() if k is ANY or row != rows[ANY]}
    return {k: v for k, v in store.items() if k is ANY or v != rest}


def _begin(model: Model, scope: Scope) -> PartialState:
    """The initial state, in full."""
    state = PartialState(model.fields)
    for name, f in model.fields.items():
        state.fill(name, value_of(f.initial))
        for index, value in scope.rigid.get(name, {}).items() if f.rigid else ():
            state.put(name, index or (ANY,), value) if index else state.fill(name, value)
    return state


def _difference(name: str, wanted: Store, found: Store) -> str:
    def cells(store: Store) -> dict[Any, Any]:
        flat: dict[Any, Any] = {}
        for key, value in store.items():
            if isinstance(value, dict):
                flat |= {(key, k): v for k, v in value.items() if k is not ANY}
            else:
                flat[key] = value
        return flat

    a, b = cells(wanted), cells(found)
    apart = sorted((k for k in a.keys() | b.keys() if a.get(k) != b.get(k)), key=str)
    parts = [
        f"{name}{'' if k is ANY else list(k) if isinstance(k, tuple) else [k]}: "
        f"{a.get(k, 'initial')} in the specification, {b.get(k, 'initial')} in the implementation"
        for k in apart
    ]
    return "; ".join(parts) or name
