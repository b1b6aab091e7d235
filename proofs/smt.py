# SPDX-License-Identifier: GPL-2.0-only
"""The Z3 reading of terms: sorts of any size, or of a fixed size with quantifiers expanded.

An option is read as a pair (is there one, which one), so that no datatype theory is needed. A sum
over a sort is replaced, before terms come here, by an uninterpreted function (`Sums`); what Z3 may
know of it is the instance of its update rule that the action at hand needs (`Sums.update_rule`),
that a count is not negative, and that it is positive exactly if there is a member. The rules are
those of finite sets: every result assumes that CPUs, vectors and interrupts are finitely many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import z3

from spec.records import Action, Field
from spec.terms import (
    BOOL,
    INT,
    Bool,
    Enum,
    Int,
    Option,
    Sort,
    Term,
    Type,
    add,
    and_,
    apply,
    conjuncts,
    eq,
    free_variables,
    ite,
    lift,
    none,
    not_,
    or_,
    quantified,
    some,
    substitute,
    subterms,
    transform,
    value_of,
    variable,
)


@dataclass(frozen=True, slots=True)
class Maybe:
    """An option in Z3: whether there is an element, and which."""

    there: Any
    value: Any


def conjunction(parts: Sequence[Any]) -> Any:
    """A Z3 conjunction without needless nesting."""
    kept = [p for p in parts if not z3.is_true(p)]
    return z3.BoolVal(True) if not kept else kept[0] if len(kept) == 1 else z3.And(*kept)


@dataclass
class Reading:
    """Translates terms. With `sizes`, every sort has that many elements and quantifiers expand."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    step: str = ""
    """Appended to the names of fields that can change: the state of a bounded search."""
    choice: str = ""
    """Appended to the names of parameters: the step of a bounded search."""
    rigid: frozenset[str] = frozenset()
    """Fields that are the same in every state."""

    def __post_init__(self) -> None:
        self._sorts: dict[str, Any] = {}
        self._closed: dict[Term, Any] = {}
        self._elements: dict[str, list[Any]] = {}

    def sort(self, sort: Sort) -> Any:
        """The Z3 sort."""
        if sort.name not in self._sorts:
            declared = z3.DeclareSort(sort.name)
            self._sorts[sort.name] = declared
            if sort.name in self.sizes:
                self._elements[sort.name] = [
                    z3.Const(f"{sort.name.lower()}{k}", declared)
                    for k in range(self.sizes[sort.name])
                ]
        return self._sorts[sort.name]

    def elements(self, sort: Type) -> list[Any]:
        """The elements of a sort of fixed size."""
        assert isinstance(sort, Sort)
        self.sort(sort)
        return self._elements[sort.name]

    def distinctness(self) -> Iterator[Any]:
        """The elements of a sort are different."""
        for elements in self._elements.values():
            if len(elements) > 1:
                yield z3.Distinct(*elements)

    def membership(self, type: Type, value: Any) -> Any:
        """A value of a sort of fixed size is one of its elements, of an enumeration a member."""
        if isinstance(type, Option):
            return self.membership(type.of, value.value)
        if isinstance(type, Enum):
            return z3.And(value >= 0, value < len(type.members))
        if isinstance(type, Sort) and type.name in self.sizes:
            return z3.Or(*(value == e for e in self.elements(type)))
        return z3.BoolVal(True)

    def _range(self, type: Type) -> Any:
        match type:
            case Bool():
                return z3.BoolSort()
            case Int() | Enum():
                return z3.IntSort()
            case Sort():
                return self.sort(type)
        raise TypeError(type)

    def symbol(self, name: str, args: Sequence[Any], sorts: Sequence[Sort], type: Type) -> Any:
        """An uninterpreted function (or constant) at some arguments."""
        if isinstance(type, Option):
            return Maybe(
                self.symbol(f"{name}?", args, sorts, BOOL), self.symbol(name, args, sorts, type.of)
            )
        if not sorts:
            return z3.Const(name, self._range(type))
        return z3.Function(name, *map(self.sort, sorts), self._range(type))(*args)

    def of(self, term: Term, env: Mapping[Term, Any]) -> Any:
        """A term as a Z3 expression, or a `Maybe`; `env` has the bound variables."""
        method: Callable[[Term, Mapping[Term, Any]], Any] = getattr(self, f"_{term.op}")
        return method(term, env)

    def closed(self, term: Term) -> Any:
        """A formula without free bound variables, translated once."""
        if term not in self._closed:
            self._closed[term] = self.of(term, {})
        return self._closed[term]

    def literal(self, type: Type, value: Any) -> Any:
        """A plain value of a type as a Z3 value; of options only none."""
        match type:
            case Bool():
                return z3.BoolVal(value)
            case Int():
                return z3.IntVal(value)
            case Enum():
                return z3.IntVal(type.members.index(value))
            case Option():
                # Any element will do where there is none.
                return Maybe(z3.BoolVal(False), z3.Const(f"{type.of.name}!any", self.sort(type.of)))
        raise TypeError(type)

    def _const(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return self.literal(term.type, value_of(term))

    def _var(self, term: Term, env: Mapping[Term, Any]) -> Any:
        if term in env:
            return env[term]
        return self.symbol(self.variable_name(term.args[0]), (), (), term.type)

    def _some(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return Maybe(z3.BoolVal(True), self.of(term.args[0], env))

    def _read(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return self._indexed(term, self.field_name(term.args[0]), env)

    def _apply(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return self._indexed(term, f"{term.args[0]}(){self.choice}", env)

    def variable_name(self, name: str) -> str:
        """The name of a parameter's constant. A field may have the parameter's name: Z3 tells them
        apart by their arguments, the text of an SMT-LIB file does not."""
        return f"${name}{self.choice}"

    def field_name(self, name: str) -> str:
        """The name of a field's function in the state that is read."""
        return name if name in self.rigid else f"{name}{self.step}"

    def _indexed(self, term: Term, name: str, env: Mapping[Term, Any]) -> Any:
        there: list[Any] = []
        args: list[Any] = []
        sorts: list[Sort] = []
        for index in term.args[1:]:
            value = self.of(index, env)
            if isinstance(value, Maybe):
                there.append(value.there)
                value = value.value
            args.append(value)
            sorts.append(index.type.of if isinstance(index.type, Option) else index.type)
        found = self.symbol(name, args, sorts, term.type)
        if not there:
            return found
        here = conjunction(there)
        match term.type:
            case Bool():
                return z3.And(here, found)
            case Option():
                return Maybe(z3.And(here, found.there), found.value)
        return z3.If(here, found, z3.IntVal(0))

    def _and(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return z3.And(*(self.of(a, env) for a in term.args))

    def _or(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return z3.Or(*(self.of(a, env) for a in term.args))

    def _not(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return z3.Not(self.of(term.args[0], env))

    def _implies(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return z3.Implies(self.of(term.args[0], env), self.of(term.args[1], env))

    def _eq(self, term: Term, env: Mapping[Term, Any]) -> Any:
        a, b = (self.of(x, env) for x in term.args)
        if isinstance(a, Maybe):
            same = z3.Implies(a.there, a.value == b.value)
            return z3.And(a.there == b.there, same)
        return a == b

    def _ite(self, term: Term, env: Mapping[Term, Any]) -> Any:
        condition, a, b = (self.of(x, env) for x in term.args)
        if isinstance(a, Maybe):
            return Maybe(z3.If(condition, a.there, b.there), z3.If(condition, a.value, b.value))
        return z3.If(condition, a, b)

    def _add(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return z3.Sum([self.of(a, env) for a in term.args])

    def _neg(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return -self.of(term.args[0], env)

    def _le(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return self.of(term.args[0], env) <= self.of(term.args[1], env)

    def _lt(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return self.of(term.args[0], env) < self.of(term.args[1], env)

    def _forall(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return self._quantified(term, env, z3.ForAll, z3.And)

    def _exists(self, term: Term, env: Mapping[Term, Any]) -> Any:
        return self._quantified(term, env, z3.Exists, z3.Or)

    def _sum(self, term: Term, env: Mapping[Term, Any]) -> Any:
        bound, body = term.args[:-1], term.args[-1]
        if any(v.type.name not in self.sizes for v in bound):
            raise ValueError(f"a sum over a sort of any size was not abstracted: {term!r}")
        return z3.Sum([self.of(body, {**env, **at}) for at in self._instances(bound)])

    def _quantified(self, term: Term, env: Mapping[Term, Any], binder: Any, junction: Any) -> Any:
        bound, body = term.args[:-1], term.args[-1]
        if all(v.type.name in self.sizes for v in bound):
            return junction(*(self.of(body, {**env, **at}) for at in self._instances(bound)))
        fresh = {v: z3.Const(f"${v.args[0]}", self.sort(v.type)) for v in bound}
        return binder(list(fresh.values()), self.of(body, {**env, **fresh}))

    def _instances(self, bound: Sequence[Term]) -> Iterator[Mapping[Term, Any]]:
        for choice in product(*(self.elements(v.type) for v in bound)):
            yield dict(zip(bound, choice, strict=True))


# --- sums over sorts of any size ------------------------------------------------------------


@dataclass(frozen=True)
class Schema:
    """One sum that occurs in the formulas: ``name(free) = sum of body over bound``."""

    name: str
    bound: Term
    free: tuple[Term, ...]
    body: Term

    def at(self, element: Term, body: Term) -> Term:
        """The summand at one element; zero if the element is none."""
        if isinstance(element.type, Option):
            # Bind the option's element through an instance guarded by its presence.
            return ite(
                eq(element, none(element.type.of)), 0, substitute(body, {self.bound: element})
            )
        return substitute(body, {self.bound: element})

    @property
    def condition(self) -> Term | None:
        """What is counted, if the sum is a count."""
        body = self.body
        is_count = body.op == "ite" and body.args[1] is lift(1) and body.args[2] is lift(0)
        return body.args[0] if is_count else None


class Sums:
    """The sums of a set of formulas, as uninterpreted functions and the rules that they obey."""

    def __init__(self) -> None:
        self._known: dict[tuple[Term, Sort], str] = {}
        self.schemas: dict[str, Schema] = {}

    def abstract(self, term: Term, suffix: str = "") -> Term:
        """Replace every sum by its function; `suffix` names the state it is taken in."""

        def leaf(node: Term, args: tuple[Any, ...]) -> Term | None:
            if node.op != "sum":
                return None
            # The rules below look at one element's summand, and find in it all that can change.
            if len(args) > 2:
                raise ValueError(f"a sum over several variables: {node!r}")
            if self.mentioned(args[-1]):
                raise ValueError(f"a sum of sums: {node!r}")
            return self._function(args[0], args[-1], suffix)

        return transform(term, leaf)

    def _function(self, bound: Term, body: Term, suffix: str) -> Term:
        order = [v for v in _in_order(body) if v is not bound]
        places = {v: variable(f"y{k}", v.type) for k, v in enumerate(order)}
        x = variable("x", bound.type)
        general = substitute(body, {**places, bound: x})
        assert isinstance(bound.type, Sort)
        name = self._known.setdefault((general, bound.type), f"#{len(self._known)}")
        self.schemas.setdefault(name, Schema(name, x, tuple(places.values()), general))
        return apply(name + suffix, order, INT)

    def mentioned(self, term: Term) -> frozenset[str]:
        """The names of the sums that a formula speaks of, in whatever state."""
        if term.op == "apply" and term.args[0].startswith("#"):
            return frozenset({term.args[0].rstrip("'")})
        return frozenset[str]().union(*map(self.mentioned, subterms(term)))

    def rules(self, names: frozenset[str], suffix: str = "") -> Iterator[Term]:
        """What holds of each count in one state: it is positive exactly if there is a member."""
        for schema in self.schemas.values():
            if schema.name in names and schema.condition is not None:
                yield from _count_rules(schema, suffix)

    def update_rule(
        self, names: frozenset[str], action: Action, fields: Mapping[str, Field]
    ) -> Iterator[Term]:
        """How each sum changes under an action that changes its summand at known places only.

        The premise that nothing else changes is part of the rule, with a witness in its place."""
        for schema in self.schemas.values():
            if schema.name not in names:
                continue
            after = action.after(fields, schema.body)
            if after is schema.body:
                yield _closed(schema, eq(_value(schema, "'"), _value(schema, "")))
                continue
            yield _closed(schema, _changes(schema, after, _places(action, schema.bound.type)))


def _value(schema: Schema, suffix: str) -> Term:
    return apply(schema.name + suffix, schema.free, INT)


def _closed(schema: Schema, body: Term) -> Term:
    return quantified("forall", schema.free, body)


def _count_rules(schema: Schema, suffix: str) -> Iterator[Term]:
    condition = schema.condition
    assert condition is not None
    number = _value(schema, suffix)
    member = _witness(schema, f"{schema.name}!member{suffix}")
    yield _closed(schema, lift(0) <= number)
    yield _closed(
        schema,
        quantified("forall", (schema.bound,), condition.implies(lift(1) <= number)),
    )
    yield _closed(
        schema, (lift(1) <= number).implies(substitute(condition, {schema.bound: member}))
    )


def _witness(schema: Schema, name: str) -> Term:
    if not schema.free:
        return variable(name, schema.bound.type)
    return apply(name, schema.free, schema.bound.type)


def _changes(schema: Schema, after: Term, places: list[Term]) -> Term:
    total = _value(schema, "")
    seen: list[Term] = []
    for place in places:
        first = and_(*(not_(eq(place, earlier)) for earlier in seen))
        change = add(schema.at(place, after), lift(0) - schema.at(place, schema.body))
        total = add(total, ite(first, change, 0))
        seen.append(place)
    other = _witness(schema, f"{schema.name}!other")
    elsewhere = and_(*(not_(eq(some(other), some(p))) for p in places))
    changed = not_(
        eq(substitute(after, {schema.bound: other}), substitute(schema.body, {schema.bound: other}))
    )
    return or_(elsewhere & changed, eq(_value(schema, "'"), total))


def _places(action: Action, sort: Type) -> list[Term]:
    """The index terms of a sort at which an action writes to one place."""
    found: dict[Term, None] = {}
    for writes in action.writes.values():
        for write in writes:
            for term in _index_terms(write.points, write.condition):
                if term.type == sort or term.type == Option(sort):  # type: ignore[arg-type]
                    found[term] = None
    return list(found)


def _index_terms(points: tuple[Term, ...] | None, condition: Term) -> Iterator[Term]:
    if points is not None:
        yield from points
        return
    # A write to many places still fixes some of its indices: `vars = term` conjuncts.
    for part in conjuncts(condition):
        if part.op == "eq":
            for a, b in (part.args, part.args[::-1]):
                if a.op == "var" and "." in a.args[0] and b.op == "var" and "." not in b.args[0]:
                    yield b


def _in_order(term: Term) -> list[Term]:
    """The free variables in the order in which they occur."""
    free = free_variables(term)
    seen: dict[Term, None] = {}

    def walk(node: Term) -> None:
        if node.op == "var" and node in free:
            seen.setdefault(node)
        for below in subterms(node):
            walk(below)

    walk(term)
    return list(seen)
