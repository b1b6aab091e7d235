# SPDX-License-Identifier: GPL-2.0-only
"""The layer of irq domains beside a whole machine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress
from typing import Any, Final

from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_IRQ_STARTED,
    IrqData,
    IrqDesc,
    IrqDomain,
    no_irq_chip,
)
from impl.kernel.irq.irqdomain import irq_domain_is_hierarchy
from impl.machine import Machine
from proofs.above_vectors import above_vectors
from proofs.layers import Binding, Names
from spec.partial import ANY, Store

__all__ = ["HIERARCHY", "hierarchy_rigid", "levels", "mappings", "set_up"]


def levels(irqd: IrqData | None) -> Iterator[IrqData]:
    """The levels of an interrupt that belong to a domain, the outermost first."""
    while irqd is not None and irqd.domain is not None:
        yield irqd
        irqd = irqd.parent_data


def set_up(irqd: IrqData) -> bool:
    """Whether the level's domain has given it a chip."""
    return irqd.chip is not None and irqd.chip is not no_irq_chip


def _abstraction(machine: Machine, names: Names) -> dict[str, Store]:
    stores: dict[str, Store] = {
        **{name: {ANY: False} for name in ("desc", "kept", "activated", "started", "live")},
        **{name: {ANY: False} for name in ("hierarchical", "trimmed")},
        **{name: {ANY: None} for name in ("parent", "bus_token", "irq_default_domain", "outer")},
        **{name: {ANY: {ANY: False}} for name in ("above", "newer", "level")},
        **{name: {ANY: {ANY: None}} for name in ("hwirq", "revmap")},
        "mapcount": {ANY: 0},
    }
    _domains(machine, names, stores)
    for number, desc in machine.irqs.descs.items():
        _irq(machine, names, names["Irq"][number], desc, stores)
    return stores


def _domains(machine: Machine, names: Names, stores: dict[str, Store]) -> None:
    elements = names["Domain"]
    older: list[int] = []
    for domain in reversed(machine.domains.irq_domain_list):
        d = elements[domain.id]
        stores["live"][d] = True
        stores["hierarchical"][d] = irq_domain_is_hierarchy(domain)
        if domain.parent is not None:
            stores["parent"][d] = elements[domain.parent.id]
        if domain.bus_token:
            stores["bus_token"][d] = names["Token"][domain.bus_token]
        if domain.mapcount:
            stores["mapcount"][d] = domain.mapcount
        stores["above"][d] = _row({elements[e.id] for e in _ancestors(domain)})
        if older:
            stores["newer"][d] = _row(older)
        older.append(d)
        found = {names["Hwirq"][hwirq]: names["Irq"][irq] for hwirq, irq in mappings(domain)}
        if found:
            stores["revmap"][d] = {ANY: None, **found}
    default = machine.domains.irq_default_domain
    if default is not None:
        stores["irq_default_domain"][ANY] = elements[default.id]


def _ancestors(domain: IrqDomain | None) -> Iterator[IrqDomain]:
    while domain is not None:
        yield domain
        domain = domain.parent


def mappings(domain: IrqDomain) -> Iterator[tuple[int, int]]:
    """What the reverse map holds; a table cannot tell irq 0 from none, a tree can."""
    # The table of a remapping unit has 65,536 places, almost all of them empty.
    yield from compress(enumerate(domain.linear_revmap), domain.linear_revmap)
    for hwirq, irqd in domain.revmap_tree.items():
        yield hwirq, irqd.irq


def _row(members: set[int] | list[int]) -> Store:
    return {ANY: False, **dict.fromkeys(members, True)}


def _irq(machine: Machine, names: Names, irq: int, desc: IrqDesc, stores: dict[str, Store]) -> None:
    stores["desc"][irq] = True
    chain = list(levels(desc.irq_data))
    if desc.irq < machine.vectors.nr_legacy_irqs:
        stores["kept"][irq] = True
    for bit, name in ((IRQD_ACTIVATED, "activated"), (IRQD_IRQ_STARTED, "started")):
        if desc.irq_data.test(bit):
            stores[name][irq] = True
    if not chain:
        return
    domains = [level.domain for level in chain if level.domain is not None]
    elements = [names["Domain"][domain.id] for domain in domains]
    stores["outer"][irq] = elements[0]
    stores["level"][irq] = _row(elements)
    hwirqs = {
        d: names["Hwirq"][level.hwirq]
        for d, level in zip(elements, chain, strict=True)
        if set_up(level)
    }
    if hwirqs:
        stores["hwirq"][irq] = {ANY: None, **hwirqs}
    if domains[-1].parent is not None:
        stores["trimmed"][irq] = True


def hierarchy_rigid(machine: Machine, names: Names) -> dict[str, dict[Any, Any]]:
    """What irqs and domains are, on a machine that has made all its domains."""
    legacy = machine.vectors.nr_legacy_irqs
    domains = {names["Domain"][domain.id]: domain for domain in machine.domains.irq_domain_list}
    return {
        "legacy": {(irq,): True for irq in range(legacy)},
        "zero": {(): names["Irq"][0]} if legacy else {},
        "allocates": {(d,): domain.ops.alloc is not None for d, domain in domains.items()},
        "linear": {(d,): bool(domain.linear_revmap) for d, domain in domains.items()},
        "fwnode": {(d,): d for d in domains},
    }


HIERARCHY: Final = Binding(
    "hierarchy",
    _abstraction,
    above_vectors,
    elements={
        "irq": "Irq",
        "domain": "Domain",
        "parent": "Domain",
        "hwirq": "Hwirq",
        "token": "Token",
    },
    nothing={"token": 0},
    spec_only=("taken", "mapped", "pushed", "active", "done", "walk", "apart"),
)
"""Each event of the system irqdomain is the action of its name. Which levels are active, which have
been counted, and what a walk through them has done, no field of the implementation tells."""
