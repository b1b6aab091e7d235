# SPDX-License-Identifier: GPL-2.0-only
"""MSI-12: operations that override the MSI core's and call its defaults change nothing.

Two machines, of which one has such operations in its PCI/MSI domain, do the same random programs.
After each operation both have answered the same and are in the same state.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Final

from impl.arch.x86.msi import native_create_pci_msi_domain
from impl.arch.x86.x86_init import X86Init, X86Platform
from impl.kernel.device import Device
from impl.kernel.irq.irq import IrqDomain
from impl.kernel.irq.msi import (
    MsiDomainInfo,
    MsiDomainOps,
    msi_default_alloc_irqs,
    msi_default_free_irqs,
)
from proofs.driven import Operation
from proofs.monitor import Broken, HazardEntered
from proofs.result import Result, Task
from proofs.verdict import Verdict
from proofs.whole_machine import MACHINES
from proofs.whole_run import WholeRun

__all__ = ["SENTENCES", "apart", "neutral", "override_task", "overriding"]

SENTENCES: Final = {
    "MSI-12": "Operations that override the MSI core's and call its defaults change nothing."
}

_PROGRAMS: Final = 12
_STEPS: Final = 60

Override = Callable[[MsiDomainOps], None]


def _alloc(domain: IrqDomain, dev: Device, nvec: int) -> int:
    return msi_default_alloc_irqs(domain, dev, nvec)


def _free(domain: IrqDomain, dev: Device) -> None:
    msi_default_free_irqs(domain, dev)


def neutral(ops: MsiDomainOps) -> None:
    """Override both operations by ones that call the defaults."""
    ops.domain_alloc_irqs, ops.domain_free_irqs = _alloc, _free


def overriding(override: Override) -> X86Init:
    """A platform that overrides operations of the native PCI/MSI domain."""
    return X86Init(create_pci_msi_domain=partial(_create, override))


def _create(override: Override, x86: X86Platform) -> IrqDomain | None:
    domain = native_create_pci_msi_domain(x86)
    if domain is not None:
        info: MsiDomainInfo = domain.host_data
        if info.ops is not None:
            override(info.ops)
    return domain


def apart(seed: int, override: Override = neutral) -> tuple[int, tuple[Operation, ...]]:
    """How many operations both machines did alike, and the program at whose end they are apart, or
    one of them has left the specification; an empty one if that never happens."""
    kind = MACHINES[0]
    plain = WholeRun(kind)
    other = WholeRun(replace(kind, hooks=partial(overriding, override)))
    starts = plain.save(), other.save()
    draw, count = random.Random(seed), 0
    for _ in range(_PROGRAMS):
        plain.restore(starts[0])
        other.restore(starts[1])
        program: list[Operation] = []
        for _ in range(_STEPS):
            operation = draw.choice(plain.able())
            program.append(operation)
            try:
                answers = plain.perform(operation), other.perform(operation)
            except HazardEntered:
                break
            except Broken:
                return count, tuple(program)
            if answers[0] != answers[1] or plain.key() != other.key():
                return count, tuple(program)
            count += 1
    return count, ()


def _run(seed: int) -> tuple[Result, ...]:
    began = time.monotonic()
    count, program = apart(seed)
    told = f"apart after {', '.join(map(str, program))}" if program else ""
    verdict = Verdict.REFUTED if program else Verdict.HELD
    bound = f"{count:,} operations beside a machine without overrides"
    seconds = time.monotonic() - began
    return (Result("MSI-12", "overrides", "stateful", verdict, seconds, "", bound, detail=told),)


def override_task(seed: int, sources: bytes) -> Task:
    """The task of a check; `sources` is a digest of all that its answer rests on."""
    key = sha256(repr(("overrides", seed)).encode() + sources).hexdigest()
    return Task("overrides", "stateful", 2.0, key, partial(_run, seed), ("MSI-12",))
