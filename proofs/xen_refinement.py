# SPDX-License-Identifier: GPL-2.0-only
"""XB-9: a Xen guest is served through its domain as it was by the architecture's functions before
the series: the same requests in the same order, the same irqs, the same results.

It is shown twice. Of the specification, for every size and for any answers: the layer is built as
it is and as before the series, and every step of a setup, a teardown or a restore is possible in
the one where it is in the other, and does the same. That is a simulation in both directions, and
so the two have the same traces. The relation between the two states is equality of everything but
the domains of devices: where the one has Xen's, the other has none (XB-3).

And of the implementation, for every answer to the first requests of some programs: see
`proofs.xen_twins`.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from impl.arch.x86.xen import XenKind
from proofs.induction import Context, Obligation, discharge
from proofs.result import Result, Task
from proofs.verdict import Verdict
from proofs.xen_twins import PROGRAMS, compare
from spec.msi import DEVICE
from spec.records import Action, Invariant, Model, index_variables, value_after
from spec.sorts import DOMAIN
from spec.stack import MODELS
from spec.terms import (
    BOOL,
    Option,
    Term,
    and_,
    eq,
    forall,
    implies,
    ite,
    none,
    quantified,
    read,
    transform,
)
from spec.xen import BEFORE

__all__ = ["SENTENCES", "SUBJECT", "obligations", "simulation", "tasks"]

SUBJECT: Final = "XB-9"
SENTENCES: Final[Mapping[str, str]] = {
    SUBJECT: "What a Xen guest asks for and gets is what it asked for and got before the series."
}

_ELSEWHERE: Final = frozenset(
    {
        *("xen_setup_pci_msi", "create_pci_msi_domain", "pci_device_add", "pci_device_remove"),
        *("set_device_msi_domain", "msi_mask_write", "msi_mask_ignored", "create_subdevice_domain"),
        *("xen_msi_domain_alloc_irqs", "xen_msi_domain_free_irqs"),
    }
)
"""What the series was to change: boot, and the choice of domains. What has to do with neither setup
nor teardown. And what happens to devices that are not on PCI, whom nobody served before."""

_LENGTH: Final = 6
"""How many requests of a program may have any answer."""

_ASSUMED: Final = (
    "every device has a domain (XB-3)",
    "the list of descriptors is not empty",
    "the initial domain has no PCI frontend",
)


def obligations() -> Iterator[Obligation]:
    """One for each step: that it is the same step in both."""
    now, before = MODELS["xen"].build(), MODELS["xen"].build(frozenset({BEFORE}))
    context = Context.of(now)
    for name, action in now.actions.items():
        if name in _ELSEWHERE:
            continue
        goal = _same_step(now, action, before.actions[name])
        claim = Invariant(SUBJECT, SENTENCES[SUBJECT], goal)
        check = f"refinement xen before {name}"
        facts = (*context.axioms, _all_known())
        yield Obligation(context, claim, check, goal, None, now.invariants, facts)


def _all_known() -> Term:
    def known(v: Term) -> Term:
        return ~eq(read("msi_domain", (v,), Option(DOMAIN)), none(DOMAIN))

    return forall(DEVICE, known)


def _same_step(model: Model, now: Action, before: Action) -> Term:
    """The guards are equivalent, and where they hold every field is the same afterwards."""
    possible, earlier = now.enabled, _related(before.enabled)
    parts = [implies(possible, earlier), implies(earlier, possible)]
    for name, f in model.fields.items():
        at = index_variables(f)
        one = value_after(f, at, now.writes.get(name, ()), frozenset())
        other = _related(value_after(f, at, before.writes.get(name, ()), frozenset()))
        if one is not other and name != "msi_domain":
            parts.append(implies(possible, quantified("forall", at, eq(one, other))))
    return and_(*parts)


def _related(term: Term) -> Term:
    """A formula over the state before the series, over the related state of today."""

    def leaf(node: Term, args: tuple[Any, ...]) -> Term | None:
        if node.op != "read" or args[0] != "msi_domain":
            return None
        domain = read("msi_domain", args[1:], node.type)
        return ite(read("xen_domain", (domain,), BOOL), none(DOMAIN), domain)

    return transform(term, leaf)


def tasks(code: bytes = b"") -> tuple[Task, ...]:
    """The simulation, and the comparison of the implementation for each kind of guest. The answers
    rest on code with this digest; without one they are not kept."""
    twins = tuple(
        Task(
            name=f"refinement xen {kind.value}",
            group="refinement",
            weight=4.0,
            key=_key(code, kind.value),
            run=functools.partial(_twins, kind),
            subjects=(SUBJECT,),
        )
        for kind in XenKind
        if kind.bypass
    )
    name = "refinement xen before"
    return (Task(name, "refinement", 2.0, _key(code, name), simulation, (SUBJECT,)), *twins)


def simulation() -> tuple[Result, ...]:
    """The simulation: a result for each step."""
    results = map(discharge, obligations())
    return tuple(replace(result, assumed=(*result.assumed, *_ASSUMED)) for result in results)


def _twins(kind: XenKind) -> tuple[Result, ...]:
    start = time.perf_counter()
    number, difference = compare(kind, _LENGTH)
    return (
        Result(
            subject=SUBJECT,
            check=f"refinement xen {kind.value}",
            method="refinement",
            verdict=Verdict.REFUTED if difference else Verdict.HELD,
            seconds=time.perf_counter() - start,
            solver="",
            bound=f"{number:,} histories: {len(PROGRAMS)} programs, and all answers to the first "
            f"{_LENGTH} requests",
            assumed=_ASSUMED,
            detail=f"the twins differ: {difference}" if difference else "",
        ),
    )


def _key(code: bytes, name: str) -> str:
    return hashlib.sha256(repr((name, code, _LENGTH)).encode()).hexdigest() if code else ""
