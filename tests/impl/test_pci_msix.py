# SPDX-License-Identifier: GPL-2.0-only
"""MSI-X: the table, partial success, virtual entries, affinity, shutdown and restore."""

import errno

import pytest

from impl.arch.x86.irq_vectors import ApicMode
from impl.drivers.pci.capability import MsiCap, MsixCap
from impl.drivers.pci.msi import (
    PCI_IRQ_AFFINITY,
    PCI_IRQ_MSIX,
    PCI_IRQ_VIRTUAL,
    pci_alloc_irq_vectors_affinity,
    pci_disable_msix,
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_free_irq_vectors,
    pci_irq_vector,
    pci_msix_vec_count,
)
from impl.drivers.pci.msi_access import (
    pci_msi_shutdown,
    pci_msix_shutdown,
    pci_restore_msi_state,
    pci_write_msi_msg,
)
from impl.drivers.pci.msi_regs import (
    PCI_MSIX_ENTRY_VECTOR_CTRL,
    PCI_MSIX_FLAGS_ENABLE,
    PCI_MSIX_FLAGS_MASKALL,
)
from impl.drivers.pci.msi_setup import MsixEntryRequest
from impl.drivers.pci.pci import (
    PciDev,
    PciPower,
    pci_readl,
    pci_reset_function,
    pci_set_power_state,
    pci_signal,
    pci_writel,
)
from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.irq.irq import IRQD_AFFINITY_MANAGED, MsiMsg
from tests.impl.pci_support import PciMachine
from tests.impl.support import events_of, mask, names

ENABLED = PCI_MSIX_FLAGS_ENABLE


def enabled(m: PciMachine, nvec: int) -> tuple[PciDev, MsixCap]:
    """A device with `nvec` MSI-X vectors, none requested."""
    dev = m.device(msix=nvec)
    assert pci_enable_msix_range(dev, None, nvec, nvec) == nvec
    assert dev.msix_cap is not None
    return dev, dev.msix_cap


def flags(cap: MsixCap) -> int:
    return cap.control & (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)


def test_pci_3_every_descriptor_has_an_irq_and_an_entry_of_its_own() -> None:
    m = PciMachine()
    dev, cap = enabled(m, 5)
    assert dev.msix_enabled and flags(cap) == ENABLED and not dev.intx_on
    assert [desc.msi_attrib.entry_nr for desc in dev.msi_list] == list(range(5))
    assert {desc.nvec_used for desc in dev.msi_list} == {1}
    irqs = [desc.irq for desc in dev.msi_list]
    assert 0 not in irqs and len(set(irqs)) == 5
    assert dev.msi_irq_groups == tuple(irqs) == tuple(pci_irq_vector(dev, k) for k in range(5))
    warned = events_of(m, lambda: pci_irq_vector(dev, 5))
    assert (names(warned), pci_irq_vector(dev, 5)) == (["WARN"], -errno.EINVAL)


def test_pci_3_a_driver_may_choose_the_entries() -> None:
    m = PciMachine()
    dev = m.device(msix=8)
    entries = [MsixEntryRequest(6), MsixEntryRequest(1)]
    assert pci_enable_msix_range(dev, entries, 2, 2) == 2
    assert [each.vector for each in entries] == [desc.irq for desc in dev.msi_list]
    assert [desc.msi_attrib.entry_nr for desc in dev.msi_list] == [6, 1]
    assert m.irqd(entries[0].vector).hwirq == dev.devid << 11 | 6


@pytest.mark.parametrize("entries", [(0, 0), (0, 8), (-1, 0)])
def test_entries_outside_the_table_or_named_twice_are_refused(entries: tuple[int, ...]) -> None:
    dev = PciMachine().device(msix=8)
    requests = [MsixEntryRequest(nr) for nr in entries]
    assert pci_enable_msix_range(dev, requests, 2, 2) == -errno.EINVAL


def test_pci_5_a_table_that_is_too_small_answers_its_size() -> None:
    m = PciMachine()
    dev = m.device(msix=3)
    assert pci_enable_msix_range(dev, None, 4, 9) == -errno.ENOSPC
    assert pci_enable_msix_range(dev, None, 1, 9) == 3


@pytest.mark.parametrize("got", [1, 2, 3])
def test_pci_5_what_got_an_irq_is_tried_again_alone(got: int) -> None:
    m = PciMachine()
    dev = m.device(msix=4)
    m.fail_next("alloc_desc", got + 1)
    events = events_of(m, lambda: pci_enable_msix_range(dev, None, 1, 4))
    assert names(events).count("alloc_msi_entry") == 4 + got
    assert len(dev.msi_list) == got
    assert m.matrix.global_reserved == got


SITES = (
    "alloc_msi_entry",
    "msix_map_region",
    "alloc_desc",
    "irq_domain_insert_irq_data",
    "alloc_apic_chip_data",
    "populate_msi_sysfs",
)


@pytest.mark.parametrize("affinity", [False, True])
@pytest.mark.parametrize("site", SITES)
def test_pci_6_x_4_a_failure_at_any_allocation_leaves_nothing(site: str, affinity: bool) -> None:
    m = PciMachine()
    dev = m.device(msix=3, irq=7)
    before = m.footprint()
    wanted = PCI_IRQ_MSIX | (PCI_IRQ_AFFINITY if affinity else 0)
    nvec = 2 if affinity else 3  # no more than CPUs can be spread
    failing = 1 if site in ("msix_map_region", "populate_msi_sysfs") else nvec
    for nth in range(1, failing + 1):
        m.fail_next(site, nth)
        ret = pci_alloc_irq_vectors_affinity(dev, nvec, nvec, wanted)
        assert ret in (-errno.ENOMEM, -errno.ENOSPC)
        assert (dev.msi_list, dev.msix_enabled, dev.msi_enabled) == ([], False, False)
        assert (dev.msix_mapped, dev.msi_irq_groups, dev.irq) == (False, (), 7)
        assert m.footprint() == before
    m.fail_next(site, failing + 1)
    assert pci_alloc_irq_vectors_affinity(dev, nvec, nvec, wanted) == nvec
    pci_free_irq_vectors(dev)
    assert m.footprint() == before


def test_pci_6_the_address_is_verified_before_msi_x_is_enabled() -> None:
    m = PciMachine(17, apic=ApicMode.X2APIC_CLUSTER)
    for cpu in range(16):
        assert m.cpu_down(cpu) == 0
    before = m.footprint()
    dev = m.device(msix=1, no_64bit_msi=True)
    assert pci_enable_msix_range(dev, None, 1, 1) == -errno.EIO
    assert dev.msix_cap is not None and flags(dev.msix_cap) == 0
    assert m.footprint() == before


def test_pci_7_every_entry_is_masked_until_it_is_requested() -> None:
    m = PciMachine()
    dev, cap = enabled(m, 3)
    assert [cap.masked(k) for k in range(3)] == [True] * 3
    irq = pci_irq_vector(dev, 1)
    assert m.request_irq(irq) == 0
    assert [desc.masked for desc in dev.msi_list] == [1, 0, 1]
    assert [int(cap.masked(k)) for k in range(3)] == [1, 0, 1]
    assert pci_signal(dev, 0) is None
    message = pci_signal(dev, 1)
    assert message is not None
    apicd = m.vector_level(irq)
    assert m.target(message) == (1 << apicd.cpu, apicd.vector)
    assert m.free_irq(irq) == 0
    pci_disable_msix(dev)
    assert flags(cap) == 0 and all(cap.masked(k) for k in range(3))


def test_pci_7_shutting_down_masks_the_device_and_not_the_cache() -> None:
    m = PciMachine()
    dev, cap = enabled(m, 2)
    assert m.request_irq(pci_irq_vector(dev, 0)) == 0
    pci_msix_shutdown(dev)
    assert (cap.masked(0), cap.masked(1), flags(cap), dev.intx_on) == (True, True, 0, True)
    assert [desc.masked for desc in dev.msi_list] == [0, 1]
    assert events_of(m, lambda: pci_msix_shutdown(dev)) == []
    assert events_of(m, lambda: pci_msi_shutdown(dev)) == []


def test_pci_7_other_bits_of_the_vector_control_word_are_kept() -> None:
    m = PciMachine()
    dev = m.device(msix=1)
    pci_writel(dev, 0, PCI_MSIX_ENTRY_VECTOR_CTRL, 0x100)
    assert pci_enable_msix_range(dev, None, 1, 1) == 1
    assert pci_readl(dev, 0, PCI_MSIX_ENTRY_VECTOR_CTRL) == dev.msi_list[0].masked == 0x101
    assert m.request_irq(pci_irq_vector(dev, 0)) == 0
    assert pci_readl(dev, 0, PCI_MSIX_ENTRY_VECTOR_CTRL) == dev.msi_list[0].masked == 0x100


def test_pci_8_a_reset_device_gets_its_table_back() -> None:
    m = PciMachine()
    dev, cap = enabled(m, 3)
    assert m.request_irq(pci_irq_vector(dev, 2)) == 0
    table = {nr: list(entry) for nr, entry in cap.table.items()}
    pci_reset_function(dev)
    assert cap.table == {} and flags(cap) == 0
    pci_restore_msi_state(dev)
    assert (cap.table, flags(cap), dev.intx_on) == (table, ENABLED, False)
    assert cap.message(2) == dev.msi_list[2].msg


def test_pci_8_the_cache_follows_a_device_without_power() -> None:
    m = PciMachine()
    dev, cap = enabled(m, 1)
    pci_set_power_state(dev, PciPower.D3HOT)
    pci_write_msi_msg(dev.msi_list[0], MsiMsg(0xFEE00000, 0, 0x99))
    assert pci_readl(dev, 0, PCI_MSIX_ENTRY_VECTOR_CTRL) == 0xFFFFFFFF
    pci_set_power_state(dev, PciPower.D0)
    pci_restore_msi_state(dev)
    assert cap.message(0).data == 0x99


def test_virtual_entries_have_irqs_but_no_registers() -> None:
    m = PciMachine()
    dev = m.device(msix=2)
    wanted = PCI_IRQ_MSIX | PCI_IRQ_VIRTUAL
    assert pci_alloc_irq_vectors_affinity(dev, 4, 4, wanted) == 4
    assert [desc.msi_attrib.is_virtual for desc in dev.msi_list] == [False, False, True, True]
    assert [desc.masked for desc in dev.msi_list] == [1, 1, 0, 0]
    irq = pci_irq_vector(dev, 3)
    events = events_of(m, lambda: m.request_irq(irq))
    written = [event for event in events if event.name == "pci_write_msi_msg"]
    assert [event.fields["reached"] for event in written] == [0, 0]
    assert not [event for event in events if event.system == "pci_regs"]
    assert dev.msi_list[3].msg.data & 0xFF == m.vector_level(irq).vector
    assert dev.msix_cap is not None and set(dev.msix_cap.table) == {0, 1}


def test_trap_31_ignoring_masks_leaves_the_table_masked_and_the_cache_empty() -> None:
    m = PciMachine()
    m.kernel.pci_msi_ignore_mask = True
    dev, cap = enabled(m, 1)
    assert (dev.msi_list[0].masked, cap.masked(0)) == (0, True)
    assert m.matrix.global_reserved == 0


def test_a_device_that_is_gone_is_only_noted_as_disabled() -> None:
    m = PciMachine()
    before = m.footprint()
    dev, cap = enabled(m, 2)
    dev.disconnected = True
    control = cap.control
    pci_free_irq_vectors(dev)
    assert (dev.msix_enabled, dev.msi_list, cap.control) == (False, [], control)
    assert m.footprint() == before


def test_the_arguments_of_a_range() -> None:
    m = PciMachine()
    dev = m.device(msix=2)
    assert pci_enable_msix_range(dev, None, 2, 1) == -errno.ERANGE
    assert pci_enable_msix_range(m.device(), None, 1, 1) == -errno.EINVAL
    assert (pci_msix_vec_count(dev), pci_msix_vec_count(m.device())) == (2, -errno.EINVAL)
    assert pci_enable_msix_range(dev, None, 1, 2) == 2
    result: list[int] = []
    events = events_of(m, lambda: result.append(pci_enable_msix_range(dev, None, 1, 2)))
    assert (result, names(events)) == ([-errno.EINVAL], ["WARN"])
    off = m.device(msix=1)
    pci_set_power_state(off, PciPower.D2)
    assert pci_enable_msix_range(off, None, 1, 1) == -errno.EINVAL


@pytest.mark.parametrize("offered", [0, 2049])
def test_there_is_no_such_table(offered: int) -> None:
    with pytest.raises(ValueError, match="entries"):
        MsixCap(offered)
    with pytest.raises(ValueError, match="multi_cap"):
        MsiCap(offered or 6)
    with pytest.raises(IndexError):
        MsixCap(1).writel(offered or 1, 0, 0)


def test_spread_vectors_are_managed_and_the_others_are_not() -> None:
    m = PciMachine(4)
    dev = m.device(msix=8)
    affd = IrqAffinity(pre_vectors=1, post_vectors=1)
    wanted = PCI_IRQ_MSIX | PCI_IRQ_AFFINITY
    assert pci_alloc_irq_vectors_affinity(dev, 3, 8, wanted, affd) == 6
    irqs = [pci_irq_vector(dev, k) for k in range(6)]
    managed = [m.irqd(irq).test(IRQD_AFFINITY_MANAGED) for irq in irqs]
    assert managed == [False, True, True, True, True, False]
    assert [m.irqs.descs[irq].common.affinity for irq in irqs[1:5]] == [1, 2, 4, 8]
    assert [cm.managed for cm in m.matrix.maps] == [1, 1, 1, 1]
    assert m.matrix.global_reserved == 2


def test_vectors_that_are_not_spread_must_fit_into_the_minimum() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap(3), msix=8)
    wanted = PCI_IRQ_MSIX | PCI_IRQ_AFFINITY
    affd = IrqAffinity(pre_vectors=2)
    assert pci_alloc_irq_vectors_affinity(dev, 1, 8, wanted, affd) == -errno.ENOSPC
    assert pci_enable_msi_range(dev, 1, 8, affd) == -errno.ENOSPC
    assert dev.msi_list == []


def test_trap_43_nothing_is_managed_if_there_is_nothing_to_spread() -> None:
    m = PciMachine()
    dev = m.device(msix=2)
    wanted = PCI_IRQ_MSIX | PCI_IRQ_AFFINITY
    assert pci_alloc_irq_vectors_affinity(dev, 2, 2, wanted, IrqAffinity(2)) == 2
    irq = pci_irq_vector(dev, 0)
    assert not m.irqd(irq).test(IRQD_AFFINITY_MANAGED)
    assert m.irqs.descs[irq].common.affinity == mask(0, 1)
