# SPDX-License-Identifier: GPL-2.0-only
"""Small whole machines as data: a description, an environment, and the sizes of the scopes beside.

A machine boots under the monitors, so what is rigid in the specification (which domain is a table,
which irqs are the PIC's) must be known before: an equal machine is booted first, unobserved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from impl.arch.x86.irq_vectors import ApicMode, Geometry
from impl.arch.x86.uv import UvAffinity
from impl.arch.x86.x86_init import X86Init
from impl.defects import Defect
from impl.description import MACHINES as DESCRIPTIONS
from impl.description import MachineDescription, load_description
from impl.drivers.pci.msi_regs import pci_devid, pci_msi_calc_hwirq
from impl.machine import Machine
from impl.machine_parts import BusDescription, DeviceDescription, MsiDescription, UvDescription
from impl.trace import Trace
from proofs.layers import Naming
from proofs.machine_tasks import LAYERS

__all__ = ["HUBS", "MACHINES", "SIZES", "SMALL", "WholeMachine"]


def _native() -> X86Init:
    return X86Init()


@dataclass(frozen=True)
class WholeMachine:
    """A machine to drive.

    `hooks` makes what the platform brings with it. `sizes` bounds how many things of a sort exist
    at a time. `prepare` changes a machine that has booted, as a platform's set-up code does.
    `left_out` has the layers that cannot follow this machine, each with the reason, and `never`
    the operations that are not tried on it."""

    description: MachineDescription
    sizes: Mapping[str, int]
    hooks: Callable[[], X86Init] = _native
    prepare: Callable[[Machine], None] | None = None
    defects: frozenset[Defect] = field(default_factory=frozenset)
    environment: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    never: frozenset[str] = frozenset()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that follow the machine, the innermost first."""
        return tuple(layer for layer in LAYERS if layer not in self.left_out)

    def build(self, trace: Trace | None = None) -> Machine:
        """The machine, booted; `trace` sees the boot."""
        machine = Machine(
            self.description, defects=self.defects, trace=trace, x86_init=self.hooks()
        )
        if self.prepare is not None:
            self.prepare(machine)
        return machine

    def complete(self) -> Machine:
        """The repaired machine, which has also made the domains that are made when first needed."""
        machine = self.without_defects().build()
        for unit in machine.dmar_units:
            machine.dmar_alloc_hwirq(unit)
        for blade in machine.uv_hubs.blades:
            machine.uv_setup_irq(blade, 0, 0, UvAffinity.ALL)
        return machine

    def names(self) -> dict[str, Naming]:
        """The elements of what is numbered from 0 on are those numbers. A hwirq that the machine
        can have has its element from the start, in order, so that those of a block are neighbours;
        descriptors and whatever else comes and goes get theirs when they are met."""
        names = {sort: Naming(sort, size) for sort, size in self.sizes.items()}
        for sort in ("Irq", "Domain", "Device", "IoApic", "Pin"):
            if sort in names:
                names[sort].update({number: number for number in range(self.sizes[sort])})
        for hwirq in self._hwirqs():
            names["Hwirq"][hwirq]
        return names

    def _hwirqs(self) -> list[int]:
        """The hwirqs of vectors, pins, channels and units are small; those of devices have the
        device's number in them."""
        found = set(range(self.sizes["Irq"]))
        for dev in self.description.devices:
            msi = dev.msi.vectors if dev.msi is not None else 0
            devid = pci_devid(dev.bus, dev.devfn)
            for entry in range(max(msi, dev.msix)):
                found.add(pci_msi_calc_hwirq(entry, devid, dev.segment))
        return sorted(found)

    def without_defects(self) -> WholeMachine:
        """The repaired machine."""
        return replace(self, defects=frozenset())

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices, in the order of their numbers in operations."""
        return tuple(device.name for device in self.description.devices)

    def __str__(self) -> str:
        parts = [f"machine {self.description.name!r}: {len(self.description.nodes)} CPUs"]
        parts += [self.environment] if self.environment else []
        return ", ".join(parts)


def _small() -> WholeMachine:
    # The vector layer has no word for a timer that the PIC drives while the machine boots.
    description = replace(load_description(DESCRIPTIONS / "small.toml"), timer=False)
    return WholeMachine(description, SIZES)


SIZES: Final[Mapping[str, int]] = {
    "Irq": 14,
    "Domain": 5,
    "Hwirq": 24,
    "Token": 3,
    "Fwnode": 5,
    "Device": 3,
    "Desc": 6,
    "IoApic": 1,
    "Pin": 4,
    "Bus": 2,
}
"""As many things as a small machine has at a time."""

_HUBS_DESCRIPTION: Final = MachineDescription(
    "hubs",
    nodes=(0, 0, 1),
    apic=ApicMode.X2APIC_CLUSTER,
    legacy_irqs=0,
    timer=False,
    geometry=Geometry(6, 1, 6, isa_base=1),
    system_vectors=(),
    uvs=(UvDescription(0, 0, node=0), UvDescription(1, 2, node=1)),
    buses=(BusDescription(0, 0), BusDescription(1, 0)),
    devices=(
        DeviceDescription("disk 0", 0, 0, 1 << 3, node=0, msix=2),
        DeviceDescription("disk 1", 1, 0, 1 << 3, node=1, msi=MsiDescription()),
    ),
)

SMALL: Final = _small()
"""A little of everything: MSI-X, MSI with and without mask bits, lines, an HPET and DMAR units."""

HUBS: Final = WholeMachine(_HUBS_DESCRIPTION, SIZES)
"""Two nodes with hubs that signal through registers; few vectors, and no PIC."""

MACHINES: Final = (SMALL, HUBS)
"""What random programs run on."""
