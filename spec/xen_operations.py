# SPDX-License-Identifier: GPL-2.0-only
"""The operations of a Xen guest: what happens to one device or one irq, nobody in between.

The setup of a device is no single operation, for the hypervisor, other devices and other CPUs act
between its requests; what the mapping mutex makes one, a bind, is. Blocks are of two irqs here.
"""

from __future__ import annotations

from spec.matrix import CPU
from spec.msi import DESC, DEVICE
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, TRUE, Enum, Option, Term, ite, lift, none
from spec.xen import (
    DOMID,
    EINVAL,
    ENOMEM,
    ENOSYS,
    ESRCH,
    PIRQ,
    PORT,
    xen,
)
from spec.xen_actions import (
    irq_set_msi_desc,
    pci_op_enable_msi,
    pci_op_enable_msix,
    physdev_get_free_pirq,
    physdev_map_pirq,
    xen_bind_pirq_msi_to_irq,
    xen_hvm_setup_msi_irqs,
    xen_initdom_setup_msi_irqs,
    xen_irq_info_pirq_setup,
    xen_irq_init,
    xen_msi_compose_msg,
    xen_msi_domain_alloc_irqs,
    xen_setup_msi_irqs,
    xen_undo_map_pirq,
)
from spec.xen_boot_actions import (
    alloc_msi_entry,
    create_pci_msi_domain,
    create_subdevice_domain,
    default_restore_msi_irqs,
    free_msi_entry,
    irq_alloc_descs,
    irq_free_descs,
    msi_mask_ignored,
    msi_mask_write,
    pci_device_add,
    pci_device_remove,
    pci_msi_domain_refuses,
    physdev_restore_msi,
    physdev_restore_msi_ext,
    set_affinity_irq,
    set_device_msi_domain,
    shutdown_pirq,
    startup_pirq,
    xen_register_device_domain_owner,
    xen_setup_pci_msi,
)
from spec.xen_teardown_actions import (
    pci_op_disable_msi,
    pci_op_disable_msix,
    physdev_unmap_pirq,
    release_pirq,
    xen_destroy_irq,
    xen_free_irq,
    xen_msi_desc_clear_irq,
    xen_msi_domain_free_irqs,
    xen_teardown_msi_irqs,
)

REFUSAL = Enum("Refusal", ("NOT_UNDERSTOOD", "NO_MEMORY"))
"""Two errors of map_pirq: the first may be repeated without the segment."""

REPLY = Enum("Reply", ("SERVED", "FAILED", "INVALID", "COUNT"))
"""What the backend says to MSI-X: as asked, an error, pirqs that are none, or another count."""

UNMAPPED = Enum("Unmapped", ("DONE", "NO_DOMAIN", "FAILED"))
"""What the hypervisor says to an unmap."""

# What is one action is one operation.
xen.operation()(xen_setup_pci_msi)
xen.operation(domain=Option(DOMAIN))(create_pci_msi_domain)
xen.operation(device=DEVICE, domain=Option(DOMAIN))(pci_device_add)
xen.operation(device=DEVICE, domain=Option(DOMAIN))(set_device_msi_domain)
xen.operation(device=DEVICE)(pci_device_remove)
xen.operation(device=DEVICE, domid=Option(DOMID))(xen_register_device_domain_owner)
xen.operation(device=DEVICE, desc=DESC)(free_msi_entry)
xen.operation(desc=DESC)(xen_msi_desc_clear_irq)
xen.operation(device=DEVICE)(xen_teardown_msi_irqs)
xen.operation(device=DEVICE)(xen_msi_domain_free_irqs)
xen.operation(irq=IRQ, evtchn=Option(PORT), cpu=Option(CPU))(startup_pirq)
xen.operation(irq=IRQ)(shutdown_pirq)
xen.operation(irq=IRQ, cpu=CPU)(set_affinity_irq)
xen.operation(pirq=PIRQ)(release_pirq)
xen.operation(device=DEVICE)(msi_mask_write)
xen.operation(device=DEVICE)(msi_mask_ignored)
xen.operation(device=DEVICE)(default_restore_msi_irqs)
xen.operation(device=DEVICE)(create_subdevice_domain)
xen.operation("F14", device=DEVICE)(pci_msi_domain_refuses)


# --- descriptors ----------------------------------------------------------------------------


@xen.operation(device=DEVICE, desc=DESC, msix=BOOL)
def alloc_entry(s: State, device: Term, desc: Term, msix: Term) -> None:
    """A descriptor for one irq."""
    alloc_msi_entry(s, device, desc, lift(1), msix)


@xen.operation(device=DEVICE, desc=DESC)
def alloc_block_entry(s: State, device: Term, desc: Term) -> None:
    """A descriptor for two irqs."""
    alloc_msi_entry(s, device, desc, lift(2), FALSE)


# --- requests -------------------------------------------------------------------------------


@xen.operation(desc=DESC, segment=BOOL, pirq=PIRQ)
def map_pirq(s: State, desc: Term, segment: Term, pirq: Term) -> None:
    """The hypervisor maps a pirq, or a block."""
    physdev_map_pirq(s, desc, segment, lift(0), pirq)


@xen.operation(desc=DESC, segment=BOOL, refusal=REFUSAL)
def map_pirq_refused(s: State, desc: Term, segment: Term, refusal: Term) -> None:
    """The hypervisor maps nothing."""
    ret = ite(refusal == REFUSAL.NOT_UNDERSTOOD, EINVAL, ENOMEM)
    physdev_map_pirq(s, desc, segment, ret, none(PIRQ))


@xen.operation(desc=DESC, pirq=PIRQ)
def reserve_pirq(s: State, desc: Term, pirq: Term) -> None:
    """A pirq is reserved, and the message that names it written."""
    physdev_get_free_pirq(s, desc, lift(0), pirq)
    xen_msi_compose_msg(s, desc, pirq)


@xen.operation(desc=DESC)
def reserve_pirq_refused(s: State, desc: Term) -> None:
    """There is no pirq to be reserved."""
    physdev_get_free_pirq(s, desc, lift(ENOSYS), none(PIRQ))


@xen.operation(device=DEVICE, served=BOOL)
def enable_msi(s: State, device: Term, served: Term) -> None:
    """The backend enables MSI, or does not."""
    pci_op_enable_msi(s, device, ite(served, 0, EINVAL))


@xen.operation(device=DEVICE, reply=REPLY)
def enable_msix(s: State, device: Term, reply: Term) -> None:
    """The backend answers to MSI-X."""
    other = ite(reply == REPLY.INVALID, EINVAL, 1)
    failed = ite(reply == REPLY.FAILED, -1, other)
    pci_op_enable_msix(s, device, ite(reply == REPLY.SERVED, 0, failed))


@xen.operation(device=DEVICE, msix=BOOL, served=BOOL)
def disable(s: State, device: Term, msix: Term, served: Term) -> None:
    """The backend disables MSI or MSI-X, or refuses."""
    ret = ite(served, 0, -1)
    with s.when(msix):
        pci_op_disable_msix(s, device, ret)
    with s.when(~msix):
        pci_op_disable_msi(s, device, ret)


# --- binds ----------------------------------------------------------------------------------


@xen.operation(desc=DESC, irq=IRQ, pirq=PIRQ)
def bind(s: State, desc: Term, irq: Term, pirq: Term) -> None:
    """A descriptor gets one irq."""
    _prepare(s, desc, irq, pirq)
    _succeed(s, desc, irq)


@xen.operation(desc=DESC, irq=IRQ, second=IRQ, pirq=PIRQ, next=PIRQ)
def bind_block(s: State, desc: Term, irq: Term, second: Term, pirq: Term, next: Term) -> None:
    """A descriptor gets two."""
    _prepare_block(s, desc, irq, second, pirq, next)
    _succeed(s, desc, irq)


@xen.operation(desc=DESC)
def bind_nothing(s: State, desc: Term) -> None:
    """There are no irqs."""
    xen_bind_pirq_msi_to_irq(s, desc, lift(ENOMEM))


@xen.operation(desc=DESC, irq=IRQ, pirq=PIRQ)
def bind_undone(s: State, desc: Term, irq: Term, pirq: Term) -> None:
    """The irq cannot be bound: it is freed again."""
    _prepare(s, desc, irq, pirq)
    _undo(s, irq)
    xen_bind_pirq_msi_to_irq(s, desc, lift(ENOMEM))


@xen.operation(desc=DESC, irq=IRQ, second=IRQ, pirq=PIRQ, next=PIRQ)
def bind_block_undone(
    s: State, desc: Term, irq: Term, second: Term, pirq: Term, next: Term
) -> None:
    """Of two irqs the second cannot be bound: both are freed again, the last first."""
    _prepare_block(s, desc, irq, second, pirq, next)
    _undo(s, second)
    _undo(s, irq)
    xen_bind_pirq_msi_to_irq(s, desc, lift(ENOMEM))


@xen.operation(desc=DESC, unmapped=UNMAPPED)
def give_back(s: State, desc: Term, unmapped: Term) -> None:
    """What was mapped and not bound is unmapped, or not."""
    xen_undo_map_pirq(s, desc, _answer(unmapped))


def _prepare(s: State, desc: Term, irq: Term, pirq: Term) -> None:
    irq_alloc_descs(s, irq)
    xen_irq_init(s, irq, desc)
    xen_irq_info_pirq_setup(s, irq, pirq, s.pirq_domid[pirq], FALSE)


def _prepare_block(s: State, desc: Term, irq: Term, second: Term, pirq: Term, next: Term) -> None:
    irq_alloc_descs(s, irq)
    irq_alloc_descs(s, second)
    xen_irq_init(s, irq, desc)
    xen_irq_init(s, second, desc)
    xen_irq_info_pirq_setup(s, irq, pirq, s.pirq_domid[pirq], FALSE)
    xen_irq_info_pirq_setup(s, second, next, s.pirq_domid[next], TRUE)


def _succeed(s: State, desc: Term, irq: Term) -> None:
    irq_set_msi_desc(s, irq, desc)
    xen_bind_pirq_msi_to_irq(s, desc, lift(0))


def _undo(s: State, irq: Term) -> None:
    xen_free_irq(s, irq)
    irq_free_descs(s, irq)


def _answer(unmapped: Term) -> Term:
    return ite(unmapped == UNMAPPED.DONE, 0, ite(unmapped == UNMAPPED.NO_DOMAIN, ESRCH, EINVAL))


# --- the ends of setups ---------------------------------------------------------------------


@xen.operation(device=DEVICE, msix=BOOL)
def initdom_returns(s: State, device: Term, msix: Term) -> None:
    """The setup function of the initial domain returns 0, or what has failed."""
    xen_initdom_setup_msi_irqs(s, device, msix, s.xen_ret[device])


@xen.operation(device=DEVICE, msix=BOOL, block=BOOL)
def initdom_cannot_ask(s: State, device: Term, msix: Term, block: Term) -> None:
    """It returns without a request for the descriptor that it has come to."""
    s.require(s.xen_ret[device] == 0)
    xen_initdom_setup_msi_irqs(s, device, msix, ite(block, 1, EINVAL))


@xen.operation(device=DEVICE, msix=BOOL)
def pcifront_returns(s: State, device: Term, msix: Term) -> None:
    """That of another paravirtualised guest returns 0, or what has failed."""
    xen_setup_msi_irqs(s, device, msix, s.xen_ret[device])


@xen.operation(device=DEVICE, msix=BOOL)
def pcifront_gives_up(s: State, device: Term, msix: Term) -> None:
    """It returns without a request: there is no memory."""
    s.require(s.xen_ret[device] == 0)
    xen_setup_msi_irqs(s, device, msix, lift(ENOMEM))


@xen.operation(device=DEVICE)
def pcifront_refuses_block(s: State, device: Term) -> None:
    """It wants one vector."""
    xen_setup_msi_irqs(s, device, FALSE, lift(1))


@xen.operation(device=DEVICE, msix=BOOL)
def hvm_returns(s: State, device: Term, msix: Term) -> None:
    """That of a guest of type HVM returns 0, or what has failed."""
    xen_hvm_setup_msi_irqs(s, device, msix, s.xen_ret[device])


@xen.operation(device=DEVICE)
def hvm_refuses_block(s: State, device: Term) -> None:
    """It wants one vector."""
    xen_hvm_setup_msi_irqs(s, device, FALSE, lift(1))


@xen.operation(device=DEVICE)
def refuse_other_bus(s: State, device: Term) -> None:
    """A device that is not on PCI is refused."""
    xen_msi_domain_alloc_irqs(s, device, lift(EINVAL))


# --- teardown and the rest ------------------------------------------------------------------


@xen.operation(irq=IRQ, pirq=PIRQ, unmapped=UNMAPPED)
def unmap_and_free(s: State, irq: Term, pirq: Term, unmapped: Term) -> None:
    """xen_destroy_irq of the first irq of a block, in the initial domain."""
    physdev_unmap_pirq(s, irq, pirq, _answer(unmapped))
    _undo(s, irq)


@xen.operation("XEN-unmap", irq=IRQ, pirq=PIRQ)
def unmap_and_keep(s: State, irq: Term, pirq: Term) -> None:
    """v5.10 keeps an irq whose pirq was not unmapped."""
    physdev_unmap_pirq(s, irq, pirq, lift(EINVAL))
    xen_destroy_irq(s, irq)


@xen.operation(irq=IRQ)
def free(s: State, irq: Term) -> None:
    """xen_destroy_irq of any other irq."""
    s.require(~s.undoing[s.member_of[irq]])
    _undo(s, irq)


@xen.operation(device=DEVICE, known=BOOL)
def restore_ext(s: State, device: Term, known: Term) -> None:
    """The hypervisor restores a device's messages, or does not know how."""
    physdev_restore_msi_ext(s, device, ite(known, 0, ENOSYS))


@xen.operation(device=DEVICE)
def restore(s: State, device: Term) -> None:
    """It restores those of a device in segment 0."""
    physdev_restore_msi(s, device, lift(0))
