# SPDX-License-Identifier: GPL-2.0-only
"""The second solver is asked, and is not believed to have said what it did not."""

from __future__ import annotations

import importlib.util
from collections import Counter
from typing import Any

import pytest

from proofs import crosscheck, induction
from proofs.crosscheck import ask, confirm
from proofs.induction import Context, obligations
from proofs.options import BadOptionError
from proofs.verdict import Verdict
from spec.stack import vectors
from spec.terms import TRUE, conjuncts
from tests.proofs.layers import members, ticket_lock


def test_cvc5_says_what_it_finds() -> None:
    text = "(set-logic ALL)(declare-const n Int)(assert (< n {}))(assert (< 0 n))(check-sat)"
    assert ask(text.format(1)) == "unsat"
    assert ask(text.format(2)) == "sat"


def test_true_obligations_of_small_layers_are_confirmed() -> None:
    for layer in (ticket_lock(), members()):
        context = Context.of(layer.build())
        asked = [o for n in induction.names(context.model) for o in obligations(context, n)]
        results = [confirm(o) for o in asked if o.goal is not TRUE]
        assert {r.verdict for r in results} == {Verdict.PROVED}
        assert all(r.detail == "confirmed" and r.solver.startswith("cvc5 ") for r in results)


def test_what_z3_does_not_prove_is_not_confirmed() -> None:
    context = Context.of(ticket_lock("no wait").build())
    (mutex, *_) = obligations(context, "enter", frozenset({"MUTEX"}))
    result = confirm(mutex)
    assert result.verdict is Verdict.UNDETERMINED
    assert result.detail == "part 1 is not confirmed: not proved by Z3"


@pytest.mark.parametrize(
    ("answer", "verdict"), [("sat", Verdict.REFUTED), ("unknown", Verdict.UNDETERMINED)]
)
def test_no_other_answer_confirms(
    monkeypatch: pytest.MonkeyPatch, answer: str, verdict: Verdict
) -> None:
    monkeypatch.setattr(crosscheck, "ask", lambda text: answer)
    context = Context.of(ticket_lock().build())
    (mutex,) = obligations(context, "enter", frozenset({"MUTEX"}))
    result = confirm(mutex)
    assert result.verdict is verdict and answer in result.detail


def test_dropping_what_the_proof_needs_is_seen() -> None:
    """The exported text is unsatisfiable because of its premises, not by itself."""
    context = Context.of(ticket_lock().build())
    (mutex,) = obligations(context, "enter", frozenset({"MUTEX"}))
    (part,) = conjuncts(mutex.goal)
    text = crosscheck.smtlib(mutex, part)
    assert text is not None and ask(text) == "unsat"
    asserts = text.split("(assert")
    weakened = ["(assert".join(asserts[:k] + asserts[k + 1 :]) for k in range(1, len(asserts) - 1)]
    assert any(ask(w + _rest(text, w)) != "unsat" for w in weakened)


def _rest(text: str, weakened: str) -> str:
    return "" if "(check-sat)" in weakened else "(check-sat)"


def test_every_proof_of_the_specification_that_touches_the_counters_is_confirmed() -> None:
    """A few actions here; a run of the command with a crosscheck asks about all of them."""
    for name in ("irq_matrix_alloc", "vector_teardown"):
        results = crosscheck.crosscheck("vectors", frozenset(), name)
        assert Counter(r.verdict for r in results) == {Verdict.PROVED: len(results)}, name
        assert len(results) > 5


def test_tasks_name_what_they_answer_for() -> None:
    model = vectors.build()
    made = {task.name: task for task in crosscheck.tasks(model)}
    assert len({task.key for task in made.values()}) == len(made)
    task = made["crosscheck vectors irq_matrix_reserve"]
    assert {r.subject for r in task.run()} == set(task.subjects) >= {"MX-10", "VEC-3"}


def test_without_cvc5_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Any = importlib.util.find_spec
    absent = lambda name, *rest: None if name == "cvc5" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with pytest.raises(BadOptionError, match=r"irqproof\[crosscheck\]"):
        crosscheck.tasks(vectors.build())
