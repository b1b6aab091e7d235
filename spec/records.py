# SPDX-License-Identifier: GPL-2.0-only
"""What a specification is once it has been traced: fields, actions, invariants, theorems, a model.

All of it is data. An action is its guard and its writes, as terms over the state before; what a
term reads after the writes (`Action.after`) is settled here, once for every reading.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from spec.terms import (
    BINDERS,
    FALSE,
    TRUE,
    Bool,
    Option,
    Sort,
    Term,
    Type,
    and_,
    conjuncts,
    default,
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
                return value_after(fields[args[0]], args[1:], self.writes[args[0]], frozenset())
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
    layer: str = ""
    """The layer that declares it."""


@dataclass(frozen=True, slots=True)
class Theorem:
    """What holds of a few actions in a row, from any state that obeys the invariants: where `guard`
    holds, `formula` does. Both are over the state before."""

    id: str
    name: str
    sentence: str
    guard: Term
    formula: Term
    layer: str = ""
    """The layer that declares it."""


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
    parts: tuple[Model, ...] = ()
    """The models that this one composes. What they prove holds here, too: see `spec.composition`.
    """

    @functools.cached_property
    def inherited(self) -> frozenset[str]:
        """The ids of the invariants that the parts prove."""
        return frozenset(i.id for part in self.parts for i in part.invariants)

    @property
    def own_invariants(self) -> tuple[Invariant, ...]:
        """The invariants that no part proves."""
        return tuple(i for i in self.invariants if i.id not in self.inherited)

    @property
    def own_theorems(self) -> tuple[Theorem, ...]:
        """The theorems that no part proves."""
        known = {(t.id, t.name) for part in self.parts for t in part.theorems}
        return tuple(t for t in self.theorems if (t.id, t.name) not in known)

    def invariant(self, id: str) -> Invariant:
        """The invariant with this id; KeyError if there is none."""
        for invariant in self.invariants:
            if invariant.id == id:
                return invariant
        raise KeyError(id)


def coerce(value: object, type: Type) -> Term:
    if value is None and isinstance(type, Option):
        return none(type.of)
    term = lift(value)
    return some(term) if isinstance(type, Option) else term


def value_after(
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


def index_variables(f: Field) -> tuple[Term, ...]:
    """The variables that stand for the indices of a write."""
    return tuple(variable(f"{f.name}.{k}", sort) for k, sort in enumerate(f.args))


def facts(guard: Term) -> frozenset[Term]:
    """The conjuncts of a guard, to be assumed."""
    return frozenset(conjuncts(guard))
