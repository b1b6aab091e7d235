# SPDX-License-Identifier: GPL-2.0-only
"""Following actions on a state that is known only in part.

An action is refused only where its guard is certainly false. Where the guard holds perhaps, it is
taken to hold, for the action did happen; and what that implies about unknown cells is learned: that
`prev_vector = vector[irq]` tells the vector. What an action writes is known afterwards if the
written value and the condition are; else it is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spec.compiled import Compiler
from spec.partial import ANY, UNKNOWN, is_open, pin
from spec.records import Action
from spec.terms import Bool, Term, conjuncts, free_variables
from spec.writing import writer


class Contradiction(Exception):
    """A formula that must hold is false; `place` is its place in the list of formulas."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


class Learner:
    """Evaluates terms under an environment and learns what formulas imply."""

    def __init__(self, compiler: Compiler) -> None:
        self.compiler = compiler
        self.state = compiler.state
        self._functions: dict[Term, tuple[tuple[str, ...], Callable[..., Any]]] = {}
        self._places: dict[Term, tuple[tuple[str, ...], Callable[..., list[Any]]]] = {}

    def value(self, term: Term, names: Mapping[str, Any]) -> Any:
        """The term's value now, or UNKNOWN; free variables by name."""
        known = self._functions.get(term)
        if known is None:
            parameters = _parameters(term)
            known = parameters, self.compiler.function(term, parameters)
            self._functions[term] = known
        return known[1](*(names[p] for p in known[0]))

    def learn(self, term: Term, value: Any, names: Mapping[str, Any]) -> None:
        """Take it that `term` has this value, and store what follows for a single cell each."""
        args = term.args
        match term.op:
            case "read":
                self._store(term, value, names)
            case "some":
                self.learn(args[0], value, names)
            case "not":
                self.learn(args[0], not value, names)
            case "and" | "or":
                self._junction([(a, True) for a in args], term.op == "or", value, names)
            case "implies":
                self._junction([(args[0], False), (args[1], True)], True, value, names)
            case "eq":
                self._equal(args[0], args[1], value, names)
            case "ite":
                self._choice(args, value, names)
            case "add":
                self._sum(args, value, names)
            case "neg":
                self.learn(args[0], -value, names)
            case "forall" if value is True:
                self._everywhere(term, True, names)
            case "exists" if value is False:
                self._everywhere(term, False, names)

    def _store(self, term: Term, value: Any, names: Mapping[str, Any]) -> None:
        name, *index = term.args
        # ANY stands for an element that has no name here: which one it is teaches nothing.
        if name in self.compiler.hidden or value is ANY:
            return
        at = tuple(self.value(i, names) for i in index)
        # There may be no element but those with names; then nothing follows for other cells.
        unnamed = {n for n, v in names.items() if v is ANY}
        if not unnamed <= {i.args[0] for i in index if i.op == "var"}:
            return
        if UNKNOWN in at or None in at or not is_open(self.state.get(name, *at)):
            return
        self.state.put(name, at, value)

    def _junction(
        self, parts: list[tuple[Term, bool]], is_or: bool, value: bool, names: Mapping[str, Any]
    ) -> None:
        """`parts` are formulas and the sense each counts in; an or learns by its last open one."""
        if value is not is_or:
            for part, sense in parts:
                self.learn(part, value is sense, names)
            return
        open_ = [(p, sense) for p, sense in parts if self.value(p, names) is UNKNOWN]
        settled = [self.value(p, names) is sense for p, sense in parts if (p, sense) not in open_]
        if len(open_) == 1 and is_or not in settled:
            self.learn(open_[0][0], open_[0][1] is value, names)

    def _equal(self, a: Term, b: Term, value: bool, names: Mapping[str, Any]) -> None:
        left, right = self.value(a, names), self.value(b, names)
        if is_open(left) == is_open(right):
            return
        open_, known = (a, right) if is_open(left) else (b, left)
        if value:
            self.learn(open_, known, names)
        elif isinstance(open_.type, Bool):
            self.learn(open_, not known, names)

    def _choice(self, args: tuple[Term, ...], value: Any, names: Mapping[str, Any]) -> None:
        test, a, b = (self.value(x, names) for x in args)
        if test is not UNKNOWN:
            self.learn(args[1] if test else args[2], value, names)
        elif a is not UNKNOWN and b is not UNKNOWN and a != b and value in (a, b):
            self.learn(args[0], value == a, names)

    def _sum(self, args: tuple[Term, ...], value: Any, names: Mapping[str, Any]) -> None:
        values = [self.value(a, names) for a in args]
        open_ = [a for a, v in zip(args, values, strict=True) if v is UNKNOWN]
        if len(open_) == 1:
            self.learn(open_[0], value - sum(v for v in values if v is not UNKNOWN), names)

    def _everywhere(self, term: Term, value: bool, names: Mapping[str, Any]) -> None:
        bound, body = term.args[:-1], term.args[-1]
        # Two variables of a sort may stand for one element even where both are ANY.
        if len({v.type for v in bound}) < len(bound):
            return
        if term not in self._places:
            parameters = _parameters(term)
            self._places[term] = parameters, self.compiler.places(bound, [body], parameters)
        parameters, places = self._places[term]
        inner = [
            {**names, **dict(zip((v.args[0] for v in bound), at, strict=True))}
            for at in places(*(names[p] for p in parameters))
        ]
        # Before ANY learns something, the elements that were told apart need entries of their own.
        for here in inner:
            self._pin(body, here)
        for here in inner:
            self.learn(body, value, here)

    def _pin(self, term: Term, names: Mapping[str, Any]) -> None:
        if term.op == "read" and term.args[0] not in self.compiler.hidden:
            at = tuple(self.value(i, names) for i in term.args[1:])
            if UNKNOWN not in at and None not in at and at[:1] != (ANY,):
                pin(self.state.stores[term.args[0]], at)
        elif term.op not in ("forall", "exists", "sum"):
            for part in term.args:
                if isinstance(part, Term):
                    self._pin(part, names)


def _parameters(term: Term) -> tuple[str, ...]:
    return tuple(sorted({v.args[0] for v in free_variables(term)} | _function_names(term)))


def _function_names(term: Term) -> set[str]:
    found = {term.args[0]} if term.op == "apply" else set()
    return found.union(*(_function_names(a) for a in term.args if isinstance(a, Term)))


class Follower:
    """One action on one partial state: what must hold before it, and what it writes.

    `more` are further formulas that must hold, over the action's parameters and others named in
    `parameters` (a number that a log printed): they are checked and learned from like the guard.
    """

    def __init__(
        self,
        action: Action,
        learner: Learner,
        parameters: Sequence[str] = (),
        first: Sequence[Term] = (),
        more: Sequence[Term] = (),
    ) -> None:
        self.action = action
        self.parameters = (*action.params, *parameters)
        guard = [c for c in conjuncts(action.guard) if learner.compiler.can_fail(c)]
        self.terms = (*first, *guard, *more)
        self._learner = learner
        self._check = learner.compiler.first_not_true(self.terms, self.parameters)
        self._write = writer(action, learner.compiler, self.parameters)

    def begin(self, values: Sequence[Any]) -> list[int]:
        """See whether the action can happen, and learn what its happening implies. Returns the
        places of the formulas that nobody can judge; raises Contradiction if one is false."""
        if self._check(*values) < 0:
            return []
        names = dict(zip(self.parameters, values, strict=True))
        value, learn = self._learner.value, self._learner.learn
        unknown = []
        for place, term in enumerate(self.terms):
            now = value(term, names)
            if now is UNKNOWN:
                unknown.append(place)
            elif not now:
                raise Contradiction(place)
        for place in unknown:
            learn(self.terms[place], True, names)
        # What one formula taught may refute another.
        for place in unknown:
            if value(self.terms[place], names) is False:
                raise Contradiction(place)
        return unknown

    def finish(self, values: Sequence[Any]) -> None:
        """Write what the action writes."""
        self._write(*values)

    def values_read(self, place: int, values: Sequence[Any]) -> dict[str, Any]:
        """The cells that a formula reads, printed as text, with what they hold now."""
        names = dict(zip(self.parameters, values, strict=True))
        found: dict[str, Any] = {}
        for term in _reads(self.terms[place]):
            index = tuple(self._learner.value(i, names) for i in term.args[1:])
            text = f"{term.args[0]}[{', '.join(map(_text, index))}]" if index else term.args[0]
            found[text] = self._learner.value(term, names)
        return found


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


def _reads(term: Term) -> list[Term]:
    """The reads of a formula outside its quantifiers."""
    if term.op in ("forall", "exists", "sum"):
        return []
    below = [r for a in term.args if isinstance(a, Term) for r in _reads(a)]
    return [*below, term] if term.op == "read" else below
