# SPDX-License-Identifier: GPL-2.0-only
"""The machines on which defects of the platforms are hunted, each as small as its defect allows."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from impl.arch.x86.apic import ApicIntrMode
from impl.arch.x86.irq_vectors import ApicMode, Geometry
from impl.arch.x86.xen_msi_domain import xen_setup_pci_msi
from impl.defects import Defect
from impl.description import MachineDescription
from impl.drivers.pci import vmd as vmd_driver
from impl.drivers.pci.vmd_domain import VmdDev
from impl.kernel.irq.irq import IRQD_MOVE_PCNTXT, IrqData, IrqDomain
from impl.machine import Machine
from impl.machine_parts import (
    BusDescription,
    DeviceDescription,
    DmarDescription,
    IoApicDescription,
    MsiDescription,
)
from impl.platform_parts import (
    AmdIommuDescription,
    HypervBusDescription,
    ImsDescription,
    PlatformDeviceDescription,
    VmdDescription,
    XenDescription,
)
from impl.trace import Trace
from proofs.whole_machine import WholeMachine

__all__ = [
    "ALIASED",
    "ARRAY",
    "BARE_AMD",
    "BEHIND_VTD",
    "BYPASSED",
    "BYPASSED_XEN",
    "DEAF_HOST",
    "FAR_DEVICE",
    "HYPERV",
    "HYPERV_LOADED",
    "LARGE_TABLE",
    "LARGE_VMD",
    "ONE_SLOT",
    "PVH_ASKED",
    "QUEUE",
    "QUEUE_AT_ONCE",
    "SENSOR",
    "STORE_BEHIND_VTD",
    "TWO_QUEUES",
    "UNITS_FAIL",
    "VIRTUAL_FUNCTION",
    "VMD",
    "VTD",
    "XEN_DOM0",
    "XEN_HVM",
    "XEN_ONE",
    "XEN_STORE",
    "defective",
]

_ROOT: Final = BusDescription(0, 0)
_EMPTY: Final = MachineDescription(
    "",
    nodes=(0, 0),
    apic=ApicMode.X2APIC_CLUSTER,
    legacy_irqs=0,
    timer=False,
    geometry=Geometry(10, 1, 10, isa_base=1),
    system_vectors=(),
    buses=(_ROOT,),
)
"""Two CPUs with nine device vectors each, without a PIC, and an empty bus."""

_NIC: Final = DeviceDescription("nic", 0, 0, 1 << 3, msix=2)
_DISK: Final = DeviceDescription("disk", 0, 0, 2 << 3, msi=MsiDescription(vectors=4))
_IOAPIC: Final = IoApicDescription(0, 0, 2, "dynamic", dmar=0, requester=0xF0 << 8)
_UNIT: Final = DmarDescription(0, remapping=True, catch_all=True, max_handle_mask=2)


def _machine(name: str, **parts: Any) -> WholeMachine:
    return WholeMachine(replace(_EMPTY, name=name, **parts), {})


def defective(machine: WholeMachine, *defects: Defect) -> WholeMachine:
    """The machine with these defects switched on."""
    return replace(machine, defects=frozenset(defects))


def _prepared(
    machine: WholeMachine, prepare: Callable[[Machine], None], environment: str
) -> WholeMachine:
    return replace(machine, prepare=prepare, environment=environment)


# --- VT-d -----------------------------------------------------------------------------------

VTD: Final = _machine(
    "vtd",
    ioapics=(_IOAPIC,),
    dmars=(DmarDescription(0, remapping=True, devices=("port",)), replace(_UNIT, id=1)),
    devices=(DeviceDescription("port", 0, 0, 7 << 3, hotplug=True), _NIC, _DISK),
)
"""A unit that may be taken out, as its only device is absent, and one for all others."""

VIRTUAL_FUNCTION: Final = _machine(
    "sr-iov",
    ioapics=(_IOAPIC,),
    dmars=(_UNIT,),
    devices=(_NIC, DeviceDescription("vf", 0, 0, 3 << 3, msix=1, physfn="nic")),
)

FAR_DEVICE: Final = _machine(
    "far",
    ioapics=(_IOAPIC,),
    dmars=(_UNIT,),
    buses=(BusDescription(0x10000, 0), _ROOT),
    devices=(DeviceDescription("far", 0x10000, 0, 0), _NIC),
)
"""A device in a segment whose number firmware has no room for, before another one."""


def _spoiled(
    spoil: Callable[[IrqData], None],
    native: Callable[..., int],
    domain: IrqDomain,
    virq: int,
    nr_irqs: int,
    info: object,
) -> int:
    ret = native(domain, virq, nr_irqs, info)
    if ret >= 0:
        spoil(domain.domains.irqs.descs[virq].irq_data)
    return ret


def _spoil(spoil: Callable[[IrqData], None], machine: Machine) -> None:
    domain = machine.vectors.x86_vector_domain
    native = domain.ops.alloc
    if native is not None:
        domain.ops = replace(domain.ops, alloc=partial(_spoiled, spoil, native))


def _no_level(irqd: IrqData) -> None:
    """The level of the unit is nobody's."""
    if irqd.parent_data is not None:
        irqd.parent_data.domain = None


BEHIND_VTD: Final = _prepared(
    _machine("vtd", ioapics=(_IOAPIC,), dmars=(_UNIT,), devices=(_DISK,)),
    partial(_spoil, _no_level),
    "irqs that lack a level",
)

# --- AMD-Vi ---------------------------------------------------------------------------------

_SOUTH_BRIDGE: Final = replace(_IOAPIC, requester=0x14 << 3)
"""Without it AMD-Vi does not remap."""

_AMD: Final = _machine(
    "amd-vi",
    ioapics=(_SOUTH_BRIDGE,),
    amd_iommus=(AmdIommuDescription(0),),
    devices=(_NIC, _DISK),
)

ALIASED: Final = replace(
    _AMD,
    description=replace(
        _AMD.description,
        name="amd-vi with aliases",
        devices=(
            replace(_NIC, aliases=((0, 2 << 8),)),
            replace(_DISK, aliases=((0, 2 << 8),)),
        ),
    ),
)
"""Two devices whose messages appear under one other id, which firmware does not list."""

LARGE_TABLE: Final = _machine(
    "amd-vi with a large device",
    geometry=Geometry(256, 32, 236),
    ioapics=(_SOUTH_BRIDGE,),
    amd_iommus=(AmdIommuDescription(0),),
    devices=(replace(_NIC, msix=300),),
)
"""A device with more messages than half a table has entries."""

BARE_AMD: Final = _prepared(_AMD, partial(_spoil, _no_level), "irqs that lack a level")


class _UnitsFail(Machine):
    """The units of AMD-Vi are there, and cannot be enabled."""

    def _build_platform(self) -> None:
        super()._build_platform()
        if self.remapping is not None:
            self.remapping.amd.enable_error = -errno.EIO


@dataclass(frozen=True)
class _FailingUnits(WholeMachine):
    def build(self, trace: Trace | None = None) -> Machine:
        """The machine, booted; `trace` sees the boot."""
        return _UnitsFail(self.description, defects=self.defects, trace=trace)


UNITS_FAIL: Final = _FailingUnits(_AMD.description, {}, environment="units that cannot be enabled")

# --- Hyper-V --------------------------------------------------------------------------------

HYPERV: Final = _machine(
    "hyper-v",
    platform="hyperv",
    ioapics=(_IOAPIC,),
    hyperv_buses=(HypervBusDescription(2),),
    devices=(DeviceDescription("disk", 2, 0, 2 << 3, msi=MsiDescription(vectors=2)),),
)

HYPERV_LOADED: Final = replace(
    HYPERV,
    description=replace(
        HYPERV.description,
        devices=(DeviceDescription("nic", 2, 0, 1 << 3, msix=1),),
    ),
)


def _deaf(machine: Machine) -> None:
    for hbus in machine.hv_buses.values():
        hbus.host.retargets = False


DEAF_HOST: Final = _prepared(HYPERV_LOADED, _deaf, "a host that does not retarget")

# --- VMD ------------------------------------------------------------------------------------

_ENDPOINT: Final = DeviceDescription("vmd", 0, 0, 4 << 3, msix=2)
_NVME: Final = DeviceDescription("nvme", 0x10000, 0xE0, 1 << 3, msix=1, nvme=True)

VMD: Final = _machine(
    "vmd",
    ioapics=(_IOAPIC,),
    dmars=(_UNIT,),
    vmds=(VmdDescription("vmd", 0x10000, 0xE0),),
    devices=(_ENDPOINT, _NVME),
)

LARGE_VMD: Final = _machine(
    "vmd with many vectors",
    geometry=Geometry(256, 32, 236),
    vmds=(VmdDescription("vmd", 0x10000, 0xE0),),
    devices=(replace(_ENDPOINT, msix=258), _NVME),
)


def _bypass(machine: Machine) -> None:
    """The VMD turns out to be one that need not remap."""
    for part in machine.description.vmds:
        machine.vmd_remove(part.name)
        xen = machine.description.platform == "xen"
        vmd = VmdDev(machine.x86, machine.pci_devs[part.name], can_bypass=True, xen=xen)
        scan = partial(machine.topology.scan_bus, (part.segment, part.bus))
        if vmd_driver.vmd_probe(vmd, scan, part.bus) == 0:
            machine.vmds[part.name] = vmd


BYPASSED: Final = _prepared(VMD, _bypass, "a VMD that need not remap")

# --- Xen ------------------------------------------------------------------------------------

_XEN: Final = _machine("xen", platform="xen", interrupt_mode=ApicIntrMode.PIC, legacy_irqs=1)
"""The irq 0 is the PIC's, as no descriptor can tell an irq 0 from none."""


def _guest(name: str, **parts: Any) -> WholeMachine:
    return WholeMachine(replace(_XEN.description, name=name, **parts), {})


XEN_DOM0: Final = _guest(
    "xen-dom0",
    xen=XenDescription("pv", initial=True, pirqs=8, ports=8),
    devices=(_NIC, replace(_DISK, msi=MsiDescription(vectors=2))),
)

BYPASSED_XEN: Final = _prepared(
    _guest(
        "xen-dom0 with a vmd",
        xen=XenDescription("pv", initial=True, pirqs=8, ports=8),
        vmds=(VmdDescription("vmd", 0x10000, 0xE0),),
        devices=(_ENDPOINT, _NVME),
    ),
    _bypass,
    "a VMD that need not remap",
)

XEN_ONE: Final = _guest(
    "xen-dom0 with one device",
    xen=XenDescription("pv", initial=True, pirqs=2, ports=2),
    devices=(replace(_NIC, msix=1),),
)

XEN_STORE: Final = _guest(
    "xen-dom0 with a store",
    xen=XenDescription("pv", initial=True, pirqs=8, ports=8),
    ims=(ImsDescription("nic", 2),),
    devices=(_NIC,),
)

XEN_HVM: Final = _guest(
    "xen-hvm",
    apic=ApicMode.FLAT,
    interrupt_mode=ApicIntrMode.SYMMETRIC_IO,
    xen=XenDescription("hvm", pirqs=5, ports=5),
    devices=(replace(_NIC, msix=1), replace(_DISK, msi=MsiDescription())),
)


def _ask_xen(machine: Machine) -> None:
    if machine.xen is not None:
        xen_setup_pci_msi(machine.xen.pci)


PVH_ASKED: Final = _prepared(
    _guest(
        "xen-pvh",
        interrupt_mode=ApicIntrMode.SYMMETRIC_IO,
        xen=XenDescription("pvh", initial=True, hvm_pirqs=False),
        devices=(_NIC,),
    ),
    _ask_xen,
    "the MSI functions are chosen",
)

# --- message stores and platform devices ----------------------------------------------------

ARRAY: Final = _machine("store", ims=(ImsDescription("nic", 3, subdevices=2),), devices=(_NIC,))

ONE_SLOT: Final = _machine("one slot", ims=(ImsDescription("nic", 1),), devices=(_NIC,))

STORE_BEHIND_VTD: Final = _machine(
    "store behind vtd",
    ioapics=(_IOAPIC,),
    dmars=(_UNIT,),
    ims=(ImsDescription("nic", 2),),
    devices=(_NIC,),
)

QUEUE: Final = _machine(
    "store of images", ims=(ImsDescription("nic", 1, 1, "queue"),), devices=(_NIC,)
)


def _moves_at_once(irqd: IrqData) -> None:
    irqd.set(IRQD_MOVE_PCNTXT)


QUEUE_AT_ONCE: Final = replace(
    QUEUE, prepare=partial(_spoil, _moves_at_once), environment="irqs that move at once"
)

TWO_QUEUES: Final = _machine(
    "two queues", ims=(ImsDescription("nic", 1, 2, "queue"),), devices=(_NIC,)
)

SENSOR: Final = _machine("sensor", platform_devices=(PlatformDeviceDescription("sensor"),))
