# SPDX-License-Identifier: GPL-2.0-only
"""What came of holding snapshots to rules: facts that are true, facts that are not, open ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from proofs.result import Result
from proofs.snapshots import Place
from proofs.verdict import Verdict

__all__ = ["Finding", "Judgement"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A fact that breaks a rule."""

    place: Place
    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}: refuted: {self.sentence} ({self.rule})"


@dataclass(slots=True)
class Judgement:
    """The judgement of one archive. `facts` counts the true ones by the rule's id, `left` what
    could not be judged by (rule, reason)."""

    file: str
    snapshots: int = 0
    facts: Counter[str] = field(default_factory=Counter)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    broken: set[Finding] = field(default_factory=set)

    @property
    def findings(self) -> list[Finding]:
        """What breaks a rule, by file and line."""
        return sorted(self.broken)

    @property
    def verdict(self) -> Verdict:
        """HELD for what the files tell, REFUTED, or UNDETERMINED if nothing could be judged."""
        if self.broken:
            return Verdict.REFUTED
        return Verdict.HELD if self.facts else Verdict.UNDETERMINED

    def check(self, rule: str, place: Place, holds: bool, sentence: str) -> bool:
        """Judge one fact; `sentence` says what is wrong at `place` if it does not hold."""
        if holds:
            self.facts[rule] += 1
        else:
            self.broken.add(Finding(place, rule, sentence))
        return holds

    def leave(self, rule: str, reason: str, times: int = 1) -> None:
        """Say that so many facts could not be judged."""
        if times:
            self.left[rule, reason] += times

    def results(self) -> tuple[Result, ...]:
        """One result a rule that was judged, in the order of the ids."""
        rules = sorted({*self.facts, *(finding.rule for finding in self.broken)}, key=_in_order)
        return tuple(self._result(rule) for rule in rules)

    def _result(self, rule: str) -> Result:
        found = [finding for finding in self.findings if finding.rule == rule]
        verdict = Verdict.REFUTED if found else Verdict.HELD
        files = f"{self.snapshots} snapshot{'s' * (self.snapshots != 1)}"
        return Result(
            subject=rule,
            check=f"snapshots {self.file}",
            method="replay",
            verdict=verdict,
            seconds=0.0,
            solver="",
            bound="" if found else f"{self.facts[rule]:,} facts of {files}",
            detail="; ".join(map(str, found)),
        )


def _in_order(rule: str) -> tuple[str, int, str]:
    area, _, number = rule.partition("-")
    digits = number.rstrip("'")
    return area, int(digits) if digits.isdecimal() else 0, number
