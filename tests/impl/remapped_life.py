# SPDX-License-Identifier: GPL-2.0-only
"""Random lives of interrupts behind remapping: what drivers do, whoever makes the hardware."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from impl.drivers.pci.msi import (
    pci_disable_msi,
    pci_disable_msix,
    pci_enable_msi_range,
    pci_enable_msix_range,
)
from impl.drivers.pci.pci import PciDev
from impl.kernel.irq.irq import MsiMsg
from tests.impl.amd_support import AmdMachine
from tests.impl.intel_support import IntelMachine

NR_CPUS = 3

M = TypeVar("M", AmdMachine, IntelMachine)


class RemappedLife(ABC, Generic[M]):
    """A machine, its devices and what was asked of their interrupts.

    `site` is where memory for an allocation's own data can run out."""

    site: str

    def __init__(self, machine: M, seed: int) -> None:
        self.m: M = machine
        self.random = random.Random(seed)
        self.devs: list[PciDev] = []
        self.requested: set[int] = set()
        self.messages: dict[int, MsiMsg] = {}

    @abstractmethod
    def drop(self, irq: int) -> None:
        """Take the handler of a requested interrupt away."""

    @abstractmethod
    def move(self) -> None:
        """Change the affinity of some interrupt."""

    @abstractmethod
    def hand_over(self) -> None:
        """Let some interrupt go to a virtual CPU, or come back."""

    @abstractmethod
    def signal(self) -> None:
        """Let a device signal, and see where that arrives."""

    def irqs(self, dev: PciDev) -> list[int]:
        return [irq for desc in dev.msi_list for irq in range(desc.irq, desc.irq + desc.nvec_used)]

    def step(self) -> None:
        operations: list[Callable[[], None]] = [
            self.enable,
            self.disable,
            self.request,
            self.free,
            self.move,
            self.hand_over,
            self.signal,
            self.short_of_memory,
        ]
        self.random.choice(operations)()
        for cpu in range(NR_CPUS):
            self.m.cleanup_ipi(cpu)

    def enable(self) -> None:
        dev = self.random.choice(self.devs)
        if dev.msi_enabled or dev.msix_enabled:
            return
        nvec = self.random.randint(1, 4)
        if self.random.random() < 0.5:
            pci_enable_msi_range(dev, nvec, nvec)
        else:
            pci_enable_msix_range(dev, None, nvec, nvec)
        self.messages |= {irq: self.m.ir_data(irq).msi_entry for irq in self.irqs(dev)}

    def short_of_memory(self) -> None:
        self.m.fail_next(self.site, self.random.randint(1, 9))
        self.enable()
        self.m.kernel.failures.clear()

    def disable(self) -> None:
        dev = self.random.choice(self.devs)
        for irq in self.irqs(dev):
            if irq in self.requested:
                self.drop(irq)
            self.messages.pop(irq)
        if dev.msi_enabled:
            pci_disable_msi(dev)
        elif dev.msix_enabled:
            pci_disable_msix(dev)

    def any_irq(self) -> int:
        return self.random.choice(sorted(self.messages) or [0])

    def request(self) -> None:
        irq = self.any_irq()
        if irq and irq not in self.requested:
            assert self.m.request_irq(irq) == 0
            self.requested.add(irq)

    def free(self) -> None:
        irq = self.any_irq()
        if irq in self.requested:
            self.drop(irq)
