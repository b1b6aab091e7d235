# SPDX-License-Identifier: GPL-2.0-only
"""The plan of a check: every task, for the model that the options describe."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from impl.defects import Defect
from proofs import bits, contracts, crosscheck, induction, machine_tasks, xen_refinement
from proofs.explorer import Exploration, Limit, explore
from proofs.machine_table import layers_of, programs_of
from proofs.machine_tasks import SENTENCES as WHOLE_LAWS
from proofs.options import BadOptionError, Options
from proofs.override import SENTENCES as OVERRIDES
from proofs.override import override_task
from proofs.result import LAWS, Result, Task
from proofs.scopes import SCOPES
from proofs.verdict import Verdict
from spec import dossier
from spec.columns import compile as compile_columns
from spec.records import Model
from spec.scope import Scope
from spec.stack import MODELS, SWITCHES, vectors

if TYPE_CHECKING:
    from proofs.impl_explorer import ImplExploration

_LARGEST = 64
_PATIENCE = 600.0
"""Seconds after which an exploration gives up, and says so."""


def tasks(options: Options) -> tuple[Task, ...]:
    """Every task of a check, or of what concerns some machines.

    Raises BadOptionError for an unknown switch or machine, or an unusable scope."""
    chosen = _models(options, layers_of(options.machines) if options.machines else MODELS)
    return (
        *(task for model in chosen for task in _inductions(model)),
        *(task for model in chosen for task in _explorations(model, _scopes(model, options))),
        *(_of_machines(chosen, options) if options.machines else _of_everything(options)),
        *(task for model in chosen if options.crosscheck for task in crosscheck.tasks(model)),
    )


def _of_everything(options: Options) -> Iterator[Task]:
    """What is no proof or exploration of a layer, for all machines."""
    yield from bits.tasks()
    yield from contracts.tasks()
    yield from _implementations(_model(vectors.name, _switches(options)), options)
    yield from _whole_machines(options)
    yield override_task(options.seed, sources("impl", "proofs"))
    yield from xen_refinement.tasks(sources("spec", "impl", "proofs"))


def _of_machines(models: tuple[Model, ...], options: Options) -> Iterator[Task]:
    """What is no proof or exploration of a layer, for the machines that the options name."""
    layers = {model.name for model in models}
    if vectors.name in layers:
        yield from _implementations(_model(vectors.name, _switches(options)), options)
    if "xen" in layers:
        yield from xen_refinement.tasks(sources("spec", "impl", "proofs"))
    names = programs_of(options.machines)
    if names:
        yield from _whole_machines(options, names)


def _whole_machines(options: Options, names: tuple[str, ...] = ()) -> Iterator[Task]:
    digest = sources("spec", "impl", "proofs")
    return machine_tasks.tasks(options.seed, _switches(options), digest, names)


def _models(options: Options, layers: Container[str] = MODELS) -> tuple[Model, ...]:
    """The models of all layers that are among these."""
    switches = _switches(options)
    return tuple(_model(name, switches) for name in MODELS if name in layers)


@functools.cache
def _model(layer: str, switches: frozenset[str]) -> Model:
    return MODELS[layer].build(switches)


def sentences(options: Options) -> Mapping[str, str]:
    """What each invariant's id means; a theorem's sentence where there is no invariant."""
    models = _models(options)
    known = {**WHOLE_LAWS, **OVERRIDES, **bits.SENTENCES, **xen_refinement.SENTENCES}
    known |= {t.id: t.sentence for model in models for t in model.theorems}
    known |= {i.id: i.sentence for model in models for i in model.invariants}
    known |= {contracts.SUBJECT: contracts.SENTENCE, **dossier.LAWS}
    return {id: known[id] for id in sorted(known, key=dossier.order)}


def _switches(options: Options) -> frozenset[str]:
    for switch in options.switches:
        if switch not in SWITCHES:
            known = ", ".join(SWITCHES)
            raise BadOptionError(f"there is no switch {switch!r}; there are {known}")
    return frozenset(options.switches)


def _scopes(model: Model, options: Options) -> tuple[Scope, ...]:
    """The layer's own scopes; what the options ask for is a machine of the vector layer."""
    if options.scope is None or model.name != vectors.name:
        return SCOPES.get(model.name, ())
    sizes = (options.scope.cpus, options.scope.vectors, options.scope.irqs)
    if max(sizes) > _LARGEST:
        raise BadOptionError(f"scope {options.scope}: no number may be over {_LARGEST}")
    return (Scope.of(*sizes),)


def _inductions(model: Model) -> Iterator[Task]:
    kept = tuple(i.id for i in model.own_invariants if not i.follows)
    everywhere = {
        induction.INITIALLY: induction.subjects(model),
        induction.FOLLOWS: tuple(i.id for i in model.own_invariants if i.follows),
        induction.THEOREMS: tuple(dict.fromkeys(t.id for t in model.own_theorems)),
    }
    for name in induction.names(model):
        yield Task(
            name=f"induction {model.name} {name}",
            group="induction",
            weight=_WEIGHTS.get(name, 0.3),
            key=induction.key(model, name),
            run=functools.partial(induction.prove, model.name, model.switches, name),
            subjects=everywhere.get(name, kept),
        )


_WEIGHTS = {"vector_update": 3.0, induction.THEOREMS: 2.0, "vector_config_legacy": 1.5}


def _explorations(model: Model, scopes: tuple[Scope, ...]) -> Iterator[Task]:
    ids = tuple(i.id for i in model.invariants if not i.ghost)
    for scope, label in zip(scopes, _labels(scopes), strict=True):
        yield Task(
            name=f"explorer {model.name} {label}",
            group="explorer",
            weight=5.0,
            key=_explorer_key(model, scope),
            run=functools.partial(_explore, model.name, model.switches, scope, label),
            subjects=ids,
        )


def _implementations(model: Model, options: Options) -> Iterator[Task]:
    """The Python stack under the monitor: random programs, and every state of a small machine."""
    subjects = (*(i.id for i in model.invariants if not i.ghost), *LAWS)
    for name, run, weight in (
        ("stateful", functools.partial(_stateful, options.seed, model.switches), 15.0),
        ("implementation 2x2x1", functools.partial(_machine, model.switches), 8.0),
    ):
        digest = hashlib.sha256(repr((name, options.seed, sorted(model.switches))).encode())
        digest.update(sources("spec", "impl", "proofs"))
        yield Task(
            name=name,
            group=name.split()[0],
            weight=weight,
            key=digest.hexdigest(),
            run=run,
            subjects=subjects,
        )


_STEPS = 3_000
"""Operations that the random programs of a check do."""


def _stateful(seed: int, switches: frozenset[str]) -> tuple[Result, ...]:
    from proofs import stateful

    return stateful.run(seed, _STEPS, _of_the_implementation(switches))


def _of_the_implementation(switches: frozenset[str]) -> frozenset[str]:
    """The switches that the implementation and its environment know: H3 is what MX-D1 does, and a
    driver of the machine frees nothing twice (E0)."""
    return frozenset("MX-D1" if s == "H3" else s for s in switches if s != "E0")


def _machine(switches: frozenset[str]) -> tuple[Result, ...]:
    from proofs import impl_explorer, small_machine

    known = {d.value: d for d in Defect}
    chosen = _of_the_implementation(switches)
    defects = frozenset(known[s] for s in chosen if s in known)
    hazards = frozenset(s for s in chosen if s not in known)
    kind = small_machine.SmallMachine(2, 2, 1, defects=defects)
    found = impl_explorer.explore_machine(
        kind, vectors.build(hazards), limit=Limit(seconds=_PATIENCE)
    )
    ids = (*(i.id for i in vectors.build(hazards).invariants if not i.ghost), *LAWS)
    return tuple(_explored_machine(found, id) for id in dict.fromkeys(ids))


def _explored_machine(found: ImplExploration, id: str) -> Result:
    counterexample = found.counterexample
    fell = counterexample is not None and counterexample.violated == id
    open_ = found.verdict is Verdict.UNDETERMINED or (counterexample is not None and not fell)
    seen = f"{found.states:,} states, {found.transitions:,} operations, {found.depth} deep"
    if id in ("MX-12", "refinement"):
        seen += f"; {id} is a law of implementations, since the specification allows any choice"
    return Result(
        subject=id,
        check="implementation 2x2x1",
        method="refinement",
        verdict=Verdict.UNDETERMINED if open_ else found.verdict,
        seconds=found.seconds,
        solver="",
        bound="in every state of 2x2x1",
        detail=f"the search ended after {seen}" if open_ else seen,
        counterexample=counterexample if fell else None,
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


def _labels(scopes: tuple[Scope, ...]) -> list[str]:
    """The sizes of each scope. Those of equal sizes differ in what is rigid, and are numbered."""
    sizes = [str(scope) for scope in scopes]
    return [
        f"{text} no. {sizes[: place + 1].count(text)}" if sizes.count(text) > 1 else text
        for place, text in enumerate(sizes)
    ]


def _explore(layer: str, switches: frozenset[str], scope: Scope, label: str) -> tuple[Result, ...]:
    """Search once for all invariants; where one falls, again without it, so that each that falls
    has a shortest counterexample of its own."""
    model = MODELS[layer].build(switches)
    columns = compile_columns(model, scope)
    left = tuple(invariant.id for invariant in columns.invariants)
    results: list[Result] = []
    while left:
        limit = Limit(seconds=_PATIENCE)
        try:
            found = explore(model, scope, invariants=left, limit=limit, columns=columns)
        except OverflowError as error:
            return (*results, *(_overflown(layer, label, id, error) for id in left))
        fallen = found.counterexample.violated if found.counterexample else None
        if fallen is None:
            return (*results, *(_explored(found, scope, label, id) for id in left))
        results.append(_explored(found, scope, label, fallen))
        left = tuple(id for id in left if id != fallen)
    return tuple(results)


def _explored(found: Exploration, scope: Scope, label: str, id: str) -> Result:
    stopped = f"stopped ({found.stopped}) after " if found.verdict is Verdict.UNDETERMINED else ""
    detail = f"{stopped}{found.states:,} states, {found.transitions:,} transitions"
    return Result(
        subject=id,
        check=f"explorer {found.model} {label}",
        method="explorer",
        verdict=found.verdict,
        seconds=found.seconds,
        solver=f"numpy {np.__version__}",
        bound=_described(found.model, scope, label),
        detail=f"{detail}, {found.depth} operations deep ({' x '.join(scope.sizes)})",
        counterexample=found.counterexample,
    )


def _overflown(layer: str, label: str, id: str, error: OverflowError) -> Result:
    return Result(
        subject=id,
        check=f"explorer {layer} {label}",
        method="explorer",
        verdict=Verdict.UNDETERMINED,
        seconds=0.0,
        solver=f"numpy {np.__version__}",
        detail=f"a counter has run away: {error}",
    )


def _described(layer: str, scope: Scope, label: str) -> str:
    """A machine of the vector layer is known by its sizes; any other scope needs its layer."""
    if layer != vectors.name:
        return f"{layer} {label}"
    return f"{scope}+ISA" if scope.rigid.get("isa_irq") else str(scope)
