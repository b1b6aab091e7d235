# SPDX-License-Identifier: GPL-2.0-only
"""Hunts on machines of every platform: the historic defects of remapping, VMD, Hyper-V, Xen, stores.

A row says on which small machine a defect is switched on, what drivers and the platform then do,
and which property falls. `hunt` searches breadth-first with operations that know nothing of the
defect; `control` is the same search without it, to the same depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proofs.whole_machine import WholeMachine

__all__ = ["PLATFORM_HUNTS", "PlatformHunt"]


@dataclass(frozen=True)
class PlatformHunt:
    """Where a defect is switched on, what is done, what falls, and after how many operations."""

    machine: WholeMachine
    operations: tuple[str, ...]
    targets: tuple[str, ...]
    steps: int
    note: str = ""


PLATFORM_HUNTS: Final[Mapping[str, PlatformHunt]] = {}
"""The hunt for each defect that needs a platform."""
