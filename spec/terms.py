# SPDX-License-Identifier: GPL-2.0-only
"""Terms: the formulas that every reading of the specification shares.

Two rules hold in this file:

1. A term is immutable and interned: the same term is the same object, so equality of terms is
   identity, and a walk over a formula may remember what it has seen.
2. A term is simplified where it is built and nowhere else.

Partiality is settled here once. A field that is indexed with *none* reads as its type's default
(false, zero, none), and a write at *none* writes nothing. So `s.alloc_map[s.cpu[i], s.vector[i]]`
needs no case distinction for an interrupt that has no vector.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sort:
    """A finite set without a fixed size: the CPUs, the vectors, the interrupts."""

    name: str


@dataclass(frozen=True, slots=True)
class Option:
    """An element of a sort, or none."""

    of: Sort


@dataclass(frozen=True, slots=True)
class Enum:
    """A fixed list of names."""

    name: str
    members: tuple[str, ...]

    def __getattr__(self, member: str) -> Term:
        if member in self.members:
            return _make("const", (member,), self)
        raise AttributeError(f"{self.name} has no member {member}")


@dataclass(frozen=True, slots=True)
class Bool:
    """Truth values."""


@dataclass(frozen=True, slots=True)
class Int:
    """An integer. `of` names the sorts whose product bounds its size where a scope is fixed:
    a count of vectors has ``of == (VECTOR,)``; `most` is a further factor. Unbounded everywhere
    else."""

    of: tuple[Sort, ...] = ()
    most: int = 1


BOOL = Bool()
INT = Int()

Type = Sort | Option | Enum | Bool | Int


class Term:
    """One node of a formula; built only through the functions below."""

    __slots__ = ("__weakref__", "args", "op", "type")
    op: str
    args: tuple[Any, ...]
    type: Type

    def __eq__(self, other: object) -> Term:  # type: ignore[override]  # a formula, not a verdict
        return eq(self, lift(other))

    def __ne__(self, other: object) -> Term:  # type: ignore[override]  # as above
        return not_(eq(self, lift(other)))

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        """Identity decides equality, so that terms can be keys; anything else is a mistake."""
        if self.op == "const":
            return bool(self.args[0])
        if self.op == "eq":
            return self.args[0] is self.args[1]
        if self.op == "not" and self.args[0].op == "eq":
            return self.args[0].args[0] is not self.args[0].args[1]
        raise TypeError(f"a formula has no truth value of its own: {self!r}")

    def __and__(self, other: object) -> Term:
        return and_(self, lift(other))

    def __or__(self, other: object) -> Term:
        return or_(self, lift(other))

    def __invert__(self) -> Term:
        return not_(self)

    def __add__(self, other: object) -> Term:
        return add(self, lift(other))

    def __sub__(self, other: object) -> Term:
        return add(self, negate(lift(other)))

    def __le__(self, other: object) -> Term:
        return _compare("le", self, lift(other))

    def __lt__(self, other: object) -> Term:
        return _compare("lt", self, lift(other))

    def __ge__(self, other: object) -> Term:
        return lift(other) <= self

    def __gt__(self, other: object) -> Term:
        return lift(other) < self

    def implies(self, other: object) -> Term:
        """The implication; true where `self` is false."""
        other = lift(other)
        if self is TRUE or other is TRUE:
            return other
        if self is FALSE:
            return TRUE
        if other is FALSE:
            return not_(self)
        return TRUE if self is other else _make("implies", (self, other), BOOL)

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self.op, self.args, self.type)

    def __repr__(self) -> str:
        from spec.mathematics import plain

        return plain(self)


@functools.cache
def _intern(op: str, keys: tuple[Any, ...], type: Type) -> Term:
    term = object.__new__(Term)
    term.op, term.type = op, type
    term.args = tuple(key.term if isinstance(key, _Key) else key for key in keys)
    return term


class _Key:
    """A term as a part of an interning key: compared by identity, never by formula."""

    __slots__ = ("term",)

    def __init__(self, term: Term) -> None:
        self.term = term

    def __hash__(self) -> int:
        return id(self.term)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.term is self.term


def _make(op: str, args: tuple[Any, ...], type: Type) -> Term:
    return _intern(op, tuple(_Key(a) if isinstance(a, Term) else a for a in args), type)


def constant(value: bool | int | str | None, type: Type) -> Term:
    """A literal of `type`: a truth value, an integer, a member's name, or none."""
    return _make("const", (value,), type)


def value_of(term: Term) -> Any:
    """The value of a constant."""
    return term.args[-1]


TRUE = constant(True, BOOL)
FALSE = constant(False, BOOL)


def lift(value: object) -> Term:
    """A Python value as a term: truth values and integers stand for themselves."""
    if isinstance(value, Term):
        return value
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if isinstance(value, int):
        return constant(value, INT)
    raise TypeError(f"{value!r} is no term, no truth value and no integer")


def none(sort: Sort) -> Term:
    """The absent element of a sort."""
    return constant(None, Option(sort))


def variable(name: str, type: Type) -> Term:
    """A parameter or a bound variable."""
    return _make("var", (name,), type)


def read(field: str, index: Iterable[Term], type: Type) -> Term:
    """The value of a field before the action; `index` may hold options (see the module's text)."""
    return _make("read", (field, *map(_element, index)), type)


def apply(function: str, index: Iterable[Term], type: Type) -> Term:
    """The value of a parameter that is itself a function, such as a CPU mask."""
    return _make("apply", (function, *map(_element, index)), type)


def _element(index: Term) -> Term:
    return index.args[0] if index.op == "some" else index


def some(element: Term) -> Term:
    """An element as an option; an option stays what it is."""
    if isinstance(element.type, Sort):
        return _make("some", (element,), Option(element.type))
    return element


def default(type: Type) -> Term:
    """What a field of this type reads where it is indexed with none."""
    match type:
        case Bool():
            return FALSE
        case Int():
            return constant(0, INT)
        case Enum():
            return constant(type.members[0], type)
        case Option():
            return constant(None, type)
    raise TypeError(f"{type} has no default")


def not_(a: Term) -> Term:
    """Negation."""
    if a.op == "not":
        inner: Term = a.args[0]
        return inner
    if a is TRUE:
        return FALSE
    return TRUE if a is FALSE else _make("not", (a,), BOOL)


def _junction(op: str, unit: Term, zero: Term, terms: Iterable[Term]) -> Term:
    parts: dict[int, Term] = {}
    for term in terms:
        for part in term.args if term.op == op else (term,):
            if part is zero or id(not_(part)) in parts:
                return zero
            if part is not unit:
                parts[id(part)] = part
    dual = "or" if op == "and" else "and"
    kept = tuple(_propagate(part, op, dual, parts) for part in parts.values())
    if any(k is not p for k, p in zip(kept, parts.values(), strict=True)):
        return _junction(op, unit, zero, kept)
    return unit if not kept else kept[0] if len(kept) == 1 else _make(op, kept, BOOL)


def _propagate(part: Term, op: str, dual: str, parts: Mapping[int, Term]) -> Term:
    """In `a and (b or not a)` and `a and not (a and b)`, drop what the other parts decide."""
    inner = part.args[0] if part.op == "not" else part
    negated = inner is not part
    if inner.op != (op if negated else dual):
        return part
    left = [p for p in inner.args if id(p if negated else not_(p)) not in parts]
    if len(left) == len(inner.args):
        return part
    rest = and_(*left) if inner.op == "and" else or_(*left)
    return not_(rest) if negated else rest


def and_(*terms: Term) -> Term:
    """Conjunction of any number of formulas; true of none."""
    return _junction("and", TRUE, FALSE, terms)


def or_(*terms: Term) -> Term:
    """Disjunction of any number of formulas; false of none."""
    return _junction("or", FALSE, TRUE, terms)


def eq(a: Term, b: Term) -> Term:
    """Equality of two values of one type; an element equals the option that holds it."""
    if isinstance(a.type, Option) or isinstance(b.type, Option):
        a, b = some(a), some(b)
    if a is b:
        return TRUE
    if a.op == "const":
        a, b = b, a
    if a.op == b.op == "some":
        return eq(a.args[0], b.args[0])
    if a.op == b.op == "const" or (a.op == "some" and b.op == "const"):
        return FALSE
    if b is TRUE or b is FALSE:
        return a if b is TRUE else not_(a)
    if a.op == "ite" and b.op in ("const", "some"):
        return ite(a.args[0], eq(a.args[1], b), eq(a.args[2], b))
    if b.op == "ite" and a.op == "some":
        return ite(b.args[0], eq(b.args[1], a), eq(b.args[2], a))
    return _make("eq", (a, b), BOOL)


def ite(condition: Term, then: object, other: object) -> Term:
    """`then` where the condition holds, else `other`."""
    return _choose(condition, lift(then), lift(other))


def _choose(condition: Term, then: Term, other: Term) -> Term:
    if isinstance(then.type, Option) or isinstance(other.type, Option):
        then, other = some(then), some(other)
    if condition is TRUE or then is other:
        return then
    if condition is FALSE:
        return other
    if isinstance(then.type, Bool):
        if then.op == "const":
            return or_(condition, other) if then is TRUE else and_(not_(condition), other)
        if other.op == "const":
            return condition.implies(then) if other is TRUE else and_(condition, then)
    while other.op == "ite" and set(conjuncts(condition)) <= set(conjuncts(other.args[0])):
        other = other.args[2]
    if then.op == "ite" and then.args[0] is condition:
        then = then.args[1]
    if then is other:
        return then
    return _make("ite", (condition, then, other), then.type)


def conjuncts(term: Term) -> tuple[Term, ...]:
    """The formulas that `term` joins with "and"; none of true."""
    if term is TRUE:
        return ()
    return term.args if term.op == "and" else (term,)


def negate(a: Term) -> Term:
    """The additive inverse."""
    if a.op == "const":
        return constant(-value_of(a), INT)
    if a.op == "neg":
        inner: Term = a.args[0]
        return inner
    return add(*map(negate, a.args)) if a.op == "add" else _make("neg", (a,), INT)


def add(*terms: Term) -> Term:
    """The sum; constants are gathered and opposite summands cancel."""
    total = 0
    parts: list[Term] = []
    for term in terms:
        for part in term.args if term.op == "add" else (term,):
            opposite = negate(part)
            if part.op == "const":
                total += value_of(part)
            elif any(opposite is p for p in parts):
                del parts[next(k for k, p in enumerate(parts) if p is opposite)]
            else:
                parts.append(part)
    if total and len(parts) == 1 and _choice_of_constants(parts[0]):
        condition, then, other = parts[0].args
        return ite(condition, value_of(then) + total, value_of(other) + total)
    if total or not parts:
        parts.append(constant(total, INT))
    return parts[0] if len(parts) == 1 else _make("add", tuple(parts), INT)


def _choice_of_constants(term: Term) -> bool:
    return term.op == "ite" and term.args[1].op == term.args[2].op == "const"


def implies(a: Term, b: Term) -> Term:
    """The implication, as a function."""
    return a.implies(b)


def _compare(op: str, a: Term, b: Term) -> Term:
    if a.op == b.op == "const":
        return lift(value_of(a) <= value_of(b) if op == "le" else value_of(a) < value_of(b))
    return _make(op, (a, b), BOOL)


def _bind(sorts: tuple[Sort, ...], body: Callable[..., Term]) -> tuple[tuple[Term, ...], Term]:
    # The body is built on placeholders that nobody else has: it may get variables from outside,
    # through a function's arguments, that happen to have the names of the lambda's own.
    names = inspect.signature(body).parameters
    pairs = list(zip(names, sorts, strict=True))
    holes = tuple(_make("var", (name, object()), sort) for name, sort in pairs)
    inner = lift(body(*holes))
    outside = _names(free_variables(inner) - set(holes))
    bound = tuple(_fresh(variable(name, sort), outside) for name, sort in pairs)
    return bound, substitute(inner, dict(zip(holes, bound, strict=True)))


def _names(variables: Iterable[Term]) -> frozenset[str]:
    return frozenset(v.args[0] for v in variables)


def _fresh(wanted: Term, taken: frozenset[str]) -> Term:
    """A variable like this one, with as many primes as it takes to have a name of its own. A name
    is taken whatever the sort: people and the plain evaluator tell variables apart by name."""
    while wanted.args[0] in taken:
        wanted = variable(wanted.args[0] + "'", wanted.type)
    return wanted


def quantified(op: str, bound: tuple[Term, ...], body: Term) -> Term:
    """`forall`, `exists` or `sum` over variables; a quantifier over an unused variable goes."""
    if op != "sum":
        bound = tuple(v for v in bound if v in free_variables(body))
        if not bound or body.op == "const":
            return body
        if op == "exists" and len(bound) == 1 and _pins(body, bound[0]):
            return TRUE
        if body.op == op:
            bound, body = bound + body.args[:-1], body.args[-1]
    elif body.op == "const" and value_of(body) == 0:
        return body
    return _make(op, (*bound, body), INT if op == "sum" else BOOL)


def _pins(body: Term, variable: Term) -> bool:
    """The body says that the variable equals some element: there is one."""
    if body.op != "eq":
        return False
    left, right = body.args
    return (left is variable and variable not in free_variables(right)) or (
        right is variable and variable not in free_variables(left)
    )


def forall(*sorts_and_body: Any) -> Term:
    """``forall(CPU, VECTOR, lambda c, v: ...)``; the lambda's names are the printed names."""
    return quantified("forall", *_bind(sorts_and_body[:-1], sorts_and_body[-1]))


def exists(*sorts_and_body: Any) -> Term:
    """``exists(IRQ, lambda i: ...)``."""
    return quantified("exists", *_bind(sorts_and_body[:-1], sorts_and_body[-1]))


def total(sort: Sort, body: Callable[[Term], Term]) -> Term:
    """The sum of an integer term over a (finite) sort."""
    return quantified("sum", *_bind((sort,), body))


def count(sort: Sort, body: Callable[[Term], Term]) -> Term:
    """The number of elements of a (finite) sort with a property: a sum of ones."""
    bound, condition = _bind((sort,), body)
    return quantified("sum", bound, ite(condition, 1, 0))


BINDERS = frozenset({"forall", "exists", "sum"})


def subterms(term: Term) -> Iterable[Term]:
    """The terms directly below this one."""
    return (a for a in term.args if isinstance(a, Term))


_NO_VARIABLES: frozenset[Term] = frozenset()


@functools.cache
def free_variables(term: Term) -> frozenset[Term]:
    """The variables that no quantifier inside the term binds."""
    if term.op == "var":
        return frozenset({term})
    below = _NO_VARIABLES.union(*(free_variables(a) for a in subterms(term)))
    return below - set(term.args[:-1]) if term.op in BINDERS else below


def rebuild(term: Term, args: tuple[Any, ...]) -> Term:
    """The same operation over other arguments, simplified again."""
    match term.op:
        case "const" | "var":
            return term
        case "read":
            return read(args[0], args[1:], term.type)
        case "apply":
            return apply(args[0], args[1:], term.type)
        case "some":
            return some(args[0])
        case "le" | "lt":
            return _compare(term.op, *args)
        case "forall" | "exists" | "sum":
            return quantified(term.op, args[:-1], args[-1])
        case "implies":
            result: Term = args[0].implies(args[1])
            return result
    built: Term = _BUILD[term.op](*args)
    return built


_BUILD: Mapping[str, Callable[..., Term]] = {
    "and": and_,
    "or": or_,
    "not": not_,
    "eq": eq,
    "ite": ite,
    "add": add,
    "neg": negate,
}


def transform(term: Term, leaf: Callable[[Term, tuple[Any, ...]], Term | None]) -> Term:
    """Rebuild a term bottom up. `leaf(node, new_args)` may answer a replacement for a node whose
    arguments were rebuilt already; None keeps the node."""
    seen: dict[int, Term] = {}

    def walk(node: Term) -> Term:
        done = seen.get(id(node))
        if done is None:
            args = tuple(walk(a) if isinstance(a, Term) else a for a in node.args)
            done = leaf(node, args)
            if done is None:
                changed = any(a is not b for a, b in zip(args, node.args, strict=True))
                done = rebuild(node, args) if changed else node
            seen[id(node)] = done
        return done

    return walk(term)


def substitute(term: Term, replacement: Mapping[Term, Term]) -> Term:
    """Replace free variables, all at once; bound variables are renamed where they would capture."""
    live = {v: t for v, t in replacement.items() if v in free_variables(term)}
    if not live:
        return term
    captured = _names(_NO_VARIABLES.union(*(free_variables(t) for t in live.values())))
    seen: dict[int, Term] = {}

    def walk(node: Term) -> Term:
        if node.op == "var":
            return live.get(node, node)
        if id(node) not in seen:
            if live.keys().isdisjoint(free_variables(node)):
                seen[id(node)] = node
            elif node.op in BINDERS and _clashes(node.args[:-1], live, captured):
                seen[id(node)] = _under_binder(node, live, captured)
            else:
                args = tuple(walk(a) if isinstance(a, Term) else a for a in node.args)
                same = all(a is b for a, b in zip(args, node.args, strict=True))
                seen[id(node)] = node if same else rebuild(node, args)
        return seen[id(node)]

    return walk(term)


def renamed(term: Term, taken: frozenset[str]) -> Term:
    """The same term, in which no bound variable has one of these names."""

    def leaf(node: Term, args: tuple[Any, ...]) -> Term | None:
        if node.op not in BINDERS or taken.isdisjoint(_names(node.args[:-1])):
            return None
        bound, body = args[:-1], args[-1]
        inside = taken | _names(free_variables(body) | set(bound))
        fresh = {v: _fresh(v, inside) for v in bound if v.args[0] in taken}
        return quantified(node.op, tuple(fresh.get(v, v) for v in bound), substitute(body, fresh))

    return transform(term, leaf)


def _clashes(bound: Iterable[Term], live: Mapping[Term, Term], captured: frozenset[str]) -> bool:
    return any(v in live or v.args[0] in captured for v in bound)


def _under_binder(node: Term, live: Mapping[Term, Term], captured: frozenset[str]) -> Term:
    """Substitute below a quantifier whose variables shadow or would capture: rename them first."""
    bound, body = node.args[:-1], node.args[-1]
    fresh: dict[Term, Term] = {}
    for v in bound:
        others = _names((free_variables(body) - {v}) | frozenset(fresh.values()))
        fresh[v] = _fresh(v, captured | others)
    changed = {v: new for v, new in fresh.items() if new is not v}
    inner = {v: t for v, t in live.items() if v not in fresh}
    return quantified(node.op, tuple(fresh.values()), substitute(body, {**changed, **inner}))
