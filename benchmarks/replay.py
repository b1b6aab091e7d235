# SPDX-License-Identifier: GPL-2.0-only
"""How fast a log is replayed, in lines a CPU second, against `grep -c` on the same file.

The log is generated: a machine of 4 CPUs boots, and then interrupts start and stop for ever. Every
line is an event that the specification follows, so this is the worst mix that a log can have.
Usage: replay.py [LINES], by default 400,000.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from proofs.ftrace import Log, open_log
from proofs.refinement import LogMonitor
from spec.stack import vectors

CPUS = 4
IRQS = 64
FREE = 201


class Machine:
    """Prints what a kernel would, keeping just the numbers that it prints."""

    def __init__(self) -> None:
        self.available = [0] * CPUS
        self.online = 0
        self.reserved = 0
        self.stamp = 0
        self.place = {irq: (irq % CPUS, 33 + irq // CPUS) for irq in range(IRQS)}

    def line(self, event: str) -> str:
        self.stamp += 1
        return f"          <idle>-0       [000] d..1. {self.stamp:12}: {event}\n"

    def totals(self) -> str:
        used = sum(FREE - a for a in self.available[: self.online])
        return (
            f"online_maps={self.online} global_avl={sum(self.available)},"
            f" global_rsvd={self.reserved}, total_alloc={used}"
        )

    def on(self, event: str, bit: int, cpu: int) -> str:
        a = self.available[cpu]
        return self.line(
            f"{event}: bit={bit} cpu={cpu} online=1 avl={a} alloc={FREE - a} managed=0"
            f" {self.totals()}"
        )

    def boot(self) -> Iterator[str]:
        for bit in (*range(32), 32, 50, 128, *range(236, 256)):
            yield self.line(f"irq_matrix_assign_system: bit={bit} {self.totals()}")
        for cpu in range(CPUS):
            self.available[cpu] = FREE
            self.online += 1
            line = self.line(f"irq_matrix_online: {self.totals()}")
            yield line.replace("[000]", f"[{cpu:03}]")
        for irq in range(IRQS):
            yield from self.reserve(irq)
            yield self.line(f"vector_setup: irq={irq} is_legacy=0 ret=0")

    def reserve(self, irq: int) -> Iterator[str]:
        self.reserved += 1
        yield self.line(f"irq_matrix_reserve: {self.totals()}")
        yield self.line(f"vector_reserve: irq={irq} ret=0")
        yield self.line(f"vector_config: irq={irq} vector=239 cpu=0 apicdest=0x00000001")

    def start(self, irq: int) -> Iterator[str]:
        cpu, bit = self.place[irq]
        yield self.line(f"vector_activate: irq={irq} is_managed=0 can_reserve=1 reserve=0")
        self.available[cpu] -= 1
        self.reserved -= 1
        yield self.on("irq_matrix_alloc", bit, cpu)
        yield self.line(f"vector_alloc: irq={irq} vector={bit} reserved=1 ret=0")
        yield self.line(f"vector_update: irq={irq} vector={bit} cpu={cpu} prev_vector=0 prev_cpu=0")
        yield self.line(
            f"vector_config: irq={irq} vector={bit} cpu={cpu} apicdest=0x{1 << cpu:08x}"
        )

    def stop(self, irq: int) -> Iterator[str]:
        cpu, bit = self.place[irq]
        yield self.line(f"vector_deactivate: irq={irq} is_managed=0 can_reserve=1 reserve=0")
        yield self.line(f"vector_clear: irq={irq} vector={bit} cpu={cpu} prev_vector=0 prev_cpu=0")
        self.available[cpu] += 1
        yield self.on("irq_matrix_free", bit, cpu)
        yield from self.reserve(irq)

    def log(self, lines: int) -> Iterator[str]:
        """At least so many lines, the last operation whole."""
        yield from self.boot()
        while self.stamp < lines:
            for irq in range(IRQS):
                yield from self.start(irq)
            for irq in range(IRQS):
                yield from self.stop(irq)


def memory() -> float:
    """The most memory that this process had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Print one line a tool; 1 if the generated log does not fit."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 400_000
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(Machine().log(lines))
        file.flush()
        size = Path(file.name).stat().st_size / 2**20
        subprocess.run(["grep", "-c", "vector_", file.name], check=True, capture_output=True)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        grep = children.ru_utime + children.ru_stime
        monitor = LogMonitor(vectors.build())
        before = memory()
        began = time.process_time()
        with open_log(file.name) as stream:
            log = Log(stream)
            violation = monitor.follow(log)
        taken = time.process_time() - began
    if violation is not None:
        print(f"line {violation.line}: {violation.sentence()}")
        return 1
    speed = log.lines / taken
    print(f"replay   {log.lines:,} lines ({size:.0f} MiB) in {taken:.2f} s: {speed:,.0f}/s of CPU")
    print(f"grep -c  the same in {grep:.2f} s: replay takes {taken / grep:,.0f} times as long")
    print(f"memory   {before:.0f} MiB before, {memory():.0f} MiB at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())
