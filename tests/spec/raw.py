# SPDX-License-Identifier: GPL-2.0-only
"""Formulas as plain trees, with an evaluator of their own: what the terms are held against.

Nothing here simplifies, substitutes or remembers. A tree is made into a term by the constructors
that specifications use, and the term must then mean what the tree means.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from spec.records import FunctionOf, Parameter
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
    and_,
    apply,
    constant,
    eq,
    exists,
    forall,
    implies,
    ite,
    none,
    not_,
    or_,
    read,
    total,
    variable,
)

A, B = Sort("A"), Sort("B")
COLOUR = Enum("Colour", ("RED", "GREEN", "BLUE"))

FIELDS: Mapping[str, tuple[tuple[Sort, ...], Type]] = {
    "flag": ((), BOOL),
    "some_a": ((A,), BOOL),
    "pair": ((A, B), BOOL),
    "rigid_b": ((B,), BOOL),
    "alone": ((), Option(B)),
    "of_a": ((A,), Option(B)),
    "of_b": ((B,), Option(A)),
    "wide": ((A, B), Option(A)),
    "number": ((A,), Int((B,))),
    "total": ((), Int((A, B))),
    "colour": ((B,), COLOUR),
}
PARAMETERS: Mapping[str, Parameter] = {
    "a": A,
    "b": B,
    "maybe": Option(B),
    "yes": BOOL,
    "hue": COLOUR,
    "mask": FunctionOf((A,), BOOL),
    "bits": FunctionOf((A,), Option(B)),
}
SIMPLE: Mapping[str, Parameter] = {"a": A, "b": B}

State = dict[str, dict[tuple[int, ...], Any]]
Sizes = Mapping[Sort, int]


@dataclass(frozen=True)
class Raw:
    """A tree. Variables are ("var", name); binders (op, name, sort, body)."""

    op: str
    args: tuple[Any, ...]
    type: Type


def value(raw: Raw, state: State, sizes: Sizes, names: Mapping[str, Any]) -> Any:
    """What the tree means."""

    def at(part: Raw) -> Any:
        return value(part, state, sizes, names)

    a = raw.args
    match raw.op:
        case "const":
            return a[0]
        case "var":
            return names[a[0]]
        case "read" | "apply":
            index = tuple(map(at, a[1]))
            if None in index:
                return _nothing(raw.type)
            if raw.op == "read":
                return state[a[0]][index]
            return names[a[0]][index[0]]
        case "not":
            return not at(a[0])
        case "and":
            return all([at(p) for p in a])
        case "or":
            return any([at(p) for p in a])
        case "implies":
            return at(a[1]) if at(a[0]) else True
        case "eq":
            return at(a[0]) == at(a[1])
        case "le":
            return at(a[0]) <= at(a[1])
        case "lt":
            return at(a[0]) < at(a[1])
        case "ite":
            return at(a[1]) if at(a[0]) else at(a[2])
        case "add":
            return at(a[0]) + at(a[1])
        case "sub":
            return at(a[0]) - at(a[1])
    name, sort, body = a
    values = [value(body, state, sizes, {**names, name: k}) for k in range(sizes[sort])]
    joins: dict[str, Callable[..., Any]] = {"forall": all, "exists": any, "sum": sum}
    return joins[raw.op](values)


def _nothing(type: Type) -> Any:
    match type:
        case Bool():
            return False
        case Int():
            return 0
        case Enum():
            return type.members[0]
    return None


Reader = Callable[[str, Sequence[Term]], Term]


def plain_read(name: str, index: Sequence[Term]) -> Term:
    """A field before any action."""
    return read(name, index, FIELDS[name][1])


_NAMED: Mapping[str, Callable[[Callable[[Term], Term]], Callable[[Term], Term]]] = {
    "x": lambda body: lambda x: body(x),
    "y": lambda body: lambda y: body(y),
    "a": lambda body: lambda a: body(a),
    "b": lambda body: lambda b: body(b),
}
"""A function that calls another, with this name for its parameter."""


def term(raw: Raw, reader: Reader = plain_read, inside: Mapping[str, Term] | None = None) -> Term:
    """The tree as a term, built by the functions that specifications call. `inside` has the bound
    variables."""
    a, bound = raw.args, inside or {}

    def at(part: Raw) -> Term:
        return term(part, reader, bound)

    match raw.op:
        case "const":
            return none(raw.type.of) if isinstance(raw.type, Option) else constant(a[0], raw.type)
        case "var":
            return bound.get(a[0], variable(a[0], raw.type))
        case "read":
            return reader(a[0], [at(p) for p in a[1]])
        case "apply":
            return apply(a[0], [at(p) for p in a[1]], raw.type)
        case "not":
            return not_(at(a[0]))
        case "and":
            return and_(*map(at, a))
        case "or":
            return or_(*map(at, a))
        case "implies":
            return implies(at(a[0]), at(a[1]))
        case "eq":
            return eq(at(a[0]), at(a[1]))
        case "le":
            return at(a[0]) <= at(a[1])
        case "lt":
            return at(a[0]) < at(a[1])
        case "ite":
            return ite(at(a[0]), at(a[1]), at(a[2]))
        case "add":
            return at(a[0]) + at(a[1])
        case "sub":
            return at(a[0]) - at(a[1])
    name, sort, body = a
    named = _NAMED[name.rstrip("'")](lambda v: term(body, reader, {**bound, name: v}))
    if raw.op == "sum":
        return total(sort, named)
    return forall(sort, named) if raw.op == "forall" else exists(sort, named)


def names_in(raw: Raw) -> set[str]:
    """Every field and every name that occurs."""
    found = {a for a in raw.args if isinstance(a, str)} if raw.op != "const" else set()
    for part in raw.args:
        for below in part if isinstance(part, tuple) else (part,):
            if isinstance(below, Raw):
                found |= names_in(below)
    return found


# --- random trees ---------------------------------------------------------------------------


Source = Callable[[Any], Any] | random.Random
"""Where choices come from: Hypothesis, which makes a failing example small, or a generator of
random numbers, which is twenty times as fast."""


def pick(source: Source, options: Sequence[Any]) -> Any:
    """One of the options."""
    if isinstance(source, random.Random):
        return source.choice(options)
    return options[source(st.integers(0, len(options) - 1))]


class Maker:
    """Draws trees of bounded depth.

    Bound variables take their names from a short list that the sorts share, and from the parameter
    of their sort, so that they shadow one another. `ordered` allows comparing elements, `chosen` an
    element by a condition, `absent` calling a function parameter with none."""

    def __init__(
        self,
        draw: Source,
        parameters: Mapping[str, Parameter] = PARAMETERS,
        *,
        ordered: bool = True,
        chosen: bool = True,
        absent: bool = True,
    ) -> None:
        self.draw, self.parameters = draw, parameters
        self.ordered, self.chosen, self.absent = ordered, chosen, absent

    def one_of(self, options: Sequence[Any]) -> Any:
        return pick(self.draw, options)

    def make(self, type: Type, depth: int, bound: Mapping[str, Sort]) -> Raw:
        """A tree of a type."""
        match type:
            case Bool():
                return self.bool_(depth, bound)
            case Int():
                return self.number(depth, bound)
            case Enum():
                return self.colour(depth, bound)
            case Option():
                return self.element(type.of, depth, bound)
        assert isinstance(type, Sort)
        return self.position(type, bound)

    def bool_(self, depth: int, bound: Mapping[str, Sort]) -> Raw:
        d = depth - 1
        if depth <= 0:
            leaves = [lambda: self.field(BOOL, d, bound), lambda: self.constant_bool()]
            leaves += [lambda: Raw("var", ("yes",), BOOL)] * ("yes" in self.parameters)
            leaves += [lambda: self.call("mask", BOOL, d, bound)] * ("mask" in self.parameters)
            made: Raw = self.one_of([leaves[0], *leaves])()
            return made
        op = self.one_of(
            ["not", "and", "or", "implies", "ite", "eq", "eq", "eq?", "eqn", "le", "lt", "order",
             "forall", "exists", "and", "or"]
        )  # fmt: skip
        match op:
            case "not":
                return Raw("not", (self.bool_(d, bound),), BOOL)
            case "and" | "or":
                return Raw(
                    op, tuple(self.bool_(d, bound) for _ in range(self.one_of([2, 3]))), BOOL
                )
            case "implies":
                return Raw(op, (self.bool_(d, bound), self.bool_(d, bound)), BOOL)
            case "ite":
                return Raw(op, tuple(self.bool_(d, bound) for _ in range(3)), BOOL)
            case "eq":
                sort = self.one_of([A, B])
                return Raw("eq", (self.element(sort, d, bound), self.element(sort, d, bound)), BOOL)
            case "eq?":
                type = self.one_of([BOOL, COLOUR])
                return Raw("eq", (self.make(type, d, bound), self.make(type, d, bound)), BOOL)
            case "eqn" | "le" | "lt":
                sides = self.number(d, bound), self.number(d, bound)
                return Raw("eq" if op == "eqn" else op, sides, BOOL)
            case "order" if self.ordered:
                sort = self.one_of([A, B])
                sides = self.position(sort, bound), self.position(sort, bound)
                return Raw(self.one_of(["le", "lt"]), sides, BOOL)
            case "order":
                return self.field(BOOL, d, bound)
        return self.binder(op, BOOL, d, bound)

    def constant_bool(self) -> Raw:
        return Raw("const", (self.one_of([True, False]),), BOOL)

    def binder(self, op: str, type: Type, depth: int, bound: Mapping[str, Sort]) -> Raw:
        sort = self.one_of([A, B])
        name = self.one_of(["x", "x", "y", "x'", "a" if sort == A else "b"])
        inner = {**bound, name: sort}
        if op == "sum":
            body = self.number(depth, inner)
            if self.one_of([True, True, False]):
                zero, one = (Raw("const", (k,), INT) for k in (0, 1))
                body = Raw("ite", (self.bool_(depth, inner), one, zero), INT)
        else:
            body = self.bool_(depth, inner)
        return Raw(op, (name, sort, body), type)

    def position(self, sort: Sort, bound: Mapping[str, Sort]) -> Raw:
        """A variable of the sort."""
        free = [n for n, t in self.parameters.items() if t == sort and n not in bound]
        return Raw("var", (self.one_of([n for n, t in bound.items() if t == sort] + free),), sort)

    def element(self, sort: Sort, depth: int, bound: Mapping[str, Sort]) -> Raw:
        d = depth - 1
        if depth <= 0:
            return self.position(sort, bound)
        match self.one_of(["var", "var", "none", "ite", "field", "field", "more"]):
            case "none":
                return Raw("const", (None,), Option(sort))
            case "ite" if self.chosen:
                parts = (self.bool_(d, bound), self.element(sort, d, bound))
                return Raw("ite", (*parts, self.element(sort, d, bound)), Option(sort))
            case "field":
                return self.field(Option(sort), d, bound)
            case "more" if sort == B and "maybe" in self.parameters:
                if self.one_of([True, False]):
                    return Raw("var", ("maybe",), Option(B))
                return self.call("bits", Option(B), d, bound)
        return self.position(sort, bound)

    def number(self, depth: int, bound: Mapping[str, Sort]) -> Raw:
        d = depth - 1
        op = self.one_of(["const", "field", "add", "sub", "ite", "sum"]) if depth > 0 else "const"
        match op:
            case "const":
                return Raw("const", (self.one_of([0, 1, -1, 2]),), INT)
            case "field":
                return self.field(INT, d, bound)
            case "add" | "sub":
                return Raw(op, (self.number(d, bound), self.number(d, bound)), INT)
            case "ite":
                parts = (self.bool_(d, bound), self.number(d, bound), self.number(d, bound))
                return Raw("ite", parts, INT)
        return self.binder("sum", INT, d, bound)

    def colour(self, depth: int, bound: Mapping[str, Sort]) -> Raw:
        if depth > 0 and self.one_of([True, False]):
            return self.field(COLOUR, depth - 1, bound)
        if "hue" in self.parameters and self.one_of([True, False]):
            return Raw("var", ("hue",), COLOUR)
        return Raw("const", (self.one_of(COLOUR.members),), COLOUR)

    def field(self, type: Type, depth: int, bound: Mapping[str, Sort]) -> Raw:
        kind = (lambda t: isinstance(t, Int)) if isinstance(type, Int) else (lambda t: t == type)
        name = self.one_of([n for n, (_, t) in FIELDS.items() if kind(t)])
        args, own = FIELDS[name]
        index = tuple(self.element(sort, depth, bound) for sort in args)
        return Raw("read", (name, index), own)

    def call(self, name: str, type: Type, depth: int, bound: Mapping[str, Sort]) -> Raw:
        index = self.element(A, depth, bound) if self.absent else self.position(A, bound)
        return Raw("apply", (name, (index,)), type)


@st.composite
def trees(
    draw: Callable[[Any], Any],
    depth: int = 4,
    type: Type = BOOL,
    parameters: Mapping[str, Parameter] = PARAMETERS,
    ordered: bool = True,
    chosen: bool = True,
    absent: bool = True,
) -> Raw:
    """Random trees of a type over the fields and parameters above."""
    maker = Maker(draw, parameters, ordered=ordered, chosen=chosen, absent=absent)
    return maker.make(type, depth, {})


@st.composite
def scopes(draw: Callable[[Any], Any], most: int = 3) -> dict[Sort, int]:
    """One to `most` elements for each sort."""
    return draw_scope(draw, most)


def values(type: Type, sizes: Sizes) -> Sequence[Any]:
    """The values of a type in a scope; of integers a few."""
    match type:
        case Bool():
            return [False, True]
        case Int():
            return [0, 1, -1, 2]
        case Enum():
            return type.members
        case Option():
            return [None, *range(sizes[type.of])]
    assert isinstance(type, Sort)
    return range(sizes[type])


def indices(args: Sequence[Sort], sizes: Sizes) -> list[tuple[int, ...]]:
    """The places of a field."""
    return list(itertools.product(*(range(sizes[s]) for s in args)))


def draw_scope(source: Source, most: int = 3) -> dict[Sort, int]:
    """One to `most` elements for each sort."""
    return {sort: pick(source, range(1, most + 1)) for sort in (A, B)}


def draw_state(source: Source, sizes: Sizes) -> State:
    """Any state in the scope."""
    return {
        name: {index: pick(source, values(type, sizes)) for index in indices(args, sizes)}
        for name, (args, type) in FIELDS.items()
    }


def draw_names(
    source: Source, sizes: Sizes, parameters: Mapping[str, Parameter] = PARAMETERS
) -> dict[str, Any]:
    """A value for each parameter."""
    names: dict[str, Any] = {}
    for name, type in parameters.items():
        if isinstance(type, FunctionOf):
            options = values(type.type, sizes)
            names[name] = {k: pick(source, options) for k in range(sizes[A])}
        else:
            names[name] = pick(source, values(type, sizes))
    return names
