# SPDX-License-Identifier: GPL-2.0-only
"""What single patches of the series claim about hooks, getters and configurations.

Each is a statement about finite tables: what the code before the patch did in every case, written
down here, beside what the code after it does, or what the implementation does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import product
from typing import Final

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.msi import x86_msi_prepare
from impl.arch.x86.x86_init import X86Init
from impl.kernel.device import Device
from impl.vector_machine import VectorMachine
from proofs.obligation import Fact, Obligation

__all__ = ["SENTENCES", "obligations"]

SENTENCES: Final = {
    "series-2": "Nothing can reach the removed hooks of x86_init.",
    "series-9": "VT-d's one getter answers what its two getters did.",
    "series-10": "AMD-Vi's one getter answers what its two getters did.",
    "series-11": "The one lookup of remapping domains answers what the two did.",
    "series-21": "PCI is initialized by the same steps in every configuration.",
    "series-40": "Devices that are not on PCI have an allocation type of their own.",
}
"""What each subject says."""

_REMOVED: Final = (
    "mpc_record",
    "mpc_apic_id",
    "smp_read_mpc_oem",
    "mpc_oem_pci_bus",
    "mpc_oem_bus_info",
)
"""Hooks that patch 2 of the second posting removed."""

Getter = Mapping[str, str]
"""Allocation type -> what is answered, for a unit that covers the device; nothing else is."""

_PARENTS_BEFORE: Final[Mapping[str, Getter]] = {
    "Intel": {"IOAPIC": "ir", "HPET": "ir"},
    "AMD": {"IOAPIC": "ir", "HPET": "ir"},
    "Hyper-V": {"IOAPIC": "ir"},
}
"""get_ir_irq_domain, by driver."""

_DEVICES_BEFORE: Final[Mapping[str, Getter]] = {
    "Intel": {"PCI_MSI": "msi", "PCI_MSIX": "msi"},
    "AMD": {"PCI_MSI": "msi", "PCI_MSIX": "msi"},
    "Hyper-V": {},
}
"""get_irq_domain, by driver."""

_AFTER: Final[Mapping[str, Getter]] = {
    "Intel": {
        "IOAPIC_GET_PARENT": "ir",
        "HPET_GET_PARENT": "ir",
        "PCI_MSI": "msi",
        "PCI_MSIX": "msi",
    },
    "AMD": {
        "IOAPIC_GET_PARENT": "ir",
        "HPET_GET_PARENT": "ir",
        "PCI_MSI": "msi",
        "PCI_MSIX": "msi",
    },
    "Hyper-V": {"IOAPIC_GET_PARENT": "ir"},
}
"""get_irq_domain of patches 9 to 11: what asks for a parent has a type of its own."""

_ASKED: Final[Sequence[tuple[str, str, Mapping[str, Getter]]]] = (
    ("IOAPIC", "IOAPIC_GET_PARENT", _PARENTS_BEFORE),
    ("HPET", "HPET_GET_PARENT", _PARENTS_BEFORE),
    ("PCI_MSI", "PCI_MSI", _DEVICES_BEFORE),
    ("PCI_MSIX", "PCI_MSIX", _DEVICES_BEFORE),
)
"""Every question that is asked: its type before and after, and the getter that answered it."""


def obligations() -> Iterator[Obligation]:
    """Everything that is to be shown of the tables."""
    yield Fact("series-2", "the platform's hooks have none of those names", _removed_hooks)
    yield Fact("series-9", "every question has its answer from before", lambda: _differing("Intel"))
    yield Fact("series-10", "every question has its answer from before", lambda: _differing("AMD"))
    yield Fact(
        "series-11",
        "every question to every driver has its answer from before",
        lambda: [answer for driver in _AFTER for answer in _differing(driver)],
    )
    yield Fact(
        "series-21", "with and without direct access, the BIOS, and a hook's end", _unlike_steps
    )
    yield Fact("series-40", "a device on no bus gets it, and no contiguous block", _unprepared)


def _removed_hooks() -> list[str]:
    return [field.name for field in fields(X86Init) if field.name in _REMOVED]


def _differing(driver: str) -> list[str]:
    return [
        f"{driver}: {before_type}"
        for before_type, after_type, before in _ASKED
        if before[driver].get(before_type) != _AFTER[driver].get(after_type)
    ]


def _steps_before(direct: bool, bios: bool, hook_ends: bool) -> list[str]:
    """pci_arch_init with its preprocessor conditions."""
    steps = ["pci_direct_probe"] if direct else []
    steps.append("pci_mmcfg_early_init")
    steps.append("arch_init")
    if hook_ends:
        return steps
    steps += ["pci_pcbios_init"] if bios else []
    steps += ["pci_direct_init"] if direct else []
    return steps


def _steps_after(direct: bool, bios: bool, hook_ends: bool) -> list[str]:
    """pci_arch_init that calls everything: what is not configured is a stub that does nothing."""
    configured = {"pci_direct_probe": direct, "pci_pcbios_init": bios, "pci_direct_init": direct}
    called = ["pci_direct_probe", "pci_mmcfg_early_init", "arch_init"]
    called += [] if hook_ends else ["pci_pcbios_init", "pci_direct_init"]
    return [step for step in called if configured.get(step, True)]


def _unlike_steps() -> list[str]:
    return [
        f"direct access {direct}, BIOS {bios}, hook ends it {ends}"
        for direct, bios, ends in product((False, True), repeat=3)
        if _steps_before(direct, bios, ends) != _steps_after(direct, bios, ends)
    ]


def _unprepared() -> list[str]:
    info = IrqAllocInfo()
    domain = VectorMachine(1).vectors.x86_vector_domain
    ret = x86_msi_prepare(domain, Device(0, "device"), 4, info)
    fit = ret == 0 and info.type == X86_IRQ_ALLOC_TYPE.DEV_MSI and info.flags == 0
    return [] if fit else [f"type {info.type}, flags {info.flags:#x}, result {ret}"]
