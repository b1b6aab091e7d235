# SPDX-License-Identifier: GPL-2.0-only
"""IO-APICs: domains, the irqs of pins, route entries (section 9)."""

import errno
from dataclasses import replace
from functools import partial
from itertools import product

import pytest

from impl.arch.x86.io_apic import IoApic, IoApicDomainType, ioapic_read_entry
from impl.arch.x86.io_apic_domain import ioapic_set_alloc_attr, mp_irqdomain_create
from impl.arch.x86.io_apic_map import (
    IOAPIC_MAP_ALLOC,
    IOAPIC_MAP_CHECK,
    acpi_register_gsi,
    mp_map_gsi_to_irq,
    mp_unmap_irq,
)
from impl.arch.x86.io_apic_regs import (
    IOAPIC_EDGE,
    IOAPIC_LEVEL,
    IOAPIC_POL_HIGH,
    IOAPIC_POL_LOW,
    IoApicRouteEntry,
)
from impl.arch.x86.irq_alloc_info import X86_IRQ_ALLOC_TYPE, IrqAllocInfo
from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR
from impl.arch.x86.x86_init import X86Init
from impl.defects import Defect
from impl.kernel.irq.irq import (
    IRQ_LEVEL,
    IRQD_SETAFFINITY_PENDING,
    IrqChip,
    IrqDomain,
    IrqDomainOps,
)
from impl.kernel.irq.irqdomain import (
    FwnodeKind,
    IrqFwnode,
    IrqFwspec,
    irq_domain_create_hierarchy,
    irq_find_mapping,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs,
    irq_domain_alloc_irqs_parent,
    irq_domain_free_irqs,
    irq_domain_free_irqs_common,
    irq_domain_set_hwirq_and_chip,
)
from impl.kernel.kernel import KernelBug
from impl.machine import Machine
from impl.machine_parts import IoApicDescription, MpIrqDescription
from tests.impl.machine_support import (
    Recorder,
    booted,
    described,
    footprint,
    irq_desc,
    mp_data,
    vector_level,
    with_ioapics,
)

FIRST = IoApicDescription(2, 0, 24)
TIMER = MpIrqDescription("isa", 0, 2)
LEVEL_LOW = (IOAPIC_LEVEL, IOAPIC_POL_LOW)
EDGE_HIGH = (IOAPIC_EDGE, IOAPIC_POL_HIGH)
CHIP = IrqChip("remapping")


def domain_of(m: Machine, index: int) -> IrqDomain:
    domain = m.io_apics.ioapics[index].domain
    assert domain is not None
    return domain


def pin_info(pin: int, trigger: int = IOAPIC_LEVEL, polarity: int = IOAPIC_POL_LOW) -> IrqAllocInfo:
    info = IrqAllocInfo()
    ioapic_set_alloc_attr(info, -1, trigger, polarity)
    info.type = X86_IRQ_ALLOC_TYPE.IOAPIC
    info.ioapic.pin = pin
    return info


# Domains


def test_each_ioapic_has_a_linear_domain_of_its_pins_on_the_vector_domain() -> None:
    recorder = Recorder()
    m = booted("numa", trace=recorder.trace)
    for index, ioapic in enumerate(m.io_apics.ioapics):
        domain = domain_of(m, index)
        assert domain.name == f"IO-APIC-{index}" and domain.host_data == index
        assert len(domain.linear_revmap) == ioapic.pins
        assert domain.parent is m.vectors.x86_vector_domain
    assert recorder.named("mp_irqdomain_create") == [
        {"ioapic": index, "domain": domain_of(m, index).id} for index in range(3)
    ]


@pytest.mark.parametrize(
    ("kind", "base"), [("legacy", 48), ("strict", 48), ("dynamic", 24), ("invalid", 24)]
)
def test_gen_6_numbering_by_gsi_keeps_dynamic_irqs_away(kind: str, base: int) -> None:
    m = with_ioapics(FIRST, IoApicDescription(3, 24, 24, kind), mp_irqs=(TIMER,))
    assert m.irqs.dynirq_base == m.io_apics.dynirq_base == base
    assert (m.io_apics.ioapics[1].domain is None) == (kind == "invalid")


def test_gen_6_before_the_set_up_no_dynamic_irq_is_a_gsi() -> None:
    seen: list[int] = []
    init = X86Init(apic_post_init=lambda x86: seen.append(x86.domains.irqs.dynirq_base))
    Machine(described("numa"), x86_init=init)
    assert seen == [56]


def test_gen_6_without_ioapics_the_hint_alone_counts() -> None:
    m = with_ioapics()
    assert m.irqs.dynirq_base == 0 and not m.io_apics.initialized


def test_a_remapping_domain_becomes_the_parent() -> None:
    m = booted("bare-metal")
    asked: list[tuple[X86_IRQ_ALLOC_TYPE, int]] = []
    parent = irq_domain_create_hierarchy(
        m.domains, m.vectors.x86_vector_domain, 0, 0, None, m.vectors.x86_vector_domain.ops
    )

    def find(info: IrqAllocInfo) -> IrqDomain | None:
        asked.append((info.type, info.devid))
        return parent

    m.x86.init.irq_remapping_get_irq_domain = find
    assert mp_irqdomain_create(m.io_apics, 0) == 0
    assert asked == [(X86_IRQ_ALLOC_TYPE.IOAPIC_GET_PARENT, 2)]
    assert domain_of(m, 0).parent is parent and domain_of(m, 0).name == "IO-APIC-IR-0"


@pytest.mark.parametrize("site", ["irq_domain_alloc_fwnode", "irq_domain_add"])
def test_creating_a_domain_fails_without_memory(site: str) -> None:
    m = booted("bare-metal")
    nodes = len(m.domains.fwnodes)
    m.fail_next(site)
    assert mp_irqdomain_create(m.io_apics, 0) == -errno.ENOMEM
    assert len(m.domains.fwnodes) == nodes


# Boot


def test_36_boot_allocates_the_pins_of_the_first_ioapic_only() -> None:
    wires = (TIMER, MpIrqDescription("pci", 4, 20), MpIrqDescription("pci", 8, 30))
    m = with_ioapics(FIRST, IoApicDescription(3, 24, 24, "strict"), mp_irqs=wires)
    assert [pin for pin, irq in enumerate(domain_of(m, 0).linear_revmap) if irq] == [
        1, *range(3, 16), 20
    ]  # fmt: skip
    assert not any(domain_of(m, 1).linear_revmap)
    assert mp_data(m, 20).count == 1 and not mp_data(m, 20).isa_irq


def test_ioa_6_isa_irqs_keep_their_numbers() -> None:
    m = booted("bare-metal")
    for irq in {*range(16)} - {2}:
        data = mp_data(m, irq)
        pin = 2 if irq == 0 else irq
        assert data.isa_irq and data.count == 1 and data.irq_2_pin == [(0, pin)]
        assert irq_desc(m, irq).irq_data.hwirq == pin
        assert m.pic.masked >> irq & 1
    assert m.vectors.io_apic_irqs == 0xFFFB


def test_ioa_6_the_active_timer_keeps_its_vector() -> None:
    m = booted("bare-metal")
    apicd = vector_level(m, 0)
    assert (apicd.cpu, apicd.vector) == (0, 0x30) and not apicd.can_reserve
    entry = ioapic_read_entry(m.io_apics, 0, 2)
    assert (entry.vector, entry.dest, entry.mask, entry.dest_mode) == (0x30, 1, 0, 1)
    assert m.fire(0) and m.fire_gsi(2)


def test_ioa_6_an_idle_timer_gives_its_vector_back() -> None:
    m = Machine(replace(described("bare-metal"), timer=False))
    apicd = vector_level(m, 0)
    assert apicd.vector == 0 and apicd.has_reserved
    assert (m.matrix.global_reserved, m.matrix.total_allocated) == (15, 0)


def test_19_irq_0_looks_unmapped() -> None:
    m = booted("bare-metal")
    assert irq_find_mapping(m.domains, domain_of(m, 0), 2) == 0
    assert domain_of(m, 0).mapcount == 15


def test_a_timer_without_a_pin_stays_with_the_pic() -> None:
    m = with_ioapics(FIRST, mp_irqs=(MpIrqDescription("isa", 5, 0),))
    assert irq_desc(m, 0).irq_data.chip is m.pic.chip
    assert m.matrix.system_map >> 0x30 & 1 and not m.vectors.io_apic_irqs & 1
    assert m.fire(0)


def test_h5_the_cascade_is_refused() -> None:
    m = with_ioapics(FIRST)
    assert irq_desc(m, 2).irq_data.domain is None
    assert mp_map_gsi_to_irq(m.io_apics, 2, IOAPIC_MAP_ALLOC, None) == -errno.EINVAL
    assert mp_map_gsi_to_irq(m.io_apics, 2, 0, None) == -errno.EINVAL


def test_h5_boot_takes_the_cascade_over() -> None:
    recorder = Recorder()
    m = with_ioapics(FIRST, defects=(Defect.H5,), trace=recorder.trace)
    assert mp_data(m, 2).isa_irq
    assert recorder.names("printk") == ["WARN"]


# Allocation


@pytest.mark.parametrize("known", [True, False])
def test_alloc_wants_one_irq_and_an_argument(known: bool) -> None:
    m = booted("bare-metal")
    before = footprint(m)
    info = pin_info(20) if known else None
    nr_irqs = 2 if known else 1
    ret = irq_domain_alloc_irqs(m.domains, domain_of(m, 0), -1, nr_irqs, -1, info)
    assert ret == -errno.EINVAL and footprint(m) == before


def test_alloc_refuses_a_pin_that_has_an_irq() -> None:
    m = booted("bare-metal")
    before = footprint(m)
    ret = irq_domain_alloc_irqs(m.domains, domain_of(m, 0), -1, 1, -1, pin_info(9))
    assert ret == -errno.EEXIST and footprint(m) == before


@pytest.mark.parametrize(
    "site",
    ["alloc_desc", "irq_domain_insert_irq_data", "alloc_mp_chip_data", "alloc_apic_chip_data"],
)
def test_alloc_without_memory_leaves_nothing(site: str) -> None:
    m = booted("bare-metal")
    before = footprint(m)
    m.fail_next(site)
    assert m.acpi_register_gsi(20, *LEVEL_LOW) == -errno.ENOMEM
    assert footprint(m) == before


def test_alloc_without_memory_for_the_pin_is_a_bug() -> None:
    m = booted("bare-metal")
    m.fail_next("add_pin_to_irq_node")
    with pytest.raises(KernelBug, match="pin 20"):
        m.acpi_register_gsi(20, *LEVEL_LOW)


def test_alloc_has_the_parents_error() -> None:
    m = booted("bare-metal")
    m.vectors.disable_apic = True
    before = footprint(m)
    assert m.acpi_register_gsi(20, *LEVEL_LOW) == -errno.ENXIO
    assert footprint(m) == before


def test_ioa_1_the_hwirq_is_the_pin() -> None:
    m = booted("numa")
    for gsi in (20, 24, 47, 48, 55):
        irq = m.acpi_register_gsi(gsi, *LEVEL_LOW)
        irqd = irq_desc(m, irq).irq_data
        assert irqd.domain is not None
        index = irqd.domain.host_data
        assert m.io_apics.ioapics[index].gsi_base + irqd.hwirq == gsi
        assert mp_data(m, irq).irq_2_pin == [(index, irqd.hwirq)]
        assert irqd.domain.linear_revmap[irqd.hwirq] == irq


def test_the_attributes_come_from_the_caller_else_from_firmware_else_from_pci() -> None:
    wires = (TIMER, MpIrqDescription("isa", 10, 19, "level", "high"))
    m = with_ioapics(FIRST, mp_irqs=wires)
    asked = m.acpi_register_gsi(20, *EDGE_HIGH)
    silent = mp_map_gsi_to_irq(m.io_apics, 21, IOAPIC_MAP_ALLOC, None)
    assert (mp_data(m, asked).trigger, mp_data(m, asked).polarity) == EDGE_HIGH
    assert (mp_data(m, silent).trigger, mp_data(m, silent).polarity) == LEVEL_LOW
    assert (mp_data(m, 10).trigger, mp_data(m, 10).polarity) == (IOAPIC_LEVEL, IOAPIC_POL_HIGH)
    assert [irq_desc(m, irq).handler_name for irq in (asked, silent, 10)] == [
        "edge",
        "fasteoi",
        "fasteoi",
    ]
    assert not irq_desc(m, asked).status & IRQ_LEVEL and irq_desc(m, silent).status & IRQ_LEVEL


@pytest.mark.parametrize("valid", [True, False])
def test_a_new_level_entry_is_masked_and_an_edge_entry_is_not(valid: bool) -> None:
    m = booted("bare-metal")
    info = pin_info(20, *EDGE_HIGH)
    info.ioapic.valid = valid
    irq = irq_domain_alloc_irqs(m.domains, domain_of(m, 0), 20, 1, -1, info)
    entry = mp_data(m, irq).entry
    assert irq == 20 and entry.vector == MANAGED_IRQ_SHUTDOWN_VECTOR
    assert (entry.trigger, entry.mask) == ((IOAPIC_EDGE, 0) if valid else (IOAPIC_LEVEL, 1))
    assert ioapic_read_entry(m.io_apics, 0, 20).mask == 1


def test_ioa_5_a_remapping_parent_keeps_its_own_format_in_the_entry() -> None:
    m = booted("bare-metal")
    vector = m.vectors.x86_vector_domain

    def alloc(domain: IrqDomain, virq: int, nr_irqs: int, info: IrqAllocInfo) -> int:
        ret = irq_domain_alloc_irqs_parent(domain, virq, nr_irqs, info)
        irq_domain_set_hwirq_and_chip(m.domains, domain, virq, 7, CHIP, None)
        info.ioapic.entry.entry = IoApicRouteEntry(vector=info.ioapic.pin, trigger=1, mask=1)
        info.ioapic.entry = None
        return ret

    ops = IrqDomainOps(alloc=alloc, free=partial(irq_domain_free_irqs_common, m.domains))
    remapping = irq_domain_create_hierarchy(m.domains, vector, 0, 0, None, ops)
    m.x86.init.irq_remapping_get_irq_domain = lambda info: remapping
    assert mp_irqdomain_create(m.io_apics, 0) == 0
    irq = m.acpi_register_gsi(20, *LEVEL_LOW)
    assert irq_desc(m, irq).irq_data.chip is m.io_apics.ir_chip
    assert m.request_irq(irq) == 0
    entry = ioapic_read_entry(m.io_apics, 0, 20)
    assert (entry.vector, entry.dest, entry.mask) == (20, 0, 0)
    assert m.fire_vector(vector_level(m, irq).cpu, vector_level(m, irq).vector)
    assert m.free_irq(irq) == 0 and m.acpi_unregister_gsi(20) == 0


# Mapping


def test_map_errors() -> None:
    m = with_ioapics(FIRST, IoApicDescription(3, 24, 8, "invalid"), mp_irqs=(TIMER,))
    a = m.io_apics
    assert mp_map_gsi_to_irq(a, 32, IOAPIC_MAP_ALLOC, None) == -errno.ENODEV
    assert mp_map_gsi_to_irq(a, 20, IOAPIC_MAP_ALLOC | IOAPIC_MAP_CHECK, None) == -errno.ENODEV
    assert mp_map_gsi_to_irq(a, 24, IOAPIC_MAP_ALLOC, None) == -errno.ENOSYS
    assert mp_map_gsi_to_irq(a, 20, 0, None) == -errno.ENOENT
    assert mp_map_gsi_to_irq(a, 2, 0, None) == 0
    assert mp_map_gsi_to_irq(a, 9, IOAPIC_MAP_CHECK, None) == 9


def test_ioa_7_legacy_and_strict_irqs_are_the_gsi() -> None:
    m = booted("numa")
    assert m.acpi_register_gsi(20, *LEVEL_LOW) == 20
    assert m.acpi_register_gsi(40, *LEVEL_LOW) == 40
    assert m.acpi_register_gsi(50, *LEVEL_LOW) == 48


def test_ioa_7_after_boot_a_low_gsi_without_isa_irq_is_numbered_dynamically() -> None:
    m = with_ioapics(FIRST, mp_irqs=(TIMER, MpIrqDescription("isa", 3, 4)))
    assert m.acpi_register_gsi(3, *LEVEL_LOW) == 24
    assert mp_map_gsi_to_irq(m.io_apics, 3, 0, None) == 24


def test_ioa_7_at_boot_a_pci_line_takes_the_descriptor_of_a_low_gsi() -> None:
    m = with_ioapics(FIRST, mp_irqs=(TIMER, MpIrqDescription("pci", 8, 11)))
    data = mp_data(m, 11)
    assert not data.isa_irq and data.count == 1 and data.irq_2_pin == [(0, 11)]
    assert m.acpi_unregister_gsi(11) == 0 and 11 not in m.irqs.descs


def test_strict_numbering_fails_where_the_number_is_taken() -> None:
    strict = IoApicDescription(2, 0, 24, "strict")
    m = with_ioapics(strict, mp_irqs=(TIMER,))
    assert m.acpi_register_gsi(0, *LEVEL_LOW) == -errno.EEXIST


def test_ioa_3_the_last_user_frees_the_irq() -> None:
    m = booted("bare-metal")
    before = footprint(m)
    users = 3
    assert {m.acpi_register_gsi(16, *LEVEL_LOW) for _ in range(users)} == {16}
    for left in range(users - 1, 0, -1):
        assert m.acpi_unregister_gsi(16) == 0 and mp_data(m, 16).count == left
    assert m.acpi_unregister_gsi(16) == 0 and 16 not in m.irqs.descs
    assert m.acpi_unregister_gsi(16) == -errno.ENOENT
    assert footprint(m) == before


def test_ioa_3_isa_irqs_are_never_given_back() -> None:
    m = booted("bare-metal")
    assert m.acpi_register_gsi(9, IOAPIC_LEVEL, IOAPIC_POL_HIGH) == 9
    assert m.acpi_unregister_gsi(9) == 0 and m.acpi_unregister_gsi(9) == 0
    assert mp_data(m, 9).count == 2


def test_ioa_3_the_irq_of_a_handler_is_not_given_back() -> None:
    m = booted("bare-metal")
    irq = m.acpi_register_gsi(16, *LEVEL_LOW)
    assert m.request_irq(irq) == 0
    assert m.acpi_unregister_gsi(16) == -errno.EBUSY
    assert m.free_irq(irq) == 0 and m.acpi_unregister_gsi(16) == 0


def test_unmapping_anything_else_is_ignored() -> None:
    m = booted("bare-metal")
    before = footprint(m)
    for irq in (2, 200):
        mp_unmap_irq(m.io_apics, irq)
    assert footprint(m) == before


@pytest.mark.parametrize(
    ("first", "second"), list(product([EDGE_HIGH, LEVEL_LOW, (1, 0), (0, 1)], repeat=2))
)
def test_ioa_4_users_of_a_pin_agree(first: tuple[int, int], second: tuple[int, int]) -> None:
    m = booted("bare-metal")
    irq = m.acpi_register_gsi(16, *first)
    again = m.acpi_register_gsi(16, *second)
    assert again == (irq if first == second else -errno.EBUSY)
    assert (mp_data(m, irq).trigger, mp_data(m, irq).polarity) == first
    assert mp_data(m, irq).count == (2 if first == second else 1)


def test_35_ioa_4_the_first_user_of_an_isa_irq_decides() -> None:
    m = booted("bare-metal")
    assert irq_desc(m, 5).handler_name == "edge"
    assert m.acpi_register_gsi(5, *LEVEL_LOW) == 5
    assert irq_desc(m, 5).handler_name == "fasteoi"
    assert (mp_data(m, 5).trigger, mp_data(m, 5).polarity) == LEVEL_LOW
    assert (mp_data(m, 5).entry.trigger, mp_data(m, 5).entry.polarity) == LEVEL_LOW
    assert m.acpi_register_gsi(5, *EDGE_HIGH) == -errno.EBUSY
    assert m.acpi_register_gsi(5, *LEVEL_LOW) == 5 and mp_data(m, 5).count == 3


def test_ioa_2_a_second_pin_of_an_isa_irq_is_added() -> None:
    wires = (TIMER, MpIrqDescription("isa", 7, 7), MpIrqDescription("isa", 7, 30))
    m = with_ioapics(FIRST, IoApicDescription(3, 24, 24, "strict"), mp_irqs=wires)
    assert mp_map_gsi_to_irq(m.io_apics, 30, IOAPIC_MAP_ALLOC, None) == 7
    data = mp_data(m, 7)
    assert data.irq_2_pin == [(0, 7), (1, 6)] and data.count == 2
    assert irq_find_mapping(m.domains, domain_of(m, 1), 6) == 0
    assert m.request_irq(7) == 0
    entries = [ioapic_read_entry(m.io_apics, *place) for place in data.irq_2_pin]
    assert entries[0] == entries[1] and entries[0].vector == vector_level(m, 7).vector
    assert m.fire_gsi(30)


def test_a_second_pin_needs_memory_and_equal_attributes() -> None:
    wires = (TIMER, MpIrqDescription("isa", 7, 7), MpIrqDescription("isa", 7, 30))
    m = with_ioapics(FIRST, IoApicDescription(3, 24, 24, "strict"), mp_irqs=wires)
    m.fail_next("add_pin_to_irq_node")
    assert m.acpi_register_gsi(30, *EDGE_HIGH) == -errno.ENOMEM
    assert m.acpi_register_gsi(30, *EDGE_HIGH) == 7
    assert m.acpi_register_gsi(30, *LEVEL_LOW) == -errno.EBUSY
    assert mp_data(m, 7).count == 2


def test_36_a_pin_of_another_ioapic_gets_its_isa_irq_from_its_first_user() -> None:
    wires = (TIMER, MpIrqDescription("isa", 7, 30))
    m = with_ioapics(FIRST, IoApicDescription(3, 24, 24, "strict"), mp_irqs=wires)
    assert irq_desc(m, 7).irq_data.domain is None
    assert m.acpi_register_gsi(30, *LEVEL_LOW) == 7
    assert mp_data(m, 7).isa_irq and mp_data(m, 7).count == 1
    # One user still, so the next one decides again.
    assert m.acpi_register_gsi(30, *EDGE_HIGH) == 7
    assert (mp_data(m, 7).trigger, mp_data(m, 7).polarity) == EDGE_HIGH
    assert m.acpi_register_gsi(30, *LEVEL_LOW) == -errno.EBUSY


def test_freeing_an_irq_of_several_pins_warns() -> None:
    recorder = Recorder()
    wires = (TIMER, MpIrqDescription("isa", 7, 7), MpIrqDescription("isa", 7, 8))
    m = with_ioapics(FIRST, mp_irqs=wires, trace=recorder.trace)
    assert mp_data(m, 7).irq_2_pin == [(0, 7), (0, 8)]
    assert not recorder.names("printk")
    irq_domain_free_irqs(m.domains, 7, 1)
    assert recorder.names("printk") == ["WARN"]
    assert recorder.named("remove_pin_from_irq") == [{"irq": 7, "ioapic": 0, "pin": 7}]


def test_ioa_8_the_argument_is_filled_for_a_remapping_parent() -> None:
    seen: list[IrqAllocInfo] = []
    m = booted("numa")
    ops = m.vectors.x86_vector_domain.ops
    assert ops.alloc is not None
    inner = ops.alloc

    def alloc(domain: IrqDomain, virq: int, nr_irqs: int, info: IrqAllocInfo) -> int:
        seen.append(info)
        return inner(domain, virq, nr_irqs, info)

    m.vectors.x86_vector_domain.ops = replace(ops, alloc=alloc)
    irq = acpi_register_gsi(m.io_apics, 30, *EDGE_HIGH, node=1)
    (info,) = seen
    assert (info.type, info.devid) == (X86_IRQ_ALLOC_TYPE.IOAPIC, 9)
    assert (info.ioapic.pin, info.ioapic.node, info.ioapic.valid) == (6, 1, True)
    assert (info.ioapic.trigger, info.ioapic.polarity) == EDGE_HIGH
    assert info.ioapic.entry is mp_data(m, irq)
    assert irq_desc(m, irq).common.node == 1


# Device tree


@pytest.mark.parametrize(
    ("kind", "attr"),
    list(enumerate([EDGE_HIGH, LEVEL_LOW, (IOAPIC_LEVEL, 0), (IOAPIC_EDGE, 1)])),
)
def test_a_device_tree_specification_names_pin_and_type(kind: int, attr: tuple[int, int]) -> None:
    m = device_tree_machine()
    irq = irq_domain_alloc_irqs(m.domains, domain_of(m, 0), -1, 1, -1, IrqFwspec(None, (3, kind)))
    assert irq > 0 and mp_data(m, irq).irq_2_pin == [(0, 3)]
    assert (mp_data(m, irq).trigger, mp_data(m, irq).polarity) == attr


@pytest.mark.parametrize(("params", "warned"), [((3,), True), ((), True), ((3, 4), False)])
def test_a_wrong_device_tree_specification(params: tuple[int, ...], warned: bool) -> None:
    m = device_tree_machine()
    recorder: list[str] = []
    m.trace.subscribe(lambda event: recorder.append(event.name))
    before = footprint(m)
    spec = IrqFwspec(None, params)
    ret = irq_domain_alloc_irqs(m.domains, domain_of(m, 0), -1, 1, -1, spec)
    assert ret == -errno.EINVAL and footprint(m) == before
    assert ("WARN" in recorder) == warned


def device_tree_machine() -> Machine:
    m = with_ioapics()
    fwnode = IrqFwnode(FwnodeKind.FIRMWARE, "/soc/ioapic")
    m.io_apics.ioapics = (IoApic(1, 0, 24, IoApicDomainType.DYNAMIC, fwnode),)
    assert mp_irqdomain_create(m.io_apics, 0) == 0
    assert domain_of(m, 0).name == ":soc:ioapic" and fwnode not in m.domains.fwnodes
    return m


# Activation, affinity, acknowledgement


def test_ioa_5_the_entry_follows_the_target() -> None:
    m = booted("bare-metal")
    irq = m.acpi_register_gsi(16, *EDGE_HIGH)
    assert m.request_irq(irq) == 0
    for cpu in (3, 1, 2):
        assert m.set_affinity(irq, 1 << cpu) == 0
        assert m.fire(irq)
        cfg = vector_level(m, irq).hw_irq_cfg
        entry = ioapic_read_entry(m.io_apics, 0, 16)
        assert (entry.vector, entry.dest) == (cfg.vector, cfg.dest_apicid) != (0, 0)
        assert cfg.dest_apicid == 1 << cpu and entry == mp_data(m, irq).entry
        assert m.fire(irq)
        for each in range(4):
            m.cleanup_ipi(each)


def test_deactivation_masks_the_pin_and_forgets_the_rest() -> None:
    recorder = Recorder()
    m = booted("bare-metal", trace=recorder.trace)
    irq = m.acpi_register_gsi(16, *LEVEL_LOW)
    assert m.request_irq(irq) == 0
    assert ioapic_read_entry(m.io_apics, 0, 16).mask == 0
    recorder.events.clear()
    assert m.free_irq(irq) == 0
    assert recorder.named("ioapic_write_entry")[-1] == {
        "ioapic": 0,
        "pin": 16,
        "vector": 0,
        "dest": 0,
        "trigger": IOAPIC_EDGE,
        "polarity": IOAPIC_POL_HIGH,
        "masked": 1,
    }
    assert not m.fire(irq)


def test_a_level_interrupt_is_sent_again_only_once_it_was_acknowledged() -> None:
    m = booted("bare-metal")
    irq = m.acpi_register_gsi(16, *LEVEL_LOW)
    assert m.request_irq(irq) == 0
    m.io_apics.eoi_delayed = True
    assert m.fire(irq)
    assert ioapic_read_entry(m.io_apics, 0, 16).irr == 1
    assert not m.fire(irq)
    m.io_apics.eoi_delayed = False
    assert m.fire_vector(vector_level(m, irq).cpu, vector_level(m, irq).vector)
    assert ioapic_read_entry(m.io_apics, 0, 16).irr == 0
    assert m.fire(irq)


def test_a_level_interrupt_moves_once_it_was_acknowledged() -> None:
    m = booted("bare-metal")
    irq = m.acpi_register_gsi(16, *LEVEL_LOW)
    assert m.request_irq(irq) == 0
    old = vector_level(m, irq).cpu
    new = (old + 1) % 4
    assert m.set_affinity(irq, 1 << new) == 0
    m.io_apics.eoi_delayed = True
    assert m.fire(irq)
    assert vector_level(m, irq).cpu == old
    assert irq_desc(m, irq).irq_data.test(IRQD_SETAFFINITY_PENDING)
    entry = ioapic_read_entry(m.io_apics, 0, 16)
    assert (entry.irr, entry.mask) == (1, 0)
    m.io_apics.eoi_delayed = False
    assert m.fire_vector(old, vector_level(m, irq).vector)
    assert vector_level(m, irq).cpu == new
    entry = ioapic_read_entry(m.io_apics, 0, 16)
    assert (entry.irr, entry.mask, entry.dest) == (0, 0, 1 << new)
    assert m.fire(irq) and m.cleanup_ipi(old)
    assert vector_level(m, irq).prev_vector == 0


def test_a_level_interrupt_nobody_wants_stays_masked_while_it_is_acknowledged() -> None:
    m = booted("bare-metal")
    irq = m.acpi_register_gsi(16, *LEVEL_LOW)
    assert m.request_irq(irq) == 0 and m.disable_irq(irq) == 0
    assert m.set_affinity(irq, 1 << 3) == 0
    assert not m.fire(irq)
    entry = ioapic_read_entry(m.io_apics, 0, 16)
    assert (entry.mask, entry.irr) == (1, 0)
    assert m.enable_irq(irq) == 0 and m.fire(irq)


def test_a_cpu_that_leaves_takes_no_pin_along() -> None:
    m = booted("bare-metal")
    irqs = [m.acpi_register_gsi(gsi, *LEVEL_LOW) for gsi in range(16, 24)]
    for irq in irqs:
        assert m.request_irq(irq) == 0
    for cpu in (1, 2, 3):
        assert m.cpu_down(cpu) == 0
    for irq in [0, *irqs]:
        assert vector_level(m, irq).cpu == 0 and m.fire(irq)
        assert ioapic_read_entry(m.io_apics, *mp_data(m, irq).irq_2_pin[0]).dest == 1
