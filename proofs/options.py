# SPDX-License-Identifier: GPL-2.0-only
"""What a user may ask of a run of checks, apart from how it is reported."""

import re
from dataclasses import dataclass


class BadOptionError(ValueError):
    """An option that the plan cannot honour: an unknown switch, a scope too large to explore.

    The message is one line for the user.
    """


@dataclass(frozen=True, slots=True)
class Scope:
    """How many CPUs, usable vectors a CPU and irqs a bounded check has; each at least 1."""

    cpus: int
    vectors: int
    irqs: int

    def __post_init__(self) -> None:
        if min(self.cpus, self.vectors, self.irqs) < 1:
            raise BadOptionError(f"scope {self}: each number must be at least 1")

    def __str__(self) -> str:
        return f"{self.cpus}x{self.vectors}x{self.irqs}"

    @classmethod
    def parse(cls, text: str) -> "Scope":
        """Read CPUSxVECTORSxIRQS; raises BadOptionError for anything else.

        >>> Scope.parse("2x3x2")
        Scope(cpus=2, vectors=3, irqs=2)
        """
        match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})x([0-9]{1,6})", text, re.ASCII)
        if match is None:
            raise BadOptionError(
                f"scope {text!r} is not CPUSxVECTORSxIRQS, three numbers such as 2x3x2"
            )
        cpus, vectors, irqs = map(int, match.groups())
        return cls(cpus, vectors, irqs)


@dataclass(frozen=True, slots=True)
class Options:
    """What the plan of a run depends on.

    ``only`` holds patterns in shell style for invariant ids and task names; none means all.
    ``scope`` None leaves each bounded check its own default. ``seed`` feeds everything random, so
    two runs with equal options give equal verdicts, counts and traces. ``switches`` names the
    hazards and defects turned on (such as "H1" or "MX-D1"). With ``crosscheck`` a second solver is
    asked to confirm every proof. ``machines`` names machines of impl/machines: only what concerns
    one of them is checked; none means everything.
    """

    only: tuple[str, ...] = ()
    scope: Scope | None = None
    seed: int = 0
    switches: tuple[str, ...] = ()
    crosscheck: bool = False
    machines: tuple[str, ...] = ()
