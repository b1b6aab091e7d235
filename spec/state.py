# SPDX-License-Identifier: GPL-2.0-only
"""The symbolic state on which an action is traced: it is read and written like a real one.

Reads see the writes so far; guards and conditions are simplified by what is known at that point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from spec.records import (
    Action,
    Assumption,
    Field,
    FunctionOf,
    Parameter,
    Write,
    assuming,
    coerce,
    facts,
    index_variables,
    value_after,
)
from spec.terms import (
    FALSE,
    TRUE,
    Int,
    Sort,
    Term,
    add,
    and_,
    apply,
    eq,
    free_variables,
    ite,
    lift,
    quantified,
    read,
    substitute,
    variable,
)

if TYPE_CHECKING:

    class Variable(Term):
        """``s.field`` for the type checker: a term if the field has no arguments, else indexed."""

        def __getitem__(self, index: Term | tuple[Term, ...]) -> Term: ...

        def __setitem__(self, index: Term | tuple[Term, ...], value: object) -> None: ...


class _View:
    """``s.field[...]``: reads and writes one field of a symbolic state."""

    __slots__ = ("_field", "_state")

    def __init__(self, state: State, f: Field) -> None:
        self._state, self._field = state, f

    def __getitem__(self, index: Term | tuple[Term, ...]) -> Term:
        return self._state.get(self._field, index if isinstance(index, tuple) else (index,))

    def __setitem__(self, index: Term | tuple[Term, ...], value: object) -> None:
        self._state.put(self._field, index if isinstance(index, tuple) else (index,), value)


class State:
    """The symbolic state on which an action is traced."""

    def __init__(
        self,
        fields: Mapping[str, Field],
        switches: frozenset[str],
        writes: Mapping[str, tuple[Write, ...]] | None = None,
    ) -> None:
        set_ = super().__setattr__
        set_("_fields", fields)
        set_("_switches", switches)
        set_("_writes", dict(writes or {}))
        set_("_guard", [])
        set_("_assumptions", [])
        set_("_path", ())
        set_("_each", ())
        set_("calls", [])

    _fields: Mapping[str, Field]
    _switches: frozenset[str]
    _writes: dict[str, tuple[Write, ...]]
    _guard: list[Term]
    _assumptions: list[Assumption]
    _path: tuple[Term, ...]
    _each: tuple[tuple[Term, Term], ...]
    calls: list[str]

    def __getattr__(self, name: str) -> Variable:
        f = self._fields.get(name)
        if f is None:
            raise AttributeError(f"the specification has no field {name}")
        return cast("Variable", _View(self, f) if f.args else self.get(f, ()))

    def __setattr__(self, name: str, value: object) -> None:
        f = self._fields.get(name)
        if f is None or f.args:
            raise AttributeError(f"the specification has no field {name} without arguments")
        self.put(f, (), value)

    def _known(self) -> frozenset[Term]:
        facts: list[Term] = []
        for term in (*self._path, *self._guard, *(where for _, where in self._each)):
            facts += term.args if term.op == "and" else [term]
        return frozenset(facts)

    def get(self, f: Field, index: tuple[Term, ...]) -> Term:
        """The value of a field now."""
        known = self._known()
        return assuming(value_after(f, index, self._writes.get(f.name, ()), known), known)

    def put(self, f: Field, index: tuple[Term, ...], value: object) -> None:
        """Write a field, under the conditions of the enclosing `when` and `each` blocks."""
        if f.rigid:
            raise ValueError(f"{f.name} is rigid")
        term = assuming(coerce(value, f.type), self._known())
        index = read(f.name, index, f.type).args[1:]
        vars_ = index_variables(f)
        path = list(self._path)
        swap: dict[Term, Term] = {}
        for bound, where in self._each:
            path.append(where)
            places = [v for v, at in zip(vars_, index, strict=True) if at is bound]
            if places:
                swap[bound] = places[0]
        if self._each and not f.args and isinstance(f.type, Int):
            term = self._gather(f, term, path)
            path = []
        same = [eq(v, swap.get(at, at)) for v, at in zip(vars_, index, strict=True)]
        write = Write(
            vars_,
            substitute(and_(*same, *path), swap),
            substitute(term, swap),
            None if swap else index,
        )
        self._own_place_each(f, write)
        if write.condition is not FALSE:
            self._writes[f.name] = (*self._writes.get(f.name, ()), write)

    def _own_place_each(self, f: Field, write: Write) -> None:
        """What an `each` block writes names a place of its own for each element."""
        left = free_variables(write.condition) | free_variables(write.value)
        for bound, _ in self._each:
            if bound in left:
                raise ValueError(f"{f.name}: an each block writes one place for many {bound!r}")

    def _gather(self, f: Field, term: Term, path: list[Term]) -> Term:
        """A counter that every element of an `each` block changes: add up the changes."""
        change = add(term, lift(0) - self.get(f, ()))
        if f.name in (t.args[0] for t in _reads(change)):
            raise ValueError(f"{f.name}: its change in an each block depends on its value")
        change = ite(and_(*path), change, 0)
        for bound, _ in self._each:
            change = quantified("sum", (bound,), change)
        # Not `get`: outside the block nothing is known of what the block is about.
        return value_after(f, (), self._writes.get(f.name, ()), frozenset()) + change

    def require(self, *conditions: Term) -> None:
        """The action can only happen where these hold."""
        for condition in conditions:
            closed = self._closed(condition)
            # Not what the enclosing blocks say: the guard must keep that as the condition it is.
            closed = assuming(closed, facts(and_(*self._guard)))
            self._guard.extend(closed.args if closed.op == "and" else [closed])

    def _closed(self, condition: Term) -> Term:
        """The condition, wherever the enclosing blocks are about."""
        closed = and_(*self._path).implies(condition)
        for bound, where in reversed(self._each):
            closed = quantified("forall", (bound,), where.implies(closed))
        return closed

    def assume(self, hazard: str, condition: Term) -> None:
        """The environment keeps to `condition` unless the hazard is switched on."""
        if hazard not in self._switches:
            self._assumptions.append(Assumption(hazard, self._closed(condition)))

    def on(self, switch: str) -> bool:
        """Whether a historic defect or hazard is switched on."""
        return switch in self._switches

    @contextmanager
    def when(self, condition: Term) -> Iterator[None]:
        """The writes of the block happen only where the condition holds now."""
        outer = self._path
        super().__setattr__("_path", (*outer, condition))
        try:
            yield
        finally:
            super().__setattr__("_path", outer)

    @contextmanager
    def each(
        self, sort: Sort, name: str, where: Callable[[Term], Term] = lambda _: TRUE
    ) -> Iterator[Term]:
        """Do the block for every element with `where`, all at the same time."""
        bound = variable(name, sort)
        outer = self._each
        if any(bound is other for other, _ in outer):
            raise ValueError(f"{name} is bound already by an each block around this one")
        super().__setattr__("_each", (*outer, (bound, where(bound))))
        try:
            yield bound
        finally:
            super().__setattr__("_each", outer)

    def together(self, *steps: Callable[[State], None]) -> None:
        """Do several steps at the same time: each reads the state as it is now. Raises ValueError
        if two of them write different values to one field."""
        sides = [self._aside(step) for step in steps]
        guards, assumptions = len(self._guard), len(self._assumptions)
        for side in sides:
            self._guard.extend(side._guard[guards:])
            self._assumptions.extend(side._assumptions[assumptions:])
            self.calls.extend(name for name in side.calls if name not in self.calls)
        known, before = self._known(), dict(self._writes)
        for side in sides:
            for name, writes in side._writes.items():
                if writes is before.get(name):
                    continue
                if self._writes.get(name) is not before.get(name):
                    _agree(self._fields[name], self._writes[name], writes, known)
                self._writes[name] = writes

    def _aside(self, step: Callable[[State], None]) -> State:
        """The state after a step, this one left as it is."""
        side = State(self._fields, self._switches, self._writes)
        for name in ("_path", "_each"):
            object.__setattr__(side, name, getattr(self, name))
        side._guard.extend(self._guard)
        side._assumptions.extend(self._assumptions)
        step(side)
        return side

    def traced(self, name: str, params: Mapping[str, Parameter], doc: str) -> Action:
        """The record of everything that was done to this state."""
        writes = {n: w for n, w in self._writes.items() if w}
        return Action(
            name,
            params,
            and_(*self._guard),
            tuple(self._assumptions),
            writes,
            doc,
            tuple(self.calls),
        )


def _agree(
    f: Field, one: tuple[Write, ...], other: tuple[Write, ...], known: frozenset[Term]
) -> None:
    """Raise ValueError unless both say the same of the field."""
    a, b = (
        assuming(value_after(f, index_variables(f), writes, known), known)
        for writes in (one, other)
    )
    if a is not b:
        raise ValueError(f"two steps at the same time write {f.name}: {a!r}, and {b!r}")


def _reads(term: Term) -> Iterator[Term]:
    if term.op == "read":
        yield term
    for below in term.args:
        if isinstance(below, Term):
            yield from _reads(below)


def parameter(name: str, type: Parameter) -> Any:
    """The symbol of an action's parameter: a variable, or a function to be indexed."""
    return _Function(name, type) if isinstance(type, FunctionOf) else variable(name, type)


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    type: FunctionOf

    def __getitem__(self, index: Term | tuple[Term, ...]) -> Term:
        arguments = index if isinstance(index, tuple) else (index,)
        return apply(self.name, arguments, self.type.type)
