# SPDX-License-Identifier: GPL-2.0-only
"""The reading for people: terms and whole specifications as mathematics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from spec.records import Action, Field, FunctionOf, Invariant, Model, Parameter, Theorem, Write
from spec.terms import BINDERS, TRUE, Bool, Enum, Int, Option, Sort, Term, conjuncts, value_of

_INFIX = {"and": " ∧ ", "or": " ∨ ", "implies": " ⇒ ", "eq": " = ", "le": " ≤ ", "lt": " < "}
_BINDS = {"forall": "∀", "exists": "∃", "sum": "Σ"}
_LEVEL = {
    "forall": 0, "exists": 0, "implies": 1, "or": 2, "and": 3, "not": 4,
    "eq": 5, "le": 5, "lt": 5, "add": 6, "sum": 6, "neg": 7, "ite": 0,
}  # fmt: skip


def plain(term: Term) -> str:
    """One line of mathematics."""
    return _write(term, 0)


def _write(term: Term, level: int) -> str:
    text = _bare(term)
    own = _LEVEL.get(term.op, 9)
    return f"({text})" if own < level else text


def _bare(term: Term) -> str:
    op, args = term.op, term.args
    if op == "const":
        value = value_of(term)
        if isinstance(term.type, Bool):
            return "true" if value else "false"
        return "none" if value is None else str(value)
    if op == "var":
        return str(args[0])
    if op in ("read", "apply"):
        index = ", ".join(_write(a, 0) for a in args[1:])
        return f"{args[0]}[{index}]" if index else str(args[0])
    if op == "some":
        return _write(args[0], 9)
    if op == "not":
        return _negated(args[0])
    if op == "neg":
        return f"−{_write(args[0], 8)}"
    if op == "add":
        return _added(args)
    if op == "ite":
        return f"if {_write(args[0], 1)} then {_write(args[1], 1)} else {_write(args[2], 1)}"
    if op in BINDERS:
        return _bound(term)
    return _INFIX[op].join(_write(a, _LEVEL[op] + 1) for a in args)


def _negated(inner: Term) -> str:
    if inner.op == "eq":
        return f"{_write(inner.args[0], 6)} ≠ {_write(inner.args[1], 6)}"
    return f"¬{_write(inner, 8)}"


def _added(args: tuple[Any, ...]) -> str:
    text = _write(args[0], 6)
    for part in args[1:]:
        if part.op == "neg":
            text += f" − {_write(part.args[0], 7)}"
        elif part.op == "const" and value_of(part) < 0:
            text += f" − {-value_of(part)}"
        else:
            text += f" + {_write(part, 6)}"
    return text


def _bound(term: Term) -> str:
    body = term.args[-1]
    names = ", ".join(f"{v.args[0]}: {v.type.name}" for v in term.args[:-1])
    if term.op == "sum" and body.op == "ite" and value_of_or(body.args[2]) == 0:
        if value_of_or(body.args[1]) == 1:
            return f"|{{{names} | {_write(body.args[0], 1)}}}|"
        return f"Σ {{{names} | {_write(body.args[0], 1)}}} {_write(body.args[1], 7)}"
    return f"{_BINDS[term.op]} {names}: {_write(body, 0)}"


def value_of_or(term: Term) -> object:
    """The value of a constant; None for any other term."""
    return value_of(term) if term.op == "const" else None


def type_name(type: Parameter) -> str:
    """A type as it is written in declarations."""
    match type:
        case Sort() | Enum():
            return type.name
        case Option():
            return f"{type.of.name} or none"
        case Bool():
            return "Bool"
        case Int():
            return "Int"
        case FunctionOf():
            return f"{' × '.join(s.name for s in type.args)} → {type_name(type.type)}"


def specification(model: Model) -> Iterator[str]:
    """The whole specification, line by line: sorts, state, actions, operations, invariants."""
    yield f"SPECIFICATION {model.name}"
    yield f"SORTS {', '.join(s.name for s in model.sorts)}"
    if model.switches:
        yield f"SWITCHED ON {', '.join(sorted(model.switches))}"
    if model.parts:
        # What the parts have is in their own specifications.
        yield f"JOINS {', '.join(part.name for part in model.parts)}"
        fields = {name for part in model.parts for name in part.fields}
        own = (f for f in model.fields.values() if f.name not in fields)
        yield from _section("STATE", own, _field)
        yield from _section("INVARIANTS", model.own_invariants, _invariant)
        yield from _section("THEOREMS", model.own_theorems, _theorem)
        return
    yield from _section("STATE", model.fields.values(), _field)
    yield from _section("AXIOMS", model.axioms, lambda t: iter([f"  {plain(t)}"]))
    yield from _section("ACTIONS", model.actions.values(), _action)
    yield from _section("OPERATIONS", model.operations.values(), _action)
    yield from _section("INVARIANTS", model.invariants, _invariant)
    yield from _section("THEOREMS", model.theorems, _theorem)


def _section(title: str, items: Any, lines: Callable[[Any], Iterator[str]]) -> Iterator[str]:
    yield ""
    yield title
    for item in items:
        yield from lines(item)


def _field(f: Field) -> Iterator[str]:
    args = " × ".join(s.name for s in f.args)
    arrow = f"{args} → " if args else ""
    kinds = [k for k in ("rigid", "transient", "ghost") if getattr(f, k)]
    tail = f" ({', '.join(kinds)})" if kinds else ""
    yield f"  {f.name}: {arrow}{type_name(f.type)}    {f.doc}{tail}"


def _action(action: Action) -> Iterator[str]:
    params = ", ".join(f"{n}: {type_name(t)}" for n, t in action.params.items())
    yield f"  {action.name}({params})"
    yield f"    -- {' '.join(action.doc.split())}"
    for part in conjuncts(action.guard):
        yield f"    require {plain(part)}"
    for assumption in action.assumptions:
        yield f"    assume without {assumption.switch}: {plain(assumption.condition)}"
    for name, writes in action.writes.items():
        for write in writes:
            yield f"    {_update(name, write)}"


def _update(name: str, write: Write) -> str:
    if write.points is not None:
        place = ", ".join(plain(p) for p in write.points)
        left = f"{name}'[{place}]" if place else f"{name}'"
        when = [t for t in conjuncts(write.condition) if not _is_place(t, write)]
        tail = f"  where {' ∧ '.join(_write(t, 4) for t in when)}" if when else ""
        return f"{left} = {plain(write.value)}{tail}"
    places = ", ".join(plain(v) for v in write.vars)
    return f"{name}'[{places}] = {plain(write.value)}  where {plain(write.condition)}"


def _is_place(term: Term, write: Write) -> bool:
    return (term.op == "eq" and any(a is v for a in term.args for v in write.vars)) or (
        term.op == "eq"
        and any(a.op == "some" and a.args[0] is v for a in term.args for v in write.vars)
    )


def _invariant(invariant: Invariant) -> Iterator[str]:
    when = " between operations" if invariant.boundary else ""
    unless = f" (but under {', '.join(invariant.unless)})" if invariant.unless else ""
    yield f"  {invariant.id}{when}{unless}: {invariant.sentence}"
    for part in conjuncts(invariant.formula):
        yield f"    {plain(part)}"


def _theorem(theorem: Theorem) -> Iterator[str]:
    yield f"  {theorem.id}: {theorem.sentence}"
    for part in conjuncts(theorem.guard):
        yield f"    given {plain(part)}"
    if theorem.formula is TRUE:
        yield "    then so it is, by what the actions write"
    else:
        yield f"    then {plain(theorem.formula)}"
