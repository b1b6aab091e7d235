# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of IO-APICs in Hyper-V guests (drivers/iommu/hyperv-iommu.c, v5.10).

Nothing is remapped: the level sees to it that the interrupt stays on CPUs that a route entry can
name, and puts the target into the image of the entry, which the IO-APIC writes. What the layer needs
of the vector domain is here under the names that it has there.
"""

from __future__ import annotations

from spec.language import Layer
from spec.matrix import CPU, VECTOR
from spec.records import FunctionOf, Indexed
from spec.remap_blocks import KIND
from spec.sorts import IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, Enum, Option, Term, and_, forall, implies, none, or_

IMAGE = Enum(
    "Image",
    (
        "SETTLED",  # the image says what it is to say
        "OWED",  # it is to follow the configuration
    ),
)

MASK = FunctionOf((CPU,), BOOL)

hyperv_ir = Layer("hyperv_ir", (IRQ, CPU, VECTOR))

hyperv_ir.field("kind", IRQ, type=KIND, rigid=True, doc="what the irq is for")
hyperv_ir.field("level", IRQ, rigid=True, doc="the irq has a level in the domain")
hyperv_ir.field("nameable", CPU, rigid=True, doc="ioapic_max_cpumask: its APIC id is below 256")
hyperv_ir.field("present", IRQ, doc="the irq has apic_chip_data: it is in the VECTOR domain")
hyperv_ir.field("cfg_vector", IRQ, type=Option(VECTOR), doc="hw_irq_cfg.vector, if a real one")
hyperv_ir.field("cfg_cpu", IRQ, type=Option(CPU), doc="the CPU of hw_irq_cfg.dest_apicid, likewise")
hyperv_ir.field("of_hv", IRQ, doc="the irq is in HYPERV-IR-0")
hyperv_ir.field("affinity", IRQ, CPU, doc="the irq's affinity")
hyperv_ir.field(
    "image_vector", IRQ, type=Option(VECTOR), doc="the vector in the route entry's image"
)
hyperv_ir.field("image_cpu", IRQ, type=Option(CPU), doc="the destination in it")
hyperv_ir.field("entry_live", IRQ, doc="the domain has activated the irq")
hyperv_ir.field("image", IRQ, type=IMAGE, transient=True, doc="what the image says of the target")


def follows(s: State, i: Term) -> Term:
    """The image names the irq's target."""
    return (s.image_vector[i] == s.cfg_vector[i]) & (s.image_cpu[i] == s.cfg_cpu[i])


# --- actions --------------------------------------------------------------------------------


@hyperv_ir.action(irq=IRQ, failed=BOOL)
def vector_setup(s: State, irq: Term, failed: Term) -> None:
    """The irq is in the vector domain."""
    s.require(~s.present[irq])
    s.present[irq] = ~failed


@hyperv_ir.action(irq=IRQ)
def vector_teardown(s: State, irq: Term) -> None:
    """The irq leaves the vector domain; this one is left before, and the image with it."""
    s.require(s.present[irq], s.image[irq] == IMAGE.SETTLED)
    for option in ("cfg_vector", "cfg_cpu", "image_vector", "image_cpu"):
        getattr(s, option)[irq] = None
    for flag in ("present", "of_hv", "entry_live"):
        getattr(s, flag)[irq] = False
    with s.each(CPU, "c") as c:
        s.affinity[irq, c] = False


@hyperv_ir.action(irq=IRQ, vector=VECTOR, cpu=CPU)
def vector_config(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The vector domain finds a CPU of the affinity; the image of an active irq is to follow."""
    s.require(s.present[irq], s.image[irq] == IMAGE.SETTLED)
    s.require(implies(s.of_hv[irq], s.affinity[irq, cpu]))
    s.cfg_vector[irq] = vector
    s.cfg_cpu[irq] = cpu
    with s.when(s.entry_live[irq]):
        s.image[irq] = IMAGE.OWED


@hyperv_ir.action(irq=IRQ)
def hyperv_irq_remapping_alloc(s: State, irq: Term) -> None:
    """One interrupt of an IO-APIC; its affinity are the CPUs that a route entry can name. The
    vector domain has not chosen one yet."""
    s.require(s.present[irq], ~s.of_hv[irq], s.level[irq], s.kind[irq] == KIND.IOAPIC)
    s.require(s.cfg_cpu[irq] == none(CPU), s.cfg_vector[irq] == none(VECTOR))
    s.of_hv[irq] = True
    with s.each(CPU, "c") as c:
        s.affinity[irq, c] = s.nameable[c]


@hyperv_ir.action(irq=IRQ, vector=VECTOR, dest=CPU)
def hyperv_irq_remapping_activate(s: State, irq: Term, vector: Term, dest: Term) -> None:
    """The image gets the target, and the IO-APIC writes it next."""
    s.require(s.of_hv[irq], s.image[irq] == IMAGE.SETTLED)
    s.entry_live[irq] = True
    _aim(s, irq, vector, dest)


@hyperv_ir.action(irq=IRQ, vector=VECTOR, dest=CPU)
def hyperv_ir_set_affinity(s: State, irq: Term, vector: Term, dest: Term) -> None:
    """The vector domain has moved the irq; the image follows."""
    s.require(s.of_hv[irq], s.entry_live[irq])
    _aim(s, irq, vector, dest)


def _aim(s: State, irq: Term, vector: Term, dest: Term) -> None:
    s.require(s.cfg_vector[irq] == vector, s.cfg_cpu[irq] == dest)
    s.image_vector[irq] = vector
    s.image_cpu[irq] = dest
    s.image[irq] = IMAGE.SETTLED


@hyperv_ir.action(irq=IRQ, mask=MASK)
def irq_set_affinity(s: State, irq: Term, mask: Indexed) -> None:
    """The chip refuses a mask with a CPU that a route entry cannot name."""
    s.require(s.of_hv[irq], forall(CPU, lambda c: implies(mask[c], s.nameable[c])))
    with s.each(CPU, "c") as c:
        s.affinity[irq, c] = mask[c]


# --- invariants (section 5) -----------------------------------------------------------------


@hyperv_ir.invariant("HVI-1", "The domain serves IO-APICs only.")
def ioapics_only(s: State) -> Term:
    return forall(
        IRQ,
        lambda i: implies(s.of_hv[i], and_(s.kind[i] == KIND.IOAPIC, s.level[i], s.present[i])),
    )


@hyperv_ir.invariant(
    "HVI-2", "The image of an active irq names its target, which a route entry can name."
)
def images(s: State) -> Term:
    def law(i: Term) -> Term:
        cpu = s.image_cpu[i]
        return and_(
            implies(s.entry_live[i] & (s.image[i] == IMAGE.SETTLED), follows(s, i)),
            or_(cpu == none(CPU), s.nameable[cpu]),
        )

    return forall(IRQ, law)


@hyperv_ir.invariant("HVI-mask", "An irq of the domain is on a CPU that a route entry can name.")
def masks(s: State) -> Term:
    def law(i: Term) -> Term:
        cpu = s.cfg_cpu[i]
        fits = or_(cpu == none(CPU), s.nameable[cpu])
        return and_(
            implies(s.of_hv[i], fits),
            implies(s.entry_live[i], s.of_hv[i]),
            implies(s.image[i] == IMAGE.OWED, s.entry_live[i]),
        )

    def allowed(i: Term, c: Term) -> Term:
        return implies(s.of_hv[i] & s.affinity[i, c], s.nameable[c])

    return forall(IRQ, law) & forall(IRQ, CPU, allowed)


# --- operations, and a theorem --------------------------------------------------------------

hyperv_ir.operation(irq=IRQ, mask=MASK)(irq_set_affinity)


@hyperv_ir.operation(irq=IRQ)
def alloc(s: State, irq: Term) -> None:
    """The interrupt of a pin."""
    vector_setup(s, irq, FALSE)
    hyperv_irq_remapping_alloc(s, irq)


@hyperv_ir.operation(irq=IRQ)
def other(s: State, irq: Term) -> None:
    """An interrupt that is none of the domain's: MSI goes to the vector domain at once."""
    s.require(~(s.kind[irq] == KIND.IOAPIC))
    vector_setup(s, irq, FALSE)


@hyperv_ir.operation(irq=IRQ)
def free(s: State, irq: Term) -> None:
    """irq_domain_free_irqs_common: the driver has nothing of its own to free."""
    vector_teardown(s, irq)


@hyperv_ir.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def activate(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """The irq gets a vector, and the image names it."""
    s.require(s.of_hv[irq], ~s.entry_live[irq])
    vector_config(s, irq, vector, cpu)
    hyperv_irq_remapping_activate(s, irq, vector, cpu)


@hyperv_ir.operation(irq=IRQ, vector=VECTOR, cpu=CPU)
def move(s: State, irq: Term, vector: Term, cpu: Term) -> None:
    """A move of an active irq."""
    s.require(s.entry_live[irq])
    vector_config(s, irq, vector, cpu)
    hyperv_ir_set_affinity(s, irq, vector, cpu)


@hyperv_ir.theorem("HVI-1", "Nothing but a pin is let in.", irq=IRQ)
def refused(before: State, s: State, irq: Term) -> Term:
    hyperv_irq_remapping_alloc(s, irq)
    return s.kind[irq] == KIND.IOAPIC
