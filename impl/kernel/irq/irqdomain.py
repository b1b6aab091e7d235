# SPDX-License-Identifier: GPL-2.0-only
"""Domains: their creation, their lookup and their reverse maps (kernel/irq/irqdomain.c, v5.10).

The allocation of interrupts through a hierarchy of domains is in irqdomain_hierarchy.py, their
activation in irqdomain_activate.py, the insertion of a level afterwards in irqdomain_push.py.
"""

import enum
from typing import Any, NamedTuple

from impl.kernel.irq.irq import IrqData, IrqDomain, IrqDomainOps
from impl.kernel.irq.irqdesc import IrqDescTable
from impl.kernel.kernel import Kernel

__all__ = [
    "IRQ_DOMAIN_FLAG_HIERARCHY",
    "IRQ_DOMAIN_FLAG_IPI_PER_CPU",
    "IRQ_DOMAIN_FLAG_IPI_SINGLE",
    "IRQ_DOMAIN_FLAG_MSI",
    "IRQ_DOMAIN_FLAG_MSI_REMAP",
    "IRQ_DOMAIN_FLAG_NONCORE",
    "IRQ_DOMAIN_MSI_NOMASK_QUIRK",
    "IRQ_DOMAIN_NAME_ALLOCATED",
    "DomainBus",
    "FwnodeKind",
    "IrqDomains",
    "IrqFwnode",
    "IrqFwspec",
    "irq_domain_alloc_fwnode",
    "irq_domain_alloc_named_fwnode",
    "irq_domain_alloc_named_id_fwnode",
    "irq_domain_clear_mapping",
    "irq_domain_create_hierarchy",
    "irq_domain_create_linear",
    "irq_domain_create_tree",
    "irq_domain_fix_revmap",
    "irq_domain_free_fwnode",
    "irq_domain_get_irq_data",
    "irq_domain_is_hierarchy",
    "irq_domain_remove",
    "irq_domain_set_mapping",
    "irq_domain_update_bus_token",
    "irq_find_mapping",
    "irq_find_matching_fwnode",
    "irq_find_matching_fwspec",
    "irq_set_default_host",
]

IRQ_DOMAIN_FLAG_HIERARCHY = 1 << 0
IRQ_DOMAIN_NAME_ALLOCATED = 1 << 1
IRQ_DOMAIN_FLAG_IPI_PER_CPU = 1 << 2
IRQ_DOMAIN_FLAG_IPI_SINGLE = 1 << 3
IRQ_DOMAIN_FLAG_MSI = 1 << 4
IRQ_DOMAIN_FLAG_MSI_REMAP = 1 << 5
IRQ_DOMAIN_MSI_NOMASK_QUIRK = 1 << 6
IRQ_DOMAIN_FLAG_NONCORE = 1 << 16

_HWIRQ_MAX = (1 << 64) - 1
_NONE = -1


class DomainBus(enum.IntEnum):
    """What kind of bus a domain serves (enum irq_domain_bus_token, DOMAIN_BUS_*).

    ANY is a wildcard in a query, not in a domain.
    """

    ANY = 0
    WIRED = 1
    GENERIC_MSI = 2
    PCI_MSI = 3
    PLATFORM_MSI = 4
    NEXUS = 5
    IPI = 6
    FSL_MC_MSI = 7
    TI_SCI_INTA_MSI = 8
    WAKEUP = 9
    VMD_MSI = 10
    DEVICE_MSI = 11


class FwnodeKind(enum.Enum):
    """What a firmware node stands for."""

    NAMED = "irqchip, named"
    NAMED_ID = "irqchip, named and numbered"
    REAL = "irqchip, at an address"
    FIRMWARE = "device tree, ACPI or software node"


class IrqFwnode:
    """A firmware node, compared by identity; `name` is its full name, for FIRMWARE its path."""

    __slots__ = ("id", "kind", "name")

    def __init__(self, kind: FwnodeKind, name: str, id: int = 0) -> None:
        self.kind = kind
        self.name = name
        self.id = id


class IrqFwspec(NamedTuple):
    """How firmware describes one interrupt: its controller and the controller's parameters."""

    fwnode: IrqFwnode | None
    params: tuple[int, ...] = ()


class IrqDomains:
    """The globals of the domain code of one machine.

    `irq_domain_list` holds the live domains, the newest first.  `irq_default_domain` serves where
    no domain is named.  `fwnodes` are the allocated irqchip nodes.  A node must outlive its domain.
    """

    __slots__ = (
        "fwnodes",
        "irq_default_domain",
        "irq_domain_list",
        "irqs",
        "kernel",
        "nr_created",
        "nr_unknown",
    )

    def __init__(self, irqs: IrqDescTable) -> None:
        self.irqs = irqs
        self.kernel: Kernel = irqs.kernel
        self.irq_domain_list: list[IrqDomain] = []
        self.irq_default_domain: IrqDomain | None = None
        self.fwnodes: set[IrqFwnode] = set()
        self.nr_created = 0
        self.nr_unknown = 0

    def trace(self, name: str, **fields: int) -> None:
        """Emit an irqdomain event."""
        kernel = self.kernel
        if kernel.trace.enabled:
            kernel.trace.emit("irqdomain", name, kernel.this_cpu, **fields)


def irq_domain_alloc_named_fwnode(domains: IrqDomains, name: str) -> IrqFwnode | None:
    """A node called `name`; None without memory."""
    return _irq_domain_alloc_fwnode(domains, IrqFwnode(FwnodeKind.NAMED, name))


def irq_domain_alloc_named_id_fwnode(domains: IrqDomains, name: str, id: int) -> IrqFwnode | None:
    """A node called `name`-`id`; None without memory."""
    return _irq_domain_alloc_fwnode(domains, IrqFwnode(FwnodeKind.NAMED_ID, f"{name}-{id}", id))


def irq_domain_alloc_fwnode(domains: IrqDomains, address: int) -> IrqFwnode | None:
    """A node for the chip whose registers are at `address`; None without memory."""
    return _irq_domain_alloc_fwnode(
        domains, IrqFwnode(FwnodeKind.REAL, f"irqchip@0x{address:016x}")
    )


def irq_domain_free_fwnode(domains: IrqDomains, fwnode: IrqFwnode) -> None:
    """Free a node of irq_domain_alloc_*_fwnode; warns about any other."""
    if fwnode not in domains.fwnodes:
        domains.kernel.warn()
        return
    domains.fwnodes.remove(fwnode)


def irq_domain_create_linear(
    domains: IrqDomains,
    fwnode: IrqFwnode | None,
    size: int,
    ops: IrqDomainOps,
    host_data: Any = None,
    *,
    parent: IrqDomain | None = None,
) -> IrqDomain | None:
    """A domain of `size` hwirqs with a table for them; None without memory.

    `parent` is for owners that set it right after the creation.
    """
    domain = _irq_domain_add(domains, fwnode, size, size, ops, host_data)
    return _announce(domain, parent, 0)


def irq_domain_create_tree(
    domains: IrqDomains,
    fwnode: IrqFwnode | None,
    ops: IrqDomainOps,
    host_data: Any = None,
    *,
    parent: IrqDomain | None = None,
) -> IrqDomain | None:
    """A domain of any hwirqs, without a table; None without memory.

    `parent` is for owners that set it right after the creation.
    """
    domain = _irq_domain_add(domains, fwnode, 0, _HWIRQ_MAX, ops, host_data)
    return _announce(domain, parent, 0)


def irq_domain_create_hierarchy(
    domains: IrqDomains,
    parent: IrqDomain | None,
    flags: int,
    size: int,
    fwnode: IrqFwnode | None,
    ops: IrqDomainOps,
    host_data: Any = None,
) -> IrqDomain | None:
    """A domain above `parent` with further `flags`: linear with a `size`, a tree without one.

    None without memory.
    """
    hwirq_max = size if size else _HWIRQ_MAX
    domain = _irq_domain_add(domains, fwnode, size, hwirq_max, ops, host_data)
    return _announce(domain, parent, flags)


def irq_domain_remove(domains: IrqDomains, domain: IrqDomain) -> None:
    """Forget a domain, also as the default; warns if its tree still maps interrupts."""
    if domain.revmap_tree:
        domains.kernel.warn()
    domains.irq_domain_list.remove(domain)
    if domains.irq_default_domain is domain:
        irq_set_default_host(domains, None)
    domains.trace("irq_domain_remove", domain=domain.id)


def irq_domain_update_bus_token(domains: IrqDomains, domain: IrqDomain, token: DomainBus) -> None:
    """Give a domain its bus token, and its name the token behind it; nothing if it has it."""
    if domain.bus_token == token:
        return
    domain.bus_token = token
    domain.name = f"{domain.name}-{token.value}"
    domain.flags |= IRQ_DOMAIN_NAME_ALLOCATED
    domains.trace("irq_domain_update_bus_token", domain=domain.id, token=token.value)


def irq_set_default_host(domains: IrqDomains, domain: IrqDomain | None) -> None:
    """Let `domain` serve where none is named; None: nobody."""
    domains.irq_default_domain = domain
    domains.trace("irq_set_default_host", domain=domain.id if domain is not None else _NONE)


def irq_find_matching_fwspec(
    domains: IrqDomains, fwspec: IrqFwspec, token: DomainBus
) -> IrqDomain | None:
    """The newest domain that answers to `fwspec` and `token`, None if no one does (DOM-14)."""
    for domain in domains.irq_domain_list:
        if _matches(domain, fwspec, token):
            return domain
    return None


def irq_find_matching_fwnode(
    domains: IrqDomains, fwnode: IrqFwnode | None, token: DomainBus
) -> IrqDomain | None:
    """irq_find_matching_fwspec of a node without parameters."""
    return irq_find_matching_fwspec(domains, IrqFwspec(fwnode), token)


def irq_find_mapping(domains: IrqDomains, domain: IrqDomain | None, hwirq: int) -> int:
    """The irq of `hwirq` in `domain` (without one, in the default domain), 0 if there is none.

    A linear map cannot tell irq 0 from no irq.
    """
    if domain is None:
        domain = domains.irq_default_domain
        if domain is None:
            return 0
    if hwirq < len(domain.linear_revmap):
        return domain.linear_revmap[hwirq]
    irqd = domain.revmap_tree.get(hwirq)
    return irqd.irq if irqd is not None else 0


def irq_domain_set_mapping(domain: IrqDomain, hwirq: int, irqd: IrqData) -> None:
    """Map `hwirq` to a level; in the tree the first owner of a hwirq silently stays."""
    if hwirq < len(domain.linear_revmap):
        domain.linear_revmap[hwirq] = irqd.irq
    else:
        domain.revmap_tree.setdefault(hwirq, irqd)


def irq_domain_clear_mapping(domain: IrqDomain, hwirq: int) -> None:
    """Map `hwirq` to nothing, whoever owns it."""
    if hwirq < len(domain.linear_revmap):
        domain.linear_revmap[hwirq] = 0
    else:
        domain.revmap_tree.pop(hwirq, None)


def irq_domain_fix_revmap(irqd: IrqData) -> None:
    """Point the tree of a level's domain to where the level now is."""
    domain = irqd.domain
    if domain is not None and irqd.hwirq in domain.revmap_tree:
        domain.revmap_tree[irqd.hwirq] = irqd


def irq_domain_get_irq_data(domains: IrqDomains, domain: IrqDomain, virq: int) -> IrqData | None:
    """The outermost level of `virq` that belongs to `domain`, None if it has none."""
    desc = domains.irqs.descs.get(virq)
    irqd = desc.irq_data if desc is not None else None
    while irqd is not None and irqd.domain is not domain:
        irqd = irqd.parent_data
    return irqd


def irq_domain_is_hierarchy(domain: IrqDomain) -> bool:
    """Whether the domain allocates through its levels (DOM-10)."""
    return bool(domain.flags & IRQ_DOMAIN_FLAG_HIERARCHY)


def _irq_domain_alloc_fwnode(domains: IrqDomains, fwnode: IrqFwnode) -> IrqFwnode | None:
    if domains.kernel.kzalloc_fails("irq_domain_alloc_fwnode"):
        return None
    domains.fwnodes.add(fwnode)
    return fwnode


def _irq_domain_add(
    domains: IrqDomains,
    fwnode: IrqFwnode | None,
    size: int,
    hwirq_max: int,
    ops: IrqDomainOps,
    host_data: Any,
) -> IrqDomain | None:
    if domains.kernel.kzalloc_fails("irq_domain_add"):
        return None
    name, flags = _domain_name(domains, fwnode)
    domain = IrqDomain(domains, domains.nr_created, name, ops, size=size, hwirq_max=hwirq_max)
    domains.nr_created += 1
    domain.fwnode = fwnode
    domain.host_data = host_data
    domain.flags = flags
    if ops.alloc is not None:
        domain.flags |= IRQ_DOMAIN_FLAG_HIERARCHY
    domains.irq_domain_list.insert(0, domain)
    return domain


def _domain_name(domains: IrqDomains, fwnode: IrqFwnode | None) -> tuple[str, int]:
    """A domain's name by its node, and NAME_ALLOCATED unless the name is the node's own."""
    if fwnode is None:
        domains.nr_unknown += 1
        return f"unknown-{domains.nr_unknown}", IRQ_DOMAIN_NAME_ALLOCATED
    if fwnode.kind is FwnodeKind.REAL:
        return fwnode.name, 0
    if fwnode.kind is FwnodeKind.FIRMWARE:
        return fwnode.name.replace("/", ":"), IRQ_DOMAIN_NAME_ALLOCATED
    return fwnode.name, IRQ_DOMAIN_NAME_ALLOCATED


def _announce(domain: IrqDomain | None, parent: IrqDomain | None, flags: int) -> IrqDomain | None:
    """Complete a new domain and tell of it; nobody can look between its publication and this."""
    if domain is None:
        return None
    domain.parent = parent
    domain.flags |= flags
    domain.domains.trace(
        "irq_domain_add",
        domain=domain.id,
        parent=parent.id if parent is not None else _NONE,
        hierarchy=int(irq_domain_is_hierarchy(domain)),
        size=len(domain.linear_revmap),
    )
    return domain


def _matches(domain: IrqDomain, fwspec: IrqFwspec, token: DomainBus) -> bool:
    if domain.ops.select is not None and fwspec.params:
        return domain.ops.select(domain, fwspec, token)
    if domain.ops.match is not None:
        return domain.ops.match(domain, fwspec.fwnode, token)
    if fwspec.fwnode is None or domain.fwnode is not fwspec.fwnode:
        return False
    return token == DomainBus.ANY or domain.bus_token == token
