# SPDX-License-Identifier: GPL-2.0-only
"""PCI buses and devices, as far as their interrupts need them (include/linux/pci.h, v5.10).

A device carries its registers, and software reaches them only while the device has power and is
there: a write to one that is not is lost, and a read gives all ones.
"""

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from impl.drivers.pci.capability import MsiCap, MsixCap
from impl.drivers.pci.msi_regs import pci_devid
from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain import IrqDomains
from impl.kernel.kernel import NUMA_NO_NODE

if TYPE_CHECKING:
    from impl.drivers.pci.msi_fallbacks import MsiController

__all__ = [
    "PCI_CAP_ID_MSI",
    "PCI_CAP_ID_MSIX",
    "PCI_CLASS_BRIDGE_PCI",
    "PCI_CLASS_STORAGE_EXPRESS",
    "Pci",
    "PciBus",
    "PciDev",
    "PciPower",
    "dev_set_msi_domain",
    "pci_intx",
    "pci_is_root_bus",
    "pci_physfn",
    "pci_readl",
    "pci_reset_function",
    "pci_set_power_state",
    "pci_signal",
    "pci_write_config",
    "pci_writel",
]

PCI_CAP_ID_MSI = 0x05
PCI_CAP_ID_MSIX = 0x11

PCI_CLASS_BRIDGE_PCI = 0x060400
"""The class of a bridge to another bus; it alone has a header of the bridge type."""

PCI_CLASS_STORAGE_EXPRESS = 0x010802
"""The class of an NVMe controller."""

_ALL_ONES = 0xFFFFFFFF


class PciPower(enum.IntEnum):
    """The power state of a device (pci_power_t)."""

    D0 = 0
    D1 = 1
    D2 = 2
    D3HOT = 3
    D3COLD = 4
    UNKNOWN = 5


class Pci:
    """The globals of the PCI code of one machine.

    `pci_msi_enable` is cleared by pci=nomsi.  `arch_fallbacks` is the configuration option
    PCI_MSI_ARCH_FALLBACKS, which x86 does not select.  `irq_hw_number_bits` is the width of
    irq_hw_number_t.  `pcibios_add_device` and `arch_restore_msi_irqs` are the architecture's hooks;
    `bus_notifiers` are called with each device that was added, the remapping driver's among them,
    and `bus_removed_notifiers` with each that was removed.
    `pci_root_buses` holds the buses that no other bus leads to.
    """

    __slots__ = (
        "arch_fallbacks",
        "arch_restore_msi_irqs",
        "bus_notifiers",
        "bus_removed_notifiers",
        "domains",
        "irq_hw_number_bits",
        "kernel",
        "pci_msi_enable",
        "pci_root_buses",
        "pcibios_add_device",
        "warned",
    )

    def __init__(
        self,
        domains: IrqDomains,
        *,
        pci_msi_enable: bool = True,
        arch_fallbacks: bool = False,
        irq_hw_number_bits: int = 64,
    ) -> None:
        self.domains = domains
        self.kernel = domains.kernel
        self.pci_msi_enable = pci_msi_enable
        self.arch_fallbacks = arch_fallbacks
        self.irq_hw_number_bits = irq_hw_number_bits
        self.pcibios_add_device: Callable[[PciDev], int] | None = None
        self.arch_restore_msi_irqs: Callable[[PciDev], None] | None = None
        self.bus_notifiers: list[Callable[[PciDev], None]] = []
        self.bus_removed_notifiers: list[Callable[[PciDev], None]] = []
        self.pci_root_buses: list[PciBus] = []
        self.warned: set[str] = set()

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of the PCI code."""
        kernel = self.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("pci", name, kernel.this_cpu, **fields)

    def warn_once(self, what: str) -> None:
        """A WARN_ON_ONCE() at the place that `what` names."""
        if what not in self.warned:
            self.warned.add(what)
            self.kernel.warn()


class PciBus:
    """A bus (struct pci_bus): a root bus has no `parent`; another one lies behind the bridge
    `self_dev`, which only a virtual bus lacks.

    `no_msi` is PCI_BUS_FLAGS_NO_MSI.  `fwnode` is what firmware says about a host bridge.  `msi` is
    the MSI controller of a host bridge that relies on the arch fallbacks.  `sysdata` is what the
    owner of the root bus keeps with all buses below.  `devices` is by id.
    """

    __slots__ = (
        "devices",
        "fwnode",
        "msi",
        "msi_domain",
        "no_msi",
        "number",
        "parent",
        "pci",
        "segment",
        "self_dev",
        "sysdata",
    )

    def __init__(
        self,
        pci: Pci,
        segment: int,
        number: int,
        *,
        parent: "PciBus | None" = None,
        self_dev: "PciDev | None" = None,
        no_msi: bool = False,
        fwnode: Any = None,
        sysdata: Any = None,
    ) -> None:
        self.pci = pci
        self.segment = segment
        self.number = number
        self.parent = parent
        self.self_dev = self_dev
        self.no_msi = no_msi
        self.fwnode = fwnode
        self.msi: MsiController | None = None
        self.msi_domain: IrqDomain | None = None
        self.sysdata: Any = sysdata if parent is None else parent.sysdata
        self.devices: dict[int, PciDev] = {}
        if parent is None:
            pci.pci_root_buses.append(self)


class PciDev(Device):
    """A function of a device (struct pci_dev) together with its registers.

    `irq` is the number a driver sees: that of the INTx line (0 without one), or while MSI is
    enabled that of its first vector.  `no_msi` and `no_64bit_msi` are quirks.  `dma_aliases` are
    the requester ids under which the device's writes may appear, nearest first, each behind the
    number of the bus that shows it.  `class_code` says what it is (PCI_CLASS_*).  `physfn` is the
    physical function of a virtual one.  `msix_mapped` tells whether the MSI-X table is mapped,
    `msi_irq_groups` which irqs sysfs lists.
    """

    __slots__ = (
        "bus",
        "class_code",
        "current_state",
        "devfn",
        "disconnected",
        "dma_aliases",
        "intx_on",
        "irq",
        "msi_cap",
        "msi_enabled",
        "msi_irq_groups",
        "msix_cap",
        "msix_enabled",
        "msix_mapped",
        "no_64bit_msi",
        "no_msi",
        "physfn",
    )

    def __init__(
        self,
        id: int,
        name: str,
        bus: PciBus,
        devfn: int,
        *,
        msi_cap: MsiCap | None = None,
        msix_cap: MsixCap | None = None,
        irq: int = 0,
        numa_node: int = NUMA_NO_NODE,
        no_msi: bool = False,
        no_64bit_msi: bool = False,
        dma_aliases: tuple[tuple[int, int], ...] = (),
        class_code: int = 0,
        physfn: "PciDev | None" = None,
    ) -> None:
        super().__init__(id, name, numa_node)
        self.bus = bus
        self.devfn = devfn
        self.msi_cap = msi_cap
        self.msix_cap = msix_cap
        self.irq = irq
        self.no_msi = no_msi
        self.no_64bit_msi = no_64bit_msi
        self.dma_aliases = dma_aliases
        self.class_code = class_code
        self.physfn = physfn
        self.current_state = PciPower.D0
        self.disconnected = False
        self.intx_on = True
        self.msi_enabled = False
        self.msix_enabled = False
        self.msix_mapped = False
        self.msi_irq_groups: tuple[int, ...] = ()

    @property
    def segment(self) -> int:
        """The PCI domain number (pci_domain_nr)."""
        return self.bus.segment

    @property
    def devid(self) -> int:
        """The requester id: bus and function."""
        return pci_devid(self.bus.number, self.devfn)

    @property
    def is_virtfn(self) -> bool:
        """Whether it is a virtual function."""
        return self.physfn is not None

    @property
    def config_reachable(self) -> bool:
        """Whether the configuration space answers."""
        return not self.disconnected and self.current_state <= PciPower.D3HOT

    @property
    def memory_reachable(self) -> bool:
        """Whether the device's memory answers."""
        return not self.disconnected and self.current_state == PciPower.D0


def pci_is_root_bus(bus: PciBus) -> bool:
    """Whether a host bridge leads to the bus."""
    return bus.parent is None


def pci_physfn(dev: PciDev) -> PciDev:
    """The physical function that the device is or belongs to."""
    return dev if dev.physfn is None else dev.physfn


def dev_set_msi_domain(dev: PciDev, domain: IrqDomain | None) -> None:
    """Say which domain the device's MSIs come from."""
    dev.msi_domain = domain
    dev.bus.pci.trace(
        "set_device_msi_domain", device=dev.id, domain=-1 if domain is None else domain.id
    )


def pci_write_config(dev: PciDev, cap: MsiCap | MsixCap, offset: int, value: int) -> None:
    """Write a register of a capability of the device."""
    if dev.config_reachable:
        cap.write(offset, value)
        cap_id = PCI_CAP_ID_MSI if cap is dev.msi_cap else PCI_CAP_ID_MSIX
        _trace_register(dev, "pci_write_config", cap_id, offset, value)


def pci_writel(dev: PciDev, entry_nr: int, offset: int, value: int) -> None:
    """Write a word of an entry of the device's MSI-X table."""
    if dev.memory_reachable and dev.msix_cap is not None:
        dev.msix_cap.writel(entry_nr, offset, value)
        _trace_register(dev, "writel", entry_nr, offset, value)


def pci_readl(dev: PciDev, entry_nr: int, offset: int) -> int:
    """Read a word of an entry of the device's MSI-X table."""
    if dev.memory_reachable and dev.msix_cap is not None:
        return dev.msix_cap.readl(entry_nr, offset)
    return _ALL_ONES


def pci_intx(dev: PciDev, enable: bool) -> None:
    """Let the device use its INTx line, or forbid it."""
    dev.intx_on = enable
    dev.bus.pci.trace("pci_intx", device=dev.id, enable=int(enable))


def pci_set_power_state(dev: PciDev, state: PciPower) -> None:
    """Change the power state; on the way from D3 to D0 the device forgets its registers."""
    before, dev.current_state = dev.current_state, state
    dev.bus.pci.trace("pci_set_power_state", device=dev.id, d0=int(state == PciPower.D0))
    if state == PciPower.D0 and before >= PciPower.D3HOT:
        pci_reset_function(dev)


def pci_reset_function(dev: PciDev) -> None:
    """Reset the device: its registers are as after power-on, and the kernel is not told."""
    dev.intx_on = True
    for cap in (dev.msi_cap, dev.msix_cap):
        if cap is not None:
            cap.reset()
    dev.bus.pci.trace("pci_reset_function", device=dev.id)


def pci_signal(dev: PciDev, nr: int) -> MsiMsg | None:
    """The message with which the device signals its vector (MSI) or table entry (MSI-X) `nr`.

    None if it may not signal: disabled, masked, without power or gone.
    """
    if not dev.memory_reachable:
        return None
    for cap in (dev.msi_cap, dev.msix_cap):
        message = cap.signal(nr) if cap is not None else None
        if message is not None:
            return message
    return None


def _trace_register(dev: PciDev, name: str, part: int, offset: int, value: int) -> None:
    """Show one write; `part` is the capability, or the entry of the MSI-X table."""
    kernel = dev.bus.pci.kernel
    if kernel.trace.enabled:
        kernel.trace.emit(
            "pci_regs", name, kernel.this_cpu, device=dev.id, part=part, offset=offset, value=value
        )
