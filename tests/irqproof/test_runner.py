# SPDX-License-Identifier: GPL-2.0-only
"""Running tasks: no answer goes missing, whoever runs it and however it ends."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from irqproof.runner import run_tasks
from proofs.cache import Cache
from proofs.result import Result, Task
from proofs.verdict import Verdict
from tests.irqproof import plans


@dataclass
class Recorder:
    """A listener that remembers."""

    total: int = 0
    names: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def started(self, total: int) -> None:
        self.total = total

    def finished(self, task: Task, results: tuple[Result, ...]) -> None:
        self.names.append(task.name)

    def warned(self, message: str) -> None:
        self.warnings.append(message)


def test_answers_do_not_depend_on_the_number_of_workers() -> None:
    tasks = plans.refuted()
    alone = run_tasks(tasks, 1, None, Recorder())
    assert run_tasks(tasks, 2, None, Recorder()) == alone
    assert [task.name for task, _ in alone.answers] == [task.name for task in tasks]
    assert [results for _, results in alone.answers] == [task.run() for task in tasks]


def test_the_heaviest_task_comes_first_and_each_is_told_of() -> None:
    recorder = Recorder()
    run_tasks(plans.good(), 1, None, recorder)
    assert recorder.total == 3
    assert recorder.names == ["explorer", "stateful", "induction alloc"]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("run", "why"),
    [
        (plans.fail, "in two lines (plans.py:"),
        (plans.silent, "no answer"),
        (plans.leave, "SystemExit: 0"),
    ],
)
def test_a_task_without_an_answer_is_undetermined(
    jobs: int, run: Callable[[], tuple[Result, ...]], why: str
) -> None:
    bad = Task("bad", "fake", 1.0, "key", run, ("VEC-1", "VEC-7"))
    outcome = run_tasks([*plans.good(), bad], jobs, None, Recorder())
    results = outcome.answers[-1][1]
    assert [result.subject for result in results] == ["VEC-1", "VEC-7"]
    assert all(result.verdict is Verdict.UNDETERMINED for result in results)
    assert all(result.detail.startswith(why) for result in results)


def test_a_task_that_names_no_subject_is_undetermined_under_its_own_name() -> None:
    outcome = run_tasks([Task("bad", "fake", 1.0, "", plans.fail)], 1, None, Recorder())
    ((_, (result,)),) = outcome.answers
    assert (result.subject, result.verdict) == ("bad", Verdict.UNDETERMINED)


def test_a_subject_that_a_task_forgets_is_undetermined() -> None:
    whole = plans.good()[0]
    outcome = run_tasks([replace(whole, subjects=("VEC-1", "VEC-2", "MX-9"))], 1, None, Recorder())
    ((_, results),) = outcome.answers
    assert results[:2] == whole.run()
    assert (results[2].subject, results[2].verdict) == ("MX-9", Verdict.UNDETERMINED)


def test_a_worker_that_dies_takes_no_other_answer_with_it() -> None:
    dying = Task("dying", "fake", 99.0, "", plans.die, ("VEC-1",))
    tasks = [dying, *plans.good()]
    outcome = run_tasks(tasks, 2, None, Recorder())
    answers = [results for _, results in outcome.answers]
    assert answers[1:] == [task.run() for task in plans.good()]
    ((result,),) = answers[:1]
    assert result.verdict is Verdict.UNDETERMINED
    assert result.detail == "its worker process died"


def test_an_answer_that_cannot_be_sent_is_undetermined() -> None:
    tasks = [Task("odd", "fake", 1.0, "", plans.unpicklable, ("VEC-1",)), *plans.good()]
    ((_, (result,)), *others) = run_tasks(tasks, 2, None, Recorder()).answers
    assert result.verdict is Verdict.UNDETERMINED
    assert result.detail
    assert [results for _, results in others] == [task.run() for task in plans.good()]


def test_two_tasks_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        run_tasks([*plans.good(), *plans.good()], 1, None, Recorder())


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_second_run_takes_what_has_a_key_from_the_cache(tmp_path: Path, jobs: int) -> None:
    cache = Cache(tmp_path)
    first = run_tasks(plans.good(), jobs, cache, Recorder())
    second = run_tasks(plans.good(), jobs, cache, Recorder())
    assert not any(result.cached for _, results in first.answers for result in results)
    cached = {task.name: [r.cached for r in results] for task, results in second.answers}
    assert cached == {"induction alloc": [True, True], "explorer": [True], "stateful": [False]}


def test_a_cache_that_cannot_be_written_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    recorder = Recorder()
    tasks = plans.good()
    outcome = run_tasks(tasks, 1, Cache(tmp_path / "file" / "cache"), recorder)
    assert len(recorder.warnings) == 1
    assert "cannot write the cache" in recorder.warnings[0]
    assert outcome == run_tasks(tasks, 1, None, Recorder())
