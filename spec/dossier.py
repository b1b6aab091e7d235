# SPDX-License-Identifier: GPL-2.0-only
"""The ids of the dossier: what a complete check has a row for.

An id means the same wherever it stands. Most are invariants or theorems of a layer, and their
sentence stands there; the laws that no layer states have theirs here. An id that no check covers
must be in `UNCHECKED` with the reason, so that nothing is missing unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["ARCH", "CORE", "LAWS", "UNCHECKED", "order"]

_CORE: Final[Mapping[str, int]] = {
    "MX": 17,
    "VEC": 22,
    "GEN": 7,
    "DOM": 14,
    "MSI": 13,
    "PCI": 10,
    "APIC": 7,
    "IOA": 8,
    "UV": 3,
    "INIT": 6,
    "X": 6,
}
"""The families of the core half in the dossier's order, and how many numbered ids each has."""

_ARCH: Final[Mapping[str, int]] = {
    "IRC": 5,
    "INT": 15,
    "AMD": 12,
    "HVI": 3,
    "HVP": 5,
    "VMD": 12,
    "XEN": 10,
    "XB": 17,
    "SEL": 7,
    "FB": 3,
    "PLT": 7,
    "IMS": 12,
    "HW": 1,
}
"""Those of the other half: remapping, virtual machines, device MSI."""


def _ids(families: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(
        id
        for family, last in families.items()
        for id in (
            *(f"{family}-{number}" for number in range(1, last + 1)),
            *(("APIC-Q",) if family == "APIC" else ()),
        )
    )


CORE: Final[tuple[str, ...]] = _ids(_CORE)
"""Every id of the core half, in the dossier's order."""

ARCH: Final[tuple[str, ...]] = _ids(_ARCH)
"""Every id of the other half."""

LAWS: Final[Mapping[str, str]] = {
    "MX-12": "The CPU and the bit are chosen by the kernel's rules.",
    "refinement": "Every step of the implementation is a step of the specification.",
}
"""Sentences of ids that are neither an invariant nor a theorem of any layer."""

UNCHECKED: Final[Mapping[str, str]] = {
    "HVP-3": "blocks need one message of the host for all, and no layer has a word for it: the "
    "tests of the driver hold it",
    "VMD-11": "a refused affinity is an error code: the tests of the driver hold it",
    "VMD-12": "a refused number of vectors is an error code: the tests of the driver hold it",
    "FB-2": "the restore hook is a function that is always there: the tests of sleeping machines "
    "call it on every platform",
    "IMS-11": "that two lists have nothing in common speaks of two drivers: their tests hold it",
    "IMS-12": "the source id of a slot is a number of the platform: the tests with VT-d and "
    "AMD-Vi hold it",
}
"""Ids that no check covers, and why."""


def order(id: str) -> tuple[int, int, str]:
    """A sorting key: by family, numbered ids first; those that only support others come last.

    >>> sorted(["VEC-pc", "X-1", "VEC-2", "VEC-10"], key=order)
    ['VEC-2', 'VEC-10', 'VEC-pc', 'X-1']
    """
    family, _, rest = id.partition("-")
    families = (*_CORE, *_ARCH)
    number = int(rest) if rest.isdigit() else 99
    return (families.index(family) if family in families else len(families), number, rest)
