# SPDX-License-Identifier: GPL-2.0-only
"""What the interrupt code knows of a device (include/linux/device.h, v5.10)."""

from typing import TYPE_CHECKING

from impl.kernel.irq.irq import IrqDomain
from impl.kernel.kernel import NUMA_NO_NODE

if TYPE_CHECKING:
    from impl.kernel.irq.msi import MsiDesc

__all__ = ["Device"]


class Device:
    """A device that may signal by messages (the part of struct device that MSI needs).

    `id` is its number on the machine, for the trace.  `parent` is the device that it is a part of,
    None for one on a bus.  `msi_domain` allocates its interrupts, None if nobody does; `msi_list`
    holds its MSI descriptors.
    """

    __slots__ = ("id", "msi_domain", "msi_list", "name", "numa_node", "parent")

    def __init__(
        self,
        id: int,
        name: str,
        numa_node: int = NUMA_NO_NODE,
        *,
        parent: "Device | None" = None,
    ) -> None:
        self.id = id
        self.name = name
        self.numa_node = numa_node
        self.parent = parent
        self.msi_domain: IrqDomain | None = None
        self.msi_list: list[MsiDesc] = []
