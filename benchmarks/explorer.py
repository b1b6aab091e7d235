# SPDX-License-Identifier: GPL-2.0-only
"""The explorer beside SPIN: ``python benchmarks/explorer.py [scope...]``.

Both search the operations of the vector layer to the end and check every invariant in every state.
Speed is states for each second of the processor, user and system, in the search alone: neither
SPIN's generation and compilation of C nor the explorer's generation of columns is counted; both are
printed. Give the scopes as CPUs x vectors x irqs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import spin

LADDER = ("1x3x3", "2x2x2", "2x3x2")
"""85 thousand, 1.6 million and 31 million states."""

GOAL = 5
"""How many times SPIN's speed is expected at the last scope."""

_OURS = """
import resource, sys, time
import spec.vector_operations
from proofs.explorer import explore
from spec.columns import compile
from spec.scope import Scope
from spec.vectors import vectors

def seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

model, scope = vectors.build(), Scope.parse(sys.argv[1])
explore(model, Scope.parse("1x1x1"))  # compiles the loops of the table
start = seconds()
columns = compile(model, scope)
ready = seconds()
result = explore(model, scope, columns=columns)
done = seconds()
assert result.exhausted and len(result.invariants) == len(columns.invariants)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(result.states, result.transitions, done - ready, ready - start, peak, result.bytes)
"""


@dataclass(frozen=True, slots=True)
class Ours:
    """What the explorer found, in a process of its own."""

    states: int
    transitions: int
    seconds: float
    preparation: float
    peak: int
    bytes: int


def ours(scope: str) -> Ours:
    """Explore a scope; RuntimeError if that fails."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", _OURS, scope]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    states, transitions, seconds, preparation, peak, size = done.stdout.split()
    return Ours(
        int(states), int(transitions), float(seconds), float(preparation), int(peak), int(size)
    )


def compare(scope: str) -> float:
    """Print a line for each of the two, and answer how many times SPIN's speed ours is."""
    cpus, bits, irqs = map(int, scope.split("x"))
    mine = ours(scope)
    theirs = spin.search(
        cpus,
        bits,
        irqs,
        depth=mine.states // 4 + 100_000,
        slots=max(20, mine.states.bit_length() + 2),
    )
    if (mine.states, theirs.errors) != (theirs.states, 0):
        raise RuntimeError(f"{scope}: {mine.states} states here, {theirs.states} in SPIN")
    _line(scope, "explorer", mine.states, mine.transitions, mine.seconds, mine.peak // mine.states)
    _line(scope, "SPIN", theirs.states, theirs.transitions, theirs.seconds, theirs.bytes)
    ratio = theirs.seconds / mine.seconds
    stored = mine.bytes / mine.states
    print(f"{scope:8} ratio {ratio:.1f}; {stored:.0f} bytes a state in the set of known rows")
    return ratio


def _line(scope: str, who: str, states: int, transitions: int, seconds: float, size: int) -> None:
    print(
        f"{scope:8} {who:9} {states:>11,} states {transitions:>12,} transitions "
        f"{seconds:8.2f} s {states / seconds:>10,.0f} states/s {size:>6,} bytes/state at peak"
    )


def main(scopes: list[str]) -> int:
    """Run the ladder; 1 if the last scope misses the goal."""
    absent = spin.missing()
    if absent:
        print(f"needed and not installed: {', '.join(absent)}", file=sys.stderr)
        return 2
    began = time.monotonic()
    ratio = 0.0
    for scope in scopes or LADDER:
        ratio = compare(scope)
    print(f"{time.monotonic() - began:.0f} s in all; the goal at the last scope is {GOAL}")
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
