# SPDX-License-Identifier: GPL-2.0-only
"""Where devices keep messages of their own: an array in their memory, or images in the system's.

These are the devices; ims_msi.py and ims_msi_queue.py drive them.  The mask bit of a control word
is set while the slot is masked (the polarity since September 2020).
"""

import enum
from dataclasses import dataclass
from typing import Final

from impl.kernel.device import Device
from impl.kernel.irq.irq import MsiMsg

__all__ = ["IMS_CTRL_VECTOR_MASKBIT", "ImsQueueDevice", "ImsShadow", "ImsSlots", "ImsWord"]

IMS_CTRL_VECTOR_MASKBIT = 1 << 0

_NO_MESSAGE: Final = MsiMsg()


class ImsWord(enum.IntEnum):
    """The words of a slot, by their offset in it (struct ims_array_slot)."""

    ADDRESS_LO = 0
    ADDRESS_HI = 4
    DATA = 8
    CTRL = 12


class ImsSlots:
    """An array of `count` slots in the memory of a device.

    Writes are posted: the device sees them when a read comes along behind them, or in its own time
    (settle).  After power-on a slot is masked, and what its message is does not matter.
    """

    __slots__ = ("_posted", "_words", "count")

    def __init__(self, count: int) -> None:
        self.count = count
        self._words = [
            {word: IMS_CTRL_VECTOR_MASKBIT if word is ImsWord.CTRL else 0 for word in ImsWord}
            for _ in range(count)
        ]
        self._posted: list[tuple[int, ImsWord, int]] = []

    def iowrite32(self, slot: int, word: ImsWord, value: int) -> None:
        """Write a word of a slot."""
        self._posted.append((slot, word, value))

    def ioread32(self, slot: int, word: ImsWord) -> int:
        """Read a word of a slot, behind everything that was written before."""
        self.settle()
        return self._words[slot][word]

    def settle(self) -> None:
        """Let all posted writes arrive."""
        for slot, word, value in self._posted:
            self._words[slot][word] = value
        self._posted.clear()

    def message(self, slot: int) -> MsiMsg:
        """The message that the device sees in a slot."""
        words = self._words[slot]
        return MsiMsg(words[ImsWord.ADDRESS_LO], words[ImsWord.ADDRESS_HI], words[ImsWord.DATA])

    def masked(self, slot: int) -> bool:
        """Whether the device sees the slot as masked."""
        return bool(self._words[slot][ImsWord.CTRL] & IMS_CTRL_VECTOR_MASKBIT)

    def signal(self, slot: int) -> MsiMsg | None:
        """The message with which the device signals by a slot, None if it may not."""
        return None if self.masked(slot) else self.message(slot)


@dataclass(slots=True, eq=False)
class ImsShadow:
    """The image of a slot in system memory, and the one that the device works with.

    `locked` says that the driver has the queue of the slot.
    """

    msg: MsiMsg = _NO_MESSAGE
    ctrl: int = IMS_CTRL_VECTOR_MASKBIT
    locked: bool = False
    device_msg: MsiMsg = _NO_MESSAGE
    device_ctrl: int = IMS_CTRL_VECTOR_MASKBIT

    @property
    def in_sync(self) -> bool:
        """Whether the device works with what the image says."""
        return (self.msg, self.ctrl) == (self.device_msg, self.device_ctrl)

    def signal(self) -> MsiMsg | None:
        """The message with which the device signals, None if it may not."""
        return None if self.device_ctrl & IMS_CTRL_VECTOR_MASKBIT else self.device_msg


class ImsQueueDevice:
    """A device whose subdevices have `positions` images each, and the callbacks of its driver.

    A changed image becomes the device's by a command, which the driver gives when it unlocks; with
    `broken` the device answers with an error, and keeps what it has.  `commands` counts them.
    """

    __slots__ = ("broken", "commands", "positions", "shadows")

    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.shadows: dict[tuple[int, int], ImsShadow] = {}
        self.commands = 0
        self.broken = False

    def queue_get_shadow(self, dev: Device, position: int) -> ImsShadow | None:
        """The image for message `position` of a subdevice, None if it has no such."""
        if position >= self.positions:
            return None
        return self.shadows.setdefault((dev.id, position), ImsShadow())

    def queue_lock(self, shadow: ImsShadow) -> None:
        """Take the queue."""
        shadow.locked = True

    def queue_sync_unlock(self, shadow: ImsShadow) -> None:
        """Give the device the image if it has changed, then let the queue go."""
        if not shadow.in_sync:
            self.commands += 1
            if not self.broken:
                shadow.device_msg, shadow.device_ctrl = shadow.msg, shadow.ctrl
        shadow.locked = False
