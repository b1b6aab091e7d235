# SPDX-License-Identifier: GPL-2.0-only
"""Lines that real logs have, and files that are no logs."""

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest

from proofs.ftrace import LONGEST_LINE, PATIENCE, Gap, Log, LogError, Logged, open_log

HEADER = "# tracer: nop\n#\n"
RESERVE = "vector_reserve: irq=24 ret=0"


def read(text: str | bytes) -> tuple[list[Logged | Gap], Log]:
    data = text.encode() if isinstance(text, str) else text
    log = Log(io.BytesIO(data))
    return list(log), log


def only(line: str) -> Logged:
    items, _ = read(line + "\n")
    assert len(items) == 1 and isinstance(items[0], Logged)
    return items[0]


@pytest.mark.parametrize(
    ("task", "process"),
    [
        ("          <idle>-0      ", 0),
        ("     kworker/0:2H-17    ", 17),
        ("  My App: x-1 [y]-4321  ", 4321),
        ("         cpuhp/3-29     ", 29),
    ],
)
def test_a_task_may_be_named_anything(task: str, process: int) -> None:
    event = only(f"{task} [003] d..1.    12.345678: {RESERVE}")
    assert (event.line, event.cpu, event.name) == (1, 3, "vector_reserve")
    assert event.fields == {"irq": 24, "ret": 0}
    assert event.task == ((0, 3) if process == 0 else (process, -1))


def test_an_interrupt_is_no_task() -> None:
    for flags in ("d.h1.", "dNs2.", "d.H1.", "d.h1"):
        assert only(f"    sh-82  [001] {flags} 7: {RESERVE}").task is None
    assert only(f"    sh-82  [001] d..1 7: {RESERVE}").task == (82, -1)
    assert only(f"    sh-82  (  80) [001] d..1. 7: {RESERVE}").task == (82, -1)


def test_numbers_of_every_kind() -> None:
    line = " a-1 [0] ..... 1: vector_config: irq=7 vector=239 cpu=0 apicdest=0x000000ff"
    assert only(line).fields == {"irq": 7, "vector": 239, "cpu": 0, "apicdest": 255}
    line = " a-1 [0] ..... 1: vector_alloc: irq=7 vector=0 reserved=1 ret=-28"
    assert only(line).fields["ret"] == -28
    totals = "online_maps=4 global_avl=802, global_rsvd=14, total_alloc=2"
    line = f" a-1 [0] ..... 1: irq_matrix_reserve: {totals}"
    assert only(line).fields["global_rsvd"] == 14


def test_fields_in_another_order_or_with_more_between() -> None:
    event = only(" a-1 [0] ..... 1: vector_reserve: ret=-1 node=3 irq=9")
    assert event.fields == {"irq": 9, "ret": -1}


def test_what_is_passed_over() -> None:
    text = (
        HEADER
        + "\n[   12.345] printk: a kernel message\n"
        + f" a-1 [0] ..... 1: tracing_mark_write: {RESERVE}\n"
        + " a-1 [0] ..... 2: irq_handler_entry: irq=4 name=ttyS0\n"
        + f" a-1 [0] ..... 3: {RESERVE}\n"
    )
    items, log = read(text)
    # A marker is told with its text, and is no event, whatever that text may be.
    marker, event = (item for item in items if isinstance(item, Logged))
    assert (marker.name, marker.fields, marker.text) == ("tracing_mark_write", {}, RESERVE)
    assert (event.line, event.name) == (7, "vector_reserve")
    assert log.others == {"tracing_mark_write": 1, "irq_handler_entry": 1}


def test_carriage_returns() -> None:
    items, log = read(f"{HEADER}\r\n\r\n a-1 [0] ..... 3: {RESERVE}\r\r\n")
    assert [i.line for i in items] == [5]
    assert log.lines == 5


def test_lost_events_and_overwritten_buffers_are_gaps() -> None:
    items, _ = read(HEADER + "CPU:2 [LOST 123 EVENTS]\n##### CPU 1 buffer started ####\n")
    assert items == [Gap(3, 2, 123), Gap(4, 1, 0)]


def test_hotplug_events_keep_their_text() -> None:
    event = only(" sh-9 [0] ..... 4: cpuhp_enter: cpu: 0003 target:   0 step: 153 (takedown_cpu)")
    assert event.text == "cpu: 0003 target:   0 step: 153 (takedown_cpu)"


def test_a_log_without_events_is_a_log() -> None:
    assert read(HEADER)[0] == []


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"", None, "is empty"),
        (b"Dear all,\nno log here.\n", None, "no line of an ftrace log"),
        (b"hello\n" * (PATIENCE + 1), None, "no line of an ftrace log among the first"),
        (b"\x7fELF\x02\0\0\0\n", 1, "binary"),
        (b"x" * (LONGEST_LINE + 1), 1, f"more than {LONGEST_LINE} bytes"),
        (b"# tracer: nop\n a-1 [0] ..... 3: vector_res", 2, "breaks off in this line"),
        (b"# tracer: nop\n a-1 [0] ..... 3: vector_reserve: irq=2", 2, "breaks off in this line"),
        (b"no end of line", 1, "no log"),
        (b" a-1 [0] ..... 3: vector_reserve: irq=2 r\n", 1, "vector_reserve without ret"),
        (b" a-1 [0] ..... 3: vector_reserve:\n", 1, "vector_reserve without irq, ret"),
    ],
)
def test_what_is_no_log(data: bytes, line: int | None, message: str) -> None:
    with pytest.raises(LogError, match=message) as caught:
        read(data)
    assert caught.value.line == line


def test_compressed_data(tmp_path: Path) -> None:
    whole = gzip.compress((HEADER + f" a-1 [0] ..... 3: {RESERVE}\n" * 3000).encode())
    cases = {"whole.gz": whole, "cut.gz": whole[:-40], "broken.gz": whole[:60] + b"\xff" * 80}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
    with open_log(str(tmp_path / "whole.gz")) as stream:
        assert len(list(Log(stream))) == 3000
    with (
        pytest.raises(LogError, match="compressed data breaks off"),
        open_log(str(tmp_path / "cut.gz")) as stream,
    ):
        list(Log(stream))
    with (
        pytest.raises(LogError, match=r"broken compression|breaks off"),
        open_log(str(tmp_path / "broken.gz")) as stream,
    ):
        list(Log(stream))


class Endless(io.RawIOBase):
    """As many bytes as anybody wants, none of them the end of a line."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview[int]") -> int:  # type: ignore[override]
        buffer[:] = b"x" * len(buffer)
        return len(buffer)


def test_a_line_without_end_is_not_read_into_memory() -> None:
    tracemalloc.start()
    with pytest.raises(LogError, match="a line of more than"):
        list(Log(io.BufferedReader(Endless())))
    assert tracemalloc.get_traced_memory()[1] < 8 * LONGEST_LINE
    tracemalloc.stop()


def test_a_long_log_takes_no_memory() -> None:
    line = f" a-1 [0] ..... 3: {RESERVE}\n".encode()
    log = Log(io.BytesIO(line * 20_000))
    tracemalloc.start()
    assert sum(1 for _ in log) == 20_000
    assert tracemalloc.get_traced_memory()[1] < 300_000
    tracemalloc.stop()
