# SPDX-License-Identifier: GPL-2.0-only
"""Terms as word expressions, in a fixed scope.

A quantifier over many variables keeps one of them as the bits of a word, all elements at once, and
unrolls the others. Any Bool term has such a *lifting* over a variable: where an atom does not read
the variable as the last argument of a field, it is evaluated for each element and the bits are
put together. The quantifier picks the variable for which that never happens, if there is one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Literal, TypeAlias

from spec.layout import Store, is_wide, position
from spec.records import Field
from spec.scope import Index, Scope, Value
from spec.terms import (
    Bool,
    Enum,
    Int,
    Option,
    Sort,
    Term,
    Type,
    free_variables,
    subterms,
    value_of,
)
from spec.words import Node, Words

Env: TypeAlias = Mapping[Term | str, Value]
"""What a variable, or a parameter that is a function (by its name), stands for."""


@functools.cache
def _inputs(term: Term) -> tuple[Term | str, ...]:
    """The variables and function parameters that a term depends on."""
    functions: set[str] = set()
    stack = [term]
    while stack:
        node = stack.pop()
        if node.op == "apply":
            functions.add(node.args[0])
        stack += subterms(node)
    return (*sorted(free_variables(term), key=lambda v: str(v.args[0])), *sorted(functions))


class Translator:
    """Reads terms over the words of a store. It remembers what it has translated, so that it must
    be used under one set of facts only."""

    def __init__(self, scope: Scope, fields: Mapping[str, Field], words: Words, store: Store):
        self._scope, self._fields, self._words, self._store = scope, fields, words, store
        self._seen: dict[tuple[object, ...], Node] = {}

    # --- values -----------------------------------------------------------------------------

    def _once(self, how: str, term: Term, env: Env, make: Callable[[], Node]) -> Node:
        key = (how, id(term), *(env.get(name) for name in _inputs(term)))
        node = self._seen.get(key)
        if node is None:
            node = self._seen[key] = make()
        return node

    def bit(self, term: Term, env: Env) -> Node:
        """A Bool term."""
        return self._once("bit", term, env, lambda: self._bit(term, env))

    def option(self, term: Term, env: Env) -> Node:
        """A term that is an element or none: the mask of that element."""
        return self._once("option", term, env, lambda: self._option(term, env))

    def number(self, term: Term, env: Env) -> Node:
        """An integer, or a member of an enumeration as its position."""
        return self._once("number", term, env, lambda: self._number(term, env))

    def lift(self, term: Term, over: Term, env: Env) -> Node:
        """The mask of the elements for which a Bool term holds."""
        if over not in free_variables(term):
            return self._words.spread(self.bit(term, env), self._full(over.type))
        if over in env:
            env = {name: value for name, value in env.items() if name is not over}
        how = f"lift {id(over)}"
        return self._once(how, term, env, lambda: self._lift(term, over, env))

    def _full(self, sort: Type) -> int:
        assert isinstance(sort, Sort)
        return (1 << self._scope.size(sort.name)) - 1

    def _elements(self, sort: Type) -> range:
        assert isinstance(sort, Sort)
        return range(self._scope.size(sort.name))

    # --- bits -------------------------------------------------------------------------------

    def _bit(self, term: Term, env: Env) -> Node:
        w, args = self._words, term.args
        match term.op:
            case "const":
                return w.bit(value_of(term))
            case "var":
                return w.bit(bool(env[term]))
            case "apply":
                return w.any(c for c, v in self._table(term, env) if v)
            case "read":
                return self._read_bit(term, env)
            case "not":
                return w.negate(self.bit(args[0], env))
            case "and":
                return w.all(self.bit(a, env) for a in args)
            case "or":
                return w.any(self.bit(a, env) for a in args)
            case "implies":
                return w.any((w.negate(self.bit(args[0], env)), self.bit(args[1], env)))
            case "ite":
                c, a, b = (self.bit(x, env) for x in args)
                return w.any((w.all((c, a)), w.all((w.negate(c), b))))
            case "eq":
                return self._equal(args[0], args[1], env)
            case "le" | "lt":
                return self._compare(term, env)
            case "forall":
                return w.all(self._bound(term, env))
            case "exists":
                return w.any(self._bound(term, env))
        raise TypeError(f"no truth value: {term!r}")

    def _bound(self, term: Term, env: Env) -> Iterator[Node]:
        """What a quantifier says of each tuple of its unrolled variables."""
        w, (*bound, body) = self._words, term.args
        kept = self._kept(bound, body)
        if kept is not None:
            masks = (self.lift(body, kept, e) for e in self._unrolled(bound, kept, env))
            if term.op == "forall":
                full = self._full(kept.type)
                masks = (w.flip(mask, full) for mask in masks)
            # One comparison for all tuples: a counterexample of "forall", a witness of "exists".
            some = w.nonzero(functools.reduce(w.either, masks))
            yield some if term.op == "exists" else w.negate(some)
        else:
            for inner in self._unrolled(bound, None, env):
                yield self.bit(body, inner)

    def _unrolled(self, bound: list[Term], kept: Term | None, env: Env) -> Iterator[Env]:
        others = [v for v in bound if v is not kept]
        for values in product(*(self._elements(v.type) for v in others)):
            yield {**env, **dict(zip(others, values, strict=True))}

    def _kept(self, bound: list[Term], body: Term) -> Term | None:
        """The bound variable to keep as bits: the largest over which every atom is a word."""
        usable = [v for v in bound if self._liftable(body, v)]
        return max(usable, key=lambda v: len(self._elements(v.type)), default=None)

    def _read_bit(self, term: Term, env: Env) -> Node:
        w, name = self._words, term.args[0]
        index = term.args[1:]
        if not index:
            return w.nonzero(self._store[name][()][0])
        word = self._lead(name, index[:-1], env, 0)
        return w.nonzero(w.both(word, self.option(index[-1], env)))

    def _lead(self, name: str, lead: tuple[Term, ...], env: Env, part: int) -> Node:
        """The word of a field at leading arguments that may be none or not constant."""
        w = self._words
        result = w.mask(0)
        for condition, index in self._cases(lead, env):
            word = self._store[name][index][part]
            result = w.either(result, w.both(w.spread(condition, word.high), word))
        return result

    def _cases(self, index: tuple[Term, ...], env: Env) -> list[tuple[Node, Index]]:
        """Each index that the terms can name, with the bit that says when they do."""
        w = self._words
        cases: list[tuple[Node, Index]] = [(w.true, ())]
        for term in index:
            at = self.option(term, env)
            cases = [
                (w.all((c, w.nonzero(w.both(at, w.mask(1 << k))))), (*i, k))
                for c, i in cases
                for k in range(at.high.bit_length())
            ]
        return [(c, i) for c, i in cases if c is not w.false]

    def _table(self, term: Term, env: Env) -> list[tuple[Node, Value]]:
        """The values of a parameter that is a function, with the bit that says when."""
        cases = self._cases(term.args[1:], env)
        table = env[term.args[0]]
        assert isinstance(table, tuple)
        sorts = [a.type.of if isinstance(a.type, Option) else a.type for a in term.args[1:]]
        sizes = [len(self._elements(sort)) for sort in sorts]
        found = []
        for condition, index in cases:
            flat = functools.reduce(lambda n, p: n * p[1] + p[0], zip(index, sizes, strict=True), 0)
            found.append((condition, table[flat]))
        return found

    def _equal(self, a: Term, b: Term, env: Env) -> Node:
        w = self._words
        if isinstance(a.type, Bool):
            return w.negate(w.differ(self.bit(a, env), self.bit(b, env)))
        if isinstance(a.type, Int | Enum):
            return w.equal(self.number(a, env), self.number(b, env))
        x, y = self.option(a, env), self.option(b, env)
        for p, q in ((x, y), (y, x)):
            if q.value:
                return w.nonzero(w.both(p, q))
        return w.same(x, y)

    def _compare(self, term: Term, env: Env) -> Node:
        w, (a, b) = self._words, term.args
        op: Literal["le", "lt"] = "le" if term.op == "le" else "lt"
        if isinstance(a.type, Int):
            return w.compare(op, self.number(a, env), self.number(b, env))
        x, y = self.option(a, env), self.option(b, env)
        # The elements at or above one: for each possible a, b lies among them.
        shift = 0 if term.op == "le" else 1
        return w.any(
            w.all((w.nonzero(w.both(x, w.mask(1 << k))), w.nonzero(w.both(y, w.mask(above)))))
            for k in range(x.high.bit_length())
            for above in [y.high >> (k + shift) << (k + shift)]
        )

    # --- options and numbers ----------------------------------------------------------------

    def _option(self, term: Term, env: Env) -> Node:
        w = self._words
        match term.op:
            case "const":
                value = value_of(term)
                return w.mask(0 if value is None else 1 << value)
            case "var":
                element = env[term]
                assert element is None or isinstance(element, int)
                return w.mask(0 if element is None else 1 << element)
            case "some":
                return self.option(term.args[0], env)
            case "ite":
                c, a, b = self.bit(term.args[0], env), *(self.option(x, env) for x in term.args[1:])
                return self.choose_mask(w.spread(c, a.high | b.high), a, b)
            case "apply":
                cases = self._table(term, env)
                masks = (w.spread(c, 1 << v) for c, v in cases if isinstance(v, int))
                return functools.reduce(w.either, masks, w.mask(0))
            case "read":
                return self._read_option(term, env)
        raise TypeError(f"no element: {term!r}")

    def choose_mask(self, where: Node, a: Node, b: Node) -> Node:
        """The members of `a` inside `where`, of `b` outside."""
        return self._words.either(self._words.both(a, where), self._words.less(b, where))

    def _read_option(self, term: Term, env: Env) -> Node:
        w, name = self._words, term.args[0]
        index = term.args[1:]
        if not is_wide(self._fields[name]):
            return self._lead(name, index, env, 0)
        last = self.option(index[-1], env)
        result = w.mask(0)
        for value in self._values(self._fields[name]):
            word = self._lead(name, index[:-1], env, value)
            result = w.either(result, w.spread(w.nonzero(w.both(word, last)), 1 << value))
        return result

    def _values(self, f: Field) -> range:
        return self._elements(f.type.of if isinstance(f.type, Option) else f.type)

    def _number(self, term: Term, env: Env) -> Node:
        w, args = self._words, term.args
        match term.op:
            case "const":
                return w.number(position(term.type, value_of(term)))
            case "var":
                return w.number(position(term.type, env[term]))
            case "add":
                return w.linear((self.number(a, env), 1) for a in args)
            case "neg":
                return w.linear([(self.number(args[0], env), -1)])
            case "ite":
                a, b = self.number(args[1], env), self.number(args[2], env)
                return w.choose(self.bit(args[0], env), a, b)
            case "read":
                cases = self._cases(args[1:], env)
                places = [(c, self._store[args[0]][i][0]) for c, i in cases]
                return w.linear((w.times(c, p), 1) for c, p in places)
            case "apply":
                pairs = self._table(term, env)
                values = [(c, w.number(position(term.type, v))) for c, v in pairs]
                return w.linear((w.times(c, v), 1) for c, v in values)
            case "sum":
                return self._sum(term, env)
        raise TypeError(f"no number: {term!r}")

    def _sum(self, term: Term, env: Env) -> Node:
        w, (*bound, body) = self._words, term.args
        if body.op == "ite" and [value_of(a) if a.op == "const" else 2 for a in body.args[1:]] == [
            1,
            0,
        ]:
            kept = self._kept(bound, body.args[0])
            if kept is not None:
                inner = self._unrolled(bound, kept, env)
                return w.linear((w.count(self.lift(body.args[0], kept, e)), 1) for e in inner)
        return w.linear((self.number(body, e), 1) for e in self._unrolled(bound, None, env))

    # --- lifting ----------------------------------------------------------------------------

    def _liftable(self, term: Term, over: Term) -> bool:
        """Every atom that depends on `over` is a word over it."""
        if over not in free_variables(term):
            return True
        match term.op:
            case "and" | "or" | "not" | "implies" | "ite":
                return all(self._liftable(a, over) for a in term.args)
            case "forall" | "exists":
                return self._liftable(term.args[-1], over)
            case "read" | "apply":
                return self._last(term, over)
            case "eq" if isinstance(term.args[0].type, Bool):
                return all(self._liftable(a, over) for a in term.args)
            case "eq":
                return self._sides(term, over) is not None
            case "le" | "lt":
                return over in term.args
        return False

    def _last(self, term: Term, over: Term) -> bool:
        index = term.args[1:]
        return index[-1] is over and all(over not in free_variables(a) for a in index[:-1])

    def _sides(self, term: Term, over: Term) -> tuple[Term, Term] | None:
        """An equation of an element as (what is a word over the variable, what is free of it)."""
        for a, b in (term.args, reversed(term.args)):
            plain = a.args[0] if a.op == "some" else a
            wide = a.op == "read" and is_wide(self._fields[a.args[0]]) and self._last(a, over)
            if over not in free_variables(b) and (plain is over or wide):
                return plain, b
        return None

    def _lift(self, term: Term, over: Term, env: Env) -> Node:
        w, args, full = self._words, term.args, self._full(over.type)

        def lift(part: Term) -> Node:
            return self.lift(part, over, env)

        match term.op:
            case "not":
                return w.flip(lift(args[0]), full)
            case "and":
                return functools.reduce(w.both, map(lift, args))
            case "or":
                return functools.reduce(w.either, map(lift, args))
            case "implies":
                return w.either(w.flip(lift(args[0]), full), lift(args[1]))
            case "ite":
                return self.choose_mask(*map(lift, args))
            case "eq" if isinstance(args[0].type, Bool):
                a, b = map(lift, args)
                return w.either(w.both(a, b), w.flip(w.either(a, b), full))
            case "eq":
                sides = self._sides(term, over)
                if sides is not None:
                    return self._lift_equal(*sides, over, env)
            case "read" if self._last(term, over):
                return self._lead(args[0], args[1:-1], env, 0)
            case "forall" | "exists":
                join = w.both if term.op == "forall" else w.either
                inner = self._unrolled(list(args[:-1]), None, env)
                return functools.reduce(join, (self.lift(args[-1], over, e) for e in inner))
        bits = (
            w.spread(self.bit(term, {**env, over: k}), 1 << k) for k in self._elements(over.type)
        )
        return functools.reduce(w.either, bits)

    def _lift_equal(self, word: Term, other: Term, over: Term, env: Env) -> Node:
        w, full = self._words, self._full(over.type)
        value = self.option(other, env)
        if word is over:
            return value
        f = self._fields[word.args[0]]
        masks = [self._lead(f.name, word.args[1:-1], env, k) for k in self._values(f)]
        absent = w.flip(functools.reduce(w.either, masks), full)
        result = w.both(absent, w.spread(w.same(value, w.mask(0)), full))
        for k, mask in enumerate(masks):
            here = w.nonzero(w.both(value, w.mask(1 << k)))
            result = w.either(result, w.both(mask, w.spread(here, full)))
        return result
