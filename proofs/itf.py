# SPDX-License-Identifier: GPL-2.0-only
"""Values and fields in the Informal Trace Format (Apalache's ADR 15).

The format has no absent value, so an absent one is written as Quint writes it: the variant
``{"tag": "None", "value": {"#tup": []}}``. Integers beyond 2**53 - 1 are written as "#bigint",
because many readers of JSON keep numbers as doubles.

``Any`` stands for JSON values, whose type Python cannot say usefully. The decoding functions raise
ValueError or TypeError for what the encoding ones never write.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Value: TypeAlias = "bool | int | str | tuple[Value, ...] | None"
"""A field's value: None if an optional one is absent, a tuple for a function, in argument order."""

_EXACT: Final = 2**53 - 1
_NONE: Final = {"tag": "None", "value": {"#tup": []}}


def encode(value: Value) -> Any:
    """One value as JSON.

    >>> encode((1, None, 2**60))
    {'#tup': [1, {'tag': 'None', 'value': {'#tup': []}}, {'#bigint': '1152921504606846976'}]}
    """
    if value is None:
        return dict(_NONE)
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else {"#bigint": str(value)}
    return {"#tup": [encode(item) for item in value]}


def decode(data: Any) -> Value:
    """The inverse of ``encode``."""
    if isinstance(data, bool | int | str):
        return data
    match data:
        case {"#bigint": str(digits), **rest} if not rest:
            return int(digits)
        case {"#tup": [*items], **rest} if not rest:
            return tuple(map(decode, items))
        case {"tag": "None"} if data == _NONE:
            return None
    raise ValueError(f"not a value: {data!r}")


def encode_field(field: str, values: Mapping[tuple[int, ...], Value]) -> Any:
    """One field as JSON: a plain value if it has no arguments, else a map.

    Raises ValueError if the field's name is one that the format keeps for itself.
    """
    if field.startswith("#") or "::" in field:
        raise ValueError(f"{field!r} cannot be the name of a field in a trace")
    if values.keys() == {()}:
        return encode(values[()])
    return {"#map": [[_encode_index(index), encode(value)] for index, value in values.items()]}


def decode_field(data: Any) -> dict[tuple[int, ...], Value]:
    """The inverse of ``encode_field``."""
    match data:
        case {"#map": [*pairs]}:
            return {_decode_index(index): decode(value) for index, value in pairs}
    return {(): decode(data)}


def text(data: Any) -> str:
    """``data`` if it is a string; else TypeError."""
    if not isinstance(data, str):
        raise TypeError(f"{data!r} is not a string")
    return data


def texts(data: Any) -> tuple[str, ...]:
    """``data`` if it is a list of strings, as a tuple; else TypeError."""
    if not isinstance(data, list):
        raise TypeError(f"{data!r} is not a list")
    return tuple(map(text, data))


def boolean(data: Any) -> bool:
    """``data`` if it is true or false; else TypeError."""
    if not isinstance(data, bool):
        raise TypeError(f"{data!r} is neither true nor false")
    return data


def _encode_index(index: tuple[int, ...]) -> Any:
    # A function of one argument reads better in a viewer without a tuple around each key.
    return encode(index[0]) if len(index) == 1 else encode(index)


def _decode_index(data: Any) -> tuple[int, ...]:
    key = decode(data)
    index = key if isinstance(key, tuple) else (key,)
    numbers = tuple(item for item in index if isinstance(item, int))
    if len(numbers) != len(index):
        raise ValueError(f"not an index: {data!r}")
    return numbers
