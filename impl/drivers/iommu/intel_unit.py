# SPDX-License-Identifier: GPL-2.0-only
"""One VT-d unit: its table and domains, and its switch (intel/irq_remapping.c, v5.10)."""

import errno

from impl.arch.x86.msi import arch_create_remap_msi_irq_domain
from impl.defects import Defect
from impl.drivers.iommu.intel import IntelIr
from impl.drivers.iommu.intel_domain import intel_ir_domain_ops
from impl.drivers.iommu.intel_irte import INTR_REMAP_TABLE_ENTRIES
from impl.drivers.iommu.intel_table import IntelIommu, IrTable, qi_global_iec
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.irqdomain import (
    IrqDomains,
    irq_domain_alloc_named_id_fwnode,
    irq_domain_create_hierarchy,
    irq_domain_free_fwnode,
    irq_domain_remove,
)

__all__ = [
    "intel_setup_irq_remapping",
    "intel_teardown_irq_remapping",
    "iommu_disable_irq_remapping",
    "iommu_enable_irq_remapping",
    "iommu_set_irq_remapping",
]

_TABLE_PIECES = 3
"""A table consists of so many allocations: the structure, the pages and the bitmap."""


def intel_setup_irq_remapping(ir: IntelIr, iommu: IntelIommu) -> int:
    """Give the unit a table and its two domains, unless it has them; 0 or -ENOMEM.

    A unit without its MSI domain counts as set up; its devices will have none.  A unit that remaps
    already is switched off; only a kernel that follows a crash goes on with the entries it finds.
    """
    if iommu.ir_table is not None:
        return 0
    kernel = ir.kernel
    if any(kernel.kzalloc_fails("intel_setup_irq_remapping") for _ in range(_TABLE_PIECES)):
        return -errno.ENOMEM
    if not _create_domains(ir, iommu):
        return -errno.ENOMEM
    if not iommu.qi and not _dmar_enable_qi(iommu):
        if Defect.F21 not in kernel.defects:
            _remove_domains(ir, iommu)
        return -errno.ENOMEM
    iommu.ir_table = IrTable()
    iommu.pre_enabled = iommu.ires
    if iommu.pre_enabled:
        _take_over(ir, iommu)
    iommu_set_irq_remapping(iommu, ir.eim_mode)
    domain, msi_domain = iommu.ir_domain, iommu.ir_msi_domain
    iommu.trace(
        "intel_setup_irq_remapping",
        domain=-1 if domain is None else domain.id,
        msi_domain=-1 if msi_domain is None else msi_domain.id,
        eim=int(ir.eim_mode),
    )
    return 0


def intel_teardown_irq_remapping(ir: IntelIr, iommu: IntelIommu) -> None:
    """Undo intel_setup_irq_remapping, if the unit has a table."""
    if iommu.ir_table is None:
        return
    _remove_domains(ir, iommu)
    iommu.ir_table = None
    iommu.trace("intel_teardown_irq_remapping")


def iommu_set_irq_remapping(iommu: IntelIommu, eim: bool) -> None:
    """Tell the unit where its table is, and the mode."""
    iommu.irta = iommu.table.base
    iommu.irta_size_ok = True
    iommu.eime = eim
    qi_global_iec(iommu)


def iommu_enable_irq_remapping(iommu: IntelIommu) -> None:
    """Switch the unit on, and block messages of the compatibility format."""
    iommu.ires = True
    iommu.cfis = False
    iommu.trace("iommu_enable_irq_remapping")


def iommu_disable_irq_remapping(iommu: IntelIommu) -> None:
    """Switch the unit off, if it remaps."""
    qi_global_iec(iommu)
    if iommu.ires:
        iommu.ires = False
        iommu.trace("iommu_disable_irq_remapping")


def _create_domains(ir: IntelIr, iommu: IntelIommu) -> bool:
    domains = ir.x86.domains
    fwnode = irq_domain_alloc_named_id_fwnode(domains, "INTEL-IR", iommu.seq_id)
    if fwnode is None:
        return False
    iommu.ir_domain = irq_domain_create_hierarchy(
        domains,
        ir.x86.vectors.x86_vector_domain,
        0,
        INTR_REMAP_TABLE_ENTRIES,
        fwnode,
        intel_ir_domain_ops(ir),
        iommu,
    )
    if iommu.ir_domain is None:
        irq_domain_free_fwnode(domains, fwnode)
        return False
    iommu.ir_msi_domain = arch_create_remap_msi_irq_domain(
        ir.x86, iommu.ir_domain, "INTEL-IR-MSI", iommu.seq_id
    )
    return True


def _remove_domains(ir: IntelIr, iommu: IntelIommu) -> None:
    for domain in (iommu.ir_msi_domain, iommu.ir_domain):
        if domain is not None:
            _remove_domain(ir.x86.domains, domain)
    iommu.ir_msi_domain = None
    iommu.ir_domain = None


def _remove_domain(domains: IrqDomains, domain: IrqDomain) -> None:
    irq_domain_remove(domains, domain)
    irq_domain_free_fwnode(domains, domain.fwnode)


def _dmar_enable_qi(iommu: IntelIommu) -> bool:
    """Set the invalidation queue up; False without memory or without the ability."""
    iommu.qi = iommu.caps.qi and not iommu.kernel.kzalloc_fails("dmar_enable_qi")
    return iommu.qi


def _take_over(ir: IntelIr, iommu: IntelIommu) -> None:
    """Deal with a unit that an earlier kernel left on."""
    if ir.kdump:
        _iommu_load_old_irte(iommu)
    else:
        iommu.pre_enabled = False
        iommu_disable_irq_remapping(iommu)


def _iommu_load_old_irte(iommu: IntelIommu) -> None:
    """Copy the table of the crashed kernel, whose devices may still use it.

    Each entry that is present stays taken by itself.  A table of another size is not copied.
    """
    ret = 0 if iommu.irta_size_ok else -errno.EINVAL
    if ret == 0:
        iommu.table.base.update(iommu.irta)
        for slot, (low, _) in iommu.irta.items():
            iommu.table.bitmap |= (low & 1) << slot
    iommu.trace("iommu_load_old_irte", entries=iommu.table.bitmap.bit_count(), ret=ret)
