# SPDX-License-Identifier: GPL-2.0-only
"""Reading a TOML file so that every mistake in it is one clear line.

The line tells file, place and entry: `FILE:LINE: error: ENTRY: message`.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["DescriptionError", "Entry", "read_toml"]

_HEADER = re.compile(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_SYNTAX = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)")

_KINDS = {
    bool: "true or false",
    int: "an integer",
    str: "a string",
    list: "a list",
    dict: "a table",
}

_Locations = Mapping[tuple[str, int, str], int]
_T = TypeVar("_T", bool, int, str, list[Any], dict[str, Any])


class DescriptionError(ValueError):
    """A machine description that makes no sense; `line` is None where it is not known.

    >>> print(DescriptionError("pc.toml", 7, "device 'nic'", "unknown key 'mxs'"))
    pc.toml:7: error: device 'nic': unknown key 'mxs'
    """

    def __init__(self, file: str, line: int | None, entry: str, message: str) -> None:
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: error: {entry}: {message}")
        self.file = file
        self.line = line
        self.entry = entry
        self.message = message


class Entry:
    """One table of the file, taken apart key by key.

    Each method returns the value of `key`, or the default if it is absent; without a default the
    key must be there.  A wrong type or range raises DescriptionError, and so does `finish` if a key
    is left that nobody asked for.
    """

    def __init__(
        self,
        file: str,
        locations: _Locations,
        section: str,
        index: int,
        table: dict[str, Any],
        label: str,
        outer: str = "",
    ) -> None:
        self._file = file
        self._locations = locations
        self._section = section
        self._index = index
        self._table = table
        self._outer = outer
        self._asked: set[str] = set()
        self.label = label

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """An integer from `low` to `high`."""
        value = self._get(key, int, default)
        if not low <= value <= high:
            raise self.error(f"{key} is {value}, not {low} to {high}", key)
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string that is not empty."""
        value = self._get(key, str, default)
        if not value and default is None:
            raise self.error(f"{key} is empty", key)
        return value

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of the strings `choices`."""
        value = self.text(key, default)
        if value not in choices:
            raise self.error(f"{key} is {value!r}, not one of {', '.join(choices)}", key)
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """true or false."""
        return self._get(key, bool, default)

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...] | None:
        """A list of integers from `low` to `high`; None if it is absent."""
        if key not in self._table:
            return None
        values = self._get(key, list, None)
        for value in values:
            if type(value) is not int or not low <= value <= high:
                raise self.error(f"{key} holds {value!r}, not an integer {low} to {high}", key)
        return tuple(values)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings that are not empty; none if it is absent."""
        values = self._get(key, list, [])
        for value in values:
            if type(value) is not str or not value:
                raise self.error(f"{key} holds {value!r}, not a string", key)
        return tuple(values)

    def choices(self, key: str, choices: Sequence[str]) -> frozenset[str]:
        """A list of strings out of `choices`; none if it is absent."""
        values = self._get(key, list, [])
        for value in values:
            if value not in choices:
                raise self.error(f"{key} holds {value!r}, not one of {', '.join(choices)}", key)
        return frozenset(values)

    def table(self, key: str) -> "Entry | None":
        """The table behind `key`; None if it is absent."""
        if key not in self._table:
            return None
        table = self._get(key, dict, None)
        if not self._section:
            return Entry(self._file, self._locations, key, 0, table, key)
        label = f"{self.label}: {key}"
        return Entry(self._file, self._locations, self._section, self._index, table, label, key)

    def tables(self, key: str) -> list["Entry"]:
        """The tables of the list `key` of the file, written [[key]]; none if it is absent."""
        values = self._get(key, list, [])
        for value in values:
            if type(value) is not dict:
                raise self.error(f"{key} holds {value!r}, not a table: write [[{key}]]", key)
        return [
            Entry(self._file, self._locations, key, index, value, _label(key, index, value))
            for index, value in enumerate(values)
        ]

    def has(self, key: str) -> bool:
        """Whether the table has `key`."""
        return key in self._table

    def finish(self) -> None:
        """Raise DescriptionError if the table has a key that nobody asked for."""
        for key in self._table:
            if key not in self._asked:
                raise self.error(f"unknown key {key!r}", key)

    def error(self, message: str, key: str = "") -> DescriptionError:
        """The error `message` about this entry, or about `key` of it."""
        line = self._line(key)
        return DescriptionError(self._file, line, self.label, message)

    def _get(self, key: str, kind: type[_T], default: _T | None) -> _T:
        self._asked.add(key)
        if key not in self._table:
            if default is None:
                raise self.error(f"{key} is missing")
            return default
        value = self._table[key]
        # Not isinstance: true is no integer here.
        if type(value) is not kind:
            raise self.error(f"{key} is {value!r}, not {_KINDS[kind]}", key)
        found: _T = value
        return found

    def _line(self, key: str) -> int | None:
        for name in (key, self._outer):
            if (self._section, self._index, name) in self._locations:
                return self._locations[self._section, self._index, name]
        return self._locations.get((key, 0, ""))


def read_toml(text: str, file: str) -> Entry:
    """The whole of a TOML document; DescriptionError names its first syntax error."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.fullmatch(str(error))
        message, line = (match[1], match[2]) if match else (str(error), None)
        raise DescriptionError(
            file, int(line) if line else text.count("\n") + 1, "TOML", message
        ) from error
    return Entry(file, _locate(text), "", 0, table, "machine")


def _label(section: str, index: int, table: dict[str, Any]) -> str:
    """What messages call an entry: by its name or id, if it has one."""
    return f"{section} {table.get('name', table.get('id', index))!r}"


def _locate(text: str) -> _Locations:
    """The line of each section and key: (section, number of its kind, key or "") -> line."""
    locations: dict[tuple[str, int, str], int] = {}
    seen: dict[str, int] = {}
    section, index = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = header[1]
            index = seen.get(section, 0)
            seen[section] = index + 1
            locations[section, index, ""] = number
        elif key := _KEY.match(line):
            locations.setdefault((section, index, key[1]), number)
    return locations
