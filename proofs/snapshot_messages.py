# SPDX-License-Identifier: GPL-2.0-only
"""Rules of what is not remapped: a device's message, the effective affinity and the log agree."""

from __future__ import annotations

from typing import Any, Final

from impl.drivers.iommu.intel_irte import is_remappable
from proofs.events import SHUTDOWN_VECTOR
from proofs.snapshot_chains import ROOT
from proofs.snapshot_judge import Judgement
from proofs.snapshot_remapping import is_remapped
from proofs.snapshots_pci import DeviceMessage, device_id
from proofs.snapshots_trace import History
from proofs.snapshots_view import View
from spec.hwirq import FIXED_LP64
from spec.hwirq import decode as decode_hwirq
from spec.message import Format, Message, decode

__all__ = ["judge_affinity", "judge_messages"]

_ONE_FOR_ALL: Final = ("PCI-MSI", "IR-PCI-MSI")
"""A chip of this name belongs to a domain of many devices, whose hwirqs name the device."""

_TAKEN_DOWN: Final = "the log does not tell after a CPU was taken down"

Places = frozenset[tuple[Any, Any]]


def judge_messages(view: View, history: History | None, judgement: Judgement) -> None:
    """MSI-8 and PCI-4, for every MSI of a device that is not remapped."""
    for irq, owner in view.msi_irqs.items():
        number = view.numbers.get(irq)
        if number is not None and number.chip in _ONE_FOR_ALL:
            _, id, _ = decode_hwirq(FIXED_LP64, number.hwirq)
            sentence = f"the hwirq of irq {irq} is not one of {owner.device}, which has the irq"
            judgement.check("PCI-4", number.place, id == device_id(owner.device), sentence)
        if view.debug and irq in view.debug.chains and is_remapped(view.debug.chains[irq]):
            # Its entry in a remapping table says where it goes.
            continue
        message = view.message(irq)
        if message is None:
            judgement.leave("MSI-8", "no message of the device was read")
        elif not message.empty and is_remappable(message.address_lo):
            judgement.leave("INT-5", "no file of /sys/kernel/debug/irq tells the irq's entry")
        elif view.moment is None or history is None:
            judgement.leave("MSI-8", "no log tells the vector")
        elif (places := view.moment.places(irq)) is None:
            judgement.leave("MSI-8", _TAKEN_DOWN)
        else:
            _message(irq, message, places, history, judgement)


def _message(
    irq: int, message: DeviceMessage, places: Places, history: History, judgement: Judgement
) -> None:
    """The message sends the irq to where the log says that it is."""
    who = f"message {message.index} of {message.device}"
    said = _told(places)
    if message.empty:
        idle = any(vector is None for vector, _ in places)
        sentence = f"{who} is empty, but by the log irq {irq} has {said}"
        judgement.check("MSI-8", message.place, idle, sentence)
        return
    dest, vector = _decoded(message)
    if vector == SHUTDOWN_VECTOR:
        idle = any(held is None for held, _ in places)
        sentence = f"{who} has the placeholder, but by the log irq {irq} has {said}"
        judgement.check("MSI-8", message.place, idle, sentence)
        return
    cpus = [cpu for held, cpu in places if held == vector]
    known = [history.destination(cpu) for cpu in cpus]
    if None in known and dest not in known:
        judgement.leave("MSI-8", "no log tells the APIC's destination of the CPU")
        return
    sentence = (
        f"{who} sends vector {vector} to destination {dest:#x}, but by the log irq {irq} has {said}"
    )
    judgement.check("MSI-8", message.place, dest in known, sentence)


def _decoded(message: DeviceMessage) -> tuple[int, int]:
    """(destination, vector)."""
    words = Message(message.address_lo, message.address_hi, message.data)
    logical = bool(message.address_lo & 4)
    x2apic = message.address_hi != 0
    return decode(Format(logical=logical, x2apic=x2apic, ext_dest_id=False), words)


def _told(places: Places) -> str:
    def one(place: tuple[Any, Any]) -> str:
        vector, cpu = place
        return "none" if vector is None else f"vector {vector} on CPU {cpu}"

    return " or ".join(sorted(map(one, places)))


# --- the effective affinity -----------------------------------------------------------------


def judge_affinity(view: View, history: History | None, judgement: Judgement) -> None:
    """VEC-14: an irq with a vector is effective on its CPU alone.

    Which CPU that is say the log, debugfs and the device's message, as far as there are these.
    """
    for irq, effective in view.effective.items():
        shown = ",".join(map(str, sorted(effective.cpus))) or "none"
        judged = False
        for source, cpus in _cpus_of(irq, view, history):
            judged = True
            sentence = (
                f"irq {irq} is effective on CPU {shown}, but {source} has it on CPU"
                f" {' or '.join(map(str, sorted(cpus)))}"
            )
            holds = any(effective.cpus == {cpu} for cpu in cpus)
            judgement.check("VEC-14", effective.place, holds, sentence)
        if not judged and view.moment is not None and view.moment.places(irq) is None:
            judgement.leave("VEC-14", _TAKEN_DOWN)


def _cpus_of(irq: int, view: View, history: History | None) -> list[tuple[str, set[int]]]:
    """Each source that knows of a vector, and the CPUs that it allows."""
    found = []
    places = view.moment.places(irq) if view.moment else None
    if places and all(vector is not None for vector, _ in places):
        found.append(("the log", {cpu for _, cpu in places}))
    chain = view.debug.chains.get(irq) if view.debug else None
    root = chain.level(ROOT) if chain else None
    if chain and root and root.numbers.get("Vector") and "IRQD_ACTIVATED" in chain.flags:
        at = root.places.get("Target", chain.place)
        found.append((f"debugfs at {at}", {root.numbers.get("Target", -1)}))
    message = view.message(irq) if irq in view.msi_irqs else None
    if message and history and not message.empty and not is_remappable(message.address_lo):
        dest, vector = _decoded(message)
        cpus = {cpu for cpu in history.destinations if history.destination(cpu) == dest}
        if cpus and vector != SHUTDOWN_VECTOR:
            found.append(("its message", cpus))
    return found
