# SPDX-License-Identifier: GPL-2.0-only
"""Boot: the order of section 11.1, the interrupt modes, the counters of section 1.1."""

import errno
from dataclasses import replace

import pytest

from impl.arch.x86.apic import ApicIntrMode
from impl.arch.x86.x86_init import X86Init, X86Platform
from impl.defects import Defect
from impl.drivers.pci.msi import PCI_IRQ_MSIX
from impl.kernel.irq.irq import IrqDomain
from impl.machine import Machine
from impl.trace import Trace
from tests.impl.machine_support import Recorder, booted, described

BOOT = (
    "pci_msi_arch_fallbacks",
    "init_hypervisor_platform",
    "init_IRQ",
    "apic_intr_mode_select",
    "default_setup_apic_routing",
    "apic_post_init",
    "apic_bsp_setup",
    "smp_init",
    "pci_arch_init",
    "create_pci_msi_domain",
    "pci_scan_begin",
)


def in_mode(mode: ApicIntrMode, trace: Trace | None = None, init: X86Init | None = None) -> Machine:
    description = replace(described("bare-metal"), interrupt_mode=mode)
    return Machine(description, trace=trace, x86_init=init)


class Platform:
    """A platform that replaces the PCI/MSI domain in one of its hooks, and counts the calls."""

    def __init__(self, hook: str) -> None:
        self.calls: list[str] = []
        self.made: list[IrqDomain] = []
        self.hook = hook
        self.init = X86Init(arch_init=self._arch_init, apic_post_init=self._apic_post_init)

    def _create(self, x86: X86Platform) -> IrqDomain:
        self.made.append(x86.vectors.x86_vector_domain)
        return x86.vectors.x86_vector_domain

    def _called(self, hook: str) -> None:
        self.calls.append(hook)
        if hook == self.hook:
            self.init.create_pci_msi_domain = self._create

    def _arch_init(self, x86: X86Platform) -> int:
        self._called("arch_init")
        return 1

    def _apic_post_init(self, x86: X86Platform) -> None:
        self._called("apic_post_init")


def test_the_phases_come_in_order() -> None:
    recorder = Recorder()
    booted("bare-metal", trace=recorder.trace)
    assert tuple(recorder.names("init")) == BOOT


def test_what_each_phase_does_is_between_its_neighbours() -> None:
    recorder = Recorder()
    m = booted("bare-metal", trace=recorder.trace)
    names = [event.name for event in recorder.events]
    irq_domain_adds = [
        m.domains.irq_domain_list[::-1][event.fields["domain"]].name
        for event in recorder.events
        if event.name == "irq_domain_add"
    ]
    assert irq_domain_adds == ["VECTOR", "IO-APIC-0", "PCI-MSI-3", "HPET-MSI-0"]
    order = [
        "irq_domain_add",
        "irq_matrix_assign_system",
        "irq_matrix_online",
        "irq_matrix_assign",
        "init_IRQ",
        "apic_post_init",
        "mp_irqdomain_create",
        "add_pin_to_irq_node",
        "setup_IO_APIC",
        "lapic_online",
        "smp_init",
        "pci_arch_init",
        "create_pci_msi_domain",
        "pci_scan_begin",
        "pci_device_add",
    ]
    assert [names.index(name) for name in order] == sorted(names.index(name) for name in order)
    assert names.index("pci_device_add") < len(names) - 1 - names[::-1].index("irq_domain_add")


@pytest.mark.parametrize("mode", list(ApicIntrMode))
def test_the_platforms_hook_runs_once_except_in_pic_mode(mode: ApicIntrMode) -> None:
    recorder = Recorder()
    platform = Platform("")
    m = in_mode(mode, recorder.trace, platform.init)
    pic = mode is ApicIntrMode.PIC
    assert platform.calls.count("apic_post_init") == (0 if pic else 1)
    routed = mode not in (ApicIntrMode.PIC, ApicIntrMode.SYMMETRIC_IO_NO_ROUTING)
    expected = [
        name
        for name, runs in (
            ("pic_mode_kept", pic),
            ("default_setup_apic_routing", routed),
            ("apic_post_init", not pic),
            ("apic_bsp_setup", not pic),
        )
        if runs
    ]
    names = recorder.names("init")
    assert [name for name in names if name in expected] == expected
    assert recorder.named("apic_intr_mode_select") == [{"mode": mode.value}]
    assert m.io_apics.initialized == (not pic)


@pytest.mark.parametrize(
    ("mode", "online"),
    [
        (ApicIntrMode.PIC, 1),
        (ApicIntrMode.VIRTUAL_WIRE, 15),
        (ApicIntrMode.VIRTUAL_WIRE_NO_CONFIG, 1),
        (ApicIntrMode.SYMMETRIC_IO, 15),
        (ApicIntrMode.SYMMETRIC_IO_NO_ROUTING, 1),
    ],
)
def test_the_other_cpus_come_up_in_two_modes(mode: ApicIntrMode, online: int) -> None:
    assert in_mode(mode).kernel.cpu_online_mask == online


def test_the_boot_counters() -> None:
    seen: list[tuple[int, ...]] = []

    def look(x86: X86Platform) -> None:
        matrix = x86.vectors.matrix
        cm = matrix.maps[0]
        seen.append((cm.available, cm.allocated, matrix.total_allocated, matrix.global_available))
        seen.append((matrix.systembits_inalloc, matrix.alloc_end - matrix.alloc_start))

    m = in_mode(ApicIntrMode.SYMMETRIC_IO, init=X86Init(apic_post_init=look))
    assert seen == [(186, 15, 15, 186), (3, 204)]
    first, *others = m.matrix.maps
    assert (first.available, first.allocated) == (200, 1)
    assert [(cm.available, cm.allocated) for cm in others] == [(201, 0)] * 3
    assert (m.matrix.global_reserved, m.matrix.total_allocated) == (14, 1)


def test_without_a_pic_nothing_is_left_to_take_over() -> None:
    m = Machine(replace(described("bare-metal"), legacy_irqs=0, timer=False, mp_irqs=()))
    assert not m.irqs.descs and m.vectors.io_apic_irqs == 0
    assert [cm.available for cm in m.matrix.maps] == [202] * 4
    assert (m.matrix.global_reserved, m.matrix.total_allocated) == (0, 0)


def test_without_ioapics_the_pics_vectors_are_nobody_elses() -> None:
    m = Machine(
        replace(
            described("bare-metal"),
            interrupt_mode=ApicIntrMode.VIRTUAL_WIRE,
            ioapics=(),
            mp_irqs=(),
        )
    )
    assert m.matrix.system_map >> 0x30 & 0xFFFF == 0xFFFF
    assert [cm.available for cm in m.matrix.maps] == [186] * 4
    assert m.matrix.total_allocated == 0
    assert m.fire(0)


def test_without_a_local_apic_nothing_is_allocated() -> None:
    m = Machine(
        replace(described("bare-metal"), disable_apic=True, interrupt_mode=ApicIntrMode.PIC)
    )
    assert m.x86.pci_msi_default_domain is None
    assert m.pci_alloc_irq_vectors("nvme", 1, 4, PCI_IRQ_MSIX) == -errno.ENODEV
    assert all(dev.msi_domain is None for dev in m.pci_devs.values())


@pytest.mark.parametrize("hook", ["arch_init", "apic_post_init"])
@pytest.mark.parametrize("n3", [False, True])
def test_n3_init_1_a_platforms_domain_comes_in_time(hook: str, n3: bool) -> None:
    platform = Platform(hook)
    defects = frozenset({Defect.N3}) if n3 else frozenset()
    m = Machine(described("bare-metal"), x86_init=platform.init, defects=defects)
    late = n3 and hook == "arch_init"
    assert platform.made == ([] if late else [m.vectors.x86_vector_domain])
    default = m.x86.pci_msi_default_domain
    assert default is not None
    assert (default is m.vectors.x86_vector_domain) == (not late)
    assert platform.calls == ["apic_post_init", "arch_init"]


def test_init_2_no_device_precedes_the_default_domain() -> None:
    recorder = Recorder()
    booted("bare-metal", trace=recorder.trace)
    names = [event.name for event in recorder.events]
    assert names.count("create_pci_msi_domain") == 1
    assert names.index("create_pci_msi_domain") < names.index("pci_scan_begin")
    assert names.index("pci_scan_begin") < names.index("pci_device_add")


def test_init_3_every_device_has_the_default_domain() -> None:
    for name in ("bare-metal", "small", "numa", "uv", "hpet-dmar"):
        m = booted(name)
        default = m.x86.pci_msi_default_domain
        assert default is not None and m.pci_devs
        assert all(dev.msi_domain is default for dev in m.pci_devs.values())
        assert m.pci_devs.keys() == {part.name for part in m.description.devices}
