# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts in guests of Hyper-V (sections 5 and 6): of IO-APICs, and of devices passed through.

The entries of an IO-APIC have 8 bits for a destination. The driver that poses as interrupt
remapping keeps such irqs on CPUs that they can name, and writes vector and CPU to the image of the
entry.

The messages of a device that is passed through are the host's. The guest asks for one whenever a
message is composed, and gives the older one back before; a message of zeros, here none, goes to the
device where it gets none. The host learns with the unmasking where an irq has moved to.

Not here: HVI-3 is a law of `spec.routing`, and so is that the domain of such a device is an
ordinary one (HVP-4). Blocks of vectors (HVP-3), which need one message of the host for all, are in
the tests of the driver, with the switches HV-prepare, HV-compose and HV-unmask.
"""

from __future__ import annotations

from spec.language import Layer
from spec.matrix import CPU, VECTOR
from spec.sorts import IRQ
from spec.state import State
from spec.terms import (
    BOOL,
    Enum,
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

SLOT = Sort("Slot")
MESSAGE = Sort("Message")
"""The messages that the host may make; none is the one of zeros."""

KIND = Enum("Kind", ("IOAPIC", "HPET", "PCI"))
"""What an irq is for."""

hyperv = Layer("hyperv", (CPU, VECTOR, IRQ, SLOT, MESSAGE))

hyperv.field("kind", IRQ, type=KIND, rigid=True, doc="what the irq is for")
hyperv.field("near", CPU, rigid=True, doc="the CPU's APIC id is less than 256")

hyperv.field("cfg_vector", IRQ, type=Option(VECTOR), doc="hw_irq_cfg.vector, if a real one")
hyperv.field("cfg_cpu", IRQ, type=Option(CPU), doc="the CPU of hw_irq_cfg.dest_apicid")
hyperv.field("activated", IRQ, doc="IRQD_ACTIVATED")
hyperv.field("of_stub", IRQ, doc="the irq has a level in the HYPERV-IR domain")
hyperv.field("entry_vector", IRQ, type=Option(VECTOR), doc="the vector in the image of its entry")
hyperv.field("entry_cpu", IRQ, type=Option(CPU), doc="the CPU in the image of its entry")
hyperv.field("stale", IRQ, transient=True, doc="the irq has moved, and nobody was told yet")

hyperv.field("slot", IRQ, type=Option(SLOT), doc="the device that the irq is of")
hyperv.field("child", SLOT, doc="the guest knows a device in the slot")
hyperv.field("ejecting", SLOT, doc="the host wants the device back")
hyperv.field("chip_data", IRQ, type=Option(MESSAGE), doc="what the host made for the irq")
hyperv.field("message", IRQ, type=Option(MESSAGE), doc="the message in the device")
hyperv.field("mapping", MESSAGE, type=Option(IRQ), doc="the irq that the host made a message for")
hyperv.field("host_vector", MESSAGE, type=Option(VECTOR), doc="the vector that the host raises")
hyperv.field("host_cpu", MESSAGE, type=Option(CPU), doc="the CPU on which it raises that")
hyperv.field("unmasked", IRQ, doc="the device may signal the irq")
hyperv.field("renewed", IRQ, transient=True, doc="the host has just made the irq's message")


# --- words for the formulas -----------------------------------------------------------------


def there(s: State, irq: Term) -> Term:
    """The guest knows the device of the irq."""
    return s.child[s.slot[irq]]


def mapped(s: State, irq: Term) -> Term:
    """The irq has a message from the host."""
    return ~(s.chip_data[irq] == none(MESSAGE))


def leads_home(s: State, irq: Term) -> Term:
    """The host leads the irq's message to its vector."""
    m = s.chip_data[irq]
    return (s.host_vector[m] == s.cfg_vector[irq]) & (s.host_cpu[m] == s.cfg_cpu[irq])


def idle(s: State, irq: Term) -> Term:
    """The irq has no vector."""
    return (s.cfg_vector[irq] == none(VECTOR)) & (s.cfg_cpu[irq] == none(CPU))


def forget(s: State, message: Term) -> None:
    """The host drops a mapping."""
    s.mapping[message] = None
    s.host_vector[message] = None
    s.host_cpu[message] = None


# --- what the vector domain does ----------------------------------------------------------------


@hyperv.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The irq gets a vector, or moves. One of an IO-APIC stays on CPUs that its entry can name."""
    s.require(s.of_stub[irq] | ~(s.slot[irq] == none(SLOT)))
    s.require(implies(s.of_stub[irq], s.near[cpu]), ~s.stale[irq])
    s.cfg_vector[irq] = vector
    s.cfg_cpu[irq] = cpu
    s.stale[irq] = True


# --- IO-APICs ---------------------------------------------------------------------------------


@hyperv.action(irq=IRQ)
def hyperv_irq_remapping_alloc(s: State, irq: Term) -> None:
    """One irq of an IO-APIC gets a level; anything else is refused."""
    s.require(~s.of_stub[irq], s.slot[irq] == none(SLOT), s.kind[irq] == KIND.IOAPIC)
    s.of_stub[irq] = True


@hyperv.action(irq=IRQ, vector=VECTOR, dest=CPU)
def hyperv_irq_remapping_activate(s: State, irq: Term, vector: Term, dest: Term) -> None:
    """The image of the entry names the target, and the IO-APIC writes it."""
    s.require(s.of_stub[irq], ~s.activated[irq], s.stale[irq])
    s.require(vector == s.cfg_vector[irq], dest == s.cfg_cpu[irq])
    s.entry_vector[irq] = vector
    s.entry_cpu[irq] = dest
    s.activated[irq] = True
    s.stale[irq] = False


@hyperv.action(irq=IRQ, vector=VECTOR, dest=CPU)
def hyperv_ir_set_affinity(s: State, irq: Term, vector: Term, dest: Term) -> None:
    """The irq has moved: so does the image."""
    s.require(s.of_stub[irq], s.activated[irq], s.stale[irq])
    s.require(vector == s.cfg_vector[irq], dest == s.cfg_cpu[irq])
    s.entry_vector[irq] = vector
    s.entry_cpu[irq] = dest
    s.stale[irq] = False


@hyperv.action(irq=IRQ)
def hyperv_irq_remapping_free(s: State, irq: Term) -> None:
    """The level goes, and the vector with it."""
    s.require(s.of_stub[irq], ~s.stale[irq])
    s.of_stub[irq] = False
    s.activated[irq] = False
    for option in ("cfg_vector", "cfg_cpu", "entry_vector", "entry_cpu"):
        getattr(s, option)[irq] = None


# --- devices ----------------------------------------------------------------------------------


@hyperv.action(slot=SLOT)
def new_pcichild_device(s: State, slot: Term) -> None:
    """The host puts a device into a slot, whose irqs of earlier are gone."""
    s.require(~s.child[slot], ~exists(IRQ, lambda i: s.slot[i] == slot))
    s.child[slot] = True


@hyperv.action(slot=SLOT)
def hv_pci_devices_missing(s: State, slot: Term) -> None:
    """The host has taken a device away; with it went what the host had made for it."""
    s.require(s.child[slot], ~s.ejecting[slot])
    s.child[slot] = False
    with s.each(MESSAGE, "m", lambda m: s.slot[s.mapping[m]] == slot) as m:
        forget(s, m)


@hyperv.action(slot=SLOT)
def hv_pci_eject_device(s: State, slot: Term) -> None:
    """The host wants a device back; from now on it makes no message for it."""
    s.require(s.child[slot], ~s.ejecting[slot])
    s.ejecting[slot] = True


@hyperv.action(slot=SLOT)
def hv_eject_complete(s: State, slot: Term) -> None:
    """The driver has freed the irqs: the host has the device."""
    s.require(s.ejecting[slot], ~exists(IRQ, lambda i: s.slot[i] == slot))
    s.child[slot] = False
    s.ejecting[slot] = False


@hyperv.action(irq=IRQ, slot=SLOT)
def msi_domain_alloc(s: State, irq: Term, slot: Term) -> None:
    """An irq for a device."""
    s.require(s.kind[irq] == KIND.PCI, s.slot[irq] == none(SLOT), s.child[slot])
    s.slot[irq] = slot


@hyperv.action(irq=IRQ, message=MESSAGE, lost=BOOL)
def hv_int_desc_free(s: State, irq: Term, message: Term, lost: Term) -> None:
    """The host is told to forget a message, before the next is composed. What is said to the host
    is not lost, but for HV-send."""
    s.require(there(s, irq), s.chip_data[irq] == message, s.stale[irq], ~s.renewed[irq])
    s.assume("HV-send", ~lost)
    s.chip_data[irq] = None
    with s.when(~lost):
        forget(s, message)


@hyperv.action(irq=IRQ, message=MESSAGE)
def hv_create_interrupt(s: State, irq: Term, message: Term) -> None:
    """The host makes a message for an irq, and leads it to its vector."""
    s.require(there(s, irq), ~s.ejecting[s.slot[irq]], ~mapped(s, irq), s.stale[irq])
    s.require(s.mapping[message] == none(IRQ))
    s.chip_data[irq] = message
    s.mapping[message] = irq
    s.host_vector[message] = s.cfg_vector[irq]
    s.host_cpu[message] = s.cfg_cpu[irq]
    s.renewed[irq] = True


@hyperv.action(irq=IRQ, message=Option(MESSAGE))
def hv_compose_msi_msg(s: State, irq: Term, message: Term) -> None:
    """The message goes to the device: a new one, or none where the host was not asked or made none.
    A message of before a move was used again with HV-reuse."""
    s.require(~(s.slot[irq] == none(SLOT)), s.stale[irq])
    if not s.on("HV-reuse"):
        s.require(or_(~there(s, irq), ~mapped(s, irq), s.renewed[irq]))
    s.require(message == ite(there(s, irq), s.chip_data[irq], none(MESSAGE)))
    s.message[irq] = message
    s.activated[irq] = True
    s.stale[irq] = False
    s.renewed[irq] = False


@hyperv.action(irq=IRQ, obeys=BOOL)
def hv_irq_unmask(s: State, irq: Term, obeys: Term) -> None:
    """The host is told where the irq goes, and may not obey; the device is unmasked in any case."""
    s.require(s.activated[irq], ~(s.slot[irq] == none(SLOT)))
    m = s.chip_data[irq]
    with s.when(obeys & there(s, irq)):
        s.host_vector[m] = s.cfg_vector[irq]
        s.host_cpu[m] = s.cfg_cpu[irq]
    s.unmasked[irq] = True


@hyperv.action(irq=IRQ)
def pci_msi_mask_irq(s: State, irq: Term) -> None:
    """The device is masked."""
    s.require(s.unmasked[irq])
    s.unmasked[irq] = False


@hyperv.action(irq=IRQ)
def hv_msi_free(s: State, irq: Term) -> None:
    """The irq, which is masked, goes. What the host made for it is given back, if the device is
    there; else the host has dropped it."""
    s.require(~(s.slot[irq] == none(SLOT)), ~s.unmasked[irq], ~s.stale[irq])
    with s.when(there(s, irq)):
        forget(s, s.chip_data[irq])
    s.activated[irq] = False
    for option in ("chip_data", "slot", "message", "cfg_vector", "cfg_cpu"):
        getattr(s, option)[irq] = None


# --- invariants -----------------------------------------------------------------------------


@hyperv.invariant("HVI-1", "Only an irq of an IO-APIC has a level in the HYPERV-IR domain.")
def io_apics_only(s: State) -> Term:
    other = forall(IRQ, lambda i: or_(s.slot[i] == none(SLOT), s.kind[i] == KIND.PCI))
    return forall(IRQ, lambda i: s.of_stub[i].implies(s.kind[i] == KIND.IOAPIC)) & other


@hyperv.invariant(
    "HVI-2", "The entry of an active irq names its vector and its CPU, which it has bits for."
)
def entry_names_target(s: State) -> Term:
    def law(i: Term) -> Term:
        same = (s.entry_vector[i] == s.cfg_vector[i]) & (s.entry_cpu[i] == s.cfg_cpu[i])
        return and_(s.of_stub[i], s.activated[i]).implies(
            and_(s.near[s.entry_cpu[i]], same | s.stale[i])
        )

    able = forall(IRQ, lambda i: s.of_stub[i].implies(s.near[s.cfg_cpu[i]] | idle(s, i)))
    return forall(IRQ, law) & able


@hyperv.invariant(
    "HVP-1", "The host has made a message for an irq exactly if the guest has it for the irq.",
    unless=("HV-send",),
)  # fmt: skip
def one_mapping(s: State) -> Term:
    def law(i: Term, m: Term) -> Term:
        return (s.mapping[m] == i) == and_(there(s, i), s.chip_data[i] == m)

    return forall(IRQ, MESSAGE, law)


@hyperv.invariant("HVP-2", "For an irq that was freed there is no message, and no vector.")
def nothing_left(s: State) -> Term:
    def law(i: Term) -> Term:
        nothing = and_(~mapped(s, i), s.message[i] == none(MESSAGE))
        gone = and_(idle(s, i), ~s.activated[i], ~s.stale[i])
        pci = ~(s.slot[i] == none(SLOT))
        return and_(pci | nothing, or_(pci, s.of_stub[i], gone))

    return forall(IRQ, law)


@hyperv.invariant(
    "HVP-5", "A device that is there signals by what the host made for its irq, or not at all."
)
def own_message(s: State) -> Term:
    def law(i: Term) -> Term:
        quiet = ~there(s, i) | s.stale[i]
        return or_(quiet, ~s.activated[i], s.message[i] == s.chip_data[i])

    return forall(IRQ, law)


@hyperv.invariant(
    "HVP-target", "The message of an active irq leads to its vector.", unless=("HV-reuse",)
)
def leads_to_vector(s: State) -> Term:
    def law(i: Term) -> Term:
        settled = and_(there(s, i), mapped(s, i), ~s.stale[i] | s.renewed[i])
        return settled.implies(leads_home(s, i))

    return forall(IRQ, law)


@hyperv.invariant("HVP-slots", "The host wants back only what is there, and knows no other mask.")
def slots(s: State) -> Term:
    unmasked = forall(IRQ, lambda i: s.unmasked[i].implies(~(s.slot[i] == none(SLOT))))
    wanted = forall(SLOT, lambda k: s.ejecting[k].implies(s.child[k]))
    renewed = forall(IRQ, lambda i: s.renewed[i].implies(s.stale[i] & mapped(s, i)))
    return and_(unmasked, wanted, renewed)


# --- operations -----------------------------------------------------------------------------


@hyperv.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def io_apic_activate(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The vector domain assigns a vector, then the entry follows."""
    s.require(s.of_stub[irq])
    vector_config(s, irq, vector, cpu)
    hyperv_irq_remapping_activate(s, irq, vector, cpu)


@hyperv.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def io_apic_set_affinity(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The same, for an active one."""
    s.require(s.of_stub[irq])
    vector_config(s, irq, vector, cpu)
    hyperv_ir_set_affinity(s, irq, vector, cpu)


@hyperv.operation(irq=IRQ, vector=VECTOR, cpu=CPU, message=Option(MESSAGE), lost=BOOL)
def device_compose(s: State, irq: Term, vector: Term, cpu: Term, message: Term, lost: Term) -> None:
    """An irq of a device is activated, or moves: the host is told to forget the old message, and
    asked for a new one, unless it makes none."""
    s.require(~s.of_stub[irq])
    vector_config(s, irq, vector, cpu)
    here = there(s, irq)
    with s.when(here & mapped(s, irq)):
        hv_int_desc_free(s, irq, s.chip_data[irq], lost)
    with s.when(~(message == none(MESSAGE))):
        hv_create_interrupt(s, irq, message)
    hv_compose_msi_msg(s, irq, ite(here, s.chip_data[irq], none(MESSAGE)))


@hyperv.operation(only_with="HV-reuse", irq=IRQ, vector=VECTOR, cpu=CPU)
def device_compose_again(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The same, and the host is not asked."""
    s.require(~s.of_stub[irq], there(s, irq), mapped(s, irq))
    vector_config(s, irq, vector, cpu)
    hv_compose_msi_msg(s, irq, s.chip_data[irq])


hyperv.operation(irq=IRQ)(hyperv_irq_remapping_alloc)
hyperv.operation(irq=IRQ)(hyperv_irq_remapping_free)
hyperv.operation(slot=SLOT)(new_pcichild_device)
hyperv.operation(slot=SLOT)(hv_pci_devices_missing)
hyperv.operation(slot=SLOT)(hv_pci_eject_device)
hyperv.operation(slot=SLOT)(hv_eject_complete)
hyperv.operation(irq=IRQ, slot=SLOT)(msi_domain_alloc)
hyperv.operation(irq=IRQ, obeys=BOOL)(hv_irq_unmask)
hyperv.operation(irq=IRQ)(pci_msi_mask_irq)
hyperv.operation(irq=IRQ)(hv_msi_free)
