# SPDX-License-Identifier: GPL-2.0-only
"""All rules that snapshots of a kernel are held to."""

from __future__ import annotations

from proofs.snapshot_chains import judge_chains
from proofs.snapshot_judge import Judgement
from proofs.snapshot_machine import judge_same_picture
from proofs.snapshot_matrix import judge_matrix
from proofs.snapshot_messages import judge_affinity, judge_messages
from proofs.snapshot_remapping import judge_remapping
from proofs.snapshot_xen import bypasses, is_dom0, judge_log, judge_xen
from proofs.snapshots import Archive
from proofs.snapshots_trace import History
from proofs.snapshots_view import view_of

__all__ = ["judge"]


def judge(archive: Archive, history: History | None = None) -> Judgement:
    """Hold every snapshot to the rules; with `history`, to the log beside them, too.

    Raises SnapshotError for a file that makes no sense.
    """
    judgement = Judgement(archive.file, snapshots=len(archive.snapshots))
    views = [view_of(snapshot, history) for snapshot in archive.snapshots]
    for view in views:
        if history is not None and view.moment is None:
            judgement.leave("the log", f"has no marker that ends in 'snap {view.name}'")
        judge_xen(view, judgement)
        if is_dom0(view):
            judge_same_picture(view, judgement)
        if bypasses(view):
            continue
        judge_chains(view, judgement)
        judge_matrix(view, judgement)
        judge_remapping(view, history, judgement)
        judge_messages(view, history, judgement)
        judge_affinity(view, history, judgement)
    if history is not None and any(bypasses(view) for view in views):
        judge_log(history, judgement, dom0=any(is_dom0(view) for view in views))
    return judgement
