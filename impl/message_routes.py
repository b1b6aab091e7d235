# SPDX-License-Identifier: GPL-2.0-only
"""Where the messages of devices arrive: at the CPU and the vector that they name, or at those that
remapping hardware finds for them."""

from impl.arch.x86.io_apic_regs import IoApicRouteEntry
from impl.arch.x86.msidef import decode_msi_msg
from impl.arch.x86.vector import VectorSpace
from impl.drivers.pci.pci import PciDev
from impl.kernel.irq.irq import MsiMsg

__all__ = ["MessageRoutes", "Target"]

Target = tuple[int, int]
"""A CPU and a vector."""


class MessageRoutes:
    """The routes of a machine without remapping; a method returns None for what goes nowhere."""

    def __init__(self, vectors: VectorSpace) -> None:
        self.vectors = vectors

    def plain(self, msg: MsiMsg) -> Target | None:
        """A message that is never remapped, as those of the remapping units themselves."""
        if not msg.address_lo:
            return None
        apic = self.vectors.apic
        dest, vector = decode_msi_msg(*msg, x2apic=apic.x2apic)
        return apic.cpu_of_dest(dest), vector

    def pci(self, dev: PciDev, msg: MsiMsg) -> Target | None:
        """A message of a PCI device."""
        return self.plain(msg)

    def hpet(self, hpet_id: int, msg: MsiMsg) -> Target | None:
        """A message of an HPET."""
        return self.plain(msg)

    def ioapic(self, ioapic_id: int, entry: IoApicRouteEntry) -> Target | None:
        """What an IO-APIC sends by the entry of a pin."""
        return self.vectors.apic.cpu_of_dest(entry.dest), entry.vector
