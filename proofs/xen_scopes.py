# SPDX-License-Identifier: GPL-2.0-only
"""The small machines in which PCI MSI of Xen guests is explored."""

from __future__ import annotations

from collections.abc import Mapping

from spec.scope import Index, Scope, Value

__all__ = ["XEN_SCOPES", "guest"]


def guest(
    kind: str,
    irqs: int,
    descs: int,
    *,
    devices: int = 1,
    cpus: int = 1,
    ports: int = 1,
    domids: int = 1,
    pirqs: int | None = None,
    frontend: bool | None = None,
    foreign: bool = False,
    segment_zero: bool = True,
    msix_table: bool = True,
    is_pci: bool = True,
) -> Scope:
    """A guest with a native domain, 0, and Xen's, 1. Where `foreign` is set the pirqs are those of
    another domain, to which devices are given. A frontend is where it can be."""
    size = irqs if pirqs is None else pirqs
    has_frontend = kind == "PV_DOMU" if frontend is None else frontend
    every: Mapping[Index, Value] = {(v,): True for v in range(devices)}
    return Scope(
        {
            "Cpu": cpus,
            "Irq": irqs,
            "Domain": 2,
            "Device": devices,
            "Desc": descs,
            "Pirq": size,
            "Port": ports,
            "Domid": domids,
        },
        {
            "guest": {(): kind},
            "frontend": {(): has_frontend},
            "xen_domain": {(1,): True},
            "hierarchy": {(0,): True, (1,): True},
            "is_pci": every if is_pci else {},
            "segment_zero": every if segment_zero else {},
            "msix_table": every if msix_table else {},
            "irq_number": {(i,): i for i in range(irqs)},
            "pirq_number": {(p,): p for p in range(size)},
            "pirq_domid": {(p,): 0 for p in range(size)} if foreign else {},
        },
    )


XEN_SCOPES: Mapping[str, tuple[Scope, ...]] = {
    # The initial domain with a block of two or two entries; two devices; a device that it gives
    # away; one that it cannot ask for. Then the others, and those that are none of Xen's.
    "xen": (
        guest("PV_DOM0", 2, 2),
        guest("PV_DOM0", 1, 2, devices=2),
        guest("PV_DOM0", 2, 1, foreign=True),
        guest("PV_DOM0", 1, 1, segment_zero=False, msix_table=False),
        guest("PV_DOMU", 2, 2, ports=2),
        guest("PV_DOMU", 1, 1, frontend=False, ports=2),
        guest("PV_DOMU", 1, 1, is_pci=False, domids=2),
        guest("HVM_PIRQ", 2, 2, cpus=2),
        guest("NATIVE", 1, 1, cpus=2),
        guest("PVH_DOM0", 1, 1, cpus=2, ports=2),
    ),
}
"""By the name of the layer."""
