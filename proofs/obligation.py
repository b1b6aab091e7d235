# SPDX-License-Identifier: GPL-2.0-only
"""Obligations about words and finite tables: what is claimed, and what is claimed to be false.

A claim is proved for all values of its words. Where a historic text is false the obligation is that
it *is* false: it is discharged by a witness, values that the solver found and the implementation,
evaluated on plain ints, agrees with.
"""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

import z3

from proofs.result import Result
from proofs.verdict import Verdict
from spec.hwirq import WIDTH

_LIMIT_MS: Final = 60_000

Words = Mapping[str, z3.BitVecRef]


@dataclass(frozen=True, slots=True)
class Claim:
    """`holds` is true of all words of the given widths, `widths`, that satisfy `assumed`.

    `given` says in words what the formulas take for granted."""

    subject: str
    text: str
    widths: Mapping[str, int]
    holds: Callable[[Words], z3.BoolRef]
    assumed: Callable[[Words], z3.BoolRef] = lambda _: z3.BoolVal(True)
    given: tuple[str, ...] = ()

    def answer(self) -> tuple[Verdict, str]:
        """PROVED, or REFUTED with the values of a counterexample."""
        verdict, values = _model(
            self.widths, lambda words: z3.And(self.assumed(words), z3.Not(self.holds(words)))
        )
        return verdict, _shown(values)


@dataclass(frozen=True, slots=True)
class Falsity:
    """There are words that satisfy `fault`, which a repaired text makes impossible.

    `confirmed` evaluates the implementation on the values and says in words what is wrong; "" if
    the implementation does nothing wrong with them."""

    subject: str
    text: str
    widths: Mapping[str, int]
    fault: Callable[[Words], z3.BoolRef]
    confirmed: Callable[[Mapping[str, int]], str]

    def answer(self) -> tuple[Verdict, str]:
        """PROVED with the witness, or REFUTED if there is none, or none that is confirmed."""
        verdict, values = _model(self.widths, self.fault)
        if verdict is Verdict.PROVED:
            return Verdict.REFUTED, "there is no witness"
        if verdict is Verdict.UNDETERMINED:
            return verdict, ""
        told = self.confirmed(values)
        if not told:
            return Verdict.REFUTED, f"the implementation disagrees about {_shown(values)}"
        return Verdict.PROVED, told


@dataclass(frozen=True, slots=True)
class Sentence:
    """`formula` is true of everything that it speaks of, without a bound."""

    subject: str
    text: str
    formula: Callable[[], z3.BoolRef]

    def answer(self) -> tuple[Verdict, str]:
        """PROVED, or REFUTED."""
        return _verdict(_solver(z3.Not(self.formula()))), ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement about finite tables, decided by looking at all of them.

    `exceptions` lists what contradicts it; `told` is worth a line if nothing does."""

    subject: str
    text: str
    exceptions: Callable[[], Sequence[str]]
    told: str = ""

    def answer(self) -> tuple[Verdict, str]:
        """PROVED, or REFUTED with the exceptions."""
        found = self.exceptions()
        return (Verdict.REFUTED, "; ".join(found)) if found else (Verdict.PROVED, self.told)


Obligation = Claim | Falsity | Sentence | Fact


def _verdict(solver: z3.Solver) -> Verdict:
    """Of the statement whose negation the solver is asked about."""
    answer = solver.check()
    if answer == z3.unsat:
        return Verdict.PROVED
    return Verdict.REFUTED if answer == z3.sat else Verdict.UNDETERMINED


def discharge(obligation: Obligation) -> Result:
    """The answer as a result."""
    start = time.perf_counter()
    verdict, detail = obligation.answer()
    given = obligation.given if isinstance(obligation, Claim) else ()
    finite = isinstance(obligation, Fact)
    return Result(
        subject=obligation.subject,
        check=f"bits {obligation.text}",
        method="bits",
        verdict=verdict,
        seconds=time.perf_counter() - start,
        solver="" if finite else f"z3 {z3.get_version_string()}",
        assumed=given,
        detail=detail,
    )


def digest(modules: Sequence[ModuleType]) -> str:
    """A hash of the sources of these modules, and of what the answers depend on beside them."""
    found = hashlib.sha256(f"{z3.get_version_string()} {_LIMIT_MS}".encode())
    files = [Path(__file__), *(Path(inspect.getfile(module)) for module in modules)]
    for file in sorted(files):
        found.update(file.read_bytes())
    return found.hexdigest()


def _solver(*constraints: z3.BoolRef) -> z3.Solver:
    solver = z3.Solver()
    solver.set("timeout", _LIMIT_MS)
    solver.add(*constraints)
    return solver


def _model(
    widths: Mapping[str, int], wrong: Callable[[Words], z3.BoolRef]
) -> tuple[Verdict, Mapping[str, int]]:
    """PROVED if nothing satisfies `wrong`, else REFUTED and small values that do."""
    words = {name: z3.BitVec(name, WIDTH) for name in widths}
    ranges = (z3.ULT(words[name], 1 << width) for name, width in widths.items())
    solver = _solver(*ranges, wrong(words))
    verdict = _verdict(solver)
    if verdict is not Verdict.REFUTED:
        return verdict, {}
    return verdict, {name: _least(solver, word) for name, word in words.items()}


def _least(solver: z3.Solver, word: z3.BitVecRef) -> int:
    """The least value of a word, which is then fixed."""
    low, high = 0, (1 << WIDTH - 1) - 1
    while low < high:
        middle = (low + high) // 2
        if solver.check(z3.ULE(word, middle)) == z3.sat:
            high = middle
        else:
            low = middle + 1
    solver.add(word == low)
    return low


def _shown(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value:#x}" for name, value in values.items())
