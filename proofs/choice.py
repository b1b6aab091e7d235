# SPDX-License-Identifier: GPL-2.0-only
"""Which CPU and which bit an allocation takes: MX-12 and section 2.3, as formulas to check.

The specification's actions leave the choice open, so that no invariant rests on it. An
implementation makes one, out of a mask that the tracepoints do not print.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from spec import matrix
from spec.compiled import Compiler
from spec.mathematics import plain
from spec.matrix import CPU, VECTOR
from spec.records import FunctionOf, Model
from spec.state import State, parameter
from spec.terms import BOOL, TRUE, Term, and_, exists, lift, not_, variable

__all__ = ["Choices"]

_MASK: Final = FunctionOf((CPU,), BOOL)


class Choices:
    """The rules of choice, compiled for one state."""

    def __init__(self, model: Model, compiler: Compiler) -> None:
        s = State(model.fields, model.switches)
        mask = parameter("mask", _MASK)
        cpu, bit = variable("cpu", CPU), variable("bit", VECTOR)

        def chosen(c: Term) -> Term:
            member: Term = mask[c]
            return member

        nobody = not_(exists(CPU, lambda c: and_(chosen(c), s.online[c], lift(0) < s.available[c])))
        self._rules = {
            "irq_matrix_alloc": and_(
                matrix.regular_choice(s, cpu, chosen), matrix.lowest_free(s, cpu, bit)
            ),
            "irq_matrix_alloc_managed": and_(
                matrix.managed_choice(s, cpu, chosen), matrix.lowest_spare(s, cpu, bit)
            ),
            "irq_matrix_reserve_managed": matrix.lowest_free(s, cpu, bit),
            "irq_matrix_remove_managed": matrix.lowest_spare(s, cpu, bit),
            "vector_alloc": nobody,
        }
        self._test: dict[str, Callable[..., Any]] = {
            name: compiler.function(rule, ("cpu", "bit", "mask"))
            for name, rule in self._rules.items()
        }

    def broken(self, event: str, fields: Mapping[str, int], mask: int | None) -> Term:
        """The rule that this event breaks, with the mask of the search before it; TRUE if none.

        Before the event's own action is followed, but for `vector_alloc`, which changes nothing
        when it tells of a failure (MX-11: then no CPU of the mask had anything available)."""
        test = self._test.get(event)
        if test is None or (event == "vector_alloc" and (fields["ret"] == 0 or mask is None)):
            return TRUE
        member = _members(mask or 0)
        holds = test(fields.get("cpu", 0), fields.get("bit", 0), member)
        return TRUE if holds else self._rules[event]


def _members(mask: int) -> Callable[[int], bool]:
    return lambda cpu: bool(mask >> cpu & 1)


def sentence(rule: Term, mask: int | None) -> str:
    """A broken rule in words."""
    return f"the choice out of mask {mask or 0:#x} breaks {plain(rule)}"
