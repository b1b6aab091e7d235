# SPDX-License-Identifier: GPL-2.0-only
"""The actions of the remapping core and of the drivers' way to devices; operations; theorems."""

from __future__ import annotations

from spec.alike import alike
from spec.devices import UNIT
from spec.remapping import (
    ID,
    OPS,
    OPTION_DOMAIN,
    TYPE,
    concerns,
    is_virtual,
    parent_of,
    remapping,
    stored,
    vendor,
)
from spec.routing import DEVICE
from spec.sorts import DOMAIN
from spec.state import State
from spec.terms import BOOL, TRUE, Term, and_, exists, forall, implies, none

# --- boot -----------------------------------------------------------------------------------


def _make(s: State, unit: Term, domain: Term, msi_domain: Term) -> None:
    new = (s.parent[domain] == none(DOMAIN)) & (s.unit_behind[domain] == none(UNIT))
    absent = msi_domain == none(DOMAIN)
    s.require(s.ir_domain[unit] == none(DOMAIN), new, ~(domain == s.vector_domain))
    s.require(~s.pci_msi[domain], implies(~absent, s.pci_msi[msi_domain]))
    s.require((s.parent[msi_domain] == none(DOMAIN)), s.unit_behind[msi_domain] == none(UNIT))
    s.ir_domain[unit] = domain
    s.ir_msi_domain[unit] = msi_domain
    s.parent[domain] = s.vector_domain
    s.parent[msi_domain] = domain
    s.unit_behind[domain] = unit
    s.unit_behind[msi_domain] = unit


@remapping.action(unit=UNIT, domain=DOMAIN, msi_domain=OPTION_DOMAIN)
def intel_setup_irq_remapping(s: State, unit: Term, domain: Term, msi_domain: Term) -> None:
    """A unit gets its table and its domains; nobody looks whether the inner one could be made."""
    s.require(~s.prepared, s.intel_works, ~s.unit_ready[unit])
    _make(s, unit, domain, msi_domain)
    s.unit_ready[unit] = True


@remapping.action(only_with="F21", unit=UNIT, domain=DOMAIN, msi_domain=OPTION_DOMAIN)
def intel_setup_irq_remapping_fails(s: State, unit: Term, domain: Term, msi_domain: Term) -> None:
    """v5.10 keeps both domains of a unit whose set-up fails behind them."""
    s.require(~s.prepared, ~s.unit_ready[unit])
    _make(s, unit, domain, msi_domain)


@remapping.action(unit=UNIT)
def intel_teardown_irq_remapping(s: State, unit: Term) -> None:
    """A unit loses both: before anybody was in charge, or as remapping could not be enabled."""
    s.require(s.unit_ready[unit], s.remap_ops == OPS.NONE)
    _unmake(s, unit)


def _unmake(s: State, unit: Term) -> None:
    s.unit_ready[unit] = False
    s.ir_domain[unit] = None
    s.ir_msi_domain[unit] = None


@remapping.action(unit=UNIT, domain=DOMAIN, msi_domain=OPTION_DOMAIN)
def amd_iommu_create_irq_domain(s: State, unit: Term, domain: Term, msi_domain: Term) -> None:
    """A unit gets its domains while firmware's table is read; nobody looks at the inner one."""
    s.require(~s.prepared, ~s.intel_works, ~s.unit_ready[unit])
    _make(s, unit, domain, msi_domain)
    s.unit_ready[unit] = True


@remapping.action(domain=DOMAIN)
def hyperv_prepare_irq_remapping(s: State, domain: Term) -> None:
    """Hyper-V's driver makes its one domain."""
    s.require(~s.prepared, s.hyperv_works, ~s.intel_works, ~s.amd_works)
    s.require(s.hv_domain == none(DOMAIN), s.parent[domain] == none(DOMAIN))
    s.require(~(domain == s.vector_domain), s.unit_behind[domain] == none(UNIT))
    s.require(~s.pci_msi[domain])
    s.hv_domain = domain
    s.parent[domain] = s.vector_domain


@remapping.action(driver=OPS)
def irq_remapping_prepare(s: State, driver: Term) -> None:
    """The first driver that finds its hardware takes charge, once."""
    s.require(~s.prepared, driver == vendor(s))
    s.require(implies(driver == OPS.HYPERV, ~(s.hv_domain == none(DOMAIN))))
    s.prepared = True
    s.remap_ops = driver


@remapping.action(enabled=BOOL)
def irq_remapping_enable(s: State, enabled: Term) -> None:
    """Remapping is switched on, before anybody builds on a unit or has a device. VT-d units that
    cannot be lose their domains; Hyper-V's driver answers with a mode, and nothing is remapped."""
    units = (s.remap_ops == OPS.INTEL) | (s.remap_ops == OPS.AMD)
    s.require(s.prepared, ~s.tried, implies(enabled, units))
    s.require(forall(DEVICE, lambda d: ~s.added[d]))
    s.tried = True
    s.irq_remapping_enabled = enabled
    with s.each(UNIT, "u", lambda _: (s.remap_ops == OPS.INTEL) & ~enabled) as u:
        _unmake(s, u)


@remapping.action(type=TYPE, devid=ID, domain=OPTION_DOMAIN)
def irq_remapping_get_irq_domain(s: State, type: Term, devid: Term, domain: Term) -> None:
    """An IO-APIC or an HPET asks what to build on; none: the vector domain. Anything else gets a
    warning, and none; nobody asks (IRC-3)."""
    parent = (type == TYPE.IOAPIC_GET_PARENT) | (type == TYPE.HPET_GET_PARENT)
    s.require(s.tried, domain == parent_of(s, type, devid))
    s.assume("IRC-3", parent)
    with s.when(parent):
        s.given[devid] = domain
    with s.when(~parent):
        s.warned = True


# --- devices --------------------------------------------------------------------------------


@remapping.action(device=DEVICE, domain=OPTION_DOMAIN)
def pci_device_add(s: State, device: Term, domain: Term) -> None:
    """A device comes, with what it inherits: at boot before the driver has looked at any, or later.
    Virtual functions are made by the driver of the physical one."""
    s.require(s.tried, ~s.added[device], domain == s.inherits[device])
    s.require(implies(is_virtual(s, device), s.scanned & s.added[s.physfn[device]]))
    s.require(implies(is_virtual(s, device), ~s.store_due[s.physfn[device]]))
    s.assume("INT-scope", implies(s.remap_ops == OPS.INTEL, ~s.mismatch[device]))
    amd = and_(s.remap_ops == OPS.AMD, s.irq_remapping_enabled)
    s.assume("AMD-probe", implies(amd, ~s.unprobed[device] & ~(s.unit_of[device] == none(UNIT))))
    s.added[device] = True
    s.msi_domain[device] = domain
    s.store_due[device] = s.scanned & concerns(s, device)


@remapping.action()
def dmar_dev_scope_init(s: State) -> None:
    """The driver looks through the devices that are there: VT-d's, or AMD-Vi's. v5.10 ends the look
    at the first one that no unit could name (INT-scan)."""
    s.require(s.tried, ~s.scanned)
    s.scanned = True

    def reached(d: Term) -> Term:
        return ~exists(DEVICE, lambda e: and_(s.earlier[e, d], s.added[e], s.unnamed[e]))

    other = ~(s.remap_ops == OPS.INTEL)
    with s.each(DEVICE, "d", lambda d: s.added[d] & concerns(s, d)) as d:
        s.store_due[d] = reached(d) | other if s.on("INT-scan") else TRUE


@remapping.action(device=DEVICE, domain=OPTION_DOMAIN)
def set_device_msi_domain(s: State, device: Term, domain: Term) -> None:
    """The driver stores the domain of the device's unit, which may be none."""
    s.require(s.store_due[device], domain == stored(s, device))
    s.msi_domain[device] = domain
    s.store_due[device] = False


@remapping.action(device=DEVICE)
def pci_device_remove(s: State, device: Term) -> None:
    """A device goes, its virtual functions before it."""
    s.require(s.added[device], ~s.store_due[device])
    s.require(forall(DEVICE, lambda d: implies(s.physfn[d] == device, ~s.added[d])))
    s.added[device] = False
    s.msi_domain[device] = None


# --- operations -----------------------------------------------------------------------------

remapping.operation(unit=UNIT, domain=DOMAIN, msi_domain=OPTION_DOMAIN)(intel_setup_irq_remapping)
remapping.operation(unit=UNIT)(intel_teardown_irq_remapping)
remapping.operation(unit=UNIT, domain=DOMAIN, msi_domain=OPTION_DOMAIN)(amd_iommu_create_irq_domain)
remapping.operation(domain=DOMAIN)(hyperv_prepare_irq_remapping)
remapping.operation(driver=OPS)(irq_remapping_prepare)
remapping.operation(enabled=BOOL)(irq_remapping_enable)
remapping.operation(type=TYPE, devid=ID, domain=OPTION_DOMAIN)(irq_remapping_get_irq_domain)
remapping.operation(device=DEVICE)(pci_device_remove)
remapping.operation(only_with="F21", unit=UNIT, domain=DOMAIN, msi_domain=OPTION_DOMAIN)(
    intel_setup_irq_remapping_fails
)


@remapping.operation(device=DEVICE)
def add_device(s: State, device: Term) -> None:
    """A device comes, and the driver stores its domain before anybody else sees it."""
    pci_device_add(s, device, s.inherits[device])
    with s.when(s.store_due[device]):
        set_device_msi_domain(s, device, stored(s, device))


@remapping.operation()
def look_through(s: State) -> None:
    """The driver looks at every device."""
    dmar_dev_scope_init(s)
    with s.each(DEVICE, "d", lambda d: s.store_due[d]) as d:
        set_device_msi_domain(s, d, stored(s, d))


# --- theorems -------------------------------------------------------------------------------


@remapping.theorem(
    "IRC-4", "Asking changes nothing but the answer.", type=TYPE, devid=ID, domain=OPTION_DOMAIN
)
def purity(before: State, s: State, type: Term, devid: Term, domain: Term) -> Term:
    irq_remapping_get_irq_domain(s, type, devid, domain)
    names = ("given", "warned")
    kept = (f for f in remapping.fields.values() if not f.rigid and f.name not in names)
    return alike(before, s, kept)


@remapping.theorem(
    "IRC-3", "A PCI device that asks gets none.", type=TYPE, devid=ID, domain=OPTION_DOMAIN
)
def no_domain_for_pci(before: State, s: State, type: Term, devid: Term, domain: Term) -> Term:
    s.require(type == TYPE.PCI_MSI, domain == parent_of(s, type, devid))
    return domain == none(DOMAIN)


@remapping.theorem("IRC-1", "Who is in charge stays so.", driver=OPS)
def charge_stays(before: State, s: State, driver: Term) -> Term:
    irq_remapping_prepare(s, driver)
    return before.remap_ops == OPS.NONE


@remapping.theorem(
    "INT-15", "A device for which there is no unit ends without a domain (trap 10).", device=DEVICE
)
def erased(before: State, s: State, device: Term) -> Term:
    s.require(s.unit_of[device] == none(UNIT), s.remap_ops == OPS.INTEL)
    s.require(~is_virtual(s, device))
    set_device_msi_domain(s, device, stored(s, device))
    return s.msi_domain[device] == none(DOMAIN)


@remapping.theorem("INT-15", "A virtual function gets what its physical one has.", device=DEVICE)
def as_the_physical_one(before: State, s: State, device: Term) -> Term:
    s.require(is_virtual(s, device), s.remap_ops == OPS.INTEL)
    pci_device_add(s, device, s.inherits[device])
    set_device_msi_domain(s, device, stored(s, device))
    return s.msi_domain[device] == before.msi_domain[s.physfn[device]]
