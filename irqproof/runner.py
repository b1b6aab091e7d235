# SPDX-License-Identifier: GPL-2.0-only
"""Runs tasks in worker processes and gathers every answer, or says why there is none.

Two rules: what comes back does not depend on the number of workers or on who finishes first, and
a task that was planned never goes missing. One that raises, dies, is interrupted or leaves an
invariant without an answer is reported as undetermined.
"""

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Protocol

from proofs.cache import Cache
from proofs.result import Result, Task
from proofs.verdict import Verdict


class Listener(Protocol):
    """Someone who is told how a run goes."""

    def started(self, total: int) -> None:
        """The run has this many tasks."""

    def finished(self, task: Task, results: tuple[Result, ...]) -> None:
        """One more task is done."""

    def warned(self, message: str) -> None:
        """Something does not change a verdict, but the user may want to mend it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Each task of a run with its results, in the order of the plan."""

    answers: tuple[tuple[Task, tuple[Result, ...]], ...]
    interrupted: bool


def run_tasks(tasks: Sequence[Task], jobs: int, cache: Cache | None, listener: Listener) -> Outcome:
    """Run every task that the cache cannot answer, the heaviest first, on ``jobs`` processes.

    With one job the tasks run in this process. Ctrl-C ends the run early: what was finished is
    in the outcome and in the cache, the rest is undetermined. Raises ValueError if two tasks have
    one name.
    """
    if len({task.name for task in tasks}) != len(tasks):
        raise ValueError("two tasks of the plan have the same name")
    listener.started(len(tasks))
    done: dict[int, tuple[Result, ...]] = {}
    interrupted = False
    try:
        done.update(_recall(tasks, cache, listener))
        order = sorted(set(range(len(tasks))) - done.keys(), key=lambda i: (-tasks[i].weight, i))
        keeper = _Keeper(cache, listener)
        with contextlib.closing(_execute(tasks, order, jobs)) as stream:
            for index, results in stream:
                done[index] = results
                keeper.keep(tasks[index], results)
                listener.finished(tasks[index], results)
    except KeyboardInterrupt:
        interrupted = True
    answers = tuple(
        (task, _whole(task, done.get(index, ()), "interrupted" if interrupted else "no answer"))
        for index, task in enumerate(tasks)
    )
    return Outcome(answers, interrupted)


def perform(task: Task) -> tuple[Result, ...]:
    """Run one task here; what it raises becomes an undetermined result that says so."""
    try:
        return tuple(task.run())
    except (Exception, SystemExit) as error:
        return unanswered(task, _last_line(error))


def unanswered(task: Task, why: str) -> tuple[Result, ...]:
    """An undetermined result for each invariant that the task was to answer for."""
    return tuple(
        Result(subject, task.name, "task", Verdict.UNDETERMINED, 0.0, "", detail=why)
        for subject in task.subjects or (task.name,)
    )


def _recall(
    tasks: Sequence[Task], cache: Cache | None, listener: Listener
) -> Iterable[tuple[int, tuple[Result, ...]]]:
    if cache is None:
        return
    for index, task in enumerate(tasks):
        results = cache.get(task.key)
        if results is not None:
            listener.finished(task, results)
            yield index, results


class _Keeper:
    """Writes to the cache until that fails once: one warning is enough for one directory."""

    def __init__(self, cache: Cache | None, listener: Listener) -> None:
        self._cache = cache
        self._listener = listener

    def keep(self, task: Task, results: tuple[Result, ...]) -> None:
        if self._cache is None:
            return
        try:
            self._cache.put(task.key, results)
        except OSError as error:
            why = error.strerror or error
            self._listener.warned(f"cannot write the cache in {self._cache.directory}: {why}")
            self._cache = None


_Stream = Generator[tuple[int, tuple[Result, ...]], None, None]


def _execute(tasks: Sequence[Task], order: Sequence[int], jobs: int) -> _Stream:
    if jobs == 1 or len(order) <= 1:
        yield from ((index, perform(tasks[index])) for index in order)
        return
    lost: list[int] = []
    yield from _in_processes(tasks, order, min(jobs, len(order)), lost)
    # When one worker dies its pool is gone, with the work of all the others. Alone in a pool each,
    # the innocent finish and the guilty one is known.
    for index in sorted(lost):
        died: list[int] = []
        yield from _in_processes(tasks, [index], 1, died)
        if died:
            yield index, unanswered(tasks[index], "its worker process died")


def _in_processes(
    tasks: Sequence[Task], order: Sequence[int], workers: int, lost: list[int]
) -> _Stream:
    """Yield what pool workers answer; append to ``lost`` the tasks that fell with their pool."""
    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_ignore_interrupts)
    try:
        futures = _submit(pool, tasks, order, lost)
        for future in as_completed(futures):
            index = futures[future]
            try:
                results = future.result()
            except BrokenProcessPool:
                lost.append(index)
                continue
            except Exception as error:
                # What raises here could not be sent: a task or a result that pickle refuses.
                results = unanswered(tasks[index], _last_line(error))
            yield index, results
    except BaseException:
        _abandon(pool)
        raise
    pool.shutdown()


def _submit(
    pool: ProcessPoolExecutor, tasks: Sequence[Task], order: Sequence[int], lost: list[int]
) -> dict[Future[tuple[Result, ...]], int]:
    futures = {}
    for index in order:
        try:
            futures[pool.submit(perform, tasks[index])] = index
        except BrokenProcessPool:
            lost.append(index)
    return futures


def _abandon(pool: ProcessPoolExecutor) -> None:
    """Stop at once: workers may be minutes deep in a solver that knows nothing of Ctrl-C."""
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in multiprocessing.active_children():
        worker.terminate()


def _context() -> multiprocessing.context.BaseContext:
    # A forked child of a process with threads may hang, and a solver starts threads.
    safe = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    return multiprocessing.get_context(safe)


def _ignore_interrupts() -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _whole(task: Task, results: tuple[Result, ...], why: str) -> tuple[Result, ...]:
    """The results, and an undetermined one for each invariant that they leave out."""
    if not results:
        return unanswered(task, why)
    answered = {result.subject for result in results}
    missing = tuple(subject for subject in task.subjects if subject not in answered)
    if not missing:
        return results
    return results + tuple(
        Result(subject, task.name, "task", Verdict.UNDETERMINED, 0.0, "", detail="no answer")
        for subject in missing
    )


def _last_line(error: BaseException) -> str:
    """The exception as one line, with the place that raised it."""
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return lines[-1].strip() + place
