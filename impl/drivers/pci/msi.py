# SPDX-License-Identifier: GPL-2.0-only
"""What drivers ask of PCI MSI: some vectors, and their irqs (drivers/pci/msi.c, v5.10).

A driver names a range; an attempt that fails with a positive number is repeated with that number,
which is always smaller (PCI-5).
"""

import enum
import errno
from collections.abc import Callable, Sequence

from impl.drivers.pci.msi_access import first_pci_msi_entry, pci_msi_shutdown, pci_msix_shutdown
from impl.drivers.pci.msi_regs import msi_vec_count, msix_vec_count
from impl.drivers.pci.msi_setup import (
    MsixEntryRequest,
    free_msi_irqs,
    msi_capability_init,
    msix_capability_init,
)
from impl.drivers.pci.pci import PciBus, PciDev, PciPower, pci_intx
from impl.kernel.irq.affinity import (
    IrqAffinity,
    irq_calc_affinity_vectors,
    irq_create_affinity_masks,
)

__all__ = [
    "PCI_IRQ_AFFINITY",
    "PCI_IRQ_ALL_TYPES",
    "PCI_IRQ_LEGACY",
    "PCI_IRQ_MSI",
    "PCI_IRQ_MSIX",
    "PCI_IRQ_VIRTUAL",
    "PciIrq",
    "pci_alloc_irq_vectors_affinity",
    "pci_disable_msi",
    "pci_disable_msix",
    "pci_enable_msi_range",
    "pci_enable_msix_range",
    "pci_free_irq_vectors",
    "pci_irq_vector",
    "pci_msi_supported",
    "pci_msi_vec_count",
    "pci_msix_vec_count",
]


class PciIrq(enum.IntFlag):
    """The kinds of interrupts that a driver accepts (PCI_IRQ_*)."""

    LEGACY = 1 << 0
    MSI = 1 << 1
    MSIX = 1 << 2
    AFFINITY = 1 << 3
    VIRTUAL = 1 << 4


PCI_IRQ_LEGACY = int(PciIrq.LEGACY)
PCI_IRQ_MSI = int(PciIrq.MSI)
PCI_IRQ_MSIX = int(PciIrq.MSIX)
PCI_IRQ_AFFINITY = int(PciIrq.AFFINITY)
PCI_IRQ_VIRTUAL = int(PciIrq.VIRTUAL)
PCI_IRQ_ALL_TYPES = PCI_IRQ_LEGACY | PCI_IRQ_MSI | PCI_IRQ_MSIX


def pci_alloc_irq_vectors_affinity(
    dev: PciDev, min_vecs: int, max_vecs: int, flags: int, affd: IrqAffinity | None = None
) -> int:
    """Allocate between `min_vecs` and `max_vecs` vectors: MSI-X, else MSI, else the INTx line.

    `flags` are PCI_IRQ_*; with PCI_IRQ_AFFINITY the vectors are spread over the CPUs and managed,
    as `affd` says (default: all of them); without it an `affd` is dropped with a warning.  The
    number of vectors, or the error of the last kind that was tried, -ENOSPC if none was.
    """
    if not flags & PCI_IRQ_AFFINITY:
        if affd is not None:
            dev.bus.pci.kernel.warn()
            affd = None
    elif affd is None:
        affd = IrqAffinity()
    nvecs = -errno.ENOSPC
    if flags & PCI_IRQ_MSIX:
        nvecs = pci_enable_msix_range(dev, None, min_vecs, max_vecs, affd, flags)
        if nvecs > 0:
            return nvecs
    if flags & PCI_IRQ_MSI:
        nvecs = pci_enable_msi_range(dev, min_vecs, max_vecs, affd)
        if nvecs > 0:
            return nvecs
    if flags & PCI_IRQ_LEGACY and min_vecs == 1 and dev.irq:
        if affd is not None:
            # Nobody is spread, but the driver's own calculation of sets may run.
            irq_create_affinity_masks(dev.bus.pci.kernel, 1, affd)
        pci_intx(dev, True)
        return 1
    return nvecs


def pci_free_irq_vectors(dev: PciDev) -> None:
    """Free what pci_alloc_irq_vectors_affinity gave; a BUG if an irq still has a handler."""
    pci_disable_msix(dev)
    pci_disable_msi(dev)


def pci_irq_vector(dev: PciDev, nr: int) -> int:
    """The irq of the device's vector `nr`; -EINVAL and a warning if it has no such vector."""
    if dev.msix_enabled:
        if nr < len(dev.msi_list):
            return dev.msi_list[nr].irq
        dev.bus.pci.warn_once("pci_irq_vector")
        return -errno.EINVAL
    count = first_pci_msi_entry(dev).nvec_used if dev.msi_enabled else 1
    if nr >= count:
        dev.bus.pci.warn_once("pci_irq_vector")
        return -errno.EINVAL
    return dev.irq + nr


def pci_msi_supported(dev: PciDev, nvec: int) -> bool:
    """Whether MSI is allowed: by the command line, by quirks, and by every bus up to the root."""
    if not dev.bus.pci.pci_msi_enable or dev.no_msi or nvec < 1:
        return False
    bus: PciBus | None = dev.bus
    while bus is not None:
        if bus.no_msi:
            return False
        bus = bus.parent
    return True


def pci_msi_vec_count(dev: PciDev) -> int:
    """How many MSI vectors the device offers, 1 to 32; -EINVAL without the capability."""
    return -errno.EINVAL if dev.msi_cap is None else msi_vec_count(dev.msi_cap.control)


def pci_msix_vec_count(dev: PciDev) -> int:
    """How many entries the MSI-X table has, 1 to 2048; -EINVAL without the capability."""
    return -errno.EINVAL if dev.msix_cap is None else msix_vec_count(dev.msix_cap.control)


def pci_enable_msi_range(
    dev: PciDev, minvec: int, maxvec: int, affd: IrqAffinity | None = None
) -> int:
    """Enable MSI with between `minvec` and `maxvec` vectors (__pci_enable_msi_range).

    The number of vectors.  -EINVAL: not supported, no capability, not in D0, or MSI or MSI-X is
    enabled already.  -ERANGE: an empty range.  -ENOSPC: fewer than `minvec`.  -ENOMEM, -EIO, or an
    error of the domain.
    """
    if not pci_msi_supported(dev, minvec) or dev.current_state != PciPower.D0:
        return -errno.EINVAL
    if dev.msix_enabled:
        return -errno.EINVAL
    if maxvec < minvec:
        return -errno.ERANGE
    if dev.msi_enabled:
        dev.bus.pci.warn_once("pci_enable_msi_range")
        return -errno.EINVAL
    nvec = pci_msi_vec_count(dev)
    if nvec < 0:
        return nvec
    if nvec < minvec:
        return -errno.ENOSPC
    return _enable_with_fewer(
        dev, minvec, min(nvec, maxvec), affd, lambda n: msi_capability_init(dev, n, affd)
    )


def pci_enable_msix_range(
    dev: PciDev,
    entries: Sequence[MsixEntryRequest] | None,
    minvec: int,
    maxvec: int,
    affd: IrqAffinity | None = None,
    flags: int = 0,
) -> int:
    """Enable MSI-X with between `minvec` and `maxvec` vectors (__pci_enable_msix_range).

    `entries`, if given, names the table entries and learns their irqs.  Results as in
    pci_enable_msi_range; -EINVAL also for an entry outside the table or named twice.
    """
    if maxvec < minvec:
        return -errno.ERANGE
    if dev.msix_enabled:
        dev.bus.pci.warn_once("pci_enable_msix_range")
        return -errno.EINVAL
    return _enable_with_fewer(
        dev, minvec, maxvec, affd, lambda n: _pci_enable_msix(dev, entries, n, affd, flags)
    )


def pci_disable_msi(dev: PciDev) -> None:
    """Disable MSI and free its irqs; nothing if it is not enabled."""
    if dev.bus.pci.pci_msi_enable and dev.msi_enabled:
        pci_msi_shutdown(dev)
        free_msi_irqs(dev)


def pci_disable_msix(dev: PciDev) -> None:
    """Disable MSI-X and free its irqs; nothing if it is not enabled."""
    if dev.bus.pci.pci_msi_enable and dev.msix_enabled:
        pci_msix_shutdown(dev)
        free_msi_irqs(dev)


def _enable_with_fewer(
    dev: PciDev,
    minvec: int,
    nvec: int,
    affd: IrqAffinity | None,
    attempt: Callable[[int], int],
) -> int:
    """Call `attempt` with fewer and fewer vectors, down to `minvec`, until it asks for no fewer."""
    while True:
        if affd is not None:
            nvec = irq_calc_affinity_vectors(dev.bus.pci.kernel, minvec, nvec, affd)
            if nvec < minvec:
                return -errno.ENOSPC
        ret = attempt(nvec)
        if ret == 0:
            return nvec
        if ret < 0:
            return ret
        if ret < minvec:
            return -errno.ENOSPC
        nvec = ret


def _pci_enable_msix(
    dev: PciDev,
    entries: Sequence[MsixEntryRequest] | None,
    nvec: int,
    affd: IrqAffinity | None,
    flags: int,
) -> int:
    """One attempt (__pci_enable_msix); the size of the table if `nvec` is more than that."""
    if not pci_msi_supported(dev, nvec) or dev.current_state != PciPower.D0:
        return -errno.EINVAL
    table_size = pci_msix_vec_count(dev)
    if table_size < 0:
        return table_size
    if nvec > table_size and not flags & PCI_IRQ_VIRTUAL:
        return table_size
    if entries is not None and not _valid_entries(entries[:nvec], table_size):
        return -errno.EINVAL
    if dev.msi_enabled:
        return -errno.EINVAL
    return msix_capability_init(dev, entries, nvec, affd)


def _valid_entries(entries: Sequence[MsixEntryRequest], table_size: int) -> bool:
    numbers = [each.entry for each in entries]
    return len(set(numbers)) == len(numbers) and all(0 <= nr < table_size for nr in numbers)
