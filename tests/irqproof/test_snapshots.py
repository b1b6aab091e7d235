# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots of real kernels are accepted in full; copies with one fact altered are not."""

import json
import re
from pathlib import Path

import pytest

from irqproof import cli
from proofs.snapshot_judge import Judgement
from proofs.verdict import Verdict
from tests.irqproof.snapshot_cases import CASES
from tests.irqproof.snapshot_support import (
    CAPTURES,
    PLAIN,
    VTD,
    XEN,
    Altered,
    altered_once,
    archive_of,
    every_line,
    files,
    history,
    judged,
    log_of,
    unpack,
)

# --- real snapshots -------------------------------------------------------------------------

JUDGED = {
    PLAIN: ("MSI-8", "PCI-4", "VEC-14"),
    VTD: (
        *("DOM-1", "DOM-3", "DOM-4", "INT-1", "INT-5", "INT-6", "INT-7", "INT-9", "INT-12"),
        *("INT-14", "MX-3", "MX-4", "MX-6", "MX-7", "MX-8", "MX-9"),
        *("VEC-1", "VEC-2", "VEC-3", "VEC-5", "VEC-9", "VEC-10", "VEC-14", "refinement"),
    ),
    XEN: ("XB-6", "XB-7", "XB-8", "XB-11", "XEN-1", "XEN-4"),
}
"""The rules that each capture can be held to."""


@pytest.mark.parametrize("capture", CAPTURES)
def test_a_capture_is_judged_and_holds(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", str(log_of(capture)), str(archive_of(capture))]) == 0
    text = capsys.readouterr().out
    snapshots = len({name.split(".")[0] for name in files(capture)})
    line = re.search(rf"{archive_of(capture)}: held: ([\d,]+) facts true in (\d+) snapshots", text)
    assert line and int(line[2]) == snapshots and int(line[1].replace(",", "")) > 600
    told = text.split("by invariant   ")[-1].splitlines()[0]
    assert tuple(part.split()[0] for part in told.split(", ")) == JUDGED[capture]


@pytest.mark.parametrize(
    ("capture", "left"), [(PLAIN, "DOM-1"), (VTD, "refinement"), (XEN, "XB-1")]
)
def test_what_could_not_be_judged_is_said(
    capture: str, left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["replay", str(log_of(capture)), str(archive_of(capture))]) == 0
    assert re.search(rf"not judged     {left}\b.*: .* \(\d+\)", capsys.readouterr().out)


def test_most_facts_of_a_log_are_judged_wherever_it_knows_them(tmp_path: Path) -> None:
    """Until a CPU is first taken down nothing is left open."""
    for capture in (PLAIN, VTD):
        for snapshot in ("s0-boot", "s1-loaded", "s2-affinity"):
            directory = unpack(capture, snapshot, tmp_path / f"{capture} {snapshot}")
            reasons = [reason for _, reason in judged(capture, directory).left]
            assert not any("log" in reason for reason in reasons), reasons


@pytest.mark.parametrize("capture", CAPTURES)
def test_snapshots_need_no_log(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["replay", "--quiet", str(archive_of(capture))])
    out = capsys.readouterr().out
    # Without a log or debugfs nothing tells a vector, only the hwirqs can be judged.
    assert code == 0 and "held" in out and out.count("\n") == 1


def test_snapshots_belong_to_the_log_before_them(capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(f) for c in (PLAIN, XEN) for f in (log_of(c), archive_of(c))]
    assert cli.main(["replay", "--quiet", *names]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == names
    # Beside the log of another machine they make no sense.
    assert cli.main(["replay", "--quiet", str(log_of(VTD)), str(archive_of(PLAIN))]) == 1


# --- one fact altered -----------------------------------------------------------------------


def judge_altered(capture: str, member: str, change: Altered, tmp_path: Path) -> Judgement:
    snapshot, kind = member.split(".")
    return judged(capture, unpack(capture, snapshot, tmp_path / "altered", **{kind: change.text}))


def told_at(judgement: Judgement, file: str, line: int) -> set[str]:
    """The rules that are broken at this line, or where it is named as the other side."""
    place = re.compile(rf"\b{re.escape(file)}:{line}\b")
    return {finding.rule for finding in judgement.findings if place.search(str(finding))}


@pytest.mark.parametrize("case", CASES)
def test_one_altered_fact_is_found_at_its_line(case: str, tmp_path: Path) -> None:
    c = CASES[case]
    change = altered_once(files(c.capture)[f"{c.member}.txt"], c.pattern, c.replacement)
    judgement = judge_altered(c.capture, c.member, change, tmp_path)
    assert judgement.verdict is Verdict.REFUTED
    broken = told_at(judgement, f"{c.member}.txt", change.number)
    assert c.rule in broken, [str(finding) for finding in judgement.findings]


def test_the_command_tells_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = altered_once(files(VTD)["s1-loaded.msixtab.txt"], "FEE00618", "FEE005F8")
    directory = unpack(VTD, "s1-loaded", tmp_path / "copy", msixtab=change.text)
    assert cli.main(["replay", str(log_of(VTD)), str(directory)]) == 1
    out = capsys.readouterr().out
    hwirq = 1 + files(VTD)["s1-loaded.debug_irq.txt"].split("\n").index(
        "/sys/kernel/debug/irq/irqs/53:     hwirq:   0x300000"
    )
    assert f"{log_of(VTD)}: held" in out
    assert (
        f"{directory}/s1-loaded.msixtab.txt:{change.number}: refuted: message 1 of 0000:00:0a.0"
        " names entry 47 + 0, but irq 53 has 48 + 0 by its hwirq at"
        f" {directory}/s1-loaded.debug_irq.txt:{hwirq} (INT-5)"
    ) in out.splitlines()
    assert "1 facts false, of INT-5" in out


# --- every line of a kind -------------------------------------------------------------------


def flipped(match: re.Match[str]) -> str:
    """The number in hexadecimal, its lowest bit the other one."""
    return f"{int(match[0], 16) ^ 1:0{len(match[0])}x}"


@pytest.mark.parametrize(
    ("capture", "rule", "count"), [(PLAIN, "MSI-8", 26), (VTD, "INT-5", 26), (XEN, "XB-11", 13)]
)
def test_every_message_of_a_table_is_judged(
    capture: str, rule: str, count: int, tmp_path: Path
) -> None:
    text = files(capture)["s1-loaded.msixtab.txt"]
    found = 0
    for change in every_line(text, r"(?<=0xFEE.{5} 0x00000000 0x)\w{8}", flipped):
        judgement = judge_altered(capture, "s1-loaded.msixtab", change, tmp_path)
        assert rule in told_at(judgement, "s1-loaded.msixtab.txt", change.number), change.new
        found += 1
    assert found == count


@pytest.mark.parametrize(("snapshot", "count"), [("s1-loaded", 33), ("s3-offline", 27)])
def test_every_entry_of_a_remapping_table_is_judged(
    snapshot: str, count: int, tmp_path: Path
) -> None:
    text = files(VTD)[f"{snapshot}.ir_translation.txt"]
    found = 0
    for change in every_line(text, r"(?<=\t\w{8}00)\w\w(?=0009)", flipped):
        judgement = judge_altered(VTD, f"{snapshot}.ir_translation", change, tmp_path)
        assert told_at(judgement, f"{snapshot}.ir_translation.txt", change.number), change.new
        found += 1
    assert found == count


def test_every_entry_that_is_missing_is_noticed(tmp_path: Path) -> None:
    text = files(VTD)["s1-loaded.ir_translation.txt"]
    for change in every_line(text, r"^ \d+ .*", lambda match: ""):
        active = " ef " not in change.old
        judgement = judge_altered(VTD, "s1-loaded.ir_translation", change, tmp_path)
        rules = {finding.rule for finding in judgement.findings}
        # Whether a reserved irq has an entry depends on whether it was once activated.
        assert rules == ({"INT-6"} if active else set()), change.old


def test_every_level_of_every_chain_is_judged(tmp_path: Path) -> None:
    member = "s11-rmmod.debug_irq"
    found = 0
    for change in every_line(files(VTD)[f"{member}.txt"], r"(?<=domain:  )\S+$", lambda _: "none"):
        judgement = judge_altered(VTD, member, change, tmp_path)
        assert told_at(judgement, f"{member}.txt", change.number) == {"DOM-1"}, change.new
        found += 1
    assert found == 74


def test_every_handle_of_an_active_irq_is_judged(tmp_path: Path) -> None:
    """The hwirq in the unit's domain is another free one, so the irq has no entry any more."""
    member = "s1-loaded.debug_irq"
    text = files(VTD)[f"{member}.txt"]
    active = re.findall(r"/(\d+): +Vector: +[1-9]", text)
    found = 0
    for change in every_line(text, r"(?<=hwirq:   0x)[0-9a-f]+0000$", lambda _: "7770000"):
        irq = change.old.split("/irqs/")[1].split(":")[0]
        judgement = judge_altered(VTD, member, change, tmp_path)
        if irq in active:
            assert "INT-6" in told_at(judgement, f"{member}.txt", change.number), change.new
            found += 1
    assert found == 28


# --- the remaining rules --------------------------------------------------------------------


def test_int_7_an_entry_of_an_irq_that_is_shut_down(tmp_path: Path) -> None:
    """The managed irqs of CPUs that are offline have no entry; one comes back."""
    line = next(x for x in files(VTD)["s1-loaded.ir_translation.txt"].split("\n") if " 27 " in x)
    text = files(VTD)["s3-offline.ir_translation.txt"].replace("\n 29 ", f"\n{line}\n 29 ")
    change = Altered(text, text.split("\n").index(line) + 1, line)
    judgement = judge_altered(VTD, "s3-offline.ir_translation", change, tmp_path)
    assert told_at(judgement, "s3-offline.ir_translation.txt", change.number) == {"INT-7"}


def test_vec_9_a_vector_with_two_owners(tmp_path: Path) -> None:
    """Irqs 52 and 53 have the same vector, and now the same CPU."""
    text = files(VTD)["s1-loaded.debug_irq.txt"]
    change = altered_once(text, r"(/53:         Target:     )2", r"\g<1>1")
    judgement = judge_altered(VTD, "s1-loaded.debug_irq", change, tmp_path)
    vector = next(f for f in judgement.findings if f.rule == "VEC-9")
    assert "irq 52 has vector 38 on CPU 1, which is irq 53's at" in vector.sentence


@pytest.mark.parametrize(
    ("rule", "irq", "flag"), [("VEC-1", 53, "has_reserved: "), ("VEC-2", 49, "can_reserve:  ")]
)
def test_vec_1_2_states_that_cannot_be(rule: str, irq: int, flag: str, tmp_path: Path) -> None:
    text = files(VTD)["s1-loaded.debug_irq.txt"]
    change = altered_once(text, rf"(/{irq}:\s+{flag}\s+)0", r"\g<1>1")
    judgement = judge_altered(VTD, "s1-loaded.debug_irq", change, tmp_path)
    assert rule in {finding.rule for finding in judgement.findings}


def test_refinement_a_vector_is_that_of_the_log(tmp_path: Path) -> None:
    text = files(VTD)["s1-loaded.debug_irq.txt"]
    change = altered_once(text, r"(/53:         Vector:    )38", r"\g<1>39")
    judgement = judge_altered(VTD, "s1-loaded.debug_irq", change, tmp_path)
    assert "refinement" in told_at(judgement, "s1-loaded.debug_irq.txt", change.number)
    alone = judged(VTD, tmp_path / "altered", log=False)
    assert "refinement" not in {finding.rule for finding in alone.findings}


def test_xen_1_a_pirq_of_no_device(tmp_path: Path) -> None:
    text = files(XEN)["s1-loaded.msi_irqs.txt"]
    change = altered_once(text, r"msi_irqs/45:msix", "msi_irqs/99:msix")
    judgement = judge_altered(XEN, "s1-loaded.msi_irqs", change, tmp_path)
    row = next(f for f in judgement.findings if f.rule == "XEN-1")
    assert (
        row.place.file.endswith("s1-loaded.interrupts.txt") and "irq 45 is a pirq" in row.sentence
    )


@pytest.mark.parametrize(
    ("event", "rule"),
    [
        ("vector_reserve: irq=44 ret=0", "XB-6"),
        ("irq_matrix_reserve: online_maps=2 global_avl=300, global_rsvd=1, total_alloc=9", "XB-7"),
    ],
)
def test_xb_6_7_a_guest_has_no_event_of_the_native_code(
    event: str, rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, directory = tmp_path / "log.txt", unpack(XEN, "s1-loaded", tmp_path / "xen")
    log.write_text(
        "     sh-93      [001] .....    86: tracing_mark_write: LAB snap s1-loaded\n"
        f"     sh-93      [001] d..1.    87: {event}\n"
    )
    assert cli.main(["replay", str(log), str(directory)]) == 1
    assert re.search(rf"{log}:2: refuted: .*\({rule}\)", capsys.readouterr().out)
    # A guest that is fully virtualised has pirqs and a vector domain; it cannot ask Xen.
    (directory / "s1-loaded.xenkeys.txt").unlink()
    assert cli.main(["replay", str(log), str(directory)]) == 0
    assert "not judged     XB-6, XB-7: the events may be" in capsys.readouterr().out


def test_json(tmp_path: Path) -> None:
    change = altered_once(files(XEN)["s1-loaded.msixtab.txt"], "0x00004139", "0x0000413a")
    directory = unpack(XEN, "s1-loaded", tmp_path / "xen", msixtab=change.text)
    target = tmp_path / "out.json"
    arguments = [str(log_of(XEN)), str(archive_of(XEN)), str(directory), "--json", str(target)]
    assert cli.main(["replay", "--quiet", *arguments]) == 1
    document = json.loads(target.read_text())
    held, refuted = document["snapshots"]
    assert (held["verdict"], held["findings"], held["snapshots"]) == ("held", [], 4)
    assert [result["subject"] for result in held["results"]] == list(JUDGED[XEN])
    assert all(r["method"] == "replay" and "4 snapshots" in r["bound"] for r in held["results"])
    assert any("domain of a device" in left["reason"] for left in held["not_judged"])
    assert [f["line"] for f in refuted["findings"]] == [change.number]
    verdicts = {r["subject"]: r["verdict"] for r in refuted["results"]}
    assert verdicts["XB-11"] == "refuted" and verdicts["XB-8"] == "held"


def test_a_moment_lasts_until_the_next_marker() -> None:
    """During s4 of the machine with VT-d irqs move, so several places are right."""
    moments = history(VTD).moments
    one, several = moments["s2-affinity"].places(26), moments["s4-online"].places(26)
    assert one is not None and len(one) == 1
    assert several is not None and len(several) > 1
