# SPDX-License-Identifier: GPL-2.0-only
"""Which irq an IO-APIC pin has, and who uses it (arch/x86/kernel/apic/io_apic.c, v5.10).

Everything that allocates or counts runs under ioapic_mutex.
"""

import errno
from dataclasses import replace

from impl.arch.x86.io_apic import (
    IoApic,
    IoApicDomainType,
    IoApics,
    MpChipData,
    add_pin_to_irq_node,
    find_irq_entry,
)
from impl.arch.x86.io_apic_domain import (
    ioapic_set_alloc_attr,
    mp_override_attr,
    mp_register_handler,
    mp_set_attr,
)
from impl.arch.x86.irq_alloc_info import (
    X86_IRQ_ALLOC_LEGACY,
    X86_IRQ_ALLOC_TYPE,
    IrqAllocInfo,
    copy_irq_alloc_info,
)
from impl.arch.x86.irq_vectors import PIC_CASCADE_IR
from impl.arch.x86.mpparse import MpIrq, mp_find_ioapic
from impl.defects import Defect
from impl.kernel.irq.irq import IrqDesc, IrqDomain
from impl.kernel.irq.irqdomain import irq_domain_get_irq_data, irq_find_mapping
from impl.kernel.irq.irqdomain_hierarchy import irq_domain_alloc_irqs, irq_domain_free_irqs
from impl.kernel.kernel import NUMA_NO_NODE

__all__ = [
    "IOAPIC_MAP_ALLOC",
    "IOAPIC_MAP_CHECK",
    "acpi_register_gsi",
    "acpi_unregister_gsi",
    "mp_last_user",
    "mp_map_gsi_to_irq",
    "mp_map_pin_to_irq",
    "mp_unmap_irq",
]

IOAPIC_MAP_ALLOC = 1
"""A flag: allocate an irq if there is none, and count a user."""

IOAPIC_MAP_CHECK = 2
"""A flag: firmware must know the pin."""


def acpi_register_gsi(
    a: IoApics, gsi: int, trigger: int, polarity: int, node: int = NUMA_NO_NODE
) -> int:
    """A driver's line ends at `gsi`: its irq, or an error of mp_map_gsi_to_irq."""
    info = IrqAllocInfo()
    ioapic_set_alloc_attr(info, node, trigger, polarity)
    return mp_map_gsi_to_irq(a, gsi, IOAPIC_MAP_ALLOC, info)


def acpi_unregister_gsi(a: IoApics, gsi: int) -> None:
    """The driver of a line that ends at `gsi` is gone; nothing if the GSI has no irq."""
    irq = mp_map_gsi_to_irq(a, gsi, 0, None)
    if irq > 0:
        mp_unmap_irq(a, irq)


def mp_map_gsi_to_irq(a: IoApics, gsi: int, flags: int, info: IrqAllocInfo | None) -> int:
    """mp_map_pin_to_irq for `gsi`; -ENODEV if no IO-APIC has it, or under CHECK no wiring entry."""
    place = mp_find_ioapic(a.ioapics, gsi)
    if place is None:
        return -errno.ENODEV
    entry = find_irq_entry(a, gsi)
    if flags & IOAPIC_MAP_CHECK and entry is None:
        return -errno.ENODEV
    return mp_map_pin_to_irq(a, entry, *place, flags, info)


def mp_map_pin_to_irq(
    a: IoApics, entry: MpIrq | None, index: int, pin: int, flags: int, info: IrqAllocInfo | None
) -> int:
    """The irq of a pin, which `entry` is about; with ALLOC one is made if need be, and used.

    -ENOSYS: the IO-APIC has no domain.  -ENOENT: the pin has no irq.  -EBUSY: it has one whose
    trigger mode or polarity is not what `info` says.  -ENOMEM, or an error of the allocation.
    -EINVAL, not under H5: the PIC's cascade, whose vector belongs to the system.
    """
    domain = a.ioapics[index].domain
    if domain is None:
        return -errno.ENOSYS
    isa_irq = _legacy_irq(a, entry)
    if isa_irq == PIC_CASCADE_IR and Defect.H5 not in a.x86.kernel.defects:
        return -errno.EINVAL
    if not flags & IOAPIC_MAP_ALLOC:
        if isa_irq is not None:
            return isa_irq
        return irq_find_mapping(domain.domains, domain, pin) or -errno.ENOENT
    wish = _ioapic_copy_alloc_attr(a, info, index, pin)
    irq = _find_or_alloc(a, domain, index, isa_irq, wish)
    if irq >= 0:
        _chip_data(a.x86.domains.irqs.descs[irq]).count += 1
        a.trace("mp_map_pin", irq=irq, ioapic=index, pin=pin)
    return irq


def mp_unmap_irq(a: IoApics, irq: int) -> None:
    """One user less; the last one frees the irq.  ISA irqs stay, and others are ignored."""
    data = _counted(a, irq)
    if data is None:
        return
    data.count -= 1
    a.trace("mp_unmap_irq", irq=irq)
    if data.count == 0:
        irq_domain_free_irqs(a.x86.domains, irq, 1)


def mp_last_user(a: IoApics, irq: int) -> bool:
    """Whether mp_unmap_irq would free the irq."""
    data = _counted(a, irq)
    return data is not None and data.count == 1


def _counted(a: IoApics, irq: int) -> MpChipData | None:
    """The IO-APIC level of an irq whose users are counted."""
    desc = a.x86.domains.irqs.irq_to_desc(irq)
    data = desc.irq_data.chip_data if desc is not None else None
    return data if isinstance(data, MpChipData) and not data.isa_irq else None


def _legacy_irq(a: IoApics, entry: MpIrq | None) -> int | None:
    """The legacy irq that is wired to a pin; None for a pin of another kind."""
    if entry is None or not entry.isa or entry.srcbusirq >= a.x86.vectors.nr_legacy_irqs:
        return None
    return entry.srcbusirq


def _ioapic_copy_alloc_attr(
    a: IoApics, src: IrqAllocInfo | None, index: int, pin: int
) -> IrqAllocInfo:
    """The argument of an allocation: what the caller said, or else what firmware says."""
    info = IrqAllocInfo()
    copy_irq_alloc_info(info, src)
    info.type = X86_IRQ_ALLOC_TYPE.IOAPIC
    info.devid = a.ioapics[index].id
    info.ioapic.pin = pin
    if not info.ioapic.valid:
        gsi = a.ioapics[index].gsi_base + pin
        info.ioapic.node = NUMA_NO_NODE
        info.ioapic.trigger, info.ioapic.polarity = mp_override_attr(a, gsi)
    info.ioapic.valid = True
    return info


def _find_or_alloc(
    a: IoApics, domain: IrqDomain, index: int, isa_irq: int | None, info: IrqAllocInfo
) -> int:
    if isa_irq is not None:
        return _alloc_isa_irq_from_domain(a, domain, isa_irq, index, info)
    irq = irq_find_mapping(domain.domains, domain, info.ioapic.pin)
    if irq == 0:
        return _alloc_irq_from_domain(a, domain, index, info)
    return irq if _mp_check_pin_attr(a, irq, info) else -errno.EBUSY


def _alloc_irq_from_domain(a: IoApics, domain: IrqDomain, index: int, info: IrqAllocInfo) -> int:
    """An irq for a pin that is not a legacy irq's.

    One that is numbered by GSI may have a legacy irq's number, whose descriptor exists already.
    """
    ioapic = a.ioapics[index]
    gsi = ioapic.gsi_base + info.ioapic.pin
    irq = gsi if _numbered_by_gsi(a, ioapic, gsi) else -1
    realloc = ioapic.type is IoApicDomainType.LEGACY and 0 <= irq < a.x86.vectors.nr_legacy_irqs
    return irq_domain_alloc_irqs(
        a.x86.domains, domain, irq, 1, info.ioapic.node, info, realloc=realloc
    )


def _numbered_by_gsi(a: IoApics, ioapic: IoApic, gsi: int) -> bool:
    """Whether a pin's irq is its GSI; after boot the numbers of legacy irqs are not given away."""
    if ioapic.type is IoApicDomainType.LEGACY:
        return not a.initialized or gsi >= a.x86.vectors.nr_legacy_irqs
    return ioapic.type is IoApicDomainType.STRICT


def _alloc_isa_irq_from_domain(
    a: IoApics, domain: IrqDomain, irq: int, index: int, info: IrqAllocInfo
) -> int:
    """Take a legacy irq over from the PIC, or wire a further pin to one that was taken over."""
    desc = a.x86.domains.irqs.irq_to_desc(irq)
    if desc is not None and desc.irq_data.parent_data is not None:
        if not _mp_check_pin_attr(a, irq, info):
            return -errno.EBUSY
        if not add_pin_to_irq_node(a, irq, _chip_data(desc), index, info.ioapic.pin):
            return -errno.ENOMEM
        return irq
    info.flags |= X86_IRQ_ALLOC_LEGACY
    ret = irq_domain_alloc_irqs(a.x86.domains, domain, irq, 1, info.ioapic.node, info, realloc=True)
    if ret >= 0:
        irqd = irq_domain_get_irq_data(a.x86.domains, domain, ret)
        if irqd is not None:
            irqd.chip_data.isa_irq = True
    return ret


def _mp_check_pin_attr(a: IoApics, irq: int, info: IrqAllocInfo) -> bool:
    """Whether a further user agrees with the attributes of an irq.

    The boot code gives every legacy irq the default ones, so its first real user decides.
    """
    desc = a.x86.domains.irqs.descs[irq]
    data, wish = _chip_data(desc), info.ioapic
    if irq < a.x86.vectors.nr_legacy_irqs and data.count == 1:
        if wish.trigger != data.trigger:
            mp_register_handler(desc, wish.trigger)
        data.entry = replace(data.entry, trigger=wish.trigger, polarity=wish.polarity)
        mp_set_attr(a, irq, data, wish.trigger, wish.polarity)
    return (data.trigger, data.polarity) == (wish.trigger, wish.polarity)


def _chip_data(desc: IrqDesc) -> MpChipData:
    data: MpChipData = desc.irq_data.chip_data
    return data
