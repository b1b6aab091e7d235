# SPDX-License-Identifier: GPL-2.0-only
"""The three-valued reading: formulas over a partial state, compiled to Python once.

A formula is true, false or UNKNOWN (Kleene's logic); a term has a value or is UNKNOWN. Every answer
that is not UNKNOWN is the answer on each complete state that agrees with the partial one: this is
what the tests hold this file to. Fields named `hidden` are unknown for good, and what depends on
them alone is not even computed.

A quantifier looks at the elements that the formula can tell from the rest: those with an entry in a
store that is read at the variable, those the variable is compared with, and ANY for all the others.
Whether there are others is not known, so ANY can make "for all" unknown, never false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spec.kleene import call, element, keys, less, poles
from spec.partial import ANY, UNKNOWN, PartialState, merge
from spec.terms import Option, Sort, Term, default, free_variables, value_of

_SOURCE_OF_UNKNOWN = "U"


@dataclass
class _Scope:
    """The variables in sight: their Python names, and how deep each is bound (-1: a parameter)."""

    names: dict[Term, str] = field(default_factory=dict)
    depth: dict[Term, int] = field(default_factory=dict)

    def inside(self, variable: Term, name: str) -> _Scope:
        """This scope with one more variable bound."""
        deepest = max(self.depth.values(), default=-1) + 1
        return _Scope({**self.names, variable: name}, {**self.depth, variable: deepest})


class Compiler:
    """Compiles terms over one partial state.

    `extents` lists all elements of a sort, where they are known: quantifiers over it are exact."""

    def __init__(
        self,
        state: PartialState,
        hidden: frozenset[str] = frozenset(),
        extents: Mapping[Sort, Sequence[int]] | None = None,
    ) -> None:
        self.state = state
        self.hidden = hidden
        self._extents = dict(extents or {})
        self._count = 0
        self._space: dict[str, Any] = {
            "U": UNKNOWN,
            "ANY": ANY,
            "merge": merge,
            "less": less,
            "element": element,
            "call": call,
            "keys": keys,
        }
        self._space |= {f"s_{name}": store for name, store in state.stores.items()}
        self._space |= {f"e_{sort.name}": tuple(all_) for sort, all_ in self._extents.items()}

    # --- what others use --------------------------------------------------------------------

    def function(self, term: Term, parameters: Sequence[str]) -> Callable[..., Any]:
        """A Python function of the parameters that gives the term's value now."""
        scope, names = self._parameters(term, parameters)
        return self.define(f"({', '.join(names)}):\n return {self.expression(term, scope)}")

    def first_not_true(
        self, terms: Sequence[Term], parameters: Sequence[str]
    ) -> Callable[..., int]:
        """A function that gives the place of the first term that is not true, or -1."""
        lines = []
        for place, term in enumerate(terms):
            scope, _ = self._parameters(term, parameters)
            lines.append(f" if {self.expression(term, scope)} is not True: return {place}")
        body = "\n".join([*lines, " return -1"])
        return self.define(f"({self.signature(parameters)}):\n{body}")

    def places(
        self,
        bound: Sequence[Term],
        terms: Sequence[Term],
        parameters: Sequence[str],
        also: str = "",
    ) -> Callable[..., list[tuple[Any, ...]]]:
        """A function that lists the tuples of elements for the bound variables at which the terms
        can differ from the rest, first ANY for the rest; entries of the field `also` count, too."""
        scope = self._parameters(terms[0], parameters)[0]
        for term in terms[1:]:
            scope.names |= self._parameters(term, parameters)[0].names
        lines, inner = self._loops(bound, terms, scope, also)
        element = ", ".join(inner.names[v] for v in bound) + ","
        lines.append(f"{' ' * len(lines)} found.append(({element}))")
        body = "\n".join([" found = []", *lines, " return found"])
        return self.define(f"({self.signature(parameters)}):\n{body}")

    def can_fail(self, term: Term) -> bool:
        """Whether the formula can be definitely false, the hidden fields being unknown."""
        return poles(term, self.hidden)[1]

    def sources(self, terms: Sequence[Term], parameters: Sequence[str]) -> list[str]:
        """Python sources of the terms, for use in `define` with these parameters."""
        return [self.expression(t, self._parameters(t, parameters)[0]) for t in terms]

    def provide(self, value: Any) -> str:
        """A name under which `define` sees this value."""
        self._count += 1
        self._space[f"g{self._count}"] = value
        return f"g{self._count}"

    def signature(self, parameters: Sequence[str]) -> str:
        """The parameters as `define` expects them."""
        return ", ".join(map(_python_name, parameters))

    def define(self, definition: str) -> Callable[..., Any]:
        """Compile "(parameters): body" as a function that sees the state's stores."""
        return self._named(definition)[1]

    def _named(self, definition: str) -> tuple[str, Callable[..., Any]]:
        self._count += 1
        name = f"f{self._count}"
        exec(compile(f"def {name}{definition}", "<specification>", "exec"), self._space)
        made: Callable[..., Any] = self._space[name]
        return name, made

    def _parameters(self, term: Term, parameters: Sequence[str]) -> tuple[_Scope, list[str]]:
        known = {v.args[0]: v for v in free_variables(term)}
        scope = _Scope({known[p]: _python_name(p) for p in parameters if p in known})
        return scope, [_python_name(p) for p in parameters]

    # --- expressions ------------------------------------------------------------------------

    def _fresh(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def expression(self, term: Term, scope: _Scope) -> str:
        """Python source that gives the term's value; each use of a value is named in passing."""
        args = term.args
        match term.op:
            case "const":
                return repr(value_of(term))
            case "var":
                return scope.names[term]
            case "read":
                return self._read(term, scope)
            case "apply":
                index = ", ".join(self.expression(a, scope) for a in args[1:])
                return f"call(p_{args[0]}, {index})"
            case "some":
                return self.expression(args[0], scope)
            case "not":
                name = self._fresh()
                inner = self.expression(args[0], scope)
                return _unknown_or(inner, f"(U if ({name} := {inner}) is U else not {name})")
            case "and":
                return self._junction(args, "False", "True", scope)
            case "or":
                return self._junction(args, "True", "False", scope)
            case "implies":
                return self._implies(args, scope)
            case "eq":
                return self._equal(args[0], args[1], scope)
            case "le" | "lt":
                left, right = (self.expression(a, scope) for a in args)
                return f"less({left}, {right}, {term.op == 'le'})"
            case "ite":
                name = self._fresh()
                test, a, b = (self.expression(x, scope) for x in args)
                if test == _SOURCE_OF_UNKNOWN:
                    return f"merge({a}, {b})"
                return (
                    f"({a} if ({name} := {test}) is True else {b} if {name} is False"
                    f" else merge({a}, {b}))"
                )
            case "add" | "neg":
                return self._sum(args, "-" if term.op == "neg" else "", scope)
        return self._quantifier(term, scope)

    def _read(self, term: Term, scope: _Scope) -> str:
        name, *index = term.args
        if name in self.hidden:
            return _SOURCE_OF_UNKNOWN
        store = f"s_{name}"
        parts: list[str] = []
        tests: list[tuple[str, str]] = []
        for at in index:
            if at.op == "var" and isinstance(at.type, Sort):
                parts.append(scope.names[at])
                continue
            inner = self.expression(at, scope)
            if inner == _SOURCE_OF_UNKNOWN:
                return _SOURCE_OF_UNKNOWN
            parts.append(self._fresh())
            tests.append((parts[-1], inner))
        cell = f"{store}[ANY]"
        if len(parts) == 1:
            cell = f"{store}.get({parts[0]}, {cell})"
        elif parts:
            row, key = self._fresh(), parts[1] if len(parts) == 2 else f"({', '.join(parts[1:])})"
            cell = f"({row} := {store}.get({parts[0]}, {cell})).get({key}, {row}[ANY])"
        if not tests:
            return cell
        absent = " or ".join(f"({n} := {source}) is None" for n, source in tests)
        unknown = " or ".join(f"{n} is U" for n, _ in tests)
        return f"({value_of(default(term.type))!r} if {absent} else U if {unknown} else {cell})"

    def _junction(self, args: Iterable[Term], zero: str, unit: str, scope: _Scope) -> str:
        sources = [self.expression(a, scope) for a in args]
        tests, open_ = [], []
        for source in sources:
            if source == _SOURCE_OF_UNKNOWN:
                continue
            name = self._fresh()
            tests.append(f"({name} := {source}) is {zero}")
            open_.append(f"{name} is U")
        rest = unit
        if len(tests) < len(sources):
            rest = _SOURCE_OF_UNKNOWN
        elif open_:
            rest = f"U if {' or '.join(open_)} else {unit}"
        return f"({zero} if {' or '.join(tests)} else {rest})" if tests else rest

    def _implies(self, args: tuple[Term, ...], scope: _Scope) -> str:
        a, b = (self.expression(x, scope) for x in args)
        if _SOURCE_OF_UNKNOWN in (a, b):
            if a == b:
                return a
            other, good = (b, "True") if a == _SOURCE_OF_UNKNOWN else (a, "False")
            return f"(True if {other} is {good} else U)"
        x, y = self._fresh(), self._fresh()
        return (
            f"(True if ({x} := {a}) is False or ({y} := {b}) is True"
            f" else U if {x} is U or {y} is U else False)"
        )

    def _equal(self, a: Term, b: Term, scope: _Scope) -> str:
        left, right = self.expression(a, scope), self.expression(b, scope)
        if _SOURCE_OF_UNKNOWN in (left, right):
            return _SOURCE_OF_UNKNOWN
        x, y = self._fresh(), self._fresh()
        tests = [f"({x} := {left}) is U"]
        if b.op == "const":
            y = right
        else:
            tests.append(f"({y} := {right}) is U")
        # A bound variable at ANY equals nothing that was known when its elements were listed.
        for side, other, name in ((a, b, x), (b, a, y)):
            depth = _bound_depth(side, scope)
            later = max((scope.depth.get(v, -1) for v in free_variables(other)), default=-1)
            if depth is not None and later > depth:
                tests.append(f"{name} is ANY")
        same = f"{x} is {y}" if y in ("None", "True", "False") else f"{x} == {y}"
        return f"(U if {' or '.join(tests)} else {same})"

    def _sum(self, args: Iterable[Term], sign: str, scope: _Scope) -> str:
        tests, parts = [], []
        for arg in args:
            negative = arg.op == "neg"
            source = self.expression(arg.args[0] if negative else arg, scope)
            if source == _SOURCE_OF_UNKNOWN:
                return source
            if arg.op == "const":
                parts.append(f"{sign}({source})")
                continue
            name = self._fresh()
            tests.append(f"({name} := {source}) is U")
            parts.append(f"{'-' if negative != bool(sign) else ''}{name}")
        total = " + ".join(parts)
        return f"(U if {' or '.join(tests)} else {total})" if tests else f"({total})"

    # --- quantifiers ------------------------------------------------------------------------

    def _quantifier(self, term: Term, scope: _Scope) -> str:
        bound, body = term.args[:-1], term.args[-1]
        free = [v for v in scope.names if v in free_variables(term)]
        functions = sorted(_functions(term))
        outer = _Scope({v: scope.names[v] for v in free}, {v: scope.depth.get(v, -1) for v in free})
        lines, inner = self._loops(bound, [body], outer, "")
        value = self.expression(body, inner)
        pad = " " * (len(lines) + 1)
        others = " or ".join(f"{inner.names[v]} is ANY" for v in bound)
        lines.append(f"{pad}r = {value}")
        if term.op == "sum":
            lines.append(f"{pad}if r is U or (r and ({others})): return U")
            lines.append(f"{pad}result += r")
            start = "0"
        else:
            unit, zero = ("True", "False") if term.op == "forall" else ("False", "True")
            lines.append(f"{pad}if r is not {unit}:")
            lines.append(f"{pad} if r is {zero} and not ({others}): return {zero}")
            lines.append(f"{pad} result = U")
            start = unit
        names = [*(scope.names[v] for v in free), *(f"p_{f}" for f in functions)]
        body_text = "\n".join([f" result = {start}", *lines, " return result"])
        name, _ = self._named(f"({', '.join(names)}):\n{body_text}")
        return f"{name}({', '.join(names)})"

    def _loops(
        self, bound: Sequence[Term], terms: Sequence[Term], scope: _Scope, also: str
    ) -> tuple[list[str], _Scope]:
        lines: list[str] = []
        for place, variable in enumerate(bound):
            if variable.type in self._extents:
                source = f"e_{variable.type.name}"
            else:
                sources = {s for t in terms for s in self._elements(t, variable, scope)}
                if also:
                    sources.add(self._entries(also, place, bound, scope))
                ordered = sorted(sources)
                source = (
                    f"tuple({ordered[0][1:]})"
                    if len(ordered) == 1 and ordered[0].startswith(("*s_", "*(k"))
                    else f"dict.fromkeys((ANY, {', '.join(ordered)}))"
                )
            name = self._fresh()
            lines.append(f"{' ' * (place + 1)}for {name} in {source}:")
            scope = scope.inside(variable, name)
        return lines, scope

    def _entries(self, name: str, place: int, bound: Sequence[Term], scope: _Scope) -> str:
        if place == 0:
            return f"*s_{name}"
        return f"*s_{name}.get({scope.names[bound[0]]}, s_{name}[ANY])"

    def _elements(self, term: Term, variable: Term, scope: _Scope) -> Iterable[str]:
        """Python sources of the elements at which `term` can depend on `variable`."""
        if variable not in free_variables(term):
            return
        below = [a for a in term.args if isinstance(a, Term)]
        if term.op == "read" and term.args[0] not in self.hidden:
            for place, at in enumerate(term.args[1:]):
                if at is variable:
                    yield self._read_entries(term, place, scope)
        elif term.op == "apply":
            yield f"*keys(p_{term.args[0]})"
        elif term.op == "eq":
            for side, other in (below, below[::-1]):
                inner = side.args[0] if side.op == "some" else side
                if inner is variable and all(v in scope.names for v in free_variables(other)):
                    yield f"*element({self.expression(other, scope)})"
        for part in below:
            bare = part.args[0] if part.op == "some" else part
            if bare is not variable:
                yield from self._elements(part, variable, scope)
            elif term.op not in ("read", "apply", "eq", "le", "lt"):
                raise ValueError(f"{variable!r} is used as a value in {term!r}")

    def _read_entries(self, term: Term, place: int, scope: _Scope) -> str:
        store, index = f"s_{term.args[0]}", term.args[1:]
        if place == 0:
            return f"*{store}"
        first = index[0]
        if first.op == "var" and first in scope.names and not isinstance(first.type, Option):
            return f"*{store}.get({scope.names[first]}, {store}[ANY])"
        return f"*(k for row in {store}.values() for k in row)"


def _python_name(parameter: str) -> str:
    return "p_" + "".join(c if c.isalnum() else "_" for c in parameter)


def _unknown_or(source: str, whole: str) -> str:
    return source if source == _SOURCE_OF_UNKNOWN else whole


def _bound_depth(term: Term, scope: _Scope) -> int | None:
    bare = term.args[0] if term.op == "some" else term
    return scope.depth.get(bare) if bare.op == "var" else None


def _functions(term: Term) -> set[str]:
    found = {term.args[0]} if term.op == "apply" else set()
    return found.union(*(_functions(a) for a in term.args if isinstance(a, Term)))
