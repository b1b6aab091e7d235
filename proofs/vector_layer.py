# SPDX-License-Identifier: GPL-2.0-only
"""The vector layer beside a machine: the matrix, the x86 vector domain, and genirq below them."""

from __future__ import annotations

from typing import Final

from proofs.abstraction import SPEC_ONLY, abstraction
from proofs.impl_events import HAZARDS, SEARCHES, readings
from proofs.layers import Binding

__all__ = ["VECTORS"]

VECTORS: Final = Binding(
    "vectors",
    abstraction,
    lambda model: readings,
    elements={"irq": "Irq"},
    spec_only=SPEC_ONLY,
    hazards=HAZARDS,
    searches=SEARCHES,
    dropped={"pc": "RETRY"},
    chooses=True,
)
"""Read through the kernel's own tracepoints; see `proofs.impl_events`."""
