# SPDX-License-Identifier: GPL-2.0-only
"""The tasks of a check that are about words and tables: numbers, messages, equal texts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import ModuleType
from typing import Final

from impl.arch.x86 import irq_alloc_info, msi, msidef, x86_init, xen_message
from impl.drivers.iommu import amd_irte, intel_irte
from impl.drivers.pci import msi_regs
from impl.kernel.irq import chip
from proofs import bits_hwirq, bits_message, bits_remapping, bits_xen, equivalence, series_facts
from proofs.obligation import digest, discharge
from proofs.result import Result, Task
from spec import hwirq, message, remap_message, series
from spec import xen_message as spec_xen_message

_SOURCES: Final[Mapping[ModuleType, tuple[ModuleType, ...]]] = {
    bits_hwirq: (hwirq, msi_regs),
    bits_message: (message, hwirq, msidef),
    bits_xen: (spec_xen_message, message, hwirq, xen_message),
    bits_remapping: (remap_message, message, hwirq, intel_irte, amd_irte),
    equivalence: (series, irq_alloc_info, chip),
    series_facts: (irq_alloc_info, msi, x86_init),
}
"""The modules of obligations, and what their answers rest on."""

SENTENCES: Final[Mapping[str, str]] = {
    "APIC-1": "A message depends on destination and vector only, and tells them apart.",
    "APIC-2": "Without remapping the first and the last composing chip write the same message.",
    "APIC-3": "Behind remapping the remapping chip composes, never the local APIC's.",
    "APIC-Q": "No message that a device sends during a move is for a target nobody listens at.",
    "DOM-13": "First and last composing chip are the same exactly if at most one composes.",
    "HW-1": "Devices that share a domain have different hwirq numbers, in one segment in any case.",
    "IOA-entry": "A packed route entry unpacks to its fields, and the other way round.",
    "MSI-decode": "A composed message says its destination and its vector.",
    "PCI-10": "The interrupts of a multi-MSI block have consecutive numbers and data words.",
    "PCI-4": "No two interrupts of a PCI/MSI domain have the same hwirq number.",
    "PCI-5": "The retries of a driver's request for vectors come to an end.",
    **bits_remapping.SENTENCES,
    **bits_xen.SENTENCES,
    **equivalence.SENTENCES,
    **series_facts.SENTENCES,
}


def tasks() -> tuple[Task, ...]:
    """A task for each module of obligations."""
    return tuple(
        Task(
            name=f"bits {module.__name__.rpartition('.')[2]}",
            group="bits",
            weight=2.0,
            key=digest((module, *sources)),
            run=functools.partial(prove, module.__name__),
            subjects=tuple(dict.fromkeys(o.subject for o in module.obligations())),
        )
        for module, sources in _SOURCES.items()
    )


def prove(name: str) -> tuple[Result, ...]:
    """Discharge the obligations of the module of this name."""
    module = next(module for module in _SOURCES if module.__name__ == name)
    return tuple(map(discharge, module.obligations()))
