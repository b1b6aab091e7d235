# SPDX-License-Identifier: GPL-2.0-only
"""Whole machines: what drivers do to them, and that nothing of it stays (section 14)."""

import errno
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from impl.arch.x86.io_apic_regs import IOAPIC_LEVEL, IOAPIC_POL_LOW
from impl.arch.x86.uv import UvAffinity
from impl.description import MACHINES, load_description
from impl.drivers.pci.msi import (
    PCI_IRQ_AFFINITY,
    PCI_IRQ_ALL_TYPES,
    PCI_IRQ_LEGACY,
    PCI_IRQ_MSI,
    PCI_IRQ_MSIX,
)
from impl.drivers.pci.pci import PciPower
from impl.kernel.irq.irqdomain import DomainBus
from impl.machine import Machine
from tests.impl.machine_support import booted, described, footprint, irq_desc, vector_level
from tests.impl.random_machine import laid_bare, step, teardown

SMALL_MACHINES = ("bare-metal", "hpet-dmar", "numa", "small", "uv")


def counters(m: Machine) -> tuple[int, int, int]:
    matrix = m.matrix
    return matrix.global_available, matrix.global_reserved, matrix.total_allocated


def irqs_of(m: Machine, name: str, count: int) -> list[int]:
    return [m.pci_irq_vector(name, nr) for nr in range(count)]


# Booting


@pytest.mark.parametrize("name", SMALL_MACHINES)
def test_each_machine_boots_and_its_timer_ticks(name: str) -> None:
    m = booted(name)
    assert m.kernel.cpu_online_mask == (1 << m.description.nr_cpus) - 1
    assert m.fire(0)
    assert m.hpet_domains.keys() == {part.id for part in m.description.hpets}


def test_each_machine_is_tested() -> None:
    assert {path.stem for path in MACHINES.glob("*.toml")} >= {*SMALL_MACHINES, "large-server"}


def test_the_large_server_boots() -> None:
    m = Machine(load_description(MACHINES / "large-server.toml"))
    assert len(m.pci_devs) == 4096 and m.kernel.nr_cpu_ids == 1024
    assert m.matrix.global_available == 1024 * 201 - 1
    before = footprint(m)
    for number in (0, 4095):
        name = f"device-{number}"
        assert m.pci_alloc_irq_vectors(name, 32, 32, PCI_IRQ_MSIX | PCI_IRQ_AFFINITY) == 32
        irqs = irqs_of(m, name, 32)
        assert all(m.request_irq(irq) == 0 and m.fire(irq) for irq in irqs)
        assert all(m.free_irq(irq) == 0 for irq in irqs)
        assert m.pci_free_irq_vectors(name) == 0
    assert footprint(m) == before


# PCI


def test_14_2_msix_in_reservation_mode() -> None:
    m = booted("bare-metal")
    before, start = footprint(m), counters(m)
    assert m.pci_alloc_irq_vectors("nvme", 1, 4, PCI_IRQ_MSIX) == 4
    assert counters(m) == (start[0], start[1] + 4, start[2])
    irqs = irqs_of(m, "nvme", 4)
    for irq in irqs:
        assert m.request_irq(irq) == 0
    assert counters(m) == (start[0] - 4, start[1], start[2] + 4)
    assert all(m.fire(irq) for irq in irqs)
    assert m.pci_free_irq_vectors("nvme") == -errno.EBUSY
    assert all(m.free_irq(irq) == 0 for irq in irqs)
    assert not any(m.fire(irq) for irq in irqs)
    assert m.pci_free_irq_vectors("nvme") == 0
    assert footprint(m) == before


def test_14_3_msi_without_a_mask_bit_is_fixed() -> None:
    m = booted("bare-metal")
    before, start = footprint(m), counters(m)
    assert m.pci_alloc_irq_vectors("sata", 1, 8, PCI_IRQ_MSI) == 1
    irq = m.pci_irq_vector("sata", 0)
    assert counters(m) == (start[0] - 1, start[1], start[2] + 1)
    assert m.request_irq(irq) == 0 and m.fire(irq)
    vector = vector_level(m, irq).vector
    assert m.free_irq(irq) == 0 and vector_level(m, irq).vector == vector
    assert m.pci_free_irq_vectors("sata") == 0
    assert footprint(m) == before


def test_14_4_multi_msi_falls_back_to_one() -> None:
    m = booted("bare-metal")
    before = footprint(m)
    assert m.pci_alloc_irq_vectors("usb", 2, 8, PCI_IRQ_MSI) == -errno.ENOSPC
    assert footprint(m) == before
    assert m.pci_alloc_irq_vectors("usb", 1, 8, PCI_IRQ_MSI) == 1


def test_14_5_managed_msix_shuts_down_with_its_last_cpu() -> None:
    m = booted("bare-metal")
    before = footprint(m)
    flags = PCI_IRQ_MSIX | PCI_IRQ_AFFINITY
    assert m.pci_alloc_irq_vectors("nvme", 4, 4, flags) == 4
    irqs = irqs_of(m, "nvme", 4)
    assert all(m.request_irq(irq) == 0 for irq in irqs)
    owner = {vector_level(m, irq).cpu: irq for irq in irqs}
    assert owner.keys() == {0, 1, 2, 3}
    assert m.cpu_down(2) == 0
    assert vector_level(m, owner[2]).vector == 0 and not m.fire(owner[2])
    assert m.cpu_up(2) == 0
    assert vector_level(m, owner[2]).cpu == 2 and m.fire(owner[2])
    assert all(m.free_irq(irq) == 0 for irq in irqs)
    assert m.pci_free_irq_vectors("nvme") == 0
    assert footprint(m) == before


def test_a_device_falls_back_to_its_line() -> None:
    m = booted("bare-metal")
    before = footprint(m)
    assert m.pci_alloc_irq_vectors("serial", 1, 4, PCI_IRQ_ALL_TYPES) < 0
    assert m.pci_enable_device("serial") == 0
    assert m.pci_enable_device("serial") == 0
    assert m.pci_alloc_irq_vectors("serial", 1, 4, PCI_IRQ_ALL_TYPES) == 1
    assert m.pci_irq_vector("serial", 0) == 19
    assert m.request_irq(19) == 0 and m.fire_gsi(19)
    assert m.pci_disable_device("serial") == -errno.EBUSY
    assert m.free_irq(19) == 0 and not m.fire_gsi(19)
    assert m.pci_disable_device("serial") == 0 and m.pci_disable_device("serial") == 0
    assert footprint(m) == before


def test_devices_share_a_line() -> None:
    m = booted("bare-metal")
    before = footprint(m)
    for name in ("usb", "sata", "sound"):
        assert m.pci_enable_device(name) == 0 and m.pci_devs[name].irq == 16
    for name in ("usb", "sata"):
        assert m.pci_disable_device(name) == 0 and 16 in m.irqs.descs
    assert m.pci_disable_device("sound") == 0
    assert footprint(m) == before


def test_a_line_that_cannot_be_connected() -> None:
    m = booted("bare-metal")
    assert m.acpi_register_gsi(16, IOAPIC_LEVEL, 1 - IOAPIC_POL_LOW) == 16
    assert m.pci_enable_device("usb") == -errno.EBUSY and m.pci_devs["usb"].irq == 0


def test_a_device_is_unplugged_and_plugged_in() -> None:
    m = booted("bare-metal")
    before = footprint(m)
    assert m.pci_add_device("nvme") == -errno.EEXIST
    assert m.pci_alloc_irq_vectors("nvme", 2, 2, PCI_IRQ_MSIX) == 2
    assert m.pci_remove_device("nvme") == -errno.EBUSY
    assert m.pci_free_irq_vectors("nvme") == 0
    assert m.pci_remove_device("nvme") == 0 and "nvme" not in m.pci_devs
    assert footprint(m) == before
    for operation in absent_operations(m, "nvme"):
        assert operation() == -errno.ENODEV
    assert m.pci_add_device("nvme") == 0
    assert m.pci_devs["nvme"].msi_domain is m.x86.pci_msi_default_domain
    assert m.pci_alloc_irq_vectors("nvme", 2, 2, PCI_IRQ_MSIX) == 2


def absent_operations(m: Machine, name: str) -> list[Callable[[], int]]:
    return [
        lambda: m.pci_remove_device(name),
        lambda: m.pci_alloc_irq_vectors(name, 1, 1, PCI_IRQ_MSIX),
        lambda: m.pci_free_irq_vectors(name),
        lambda: m.pci_irq_vector(name, 0),
        lambda: m.pci_enable_device(name),
        lambda: m.pci_disable_device(name),
        lambda: m.pci_restore_msi_state(name),
        lambda: m.pci_set_power_state(name, PciPower.D0),
    ]


def test_a_bridge_takes_what_is_behind_it_along() -> None:
    m = booted("bare-metal")
    assert m.pci_alloc_irq_vectors("nvme", 1, 1, PCI_IRQ_MSIX) == 1
    assert m.pci_remove_device("root port 1") == -errno.EBUSY
    assert m.pci_free_irq_vectors("nvme") == 0
    assert m.pci_remove_device("root port 1") == 0
    assert not {"root port 1", "nvme"} & m.pci_devs.keys()
    assert m.pci_add_device("nvme") == m.pci_add_device("no such thing") == -errno.ENODEV
    assert m.pci_add_device("root port 1") == 0
    nvme, port = m.pci_devs["nvme"], m.pci_devs["root port 1"]
    assert nvme.bus.self_dev is port and nvme.bus.parent is port.bus
    # The bridge has a domain, so the bus behind it has the same one.
    assert nvme.bus.msi_domain is port.msi_domain is nvme.msi_domain


def test_a_device_that_is_not_plugged_in_is_not_found_at_boot() -> None:
    small = described("small")
    devices = tuple(replace(part, hotplug=part.name == "nic") for part in small.devices)
    m = Machine(replace(small, devices=devices))
    assert m.pci_devs.keys() == {"disk", "sound"}
    assert m.pci_add_device("nic") == 0
    assert m.pci_devs["nic"].id == 0 and m.pci_devs["disk"].id == 1


def test_quirks_and_capabilities_reach_the_device() -> None:
    small = described("small")
    quirks = frozenset({"no_msi"})
    devices = tuple(replace(part, quirks=quirks) for part in small.devices)
    m = Machine(replace(small, devices=devices))
    sound = m.pci_devs["sound"]
    assert sound.no_msi and not sound.no_64bit_msi and sound.msix_cap is None
    assert sound.msi_cap is not None
    assert (sound.msi_cap.multi_cap, sound.msi_cap.maskbit, sound.msi_cap.is_64) == (2, True, False)
    assert m.pci_alloc_irq_vectors("sound", 1, 1, PCI_IRQ_MSI | PCI_IRQ_MSIX) < 0
    forbidden = tuple(replace(bus, no_msi=True) for bus in small.buses)
    m = Machine(replace(small, buses=forbidden))
    assert m.pci_alloc_irq_vectors("nic", 1, 1, PCI_IRQ_MSI | PCI_IRQ_MSIX) < 0


def test_pci_8_a_device_that_lost_power_signals_again_once_restored() -> None:
    m = booted("bare-metal")
    assert m.pci_alloc_irq_vectors("nvme", 2, 2, PCI_IRQ_MSIX) == 2
    irqs = irqs_of(m, "nvme", 2)
    assert all(m.request_irq(irq) == 0 and m.fire(irq) for irq in irqs)
    assert m.pci_set_power_state("nvme", PciPower.D3HOT) == 0
    assert not any(m.fire(irq) for irq in irqs)
    assert m.pci_set_power_state("nvme", PciPower.D0) == 0
    assert not any(m.fire(irq) for irq in irqs)
    assert m.pci_restore_msi_state("nvme") == 0
    assert all(m.fire(irq) for irq in irqs)


# Other devices


def test_apic_7_hpet_timers_have_an_irq_each() -> None:
    m = booted("hpet-dmar")
    before = footprint(m)
    irqs = [m.hpet_assign_irq(hpet, num) for hpet in (0, 1) for num in range(3)]
    assert len(set(irqs)) == 6 and min(irqs) >= 24
    assert m.hpet_assign_irq(1, 2) == -errno.EEXIST
    assert m.hpet_assign_irq(1, 3) == m.hpet_assign_irq(2, 0) == -errno.ENODEV
    for irq in irqs:
        assert m.request_irq(irq) == 0 and m.fire(irq)
    assert m.hpet_free_irq(0, 0) == -errno.EBUSY and m.hpet_free_irq(0, 5) == -errno.ENODEV
    assert all(m.free_irq(irq) == 0 and not m.fire(irq) for irq in irqs)
    assert all(m.hpet_free_irq(hpet, num) == 0 for hpet in (0, 1) for num in range(3))
    assert footprint(m) == before


def test_apic_7_dmar_units_have_an_irq_each() -> None:
    m = booted("hpet-dmar")
    assert m.dmar_free_hwirq(m.dmar_alloc_hwirq(0)) == 0
    before = footprint(m)
    irqs = [m.dmar_alloc_hwirq(unit) for unit in range(3)]
    assert len(set(irqs)) == 3
    assert m.dmar_alloc_hwirq(1) == -errno.EEXIST and m.dmar_alloc_hwirq(3) == -errno.ENODEV
    assert irq_desc(m, irqs[2]).common.node == 0
    for irq in irqs:
        assert m.request_irq(irq) == 0 and m.fire(irq)
        assert m.dmar_free_hwirq(irq) == -errno.EBUSY
        assert m.free_irq(irq) == 0 and m.dmar_free_hwirq(irq) == 0
    assert m.dmar_free_hwirq(irqs[0]) == m.dmar_free_hwirq(0) == -errno.EINVAL
    assert footprint(m) == before


def test_an_hpet_without_a_domain_has_no_messages() -> None:
    m = booted("hpet-dmar")
    del m.hpet_domains[0]
    assert m.hpet_assign_irq(0, 0) == -errno.ENODEV


def test_dom_the_domains_lie_on_the_vector_domain() -> None:
    m = booted("hpet-dmar")
    m.dmar_alloc_hwirq(0)
    vector = m.vectors.x86_vector_domain
    names = {domain.name: domain for domain in m.domains.irq_domain_list}
    assert names.keys() == {
        "VECTOR",
        "IO-APIC-0",
        f"PCI-MSI-{DomainBus.PCI_MSI.value}",
        "HPET-MSI-0",
        "HPET-MSI-1",
        "DMAR-MSI",
    }
    for domain in names.values():
        assert domain.parent is (None if domain is vector else vector)


def test_an_interrupt_without_a_device_behind_it_does_not_fire() -> None:
    m = booted("bare-metal")
    assert not m.fire(2) and not m.fire(300) and not m.fire_gsi(300)


# Teardown


@pytest.mark.parametrize("seed", range(12))
def test_vec_18_x_4_teardown_of_everything_leaves_the_state_after_boot(seed: int) -> None:
    rng = random.Random(seed)
    m = booted("small")
    m.dmar_free_hwirq(m.dmar_alloc_hwirq(0))
    before = footprint(m)
    for _ in range(250):
        step(m, rng)
    assert laid_bare(m) == before


def test_vec_18_teardown_of_the_uv_machine() -> None:
    m = booted("uv")
    m.uv_teardown_irq(m.uv_setup_irq(0, 0, 0, UvAffinity.CPU))
    before = footprint(m)
    for cpu in range(8):
        irq = m.uv_setup_irq(cpu % 2, cpu, 8 * cpu, UvAffinity.NODE)
        assert m.request_irq(irq) == 0
    for name in ("disk 0", "disk 1"):
        assert m.pci_alloc_irq_vectors(name, 8, 8, PCI_IRQ_MSIX | PCI_IRQ_AFFINITY) == 8
        assert all(m.request_irq(irq) == 0 for irq in irqs_of(m, name, 8))
    teardown(m)
    for cpu in range(8):
        m.cleanup_ipi(cpu)
    assert footprint(m) == before


def test_a_line_needs_the_legacy_flag() -> None:
    m = booted("small")
    assert m.pci_enable_device("disk") == 0
    assert m.pci_alloc_irq_vectors("disk", 1, 1, PCI_IRQ_LEGACY) == 1
    assert m.pci_irq_vector("disk", 0) == m.pci_devs["disk"].irq == 2
