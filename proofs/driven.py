# SPDX-License-Identifier: GPL-2.0-only
"""What a search or a random program needs of a machine that runs under monitors.

There are two such machines: `proofs.monitored.Run` has the vector layer alone, and
`proofs.whole_run.WholeRun` the whole stack.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proofs.counterexample import Counterexample
from proofs.monitor import Finding

__all__ = ["Driven", "Operation"]


@dataclass(frozen=True, slots=True)
class Operation:
    """What is done to a machine; `params` in the order of the table."""

    name: str
    params: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.params)})"


class Driven(Protocol):
    """A machine between two operations."""

    @property
    def label(self) -> str:
        """The machine in words."""

    @property
    def switches(self) -> tuple[str, ...]:
        """The defects and hazards that are on, sorted."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the operations that are tried."""

    def able(self) -> list[Operation]:
        """The operations that may be done now."""

    def allows(self, operation: Operation) -> bool:
        """Whether this operation may be done now."""

    def perform(self, operation: Operation) -> int:
        """Do it and hold its outcome to the specification, but judge no invariant.

        Raises Broken, or HazardEntered: then the machine is in the middle of the operation, and
        must be restored before it is used again."""

    def judge(self) -> None:
        """Every invariant on the state reached; raises Broken."""

    def finding(self, targets: frozenset[str] = frozenset()) -> Finding | None:
        """What is false now; with targets, only what is among them."""

    def noticed(self, targets: frozenset[str]) -> Finding | None:
        """What the last operation itself has broken, if it is among the targets, though the state
        that it led to be one where nothing is false."""

    def key(self) -> Hashable:
        """Equal for two moments that no later operation can tell apart."""

    def save(self) -> Any:
        """The moment, for `restore`."""

    def restore(self, saved: Any) -> None:
        """Back to a moment."""

    def leaving(self) -> Iterator[Operation]:
        """What takes everything away again, one operation after the other, each for the state that
        the one before has left."""

    def left(self, start: Any) -> tuple[str, ...]:
        """With everything taken away: in what the machine still differs from `start`, on which only
        CPUs came and went. Ends the run."""

    def judged(self) -> tuple[str, ...]:
        """The ids of the invariants that `judge` looks at."""

    def tell(
        self, operations: Sequence[Operation], finding: Finding, *, shortest: bool
    ) -> Counterexample:
        """The record of a new machine on which these operations are done, and at whose end this is
        found."""
