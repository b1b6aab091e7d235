# SPDX-License-Identifier: GPL-2.0-only
"""How machines of every platform boot, in the order of the dossier's sections 2, 7, 8 and 10."""

from dataclasses import replace

import pytest

from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.xen import XenKind
from impl.defects import Defect
from impl.description import MACHINES, MachineDescription, parse_description
from impl.drivers.iommu.irq_remapping import IrqRemapMode
from impl.kernel.irq.irqdomain import DomainBus
from impl.machine import Machine
from impl.platform_parts import XenDescription
from tests.impl.machine_support import Recorder, described
from tests.impl.platform_support import ORDERS, PLATFORMS, probing

GUESTS = {
    "xen-dom0": XenKind.PV_DOM0,
    "xen-domu": XenKind.PV_DOMU,
    "xen-hvm": XenKind.HVM_PIRQ,
    "xen-pvh": XenKind.PVH_DOM0,
}


def told(description: MachineDescription, *defects: Defect) -> tuple[Machine, Recorder]:
    """A machine, and what it told while it booted."""
    recorder = Recorder()
    m = Machine(description, trace=recorder.trace, defects=frozenset(defects))
    return m, recorder


def places(recorder: Recorder, *names: str) -> list[int]:
    """Where each event comes first."""
    heard = [event.name for event in recorder.events]
    return [heard.index(name) for name in names]


def guest(name: str, **changes: object) -> MachineDescription:
    description = described(name)
    assert description.xen is not None
    fields = {field: getattr(description.xen, field) for field in XenDescription.__slots__}
    return replace(description, xen=XenDescription(**(fields | changes)))


# All platforms


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", PLATFORMS)
def test_each_platform_boots_in_both_orders(name: str, order: str) -> None:
    description = described(name)
    assert description.platform == PLATFORMS[name]
    m = Machine(probing(description, order))
    assert m.kernel.cpu_online_mask == (1 << description.nr_cpus) - 1
    present = {part.name for part in description.devices if not part.hotplug and not part.physfn}
    assert m.pci_devs.keys() == present
    assert m.vmds.keys() == {part.name for part in description.vmds}
    assert m.ims_drivers.keys() == {part.name for part in description.ims}
    assert m.hv_buses.keys() == {part.segment for part in description.hyperv_buses}
    assert m.hpet_domains.keys() == {part.id for part in description.hpets}
    assert not description.timer or m.fire(0)


def test_every_platform_of_the_project_is_tested() -> None:
    special = {
        path.stem
        for path in MACHINES.glob("*.toml")
        if (part := described(path.stem)).platform != "native"
        or part.amd_iommus
        or part.vmds
        or part.ims
        or any(dmar.remapping for dmar in part.dmars)
    }
    assert special == PLATFORMS.keys()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", PLATFORMS)
def test_init_1_the_default_domain_comes_after_the_platform_and_before_the_devices(
    name: str, order: str
) -> None:
    _, recorder = told(probing(described(name), order))
    steps = [
        "init_hypervisor_platform",
        "init_IRQ",
        "apic_intr_mode_select",
        "smp_init",
        "pci_arch_init",
        "create_pci_msi_domain",
        "pci_scan_begin",
        "pci_device_add",
    ]
    order_of_steps = places(recorder, *steps)
    assert order_of_steps == sorted(order_of_steps)


# Remapping


@pytest.mark.parametrize("name", ["vtd", "amd-vi", "hyperv"])
def test_remapping_is_on_before_the_io_apics_look_for_their_parents(name: str) -> None:
    m, recorder = told(described(name))
    steps = [
        "apic_intr_mode_select",
        "irq_remapping_prepare",
        "irq_remapping_enable",
        "default_setup_apic_routing",
        "apic_post_init",
        "apic_bsp_setup",
        "irq_remapping_get_irq_domain",
        "mp_irqdomain_create",
        "setup_IO_APIC",
        "smp_init",
    ]
    order = places(recorder, *steps)
    assert order == sorted(order)
    vector = m.vectors.x86_vector_domain
    for ioapic in m.io_apics.ioapics:
        assert ioapic.domain is not None and ioapic.domain.parent is not None
        assert ioapic.domain.parent.parent is vector
        assert ioapic.domain.name.startswith("IO-APIC-IR-")


def test_irc_2_an_io_apic_and_the_devices_of_a_unit_meet_in_its_domain() -> None:
    m, _ = told(described("vtd"))
    assert m.remapping is not None
    units = {iommu.seq_id: iommu for iommu in m.remapping.intel.dmar.iommus}
    ioapic = m.io_apics.ioapics[0].domain
    assert ioapic is not None and ioapic.parent is units[1].ir_domain
    assert m.hpet_domains[0].parent is units[1].ir_domain
    for name, unit in (("nvme", 1), ("usb", 1), ("root port", 0), ("nic", 0)):
        domain = m.pci_devs[name].msi_domain
        assert domain is units[unit].ir_msi_domain
        assert domain is not None and domain.parent is units[unit].ir_domain
    m, _ = told(described("amd-vi"))
    assert m.remapping is not None
    amd = {unit.index: unit for unit in m.remapping.amd.units}
    parents = [each.domain.parent for each in m.io_apics.ioapics if each.domain is not None]
    assert parents == [amd[0].ir_domain, amd[1].ir_domain]
    assert m.hpet_domains[0].parent is amd[0].ir_domain


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["vtd", "amd-vi"])
def test_10_1_the_driver_of_the_units_meets_devices_at_one_of_two_times(
    name: str, order: str
) -> None:
    m, recorder = told(probing(described(name), order))
    default = m.x86.pci_msi_default_domain
    assert default is not None
    native = {fields["domain"] == default.id for fields in recorder.named("pci_device_add")}
    assert native == {order == "after"}


def test_irc_1_only_one_driver_is_ever_in_charge() -> None:
    for name, driver in (("vtd", 0), ("amd-vi", 1), ("hyperv", 2)):
        m, recorder = told(described(name))
        assert recorder.named("irq_remapping_prepare") == [{"driver": driver, "ret": 0}]
        assert m.remapping is not None
        ops = m.remapping.intel.ops, m.remapping.amd.ops, m.remapping.hyperv.ops
        assert m.remapping.core.remap_ops is ops[driver]


def test_hvi_3_hyper_v_only_poses_as_remapping() -> None:
    m, _ = told(described("hyperv"))
    assert m.remapping is not None and m.remapping.mode == IrqRemapMode.X2APIC
    assert not m.remapping.core.irq_remapping_enabled
    assert m.vectors.apic is ApicMode.X2APIC_CLUSTER
    assert m.pci_devs["ide"].msi_domain is m.x86.pci_msi_default_domain
    for segment, hbus in m.hv_buses.items():
        (dev,) = (dev for dev in m.pci_devs.values() if dev.segment == segment)
        assert dev.msi_domain is hbus.irq_domain is dev.bus.msi_domain
        assert dev.msi_domain is not None and dev.msi_domain.bus_token == DomainBus.PCI_MSI


def test_int_13_without_the_x2apic_mode_of_all_units_the_cpus_do_without() -> None:
    description = described("vtd")
    cases = (
        (description, ApicMode.X2APIC_CLUSTER),
        (
            replace(
                description,
                dmars=tuple(replace(part, x2apic=part.id == 0) for part in description.dmars),
            ),
            ApicMode.FLAT,
        ),
        (
            replace(description, remapping=replace(description.remapping, x2apic_optout=True)),
            ApicMode.FLAT,
        ),
        (
            replace(
                description,
                remapping=replace(
                    description.remapping, x2apic_optout=True, intremap="no_x2apic_optout"
                ),
            ),
            ApicMode.X2APIC_CLUSTER,
        ),
    )
    for each, apic in cases:
        m, _ = told(each)
        assert m.vectors.apic is apic and m.remapping is not None
        assert m.remapping.intel.eim_mode == (apic is ApicMode.X2APIC_CLUSTER)
        assert m.remapping.core.irq_remapping_enabled and m.fire(0)


def test_a_machine_whose_firmware_forgot_an_io_apic_does_without_remapping() -> None:
    description = described("vtd")
    ioapics = tuple(replace(part, dmar=-1) for part in description.ioapics)
    m, _ = told(replace(description, ioapics=ioapics))
    assert m.remapping is not None and m.remapping.core.remap_ops is None
    assert m.remapping.mode is None and m.vectors.apic is ApicMode.FLAT
    assert not [domain for domain in m.domains.irq_domain_list if "INTEL" in domain.name]
    assert m.pci_devs["nic"].msi_domain is m.x86.pci_msi_default_domain and m.fire(0)


@pytest.mark.parametrize("f5", [False, True])
def test_irc_5_f5_domains_of_amd_while_remapping_is_off(f5: bool) -> None:
    description = described("amd-vi")
    # Firmware does not say where the IO-APIC of the south bridge is.
    ioapics = (replace(description.ioapics[0], requester=0x40), description.ioapics[1])
    off = replace(description, ioapics=ioapics)
    m, _ = told(off, *((Defect.F5,) if f5 else ()))
    assert m.remapping is not None and not m.remapping.core.irq_remapping_enabled
    assert any(domain.name.startswith("AMD-IR") for domain in m.domains.irq_domain_list)
    parents = {each.domain.parent for each in m.io_apics.ioapics if each.domain is not None}
    assert parents == {m.vectors.x86_vector_domain}


def test_the_units_of_intel_have_their_own_interrupts_from_boot_on() -> None:
    m, recorder = told(described("vtd"))
    assert m.remapping is not None and m.x86.dmar_domain is not None
    events = [iommu.fault_event for iommu in m.remapping.intel.dmar.iommus]
    assert sorted(m.dmar_units) == [0, 1] == sorted(event.id for event in events)
    for event in events:
        assert m.dmar_units[event.id] is event and event.irq
        irqd = m.irqs.descs[event.irq].irq_data
        assert irqd.domain is m.x86.dmar_domain and irqd.hwirq == event.id
    heard = recorder.events
    made = [
        place
        for place, event in enumerate(heard)
        if event.name == "irq_domain_add" and event.fields["domain"] == m.x86.dmar_domain.id
    ]
    before, after = places(recorder, "apic_bsp_setup", "setup_IO_APIC")
    assert len(made) == 1 and before < made[0] < after
    # They can be taken away and given back.
    assert m.dmar_alloc_hwirq(0) < 0 and m.dmar_free_hwirq(m.dmar_units[0].irq) == 0
    irq = m.dmar_alloc_hwirq(0)
    assert m.request_irq(irq) == 0 and m.fire(irq)


# VMD and message stores


def test_vmd_the_endpoint_has_its_vectors_before_the_children_are_found() -> None:
    m, recorder = told(described("vmd"))
    order = places(recorder, "pci_scan_begin", "vmd_alloc_irqs", "vmd_enable_domain")
    assert order == sorted(order)
    vmd = m.vmds["vmd"]
    children = [dev for dev in m.pci_devs.values() if dev.segment == 0x10000]
    assert {dev.name for dev in children} == {"port 0", "port 1", "nvme 0"}
    assert all(dev.msi_domain is vmd.irq_domain for dev in children)
    # The endpoint is a device like any other (VMD-9), and its vectors are remapped.
    domain = m.pci_devs["vmd"].msi_domain
    assert domain is not None and domain.name.startswith("INTEL-IR-MSI")


def test_ims_7_subdevices_share_the_parent_of_their_devices_domain() -> None:
    m, _ = told(described("device-msi"))
    driver = m.ims_drivers["accelerator"]
    device = m.pci_devs["accelerator"].msi_domain
    assert driver.domain is not None and device is not None
    assert driver.domain.parent is device.parent and driver.domain is not device
    assert {dev.msi_domain for dev in driver.subdevices} == {driver.domain}
    assert len({dev.id for dev in driver.subdevices} | {dev.id for dev in m.pci_devs.values()}) == 5


# Xen


@pytest.mark.parametrize("name", GUESTS)
def test_8_1_the_kind_of_a_guest(name: str) -> None:
    m, _ = told(described(name))
    assert m.xen is not None and m.xen.kind is GUESTS[name]


@pytest.mark.parametrize("name", PLATFORMS)
def test_xb_1_a_guest_with_pirqs_has_xens_default_domain_and_no_native_one(name: str) -> None:
    m, _ = told(described(name))
    bypass = m.xen is not None and m.xen.kind.bypass
    names = {domain.name.split("-")[0] for domain in m.domains.irq_domain_list}
    natives = [each for each in m.domains.irq_domain_list if each.name.startswith("PCI-MSI")]
    default = m.x86.pci_msi_default_domain
    assert default is not None
    assert ("XEN" in names) == bypass == default.name.startswith("XEN-MSI")
    assert bool(natives) != bypass


@pytest.mark.parametrize(
    ("name", "before"),
    [("xen-dom0", "init_IRQ"), ("xen-hvm", "apic_post_init"), ("xen-domu", "pci_arch_init")],
)
def test_xb_2_each_guest_takes_over_in_time(name: str, before: str) -> None:
    _, recorder = told(described(name))
    order = places(recorder, "xen_setup_pci_msi", before, "create_pci_msi_domain")
    assert order == sorted(order)
    assert len(recorder.named("xen_setup_pci_msi")) == 1


def test_xb_2_f1_an_unprivileged_guest_was_too_late() -> None:
    m, _ = told(described("xen-domu"), Defect.N3)
    default = m.x86.pci_msi_default_domain
    assert default is not None and default.name.startswith("PCI-MSI")
    assert all(dev.msi_domain is default for dev in m.pci_devs.values())
    for name in ("xen-dom0", "xen-hvm"):
        m, _ = told(described(name), Defect.N3)
        default = m.x86.pci_msi_default_domain
        assert default is not None and default.name.startswith("XEN-MSI")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, XenKind.HVM_PIRQ),
        ({"hvm_pirqs": False}, XenKind.HVM_NOPIRQ),
        ({"vector_callback": False}, XenKind.HVM_NOPIRQ),
        ({"apic_virt": True}, XenKind.HVM_NOPIRQ),
        ({"x2apic_virt": True}, XenKind.HVM_PIRQ),
    ],
)
def test_8_1_xb_16_what_makes_a_fully_virtualised_guest_use_pirqs(
    changes: dict[str, object], kind: XenKind
) -> None:
    m, recorder = told(guest("xen-hvm", **changes))
    assert m.xen is not None and m.xen.kind is kind
    default = m.x86.pci_msi_default_domain
    assert default is not None and default.name.startswith("XEN-MSI") == kind.bypass
    assert bool(recorder.named("xen_setup_pci_msi")) == kind.bypass
    if not kind.bypass:
        assert m.pci.arch_restore_msi_irqs is None and not m.kernel.pci_msi_ignore_mask


def test_8_1_x2apic_that_hardware_virtualises_needs_no_pirqs() -> None:
    description = replace(guest("xen-hvm", x2apic_virt=True), apic=ApicMode.X2APIC_CLUSTER)
    m, _ = told(description)
    assert m.xen is not None and m.xen.kind is XenKind.HVM_NOPIRQ


def test_xb_17_a_pvh_dom0_is_native() -> None:
    for initial, kind in ((True, XenKind.PVH_DOM0), (False, XenKind.PVH_DOMU)):
        m, recorder = told(guest("xen-pvh", initial=initial))
        assert m.xen is not None and m.xen.kind is kind and m.xen.pci.msi_ops is None
        assert not m.kernel.pci_msi_ignore_mask and m.pci.arch_restore_msi_irqs is None
        assert "irq_matrix_online" in recorder.names("irq_matrix")
        assert recorder.named("init_hypervisor_platform") == [{"platform": 0}]


@pytest.mark.parametrize("name", ["xen-dom0", "xen-domu"])
def test_a_paravirtualised_guest_has_no_vector_from_boot_on(name: str) -> None:
    m, recorder = told(described(name))
    assert not recorder.names("irq_matrix", "irq_vectors")
    assert m.matrix.global_available == m.matrix.online_maps == 0
    assert m.kernel.cpu_online_mask == 3
    assert {domain.name for domain in m.domains.irq_domain_list} == {"VECTOR", "XEN-MSI"}


def test_xb_4_remapping_is_never_prepared_in_a_paravirtualised_guest() -> None:
    units = "[[dmar]]\nid = 0\nremapping = true\ncatch_all = true\n"
    text = (MACHINES / "xen-dom0.toml").read_text(encoding="utf-8") + units
    for order in ORDERS:
        m, recorder = told(probing(parse_description(text), order))
        assert m.remapping is not None and m.remapping.core.remap_ops is None
        assert not m.remapping.core.irq_remapping_enabled
        assert not recorder.names("irq_remapping", "irte")
        default = m.x86.pci_msi_default_domain
        assert all(dev.msi_domain is default for dev in m.pci_devs.values())


@pytest.mark.parametrize("order", ORDERS)
def test_xb_4_sel_6_xens_domain_is_special_also_where_remapping_is_on(order: str) -> None:
    units = "[[dmar]]\nid = 0\nremapping = true\ncatch_all = true\n"
    text = (MACHINES / "xen-hvm.toml").read_text(encoding="utf-8") + units
    text = text.replace("pins = 48\n", 'pins = 48\ndmar = 0\nrequester = "ff:00.0"\n')
    m, _ = told(probing(parse_description(text), order))
    assert m.remapping is not None and m.remapping.core.irq_remapping_enabled
    default = m.x86.pci_msi_default_domain
    assert default is not None and default.bus_token == DomainBus.ANY
    assert all(dev.msi_domain is default for dev in m.pci_devs.values())
