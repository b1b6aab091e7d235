# SPDX-License-Identifier: GPL-2.0-only
"""The core of interrupt remapping (drivers/iommu/irq_remapping.c, v5.10).

A machine has remapping units of one vendor at most.  The core asks the drivers in turn at boot, and
from then on hands everything to the one that found its hardware.  IO-APICs and HPETs ask it for
their parent domain; PCI devices have theirs stored (IRC-3).

Events (system "irq_remapping"):

    irq_remapping_prepare         driver (place in the list of candidates, -1: none), ret
    irq_remapping_enable          ret (a mode or a negative errno), enabled
    irq_remapping_get_irq_domain  type, devid, domain (-1: none)
    irq_remapping_disable
    irq_remapping_reenable        ret
"""

import enum
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.kernel import Kernel, KernelBug

__all__ = [
    "IrqRemapCap",
    "IrqRemapMode",
    "IrqRemapOps",
    "IrqRemapping",
    "irq_remap_enable_fault_handling",
    "irq_remapping_cap",
    "irq_remapping_disable",
    "irq_remapping_enable",
    "irq_remapping_get_irq_domain",
    "irq_remapping_prepare",
    "irq_remapping_reenable",
    "panic_if_irq_remap",
    "set_irq_remapping_broken",
    "setup_irqremap",
]


class IrqRemapMode(enum.IntEnum):
    """How wide a destination a table entry has: what enabling returns (IRQ_REMAP_*_MODE)."""

    XAPIC = 0
    X2APIC = 1


class IrqRemapCap(enum.IntEnum):
    """What a remapping driver can do beyond remapping (enum irq_remap_cap): a bit number."""

    IRQ_POSTING_CAP = 0


@dataclass(slots=True)
class IrqRemapOps:
    """A remapping driver (struct irq_remap_ops); all operations but `prepare` may be missing.

    `capability` has a bit for each IrqRemapCap that the driver found.  `prepare` finds out whether
    the hardware is there: 0 or a negative errno.  `enable` switches remapping on and returns an
    IrqRemapMode or a negative errno.  `reenable` does so after a suspend, in the mode that it is
    given; 0 or a negative errno.  `enable_faulting` prepares for fault interrupts on this CPU.
    `get_irq_domain` answers irq_remapping_get_irq_domain.
    """

    prepare: Callable[[], int]
    enable: Callable[[], int] | None = None
    disable: Callable[[], None] | None = None
    reenable: Callable[[int], int] | None = None
    enable_faulting: Callable[[], int] | None = None
    get_irq_domain: Callable[[IrqAllocInfo | None], IrqDomain | None] | None = None
    capability: int = 0


class IrqRemapping:
    """The globals of the remapping core of one machine.

    `remap_ops` is the driver in charge, None until one has prepared; it stays when enabling fails.
    `irq_remapping_enabled` is set by the driver.  `irq_remap_broken` comes from quirks of chipsets,
    the others from the command line (setup_irqremap).  `restore_boot_irq_mode` tells that a crash
    hands the machine over in a way that suits remapping.
    """

    __slots__ = (
        "disable_irq_post",
        "disable_irq_remap",
        "disable_sourceid_checking",
        "irq_remap_broken",
        "irq_remapping_enabled",
        "kernel",
        "no_x2apic_optout",
        "remap_ops",
        "restore_boot_irq_mode",
        "warned",
    )

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.remap_ops: IrqRemapOps | None = None
        self.irq_remapping_enabled = False
        self.irq_remap_broken = False
        self.disable_irq_remap = False
        self.disable_irq_post = False
        self.disable_sourceid_checking = False
        self.no_x2apic_optout = False
        self.restore_boot_irq_mode = False
        self.warned: set[str] = set()

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of the remapping core."""
        kernel = self.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("irq_remapping", name, kernel.this_cpu, **fields)

    def warn_once(self, what: str) -> None:
        """A WARN_ON_ONCE() at the place that `what` names."""
        if what not in self.warned:
            self.warned.add(what)
            self.kernel.warn()


def setup_irqremap(r: IrqRemapping, options: str) -> int:
    """The command line option intremap=, a list behind commas; an unknown word is ignored.

    "on", "off", "nosid" (no check of source ids), "no_x2apic_optout" (firmware may not refuse the
    x2APIC mode), "nopost".  0, or -EINVAL for an empty list.  The kernel compares beginnings only.
    """
    if not options:
        return -errno.EINVAL
    for word in options.split(","):
        if word.startswith("on"):
            r.disable_irq_remap = r.disable_irq_post = False
        elif word.startswith("off"):
            r.disable_irq_remap = r.disable_irq_post = True
        elif word.startswith("nosid"):
            r.disable_sourceid_checking = True
        elif word.startswith("no_x2apic_optout"):
            r.no_x2apic_optout = True
        elif word.startswith("nopost"):
            r.disable_irq_post = True
    return 0


def set_irq_remapping_broken(r: IrqRemapping) -> None:
    """A quirk says that this chipset cannot remap."""
    r.irq_remap_broken = True


def irq_remapping_prepare(r: IrqRemapping, candidates: Sequence[IrqRemapOps]) -> int:
    """Let the first of the drivers that finds its hardware take charge.

    The kernel's order is Intel, AMD, Hyper-V; what is not built is not a candidate.  0, or -ENOSYS
    if there is none or the command line forbids it.
    """
    if r.disable_irq_remap:
        return -errno.ENOSYS
    for number, ops in enumerate(candidates):
        if ops.prepare() == 0:
            r.remap_ops = ops
            r.trace("irq_remapping_prepare", driver=number, ret=0)
            return 0
    r.trace("irq_remapping_prepare", driver=-1, ret=-errno.ENOSYS)
    return -errno.ENOSYS


def irq_remapping_enable(r: IrqRemapping) -> int:
    """Switch remapping on; the mode, -ENODEV if the driver cannot, or its error.

    The driver stays in charge after an error.  A BUG before irq_remapping_prepare has succeeded.
    """
    if r.remap_ops is None:
        raise KernelBug("remapping is enabled without a driver")
    if r.remap_ops.enable is None:
        return -errno.ENODEV
    ret = r.remap_ops.enable()
    r.trace("irq_remapping_enable", ret=ret, enabled=int(r.irq_remapping_enabled))
    if r.irq_remapping_enabled:
        r.restore_boot_irq_mode = True
    return ret


def irq_remapping_disable(r: IrqRemapping) -> None:
    """Switch remapping off before a suspend or a new kernel; the tables stay."""
    if r.irq_remapping_enabled and r.remap_ops is not None and r.remap_ops.disable is not None:
        r.remap_ops.disable()
        r.trace("irq_remapping_disable")


def irq_remapping_reenable(r: IrqRemapping, mode: int) -> int:
    """Switch remapping on again after a suspend; 0 or the driver's error."""
    if not r.irq_remapping_enabled or r.remap_ops is None or r.remap_ops.reenable is None:
        return 0
    ret = r.remap_ops.reenable(mode)
    r.trace("irq_remapping_reenable", ret=ret)
    return ret


def irq_remap_enable_fault_handling(r: IrqRemapping) -> int:
    """Prepare for fault interrupts; 0, -ENODEV if the driver has none, or its error."""
    if not r.irq_remapping_enabled or r.remap_ops is None:
        return 0
    if r.remap_ops.enable_faulting is None:
        return -errno.ENODEV
    return r.remap_ops.enable_faulting()


def irq_remapping_cap(r: IrqRemapping, cap: IrqRemapCap) -> bool:
    """Whether the driver can do `cap`, and the command line does not forbid posting."""
    if r.remap_ops is None or r.disable_irq_post:
        return False
    return bool(r.remap_ops.capability >> cap & 1)


def panic_if_irq_remap(r: IrqRemapping, message: str) -> None:
    """Stop the machine if remapping is on."""
    if r.irq_remapping_enabled:
        raise KernelBug(message)


def irq_remapping_get_irq_domain(r: IrqRemapping, info: IrqAllocInfo | None) -> IrqDomain | None:
    """The domain on which an IO-APIC or an HPET is to build its own; None: the vector domain.

    `info` has type IOAPIC_GET_PARENT or HPET_GET_PARENT and the unit's id as `devid`; other types
    get a warning from the drivers, and None.
    """
    if r.remap_ops is None or r.remap_ops.get_irq_domain is None:
        return None
    domain = r.remap_ops.get_irq_domain(info)
    if info is not None:
        r.trace(
            "irq_remapping_get_irq_domain",
            type=info.type,
            devid=info.devid,
            domain=-1 if domain is None else domain.id,
        )
    return domain
