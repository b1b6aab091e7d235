# SPDX-License-Identifier: GPL-2.0-only
"""What a whole machine has given away, in plain numbers: descriptors, mappings, vectors of devices.

The layers' states say what the specification knows; a ledger says what nobody may lose, in the
machine's own terms. Two ledgers are compared where something must be as it was: after a failure
(X-4), and when everything is gone again (VEC-18, DOM-8).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Final

from impl.drivers.pci.pci import PciDev
from impl.kernel.irq.irq import (
    IRQD_AFFINITY_SET,
    IRQD_SETAFFINITY_PENDING,
    IrqDesc,
    IrqDomain,
)
from impl.machine import Machine
from proofs.hierarchy_layer import mappings
from proofs.platform_ledger import platform_facts

__all__ = ["PER_IRQ", "Ledger", "apart", "ledger", "residue"]

PER_IRQ: Final = "descriptors"
"""The fact that tells of each irq what was asked of it: its affinity, its handler."""

Ledger = Mapping[str, Hashable]
"""Facts by their names."""


def ledger(machine: Machine) -> dict[str, Hashable]:
    """The facts that a failed operation, or one that is undone, leaves as they were."""
    facts: dict[str, Hashable] = {
        "allocated_irqs": machine.irqs.allocated_irqs,
        PER_IRQ: tuple(_desc(desc) for _, desc in sorted(machine.irqs.descs.items())),
    }
    for domain in machine.domains.irq_domain_list:
        facts.update(_domain(domain))
    for name, dev in machine.pci_devs.items():
        facts.update(_device(name, dev))
    facts.update(platform_facts(machine))
    return facts


def apart(before: Ledger, after: Ledger) -> tuple[str, ...]:
    """The names of the facts that differ. A domain that is made when it is first needed, and that
    no interrupt is left in, is none."""
    names = [name for name in after if name in before or after[name] not in (0, ())]
    return tuple(name for name in names if before.get(name) != after[name]) + tuple(
        name for name in before if name not in after
    )


def residue(machine: Machine) -> Hashable:
    """What a later operation can notice beside the layers' states: handlers, and registers."""
    return (
        tuple(sorted(ledger(machine).items())),
        tuple(_registers(dev) for dev in machine.pci_devs.values()),
        tuple(sorted(machine.uv_hubs.mmrs.items())),
        tuple(tuple(ioapic.redirection) for ioapic in machine.io_apics.ioapics),
        tuple((u.irq, u.message, u.masked) for u in machine.dmar_units.values()),
        tuple(
            (c.irq, c.message, c.enabled)
            for channels in machine.hpet_channels.values()
            for c in channels
        ),
        tuple(sorted(machine.kernel.failures.items())),
        machine.irqs.nr_irqs,
        tuple(
            desc.irq
            for desc in machine.irqs.descs.values()
            if desc.irq_data.test(IRQD_AFFINITY_SET)
        ),
    )


def _asked(desc: IrqDesc) -> bool:
    return desc.irq_data.test(IRQD_AFFINITY_SET)


def _desc(desc: IrqDesc) -> Hashable:
    common = desc.common
    pending = desc.pending_mask if common.state & IRQD_SETAFFINITY_PENDING else 0
    # That somebody has asked for an affinity is noted even if nothing comes of it.
    state = common.state & ~IRQD_AFFINITY_SET
    return desc.irq, state, common.affinity, desc.action, desc.depth, pending


def _domain(domain: IrqDomain) -> Iterator[tuple[str, Hashable]]:
    yield f"mapcount of {domain.name}", domain.mapcount
    yield f"reverse map of {domain.name}", tuple(sorted(mappings(domain)))


def _device(name: str, dev: PciDev) -> Iterator[tuple[str, Hashable]]:
    yield f"MSI of {name}", dev.msi_enabled
    yield f"MSI-X of {name}", dev.msix_enabled
    yield f"descriptors of {name}", tuple((desc.irq, desc.nvec_used) for desc in dev.msi_list)
    yield f"irq of {name}", dev.irq
    yield f"irqs of {name} in sysfs", dev.msi_irq_groups
    yield f"table of {name}", dev.msix_mapped


def _registers(dev: PciDev) -> Hashable:
    msi = tuple(sorted(dev.msi_cap.registers.items())) if dev.msi_cap is not None else ()
    msix = dev.msix_cap
    table = (
        (msix.control, tuple(sorted((k, tuple(v)) for k, v in msix.table.items()))) if msix else ()
    )
    return int(dev.current_state), dev.id in dev.bus.devices, dev.intx_on, msi, table
