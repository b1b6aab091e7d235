# SPDX-License-Identifier: GPL-2.0-only
"""What a run says, put together once for every form of report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proofs.options import Options
from proofs.result import METHODS, Result
from proofs.verdict import Verdict, combine


@dataclass(frozen=True, slots=True)
class Subject:
    """One invariant and every result about it."""

    name: str
    sentence: str
    results: tuple[Result, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict of all results together."""
        return combine(result.verdict for result in self.results)

    @property
    def seconds(self) -> float:
        """The time that all results took."""
        return sum(result.seconds for result in self.results)

    @property
    def solvers(self) -> tuple[str, ...]:
        """Every solver that was used, once each."""
        return unique(result.solver for result in self.results)

    def standing(self) -> tuple[str, ...]:
        """How the invariant is held, a phrase for each way of checking it, bad news first."""
        groups: dict[str, list[Result]] = {}
        for result in sorted(self.results, key=lambda result: METHODS.index(result.method)):
            groups.setdefault(_WAYS[result.method], []).append(result)
        ways = sorted(groups, key=lambda way: combine(r.verdict for r in groups[way]).good)
        return unique(_phrase(way, groups[way]) for way in ways)


@dataclass(frozen=True, slots=True)
class Report:
    """A run: what was asked and everything that was answered, in the order of the plan."""

    options: Options
    subjects: tuple[Subject, ...]
    interrupted: bool = False

    @classmethod
    def of(
        cls,
        results: Iterable[Result],
        options: Options,
        sentences: Mapping[str, str],
        interrupted: bool = False,
    ) -> "Report":
        """The report of these results; ``sentences`` gives the meaning of an invariant's id."""
        groups: dict[str, list[Result]] = {}
        for result in results:
            groups.setdefault(result.subject, []).append(result)
        # In the order of the sentences, which is the reader's; what has none comes last.
        order = {name: number for number, name in enumerate(sentences)}
        subjects = (
            Subject(name, sentences.get(name, ""), tuple(groups[name]))
            for name in sorted(groups, key=lambda name: order.get(name, len(order)))
        )
        return cls(options, tuple(subjects), interrupted)

    @property
    def results(self) -> tuple[Result, ...]:
        """Every result, subject by subject."""
        return tuple(result for subject in self.subjects for result in subject.results)

    @property
    def verdict(self) -> Verdict:
        """The verdict of the whole run; without any result, undetermined."""
        return combine(result.verdict for result in self.results)

    def count(self, verdict: Verdict) -> int:
        """How many results have this verdict."""
        return sum(result.verdict is verdict for result in self.results)

    def assumptions(self) -> dict[str, tuple[str, ...]]:
        """Each assumption that was made, and the invariants that rest on it."""
        made: dict[str, list[str]] = {}
        for result in self.results:
            for assumption in result.assumed:
                made.setdefault(assumption, []).append(result.subject)
        return {assumption: unique(subjects) for assumption, subjects in made.items()}

    def summary(self) -> str:
        """The run in one line."""
        if not self.subjects:
            return "undetermined: nothing was checked"
        cached = sum(result.cached for result in self.results)
        return (
            f"{self.verdict.value}: {plural(len(self.subjects), 'invariant')}, "
            f"{plural(len(self.results), 'check')}: "
            f"{self.count(Verdict.PROVED)} proved for every size, "
            f"{self.count(Verdict.HELD)} held to a stated bound, "
            f"{self.count(Verdict.REFUTED)} refuted, "
            f"{self.count(Verdict.UNDETERMINED)} undetermined"
            + (f" ({cached} from the cache)" if cached else "")
        )


def plural(number: int, noun: str) -> str:
    """The number with its noun, English plural.

    >>> plural(1, "check"), plural(1200, "check")
    ('1 check', '1,200 checks')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def unique(items: Iterable[str]) -> tuple[str, ...]:
    """The items that are not empty, each once, in the order of their first appearance."""
    return tuple(dict.fromkeys(filter(None, items)))


_FEW_BOUNDS = 3
"""So many bounds fit into a row; all of them stand below the table."""

# Induction and theorems together make one proof: neither is complete without the other.
_WAYS = {
    "induction": "proof",
    "theorem": "proof",
    "bits": "proof",
    "explorer": "explored to",
    "bounded": "searched to",
    "stateful": "tested",
    "refinement": "tested",
    "replay": "replayed",
    "crosshair": "tested",
    "task": "task",
}


def _phrase(way: str, results: Sequence[Result]) -> str:
    verdict = combine(result.verdict for result in results)
    if verdict is Verdict.PROVED:
        return "proved for every size"
    if verdict is Verdict.HELD:
        bounds = unique(result.bound for result in results)
        verb = "checked to" if way == "proof" else way
        if len(bounds) > _FEW_BOUNDS:
            return f"{verb} {len(bounds)} bounds, listed below"
        return f"{verb} {', '.join(bounds)}"
    by = next(result for result in results if result.verdict is verdict)
    return f"{verdict.value}: {by.check}"
