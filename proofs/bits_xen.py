# SPDX-License-Identifier: GPL-2.0-only
"""XEN-6: the message of a guest of type HVM says the pirq, and is no native message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import z3

from impl.arch.x86.xen_message import XEN_PIRQ_MSI_DATA, compose_pirq_msg, decode_pirq_msg
from proofs.obligation import Claim, Falsity, Obligation, Words
from spec import message, xen_message
from spec.message import FORMATS, Format

__all__ = ["SENTENCES", "obligations"]

SENTENCES: Final[Mapping[str, str]] = {
    "XEN-6": "The message of a guest of type HVM names the pirq of the irq."
}

_PIRQ: Final = {"pirq": 32}
_FIRST_VECTOR: Final = 0x10
"""No interrupt of a CPU has a lower vector."""


def obligations() -> Iterator[Obligation]:
    """Everything that is to be shown of messages that name pirqs."""
    yield Claim("XEN-6", "a message says the pirq that it was composed for", _PIRQ, _readable)
    yield Claim("XEN-6", "a message that was composed for a pirq has vector 0", _PIRQ, _marked)
    yield from (_apart(form) for form in FORMATS)
    yield Claim(
        "XEN-6",
        "a message fits a device without 64-bit messages exactly for a pirq of 8 bits",
        _PIRQ,
        lambda words: (
            (xen_message.compose_pirq(words["pirq"]).address_hi == 0) == z3.ULT(words["pirq"], 256)
        ),
    )
    yield Claim(
        "XEN-6",
        "irq_info keeps a pirq exactly if it has 16 bits",
        _PIRQ,
        lambda words: (
            (xen_message.stored(words["pirq"]) == words["pirq"]) == z3.ULT(words["pirq"], 1 << 16)
        ),
    )
    yield Falsity(
        "XEN-6",
        "irq_info and the message differ about a pirq of more than 16 bits",
        _PIRQ,
        lambda words: (
            xen_message.stored(words["pirq"])
            != xen_message.decode_pirq(xen_message.compose_pirq(words["pirq"]))
        ),
        _truncated,
    )


def _apart(form: Format) -> Obligation:
    def native(words: Words) -> z3.BoolRef:
        composed = message.compose(form, words["dest"], words["vector"])
        return z3.Not(xen_message.names_pirq(composed))

    return Claim(
        "XEN-6",
        f"no message of a vector is taken for one of a pirq ({form})",
        {"dest": 32, "vector": 8},
        native,
        lambda words: z3.UGE(words["vector"], _FIRST_VECTOR),
    )


def _readable(words: Words) -> z3.BoolRef:
    composed = xen_message.compose_pirq(words["pirq"])
    return xen_message.decode_pirq(composed) == words["pirq"]


def _marked(words: Words) -> z3.BoolRef:
    composed = xen_message.compose_pirq(words["pirq"])
    return z3.And(xen_message.names_pirq(composed), composed.data == XEN_PIRQ_MSI_DATA)


def _truncated(values: Mapping[str, int]) -> str:
    pirq = values["pirq"]
    said = decode_pirq_msg(*compose_pirq_msg(pirq))
    kept = xen_message.stored(pirq)
    return "" if said == kept else f"the message says pirq {said:#x}, irq_info keeps {kept:#x}"
