# SPDX-License-Identifier: GPL-2.0-only
"""One attempt to enable MSI or MSI-X, and its end (the set-up half of drivers/pci/msi.c, v5.10).

An attempt that fails leaves the device without descriptors, irqs and enabled flags (PCI-6).
"""

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from impl.drivers.pci.msi_access import (
    msi_cap_of,
    msi_mask_irq,
    msix_cap_of,
    msix_mask_irq,
    pci_msi_set_enable,
    pci_msix_clear_and_set_ctrl,
)
from impl.drivers.pci.msi_fallbacks import arch_setup_msi_irqs, arch_teardown_msi_irqs
from impl.drivers.pci.msi_regs import (
    PCI_MSIX_ENTRY_VECTOR_CTRL,
    PCI_MSIX_FLAGS_ENABLE,
    PCI_MSIX_FLAGS_MASKALL,
    msi_mask,
    multiple_of,
)
from impl.drivers.pci.pci import PciDev, pci_intx, pci_readl
from impl.kernel.irq.affinity import IrqAffinity, irq_create_affinity_masks
from impl.kernel.irq.irq import IrqAffinityDesc
from impl.kernel.irq.irqdomain import irq_domain_is_hierarchy
from impl.kernel.irq.msi import (
    MsiAttrib,
    MsiDesc,
    alloc_msi_entry,
    free_msi_entry,
    msi_domain_alloc_irqs,
    msi_domain_free_irqs,
)
from impl.kernel.kernel import KernelBug

__all__ = [
    "MsixEntryRequest",
    "free_msi_irqs",
    "msi_capability_init",
    "msix_capability_init",
    "pci_msi_setup_msi_irqs",
    "pci_msi_teardown_msi_irqs",
]

_U32 = 0xFFFFFFFF


@dataclass(slots=True)
class MsixEntryRequest:
    """A driver asks for one entry of the table and learns its irq (struct msix_entry)."""

    entry: int
    vector: int = 0


def msi_capability_init(dev: PciDev, nvec: int, affd: IrqAffinity | None) -> int:
    """Set MSI up with a block of `nvec` vectors.

    0; a positive number of vectors that might do; -ENOMEM; -EIO if the message needs a 64-bit
    address that the device cannot take; an error of the domain.
    """
    pci_msi_set_enable(dev, False)
    entry = _msi_setup_entry(dev, nvec, affd)
    if entry is None:
        return -errno.ENOMEM
    mask = msi_mask(entry.msi_attrib.multi_cap)
    msi_mask_irq(entry, mask, mask)
    dev.msi_list.append(entry)
    ret = (
        pci_msi_setup_msi_irqs(dev, nvec, msix=False)
        or _msi_verify_entries(dev)
        or _populate_msi_sysfs(dev)
    )
    if ret:
        # v5.10 writes the complement, so that the reserved mask bits are set too.
        msi_mask_irq(entry, mask, ~mask)
        free_msi_irqs(dev)
        return ret
    pci_intx(dev, False)
    pci_msi_set_enable(dev, True)
    dev.msi_enabled = True
    dev.irq = entry.irq
    return 0


def msix_capability_init(
    dev: PciDev,
    entries: Sequence[MsixEntryRequest] | None,
    nvec: int,
    affd: IrqAffinity | None,
) -> int:
    """Set MSI-X up with `nvec` vectors, for the table entries in `entries` or the first `nvec`.

    0; the positive number of vectors that got an irq before the domain ran out; -ENOMEM; -EIO as in
    msi_capability_init; an error of the domain.  As in v5.10 the messages are written before MSI-X
    is enabled, and a failure to list the irqs in sysfs leaves it enabled with everything masked.
    """
    pci_msix_clear_and_set_ctrl(dev, PCI_MSIX_FLAGS_ENABLE, 0)
    if dev.bus.pci.kernel.kzalloc_fails("msix_map_region"):
        return -errno.ENOMEM
    dev.msix_mapped = True
    ret = _msix_setup_entries(dev, entries, nvec, affd)
    if ret:
        return ret
    ret = pci_msi_setup_msi_irqs(dev, nvec, msix=True)
    if ret:
        ret = _available(dev) or ret if ret < 0 else ret
    else:
        ret = _msi_verify_entries(dev) or _msix_enable(dev, entries)
    if ret:
        free_msi_irqs(dev)
    return ret


def pci_msi_setup_msi_irqs(dev: PciDev, nvec: int, *, msix: bool) -> int:
    """Get irqs for the descriptors: of the device's hierarchical domain, else of the fallbacks."""
    domain = dev.msi_domain
    dev.bus.pci.trace(
        "pci_msi_setup_msi_irqs", device=dev.id, domain=-1 if domain is None else domain.id
    )
    if domain is not None and irq_domain_is_hierarchy(domain):
        return msi_domain_alloc_irqs(domain, dev, nvec)
    return arch_setup_msi_irqs(dev, nvec, msix=msix)


def pci_msi_teardown_msi_irqs(dev: PciDev) -> None:
    """Undo pci_msi_setup_msi_irqs."""
    domain = dev.msi_domain
    if domain is not None and irq_domain_is_hierarchy(domain):
        msi_domain_free_irqs(domain, dev)
    else:
        arch_teardown_msi_irqs(dev)
    dev.bus.pci.trace("pci_msi_teardown_msi_irqs", device=dev.id)


def free_msi_irqs(dev: PciDev) -> None:
    """Free irqs, descriptors, the mapped table and the sysfs files; a BUG if an irq is in use."""
    irqs = dev.bus.pci.domains.irqs
    for desc in dev.msi_list:
        for irq in range(desc.irq, desc.irq + desc.nvec_used) if desc.irq else ():
            irq_desc = irqs.irq_to_desc(irq)
            if irq_desc is not None and irq_desc.action:
                raise KernelBug(f"irq {irq} of {dev.name} still has a handler")
    pci_msi_teardown_msi_irqs(dev)
    entries = tuple(dev.msi_list)
    dev.msi_list.clear()
    for entry in entries:
        free_msi_entry(dev.bus.pci.kernel, entry)
    dev.msix_mapped = False
    dev.msi_irq_groups = ()


def _msi_setup_entry(dev: PciDev, nvec: int, affd: IrqAffinity | None) -> MsiDesc | None:
    cap = msi_cap_of(dev)
    attrib = MsiAttrib(
        multiple=multiple_of(nvec),
        multi_cap=cap.multi_cap,
        maskbit=cap.maskbit,
        is_64=cap.is_64,
        default_irq=dev.irq,
    )
    masks = _affinity_masks(dev, nvec, affd)
    entry = alloc_msi_entry(dev.bus.pci.kernel, dev, nvec, masks, attrib)
    if entry is not None:
        entry.masked = cap.mask_bits
    return entry


def _msix_setup_entries(
    dev: PciDev,
    entries: Sequence[MsixEntryRequest] | None,
    nvec: int,
    affd: IrqAffinity | None,
) -> int:
    table_size = msix_cap_of(dev).table_size
    masks = _affinity_masks(dev, nvec, affd)
    for i in range(nvec):
        entry_nr = entries[i].entry if entries is not None else i
        attrib = MsiAttrib(
            is_msix=True,
            is_64=True,
            is_virtual=entry_nr >= table_size,
            entry_nr=entry_nr,
            default_irq=dev.irq,
        )
        mask = None if masks is None else masks[i : i + 1]
        entry = alloc_msi_entry(dev.bus.pci.kernel, dev, 1, mask, attrib)
        if entry is None:
            if i:
                free_msi_irqs(dev)
            dev.msix_mapped = False
            return -errno.ENOMEM
        dev.msi_list.append(entry)
    return 0


def _affinity_masks(
    dev: PciDev, nvec: int, affd: IrqAffinity | None
) -> Sequence[IrqAffinityDesc] | None:
    if affd is None:
        return None
    return irq_create_affinity_masks(dev.bus.pci.kernel, nvec, affd)


def _available(dev: PciDev) -> int:
    """How many descriptors have an irq."""
    return sum(desc.irq != 0 for desc in dev.msi_list)


def _msi_verify_entries(dev: PciDev) -> int:
    if dev.no_64bit_msi and any(desc.msg.address_hi for desc in dev.msi_list):
        return -errno.EIO
    return 0


def _msix_enable(dev: PciDev, entries: Sequence[MsixEntryRequest] | None) -> int:
    pci_msix_clear_and_set_ctrl(dev, 0, PCI_MSIX_FLAGS_MASKALL | PCI_MSIX_FLAGS_ENABLE)
    _msix_program_entries(dev, entries)
    ret = _populate_msi_sysfs(dev)
    if ret:
        return ret
    pci_intx(dev, False)
    dev.msix_enabled = True
    pci_msix_clear_and_set_ctrl(dev, PCI_MSIX_FLAGS_MASKALL, 0)
    return 0


def _msix_program_entries(dev: PciDev, entries: Sequence[MsixEntryRequest] | None) -> None:
    """Tell the driver its irqs, and mask every entry for as long as none is requested."""
    for i, desc in enumerate(dev.msi_list):
        if entries is not None:
            entries[i].vector = desc.irq
        attrib = desc.msi_attrib
        control = 0
        if not attrib.is_virtual:
            control = pci_readl(dev, attrib.entry_nr, PCI_MSIX_ENTRY_VECTOR_CTRL)
        desc.masked = control
        msix_mask_irq(desc, 1)


def _populate_msi_sysfs(dev: PciDev) -> int:
    """List the irqs of the device in sysfs; 0 or -ENOMEM."""
    if dev.bus.pci.kernel.kzalloc_fails("populate_msi_sysfs"):
        return -errno.ENOMEM
    dev.msi_irq_groups = tuple(
        irq for desc in dev.msi_list for irq in range(desc.irq, desc.irq + desc.nvec_used)
    )
    return 0
