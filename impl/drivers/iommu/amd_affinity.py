# SPDX-License-Identifier: GPL-2.0-only
"""The chip "AMD-IR": moves, and interrupts of virtual CPUs (drivers/iommu/amd/iommu.c, v5.10).

A guest may get an interrupt straight into its virtual CPU (guest mode).  Its table entry then says
which CPU that is on, and whether it runs; the host's target is kept for the way back.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from impl.arch.x86.vector import HwIrqCfg, vector_level
from impl.arch.x86.vector_move import apic_ack_irq, send_cleanup_vector
from impl.drivers.iommu.amd import AmdIommus, AmdIrData
from impl.drivers.iommu.amd_irte import AmdGuestIr, AmdIrte
from impl.drivers.iommu.amd_table import modify_irte, read_irte
from impl.kernel.irq.chip import irq_chip_set_affinity_parent
from impl.kernel.irq.irq import IRQ_SET_MASK_OK_DONE, IrqChip, IrqData, MsiMsg

__all__ = [
    "AmdIommuPiData",
    "amd_iommu_activate_guest_mode",
    "amd_iommu_deactivate_guest_mode",
    "amd_iommu_register_ga_log_notifier",
    "amd_iommu_update_ga",
    "amd_ir_chip",
    "amd_ir_data",
    "amd_ir_set_affinity",
    "amd_ir_set_vcpu_affinity",
    "amd_ir_update_irte",
    "iommu_poll_ga_log",
]


@dataclass(slots=True)
class AmdIommuPiData:
    """How a hypervisor wants an interrupt delivered (struct amd_iommu_pi_data).

    `base` is the address of the virtual CPU's page, a multiple of 4096, `vector` the guest's,
    `ga_tag` what the hypervisor knows the virtual CPU by.  The answer: `ir_data` is a handle for
    amd_iommu_update_ga, `prev_ga_tag` the tag so far, and `is_guest_mode` is cleared if the
    hardware cannot do it.
    """

    is_guest_mode: bool
    base: int = 0
    vector: int = 0
    ga_tag: int = 0
    prev_ga_tag: int = 0
    ir_data: AmdIrData | None = None


def amd_ir_data(irqd: IrqData) -> AmdIrData:
    """The data of a remapping level."""
    data: AmdIrData = irqd.chip_data
    return data


def amd_ir_chip(amd: AmdIommus) -> IrqChip:
    """The chip of the remapping level."""
    return IrqChip(
        "AMD-IR",
        irq_ack=partial(apic_ack_irq, amd.x86.vectors),
        irq_set_affinity=partial(amd_ir_set_affinity, amd),
        irq_set_vcpu_affinity=partial(amd_ir_set_vcpu_affinity, amd),
        irq_compose_msi_msg=_ir_compose_msi_msg,
    )


def amd_ir_set_affinity(amd: AmdIommus, irqd: IrqData, mask: int, force: bool) -> int:
    """Move at the parent and rewrite the table entry, by which the move is complete.

    IRQ_SET_MASK_OK_DONE: nothing is left to do outside.  -ENODEV without a unit, else what the
    parent returned.
    """
    data = amd_ir_data(irqd)
    if amd.rlookup(data.irq_2_irte.devid) is None:
        return -errno.ENODEV
    ret = irq_chip_set_affinity_parent(irqd, mask, force)
    if ret < 0 or ret == IRQ_SET_MASK_OK_DONE:
        return ret
    amd_ir_update_irte(amd, data, vector_level(irqd).hw_irq_cfg)
    send_cleanup_vector(amd.x86.vectors, irqd)
    return IRQ_SET_MASK_OK_DONE


def amd_ir_update_irte(amd: AmdIommus, data: AmdIrData, cfg: HwIrqCfg) -> None:
    """Aim the table entry at `cfg`, unless it is a guest's."""
    if data.entry.guest_mode:
        return
    data.entry = replace(data.entry, vector=cfg.vector, destination=amd.irte_destination(cfg))
    modify_irte(amd, data.irq_2_irte.devid, data.irq_2_irte.index, data.entry)


def amd_ir_set_vcpu_affinity(amd: AmdIommus, irqd: IrqData, pi_data: AmdIommuPiData) -> int:
    """Hand the interrupt to a virtual CPU, or take it back.

    0, also if no guest owns the device, when nothing happens.  -EINVAL without a unit, -ENOMEM
    without a table.
    """
    data = amd_ir_data(irqd)
    devid = data.irq_2_irte.devid
    dev_data = amd.dev_data.get(devid)
    if dev_data is None or not dev_data.use_vapic:
        return 0
    data.cfg = vector_level(irqd).hw_irq_cfg
    pi_data.ir_data = data
    if amd.guest_ir is not AmdGuestIr.VAPIC:
        pi_data.is_guest_mode = False
    if amd.rlookup(devid) is None:
        return -errno.EINVAL
    pi_data.prev_ga_tag = data.cached_ga_tag
    if pi_data.is_guest_mode:
        data.ga_root_ptr = pi_data.base >> 12
        data.ga_vector = pi_data.vector
        data.ga_tag = pi_data.ga_tag
        ret, tag = amd_iommu_activate_guest_mode(amd, data), pi_data.ga_tag
    else:
        ret, tag = amd_iommu_deactivate_guest_mode(amd, data), 0
    if ret == 0:
        data.cached_ga_tag = tag
    guest = int(pi_data.is_guest_mode)
    amd.trace("amd_ir_set_vcpu_affinity", irq=irqd.irq, guest_mode=guest, ret=ret)
    return ret


def amd_iommu_activate_guest_mode(amd: AmdIommus, data: AmdIrData) -> int:
    """Rewrite the entry for the virtual CPU that `data` names; whether it is valid stays.

    0, also where the hardware has no guest mode, or an error of modify_irte.
    """
    if amd.guest_ir is not AmdGuestIr.VAPIC:
        return 0
    data.entry = AmdIrte(
        valid=data.entry.valid,
        guest_mode=1,
        ga_log_intr=1,
        vector=data.ga_vector,
        ga_tag=data.ga_tag,
        ga_root_ptr=data.ga_root_ptr,
    )
    return modify_irte(amd, data.irq_2_irte.devid, data.irq_2_irte.index, data.entry, data)


def amd_iommu_deactivate_guest_mode(amd: AmdIommus, data: AmdIrData) -> int:
    """Rewrite the entry for the host's target; whether it is valid stays.

    0, also if it is no guest's, or an error of modify_irte.
    """
    cfg = data.cfg
    if amd.guest_ir is not AmdGuestIr.VAPIC or not data.entry.guest_mode or cfg is None:
        return 0
    data.entry = AmdIrte(
        valid=data.entry.valid,
        dm=int(amd.x86.vectors.apic.logical),
        destination=cfg.dest_apicid,
        vector=cfg.vector,
    )
    return modify_irte(amd, data.irq_2_irte.devid, data.irq_2_irte.index, data.entry, data)


def amd_iommu_update_ga(amd: AmdIommus, data: AmdIrData, apicid: int, is_run: bool) -> int:
    """Tell the hardware where a virtual CPU runs (`apicid`, negative: as before), or that it does
    not; always 0.

    Only the table is written: the copy does not know, and its next write forgets it.
    """
    table, where = data.ref, data.irq_2_irte
    if amd.guest_ir is not AmdGuestIr.VAPIC or not data.entry.guest_mode or table is None:
        return 0
    entry = read_irte(amd, table, where.index)
    if entry.guest_mode:
        dest = apicid if apicid >= 0 else entry.destination
        entry = replace(entry, destination=dest, is_run=int(is_run))
        table.table[where.index] = amd.format.pack(entry)
        amd.trace(
            "amd_iommu_update_ga",
            devid=where.devid,
            index=where.index,
            is_run=entry.is_run,
            dest=entry.destination,
        )
    return 0


def amd_iommu_register_ga_log_notifier(amd: AmdIommus, notifier: Callable[[int], None]) -> None:
    """Let the hypervisor hear of tags that the hardware logs."""
    amd.ga_log_notifier = notifier


def iommu_poll_ga_log(amd: AmdIommus) -> None:
    """Tell the hypervisor of every virtual CPU that has an interrupt but does not run.

    Without a hypervisor the log is left as it is.
    """
    if amd.ga_log_notifier is None:
        return
    while amd.ga_log:
        ga_tag = amd.ga_log.pop(0)
        amd.trace("iommu_poll_ga_log", ga_tag=ga_tag)
        amd.ga_log_notifier(ga_tag)


def _ir_compose_msi_msg(irqd: IrqData) -> MsiMsg:
    """The message that names the interrupt's table entry; it never changes (AMD-7)."""
    return amd_ir_data(irqd).msi_entry
