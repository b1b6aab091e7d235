# SPDX-License-Identifier: GPL-2.0-only
"""Runs benchmarks/vectors.pml in SPIN, the model checker that the explorer is measured against.

The search is exact (no bitstate, no hash compaction) and depth-first. The flags are the fastest
that were found: -DCOLLAPSE takes 1.6 times as long and saves no memory on states this small, -DBFS
1.2 times; -O3 and partial-order reduction, which has nothing to reduce in one process that does
everything, make no difference.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("vectors.pml")
FLAGS = ("-O2", "-DSAFETY", "-DNOREDUCE", "-DMEMLIM=14000")


@dataclass(frozen=True, slots=True)
class Spin:
    """What SPIN found: `transitions` without the step into the initial state."""

    states: int
    transitions: int
    errors: int
    seconds: float
    """Of the processor, user and system, in the search alone."""
    bytes: int
    """Memory in use at the end for states, table and stack, for each state."""


def missing() -> list[str]:
    """The programs that are needed and not installed."""
    return [name for name in ("spin", "gcc") if shutil.which(name) is None]


def search(cpus: int, bits: int, irqs: int, *, depth: int = 1_000_000, slots: int = 20) -> Spin:
    """Search the model at a size; `depth` bounds the stack, 2**`slots` is the size of the table.

    Raises RuntimeError if SPIN or the compiler fails, or if the search was cut off."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = (f"-DNCPU={cpus}", f"-DNVEC={bits}", f"-DNIRQ={irqs}")
        _run(["spin", *sizes, "-a", str(MODEL)], folder)
        _run(["gcc", "-w", *FLAGS, "-o", "pan", "pan.c"], folder)
        before = os.times()
        text = _run(["./pan", f"-m{depth}", f"-w{slots}"], folder)
        after = os.times()
    seconds = after.children_user + after.children_system
    seconds -= before.children_user + before.children_system
    return _read(text, seconds)


def _run(command: list[str], folder: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _read(text: str, seconds: float) -> Spin:
    def number(pattern: str) -> float:
        found = re.search(pattern, text)
        if found is None:
            raise RuntimeError(f"SPIN does not say {pattern}: {text}")
        return float(found[1])

    if "max search depth too small" in text or "Search not completed" in text:
        raise RuntimeError(f"SPIN did not finish: {text}")
    states = int(number(r"([0-9.e+]+) states, stored"))
    megabytes = number(r"([0-9.]+)\s+total actual memory usage")
    return Spin(
        states,
        int(number(r"([0-9.e+]+) transitions")) - 1,
        int(number(r"errors: ([0-9]+)")),
        seconds,
        round(megabytes * 2**20 / states),
    )
