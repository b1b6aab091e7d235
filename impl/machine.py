# SPDX-License-Identifier: GPL-2.0-only
"""A whole machine: it boots from a description, and then drivers and devices use it.

The methods of impl.device_machine and impl.bare_machine are what the outside world can do to it.
"""

from collections.abc import Collection

from impl.arch.x86 import dmar, hpet, uv
from impl.arch.x86.apic import ApicIntrMode, apic_intr_mode_init
from impl.arch.x86.i8259 import LegacyPic
from impl.arch.x86.io_apic import IoApics
from impl.arch.x86.io_apic_setup import arch_early_ioapic_init
from impl.arch.x86.pci import pci_arch_init
from impl.arch.x86.x86_init import X86Init, X86Platform
from impl.arch.x86.xen import XenKind
from impl.defects import Defect
from impl.description import MachineDescription
from impl.device_signals import Signals
from impl.drivers.base.platform_msi import PlatformMsi
from impl.drivers.pci.pci import Pci
from impl.firmware import build_ioapics, build_mp_irqs
from impl.machine_remapping import Remapping
from impl.machine_xen import XenMachine
from impl.pci_topology import PciTopology
from impl.platform_machine import PlatformMachine
from impl.remapping_routes import message_routes
from impl.subdevices import PlatformDevice, create_platform_msi_domain
from impl.trace import Trace

__all__ = ["Machine"]

_TIMER_IRQ = 0

_PLATFORMS = {XenKind.PV_DOM0: 1, XenKind.PV_DOMU: 2, XenKind.HVM_PIRQ: 3}
"""How the trace tells of guests that bring a PCI/MSI domain of their own; all others are 0."""


class Machine(PlatformMachine):
    """A machine as described, booted: all CPUs are up, all devices without `hotplug` are there.

    `x86_init` holds what a platform replaces.  `housekeeping` turns isolation of managed interrupts
    on.  KernelBug if the kernel would not boot.
    """

    def __init__(
        self,
        description: MachineDescription,
        *,
        defects: Collection[Defect] = frozenset(),
        housekeeping: int | None = None,
        trace: Trace | None = None,
        x86_init: X86Init | None = None,
    ) -> None:
        super().__init__(
            description.nr_cpus,
            geometry=description.geometry,
            nodes=description.nodes,
            nr_legacy_irqs=description.legacy_irqs,
            defects=defects,
            housekeeping=housekeeping,
            apic=description.apic,
            disable_apic=description.disable_apic,
            gsi_top=0,
            trace=trace,
        )
        self.description = description
        self.x86 = X86Platform(self.domains, self.vectors, x86_init)
        self.pic = LegacyPic(description.legacy_irqs)
        ioapics = build_ioapics(description.ioapics)
        wiring = build_mp_irqs(description.mp_irqs, ioapics, description.legacy_irqs)
        self.io_apics = IoApics(self.x86, self.pic, ioapics, wiring)
        self._build_devices()
        self._build_platform()
        routes = message_routes(self.vectors, self.remapping)
        self.signals = Signals(self.io_apics, self.uv_hubs, routes)
        self._boot()

    def _build_devices(self) -> None:
        """What is there before anybody looks for it."""
        description = self.description
        self.pci = Pci(self.domains)
        self.topology = PciTopology(self.pci, description.buses, description.devices)
        self.pci_devs = self.topology.devs
        self.hpet_domains = {}
        self.hpet_channels = {
            part.id: [hpet.HpetChannel(num) for num in range(part.channels)]
            for part in description.hpets
        }
        self.dmar_units = {part.id: dmar.DmarUnit(part.id, part.node) for part in description.dmars}
        blades = {part.blade: uv.UvBlade(part.pnode, part.node) for part in description.uvs}
        self.uv_hubs = uv.UvHubs(self.x86, blades)
        self.platform_devices = self._build_platform_devices()

    def _build_platform(self) -> None:
        """What makes the machine one of its platform; drivers of special devices come later."""
        description = self.description
        self.remapping = None
        if _can_remap(description):
            self.remapping = Remapping(self.x86, self.pci, description)
        self.xen = None
        if description.xen is not None:
            pic = description.interrupt_mode is ApicIntrMode.PIC
            legacy = description.legacy_irqs
            self.xen = XenMachine(self.x86, self.pci, description.xen, legacy, pic=pic)
        self.posted_irqs = set()
        self.vmds = {}
        self.hv_buses = {}
        self.ims_drivers = {}
        self.platform_msi = PlatformMsi(self.kernel)
        self.platform_domain = None

    def _build_platform_devices(self) -> dict[str, PlatformDevice]:
        """Platform devices are numbered behind all others."""
        description = self.description
        first = len(description.devices) + sum(part.subdevices for part in description.ims)
        return {
            part.name: PlatformDevice(number, part.name, part.node)
            for number, part in enumerate(description.platform_devices, start=first)
        }

    # Boot (section 11.1)

    def _boot(self) -> None:
        x86 = self.x86
        x86.trace("pci_msi_arch_fallbacks", selected=int(self.pci.arch_fallbacks))
        kind = XenKind.NATIVE if self.xen is None else self.xen.kind
        x86.trace("init_hypervisor_platform", platform=_PLATFORMS.get(kind, 0))
        arch_early_ioapic_init(self.io_apics)
        self._intr_init()
        self._late_time_init()
        self._smp_init()
        pci_arch_init(x86, self.pci)
        self._meet_devices("before")
        if self.xen is not None:
            # A guest with a frontend has no PCI devices before that is connected.
            self.xen.connect_frontend()
        x86.trace("pci_scan_begin")
        self.topology.scan()
        self._hpet_late_init()
        self._meet_devices("after")
        self._device_initcalls()

    def _intr_init(self) -> None:
        """Initialize the PIC and the vectors, which a paravirtualised guest lacks; init_IRQ."""
        if self.xen is None or not self.xen.pv:
            self._init_IRQ(self.pic.chip, "level", self.description.system_vectors)
        if self.xen is not None:
            self.xen.init_IRQ()
        self.x86.trace("init_IRQ")

    def _late_time_init(self) -> None:
        """Select the interrupt mode, start the timer with what there is, set the mode up."""
        mode = self.description.interrupt_mode
        self.x86.trace("apic_intr_mode_select", mode=mode)
        timer = self.description.timer
        if timer:
            self.request_irq(_TIMER_IRQ)
        apic_intr_mode_init(self.io_apics, mode, timer=timer)
        if self.remapping is not None:
            self.dmar_units |= self.remapping.fault_events()

    def _smp_init(self) -> None:
        if self.description.interrupt_mode.smp or (self.xen is not None and self.xen.pv):
            for cpu in range(1, self.kernel.nr_cpu_ids):
                self.cpu_up(cpu)
        self._process_context()
        self.x86.trace("smp_init")

    def _meet_devices(self, when: str) -> None:
        """Let the drivers of the remapping units meet the devices, if now is the time."""
        if self.remapping is not None and self.description.remapping.probe == when:
            self.remapping.meet_devices(self.pci_devs.values())

    def _hpet_late_init(self) -> None:
        """Give each HPET its domain; one that gets none works without messages."""
        for part in self.description.hpets:
            domain = hpet.hpet_create_irq_domain(self.x86, part.id)
            if domain is not None:
                self.hpet_domains[part.id] = domain

    def _device_initcalls(self) -> None:
        """Drivers of this machine's special devices look for them; one that fails has none."""
        if self.platform_devices:
            self.platform_domain = create_platform_msi_domain(self.x86)
        for device in self.platform_devices.values():
            device.msi_domain = self.platform_domain
        for vmd in self.description.vmds:
            self.vmd_probe(vmd.name)
        for bus in self.description.hyperv_buses:
            self.hv_pci_probe(bus.segment)
        for ims in self.description.ims:
            self.ims_probe(ims.name)


def _can_remap(description: MachineDescription) -> bool:
    """Whether there is anything for a remapping driver; that of Hyper-V only poses as one."""
    units = bool(description.amd_iommus) or any(dmar.remapping for dmar in description.dmars)
    return units or description.platform == "hyperv"
