# SPDX-License-Identifier: GPL-2.0-only
"""A VMD comes and goes, and may let messages pass."""

import errno

import pytest

from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    pci_enable_msix_range,
    pci_free_irq_vectors,
    pci_irq_vector,
)
from impl.drivers.pci.pci import PciBus
from impl.drivers.pci.vmd import (
    vmd_find_free_domain,
    vmd_probe,
    vmd_remove,
)
from impl.drivers.pci.vmd_domain import (
    VmdDev,
)
from impl.kernel.irq.irq import IRQD_IRQ_STARTED
from impl.kernel.kernel import KernelBug
from tests.impl.pci_support import PciMachine
from tests.impl.support import events_of, mask
from tests.impl.vmd_support import SEGMENT, VmdMachine


def test_probe_order_vectors_domain_bus_and_scan() -> None:
    m = VmdMachine(3, probe=False)
    seen: list[tuple[bool, str]] = []

    def scan(bus: PciBus) -> None:
        domain = bus.msi_domain
        assert domain is not None
        seen.append((m.endpoint.msix_enabled, domain.name))
        dev = m.child(msix=1, bus=bus)
        assert dev.msi_domain is domain

    events = events_of(m, lambda: vmd_probe(m.vmd, scan))
    assert seen == [(True, "VMD-MSI-65536-3-10")]
    assert m.vmd.msix_count == 3
    own = [event for event in events if event.system == "vmd"]
    assert m.vmd.irq_domain is not None
    assert [(event.name, event.fields) for event in own] == [
        ("vmd_alloc_irqs", {"device": m.endpoint.id, "count": 3}),
        (
            "vmd_enable_domain",
            {"device": m.endpoint.id, "segment": SEGMENT, "domain": m.vmd.irq_domain.id},
        ),
    ]
    for index in range(3):
        desc = m.irqs.descs[pci_irq_vector(m.endpoint, index)]
        assert desc.action == 1 and desc.irq_data.test(IRQD_IRQ_STARTED)


def test_probe_fails_without_msix_with_enodev() -> None:
    m = PciMachine()
    before = m.footprint()
    vmd = VmdDev(m.x86, m.device(msi=MsiCap()))
    assert vmd_probe(vmd, lambda bus: None) == -errno.ENODEV
    assert vmd.bus is None and m.footprint() == before


@pytest.mark.parametrize(
    ("site", "error"),
    [
        ("vmd_probe", -errno.ENOMEM),
        ("irq_domain_alloc_fwnode", -errno.ENODEV),
        ("irq_domain_add", -errno.ENODEV),
        ("pci_create_root_bus", -errno.ENODEV),
    ],
)
def test_probe_gives_everything_back_when_memory_is_short(site: str, error: int) -> None:
    m = VmdMachine(probe=False)
    before = m.books()
    m.fail_next(site)
    assert vmd_probe(m.vmd, m.found.append) == error
    assert m.books() == before and not m.found
    assert (m.vmd.bus, m.vmd.irq_domain, m.vmd.msix_count) == (None, None, 0)
    assert not m.endpoint.msix_enabled
    assert vmd_probe(m.vmd, m.found.append) == 0


def test_probe_returns_the_error_of_the_endpoints_vectors() -> None:
    m = VmdMachine(probe=False)
    before = m.books()
    m.fail_next("msix_map_region")
    assert vmd_probe(m.vmd, m.found.append) == -errno.ENOMEM
    assert m.books() == before


def test_probe_returns_the_error_of_a_request_and_frees_the_handlers_before() -> None:
    m = VmdMachine(4, probe=False)
    taken = []
    while (irq := m.alloc_irqs(1, mask=mask(0, 1))) > 0:
        taken.append(irq)
    for irq in taken[:2]:
        assert m.free_irqs(irq) == 0
    before = m.books()
    started: list[str] = []
    m.trace.subscribe(lambda event: started.append(event.name))
    assert vmd_probe(m.vmd, m.found.append) == -errno.ENOSPC
    assert (started.count("irq_startup"), started.count("irq_shutdown")) == (2, 2)
    assert m.books() == before and m.vmd.msix_count == 0


def test_the_segment_is_above_all_others() -> None:
    m = VmdMachine()
    assert m.vmd_bus.segment == SEGMENT
    assert vmd_find_free_domain(m.pci) == SEGMENT + 1
    second = VmdDev(m.x86, m.device(msix=2))
    assert vmd_probe(second, lambda bus: None, busn_start=0xE0) == 0
    assert second.bus is not None
    assert (second.bus.segment, second.bus.number) == (SEGMENT + 1, 0xE0)
    assert second.irq_domain is not m.vmd.irq_domain


def test_remove_undoes_probe() -> None:
    m = VmdMachine(probe=False)
    before = m.books()
    assert vmd_probe(m.vmd, m.found.append) == 0
    dev = m.enabled(3)
    for irq in m.irqs_of(dev):
        assert m.free_irq(irq) == 0
    pci_free_irq_vectors(dev)
    events = events_of(m, lambda: vmd_remove(m.vmd, m.remove))
    assert m.books() == before
    names = [event.name for event in events]
    assert names.index("pci_device_remove") < names.index("irq_domain_remove")
    assert names.index("irq_domain_remove") < names.index("vmd_free_irqs")
    assert "WARN" not in names
    with pytest.raises(KernelBug):
        vmd_remove(m.vmd, m.remove)


@pytest.mark.parametrize(("guest", "xen"), [(True, False), (False, True), (True, True)])
def test_16_4_no_bypass_in_a_guest_and_under_xen(guest: bool, xen: bool) -> None:
    m = VmdMachine(can_bypass=True, guest=guest, xen=xen)
    assert not m.vmd.bypass
    assert m.vmd.irq_domain is not None and m.vmd_bus.msi_domain is m.vmd.irq_domain


def test_16_4_bypass_has_no_domain_and_no_vectors() -> None:
    m = VmdMachine(can_bypass=True)
    assert (m.vmd.irq_domain, m.vmd.msix_count) == (None, 0)
    assert not m.endpoint.msix_enabled
    dev = m.child(msix=2)
    assert dev.msi_domain is m.endpoint.msi_domain
    assert pci_enable_msix_range(dev, None, 2, 2) == 2
    pci_free_irq_vectors(dev)
    before = len(m.domains.irq_domain_list)
    vmd_remove(m.vmd, m.remove)
    assert len(m.domains.irq_domain_list) == before


def test_16_4_bypass_without_a_root_bus_leaves_nothing() -> None:
    m = VmdMachine(probe=False, can_bypass=True)
    before = m.books()
    m.fail_next("pci_create_root_bus")
    assert vmd_probe(m.vmd, m.found.append) == -errno.ENODEV
    assert m.books() == before


@pytest.mark.parametrize("late", [False, True])
def test_16_4_a_bypassed_child_gets_the_domain_of_the_endpoint(late: bool) -> None:
    m = VmdMachine(probe=False, can_bypass=True, defects={Defect.VMD_BYPASS_DOMAIN} if late else ())
    remapped = m.domains.irq_domain_list[-1]
    m.endpoint.msi_domain = remapped
    assert vmd_probe(m.vmd, m.found.append) == 0
    dev = m.child(msix=1)
    assert dev.msi_domain is (m.x86.pci_msi_default_domain if late else remapped)


def test_16_4_bypass_under_xen_is_a_defect() -> None:
    m = VmdMachine(can_bypass=True, xen=True, defects={Defect.VMD_BYPASS_XEN})
    assert m.vmd.irq_domain is None and m.vmd_bus.segment > 0xFFFF


@pytest.mark.parametrize("truncated", [False, True])
def test_16_4_f18_the_segment_of_a_bypassed_child_counts_in_its_hwirq(truncated: bool) -> None:
    m = VmdMachine(can_bypass=True, defects={Defect.N12} if truncated else ())
    there = m.device(msix=1, devfn=0x42)
    here = m.child(msix=1, devfn=0x42)
    assert there.devid == here.devid
    assert pci_enable_msix_range(there, None, 1, 1) == 1
    assert pci_enable_msix_range(here, None, 1, 1) == (-errno.ENOSPC if truncated else 1)
