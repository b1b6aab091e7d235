# SPDX-License-Identifier: GPL-2.0-only
"""Word expressions as straight-line Python.

The same text runs on Python integers and on NumPy columns, one element a state: only the four
names `leaf`, `spread`, `number` and `count` mean something else, and the caller provides them.
A value is dropped after its last use, so that a long function over columns stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from spec.words import Node

_INFIX = {
    "and": "&", "or": "|", "xor": "^", "same": "==", "differ": "!=", "eq": "==", "ne": "!=",
    "le": "<=", "lt": "<", "flip": "^",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statement:
    """Lines that use the values of some nodes; `text` gets their names."""

    needs: tuple[Node, ...]
    text: Callable[[Sequence[str]], Iterable[str]]


def lines(statements: Iterable[Statement], leaf: Callable[[int], str]) -> list[str]:
    """The statements in order, each behind the definitions that it needs and that no earlier one
    made. `leaf` spells how a stored word is read."""
    steps = _schedule(statements)
    last = {node: k for k, (_, uses, _) in enumerate(steps) for node in uses}
    names: dict[Node, str] = {}
    free: list[str] = []
    made = 0
    text: list[str] = []
    for k, (target, uses, statement) in enumerate(steps):
        if statement is not None:
            text += statement.text([_name(names, node) for node in statement.needs])
        elif target is not None:
            right = _right_side(target, names, leaf)
            free += [names[node] for node in uses if last[node] == k]
            if not free:
                free.append(f"t{made}")
                made += 1
            names[target] = free.pop()
            text.append(f"{names[target]} = {right}")
            continue
        free += [names[node] for node in uses if last[node] == k]
    return text


_Step = tuple[Node | None, tuple[Node, ...], Statement | None]


def _schedule(statements: Iterable[Statement]) -> list[_Step]:
    done: set[Node] = set()
    steps: list[_Step] = []
    for statement in statements:
        for root in statement.needs:
            stack = [root]
            while stack:
                node = stack[-1]
                if node in done or node.op == "const":
                    stack.pop()
                    continue
                below = _operands(node)
                missing = [n for n in below if n not in done]
                if missing:
                    stack += missing
                else:
                    stack.pop()
                    done.add(node)
                    steps.append((node, below, None))
        used = tuple(dict.fromkeys(n for n in statement.needs if n.op != "const"))
        steps.append((None, used, statement))
    return steps


def _operands(node: Node) -> tuple[Node, ...]:
    """The nodes below that need a name of their own, each once."""
    nodes = (a for a in node.args if isinstance(a, Node) and a.op != "const")
    return tuple(dict.fromkeys(nodes))


def _name(names: Mapping[Node, str], node: Node) -> str:
    if node.op == "const":
        return str(bool(node.value)) if node.kind == "bit" else str(node.value)
    return names[node]


def _right_side(node: Node, names: Mapping[Node, str], leaf: Callable[[int], str]) -> str:
    args = [_name(names, a) if isinstance(a, Node) else str(a) for a in node.args]
    match node.op:
        case "leaf" | "option":
            return leaf(int(args[0]))
        case "nonzero":
            return f"{args[0]} != 0"
        case "zero":
            return f"{args[0]} == 0"
        case "not":
            return f"{args[0]} ^ True"
        case "less":
            return f"{args[0]} & ~{args[1]}"
        case "spread" | "count":
            return f"{node.op}({', '.join(args)})"
        case "times":
            return f"number({args[0]})" if args[1] == "1" else f"number({args[0]}) * {args[1]}"
        case "choose":
            return f"number({args[0]}) * ({args[1]} - {args[2]}) + {args[2]}"
        case "linear":
            return _sum(args)
    return f"{args[0]} {_INFIX[node.op]} {args[1]}"


def _sum(args: Sequence[str]) -> str:
    pairs = [(args[k], int(args[k + 1])) for k in range(0, len(args) - 1, 2)]
    pairs.sort(key=lambda pair: -pair[1])  # a sum that begins with a plus needs no negation
    text = ""
    for name, weight in pairs:
        factor = name if abs(weight) == 1 else f"{name} * {abs(weight)}"
        sign = "-" if weight < 0 else "+" if text else ""
        text += f" {sign} {factor}" if text else f"{sign}{factor}"
    constant = int(args[-1])
    return text if not constant else f"{text} {'-' if constant < 0 else '+'} {abs(constant)}"
