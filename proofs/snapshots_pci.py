# SPDX-License-Identifier: GPL-2.0-only
"""The messages that PCI devices hold: their MSI-X tables, and the MSI capability."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from proofs.snapshots import Line, Place, Table

__all__ = ["DeviceMessage", "MsixTable", "device_id", "msi_messages", "msix_tables"]

_CAPABILITY = re.compile(
    r"(\S+) msix ctl=([0-9a-f]+) bir=\d+ off=[0-9a-f]+ entries=(\d+) base=0x[0-9a-f]+\s*"
)
_ENTRY = re.compile(r"(\S+) msix\[(\d+)\]((?: 0x[0-9A-Fa-f]{8}){4})\s*")
_CONFIG = re.compile(r"(\S+) ([0-9a-f]{128,8192})\s*")
_DEVICE = re.compile(r"[0-9a-f]{4,}:([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")

_MSIX_ENABLE: Final = 1 << 15
_STATUS: Final = 0x06
_STATUS_CAP_LIST: Final = 1 << 4
_CAPABILITY_LIST: Final = 0x34
_CAP_ID_MSI: Final = 5
_MSI_ENABLE: Final = 1
_MSI_64BIT: Final = 1 << 7
_MOST_CAPABILITIES: Final = 48


@dataclass(frozen=True, slots=True)
class DeviceMessage:
    """What a device sends for one of its interrupts; for MSI, the message of its first."""

    device: str
    index: int
    address_lo: int
    address_hi: int
    data: int
    place: Place

    @property
    def empty(self) -> bool:
        """Whether there is no message."""
        return not (self.address_lo or self.address_hi or self.data)


@dataclass(frozen=True, slots=True)
class MsixTable:
    """The table of a device; `messages` is empty while MSI-X is not enabled."""

    device: str
    entries: int
    enabled: bool
    messages: dict[int, DeviceMessage]
    place: Place


def msix_tables(table: Table) -> dict[str, MsixTable]:
    """The MSI-X table of every device; raises SnapshotError."""
    found: dict[str, MsixTable] = {}
    for line in table:
        if row := _CAPABILITY.fullmatch(line.text):
            enabled = bool(int(row[2], 16) & _MSIX_ENABLE)
            found[row[1]] = MsixTable(row[1], int(row[3]), enabled, {}, line.place)
        elif row := _ENTRY.fullmatch(line.text):
            of_device = found.get(row[1])
            if of_device is None or int(row[2]) >= of_device.entries:
                raise line.error("an entry that no MSI-X table above has")
            low, high, data, _ = (int(word, 16) for word in row[3].split())
            message = DeviceMessage(row[1], int(row[2]), low, high, data, line.place)
            of_device.messages[message.index] = message
        else:
            raise line.error("is no line of an MSI-X table")
    return found


def msi_messages(table: Table) -> dict[str, DeviceMessage]:
    """The MSI message of every device that has MSI enabled; raises SnapshotError."""
    found = {}
    for line in table:
        row = _CONFIG.fullmatch(line.text)
        if row is None or len(row[2]) % 2:
            raise line.error("is no configuration space")
        message = _msi_message(row[1], bytes.fromhex(row[2]), line)
        if message is not None:
            found[row[1]] = message
    return found


def device_id(device: str) -> int:
    """The requester id of a device by its name, -1 if it is no name of a PCI device."""
    match = _DEVICE.fullmatch(device)
    if match is None:
        return -1
    return int(match[1], 16) << 8 | int(match[2], 16) << 3 | int(match[3])


def _msi_message(device: str, config: bytes, line: Line) -> DeviceMessage | None:
    for at in _capabilities(config):
        if config[at] != _CAP_ID_MSI:
            continue
        control = int.from_bytes(config[at + 2 : at + 4], "little")
        if not control & _MSI_ENABLE:
            return None
        wide = bool(control & _MSI_64BIT)
        words = config[at + 4 : at + 8], config[at + 8 : at + 12], config[at + 12 : at + 14]
        low = int.from_bytes(words[0], "little")
        high = int.from_bytes(words[1], "little") if wide else 0
        data = int.from_bytes(words[2] if wide else words[1][:2], "little")
        return DeviceMessage(device, 0, low, high, data, line.place)
    return None


def _capabilities(config: bytes) -> Iterator[int]:
    """Where each capability begins."""
    if not config[_STATUS] & _STATUS_CAP_LIST:
        return
    at = config[_CAPABILITY_LIST]
    for _ in range(_MOST_CAPABILITIES):
        if not 0x40 <= at <= len(config) - 16:
            return
        yield at
        at = config[at + 1]
