# SPDX-License-Identifier: GPL-2.0-only
"""The writes of an action on a partial state, compiled.

All conditions, values and places are computed on the state before; then everything is stored, in
the order of the writes, because a later one overrules an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from spec.compiled import Compiler
from spec.partial import put, put_many
from spec.records import Action, Write
from spec.terms import Sort, substitute


def writer(action: Action, compiler: Compiler, parameters: Sequence[str]) -> Callable[..., None]:
    """A function of the parameters that does what the action writes; hidden fields are left out."""
    put_name, many_name = compiler.provide(put), compiler.provide(put_many)
    compute: list[str] = []
    store: list[str] = []
    for name, writes in action.writes.items():
        if name in compiler.hidden:
            continue
        for write in writes:
            k = len(compute)
            if write.points is None:
                plan = compiler.provide(_many(name, write, compiler, parameters))
                compute.append(f" w{k} = {plan}({compiler.signature(parameters)})")
                store.append(f" {many_name}(s_{name}, w{k})")
            else:
                test, source, index = _one(write, compiler, parameters)
                compute.append(f" c{k} = {test}; v{k} = {source}; i{k} = ({index})")
                plain = test == "True" and all(isinstance(p.type, Sort) for p in write.points)
                if plain and len(write.points) < 2:
                    store.append(f" s_{name}[{index.rstrip(', ') or 'ANY'}] = v{k}")
                else:
                    store.append(f" {put_name}(s_{name}, i{k}, c{k}, v{k})")
    body = "\n".join([*compute, *store, " return"])
    return compiler.define(f"({compiler.signature(parameters)}):\n{body}")


def _one(write: Write, compiler: Compiler, parameters: Sequence[str]) -> tuple[str, str, str]:
    assert write.points is not None
    condition = substitute(write.condition, dict(zip(write.vars, write.points, strict=True)))
    test, value, *points = compiler.sources([condition, write.value, *write.points], parameters)
    return test, value, "".join(p + ", " for p in points)


def _many(
    name: str, write: Write, compiler: Compiler, parameters: Sequence[str]
) -> Callable[..., list[tuple[Any, Any, Any]]]:
    inner = [*parameters, *(v.args[0] for v in write.vars)]
    places = compiler.places(write.vars, [write.condition, write.value], parameters, also=name)
    condition = compiler.function(write.condition, inner)
    value = compiler.function(write.value, inner)

    def plan(*given: Any) -> list[tuple[Any, Any, Any]]:
        return [(at, condition(*given, *at), value(*given, *at)) for at in places(*given)]

    return plan
