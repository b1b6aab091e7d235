# SPDX-License-Identifier: GPL-2.0-only
"""A large server at work: ``python benchmarks/machine.py``.

It boots 1,024 CPUs with 4,096 devices, lets drivers make 100,000 requests for vectors, and gives
everything back. Then it tells how the time of one request grows with the CPUs and with the
devices, as ratios to the smallest machine. A request is a share of pci_alloc_irq_vectors for
MSI-X, request_irq, free_irq and a share of pci_free_irq_vectors.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from impl.description import MACHINES, MachineDescription, load_description, parse_description
from impl.drivers.pci.msi import PCI_IRQ_MSIX
from impl.machine import Machine

REQUESTS: Final = 100_000

CPUS: Final = (64, 256, 1024)
DEVICES: Final = (256, 1024, 4096)
SHARE: Final = 8
"""Requests of a device in the smaller measurements."""

RUNS: Final = 3

_FILE: Final = MACHINES / "large-server.toml"


def large_server(cpus: int, devices: int) -> MachineDescription:
    """The large server with other numbers of CPUs and devices."""
    text = _FILE.read_text(encoding="utf-8")
    for old, new in ((f"count = {CPUS[-1]}\n", cpus), (f"count = {DEVICES[-1]}\n", devices)):
        if text.count(old) != 1:
            raise SystemExit(f"{_FILE}: expected one line {old.strip()!r}")
        text = text.replace(old, f"count = {new}\n")
    return parse_description(text, str(_FILE))


def request(machine: Machine, vectors: int) -> None:
    """Every device gets its share of `vectors`, and a handler for each."""
    names = list(machine.pci_devs)
    for number, name in enumerate(names):
        share = vectors * (number + 1) // len(names) - vectors * number // len(names)
        expect(machine.pci_alloc_irq_vectors(name, share, share, PCI_IRQ_MSIX), share)
        for entry in range(share):
            expect(machine.request_irq(machine.pci_irq_vector(name, entry)), 0)


def give_back(machine: Machine) -> None:
    """Undo `request`."""
    for name, dev in machine.pci_devs.items():
        for desc in dev.msi_list:
            expect(machine.free_irq(desc.irq), 0)
        expect(machine.pci_free_irq_vectors(name), 0)


def expect(result: int, expected: int) -> None:
    """Stop the benchmark if an operation failed."""
    if result != expected:
        raise SystemExit(f"{result} instead of {expected}")


def whole() -> None:
    """The large server, and 100,000 requests."""
    began = time.perf_counter()
    machine = Machine(load_description(_FILE))
    before = machine.matrix.global_available
    booted = time.perf_counter()
    request(machine, REQUESTS)
    requested = time.perf_counter()
    give_back(machine)
    expect(machine.matrix.global_available, before)
    seconds = time.perf_counter() - began
    print(f"{CPUS[-1]:,} CPUs, {DEVICES[-1]:,} devices, {REQUESTS:,} requests: {seconds:.1f} s")
    print(f"  boot {booted - began:.2f} s, requests {requested - booted:.1f} s")
    print(f"  tear-down {began + seconds - requested:.1f} s")


def microseconds(description: MachineDescription) -> float:
    """The time of one request on a machine of its own."""
    machine = Machine(description)
    requests = SHARE * len(machine.pci_devs)
    start = time.perf_counter()
    request(machine, requests)
    give_back(machine)
    return (time.perf_counter() - start) * 1e6 / requests


def growth(sizes: Mapping[str, tuple[int, int]]) -> None:
    """Measure machines of these sizes in turn, so that a busy moment hits all of them."""
    descriptions = {name: large_server(*size) for name, size in sizes.items()}
    times: dict[str, list[float]] = {name: [] for name in sizes}
    for _ in range(RUNS):
        for name, description in descriptions.items():
            times[name].append(microseconds(description))
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    smallest = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name:14} {median:6.1f} us a request  {median / smallest:5.2f} x the smallest")


def main() -> None:
    """All three measurements."""
    whole()
    print(f"\ngrowth with CPUs, {DEVICES[1]:,} devices, {SHARE} requests each")
    growth({f"{cpus:,} CPUs": (cpus, DEVICES[1]) for cpus in CPUS})
    print(f"\ngrowth with devices, {CPUS[-1]:,} CPUs, {SHARE} requests each")
    growth({f"{devices:,} devices": (CPUS[-1], devices) for devices in DEVICES})


if __name__ == "__main__":
    main()
