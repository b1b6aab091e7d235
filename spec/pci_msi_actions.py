# SPDX-License-Identifier: GPL-2.0-only
"""The actions of the PCI code: messages, masks, enabling, and what becomes of a device.

A message is taken apart into what it can say: a vector on a CPU, the shutdown vector, or nothing.
"""

from __future__ import annotations

from spec.matrix import CPU, VECTOR
from spec.msi import (
    DESC,
    DEVICE,
    MESSAGE,
    configured,
    in_phase,
    msi,
    settled,
)
from spec.msi_actions import each_entry
from spec.pci_msi import SETUP, enabled, has_entries, may_mask, reachable
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import BOOL, INT, Option, Term, and_, implies, ite, none, or_

# --- messages and masks ---------------------------------------------------------------------


@msi.action(irq=IRQ, desc=DESC, vector=Option(VECTOR), cpu=Option(CPU), shutdown=BOOL, reached=BOOL)
def pci_write_msi_msg(
    s: State, irq: Term, desc: Term, vector: Term, cpu: Term, shutdown: Term, reached: Term
) -> None:
    """A message is written and cached (section 7.6), for the first irq of a block. It is the one
    that is composed; zero, before a deactivation; the cached one again; or, where the device cannot
    be masked, the new vector for the old target, on the way of a move."""
    device, pc = s.entry_device[desc], s.message_pc[irq]
    s.require(s.entry_irq[desc] == irq, s.msi_desc[irq] == desc)
    s.require(~(s.msi_level[irq] == none(DOMAIN)))
    s.require(reached == (reachable(s, device) & ~s.is_virtual[desc]))
    same = and_(
        vector == s.cached_vector[desc],
        cpu == s.cached_cpu[desc],
        shutdown == s.cached_shutdown[desc],
    )
    composed = and_(
        vector == s.cfg_vector[irq], cpu == s.cfg_cpu[irq], shutdown == s.cfg_shutdown[irq]
    ) & configured(s, irq)
    zero = and_(vector == none(VECTOR), cpu == none(CPU), ~shutdown)
    torn = and_(
        s.nomask_quirk[irq],
        vector == s.cfg_vector[irq],
        cpu == s.moved_from[irq],
        ~(cpu == none(CPU)),
        ~shutdown,
    )
    moves = pc == MESSAGE.CONFIGURED
    alive = in_phase(s, device, "ALLOC", "READY")
    activates = and_(~s.activated[irq], settled(s, irq), composed, ~same, alive)
    deactivates = and_(s.activated[irq], ~s.started[irq], settled(s, irq), zero, ~same)
    s.require(or_(settled(s, irq) & same, activates, deactivates, moves & (composed | torn)))
    rest = ite(moves & composed, MESSAGE.SETTLED, pc)
    s.message_pc[irq] = ite(activates, MESSAGE.WRITTEN, ite(deactivates, MESSAGE.ZEROED, rest))
    with s.when(moves & composed):
        s.moved_from[irq] = None
    s.cached_vector[desc] = vector
    s.cached_cpu[desc] = cpu
    s.cached_shutdown[desc] = shutdown
    s.stale[desc] = ~reached
    with s.when(reached):
        s.device_vector[desc] = vector
        s.device_cpu[desc] = cpu
        s.device_shutdown[desc] = shutdown
    with s.when(~reached & ~s.is_virtual[desc]):
        s.registers_lost[device] = True


@msi.action(irq=Option(IRQ), desc=DESC, mask=INT)
def pci_msi_mask_irq(s: State, irq: Term, desc: Term, mask: Term) -> None:
    """The mask of a descriptor is written and cached; 0 where nobody may mask."""
    device = s.entry_device[desc]
    s.require(~(device == none(DEVICE)), s.entry_irq[desc] == irq)
    s.require(may_mask(s, desc) | (mask == 0))
    s.masked[desc] = mask
    with s.when(may_mask(s, desc) & reachable(s, device)):
        s.device_masked[desc] = mask
    with s.when(may_mask(s, desc) & ~reachable(s, device)):
        s.registers_lost[device] = True


# --- enabling -------------------------------------------------------------------------------


def _masks_agree(s: State, device: Term) -> Term:
    """What the PCI code has written as masks is in the device."""
    return each_entry(
        s,
        device,
        lambda d: or_(~may_mask(s, d), s.registers_lost[device], s.masked[d] == s.device_masked[d]),
    )


@msi.action(device=DEVICE, enable=BOOL)
def pci_msi_set_enable(s: State, device: Term, enable: Term) -> None:
    """MSI is enabled, once the device has its irqs; disabled, its mask bits are cleared (PCI-7)."""
    one_kind = each_entry(s, device, lambda d: ~s.entry_is_msix[d])
    for condition in (
        in_phase(s, device, "READY"),
        one_kind,
        _masks_agree(s, device),
        ~s.intx[device],
        ~s.msix_enabled[device],
    ):
        s.require(implies(enable, condition))
    ends = ~enable & s.msi_enabled[device]
    with s.each(DESC, "d", lambda d: ends & (s.entry_device[d] == device)) as d:
        s.device_masked[d] = 0
    s.setup[device] = ite(enable, SETUP.REST, ite(ends, SETUP.TEARDOWN, s.setup[device]))
    s.msi_enabled[device] = enable


@msi.action(device=DEVICE, enable=BOOL)
def pci_msix_set_enable(s: State, device: Term, enable: Term) -> None:
    """The enable bit of MSI-X. It is set while everything is masked, before INTx goes off and the
    device counts as enabled; it stays set if the irqs cannot be listed in sysfs."""
    kind = each_entry(s, device, lambda d: s.entry_is_msix[d])
    s.require(implies(enable, and_(in_phase(s, device, "READY"), kind, ~s.msi_enabled[device])))
    ends = ~enable & s.msix_enabled[device]
    with s.each(DESC, "d", lambda d: ends & (s.entry_device[d] == device)) as d:
        s.device_masked[d] = 1
    s.setup[device] = ite(ends, SETUP.TEARDOWN, s.setup[device])
    s.msix_enabled[device] = enable & s.msix_enabled[device]
    s.msix_bit[device] = enable


@msi.action(device=DEVICE, enable=BOOL)
def pci_intx(s: State, device: Term, enable: Term) -> None:
    """INTx is allowed or not. With MSI-X set up, that it is not makes the device an enabled one."""
    kind = each_entry(s, device, lambda d: s.entry_is_msix[d])
    completes = and_(
        ~enable,
        s.msix_bit[device],
        s.setup[device] == SETUP.SETUP,
        in_phase(s, device, "READY"),
        kind,
    )
    s.require(implies(enable, ~enabled(s, device)), implies(completes, _masks_agree(s, device)))
    with s.when(completes):
        s.msix_enabled[device] = True
        s.setup[device] = SETUP.REST
    s.intx[device] = enable


@msi.action(device=DEVICE)
def pci_restore_msi_state(s: State, device: Term) -> None:
    """Every message and mask of an enabled device was written again: if it can be reached, it holds
    what the kernel remembers."""
    told = enabled(s, device) & reachable(s, device)

    def held(d: Term) -> Term:
        message = s.is_virtual[d] | ~s.stale[d]
        return message & implies(may_mask(s, d), s.masked[d] == s.device_masked[d])

    s.require(implies(told, each_entry(s, device, held)))
    with s.when(told):
        s.registers_lost[device] = False


# --- devices --------------------------------------------------------------------------------


@msi.action(device=DEVICE, domain=Option(DOMAIN))
def set_device_msi_domain(s: State, device: Term, domain: Term) -> None:
    """The device is told its MSI domain, before any driver knows it."""
    s.require(~has_entries(s, device))
    s.msi_domain[device] = domain


@msi.action(device=DEVICE, domain=Option(DOMAIN))
def pci_device_add(s: State, device: Term, domain: Term) -> None:
    """A device is there, in D0 and with INTx."""
    s.require(~s.dev_added[device], ~has_entries(s, device))
    s.dev_added[device] = True
    s.msi_domain[device] = domain
    s.in_d0[device] = True
    s.disconnected[device] = False
    s.intx[device] = True


@msi.action(device=DEVICE)
def pci_device_remove(s: State, device: Term) -> None:
    """A device is removed, once its driver has given everything back."""
    s.require(s.dev_added[device], ~has_entries(s, device))
    for bit in ("dev_added", "in_d0", "disconnected", "intx"):
        getattr(s, bit)[device] = False
    s.msi_domain[device] = None


@msi.action(device=DEVICE, d0=BOOL)
def pci_set_power_state(s: State, device: Term, d0: Term) -> None:
    """The device goes to D0, or leaves it."""
    s.require(s.dev_added[device])
    s.in_d0[device] = d0


@msi.action(device=DEVICE)
def pci_dev_set_disconnected(s: State, device: Term) -> None:
    """The device is gone, and its driver is not told yet."""
    s.require(s.dev_added[device])
    s.disconnected[device] = True


@msi.action(device=DEVICE)
def pci_reset_function(s: State, device: Term) -> None:
    """The registers are as after power-on: on a reset, and on the way from D3 to D0."""
    s.require(s.dev_added[device])
    s.registers_lost[device] = True
    with s.each(DESC, "d", lambda d: s.entry_device[d] == device) as d:
        s.stale[d] = True
        s.device_vector[d] = None
        s.device_cpu[d] = None
        s.device_shutdown[d] = False
        s.device_masked[d] = ite(s.entry_is_msix[d], 1, 0)
