# SPDX-License-Identifier: GPL-2.0-only
"""The small machines in which MSI is explored: one domain, and devices that may have irqs of it."""

from __future__ import annotations

from collections.abc import Mapping

from spec.scope import Scope, Value

__all__ = ["MSI_SCOPES", "msi"]


def msi(
    irqs: int,
    descs: int,
    *,
    devices: int = 1,
    vectors: int = 1,
    cpus: int = 1,
    vmd: bool = False,
    ignore_mask: bool = False,
    has_msi_free: bool = False,
    virtual: frozenset[int] = frozenset(),
) -> Scope:
    """A machine whose only domain may have blocks and has the quirk. It is the native one, or that
    of a VMD. With `ignore_mask` nobody may mask; `virtual` lists the descriptors whose entry lies
    behind the table."""
    always = ("is_msi_domain", "must_reactivate", "activate_early", "multi_pci_msi")
    yes: Mapping[tuple[int, ...], Value] = {(0,): True}
    return Scope(
        {
            "Cpu": cpus,
            "Vector": vectors,
            "Irq": irqs,
            "Domain": 1,
            "Hwirq": irqs,
            "Device": devices,
            "Desc": descs,
        },
        {
            **dict.fromkeys(always, yes),
            "has_nomask_quirk": yes,
            "pci_token": {(0,): not vmd},
            "vmd_token": {(0,): vmd},
            "has_msi_free": {(0,): has_msi_free},
            "pci_msi_ignore_mask": {(): ignore_mask},
            "is_virtual": {(d,): True for d in virtual},
            "irq_number": {(i,): i for i in range(irqs)},
            "hwirq_number": {(h,): h for h in range(irqs)},
        },
    )


MSI_SCOPES: Mapping[str, tuple[Scope, ...]] = {
    # A block of two irqs; two entries of a table for which there is one irq; one that moves.
    "msi": (
        msi(2, 1, has_msi_free=True),
        msi(1, 2, virtual=frozenset({1})),
        msi(1, 1, cpus=2, vectors=2, vmd=True),
        msi(1, 1, ignore_mask=True),
    ),
}
"""By the name of the layer."""
