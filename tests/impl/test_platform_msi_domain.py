# SPDX-License-Identifier: GPL-2.0-only
"""Devices that are interrupt controllers and signal by platform MSI."""

import errno

import pytest

from impl.defects import Defect
from impl.drivers.base.platform_msi import (
    MAX_DEV_MSIS,
    platform_msi_alloc_descs,
    platform_msi_desc,
)
from impl.drivers.base.platform_msi_domain import (
    platform_msi_create_device_domain,
    platform_msi_domain_alloc,
    platform_msi_domain_free,
    platform_msi_get_host_data,
)
from impl.kernel.irq.irq import (
    IrqChip,
    IrqDomain,
    IrqDomainOps,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs,
    irq_domain_free_irqs,
    irq_domain_set_hwirq_and_chip,
)
from impl.kernel.irq.msi import (
    MsiDomainOps,
)
from impl.kernel.kernel import KernelBug
from tests.impl.platform_msi_support import PlatformMachine, indices_of, irqs_of, priv_of
from tests.impl.support import events_of


class Controller:
    """A device that is an interrupt controller: its domain, above the platform MSI domain."""

    def __init__(self, m: PlatformMachine, nvec: int = 8, *, is_tree: bool = False) -> None:
        self.m = m
        self.dev = m.device()
        self.owned = IrqChip("CONTROLLER")
        self.ops = IrqDomainOps(alloc=self._alloc, free=self._free)
        domain = platform_msi_create_device_domain(
            m.platform, self.dev, nvec, m.write, self.ops, self, is_tree=is_tree
        )
        assert domain is not None
        self.domain = domain

    def _alloc(self, domain: IrqDomain, virq: int, nr_irqs: int, arg: int) -> int:
        assert platform_msi_get_host_data(domain) is self
        ret = platform_msi_domain_alloc(domain, virq, nr_irqs)
        for k in range(nr_irqs) if ret == 0 else ():
            irq_domain_set_hwirq_and_chip(
                domain.domains, domain, virq + k, arg + k, self.owned, None
            )
        return ret

    def _free(self, domain: IrqDomain, virq: int, nr_irqs: int) -> None:
        platform_msi_domain_free(domain, virq, nr_irqs)

    def alloc(self, hwirq: int, nr_irqs: int = 1) -> int:
        return irq_domain_alloc_irqs(self.m.domains, self.domain, -1, nr_irqs, 0, hwirq)

    def free(self, virq: int, nr_irqs: int = 1) -> None:
        irq_domain_free_irqs(self.m.domains, virq, nr_irqs)


def test_a_device_domain_lies_above_the_platform_domain() -> None:
    m = PlatformMachine()
    linear, tree = Controller(m, 8), Controller(m, 8, is_tree=True)
    assert linear.domain.parent is m.msi and tree.domain.parent is m.msi
    assert (len(linear.domain.linear_revmap), len(tree.domain.linear_revmap)) == (8, 0)
    assert m.platform.devids == 0b11


def test_an_interrupt_of_a_device_domain_has_three_levels_and_a_bound_descriptor() -> None:
    m = PlatformMachine()
    c = Controller(m)
    virq = c.alloc(4, 2)
    assert irqs_of(c.dev) == [virq, virq + 1] and indices_of(c.dev) == [0, 1]
    for k in range(2):
        levels = m.irqs.descs[virq + k].irq_data
        assert levels.domain is c.domain and levels.hwirq == 4 + k
        assert levels.parent_data is not None
        assert levels.parent_data.domain is m.msi and levels.parent_data.hwirq == k
        assert m.irqs.descs[virq + k].msi_desc is c.dev.msi_list[k]
    m.irqs.descs[virq].handler_name = "edge"
    assert m.request_irq(virq) == 0
    assert set(m.stored) == {(c.dev.id, 0)}
    assert m.free_irq(virq) == 0
    before = m.platform.devids
    c.free(virq, 2)
    assert c.dev.msi_list == [] and m.platform.devids == before
    assert m.msi.mapcount == c.domain.mapcount == 0


def test_a_device_domain_needs_what_an_allocation_needs() -> None:
    m = PlatformMachine()
    ops = IrqDomainOps()
    homeless, busy = m.device(), m.with_irqs(1)
    homeless.msi_domain = None
    before = m.books()
    for dev, nvec in ((homeless, 1), (busy, 1), (m.device(), 0), (m.device(), MAX_DEV_MSIS + 1)):
        assert platform_msi_create_device_domain(m.platform, dev, nvec, m.write, ops, None) is None
    for site in ("platform_msi_alloc_priv_data", "irq_domain_add"):
        m.fail_next(site)
        assert (
            platform_msi_create_device_domain(m.platform, m.device(), 1, m.write, ops, None) is None
        )
    assert m.books() == before


def test_a_device_domain_is_undone_if_the_platform_refuses_the_device() -> None:
    m = PlatformMachine(ops=MsiDomainOps(msi_check=lambda domain, info, dev: 1))
    before = m.books()
    ops = IrqDomainOps()
    assert platform_msi_create_device_domain(m.platform, m.device(), 1, m.write, ops, None) is None
    assert m.books() == before


def test_another_domain_is_no_device_domain() -> None:
    m = PlatformMachine()
    with pytest.raises(KernelBug):
        platform_msi_get_host_data(m.msi)


@pytest.mark.parametrize(("site", "nth"), [("alloc_msi_entry", 2), ("alloc_apic_chip_data", 2)])
def test_plt_5_a_failed_allocation_of_a_device_domain_leaves_nothing(site: str, nth: int) -> None:
    m = PlatformMachine()
    c = Controller(m)
    kept = c.alloc(0)
    before = m.books(), irqs_of(c.dev), indices_of(c.dev)
    m.fail_next(site, nth)
    assert c.alloc(1, 3) == -errno.ENOMEM
    assert (m.books(), irqs_of(c.dev), indices_of(c.dev)) == before
    assert m.irqs.descs[kept].irq_data.domain is c.domain
    assert c.alloc(1, 3) > 0


def test_populate_refuses_a_device_with_other_descriptors() -> None:
    m = PlatformMachine()
    c = Controller(m)
    priv = c.domain.host_data
    assert platform_msi_alloc_descs(priv, 0, 1) == 0
    events = events_of(m, lambda: c.alloc(0))
    # The allocation and the free that undoes it both stop at the stranger.
    assert [event.name for event in events].count("WARN") == 2


def test_index_holes_are_filled() -> None:
    m = PlatformMachine()
    c = Controller(m, is_tree=True)
    first, second, third = c.alloc(1), c.alloc(2), c.alloc(3)
    c.free(second)
    assert c.alloc(4) == second and irqs_of(c.dev) == [first, third, second]
    assert indices_of(c.dev) == [0, 2, 1]


def test_index_room_ends_at_2048() -> None:
    m = PlatformMachine()
    c = Controller(m, is_tree=True)
    priv = c.domain.host_data
    assert platform_msi_alloc_descs(priv, 1, MAX_DEV_MSIS) == 0
    assert platform_msi_alloc_descs(priv, 1, 1) == -errno.ENOSPC
    assert len(c.dev.msi_list) == MAX_DEV_MSIS


def test_index_growth_as_posted_runs_into_other_devices_and_wraps() -> None:
    m = PlatformMachine(defects={Defect.PLT_INDEX})
    c = Controller(m, is_tree=True)
    kept, gone = c.alloc(1), c.alloc(2)
    c.free(kept)
    assert c.alloc(3) == kept and indices_of(c.dev) == [1, 2]
    c.free(gone)
    platform_msi_desc(c.dev.msi_list[-1]).msi_index = MAX_DEV_MSIS - 1
    other = m.with_irqs(1)
    assert priv_of(other.msi_list[0]).devid == 1
    # The next index of device 0 is the first one of device 1.
    assert c.alloc(4) == -errno.EEXIST
    platform_msi_desc(c.dev.msi_list[-1]).msi_index = 0xFFFF
    assert c.alloc(5) > 0
    assert indices_of(c.dev)[-1] == 0
