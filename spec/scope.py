# SPDX-License-Identifier: GPL-2.0-only
"""A scope: how many elements each sort has, and what the rigid fields are.

A scope turns a specification without sizes into a finite one. It is the whole description of the
machine for the readings that enumerate: the columns, the bounded solver, the plain evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

Value: TypeAlias = "bool | int | str | tuple[Value, ...] | None"
"""A value as people read it: elements are numbers, members of enumerations their names, an absent
option is None; a tuple is a function, in the order of its arguments."""

Index: TypeAlias = tuple[int, ...]
State: TypeAlias = Mapping[str, Mapping[Index, Value]]
"""Field name -> index -> value. A field without arguments has the single index ()."""


@dataclass(frozen=True)
class Scope:
    """A number of elements for each sort, by name, and a value for each place of a rigid field;
    a place that is not listed has the field's initial value.

    Raises ValueError if a size is not positive or over 64, the width of a machine word."""

    sizes: Mapping[str, int]
    rigid: Mapping[str, Mapping[Index, Value]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for sort, size in self.sizes.items():
            if not 1 <= size <= 64:
                raise ValueError(f"a scope of {size} elements of {sort}: give 1 to 64")

    @classmethod
    def parse(cls, text: str) -> Scope:
        """``2x4x3``: CPUs x vectors x irqs, with every vector allocatable. ValueError otherwise."""
        match = re.fullmatch(r"([0-9]+)x([0-9]+)x([0-9]+)", text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no scope: write CPUs x vectors x irqs, such as 2x4x3")
        cpus, bits, irqs = map(int, match.groups())
        return cls.of(cpus, bits, irqs)

    @classmethod
    def of(
        cls,
        cpus: int,
        bits: int,
        irqs: int,
        *,
        allocatable: frozenset[int] | None = None,
        isa_irq: Mapping[int, int] | None = None,
    ) -> Scope:
        """A machine of the vector layer. `allocatable` lists the vectors in the allocation range
        (None: all), `isa_irq` the ISA interrupt of a vector. The matrix covers every vector."""
        chosen = frozenset(range(bits)) if allocatable is None else allocatable
        return cls(
            {"Cpu": cpus, "Vector": bits, "Irq": irqs},
            {
                "matrix_bit": {(v,): True for v in range(bits)},
                "allocatable": {(v,): v in chosen for v in range(bits)},
                "alloc_size": {(): len(chosen)},
                "isa_irq": {(v,): i for v, i in (isa_irq or {}).items()},
            },
        )

    def size(self, sort: str) -> int:
        """The number of elements of a sort; ValueError if the scope does not say."""
        try:
            return self.sizes[sort]
        except KeyError:
            raise ValueError(f"the scope gives no size for the sort {sort}") from None

    def places(self, sorts: tuple[str, ...]) -> tuple[Index, ...]:
        """Every tuple of elements of these sorts, in lexicographic order."""
        return tuple(product(*(range(self.size(sort)) for sort in sorts)))

    def __str__(self) -> str:
        return "x".join(str(size) for size in self.sizes.values())
