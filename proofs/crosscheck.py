# SPDX-License-Identifier: GPL-2.0-only
"""A second solver confirms what the first one proved.

Each part of an obligation that Z3 discharged is written as an SMT-LIB 2 text, with the premises
that Z3 needed and no others, and cvc5 is asked whether it is unsatisfiable. The translation of
terms into formulas is shared, so an error there is not found this way; an error in a solver is.

What cvc5 does not decide is not confirmed, and is said to be so. If it finds a model of what Z3
calls unsatisfiable, one of the two is wrong, and the obligation counts as refuted.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import time
from collections.abc import Iterator
from importlib.metadata import version

import z3

from proofs import induction
from proofs.induction import Obligation
from proofs.options import BadOptionError
from proofs.result import Result, Task
from proofs.verdict import Verdict
from spec.records import Model
from spec.terms import TRUE, Term, conjuncts

_ATTEMPTS: tuple[tuple[tuple[str, str], ...], ...] = ((), (("mbqi", "true"),))
"""Options of cvc5, one set after the other: its own choice finds nearly every proof, in a hundredth
of a second; instantiation guided by models finds the others."""

_LIMIT_MS = 5_000
"""Milliseconds for one attempt."""


def require_cvc5() -> None:
    """Raise BadOptionError, with what to install, if there is no cvc5."""
    if importlib.util.find_spec("cvc5") is None:
        raise BadOptionError("a crosscheck needs cvc5: pip install 'irqproof[crosscheck]'")


def tasks(model: Model) -> tuple[Task, ...]:
    """A task for each action, and for whatever else `induction.prove` can be asked about, that
    needed a solver. Raises BadOptionError if cvc5 is not installed."""
    require_cvc5()
    return tuple(_tasks(model))


def _tasks(model: Model) -> Iterator[Task]:
    context = induction.context_of(model.name, model.switches)
    for name in induction.names(model):
        asked = [o for o in induction.obligations(context, name) if o.goal is not TRUE]
        if asked:
            yield Task(
                name=f"crosscheck {model.name} {name}",
                group="crosscheck",
                weight=0.05 * len(asked),
                key=_key(model, name),
                run=functools.partial(crosscheck, model.name, model.switches, name),
                subjects=tuple(dict.fromkeys(o.invariant.id for o in asked)),
            )


def _key(model: Model, name: str) -> str:
    own = f"{version('cvc5')} {_ATTEMPTS} {_LIMIT_MS} {induction.key(model, name)}"
    return hashlib.sha256(own.encode()).hexdigest()


def crosscheck(layer: str, switches: frozenset[str], name: str) -> tuple[Result, ...]:
    """Confirm the obligations of one action of a layer, or of INITIALLY, FOLLOWS or THEOREMS; one
    result for each that needed a solver."""
    require_cvc5()
    context = induction.context_of(layer, switches)
    asked = (o for o in induction.obligations(context, name) if o.goal is not TRUE)
    return tuple(map(confirm, asked))


def confirm(obligation: Obligation) -> Result:
    """PROVED if Z3 proves every part and cvc5 confirms each; REFUTED if they disagree."""
    start = time.perf_counter()
    verdict, detail = Verdict.PROVED, "confirmed"
    for number, part in enumerate(conjuncts(obligation.goal), start=1):
        text = smtlib(obligation, part)
        answer = "not proved by Z3" if text is None else ask(text)
        if answer == "sat":
            verdict, detail = Verdict.REFUTED, f"part {number}: Z3 says unsat, cvc5 says sat"
            break
        if answer != "unsat":
            verdict, detail = Verdict.UNDETERMINED, f"part {number} is not confirmed: {answer}"
    return Result(
        subject=obligation.invariant.id,
        check=f"crosscheck {obligation.check}",
        method=obligation.check.split()[0],
        verdict=verdict,
        seconds=time.perf_counter() - start,
        solver=f"cvc5 {version('cvc5')}",
        assumed=induction.ASSUMED,
        detail=detail,
    )


def smtlib(obligation: Obligation, part: Term) -> str | None:
    """A part of an obligation as SMT-LIB 2, unsatisfiable if the part follows from the premises
    with which Z3 proved it; None if Z3 did not."""
    used = induction.proof_of(obligation, part)
    if used is None:
        return None
    premises = [i for i in obligation.premises if i.id in used]
    reading, solver = obligation.context.reading, z3.Solver()
    solver.add(*(reading.closed(term) for term in obligation.known(part, premises)))
    solver.add(z3.Not(reading.closed(part)))
    return f"(set-logic ALL)\n{solver.to_smt2()}"


def ask(text: str) -> str:
    """What cvc5 says of an SMT-LIB 2 text with one ``check-sat``: "sat", "unsat" or "unknown"."""
    answer = "unknown"
    for options in _ATTEMPTS:
        answer = _run(text, options)
        if answer != "unknown":
            break
    return answer


def _run(text: str, options: tuple[tuple[str, str], ...]) -> str:
    import cvc5

    solver = cvc5.Solver()
    quiet = (("verbosity", "-1"), ("fresh-binders", "true"))
    for name, value in (*quiet, ("tlimit-per", str(_LIMIT_MS)), *options):
        solver.setOption(name, value)
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "obligation")
    answer = ""
    while not (command := parser.nextCommand()).isNull():
        answer = str(command.invoke(solver, parser.getSymbolManager())).strip() or answer
    return answer if answer in ("sat", "unsat") else "unknown"
