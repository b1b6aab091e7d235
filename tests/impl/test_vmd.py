# SPDX-License-Identifier: GPL-2.0-only
"""A VMD and the devices behind it."""

import errno

import pytest

from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    PCI_IRQ_MSIX,
    pci_alloc_irq_vectors_affinity,
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_free_irq_vectors,
    pci_irq_vector,
)
from impl.drivers.pci.msi_domain import pci_dev_has_special_msi_domain
from impl.drivers.pci.pci import PciBus, pci_signal
from impl.drivers.pci.probe import (
    pci_set_bus_msi_domain,
)
from impl.drivers.pci.vmd import (
    pci_real_dma_dev,
    vmd_probe,
)
from impl.drivers.pci.vmd_domain import (
    VmdDev,
    vmd_from_bus,
    vmd_irq,
    vmd_msg_index,
)
from impl.kernel.irq.irq import IRQD_ACTIVATED, IRQD_SETAFFINITY_PENDING, MsiMsg
from impl.kernel.irq.irqdomain import DomainBus, irq_find_mapping
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs
from impl.kernel.kernel import KernelBug
from tests.impl.support import events_of, mask
from tests.impl.vmd_support import VmdMachine


def test_vmd_1_each_child_interrupt_is_on_one_list_of_its_own_vmd() -> None:
    m = VmdMachine(3)
    other = VmdDev(m.x86, m.device(msix=3))
    assert vmd_probe(other, lambda bus: None) == 0
    for k in range(4):
        dev = m.enabled(2, nvme=k % 2 == 0)
        assert dev.msi_domain is m.vmd.irq_domain
    dev = m.child(msix=2, bus=other.bus)
    assert pci_enable_msix_range(dev, None, 2, 2) == 2
    for desc in dev.msi_list:
        assert m.list_of(desc.irq) in other.irqs
    on_lists = [irq for irqs in m.listed() for irq in irqs]
    assert len(on_lists) == len(set(on_lists)) == 8


def test_vmd_1_a_device_that_is_no_child_is_a_bug() -> None:
    m = VmdMachine()
    stranger = m.device(msix=1)
    with pytest.raises(KernelBug):
        vmd_from_bus(stranger.bus)
    stranger.msi_domain = m.vmd.irq_domain
    with pytest.raises(KernelBug):
        pci_enable_msix_range(stranger, None, 1, 1)


def test_vmd_2_an_interrupt_is_on_its_list_while_it_is_enabled() -> None:
    m = VmdMachine()
    dev = m.enabled(1, request=False)
    (irq,) = m.irqs_of(dev)
    lists = m.lists(dev)[0]
    assert m.listed()[lists] == []
    assert m.request_irq(irq) == 0
    assert m.listed()[lists] == [irq]
    assert m.disable_irq(irq) == 0 and m.listed()[lists] == []
    assert m.disable_irq(irq) == 0 and m.listed()[lists] == []
    assert m.enable_irq(irq) == 0 and m.listed()[lists] == []
    assert m.enable_irq(irq) == 0 and m.listed()[lists] == [irq]
    assert m.free_irq(irq) == 0 and m.listed()[lists] == []
    assert m.request_irq(irq, autoenable=False) == 0 and m.listed()[lists] == []
    assert m.enable_irq(irq) == 0 and m.listed()[lists] == [irq]


def test_vmd_2_the_device_is_masked_while_its_interrupt_is_not_on_the_list() -> None:
    m = VmdMachine()
    dev = m.enabled(1, request=False)
    (irq,) = m.irqs_of(dev)
    assert pci_signal(dev, 0) is None
    assert m.request_irq(irq) == 0
    assert pci_signal(dev, 0) is not None
    # A stop is not lazy: the chip has irq_disable.
    assert m.disable_irq(irq) == 0
    assert pci_signal(dev, 0) is None


def test_vmd_2_enabling_twice_warns() -> None:
    m = VmdMachine()
    (irq,) = m.irqs_of(m.enabled(1))
    chip = m.irqd(irq).chip
    assert chip is not None and chip.irq_enable is not None
    enable = chip.irq_enable
    events = events_of(m, lambda: enable(m.irqd(irq)))
    assert events[0].name == "WARN"


def test_vmd_3_counts_follow_the_children_except_on_list_0() -> None:
    m = VmdMachine(3)
    fast, more, slow = m.enabled(3), m.enabled(2), m.enabled(2, nvme=False)
    assert m.counts() == [0, 3, 2]
    for dev in (fast, more, slow):
        for irq in m.irqs_of(dev):
            m.free_irq(irq)
        pci_free_irq_vectors(dev)
    assert m.counts() == [2**32 - 2, 0, 0]
    # Nobody looks at the count of list 0.
    assert m.lists(m.enabled(2, nvme=False)) == [0, 0]
    assert m.lists(m.enabled(2)) == [1, 2]


def test_vmd_3_a_single_vector_counts_nothing() -> None:
    m = VmdMachine(1)
    dev = m.enabled(1)
    assert m.lists(dev) == [0] and m.counts() == [0]
    m.free_irq(m.irqs_of(dev)[0])
    pci_free_irq_vectors(dev)
    assert m.counts() == [2**32 - 1]


def test_vmd_4_the_lowest_of_the_shortest_lists_for_nvme_list_0_for_others() -> None:
    m = VmdMachine(4)
    assert m.lists(m.enabled(4)) == [1, 2, 3, 1]
    assert m.lists(m.enabled(3, nvme=False)) == [0, 0, 0]
    assert m.lists(m.enabled(2)) == [2, 3]
    counts = m.counts()[1:]
    assert max(counts) - min(counts) <= 1


def test_vmd_4_frees_may_unbalance_the_lists() -> None:
    m = VmdMachine(3)
    devs = [m.enabled(1) for _ in range(4)]
    for dev in devs[::2]:
        m.free_irq(m.irqs_of(dev)[0])
        pci_free_irq_vectors(dev)
    assert m.counts() == [0, 0, 2]
    assert m.lists(m.enabled(2)) == [1, 1]


def matrix_of(m: VmdMachine) -> object:
    rows = [(cm.available, cm.allocated, cm.managed, cm.alloc_map) for cm in m.matrix.maps]
    return m.counters(), rows


def test_vmd_5_children_have_one_level_and_take_no_vector() -> None:
    m = VmdMachine()
    before = matrix_of(m)
    dev = m.enabled(3)
    for irq in m.irqs_of(dev):
        assert m.irqd(irq).parent_data is None
        assert m.irqd(irq).domain is m.vmd.irq_domain
    assert matrix_of(m) == before
    for irq in m.irqs_of(dev):
        m.disable_irq(irq)
        m.free_irq(irq)
    pci_free_irq_vectors(dev)
    assert matrix_of(m) == before


def test_vmd_5_the_former_parent_reserves_and_takes_vectors_that_nobody_uses() -> None:
    m = VmdMachine(defects={Defect.VMD_PARENT})
    available, reserved, allocated = m.counters()
    dev = m.enabled(3, request=False)
    assert m.counters() == (available, reserved + 3, allocated)
    for irq in m.irqs_of(dev):
        assert m.request_irq(irq) == 0
    assert m.counters() == (available - 3, reserved, allocated + 3)
    # The vector is there, but the device does not name it.
    irq = m.irqs_of(dev)[0]
    message = pci_signal(dev, 0)
    assert message == MsiMsg(0xFEE00000 | m.list_of(irq).index << 12, 0, 0)
    assert m.vector_level(irq).vector


@pytest.mark.parametrize("defects", [frozenset(), frozenset({Defect.VMD_PARENT})])
def test_vmd_5_the_message_does_not_depend_on_the_parent(defects: frozenset[Defect]) -> None:
    m = VmdMachine(4, defects=defects)
    dev = m.enabled(4)
    messages = [pci_signal(dev, nr) for nr in range(4)]
    assert messages == [MsiMsg(0xFEE00000 | k << 12, 0, 0) for k in (1, 2, 3, 1)]


def test_vmd_5_with_the_last_chip_composing_a_parent_would_win() -> None:
    m = VmdMachine(defects={Defect.VMD_PARENT, Defect.N5})
    dev = m.enabled(1)
    message = pci_signal(dev, 0)
    assert message is not None and message.data != 0


def test_vmd_6_the_hwirq_is_the_irq_of_the_lists_vector_and_not_unique() -> None:
    m = VmdMachine(2)
    irqs = m.irqs_of(m.enabled(2)) + m.irqs_of(m.enabled(1))
    vector = pci_irq_vector(m.endpoint, 1)
    assert [m.irqd(irq).hwirq for irq in irqs] == [vector] * 3
    domain = m.vmd.irq_domain
    assert domain is not None
    # The first owner of the key stays; when the key goes, it goes for all.
    assert irq_find_mapping(m.domains, domain, vector) == irqs[0]
    other = m.enabled(1)
    m.free_irq(m.irqs_of(other)[0])
    pci_free_irq_vectors(other)
    assert irq_find_mapping(m.domains, domain, vector) == 0
    assert domain.mapcount == 3
    # An allocation asks for hwirq 0, which is never there.
    assert irq_find_mapping(m.domains, domain, 0) == 0


@pytest.mark.parametrize("vectors", [1, 2, 5])
def test_vmd_7_the_message_names_the_vector_of_the_list(vectors: int) -> None:
    m = VmdMachine(vectors)
    dev = m.enabled(1)
    message = pci_signal(dev, 0)
    assert message is not None
    assert (vmd_msg_index(message), message.data, message.address_hi) == (m.lists(dev)[0], 0, 0)
    index = vmd_msg_index(message)
    assert pci_signal(m.endpoint, index) is not None


def test_vmd_7_no_more_vectors_than_a_message_can_name() -> None:
    m = VmdMachine(260, nr_cpus=8)
    assert m.vmd.msix_count == 256


def test_vmd_7_with_more_vectors_a_message_names_another_one() -> None:
    m = VmdMachine(258, nr_cpus=8, defects={Defect.VMD_ALIAS})
    assert m.vmd.msix_count == 258
    for irqs in m.vmd.irqs[1:256]:
        irqs.count = 1
    dev = m.enabled(2)
    assert m.lists(dev) == [256, 257]
    seen = [pci_signal(dev, nr) for nr in range(2)]
    assert [vmd_msg_index(message) for message in seen if message is not None] == [0, 1]


def test_vmd_8_every_device_below_has_the_vmds_domain() -> None:
    m = VmdMachine()
    port = m.child(msi=MsiCap(), nvme=False)
    below = PciBus(m.pci, m.vmd_bus.segment, 1, parent=m.vmd_bus, self_dev=port)
    pci_set_bus_msi_domain(below)
    disk = m.child(msix=2, bus=below)
    virtual = PciBus(m.pci, m.vmd_bus.segment, 2, parent=below)
    pci_set_bus_msi_domain(virtual)
    virtfn = m.child(msix=2, bus=virtual, physfn=disk)
    for dev in (port, disk, virtfn):
        assert dev.msi_domain is m.vmd.irq_domain
        assert pci_dev_has_special_msi_domain(dev)
        assert vmd_from_bus(dev.bus) is m.vmd
        assert pci_real_dma_dev(dev) is m.endpoint
    assert m.lists(m.enabled(1)) == [1]
    assert pci_enable_msix_range(virtfn, None, 2, 2) == 2


def test_vmd_8_also_if_it_appears_later() -> None:
    m = VmdMachine()
    m.pci.bus_notifiers.append(lambda dev: special.append(pci_dev_has_special_msi_domain(dev)))
    special: list[bool] = []
    assert m.child(msix=1).msi_domain is m.vmd.irq_domain
    assert special == [True]


def test_vmd_8_with_the_pci_token_remapping_takes_the_children() -> None:
    m = VmdMachine(defects={Defect.VMD_TOKEN})
    assert m.vmd.irq_domain is not None
    assert m.vmd.irq_domain.bus_token == DomainBus.PCI_MSI
    assert not pci_dev_has_special_msi_domain(m.child(msix=1))


def test_vmd_9_the_endpoint_is_an_ordinary_device() -> None:
    m = VmdMachine()
    assert m.endpoint.msi_domain is m.x86.pci_msi_default_domain
    assert not pci_dev_has_special_msi_domain(m.endpoint)
    assert pci_real_dma_dev(m.endpoint) is m.endpoint


def test_vmd_10_an_interrupt_is_off_its_list_before_it_is_freed() -> None:
    m = VmdMachine()
    dev = m.enabled(3)
    with pytest.raises(KernelBug):
        pci_free_irq_vectors(dev)
    for irq in m.irqs_of(dev):
        m.free_irq(irq)
    pci_free_irq_vectors(dev)
    assert m.listed() == [[], [], [], []]


def test_vmd_11_the_chip_refuses_every_affinity() -> None:
    m = VmdMachine()
    (irq,) = m.irqs_of(m.enabled(1))
    irqd = m.irqd(irq)
    assert irqd.chip is not None and irqd.chip.irq_set_affinity is not None
    before = irqd.common.affinity, irqd.common.effective_affinity
    assert irqd.chip.irq_set_affinity(irqd, mask(1), False) == -errno.EINVAL
    assert irqd.chip.irq_set_affinity(irqd, mask(1), True) == -errno.EINVAL
    # genirq notes the wish for an interrupt that never moves.
    assert m.set_affinity(irq, mask(1)) == 0
    assert irqd.test(IRQD_SETAFFINITY_PENDING)
    assert (irqd.common.affinity, irqd.common.effective_affinity) == before


def test_vmd_11_a_child_survives_the_take_down_of_a_cpu() -> None:
    m = VmdMachine()
    dev = m.enabled(2)
    before = [pci_signal(dev, nr) for nr in range(2)]
    assert m.cpu_down(1) == 0
    assert [pci_signal(dev, nr) for nr in range(2)] == before
    assert m.listed()[1:3] == [[m.irqs_of(dev)[0]], [m.irqs_of(dev)[1]]]


def test_vmd_12_too_many_vectors_are_answered_with_what_there_is() -> None:
    m = VmdMachine(3)
    dev = m.child(msix=8)
    before = m.footprint(), m.counts()
    assert pci_enable_msix_range(dev, None, 8, 8) == -errno.ENOSPC
    assert (m.footprint(), m.counts()) == before
    assert pci_alloc_irq_vectors_affinity(dev, 1, 8, PCI_IRQ_MSIX) == 3


def test_vmd_12_blocks_are_refused() -> None:
    m = VmdMachine()
    dev = m.child(msi=MsiCap(3, maskbit=True))
    before = m.footprint(), m.counts()
    assert pci_enable_msi_range(dev, 8, 8) == -errno.ENOSPC
    assert (m.footprint(), m.counts()) == before
    assert pci_enable_msi_range(dev, 1, 8) == 1
    assert m.lists(dev) == [1]


def test_an_allocation_without_memory_leaves_nothing() -> None:
    m = VmdMachine(3)
    dev = m.child(msix=3)
    before = m.footprint(), m.counts()
    for site, nth in (("vmd_msi_init", 1), ("vmd_msi_init", 3), ("alloc_desc", 2)):
        m.fail_next(site, nth)
        assert pci_enable_msix_range(dev, None, 3, 3) == -errno.ENOSPC
        after = m.footprint(), m.counts()
        assert after == before


def test_an_allocation_without_memory_leaves_nothing_in_the_former_parent() -> None:
    m = VmdMachine(3, defects={Defect.VMD_PARENT})
    dev = m.child(msix=3)
    before = m.footprint()
    m.fail_next("vmd_msi_init", 2)
    assert pci_enable_msix_range(dev, None, 3, 3) == -errno.ENOSPC
    assert m.footprint() == before


def test_an_allocation_for_no_descriptor_is_a_bug() -> None:
    m = VmdMachine()
    with pytest.raises(KernelBug):
        irq_domain_alloc_irqs(m.domains, m.vmd.irq_domain, -1, 1, 0, IrqAllocInfo())


@pytest.mark.parametrize("ignore_mask", [False, True])
def test_reservation_mode_forgets_the_activation_only(ignore_mask: bool) -> None:
    """7.4: with no parent there is nothing to reserve."""
    m = VmdMachine()
    m.kernel.pci_msi_ignore_mask = ignore_mask
    (irq,) = m.irqs_of(m.enabled(1, request=False))
    assert m.irqd(irq).test(IRQD_ACTIVATED) == ignore_mask


def test_reservation_mode_without_the_token_activates_for_good() -> None:
    m = VmdMachine(defects={Defect.N6})
    (irq,) = m.irqs_of(m.enabled(1, request=False))
    assert m.irqd(irq).test(IRQD_ACTIVATED)


def test_reservation_mode_of_the_former_domain_is_that_of_pci() -> None:
    m = VmdMachine(defects={Defect.N6, Defect.VMD_TOKEN})
    (irq,) = m.irqs_of(m.enabled(1, request=False))
    assert not m.irqd(irq).test(IRQD_ACTIVATED)


def test_trap_31_a_second_token_is_a_second_suffix() -> None:
    m = VmdMachine()
    domain = m.vmd.irq_domain
    assert domain is not None
    assert (domain.bus_token, domain.name) == (DomainBus.VMD_MSI, "VMD-MSI-65536-3-10")
    assert domain.parent is None


def test_trap_34_all_sharers_run_and_freeing_one_keeps_the_vector() -> None:
    m = VmdMachine(2)
    first, second = m.enabled(1), m.enabled(1)
    irqs = m.irqs_of(first) + m.irqs_of(second)
    message = pci_signal(first, 0)
    assert message is not None
    events = events_of(m, lambda: vmd_irq(m.vmd, vmd_msg_index(message)))
    assert [event.fields for event in events if event.name == "vmd_irq"] == [
        {"device": m.endpoint.id, "index": 1}
    ]
    assert vmd_irq(m.vmd, 1) == irqs
    m.free_irq(irqs[0])
    pci_free_irq_vectors(first)
    assert vmd_irq(m.vmd, 1) == irqs[1:]
    assert pci_signal(m.endpoint, 1) is not None
    assert vmd_irq(m.vmd, 0) == []


def test_the_handler_of_a_listed_interrupt_without_a_driver_is_not_called() -> None:
    m = VmdMachine(2)
    (irq,) = m.irqs_of(m.enabled(1))
    m.irqs.descs[irq].action = 0
    before = m.irqd(irq).common.state
    assert vmd_irq(m.vmd, 1) == []
    # The untracked handler neither masks nor acknowledges.
    assert m.irqd(irq).common.state == before
