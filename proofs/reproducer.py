# SPDX-License-Identifier: GPL-2.0-only
"""A program that failed as data: on which machine, what was done, what fell; and doing it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from proofs.driven import Operation
from proofs.itf import text, texts
from proofs.monitor import Finding

__all__ = ["FORMAT", "Reproducer"]

FORMAT: Final = "irqproof-soak/1"


@dataclass(frozen=True, slots=True)
class Reproducer:
    """Operations on a whole machine at whose end, or after which, something was false.

    `machine` is the whole machine's name, `switches` the defects that were on. `seed` says which
    run found it; the operations alone are what is done again. Without any, the boot failed."""

    machine: str
    switches: tuple[str, ...]
    seed: int
    violated: str
    sentence: str
    operations: tuple[Operation, ...]

    @classmethod
    def of(
        cls,
        machine: str,
        switches: tuple[str, ...],
        seed: int,
        operations: tuple[Operation, ...],
        finding: Finding,
    ) -> Reproducer:
        """The record of a program that ends in this finding."""
        return cls(machine, switches, seed, finding.violated, finding.sentence, operations)

    @property
    def kind(self) -> tuple[str, str, tuple[str, ...]]:
        """What two programs have in common that very likely fail for one reason."""
        names = {operation.name for operation in self.operations}
        return self.machine, self.violated, tuple(sorted(names))

    def to_json(self) -> str:
        """The record as a JSON text; `from_json` gives it back."""
        document = {
            "format": FORMAT,
            "machine": self.machine,
            "switches": list(self.switches),
            "seed": self.seed,
            "violated": self.violated,
            "sentence": self.sentence,
            "operations": [
                {"name": operation.name, "params": dict(operation.params)}
                for operation in self.operations
            ],
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, content: str) -> Reproducer:
        """The inverse of `to_json`; raises ValueError if the text is nothing of the kind."""
        document = _object(json.loads(content))
        if document.get("format") != FORMAT:
            raise ValueError(f"this is no reproducer: its format is not {FORMAT}")
        try:
            operations = document["operations"]
            if not isinstance(operations, list):
                raise ValueError("operations is not a list")
            return cls(
                text(document["machine"]),
                texts(document["switches"]),
                _number("seed", document["seed"]),
                text(document["violated"]),
                text(document["sentence"]),
                tuple(map(_operation, operations)),
            )
        except KeyError as error:
            raise ValueError(f"{error} is missing") from error
        except TypeError as error:
            raise ValueError(str(error)) from error


def _operation(value: object) -> Operation:
    fields = _object(value)
    params = _object(fields["params"])
    return Operation(
        text(fields["name"]), tuple((name, _number(name, n)) for name, n in params.items())
    )


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{json.dumps(value)[:40]} is not an object")
    return value


def _number(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is not a number")
    return value
