# SPDX-License-Identifier: GPL-2.0-only
"""The message by which a guest of type HVM names a pirq (section 8.4).

As in `message`, words are ints or bit-vectors of a solver. The pirq stands in the place of a
destination; vector 0, which no interrupt has, says that it is one.
"""

from spec.hwirq import Word
from spec.message import FORMATS, Message, decode

__all__ = ["compose_pirq", "decode_pirq", "names_pirq", "stored"]

_DATA = 1 << 14 | 3 << 8
"""Asserted, edge triggered, delivery mode 3, vector 0."""

_WIDE = next(form for form in FORMATS if form.x2apic and not form.logical)


def compose_pirq(pirq: Word) -> Message[Word]:
    """The message for a pirq of up to 32 bits."""
    return Message((pirq & 0xFF) << 12 | 0xFEE00000, pirq & 0xFFFFFF00, pirq & 0 | _DATA)


def decode_pirq(message: Message[Word]) -> Word:
    """The pirq that a message names, if it names one."""
    return decode(_WIDE, message)[0]


def names_pirq(message: Message[Word]) -> object:
    """Whether a message names a pirq: its vector is 0."""
    return message.data & 0xFF == 0


def stored(pirq: Word) -> Word:
    """What irq_info keeps of a pirq."""
    return pirq & 0xFFFF
