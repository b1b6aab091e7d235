# SPDX-License-Identifier: GPL-2.0-only
"""What a hunt on a platform does besides what drivers do: it lets memory run out at one place, lets
a device catch up, lets another CPU interfere, or takes all that a device offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from impl.drivers.irqchip.ims_msi import ImsArrayData
from impl.drivers.pci.msi import PCI_IRQ_MSIX
from impl.kernel.irq.msi import MsiDomainInfo
from impl.kernel.kernel import ALLOCATION_SITES
from impl.machine import Machine
from proofs.whole_kinds import Choices, Kind, Values, device, each_device
from proofs.whole_machine import WholeMachine
from proofs.whole_operations import OPERATIONS

__all__ = ["HUNTED", "failing"]

_MOST_SITES: Final = 5


def failing(site: str) -> str:
    """The name of the operation that lets memory run out at a site."""
    return f"fail_{site}"


def _times(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    if not machine.kernel.failures:
        yield from ({"nth": nth} for nth in range(1, _MOST_SITES + 1))


def _fail(site: str, kind: WholeMachine, machine: Machine, values: Values) -> int:
    machine.fail_next(site, values["nth"])
    return 0


def _alloc_all(kind: WholeMachine, machine: Machine, values: Values) -> int:
    cap = device(kind, machine, values).msix_cap
    size = cap.table_size if cap is not None else 0
    name = kind.devices[values["device"]]
    return machine.pci_alloc_irq_vectors(name, size, size, PCI_IRQ_MSIX)


def _last(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    """The highest irq, if nobody handles it."""
    irq, desc = max(machine.irqs.descs.items(), default=(0, None))
    if desc is not None and not desc.action:
        yield {"irq": irq}


def _pairs(kind: WholeMachine, machine: Machine) -> Iterator[Values]:
    for store, part in enumerate(kind.description.ims):
        driver = machine.ims_drivers.get(part.name)
        if driver is not None and not any(each.msi_list for each in driver.subdevices):
            yield from (
                {"store": store, "subdevice": first, "rival": rival}
                for first in range(part.subdevices)
                for rival in range(part.subdevices)
                if rival != first
            )


def _raced(kind: WholeMachine, machine: Machine, values: Values) -> int:
    """One subdevice allocates; when a slot was found for it, another one on another CPU does."""
    name = kind.description.ims[values["store"]].name
    domain = machine.ims_drivers[name].domain
    info = domain.host_data if domain is not None else None
    if not isinstance(info, MsiDomainInfo) or not isinstance(info.data, ImsArrayData):
        return machine.ims_alloc_irqs(name, values["subdevice"], 1)
    data = info.data

    def preempt() -> None:
        data.preempt = None
        machine.ims_alloc_irqs(name, values["rival"], 1)

    data.preempt = preempt
    try:
        return machine.ims_alloc_irqs(name, values["subdevice"], 1)
    finally:
        data.preempt = None


_unused: Final[Choices] = each_device(lambda dev: not dev.msi_enabled and not dev.msix_enabled)

HUNTED: Final[Mapping[str, Kind]] = {
    **OPERATIONS,
    **{
        failing(site): Kind(_times, partial(_fail, site), prepares=True)
        for site in ALLOCATION_SITES
    },
    "alloc_all": Kind(_unused, _alloc_all),
    "request_last": Kind(_last, lambda k, m, v: m.request_irq(v["irq"])),
    "ims_alloc_raced": Kind(_pairs, _raced),
}
"""Everything that a hunt may do, by name."""
