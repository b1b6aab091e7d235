# SPDX-License-Identifier: GPL-2.0-only
"""``irqproof check`` on small plans: what it chooses, prints, writes and returns."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from irqproof.check import CheckOptions, run_check
from irqproof.errors import UserError
from irqproof.formats import to_json, to_junit, to_ktap
from irqproof.summary import Report
from proofs.counterexample import Counterexample
from proofs.options import Options
from proofs.result import Result, Task
from proofs.verdict import Verdict
from tests.irqproof import plans

PLANS = {"good": (plans.good, 0), "refuted": (plans.refuted, 1), "undecided": (plans.undecided, 3)}


def check(tasks: list[Task], options: CheckOptions) -> int:
    """Run these tasks with the sentences of the plans."""
    return run_check(tasks, options, plans.SENTENCES)


def only(*patterns: str) -> CheckOptions:
    """Options that choose these."""
    return CheckOptions(plan=Options(only=patterns))


def report(tasks: list[Task]) -> Report:
    """The report of what the tasks answer."""
    results = [result for task in tasks for result in task.run()]
    return Report.of(results, Options(seed=7), plans.SENTENCES)


@pytest.mark.parametrize("name", PLANS)
def test_exit_code_and_last_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan, code = PLANS[name]
    assert check(plan(), CheckOptions()) == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith({0: "held", 1: "refuted", 3: "undetermined"}[code] + ": 3 invariants, ")


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(
    "form", [{}, {"quiet": True}, {"json": "-"}, {"junit": "-"}, {"ktap": True}]
)
def test_standard_output_is_the_same_for_any_number_of_workers(
    name: str, form: dict[str, bool | str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, code = PLANS[name]
    texts = []
    for jobs in (1, 2):
        assert check(plan(), CheckOptions(jobs=jobs, **form)) == code  # type: ignore[arg-type]
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].endswith("\n")


def test_the_table_says_how_each_invariant_is_held(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    check(plans.refuted(), CheckOptions())
    rows = [line.strip() for line in capsys.readouterr().out.splitlines()]
    (row,) = (line for line in rows if line.startswith("VEC-1  "))
    assert [cell for cell in re.split(r"\s{2,}", row) if cell] == [
        "VEC-1",
        plans.SENTENCES["VEC-1"][:33] + "…",
        "refuted: stateful irq_matrix_alloc; proved for every size; "
        "explored to 2 CPUs x 4 vectors x 2 irqs",
        "3",
        "0.8s",
        "z3",
    ]
    assert "z3 5.4.1: slowest induction irq_matrix_alloc of VEC-1, 0.25 s" in rows
    assert "assumed by VEC-1, VEC-2: CPUs are not hot-removed" in rows
    assert "1. alloc(cpu=cpu0, irq=irq1)" in rows


def test_one_counterexample_found_twice_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    again = plans.task("again", plans.result("VEC-1", Verdict.REFUTED, "explorer"))
    check([*plans.refuted(), again], CheckOptions(quiet=True))
    text = capsys.readouterr().out
    assert text.count("refuted: VEC-1, ") == 2
    assert text.count("is the shortest counterexample") == 1


def test_an_empty_plan_is_undetermined(capsys: pytest.CaptureFixture[str]) -> None:
    assert check([], CheckOptions()) == 3
    assert capsys.readouterr().out == "undetermined: nothing was checked\n"


def test_a_task_that_raises_cannot_pass(capsys: pytest.CaptureFixture[str]) -> None:
    broken = Task("broken", "fake", 1.0, "", plans.fail, ("VEC-1", "VEC-2"))
    assert check([*plans.good(), broken], CheckOptions()) == 3
    assert "undetermined: VEC-1, VEC-2, broken: in two lines" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("patterns", "subjects"),
    [
        (("VEC-2",), ["VEC-2"]),
        (("VEC-*",), ["VEC-1", "VEC-2"]),
        (("explorer",), ["VEC-1"]),
        (("induction *",), ["VEC-1", "VEC-2"]),
        (("MX-1", "VEC-2"), ["VEC-2", "MX-1"]),
    ],
)
def test_only(
    patterns: tuple[str, ...], subjects: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(plans.good(), replace(only(*patterns), json="-")) == 0
    document = json.loads(capsys.readouterr().out)
    assert [subject["subject"] for subject in document["subjects"]] == subjects


@pytest.mark.parametrize("patterns", [("VEC-9",), ("VEC-1", "typo"), ("vec-1",), ("",)])
def test_only_what_is_not_there(patterns: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=f"--only {patterns[-1]}: no invariant and no task"):
        check(plans.good(), only(*patterns))


def test_two_reports_cannot_share_standard_output() -> None:
    with pytest.raises(UserError, match="only one report"):
        check(plans.good(), CheckOptions(json="-", ktap=True))


@pytest.mark.parametrize("name", ["missing/report.json", "."])
def test_a_report_that_cannot_be_written_is_said_before_the_run(tmp_path: Path, name: str) -> None:
    ran = Task("ran", "fake", 1.0, "", plans.fail)
    with pytest.raises(UserError, match="to write a report to"):
        check([ran], CheckOptions(json=str(tmp_path / name)))


@pytest.mark.parametrize("name", PLANS)
def test_reports_in_files_replace_old_ones(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, code = PLANS[name]
    files = tmp_path / "report.json", tmp_path / "report.xml"
    for file in files:
        file.write_text("old")
    assert check(plan(), CheckOptions(json=str(files[0]), junit=str(files[1]))) == code
    assert "invariants" in capsys.readouterr().out
    assert json.loads(files[0].read_text())["exit_code"] == code
    assert ElementTree.parse(files[1]).getroot().tag == "testsuites"


def test_json() -> None:
    tasks = plans.refuted()
    document = json.loads(to_json(report(tasks)))
    assert document["format"] == "irqproof-check/1"
    assert document["verdict"] == "refuted"
    assert document["options"] == {
        "only": [],
        "machines": [],
        "scope": None,
        "seed": 7,
        "switches": [],
    }
    assert document["counts"] == {"proved": 2, "held": 2, "refuted": 1, "undetermined": 0}
    first = document["subjects"][0]
    assert (first["subject"], first["verdict"]) == ("VEC-1", "refuted")
    results = [Result.from_json(item) for item in first["results"]]
    assert results == [r for task in tasks for r in task.run() if r.subject == "VEC-1"]
    assert Counterexample.from_itf(first["results"][-1]["counterexample"]) == plans.LEAK


def test_junit() -> None:
    root = ElementTree.fromstring(to_junit(report([*plans.refuted(), *plans.undecided()[-1:]])))
    assert {name: root.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "6",
        "failures": "1",
        "errors": "1",
    }
    cases = root.findall("testsuite/testcase")
    assert len(cases) == 6
    failed = [case for case in cases if case.find("failure") is not None]
    assert [(case.get("classname"), case.get("name")) for case in failed] == [
        ("VEC-1", "stateful irq_matrix_alloc")
    ]
    assert "1. alloc(cpu=cpu0, irq=irq1)" in str(failed[0].findtext("failure"))
    properties = {(p.get("name"), p.get("value")) for p in cases[0].iter("property")}
    assert ("assumed", "CPUs are not hot-removed") in properties
    assert ("solver", "z3 5.4.1") in properties


def test_junit_survives_what_xml_cannot_hold() -> None:
    odd = replace(
        plans.result("VEC-1", Verdict.UNDETERMINED),
        check="a\x00b<&>\ud800",
        detail="\x1b[31m\ufffe",
    )
    root = ElementTree.fromstring(to_junit(Report.of([odd], Options(), {"VEC-1": "\x07"})))
    case = root.find("testsuite/testcase")
    assert case is not None
    assert case.get("name") == "a\ufffdb<&>\ufffd"


def test_ktap() -> None:
    lines = to_ktap(report([*plans.refuted(), *plans.undecided()[-1:]])).splitlines()
    assert lines[:2] == ["KTAP version 1", "1..3"]
    tops = [line for line in lines if re.match(r"(not )?ok ", line)]
    assert tops == ["not ok 1 VEC-1", "ok 2 VEC-2", "not ok 3 MX-1 # ERROR"]
    # Each plan line is followed by as many results, numbered from 1, before the next one.
    for indent in ("", "  "):
        plan_sizes, numbers = [], []
        for line in lines:
            if match := re.fullmatch(rf"{indent}1\.\.(\d+)", line):
                plan_sizes.append(int(match[1]))
            elif match := re.match(rf"{indent}(?:not )?ok (\d+) ", line):
                numbers.append(int(match[1]))
        assert numbers == [n for size in plan_sizes for n in range(1, size + 1)]


def test_ktap_names_cannot_forge_a_directive() -> None:
    forged = replace(plans.result("VEC-1", Verdict.REFUTED), check="x # SKIP\nok 2 y")
    lines = to_ktap(Report.of([forged], Options(), {})).splitlines()
    assert "  not ok 1 x SKIP ok 2 y" in lines
