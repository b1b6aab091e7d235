# SPDX-License-Identifier: GPL-2.0-only
"""Operations with their parameters chosen, as word expressions: a guard and what changes.

What the guard says is taken as known in the updates behind it, so that most of them become
constants: an operation that requires ``vector[irq] == bit`` need not look at `vector[irq]` again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from spec.layout import Layout, is_mask, stored_index
from spec.records import Action, Field, FunctionOf, Model, Parameter, Write
from spec.scope import Index, Scope, Value
from spec.terms import Bool, Enum, Int, Option, Sort, Term, constant, eq, variable
from spec.words import Node, Words
from spec.wordwise import Env, Translator


@dataclass(frozen=True, slots=True)
class Instance:
    """An operation with a value for each parameter; a mask is a tuple over the CPUs."""

    operation: str
    params: tuple[tuple[str, Value], ...]

    def __str__(self) -> str:
        return f"{self.operation}({', '.join(f'{n}={v}' for n, v in self.params)})"


@dataclass(frozen=True, slots=True)
class Transition:
    """An instance in words: where it is enabled, and the new word of each place it changes."""

    instance: Instance
    guard: Node
    updates: Mapping[int, Node]


def domain(parameter: Parameter, scope: Scope) -> list[Value]:
    """Every value of a parameter, in order; ValueError if there is no end of them."""
    match parameter:
        case Sort():
            return list(range(scope.size(parameter.name)))
        case Option():
            return [None, *range(scope.size(parameter.of.name))]
        case Bool():
            return [False, True]
        case Enum():
            return list(parameter.members)
        case FunctionOf():
            places = scope.places(tuple(sort.name for sort in parameter.args))
            return list(product(domain(parameter.type, scope), repeat=len(places)))
    raise ValueError(f"a parameter of type {parameter} has no end of values")


def varying(model: Model, scope: Scope) -> frozenset[str]:
    """The fields to store: those that an operation can change.

    An operation that no state enables, because of what is constant, changes nothing; a field that
    is only ever set to what it is at first is constant. So this is a fixed point, from above."""
    stored = frozenset(_written_by(model, model.operations.values()))
    while True:
        words = Words()
        layout = Layout(model, scope, words, stored)
        guards = Translator(scope, layout.fields, words, layout.store)
        alive = (o for o in model.operations.values() if _can_happen(o, guards, words, scope))
        fewer = stored & _written_by(model, alive)
        if fewer == stored:
            return stored
        stored = fewer


def _written_by(model: Model, operations: Iterable[Action]) -> frozenset[str]:
    return frozenset(
        name
        for operation in operations
        for name, writes in operation.writes.items()
        for f in [model.fields[name]]
        if not f.ghost and not f.transient and any(w.value is not f.initial for w in writes)
    )


def _can_happen(operation: Action, guards: Translator, words: Words, scope: Scope) -> bool:
    return any(
        guards.bit(operation.enabled, _environment(operation, params)) is not words.false
        for params in _choices(operation, scope)
    )


def _choices(operation: Action, scope: Scope) -> Iterator[tuple[tuple[str, Value], ...]]:
    domains = [domain(type, scope) for type in operation.params.values()]
    for values in product(*domains):
        yield tuple(zip(operation.params, values, strict=True))


def transitions(model: Model, layout: Layout, words: Words) -> Iterator[Transition]:
    """Every instance of every operation that some state may enable, in the order of the model."""
    guards = Translator(layout.scope, layout.fields, words, layout.store)
    for operation in model.operations.values():
        for params in _choices(operation, layout.scope):
            env = _environment(operation, params)
            guard = guards.bit(operation.enabled, env)
            if guard is not words.false:
                updates = _updates(operation, env, guard, layout, words)
                yield Transition(Instance(operation.name, params), guard, updates)


def _environment(operation: Action, params: tuple[tuple[str, Value], ...]) -> Env:
    env: dict[Term | str, Value] = {}
    for name, value in params:
        type = operation.params[name]
        env[name if isinstance(type, FunctionOf) else variable(name, type)] = value
    return env


def _updates(
    operation: Action, env: Env, guard: Node, layout: Layout, words: Words
) -> dict[int, Node]:
    known = consequences(guard, words)
    changed: dict[int, Node] = {}
    with words.facts(known):
        translator = Translator(layout.scope, layout.fields, words, layout.store)
        for name, writes in operation.writes.items():
            f = layout.fields.get(name)
            if f is None:
                continue
            for index in stored_index(f, layout.scope):
                new = _written(translator, words, f, layout.store[name][index], index, writes, env)
                for old, node in zip(layout.store[name][index], new, strict=True):
                    if old.op != "const" and node is not old and node is not known.get(old):
                        place = old.args[0]
                        assert isinstance(place, int)
                        changed[place] = node
    return changed


def _written(
    translator: Translator,
    w: Words,
    f: Field,
    words: tuple[Node, ...],
    index: Index,
    writes: tuple[Write, ...],
    env: Env,
) -> tuple[Node, ...]:
    """The words of a field at an index after some writes, one after the other."""
    for write in writes:
        inner: dict[Term | str, Value] = dict(env)
        inner.update(zip(write.vars, index, strict=False))
        if is_mask(f):
            over = write.vars[-1]
            where = translator.lift(write.condition, over, inner)
            if where.value == 0:
                continue
            new = [
                translator.lift(part, over, inner) for part in _parts(f, write.value, len(words))
            ]
        else:
            here = translator.bit(write.condition, inner)
            if here is w.false:
                continue
            if isinstance(f.type, Int | Enum):
                words = (w.choose(here, translator.number(write.value, inner), words[0]),)
                continue
            if isinstance(f.type, Bool):
                new = [w.spread(translator.bit(write.value, inner), 1)]
            else:
                new = [translator.option(write.value, inner)]
            where = w.spread(here, new[0].high | words[0].high)
        pairs = zip(new, words, strict=True)
        words = tuple(translator.choose_mask(where, n, o) for n, o in pairs)
    return words


def _parts(f: Field, value: Term, parts: int) -> list[Term]:
    """A value as truth values: itself, or whether it is each element of its sort."""
    if isinstance(f.type, Bool):
        return [value]
    sort = f.type.of if isinstance(f.type, Option) else f.type
    return [eq(value, constant(k, sort)) for k in range(parts)]


def consequences(guard: Node, words: Words) -> dict[Node, Node]:
    """What is constant wherever the guard holds."""
    facts: dict[Node, Node] = {}
    stack = [guard]
    while stack:
        part = stack.pop()
        if part.op == "and" and part.kind == "bit":
            stack += [part.node(0), part.node(1)]
        elif part.op != "const":
            facts[words.negate(part)] = words.false
            facts[part] = words.true
            facts.update(_of_atom(part, words))
    return facts


def _of_atom(atom: Node, words: Words) -> Iterator[tuple[Node, Node]]:
    """A word that an atom settles: a mask that is empty, an option that is known, a number."""
    if atom.op not in ("zero", "nonzero", "same", "eq"):
        return
    word = atom.node(0)
    if atom.op == "zero":
        yield word, words.mask(0)
    elif atom.op in ("same", "eq"):
        if atom.node(1).op == "const":
            yield word, atom.node(1)
    elif word.high.bit_count() == 1:
        yield word, words.mask(word.high)
        if word.op == "and" and word.node(0).op == "option":
            yield word.node(0), words.mask(word.high)
