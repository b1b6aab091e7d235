# SPDX-License-Identifier: GPL-2.0-only
"""Device MSI: the domain of subdevices, and what an allocation takes and gives back."""

import errno

import pytest

from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.msi import pci_msi_prepare, x86_msi_prepare
from impl.defects import Defect
from impl.drivers.base.device_msi import (
    device_msi_create_irq_domain,
    device_msi_desc,
    pci_subdevice_msi_create_irq_domain,
)
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import pci_enable_msix_range
from impl.drivers.pci.vmd import vmd_probe
from impl.drivers.pci.vmd_domain import VmdDev
from impl.kernel.device import Device
from impl.kernel.irq.irq import IRQD_ACTIVATED, IRQD_CAN_RESERVE, IrqChip, IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain import DomainBus, irq_domain_create_tree, irq_find_mapping
from impl.kernel.irq.msi import (
    MSI_FLAG_ACTIVATE_EARLY,
    MSI_FLAG_MUST_REACTIVATE,
    MSI_FLAG_USE_DEF_CHIP_OPS,
    MSI_FLAG_USE_DEF_DOM_OPS,
    MsiDomainInfo,
    MsiDomainOps,
)
from impl.kernel.irq.msi_desc import MsiAttrib, MsiDesc, alloc_msi_entry
from impl.kernel.irq.msi_domain import msi_domain_set_default_info_flags
from impl.kernel.kernel import KernelBug
from tests.impl.ims_support import ArrayMachine, SubdeviceMachine, irqs_of
from tests.impl.pci_support import PciMachine
from tests.impl.support import events_of

DEFAULTS = MSI_FLAG_USE_DEF_DOM_OPS | MSI_FLAG_USE_DEF_CHIP_OPS


def store_nothing(domain: IrqDomain, dev: Device, nvec: int) -> int:
    for hwirq, desc in enumerate(dev.msi_list):
        device_msi_desc(desc).hwirq = 10 * dev.id + hwirq
    return 0


def info_of(ops: MsiDomainOps | None = None) -> MsiDomainInfo:
    chip = IrqChip(
        "TEST-DEVICE-MSI",
        irq_mask=lambda irqd: None,
        irq_unmask=lambda irqd: None,
        irq_write_msi_msg=lambda irqd, msg: None,
    )
    given = ops if ops is not None else MsiDomainOps(msi_alloc_store=store_nothing)
    return MsiDomainInfo(flags=DEFAULTS, ops=given, chip=chip, handler_name="edge")


def domain_of(m: SubdeviceMachine, info: MsiDomainInfo | None = None) -> IrqDomain:
    domain = pci_subdevice_msi_create_irq_domain(m.pdev, info if info is not None else info_of())
    assert domain is not None
    return domain


@pytest.mark.parametrize("is_msix", [False, True])
def test_patch_40_prepare_is_as_before_for_pci_devices(is_msix: bool) -> None:
    m = PciMachine()
    dev = m.device(msix=1, msi=MsiCap())
    desc = alloc_msi_entry(m.kernel, dev, 1, None, MsiAttrib(is_msix=is_msix))
    assert desc is not None and dev.msi_domain is not None
    dev.msi_list.append(desc)
    before, after = IrqAllocInfo(hwirq=3, data="old"), IrqAllocInfo(hwirq=5)
    assert pci_msi_prepare(dev.msi_domain, dev, 1, before) == 0
    assert x86_msi_prepare(dev.msi_domain, dev, 1, after) == 0
    assert before == after
    assert after.type in (X86_IRQ_ALLOC_TYPE.PCI_MSI, X86_IRQ_ALLOC_TYPE.PCI_MSIX)


def test_patch_40_prepare_asks_other_devices_nothing() -> None:
    m = SubdeviceMachine()
    domain = domain_of(m)
    arg = IrqAllocInfo(flags=3, hwirq=7, data="old")
    assert x86_msi_prepare(domain, m.subdevice(domain), 1, arg) == 0
    assert arg == IrqAllocInfo(type=X86_IRQ_ALLOC_TYPE.DEV_MSI)


def test_patch_39_the_type_comes_before_those_that_look_for_parents() -> None:
    types = list(X86_IRQ_ALLOC_TYPE)
    assert types[types.index(X86_IRQ_ALLOC_TYPE.DEV_MSI) - 1] == X86_IRQ_ALLOC_TYPE.UV
    assert X86_IRQ_ALLOC_TYPE.DEV_MSI < X86_IRQ_ALLOC_TYPE.IOAPIC_GET_PARENT


def test_patch_43_the_default_flags_are_those_of_pci() -> None:
    info = MsiDomainInfo(flags=DEFAULTS)
    msi_domain_set_default_info_flags(info)
    assert info.flags == DEFAULTS | MSI_FLAG_ACTIVATE_EARLY | MSI_FLAG_MUST_REACTIVATE
    m = SubdeviceMachine()
    assert m.pdev.msi_domain is not None
    pci_flags = m.pdev.msi_domain.host_data.flags
    assert pci_flags & info.flags == info.flags
    assert domain_of(m).host_data.flags == info.flags


def test_the_domain_is_completed_marked_and_named() -> None:
    m = SubdeviceMachine()
    info = info_of()
    events = events_of(m, lambda: domain_of(m, info))
    domain = m.domains.irq_domain_list[0]
    assert (domain.bus_token, domain.name) == (DomainBus.DEVICE_MSI, f"{m.pdev.name}-11")
    assert info.ops is not None and info.chip is not None
    assert info.ops.msi_prepare is x86_msi_prepare
    assert info.chip.irq_ack is not None and info.chip.irq_set_affinity is not None
    parent = domain.parent
    assert parent is not None
    assert [event.fields for event in events if event.system == "ims"] == [
        {"domain": domain.id, "parent": parent.id}
    ]


def test_the_owners_operations_stay() -> None:
    m = SubdeviceMachine()
    ops = MsiDomainOps(
        domain_alloc_irqs=lambda domain, dev, nvec: -errno.EIO,
        domain_free_irqs=lambda domain, dev: None,
    )
    domain = domain_of(m, info_of(ops))
    dev = m.subdevice(domain)
    assert m.alloc(dev, 1) == -errno.EIO
    m.free(dev)


def test_without_operations_there_is_nothing_to_complete() -> None:
    m = SubdeviceMachine()
    with pytest.raises(KernelBug):
        device_msi_create_irq_domain(
            m.domains, None, MsiDomainInfo(flags=MSI_FLAG_USE_DEF_DOM_OPS), None
        )


def test_without_the_flags_the_core_completes_what_must_be_there() -> None:
    m = SubdeviceMachine()
    info = MsiDomainInfo(chip=info_of().chip)
    domain = device_msi_create_irq_domain(m.domains, None, info, m.vectors.x86_vector_domain)
    assert domain is not None and info.ops is not None
    assert info.ops.msi_prepare is not x86_msi_prepare


@pytest.mark.parametrize("remapped", [False, True])
def test_ims_7_the_domain_stands_on_the_parent_of_the_devices_domain(remapped: bool) -> None:
    m = SubdeviceMachine(remapped=remapped)
    own = m.pdev.msi_domain
    domain = domain_of(m)
    assert own is not None and domain.parent is own.parent and domain.parent is not None
    # Trap 57: the parent is that of the moment.
    m.pdev.msi_domain = None
    assert domain.parent is own.parent
    assert pci_subdevice_msi_create_irq_domain(m.pdev, info_of()) is None


def no_parent(m: SubdeviceMachine) -> None:
    """As under Xen: a domain without levels, token ANY."""
    m.pdev.msi_domain = irq_domain_create_tree(m.domains, None, m.domains.irq_domain_list[0].ops)


def behind_vmd(m: SubdeviceMachine) -> None:
    vmd = VmdDev(m.x86, m.device(msix=2))
    assert vmd_probe(vmd, lambda bus: None) == 0
    assert vmd.bus is not None
    m.pdev = m.device(msix=1, bus=vmd.bus)


def composing(m: SubdeviceMachine) -> None:
    """As behind Hyper-V: the device's own level composes."""
    assert m.pdev.msi_domain is not None
    info = m.pdev.msi_domain.host_data
    info.chip = IrqChip("TEST-HV", irq_compose_msi_msg=lambda irqd: MsiMsg(1))


@pytest.mark.parametrize("place", [no_parent, behind_vmd, composing])
def test_ims_7_d5_no_domain_where_the_parents_messages_mean_nothing(place: object) -> None:
    assert callable(place)
    m = SubdeviceMachine()
    place(m)
    before = m.footprint(), set(m.domains.fwnodes)
    assert pci_subdevice_msi_create_irq_domain(m.pdev, info_of()) is None
    assert (m.footprint(), set(m.domains.fwnodes)) == before


@pytest.mark.parametrize("place", [no_parent, behind_vmd])
def test_ims_7_d5_as_posted_the_allocation_finds_no_one_who_composes(place: object) -> None:
    assert callable(place)
    m = SubdeviceMachine(defects={Defect.DEV_D5})
    place(m)
    domain = domain_of(m)
    assert domain.parent is None
    with pytest.raises(KernelBug):
        m.alloc(m.subdevice(domain), 1)


def test_d5_as_posted_a_domain_is_made_beside_one_that_composes() -> None:
    m = SubdeviceMachine(defects={Defect.DEV_D5})
    composing(m)
    assert domain_of(m).parent is m.vectors.x86_vector_domain


@pytest.mark.parametrize("site", ["irq_domain_alloc_fwnode", "irq_domain_add"])
def test_no_domain_without_memory_and_nothing_is_left(site: str) -> None:
    m = SubdeviceMachine()
    before = m.footprint(), set(m.domains.fwnodes)
    m.fail_next(site)
    assert pci_subdevice_msi_create_irq_domain(m.pdev, info_of()) is None
    assert (m.footprint(), set(m.domains.fwnodes)) == before


def test_an_allocation_brings_descriptors_irqs_and_vectors() -> None:
    m = SubdeviceMachine()
    domain = domain_of(m)
    dev = m.subdevice(domain)
    before = m.footprint()
    allocated = m.matrix.total_allocated
    events = events_of(m, lambda: m.alloc(dev, 3))
    assert [event.fields for event in events if event.name == "device_msi_alloc_irqs"] == [
        {"device": dev.id, "nvec": 3}
    ]
    for desc in dev.msi_list:
        irqd = m.irqs.descs[desc.irq].irq_data
        assert desc.nvec_used == 1 and irqd.domain is domain
        # Trap 56: never a reservation.
        assert irqd.test(IRQD_ACTIVATED) and not irqd.test(IRQD_CAN_RESERVE)
        assert irq_find_mapping(m.domains, domain, device_msi_desc(desc).hwirq) == desc.irq
    assert m.matrix.total_allocated == allocated + 3 and m.counters()[1] == 0
    names = [event.name for event in events_of(m, lambda: m.free(dev))]
    assert names[-2:] == ["device_msi_free_irqs", "msi_domain_free_irqs"]
    assert dev.msi_list == [] and m.footprint() == before


def test_trap_56_the_reservation_check_ignores_the_token_only() -> None:
    m = SubdeviceMachine()
    assert m.pdev.msi_domain is not None
    assert pci_enable_msix_range(m.pdev, None, 2, 2) == 2
    reserved = m.counters()[1]
    assert m.alloc(m.subdevice(domain_of(m)), 2) == 0
    assert m.counters()[1] == reserved == 2


@pytest.mark.parametrize("nth", [1, 3])
def test_without_memory_for_a_descriptor_nothing_is_left(nth: int) -> None:
    m = SubdeviceMachine()
    dev = m.subdevice(domain_of(m))
    before = m.footprint()
    m.fail_next("alloc_msi_entry", nth)
    assert m.alloc(dev, 3) == -errno.ENOMEM
    assert dev.msi_list == [] and m.footprint() == before


@pytest.mark.parametrize("answer", [-errno.ENODEV, 2])
def test_a_refusal_comes_through(answer: int) -> None:
    m = SubdeviceMachine()
    ops = MsiDomainOps(msi_check=lambda domain, info, dev: answer, msi_alloc_store=store_nothing)
    dev = m.subdevice(domain_of(m, info_of(ops)))
    before = m.footprint()
    assert m.alloc(dev, 3) == answer
    assert dev.msi_list == [] and m.footprint() == before


class CountingStore:
    """A store that counts; `room` is how many allocations it grants."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.calls: list[str] = []
        self.ops = MsiDomainOps(msi_alloc_store=self._alloc, msi_free_store=self._free)

    def _alloc(self, domain: IrqDomain, dev: Device, nvec: int) -> int:
        if not self.room:
            return -errno.ENOSPC
        self.room -= 1
        self.calls.append("alloc")
        return store_nothing(domain, dev, nvec)

    def _free(self, domain: IrqDomain, dev: Device) -> None:
        self.calls.append("free")


def test_13_3_the_store_surrounds_the_interrupts() -> None:
    m = SubdeviceMachine()
    store = CountingStore()
    dev = m.subdevice(domain_of(m, info_of(store.ops)))
    names = [event.name for event in events_of(m, lambda: m.alloc(dev, 1))]
    assert names.index("msi_alloc_store") < names.index("irq_alloc_descs")
    names = [event.name for event in events_of(m, lambda: m.free(dev))]
    assert names.index("irq_free_descs") < names.index("msi_free_store")
    assert names.index("msi_free_store") < names.index("free_msi_entry")
    assert store.calls == ["alloc", "free"]


def test_13_3_a_store_without_room_ends_the_allocation() -> None:
    m = SubdeviceMachine()
    store = CountingStore(room=0)
    dev = m.subdevice(domain_of(m, info_of(store.ops)))
    before = m.footprint()
    assert m.alloc(dev, 1) == -errno.ENOSPC
    assert "alloc" not in store.calls and dev.msi_list == [] and m.footprint() == before


@pytest.mark.parametrize("site", ["alloc_desc", "alloc_apic_chip_data"])
def test_d3_msi_13_a_failure_in_the_middle_frees_irqs_store_and_descriptors(site: str) -> None:
    m = SubdeviceMachine()
    store = CountingStore()
    dev = m.subdevice(domain_of(m, info_of(store.ops)))
    before = m.footprint()
    m.fail_next(site, 2)
    assert m.alloc(dev, 3) == -errno.ENOSPC
    assert store.calls == ["alloc", "free"]
    assert dev.msi_list == [] and m.footprint() == before


def test_d3_as_posted_a_failure_in_the_middle_keeps_irqs_and_store() -> None:
    m = SubdeviceMachine(defects={Defect.DEV_D3})
    store = CountingStore()
    domain = domain_of(m, info_of(store.ops))
    dev = m.subdevice(domain)
    m.fail_next("alloc_desc", 2)
    assert m.alloc(dev, 3) == -errno.ENOSPC
    assert store.calls == ["alloc"] and dev.msi_list == []
    assert domain.mapcount == 1


def exhaust(m: SubdeviceMachine, left: int) -> None:
    """Take all vectors but `left`."""
    taken = []
    while (irq := m.alloc_irqs(1, mask=3)) > 0:
        taken.append(irq)
    for irq in taken[:left]:
        assert m.free_irqs(irq) == 0


@pytest.mark.parametrize("defects", [frozenset[Defect](), frozenset({Defect.DEV_D3})])
def test_msi_13_a_failed_activation_frees_everything_once(defects: frozenset[Defect]) -> None:
    m = SubdeviceMachine(defects=defects)
    store = CountingStore()
    dev = m.subdevice(domain_of(m, info_of(store.ops)))
    exhaust(m, 1)
    before = m.footprint()
    assert m.alloc(dev, 2) == -errno.ENOSPC
    assert store.calls == ["alloc", "free"]
    assert dev.msi_list == [] and m.footprint() == before


def test_d2_without_set_desc_a_domain_has_room_for_one() -> None:
    m = SubdeviceMachine(defects={Defect.DEV_D2})
    domain = domain_of(m)
    dev = m.subdevice(domain)
    assert m.alloc(dev, 1) == 0
    assert m.irqs.descs[irqs_of(dev)[0]].irq_data.hwirq == 0
    assert m.alloc(m.subdevice(domain), 1) == -errno.ENOSPC


def test_d10_a_second_allocation_is_refused() -> None:
    m = ArrayMachine()
    dev = m.with_irqs(2)
    before = m.books(), irqs_of(dev), m.slots_of(dev)
    assert m.alloc(dev, 1) == -errno.EBUSY
    assert (m.books(), irqs_of(dev), m.slots_of(dev)) == before
    for nvec in (0, -1):
        assert m.alloc(m.dev(), nvec) == -errno.EINVAL


def test_d10_as_posted_old_descriptors_get_new_irqs_and_new_slots() -> None:
    m = ArrayMachine(defects={Defect.DEV_D10})
    assert m.alloc(m.dev(), 0) == 0
    dev = m.with_irqs(1)
    (old_irq,), (old_slot,) = irqs_of(dev), m.slots_of(dev)
    assert m.alloc(dev, 1) == 0
    assert old_irq not in irqs_of(dev) and old_slot not in m.slots_of(dev)
    assert len(irqs_of(dev)) == 2
    m.free(dev)
    # Nobody knows the old ones any more.
    assert m.data.map == 1 << old_slot and old_irq in m.irqs.descs


def test_a_descriptor_of_another_kind_is_a_bug() -> None:
    m = SubdeviceMachine()
    desc = MsiDesc(0, m.pdev, 1, None, MsiAttrib())
    with pytest.raises(KernelBug):
        device_msi_desc(desc)


def test_ims_11_subdevices_and_the_pci_device_do_not_meet() -> None:
    m = ArrayMachine()
    dev = m.with_irqs(2)
    assert m.pdev.msi_list == []
    store = m.data.map, m.slots_of(dev)
    assert pci_enable_msix_range(m.pdev, None, 2, 2) == 2
    assert (m.data.map, m.slots_of(dev)) == store and len(dev.msi_list) == 2
    own = m.pdev.msi_domain
    assert own is not None and set(own.revmap_tree).isdisjoint(irqs_of(dev))
    mapped = dict(own.revmap_tree)
    m.free(dev)
    assert own.revmap_tree == mapped and len(m.pdev.msi_list) == 2
    # What they share is below: vectors.
    assert m.domain.parent is own.parent
