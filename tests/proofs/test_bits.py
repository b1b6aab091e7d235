# SPDX-License-Identifier: GPL-2.0-only
"""Every obligation about words and tables is discharged, and every one can fail."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import z3

from impl.drivers.pci.msi_regs import pci_msi_calc_hwirq
from proofs import (
    bits,
    bits_hwirq,
    bits_message,
    bits_remapping,
    bits_xen,
    equivalence,
    series_facts,
)
from proofs.obligation import Claim, Falsity, Sentence, discharge
from proofs.verdict import Verdict
from spec import hwirq, message, remap_message, series
from spec.message import Message

MODULES = {
    module.__name__: module
    for module in (bits_hwirq, bits_message, bits_remapping, bits_xen, equivalence, series_facts)
}


@pytest.mark.parametrize("name", MODULES)
def test_every_obligation_is_discharged(name: str) -> None:
    results = bits.prove(name)
    assert results
    assert [r.check for r in results if r.verdict is not Verdict.PROVED] == []


def test_pci_4_the_colliding_devices_are_named() -> None:
    (historic,) = [
        result
        for result in bits.prove(bits_hwirq.__name__)
        if result.check == "bits hwirq numbers of two segments collide (LP64, historic)"
    ]
    assert historic.detail == ("0000:00:00.0 entry 0 and 0020:00:00.0 entry 0 both get hwirq 0x0")


def test_apic_q_the_wrong_message_is_named() -> None:
    details = [
        result.detail
        for result in bits.prove(bits_message.__name__)
        if "a direct move sends a wrong message" in result.check
    ]
    assert set(details) == {
        "from destination 0x0 vector 0x0 to destination 0x1 vector 0x1, "
        "the device sends to destination 0x1 vector 0x0"
    }


def test_a_task_answers_for_all_its_subjects() -> None:
    tasks = bits.tasks()
    assert len({task.key for task in tasks}) == len({task.name for task in tasks}) == len(tasks)
    for task in tasks:
        results = task.run()
        assert {result.subject for result in results} == set(task.subjects)
        assert len({(r.subject, r.check) for r in results}) == len(results)
        assert set(task.subjects) <= set(bits.SENTENCES)


def data_first(device: Any, new: Any, *, is_64: bool) -> Any:
    yield Message(device.address_lo, device.address_hi, new.data)
    yield new


def moved_at_once(form: Any, old: Any, new: Any, *, is_64: bool) -> Any:
    start = message.compose(form, *old)
    return (start, *message.rewrite(start, message.compose(form, *new), is_64=is_64))


def always_widened(entry: int, devid: int, segment: int, *, bits: int, widened: bool) -> int:
    return pci_msi_calc_hwirq(entry, devid, segment)


def in_one_place(user: str, *names: str) -> dict[str, Any]:
    """Two fields of a user go to one place, so that one of them is lost."""
    first, second = names
    moved = series.MOVED[user]
    return {**series.MOVED, user: {**moved, second: moved[first]}}


NARROW = {**equivalence._AFTER, "uv.name": equivalence._Place(0, 32)}

FAULTS: dict[str, tuple[str, Any, str, Any]] = {
    "pci_4_segment_shifted_by_26": ("PCI-4", hwirq, "_SEGMENT_SHIFT", 26),
    "pci_4_no_falsity_in_the_code": ("PCI-4", bits_hwirq, "pci_msi_calc_hwirq", always_widened),
    "hw_1_devid_shifted_by_10": ("HW-1", hwirq, "_DEVID_SHIFT", 10),
    "pci_10_devid_shifted_by_10": ("PCI-10", hwirq, "_DEVID_SHIFT", 10),
    "pci_5_msi_answers_what_it_was_asked": (
        "PCI-5",
        bits_hwirq,
        "_msi_answers",
        lambda words: words["rc"] == words["n"],
    ),
    "pci_5_msix_answers_the_table_always": (
        "PCI-5",
        bits_hwirq,
        "_msix_answers",
        lambda words: words["rc"] == words["table"],
    ),
    "series_17_four_bits": ("series-17", bits_hwirq, "_FIVE_BITS", 15),
    "apic_1_vectors_run_into_the_flags": ("APIC-1", message, "_LEVEL_ASSERT", 1 << 7),
    "apic_1_no_falsity_in_the_code": (
        "APIC-1",
        bits_message,
        "compose_msi_msg",
        lambda dest, vector, **_: (dest, 0, vector),
    ),
    "msi_decode_base_in_the_destination": ("MSI-decode", message, "_BASE", 0xFEE01000),
    "apic_q_without_step_5": ("APIC-Q", message, "quirk_move", moved_at_once),
    "apic_q_data_first": ("APIC-Q", message, "rewrite", data_first),
    "int_1_blocks_end_one_too_far": (
        "INT-1",
        remap_message,
        "last_of_region",
        lambda index, size: index + size,
    ),
    "int_2_blocks_are_not_rounded": ("INT-2", remap_message, "block_size", lambda count: count),
    "int_4_too_little_room_for_the_index": (
        "INT-4",
        remap_message,
        "hwirq",
        lambda upper, lower: (upper << 8 | lower) & 0xFFFFFFFF,
    ),
    "int_5_the_high_bit_of_the_handle_is_lost": ("INT-5", remap_message, "_LOW_HANDLE", 0x3FFF),
    "int_8_addresses_shifted_by_7": (
        "INT-8",
        remap_message,
        "posted_address",
        lambda low, high: low << 7 | high << 32,
    ),
    "int_13_no_falsity_in_the_code": (
        "INT-13",
        bits_remapping,
        "_lost",
        lambda values: "",
    ),
    "int_13_wide_destinations": (
        "INT-13",
        remap_message,
        "destination",
        lambda apicid, eim: apicid,
    ),
    "sel_3_the_format_bit_is_in_the_destination": ("SEL-3", message, "_BASE", 0xFEE00010),
    "amd_5_blocks_are_not_rounded": ("AMD-5", remap_message, "block_size", lambda count: count),
    "amd_8_no_falsity_in_the_code": (
        "AMD-8",
        bits_remapping,
        "_one_number",
        lambda values: "",
    ),
    "amd_9_the_destination_is_cut": (
        "AMD-9",
        remap_message,
        "amd_split",
        lambda apicid: (apicid & 0xFFFFFF, apicid & 0),
    ),
    "ioa_entry_overlap": (
        "IOA-entry",
        message,
        "ROUTE_ENTRY",
        {**message.ROUTE_ENTRY, "mask": (15, 1)},
    ),
    "series_7_two_types_of_one_name": (
        "series-7",
        series,
        "TYPES_RENAMED",
        {"MSI": "PCI_MSIX", "MSIX": "PCI_MSIX"},
    ),
    "series_8_new_type_with_an_old_value": (
        "series-8",
        series,
        "TYPES_AFTER",
        {**series.TYPES_AFTER, "IOAPIC_GET_PARENT": 6},
    ),
    "series_39_inserted_before_uv": (
        "series-39",
        series,
        "TYPES_UNMERGED",
        {**series.TYPES_UNMERGED, "DEV_MSI": 6, "UV": 7, "IOAPIC_GET_PARENT": 8},
    ),
    "series_12_descriptor_in_the_union": (
        "series-12",
        equivalence,
        "_AFTER",
        {**equivalence._AFTER, "hwirq": equivalence._AFTER["desc"]},
    ),
    "series_13_hpet": ("series-13", series, "MOVED", in_one_place("HPET", "hpet_id", "hpet_index")),
    "ioa_8_two_fields_in_one": (
        "IOA-8",
        series,
        "MOVED",
        in_one_place("IOAPIC", "ioapic_pin", "ioapic_node"),
    ),
    "series_14_ioapic": (
        "series-14",
        series,
        "MOVED",
        in_one_place("IOAPIC", "ioapic_pin", "ioapic_node"),
    ),
    "series_15_dmar": ("series-15", series, "MOVED", {**series.MOVED, "DMAR": {}}),
    "series_16_uv_name_cut": ("series-16", equivalence, "_AFTER", NARROW),
    "dom_13_another_rule": (
        "DOM-13",
        equivalence,
        "irq_chip_compose_msi_msg",
        lambda irqd: (
            (0, irqd.chip.irq_compose_msi_msg(irqd))
            if irqd.chip.irq_compose_msi_msg
            else (-38, None)
        ),
    ),
    "apic_2_pci_msi_still_composes": (
        "APIC-2",
        series,
        "COMPOSES_AFTER",
        series.COMPOSES_AFTER | {"PCI-MSI"},
    ),
    "apic_3_remapping_composes_nothing": (
        "APIC-3",
        series,
        "COMPOSES_AFTER",
        frozenset({"APIC"}),
    ),
    "xen_6_no_falsity_in_the_code": ("XEN-6", bits_xen, "_truncated", lambda values: ""),
    "series_2_a_hook_stays": ("series-2", series_facts, "_REMOVED", ("arch_init",)),
    "series_9_no_parent_for_an_hpet": (
        "series-9",
        series_facts,
        "_AFTER",
        {"Intel": {"IOAPIC_GET_PARENT": "ir", "PCI_MSI": "msi", "PCI_MSIX": "msi"}},
    ),
    "series_10_devices_get_the_parent": (
        "series-10",
        series_facts,
        "_AFTER",
        {"AMD": dict.fromkeys(("IOAPIC_GET_PARENT", "HPET_GET_PARENT", "PCI_MSI"), "ir")},
    ),
    "series_11_hyper_v_answers_devices": (
        "series-11",
        series_facts,
        "_AFTER",
        {"Hyper-V": {"IOAPIC_GET_PARENT": "ir", "PCI_MSI": "ir"}},
    ),
    "series_21_the_bios_is_forgotten": (
        "series-21",
        series_facts,
        "_steps_after",
        lambda direct, bios, hook_ends: ["pci_mmcfg_early_init", "arch_init"],
    ),
    "series_40_prepared_as_pci": (
        "series-40",
        series_facts,
        "x86_msi_prepare",
        lambda domain, dev, nvec, arg: 0,
    ),
}


@pytest.mark.parametrize(("subject", "module", "name", "value"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_refuted(
    monkeypatch: pytest.MonkeyPatch, subject: str, module: Any, name: str, value: Any
) -> None:
    monkeypatch.setattr(module, name, value)
    own = (o for each in MODULES.values() for o in each.obligations() if o.subject == subject)
    assert Verdict.REFUTED in {discharge(obligation).verdict for obligation in own}


def test_every_subject_has_a_fault() -> None:
    subjects = {subject for task in bits.tasks() for subject in task.subjects}
    assert {subject for subject, *_ in FAULTS.values()} == subjects


def word(value: int) -> Callable[[Mapping[str, z3.BitVecRef]], z3.BoolRef]:
    return lambda words: words["x"] == value


def test_a_claim_that_is_false_shows_small_values() -> None:
    claim = Claim("X", "x is below 5", {"x": 8}, lambda words: z3.ULT(words["x"], 5))
    assert claim.answer() == (Verdict.REFUTED, "x 0x5")


def test_a_falsity_needs_a_witness_that_is_confirmed() -> None:
    nowhere = Falsity("X", "x is 300", {"x": 8}, word(300), lambda _: "so it is")
    denied = Falsity("X", "x is 3", {"x": 8}, word(3), lambda _: "")
    shown = Falsity("X", "x is 3", {"x": 8}, word(3), lambda values: f"x is {values['x']}")
    assert nowhere.answer() == (Verdict.REFUTED, "there is no witness")
    assert denied.answer() == (Verdict.REFUTED, "the implementation disagrees about x 0x3")
    assert shown.answer() == (Verdict.PROVED, "x is 3")


def test_a_sentence_can_be_false() -> None:
    x = z3.Int("x")
    assert discharge(Sentence("X", "x is 0", lambda: x == 0)).verdict is Verdict.REFUTED
