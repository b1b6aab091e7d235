# SPDX-License-Identifier: GPL-2.0-only
"""The patches of the series: a row each, and every row is held by a check."""

import io

import pytest

from irqproof.series import chosen, print_patches
from irqproof.summary import Subject
from proofs.options import Options
from proofs.plan import tasks
from proofs.result import Result
from proofs.verdict import Verdict
from spec.patches import PATCHES


def _result(id: str, method: str, verdict: Verdict) -> Result:
    return Result(id, "a check", method, verdict, 1.5, "", "a bound")


def test_the_patches_are_numbered_without_a_gap() -> None:
    assert [patch.number for patch in PATCHES] == list(range(1, 39))
    merged = [patch.merged for patch in PATCHES]
    assert merged == sorted(set(merged))


def test_every_id_of_every_patch_is_checked() -> None:
    wanted = {id for patch in PATCHES for id in patch.ids}
    subjects = {s for task in chosen(tasks(Options()), wanted) for s in task.subjects}
    assert wanted - subjects == set()


def test_a_row_says_how_each_id_is_held_and_what_is_not_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    held = Subject("series-2", "", (_result("series-2", "bits", Verdict.PROVED),))
    rest = Subject("series-7", "", (_result("series-7", "stateful", Verdict.REFUTED),))
    stream = io.StringIO()
    print_patches({"series-2": held, "series-7": rest}, stream)
    lines = stream.getvalue().splitlines()
    assert any("series-2 (proof)" in line and "proved" in line for line in lines)
    assert any("series-7 (tests)" in line and "refuted" in line for line in lines)
    assert any("series-12: not checked" in line and "undetermined" in line for line in lines)
