# SPDX-License-Identifier: GPL-2.0-only
"""The order of the PCI initialization, and which domain a device gets."""

import errno

import pytest

from impl.arch.x86.msi import native_create_pci_msi_domain
from impl.arch.x86.pci import pci_arch_init, pcibios_add_device
from impl.arch.x86.x86_init import X86Init, X86Platform
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import pci_enable_msi_range, pci_enable_msix_range
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.msi_regs import PCI_MSI_FLAGS_ENABLE, PCI_MSIX_FLAGS_ENABLE
from impl.drivers.pci.pci import PciBus, PciDev, pci_write_config
from impl.drivers.pci.probe import (
    pci_device_add,
    pci_remove_bus_device,
    pci_set_bus_msi_domain,
    pci_set_msi_domain,
)
from impl.kernel.irq.irq import IrqDomain, IrqDomainOps
from impl.kernel.irq.irqdomain import (
    IRQ_DOMAIN_MSI_NOMASK_QUIRK,
    DomainBus,
    IrqFwnode,
    irq_domain_alloc_named_fwnode,
    irq_domain_create_hierarchy,
    irq_domain_update_bus_token,
)
from impl.trace import Event, Trace
from tests.impl.pci_support import PciMachine
from tests.impl.support import events_of, names


def domain_of(
    m: PciMachine, name: str, token: DomainBus = DomainBus.ANY
) -> tuple[IrqDomain, IrqFwnode]:
    """A domain on the vector domain that nothing is allocated from."""
    fwnode = irq_domain_alloc_named_fwnode(m.domains, name)
    assert fwnode is not None
    parent = m.vectors.x86_vector_domain
    ops = IrqDomainOps(alloc=lambda d, virq, n, arg: -errno.ENOSYS)
    domain = irq_domain_create_hierarchy(m.domains, parent, 0, 0, fwnode, ops)
    assert domain is not None
    irq_domain_update_bus_token(m.domains, domain, token)
    return domain, fwnode


def test_the_native_domain() -> None:
    m = PciMachine()
    domain = m.x86.pci_msi_default_domain
    assert domain is not None
    assert (domain.name, domain.bus_token) == ("PCI-MSI-3", DomainBus.PCI_MSI)
    assert domain.parent is m.vectors.x86_vector_domain
    assert domain.flags & IRQ_DOMAIN_MSI_NOMASK_QUIRK


class Xen:
    """A platform that replaces the maker of the domain during the PCI initialization."""

    def __init__(self) -> None:
        self.made: list[IrqDomain | None] = []
        self.init = X86Init(arch_init=self._arch_init)

    def _arch_init(self, x86: X86Platform) -> int:
        x86.init.create_pci_msi_domain = self._create
        return 0

    def _create(self, x86: X86Platform) -> IrqDomain | None:
        domain = native_create_pci_msi_domain(x86)
        self.made.append(domain)
        return domain


@pytest.mark.parametrize("n3", [False, True])
def test_n3_init_1_the_platform_replaces_the_domain_unless_it_is_made_first(n3: bool) -> None:
    xen = Xen()
    m = PciMachine(x86_init=xen.init, defects=(Defect.N3,) if n3 else ())
    if n3:
        assert xen.made == []
        assert m.x86.pci_msi_default_domain is not None
    else:
        assert xen.made == [m.x86.pci_msi_default_domain]


def test_a_platform_may_do_without_the_native_access_methods() -> None:
    m = PciMachine()
    assert pci_arch_init(m.x86, m.pci) is True
    m.x86.init.arch_init = lambda x86: 0
    assert pci_arch_init(m.x86, m.pci) is False
    m.x86.init.arch_init = lambda x86: 1
    assert pci_arch_init(m.x86, m.pci) is True


def test_init_2_the_domain_is_final_before_the_first_device() -> None:
    trace = Trace()
    seen: list[Event] = []
    trace.subscribe(seen.append)
    calls: list[X86Platform] = []
    m = PciMachine(trace=trace, x86_init=X86Init(apic_post_init=calls.append))
    m.device(msix=1)
    assert calls == [m.x86]
    assert [event.name for event in seen if event.system == "init"] == [
        "apic_post_init",
        "pci_arch_init",
        "create_pci_msi_domain",
    ]
    order = [event.name for event in seen]
    assert order.index("create_pci_msi_domain") < order.index("pci_device_add")


def test_init_3_a_native_device_gets_the_default_domain_and_keeps_it() -> None:
    m = PciMachine()
    dev = m.device(msix=1)
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    pci_set_msi_domain(dev)
    pci_set_msi_domain(dev)
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert not pci_dev_has_special_msi_domain(dev)


def test_init_3_without_an_apic_there_is_none() -> None:
    m = PciMachine(disable_apic=True)
    events = events_of(m, lambda: m.device(msix=1))
    assert [event.fields["domain"] for event in events if event.name == "pci_device_add"] == [-1]


def test_init_3_without_the_hook_of_the_architecture_the_bus_decides() -> None:
    m = PciMachine()
    m.pci.pcibios_add_device = None
    assert m.device().msi_domain is None
    m.root.msi_domain, _ = domain_of(m, "BUS")
    assert m.device().msi_domain is m.root.msi_domain


def test_a_hook_that_fails_is_only_warned_about() -> None:
    m = PciMachine()
    m.pci.pcibios_add_device = lambda dev: -errno.ENOMEM
    assert names(events_of(m, m.device)).count("WARN") == 1


def remap(m: PciMachine, domain: IrqDomain) -> None:
    """Interrupt remapping takes every device that has no special domain."""

    def notifier(dev: PciDev) -> None:
        if not pci_dev_has_special_msi_domain(dev):
            dev.msi_domain = domain

    m.pci.bus_notifiers.append(notifier)


def test_init_4_remapping_replaces_the_default_when_the_device_appears() -> None:
    m = PciMachine()
    ir, _ = domain_of(m, "IR-PCI-MSI", DomainBus.PCI_MSI)
    before = m.device()
    remap(m, ir)
    after = m.device()
    assert before.msi_domain is m.x86.pci_msi_default_domain
    assert after.msi_domain is ir
    assert not pci_dev_has_special_msi_domain(after)


def test_init_5_a_special_domain_is_inherited_and_never_replaced() -> None:
    m = PciMachine()
    ir, _ = domain_of(m, "IR-PCI-MSI", DomainBus.PCI_MSI)
    remap(m, ir)
    vmd_bus = PciBus(m.pci, 0x10000, 0)
    vmd_bus.msi_domain, _ = domain_of(m, "VMD-MSI", DomainBus.VMD_MSI)
    bridge = m.device(bus=vmd_bus)
    assert bridge.msi_domain is vmd_bus.msi_domain
    behind = PciBus(m.pci, 0x10000, 1, parent=vmd_bus, self_dev=bridge)
    pci_set_bus_msi_domain(behind)
    dev = m.device(bus=behind)
    assert dev.msi_domain is vmd_bus.msi_domain
    assert pci_dev_has_special_msi_domain(dev)
    assert pcibios_add_device(m.x86, dev) == 0
    assert dev.msi_domain is vmd_bus.msi_domain


def test_init_5_the_domain_of_a_wrapper_is_special_too() -> None:
    m = PciMachine()
    m.x86.pci_msi_default_domain, _ = domain_of(m, "XEN-MSI")
    ir, _ = domain_of(m, "IR-PCI-MSI", DomainBus.PCI_MSI)
    remap(m, ir)
    dev = m.device()
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert pci_dev_has_special_msi_domain(dev)


def test_init_6_trap_32_no_domain_at_all_counts_as_special() -> None:
    m = PciMachine(disable_apic=True)
    ir, _ = domain_of(m, "IR-PCI-MSI", DomainBus.PCI_MSI)
    remap(m, ir)
    dev = m.device()
    assert dev.msi_domain is None
    assert pci_dev_has_special_msi_domain(dev)
    m.root.msi_domain = ir
    assert not pci_dev_has_special_msi_domain(dev)


def test_the_nearest_bridge_with_a_domain_wins() -> None:
    m = PciMachine()
    near, _ = domain_of(m, "NEAR")
    far, _ = domain_of(m, "FAR")
    outer_bridge = m.device()
    outer_bridge.msi_domain = far
    outer = PciBus(m.pci, 0, 1, parent=m.root, self_dev=outer_bridge)
    inner_bridge = m.device(bus=outer)
    inner_bridge.msi_domain = None
    inner = PciBus(m.pci, 0, 2, parent=outer, self_dev=inner_bridge)
    pci_set_bus_msi_domain(inner)
    assert inner.msi_domain is far
    inner_bridge.msi_domain = near
    pci_set_bus_msi_domain(inner)
    assert inner.msi_domain is near


def test_firmware_may_name_a_domain_for_a_host_bridge() -> None:
    m = PciMachine()
    pci_msi, fwnode = domain_of(m, "FIRMWARE", DomainBus.PCI_MSI)
    host = PciBus(m.pci, 1, 0, fwnode=fwnode)
    virtual = PciBus(m.pci, 1, 1, parent=host)
    pci_set_bus_msi_domain(virtual)
    assert virtual.msi_domain is pci_msi
    _, other = domain_of(m, "WIRED", DomainBus.WIRED)
    unknown = PciBus(m.pci, 2, 0, fwnode=other)
    pci_set_bus_msi_domain(unknown)
    assert unknown.msi_domain is None
    assert m.root.msi_domain is None


def test_a_device_that_firmware_left_enabled_is_switched_off() -> None:
    m = PciMachine()
    cap = MsiCap()
    dev = m.device(msi=cap, msix=2)
    assert dev.msix_cap is not None
    pci_write_config(dev, cap, 2, PCI_MSI_FLAGS_ENABLE)
    pci_write_config(dev, dev.msix_cap, 2, PCI_MSIX_FLAGS_ENABLE)
    pci_remove_bus_device(dev)
    pci_device_add(dev)
    assert not cap.control & PCI_MSI_FLAGS_ENABLE
    assert not dev.msix_cap.control & PCI_MSIX_FLAGS_ENABLE


def test_a_device_may_go_and_come_back() -> None:
    m = PciMachine()
    dev = m.device(msix=2)
    assert m.root.devices == {dev.id: dev}
    events = names(events_of(m, lambda: pci_remove_bus_device(dev)))
    assert events == ["pci_device_remove"]
    assert m.root.devices == {}
    pci_device_add(dev)
    assert pci_enable_msix_range(dev, None, 2, 2) == 2
    assert pci_enable_msi_range(dev, 1, 1) == -errno.EINVAL
