# SPDX-License-Identifier: GPL-2.0-only
"""What happens around the setup of a Xen guest's irqs: boot, devices, descriptors, event channels,
masks, restoring. Actions that other layers have, too, have their names and parameters."""

from __future__ import annotations

from spec.matrix import CPU
from spec.msi import DESC, DEVICE
from spec.sorts import DOMAIN, IRQ
from spec.state import State
from spec.terms import BOOL, INT, Option, Term, exists, implies, ite, none
from spec.xen import (
    DOMID,
    ENOSYS,
    INFO,
    PORT,
    SETUP_OPS,
    TEARDOWN_OPS,
    XEN_PHASE,
    bypasses,
    chosen_setup,
    device_of,
    dispatched,
    each_entry,
    has_entries,
    has_xen_domain,
    in_xen_phase,
    is_pirq,
    kind_of,
    masks_ignored,
    xen,
)

OPTION_DOMAIN = Option(DOMAIN)


# --- boot -----------------------------------------------------------------------------------


@xen.action()
def xen_setup_pci_msi(s: State) -> None:
    """The guest's MSI functions are chosen, and Xen's creator takes the place of the native one.
    Only three kinds of guests call this. With R1 the initial domain of type HVM does, too."""
    s.require(bypasses(s) | (kind_of(s, "PVH_DOM0") if s.on("R1") else kind_of(s)))
    s.require(~s.replaced)
    setup = chosen_setup(s)
    hvm = setup == SETUP_OPS.HVM
    s.setup_ops = setup
    s.teardown_ops = ite(hvm, TEARDOWN_OPS.PLAIN, TEARDOWN_OPS.PV)
    s.restore_hook = setup == SETUP_OPS.INITDOM
    s.ignores_masks = ~hvm if s.on("F13") else True
    s.replaced = True


@xen.action(domain=OPTION_DOMAIN)
def create_pci_msi_domain(s: State, domain: Term) -> None:
    """The default domain is made: Xen's, if its creator is in place. As posted, that of an
    unprivileged guest was not, for the guest's hook into PCI came later (N3)."""
    s.require(~s.default_made)
    if not s.on("N3"):
        s.require(implies(bypasses(s), s.replaced))
    s.require(s.xen_domain[domain] == s.replaced)
    s.default_domain = domain
    s.default_made = True


# --- devices and descriptors ----------------------------------------------------------------


@xen.action(device=DEVICE, domain=OPTION_DOMAIN)
def pci_device_add(s: State, device: Term, domain: Term) -> None:
    """A device comes, with the domain that its bus or the default gives it."""
    _repoint(s, device, domain)


@xen.action(device=DEVICE, domain=OPTION_DOMAIN)
def set_device_msi_domain(s: State, device: Term, domain: Term) -> None:
    """A device gets another domain, before any driver knows it."""
    _repoint(s, device, domain)


@xen.action(device=DEVICE)
def pci_device_remove(s: State, device: Term) -> None:
    """A device goes, when its driver has given everything back."""
    _repoint(s, device, none(DOMAIN))


def _repoint(s: State, device: Term, domain: Term) -> None:
    """Xen's domain is known as the default one alone."""
    s.require(~has_entries(s, device), in_xen_phase(s, device, "IDLE"))
    s.require(implies(s.xen_domain[domain], s.default_domain == domain))
    s.msi_domain[device] = domain
    for bit in ("mask_written", "mask_dropped", "rewritten", "subdevices", "flag_refused"):
        getattr(s, bit)[device] = False


@xen.action(device=DEVICE, domid=Option(DOMID))
def xen_register_device_domain_owner(s: State, device: Term, domid: Term) -> None:
    """The device is given to another domain, or taken back with none."""
    s.require(~has_entries(s, device))
    s.domain_owner[device] = domid


@xen.action(device=DEVICE, desc=DESC, nvec=INT, msix=BOOL)
def alloc_msi_entry(s: State, device: Term, desc: Term, nvec: Term, msix: Term) -> None:
    """The device gets one more descriptor: MSI has one alone, MSI-X as many as irqs are wanted."""
    s.require(s.entry_device[desc] == none(DEVICE), in_xen_phase(s, device, "IDLE"))
    s.require(nvec >= 1, implies(msix, nvec == 1))
    s.require(each_entry(s, device, lambda d: s.entry_is_msix[d] & msix))
    s.entry_device[desc] = device
    s.entry_position[desc] = s.entries[device]
    s.entry_is_msix[desc] = msix
    s.entry_nvec[desc] = nvec
    s.entries[device] += 1


@xen.action(device=DEVICE, desc=DESC)
def free_msi_entry(s: State, device: Term, desc: Term) -> None:
    """A descriptor goes; one that Xen has served or refused, after the teardown."""
    s.require(s.entry_device[desc] == device, in_xen_phase(s, device, "IDLE", "TORN"))
    s.require(implies(dispatched(s, device), in_xen_phase(s, device, "TORN")))
    last = ~exists(DESC, lambda d: (s.entry_device[d] == device) & ~(d == desc))
    s.entry_is_msix[desc] = False
    for option in ("entry_device", "first_irq", "message_pirq"):
        getattr(s, option)[desc] = None
    for number in ("entry_nvec", "entry_position", "writes"):
        getattr(s, number)[desc] = 0
    with s.when(last):
        s.entries[device] = 0
    s.xen_phase[device] = ite(last, XEN_PHASE.IDLE, XEN_PHASE.TORN)


@xen.action(irq=IRQ)
def irq_alloc_descs(s: State, irq: Term) -> None:
    """A descriptor of an irq, for whomever."""
    s.require(~s.desc[irq])
    s.desc[irq] = True


@xen.action(irq=IRQ)
def irq_free_descs(s: State, irq: Term) -> None:
    """It goes, and with it what points back to a descriptor of a device."""
    s.require(s.desc[irq], s.info[irq] == INFO.NONE)
    s.desc[irq] = False
    s.back[irq] = None


# --- event channels -------------------------------------------------------------------------


@xen.action(irq=IRQ, evtchn=Option(PORT), cpu=Option(CPU))
def startup_pirq(s: State, irq: Term, evtchn: Term, cpu: Term) -> None:
    """The irq is requested: the hypervisor binds an event channel to its pirq, or refuses, and then
    the irq counts as started all the same."""
    there = ~(evtchn == none(PORT))
    s.require(is_pirq(s, irq), s.bound[s.member_of[irq]], ~s.pirq_started[irq])
    s.require(in_xen_phase(s, device_of(s, irq), "DONE"))
    s.require(s.port_irq[evtchn] == none(IRQ), there == ~(cpu == none(CPU)))
    s.pirq_started[irq] = True
    s.evtchn[irq] = evtchn
    s.evtchn_cpu[irq] = cpu
    s.port_irq[evtchn] = irq


@xen.action(irq=IRQ)
def shutdown_pirq(s: State, irq: Term) -> None:
    """The irq is freed by its driver: its event channel is closed, the pirq stays."""
    s.require(s.pirq_started[irq])
    s.pirq_started[irq] = False
    s.port_irq[s.evtchn[irq]] = None
    s.evtchn[irq] = None
    s.evtchn_cpu[irq] = None


@xen.action(irq=IRQ, cpu=CPU)
def set_affinity_irq(s: State, irq: Term, cpu: Term) -> None:
    """The event channel notifies another CPU."""
    s.require(~(s.evtchn[irq] == none(PORT)))
    s.evtchn_cpu[irq] = cpu


# --- masks, restoring, and what is built on the domain --------------------------------------


@xen.action(device=DEVICE)
def msi_mask_write(s: State, device: Term) -> None:
    """The PCI code writes a mask bit of a device: it does where masks are not ignored."""
    s.require(~masks_ignored(s, device), has_entries(s, device))
    s.mask_written[device] = True


@xen.action(device=DEVICE)
def msi_mask_ignored(s: State, device: Term) -> None:
    """It does not, where they are."""
    s.require(masks_ignored(s, device), has_entries(s, device))
    s.mask_dropped[device] = True


@xen.action(device=DEVICE, ret=INT)
def physdev_restore_msi_ext(s: State, device: Term, ret: Term) -> None:
    """The initial domain has the hypervisor write a device's messages again, with its segment."""
    s.require(s.restore_hook, s.pci_seg_supported, ret <= 0)
    with s.when(ret == ENOSYS):
        s.pci_seg_supported = False
        s.seg_lost = True


@xen.action(device=DEVICE, ret=INT)
def physdev_restore_msi(s: State, device: Term, ret: Term) -> None:
    """The same where the hypervisor takes no segments: nothing of it is kept."""
    s.require(s.restore_hook, ~s.pci_seg_supported, ret <= 0)


@xen.action(device=DEVICE)
def default_restore_msi_irqs(s: State, device: Term) -> None:
    """The generic restore writes the messages that the descriptors remember: all zero, where Linux
    has written none."""
    s.require(~s.restore_hook, has_entries(s, device))
    s.rewritten[device] = True


@xen.action(device=DEVICE)
def create_subdevice_domain(s: State, device: Term) -> None:
    """A domain of device MSI is made, with the parent of the device's own domain as its parent:
    there is none above Xen's. As posted nobody asks (DEV-D5)."""
    if not s.on("DEV-D5"):
        s.require(~has_xen_domain(s, device))
    s.subdevices[device] = True


@xen.action("F14", device=DEVICE)
def pci_msi_domain_refuses(s: State, device: Term) -> None:
    """A later PCI core asks the domain for a flag before it asks for MSI-X, and Xen's has none."""
    msix = exists(DESC, lambda d: (s.entry_device[d] == device) & s.entry_is_msix[d])
    s.require(has_xen_domain(s, device), msix)
    s.flag_refused[device] = True
