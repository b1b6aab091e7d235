# SPDX-License-Identifier: GPL-2.0-only
"""How a machine description names PCI buses, functions and requesters."""

import re

from impl.toml_reader import Entry

__all__ = [
    "bus_name",
    "function_name",
    "parse_requester",
    "read_bus_id",
    "read_function_id",
    "read_requester",
]

_BUS = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2})")
_FUNCTION = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")
_REQUESTER = re.compile(r"([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")


def bus_name(segment: int, number: int) -> str:
    """The name of a bus.

    >>> bus_name(0x10000, 0xE1)
    '10000:e1'
    """
    return f"{segment:04x}:{number:02x}"


def function_name(segment: int, bus: int, devfn: int) -> str:
    """The name of a function.

    >>> function_name(0, 2, 0x1F << 3 | 7)
    '0000:02:1f.7'
    """
    return f"{bus_name(segment, bus)}:{devfn >> 3:02x}.{devfn & 7}"


def read_bus_id(entry: Entry, key: str) -> tuple[int, int]:
    """Segment and bus number."""
    match = _BUS.fullmatch(entry.text(key))
    if match is None:
        raise entry.error(f'{key} is not of the form "0000:00" (segment, bus)', key)
    return int(match[1], 16), int(match[2], 16)


def read_function_id(entry: Entry, key: str) -> tuple[int, int, int]:
    """Segment, bus number and device function."""
    match = _FUNCTION.fullmatch(entry.text(key))
    if match is None:
        message = f'{key} is not of the form "0000:00:00.0" (segment, bus, device, function)'
        raise entry.error(message, key)
    return int(match[1], 16), int(match[2], 16), int(match[3], 16) << 3 | int(match[4])


def parse_requester(text: str) -> int | None:
    """The requester id, bus and function in 16 bits, that `text` names; None if it does not.

    >>> parse_requester("02:1f.7")
    767
    """
    match = _REQUESTER.fullmatch(text)
    return int(match[1], 16) << 8 | int(match[2], 16) << 3 | int(match[3]) if match else None


def read_requester(entry: Entry, key: str, default: int | None = None) -> int:
    """A requester id; `default` if the key is absent."""
    if default is not None and not entry.has(key):
        return default
    requester = parse_requester(entry.text(key))
    if requester is None:
        raise entry.error(f'{key} is not of the form "00:00.0" (bus, device, function)', key)
    return requester
