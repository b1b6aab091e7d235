# SPDX-License-Identifier: GPL-2.0-only
"""Which domain a PCI device gets, on every platform and in both orders of probing (section 10)."""

import errno
from collections.abc import Iterator
from dataclasses import replace

import pytest

from impl.arch.x86.apic import ApicIntrMode
from impl.arch.x86.xen import XenKind
from impl.defects import Defect
from impl.description import MachineDescription
from impl.drivers.iommu.intel_devices import map_dev_to_ir
from impl.drivers.pci.msi import PCI_IRQ_MSI, PCI_IRQ_MSIX
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.pci import PciBus, PciDev, pci_physfn
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain import IRQ_DOMAIN_FLAG_HIERARCHY, DomainBus
from impl.machine import Machine
from impl.platform_parts import AmdIommuDescription
from impl.trace import Trace
from tests.impl.machine_support import Recorder, described
from tests.impl.platform_support import ORDERS, PLATFORMS, probing

MACHINES = ("bare-metal", *PLATFORMS)

Boot = tuple[str, str]
BOOTS: list[Boot] = [(name, order) for name in MACHINES for order in ORDERS]


def described_with(name: str, order: str = "after") -> MachineDescription:
    return probing(described(name), order)


def booted_with(name: str, order: str = "after", *defects: Defect) -> Machine:
    return Machine(described_with(name, order), defects=frozenset(defects))


def with_everything(name: str, order: str, *defects: Defect) -> Machine:
    """A machine with every device that it can have, virtual functions included."""
    m = booted_with(name, order, *defects)
    for dev, part in m.topology.parts.items():
        if part.hotplug:
            assert m.pci_add_device(dev) == 0
    for dev, virtfns in m.topology.virtfns.items():
        assert m.pci_enable_sriov(dev, len(virtfns)) == 0
    return m


def root_bus(dev: PciDev) -> PciBus:
    bus = dev.bus
    while bus.parent is not None:
        bus = bus.parent
    return bus


def below_host(dev: PciDev) -> bool:
    """Whether the root bus above a device has a domain of its own (9.1)."""
    return root_bus(dev).msi_domain is not None


def final(m: Machine, dev: PciDev, *, virtfns: bool = True) -> IrqDomain | None:
    """The decision function of section 10.2; `virtfns`: those follow their physical function."""
    domain = dev.bus.msi_domain or m.x86.pci_msi_default_domain
    remapping = m.remapping
    if remapping is None or not remapping.core.irq_remapping_enabled:
        return domain
    if domain is None or domain.bus_token != DomainBus.PCI_MSI:
        return domain
    if m.description.amd_iommus:
        unit = remapping.amd.rlookup(dev.devid)
        probed = m.description.remapping.probe != "never"
        return domain if unit is None or not probed else unit.msi_domain
    if dev.is_virtfn:
        return final(m, pci_physfn(dev)) if virtfns else domain
    mistaken = {name for part in m.description.dmars for name in part.mistaken}
    if dev.segment > 0xFFFF or dev.name in mistaken:
        return domain
    return map_dev_to_ir(remapping.intel, dev)


def chain(domain: IrqDomain | None) -> Iterator[IrqDomain]:
    while domain is not None:
        yield domain
        domain = domain.parent


# Who gets what


@pytest.mark.parametrize(("name", "order"), BOOTS)
def test_10_2_every_device_has_the_domain_of_the_decision_function(name: str, order: str) -> None:
    m = with_everything(name, order)
    assert m.pci_devs.keys() == m.topology.parts.keys()
    for dev in m.pci_devs.values():
        assert dev.msi_domain is final(m, dev), dev.name


@pytest.mark.parametrize(("name", "order"), BOOTS)
def test_10_2_a_device_that_comes_back_gets_the_same_domain(name: str, order: str) -> None:
    m = with_everything(name, order)
    for dev, part in m.topology.parts.items():
        known = m.pci_devs.get(dev)
        if part.physfn or known is None or m.pci_remove_device(dev):
            continue
        assert m.pci_add_device(dev) == 0
        again = m.pci_devs[dev]
        assert again is not known and again.msi_domain is known.msi_domain


@pytest.mark.parametrize(("name", "order"), BOOTS)
def test_sel_1_no_device_is_without_a_domain(name: str, order: str) -> None:
    m = with_everything(name, order)
    assert m.pci_devs and all(dev.msi_domain is not None for dev in m.pci_devs.values())


def test_sel_1_without_a_local_apic_there_is_none() -> None:
    small = described("small")
    m = Machine(replace(small, disable_apic=True, interrupt_mode=ApicIntrMode.PIC))
    assert all(dev.msi_domain is None for dev in m.pci_devs.values())
    assert all(pci_dev_has_special_msi_domain(dev) for dev in m.pci_devs.values())


@pytest.mark.parametrize(("name", "order"), BOOTS)
def test_sel_2_the_token_of_vmd_means_to_be_behind_one(name: str, order: str) -> None:
    m = with_everything(name, order)
    buses = {vmd.bus for vmd in m.vmds.values()}
    for dev in m.pci_devs.values():
        assert dev.msi_domain is not None
        behind = root_bus(dev) in buses
        assert (dev.msi_domain.bus_token == DomainBus.VMD_MSI) == behind


@pytest.mark.parametrize(("name", "order"), BOOTS)
def test_sel_3_with_remapping_on_a_domain_leads_through_a_unit(name: str, order: str) -> None:
    m = with_everything(name, order)
    if m.remapping is None or not m.remapping.core.irq_remapping_enabled:
        return
    units = [iommu.ir_domain for iommu in m.remapping.intel.dmar.iommus]
    units += [unit.ir_domain for unit in m.remapping.amd.units]
    checked = 0
    for dev in m.pci_devs.values():
        if not pci_dev_has_special_msi_domain(dev):
            assert any(each in units for each in chain(dev.msi_domain)), dev.name
            checked += 1
    assert checked


@pytest.mark.parametrize(("name", "order"), BOOTS)
def test_sel_5_xb_3_xens_domain_means_its_guest(name: str, order: str) -> None:
    m = with_everything(name, order)
    bypass = m.xen is not None and m.xen.kind.bypass
    for dev in m.pci_devs.values():
        assert dev.msi_domain is not None
        xen = dev.msi_domain.name.startswith("XEN-MSI")
        assert xen == (bypass and not below_host(dev))
        if xen:
            assert dev.msi_domain is m.x86.pci_msi_default_domain
            assert dev.bus.msi_domain in (None, dev.msi_domain)


@pytest.mark.parametrize(("name", "order"), BOOTS)
def test_sel_6_a_special_domain_is_never_replaced(name: str, order: str) -> None:
    recorder = Recorder()
    m = Machine(described_with(name, order), trace=recorder.trace)
    special = {
        domain.id for domain in m.domains.irq_domain_list if domain.bus_token != DomainBus.PCI_MSI
    }
    stored: dict[int, int] = {}
    for fields in recorder.named("set_device_msi_domain"):
        before = stored.get(fields["device"])
        assert before not in special or before == fields["domain"]
        stored[fields["device"]] = fields["domain"]
    assert stored.keys() == {dev.id for dev in m.pci_devs.values()}


@pytest.mark.parametrize("name", MACHINES)
def test_sel_4_the_pointer_stays_while_a_device_uses_messages(name: str) -> None:
    recorder = Recorder()
    m = Machine(described_with(name), trace=recorder.trace)
    using = [
        dev
        for dev in list(m.pci_devs)
        if m.pci_alloc_irq_vectors(dev, 1, 4, PCI_IRQ_MSI | PCI_IRQ_MSIX) > 0
    ]
    assert using
    recorder.events.clear()
    known = {dev: m.pci_devs[dev].msi_domain for dev in using}
    m.sleep()
    for dev, part in m.topology.parts.items():
        if part.hotplug:
            m.pci_add_device(dev)
    ids = {m.pci_devs[dev].id for dev in using}
    assert all(fields["device"] not in ids for fields in recorder.named("set_device_msi_domain"))
    assert all(m.pci_devs[dev].msi_domain is domain for dev, domain in known.items())


# Where it goes wrong


@pytest.mark.parametrize("defects", [(), (Defect.F2,)])
@pytest.mark.parametrize("order", ORDERS)
def test_f2_sel_3_virtual_functions_had_the_domain_of_their_bus(
    order: str, defects: tuple[Defect, ...]
) -> None:
    m = with_everything("vtd", order, *defects)
    virtfn, physfn = m.pci_devs["vf 0"], m.pci_devs["nic"]
    assert virtfn.msi_domain is final(m, virtfn, virtfns=not defects)
    # A bus keeps the domain that its bridge had when the bus was made: the native one at boot.
    native = bool(defects) and order == "after"
    assert (virtfn.msi_domain is m.x86.pci_msi_default_domain) == native
    assert (virtfn.msi_domain is physfn.msi_domain) != native
    assert m.pci_alloc_irq_vectors("vf 0", 1, 1, PCI_IRQ_MSIX) == 1
    irq = m.pci_irq_vector("vf 0", 0)
    # A native message has the compatibility format, which the unit blocks.
    assert m.request_irq(irq) == 0 and m.fire(irq) != native


def test_trap_27_before_the_scan_devices_have_the_native_domain() -> None:
    recorder = Recorder()
    m = Machine(described_with("vtd"), trace=recorder.trace)
    default = m.x86.pci_msi_default_domain
    assert default is not None
    added = recorder.named("pci_device_add")
    assert added and all(fields["domain"] == default.id for fields in added)
    assert all(dev.msi_domain is not default for dev in m.pci_devs.values())
    # A device that comes later has its domain as soon as it is there.
    recorder.events.clear()
    assert m.pci_add_device("e1000e") == 0
    domain = m.pci_devs["e1000e"].msi_domain
    assert domain is not None and domain is not default
    assert [fields["domain"] for fields in recorder.named("pci_device_add")] == [domain.id]


@pytest.mark.parametrize("order", ORDERS)
def test_trap_29_a_scope_mismatch_kills_a_device(order: str) -> None:
    description = described_with("vtd", order)
    dmars = tuple(replace(part, mistaken=part.devices) for part in description.dmars)
    m = Machine(replace(description, dmars=dmars))
    port = m.pci_devs["root port"]
    assert port.msi_domain is m.x86.pci_msi_default_domain is final(m, port)
    assert m.pci_alloc_irq_vectors("root port", 1, 1, PCI_IRQ_MSI) == 1
    irq = m.pci_irq_vector("root port", 0)
    assert m.request_irq(irq) == 0 and not m.fire(irq)


@pytest.mark.parametrize("order", ORDERS)
def test_trap_10_a_device_of_no_unit_has_no_domain(order: str) -> None:
    description = described_with("vtd", order)
    first = replace(description.dmars[0])
    ioapics = tuple(replace(part, dmar=0) for part in description.ioapics)
    hpets = tuple(replace(part, dmar=-1) for part in description.hpets)
    m = Machine(replace(description, dmars=(first,), ioapics=ioapics, hpets=hpets))
    assert m.pci_devs["nic"].msi_domain is not None
    for name, kind in (("nvme", PCI_IRQ_MSIX), ("ahci", PCI_IRQ_MSI), ("usb", PCI_IRQ_MSI)):
        dev = m.pci_devs[name]
        assert dev.msi_domain is None is final(m, dev)
        assert m.pci_alloc_irq_vectors(name, 1, 1, kind) == -errno.ENODEV


def test_4_7_a_driver_that_never_probes_leaves_the_native_domain() -> None:
    m = booted_with("amd-vi", "never")
    assert m.remapping is not None and m.remapping.core.irq_remapping_enabled
    for dev in m.pci_devs.values():
        assert dev.msi_domain is m.x86.pci_msi_default_domain is final(m, dev)
    assert m.pci_alloc_irq_vectors("nic", 1, 1, PCI_IRQ_MSIX) == 1
    irq = m.pci_irq_vector("nic", 0)
    assert m.request_irq(irq) == 0 and not m.fire(irq)


@pytest.mark.parametrize("order", ORDERS)
def test_amd_12_a_device_without_a_unit_keeps_the_native_domain(order: str) -> None:
    description = described_with("amd-vi", order)
    first, ioapics = description.amd_iommus[:1], description.ioapics[:1]
    m = Machine(replace(description, amd_iommus=first, ioapics=ioapics))
    assert all(dev.msi_domain is final(m, dev) for dev in m.pci_devs.values())
    assert m.pci_devs["sata"].msi_domain is not m.x86.pci_msi_default_domain
    assert m.pci_devs["nic"].msi_domain is m.x86.pci_msi_default_domain
    # No unit is in the way of its messages either.
    assert m.pci_alloc_irq_vectors("nic", 1, 1, PCI_IRQ_MSIX) == 1
    irq = m.pci_irq_vector("nic", 0)
    assert m.request_irq(irq) == 0 and m.fire(irq)


@pytest.mark.parametrize("name", ["vtd", "amd-vi"])
@pytest.mark.parametrize("order", ORDERS)
def test_10_2_without_remapping_devices_keep_the_native_domain(name: str, order: str) -> None:
    description = described_with(name, order)
    off = replace(description.remapping, intremap="off")
    m = Machine(replace(description, remapping=off))
    assert m.remapping is not None and not m.remapping.core.irq_remapping_enabled
    assert all(dev.msi_domain is m.x86.pci_msi_default_domain for dev in m.pci_devs.values())
    assert m.pci_alloc_irq_vectors("nic", 1, 1, PCI_IRQ_MSIX) == 1
    irq = m.pci_irq_vector("nic", 0)
    assert m.request_irq(irq) == 0 and m.fire(irq)


@pytest.mark.parametrize("order", ORDERS)
def test_vmd_8_without_a_token_of_its_own_a_vmd_loses_its_children_to_amd(order: str) -> None:
    description = described_with("vmd", order)
    unit = AmdIommuDescription(0)
    ioapics = tuple(replace(part, dmar=-1, requester=0xA0) for part in description.ioapics)
    amd = replace(description, dmars=(), amd_iommus=(unit,), ioapics=ioapics)
    for defects, special in ((frozenset[Defect](), True), (frozenset({Defect.VMD_TOKEN}), False)):
        m = Machine(amd, defects=defects)
        child = m.pci_devs["nvme 0"]
        domain = m.vmds["vmd"].irq_domain
        assert (child.msi_domain is domain) == special
        assert m.pci_devs["vmd"].msi_domain is final(m, m.pci_devs["vmd"])


# Where the choice leads


@pytest.mark.parametrize("name", MACHINES)
def test_sel_7_fb_1_the_fallback_is_for_devices_without_a_domain(name: str) -> None:
    m = booted_with(name)
    for dev in list(m.pci_devs):
        m.pci_alloc_irq_vectors(dev, 1, 4, PCI_IRQ_MSI | PCI_IRQ_MSIX)
        m.pci_free_irq_vectors(dev)
        domain = m.pci_devs[dev].msi_domain
        assert domain is not None and domain.flags & IRQ_DOMAIN_FLAG_HIERARCHY
    assert not {"arch_setup_msi_irqs", "arch_teardown_msi_irqs"} & m.pci.warned


def test_sel_7_fb_1_a_device_that_lost_its_domain_falls_back() -> None:
    m = booted_with("bare-metal")
    m.pci_devs["nvme"].msi_domain = None
    assert m.pci_alloc_irq_vectors("nvme", 1, 4, PCI_IRQ_MSIX) == -errno.ENODEV
    assert "arch_setup_msi_irqs" in m.pci.warned


@pytest.mark.parametrize("name", MACHINES)
def test_fb_3_xens_functions_are_for_its_guests(name: str) -> None:
    recorder = Recorder()
    m = Machine(described_with(name), trace=recorder.trace)
    for dev in list(m.pci_devs):
        m.pci_alloc_irq_vectors(dev, 1, 4, PCI_IRQ_MSI | PCI_IRQ_MSIX)
        m.pci_free_irq_vectors(dev)
    bypass = m.xen is not None and m.xen.kind.bypass
    setups = {"xen_setup_msi_irqs", "xen_hvm_setup_msi_irqs", "xen_initdom_setup_msi_irqs"}
    assert bool(setups & set(recorder.names("xen"))) == bypass
    assert (m.xen is not None and m.xen.pci.msi_ops is not None) == bypass


@pytest.mark.parametrize(("name", "order"), BOOTS)
def test_irc_3_nobody_asks_remapping_for_the_domain_of_a_device(name: str, order: str) -> None:
    recorder = Recorder()
    m = Machine(described_with(name, order), trace=recorder.trace)
    for dev in list(m.pci_devs):
        m.pci_alloc_irq_vectors(dev, 1, 4, PCI_IRQ_MSI | PCI_IRQ_MSIX)
        m.pci_free_irq_vectors(dev)
    asked = {fields["type"] for fields in recorder.named("irq_remapping_get_irq_domain")}
    assert asked <= {8, 9}
    assert m.remapping is None or not m.remapping.core.warned


def test_the_kinds_of_guests_are_all_here() -> None:
    kinds = {m.xen.kind for m in map(booted_with, MACHINES) if m.xen is not None}
    assert kinds == {XenKind.PV_DOM0, XenKind.PV_DOMU, XenKind.HVM_PIRQ, XenKind.PVH_DOM0}


def test_both_orders_tell_the_same_story_of_a_boot() -> None:
    for name in ("vtd", "amd-vi"):
        domains = []
        for order in ORDERS:
            m = Machine(described_with(name, order), trace=Trace())
            domains.append(
                {dev.name: dev.msi_domain.name for dev in m.pci_devs.values() if dev.msi_domain}
            )
        assert domains[0] == domains[1]
