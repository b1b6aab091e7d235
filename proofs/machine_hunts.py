# SPDX-License-Identifier: GPL-2.0-only
"""Hunts on whole machines: the historic defects N1 to N17 of section 13, one after the other.

A row says on which small machine a defect is switched on, what drivers and the platform then do,
and which property falls. The specification stays the repaired one. `hunt` searches breadth-first
with operations that know nothing of the defect; `control` is the same search without it, to the
same depth. N9, N10 and N15 are defects of the vector layer alone, and are hunted there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from impl.arch.x86.irq_vectors import ApicMode, Geometry
from impl.defects import Defect
from impl.description import MachineDescription
from impl.machine_parts import (
    BusDescription,
    DeviceDescription,
    DmarDescription,
    HpetDescription,
    MsiDescription,
    UvDescription,
)
from proofs import environments
from proofs.explorer import Limit
from proofs.impl_explorer import ImplExploration, search
from proofs.whole_machine import SIZES, WholeMachine
from proofs.whole_run import WholeRun

__all__ = ["ELSEWHERE", "MACHINE_HUNTS", "MachineHunt", "control", "hunt"]

ELSEWHERE: Final[Mapping[str, str]] = {"N9": "H1", "N10": "MX-D3", "N15": "H4"}
"""Defects of section 13 that proofs.hunts has under another name."""


@dataclass(frozen=True)
class MachineHunt:
    """Where a defect is switched on, what is done, what falls, and after how many operations.

    `layers` are those whose monitors look on: where a defect leaves them behind at boot, or the
    platform has a domain that they do not know, fewer do."""

    machine: WholeMachine
    operations: tuple[str, ...]
    targets: tuple[str, ...]
    steps: int
    layers: tuple[str, ...] = ("vectors", "hierarchy", "msi")
    note: str = ""


_ROOT: Final = BusDescription(0, 0)
_MSIX: Final = DeviceDescription("nic", 0, 0, 1 << 3, msix=2)
_MSI: Final = DeviceDescription("disk", 0, 0, 2 << 3, msi=MsiDescription(vectors=2))
_EMPTY: Final = MachineDescription(
    "tiny",
    nodes=(0, 0),
    apic=ApicMode.FLAT,
    legacy_irqs=0,
    timer=False,
    geometry=Geometry(6, 1, 6, isa_base=1),
    system_vectors=(),
    buses=(_ROOT,),
)
"""Two CPUs with five device vectors each, without a PIC and IO-APICs, and an empty bus."""


def _machine(
    *devices: DeviceDescription,
    nodes: tuple[int, ...] = (0, 0),
    buses: tuple[BusDescription, ...] = (_ROOT,),
    hpets: tuple[HpetDescription, ...] = (),
    dmars: tuple[DmarDescription, ...] = (),
    uvs: tuple[UvDescription, ...] = (),
) -> WholeMachine:
    description = replace(
        _EMPTY, devices=devices, nodes=nodes, buses=buses, hpets=hpets, dmars=dmars, uvs=uvs
    )
    return WholeMachine(description, SIZES)


def _with(defect: Defect, machine: WholeMachine) -> WholeMachine:
    return replace(machine, defects=frozenset({defect}))


_PLAIN: Final = _machine(_MSIX, _MSI)
_TWO_NODES: Final = _machine(replace(_MSIX, node=1), nodes=(0, 1))
_TWINS: Final = _machine(
    _MSIX,
    DeviceDescription("twin", 32, 0, 1 << 3, msix=2),
    buses=(_ROOT, BusDescription(32, 0)),
)
"""Two devices at one place of two PCI segments whose numbers differ by 32."""

_DRIVERS: Final = ("alloc_msix", "alloc_msi", "free_vectors", "request_irq", "free_irq")
_DRIVERS_AND_MASKS: Final = (*_DRIVERS, "set_affinity")

MACHINE_HUNTS: Final[Mapping[str, MachineHunt]] = {
    "N1": MachineHunt(
        _with(Defect.N1, _machine(dmars=(DmarDescription(0), DmarDescription(1)))),
        ("dmar_alloc_hwirq", "dmar_free_hwirq"),
        ("MSI-2",),
        2,
    ),
    "N2": MachineHunt(
        _with(Defect.N2, _machine(hpets=(HpetDescription(0, 1),))),
        ("hpet_assign_irq", "hpet_free_irq"),
        ("MSI-1",),
        0,
        note="the domain of an HPET is made at boot, and incomplete from then on",
    ),
    "N3": MachineHunt(
        replace(
            _with(Defect.N3, _machine(_MSIX)),
            hooks=environments.overriding_platform,
            environment="a platform with a PCI/MSI domain of its own",
        ),
        _DRIVERS,
        ("INIT-1",),
        0,
        note="boot alone makes the wrong domain",
    ),
    "N4": MachineHunt(
        replace(
            _with(Defect.N4, _machine(_MSI)),
            prepare=environments.arch_fallbacks,
            environment="arch fallbacks and no domain",
        ),
        ("alloc_msi",),
        ("PCI-fallbacks",),
        1,
        layers=("vectors", "hierarchy"),
    ),
    "N5": MachineHunt(
        replace(
            _with(Defect.N5, _machine(hpets=(HpetDescription(0, 1),))),
            hooks=environments.remapping,
            environment="an HPET behind remapping",
        ),
        ("hpet_assign_irq", "hpet_free_irq", "request_irq", "free_irq"),
        ("APIC-3",),
        1,
    ),
    "N6": MachineHunt(
        replace(
            _with(Defect.N6, _PLAIN),
            hooks=environments.vmd_token,
            environment="a PCI/MSI domain with the token of VMD",
        ),
        _DRIVERS,
        ("MSI-5",),
        1,
    ),
    "N7": MachineHunt(
        replace(
            _with(Defect.N7, _machine(_MSI)),
            hooks=environments.limited_block_domain,
            environment="a domain that sets up one vector of a block",
        ),
        _DRIVERS,
        ("MSI-N7",),
        1,
    ),
    "N8": MachineHunt(
        replace(
            _with(Defect.N8, _machine(_MSI)),
            hooks=environments.block_domain,
            environment="a domain that serves blocks",
        ),
        _DRIVERS,
        ("MSI-N8",),
        1,
    ),
    "N11": MachineHunt(_with(Defect.N11, _TWO_NODES), _DRIVERS_AND_MASKS, ("VEC-affinity",), 3),
    "N12": MachineHunt(_with(Defect.N12, _TWINS), _DRIVERS, ("PCI-4",), 2),
    "N13": MachineHunt(
        _with(Defect.N13, _machine(uvs=(UvDescription(0, 0),))),
        ("uv_setup_irq", "uv_teardown_irq", "request_irq", "free_irq"),
        ("UV-3",),
        3,
    ),
    "N14": MachineHunt(
        replace(
            _with(Defect.N14, _machine(_MSIX)),
            prepare=environments.ignore_masks,
            environment="nobody may mask a device",
        ),
        _DRIVERS,
        ("MSI-6",),
        1,
    ),
    "N16": MachineHunt(
        _with(Defect.N16, _machine(hpets=(HpetDescription(0, 1),))),
        ("hpet_assign_irq", "hpet_free_irq", "request_irq", "free_irq", "set_affinity"),
        ("VEC-3",),
        2,
        note="the irq of an HPET moves in process context, so that its chip is asked at once",
    ),
    "N17": MachineHunt(_with(Defect.N17, _PLAIN), _DRIVERS, ("GEN-freed", "MSI-N17"), 2),
}
"""The hunt for each defect that needs a whole machine."""


def _run(row: MachineHunt, machine: WholeMachine, lenient: bool) -> WholeRun:
    return WholeRun(machine, layers=row.layers, lenient=lenient, names=row.operations)


def hunt(name: str, limit: Limit | None = None) -> ImplExploration:
    """The shortest run that breaks one of the properties; KeyError for an unknown name."""
    row = MACHINE_HUNTS[name]
    return search(_run(row, row.machine, lenient=True), limit or Limit(), row.targets)


def control(name: str, limit: Limit | None = None) -> ImplExploration:
    """The same search on the repaired machine, to the same depth if no other limit is given: every
    step is held to the specification, and every invariant and every law is judged."""
    row = MACHINE_HUNTS[name]
    machine = row.machine.without_defects()
    return search(_run(row, machine, lenient=False), limit or Limit(depth=row.steps))
