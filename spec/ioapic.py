# SPDX-License-Identifier: GPL-2.0-only
"""The IO-APICs (arch/x86/kernel/apic/io_apic.c, v5.10): their state, and what must hold of it.

Which irq a pin has, who uses it and with what attributes, what its redirection entry says, and the
numbers that irqs get (sections 9 and 4.1). The actions are in `spec.ioapic_actions`. What the layer
needs of genirq and of the vector domain is here under the names that it has there; the actions with
those names promise a part of what theirs promise.

Numbers of irqs matter here, and elements have no order: `number` gives each its own.
"""

from __future__ import annotations

from spec.language import Layer
from spec.matrix import CPU, VECTOR
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import INT, Enum, Int, Option, Sort, Term, and_, exists, forall, implies, ite, none

IOAPIC = Sort("IoApic")
PIN = Sort("Pin")

KIND = Enum("Kind", ("INVALID", "LEGACY", "STRICT", "DYNAMIC"))
"""enum ioapic_domain_type."""

ENTRY = Enum(
    "Entry",
    (
        "SETTLED",  # nothing is to be done
        "OWED",  # the irq is active, and the entry does not say what its configuration says
    ),
)

ioapic = Layer("ioapic", (IRQ, CPU, VECTOR, DOMAIN, IOAPIC, PIN))

_NUMBER = Int((IRQ,))

ioapic.field("number", IRQ, type=_NUMBER, rigid=True, doc="the irq's number")
ioapic.field("legacy", IRQ, rigid=True, doc="the number is below nr_legacy_irqs()")
ioapic.field("isa_irq", VECTOR, type=Option(IRQ), rigid=True, doc="the ISA interrupt of a vector")
ioapic.field("has_pin", IOAPIC, PIN, rigid=True, doc="the IO-APIC has the pin")
ioapic.field("kind", IOAPIC, type=KIND, rigid=True, doc="how its irqs are numbered")
ioapic.field("at_boot", IOAPIC, rigid=True, doc="firmware lists it; else it is added later")
ioapic.field("remapped", IOAPIC, rigid=True, doc="its domain's parent is a remapping domain")
ioapic.field(
    "gsi_irq", IOAPIC, PIN, type=Option(IRQ), rigid=True, doc="the irq with the pin's GSI as number"
)
ioapic.field(
    "isa_of", IOAPIC, PIN, type=Option(IRQ), rigid=True, doc="the ISA irq that is wired to the pin"
)
ioapic.field("gsi_end", IOAPIC, type=_NUMBER, rigid=True, doc="its last GSI")
ioapic.field("gsi_top", type=_NUMBER, rigid=True, doc="one more than the last GSI known at boot")
ioapic.field("most", type=Int((PIN,)), rigid=True, doc="users of an irq that explorers try")

ioapic.field("ioapic_initialized", doc="setup_IO_APIC is done")
ioapic.field("dynirq_base", type=_NUMBER, doc="ioapic_dynirq_base")
ioapic.field("pin_domain", IOAPIC, type=Option(DOMAIN), doc="the IO-APIC's irq domain")
ioapic.field("desc", IRQ, doc="the descriptor exists")
ioapic.field("dynamic", IRQ, doc="the number was any that was free, and not asked for")
ioapic.field("activated", IRQ, doc="IRQD_ACTIVATED")
ioapic.field("cfg_vector", IRQ, type=Option(VECTOR), doc="hw_irq_cfg.vector, if a real one")
ioapic.field("cfg_cpu", IRQ, type=Option(CPU), doc="the CPU of hw_irq_cfg.dest_apicid, likewise")

ioapic.field("irq_2_pin", IRQ, IOAPIC, PIN, doc="the pin is on the irq's list")
ioapic.field("pin_irq", IOAPIC, PIN, type=Option(IRQ), doc="on whose list the pin is")
ioapic.field("home_ioapic", IRQ, type=Option(IOAPIC), doc="in whose domain the irq is")
ioapic.field("home_pin", IRQ, type=Option(PIN), doc="its hwirq there")
ioapic.field("is_isa", IRQ, doc="mp_chip_data.isa_irq")
ioapic.field("users", IRQ, type=Int((PIN,)), doc="mp_chip_data.count")
ioapic.field("level_triggered", IRQ, doc="mp_chip_data.trigger")
ioapic.field("active_low", IRQ, doc="mp_chip_data.polarity")
ioapic.field("route_vector", IOAPIC, PIN, type=Option(VECTOR), doc="the entry's vector")
ioapic.field("route_cpu", IOAPIC, PIN, type=Option(CPU), doc="the entry's target")
ioapic.field("route_open", IOAPIC, PIN, doc="the entry is not masked")
ioapic.field("unwritten", IOAPIC, PIN, doc="the irq was active when it took the pin over")

ioapic.field("in_hand", IRQ, transient=True, doc="the irq has a pin and no user")
ioapic.field("entry", IOAPIC, PIN, type=ENTRY, transient=True, doc="whether it is to be written")
ioapic.field("mappings", IRQ, type=INT, ghost=True, doc="how often the irq was mapped")
ioapic.field("unmappings", IRQ, type=INT, ghost=True, doc="how often the irq was unmapped")
ioapic.field("promised", IRQ, ghost=True, doc="a user relies on the attributes")
ioapic.field("promised_level", IRQ, ghost=True, doc="the trigger that users were told")
ioapic.field("promised_low", IRQ, ghost=True, doc="the polarity that users were told")


@ioapic.axiom
def numbering(s: State) -> Term:
    """No two irqs have one number and no two pins one GSI. What is added after boot is numbered as
    it comes: ACPI asks for that."""
    return and_(
        forall(IRQ, IRQ, lambda i, j: implies(s.number[i] == s.number[j], i == j)),
        forall(IRQ, lambda i: s.number[i] >= 0),
        forall(
            IOAPIC,
            PIN,
            IRQ,
            lambda a, p, i: implies(
                s.has_pin[a, p] & (s.gsi_irq[a, p] == i), s.number[i] <= s.gsi_end[a]
            ),
        ),
        forall(IOAPIC, lambda a: implies(s.at_boot[a], s.gsi_end[a] < s.gsi_top)),
        forall(IOAPIC, lambda a: implies(~s.at_boot[a], ~by_gsi(s, a))),
    )


@ioapic.axiom
def wiring(s: State) -> Term:
    """The irqs of the ISA bus are legacy ones."""
    return forall(IOAPIC, PIN, IRQ, lambda a, p, i: implies(s.isa_of[a, p] == i, s.legacy[i]))


# --- words for the formulas -----------------------------------------------------------------


def by_gsi(s: State, a: Term) -> Term:
    """The IO-APIC's irqs are numbered by GSI."""
    return (s.kind[a] == KIND.LEGACY) | (s.kind[a] == KIND.STRICT)


def made(s: State, a: Term) -> Term:
    """The IO-APIC has a domain."""
    return ~(s.pin_domain[a] == none(DOMAIN))


def mapped(s: State, i: Term) -> Term:
    """The irq is in an IO-APIC's domain."""
    return ~(s.home_ioapic[i] == none(IOAPIC))


def is_home(s: State, i: Term, a: Term, p: Term) -> Term:
    """The irq was allocated for this pin."""
    return (s.home_ioapic[i] == a) & (s.home_pin[i] == p)


def wanted(s: State, irq: Term) -> Term:
    """Somebody may ask for the irq by its number: it is a legacy one, or the GSI of an IO-APIC that
    numbers by GSI."""
    gsi = exists(
        IOAPIC,
        PIN,
        lambda a, p: and_(made(s, a), by_gsi(s, a), s.has_pin[a, p], s.gsi_irq[a, p] == irq),
    )
    return s.legacy[irq] | gsi


def lower_bound(s: State, irq: Term) -> Term:
    """The irq's number is not below arch_dynirq_lower_bound(1)."""
    later = ite(s.dynirq_base == 0, s.number[irq] >= 1, s.dynirq_base <= s.number[irq])
    return ite(s.ioapic_initialized, later, s.gsi_top <= s.number[irq])


def follows_config(s: State, i: Term, a: Term, p: Term) -> Term:
    """The entry names the irq's vector and CPU."""
    return (s.route_vector[a, p] == s.cfg_vector[i]) & (s.route_cpu[a, p] == s.cfg_cpu[i])


def owed(s: State, a: Term, p: Term) -> Term:
    """The entry of an active irq is to be written."""
    return s.entry[a, p] == ENTRY.OWED


# --- invariants (section 9.5) ---------------------------------------------------------------


@ioapic.invariant("IOA-1", "An irq of an IO-APIC's domain has its hwirq as a pin on its list.")
def ioa_home(s: State) -> Term:
    def law(i: Term) -> Term:
        a, p = s.home_ioapic[i], s.home_pin[i]
        inside = and_(made(s, a), s.has_pin[a, p], s.irq_2_pin[i, a, p])
        return ite(mapped(s, i), inside, s.home_pin[i] == none(PIN))

    return forall(IRQ, law)


@ioapic.invariant("IOA-2", "A pin is on the list of one irq at most.", follows=True)
def ioa_pin(s: State) -> Term:
    return forall(
        IRQ,
        IRQ,
        IOAPIC,
        PIN,
        lambda i, j, a, p: (s.irq_2_pin[i, a, p] & s.irq_2_pin[j, a, p]).implies(i == j),
    )


@ioapic.invariant(
    "IOA-3",
    "An irq is there while it has users, and but for ISA irqs those are the mappings less the "
    "unmappings.",
    ghost=True,
)
def ioa_users(s: State) -> Term:
    def law(i: Term) -> Term:
        return and_(
            s.users[i] >= 0,
            mapped(s, i) == ((s.users[i] > 0) | s.in_hand[i]),
            s.in_hand[i].implies(s.users[i] == 0),
            s.users[i] == s.mappings[i] - s.unmappings[i],
        )

    return forall(IRQ, law)


@ioapic.invariant(
    "IOA-4", "The attributes of an irq are those that its users agreed to.", ghost=True
)
def ioa_attributes(s: State) -> Term:
    def law(i: Term) -> Term:
        same = (s.level_triggered[i] == s.promised_level[i]) & (
            s.active_low[i] == s.promised_low[i]
        )
        # The default of a legacy irq is the boot code's, which is its first user and binds nobody.
        bound = (s.users[i] > 0) & (~s.legacy[i] | (s.users[i] > 1))
        return and_(s.promised[i].implies(same), s.promised[i] == bound)

    return forall(IRQ, law)


@ioapic.invariant(
    "IOA-5",
    "The entries of an active irq that is not remapped name its vector and its CPU, but for a pin "
    "that was taken over from the PIC and not written since.",
    unless=("IOA-pin",),
)
def ioa_entries(s: State) -> Term:
    return forall(
        IRQ,
        IOAPIC,
        PIN,
        lambda i, a, p: and_(
            s.pin_irq[a, p] == i, s.activated[i], ~s.remapped[a], ~owed(s, a, p), ~s.unwritten[a, p]
        ).implies(follows_config(s, i, a, p)),
    )


@ioapic.invariant("IOA-6", "An ISA irq has the number of its ISA interrupt.")
def ioa_isa(s: State) -> Term:
    return forall(
        IRQ,
        IOAPIC,
        PIN,
        lambda i, a, p: and_(s.irq_2_pin[i, a, p], s.is_isa[i]).implies(s.isa_of[a, p] == i),
    )


@ioapic.invariant(
    "IOA-7",
    "Any other irq has one pin; its number is the pin's GSI where irqs are numbered so, but for "
    "GSIs below the legacy irqs' end, whose irqs are numbered as they come after boot.",
)
def ioa_gsi(s: State) -> Term:
    def law(i: Term, a: Term, p: Term) -> Term:
        same = s.gsi_irq[a, p] == i
        behind = s.legacy[s.gsi_irq[a, p]] & s.dynamic[i]
        numbered = and_(
            (s.kind[a] == KIND.STRICT).implies(same),
            (s.kind[a] == KIND.LEGACY).implies(same | behind),
            by_gsi(s, a) | s.dynamic[i],
        )
        return and_(s.irq_2_pin[i, a, p], ~s.is_isa[i]).implies(is_home(s, i, a, p) & numbered)

    return forall(IRQ, IOAPIC, PIN, law)


@ioapic.invariant(
    "GEN-6",
    "A dynamic irq is numbered behind the GSIs that irqs are numbered by, so that it has none.",
)
def gen_dynamic(s: State) -> Term:
    def law(i: Term, a: Term) -> Term:
        behind = s.gsi_end[a] < s.number[i]
        apart = forall(PIN, lambda p: s.has_pin[a, p].implies(~(s.gsi_irq[a, p] == i)))
        return and_(s.dynamic[i], made(s, a), by_gsi(s, a)).implies(behind & apart)

    early = forall(
        IRQ, lambda i: (s.dynamic[i] & ~s.ioapic_initialized).implies(s.gsi_top <= s.number[i])
    )
    return forall(IRQ, IOAPIC, law) & early


# --- what the others need to be inductive ----------------------------------------------------


@ioapic.invariant("IOA-list", "The lists of the irqs and the pins say the same.")
def lists(s: State) -> Term:
    return forall(
        IRQ,
        IOAPIC,
        PIN,
        lambda i, a, p: and_(
            s.irq_2_pin[i, a, p] == (s.pin_irq[a, p] == i),
            s.irq_2_pin[i, a, p].implies(and_(s.desc[i], mapped(s, i), s.has_pin[a, p])),
            owed(s, a, p).implies(~s.remapped[a] & s.activated[s.pin_irq[a, p]]),
            s.unwritten[a, p].implies(s.activated[s.pin_irq[a, p]]),
        ),
    )


@ioapic.invariant("IOA-base", "The base of dynamic irqs is behind the GSIs of every domain.")
def base(s: State) -> Term:
    return and_(
        forall(IOAPIC, lambda a: (made(s, a) & by_gsi(s, a)).implies(s.gsi_end[a] < s.dynirq_base)),
        forall(
            IOAPIC,
            lambda a: and_(s.ioapic_initialized, s.at_boot[a], by_gsi(s, a)).implies(made(s, a)),
        ),
        s.dynirq_base >= 0,
    )


@ioapic.invariant("IOA-unmapped", "An irq without a pin has nothing of the layer.")
def unmapped(s: State) -> Term:
    def law(i: Term) -> Term:
        return and_(
            (~mapped(s, i)).implies(~s.is_isa[i]),
            (~mapped(s, i)).implies(s.users[i] == 0),
            s.dynamic[i].implies(s.desc[i]),
            s.is_isa[i].implies(s.legacy[i]),
        )

    return forall(IRQ, law)
