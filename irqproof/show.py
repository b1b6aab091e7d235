# SPDX-License-Identifier: GPL-2.0-only
"""``irqproof show``: prints what is specified."""

import argparse

from irqproof.errors import UserError

_WHAT = ("spec", "invariants", "switches")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``irqproof show``."""
    parser.add_argument(
        "what",
        choices=_WHAT,
        help="spec: the whole specification as mathematics; invariants: ids and sentences; "
        "switches: the hazards and defects that can be turned on",
    )
    parser.add_argument(
        "--switch",
        metavar="NAME",
        action="append",
        default=[],
        help="the specification with a hazard or a defect turned on (repeatable)",
    )


def run(options: argparse.Namespace) -> int:
    """Print what was asked for; returns 0, raises UserError for an unknown switch."""
    from spec.mathematics import specification
    from spec.stack import SWITCHES, stack

    unknown = [name for name in options.switch if name not in SWITCHES]
    if unknown:
        raise UserError(f"there is no switch {unknown[0]!r}; there are {', '.join(SWITCHES)}")
    if options.what == "switches":
        for name, meaning in SWITCHES.items():
            print(f"{name:6} {meaning}")
        return 0
    model = stack.build(frozenset(options.switch))
    if options.what == "spec":
        print("\n".join(specification(model)))
        return 0
    for invariant in model.invariants:
        print(f"{invariant.id:12} {invariant.sentence}")
    return 0
