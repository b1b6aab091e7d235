# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots of real kernels, as ``irqproof replay`` reads them and tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from irqproof.errors import UserError

if TYPE_CHECKING:
    from proofs.snapshot_judge import Judgement
    from proofs.snapshots_trace import History

__all__ = ["judge_archive", "paired", "text", "to_json"]

_MOST_FINDINGS: Final = 20
"""One fact that is wrong can break several rules; a whole file that is wrong, hundreds."""


def paired(files: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Each log with the snapshots named right after it, None where there is only one of the two."""
    from proofs.snapshots import is_archive

    pairs: list[tuple[str | None, str | None]] = []
    for file in map(str, files):
        if not is_archive(file):
            pairs.append((file, None))
        elif pairs and pairs[-1][1] is None:
            pairs[-1] = pairs[-1][0], file
        else:
            pairs.append((None, file))
    return pairs


def judge_archive(file: str, history: History | None) -> Judgement:
    """Hold the snapshots in a file to the rules and to their log; raises UserError if it has none
    or if one makes no sense."""
    from proofs.snapshot_rules import judge
    from proofs.snapshots import SnapshotError, open_archive

    try:
        return judge(open_archive(file), history)
    except SnapshotError as error:
        raise UserError(error.message, file=error.file, line=error.line) from error
    except OSError as error:
        raise UserError(error.strerror or str(error), file=file) from error


def text(judgement: Judgement, quiet: bool) -> Iterator[str]:
    """The judgement for a person; one line when quiet."""
    from proofs.verdict import Verdict

    findings = judgement.findings
    where = f"{judgement.snapshots:,} snapshot{'s' * (judgement.snapshots != 1)}"
    if findings:
        yield from map(str, findings[: 1 if quiet else _MOST_FINDINGS])
        if not quiet and len(findings) > _MOST_FINDINGS:
            yield f"  and {len(findings) - _MOST_FINDINGS:,} more"
    elif judgement.verdict is Verdict.UNDETERMINED:
        yield f"{judgement.file}: undetermined: nothing in {where} could be judged"
    else:
        yield f"{judgement.file}: held: {judgement.facts.total():,} facts true in {where}"
    if not quiet:
        yield from _details(judgement)


def _details(judgement: Judgement) -> Iterator[str]:
    if findings := judgement.findings:
        broken = dict.fromkeys(finding.rule for finding in findings)
        yield f"  {len(findings):,} facts false, of {', '.join(broken)}"
    held = [
        f"{result.subject} {judgement.facts[result.subject]:,}"
        for result in judgement.results()
        if result.verdict.good
    ]
    yield f"  by invariant   {', '.join(held) or 'none held'}"
    for (rule, reason), times in sorted(judgement.left.items()):
        yield f"  not judged     {rule}: {reason} ({times:,})"


def to_json(judgement: Judgement) -> dict[str, Any]:
    """The judgement for machines."""
    return {
        "file": judgement.file,
        "verdict": judgement.verdict.value,
        "snapshots": judgement.snapshots,
        "results": [result.to_json() for result in judgement.results()],
        "findings": [
            {
                "file": finding.place.file,
                "line": finding.place.line,
                "invariant": finding.rule,
                "sentence": finding.sentence,
            }
            for finding in judgement.findings
        ],
        "not_judged": [
            {"invariant": rule, "reason": reason, "times": times}
            for (rule, reason), times in sorted(judgement.left.items())
        ],
    }
