# SPDX-License-Identifier: GPL-2.0-only
"""The layer of the MSI core and of PCI MSI beside a whole machine.

A message is told apart into what it can say: a real vector on a CPU, the shutdown vector, or
nothing. What the kernel caches and what the device holds are both read back from the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from impl.arch.x86.irq_vectors import MANAGED_IRQ_SHUTDOWN_VECTOR, ApicMode
from impl.arch.x86.msidef import decode_msi_msg
from impl.drivers.pci.pci import PciDev, PciPower
from impl.kernel.irq.irq import IRQD_MSI_NOMASK_QUIRK, IrqDomain, MsiMsg
from impl.kernel.irq.irqdomain import IRQ_DOMAIN_MSI_NOMASK_QUIRK, DomainBus
from impl.kernel.irq.msi import (
    MSI_FLAG_ACTIVATE_EARLY,
    MSI_FLAG_MULTI_PCI_MSI,
    MSI_FLAG_MUST_REACTIVATE,
    MsiDesc,
    MsiDomainInfo,
)
from impl.machine import Machine
from proofs.above_vectors import above_vectors
from proofs.abstraction import abstraction
from proofs.events import Fields, Peek, Reading, Source
from proofs.hierarchy_layer import set_up
from proofs.layers import Binding, Names
from spec.partial import ANY, Store

__all__ = ["Message", "decoded", "msi_binding", "msi_rigid"]


class Message(NamedTuple):
    """What a message says: a vector on a CPU, or the shutdown vector, or nothing at all."""

    vector: int | None = None
    cpu: int | None = None
    shutdown: bool = False


def decoded(apic: ApicMode, message: MsiMsg) -> Message:
    """What a message says on a machine with this kind of destinations."""
    if not message.address_lo:
        return Message()
    dest, vector = decode_msi_msg(*message, x2apic=apic.x2apic)
    if vector == MANAGED_IRQ_SHUTDOWN_VECTOR:
        return Message(shutdown=True)
    return Message(vector, apic.cpu_of_dest(dest))


# --- events ---------------------------------------------------------------------------------


def _part(apic: ApicMode, name: str) -> Source:
    def source(fields: Fields, cpu: int, peek: Peek) -> Any:
        message = MsiMsg(fields["address_lo"], fields["address_hi"], fields["data"])
        return getattr(decoded(apic, message), name)

    return source


def _field(name: str) -> Source:
    return lambda fields, cpu, peek: fields[name]


def _readings(apic: ApicMode) -> Mapping[str, Reading]:
    """The events that are not simply the action of their name."""
    message = {name: _part(apic, name) for name in Message._fields}
    written: Mapping[str, Source] = {
        "irq": _field("irq"),
        "desc": _field("desc"),
        "reached": lambda fields, cpu, peek: fields["reached"] != 0,
        **message,
    }
    return {"pci_write_msi_msg": Reading("pci_write_msi_msg", written)}


# --- the state ------------------------------------------------------------------------------

_SHARED: Final = (
    "desc",
    "affinity_managed",
    "irqd_can_reserve",
    "activated",
    "started",
    "cfg_vector",
    "cfg_cpu",
    "cfg_shutdown",
)
"""What the vector layer knows under the same names."""

_FLAT: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("msi_level", "msi_hwirq", "msi_desc", "entry_device", "entry_irq")),
    **dict.fromkeys(("cached_vector", "cached_cpu", "device_vector", "device_cpu", "msi_domain")),
    **dict.fromkeys(("nomask_quirk", "entry_is_msix", "entry_maskbit", "cached_shutdown"), False),
    **dict.fromkeys(("device_shutdown", "dev_added", "in_d0", "disconnected", "intx"), False),
    **dict.fromkeys(("msi_enabled", "msix_enabled", "partial"), False),
    **dict.fromkeys(("msi_offset", "entry_position", "entry_nvec", "entry_linked", "entries"), 0),
    **dict.fromkeys(("masked", "device_masked"), 0),
    "phase": "IDLE",
    "setup": "REST",
}


def _abstraction(machine: Machine, names: Names) -> dict[str, Store]:
    below = abstraction(machine, names)
    stores: dict[str, Store] = {name: below[name] for name in _SHARED}
    stores |= {name: {ANY: default} for name, default in _FLAT.items()}
    for number, desc in machine.irqs.descs.items():
        irq, irqd = names["Irq"][number], desc.irq_data
        if irqd.domain is not None and _info(irqd.domain) is not None and set_up(irqd):
            _put(stores, irq, msi_level=names["Domain"][irqd.domain.id])
            _put(stores, irq, msi_hwirq=names["Hwirq"][irqd.hwirq])
        if irqd.test(IRQD_MSI_NOMASK_QUIRK):
            _put(stores, irq, nomask_quirk=True)
        if desc.msi_desc is not None:
            _put(stores, irq, msi_desc=names["Desc"][desc.msi_desc.id])
            _put(stores, irq, msi_offset=number - desc.msi_desc.irq)
    for dev in machine.pci_devs.values():
        _device(machine, names, dev, stores)
    return stores


def _put(stores: dict[str, Store], index: int, **values: Any) -> None:
    """Cells that differ from the initial value."""
    for name, value in values.items():
        if value != stores[name][ANY]:
            stores[name][index] = value


def _info(domain: IrqDomain) -> MsiDomainInfo | None:
    return domain.host_data if isinstance(domain.host_data, MsiDomainInfo) else None


def _device(machine: Machine, names: Names, dev: PciDev, stores: dict[str, Store]) -> None:
    ready = any(desc.irq for desc in dev.msi_list)
    _put(
        stores,
        names["Device"][dev.id],
        dev_added=True,
        in_d0=dev.current_state == PciPower.D0,
        disconnected=dev.disconnected,
        intx=dev.intx_on,
        msi_enabled=dev.msi_enabled,
        msix_enabled=dev.msix_enabled,
        msi_domain=None if dev.msi_domain is None else names["Domain"][dev.msi_domain.id],
        phase="READY" if ready else "IDLE",
        entries=len(dev.msi_list),
    )
    for position, desc in enumerate(dev.msi_list):
        _entry(machine, names, dev, desc, position, stores)


def _entry(
    machine: Machine,
    names: Names,
    dev: PciDev,
    desc: MsiDesc,
    position: int,
    stores: dict[str, Store],
) -> None:
    element, apic = names["Desc"][desc.id], machine.vectors.apic
    linked = [d for d in machine.irqs.descs.values() if d.msi_desc is desc]
    cached, (message, mask) = decoded(apic, desc.msg), _registers(dev, desc)
    held = decoded(apic, message)
    _put(
        stores,
        element,
        entry_device=names["Device"][dev.id],
        entry_position=position,
        entry_is_msix=desc.msi_attrib.is_msix,
        entry_maskbit=desc.msi_attrib.maskbit,
        entry_nvec=desc.nvec_used,
        entry_irq=names["Irq"][desc.irq] if desc.irq else None,
        entry_linked=len(linked),
        masked=desc.masked,
        device_masked=mask,
        cached_vector=cached.vector,
        cached_cpu=cached.cpu,
        cached_shutdown=cached.shutdown,
        device_vector=held.vector,
        device_cpu=held.cpu,
        device_shutdown=held.shutdown,
    )


def _registers(dev: PciDev, desc: MsiDesc) -> tuple[MsiMsg, int]:
    """The message and the mask bits that the device holds for a descriptor."""
    if not desc.msi_attrib.is_msix:
        return (dev.msi_cap.message, dev.msi_cap.mask_bits) if dev.msi_cap else (MsiMsg(), 0)
    if dev.msix_cap is None or desc.msi_attrib.is_virtual:
        return MsiMsg(), 0
    entry = desc.msi_attrib.entry_nr
    low, high, data, control = (dev.msix_cap.readl(entry, offset) for offset in range(0, 16, 4))
    return MsiMsg(low, high, data), control


def msi_rigid(machine: Machine, names: Names) -> dict[str, dict[tuple[int, ...], Any]]:
    """What MSI domains and numbers are, on a machine that has made all its domains."""
    infos = {
        names["Domain"][domain.id]: (domain, info)
        for domain in machine.domains.irq_domain_list
        if (info := _info(domain)) is not None
    }

    def flagged(flag: int) -> dict[tuple[int, ...], bool]:
        return {(d,): bool(info.flags & flag) for d, (_, info) in infos.items()}

    def of_bus(token: DomainBus) -> dict[tuple[int, ...], bool]:
        return {(d,): domain.bus_token == token for d, (domain, _) in infos.items()}

    return {
        "is_msi_domain": {(d,): True for d in infos},
        "pci_token": of_bus(DomainBus.PCI_MSI),
        "vmd_token": of_bus(DomainBus.VMD_MSI),
        "must_reactivate": flagged(MSI_FLAG_MUST_REACTIVATE),
        "activate_early": flagged(MSI_FLAG_ACTIVATE_EARLY),
        "multi_pci_msi": flagged(MSI_FLAG_MULTI_PCI_MSI),
        "has_nomask_quirk": {
            (d,): bool(domain.flags & IRQ_DOMAIN_MSI_NOMASK_QUIRK)
            for d, (domain, _) in infos.items()
        },
        "has_msi_free": {
            (d,): info.ops is not None and info.ops.msi_free is not None
            for d, (_, info) in infos.items()
        },
        "pci_msi_ignore_mask": {(): machine.kernel.pci_msi_ignore_mask},
        "irq_number": {(irq,): number for number, irq in names["Irq"].items()},
        "hwirq_number": {(hwirq,): number for number, hwirq in names["Hwirq"].items()},
    }


def msi_binding(apic: ApicMode) -> Binding:
    """The binding on a machine with this kind of destinations."""
    return Binding(
        "msi",
        _abstraction,
        partial(above_vectors, own=_readings(apic)),
        elements={
            "irq": "Irq",
            "domain": "Domain",
            "hwirq": "Hwirq",
            "device": "Device",
            "desc": "Desc",
        },
        spec_only=("life", "initialised", "stored", "msix_bit", "registers_lost", "stale"),
    )
