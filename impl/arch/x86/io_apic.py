# SPDX-License-Identifier: GPL-2.0-only
"""IO-APICs: registers, pins and the chip (arch/x86/kernel/apic/io_apic.c, v5.10).

The domains are in io_apic_domain.py, the choice of irqs for pins in io_apic_map.py, the set-up at
boot in io_apic_setup.py.

Several pins may be wired to one irq; whatever writes its entry writes it to all of them.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from impl.arch.x86.i8259 import LegacyPic
from impl.arch.x86.io_apic_regs import IOAPIC_LEVEL, IoApicRouteEntry, pack, unpack
from impl.arch.x86.mpparse import MpIrq
from impl.arch.x86.vector import HwIrqCfg, vector_level
from impl.arch.x86.vector_move import apic_ack_irq, irq_complete_move
from impl.arch.x86.x86_init import X86Platform
from impl.kernel.irq.chip import (
    irq_chip_ack_parent,
    irq_chip_retrigger_hierarchy,
    irq_chip_set_affinity_parent,
)
from impl.kernel.irq.irq import (
    IRQ_SET_MASK_OK_DONE,
    IRQD_IRQ_MASKED,
    IRQD_SETAFFINITY_PENDING,
    IrqChip,
    IrqData,
    IrqDomain,
)
from impl.kernel.irq.irqdomain import IrqFwnode
from impl.kernel.irq.migration import irq_move_masked_irq

__all__ = [
    "IoApic",
    "IoApicDomainType",
    "IoApics",
    "MpChipData",
    "add_pin_to_irq_node",
    "find_irq_entry",
    "ioapic_assert_pin",
    "ioapic_configure_entry",
    "ioapic_mask_entry",
    "ioapic_read_entry",
    "mask_ioapic_irq",
    "mp_setup_entry",
    "remove_pin_from_irq",
    "unmask_ioapic_irq",
]

_LOW = 0xFFFFFFFF
_MASKED = pack(IoApicRouteEntry(mask=1))
_REMOTE_IRR = pack(IoApicRouteEntry(irr=1))
_LEVEL = pack(IoApicRouteEntry(trigger=IOAPIC_LEVEL))
_DEST = 0xFF


class IoApicDomainType(enum.Enum):
    """How the irqs of an IO-APIC's pins are numbered (enum ioapic_domain_type)."""

    INVALID = "invalid"
    """There is no domain."""
    LEGACY = "legacy"
    """By GSI, apart from ISA irqs, which keep their number, and from the GSIs behind those."""
    STRICT = "strict"
    """By GSI."""
    DYNAMIC = "dynamic"
    """As it comes."""


class IoApic:
    """One IO-APIC (struct ioapic): `pins` pins from GSI `gsi_base` on.

    `id` is its APIC id, `type` how its irqs are numbered.  `fwnode` is its device tree node, if it
    has one.  `redirection` holds the 64 bits of each pin's entry; a reset masks all.
    """

    __slots__ = ("domain", "fwnode", "gsi_base", "id", "pins", "redirection", "type")

    def __init__(
        self,
        id: int,
        gsi_base: int,
        pins: int,
        type: IoApicDomainType,
        fwnode: IrqFwnode | None = None,
    ) -> None:
        self.id = id
        self.gsi_base = gsi_base
        self.pins = pins
        self.type = type
        self.fwnode = fwnode
        self.domain: IrqDomain | None = None
        self.redirection = [_MASKED] * pins


@dataclass(slots=True)
class MpChipData:
    """The IO-APIC level of one interrupt (struct mp_chip_data).

    `irq_2_pin` lists its pins as (IO-APIC, pin), `entry` is what their table entries should hold.
    `count` counts users; `isa_irq` marks a legacy irq, which is never given back.
    """

    irq_2_pin: list[tuple[int, int]] = field(default_factory=list)
    entry: IoApicRouteEntry = field(default_factory=IoApicRouteEntry)
    trigger: int = 0
    polarity: int = 0
    count: int = 0
    isa_irq: bool = False


class IoApics:
    """The globals of the IO-APIC code of one machine.

    `mp_irqs` is the wiring table, `dynirq_base` the lowest irq that no GSI stands for (0 before an
    IO-APIC demanded any), `initialized` says that the boot code is through.  `eoi_delayed` is the
    environment's: acknowledgements of level interrupts do not reach the IO-APICs while it is set.
    """

    __slots__ = (
        "chip",
        "dynirq_base",
        "eoi_delayed",
        "initialized",
        "ioapics",
        "ir_chip",
        "mp_irqs",
        "pic",
        "x86",
    )

    def __init__(
        self,
        x86: X86Platform,
        pic: LegacyPic,
        ioapics: Sequence[IoApic],
        mp_irqs: Sequence[MpIrq],
    ) -> None:
        self.x86 = x86
        self.pic = pic
        self.ioapics = tuple(ioapics)
        self.mp_irqs = tuple(mp_irqs)
        self.dynirq_base = 0
        self.initialized = False
        self.eoi_delayed = False
        self.chip = _ioapic_chip(self, "IO-APIC", _ioapic_ack_level)
        self.ir_chip = _ioapic_chip(self, "IR-IO-APIC", _ioapic_ir_ack_level)

    @property
    def gsi_top(self) -> int:
        """One more than the highest GSI, 0 without an IO-APIC."""
        return max((ioapic.gsi_base + ioapic.pins for ioapic in self.ioapics), default=0)

    def trace(self, name: str, **fields: int) -> None:
        """Emit an event of the IO-APIC code."""
        kernel = self.x86.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("ioapic", name, kernel.this_cpu, **fields)


def find_irq_entry(a: IoApics, gsi: int) -> MpIrq | None:
    """The first wiring entry of `gsi`; None if firmware does not know the pin."""
    return next((entry for entry in a.mp_irqs if entry.gsi == gsi), None)


def ioapic_read_entry(a: IoApics, ioapic: int, pin: int) -> IoApicRouteEntry:
    """The table entry of a pin."""
    return unpack(a.ioapics[ioapic].redirection[pin])


def ioapic_mask_entry(a: IoApics, ioapic: int, pin: int) -> None:
    """Mask a pin, and forget everything else in its entry."""
    table = a.ioapics[ioapic].redirection
    table[pin] = _with_low(0, table[pin], _MASKED)
    _trace_entry(a, ioapic, pin)


def ioapic_configure_entry(a: IoApics, irqd: IrqData) -> None:
    """Write the entries of all pins of an interrupt.

    On top of the vector domain they name the interrupt's target; a remapping domain has its own
    format in them, which stays.
    """
    data = _chip_data(irqd)
    if irqd.chip is a.chip:
        cfg = vector_level(irqd).hw_irq_cfg
        data.entry = replace(data.entry, vector=cfg.vector, dest=cfg.dest_apicid & _DEST)
    word = pack(data.entry)
    for ioapic, pin in data.irq_2_pin:
        table = a.ioapics[ioapic].redirection
        table[pin] = _with_low(word, table[pin], word)
        _trace_entry(a, ioapic, pin)


def mp_setup_entry(a: IoApics, data: MpChipData, cfg: HwIrqCfg) -> None:
    """Make the entry of a new interrupt, masked if it is level triggered."""
    data.entry = IoApicRouteEntry(
        vector=cfg.vector,
        dest_mode=int(a.x86.vectors.apic.logical),
        polarity=data.polarity,
        trigger=data.trigger,
        mask=int(data.trigger == IOAPIC_LEVEL),
        dest=cfg.dest_apicid & _DEST,
    )


def add_pin_to_irq_node(a: IoApics, irq: int, data: MpChipData, ioapic: int, pin: int) -> bool:
    """Put a pin on the interrupt's list, unless it is there; False if memory is short."""
    if (ioapic, pin) in data.irq_2_pin:
        return True
    if a.x86.kernel.kzalloc_fails("add_pin_to_irq_node"):
        return False
    data.irq_2_pin.append((ioapic, pin))
    a.trace("add_pin_to_irq_node", irq=irq, ioapic=ioapic, pin=pin)
    return True


def remove_pin_from_irq(a: IoApics, irq: int, data: MpChipData, ioapic: int, pin: int) -> None:
    """Take a pin off the interrupt's list, if it is there."""
    if (ioapic, pin) in data.irq_2_pin:
        data.irq_2_pin.remove((ioapic, pin))
        a.trace("remove_pin_from_irq", irq=irq, ioapic=ioapic, pin=pin)


def mask_ioapic_irq(a: IoApics, irqd: IrqData) -> None:
    """Mask all pins of an interrupt."""
    _io_apic_modify_irq(a, irqd, mask=1)


def unmask_ioapic_irq(a: IoApics, irqd: IrqData) -> None:
    """Unmask all pins of an interrupt."""
    _io_apic_modify_irq(a, irqd, mask=0)


def ioapic_assert_pin(a: IoApics, ioapic: int, pin: int) -> IoApicRouteEntry | None:
    """A device asserts a pin: the entry by which the IO-APIC sends an interrupt; None if not.

    Masked pins send none.  A level triggered one sends none either until the last was acknowledged.
    """
    entry = ioapic_read_entry(a, ioapic, pin)
    if entry.mask or entry.irr:
        return None
    if entry.trigger == IOAPIC_LEVEL:
        a.ioapics[ioapic].redirection[pin] |= _REMOTE_IRR
    return entry


def _ioapic_chip(a: IoApics, name: str, ack_level: Callable[[IoApics, IrqData], None]) -> IrqChip:
    return IrqChip(
        name,
        irq_startup=partial(_startup_ioapic_irq, a),
        irq_mask=partial(mask_ioapic_irq, a),
        irq_unmask=partial(unmask_ioapic_irq, a),
        irq_ack=irq_chip_ack_parent,
        irq_eoi=partial(ack_level, a),
        irq_set_affinity=partial(_ioapic_set_affinity, a),
        irq_retrigger=irq_chip_retrigger_hierarchy,
    )


def _startup_ioapic_irq(a: IoApics, irqd: IrqData) -> int:
    if irqd.irq < a.x86.vectors.nr_legacy_irqs:
        a.pic.mask(irqd.irq)
    unmask_ioapic_irq(a, irqd)
    return 0


def _ioapic_set_affinity(a: IoApics, irqd: IrqData, mask: int, force: bool) -> int:
    """Move at the parent, and rewrite the pins unless the parent has done all there is to do."""
    ret = irq_chip_set_affinity_parent(irqd, mask, force)
    if ret >= 0 and ret != IRQ_SET_MASK_OK_DONE:
        ioapic_configure_entry(a, irqd)
    return ret


def _ioapic_ack_level(a: IoApics, irqd: IrqData) -> None:
    """Acknowledge a level interrupt, and carry out a deferred affinity change behind that.

    The pins are masked meanwhile.  A pin whose vector changes before the acknowledgement arrives
    would never send again, so the change waits for another interrupt then.
    """
    irq_complete_move(a.x86.vectors, irqd)
    moving = irqd.test(IRQD_SETAFFINITY_PENDING)
    if moving and not irqd.test(IRQD_IRQ_MASKED):
        mask_ioapic_irq(a, irqd)
    _ack_APIC_irq(a, irqd)
    if moving:
        if not _io_apic_level_ack_pending(a, irqd):
            irq_move_masked_irq(irqd)
        if not irqd.test(IRQD_IRQ_MASKED):
            unmask_ioapic_irq(a, irqd)


def _ioapic_ir_ack_level(a: IoApics, irqd: IrqData) -> None:
    """Acknowledge; the entry names no vector that an affinity change could replace."""
    apic_ack_irq(a.x86.vectors, irqd)
    _ack_APIC_irq(a, irqd)


def _ack_APIC_irq(a: IoApics, irqd: IrqData) -> None:
    """The local APIC's acknowledgement clears Remote IRR, if it gets through."""
    if a.eoi_delayed:
        return
    for ioapic, pin in _chip_data(irqd).irq_2_pin:
        a.ioapics[ioapic].redirection[pin] &= ~_REMOTE_IRR


def _io_apic_level_ack_pending(a: IoApics, irqd: IrqData) -> bool:
    pins = _chip_data(irqd).irq_2_pin
    return any(ioapic_read_entry(a, ioapic, pin).irr for ioapic, pin in pins)


def _io_apic_modify_irq(a: IoApics, irqd: IrqData, mask: int) -> None:
    """Write the lower half of each pin's entry with another mask bit."""
    data = _chip_data(irqd)
    data.entry = replace(data.entry, mask=mask)
    word = pack(data.entry)
    for ioapic, pin in data.irq_2_pin:
        table = a.ioapics[ioapic].redirection
        table[pin] = _with_low(table[pin], table[pin], word)
        _trace_entry(a, ioapic, pin)


def _chip_data(irqd: IrqData) -> MpChipData:
    data: MpChipData = irqd.chip_data
    return data


def _with_low(high: int, old: int, low: int) -> int:
    """The upper half of `high` with the lower half of `low`, written over `old`.

    Remote IRR is read-only, and only a level triggered entry has it.
    """
    irr = old & _REMOTE_IRR if low & _LEVEL else 0
    return high & ~_LOW | low & _LOW & ~_REMOTE_IRR | irr


def _trace_entry(a: IoApics, ioapic: int, pin: int) -> None:
    entry = ioapic_read_entry(a, ioapic, pin)
    a.trace(
        "ioapic_write_entry",
        ioapic=ioapic,
        pin=pin,
        vector=entry.vector,
        dest=entry.dest,
        trigger=entry.trigger,
        polarity=entry.polarity,
        masked=entry.mask,
    )
