# SPDX-License-Identifier: GPL-2.0-only
"""MSI-12, and what would break it."""

from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.msi import MsiDomainOps, msi_default_alloc_irqs, msi_default_free_irqs
from proofs.override import apart


def test_msi_12_override_operations_that_call_the_defaults_change_nothing() -> None:
    operations, program = apart(1)
    assert program == ()
    assert operations > 20


def _other_error(domain: IrqDomain, dev: Device, nvec: int) -> int:
    return -5 if msi_default_alloc_irqs(domain, dev, nvec) else 0


def _forgetful(domain: IrqDomain, dev: Device) -> None:
    dev.msi_list[0].irq = 0
    msi_default_free_irqs(domain, dev)


def _answer_otherwise(ops: MsiDomainOps) -> None:
    ops.domain_alloc_irqs = _other_error


def _free_too_little(ops: MsiDomainOps) -> None:
    ops.domain_free_irqs = _forgetful


def test_msi_12_an_override_with_another_error_is_noticed() -> None:
    _, program = apart(0, _answer_otherwise)
    assert program[-1].name.startswith("alloc_")


def test_msi_12_an_override_that_keeps_interrupts_is_noticed() -> None:
    _, program = apart(0, _free_too_little)
    assert program
