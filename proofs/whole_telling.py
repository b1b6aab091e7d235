# SPDX-License-Identifier: GPL-2.0-only
"""Runs of a whole machine as counterexamples: the states of all layers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proofs.counterexample import Counterexample, State, Step, Value
from proofs.describe import false_parts, sorts
from proofs.driven import Operation
from proofs.judge import friendly
from proofs.monitor import Finding
from spec.partial import Store
from spec.records import Field, Model
from spec.scope import Scope

__all__ = ["Teller"]


@dataclass(frozen=True)
class Teller:
    """What is known of a machine, for its records: the models and scopes by the layers' names."""

    models: Mapping[str, Model]
    scopes: Mapping[str, Scope]
    machine: str
    switches: tuple[str, ...]

    def tell(
        self,
        states: Sequence[Mapping[str, Mapping[str, Store]]],
        operations: Sequence[Operation],
        finding: Finding,
        *,
        shortest: bool,
    ) -> Counterexample:
        """The record of a run: its states, one more than operations, and what is found at its
        end."""
        initial, *later = map(self._state, states)
        steps = (Step(o.name, o.params, state) for o, state in zip(operations, later, strict=True))
        return Counterexample(
            source="implementation",
            machine=self.machine,
            switches=self.switches,
            initial=initial,
            steps=tuple(steps),
            violated=finding.violated,
            sentence=finding.sentence,
            formula=finding.formula,
            false_parts=self._false_parts(finding, states[-1]),
            shortest=shortest,
            note=f"also false: {', '.join(finding.also)}" if finding.also else "",
            sorts=self._sorts(operations),
        )

    def _names(self) -> dict[tuple[str, str], str]:
        """What each field of each layer is called. Fields of one name say the same in all layers,
        and are shown once; where their arguments or values differ, the name of the layer helps."""
        first: dict[str, Field] = {}
        names: dict[tuple[str, str], str] = {}
        for layer, model in self.models.items():
            for name, field in model.fields.items():
                other = first.setdefault(name, field)
                same = (other.args, other.type) == (field.args, field.type)
                if not field.ghost:
                    names[layer, name] = name if same else f"{layer}.{name}"
        return names

    def _state(self, seen: Mapping[str, Mapping[str, Store]]) -> State:
        names = self._names()
        state: dict[str, Mapping[tuple[int, ...], Value]] = {}
        for layer, model in self.models.items():
            for name, cells in friendly(model, self.scopes[layer], seen[layer]).items():
                state.setdefault(names[layer, name], cells)
        return state

    def _false_parts(
        self, finding: Finding, seen: Mapping[str, Mapping[str, Store]]
    ) -> tuple[str, ...]:
        """The parts of the invariant that fell, in the layer that has it; none of a law."""
        for layer, model in self.models.items():
            formulas = [i.formula for i in model.invariants if i.id == finding.violated]
            sizes = {sort: self.scopes[layer].size(sort.name) for sort in model.sorts}
            state: Any = friendly(model, self.scopes[layer], seen[layer])
            parts = tuple(p for f in formulas for p in false_parts(f, state, sizes))
            if parts:
                return parts
        return ()

    def _sorts(self, operations: Sequence[Operation]) -> dict[str, tuple[str, ...]]:
        table: dict[str, tuple[str, ...]] = {}
        names = self._names()
        for layer, model in self.models.items():
            for name, of in sorts(model, ()).items():
                if (layer, name) in names:
                    table.setdefault(names[layer, name], of)
        for operation in operations:
            for param, _ in operation.params:
                if param in _SORTS:
                    table[f"{operation.name}.{param}"] = (_SORTS[param],)
        return table


_SORTS: Final[Mapping[str, str]] = {
    "irq": "Irq",
    "cpu": "Cpu",
    "mask": "CpuMask",
    "device": "Device",
}
