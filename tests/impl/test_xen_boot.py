# SPDX-License-Identifier: GPL-2.0-only
"""Xen guests: their kinds, when they take over, and which domain their devices get."""

import errno
from dataclasses import replace

import pytest

from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.msi import native_create_pci_msi_domain
from impl.arch.x86.xen import (
    CANONICAL_GUESTS,
    XenKind,
    pci_xen_init,
    pcifront_init,
    xen_guest_kind,
)
from impl.arch.x86.xen_msi_domain import xen_create_pci_msi_domain, xen_setup_pci_msi
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import pci_enable_msi_range, pci_enable_msix_range
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.pci import PciBus, PciDev, dev_set_msi_domain
from impl.drivers.pci.probe import pci_set_bus_msi_domain
from impl.drivers.xen.guest import (
    XEN_HVM_CPUID_APIC_ACCESS_VIRT,
    XEN_HVM_CPUID_X2APIC_VIRT,
    XenDomainType,
    XenGuest,
)
from impl.kernel.irq.irqdomain import (
    IRQ_DOMAIN_FLAG_HIERARCHY,
    DomainBus,
    irq_domain_is_hierarchy,
)
from impl.kernel.irq.msi import MsiDomainInfo, msi_default_alloc_irqs, msi_default_free_irqs
from impl.kernel.kernel import KernelBug
from tests.impl.pci_support import PciMachine, block_domain
from tests.impl.support import events_of
from tests.impl.xen_support import BYPASS, NATIVE_LIKE, SETUP, XenMachine, xen_names

HVM_PIRQ = CANONICAL_GUESTS[XenKind.HVM_PIRQ]
ACCESS, X2APIC = XEN_HVM_CPUID_APIC_ACCESS_VIRT, XEN_HVM_CPUID_X2APIC_VIRT


def kind_of(guest: XenGuest, *, pic: bool = False, x2apic: bool = False) -> XenKind:
    return xen_guest_kind(guest, pic=pic, x2apic=x2apic, disable_apic=False)


def names_of_domains(m: PciMachine) -> set[str]:
    return {domain.name for domain in m.domains.irq_domain_list}


@pytest.mark.parametrize("kind", XenKind)
def test_8_1_each_canonical_guest_is_of_its_kind(kind: XenKind) -> None:
    assert kind_of(CANONICAL_GUESTS[kind]) is kind


@pytest.mark.parametrize(
    ("cpuid", "x2apic", "kind"),
    [
        (0, False, XenKind.HVM_PIRQ),
        (0, True, XenKind.HVM_PIRQ),
        (X2APIC, False, XenKind.HVM_PIRQ),
        (X2APIC, True, XenKind.HVM_NOPIRQ),
        (ACCESS, False, XenKind.HVM_NOPIRQ),
        (ACCESS | X2APIC, True, XenKind.HVM_NOPIRQ),
    ],
)
def test_8_1_a_virtualised_apic_makes_pirqs_pointless(
    cpuid: int, x2apic: bool, kind: XenKind
) -> None:
    guest = replace(HVM_PIRQ, hvm_cpuid_eax=cpuid)
    assert kind_of(guest, x2apic=x2apic) is kind
    m = XenMachine(kind, guest=guest, apic=ApicMode.X2APIC_CLUSTER if x2apic else ApicMode.FLAT)
    assert (m.p.msi_ops is not None) == kind.bypass


@pytest.mark.parametrize(
    ("guest", "pic"),
    [
        (replace(HVM_PIRQ, have_vector_callback=False), False),
        (replace(HVM_PIRQ, hvm_pirqs=False), False),
        (HVM_PIRQ, True),
    ],
)
def test_8_1_trap_48_without_the_hook_an_hvm_guest_is_like_bare_metal(
    guest: XenGuest, pic: bool
) -> None:
    assert kind_of(guest, pic=pic) is XenKind.HVM_NOPIRQ
    m = XenMachine(XenKind.HVM_NOPIRQ, guest=guest, pic=pic)
    assert m.p.msi_ops is None
    assert m.x86.init.create_pci_msi_domain is None


def test_8_1_without_an_apic_virtualisation_does_not_matter() -> None:
    guest = replace(HVM_PIRQ, hvm_cpuid_eax=ACCESS)
    kind = xen_guest_kind(guest, pic=False, x2apic=False, disable_apic=True)
    assert kind is XenKind.HVM_PIRQ
    assert XenMachine(kind, guest=guest, disable_apic=True).p.msi_ops is not None


@pytest.mark.parametrize("kind", XenKind)
def test_8_1_initial_and_type_are_independent(kind: XenKind) -> None:
    guest = CANONICAL_GUESTS[kind]
    assert guest.xen_initial_domain == (kind in (XenKind.PV_DOM0, XenKind.PVH_DOM0))
    assert guest.xen_pv_domain + guest.xen_hvm_domain == guest.xen_domain
    assert not XenGuest(XenDomainType.NATIVE, initial=True).xen_initial_domain


@pytest.mark.parametrize("kind", BYPASS)
def test_xb_1_xen_brings_the_default_domain(kind: XenKind) -> None:
    m = XenMachine(kind)
    domain = m.x86.pci_msi_default_domain
    assert domain is not None and domain.name.startswith("XEN-MSI")
    assert not any("PCI-MSI" in name for name in names_of_domains(m))


@pytest.mark.parametrize("kind", NATIVE_LIKE)
def test_xb_1_other_guests_have_the_native_default_domain(kind: XenKind) -> None:
    m = XenMachine(kind)
    domain = m.x86.pci_msi_default_domain
    assert domain is not None and domain.bus_token == DomainBus.PCI_MSI
    assert not any("XEN-MSI" in name for name in names_of_domains(m))


@pytest.mark.parametrize("kind", NATIVE_LIKE)
def test_xb_1_there_is_no_domain_without_an_apic(kind: XenKind) -> None:
    m = XenMachine(kind, disable_apic=True)
    assert m.x86.pci_msi_default_domain is None


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("late", [False, True])
def test_f1_n3_xb_2_only_a_domu_takes_over_when_pci_is_initialized(
    kind: XenKind, late: bool
) -> None:
    m = XenMachine(kind, defects={Defect.N3} if late else ())
    domain = m.x86.pci_msi_default_domain
    assert domain is not None
    overridden = not late or kind is not XenKind.PV_DOMU
    assert domain.name.startswith("XEN-MSI") == overridden
    before = m.counters()
    dev = m.device(msix=2)
    assert pci_enable_msix_range(dev, None, 2, 2) == 2
    assert (len(m.live()) == 2) == overridden
    assert (m.counters() == before) == overridden


@pytest.mark.parametrize("kind", BYPASS)
def test_xb_3_every_device_points_to_xens_domain_also_behind_bridges(kind: XenKind) -> None:
    m = XenMachine(kind)
    xen = m.x86.pci_msi_default_domain
    bridge = m.device()
    behind = PciBus(m.pci, 0, 1, parent=m.root, self_dev=bridge)
    pci_set_bus_msi_domain(behind)
    devs = [bridge, m.device(msix=1), m.device(msix=1, bus=behind)]
    assert [dev.msi_domain for dev in devs] == [xen, xen, xen]
    assert (m.root.msi_domain, behind.msi_domain) == (None, xen)


@pytest.mark.parametrize("kind", BYPASS)
def test_xb_3_a_root_bus_with_a_domain_of_its_own_keeps_it(kind: XenKind) -> None:
    m = XenMachine(kind)
    own = block_domain(m)
    bus = m.bus(0, segment=0x10000)
    bus.msi_domain = own
    assert m.device(msix=1, bus=bus).msi_domain is own


@pytest.mark.parametrize("kind", BYPASS)
def test_xb_4_sel_6_remapping_would_leave_the_domain_alone(kind: XenKind) -> None:
    m = XenMachine(kind)
    other = block_domain(m)

    def remapping(dev: PciDev) -> None:
        if not pci_dev_has_special_msi_domain(dev):
            dev_set_msi_domain(dev, other)

    m.pci.bus_notifiers.append(remapping)
    dev = m.device(msix=1)
    assert dev.msi_domain is m.x86.pci_msi_default_domain
    assert dev.msi_domain is not None and dev.msi_domain.bus_token == DomainBus.ANY


@pytest.mark.parametrize("kind", BYPASS)
def test_xb_5_xb_14_trap_8_the_domain_replaces_allocation_and_has_nothing_else(
    kind: XenKind,
) -> None:
    domain = XenMachine(kind).x86.pci_msi_default_domain
    assert domain is not None
    assert irq_domain_is_hierarchy(domain) and domain.flags & IRQ_DOMAIN_FLAG_HIERARCHY
    info: MsiDomainInfo = domain.host_data
    assert (domain.parent, info.chip, info.flags) == (None, None, 0)
    assert info.ops is not None
    assert info.ops.domain_alloc_irqs not in (None, msi_default_alloc_irqs)
    assert info.ops.domain_free_irqs not in (None, msi_default_free_irqs)


@pytest.mark.parametrize("op", ["get_hwirq", "msi_init", "msi_check", "msi_prepare", "set_desc"])
def test_trap_9_the_other_operations_are_empty(op: str) -> None:
    domain = XenMachine(XenKind.PV_DOM0).x86.pci_msi_default_domain
    assert domain is not None
    assert getattr(domain.host_data.ops, op) is None


def test_trap_9_xb_6_reaching_the_default_allocation_would_be_a_null_call() -> None:
    m = XenMachine(XenKind.PV_DOM0)
    dev = m.device(msix=1)
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    assert dev.msi_domain is not None
    with pytest.raises(KernelBug):
        msi_default_alloc_irqs(dev.msi_domain, dev, 1)


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("site", ["irq_domain_alloc_fwnode", "irq_domain_add"])
def test_8_6_the_kernel_stops_without_the_domain(kind: XenKind, site: str) -> None:
    m = XenMachine(kind)
    m.fail_next(site)
    with pytest.raises(KernelBug):
        xen_create_pci_msi_domain(m.p, m.x86)


@pytest.mark.parametrize("kind", NATIVE_LIKE)
def test_xb_16_other_guests_run_none_of_this(kind: XenKind) -> None:
    m = XenMachine(kind)
    dev = m.device(msix=2)

    def use() -> None:
        assert pci_enable_msix_range(dev, None, 2, 2) == 2
        assert m.request_irq(dev.msi_list[0].irq) == 0
        m.quiesce(dev)

    assert xen_names(events_of(m, use)) == []
    assert m.hypervisor.log == []
    assert not m.kernel.pci_msi_ignore_mask
    assert m.pci.arch_restore_msi_irqs is None
    assert m.p.msi_ops is None


@pytest.mark.parametrize("rfc", [False, True])
def test_r1_xb_17_an_initial_pvh_guest_would_not_get_the_functions_of_a_pv_one(rfc: bool) -> None:
    m = XenMachine(XenKind.PVH_DOM0, defects={Defect.R1, Defect.F13} if rfc else {Defect.F13})
    assert not m.kernel.pci_msi_ignore_mask
    assert m.pci.arch_restore_msi_irqs is None
    xen_setup_pci_msi(m.p)
    assert m.kernel.pci_msi_ignore_mask == rfc
    assert (m.pci.arch_restore_msi_irqs is not None) == rfc
    assert _setup_that_runs(m) == SETUP[XenKind.PV_DOM0 if rfc else XenKind.HVM_PIRQ]


def test_r1_the_rfc_chose_the_same_setup_for_the_real_initial_domain() -> None:
    m = XenMachine(XenKind.PV_DOM0, defects={Defect.R1})
    dev = m.device(msi=MsiCap())
    assert pci_enable_msi_range(dev, 1, 1) == 1
    m.quiesce(dev)
    assert (m.live(), m.hypervisor.pirqs) == ([], {})


@pytest.mark.parametrize("kind", BYPASS)
@pytest.mark.parametrize("f13", [False, True])
def test_8_6_f13_xb_10_what_each_kind_selects(kind: XenKind, f13: bool) -> None:
    m = XenMachine(kind, defects={Defect.F13} if f13 else ())
    assert _setup_that_runs(m) == SETUP[kind]
    assert (m.pci.arch_restore_msi_irqs is not None) == (kind is XenKind.PV_DOM0)
    assert m.kernel.pci_msi_ignore_mask == (kind is not XenKind.HVM_PIRQ or not f13)


def test_8_6_without_a_hypervisor_nothing_is_selected_and_one_warning_says_so() -> None:
    m = XenMachine(XenKind.NATIVE)

    def twice() -> None:
        xen_setup_pci_msi(m.p)
        xen_setup_pci_msi(m.p)

    assert [event.name for event in events_of(m, twice)] == ["WARN"]
    assert (m.p.msi_ops, m.x86.init.create_pci_msi_domain) == (None, None)
    assert native_create_pci_msi_domain(m.x86) is not None


@pytest.mark.parametrize("kind", [kind for kind in XenKind if kind is not XenKind.PV_DOMU])
def test_8_6_only_a_domu_has_a_frontend(kind: XenKind) -> None:
    m = XenMachine(kind)
    assert pci_xen_init(m.p, m.x86) == -errno.ENODEV
    assert pcifront_init(m.p, m.back) == -errno.ENODEV
    assert m.p.xen_pci_frontend is None


def _setup_that_runs(m: XenMachine) -> str:
    """The setup function that a device gets to."""
    assert m.p.msi_ops is not None
    setup = m.p.msi_ops.setup_msi_irqs
    dev = m.device(msix=1)
    (name,) = [
        name
        for name in xen_names(events_of(m, lambda: setup(dev, 1, 0x11)))
        if name in SETUP.values()
    ]
    return name
