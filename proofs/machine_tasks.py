# SPDX-License-Identifier: GPL-2.0-only
"""What a check does with whole machines."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

from impl.defects import Defect
from proofs.machine_table import programs_of
from proofs.platform_laws import PLATFORM_LAWS, concerns
from proofs.platform_steps import STEP_SENTENCES
from proofs.result import LAWS, Result, Task
from spec.stack import MODELS

__all__ = ["LAYERS", "SENTENCES", "subjects", "task_name", "tasks"]

LAYERS: Final = ("vectors", "hierarchy", "msi", "ioapic", "uv", "routing")
"""The layers that are followed on a whole machine, the innermost first."""

SENTENCES: Final = {
    "GEN-5": "A number is marked as taken exactly if an irq has it.",
    "DOM-2": "All levels of an irq share its number and its common data.",
    "MSI-1": "A domain has every operation that an allocation calls.",
    "MSI-10": "Of an allocation by the MSI core a driver sees no error of the domains below.",
    "PCI-5": "Each repeated attempt asks for fewer vectors, so that there are few.",
    "INIT-1": "A platform's own PCI/MSI domain is the one that is created.",
    "INIT-2": "No PCI device is added before the default PCI/MSI domain is final.",
    "X-1": "Vectors are available, held back for managed irqs, or owned, and none is lost.",
    "X-2": "A reserved irq is activated exactly if a CPU has a vector left.",
    "X-3": "No two started irqs send the same message.",
    "X-4": "An operation that fails leaves everything as it was.",
    "X-6": "A message is composed at one level of an irq, the outermost that can.",
    "APIC-3": "Behind remapping the remapping chip composes the message.",
    "MSI-2": "The hwirq that get_hwirq answers is the one that msi_init stores.",
    "PCI-4": "Entries of different devices have different hwirqs.",
    "PCI-fallbacks": "The arch fallbacks serve a device without a domain where they are selected.",
    "UV-3": "The register of a UV irq that is not activated is masked.",
    "GEN-freed": "An irq that is freed is not activated.",
    "VEC-affinity": "A vector is taken outside of the affinity only if no CPU of it has one left.",
    **STEP_SENTENCES,
    **{id: law.sentence for id, law in PLATFORM_LAWS.items()},
}
"""What each law says, by its id."""

_STEPS: Final = 1_000
"""Operations that the random programs of a check do on each machine."""


def task_name(machine: str) -> str:
    """What the task of a whole machine is called, and what it does."""
    return f"stateful {machine}"


@functools.cache
def subjects(machine: str) -> tuple[str, ...]:
    """The ids that random programs on a machine of this name answer for: every invariant of a layer
    that follows it, every law that says anything of it."""
    from proofs.whole_stateful import WHOLE

    kind = WHOLE[machine]
    invariants = (
        invariant.id
        for layer in kind.layers
        for invariant in MODELS[layer].build().invariants
        if not invariant.ghost
    )
    laws = (id for id in SENTENCES if concerns(kind.description, id))
    return tuple(dict.fromkeys((*invariants, *laws, *(LAWS if kind.layers else ("VEC-18",)))))


def tasks(
    number: int, switches: frozenset[str], sources: bytes, names: Sequence[str] = ()
) -> Iterator[Task]:
    """Random programs, the same for the same `number`, on whole machines with those of the switches
    that are defects of the implementation; `sources` is a digest of what their answer rests on.
    The machines are those of these names, or all of them: a task for each."""
    chosen = switches & {defect.value for defect in Defect}
    for name in names or programs_of(()):
        digest = sha256(repr((task_name(name), number, sorted(chosen))).encode() + sources)
        yield Task(
            name=task_name(name),
            group="stateful",
            weight=10.0,
            key=digest.hexdigest(),
            run=functools.partial(_stateful, number, chosen, name),
            subjects=subjects(name),
        )


def _stateful(number: int, switches: frozenset[str], name: str) -> tuple[Result, ...]:
    from proofs import whole_stateful

    return whole_stateful.run(number, _STEPS, switches, name)
