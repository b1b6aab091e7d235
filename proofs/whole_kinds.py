# SPDX-License-Identifier: GPL-2.0-only
"""What an operation on a whole machine is: when it may be done, with what, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from impl.drivers.pci.pci import PciDev
from impl.machine import Machine
from proofs.whole_machine import WholeMachine

__all__ = ["Act", "Choices", "Kind", "Values", "device", "each_device", "on_device"]

Values = Mapping[str, int]
Choices = Callable[[WholeMachine, Machine], Iterable[Values]]
Act = Callable[[WholeMachine, Machine, Values], int]


@dataclass(frozen=True, slots=True)
class Kind:
    """When an operation is allowed, with which parameters, and what it does.

    `creates` says that it may leave a domain behind although it fails, one that is made when it is
    first asked for. `may_warn` says that the kernel may complain of the caller. With `prepares` it
    is no operation of the kernel's but says what becomes of the next one. One that is `compound`
    has done a part of its work when it fails."""

    choices: Choices
    act: Act
    creates: bool = False
    may_warn: bool = False
    prepares: bool = False
    compound: bool = False


def device(kind: WholeMachine, machine: Machine, values: Values) -> PciDev:
    """The device that an operation names; KeyError if it is not there."""
    return machine.pci_devs[kind.devices[values["device"]]]


def each_device(can: Callable[[PciDev], bool]) -> Choices:
    """The devices that are there, and of which this is true."""

    def choices(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
        for number, name in enumerate(kind.devices):
            dev = machine.pci_devs.get(name)
            if dev is not None and can(dev):
                yield {"device": number}

    return choices


def on_device(act: Callable[[Machine, str], int]) -> Act:
    """What is done to the device that is named."""
    return lambda kind, machine, values: act(machine, kind.devices[values["device"]])
