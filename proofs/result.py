# SPDX-License-Identifier: GPL-2.0-only
"""What a check hands back, and what a check is before it runs.

Both cross process borders: every object here can be pickled.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proofs.counterexample import Counterexample
from proofs.itf import text
from proofs.verdict import Verdict

METHODS: Final = (
    "induction",
    "theorem",
    "bits",
    "explorer",
    "bounded",
    "stateful",
    "refinement",
    "replay",
    "crosshair",
    "task",
)
"""How a result may have been reached, in the order in which reports name them.

The last is for a task that gave no answer: the verdict is then UNDETERMINED.
"""


LAWS: Final = ("refinement", "MX-12", "MX-14", "VEC-18", "VEC-19", "VEC-20")
"""What is judged of an implementation beside the invariants of one state: that every step is an
action of the specification, the rules of choice, and the laws that speak of several states."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer of one check about one invariant.

    ``subject`` is the invariant's id, such as "VEC-9"; ``check`` names the obligation, such as
    "induction vectors irq_matrix_alloc"; ``method`` is one of METHODS. ``seconds`` is how long it
    took when it was really done, also if it comes from the cache now. ``solver`` is name and
    version, or "" if none was used. ``bound`` must be given with HELD: a noun phrase that ends
    "explored to ..." or "tested ...", such as "2 CPUs x 4 vectors x 2 irqs" or "20,000 steps".
    ``assumed`` names what was taken for granted. ``detail`` says why a verdict is UNDETERMINED,
    or anything worth a line. Raises ValueError for an unknown method and for HELD without a bound.
    """

    subject: str
    check: str
    method: str
    verdict: Verdict
    seconds: float
    solver: str
    bound: str = ""
    assumed: tuple[str, ...] = ()
    detail: str = ""
    counterexample: Counterexample | None = None
    cached: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"{self.subject}: unknown method {self.method!r}")
        if self.verdict is Verdict.HELD and not self.bound:
            raise ValueError(f"{self.subject}: {self.check} is held, but to no stated bound")

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values; ``from_json`` gives it back."""
        return {
            "subject": self.subject,
            "check": self.check,
            "method": self.method,
            "verdict": self.verdict.value,
            "seconds": self.seconds,
            "solver": self.solver,
            "bound": self.bound,
            "assumed": list(self.assumed),
            "detail": self.detail,
            "counterexample": None if self.counterexample is None else self.counterexample.to_itf(),
            "cached": self.cached,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Result":
        """The inverse of ``to_json``; raises ValueError if ``data`` is nothing of the kind."""
        try:
            counterexample = data["counterexample"]
            return cls(
                subject=text(data["subject"]),
                check=text(data["check"]),
                method=text(data["method"]),
                verdict=Verdict(data["verdict"]),
                seconds=float(data["seconds"]),
                solver=text(data["solver"]),
                bound=text(data["bound"]),
                assumed=tuple(text(item) for item in data["assumed"]),
                detail=text(data["detail"]),
                counterexample=None
                if counterexample is None
                else Counterexample.from_itf(counterexample),
                cached=bool(data["cached"]),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a result: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of work that a worker process can be sent.

    ``name`` is unique in a plan. ``group`` is what a person would call the kind of work.
    ``weight`` is its expected cost in seconds; heavier tasks start first. ``key`` is a hash of
    everything the answer depends on (obligation, solver version, bounds, seed), or "" if the
    answer must not be cached. ``run`` is a module-level function or a functools.partial of one.
    ``subjects`` are the invariants that ``run`` answers for, known before it runs: each of them
    that gets no answer is reported as undetermined.
    """

    name: str
    group: str
    weight: float
    key: str
    run: Callable[[], tuple[Result, ...]]
    subjects: tuple[str, ...] = ()
