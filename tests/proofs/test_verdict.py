# SPDX-License-Identifier: GPL-2.0-only
"""The algebra of verdicts: combining is sound, and every mapping agrees with the exit code."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from proofs.verdict import JUNIT_ELEMENT, KTAP_RESULT, Verdict, combine, exit_code

VERDICTS = st.sampled_from(Verdict)
SOME = st.lists(VERDICTS, min_size=1)

# Written out again on purpose: how bad each verdict is, apart from the table under test.
BADNESS = {Verdict.PROVED: 0, Verdict.HELD: 1, Verdict.UNDETERMINED: 2, Verdict.REFUTED: 3}


@given(SOME, SOME)
def test_combining_in_parts_is_combining_at_once(left: list[Verdict], right: list[Verdict]) -> None:
    assert combine([combine(left), combine(right)]) is combine(left + right)


@given(SOME)
def test_combining_never_rounds_up_nor_invents(verdicts: list[Verdict]) -> None:
    combined = combine(verdicts)
    assert combined in verdicts
    assert BADNESS[combined] == max(BADNESS[verdict] for verdict in verdicts)


@given(st.lists(VERDICTS), VERDICTS)
def test_one_more_bad_answer_never_helps(verdicts: list[Verdict], more: Verdict) -> None:
    assert BADNESS[combine([*verdicts, more])] >= BADNESS[more]


@given(SOME, st.randoms(use_true_random=False))
def test_order_does_not_matter(verdicts: list[Verdict], random: Random) -> None:
    shuffled = list(verdicts)
    random.shuffle(shuffled)
    assert combine(shuffled) is combine(verdicts)


def test_no_answer_is_undetermined() -> None:
    assert combine([]) is Verdict.UNDETERMINED
    assert combine(iter([])) is Verdict.UNDETERMINED


def test_exit_codes() -> None:
    assert {verdict: exit_code(verdict) for verdict in Verdict} == {
        Verdict.PROVED: 0,
        Verdict.HELD: 0,
        Verdict.REFUTED: 1,
        Verdict.UNDETERMINED: 3,
    }


@given(VERDICTS)
def test_every_report_passes_exactly_what_the_exit_code_passes(verdict: Verdict) -> None:
    passed = exit_code(verdict) == 0
    assert verdict.good == passed
    assert (JUNIT_ELEMENT[verdict] is None) == passed
    assert (KTAP_RESULT[verdict][0] == "ok") == passed
