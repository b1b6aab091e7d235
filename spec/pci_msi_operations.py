# SPDX-License-Identifier: GPL-2.0-only
"""The operations of PCI MSI: devices, descriptors, enabling, and the way back from sleep.

Writing the message of one descriptor again is an operation of its own, and so is the making or the
masking of one: pci_restore_msi_state and msix_capability_init go through all of them.
"""

from __future__ import annotations

from spec.msi import DESC, DEVICE, msi
from spec.msi_actions import alloc_msi_entry, each_irq, free_msi_entry
from spec.msi_operations import write
from spec.pci_msi import may_mask
from spec.pci_msi_actions import (
    pci_dev_set_disconnected,
    pci_device_add,
    pci_device_remove,
    pci_intx,
    pci_msi_mask_irq,
    pci_msi_set_enable,
    pci_msix_set_enable,
    pci_reset_function,
    pci_restore_msi_state,
    pci_set_power_state,
)
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import BOOL, FALSE, TRUE, Term, ite, lift

# --- devices and their descriptors ----------------------------------------------------------


@msi.operation(device=DEVICE, domain=DOMAIN)
def add_device(s: State, device: Term, domain: Term) -> None:
    """A device appears, and its MSIs come from the domain."""
    pci_device_add(s, device, domain)


@msi.operation(device=DEVICE)
def remove_device(s: State, device: Term) -> None:
    """A device that no driver uses disappears."""
    pci_device_remove(s, device)


@msi.operation(device=DEVICE, d0=BOOL)
def power(s: State, device: Term, d0: Term) -> None:
    """The device is put to sleep, or woken; in its sleep it forgets its registers."""
    s.require(s.in_d0[device] == ~d0)
    pci_set_power_state(s, device, d0)
    with s.when(d0):
        pci_reset_function(s, device)


@msi.operation(device=DEVICE)
def disconnect(s: State, device: Term) -> None:
    """The device is pulled out."""
    s.require(~s.disconnected[device])
    pci_dev_set_disconnected(s, device)


@msi.operation(device=DEVICE, desc=DESC, block=BOOL, maskbit=BOOL)
def set_up_msi(s: State, device: Term, desc: Term, block: Term, maskbit: Term) -> None:
    """msi_capability_init makes its descriptor, for one irq or two, and masks it."""
    nvec = ite(block, lift(2), lift(1))
    alloc_msi_entry(s, device, desc, nvec, FALSE, maskbit)
    pci_msi_mask_irq(s, s.entry_irq[desc], desc, ite(may_mask(s, desc), 1, 0))


@msi.operation(device=DEVICE, desc=DESC)
def set_up_msix(s: State, device: Term, desc: Term) -> None:
    """msix_capability_init makes one of its descriptors."""
    alloc_msi_entry(s, device, desc, lift(1), TRUE, FALSE)


@msi.operation(device=DEVICE, desc=DESC)
def free_entry(s: State, device: Term, desc: Term) -> None:
    """free_msi_irqs drops one of the descriptors."""
    free_msi_entry(s, device, desc)


# --- enabling, and the way back -------------------------------------------------------------


@msi.operation(desc=DESC, mask=BOOL)
def set_mask(s: State, desc: Term, mask: Term) -> None:
    """A descriptor is masked, or unmasked."""
    pci_msi_mask_irq(s, s.entry_irq[desc], desc, ite(may_mask(s, desc) & mask, 1, 0))


@msi.operation(device=DEVICE)
def enable_msi(s: State, device: Term) -> None:
    """msi_capability_init ends: INTx goes off, and MSI on."""
    pci_intx(s, device, FALSE)
    pci_msi_set_enable(s, device, TRUE)


@msi.operation(device=DEVICE)
def enable_msix(s: State, device: Term) -> None:
    """msix_capability_init ends: MSI-X goes on, and INTx off."""
    s.require(~s.msix_enabled[device])
    pci_msix_set_enable(s, device, TRUE)
    pci_intx(s, device, FALSE)


@msi.operation(device=DEVICE)
def list_fails(s: State, device: Term) -> None:
    """The irqs of MSI-X cannot be listed in sysfs: the device stays as it is, and all is freed."""
    s.require(~s.msix_enabled[device], ~s.msix_bit[device])
    pci_msix_set_enable(s, device, TRUE)


@msi.operation(device=DEVICE)
def disable_msi(s: State, device: Term) -> None:
    """pci_msi_shutdown, when no irq is requested any more."""
    s.require(s.msi_enabled[device], _unused(s, device))
    pci_msi_set_enable(s, device, FALSE)
    pci_intx(s, device, TRUE)


@msi.operation(device=DEVICE)
def disable_msix(s: State, device: Term) -> None:
    """pci_msix_shutdown, likewise; of a device that is gone it is only noted."""
    s.require(s.msix_enabled[device], _unused(s, device))
    pci_msix_set_enable(s, device, FALSE)
    with s.when(~s.disconnected[device]):
        pci_intx(s, device, TRUE)


def _unused(s: State, device: Term) -> Term:
    """No driver has requested an irq of the device."""
    return each_irq(s, device, lambda i: ~s.started[i])


@msi.operation(device=DEVICE, desc=DESC, irq=IRQ)
def restore_msi(s: State, device: Term, desc: Term, irq: Term) -> None:
    """pci_restore_msi_state of a device with MSI."""
    s.require(s.msi_enabled[device], s.entry_device[desc] == device, s.msi_desc[irq] == desc)
    s.require(s.entry_irq[desc] == irq)
    pci_intx(s, device, FALSE)
    pci_msi_set_enable(s, device, FALSE)
    _write_cached(s, irq)
    pci_msi_mask_irq(s, irq, desc, ite(may_mask(s, desc), s.masked[desc], 0))
    pci_msi_set_enable(s, device, TRUE)
    pci_restore_msi_state(s, device)


@msi.operation(desc=DESC, irq=IRQ)
def restore_entry(s: State, desc: Term, irq: Term) -> None:
    """pci_restore_msi_state of a device with MSI-X comes to one of its descriptors."""
    s.require(s.msix_enabled[s.entry_device[desc]], s.entry_irq[desc] == irq)
    s.require(s.msi_desc[irq] == desc, s.registers_lost[s.entry_device[desc]])
    _write_cached(s, irq)
    pci_msi_mask_irq(s, irq, desc, ite(may_mask(s, desc), s.masked[desc], 0))


@msi.operation(device=DEVICE)
def restore_msix(s: State, device: Term) -> None:
    """pci_restore_msi_state of a device with MSI-X has come to the end."""
    s.require(s.msix_enabled[device], s.registers_lost[device])
    pci_intx(s, device, FALSE)
    pci_msix_set_enable(s, device, TRUE)
    pci_restore_msi_state(s, device)


def _write_cached(s: State, irq: Term) -> None:
    desc = s.msi_desc[irq]
    write(s, irq, s.cached_vector[desc], s.cached_cpu[desc], s.cached_shutdown[desc])
