# SPDX-License-Identifier: GPL-2.0-only
"""Where a Xen guest takes over while the machine boots (arch/x86/pci/xen.c, v5.10).

Three kinds of guests take the MSIs of PCI devices over, each at another time: the initial domain
when its interrupts are initialized, a fully virtualised guest when the interrupt mode is settled,
and another paravirtualised guest when PCI is initialized.  All others are like bare metal.
"""

import enum
import errno
from collections.abc import Mapping
from functools import partial
from typing import Final

from impl.arch.x86.x86_init import X86Platform
from impl.arch.x86.xen_msi import XenPci
from impl.arch.x86.xen_msi_domain import xen_setup_pci_msi
from impl.drivers.pci.pci import Pci
from impl.drivers.xen.events import xen_events_init
from impl.drivers.xen.guest import (
    XEN_HVM_CPUID_APIC_ACCESS_VIRT,
    XEN_HVM_CPUID_X2APIC_VIRT,
    XenDomainType,
    XenGuest,
)
from impl.drivers.xen.hypervisor import Hypervisor
from impl.drivers.xen.pciback import Pciback

__all__ = [
    "CANONICAL_GUESTS",
    "XenKind",
    "pci_xen_hvm_init",
    "pci_xen_init",
    "pci_xen_initial_domain",
    "pcifront_init",
    "virtualised_apic",
    "xen_guest_kind",
    "xen_hvm_msi_init",
    "xen_init_IRQ",
    "xen_start_kernel",
]


class XenKind(enum.Enum):
    """How a guest's MSIs are handled; the kernel has no such list."""

    NATIVE = "native"
    PV_DOM0 = "pv dom0"
    PV_DOMU = "pv domU"
    HVM_PIRQ = "hvm with pirqs"
    HVM_NOPIRQ = "hvm without pirqs"
    PVH_DOMU = "pvh domU"
    PVH_DOM0 = "pvh dom0"

    @property
    def bypass(self) -> bool:
        """Whether PCI devices use pirqs and event channels instead of vectors."""
        return self in (XenKind.PV_DOM0, XenKind.PV_DOMU, XenKind.HVM_PIRQ)


CANONICAL_GUESTS: Final[Mapping[XenKind, XenGuest]] = {
    XenKind.NATIVE: XenGuest(),
    XenKind.PV_DOM0: XenGuest(XenDomainType.PV, initial=True),
    XenKind.PV_DOMU: XenGuest(XenDomainType.PV),
    XenKind.HVM_PIRQ: XenGuest(XenDomainType.HVM, hvm_pirqs=True),
    XenKind.HVM_NOPIRQ: XenGuest(XenDomainType.HVM),
    XenKind.PVH_DOMU: XenGuest(XenDomainType.HVM, pvh=True),
    XenKind.PVH_DOM0: XenGuest(XenDomainType.HVM, pvh=True, initial=True),
}
"""A guest of each kind.  Xen does not offer hvm_pirqs to PVH guests."""


def xen_guest_kind(guest: XenGuest, *, pic: bool, x2apic: bool, disable_apic: bool) -> XenKind:
    """The kind of a guest; `pic` says that the PIC alone delivers interrupts.

    A guest of type HVM uses pirqs if events can arrive by a vector, Xen offers it, the hook after
    the interrupt mode runs, and hardware does not virtualise the APIC in the mode that is used.
    """
    if not guest.xen_domain:
        return XenKind.NATIVE
    if guest.xen_pv_domain:
        return XenKind.PV_DOM0 if guest.xen_initial_domain else XenKind.PV_DOMU
    hooked = guest.have_vector_callback and guest.hvm_pirqs and not pic
    if hooked and not virtualised_apic(guest, x2apic=x2apic, disable_apic=disable_apic):
        return XenKind.HVM_PIRQ
    if not guest.pvh:
        return XenKind.HVM_NOPIRQ
    return XenKind.PVH_DOM0 if guest.xen_initial_domain else XenKind.PVH_DOMU


def virtualised_apic(guest: XenGuest, *, x2apic: bool, disable_apic: bool) -> bool:
    """Whether vectors cost a fully virtualised guest no exit, so that pirqs gain nothing."""
    if disable_apic:
        return False
    wanted = XEN_HVM_CPUID_APIC_ACCESS_VIRT | (XEN_HVM_CPUID_X2APIC_VIRT if x2apic else 0)
    return bool(guest.hvm_cpuid_eax & wanted)


def xen_start_kernel(
    x86: X86Platform, pci: Pci, guest: XenGuest, hypervisor: Hypervisor, nr_legacy_irqs: int
) -> XenPci:
    """Start as a guest: a paravirtualised one that is not the initial domain hooks into PCI."""
    xen = xen_events_init(x86.domains.irqs, guest, hypervisor, nr_legacy_irqs)
    p = XenPci(x86, pci, xen)
    if guest.xen_pv_domain and not guest.xen_initial_domain:
        x86.init.arch_init = partial(pci_xen_init, p)
    return p


def xen_init_IRQ(p: XenPci) -> None:
    """Initialize interrupts, after the native part of that for a fully virtualised guest."""
    guest = p.xen.guest
    if guest.xen_hvm_domain:
        pci_xen_hvm_init(p)
    elif guest.xen_initial_domain:
        pci_xen_initial_domain(p)


def pci_xen_initial_domain(p: XenPci) -> None:
    """The initial domain takes over."""
    xen_setup_pci_msi(p)


def pci_xen_hvm_init(p: XenPci) -> None:
    """A fully virtualised guest with pirqs waits until the mode of the APIC is known."""
    guest = p.xen.guest
    if guest.have_vector_callback and guest.hvm_pirqs:
        p.x86.init.apic_post_init = partial(xen_hvm_msi_init, p)


def xen_hvm_msi_init(p: XenPci, x86: X86Platform) -> None:
    """A fully virtualised guest takes over, unless hardware virtualises its APIC."""
    vectors = x86.vectors
    x2apic, disable_apic = vectors.apic.x2apic, vectors.disable_apic
    if not virtualised_apic(p.xen.guest, x2apic=x2apic, disable_apic=disable_apic):
        xen_setup_pci_msi(p)


def pci_xen_init(p: XenPci, x86: X86Platform) -> int:
    """A paravirtualised guest with a PCI frontend takes over: 0, or -ENODEV for another guest."""
    guest = p.xen.guest
    if not guest.xen_pv_domain or guest.xen_initial_domain:
        return -errno.ENODEV
    xen_setup_pci_msi(p)
    return 0


def pcifront_init(p: XenPci, back: Pciback) -> int:
    """The PCI frontend connects to its backend: 0, or -ENODEV in a guest that has none."""
    guest = p.xen.guest
    if not guest.xen_pv_domain or guest.xen_initial_domain:
        return -errno.ENODEV
    p.xen_pci_frontend = back
    return 0
