# SPDX-License-Identifier: GPL-2.0-only
"""Actions as small programs that run on a concrete state, step by step.

The same program is traced into an action; what remains of it must do what the program does. A block
for each element is run in lockstep: every element does a statement before any does the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypothesis import strategies as st

from spec.language import Layer
from spec.records import Model, Parameter
from spec.state import State as Symbolic
from spec.terms import INT, Int, Sort, Term
from tests.spec.raw import FIELDS, PARAMETERS, A, B, Maker, Raw, Sizes, State, names_in, term, value


@dataclass(frozen=True)
class Require:
    """The program can only run where this holds."""

    condition: Raw


@dataclass(frozen=True)
class Put:
    """``field[index] = value``, or with `add` ``field[index] += value``."""

    field: str
    index: tuple[Raw, ...]
    value: Raw
    add: bool = False


@dataclass(frozen=True)
class When:
    """The block is done where the condition holds."""

    condition: Raw
    block: tuple[Statement, ...]


@dataclass(frozen=True)
class Each:
    """The block is done for every element with `where`."""

    sort: Sort
    name: str
    where: Raw
    block: tuple[Statement, ...]


Statement = Require | Put | When | Each


# --- running --------------------------------------------------------------------------------

Thread = Mapping[str, Any]
"""The names that one element of the blocks around a statement sees."""


def run(
    program: Sequence[Statement], state: State, sizes: Sizes, names: Mapping[str, Any]
) -> State | None:
    """The state after the program, or None where a requirement fails."""
    after = {field: dict(cells) for field, cells in state.items()}
    return after if _block(program, after, sizes, [names]) else None


def _block(program: Sequence[Statement], state: State, sizes: Sizes, threads: list[Thread]) -> bool:
    return all([_statement(s, state, sizes, threads) for s in program])


def _statement(s: Statement, state: State, sizes: Sizes, threads: list[Thread]) -> bool:
    match s:
        case Require():
            return all([value(s.condition, state, sizes, t) for t in threads])
        case When():
            inner = [t for t in threads if value(s.condition, state, sizes, t)]
            return _block(s.block, state, sizes, inner)
        case Each():
            everyone = [{**t, s.name: k} for t in threads for k in range(sizes[s.sort])]
            inner = [t for t in everyone if value(s.where, state, sizes, t)]
            return _block(s.block, state, sizes, inner)
    new = [
        (tuple(value(i, state, sizes, t) for i in s.index), value(s.value, state, sizes, t))
        for t in threads
    ]
    cells = state[s.field]
    for index, it in new:
        if None not in index:
            cells[index] = cells[index] + it if s.add else it
    return True


# --- tracing --------------------------------------------------------------------------------


def trace(program: Sequence[Statement], s: Symbolic, **_: Any) -> None:
    """Do the program on a symbolic state; parameters have the names that the trees use."""
    for statement in program:
        _do(statement, s)


def _do(statement: Statement, s: Symbolic) -> None:
    def made(raw: Raw) -> Term:
        return term(raw, partial(_now, s))

    match statement:
        case Require():
            s.require(made(statement.condition))
        case When():
            with s.when(made(statement.condition)):
                trace(statement.block, s)
        case Each():
            where = made(statement.where)
            with s.each(statement.sort, statement.name, lambda _: where):
                trace(statement.block, s)
        case Put():
            index = tuple(map(made, statement.index))
            new = made(statement.value)
            if statement.add:
                new = _now(s, statement.field, index) + new
            if index:
                getattr(s, statement.field)[index] = new
            else:
                setattr(s, statement.field, new)


def _now(s: Symbolic, name: str, index: Sequence[Term]) -> Term:
    made: Term = getattr(s, name)[tuple(index)] if index else getattr(s, name)
    return made


def fields(layer: Layer) -> Layer:
    """Declare the fields of the random trees."""
    for name, (args, type) in FIELDS.items():
        layer.field(name, *args, type=type, doc="", rigid=name == "rigid_b")
    return layer


def model(
    program: Sequence[Statement],
    parameters: Mapping[str, Parameter] = PARAMETERS,
    formulas: Sequence[Term] = (),
) -> Model:
    """A model with the program as action and operation `happen`, and these invariants."""
    layer = fields(Layer("random", (A, B)))

    def happen(s: Symbolic, *given: Any) -> None:
        """What the program does."""
        trace(program, s)

    layer.action(None, **parameters)(happen)
    layer.operation(None, **parameters)(happen)
    layer.operation(None, a=A, b=B)(touch_all)
    for k, formula in enumerate(formulas):
        layer.invariant(f"R{k}", "random")(partial(_stated, formula))
    return layer.build()


def touch_all(s: Symbolic, a: Term, b: Term) -> None:
    """Write every field that may be written: the columns store what some operation writes."""
    for name, (args, type) in FIELDS.items():
        if name != "rigid_b":
            index = tuple(a if sort == A else b for sort in args)
            now = _now(s, name, index)
            if index:
                getattr(s, name)[index] = now
            else:
                setattr(s, name, now)
            assert now.type == type


def _stated(formula: Term, _: Symbolic) -> Term:
    return formula


# --- random programs ------------------------------------------------------------------------


class Programmer(Maker):
    """Draws programs."""

    def program(self, depth: int = 2) -> tuple[Statement, ...]:
        """A few statements; the first may require something."""
        begin = (Require(self.bool_(1, {})),) if self.one_of([True, False]) else ()
        return (*begin, *self.block(depth, {}, None), self.put({}, None))

    def block(
        self, depth: int, bound: Mapping[str, Sort], each: tuple[str, Sort] | None
    ) -> tuple[Statement, ...]:
        return tuple(self.statement(depth, bound, each) for _ in range(self.one_of([1, 1, 2])))

    def statement(
        self, depth: int, bound: Mapping[str, Sort], each: tuple[str, Sort] | None
    ) -> Statement:
        kinds = ["put", "put", "put", "require"]
        kinds += ["when", "when", "each"] if depth else []
        match self.one_of(kinds):
            case "require":
                return Require(self.bool_(1, bound))
            case "when":
                return When(self.bool_(1, bound), self.block(depth - 1, bound, each))
            case "each" if each is None:
                sort = self.one_of([A, B])
                inner = {**bound, "e": sort}
                block = self.block(depth - 1, inner, ("e", sort))
                return Each(sort, "e", self.bool_(1, inner), block)
        return self.put(bound, each)

    def put(self, bound: Mapping[str, Sort], each: tuple[str, Sort] | None) -> Put:
        if each is not None:
            return self.put_each(bound, *each)
        name = self.one_of([n for n in FIELDS if n != "rigid_b"])
        args, type = FIELDS[name]
        index = tuple(self.element(sort, 1, bound) for sort in args)
        add = isinstance(type, Int) and self.one_of([True, False])
        return Put(name, index, self.make(INT if add else type, 1, bound), add)

    def put_each(self, bound: Mapping[str, Sort], name: str, sort: Sort) -> Put:
        """A write that no two elements do to one place, or a counter that all of them change."""
        own = Raw("var", (name,), sort)
        fitting = [n for n, (args, _) in FIELDS.items() if sort in args and n != "rigid_b"]
        field = self.one_of([*fitting, "total"])
        args, type = FIELDS[field]
        if field == "total":
            change = self.number(2, bound)
            while "total" in names_in(change):
                change = self.number(1, bound)
            return Put(field, (), change, add=True)
        index = tuple(own if s == sort else self.element(s, 1, bound) for s in args)
        return Put(field, index, self.make(type, 1, bound))


@st.composite
def programs(
    draw: Callable[[Any], Any],
    parameters: Mapping[str, Parameter] = PARAMETERS,
    ordered: bool = True,
    absent: bool = True,
) -> tuple[Statement, ...]:
    """Random programs over the fields and parameters of the random trees."""
    return Programmer(draw, parameters, ordered=ordered, absent=absent).program()


__all__ = ["Each", "Programmer", "Put", "Require", "When", "model", "programs", "run"]
