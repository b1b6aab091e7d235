# SPDX-License-Identifier: GPL-2.0-only
"""The small machines in which a check explores every state of a layer."""

from __future__ import annotations

from collections.abc import Mapping

from proofs.device_scopes import DEVICE_SCOPES
from proofs.msi_scopes import MSI_SCOPES
from proofs.platform_scopes import PLATFORM_SCOPES
from proofs.remapping_scopes import REMAPPING_SCOPES
from proofs.xen_scopes import XEN_SCOPES
from spec.scope import Scope

__all__ = ["SCOPES", "domains"]


def domains(
    irqs: int,
    domains: int,
    hwirqs: int,
    *,
    linear: frozenset[int] = frozenset(),
    legacy: frozenset[int] = frozenset(),
    named: bool = False,
) -> Scope:
    """A machine of the hierarchy, whose domains can all allocate. `linear` lists those with a
    table; `legacy` the irqs that boot makes, of which irq 0 is one if any is. With `named`, all
    domains have one node, and there is one bus token."""
    return Scope(
        {"Irq": irqs, "Domain": domains, "Hwirq": hwirqs, "Token": 1, "Fwnode": 1},
        {
            "allocates": {(d,): True for d in range(domains)},
            "linear": {(d,): True for d in linear},
            "legacy": {(i,): True for i in legacy},
            "zero": {(): 0} if legacy else {},
            "fwnode": {(d,): 0 for d in range(domains)} if named else {},
        },
    )


SCOPES: Mapping[str, tuple[Scope, ...]] = {
    # One that boots with ISA vectors and a system vector is beside the plain one.
    "vectors": (
        Scope.of(2, 2, 2),
        Scope.of(1, 3, 2, allocatable=frozenset({0, 1}), isa_irq={1: 0, 2: 1}),
    ),
    # Three levels without names; two levels with names, a legacy irq 0, and a table for it.
    "hierarchy": (
        domains(2, 3, 2, linear=frozenset({0})),
        domains(2, 2, 2, linear=frozenset({0}), legacy=frozenset({0}), named=True),
    ),
    **MSI_SCOPES,
    **PLATFORM_SCOPES,
    **REMAPPING_SCOPES,
    **DEVICE_SCOPES,
    **XEN_SCOPES,
}
"""By the name of the layer; one that is not listed is proved and not explored."""
