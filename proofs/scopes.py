# SPDX-License-Identifier: GPL-2.0-only
"""The small machines in which a check explores every state of a layer."""

from __future__ import annotations

from collections.abc import Mapping

from spec.scope import Scope

SCOPES: Mapping[str, tuple[Scope, ...]] = {
    # One that boots with ISA vectors and a system vector is beside the plain one.
    "vectors": (
        Scope.of(2, 2, 2),
        Scope.of(1, 3, 2, allocatable=frozenset({0, 1}), isa_irq={1: 0, 2: 1}),
    ),
}
"""By the name of the layer; one that is not listed is proved and not explored."""
