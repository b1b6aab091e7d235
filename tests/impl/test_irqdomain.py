# SPDX-License-Identifier: GPL-2.0-only
"""Domains: creation, names, lookup; the vector domain; who composes a message."""

import errno

import pytest

from impl.arch.x86.irq_alloc_info import IrqAllocInfo
from impl.arch.x86.vector import ApicChipData
from impl.arch.x86.vector_domain import create_vector_domain
from impl.defects import Defect
from impl.kernel.irq.chip import irq_chip_compose_msi_msg
from impl.kernel.irq.irq import (
    IrqDomainOps,
    MsiMsg,
)
from impl.kernel.irq.irqdomain import (
    IRQ_DOMAIN_NAME_ALLOCATED,
    DomainBus,
    FwnodeKind,
    IrqFwnode,
    IrqFwspec,
    irq_domain_alloc_fwnode,
    irq_domain_alloc_named_fwnode,
    irq_domain_alloc_named_id_fwnode,
    irq_domain_create_linear,
    irq_domain_create_tree,
    irq_domain_free_fwnode,
    irq_domain_is_hierarchy,
    irq_domain_remove,
    irq_domain_update_bus_token,
    irq_find_mapping,
    irq_find_matching_fwnode,
    irq_find_matching_fwspec,
    irq_set_default_host,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs,
)
from impl.kernel.kernel import KernelBug
from impl.vector_machine import VectorMachine
from tests.impl.support import events_of, names
from tests.impl.tower import Composer, Tower, told, tree

# --- creation, names, removal ---------------------------------------------------------------


def test_a_domain_is_named_after_its_node() -> None:
    t = Tower()
    named = irq_domain_alloc_named_fwnode(t.domains, "VECTOR")
    numbered = irq_domain_alloc_named_id_fwnode(t.domains, "HPET-MSI", 2)
    at = irq_domain_alloc_fwnode(t.domains, 0xFEC00000)
    firmware = IrqFwnode(FwnodeKind.FIRMWARE, "/soc/pic")
    created = [tree(t, node) for node in (named, numbered, at, firmware, None, None)]
    assert [domain.name for domain in created[:4]] == [
        "VECTOR",
        "HPET-MSI-2",
        "irqchip@0x00000000fec00000",
        ":soc:pic",
    ]
    assert [domain.flags & IRQ_DOMAIN_NAME_ALLOCATED != 0 for domain in created] == [
        True,
        True,
        False,
        True,
        True,
        True,
    ]
    # The three of the tower have no node either.
    assert [domain.name for domain in created[4:]] == ["unknown-4", "unknown-5"]
    assert named is not None
    irq_domain_free_fwnode(t.domains, named)
    assert t.domains.fwnodes == {numbered, at}
    assert names(t.events_of(lambda: irq_domain_free_fwnode(t.domains, firmware))) == ["WARN"]


def test_a_domain_or_a_node_without_memory_is_none() -> None:
    t = Tower()
    before = list(t.domains.irq_domain_list)
    t.kernel.failures["irq_domain_alloc_fwnode"] = 1
    assert irq_domain_alloc_named_fwnode(t.domains, "A") is None
    t.kernel.failures["irq_domain_add"] = 1
    assert irq_domain_create_tree(t.domains, None, IrqDomainOps()) is None
    assert t.domains.irq_domain_list == before
    assert not t.domains.fwnodes


def test_creation_is_told_with_the_parent() -> None:
    t = Tower()
    ops = IrqDomainOps(alloc=t.top.alloc)
    events = t.events_of(
        lambda: irq_domain_create_linear(t.domains, None, 24, ops, parent=t.root.domain)
    )
    assert told(events) == [f"irq_domain_add(3, {t.root.domain.id}, 1, 24)"]
    events = t.events_of(lambda: irq_domain_create_tree(t.domains, None, IrqDomainOps()))
    assert told(events) == ["irq_domain_add(4, -1, 0, 0)"]


def test_dom_10_a_domain_is_hierarchical_if_it_allocates() -> None:
    t = Tower()
    assert irq_domain_is_hierarchy(t.top.domain)
    assert not irq_domain_is_hierarchy(tree(t, None))


def test_dom_11_the_default_domain_goes_with_its_domain() -> None:
    t = Tower()
    assert irq_domain_alloc_irqs(t.domains, None, -1, 1, 0, None) == -errno.EINVAL
    assert irq_find_mapping(t.domains, None, 1) == 0
    irq_set_default_host(t.domains, t.top.domain)
    irq = irq_domain_alloc_irqs(t.domains, None, -1, 1, 0, None)
    assert irq_find_mapping(t.domains, None, irq) == irq
    # Still in use: the removal warns, and goes on.
    events = t.events_of(lambda: irq_domain_remove(t.domains, t.top.domain))
    assert told(events) == ["WARN()", "irq_set_default_host(-1)", "irq_domain_remove(2)"]
    assert t.domains.irq_default_domain is None
    assert t.top.domain not in t.domains.irq_domain_list


def test_trap_34_a_bus_token_is_appended_to_the_name_each_time_it_changes() -> None:
    t = Tower()
    domain = tree(t, irq_domain_alloc_named_fwnode(t.domains, "VMD-MSI"))
    for token in (DomainBus.PCI_MSI, DomainBus.PCI_MSI, DomainBus.VMD_MSI):
        irq_domain_update_bus_token(t.domains, domain, token)
    assert domain.name == "VMD-MSI-3-10"
    same = t.events_of(lambda: irq_domain_update_bus_token(t.domains, domain, DomainBus.VMD_MSI))
    assert same == []


# --- lookup ---------------------------------------------------------------------------------


def test_dom_14_the_newest_domain_of_a_node_and_a_token_answers() -> None:
    t = Tower()
    node, other = (irq_domain_alloc_named_fwnode(t.domains, name) for name in "AB")
    first, second = tree(t, node), tree(t, node)
    assert irq_find_matching_fwnode(t.domains, node, DomainBus.ANY) is second
    irq_domain_update_bus_token(t.domains, first, DomainBus.PCI_MSI)
    assert irq_find_matching_fwnode(t.domains, node, DomainBus.PCI_MSI) is first
    assert irq_find_matching_fwnode(t.domains, node, DomainBus.ANY) is second
    assert irq_find_matching_fwnode(t.domains, other, DomainBus.ANY) is None
    # No node is not the same as any domain without a node.
    assert irq_find_matching_fwnode(t.domains, None, DomainBus.ANY) is None


def test_trap_33_any_is_a_wildcard_of_the_query_only() -> None:
    t = Tower()
    node = irq_domain_alloc_named_fwnode(t.domains, "XEN-MSI")
    domain = tree(t, node)
    assert irq_find_matching_fwnode(t.domains, node, DomainBus.ANY) is domain
    assert irq_find_matching_fwnode(t.domains, node, DomainBus.PCI_MSI) is None


def test_select_wins_over_match_only_with_parameters() -> None:
    t = Tower()
    ops = IrqDomainOps(
        select=lambda domain, fwspec, token: fwspec.params == (7,),
        match=lambda domain, node, token: token == DomainBus.NEXUS,
    )
    domain = tree(t, None, ops)
    assert irq_find_matching_fwspec(t.domains, IrqFwspec(None, (7,)), DomainBus.ANY) is domain
    assert irq_find_matching_fwspec(t.domains, IrqFwspec(None, (8,)), DomainBus.NEXUS) is None
    assert irq_find_matching_fwspec(t.domains, IrqFwspec(None), DomainBus.NEXUS) is domain
    assert irq_find_matching_fwspec(t.domains, IrqFwspec(None), DomainBus.ANY) is None


# --- the vector domain, and who composes ----------------------------------------------------


def test_the_vector_domain_is_the_default_one() -> None:
    m = VectorMachine(1)
    domain = m.vectors.x86_vector_domain
    assert (domain.name, domain.parent, domain.linear_revmap) == ("VECTOR", None, [])
    assert m.domains.irq_default_domain is domain
    irq = m.alloc_irqs(1)
    assert irq_find_mapping(m.domains, None, irq) == irq
    assert isinstance(m.chip_data(irq), ApicChipData)


@pytest.mark.parametrize("site", ["irq_domain_alloc_fwnode", "irq_domain_add"])
def test_no_machine_without_memory_for_the_vector_domain(site: str) -> None:
    m = VectorMachine(1)
    m.fail_next(site)
    with pytest.raises(KernelBug, match="no memory"):
        create_vector_domain(m.vectors, m.domains)


def test_the_vector_domain_skips_what_has_no_level_there() -> None:
    m = VectorMachine(1)
    ops = m.vectors.x86_vector_domain.ops
    assert ops.free is not None
    assert ops.alloc is not None
    before = m.snapshot()
    ops.free(m.vectors.x86_vector_domain, 0, 3)
    assert m.snapshot() == before
    with pytest.raises(KernelBug, match="no level"):
        ops.alloc(m.vectors.x86_vector_domain, 99, 1, IrqAllocInfo())


def test_the_vector_level_tells_of_its_activation() -> None:
    m = VectorMachine(1)
    irq = m.alloc_irqs(1)
    seen = [event.name for event in events_of(m, lambda: m.request_irq(irq))]
    level, whole = (seen.index(f"irq_domain_activate_{what}") for what in ("level", "irq"))
    assert level + 1 == whole
    seen = [event.name for event in events_of(m, lambda: m.free_irq(irq))]
    level, whole = (seen.index(f"irq_domain_deactivate_{what}") for what in ("level", "irq"))
    assert level + 1 == whole


@pytest.mark.parametrize(("defects", "expected"), [((), 1), ((Defect.N5,), 2)])
def test_dom_13_and_n5_the_first_chip_that_can_composes(
    defects: tuple[Defect, ...], expected: int
) -> None:
    t = Tower(defects=defects)
    t.middle.chip, t.root.chip = Composer("middle", 1).chip, Composer("root", 2).chip
    irqd = t.irqs.descs[t.alloc()].irq_data
    assert irq_chip_compose_msi_msg(irqd) == (0, MsiMsg(data=expected))


def test_dom_13_nobody_composes() -> None:
    t = Tower()
    irqd = t.irqs.descs[t.alloc()].irq_data
    assert irq_chip_compose_msi_msg(irqd) == (-errno.ENOSYS, MsiMsg())
