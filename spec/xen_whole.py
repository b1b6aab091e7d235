# SPDX-License-Identifier: GPL-2.0-only
"""A Xen guest as a whole: its PCI MSI beside the native code, and that they do not meet.

The native layers are those of `spec.whole`; the Xen layer shares with them descriptors, domains of
devices, boot, and the numbers of irqs, and nothing else. Sections 9.2 and 18.3 say that this is so:
what Xen does for its devices leaves the matrix, the vector tables, the reverse maps and the
IO-APICs alone (the frame), and what the native code does, for the children of a VMD, does not
depend on it. A composition in which a part of Xen writes a native field cannot be built; what the
two share is listed here, and `trespasses` and `eavesdrops` look for more.

A device of Xen's is never in a phase of the MSI core, and so not among those that `spec.pci_msi`
enables: the enable bits of such a device are no matter of this composition.
"""

from __future__ import annotations

from collections.abc import Iterator

from spec import (
    xen_actions,
    xen_boot_actions,
    xen_bypass,
    xen_invariants,
    xen_lemmas,
    xen_teardown_actions,
    xen_theorems,
)
from spec.alike import alike
from spec.boot import MODE, PLATFORM, STEP, mode_known
from spec.composition import join
from spec.msi import DESC, DEVICE, in_phase, linked
from spec.records import Action, Indexed, Model
from spec.routing import BUS, TOKEN, has_special, host_domain, hosted
from spec.sorts import DOMAIN, HWIRQ, IRQ
from spec.state import State
from spec.terms import (
    BOOL,
    FALSE,
    INT,
    Option,
    Term,
    and_,
    exists,
    forall,
    implies,
    ite,
    lift,
    none,
    subterms,
)
from spec.vector_actions import MASK
from spec.whole import stack
from spec.xen import (
    GUEST,
    PIRQ,
    bypasses,
    has_info,
    has_xen_domain,
    kind_of,
    xen,
)

COMPLETE = (
    xen_boot_actions,
    xen_actions,
    xen_teardown_actions,
    xen_invariants,
    xen_bypass,
    xen_lemmas,
    xen_theorems,
)
"""The modules without which the Xen layer would not be whole when it is joined."""

guest = join("guest", stack, xen)


@guest.axiom
def kinds(s: State) -> Term:
    """What Xen's creator makes has no bus token, and no unit."""
    return forall(
        DOMAIN,
        lambda d: implies(
            s.xen_domain[d], (s.token[d] == TOKEN.ANY) & ~s.remapping[d] & s.is_msi_domain[d]
        ),
    )


# --- what boot knows of the guest -----------------------------------------------------------


def _platform(s: State) -> Term:
    """What boot takes the guest for."""
    found = PLATFORM.NATIVE
    for name in ("PV_DOM0", "PV_DOMU", "HVM_PIRQ"):
        found = ite(s.guest == getattr(GUEST, name), getattr(PLATFORM, name), found)
    return found


def platform_known(s: State) -> Term:
    """The platform is detected."""
    return ~((s.step == STEP.START) | (s.step == STEP.BUILT))


@guest.also(platform=PLATFORM)
def init_hypervisor_platform(s: State, platform: Term) -> None:
    """The guest finds out what it is."""
    s.require(platform == _platform(s))


@guest.also(mode=MODE)
def apic_intr_mode_select(s: State, mode: Term) -> None:
    """A guest of type HVM without a local APIC does not use pirqs: its hook never runs."""
    s.require(implies(kind_of(s, "HVM_PIRQ"), ~(mode == MODE.PIC)))


@guest.also()
def xen_setup_pci_msi(s: State) -> None:
    """The three callers: where boot has called the platform's hook."""
    s.require(s.overridden)


@guest.also()
def irq_remapping_enable(s: State) -> None:
    """In a paravirtualised guest the interrupt mode is not set up, and nobody prepares this."""
    s.require(~kind_of(s, "PV_DOM0", "PV_DOMU"))


# --- what the native code and Xen's know of each other --------------------------------------


@guest.also(device=DEVICE, domain=DOMAIN)
def msi_domain_prepare_irqs(s: State, device: Term, domain: Term) -> None:
    """The MSI core calls the operations of Xen's domain in the place of its own."""
    s.require(~s.xen_domain[domain])


@guest.also(device=DEVICE, ret=INT)
def msi_domain_alloc_irqs(s: State, device: Term, ret: Term) -> None:
    """So nothing of its own runs for such a device, to fail neither."""
    s.require(~has_xen_domain(s, device))


@guest.also(irq=IRQ, domain=DOMAIN)
def irq_domain_alloc_irq_data(s: State, irq: Term, domain: Term) -> None:
    """Whoever has allocated a descriptor uses it. Nobody but the MSI core allocates from an MSI
    domain, and from Xen's not even that."""
    s.require(~has_info(s, irq), ~s.xen_domain[domain])


@guest.also(domain=DOMAIN, parent=Option(DOMAIN))
def irq_domain_add(s: State, domain: Term, parent: Term) -> None:
    """Xen's domain has no parent, and is nobody's: what is built for a device takes the parent of
    the device's domain (XB-15)."""
    s.require(~s.xen_domain[parent], implies(s.xen_domain[domain], parent == none(DOMAIN)))


@guest.also(irq=IRQ, domain=DOMAIN)
def irq_domain_push_irq(s: State, irq: Term, domain: Term) -> None:
    """Nobody puts Xen's domain on top of another."""
    s.require(~s.xen_domain[domain])


@guest.also(irq=IRQ, desc=DESC)
def xen_irq_init(s: State, irq: Term, desc: Term) -> None:
    """Xen's descriptors are its own: no domain has them."""
    s.require(forall(DOMAIN, lambda d: ~s.level[irq, d]), ~linked(s, irq))


# --- what holds across them (section 9.2) ---------------------------------------------------


@guest.invariant(
    "XB-3",
    "In the guests that bypass, a device has Xen's domain, and its buses have none other, unless "
    "its root bus has one of its own; elsewhere nobody has it.",
    unless=("N3", "R1"),
)
def pointers(s: State) -> Term:
    def of_device(v: Term) -> Term:
        home = s.bus[v]
        own = ite(hosted(s, home), s.msi_domain[v] == host_domain(s, home), has_xen_domain(s, v))
        return s.added[v].implies(ite(bypasses(s), own, ~has_xen_domain(s, v)))

    def of_bus(b: Term) -> Term:
        known = (s.bus_domain[b] == none(DOMAIN)) | s.xen_domain[s.bus_domain[b]]
        return and_(bypasses(s), s.bus_added[b], ~hosted(s, b)).implies(known)

    return forall(DEVICE, of_device) & forall(BUS, of_bus)


@guest.invariant(
    "XB-4",
    "Nothing replaces Xen's domain: remapping is off in a paravirtualised guest, and any driver "
    "would find the domain special.",
)
def no_override(s: State) -> Term:
    return and_(
        kind_of(s, "PV_DOM0", "PV_DOMU").implies(~s.irq_remapping_enabled),
        forall(DEVICE, lambda v: has_xen_domain(s, v).implies(has_special(s, v))),
    )


@guest.invariant(
    "XB-6",
    "For a device of Xen's the MSI core does nothing, and no domain and no vector has an irq of "
    "Xen's.",
)
def never_reached(s: State) -> Term:
    def of_device(v: Term) -> Term:
        return has_xen_domain(s, v).implies(in_phase(s, v, "IDLE") & ~s.stored[v])

    def of_irq(i: Term) -> Term:
        levels = forall(DOMAIN, lambda d: ~s.level[i, d])
        return has_info(s, i).implies(and_(levels, ~s.present[i], ~linked(s, i)))

    return forall(DEVICE, of_device) & forall(IRQ, of_irq)


@guest.invariant("XB-7", "Xen's domain maps nothing, has no irq, and stands alone.")
def maps_nothing(s: State) -> Term:
    def alone(d: Term, e: Term) -> Term:
        both = s.above[d, e] & (s.xen_domain[d] | s.xen_domain[e])
        return both.implies(d == e)

    def of_irq(d: Term, i: Term) -> Term:
        return s.xen_domain[d].implies(~s.level[i, d] & ~s.mapped[i, d])

    def of_map(d: Term, h: Term) -> Term:
        return s.xen_domain[d].implies(s.revmap[d, h] == none(IRQ))

    empty = forall(DOMAIN, lambda d: s.xen_domain[d].implies(s.mapcount[d] == 0))
    return and_(
        forall(DOMAIN, IRQ, of_irq),
        forall(DOMAIN, HWIRQ, of_map),
        empty,
        forall(DOMAIN, DOMAIN, alone),
    )


@guest.invariant(
    "XB-13", "In the guests that bypass no device reaches the fallbacks or their stub.",
    unless=("N3",),
)  # fmt: skip
def no_stub(s: State) -> Term:
    reached = exists(DEVICE, lambda v: s.refused[v] | s.native_call[v])
    return bypasses(s).implies(~reached)


@guest.invariant(
    "XEN-boot", "Boot's view of the guest and Xen's are the same.", unless=("N3", "R1")
)
def views(s: State) -> Term:
    return and_(
        platform_known(s).implies(s.hypervisor == _platform(s)),
        (kind_of(s, "HVM_PIRQ") & (s.apic_intr_mode == MODE.PIC)).implies(~mode_known(s)),
        s.replaced.implies(s.overridden),
        s.default_made.implies(s.default_wrapped == bypasses(s)),
    )


# --- noninterference (section 18.3) ---------------------------------------------------------

_FRAME = (
    *("global_available", "global_reserved", "total_allocated", "systembits_inalloc"),
    *("available", "allocated", "managed", "managed_allocated", "online", "alloc_map"),
    *("managed_map", "vector_irq", "shutdown_mark", "present", "has_reserved", "vector", "cpu"),
    *("live", "parent", "level", "hwirq", "mapped", "mapcount", "revmap", "outer"),
    *("msi_level", "msi_desc", "phase", "stored", "pin_irq", "route_vector", "route_cpu"),
    *("route_open", "of_uv"),
)
"""What the bypass leaves alone: the matrix, the tables, the domains and their reverse maps, the MSI
core, the IO-APICs."""


@guest.theorem(
    "XB-7", "A device of the initial domain is served, and gives all back, and the frame stays.",
    device=DEVICE, desc=DESC, irq=IRQ, pirq=PIRQ, mask=MASK, segment=BOOL, msix=BOOL, ret=INT,
)  # fmt: skip
def bypass(
    before: State,
    s: State,
    device: Term,
    desc: Term,
    irq: Term,
    pirq: Term,
    mask: Indexed,
    segment: Term,
    msix: Term,
    ret: Term,
) -> Term:
    """One irq; whether its pirq is unmapped or not."""
    act = guest.act
    act("physdev_map_pirq")(s, desc, segment, lift(0), pirq)
    act("irq_alloc_descs")(s, irq, mask, FALSE)
    act("xen_irq_init")(s, irq, desc)
    act("xen_irq_info_pirq_setup")(s, irq, pirq, s.pirq_domid[pirq], FALSE)
    act("irq_set_msi_desc")(s, irq, desc)
    act("xen_initdom_setup_msi_irqs")(s, device, msix, lift(0))
    act("physdev_unmap_pirq")(s, irq, pirq, ret)
    act("xen_free_irq")(s, irq)
    act("irq_free_descs")(s, irq)
    act("xen_msi_desc_clear_irq")(s, desc)
    act("xen_teardown_msi_irqs")(s, device)
    return alike(before, s, (guest.fields[name] for name in _FRAME))


@guest.theorem(
    "XB-7", "A request for pirqs that is refused, and its teardown, leave the frame alone.",
    device=DEVICE, desc=DESC, segment=BOOL, msix=BOOL, ret=INT,
)  # fmt: skip
def bypass_refused(
    before: State, s: State, device: Term, desc: Term, segment: Term, msix: Term, ret: Term
) -> Term:
    act = guest.act
    act("physdev_map_pirq")(s, desc, segment, ret, none(PIRQ))
    act("xen_initdom_setup_msi_irqs")(s, device, msix, s.xen_ret[device])
    act("xen_teardown_msi_irqs")(s, device)
    return alike(before, s, (guest.fields[name] for name in _FRAME))


SHARED = frozenset(
    {
        *("create_pci_msi_domain", "pci_device_add", "pci_device_remove", "set_device_msi_domain"),
        *("alloc_msi_entry", "free_msi_entry", "irq_alloc_descs", "irq_free_descs"),
    }
)
"""The steps that are both Xen's and the native code's: devices and their descriptors, and the
numbers of irqs."""


def trespasses(native: Model) -> tuple[str, ...]:
    """What steps of Xen's alone write of a native layer's fields; nothing, if there is a bypass."""
    return tuple(
        f"{action.name} writes {name}"
        for action in xen.build(native.switches).actions.values()
        if action.name not in SHARED
        for name in action.writes
        if name in native.fields
    )


def eavesdrops(whole: Model, native: Model) -> Iterator[tuple[str, str]]:
    """Which native steps depend, in the whole, on fields that the native code does not have: the
    action and the field. What remains is who owns an irq, and which domain is Xen's."""
    for name in native.actions.keys() - SHARED:
        action = whole.actions[name]
        yield from ((name, f) for f in sorted(_read_by(action) - native.fields.keys()))


def _read_by(action: Action) -> set[str]:
    terms = [action.enabled]
    for writes in action.writes.values():
        terms += (term for write in writes for term in (write.condition, write.value))
    read: set[str] = set()
    seen: set[int] = set()
    while terms:
        term = terms.pop()
        if id(term) in seen:
            continue
        seen.add(id(term))
        if term.op == "read":
            read.add(term.args[0])
        terms += subterms(term)
    return read
