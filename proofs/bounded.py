# SPDX-License-Identifier: GPL-2.0-only
"""Bounded search by Z3: the shortest run of a small machine that breaks an invariant.

Every number of operations is tried in turn, from none upwards, so that the first run found is a
shortest one; a number whose query is not decided ends the search, and nothing is claimed. What Z3
finds is replayed by the plain evaluator before it is believed. The explorer answers the same
question by enumeration: the two share the specification and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import z3

from proofs.counterexample import Counterexample, Step
from proofs.cti import Values, cells, parameter_cells
from proofs.describe import describe, flat
from proofs.smt import Maybe, Reading
from proofs.verdict import Verdict
from spec import evaluate
from spec.records import Action, Field, FunctionOf, Model
from spec.scope import Scope
from spec.terms import Option, read, value_of, variable


@dataclass(frozen=True)
class Search:
    """What a bounded search has found: held to `depth` operations, refuted, or undetermined."""

    verdict: Verdict
    depth: int
    seconds: float
    counterexample: Counterexample | None = None


def search(
    model: Model, scope: Scope, invariant_id: str, depth: int, seconds: float = 60.0
) -> Search:
    """Look for a run of at most `depth` operations after which the invariant is false.

    Raises KeyError for an unknown invariant."""
    begin = time.perf_counter()
    unrolling = _Unrolling(model, scope)
    formula = model.invariant(invariant_id).formula
    for length in range(depth + 1):
        left = seconds - (time.perf_counter() - begin)
        answer, values = unrolling.violates(formula, max(0.01, left))
        if answer == z3.sat:
            found = unrolling.record(values, length, invariant_id)
            return Search(Verdict.REFUTED, length, time.perf_counter() - begin, found)
        if answer != z3.unsat:
            return Search(Verdict.UNDETERMINED, length - 1, time.perf_counter() - begin)
        if length < depth:
            unrolling.extend()
    return Search(Verdict.HELD, depth, time.perf_counter() - begin)


class _Unrolling:
    """The first states of every run, as Z3 constants; grows one operation at a time."""

    def __init__(self, model: Model, scope: Scope) -> None:
        self.model, self.scope = model, scope
        self.fields = [f for f in model.fields.values() if not f.ghost]
        self.rigid = frozenset(f.name for f in self.fields if f.rigid)
        self.operations = list(model.operations.values())
        self.solver = z3.Solver()
        self.readings = [self._reading(0)]
        self.solver.add(*self.readings[0].distinctness(), *self._start())

    def _reading(self, step: int) -> Reading:
        reading = Reading(self.scope.sizes, f"@{step}", f"@{step}", self.rigid)
        for sort in self.model.sorts:
            reading.elements(sort)
        return reading

    def _start(self) -> Iterator[Any]:
        yield from self._at_initial(self.readings[0], self.fields)

    def _at_initial(self, reading: Reading, fields: list[Field]) -> Iterator[Any]:
        for field in fields:
            given = self.scope.rigid.get(field.name, {})
            for index, cell in cells(reading, field):
                value = given.get(index, value_of(field.initial))
                yield _equals(reading, field, cell, value)

    def extend(self) -> None:
        """One more operation."""
        before, after = self.readings[-1], self._reading(len(self.readings))
        chosen = z3.Int(f"operation@{len(self.readings) - 1}")
        self.solver.add(chosen >= 0, chosen < len(self.operations))
        for number, operation in enumerate(self.operations):
            effects = [*self._effects(operation, number, before, after)]
            self.solver.add(z3.Implies(chosen == number, z3.And(*effects)))
        at_rest = [f for f in self.fields if f.transient]
        self.solver.add(*self._at_initial(after, at_rest))
        self.readings.append(after)

    def _effects(
        self, operation: Action, number: int, before: Reading, after: Reading
    ) -> Iterator[Any]:
        # Parameters of different operations may share a name: no two happen in one step.
        before.choice = f"@{before.step}.{number}"
        for name, type in operation.params.items():
            for _, cell in parameter_cells(before, name, type):
                yield before.membership(type.type if isinstance(type, FunctionOf) else type, cell)
        yield before.of(operation.enabled, {})
        for field in self.fields:
            if field.rigid or field.transient:
                continue
            places = [variable(f"@{k}", sort) for k, sort in enumerate(field.args)]
            value = operation.after(self.model.fields, read(field.name, places, field.type))
            elements = [before.elements(sort) for sort in field.args]
            for index, cell in cells(after, field):
                at = {p: e[k] for p, e, k in zip(places, elements, index, strict=True)}
                yield _same(before.of(value, at), cell)

    def violates(self, formula: Any, seconds: float) -> tuple[Any, Any]:
        """Ask for a run of the present length at whose end the formula is false."""
        self.solver.push()
        self.solver.set(timeout=int(seconds * 1000))
        self.solver.add(z3.Not(self.readings[-1].of(formula, {})))
        answer = self.solver.check()
        values = self.solver.model() if answer == z3.sat else None
        if "interrupted" in self.solver.reason_unknown():
            raise KeyboardInterrupt
        self.solver.pop()
        return answer, values

    def record(self, values: z3.ModelRef, length: int, invariant_id: str) -> Counterexample:
        """The run, replayed by the plain evaluator."""
        sizes = {sort: self.scope.sizes[sort.name] for sort in self.model.sorts}
        state: evaluate.State = evaluate.initial_state(self.model, sizes, self._constant)
        initial = state
        steps: list[Step] = []
        for k in range(length):
            operation, number = self._chosen(values, k)
            arguments = self._arguments(values, k, operation, number)
            following = evaluate.apply(self.model, operation, arguments, state, sizes)
            if isinstance(following, evaluate.Refusal):
                raise AssertionError(f"Z3 and the plain reading differ: {following}")
            state = following
            shown = tuple((n, flat(v)) for n, v in arguments.items())
            steps.append(Step(operation.name, shown, state))
        return describe(
            self.model,
            sizes,
            self.model.invariant(invariant_id),
            initial,
            tuple(steps),
            source="spec",
            machine=f"{self.model.name} {self.scope}",
            shortest=True,
        )

    def _constant(self, name: str, index: tuple[int, ...]) -> Any:
        start = value_of(self.model.fields[name].initial)
        return self.scope.rigid.get(name, {}).get(index, start)

    def _chosen(self, values: z3.ModelRef, step: int) -> tuple[Action, int]:
        number = values.eval(z3.Int(f"operation@{step}"), model_completion=True).as_long()
        return self.operations[number], number

    def _arguments(
        self, values: z3.ModelRef, step: int, operation: Action, number: int
    ) -> dict[str, Any]:
        reading = self.readings[step]
        reading.choice = f"@{reading.step}.{number}"
        plainly = Values(reading, values, self.scope.sizes)
        arguments: dict[str, Any] = {}
        for name, type in operation.params.items():
            range_ = type.type if isinstance(type, FunctionOf) else type
            table = {i: plainly.of(range_, c) for i, c in parameter_cells(reading, name, type)}
            arguments[name] = (
                {i if len(i) > 1 else i[0]: v for i, v in table.items()}
                if isinstance(type, FunctionOf)
                else table[()]
            )
        return arguments


def _same(a: Any, b: Any) -> Any:
    if isinstance(a, Maybe):
        # Where there is none, the element is fixed too, so that no state has two descriptions.
        return z3.And(a.there == b.there, z3.Implies(b.there, a.value == b.value))
    return a == b


def _equals(reading: Reading, field: Field, cell: Any, value: Any) -> Any:
    if isinstance(field.type, Option):
        if value is None:
            return z3.Not(cell.there)
        return z3.And(cell.there, cell.value == reading.elements(field.type.of)[value])
    return cell == reading.literal(field.type, value)
