# SPDX-License-Identifier: GPL-2.0-only
"""A counterexample survives its file, and a file that is none is refused in words."""

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.counterexample import SOURCES, Change, Counterexample, State, Step, Value
from proofs.render import render, value_name

NAMES = st.from_regex(r"[a-z][a-z_]{0,6}", fullmatch=True)
TEXTS = st.text(max_size=12)
VALUES: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**52, 2**70) | TEXTS,
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
INDICES = st.integers(0, 2).flatmap(lambda arity: st.tuples(*[st.integers(0, 300)] * arity))
FIELDS = st.dictionaries(INDICES, VALUES, max_size=4)


@st.composite
def counterexamples(draw: st.DrawFn) -> Counterexample:
    """Any counterexample whose states agree about their fields."""
    fields = draw(st.lists(NAMES, unique=True, max_size=3))

    def state() -> State:
        return {name: draw(FIELDS) for name in fields}

    steps = [
        Step(draw(NAMES), tuple(draw(st.dictionaries(NAMES, VALUES, max_size=2)).items()), state())
        for _ in range(draw(st.integers(0, 3)))
    ]
    return Counterexample(
        source=draw(st.sampled_from(SOURCES)),
        machine=draw(TEXTS),
        switches=tuple(draw(st.lists(TEXTS, max_size=2))),
        initial=state(),
        steps=tuple(steps),
        violated=draw(TEXTS),
        sentence=draw(TEXTS),
        formula=draw(TEXTS),
        false_parts=tuple(draw(st.lists(TEXTS, max_size=2))),
        shortest=draw(st.booleans()),
        note=draw(TEXTS),
        sorts=draw(st.dictionaries(NAMES, st.lists(NAMES, min_size=1).map(tuple), max_size=2)),
    )


def small() -> Counterexample:
    """One interrupt whose CPU goes away."""
    before: State = {"online": {(0,): True}, "owner": {(0, 33): None}, "free": {(): 4}}
    middle: State = {"online": {(0,): True}, "owner": {(0, 33): 1}, "free": {(): 3}}
    after: State = {"online": {(0,): False}, "owner": {(0, 33): 1}, "free": {(): 3}}
    return Counterexample(
        source="spec",
        machine="one CPU",
        switches=(),
        initial=before,
        steps=(
            Step("alloc", (("cpu", 0), ("irq", 1)), middle),
            Step("cpu_down", (("cpu", 0),), after),
        ),
        violated="VEC-0",
        sentence="An owned vector is on a CPU that is online.",
        formula="∀ c, v: owner[c, v] ≠ none ⇒ online[c]",
        false_parts=("online[c]",),
        shortest=True,
        sorts={
            "online": ("Cpu", "Bool"),
            "owner": ("Cpu", "Vector", "Option[Irq]"),
            "alloc.cpu": ("Cpu",),
            "alloc.irq": ("Irq",),
            "cpu_down.cpu": ("Cpu",),
        },
    )


@given(counterexamples())
def test_itf_round_trip(cx: Counterexample) -> None:
    back = Counterexample.from_itf(json.loads(json.dumps(cx.to_itf())))
    assert back == cx
    # Python takes True for 1 and 1 for True; a trace must not.
    assert repr(back) == repr(cx)


@given(counterexamples())
def test_itf_is_what_viewers_expect(cx: Counterexample) -> None:
    trace = cx.to_itf()
    assert len(trace["states"]) == len(cx.steps) + 1
    for number, state in enumerate(trace["states"]):
        assert state["#meta"] == {"index": number}
        assert set(trace["vars"]) == state.keys() - {"#meta"}
    for number in _numbers(trace["states"]):
        assert abs(number) < 2**53


def _numbers(data: Any) -> list[int]:
    if isinstance(data, dict):
        return _numbers(list(data.values()))
    if isinstance(data, list):
        return [number for item in data for number in _numbers(item)]
    return [data] if isinstance(data, int) and not isinstance(data, bool) else []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["#meta", "vars", "states"]), JSON))
def test_another_document_is_refused(trace: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Counterexample.from_itf(trace)


@given(st.data())
def test_a_damaged_trace_is_refused_or_read(data: st.DataObject) -> None:
    trace = json.loads(json.dumps(small().to_itf()))
    place: Any = trace
    while isinstance(place, dict | list) and place:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = place[key]
    try:
        Counterexample.from_itf(trace)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("name", ["#meta", "mbt::actionTaken"])
def test_a_field_cannot_have_a_name_that_the_format_keeps(name: str) -> None:
    with pytest.raises(ValueError, match="name of a field"):
        replace(small(), initial={name: {(): 1}}, steps=()).to_itf()


def test_states_must_agree_about_their_fields() -> None:
    with pytest.raises(ValueError, match=r"step 1 \(odd\)"):
        replace(small(), steps=(Step("odd", (), {"online": {}}),))


def test_the_source_must_be_known() -> None:
    with pytest.raises(ValueError, match="hearsay"):
        replace(small(), source="hearsay")


def test_changes_are_only_what_changed() -> None:
    cx = small()
    assert cx.changes(1) == (Change("owner", (0, 33), None, 1), Change("free", (), 4, 3))
    assert cx.changes(2) == (Change("online", (0,), True, False),)


@pytest.mark.parametrize("k", [0, 3, -1])
def test_changes_of_no_step(k: int) -> None:
    with pytest.raises(IndexError):
        small().changes(k)


def test_changes_see_an_index_that_appears_and_a_type_that_differs() -> None:
    start: State = {"map": {(1,): 5}, "flag": {(): 1}}
    end: State = {"map": {(2,): 6}, "flag": {(): True}}
    cx = replace(small(), initial=start, steps=(Step("go", (), end),))
    assert cx.changes(1) == (
        Change("map", (1,), 5, None),
        Change("map", (2,), None, 6),
        Change("flag", (), 1, True),
    )


def test_pickle() -> None:
    assert pickle.loads(pickle.dumps(small())) == small()


def test_rendering() -> None:
    assert render(small()).splitlines() == [
        "VEC-0 is violated: An owned vector is on a CPU that is online.",
        "  a run of the specification: one CPU",
        "  0. the initial state",
        "  1. alloc(cpu=cpu0, irq=irq1)",
        "       owner[cpu0, v0x21]: none -> irq1",
        "       free: 4 -> 3",
        "  2. cpu_down(cpu=cpu0)",
        "       online[cpu0]: true -> false",
        "  then VEC-0 is false:",
        "       ∀ c, v: owner[c, v] ≠ none ⇒ online[c]",
        "                                    ^^^^^^^^^ false",
        "  2 steps: this is the shortest counterexample",
    ]


def test_rendering_an_induction_step_shows_where_it_starts() -> None:
    text = render(replace(small(), source="induction step", shortest=False, switches=("H1",)))
    assert "need not be reachable" in text
    assert "owner[cpu0, v0x21] = none" in text
    assert "may not be the shortest" in text
    assert "with H1" in text


def test_rendering_a_part_that_the_formula_does_not_spell() -> None:
    text = render(replace(small(), false_parts=("owner[cpu0, v0x21] = none",)))
    assert "       false: owner[cpu0, v0x21] = none" in text
    assert "^" not in text


@given(counterexamples())
def test_rendering_never_fails(cx: Counterexample) -> None:
    text = render(cx)
    for number, step in enumerate(cx.steps, start=1):
        assert f"  {number}. {step.action}(" in text


@pytest.mark.parametrize(
    ("sort", "value", "name"),
    [
        ("Cpu", 3, "cpu3"),
        ("Vector", 236, "v0xec"),
        ("Irq or none", 7, "irq7"),
        ("Option[Vector]", 5, "v0x05"),
        ("Option[Vector]", None, "none"),
        ("Int", 7, "7"),
        ("Int[0..3]", 2, "2"),
        ("Mask", 5, "0x5"),
        ("Device", (1, 2), "(device1, device2)"),
        ("Cpu → Irq or none", (1, None), "(irq1, none)"),
        ("Mode", "silent", "silent"),
        ("", 9, "9"),
    ],
)
def test_names_of_values(sort: str, value: Value, name: str) -> None:
    assert value_name(sort, value) == name
