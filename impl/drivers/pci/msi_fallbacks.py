# SPDX-License-Identifier: GPL-2.0-only
"""MSI without an interrupt domain (PCI_MSI_ARCH_FALLBACKS, drivers/pci/msi.c, v5.10).

Architectures that select the option hand a device without a hierarchical domain to the controller
of its host bridge.  On others, x86 among them, the functions are stubs that complain once (PCI-9).
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass

from impl.defects import Defect
from impl.drivers.pci.pci import Pci, PciDev
from impl.kernel.irq.msi import MsiDesc

__all__ = ["MsiController", "arch_setup_msi_irqs", "arch_teardown_msi_irqs"]


@dataclass(frozen=True, slots=True)
class MsiController:
    """What a host bridge's driver offers (struct msi_controller).

    `setup_irqs` serves a device as a whole, `teardown_irqs` undoes that; `setup_irq` serves one
    descriptor, whose irq it stores there, and `teardown_irq` frees one irq.  Results are 0 or a
    negative errno.
    """

    setup_irq: Callable[[PciDev, MsiDesc], int] | None = None
    teardown_irq: Callable[[int], None] | None = None
    setup_irqs: Callable[[PciDev, int, bool], int] | None = None
    teardown_irqs: Callable[[PciDev], None] | None = None


def arch_setup_msi_irqs(dev: PciDev, nvec: int, *, msix: bool) -> int:
    """Let the controller of the bus give each descriptor an irq.

    0; 1 for a block of more than one; -EINVAL without a controller; -ENOSPC if it asks for another
    number; its own errors; -ENODEV and one warning where the fallbacks are not compiled.
    """
    if not _compiled(dev.bus.pci):
        dev.bus.pci.warn_once("arch_setup_msi_irqs")
        return -errno.ENODEV
    controller = dev.bus.msi
    if controller is not None and controller.setup_irqs is not None:
        return controller.setup_irqs(dev, nvec, msix)
    if not msix and nvec > 1:
        return 1
    if controller is None or controller.setup_irq is None:
        return -errno.EINVAL
    for desc in dev.msi_list:
        ret = controller.setup_irq(dev, desc)
        if ret:
            return ret if ret < 0 else -errno.ENOSPC
    return 0


def arch_teardown_msi_irqs(dev: PciDev) -> None:
    """Let the controller free the irqs of the device; the stub only warns, once."""
    if not _compiled(dev.bus.pci):
        dev.bus.pci.warn_once("arch_teardown_msi_irqs")
        return
    controller = dev.bus.msi
    if controller is not None and controller.teardown_irqs is not None:
        controller.teardown_irqs(dev)
        return
    if controller is None or controller.teardown_irq is None:
        return
    for desc in dev.msi_list:
        if desc.irq:
            for irq in range(desc.irq, desc.irq + desc.nvec_used):
                controller.teardown_irq(irq)


def _compiled(pci: Pci) -> bool:
    """Whether callers see the functions; under N4 the header hides them although they are built."""
    return pci.arch_fallbacks and Defect.N4 not in pci.kernel.defects
