# SPDX-License-Identifier: GPL-2.0-only
"""``irqproof check --machine``: what concerns a machine, and nothing else."""

import functools
import json

import pytest

from impl.description import MACHINES
from irqproof import check, cli
from proofs.machine_table import MACHINE_TABLE, programs_of
from proofs.machine_tasks import task_name
from proofs.options import BadOptionError, Options
from proofs.plan import tasks
from proofs.result import Task
from proofs.whole_stateful import WHOLE
from spec.stack import MODELS

_WORDS = ("induction", "explorer", "crosscheck")


def _layers(found: tuple[Task, ...]) -> set[str]:
    """The layers that tasks prove or explore."""
    return {words[1] for task in found for words in [task.name.split()] if words[0] in _WORDS}


@functools.cache
def _everything() -> tuple[Task, ...]:
    return tasks(Options())


def test_every_description_has_a_row_and_every_row_a_description() -> None:
    assert set(MACHINE_TABLE) == {file.stem for file in MACHINES.glob("*.toml")}


def test_every_layer_concerns_a_machine() -> None:
    assert set(MODELS) <= {layer for row in MACHINE_TABLE.values() for layer in row.layers}


def test_every_whole_machine_is_driven_for_a_machine_and_no_other() -> None:
    assert set(programs_of(())) == set(WHOLE)


@pytest.mark.parametrize("name", MACHINE_TABLE)
def test_a_machine_is_checked_by_the_proofs_of_its_layers(name: str) -> None:
    row = MACHINE_TABLE[name]
    everything = {task.name for task in _everything()}
    found = tasks(Options(machines=(name,)))
    names = {task.name for task in found}
    assert _layers(found) == set(row.layers) & set(MODELS)
    assert names < everything
    assert {task_name(machine) for machine in WHOLE} & names == set(map(task_name, row.programs))
    assert ("stateful" in names) == ("vectors" in row.layers)


def test_two_machines_are_checked_by_what_concerns_either() -> None:
    both = tasks(Options(machines=("uv", "xen-domu")))
    assert _layers(both) == _layers(tasks(Options(machines=("uv",)))) | {"xen", "guest"}
    assert len({task.name for task in both}) == len(both)


def test_the_programs_of_a_machine_are_the_same_whatever_else_is_checked() -> None:
    alone, both, everything = (
        {task.name: task.key for task in tasks(Options(machines=machines))}
        for machines in (("uv",), ("uv", "small"), ())
    )
    for found in (both, everything):
        assert found[task_name("hubs")] == alone[task_name("hubs")]
    assert both[task_name("small")] != both[task_name("hubs")]


def test_an_unknown_machine_is_one_line_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--machine", "uv", "--machine", "toaster"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "there is no machine 'toaster'" in err
    assert all(name in err for name in MACHINE_TABLE)
    with pytest.raises(BadOptionError):
        tasks(Options(machines=("",)))


def test_the_report_says_which_machines(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--machine", "uv", "--only", "explorer uv *", "--json", "-", "--quiet"]
    assert cli.main(["check", *arguments]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["options"]["machines"] == ["uv"]
    assert {result["check"] for s in document["subjects"] for result in s["results"]} == {
        "explorer uv 2x2x2"
    }
    assert check.CheckOptions().plan.machines == ()


def test_what_does_not_concern_a_machine_is_not_there_to_choose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["check", "--machine", "xen-domu", "--only", "explorer uv *"]) == 2
    assert "no invariant and no task has such a name" in capsys.readouterr().err
