# SPDX-License-Identifier: GPL-2.0-only
"""A log of a kernel, held to the specification.

Every event of `irq_matrix` and `irq_vectors` must be an action that the specification allows in the
state that the events so far imply, and the numbers that it prints must be those of the state. What
the log has not told is unknown, and is learned as soon as an event implies it.

What a log cannot tell
----------------------
* The steps that the kernel does not trace (a descriptor is freed, an irq is started, a mask is
  stored). The fields that they write are hidden: unknown for good.
* What happens on a CPU that is being taken down, because tracepoints do not fire on a CPU that has
  left the online mask. From `cpuhp_enter` of takedown_cpu to its `cpuhp_exit` everything is
  forgotten that the walk over the interrupts of that CPU may change.
* What was lost: after `LOST n EVENTS` everything is unknown.

A task does one operation at a time: while one is unfinished, the task's next event, unless it comes
from an interrupt, is about the same irq. So the end of an operation cannot be missing unseen.

Events that the kernel prints outside vector_lock may stand in the middle of another CPU's section.
They are put off until that section has ended: they concern another irq, so the two commute.
"""

from __future__ import annotations

import copy
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proofs.events import EVENTS, Reading
from proofs.ftrace import Gap, Logged
from proofs.knowledge import at_rest, boot, forget_cpu, forget_everything, hidden_fields, settle
from proofs.steps import Step
from spec.compiled import Compiler
from spec.learning import Contradiction, Learner
from spec.mathematics import plain
from spec.partial import UNKNOWN, PartialState, is_open
from spec.records import Model
from spec.terms import free_variables

_CPUHP = re.compile(r"cpu: (\d+) .*step: +(\d+) (?:\((\w+)|ret: (-?\d+))")


@dataclass(frozen=True)
class Violation:
    """An event that the specification does not allow: `formula` is false for `values`.
    `arguments` are the action's; `related` are the last events of the same irq and CPU."""

    line: int
    event: str
    fields: Mapping[str, int]
    action: str
    arguments: Mapping[str, str]
    formula: str
    invariant: str
    values: Mapping[str, str]
    related: tuple[str, ...]

    def sentence(self) -> str:
        """One line: the action, and the formula that is false with what it reads."""
        arguments = ", ".join(f"{name} = {value}" for name, value in self.arguments.items())
        shown = ", ".join(f"{name} = {value}" for name, value in self.values.items())
        ids = f" ({self.invariant})" if self.invariant else ""
        where = f", where {shown}" if shown else ""
        return f"{self.action}({arguments}): {self.formula} is false{ids}{where}"


@dataclass
class Counts:
    """What was followed and checked. `events` counts by tracepoint; `learned` counts the formulas
    that could not be judged and were taken for knowledge; `windows` are CPUs taken down, `gaps`
    places where events were lost."""

    events: dict[str, int] = field(default_factory=dict)
    learned: int = 0
    windows: int = 0
    gaps: int = 0
    put_off: int = 0
    irqs: set[int] = field(default_factory=set)
    cpus: set[int] = field(default_factory=set)
    from_boot: bool = False
    unjudged: dict[str, int] = field(default_factory=dict)
    readings: dict[int, int] = field(default_factory=dict)


class LogMonitor:
    """Follows one log; memory grows with the machine, not with the log."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.state = PartialState(model.fields)
        self.counts = Counts()
        readings = [r for event in EVENTS.values() for _, r in event.readings]
        learner = Learner(Compiler(self.state, hidden_fields(model, readings)))
        self._steps = {id(r): Step(model, learner, r) for r in readings}
        self._section_cpu = -1
        self._section_irq: int | None = None
        self._open: dict[int, tuple[int, Any]] = {}
        self._put_off: deque[Logged] = deque()
        self._doing: dict[tuple[int, int], int] = {}
        self._history: dict[tuple[str, int], deque[Logged]] = {}
        forget_everything(self.state)

    # --- the events of a log ----------------------------------------------------------------

    def follow(self, items: Iterable[Logged | Gap]) -> Violation | None:
        """Take events until one does not fit; its violation, or None at the end of the log."""
        return self.follow_some(items) or self._flush(last=True)

    def follow_some(self, items: Iterable[Logged | Gap]) -> Violation | None:
        """The same, where the log goes on behind these events."""
        for item in items:
            if isinstance(item, Gap):
                self._lost()
            elif item.name in EVENTS:
                violation = self._event(item)
                if violation is not None:
                    return violation
            else:
                self._hotplug(item)
        return None

    def checks(self) -> dict[str, int]:
        """How many formulas were found true, by the invariant behind them; "" for the order of the
        events and the other guards."""
        found: dict[str, int] = {}
        for key, times in self.counts.readings.items():
            for label in self._steps[key].labels:
                found[label] = found.get(label, 0) + times
        for label, times in self.counts.unjudged.items():
            found[label] -= times
        return found

    def snapshot(self) -> Any:
        """Where the monitor stands, for `resume`: what if the next events were others?"""
        return (
            self.state.copy(),
            copy.deepcopy(self.counts),
            (self._section_cpu, self._section_irq),
            (dict(self._open), deque(self._put_off), dict(self._doing)),
            {key: deque(events, _REMEMBERED) for key, events in self._history.items()},
        )

    def resume(self, snapshot: Any) -> None:
        """Stand again where the snapshot was taken."""
        known, counts, (cpu, irq), (open_, put_off, doing), history = snapshot
        self.state.restore(known)
        self.counts = copy.deepcopy(counts)
        self._section_cpu, self._section_irq = cpu, irq
        self._open, self._put_off, self._doing = dict(open_), deque(put_off), dict(doing)
        self._history = {key: deque(events, _REMEMBERED) for key, events in history.items()}

    def _event(self, item: Logged) -> Violation | None:
        if not self.counts.events:
            self._start(item)
        for cpu in self._open:
            forget_cpu(self.state, cpu)
        if self._put_off and (violation := self._flush(last=False)):
            return violation
        if violation := self._unfinished(item):
            return violation
        try:
            self._take(item)
        except Contradiction as error:
            reading = self._reading(item)
            if not reading.locked and item.cpu != self._section_cpu and not at_rest(self.state):
                self._put_off.append(item)
                self.counts.put_off += 1
                return None
            return self._violation(item, error.place)
        return None

    def _flush(self, last: bool) -> Violation | None:
        while self._put_off and (last or at_rest(self.state)):
            item = self._put_off.popleft()
            try:
                self._take(item)
            except Contradiction as error:
                return self._violation(item, error.place)
        return None

    def _reading(self, item: Logged) -> Reading:
        return EVENTS[item.name].reading(item.fields, self.state.get)

    def _take(self, item: Logged) -> None:
        fields, counts = item.fields, self.counts
        step = self._steps[id(self._reading(item))]
        for name, false in step.reading.implied:
            if not fields[name]:
                self.state.put(false, (fields["irq"],), False)
        values = self._values(step, item)
        unknown = step.follower.begin(values)
        step.follower.finish(values)
        for name in step.reading.ends:
            self.state.forget(name, values[0])
        if step.reading.locked:
            self._section_cpu = item.cpu
        counts.events[item.name] = counts.events.get(item.name, 0) + 1
        key = id(step.reading)
        counts.readings[key] = counts.readings.get(key, 0) + 1
        if unknown:
            self._after_learning(step, values, unknown)
        for name in ("irq", "cpu"):
            if name in fields:
                self._remember(name, fields[name], item)
        if "irq" in fields:
            self._note_what_is_owed(item, step.reading.locked)

    def _values(self, step: Step, item: Logged) -> list[Any]:
        fields, get = item.fields, self.state.get
        values = [source(fields, item.cpu, get) for source in step.sources]
        for name, truth in zip(step.names, step.truths, strict=True):
            values.append(fields[name] != 0 if truth else fields[name])
        return values

    def _after_learning(self, step: Step, values: list[Any], unknown: list[int]) -> None:
        counts = self.counts
        counts.learned += len(unknown)
        for place in unknown:
            label = step.labels[place]
            counts.unjudged[label] = counts.unjudged.get(label, 0) + 1
        offset = len(values) - len(step.printed)
        for place, printed in enumerate(step.printed):
            if place >= len(step.reading.before):
                index = tuple(values[i] for i in step.index[place])
                self.state.put(printed.field, index, values[offset + place])
                if printed.field == "online" and index[0] not in self._open:
                    # CPU-online: the two differ only while a CPU is being taken down.
                    self.state.put("cpu_online", index, values[offset + place])
        cpu = step.map_of(values)
        if cpu is not None and not settle(self.state, cpu):
            raise Contradiction(len(step.labels))

    # --- what is not an event of the specification ------------------------------------------

    def _start(self, item: Logged) -> None:
        """A log whose first event is the first thing that a matrix sees begins at boot."""
        first = item.name == "irq_matrix_assign_system" and not item.fields["online_maps"]
        if first and not self.counts.gaps:
            boot(self.state)
            self.counts.from_boot = True

    def _lost(self) -> None:
        self.counts.gaps += 1
        forget_everything(self.state)
        self._put_off.clear()
        self._doing.clear()
        self._section_cpu, self._section_irq = -1, None

    def _hotplug(self, item: Logged) -> None:
        found = _CPUHP.search(item.text)
        if found is None:
            return
        cpu, step = int(found[1]), int(found[2])
        if item.name == "cpuhp_enter" and found[3] == "takedown_cpu":
            self._open[cpu] = step, self.state.get("online_maps")
            self.counts.windows += 1
            forget_cpu(self.state, cpu)
        elif item.name == "cpuhp_exit" and self._open.get(cpu, (None,))[0] == step:
            _, maps = self._open.pop(cpu)
            forget_cpu(self.state, cpu)
            if found[4] == "0":
                self.state.put("online", (cpu,), False)
                self.state.put("cpu_online", (cpu,), False)
                if maps is not UNKNOWN:
                    self.state.put("online_maps", (), maps - 1)

    def _unfinished(self, item: Logged) -> Violation | None:
        """An operation that goes on to another irq although it owes something to the one before:
        in one task, or in one section of vector_lock."""
        irq = item.fields.get("irq")
        if irq is None:
            return None
        doing = [] if item.task is None else [self._doing.get(item.task, irq)]
        if self._section_irq is not None and self._reading(item).locked:
            doing.append(self._section_irq)
        for other in doing:
            owed = self.state.get("pc", other)
            if other != irq and not is_open(owed) and owed not in _OVER:
                return Violation(
                    item.line,
                    item.name,
                    item.fields,
                    self._reading(item).action,
                    {name: str(number) for name, number in item.fields.items()},
                    f"pc[{other}] = IDLE",
                    "",
                    {f"pc[{other}]": str(owed)},
                    tuple(map(_written, self._history.get(("irq", other), ()))),
                )
        return None

    def _note_what_is_owed(self, item: Logged, locked: bool) -> None:
        irq = item.fields["irq"]
        owed = self.state.get("pc", irq)
        busy = not is_open(owed) and owed not in _OVER
        if item.task is not None:
            if busy:
                self._doing[item.task] = irq
            else:
                self._doing.pop(item.task, None)
        if locked:
            self._section_irq = irq if busy and owed not in _OWED_OUTSIDE else None

    # --- what is told of a violation --------------------------------------------------------

    def _remember(self, key: str, number: int, item: Logged) -> None:
        events = self._history.get((key, number))
        if events is None:
            events = self._history[key, number] = deque(maxlen=_REMEMBERED)
            (self.counts.irqs if key == "irq" else self.counts.cpus).add(number)
        events.append(item)

    def _violation(self, item: Logged, place: int) -> Violation:
        step = self._steps[id(self._reading(item))]
        values = self._values(step, item)
        names = dict(zip(step.follower.parameters, values, strict=True))
        if place < len(step.labels):
            term, label = step.follower.terms[place], step.labels[place]
            formula, cells = plain(term), step.follower.values_read(place, values)
            cells |= {v.args[0]: names[v.args[0]] for v in free_variables(term)}
        else:
            label, cells = "MX-3", {}
            formula = f"allocated[{item.fields['cpu']}] is at least the number of bits known taken"
        shown = {name: _shown(value) for name, value in cells.items()}
        once = {
            event.line: event
            for key in ("irq", "cpu")
            for event in self._history.get((key, item.fields.get(key, -1)), ())
        }.values()
        return Violation(
            item.line,
            item.name,
            item.fields,
            step.reading.action,
            {name: _shown(names[name]) for name in step.follower.action.params},
            formula,
            label,
            shown,
            tuple(_written(e) for e in sorted(once, key=lambda e: e.line)),
        )


_OVER: Final = ("IDLE", "RETRY")
"""Nothing is owed; after a failed attempt another may follow, or none."""

_OWED_OUTSIDE: Final = ("SETUP", "FAILED")
"""What is still owed when the section of vector_lock has ended: vector_setup."""

_REMEMBERED: Final = 4
"""So many events of an irq and of a CPU are told with a violation."""


def _written(item: Logged) -> str:
    fields = " ".join(f"{k}={v}" for k, v in item.fields.items())
    return f"line {item.line}, CPU {item.cpu}: {item.name} {fields}"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return "unknown" if value is UNKNOWN else str(value)
