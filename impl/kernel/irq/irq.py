# SPDX-License-Identifier: GPL-2.0-only
"""The structures every interrupt layer shares (include/linux/irq.h, irqdesc.h, irqdomain.h).

An irq_desc embeds the outermost irq_data; a domain with a parent has a further irq_data for each
level, linked by parent_data.  State bits, affinity and node exist once for all levels.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from impl.kernel.kernel import Kernel, KernelBug

if TYPE_CHECKING:
    from impl.kernel.irq.irqdomain import IrqDomains
    from impl.kernel.irq.msi import MsiDesc

__all__ = [
    "IRQD",
    "IRQD_ACTIVATED",
    "IRQD_AFFINITY_MANAGED",
    "IRQD_AFFINITY_ON_ACTIVATE",
    "IRQD_AFFINITY_SET",
    "IRQD_CAN_RESERVE",
    "IRQD_HANDLE_ENFORCE_IRQCTX",
    "IRQD_IRQ_DISABLED",
    "IRQD_IRQ_MASKED",
    "IRQD_IRQ_STARTED",
    "IRQD_MANAGED_SHUTDOWN",
    "IRQD_MOVE_PCNTXT",
    "IRQD_MSI_NOMASK_QUIRK",
    "IRQD_SETAFFINITY_PENDING",
    "IRQD_SINGLE_TARGET",
    "IRQ_LEVEL",
    "IRQ_NOREQUEST",
    "IRQ_NO_BALANCING",
    "IRQ_SET_MASK_OK",
    "IRQ_SET_MASK_OK_DONE",
    "IRQ_SET_MASK_OK_NOCOPY",
    "IrqAffinityDesc",
    "IrqChip",
    "IrqCommonData",
    "IrqData",
    "IrqDesc",
    "IrqDomain",
    "IrqDomainOps",
    "MsiMsg",
    "irq_data_get_irq_chip",
    "no_irq_chip",
]

IRQ_SET_MASK_OK = 0
IRQ_SET_MASK_OK_NOCOPY = 1
IRQ_SET_MASK_OK_DONE = 2

IRQ_LEVEL = 1 << 8
"""A status bit of a descriptor: the line is level triggered."""

IRQ_NOREQUEST = 1 << 11
"""A status bit of a descriptor: nobody may request the interrupt."""

IRQ_NO_BALANCING = 1 << 13
"""A status bit of a descriptor: the interrupt stays where its allocation put it."""


class IRQD(enum.Flag):
    """State bits of an interrupt, with the kernel's bit numbers (IRQD_*)."""

    SETAFFINITY_PENDING = 1 << 8
    ACTIVATED = 1 << 9
    AFFINITY_SET = 1 << 12
    MOVE_PCNTXT = 1 << 15
    IRQ_DISABLED = 1 << 16
    IRQ_MASKED = 1 << 17
    AFFINITY_MANAGED = 1 << 21
    IRQ_STARTED = 1 << 22
    MANAGED_SHUTDOWN = 1 << 23
    SINGLE_TARGET = 1 << 24
    CAN_RESERVE = 1 << 26
    MSI_NOMASK_QUIRK = 1 << 27
    HANDLE_ENFORCE_IRQCTX = 1 << 28
    AFFINITY_ON_ACTIVATE = 1 << 29


# Operations on enum members cost more than the rest of a state test, so states are plain ints.
IRQD_SETAFFINITY_PENDING: Final = IRQD.SETAFFINITY_PENDING.value
IRQD_ACTIVATED: Final = IRQD.ACTIVATED.value
IRQD_AFFINITY_SET: Final = IRQD.AFFINITY_SET.value
IRQD_MOVE_PCNTXT: Final = IRQD.MOVE_PCNTXT.value
IRQD_IRQ_DISABLED: Final = IRQD.IRQ_DISABLED.value
IRQD_IRQ_MASKED: Final = IRQD.IRQ_MASKED.value
IRQD_AFFINITY_MANAGED: Final = IRQD.AFFINITY_MANAGED.value
IRQD_IRQ_STARTED: Final = IRQD.IRQ_STARTED.value
IRQD_MANAGED_SHUTDOWN: Final = IRQD.MANAGED_SHUTDOWN.value
IRQD_SINGLE_TARGET: Final = IRQD.SINGLE_TARGET.value
IRQD_CAN_RESERVE: Final = IRQD.CAN_RESERVE.value
IRQD_MSI_NOMASK_QUIRK: Final = IRQD.MSI_NOMASK_QUIRK.value
IRQD_HANDLE_ENFORCE_IRQCTX: Final = IRQD.HANDLE_ENFORCE_IRQCTX.value
IRQD_AFFINITY_ON_ACTIVATE: Final = IRQD.AFFINITY_ON_ACTIVATE.value


class IrqAffinityDesc(NamedTuple):
    """The affinity asked for one vector of a device (struct irq_affinity_desc)."""

    mask: int
    is_managed: bool


class IrqCommonData:
    """What all levels of one interrupt share (struct irq_common_data).

    `state` is a combination of IRQD bits kept as a plain int, as every operation tests several.
    """

    __slots__ = ("affinity", "effective_affinity", "node", "state")

    def __init__(self, state: int, affinity: int, node: int) -> None:
        self.state = state
        self.affinity = affinity
        self.effective_affinity = 0
        self.node = node


class IrqData:
    """One level of an interrupt: its hwirq, chip and domain (struct irq_data).

    `chip_data` is the chip's own, as untyped here as the kernel's void pointer.  The outermost
    level always has a chip; an inner one has none (a NULL pointer) until its domain sets it.
    """

    __slots__ = ("chip", "chip_data", "common", "desc", "domain", "hwirq", "irq", "parent_data")

    def __init__(
        self, desc: "IrqDesc", common: IrqCommonData, chip: "IrqChip | None" = None
    ) -> None:
        self.irq = desc.irq
        self.desc = desc
        self.common = common
        self.hwirq = 0
        self.chip = chip
        self.chip_data: Any = None
        self.domain: IrqDomain | None = None
        self.parent_data: IrqData | None = None

    def test(self, bits: int) -> bool:
        """Whether any of the IRQD_* `bits` is set."""
        return self.common.state & bits != 0

    def set(self, bits: int) -> None:
        """Set the IRQD_* `bits` (irqd_set)."""
        self.common.state |= bits

    def clear(self, bits: int) -> None:
        """Clear the IRQD_* `bits` (irqd_clear)."""
        self.common.state &= ~bits


class IrqDesc:
    """An interrupt descriptor (struct irq_desc).

    `action` counts installed handlers.  `pending_mask` means something only while
    SETAFFINITY_PENDING is set.  `handler_name` names the flow handler ("edge", "fasteoi",
    "level", "percpu", "untracked"), None stands for handle_bad_irq; `handler_data` is what the
    handler's owner keeps with it.  `status` holds IRQ_* bits, `msi_desc` the MSI descriptor that
    the interrupt belongs to.
    """

    __slots__ = (
        "action",
        "common",
        "depth",
        "handler_data",
        "handler_name",
        "irq",
        "irq_data",
        "kernel",
        "msi_desc",
        "pending_mask",
        "status",
    )

    def __init__(self, kernel: Kernel, irq: int, state: int, affinity: int, node: int) -> None:
        self.kernel = kernel
        self.irq = irq
        self.common = IrqCommonData(state, affinity, node)
        self.irq_data = IrqData(self, self.common, no_irq_chip)
        self.action = 0
        self.depth = 1
        self.pending_mask = 0
        self.handler_name: str | None = None
        self.handler_data: Any = None
        self.status = 0
        self.msi_desc: MsiDesc | None = None

    def trace(self, name: str, **fields: int) -> None:
        """Emit the event `name` of this interrupt."""
        kernel = self.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("irq", name, kernel.this_cpu, irq=self.irq, **fields)


class MsiMsg(NamedTuple):
    """What a device writes to signal: an address of 64 bits and a data word (struct msi_msg)."""

    address_lo: int = 0
    address_hi: int = 0
    data: int = 0


@dataclass(frozen=True, slots=True)
class IrqChip:
    """The operations of an interrupt chip that this stack uses (struct irq_chip).

    irq_set_affinity returns an IRQ_SET_MASK_* value or a negative errno.
    irq_enable and irq_disable replace the unmasking and masking of a start and a stop, irq_startup
    and irq_shutdown those of the first start and the last stop.  A chip that sleeps while it talks
    to its device takes calls only between irq_bus_lock and irq_bus_sync_unlock.
    irq_force_complete_move stands for the architecture hook of that name.  A chip with an `error`,
    a negative errno, is no chip but the mark of one (an error pointer).
    """

    name: str
    irq_startup: Callable[[IrqData], int] | None = None
    irq_shutdown: Callable[[IrqData], None] | None = None
    irq_enable: Callable[[IrqData], None] | None = None
    irq_disable: Callable[[IrqData], None] | None = None
    irq_ack: Callable[[IrqData], None] | None = None
    irq_mask: Callable[[IrqData], None] | None = None
    irq_unmask: Callable[[IrqData], None] | None = None
    irq_eoi: Callable[[IrqData], None] | None = None
    irq_set_affinity: Callable[[IrqData, int, bool], int] | None = None
    irq_retrigger: Callable[[IrqData], int] | None = None
    irq_set_type: Callable[[IrqData, int], int] | None = None
    irq_compose_msi_msg: Callable[[IrqData], MsiMsg] | None = None
    irq_write_msi_msg: Callable[[IrqData, MsiMsg], None] | None = None
    irq_set_vcpu_affinity: Callable[[IrqData, Any], int] | None = None
    irq_bus_lock: Callable[[IrqData], None] | None = None
    irq_bus_sync_unlock: Callable[[IrqData], None] | None = None
    irq_force_complete_move: Callable[[IrqDesc], None] | None = None
    error: int = 0


no_irq_chip = IrqChip("none")
"""The chip of an interrupt that has none."""


def irq_data_get_irq_chip(irqd: IrqData) -> IrqChip:
    """The chip of a level that must have one; a BUG where the kernel would follow NULL."""
    chip = irqd.chip
    if chip is None:
        raise KernelBug(f"a level of irq {irqd.irq} has no chip")
    return chip


@dataclass(frozen=True, slots=True)
class IrqDomainOps:
    """What a domain does with its level; a missing operation does nothing.

    A domain with `alloc` is hierarchical (DOM-10).  `select` and `match` take part in the lookup by
    firmware specification.
    """

    alloc: Callable[["IrqDomain", int, int, Any], int] | None = None
    free: Callable[["IrqDomain", int, int], None] | None = None
    activate: Callable[["IrqDomain", IrqData, bool], int] | None = None
    deactivate: Callable[["IrqDomain", IrqData], None] | None = None
    select: Callable[["IrqDomain", Any, int], bool] | None = None
    match: Callable[["IrqDomain", Any, int], bool] | None = None


class IrqDomain:
    """A translation level between hardware and Linux irq numbers (struct irq_domain).

    `domains` is the machine's register of domains, `id` the domain's number there.  `linear_revmap`
    maps the first hwirqs to irqs, 0 where there is none; `revmap_tree` maps the others to their
    irq_data.  `mapcount` counts the levels of allocated interrupts that are mapped here.
    `host_data` is the owner's, as untyped here as the kernel's void pointer.  Made by
    impl.kernel.irq.irqdomain.
    """

    __slots__ = (
        "bus_token",
        "domains",
        "flags",
        "fwnode",
        "host_data",
        "hwirq_max",
        "id",
        "linear_revmap",
        "mapcount",
        "name",
        "ops",
        "parent",
        "revmap_tree",
    )

    def __init__(
        self,
        domains: "IrqDomains",
        id: int,
        name: str,
        ops: IrqDomainOps,
        *,
        size: int,
        hwirq_max: int,
    ) -> None:
        self.domains = domains
        self.id = id
        self.name = name
        self.ops = ops
        self.host_data: Any = None
        self.flags = 0
        self.mapcount = 0
        self.fwnode: Any = None
        self.bus_token = 0
        self.parent: IrqDomain | None = None
        self.hwirq_max = hwirq_max
        self.linear_revmap = [0] * size
        self.revmap_tree: dict[int, IrqData] = {}
