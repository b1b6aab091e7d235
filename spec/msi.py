# SPDX-License-Identifier: GPL-2.0-only
"""The generic MSI core (kernel/irq/msi.c, v5.10): its state, and what must hold of it.

A device has a list of descriptors (`msi_desc`; here the sort DESC, and *entry* in the names of the
fields, because a `desc` is an irq's). A descriptor stands for a block of irqs and for the message
that the device sends for them. The layer stands by itself: with the layers below it shares the
fields and actions of the same names, and of an irq's configuration it knows what a message can say.

`phase` is where a device is in the life of its irqs; it is IDLE or READY between the calls of the
core, and then the laws of whole operations hold. Nothing excludes two devices from being in a
phase at once. `message_pc` is what is owed to an irq's message; with it, the order of the steps is
a part of the specification.

A message is composed from the irq's vector: that a remapping unit or a VMD composes another one is
the matter of a layer of its own. The PCI side of the same devices is in `spec.pci_msi`.

Ids of sections 6.7, 7.10 and 8.7 that are no laws of this layer's states: MSI-1 (each domain has
the operations it needs) and MSI-10 (which error codes are seen) are laws of the implementation,
MSI-12 one of two versions of it, PCI-5 one of its loops; PCI-4, APIC-1 and APIC-Q are proved of the
bits; APIC-2 and APIC-3 say which chip composes, APIC-7 which ids DMAR units and HPETs have.
"""

from __future__ import annotations

from spec.language import Layer
from spec.matrix import CPU, VECTOR
from spec.sorts import DOMAIN, HWIRQ, IRQ
from spec.state import State
from spec.terms import (
    INT,
    Enum,
    Int,
    Option,
    Sort,
    Term,
    and_,
    none,
    or_,
)

DEVICE = Sort("Device")
DESC = Sort("Desc")

PHASE = Enum(
    "Phase",
    (
        "IDLE",  # no descriptor of the device has an irq
        "ALLOC",  # msi_domain_alloc_irqs runs: allocation, then early activation
        "ROLLBACK",  # msi_domain_alloc_irqs undoes what it did
        "FAILED",  # it has failed, and the owner has not freed yet
        "READY",  # it has succeeded
        "FREEING",  # msi_domain_free_irqs runs for the owner
    ),
)

LIFE = Enum(
    "Life",
    (
        "NEW",  # never activated
        "EARLY",  # as early activation left it
        "USED",  # activated or deactivated since
    ),
)

MESSAGE = Enum(
    "Message",
    (
        "SETTLED",  # nothing is owed
        "CONFIGURED",  # the active irq has a new vector: its message is to be written
        "WRITTEN",  # the message is written: the activation is to be completed
        "ZEROED",  # the zero message is written: the deactivation is to be completed
    ),
)

msi = Layer("msi", (CPU, VECTOR, IRQ, DOMAIN, HWIRQ, DEVICE, DESC))

# What a domain is, and numbers: constants.
msi.field("is_msi_domain", DOMAIN, rigid=True, doc="made by msi_create_irq_domain: a hierarchy")
msi.field("pci_token", DOMAIN, rigid=True, doc="the bus token is DOMAIN_BUS_PCI_MSI")
msi.field("vmd_token", DOMAIN, rigid=True, doc="the bus token is DOMAIN_BUS_VMD_MSI")
msi.field("must_reactivate", DOMAIN, rigid=True, doc="MSI_FLAG_MUST_REACTIVATE")
msi.field("activate_early", DOMAIN, rigid=True, doc="MSI_FLAG_ACTIVATE_EARLY")
msi.field("multi_pci_msi", DOMAIN, rigid=True, doc="MSI_FLAG_MULTI_PCI_MSI")
msi.field("has_nomask_quirk", DOMAIN, rigid=True, doc="IRQ_DOMAIN_MSI_NOMASK_QUIRK")
msi.field("has_msi_free", DOMAIN, rigid=True, doc="the domain has an operation msi_free")
msi.field("pci_msi_ignore_mask", rigid=True, doc="nobody may mask: a Xen guest")
msi.field("irq_number", IRQ, type=INT, rigid=True, doc="the number of an irq")
msi.field("hwirq_number", HWIRQ, type=INT, rigid=True, doc="the number of a hwirq")

# What the layers below have, too.
msi.field("desc", IRQ, doc="the descriptor exists")
msi.field("affinity_managed", IRQ, doc="IRQD_AFFINITY_MANAGED")
msi.field("irqd_can_reserve", IRQ, doc="IRQD_CAN_RESERVE")
msi.field("activated", IRQ, doc="IRQD_ACTIVATED")
msi.field("started", IRQ, doc="IRQD_IRQ_STARTED")
msi.field("cfg_vector", IRQ, type=Option(VECTOR), doc="hw_irq_cfg.vector, if a real one")
msi.field("cfg_cpu", IRQ, type=Option(CPU), doc="the CPU of hw_irq_cfg.dest_apicid, likewise")
msi.field("cfg_shutdown", IRQ, doc="hw_irq_cfg.vector is MANAGED_IRQ_SHUTDOWN_VECTOR")

# An irq in its MSI domain, and in its block.
msi.field("msi_level", IRQ, type=Option(DOMAIN), doc="the MSI domain that has set its level up")
msi.field("msi_hwirq", IRQ, type=Option(HWIRQ), doc="the hwirq at that level")
msi.field("initialised", IRQ, doc="msi_init has succeeded and msi_free was not called since")
msi.field("msi_desc", IRQ, type=Option(DESC), doc="irq_common_data.msi_desc")
msi.field("msi_offset", IRQ, type=Int((IRQ,)), doc="the irq's place in its block")
msi.field("nomask_quirk", IRQ, doc="IRQD_MSI_NOMASK_QUIRK")
msi.field("life", IRQ, type=LIFE, doc="what has happened to the irq since it was allocated")
msi.field("message_pc", IRQ, type=MESSAGE, transient=True, doc="what is owed to its message")
msi.field("moved_from", IRQ, type=Option(CPU), transient=True, doc="the target before a move")

# A descriptor of a device.
msi.field("entry_device", DESC, type=Option(DEVICE), doc="msi_desc.dev, while it is in the list")
msi.field("entry_position", DESC, type=Int((DESC,)), doc="its place in the list")
msi.field("entry_is_msix", DESC, doc="msi_attrib.is_msix")
msi.field("entry_maskbit", DESC, doc="msi_attrib.maskbit")
msi.field("entry_nvec", DESC, type=Int((IRQ,)), doc="nvec_used")
msi.field("entry_irq", DESC, type=Option(IRQ), doc="msi_desc.irq, if not 0")
msi.field("entry_linked", DESC, type=Int((IRQ,)), doc="how many irqs point to it")
msi.field("partial", DESC, doc="its block is being put together or taken apart")
msi.field("cached_vector", DESC, type=Option(VECTOR), doc="the vector in msi_desc.msg, if real")
msi.field("cached_cpu", DESC, type=Option(CPU), doc="the CPU in it, likewise")
msi.field("cached_shutdown", DESC, doc="the vector in it is MANAGED_IRQ_SHUTDOWN_VECTOR")

# A device.
msi.field("msi_domain", DEVICE, type=Option(DOMAIN), doc="dev.msi_domain")
msi.field("phase", DEVICE, type=PHASE, doc="where the device is in the life of its irqs")
msi.field("stored", DEVICE, doc="msi_alloc_store has succeeded and msi_free_store was not called")
msi.field("entries", DEVICE, type=Int((DESC,)), doc="how long its list was made")


# --- words for the formulas -----------------------------------------------------------------


def linked(s: State, i: Term) -> Term:
    """The irq belongs to a descriptor of a device."""
    return ~(s.msi_desc[i] == none(DESC))


def device_of(s: State, i: Term) -> Term:
    """The device of a linked irq."""
    return s.entry_device[s.msi_desc[i]]


def domain_of(s: State, d: Term) -> Term:
    """The MSI domain of a descriptor's device."""
    return s.msi_domain[s.entry_device[d]]


def first(s: State, i: Term) -> Term:
    """The irq is the first of its block, the one that writes the message."""
    return linked(s, i) & (s.entry_irq[s.msi_desc[i]] == i)


def has_irq(s: State, d: Term) -> Term:
    """The descriptor has its irqs, or the first of them."""
    return ~(s.entry_irq[d] == none(IRQ))


def complete(s: State, d: Term) -> Term:
    """Every irq of the block points to the descriptor."""
    return s.entry_linked[d] == s.entry_nvec[d]


def dying(s: State, d: Term) -> Term:
    """The block is being taken apart."""
    return s.partial[d] & in_phase(s, s.entry_device[d], "ROLLBACK", "FREEING")


def maskable(s: State, d: Term) -> Term:
    """The device can mask the descriptor's irqs."""
    return s.entry_is_msix[d] | s.entry_maskbit[d]


def reserves(s: State, d: Term) -> Term:
    """msi_check_reservation_mode as it should be (section 6.5). It asks the first descriptor of the
    device; all are alike (MSI-kind)."""
    domain = domain_of(s, d)
    return and_(
        s.pci_token[domain] | s.vmd_token[domain],
        s.must_reactivate[domain],
        ~s.pci_msi_ignore_mask,
        maskable(s, d),
    )


def in_phase(s: State, v: Term, *names: str) -> Term:
    """The device is in one of these phases."""
    return or_(*(s.phase[v] == getattr(PHASE, name) for name in names))


def settled(s: State, i: Term) -> Term:
    """Nothing is owed to the irq's message."""
    return s.message_pc[i] == MESSAGE.SETTLED


def cached_zero(s: State, d: Term) -> Term:
    """The descriptor's message is all zero."""
    return (s.cached_vector[d] == none(VECTOR)) & ~s.cached_shutdown[d]


def configured(s: State, i: Term) -> Term:
    """The irq's configuration names a vector, real or for shutdown."""
    return ~(s.cfg_vector[i] == none(VECTOR)) | s.cfg_shutdown[i]


def cached_is_composed(s: State, d: Term, i: Term) -> Term:
    """The descriptor's message is what is composed for the irq."""
    return and_(
        s.cached_vector[d] == s.cfg_vector[i],
        s.cached_cpu[d] == s.cfg_cpu[i],
        s.cached_shutdown[d] == s.cfg_shutdown[i],
    )
