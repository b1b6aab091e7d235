# SPDX-License-Identifier: GPL-2.0-only
"""An event's reading, compiled: its action's guard and the numbers that it prints, as formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proofs.events import Printed, Reading
from spec.learning import Follower, Learner
from spec.records import Action, FunctionOf, Model, Parameter
from spec.terms import Bool, Term, Type, eq, read, variable


class Step:
    """A reading compiled for one state: where its parameters come from, what must hold, and which
    invariant is behind each formula (`labels`, in the order of `follower.terms`)."""

    def __init__(self, model: Model, learner: Learner, reading: Reading) -> None:
        self.reading = reading
        action = model.actions[reading.action]
        self.sources = [reading.parameters[name] for name in action.params]
        self.printed = (*reading.before, *reading.after)
        first = [self._equation(model, reading, p, None) for p in reading.before]
        after = [self._equation(model, reading, p, action) for p in reading.after]
        names = [_printed_name(p) for p in self.printed]
        self.follower = Follower(action, learner, names, first, after)
        self.labels = self._labels(len(first), len(after))
        self.names = [p.name for p in self.printed]
        self.truths = [isinstance(model.fields[p.field].type, Bool) for p in self.printed]
        places = list(action.params)
        self.index = [tuple(places.index(i) for i in p.index) for p in self.printed]

    @staticmethod
    def _equation(model: Model, reading: Reading, printed: Printed, action: Action | None) -> Term:
        cell = model.fields[printed.field]
        params = model.actions[reading.action].params
        index = [variable(name, _element(params[name])) for name in printed.index]
        term = read(printed.field, index, cell.type)
        if action is not None:
            term = action.after(model.fields, term)
        return eq(term, variable(_printed_name(printed), cell.type))

    def _labels(self, first: int, after: int) -> list[str]:
        """The invariant behind each formula."""
        guard = self.follower.terms[first : len(self.follower.terms) - after]
        ids = [_GUARD_IDS.get(self.reading.action, {}).get(_main_field(t), "") for t in guard]
        return [
            *(p.invariant for p in self.reading.before),
            *ids,
            *(p.invariant for p in self.reading.after),
        ]

    def map_of(self, values: Sequence[Any]) -> int | None:
        """The CPU whose map the event is about."""
        for printed, index in zip(self.printed, self.index, strict=True):
            if printed.field == "allocated":
                return int(values[index[0]])
        return None


def _element(type: Parameter) -> Type:
    if isinstance(type, FunctionOf):
        raise TypeError("no cell is indexed with a function")
    return type


def _printed_name(printed: Printed) -> str:
    return f"printed {printed.name}"


_GUARD_IDS: Final[Mapping[str, Mapping[str, str]]] = {
    "irq_matrix_alloc": {"alloc_map": "VEC-9", "managed_map": "VEC-5", "system_map": "MX-2"},
    "irq_matrix_alloc_managed": {"alloc_map": "VEC-9", "managed_map": "VEC-5"},
    "irq_matrix_assign": {"alloc_map": "VEC-9", "managed_map": "VEC-5", "system_map": "MX-2"},
    "irq_matrix_reserve_managed": {"alloc_map": "MX-3", "managed_map": "MX-3"},
    "irq_matrix_remove_managed": {"alloc_map": "MX-3", "managed_map": "MX-3"},
    "irq_matrix_free": {"hand": "VEC-10", "alloc_map": "VEC-5"},
    "vector_update": {"managed_map": "VEC-5", "vector": "VEC-5", "cpu": "VEC-21"},
    "vector_config": {"vector": "VEC-13", "cpu": "VEC-13"},
    "vector_clear": {"vector": "VEC-5", "cpu": "VEC-5", "prev_vector": "VEC-6"},
    "vector_free_moved": {"prev_vector": "VEC-6", "prev_cpu": "VEC-6"},
    "vector_alloc": {"has_reserved": "VEC-3", "prev_vector": "VEC-20", "unclaimed": "VEC-3"},
    "vector_reserve": {"vector": "VEC-1", "is_managed": "VEC-1", "has_reserved": "VEC-3"},
    "vector_reserve_managed": {"managed_unclaimed": "VEC-15"},
}


def _main_field(term: Term) -> str:
    """The first field that a formula reads."""
    if term.op == "read":
        return str(term.args[0])
    return next((f for a in term.args if isinstance(a, Term) and (f := _main_field(a))), "")
