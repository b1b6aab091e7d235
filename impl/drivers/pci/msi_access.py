# SPDX-License-Identifier: GPL-2.0-only
"""Messages and masks of a PCI device (the access half of drivers/pci/msi.c, v5.10).

Each descriptor caches what it last wrote: its message, and its mask bits.  The caches survive what
the registers do not, so that pci_restore_msi_state can write them again (PCI-8).
"""

from impl.drivers.pci.capability import PCI_MSI_FLAGS, PCI_MSIX_FLAGS, MsiCap, MsixCap
from impl.drivers.pci.msi_regs import (
    PCI_MSI_ADDRESS_HI,
    PCI_MSI_ADDRESS_LO,
    PCI_MSI_FLAGS_ENABLE,
    PCI_MSI_FLAGS_QSIZE,
    PCI_MSIX_ENTRY_CTRL_MASKBIT,
    PCI_MSIX_ENTRY_DATA,
    PCI_MSIX_ENTRY_LOWER_ADDR,
    PCI_MSIX_ENTRY_UPPER_ADDR,
    PCI_MSIX_ENTRY_VECTOR_CTRL,
    PCI_MSIX_FLAGS_ENABLE,
    PCI_MSIX_FLAGS_MASKALL,
    msi_mask,
)
from impl.drivers.pci.pci import (
    PciDev,
    PciPower,
    pci_intx,
    pci_write_config,
    pci_writel,
)
from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqData, MsiMsg
from impl.kernel.irq.msi_desc import MsiDesc, irq_data_get_msi_desc
from impl.kernel.kernel import KernelBug

__all__ = [
    "default_restore_msi_irqs",
    "first_pci_msi_entry",
    "msi_cap_of",
    "msi_desc_to_pci_dev",
    "msi_desc_to_requester",
    "msi_mask_irq",
    "msix_cap_of",
    "msix_mask_irq",
    "pci_msi_desc_mask_irq",
    "pci_msi_domain_write_msg",
    "pci_msi_mask_irq",
    "pci_msi_set_enable",
    "pci_msi_shutdown",
    "pci_msi_unmask_irq",
    "pci_msix_clear_and_set_ctrl",
    "pci_msix_desc_mask_irq",
    "pci_msix_shutdown",
    "pci_restore_msi_state",
    "pci_write_msi_msg",
]

_U32 = 0xFFFFFFFF
_NO_IRQ = -1


def msi_desc_to_pci_dev(desc: MsiDesc) -> PciDev:
    """The device of a descriptor; a BUG if it is no PCI device."""
    if not isinstance(desc.dev, PciDev):
        raise KernelBug(f"{desc.dev.name} is no PCI device")
    return desc.dev


def msi_desc_to_requester(desc: MsiDesc) -> PciDev:
    """The PCI function under whose id the message is sent: the device, or what it is a part of."""
    dev: Device | None = desc.dev
    while dev is not None and not isinstance(dev, PciDev):
        dev = dev.parent
    if dev is None:
        raise KernelBug(f"{desc.dev.name} is no part of a PCI device")
    return dev


def first_pci_msi_entry(dev: PciDev) -> MsiDesc:
    """The first descriptor of the device; a BUG if it has none."""
    if not dev.msi_list:
        raise KernelBug(f"{dev.name} has no MSI descriptor")
    return dev.msi_list[0]


def msi_cap_of(dev: PciDev) -> MsiCap:
    """The MSI capability of a device that must have it."""
    if dev.msi_cap is None:
        raise KernelBug(f"{dev.name} has no MSI capability")
    return dev.msi_cap


def msix_cap_of(dev: PciDev) -> MsixCap:
    """The MSI-X capability of a device that must have it."""
    if dev.msix_cap is None:
        raise KernelBug(f"{dev.name} has no MSI-X capability")
    return dev.msix_cap


# Masks


def pci_msi_desc_mask_irq(desc: MsiDesc, mask: int, flag: int) -> int:
    """Write the mask bits of `mask` as in `flag`; the mask bits to cache.

    Without mask bits in the device, and with pci_msi_ignore_mask, nothing is written and 0 is the
    result (__pci_msi_desc_mask_irq).
    """
    dev = msi_desc_to_pci_dev(desc)
    if dev.bus.pci.kernel.pci_msi_ignore_mask or not desc.msi_attrib.maskbit:
        return 0
    mask_bits = (desc.masked & ~mask | flag) & _U32
    cap = msi_cap_of(dev)
    pci_write_config(dev, cap, cap.mask_offset, mask_bits)
    return mask_bits


def msi_mask_irq(desc: MsiDesc, mask: int, flag: int) -> None:
    """pci_msi_desc_mask_irq, and cache the result."""
    _cache_mask(desc, pci_msi_desc_mask_irq(desc, mask, flag))


def pci_msix_desc_mask_irq(desc: MsiDesc, flag: int) -> int:
    """Write the mask bit of an MSI-X entry; the vector control word to cache.

    0, and nothing is written, with pci_msi_ignore_mask and for a virtual entry
    (__pci_msix_desc_mask_irq).
    """
    dev = msi_desc_to_pci_dev(desc)
    if dev.bus.pci.kernel.pci_msi_ignore_mask or desc.msi_attrib.is_virtual:
        return 0
    mask_bits = desc.masked & ~PCI_MSIX_ENTRY_CTRL_MASKBIT | flag & PCI_MSIX_ENTRY_CTRL_MASKBIT
    pci_writel(dev, desc.msi_attrib.entry_nr, PCI_MSIX_ENTRY_VECTOR_CTRL, mask_bits)
    return mask_bits


def msix_mask_irq(desc: MsiDesc, flag: int) -> None:
    """pci_msix_desc_mask_irq, and cache the result."""
    _cache_mask(desc, pci_msix_desc_mask_irq(desc, flag))


def pci_msi_mask_irq(irqd: IrqData) -> None:
    """irq_mask of a PCI/MSI chip: the entry (MSI-X), or the bit of this irq in its block (MSI)."""
    _msi_set_mask_bit(irqd, 1)


def pci_msi_unmask_irq(irqd: IrqData) -> None:
    """irq_unmask of a PCI/MSI chip."""
    _msi_set_mask_bit(irqd, 0)


# Messages


def pci_msi_domain_write_msg(irqd: IrqData, msg: MsiMsg) -> None:
    """irq_write_msi_msg of a PCI/MSI chip: only the first irq of a block has a message."""
    desc = irq_data_get_msi_desc(irqd)
    if desc.irq == irqd.irq:
        pci_write_msi_msg(desc, msg)


def pci_write_msi_msg(desc: MsiDesc, msg: MsiMsg) -> None:
    """Write a message into the device and cache it (__pci_write_msi_msg).

    A device that is not in D0, one that is gone, and a virtual MSI-X entry get the cache only.
    v5.10 does not mask an MSI-X entry meanwhile.
    """
    dev = msi_desc_to_pci_dev(desc)
    reached = _hardware_takes_messages(desc, dev)
    if reached and desc.msi_attrib.is_msix:
        _write_msix_entry(desc, dev, msg)
    elif reached:
        _write_msi_registers(desc, dev, msg)
    desc.msg = msg
    if desc.write_msi_msg is not None:
        desc.write_msi_msg(desc)
    dev.bus.pci.trace(
        "pci_write_msi_msg",
        irq=desc.irq,
        desc=desc.id,
        address_lo=msg.address_lo,
        address_hi=msg.address_hi,
        data=msg.data,
        reached=int(reached),
    )


# Enabling


def pci_msi_set_enable(dev: PciDev, enable: bool) -> None:
    """Set or clear the enable bit of MSI."""
    cap = msi_cap_of(dev)
    control = cap.control & ~PCI_MSI_FLAGS_ENABLE
    _write_msi_control(dev, cap, control | (PCI_MSI_FLAGS_ENABLE if enable else 0))


def pci_msix_clear_and_set_ctrl(dev: PciDev, clear: int, set: int) -> None:
    """Change bits of the MSI-X control word (PCI_MSIX_FLAGS_ENABLE, PCI_MSIX_FLAGS_MASKALL)."""
    cap = msix_cap_of(dev)
    pci_write_config(dev, cap, PCI_MSIX_FLAGS, cap.control & ~clear | set)
    if (clear | set) & PCI_MSIX_FLAGS_ENABLE:
        enable = int(bool(set & PCI_MSIX_FLAGS_ENABLE))
        dev.bus.pci.trace("pci_msix_set_enable", device=dev.id, enable=enable)


# Shutting down, and coming back


def pci_msi_shutdown(dev: PciDev) -> None:
    """Disable MSI and return to INTx; nothing if MSI is not enabled.

    The device is left unmasked, as it was found; the cache keeps its masks (PCI-7).
    """
    if not dev.bus.pci.pci_msi_enable or not dev.msi_enabled:
        return
    desc = first_pci_msi_entry(dev)
    pci_msi_set_enable(dev, False)
    pci_intx(dev, True)
    dev.msi_enabled = False
    mask = msi_mask(desc.msi_attrib.multi_cap)
    pci_msi_desc_mask_irq(desc, mask, ~mask)
    dev.irq = desc.msi_attrib.default_irq


def pci_msix_shutdown(dev: PciDev) -> None:
    """Mask every entry, disable MSI-X and return to INTx; nothing if MSI-X is not enabled.

    A device that is gone is only noted as disabled.  The cache keeps its masks.
    """
    if not dev.bus.pci.pci_msi_enable or not dev.msix_enabled:
        return
    if dev.disconnected:
        dev.msix_enabled = False
        dev.bus.pci.trace("pci_msix_set_enable", device=dev.id, enable=0)
        return
    for desc in dev.msi_list:
        pci_msix_desc_mask_irq(desc, 1)
    pci_msix_clear_and_set_ctrl(dev, PCI_MSIX_FLAGS_ENABLE, 0)
    pci_intx(dev, True)
    dev.msix_enabled = False


def pci_restore_msi_state(dev: PciDev) -> None:
    """Write everything the kernel remembers into a device that forgot it.

    Nothing for a device that has neither MSI nor MSI-X enabled.
    """
    if dev.msi_enabled:
        _restore_msi_state(dev)
    if dev.msix_enabled:
        _restore_msix_state(dev)
    dev.bus.pci.trace("pci_restore_msi_state", device=dev.id)


def default_restore_msi_irqs(dev: PciDev) -> None:
    """Write the cached message of every descriptor again."""
    for desc in dev.msi_list:
        pci_write_msi_msg(desc, desc.msg)


def _restore_msi_state(dev: PciDev) -> None:
    desc, cap = first_pci_msi_entry(dev), msi_cap_of(dev)
    pci_intx(dev, False)
    pci_msi_set_enable(dev, False)
    _arch_restore_msi_irqs(dev)
    msi_mask_irq(desc, msi_mask(desc.msi_attrib.multi_cap), desc.masked)
    control = cap.control & ~PCI_MSI_FLAGS_QSIZE | desc.msi_attrib.multiple << 4
    _write_msi_control(dev, cap, control | PCI_MSI_FLAGS_ENABLE)


def _restore_msix_state(dev: PciDev) -> None:
    first_pci_msi_entry(dev)
    pci_intx(dev, False)
    pci_msix_clear_and_set_ctrl(dev, 0, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)
    _arch_restore_msi_irqs(dev)
    for desc in dev.msi_list:
        msix_mask_irq(desc, desc.masked)
    pci_msix_clear_and_set_ctrl(dev, PCI_MSIX_FLAGS_MASKALL, 0)


def _arch_restore_msi_irqs(dev: PciDev) -> None:
    (dev.bus.pci.arch_restore_msi_irqs or default_restore_msi_irqs)(dev)


def _cache_mask(desc: MsiDesc, masked: int) -> None:
    desc.masked = masked
    pci = msi_desc_to_pci_dev(desc).bus.pci
    pci.trace("pci_msi_mask_irq", irq=desc.irq or _NO_IRQ, desc=desc.id, mask=masked)


def _msi_set_mask_bit(irqd: IrqData, flag: int) -> None:
    desc = irq_data_get_msi_desc(irqd)
    if desc.msi_attrib.is_msix:
        msix_mask_irq(desc, flag)
        return
    offset = irqd.irq - desc.irq
    msi_mask_irq(desc, 1 << offset, flag << offset)


def _hardware_takes_messages(desc: MsiDesc, dev: PciDev) -> bool:
    if dev.current_state != PciPower.D0 or dev.disconnected:
        return False
    return not (desc.msi_attrib.is_msix and desc.msi_attrib.is_virtual)


def _write_msix_entry(desc: MsiDesc, dev: PciDev, msg: MsiMsg) -> None:
    entry_nr = desc.msi_attrib.entry_nr
    pci_writel(dev, entry_nr, PCI_MSIX_ENTRY_LOWER_ADDR, msg.address_lo)
    pci_writel(dev, entry_nr, PCI_MSIX_ENTRY_UPPER_ADDR, msg.address_hi)
    pci_writel(dev, entry_nr, PCI_MSIX_ENTRY_DATA, msg.data)


def _write_msi_registers(desc: MsiDesc, dev: PciDev, msg: MsiMsg) -> None:
    cap = msi_cap_of(dev)
    control = cap.control & ~PCI_MSI_FLAGS_QSIZE | desc.msi_attrib.multiple << 4
    pci_write_config(dev, cap, PCI_MSI_FLAGS, control)
    pci_write_config(dev, cap, PCI_MSI_ADDRESS_LO, msg.address_lo)
    if desc.msi_attrib.is_64:
        pci_write_config(dev, cap, PCI_MSI_ADDRESS_HI, msg.address_hi)
    pci_write_config(dev, cap, cap.data_offset, msg.data)


def _write_msi_control(dev: PciDev, cap: MsiCap, control: int) -> None:
    pci_write_config(dev, cap, PCI_MSI_FLAGS, control)
    enable = int(bool(control & PCI_MSI_FLAGS_ENABLE))
    dev.bus.pci.trace("pci_msi_set_enable", device=dev.id, enable=enable)
