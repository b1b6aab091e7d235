# SPDX-License-Identifier: GPL-2.0-only
"""``irqproof soak``: what fails is found, shortened, kept and done again; bad input is one line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from irqproof import cli
from irqproof.soak import Soak, keep
from proofs.driven import Operation
from proofs.reproducer import Reproducer
from proofs.soaking import CRASH, Turn, again, turns
from proofs.whole_stateful import WHOLE

FAILED = Reproducer("small", ("N17",), 7, "GEN-freed", "it is so.", (Operation("a", (("b", 1),)),))
"""A record; that it can be done is of no matter."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run with the defect N17 keeps: the MSI core frees irqs that are still active."""
    directory = tmp_path_factory.mktemp("soak") / "out"
    arguments = ["--minutes", "0.001", "--seed", "1", "--machine", "small", "--switch", "N17"]
    assert cli.main(["soak", *arguments, "--out", str(directory)]) == 1
    (file,) = directory.iterdir()
    return file


def _without_defects(file: Path, directory: Path) -> Path:
    repaired = directory / "repaired.json"
    repaired.write_text(json.dumps({**json.loads(file.read_text()), "switches": []}))
    return repaired


def test_a_defect_is_found_and_its_program_shortened(found: Path) -> None:
    kept = Reproducer.from_json(found.read_text())
    assert (kept.machine, kept.switches, kept.seed) == ("small", ("N17",), 1)
    assert 1 <= len(kept.operations) <= 4
    outcome = again(kept)
    assert outcome.finding is not None and outcome.finding.violated == kept.violated
    assert outcome.refused == 0


def test_every_operation_of_a_shortened_program_is_needed(found: Path) -> None:
    kept = Reproducer.from_json(found.read_text())
    # The last one may be what takes everything away, which happens at the end of any program.
    for place in range(len(kept.operations) - 1):
        fewer = kept.operations[:place] + kept.operations[place + 1 :]
        outcome = again(replace(kept, operations=fewer))
        assert outcome.finding is None or outcome.finding.violated != kept.violated


def test_a_kept_program_is_done_again_and_told(
    found: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["soak", "--replay", str(found)]) == 1
    out = capsys.readouterr().out
    kept = Reproducer.from_json(found.read_text())
    assert out.startswith(f"{found}: refuted: {kept.violated}: ")
    assert all(operation.name in out for operation in kept.operations)


def test_a_repaired_machine_does_the_same_program_without_harm(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repaired = _without_defects(found, tmp_path)
    assert cli.main(["soak", "--replay", str(repaired)]) == 0
    assert capsys.readouterr().out.startswith(f"{repaired}: held: ")


def test_a_repaired_machine_is_soaked_without_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "out"
    arguments = ["--minutes", "0.001", "--seed", "1", "--machine", "small"]
    assert cli.main(["soak", *arguments, "--out", str(directory)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("held: 1 program, ") and out.endswith(", nothing found\n")
    assert err == "irqproof: soaking small for 0.001 minutes, seed 1\n"
    assert not directory.exists()


def test_machines_take_turns_and_the_seed_decides_what_they_do() -> None:
    def first(seed: int, count: int) -> list[Turn]:
        stream = turns(("small", "hubs"), seed, frozenset())
        return [next(stream) for _ in range(count)]

    some = first(3, 3)
    assert [turn.machine for turn in some] == ["small", "hubs", "small"]
    assert all(turn.operations >= 50 and turn.failed is None for turn in some)
    assert first(3, 1) == some[:1] and first(4, 1) != some[:1]


def test_a_machine_that_does_not_boot_is_found_once() -> None:
    (turn,) = turns(("small",), 0, frozenset({"N2"}))
    assert turn.failed is not None and turn.failed.operations == ()
    outcome = again(turn.failed)
    assert outcome.finding is not None and outcome.finding.violated == turn.failed.violated


def test_an_error_of_python_keeps_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(*_: object) -> int:
        raise ZeroDivisionError("out of numbers")

    stream = turns(("hubs",), 0, frozenset())
    assert next(stream).failed is None
    monkeypatch.setattr("proofs.whole_run.WholeRun.judge", fall)
    turn = next(stream)
    assert turn.failed is not None and turn.failed.violated == CRASH
    assert turn.failed.sentence == "ZeroDivisionError: out of numbers"
    assert len(turn.failed.operations) == 1


def test_nothing_that_was_kept_is_overwritten(tmp_path: Path) -> None:
    files = [keep(FAILED, tmp_path / "out") for _ in range(3)]
    assert [file.name for file in files] == [f"small-GEN-freed-{n}.json" for n in (1, 2, 3)]
    assert {Reproducer.from_json(file.read_text()) for file in files} == {FAILED}


def test_one_failure_is_kept_once_in_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = [Turn("small", 5, FAILED), Turn("hubs", 5), Turn("small", 5, FAILED)]
    assert Soak(tmp_path, 60.0).follow(stream, "soaking") == 1
    assert len(list(tmp_path.iterdir())) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "refuted: 3 programs, 15 operations, 1 found, 1 time more"


def test_ctrl_c_keeps_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> Iterator[Turn]:
        yield Turn("small", 5, FAILED)
        raise KeyboardInterrupt

    assert Soak(tmp_path, 60.0).follow(interrupted(), "soaking") == 130
    assert len(list(tmp_path.iterdir())) == 1
    out, err = capsys.readouterr()
    assert "kept as" in out and err == "irqproof: soaking\nirqproof: interrupted\n"


def test_ctrl_c_while_a_program_is_shortened_keeps_the_long_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("proofs.soaking.shorten", interrupted)
    stream = turns(("small",), 1, frozenset({"N17"}))
    turn = next(turn for turn in stream if turn.failed is not None)
    assert turn.failed is not None and len(turn.failed.operations) > 2
    with pytest.raises(KeyboardInterrupt):
        next(stream)


def test_ctrl_c_in_a_process(tmp_path: Path) -> None:
    # A shell that starts a job in the background has it ignore Ctrl-C.
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from irqproof.cli import main\n"
        "sys.exit(main(['soak', '--machine', 'uv', '--out', sys.argv[1]]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("irqproof: soaking hubs for 10 minutes, seed ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out.startswith("held: ") and err == "irqproof: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--machine", "toaster"), "there is no machine 'toaster'; there are amd-vi, bare-metal, "),
        (("--switch", "Z9"), "no such defect: Z9"),
        (("--minutes", "0"), "not a number of minutes"),
        (("--minutes", "nan"), "not a number of minutes"),
        (("--minutes", "ten"), "not a number of minutes"),
        (("--seed", "-1"), "--seed"),
        (("--out", "/dev/null"), "/dev/null: error: this is no directory"),
        (("--out", "/nowhere/at/all"), "/nowhere/at/all: error: there is no directory above"),
        (("--replay", "/nowhere/at/all"), "/nowhere/at/all: error: No such file"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["soak", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert words in err and " error: " in err


GOOD = json.loads(FAILED.to_json())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe{}", "can't decode"),
        (b"[" * 100_000, "recursion"),
        (b"[]", "[] is not an object"),
        (b"{}", "its format is not irqproof-soak/1"),
        ({"format": "irqproof-check/1"}, "its format is not irqproof-soak/1"),
        ({"format": GOOD["format"]}, "'operations' is missing"),
        ({**GOOD, "machine": "toaster"}, "there is no machine 'toaster'; there are small, hubs"),
        ({**GOOD, "machine": 3}, "3 is not a string"),
        ({**GOOD, "switches": ["Z9"]}, "no such defect: Z9"),
        ({**GOOD, "switches": "N17"}, "'N17' is not a list"),
        ({**GOOD, "seed": True}, "seed is not a number"),
        ({**GOOD, "operations": {}}, "operations is not a list"),
        ({**GOOD, "operations": [3]}, "3 is not an object"),
        ({**GOOD, "operations": [{"name": "fire"}]}, "'params' is missing"),
        ({**GOOD, "operations": [{"name": "fire", "params": {"irq": "4"}}]}, "irq is not a number"),
        (GOOD, "there is no operation 'a'"),
    ],
)
def test_a_broken_file_is_one_line(
    content: bytes | dict[str, object],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "broken.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    assert cli.main(["soak", "--replay", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith(f"{file}: error: ") and words in err


def test_what_is_not_allowed_any_more_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "stale.json"
    operations = (Operation("free_irq", (("irq", 999),)),)
    file.write_text(Reproducer("small", (), 0, "X-4", "", operations).to_json())
    assert cli.main(["soak", "--replay", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{file}: held: 1 operation, nothing found\n"
    assert err == "irqproof: 1 of the operations are not allowed any more\n"


def test_programs_run_on_whole_machines_that_are_known_by_their_names() -> None:
    assert all(machine.description.name == name for name, machine in WHOLE.items())
