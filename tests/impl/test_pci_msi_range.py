# SPDX-License-Identifier: GPL-2.0-only
"""What drivers may ask of PCI MSI, and who answers: domains, quirks, the arch fallbacks."""

import errno

import pytest

from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    PCI_IRQ_AFFINITY,
    PCI_IRQ_ALL_TYPES,
    PCI_IRQ_LEGACY,
    PCI_IRQ_MSI,
    pci_alloc_irq_vectors_affinity,
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_free_irq_vectors,
    pci_irq_vector,
    pci_msi_vec_count,
)
from impl.drivers.pci.msi_domain import (
    pci_msi_domain_check_cap,
    pci_msi_domain_get_msi_rid,
)
from impl.drivers.pci.msi_fallbacks import MsiController
from impl.drivers.pci.pci import (
    PciBus,
    PciDev,
    PciPower,
    pci_set_power_state,
)
from impl.kernel.irq.affinity import IrqAffinity
from impl.kernel.irq.msi import (
    MSI_FLAG_ACTIVATE_EARLY,
    MSI_FLAG_LEVEL_CAPABLE,
    MSI_FLAG_MULTI_PCI_MSI,
    MSI_FLAG_MUST_REACTIVATE,
    MSI_FLAG_PCI_MSIX,
    MsiDesc,
    MsiDomainInfo,
)
from tests.impl.pci_support import PciMachine, block_domain, with_block
from tests.impl.support import events_of, names


def test_pci_9_without_a_domain_x86_answers_enodev_and_warns_once() -> None:
    m = PciMachine(disable_apic=True)
    assert m.x86.pci_msi_default_domain is None
    dev = m.device(msi=MsiCap())
    events = names(events_of(m, lambda: pci_enable_msi_range(dev, 1, 1)))
    assert events.count("WARN") == 2  # one for the set-up, one for the teardown
    assert pci_enable_msi_range(dev, 1, 1) == -errno.ENODEV
    assert names(events_of(m, lambda: pci_enable_msi_range(dev, 1, 1))).count("WARN") == 0
    assert dev.msi_list == []


class Controller:
    """An MSI controller that takes irq numbers from 100 on."""

    def __init__(self, ret: int = 0) -> None:
        self.ret = ret
        self.next = 100
        self.freed: list[int] = []
        self.msi = MsiController(setup_irq=self._setup, teardown_irq=self.freed.append)

    def _setup(self, dev: PciDev, desc: MsiDesc) -> int:
        if self.ret == 0:
            desc.irq = self.next
            self.next += 1
        return self.ret


@pytest.mark.parametrize("stale", [False, True])
def test_n4_the_fallbacks_work_where_selected_unless_the_symbol_is_stale(stale: bool) -> None:
    m = PciMachine(disable_apic=True, arch_fallbacks=True, defects=(Defect.N4,) if stale else ())
    controller = Controller()
    m.root.msi = controller.msi
    dev = m.device(msi=MsiCap(3), msix=2)
    assert pci_enable_msix_range(dev, None, 2, 2) == (-errno.ENODEV if stale else 2)
    pci_free_irq_vectors(dev)
    assert controller.freed == ([] if stale else [100, 101])


@pytest.mark.parametrize(
    ("answer", "ret"), [(-errno.EBUSY, -errno.EBUSY), (1, -errno.ENOSPC), (None, -errno.EINVAL)]
)
def test_pci_9_what_the_fallbacks_answer(answer: int | None, ret: int) -> None:
    m = PciMachine(disable_apic=True, arch_fallbacks=True)
    if answer is not None:
        m.root.msi = Controller(answer).msi
    dev = m.device(msi=MsiCap(3))
    assert pci_enable_msi_range(dev, 1, 1) == ret
    assert pci_enable_msi_range(dev, 2, 8) == -errno.ENOSPC


def test_pci_9_a_controller_may_serve_the_device_as_a_whole() -> None:
    m = PciMachine(disable_apic=True, arch_fallbacks=True)
    asked: list[tuple[int, bool]] = []

    def setup_irqs(dev: PciDev, nvec: int, msix: bool) -> int:
        asked.append((nvec, msix))
        return -errno.EBUSY

    m.root.msi = MsiController(setup_irqs=setup_irqs)
    assert pci_enable_msi_range(m.device(msi=MsiCap(3)), 4, 4) == -errno.EBUSY
    assert asked == [(4, False)]


def test_the_arguments_of_a_range() -> None:
    m = PciMachine()
    dev = m.device(msi=MsiCap(2))
    assert pci_enable_msi_range(dev, 0, 4) == -errno.EINVAL
    assert pci_enable_msi_range(dev, 2, 1) == -errno.ERANGE
    assert pci_enable_msi_range(dev, 5, 8) == -errno.ENOSPC
    assert pci_enable_msi_range(m.device(), 1, 1) == -errno.EINVAL
    assert (pci_msi_vec_count(dev), pci_msi_vec_count(m.device())) == (4, -errno.EINVAL)
    assert pci_enable_msi_range(dev, 1, 4) == 1
    events: list[int] = []
    warned = names(events_of(m, lambda: events.append(pci_enable_msi_range(dev, 1, 1))))
    assert (events, warned) == ([-errno.EINVAL], ["WARN"])


def test_whether_msi_is_supported() -> None:
    m = PciMachine()
    plain = m.device(msi=MsiCap())
    assert pci_enable_msi_range(m.device(msi=MsiCap(), no_msi=True), 1, 1) == -errno.EINVAL
    outer = PciBus(m.pci, 0, 1, parent=m.root, self_dev=plain, no_msi=True)
    inner = PciBus(m.pci, 0, 2, parent=outer)
    assert pci_enable_msi_range(m.device(msi=MsiCap(), bus=inner), 1, 1) == -errno.EINVAL
    assert pci_enable_msix_range(m.device(msix=1, bus=inner), None, 1, 1) == -errno.EINVAL
    pci_set_power_state(plain, PciPower.D3HOT)
    assert pci_enable_msi_range(plain, 1, 1) == -errno.EINVAL
    pci_set_power_state(plain, PciPower.D0)
    assert pci_enable_msi_range(plain, 1, 1) == 1
    assert (
        pci_enable_msi_range(PciMachine(pci_msi_enable=False).device(msi=MsiCap()), 1, 1)
        == -errno.EINVAL
    )


def test_allocation_falls_back_from_msi_x_over_msi_to_intx() -> None:
    m = PciMachine()
    both = m.device(msi=MsiCap(), msix=4, irq=9)
    assert pci_alloc_irq_vectors_affinity(both, 1, 4, PCI_IRQ_ALL_TYPES) == 4
    assert both.msix_enabled
    pci_free_irq_vectors(both)
    assert pci_alloc_irq_vectors_affinity(both, 1, 4, PCI_IRQ_MSI) == 1
    assert both.msi_enabled
    line = m.device(irq=9)
    line.intx_on = False
    assert pci_alloc_irq_vectors_affinity(line, 1, 4, PCI_IRQ_ALL_TYPES) == 1
    assert (line.intx_on, pci_irq_vector(line, 0)) == (True, 9)
    assert pci_irq_vector(line, 1) == -errno.EINVAL
    assert pci_alloc_irq_vectors_affinity(line, 2, 4, PCI_IRQ_ALL_TYPES) == -errno.EINVAL
    assert pci_alloc_irq_vectors_affinity(m.device(), 1, 1, PCI_IRQ_LEGACY) == -errno.ENOSPC
    assert pci_alloc_irq_vectors_affinity(line, 1, 1, PCI_IRQ_LEGACY | PCI_IRQ_AFFINITY) == 1


def test_an_affinity_without_the_flag_is_dropped() -> None:
    m = PciMachine()
    dev = m.device(msix=2)
    events = events_of(
        m,
        lambda: pci_alloc_irq_vectors_affinity(dev, 2, 2, PCI_IRQ_ALL_TYPES, IrqAffinity(1)),
    )
    assert names(events).count("WARN") == 1
    assert m.matrix.global_reserved == 2


def test_apic_6_the_domain_wants_single_vectors_unless_it_can_give_blocks() -> None:
    m = PciMachine()
    dev, _cap = with_block(m, 2)
    domain = dev.msi_domain
    assert domain is not None
    info: MsiDomainInfo = domain.host_data
    assert info.flags & MSI_FLAG_ACTIVATE_EARLY and info.flags & MSI_FLAG_MUST_REACTIVATE
    assert pci_msi_domain_check_cap(domain, info, dev) == 0
    info.flags &= ~(MSI_FLAG_MULTI_PCI_MSI | MSI_FLAG_PCI_MSIX)
    assert pci_msi_domain_check_cap(domain, info, dev) == 1
    msix = m.device(msix=1)
    msix.msi_domain = domain
    assert pci_enable_msix_range(msix, None, 1, 1) == -524


def test_a_level_capable_domain_is_refused() -> None:
    m = PciMachine()
    events = events_of(m, lambda: block_domain(m, MSI_FLAG_LEVEL_CAPABLE))
    assert names(events).count("WARN") == 1


@pytest.mark.parametrize(
    ("aliases", "rid"),
    [
        ((), 0x010A),
        (((1, 0x0110),), 0x010A),
        (((1, 0x0200),), 0x0200),
        (((0, 0x0108),), 0x0108),
        (((1, 0x0200), (2, 0x0208)), 0x0200),
        (((1, 0x0200), (0, 0x0008)), 0x0008),
    ],
)
def test_the_requester_id_is_the_last_alias_on_another_bus(
    aliases: tuple[tuple[int, int], ...], rid: int
) -> None:
    m = PciMachine()
    dev = m.device(bus=m.bus(1), devfn=0x0A, dma_aliases=aliases)
    assert pci_msi_domain_get_msi_rid(None, dev) == rid
