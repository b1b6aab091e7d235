# SPDX-License-Identifier: GPL-2.0-only
"""What each hazard and defect breaks in the specification, and the smallest machine that shows it.

A row names the switches that are on together, because some defects need a situation before they
show: MX-D2 and H6 need an interrupt left on an offline CPU (H2), H5 miscounts only where the matrix
counts a free of a clear bit (MX-D3), and such a free needs a caller (E0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proofs.device_scopes import array, images, passed_through, platform, vmds
from proofs.explorer import Exploration, Limit, explore
from proofs.msi_scopes import msi
from proofs.platform_scopes import io_apic, pci, units, uv
from proofs.remapping_scopes import amd_vi, remapped, vt_d
from proofs.scopes import domains
from proofs.xen_scopes import guest
from spec.scope import Scope
from spec.stack import MODELS


@dataclass(frozen=True, slots=True)
class SpecHunt:
    """The switches, the machine, the invariant that falls, and after how many operations."""

    switches: frozenset[str]
    scope: Scope
    invariant: str
    steps: int
    layer: str = "vectors"


def _row(
    switches: str, scope: Scope, invariant: str, steps: int, layer: str = "vectors"
) -> SpecHunt:
    return SpecHunt(frozenset(switches.split()), scope, invariant, steps, layer)


_TINY = Scope.of(2, 1, 1)
_CASCADE = Scope.of(1, 2, 1, isa_irq={1: 0})
"""One of two vectors is the ISA vector of the only interrupt: boot may make it a system vector."""

_ONE_BEYOND = Scope(
    {"Cpu": 1, "Vector": 2, "Irq": 1},
    {
        "matrix_bit": {(0,): True, (1,): False},
        "allocatable": {(0,): True, (1,): False},
        "alloc_size": {(): 1},
    },
)
"""The second vector is the first number that is no bit of the matrix."""

_LEGACY = domains(1, 1, 1, legacy=frozenset({0}))

_TWO_PINS = io_apic("STRICT", 1, 1, legacy=1, isa_pins=2)

SPEC_HUNTS: Mapping[str, SpecHunt] = {
    "H1": _row("H1", Scope.of(2, 2, 1), "VEC-10", 7),
    "H2": _row("H2", _TINY, "VEC-12", 6),
    "H3": _row("H3", _TINY, "MX-6", 5),
    "H4": _row("H4", Scope.of(3, 1, 1), "VEC-6", 8),
    "H5": _row("H5 MX-D3", _CASCADE, "MX-3", 3),
    "H6": _row("H2 H6", Scope.of(2, 1, 2), "VEC-22", 7),
    "H7": _row("H7", _TINY, "VEC-15", 3),
    "H8": _row("H8", Scope.of(3, 1, 2), "VEC-12", 10),
    "MX-D1": _row("MX-D1", _TINY, "MX-6", 5),
    "MX-D2": _row("MX-D2 H2", _TINY, "MX-9", 6),
    "MX-D3": _row("MX-D3 E0", Scope.of(1, 1, 1), "MX-3", 2),
    "MX-D4": _row("MX-D4", _ONE_BEYOND, "MX-1", 1),
    "N1": _row("N1", units(2), "MSI-2", 2, "devices"),
    "N2": _row("N2", units(1), "MSI-1", 1, "devices"),
    "N3": _row("N3", pci(), "INIT-1", 6, "routing"),
    "N4": _row("N4", pci(), "PCI-fallbacks", 1, "routing"),
    "N6": _row("N6", msi(1, 1, vmd=True), "MSI-5", 6, "msi"),
    "N7": _row("N7", msi(2, 1, has_msi_free=True), "MSI-N7", 4, "msi"),
    "N8": _row("N8", msi(2, 1), "MSI-N8", 6, "msi"),
    "N13": _row("N13", uv(1, 1, 1), "UV-3", 3, "uv"),
    "N14": _row("N14", msi(1, 1, ignore_mask=True), "MSI-6", 7, "msi"),
    "N17": _row("N17", msi(1, 1), "MSI-N17", 6, "msi"),
    "PRE": _row("PRE", pci(), "INIT-post", 5, "routing"),
    "INIT-C": _row("INIT-C", pci(), "INIT-4", 17, "routing"),
    "INIT-L": _row("INIT-L", pci(), "INIT-4", 14, "routing"),
    "INIT-U": _row("INIT-U", pci(), "INIT-4", 16, "routing"),
    "IOA-pin": _row("IOA-pin", _TWO_PINS, "IOA-5", 4, "ioapic"),
    "U": _row("U", domains(2, 1, 1), "DOM-5", 3, "hierarchy"),
    "DOM-realloc": _row("DOM-realloc", _LEGACY, "DOM-7", 3, "hierarchy"),
    "DOM-trim": _row("DOM-trim", domains(1, 1, 1), "DOM-7", 2, "hierarchy"),
    "F5": _row("F5", remapped("AMD"), "IRC-5", 4, "remapping"),
    "F21": _row("F21", remapped("INTEL"), "INT-14", 1, "remapping"),
    "IRC-3": _row("IRC-3", remapped("NONE"), "IRC-3", 3, "remapping"),
    "INT-scan": _row(
        "INT-scan", remapped("INTEL", devices=2, unnamed=True), "INT-15", 5, "remapping"
    ),
    "INT-scope": _row("INT-scope", remapped("INTEL", mismatch=True), "SEL-3", 4, "remapping"),
    "AMD-probe": _row("AMD-probe", remapped("AMD", mismatch=True), "SEL-3", 4, "remapping"),
    "INT-10": _row("INT-10", vt_d(("HPET",), 1, levels=False), "INT-10", 2, "intel_ir"),
    "INT-13": _row("INT-13", vt_d(("HPET",), 1, narrow=False), "INT-13", 3, "intel_ir"),
    "INT-null": _row("INT-null", vt_d(("HPET",), 1, levels=False), "INT-null", 1, "intel_ir"),
    "INT-type": _row("INT-type", vt_d(("OTHER",), 1), "INT-type", 1, "intel_ir"),
    "INT-vcpu": _row("INT-vcpu", vt_d(("PCI_MSIX",), 1), "INT-7", 3, "intel_ir"),
    "AMD-01": _row("AMD-01", amd_vi(("HPET",), 1, levels=False), "AMD-11", 1, "amd_ir"),
    "AMD-3": _row("AMD-3", amd_vi(("HPET",), 1, low=1), "AMD-2", 3, "amd_ir"),
    "AMD-6": _row("AMD-6", amd_vi(("IOAPIC",) * 2, 1, low=1), "AMD-4", 4, "amd_ir"),
    "AMD-alias": _row(
        "AMD-alias", amd_vi(("HPET",), 1, devids=3, hub=2, tables=2), "AMD-1", 2, "amd_ir"
    ),
    "AMD-copy": _row("AMD-copy", amd_vi(("PCI_MSI",), 2, counts=(1, 2)), "AMD-10", 2, "amd_ir"),
    "AMD-DTE": _row("AMD-DTE", amd_vi(("HPET",), 1, near=0), "AMD-DTE", 1, "amd_ir"),
    "AMD-vcpu": _row("AMD-vcpu", amd_vi(("HPET",), 1, vapic=True), "AMD-9", 3, "amd_ir"),
    "F13": _row("F13", guest("HVM_PIRQ", 1, 1), "XB-10", 5, "xen"),
    "F14": _row("F14", guest("HVM_PIRQ", 1, 1), "XB-14", 5, "xen"),
    "F15": _row("F15", guest("HVM_PIRQ", 1, 1), "XEN-10", 9, "xen"),
    "F17": _row("F17", guest("PV_DOM0", 1, 1), "XB-10'", 3, "xen"),
    "R1": _row("R1", guest("PVH_DOM0", 1, 1), "XB-17", 1, "xen"),
    "XEN-leak": _row("XEN-leak", guest("PV_DOM0", 1, 1), "XEN-leak", 6, "xen"),
    "XEN-unmap": _row("XEN-unmap", guest("PV_DOM0", 1, 1), "XEN-unmap", 8, "xen"),
    "DEV-D5": _row("DEV-D5", guest("PV_DOM0", 1, 1), "XB-15", 4, "xen"),
    "F2": _row("F2", pci(virtual=True), "SEL-3", 16, "routing"),
    "VMD-24": _row("VMD-24", pci(vmd=True), "INIT-5", 15, "routing"),
    "VMD-03": _row("VMD-03", vmds(2, 1), "VMD-5", 3, "vmd"),
    "VMD-7": _row("VMD-7", vmds(3, 2, told=1), "VMD-7", 5, "vmd"),
    "PLT-2": _row("PLT-2", platform(1, 2, 2), "PLT-free", 6, "platform_msi"),
    "PLT-5": _row("PLT-5", platform(1, 2, 2), "PLT-5", 7, "platform_msi"),
    "PLT-6": _row("PLT-6", platform(1, 1, 1), "PLT-6", 6, "platform_msi"),
    "PLT-7": _row("PLT-7", platform(1, 1, 1), "PLT-7", 1, "platform_msi"),
    "PLT-index": _row(
        "PLT-index", platform(2, 2, 2, most=1, grows=True), "PLT-2", 5, "platform_msi"
    ),
    "HV-send": _row("HV-send", passed_through(("PCI",)), "HVP-1", 4, "hyperv"),
    "HV-reuse": _row("HV-reuse", passed_through(("PCI",), vectors=2), "HVP-target", 4, "hyperv"),
    "DEV-D2": _row("DEV-D2", array(1, 2, 1), "IMS-2", 6, "ims"),
    "DEV-D3": _row("DEV-D3", array(1, 1, 1), "IMS-1", 6, "ims"),
    "DEV-D6": _row("DEV-D6", array(2, 1, 2), "IMS-1", 7, "ims"),
    "DEV-D7": _row("DEV-D7", array(1, 1, 1), "IMS-3", 1, "ims"),
    "DEV-D8": _row("DEV-D8", array(1, 1, 1), "IMS-8", 1, "ims"),
    "DEV-D9": _row("DEV-D9", array(1, 2, 2, told=1), "IMS-2", 4, "ims"),
    "DEV-D10": _row("DEV-D10", array(1, 2, 2), "IMS-1", 10, "ims"),
    "DEV-42": _row("DEV-42", images(1, 2), "IMS-9", 5, "ims_queue"),
    "DEV-early": _row("DEV-early", images(1, 1), "IMS-9", 2, "ims_queue"),
}
"""For each switch the invariant that the dossier names, and the length of the shortest run. E0 has
no row: where the matrix has its fix, a double free changes nothing. Nor has H9, which the hunts of
the implementation find: the specification lets no walk look at the effective mask."""


def hunt(name: str, limit: Limit | None = None) -> Exploration:
    """Search for the shortest run that breaks the row's invariant; KeyError for an unknown name."""
    row = SPEC_HUNTS[name]
    model = MODELS[row.layer].build(row.switches)
    return explore(model, row.scope, invariants=(row.invariant,), limit=limit)


def control(name: str, limit: Limit | None = None) -> Exploration:
    """The same search with every switch off, for every invariant."""
    row = SPEC_HUNTS[name]
    return explore(MODELS[row.layer].build(), row.scope, limit=limit)
