# SPDX-License-Identifier: GPL-2.0-only
"""What is left of MSI without a domain on x86 (FB-1 to FB-3)."""

import errno

import pytest

from impl.arch.x86.xen_msi import XenPci
from impl.arch.x86.xen_msi_domain import xen_setup_pci_msi
from impl.drivers.base.device_msi import device_msi_desc
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    PCI_IRQ_MSI,
    PCI_IRQ_MSIX,
    pci_alloc_irq_vectors_affinity,
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_free_irq_vectors,
)
from impl.drivers.pci.msi_access import pci_restore_msi_state
from impl.drivers.pci.pci import PciDev, pci_reset_function, pci_signal
from impl.drivers.xen.guest import XenDomainType, XenGuest
from impl.drivers.xen.hypervisor import Hypervisor
from impl.drivers.xen.irq_info import XenEvents
from tests.impl.ims_support import ArrayMachine
from tests.impl.pci_support import PciMachine
from tests.impl.vmd_support import VmdMachine

STUBS = {"arch_setup_msi_irqs", "arch_teardown_msi_irqs"}


@pytest.mark.parametrize("kind", [PCI_IRQ_MSI, PCI_IRQ_MSIX])
@pytest.mark.parametrize("failing", ["", "alloc_desc", "alloc_apic_chip_data", "vmd_msi_init"])
def test_fb_1_no_device_with_a_domain_reaches_a_stub(kind: int, failing: str) -> None:
    m = VmdMachine()
    devs = [m.device(msi=MsiCap(), msix=2), m.child(msi=MsiCap(maskbit=True), msix=2)]
    for dev in devs:
        if failing:
            m.fail_next(failing)
        pci_alloc_irq_vectors_affinity(dev, 1, 2, kind)
        pci_free_irq_vectors(dev)
    assert not STUBS & m.pci.warned


def test_fb_1_nor_do_the_parts_of_a_device() -> None:
    m = ArrayMachine()
    dev = m.with_irqs(2)
    assert device_msi_desc(dev.msi_list[0]).priv_iomem == 0
    m.free(dev)
    assert not STUBS & m.pci.warned


@pytest.mark.parametrize("msix", [False, True])
def test_fb_1_a_device_without_a_domain_is_refused_and_nothing_changes(msix: bool) -> None:
    m = PciMachine(disable_apic=True)
    assert m.x86.pci_msi_default_domain is None
    dev = m.device(msi=MsiCap(), msix=1)
    before = m.footprint(), pci_signal(dev, 0)
    for _ in range(2):
        ret = pci_enable_msix_range(dev, None, 1, 1) if msix else pci_enable_msi_range(dev, 1, 1)
        assert ret == -errno.ENODEV
    assert (m.footprint(), pci_signal(dev, 0)) == before
    assert not dev.msi_list and not dev.msi_enabled and not dev.msix_enabled and dev.intx_on
    # Teardown follows a refused setup, and its stub warns, too.
    assert m.pci.warned == STUBS


@pytest.mark.parametrize("behind_vmd", [False, True])
def test_fb_2_messages_can_always_be_restored(behind_vmd: bool) -> None:
    m = VmdMachine()
    dev = m.enabled(2) if behind_vmd else m.device(msix=2)
    if not behind_vmd:
        assert pci_enable_msix_range(dev, None, 2, 2) == 2
        for desc in dev.msi_list:
            assert m.request_irq(desc.irq) == 0
    before = [pci_signal(dev, nr) for nr in range(2)]
    assert None not in before
    pci_reset_function(dev)
    assert pci_signal(dev, 0) is None
    assert m.pci.arch_restore_msi_irqs is None
    pci_restore_msi_state(dev)
    assert [pci_signal(dev, nr) for nr in range(2)] == before


def test_fb_2_a_platform_may_restore_in_its_own_way() -> None:
    m = PciMachine()
    dev = m.device(msix=1)
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    asked: list[PciDev] = []
    m.pci.arch_restore_msi_irqs = asked.append
    pci_restore_msi_state(dev)
    assert asked == [dev]


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("domain_type", list(XenDomainType))
def test_fb_3_where_xens_domain_may_be_made_there_are_functions_for_it(
    domain_type: XenDomainType, initial: bool
) -> None:
    m = PciMachine()
    guest = XenGuest(domain_type, initial)
    p = XenPci(m.x86, m.pci, XenEvents(m.irqs, guest, Hypervisor(m.kernel), 16))
    assert p.msi_ops is None and m.x86.init.create_pci_msi_domain is None
    xen_setup_pci_msi(p)
    chosen = p.msi_ops is not None
    assert chosen == guest.xen_domain == (m.x86.init.create_pci_msi_domain is not None)
