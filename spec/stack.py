# SPDX-License-Identifier: GPL-2.0-only
"""The specification as a whole: every layer, with its actions and operations, and the switches."""

from collections.abc import Mapping

from spec import (
    amd_ir_actions,
    amd_ir_invariants,
    amd_ir_operations,
    hierarchy_actions,
    hierarchy_operations,
    hierarchy_theorems,
    ims_invariants,
    intel_ir_actions,
    intel_ir_invariants,
    intel_ir_operations,
    intel_ir_theorems,
    ioapic_actions,
    ioapic_operations,
    msi_actions,
    msi_invariants,
    msi_irq_actions,
    msi_operations,
    msi_theorems,
    pci_msi,
    pci_msi_actions,
    pci_msi_operations,
    remapping_actions,
    routing_lemmas,
    routing_selection,
    routing_theorems,
    vector_actions,
    vector_operations,
    vector_theorems,
    xen_actions,
    xen_boot_actions,
    xen_bypass,
    xen_invariants,
    xen_lemmas,
    xen_operations,
    xen_teardown_actions,
    xen_theorems,
)
from spec.amd_ir import amd_ir
from spec.devices import devices
from spec.hierarchy import hierarchy
from spec.hyperv import hyperv
from spec.ims import ims
from spec.ims_queue import ims_queue
from spec.intel_ir import intel_ir
from spec.ioapic import ioapic
from spec.language import Layer
from spec.msi import msi
from spec.platform_msi import platform_msi
from spec.remapping import remapping
from spec.routing import routing
from spec.uv import uv
from spec.vectors import vectors
from spec.vmd import vmd
from spec.whole import stack
from spec.xen import xen
from spec.xen_whole import guest

__all__ = ["MODELS", "PARTS", "SWITCHES", "stack", "vectors"]

PARTS = (
    vector_actions,
    vector_operations,
    vector_theorems,
    hierarchy_actions,
    hierarchy_operations,
    hierarchy_theorems,
    ims_invariants,
    ioapic_actions,
    ioapic_operations,
    routing_lemmas,
    routing_selection,
    routing_theorems,
    remapping_actions,
    intel_ir_invariants,
    intel_ir_actions,
    intel_ir_operations,
    intel_ir_theorems,
    amd_ir_invariants,
    amd_ir_actions,
    amd_ir_operations,
    msi_invariants,
    pci_msi,
    msi_actions,
    msi_irq_actions,
    pci_msi_actions,
    msi_operations,
    pci_msi_operations,
    msi_theorems,
    xen_boot_actions,
    xen_actions,
    xen_teardown_actions,
    xen_invariants,
    xen_bypass,
    xen_lemmas,
    xen_operations,
    xen_theorems,
)
"""The modules that declare what can happen; importing them completes the layers."""

MODELS: Mapping[str, Layer] = {
    layer.name: layer
    for layer in (
        vectors,
        hierarchy,
        msi,
        ioapic,
        devices,
        uv,
        routing,
        remapping,
        intel_ir,
        amd_ir,
        xen,
        vmd,
        platform_msi,
        hyperv,
        ims,
        ims_queue,
        stack,
        guest,
    )
}
"""Every layer that is checked, by its name: each is proved, and explored in the scopes of
`proofs.scopes`. The last two are all of a bare machine together, and all of a Xen guest."""

SWITCHES: Mapping[str, str] = {
    "E0": "a caller frees a bit that is not set",
    "H1": "a CPU goes offline while a move from it is unfinished, and the old vector is forgotten",
    "H2": "a CPU goes offline on which an irq that was never started owns a vector",
    "H3": "managed slots are reserved on a CPU that is away: the same as MX-D1",
    "H4": "a managed irq is moved again before its last move is cleaned up",
    "H5": "the IO-APIC takes over the PIC cascade, whose vector is not in the matrix",
    "H6": "a fixed irq is activated although it found no vector",
    "H7": "a driver changes the affinity of a managed irq",
    "H8": "a CPU goes offline although the affinity of an irq on it has no vector left",
    "H9": "an irq keeps the effective mask of its inactive time (implementation only)",
    "MX-D1": "available of a CPU that is away ignores managed reservations",
    "MX-D2": "total_allocated keeps what is freed on a CPU that is away",
    "MX-D3": "a free of a clear bit moves the counters",
    "MX-D4": "a system vector may lie one beyond the matrix",
    "N1": "a DMAR allocation names no hwirq",
    "N2": "the DMAR and HPET domains have no get_hwirq",
    "N3": "the default PCI/MSI domain is made before the platform can override its creator",
    "N4": "the header asks for a symbol that no configuration has, and hides the arch fallbacks",
    "N6": "the reservation check does not know the bus token of a VMD",
    "N7": "a failed allocation of a block calls msi_free for all irqs but the first",
    "N8": "early activation treats only the first irq of a block",
    "N13": "the MMR of a UV irq that is deactivated stays unmasked",
    "N14": "the reservation check does not look at pci_msi_ignore_mask",
    "N17": "the MSI core frees irqs that are still active",
    "PRE": "boot calls apic_post_init where it did before the series",
    "INIT-C": "no remapping unit covers a device",
    "INIT-L": "remapping is switched on when there are devices already",
    "INIT-U": "the remapping unit of a device changes while the device is there",
    "IOA-pin": "a pin is added to an ISA irq that is active",
    "U": "two interrupts of a domain have one hwirq",
    "F5": "the domains of AMD-Vi are parents although nothing is remapped",
    "F21": "a VT-d unit whose set-up fails late keeps its domains",
    "IRC-3": "somebody asks the remapping core for the domain of a PCI device",
    "INT-scan": "the look through the devices ends at the first that no unit could name",
    "INT-scope": "firmware takes a device for a bridge, or the reverse",
    "AMD-probe": "AMD-Vi remaps, and does not meet a device",
    "INT-10": "a block of VT-d entries leaks if its first irq cannot be set up",
    "INT-13": "a CPU is up whose APIC id VT-d's destinations have no room for",
    "INT-null": "VT-d looks into the level of an irq that has none",
    "INT-type": "VT-d finds out late that it does not know the kind of a requester",
    "INT-vcpu": "a virtual CPU gets an interrupt of VT-d that is not active",
    "AMD-01": "AMD-Vi looks into the level of an irq that has none",
    "AMD-3": "an IO-APIC takes entries of an AMD-Vi table that others have",
    "AMD-6": "two pins have one entry of an AMD-Vi table, or a pin's number is above 31",
    "AMD-alias": "AMD-Vi gives a device a new table although an alias of it has one",
    "AMD-copy": "an allocation of AMD-Vi that fails keeps the copies of entries",
    "AMD-DTE": "AMD-Vi announces 256 of the 512 entries of a table",
    "AMD-vcpu": "a virtual CPU gets an interrupt of AMD-Vi that was never active",
    "DOM-realloc": "a failed allocation frees a descriptor that was there before",
    "F13": "the PCI code masks a fully virtualised Xen guest's MSIs, which the hypervisor owns",
    "F14": "the PCI core asks the MSI domain of a Xen guest for a flag that it does not have",
    "F15": "the teardown of a Xen guest's MSIs leaves the irq in their descriptors",
    "F17": "masks are ignored in a Xen guest altogether, not of the devices of its domain alone",
    "R1": "a Xen guest is asked for the initial domain before its kind, and a PVH guest is asked",
    "XEN-leak": "an initial domain leaves a pirq mapped that it cannot bind",
    "XEN-unmap": "an irq whose pirq the hypervisor does not unmap is kept, and forgotten",
    "DEV-D5": "a domain of device MSI is made where no parent composes messages",
    "DOM-trim": "a chain that fails the check of its chips is dropped, not freed by its domains",
    "F2": "remapping drivers have nothing to say of virtual functions",
    "VMD-24": "the domain of a VMD has the bus token of all others",
    "VMD-03": "the domain of a VMD is on top of the VECTOR domain",
    "VMD-7": "a VMD uses more vectors than a child's message can tell apart",
    "PLT-2": "a platform domain has no set_desc",
    "PLT-5": "an allocation that fails in the middle keeps the irqs that it made",
    "PLT-6": "the private data of a platform device is freed before its irqs",
    "PLT-7": "the chip of a platform domain has no irq_ack of its own",
    "PLT-index": "the indices of a device domain grow for ever",
    "HV-send": "what a guest of Hyper-V says to the host is lost",
    "HV-reuse": "a message of Hyper-V's is used again after a move",
    "DEV-D2": "nobody sets the hwirq of a device MSI",
    "DEV-D3": "an allocation of device MSI that fails keeps its slots and irqs",
    "DEV-D6": "two allocations may find the same slot free",
    "DEV-D7": "a slot that is reset is unmasked, and a fresh one taken as it is",
    "DEV-D8": "writes to a slot are not flushed",
    "DEV-D9": "the hwirq of a device MSI has 16 bits",
    "DEV-D10": "a subdevice with irqs may allocate again",
    "DEV-42": "an affinity change does not lock the bus of the chip",
    "DEV-early": "early activation does not lock the bus of the chip",
}
"""The hazards (section 3.9), the defects (sections 2.6, 5.9 and 13) and the assumptions of
sections 5.9, 9.3 and 11.3 that can be switched on; all are off."""
