# SPDX-License-Identifier: GPL-2.0-only
"""Which MSI domain a PCI device gets, and when (section 11.2), on top of the order of boot.

A bus takes the domain of the bridge above it, or of the host; a device takes that of its bus, else
the default one; then the remapping driver may put its own in the place. What came before the series
is here as a function, `looked_up`: the domain that it chose anew for every allocation.

A device is *settled* once nothing will change its domain any more; drivers come after that.
"""

from __future__ import annotations

from spec.boot import MODE, STEP, boot, overrides
from spec.sorts import DOMAIN
from spec.state import State
from spec.terms import Enum, Option, Sort, Term, and_, exists, forall, implies, ite, none, or_

DEVICE = Sort("Device")
BUS = Sort("Bus")


TOKEN = Enum("Token", ("ANY", "PCI_MSI", "VMD_MSI"))
"""The bus tokens of the domains that a PCI device can have."""

OPTION_DOMAIN = Option(DOMAIN)

routing = boot.extend("routing", (DEVICE, BUS, DOMAIN))

routing.field("bus", DEVICE, type=Option(BUS), rigid=True, doc="the bus that a device sits on")
routing.field("parent_bus", BUS, type=Option(BUS), rigid=True, doc="none: a root bus")
routing.field("bridge", BUS, type=Option(DEVICE), rigid=True, doc="the bridge above a bus")
routing.field("vmd", BUS, type=OPTION_DOMAIN, rigid=True, doc="the VMD domain of a bus below one")
routing.field("passed", BUS, type=OPTION_DOMAIN, rigid=True, doc="the domain of a Hyper-V bus")
routing.field("physical", DEVICE, type=Option(DEVICE), rigid=True, doc="a virtual function's own")
routing.field("token", DOMAIN, type=TOKEN, rigid=True, doc="the domain's bus token")
routing.field("hierarchy", DOMAIN, rigid=True, doc="IRQ_DOMAIN_FLAG_HIERARCHY")
routing.field("remapping", DOMAIN, rigid=True, doc="the MSI domain of a remapping unit")

routing.field("irq_remapping_enabled", doc="interrupt remapping is on")
routing.field("default_made", doc="the creator of the default domain has run")
routing.field("default_domain", type=OPTION_DOMAIN, doc="x86_pci_msi_default_domain")
routing.field("default_wrapped", doc="the default domain is the platform's own")
routing.field("scanning", doc="the PCI scan has begun")
routing.field("bus_added", BUS, doc="the bus exists")
routing.field("bus_domain", BUS, type=OPTION_DOMAIN, doc="the bus's msi_domain")
routing.field("unit", DEVICE, type=OPTION_DOMAIN, doc="the MSI domain of the unit that covers it")
routing.field("added", DEVICE, doc="the device exists")
routing.field("msi_domain", DEVICE, type=OPTION_DOMAIN, doc="the device's msi_domain")
routing.field("settled", DEVICE, doc="the device's msi_domain is final")
routing.field("served", DEVICE, type=OPTION_DOMAIN, doc="the domain that the device's irqs are of")
routing.field("refused", DEVICE, doc="the stub has answered -ENODEV")
routing.field("native_call", DEVICE, doc="an arch fallback was called for the device")


@routing.axiom
def topology(s: State) -> Term:
    """What is below a VMD or on a bus of Hyper-V's stays there, a bus has a bridge unless it is a
    root, and a domain has the token and the flag that its creator gives it. A virtual function is
    where its physical one is."""

    def law(b: Term) -> Term:
        root = s.parent_bus[b] == none(BUS)
        return and_(
            (s.bridge[b] == none(DEVICE)) == root,
            implies(~root, s.vmd[b] == s.vmd[s.parent_bus[b]]),
            implies(~root, s.passed[b] == s.passed[s.parent_bus[b]]),
            implies(~root, s.bus[s.bridge[b]] == s.parent_bus[b]),
            implies(below(s, b), s.hierarchy[s.vmd[b]] & (s.token[s.vmd[b]] == TOKEN.VMD_MSI)),
            implies(below(s, b), ~on_hyperv(s, b) & ~s.remapping[s.vmd[b]]),
            implies(on_hyperv(s, b), ordinary_domain(s, s.passed[b]) & ~s.remapping[s.passed[b]]),
        )

    def unit(x: Term) -> Term:
        return implies(s.remapping[x], ordinary_domain(s, x))

    def function(d: Term) -> Term:
        own = s.physical[d]
        near = (s.vmd[s.bus[d]] == s.vmd[s.bus[own]]) & (s.passed[s.bus[d]] == s.passed[s.bus[own]])
        return implies(is_virtual(s, d), ~is_virtual(s, own) & near)

    return and_(forall(BUS, law), forall(DOMAIN, unit), forall(DEVICE, function))


# --- words for the formulas -----------------------------------------------------------------


def below(s: State, bus: Term) -> Term:
    """The bus is below a VMD."""
    return ~(s.vmd[bus] == none(DOMAIN))


def on_hyperv(s: State, bus: Term) -> Term:
    """The bus is one that Hyper-V provides, with a domain of its own."""
    return ~(s.passed[bus] == none(DOMAIN))


def hosted(s: State, bus: Term) -> Term:
    """The host of the bus has a domain for it."""
    return below(s, bus) | on_hyperv(s, bus)


def host_domain(s: State, bus: Term) -> Term:
    """That domain."""
    return ite(below(s, bus), s.vmd[bus], s.passed[bus])


def ordinary_domain(s: State, domain: Term) -> Term:
    """The domain has the flag, and the token of most."""
    return s.hierarchy[domain] & (s.token[domain] == TOKEN.PCI_MSI)


def is_virtual(s: State, device: Term) -> Term:
    """The device is a virtual function."""
    return ~(s.physical[device] == none(DEVICE))


def unit_of(s: State, device: Term) -> Term:
    """The MSI domain of the unit that covers a device: for a virtual function its physical one."""
    return ite(is_virtual(s, device), s.unit[s.physical[device]], s.unit[device])


def token_of(s: State, domain: Term) -> Term:
    """The token of a domain; that of a VMD kept the one of all others before (VMD-24)."""
    token = s.token[domain]
    return ite(token == TOKEN.VMD_MSI, TOKEN.PCI_MSI, token) if s.on("VMD-24") else token


def found(s: State, device: Term) -> Term:
    """The device's domain, else its bus's (section 7.9)."""
    own, of_bus = s.msi_domain[device], s.bus_domain[s.bus[device]]
    return ite(own == none(DOMAIN), of_bus, own)


def has_special(s: State, device: Term) -> Term:
    """pci_dev_has_special_msi_domain: true, too, where there is no domain at all."""
    domain = found(s, device)
    return (domain == none(DOMAIN)) | ~(token_of(s, domain) == TOKEN.PCI_MSI)


def inherited(s: State, device: Term) -> Term:
    """What pcibios_add_device stores."""
    of_bus = s.bus_domain[s.bus[device]]
    return ite(of_bus == none(DOMAIN), s.default_domain, of_bus)


def set_again(s: State, device: Term) -> Term:
    """What pci_set_msi_domain would leave in the device."""
    own = s.msi_domain[device]
    return ite(own == none(DOMAIN), s.bus_domain[s.bus[device]], own)


def table(s: State, device: Term) -> Term:
    """The domain that a device has in the end, by the table of section 11.2."""
    special = or_(s.default_wrapped, s.default_domain == none(DOMAIN), ~s.irq_remapping_enabled)
    home = s.bus[device]
    usual = ite(special, s.default_domain, unit_of(s, device))
    return ite(hosted(s, home), host_domain(s, home), usual)


def looked_up(s: State, device: Term) -> Term:
    """What the stack before the series chose when an interrupt was allocated: a domain of the
    device's own, which only devices below a VMD and on buses of Hyper-V's had; the platform's
    functions, for which their wrapper stands here; the unit's domain; the default."""
    unit, home = unit_of(s, device), s.bus[device]
    remapped = and_(s.irq_remapping_enabled, ~s.default_wrapped, ~(unit == none(DOMAIN)))
    chosen = ite(remapped, unit, s.default_domain)
    return ite(hosted(s, home), host_domain(s, home), chosen)


# --- actions --------------------------------------------------------------------------------


@routing.action()
def irq_remapping_enable(s: State) -> None:
    """Remapping is switched on, as a part of the set-up of routing; in a guest of Hyper-V only in
    name, without this flag (HVI-3)."""
    s.require(s.routed, ~s.irq_remapping_enabled, ~exists(BUS, lambda b: on_hyperv(s, b)))
    s.assume("INIT-L", s.step == STEP.ROUTED)
    s.irq_remapping_enabled = True


@routing.action(domain=OPTION_DOMAIN)
def create_pci_msi_domain(s: State, domain: Term) -> None:
    """The default domain is made, by the platform's creator if there is one. The native one makes
    none without a local APIC or without memory. As posted it ran before arch_init (N3)."""
    s.require(s.step == (STEP.BSP if s.on("N3") else STEP.PCI), ~s.default_made)
    absent = domain == none(DOMAIN)
    kind = ite(s.overridden, TOKEN.ANY, TOKEN.PCI_MSI)
    s.require(absent | and_(s.token[domain] == kind, s.hierarchy[domain], ~s.remapping[domain]))
    s.require(implies(s.overridden, ~absent))
    s.require(implies(~s.overridden & (s.apic_intr_mode == MODE.PIC), absent))
    s.default_domain = domain
    s.default_wrapped = s.overridden
    s.default_made = True


@routing.action()
def pci_scan_begin(s: State) -> None:
    """PCI is enumerated after the architecture's initcall."""
    s.require(s.step == STEP.PCI, s.default_made, ~s.scanning)
    s.scanning = True


@routing.action(bus=BUS, domain=OPTION_DOMAIN)
def pci_set_bus_msi_domain(s: State, bus: Term, domain: Term) -> None:
    """A bus comes: it takes the domain of the bridge above, else what the bus above has; a root
    bus has one only from its host."""
    parent, bridge = s.parent_bus[bus], s.bridge[bus]
    root = parent == none(BUS)
    s.require(s.scanning, ~s.bus_added[bus], root | (s.bus_added[parent] & s.added[bridge]))
    above = ite(s.msi_domain[bridge] == none(DOMAIN), s.bus_domain[parent], s.msi_domain[bridge])
    s.require(domain == ite(root, host_domain(s, bus), above))
    s.bus_domain[bus] = domain
    s.bus_added[bus] = True


@routing.action(device=DEVICE, domain=DOMAIN)
def dmar_insert_dev_scope(s: State, device: Term, domain: Term) -> None:
    """A remapping unit covers the device: that is known when the device comes, and stays."""
    s.require(s.remapping[domain], ~is_virtual(s, device))
    s.assume("INIT-U", ~s.added[device])
    s.unit[device] = domain


@routing.action(device=DEVICE, domain=OPTION_DOMAIN)
def pci_device_add(s: State, device: Term, domain: Term) -> None:
    """A device comes, at boot or later; a virtual function once its physical one has a driver.
    Unless the remapping driver has something to say, that was all; it had nothing to say of virtual
    functions (F2)."""
    s.require(s.scanning, ~s.added[device], s.bus_added[s.bus[device]])
    s.require(domain == inherited(s, device))
    s.msi_domain[device] = domain
    s.added[device] = True
    s.require(implies(is_virtual(s, device), s.settled[s.physical[device]]))
    uncovered = unit_of(s, device) == none(DOMAIN)
    plain = s.irq_remapping_enabled & ~has_special(s, device)
    if s.on("F2"):
        plain &= ~is_virtual(s, device)
    s.assume("INIT-C", implies(plain, ~uncovered))
    s.settled[device] = ~plain | uncovered


@routing.action(device=DEVICE, domain=OPTION_DOMAIN)
def set_device_msi_domain(s: State, device: Term, domain: Term) -> None:
    """The remapping driver stores the domain of the device's unit, in a virtual function that of
    the physical one, but in no special device."""
    s.require(s.added[device], s.irq_remapping_enabled, ~s.settled[device])
    s.require(~(domain == none(DOMAIN)))
    own = ite(is_virtual(s, device), s.msi_domain[s.physical[device]], s.unit[device])
    s.require(~has_special(s, device), domain == own)
    s.msi_domain[device] = domain
    s.settled[device] = True


@routing.action(device=DEVICE, domain=OPTION_DOMAIN)
def pci_msi_setup_msi_irqs(s: State, device: Term, domain: Term) -> None:
    """A driver asks for interrupts: of the device's domain, or else of what the architecture has:
    nothing but a refusal, where no fallback was selected."""
    s.require(s.settled[device], s.served[device] == none(DOMAIN))
    s.require(domain == s.msi_domain[device])
    with s.when(s.hierarchy[domain]):
        s.served[device] = domain
    with s.when(~s.hierarchy[domain]):
        s.refused[device] = s.stubs_declared
        s.native_call[device] = s.fallbacks_declared


@routing.action(device=DEVICE)
def pci_msi_teardown_msi_irqs(s: State, device: Term) -> None:
    """The driver is done."""
    s.require(s.settled[device], ~(s.served[device] == none(DOMAIN)))
    s.served[device] = None


@routing.action(device=DEVICE)
def pci_device_remove(s: State, device: Term) -> None:
    """A device goes; a bridge only after its buses, which stay here, and a physical function after
    its virtual ones."""
    s.require(s.added[device], s.served[device] == none(DOMAIN))
    s.require(~exists(DEVICE, lambda d: s.added[d] & (s.physical[d] == device)))
    s.require(~exists(BUS, lambda b: s.bus_added[b] & (s.bridge[b] == device)))
    for bit in ("added", "settled", "refused", "native_call"):
        getattr(s, bit)[device] = False
    s.msi_domain[device] = None


# --- invariants (section 11.3) --------------------------------------------------------------


@routing.invariant(
    "INIT-1",
    "When the default domain is made, the platform has said already if it makes its own.",
    unless=("N3", "PRE"),
)
def override_in_time(s: State) -> Term:
    return s.default_made.implies(s.default_wrapped == overrides(s))


@routing.invariant("INIT-2", "No device and no bus is added before the default domain is final.")
def default_first(s: State) -> Term:
    return and_(
        s.scanning.implies(s.default_made),
        forall(DEVICE, lambda d: s.added[d].implies(s.scanning)),
        forall(BUS, lambda b: s.bus_added[b].implies(s.scanning)),
    )


@routing.invariant(
    "INIT-3",
    "A settled device has the domain that the table says.",
    unless=("INIT-C", "INIT-L", "INIT-U", "F2", "VMD-24"),
)
def domain_table(s: State) -> Term:
    bare = and_(s.apic_intr_mode == MODE.PIC, ~overrides(s))

    def law(d: Term) -> Term:
        alone = bare & ~hosted(s, s.bus[d])
        as_told = s.msi_domain[d] == table(s, d)
        return s.settled[d].implies(as_told & alone.implies(s.msi_domain[d] == none(DOMAIN)))

    return forall(DEVICE, law)


@routing.invariant(
    "INIT-4",
    "A settled device has the domain that was looked up at each allocation before the series, but "
    "for a machine that remaps and could not make its default domain.",
    unless=("INIT-C", "INIT-L", "INIT-U", "F2", "VMD-24"),
)
def same_as_before(s: State) -> Term:
    broken = s.irq_remapping_enabled & (s.default_domain == none(DOMAIN))
    return forall(
        DEVICE,
        lambda d: and_(s.settled[d], ~broken).implies(s.msi_domain[d] == looked_up(s, d)),
    )


@routing.invariant(
    "INIT-5", "Nothing replaces the domain of a VMD or of the platform.", unless=("VMD-24",)
)
def absorbing(s: State) -> Term:
    def law(d: Term) -> Term:
        home = s.bus[d]
        own = s.default_wrapped & ~hosted(s, home)
        return s.added[d].implies(
            and_(
                below(s, home).implies(s.msi_domain[d] == s.vmd[home]),
                own.implies(s.msi_domain[d] == s.default_domain),
            )
        )

    return forall(DEVICE, law)


@routing.invariant("PCI-9", "A device with a domain never reaches the arch fallbacks or a stub.")
def no_fallback(s: State) -> Term:
    return forall(
        DEVICE,
        lambda d: or_(s.refused[d], s.native_call[d]).implies(
            s.settled[d] & (s.msi_domain[d] == none(DOMAIN))
        ),
    )


@routing.invariant(
    "PCI-stub",
    "Where no fallback is selected, as on x86, a device without a domain is refused and no native "
    "function called.",
)
def refused_only(s: State) -> Term:
    return forall(DEVICE, lambda d: s.native_call[d].implies(s.fallbacks_selected))


@routing.invariant("SEL-4", "A device's domain does not change while its interrupts are of it.")
def same_domain(s: State) -> Term:
    def law(d: Term) -> Term:
        same = s.settled[d] & (s.served[d] == s.msi_domain[d])
        return (s.served[d] == none(DOMAIN)) | same

    return forall(DEVICE, law)


# --- operations: each is one action ---------------------------------------------------------

routing.operation()(irq_remapping_enable)
routing.operation(domain=OPTION_DOMAIN)(create_pci_msi_domain)
routing.operation()(pci_scan_begin)
routing.operation(bus=BUS, domain=OPTION_DOMAIN)(pci_set_bus_msi_domain)
routing.operation(device=DEVICE, domain=DOMAIN)(dmar_insert_dev_scope)
routing.operation(device=DEVICE, domain=OPTION_DOMAIN)(pci_device_add)
routing.operation(device=DEVICE, domain=DOMAIN)(set_device_msi_domain)
routing.operation(device=DEVICE, domain=OPTION_DOMAIN)(pci_msi_setup_msi_irqs)
routing.operation(device=DEVICE)(pci_msi_teardown_msi_irqs)
routing.operation(device=DEVICE)(pci_device_remove)
