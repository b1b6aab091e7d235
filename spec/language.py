# SPDX-License-Identifier: GPL-2.0-only
"""The specification language: fields, actions, operations, invariants.

Two rules hold in this file:

1. A specification is data. An action is a plain function that is run *once*, on a symbolic state;
   what remains of it is its guard and its writes, as terms. Every reading (Python, NumPy columns,
   SMT, mathematics) works on that record and on nothing else.
2. A field that no write touches is unchanged.

How an action reads
-------------------
``s.alloc_map[cpu, bit]`` is the value of a field *now*, that is, after the writes so far;
``s.alloc_map[cpu, bit] = True`` writes it; ``s.require(p)`` conjoins a guard over the state as it
is now; ``with s.when(p):`` makes the writes below conditional; ``with s.each(CPU, "c") as c:`` does
the block once for every element at the same time.

Actions and operations
----------------------
An *action* is the smallest visible step, in most cases one tracepoint of the kernel; proofs by
induction take one action at a time. An *operation* is a section that one lock protects: a sequence
of actions that nobody else can observe half done. It is written as a function that calls the
actions, so both are one definition. The explorers take one operation at a time. Fields marked
`transient` carry what is in hand inside an operation; they are at their initial value between
operations, and building an operation that leaves one of them changed is an error.

Switches
--------
``s.on("H1")`` asks, while the action is traced, whether a historic defect is switched on.
``s.assume("H2", p)`` says that the environment keeps to `p` unless hazard H2 is switched on.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spec.records import (
    Action,
    Field,
    Invariant,
    Model,
    Parameter,
    Theorem,
    Write,
    coerce,
    facts,
    index_variables,
    value_after,
)
from spec.state import State, parameter
from spec.terms import (
    BOOL,
    TRUE,
    Sort,
    Term,
    Type,
    default,
)

Body = Callable[..., None]
Claim = Callable[..., Term]


@dataclass
class Layer:
    """A specification in the making: declare its parts, then `build` it under some switches."""

    name: str
    sorts: tuple[Sort, ...]
    fields: dict[str, Field] = dataclasses.field(default_factory=dict)
    _actions: dict[str, tuple[Body, dict[str, Parameter], str | None]] = dataclasses.field(
        default_factory=dict
    )
    _operations: dict[str, tuple[Body, dict[str, Parameter], str | None]] = dataclasses.field(
        default_factory=dict
    )
    _invariants: list[tuple[Invariant, Callable[[State], Term]]] = dataclasses.field(
        default_factory=list
    )
    _axioms: list[Callable[[State], Term]] = dataclasses.field(default_factory=list)
    _theorems: list[tuple[str, str, Claim, dict[str, Parameter], str]] = dataclasses.field(
        default_factory=list
    )

    def extend(self, name: str, sorts: tuple[Sort, ...], without: tuple[str, ...] = ()) -> Layer:
        """A layer above this one: all that it has, and more. Actions that happen only as a part of
        the upper layer's own are left out by name."""
        return Layer(
            name,
            self.sorts + sorts,
            dict(self.fields),
            {n: a for n, a in self._actions.items() if n not in without},
            dict(self._operations),
            list(self._invariants),
            list(self._axioms),
            list(self._theorems),
        )

    def field(
        self,
        name: str,
        *args: Sort,
        type: Type = BOOL,
        doc: str,
        initial: object = None,
        **kind: bool,
    ) -> None:
        """Declare a state variable; `kind` is rigid, transient or ghost."""
        if hasattr(State, name):
            raise ValueError(f"a field cannot be named {name}: that is a word of the language")
        start = default(type) if initial is None else coerce(initial, type)
        self.fields[name] = Field(name, args, type, doc, start, **kind)

    def action(self, only_with: str | None = None, **params: Parameter) -> Callable[[Body], Body]:
        """Declare an action; its parameters are typed here and named as in the function. With
        `only_with`, one that exists only under that switch."""

        def declare(body: Body) -> Body:
            @functools.wraps(body)
            def called(state: State, *arguments: Any) -> None:
                state.calls.append(body.__name__)
                body(state, *arguments)

            self._actions[body.__name__] = (called, params, only_with)
            return called

        return declare

    def operation(
        self, only_with: str | None = None, **params: Parameter
    ) -> Callable[[Body], Body]:
        """Declare an operation; with `only_with`, one that exists only under that switch."""

        def declare(body: Body) -> Body:
            self._operations[body.__name__] = (body, params, only_with)
            return body

        return declare

    def invariant(
        self,
        id: str,
        sentence: str,
        *,
        boundary: bool = False,
        unless: tuple[str, ...] = (),
        ghost: bool = False,
        follows: bool = False,
    ) -> Callable[[Callable[[State], Term]], Callable[[State], Term]]:
        """Declare an invariant by the function that states it."""

        def declare(body: Callable[[State], Term]) -> Callable[[State], Term]:
            head = Invariant(id, sentence, TRUE, boundary, unless, ghost, follows, self.name)
            self._invariants.append((head, body))
            return body

        return declare

    def theorem(self, id: str, sentence: str, **params: Parameter) -> Callable[[Claim], Claim]:
        """Declare a theorem by a function of the state before, a state to act on, and parameters;
        it acts, and returns what then holds."""

        def declare(body: Claim) -> Claim:
            self._theorems.append((id, sentence, body, params, self.name))
            return body

        return declare

    def _claim(
        self,
        id: str,
        sentence: str,
        body: Claim,
        params: Mapping[str, Parameter],
        layer: str,
        switches: frozenset[str],
    ) -> Theorem:
        before, state = State(self.fields, switches), State(self.fields, switches)
        formula = body(before, state, *(parameter(n, t) for n, t in params.items()))
        guard = state.traced(id, params, "").enabled
        return Theorem(id, body.__name__, sentence, guard, formula, layer)

    def axiom(self, body: Callable[[State], Term]) -> Callable[[State], Term]:
        """State what the rigid fields satisfy."""
        self._axioms.append(body)
        return body

    def build(self, switches: frozenset[str] = frozenset()) -> Model:
        """Trace everything under these switches."""
        now = State(self.fields, switches)
        actions = {
            n: self._trace(n, b, p, switches, {})
            for n, (b, p, only) in self._actions.items()
            if only is None or only in switches
        }
        rest = {
            n: (Write(index_variables(f), TRUE, f.initial, None),)
            for n, f in self.fields.items()
            if f.transient
        }
        operations = {
            n: self._at_rest(self._trace(n, b, p, switches, rest))
            for n, (b, p, only) in self._operations.items()
            if only is None or only in switches
        }
        invariants = tuple(replace(head, formula=body(now)) for head, body in self._invariants)
        axioms = tuple(body(now) for body in self._axioms)
        theorems = tuple(self._claim(*theorem, switches) for theorem in self._theorems)
        return Model(
            self.name,
            self.sorts,
            self.fields,
            actions,
            operations,
            invariants,
            axioms,
            theorems,
            switches,
        )

    def _trace(
        self,
        name: str,
        body: Body,
        params: Mapping[str, Parameter],
        switches: frozenset[str],
        writes: Mapping[str, tuple[Write, ...]],
    ) -> Action:
        for parameter_name in params:
            f = self.fields.get(parameter_name)
            if f is not None and not f.args:
                raise ValueError(f"{name}: the parameter {parameter_name} has the name of a field")
        state = State(self.fields, switches, writes)
        body(state, *(parameter(n, t) for n, t in params.items()))
        return state.traced(name, params, inspect.getdoc(body) or "")

    def _at_rest(self, operation: Action) -> Action:
        """Drop the transient fields of an operation, once they are seen to be at rest again."""
        kept = {}
        for name, writes in operation.writes.items():
            f = self.fields[name]
            if not f.transient:
                kept[name] = writes
                continue
            end = value_after(f, index_variables(f), writes, facts(operation.guard))
            if end is not f.initial:
                raise ValueError(f"{operation.name} leaves {name} at {end!r}")
        return replace(operation, writes=kept)
