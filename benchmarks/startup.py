# SPDX-License-Identifier: GPL-2.0-only
"""How long ``irqproof --help`` takes, against ``python -c pass`` on the same interpreter.

Run it as ``python benchmarks/startup.py``; it prints the median of each and their ratio.
"""

import statistics
import subprocess
import sys
import time
from typing import Final

_RUNS: Final = 21
_COMMANDS: Final = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "irqproof --help": [sys.executable, "-m", "irqproof", "--help"],
    "irqproof check --help": [sys.executable, "-m", "irqproof", "check", "--help"],
}


def seconds(command: list[str]) -> float:
    """The wall time of one run of the command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure the commands in turn, so that a busy moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(_RUNS):
        for name, command in _COMMANDS.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    reference = medians["python -c pass"]
    for name, median in medians.items():
        print(f"{name:22} {median * 1000:6.1f} ms  {median / reference:5.2f} x python -c pass")


if __name__ == "__main__":
    main()
