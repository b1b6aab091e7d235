# SPDX-License-Identifier: GPL-2.0-only
"""Ctrl-C in a long run: what was finished is printed and kept, no process stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_SCRIPT = """
import signal, sys
from functools import partial
from pathlib import Path
from irqproof.check import CheckOptions, run_check
from proofs.result import Task
from tests.irqproof import plans

# A shell that starts a job in the background has it ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
jobs, directory = int(sys.argv[1]), Path(sys.argv[2])
stuck = partial(plans.wait_for_ever, directory / "pid")
tasks = [*plans.good(), Task("stuck", "fake", 0.0, "stuck", stuck, ("VEC-2", "MX-9"))]
options = CheckOptions(jobs=jobs, cache=directory / "cache", json=str(directory / "report.json"))
sys.exit(run_check(tasks, options, plans.SENTENCES))
"""


def _ctrl_c(process: subprocess.Popen[str]) -> None:
    """What a terminal does: the signal goes to the workers too."""
    os.killpg(process.pid, signal.SIGINT)


def _kill_int(process: subprocess.Popen[str]) -> None:
    """What a supervisor does: only the process it started gets the signal."""
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("interrupt", [_ctrl_c, _kill_int])
@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupt(
    tmp_path: Path, jobs: int, interrupt: Callable[[subprocess.Popen[str]], None]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(jobs), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        # The two tasks with a key are in the cache and the endless one runs.
        _wait_until(lambda: (tmp_path / "pid").exists() and _entries(tmp_path / "cache") == 2)
        interrupt(process)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "interrupted" in err
    assert "undetermined: VEC-2, MX-9, stuck: interrupted" in out
    assert "2 proved for every size" in out
    document = json.loads((tmp_path / "report.json").read_text())
    assert (document["interrupted"], document["verdict"]) == (True, "undetermined")
    pid = int((tmp_path / "pid").read_text())
    _wait_until(lambda: not _runs(pid))


def _entries(directory: Path) -> int:
    return len(list(directory.glob("[!.]*.json")))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether the process does anything; one that nobody has waited for yet does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status
