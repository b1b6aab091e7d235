# SPDX-License-Identifier: GPL-2.0-only
"""Where the interrupt of a device goes, by what is in the device's own registers."""

from impl.arch.x86.dmar import DmarUnit
from impl.arch.x86.hpet import HpetChannel
from impl.arch.x86.io_apic import IoApics, MpChipData, ioapic_assert_pin
from impl.arch.x86.msidef import decode_msi_msg
from impl.arch.x86.uv import UvChipData, UvHubs
from impl.drivers.pci.pci import PciDev, pci_signal
from impl.kernel.irq.irq import IrqDesc, MsiMsg

__all__ = ["signal_irq", "signal_pin"]


def signal_irq(io_apics: IoApics, hubs: UvHubs, desc: IrqDesc) -> tuple[int, int] | None:
    """The device of an interrupt signals: the CPU and the vector that it reaches.

    None if the device may not: it is masked, disabled or gone, or has no message yet.
    """
    data = desc.irq_data.chip_data
    if desc.irq_data.domain is None:
        return _signal_pic(io_apics, desc.irq)
    if isinstance(data, MpChipData):
        reached = [signal_pin(io_apics, *place) for place in data.irq_2_pin]
        return next(filter(None, reached), None)
    if isinstance(data, UvChipData):
        mmr = hubs.mmrs.get((data.pnode, data.offset))
        return None if mmr is None or mmr.mask else _target(io_apics, mmr.dest, mmr.vector)
    message = _message(desc)
    if message is None or not message.address_lo:
        return None
    x2apic = io_apics.x86.vectors.apic.x2apic
    return _target(io_apics, *decode_msi_msg(*message, x2apic=x2apic))


def signal_pin(io_apics: IoApics, ioapic: int, pin: int) -> tuple[int, int] | None:
    """A pin of an IO-APIC is asserted: the CPU and the vector that it reaches, None if none."""
    entry = ioapic_assert_pin(io_apics, ioapic, pin)
    return None if entry is None else _target(io_apics, entry.dest, entry.vector)


def _signal_pic(io_apics: IoApics, irq: int) -> tuple[int, int] | None:
    """The PIC interrupts the boot CPU."""
    if io_apics.pic.masked >> irq & 1:
        return None
    return 0, io_apics.x86.vectors.geometry.isa_irq_vector(irq)


def _message(desc: IrqDesc) -> MsiMsg | None:
    """What a device that signals by messages would write now."""
    msi_desc, owner = desc.msi_desc, desc.handler_data
    if msi_desc is not None and isinstance(msi_desc.dev, PciDev):
        attrib = msi_desc.msi_attrib
        nr = attrib.entry_nr if attrib.is_msix else desc.irq - msi_desc.irq
        return pci_signal(msi_desc.dev, nr)
    if isinstance(owner, HpetChannel):
        return owner.message if owner.enabled else None
    if isinstance(owner, DmarUnit):
        return None if owner.masked else owner.message
    return None


def _target(io_apics: IoApics, dest: int, vector: int) -> tuple[int, int]:
    return io_apics.x86.vectors.apic.cpu_of_dest(dest), vector
