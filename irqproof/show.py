# SPDX-License-Identifier: GPL-2.0-only
"""``irqproof show``: prints what is specified."""

import argparse

from irqproof.errors import UserError

_WHAT = ("spec", "invariants", "switches", "series")
_WIDTH = 12
"""Columns of an id."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``irqproof show``."""
    parser.add_argument(
        "what",
        choices=_WHAT,
        help="spec: the whole specification as mathematics; invariants: ids and sentences; "
        "switches: the hazards and defects that can be turned on; series: the patches, what holds "
        "each (checked now, where the answer is not known), and the time",
    )
    parser.add_argument(
        "--switch",
        metavar="NAME",
        action="append",
        default=[],
        help="the specification with a hazard or a defect turned on (repeatable)",
    )


def run(options: argparse.Namespace) -> int:
    """Print what was asked for; returns 0, or the exit code of the check behind `series`.

    Raises UserError for an unknown switch."""
    if options.what == "series":
        from irqproof import series

        return series.run()
    from spec.mathematics import specification
    from spec.stack import MODELS, SWITCHES

    unknown = [name for name in options.switch if name not in SWITCHES]
    if unknown:
        raise UserError(f"there is no switch {unknown[0]!r}; there are {', '.join(SWITCHES)}")
    if options.what == "switches":
        for name, meaning in SWITCHES.items():
            print(f"{name:{_WIDTH}} {meaning}")
        return 0
    models = [layer.build(frozenset(options.switch)) for layer in MODELS.values()]
    if options.what == "spec":
        print("\n\n".join("\n".join(specification(model)) for model in models))
        return 0
    sentences = {i.id: i.sentence for model in models for i in model.invariants}
    for id, sentence in sentences.items():
        print(f"{id:{_WIDTH}} {sentence}")
    return 0
