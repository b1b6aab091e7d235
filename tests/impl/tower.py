# SPDX-License-Identifier: GPL-2.0-only
"""Three domains, one above the other, that note what is asked of them."""

import errno
from collections.abc import Callable, Iterable
from typing import Any

from impl.defects import Defect
from impl.kernel.irq.irq import IrqChip, IrqData, IrqDesc, IrqDomain, IrqDomainOps, MsiMsg
from impl.kernel.irq.irqdesc import IrqDescTable
from impl.kernel.irq.irqdomain import (
    IrqDomains,
    IrqFwnode,
    irq_domain_create_hierarchy,
    irq_domain_create_tree,
    irq_domain_get_irq_data,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs,
    irq_domain_alloc_irqs_parent,
    irq_domain_free_irqs_common,
    irq_domain_free_irqs_parent,
    irq_domain_set_hwirq_and_chip,
)
from impl.kernel.kernel import Kernel
from impl.trace import Event

LINEAR_SIZE = 8


class Level:
    """One domain of a tower.

    `hwirq` makes an irq's hwirq.  `result` is what a successful allocation returns.  `failing` lets
    the allocation fail, at that interrupt of the block, after the parent's has succeeded.  `chip`
    is what the level's interrupts get, None for nothing at all.  A level that is to be pushed does
    not ask its parent.
    """

    def __init__(self, log: list[str], name: str) -> None:
        self.log = log
        self.name = name
        self.chip: IrqChip | None = IrqChip(name)
        self.hwirq: Callable[[int, Any], int] = lambda virq, arg: virq
        self.result = 0
        self.failing: int | None = None
        self.asks_parent = True
        self.domain: IrqDomain

    def ops(self) -> IrqDomainOps:
        return IrqDomainOps(alloc=self.alloc, free=self.free)

    def alloc(self, domain: IrqDomain, virq: int, nr_irqs: int, arg: Any) -> int:
        if domain.parent is not None and self.asks_parent:
            ret = irq_domain_alloc_irqs_parent(domain, virq, nr_irqs, arg)
            if ret < 0:
                return ret
        for k in range(nr_irqs):
            if k == self.failing:
                irq_domain_free_irqs_common(domain.domains, domain, virq, k)
                if self.asks_parent:
                    irq_domain_free_irqs_parent(domain.domains, domain, virq + k, nr_irqs - k)
                return -errno.ENOSPC
            if self.chip is not None:
                hwirq = self.hwirq(virq + k, arg)
                irq_domain_set_hwirq_and_chip(
                    domain.domains, domain, virq + k, hwirq, self.chip, arg
                )
        self.log.append(f"+{self.name} {virq}+{nr_irqs}")
        return self.result

    def free(self, domain: IrqDomain, virq: int, nr_irqs: int) -> None:
        self.log.append(f"-{self.name} {virq}+{nr_irqs}")
        irq_domain_free_irqs_common(domain.domains, domain, virq, nr_irqs)


class Tower:
    """The domains ROOT, MIDDLE (with a linear map) and TOP, on a machine with nothing else."""

    def __init__(self, *, defects: Iterable[Defect] = (), top_size: int = 0) -> None:
        self.kernel = Kernel(2, defects=frozenset(defects))
        self.irqs = IrqDescTable(self.kernel, dynirq_base=1)
        self.domains = IrqDomains(self.irqs)
        self.log: list[str] = []
        self.root = Level(self.log, "root")
        self.middle = Level(self.log, "middle")
        self.top = Level(self.log, "top")
        parent: IrqDomain | None = None
        for level, size in ((self.root, 0), (self.middle, LINEAR_SIZE), (self.top, top_size)):
            domain = irq_domain_create_hierarchy(self.domains, parent, 0, size, None, level.ops())
            assert domain is not None
            level.domain = parent = domain

    @property
    def levels(self) -> tuple[Level, ...]:
        """Outermost first."""
        return self.top, self.middle, self.root

    def alloc(
        self, n: int = 1, arg: Any = "arg", *, irq_base: int = -1, realloc: bool = False
    ) -> int:
        return irq_domain_alloc_irqs(
            self.domains, self.top.domain, irq_base, n, 0, arg, realloc=realloc
        )

    def level_of(self, irq: int, level: Level) -> IrqData:
        irqd = irq_domain_get_irq_data(self.domains, level.domain, irq)
        assert irqd is not None
        return irqd

    def state(self) -> tuple[object, ...]:
        """Everything that an allocation may change (DOM-7, DOM-8)."""
        return (
            self.irqs.allocated_irqs,
            {irq: chain(desc) for irq, desc in self.irqs.descs.items()},
            [level.domain.mapcount for level in self.levels],
            [tuple(level.domain.linear_revmap) for level in self.levels],
            [{h: d.irq for h, d in level.domain.revmap_tree.items()} for level in self.levels],
        )

    def events_of(self, operation: Callable[[], object]) -> list[Event]:
        seen: list[Event] = []
        unsubscribe = self.kernel.trace.subscribe(seen.append)
        operation()
        unsubscribe()
        return seen


def tree(t: Tower, fwnode: IrqFwnode | None, ops: IrqDomainOps | None = None) -> IrqDomain:
    """A further domain of a tower's machine, without operations unless given."""
    domain = irq_domain_create_tree(t.domains, fwnode, ops or IrqDomainOps())
    assert domain is not None
    return domain


def levels_of(desc: IrqDesc) -> list[IrqData]:
    """Outermost first."""
    levels: list[IrqData] = []
    irqd: IrqData | None = desc.irq_data
    while irqd is not None:
        levels.append(irqd)
        irqd = irqd.parent_data
    return levels


def chain(desc: IrqDesc) -> list[tuple[object, ...]]:
    """Domain, hwirq, chip and chip data of each level, outermost first."""
    return [(irqd.domain, irqd.hwirq, irqd.chip, irqd.chip_data) for irqd in levels_of(desc)]


def told(events: Iterable[Event]) -> list[str]:
    """The events as text."""
    return [
        f"{event.name}({', '.join(str(value) for value in event.fields.values())})"
        for event in events
    ]


class Composer:
    """A chip that composes, and one that notes what it has to write."""

    def __init__(self, name: str, data: int) -> None:
        self.written: list[MsiMsg] = []
        self.chip = IrqChip(
            name,
            irq_compose_msi_msg=lambda irqd: MsiMsg(data=data),
            irq_write_msi_msg=lambda irqd, msg: self.written.append(msg),
        )
