# SPDX-License-Identifier: GPL-2.0-only
"""A counterexample as data: what happened, state by state, and what was false at the end.

Everything a person sees of a counterexample is made from this one record. It is written and read
as a trace in the Informal Trace Format (ITF, Apalache's ADR 15), which viewers for TLA+ open; by
convention such a file is named ``*.itf.json``. What ITF has no place for stands in its "#meta".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from proofs import itf
from proofs.itf import Value

__all__ = ["SOURCES", "Change", "Counterexample", "State", "Step", "Value"]

State: TypeAlias = Mapping[str, Mapping[tuple[int, ...], Value]]
"""Field name -> index -> value. A field without arguments has the single index ()."""

SOURCES: Final = ("spec", "implementation", "log", "induction step")
"""Where a counterexample may come from."""

_ACTION: Final = "mbt::actionTaken"
_PARAMS: Final = "mbt::nondetPicks"
"""The variables in which Quint, and the tools that read its traces, keep the step taken."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action with its parameters, and the whole state after it."""

    action: str
    params: tuple[tuple[str, Value], ...]
    state: State


@dataclass(frozen=True, slots=True)
class Change:
    """One place of the state that a step changed."""

    field: str
    index: tuple[int, ...]
    old: Value
    new: Value


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A run of a machine at whose end an invariant is false.

    ``source`` is one of SOURCES; with "induction step" the initial state obeys every invariant
    but need not be reachable. ``machine`` describes what ran, ``switches`` the hazards and
    defects that were on. ``violated`` is the invariant's id, ``sentence`` its meaning,
    ``formula`` its mathematics, ``false_parts`` the parts of the formula that were false.
    ``shortest`` is True only if no shorter run violates the invariant. Index values are numbers;
    ``sorts`` names them when printed: field -> sort names of its arguments, then of its value,
    and "action.parameter" -> the parameter's sort name.

    Raises ValueError if the source is unknown or a step's state has other fields than the
    initial one.
    """

    source: str
    machine: str
    switches: tuple[str, ...]
    initial: State
    steps: tuple[Step, ...]
    violated: str
    sentence: str
    formula: str
    false_parts: tuple[str, ...]
    shortest: bool
    note: str = ""
    sorts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"unknown source of a counterexample: {self.source!r}")
        for number, step in enumerate(self.steps, start=1):
            if step.state.keys() != self.initial.keys():
                raise ValueError(f"step {number} ({step.action}) has other fields than the start")

    def states(self) -> tuple[State, ...]:
        """The initial state, then the state after each step."""
        return (self.initial, *(step.state for step in self.steps))

    def changes(self, k: int) -> tuple[Change, ...]:
        """What step ``k`` changed, in the order of the fields; steps count from 1.

        An index that only one of the two states has counts as absent (None) in the other.
        Raises IndexError if there is no such step.
        """
        if not 1 <= k <= len(self.steps):
            raise IndexError(f"no step {k} in a counterexample of {len(self.steps)} steps")
        before, after = self.states()[k - 1 : k + 1]
        return tuple(_changes(before, after))

    def to_itf(self) -> dict[str, Any]:
        """The counterexample as an ITF trace of JSON values."""
        return {
            "#meta": {
                "format": "ITF",
                "format-description": "https://apalache-mc.org/docs/adr/015adr-trace.html",
                "source": self.machine,
                "status": "violation",
                "description": f"{self.violated}: {self.sentence}",
                "irqproof": self._meta(),
            },
            "vars": [*self.initial, _ACTION, _PARAMS],
            "states": [
                {
                    "#meta": {"index": 0},
                    **_encode_state(self.initial),
                    _ACTION: "init",
                    _PARAMS: {},
                },
                *(
                    {"#meta": {"index": number}, **_encode_step(step)}
                    for number, step in enumerate(self.steps, start=1)
                ),
            ],
        }

    @classmethod
    def from_itf(cls, trace: Mapping[str, Any]) -> "Counterexample":
        """The inverse of ``to_itf``; raises ValueError if ``trace`` was not made by it."""
        try:
            meta = trace["#meta"]["irqproof"]
            first, *later = trace["states"]
            return cls(
                source=itf.text(meta["source"]),
                machine=itf.text(meta["machine"]),
                switches=itf.texts(meta["switches"]),
                initial=_decode_state(first),
                steps=tuple(map(_decode_step, later)),
                violated=itf.text(meta["violated"]),
                sentence=itf.text(meta["sentence"]),
                formula=itf.text(meta["formula"]),
                false_parts=itf.texts(meta["false_parts"]),
                shortest=itf.boolean(meta["shortest"]),
                note=itf.text(meta["note"]),
                sorts={name: itf.texts(sorts) for name, sorts in meta["sorts"].items()},
            )
        except KeyError as error:
            raise ValueError(f"not a counterexample of irqproof: {error} is missing") from error
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a counterexample of irqproof: {error}") from error

    def _meta(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "machine": self.machine,
            "switches": list(self.switches),
            "violated": self.violated,
            "sentence": self.sentence,
            "formula": self.formula,
            "false_parts": list(self.false_parts),
            "shortest": self.shortest,
            "note": self.note,
            "sorts": {name: list(sorts) for name, sorts in self.sorts.items()},
        }


def _changes(before: State, after: State) -> Iterator[Change]:
    for name, new in after.items():
        old = before[name]
        for index in sorted(old.keys() | new.keys()):
            was, now = old.get(index), new.get(index)
            if was != now or type(was) is not type(now):
                yield Change(name, index, was, now)


def _encode_state(state: State) -> dict[str, Any]:
    return {name: itf.encode_field(name, values) for name, values in state.items()}


def _encode_step(step: Step) -> dict[str, Any]:
    params = {name: itf.encode(value) for name, value in step.params}
    return {**_encode_state(step.state), _ACTION: step.action, _PARAMS: params}


def _decode_state(state: Mapping[str, Any]) -> State:
    return {
        name: itf.decode_field(values)
        for name, values in state.items()
        if name not in ("#meta", _ACTION, _PARAMS)
    }


def _decode_step(state: Mapping[str, Any]) -> Step:
    params = tuple((name, itf.decode(value)) for name, value in state[_PARAMS].items())
    return Step(itf.text(state[_ACTION]), params, _decode_state(state))
