# SPDX-License-Identifier: GPL-2.0-only
"""Boot: interrupt modes, the platform's hooks, and the order in which they run (section 11.1).

From the detection of the platform to the end of the PCI architecture set-up, one step after the
other. What a step may find is what the later ones rely on: a platform that brings a PCI/MSI domain
of its own must have said so before the default domain is made (`spec.routing`).

With the switch PRE the order is that of the stack before the series: apic_post_init is a part of
default_setup_apic_routing, and so does not run where no routing is set up.
"""

from __future__ import annotations

from spec.language import Layer
from spec.state import State
from spec.terms import BOOL, FALSE, Enum, Term, and_, ite, or_

MODE = Enum(
    "Mode",
    (
        "PIC",  # the local APIC is disabled
        "VIRTUAL_WIRE",
        "VIRTUAL_WIRE_NO_CONFIG",
        "SYMMETRIC_IO",
        "SYMMETRIC_IO_NO_ROUTING",
    ),
)
"""apic_intr_mode."""

PLATFORM = Enum("Platform", ("NATIVE", "PV_DOM0", "PV_DOMU", "HVM_PIRQ"))
"""What the machine turns out to be: bare metal, or a Xen guest that brings its own domain."""

STEP = Enum(
    "Step",
    (
        "START",
        "BUILT",  # the configuration is known
        "DETECTED",  # the platform is known
        "IRQS",  # init_IRQ has run
        "SELECTED",  # the interrupt mode is known
        "ROUTED",  # routing is set up
        "POST_INIT",  # apic_post_init has run
        "BSP",  # the interrupt mode is set up
        "PCI",  # x86_init.pci.arch_init has run
    ),
)

TIMES = Enum("Times", ("NEVER", "ONCE", "AGAIN"))

boot = Layer("boot", ())

boot.field("step", type=STEP, doc="how far boot has come")
boot.field("hypervisor", type=PLATFORM, doc="the platform")
boot.field("apic_intr_mode", type=MODE, doc="the interrupt mode")
boot.field("routed", doc="default_setup_apic_routing has run")
boot.field("post_inits", type=TIMES, doc="how often apic_post_init has run")
boot.field("overridden", doc="x86_init.irqs.create_pci_msi_domain is the platform's own")
boot.field("fallbacks_selected", doc="CONFIG_PCI_MSI_ARCH_FALLBACKS")
boot.field("fallbacks_built", doc="the arch_setup_msi_irqs functions are compiled")
boot.field("fallbacks_declared", doc="the header declares them")
boot.field("stubs_declared", doc="the header has inline stubs in their place")


# --- words for the formulas -----------------------------------------------------------------


def routed_mode(s: State) -> Term:
    """The interrupt mode is one for which routing is set up."""
    return or_(
        s.apic_intr_mode == MODE.VIRTUAL_WIRE,
        s.apic_intr_mode == MODE.VIRTUAL_WIRE_NO_CONFIG,
        s.apic_intr_mode == MODE.SYMMETRIC_IO,
    )


def set_up(s: State) -> Term:
    """The interrupt mode is set up."""
    return (s.step == STEP.BSP) | (s.step == STEP.PCI)


def mode_known(s: State) -> Term:
    """The interrupt mode is selected."""
    return or_(s.step == STEP.SELECTED, s.step == STEP.ROUTED, s.step == STEP.POST_INIT, set_up(s))


def overrides(s: State) -> Term:
    """The platform brings a PCI/MSI domain of its own. A guest with event channels for its
    interrupts does so in a hook that a machine without a local APIC never calls."""
    guest = (s.hypervisor == PLATFORM.PV_DOM0) | (s.hypervisor == PLATFORM.PV_DOMU)
    return guest | ((s.hypervisor == PLATFORM.HVM_PIRQ) & ~(s.apic_intr_mode == MODE.PIC))


# --- actions --------------------------------------------------------------------------------


@boot.action(selected=BOOL)
def pci_msi_arch_fallbacks(s: State, selected: Term) -> None:
    """The kernel is built, with CONFIG_PCI_MSI_ARCH_FALLBACKS or without. As posted, the header
    asked for a symbol that no configuration has (N4)."""
    s.require(s.step == STEP.START)
    s.fallbacks_selected = selected
    s.fallbacks_built = selected
    s.fallbacks_declared = False if s.on("N4") else selected
    s.stubs_declared = True if s.on("N4") else ~selected
    s.step = STEP.BUILT


@boot.action(platform=PLATFORM)
def init_hypervisor_platform(s: State, platform: Term) -> None:
    """The platform is detected."""
    s.require(s.step == STEP.BUILT)
    s.hypervisor = platform
    s.step = STEP.DETECTED


@boot.action()
def init_IRQ(s: State) -> None:
    """The initial domain of Xen sets its MSI functions up."""
    s.require(s.step == STEP.DETECTED)
    s.overridden = s.hypervisor == PLATFORM.PV_DOM0
    s.step = STEP.IRQS


@boot.action(mode=MODE)
def apic_intr_mode_select(s: State, mode: Term) -> None:
    """The interrupt mode is chosen, once."""
    s.require(s.step == STEP.IRQS)
    s.apic_intr_mode = mode
    s.step = STEP.SELECTED


@boot.action()
def default_setup_apic_routing(s: State) -> None:
    """Routing is set up. Before the series this function called apic_post_init itself."""
    s.require(s.step == STEP.SELECTED, routed_mode(s))
    s.routed = True
    s.step = STEP.ROUTED
    if s.on("PRE"):
        _post_init(s)


@boot.action()
def apic_post_init(s: State) -> None:
    """The platform's hook, after the switch over the modes: also where no routing is set up. Before
    the series there was no such call."""
    s.require(FALSE if s.on("PRE") else _modes_done(s))
    _post_init(s)
    s.step = STEP.POST_INIT


def _modes_done(s: State) -> Term:
    no_routing = (s.step == STEP.SELECTED) & (s.apic_intr_mode == MODE.SYMMETRIC_IO_NO_ROUTING)
    return (s.step == STEP.ROUTED) | no_routing


def _post_init(s: State) -> None:
    """A guest with event channels sets its MSI functions up."""
    s.post_inits = ite(s.post_inits == TIMES.NEVER, TIMES.ONCE, TIMES.AGAIN)
    s.overridden = s.overridden | (s.hypervisor == PLATFORM.HVM_PIRQ)


@boot.action()
def apic_bsp_setup(s: State) -> None:
    """The boot CPU and the IO-APICs are set up."""
    s.require(_modes_done(s) if s.on("PRE") else s.step == STEP.POST_INIT)
    s.step = STEP.BSP


@boot.action()
def pic_mode_kept(s: State) -> None:
    """In PIC mode nothing is switched, and nobody is called."""
    s.require(s.step == STEP.SELECTED, s.apic_intr_mode == MODE.PIC)
    s.step = STEP.BSP


@boot.action()
def pci_arch_init(s: State) -> None:
    """x86_init.pci.arch_init: an unprivileged guest sets its MSI functions up."""
    s.require(s.step == STEP.BSP)
    s.overridden = s.overridden | (s.hypervisor == PLATFORM.PV_DOMU)
    s.step = STEP.PCI


# --- invariants -----------------------------------------------------------------------------


@boot.invariant(
    "INIT-post",
    "apic_post_init runs once on every path but that of PIC mode, after routing and before the "
    "set-up of the boot CPU.",
    unless=("PRE",),
)
def post_init_once(s: State) -> Term:
    switched = ~(s.apic_intr_mode == MODE.PIC)
    return and_(
        (set_up(s) & switched).implies(s.post_inits == TIMES.ONCE),
        (~(s.post_inits == TIMES.NEVER)).implies(
            switched & or_(s.step == STEP.ROUTED, s.step == STEP.POST_INIT, set_up(s))
        ),
    )


@boot.invariant(
    "INIT-path",
    "There is one path on which apic_post_init did not run before the series: symmetric IO without "
    "routing.",
)
def new_path(s: State) -> Term:
    no_routing = s.apic_intr_mode == MODE.SYMMETRIC_IO_NO_ROUTING
    switched = (s.step == STEP.POST_INIT) | (set_up(s) & ~(s.apic_intr_mode == MODE.PIC))
    return and_(
        switched.implies(~s.routed == no_routing),
        s.routed.implies(routed_mode(s)),
        (s.step == STEP.ROUTED).implies(s.routed),
        s.routed.implies(or_(s.step == STEP.ROUTED, s.step == STEP.POST_INIT, set_up(s))),
    )


@boot.invariant("INIT-step", "What boot has not come to has not happened.")
def steps(s: State) -> Term:
    late = (s.step == STEP.PCI) & (s.hypervisor == PLATFORM.PV_DOMU)
    hook = (s.hypervisor == PLATFORM.HVM_PIRQ) & ~(s.post_inits == TIMES.NEVER)
    early = (s.hypervisor == PLATFORM.PV_DOM0) & (mode_known(s) | (s.step == STEP.IRQS))
    switched = (s.step == STEP.POST_INIT) | (set_up(s) & ~(s.apic_intr_mode == MODE.PIC))
    ran = s.routed if s.on("PRE") else switched
    return and_(
        s.overridden == or_(early, hook, late),
        s.post_inits == ite(ran, TIMES.ONCE, TIMES.NEVER),
        (s.step == STEP.POST_INIT).implies(~(s.apic_intr_mode == MODE.PIC)),
        mode_known(s) | (s.apic_intr_mode == MODE.PIC),
    )


@boot.invariant(
    "PCI-fallbacks",
    "The arch fallbacks are declared exactly if they are built, and stubs exactly if they are not.",
    unless=("N4",),
)
def fallbacks(s: State) -> Term:
    known = ~(s.step == STEP.START)
    return and_(
        s.fallbacks_built == s.fallbacks_selected,
        s.fallbacks_declared == s.fallbacks_built,
        s.stubs_declared == (known & ~s.fallbacks_built),
    )


# --- operations: boot runs alone, one action after the other --------------------------------

boot.operation(selected=BOOL)(pci_msi_arch_fallbacks)
boot.operation(platform=PLATFORM)(init_hypervisor_platform)
boot.operation()(init_IRQ)
boot.operation(mode=MODE)(apic_intr_mode_select)
boot.operation()(default_setup_apic_routing)
boot.operation()(apic_post_init)
boot.operation()(apic_bsp_setup)
boot.operation()(pic_mode_kept)
boot.operation()(pci_arch_init)
