# SPDX-License-Identifier: GPL-2.0-only
"""The core of interrupt remapping (drivers/iommu/irq_remapping.c, v5.10), and who asks it.

One driver at most takes charge at boot. Its units have two domains each: IO-APICs and HPETs build
on one, and ask the core for it; PCI devices have the other one stored, which lies on the first. The
actions are in `spec.remapping_actions`. Which unit serves a device is for the topology to say
(`unit_of`). A device is *settled* once remapping is through with it.
"""

from __future__ import annotations

from spec.devices import UNIT
from spec.language import Layer
from spec.routing import DEVICE
from spec.sorts import DOMAIN
from spec.state import State
from spec.terms import FALSE, Enum, Option, Sort, Term, and_, forall, implies, ite, none, or_

ID = Sort("Id")
"""IO-APICs and HPETs, by their ids."""

OPS = Enum("Ops", ("NONE", "INTEL", "AMD", "HYPERV"))
"""Whose irq_remap_ops."""

TYPE = Enum("Type", ("IOAPIC_GET_PARENT", "HPET_GET_PARENT", "PCI_MSI", "OTHER"))
"""The types of an irq_alloc_info, as far as the core is asked about them."""

OPTION_DOMAIN = Option(DOMAIN)

remapping = Layer("remapping", (DEVICE, DOMAIN, UNIT, ID))

remapping.field("disable_irq_remap", rigid=True, doc="the command line forbids it")
remapping.field("intel_works", rigid=True, doc="intel_prepare_irq_remapping returns 0")
remapping.field("amd_works", rigid=True, doc="amd_iommu_prepare returns 0")
remapping.field("hyperv_works", rigid=True, doc="hyperv_prepare_irq_remapping returns 0")
remapping.field("vector_domain", type=OPTION_DOMAIN, rigid=True, doc="x86_vector_domain")
remapping.field("pci_msi", DOMAIN, rigid=True, doc="the domain's bus token is PCI_MSI")
remapping.field("ioapic_unit", ID, type=Option(UNIT), rigid=True, doc="the unit of an IO-APIC")
remapping.field("hpet_unit", ID, type=Option(UNIT), rigid=True, doc="the unit of an HPET")
remapping.field("inherits", DEVICE, type=OPTION_DOMAIN, rigid=True, doc="its bus's, or the default")
remapping.field("unit_of", DEVICE, type=Option(UNIT), rigid=True, doc="the unit that matches it")
remapping.field("physfn", DEVICE, type=Option(DEVICE), rigid=True, doc="it is virtual: whose it is")
remapping.field("unnamed", DEVICE, rigid=True, doc="its segment has more than 16 bits")
remapping.field("mismatch", DEVICE, rigid=True, doc="firmware calls it a bridge, or the reverse")
remapping.field("earlier", DEVICE, DEVICE, rigid=True, doc="the look passes the first one before")
remapping.field("unprobed", DEVICE, rigid=True, doc="AMD-Vi does not meet it")

remapping.field("remap_ops", type=OPS, doc="who is in charge")
remapping.field("prepared", doc="irq_remapping_prepare has run")
remapping.field("tried", doc="irq_remapping_enable has run, if anybody is in charge")
remapping.field("irq_remapping_enabled", doc="interrupts are remapped")
remapping.field("unit_ready", UNIT, doc="the unit has its table and its domains")
remapping.field("ir_domain", UNIT, type=OPTION_DOMAIN, doc="the parent of IO-APICs and HPETs")
remapping.field("ir_msi_domain", UNIT, type=OPTION_DOMAIN, doc="the domain of PCI devices")
remapping.field("hv_domain", type=OPTION_DOMAIN, doc="HYPERV-IR-0")
remapping.field("unit_behind", DOMAIN, type=Option(UNIT), doc="whose table the domain stands for")
remapping.field("parent", DOMAIN, type=OPTION_DOMAIN, doc="the next domain inwards")
remapping.field("given", ID, type=OPTION_DOMAIN, doc="what the IO-APIC or HPET builds on")
remapping.field("warned", doc="the core was asked about something that is no parent")
remapping.field("scanned", doc="the driver has looked through the devices, and hears of new ones")
remapping.field("added", DEVICE, doc="the device exists")
remapping.field("msi_domain", DEVICE, type=OPTION_DOMAIN, doc="the device's msi_domain")
remapping.field("store_due", DEVICE, transient=True, doc="the driver is to store the domain")


@remapping.axiom
def topology(s: State) -> Term:
    """A virtual function is on the bus of a physical one, and below no VMD; the vector domain is
    none of PCI."""

    def virtual(d: Term) -> Term:
        pf = s.physfn[d]
        plain = and_(s.physfn[pf] == none(DEVICE), s.inherits[d] == s.inherits[pf])
        same = and_(s.unit_of[d] == s.unit_of[pf], ~(pf == d), ~s.unnamed[d])
        return implies(~(pf == none(DEVICE)), plain & same)

    return and_(
        ~(s.vector_domain == none(DOMAIN)),
        ~s.pci_msi[s.vector_domain],
        forall(DEVICE, virtual),
        forall(DEVICE, lambda d: implies(s.unnamed[d], special(s, d))),
    )


# --- words for the formulas -----------------------------------------------------------------


def special(s: State, d: Term) -> Term:
    """pci_dev_has_special_msi_domain of a new device: true, too, without any domain."""
    return ~s.pci_msi[s.inherits[d]]


def is_virtual(s: State, d: Term) -> Term:
    """The device is a virtual function."""
    return ~(s.physfn[d] == none(DEVICE))


def vendor(s: State) -> Term:
    """The core asks Intel, AMD and Hyper-V, in this order."""
    hyperv = ite(s.hyperv_works, OPS.HYPERV, OPS.NONE)
    first = ite(s.intel_works, OPS.INTEL, ite(s.amd_works, OPS.AMD, hyperv))
    return ite(s.disable_irq_remap, OPS.NONE, first)


def parent_of(s: State, type: Term, id: Term) -> Term:
    """What the driver in charge answers. AMD's did so without remapping before v5.11 (F5)."""
    unit = ite(
        type == TYPE.IOAPIC_GET_PARENT,
        s.ioapic_unit[id],
        ite(type == TYPE.HPET_GET_PARENT, s.hpet_unit[id], none(UNIT)),
    )
    on = s.irq_remapping_enabled
    amd = s.remap_ops == OPS.AMD
    serves = (s.remap_ops == OPS.INTEL) | (amd if s.on("F5") else amd & on)
    hyperv = and_(s.remap_ops == OPS.HYPERV, type == TYPE.IOAPIC_GET_PARENT)
    return ite(serves, s.ir_domain[unit], ite(hyperv, s.hv_domain, none(DOMAIN)))


def stored(s: State, d: Term) -> Term:
    """What the driver in charge stores: the domain of the unit, be it none; a virtual function has
    what its physical one has (Intel)."""
    copies = (s.remap_ops == OPS.INTEL) & is_virtual(s, d)
    return ite(copies, s.msi_domain[s.physfn[d]], s.ir_msi_domain[s.unit_of[d]])


def concerns(s: State, d: Term) -> Term:
    """The driver in charge has something to store in the device. Intel's forgot about virtual
    functions at first (F2)."""
    intel, amd = s.remap_ops == OPS.INTEL, s.remap_ops == OPS.AMD
    plain = and_(s.irq_remapping_enabled, ~special(s, d))
    known = and_(~is_virtual(s, d), ~s.unnamed[d], ~s.mismatch[d])
    copies = FALSE if s.on("F2") else is_virtual(s, d)
    met = and_(~s.unprobed[d], ~(s.unit_of[d] == none(UNIT)))
    return or_(and_(intel, plain, known), and_(intel, copies), and_(amd, plain, met))


def settled(s: State, d: Term) -> Term:
    """Remapping is through with the device."""
    return and_(s.added[d], s.scanned, ~s.store_due[d])


def taken_up(s: State, d: Term) -> Term:
    """The device's interrupts are to be remapped."""
    return and_(settled(s, d), s.irq_remapping_enabled, ~special(s, d))


# --- invariants (sections 2.4, 3.8, 4.8, 5 and 10.6) ------------------------------------------


@remapping.invariant("IRC-1", "Whoever is in charge is so from the one preparation on.")
def charge(s: State) -> Term:
    return and_(
        s.remap_ops == ite(s.prepared, vendor(s), OPS.NONE),
        implies(s.tried | s.irq_remapping_enabled, s.prepared & s.tried),
    )


@remapping.invariant(
    "IRC-2",
    "What an IO-APIC or an HPET builds on lies directly on the vector domain, and is the parent of "
    "the domain that PCI devices of the same unit have.",
)
def parents(s: State) -> Term:
    def law(x: Term) -> Term:
        domain = s.given[x]
        unit = s.unit_behind[domain]
        own = (s.ir_domain[unit] == domain) | and_(s.remap_ops == OPS.HYPERV, s.hv_domain == domain)
        right = (s.parent[domain] == s.vector_domain) & own
        return implies(~(domain == none(DOMAIN)), right)

    return forall(ID, law)


@remapping.invariant(
    "IRC-3",
    "Nobody asks the core for the domain of a PCI device, and no IO-APIC or HPET builds on one.",
    unless=("IRC-3",),
)
def parents_only(s: State) -> Term:
    return ~s.warned & forall(ID, lambda x: ~s.pci_msi[s.given[x]])


@remapping.invariant(
    "IRC-5",
    "Nothing builds on a remapping unit while interrupts are not remapped.",
    unless=("F5",),
)
def no_parent_without(s: State) -> Term:
    units = (s.remap_ops == OPS.INTEL) | (s.remap_ops == OPS.AMD)
    idle = units & ~s.irq_remapping_enabled
    return forall(ID, lambda x: implies(idle, s.given[x] == none(DOMAIN)))


@remapping.invariant(
    "INT-14",
    "The domain of a unit's PCI devices lies on the unit's own, and that on the vector domain; a "
    "unit that is not set up has none.",
    unless=("F21",),
)
def chains(s: State) -> Term:
    def law(u: Term) -> Term:
        outer, inner = s.ir_domain[u], s.ir_msi_domain[u]
        nothing = (outer == none(DOMAIN)) & (inner == none(DOMAIN))
        right = and_(
            ~(outer == none(DOMAIN)) & ~s.pci_msi[outer],
            s.parent[outer] == s.vector_domain,
            s.unit_behind[outer] == u,
            implies(~(inner == none(DOMAIN)), and_(s.parent[inner] == outer, s.pci_msi[inner])),
            implies(~(inner == none(DOMAIN)), s.unit_behind[inner] == u),
        )
        return ite(s.unit_ready[u], right, nothing)

    return forall(UNIT, law)


@remapping.invariant(
    "INT-15",
    "Under VT-d a device has the domain of its unit, and a virtual function that of its physical "
    "one.",
    unless=("F2", "INT-scan", "INT-scope"),
)
def intel_devices(s: State) -> Term:
    def law(d: Term) -> Term:
        intel = taken_up(s, d) & (s.remap_ops == OPS.INTEL)
        own = s.msi_domain[d] == s.ir_msi_domain[s.unit_of[d]]
        return implies(intel, own)

    return forall(DEVICE, law)


@remapping.invariant(
    "AMD-12", "Under AMD-Vi a device has the domain of its unit.", unless=("AMD-probe",)
)
def amd_devices(s: State) -> Term:
    def law(d: Term) -> Term:
        amd = taken_up(s, d) & (s.remap_ops == OPS.AMD)
        own = s.msi_domain[d] == s.ir_msi_domain[s.unit_of[d]]
        return implies(amd, own)

    return forall(DEVICE, law)


@remapping.invariant("HVI-3", "Hyper-V's driver remaps nothing, and stores no domain.")
def hyperv(s: State) -> Term:
    idle = (s.remap_ops == OPS.HYPERV) | (s.remap_ops == OPS.NONE)
    untouched = forall(DEVICE, lambda d: implies(s.added[d], s.msi_domain[d] == s.inherits[d]))
    return implies(idle, ~s.irq_remapping_enabled & untouched)


@remapping.invariant(
    "SEL-3",
    "Where interrupts are remapped, the domain of a device that is no special one is a unit's, or "
    "there is none.",
    unless=("F2", "INT-scan", "INT-scope", "AMD-probe"),
    follows=True,
)
def remapped(s: State) -> Term:
    def law(d: Term) -> Term:
        domain = s.msi_domain[d]
        blocked = and_(~(domain == none(DOMAIN)), s.unit_behind[domain] == none(UNIT))
        return ~(taken_up(s, d) & blocked)

    return forall(DEVICE, law)


@remapping.invariant("SEL-6", "Nothing replaces a special domain.")
def special_stays(s: State) -> Term:
    return forall(
        DEVICE,
        lambda d: implies(s.added[d] & special(s, d), s.msi_domain[d] == s.inherits[d]),
    )


# --- what the others need to be inductive ----------------------------------------------------


@remapping.invariant(
    "IRC-boot", "Domains and devices come in the order of boot.", unless=("INT-scope", "AMD-probe")
)
def order_of_boot(s: State) -> Term:
    intel = s.remap_ops == OPS.INTEL
    amd = (s.remap_ops == OPS.AMD) & s.irq_remapping_enabled

    def there(d: Term) -> Term:
        met = ~s.unprobed[d] & ~(s.unit_of[d] == none(UNIT))
        pf = s.physfn[d]
        behind = and_(s.scanned, s.added[pf], ~s.store_due[pf])
        return and_(
            implies(~s.scanned, s.msi_domain[d] == s.inherits[d]),
            implies(is_virtual(s, d), behind),
            implies(intel, ~s.mismatch[d]),
            implies(amd, met),
        )

    def law(d: Term) -> Term:
        fresh = and_(s.scanned, concerns(s, d), s.msi_domain[d] == s.inherits[d])
        return and_(
            ite(s.added[d], there(d), s.msi_domain[d] == none(DOMAIN)),
            implies(s.store_due[d], s.added[d] & fresh),
        )

    torn_down = and_(s.tried, intel, ~s.irq_remapping_enabled)
    early = ~s.tried | (s.remap_ops == OPS.NONE)
    made = ~(s.hv_domain == none(DOMAIN))
    return and_(
        forall(DEVICE, law),
        implies(s.scanned, s.tried),
        forall(DEVICE, lambda d: implies(s.added[d], s.tried)),
        forall(ID, lambda x: implies(early, s.given[x] == none(DOMAIN))),
        forall(UNIT, lambda u: implies(torn_down, ~s.unit_ready[u])),
        implies(made, s.parent[s.hv_domain] == s.vector_domain),
        ~s.pci_msi[s.hv_domain],
    )
