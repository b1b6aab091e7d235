# SPDX-License-Identifier: GPL-2.0-only
"""What an answer may be, defined once.

A check answers with one of four verdicts:

PROVED
    It holds for every size: any number of CPUs, vectors, interrupts.
HELD
    Nothing broke it up to a bound that the answer states. Beyond the bound nothing is claimed.
REFUTED
    It is false, and there is a counterexample.
UNDETERMINED
    Nobody knows: a solver gave up, a time limit passed, a check could not run or was interrupted.

Two rules bind every user of this module:

1. Combining never rounds up. A set of answers is worth its weakest member, and no answer at all
   is worth UNDETERMINED: a check that did not run has shown nothing.

   >>> combine([Verdict.PROVED, Verdict.HELD]).name
   'HELD'
   >>> combine([Verdict.PROVED, Verdict.UNDETERMINED]).name
   'UNDETERMINED'
   >>> combine([]).name
   'UNDETERMINED'

   REFUTED wins over UNDETERMINED, because a counterexample stays one whatever else is unknown.

   >>> combine([Verdict.UNDETERMINED, Verdict.REFUTED]).name
   'REFUTED'

2. What a verdict becomes elsewhere (an exit code, a JUnit or KTAP line) is said here and nowhere
   else, so that two reports of one run cannot disagree.

   >>> [exit_code(verdict) for verdict in Verdict]
   [0, 0, 1, 3]
"""

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["EXIT_INTERRUPTED", "EXIT_PIPE", "EXIT_USAGE", "Verdict", "combine", "exit_code"]


class Verdict(enum.Enum):
    """The answer of one check, or of several combined; strongest first."""

    PROVED = "proved"
    HELD = "held"
    REFUTED = "refuted"
    UNDETERMINED = "undetermined"

    @property
    def good(self) -> bool:
        """True if the check found nothing against its subject.

        >>> [verdict.name for verdict in Verdict if verdict.good]
        ['PROVED', 'HELD']
        """
        return self in (Verdict.PROVED, Verdict.HELD)


# The later in this row, the more it decides.
_WEAKEST_LAST: Final = (Verdict.PROVED, Verdict.HELD, Verdict.UNDETERMINED, Verdict.REFUTED)

EXIT_USAGE: Final = 2
"""Exit code when the command or a file it was given makes no sense; no verdict was reached."""

EXIT_INTERRUPTED: Final = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells count."""

EXIT_PIPE: Final = 141
"""Exit code when the reader of the output went away: 128 + SIGPIPE, as shells count."""

_EXIT_CODES: Final[Mapping[Verdict, int]] = MappingProxyType(
    {Verdict.PROVED: 0, Verdict.HELD: 0, Verdict.REFUTED: 1, Verdict.UNDETERMINED: 3}
)

JUNIT_ELEMENT: Final[Mapping[Verdict, str | None]] = MappingProxyType(
    {
        Verdict.PROVED: None,
        Verdict.HELD: None,
        Verdict.REFUTED: "failure",
        Verdict.UNDETERMINED: "error",
    }
)
"""The child element that a JUnit test case of this verdict has; None means that it passed."""

KTAP_RESULT: Final[Mapping[Verdict, tuple[str, str | None]]] = MappingProxyType(
    {
        Verdict.PROVED: ("ok", None),
        Verdict.HELD: ("ok", None),
        Verdict.REFUTED: ("not ok", None),
        Verdict.UNDETERMINED: ("not ok", "ERROR"),
    }
)
"""The first words of a KTAP version 1 result line, and its directive if it has one."""


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of several checks taken together; of none at all, UNDETERMINED."""
    return max(verdicts, key=_WEAKEST_LAST.index, default=Verdict.UNDETERMINED)


def exit_code(verdict: Verdict) -> int:
    """The exit code of a command whose combined verdict this is: 0, 1 or 3."""
    return _EXIT_CODES[verdict]
