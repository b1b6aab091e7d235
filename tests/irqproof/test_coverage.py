# SPDX-License-Identifier: GPL-2.0-only
"""A check has a row for every id of the dossier, or says why not."""

from proofs.options import Options
from proofs.plan import sentences, tasks
from spec import dossier


def _subjects() -> set[str]:
    return {subject for task in tasks(Options()) for subject in task.subjects}


def test_every_id_is_checked_or_excused() -> None:
    assert set((*dossier.CORE, *dossier.ARCH)) - _subjects() == set(dossier.UNCHECKED)


def test_every_id_that_is_checked_has_a_sentence() -> None:
    assert _subjects() <= sentences(Options()).keys()
