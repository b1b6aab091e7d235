# SPDX-License-Identifier: GPL-2.0-only
"""The irq domains of IO-APICs (arch/x86/kernel/apic/io_apic.c, v5.10).

Each IO-APIC has one, on the vector domain or on that of a remapping unit; its hwirqs are pins.
"""

import errno
from functools import partial

from impl.arch.x86.io_apic import (
    IoApicDomainType,
    IoApics,
    MpChipData,
    add_pin_to_irq_node,
    find_irq_entry,
    ioapic_configure_entry,
    ioapic_mask_entry,
    mp_setup_entry,
    remove_pin_from_irq,
)
from impl.arch.x86.io_apic_regs import (
    IOAPIC_EDGE,
    IOAPIC_LEVEL,
    IOAPIC_POL_HIGH,
    IOAPIC_POL_LOW,
)
from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_TYPE,
    IoapicAllocInfo,
    IrqAllocInfo,
    init_irq_alloc_info,
)
from impl.arch.x86.vector import vector_level
from impl.kernel.irq.chip import irq_set_handler
from impl.kernel.irq.irq import IRQ_LEVEL, IrqData, IrqDesc, IrqDomain, IrqDomainOps
from impl.kernel.irq.irqdomain import (
    IrqFwspec,
    irq_domain_alloc_named_id_fwnode,
    irq_domain_create_linear,
    irq_domain_free_fwnode,
    irq_domain_get_irq_data,
    irq_find_mapping,
)
from impl.kernel.irq.irqdomain_hierarchy import (
    irq_domain_alloc_irqs_parent,
    irq_domain_free_irqs_top,
    irqd_set_hwirq_and_chip,
)
from impl.kernel.kernel import NUMA_NO_NODE, KernelBug

__all__ = [
    "dt_irqdomain_alloc",
    "ioapic_set_alloc_attr",
    "mp_irqdomain_activate",
    "mp_irqdomain_alloc",
    "mp_irqdomain_create",
    "mp_irqdomain_deactivate",
    "mp_irqdomain_free",
    "mp_override_attr",
    "mp_register_handler",
    "mp_set_attr",
]

# What the second parameter of a device tree specification means: trigger and polarity.
_OF_IOAPIC_TYPE = (
    (IOAPIC_EDGE, IOAPIC_POL_HIGH),
    (IOAPIC_LEVEL, IOAPIC_POL_LOW),
    (IOAPIC_LEVEL, IOAPIC_POL_HIGH),
    (IOAPIC_EDGE, IOAPIC_POL_LOW),
)


def mp_irqdomain_create(a: IoApics, index: int) -> int:
    """Create the domain of an IO-APIC, unless its type is INVALID; 0 or -ENOMEM.

    Numbering by GSI keeps dynamic irqs away from all of the IO-APIC's GSIs.
    """
    ioapic = a.ioapics[index]
    if ioapic.type is IoApicDomainType.INVALID:
        return 0
    query = IrqAllocInfo()
    init_irq_alloc_info(query, None)
    query.type = X86_IRQ_ALLOC_TYPE.IOAPIC_GET_PARENT
    query.devid = ioapic.id
    domains = a.x86.domains
    remapping = a.x86.init.irq_remapping_get_irq_domain(query)
    name = "IO-APIC" if remapping is None else "IO-APIC-IR"
    fwnode = ioapic.fwnode or irq_domain_alloc_named_id_fwnode(domains, name, index)
    if fwnode is None:
        return -errno.ENOMEM
    ioapic.domain = irq_domain_create_linear(
        domains,
        fwnode,
        ioapic.pins,
        _domain_ops(a, of_node=ioapic.fwnode is not None),
        index,
        parent=remapping if remapping is not None else a.x86.vectors.x86_vector_domain,
    )
    if ioapic.domain is None:
        if ioapic.fwnode is None:
            irq_domain_free_fwnode(domains, fwnode)
        return -errno.ENOMEM
    if ioapic.type in (IoApicDomainType.LEGACY, IoApicDomainType.STRICT):
        a.dynirq_base = max(a.dynirq_base, ioapic.gsi_base + ioapic.pins)
    a.trace("mp_irqdomain_create", ioapic=index, domain=ioapic.domain.id)
    return 0


def mp_irqdomain_alloc(
    a: IoApics, domain: IrqDomain, virq: int, nr_irqs: int, info: IrqAllocInfo | None
) -> int:
    """Set up the IO-APIC's level of `virq` for the pin that `info` names; 0 or an error.

    -EINVAL: no info, several irqs at once, or no level in the domain.  -EEXIST: the pin has an irq,
    unless that is irq 0, which the map cannot tell from none.  -ENOMEM.  Else the parent's error.
    A BUG if memory is short for the list of pins.
    """
    if info is None or nr_irqs > 1:
        return -errno.EINVAL
    irqd = irq_domain_get_irq_data(domain.domains, domain, virq)
    if irqd is None:
        return -errno.EINVAL
    pin = info.ioapic.pin
    if irq_find_mapping(domain.domains, domain, pin) > 0:
        return -errno.EEXIST
    if a.x86.kernel.kzalloc_fails("alloc_mp_chip_data"):
        return -errno.ENOMEM
    data = MpChipData()
    info.ioapic.entry = data
    ret = irq_domain_alloc_irqs_parent(domain, virq, nr_irqs, info)
    if ret < 0:
        return ret
    native = domain.parent is a.x86.vectors.x86_vector_domain
    irqd_set_hwirq_and_chip(irqd, pin, a.chip if native else a.ir_chip, data)
    _setup_pin(a, irqd, data, info)
    return 0


def mp_irqdomain_free(a: IoApics, domain: IrqDomain, virq: int, nr_irqs: int) -> None:
    """Undo mp_irqdomain_alloc, one irq at a time; warns if other pins are wired to it still."""
    if nr_irqs != 1:
        raise KernelBug(f"{nr_irqs} irqs of an IO-APIC are to be freed at once")
    irqd = irq_domain_get_irq_data(domain.domains, domain, virq)
    if irqd is not None and irqd.chip_data is not None:
        remove_pin_from_irq(a, virq, irqd.chip_data, domain.host_data, irqd.hwirq)
        if irqd.chip_data.irq_2_pin:
            a.x86.kernel.warn()
    irq_domain_free_irqs_top(domain.domains, domain, virq, nr_irqs)


def mp_irqdomain_activate(a: IoApics, domain: IrqDomain, irqd: IrqData, reserve: bool) -> int:
    """Write the entries of all pins; always 0."""
    ioapic_configure_entry(a, irqd)
    return 0


def mp_irqdomain_deactivate(a: IoApics, domain: IrqDomain, irqd: IrqData) -> None:
    """Mask the pin that was there first; nobody deactivates an irq of several pins."""
    ioapic_mask_entry(a, domain.host_data, irqd.hwirq)


def dt_irqdomain_alloc(
    a: IoApics, domain: IrqDomain, virq: int, nr_irqs: int, fwspec: IrqFwspec
) -> int:
    """mp_irqdomain_alloc for the pin and the type that a device tree names.

    -EINVAL without both parameters (with a warning), and for an unknown type.
    """
    if len(fwspec.params) < 2:
        a.x86.kernel.warn()
        return -errno.EINVAL
    pin, kind = fwspec.params[:2]
    if kind >= len(_OF_IOAPIC_TYPE):
        return -errno.EINVAL
    info = IrqAllocInfo()
    ioapic_set_alloc_attr(info, NUMA_NO_NODE, *_OF_IOAPIC_TYPE[kind])
    info.devid = a.ioapics[domain.host_data].id
    info.ioapic.pin = pin
    return mp_irqdomain_alloc(a, domain, virq, nr_irqs, info)


def ioapic_set_alloc_attr(info: IrqAllocInfo, node: int, trigger: int, polarity: int) -> None:
    """Start an allocation with attributes that the caller knows (IOAPIC_* values)."""
    init_irq_alloc_info(info, None)
    info.ioapic = IoapicAllocInfo(node=node, trigger=trigger, polarity=polarity, valid=True)


def mp_override_attr(a: IoApics, gsi: int) -> tuple[int, int]:
    """Trigger and polarity of `gsi` by firmware (acpi_get_override_irq).

    Where it is silent, a PCI line: level and low.
    """
    entry = find_irq_entry(a, gsi)
    return (entry.trigger, entry.polarity) if entry else (IOAPIC_LEVEL, IOAPIC_POL_LOW)


def mp_register_handler(desc: IrqDesc, trigger: int) -> None:
    """Install the flow handler for the trigger mode."""
    if trigger == IOAPIC_LEVEL:
        desc.status |= IRQ_LEVEL
        irq_set_handler(desc, "fasteoi")
    else:
        desc.status &= ~IRQ_LEVEL
        irq_set_handler(desc, "edge")


def mp_set_attr(a: IoApics, irq: int, data: MpChipData, trigger: int, polarity: int) -> None:
    """Give an interrupt its trigger mode and polarity."""
    data.trigger = trigger
    data.polarity = polarity
    a.trace("mp_set_attr", irq=irq, trigger=trigger, polarity=polarity)


def _domain_ops(a: IoApics, *, of_node: bool) -> IrqDomainOps:
    return IrqDomainOps(
        alloc=partial(dt_irqdomain_alloc if of_node else mp_irqdomain_alloc, a),
        free=partial(mp_irqdomain_free, a),
        activate=partial(mp_irqdomain_activate, a),
        deactivate=partial(mp_irqdomain_deactivate, a),
    )


def _setup_pin(a: IoApics, irqd: IrqData, data: MpChipData, info: IrqAllocInfo) -> None:
    """Give a new interrupt its attributes, its first pin, its entry and its handler."""
    index = irqd.domain.host_data if irqd.domain is not None else 0
    pin = info.ioapic.pin
    if info.ioapic.valid:
        attr = info.ioapic.trigger, info.ioapic.polarity
    else:
        attr = mp_override_attr(a, a.ioapics[index].gsi_base + pin)
    mp_set_attr(a, irqd.irq, data, *attr)
    if not add_pin_to_irq_node(a, irqd.irq, data, index, pin):
        raise KernelBug(f"no memory for pin {pin} of irq {irqd.irq}")
    if info.ioapic.entry is not None:
        mp_setup_entry(a, data, vector_level(irqd).hw_irq_cfg)
    mp_register_handler(irqd.desc, data.trigger)
    if irqd.irq < a.x86.vectors.nr_legacy_irqs:
        a.pic.mask(irqd.irq)
