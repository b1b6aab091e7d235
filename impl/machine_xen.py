# SPDX-License-Identifier: GPL-2.0-only
"""A machine under Xen: the guest, its hypervisor, what boot does with them, and their signals."""

from impl.arch.x86.x86_init import X86Platform
from impl.arch.x86.xen import (
    XenKind,
    pcifront_init,
    xen_guest_kind,
    xen_init_IRQ,
    xen_start_kernel,
)
from impl.arch.x86.xen_message import decode_pirq_msg
from impl.device_signals import message_nr
from impl.drivers.pci.pci import Pci, PciDev
from impl.drivers.xen.events import xen_evtchn_do_upcall
from impl.drivers.xen.guest import (
    XEN_HVM_CPUID_APIC_ACCESS_VIRT,
    XEN_HVM_CPUID_X2APIC_VIRT,
    XenDomainType,
    XenGuest,
)
from impl.drivers.xen.hypervisor import Answer, Hypervisor, Request
from impl.drivers.xen.irq_info import IrqInfo
from impl.drivers.xen.pciback import Pciback
from impl.kernel.irq.irq import IrqDesc, MsiMsg
from impl.kernel.irq.msi_desc import MsiDesc
from impl.platform_parts import XenDescription

__all__ = ["Answers", "XenMachine", "build_guest"]


class Answers:
    """What the hypervisor answers: first those of `pending`, then it serves every request.

    It never refuses to close an event channel: no kernel survives that.
    """

    def __init__(self) -> None:
        self.pending: list[Answer] = []

    def __call__(self, request: Request) -> Answer:
        if request.op == "evtchn_close" or not self.pending:
            return Answer()
        return self.pending.pop(0)


class XenMachine:
    """A guest: `pci` is its PCI code, `hypervisor` what it runs on, `back` the domain that serves
    the devices of a paravirtualised guest.

    `kind` is how its MSIs are handled.  `answers` are the hypervisor's next ones.
    """

    def __init__(
        self,
        x86: X86Platform,
        pci: Pci,
        part: XenDescription,
        nr_legacy_irqs: int,
        *,
        pic: bool,
    ) -> None:
        self.answers = Answers()
        self.hypervisor = Hypervisor(
            x86.kernel,
            self.answers,
            pirqs=part.pirqs,
            ports=part.ports,
            segments=part.segments,
        )
        self.back = Pciback(self.hypervisor)
        guest = build_guest(part)
        vectors = x86.vectors
        self.kind = xen_guest_kind(
            guest, pic=pic, x2apic=vectors.apic.x2apic, disable_apic=vectors.disable_apic
        )
        self.pci = xen_start_kernel(x86, pci, guest, self.hypervisor, nr_legacy_irqs)

    @property
    def pv(self) -> bool:
        """Whether the guest is paravirtualised."""
        return self.pci.xen.guest.xen_pv_domain

    def init_IRQ(self) -> None:
        """The guest's part of the initialization of interrupts."""
        xen_init_IRQ(self.pci)

    def connect_frontend(self) -> None:
        """The PCI frontend connects, in a guest that has one."""
        pcifront_init(self.pci, self.back)

    def fire(self, desc: IrqDesc, info: IrqInfo) -> bool:
        """The device of an interrupt signals; True if its handler ran.

        What a fully virtualised guest's device writes must name the pirq.  Other devices do as the
        hypervisor has told them.
        """
        msi_desc = desc.msi_desc or self._group_of(desc, info)
        if msi_desc is None or not isinstance(msi_desc.dev, PciDev):
            return False
        dev = msi_desc.dev
        if not dev.memory_reachable or not (dev.msi_enabled or dev.msix_enabled):
            return False
        pirq = info.pirq
        if self.kind is XenKind.HVM_PIRQ:
            pirq = decode_pirq_msg(*_written(dev, message_nr(desc.irq, msi_desc)))
        channel = self.hypervisor.ports.get(info.evtchn)
        if not self.hypervisor.signal_pirq(pirq) or channel is None:
            return False
        return xen_evtchn_do_upcall(self.pci.xen) > 0 and not channel.pending

    def release_pirqs(self) -> None:
        """The device model has seen MSIs be disabled: pirqs that no interrupt has any more go."""
        if self.kind is XenKind.HVM_PIRQ:
            used = {info.pirq for info in self.pci.xen.xen_irq_list_head}
            for pirq in set(self.hypervisor.pirqs) - used:
                self.hypervisor.release_pirq(pirq)

    def _group_of(self, desc: IrqDesc, info: IrqInfo) -> MsiDesc | None:
        """The descriptor of a block whose first irq alone points there."""
        descs = self.pci.xen.irqs.descs
        for irq in range(desc.irq - 1, -1, -1):
            first = descs[irq].msi_desc if irq in descs else None
            if first is not None:
                return first if desc.irq < first.irq + first.nvec_used else None
        return None


def build_guest(part: XenDescription) -> XenGuest:
    """What the guest can learn of its hypervisor."""
    cpuid = XEN_HVM_CPUID_APIC_ACCESS_VIRT if part.apic_virt else 0
    cpuid |= XEN_HVM_CPUID_X2APIC_VIRT if part.x2apic_virt else 0
    return XenGuest(
        XenDomainType.PV if part.type == "pv" else XenDomainType.HVM,
        initial=part.initial,
        pvh=part.type == "pvh",
        have_vector_callback=part.vector_callback,
        hvm_pirqs=part.hvm_pirqs,
        hvm_cpuid_eax=cpuid,
    )


def _written(dev: PciDev, nr: int) -> MsiMsg:
    """The message in the registers of a device; the hypervisor, not the guest, holds it back."""
    if dev.msix_enabled and dev.msix_cap is not None:
        return dev.msix_cap.message(nr)
    return MsiMsg() if dev.msi_cap is None else dev.msi_cap.message
