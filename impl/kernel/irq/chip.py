# SPDX-License-Identifier: GPL-2.0-only
"""Starting, stopping and masking; the chips of a hierarchy (kernel/irq/chip.c, v5.10).

The flow handlers are in handle.py.

A device of the vector domain alone has no chip that masks; IRQD_IRQ_MASKED is kept all the same, as
if it had.

irq_chip_*_parent hand an operation to the level inside.  A missing operation there is a NULL
pointer to the kernel, and a BUG here, unless the function says otherwise.
"""

import errno
from collections.abc import Callable
from typing import Any

from impl.defects import Defect
from impl.kernel.irq.irq import (
    IRQD_ACTIVATED,
    IRQD_AFFINITY_MANAGED,
    IRQD_IRQ_DISABLED,
    IRQD_IRQ_MASKED,
    IRQD_IRQ_STARTED,
    IRQD_MANAGED_SHUTDOWN,
    IrqChip,
    IrqData,
    IrqDesc,
    MsiMsg,
    irq_data_get_irq_chip,
    no_irq_chip,
)
from impl.kernel.irq.irqdomain_activate import irq_domain_activate_irq, irq_domain_deactivate_irq
from impl.kernel.irq.manage import irq_do_set_affinity, irq_setup_affinity
from impl.kernel.kernel import KernelBug

__all__ = [
    "irq_activate",
    "irq_chip_ack_parent",
    "irq_chip_compose_msi_msg",
    "irq_chip_eoi_parent",
    "irq_chip_mask_parent",
    "irq_chip_retrigger_hierarchy",
    "irq_chip_set_affinity_parent",
    "irq_chip_set_type_parent",
    "irq_chip_set_vcpu_affinity_parent",
    "irq_chip_unmask_parent",
    "irq_chip_write_msi_msg",
    "irq_disable",
    "irq_set_chip_and_handler",
    "irq_set_handler",
    "irq_shutdown",
    "irq_shutdown_and_deactivate",
    "irq_startup",
    "irqd_set_managed_shutdown",
    "mask_ack_irq",
    "mask_irq",
    "unmask_irq",
]


def irqd_set_managed_shutdown(desc: IrqDesc) -> None:
    """Note that a managed interrupt waits for a CPU of its mask to come online."""
    _set_managed_shutdown(desc, True)


def irq_activate(desc: IrqDesc) -> int:
    """Take the resources of an interrupt before its start; managed ones take theirs there."""
    if desc.irq_data.test(IRQD_AFFINITY_MANAGED):
        return 0
    return irq_domain_activate_irq(desc.irq_data, False)


def irq_startup(desc: IrqDesc, force: bool) -> int:
    """Start (or just enable) an interrupt; always 0 here, as no chip of this stack can fail.

    A managed interrupt without an online CPU in its mask stays shut down until one appears;
    `force` says that the caller does not expect that.
    """
    desc.depth = 0
    irqd = desc.irq_data
    if irqd.test(IRQD_IRQ_STARTED):
        _irq_enable(desc)
    elif not irqd.test(IRQD_AFFINITY_MANAGED):
        _irq_startup(desc)
        irq_setup_affinity(desc)
    elif _irq_startup_managed(desc, force):
        irq_do_set_affinity(irqd, desc.common.affinity, False)
        _irq_startup(desc)
    else:
        irqd_set_managed_shutdown(desc)
    return 0


def irq_disable(desc: IrqDesc) -> None:
    """Stop handling an interrupt, lazily: unless its chip disables, it is masked when it fires."""
    irqd = desc.irq_data
    if irqd.test(IRQD_IRQ_DISABLED):
        return
    irqd.set(IRQD_IRQ_DISABLED)
    chip = irq_data_get_irq_chip(irqd)
    if chip.irq_disable is not None:
        chip.irq_disable(irqd)
        irqd.set(IRQD_IRQ_MASKED)


def irq_shutdown(desc: IrqDesc) -> None:
    """Mask and stop a started interrupt; it keeps its resources."""
    irqd = desc.irq_data
    if not irqd.test(IRQD_IRQ_STARTED):
        return
    desc.depth = 1
    chip = irq_data_get_irq_chip(irqd)
    if chip.irq_shutdown is not None:
        chip.irq_shutdown(irqd)
        irqd.set(IRQD_IRQ_DISABLED | IRQD_IRQ_MASKED)
    else:
        irq_disable(desc)
        mask_irq(desc)
    irqd.clear(IRQD_IRQ_STARTED)
    desc.trace("irq_shutdown")


def irq_shutdown_and_deactivate(desc: IrqDesc) -> None:
    """Stop an interrupt and give its resources back, also if it was never started."""
    irq_shutdown(desc)
    irq_domain_deactivate_irq(desc.irq_data)


def mask_irq(desc: IrqDesc) -> None:
    """Mask the device unless it is masked."""
    irqd = desc.irq_data
    if irqd.test(IRQD_IRQ_MASKED):
        return
    chip = irq_data_get_irq_chip(irqd)
    if chip.irq_mask is not None:
        chip.irq_mask(irqd)
    irqd.set(IRQD_IRQ_MASKED)


def unmask_irq(desc: IrqDesc) -> None:
    """Unmask the device unless it is unmasked."""
    irqd = desc.irq_data
    if not irqd.test(IRQD_IRQ_MASKED):
        return
    chip = irq_data_get_irq_chip(irqd)
    if chip.irq_unmask is not None:
        chip.irq_unmask(irqd)
    irqd.clear(IRQD_IRQ_MASKED)


def mask_ack_irq(desc: IrqDesc) -> None:
    """Mask the device and acknowledge."""
    mask_irq(desc)
    chip = irq_data_get_irq_chip(desc.irq_data)
    if chip.irq_ack is not None:
        chip.irq_ack(desc.irq_data)


def irq_set_handler(desc: IrqDesc, name: str | None) -> None:
    """Install the flow handler `name`, or handle_bad_irq for None (__irq_do_set_handler).

    An interrupt whose levels have no chip yet cannot have one: a warning, and nothing happens.
    Taking the handler away disables the interrupt, masked and acknowledged at its chip.
    """
    if name is None:
        if desc.irq_data.chip is not no_irq_chip:
            mask_ack_irq(desc)
        desc.irq_data.set(IRQD_IRQ_DISABLED)
        desc.depth = 1
    elif not _has_chip(desc.irq_data):
        desc.kernel.warn()
        return
    desc.handler_name = name


def irq_set_chip_and_handler(desc: IrqDesc, chip: IrqChip | None, name: str | None) -> None:
    """Set the outermost chip (None: no_irq_chip) and the flow handler."""
    desc.irq_data.chip = chip if chip is not None else no_irq_chip
    irq_set_handler(desc, name)


def irq_chip_ack_parent(irqd: IrqData) -> None:
    """Acknowledge at the parent."""
    parent, chip = _parent(irqd)
    _call(chip.irq_ack, chip, "irq_ack", parent)


def irq_chip_mask_parent(irqd: IrqData) -> None:
    """Mask at the parent."""
    parent, chip = _parent(irqd)
    _call(chip.irq_mask, chip, "irq_mask", parent)


def irq_chip_unmask_parent(irqd: IrqData) -> None:
    """Unmask at the parent."""
    parent, chip = _parent(irqd)
    _call(chip.irq_unmask, chip, "irq_unmask", parent)


def irq_chip_eoi_parent(irqd: IrqData) -> None:
    """End the interrupt at the parent."""
    parent, chip = _parent(irqd)
    _call(chip.irq_eoi, chip, "irq_eoi", parent)


def irq_chip_set_affinity_parent(irqd: IrqData, dest: int, force: bool) -> int:
    """The parent's irq_set_affinity, -ENOSYS if it has none."""
    parent, chip = _parent(irqd)
    if chip.irq_set_affinity is None:
        return -errno.ENOSYS
    return chip.irq_set_affinity(parent, dest, force)


def irq_chip_set_type_parent(irqd: IrqData, type: int) -> int:
    """The parent's irq_set_type, -ENOSYS if it has none."""
    parent, chip = _parent(irqd)
    if chip.irq_set_type is None:
        return -errno.ENOSYS
    return chip.irq_set_type(parent, type)


def irq_chip_set_vcpu_affinity_parent(irqd: IrqData, vcpu_info: Any) -> int:
    """The parent's irq_set_vcpu_affinity, -ENOSYS if it has none."""
    parent, chip = _parent(irqd)
    if chip.irq_set_vcpu_affinity is None:
        return -errno.ENOSYS
    return chip.irq_set_vcpu_affinity(parent, vcpu_info)


def irq_chip_retrigger_hierarchy(irqd: IrqData) -> int:
    """Raise the interrupt again at the nearest ancestor that can; 0 if no one can."""
    level = irqd.parent_data
    while level is not None:
        if level.chip is not None and level.chip.irq_retrigger is not None:
            return level.chip.irq_retrigger(level)
        level = level.parent_data
    return 0


def irq_chip_compose_msi_msg(irqd: IrqData) -> tuple[int, MsiMsg]:
    """0 and the message by the first chip, from this level inwards, that composes (DOM-13).

    -ENOSYS and an empty message if no chip does.  Under N5 the last chip composes.
    """
    pos: IrqData | None = None
    compose: Callable[[IrqData], MsiMsg] | None = None
    last_wins = Defect.N5 in irqd.desc.kernel.defects
    level: IrqData | None = irqd
    while level is not None and (compose is None or last_wins):
        if level.chip is not None and level.chip.irq_compose_msi_msg is not None:
            pos, compose = level, level.chip.irq_compose_msi_msg
        level = level.parent_data
    if pos is None or compose is None:
        return -errno.ENOSYS, MsiMsg()
    return 0, compose(pos)


def irq_chip_write_msi_msg(irqd: IrqData, msg: MsiMsg) -> None:
    """Let the level's chip write `msg` to the device."""
    chip = irq_data_get_irq_chip(irqd)
    if chip.irq_write_msi_msg is None:
        raise KernelBug(f"chip {chip.name} has no irq_write_msi_msg")
    chip.irq_write_msi_msg(irqd, msg)


def _has_chip(irqd: IrqData | None) -> bool:
    while irqd is not None:
        if irqd.chip is not no_irq_chip:
            return True
        irqd = irqd.parent_data
    return False


def _irq_enable(desc: IrqDesc) -> None:
    irqd = desc.irq_data
    chip = irq_data_get_irq_chip(irqd)
    disabled = irqd.test(IRQD_IRQ_DISABLED)
    irqd.clear(IRQD_IRQ_DISABLED)
    if disabled and chip.irq_enable is not None:
        chip.irq_enable(irqd)
        irqd.clear(IRQD_IRQ_MASKED)
    else:
        unmask_irq(desc)


def _irq_startup(desc: IrqDesc) -> None:
    irqd = desc.irq_data
    if not irqd.test(IRQD_ACTIVATED):
        desc.kernel.warn()
    chip = irq_data_get_irq_chip(irqd)
    if chip.irq_startup is not None:
        chip.irq_startup(irqd)
        irqd.clear(IRQD_IRQ_DISABLED | IRQD_IRQ_MASKED)
    else:
        _irq_enable(desc)
    irqd.set(IRQD_IRQ_STARTED)
    desc.trace("irq_startup")


def _irq_startup_managed(desc: IrqDesc, force: bool) -> bool:
    """Whether a managed interrupt may start; it then owns its vector.

    The kernel clears MANAGED_SHUTDOWN first and its caller sets it again where this fails; nobody
    can look in between, so without a CPU it is left alone.
    """
    if not desc.common.affinity & desc.kernel.cpu_online_mask:
        if force:
            desc.kernel.warn()
        return False
    _set_managed_shutdown(desc, False)
    if irq_domain_activate_irq(desc.irq_data, False):
        desc.kernel.warn()
        return False
    return True


def _set_managed_shutdown(desc: IrqDesc, value: bool) -> None:
    irqd = desc.irq_data
    if irqd.test(IRQD_MANAGED_SHUTDOWN) == value:
        return
    irqd.common.state ^= IRQD_MANAGED_SHUTDOWN
    desc.trace("managed_shutdown", value=int(value))


def _parent(irqd: IrqData) -> tuple[IrqData, IrqChip]:
    parent = irqd.parent_data
    if parent is None:
        raise KernelBug(f"irq {irqd.irq} has no level inside of {irq_data_get_irq_chip(irqd).name}")
    return parent, irq_data_get_irq_chip(parent)


def _call(op: Callable[[IrqData], None] | None, chip: IrqChip, name: str, irqd: IrqData) -> None:
    if op is None:
        raise KernelBug(f"chip {chip.name} has no {name}")
    op(irqd)
