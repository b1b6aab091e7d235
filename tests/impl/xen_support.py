# SPDX-License-Identifier: GPL-2.0-only
"""A Xen guest with PCI devices for the tests, and all the answers that its hypervisor may give."""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence

from impl.arch.x86.irq_vectors import ApicMode
from impl.arch.x86.xen import (
    CANONICAL_GUESTS,
    XenKind,
    pcifront_init,
    xen_init_IRQ,
    xen_start_kernel,
)
from impl.arch.x86.xen_x86_msi import x86_msi_controller, xen_x86_msi
from impl.defects import Defect
from impl.drivers.pci.capability import MsiCap
from impl.drivers.pci.msi import (
    pci_enable_msi_range,
    pci_enable_msix_range,
    pci_free_irq_vectors,
)
from impl.drivers.pci.pci import PciDev
from impl.drivers.xen.guest import XenGuest
from impl.drivers.xen.hypervisor import Answer, Hypervisor, Oracle, Request, serve
from impl.drivers.xen.irq_info import IrqInfo
from impl.drivers.xen.pciback import Pciback
from impl.trace import Event
from tests.impl.pci_support import PciMachine

BYPASS = [kind for kind in XenKind if kind.bypass]
NATIVE_LIKE = [kind for kind in XenKind if not kind.bypass]
SETUP = {
    XenKind.PV_DOM0: "xen_initdom_setup_msi_irqs",
    XenKind.PV_DOMU: "xen_setup_msi_irqs",
    XenKind.HVM_PIRQ: "xen_hvm_setup_msi_irqs",
}
LEGACY_IRQS = 16


class XenMachine(PciMachine):
    """A guest of a kind, booted; its frontend is connected if it has one.

    Without `series` devices know no domain, and x86_msi serves them as before the series.  `pic`
    says that the interrupt mode leaves everything to the PIC.
    """

    def __init__(
        self,
        kind: XenKind,
        oracle: Oracle = serve,
        *,
        defects: Iterable[Defect] = (),
        guest: XenGuest | None = None,
        pic: bool = False,
        series: bool = True,
        segments: bool = True,
        disable_apic: bool = False,
        apic: ApicMode | None = None,
    ) -> None:
        self.guest = guest if guest is not None else CANONICAL_GUESTS[kind]
        self.oracle = oracle
        self.pic = pic
        self.series = series
        self.segments = segments
        super().__init__(
            defects=defects, arch_fallbacks=not series, disable_apic=disable_apic, apic=apic
        )
        self.xen = self.p.xen
        self.back = Pciback(self.hypervisor)
        pcifront_init(self.p, self.back)
        if not series:
            self.pci.pcibios_add_device = None
            ops = xen_x86_msi(self.p)
            self.root.msi = x86_msi_controller(ops)
            self.pci.arch_restore_msi_irqs = ops.restore_msi_irqs

    def init_IRQ(self) -> None:
        self.hypervisor = Hypervisor(self.kernel, self.oracle, segments=self.segments)
        self.p = xen_start_kernel(self.x86, self.pci, self.guest, self.hypervisor, LEGACY_IRQS)
        if self.series:
            xen_init_IRQ(self.p)
        else:
            self.x86.init.arch_init = None

    def intr_mode_init(self) -> None:
        if not self.pic:
            super().intr_mode_init()

    def info(self, irq: int) -> IrqInfo:
        info: IrqInfo = self.irqd(irq).chip_data
        return info

    def live(self) -> list[int]:
        """The irqs that Xen delivers."""
        return [info.irq for info in self.xen.xen_irq_list_head]

    def calls(self, op: str = "") -> list[tuple[int, ...]]:
        """The arguments of each request so far whose name has `op` in it."""
        return [
            tuple(value for _, value in call.args) for call in self.hypervisor.log if op in call.op
        ]

    def frame(self) -> object:
        """What the bypass must leave alone (XB-7): vectors, and what domains map."""
        footprint = self.footprint()
        assert isinstance(footprint, tuple)
        return footprint[:3], [list(row) for row in self.vectors.vector_irq]

    def quiesce(self, dev: PciDev) -> None:
        """The driver frees its handlers, then its vectors."""
        for irq in irqs_of(dev):
            if self.irqs.descs[irq].action:
                assert self.free_irq(irq) == 0
        pci_free_irq_vectors(dev)


def with_msix(m: XenMachine, nvec: int = 3) -> PciDev:
    """A device whose table has `nvec` entries, all of them in use."""
    dev = m.device(msix=nvec)
    assert pci_enable_msix_range(dev, None, nvec, nvec) == nvec
    return dev


def with_block(m: XenMachine, nvec: int = 4) -> PciDev:
    """A device with a block of `nvec` vectors."""
    dev = m.device(msi=MsiCap(5))
    assert pci_enable_msi_range(dev, nvec, nvec) == nvec
    return dev


def irqs_of(dev: PciDev) -> list[int]:
    """All irqs of a device's descriptors."""
    return [desc.irq + k for desc in dev.msi_list if desc.irq for k in range(desc.nvec_used)]


def xen_names(events: Iterable[Event]) -> list[str]:
    """What Xen's part did."""
    return [event.name for event in events if event.system == "xen"]


class Script:
    """An oracle that gives `answers` in order, and then serves; `asked` are the requests."""

    def __init__(self, answers: Sequence[Answer] = ()) -> None:
        self.answers = tuple(answers)
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Answer:
        nr = len(self.asked)
        self.asked.append(request)
        return self.answers[nr] if nr < len(self.answers) else Answer()


def refuse(op: str, *errors: int) -> Oracle:
    """Answer the first requests whose name is `op` with errors, and serve everything else."""
    left = list(errors)

    def oracle(request: Request) -> Answer:
        return Answer(left.pop(0)) if request.op == op and left else Answer()

    return oracle


def always(op: str, answer: Answer) -> Oracle:
    """Answer every request whose name is `op` so, and serve everything else."""
    return lambda request: answer if request.op == op else Answer()


REFUSALS: dict[str, tuple[Answer, ...]] = {
    "physdev_map_pirq": (Answer(-errno.EINVAL), Answer(-errno.ENOSYS)),
    "physdev_unmap_pirq": (Answer(-errno.ESRCH), Answer(-errno.EPERM)),
    "physdev_get_free_pirq": (Answer(-errno.ENOSYS),),
    "physdev_restore_msi_ext": (Answer(-errno.ENOSYS), Answer(-errno.EINVAL)),
    "physdev_restore_msi": (Answer(-errno.ENOSYS), Answer(-errno.EINVAL)),
    "physdev_irq_status_query": (Answer(-errno.EINVAL),),
    "physdev_eoi": (Answer(-errno.EINVAL),),
    "evtchn_bind_pirq": (Answer(-errno.EEXIST),),
    "evtchn_bind_vcpu": (Answer(-errno.EINVAL),),
    "evtchn_close": (),
    "pci_op_enable_msi": (Answer(-1), Answer(-5), Answer(invalid=True)),
    "pci_op_enable_msix": (
        Answer(-1),
        Answer(-errno.EALREADY),
        Answer(retry=1),
        Answer(retry=3),
        Answer(invalid=True),
    ),
    "pci_op_disable_msi": (Answer(-1),),
    "pci_op_disable_msix": (Answer(-1),),
}
"""What may be said to a request instead of serving it."""


def every_script(
    play: Callable[[Script], None], length: int, *, refusals: int | None = None
) -> Iterator[Script]:
    """Play all answers to the first `length` requests: each script, after it was played.

    At most `refusals` requests, if given, are not served.
    """
    todo: list[tuple[Answer, ...]] = [()]
    while todo:
        script = Script(todo.pop())
        play(script)
        yield script
        if sum(answer != Answer() for answer in script.answers) == refusals:
            continue
        for nr in range(len(script.answers), min(len(script.asked), length)):
            served = script.answers + (Answer(),) * (nr - len(script.answers))
            todo += [(*served, refusal) for refusal in REFUSALS[script.asked[nr].op]]
