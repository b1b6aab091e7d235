# SPDX-License-Identifier: GPL-2.0-only
"""The plan of a check: every task, for the model that the options describe."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from proofs import induction
from proofs.explorer import Exploration, Limit, explore
from proofs.options import BadOptionError, Options
from proofs.result import Result, Task
from proofs.verdict import Verdict
from spec.language import Model
from spec.scope import Scope
from spec.stack import SWITCHES, stack

_DEFAULT_SCOPES = (
    Scope.of(2, 2, 2),
    Scope.of(1, 3, 2, allocatable=frozenset({0, 1}), isa_irq={1: 0, 2: 1}),
)
"""Every state of a small machine, and of one that boots with ISA vectors and a system vector."""

_LARGEST = 64
_PATIENCE = 600.0
"""Seconds after which an exploration gives up, and says so."""


def tasks(options: Options) -> tuple[Task, ...]:
    """Every task of a check. Raises BadOptionError for an unknown switch or an unusable scope."""
    switches = _switches(options)
    model = stack.build(switches)
    return (
        *_inductions(model),
        *_explorations(model, _scopes(options)),
    )


def sentences(options: Options) -> Mapping[str, str]:
    """What each invariant's id means; a theorem's sentence where there is no invariant."""
    model = stack.build(_switches(options))
    known = {t.id: t.sentence for t in model.theorems}
    known |= {i.id: i.sentence for i in model.invariants}
    return {id: known[id] for id in sorted(known, key=_dossier_order)}


def _dossier_order(id: str) -> tuple[int, int, str]:
    """By family, numbered invariants first; those that only support the others come last."""
    family, _, rest = id.partition("-")
    families = ("MX", "VEC", "GEN")
    number = int(rest) if rest.isdigit() else 99
    return (families.index(family) if family in families else len(families), number, rest)


def _switches(options: Options) -> frozenset[str]:
    for switch in options.switches:
        if switch not in SWITCHES:
            known = ", ".join(SWITCHES)
            raise BadOptionError(f"there is no switch {switch!r}; there are {known}")
    return frozenset(options.switches)


def _scopes(options: Options) -> tuple[Scope, ...]:
    if options.scope is None:
        return _DEFAULT_SCOPES
    sizes = (options.scope.cpus, options.scope.vectors, options.scope.irqs)
    if max(sizes) > _LARGEST:
        raise BadOptionError(f"scope {options.scope}: no number may be over {_LARGEST}")
    return (Scope.of(*sizes),)


def _inductions(model: Model) -> Iterator[Task]:
    kept = tuple(i.id for i in model.invariants if not i.follows)
    everywhere = {
        induction.INITIALLY: induction.subjects(model),
        induction.FOLLOWS: tuple(i.id for i in model.invariants if i.follows),
        induction.THEOREMS: tuple(dict.fromkeys(t.id for t in model.theorems)),
    }
    for name in induction.names(model):
        yield Task(
            name=f"induction {name}",
            group="induction",
            weight=_WEIGHTS.get(name, 0.3),
            key=induction.key(model, name),
            run=functools.partial(induction.prove, model.switches, name),
            subjects=everywhere.get(name, kept),
        )


_WEIGHTS = {"vector_update": 3.0, induction.THEOREMS: 2.0, "vector_config_legacy": 1.5}


def _explorations(model: Model, scopes: tuple[Scope, ...]) -> Iterator[Task]:
    ids = tuple(i.id for i in model.invariants if not i.ghost)
    for scope in scopes:
        yield Task(
            name=f"explorer {scope}",
            group="explorer",
            weight=5.0,
            key=_explorer_key(model, scope),
            run=functools.partial(_explore, model.switches, scope),
            subjects=ids,
        )


def _explorer_key(model: Model, scope: Scope) -> str:
    digest = hashlib.sha256(repr((scope, np.__version__)).encode())
    digest.update(repr((model.operations, model.invariants, model.fields)).encode())
    digest.update(sources("spec", "proofs"))
    return digest.hexdigest()


@functools.cache
def sources(*packages: str) -> bytes:
    """A digest of the source of some of our packages: what a result that is no proof rests on."""
    digest = hashlib.sha256()
    for package in packages:
        for file in sorted((Path(__file__).parent.parent / package).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.digest()


def _explore(switches: frozenset[str], scope: Scope) -> tuple[Result, ...]:
    model = stack.build(switches)
    found = explore(model, scope, limit=Limit(seconds=_PATIENCE))
    return tuple(_explored(found, scope, id) for id in found.invariants)


def _explored(found: Exploration, scope: Scope, id: str) -> Result:
    counterexample = found.counterexample
    verdict, detail = found.verdict, ""
    if counterexample is not None and counterexample.violated != id:
        # The search ended at another invariant's fall: of this one it says nothing.
        verdict, counterexample = Verdict.UNDETERMINED, None
        detail = f"the search ended when {found.counterexample.violated} fell"  # type: ignore[union-attr]
    elif verdict is Verdict.UNDETERMINED:
        detail = f"stopped ({found.stopped}) after {found.states:,} states"
    cpus, vectors, irqs = (scope.sizes[s] for s in ("Cpu", "Vector", "Irq"))
    extra = " with ISA" if scope.rigid.get("isa_irq") else ""
    return Result(
        subject=id,
        check=f"explorer {scope}",
        method="explorer",
        verdict=verdict,
        seconds=found.seconds,
        solver=f"numpy {np.__version__}",
        bound=f"{cpus}x{vectors}x{irqs}{extra} ({found.states:,} states)",
        detail=detail,
        counterexample=counterexample,
    )
