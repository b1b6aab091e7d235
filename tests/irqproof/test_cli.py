# SPDX-License-Identifier: GPL-2.0-only
"""The command as a user meets it: help, usage errors in one line, quiet ends."""

import os
import subprocess
import sys

import pytest

from irqproof import check, cli
from irqproof.errors import UserError


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "irqproof", *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "which verb?"),
        (("frobnicate",), "unknown verb 'frobnicate'"),
        (("--frobnicate", "check"), "unknown option '--frobnicate'"),
        (("check", "--frobnicate"), "unrecognized arguments: --frobnicate"),
        (("check", "surplus"), "unrecognized arguments: surplus"),
        (("check", "--scope"), "expected one argument"),
        (("check", "--scope", "2x3"), "CPUSxVECTORSxIRQS"),
        (("check", "--scope", "2x0x2"), "at least 1"),
        (("check", "--scope", "2x-3x2"), "CPUSxVECTORSxIRQS"),
        (("check", "--scope", "٢x3x2"), "CPUSxVECTORSxIRQS"),
        (("check", "--jobs", "0"), "at least 1"),
        (("check", "--jobs", "two"), "'two' is not a number"),
        (("check", "--seed", "-1"), "--seed"),
        (("check", "--json", "/nowhere/report.json"), "/nowhere/report.json: error: "),
        (("check", "--json", "-", "--ktap"), "only one report"),
        (("check", "--sco", "1x1x1"), "unrecognized arguments"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert " error: " in err


def test_a_usage_error_in_a_process() -> None:
    done = command("check", "--scope", "2x\n3x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("irqproof: error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--help",), ("check", "--help"), ("--version",)])
def test_help_needs_nothing_heavy(arguments: tuple[str, ...]) -> None:
    heavy = ["hypothesis", "multiprocessing", "numba", "numpy", "rich", "spec", "z3"]
    script = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('heavy:', sorted(set({heavy}) & sys.modules.keys())))\n"
        "from irqproof.cli import main\n"
        f"sys.exit(main({list(arguments)}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_help_names_every_verb_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {verb} " in text for verb in cli.VERBS)
    assert all(f" {code} " in text for code in (0, 1, 2, 3, 130))


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("no event", file="trace", line=3), 2, "trace:3: error: no event\n"),
        (KeyboardInterrupt(), 130, "irqproof: interrupted\n"),
        (OSError(28, "No space left on device"), 2, "irqproof: error: [Errno 28] No space"),
        (ZeroDivisionError("oops"), 3, "internal error, nothing was decided: oops\n"),
    ],
)
def test_what_a_verb_raises_becomes_an_exit_code(
    error: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr(check, "run", fail)
    monkeypatch.setattr(cli, "_drop_output", lambda: None)
    assert cli.main(["check"]) == code
    err = capsys.readouterr().err
    assert words in err
    assert ("Traceback" in err) == isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("argument", ["--version", "--help"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_broken_pipe_is_quiet(argument: str, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "irqproof", argument],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("argument", ["--version", "--help"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(argument: str, unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "irqproof", argument],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"irqproof: error: ")
    assert done.stderr.count(b"\n") == 1
