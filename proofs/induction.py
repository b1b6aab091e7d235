# SPDX-License-Identifier: GPL-2.0-only
"""Induction over sorts of any size: every action keeps every invariant.

An obligation is an action and an invariant: from all invariants, the axioms, the action's guard and
what the environment keeps to, the invariant holds after the action. The initial state is an
obligation of its own, and so is an invariant that follows from the others. A conjunction is proved
part by part.

Each part is asked in turn of quick to slow: instantiation by patterns, a refutation in a small
scope (the unbounded query seldom refutes), then the full solver. What a scope refutes is a
counterexample to induction: its first state need not be reachable. It is believed only after the
plain evaluator has replayed it.

A composition of layers has no obligations but those of what it states itself: see
`spec.composition`.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import z3

from proofs import cti, smt
from proofs.counterexample import Counterexample
from proofs.result import Result
from proofs.smt import Reading, Sums
from proofs.verdict import Verdict
from spec.records import Action, Field, Invariant, Model, Theorem
from spec.terms import TRUE, Option, Term, conjuncts, default, eq, ite, none, subterms, transform

SOLVER = f"z3 {z3.get_version_string()}"
ASSUMED = ("finitely many elements of every sort",)
_TIERS: tuple[tuple[bool, int | None], ...] = (
    (False, 1), (False, 4), (False, 8), (True, 10), (False, 14), (True, 18), (False, 24),
    (False, None),
)  # fmt: skip
"""How many premises are tried, from few to all, and whether the lemmas go first: the invariants
that are there only because the others need them."""

_BUDGETS = (200_000, 3_000_000)
"""What one query may cost, in the solver's own count of work, so that no verdict depends on how
busy the machine is: about 0.1 s and 3 s. Between the two comes the refutation in a scope."""

INITIALLY = "initially"
FOLLOWS = "follows"
THEOREMS = "theorems"


@dataclass(frozen=True)
class Context:
    """What the obligations of one model share: its formulas, with the sums abstracted."""

    model: Model
    sums: Sums
    before: Mapping[str, Term]
    after: Mapping[str, Term]
    axioms: tuple[Term, ...]
    reading: Reading

    @classmethod
    def of(cls, model: Model) -> Context:
        """Abstract the sums of a model's formulas once."""
        sums = Sums()
        return cls(
            model,
            sums,
            {i.id: sums.abstract(i.formula) for i in model.invariants},
            {i.id: sums.abstract(i.formula, "'") for i in model.invariants},
            tuple(sums.abstract(axiom) for axiom in model.axioms),
            Reading(),
        )

    def untouched(self, invariant: Invariant, action: Action) -> bool:
        """The action writes no field that the invariant reads: there is nothing to prove."""
        return not (_fields_of(invariant.formula) & action.writes.keys())


@functools.cache
def _fields_of(term: Term) -> frozenset[str]:
    below = frozenset[str]().union(*map(_fields_of, subterms(term)))
    return below | {term.args[0]} if term.op == "read" else below


@functools.cache
def context_of(layer: str, switches: frozenset[str]) -> Context:
    """A layer of the specification, by its name, under these switches."""
    from spec.stack import MODELS

    return Context.of(MODELS[layer].build(switches))


def subjects(model: Model) -> tuple[str, ...]:
    """The ids of the invariants that are to be proved, in the order of the specification."""
    return tuple(i.id for i in model.own_invariants)


def key(model: Model, name: str) -> str:
    """A hash of all that the obligations called `name` depend on: formulas, solver, and prover."""
    digest = hashlib.sha256(_common(model).encode())
    digest.update(name.encode())
    if name in model.actions:
        action = model.actions[name]
        digest.update(repr((action.enabled, sorted(action.writes.items()))).encode())
    elif name == THEOREMS:
        digest.update(repr(model.theorems).encode())
    else:
        digest.update(repr([f.initial for f in model.fields.values()]).encode())
    return digest.hexdigest()


@functools.cache
def _common(model: Model) -> str:
    digest = hashlib.sha256(f"{SOLVER} {_BUDGETS} {_TIERS}".encode())
    for source in (__file__, cti.__file__, smt.__file__):
        digest.update(Path(source).read_bytes())
    digest.update(repr((model.axioms, model.invariants)).encode())
    return digest.hexdigest()


def prove(
    layer: str, switches: frozenset[str], name: str, only: frozenset[str] | None = None
) -> tuple[Result, ...]:
    """The obligations of one action of a layer (or of INITIALLY, FOLLOWS or THEOREMS), one result
    an invariant."""
    return tuple(map(discharge, obligations(context_of(layer, switches), name, only)))


@dataclass(frozen=True)
class Obligation:
    """One invariant after one action (None: initially, or as a consequence of the others)."""

    context: Context
    invariant: Invariant
    check: str
    goal: Term
    action: Action | None
    premises: tuple[Invariant, ...]
    facts: tuple[Term, ...]
    """What is known besides the premises: axioms and guard."""

    def known(self, part: Term, premises: Sequence[Invariant]) -> list[Term]:
        """The formulas from which a part of the goal is to follow: facts, premises, and the rules
        of the sums that they speak of."""
        sums, action = self.context.sums, self.action
        known = [*self.facts, *(self.context.before[i.id] for i in premises)]
        names = sums.mentioned(part)
        known += sums.rules(names.union(*map(sums.mentioned, known)))
        if action is not None and names:
            fields = self.context.model.fields
            known += sums.update_rule(names, action, fields)
            known += (action.after(fields, rule) for rule in sums.rules(names, "'"))
        return known


def obligations(
    context: Context, name: str, only: frozenset[str] | None = None
) -> Iterator[Obligation]:
    """What must be proved about one action (or INITIALLY, FOLLOWS or THEOREMS), in order."""
    if name == THEOREMS:
        theorems = (t for t in context.model.own_theorems if only is None or t.id in only)
        yield from (_holds(context, t) for t in theorems)
        return
    chosen = [i for i in context.model.own_invariants if only is None or i.id in only]
    if name == INITIALLY:
        yield from (_initially(context, i) for i in chosen)
    elif name == FOLLOWS:
        yield from (_follows(context, i) for i in chosen if i.follows)
    else:
        action = context.model.actions[name]
        yield from (_kept(context, action, i) for i in chosen if not i.follows)


def _kept(context: Context, action: Action, invariant: Invariant) -> Obligation:
    goal = TRUE
    if not context.untouched(invariant, action):
        goal = action.after(context.model.fields, context.after[invariant.id])
    facts = (*context.axioms, context.sums.abstract(action.enabled))
    check = f"induction {context.model.name} {action.name}"
    return Obligation(context, invariant, check, goal, action, context.model.invariants, facts)


def _initially(context: Context, invariant: Invariant) -> Obligation:
    fields, sums = context.model.fields, context.sums
    goal = sums.abstract(_at_start(fields, invariant.formula))
    facts = tuple(sums.abstract(_at_start(fields, a)) for a in context.model.axioms)
    check = f"induction {context.model.name} {INITIALLY}"
    return Obligation(context, invariant, check, goal, None, (), facts)


def _at_start(fields: Mapping[str, Field], term: Term) -> Term:
    def leaf(node: Term, args: tuple[object, ...]) -> Term | None:
        if node.op != "read" or fields[node.args[0]].rigid:
            return None
        field = fields[node.args[0]]
        start = field.initial
        for index in args[1:]:
            if isinstance(index, Term) and isinstance(index.type, Option):
                start = ite(eq(index, none(index.type.of)), default(field.type), start)
        return start

    return transform(term, leaf)


def _follows(context: Context, invariant: Invariant) -> Obligation:
    others = tuple(i for i in context.model.invariants if not i.follows)
    goal = context.before[invariant.id]
    check = f"induction {context.model.name} {FOLLOWS}"
    return Obligation(context, invariant, check, goal, None, others, context.axioms)


def _holds(context: Context, theorem: Theorem) -> Obligation:
    sums = context.sums
    claim = Invariant(theorem.id, theorem.sentence, theorem.formula)
    goal, guard = sums.abstract(theorem.formula), sums.abstract(theorem.guard)
    check = f"theorem {context.model.name} {theorem.name}"
    facts = (*context.axioms, guard)
    return Obligation(context, claim, check, goal, None, context.model.invariants, facts)


def discharge(obligation: Obligation) -> Result:
    """Prove an obligation, refute it, or say that neither was done."""
    start = time.perf_counter()
    action, invariant = obligation.action, obligation.invariant
    verdict = Verdict.PROVED
    found: Counterexample | None = None
    used: set[str] = set()
    for number, part in enumerate(conjuncts(obligation.goal)):
        premises = premises_for(obligation, part, _BUDGETS[0])
        if premises is None:
            found = _refutation(obligation, number)
            if found is not None:
                verdict = Verdict.REFUTED
                break
            premises = premises_for(obligation, part, _BUDGETS[1])
        if premises is None:
            verdict = Verdict.UNDETERMINED
            break
        used |= premises
    hazards = () if action is None else tuple(f"no {a.switch}" for a in action.assumptions)
    detail = {
        Verdict.PROVED: f"from {', '.join(sorted(used))}" if used else _by_itself(obligation),
        Verdict.REFUTED: "the first state need not be reachable",
        Verdict.UNDETERMINED: f"unknown within {_BUDGETS[-1]:,} units of the solver's work",
    }[verdict]
    return Result(
        subject=invariant.id,
        check=obligation.check,
        method=obligation.check.split()[0],
        verdict=verdict,
        seconds=time.perf_counter() - start,
        solver="" if obligation.goal is TRUE else SOLVER,
        assumed=ASSUMED + hazards,
        detail=detail,
        counterexample=found,
    )


def _by_itself(obligation: Obligation) -> str:
    action = obligation.action
    if obligation.goal is not TRUE or action is None:
        return ""
    if obligation.context.untouched(obligation.invariant, action):
        return "the action writes nothing that the invariant reads"
    return "what the action writes says so"


def _refutation(obligation: Obligation, part: int) -> Counterexample | None:
    """A counterexample to induction in a small scope; only an action can have one."""
    action, model = obligation.action, obligation.context.model
    if action is None:
        return None
    for sizes in _scopes(model):
        found = cti.find(model, action, obligation.invariant, part, sizes)
        if found is not None:
            return found
    return None


def _scopes(model: Model) -> Iterator[Mapping[str, int]]:
    """Two elements of each sort; then three, but no more interrupts."""
    for size in (2, 3):
        yield {sort.name: 2 if sort.name == "Irq" else size for sort in model.sorts}


def proof_of(obligation: Obligation, part: Term) -> frozenset[str] | None:
    """The ids of the invariants from which the solver proves a part of the goal; None if it gives
    up."""
    for budget in _BUDGETS:
        premises = premises_for(obligation, part, budget)
        if premises is not None:
            return premises
    return None


def premises_for(obligation: Obligation, part: Term, budget: int) -> frozenset[str] | None:
    """The invariants from which a part of the goal was proved; None if it was not.

    Few premises first: a proof from few is found in milliseconds and is a proof all the same."""
    tried: set[frozenset[str]] = set()
    for lemmas_first, size in _TIERS:
        premises = _ranked(obligation, part, lemmas_first)[:size]
        names = frozenset(i.id for i in premises)
        if names in tried:
            continue
        tried.add(names)
        # Instantiation by patterns finds the proofs; models are tried where all else is spent.
        for mbqi in (False, True) if size is None and budget == _BUDGETS[-1] else (False,):
            if _proved(obligation, part, premises, budget, mbqi=mbqi):
                return names
    return None


def _ranked(obligation: Obligation, part: Term, lemmas_first: bool) -> list[Invariant]:
    """The premises, those first that speak of what the goal speaks of and of little else."""
    goal = _fields_of(part) | _fields_of(obligation.invariant.formula)
    goal = goal.union(*map(_fields_of, obligation.facts))

    def score(invariant: Invariant) -> tuple[bool, bool, float]:
        own = _fields_of(invariant.formula)
        lemma = lemmas_first and not invariant.id.rpartition("-")[2].isdigit()
        return invariant is not obligation.invariant, not lemma, -len(own & goal) / max(1, len(own))

    return sorted(obligation.premises, key=score)


def _proved(
    obligation: Obligation, part: Term, premises: Sequence[Invariant], budget: int, *, mbqi: bool
) -> bool:
    reading = obligation.context.reading
    formulas = [reading.closed(term) for term in obligation.known(part, premises)]
    return _unsatisfiable([*formulas, z3.Not(reading.closed(part))], budget, mbqi=mbqi)


def _unsatisfiable(formulas: Sequence[z3.BoolRef], budget: int, *, mbqi: bool) -> bool:
    solver = z3.Solver()
    solver.set(rlimit=budget, mbqi=mbqi)
    solver.add(*formulas)
    answer = solver.check()
    interrupted(solver)
    return bool(answer == z3.unsat)


def interrupted(solver: z3.Solver) -> None:
    """Raise the KeyboardInterrupt that Z3 kept to itself."""
    if "interrupted" in solver.reason_unknown():
        raise KeyboardInterrupt


def names(model: Model) -> Iterator[str]:
    """Everything that `prove` can be asked about."""
    yield INITIALLY
    if any(i.follows for i in model.own_invariants):
        yield FOLLOWS
    if model.own_theorems:
        yield THEOREMS
    yield from model.actions
