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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from spec.terms import (
    BINDERS,
    BOOL,
    FALSE,
    TRUE,
    Bool,
    Int,
    Option,
    Sort,
    Term,
    Type,
    add,
    and_,
    apply,
    default,
    eq,
    free_variables,
    ite,
    lift,
    none,
    not_,
    quantified,
    read,
    rebuild,
    renamed,
    some,
    substitute,
    transform,
    variable,
)


@dataclass(frozen=True, slots=True)
class Field:
    """One state variable: a total function from its argument sorts to its type.

    `initial` is its value in the initial state (None: the type's default). A `rigid` field never
    changes and may start anywhere: it is a constant of the machine. A `transient` field is at its
    initial value between operations. A `ghost` field exists for proofs: no guard reads it."""

    name: str
    args: tuple[Sort, ...]
    type: Type
    doc: str
    initial: Term
    rigid: bool = False
    transient: bool = False
    ghost: bool = False


@dataclass(frozen=True, slots=True)
class FunctionOf:
    """The type of a parameter that is a function, such as a CPU mask."""

    args: tuple[Sort, ...]
    type: Type


Parameter = Type | FunctionOf


class Indexed(Protocol):
    """A parameter that is a function of one sort, such as a CPU mask, or a formula in its place."""

    def __getitem__(self, index: Term) -> Term:
        """The value at an element."""


@dataclass(frozen=True, slots=True)
class Write:
    """``field[vars] := value`` for all `vars` where `condition`; both over the state before."""

    vars: tuple[Term, ...]
    condition: Term
    value: Term
    points: tuple[Term, ...] | None
    """The index terms where this is a write to one place; None for a write to many."""


@dataclass(frozen=True)
class Assumption:
    """What the environment keeps to unless the hazard `switch` is on."""

    switch: str
    condition: Term


@dataclass(frozen=True)
class Action:
    """A traced action or operation: it may happen where `guard` holds and then does `writes`."""

    name: str
    params: Mapping[str, Parameter]
    guard: Term
    assumptions: tuple[Assumption, ...]
    writes: Mapping[str, tuple[Write, ...]]
    doc: str
    calls: tuple[str, ...] = ()
    """The actions that it consists of, in order; an action consists of itself and of those of the
    layer below that it calls."""

    @property
    def enabled(self) -> Term:
        """The guard together with what the environment keeps to."""
        return and_(self.guard, *(a.condition for a in self.assumptions))

    def after(self, fields: Mapping[str, Field], term: Term) -> Term:
        """`term`, read in the state after the action, as a term over the state before."""

        def leaf(node: Term, args: tuple[Any, ...]) -> Term | None:
            if node.op == "read" and node.args[0] in self.writes:
                return _value(fields[args[0]], args[1:], self.writes[args[0]], frozenset())
            return None

        return transform(renamed(term, frozenset(self.params)), leaf)


@dataclass(frozen=True, slots=True)
class Invariant:
    """A formula that holds in every reachable state: at every action, or, where `boundary` is set,
    whenever no operation is half done. `unless` lists the hazards that break it. One that `follows`
    is a consequence of the others in the same state, and is proved as that."""

    id: str
    sentence: str
    formula: Term
    boundary: bool = False
    unless: tuple[str, ...] = ()
    ghost: bool = False
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Theorem:
    """What holds of a few actions in a row, from any state that obeys the invariants: where `guard`
    holds, `formula` does. Both are over the state before."""

    id: str
    name: str
    sentence: str
    guard: Term
    formula: Term


@dataclass(frozen=True, eq=False)
class Model:
    """A specification traced under a set of switches."""

    name: str
    sorts: tuple[Sort, ...]
    fields: Mapping[str, Field]
    actions: Mapping[str, Action]
    operations: Mapping[str, Action]
    invariants: tuple[Invariant, ...]
    axioms: tuple[Term, ...]
    theorems: tuple[Theorem, ...] = ()
    switches: frozenset[str] = frozenset()

    def invariant(self, id: str) -> Invariant:
        """The invariant with this id; KeyError if there is none."""
        for invariant in self.invariants:
            if invariant.id == id:
                return invariant
        raise KeyError(id)


def _coerce(value: object, type: Type) -> Term:
    if value is None and isinstance(type, Option):
        return none(type.of)
    term = lift(value)
    return some(term) if isinstance(type, Option) else term


def _value(
    f: Field, index: tuple[Term, ...], writes: tuple[Write, ...], known: frozenset[Term]
) -> Term:
    """What `f[index]` reads after `writes`. `known` holds formulas that are true here."""
    result = read(f.name, index, f.type)
    elements = result.args[1:]
    there = [~(e == none(e.type.of)) for e in elements if isinstance(e.type, Option)]
    for write in writes:
        at = dict(zip(write.vars, elements, strict=True))
        condition, value = substitute(write.condition, at), substitute(write.value, at)
        if there and value is not default(f.type):  # which is what reads at none anyway
            condition = and_(condition, *there)
        result = ite(assuming(condition, known), value, result)
    return result


def assuming(term: Term, known: frozenset[Term]) -> Term:
    """Simplify a term where the formulas in `known` are true."""
    seen: dict[int, Term] = {}

    def walk(node: Term) -> Term:
        if node in known:
            return TRUE
        if isinstance(node.type, Bool) and not_(node) in known:
            return FALSE
        if id(node) not in seen:
            if node.op in BINDERS:
                bound = set(node.args[:-1])
                rest = frozenset(k for k in known if not bound & free_variables(k))
                seen[id(node)] = quantified(node.op, node.args[:-1], assuming(node.args[-1], rest))
            else:
                args = tuple(walk(a) if isinstance(a, Term) else a for a in node.args)
                same = all(a is b for a, b in zip(args, node.args, strict=True))
                seen[id(node)] = node if same else rebuild(node, args)
        return seen[id(node)]

    return walk(term) if known else term


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
        return assuming(_value(f, index, self._writes.get(f.name, ()), known), known)

    def put(self, f: Field, index: tuple[Term, ...], value: object) -> None:
        """Write a field, under the conditions of the enclosing `when` and `each` blocks."""
        if f.rigid:
            raise ValueError(f"{f.name} is rigid")
        term = assuming(_coerce(value, f.type), self._known())
        index = read(f.name, index, f.type).args[1:]
        vars_ = _places(f)
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
        return _value(f, (), self._writes.get(f.name, ()), frozenset()) + change

    def require(self, *conditions: Term) -> None:
        """The action can only happen where these hold."""
        for condition in conditions:
            closed = self._closed(condition)
            # Not what the enclosing blocks say: the guard must keep that as the condition it is.
            closed = assuming(closed, _facts(and_(*self._guard)))
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
    _theorems: list[tuple[str, str, Claim, dict[str, Parameter]]] = dataclasses.field(
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
        start = default(type) if initial is None else _coerce(initial, type)
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
            head = Invariant(id, sentence, TRUE, boundary, unless, ghost, follows)
            self._invariants.append((head, body))
            return body

        return declare

    def theorem(self, id: str, sentence: str, **params: Parameter) -> Callable[[Claim], Claim]:
        """Declare a theorem by a function of the state before, a state to act on, and parameters;
        it acts, and returns what then holds."""

        def declare(body: Claim) -> Claim:
            self._theorems.append((id, sentence, body, params))
            return body

        return declare

    def _claim(
        self,
        id: str,
        sentence: str,
        body: Claim,
        params: Mapping[str, Parameter],
        switches: frozenset[str],
    ) -> Theorem:
        before, state = State(self.fields, switches), State(self.fields, switches)
        formula = body(before, state, *(parameter(n, t) for n, t in params.items()))
        guard = state.traced(id, params, "").enabled
        return Theorem(id, body.__name__, sentence, guard, formula)

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
            n: (Write(_places(f), TRUE, f.initial, None),)
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
            end = _value(f, _places(f), writes, _facts(operation.guard))
            if end is not f.initial:
                raise ValueError(f"{operation.name} leaves {name} at {end!r}")
        return replace(operation, writes=kept)


def _places(f: Field) -> tuple[Term, ...]:
    return tuple(variable(f"{f.name}.{k}", sort) for k, sort in enumerate(f.args))


def _facts(guard: Term) -> frozenset[Term]:
    return frozenset(guard.args if guard.op == "and" else (guard,))
