# SPDX-License-Identifier: GPL-2.0-only
"""The series of August 2020, patch by patch, and the ids under which each is held.

`number` is that of the first posting, `merged` that of the second. A refactoring claims that
nothing changes; any other patch claims what its ids say. An id that starts with `series-` carries
the number of the second posting and is about the two texts.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["PATCHES", "Patch"]


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch: its numbers, what it does, whether it is a refactoring, and what holds it."""

    number: int
    merged: int
    title: str
    ids: tuple[str, ...]
    refactoring: bool = False


def _patch(number: int, merged: int, title: str, ids: str) -> Patch:
    return Patch(number, merged, title, tuple(ids.split()))


def _same(number: int, merged: int, title: str, ids: str) -> Patch:
    return Patch(number, merged, title, tuple(ids.split()), refactoring=True)


PATCHES: Final = (
    _patch(1, 1, "iommu/amd: Prevent NULL pointer dereference", "AMD-11 IRC-2"),
    _same(2, 2, "x86/init: Remove unused init ops", "series-2"),
    _same(3, 7, "x86/irq: Rename X86_IRQ_ALLOC_TYPE_MSI*", "series-7"),
    _patch(
        4, 8, "x86/irq: Add allocation type for parent domain retrieval", "series-8 IRC-2 IRC-4"
    ),
    _same(5, 9, "iommu/vt-d: Consolidate irq domain getter", "series-9 IRC-2"),
    _same(6, 10, "iommu/amd: Consolidate irq domain getter", "series-10 IRC-2"),
    _same(7, 11, "iommu/irq_remapping: Consolidate irq domain lookup", "series-11 IRC-2 IRC-4"),
    _same(8, 12, "x86/irq: Prepare consolidation of irq_alloc_info", "series-12"),
    _same(9, 13, "x86/msi: Consolidate HPET allocation", "series-13 MSI-2"),
    _same(10, 14, "x86/ioapic: Consolidate IOAPIC allocation", "series-14 IOA-8"),
    _same(11, 15, "x86/irq: Consolidate DMAR irq allocation", "series-15 MSI-2 APIC-7"),
    _same(12, 16, "x86/irq: Consolidate UV domain allocation", "series-16 UV-2"),
    _same(13, 17, "PCI: MSI: Rework pci_msi_domain_calc_hwirq()", "series-17 PCI-4"),
    _same(14, 18, "x86/msi: Consolidate MSI allocation", "series-17 MSI-2 MSI-3"),
    _same(15, 19, "x86/msi: Use generic MSI domain ops", "MSI-1 MSI-2"),
    _same(16, 20, "x86/irq: Move apic_post_init() invocation to one place", "INIT-post INIT-path"),
    _same(17, 21, "x86/pci: Reduce #ifdeffery in PCI init code", "series-21 INIT-step"),
    _patch(18, 22, "x86/irq: Initialize PCI/MSI domain at PCI init time", "INIT-1 INIT-2 XB-2"),
    _patch(19, 23, "irqdomain/msi: Provide DOMAIN_BUS_VMD_MSI", "DOM-14 SEL-2"),
    _patch(20, 24, "PCI: vmd: Mark VMD irqdomain with DOMAIN_BUS_VMD_MSI", "SEL-2 VMD-8"),
    _patch(21, 25, "PCI: MSI: Provide pci_dev_has_special_msi_domain() helper", "INIT-6 SEL-6"),
    _same(22, 26, "x86/xen: Make xen_msi_init() static, rename it", "XB-2 XB-16"),
    _same(23, 27, "x86/xen: Rework MSI teardown", "XEN-10 XB-9"),
    _same(24, 28, "x86/xen: Consolidate XEN-MSI init", "XB-16 XB-17"),
    _patch(25, 29, "irqdomain/msi: Allow to override msi_domain_alloc/free_irqs()", "MSI-12 XB-5"),
    _patch(26, 30, "x86/xen: Wrap XEN MSI management into irqdomain", "XB-1 XB-6 XB-7 XB-9"),
    _patch(27, 31, "iommu/vt-d: Store irq domain in struct device", "INT-15 SEL-3"),
    _patch(28, 32, "iommu/amd: Store irq domain in struct device", "AMD-12 SEL-3"),
    _patch(29, 33, "x86/pci: Set default irq domain in pcibios_add_device()", "INIT-3 INIT-5"),
    _patch(30, 34, "PCI/MSI: Allow to disable arch fallbacks", "PCI-9 PCI-stub FB-1"),
    _same(31, 35, "x86/irq: Cleanup the arch_*_msi_irqs() leftovers", "INIT-4 X-5 FB-1"),
    _same(32, 36, "x86/irq: Make most MSI ops XEN private", "FB-3"),
    _patch(33, 39, "x86/irq: Add DEV_MSI allocation type", "series-39"),
    _patch(34, 40, "x86/msi: Let pci_msi_prepare() handle non-PCI MSI", "series-40"),
    _patch(35, 41, "platform-msi: Provide default irq_chip:ack", "PLT-7"),
    _patch(36, 44, "platform-msi: Add device MSI infrastructure", "IMS-7"),
    _patch(37, 45, "irqdomain/msi: Provide msi_alloc/free_store() callbacks", "MSI-13 IMS-3"),
    _patch(38, 46, "irqchip: Add IMS array driver", "IMS-1 IMS-2 IMS-4"),
)
"""All 38 patches of the first posting, in its order."""
