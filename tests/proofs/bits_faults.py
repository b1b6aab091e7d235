# SPDX-License-Identifier: GPL-2.0-only
"""Mistakes in the specifications of remapping and of Xen's messages: what to replace, by what."""

from itertools import count
from typing import Any

from proofs import bits_remapping
from spec import remap_message, xen_message

_NUMBERS = count()

PLATFORM_FAULTS: dict[str, tuple[str, Any, str, Any]] = {
    "int_1_a_region_one_too_long": (
        "INT-1",
        remap_message,
        "last_of_region",
        lambda index, size: index + size,
    ),
    "int_2_a_block_of_the_very_size": ("INT-2", remap_message, "block_size", lambda wanted: wanted),
    "amd_5_a_block_of_one": ("AMD-5", remap_message, "block_size", lambda wanted: wanted & 0 | 1),
    "int_4_the_sub_handle_is_forgotten": (
        "INT-4",
        remap_message,
        "hwirq",
        lambda upper, lower: upper,
    ),
    "int_5_a_short_handle": ("INT-5", remap_message, "_LOW_HANDLE", 0x3FFF),
    "sel_3_another_format_bit": ("SEL-3", remap_message, "is_remappable", lambda low: low),
    "int_8_the_upper_half_is_lost": (
        "INT-8",
        remap_message,
        "posted_address",
        lambda low, high: low,
    ),
    "int_13_the_lower_byte": (
        "INT-13",
        remap_message,
        "destination",
        lambda apicid, eim: apicid & 0,
    ),
    "amd_8_numbers_for_every_entry": (
        "AMD-8",
        bits_remapping,
        "amd_hwirq",
        lambda devid, entry: next(_NUMBERS),
    ),
    "amd_9_the_upper_half_is_lost": (
        "AMD-9",
        remap_message,
        "amd_destination",
        lambda low, high: low,
    ),
    "xen_6_another_pirq": ("XEN-6", xen_message, "decode_pirq", lambda message: message.data),
}
"""A name -> the subject that falls, and the replacement."""
