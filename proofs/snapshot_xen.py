# SPDX-License-Identifier: GPL-2.0-only
"""Rules of the bypass under Xen: a paravirtualised guest's MSIs are pirqs, and Xen's tables agree.

Xen prints the guest's pirqs by Xen's irq, and Xen's irqs by device; Linux prints its irqs by
device. So the two are joined by the device, and a device's irqs in the order of their numbers are
its messages in the order of the table.
"""

from __future__ import annotations

from typing import Final

from proofs.snapshot_judge import Judgement
from proofs.snapshots_pci import DeviceMessage
from proofs.snapshots_trace import History
from proofs.snapshots_view import View
from proofs.snapshots_xen import XenDevice, XenIrq, XenTables
from spec.message import Format, Message, decode

__all__ = ["CHIP", "bypasses", "is_dom0", "judge_log", "judge_xen"]

CHIP: Final = "xen-pirq"
"""The chip of every interrupt that is a pirq."""

_FLOWS: Final = {"msi": "-msi", "msix": "-msi-x"}
_XEN_KIND: Final = "PCI-MSI/-X"
_ALIEN: Final = ("xen-percpu", "xen-dyn")
"""Chips that only a guest of Xen's has, and that no device's interrupt is on."""


def bypasses(view: View) -> bool:
    """Whether this is a guest whose MSIs Xen maps: some interrupt is a pirq."""
    return any(row.chip == CHIP for row in view.rows.values())


def is_dom0(view: View) -> bool:
    """Whether this is the paravirtualised domain that controls Xen: nobody else gets at its tables,
    and one that is not paravirtualised has no pirqs."""
    return bypasses(view) and view.xen is not None


def judge_xen(view: View, judgement: Judgement) -> None:
    """XB-6, XB-8 and XB-11, XEN-1 and XEN-4."""
    if not bypasses(view):
        if view.xen is not None or any(row.chip in _ALIEN for row in view.rows.values()):
            judgement.leave("XB-6", "a guest of Xen's without a pirq, which may be native")
        return
    _rows(view, judgement)
    judgement.leave("XB-1 to XB-5", "no file tells the domain of a device")
    judgement.leave("XB-12", "no file tells what a restore writes")
    judgement.leave("XEN-2", "Linux does not print the numbers of its pirqs")
    if view.xen is None:
        judgement.leave("XB-11, XEN-4", "no file of Xen's own tables")
        return
    _pirqs(view.xen, judgement)
    for device in sorted({owner.device for owner in view.msi_irqs.values()}):
        _device(device, view, view.xen, judgement)
    for known in view.xen.devices.values():
        named = any(owner.device == known.name for owner in view.msi_irqs.values())
        sentence = f"Xen has MSIs of {known.name}, for which Linux has no irq"
        judgement.check("XEN-4", known.place, named or not known.irqs, sentence)


def judge_log(history: History, judgement: Judgement, *, dom0: bool) -> None:
    """XB-6, XB-7: the log of dom0 has no event of the vector domain or the matrix.

    Each that it does have is told. A guest that is fully virtualised has a vector domain, for other
    interrupts.
    """
    if not dom0 and history.events:
        judgement.leave("XB-6, XB-7", "the events may be those of a fully virtualised guest")
        return
    for line, name, irq in history.events:
        rule = "XB-7" if irq < 0 else "XB-6"
        what = "the matrix" if irq < 0 else f"irq {irq}"
        sentence = f"{name} of {what} in a guest whose interrupts Xen maps"
        judgement.check(rule, history.place(line), False, sentence)
    if not history.events:
        judgement.facts["XB-6"] += 1
        judgement.facts["XB-7"] += 1


def _rows(view: View, judgement: Judgement) -> None:
    """Every MSI in /proc/interrupts is a pirq of its kind, and every such pirq is a device's."""
    for irq, owner in view.msi_irqs.items():
        row = view.rows.get(irq)
        if row is None:
            judgement.leave("XB-6", "an MSI that nobody has requested is not in /proc/interrupts")
            continue
        sentence = f"irq {irq}, an MSI of {owner.device}, is on {row.chip}, not a pirq"
        if judgement.check("XB-6", row.place, row.chip == CHIP, sentence):
            wanted = _FLOWS[owner.kind]
            sentence = f"irq {irq} of {owner.device} is {row.flow}, but the device has {wanted}"
            judgement.check("XB-8", row.place, row.flow == wanted, sentence)
    for irq, row in view.rows.items():
        if row.chip == CHIP and row.flow in _FLOWS.values():
            sentence = f"irq {irq} is a pirq of an MSI that no device has"
            judgement.check("XEN-1", row.place, irq in view.msi_irqs, sentence)


def _pirqs(xen: XenTables, judgement: Judgement) -> None:
    """No two of Xen's irqs are the same pirq of a domain."""
    seen: dict[tuple[int, int], XenIrq] = {}
    for irq in xen.irqs.values():
        for domain, pirq in irq.pirqs:
            other = seen.setdefault((domain, pirq), irq)
            sentence = f"pirq {pirq} of d{domain} is that of Xen's irq {other.irq} at {other.place}"
            judgement.check("XEN-4", irq.place, other is irq, sentence)


def _device(name: str, view: View, xen: XenTables, judgement: Judgement) -> None:
    """Xen has an MSI for each irq of the device, mapped to a pirq, and has written its message."""
    owners = [owner for owner in view.msi_irqs.values() if owner.device == name]
    place = owners[0].place
    device = xen.devices.get(name)
    sentence = f"Linux has MSIs of {name}, a device that Xen does not list"
    if not judgement.check("XEN-4", place, device is not None, sentence) or device is None:
        return
    sentence = f"Linux has {len(owners)} MSIs of {name}, Xen {len(device.irqs)}"
    judgement.check("XEN-4", device.place, len(owners) == len(device.irqs), sentence)
    for irq in device.irqs:
        _mapped(irq, device, owners[0].kind, xen, judgement)
    messages = _messages(name, owners[0].kind, view)
    if messages is None:
        judgement.leave("XB-11", "no message of the device was read", len(device.irqs))
        return
    for irq, message in zip(sorted(device.irqs), messages, strict=False):
        _message(irq, message, xen, judgement)
    sentence = f"{name} has {len(messages)} messages, but Xen has written {len(device.irqs)}"
    judgement.check("XB-11", device.place, len(messages) == len(device.irqs), sentence)


def _mapped(irq: int, device: XenDevice, kind: str, xen: XenTables, judgement: Judgement) -> None:
    """Xen's irq is an MSI of the kind, bound to one pirq of the domain that has the device."""
    row, msi = xen.irqs.get(irq), xen.msis.get(irq)
    sentence = f"Xen's irq {irq} of {device.name} is not in its list of irqs"
    if judgement.check("XEN-4", device.place, row is not None, sentence) and row is not None:
        sentence = f"Xen's irq {irq}, an MSI of {device.name}, is listed as {row.kind}"
        judgement.check("XEN-4", row.place, row.kind == _XEN_KIND, sentence)
        bound = [f"d{domain}" for domain, _ in row.pirqs]
        shown = ", ".join(f"d{domain}:{pirq}" for domain, pirq in row.pirqs) or "nobody"
        sentence = f"Xen's irq {irq} of {device.name}, which {device.owner} has, is for {shown}"
        judgement.check("XEN-4", row.place, bound == [device.owner], sentence)
    sentence = f"Xen's irq {irq} of {device.name} is not in its list of MSIs"
    if judgement.check("XEN-4", device.place, msi is not None, sentence) and msi is not None:
        sentence = f"Xen's irq {irq} is {msi.kind}, but {device.name} has {kind}"
        judgement.check("XB-8", msi.place, msi.kind == kind, sentence)
        if row is not None:
            other = f"{row.vector:#x} at {row.place}"
            sentence = f"Xen's irq {irq} has vector {msi.vector:#x} here, but {other}"
            judgement.check("XB-11", msi.place, msi.vector == row.vector, sentence)


def _messages(name: str, kind: str, view: View) -> list[DeviceMessage] | None:
    """The messages that a device has, None if they were not read."""
    if kind == "msi":
        message = view.msi.get(name) if view.msi is not None else None
        return None if message is None else [message]
    table = view.msix.get(name) if view.msix is not None else None
    if table is None or not table.enabled:
        return None
    return [m for _, m in sorted(table.messages.items()) if not m.empty]


def _message(irq: int, message: DeviceMessage, xen: XenTables, judgement: Judgement) -> None:
    """Xen's vector and destination are in the message: the guest has written none of its own."""
    msi = xen.msis.get(irq)
    if msi is None:
        return
    form = Format(logical=msi.logical, x2apic=message.address_hi != 0, ext_dest_id=False)
    words = Message(message.address_lo, message.address_hi, message.data)
    dest, vector = decode(form, words)
    sentence = (
        f"message {message.index} of {message.device} is vector {vector:#x} to {dest:#x}, but Xen"
        f" gave its irq {irq} vector {msi.vector:#x} to {msi.destination:#x} at {msi.place}"
    )
    same = (dest, vector) == (msi.destination, msi.vector)
    judgement.check("XB-11", message.place, same, sentence)
