# SPDX-License-Identifier: GPL-2.0-only
"""Hunts on every platform: the historic defects of remapping, VMD, Hyper-V, Xen, message stores.

A row says on which small machine a defect is switched on, what drivers and the platform then do,
and which property falls. `hunt` searches breadth-first with operations that know nothing of the
defect; `control` is the same search without it, to the same depth, and judges every property.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from impl.defects import Defect
from proofs import hunted_machines as machines
from proofs.explorer import Limit
from proofs.hunted_machines import defective
from proofs.hunted_run import HuntedRun
from proofs.impl_explorer import ImplExploration, search
from proofs.whole_machine import WholeMachine

__all__ = ["PLATFORM_ELSEWHERE", "PLATFORM_HUNTS", "PlatformHunt", "control", "hunt"]


@dataclass(frozen=True)
class PlatformHunt:
    """Where a defect is switched on, what is done, what falls, and after how many operations."""

    machine: WholeMachine
    operations: tuple[str, ...]
    targets: tuple[str, ...]
    steps: int
    note: str = ""


PLATFORM_ELSEWHERE: Final[Mapping[str, str]] = {
    "PLT-index": "only an owner of a device domain can grow its indices, and no machine has one",
}
"""Defects that no operation on a machine shows, and why."""

_PCI: Final = ("alloc_msix", "alloc_msi", "free_vectors")
_USED: Final = (*_PCI, "request_irq", "free_irq")
_STORE: Final = ("ims_alloc", "ims_free", "request_irq", "free_irq")
_SENSOR: Final = ("platform_alloc", "platform_free", "request_irq", "free_irq")
_NOTHING: Final[tuple[str, ...]] = ()

PLATFORM_HUNTS: Final[Mapping[str, PlatformHunt]] = {
    # VT-d
    "F2": PlatformHunt(
        defective(machines.VIRTUAL_FUNCTION, Defect.F2),
        ("add_functions", *_USED),
        ("SEL-3",),
        1,
    ),
    "F21": PlatformHunt(
        defective(machines.VTD, Defect.F21),
        ("remove_unit", "insert_unit", "fail_dmar_enable_qi"),
        ("X-4",),
        3,
    ),
    "INT-10": PlatformHunt(defective(machines.BEHIND_VTD, Defect.INT_10), _PCI, ("INT-10",), 1),
    "INT-null": PlatformHunt(
        defective(machines.BEHIND_VTD, Defect.INT_NULL), _PCI, ("KernelBug",), 1
    ),
    "INT-scan": PlatformHunt(
        defective(machines.FAR_DEVICE, Defect.INT_SCAN),
        _NOTHING,
        ("SEL-3",),
        0,
        note="boot alone leaves the second device out",
    ),
    "INT-type": PlatformHunt(
        defective(machines.STORE_BEHIND_VTD, Defect.DEV_D4, Defect.INT_TYPE),
        ("ims_alloc",),
        ("KernelBug",),
        1,
        note="only a requester of a kind that the unit does not know shows it, so with DEV-D4",
    ),
    # AMD-Vi
    "AMD-01": PlatformHunt(defective(machines.BARE_AMD, Defect.AMD_01), _PCI, ("KernelBug",), 1),
    "AMD-alias": PlatformHunt(
        defective(machines.ALIASED, Defect.AMD_ALIAS), ("alloc_msix", "alloc_msi"), ("AMD-1",), 2
    ),
    "AMD-DTE": PlatformHunt(
        defective(machines.LARGE_TABLE, Defect.AMD_DTE),
        ("alloc_all", "request_last"),
        ("X-delivery",),
        2,
    ),
    "AMD-copy": PlatformHunt(
        defective(machines.ALIASED, Defect.AMD_COPY),
        ("alloc_msi", "fail_irq_remapping_alloc"),
        ("AMD-10",),
        2,
    ),
    "F5": PlatformHunt(
        defective(machines.UNITS_FAIL, Defect.F5),
        _NOTHING,
        ("IRC-5",),
        0,
        note="boot alone puts the domain of the IO-APIC there",
    ),
    # Hyper-V
    "HV-prepare": PlatformHunt(
        defective(machines.HYPERV, Defect.HV_PREPARE), _USED, ("HVP-block",), 1
    ),
    "HV-compose": PlatformHunt(defective(machines.HYPERV, Defect.HV_COMPOSE), _USED, ("HVP-1",), 1),
    "HV-unmask": PlatformHunt(
        defective(machines.HYPERV, Defect.HV_UNMASK), _USED, ("X-delivery",), 2
    ),
    "HV-reuse": PlatformHunt(
        defective(machines.DEAF_HOST, Defect.HV_REUSE), _USED, ("X-delivery",), 2
    ),
    # VMD
    "VMD-03": PlatformHunt(
        defective(machines.VMD, Defect.VMD_PARENT), ("alloc_msix",), ("VMD-5",), 1
    ),
    "VMD-24": PlatformHunt(defective(machines.VMD, Defect.VMD_TOKEN), _NOTHING, ("SEL-2",), 0),
    "VMD-7": PlatformHunt(defective(machines.LARGE_VMD, Defect.VMD_ALIAS), _NOTHING, ("VMD-7",), 0),
    "VMD-bypass-domain": PlatformHunt(
        defective(machines.BYPASSED, Defect.VMD_BYPASS_DOMAIN), _NOTHING, ("VMD-8",), 0
    ),
    "VMD-requester": PlatformHunt(
        defective(machines.BYPASSED, Defect.VMD_REQUESTER),
        ("alloc_msix", "request_irq"),
        ("X-delivery",),
        2,
    ),
    "VMD-bypass-xen": PlatformHunt(
        defective(machines.BYPASSED_XEN, Defect.VMD_BYPASS_XEN), _NOTHING, ("SEL-5",), 0
    ),
    # Xen
    "F13": PlatformHunt(defective(machines.XEN_HVM, Defect.F13), _USED, ("XB-10",), 1),
    "F15": PlatformHunt(defective(machines.XEN_DOM0, Defect.F15), _USED, ("XEN-teardown",), 2),
    "R1": PlatformHunt(defective(machines.PVH_ASKED, Defect.R1), _NOTHING, ("XB-17",), 0),
    "XEN-leak": PlatformHunt(
        defective(machines.XEN_DOM0, Defect.XEN_LEAK),
        (*_PCI, "fail_alloc_desc"),
        ("XEN-4",),
        2,
    ),
    "XEN-stale-pirq": PlatformHunt(
        defective(machines.XEN_HVM, Defect.XEN_STALE_PIRQ), _PCI, ("XEN-2",), 4
    ),
    "XEN-unmap": PlatformHunt(
        defective(machines.XEN_ONE, Defect.XEN_UNMAP),
        (*_PCI, "xen_answer_next"),
        ("XEN-10",),
        3,
    ),
    # Message stores
    "DEV-D1": PlatformHunt(defective(machines.ARRAY, Defect.DEV_D1), _NOTHING, ("IMS-probe",), 0),
    "DEV-D2": PlatformHunt(defective(machines.ARRAY, Defect.DEV_D2), _STORE, ("IMS-4",), 1),
    "DEV-D3": PlatformHunt(
        defective(machines.ARRAY, Defect.DEV_D3),
        ("ims_alloc", "fail_alloc_apic_chip_data"),
        ("IMS-1",),
        2,
    ),
    "DEV-D4": PlatformHunt(
        defective(machines.STORE_BEHIND_VTD, Defect.DEV_D4), _STORE, ("IMS-4",), 1
    ),
    "DEV-D5": PlatformHunt(defective(machines.XEN_STORE, Defect.DEV_D5), _NOTHING, ("IMS-7",), 0),
    "DEV-D6": PlatformHunt(
        defective(machines.ARRAY, Defect.DEV_D6), ("ims_alloc_raced",), ("IMS-1",), 1
    ),
    "DEV-D7": PlatformHunt(defective(machines.ARRAY, Defect.DEV_D7), _STORE, ("IMS-3",), 1),
    "DEV-D8": PlatformHunt(defective(machines.ONE_SLOT, Defect.DEV_D8), _STORE, ("IMS-8",), 3),
    "DEV-D9": PlatformHunt(defective(machines.TWO_QUEUES, Defect.DEV_D9), _STORE, ("IMS-4",), 2),
    "DEV-D10": PlatformHunt(defective(machines.ARRAY, Defect.DEV_D10), _STORE, ("IMS-4",), 1),
    "DEV-42": PlatformHunt(
        defective(machines.QUEUE_AT_ONCE, Defect.DEV_42), (*_STORE, "set_affinity"), ("IMS-9",), 2
    ),
    "DEV-early": PlatformHunt(defective(machines.QUEUE, Defect.DEV_EARLY), _STORE, ("IMS-9",), 1),
    # Platform MSI
    "PLT-2": PlatformHunt(defective(machines.SENSOR, Defect.PLT_OPS), _SENSOR, ("PLT-2",), 1),
    "PLT-5": PlatformHunt(
        defective(machines.SENSOR, Defect.PLT_ROLLBACK),
        ("platform_alloc", "fail_alloc_apic_chip_data"),
        ("PLT-5",),
        2,
    ),
    "PLT-6": PlatformHunt(defective(machines.SENSOR, Defect.PLT_FREE), _SENSOR, ("PLT-6",), 2),
    "PLT-7": PlatformHunt(defective(machines.SENSOR, Defect.PLT_ACK), _SENSOR, ("PLT-7",), 1),
}
"""The hunt for each defect that needs a platform."""


def hunt(name: str, limit: Limit | None = None) -> ImplExploration:
    """The shortest run that breaks one of the properties; KeyError for an unknown name."""
    row = PLATFORM_HUNTS[name]
    run = HuntedRun(row.machine, row.operations, lenient=True)
    return search(run, limit or Limit(), row.targets)


def control(name: str, limit: Limit | None = None) -> ImplExploration:
    """The same search on the repaired machine, to the same depth if no other limit is given, with
    an eye on every property."""
    row = PLATFORM_HUNTS[name]
    run = HuntedRun(row.machine.without_defects(), row.operations)
    return search(run, limit or Limit(depth=row.steps))
