# SPDX-License-Identifier: GPL-2.0-only
"""PCI MSI of a Xen guest (arch/x86/pci/xen.c and drivers/xen, v5.10): its state.

A guest that bypasses the native interrupt code has an MSI domain of its own, whose two operations
replace the allocation and the freeing of irqs as a whole. An irq is bound to a pirq, the
hypervisor's name of an interrupt source, and gets an event channel when it starts. Which guests do
so, and how each gets its pirqs, is the matter of this layer; `spec.xen_whole` puts it beside the
native code, to say that the two have nothing to do with each other.

The hypervisor, the PCI backend and the other domains may answer anything: every answer is a
parameter of an action. A pirq is told apart by the domain whose pirq it is. A block of pirqs, and
of irqs, is told by its first. The numbers are rigid.

`xen_phase` is where a device is in the life of its irqs, `xen_ret` the result that its setup will
have, 0 while nothing has failed. A setup begins with its first step, and so does a teardown; both
have an action for their end, which has the name of the kernel's function.

Left out: the irqs of GSIs, which have pirqs too (so gsi is 0 all over), and port 0, which stands
for no channel. The HVM encoding of a pirq is proved of the bits.

With the switch XB-before the layer is that of the stack before the series, where a device without a
domain went to the architecture's functions: XB-9 compares the two.
"""

from __future__ import annotations

from collections.abc import Callable

from spec.language import Layer
from spec.matrix import CPU
from spec.msi import DESC, DEVICE
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import (
    INT,
    TRUE,
    Enum,
    Int,
    Option,
    Sort,
    Term,
    and_,
    exists,
    forall,
    implies,
    ite,
    none,
    or_,
)

PIRQ = Sort("Pirq")
PORT = Sort("Port")
DOMID = Sort("Domid")
"""Other domains, to which a device may be given away; none is the guest itself (DOMID_SELF)."""

BEFORE = "XB-before"
"""The switch for the stack before the series."""

GUEST = Enum(
    "Guest",
    ("NATIVE", "PV_DOM0", "PV_DOMU", "HVM_PIRQ", "HVM_NOPIRQ", "PVH_DOMU", "PVH_DOM0"),
)
"""The kinds of guests (section 8.1); the first is no guest at all."""

SETUP_OPS = Enum("SetupOps", ("NONE", "INITDOM", "PCIFRONT", "HVM"))
"""xen_msi_ops.setup_msi_irqs."""

TEARDOWN_OPS = Enum("TeardownOps", ("NONE", "PV", "PLAIN"))
"""xen_msi_ops.teardown_msi_irqs: xen_pv_teardown_msi_irqs or xen_teardown_msi_irqs."""

XEN_PHASE = Enum(
    "XenPhase",
    (
        "IDLE",  # no setup has begun
        "SETUP",  # the setup function runs
        "DONE",  # it has returned 0
        "FAILED",  # it has returned an error
        "RETRY",  # it has returned the number of vectors that might do
        "TEARDOWN",  # the teardown function runs
        "TORN",  # it has returned: the descriptors go next
    ),
)

INFO = Enum("Info", ("NONE", "UNBOUND", "PIRQ"))
"""The type of an irq's irq_info, if it has one."""

BACKEND = Enum("Backend", ("OFF", "ON", "UNKNOWN"))
"""What the guest knows of the MSI of a device at the PCI backend."""

LEAK = Enum("Leak", ("NO", "BIND", "UNMAP"))
"""Why nobody in the guest remembers a block of pirqs: its bind failed, or its unmap."""

UNMAP = Enum("Unmap", ("NOT_ASKED", "DONE", "REFUSED"))
"""What the hypervisor was asked, and answered, when an irq was destroyed."""

EINVAL, ENOSYS, ENODEV, ENOMEM, ESRCH = -22, -38, -19, -12, -3

xen = Layer("xen", (CPU, IRQ, DOMAIN, DEVICE, DESC, PIRQ, PORT, DOMID))

# What the machine is.
xen.field("guest", type=GUEST, rigid=True, doc="the kind of guest")
xen.field("frontend", rigid=True, doc="a PCI frontend has registered its functions")
xen.field("xen_domain", DOMAIN, rigid=True, doc="the domain is one that Xen's creator makes")
xen.field("hierarchy", DOMAIN, rigid=True, doc="IRQ_DOMAIN_FLAG_HIERARCHY")
xen.field("is_pci", DEVICE, rigid=True, doc="a PCI device")
xen.field("segment_zero", DEVICE, rigid=True, doc="it is in segment 0")
xen.field("msix_table", DEVICE, rigid=True, doc="its MSI-X table has an address")
xen.field("irq_number", IRQ, type=INT, rigid=True, doc="the number of an irq")
xen.field("pirq_number", PIRQ, type=INT, rigid=True, doc="the number of a pirq")
xen.field("pirq_domid", PIRQ, type=Option(DOMID), rigid=True, doc="the domain whose pirq it is")

# What boot has chosen.
xen.field("setup_ops", type=SETUP_OPS, doc="xen_msi_ops.setup_msi_irqs")
xen.field("teardown_ops", type=TEARDOWN_OPS, doc="xen_msi_ops.teardown_msi_irqs")
xen.field("replaced", doc="x86_init.irqs.create_pci_msi_domain is Xen's")
xen.field("restore_hook", doc="x86_msi.restore_msi_irqs is that of the initial domain")
xen.field("ignores_masks", doc="pci_msi_ignore_mask")
xen.field("default_made", doc="the creator of the default domain has run")
xen.field("default_domain", type=Option(DOMAIN), doc="x86_pci_msi_default_domain")
xen.field("pci_seg_supported", initial=True, doc="the hypervisor is believed to take PCI segments")
xen.field("seg_lost", ghost=True, doc="that belief was lost")

# A device.
xen.field("msi_domain", DEVICE, type=Option(DOMAIN), doc="dev.msi_domain")
xen.field("domain_owner", DEVICE, type=Option(DOMID), doc="the domain to which the device is given")
xen.field("xen_phase", DEVICE, type=XEN_PHASE, doc="where it is in the life of its irqs")
xen.field("xen_ret", DEVICE, type=Int(most=40), doc="what its setup will return")
xen.field("backend_asked", DEVICE, doc="the backend was asked to enable MSI, in this setup")
xen.field("backend_told", DEVICE, doc="the backend was asked to disable MSI, in this teardown")
xen.field("backend", DEVICE, type=BACKEND, doc="its MSI at the backend")
xen.field("mask_written", DEVICE, doc="a mask bit was written to the device")
xen.field("mask_dropped", DEVICE, doc="a mask bit was to be written to it, and was not")
xen.field("rewritten", DEVICE, doc="the generic restore has written its messages")
xen.field("subdevices", DEVICE, doc="a domain of device MSI was made for it")
xen.field("flag_refused", DEVICE, doc="it was refused because its domain lacks a flag")
xen.field("entries", DEVICE, type=Int((DESC,)), doc="how long its list was made")

# A descriptor.
xen.field("entry_device", DESC, type=Option(DEVICE), doc="msi_desc.dev, while it is in the list")
xen.field("entry_position", DESC, type=Int((DESC,)), doc="its place in the list")
xen.field("entry_is_msix", DESC, doc="msi_attrib.is_msix")
xen.field("entry_nvec", DESC, type=Int((IRQ,)), doc="nvec_used")
xen.field("first_irq", DESC, type=Option(IRQ), doc="msi_desc.irq, if not 0")
xen.field("segment_refused", DESC, doc="map_pirq with the segment was not understood")
xen.field(
    "pirq_hand", DESC, type=Option(PIRQ), doc="the pirq that was got for it and is not bound yet"
)
xen.field("base", DESC, type=Option(IRQ), doc="the first irq of the block that is made for it")
xen.field("members", DESC, type=Int((IRQ,)), doc="how many irqs its block has now")
xen.field("bound", DESC, doc="xen_bind_pirq_msi_to_irq has succeeded")
xen.field("undoing", DESC, doc="it has failed, and gives back what it has made")
xen.field("message_pirq", DESC, type=Option(PIRQ), doc="the pirq in the message that was written")
xen.field("writes", DESC, type=Int(), doc="how often a setup has written the message")

# An irq.
xen.field("desc", IRQ, doc="the descriptor exists")
xen.field("info", IRQ, type=INFO, doc="irq_info.type; its chip is xen-pirq exactly with PIRQ")
xen.field("info_pirq", IRQ, type=Option(PIRQ), doc="irq_info.u.pirq.pirq")
xen.field("info_domid", IRQ, type=Option(DOMID), doc="irq_info.u.pirq.domid")
xen.field("msi_group", IRQ, doc="PIRQ_MSI_GROUP")
xen.field("member_of", IRQ, type=Option(DESC), doc="the descriptor to whose block the irq belongs")
xen.field("offset", IRQ, type=Int((IRQ,)), doc="its place in the block")
xen.field("back", IRQ, type=Option(DESC), doc="irq_common_data.msi_desc")
xen.field("unmapped", IRQ, type=UNMAP, doc="what the hypervisor has said to the unmap of its pirq")
xen.field("orphan", IRQ, doc="kept, because its pirq was not unmapped, and forgotten")
xen.field("pirq_started", IRQ, doc="startup_pirq has run, and shutdown_pirq not since")
xen.field("evtchn", IRQ, type=Option(PORT), doc="irq_info.evtchn, if not 0")
xen.field("evtchn_cpu", IRQ, type=Option(CPU), doc="irq_info.cpu, while there is a channel")

# The hypervisor.
xen.field("pirq_device", PIRQ, type=Option(DEVICE), doc="the device of the block that begins here")
xen.field("block", PIRQ, type=Option(PIRQ), doc="the first of the block in which it is taken")
xen.field("leak", PIRQ, type=LEAK, doc="why the guest has forgotten the block that begins here")
xen.field("port_irq", PORT, type=Option(IRQ), doc="the irq of an event channel that is bound")


@xen.axiom
def numbers(s: State) -> Term:
    """A number is of one irq, and of one pirq of a domain."""

    def pirqs(p: Term, q: Term) -> Term:
        same = (s.pirq_number[p] == s.pirq_number[q]) & (s.pirq_domid[p] == s.pirq_domid[q])
        return same.implies(p == q)

    def irqs(i: Term, j: Term) -> Term:
        return (s.irq_number[i] == s.irq_number[j]).implies(i == j)

    return forall(PIRQ, PIRQ, pirqs) & forall(IRQ, IRQ, irqs)


@xen.axiom
def platform(s: State) -> Term:
    """Only an unprivileged paravirtualised guest loads a PCI frontend. Xen's domain has the flag,
    because the operations of every MSI domain include an alloc callback."""
    return and_(
        s.frontend.implies(s.guest == GUEST.PV_DOMU),
        forall(DOMAIN, lambda d: s.xen_domain[d].implies(s.hierarchy[d])),
    )


# --- words for the formulas -----------------------------------------------------------------


def kind_of(s: State, *names: str) -> Term:
    """The guest is of one of these kinds."""
    return or_(*(s.guest == getattr(GUEST, name) for name in names))


def bypasses(s: State) -> Term:
    """X: PCI devices of the guest use pirqs and event channels."""
    return kind_of(s, "PV_DOM0", "PV_DOMU", "HVM_PIRQ")


def in_xen_phase(s: State, v: Term, *names: str) -> Term:
    """The device is in one of these phases."""
    return or_(*(s.xen_phase[v] == getattr(XEN_PHASE, name) for name in names))


def each_entry(s: State, device: Term, law: Callable[[Term], Term]) -> Term:
    """A law of every descriptor of the device."""
    return forall(DESC, lambda d: implies(s.entry_device[d] == device, law(d)))


def has_entries(s: State, device: Term) -> Term:
    """The device has descriptors."""
    return exists(DESC, lambda d: s.entry_device[d] == device)


def wants_block(s: State, d: Term) -> Term:
    """The descriptor wants several irqs."""
    return s.entry_nvec[d] > 1


def is_member(s: State, i: Term) -> Term:
    """The irq belongs to a block."""
    return ~(s.member_of[i] == none(DESC))


def has_info(s: State, i: Term) -> Term:
    """The irq is Xen's."""
    return ~(s.info[i] == INFO.NONE)


def is_pirq(s: State, i: Term) -> Term:
    """The irq is bound to a pirq."""
    return s.info[i] == INFO.PIRQ


def leads(s: State, i: Term) -> Term:
    """The irq is bound to the pirq that stands for a block, or to a pirq of its own."""
    return is_pirq(s, i) & ~s.msi_group[i]


def in_hand(s: State, d: Term) -> Term:
    """The descriptor has a pirq that is not bound."""
    return ~(s.pirq_hand[d] == none(PIRQ))


def is_held(s: State, p: Term) -> Term:
    """A block of pirqs begins here."""
    return ~(s.pirq_device[p] == none(DEVICE))


def device_of(s: State, i: Term) -> Term:
    """The device of an irq."""
    return s.entry_device[s.member_of[i]]


def untouched(s: State, d: Term) -> Term:
    """A setup has done nothing for the descriptor, or has undone it."""
    idle = and_(~in_hand(s, d), ~s.bound[d], ~s.undoing[d])
    return and_(s.members[d] == 0, s.first_irq[d] == none(IRQ), idle)


def has_xen_domain(s: State, device: Term) -> Term:
    """The device's domain is Xen's."""
    return s.xen_domain[s.msi_domain[device]]


def dispatched(s: State, device: Term) -> Term:
    """Setup and teardown of the device are Xen's: by its domain, and before the series because it
    has none, and the architecture's functions are Xen's."""
    if s.on(BEFORE):
        return (s.msi_domain[device] == none(DOMAIN)) & ~(s.setup_ops == SETUP_OPS.NONE)
    return has_xen_domain(s, device)


def kind_seen(s: State, device: Term, msix: Term) -> Term:
    """The kind that the setup function is told: by the first descriptor, and before the series by
    the PCI core, which has made them all."""

    def first(d: Term) -> Term:
        counts = TRUE if s.on(BEFORE) else s.entry_position[d] == 0
        return implies(counts, s.entry_is_msix[d] == msix)

    return each_entry(s, device, first)


def tells_backend(s: State, device: Term) -> Term:
    """A teardown asks the backend to disable MSI: in a paravirtualised guest with a frontend, and
    before the series in an unprivileged one."""
    pv = s.setup_ops == SETUP_OPS.PCIFRONT if s.on(BEFORE) else s.teardown_ops == TEARDOWN_OPS.PV
    return pv & s.frontend


def masks_ignored(s: State, device: Term) -> Term:
    """No mask bit of the device is written. v5.10 has one switch for all devices (F17)."""
    everywhere = s.on("F17") or s.on(BEFORE)
    return s.ignores_masks & (TRUE if everywhere else has_xen_domain(s, device))


def chosen_setup(s: State) -> Term:
    """The setup function that xen_setup_pci_msi chooses. R1 asks for the initial domain first."""
    initial = kind_of(s, "PV_DOM0", *(("PVH_DOM0",) if s.on("R1") else ()))
    hvm = kind_of(s, "HVM_PIRQ", "HVM_NOPIRQ", "PVH_DOMU", "PVH_DOM0")
    others = ite(hvm, SETUP_OPS.HVM, SETUP_OPS.NONE)
    unprivileged = ite(kind_of(s, "PV_DOMU"), SETUP_OPS.PCIFRONT, others)
    return ite(initial, SETUP_OPS.INITDOM, unprivileged)


def free_block(s: State, first: Term, size: Term) -> Term:
    """The pirqs from this one on are free, as many as are wanted."""
    return forall(PIRQ, lambda p: implies(in_block(s, p, first, size), s.block[p] == none(PIRQ)))


def in_block(s: State, p: Term, first: Term, size: Term) -> Term:
    """The pirq is one of those."""
    low = s.pirq_number[first]
    return and_(
        s.pirq_domid[p] == s.pirq_domid[first],
        low <= s.pirq_number[p],
        s.pirq_number[p] < low + size,
    )
