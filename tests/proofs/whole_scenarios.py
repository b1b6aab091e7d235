# SPDX-License-Identifier: GPL-2.0-only
"""Runs of whole machines that several tests start from."""

from __future__ import annotations

from collections.abc import Iterable

from proofs.driven import Operation
from proofs.whole_machine import WholeMachine
from proofs.whole_run import WholeRun


def done(name: str, **params: int) -> Operation:
    return Operation(name, tuple(params.items()))


def ran(kind: WholeMachine, operations: Iterable[Operation]) -> WholeRun:
    run = WholeRun(kind)
    for operation in operations:
        assert run.allows(operation), operation
        run.perform(operation)
        run.judge()
    return run


NIC, DISK, SOUND = 0, 1, 2
SCENARIO = (
    done("alloc_msix", device=NIC, min=1, max=3),
    done("alloc_msi", device=DISK, min=1, max=1),
    done("alloc_spread", device=SOUND, min=1, max=1),
    done("register_gsi", gsi=3, trigger=1, polarity=1),
    done("hpet_assign_irq", hpet=0, channel=1),
    done("dmar_alloc_hwirq", unit=1),
    done("request_irq", irq=4),
    done("request_irq", irq=7),
    done("request_irq", irq=3),
    done("request_irq", irq=9),
    done("set_affinity", irq=9, mask=4),
    done("fire", irq=9),
    done("set_affinity", irq=7, mask=6),
    done("suspend", device=NIC),
    done("resume", device=NIC),
    done("cpu_down", cpu=2),
    done("cpu_up", cpu=2),
)
HUB_SCENARIO = (
    done("alloc_msix", device=0, min=2, max=2),
    done("uv_setup_irq", blade=0, cpu=1, limit=0),
    done("request_irq", irq=3),
    done("set_affinity", irq=3, mask=4),
    done("fire", irq=3),
)
