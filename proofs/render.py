# SPDX-License-Identifier: GPL-2.0-only
"""A counterexample as plain text for a terminal.

Steps are numbered and carry their parameters; of each state only what changed is shown; the parts
of the invariant's formula that were false are marked below it.
"""

import re
from collections.abc import Iterator
from typing import Final

from proofs.counterexample import Change, Counterexample, Step, Value

_NUMBERS: Final = re.compile(r"(int|nat|count|unsigned|signed|u(8|16|32|64))\b", re.IGNORECASE)
_BITS: Final = re.compile(r"(bitvec|bits|mask|cpumask|bv)[0-9(\[]*", re.IGNORECASE)
_OPTION: Final = re.compile(r"(.*) or none|Option\[(.*)\]")


def value_name(sort: str, value: Value) -> str:
    """How a value of a sort is written: a member of a sort by the sort's name and its number.

    A tuple is a function, one value for each argument; its sort is written ``Cpu → Bool``.

    >>> value_name("Cpu", 0), value_name("Vector", 33), value_name("Irq or none", None)
    ('cpu0', 'v0x21', 'none')
    >>> value_name("Cpu → Bool", (True, False))
    '(true, false)'
    >>> value_name("Bool", True), value_name("Int", -1), value_name("BitVec[8]", 5)
    ('true', '-1', '0x5')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        of = sort.rpartition("→")[2].strip()
        return "(" + ", ".join(value_name(of, item) for item in value) + ")"
    return _number_name(_without_option(sort), value)


def render(counterexample: Counterexample) -> str:
    """The whole counterexample as lines of plain text, without a newline at the end."""
    return "\n".join(_lines(counterexample))


def _lines(cx: Counterexample) -> Iterator[str]:
    yield f"{cx.violated} is violated: {cx.sentence}"
    switches = f", with {', '.join(cx.switches)}" if cx.switches else ""
    yield f"  {_SOURCE_PHRASES[cx.source]}: {cx.machine}{switches}"
    yield "  0. " + _START_PHRASES.get(cx.source, "the initial state")
    for name, values in cx.initial.items():
        yield from (
            f"       {_place(cx, name, index)} = {_value(cx, name, value)}"
            for index, value in values.items()
            if cx.source == "induction step" or not cx.steps
        )
    for number, step in enumerate(cx.steps, start=1):
        yield f"  {number}. {_action(cx, step)}"
        changes = cx.changes(number)
        yield from (f"       {_change(cx, change)}" for change in changes)
        if not changes:
            yield "       (nothing changes)"
    yield f"  then {cx.violated} is false:"
    yield from _marked_formula(cx.formula, cx.false_parts)
    yield f"  {_length_phrase(cx)}"
    if cx.note:
        yield f"  note: {cx.note}"


_SOURCE_PHRASES: Final = {
    "spec": "a run of the specification",
    "implementation": "a run of the implementation",
    "log": "a log",
    "induction step": "a step that induction cannot exclude",
}

_START_PHRASES: Final = {
    "induction step": "a state that obeys every invariant; it need not be reachable",
    "log": "the state where the log begins",
}


def _length_phrase(cx: Counterexample) -> str:
    steps = "1 step" if len(cx.steps) == 1 else f"{len(cx.steps)} steps"
    if cx.shortest:
        return f"{steps}: this is the shortest counterexample"
    return f"{steps}: this may not be the shortest counterexample"


def _action(cx: Counterexample, step: Step) -> str:
    params = (
        f"{name}={value_name(_sorts(cx, f'{step.action}.{name}')[-1], value)}"
        for name, value in step.params
    )
    return f"{step.action}({', '.join(params)})"


def _change(cx: Counterexample, change: Change) -> str:
    old, new = (_value(cx, change.field, value) for value in (change.old, change.new))
    return f"{_place(cx, change.field, change.index)}: {old} -> {new}"


def _place(cx: Counterexample, name: str, index: tuple[int, ...]) -> str:
    if not index:
        return name
    sorts = _sorts(cx, name)[:-1]
    # A field whose sorts nobody gave still prints, with plain numbers.
    padded = sorts + ("",) * (len(index) - len(sorts))
    return f"{name}[{', '.join(map(value_name, padded, index))}]"


def _value(cx: Counterexample, name: str, value: Value) -> str:
    return value_name(_sorts(cx, name)[-1], value)


def _sorts(cx: Counterexample, name: str) -> tuple[str, ...]:
    return cx.sorts.get(name) or ("",)


def _marked_formula(formula: str, false_parts: tuple[str, ...]) -> Iterator[str]:
    for line in formula.splitlines() or [""]:
        yield f"       {line}"
        marks = _marks(line, false_parts)
        if marks:
            yield f"       {marks} false"
    for part in false_parts:
        if not any(part in line for line in formula.splitlines()):
            yield f"       false: {part}"


def _marks(line: str, false_parts: tuple[str, ...]) -> str:
    """Carets below each false part of the line; "" if it has none."""
    marked = [" "] * len(line)
    for part in filter(None, false_parts):
        for match in re.finditer(re.escape(part), line):
            marked[match.start() : match.end()] = "^" * len(part)
    return "".join(marked).rstrip()


def _without_option(sort: str) -> str:
    match = _OPTION.fullmatch(sort)
    return next(filter(None, match.groups()), "") if match else sort


def _number_name(sort: str, value: int) -> str:
    if sort == "Vector":
        return f"v{value:#04x}"
    if _BITS.match(sort):
        return f"{value:#x}"
    if not sort or not sort.isidentifier() or _NUMBERS.match(sort):
        return str(value)
    return f"{sort.lower()}{value}"
