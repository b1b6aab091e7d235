# SPDX-License-Identifier: GPL-2.0-only
"""The host at the other end of a Hyper-V PCI bus: what the guest's driver asks it for.

The host remaps the messages of the devices that it passes through.  A guest has a mapping created
and learns the message; a hypercall may change where the mapping leads.  The host may refuse.
"""

import enum
import errno
from dataclasses import dataclass
from typing import NamedTuple

from impl.kernel.cpumask import cpumask_first
from impl.kernel.irq.irq import MsiMsg

__all__ = [
    "HV_STATUS_INVALID_PARAMETER",
    "HV_STATUS_SUCCESS",
    "PCI_PROTOCOL_VERSION_1_1",
    "PCI_PROTOCOL_VERSION_1_2",
    "PCI_PROTOCOL_VERSION_1_3",
    "HvHost",
    "HvMapping",
    "HvRefusal",
    "HvReply",
]

PCI_PROTOCOL_VERSION_1_1 = 0x10001
PCI_PROTOCOL_VERSION_1_2 = 0x10002
PCI_PROTOCOL_VERSION_1_3 = 0x10003

HV_STATUS_SUCCESS = 0
HV_STATUS_INVALID_PARAMETER = 5

_STATUS_UNSUCCESSFUL = -0x3FFFFFFF
_U32 = 0xFFFFFFFF


class HvRefusal(enum.Enum):
    """What the host, or the way to it, may fail to do."""

    SEND_CREATE = "send create"
    """The request for a mapping is not sent."""
    CREATE = "create"
    """It is answered with an error."""
    GONE = "gone"
    """It is never answered, and the device proves to be gone meanwhile."""
    SEND_DELETE = "send delete"
    """The request to delete a mapping is not sent."""
    RETARGET = "retarget"
    """The hypercall fails."""


class HvReply(NamedTuple):
    """The host's answer to a request for a mapping: a negative `status`, or the message."""

    status: int = 0
    address: int = 0
    data: int = 0


@dataclass(slots=True)
class HvMapping:
    """Consecutive messages of the device in `slot`; `targets` has CPUs and a vector for each."""

    slot: int
    targets: list[tuple[int, int]]


class HvHost:
    """The host of one bus: it speaks `protocol`, and has devices in `slots`.

    All its messages have one `address` of 64 bits; `mappings` is by the data word of the first
    message of each.  `failures` is the environment's, see refuse_next.  `retargets` says whether
    the hypercall works at all, which for some devices it does not.
    """

    __slots__ = ("address", "failures", "mappings", "protocol", "retargets", "slots")

    def __init__(
        self,
        protocol: int = PCI_PROTOCOL_VERSION_1_2,
        *,
        slots: tuple[int, ...] = (),
        address: int = 0xFEE00000,
    ) -> None:
        self.protocol = protocol
        self.slots = set(slots)
        self.address = address
        self.mappings: dict[int, HvMapping] = {}
        self.failures: dict[HvRefusal, int] = {}
        self.retargets = True

    def refuse_next(self, what: HvRefusal, countdown: int = 1) -> None:
        """Let the `countdown`-th request of a kind from now on fail."""
        self.failures[what] = countdown

    def create_interrupt(
        self, slot: int, vector: int, vector_count: int, cpus: int
    ) -> tuple[int, HvReply | None]:
        """The guest asks for `vector_count` messages that reach `vector` and those behind it.

        0 or the errno of the sending, and the answer: None if there is none.
        """
        if self._refuses(HvRefusal.SEND_CREATE):
            return -errno.EAGAIN, None
        if self._refuses(HvRefusal.GONE):
            self.remove_slot(slot)
            return 0, None
        if slot not in self.slots or self._refuses(HvRefusal.CREATE):
            return 0, HvReply(status=_STATUS_UNSUCCESSFUL)
        data = self._free_data(vector_count)
        targets = [(cpus, vector + k) for k in range(vector_count)]
        self.mappings[data] = HvMapping(slot, targets)
        return 0, HvReply(address=self.address, data=data)

    def delete_interrupt(self, slot: int, address: int, data: int) -> int:
        """The guest gives a mapping back, without an answer; 0 or the errno of the sending."""
        if self._refuses(HvRefusal.SEND_DELETE):
            return -errno.EAGAIN
        mapping = self.mappings.get(data)
        if mapping is not None and mapping.slot == slot and address == self.address:
            del self.mappings[data]
        return 0

    def retarget_interrupt(self, slot: int, address: int, data: int, vector: int, cpus: int) -> int:
        """The guest wants a message to reach `vector` on one of `cpus`; an HV_STATUS_*."""
        place = self._find(slot, MsiMsg(address & _U32, address >> 32, data))
        if place is None or not self.retargets or self._refuses(HvRefusal.RETARGET):
            return HV_STATUS_INVALID_PARAMETER
        mapping, k = place
        mapping.targets[k] = cpus, vector
        return HV_STATUS_SUCCESS

    def deliver(self, slot: int, msg: MsiMsg) -> tuple[int, int] | None:
        """The CPU and the vector that a message of the device in `slot` reaches; None if none."""
        place = self._find(slot, msg)
        if place is None:
            return None
        cpus, vector = place[0].targets[place[1]]
        return cpumask_first(cpus), vector

    def remove_slot(self, slot: int) -> None:
        """The device in `slot` leaves the guest; its mappings go with it."""
        self.slots.discard(slot)
        self.mappings = {
            data: mapping for data, mapping in self.mappings.items() if mapping.slot != slot
        }

    def _refuses(self, what: HvRefusal) -> bool:
        countdown = self.failures.get(what, 0)
        if countdown > 1:
            self.failures[what] = countdown - 1
        elif countdown:
            del self.failures[what]
        return countdown == 1

    def _free_data(self, count: int) -> int:
        """The lowest multiple of `count` at which so many data words are free."""
        taken = {
            first + k
            for first, mapping in self.mappings.items()
            for k in range(len(mapping.targets))
        }
        data = 0
        while not taken.isdisjoint(range(data, data + count)):
            data += count
        return data

    def _find(self, slot: int, msg: MsiMsg) -> tuple[HvMapping, int] | None:
        """The mapping that a message of a device belongs to, and its place there."""
        if msg.address_lo | msg.address_hi << 32 != self.address:
            return None
        for first, mapping in self.mappings.items():
            if mapping.slot == slot and first <= msg.data < first + len(mapping.targets):
                return mapping, msg.data - first
        return None
