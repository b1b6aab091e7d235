# SPDX-License-Identifier: GPL-2.0-only
"""Two Xen guests that hear the same answers: one as the series left it, one as it was before.

The devices of the one know Xen's domain; those of the other know none and are served by the
architecture's functions. Both do the same things, and after each thing everything that Xen's part
has made is compared: requests and their answers, the irqs of descriptors, the records of irqs.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from impl.arch.x86.pci import pci_arch_init
from impl.arch.x86.x86_init import X86Platform, run_apic_post_init
from impl.arch.x86.xen import (
    CANONICAL_GUESTS,
    XenKind,
    pcifront_init,
    xen_init_IRQ,
    xen_start_kernel,
)
from impl.arch.x86.xen_x86_msi import x86_msi_controller, xen_x86_msi
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap, MsixCap
from impl.drivers.pci.msi import (
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_free_irq_vectors,
)
from impl.drivers.pci.msi_access import pci_restore_msi_state
from impl.drivers.pci.pci import Pci, PciBus, PciDev
from impl.drivers.pci.probe import pci_device_add, pci_set_bus_msi_domain
from impl.drivers.xen.hypervisor import Answer, Hypervisor, Request
from impl.drivers.xen.pciback import Pciback
from impl.vector_machine import VectorMachine

__all__ = ["DEFECTS", "PROGRAMS", "Twin", "compare", "every_script", "histories"]

DEFECTS: Final = frozenset({Defect.F13, Defect.F15, Defect.XEN_LEAK, Defect.XEN_UNMAP})
"""What the series left as it was: with these a guest is as it was merged."""

_LEGACY_IRQS: Final = 16

_REFUSALS: Final[Mapping[str, tuple[Answer, ...]]] = {
    "physdev_map_pirq": (Answer(-errno.EINVAL), Answer(-errno.ENOMEM)),
    "physdev_unmap_pirq": (Answer(-errno.ESRCH), Answer(-errno.EPERM)),
    "physdev_get_free_pirq": (Answer(-errno.ENOSYS),),
    "physdev_restore_msi_ext": (Answer(-errno.ENOSYS), Answer(-errno.EINVAL)),
    "physdev_restore_msi": (Answer(-errno.EINVAL),),
    "physdev_irq_status_query": (Answer(-errno.EINVAL),),
    "physdev_eoi": (Answer(-errno.EINVAL),),
    "evtchn_bind_pirq": (Answer(-errno.EEXIST),),
    "evtchn_bind_vcpu": (Answer(-errno.EINVAL),),
    "pci_op_enable_msi": (Answer(-1), Answer(invalid=True)),
    "pci_op_enable_msix": (Answer(-1), Answer(retry=1), Answer(invalid=True)),
    "pci_op_disable_msi": (Answer(-1),),
    "pci_op_disable_msix": (Answer(-1),),
}
"""What may be said to a request instead of serving it; a channel is always closed."""


class Script:
    """An oracle that gives answers in order, and then serves; `asked` names the requests."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Answer:
        number = len(self.asked)
        self.asked.append(request.op)
        return self.answers[number] if number < len(self.answers) else Answer()


class Twin(VectorMachine):
    """A guest of a kind with one root bus, booted, with its frontend connected if it has one.

    Without `series` it is the twin of before."""

    def __init__(
        self, kind: XenKind, script: Script, *, series: bool, defects: frozenset[Defect] = DEFECTS
    ) -> None:
        super().__init__(2, defects=defects)
        self.x86 = X86Platform(self.domains, self.vectors)
        self.pci = Pci(self.domains, arch_fallbacks=not series)
        self.hypervisor = Hypervisor(self.kernel, script)
        guest = CANONICAL_GUESTS[kind]
        self.p = xen_start_kernel(self.x86, self.pci, guest, self.hypervisor, _LEGACY_IRQS)
        if series:
            xen_init_IRQ(self.p)
        else:
            self.x86.init.arch_init = None
        run_apic_post_init(self.x86)
        pci_arch_init(self.x86, self.pci)
        self.root = PciBus(self.pci, 0, 0)
        pci_set_bus_msi_domain(self.root)
        pcifront_init(self.p, Pciback(self.hypervisor))
        if not series:
            self._forget_domains()

    def _forget_domains(self) -> None:
        self.pci.pcibios_add_device = None
        ops = xen_x86_msi(self.p)
        self.root.msi = x86_msi_controller(ops)
        self.pci.arch_restore_msi_irqs = ops.restore_msi_irqs

    def device(self, *, msi: MsiCap | None = None, msix: int = 0) -> PciDev:
        """A new device on the bus."""
        number = len(self.root.devices) + 1
        dev = PciDev(
            number,
            f"device {number}",
            self.root,
            number,
            msi_cap=msi,
            msix_cap=MsixCap(msix) if msix else None,
        )
        pci_device_add(dev)
        return dev

    def seen(self) -> object:
        """What must be the same in both."""
        infos = [
            (i.irq, i.type, i.pirq, i.gsi, i.domid, i.flags, i.evtchn, i.cpu, i.mask_reason)
            for i in self.p.xen.xen_irq_list_head
        ]
        entries = [
            [(desc.irq, desc.nvec_used) for desc in dev.msi_list]
            for dev in self.root.devices.values()
        ]
        supported = self.p.pci_seg_supported
        return tuple(self.hypervisor.log), infos, entries, self.irqs.allocated_irqs, supported


# --- what both do -----------------------------------------------------------------------------

Program = Callable[[Twin], Iterable[object]]


def _one_message(m: Twin) -> Iterable[object]:
    dev = m.device(msi=MsiCap(2, maskbit=True))
    yield pci_enable_msi_range(dev, 1, 1)
    yield _request(m, dev)
    pci_restore_msi_state(dev)
    yield _free(m, dev)
    yield pci_enable_msi_range(dev, 1, 1)
    yield _free(m, dev)


def _a_block(m: Twin) -> Iterable[object]:
    dev = m.device(msi=MsiCap(2))
    yield pci_enable_msi_range(dev, 2, 4)
    yield _free(m, dev)
    yield pci_enable_msi_range(dev, 1, 4)
    yield _request(m, dev)
    yield _free(m, dev)


def _a_table(m: Twin) -> Iterable[object]:
    dev = m.device(msix=3)
    yield pci_enable_msix_range(dev, None, 1, 3)
    yield _request(m, dev)
    yield _free(m, dev)
    yield pci_enable_msix_range(dev, None, 2, 2)


def _two_devices(m: Twin) -> Iterable[object]:
    first, second = m.device(msix=2), m.device(msi=MsiCap(1))
    m.hypervisor.create_domain(7)
    m.p.dev_domain_list[first.id] = 7
    yield pci_enable_msix_range(first, None, 1, 2)
    yield pci_enable_msi_range(second, 1, 2)
    yield _free(m, first)
    yield pci_enable_msix_range(first, None, 1, 1)
    yield _free(m, second)
    yield _free(m, first)


def _no_memory(m: Twin) -> Iterable[object]:
    dev = m.device(msix=2, msi=MsiCap(1))
    for site, number in (("alloc_desc", 2), ("set_evtchn_to_irq", 1), ("xen_setup_msi_irqs", 1)):
        m.kernel.failures = {site: number}
        yield pci_enable_msix_range(dev, None, 1, 2)
        m.kernel.failures = {}
        yield _free(m, dev)
        m.kernel.failures = {site: number}
        yield pci_enable_msi_range(dev, 1, 2)
        m.kernel.failures = {}
        yield _free(m, dev)


PROGRAMS: Final[Mapping[str, Program]] = {
    "one message": _one_message,
    "a block": _a_block,
    "a table": _a_table,
    "two devices": _two_devices,
    "no memory": _no_memory,
}


def _request(m: Twin, dev: PciDev) -> list[int]:
    return [
        m.request_irq(desc.irq + k)
        for desc in dev.msi_list
        if desc.irq
        for k in range(desc.nvec_used)
    ]


def _free(m: Twin, dev: PciDev) -> bool:
    """The driver frees its handlers, and then its vectors."""
    for irq in sorted(m.irqs.descs):
        if m.irqs.descs[irq].action and irq >= _LEGACY_IRQS and _belongs(m, irq, dev):
            m.free_irq(irq)
    pci_free_irq_vectors(dev)
    return dev.msi_enabled or dev.msix_enabled


def _belongs(m: Twin, irq: int, dev: PciDev) -> bool:
    return any(d.irq <= irq < d.irq + d.nvec_used for d in dev.msi_list if d.irq)


# --- the comparison ---------------------------------------------------------------------------


def histories(
    kind: XenKind, program: Program, answers: tuple[Answer, ...]
) -> tuple[list[object], list[object], list[str]]:
    """What each twin does and leaves, step by step, and what the new one asks for."""
    told: list[list[object]] = []
    for series in (False, True):
        script = Script(answers)
        m = Twin(kind, script, series=series)
        told.append([(result, m.seen()) for result in program(m)])
    return told[0], told[1], script.asked


def every_script(
    play: Callable[[tuple[Answer, ...]], list[str]], length: int
) -> Iterator[tuple[Answer, ...]]:
    """Play every sequence of answers to the first requests; `play` says what was asked for."""
    waiting: list[tuple[Answer, ...]] = [()]
    while waiting:
        answers = waiting.pop()
        asked = play(answers)
        yield answers
        for number in range(len(answers), min(len(asked), length)):
            served = answers + (Answer(),) * (number - len(answers))
            waiting += [(*served, refusal) for refusal in _REFUSALS.get(asked[number], ())]


def compare(kind: XenKind, length: int) -> tuple[int, str]:
    """Compare the twins over every program and all answers to the first requests: how many
    histories there were, and the first difference, "" if there is none."""
    number = 0
    for name, program in PROGRAMS.items():
        play = _Comparison(kind, program)
        for answers in every_script(play, length):
            number += 1
            if play.differs:
                return number, f"{name}: {answers}"
    return number, ""


class _Comparison:
    """Both twins of a kind go through a program; whether they have differed."""

    def __init__(self, kind: XenKind, program: Program) -> None:
        self.kind, self.program, self.differs = kind, program, False

    def __call__(self, answers: tuple[Answer, ...]) -> list[str]:
        before, now, asked = histories(self.kind, self.program, answers)
        self.differs = before != now
        return asked
