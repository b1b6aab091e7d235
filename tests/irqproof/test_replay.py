# SPDX-License-Identifier: GPL-2.0-only
"""Logs of real kernels are accepted in full; the same logs with one line altered are not."""

import gzip
import json
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from impl.defects import Defect
from impl.trace import Event, Trace, format_event
from impl.vector_machine import VectorMachine
from irqproof import cli
from irqproof.replay import replay, run
from proofs.events import EVENTS
from proofs.ftrace import Gap, Log, Logged, open_log
from proofs.refinement import LogMonitor, Violation
from spec.stack import vectors

DATA = Path(__file__).parents[1] / "data"
PLAIN = "q35-plain-6.1"
VTD = "q35-vtd-6.12dbg"
XEN = "xen-pv-dom0-6.1"
MODEL = vectors.build()
Item = Logged | Gap


def path(name: str) -> Path:
    return DATA / f"{name}.txt.gz"


@cache
def items(name: str) -> tuple[Item, ...]:
    with open_log(str(path(name))) as stream:
        return tuple(Log(stream))


def lines(name: str) -> list[str]:
    return gzip.decompress(path(name).read_bytes()).decode().splitlines(keepends=True)


def follow(log: list[Item]) -> Violation | None:
    return LogMonitor(MODEL).follow(log)


# --- real logs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "events", "irqs", "windows"),
    [(PLAIN, 2119, 48, 7), (VTD, 2492, 50, 7), (XEN, 0, 0, 0)],
)
def test_a_capture_is_followed_in_full(name: str, events: int, irqs: int, windows: int) -> None:
    result = replay(str(path(name)), MODEL)
    assert result.violation is None
    text = gzip.decompress(path(name).read_bytes()).decode()
    printed = Counter(re.findall(r"\d: (vector_\w+|irq_matrix_\w+): ", text))
    assert result.counts.events == dict(printed)
    assert (result.events, len(result.counts.irqs), result.counts.windows) == (
        events,
        irqs,
        windows,
    )
    assert result.lines == text.count("\n")


@pytest.mark.parametrize("name", [PLAIN, VTD])
def test_a_capture_is_checked_and_not_just_learned(name: str) -> None:
    result = replay(str(path(name)), MODEL)
    assert result.counts.from_boot
    assert sum(result.checks.values()) > 5 * result.events
    assert result.counts.learned < 0.06 * sum(result.checks.values())
    for invariant in ("MX-3", "MX-6", "MX-7", "MX-8", "MX-9", "MX-10", "VEC-3", "VEC-5", "VEC-9"):
        assert result.checks[invariant] > 100, invariant


@pytest.mark.parametrize("name", [PLAIN, VTD])
def test_a_log_may_begin_anywhere(name: str) -> None:
    log = list(items(name))
    for start in range(1, len(log), len(log) // 12):
        monitor = LogMonitor(MODEL)
        assert monitor.follow(log[start:]) is None, start
        assert not monitor.counts.from_boot or start < 40


@pytest.mark.parametrize("name", [PLAIN, VTD])
def test_events_may_be_lost(name: str) -> None:
    log = list(items(name))
    for start in range(1, len(log), len(log) // 12):
        rest = log[start + start % 97 :]
        assert follow([*log[:start], Gap(0, 2, 0), *rest]) is None, start


# --- one line altered -----------------------------------------------------------------------


def is_event(item: Item) -> bool:
    return isinstance(item, Logged) and item.name in EVENTS


def variants(
    name: str, change: Callable[[list[Item], int], list[Item] | None], step: int
) -> Iterator[tuple[Logged, Violation | None]]:
    """Every `step`-th event with what became of the log in which `change` replaced it."""
    log = list(items(name))
    monitor = LogMonitor(MODEL)
    done = 0
    for place in [k for k, item in enumerate(log) if is_event(item)][::step]:
        other = change(log, place)
        item = log[place]
        if other is None or not isinstance(item, Logged):
            continue
        assert monitor.follow_some(log[done:place]) is None
        done = place
        snapshot = monitor.snapshot()
        yield item, monitor.follow([*other, *log[place + 1 :]])
        monitor.resume(snapshot)


def altered(item: Item, **fields: int) -> Logged:
    assert isinstance(item, Logged)
    return Logged(item.line, item.cpu, item.name, {**item.fields, **fields}, item.text, item.task)


def counter_changed(field: str, change: int) -> Callable[[list[Item], int], list[Item] | None]:
    def alter(log: list[Item], place: int) -> list[Item] | None:
        item = log[place]
        if not isinstance(item, Logged) or field not in item.fields:
            return None
        if not item.name.startswith("irq_matrix_"):
            return None
        return [altered(item, **{field: item.fields[field] + change})]

    return alter


COUNTERS = ("online_maps", "global_avl", "global_rsvd", "total_alloc", "avl", "alloc", "managed")


@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize("counter", COUNTERS)
def test_a_counter_off_by_one_is_noticed(counter: str, change: int) -> None:
    noticed = Counter[str]()
    first_event = next(i.line for i in items(PLAIN) if is_event(i))
    first_window = next(
        i.line for i in items(PLAIN) if isinstance(i, Logged) and "takedown" in i.text
    )
    for item, violation in variants(PLAIN, counter_changed(counter, change), 9):
        if violation is None:
            noticed["never"] += 1
            continue
        noticed["there" if violation.line == item.line else "later"] += 1
        # Whether an allocation used a reservation is told by the counter, then by vector_alloc.
        excused = item.name == "irq_matrix_alloc" and counter == "global_rsvd"
        # The first event of all decides whether the log begins at boot.
        if first_event < item.line < first_window:
            assert excused or violation.line == item.line, (item, violation)
    assert noticed["there"] > 4 * (noticed["later"] + noticed["never"]), noticed
    assert noticed["never"] <= 2, noticed


def taken_again(log: list[Item], place: int) -> list[Item] | None:
    """The bit of an allocation is one that some irq has on that CPU."""
    item = log[place]
    if not isinstance(item, Logged) or item.name not in ("irq_matrix_alloc", "irq_matrix_assign"):
        return None
    for earlier in reversed(log[:place]):
        if isinstance(earlier, Gap) or "takedown" in earlier.text:
            return None
        if earlier.name == "irq_matrix_free" and earlier.fields["cpu"] == item.fields["cpu"]:
            return None
        if earlier.name == item.name and earlier.fields["cpu"] == item.fields["cpu"]:
            return [altered(item, bit=earlier.fields["bit"])]
    return None


def test_a_vector_given_twice_is_noticed_there() -> None:
    found = 0
    for name in (PLAIN, VTD):
        for item, violation in variants(name, taken_again, 1):
            assert violation is not None and violation.line == item.line
            assert "alloc_map[cpu, bit]" in violation.formula
            found += 1
    assert found > 50


def test_a_vector_given_twice_is_noticed_by_its_text(tmp_path: Path) -> None:
    """All four lines of an allocation name a vector that irq 24 has on the same CPU."""
    text = lines(PLAIN)
    first = next(k for k, line in enumerate(text) if "vector_alloc: irq=24 " in line)
    assert "bit=33 cpu=2" in text[first - 1]
    later = next(
        k for k, line in enumerate(text) if k > first and "irq_matrix_alloc: bit=34 cpu=2" in line
    )
    for k in range(later, later + 4):
        text[k] = re.sub(r"(bit|[^_]vector)=34", r"\1=33", text[k])
    file = tmp_path / "twice.txt"
    file.write_text("".join(text))
    violation = replay(str(file), MODEL).violation
    assert violation is not None and violation.line == later + 1
    assert violation.invariant == "VEC-9"


def test_a_vector_freed_that_nobody_gave_up_is_noticed_there() -> None:
    def other_bit(log: list[Item], place: int) -> list[Item] | None:
        item = log[place]
        if not isinstance(item, Logged) or item.name != "irq_matrix_free":
            return None
        return [altered(item, bit=item.fields["bit"] + 1)]

    found = 0
    for item, violation in variants(VTD, other_bit, 3):
        assert violation is not None and violation.line == item.line
        assert violation.formula == "hand[cpu, bit]"
        found += 1
    assert found > 40


@pytest.mark.parametrize("field", ["vector", "cpu", "prev_vector"])
def test_another_vector_than_the_irq_has_is_noticed(field: str) -> None:
    def other(log: list[Item], place: int) -> list[Item] | None:
        item = log[place]
        if not isinstance(item, Logged) or item.name not in (
            "vector_update",
            "vector_config",
            "vector_clear",
            "vector_free_moved",
        ):
            return None
        if not item.fields.get(field) or item.fields["vector"] == 239:
            return None
        return [altered(item, **{field: item.fields[field] + 1})]

    there = Counter(
        violation.line - item.line if violation else -1
        for item, violation in variants(VTD, other, 5)
    )
    assert there[0] > 20 and -1 not in there
    assert there[0] > 8 * (there.total() - there[0])


def dropped(log: list[Item], place: int) -> list[Item]:
    return []


NEVER_NOTICED = {
    # Nothing later depends on it: a log cannot tell what the system took from what it did not.
    "irq_matrix_assign_system": (39, 32),
    # The irq has its vector, or a CPU taken down has just hidden that it has none; or it is
    # managed, and may have been activated while it was shut down, which a log does not tell.
    "vector_activate": (41, 41),
    # A fixed irq keeps its vector: the event changes nothing.
    "vector_deactivate": (3, 2),
    # A failed attempt changes nothing.
    "vector_alloc": (1, 0),
    # The task of this one, and the irq, never come again.
    "vector_setup": (1, 1),
    # The last event of the log.
    "irq_matrix_remove_reserved": (1, 1),
}
"""Which events can be missing unseen, and how often in the captures."""


@pytest.mark.parametrize(("column", "name"), [(0, PLAIN), (1, VTD)])
def test_a_dropped_event_is_noticed(column: int, name: str) -> None:
    missed = Counter[str]()
    late = 0
    for item, violation in variants(name, dropped, 1):
        if violation is None:
            missed[item.name] += 1
        else:
            late += violation.line > item.line + 60
    assert missed == {k: v[column] for k, v in NEVER_NOTICED.items() if v[column]}
    assert late < 0.05 * len(items(name))


@pytest.mark.parametrize(("cpu", "fits"), [(2, True), (0, False)])
def test_an_event_in_the_middle_of_another_cpus_section_is_put_off(cpu: int, fits: bool) -> None:
    """CPU 2 has left vector_lock with irq 22 and prints vector_setup while CPU 0 makes a
    reservation for irq 23. On CPU 0 itself the same order is impossible."""
    log = list(items(PLAIN))
    place = next(
        k
        for k, item in enumerate(log)
        if isinstance(item, Logged) and item.name == "vector_setup" and item.fields["irq"] == 22
    )
    setup, reserve, claim, config = log[place], log[place - 3], log[place - 2], log[place - 1]
    assert isinstance(setup, Logged) and isinstance(reserve, Logged)
    more = altered(reserve, global_rsvd=reserve.fields["global_rsvd"] + 1)
    others = [more, altered(claim, irq=23), altered(config, irq=23), altered(setup, irq=23)]
    for other in others:
        other.cpu, other.task = 0, (99, -1)
    setup = altered(setup)
    setup.cpu = cpu
    monitor = LogMonitor(MODEL)
    violation = monitor.follow([*log[:place], others[0], setup, *others[1:]])
    assert (violation is None) is fits
    assert monitor.counts.put_off == fits
    if fits:
        assert monitor.state.get("present", 22) is True


# --- the command ----------------------------------------------------------------------------


def options(*files: Path | str, json: str = "", quiet: bool = False) -> Namespace:
    return Namespace(files=[str(f) for f in files], json=json, quiet=quiet, switches=[])


def test_the_report_of_a_log_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(options(path(PLAIN))) == 0
    text = capsys.readouterr().out
    assert "held: 2,119 events followed in 7,095 lines" in text
    assert "4 CPUs and 48 irqs" in text and "7 CPUs taken down" in text


def test_a_log_without_events_says_that_nothing_was_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(options(path(XEN))) == 0
    assert "nothing was checked: 423 lines without one" in capsys.readouterr().out


def broken_log(tmp_path: Path) -> Path:
    text = lines(PLAIN)
    assert "irq_matrix_alloc_managed: bit=34 cpu=0" in text[491]
    text[492] = text[492].replace("vector=34", "vector=35")
    file = tmp_path / "broken.txt"
    file.write_text("".join(text[:510]))
    return file


def test_the_report_of_a_violation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = broken_log(tmp_path)
    assert run(options(file)) == 1
    text = capsys.readouterr().out.splitlines()
    assert text[0] == (
        f"{file}:493: refuted: vector_alloc_managed(irq = 27, vector = 35):"
        " ∃ c: Cpu: hand[c, vector] is false, where vector = 35"
    )
    assert any("line 491, CPU 1: vector_activate irq=27" in line for line in text)
    marked = [line for line in text if line.startswith("  > ")]
    assert len(marked) == 1 and "493" in marked[0] and "vector=35" in marked[0]
    assert "495" in text[-1]


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.json"
    assert run(options(path(VTD), broken_log(tmp_path), json=str(target))) == 1
    document = json.loads(target.read_text())
    held, refuted = document["logs"]
    assert document["exit_code"] == 1
    assert (held["verdict"], held["violation"]) == ("held", None)
    assert sum(held["events"].values()) == 2492
    assert refuted["violation"]["line"] == 493
    assert refuted["violation"]["formula"] == "∃ c: Cpu: hand[c, vector]"
    assert json.loads(_printed_json(path(XEN), capsys))["logs"][0]["lines"] == 423


def _printed_json(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(options(file, json="-")) == 0
    return capsys.readouterr().out


def test_input_that_is_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.txt"
    cut.write_bytes("".join(lines(PLAIN)).encode()[:10000])
    assert run(options(cut, tmp_path / "missing", tmp_path)) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith(f"{cut}:77: error: the file breaks off in this line")
    assert errors[1] == f"{tmp_path / 'missing'}: error: No such file or directory"
    assert errors[2].startswith(f"{tmp_path}: error: holds no snapshot")
    assert len(errors) == 3


def test_a_refuted_log_outweighs_a_broken_one(tmp_path: Path) -> None:
    assert run(options(tmp_path / "missing", broken_log(tmp_path), quiet=True)) == 1


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", str(path(PLAIN)), "--quiet"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert cli.main(["replay"]) == 2


def log_of_a_defect(file: Path) -> None:
    """A managed interrupt is made while one of its CPUs is away, on a kernel that does not lower
    the number of vectors which that CPU has (MX-D1)."""
    text: list[str] = []
    gone: set[int] = set()

    def line(cpu: int, event: str) -> None:
        text.append(f"     sh-9       [{cpu:03}] d..1. {len(text):12}: {event}\n")

    def record(event: Event) -> None:
        if event.name == "set_cpu_online":
            (gone.discard if event.fields["online"] else gone.add)(event.fields["cpu"])
        if event.name in EVENTS and event.cpu not in gone:
            line(event.cpu, format_event(event))

    trace = Trace()
    trace.subscribe(record)
    machine = VectorMachine(3, trace=trace, defects=frozenset({Defect.MX_D1}))
    machine.cpu_up(1)
    machine.cpu_up(2)
    line(0, "cpuhp_enter: cpu: 0002 target:   0 step: 153 (takedown_cpu)")
    assert machine.cpu_down(2, set()) == 0
    line(0, "cpuhp_exit:  cpu: 0002  state:  92 step: 153 ret: 0")
    for _ in range(2):
        assert machine.alloc_irqs(1, affinity=[0b110], managed=True) > 0
    file.write_text("".join(text))


def test_a_well_known_defect_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "defect.txt"
    log_of_a_defect(file)
    assert run(options(file)) == 1
    text = capsys.readouterr().out
    assert "(MX-6)" in text.splitlines()[0]
    assert "the defect MX-D1, which explains this line" in text
    assert "MX-D2" not in text
    assert cli.main(["replay", "--switch", "MX-D1", str(file)]) == 0
    assert cli.main(["replay", "--switch", "MX-D9", str(file)]) == 2


def test_a_log_without_hotplug_events_says_what_may_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "no-cpuhp.txt"
    file.write_text("".join(line for line in lines(PLAIN) if ": cpuhp_e" not in line))
    assert run(options(file)) == 1
    assert "trace cpuhp:cpuhp_enter and cpuhp:cpuhp_exit, too" in capsys.readouterr().out


def test_isa_vectors_may_become_system_vectors(tmp_path: Path) -> None:
    """Under noapic an ISA vector is assigned first and handed to the system afterwards."""
    totals = "global_avl={}, global_rsvd=0, total_alloc={}"
    events = [
        "irq_matrix_assign_system: bit=2 online_maps=0 " + totals.format(0, 0),
        "irq_matrix_online: online_maps=1 " + totals.format(203, 0),
        "irq_matrix_assign: bit=49 cpu=0 online=1 avl=202 alloc=1 managed=0 online_maps=1 "
        + totals.format(202, 1),
        "irq_matrix_assign_system: bit=49 online_maps=1 " + totals.format(202, 0),
        "irq_matrix_assign: bit=51 cpu=0 online=1 avl=201 alloc=1 managed=0 online_maps=1 "
        + totals.format(201, 1),
    ]
    file = tmp_path / "noapic.txt"
    for last, line in ((events[4], None), (events[4].replace("bit=51", "bit=49"), 5)):
        text = [*events[:4], last]
        file.write_text("".join(f" <idle>-0 [000] d..1. {k}: {e}\n" for k, e in enumerate(text)))
        violation = replay(str(file), MODEL).violation
        assert (violation and violation.line) == line
